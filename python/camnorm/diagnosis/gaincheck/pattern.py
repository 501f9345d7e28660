"""What varies from pixel to pixel in an image, and how much of it two images share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camnorm.apriori.fit import ORIENTATIONS
from camnorm.apriori.gain import Treatment
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Details = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = ["BOX", "Match", "details", "limited", "matches", "own_of_pixels", "robust_sigma", "shared"]

BOX = 15
"""Pixels along the square whose mean is taken away."""

_NORMAL = 6.0  # robust standard deviations beyond which a pixel counts for no more
_ROWS = 64  # of which products are summed in float32
_MANY = 2**20  # values from which a median is taken; of more, every n-th


def robust_sigma(values: NDArray[Any]) -> float:
    """Standard deviation from the median of absolute values, of values around 0."""
    some = values.reshape(-1)[:: values.size // _MANY | 1]
    return MEDIAN_TO_SIGMA * float(np.median(np.abs(some)))


def details(images: Iterable[NDArray[Any]], good: Mask, box: int = BOX) -> list[Details]:
    """Relative difference of each good pixel of images from the mean around it; 0 where it is not good.

    Parameters
    ----------
    images : iterable of ndarray, shape (y, x)
        Of positive values where pixels are good. They are looked at by as many threads.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    box : int
        Side of the square of the mean.

    Returns
    -------
    list of ndarray of float32, shape (y, x)
    """
    from scipy.ndimage import uniform_filter

    size = min(box, max(3, min(good.shape) // 2 | 1))
    weight = uniform_filter(good.astype(np.float32), size)
    # Where hardly any pixel is good there is no mean.
    usable = good & (weight > 0.1)

    step = math.isqrt(good.size // _MANY) + 1

    def detail(image: NDArray[Any]) -> Details:
        some = image[::step, ::step][good[::step, ::step]]
        unit = float(some.mean(dtype=np.float64)) if some.size else 1.0
        values = np.where(good, image / image.dtype.type(unit or 1.0), 0).astype(np.float32, copy=False)
        around = uniform_filter(values, size)
        np.divide(around, weight, where=usable, out=around)
        counted = usable & (around > 0)
        found = np.divide(values, around, where=counted, out=np.ones_like(values))
        found -= np.float32(1)
        return np.asarray(found, np.float32)

    given = list(images)
    with ThreadPoolExecutor(max(len(given), 1)) as executor:
        return list(executor.map(detail, given))


def limited(image: Details) -> Details:
    """Cut off the extremes of an image around 0, in place: few pixels must not outweigh all others."""
    limit = _NORMAL * robust_sigma(image)
    return np.clip(image, -limit, limit, out=image) if limit > 0 else image


def own_of_pixels(image: Details) -> Details:
    """An image without what whole rows and columns share: cameras of one kind have these in common."""
    result = image - image.mean(0, keepdims=True, dtype=np.float64).astype(np.float32)
    result -= result.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    return np.asarray(result)


def shared(a: Details, b: Details) -> float:
    """Mean product of two images around 0: of halves of a set, the variance of the pattern."""
    return float(np.einsum("ij,ij", a, b, dtype=np.float64)) / a.size


class Match(NamedTuple):
    """How much of a gain's pattern an image shows in one orientation."""

    treatment: Treatment
    slope: float
    """1 if it shows all of it, -1 if it shows the inverse."""
    error: float

    @property
    def z(self) -> float:
        """In standard errors."""
        return self.slope / self.error if self.error > 0 else 0.0


def matches(image: Details, pattern: Details, frames_format: str) -> list[Match]:
    """Compare an image with a pattern in all orientations that have its shape.

    Parameters
    ----------
    image, pattern : ndarray of float32, shape (y, x)
        Around 0.
    frames_format : str
        Decides which way RELION and MotionCor turn.

    Returns
    -------
    list of Match
    """
    energy = shared(pattern, pattern) * pattern.size
    if not energy > 0:
        return []
    # Where the two have nothing in common, their products have the product of their variances.
    error = math.sqrt(shared(image, image) / energy)
    found = []
    for rotate, flip in ORIENTATIONS:
        treatment = Treatment(rotate, flip)
        turned = treatment.turn(pattern, frames_format)
        if turned.shape == image.shape:
            found.append(Match(treatment, _product(image, turned) / energy, error))
    return found


def _product(a: Details, b: Details) -> float:
    """Sum of the products of two images, in float32 within some rows."""
    rows = (np.s_[start : start + _ROWS] for start in range(0, len(a), _ROWS))
    return math.fsum(float(np.vdot(a[part], b[part])) for part in rows)
