"""How many frames a measurement needs: what its two halves say of how far it has come.

With N frames, M the mean image, S the sigma image, and the halves A and B of nA and nB frames:

- the mean image is off by S/√N, and what a correction leaves of it in every frame is a pattern of this
  size, the same in all of them;
- the fixed pattern's variance is s² = cov(M_A, M_B) over the pixels, to which noise adds nothing, since the
  halves have none in common;
- subtracting M pays from N* = <S²>/s² frames on: with less, the noise of M is more than the pattern;
- var(M_A - M_B) should be <S²>·(1/nA + 1/nB). If it is more, frames have specimens in common and count for
  less; if it is less, the halves have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.measurement.drift import HOT
from camnorm.sensor.sensor import Sensor
from camnorm.sizes import sizes

__all__ = ["Convergence", "frames_needed"]

# Chance makes a ratio fall outside its limits once in a thousand sets on either side.
_QUANTILE = 3.09

# Fixed patterns below so many standard errors are not seen.
_SEEN = 3.0


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
        N*: from so many independent frames on, subtracting the mean image removes more than it adds.
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
        return self.residual * np.sqrt(self.frames / np.asarray(frames, np.float64))

    def advice(self) -> list[str]:
        """Say in sentences whether there are enough frames, and how many more it takes."""
        if math.isnan(self.noise):
            return ["Too few frames to say anything: each half needs two."]
        if self.noise == 0.0:
            return ["No pixel ever changes: there is nothing to correct with."]
        effective = f"{self.effective_frames:.0f}"
        said = [
            f"{self.frames} frames"
            + (f", which count as {effective} independent ones," if effective != str(self.frames) else "")
            + f" give the mean image to ±{self.mean_error:.3g}, the sigma image to "
            f"±{100 * self.sigma_error:.2g} %"
            + (", if pixel values are normally distributed." if math.isnan(self.kurtosis) else "."),
            f"Corrected frames keep a pattern of {100 * self.residual:.2g} % of their noise"
            f"{self._measured()}: "
            + self._enough(self.needed_for_residual, f"for {100 * self.residual_target:g} %", "enough"),
            f"It correlates averages of {self.group} frames "
            + self._enough(
                self.needed_for_groups, "beyond 3σ near Nyquist: for less", "by less than 3σ up to Nyquist"
            ),
        ]
        if not self.pattern_seen:
            said.append(
                "No fixed pattern is seen: either there is none to be corrected, or it takes more frames."
            )
        elif self.effective_frames < self.break_even:
            said.append(
                f"Subtracting the mean image adds more noise than it removes of the pattern: that takes "
                f"{math.ceil(self.break_even)} independent frames."
            )
        else:
            said.append(
                f"Subtracting the mean image pays from {math.ceil(self.break_even)} independent frames on."
            )
        return said

    def _measured(self) -> str:
        if math.isnan(self.measured_residual):
            return ""
        expected = 1 / math.sqrt(self.measured_at)
        return (
            f" (with {self.measured_at:.0f} frames {100 * self.measured_residual:.2g} % as measured, "
            f"{100 * expected:.2g} % if they are independent)"
        )

    def _enough(self, needed: int, missing: str, enough: str) -> str:
        if self.frames >= needed:
            return f"{enough}."
        return f"{missing} it takes {needed} frames, {needed - self.frames} more."

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by their names, and a curve over the number of frames, ready for JSON."""
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        numbers = {name: list(value) if isinstance(value, tuple) else value for name, value in values}
        frames = self.curve_frames()
        return {
            **numbers,
            "measured": [list(point) for point in self.measured],
            "curve": {"frames": frames.tolist(), "residual": self.predicted(frames).tolist()},
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
    """
    if not residual > 0:
        raise ValueError(f"residual must be positive, got {residual}")
    if group < 1:
        raise ValueError(f"group must be positive, got {group}")
    halves = (sensor.halves[0].count, sensor.halves[1].count)
    found = _Survey(sensor) if min(halves) >= 2 else None
    frames = sensor.count
    measured_at = 2 / sum(1 / n for n in halves) if found else math.nan
    ratio, low, high = found.ratio() if found else (math.nan, math.nan, math.nan)
    effective = frames / ratio if ratio > high else float(frames)
    noise = found.unit * math.sqrt(found.variance) if found else math.nan
    kurtosis = found.kurtosis() if found else math.nan
    excess = 2.0 if math.isnan(kurtosis) else kurtosis - 1.0
    pattern, error = found.pattern() if found else (math.nan, math.nan)
    independent = max(frames, 1) / max(effective, 1.0)
    needed = frames_for_groups(group, min(sensor.shape[:2]))
    return Convergence(
        frames=frames,
        halves=halves,
        noise=noise,
        ratio=ratio,
        ratio_limits=(low, high),
        effective_frames=effective,
        mean_error=noise / math.sqrt(max(effective, 1.0)),
        sigma_error=math.sqrt(max(excess, 0.0) / (4 * max(frames, 1))),
        kurtosis=kurtosis,
        fixed_pattern=pattern,
        fixed_pattern_error=error,
        break_even=noise**2 / pattern if pattern > _SEEN * error else math.inf,
        residual=1 / math.sqrt(max(effective, 1.0)),
        measured_residual=math.sqrt(ratio / measured_at),
        measured_at=measured_at,
        measured=tuple(
            (part["first"], math.sqrt(part["ratio"] / part["first"]))
            for part in sensor.provenance.get("ratios", [])
        ),
        residual_target=residual,
        needed_for_residual=math.ceil(independent / residual**2),
        group=group,
        needed_for_groups=math.ceil(independent * needed),
    )


def frames_for_groups(group: int, side: int) -> int:
    """Frames for averages of groups to correlate by less than 3σ in all rings, see `frames_needed`."""
    return max(1, math.ceil(group * (math.sqrt(math.pi * side / 2) / 3 - 1)))


class _Survey:
    """Sums over the pixels of what the halves' mean images and variances have and have not in common.

    In a unit near the target sigma, since squares of squares of very large and small pixels are no numbers.
    A power of two, it changes no digit.
    """

    def __init__(self, sensor: Sensor) -> None:
        height, width = sensor.shape[:2]
        factor = min(math.ceil(max(height, width) / sizes().correlation_grid), height, width)
        planes = math.prod(sensor.shape[2:])
        rows = factor * max(1, sizes().block_values // (factor * width * planes))
        self._halves = sensor.halves[0].count, sensor.halves[1].count
        self._frames = sensor.frames
        self._share = sum(1 / n for n in self._halves)
        self._factor = factor
        self._grid = np.zeros((height // factor, width // factor))
        self._shape = (height, width)
        self.unit = 2.0 ** math.frexp(float(np.mean(sensor.target_sigma)))[1]
        weights = [n - 1 for n in self._halves]
        total = np.zeros((8, planes))
        spread = level = 0.0
        for where, *images in sensor.blocks(rows):
            (a, b), variances = ([image.reshape(-1, width, planes) for image in pair] for pair in images)
            variances = [image / self.unit / self.unit for image in variances]
            variance = np.average(variances, axis=0, weights=weights)
            used = (variance > 0) & (variance <= HOT * (sensor.target_sigma / self.unit) ** 2)
            a, b = (np.where(used, (image - sensor.target_mean) / self.unit, 0.0) for image in (a, b))
            variance[~used] = 0.0
            varied = used & (variances[0] > 0) & (variances[1] > 0)
            logarithm = np.log(np.where(varied, variances[0], 1.0) / np.where(varied, variances[1], 1.0))
            sums = [used, variance, variance**2, a, b, (a - b) ** 2, a * b, logarithm**2]
            total += [quantity.sum((0, 1)) for quantity in sums]
            # Pixels that are left out get the level of the others, or they would make a pattern.
            others = (a - b).sum((0, 1)) / np.maximum(used.sum((0, 1)), 1)
            difference = np.where(used, a - b, others).mean(2)
            spread += float((difference**2).sum())
            level += float(difference.sum())
            self._reduce(difference, where.start // factor)
        count = np.maximum(total[0], 1.0)
        _, variance, squared, a, b, difference, product, logarithm = total / count
        self._count = float(count.sum())
        self._used = self._count / (height * width * planes)
        self._power = spread * height * width - level * level
        # Each plane has a level of its own.
        self.variance, self.difference, self._covariance, self._log_variance = (
            float(np.average(values, weights=count))
            for values in (variance, difference - (a - b) ** 2, product - a * b, logarithm)
        )
        self._unevenness = float(np.average(squared, weights=count)) / max(
            self.variance * self.variance, 5e-324
        )

    def _reduce(self, difference: npt.NDArray[np.float64], first: int) -> None:
        """Put means over square blocks of pixels into the grid."""
        factor = self._factor
        rows = min(len(difference) // factor, len(self._grid) - first)
        columns = self._grid.shape[1]
        blocks = difference[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        self._grid[first : first + rows] = blocks.mean((1, 3))

    def _freedom(self) -> float:
        """Independent numbers that the difference of the halves is made of."""
        pixels = self._shape[0] * self._shape[1]
        power = np.abs(np.fft.fft2(self._grid - self._grid.mean()).ravel()) ** 2 * self._factor**4
        whole = max(self._power, 5e-324)
        squares = (power**2).sum() / 2
        if self._factor > 1:
            # The frequencies beyond the grid's, as if they were white.
            squares += max(whole - power.sum(), 0.0) ** 2 / (pixels - power.size)
        # Flat spectra are those of pixels that are left out, too, which tell nothing.
        freedom = self._used * whole * whole / max(squares, 5e-324) / self._unevenness
        # The noise variance is measured too.
        return float(freedom / (1 + 1 / max(sum(self._halves) - 2, 1)))

    def ratio(self) -> tuple[float, float, float]:
        """Variance of the difference over that of independent frames, and the limits of chance."""
        variance = self.variance - self._common_variance()
        if not variance > 0.02 * self.variance or self.difference <= 0:
            return math.nan, math.nan, math.nan
        freedom = self._freedom()
        if not freedom > 0:
            return math.nan, math.nan, math.nan
        spread = 2 / (9 * freedom)  # Wilson and Hilferty's cube root of χ²/f
        low, high = ((1 - spread + sign * _QUANTILE * math.sqrt(spread)) ** 3 for sign in (-1, 1))
        return float(self.difference / (variance * self._share)), float(max(low, 0.0)), float(high)

    def _common_variance(self) -> float:
        """Variance of the frames' means within the halves."""
        table = self._frames[self._frames["status"] == "accepted"]
        parts = [table["mean"][table["half"] == half] / self.unit for half in "AB"]
        if tuple(map(len, parts)) != self._halves:
            return 0.0
        squares = float(sum(((part - part.mean()) ** 2).sum() for part in parts))
        # The frames' means are over all pixels; of those that never change nothing varies.
        return squares / (sum(self._halves) - 2) / self._used**2 if self._used else 0.0

    def kurtosis(self) -> float:
        """Kurtosis of a pixel vector; NaN for halves that are too small."""
        if min(self._halves) < 10 or not self._log_variance > 0:
            return math.nan
        return float(1 + self._log_variance / sum(1 / (n - 1) for n in self._halves))

    def pattern(self) -> tuple[float, float]:
        """Variance over the pixels of the fixed pattern, and its standard error."""
        noise = [self.difference / n / self._share for n in self._halves]
        chance = noise[0] * noise[1] + max(self._covariance, 0.0) * sum(noise)
        freedom = self._freedom() if self.difference > 0 else self._count
        error = math.sqrt(chance / max(freedom, 1.0))
        return self._covariance * self.unit * self.unit, error * self.unit * self.unit
