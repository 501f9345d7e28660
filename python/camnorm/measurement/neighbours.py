"""Neighbour sums of a sample of frames, for a sensor that was measured without."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error, FrameError, raise_shortage
from camnorm.io import Failure, ReadOptions, Selection
from camnorm.io.base.remarks import Remarks
from camnorm.limits import usable_threads
from camnorm.measurement.batches import split
from camnorm.measurement.plan import Plan
from camnorm.measurement.screening import Rules
from camnorm.measurement.settings import Settings
from camnorm.measurement.source import Inputs, find_source
from camnorm.progress import Progress
from camnorm.sensor.sensor import Sensor
from camnorm.sizes import sizes
from camnorm.statistics.moments import kind_of
from camnorm.statistics.neighbours import NeighbourSums

__all__ = ["measure_neighbours"]


def measure_neighbours(
    inputs: Inputs,
    sensor: Sensor,
    options: ReadOptions | None = None,
    *,
    max_frames: int = 400,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> NeighbourSums:
    """Compare the pixels of some frames with their neighbours.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        As of `measure`.
    sensor : Sensor
        Measurement of the camera that took the frames. They are read as its frames were read: with the same
        gain, defects and row order.
    options : ReadOptions, optional
        What is read differently.
    max_frames : int
        Take at most this many frames, chosen at random and spread over the files. Frames that the sensor
        rejected are left out.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        As of `measure`.

    Returns
    -------
    NeighbourSums
        Of the frames that could be used. A warning says how many could not.

    Raises
    ------
    Error
        If no frame can be used, or the frames are of another shape or kind than those of the sensor.
    ValueError, OSError
        As of `measure`.
    """
    rules = Rules.of("off", None, None, listed=False)
    wanted = sensor.read_options(options)
    settings = Settings(rules, False, True, wanted, usable_threads(threads), False, progress)
    source, settings = find_source(inputs, None, Selection(max_frames=max_frames), settings)
    plan = Plan.of(source, settings)
    if plan.shape != sensor.shape or kind_of(plan.dtype) != kind_of(sensor.dtype):
        raise Error(
            f"{plan.dtype} frames of shape {plan.shape} do not go with the sensor, which was measured from "
            f"{sensor.dtype} frames of shape {sensor.shape}"
        )
    sample = _Sample(plan, sensor)
    sample.read()
    if not sample.sums.count:
        reason = f"the first: {sample.unused[0]}" if sample.unused else "the sensor rejected all of them"
        raise Error(f"no frame could be used to compare neighbours; {reason}")
    return sample.sums


class _Sample:
    """The frames that are read, and their sums."""

    def __init__(self, plan: Plan, sensor: Sensor) -> None:
        self._plan = plan
        self.sums = NeighbourSums(sensor.shape, sensor.dtype)
        self.unused: list[str] = []
        """Why frames, or files, could not be used."""
        rejected = sensor.frames[sensor.frames["status"] == "rejected"]
        self._rejected = set(map(tuple, rejected[["file", "index"]].tolist()))
        self._waiting: list[npt.NDArray[Any]] = []
        self._names: list[str] = []
        self._bytes = 0

    def read(self) -> None:
        """Read all frames of the plan, but those that the sensor rejected."""
        plan, remarks = self._plan, Remarks()
        items = plan.read(to_memory=True, chosen=plan.source.chosen, misfit=plan.misfit)
        with closing(items):
            for item in items:
                path = plan.files[item.file_index]
                if isinstance(item, Failure):
                    where = path if item.frame is None else f"{path}, frame {item.frame}"
                    self.unused.append(f"{where}: {item.reason}")
                    continue
                remarks.add(path, item.source.remarks)
                frames = item.frames if isinstance(item.frames, np.ndarray) else item.frames.read()
                self._take(str(path), item.start, frames)
                self._report(item.file_index)
        self._add()
        self._report(len(plan.files))
        remarks.warn()
        if self.unused and self.sums.count:
            more = len(self.unused)
            warnings.warn(
                f"{more} {'frame or file' if more == 1 else 'frames or files'} could not be used to compare "
                f"neighbours; the first: {self.unused[0]}",
                stacklevel=3,
            )

    def _report(self, done: int) -> None:
        report = self._plan.settings.progress
        if report is not None:
            size = self.sums.count * self._frame_bytes()
            total = len(self._plan.files)
            report(Progress("comparing neighbours", done, total, self.sums.count, size, len(self.unused)))

    def _frame_bytes(self) -> int:
        return int(np.prod(self._plan.shape)) * self._plan.dtype.itemsize

    def _take(self, path: str, start: int, frames: npt.NDArray[Any]) -> None:
        keep = [i for i in range(len(frames)) if (path, start + i) not in self._rejected]
        if len(keep) < len(frames):
            frames = frames[keep]
        if not len(frames):
            return
        first = self._waiting[0] if self._waiting else frames
        if (frames.dtype, frames.strides[1:]) != (first.dtype, first.strides[1:]):
            self._add()
        self._waiting.append(frames)
        self._names += [f"{path}, frame {start + i}" for i in keep]
        self._bytes += frames.nbytes
        if self._bytes > max(sizes().added_bytes, NeighbourSums.batch_bytes(self._plan.shape)):
            self._add()

    def _add(self) -> None:
        """Add the frames that wait, without those that are not finite."""
        waiting, names = self._waiting, self._names
        self._waiting, self._names, self._bytes = [], [], 0
        while waiting:
            try:
                self.sums.add_stacks(waiting, threads=self._plan.settings.threads)
                return
            except FrameError as error:
                raise_shortage(error)
                waiting, names = self._without(waiting, names, error)

    def _without(
        self, waiting: Sequence[npt.NDArray[Any]], names: list[str], error: FrameError
    ) -> tuple[list[npt.NDArray[Any]], list[str]]:
        """The frames but that of an error."""
        bad = error.frame
        reason = str(error).removeprefix(f"frame {bad} ").removeprefix("has ")
        self.unused.append(f"{names[bad]}: {reason}")
        before, rest = split(waiting, bad)
        after = split(rest, 1)[1]
        return [*before, *after], names[:bad] + names[bad + 1 :]
