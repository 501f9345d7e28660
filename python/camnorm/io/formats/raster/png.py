"""PNG images (imagecodecs)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import imagecodecs

from camnorm.io.formats.raster.reader import RasterSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLANES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # of each colour type; a palette is decoded to colours


class PngSource(RasterSource):
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
        return height, width, _PLANES.get(colour, 0) + transparent, 8 if colour == 3 else bits

    @staticmethod
    def _refusal(data: bytes) -> str:
        # The chunk stands before the pixels, in which its name may occur by chance.
        animated = b"acTL" in data[: data.find(b"IDAT")]
        return "animated PNG is not supported: only its first image would be read" if animated else ""

    @staticmethod
    def _decode(data: bytes) -> NDArray[Any]:
        frame: NDArray[Any] = imagecodecs.png_decode(data)
        return frame
