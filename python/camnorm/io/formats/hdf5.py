"""HDF5 and NeXus files: frames in one of their datasets (h5py; imagecodecs for the common filters)."""

from __future__ import annotations

import math
import os
import re
import struct
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, lru_cache, partial
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import imagecodecs
import numpy as np

from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io.base.containers import EXPANSION, check_size, frame_axes, is_images, pick, read_frames
from camnorm.io.base.hdf5guard import NoSuchNameError, is_real, open_object, other_files, text_of
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.selection import runs
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in
from camnorm.io.base.writers import EncodedWriter, FileWriter, FrameWriter, WritePlan
from camnorm.limits import at_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OURS = "camnorm "  # sensor files and checkpoints
_BEING_WRITTEN = re.compile("unable to lock file|already open for|SWMR")
_VELOX = re.compile("/?Data/Image/[^/]+/Data")
_BLOSC, _LZ4, _BITSHUFFLE, _ZSTD = 32001, 32004, 32008, 32015
_BITSHUFFLE_LZ4, _BITSHUFFLE_ZSTD = 2, 3
# For chunks of several frames, not to decode them for each.
_CACHE_BYTES = 2**25
_UNWRITTEN = "this frame was never written"
_MAX_DEFAULTS = 16  # of a chain of @default

_Decoder = Callable[[Any], Any]


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
                self._dataset = dataset = _find(file.path, self._h5, options)
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
                _check_parts(file.path, dataset, options.follow_links)
                self._chunks: tuple[int, ...] | None = dataset.chunks
                # Pixels that lie in the file, or in chunks of which the filters are known here, are read
                # without HDF5: it has one lock for all threads, and gives zeros for what a chunk lacks.
                self._begin: int | None = None
                self._decoders: list[_Decoder] | None = None
                if dataset.id.get_type().equal(h5py.h5t.py_create(self._stored)):
                    self._begin = dataset.id.get_offset()
                    self._decoders = _decoders(dataset)
                self._elsewhere = not Path(dataset.file.filename).samefile(file.path)  # behind a link
                if self._elsewhere:
                    self._pixels = MappedFile(Path(dataset.file.filename))
                self._written = [(0, count)]
                if self._chunks:
                    self._missing = _UNWRITTEN
                    self._chunk_count = dataset.id.get_num_chunks()
                    if self._leading:
                        self._written = _frames_written(file.path, dataset)
                available = self._written[-1][1]
                stored = self._pixels.size + sum(os.stat(f).st_size for f in other_files(file.path, dataset))
                written = sum(last - first for first, last in self._written)
                check_size(file.path, stored, self._frame_bytes, shape, written)
                if self._begin is None and self._decoders is None:
                    _load_filters(file.path, dataset)
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
        no_filter = 2 ** len(_filters(self._dataset)) - 1
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


class Hdf5Writer(FileWriter):
    """An HDF5 file of one dataset, ``/entry/data/data``, to which NeXus' attributes lead.

    It is contiguous: once HDF5 has made room for it, pixels are written to the file without it.
    """

    def __init__(self, plan: WritePlan) -> None:
        properties = _properties()
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        # Without HDF5's lock: the temporary file is locked already.
        with _system_errors(), h5py.File(plan.target.temporary, "w", locking=False) as h5:
            self._begin: int = _create(
                h5, plan.source, plan.dtype, plan.count, plan.label, properties
            ).get_offset()
        super().__init__(plan)

    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        stored = self.dtype.newbyteorder("<")
        row_bytes = math.prod(self.shape[1:]) * stored.itemsize
        for index, frame in enumerate(frames.astype(stored, copy=False), start):
            self._write_at(self._begin + (index * self.shape[0] + row) * row_bytes, frame)

    def _write_last(self) -> None:
        """Nothing is missing."""


class CompressedHdf5Writer(EncodedWriter):
    """The same file with a chunk for each frame, shuffled and deflated."""

    def __init__(self, plan: WritePlan) -> None:
        properties = _properties()
        properties.set_chunk((1, *plan.source.shape))
        properties.set_shuffle()
        properties.set_deflate(1)
        self._h5 = h5py.File(plan.target.temporary, "w", locking=False)
        try:
            self._dataset = _create(self._h5, plan.source, plan.dtype, plan.count, plan.label, properties)
            super().__init__(plan)
        except BaseException:
            self._h5.close()
            raise

    def _encode(self, frame: NDArray[Any]) -> bytes:
        values = frame.astype(self.dtype.newbyteorder("<"), copy=False)
        shuffled = values.reshape(-1, 1).view(np.uint8).T.copy()
        return bytes(imagecodecs.deflate_encode(shuffled, level=1))

    def _append(self, encoded: bytes) -> None:
        with _system_errors():
            self._dataset.write_direct_chunk((self._appended, *[0] * len(self.shape)), encoded)

    def _write_last(self) -> None:
        with _system_errors():
            self._h5.close()

    def _close(self) -> None:
        with suppress(Exception):
            self._h5.close()
        super()._close()


