"""Images in blocks: what varies slowly over a frame, and is no change of pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numpy.polynomial.legendre import legvander

from camnorm.diagnosis.epochs.blobs import changed_regions, smoothed
from camnorm.diagnosis.epochs.epoch import Pixels
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

__all__ = ["Grid", "polynomial", "powers", "products", "without_lines", "without_slow"]

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Standard deviations of smoothed images beyond which there is a blob; share of the frame that is no blob.
_BLOB, _MOST_BLOBS = 6.0, 0.2

# Pixels of a row or column that its median is taken of, and along a block.
_OF_LINE, _OF_BLOCK = 512, 48

# Pixels along a block: dust of less than a third of it leaves its median as it is.
_SMALLEST, _LARGEST, _SHARE = 16, 128, 8

# Degree of the polynomial of the slow part; the rest is interpolated between blocks.
_DEGREE = 6

# Robust standard deviations from which on a block does not count.
_NORMAL = 4.0


class Grid:
    """A frame cut into blocks of about the same size.

    Parameters
    ----------
    shape : tuple of two ints
        Of the frame.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        size = int(np.clip(min(shape) // _SHARE, _SMALLEST, _LARGEST))
        self.shape = shape
        self._step = size // _OF_BLOCK | 1  # an odd one meets all pixels of a mosaic
        self.edges = tuple(np.linspace(0, n, max(1, n // size) + 1).astype(int) for n in shape)
        self.centres = tuple((edges[1:] + edges[:-1] - 1) / 2 for edges in self.edges)
        self.blocks = tuple(len(centres) for centres in self.centres)

    def __iter__(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Row and column of each block, and its pixels."""
        rows, columns = self.edges
        for i in range(self.blocks[0]):
            for j in range(self.blocks[1]):
                yield i, j, slice(rows[i], rows[i + 1]), slice(columns[j], columns[j + 1])

    def places(self, axis: int) -> Values:
        """Places of pixels along an axis, from -1 to 1."""
        return np.linspace(-1.0, 1.0, self.shape[axis]) if self.shape[axis] > 1 else np.zeros(1)

    def centre_places(self, axis: int) -> Values:
        """Places of the centres of blocks along an axis."""
        return np.asarray(np.interp(self.centres[axis], np.arange(self.shape[axis]), self.places(axis)))

    def medians(self, image: Pixels, usable: Mask) -> Values:
        """Median of the usable pixels of each block; NaN if less than a quarter of them are usable."""
        found = np.full(self.blocks, np.nan)
        for i, j, rows, columns in self:
            step = self._step
            use = usable[rows, columns][::step, ::step]
            values = image[rows, columns][::step, ::step][use]
            if 4 * values.size >= use.size:
                found[i, j] = np.median(values)
        return found


def without_slow(image: Pixels, usable: Mask, grid: Grid, quiet: Mask | None = None) -> tuple[float, Mask]:
    """Subtract from an image, in place, what varies slowly: a polynomial, then medians of blocks.

    Parameters
    ----------
    image : float32 ndarray, shape (y, x)
        The image.
    usable : bool ndarray, shape (y, x)
        Pixels that count.
    grid : Grid
        Blocks of the frame.
    quiet : bool ndarray, shape (y, x), optional
        Pixels that count for the medians. By default all but those of blobs.

    Returns
    -------
    slow : float
        Root mean square of what was subtracted, its mean left out.
    quiet : bool ndarray, shape (y, x)
        Pixels that counted for the medians.
    """
    medians = grid.medians(image, usable)
    known = np.isfinite(medians)
    if not known.any():
        return 0.0, usable
    columns, found, terms = _fitted(medians, known, grid)
    surface = polynomial(grid, terms, found)
    for start in range(0, grid.shape[0], 256):
        where = slice(start, start + 256)
        image[where] -= surface(where)
    if quiet is None:
        # Blobs that fill a block would be taken for illumination.
        blobs = changed_regions(smoothed(image, usable), _BLOB)
        quiet = usable & ~blobs if np.count_nonzero(blobs) <= _MOST_BLOBS * blobs.size else usable
    left = grid.medians(image, quiet)
    left[~np.isfinite(left)] = 0.0
    _subtract_interpolated(image, grid, left)
    return float(np.std(columns @ found + left[known])), quiet


def _fitted(medians: Values, known: Mask, grid: Grid) -> tuple[Values, Values, list[tuple[int, int]]]:
    """Polynomials at the known blocks, their coefficients, and their terms: a robust fit."""
    terms = powers(grid.blocks, _DEGREE)
    y, x = grid.centre_places(0), grid.centre_places(1)
    columns = products(y, x, terms)[known.ravel()]
    weights = np.ones(columns.shape[0], bool)
    for _ in range(4):
        some = columns[weights]
        found = np.linalg.lstsq(some.T @ some, some.T @ medians[known][weights], rcond=1e-12)[0]
        rest = medians[known] - columns @ found
        spread = MEDIAN_TO_SIGMA * float(np.median(np.abs(rest - np.median(rest))))
        kept = np.abs(rest) <= _NORMAL * spread
        if spread == 0.0 or kept.sum() <= 2 * len(terms) or np.array_equal(kept, weights):
            break
        weights = kept
    return columns, np.asarray(found, np.float64), terms


def powers(blocks: tuple[int, ...], degree: int) -> list[tuple[int, int]]:
    """Degrees in y and x of the terms of a polynomial: along an axis, at most half the number of blocks."""
    most = [min(degree, n // 2) if n > 2 else 0 for n in blocks]
    return [(i, j) for i in range(most[0] + 1) for j in range(most[1] + 1) if i + j <= max(most)]


def products(y: Values, x: Values, terms: Sequence[tuple[int, int]]) -> Values:
    """Legendre polynomials at all pairs of places, (place, term)."""
    degree = max(max(term) for term in terms)
    along_y, along_x = legvander(y, degree), legvander(x, degree)
    return np.stack([np.outer(along_y[:, i], along_x[:, j]).ravel() for i, j in terms], axis=1)


def polynomial(grid: Grid, terms: Sequence[tuple[int, int]], found: Values) -> Callable[[slice], Pixels]:
    """A polynomial over the frame, as a function of some rows."""
    degree = max(max(term) for term in terms) + 1
    coefficients = np.zeros((degree, degree))
    for term, value in zip(terms, found, strict=True):
        coefficients[term] = value
    y, x = (legvander(grid.places(axis), degree - 1) for axis in (0, 1))
    along = coefficients @ x.T
    return lambda where: np.asarray(y[where] @ along, np.float32)


def _subtract_interpolated(image: Pixels, grid: Grid, values: Values) -> None:
    """Subtract cubic splines through the centres of blocks; beyond the outer ones, their values."""
    rows, columns = (_spline(grid.centres[axis], grid.shape[axis]) for axis in (0, 1))
    along = (values @ columns.T).astype(np.float32)
    for start in range(0, grid.shape[0], 256):
        image[start : start + 256] -= rows[start : start + 256].astype(np.float32) @ along


def _spline(centres: Values, size: int) -> Values:
    """What each value at a centre adds to the natural cubic spline at each pixel, (pixel, centre)."""
    count = len(centres)
    places = np.clip(np.arange(size), centres[0], centres[-1])
    if count == 1:
        return np.ones((size, 1))
    steps = np.diff(centres)
    values, curvatures = np.eye(count), np.zeros((count, count))
    if count > 2:
        matrix = np.diag((steps[1:] + steps[:-1]) / 3)
        matrix += np.diag(steps[1:-1] / 6, 1) + np.diag(steps[1:-1] / 6, -1)
        bends = np.diff(np.diff(values, axis=0) / steps[:, None], axis=0)
        curvatures[1:-1] = np.linalg.solve(matrix, bends)
    at = np.clip(np.searchsorted(centres, places, "right") - 1, 0, count - 2)
    step = steps[at][:, None]
    right = (places - centres[at])[:, None] / step
    left = 1 - right
    bent = (left**3 - left) * curvatures[at] + (right**3 - right) * curvatures[at + 1]
    return np.asarray(left * values[at] + right * values[at + 1] + step**2 / 6 * bent)


def without_lines(image: Pixels) -> None:
    """Subtract the medians of rows and columns, in place: of some of their pixels, if they are many."""
    for axis in (1, 0):
        step = image.shape[axis] // _OF_LINE + 1 | 1
        some = image[:, ::step] if axis == 1 else image[::step]
        image -= np.median(some, axis=axis, keepdims=True)
