"""Statistics of a sequence of numbers, such as the frames' means: more than one mode, a trend, steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["Course", "Step", "course", "dip", "mann_kendall", "pettitt", "robust_scale", "theil_sen"]

Values = npt.NDArray[np.float64]

# Standard deviations in a median, and in a mean, absolute deviation of a normal distribution.
MEDIAN_TO_SIGMA = 1.4826
MEAN_TO_SIGMA = 1.2533

# Of fewer values neither trend nor step can be told from chance.
FEWEST = 12

# A course is reduced to the medians of this many parts at most: that takes the time of n rather than n²,
# and leaves little of what neighbours have in common.
_PARTS = 64

# Values, and parts, between two steps.
_SHORTEST = 4

# Chance at which a step is taken for one.
_STEP_CHANCE = 1e-3

# Robust standard deviations from the median beyond which values count no more.
_OUTLIER = 5.0

# How often line and step are fitted in turn.
_BACKFITS = 5

# Share of the deviations that is left if both fit much better than the line alone.
_MUCH_BETTER = 0.6

# A step is larger than this multiple of the scatter.
STEP_LIMIT = 2.0


def robust_scale(deviations: Values) -> float:
    """Standard deviation by the median absolute deviation, or the mean one where that is 0.

    Parameters
    ----------
    deviations : float64 ndarray, shape (n,)
        Deviations from the centre, at least one.

    Returns
    -------
    float

    Notes
    -----
    The factors 1.4826 and 1.2533 make both estimate the standard deviation of a normal distribution
    (Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993).
    """
    sizes = np.abs(deviations)
    scale = MEDIAN_TO_SIGMA * float(np.median(sizes))
    return scale if scale > 0.0 else MEAN_TO_SIGMA * float(np.mean(sizes))


def dip(values: Values) -> float:
    """Hartigans' dip: how far the distribution of the values is from every unimodal one.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        At least one.

    Returns
    -------
    float
        The largest difference between the empirical distribution function and the closest unimodal one,
        from 1/(2n) to 1/4.

    Notes
    -----
    J. A. Hartigan & P. M. Hartigan, "The dip test of unimodality", Ann. Stat. 13, 70 (1985): between the
    greatest convex minorant and the least concave majorant of the distribution function, the interval in
    which the mode must lie is narrowed until the distance outside of it is as large as any inside.
    """
    places, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts).astype(np.float64)
    below = above - counts
    largest = 1.0
    low, high = 0, places.size - 1
    while low < high:
        x, lower, upper = places[low : high + 1], below[low : high + 1], above[low : high + 1]
        minorant, majorant = _hull(x, lower), _hull(x, -upper)
        convex = np.interp(x, x[minorant], lower[minorant])
        concave = np.interp(x, x[majorant], upper[majorant])
        distance = concave - convex
        widest = max(float(distance[minorant].max()), float(distance[majorant].max()))
        if widest <= largest:
            break
        first = minorant[distance[minorant].argmax()]
        if distance[first] == widest:
            last = majorant[np.searchsorted(majorant, first)]
        else:
            last = majorant[distance[majorant].argmax()]
            first = minorant[np.searchsorted(minorant, last, "right") - 1]
        # The mode may be an atom, but nothing outside of its interval.
        left, right = (upper - convex)[:first], (concave - lower)[last + 1 :]
        largest = max(largest, float(left.max(initial=0.0)), float(right.max(initial=0.0)))
        if first == 0 and last == high - low:
            break
        low, high = low + int(first), low + int(last)
    return largest / (2 * values.size)


def _hull(x: Values, y: Values) -> npt.NDArray[np.intp]:
    """Knots of the greatest convex minorant of points in the order of x."""
    knots: list[int] = []
    xs, ys = x.tolist(), y.tolist()
    for i, (right, top) in enumerate(zip(xs, ys, strict=True)):
        while len(knots) > 1:
            a, b = knots[-2], knots[-1]
            if (ys[b] - ys[a]) * (right - xs[b]) < (top - ys[b]) * (xs[b] - xs[a]):
                break
            knots.pop()
        knots.append(i)
    return np.array(knots)


def theil_sen(times: Values, values: Values) -> tuple[float, float]:
    """Slope and intercept by medians: the median slope of all pairs (Theil 1950, Sen 1968).

    Parameters
    ----------
    times, values : float64 ndarray, shape (n,)
        Distinct times, at least two.

    Returns
    -------
    slope, intercept : float
    """
    i, j = np.triu_indices(times.size, 1)
    slope = float(np.median((values[j] - values[i]) / (times[j] - times[i])))
    return slope, float(np.median(values - slope * times))


def mann_kendall(values: Values, inflation: float = 1.0) -> float:
    """Chance of so monotonous a sequence without a trend, two-sided (Mann 1945, Kendall 1975).

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        In the order of time, at least three.
    inflation : float
        Factor of the variance for values that are correlated in time.

    Returns
    -------
    float
        By the normal approximation, with ties accounted for.
    """
    n = values.size
    order = np.sign(values[None, :] - values[:, None])
    score = float(np.triu(order, 1).sum())
    ties = np.unique(values, return_counts=True)[1].astype(np.float64)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0:
        return 1.0
    z = max(abs(score) - 1.0, 0.0) / math.sqrt(variance * inflation)
    return math.erfc(z / math.sqrt(2))


def pettitt(values: Values, inflation: float = 1.0) -> tuple[int, float]:
    """Where a sequence most likely steps, and the chance of so clear a step without any.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        In the order of time, at least two.
    inflation : float
        Factor of the variance for values that are correlated in time.

    Returns
    -------
    position : int
        Index of the first value behind the step.
    chance : float
        2·exp(-6·K²/(n³ + n²)), at most 1, with K the largest cumulative sum of centred ranks, twice
        (A. N. Pettitt, "A non-parametric approach to the change-point problem", Appl. Stat. 28, 126
        (1979)).
    """
    n = values.size
    sums = np.abs(np.cumsum(2 * _ranks(values) - (n + 1)))[:-1]
    position = int(sums.argmax()) + 1
    return position, min(1.0, 2 * math.exp(-6 * float(sums.max()) ** 2 / (n**3 + n**2) / inflation))


def arc(values: Values, inflation: float = 1.0) -> tuple[int, int, float]:
    """Which stretch of a sequence most likely has another level, and the chance of so clear a one.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        In the order of time, at least two.
    inflation : float
        Factor of the variance for values that are correlated in time.

    Returns
    -------
    first, last : int
        Index of its first value, and of the first value behind it.
    chance : float
        Of the largest of all stretches' normal deviates of the rank sum, by Bonferroni's bound; at most 1.

    Notes
    -----
    A level that is left and taken up again, as in circular binary segmentation (A. B. Olshen et al.,
    Biostatistics 5, 557 (2004)), for which Pettitt's test is weak.
    """
    n = values.size
    sums = np.concatenate([[0.0], np.cumsum(_ranks(values) - (n + 1) / 2)])
    i, j = np.triu_indices(n + 1, 1)
    length = (j - i).astype(np.float64)
    whole = length == n
    deviation = np.where(length * (n - length) > 0, length * (n - length), np.inf) * (n + 1) / 12
    z = np.abs(sums[j] - sums[i]) / np.sqrt(deviation)
    best = int(z.argmax())
    chance = math.erfc(float(z[best]) / math.sqrt(2 * inflation)) * np.count_nonzero(~whole)
    return int(i[best]), int(j[best]), min(1.0, chance)


def _ranks(values: Values) -> Values:
    """Ranks from 1 on, of equal values their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Values = (last - (counts - 1) / 2)[inverse]
    return ranks


