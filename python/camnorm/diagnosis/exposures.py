"""Frames of several modes of exposure in one set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.diagnosis.finding import Finding, count_of
from camnorm.measurement.modes import split_into_modes
from camnorm.statistics.modality import DIP_LIMIT

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["exposures"]


def exposures(sensor: Sensor) -> list[Finding]:
    """Whether frames are of several modes of exposure."""
    frames = sensor.frames
    groups, evidence = split_into_modes(frames, sensor.dtype, math.prod(sensor.shape))
    told = [
        f"{count_of(group.size, 'frame')} of mean {np.median(frames['mean'][group]):.6g} and standard "
        f"deviation {np.median(frames['std'][group]):.6g} (the first: {Path(frames['file'][group[0]]).name}, "
        f"frame {frames['index'][group[0]]})"
        for group in groups
        if group.size
    ]
    mixed = len(groups) > 1
    remedy = "Measure each exposure level separately (measure_groups)."
    headline = f"the frames have {len(groups)} exposure levels."
    sentence = (
        f"the frames are of {len(groups)} kinds: {'; '.join(told)}. One mean image does not fit them all. "
        f"{remedy}"
        if mixed
        else "the frames' means and standard deviations have one mode each."
    )
    found = Finding(
        "modes",
        evidence,
        DIP_LIMIT,
        "√n times the dip of one unimodal set is beyond it less than once in a thousand times",
        mixed,
        sentence if not math.isnan(evidence) else "too few frames to tell whether they are of one kind.",
        headline=headline,
        remedy=remedy,
    )
    return [found]
