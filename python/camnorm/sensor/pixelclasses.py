"""What a pixel map consists of: classes and their bits, rows, lines and clusters of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "CLASSES",
    "CODES",
    "NEIGHBOURS",
    "TABLE_DTYPE",
    "USER",
    "Bit",
    "Cluster",
    "ClusterKind",
    "Line",
    "PixelRows",
    "code_of",
    "reason_of",
]

CLASSES = (
    "constant",
    "dead",
    "hot",
    "cold",
    "noisy",
    "low_sigma",
    "interpolated",
    "copied",
    "saturating",
)
"""Classes of bad pixels."""

USER = "user"
"""Class of pixels of a mask that does not say why they are bad."""

NEIGHBOURS = ("", "left-right", "up-down", "four", "eight", "left", "right", "up", "down")
"""Pixels that an interpolated or copied pixel was made from; empty for other pixels."""

CODES = ("", *CLASSES, USER)
"""Classes by their numbers in `PixelRows`; 0 is none."""


class Bit:
    """Bits of a NeXus ``pixel_mask``."""

    GAP = 1 << 0
    DEAD = 1 << 1
    UNDER = 1 << 2
    OVER = 1 << 3
    NOISY = 1 << 4
    CLUSTER = 1 << 6
    USER = 1 << 8
    INTERPOLATED = 1 << 31

    OF_CLASS: Mapping[str, int] = {
        "constant": DEAD,
        "dead": DEAD,
        "hot": OVER,
        "cold": UNDER,
        "noisy": NOISY,
        "low_sigma": UNDER,
        "interpolated": INTERPOLATED,
        "copied": INTERPOLATED,
        "saturating": OVER,
        "user": 1 << 8,
    }


ClusterKind: TypeAlias = Literal["double", "triple", "larger", "region"]

TABLE_DTYPE = np.dtype(
    [
        ("x", "<i4"),
        ("y", "<i4"),
        ("class", "<U12"),
        ("value", "<f8"),
        ("limit", "<f8"),
        ("neighbours", "<U10"),
    ]
)
"""One row per bad pixel: column and row from 0, class, the number that decided, its limit, and the neighbours
that the pixel was made from."""

_REASONS = {
    "constant": "all {frames}frames have the same value",
    "dead": "below its neighbours by {value:.3g} scales (limit {limit:.3g}), and hardly any noise",
    "hot": "mean above its neighbours by {value:.3g} scales (limit {limit:.3g})",
    "cold": "mean below its neighbours by {value:.3g} scales (limit {limit:.3g})",
    "noisy": "sigma above its neighbours by {value:.3g} scales (limit {limit:.3g})",
    "low_sigma": "sigma below its neighbours by {value:.3g} scales (limit {limit:.3g})",
    "interpolated": "made from its neighbours {neighbours} (q {value:.3g}, limit {limit:.3g})",
    "copied": "copy of its neighbour {neighbours} (q {value:.3g}, limit {limit:.3g})",
    "saturating": "mean {value:.3g} sigma below the largest value (limit {limit:.3g})",
    USER: "marked in a mask",
}


@dataclass(frozen=True)
class Line:
    """A bad column or row, or a part of one.

    Attributes
    ----------
    pixel_class : str
        Class of its pixels.
    direction : {"column", "row"}
        Whether it runs along y or along x.
    full : bool
        Whether it crosses the whole frame.
    x, y, width, height : int
        Its rectangle, in pixels.
    """

    pixel_class: str
    direction: Literal["column", "row"]
    full: bool
    x: int
    y: int
    width: int
    height: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        numbers = asdict(self)
        return {"class": numbers.pop("pixel_class"), **numbers}


@dataclass(frozen=True)
class Cluster:
    """Bad pixels that touch each other, at a side or a corner.

    Attributes
    ----------
    kind : {"double", "triple", "larger", "region"}
        How many they are; a region is an area without any signal, such as a margin filled with zeros.
    pixel_class : str
        Class of most of them.
    pixels : int
        Number of them.
    x, y, width, height : int
        The smallest rectangle around them, in pixels.
    """

    kind: ClusterKind
    pixel_class: str
    pixels: int
    x: int
    y: int
    width: int
    height: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        numbers = asdict(self)
        return {"kind": numbers.pop("kind"), "class": numbers.pop("pixel_class"), **numbers}


@dataclass(frozen=True, eq=False)
class PixelRows:
    """The bad pixels in rows, by small numbers; `PixelMap.table` has them in words.

    Attributes
    ----------
    place : int64 ndarray
        Number of each pixel in (y, x) order, ascending.
    code : uint8 ndarray
        Class, as of `code_of`.
    value, limit : float32 ndarray
        What decided.
    neighbours : uint8 ndarray
        Place in `NEIGHBOURS`.
    """

    place: npt.NDArray[np.int64]
    code: npt.NDArray[np.uint8]
    value: npt.NDArray[np.float32]
    limit: npt.NDArray[np.float32]
    neighbours: npt.NDArray[np.uint8]

    @classmethod
    def of_mask(cls, bad: npt.NDArray[np.bool_]) -> PixelRows:
        """Rows of a mask that does not say why pixels are bad."""
        place = np.flatnonzero(bad).astype(np.int64)
        nothing = np.full(place.size, np.nan, np.float32)
        code = np.full(place.size, code_of(USER), np.uint8)
        return cls(place, code, nothing, nothing, np.zeros(place.size, np.uint8))


def code_of(pixel_class: str) -> int:
    """Number of a class in `PixelRows`; 0 is none."""
    return CODES.index(pixel_class)


def reason_of(name: str, value: float, limit: float, neighbours: str, frames: str, of_line: bool) -> str:
    """Why a pixel is bad, in words."""
    text = _REASONS[name].format(value=abs(value), limit=limit, neighbours=neighbours, frames=frames)
    return f"part of a bad line: {text}" if of_line and not abs(value) > limit else text
