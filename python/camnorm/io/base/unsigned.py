"""Integers of 16 bits that a file calls signed, taken for the unsigned counts that they are."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.io.base.options import ReadOptions
from camnorm.io.base.rows import WrappedSource
from camnorm.io.base.source import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray


class UnsignedSource(WrappedSource):
    """Frames of another source of int16 pixels, their bits taken for uint16."""

    def __init__(self, inner: FrameSource) -> None:
        super().__init__(inner, np.dtype(np.uint16))

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if they do not lie there as in memory."""
        return self._inner.offsets

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        return self._inner_frames(start, stop).view(np.uint16)


def as_unsigned(source: FrameSource, options: ReadOptions) -> FrameSource:
    """Take int16 pixels for uint16 if the options say so."""
    if options.int16 == "unsigned" and source.dtype == np.int16:
        return UnsignedSource(source)
    return source
