"""Raw files of photographic cameras: DNG and those of the makers (LibRaw, by rawpy)."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import rawpy
import tifffile

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding
from camnorm.io.formats.tiff.reader import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

# More pixels than these for a byte of the file are damage, and not to be allocated.
_PIXELS_PER_BYTE = 64
_MAKE, _MODEL = 271, 272  # tags of TIFF
_DNG_VERSION = 50706
_MAX_PAGES = 16
_JPEG = 7  # compression of TIFF
_RAW_PHOTOMETRICS = (32803, 34892)  # a mosaic of colours, or such made whole
_JPEG_TABLES = 4096  # bytes within which a scan starts
_FIRST_MARKER = 0xC0
_LOSSLESS, _HUFFMAN_TABLES, _START_OF_SCAN = 0xC3, 0xC4, 0xDA
_LOSSY = (0xC0, 0xC1, 0xC2)  # by the discrete cosine transform
_LOSSY_COMPRESSION = 34892


class CameraRawSource(FrameSource):
    """The sensor's pixels as they were read out: one frame of uint16, neither demosaiced nor scaled.

    It is LibRaw's ``raw_image``, the Bayer plane untouched, with the margins around the visible area.
    ``visible`` in the metadata tells where that is: first row, first column, rows and columns.
    ``black_level`` (of each colour of the mosaic), ``white_level``, ``iso``, ``exposure`` (in seconds),
    ``make`` and ``model`` are there if the file tells them.
    """

    format = "camera raw"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        if _is_lossy_dng(file):
            raise FormatError(file.path, "DNG with lossy JPEG compression is not supported")
        with decoding(file.path), rawpy.RawPy() as raw:
            raw.open_file(str(file.path))
            sizes = raw.sizes
            flat = raw.raw_type == rawpy.RawType.Flat
            metadata = _metadata(raw)
        if not flat:
            raise FormatError(file.path, "camera raw with several values a pixel is not supported")
        if sizes.raw_height * sizes.raw_width > _PIXELS_PER_BYTE * file.size:
            reason = f"damaged: {file.size} bytes are too few for {sizes.raw_height} x {sizes.raw_width}"
            raise FormatError(file.path, reason, frame=0)
        maker, self._segments = _describe(file, (sizes.raw_height, sizes.raw_width))
        super().__init__(
            file,
            shape=(sizes.raw_height, sizes.raw_width),
            dtype=np.dtype(np.uint16),
            count=1,
            available=1,
            metadata=metadata | maker,
        )

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        # LibRaw passes over JPEG that does not begin or is too small: pixels are what was in memory.
        found = [_jpeg_values(self._file.read(offset, _JPEG_TABLES)) for offset in self._segments]
        if found and (min(found) == 0 or sum(found) < math.prod(self.shape)):
            raise FormatError(
                self.path, "damaged or truncated: no lossless JPEG where it should be", frame=start
            )
        with decoding(self.path, start), rawpy.RawPy() as raw:
            raw.open_file(str(self.path))
            raw.unpack()
            if raw.raw_image is None:
                raise FormatError(self.path, "camera raw without a Bayer plane", frame=start)
            frame: NDArray[Any] = raw.raw_image.copy()  # which ends with the object
        if frame.shape != self.shape:
            raise FormatError(self.path, f"damaged: decoded as {frame.shape}, not {self.shape}", frame=start)
        return frame[np.newaxis]


def _metadata(raw: rawpy.RawPy) -> dict[str, Any]:
    sizes = raw.sizes
    metadata: dict[str, Any] = {
        "visible": (sizes.top_margin, sizes.left_margin, sizes.height, sizes.width),
        "black_level": [int(level) for level in raw.black_level_per_channel],
    }
    if raw.white_level:
        metadata["white_level"] = int(raw.white_level)
    shot = getattr(raw, "other", None)  # not in versions before 2025
    for name, value in (("iso", "iso_speed"), ("exposure", "shutter_speed")):
        if getattr(shot, value, 0) > 0:
            metadata[name] = float(getattr(shot, value))
    return metadata


def _describe(file: MappedFile, shape: tuple[int, int]) -> tuple[dict[str, Any], list[int]]:
    """Make and model, which rawpy does not give, and where lossless JPEG begins; of files like TIFF."""
    metadata: dict[str, Any] = {}
    is_dng = file.path.suffix.lower() == ".dng"
    with suppress(FormatError), reading(file, 0), tifffile.TiffFile(file.path) as tiff:
        tags = tiff.pages.first.tags
        told = {"make": tags.valueof(_MAKE), "model": tags.valueof(_MODEL)}
        metadata = {name: value for name, value in told.items() if isinstance(value, str)}
        version = tags.valueof(_DNG_VERSION)
        is_dng = is_dng or version is not None
        if is_dng and version[0] == 1:
            page = next(page for page in _pages(tiff) if (page.imagelength, page.imagewidth) == shape)
            if len(page.dataoffsets) == math.prod(page.chunked):
                return metadata, list(page.dataoffsets) if page.compression == _JPEG else []
    if is_dng:
        raise FormatError(file.path, "damaged DNG: its directory does not describe the image", frame=0)
    return metadata, []


def _is_lossy_dng(file: MappedFile) -> bool:
    """Whether the image of a DNG is compressed by lossy JPEG, of 8 bits or 12; previews do not matter."""
    with suppress(FormatError), reading(file, 0), tifffile.TiffFile(file.path) as tiff:
        if tiff.pages.first.tags.valueof(_DNG_VERSION) is None:
            return False
        for page in _pages(tiff):
            if page.photometric in _RAW_PHOTOMETRICS and page.dataoffsets:
                head = file.read(page.dataoffsets[0], _JPEG_TABLES)
                return page.compression == _LOSSY_COMPRESSION or (
                    page.compression == _JPEG and _frame_marker(head) in _LOSSY
                )
    return False


def _pages(tiff: tifffile.TiffFile) -> list[Any]:
    pages = [tiff.pages.first, *islice(tiff.pages, 1, _MAX_PAGES)]
    return pages + [page for above in pages for page in islice(above.pages or (), _MAX_PAGES)]


def _frame_marker(head: bytes) -> int:
    """Marker of the kind of a JPEG stream; 0 if there is none."""
    position = 2
    while position + 4 <= len(head):
        code, length = head[position + 1], int.from_bytes(head[position + 2 : position + 4], "big")
        if code == _LOSSLESS or code in _LOSSY:
            return code
        position += 2 + length
    return 0


def _jpeg_values(head: bytes) -> int:
    """Number of values that a lossless JPEG stream announces; 0 if it is damaged before the scan."""
    values = planes = 0
    tables: set[int] = set()
    position = 2
    while head[:2] == b"\xff\xd8" and position + 10 <= len(head):
        marker, code, length = struct.unpack_from(">BBH", head, position)
        segment = head[position + 4 : position + 2 + length]
        if marker != 0xFF or code < _FIRST_MARKER:
            return 0
        if code == _LOSSLESS:
            bits, height, width, planes = struct.unpack_from(">BHHB", head, position + 4)
            values = height * width * planes if 2 <= bits <= 16 and planes <= 4 else 0
        elif code == _HUFFMAN_TABLES:
            found = _huffman_tables(segment)
            if not found:
                return 0
            tables |= found
        elif code == _START_OF_SCAN:
            whole = len(segment) == 4 + 2 * planes and segment[0] == planes and 1 <= segment[-3] <= 7
            return values if whole and 0 in tables else 0
        position += 2 + length
    return 0


def _huffman_tables(segment: bytes) -> set[int]:
    """Numbers of the tables in a segment; none if the codes of one do not fit their lengths."""
    tables = set()
    while len(segment) > 17:
        table, counts = segment[0], segment[1:17]
        free = 1  # codes of a length that no shorter code begins
        for count in counts:
            free = 2 * free - count
            if free < 0:
                return set()
        end = 17 + sum(counts)
        if table > 3 or end == 17 or end > len(segment) or max(segment[17:end]) > 16:
            return set()
        tables.add(table)
        segment = segment[end:]
    return set() if segment else tables
