"""Pixels that are known beforehand to be bad: rectangles, defect files of SerialEM and IMOD, maps."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.apriori.images import read_image
from camnorm.errors import Error, FormatError
from camnorm.io.base.registry import row_order_of
from camnorm.io.base.rows import RowOrder, is_flipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_defects"]

# Keys of the defect files of SerialEM and IMOD, and what each line of them holds.
_SERIAL_EM_KEYS = {
    "CameraSizeX",
    "CameraSizeY",
    "BadColumns",
    "BadRows",
    "BadPixels",
    "PartialBadColumn",
    "PartialBadRow",
}


def read_defects(path: Path, frames_format: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read which pixels are known to be bad.

    Parameters
    ----------
    path : pathlib.Path
        A text file of rectangles, ``x y width height`` a line, counted from 0, row 0 at the bottom as in
        MRC files (RELION, MotionCor, Warp); a defect file of SerialEM or IMOD, row 0 at the top; or an
        image that is not 0 where a pixel is bad.
    frames_format : str
        Format of the frames that it is for: decides which row is the first.
    shape : tuple of int
        Of a frame, (y, x).

    Returns
    -------
    ndarray of bool, shape (y, x)
        True where a pixel is bad.

    Raises
    ------
    Error
        The file holds something else, or defects outside of the frame.
    OSError
        It cannot be read.
    """
    if len(shape) != 2:
        raise Error(f"{path}: defects of frames of shape {shape} cannot be told: only of (y, x)")
    text = _text_of(path)
    if text is None:
        values, _ = read_image(path, frames_format)
        if values.shape != shape:
            raise Error(f"{path}: a defect map of shape {values.shape} for frames of {shape}")
        return np.asarray(values != 0)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    from_serial_em = bool(lines) and lines[0][0] in _SERIAL_EM_KEYS
    rectangles = _serial_em(path, lines, shape) if from_serial_em else _rectangles(path, lines)
    bad = np.zeros(shape, np.bool_)
    counted_from: RowOrder = "top" if from_serial_em else "bottom"
    rows = bad[::-1] if is_flipped(row_order_of(frames_format), counted_from) else bad
    for x, y, width, height in rectangles:
        if min(x, y, width, height) < 0 or x + width > shape[1] or y + height > shape[0]:
            raise Error(f"{path}: the defect {x} {y} {width} {height} is not within frames of {shape}")
        rows[y : y + height, x : x + width] = True
    return bad


def _text_of(path: Path) -> str | None:
    """Text of a file that is one of numbers and names, else None."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device may have no end
        raise FormatError(path, "not a regular file")
    if status.st_size > 2**24:
        return None
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if re.fullmatch(r"[\w\s.,+-]*", text) else None


def _rectangles(path: Path, lines: list[list[str]]) -> Iterable[tuple[int, int, int, int]]:
    for words in lines:
        try:
            x, y, width, height = map(int, words)
        except ValueError:
            raise Error(
                f"{path}: {' '.join(words)[:60]!r} is no defect: x y width height are wanted"
            ) from None
        yield x, y, width, height


def _serial_em(
    path: Path, lines: list[list[str]], shape: tuple[int, ...]
) -> Iterable[tuple[int, int, int, int]]:
    """Rectangles of a defect file of SerialEM; those of physical pixels doubled for super-resolution."""
    found: list[tuple[int, int, int, int]] = []
    sizes: dict[str, int] = {}
    height, width = shape
    for key, *words in lines:
        if key not in _SERIAL_EM_KEYS:
            continue
        try:
            numbers = [int(word) for word in words]
            if key in ("CameraSizeX", "CameraSizeY"):
                (sizes[key],) = numbers
            elif key == "BadColumns":
                found += [(x, 0, 1, -1) for x in numbers]
            elif key == "BadRows":
                found += [(0, y, -1, 1) for y in numbers]
            elif key == "BadPixels":
                found += [(x, y, 1, 1) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
            else:
                place, across, first, last = numbers
                along = last - first + 1
                column = key == "PartialBadColumn"
                found.append((place, first, across, along) if column else (first, place, along, across))
        except ValueError:
            raise Error(f"{path}: {key} with {' '.join(words)[:60]!r}, numbers are wanted") from None
    given = (sizes.get("CameraSizeY", height), sizes.get("CameraSizeX", width))
    scale = height // given[0] if given[0] else 0
    if scale not in (1, 2) or (given[0] * scale, given[1] * scale) != (height, width):
        raise Error(f"{path}: defects of a camera of {given[0]} x {given[1]} pixels for frames of {shape}")
    for x, y, columns, rows in found:
        yield (
            x * scale,
            y * scale,
            width if columns < 0 else columns * scale,
            height if rows < 0 else rows * scale,
        )
