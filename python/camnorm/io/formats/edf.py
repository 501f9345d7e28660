"""EDF files (ESRF data format) of X-ray detectors: a text header before the pixels of each image."""

from __future__ import annotations

import math
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import MappedFile, shown
from camnorm.io.formats.blocks import BlockSource
from camnorm.io.formats.bysize import count_frames, is_padding, too_long
from camnorm.io.formats.textheader import integer_of, items_of, pixel_size_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_HEADER = 2**18
_BLOCK = 2**12
_BLANK = b"\0 \t\r\n"
_KEY = re.compile(rb"(EDF_\w+|HeaderID|ByteOrder|DataType|Dim_1)\s*=", re.IGNORECASE)
_END = re.compile(rb"}\r?\n")
_TYPES = {
    "signedbyte": "i1",
    "signed8": "i1",
    "unsignedbyte": "u1",
    "unsigned8": "u1",
    "signedshort": "i2",
    "signed16": "i2",
    "unsignedshort": "u2",
    "unsignedshortinteger": "u2",
    "unsigned16": "u2",
    "signedinteger": "i4",
    "signedlong": "i4",
    "signed32": "i4",
    "unsignedinteger": "u4",
    "unsignedlong": "u4",
    "unsigned32": "u4",
    "signed64": "i8",
    "unsigned64": "u8",
    "floatvalue": "f4",
    "float": "f4",
    "floatieee32": "f4",
    "float32": "f4",
    "double": "f8",
    "doublevalue": "f8",
    "floatieee64": "f8",
    "doubleieee64": "f8",
}
_ORDERS = {"lowbytefirst": "<", "highbytefirst": ">"}
_UNCOMPRESSED = ("none", "no", "nocompression")


class _Block(NamedTuple):
    """Pixels of one frame in the file."""

    offset: int
    shape: tuple[int, int]
    stored: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Bytes of the pixels, without padding."""
        return math.prod(self.shape) * self.stored.itemsize


class EdfSource(BlockSource):
    """Images of an EDF file (ESRF data format), uncompressed. All must be like the first."""

    format = "EDF"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._blocks, complete, metadata = self._find(file)
        if not self._blocks:
            reason = "damaged, or truncated within the EDF header"
            raise FormatError(file.path, reason, frame=0, offset=file.size)
        super().__init__(
            file,
            places=[block.offset for block in self._blocks],
            stored=self._blocks[0].stored,
            shape=self._blocks[0].shape,
            count=len(self._blocks) + (not complete),
            metadata=metadata,
        )

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if their byte order is foreign, or one is of another kind."""
        alike = all(self._is_like_the_first(block) for block in self._blocks[: self.available])
        return super().offsets if alike else None

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        for index, block in enumerate(self._blocks[start:stop], start):
            if not self._is_like_the_first(block):
                kind = f"{block.shape} {block.stored.name}"
                reason = f"a frame of shape {kind}; the first is {self.shape} {self.dtype}"
                raise FormatError(self.path, reason, frame=index)
        return super()._frames(start, stop)

    def _is_like_the_first(self, block: _Block) -> bool:
        return (block.shape, block.stored) == (self.shape, self._stored)

    def _find(self, file: MappedFile) -> tuple[list[_Block], bool, dict[str, Any]]:
        """Pixels of all frames, whether the file goes no further, and what the first header tells."""
        blocks: list[_Block] = []
        metadata: dict[str, Any] = {}
        general: dict[str, str] = {}  # of the block that may stand first, for all
        position, size = 0, file.size
        while position < size:
            if not file.read(position, _BLOCK).strip(_BLANK):
                break  # padding at the end
            header, start = _read_header(file, position)
            if header is None and blocks and not file.read(position, _BLOCK).strip(_BLANK).startswith(b"{"):
                return self._without_headers(file, blocks, position), True, metadata
            if header is None:
                return blocks, False, metadata
            if "edf_dataformatversion" in header:
                general = {key: value for key, value in header.items() if not key.startswith("edf_")}
                position = start + integer_of(file, header, "edf_binarysize", 0)
                continue
            header = general | header
            block, blob = self._block(file, header, start, len(blocks))
            if not blocks:
                metadata = pixel_size_of(header, "psize_1", 1e10)
            blocks.append(block)
            position = start + blob
        return blocks, True, metadata

    def _without_headers(self, file: MappedFile, blocks: list[_Block], end: int) -> list[_Block]:
        """The only block, and frames behind it that no header counts; FormatError if they are none."""
        first = blocks[0]
        if len(blocks) > 1 or end != first.offset + first.bytes:
            raise FormatError(file.path, too_long(file.size - end))
        count, self.remarks = count_frames(file, first.offset, first.bytes, 1)
        return [first._replace(offset=first.offset + index * first.bytes) for index in range(count)]

    def _block(self, file: MappedFile, header: dict[str, str], start: int, index: int) -> tuple[_Block, int]:
        """Pixels behind a header, and the bytes that they and their padding take."""

        def damaged(what: str) -> FormatError:
            return FormatError(file.path, f"damaged EDF header: {what}", frame=index)

        compression = header.get("compression", "none").lower()
        if compression not in _UNCOMPRESSED or "edf_binaryfilename" in header:
            raise FormatError(file.path, "EDF with pixels compressed or in another file is not supported")
        if integer_of(file, header, "dim_3", 1) != 1:
            raise FormatError(file.path, "EDF with images of three dimensions is not supported")
        shape = integer_of(file, header, "dim_2"), integer_of(file, header, "dim_1")
        if min(shape) < 1:
            raise damaged(f"Dim_1, Dim_2 = {shape[1]}, {shape[0]}")
        code = _TYPES.get(header.get("datatype", "").lower())
        if code is None:
            raise damaged(f"DataType = {shown(header.get('datatype'))}")
        order = header.get("byteorder", "").lower()
        if order not in _ORDERS:
            raise damaged(f"ByteOrder = {shown(header.get('byteorder'))}")
        made = _Block(start, shape, np.dtype(_ORDERS[order] + code))
        needed = made.bytes
        blob = integer_of(file, header, "edf_binarysize", integer_of(file, header, "size", needed))
        if blob < needed:
            raise damaged(f"{blob} bytes for pixels that take {needed}")
        if blob > needed and start + blob <= file.size and not is_padding(file, start + needed, start + blob):
            raise damaged(f"{blob} bytes for pixels that take {needed}, which are more than padding")
        return made, blob


def _read_header(file: MappedFile, position: int) -> tuple[dict[str, str] | None, int]:
    """Keys and values of the header at a position, and where its pixels begin; None if there is no header."""
    text = b""
    while len(text) < _MAX_HEADER:
        piece = file.read(position + len(text), _BLOCK)
        end = _END.search(text + piece, max(0, len(text) - 2))
        text += piece
        if end is not None:
            before, _, inside = text[: end.start()].partition(b"{")
            return (None if before.strip(_BLANK) or not inside else items_of(inside)), position + end.end()
        if not piece:
            break
    return None, position


def _is_edf(path: Path, head: bytes) -> bool:
    return head.lstrip()[:1] == b"{" and _KEY.search(head) is not None


FORMAT = ImageFormat("EDF", (".edf",), f"{__name__}:EdfSource", recognises=_is_edf)
