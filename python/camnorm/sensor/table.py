"""Tables of a sensor: its frames, one per row, and the files that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["FILE_DTYPE", "FRAME_DTYPE", "NAME_ERRORS", "STATISTICS", "file_table"]

FRAME_DTYPE = np.dtype(
    [
        ("file", "O"),
        ("index", "<i8"),
        ("mean", "<f8"),
        ("std", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("half", "<U1"),
        ("status", "<U8"),
        ("reason", "O"),
    ]
)
"""One row per frame: path of the file, index in it (-1: the whole file could not be read, or has frames
of another shape or kind), statistics over the frame's pixels (NaN if it was not read), half "A" or "B",
status "accepted" or "rejected", and the reason for the latter."""

STATISTICS = ("mean", "std", "min", "max")
"""Columns with the statistics of a frame."""

FILE_DTYPE = np.dtype([("path", "O"), ("size", "<i8"), ("mtime", "<f8")])
"""One row per file: absolute path, size in bytes (-1 if the file cannot be found), mtime in seconds."""

NAME_ERRORS = "surrogateescape"
"""How Python keeps the bytes of file names that are no UTF-8."""


def file_table(files: Sequence[Path]) -> npt.NDArray[np.void]:
    """Return the table of these files, of dtype `FILE_DTYPE`."""
    table = np.empty(len(files), FILE_DTYPE)
    for row, path in zip(table, files, strict=True):
        try:
            status = path.stat()
            row["size"], row["mtime"] = status.st_size, status.st_mtime
        except OSError:
            row["size"], row["mtime"] = -1, 0.0
        row["path"] = str(path)
    return table
