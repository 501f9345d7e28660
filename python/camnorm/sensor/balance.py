"""What a correction adds to frames, against what it removes: the one judgement of it.

With the noise variance <S²> of a frame and the fixed pattern's s², both over the pixels, the mean image of N
independent frames removes s² and adds <S²>/N, so that it helps from N* = <S²>/s² frames on. Division by a
sigma image whose relative variance is (κ - 1)/(4N) adds 3·<S²>·(κ - 1)/(4N) to a single frame, which its
averages do not keep: the mean of 1/S² is above 1/<S>² by three times that.

Division by the mean image of level I0, as by a gain, multiplies a frame's noise as well: the mean of 1/M² is
above 1/I0² by three times <S²>/(N·I0²), so that it adds <S²>/N · (1 + 3·<S²>/I0²) to a single frame. That is
far more than subtracting the mean image adds where frames have less than a count a pixel. A correction that
keeps illumination removes only the s² that is left of the halves' mean images without it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm.correction.adjustments import Adjustments, Mask, smooth_part
from camnorm.sensor.sensor import Sensor
from camnorm.sensor.survey import HOT, Survey

__all__ = [
    "Balance",
    "Verdict",
    "balance_of",
    "frames_for_groups",
    "harm_of",
    "shrunk_error",
    "survey_of",
    "warn_of_harm",
]

Verdict: TypeAlias = Literal["good", "usable", "harmful", "unknown"]

# Fixed patterns below this many standard errors are not detected.
_SEEN = 3.0

# Pixels whose mean `shrink` moves a pixel to, and the share of the noise beyond two standard deviations.
_NEIGHBOURS = 49
_BEYOND = 0.0115


@dataclass(frozen=True)
class Balance:
    """Whether a correction removes more than it adds.

    Parameters
    ----------
    frames : int
        N: frames in the statistics.
    effective_frames : float
        Independent frames that would give this precision.
    noise : float
        Root mean square over the pixels of the standard deviation of a pixel; NaN for too few frames.
    fixed_pattern, fixed_pattern_error : float
        Variance over the pixels of the fixed pattern, and its standard error.
    kurtosis : float
        Of a pixel's values; NaN if unknown, and then taken for that of a normal distribution.
    residual_target : float
        Leftover pattern that is asked for, as a fraction of the noise of a frame.
    group : int
        Frames in group averages that are to be correlated.
    side : int
        Shorter side of a frame, in pixels.
    excess : float
        Noise that the mode of correction adds to a frame, over <S²>/N.
    """

    frames: int
    effective_frames: float
    noise: float
    fixed_pattern: float
    fixed_pattern_error: float
    kurtosis: float
    residual_target: float
    group: int
    side: int
    excess: float = 1.0

    @property
    def needed_for_residual(self) -> int:
        """Frames of the set's kind for the leftover pattern that is asked for."""
        return self._of_this_kind(1 / self.residual_target**2)

    @property
    def needed_for_groups(self) -> int:
        """Frames of the set's kind for the leftover pattern to be invisible in averages of groups."""
        return self._of_this_kind(frames_for_groups(self.group, self.side))

    def _of_this_kind(self, independent: float) -> int:
        return math.ceil(max(self.frames, 1) / max(self.effective_frames, 1.0) * independent)

    @property
    def pattern_seen(self) -> bool:
        """Whether the fixed pattern's variance exceeds three of its standard errors."""
        return self.fixed_pattern > _SEEN * self.fixed_pattern_error

    @property
    def break_even(self) -> float:
        """N*: independent frames from which on subtracting the mean image helps; infinite if none is seen."""
        return self.noise**2 / self.fixed_pattern if self.pattern_seen else math.inf

    @property
    def break_even_of_both(self) -> float:
        """The same of Eq. (2), which divides by the sigma image too, and single frames."""
        kurtosis = 3.0 if math.isnan(self.kurtosis) else self.kurtosis
        return self.break_even * (1 + 0.75 * max(kurtosis - 1, 0.0))

    @property
    def least(self) -> float:
        """Independent frames needed at least: N*, or that of the strongest pattern that may be unseen.

        As often as the mode of correction adds the noise of the mean image.
        """
        if self.pattern_seen:
            return self.excess * self.break_even
        strongest = self.fixed_pattern + _SEEN * self.fixed_pattern_error
        return self.excess * self.noise**2 / strongest if strongest > 0 else math.inf

    @property
    def verdict(self) -> Verdict:
        """The judgement: good, usable, harmful or unknown."""
        if not self.noise > 0:
            return "harmful"
        if self.effective_frames < self.least:
            return "harmful"
        if not self.pattern_seen:
            return "unknown"
        return "usable" if any(needed > self.frames for needed, _ in self._wanted()) else "good"

    def _wanted(self) -> tuple[tuple[int, str], ...]:
        """Frames that it takes for all to be well, and what is not with less."""
        return (
            (
                self._of_this_kind(self.break_even_of_both),
                "Subtracting the mean image helps, but the sigma image is too noisy: use mode=best.",
            ),
            (
                self.needed_for_residual,
                f"The correction helps, but leaves a pattern of more than {100 * self.residual_target:g} % "
                "of the frame noise.",
            ),
            (
                self.needed_for_groups,
                f"The correction helps, but leaves a pattern that is visible in {self.averages}.",
            ),
        )

    @property
    def averages(self) -> str:
        """The group averages in words."""
        return "single frames" if self.group == 1 else f"averages of {self.group} frames"

    @property
    def sentence(self) -> str:
        """The judgement for people, and what to do."""
        return f"{self.reason} {self.remedy}".strip()

    @property
    def reason(self) -> str:
        """The judgement for people, in one sentence."""
        if math.isnan(self.noise):
            return "Too few frames: each half of the set needs two."
        if self.noise == 0.0:
            return "No pixel ever changes: there is nothing to correct with."
        verdict = self.verdict
        if verdict == "harmful":
            unseen = "" if self.pattern_seen else ", since no fixed pattern is visible"
            return f"The correction would add more noise than it removes{unseen}."
        if verdict == "unknown":
            return "No fixed pattern is visible: whether the correction helps cannot be determined."
        if verdict == "good":
            return "The correction removes more pattern than the noise it adds."
        return max(self._wanted())[1]

    @property
    def remedy(self) -> str:
        """What to do about it; empty if there is nothing."""
        if not self.noise > 0:
            return ""
        if self.verdict == "harmful":
            return f"{self.least_needed()} Use mode=best or no correction."
        if self.verdict == "usable":
            needed = max(self._wanted())[0]
            return f"At least {needed:,} frames are needed for a good correction; you have {self.frames:,}."
        return ""

    @property
    def noisy_sigma(self) -> bool:
        """Whether subtracting the mean image helps, but dividing by the sigma image does not yet."""
        return self.verdict == "usable" and self.frames < self._of_this_kind(self.break_even_of_both)

    def least_needed(self) -> str:
        """How many frames it takes for the mean image to remove more than it adds, and how many there are."""
        have = f"{self.effective_frames:,.0f}"
        if have != f"{self.frames:,}":
            have += f" in {self.frames:,} frames"
        if math.isinf(self.least):
            return f"More independent frames are needed for the correction to help; you have {have}."
        least = math.ceil(self.least)
        are = "frame is" if least == 1 else "frames are"
        return f"At least {least:,} independent {are} needed for the correction to help; you have {have}."


