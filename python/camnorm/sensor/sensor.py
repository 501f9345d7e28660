"""The result of a measurement: moments of both halves of a data set, frame table, provenance."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from operator import add, sub
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camnorm.correction.adjustments import Adjustments, CameraChoice, Mode
from camnorm.correction.correction import Correction
from camnorm.correction.targets import GivenTarget, Target, plane_targets
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import row_order_by_name
from camnorm.io.base.rows import RowOrder, is_flipped
from camnorm.sensor.combination import (
    check_disjoint,
    check_options,
    checked_rest,
    merged_provenance,
    pairwise_sums,
    rows_left,
    subtracted_provenance,
    unlisted_left,
)
from camnorm.sensor.contents import Contents
from camnorm.sensor.corrections import BadPolicy, correction_images, settled_policy
from camnorm.sensor.file import read_contents, save_contents
from camnorm.sensor.ofmoments import contents_of_moments
from camnorm.sensor.pixelmap import GivenPixels, bad_pixels_of
from camnorm.sensor.provenance import from_moments, reading_of
from camnorm.sensor.reading import for_sensor
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.neighbours import NeighbourSums
from camnorm.statistics.response import PixelResponse

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Sensor", "as_sensor"]

Image = npt.NDArray[np.float64]


class Sensor:
    """What the images of a data set say of the sensor that took them.

    Parameters
    ----------
    halves : tuple of two PixelMoments
        Moments of half A and half B of the set, of one shape and kind.
    frames : structured ndarray
        Frame table, one row per frame: ``file`` (path), ``index`` in it (-1: the whole file), ``mean``,
        ``std``, ``min`` and ``max`` over its pixels (NaN if it was not read), ``half`` ("A" or "B"),
        ``status`` ("accepted" or "rejected") and ``reason``.
    provenance : mapping
        ``version``, ``command`` (str), ``started``, ``ended`` (ISO 8601, str), ``screening`` (dict: k, the
        limits of mean and std that the set set, and those given, as lists of two with None for an open
        end; or empty), ``selection`` (dict: frames, every and max_frames of `measure`), ``reading`` (dict:
        its options, with those that were chosen for the set), ``chosen`` (dict: names of these, and how they
        were chosen; empty if it is the usual value), ``row_order`` (str: "bottom", "top" or empty),
        ``frames_list`` (dict: path and digest, or empty), ``groups`` (list of dicts: shape, dtype and camera
        of the files that were read, and number of files and of frames), ``parts`` (list of dicts: most of
        this for each measurement that was merged, with its numbers of files and of frames), ``subtracted``
        (the same of measurements that were taken away), ``drift`` and ``ratios`` (dict of ``measure_drift``
        and list of ``measure_ratios`` in ``camnorm.measurement.drift``, or empty), ``from_moments`` (dict:
        numbers of frames of half A and B that came as moments, and are not in the frame table), ``files``
        (structured array: ``path``, ``size`` in bytes, ``mtime`` in seconds).
        Files of earlier versions lack some of these.
    responses : tuple of two PixelResponse, optional
        Of the same halves, if the exposures of frames were looked at.
    neighbours : tuple of two NeighbourSums, optional
        Of the same halves, if neighbours were compared.

    Attributes
    ----------
    halves, frames, provenance, responses, neighbours
        As given.
    """

    def __init__(
        self,
        halves: tuple[PixelMoments, PixelMoments],
        frames: npt.NDArray[np.void],
        provenance: Mapping[str, Any],
        responses: tuple[PixelResponse, PixelResponse] | None = None,
        neighbours: tuple[NeighbourSums, NeighbourSums] | None = None,
    ) -> None:
        self.halves = halves
        self.frames = frames
        self.provenance = dict(provenance)
        self.responses = responses
        self.neighbours = neighbours

    @classmethod
    def from_moments(cls, a: PixelMoments, b: PixelMoments | None = None) -> Sensor:
        """Make a sensor of moments that you filled yourself, from frames that are not in files.

        Parameters
        ----------
        a : PixelMoments
            Moments of half A.
        b : PixelMoments, optional
            Moments of half B, of other frames of the same shape and kind. Add the frames of one movie or
            specimen to the same half. Without `b`, all frames are in half A: the sensor corrects frames, but
            what compares the halves (`fixed_pattern`, `verify`, most of `check`) has no result.

        Returns
        -------
        Sensor
            The moments are copied: frames that are added to them later do not change it. It has no
            frame table, and its provenance says how many frames came as moments. Images are corrected as
            their files store them, whichever row comes first.

        Raises
        ------
        TypeError
            If `a` or `b` is no PixelMoments, or they are of different kinds.
        ValueError
            If `a` and `b` hold frames of different shapes, are the same object, or hold no frames, or if no
            frames have such sums.

        Examples
        --------
        >>> import numpy as np, camnorm
        >>> frames = np.random.default_rng(1).poisson(50, (100, 32, 32)).astype(np.uint16)
        >>> a, b = (camnorm.PixelMoments((32, 32), np.uint16) for _ in "AB")
        >>> statistics = a.add(frames[0::2])
        >>> statistics = b.add(frames[1::2])
        >>> sensor = camnorm.Sensor.from_moments(a, b)
        >>> sensor
        <Sensor made from moments of 100 uint16 frames of shape (32, 32)>
        >>> sensor.save("sensor.h5")
        """
        return cls(*contents_of_moments(a, b))

    @property
    def contents(self) -> Contents:
        """What the sensor file holds."""
        return Contents(self.halves, self.frames, self.provenance, self.responses, self.neighbours)

    @property
    def count(self) -> int:
        """Number of frames in the statistics."""
        return self.halves[0].count + self.halves[1].count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame, (y, x) or (y, x, c)."""
        return self.halves[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of the frames (of the first of them, if they differ within their kind)."""
        return self.halves[0].dtype

    @property
    def listed(self) -> int:
        """Number of the frames in the statistics that are in the frame table: all but those of moments."""
        return self.count - sum(from_moments(self.provenance))

    @property
    def options(self) -> ReadOptions:
        """How the files were read."""
        return reading_of(self.provenance)

    def read_options(self, options: ReadOptions | None = None) -> ReadOptions:
        """Options that read other frames like those of this sensor, and in its row order.

        Parameters
        ----------
        options : ReadOptions, optional
            What is read differently. Other options are those by which the measured files were read.

        Returns
        -------
        ReadOptions

        Raises
        ------
        Error
            Frames that are read as given are of another kind than those of the sensor.
        """
        return replace(for_sensor(self.options, options), row_order=self.row_order)

    @property
    def row_order(self) -> RowOrder | None:
        """Row that comes first in the images: "bottom" as in MRC files, "top" as in TIFF files.

        None if the files are of formats without such a convention. Sensor files written before version 0.2
        do not say; the names of the measured files tell then, if they are all of one row order.
        """
        if "row_order" in self.provenance:
            return self.provenance["row_order"] or None
        orders = {row_order_by_name(Path(path)) for path in self.provenance["files"]["path"]}
        return orders.pop() if len(orders) == 1 else None

    def flipped(self) -> Sensor:
        """Measurement of the same frames upside down, exactly."""
        a, b = (half.flipped() for half in self.halves)
        responses = self.responses and (self.responses[0].flipped(), self.responses[1].flipped())
        neighbours = self.neighbours and (self.neighbours[0].flipped(), self.neighbours[1].flipped())
        row_order = {"bottom": "top", "top": "bottom"}.get(self.row_order or "", "")
        return Sensor((a, b), self.frames, {**self.provenance, "row_order": row_order}, responses, neighbours)

    @property
    def moments(self) -> PixelMoments:
        """Moments of the whole set: the halves merged, again at each call."""
        return self.halves[0] + self.halves[1]

    @cached_property
    def mean(self) -> Image:
        """Mean image of the whole set: float64, shape of a frame, units of the pixels."""
        a, b = self.halves
        return _read_only(a.mean_with(b))

    @cached_property
    def sigma(self) -> Image:
        """Sigma image (ddof 0) of the whole set: float64, shape of a frame, units of the pixels."""
        a, b = self.halves
        return _read_only(a.std_with(b))

    @property
    def response(self) -> PixelResponse | None:
        """Response of the whole set, merged again at each call; None if it was not measured."""
        return None if self.responses is None else self.responses[0] + self.responses[1]

    @cached_property
    def _targets(self) -> tuple[Target, Target]:
        if len(self.shape) == 3:
            return plane_targets(self.mean, self.sigma)
        a, b = self.halves
        return a.targets_with(b)

    @property
    def knows_targets(self) -> bool:
        """Whether the targets were asked for before: they take a pass over the sums."""
        return "_targets" in vars(self)

    @property
    def target_mean(self) -> Target:
        """I0 of Eq. (2): mean over the mean image, pixels that never change left out (NaN if all).

        Of colour frames an array of one a plane.
        """
        return self._targets[0]

    @property
    def target_sigma(self) -> Target:
        """s0 of Eq. (2): mean over the sigma image, pixels that never change left out (NaN if all).

        Of colour frames an array of one a plane.
        """
        return self._targets[1]

    def correction(
        self,
        target_mean: GivenTarget | None = None,
        target_sigma: GivenTarget | None = None,
        bad_policy: BadPolicy = "auto",
        *,
        mode: Mode = "both",
        keep_illumination: float | bool | None = None,
        shrink: bool = False,
        camera: CameraChoice = "auto",
        pixels: GivenPixels | None = None,
    ) -> Correction:
        """Correction of frames of this sensor, Eq. (2) of Afanasyev et al. 2015.

        The last four serve sets that do not meet its assumptions; docs/explanation/corrections.md compares
        them.

        Parameters
        ----------
        target_mean, target_sigma : float or sequence of float, optional
            I0 and s0, by default those of the set; of colour frames one for all planes, or one for each.
            0 and 1 give Eq. (1).
        bad_policy : {"auto", "neutral", "interpolate", "nan"}
            What bad pixels become: those of `pixels`, those that never change, defects of mode "best"; see
            `Correction`. "auto" is "interpolate" with mode "best", else "neutral".
        mode : {"both", "mean", "gain", "response", "best"}
            What is corrected: mean and sigma of every pixel; the mean by subtraction, I - mean + I0; the mean
            by a factor, I · I0 / mean, as gain references do; or the response, (I - offset) / gain, by the
            straight line of each pixel over the exposures of the frames, for sets whose exposures vary (see
            `PixelResponse`). "gain" has no target sigma of its own: contrast follows the target mean. Pixels
            whose mean, or gain, is not positive are bad then. "best" finds defects, and estimates the pattern
            by parts (columns, rows, blocks, smooth parts, pixels), each as far as both halves of the set have
            it in common; with fewer than 10 movies, or a half without two frames, it corrects only defects.
        keep_illumination : float or True, optional
            Leave in the frames what varies slowly over the mean and the sigma image: sensitivity and
            illumination cannot be told apart there. Waves of this length in pixels are kept by half, longer
            ones more. True is half the shorter side of a frame. The mean image, corrected, becomes its
            smooth part; the sigma image is divided by its own, geometrically. Colour planes keep their own
            mean.
        shrink : bool
            For sets of few frames: move each pixel of the mean and of the logarithm of the sigma image
            towards the mean of its 7 x 7 neighbours, by the share of their deviations that is noise. How
            much that is, the halves of the set tell; of many frames it is next to nothing.
        camera : {"auto", "counting", "integrating"}
            For mode "best"; by default the images show it. Frames of a counting camera are divided by the
            pattern; of an integrating one it is subtracted, and the rest divided by the response.
        pixels : PixelMap or path-like, optional
            Bad pixels, as of `classify_pixels`: targets are those of the others.

        Returns
        -------
        Correction

        Raises
        ------
        Error
            If no pixel of the set ever changes (a single frame, say); if the mode is "gain" and the mean over
            the mean image not positive; if it is "response", and the set was measured without, or all
            exposures are the same; to shrink, if a half of the set has less than two frames.
        ValueError
            If a target is not finite, the target sigma not positive; if the mode is "gain", and the target
            sigma is given or the target mean not positive; if the policy, mode or camera is another word, the
            scale below 8, or `shrink` or `camera` does not go with the mode.
        """
        adjustments = Adjustments(mode, keep_illumination, shrink, camera)
        bad = bad_pixels_of(pixels, self.shape, self.row_order)
        images = correction_images(self, adjustments, target_mean, target_sigma, bad=bad)
        return images.correction(settled_policy(bad_policy, mode))

    def merge(self, other: Sensor) -> Sensor:
        """Put two measurements of one sensor together, half A to half A, half B to half B.

        Parameters
        ----------
        other : Sensor
            Measurement of other frames of the same shape and kind, with the same options. A response, or
            neighbour sums, that only one of them has are lost, and a warning says so.

        Returns
        -------
        Sensor
            Its provenance keeps that of each part as ``parts``.

        Raises
        ------
        Error
            If shape or kind differ, or options by which files were read or screened; if frames are in both
            measurements, and would count twice. Of frames that came as moments, only the same sums are found.
        """
        other = as_sensor(other)
        check_options(self, other, screening=True)
        check_disjoint(self, other)
        halves, *others = self._pairwise(other, add)
        frames = np.concatenate([self.frames, other.frames])
        return Sensor(halves, frames, merged_provenance(self, other), *others)

    def _in_row_order(self, other: Sensor) -> Sensor:
        """Another measurement with its rows in the order of this one, with a warning if they are flipped."""
        if not is_flipped(self.row_order, other.row_order):
            return other
        warnings.warn(
            f"the second measurement has the {other.row_order} row first, this one the {self.row_order} row: "
            "the rows of the second are flipped",
            stacklevel=4,
        )
        return other.flipped()

    def subtract(self, other: Sensor) -> Sensor:
        """Take a measurement away whose frames are all part of this one: the inverse of `merge`.

        Parameters
        ----------
        other : Sensor
            The measurement to be taken away. A response, or neighbour sums, are lost, with a warning, if
            only one has them.

        Returns
        -------
        Sensor

        Raises
        ------
        Error
            If shape or kind differ, or options by which files were read; if a frame of `other` is not among
            the accepted ones of this measurement in the same half, or has other statistics there; if frames
            that came as moments cannot all be part of this measurement.
        """
        other = as_sensor(other)
        check_options(self, other, screening=False)
        keep, unlisted = rows_left(self, other), unlisted_left(self, other)
        halves, *others = self._pairwise(other, sub)
        frames = self.frames[keep]
        halves = checked_rest(halves, frames, unlisted)
        return Sensor(halves, frames, subtracted_provenance(self, other, frames), *others)

    def _pairwise(self, other: Sensor, operation: Callable[[Any, Any], Any]) -> list[Any]:
        """Add or subtract all sums, half by half, in the row order of this measurement."""
        return pairwise_sums(self, self._in_row_order(other), operation)

    def plot(self, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
        """Draw the mean and the sigma image, their spectra, and the FRC of the halves' images.

        Parameters
        ----------
        figure : matplotlib.figure.Figure or SubFigure, optional
            Where to draw; by default a new pyplot figure, which Jupyter shows.

        Returns
        -------
        matplotlib.figure.Figure or SubFigure
            `figure` if given. Sensors with less than two frames in a half have no FRC.

        Raises
        ------
        Error
            If the sensor holds no frames.
        """
        from camnorm.report.plot import pyplot_figure, sensor_panels

        figure = figure or pyplot_figure((15.0, 6.3))
        sensor_panels(figure, self)
        return figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a sensor file: HDF5, atomically, in place of one that may be there.

        Parameters
        ----------
        path : path-like
            The file.

        Raises
        ------
        FormatError
            If there is a file of another kind, which is not replaced.
        Error
            If another process is writing this file.
        OSError
            If it cannot be written; a file that was there before is unharmed then.
        """
        save_contents(path, self.contents, overwrite=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sensor:
        """Read a sensor file.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Sensor

        Raises
        ------
        FormatError
            If it is a file of another kind, is truncated, or was written by a newer camnorm.
        OSError
            If there is no such file, or it cannot be opened.
        """
        contents, _, _ = read_contents(path)
        return cls(*contents)

    def __repr__(self) -> str:
        made = "measured from" if self.listed or not self.count else "made from moments of"
        return f"<Sensor {made} {self.count} {self.dtype} frames of shape {self.shape}>"

    def _repr_html_(self) -> str:
        """A table and small pictures, which Jupyter shows."""
        from camnorm.report.html import sensor_html

        return sensor_html(self)


def as_sensor(given: object, *, load: bool = False) -> Sensor:
    """Return a sensor as it is, or loaded; TypeError, with what to do, if it is something else."""
    if isinstance(given, Sensor):
        return given
    if load and isinstance(given, (str, os.PathLike)):
        return Sensor.load(given)
    advice = ""
    if isinstance(given, (str, os.PathLike)):
        advice = ": load it with Sensor.load"
    elif isinstance(given, (PixelMoments, np.ndarray)):
        advice = ": make one of PixelMoments with Sensor.from_moments"
    raise TypeError(f"sensor must be a Sensor, not {type(given).__name__}{advice}")


def _read_only(image: Image) -> Image:
    image.flags.writeable = False
    return image
