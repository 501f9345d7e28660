"""Frames that screening rejects are taken out again, exactly, by reading just these once more."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error, FrameError
from camnorm.io import Failure
from camnorm.measurement import screening
from camnorm.measurement.batches import Piece, Stack, alike, pixels_of
from camnorm.measurement.state import State, exposures
from camnorm.sensor.table import STATISTICS
from camnorm.sizes import sizes
from camnorm.statistics.moments import kind_of

__all__ = ["changed", "remove_file", "remove_screened"]


def remove_screened(state: State) -> dict[str, Any]:
    """Take out deviant and repeated frames, by reading just these, and the first of copies, once more.

    Parameters
    ----------
    state : State
        Of a measurement whose frames have all been added.

    Returns
    -------
    dict
        ``screening`` of the provenance.
    """
    frames, rules = state.frames(), state.plan.settings.rules
    limits, reasons = screening.screen(frames, rules, state.plan.dtype)
    sorts: dict[int, int] = {}
    if rules.k is not None:
        kept = frames.copy()
        kept["status"][list(reasons)] = "rejected"
        sorts = screening.copies(kept)
    _Removal(state, reasons, sorts).run()
    return screening.as_dict(limits, rules)


def remove_file(state: State, file: int) -> None:
    """Take out the frames of a file that turned out to be damaged after they were added.

    Parameters
    ----------
    state : State
        Of the measurement, which then has no trace of these frames.
    file : int
        Place of the file among those that are measured.
    """
    frames = state.frames()
    of_file = (frames["file"] == state.plan.table["path"][file]) & (frames["index"] >= 0)
    added = np.flatnonzero(of_file & (frames["status"] == "accepted"))
    _Removal(state, dict.fromkeys(added.tolist(), "damaged"), {}).run()
    state.drop_rows(of_file)


class _Removal:
    """Second reading of some frames, which takes those that are rejected out of the sums.

    Parameters
    ----------
    state : State
        Of the measurement.
    reasons : dict
        Why rows of the frame table are rejected.
    sorts : dict
        Number of the sort of each row that may be a copy: frames of one sort have the same statistics.
    """

    def __init__(self, state: State, reasons: dict[int, str], sorts: dict[int, int]) -> None:
        self.state = state
        self.frames = state.frames()
        self.threads = state.plan.settings.threads
        self.reasons = reasons
        self.sorts = sorts
        self.originals: dict[tuple[int, bytes], int] = {}
        """Row of the first frame of each sort and content."""

    def run(self) -> None:
        """Read the frames in question, and take back those that are rejected."""
        rows_of = self._rows_of_places()
        copied = {place for place, rows in rows_of.items() if self.sorts.keys() & set(rows)}
        # Pixels of possible copies are compared, so that they are needed in memory.
        selections = (rows_of.keys() - copied, False), (copied, True)
        items = (
            item
            for selection, to_memory in selections
            for item in self.state.plan.read(to_memory=to_memory, selection=selection)
        )
        bad: list[tuple[int, Stack]] = []
        with closing(items):
            for done, item in enumerate(items, start=1):
                if isinstance(item, Failure):
                    raise self._changed(rows_of[item.file_index, item.frame or 0][0])
                piece = Piece.of(item)
                rows = rows_of[piece.file, piece.start]
                bad += [(row, piece.stack) for row in rows if self._is_rejected(row, piece.stack)]
                # As few passes over the sums as memory, and the number of open files, allow.
                in_memory = sum(stack.bytes_in_memory for _, stack in bad)
                full = in_memory >= sizes().taken_back_bytes or len(bad) >= self.state.plan.most_open
                if done == len(rows_of) or full:
                    self._take_back(bad)
                    bad = []
                self.state.report("screening", done, len(rows_of))

    def _rows_of_places(self) -> dict[tuple[int, int], list[int]]:
        """Rows of each file and frame in question: more than one if a file is listed twice."""
        number = {path: i for i, path in reversed(list(enumerate(self.state.plan.table["path"])))}
        rows_of: dict[tuple[int, int], list[int]] = {}
        for row in sorted({*self.reasons, *self.sorts}):
            place = number[self.frames["file"][row]], int(self.frames["index"][row])
            rows_of.setdefault(place, []).append(row)
        return rows_of

    def _is_rejected(self, row: int, stack: Stack) -> bool:
        """Whether a frame is to be taken back; its row then says why."""
        found = stack.statistics(self.threads)
        if found is not None:
            self._check(row, found[0])
        reason = self.reasons.get(row)
        if reason is None:
            original = self.originals.setdefault((self.sorts[row], _digest(stack.pixels())), row)
            frames = self.frames
            if screening.place(frames[original]) == screening.place(frames[row]):
                return False
            reason = screening.copy_reason(frames["file"][original], frames["index"][original])
        self.frames["status"][row], self.frames["reason"][row] = "rejected", reason
        self.state.rejected += 1
        return True

    def _take_back(self, bad: list[tuple[int, Stack]]) -> None:
        """Subtract frames, each as its row of the table and a stack of one."""
        state, frames = self.state, self.frames
        for half, moments in zip("AB", state.halves, strict=True):
            for rows, stacks in alike((row, stack) for row, stack in bad if frames["half"][row] == half):
                try:
                    found = type(stacks[0]).subtract_all(stacks, moments, self.threads)
                except FrameError as error:
                    raise self._changed(rows[error.frame]) from None
                for row, statistics in zip(rows, () if found is None else found, strict=False):
                    self._check(row, statistics)
        last = max((early.rows for early in state.early), default=0)
        for rows, array in pixels_of((row, stack) for row, stack in bad if row < last):
            for early in state.early:
                part = np.array(rows) < early.rows
                if part.any():
                    early.subtract(array if part.all() else array[part])
        for row, stack in bad if state.responses or state.neighbours else ():
            number, pixels = "AB".index(frames["half"][row]), stack.pixels()
            if state.responses is not None:
                exposure = exposures(frames[row : row + 1])
                state.responses[number].subtract(pixels, exposure, threads=self.threads)
            if state.neighbours is not None:
                state.neighbours[number].subtract(pixels, threads=self.threads)

    def _check(self, row: int, statistics: np.void) -> None:
        """Raise an error if statistics are not those of the frame that was measured."""
        if any(statistics[name] != self.frames[row][name] for name in STATISTICS):
            raise self._changed(row)

    def _changed(self, row: int) -> Error:
        return changed(self.frames[row])


def changed(row: np.void) -> Error:
    """Error of a frame, by its row, that is not what it was when it was read first."""
    return Error(
        f"{row['file']}, frame {row['index']}: no longer what it was when it was measured; "
        "nothing was written"
    )


def _digest(frames: npt.NDArray[Any]) -> bytes:
    """What tells frames of other pixels from these; integers of any type that have the same values agree."""
    if kind_of(frames.dtype) == "integer":
        frames = frames.astype(np.int32)
    return hashlib.sha256(np.ascontiguousarray(frames).data).digest()
