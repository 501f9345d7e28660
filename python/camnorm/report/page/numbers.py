"""The numbers of the page: each with a unit, what it means, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.report.page.charts import short

if TYPE_CHECKING:
    from camnorm.diagnosis.convergence import Convergence
    from camnorm.diagnosis.decomposition import Decomposition
    from camnorm.diagnosis.fixedpattern import FixedPattern

__all__ = [
    "Quantity",
    "of_pattern",
    "of_precision",
    "of_set",
    "of_verification",
]

COUNTS = "counts"
_RMS = "counts rms"
_NOUNS = ("frames", "lines", "pixels")

# Frames in a sum, as in the paper's figures.
SUM = 12


@dataclass(frozen=True)
class Quantity:
    """A number on the page.

    Attributes
    ----------
    key : str
        Its name in JSON.
    label : str
        Its name on the page.
    value : float or None
        The number; None or NaN if it cannot be determined.
    unit : str
        Its unit.
    meaning : str
        What it means, and what to do.
    digits : int
        Significant digits that are shown.
    """

    key: str
    label: str
    value: float | None
    unit: str
    meaning: str
    digits: int = 3

    @property
    def text(self) -> str:
        """The number without its unit."""
        if self.value is None or math.isnan(self.value):
            return "unknown"
        if math.isinf(self.value):
            return "no limit"
        if float(self.value).is_integer() and abs(self.value) < 1e15:
            return f"{self.value:,.0f}".replace("-", "−")
        if 10.0**self.digits <= abs(self.value) < 1e15:
            return f"{self.value:,.0f}".replace("-", "−")
        return short(float(f"{self.value:.{self.digits}g}"))

    @property
    def shown_unit(self) -> str:
        """The unit as it follows the number: 1 line, 2 lines."""
        noun, _, rest = self.unit.partition(" ")
        return f"{noun[:-1]} {rest}".rstrip() if self.value == 1 and noun in _NOUNS else self.unit

    @property
    def known(self) -> bool:
        """Whether there is a number, which a unit follows."""
        return self.value is not None and math.isfinite(self.value)


def of_set(summary: Mapping[str, Any], convergence: Convergence) -> Iterator[Quantity]:
    """Numbers of the frames."""
    yield Quantity(
        "frames_accepted",
        "Frames accepted",
        summary["count"],
        "frames",
        "Frames in the statistics. More frames make the mean and the sigma image more precise.",
    )
    yield Quantity(
        "frames_effective",
        "Independent frames",
        convergence.effective_frames,
        "frames",
        "Independent frames that would give the same precision. If these are far fewer than the accepted "
        "frames, frames share a specimen or the sensor drifted: spread the set over more areas.",
    )
    if summary["frames"]:
        yield Quantity(
            "frames_rejected",
            "Frames rejected",
            len(summary["rejected"]),
            "frames",
            "Frames left out, such as blank, saturated or deviant ones. If they are more than a few percent, "
            "look at the reasons.",
        )


def of_level(mean: float, sigma: float) -> Iterator[Quantity]:
    """The targets of a correction."""
    yield Quantity(
        "target_mean",
        "Mean level",
        mean,
        COUNTS,
        "Mean over the mean image, and the mean of corrected frames. A change at the same dose means that "
        "the sensor's gain or offset changed.",
        5,
    )
    yield Quantity(
        "target_sigma",
        "Typical sigma of a pixel",
        sigma,
        COUNTS,
        "Mean over the sigma image, and the sigma of corrected pixels. It contains the noise and the scene.",
        4,
    )


def of_pattern(
    pattern: FixedPattern | None, parts: Decomposition, convergence: Convergence
) -> Iterator[Quantity]:
    """How strong the fixed pattern is, what it is made of, and what it costs."""
    noise = convergence.noise
    strength = math.sqrt(max(convergence.fixed_pattern, 0.0))
    yield Quantity(
        "noise",
        "Noise of one frame",
        noise,
        _RMS,
        "Noise and scene of a typical pixel in one frame. The fixed pattern is compared with it.",
    )
    yield Quantity(
        "fixed_pattern",
        "Fixed pattern",
        strength,
        _RMS,
        "What all frames have in common, uneven light included. A correction removes it.",
    )
    yield Quantity(
        "fixed_pattern_share",
        "Fixed pattern, relative",
        100 * strength / noise if noise > 0 else None,
        "% of the noise",
        "Above about 10 % the pattern is visible in averages of a hundred frames: correct the frames.",
        2,
    )
    for key, label, variance, meaning in (
        ("pattern_rows", "of it, rows", parts.rows, "Whole rows differ: row amplifiers or row resets."),
        (
            "pattern_columns",
            "of it, columns",
            parts.columns,
            "Whole columns differ: column amplifiers or converters.",
        ),
        (
            "pattern_pixels",
            "of it, single pixels",
            parts.pixels,
            "Pixels differ from their neighbours in gain or offset. A correction removes this.",
        ),
        (
            "pattern_illumination",
            "of it, smooth",
            parts.illumination,
            "A smooth surface: uneven light, or sensitivity. To leave it in the frames, correct with "
            "keep_illumination=True.",
        ),
    ):
        yield Quantity(key, label, _root(variance), _RMS, meaning, 2)
    if pattern is not None:
        yield from _deratings(pattern)


def _deratings(pattern: FixedPattern) -> Iterator[Quantity]:
    for frames, of in ((1, "single frames"), (SUM, f"sums of {SUM} frames")):
        yield Quantity(
            f"derating_{frames}",
            f"DQE lost in {of}, raw",
            100 * pattern.derating(frames),
            "% of the DQE",
            "Share of the DQE that the fixed pattern costs: at 4 %, a DQE of 50 % becomes 48 %. It grows "
            "with the exposure.",
            2,
        )
        yield Quantity(
            f"derating_{frames}_corrected",
            f"DQE lost in {of}, corrected",
            100 * pattern.derating_corrected(frames),
            "% of the DQE",
            "The same after correction with this measurement. If it is more than 1 %, measure more frames.",
            2,
        )


def of_precision(convergence: Convergence) -> Iterator[Quantity]:
    """How precise the measurement is, and how many frames it takes."""
    yield Quantity(
        "mean_error",
        "Error of the mean image",
        convergence.mean_error,
        _RMS,
        "Noise left in the mean image. It falls with the root of the number of frames.",
        2,
    )
    yield Quantity(
        "sigma_error",
        "Error of the sigma image",
        100 * convergence.sigma_error,
        "%",
        "Noise left in the sigma image, relative to it. Above 10 %, correct the mean alone (mode='mean').",
        2,
    )
    yield Quantity(
        "leftover",
        "Leftover pattern after correction",
        100 * convergence.residual,
        "% of the noise",
        "The noise of the mean image, which a correction writes into every frame. Below 5 % is good.",
        2,
    )
    yield Quantity(
        "break_even",
        "Fewest frames that help",
        math.ceil(convergence.break_even) if math.isfinite(convergence.break_even) else math.inf,
        "frames",
        "With fewer independent frames, a correction adds more noise than it removes. Measure more.",
    )
    yield Quantity(
        "needed_for_residual",
        f"Frames for a leftover of {100 * convergence.residual_target:g} %",
        convergence.needed_for_residual,
        "frames",
        "With this many frames a correction leaves little. If you have fewer, add frames.",
    )
    yield Quantity(
        "needed_for_groups",
        f"Frames for averages of {convergence.group}",
        convergence.needed_for_groups,
        "frames",
        f"With this many frames the leftover pattern is invisible in averages of {convergence.group} frames.",
    )


def of_verification(numbers: Mapping[str, Any]) -> Iterator[Quantity]:
    """How much single frames and averages correlate, before and after the correction."""
    names = {"pairs": "single frames", "groups": f"averages of {numbers['group']} frames"}
    for kind, name in names.items():
        for state in ("raw", "corrected"):
            found = numbers[kind][state]
            yield Quantity(
                f"frc_{kind}_{state}",
                f"Mean FRC of {name}, {state}",
                found["mean_correlation"],
                "(−1 to 1)",
                "Correlation of two raw images that show different scenes: 0 without a fixed pattern."
                if state == "raw"
                else "The same after correction: 0 if the pattern is gone. If not, see at which frequencies.",
                2,
            )
        corrected = numbers[kind]["corrected"]
        yield Quantity(
            f"p_{kind}",
            f"p-value of {name}, corrected",
            corrected["p"],
            "",
            f"Chance of so much correlation without a pattern. Below {corrected.get('alpha', 0.025):g} a "
            "pattern is left: measure more frames, or look for drift.",
            2,
        )
        yield Quantity(
            f"outside_3sigma_{kind}",
            f"Rings outside ±3σ of {name}, corrected",
            corrected["outside_3sigma"],
            f"of {corrected['rings']} rings",
            "Frequencies at which corrected images correlate. A few are chance; many in a row are a pattern.",
        )


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else math.nan


def as_json(quantities: Iterator[Quantity] | list[Quantity]) -> dict[str, dict[str, Any]]:
    """Values and units by their keys."""
    return {
        quantity.key: {
            "value": None if quantity.value is None else _plain(quantity.value),
            "unit": quantity.unit,
        }
        for quantity in quantities
    }


def _plain(value: float) -> float | int:
    return value.item() if isinstance(value, np.generic) else value
