"""Defects that the gain references of Falcon cameras hold: ``.gain`` files, which are TIFF."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from camnorm.io.base.registry import open_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["falcon_defects"]

_TAG = 65100
_LARGEST = 2**22  # bytes of the list that are read, at most

# One number, or a range of them: what else is found, as in "2301,211/8", is left out.
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def falcon_defects(path: Path) -> NDArray[np.bool_] | None:
    """Read the defects in a gain reference of a Falcon camera.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    ndarray of bool, shape (y, x), or None
        True where a pixel is bad; rows as in the file. None if it is no TIFF file, or has no such list.
    """
    with open_frames(path) as source:
        shape = (source.shape[0], source.shape[1])
        if source.format != "TIFF":
            return None
    import tifffile

    with tifffile.TiffFile(path) as file:
        value = file.pages[0].tags.valueof(_TAG)
    text = bytes(value) if isinstance(value, (bytes, tuple)) else str(value or "").encode()
    text = text.strip(b"\0 \r\n")
    if not text or len(text) > _LARGEST or b"<!" in text:  # no entities are declared in it
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    bad = np.zeros(shape, np.bool_)
    for element in root.iter():
        _mark(bad, element.tag.rpartition("}")[2], element.text or "")
    return bad


def _mark(bad: NDArray[np.bool_], kind: str, text: str) -> None:
    """Mark the pixels of one entry: rows and columns are lists, areas and points coordinates."""
    found = [_RANGE.fullmatch(word.strip()) for word in text.split(",")]
    if not all(found):
        return
    ranges = [(int(word[1]), int(word[2] or word[1])) for word in found if word is not None]
    numbers = [first for first, _ in ranges]
    if kind in ("row", "col"):
        rows = bad if kind == "row" else bad.T
        for first, last in ranges:
            rows[first : last + 1] = True
    elif kind in ("area", "nonmaskingpoint") and len(numbers) == 4:
        x, y, last_x, last_y = numbers
        bad[y : last_y + 1, x : last_x + 1] = True
    elif kind in ("point", "nonmaskingpoint") and len(numbers) == 2:
        bad[numbers[1] : numbers[1] + 1, numbers[0] : numbers[0] + 1] = True
