"""HDF5 and NeXus files: frames in one of their datasets (h5py; imagecodecs for the common filters)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import imagecodecs
import numpy as np

from ..errors import Error, FormatError
from .containers import EXPANSION, frame_axes, is_images, pick, read_frames
from .options import ReadOptions
from .source import FrameSource, MappedFile, decoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OURS = "camnorm "  # sensor files and checkpoints
_BEING_WRITTEN = re.compile("unable to lock file|already open for|SWMR")
_VELOX = re.compile("/?Data/Image/[^/]+/Data")
_LZ4, _BITSHUFFLE, _ZSTD = 32004, 32008, 32015
_BITSHUFFLE_LZ4 = 2
# Of the HDF5 library, for datasets that are read by it: chunks of several frames are decoded once.
_CACHE_BYTES = 2**25
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
        try:
            with decoding(file.path):
                self._dataset = dataset = _find(file.path, self._h5, options.dataset)
                axes = frame_axes(dataset.shape)
                if len(dataset.shape) - axes not in (0, 1):
                    reason = f"{dataset.name} of shape {dataset.shape} is neither a frame nor a stack"
                    raise FormatError(file.path, reason)
                self._stored: np.dtype[Any] = dataset.dtype
                shape: tuple[int, ...] = dataset.shape[-axes:]
                self._leading = len(dataset.shape) - axes
                count = dataset.shape[0] if self._leading else 1
                self._frame_bytes = math.prod(shape) * self._stored.itemsize
                _check_parts(file.path, dataset)
                # Where the pixels of frames lie in the file they are read without HDF5, which has one lock
                # for all threads.
                in_file = (
                    Path(dataset.file.filename).samefile(file.path)
                    and dataset.file.userblock_size == 0
                    and dataset.id.get_type().equal(h5py.h5t.py_create(self._stored))
                )
                self._begin: int | None = dataset.id.get_offset() if in_file else None
                self._decoders = _decoders(dataset, (1,) * self._leading + shape) if in_file else None
                chunks = _chunk_counts(dataset)
                self._complete = not chunks or dataset.id.get_num_chunks() == math.prod(chunks)
                if self._frame_bytes > EXPANSION * max(file.size, dataset.id.get_storage_size()):
                    raise FormatError(file.path, f"damaged: too few bytes for frames of shape {shape}")
            available = count
            if self._begin is not None:
                available = (file.size - self._begin) // max(1, self._frame_bytes)
            super().__init__(
                file,
                shape=shape,
                dtype=self._stored,
                count=count,
                available=available,
                metadata={"dataset": dataset.name},
            )
            if self._begin is None and self._decoders is None:
                _load_filters(file.path, dataset)
        except BaseException:
            self._h5.close()
            raise

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        self._h5.close()
        super().close()

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if they are compressed, cut in pieces, or in another file."""
        if not self._stored.isnative:
            return None
        if self._begin is not None:
            begin: NDArray[np.int64] = self._begin + np.arange(self.available) * self._frame_bytes
            return begin
        if self._decoders or self._decoders is None or not self._complete:
            return None
        chunks = [self._chunk(frame) for frame in range(self.available)]
        whole = all(size == self._frame_bytes for _, size, _ in chunks)
        return np.array([offset for offset, _, _ in chunks], np.int64) if whole else None

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        if self._begin is not None:
            begin = self._begin + start * self._frame_bytes
            return self._file.map(begin, (stop - start, *self.shape), self._stored)
        if self._decoders is None:
            return read_frames(self._slice, start, stop)
        if stop - start == 1:
            return self._decode(start)[np.newaxis]
        frames = np.empty((stop - start, *self.shape), self.dtype)
        for index, frame in enumerate(frames, start):
            frame[...] = self._decode(index)
        return frames

    def _decode(self, index: int) -> NDArray[Any]:
        """Decode a frame that is one chunk."""
        assert self._decoders is not None
        offset, size, skipped = self._chunk(index)
        if offset + size > self._file.size:
            raise FormatError(self.path, "the file ends before the frame does", frame=index, offset=offset)
        if self._frame_bytes > EXPANSION * size:
            raise FormatError(self.path, f"damaged: {size} bytes are too few", frame=index, offset=offset)
        with decoding(self.path, index):
            data: Any = self._file.read(offset, size)
            for number, decoder in reversed(list(enumerate(self._decoders))):
                if not skipped >> number & 1:
                    data = decoder(data)
            frame: NDArray[Any] = np.frombuffer(data, self._stored).reshape(self.shape)
            return frame

    def _chunk(self, index: int) -> tuple[int, int, int]:
        """Offset and size of the chunk of a frame, and which filters were not applied to it."""
        corner = (index,) * self._leading + (0,) * len(self.shape)
        with decoding(self.path, index):
            chunk = self._dataset.id.get_chunk_info_by_coord(corner)
        if chunk.byte_offset is None:
            raise FormatError(self.path, "this frame was never written", frame=index)
        return chunk.byte_offset, chunk.size, chunk.filter_mask

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        """Read frames by the HDF5 library."""
        with decoding(self.path, start):
            if not self._complete:
                self._check_written(start, stop)
            frames: NDArray[Any] = self._dataset[start:stop] if self._leading else self._dataset[()]
            stack: NDArray[Any] = frames.reshape(stop - start, *self.shape)
            return stack

    def _check_written(self, start: int, stop: int) -> None:
        """FormatError if a part of these frames is not in the file: HDF5 would give zeros."""
        dataset = self._dataset
        counts = [range(n) for n in _chunk_counts(dataset)]
        if self._leading:
            counts[0] = range(start // dataset.chunks[0], (stop - 1) // dataset.chunks[0] + 1)
        there = dataset.id.get_num_chunks() >= math.prod(
            map(len, counts)
        )  # a damaged header may tell of more
        for place in product(*counts) if there else ():
            corner = tuple(n * size for n, size in zip(place, dataset.chunks, strict=True))
            there = there and dataset.id.get_chunk_info_by_coord(corner).byte_offset is not None
        if not there:
            raise FormatError(self.path, "this frame was never written", frame=start)


def is_result(path: Path) -> bool:
    """Whether a file is one of camnorm's own."""
    try:
        with h5py.File(path, "r") as h5:
            return _text(h5, "format").startswith(_OURS)
    except Exception:  # damage drives h5py into nearly any exception
        return False


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


def _find(path: Path, h5: h5py.File, name: str | None) -> h5py.Dataset:
    """The dataset of images."""
    kind = _text(h5, "format")
    if kind.startswith(_OURS):
        raise FormatError(path, f"a {kind} file, which holds no images")
    dataset = _default(path, h5) if name is None else _named(path, h5, name)
    if isinstance(dataset, h5py.Group):
        datasets, signals, fault = _images(dataset)
        if not datasets and fault:
            raise FormatError(path, f"no images in it: {fault}")
        candidates = signals or datasets
        dataset = candidates[pick(path, {key: (d.shape, d.dtype) for key, d in candidates.items()})]
    if _VELOX.fullmatch(dataset.name):
        raise FormatError(path, "Velox EMD, whose frames lie along the last axis, is not supported")
    return dataset


def _named(path: Path, h5: h5py.File, name: str) -> h5py.Dataset | h5py.Group:
    if name not in h5:
        raise FormatError(path, f"there is no {name} in it")
    found = _follow(path, h5, name)
    if isinstance(found, h5py.Dataset) and not is_images(found.shape or (), found.dtype):
        reason = f"{found.name} of shape {found.shape} and type {found.dtype} holds no images"
        raise FormatError(path, reason)
    return found


def _follow(path: Path, group: h5py.Group, name: str) -> Any:
    try:
        return group[name]
    except KeyError as error:
        raise FormatError(path, _fault(group, name, error)) from None


def _fault(group: h5py.Group, name: str, error: Exception) -> str:
    """Why what has this name cannot be opened."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return f"{name} is in the file {link.filename}, which is missing or damaged"
    return f"{name} cannot be opened ({error})"


def _default(path: Path, h5: h5py.File) -> h5py.Dataset | h5py.Group:
    """Where the defaults of a NeXus file lead: a dataset, or the file if they lead to none."""
    group = h5
    for _ in range(_MAX_DEFAULTS):
        for attribute in ("signal", "default"):
            name = _text(group, attribute)
            found = _follow(path, group, name) if name and name in group else None
            if found is not None:
                break
        if isinstance(found, h5py.Dataset) and is_images(found.shape or (), found.dtype):
            return found
        if not isinstance(found, h5py.Group):
            break
        group = found
    return h5


def _images(top: h5py.Group) -> tuple[dict[str, h5py.Dataset], dict[str, h5py.Dataset], str]:
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
                found = group[name]
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
                    if _text(group, "signal") == name or "signal" in found.attrs:
                        signals[place] = found
            except Exception as error:  # damage drives h5py into nearly any exception
                fault = _fault(group, name, error)
    return datasets, signals, fault


def _text(group: h5py.Group, attribute: str) -> str:
    """An attribute that is a string; else nothing."""
    value = group.attrs.get(attribute)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _chunk_counts(dataset: h5py.Dataset) -> list[int]:
    """How many chunks there should be along each axis; none of a dataset that is not chunked."""
    chunks = dataset.chunks or ()
    return [-(-length // size) for length, size in zip(dataset.shape, chunks, strict=False)]


def _check_parts(path: Path, dataset: h5py.Dataset) -> None:
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
        if "%" in source.file_name + source.dset_name:
            raise FormatError(path, f"a virtual dataset over a series of files ({where}) is not supported")
        try:
            file = dataset.file.filename if source.file_name == "." else folder / source.file_name
            with h5py.File(file, "r") as h5:
                part = h5[source.dset_name]
                _check_parts(Path(h5.filename), part)
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
        except Exception:
            whole = False
        if not whole:
            raise FormatError(path, f"a part of it ({where}) is missing or damaged")


def _load_filters(path: Path, dataset: h5py.Dataset) -> None:
    """Make the filters of a dataset known to the HDF5 library."""
    if not dataset.chunks:
        return
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if h5py.h5z.filter_avail(code):
            continue
        name = name.decode("latin-1").partition(";")[0] or code
        try:
            import hdf5plugin  # noqa: F401 - brings its filters
        except ModuleNotFoundError:
            raise Error(
                f"{path}: to read data compressed by {name}, hdf5plugin is needed: "
                "pip install 'camnorm[hdf5]'"
            ) from None
        if not h5py.h5z.filter_avail(code):
            raise FormatError(path, f"data compressed by {name} (HDF5 filter {code}) are not supported")


def _decoders(dataset: h5py.Dataset, frame: tuple[int, ...]) -> list[_Decoder] | None:
    """What undoes each filter of a dataset of one frame a chunk; None if the HDF5 library is to do it."""
    if dataset.chunks != frame:
        return None
    item = dataset.dtype.itemsize
    size = math.prod(frame) * item
    decoders: list[_Decoder] = []
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, values, _ = properties.get_filter(number)
        if code == h5py.h5z.FILTER_DEFLATE:
            decoders.append(partial(imagecodecs.deflate_decode, out=size))
        elif code == h5py.h5z.FILTER_SHUFFLE and values == (item,):
            decoders.append(partial(_unshuffle, item))
        elif code == _LZ4:
            decoders.append(partial(_lz4, size))
        elif code == _ZSTD:
            decoders.append(partial(imagecodecs.zstd_decode, out=size))
        elif code == _BITSHUFFLE and values[2::2] == (item, _BITSHUFFLE_LZ4) and size % (8 * item) == 0:
            decoders.append(partial(_bitshuffle_lz4, size, item))
        else:
            return None
    return decoders


def _unshuffle(item: int, data: bytes) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(item, -1).T)


def _lz4(size: int, data: bytes) -> Any:
    if struct.unpack_from(">Q", data) != (size,):
        raise ValueError(f"not {size} bytes")
    return imagecodecs.lz4h5_decode(data, out=size)


def _bitshuffle_lz4(size: int, item: int, data: bytes) -> Any:
    """Undo bitshuffle with LZ4, whose form is that of LZ4 but for one thing."""
    total, block = struct.unpack_from(">QI", data)
    if total != size or block == 0 or block % (8 * item):
        raise ValueError(f"not {size} bytes")
    blocks = []
    position = 12
    for start in range(0, size, block):
        (length,) = struct.unpack_from(">I", data, position)
        position += 4
        blocks.append((position, length, min(block, size - start)))
        position += length
    if all(length != decoded for _, length, decoded in blocks):
        shuffled = imagecodecs.lz4h5_decode(data, out=size)
    else:  # by the filter LZ4 such a block would not be compressed
        parts = [data[start : start + length] for start, length, _ in blocks]
        decoded = [imagecodecs.lz4_decode(part, out=n) for part, (_, _, n) in zip(parts, blocks, strict=True)]
        shuffled = b"".join(decoded)
    return imagecodecs.bitshuffle_decode(shuffled, itemsize=item, blocksize=block // item)