def survey_of(sensor: Sensor, kurtosis: bool = True) -> Survey | None:
    """Sums over the pixels of a set; None if a half has less than two frames."""
    return Survey(sensor, kurtosis) if min(half.count for half in sensor.halves) >= 2 else None


def balance_of(
    sensor: Sensor, found: Survey | None, residual_target: float = 0.05, group: int = 12
) -> Balance:
    """Weigh what a correction adds against what it removes.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    found : Survey, optional
        What `survey_of` gave of it.
    residual_target, group
        As of `Balance`.

    Returns
    -------
    Balance
    """
    frames = sensor.count
    ratio, _, high = found.ratio() if found else (math.nan, math.nan, math.nan)
    effective = frames / ratio if ratio > high else float(frames)
    pattern, error = found.pattern() if found else (math.nan, math.nan)
    return Balance(
        frames=frames,
        effective_frames=effective,
        noise=found.unit * math.sqrt(found.variance) if found else math.nan,
        fixed_pattern=pattern,
        fixed_pattern_error=error,
        kurtosis=found.kurtosis() if found else math.nan,
        residual_target=residual_target,
        group=group,
        side=min(sensor.shape[:2]),
    )


def harm_of(sensor: Sensor, adjustments: Adjustments, blocks: bool = False) -> str | None:
    """Say it if a correction of frames would add more noise than it removes.

    Parameters
    ----------
    sensor : Sensor
        The measurement that the correction is made of.
    adjustments : Adjustments
        Mode "best", which leaves out what would do harm, and the response are not judged.
    blocks : bool
        Look at some rows at a time, for who does not need the mean and the sigma image anyway.

    Returns
    -------
    str, optional
        The sentence.
    """
    if adjustments.mode in ("response", "best") or (adjustments.shrink and adjustments.keep_illumination):
        return None
    balance = balance_of(sensor, survey_of(sensor, kurtosis=blocks))
    if adjustments.mode == "gain" and (level := float(np.mean(np.abs(sensor.target_mean)))) > 0:
        balance = replace(balance, excess=1 + 3 * (balance.noise / level) ** 2)
    if adjustments.keep_illumination and balance.noise > 0:
        pattern, error = _pattern_beside_illumination(sensor, adjustments.keep_illumination)
        balance = replace(balance, fixed_pattern=pattern, fixed_pattern_error=error)
    if adjustments.shrink:
        return _harm_of_shrinking(balance)
    return balance.sentence if balance.verdict == "harmful" else None


