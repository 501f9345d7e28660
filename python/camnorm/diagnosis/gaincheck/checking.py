"""A gain reference is compared with the pattern of a sensor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.apriori.falcon import falcon_defects
from camnorm.apriori.gain import Gain, Treatment, read_gain, resample
from camnorm.apriori.images import read_image
from camnorm.diagnosis.gaincheck.flags import flags_of, orientation_of
from camnorm.diagnosis.gaincheck.pattern import Match, details, limited, matches, own_of_pixels, shared
from camnorm.diagnosis.gaincheck.result import GainCheck
from camnorm.diagnosis.gaincheck.spots import BACKGROUND, stale_spots
from camnorm.diagnosis.gaincheck.words import Finding, sentence_of
from camnorm.errors import Error
from camnorm.fourier.correlation import frc_with_powers
from camnorm.io import is_flipped, open_frames
from camnorm.io.base.options import usual_operation
from camnorm.io.base.registry import row_order_by_name
from camnorm.sensor.sensor import as_sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.io import RowOrder
    from camnorm.sensor.sensor import Sensor

    Details = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = ["check_gain"]

# The gain's pattern is found if it exceeds this many standard errors, and its correlation with the sensor's
# this value: cameras of one kind may share a little.
_CERTAIN, _ALIKE = 8.0, 0.3

# Frames that had the gain show less of its pattern in their mean than this, and in their sigma more than this
# many standard errors. Sigma shows more than this many times what the mean shows if they had it twice.
_GONE, _TWICE = 0.25, 1.25

# A pixel is a defect that the gain does not know if what the gain leaves of it is so far from its neighbours.
_DEFECT = 0.5
_DEFECTS_LISTED = 10_000

_MOST = 2048  # pixels along the middle of a frame from which the cost is found out
_ABOVE = 0.05  # fraction of Nyquist below which illumination and scene weigh more than pixels


@dataclass(frozen=True, eq=False)
class _Frames:
    """What a sensor shows, rows in the order of the movies."""

    format: str
    row_order: RowOrder | None
    shape: tuple[int, int]
    """Of the movies; a multiple of that of the images, maybe."""
    halves: tuple[Details, Details]
    sigma: Details
    good: Mask
    shares: float
    """Product of the shares of the halves in the set."""
    count: int


def check_gain(
    gain: str | os.PathLike[str],
    sensor: Sensor | str | os.PathLike[str],
    like: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
) -> GainCheck:
    """Judge whether a gain reference fits a sensor, from what its movies show.

    Parameters
    ----------
    gain : path-like
        The gain reference: MRC, TIFF, ``.gain`` of a Falcon camera with its defects, DM4, NPY or HDF5.
    sensor : Sensor or path-like
        Measured from movies without a gain.
    like : path-like, optional
        A movie: it decides the order of rows and the size that the gain is to have. By default movies like
        those that the sensor was measured from.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    GainCheck

    Raises
    ------
    Error
        The file is no gain: a movie, of colour, or nowhere positive. The sensor is one of colour frames, or a
        half of it has fewer than two frames.
    FormatError, OSError
        A file cannot be read.

    Notes
    -----
    The pattern of the gain, pixel by pixel and without what rows and columns share, is fitted to that of the
    sensor in all eight orientations. The halves of the sensor, whose noise is independent, tell how strong
    its pattern is, and how much the gain leaves of it, without a bias by noise. The sigma image tells
    whether frames had the gain before.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> sensor = camnorm.Sensor.load("sensor.h5")
    >>> np.save("gain.npy", np.rot90(sensor.target_mean / sensor.mean))
    >>> found = camnorm.check_gain("gain.npy", sensor)
    >>> found.best, found.rotation, found.operation
    (False, 90, 'multiply')
    """
    frames = _frames_of(as_sensor(sensor, load=True), like)
    path = Path(gain)
    held = read_image(path, frames.format)
    read = _quiet_gain(path, frames.format)
    scale = _scale(read.values.shape, frames.shape)
    factors = None if scale is None else _at_sampling(read.values, frames.good.shape)
    if factors is None:
        return _of_another_size(path, read.values.shape, frames)
    found = _fitted(path, factors, frames, scale)
    return _result(path, found, read, frames, held[1], threads)


def _quiet_gain(path: Path, frames_format: str) -> Gain:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the order of rows, which is part of the answer
        return read_gain(path, frames_format)


def _frames_of(sensor: Sensor, like: str | os.PathLike[str] | None) -> _Frames:
    if len(sensor.shape) != 2:
        raise Error(f"frames of shape {sensor.shape} are in colour: a gain reference has one plane")
    a, b = sensor.halves
    if min(a.count, b.count) < 2:
        raise Error(f"halves of {a.count} and {b.count} frames have no pattern to compare: measure more")
    height, width = sensor.shape
    name, order, shape = _format_of(sensor), sensor.row_order, (height, width)
    if like is not None:
        options = replace(sensor.options.without_references, row_order=None)
        with open_frames(like, options) as source:
            name, order = source.format, source.row_order
            shape = (source.shape[0], source.shape[1])
    flip = is_flipped(sensor.row_order, order)
    turn = slice(None, None, -1 if flip else 1)
    means = [half.mean()[turn].astype(np.float32) for half in (a, b)]
    sigma = sensor.sigma[turn].astype(np.float32)
    good = np.isfinite(sigma) & (sigma > 0) & (means[0] > 0) & (means[1] > 0)
    total = a.count + b.count
    return _Frames(name, order, shape, (means[0], means[1]), sigma, good, a.count * b.count / total**2, total)


def _format_of(sensor: Sensor) -> str:
    """Format of the movies of a sensor, as far as it matters for a gain."""
    paths = [Path(name) for name in sensor.provenance["files"]["path"].tolist()[:1]]
    if any(path.suffix.lower() == ".eer" for path in paths):
        return "EER"
    order = sensor.row_order or next(map(row_order_by_name, paths), None)
    return {"top": "TIFF", "bottom": "MRC"}.get(order or "", "")


def _scale(given: tuple[int, ...], shape: tuple[int, int]) -> float | None:
    """Pixels of a gain along a pixel of frames, maybe rotated."""
    for wanted in (shape, shape[::-1]):
        for scale in (1, 2, 4, 0.5, 0.25):
            if given == tuple(scale * length for length in wanted):
                return scale
    return None


def _at_sampling(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    found = resample(values, shape)
    return resample(values, shape[::-1]) if found is None else found


@dataclass(frozen=True, eq=False)
class _Fit:
    """How a gain fits, at the sampling of the sensor."""

    treatment: Treatment
    """What sets it right."""
    factors: NDArray[np.float32]
    """By which frames are multiplied: oriented, 0 at defects."""
    finding: Finding
    scale: float
    patterns: tuple[Details, Details]
    """Of the halves, before."""


def _fitted(path: Path, values: NDArray[np.float64], frames: _Frames, scale: float | None) -> _Fit:
    """Find out what is to be done to a gain."""
    assert scale is not None
    given = Treatment(0, 0, usual_operation(path, frames.format))
    a, b, sigma = map(limited, details([*frames.halves, frames.sigma], frames.good))
    before = a, b
    positive = values > 0
    sensitivity = np.divide(1.0, values, where=positive, out=np.zeros(values.shape))
    pattern = own_of_pixels(limited(details([sensitivity], positive)[0]))
    own = own_of_pixels(before[0]), own_of_pixels(before[1])
    strength = shared(*own)
    of_mean = matches(_average(own), pattern, frames.format)
    of_sigma = matches(own_of_pixels(sigma), pattern, frames.format)
    clearest = max(of_mean, key=lambda match: abs(match.z), default=None)
    in_sigma = max(of_sigma, key=lambda match: abs(match.z), default=None)
    alike = 0.0 if clearest is None else _correlation(clearest, pattern, strength)
    fits = clearest is not None and abs(clearest.z) > _CERTAIN and alike > _ALIKE
    applied = 0
    treatment = given
    if fits:
        assert clearest is not None
        twin = next(match for match in of_sigma if match.treatment == clearest.treatment)
        applied = 2 * _twice(clearest, twin)
        treatment = replace(clearest.treatment, operation="multiply" if clearest.slope > 0 else "divide")
        if applied:
            treatment = replace(treatment, operation="divide" if clearest.slope > 0 else "multiply")
    elif in_sigma is not None and abs(in_sigma.z) > _CERTAIN:
        twin = next(match for match in of_mean if match.treatment == in_sigma.treatment)
        if abs(twin.slope) + 3 * twin.error < _GONE < abs(in_sigma.slope):
            applied = 1
            treatment = replace(in_sigma.treatment, operation="divide" if in_sigma.slope > 0 else "multiply")
    factors = treatment.turn(values, frames.format)
    if factors.shape != frames.good.shape:
        factors = np.rot90(factors)
    good = factors > 0
    if treatment.operation == "divide":
        factors = np.divide(factors.mean(where=good), factors, where=good, out=np.zeros(factors.shape))
    factors = factors.astype(np.float32)
    finding = Finding(
        fits=fits or applied == 1,
        applied=applied,
        match=alike,
        z=0.0 if clearest is None else abs((in_sigma if applied == 1 and in_sigma else clearest).z),
        given=given,
        treatment=treatment,
        scale=scale,
        sized=scale == 1 or (frames.format == "EER" and scale == 2),
    )
    return _Fit(treatment, factors, finding, scale, before)


def _average(halves: tuple[Details, Details]) -> Details:
    return np.asarray((halves[0] + halves[1]) / np.float32(2))


def _correlation(match: Match, pattern: Details, strength: float) -> float:
    """Correlation of the pattern of a gain with that of a sensor, at most 1."""
    if not strength > 0:
        return 0.0
    return float(min(abs(match.slope) * np.sqrt(shared(pattern, pattern) / strength), 1.0))


def _twice(mean: Match, sigma: Match) -> bool:
    """Whether sigma shows more of the pattern than any frames show that had the gain once or never."""
    ratio = sigma.slope / mean.slope
    error = abs(ratio) * np.hypot(sigma.error / sigma.slope, mean.error / mean.slope) if sigma.slope else 0.0
    return bool(ratio - 3 * error > _TWICE)


def _result(
    path: Path, fit: _Fit, read: Gain, frames: _Frames, turned: bool, threads: int | None
) -> GainCheck:
    finding, good = fit.finding, frames.good & (fit.factors > 0)
    used = finding.fits and not finding.applied
    corrected = [half * fit.factors if used else half for half in frames.halves]
    one, other = details(corrected, good)
    deviant = np.minimum(np.abs(one), np.abs(other)) > _DEFECT
    after = limited(one), limited(other)
    before = shared(*fit.patterns)
    left = shared(*after) if used else before
    explained = 1 - max(left, 0.0) / before if used and before > 0 else 0.0
    finding = replace(finding, explained=explained)
    frcs = _cost(frames, frames.halves, frames.good, threads), _cost(frames, corrected, good, threads)
    spots = stale_spots(*map(limited, details(corrected, good, BACKGROUND))) if used else ()
    finding = replace(finding, stale=len(spots))
    unknown, known = _defects(path, fit, frames, deviant & used, turned)
    top = frames.row_order == "top"
    turns, flip = orientation_of(fit.treatment, top)
    fixed = fit.factors.copy()
    fixed[~frames.good] = 0.0
    flags = flags_of(fit.treatment, top, turned, fit.scale, frames.format == "EER")
    names: dict[int, str | None] = {0: None, 1: "y", 2: "x"}
    return GainCheck(
        gain=path,
        sentence=sentence_of(finding),
        best=finding.best,
        fits=finding.fits,
        rotation=90 * turns if finding.fits else None,
        flip=names[flip] if finding.fits else None,  # type: ignore[arg-type]
        operation=fit.treatment.operation if finding.fits else None,
        scale=fit.scale,
        applied=finding.applied,
        explained=explained,
        residual=float(np.sqrt(max(left, 0.0))),
        pattern=float(np.sqrt(max(before, 0.0))),
        match=finding.match,
        z=finding.z,
        frc_before=frcs[0][0],
        frc_after=frcs[1][0],
        derating_before=frcs[0][1],
        derating_after=frcs[1][1],
        stale=spots,
        unknown_defects=unknown,
        defects=known,
        flags=flags if finding.fits else {},
        fixed=fixed if finding.fits else None,
        remaining=_average(after),
        before=_average(fit.patterns),
    )


def _cost(
    frames: _Frames,
    halves: Sequence[Details],
    good: Mask,
    threads: int | None,
) -> tuple[float, tuple[float, float]]:
    """Mean correlation of the halves, and what their pattern costs of the DQE in 1 and in 12 frames."""
    planes = []
    height, width = good.shape
    middle = tuple(
        slice((n - m) // 2, (n + m) // 2)
        for n, m in ((height, min(height, _MOST)), (width, min(width, _MOST)))
    )
    good = good[middle]
    for half in halves:
        half = half[middle]
        level = float(half.mean(where=good, dtype=np.float64))
        planes.append(np.where(good, half / np.float32(level) - np.float32(1), np.float32(0)))
    curve, powers = frc_with_powers(planes[0], planes[1], "hann", threads=threads)
    kept = curve.nyquist > _ABOVE
    pattern = max(float((curve.n * powers.common)[kept].sum()), 0.0)
    noise = frames.shares * frames.count * float((curve.n * powers.difference)[kept].sum())
    costs = [exposure * pattern / (exposure * pattern + noise) if noise > 0 else 0.0 for exposure in (1, 12)]
    return float(np.nanmean(curve.correlation[kept])), (costs[0], costs[1])


def _defects(
    path: Path, fit: _Fit, frames: _Frames, deviant: Mask, turned: bool
) -> tuple[list[tuple[int, int]], int]:
    """Bad pixels that the gain does not know, and the number of those that it does."""
    known = fit.factors == 0
    listed = falcon_defects(path)
    if listed is not None:
        known = known | _oriented(listed[::-1] if turned else listed, fit.treatment, frames)
    bad = ~frames.good | deviant
    rows, columns = np.nonzero(bad & ~known)
    places = list(zip(columns.tolist(), rows.tolist(), strict=True))[:_DEFECTS_LISTED]
    return places, int(np.count_nonzero(known))


def _oriented(listed: Mask, treatment: Treatment, frames: _Frames) -> Mask:
    """A list of defects, oriented and sampled like the frames."""
    turned = treatment.turn(listed, frames.format)
    found = resample(np.where(turned, 0.0, 1.0), frames.good.shape)
    return np.zeros(frames.good.shape, np.bool_) if found is None else np.asarray(found == 0)


def _of_another_size(path: Path, given: tuple[int, ...], frames: _Frames) -> GainCheck:
    """The answer for a gain of a size that no orientation and sampling bring to the frames."""
    nothing = (float("nan"), float("nan"))
    sizes = f"{given[1]} x {given[0]} pixels for frames of {frames.shape[1]} x {frames.shape[0]}"
    return GainCheck(
        gain=path,
        sentence=f"The gain is of another camera: it has {sizes} (x, y).",
        best=False,
        fits=False,
        rotation=None,
        flip=None,
        operation=None,
        scale=None,
        applied=0,
        explained=0.0,
        residual=float("nan"),
        pattern=float("nan"),
        match=0.0,
        z=0.0,
        frc_before=float("nan"),
        frc_after=float("nan"),
        derating_before=nothing,
        derating_after=nothing,
        stale=(),
        unknown_defects=[],
        defects=0,
        flags={},
    )
