"""All checks of a set. A new one is a module with a function that takes a sensor, and a row here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from camnorm.diagnosis.convergence import Convergence, frames_needed
from camnorm.diagnosis.course import courses
from camnorm.diagnosis.drift import drift
from camnorm.diagnosis.exposures import exposures
from camnorm.diagnosis.finding import Finding
from camnorm.diagnosis.hits import hits
from camnorm.diagnosis.illumination import motif_and_illumination
from camnorm.diagnosis.left_out import left_out
from camnorm.diagnosis.mixed import mixed
from camnorm.diagnosis.short_movies import short_movies
from camnorm.diagnosis.specimens import specimens
from camnorm.measurement.modes import modes
from camnorm.sensor.provenance import from_moments
from camnorm.sensor.sensor import Sensor, as_sensor

__all__ = ["check", "findings", "modes"]

# Checks of the frame table and the provenance, in the order in which they are reported.
OF_FRAMES: tuple[Callable[[Sensor], list[Finding]], ...] = (
    left_out,
    mixed,
    short_movies,
    exposures,
    courses,
    drift,
    hits,
)

# Those that look at the sums; all others need rows of the table.
_OF_SUMS = ("hits",)

# What makes the mean image that of something else comes before what makes it less precise or less even; all
# others come after, in their order.
_IMPORTANT = (
    "mixed",
    "modes",
    "duplicates",
    "specimens",
    "halves",
    "frames",
    "motif",
    "drift",
    "hits",
    "illumination",
)


def findings(sensor: Sensor) -> list[Finding]:
    """Judge a data set by the frame table and provenance of its measurement.

    Parameters
    ----------
    sensor : Sensor
        Its frame table and provenance are looked at, in the order of the table, which is taken for that of
        time.

    Returns
    -------
    list of Finding
        ``rejected``, ``blank``, ``saturated``, ``duplicates``, ``mixed``, ``short_movies``, ``modes``,
        ``mean_trend``, ``mean_steps``, ``std_trend``, ``std_steps``, ``hits``, and, of measurements that
        compared the first frames with the last, ``drift`` and ``drift_pixels``. Of a sensor that was made of
        moments, only ``hits`` can be determined. Each raises a false alarm
        in at most about 1 % of clean sets; docs/explanation/findings.md has the rates.
    """
    sensor = as_sensor(sensor)
    found = [finding for check_of_frames in OF_FRAMES for finding in check_of_frames(sensor)]
    if sensor.frames.size or not any(from_moments(sensor.provenance)):
        return found
    unknown = "unknown of frames that came as moments: there is no frame table."
    return [
        finding
        if finding.name in _OF_SUMS
        else dataclasses.replace(finding, value=math.nan, flagged=False, sentence=unknown)
        for finding in found
    ]


def check(sensor: Sensor, convergence: Convergence | None = None) -> list[Finding]:
    """Check whether the images of a set are what the method assumes.

    Parameters
    ----------
    sensor : Sensor
        The measurement of the set.
    convergence : Convergence, optional
        What `frames_needed` gave of it; by default it is asked for.

    Returns
    -------
    list of Finding
        Problems first, then what cannot be determined, then what is in order; the
        more important the earlier.

        ``specimens``: independent frames that the set amounts to, and how many group averages need.
        ``frames``: frames in the set, and the same.
        ``halves``: variance of the difference of the halves' mean images over that of independent frames;
        less than by chance means that the halves have something in common.
        ``motif``: range of a profile of the mean or sigma image, without what a polynomial of degree 4 fits
        of it, in target sigmas.
        ``illumination``: range of that polynomial.
        And those of ``screening.findings``.

    Notes
    -----
    For the first three see `frames_needed`. Profiles are medians, over 32 bands of rows or columns, of the
    bands' means, in 16 parts, each the median of its pixels. The standard error of a part is made of its
    chance (from the difference of the halves) and its scatter (from pieces of a quarter of it). The limits
    were set on simulated sets with white noise, particles or landscapes, over which rows, columns, pixels
    and dust differ.

    Memory: that of some rows of the frame.

    Examples
    --------
    >>> import camnorm
    >>> sensor = camnorm.Sensor.load("sensor.h5")
    >>> findings = {finding.name: finding for finding in camnorm.check(sensor)}
    >>> [name for name, finding in findings.items() if finding.flagged]
    []
    >>> print(findings["halves"].sentence)
    The halves' mean images differ by ... of what is expected.
    """
    sensor = as_sensor(sensor)
    found = [
        *specimens(sensor, convergence or frames_needed(sensor)),
        *motif_and_illumination(sensor),
        *findings(sensor),
    ]

    def rank(finding: Finding) -> tuple[bool, bool, int]:
        known = _IMPORTANT.index(finding.name) if finding.name in _IMPORTANT else len(_IMPORTANT)
        return not finding.flagged, not math.isnan(finding.value), known

    return sorted(found, key=rank)
