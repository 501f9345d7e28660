"""Blocks: the rows of a few frames that a thread reads and corrects at a time, in its cache."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io import FrameSource, reason_of, runs
from camnorm.sizes import sizes


class Block(NamedTuple):
    """Rows of consecutive frames."""

    start: int
    stop: int
    first_row: int
    last_row: int  # exclusive, as `stop`
    place: int
    """Of the first frame in the file that is written."""


@dataclass(frozen=True)
class Blocks:
    """How the chosen frames of a file are cut into blocks."""

    source: FrameSource
    frames: Sequence[int]
    written: np.dtype[Any]
    """Pixel type of what is written."""

    def rows(self, frames: int) -> int:
        """Number of rows to work on at a time if each block holds this many frames."""
        return min(max(1, sizes().block_bytes // (frames * self._row_bytes())), self.source.shape[0])

    def in_order(self, whole_frames: bool) -> Iterator[Block]:
        """Blocks to be corrected, in the order in which they are written."""
        height = self.source.shape[0]
        whole_frames = whole_frames or self.source.offsets is None
        least = 1 if whole_frames else sizes().block_frames
        most = max(least, sizes().block_bytes // (height * self._row_bytes()))
        place = 0
        for first, last in runs(self.frames):
            together = min(most, last - first)
            rows = height if whole_frames else self.rows(together)
            for start in range(first, last, together):
                stop = min(start + together, last)
                for row in range(0, height, rows):
                    yield Block(start, stop, row, min(row + rows, height), place)
                place += stop - start

    def to_add(self) -> Iterator[Sequence[Block]]:
        """Blocks to be added up, each part by one thread: threads do not change the order of a pixel's.

        Or they do where sums are exact: of integers.
        """
        height = self.source.shape[0]

        def block(start: int, stop: int, first_row: int, last_row: int) -> Block:
            return Block(start, stop, first_row, last_row, bisect_left(self.frames, start))

        if self.source.offsets is not None:
            rows = self.rows(min(sizes().block_frames, len(self.frames)))
            for row in range(0, height, rows):
                yield [
                    block(start, min(start + sizes().block_frames, stop), row, min(row + rows, height))
                    for first, stop in runs(self.frames)
                    for start in range(first, stop, sizes().block_frames)
                ]
        else:
            blocks = [block(frame, frame + 1, 0, height) for frame in self.frames]
            yield from [blocks] if self.source.dtype.kind == "f" else ([one] for one in blocks)

    def _row_bytes(self) -> int:
        """Bytes of a row, as it is read and as it is written."""
        return math.prod(self.source.shape[1:]) * (self.source.dtype.itemsize + self.written.itemsize)


class Buffer:
    """Memory for one array after another. New memory would cost more than what is done with it."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array, valid until the next one."""
        size = math.prod(shape) * dtype.itemsize
        if self._bytes.size < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].view(dtype).reshape(shape)


def read_block(source: FrameSource, block: Block, buffer: Buffer) -> npt.NDArray[Any]:
    """Read the rows of a block, into a buffer or where they are mapped to memory."""
    if source.offsets is None:
        with reading(source.path, block.start):
            return source.view(block.start, block.stop)  # of which all the rows are asked for
    if block.first_row == 0:
        with reading(source.path, block.start):
            source.fetch(block.start, block.stop)
    rows = block.last_row - block.first_row
    frames = buffer.array((block.stop - block.start, rows, *source.shape[1:]), source.dtype)
    for index, frame in enumerate(frames, block.start):
        with reading(source.path, index):
            source.read_rows(index, block.first_row, frame)
    return frames


@contextmanager
def reading(path: Path, frame: int) -> Iterator[None]:
    """Have errors name the frame: the given one, or another if they know."""
    try:
        yield
    except (Error, OSError) as error:
        raise_shortage(error)
        known = error.frame if isinstance(error, FormatError) else None
        raise FormatError(path, reason_of(error), frame=frame if known is None else known) from error
