"""Whether frames are like those that a sensor was measured from, and which of them it rejected."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error
from camnorm.io import Chosen
from camnorm.io.base.catalogue import Catalogue
from camnorm.measurement.screening import DEFAULT_K, Limits, Rules, screen
from camnorm.sensor.sensor import Sensor
from camnorm.sensor.summary import screening_limits
from camnorm.statistics.moments import frame_statistics, kind_of

__all__ = ["Fit", "FrameMeans", "UnfitFile", "warning_of"]


class UnfitFile(NamedTuple):
    """What of a file is unlike the frames that the sensor was measured from."""

    path: Path
    frames: int
    """Frames that were corrected."""
    rejected: int
    """Frames among them that the sensor rejected when it was measured."""
    outside: int
    """Other frames among them whose mean or standard deviation lies outside the sensor's limits."""
    mean: float = math.nan
    """Mean of the first of these; NaN if there is none."""
    skipped: int = 0
    """Frames that were left out since the sensor rejected them."""


class Fit:
    """What a sensor says of frames that it is to correct.

    Parameters
    ----------
    sensor : Sensor
        The sensor; nothing of its sums is kept.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.shape, self.dtype = sensor.shape, sensor.dtype
        self.limits = _limits(sensor)
        self._files = {path: (size, mtime) for path, size, mtime in sensor.provenance["files"].tolist()}
        self._accepted: dict[str, set[int]] = {}
        self._rejected: dict[str, set[int]] = {}
        for file, index, status in sensor.frames[["file", "index", "status"]].tolist():
            found = self._accepted if status == "accepted" else self._rejected
            found.setdefault(file, set()).add(index)

    def misfit(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
        """Why frames cannot be corrected; None if they can."""
        if shape != self.shape:
            return f"frames of shape {shape}, the sensor has {self.shape}"
        kind, wanted = kind_of(dtype), kind_of(self.dtype)
        if kind != wanted:
            return f"{dtype} pixels ({kind} kind), but the sensor has {self.dtype} pixels ({wanted} kind)"
        return None

    def rejected(self, path: Path) -> Callable[[int], bool]:
        """Which frames of a file the sensor rejected, by their numbers; all if it rejected the file."""
        found = self._known(path, self._rejected)
        return (lambda index: True) if -1 in found else found.__contains__

    def accepted(self, path: Path) -> set[int]:
        """Frames of a file that are in the sensor."""
        return self._known(path, self._accepted)

    def _known(self, path: Path, frames: dict[str, set[int]]) -> set[int]:
        name = str(path.absolute())
        found = frames.get(name)
        if found is None:
            return set()
        status = path.stat()  # another file may have taken its name
        return found if self._files.get(name) == (status.st_size, status.st_mtime) else set()

    def outside(self, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which frames of these means and standard deviations lie outside the limits."""
        outside = np.zeros(np.shape(mean), bool)
        for name, values in (("mean", mean), ("std", std)):
            if name in self.limits:
                outside |= self.limits[name].outside(values)
        return outside

    @property
    def words(self) -> str:
        """The limits in words."""
        parts = []
        for name, word in (("mean", "mean"), ("std", "standard deviation")):
            if name in self.limits:
                low, high = self.limits[name].low, self.limits[name].high
                parts.append(f"{word} {low:.6g} to {high:.6g}")
        return ", ".join(parts)


def _limits(sensor: Sensor) -> dict[str, Limits]:
    """Limits by which the sensor's frames were screened; without, those that its frames set."""
    screening = sensor.provenance["screening"] or {}
    limits = {name: Limits.of(name, ends) for name, ends in screening_limits(screening).items()}
    if not limits:
        limits, _ = screen(sensor.frames, Rules(DEFAULT_K, {}), sensor.dtype)
    for name, ends in screening.get("given", {}).items():
        given = Limits.of(name, tuple(ends))
        known = limits.get(name, given)
        limits[name] = Limits(max(given.low, known.low), min(given.high, known.high))
    return limits


