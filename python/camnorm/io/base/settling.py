"""One value for a set of files for each read option that was left to them.

Files are asked what their headers say. One value is chosen for the set, so that all of its frames are read
alike, and it is kept in the sensor file, so that other files of the sensor are read like it too:

- `eer_grouping`: the power of two that brings the median dose to about one electron a pixel and frame, or 40
  if the files do not give their dose; no more than the raw frames that movies have.
- `mrc_mode0`: what IMOD's stamps say, for files without a stamp too; signed if there are none. If stamps
  differ, none is chosen, and each file is read as it says.
- `tiff_4bit`: what the sizes of TIFF pages say; if they differ, none is chosen.
- `eer_sampling`: 1.
- `gain_operation`: what RELION does with frames of the most common format.

At most 33 files of each suffix are asked, evenly over their sorted paths: the choice depends on the set, and
not on the order of its files. Shards of a set may choose differently; `merge` refuses them then.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median, median_low
from typing import Any, NamedTuple, TypeAlias

from camnorm.io.base.catalogue import Catalogue, Entry
from camnorm.io.base.options import ReadOptions, usual_operation

__all__ = ["EerHint", "Settled", "eer_grouping", "entries_asked", "settle", "settled_catalogue"]

_FILES_ASKED = 33
_GROUPING = 40  # RELION's example
_MOST_DOUBLINGS = 15


class EerHint(NamedTuple):
    """What an EER file says of its grouping."""

    raw_frames: float
    dose: float | None
    """Electrons a pixel of the whole exposure, if the file tells it."""


_Choice: TypeAlias = tuple[Any, str]
"""A value, and how it was chosen; no words if it is the usual one."""


@dataclass(frozen=True)
class Settled:
    """Read options of a set."""

    options: ReadOptions
    """With values for all that matters for its files."""
    reasons: Mapping[str, str]
    """Of options that were chosen, how: "from the dose". Empty of those that have their usual value."""


def eer_grouping(hints: Sequence[EerHint]) -> _Choice:
    """Choose the grouping of movies, or of one.

    Parameters
    ----------
    hints : sequence of EerHint
        What they say.

    Returns
    -------
    tuple of int and str
        Raw frames of a frame, and how they were chosen.
    """
    known = [hint.raw_frames / hint.dose for hint in hints if hint.dose is not None]
    if not known:
        return _GROUPING, "the dose is not known"
    doublings = round(math.log2(median(known)))
    return 1 << min(max(doublings, 0), _MOST_DOUBLINGS), "chosen from the dose"


def _eer_grouping_of_set(hints: Sequence[EerHint]) -> _Choice:
    grouping, reason = eer_grouping(hints)
    most = int(median_low(hint.raw_frames for hint in hints))
    return (most, "all raw frames of a movie") if most < grouping else (grouping, reason)


def _mrc_mode0(hints: Sequence[str]) -> _Choice | None:
    stamps = set(hints) - {""}
    if len(stamps) > 1:
        return None
    return ("unsigned", "by the stamp of IMOD") if "unsigned" in stamps else ("signed", "")


def _tiff_4bit(hints: Sequence[str]) -> _Choice | None:
    if len(set(hints)) > 1:
        return None
    return (hints[0], "by the size of the pages" if hints[0] == "yes" else "")


_RULES: dict[str, Callable[[Sequence[Any]], _Choice | None]] = {
    "eer_grouping": _eer_grouping_of_set,
    "mrc_mode0": _mrc_mode0,
    "tiff_4bit": _tiff_4bit,
    "eer_sampling": lambda hints: (1, ""),
}


def settle(catalogue: Catalogue) -> Settled:
    """Choose the read options of a set that were not given.

    Parameters
    ----------
    catalogue : Catalogue
        The files, with the options that were given.

    Returns
    -------
    Settled
        Options that matter for none of the files stay as they are.
    """
    options = catalogue.options
    entries = entries_asked(catalogue)
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name in options.open_names & _RULES.keys():
        hints = [entry.hints[name] for entry in entries if name in entry.hints]
        choice = _RULES[name](hints) if hints else None
        if choice is not None:
            changes[name], reasons[name] = choice
    if options.gain is not None and options.gain_operation == "auto" and entries:
        formats = Counter(entry.format for entry in entries)
        usual = max(sorted(formats), key=lambda name: formats[name])
        changes["gain_operation"] = usual_operation(options.gain, usual)
        divides = changes["gain_operation"] == "divide"
        reasons["gain_operation"] = "an EER gain that is not .gain" if divides else ""
    return Settled(replace(options, **changes), reasons)


def settled_catalogue(
    paths: Sequence[str | os.PathLike[str]], options: ReadOptions, threads: int = 1
) -> tuple[Catalogue, ReadOptions]:
    """Return the catalogue of a set, and the read options for it, by one value of what was not given."""
    catalogue = Catalogue(paths, options, threads)
    settled = settle(catalogue)
    return catalogue.settled(settled.options), settled.options


def entries_asked(catalogue: Catalogue) -> list[Entry]:
    """What some of the files say, the same ones whatever their order."""
    by_suffix: dict[str, list[int]] = {}
    for number in sorted(range(len(catalogue)), key=lambda number: os.fspath(catalogue.paths[number])):
        by_suffix.setdefault(catalogue.paths[number].suffix.lower(), []).append(number)
    asked: list[int] = []
    for numbers in by_suffix.values():
        count = min(len(numbers), _FILES_ASKED)
        asked += [numbers[place * len(numbers) // count] for place in range(count)]
    return [entry for entry in map(catalogue.find, asked) if entry is not None]
