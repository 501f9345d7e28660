"""Trends and steps of the frames' means and standard deviations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import Finding
from camnorm.measurement.modes import MATTERS, means_of_units, units_of
from camnorm.measurement.screening import WORDS
from camnorm.statistics.sequences import STEP_LIMIT, course

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["courses"]

# Trend and step in units of the frames' scatter, and the chance at which a trend is taken for one.
_TREND_LIMIT = 1.0
_TREND_CHANCE = 1e-3


def courses(sensor: Sensor) -> list[Finding]:
    """Trend and steps of the accepted frames' means and standard deviations."""
    accepted = sensor.frames[sensor.frames["status"] == "accepted"]
    return [finding for field in WORDS for finding in _course(accepted, field)]


def _course(part: npt.NDArray[np.void], field: str) -> list[Finding]:
    word = WORDS[field]
    units = units_of(part)
    found = course(means_of_units(part[field], units)) if part.size else None
    because = "frames scatter as much anyway" if field == "mean" else "they scatter as much anyway"
    because += f", or {MATTERS:.0%} of the pixels' standard deviation"
    names = (f"{field}_trend", _TREND_LIMIT), (f"{field}_steps", STEP_LIMIT)
    if found is None:
        few = f"too few frames to tell whether their {word} changes with time."
        return [Finding(name, math.nan, limit, because, False, few) for name, limit in names]
    scale = max(found.scatter, MATTERS * float(np.median(part["std"])), 1e-300)
    trend = found.trend / scale
    trending = abs(trend) > _TREND_LIMIT and found.trend_chance < _TREND_CHANCE
    steps = [step for step in found.steps if abs(step.change) > STEP_LIMIT * scale]
    firsts = np.unique(units, return_index=True)[1]
    told = [
        f"by {step.change:+.4g} from {Path(part['file'][row]).name}, frame {part['index'][row]}, on"
        for step, row in ((step, firsts[step.position]) for step in steps)
    ]
    largest = max((abs(step.change) / scale for step in found.steps), default=0.0)
    return [
        Finding(
            names[0][0],
            abs(trend),
            _TREND_LIMIT,
            because,
            trending,
            f"the frames' {word} changes by {found.trend:+.4g} from the first to the last, "
            f"{abs(trend):.3g} times their scatter: light or sensor drifted; take shorter sets."
            if trending
            else f"the frames' {word} has no trend that matters.",
        ),
        Finding(
            names[1][0],
            largest,
            STEP_LIMIT,
            because,
            bool(steps),
            f"the frames' {word} steps {', '.join(told)}: something was changed; measure the parts apart."
            if steps
            else f"the frames' {word} does not step.",
        ),
    ]
