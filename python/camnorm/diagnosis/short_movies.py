"""Movies that are shorter than most."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.diagnosis.finding import Finding

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["short_movies"]


def short_movies(sensor: Sensor) -> list[Finding]:
    """Whether movies are shorter than most: still being copied, perhaps, or truncated."""
    frames, provenance = sensor.frames, sensor.provenance
    selection = provenance.get("selection") or {}
    sampled = selection.get("every", 1) != 1 or selection.get("max_frames") is not None
    readable = frames[np.isfinite(frames["mean"])]
    lengths: dict[str, int] = {}  # of each movie, the number of its last frame that can be read
    for file, index in readable[["file", "index"]].tolist():
        lengths[file] = max(lengths.get(file, 0), index + 1)
    counts = np.array(list(lengths.values()), np.intp)
    found, times = np.unique(counts, return_counts=True)
    # At least half of the movies must be of one length, the greater one in doubt.
    usual = int(found[times == times.max(initial=0)].max(initial=0))
    clear = not sampled and not provenance.get("frames_list") and 2 * times.max(initial=0) >= counts.size
    short = {file: count for file, count in lengths.items() if count < usual}
    flagged = clear and bool(short)
    sentence = "all movies are as long as most."
    if flagged:
        file, count = next(iter(short.items()))
        some = "1 movie is" if len(short) == 1 else f"{len(short)} movies are"
        more = ", ..." if len(short) > 1 else ""
        sentence = (
            f"{some} shorter than usual ({Path(file).name}: {count} of {usual} frames{more}). "
            "Files may be truncated, or were still being copied; measure again when all files are complete."
        )
    elif not clear:
        sentence = "the movies have no common length that can be compared."
    finding = Finding(
        "short_movies",
        float(len(short)) if clear else math.nan,
        0.0,
        "the movies of one session have the same number of frames",
        flagged,
        sentence,
        "note",
    )
    return [finding]