def _harm_of_shrinking(balance: Balance) -> str | None:
    """Say it if images that are shrunk leave more error than there is pattern in raw frames."""
    noise = balance.noise**2 / max(balance.effective_frames, 1.0)
    pattern = max(balance.fixed_pattern, 0.0)
    most = pattern if balance.pattern_seen else pattern + _SEEN * balance.fixed_pattern_error
    left = shrunk_error(most, noise)
    if not left > most:
        return None
    times = f"{math.sqrt(left / most):.1f} times" if most > 0 else "more than"
    return (
        f"With shrink=True, corrected frames are predicted to have {times} the error of raw frames. "
        "Use mode=best or no correction."
    )


def shrunk_error(pattern: float, noise: float) -> float:
    """Squared error of an image that `shrink` moves towards the means of neighbours.

    Parameters
    ----------
    pattern, noise : float
        Variances over the pixels.

    Returns
    -------
    float
    """
    both = pattern + noise
    return (pattern * noise / both if both > 0 else 0.0) + noise * (1 / _NEIGHBOURS + _BEYOND)


def _pattern_beside_illumination(sensor: Sensor, scale: float | bool) -> tuple[float, float]:
    """Variance over the pixels of the fixed pattern without what varies slowly, and its standard error."""
    sigma, unit = sensor.sigma, float(np.mean(sensor.target_sigma))
    used = (sigma > 0) & (sigma <= math.sqrt(HOT) * sensor.target_sigma)
    a, b = (_without_illumination(half.mean(), used, scale) / unit for half in sensor.halves)
    shares = [1 / half.count for half in sensor.halves]
    noise = [float((a - b).var()) * share / sum(shares) for share in shares]
    pattern = float(np.mean(a * b) - a.mean() * b.mean())
    chance = noise[0] * noise[1] + max(pattern, 0.0) * sum(noise)
    return pattern * unit**2, math.sqrt(chance / max(a.size, 1)) * unit**2


def _without_illumination(
    mean: npt.NDArray[np.float64], used: Mask, scale: float | bool
) -> npt.NDArray[np.float64]:
    """The used pixels of a mean image less what varies slowly."""
    return np.asarray((mean - smooth_part(mean, used, scale))[used])


def warn_of_harm(sentence: str | None) -> None:
    """Warn, where there is something to say, who called the function that calls this one."""
    if sentence is not None:
        warnings.warn(sentence, stacklevel=3)


def frames_for_groups(group: int, side: int) -> int:
    """Frames for averages of groups to correlate by less than 3σ in all rings, see `frames_needed`."""
    return max(1, math.ceil(group * (math.sqrt(math.pi * side / 2) / 3 - 1)))