def make_writer(plan: WritePlan) -> FrameWriter:
    """Make the writer of an HDF5 file."""
    return (Hdf5Writer if plan.compression == "none" else CompressedHdf5Writer)(plan)


@contextmanager
def _system_errors() -> Iterator[None]:
    """Have what the system says be an OSError again, which HDF5 only writes in its message."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _properties() -> Any:
    """Properties of a new dataset, without the time: files written from the same frames are the same."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    return properties


def _create(
    h5: h5py.File, source: FrameSource, dtype: np.dtype[Any], count: int, label: str, properties: Any
) -> Any:
    """Make the dataset, and what tells of it."""
    for place, kind, below in (("/", "NXroot", "entry"), ("entry", "NXentry", "data")):
        h5.require_group(place).attrs.update({"NX_class": kind, "default": below})
    group = h5.create_group("entry/data")
    group.attrs.update({"NX_class": "NXdata", "signal": "data"})
    dataset = h5py.h5d.create(
        group.id,
        b"data",
        h5py.h5t.py_create(dtype.newbyteorder("<")),
        h5py.h5s.create_simple((count, *source.shape)),
        properties,
    )
    attributes = h5py.Dataset(dataset).attrs
    attributes["label"] = label
    attributes["source"] = os.fspath(source.path)
    if "pixel_size" in source.metadata:
        attributes["pixel_size"] = float(source.metadata["pixel_size"])
        attributes["pixel_size_units"] = "angstrom"
    return dataset


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


def is_result(path: Path) -> bool:
    """Whether a file is one of camnorm's own."""
    try:
        with h5py.File(path, "r") as h5:
            return text_of(path, h5, "format").startswith(_OURS)
    except Exception as error:  # damage drives h5py into nearly any exception
        raise_shortage(error)
        return False


def linked_files(path: Path, options: ReadOptions) -> set[Path]:
    """Other files in which the pixels lie that are read of a file; none if it cannot be read."""
    try:
        with h5py.File(path, "r") as h5:
            dataset = _find(path, h5, options)
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


def _find(path: Path, h5: h5py.File, options: ReadOptions) -> h5py.Dataset:
    """The dataset of images."""
    name, follow = options.dataset, options.follow_links
    kind = text_of(path, h5, "format")
    if kind.startswith(_OURS):
        raise FormatError(path, f"a {kind} file, which holds no images")
    dataset = _default(path, h5, follow) if name is None else _named(path, h5, name, follow)
    if isinstance(dataset, h5py.Group):
        datasets, signals, fault = _images(path, dataset, follow)
        if not datasets and fault:
            raise FormatError(path, f"no images in it: {fault}")
        candidates = signals or datasets
        dataset = candidates[pick(path, {key: (d.shape, d.dtype) for key, d in candidates.items()})]
    if _VELOX.fullmatch(dataset.name):
        raise FormatError(path, "Velox EMD, whose frames lie along the last axis, is not supported")
    return dataset


def _named(path: Path, h5: h5py.File, name: str, follow: bool) -> h5py.Dataset | h5py.Group:
    try:
        found = _follow(path, h5, name, follow)
    except NoSuchNameError:
        raise FormatError(path, f"there is no {name} in it") from None
    if isinstance(found, h5py.Dataset) and not is_images(found.shape or (), found.dtype):
        reason = f"{found.name} of shape {found.shape} and type {found.dtype} holds no images"
        raise FormatError(path, reason)
    return found


def _follow(path: Path, group: h5py.Group, name: str, follow: bool) -> Any:
    try:
        return open_object(path, group, name, follow)
    except NoSuchNameError:
        raise
    except KeyError as error:
        raise_shortage(error)
        raise FormatError(path, _fault(group, name, error)) from None