def inflation_of(residuals: Values, levels: int) -> float:
    """Factor by which correlation in time inflates the variance of a mean.

    Parameters
    ----------
    residuals : float64 ndarray, shape (n,)
        What is left of a sequence after taking away what was fitted to it; at least three.
    levels : int
        Number of parameters that were fitted.

    Returns
    -------
    float
        (1 + ρ)/(1 - ρ), at least 1, with ρ the correlation of neighbours, by ranks and corrected for the
        parameters fitted: each biases it by about (1 + 3ρ)/n (M. G. Kendall, Biometrika 41, 403 (1954)).
    """
    n = residuals.size
    ranks = _ranks(residuals) - (n + 1) / 2
    power = float((ranks**2).sum())
    if power == 0.0:
        return 1.0
    rho = float((ranks[1:] * ranks[:-1]).sum()) / power
    rho = 2 * math.sin(math.pi * rho / 6)  # of a normal distribution, from that of the ranks
    rho = (rho + levels / n) / max(1 - 3 * levels / n, 0.1)
    rho = min(max(rho, 0.0), 1 - 2 / n)
    return (1 + rho) / (1 - rho)


@dataclass(frozen=True)
class Step:
    """A change of level."""

    position: int
    """Index of the first value behind it."""
    change: float
    """New level less the old one."""


@dataclass(frozen=True)
class Course:
    """How a sequence goes."""

    trend: float
    """Change over the whole sequence along a straight line."""
    trend_chance: float
    """Chance of such a trend in a sequence without any."""
    steps: tuple[Step, ...]
    """In the order of time."""
    scatter: float
    """Robust standard deviation of the values about all this."""


