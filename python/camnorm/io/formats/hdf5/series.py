"""HDF5 files are opened: one dataset of frames, or several that make one sequence."""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from camnorm.errors import FormatError, raise_shortage
from camnorm.io.base.hdf5guard import open_object
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding
from camnorm.io.formats.hdf5.dataset import Series, find_dataset, own_kind
from camnorm.io.formats.hdf5.reader import CACHE_BYTES, Hdf5Source, linked_by

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BEING_WRITTEN = re.compile("unable to lock file|already open for|SWMR")
_MOST_OPEN = 2  # datasets of a sequence, of which each may be in a file of its own


def open_hdf5(file: MappedFile, options: ReadOptions) -> FrameSource:
    """Open the frames of an HDF5 file."""
    h5 = _open(file)
    try:
        with decoding(file.path):
            found = find_dataset(file.path, h5, options)
            files = _files_of(file.path, h5, found, options) if isinstance(found, Series) else set()
        if not isinstance(found, Series):
            return Hdf5Source(file, options, h5, *found)
        h5.close()
        return Hdf5SeriesSource(file, options, found, files)
    except BaseException:
        h5.close()
        raise


class Hdf5SeriesSource(FrameSource):
    """Frames in several datasets, one after another, as in the master file of a Dectris detector."""

    format = "HDF5"

    def __init__(self, file: MappedFile, options: ReadOptions, series: Series, files: set[Path]) -> None:
        self._options = options
        self._places = series.places
        self._ends = list(accumulate(series.counts))
        self._others = files
        self._lock = threading.Lock()
        self._open: dict[int, tuple[FrameSource, list[int]]] = {}  # with the number of its users
        count = self._ends[-1]
        super().__init__(
            file,
            shape=series.frame,
            dtype=series.dtype,
            count=count,
            available=count,
            metadata={"dataset": series.group},
        )
        with self._part(0) as first:
            self.metadata = first.metadata | self.metadata

    @property
    def files(self) -> list[Path]:
        """All files that frames are read from: this one, and those that it links to."""
        return [self.path, *sorted(self._others)]

    def close(self) -> None:
        """Close all files; arrays that were read from them stay valid."""
        for source, _ in self._open.values():
            source.close()
        super().close()

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Cut a run of frames where chunks were never written."""
        for number, first, begin, end in self._parts(start, stop):
            try:
                with self._part(number) as source:
                    spans = list(source.spans(begin, end))
            except FormatError:  # is met again by whoever reads them
                spans = [(begin, end, True)]
            for low, high, there in spans:
                yield first + low, first + high, there

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        pieces = []
        for number, first, begin, end in self._parts(start, stop):
            try:
                with self._part(number) as source:
                    pieces.append(source.view(begin, end))
            except FormatError as error:
                frame = first + (begin if error.frame is None else max(begin, error.frame))
                reason = f"{self._places[number]}: {error.reason}"
                raise FormatError(self.path, reason, frame=frame) from error
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Datasets that hold frames: number, its first frame, and which of its frames are wanted."""
        number = bisect_right(self._ends, start)
        while start < stop:
            first = self._ends[number - 1] if number else 0
            end = min(stop, self._ends[number])
            if start < end:
                yield number, first, start - first, end - first
            start, number = end, number + 1

    @contextmanager
    def _part(self, number: int) -> Iterator[FrameSource]:
        """Open a dataset while it is used, and some time longer."""
        with self._lock:
            source, users = self._open.pop(number) if number in self._open else (self._opened(number), [0])
            self._open[number] = source, users  # as the last that is closed
            users[0] += 1
            for other in list(self._open):
                if len(self._open) > _MOST_OPEN and self._open[other][1] == [0]:
                    self._open.pop(other)[0].close()
        try:
            yield source
        finally:
            with self._lock:
                users[0] -= 1

    def _opened(self, number: int) -> FrameSource:
        options = replace(self._options, dataset=self._places[number])
        file = MappedFile(self.path)
        try:
            source = open_hdf5(file, options)
        except BaseException:
            file.close()
            raise
        count = self._ends[number] - (self._ends[number - 1] if number else 0)
        if (source.shape, source.dtype, source.count) != (self.shape, self.dtype, count):
            source.close()
            raise FormatError(self.path, f"{self._places[number]} has changed since it was opened")
        return source


def is_result(path: Path) -> bool:
    """Whether a file is one of camnorm's own."""
    try:
        with h5py.File(path, "r") as h5:
            return own_kind(path, h5) is not None
    except Exception as error:  # damage drives h5py into nearly any exception
        raise_shortage(error)
        return False


def linked_files(path: Path, options: ReadOptions) -> set[Path]:
    """Other files in which the pixels lie that are read of a file; none if it cannot be read."""
    try:
        with h5py.File(path, "r") as h5:
            return _files_of(path, h5, find_dataset(path, h5, options), options)
    except Exception as error:  # damage drives h5py into nearly any exception
        raise_shortage(error)
        return set()


def _files_of(path: Path, h5: h5py.File, found: Any, options: ReadOptions) -> set[Path]:
    """Other files in which the pixels lie of what was found."""
    if not isinstance(found, Series):
        return linked_by(path, found[0])
    files: set[Path] = set()
    for place in found.places:
        files |= linked_by(path, open_object(path, h5, place, options.follow_links))
    return files


def _open(file: MappedFile) -> h5py.File:
    try:
        return h5py.File(file.path, "r", rdcc_nbytes=CACHE_BYTES)
    except Exception as error:
        text = str(error)
        if _BEING_WRITTEN.search(text):
            reason = "is being written by another program, or was not closed by it (h5clear -s can mend that)"
            raise FormatError(file.path, reason) from error
        if "truncated file" in text:
            raise FormatError(file.path, "truncated HDF5 file", frame=0, offset=file.size) from error
        with decoding(file.path):
            raise
