"""How far every pixel of an image is from its neighbours, in units of what is usual around it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from camnorm import _core

__all__ = ["Residuals", "residuals_of"]

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_MAD = 1.4826  # standard deviation of a normal distribution, over the median of absolute deviations

# Side of the tiles that have a scale each, in pixels: many for a precise scale, few for one that follows the
# illumination.
_TILE = 128
# Scales come from every n-th row. No readout has this period.
_ROWS = 5

# An edge between readout blocks: how many lines on either side are compared, the ratio of their scales, and
# in how many standard errors they must differ.
_EDGE_LINES, _EDGE_RATIO, _EDGE_ERRORS = 16, 1.15, 8.0
# Deviations, in scales of the whole image, that count as no more than this.
_CLIP = 5.0


@dataclass(frozen=True, eq=False)
class Residuals:
    """An image without the median of the 7 x 7 pixels around each pixel.

    Attributes
    ----------
    median : float32 ndarray, shape (y, x)
        The local medians.
    scaled : float32 ndarray, shape (y, x)
        The rest, in local scales; 0 where the image is not valid.
    scale : float32 ndarray, shape (y, x)
        The local scales, in the units of the image.
    relative : bool
        Whether the rest was divided by the median.
    """

    median: Image
    scaled: Image
    scale: Image
    relative: bool = False

    @property
    def turned(self) -> Residuals:
        """The same with x and y exchanged."""
        return Residuals(self.median.T, self.scaled.T, self.scale.T, self.relative)


def residuals_of(image: Image, valid: Mask, floor: Image | None = None, relative: bool = False) -> Residuals:
    """Compare every pixel with the median of the 7 x 7 pixels around it.

    Parameters
    ----------
    image : float32 ndarray, shape (y, x)
        The image.
    valid : bool ndarray, shape (y, x)
        Pixels that have a value; others take no part.
    floor : float32 ndarray, shape (y, x), optional
        The least that the scale can be, as of the noise of the image.
    relative : bool
        Divide by the median.

    Returns
    -------
    Residuals
    """
    height, width = image.shape
    filled = np.array(image, np.float32, order="C")
    if not valid.all():
        # As many above as below: the median is that of the valid pixels.
        y, x = np.nonzero(~valid)
        filled[y, x] = np.where((x + y) % 2, np.float32(np.inf), np.float32(-np.inf))
    median = _core.local_median(filled, 1)
    unknown = ~np.isfinite(median)
    if unknown.any():
        median[unknown] = np.median(filled[valid]) if valid.any() else 1.0
    _extend(median)
    rest = filled
    rest -= median
    if relative:
        rest /= median
    rest[~valid] = 0.0
    looked = np.abs(rest[::_ROWS])
    used = valid[::_ROWS]
    whole = _MAD * float(np.median(looked[used])) if used.any() else 0.0
    clipped = np.minimum(looked, np.float32(_CLIP * whole)) if whole > 0 else looked
    rows = _cuts(height, _edges(_profile(clipped, used, 1), _ROWS))
    columns = _cuts(width, _edges(_profile(clipped, used, 0), 1))
    scale = np.empty_like(rest)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            tile = np.s_[top:bottom, left:right]
            some = np.abs(rest[tile][::_ROWS])[valid[tile][::_ROWS]]
            found = _MAD * float(np.median(some)) if some.size > _TILE else whole
            if floor is not None:
                found = max(found, float(floor[tile][::_ROWS].mean()))
            scale[tile] = found if found > 0 else np.inf
    rest /= scale
    return Residuals(median, rest, scale, relative)


def _extend(median: Image) -> None:
    """Continue the medians of whole windows to the edges: mirrored pixels hide the slope of the light."""
    reach, base = 3, 12
    for image in (median, median.T):
        if image.shape[0] < 2 * (reach + base):
            continue
        for inner, outer, edge in ((reach, reach + base, 1), (-1 - reach, -1 - reach - base, -1)):
            slope = (image[inner] - image[outer]) / base
            for step in range(1, reach + 1):
                image[inner - edge * step] = image[inner] + step * slope


def _profile(deviations: Image, used: Mask, axis: int) -> npt.NDArray[np.float64]:
    """Mean deviation of every row (axis 1) or column (axis 0); NaN where no pixel is used."""
    count = np.count_nonzero(used, axis=axis)
    total = np.where(used, deviations, 0).sum(axis=axis, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)


def _edges(profile: npt.NDArray[np.float64], step: int) -> list[int]:
    """Places where the scale of an image changes: edges between readout blocks."""
    lines = _EDGE_LINES
    if profile.size < 4 * lines or not np.isfinite(profile).all():
        return []
    windows = np.lib.stride_tricks.sliding_window_view(profile, lines)
    middle = np.median(windows, axis=1)
    before, after = middle[:-lines], middle[lines:]
    error = 1.25 * _MAD * np.median(np.abs(np.diff(profile))) / np.sqrt(lines)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(np.log(after / before))
    strong = (ratio > np.log(_EDGE_RATIO)) & (np.abs(after - before) > _EDGE_ERRORS * error)
    edges = []
    score = np.where(strong, np.abs(after - before), 0.0)
    while score.any():
        place = int(np.argmax(score))
        edges.append((place + lines) * step)
        score[max(place - lines, 0) : place + lines + 1] = 0.0
    return sorted(edges)


def _cuts(size: int, edges: list[int]) -> list[int]:
    """Where an axis is cut into tiles: at the edges, and between them evenly."""
    cuts = [0]
    for end in [*edges, size]:
        start = cuts[-1]
        tiles = max(1, round((end - start) / _TILE))
        cuts += [start + (end - start) * (number + 1) // tiles for number in range(tiles)]
    return cuts
