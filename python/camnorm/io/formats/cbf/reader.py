"""CBF and miniCBF files of pixel-array detectors (the decoder of fabio)."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from fabio.ext import byte_offset

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_HEADER = 2**18
_BEYOND = 8
_SECTION = re.compile(rb"--CIF-BINARY-FORMAT-SECTION--\s(.*?)\x0c\x1a\x04\xd5", re.DOTALL)
_KEY = re.compile(r"""([\w-]+)\s*[:=]\s*"?([^"\r\n;]*)""")
_PIXEL_SIZE = re.compile(rb"Pixel_size\s+(\d*\.?\d+(?:e[-+]?\d{1,2})?)\s+m", re.IGNORECASE)
_TYPES = {
    f"{sign}signed {bits}-bit integer": f"{code}{bits // 8}"
    for sign, code in (("", "i"), ("un", "u"))
    for bits in (8, 16, 32, 64)
}


class _Section(NamedTuple):
    """One image in the file."""

    offset: int
    size: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    md5: str


class CbfSource(FrameSource):
    """Images of a CBF file, in most files one, compressed by byte offsets.

    Pixels that the detector masks stay what they are: in files of Dectris -1 for gaps and -2 for bad ones.
    """

    format = "CBF"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._sections = _sections(file)
        if not self._sections:
            raise FormatError(file.path, "damaged, or truncated within the CBF header", frame=0)
        first, last = self._sections[0], self._sections[-1]
        told = _PIXEL_SIZE.search(file.read(0, first.offset))
        super().__init__(
            file,
            shape=first.shape,
            dtype=first.dtype,
            count=len(self._sections),
            available=len(self._sections) - (last.offset + last.size > file.size),
            metadata={"pixel_size": float(told[1]) * 1e10} if told else {},
        )

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frames = np.empty((stop - start, *self.shape), self.dtype)
        for index, frame in enumerate(frames, start):
            frame[...] = self._decode(self._sections[index], index)
        return frames

    def _decode(self, section: _Section, index: int) -> NDArray[Any]:
        if (section.shape, section.dtype) != (self.shape, self.dtype):
            reason = f"a frame of {section.shape} {section.dtype}; the first is {self.shape} {self.dtype}"
            raise FormatError(self.path, reason, frame=index)
        data = self._file.read(section.offset, section.size)
        if section.md5 and section.md5 != _md5(data):
            raise FormatError(self.path, "damaged: the pixels do not have the checksum", frame=index)
        count = math.prod(self.shape)
        decode = byte_offset.dec_cbf32 if self.dtype == np.int32 else byte_offset.dec_cbf
        with decoding(self.path, index):
            # The decoder may look that far beyond the end of damaged data.
            values: NDArray[Any] = np.asarray(decode(data + bytes(_BEYOND), count + _BEYOND))
        if len(values) < count + _BEYOND:
            raise FormatError(self.path, f"damaged: {section.size} bytes hold no {count} pixels", frame=index)
        values = values[:count]
        frame = values.astype(self.dtype)
        # Differences of 32 bits are modulo 2**32, whatever the sign.
        if self.dtype.itemsize < 4 and not np.array_equal(frame, values):
            raise FormatError(self.path, f"damaged: pixels outside the range of {self.dtype}", frame=index)
        return frame.reshape(self.shape)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


def _sections(file: MappedFile) -> list[_Section]:
    sections: list[_Section] = []
    position = 0
    while found := _SECTION.search(file.read(position, _MAX_HEADER)):
        header = {key.lower(): value.strip() for key, value in _KEY.findall(found[1].decode("latin-1"))}
        section = _section(file, header, position + found.end(), len(sections))
        sections.append(section)
        position = section.offset + section.size
    return sections


def _section(file: MappedFile, header: dict[str, str], offset: int, index: int) -> _Section:
    def integer(key: str) -> int:
        value = header.get(key, "")
        if not re.fullmatch(r"\d{1,15}", value):
            raise FormatError(file.path, f"damaged CBF header: {key} = {shown(value or None)}", frame=index)
        return int(value)

    conversions = header.get("conversions", "none")
    binary = header.get("content-transfer-encoding", "").upper() == "BINARY"
    if conversions.lower() != "x-cbf_byte_offset" or not binary:
        raise FormatError(file.path, f"CBF with conversions {shown(conversions)} is not supported")
    order = header.get("x-binary-element-byte-order", "LITTLE_ENDIAN")  # the default of the standard
    if order.upper() != "LITTLE_ENDIAN":
        raise FormatError(file.path, f"CBF with pixels in the order {shown(order)} is not supported")
    if header.get("x-binary-size-third-dimension", "1").strip("0") != "1":
        raise FormatError(file.path, "CBF with images of three dimensions is not supported")
    element = header.get("x-binary-element-type", "unknown")
    if element.lower() not in _TYPES:
        raise FormatError(file.path, f"CBF with pixels of type {shown(element)} is not supported")
    dtype = np.dtype(_TYPES[element.lower()])
    shape = integer("x-binary-size-second-dimension"), integer("x-binary-size-fastest-dimension")
    size = integer("x-binary-size")
    if math.prod(shape) > size:  # each pixel takes a byte at least
        raise FormatError(
            file.path,
            f"damaged CBF header: {size} bytes are too few for {shape[0]} x {shape[1]}",
            frame=index,
        )
    return _Section(offset, size, shape, dtype, header.get("content-md5", ""))