def _fault(group: h5py.Group, name: str, error: Exception) -> str:
    """Why what has this name cannot be opened."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return f"{name} is in the file {link.filename}, which is missing or damaged"
    return f"{name} cannot be opened ({error})"


def _default(path: Path, h5: h5py.File, follow: bool) -> h5py.Dataset | h5py.Group:
    """Where the defaults of a NeXus file lead: a dataset, or the file if they lead to none."""
    group = h5
    for _ in range(_MAX_DEFAULTS):
        for attribute in ("signal", "default"):
            name = text_of(path, group, attribute)
            found = None
            with suppress(NoSuchNameError):
                found = _follow(path, group, name, follow) if name else None
            if found is not None:
                break
        if isinstance(found, h5py.Dataset) and is_images(found.shape or (), found.dtype):
            return found
        if not isinstance(found, h5py.Group):
            break
        group = found
    return h5


def _images(
    path: Path, top: h5py.Group, follow: bool
) -> tuple[dict[str, h5py.Dataset], dict[str, h5py.Dataset], str]:
    """All datasets that can be read as frames, those that NeXus calls signals, and what cannot be opened."""
    datasets, signals, fault = {}, {}, ""
    seen = set()
    groups = [top]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):  # what it points to is found where it is
                continue
            try:
                found = open_object(path, group, name, follow)
                information = h5py.h5o.get_info(found.id)
                key = information.fileno, information.addr
                if key in seen:
                    continue
                seen.add(key)
                if isinstance(found, h5py.Group):
                    groups.append(found)
                elif isinstance(found, h5py.Dataset) and is_images(found.shape or (), found.dtype):
                    place = f"{group.name.rstrip('/')}/{name}"
                    datasets[place] = found
                    if text_of(path, group, "signal") == name or "signal" in found.attrs:
                        signals[place] = found
            except FormatError as error:
                fault = error.reason
            except Exception as error:  # damage drives h5py into nearly any exception
                raise_shortage(error)
                fault = _fault(group, name, error)
    return datasets, signals, fault


def _chunk_counts(dataset: h5py.Dataset) -> list[int]:
    """How many chunks there should be along each axis; none of a dataset that is not chunked."""
    chunks = dataset.chunks or ()
    return [-(-length // size) for length, size in zip(dataset.shape, chunks, strict=False)]


def _frames_written(path: Path, dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """Runs of frames in a chunked stack of which anything was written, as far as it can be found out."""
    chunks = dataset.id.get_num_chunks()
    count, depth = dataset.shape[0], dataset.chunks[0]
    # Not all versions of HDF5 list the chunks.
    if chunks == math.prod(_chunk_counts(dataset)) or not hasattr(dataset.id, "chunk_iter"):
        return [(0, count)]
    if chunks == 0:
        raise FormatError(path, f"none of the {count} frames of {dataset.name} was ever written", frame=0)
    found: set[int] = set()
    dataset.id.chunk_iter(lambda chunk: found.add(chunk.chunk_offset[0] // depth))
    return [(first * depth, min(last * depth, count)) for first, last in runs(sorted(found))]


def _check_parts(path: Path, dataset: h5py.Dataset, follow: bool) -> None:
    """FormatError if a part of a dataset is missing that HDF5 would fill in without a word."""
    left = dataset.nbytes
    for name, offset, size in dataset.external or ():
        part = Path(name)  # looked for from the current directory by HDF5
        if not part.is_file() or part.stat().st_size < offset + min(size, left):
            raise FormatError(path, f"its pixels are in the file {name}, which is missing or truncated")
        left -= min(size, left)
    if not dataset.is_virtual:
        if not dataset.chunks and not dataset.external and dataset.id.get_storage_size() == 0:
            raise FormatError(path, f"{dataset.name} was never written", frame=0)
        return
    folder = Path(dataset.file.filename).parent
    for source in dataset.virtual_sources():
        where = f"{source.file_name}, {source.dset_name}"
        if "%" in source.dset_name:
            raise FormatError(path, f"a virtual dataset over a series ({where}) is not supported")
        try:
            file = dataset.file.filename if source.file_name == "." else folder / source.file_name
            with h5py.File(file, "r") as h5:
                part = open_object(path, h5, source.dset_name, follow)
                _check_parts(Path(h5.filename), part, follow)
                _load_filters(path, part)
                counts = _chunk_counts(part)
                whole = not counts or part.id.get_num_chunks() == math.prod(counts)
                extent = source.src_space.get_simple_extent_dims()
                if extent:
                    whole = whole and all(has >= n for has, n in zip(part.shape, extent, strict=True))
                else:  # all of the source is used
                    whole = whole and part.size == source.vspace.get_select_npoints()
        except Error:
            raise
        except Exception as error:
            raise_shortage(error)
            whole = False
        if not whole:
            raise FormatError(path, f"a part of it ({where}) is missing or damaged")
    if len(dataset.shape) > frame_axes(dataset.shape):
        _check_mapped(path, dataset)


def _check_mapped(path: Path, dataset: h5py.Dataset) -> None:
    """FormatError if no source stands for a frame of a virtual dataset; of a part, it may be a gap."""
    mapped = []
    for source in dataset.virtual_sources():
        try:
            low, high = source.vspace.get_select_bounds()
            mapped.append((low[0], high[0]))
        except RuntimeError:  # without an end: HDF5 takes the dataset's length from what there is
            return
    frame = 0
    for low, high in sorted(mapped):
        if low > frame:
            break
        frame = max(frame, high + 1)
    if frame < dataset.shape[0]:
        raise FormatError(path, f"{dataset.name} is virtual, and no file stands for this frame", frame=frame)


def _load_filters(path: Path, dataset: h5py.Dataset) -> None:
    """Make the filters of a dataset known to the HDF5 library."""
    item = dataset.dtype.itemsize
    for code, values, name in _filters(dataset):
        # By other numbers these filters would crash.
        damaged = (
            (code == h5py.h5z.FILTER_SCALEOFFSET and values[2:5:2] != (math.prod(dataset.chunks), item))
            or (code == _BITSHUFFLE and (len(values) < 4 or values[2] != item or values[3] % 8))
            or code == h5py.h5z.FILTER_NBIT
        )
        if damaged:
            raise FormatError(path, f"damaged, or not supported: HDF5 filter {name} of {values}")
        if h5py.h5z.filter_avail(code):
            continue
        try:
            import hdf5plugin  # noqa: F401 - brings its filters
        except ModuleNotFoundError:
            raise Error(
                f"{path}: to read data compressed by {name}, hdf5plugin is needed: "
                "pip install 'camnorm[hdf5]'"
            ) from None
        if not h5py.h5z.filter_avail(code):
            raise FormatError(path, f"data compressed by {name} (HDF5 filter {code}) are not supported")


def _filters(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...], str]]:
    """Code, parameters and name of each filter of a dataset."""
    properties = dataset.id.get_create_plist()
    found = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    return [(code, values, name.decode("latin-1").partition(";")[0]) for code, _, values, name in found]


def _decoders(dataset: h5py.Dataset) -> list[_Decoder] | None:
    """What undoes each filter of a chunked dataset; None if the HDF5 library is to do it."""
    if not dataset.chunks:
        return None
    item = dataset.dtype.itemsize
    size = math.prod(dataset.chunks) * item
    decoders: list[_Decoder] = []
    for code, values, _ in _filters(dataset):
        if code == h5py.h5z.FILTER_DEFLATE:
            decoders.append(partial(imagecodecs.deflate_decode, out=size))
        elif code == h5py.h5z.FILTER_SHUFFLE and values == (item,):
            decoders.append(partial(_unshuffle, item))
        elif code == h5py.h5z.FILTER_LZF:
            decoders.append(partial(imagecodecs.lzf_decode, out=size))
        elif code == _LZ4:
            decoders.append(partial(_lz4, size))
        elif code == _ZSTD:
            decoders.append(partial(imagecodecs.zstd_decode, out=size))
        elif code == _BLOSC:
            decoders.append(partial(imagecodecs.blosc_decode, out=size))
        elif code == _BITSHUFFLE and values[2:3] == (item,) and values[4:5] in ((), (0,)):
            decoders.append(partial(_unbitshuffle, item, values[3] if len(values) > 3 else 0))
        elif code == _BITSHUFFLE and values[2:3] == (item,):
            decoders.append(partial(_bitshuffle, size, item, values[4]))
        else:
            return None
    return decoders


def _unshuffle(item: int, data: bytes) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(item, -1).T)


def _lz4(size: int, data: bytes) -> Any:
    if struct.unpack_from(">Q", data) != (size,):
        raise ValueError(f"not {size} bytes")
    return imagecodecs.lz4h5_decode(data, out=size)


def _unbitshuffle(item: int, block: int, data: Any) -> Any:
    """Undo bitshuffle in blocks of so many pixels."""
    whole = len(data) - len(data) % (8 * item)  # the rest comes as it is
    pixels = imagecodecs.bitshuffle_decode(data[:whole], itemsize=item, blocksize=block)
    return bytes(pixels) + data[whole:] if whole < len(data) else pixels


def _bitshuffle(size: int, item: int, codec: int, data: bytes) -> Any:
    """Undo bitshuffle with LZ4 or zstd."""
    total, block = struct.unpack_from(">QI", data)
    if total != size or block == 0 or block % (8 * item):
        raise ValueError(f"not {size} bytes")
    rest = size % (8 * item)
    blocks = []
    position = 12
    for start in range(0, size - rest, block):
        (length,) = struct.unpack_from(">I", data, position)
        blocks.append((position + 4, length, min(block, size - rest - start)))
        position += 4 + length
    if codec == _BITSHUFFLE_ZSTD:
        parts = [imagecodecs.zstd_decode(data[at : at + length], out=n) for at, length, n in blocks]
    elif codec != _BITSHUFFLE_LZ4:
        raise ValueError(f"bitshuffle with codec {codec}")
    elif rest == 0 and all(length != n for _, length, n in blocks):
        parts = [imagecodecs.lz4h5_decode(data, out=size)]  # which would not decode a block of that length
    else:
        parts = [imagecodecs.lz4_decode(data[at : at + length], out=n) for at, length, n in blocks]
    shuffled = parts[0] if len(parts) == 1 else b"".join(parts)
    return _unbitshuffle(item, block // item, shuffled + data[position:] if rest else shuffled)
