"""Images for the page: tiles that zoom to the single pixel, small enough for a file that is sent by mail.

A pixel is stored as one code of 8 bits: its difference from the smooth surroundings, in steps of about the
scatter of the pixels. Noise of such steps has an entropy of less than 2 bits, which deflate comes close to.
Large differences have wider steps, so that one code holds any outlier to a few percent.
"""

from __future__ import annotations

import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camnorm.limits import usable_threads
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CELL", "GROWTH", "LINEAR", "NOTHING", "TILE", "ZERO", "Level", "TiledImage", "tiled"]

# Pixels per side of a tile, and of a cell of the surroundings.
TILE = 256
CELL = 64

# Codes: none, no difference; differences of more than LINEAR steps grow by GROWTH from code to code.
NOTHING, ZERO = 0, 128
LINEAR, GROWTH = 40, 1.12

# Each level has a quarter of the rows and columns of the one before, down to one of this size.
_FACTOR = 4
_SMALLEST = 512

# Steps as fractions of the scatter of the pixels: the finest, and what the next one tried is larger by.
_FINEST = 0.25
_COARSER = 1.12
_COARSEST = 8.0

# Tiles from which the size of all is estimated.
_SAMPLED = 24

# Below this many bits a pixel, repetitions are worth looking for.
_REPETITIVE = 1.1


class Level(NamedTuple):
    """An image reduced by the mean over blocks of pixels."""

    factor: int
    """Pixels per side of a block."""
    shape: tuple[int, int]
    step: float
    """Difference between codes, in units of the pixels."""
    tiles: tuple[bytes, ...]
    """Codes of each tile as raw deflate streams, row by row of tiles."""


@dataclass(frozen=True, eq=False)
class TiledImage:
    """An image as tiles.

    Attributes
    ----------
    shape : (int, int)
        Shape (y, x) of the image.
    surroundings : float32 ndarray
        Medians over cells of `CELL` pixels per side; between their centres the surroundings are bilinear.
    scatter : float
        Robust standard deviation of the pixels about their surroundings.
    limits : (float, float)
        0.5 % and 99.5 % points of the pixels.
    levels : tuple of Level
        From single pixels to the smallest.
    """

    shape: tuple[int, int]
    surroundings: NDArray[np.float32]
    scatter: float
    limits: tuple[float, float]
    levels: tuple[Level, ...]

    @property
    def size(self) -> int:
        """Bytes of all tiles."""
        return sum(len(tile) for level in self.levels for tile in level.tiles)


def tiled(image: NDArray[np.float64], budget: int) -> TiledImage:
    """Make tiles of an image.

    Parameters
    ----------
    image : float64 ndarray, shape (y, x)
        NaN and infinite pixels are stored as "no value".
    budget : int
        Bytes that all tiles may have.

    Returns
    -------
    TiledImage
        With the finest steps that fit, down to a quarter of the scatter of the pixels.
    """
    surroundings = _medians(image)
    differences = _differences(image, surroundings)
    reduced = [differences]
    while max(reduced[-1].shape) > _SMALLEST:
        reduced.append(_means(reduced[-1]))
    scatters = [_scatter(level) for level in reduced]
    fraction = _FINEST
    while True:
        # Coarse levels are small and seen first.
        steps = [scatters[0] * fraction, *(scatter * fraction / 2 for scatter in scatters[1:])]
        if fraction >= _COARSEST or _estimate(reduced, steps) <= budget:
            levels = tuple(
                Level(_FACTOR**number, level.shape, step, _compressed(_codes(level, step)))
                for number, (level, step) in enumerate(zip(reduced, steps, strict=True))
            )
            result = TiledImage(image.shape, surroundings, scatters[0], _limits(image), levels)
            if fraction >= _COARSEST or result.size <= budget:
                return result
        fraction *= _COARSER


def _medians(image: NDArray[np.float64]) -> NDArray[np.float32]:
    """Medians of the finite pixels of each cell; of cells without any, that of all cells."""
    rows, columns = (math.ceil(n / CELL) for n in image.shape)
    grid = np.full((rows, columns), np.nan, np.float32)
    for row in range(rows):
        with np.errstate(over="ignore"):
            band = image[row * CELL : (row + 1) * CELL].astype(np.float32)
        band[~np.isfinite(band)] = np.nan
        for column in range(columns):
            cell = band[:, column * CELL : (column + 1) * CELL]
            middle = np.median(cell)
            if np.isnan(middle) and not np.isnan(cell).all():
                middle = np.nanmedian(cell)
            grid[row, column] = middle
    known = grid[~np.isnan(grid)]
    grid[np.isnan(grid)] = np.median(known) if known.size else 0.0
    return grid


