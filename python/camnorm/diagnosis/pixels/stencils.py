"""Pixels that were made from their neighbours, by the variance that the neighbours do not explain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.pixels.copies import Pairs, direct_copies
from camnorm.statistics.distributions import normal_quantile, t_limit
from camnorm.statistics.moments import kind_of
from camnorm.statistics.neighbours import STENCILS, NeighbourSums, Stencil

__all__ = ["MADE_DTYPE", "made_of_neighbours"]

MADE_DTYPE = np.dtype(
    [
        ("x", "i8"),
        ("y", "i8"),
        ("class", "U12"),
        ("neighbours", "U12"),
        ("value", "f8"),
        ("limit", "f8"),
        ("plane", "i8"),
    ]
)

Image = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Places of the neighbours, (y, x).
_PLACES: dict[Stencil, tuple[tuple[int, int], ...]] = {
    "left-right": ((0, -1), (0, 1)),
    "up-down": ((-1, 0), (1, 0)),
    "four": ((0, -1), (0, 1), (-1, 0), (1, 0)),
    "eight": ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
    "left": ((0, -1),),
    "right": ((0, 1),),
    "up": ((-1, 0),),
    "down": ((1, 0),),
}
_MEANS, _COPIES = STENCILS[:4], STENCILS[4:]

# Chance of a false alarm for each pixel and stencil: about 0.01 in a sensor of 16 million pixels.
_CHANCE = 1e-10

# Share of the usual q that a pixel must be below, whatever the number of frames. Two dead neighbours give
# 0.67, four 0.8. Rounding gives the mean of four pixels of variance 1 about 0.25, that of eight 0.4. A pixel
# from which the neighbour was made has 0.25 of the usual q of a copy.
_MOST: dict[Stencil, float] = {
    "left-right": 0.3,
    "up-down": 0.3,
    "four": 0.4,
    "eight": 0.5,
    **dict.fromkeys(_COPIES, 0.05),
}

# A pixel is no mean of a neighbour that is explained this many times better, and by the pixel itself.
_BETTER = 4.0

# Side of the blocks that have limits of their own, since the light is not the same everywhere; the fewest
# values of a block; pixels of the whole sensor, and their quantile, that show how heavy the lower tail is.
_BLOCK, _FEWEST = 128, 64
# Of blocks of many pixels, these rows are enough.
_MANY, _ROWS = 8192, 3
_SAMPLE, _TAIL = 1_000_000, 0.2
# How far pixels right beside another one are from it, and pixels that are looked at together.
_REACH, _SOME = 3, 100_000
# Quantiles that show the spread: a third of a block may be pixels that were made, and those beside them.
_UPPER = 0.6, 0.9

# 1 - c, c being the correlation of a pixel with its eight neighbours, in units of that of the nearest four.
_CORNERS = 1.2


def made_of_neighbours(sums: NeighbourSums) -> npt.NDArray[np.void]:
    """Find pixels that were interpolated, or copied, from their neighbours.

    Parameters
    ----------
    sums : NeighbourSums
        Of a few hundred frames or more.

    Returns
    -------
    structured ndarray
        One row for each such pixel, by y and x: ``x``, ``y``, ``class`` ("interpolated" or "copied"),
        ``neighbours`` (the stencil: "left-right", "up-down", "four", "eight"; or the neighbour that was
        copied: "left", "right", "up", "down"), ``value`` (q of `NeighbourSums.ratio`), ``limit`` (of q) and
        ``plane`` (of colour frames; else 0).

    Notes
    -----
    A pixel is reported if its q is far below that of the pixels around it. The limit follows from the spread
    of ln q in blocks of 128 x 128 pixels. q is the ratio of the variances of two correlated variables, which
    follows Student's t (Pitman [1]_), with as many degrees of freedom as the spread shows. The chance of a
    false alarm is 1e-10 for each pixel and stencil; the limit is at most 30 to 50 % of the median (copies:
    5 %). The spread includes the effects of the point spread, the scene and the light. Pixels of few counts
    are judged only if their series would equal that of a neighbour by chance less often than that.

    Of two pixels that equal each other, the one that correlates less with its other neighbours is the copy:
    it shows the light of another place. All pairs of a line are decided together. Where neighbours do not
    correlate, nothing distinguishes the two: the right, or the lower, pixel is reported, since cameras repeat
    what they have read out before.

    References
    ----------
    .. [1] E. J. G. Pitman, "A note on normal correlation", Biometrika 31, 9 (1939).
    """
    planes = sums.shape[2] if len(sums.shape) == 3 else 1
    parts = [_rows_of_plane(sums, plane) for plane in range(planes)] if sums.count > 2 else []
    rows = np.concatenate([np.empty(0, MADE_DTYPE), *parts])
    return rows[np.lexsort((rows["plane"], rows["x"], rows["y"]))]


@dataclass(frozen=True)
class _Usual:
    """What q of one stencil usually is, block by block."""

    median: Image
    spread: Image
    """Of ln q; shape of the blocks."""


@dataclass(frozen=True)
class _Found:
    """Pixels whose q of one stencil is below the limit."""

    pixels: Indices
    """Places in C order."""
    q: Image
    limits: Image

    def only(self, which: npt.NDArray[np.bool_]) -> _Found:
        return _Found(self.pixels[which], self.q[which], self.limits[which])


def _rows_of_plane(sums: NeighbourSums, plane: int) -> npt.NDArray[np.void]:
    shape = sums.shape[:2]
    blocks = _Blocks(shape)
    at = (..., plane) if len(sums.shape) == 3 else ...
    usual: dict[Stencil, _Usual] = {}
    found: dict[Stencil, _Found] = {}
    for stencil in ("left", "up"):  # they show how much neighbours correlate
        usual[stencil] = blocks.usual(sums.ratio(stencil)[at])
    for stencil in STENCILS:
        q = sums.ratio(stencil)[at]
        if stencil not in usual:
            usual[stencil] = blocks.usual(q)
        limits = usual[stencil].median * _limit_shares(stencil, usual, sums.count)
        below = np.flatnonzero(blocks.below(q, limits))
        # Where the scene varies more, all q are smaller: those right beside the pixel count, too.
        nearby = np.minimum(_local_medians(q, below) / blocks.at(usual[stencil].median, below), 1.0)
        its = _Found(below, q.reshape(-1)[below], blocks.at(limits, below) * nearby)
        found[stencil] = its.only(its.q <= its.limits)
    correlation = 1.0 - np.minimum(usual["left"].median, usual["up"].median) / 2
    for stencil, its in found.items():
        enough = _surprise(sums, plane, its.pixels, blocks.at(correlation, its.pixels)) > -np.log(_CHANCE)
        found[stencil] = its.only(enough)
    if not any(its.pixels.size for its in found.values()):
        return np.empty(0, MADE_DTYPE)
    _drop_side_effects(found, shape)
    pairs = Pairs.of({stencil: found[stencil].pixels for stencil in _COPIES}, shape)
    rows = []
    for stencil in _MEANS:  # the mean of pixels that equal it is no other pixel
        its = found[stencil]
        its = its.only(~pairs.within(its.pixels, _PLACES[stencil]))
        rows.append(_rows("interpolated", stencil, its, shape, plane))
    rows += _copied(sums, plane, found, usual, blocks, pairs)
    return _best(np.concatenate(rows))


def _local_medians(q: Image, pixels: Indices) -> Image:
    """Medians of the 7 x 7 pixels around some pixels."""
    medians = np.empty(pixels.size)
    reach = np.arange(-_REACH, _REACH + 1)
    for start in range(0, pixels.size, _SOME):
        y, x = np.unravel_index(pixels[start : start + _SOME], q.shape)
        rows = np.clip(y[:, None] + reach, 0, q.shape[0] - 1)
        columns = np.clip(x[:, None] + reach, 0, q.shape[1] - 1)
        around = q[rows[:, :, None], columns[:, None, :]].reshape(y.size, -1)
        medians[start : start + _SOME] = np.nanmedian(around, axis=1)
    return medians


def _best(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The row of each pixel with the smallest q."""
    rows = rows[np.lexsort((rows["value"], rows["x"], rows["y"]))]
    first = np.ones(rows.size, bool)
    first[1:] = (np.diff(rows["x"]) != 0) | (np.diff(rows["y"]) != 0)
    return rows[first]


