"""Whether measurements may be put together or taken apart, and the provenance of what comes of it."""

from __future__ import annotations

import filecmp
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.errors import Error
from camnorm.sensor.digest import DamageError
from camnorm.sensor.plausibility import check_halves
from camnorm.sensor.provenance import add_groups, from_moments, given_reading, reading_of
from camnorm.sensor.reading import for_sensor
from camnorm.sensor.table import STATISTICS
from camnorm.statistics.moments import PixelMoments, kind_of

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = [
    "check_disjoint",
    "check_options",
    "checked_rest",
    "merged_provenance",
    "pairwise_sums",
    "rows_left",
    "same_sums",
    "shared_files",
    "subtracted_provenance",
    "unlisted_left",
]

# How files were chosen, read and screened.
_OF_FILES = ("screening", "selection", "reading", "chosen", "frames_list")

# What is kept of each part of a merged measurement.
_OF_PART = ("version", "command", "started", "ended", *_OF_FILES, "from_moments")

# Where the images lie tells nothing of them; rows are flipped as needed.
_PLACES = {"dataset", "follow_links", "row_order", "frames_dir"}

# Statistics of the same frame may differ in the last digits between versions of camnorm.
_SAME = 1e-9

# The sums of both halves, and their name in messages, if only one of two measurements has them.
_SUMS = {
    "halves": "moments",
    "responses": "a response: it is lost",
    "neighbours": "neighbour sums: they are lost, and pixels made from their neighbours will not be found; "
    "measure all files with neighbours=True",
}


def check_options(one: Sensor, other: Sensor, *, screening: bool) -> None:
    """Raise Error if two measurements are of other frames, or were made with other options, which it names.

    Parameters
    ----------
    one, other : Sensor
        The measurements; one without frames of files goes with any.
    screening : bool
        Whether the rules of screening matter.
    """
    if one.shape != other.shape:
        raise Error(f"these measurements do not go together: shapes are {one.shape} and {other.shape}")
    if kind_of(one.dtype) != kind_of(other.dtype):
        raise Error(
            f"these measurements do not go together: {one.dtype} frames are of {kind_of(one.dtype)} kind, "
            f"{other.dtype} frames of {kind_of(other.dtype)} kind"
        )
    if not one.listed or not other.listed:
        return
    for name in ("gain", "defects"):
        if (getattr(one.options, name) is None) != (getattr(other.options, name) is None):
            raise Error(f"these measurements do not go together: only one was read with {name}")
    told = [f"{name} {mine} and {its}" for name, mine, its in _differing(one, other)]
    if told:
        raise Error(
            f"these measurements do not go together: their files were read differently: {', '.join(told)}; "
            "measure all files with the same options"
        )
    rules = _rules(one.provenance), _rules(other.provenance)
    if screening and rules[0] != rules[1]:
        raise Error(
            f"these measurements do not go together: they were screened differently: {rules[0]}, and "
            f"{rules[1]}; measure all files with the same options"
        )


def _differing(one: Sensor, other: Sensor) -> Iterator[tuple[str, Any, Any]]:
    """Options by which files were read differently, and their values.

    A value that was chosen for the files of one measurement may be missing in the other, for whose files it
    does not matter. But versions before 0.2 grouped each EER file by its own dose.
    """
    mine, its = one.options.to_dict(), other.options.to_dict()
    given = given_reading(one.provenance).to_dict(), given_reading(other.provenance).to_dict()
    unset = one.options.open_names | other.options.open_names
    if any("chosen" not in sensor.provenance for sensor in (one, other)):
        unset.discard("eer_grouping")
    for name in (name for name in mine if name not in _PLACES):
        missing = name in unset and given[0][name] == given[1][name]
        if not missing and not _same_option(mine[name], its[name]):
            yield name, mine[name], its[name]


def _same_option(mine: Any, its: Any) -> bool:
    """Whether two values of an option are the same, or name files of the same content."""
    if mine == its:
        return True
    try:
        return isinstance(mine, str) and isinstance(its, str) and filecmp.cmp(mine, its, shallow=False)
    except OSError:
        return False


