"""What checks and verification find, in words: findings, convergence, fixed pattern, independence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from camnorm.cli.results import print_item
from camnorm.diagnosis.judgement import OF_BALANCE
from camnorm.verification.table import p_in_words

if TYPE_CHECKING:
    from camnorm import Convergence, Finding, FixedPattern
    from camnorm.sensor.balance import Verdict
    from camnorm.sensor.prediction import Choice, Prediction
    from camnorm.verification.verdict import Assessment

__all__ = [
    "p_of_pairs",
    "print_convergence",
    "print_findings",
    "print_flagged",
    "print_pattern",
    "print_prediction",
]

# Checks without a result that are printed with their reason; the others are named in one line.
_UNKNOWN_SHOWN = 2

_NAMES: dict[Choice, str] = {
    "raw": "no correction",
    "both": "--mode both",
    "gain": "--mode gain",
    "shrink": "--shrink",
    "best": "--mode best",
}


def print_flagged(findings: Sequence[Finding], title: str = "problems") -> None:
    """Print the problems of a data set."""
    flagged = [finding for finding in findings if finding.flagged]
    if flagged:
        print(f"\n{title}:")
    for finding in flagged:
        print_item("!", f"{finding.name}: {finding.sentence}")


def print_findings(findings: Sequence[Finding], verdict: Verdict) -> None:
    """Print problems, what cannot be determined, and the names of the checks passed."""
    print_flagged(findings)
    flagged = [finding for finding in findings if finding.flagged]
    unknown = [finding for finding in findings if not finding.flagged and math.isnan(finding.value)]
    # How many frames it takes for averages is not what single frames need.
    silent = OF_BALANCE if verdict == "harmful" else ()
    passed = [
        finding.name
        for finding in findings
        if finding not in flagged and finding not in unknown and finding.name not in silent
    ]
    print("\nchecks:")
    for finding in unknown[:_UNKNOWN_SHOWN]:
        print_item("?", f"{finding.name}: {finding.sentence}")
    if unknown[_UNKNOWN_SHOWN:]:
        print_item(
            "?", f"also undetermined: {', '.join(finding.name for finding in unknown[_UNKNOWN_SHOWN:])}"
        )
    if passed:
        print_item("+", f"passed: {', '.join(passed)}")


def print_convergence(convergence: Convergence) -> None:
    """Print how precise a measurement is; the verdict leads the output."""
    numbers = convergence.advice()[1:]
    if numbers:
        print("\nprecision:")
    for sentence in numbers:
        print_item("-", sentence)


def print_pattern(pattern: FixedPattern) -> None:
    """Print how strong the fixed pattern is and what it costs."""
    print("\nfixed pattern:")
    strength, noise = max(pattern.variance, 0.0) ** 0.5, pattern.noise_variance**0.5
    print_item(
        "-",
        f"Strength: {_two_digits(strength)} counts rms (illumination included). "
        f"One frame's noise and scene: {_two_digits(noise)} counts rms.",
    )
    for exposure, images in ((1, "single frames"), (12, "sums of 12 frames")):
        print_item(
            "-",
            f"DQE lost in {images}: {_percent(pattern.derating(exposure))} without correction, "
            f"{_percent(pattern.derating_corrected(exposure))} with it.",
        )


def print_prediction(prediction: Prediction) -> None:
    """Print the error that each mode of correction is predicted to leave, and which mode to use."""
    of = "light" if prediction.of == "light" else "frame noise"
    print(f"\npredicted error of corrected frames, in % of the {of}:")
    errors = ", ".join(f"{_NAMES[name]} {_two_digits(error)}" for name, error in prediction.errors.items())
    print_item("-", f"{errors[:1].upper()}{errors[1:]}.")
    best = "no correction" if prediction.best == "raw" else _NAMES[prediction.best]
    print_item("-", f"Use {best}: camera recognised as {prediction.camera}.")


def _percent(share: float) -> str:
    return f"{_two_digits(100 * share)} %"


def _two_digits(value: float) -> str:
    """As many digits as an estimate deserves, or all before the point."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def p_of_pairs(assessment: Assessment) -> Iterator[tuple[str, object]]:
    """A fact: p of each pair alone, if there are several."""
    if len(assessment.p_of_pairs) > 1:
        yield "p of each pair", ", ".join(map(p_in_words, assessment.p_of_pairs))
