"""Where a gain is stale: spots that it leaves in both halves of a set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.diagnosis.gaincheck.pattern import robust_sigma
from camnorm.diagnosis.gaincheck.result import Spot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BACKGROUND", "stale_spots"]

BACKGROUND = 65
"""Side of the square around a spot that it is compared with."""

# Sides of squares over which the pattern is averaged, to see spots of these sizes.
_SIZES, _SIZES_BINNED = (5, 9, 17), (3, 5, 9)

# Shorter side from which on images are binned by 2 for it.
_BINNED = 1024

# Standard deviations beyond which a mean is a spot; in each half alone.
_CERTAIN, _IN_HALVES = 6.5, 3.0


def stale_spots(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Spot, ...]:
    """Find spots in the pattern that a gain leaves.

    Parameters
    ----------
    a, b : ndarray of float32, shape (y, x)
        The pattern left in the mean images of the halves, without what varies slowly.

    Returns
    -------
    tuple of Spot
        The clearest first.
    """
    from scipy.ndimage import find_objects, label, uniform_filter

    step = 2 if min(a.shape) >= _BINNED else 1
    a, b = (_binned(half, step) for half in (a, b))
    clearest = np.zeros(a.shape, np.float32)
    for size in _SIZES if step == 1 else _SIZES_BINNED:
        if size > min(a.shape) // 4:
            break
        means = [uniform_filter(half, size) for half in (a, b)]
        whole = (means[0] + means[1]) / np.float32(2)
        sigmas = [robust_sigma(image) for image in (whole, *means)]
        if not all(sigma > 0 for sigma in sigmas):
            continue
        z = whole / np.float32(sigmas[0])
        one, other = (mean / np.float32(sigma) for mean, sigma in zip(means, sigmas[1:], strict=True))
        z[np.minimum(np.sign(whole) * one, np.sign(whole) * other) < _IN_HALVES] = 0.0
        for edge in (np.s_[: size // 2], np.s_[-(size // 2) :]):  # there, pixels count twice
            z[edge] /= np.float32(math.sqrt(2))
            z[:, edge] /= np.float32(math.sqrt(2))
        clearest = np.where(np.abs(z) > np.abs(clearest), z, clearest)
    fine = uniform_filter((a + b) / np.float32(2), min(_SIZES[0], max(3, min(a.shape) // 8)))
    spots = []
    for sign in (-1, 1):
        labels, _ = label(sign * clearest > _CERTAIN)
        for number, place in enumerate(find_objects(labels), 1):
            inside = labels[place] == number
            spot = _spot(fine, sign, place, inside, step)
            spots.append((float(np.abs(clearest[place][inside]).max()), spot))
    return tuple(spot for _, spot in sorted(spots, key=lambda found: -found[0]))


def _binned(image: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    if step == 1:
        return image
    height, width = (length // step for length in image.shape)
    blocks = image[: height * step, : width * step].reshape(height, step, width, step)
    return np.asarray(blocks.mean((1, 3)))


def _spot(
    image: NDArray[np.float32], sign: int, place: tuple[slice, ...], inside: NDArray[np.bool_], step: int
) -> Spot:
    """Centre and size of a spot: of the part that is more than half as deep as its deepest pixel."""
    depth = np.where(inside, sign * image[place], 0.0)
    peak = float(depth.max())
    core = depth > peak / 2 if peak > 0 else inside
    rows, columns = np.nonzero(core)
    weights = depth[core] if peak > 0 else np.ones(len(rows))
    return Spot(
        x=round(_centre(columns, weights, place[1].start, step), 2),
        y=round(_centre(rows, weights, place[0].start, step), 2),
        size=round(2 * step * math.sqrt(core.sum() / math.pi), 2),
        change=round(sign * peak, 5),
    )


def _centre(places: NDArray[np.intp], weights: NDArray[np.floating[Any]], start: int, step: int) -> float:
    """Weighted mean of places, in pixels that are not binned."""
    return (float(np.average(places, weights=weights)) + start + 0.5) * step - 0.5
