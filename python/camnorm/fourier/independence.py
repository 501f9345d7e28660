"""The test of independence: does a ring correlation show a pattern that two frames share?"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from camnorm.fourier.windows import ring_overlap, tapered_fraction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.fourier.curve import RingCorrelation

__all__ = ["BEYOND_3SIGMA", "Independence", "judge"]

BEYOND_3SIGMA = 0.0027
"""Two-sided probability that a normal variable lies beyond 3σ, as it is quoted."""

# A ring holds lines if its power is shared by this many times fewer frequencies than it has; scenes may do
# so at low frequencies, below this fraction of Nyquist.
_LINE = 16.0
_LOW_FREQUENCIES = 0.1

# The leading order overestimates the fourth cumulants of rings of few frequencies. With this number added to
# the frequencies, simulated rings of 40 and more nearly keep their 0.27 and 0.05 % points; only five rings
# are smaller.
_FEW = 3.0


@dataclasses.dataclass(frozen=True)
class Independence:
    """Verdict on whether two frames are independent, by three tests of their ring correlation.

    Fixed patterns betray themselves in one ring, in many (noise that the sensor repeats) or, weakly, in the
    mean over all: each has its test. A pattern of a few single frequencies (readout lines) is looked for
    besides. All use rings 1 to Nyquist.

    Attributes
    ----------
    independent : bool
        ``p >= alpha``, and no `lines`.
    p : float
        Family-wise: the probability that independent frames look at least as dependent in any of the
        three tests. Two of them see the same rings, which the binomial distribution accounts for.
    alpha : float
        Level of the verdict: the share of independent pairs that are called dependent.
    rings : int
        Number of rings tested.
    outside_3sigma, expected_outside_3sigma : int, float
        Rings whose correlation lies outside ±3/sqrt(n/2), and how many do so by chance.
    outside_exact, expected_outside_exact : int, float
        Rings whose correlation lies outside the exact 0.27 % curve, "3sigma-exact", and how many do so by
        chance if the power within a ring is even.
    lines : int
        Rings above 0.1 of Nyquist that lie above +3/sqrt(n/2) because one or few frequencies, the same in
        both frames, hold nearly all of their power.
    mean_correlation, mean_correlation_error : float
        Mean of the correlation over the rings, and its standard deviation if the frames are independent.
    z : float
        Sum of the z of all rings over its standard deviation (Stouffer): positive for a fixed pattern.
    p_largest : float
        Of the most deviant ring (Šidák). A bound if a window makes rings depend on each other.
    p_count : float
        Of the number of rings beyond their two-sided 0.27 % points (binomial).
    p_mean : float
        Of `z`, one-sided, because what a sensor adds to every frame correlates positively.
    """

    independent: bool
    p: float
    alpha: float
    rings: int
    outside_3sigma: int
    expected_outside_3sigma: float
    outside_exact: int
    expected_outside_exact: float
    lines: int
    mean_correlation: float
    mean_correlation_error: float
    z: float
    p_largest: float
    p_count: float
    p_mean: float

    def to_dict(self) -> dict[str, bool | int | float]:
        """Return the numbers by their names."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        verdict = "independent" if self.independent else "not independent"
        return (
            f"{verdict}: p = {self.p:.2g} over {self.rings} rings\n"
            f"  outside ±3/sqrt(n/2): {self.outside_3sigma} rings, "
            f"{self.expected_outside_3sigma:.2g} expected by chance\n"
            f"  outside the exact 0.27 % curve: {self.outside_exact} rings, "
            f"{self.expected_outside_exact:.2g} expected by chance\n"
            f"  with lines in both frames: {self.lines} rings\n"
            f"  mean correlation {self.mean_correlation:+.2g} ± {self.mean_correlation_error:.1g} "
            f"(z = {self.z:+.2f})"
        )


