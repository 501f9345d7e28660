"""How many frames a measurement needs: what its two halves say of how far it has come.

With N frames, M the mean image, S the sigma image, and the halves A and B of nA and nB frames:

- the mean image is off by S/√N, and what a correction leaves of it in every frame is a pattern of this
  size, the same in all of them;
- the fixed pattern's variance is s² = cov(M_A, M_B) over the pixels, to which noise adds nothing, since the
  halves have none in common;
- subtracting M helps from N* = <S²>/s² frames on: with fewer, the noise of M is more than the pattern;
- var(M_A - M_B) should be <S²>·(1/nA + 1/nB). If it is more, frames have specimens in common and count for
  less; if it is less, the halves have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.sensor.balance import Balance, Verdict, balance_of, survey_of
from camnorm.sensor.sensor import Sensor, as_sensor

__all__ = ["Convergence", "frames_needed"]


@dataclass(frozen=True)
class Convergence:
    """How far a measurement has come with the frames that it has, and how many it takes.

    Attributes
    ----------
    frames : int
        N: frames in the statistics.
    halves : tuple of int
        Of these, frames in half A and in half B.
    noise : float
        Root mean square over the pixels of the standard deviation of a pixel (ddof 1), in the units of the
        pixels. Like all that follows without the pixels that never change and those that vary four times
        as much as is typical.
    ratio : float
        Variance of M_A - M_B over what it is for independent frames, brightness that changes as a whole
        left out of both; NaN if the set does not tell.
    ratio_limits : tuple of float
        Between them independent frames lie in 998 of 1000 sets.
    effective_frames : float
        Independent frames that would give this precision: N, or N / ratio if the ratio exceeds its limits.
    mean_error : float
        Standard error of the mean image: `noise` / √`effective_frames`.
    sigma_error : float
        Standard error of the sigma image relative to it, sqrt((κ - 1)/(4 N)).
    kurtosis : float
        κ in this. Fourth moments are not in the state; it follows from how much the halves' sigma images
        differ, which makes it larger where frames share specimens. NaN if the halves are too small to tell;
        3, that of a normal distribution, is assumed then.
    fixed_pattern : float
        s²: variance over the pixels of what both halves' mean images have in common; may be negative by
        chance.
    fixed_pattern_error : float
        Standard error of it.
    break_even : float
        N*: least number of independent frames for which subtracting the mean image removes more than it adds.
        Infinite if no fixed pattern is seen.
    residual : float
        Pattern that a correction leaves in all frames, as a fraction of the noise: 1/√`effective_frames`.
    measured_residual, measured_at : float
        The same as measured, on frames left out: what remains of half B's mean image when half A's is
        subtracted from it, half of it due to either, without brightness that changes as a whole; and the
        number of frames that it holds for, the halves' harmonic mean.
    measured : tuple of pairs
        Of the first frames of the set, of more and more of them, the number n, and the residual pattern
        with n frames as the mean image of all others shows it, sqrt(r/n), with r the ratio for these two
        parts instead of the halves; empty where the sensor file tells none.
    residual_target : float
        Residual that is asked for.
    needed_for_residual : int
        Frames, of the kind that the set has, for this.
    group : int
        Frames in group averages that are to be correlated.
    needed_for_groups : int
        Frames, of the kind that the set has, for the residual to stay below the paper's 3σ curve up to
        Nyquist when averages of groups of frames are correlated that the same mean image has corrected.
    balance : Balance
        What `verdict` and `sentence` follow from.
    """

    frames: int
    halves: tuple[int, int]
    noise: float
    ratio: float
    ratio_limits: tuple[float, float]
    effective_frames: float
    mean_error: float
    sigma_error: float
    kurtosis: float
    fixed_pattern: float
    fixed_pattern_error: float
    break_even: float
    residual: float
    measured_residual: float
    measured_at: float
    measured: tuple[tuple[int, float], ...]
    residual_target: float
    needed_for_residual: int
    group: int
    needed_for_groups: int
    balance: Balance = field(repr=False)

    @property
    def pattern_seen(self) -> bool:
        """Whether the fixed pattern's variance exceeds three of its standard errors."""
        return math.isfinite(self.break_even)

    def predicted(self, frames: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Residual pattern, as a fraction of the noise, with other numbers of frames of this kind.

        Parameters
        ----------
        frames : array_like
            Numbers of frames, positive.

        Returns
        -------
        float64 ndarray
            Of the same shape.
        """
        _core.check_unmasked(frames, "frames")
        return self.residual * np.sqrt(self.frames / np.asarray(frames, np.float64))

    @property
    def verdict(self) -> Verdict:
        """Whether a correction removes more than it adds: the one judgement, which all verbs print.

        - "harmful": it would add more noise than it removes, since there are fewer independent frames
          than `break_even`. If no pattern is seen, fewer than the strongest pattern that may be there needs.
          Also sets of fewer than two frames in a half, or in which no pixel ever changes.
        - "usable": subtracting the mean image helps, but the sigma image is still too noisy for single
          frames, or what is left exceeds `residual_target` or shows in averages of `group` frames.
        - "good": Eq. (2) removes more than it adds, and what it leaves is small in all these respects.
        - "unknown": no pattern is seen, and there may be one.
        """
        return self.balance.verdict

    @property
    def sentence(self) -> str:
        """The verdict for people, with the number of frames needed and what to do."""
        return self.balance.sentence

    def advice(self) -> list[str]:
        """Say in sentences whether there are enough frames, and how many more it takes."""
        said = [self.sentence]
        if not self.noise > 0:
            return said
        if f"{self.effective_frames:.0f}" != str(self.frames):
            said.append(f"{self.frames:,} frames count as {self.effective_frames:,.0f} independent frames.")
        said += [
            f"Uncertainty: mean image {_rounded(self.mean_error)} counts, "
            f"sigma image {_percent(self.sigma_error)}"
            + (", if pixel values are normally distributed." if math.isnan(self.kurtosis) else "."),
            f"Leftover pattern after correction: {_percent(self.residual)} of the frame noise"
            f"{self._measured()}.",
        ]
        if self.verdict in ("usable", "good") and self.frames >= self.needed_for_groups:
            said.append(f"Invisible in {self.balance.averages}.")
        if self.verdict == "good":
            said.append(self.balance.least_needed())
        return said

    def _measured(self) -> str:
        if math.isnan(self.measured_residual):
            return ""
        expected = 1 / math.sqrt(self.measured_at)
        return f" (half the set: {_percent(self.measured_residual)} measured, {_percent(expected)} expected)"

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by their names, and a curve over the number of frames, ready for JSON."""
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__ if name != "balance")
        numbers = {name: list(value) if isinstance(value, tuple) else value for name, value in values}
        frames = self.curve_frames()
        return {
            **numbers,
            "measured": [list(point) for point in self.measured],
            "curve": {"frames": frames.tolist(), "residual": self.predicted(frames).tolist()},
            "verdict": self.verdict,
            "advice": self.advice(),
        }

    def curve_frames(self) -> npt.NDArray[np.int64]:
        """Numbers of frames for a curve: powers of two, from 1 to beyond what there is and what it takes."""
        largest = max(self.frames, self.needed_for_residual, self.needed_for_groups)
        return 2 ** np.arange(math.ceil(math.log2(max(largest, 2))) + 1)


