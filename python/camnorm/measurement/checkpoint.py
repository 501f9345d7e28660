"""The checkpoint beside the output, from which the same call goes on, and the lock of the output."""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from camnorm.errors import FormatError
from camnorm.io import AtomicFile, Selection, atomic_target, sync_directory
from camnorm.io.base.atomic import beside
from camnorm.measurement import screening
from camnorm.measurement.drift import Early
from camnorm.measurement.output import Output
from camnorm.measurement.plan import SHARES, Plan
from camnorm.measurement.state import State
from camnorm.sensor.contents import Contents
from camnorm.sensor.file import check_room, read_contents, reserve, write_contents
from camnorm.sensor.narrow import expected_dtype
from camnorm.sensor.provenance import reading_of
from camnorm.sensor.sensor import Sensor
from camnorm.sizes import sizes

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

__all__ = ["Checkpoint"]

_FORMAT = "camnorm checkpoint"

# Room on the disk is reserved if this many times as much is to be read.
_RESERVED = 8


class Checkpoint:
    """State of a run kept beside the output, so that the same call can go on from there.

    As a context manager it locks the output, so that no other process measures to it meanwhile.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self.path = beside(output.path, "", ".checkpoint")
        self._next = time.monotonic() + sizes().checkpoint_seconds
        self._usable = True
        self._resumed = False

    def __enter__(self) -> Self:
        self._file = AtomicFile(self.output.path, overwrite=True, protected=self.output.protected)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.discard()

    def prepare(self, state: State) -> None:
        """Find out at once, not after a night, that the output cannot be written."""
        plan = state.plan
        contents = state.contents(screening.as_dict({}, plan.settings.rules), {})
        if not self._resumed:  # else it had been allowed to replace what is there
            self.output.check(contents.identity)
        # A checkpoint stays until the next, or the result, is on disk.
        files = 1 if self.path.exists() else 2
        dtypes = {
            name: expected_dtype(name.rpartition("/")[2], part, plan.dtype)
            for name, part in contents.parts.items()
        }
        size = files * (contents.nbytes(dtypes) + len(SHARES) * Early.stored_bytes(plan.shape))
        # To reserve it takes long where files are memory; a short run learns of a quota soon enough.
        check = check_room if plan.table["size"].sum() < _RESERVED * size else reserve
        try:
            with tempfile.TemporaryFile(dir=self.output.path.parent) as probe:
                check(probe, size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.output.path)) from None

    def finish(self, sensor: Sensor) -> None:
        """Write the sensor file, and remove the checkpoint."""
        with self._file.writing():
            write_contents(self._file.temporary, sensor.contents)
            self._file.sync()
        self._file.commit()
        sync_directory(self.output.path.parent)
        self.remove()

    def load(self, state: State) -> None:
        """Put a run where its checkpoint left it, if there is one that fits."""
        if not self.path.exists():
            return
        reason: str | None
        try:
            saved = _Saved.read(self.path)
            reason = saved.misfit(self.path, state.plan)
        except FormatError as error:
            reason = str(error)
        except _Damaged as error:
            reason = f"{self.path}: damaged checkpoint: {error}"
        if reason is not None:
            warnings.warn(f"starting again: {reason}", stacklevel=3)
            return
        frames = saved.contents.frames
        rejected = frames[frames["status"] == "rejected"]
        if state.plan.settings.strict and rejected.size:
            index = int(rejected["index"][0])
            raise FormatError(rejected["file"][0], rejected["reason"][0], frame=None if index < 0 else index)
        state.resume(*saved)
        self._resumed = True

    def save_if_due(self, state: State) -> None:
        """Save a checkpoint if the last one was long ago."""
        if time.monotonic() >= self._next and self._usable:
            self.save(state)

    def save(self, state: State) -> None:
        """Save a checkpoint; if that is not possible, the run goes on without."""
        begin = time.monotonic()
        try:
            with atomic_target(self.path, overwrite=True, protected=self.output.protected) as temporary:
                _write(temporary, state)
        except OSError as error:
            self._usable = False
            warnings.warn(
                f"going on without checkpoints: {self.path} cannot be written: {error}", stacklevel=4
            )
        end = time.monotonic()
        self._next = end + max(sizes().checkpoint_seconds, sizes().checkpoint_share * (end - begin))

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)


def _write(path: Path, state: State) -> None:
    attributes = {
        "format": _FORMAT,
        "file": state.position[0],
        "frame": state.position[1],
        "frames_read": state.frames_read,
        "bytes_read": state.bytes_read,
        "exact": int(state.exact),
        "early": np.array([(early.count, early.rows) for early in state.early]).reshape(-1, 2),
    }
    arrays = {f"early_{i}": early.mean for i, early in enumerate(state.early)}
    write_contents(path, state.contents({}, {}), attributes, arrays)


class _Damaged(Exception):
    """A checkpoint lacks something, or has what cannot be."""


class _Saved(NamedTuple):
    """What a checkpoint holds; see `State.resume`."""

    contents: Contents
    position: tuple[int, int]
    early: list[Early]
    frames_read: int
    bytes_read: int
    exact: bool

    @classmethod
    def read(cls, path: Path) -> _Saved:
        """Read a checkpoint; FormatError or _Damaged if it is none."""
        contents, attributes, arrays = read_contents(path, _FORMAT)
        try:
            file, frame, frames_read, bytes_read = (
                int(attributes[name]) for name in ("file", "frame", "frames_read", "bytes_read")
            )
            early = [
                Early(arrays[f"early_{i}"], int(count), int(rows))
                for i, (count, rows) in enumerate(attributes.get("early", []))
            ]
            rows = contents.frames.size
            if min(file, frame, frames_read, bytes_read) < 0 or file > len(contents.provenance["files"]):
                raise ValueError("a position that cannot be")
            if any(not 0 <= part.count <= part.rows <= rows for part in early):
                raise ValueError("mean images of more frames than there are")
        except (KeyError, TypeError, ValueError) as error:
            raise _Damaged(error) from None
        exact = bool(attributes.get("exact", True))
        return cls(contents, (file, frame), early, frames_read, bytes_read, exact)

    def misfit(self, path: Path, plan: Plan) -> str | None:
        """Why a measurement cannot go on from here; None if it can."""
        halves, frames, provenance, responses, neighbours = self.contents
        if (
            provenance.get("selection", asdict(Selection())) != asdict(plan.source.selection)
            or provenance.get("frames_list", {}) != plan.source.listed
            or reading_of(provenance).to_dict() != plan.settings.options.to_dict()
            or provenance.get("row_order") != (plan.source.catalogue.options.row_order or "")
        ):
            return f"{path} is of another selection of frames or other read options"
        # What was read must be what would be read now; files that came after it do not matter, but
        # for those that change its halves, and for a choice of frames of all files.
        file, frame = self.position
        whole = plan.source.selection.max_frames is not None or bool(plan.source.listed)
        read = slice(None if whole else file + (frame > 0))
        same = (
            halves[0].shape == plan.shape
            and halves[0].dtype == plan.dtype
            and np.array_equal(provenance["files"][read], plan.table[read])
        )
        if not same:
            return f"{path} belongs to another set of files"
        if not plan.halves.agree(frames):
            return f"{path} has frames in other halves, as of other files or by an earlier version"
        if (responses is None) == plan.settings.response:
            return f"{path} is of a measurement {'without' if responses is None else 'with'} response"
        if (neighbours is None) == plan.settings.neighbours:
            return f"{path} is of a measurement {'without' if neighbours is None else 'with'} neighbour sums"
        return None
