"""What the table of its frames says of a set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.findings import Finding
from camnorm.measurement.modes import DIP_LIMIT, MATTERS, means_of_units, modes, split_into_modes, units_of
from camnorm.measurement.screening import (
    BLANK,
    COPY,
    SATURATED,
    WORDS,
    blank_frames,
    copies,
    saturated_frames,
)
from camnorm.statistics.sequences import STEP_LIMIT, course

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["findings", "modes"]

# Shares of the frames beyond which they are worth a word although they were left out.
_BLANK_LIMIT = 0.01
_SATURATED_LIMIT = 0.01
_REJECTED_LIMIT = 0.05

# Trend and step in units of the frames' scatter, and the chance at which a trend is taken for one.
_TREND_LIMIT = 1.0
_TREND_CHANCE = 1e-3


def findings(sensor: Sensor) -> list[Finding]:
    """Say what the frames of a measurement tell of its set.

    Parameters
    ----------
    sensor : Sensor
        Its frame table and provenance are looked at, in the order of the table, which is taken for that of
        time.

    Returns
    -------
    list of Finding
        ``rejected``, ``blank``, ``saturated``, ``duplicates``, ``mixed``, ``short_movies``, ``modes``,
        ``mean_trend``, ``mean_steps``, ``std_trend``, ``std_steps``, and, of measurements that tell it,
        ``drift`` and ``drift_pixels``. Of clean sets each is flagged at most once in a hundred times.
    """
    frames = sensor.frames
    return [
        *_left_out(frames, sensor.dtype, compared="k" in sensor.provenance["screening"]),
        _mixed(sensor.provenance.get("groups", [])),
        _short_movies(frames, sensor.provenance),
        _modes_found(frames, sensor.dtype),
        *(finding for field in WORDS for finding in _course_found(frames, field)),
        *_drift_found(sensor.provenance.get("drift")),
    ]


def _left_out(frames: npt.NDArray[np.void], dtype: np.dtype[Any], compared: bool) -> list[Finding]:
    """What was left out; and what may be copies, unless frames of equal statistics were compared."""
    total = max(frames.size, 1)
    accepted = frames[frames["status"] == "accepted"]
    reasons = frames["reason"].tolist()
    rejected = frames.size - accepted.size
    kept = {
        "blank": int(blank_frames(accepted).sum()),
        "saturated": int(saturated_frames(accepted, dtype).sum()),
    }
    result = [
        Finding(
            "rejected",
            rejected / total,
            _REJECTED_LIMIT,
            "of normally distributed frames, median ± 6·MAD leaves out one in five hundred million",
            rejected / total > _REJECTED_LIMIT,
            f"{_count(rejected, 'frame')} of {frames.size} ({rejected / total:.2g} of all) left out; "
            "if they are too many, look at their reasons, and at whether the set is of one kind.",
        )
    ]
    for name, prefix, limit, what in (
        ("blank", BLANK, _BLANK_LIMIT, "a shutter, a beam or a trigger that fails leaves blank frames"),
        ("saturated", SATURATED, _SATURATED_LIMIT, "pixels at the maximum say nothing of their sensitivity"),
    ):
        found = sum(reason.startswith(prefix) for reason in reasons)
        still = f", {kept[name]} more are in the statistics" if kept[name] else ""
        result.append(
            Finding(
                name,
                (found + kept[name]) / total,
                limit,
                what,
                kept[name] > 0 or found / total > limit,
                f"{_count(found, f'{name} frame')} of {frames.size} left out{still}.",
            )
        )
    copied = [reason.removeprefix(COPY) for reason in reasons if reason.startswith(COPY)]
    kept_copies = {} if compared else copies(frames)
    still = f", {len(kept_copies)} may be in the statistics" if kept_copies else ""
    first = f", the first of {copied[0]}" if copied else ""
    places = accepted[["file", "index"]].tolist()
    again = len(places) - len(set(places))
    listed = f" {_count(again, 'frame')} of the list had been there before, and count again." if again else ""
    result.append(
        Finding(
            "duplicates",
            (len(copied) + len(kept_copies) + again) / total,
            0.0,
            "no sensor gives the same frame twice: copies count a frame more than once",
            bool(copied or kept_copies or again),
            f"{_count(len(copied), 'copy', 'copies')} of other frames left out{first}{still}.{listed}",
        )
    )
    return result


def _count(number: int, one: str, more: str | None = None) -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _mixed(groups: Sequence[Mapping[str, Any]]) -> Finding:
    """Whether the files are of several shapes, pixel types or cameras."""
    told = [
        f"{_count(group['files'], 'file')} ({_count(group['frames'], 'frame')}) of {describe(group)}"
        for group in groups
    ]
    frames = sum(group["frames"] for group in groups)
    others = frames - max((group["frames"] for group in groups), default=0)
    return Finding(
        "mixed",
        others / frames if frames else math.nan,
        0.0,
        "one measurement is of one sensor in one mode",
        len(groups) > 1,
        f"the set is mixed: {'; '.join(told)}. Measure each group on its own (measure_groups)."
        if len(groups) > 1
        else "all files are of one shape, pixel type and camera."
        if groups
        else "whether all files are of one shape, pixel type and camera is not known.",
    )


def _short_movies(frames: npt.NDArray[np.void], provenance: Mapping[str, Any]) -> Finding:
    """Whether movies are shorter than most: still being copied, perhaps, or truncated."""
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
    return Finding(
        "short_movies",
        float(len(short)) if clear else math.nan,
        0.0,
        "the movies of one session have the same number of frames",
        flagged,
        sentence,
    )


def describe(group: Mapping[str, Any]) -> str:
    """Put a group of files into words."""
    words = f"{' x '.join(map(str, group['shape']))} {group['dtype']}"
    return f"{words} by {group['camera']}" if group.get("camera") else words


def _modes_found(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> Finding:
    groups, evidence = split_into_modes(frames, dtype)
    told = [
        f"{_count(group.size, 'frame')} of mean {np.median(frames['mean'][group]):.6g} and standard "
        f"deviation {np.median(frames['std'][group]):.6g} (the first: {Path(frames['file'][group[0]]).name}, "
        f"frame {frames['index'][group[0]]})"
        for group in groups
        if group.size
    ]
    mixed = len(groups) > 1
    sentence = (
        f"the frames are of {len(groups)} kinds: {'; '.join(told)}. Their statistics do not go together: "
        "measure each group on its own (measure_groups)."
        if mixed
        else "the frames' means and standard deviations have one mode each."
    )
    return Finding(
        "modes",
        evidence,
        DIP_LIMIT,
        "√n times the dip of one unimodal set is beyond it less than once in a thousand times",
        mixed,
        sentence if not math.isnan(evidence) else "too few frames to tell whether they are of one kind.",
    )


def _course_found(frames: npt.NDArray[np.void], field: str) -> list[Finding]:
    """Trend and steps of the accepted frames' means or standard deviations."""
    part = frames[frames["status"] == "accepted"]
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


