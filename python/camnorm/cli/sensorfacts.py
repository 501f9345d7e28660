"""The summary of a sensor in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from camnorm.cli.paths import command_in_short
from camnorm.cli.results import reasons_in_words
from camnorm.io import ReadOptions
from camnorm.sensor.summary import screening_limits

__all__ = ["sensor_facts"]

# Parts of a merged measurement that are printed.
_PARTS_SHOWN = 10


def sensor_facts(summary: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Put a summary, as of `sensor_summary`, into words."""
    a, b = summary["halves"]
    frames = summary["from_moments"]
    some = "all" if frames == summary["count"] else f"{frames} frames"
    listed = summary["frames"] or not frames
    return [
        ("frames", f"{' x '.join(map(str, summary['shape']))} {summary['dtype']}"),
        ("accepted", f"{summary['count']}: {a} in half A, {b} in half B"),
        *([("from moments", f"{some}: without file names and screening")] if frames else []),
        *([("rejected", reasons_in_words(summary["rejected"]))] if listed else []),
        *_copy_facts(summary["copies"]),
        *_settings(summary, "selection", {"every": 1}),
        *_settings(summary, "reading", ReadOptions().to_dict(), summary.get("chosen") or {}),
        *([("screening", _screening_words(summary["screening"]))] if listed else []),
        ("target mean", _numbers(summary["target_mean"])),
        ("target sigma", _numbers(summary["target_sigma"])),
        *_response_facts(summary["response"]),
        *_part_facts(summary),
    ]


def _copy_facts(copies: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Files that were left out, since others have the same movies."""
    if copies["files"]:
        first = [
            f"{Path(pair['file']).name} for {Path(pair['copy_of']).name}" for pair in copies["first"][:1]
        ]
        more = ", ..." if copies["files"] > 1 else ""
        files = "file" if copies["files"] == 1 else "files"
        yield "copies", f"{copies['files']} {files} left out ({''.join(first)}{more})"


def _part_facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The measurements that were merged, or taken away."""
    for name, word in (("parts", "part"), ("subtracted", "subtracted")):
        parts = summary.get(name, [])
        for number, part in enumerate(parts[:_PARTS_SHOWN], start=1):
            frames, files = (
                f"{part[key]} {key[:-1] if part[key] == 1 else key}" for key in ("frames", "files")
            )
            command = f": {command_in_short(part['command'])}" if "command" in part else ""
            origin = f"of {files}" if part["files"] or "from_moments" not in part else "from moments"
            yield f"{word} {number}", f"{frames} {origin}{command}"
        if len(parts) > _PARTS_SHOWN:
            yield name, f"and {len(parts) - _PARTS_SHOWN} more (--json lists all)"


def _numbers(target: float | Sequence[float]) -> str:
    """A target, or those of all colour planes."""
    numbers = target if isinstance(target, Sequence) else [target]
    return ", ".join("undetermined" if math.isnan(number) else f"{number:.6g}" for number in numbers)


def _settings(
    summary: Mapping[str, Any],
    name: str,
    defaults: Mapping[str, Any],
    chosen: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[str, object]]:
    """What differs from the default, in one line; nothing if all is default.

    Values that were chosen for the set come with the reason, unless they are the usual ones.
    """
    words = []
    for key, value in (summary[name] or {}).items():
        if value != defaults.get(key) and chosen.get(key) != "":
            reason = f" ({chosen[key]})" if key in chosen else ""
            words.append(f"{key.replace('_', '-')} {value}{reason}")
    if words:
        yield name, ", ".join(words)


def _screening_words(screening: Mapping[str, Any] | None) -> str:
    words = []
    if screening and "k" in screening:
        limits = [
            f"{name} {low:.6g} to {high:.6g}" for name, (low, high) in screening_limits(screening).items()
        ]
        applied = ", ".join(limits) or "not applied, there are too few frames"
        words.append(f"k = {screening['k']:g}: {applied}")
    for name, ends in (screening or {}).get("given", {}).items():
        low, high = ("" if end is None else f"{end:.6g}" for end in ends)
        words.append(f"given: {name} {low}:{high}")
    return "; ".join(words) or "off"


def _response_facts(response: Mapping[str, float] | None) -> Iterator[tuple[str, object]]:
    if response is not None:
        yield (
            "response",
            "exposures {exposure_mean:.6g} ± {exposure_std:.3g}, {share:.0%} of a pixel's variance".format(
                **response
            ),
        )
