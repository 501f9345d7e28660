"""Frames that stay in their files until the core reads or decodes them, block by block."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core
from camnorm.errors import Error

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


class Descriptor:
    """Number of an open file, which is closed with the last reference."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@dataclass(frozen=True, eq=False)
class LocatedFrames(ABC):
    r"""Frames of one file, like an array of shape (n, \*shape) whose pixels are read where they are used."""

    file: Descriptor
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, and shape of each."""
        return (len(self), *self.frame_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    @abstractmethod
    def layout(self) -> Hashable:
        """What frames must have in common to be used in one go."""

    @classmethod
    @abstractmethod
    def together(cls, parts: Sequence[Self]) -> _core.StoredFrames | _core.EncodedFrames:
        """Frames of one layout, as the core takes them; `parts` must live as long."""

    @abstractmethod
    def read(self) -> NDArray[Any]:
        """Read all into memory.

        Raises
        ------
        Error
            A frame cannot be read.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, frames: slice) -> Self: ...


@dataclass(frozen=True, eq=False)
class StoredFrames(LocatedFrames):
    """Frames that lie in the file as they do in memory, in native byte order."""

    offsets: NDArray[np.int64]
    """Of each frame in the file, in bytes."""

    @property
    def layout(self) -> Hashable:
        """What frames must have in common to be used in one go."""
        return self.dtype, self.frame_shape

    @classmethod
    def together(cls, parts: Sequence[Self]) -> _core.StoredFrames:
        """Frames of one layout, as the core takes them."""
        places = [(part.file.number, offset) for part in parts for offset in part.offsets.tolist()]
        return _core.StoredFrames(places, parts[0].dtype, parts[0].frame_shape)

    def read(self) -> NDArray[Any]:
        """Read all into memory."""
        size = self.nbytes // max(len(self), 1)
        data = b"".join(os.pread(self.file.number, size, offset) for offset in self.offsets.tolist())
        if len(data) < self.nbytes:
            raise Error("a file has shrunk while it was read; nothing was written")
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, frames: slice) -> StoredFrames:
        return replace(self, offsets=self.offsets[frames])


@dataclass(frozen=True)
class Encoding:
    """How frames are written in segments, strips of rows or tiles: the fields of `camnorm::Encoding`."""

    compression: str
    """none, lzw, deflate, or zstd if `camnorm.io.base.zstd` finds its library."""
    differences: bool
    """Whether each value is less the one to its left, of the same plane (predictor 2 of TIFF)."""
    reversed_bits: bool
    """Whether the lowest bit of each byte comes first (fill order 2 of TIFF)."""
    swapped_bytes: bool
    """Whether values are in another byte order than the machine's."""
    nibbles: bool
    """Whether each byte holds two pixels, the left one in the low bits."""
    segment_height: int
    segment_width: int
    """In values as they are stored: in bytes, if these hold two pixels."""


@dataclass(frozen=True, eq=False)
class EncodedFrames(LocatedFrames):
    """Frames whose segments the core decodes."""

    segments: NDArray[np.int64]
    """Offset and number of bytes of each segment of each frame, shape (n, segments, 2)."""
    encoding: Encoding

    @property
    def layout(self) -> Hashable:
        """What frames must have in common to be used in one go."""
        return self.encoding, self.dtype, self.frame_shape

    @classmethod
    def together(cls, parts: Sequence[Self]) -> _core.EncodedFrames:
        """Frames of one layout, as the core takes them."""
        files = [part.file.number for part in parts for _ in range(len(part))]
        segments = np.concatenate([part.segments for part in parts])
        first = parts[0]
        return _core.EncodedFrames(files, segments, astuple(first.encoding), first.dtype, first.frame_shape)

    def read(self) -> NDArray[Any]:
        """Decode all into memory; UnreadableError if a frame is damaged or cannot be read."""
        pixels: NDArray[Any] = np.empty(self.shape, self.dtype)
        _core.decode(self.together([self]), pixels)
        return pixels

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, frames: slice) -> EncodedFrames:
        return replace(self, segments=self.segments[frames])
