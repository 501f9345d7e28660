"""What mode "best" has found, in words and for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from camnorm.diagnosis.finding import count_of

if TYPE_CHECKING:
    from camnorm.correction.adjustments import Adjustments
    from camnorm.sensor.estimate import Estimate

__all__ = ["correction_numbers", "estimate_facts"]


def estimate_facts(adjustments: Adjustments, estimates: Sequence[Estimate]) -> Iterator[tuple[str, object]]:
    """Kind of camera, and what is corrected."""
    for estimate in estimates[:1]:
        how = "recognised; change it with --camera" if adjustments.camera == "auto" else "as given"
        yield "camera", f"{estimate.camera} ({how})"
        defects = count_of(estimate.defects, "defect")
        if estimate.only_defects is None:
            yield "mode best", f"pattern, and {defects} filled from neighbours"
        else:
            yield "mode best", f"only {defects}, filled from neighbours: {estimate.only_defects}"


def correction_numbers(adjustments: Adjustments, estimates: Sequence[Estimate]) -> dict[str, Any]:
    """The same for JSON: null where the mode is not "best"."""
    best = estimates[0] if estimates else None
    return {
        "mode": adjustments.mode,
        "camera": None if best is None else best.camera,
        "defects": None if best is None else best.defects,
        "only_defects": None if best is None else best.only_defects,
    }
