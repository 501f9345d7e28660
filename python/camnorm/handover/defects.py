"""Bad pixels as text: rectangles of RELION, MotionCor and Warp, and defect files of SerialEM and IMOD."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from camnorm.sensor.rectangles import rectangles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mask_of_rectangles", "mask_of_serial_em", "serial_em", "text_of_rectangles"]

# Numbers in a line of a defect file of SerialEM, at most.
_MOST_LINES, _MOST_PIXELS = 20, 10


def text_of_rectangles(bad: NDArray[np.bool_]) -> str:
    """``x y width height`` a line, counted from 0, without comments: one would hang RELION."""
    return "".join(f"{x} {y} {width} {height}\n" for x, y, width, height in rectangles(bad))


def mask_of_rectangles(text: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read such a text."""
    bad = np.zeros(shape, np.bool_)
    for line in text.splitlines():
        x, y, width, height = map(int, line.split())
        bad[y : y + height, x : x + width] = True
    return bad


def serial_em(bad: NDArray[np.bool_]) -> str:
    """Write a defect file of SerialEM and IMOD.

    Parameters
    ----------
    bad : ndarray of bool, shape (y, x)
        Row 0 at the top of the picture.

    Returns
    -------
    str
    """
    height, width = bad.shape
    columns, rows = np.flatnonzero(bad.all(0)), np.flatnonzero(bad.all(1))
    rest = bad.copy()
    rest[:, columns] = rest[rows] = False
    lines = [f"CameraSizeX {width}", f"CameraSizeY {height}"]
    for key, numbers in (("BadColumns", columns), ("BadRows", rows)):
        lines += _lines(key, [str(number) for number in numbers.tolist()], _MOST_LINES)
    pixels: list[str] = []
    for x, y, across, down in rectangles(rest):
        if across == down == 1:
            pixels.append(f"{x} {y}")
        elif down >= across:
            lines.append(f"PartialBadColumn {x} {across} {y} {y + down - 1}")
        else:
            lines.append(f"PartialBadRow {y} {down} {x} {x + across - 1}")
    lines += _lines("BadPixels", pixels, _MOST_PIXELS)
    return "\n".join(lines) + "\n"


def _lines(key: str, words: Sequence[str], most: int) -> list[str]:
    return [f"{key} {' '.join(words[start : start + most])}" for start in range(0, len(words), most)]


def mask_of_serial_em(text: str) -> NDArray[np.bool_]:
    """Read such a file as it is documented; row 0 at the top."""
    keyed = [(line.split()[0], list(map(int, line.split()[1:]))) for line in text.splitlines()]
    size = {key: numbers[0] for key, numbers in keyed if key.startswith("CameraSize")}
    bad = np.zeros((size["CameraSizeY"], size["CameraSizeX"]), np.bool_)
    for key, group in groupby(keyed, key=lambda line: line[0]):
        for _, numbers in group:
            if key == "BadColumns":
                bad[:, numbers] = True
            elif key == "BadRows":
                bad[numbers] = True
            elif key == "BadPixels":
                bad[numbers[1::2], numbers[::2]] = True
            elif key == "PartialBadColumn":
                x, across, first, last = numbers
                bad[first : last + 1, x : x + across] = True
            elif key == "PartialBadRow":
                y, down, first, last = numbers
                bad[y : y + down, first : last + 1] = True
    return bad
