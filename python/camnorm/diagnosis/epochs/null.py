"""Tests of every pixel, and what chance makes of them: an empirical null, and the false discovery rate.

References
----------
B. Efron, "Large-scale simultaneous hypothesis testing: the choice of a null hypothesis", J. Am. Stat. Assoc.
99, 96 (2004): location and scale of the null from the central part of all tests, which real changes do not
reach. Y. Benjamini & Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57, 289 (1995).
Tails longer than those of a normal distribution are those of Tukey's g-and-h distribution (D. C. Hoaglin, in
"Exploring Data Tables, Trends, and Shapes", 1985): g by quantiles of the pixels beside the blobs that
changed, h by the halves of each measurement, between which nothing changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.epochs.epoch import Epoch, Pixels

__all__ = ["Null", "null_of", "rejected", "variance_scores", "welch_scores"]

Values = npt.NDArray[np.float64]

_NORMAL = NormalDist()

# Scores of which the quantiles are taken at most.
_MANY = 2**21

# Quantiles of the centre, and of the tails; scores beyond each of them, at least.
_CENTRE, _TAILS, _FEWEST = 0.25, (0.01, 0.02, 0.04, 0.08), 20

# Most of the skewness that scores can have.
_MOST_SKEWED = 0.4

# Rows at a time.
_ROWS = 128


def welch_scores(residual: Pixels, old: Epoch, new: Epoch, plane: int, scale: float) -> Pixels:
    """Welch's t of the mean of each pixel, as the normal score of the same probability.

    The variance is that of Welch, or the pooled one if it is larger: where values are skewed, a low mean
    comes with a low variance, and t alone would be too large.
    """
    scores = np.empty_like(residual)
    frames = old.frames, new.frames
    square = np.float32(scale * scale)
    for start in range(0, len(residual), _ROWS):
        where = slice(start, start + _ROWS)
        one, other = square * old.variance[plane, where], new.variance[plane, where]
        first, second = one / np.float32(frames[0]), other / np.float32(frames[1])
        welch = first + second
        freedom = welch**2 / (first**2 / max(frames[0] - 1, 1) + second**2 / max(frames[1] - 1, 1))
        pooled = (frames[0] * one + frames[1] * other) / sum(frames) * (1 / frames[0] + 1 / frames[1])
        t = residual[where] / np.sqrt(np.maximum(welch, pooled))
        # Wallace's transform of t (1959).
        scores[where] = (
            np.sign(t) * np.sqrt(freedom * np.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
        )
    return scores


def variance_scores(residual: Pixels, old: Epoch, new: Epoch, plane: int) -> Pixels:
    """Normal scores of the logarithm of the ratio of the variances of each pixel.

    The quotient of variances follows the F distribution, with the degrees of freedom that the kurtosis
    leaves: for many frames, the logarithm has the variance (κ - 1)(1/n1 + 1/n2). As its cube root is nearly
    normal (Paulson 1942), scores are taken of that.
    """
    scores = np.empty_like(residual)
    for start in range(0, len(residual), _ROWS):
        where = slice(start, start + _ROWS)
        one, other = (
            2 / (9 * epoch.freedom(epoch.mean[plane, where])) for epoch in (old, new)
        )  # of the old and the new variance
        root = np.exp(np.clip(residual[where], -60, 60) / 3)
        scores[where] = ((1 - one) * root - (1 - other)) / np.sqrt(other + root * root * one)
    return scores


@dataclass(frozen=True)
class Null:
    """How scores are distributed where nothing has changed."""

    location: float
    scale: float
    skewness: float
    """g of the g-and-h distribution."""
    elongation: float
    """h of it."""

    def scores(self, values: npt.NDArray[np.floating]) -> Values:
        """Scores that are normal where nothing changed, no larger than by location and scale alone."""
        straight = (values.astype(np.float64) - self.location) / self.scale
        size = np.abs(straight)
        grid = np.concatenate([np.linspace(0, 12, 1201), np.linspace(12.1, 60, 480)])
        for sign in (-1, 1):
            side = np.sign(straight) == sign
            g = sign * self.skewness
            longer = grid if abs(g) < 1e-6 else np.expm1(np.clip(g * grid, -50, 50)) / g
            longer = np.maximum.accumulate(np.maximum(longer, grid) * np.exp(self.elongation * grid**2 / 2))
            size[side] = np.minimum(size[side], np.interp(size[side], longer, grid))
        return np.asarray(np.sign(straight) * size)


def null_of(scores: Pixels, quiet: npt.NDArray[np.bool_], halves: Sequence[npt.NDArray[np.floating]]) -> Null:
    """The empirical null of the scores of a frame.

    Parameters
    ----------
    scores : float32 ndarray
        Scores of the pixels.
    quiet : bool ndarray, same shape
        Those that count: pixels of blobs that changed do not.
    halves : sequence of ndarray
        Scores of the difference between the halves of each measurement, which show how long tails are where
        nothing changes.

    Returns
    -------
    Null
        With a scale of at least 1.
    """
    values = _some(scores[quiet])
    if values.size < _FEWEST:
        return Null(0.0, 1.0, 0.0, 0.0)
    middle, scale, lower, upper, normal = _shape(values)
    skewness = float(np.median(np.log(upper / lower) / normal)) if normal.size else 0.0
    lengths = [_elongation(_some(np.ravel(half))) for half in halves]
    limits = (-_MOST_SKEWED, _MOST_SKEWED)
    return Null(middle, max(1.0, scale), float(np.clip(skewness, *limits)), max(0.0, *lengths))


def _some(values: npt.NDArray[np.floating]) -> Values:
    return np.asarray(values[:: values.size // _MANY + 1 | 1], np.float64)


def _shape(values: Values) -> tuple[float, float, Values, Values, Values]:
    """Median, scale of the centre, and distances of low and high quantiles from the median; normal ones."""
    tails = [p for p in _TAILS if p * values.size >= _FEWEST]
    found = np.quantile(values, [_CENTRE, 0.5, 1 - _CENTRE, *tails, *(1 - p for p in tails)])
    low, middle, high = (float(value) for value in found[:3])
    scale = (high - low) / (-2 * _NORMAL.inv_cdf(_CENTRE))
    lower, upper = middle - found[3 : 3 + len(tails)], found[3 + len(tails) :] - middle
    good = (lower > 0) & (upper > 0)
    return middle, scale, lower[good], upper[good], np.array([-_NORMAL.inv_cdf(p) for p in tails])[good]


def _elongation(values: Values) -> float:
    """H of the g-and-h distribution of some scores, of a symmetric distribution."""
    if values.size < _FEWEST:
        return 0.0
    _, scale, lower, upper, normal = _shape(values)
    if not normal.size or not scale > 0:
        return 0.0
    return float(np.median(2 * np.log(np.sqrt(lower * upper) / (scale * normal)) / normal**2))


def rejected(scores: Values, tests: int, rate: float) -> float:
    """Smallest score that is significant at a false discovery rate, by Benjamini and Hochberg.

    Parameters
    ----------
    scores : float64 ndarray, shape (n,)
        The largest of all scores in magnitude; all others have larger p-values than `rate`.
    tests : int
        How many tests there are.
    rate : float
        The false discovery rate.

    Returns
    -------
    float
        Infinite if none is.
    """
    from scipy import special

    sizes = np.sort(np.abs(scores))[::-1]
    p = 2 * special.ndtr(-sizes)
    passed = np.flatnonzero(p <= rate * np.arange(1, sizes.size + 1) / tests)
    return float(sizes[passed[-1]]) if passed.size else float("inf")
