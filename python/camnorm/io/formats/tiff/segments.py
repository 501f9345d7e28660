"""Pages whose strips or tiles the core decodes, instead of tifffile and imagecodecs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from camnorm.io.base.located import Encoding
from camnorm.io.base.zstd import has_zstd

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NATIVE = "<" if sys.byteorder == "little" else ">"
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate"}
_ZSTD = (34926, 50000)


def encoding_of(page: tifffile.TiffPage, *, nibbles: bool) -> Encoding | None:
    """How the pixels of a page are written; None if the core cannot decode them."""
    compression = _COMPRESSIONS.get(page.compression)
    if page.compression in _ZSTD and has_zstd():
        compression = "zstd"
    dtype = np.dtype(page.dtype)
    integer = dtype.kind in "iu" and dtype.itemsize <= 4
    if (
        compression is None
        or page.imagedepth != 1
        or page.bitspersample != 8 * dtype.itemsize
        or not (page.predictor == 1 or (page.predictor == 2 and integer))
    ):
        return None
    height, width = page.imagelength, page.imagewidth
    if page.is_tiled:
        if page.tiledepth != 1:
            return None
        height, width = page.tilelength, page.tilewidth
    else:
        height = min(height, page.rowsperstrip)
    return Encoding(
        compression=compression,
        differences=page.predictor == 2,
        reversed_bits=page.fillorder == 2,
        swapped_bytes=dtype.itemsize > 1 and page.parent.byteorder != _NATIVE,
        nibbles=nibbles,
        segment_height=int(height),
        segment_width=int(width),
    )


def segments_of(pages: Sequence[tifffile.TiffPage], planes: int) -> NDArray[np.int64]:
    """Offset and number of bytes of each segment of each plane that is stored apart.

    Shape (pages * planes, segments, 2).
    """
    segments = np.array([(page.dataoffsets, page.databytecounts) for page in pages], np.int64)
    return np.ascontiguousarray(segments.reshape(len(pages), 2, planes, -1).transpose(0, 2, 3, 1)).reshape(
        len(pages) * planes, -1, 2
    )
