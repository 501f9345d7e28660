"""How far from their neighbours pixels lie by chance: limits for distributions that are not quite normal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["K", "Limits", "limits_of"]

K = 6.0
"""Standard deviations of a normal distribution that good pixels keep within: 0.03 of 4096 x 4096 do not."""

# Probabilities of a normal distribution below -1 and below -2 standard deviations.
_INNER, _OUTER = 0.158655254, 0.022750132


class Limits:
    """Limits below and above the median of a distribution.

    Parameters
    ----------
    low, high : float
        Both positive, in scales.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high


def limits_of(sample: npt.NDArray[np.float32], most_skewed: float) -> Limits:
    """Extrapolate the tails of a distribution to that of a normal distribution beyond `K`.

    Parameters
    ----------
    sample : float32 ndarray
        Deviations of pixels, in scales.
    most_skewed : float
        Largest skewness that the distribution may have.

    Returns
    -------
    Limits

    Notes
    -----
    The Cornish-Fisher expansion puts the quantile of z standard deviations at z + γ/6·z² from the median,
    with the skewness γ. For each side, both coefficients come from the quantiles at z = 1 and 2: bad pixels,
    as long as they are less than a percent or so, hardly move these. No limit is below `K` scales.
    """
    quantiles = np.quantile(sample, [_OUTER, _INNER, 1 - _INNER, 1 - _OUTER])
    low = _extrapolated(-float(quantiles[1]), -float(quantiles[0]), most_skewed)
    return Limits(low, _extrapolated(float(quantiles[2]), float(quantiles[3]), most_skewed))


def _extrapolated(inner: float, outer: float, most_skewed: float) -> float:
    bend = (outer - 2 * inner) / 2
    bend = min(max(bend, 0.0), most_skewed / 6)
    slope = max(inner - bend, 1.0)
    return slope * K + bend * K**2
