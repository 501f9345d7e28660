"""Frames that were left out: too many, blank, saturated, or copies of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import Finding, count_of
from camnorm.measurement.faults import saturation
from camnorm.measurement.screening import BLANK, COPY, SATURATED, blank_frames, copies, saturated_frames

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["left_out"]

# Shares of the frames beyond which they are worth a word although they were left out.
_BLANK_LIMIT = 0.01
_SATURATED_LIMIT = 0.01
_REJECTED_LIMIT = 0.05


def left_out(sensor: Sensor) -> list[Finding]:
    """What was left out; and what may be copies, unless frames of equal statistics were compared."""
    frames, compared = sensor.frames, "k" in sensor.provenance["screening"]
    total = max(frames.size, 1)
    accepted = frames[frames["status"] == "accepted"]
    reasons = frames["reason"].tolist()
    rejected = frames.size - accepted.size
    share = f"{100 * rejected / total:.2g} %"
    most = saturation(sensor)
    kept = {
        "blank": int(blank_frames(accepted).sum()),
        "saturated": int(saturated_frames(accepted, sensor.dtype).sum()),
    }
    result = [
        Finding(
            "rejected",
            rejected / total,
            _REJECTED_LIMIT,
            "of normally distributed frames, median ± 6·MAD leaves out one in five hundred million",
            rejected / total > _REJECTED_LIMIT,
            f"{count_of(rejected, 'frame')} of {frames.size} ({share}) left out. "
            "If these are too many, look at the reasons, and whether the set is of one kind.",
            headline=f"{share} of the frames were rejected.",
            remedy="Look at the reasons for rejection below.",
        )
    ]
    for name, prefix, limit, what in (
        ("blank", BLANK, _BLANK_LIMIT, "a shutter, a beam or a trigger that fails leaves blank frames"),
        ("saturated", SATURATED, _SATURATED_LIMIT, "pixels at the maximum say nothing of their sensitivity"),
    ):
        found = sum(reason.startswith(prefix) for reason in reasons)
        in_statistics = count_of(kept[name], f"{name} frame")
        verb = "is" if kept[name] == 1 else "are"
        still = f", {kept[name]} more {verb} in the statistics" if kept[name] else ""
        result.append(
            Finding(
                name,
                (found + kept[name]) / total,
                limit,
                what,
                kept[name] > 0 or found / total > limit,
                f"{count_of(found, f'{name} frame')} of {frames.size} left out{still}."
                if found or not kept[name]
                else f"{in_statistics} of {frames.size} {verb} in the statistics.",
                "unusable" if name == "saturated" and most else "warning" if kept[name] else "note",
                most
                if name == "saturated" and most
                else f"{in_statistics} of {frames.size} {verb} in the statistics.",
                "Lower the exposure." if name == "saturated" else "Leave them out (screen=auto).",
            )
        )
    return [*result, _duplicates(frames, accepted, compared)]


def _duplicates(frames: npt.NDArray[np.void], accepted: npt.NDArray[np.void], compared: bool) -> Finding:
    copied = [reason.removeprefix(COPY) for reason in frames["reason"].tolist() if reason.startswith(COPY)]
    kept_copies = {} if compared else copies(frames)
    still = f", {len(kept_copies)} may be in the statistics" if kept_copies else ""
    first = f", the first of {copied[0]}" if copied else ""
    places = accepted[["file", "index"]].tolist()
    again = len(places) - len(set(places))
    counted = len(kept_copies) + again
    listed = (
        f" {count_of(again, 'frame')} of the list had been there before, and count again." if again else ""
    )
    return Finding(
        "duplicates",
        (len(copied) + len(kept_copies) + again) / max(frames.size, 1),
        0.0,
        "no sensor gives the same frame twice: copies count a frame more than once",
        bool(copied or kept_copies or again),
        f"{count_of(len(copied), 'copy', 'copies')} of other frames left out{first}{still}.{listed}",
        "warning" if counted else "note",
        f"{count_of(counted, 'frame counts', 'frames count')} more than once.",
        "Remove the copies (screen=auto leaves them out).",
    )
