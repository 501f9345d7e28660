"""Base of formats that hold uncompressed frames at known places."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.io.base.source import FrameSource, MappedFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class BlockSource(FrameSource):
    """Frames at known places in the file, mapped from it.

    Parameters
    ----------
    file : MappedFile
        The file.
    places : sequence of int
        Where frames begin in the file: of all that may be in it, at most `count`.
    stored : numpy.dtype
        Of the pixels in the file.
    """

    def __init__(
        self,
        file: MappedFile,
        *,
        places: Sequence[int],
        stored: np.dtype[Any],
        shape: tuple[int, ...],
        count: int,
        metadata: dict[str, Any],
    ) -> None:
        frame_bytes = math.prod(shape) * stored.itemsize
        last = file.size - frame_bytes  # where a frame can begin that is whole
        if isinstance(places, range):
            whole = bisect_right(places, last)
        else:
            whole = next((index for index, place in enumerate(places) if place > last), len(places))
        self._places = places
        self._stored = stored
        super().__init__(
            file,
            shape=shape,
            dtype=stored,
            count=count,
            available=whole,
            metadata=metadata,
        )

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if their byte order is foreign."""
        return np.array(self._places[: self.available], np.int64) if self._stored.isnative else None

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        places = self._places[start:stop]
        frame_bytes = math.prod(self.shape) * self._stored.itemsize
        distances = {after - before for before, after in pairwise(places)} or {frame_bytes}
        step = distances.pop()
        if distances or not frame_bytes <= step <= 2 * frame_bytes:
            return np.stack([self._file.map(place, self.shape, self._stored) for place in places])
        raw = self._file.map(places[0], ((stop - start - 1) * step + frame_bytes,), np.dtype("u1"))
        one: NDArray[Any] = np.ndarray(self.shape, self._stored)
        frames: NDArray[Any] = np.ndarray(
            (stop - start, *self.shape), self._stored, raw, 0, (step, *one.strides)
        )
        return frames


def regular(file: MappedFile, start: int, step: int, count: int | None = None) -> tuple[range, int]:
    """Places and number of frames of which each begins `step` bytes after the one before.

    Without a `count` they go on to the end of the file, where the last may be cut off.
    """
    room = max(0, -(-(file.size - start) // step))
    count = max(1, room) if count is None else count
    return range(start, start + step * min(count, room), step), count
