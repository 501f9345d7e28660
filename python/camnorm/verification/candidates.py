"""Which frames a verification may test, and how many of them make a group."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from camnorm.application.fit import Fit
from camnorm.errors import Error
from camnorm.io import Chosen
from camnorm.io.base.catalogue import Catalogue
from camnorm.sensor.provenance import from_moments
from camnorm.sensor.sensor import Sensor

# Least number of frames to choose from, in multiples of a group: both groups together are then at most
# half the set, and the other half makes the statistics.
_SMALLEST_SHARE = 4


@dataclass(frozen=True)
class Candidate:
    """A frame that may be tested."""

    file: str
    index: int
    half: str
    """"A" or "B"; empty if it is not known."""


class Candidates(NamedTuple):
    """What test frames are chosen from."""

    frames: list[Candidate]
    size: int
    """Frames of a group."""
    pairs: int
    """Pairs of groups."""
    notes: list[str]
    """What the user should know."""
    rejected: list[tuple[str, str]]
    """Files that do not fit the sensor, and why."""


def find_candidates(
    catalogue: Catalogue, sensor: Sensor, fit: Fit, group: int, pairs: int, chosen: Chosen
) -> Candidates:
    """Find the frames to choose from, and how many of them are taken.

    These are the first good frame of each file, or all good frames if there are too few files; only chosen
    ones.
    """
    measured: dict[str, dict[int, str]] = {}
    for file, index, half, status in sensor.frames[["file", "index", "half", "status"]].tolist():
        halves = measured.setdefault(file, {})
        if status == "accepted":
            halves[index] = half
    # A file that is not where it was is known by its name, if no other was of that name.
    names = Counter(os.path.basename(file) for file in measured)
    moved = {os.path.basename(file): file for file in measured if names[os.path.basename(file)] == 1}

    def frames_of(number: int, file: str, known: dict[int, str] | None) -> list[Candidate]:
        if known is not None and chosen.everything:
            return [Candidate(file, index, half) for index, half in known.items()]
        entry = catalogue.find(number)
        if entry is None:
            return []
        indices = chosen(number, entry.count)
        indices = indices[: bisect_left(indices, entry.available)]
        if known is None:
            return [Candidate(file, index, "") for index in indices]
        return [Candidate(file, index, known[index]) for index in indices if index in known]

    files = {}
    for number, path in enumerate(map(str, catalogue.paths)):
        files[path] = number, path, measured.get(path, measured.get(moved.get(os.path.basename(path), "")))
    rejected = _unfit(catalogue, [number for number, _, known in files.values() if known is None], fit)
    for path, _ in rejected:
        del files[path]
    if rejected and not files:
        entry = catalogue.entry(0)
        raise Error(
            f"{catalogue.paths[0]} has {entry.dtype} frames of shape {entry.shape}, "
            f"the sensor {fit.dtype} frames of shape {fit.shape}"
        )
    pool: list[Candidate] = []
    for number, file, known in files.values():
        unknown = known is None and chosen.everything
        pool += [Candidate(file, 0, "")] if unknown else frames_of(number, file, known)[:1]
    notes = [*_left_out(sensor, files), *_unlisted(sensor)]
    if len(pool) >= _SMALLEST_SHARE * group * pairs:
        return Candidates(pool, group, pairs, notes, rejected)
    every = [frame for file in files.values() for frame in frames_of(*file)]
    size = min(group, len(every) // _SMALLEST_SHARE)
    if size < min(group, 2):
        fewest = _SMALLEST_SHARE * min(group, 2)
        raise Error(f"verification needs at least {fewest} frames to choose from, got {len(every)}")
    wanted, pairs = pairs, min(pairs, len(every) // (_SMALLEST_SHARE * size))
    if len(pool) < 2 * size * pairs:
        pool = every
        notes.append(f"several frames per file are used, since there are only {len(files)} files")
    if size < group:
        notes.append(
            f"groups of {size} frames instead of {group}: there are only {len(every)} to choose from"
        )
    if pairs < wanted:
        notes.append(
            f"{pairs} pairs of groups instead of {wanted}: there are only {len(every)} frames to choose from"
        )
    return Candidates(pool, size, pairs, notes, rejected)


def _left_out(sensor: Sensor, files: Collection[str]) -> list[str]:
    """A note on frames of these files that the sensor rejected, if there are any."""
    rejected = sensor.frames["file"][sensor.frames["status"] == "rejected"].tolist()
    count = sum(file in files for file in rejected)
    words = "1 frame was" if count == 1 else f"{count} frames were"
    return [f"{words} left out: rejected when the sensor was measured"] if count else []


def _unlisted(sensor: Sensor) -> list[str]:
    """A note on frames of the sensor that may be among the test frames."""
    count = sum(from_moments(sensor.provenance))
    frames = "1 frame" if count == 1 else f"{count} frames"
    note = f"{frames} of the sensor came as moments: test frames among them stay in its statistics"
    return [note] if count else []


def _unfit(catalogue: Catalogue, numbers: Sequence[int], fit: Fit) -> list[tuple[str, str]]:
    """Files, of those that were not measured, whose frames are of another shape or kind; and why."""
    part = catalogue.part(numbers)
    entries = zip(part.paths, part.scan(), strict=True)
    reasons = [
        (str(path), None if entry is None else fit.misfit(entry.shape, entry.dtype))
        for path, entry in entries
    ]
    return [(path, reason) for path, reason in reasons if reason is not None]
