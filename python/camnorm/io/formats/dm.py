"""DM3 and DM4 files of DigitalMicrograph."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import MappedFile
from camnorm.io.formats.blocks import BlockSource, regular

# Codes of tags' values; and of images' pixels, as far as they are plain numbers.
_VALUES = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "B", 9: "b", 10: "B", 11: "q", 12: "Q"}
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_PIXELS = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8"}
_COLOUR = 23
_ANGSTROM = {"nm": 10.0, "µm": 1e4, "μm": 1e4, "um": 1e4, "pm": 0.01, "Å": 1.0, "A": 1.0}

_LONGEST = 64  # numbers of an array that is read; names and units are shorter
_LONGEST_TYPE = 512  # numbers that describe the type of a value
_DEEPEST = 32  # groups in groups


class _Array(NamedTuple):
    """An array that lies in the file."""

    offset: int
    bytes: int


class DmSource(BlockSource):
    """The image or stack of a DM3 or DM4 file; its thumbnail is left aside.

    The first two dimensions are x and y; all others are frames.
    """

    format = "DM"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        try:
            images, order = _Reader(file).images()
        except (struct.error, IndexError, KeyError):
            reason = "damaged, or truncated within the tags"
            raise FormatError(file.path, reason, frame=0, offset=file.size) from None
        # Thumbnails are in colour.
        plain = [image for image in images if image.get("DataType") != _COLOUR] or images
        image = max(plain, key=lambda image: image["Data"].bytes, default={})
        if image.get("DataType") not in _PIXELS:
            found = sorted(str(image.get("DataType")) for image in images)
            raise FormatError(file.path, f"DM with pixels of the types {', '.join(found)} is not supported")
        sizes = [image[key] for key in image if key.startswith("Dimensions/")]
        if len(sizes) < 2:
            raise FormatError(file.path, "DM with a spectrum is not supported")
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise FormatError(file.path, f"damaged: dimensions {sizes}", frame=0)
        x, y, *others = sizes
        stored = np.dtype(order + _PIXELS[image["DataType"]])
        count = math.prod(others)
        needed = x * y * count * stored.itemsize
        if needed != image["Data"].bytes:
            reason = f"damaged: {image['Data'].bytes} bytes of pixels for {sizes} {stored.name}"
            raise FormatError(file.path, reason, frame=0)
        places, count = regular(file, image["Data"].offset, x * y * stored.itemsize, count)
        super().__init__(
            file, places=places, stored=stored, shape=(y, x), count=count, metadata=_pixel_size(image)
        )


def _pixel_size(image: dict[str, Any]) -> dict[str, Any]:
    dimension = "Calibrations/Dimension/0/"
    scale, unit = image.get(dimension + "Scale"), image.get(dimension + "Units")
    if not isinstance(scale, float) or not 0 < scale < math.inf or unit not in _ANGSTROM:
        return {}
    return {"pixel_size": scale * _ANGSTROM[unit]}


class _Reader:
    """Tags of a file: groups of groups, numbers, and arrays.

    Structure in big-endian order, values in the order that the header tells.
    """

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self._window, self._start = b"", 0
        self._position = 0
        version = self._take(">i")[0]
        self._long = ">i" if version == 3 else ">q"
        self._version = version
        self._take(self._long)
        self._order = "<" if self._take(">i")[0] else ">"

    def images(self) -> tuple[list[dict[str, Any]], str]:
        """Tags below ImageData of each image, and the byte order of values."""
        images: dict[str, dict[str, Any]] = {}
        for path, value in self._group((), 0):
            match path:
                case ("ImageList", image, "ImageData", *rest):
                    images.setdefault(image, {})["/".join(rest)] = value
        return [image for image in images.values() if isinstance(image.get("Data"), _Array)], self._order

    def _group(self, path: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Any]]:
        self._take(">bb")  # sorted, open
        (count,) = self._take(self._long)
        for index in range(count):
            kind, length = self._take(">BH")
            name = self._read(length).decode("latin-1") or str(index)
            if self._version == 4:
                self._take(">q")  # bytes of the tag
            if kind == 20 and depth < _DEEPEST:
                yield from self._group((*path, name), depth + 1)
            elif kind == 21:
                yield (*path, name), self._value()
            else:
                raise FormatError(self._file.path, "damaged tags", offset=self._position)

    def _value(self) -> Any:
        """A number, the text that a short array of 16 bits is, or where other values lie."""
        mark, count = self._take(">4s" + self._long[1:])
        if mark != b"%%%%" or not 1 <= count <= _LONGEST_TYPE:
            raise FormatError(self._file.path, "damaged tags", offset=self._position)
        info = list(struct.unpack(f">{count}{self._long[1:]}", self._read(count * self._longs)))
        if count == 1 and info[0] in _VALUES:
            return self._take(self._order + _VALUES[info[0]])[0]
        length, code = self._length(info)
        array = _Array(self._position, length)
        if code == 4 and length <= 2 * _LONGEST:
            return self._read(length).decode("utf-16" + ("le" if self._order == "<" else "be"), "replace")
        self._skip(length)
        return array

    def _length(self, info: list[int]) -> tuple[int, int]:
        """Bytes of a string, struct or array, and the code of an array's elements."""
        kind, *rest = info
        if kind == _STRUCT:
            return sum(struct.calcsize("=" + _VALUES[code]) for code in rest[3::2]), 0
        if kind == _STRING:
            return rest[0], 0
        if kind != _ARRAY or rest[-1] < 0:
            raise KeyError(kind)
        size = struct.calcsize("=" + _VALUES[rest[0]]) if len(rest) == 2 else self._length(rest[:-1])[0]
        return size * rest[-1], rest[0]

    @property
    def _longs(self) -> int:
        return struct.calcsize(self._long)

    def _take(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self._read(struct.calcsize(form)))

    def _read(self, count: int) -> bytes:
        if not self._start <= self._position <= self._position + count <= self._start + len(self._window):
            self._window, self._start = self._file.read(self._position, max(count, 2**16)), self._position
        begin = self._position - self._start
        self._position += count
        return self._window[begin : begin + count]

    def _skip(self, count: int) -> None:
        if count < 0 or self._position + count > self._file.size:
            raise struct.error
        self._position += count


def _is_dm(path: Path, head: bytes) -> bool:
    version, order = int.from_bytes(head[:4], "big"), {3: head[8:12], 4: head[12:16]}
    return version in order and order[version] in (b"\0\0\0\0", b"\0\0\0\1")


FORMAT = ImageFormat("DM", (".dm3", ".dm4"), f"{__name__}:DmSource", recognises=_is_dm, row_order="top")
