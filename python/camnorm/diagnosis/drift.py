"""A pattern that changed while the frames were taken."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from camnorm.diagnosis.finding import Finding, count_of

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["drift"]

# Drift leaves half the difference of the two patterns in every corrected frame: at a ratio of √2 that is
# as much as the noise of the mean image itself.
_DRIFT_LIMIT = math.sqrt(2)
_DRIFTED_PIXELS = 10
_DRIFTED_SHARE = 1e-5

_REMEDY = "Take shorter sets."


def drift(sensor: Sensor) -> list[Finding]:
    """Whether the pattern of the first frames differs from that of the last, if that was measured."""
    measured = sensor.provenance.get("drift")
    if not measured:
        return []
    ratio = measured["rms_z"] / measured["control_rms_z"] if measured["control_rms_z"] else math.nan
    pixels = measured["beyond_6_sigma"] - measured["control_beyond_6_sigma"]
    limit = max(_DRIFTED_PIXELS, _DRIFTED_SHARE * measured["pixels"])
    drifted = ratio > _DRIFT_LIMIT
    share = f"{100 * measured['share']:.2g} %"
    return [
        Finding(
            "drift",
            ratio,
            _DRIFT_LIMIT,
            "from there on, half the change of the pattern is more than the noise of the mean image",
            drifted,
            f"the pixels' pattern changed from the first {measured['first']} frames to the last "
            f"{measured['second']}: {share} of its variance changed. They differ {ratio:.3g} times as much "
            "as the two halves do; take shorter sets."
            if drifted
            else "the pixels' pattern is the same in the first and the last frames.",
            headline=f"the fixed pattern drifted: {share} of its variance changed.",
            remedy=_REMEDY,
        ),
        Finding(
            "drift_pixels",
            float(pixels),
            limit,
            "bad pixels come and go; dust that moves is more of them",
            pixels > limit,
            f"{count_of(measured['beyond_6_sigma'], 'pixel')} of {measured['pixels']} compared changed from "
            "the first frames to the last by more than chance explains (6 standard errors, more for few "
            "frames)" + (": dust moved, or pixels went bad; take shorter sets." if pixels > limit else "."),
            headline=f"{count_of(measured['beyond_6_sigma'], 'pixel')} changed while the frames were taken.",
            remedy=_REMEDY,
        ),
    ]
