"""Enough frames, of enough different specimens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from camnorm.diagnosis.convergence import Convergence
from camnorm.diagnosis.finding import Finding
from camnorm.sensor.balance import frames_for_groups

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["specimens"]


def specimens(sensor: Sensor, found: Convergence) -> list[Finding]:
    """Are there enough frames, of enough different specimens?"""
    files = len(set(sensor.frames["file"][sensor.frames["status"] == "accepted"].tolist()))
    needed = frames_for_groups(found.group, min(sensor.shape[:2]))
    because = (
        f"the mean image of fewer, subtracted, makes averages of {found.group} frames correlate beyond 3σ "
        "near Nyquist"
    )
    least = found.balance.least if found.verdict == "harmful" else 0.0
    take = math.ceil(max(least, needed)) if math.isfinite(least) else needed
    purpose = "" if take > needed else f" for averages of {found.group} frames"
    too_few = found.frames < needed
    few = not too_few and found.effective_frames < needed
    if math.isnan(found.ratio) or files < 2:
        effective = math.nan
        told = "Whether frames show different specimens cannot be told"
        told += {
            0: " of moments, which do not say from which files the frames come.",
            1: " of a single file; if it is a movie of one area, that is part of the mean image.",
        }.get(files, ": there are too few, or nothing but their brightness differs.")
    else:
        effective = found.effective_frames
        told = f"{found.frames} frames of {files} files count as {effective:.0f} independent ones"
        told += f", because they show few specimens: record at least {take}." if few else "."
    low = found.ratio_limits[0]
    differ = f"{100 * found.ratio:.3g} % of what is expected"
    return [
        Finding("specimens", effective, needed, because, few, told),
        Finding(
            "frames",
            found.frames,
            needed,
            because,
            too_few,
            f"Too few frames: record at least {take}{purpose}."
            if too_few
            else f"The noise of the mean image is invisible in averages of {found.group} frames.",
        ),
        Finding(
            "halves",
            found.ratio,
            low,
            "fewer than 0.1 % of sets of independent frames are below",
            found.ratio < low,
            f"The halves' mean images differ by only {differ}: neighbouring files, or frames of a single "
            "one, show the same, or the sensor drifts. What they share is taken for the sensor's pattern."
            if found.ratio < low
            else "How much the halves should differ cannot be told."
            if math.isnan(found.ratio)
            else f"The halves' mean images differ by {differ}.",
            headline="neighbouring files show the same, or the sensor drifts.",
            remedy="Add frames of other specimens.",
        ),
    ]
