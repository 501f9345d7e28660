"""Test frames are taken out of the statistics, exactly: no trace of them is left in the sensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.application.fit import Fit, UnfitFile
from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io import ReadOptions, open_frames
from camnorm.io.base.remarks import Remarks
from camnorm.sensor.sensor import Sensor
from camnorm.statistics.moments import frame_statistics, kind_of
from camnorm.verification.candidates import Candidate

_STATISTICS = ("mean", "std", "min", "max")


def take_out(
    pool: Sequence[Candidate],
    size: int,
    pairs: int,
    sensor: Sensor,
    fit: Fit,
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

    def take(file: str, index: int) -> bool:
        frame = read_frame(file, index, sensor, options, remarks)
        if frame is None:
            return False
        row = frame_statistics(frame[None], threads=threads)[0]
        statistics = tuple(float(row[name]) for name in _STATISTICS)
        if not row["std"] > 0 or statistics in seen:
            return False  # blank, not finite, or the same as another test frame
        seen.add(statistics)
        if statistics not in measured_as and fit.outside(row["mean"], row["std"]):
            outside.append(UnfitFile(Path(file), 1, 0, 1, float(row["mean"])))
        for measured in measured_as.get(statistics, ()):
            same = (measured.file, measured.index) == (file, index)
            if same or _may_show(measured.file, measured.index, frame, options):
                number = "AB".index(measured.half)
                halves[number].subtract(frame, threads=threads)
                if responses is not None:
                    responses[number].subtract(frame, np.array([row["mean"]]), threads=threads)
        return True

    taken: dict[str, list[tuple[str, int]]] = {"A": [], "B": []}
    for half, chosen in taken.items():
        preference = {half: 0, "": 1}
        for test in sorted(pool, key=lambda test: preference.get(test.half, 2)):
            if len(chosen) < pairs * size and take(test.file, test.index):
                chosen.append((test.file, test.index))
                report()
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


def read_frame(
    file: str, index: int, sensor: Sensor, options: ReadOptions, remarks: Remarks | None = None
) -> npt.NDArray[Any] | None:
    """Read one frame, and add the remarks on its file; None if that is not possible."""
    try:
        with open_frames(file, options) as source:
            if source.shape != sensor.shape or kind_of(source.dtype) != kind_of(sensor.dtype):
                raise Error(
                    f"{file} has {source.dtype} frames of shape {source.shape}, "
                    f"the sensor {sensor.dtype} frames of shape {sensor.shape}"
                )
            frame: npt.NDArray[Any] = source.read(index)[0]
            source.check_whole()
            if remarks is not None:
                remarks.add(source.path, source.remarks)
            return frame
    except (FormatError, OSError) as error:
        raise_shortage(error)
        return None


def _may_show(file: str, index: int, frame: npt.NDArray[Any], options: ReadOptions) -> bool:
    """Whether a measured frame, which has the same statistics, is this one; True if it is not there now."""
    try:
        with open_frames(file, options) as source:
            return np.array_equal(source.read(index)[0], frame)
    except (Error, OSError, IndexError) as error:
        raise_shortage(error)
        return True