def course(values: Values) -> Course | None:
    """Find out whether a sequence drifts or steps.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        In the order of time.

    Returns
    -------
    Course or None
        None for fewer than 12 values.

    Notes
    -----
    Steps come from binary segmentation by Pettitt's test, or by stretches of another level; the trend from
    Theil & Sen's slope and Mann &
    Kendall's test, both on medians of up to 64 parts, and with the correlation of neighbours accounted
    for. A step looks like a trend to the one, and a trend like a step to the other: what fits better, a
    line or one step, is taken away before the other is looked for.
    """
    n = values.size
    if n < FEWEST:
        return None
    parts = np.array_split(values, min(n, _PARTS))
    sizes = [part.size for part in parts]
    starts = np.cumsum([0, *sizes])
    times = (starts[:-1] + starts[1:] - 1) / 2
    medians = np.array([np.median(part) for part in parts])

    def line(heights: Values) -> tuple[float, Values]:
        slope, intercept = theil_sen(times, heights)
        return slope, slope * times + intercept

    def scatter(fit: Values, slope: float) -> float:
        within = slope * (np.arange(n) - np.repeat(times, sizes))
        return robust_scale(values - np.repeat(fit, sizes) - within)

    def steps_of(heights: Values, base: Values, slope: float) -> list[int]:
        """Steps that stand out of the scatter."""
        steps = _refined(heights, _segments(heights))
        while steps:
            levels = _levels(heights, steps)
            changes = [abs(levels[step] - levels[step - 1]) for step in steps]
            if min(changes) > STEP_LIMIT * scatter(base + levels, slope):
                break
            del steps[int(np.argmin(changes))]
        return steps

    slope, straight = line(medians)
    flat = _levels(medians, [_best_split(medians)])
    steps: list[int] = []
    if np.abs(medians - straight).sum() > np.abs(medians - flat).sum():
        steps = steps_of(medians, np.zeros_like(medians), 0.0)
    if steps:
        levels = _levels(medians, steps)
        slope, straight = line(medians - levels)
    else:
        both = slope, straight
        for _ in range(_BACKFITS):  # a large step tilts the line
            rest = medians - both[1]
            flat = _levels(rest, [_best_split(rest)])
            both = line(medians - flat)
        if np.abs(medians - both[1] - flat).sum() < _MUCH_BETTER * np.abs(medians - straight).sum():
            slope, straight = both
        steps = steps_of(medians - straight, straight, slope)
        levels = _levels(medians - straight, steps)
    residuals = medians - straight - levels
    return Course(
        trend=slope * (n - 1),
        trend_chance=mann_kendall(medians - levels, inflation_of(residuals, 2 + len(steps))),
        steps=tuple(
            Step(_sharpened(values, starts, step), float(levels[step] - levels[step - 1])) for step in steps
        ),
        scatter=scatter(straight + levels, slope),
    )


def _levels(values: Values, steps: list[int]) -> Values:
    """The median between each two steps, for every value."""
    return np.concatenate([np.full(part.size, np.median(part)) for part in np.split(values, steps)])


def _best_split(values: Values) -> int:
    """Where two levels fit best, by least squares; outliers count as what they just may be."""
    centre = np.median(values)
    limit = _OUTLIER * robust_scale(values - centre)
    clipped = np.clip(values, centre - limit, centre + limit)
    before = np.arange(1, values.size)
    sums = np.cumsum(clipped - clipped.mean())[:-1]
    return int((sums**2 / (before * (values.size - before))).argmax()) + 1


def _segments(values: Values) -> list[int]:
    """Steps by binary segmentation; parts near the ends are too short to be told from outliers."""
    n = values.size
    if n < 2 * _SHORTEST:
        return []
    steps = [_best_split(values)]
    chance = pettitt(values, inflation_of(values - _levels(values, steps), 2))[1]
    if chance > _STEP_CHANCE:
        i, j, _ = arc(values)
        steps = [step for step in (i, j) if 0 < step < n]
        chance = arc(values, inflation_of(values - _levels(values, steps), 3))[2]
    edges = [0, *steps, n]
    if chance > _STEP_CHANCE or min(np.diff(edges)) < _SHORTEST:
        return []
    found = [
        [low + step for step in (0, *_segments(values[low:high])) if low + step > 0]
        for low, high in pairwise(edges)
    ]
    return [step for part in found for step in part]


def _refined(values: Values, steps: list[int]) -> list[int]:
    """Steps where they fit best between their neighbours: ranks, by which they were found, say less."""
    edges = [0, *steps, values.size]
    for i in range(1, len(edges) - 1):
        edges[i] = edges[i - 1] + _best_split(values[edges[i - 1] : edges[i + 1]])
    return edges[1:-1]


def _sharpened(values: Values, starts: npt.NDArray[np.int_], step: int) -> int:
    """Where exactly the step is that lies between two parts, or in one of them."""
    low, high = int(starts[step - 1]), int(starts[step + 1])
    return low + _best_split(values[low:high])
