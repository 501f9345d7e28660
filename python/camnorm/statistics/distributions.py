"""The few chances and limits of distributions that checks need, without the time to import scipy.special."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["f_chance", "f_limit", "normal_quantile", "t_limit", "trigamma"]

# Steps of the continued fraction, which takes about the root of the larger argument; and of Newton's
# method.
_MOST_STEPS = 20_000
_MOST_ITERATIONS, _LARGEST_STEP = 100, 4.0

_normal = NormalDist()


def normal_quantile(p: float) -> float:
    """The value that a standard normal variable stays below with the probability p, 0 < p < 1."""
    return _normal.inv_cdf(p)


def trigamma(x: float) -> float:
    """Second derivative of ln Γ at x > 0: the variance of the logarithm of a gamma variable."""
    total = 0.0
    while x < 20.0:
        total += 1.0 / (x * x)
        x += 1.0
    s = 1.0 / (x * x)
    # 1/x + 1/(2x²) + Σ B_2k / x^(2k+1); the first term left out is below 1e-17 of the whole.
    series = 1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * (5 / 66 - s * 691 / 2730))))
    return total + (1.0 + (0.5 + series / x) / x) / x


def f_chance(a: float, b: float, ratio: float) -> float:
    """Probability that an F variable with a and b degrees of freedom exceeds a ratio."""
    if not ratio > 0.0:
        return 1.0 if ratio == ratio else math.nan
    return _f_tail(a, b, math.log(ratio) + math.log(a / b))[0]


def f_limit(a: float, b: float, chance: float) -> float:
    """What an F variable with a and b degrees of freedom exceeds with a chance, 0 < chance < 1."""
    # Newton's method for the logarithm of the chance, which is a concave function of that of the ratio, from
    # Wilson and Hilferty's cube root for b = ∞, which is too small. It would leap where the curve is flat.
    spread = 2.0 / (9.0 * a)
    root = 1.0 - spread - normal_quantile(chance) * math.sqrt(spread)
    place = math.log(a / b) + 3.0 * math.log(max(root, 1e-3))
    for _ in range(_MOST_ITERATIONS):
        tail, density = _f_tail(a, b, place)
        step = math.log(tail / chance) * tail / density
        place += min(step, _LARGEST_STEP)
        if abs(step) <= 1e-14 * max(1.0, abs(place)):
            break
    return math.exp(place) * b / a


def t_limit(freedom: float, chance: float) -> float:
    """What Student's t exceeds upwards with a chance below one half."""
    return math.sqrt(f_limit(1.0, freedom, 2.0 * chance))


def _f_tail(a: float, b: float, place: float) -> tuple[float, float]:
    """Chance that ln(F·a/b) exceeds a value, and the density there.

    It is the regularized incomplete beta function I_y(b/2, a/2) with y = 1/(1 + exp(place)).
    """
    p, q = b / 2.0, a / 2.0
    # ln y and ln(1 - y), without cancellation.
    log_y, log_rest = (-max(s, 0.0) - math.log1p(math.exp(-abs(s))) for s in (place, -place))
    density = math.exp(p * log_y + q * log_rest + math.lgamma(p + q) - math.lgamma(p) - math.lgamma(q))
    y, rest = math.exp(log_y), math.exp(log_rest)
    if y < (p + 1.0) / (p + q + 2.0):
        return density * _fraction(p, q, y) / p, density
    return 1.0 - density * _fraction(q, p, rest) / q, density


def _fraction(p: float, q: float, y: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (p + q) * y / (p + 1.0)
    d = 1.0 / (d or tiny)
    value = d
    for m in range(1, _MOST_STEPS):
        for term in (
            m * (q - m) * y / ((p + 2 * m - 1.0) * (p + 2 * m)),
            -(p + m) * (p + q + m) * y / ((p + 2 * m) * (p + 2 * m + 1.0)),
        ):
            d = 1.0 / ((1.0 + term * d) or tiny)
            c = (1.0 + term / c) or tiny
            value *= c * d
        if abs(c * d - 1.0) < 3e-16:
            break
    return value
