"""JPEG images (imagecodecs)."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import imagecodecs

from camnorm.io.formats.raster.reader import RasterSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In coded pixels FF is followed by 00 or a restart mark, so that any other is the next segment.
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_END = 0xD9
_BARE = frozenset({0x01, 0xD8})  # markers without a length


class JpegSource(RasterSource):
    """A JPEG image: gray (y, x), or colour (y, x, c)."""

    format = "JPEG"
    _expansion = 2048  # a blank progressive image needs one bit for 8 x 8 pixels in each of three planes

    @staticmethod
    def _layout(data: bytes) -> tuple[int, int, int, int] | None:
        # libjpeg fills what is missing with gray and does not say so: follow the segments to the end.
        layout = None
        scanned = False
        position = 2  # behind the start mark
        while marker := _MARKER.search(data, position):
            code = marker[1][0]
            position = marker.end()
            if code == _END:
                return layout if scanned else None
            if code in _BARE:
                continue
            if position + 8 > len(data):
                return None
            length, bits, height, width, planes = struct.unpack_from(">HBHHB", data, position)
            if code in _START_OF_FRAME:
                layout = height, width, planes, bits
            scanned |= code == _START_OF_SCAN
            position += length
        return None

    @staticmethod
    def _decode(data: bytes) -> NDArray[Any]:
        frame: NDArray[Any] = imagecodecs.jpeg_decode(data)
        return frame