# Drift leaves half the difference of the two patterns in every corrected frame: at a ratio of √2 that is
# as much as the noise of the mean image itself.
_DRIFT_LIMIT = math.sqrt(2)
_DRIFTED_PIXELS = 10
_DRIFTED_SHARE = 1e-5


def _drift_found(drift: Mapping[str, Any] | None) -> list[Finding]:
    if not drift:
        return []
    ratio = drift["rms_z"] / drift["control_rms_z"] if drift["control_rms_z"] else math.nan
    pixels = drift["beyond_6_sigma"] - drift["control_beyond_6_sigma"]
    limit = max(_DRIFTED_PIXELS, _DRIFTED_SHARE * drift["pixels"])
    drifted = ratio > _DRIFT_LIMIT
    return [
        Finding(
            "drift",
            ratio,
            _DRIFT_LIMIT,
            "from there on, half the change of the pattern is more than the noise of the mean image",
            drifted,
            f"the pixels' pattern changed from the first {drift['first']} frames to the last "
            f"{drift['second']}: they differ {ratio:.3g} times as much as the two halves do, "
            f"{drift['share']:.2g} of the pattern's variance changed; take shorter sets."
            if drifted
            else "the pixels' pattern is the same in the first and the last frames.",
        ),
        Finding(
            "drift_pixels",
            float(pixels),
            limit,
            "bad pixels come and go; dust that moves is more of them",
            pixels > limit,
            f"{_count(drift['beyond_6_sigma'], 'pixel')} of {drift['pixels']} looked at changed by more than "
            "6 standard errors from the first frames to the last"
            + (": dust moved, or pixels went bad; take shorter sets." if pixels > limit else "."),
        ),
    ]