def _rows(
    name: str, stencil: Stencil, found: _Found, shape: tuple[int, ...], plane: int
) -> npt.NDArray[np.void]:
    rows = np.empty(found.pixels.size, MADE_DTYPE)
    rows["y"], rows["x"] = np.unravel_index(found.pixels, shape)
    rows["class"], rows["neighbours"], rows["plane"] = name, stencil, plane
    rows["value"], rows["limit"] = found.q, found.limits
    return rows


class _Blocks:
    """Blocks of an image."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._cuts = [_cuts(size) for size in shape]
        self._numbers = [np.repeat(np.arange(len(cuts) - 1), np.diff(cuts)) for cuts in self._cuts]

    def usual(self, q: Image) -> _Usual:
        """Median and spread of each block; NaN where too few pixels have a q."""
        rows, columns = self._cuts
        median = np.full((len(rows) - 1, len(columns) - 1), np.nan)
        spread = median.copy()
        with np.errstate(divide="ignore", invalid="ignore"):
            for i, (top, bottom) in enumerate(pairwise(rows)):
                for j, (left, right) in enumerate(pairwise(columns)):
                    block = q[top:bottom, left:right]
                    values = block[:: _ROWS if block.size > _MANY else 1]
                    values = values[~np.isnan(values)]
                    if values.size < _FEWEST:
                        continue
                    middle, low, high = np.log(np.quantile(values, (0.5, *_UPPER), method="nearest"))
                    median[i, j] = np.exp(middle)
                    spread[i, j] = (high - low) / (normal_quantile(_UPPER[1]) - normal_quantile(_UPPER[0]))
            # How much heavier the lower tail is than that of a normal distribution.
            step = max(1, q.size // _SAMPLE)
            some = np.arange(0, q.size, step)
            tail = np.log(q.reshape(-1)[some] / self.at(median, some)) / self.at(spread, some)
        tail = tail[~np.isnan(tail)]
        if tail.size:
            spread *= max(1.0, float(np.quantile(tail, _TAIL)) / normal_quantile(_TAIL))
        return _Usual(median, spread)

    def below(self, q: Image, limits: Image) -> npt.NDArray[np.bool_]:
        """Where an image is at most the limit of its block."""
        rows, columns = self._numbers
        result = np.empty(q.shape, bool)
        for y, row in enumerate(rows):
            result[y] = q[y] <= limits[row, columns]
        return result

    def at(self, values: Image, pixels: Indices) -> Image:
        """Values of the blocks that pixels lie in."""
        y, x = np.unravel_index(pixels, self._shape)
        return np.asarray(values[self._numbers[0][y], self._numbers[1][x]])


def _cuts(size: int) -> npt.NDArray[np.intp]:
    """Where an axis is cut into blocks of about the same size."""
    return np.linspace(0, size, max(1, round(size / _BLOCK)) + 1).astype(np.intp)


def _limit_shares(stencil: Stencil, usual: dict[Stencil, _Usual], frames: int) -> Image:
    """Limits of q in shares of its median.

    For two variables of correlation r, sinh(ln(q / median) / 2) / sqrt(1 - r²) is t / sqrt(f), with f degrees
    of freedom: n - 2 for normal distributions, fewer for heavy tails. The spread is 2·sqrt((1 - r²) / f).
    Pixels that correlate by c with their neighbours have r = (1 - c) / sqrt(q).
    """
    beside, above = (usual[name].median / 2 for name in ("left", "up"))  # 1 - c
    apart = {
        "left-right": beside,
        "left": beside,
        "right": beside,
        "up-down": above,
        "up": above,
        "down": above,
    }
    # Corners correlate less.
    factor = _CORNERS if stencil == "eight" else 1.0
    unlike = factor * apart.get(stencil, (beside + above) / 2)
    own = np.clip(1.0 - unlike**2 / usual[stencil].median, 1.0 / (1 + len(_PLACES[stencil])), 1.0)
    shares = np.zeros(own.shape)
    for block in np.ndindex(own.shape):
        spread = usual[stencil].spread[block]
        if 0.0 <= spread < np.inf:
            freedom = 4 * own[block] / max(spread, 1e-6) ** 2
            limit = _limit_of_t(min(float(f"{freedom:.2g}"), max(frames - 2.0, 1.0)))
            shares[block] = np.exp(-2 * np.arcsinh(spread / 2 * limit))
    return np.minimum(shares, _MOST[stencil])


@lru_cache(maxsize=1000)
def _limit_of_t(freedom: float) -> float:
    """What t exceeds by chance."""
    return t_limit(max(freedom, 1.0), _CHANCE)


def _surprise(sums: NeighbourSums, plane: int, pixels: Indices, correlation: Image) -> Image:
    """How little likely the series of a neighbour equals that of a pixel by chance: -ln of that chance.

    A series of few counts is known by the frames with counts, whose number follows from mean and variance, as
    of Poisson's distribution. Each of them must be matched, and no other one.
    """
    names = (
        ("sum", "sum_of_squares") if kind_of(sums.dtype) == "integer" else ("sum_high", "sum_of_squares_high")
    )
    parts = sums.parts()
    n, y_x = sums.count, np.unravel_index(pixels, sums.shape[:2])
    planes: tuple[int, ...] = (plane,) if len(sums.shape) == 3 else ()
    mean, square = (parts[name][y_x + planes].astype(np.float64) / n for name in names)
    variance = np.maximum(square - mean**2, 0.0)
    shared = np.clip(np.nan_to_num(correlation), 0.0, 0.99)
    with np.errstate(divide="ignore", invalid="ignore"):
        events = np.where(variance > 0, mean**2 / variance, 0.0)
        if kind_of(sums.dtype) == "integer":
            events = np.minimum(events, variance)
        few = events * (1 - shared - np.log(np.maximum(events, shared)))
        many = 0.5 * np.log(np.maximum(2 * np.pi * np.e * events * (1 - shared**2), 1.0))
    return np.asarray(n * np.where(events < 1, few, many))


def _drop_side_effects(found: dict[Stencil, _Found], shape: tuple[int, ...]) -> None:
    """Drop pixels that resemble a neighbour because it was made from them."""
    best = np.full((shape[0] + 2, shape[1] + 2), np.inf, np.float32)
    made = np.zeros(best.shape, np.uint8)
    width = best.shape[1]

    def padded(pixels: Indices) -> Indices:
        y, x = np.unravel_index(pixels, shape)
        return np.asarray((y + 1) * width + x + 1)

    for number, stencil in enumerate(STENCILS):
        places = padded(found[stencil].pixels)
        better = found[stencil].q < best.reshape(-1)[places]
        best.reshape(-1)[places[better]] = found[stencil].q[better]
        made.reshape(-1)[places[better]] = number
    for stencil, its in found.items():
        places, keep = padded(its.pixels), np.ones(its.pixels.size, bool)
        for dy, dx in _PLACES[stencil]:
            neighbour = places + dy * width + dx
            of_pixel = np.array([(-dy, -dx) in _PLACES[other] for other in STENCILS])
            better = best.reshape(-1)[neighbour] < its.q / _BETTER
            keep &= ~(better & of_pixel[made.reshape(-1)[neighbour]])
        found[stencil] = its.only(keep)


def _copied(
    sums: NeighbourSums,
    plane: int,
    found: dict[Stencil, _Found],
    usual: dict[Stencil, _Usual],
    blocks: _Blocks,
    pairs: Pairs,
) -> list[npt.NDArray[np.void]]:
    """Rows of the copies among pixels that equal each other."""
    shape = sums.shape[:2]
    if not pairs.pixels.size:
        return []
    # How far the other neighbours of each pixel are from it, beside what is usual.
    outside = np.full((len(_COPIES), pairs.pixels.size), np.nan)
    for number, stencil in enumerate(_COPIES):
        q = sums.ratio(stencil)[(..., plane) if len(sums.shape) == 3 else ...].reshape(-1)[pairs.pixels]
        with np.errstate(divide="ignore", invalid="ignore"):
            outside[number] = np.log(q / blocks.at(usual[stencil].median, pairs.pixels))
    spread = float(np.nanmedian(usual["left"].spread)) if np.isfinite(usual["left"].spread).any() else np.inf
    copies = direct_copies(pairs, outside, spread)
    rows = []
    for number, stencil in enumerate(_COPIES):
        its = found[stencil]
        rows.append(_rows("copied", stencil, its.only(np.isin(its.pixels, copies[number])), shape, plane))
    return rows
