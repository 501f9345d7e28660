"""Movies of electron microscopes' software: TIA (SER), Merlin (MIB) and TVIPS. Rows stay as in the file."""

from __future__ import annotations

import re
import struct
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.links import check_link
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import MappedFile, shown
from camnorm.io.formats.blocks import BlockSource, regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MIB_TYPES = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}

_SER_IMAGES = 0x4122
_SER_TYPES = {1: "<u1", 2: "<u2", 3: "<u4", 4: "<i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
_SER_ELEMENT = struct.Struct("<ddiddiHII")  # calibration of x and of y, type and size; the pixels follow

_TVIPS_HEADER = struct.Struct("<13I")
_TVIPS_PART = re.compile(r"(.*_)(\d{3})(\.tvips)", re.IGNORECASE | re.DOTALL)
_TVIPS_FRAME_HEADER = 12  # bytes in version 1; later the header tells


class MibSource(BlockSource):
    """Frames of a MIB file (Merlin detectors), each behind a header of its own."""

    format = "MIB"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        fields = file.read(0, 384).decode("latin-1").split(",")
        if len(fields) < 8:
            raise FormatError(file.path, "truncated within the MIB header", frame=0, offset=file.size)
        header, _, x, y, kind = fields[2:7]
        if not all(re.fullmatch(r"0*[1-9]\d{0,5}", value) for value in (header, x, y)):
            told = ", ".join(map(shown, (header, x, y)))
            raise FormatError(file.path, f"damaged MIB header: {told}", frame=0)
        if kind not in _MIB_TYPES:
            raise FormatError(file.path, f"MIB with pixels of type {shown(kind)} is not supported")
        stored = np.dtype(_MIB_TYPES[kind])
        places, count = regular(file, int(header), int(header) + int(x) * int(y) * stored.itemsize)
        super().__init__(file, places=places, stored=stored, shape=(int(y), int(x)), count=count, metadata={})


class SerSource(BlockSource):
    """Images of a SER file (TIA). Files of spectra are not images."""

    format = "SER"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        head = file.read(0, 34)
        try:
            version, kind, _, _, count = struct.unpack_from("<HIIII", head, 4)
            table = struct.unpack_from("<I" if version < 0x220 else "<Q", head, 22)[0]
            if kind != _SER_IMAGES:
                raise FormatError(file.path, "SER that holds no images is not supported")
            number = np.dtype("<u4" if version < 0x220 else "<u8")
            table = min(table, file.size)
            listed = file.read(table, min(count * number.itemsize, file.size - table))
            self._elements = np.frombuffer(listed, number, len(listed) // number.itemsize).tolist()
            self._first = first = _SER_ELEMENT.unpack(self._element(file, 0))
        except (struct.error, IndexError):
            reason = "truncated within the SER header, or no images in it"
            raise FormatError(file.path, reason, frame=0, offset=file.size) from None
        if first[6] not in _SER_TYPES:
            raise FormatError(file.path, f"SER with pixels of type {first[6]} is not supported")
        super().__init__(
            file,
            places=[place + _SER_ELEMENT.size for place in self._elements],
            stored=np.dtype(_SER_TYPES[first[6]]),
            shape=(first[8], first[7]),
            count=count,
            metadata={"pixel_size": first[1] * 1e10} if 0 < first[1] < 1e-3 else {},
        )

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
        return len(element) == _SER_ELEMENT.size and _SER_ELEMENT.unpack(element)[6:] == self._first[6:]

    def _element(self, file: MappedFile, index: int) -> bytes:
        return file.read(min(self._elements[index], file.size), _SER_ELEMENT.size)


class TvipsSource(BlockSource):
    """Frames of one file of a TVIPS recording.

    Only the first, ``_000.tvips``, has a header: it must lie beside the others.
    """

    format = "TVIPS"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        part = _TVIPS_PART.fullmatch(file.path.name)
        if part is None or int(part[2]) == 0:
            head, start = file.read(0, 256), None
        else:
            first = file.path.with_name(f"{part[1]}000{part[3]}")
            check_link(file.path, first, options.follow_links)
            head, start = _tvips_head(first, file.path), 0
        if len(head) < _TVIPS_HEADER.size:
            raise FormatError(file.path, "truncated within the TVIPS header", frame=0, offset=len(head))
        size, version, x, y, bits, *_, header = _TVIPS_HEADER.unpack_from(head)
        if version not in (1, 2):
            raise FormatError(file.path, f"TVIPS of version {version} is not supported")
        if bits not in (8, 16):
            raise FormatError(file.path, f"TVIPS with pixels of {bits} bits is not supported")
        if min(x, y) < 1:
            raise FormatError(file.path, f"damaged TVIPS header: {y} x {x} pixels", frame=0)
        header = header if version == 2 else _TVIPS_FRAME_HEADER
        stored = np.dtype(f"<u{bits // 8}")
        start = (size if start is None else start) + header
        places, count = regular(file, start, header + x * y * stored.itemsize)
        super().__init__(file, places=places, stored=stored, shape=(y, x), count=count, metadata={})


def _tvips_head(first: Path, path: Path) -> bytes:
    try:
        with open(first, "rb") as file:
            return file.read(256)
    except FileNotFoundError:
        raise FormatError(path, f"{first.name}, which holds the header, is not beside it") from None
