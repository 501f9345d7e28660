"""Screening of frames by the histograms of their means and standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DEFAULT_K", "Limits", "robust_limits", "screen"]

DEFAULT_K = 6.0

# Of fewer frames the median absolute deviation says too little: of sets of 5 good frames one in six would
# lose a frame at k = 6, of sets of 10 one in thirty, of sets of 30 one in three hundred.
FEWEST_FRAMES = 10

# Standard deviations in a median, and in a mean, absolute deviation of a normal distribution.
_MEDIAN_TO_SIGMA = 1.4826
_MEAN_TO_SIGMA = 1.2533


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value that is accepted."""

    low: float
    high: float

    def outside(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Tell which of the values lie outside."""
        return (values < self.low) | (values > self.high)


def robust_limits(values: npt.NDArray[np.float64], k: float) -> Limits:
    """Median ± k·MAD.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        Finite values, at least one.
    k : float
        Half width in units of the median absolute deviation, scaled by 1.4826 so that it estimates the
        standard deviation of a normal distribution.

    Returns
    -------
    Limits

    Notes
    -----
    More than half the values being equal makes the MAD 0; the mean absolute deviation, times 1.2533,
    stands in for it then (Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993).
    """
    median = float(np.median(values))
    deviations = np.abs(values - median)
    scale = _MEDIAN_TO_SIGMA * float(np.median(deviations))
    if scale == 0.0:
        scale = _MEAN_TO_SIGMA * float(np.mean(deviations))
    # Frames that differ by rounding errors only must not be told apart.
    scale = max(scale, 1e-12 * abs(median))
    return Limits(median - k * scale, median + k * scale)


def screen(frames: npt.NDArray[np.void], k: float) -> tuple[dict[str, Limits], dict[int, str]]:
    """Find the frames whose mean or standard deviation lies outside median ± k·MAD.

    Parameters
    ----------
    frames : structured ndarray
        Frame table with fields ``mean``, ``std`` and ``status``; only accepted frames are looked at.
    k : float
        See `robust_limits`.

    Returns
    -------
    limits : dict
        `Limits` of ``mean`` and ``std``; none for fewer than ten frames.
    reasons : dict
        Row number of each deviant frame and the reason in words.
    """
    rows = np.flatnonzero(frames["status"] == "accepted")
    limits: dict[str, Limits] = {}
    reasons: dict[int, str] = {}
    if rows.size < FEWEST_FRAMES:
        return limits, reasons
    for field, word in (("mean", "mean"), ("std", "standard deviation")):
        values = frames[field][rows]
        limits[field] = robust_limits(values, k)
        for row in rows[limits[field].outside(values)]:
            text = (
                f"{word} {frames[field][row]:.6g} outside {limits[field].low:.6g} to {limits[field].high:.6g}"
            )
            reasons[int(row)] = f"{reasons[int(row)]}; {text}" if int(row) in reasons else f"screened: {text}"
    return limits, reasons


def as_dict(limits: dict[str, Limits], k: float) -> dict[str, Any]:
    """Return what the provenance keeps of a screening."""
    return {"k": k, **{name: [limit.low, limit.high] for name, limit in limits.items()}}
