"""Test frames are taken out of the statistics, exactly: no trace of them is left in the sensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.application.fit import Fit, UnfitFile
from camnorm.errors import Error, raise_shortage
from camnorm.io import ReadOptions, open_frames, runs
from camnorm.io.base.remarks import Remarks
from camnorm.sensor.sensor import Sensor
from camnorm.statistics.moments import PixelMoments, frame_statistics
from camnorm.statistics.response import PixelResponse
from camnorm.verification.candidates import Candidate
from camnorm.verification.testframes import FrameReader

_STATISTICS = ("mean", "std", "min", "max")


def take_out(
    pool: Sequence[Candidate],
    size: int,
    pairs: int,
    sensor: Sensor,
    fit: Fit,
    reader: FrameReader,
    options: ReadOptions,
    threads: int,
    outside: list[UnfitFile],
    spare: bool,
    report: Callable[[], None],
) -> tuple[list[list[tuple[str, int]]], Sensor]:
    """Choose pairs of groups of test frames, and make the sensor without them.

    The first group of a pair is taken from half A, the second from half B, as far as they go: the rest of a
    test frame's movie, which shows the same specimen, is then in the statistics of its own group only. Test
    frames that are not in the statistics, and lie outside the limits of the sensor, are added to `outside`.
    The sums of a `spare` sensor, which nobody needs any more, become those without the test frames. `report`
    is called for each test frame.
    """
    table = sensor.frames[sensor.frames["status"] == "accepted"]
    measured_as: dict[tuple[float, ...], list[Candidate]] = {}
    for *statistics, file, index, half in table[[*_STATISTICS, "file", "index", "half"]].tolist():
        measured_as.setdefault(tuple(statistics), []).append(Candidate(file, index, half))
    halves, responses = sensor.halves, sensor.responses
    if not spare:
        halves = (halves[0].copy(), halves[1].copy())
        responses = responses and (responses[0].copy(), responses[1].copy())
    seen: set[tuple[float, ...]] = set()
    remarks = Remarks()
    removal = _Removal(halves, responses, reader, threads)

    def take(file: str, index: int) -> bool:
        frame = reader.read(file, index, removal.slot, remarks)
        if frame is None:
            return False
        row = frame_statistics(frame[None], threads=threads)[0]
        statistics = tuple(float(row[name]) for name in _STATISTICS)
        if not row["std"] > 0 or statistics in seen:
            return False  # blank, not finite, or the same as another test frame
        seen.add(statistics)
        if statistics not in measured_as and fit.outside(row["mean"], row["std"]):
            outside.append(UnfitFile(Path(file), 1, 0, 1, float(row["mean"])))
        numbers = [
            "AB".index(measured.half)
            for measured in measured_as.get(statistics, ())
            if (measured.file, measured.index) == (file, index)
            or _may_show(measured.file, measured.index, frame, options)
        ]
        removal.add(frame, numbers, statistics[0])
        return True

    taken: dict[str, list[tuple[str, int]]] = {"A": [], "B": []}
    for half, chosen in taken.items():
        preference = {half: 0, "": 1}
        for test in sorted(pool, key=lambda test: preference.get(test.half, 2)):
            if len(chosen) < pairs * size and take(test.file, test.index):
                chosen.append((test.file, test.index))
                report()
    removal.finish()
    remarks.warn(stacklevel=3)
    usable = sum(map(len, taken.values()))
    if usable < 2 * pairs * size:
        raise Error(
            f"only {usable} of {len(pool)} frames can be used for the test, {2 * pairs * size} are needed"
        )
    groups = [
        taken[half][number * size : (number + 1) * size] for number in range(pairs) for half in ("A", "B")
    ]
    return groups, Sensor(halves, sensor.frames, sensor.provenance, responses)


class _Removal:
    """Subtracts frames several at a time: the sums of all pixels take longer than a frame."""

    def __init__(
        self,
        halves: tuple[PixelMoments, PixelMoments],
        responses: tuple[PixelResponse, PixelResponse] | None,
        reader: FrameReader,
        threads: int,
    ) -> None:
        self._halves = halves
        self._responses = responses
        self._held = reader.held
        self._threads = threads
        self._waiting: list[tuple[list[int], float]] = []

    @property
    def slot(self) -> int:
        """Where the reader may put the next frame."""
        return len(self._waiting)

    def add(self, frame: npt.NDArray[Any], numbers: list[int], mean: float) -> None:
        """Subtract a frame from halves, from one of them twice if it was measured twice."""
        if not numbers:
            return
        if frame.dtype != self._held.dtype:
            for number in numbers:
                self._subtract(number, frame[None], [mean])
            return
        self._waiting.append((numbers, mean))
        if len(self._waiting) == len(self._held):
            self.finish()

    def finish(self) -> None:
        """Subtract those that wait."""
        for number in (0, 1):
            slots = [slot for slot, (numbers, _) in enumerate(self._waiting) for n in numbers if n == number]
            for first, last in runs(slots):
                means = [mean for _, mean in self._waiting[first:last]]
                self._subtract(number, self._held[first:last], means)
        self._waiting.clear()

    def _subtract(self, number: int, frames: npt.NDArray[Any], means: list[float]) -> None:
        self._halves[number].subtract(frames, threads=self._threads)
        if self._responses is not None:
            self._responses[number].subtract(frames, np.array(means), threads=self._threads)


def _may_show(file: str, index: int, frame: npt.NDArray[Any], options: ReadOptions) -> bool:
    """Whether a measured frame, which has the same statistics, is this one; True if it is not there now."""
    try:
        with open_frames(file, options) as source:
            return np.array_equal(source.read(index)[0], frame)
    except (Error, OSError, IndexError) as error:
        raise_shortage(error)
        return True
