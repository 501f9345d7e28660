"""NumPy's NPY files."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.containers import frame_axes
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import FrameSource, MappedFile
from camnorm.io.formats.bysize import count_frames, too_long

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARK = b"\x93NUMPY"
_MAX_HEADER = 10_000  # the limit of NumPy's own reader
_MAX_DIGITS = 20  # of a length; Python refuses to read thousands
# The header is a literal of Python in a fixed form; read as text, nothing of it is ever evaluated.
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*(['"][^'"]*['"]|\[.*\])""", re.DOTALL)
_PLAIN = re.compile(r"""['"]([<>|=][a-z]\d+)['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d\sL,]*)\)""")


class NpySource(FrameSource):
    """An array in an NPY file, mapped from the file.

    `frame_axes` tells which axes are those of a frame; all others count frames, in C order.
    """

    format = "NPY"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._offset, self._stored, self._fortran, shape = _read_header(file)
        if len(shape) < 2:
            raise FormatError(file.path, f"an array of shape {shape} is neither a frame nor a stack")
        axes = frame_axes(shape)
        frame, self._leading = shape[-axes:], shape[:-axes]
        frame_bytes = max(1, math.prod(frame) * self._stored.itemsize)
        count = self._check_size(file, frame_bytes, math.prod(self._leading))
        whole = max(0, file.size - self._offset) // frame_bytes
        super().__init__(
            file,
            shape=frame,
            dtype=self._stored,
            count=count,
            # In Fortran order every frame reaches to the end of the file.
            available=whole if not self._fortran or whole >= count else 0,
            metadata={},
        )

    def _check_size(self, file: MappedFile, frame_bytes: int, count: int) -> int:
        """Number of frames: those of the header, unless the file holds more."""
        end = self._offset + count * frame_bytes
        if end < file.size and file.read(end, len(_MARK)) == _MARK:
            reason = "several arrays in one file: save each in a file of its own"
            raise FormatError(file.path, reason, offset=end)
        found, self.remarks = count_frames(file, self._offset, frame_bytes, count)
        if found > count and self._fortran:
            raise FormatError(file.path, too_long(file.size - end))
        return found

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None in Fortran order or if their byte order is foreign."""
        if self._fortran or not self._stored.isnative:
            return None
        return self._offset + np.arange(self.available) * math.prod(self.shape) * self._stored.itemsize

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        if self._fortran:
            shape = (*self._leading, *self.shape)
            array = self._file.map(self._offset, shape, self._stored, fortran=True)
            if len(self._leading) == 1:
                return array[start:stop]
            # Not by reshape(), which would copy all frames.
            return np.stack([array[np.unravel_index(n, self._leading)] for n in range(start, stop)])
        frame_bytes = math.prod(self.shape) * self._stored.itemsize
        return self._file.map(self._offset + start * frame_bytes, (stop - start, *self.shape), self._stored)


def _read_header(file: MappedFile) -> tuple[int, np.dtype[Any], bool, tuple[int, ...]]:
    """Offset of the pixels, dtype as stored, whether in Fortran order, shape (numpy.lib.format)."""
    head = file.read(0, 12 + _MAX_HEADER)
    start = 10 if head[6:7] == b"\1" else 12
    length = int.from_bytes(head[8:start], "little")
    if length > _MAX_HEADER:
        raise FormatError(file.path, f"damaged NPY header: {length} bytes long", offset=8)
    if start + length > len(head):
        raise FormatError(file.path, "truncated within the NPY header", frame=0, offset=len(head))
    text = head[start : start + length].decode("latin-1")
    descr, order, shape = (pattern.search(text) for pattern in (_DESCR, _ORDER, _SHAPE))
    if descr is None or order is None or shape is None:
        raise FormatError(file.path, "damaged NPY header: no dtype, order or shape", offset=start)
    plain = _PLAIN.fullmatch(descr[1])
    if plain is None or plain[1][1] not in "biufc":
        raise FormatError(file.path, f"NPY with pixels of type {descr[1]} is not supported")
    try:
        dtype = np.dtype(plain[1])
    except TypeError:
        raise FormatError(file.path, f"damaged NPY header: dtype {descr[1]}", offset=start) from None
    sizes = tuple(int(size[:_MAX_DIGITS]) for size in re.findall(r"\d+", shape[1]))
    return start + length, dtype, order[1] == "True", sizes


FORMAT = ImageFormat("NPY", (".npy",), f"{__name__}:NpySource", (_MARK,))
