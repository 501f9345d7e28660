"""Files of several shapes, pixel types or cameras in one set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from camnorm.diagnosis.finding import Finding, count_of
from camnorm.measurement.faults import mixture

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["describe", "mixed"]


def mixed(sensor: Sensor) -> list[Finding]:
    """Whether the files are of several shapes, pixel types or cameras."""
    groups = sensor.provenance.get("groups", [])
    told = [
        f"{count_of(group['files'], 'file')} ({count_of(group['frames'], 'frame')}) of {describe(group)}"
        for group in groups
    ]
    frames = sum(group["frames"] for group in groups)
    others = frames - max((group["frames"] for group in groups), default=0)
    cameras = mixture(sensor)
    remedy = "Measure each group on its own (measure_groups)."
    found = Finding(
        "mixed",
        others / frames if frames else math.nan,
        0.0,
        "one measurement is of one sensor in one mode",
        len(groups) > 1,
        f"the set is mixed: {'; '.join(told)}. {remedy}"
        if len(groups) > 1
        else "all files are of one shape, pixel type and camera."
        if groups
        else "whether all files are of one shape, pixel type and camera is not known.",
        "unusable" if cameras else "warning",
        cameras or f"the files are of {len(groups)} kinds ({'; '.join(map(describe, groups))}).",
        remedy,
    )
    return [found]


def describe(group: Mapping[str, Any]) -> str:
    """Put a group of files into words."""
    words = f"{' x '.join(map(str, group['shape']))} {group['dtype']}"
    return f"{words} by {group['camera']}" if group.get("camera") else words
