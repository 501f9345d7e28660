"""Filters of HDF5 datasets: undone here (imagecodecs), or by the HDF5 library and its plugins."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import imagecodecs
import numpy as np

from camnorm.errors import Error, FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOSC, _LZ4, _BITSHUFFLE, _ZSTD = 32001, 32004, 32008, 32015
_BITSHUFFLE_LZ4, _BITSHUFFLE_ZSTD = 2, 3

Decoder = Callable[[Any], Any]


def load_filters(path: Path, dataset: h5py.Dataset) -> None:
    """Make the filters of a dataset known to the HDF5 library."""
    item = dataset.dtype.itemsize
    for code, values, name in filters_of(dataset):
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


def filters_of(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...], str]]:
    """Code, parameters and name of each filter of a dataset."""
    properties = dataset.id.get_create_plist()
    found = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    return [(code, values, name.decode("latin-1").partition(";")[0]) for code, _, values, name in found]


def decoders_of(dataset: h5py.Dataset) -> list[Decoder] | None:
    """What undoes each filter of a chunked dataset; None if the HDF5 library is to do it."""
    if not dataset.chunks:
        return None
    item = dataset.dtype.itemsize
    size = math.prod(dataset.chunks) * item
    decoders: list[Decoder] = []
    for code, values, _ in filters_of(dataset):
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
    """Undo bitshuffle in blocks of a number of pixels."""
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
