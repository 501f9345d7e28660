"""Two modes in a sample: an empty gap between groups, or a valley of the distribution."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from camnorm.statistics.distributions import normal_quantile
from camnorm.statistics.sequences import Values, dip, inflation_of, robust_scale

__all__ = ["DIP_LIMIT", "blurred", "gap_chances", "two_modes"]

# √n times the dip of a uniform sample exceeds this in less than 0.1 % of samples, for any n (Hartigan &
# Hartigan 1985, Table 1, and its continuation in the R package diptest).
DIP_LIMIT = 0.75

# Chance at which an empty gap between two groups counts.
_GAP_CHANCE = 1e-3

# A small group counts if the gap beside it is wider than the scale of either group by this factor: fewer
# values say less of their scale.
_WIDE_GAPS = {3: 10.0, 4: 7.0, 5: 5.0}
_SMALLEST_GROUP = min(_WIDE_GAPS)
# A small group is no few outliers at random: it is narrower than the gap by this factor.
_NARROW = 1.5
# Of fewer values all scales are uncertain: beside groups of 3 or 4 gaps must be wider by the factor.
_FEW, _WIDER = 20, 2.5

# Values beside a gap from which the density there is estimated; the others in steps of this factor.
_FEWEST_BESIDE, _GROWTH = 4, 1.2

# Turns of the golden section, which fill the interval evenly however many there are.
_GOLDEN = (math.sqrt(5) - 1) / 2


def blurred(order: Values, resolution: float) -> Values:
    """Values with as much noise as they have at least.

    Parameters
    ----------
    order : float64 ndarray, shape (n,)
        Ascending values. Means of frames with few counts are multiples of 1/pixels: each looks like a mode.
    resolution : float
        Standard deviation of the noise, which is the same at each call.

    Returns
    -------
    float64 ndarray, shape (n,)
        Ascending.
    """
    if not resolution > 0:
        return order
    turns = (np.arange(1, order.size + 1) * _GOLDEN) % 1.0
    noise = np.array([normal_quantile(turn) for turn in turns.tolist()])
    return np.sort(order + resolution * noise)


def gap_chances(order: Values) -> Values:
    """Logarithm of the chance of each gap between neighbours in a unimodal sample, at most.

    Parameters
    ----------
    order : float64 ndarray, shape (n,)
        Ascending values.

    Returns
    -------
    float64 ndarray, shape (n - 1,)
        The larger of the chances on both sides. Both are small only if the density is higher on either side
        of the gap than in it, which no unimodal distribution has.

    Notes
    -----
    Let k values follow on a gap of width w within a width W. If the density does not rise from the gap
    outwards, W/(w + W) is at most t with a chance of t^k or less. Of all k the smallest chance is taken.
    """
    both = []
    n = order.size
    for values in (order, -order[::-1]):
        chances = np.zeros(n - 1)
        k = _FEWEST_BESIDE
        while k < n - 1:
            beside, gap = values[1 + k :] - values[1 : n - k], np.diff(values)[: n - 1 - k]
            share = np.where(gap > 0, beside / np.where(gap > 0, beside + gap, 1.0), 1.0)
            found = k * np.log(np.maximum(share, 1e-300))
            chances[: found.size] = np.minimum(chances[: found.size], found)
            k = max(k + 1, int(k * _GROWTH))
        both.append(chances)
    larger: Values = np.maximum(both[0], both[1][::-1])
    return larger


def two_modes(
    values: Values, least: float, resolution: float = 0.0
) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """How clearly values fall into two groups, and which of them are in the upper one.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        In the order of time: neighbours that are correlated count for less.
    least : float
        Distance of the groups' medians that matters.
    resolution : float
        Standard deviation that the values have by noise alone, as far as they differ within the groups.

    Returns
    -------
    clearness : float
        From 1 on there are two groups.
    upper : bool ndarray, shape (n,), or None
        The upper group; None if there is none.
    """
    if values.size < 2 * _SMALLEST_GROUP:
        return 0.0, None
    order = np.sort(values)
    cut = int(np.searchsorted(order, _best_cut(order), "right"))
    scatter = max(
        (robust_scale(side - np.median(side)) for side in np.split(order, [cut]) if side.size), default=0.0
    )
    resolution = min(resolution, scatter)
    best: tuple[float, npt.NDArray[np.bool_] | None] = (0.0, None)
    for test in (_small_group, _empty_gap, _valley):
        best = max(best, test(values, order, least, resolution), key=lambda found: found[0])
    return best


def _small_group(
    values: Values, order: Values, least: float, resolution: float
) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """A group that lies apart from all others, by the scales of both."""
    n = order.size
    best: tuple[float, npt.NDArray[np.bool_] | None] = (0.0, None)
    gaps = np.diff(order)[_SMALLEST_GROUP - 1 : n - _SMALLEST_GROUP]
    for i in np.argsort(gaps)[::-1][:3] + _SMALLEST_GROUP - 1:
        gap = order[i + 1] - order[i]
        sides = order[: i + 1], order[i + 1 :]
        smaller = min(sides, key=len)
        factor = _WIDE_GAPS.get(len(smaller), _WIDE_GAPS[5])
        if n < _FEW and len(smaller) < 5:
            factor *= _WIDER
        scale = max(resolution, *(robust_scale(side - np.median(side)) for side in sides))
        if len(smaller) < 10:
            scale = max(scale, _NARROW * float(np.ptp(smaller)) / factor)
        if gap > least and gap > factor * scale:
            found = max(1.01, min(gap / max(factor * scale, 1e-300), 100.0))
            best = max(best, (found, values > order[i]), key=lambda pair: pair[0])
    return best


def _empty_gap(
    values: Values, order: Values, least: float, resolution: float
) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """A gap that no unimodal sample has."""
    noisy = blurred(order, resolution)
    chances = gap_chances(noisy)
    cut = int(chances.argmin())
    upper = values > (noisy[cut] + noisy[cut + 1]) / 2
    if upper.all() or not upper.any() or _distance(values, upper) < least:
        return 0.0, None
    limit = math.log(_GAP_CHANCE / order.size)
    return float(chances[cut]) / limit / _inflation(values, upper), upper


def _valley(
    values: Values, order: Values, least: float, resolution: float
) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """A distribution that is far from every unimodal one."""
    n = order.size
    upper = values > _best_cut(order)
    if min(upper.sum(), n - upper.sum()) < max(_WIDE_GAPS) or _distance(values, upper) < least:
        return 0.0, None
    return math.sqrt(n / _inflation(values, upper)) * dip(blurred(order, resolution)) / DIP_LIMIT, upper


def _distance(values: Values, upper: npt.NDArray[np.bool_]) -> float:
    return float(np.median(values[upper]) - np.median(values[~upper]))


def _inflation(values: Values, upper: npt.NDArray[np.bool_]) -> float:
    """What correlation in time within the groups costs."""
    centres = np.where(upper, np.median(values[upper]), np.median(values[~upper]))
    return inflation_of(values - centres, 2)


def _best_cut(order: Values) -> float:
    """Where ascending values are best cut in two: the widest gap near the cut of least variance within."""
    n = order.size
    k = np.arange(1, n)
    sums = np.cumsum(order - order.mean())[:-1]
    cut = int((sums**2 / (k * (n - k))).argmax()) + 1  # Otsu's
    first, last = cut // 2, cut + (n - cut) // 2
    widest = first + int(np.diff(order[first : last + 1]).argmax())
    return float(order[widest] + order[widest + 1]) / 2
