"""Measurements that are not to be used: of several cameras, of saturated frames, or of too few."""

from __future__ import annotations

import numpy as np

from camnorm.correction.adjustments import Adjustments
from camnorm.measurement.screening import saturated_frames
from camnorm.sensor.balance import harm_of
from camnorm.sensor.sensor import Sensor

__all__ = ["cameras_of", "fault_of", "mixture", "saturation"]

# From this share on, saturation is a property of the set.
_MOST = 0.5

_OWN_PATTERN = "each with its own pattern"


def fault_of(sensor: Sensor, adjustments: Adjustments, blocks: bool = False) -> str | None:
    """Say why frames are not to be corrected with a measurement.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    adjustments, blocks
        As of `harm_of`, whose judgement comes last.

    Returns
    -------
    str, optional
        What is wrong, and what to do; None if nothing is.
    """
    if (found := mixture(sensor)) is not None:
        return f"{found} Measure each camera on its own (measure_groups)."
    if (found := saturation(sensor)) is not None:
        return f"{found} Lower the exposure."
    return harm_of(sensor, adjustments, blocks)


def cameras_of(sensor: Sensor) -> list[str]:
    """Names of the cameras that took the frames in the statistics, as far as their files say it."""
    groups = sensor.provenance.get("groups", [])
    named = {str(group.get("camera") or "") for group in groups if tuple(group["shape"]) == sensor.shape}
    return sorted(named - {""})


def mixture(sensor: Sensor) -> str | None:
    """Say that the frames are of several cameras."""
    cameras = cameras_of(sensor)
    if len(cameras) < 2:
        return None
    return f"The set mixes frames of {len(cameras)} cameras ({', '.join(cameras)}), {_OWN_PATTERN}."


def saturation(sensor: Sensor) -> str | None:
    """Say that most frames are saturated."""
    accepted = sensor.frames[sensor.frames["status"] == "accepted"]
    found = int(np.count_nonzero(saturated_frames(accepted, sensor.dtype)))
    if not found or found < _MOST * accepted.size:
        return None
    frames = f"{found} of {accepted.size} frames are" if accepted.size > 1 else "The frame is"
    return f"{frames} saturated: pixels at the maximum say nothing of their sensitivity."
