"""A course that is no straight line: bleaching, a lamp that warms up, a level that comes and goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camnorm.statistics.distributions import f_chance
from camnorm.statistics.sequences import FEWEST, Values, inflation_of, robust_scale

__all__ = ["Curve", "curve"]

# The course is fitted to the medians of this many parts at most, which leaves less of what neighbours share.
_PARTS = 64

# Where a broken line may bend, as shares of the sequence, by the number of parts from which on it is fitted:
# close to the ends, since lamps warm up and dyes bleach fast at first.
_BENDS = {
    _PARTS: (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8, 15 / 16),
    40: (1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8),
    24: (1 / 4, 1 / 2, 3 / 4),
    FEWEST: (1 / 3, 2 / 3),
}

# Robust standard deviations from the fit beyond which values count no more, and how often it is made.
_OUTLIER, _FITS = 5.0, 5


@dataclass(frozen=True)
class Curve:
    """How a sequence goes along a broken line."""

    change: float
    """Highest less lowest point of the line; negative if the highest comes first."""
    scatter: float
    """Robust standard deviation of the values about the line."""
    count: int
    """Number of values."""
    chance: float
    """That of such a line in a sequence that goes nowhere, whose neighbours are correlated as much."""


def curve(values: Values) -> Curve | None:
    """Fit a broken line to a sequence, and judge it by what it leaves.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        In the order of time.

    Returns
    -------
    Curve or None
        None for fewer than 12 values.

    Notes
    -----
    The correlation of neighbours is that of the residuals: that of the values would be high for any smooth
    course, and hide it. The chance is that of an F test whose variance is inflated, and whose degrees of
    freedom are reduced, by it.
    """
    n = values.size
    if n < FEWEST:
        return None
    parts = np.array_split(values, min(n, _PARTS))
    edges = np.cumsum([0, *(part.size for part in parts)])
    places = (edges[:-1] + edges[1:] - 1) / 2 / (n - 1)
    medians = np.array([np.median(part) for part in parts])
    bends = next(bends for least, bends in _BENDS.items() if len(parts) >= least)

    def basis(times: Values) -> Values:
        hinges = (np.maximum(times - bend, 0.0) for bend in bends)
        return np.stack([np.ones_like(times), times, *hinges], axis=1)

    terms = basis(places)
    kept = medians
    for _ in range(_FITS):
        coefficients = np.linalg.lstsq(terms, kept, rcond=None)[0]
        fit = terms @ coefficients
        reach = _OUTLIER * robust_scale(medians - fit)
        kept = np.clip(medians, fit - reach, fit + reach)
    residuals = kept - fit
    fitted, freedom = terms.shape[1] - 1, len(parts) - terms.shape[1]
    left, all_of_it = float((residuals**2).sum()), float(((kept - kept.mean()) ** 2).sum())
    inflation = inflation_of(residuals, fitted + 1)
    chance = 1.0
    if all_of_it > 0:
        ratio = (all_of_it - left) / fitted / max(left / freedom * inflation, 1e-300)
        chance = f_chance(fitted, max(freedom / inflation, 1.0), max(ratio, 0.0))
    order = np.sign(int(fit.argmax()) - int(fit.argmin()))
    about = values - basis(np.arange(n) / (n - 1)) @ coefficients
    # As many deviations are lost as there are coefficients.
    lost = np.sqrt(n / (n - fitted - 1))
    return Curve(float(order * np.ptp(fit)), float(lost * robust_scale(about)), n, chance)