def _rules(provenance: Mapping[str, Any]) -> str:
    """The rules by which frames were screened, in words, without the limits that the set itself sets."""
    screening = provenance.get("screening") or {}
    given = [f"{name}_limits {ends}" for name, ends in sorted(screening.get("given", {}).items())]
    k = screening.get("k")
    return ", ".join(["screen off" if k is None else f"screen {k:g}", *given])


def check_disjoint(one: Sensor, other: Sensor) -> None:
    """Raise Error if frames are in both measurements, even if their files were copied or moved.

    Frames that came as moments cannot be told apart; but moments that were added twice have the same sums.
    """
    if any(from_moments(one.provenance)) and same_sums(one, other):
        raise Error(
            "both measurements hold the same moments, and their frames would count twice: merge each once"
        )
    shared = list(shared_files(one, other))
    if shared:
        mine, its = shared[0]
        name = its if mine == its else f"{its} (the same as {mine})"
        others = len(shared) - 1
        more = f" and {others} more {'file' if others == 1 else 'files'}" if others else ""
        raise Error(
            f"frames of {name}{more} are in both measurements and would count twice: "
            "subtract those frames from one of the measurements first, or measure all files in one run"
        )


def same_sums(one: Sensor, other: Sensor) -> bool:
    """Whether the halves of two measurements are the same to the bit."""
    return all(
        mine.count == its.count
        and all(np.array_equal(part, its.parts()[name]) for name, part in mine.parts().items())
        for mine, its in zip(one.halves, other.halves, strict=True)
    )


def shared_files(one: Sensor, other: Sensor) -> Iterator[tuple[str, str]]:
    """Files of which both measurements hold the same frames, by their names in each."""
    mine, its = _rows_of_files(one.frames), _rows_of_files(other.frames)
    known: dict[tuple[Any, ...], list[str]] = {}
    for file, keys in _keys(one.provenance["files"]):
        for key in keys if file in mine else ():
            known.setdefault(key, []).append(file)
    for file, keys in _keys(other.provenance["files"]):
        if file not in its:
            continue
        theirs = other.frames[its[file]]
        for candidate in dict.fromkeys(name for key in keys for name in known.get(key, ())):
            if _have_common_frames(one.frames[mine[candidate]], theirs, by_index=candidate == file):
                yield candidate, file
                break


def _rows_of_files(frames: npt.NDArray[np.void]) -> dict[str, list[int]]:
    """Rows of the accepted frames of each file."""
    rows: dict[str, list[int]] = {}
    accepted = np.flatnonzero(frames["status"] == "accepted")
    for row, file in zip(accepted.tolist(), frames["file"][accepted].tolist(), strict=True):
        rows.setdefault(file, []).append(row)
    return rows