def judge(curve: RingCorrelation, alpha: float, corners: bool) -> Independence:
    """Tell whether two frames are independent; `RingCorrelation.independence` says how."""
    from scipy.special import bdtrc, ndtr, stdtr

    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    last = curve.n.size - 1 if corners else min(curve.shape) // 2
    tested = np.flatnonzero(np.isfinite(curve.z[: last + 1]))
    rings = tested.size
    if not rings:
        raise ValueError("no ring has power in both frames: is one of them constant?")
    z, correlation, evenness = curve.z[tested], curve.correlation[tested], curve.evenness[tested]

    g = curve.n[tested] / curve.n_eff[tested]
    p_ring = _p_of_rings(z, curve.n[tested] * evenness / (2.0 * (g + 1.0 - 1.0 / g)) + _FEW)
    p_largest = _smallest_of(p_ring.min(), rings)
    beyond = int(np.count_nonzero(p_ring < BEYOND_3SIGMA))
    p_count = bdtrc(beyond - 1, rings, BEYOND_3SIGMA) if beyond else 1.0
    # Without power in some rings, those that are left vary as their share.
    sum_of_covariances = _sum_of_covariances(curve, last)
    z_sum = z.sum() / np.sqrt(sum_of_covariances * rings / last)
    p_mean = ndtr(-z_sum)
    p = _family_wise(min(p_largest, p_count, p_mean), rings)

    threshold = curve.threshold("3sigma")[tested]
    lines = (correlation > threshold) & (curve.nyquist[tested] > _LOW_FREQUENCIES)
    lines &= evenness * _LINE < 1.0
    reachable = threshold < 1.0
    freedom = curve.n_eff[tested][reachable] - 1.0
    limit = threshold[reachable]
    tails = 2.0 * stdtr(freedom, -limit * np.sqrt(freedom / (1.0 - limit**2)))
    error = np.sqrt((1.0 / curve.n_eff[tested]).sum() * sum_of_covariances / last) / rings
    return Independence(
        independent=bool(p >= alpha) and not lines.any(),
        p=float(p),
        alpha=float(alpha),
        rings=rings,
        outside_3sigma=int(np.count_nonzero(np.abs(correlation) > threshold)),
        expected_outside_3sigma=float(tails.sum()),
        outside_exact=int(np.count_nonzero(np.abs(correlation) > curve.threshold("3sigma-exact")[tested])),
        expected_outside_exact=rings * BEYOND_3SIGMA,
        lines=int(np.count_nonzero(lines)),
        mean_correlation=float(correlation.mean()),
        mean_correlation_error=float(error),
        z=float(z_sum),
        p_largest=float(p_largest),
        p_count=float(p_count),
        p_mean=float(p_mean),
    )


def _sum_of_covariances(curve: RingCorrelation, last: int) -> float:
    """Sum over r and s of cov(z_r, z_s), over rings 1 to `last`."""
    alpha = tapered_fraction(curve.window)
    if not alpha:
        return last
    return float(ring_overlap(curve.shape, curve.binning, alpha, last)[1][1 : last + 1].sum())


def _p_of_rings(z: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of z for correlations of m frequencies."""
    from scipy.special import stdtr

    squared = np.minimum(z**2 / m, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(2.0 * stdtr(m - 1.0, -np.sqrt((m - 1.0) * squared / (1.0 - squared))))


def _smallest_of(p: float, tests: int) -> float:
    """Probability that the smallest p of a number of independent tests is no larger."""
    return 1.0 if p == 1.0 else -math.expm1(tests * math.log1p(-p))


def _family_wise(smallest: float, rings: int) -> float:
    """Probability that the smallest p of the three tests of independence is no larger."""
    from scipy.special import bdtrc

    if smallest == 1.0:
        return 1.0
    tails = bdtrc(np.arange(rings), rings, BEYOND_3SIGMA)  # of 1 ring or more, 2 or more, ...
    enough = 1 + int(np.count_nonzero(tails > smallest))
    q = -math.expm1(math.log1p(-smallest) / rings)
    between = max(0.0, (BEYOND_3SIGMA - q) / (1.0 - q))
    return -math.expm1(2.0 * math.log1p(-smallest) + math.log1p(-bdtrc(enough - 1, rings, between)))
