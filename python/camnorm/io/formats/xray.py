"""EDF and SMV (ADSC, d*TREK) files of X-ray detectors: text headers, each before bare pixels."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import MappedFile, shown
from camnorm.io.formats.blocks import BlockSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_HEADER = 2**18
_BLOCK = 2**12
_BLANK = b"\0 \t\r\n"
_EDF_END = re.compile(rb"}\r?\n")
_EDF_TYPES = {
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
_SMV_TYPES = {
    "signed char": "i1",
    "unsigned char": "u1",
    "short int": "i2",
    "unsigned short": "u2",
    "unsigned short int": "u2",
    "long int": "i4",
    "unsigned long int": "u4",
    "float": "f4",
    "float ieee": "f4",
}


class _Block(NamedTuple):
    """Pixels of one frame in the file."""

    offset: int
    shape: tuple[int, int]
    stored: np.dtype[Any]


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
            header, start = _edf_header(file, position)
            if header is None:
                return blocks, False, metadata
            if "edf_dataformatversion" in header:
                general = {key: value for key, value in header.items() if not key.startswith("edf_")}
                position = start + _integer(file, header, "edf_binarysize", 0)
                continue
            header = general | header
            block, blob = self._block(file, header, start, len(blocks))
            if not blocks:
                metadata = _pixel_size(header, "psize_1", 1e10)
            blocks.append(block)
            position = start + blob
        return blocks, True, metadata

    def _block(self, file: MappedFile, header: dict[str, str], start: int, index: int) -> tuple[_Block, int]:
        """Pixels behind a header, and the bytes that they and their padding take."""

        def damaged(what: str) -> FormatError:
            return FormatError(file.path, f"damaged EDF header: {what}", frame=index)

        compression = header.get("compression", "none").lower()
        if not compression.startswith("no") or "edf_binaryfilename" in header:
            raise FormatError(file.path, "EDF with pixels compressed or in another file is not supported")
        if _integer(file, header, "dim_3", 1) != 1:
            raise FormatError(file.path, "EDF with images of three dimensions is not supported")
        shape = _integer(file, header, "dim_2"), _integer(file, header, "dim_1")
        if min(shape) < 1:
            raise damaged(f"Dim_1, Dim_2 = {shape[1]}, {shape[0]}")
        code = _EDF_TYPES.get(header.get("datatype", "").lower())
        if code is None:
            raise damaged(f"DataType = {shown(header.get('datatype'))}")
        order = header.get("byteorder", "").lower()
        if not order.startswith(("low", "high")):
            raise damaged(f"ByteOrder = {shown(header.get('byteorder'))}")
        stored = np.dtype(("<" if order.startswith("low") else ">") + code)
        needed = math.prod(shape) * stored.itemsize
        blob = _integer(file, header, "edf_binarysize", _integer(file, header, "size", needed))
        if blob < needed:
            raise damaged(f"{blob} bytes for pixels that take {needed}")
        return _Block(start, shape, stored), blob


class SmvSource(BlockSource):
    """The image of an SMV file, as ADSC detectors and the programs of d*TREK write it."""

    format = "SMV"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        head = file.read(0, _MAX_HEADER)
        told = re.match(rb"{\s*HEADER_BYTES\s*=\s*(\d{1,6})", head)
        if told is None or int(told[1]) > _MAX_HEADER:
            raise FormatError(file.path, "damaged SMV header: no HEADER_BYTES")
        start = int(told[1])
        if start > len(head):
            raise FormatError(file.path, "truncated within the SMV header", frame=0, offset=file.size)
        header = _items(head[1:start].partition(b"}")[0])
        if header.get("compression", "none").lower() != "none":
            compression = shown(header["compression"])
            raise FormatError(file.path, f"SMV with compression {compression} is not supported")
        if _integer(file, header, "dim", 2) != 2:
            raise FormatError(file.path, f"SMV with images of {header['dim']} dimensions is not supported")
        name = header.get("data_type", header.get("type", "")).lower().replace("_", " ")
        if name not in _SMV_TYPES:
            raise FormatError(
                file.path, f"SMV with pixels of type {shown(name or 'unknown')} is not supported"
            )
        order = header.get("byte_order", "little_endian").lower()
        if not order.startswith(("little", "big")):
            raise FormatError(file.path, f"damaged header: BYTE_ORDER = {shown(order)}")
        shape = _integer(file, header, "size2"), _integer(file, header, "size1")
        super().__init__(
            file,
            places=[start],
            stored=np.dtype(("<" if order.startswith("little") else ">") + _SMV_TYPES[name]),
            shape=shape,
            count=1,
            metadata=_pixel_size(header, "pixel_size", 1e7),
        )


def _edf_header(file: MappedFile, position: int) -> tuple[dict[str, str] | None, int]:
    """Keys and values of the header at a position, and where its pixels begin; None if there is no header."""
    text = b""
    while len(text) < _MAX_HEADER:
        piece = file.read(position + len(text), _BLOCK)
        end = _EDF_END.search(text + piece, max(0, len(text) - 2))
        text += piece
        if end is not None:
            before, _, inside = text[: end.start()].partition(b"{")
            return (None if before.strip(_BLANK) or not inside else _items(inside)), position + end.end()
        if not piece:
            break
    return None, position


def _items(text: bytes) -> dict[str, str]:
    """Values of ``key = value;``, by the keys in lower case."""
    header: dict[str, str] = {}
    for item in text.decode("latin-1").split(";"):
        key, equal, value = item.partition("=")
        if equal:
            header[key.strip("\0 \t\r\n").lower()] = value.strip("\0 \t\r\n")
    return header


def _integer(file: MappedFile, header: dict[str, str], key: str, default: int | None = None) -> int:
    value = header.get(key)
    if value is None and default is not None:
        return default
    if value is None or not re.fullmatch(r"\d{1,15}", value):
        raise FormatError(file.path, f"damaged header: {key.upper()} = {shown(value)}")
    return int(value)


def _pixel_size(header: dict[str, str], key: str, angstrom: float) -> dict[str, Any]:
    form = re.match(r"\d*\.?\d+(e[-+]?\d{1,2})?", header.get(key, ""), re.IGNORECASE)
    return {"pixel_size": float(form[0]) * angstrom} if form and float(form[0]) > 0 else {}
