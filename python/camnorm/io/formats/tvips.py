"""Recordings of TVIPS cameras. Rows stay as in the file."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.links import check_link
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import MappedFile
from camnorm.io.formats.blocks import BlockSource, regular

_HEADER = struct.Struct("<13I")
_PART = re.compile(r"(.*_)(\d{3})(\.tvips)", re.IGNORECASE | re.DOTALL)
_FRAME_HEADER = 12  # bytes in version 1; later the header tells


class TvipsSource(BlockSource):
    """Frames of one file of a TVIPS recording.

    Only the first, ``_000.tvips``, has a header: it must lie beside the others.
    """

    format = "TVIPS"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        part = _PART.fullmatch(file.path.name)
        if part is None or int(part[2]) == 0:
            head, start = file.read(0, 256), None
        else:
            first = file.path.with_name(f"{part[1]}000{part[3]}")
            check_link(file.path, first, options.follow_links)
            head, start = _read_head(first, file.path), 0
        if len(head) < _HEADER.size:
            raise FormatError(file.path, "truncated within the TVIPS header", frame=0, offset=len(head))
        size, version, x, y, bits, *_, header = _HEADER.unpack_from(head)
        if version not in (1, 2):
            raise FormatError(file.path, f"TVIPS of version {version} is not supported")
        if bits not in (8, 16):
            raise FormatError(file.path, f"TVIPS with pixels of {bits} bits is not supported")
        if min(x, y) < 1:
            raise FormatError(file.path, f"damaged TVIPS header: {y} x {x} pixels", frame=0)
        header = header if version == 2 else _FRAME_HEADER
        stored = np.dtype(f"<u{bits // 8}")
        start = (size if start is None else start) + header
        places, count = regular(file, start, header + x * y * stored.itemsize)
        super().__init__(file, places=places, stored=stored, shape=(y, x), count=count, metadata={})


def _read_head(first: Path, path: Path) -> bytes:
    try:
        with open(first, "rb") as file:
            return file.read(256)
    except FileNotFoundError:
        raise FormatError(path, f"{first.name}, which holds the header, is not beside it") from None


def _is_tvips(path: Path, head: bytes) -> bool:
    # Files that continue a recording have no mark, only the name.
    return head[52:].startswith(b"TVIPS") or (bool(head) and path.suffix.lower() == ".tvips")


FORMAT = ImageFormat("TVIPS", (".tvips",), f"{__name__}:TvipsSource", recognises=_is_tvips)