def without_rejected(fit: Fit, catalogue: Catalogue, chosen: Chosen) -> tuple[Chosen, dict[Path, UnfitFile]]:
    """Leave out of a choice the frames that the sensor rejected.

    Returns
    -------
    chosen : Chosen
        The rest.
    skipped : dict
        Files of which frames are left out.

    Raises
    ------
    Error
        If nothing is left.
    """
    rejected = [fit.rejected(path) for path in catalogue.paths]
    left = chosen.leaving_out(rejected)
    skipped: dict[Path, UnfitFile] = {}
    frames = 0
    for number, (path, entry) in enumerate(zip(catalogue.paths, catalogue.scan(), strict=True)):
        count = 1 if entry is None else entry.count  # it is reported when it is to be corrected
        wanted, kept = len(chosen(number, count)), len(left(number, count))
        frames += kept
        if wanted > kept and entry is not None:
            skipped[path] = UnfitFile(path, kept, 0, 0, skipped=wanted - kept)
    if skipped and not frames:
        raise Error("no file could be corrected: all frames were rejected when the sensor was measured")
    return left, skipped


class FrameMeans:
    """Mean and standard deviation of frames that are read in blocks of rows, by several threads."""

    def __init__(self, fit: Fit, path: Path, frames: Sequence[int]) -> None:
        rejected, accepted = fit.rejected(path), fit.accepted(path)
        self._fit, self._path, self._frames = fit, path, frames
        self._rejected = np.fromiter(map(rejected, frames), bool, len(frames))
        # Others were screened when the sensor was measured.
        self._unknown = ~self._rejected & ~np.fromiter((f in accepted for f in frames), bool, len(frames))
        if not fit.limits:
            self._unknown[:] = False
        self._sums = np.zeros((3, len(frames)))
        self._lock = threading.Lock()

    def add(self, pixels: npt.NDArray[Any], place: int) -> None:
        """Take up rows of consecutive frames, of which the first is at this place."""
        places = slice(place, place + len(pixels))
        if not self._unknown[places].any():
            return
        rows = frame_statistics(pixels, threads=1)
        count = math.prod(pixels.shape[1:])
        with self._lock:
            self._sums[0, places] += count
            self._sums[1, places] += count * rows["mean"]
            self._sums[2, places] += count * (rows["std"] ** 2 + rows["mean"] ** 2)

    def result(self) -> UnfitFile | None:
        """What is unlike the sensor's frames; None if nothing is."""
        seen = self._unknown & (self._sums[0] > 0)
        mean, squares = self._sums[1:, seen] / self._sums[0, seen]
        outside = self._fit.outside(mean, np.sqrt(np.maximum(squares - mean**2, 0)))
        rejected = int(self._rejected.sum())
        if not rejected and not outside.any():
            return None
        first = float(mean[outside][0]) if outside.any() else math.nan
        return UnfitFile(self._path, len(self._frames), rejected, int(outside.sum()), first)


def warning_of(files: Iterable[UnfitFile], words: str) -> str | None:
    """One sentence on all unfit files; None if there are none."""
    outside = [file for file in files if file.outside]
    rejected = [file for file in files if file.rejected]
    parts = []
    if outside:
        first = outside[0]
        parts.append(
            f"{_count(outside, 'outside')} outside the limits of the sensor ({words}), the first in "
            f"{first.path} with mean {first.mean:.6g}: the correction does not hold for them; measure a "
            "sensor from frames like these"
        )
    if rejected:
        parts.append(
            f"{_count(rejected, 'rejected')} rejected when the sensor was measured, the first in "
            f"{rejected[0].path}: use skip_rejected=True to leave them out"
        )
    return "; ".join(parts) or None


def _count(files: Sequence[UnfitFile], name: str) -> str:
    frames = sum(getattr(file, name) for file in files)
    of_all = sum(file.frames for file in files)
    verb = ("lies", "lie") if name == "outside" else ("was", "were")
    return (
        f"{frames} of {of_all} {'frame' if of_all == 1 else 'frames'} of {len(files)} "
        f"{'file' if len(files) == 1 else 'files'} {verb[frames != 1]}"
    )
