"""Scale and offset between the mean images of two epochs: M2 = a·M1 + b, whatever else changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.epochs.blocks import Grid, polynomial, powers, products
from camnorm.diagnosis.epochs.epoch import Epoch, Pixels
from camnorm.statistics.sequences import MEAN_TO_SIGMA, MEDIAN_TO_SIGMA

__all__ = ["Fit", "fitted", "residual"]

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Robust standard deviations of a residual beyond which a pixel does not count, and rounds of the fit.
_NORMAL, _ROUNDS = 3.5, 6

# A median is taken of every n-th pixel.
_STEP = 7

# Degree of the polynomial by which the scale varies over the frame, as illumination does.
_DEGREE = 4

# Standard errors of the pattern's variance from which on there is a pattern to compare, also part by part.
_SEEN, _BY_PARTS = 10.0, 30.0


@dataclass(frozen=True)
class Fit:
    """The straight line between two mean images, of one colour plane."""

    scale: float
    scale_error: float
    """Both NaN if the pixels have no pattern that shows it."""
    offset: float
    offset_error: float
    slope: Values
    """Coefficients of the polynomial of the scale."""
    terms: list[tuple[int, int]]


class _Sums(NamedTuple):
    """Sums over the pixels of each block that count, (block,)."""

    n: Values
    squares: Values
    """Of the old mean image, less its mean."""
    products: Values
    """Of both mean images."""
    common: Values
    """Of the halves of the old one, without noise."""
    influence: Values
    """Squares of what each pixel adds to the numerator of the scale's error."""
    spread: float
    """Robust standard deviation of the residual."""


def fitted(old: Epoch, new: Epoch, plane: int, usable: Mask, grid: Grid) -> Fit:
    """Fit the straight line, without the pixels that do not follow it.

    Only deviations within blocks count: the pattern of the pixels, not the light. The old mean image has
    noise, which makes the slope of an ordinary regression too small. So the sum of squares in it is that of
    the halves' product, whose noise is independent (an instrumental variable).

    Parameters
    ----------
    old, new : Epoch
        The epochs.
    plane : int
        Colour plane.
    usable : bool ndarray, shape (y, x)
        Pixels that count.
    grid : Grid
        Blocks of the frame.

    Returns
    -------
    Fit
    """
    centres = [grid.medians(epoch.mean[plane], usable) for epoch in (old, new)]
    pair = _Pair(old, new, plane, usable, grid, centres)
    scale, limit = pair.ratio_of_spreads(), math.inf
    for _ in range(_ROUNDS):
        sums = pair.sums(scale, limit)
        common, pixels = float(sums.common.sum()), max(float(sums.n.sum()), 1.0)
        seen = common / (float(sums.squares.sum()) / math.sqrt(pixels) or math.inf)
        before, settled, limit = scale, math.isfinite(limit), _NORMAL * sums.spread
        if not seen > _SEEN:
            break
        scale = float(sums.products.sum()) / common
        if settled and abs(scale - before) <= 1e-7 * abs(scale):
            break
    terms = powers(grid.blocks, _DEGREE)
    slope = np.zeros(len(terms))
    if not seen > _SEEN:
        slope[0] = 1.0
        return Fit(math.nan, math.nan, math.nan, math.nan, slope, terms)
    slope[0] = scale
    if seen > _BY_PARTS:
        slope = _slopes(sums, grid, terms)
    one, other = (
        float(np.nanmedian(centre)) + epoch.level for centre, epoch in zip(centres, (old, new), strict=True)
    )
    error = math.sqrt(float(sums.influence.sum())) / common
    chance = math.hypot(MEAN_TO_SIGMA * sums.spread / math.sqrt(pixels), error * one)
    return Fit(scale, error, other - scale * one, chance, slope, terms)


class _Pair:
    """The mean images of both epochs in blocks, less the median of each."""

    def __init__(
        self, old: Epoch, new: Epoch, plane: int, usable: Mask, grid: Grid, centres: Sequence[Values]
    ) -> None:
        self._epochs = old, new
        self._plane, self._usable, self._grid, self._centres = plane, usable, grid, centres

    def ratio_of_spreads(self) -> float:
        """Ratio of the robust spreads of the new and the old mean image: where to begin."""
        spreads = []
        for epoch, centre in zip(self._epochs, self._centres, strict=True):
            medians = []
            for i, j, rows, columns in self._grid:
                if np.isfinite(centre[i, j]):
                    values = epoch.mean[self._plane, rows, columns][self._usable[rows, columns]]
                    medians.append(np.median(np.abs(values[::_STEP] - np.float32(centre[i, j]))))
            spreads.append(float(np.median(medians)) if medians else 0.0)
        return spreads[1] / spreads[0] if spreads[0] > 0 and spreads[1] > 0 else 1.0

    def sums(self, scale: float, limit: float) -> _Sums:
        """Sums over the pixels whose residual lies within a limit."""
        old = self._epochs[0]
        numbers = np.zeros((5, *self._grid.blocks))
        spreads = []
        for i, j, rows, columns in self._grid:
            if not (np.isfinite(self._centres[0][i, j]) and np.isfinite(self._centres[1][i, j])):
                continue
            place = self._plane, rows, columns
            use = self._usable[rows, columns]
            one, other = (
                epoch.mean[place][use] - np.float32(centre[i, j])
                for epoch, centre in zip(self._epochs, self._centres, strict=True)
            )
            rest = np.abs(other - np.float32(scale) * one)
            spreads.append(float(np.median(rest[::_STEP])))
            near = rest <= limit
            one, other = one[near], other[near]
            if one.size < 2:
                continue
            one -= one.mean()
            common = old.common(one, old.difference[place][use][near], old.variance[place][use][near])
            products = one * other
            influence = products - np.float32(scale) * common
            numbers[:, i, j] = (
                one.size,
                *(values.sum(dtype=np.float64) for values in (one * one, products, common)),
                np.einsum("i,i", influence, influence, dtype=np.float64),
            )
        spread = MEDIAN_TO_SIGMA * float(np.median(spreads)) if spreads else 0.0
        n, squares, products, common, influence = numbers
        return _Sums(n, squares, products, common, influence, spread)


def _slopes(sums: _Sums, grid: Grid, terms: list[tuple[int, int]]) -> Values:
    """Coefficients of the scale as a polynomial over the frame."""
    y, x = grid.centre_places(0), grid.centre_places(1)
    basis = products(y, x, terms)
    matrix = basis.T @ (sums.common.ravel()[:, None] * basis)
    return np.asarray(np.linalg.lstsq(matrix, basis.T @ sums.products.ravel(), rcond=1e-9)[0])


def residual(old: Epoch, new: Epoch, plane: int, fit: Fit, grid: Grid) -> Pixels:
    """New mean image less what the old one predicts; what varies slowly is still in it."""
    slope = polynomial(grid, fit.terms, fit.slope)
    image = new.mean[plane].copy()
    for start in range(0, grid.shape[0], 256):
        where = slice(start, start + 256)
        image[where] -= slope(where) * old.mean[plane, where]
    return np.asarray(image)
