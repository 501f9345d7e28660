"""The pattern of a sensor by parts, each as far as it is reliable: a correction that does no harm.

The mean image of a set is a pattern and noise. `estimate_plane` keeps of every part of it (columns, rows,
blocks, smooth parts, pixels) the share that both halves of the set have in common. Frames of a counting
camera are divided by that pattern. From frames of an integrating one it is subtracted, and the rest is
divided by the response that mean and sigma image have in common. docs/explanation/best.md has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from camnorm import _core
from camnorm.correction.outliers import Camera, Mask, Outliers, Values, find_outliers
from camnorm.statistics.moments import Image

__all__ = ["Evidence", "Part", "PlaneEstimate", "estimate_plane"]

# Gives the mean or the sigma images of two disjoint sets of frames; again at each call, to save memory.
Pair: TypeAlias = Callable[[Literal["mean", "sigma"]], tuple[Image, Image]]

_FILL_RADIUS = 2  # pixels around a defect that it is filled from
# Of a pixel with less response than this, little but noise would be amplified.
_LEAST_RESPONSE = 0.1
_MOST_RESPONSE = 10.0
# Standard errors by which the exponent between sigma and mean must differ from that of a gain.
_SEEN = 3.0


@dataclass(frozen=True)
class Evidence:
    """What is known of one plane.

    Parameters
    ----------
    mean, sigma : float64 ndarray, shape (y, x)
        Images that the correction is made of.
    frames : tuple of two int
        Frames of the two sets that are compared.
    pair : callable, optional
        Their images; None to correct defects only.
    only_first : bool
        Whether the correction is made of the first of the sets alone, else of both.
    given : bool ndarray, optional
        Pixels that are known to be defective.
    """

    mean: Image
    sigma: Image
    frames: tuple[int, int]
    pair: Pair | None
    only_first: bool = False
    given: Mask | None = None

    @property
    def count(self) -> int:
        """Frames that the correction is made of."""
        return self.frames[0] if self.only_first else sum(self.frames)


@dataclass(frozen=True)
class Part:
    """What was found of one part of a pattern, in units of the level (counting) or of sigma (integrating)."""

    rows: int
    columns: int
    size: int
    noise: float
    power: float
    weight: float
    residual: float


@dataclass(frozen=True)
class Contrast:
    """What was found of the response of an integrating camera: variances of its logarithm over the pixels.

    Attributes
    ----------
    pattern : float
        That of sigma.
    no_gain : float
        That of sigma over the mean: by as much a gain is wrong.
    residual : float
        Squared error of the estimated response.
    """

    pattern: float
    no_gain: float
    residual: float


@dataclass(frozen=True, eq=False)
class PlaneEstimate:
    """The correction of one plane.

    Attributes
    ----------
    mean, response : float64 ndarray, shape (y, x), or None
        Frames become (I - mean) / response + level; None if only the parts were asked for.
    bad : bool ndarray
        Defects, which are to be filled from their neighbours.
    level, spread : float
        Mean and sigma of the good pixels.
    parts : sequence of Part
        Parts of the pattern; none if only defects are corrected.
    pattern : float
        Variance of the pattern: the covariance of both mean images, in the units of the parts.
    contrast : Contrast or None
        What is found of the response of an integrating camera.
    """

    mean: Image | None
    response: Image | None
    bad: Mask
    level: float
    spread: float
    parts: Sequence[Part]
    pattern: float = 0.0
    contrast: Contrast | None = None


def estimate_plane(
    evidence: Evidence, camera: Camera, threads: int, *, only_parts: bool = False
) -> PlaneEstimate:
    """Estimate the correction of one plane.

    Parameters
    ----------
    evidence : Evidence
        What is known.
    camera : {"counting", "integrating"}
        Kind of camera.
    threads : int
        Number of threads.
    only_parts : bool
        Find only what the parts are like.

    Returns
    -------
    PlaneEstimate
    """
    outliers = find_outliers(
        evidence.mean, evidence.sigma, evidence.count, camera, threads, given=evidence.given
    )
    bad, level, spread = outliers
    counting = camera == "counting"
    if evidence.pair is None or bad.all() or not spread > 0 or (counting and not level > 0):
        if only_parts:
            return PlaneEstimate(None, None, bad, level, spread, ())
        return _finished(evidence, np.full(bad.shape, level), np.ones(bad.shape), outliers, (), threads)
    unit = level if counting else spread
    deviations = _Deviations(evidence, bad, threads)
    a, b = deviations.of("mean", lambda image, own: (image - own) / (own if counting else unit))
    counts = evidence.count * (level / spread) ** 2 if counting else float(evidence.count)
    common = _product(a, b) / float(np.mean(~bad))
    pattern, parts = deviations.shrunk(a, b, counts, only_parts)
    if counting and pattern is not None:
        response = 1.0 + pattern.astype(np.float64)
        return _finished(evidence, level * response, response, outliers, parts, threads)
    found = None
    if not counting:
        rest, slope, found = _response(deviations, (a, b), parts, outliers, only_parts)
    if pattern is None:
        return PlaneEstimate(None, None, bad, level, spread, parts, common, found)
    assert rest is not None
    response = 1.0 + np.clip(slope * pattern.astype(np.float64), -0.9, 9.0)
    response *= np.exp(rest)
    response /= response[~bad].mean()
    mean = level + unit * pattern.astype(np.float64)
    return _finished(evidence, mean, response, outliers, parts, threads)


class _Deviations:
    """Images of two sets of frames without their level, defects filled."""

    def __init__(self, evidence: Evidence, bad: Mask, threads: int) -> None:
        assert evidence.pair is not None
        self._evidence, self._pair, self._threads = evidence, evidence.pair, threads
        self._good = ~bad
        self._places = np.nonzero(bad)

    def of(
        self, name: Literal["mean", "sigma"], scaled: Callable[[Image, float], Image]
    ) -> tuple[Values, Values]:
        """Deviations of the images, given by a function of an image and its mean over the good pixels."""
        images = list(self._pair(name))
        results: list[Values] = []
        while images:
            image = images.pop(0)
            own = float(np.mean(image, where=self._good))
            with np.errstate(divide="ignore", invalid="ignore"):
                values = scaled(image, own).astype(np.float32)
            results.append(self._filled(values))
        return results[0], results[1]

    def _filled(self, values: Values) -> Values:
        if self._places[0].size:
            values[self._places] = 0.0
            around = _core.local_means(values, self._good, _FILL_RADIUS, self._threads)
            values[self._places] = np.nan_to_num(around[self._places])
        values -= np.float32(np.mean(values, dtype=np.float64))
        return values

    def shrunk(
        self, a: Values, b: Values, counts: float, only_parts: bool = False
    ) -> tuple[Values | None, list[Part]]:
        """What both have in common; how the parts are."""
        one, other = self._evidence.frames
        used = float(np.mean(self._good))
        pattern, rows = _core.estimate_pattern(
            a, b, one, other, counts, used, self._evidence.only_first, only_parts, self._threads
        )
        parts = [Part(*map(int, row[:3]), *map(float, row[3:])) for row in rows]
        return pattern, parts


def _product(x: Values, y: Values) -> float:
    """Mean over the pixels of the product."""
    return float(np.einsum("ij,ij", x, y, dtype=np.float64)) / x.size


def _response(
    deviations: _Deviations,
    means: tuple[Values, Values],
    parts: Sequence[Part],
    outliers: Outliers,
    only_parts: bool,
) -> tuple[Values | None, float, Contrast]:
    """Response of the pixels of an integrating camera, from what their sigma and mean have in common.

    The logarithm of sigma is taken for a multiple of the mean, and what is left of it is shrunk for itself.
    The multiple is that of a gain. If the halves of the set say otherwise, it is the one of three that leaves
    the least error: theirs, that of a gain, or none.

    Returns
    -------
    rest : float32 ndarray
        What is left of the logarithm.
    slope : float
        The multiple.
    contrast : Contrast
    """
    least = 1e-3 * outliers.spread
    a, b = deviations.of("sigma", lambda image, own: np.log(np.maximum(image, least) / max(own, least)))
    y_a, y_b = means

    # Of a gain, sigma is proportional to the mean; without a positive level there is none to be told.
    expected = outliers.spread / outliers.level if outliers.level > outliers.spread else 0.0
    common, pattern = _product(y_a, y_b), _product(a, b)
    both = (_product(a, y_b) + _product(b, y_a)) / 2
    slopes = [expected]
    if common > 0 and any(part.weight > 0 for part in parts):
        power = (_product(y_a, y_a) + _product(y_b, y_b) + 2 * common) / 4
        noise = (_product(a, a) + _product(b, b)) / 2
        error = math.sqrt(noise * power / a.size / 2) / common
        if abs(both / common - expected) > _SEEN * error:
            # The part of the mean that is no gain may be that of all scales, or of pixels only.
            slopes = [both / common, expected, 0.0]
    of_mean = sum(part.residual for part in parts)

    def residual(slope: float) -> float:
        _, found = deviations.shrunk(a - np.float32(slope) * y_a, b - np.float32(slope) * y_b, 0.0, True)
        return (sum(part.residual for part in found) + slope**2 * of_mean) / a.size

    errors = [residual(slope) for slope in slopes]
    least = min(errors)
    slope = slopes[errors.index(least)]
    no_gain = pattern - 2 * expected * both + expected**2 * common
    contrast = Contrast(max(pattern, 0.0), max(no_gain, 0.0), max(least, 0.0))
    if only_parts:
        return None, slope, contrast
    rest, _ = deviations.shrunk(a - np.float32(slope) * y_a, b - np.float32(slope) * y_b, 0.0)
    return rest, slope, contrast


def _finished(
    evidence: Evidence,
    mean: Image,
    response: Image,
    outliers: Outliers,
    parts: Sequence[Part],
    threads: int,
) -> PlaneEstimate:
    """The estimate, whose response is usable everywhere; defects far from good pixels become neutral."""
    bad, level, spread = outliers
    weak = ~((response > _LEAST_RESPONSE) & (response < _MOST_RESPONSE))
    if weak.any():
        bad = bad | weak
    places = np.nonzero(bad)
    if places[0].size:
        around = _core.local_means(np.zeros(bad.shape, np.float32), ~bad, _FILL_RADIUS, threads)
        lonely = np.isnan(around[places]) & np.isfinite(evidence.mean[places])
        lone = tuple(index[lonely] for index in places)
        bad = bad.copy()
        # Without good neighbours there is nothing to fill them from: they lose their mean.
        bad[lone] = False
        mean[lone], response[lone] = evidence.mean[lone], 1.0
    mean[bad], response[bad] = level, 1.0
    return PlaneEstimate(mean, response, bad, level, spread, parts)
