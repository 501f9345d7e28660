"""SER files of TIA (FEI). Rows stay as in the file."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import MappedFile
from camnorm.io.formats.blocks import BlockSource
from camnorm.io.formats.bysize import more_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IMAGES = 0x4122
_TYPES = {1: "<u1", 2: "<u2", 3: "<u4", 4: "<i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
_ELEMENT = struct.Struct("<ddiddiHII")  # calibration of x and of y, type and size; the pixels follow


class SerSource(BlockSource):
    """Images of a SER file (TIA). Files of spectra are not images."""

    format = "SER"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        head = file.read(0, 34)
        try:
            version, kind, _, total, count = struct.unpack_from("<HIIII", head, 4)
            table = struct.unpack_from("<I" if version < 0x220 else "<Q", head, 22)[0]
            if kind != _IMAGES:
                raise FormatError(file.path, "SER that holds no images is not supported")
            number = np.dtype("<u4" if version < 0x220 else "<u8")
            table = min(table, file.size)
            listed = file.read(table, min(max(count, total) * number.itemsize, file.size - table))
            self._elements = np.frombuffer(listed, number, len(listed) // number.itemsize).tolist()
            self._first = first = _ELEMENT.unpack(self._element(file, 0))
        except (struct.error, IndexError):
            reason = "truncated within the SER header, or no images in it"
            raise FormatError(file.path, reason, frame=0, offset=file.size) from None
        if first[6] not in _TYPES:
            raise FormatError(file.path, f"SER with pixels of type {first[6]} is not supported")
        if count < 1:
            raise FormatError(file.path, "truncated within the SER header, or no images in it", frame=0)
        found = self._written(file, count)
        if found > count:
            self.remarks = (more_frames(count, found),)
        del self._elements[found:]
        super().__init__(
            file,
            places=[place + _ELEMENT.size for place in self._elements],
            stored=np.dtype(_TYPES[first[6]]),
            shape=(first[8], first[7]),
            count=found,
            metadata={"pixel_size": first[1] * 1e10} if 0 < first[1] < 1e-3 else {},
        )

    def _written(self, file: MappedFile, count: int) -> int:
        """Number of images: those that the header calls valid, and all that were written behind them.

        Of a series that was stopped, the table has places for the others, but nothing is written there.
        """
        frame_bytes = self._first[7] * self._first[8] * np.dtype(_TYPES[self._first[6]]).itemsize
        known = set(self._elements[:count])
        for index in range(count, len(self._elements)):
            place = self._elements[index]
            whole = _ELEMENT.size < place <= file.size - _ELEMENT.size - frame_bytes and place not in known
            if not whole or _ELEMENT.unpack(self._element(file, index))[6:] != self._first[6:]:
                return index
        return max(count, len(self._elements))

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if one is of another kind."""
        alike = all(self._is_like_the_first(index) for index in range(self.available))
        return super().offsets if alike else None

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        for index in range(start, stop):
            if not self._is_like_the_first(index):
                raise FormatError(
                    self.path, "damaged, or a frame of another kind than the first", frame=index
                )
        return super()._frames(start, stop)

    def _is_like_the_first(self, index: int) -> bool:
        element = self._element(self._file, index)
        return len(element) == _ELEMENT.size and _ELEMENT.unpack(element)[6:] == self._first[6:]

    def _element(self, file: MappedFile, index: int) -> bytes:
        return file.read(min(self._elements[index], file.size), _ELEMENT.size)


FORMAT = ImageFormat("SER", (".ser",), f"{__name__}:SerSource", (b"II\x97\x01",))
