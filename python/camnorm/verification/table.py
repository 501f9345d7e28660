"""Assessments as a table of text."""

from __future__ import annotations

from collections.abc import Mapping

from camnorm.verification.verdict import Assessment, Verification

__all__ = ["assessment_table", "p_in_words", "verdict", "verification_table"]

_HEADINGS = ("frames", "outside ±3σ", "outside exact", "mean FRC", "z", "p", "verdict")


def p_in_words(p: float) -> str:
    """A p-value with two digits; below 1e-16 it says no more than that."""
    return "<1e-16" if p < 1e-16 else f"{p:.2g}"


def verdict(independent: bool) -> str:
    """Return the verdict in a word."""
    return "independent" if independent else "correlated"


def assessment_table(assessments: Mapping[str, Assessment]) -> str:
    """Tabulate comparisons of images, a row each, and what chance alone would give.

    Parameters
    ----------
    assessments : mapping
        Assessments of images of one size by the names of their rows.

    Returns
    -------
    str
        Several lines, of up to 100 characters.
    """
    rows = [_HEADINGS, *(_row(name, found) for name, found in assessments.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)]
        lines.append("  ".join([*cells, last]))
    found = next(iter(assessments.values()))
    lines.append(
        f"Expected by chance: {found.expected_outside_3sigma:.2g} of {found.rings} rings outside ±3σ, "
        f"{found.expected_outside_exact:.2g} outside the exact curve. Pass: p ≥ {found.alpha:g}."
    )
    return "\n".join(lines)


def verification_table(result: Verification) -> str:
    """Tabulate the four comparisons of a verification, as `assessment_table` does."""
    return assessment_table(
        {
            f"{images}, {state}": assessment
            for images, comparison in (("pair", result.pairs), ("groups", result.groups))
            for state, assessment in (("raw", comparison.raw), ("corrected", comparison.corrected))
        }
    )


def _row(name: str, found: Assessment) -> tuple[str, ...]:
    return (
        name,
        f"{found.outside_3sigma} of {found.rings}",
        f"{found.outside_exact} of {found.rings}",
        f"{found.mean_correlation:+.4f}",
        f"{found.z:+.1f}" if abs(found.z) >= 10 else f"{found.z:+.2f}",
        p_in_words(found.p),
        verdict(found.independent),
    )
