"""HDF5 and NeXus files: frames in one of their datasets are read."""

from __future__ import annotations

import math
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, lru_cache, partial
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.containers import EXPANSION, check_size, read_frames
from camnorm.io.base.hdf5guard import is_real, other_files, text_of
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in
from camnorm.io.formats.hdf5.axes import Axes, Box
from camnorm.io.formats.hdf5.filters import Decoder, decoders_of, filters_of, load_filters
from camnorm.io.formats.hdf5.parts import check_parts, frames_written
from camnorm.limits import at_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

# For chunks of several frames, not to decode them for each.
CACHE_BYTES = 2**25
_UNWRITTEN = "this frame was never written"


class Hdf5Source(FrameSource):
    """Frames in a dataset of an HDF5 file.

    The dataset is the one that `ReadOptions` names, or to which the ``default`` and ``signal`` attributes of
    NeXus lead, or the only large one. `frame_axes` tells which axes are those of a frame, or `axes_of` in EMD
    files; all others count frames.
    """

    format = "HDF5"

    def __init__(
        self, file: MappedFile, options: ReadOptions, h5: h5py.File, dataset: h5py.Dataset, axes: Axes
    ) -> None:
        self._h5 = h5
        self._pixels = file
        self._elsewhere = False
        try:
            with decoding(file.path):
                self._dataset = dataset
                self._axes = axes
                told = _told(file.path, dataset)
                self._stored: np.dtype[Any] = dataset.dtype
                shape, count = axes.frame, axes.count
                self._frame_bytes = math.prod(shape) * self._stored.itemsize
                check_parts(file.path, dataset, options.follow_links, axes)
                self._locate(dataset)
                others = other_files(file.path, dataset)
                self._linked = linked_by(file.path, dataset) if others or self._elsewhere else set()
                self._chunks: tuple[int, ...] | None = dataset.chunks
                self._written = [(0, count)]
                if self._chunks:
                    self._missing = _UNWRITTEN
                    self._chunk_count = dataset.id.get_num_chunks()
                    if axes.leading:
                        self._written = frames_written(file.path, dataset, axes)
                available = self._written[-1][1]
                stored = self._pixels.size + sum(os.stat(other).st_size for other in others)
                written = sum(last - first for first, last in self._written)
                check_size(file.path, stored, self._frame_bytes, shape, written)
                if self._begin is None and self._decoders is None:
                    load_filters(file.path, dataset)
                self._virtual: _Virtual | None = None
                if dataset.is_virtual:
                    self._virtual = _Virtual(dataset)
                    del self._dataset  # which would keep the files open of which it consists
            chunk_bytes = math.prod(self._chunks or ()) * self._stored.itemsize
            leading = axes.order[: axes.leading]
            several = self._chunks is not None and any(self._chunks[axis] > 1 for axis in leading)
            self._piece = lru_cache(CACHE_BYTES // max(1, chunk_bytes) if several else 0)(self._decode)
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
        return [self.path, *sorted(self._linked)]

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
        if self._begin is not None and self._axes.plain:
            begin: NDArray[np.int64] = self._begin + np.arange(self.available) * self._frame_bytes
            return begin
        if self._decoders != [] or not self._axes.plain or self._chunks != self._axes.chunk_of_one_frame():
            return None
        information = self._dataset.id.get_chunk_info_by_coord
        with decoding(self.path):
            boxes = (next(self._axes.boxes(n, n + 1)) for n in range(self.available))
            chunks = [information(tuple(first for first, _ in box)) for box in boxes]
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
        if self._begin is not None and self._axes.plain:
            begin = self._begin + start * self._frame_bytes
            return self._pixels.map(begin, (stop - start, *self.shape), self._stored)
        return read_frames(self._runs, start, stop)

    def _runs(self, start: int, stop: int) -> NDArray[Any]:
        """Read runs of frames."""
        read = self._slice if self._decoders is None else self._assemble
        if self._begin is not None:
            whole = self._pixels.map(self._begin, self._axes.stored, self._stored)
            read = partial(self._part_of, whole)
        with decoding(self.path, start):
            parts = [self._axes.frames_in(read(box, start)) for box in self._axes.boxes(start, stop)]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @staticmethod
    def _part_of(whole: NDArray[Any], box: Box, frame: int) -> NDArray[Any]:
        """Take the pixels from where they lie in the file."""
        return whole[tuple(slice(*ends) for ends in box)]

    def _slice(self, box: Box, frame: int) -> NDArray[Any]:
        """Read pixels by the HDF5 library."""
        if self._chunks:
            self._check_chunks(box, frame)
        place = tuple(slice(*ends) for ends in box)
        values: NDArray[Any] = self._dataset[place] if self._virtual is None else self._virtual[place]
        return values

    def _check_chunks(self, box: Box, frame: int) -> None:
        """FormatError unless HDF5 can read all chunks of these pixels."""
        no_filter = 2 ** len(filters_of(self._dataset)) - 1
        plain_bytes = math.prod(self._chunks or ()) * self._dataset.id.get_type().get_size()
        for corner in self._corners(box, frame):
            chunk = self._dataset.id.get_chunk_info_by_coord(corner)
            if chunk.byte_offset is None:
                raise FormatError(self.path, _UNWRITTEN, frame=frame)
            # The filter of checksums would crash; in place of what a plain chunk lacks, HDF5 gives whatever
            # is in its memory.
            plain = chunk.filter_mask & no_filter == no_filter
            if chunk.size <= 4 or (plain and chunk.size != plain_bytes):
                raise FormatError(self.path, f"damaged: a chunk of {chunk.size} bytes", frame=frame)

    def _assemble(self, box: Box, frame: int) -> NDArray[Any]:
        """Read pixels from their chunks."""
        assert self._chunks is not None
        values: NDArray[Any] | None = None
        for corner in self._corners(box, frame):
            piece = self._piece(corner)
            if piece is None:
                raise FormatError(self.path, _UNWRITTEN, frame=frame)
            if all(
                (first, first + length) == ends
                for first, length, ends in zip(corner, self._chunks, box, strict=True)
            ):
                return piece
            if values is None:
                values = np.empty([end - begin for begin, end in box], self.dtype)
            source, target = [], []
            for first, length, (begin, end) in zip(corner, self._chunks, box, strict=True):
                low, high = max(first, begin), min(first + length, end)
                source.append(slice(low - first, high - first))
                target.append(slice(low - begin, high - begin))
            values[tuple(target)] = piece[tuple(source)]
        assert values is not None
        return values

    def _corners(self, box: Box, frame: int) -> Iterator[tuple[int, ...]]:
        """Where the chunks of these pixels begin."""
        assert self._chunks is not None
        ranges = [
            range(begin // size * size, end, size)
            for (begin, end), size in zip(box, self._chunks, strict=True)
        ]
        if math.prod(map(len, ranges)) > self._chunk_count:  # which ends, unlike the ranges
            raise FormatError(self.path, _UNWRITTEN, frame=frame)
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
    gives fill values silently.
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


def linked_by(path: Path, dataset: h5py.Dataset) -> set[Path]:
    """Files other than this one in which the pixels of a dataset lie."""
    files = [Path(dataset.file.filename), *other_files(path, dataset)]
    return {file.resolve() for file in files} - {path.resolve()}


def _told(path: Path, dataset: h5py.Dataset) -> dict[str, float]:
    """Pixel size and scale, if they are given as our writers do it."""
    told = scaling_in(text_of(path, dataset, "label"))
    size = dataset.attrs["pixel_size"] if is_real(dataset, "pixel_size") else None
    if (
        text_of(path, dataset, "pixel_size_units") == "angstrom"
        and isinstance(size, np.float64)
        and 0 < size < np.inf
    ):
        told["pixel_size"] = float(size)
    return told
