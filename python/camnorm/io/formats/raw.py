"""Files of bare pixels, of which the user tells the layout."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.source import FrameSource, MappedFile

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RawSource(FrameSource):
    """Frames one after another, as `RawLayout` tells."""

    format = "raw"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        layout = options.raw
        assert layout is not None
        self._stored: np.dtype[Any] = layout.dtype
        self._offset = layout.offset
        frame_bytes = math.prod(layout.shape) * layout.dtype.itemsize
        count, rest = divmod(max(0, file.size - layout.offset), max(1, frame_bytes))
        if rest and count:
            raise FormatError(
                file.path,
                f"{file.size} bytes are not {layout.offset} and a whole number of frames of {frame_bytes}",
            )
        super().__init__(
            file,
            shape=layout.shape,
            dtype=layout.dtype,
            count=max(1, count),
            available=count,
            metadata={},
        )

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if their byte order is foreign."""
        if not self._stored.isnative:
            return None
        return self._offset + np.arange(self.available) * math.prod(self.shape) * self._stored.itemsize

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frame_bytes = math.prod(self.shape) * self._stored.itemsize
        return self._file.map(self._offset + start * frame_bytes, (stop - start, *self.shape), self._stored)


# Nothing but the options can identify a file of bare pixels.
FORMAT = ImageFormat("raw", (), f"{__name__}:RawSource")