def frames_needed(sensor: Sensor, *, residual: float = 0.05, group: int = 12) -> Convergence:
    """Find how far a measurement has come, and how many frames it takes.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    residual : float
        How large the pattern may be that a correction leaves in all frames, as a fraction of the noise of
        one frame. It falls as 1/√N: 400 independent frames give 0.05, 10,000 give 0.01.
    group : int
        Frames in averages that are to be correlated; 12 in the paper.

    Returns
    -------
    Convergence
        NaN where halves of less than two frames do not tell.

    Raises
    ------
    ValueError
        If `residual` or `group` is not positive.

    Notes
    -----
    The variance of M_A - M_B is compared with that of independent frames, <S²>·(1/nA + 1/nB). Brightness
    that changes from frame to frame as a whole is taken from both (the mean of M_A - M_B, and the variance
    of the frames' means), since it is a single number a frame and its chances are large. How many
    independent numbers the rest is made of, f, follows from its spectrum P: f = (ΣP)²/ΣP² [1]_. The ratio
    then varies as χ²/f.

    Averages of g frames that one mean image of M other frames has corrected correlate by g/(M + g). This is
    below 3/sqrt(n/2), the paper's curve [2]_, from M = g·(sqrt(n/2)/3 - 1) on; the ring at Nyquist has π·L
    pixels in frames of L x L.

    The variance of ln(S_A²/S_B²) is (κ - 1)·(1/nA + 1/nB), which gives the kurtosis κ, and with it the
    standard error of the sigma image, for which fourth moments would be needed else.

    Memory: that of some rows of the frame.

    References
    ----------
    .. [1] R. B. Blackman, J. W. Tukey, "The Measurement of Power Spectra", Dover (1958): equivalent degrees
       of freedom.
    .. [2] P. Afanasyev et al., Sci. Rep. 5, 10317 (2015).

    Examples
    --------
    >>> import camnorm
    >>> found = camnorm.frames_needed(camnorm.Sensor.load("sensor.h5"))
    >>> found.frames, found.verdict
    (64, 'usable')
    """
    sensor = as_sensor(sensor)
    if not residual > 0:
        raise ValueError(f"residual must be positive, got {residual}")
    if group < 1:
        raise ValueError(f"group must be positive, got {group}")
    found = survey_of(sensor)
    balance = balance_of(sensor, found, residual, group)
    halves = (sensor.halves[0].count, sensor.halves[1].count)
    frames = sensor.count
    measured_at = 2 / sum(1 / n for n in halves) if found else math.nan
    ratio, low, high = found.ratio() if found else (math.nan, math.nan, math.nan)
    excess = 2.0 if math.isnan(balance.kurtosis) else balance.kurtosis - 1.0
    effective = max(balance.effective_frames, 1.0)
    return Convergence(
        frames=frames,
        halves=halves,
        noise=balance.noise,
        ratio=ratio,
        ratio_limits=(low, high),
        effective_frames=balance.effective_frames,
        mean_error=balance.noise / math.sqrt(effective),
        sigma_error=math.sqrt(max(excess, 0.0) / (4 * max(frames, 1))),
        kurtosis=balance.kurtosis,
        fixed_pattern=balance.fixed_pattern,
        fixed_pattern_error=balance.fixed_pattern_error,
        break_even=balance.break_even,
        residual=1 / math.sqrt(effective),
        measured_residual=math.sqrt(ratio / measured_at),
        measured_at=measured_at,
        measured=tuple(
            (part["first"], math.sqrt(part["ratio"] / part["first"]))
            for part in sensor.provenance.get("ratios", [])
        ),
        residual_target=residual,
        needed_for_residual=balance.needed_for_residual,
        group=group,
        needed_for_groups=balance.needed_for_groups,
        balance=balance,
    )


def _rounded(value: float) -> str:
    """Two significant digits, or all before the point."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:#.2g}".rstrip(".")


def _percent(fraction: float) -> str:
    return f"{_rounded(100 * fraction)} %"
