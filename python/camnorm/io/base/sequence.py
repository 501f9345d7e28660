"""Frames that can be counted, iterated, indexed, and turned into an array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["FrameSequence"]


class FrameSequence(ABC):
    """What a source of frames has in common with an array of them."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    count: int

    @abstractmethod
    def read(self, start: int, stop: int | None = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read frames into memory."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.count

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Read one frame after another."""
        for number in range(self.count):
            yield self.read(number)[0]

    def __getitem__(self, key: int | slice) -> NDArray[Any]:
        r"""Read the frame of a number, or the frames of a slice.

        Parameters
        ----------
        key : int or slice
            As for a list: negative numbers count from the end.

        Returns
        -------
        ndarray
            A frame of `shape`, or for a slice frames of shape (n, \*shape).

        Raises
        ------
        IndexError, FormatError
            As for `read`.
        """
        if isinstance(key, slice):
            numbers = range(self.count)[key]
            if len(numbers) and numbers.step == 1:
                return self.read(numbers.start, numbers.stop)
            frames: NDArray[Any] = np.empty((len(numbers), *self.shape), self.dtype)
            for place, number in enumerate(numbers):
                self.read(number, out=frames[place : place + 1])
            return frames
        try:
            number = range(self.count)[index(key)]
        except TypeError:
            raise TypeError(f"frames are chosen by an integer or a slice, not by {key!r}") from None
        except IndexError:
            raise IndexError(f"no frame {key} among {self.count}") from None
        frame: NDArray[Any] = self.read(number)[0]
        return frame

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all frames, for ``np.asarray(source)``."""
        if copy is False:
            raise ValueError("frames are read from a file: they cannot become an array without a copy")
        frames: NDArray[Any] = self.read(0, self.count).astype(
            self.dtype if dtype is None else dtype, copy=False
        )
        return frames
