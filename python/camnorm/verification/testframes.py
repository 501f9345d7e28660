"""Test frames are read into memory that is used again, several at a time where they go the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io import ReadOptions, open_frames
from camnorm.io.base.remarks import Remarks
from camnorm.sensor.sensor import Sensor
from camnorm.statistics.moments import kind_of

__all__ = ["FrameReader"]

# Frames that are held at a time: as many as these bytes hold, within limits.
_HELD_BYTES = 128 << 20
_FEWEST, _MOST = 2, 8

Test = TypeVar("Test")


class FrameReader:
    """Reads single frames like those of a sensor.

    Parameters
    ----------
    sensor : Sensor
        Frames of another shape or kind are refused.
    options : ReadOptions
        How the files are read.
    """

    def __init__(self, sensor: Sensor, options: ReadOptions) -> None:
        held = _HELD_BYTES // (math.prod(sensor.shape) * sensor.dtype.itemsize)
        self._options = options
        self.held = np.empty((min(max(held, _FEWEST), _MOST), *sensor.shape), sensor.dtype)
        """Memory of the frames: they are written when they are read."""

    def read(
        self, file: str, index: int, slot: int = 0, remarks: Remarks | None = None
    ) -> npt.NDArray[Any] | None:
        """Read one frame, and add the remarks on its file.

        Parameters
        ----------
        file, index : str, int
            Which one.
        slot : int
            Its place in `held`, until another one is read into it. Frames of another pixel type get memory
            of their own.
        remarks : Remarks, optional
            Those so far.

        Returns
        -------
        ndarray, shape of a frame
            None if it cannot be read.
        """
        like = self.held
        try:
            with open_frames(file, self._options) as source:
                if source.shape != like.shape[1:] or kind_of(source.dtype) != kind_of(like.dtype):
                    raise Error(
                        f"{file} has {source.dtype} frames of shape {source.shape}, "
                        f"the sensor {like.dtype} frames of shape {like.shape[1:]}"
                    )
                out = like[slot : slot + 1] if source.dtype == like.dtype else None
                frame: npt.NDArray[Any] = source.read(index, index + 1, out=out)[0]
                source.check_whole()
                if remarks is not None:
                    remarks.add(source.path, source.remarks)
                return frame
        except (FormatError, OSError) as error:
            raise_shortage(error)
            return None

    def stacks(
        self, tests: Iterable[Test], place: Callable[[Test], tuple[str, int]], report: Callable[[], None]
    ) -> Iterator[tuple[list[Test], npt.NDArray[Any]]]:
        """Read frames several at a time, and leave out those that cannot be read.

        Parameters
        ----------
        tests : iterable
            The frames.
        place : callable
            Gives the file and the index of each.
        report : callable
            Called for each frame that was tried.

        Yields
        ------
        list
            Those of `tests` that were read.
        ndarray, shape (n, ...)
            The frames, until the next ones are asked for.
        """
        waiting: list[Test] = []
        for test in tests:
            frame = self.read(*place(test), slot=len(waiting))
            report()
            if frame is None:
                continue
            if frame.dtype != self.held.dtype:
                yield [test], frame[None]
                continue
            waiting.append(test)
            if len(waiting) == len(self.held):
                yield waiting, self.held
                waiting = []
        if waiting:
            yield waiting, self.held[: len(waiting)]
