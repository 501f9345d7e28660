"""The progress of a measurement: what the run changes, and what a checkpoint keeps."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.errors import FormatError
from camnorm.io import FrameSource
from camnorm.io.base.copies import Copy
from camnorm.io.base.remarks import Remarks
from camnorm.measurement.drift import Early
from camnorm.measurement.plan import Plan
from camnorm.progress import Progress
from camnorm.sensor.contents import Contents
from camnorm.sensor.table import FRAME_DTYPE, STATISTICS
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.neighbours import NeighbourSums
from camnorm.statistics.response import PixelResponse

__all__ = ["State", "exposures"]

# Most groups of files that are reported.
_GROUPS_TOLD = 50
# Characters of the names of copies that are kept; an attribute of HDF5 ends at 64 kB.
_COPIES_TOLD = 8000


class State:
    """State of one measurement.

    Parameters
    ----------
    plan : Plan
        What is measured.

    Attributes
    ----------
    plan : Plan
        As given.
    position : tuple of two ints
        File and frame to be read next.
    early : list of Early
        Means of the first frames, one for each of the plan's places that was passed.
    groups : dict
        Files of one shape, pixel type and camera, by all these.
    started : str
        When the measurement began, ISO 8601.
    remarks : Remarks
        What the user should know of files that were read.
    was_exact : bool
        `exact` before the run was interrupted.
    frames_read, bytes_read, rejected : int
        Numbers for the progress.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.started = _now()
        self.position = (0, 0)
        self.early: list[Early] = []
        self.groups: dict[str, dict[str, Any]] = {}
        self.remarks = Remarks()
        self.was_exact = True
        self.frames_read = self.bytes_read = self.rejected = 0
        self._rows: list[npt.NDArray[np.void]] = []
        self._last_counted: int | None = None

    @cached_property
    def halves(self) -> tuple[PixelMoments, PixelMoments]:
        """Moments of both halves; not made if a checkpoint brings its own."""
        plan = self.plan
        return PixelMoments(plan.shape, plan.dtype), PixelMoments(plan.shape, plan.dtype)

    @cached_property
    def responses(self) -> tuple[PixelResponse, PixelResponse] | None:
        """Response of both halves, if it is wanted."""
        plan = self.plan
        if not plan.settings.response:
            return None
        return PixelResponse(plan.shape, plan.dtype), PixelResponse(plan.shape, plan.dtype)

    @cached_property
    def neighbours(self) -> tuple[NeighbourSums, NeighbourSums] | None:
        """Neighbour sums of both halves, if they are wanted."""
        plan = self.plan
        if not plan.settings.neighbours:
            return None
        return NeighbourSums(plan.shape, plan.dtype), NeighbourSums(plan.shape, plan.dtype)

    @property
    def exact(self) -> bool:
        """Whether no frame that was taken out of the sums has left a trace in them."""
        return self.was_exact and all(half.exact for half in self.halves)

    def report(self, stage: str, done: float | None = None, total: int | None = None) -> None:
        """Call the user's function with the progress; by default it is that of the files."""
        if self.plan.settings.progress is not None:
            done = self.position[0] if done is None else done
            total = len(self.plan.files) if total is None else total
            progress = Progress(stage, done, total, self.frames_read, self.bytes_read, self.rejected)
            self.plan.settings.progress(progress)

    @property
    def row_count(self) -> int:
        """Number of rows of the frame table so far."""
        return sum(rows.size for rows in self._rows)

    def frames(self) -> npt.NDArray[np.void]:
        """Frame table so far; to change it changes the state."""
        if len(self._rows) != 1:  # else what others hold and change stays the table
            self._rows = [np.concatenate([np.empty(0, FRAME_DTYPE), *self._rows])]
        return self._rows[0]

    def new_rows(self, file: int, start: int, count: int) -> npt.NDArray[np.void]:
        """Append rows of accepted frames to the table."""
        rows = np.empty(count, FRAME_DTYPE)
        rows["file"] = self.plan.table["path"][file]
        rows["index"] = np.arange(start, start + count)
        for name in STATISTICS:
            rows[name] = np.nan
        rows["half"] = self.plan.halves(file, range(start, start + count), self.row_count)
        rows["status"] = "accepted"
        rows["reason"] = ""
        self._rows.append(rows)
        return rows

    def drop_rows(self, dropped: npt.NDArray[np.bool_]) -> None:
        """Take rows out of the table whose frames are not in the sums."""
        frames = self.frames()
        self.rejected -= int(np.count_nonzero(frames["status"][dropped] == "rejected"))
        for early in self.early:
            early.rows -= int(np.count_nonzero(dropped[: early.rows]))
        self._rows = [frames[~dropped]]

    def reject(self, row: npt.NDArray[np.void], reason: str) -> None:
        """Mark a row of the table as rejected; FormatError if the measurement is strict."""
        row["status"], row["reason"] = "rejected", reason
        self.rejected += 1
        if self.plan.settings.strict:
            index = int(row["index"][0])
            raise FormatError(row["file"][0], reason, frame=None if index < 0 else index)

    def count_group(self, file: int, source: FrameSource, frames: int) -> None:
        """Count frames of a file with those of the same shape, pixel type and camera."""
        self.remarks.add(self.plan.files[file], source.remarks)
        shape, dtype, camera = source.shape, source.dtype.name, source.camera
        group = self.groups.setdefault(
            _group_key(shape, dtype, camera),
            {"shape": list(shape), "dtype": dtype, "camera": camera, "files": 0, "frames": 0},
        )
        group["files"] += file != self._last_counted
        group["frames"] += frames
        self._last_counted = file

    def resume(
        self,
        contents: Contents,
        position: tuple[int, int],
        early: list[Early],
        frames_read: int,
        bytes_read: int,
        exact: bool,
    ) -> None:
        """Go on where a checkpoint was written.

        Parameters
        ----------
        contents : Contents
            What `contents` gave then.
        position, early, frames_read, bytes_read, exact
            The attributes then.
        """
        self.halves, self.responses = contents.halves, contents.responses
        self.neighbours = contents.neighbours
        self.started = contents.provenance["started"]
        self.groups = {
            _group_key(tuple(group["shape"]), group["dtype"], group["camera"]): group
            for group in contents.provenance.get("groups", [])
        }
        self._rows, self.position = [contents.frames], position
        file, frame = position
        self._last_counted = file if frame else None
        self.early, self.was_exact = early, exact
        self.frames_read, self.bytes_read = frames_read, bytes_read
        self.rejected = int(np.count_nonzero(contents.frames["status"] == "rejected"))

    def contents(self, screened: dict[str, Any], changes: dict[str, Any]) -> Contents:
        """Return what a sensor file, or a checkpoint, holds of the measurement so far.

        Parameters
        ----------
        screened : dict
            ``screening`` of the provenance.
        changes : dict
            Further entries of the provenance.

        Returns
        -------
        Contents
        """
        plan = self.plan
        groups = sorted(self.groups.values(), key=lambda group: -group["frames"])
        provenance = {
            "version": _core.version,
            "command": shlex.join(sys.argv),
            "started": self.started,
            "ended": _now(),
            "screening": screened,
            "selection": asdict(plan.source.selection),
            "reading": plan.settings.options.to_dict(),
            "chosen": dict(plan.settings.reasons),
            "row_order": plan.source.catalogue.options.row_order or "",
            "frames_list": dict(plan.source.listed),
            "copies": _told_copies(plan.source.copies),
            "groups": groups[:_GROUPS_TOLD],
            **changes,
            "files": plan.table,
        }
        return Contents(self.halves, self.frames(), provenance, self.responses, self.neighbours)


def exposures(rows: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Exposures of frames, as far as they are known: the means over their pixels."""
    return np.ascontiguousarray(rows["mean"], np.float64)


def _told_copies(copies: Sequence[Copy]) -> dict[str, Any]:
    """What is kept of files that were left out as copies: their number, and the first ones."""
    told = [{"file": str(copy.path.absolute()), "copy_of": str(copy.kept.absolute())} for copy in copies]
    lengths = np.cumsum([len(names["file"]) + len(names["copy_of"]) for names in told])
    return {"files": len(copies), "first": told[: np.searchsorted(lengths, _COPIES_TOLD)]}


def _group_key(shape: tuple[int, ...], dtype: str, camera: str | None) -> str:
    return f"{shape} {dtype} {camera}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
