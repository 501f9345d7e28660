"""Provenance of a measurement: what of it is kept as JSON, and what tells measurements from each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from camnorm.io.base.options import ReadOptions

__all__ = [
    "Identity",
    "add_groups",
    "as_attributes",
    "from_attributes",
    "from_moments",
    "given_reading",
    "reading_of",
]

# What of the provenance is kept as JSON.
_JSON = {
    "screening": dict,
    "selection": dict,
    "reading": dict,
    "chosen": dict,
    "frames_list": dict,
    "copies": dict,
    "groups": list,
    "drift": dict,
    "ratios": list,
    "parts": list,
    "subtracted": list,
    "from_moments": dict,
}

_TEXTS = {"version", "started", "ended", "dtype"}

# The least that numbers in them can be.
_NUMBERS = {
    "copies": {"files": 0},
    "groups": {"files": 0, "frames": 0},
    "drift": {
        "first": 1,
        "second": 1,
        "pixels": 0,
        "rms_z": 0,
        "control_rms_z": 0,
        "share": 0,
        "beyond_6_sigma": 0,
        "control_beyond_6_sigma": 0,
    },
    "ratios": {"first": 1, "others": 1, "ratio": 0},
    "parts": {"files": 0, "frames": 0},
    "subtracted": {"files": 0, "frames": 0},
    "from_moments": {"A": 0, "B": 0},
}


def as_attributes(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance as a file keeps it, but for the files and the command."""
    return {
        key: json.dumps(value) if key in _JSON else value
        for key, value in provenance.items()
        if key not in ("files", "command")
    }


def from_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `as_attributes` gave; ValueError or KeyError if a part is not what it may be."""
    provenance = dict(attributes)
    for key in _TEXTS & provenance.keys():
        if not isinstance(provenance[key], str):
            raise ValueError(f"{key} is no text")
    if provenance.get("row_order", "") not in ("", "bottom", "top"):
        raise ValueError("row_order is neither bottom nor top")
    for key in {"screening", *(_JSON.keys() & provenance.keys())}:
        provenance[key] = _from_json(key, provenance[key])
    return provenance


def _from_json(key: str, text: str) -> Any:
    """Read a part of the provenance; ValueError if it is not what this may be."""
    value = json.loads(text)
    if not isinstance(value, _JSON[key]):
        raise ValueError(f"{key} is no {_JSON[key].__name__}")
    for entry in value if isinstance(value, list) else [value] if value else []:
        for name, least in _NUMBERS.get(key, {}).items():
            number = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(number, (int, float)) or number < least:
                raise ValueError(f"{key} has no {name}, or one that cannot be")
    return value


def from_moments(provenance: Mapping[str, Any]) -> tuple[int, int]:
    """Frames of half A and half B that came as moments: they have no rows in the frame table."""
    counts = provenance.get("from_moments") or {}
    return int(counts.get("A", 0)), int(counts.get("B", 0))


def reading_of(provenance: Mapping[str, Any]) -> ReadOptions:
    """Read options of a measurement, of whatever version; ValueError if they cannot be."""
    values = _values(provenance)
    if "chosen" not in provenance and values.get("gain") is not None:
        values["gain_operation"] = "multiply"  # as versions before 0.2 did with every gain
    return ReadOptions.from_dict(values)


def given_reading(provenance: Mapping[str, Any]) -> ReadOptions:
    """Read options that the user gave, without those that were chosen for the set."""
    chosen = provenance.get("chosen", {})
    return ReadOptions.from_dict(
        {name: value for name, value in _values(provenance).items() if name not in chosen}
    )


def _values(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Read options as they were kept; versions before 0.2 kept a sampling of 1 that was not given."""
    values = dict(provenance.get("reading", {}))
    if "chosen" not in provenance and values.get("eer_sampling") == 1:
        del values["eer_sampling"]
    return values


def add_groups(
    groups: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], sign: int = 1
) -> list[dict[str, Any]]:
    """Groups of files of two measurements put together, or the second taken away."""
    sums: dict[str, dict[str, Any]] = {}
    for group, factor in (*((group, 1) for group in groups), *((group, sign) for group in others)):
        kind = {key: value for key, value in group.items() if key not in ("files", "frames")}
        total = sums.setdefault(json.dumps(kind), {**kind, "files": 0, "frames": 0})
        for name in ("files", "frames"):
            total[name] += factor * group[name]
    return [group for group in sums.values() if group["frames"] > 0]


class Identity(NamedTuple):
    """What tells a measurement from others, whenever and by whichever version it was made."""

    files: tuple[tuple[str, int, float], ...]
    """Path, size and time of change."""
    choice: tuple[Any, ...]
    """Which of their frames are taken, and how they are read and screened."""
    numbers: tuple[int, ...]
    """Frames in half A, in half B, in the table."""

    @classmethod
    def of(cls, provenance: Mapping[str, Any], kept: tuple[bool, ...], numbers: tuple[int, ...]) -> Identity:
        """Find it in a provenance, of whatever version.

        Parameters
        ----------
        provenance : mapping
            The provenance.
        kept : tuple of bool
            Whether there are responses, and neighbour sums.
        numbers : tuple of int
            The attribute.
        """
        screening = provenance["screening"]
        choice = (
            provenance.get("selection", {"frames": None, "every": 1, "max_frames": None}),
            given_reading(provenance),
            provenance.get("frames_list", {}).get("digest"),
            screening.get("k"),
            screening.get("given", {}),
            *kept,
        )
        return cls(tuple(provenance["files"].tolist()), choice, numbers)

    def has_same_settings(self, other: Identity) -> bool:
        """Whether the same frames are measured in the same way, if all goes well."""
        return (self.files, self.choice) == (other.files, other.choice)
