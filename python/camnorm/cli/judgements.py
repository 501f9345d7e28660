"""What checks and verification find, in words: findings, convergence, fixed pattern, independence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from camnorm.cli.results import print_item

if TYPE_CHECKING:
    from camnorm import Convergence, Finding, FixedPattern
    from camnorm.verification.verdict import Assessment

__all__ = [
    "p_of_pairs",
    "print_convergence",
    "print_findings",
    "print_flagged",
    "print_pattern",
]

# Checks without a result that are printed with their reason; the others are named in one line.
_UNKNOWN_SHOWN = 2


def print_flagged(findings: Sequence[Finding]) -> None:
    """Print the problems of a data set."""
    flagged = [finding for finding in findings if finding.flagged]
    if flagged:
        print("worth a look:")
    for finding in flagged:
        print_item("!", f"{finding.name}: {finding.sentence}")


def print_findings(findings: Sequence[Finding]) -> None:
    """Print problems with their numbers, what cannot be determined, and the names of the checks passed."""
    flagged = [finding for finding in findings if finding.flagged]
    unknown = [finding for finding in findings if not finding.flagged and math.isnan(finding.value)]
    passed = [finding.name for finding in findings if finding not in flagged and finding not in unknown]
    print("\ncan it be trusted?")
    for finding in flagged:
        print_item("!", f"{finding.name}: {finding.sentence}")
        print_item(" ", f"{finding.value:.3g}, limit {finding.limit:.3g}: {finding.because}.")
    for finding in unknown[:_UNKNOWN_SHOWN]:
        print_item("?", f"{finding.name}: {finding.sentence}")
    if unknown[_UNKNOWN_SHOWN:]:
        print_item(
            "?", f"also undetermined: {', '.join(finding.name for finding in unknown[_UNKNOWN_SHOWN:])}"
        )
    if passed:
        print_item("+", f"in order: {', '.join(passed)}")


def print_convergence(convergence: Convergence) -> None:
    """Print the verdict, how precise a measurement is, and what more frames would give."""
    print("\nare the frames enough?")
    for sentence in convergence.advice():
        print_item("-", sentence)


def print_pattern(pattern: FixedPattern) -> None:
    """Print how strong the fixed pattern is and what it costs."""
    print("\nwhat does the fixed pattern cost?")
    strength, noise = max(pattern.variance, 0.0) ** 0.5, pattern.noise_variance**0.5
    print_item(
        "-",
        f"Fixed pattern: {strength:.2g} counts rms (illumination included). "
        f"One frame's noise and scene: {noise:.3g} counts rms.",
    )
    for exposure, images in ((1, "single frames"), (12, "sums of 12 frames")):
        print_item(
            "-",
            f"DQE lost in {images}: {100 * pattern.derating(exposure):.2f} % without correction, "
            f"{100 * pattern.derating_corrected(exposure):.2f} % with it.",
        )


def p_of_pairs(assessment: Assessment) -> Iterator[tuple[str, object]]:
    """A fact: p of each pair alone, if there are several."""
    if len(assessment.p_of_pairs) > 1:
        yield "p of each pair", ", ".join(f"{p:.2g}" for p in assessment.p_of_pairs)
