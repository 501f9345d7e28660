"""SMV files of X-ray detectors, as ADSC detectors and the programs of d*TREK write them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import MappedFile, shown
from camnorm.io.formats.blocks import BlockSource
from camnorm.io.formats.bysize import count_frames
from camnorm.io.formats.textheader import integer_of, items_of, pixel_size_of

_MAX_HEADER = 2**18
_START = re.compile(rb"{\s*HEADER_BYTES\s*=")
_TYPES = {
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
_ORDERS = {"little_endian": "<", "big_endian": ">"}


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
        header = items_of(head[1:start].partition(b"}")[0])
        if header.get("compression", "none").lower() != "none":
            compression = shown(header["compression"])
            raise FormatError(file.path, f"SMV with compression {compression} is not supported")
        if integer_of(file, header, "dim", 2) != 2:
            raise FormatError(file.path, f"SMV with images of {header['dim']} dimensions is not supported")
        name = header.get("data_type", header.get("type", "")).lower().replace("_", " ")
        if name not in _TYPES:
            raise FormatError(
                file.path, f"SMV with pixels of type {shown(name or 'unknown')} is not supported"
            )
        order = header.get("byte_order", "missing").lower()
        if order not in _ORDERS:
            raise FormatError(file.path, f"SMV with BYTE_ORDER = {shown(order)} is not supported")
        stored = np.dtype(_ORDERS[order] + _TYPES[name])
        shape = integer_of(file, header, "size2"), integer_of(file, header, "size1")
        frame_bytes = max(1, math.prod(shape) * stored.itemsize)
        count, self.remarks = count_frames(file, start, frame_bytes, 1)
        super().__init__(
            file,
            places=range(start, start + count * frame_bytes, frame_bytes),
            stored=stored,
            shape=shape,
            count=count,
            metadata=pixel_size_of(header, "pixel_size", 1e7),
        )


def _is_smv(path: Path, head: bytes) -> bool:
    return _START.match(head) is not None


FORMAT = ImageFormat("SMV", (".img",), f"{__name__}:SmvSource", recognises=_is_smv)
