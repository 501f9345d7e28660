"""MIB files of Merlin detectors. Rows stay as in the file."""

from __future__ import annotations

import re

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import MappedFile, shown
from camnorm.io.formats.blocks import BlockSource, regular

_MARK = b"MQ1,"
_TYPES = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}


class MibSource(BlockSource):
    """Frames of a MIB file (Merlin detectors), each behind a header of its own."""

    format = "MIB"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        fields = file.read(0, 384).decode("latin-1").split(",")
        if len(fields) < 8:
            raise FormatError(file.path, "truncated within the MIB header", frame=0, offset=file.size)
        header, _, x, y, kind = fields[2:7]
        if not all(re.fullmatch(r"0*[1-9]\d{0,5}", value) for value in (header, x, y)):
            told = ", ".join(map(shown, (header, x, y)))
            raise FormatError(file.path, f"damaged MIB header: {told}", frame=0)
        if kind not in _TYPES:
            raise FormatError(file.path, f"MIB with pixels of type {shown(kind)} is not supported")
        stored = np.dtype(_TYPES[kind])
        places, count = regular(file, int(header), int(header) + int(x) * int(y) * stored.itemsize)
        super().__init__(file, places=places, stored=stored, shape=(int(y), int(x)), count=count, metadata={})
        # All headers are where they must be if the last one is.
        last = self._places[self.available - 1] - int(header)
        if file.read(last, len(_MARK)) != _MARK:
            reason = "damaged: no header before the frame, which begins elsewhere or is of another size"
            raise FormatError(file.path, reason, frame=self.available - 1, offset=last)


FORMAT = ImageFormat("MIB", (".mib",), f"{__name__}:MibSource", (_MARK,))