def _keys(files: npt.NDArray[np.void]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """What a file is known by, if it was copied or moved: path; size and name; size and time of change."""
    for path, size, mtime in files.tolist():
        keys: list[tuple[Any, ...]] = [("path", path)]
        if size > 0:
            keys += [("name", os.path.basename(path), size), ("time", size, mtime)]
        yield path, keys


def _have_common_frames(one: npt.NDArray[np.void], other: npt.NDArray[np.void], *, by_index: bool) -> bool:
    """Whether rows are of common frames: of one file if indices are equal, of two if statistics are too."""
    common, mine, its = np.intersect1d(one["index"], other["index"], return_indices=True)
    if by_index or not common.size:
        return bool(common.size)
    return bool((one["std"][mine] > 0).any()) and all(
        np.array_equal(one[name][mine], other[name][its]) for name in STATISTICS
    )


def pairwise_sums(one: Sensor, other: Sensor, operation: Callable[[Any, Any], Any]) -> list[Any]:
    """Add or subtract the sums of two measurements, half by half.

    Parameters
    ----------
    one, other : Sensor
        The measurements, in one row order.
    operation : callable
        What is done with the sums of a half of both.

    Returns
    -------
    list
        Moments, responses and neighbour sums: two of each, or None if a measurement has none.

    Raises
    ------
    Error
        If the sums do not go together.
    """
    result: list[Any] = []
    for name, lost in _SUMS.items():
        mine, its = getattr(one, name), getattr(other, name)
        if (mine is None) != (its is None):
            warnings.warn(f"only one of the measurements has {lost}", stacklevel=4)
        try:
            both = None if mine is None or its is None else tuple(map(operation, mine, its))
        except (TypeError, ValueError) as error:
            raise Error(f"these measurements do not go together: {error}") from None
        result.append(both)
    return result


def rows_left(one: Sensor, other: Sensor) -> npt.NDArray[np.bool_]:
    """Which rows of the first measurement are not in the second, all of whose frames it must hold.

    Raises
    ------
    Error
        If it does not hold one of them; it is named.
    """
    columns = ["file", "index", "half", "status", *STATISTICS]
    taken: dict[tuple[Any, ...], list[tuple[float, ...]]] = {}
    for *key, mean, std, low, high in other.frames[columns].tolist():
        taken.setdefault(tuple(key), []).append((mean, std, low, high))
    keep = np.ones(one.frames.size, bool)
    for row, (*key, mean, std, low, high) in enumerate(one.frames[columns].tolist()):
        wanted = taken.get(tuple(key))
        if not wanted:
            continue
        file, index, _, status = key
        if status == "accepted" and not np.allclose(wanted.pop(), (mean, std, low, high), rtol=_SAME, atol=0):
            raise Error(
                f"{file}, frame {index}, has other pixels in the measurement it is taken from; "
                "subtract a measurement of the same files, read with the same options"
            )
        if status != "accepted":
            wanted.pop()
        keep[row] = False
    for (file, index, half, status), left in taken.items():
        if left and status == "accepted":
            raise Error(
                f"{file}, frame {index}, is not in half {half} of the measurement it is taken from; "
                "measure what is to be taken away by a frames_list of the whole, which keeps its halves"
            )
    return keep


def unlisted_left(one: Sensor, other: Sensor) -> tuple[int, int]:
    """Frames of both halves that came as moments, and are left if another measurement is taken away.

    Raises
    ------
    Error
        If the first has fewer of them than the second.
    """
    left = tuple(
        mine - its
        for mine, its in zip(from_moments(one.provenance), from_moments(other.provenance), strict=True)
    )
    for name, count, its in zip("AB", left, from_moments(other.provenance), strict=True):
        if count < 0:
            frames = "1 frame" if its == 1 else f"{its} frames"
            raise Error(
                f"half {name} of the measurement to be taken away holds {frames} from moments, the other one "
                f"only {count + its}; only moments that were merged can be subtracted"
            )
    return left[0], left[1]


def checked_rest(
    halves: tuple[PixelMoments, PixelMoments], frames: npt.NDArray[np.void], unlisted: tuple[int, int]
) -> tuple[PixelMoments, PixelMoments]:
    """Moments that are left, of which those without frames have no rounding errors either.

    Raises
    ------
    Error
        If no frames have such sums: moments were taken away that were not part of them.
    """
    a, b = (half if half.count else PixelMoments(half.shape, half.dtype) for half in halves)
    if any(unlisted):
        try:
            check_halves((a, b), frames, unlisted)
        except DamageError as error:
            raise Error(
                f"the moments to be taken away are not part of this measurement: {error}; subtract only "
                "moments that were merged"
            ) from None
    return a, b


def _provenances(one: Sensor, other: Sensor) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Provenances of both; moments, which say nothing of files, take the settings of the other."""
    mine, its = one.provenance, other.provenance
    if any(from_moments(mine)) and not one.listed:
        return {**mine, **{name: its[name] for name in _OF_FILES if name in its}}, its
    if any(from_moments(its)) and not other.listed:
        return mine, {**its, **{name: mine[name] for name in _OF_FILES if name in mine}}
    return mine, its


def merged_provenance(one: Sensor, other: Sensor) -> dict[str, Any]:
    """Provenance of two measurements put together; that of each of their parts is kept as ``parts``."""
    mine, its = _provenances(one, other)
    parts = [*_parts(one), *_parts(other)]
    rows = dict.fromkeys([*mine["files"].tolist(), *its["files"].tolist()])
    merged = {**mine, **_made_of(parts), "files": np.array(list(rows), mine["files"].dtype)}
    unlisted = zip(from_moments(mine), from_moments(its), strict=True)
    counts = dict(zip("AB", map(sum, unlisted), strict=True))
    if any(counts.values()):
        merged["from_moments"] = counts
    merged["row_order"] = one.row_order or other.row_order or ""
    merged["screening"] = _merged_screening(mine.get("screening") or {}, its.get("screening") or {})
    options, others = reading_of(mine), reading_of(its)
    if options != others:  # what did not matter for the files of one
        merged["reading"] = for_sensor(others, options).to_dict()
        merged["chosen"] = {**its.get("chosen", {}), **mine.get("chosen", {})}
    for name in ("selection", "frames_list"):
        if name in mine and mine[name] != its.get(name):
            merged[name] = {}  # each part has its own
    return {**merged, **_changed(one, other, 1)}


def subtracted_provenance(one: Sensor, other: Sensor, frames: npt.NDArray[np.void]) -> dict[str, Any]:
    """Provenance of the rest if a measurement is taken away from another, of which these frames are left."""
    mine, its = _parts(one), _parts(other)
    left = list(mine)
    for part in its:
        if part in left:
            left.remove(part)
    still = set(frames["file"].tolist())
    files = one.provenance["files"]
    rest = {
        **one.provenance,
        "files": files[[path in still for path in files["path"]]],
        **_changed(one, other, -1),
    }
    unlisted = unlisted_left(one, other)
    if any(unlisted):
        rest["from_moments"] = dict(zip("AB", unlisted, strict=True))
    else:
        rest.pop("from_moments", None)
    if len(left) != len(mine) - len(its):  # it was not merged of these parts
        return {**rest, "subtracted": [*rest.get("subtracted", []), *its]}
    rest.pop("parts", None)
    if len(left) == 1:
        for name in ("selection", "reading", "chosen", "frames_list"):
            rest.pop(name, None)  # moments have none
        return {**rest, **{name: left[0][name] for name in _OF_PART if name in left[0]}}
    return {**rest, **_made_of(left)} if left else rest


def _changed(one: Sensor, other: Sensor, sign: int) -> dict[str, Any]:
    """Groups of the frames of the whole, for which the drift of a part has no meaning."""
    groups = add_groups(one.provenance.get("groups", []), other.provenance.get("groups", []), sign)
    return {"groups": groups, "drift": {}, "ratios": []}


def _parts(sensor: Sensor) -> list[dict[str, Any]]:
    """The measurements that were merged to this one, or this one alone."""
    if sensor.provenance.get("parts"):
        return list(sensor.provenance["parts"])
    part = {name: sensor.provenance[name] for name in _OF_PART if name in sensor.provenance}
    return [{**part, "files": len(sensor.provenance["files"]), "frames": sensor.count}]


def _made_of(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Provenance of what this process makes of measurements."""
    times = {
        name: choose(part[name] for part in parts if name in part)
        for name, choose in (("started", min), ("ended", max))
        if any(name in part for part in parts)
    }
    return {"version": _core.version, "command": shlex.join(sys.argv), **times, "parts": list(parts)}


def _merged_screening(mine: Mapping[str, Any], its: Mapping[str, Any]) -> dict[str, Any]:
    """Screening of two measurements by the same rules: limits within which are the frames of both."""
    merged = dict(mine)
    for name in ("mean", "std"):
        merged.pop(name, None)
        if name in mine and name in its:
            low, high = zip(mine[name], its[name], strict=True)
            merged[name] = [
                None if None in ends else choose(ends) for ends, choose in ((low, min), (high, max))
            ]
    return merged
