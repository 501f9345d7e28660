"""PNG and JPEG images: one frame a file, decoded whole by imagecodecs."""

from __future__ import annotations

import re
import struct
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import imagecodecs
import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PNG_PLANES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # of each colour type; a palette is decoded to colours
# In coded pixels FF is followed by 00 or a restart mark, so that any other is the next segment.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN = 0xDA
_JPEG_END = 0xD9
_JPEG_BARE = frozenset({0x01, 0xD8})  # markers without a length


class _RasterSource(FrameSource):
    """One frame, of which no more than the structure is looked at before it is read."""

    # More values than a byte of the file can stand for are damage, and not to be allocated.
    _expansion: ClassVar[int]

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        data = file.read(0, file.size)
        with decoding(file.path):
            layout = self._layout(data)
        if layout is None:
            raise FormatError(file.path, f"truncated {self.format}", frame=0, offset=len(data))
        height, width, planes, bits = layout
        if height * width * planes > self._expansion * len(data):
            reason = f"damaged: {len(data)} bytes are too few for an image of {height} x {width}"
            raise FormatError(file.path, reason, frame=0)
        if bits < 8:
            raise FormatError(file.path, f"{self.format} with pixels of {bits} bits is not supported")
        super().__init__(
            file,
            shape=(height, width) if planes == 1 else (height, width, planes),
            dtype=np.dtype(np.uint8 if bits == 8 else np.uint16),
            count=1,
            available=1,
            metadata={},
        )

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        with decoding(self.path, start):
            frame = self._decode(self._file.read(0, self._file.size))
        if frame.shape != self.shape or frame.dtype != self.dtype:
            reason = f"damaged: decoded as {frame.shape} {frame.dtype}, not {self.shape} {self.dtype}"
            raise FormatError(self.path, reason, frame=start)
        return frame[np.newaxis]

    @staticmethod
    @abstractmethod
    def _layout(data: bytes) -> tuple[int, int, int, int] | None:
        """Height, width, planes and bits; None if the file ends before the image does."""

    @staticmethod
    @abstractmethod
    def _decode(data: bytes) -> NDArray[Any]:
        """Decode the file."""


class PngSource(_RasterSource):
    """A PNG image of 8 or 16 bits: gray (y, x), or colour with or without alpha (y, x, c)."""

    format = "PNG"
    _expansion = 1040  # of a deflate stream

    @staticmethod
    def _layout(data: bytes) -> tuple[int, int, int, int] | None:
        chunks = set()
        position = 8  # behind the signature
        while b"IEND" not in chunks:
            if position + 8 > len(data):
                return None
            length, name = struct.unpack_from(">I4s", data, position)
            chunks.add(name)
            position += 12 + length
        if position > len(data):
            return None
        width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
        transparent = b"tRNS" in chunks  # decoded to an alpha plane
        return height, width, _PNG_PLANES.get(colour, 0) + transparent, 8 if colour == 3 else bits

    @staticmethod
    def _decode(data: bytes) -> NDArray[Any]:
        frame: NDArray[Any] = imagecodecs.png_decode(data)
        return frame


class JpegSource(_RasterSource):
    """A JPEG image: gray (y, x), or colour (y, x, c)."""

    format = "JPEG"
    _expansion = 2048  # a blank progressive image needs one bit for 8 x 8 pixels in each of three planes

    @staticmethod
    def _layout(data: bytes) -> tuple[int, int, int, int] | None:
        # libjpeg fills what is missing with gray and does not say so: follow the segments to the end.
        layout = None
        scanned = False
        position = 2  # behind the start mark
        while marker := _JPEG_MARKER.search(data, position):
            code = marker[1][0]
            position = marker.end()
            if code == _JPEG_END:
                return layout if scanned else None
            if code in _JPEG_BARE:
                continue
            if position + 8 > len(data):
                return None
            length, bits, height, width, planes = struct.unpack_from(">HBHHB", data, position)
            if code in _JPEG_START_OF_FRAME:
                layout = height, width, planes, bits
            scanned |= code == _JPEG_START_OF_SCAN
            position += length
        return None

    @staticmethod
    def _decode(data: bytes) -> NDArray[Any]:
        frame: NDArray[Any] = imagecodecs.jpeg_decode(data)
        return frame
