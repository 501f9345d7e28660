"""Image files of one frame, decoded as a whole."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RasterSource(FrameSource):
    """One frame, of which only the structure is checked before it is read."""

    # More values than a byte of the file can stand for are damage, and not to be allocated.
    _expansion: ClassVar[int]

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        data = file.read(0, file.size)
        with decoding(file.path):
            layout = self._layout(data)
        if layout is None:
            raise FormatError(file.path, f"truncated {self.format}", frame=0, offset=len(data))
        if reason := self._refusal(data):
            raise FormatError(file.path, reason)
        height, width, planes, bits = layout
        if height * width * planes > self._expansion * len(data):
            reason = f"damaged: {len(data)} bytes are too few for an image of {height} x {width}"
            raise FormatError(file.path, reason, frame=0)
        if bits < 8:
            raise FormatError(file.path, f"{self.format} with pixels of {bits} bits is not supported")
        super().__init__(
            file,
            shape=(height, width) if planes == 1 else (height, width, planes),
            dtype=np.dtype(np.uint8 if bits == 8 else np.uint16),
            count=1,
            available=1,
            metadata={},
        )

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        with decoding(self.path, start):
            frame = self._decode(self._file.read(0, self._file.size))
        if frame.shape != self.shape or frame.dtype != self.dtype:
            reason = f"damaged: decoded as {frame.shape} {frame.dtype}, not {self.shape} {self.dtype}"
            raise FormatError(self.path, reason, frame=start)
        return frame[np.newaxis]

    @staticmethod
    def _refusal(data: bytes) -> str:
        """Why a file of the format is not supported; empty if it is."""
        return ""

    @staticmethod
    @abstractmethod
    def _layout(data: bytes) -> tuple[int, int, int, int] | None:
        """Height, width, planes and bits; None if the file ends before the image does."""

    @staticmethod
    @abstractmethod
    def _decode(data: bytes) -> NDArray[Any]:
        """Decode the file."""
