"""Blobs: connected regions of several pixels that are darker or brighter than their surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.epochs.epoch import Pixels
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

__all__ = ["Blob", "blobs_in", "changed_regions", "smoothed"]

Mask = npt.NDArray[np.bool_]

# Means over this many pixels, twice: that of 2 x 2 mosaics and of patterns of period 4 is 0.
_BOX = 4

# Standard deviations of single pixels that count at most: no hot pixel looks like a blob.
_CLIPPED = 6.0

# Standard deviations at the rim of a blob's surroundings; pixels and ratio of sides of what is no line.
_RIM, _LEAST, _LONGEST = 3.5, 4, 6.0

# Most blobs: more are no dust.
_MOST = 2000


@dataclass(frozen=True, eq=False)
class Blob:
    """A region, and how deep it is."""

    x: float
    y: float
    """Centre, weighted by depth."""
    size: int
    """Pixels in which it is at least half as deep as at its deepest place."""
    depth: float
    """Mean deviation of these pixels, in the units of the image: negative if it is dark."""
    rows: slice
    columns: slice
    """Its bounding box."""
    mask: Mask
    """Its pixels there."""

    @property
    def diameter(self) -> float:
        """Diameter of a disc of its size."""
        return float(2 * np.sqrt(self.size / np.pi))

    def values(self, image: Pixels) -> Pixels:
        """What an image has in its pixels."""
        return np.asarray(image[self.rows, self.columns][self.mask])

    def overlap(self, other: Blob) -> int:
        """Number of pixels that both have."""
        top, bottom = max(self.rows.start, other.rows.start), min(self.rows.stop, other.rows.stop)
        left, right = max(self.columns.start, other.columns.start), min(self.columns.stop, other.columns.stop)
        if top >= bottom or left >= right:
            return 0
        parts = [
            blob.mask[
                top - blob.rows.start : bottom - blob.rows.start,
                left - blob.columns.start : right - blob.columns.start,
            ]
            for blob in (self, other)
        ]
        return int(np.count_nonzero(parts[0] & parts[1]))


def smoothed(image: Pixels, usable: Mask) -> Pixels:
    """Means over squares of 4 x 4 pixels, twice, of an image whose centre is 0, in its standard deviations.

    Parameters
    ----------
    image : float32 ndarray, shape (y, x)
        The image. Pixels far from 0 count as less.
    usable : bool ndarray, same shape
        Other pixels count as 0.

    Returns
    -------
    float32 ndarray, same shape
    """
    from scipy import ndimage

    limit = np.float32(_CLIPPED * _spread(image[usable]))
    result = np.where(usable, np.clip(image, -limit, limit), np.float32(0))
    for origin in (0, -1):
        result = ndimage.uniform_filter(result, _BOX, mode="constant", origin=origin)
    spread = _spread(result)
    return np.asarray(result / np.float32(spread or 1.0), np.float32)


def _spread(values: npt.NDArray[np.float32]) -> float:
    some = values.ravel()[:: values.size // 2**20 + 1 | 1]
    return MEDIAN_TO_SIGMA * float(np.median(np.abs(some - np.median(some)))) if some.size else 0.0


def changed_regions(scores: Pixels, limit: float) -> Mask:
    """Pixels in and near the regions in which smoothed scores exceed a limit."""
    from scipy import ndimage

    found = np.abs(scores) > limit
    if found.any():
        found = ndimage.binary_dilation(found, iterations=2 * _BOX)
    return np.asarray(found)


def blobs_in(scores: Pixels, image: Pixels, limit: float, signs: tuple[int, ...] = (-1, 1)) -> list[Blob]:
    """Find the regions in which scores exceed a limit.

    Parameters
    ----------
    scores : float32 ndarray, shape (y, x)
        A smoothed image in its standard deviations.
    image : float32 ndarray, same shape
        The image, for depths.
    limit : float
        Score of the deepest place of a region.
    signs : tuple of int
        -1 for dark ones, 1 for bright ones.

    Returns
    -------
    list of Blob
        The deepest ones first.
    """
    from scipy import ndimage

    found: list[tuple[float, Blob]] = []
    for sign in signs:
        if not (sign * scores.max() if sign > 0 else -scores.min()) >= limit:
            continue
        labels, _ = ndimage.label(sign * scores > _RIM, np.ones((3, 3), int))
        boxes = ndimage.find_objects(labels)
        seeds = np.unique(labels[sign * scores >= limit])
        for number in seeds[seeds > 0].tolist():
            rows, columns = boxes[number - 1]
            part = np.where(labels[rows, columns] == number, sign * scores[rows, columns], 0.0)
            found += [(float(part.max()), blob) for blob in _halved(part, image, rows, columns, limit)]
    found.sort(key=lambda item: -item[0])
    return [blob for _, blob in found[:_MOST]]


def _halved(
    part: npt.NDArray[np.float64], image: Pixels, rows: slice, columns: slice, limit: float
) -> list[Blob]:
    """The regions of a part that are half as deep as their deepest places; no lines."""
    from scipy import ndimage

    blobs = []
    left = part
    # A shallow blob beside a deep one is found once that is gone.
    for _ in range(64):
        peak = float(left.max())
        if peak < limit:
            break
        labels, _ = ndimage.label(left >= peak / 2, np.ones((3, 3), int))
        number = labels.ravel()[int(left.argmax())]
        mask = labels == number
        (inner,) = ndimage.find_objects(mask.astype(np.int8))
        heights = [place.stop - place.start for place in inner]
        left = np.where(ndimage.binary_dilation(mask, iterations=_BOX), 0.0, left)
        if not _is_summit(part, *np.unravel_index(int(np.where(mask, part, 0.0).argmax()), part.shape)):
            continue  # the slope of a deeper one
        size = int(np.count_nonzero(mask))
        if size < _LEAST or max(heights) > _LONGEST * min(heights):
            continue
        weights = np.where(mask, part, 0.0)
        y, x = ndimage.center_of_mass(weights)
        at = slice(rows.start + inner[0].start, rows.start + inner[0].stop)
        along = slice(columns.start + inner[1].start, columns.start + inner[1].stop)
        depth = float(np.mean(image[at, along][mask[inner]]))
        blobs.append(Blob(x + columns.start, y + rows.start, size, depth, at, along, mask[inner]))
    return blobs


def _is_summit(part: npt.NDArray[np.float64], y: np.intp, x: np.intp) -> bool:
    """Whether no place near this one is deeper."""
    near = part[max(y - _BOX, 0) : y + _BOX + 1, max(x - _BOX, 0) : x + _BOX + 1]
    return bool(near.max() <= part[y, x])
