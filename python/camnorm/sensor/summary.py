"""What is in a sensor, as numbers for programs; verbs and the demonstration report it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from camnorm.correction.targets import as_number_or_list
from camnorm.sensor.provenance import from_moments
from camnorm.sensor.sensor import Sensor

__all__ = ["screening_limits", "sensor_summary"]


def sensor_summary(sensor: Sensor) -> dict[str, Any]:
    """Summarise a sensor.

    Parameters
    ----------
    sensor : Sensor
        The sensor.

    Returns
    -------
    dict
        Ready for `camnorm.jsontext`.
    """
    rejected = sensor.frames[sensor.frames["status"] == "rejected"]
    return {
        "count": sensor.count,
        "halves": [half.count for half in sensor.halves],
        "from_moments": sum(from_moments(sensor.provenance)),
        "frames": len(sensor.frames),
        "accepted": len(sensor.frames) - len(rejected),
        "rejected": [
            {"file": file, "index": index if index >= 0 else None, "reason": reason}
            for file, index, reason in rejected[["file", "index", "reason"]].tolist()
        ],
        "copies": sensor.provenance.get("copies") or {"files": 0, "first": []},
        "shape": sensor.shape,
        "dtype": sensor.dtype.name,
        "row_order": sensor.row_order,
        "target_mean": as_number_or_list(sensor.target_mean),
        "target_sigma": as_number_or_list(sensor.target_sigma),
        "response": _response_summary(sensor),
        "screening": sensor.provenance["screening"] or None,
        "selection": sensor.provenance.get("selection"),
        "reading": sensor.provenance.get("reading"),
        "chosen": sensor.provenance.get("chosen"),
        **{name: sensor.provenance[name] for name in ("parts", "subtracted") if name in sensor.provenance},
    }


def _response_summary(sensor: Sensor) -> dict[str, float] | None:
    """Exposures of the frames, and their share of the variance of a pixel; None if there is no response."""
    response = sensor.response
    if response is None:
        return None
    mean, std = response.exposures()
    share = (std / float(np.mean(sensor.target_sigma))) ** 2
    return {"exposure_mean": mean, "exposure_std": std, "share": share}


def screening_limits(screening: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Limits of "mean" and "std" that were derived from the set.

    Parameters
    ----------
    screening : mapping
        What the provenance keeps of a screening.

    Returns
    -------
    dict
        Lower and upper limit by name.
    """
    return {name: tuple(screening[name]) for name in ("mean", "std") if name in screening}
