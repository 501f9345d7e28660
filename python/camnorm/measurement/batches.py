"""Batches of frames: what waits to be added, and is added or taken back in one go.

Frames are in memory, or are read or decoded from their files where they are used. Only the two classes of
`Stack` differ in this.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.errors import Error
from camnorm.io import Chunk, FrameSource, LocatedFrames, StoredChunk
from camnorm.sizes import sizes
from camnorm.statistics.moments import PixelMoments, frame_statistics

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Batch", "Piece", "Stack", "alike", "pixels_of", "split"]

# Frames in files are added when enough bytes, or those of this many seconds, have come: the more, the less
# often the sums are read and written, which are the larger part else.
_STORED_SECONDS = 1.0


class Stack(ABC):
    """Frames that can be added to moments, and taken away again."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    @property
    @abstractmethod
    def layout(self) -> Hashable:
        """What frames must have in common to be added in one go."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of all pixels."""

    @property
    @abstractmethod
    def bytes_in_memory(self) -> int:
        """Bytes of memory that the stack takes."""

    @abstractmethod
    def enough(self, size: int, seconds: float) -> bool:
        """Whether a batch of a number of bytes, begun some seconds ago, is large enough."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, frames: slice) -> Self: ...

    @abstractmethod
    def pixels(self) -> npt.NDArray[Any]:
        """All the frames in memory."""

    @abstractmethod
    def statistics(self, threads: int) -> npt.NDArray[np.void] | None:
        """Statistics of each frame; None if `subtract_all` tells them, from the same pass."""

    @classmethod
    @abstractmethod
    def add_all(cls, stacks: Sequence[Self], moments: PixelMoments, threads: int) -> npt.NDArray[np.void]:
        """Add stacks of one layout; return the statistics of their frames."""

    @classmethod
    @abstractmethod
    def subtract_all(
        cls, stacks: Sequence[Self], moments: PixelMoments, threads: int
    ) -> npt.NDArray[np.void] | None:
        """Take back stacks of one layout; return the statistics of their frames if `statistics` does not."""


@dataclass(frozen=True, eq=False)
class _InMemory(Stack):
    frames: npt.NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.frames.dtype

    @property
    def layout(self) -> Hashable:
        return "memory", self.frames.dtype, self.frames.shape[1:], self.frames.strides[1:]

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes

    @property
    def bytes_in_memory(self) -> int:
        return self.frames.nbytes

    def enough(self, size: int, seconds: float) -> bool:
        return size > sizes().added_bytes

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, frames: slice) -> _InMemory:
        return _InMemory(self.frames[frames])

    def pixels(self) -> npt.NDArray[Any]:
        return self.frames

    def statistics(self, threads: int) -> npt.NDArray[np.void]:
        return frame_statistics(self.frames, threads=threads)

    @classmethod
    def add_all(cls, stacks: Sequence[Self], moments: PixelMoments, threads: int) -> npt.NDArray[np.void]:
        return moments.add_stacks([stack.frames for stack in stacks], threads=threads)

    @classmethod
    def subtract_all(cls, stacks: Sequence[Self], moments: PixelMoments, threads: int) -> None:
        moments.take_back(_joined([stack.frames for stack in stacks]), threads=threads)


@dataclass(frozen=True, eq=False)
class _InFiles(Stack):
    frames: LocatedFrames

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.frames.dtype

    @property
    def layout(self) -> Hashable:
        return "files", self.frames.layout

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes

    @property
    def bytes_in_memory(self) -> int:
        return 0

    def enough(self, size: int, seconds: float) -> bool:
        return size > sizes().stored_bytes or seconds > _STORED_SECONDS

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, frames: slice) -> _InFiles:
        return _InFiles(self.frames[frames])

    def pixels(self) -> npt.NDArray[Any]:
        return self.frames.read()

    def statistics(self, threads: int) -> None:
        return None

    @classmethod
    def add_all(cls, stacks: Sequence[Self], moments: PixelMoments, threads: int) -> npt.NDArray[np.void]:
        try:
            return moments.add_located(_together(stacks), threads=threads)
        except RuntimeError as error:  # what had been added cannot be read again to be taken away
            raise Error(f"{error}; nothing was written") from None

    @classmethod
    def subtract_all(
        cls, stacks: Sequence[Self], moments: PixelMoments, threads: int
    ) -> npt.NDArray[np.void]:
        return moments.subtract_located(_together(stacks), threads=threads)


def _together(stacks: Sequence[_InFiles]) -> _core.StoredFrames | _core.EncodedFrames:
    return type(stacks[0].frames).together([stack.frames for stack in stacks])


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive frames of one file."""

    file: int
    """Place of the file in the sequence that is read."""
    start: int
    """Index in the file of the first of the frames."""
    stack: Stack
    source: FrameSource
    """The file, of which only the attributes are of use: it may be closed."""

    @classmethod
    def of(cls, chunk: Chunk | StoredChunk) -> Piece:
        """Take over frames as they were read."""
        stack = _InMemory(chunk.frames) if isinstance(chunk, Chunk) else _InFiles(chunk.frames)
        return cls(chunk.file_index, chunk.start, stack, chunk.source)

    def cut(self, places: Iterable[tuple[int, int]]) -> Iterator[Piece]:
        """Cut the piece before the frames at some places, each a file and a frame."""
        size = len(self.stack)
        cuts = [frame - self.start for file, frame in places if file == self.file]
        bounds = [0, *(cut for cut in cuts if 0 < cut < size), size]
        for first, last in pairwise(bounds):
            yield replace(self, start=self.start + first, stack=self.stack[first:last])