def _places(
    start: int, stop: int, cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Cells on both sides of pixels, and the weight of the second."""
    place = np.clip((np.arange(start, stop) + 0.5) / CELL - 0.5, 0, cells - 1)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, cells - 1), (place - first).astype(np.float32)


def _differences(image: NDArray[np.float64], grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image without its surroundings."""
    left, right, weight = _places(0, image.shape[1], grid.shape[1])
    wide = grid[:, left] * (1 - weight) + grid[:, right] * weight
    found = np.empty(image.shape, np.float32)
    for start in range(0, image.shape[0], TILE):
        stop = min(start + TILE, image.shape[0])
        above, below, share = _places(start, stop, grid.shape[0])
        share = share[:, None]
        with np.errstate(over="ignore"):
            found[start:stop] = image[start:stop] - (wide[above] * (1 - share) + wide[below] * share)
    return found


def _means(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over blocks of pixels; those at the far edges hold what there is, the last pixels repeated."""
    rows, columns = (math.ceil(n / _FACTOR) for n in image.shape)
    found = np.empty((rows, columns), np.float32)
    for start in range(0, rows, TILE):
        band = image[start * _FACTOR : (start + TILE) * _FACTOR]
        missing = [(0, -n % _FACTOR) for n in band.shape]
        band = np.pad(band, missing, mode="edge") if any(map(any, missing)) else band
        blocks = band.reshape(-1, _FACTOR, columns, _FACTOR)
        with np.errstate(invalid="ignore"):
            found[start : start + TILE] = blocks.mean((1, 3))
    return found


def _sample(image: NDArray[Any]) -> NDArray[Any]:
    """Pixels all over an image, all of a small one."""
    step = max(1, math.isqrt(image.size // 2**20)) | 1  # odd: all colours of a colour filter
    return image[::step, ::step]


def _limits(image: NDArray[np.float64]) -> tuple[float, float]:
    sample = _sample(image)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5)))
    room = max(0.5, 1e-3 * abs(low))
    return (low, high) if high > low else (low - room, high + room)


def _scatter(differences: NDArray[np.float32]) -> float:
    """Robust standard deviation; the plain one if most pixels are equal; 1 if all are."""
    sample = _sample(differences)
    finite = np.abs(sample[np.isfinite(sample)].astype(np.float64))
    if not finite.size:
        return 1.0
    return float(MEDIAN_TO_SIGMA * np.median(finite)) or float(np.sqrt(np.mean(finite**2))) or 1.0


def _codes(differences: NDArray[np.float32], step: float) -> NDArray[np.uint8]:
    """Codes of differences."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = differences / np.float32(step)
        large = np.flatnonzero(np.abs(scaled) > LINEAR)
        rounded = np.rint(scaled)
        beyond = np.abs(scaled.flat[large])
        codes = LINEAR + np.rint(np.log(beyond / LINEAR) / math.log(GROWTH))
        rounded.flat[large] = np.copysign(np.minimum(codes, 255 - ZERO), scaled.flat[large])
        nothing = ~np.isfinite(differences)
        rounded[nothing] = NOTHING - ZERO
        return np.asarray(rounded + ZERO, np.uint8)


def _tiles(image: NDArray[np.uint8] | NDArray[np.float32]) -> list[tuple[slice, slice]]:
    rows, columns = (range(0, n, TILE) for n in image.shape)
    return [(slice(row, row + TILE), slice(column, column + TILE)) for row in rows for column in columns]


def _compressed(codes: NDArray[np.uint8]) -> tuple[bytes, ...]:
    with ThreadPoolExecutor(usable_threads(None)) as pool:
        return tuple(pool.map(lambda place: _deflate(codes[place]), _tiles(codes)))


def _deflate(tile: NDArray[np.uint8]) -> bytes:
    """Deflate without a search for repetitions, which noise has none of, unless the tile has little noise."""
    codes = tile.tobytes()
    small = _deflated(codes, zlib.Z_HUFFMAN_ONLY)
    if len(small) * 8 > _REPETITIVE * len(codes):
        return small
    return min(small, _deflated(codes, zlib.Z_DEFAULT_STRATEGY), key=len)


def _deflated(codes: bytes, strategy: int) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
    return stream.compress(codes) + stream.flush()


def _estimate(levels: list[NDArray[np.float32]], steps: list[float]) -> float:
    """Bytes of all tiles, from some of each level."""
    total = 0.0
    for level, step in zip(levels, steps, strict=True):
        places = _tiles(level)
        chosen = places[:: max(1, len(places) // _SAMPLED)]
        # Tiles at the far edges are smaller.
        pixels = sum(level[place].size for place in chosen)
        total += sum(len(_deflate(_codes(level[place], step))) for place in chosen) * (level.size / pixels)
    return total
