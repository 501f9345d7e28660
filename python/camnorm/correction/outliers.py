"""Pixels that do not follow the light, found from the mean and the sigma image alone."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.statistics.moments import Image
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

__all__ = ["Camera", "Outliers", "find_outliers", "median_of_some", "typical"]

Camera: TypeAlias = Literal["counting", "integrating"]
Mask: TypeAlias = npt.NDArray[np.bool_]
Values: TypeAlias = npt.NDArray[np.float32]

# A pixel deviates from its neighbours by more than a quarter of the light, or by six standard deviations of
# the pattern where that is more, and by more than five of its noise. An integrating camera without a level
# has no light to compare with: its offsets are corrected, and sigma shows the defects.
_LEAST = 0.25
_OF_PATTERN = 6.0
_OF_NOISE = 5.0
# Sigma that is less than half or more than twice that of the neighbours.
_OF_SIGMA = math.log(2.0)

_RADIUS = 3  # pixels around one that are its neighbours
_PASSES = 3
_LINES = 0.5, 2.0  # what a column or row may have of the light that its neighbours have
# Lines of as many pixels have an estimate of their own.
_LINE = 8

# Counts that are expected at least, where a deviation is weighed.
_FEWEST_COUNTS = 0.2
# Pixels without a count are dead if this many of a clean frame's would have none by chance.
_FALSE_ALARMS = 0.01
_LEAST_LIGHT = 0.25
_SQUARE = (2 * _RADIUS + 1) ** 2

# About as many values as a median is taken of: of more, every n-th is used.
_MANY = 2**20


class Outliers(NamedTuple):
    """Defective pixels, and what is normal without them."""

    bad: Mask
    level: float
    """Mean over the mean image of the good pixels."""
    spread: float
    """Root mean square of the sigma image over the good pixels."""


def typical(mean: Image, sigma: Image) -> tuple[float, float]:
    """Mean over the mean image and root mean square of the sigma image; hot pixels count little.

    Unlike the targets of Eq. (2), these include pixels without a count: to leave them out would overestimate
    the light of a set of few counts.
    """
    usable = np.isfinite(mean) & np.isfinite(sigma)
    if not usable.any():
        return math.nan, math.nan
    m, s = (image if usable.all() else image[usable] for image in (mean, sigma))
    middle = median_of_some(m)
    most = 10 * middle if middle > 0 else math.inf
    changing = s[s > 0]
    limit = 10 * median_of_some(changing) if changing.size else math.inf
    square = float(np.mean(np.minimum(s, limit) ** 2))
    return float(np.mean(np.minimum(m, most))), math.sqrt(square)


def find_outliers(
    mean: Image, sigma: Image, frames: int, camera: Camera, threads: int, given: Mask | None = None
) -> Outliers:
    """Find the defects of one plane.

    Of a counting camera, the counts of a pixel are compared with those of its neighbours, by the deviance of
    the Poisson distribution; of an integrating one the mean, whose noise is normal, and sigma.

    Parameters
    ----------
    mean, sigma : float64 ndarray, shape (y, x)
        Images of the plane.
    frames : int
        Frames behind them.
    camera : {"counting", "integrating"}
        Kind of camera.
    threads : int
        Number of threads.
    given : bool ndarray, optional
        Pixels that are known to be defective.

    Returns
    -------
    Outliers
    """
    level, spread = typical(mean, sigma)
    counting = camera == "counting"
    counts = frames * (level / spread) ** 2 if counting and spread > 0 else math.inf
    never = ~(np.isfinite(mean) & np.isfinite(sigma))
    if given is not None:
        never |= given
    unit = level if counting else spread
    with np.errstate(invalid="ignore"):
        values = np.asarray((mean if counting else mean - level) / unit, np.float32)
    values[never] = 0.0
    constant = ~(sigma > 0)
    never |= _constant_and_dead(mean, values, constant, counts, frames, threads) if counting else constant
    bad = never
    light = 1.0 if counting else (level / spread if level > spread > 0 else math.inf)
    least = _LEAST * light
    for _ in range(_PASSES):
        if bad.all():
            break
        found = never | _deviant(values, ~bad, counts, frames, least, threads)
        if not counting and frames >= _LINE:
            found |= _noisy(sigma, spread, ~bad, frames, threads)
        if np.array_equal(found, bad):
            break
        bad = found
    good = ~bad
    if good.any():
        level = float(np.mean(mean, where=good))
        spread = math.sqrt(float(np.mean(np.square(sigma, where=good, out=np.zeros_like(sigma)), where=good)))
    return Outliers(bad, level, spread)


def _constant_and_dead(
    mean: Image, values: Values, constant: Mask, counts: float, frames: int, threads: int
) -> Mask:
    """Pixels that never change, unless that may be chance."""
    chance = math.log(mean.size / _FALSE_ALARMS)
    # No count but 0 is more likely than 1/e.
    dead = constant & (mean != 0) & (frames > chance)
    if counts * _LEAST_LIGHT > chance:
        return np.asarray(constant)
    if counts * _LEAST_LIGHT * _SQUARE > chance:
        around = _core.local_means(values, np.ones(mean.shape, bool), _RADIUS, threads)
        dead |= constant & (around == 0)
    return np.asarray(dead)


def _deviant(values: Values, used: Mask, counts: float, frames: int, least: float, threads: int) -> Mask:
    """Pixels whose mean deviates from that of their neighbours by more than the least."""
    expected = _core.local_means(values, used, _RADIUS, threads)
    counting = math.isfinite(counts)
    for axis in (0, 1):
        if values.shape[axis] >= _LINE:
            _follow_lines(expected, values, used, axis, counting)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = values - expected
        if counting:
            deviation /= np.maximum(expected, np.float32(1e-9))
    np.abs(deviation, out=deviation)
    noise = 1 / counts if counting else 1 / frames
    spread = MEDIAN_TO_SIGMA * median_of_some(deviation, used)
    pattern = min(spread, math.sqrt(max(spread**2 - noise, 0.0)))
    found = np.asarray(deviation > max(least, _OF_PATTERN * pattern))
    places = np.nonzero(found)
    x, mu = values[places].astype(np.float64), expected[places].astype(np.float64)
    if counting:
        x, mu = np.maximum(x, 0.0) * counts, np.maximum(mu * counts, _FEWEST_COUNTS)
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.where(x > 0, x * np.log(x / mu), 0.0)
        score = np.sqrt(np.maximum(2 * (logarithm - (x - mu)), 0.0))
    else:
        score = np.abs(x - mu) * math.sqrt(frames)
    found[places] = score > _OF_NOISE
    return found


def _follow_lines(expected: Values, values: Values, used: Mask, axis: int, counting: bool) -> None:
    """Let what is expected of pixels follow columns (axis 0) or rows (axis 1) of another sensitivity."""
    weight = used.sum(axis)
    both = used & np.isfinite(expected)
    measured, wanted = (np.sum(image, axis, np.float64, where=both) for image in (values, expected))
    if counting:
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.clip(np.nan_to_num(measured / wanted, nan=1.0, posinf=1.0), *_LINES)
        expected *= np.expand_dims(factor.astype(np.float32), axis)
    else:
        offset = (measured - wanted) / np.maximum(weight, 1)
        expected += np.expand_dims(offset.astype(np.float32), axis)


def _noisy(sigma: Image, spread: float, used: Mask, frames: int, threads: int) -> Mask:
    """Pixels that change much more, or less, than their neighbours."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(sigma / spread).astype(np.float32)
    usable = used & np.isfinite(logarithm)
    deviation = np.abs(logarithm - _core.local_means(logarithm, usable, _RADIUS, threads))
    normal = MEDIAN_TO_SIGMA * median_of_some(deviation, usable)
    least = max(_OF_SIGMA, _OF_PATTERN * normal, _OF_NOISE / math.sqrt(2 * frames))
    with np.errstate(invalid="ignore"):
        return np.asarray(deviation > least)


def median_of_some(values: npt.NDArray[np.floating], used: Mask | None = None) -> float:
    """Median of the values, or of some of them if they are many; NaN for none."""
    step = values.size // _MANY | 1
    some = values.ravel()[::step]
    if used is not None:
        some = some[used.ravel()[::step]]
    some = some[np.isfinite(some)]
    return float(np.median(some)) if some.size else math.nan
