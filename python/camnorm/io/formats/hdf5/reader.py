"""HDF5 and NeXus files: frames in one of their datasets are read."""

from __future__ import annotations

import math
import os
import re
import threading
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from camnorm.errors import FormatError, raise_shortage
from camnorm.io.base.containers import EXPANSION, check_size, frame_axes, read_frames
from camnorm.io.base.hdf5guard import is_real, other_files, text_of
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in
from camnorm.io.formats.hdf5.dataset import find_dataset, own_kind
from camnorm.io.formats.hdf5.filters import Decoder, decoders_of, filters_of, load_filters
from camnorm.io.formats.hdf5.parts import check_parts, frames_written
from camnorm.limits import at_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BEING_WRITTEN = re.compile("unable to lock file|already open for|SWMR")
# For chunks of several frames, not to decode them for each.
_CACHE_BYTES = 2**25
_UNWRITTEN = "this frame was never written"


class Hdf5Source(FrameSource):
    """Frames in a dataset of an HDF5 file.

    The dataset is the one that `ReadOptions` names, or to which the ``default`` and ``signal`` attributes of
    NeXus lead, or the only large one. Two dimensions are one frame; three are a stack, but one colour frame
    if the last has length 3 or 4; four are a stack of colour frames.
    """

    format = "HDF5"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._h5 = _open(file)
        self._pixels = file
        self._elsewhere = False
        self._options = options
        try:
            with decoding(file.path):
                self._dataset = dataset = find_dataset(file.path, self._h5, options)
                axes = frame_axes(dataset.shape)
                if len(dataset.shape) - axes not in (0, 1):
                    reason = f"{dataset.name} of shape {dataset.shape} is neither a frame nor a stack"
                    raise FormatError(file.path, reason)
                told = _told(file.path, dataset)
                self._stored: np.dtype[Any] = dataset.dtype
                shape: tuple[int, ...] = dataset.shape[-axes:]
                self._leading = len(dataset.shape) - axes
                count = dataset.shape[0] if self._leading else 1
                self._frame_bytes = math.prod(shape) * self._stored.itemsize
                check_parts(file.path, dataset, options.follow_links)
                self._locate(dataset)
                self._chunks: tuple[int, ...] | None = dataset.chunks
                self._written = [(0, count)]
                if self._chunks:
                    self._missing = _UNWRITTEN
                    self._chunk_count = dataset.id.get_num_chunks()
                    if self._leading:
                        self._written = frames_written(file.path, dataset)
                available = self._written[-1][1]
                stored = self._pixels.size + sum(os.stat(f).st_size for f in other_files(file.path, dataset))
                written = sum(last - first for first, last in self._written)
                check_size(file.path, stored, self._frame_bytes, shape, written)
                if self._begin is None and self._decoders is None:
                    load_filters(file.path, dataset)
                self._virtual: _Virtual | None = None
                if dataset.is_virtual:
                    self._virtual = _Virtual(dataset)
                    del self._dataset  # which would keep the files open of which it consists
            chunk_bytes = math.prod(self._chunks or ()) * self._stored.itemsize
            several = self._leading and self._chunks is not None and self._chunks[0] > 1
            self._piece = lru_cache(_CACHE_BYTES // max(1, chunk_bytes) if several else 0)(self._decode)
            if self._begin is not None:
                available = (self._pixels.size - self._begin) // max(1, self._frame_bytes)
            super().__init__(
                file,
                shape=shape,
                dtype=self._stored,
                count=count,
                available=available,
                metadata={"dataset": dataset.name} | told,
            )
        except BaseException:
            self._close()
            raise

    def _locate(self, dataset: h5py.Dataset) -> None:
        """Find where the pixels lie, and which of them are read without HDF5.

        These lie in the file as they are, or in chunks of which the filters are known here: HDF5 has one lock
        for all threads, and gives zeros for what a chunk lacks.
        """
        self._begin: int | None = None
        self._decoders: list[Decoder] | None = None
        if dataset.id.get_type().equal(h5py.h5t.py_create(self._stored)):
            self._begin = dataset.id.get_offset()
            self._decoders = decoders_of(dataset)
        self._elsewhere = not Path(dataset.file.filename).samefile(self._pixels.path)  # behind a link
        if self._elsewhere:
            self._pixels = MappedFile(Path(dataset.file.filename))

    @property
    def files(self) -> list[Path]:
        """All files that frames are read from: this one, and those that it links to."""
        links = self._elsewhere or self._virtual is not None
        return [self.path, *(linked_files(self.path, self._options) if links else ())]

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        self._piece.cache_clear()
        self._close()
        super().close()

    def _close(self) -> None:
        self._h5.close()
        if self._elsewhere:
            self._pixels.close()

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if they are compressed, cut in pieces, or in another file."""
        if self._elsewhere or not self._stored.isnative:
            return None
        if self._begin is not None:
            begin: NDArray[np.int64] = self._begin + np.arange(self.available) * self._frame_bytes
            return begin
        if self._decoders != [] or self._chunks != (1,) * self._leading + self.shape:
            return None
        information = self._dataset.id.get_chunk_info_by_coord
        with decoding(self.path):
            corners = ((n,) * self._leading + (0,) * len(self.shape) for n in range(self.available))
            chunks = [information(corner) for corner in corners]
        whole = all(chunk.byte_offset is not None and chunk.size == self._frame_bytes for chunk in chunks)
        return np.array([chunk.byte_offset for chunk in chunks], np.int64) if whole else None

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Cut a run of frames where chunks were never written."""
        place = start
        for first, last in self._written[bisect_right(self._written, start, key=itemgetter(1)) :]:
            if place < min(first, stop):
                yield place, min(first, stop), False
            if first >= stop:
                return
            yield max(place, first), min(last, stop), True
            place = last
        if place < stop:
            yield place, stop, False

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        if self._begin is not None:
            begin = self._begin + start * self._frame_bytes
            return self._pixels.map(begin, (stop - start, *self.shape), self._stored)
        return read_frames(self._slice if self._decoders is None else self._assemble, start, stop)

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        """Read frames by the HDF5 library."""
        with decoding(self.path, start):
            if self._chunks:
                self._check_chunks(start, stop)
            place = slice(start, stop) if self._leading else ()
            frames: NDArray[Any] = self._dataset[place] if self._virtual is None else self._virtual[place]
            return frames.reshape(stop - start, *self.shape)

    def _check_chunks(self, start: int, stop: int) -> None:
        """FormatError unless HDF5 can read all chunks of these frames."""
        no_filter = 2 ** len(filters_of(self._dataset)) - 1
        plain_bytes = math.prod(self._chunks or ()) * self._dataset.id.get_type().get_size()
        for corner in self._corners(start, stop):
            chunk = self._dataset.id.get_chunk_info_by_coord(corner)
            if chunk.byte_offset is None:
                raise FormatError(self.path, _UNWRITTEN, frame=start)
            # The filter of checksums would crash; in place of what a plain chunk lacks, HDF5 gives whatever
            # is in its memory.
            plain = chunk.filter_mask & no_filter == no_filter
            if chunk.size <= 4 or (plain and chunk.size != plain_bytes):
                raise FormatError(self.path, f"damaged: a chunk of {chunk.size} bytes", frame=start)

    def _assemble(self, start: int, stop: int) -> NDArray[Any]:
        """Read frames from their chunks."""
        assert self._chunks is not None
        ends = (stop,) * self._leading + self.shape
        begins = (start,) * self._leading + (0,) * len(self.shape)
        frames: NDArray[Any] | None = None
        with decoding(self.path, start):
            for corner in self._corners(start, stop):
                piece = self._piece(corner)
                if piece is None:
                    raise FormatError(self.path, _UNWRITTEN, frame=start)
                if (corner, self._chunks) == (
                    begins,
                    (1,) * self._leading + self.shape,
                ) and stop == start + 1:
                    return piece.reshape(1, *self.shape)
                if frames is None:
                    frames = np.empty((stop - start,) * self._leading + self.shape, self.dtype)
                source, target = [], []
                for first, length, begin, end in zip(corner, self._chunks, begins, ends, strict=True):
                    low, high = max(first, begin), min(first + length, end)
                    source.append(slice(low - first, high - first))
                    target.append(slice(low - begin, high - begin))
                frames[tuple(target)] = piece[tuple(source)]
        assert frames is not None
        return frames.reshape(stop - start, *self.shape)

    def _corners(self, start: int, stop: int) -> Iterator[tuple[int, ...]]:
        """Where the chunks of these frames begin."""
        assert self._chunks is not None
        ranges = [
            range(0, length, size) for length, size in zip(self._dataset.shape, self._chunks, strict=True)
        ]
        if self._leading:
            depth = self._chunks[0]
            ranges[0] = range(start // depth * depth, stop, depth)
        if math.prod(map(len, ranges)) > self._chunk_count:  # which ends, unlike the ranges
            raise FormatError(self.path, _UNWRITTEN, frame=start)
        return product(*ranges)

    def _decode(self, corner: tuple[int, ...]) -> NDArray[Any] | None:
        """Read a chunk; None if it was never written."""
        assert self._chunks is not None
        assert self._decoders is not None
        chunk = self._dataset.id.get_chunk_info_by_coord(corner)
        if chunk.byte_offset is None:
            return None
        if math.prod(self._chunks) * self._stored.itemsize > EXPANSION * chunk.size:
            raise ValueError(f"{chunk.size} bytes are too few")
        data: Any = self._pixels.read(chunk.byte_offset, chunk.size)
        for number, decoder in reversed(list(enumerate(self._decoders))):
            if not chunk.filter_mask >> number & 1:
                data = decoder(data)
        return np.frombuffer(data, self._stored).reshape(self._chunks)


class _Virtual:
    """A virtual dataset that is opened to be read, one at a time.

    HDF5 keeps the files of which it consists open with it. One that it cannot open it takes for missing, and
    gives fill values without a word.
    """

    _reading = threading.Lock()

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._file = dataset.file
        self._name = dataset.name
        self._parts = len({source.file_name for source in dataset.virtual_sources()})

    def __getitem__(self, place: Any) -> NDArray[Any]:
        with self._reading:
            at_once(self._parts, 1, least=self._parts)
            values: NDArray[Any] = self._file[self._name][place]
            return values


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
            dataset = find_dataset(path, h5, options)
            files = [Path(dataset.file.filename), *other_files(path, dataset)]
            return {file.resolve() for file in files} - {path.resolve()}
    except Exception as error:  # damage drives h5py into nearly any exception
        raise_shortage(error)
        return set()


def _open(file: MappedFile) -> h5py.File:
    try:
        return h5py.File(file.path, "r", rdcc_nbytes=_CACHE_BYTES)
    except Exception as error:
        text = str(error)
        if _BEING_WRITTEN.search(text):
            reason = "is being written by another program, or was not closed by it (h5clear -s can mend that)"
            raise FormatError(file.path, reason) from error
        if "truncated file" in text:
            raise FormatError(file.path, "truncated HDF5 file", frame=0, offset=file.size) from error
        with decoding(file.path):
            raise


def _told(path: Path, dataset: h5py.Dataset) -> dict[str, float]:
    """Pixel size and scale, if they are told as the writers do."""
    told = scaling_in(text_of(path, dataset, "label"))
    size = dataset.attrs["pixel_size"] if is_real(dataset, "pixel_size") else None
    if (
        text_of(path, dataset, "pixel_size_units") == "angstrom"
        and isinstance(size, np.float64)
        and 0 < size < np.inf
    ):
        told["pixel_size"] = float(size)
    return told
