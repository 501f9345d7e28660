"""The table of frames as a CSV file, which users edit, and which says what to measure."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error
from camnorm.io import Chosen, Selection
from camnorm.io.base.atomic import AtomicFile, atomic_target
from camnorm.io.base.catalogue import Catalogue
from camnorm.sensor.sensor import Sensor
from camnorm.sensor.table import NAME_ERRORS

__all__ = ["FrameList", "check_frame_list_target", "write_frame_list"]

_COLUMNS = ("file", "index", "mean", "std", "min", "max", "half", "status", "reason")
_NEEDED = ("file", "index", "status")
_STATUS = ("accepted", "rejected")


def write_frame_list(frames: npt.NDArray[np.void], path: str | os.PathLike[str]) -> None:
    """Write a frame table as CSV, one row per frame; an existing file is replaced.

    Parameters
    ----------
    frames : structured ndarray
        Frame table, as of `Sensor.frames`.
    path : path-like
        The file.

    Raises
    ------
    OSError
        If it cannot be written; a file that was there before is unharmed then.
    """
    with atomic_target(path, overwrite=True) as temporary:
        temporary.write_bytes(_as_csv(frames).encode("utf-8", NAME_ERRORS))


def check_frame_list_target(path: str | os.PathLike[str], sensor: str | os.PathLike[str] | None) -> None:
    """See whether a frame list can be written somewhere, which one would not like to learn after hours.

    Parameters
    ----------
    path : path-like
        The file to be.
    sensor : path-like, optional
        Sensor file of which a list may be replaced, if it was not edited; None: any list may.

    Raises
    ------
    Error
        If there is a file of another kind, an image maybe; or a list of other frames.
    OSError
        If it cannot be written.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > 0:
        with open(path, encoding="utf-8-sig", errors=NAME_ERRORS) as file:
            head = file.readline(1000)
        if any(name not in head for name in _NEEDED):
            raise Error(f"{path}: is not a frame list, and is not replaced by one; write elsewhere")
        if sensor is not None and not _is_list_of(path, Path(sensor)):
            raise Error(f"{path}: already exists; use overwrite=True to replace it")
    AtomicFile(path, overwrite=True).discard()


def _is_list_of(path: Path, sensor: Path) -> bool:
    """Whether a list is just as it was written of a sensor file."""
    if not sensor.is_file() or sensor.stat().st_size == 0:
        return False
    return path.read_bytes().decode("utf-8", NAME_ERRORS) == _as_csv(Sensor.load(sensor).frames)


def _as_csv(frames: npt.NDArray[np.void]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(frames[list(_COLUMNS)].tolist())
    return text.getvalue()


class FrameList:
    """The accepted frames of a list that `write_frame_list` wrote and somebody edited.

    Parameters
    ----------
    path : path-like
        CSV file with the columns file, index and status, and others that do not matter, but for half: if
        it is there, it tells the half of each frame. Files are named by absolute paths, or from where the
        list is.

    Attributes
    ----------
    files : list of pathlib.Path
        Files with accepted frames, in the order of the list.
    chosen : Chosen
        The accepted frames of each.
    halves : list of ndarray or None
        Of each file the half, "A" or "B", of each of its accepted frames, in their order.

    Raises
    ------
    Error
        If the list is not what it should be; the line is named.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lines: dict[tuple[Path, int], int] = {}
        frames: dict[Path, dict[int, str]] = {}
        with open(self.path, encoding="utf-8-sig", errors=NAME_ERRORS, newline="") as file:
            head = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=max(",;\t", key=head.count))
            try:
                columns = rows.fieldnames or ()
            except csv.Error as error:
                raise Error(f"{self.path}: is no frame list: {error}") from None
            if missing := [name for name in _NEEDED if name not in columns]:
                raise Error(f"{self.path}: no column {missing[0]!r}; a frame list has {', '.join(_NEEDED)}")
            try:
                for row in rows:
                    self._take(row, rows.line_num, frames)
            except csv.Error as error:
                raise Error(f"{self.path}, line {rows.line_num}: {error}") from None
        if not frames:
            raise Error(f"{self.path}: no frame is accepted")
        self.files = list(frames)
        self._found = [sorted(frames[file]) for file in self.files]
        self.chosen = Chosen(Selection(), list[Sequence[int] | None](self._found))
        self.halves: list[npt.NDArray[np.str_]] | None = None
        if "half" in columns:
            self.halves = [
                np.array([frames[file][index] for index in found])
                for file, found in zip(self.files, self._found, strict=True)
            ]

    def _take(self, row: dict[str, str | None], line: int, frames: dict[Path, dict[int, str]]) -> None:
        where = f"{self.path}, line {line}"
        file, index, status = (row[name] or "" for name in _NEEDED)
        if status.strip().lower() not in _STATUS:
            raise Error(f"{where}: status {status!r} is neither accepted nor rejected")
        if status.strip().lower() == "rejected":
            return
        path = Path(os.path.normpath(self.path.absolute().parent / file))
        if not file or not os.path.exists(path):
            raise Error(f"{where}: there is no file {file!r}")
        try:
            number = int(index)
        except ValueError:
            number = -1
        if number < 0:
            raise Error(f"{where}: index {index!r} is not the number of a frame, from 0 on")
        half = row.get("half", "A")
        if half not in ("A", "B"):
            raise Error(f"{where}: half {half!r} is neither A nor B")
        if (path, number) in self._lines:
            raise Error(f"{where}: the same frame as in line {self._lines[path, number]}")
        self._lines[path, number] = line
        frames.setdefault(path, {})[number] = half

    @property
    def digest(self) -> str:
        """What tells other lists from this one."""
        told = [
            (str(file), found, self.halves[i].tolist() if self.halves else None)
            for i, (file, found) in enumerate(zip(self.files, self._found, strict=True))
        ]
        return hashlib.sha256(repr(told).encode(errors=NAME_ERRORS)).hexdigest()

    def check(self, catalogue: Catalogue, inputs: Sequence[Path] | None) -> None:
        """See whether the frames are there.

        Parameters
        ----------
        catalogue : Catalogue
            Of the files of this list.
        inputs : sequence of pathlib.Path, optional
            Files among which those of the list must be.

        Raises
        ------
        Error
            If a file is not among the inputs, or has no such frame. Files that cannot be read are left for
            the measurement to say so.
        """
        if inputs is not None:
            known = {Path(os.path.normpath(path.absolute())) for path in inputs}
            for file, found in zip(self.files, self._found, strict=True):
                if file not in known:
                    line = self._lines[file, found[0]]
                    raise Error(f"{self.path}, line {line}: {file} is not among the inputs")
        for file, found, entry in zip(self.files, self._found, catalogue.scan(), strict=True):
            if entry is not None and found[-1] >= entry.count:
                raise Error(
                    f"{self.path}, line {self._lines[file, found[-1]]}: {file} has no frame {found[-1]}, "
                    f"the last is {entry.count - 1}"
                )