class Batch:
    """Pieces that wait to be added in one go.

    Parameters
    ----------
    most : int
        Number of pieces, whose files may be open, from which on it is large enough.
    least : int
        Bytes below which it is too small: sums that are large take long to read and write.
    """

    def __init__(self, most: int, least: int = 0) -> None:
        self._most = most
        self._least = least
        self._pieces: list[Piece] = []
        self._begun = 0.0

    def takes(self, piece: Piece) -> bool:
        """Whether a piece can be added together with those that wait."""
        return not self._pieces or piece.stack.layout == self._pieces[0].stack.layout

    def append(self, piece: Piece) -> None:
        """Let a piece wait."""
        if not self._pieces:
            self._begun = time.monotonic()
        self._pieces.append(piece)

    def is_full(self) -> bool:
        """Whether one more piece like the last would be too much."""
        if len(self._pieces) >= self._most:
            return True
        last = self._pieces[-1].stack
        size = sum(piece.stack.nbytes for piece in self._pieces) + last.nbytes
        return size > self._least and last.enough(size, time.monotonic() - self._begun)

    def take(self) -> list[Piece]:
        """Return all pieces, which then wait no more."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def __len__(self) -> int:
        return len(self._pieces)


_S = TypeVar("_S", Stack, npt.NDArray[Any])


def split(stacks: Sequence[_S], count: int) -> tuple[list[_S], list[_S]]:
    """Split a list of stacks after the first `count` frames."""
    before, after = [], []
    for stack in stacks:
        if count > 0:
            before.append(stack[:count])
        if count < len(stack):
            after.append(stack[max(count, 0) :])
        count -= len(stack)
    return before, after


def alike(stacks: Iterable[tuple[int, Stack]]) -> list[tuple[list[int], list[Stack]]]:
    """Sort stacks, each with its row of the table, into groups that can be taken back in one go."""
    found: dict[tuple[bool, Hashable], tuple[list[int], list[Stack]]] = {}
    for row, stack in stacks:
        rows, group = found.setdefault((stack.bytes_in_memory > 0, stack.layout), ([], []))
        rows.append(row)
        group.append(stack)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]  # those in files first


def pixels_of(stacks: Iterable[tuple[int, Stack]]) -> Iterator[tuple[list[int], npt.NDArray[Any]]]:
    """Frames of stacks of one frame, each with its row of the table, in as few arrays as memory allows.

    Those in memory come first, as one array of each dtype; those in files follow one by one.
    """
    stacks = list(stacks)
    for rows, group in alike((row, stack) for row, stack in stacks if stack.bytes_in_memory):
        yield rows, _joined([stack.pixels() for stack in group])
    for row, stack in stacks:
        if not stack.bytes_in_memory:
            yield [row], stack.pixels()
