"""Each movie corrected by the statistics without it: its frames are subtracted from the sums, exactly."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm.application.corrector import CorrectedFile, Corrector
from camnorm.application.schedule import Job
from camnorm.correction.correction import Correction
from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io import open_frames, reason_of, runs
from camnorm.sensor.sensor import Sensor
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.response import PixelResponse

__all__ = ["LeaveOneOut", "warn_of_own_share"]

Form: TypeAlias = Callable[[Sensor], tuple[Correction, str]]
"""The correction by a sensor, and the note for files."""

# Bytes of frames that are subtracted in one go.
_AT_ONCE = 64 * 2**20


class LeaveOneOut:
    """Corrects files one after the other, each by the sensor without its frames.

    Parameters
    ----------
    sensor : Sensor
        The measured set, which stays as it is.
    jobs : sequence of Job
        What is corrected, and where it goes.
    form : callable
        Forms a correction.
    make : callable
        Makes what corrects some jobs by a correction.
    threads : int
        Number of threads.
    """

    def __init__(
        self,
        sensor: Sensor,
        jobs: Sequence[Job],
        form: Form,
        make: Callable[[Sequence[Job], Correction, str], Corrector],
        threads: int,
    ) -> None:
        if sensor.count and not sensor.listed:
            raise Error(
                "leave_out=True needs a sensor that was measured from files; this one was made from moments, "
                "which do not say which frames they hold"
            )
        self.pixels = self.clipped = 0
        self._sensor = sensor
        self._jobs = jobs
        self._form = form
        self._make = make
        self._threads = threads
        self._files = {
            row["path"]: (int(row["size"]), float(row["mtime"])) for row in sensor.provenance["files"]
        }

    def results(self) -> Generator[CorrectedFile | FormatError, None, None]:
        """Correct all files, as `Corrector.results` does."""
        others = 0
        for job in self._jobs:
            try:
                left = self._without(job.path)
                correction, label = self._form(left)
            except FormatError as error:
                yield error
                continue
            except Error as error:
                yield FormatError(job.path, str(error))
                continue
            others += left is self._sensor
            corrector = self._make([job], correction, label)
            with closing(corrector.results()) as results:
                yield from results
            corrector.remarks.warn()
            self.pixels += corrector.pixels
            self.clipped += corrector.clipped + correction.clipped
        if others:
            some = "1 file is" if others == 1 else f"{others} files are"
            warnings.warn(
                f"{some} not in the sensor file, and corrected by all of it: nothing is to be left out",
                stacklevel=2,
            )

    def _without(self, path: Path) -> Sensor:
        """The sensor without the frames of a file; the sensor itself if it has none."""
        name = str(path.absolute())
        frames = self._sensor.frames
        its = frames["file"] == name
        rows = frames[its & (frames["status"] == "accepted")]
        if not rows.size:
            return self._sensor
        status = os.stat(path)
        if (status.st_size, status.st_mtime) != self._files.get(name):
            raise FormatError(
                path, "has changed since it was measured, and cannot be left out; measure the set again"
            )
        if rows.size == self._sensor.count:
            raise FormatError(path, "has all frames of the sensor file: no others are left to correct it by")
        halves = [half.copy() if letter in rows["half"] else half for letter, half in self._halves()]
        responses = [response.copy() for response in self._sensor.responses or ()]
        for number, letter in enumerate("AB"):
            part = np.sort(rows[rows["half"] == letter], order="index")
            if part.size:
                self._subtract(path, part, halves[number], responses[number] if responses else None)
        return Sensor(
            (halves[0], halves[1]),
            frames[~its],
            self._sensor.provenance,
            (responses[0], responses[1]) if responses else None,
        )

    def _halves(self) -> Iterator[tuple[str, PixelMoments]]:
        return zip("AB", self._sensor.halves, strict=True)

    def _subtract(
        self, path: Path, rows: npt.NDArray[np.void], moments: PixelMoments, response: PixelResponse | None
    ) -> None:
        try:
            with open_frames(path, self._sensor.options) as source:
                size = math.prod(source.shape) * source.dtype.itemsize
                step, place = max(1, _AT_ONCE // size), 0
                for first, last in runs(rows["index"].tolist()):
                    for start in range(first, last, step):
                        frames = source.view(start, min(start + step, last))
                        moments.subtract(frames, threads=self._threads)
                        if response is not None:
                            exposures = rows["mean"][place : place + len(frames)]
                            response.subtract(frames, np.ascontiguousarray(exposures), threads=self._threads)
                        place += len(frames)
                source.check_whole()
        except (Error, OSError) as error:
            raise_shortage(error)
            raise error if isinstance(error, FormatError) else FormatError(path, reason_of(error)) from error


def warn_of_own_share(table: npt.NDArray[np.void], shape: tuple[int, ...], jobs: Sequence[Job]) -> None:
    """Warn if a movie makes up so much of the statistics that its correction removes part of its own image.

    The averages of n of N frames, corrected by all of them, correlate by -n/(N - n). That is compared with
    the paper's 3σ curve at Nyquist, 3/sqrt(n/2) with π·L frequencies for frames of L x L.
    """
    accepted = table[table["status"] == "accepted"]
    files, counts = np.unique(accepted["file"].astype(str), return_counts=True)
    known = dict(zip(files.tolist(), counts.tolist(), strict=True))
    shares = [(known.get(str(job.path.absolute()), 0) / max(accepted.size, 1), job.path) for job in jobs]
    share, path = max(shares, key=lambda pair: pair[0])
    limit = 3 / math.sqrt(math.pi * min(shape[:2]) / 2)
    several = [one for one, _ in shares if one < 1 and one / (1 - one) > limit]
    if several:
        more = f" ({len(several)} files have such a share)" if len(several) > 1 else ""
        warnings.warn(
            f"{path.name} makes up {share:.0%} of the statistics that correct it{more}: part of its own "
            "image is removed, which at low dose biases motion and correlations; use leave_out=True",
            stacklevel=3,
        )
