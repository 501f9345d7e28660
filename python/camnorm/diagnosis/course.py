"""Trends and steps of the frames' means and standard deviations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import Finding
from camnorm.measurement.modes import MATTERS, means_of_units
from camnorm.measurement.screening import WORDS, file_numbers
from camnorm.statistics.curves import Curve, curve
from camnorm.statistics.sequences import FEWEST, STEP_LIMIT, Course, Step, Values, course

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["courses"]

# Trend and step in units of the frames' scatter, and the chance at which a trend is taken for one. A change
# that is this much larger than the scatter matters whatever its chance.
_TREND_LIMIT = 1.0
_TREND_CHANCE, _BENT_CHANCE = 1e-3, 1e-4
# Fewer values say too little of how far they remember.
_ENOUGH, _BENT_CHANCE_OF_FEW, _LARGE_OF_FEW = 100, 1e-6, 20.0
_LARGE = 10.0
# Movies have specimens, and so levels, of their own. From this many on their levels count instead of their
# frames; fewer have no course that can be told from chance, and the fewest not even a trend.
_MANY_MOVIES, _FEW_MOVIES = FEWEST, 6
# Where a movie ends, steps must be larger than this share of the level.
_STEP_BETWEEN_MOVIES = 0.25
_APART, _SHORTER = "Measure the parts before and after separately.", "Take shorter sets."
# A broken line is reported instead of a straight one if it leaves so much less.
_BETTER = 0.8


def courses(sensor: Sensor) -> list[Finding]:
    """Trend and steps of the accepted frames' means and standard deviations."""
    accepted = sensor.frames[sensor.frames["status"] == "accepted"]
    return [finding for field in WORDS for finding in _course(accepted, field)]


def _course(part: npt.NDArray[np.void], field: str) -> list[Finding]:
    word = WORDS[field]
    files = file_numbers(part)
    movies = int(files.max(initial=-1)) + 1
    few = 1 < movies < min(_MANY_MOVIES, part.size)
    units = np.arange(part.size) if few or movies < _MANY_MOVIES else files
    values = means_of_units(part[field], units)
    found = course(values) if part.size else None
    because = "frames scatter as much anyway" if field == "mean" else "they scatter as much anyway"
    because += f", or {MATTERS:.0%} of the pixels' standard deviation"
    names = (f"{field}_trend", _TREND_LIMIT), (f"{field}_steps", STEP_LIMIT)
    if found is None:
        unknown = f"too few frames to tell whether their {word} changes with time."
        return [Finding(name, math.nan, limit, because, False, unknown) for name, limit in names]
    least = max(MATTERS * float(np.median(part["std"])), 1e-300)
    scale = max(found.scatter, least)
    steps = [step for step in found.steps if abs(step.change) > STEP_LIMIT * scale]
    if few:
        ends = np.flatnonzero(np.diff(files)) + 1
        between = _STEP_BETWEEN_MOVIES * abs(float(np.median(values)))
        steps = [
            step for step in steps if abs(step.change) > between or np.abs(ends - step.position).min() > 1
        ]
    firsts = np.unique(units, return_index=True)[1]
    told = [
        f"by {step.change:+.4g} from {Path(part['file'][row]).name}, frame {part['index'][row]}, on"
        for step, row in ((step, firsts[step.position]) for step in steps)
    ]
    largest = max((abs(step.change) / scale for step in steps), default=0.0)
    bent = curve(_within_movies(values, files) if few else _without_steps(values, steps))
    straight = found if not few or movies >= _FEW_MOVIES else dataclasses.replace(found, trend=0.0)
    return [
        _trend(names[0][0], word, because, straight, bent, least, few),
        Finding(
            names[1][0],
            largest,
            STEP_LIMIT,
            because,
            bool(steps),
            f"the frames' {word} steps {', '.join(told)}: something was changed; measure the parts apart."
            if steps
            else f"the frames' {word} does not step.",
            headline=f"the frames' {word} steps.",
            remedy=_APART,
        ),
    ]


def _without_steps(values: Values, steps: Sequence[Step]) -> Values:
    flat: Values = values.copy()
    for step in steps:
        flat[step.position :] -= step.change
    return flat


def _within_movies(values: Values, files: npt.NDArray[np.intp]) -> Values:
    """Mean over movies of the deviation from the movie's median, frame by frame as far as all go."""
    movies = np.split(values, np.flatnonzero(np.diff(files)) + 1)
    length = min(movie.size for movie in movies)
    deviations = [movie[:length] - np.median(movie) for movie in movies]
    average: Values = np.mean(deviations, axis=0)
    return average


def _trend(
    name: str, word: str, because: str, found: Course, bent: Curve | None, least: float, few: bool
) -> Finding:
    """The change along a straight line, or along a broken one that fits much better."""
    change, ends = found.trend, "from the first to the last"
    size = abs(change) / max(found.scatter, least)
    trending = size > _TREND_LIMIT and found.trend_chance < _TREND_CHANCE
    if bent is not None:
        bent_size = abs(bent.change) / max(bent.scatter, least)
        enough = bent.count >= _ENOUGH
        chance, large = (_BENT_CHANCE, _LARGE) if enough else (_BENT_CHANCE_OF_FEW, _LARGE_OF_FEW)
        bending = bent_size > _TREND_LIMIT and (bent.chance < chance or bent_size > large)
        if bending and (not trending or max(bent.scatter, least) < _BETTER * max(found.scatter, least)):
            change, size, trending, ends = (
                bent.change,
                bent_size,
                True,
                "within each movie" if few else "in the course of the set",
            )
    return Finding(
        name,
        size,
        _TREND_LIMIT,
        because,
        trending,
        f"the frames' {word} changes by {change:+.4g} {ends}, {size:.3g} times their scatter: light or "
        "sensor drifted; take shorter sets."
        if trending
        else f"the frames' {word} has no trend that matters.",
        headline=f"the frames' {word} drifted by {change:+.3g} {ends}.",
        remedy=_SHORTER,
    )
