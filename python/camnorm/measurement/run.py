"""The run over the frames: every frame is read once, and added to the moments of its half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.errors import NAN_HINT, NAN_REASON, Error, FrameError, raise_shortage
from camnorm.io import Chosen, Chunk, Failure, Selection, StoredChunk
from camnorm.measurement.batches import Batch, Piece, Stack, split
from camnorm.measurement.checkpoint import Checkpoint
from camnorm.measurement.drift import Early, measure_drift, measure_ratios
from camnorm.measurement.halves import Halves
from camnorm.measurement.plan import Plan
from camnorm.measurement.removal import changed, remove_file, remove_screened
from camnorm.measurement.settings import Settings
from camnorm.measurement.source import Source
from camnorm.measurement.state import State, exposures
from camnorm.measurement.wrapped import warn_of_wrapped
from camnorm.sensor.sensor import Sensor
from camnorm.sensor.table import STATISTICS
from camnorm.statistics.neighbours import NeighbourSums

__all__ = ["measure_source"]


def measure_source(source: Source, settings: Settings, checkpoint: Checkpoint | None) -> Sensor:
    """Measure frames, from their checkpoint on if there is one.

    Parameters
    ----------
    source : Source
        Which frames.
    settings : Settings
        How.
    checkpoint : Checkpoint, optional
        Of the output.

    Returns
    -------
    Sensor

    Raises
    ------
    Error, OSError
        As of `measure`.
    """
    state = State(Plan.of(source, settings))
    if checkpoint is not None:
        checkpoint.load(state)
        checkpoint.prepare(state)
    try:
        _Run(state, checkpoint).accumulate()
    except KeyboardInterrupt:
        if checkpoint is not None:
            checkpoint.save(state)
        raise
    state.remarks.warn()
    warn_of_wrapped(state.frames(), state.halves, state.plan.dtype)
    screened = remove_screened(state)
    changes = _changes(state if state.exact else _measure_again(state))
    sensor = Sensor(*state.contents(screened, changes))
    if sensor.count == 0:
        raise Error(_nothing_left(sensor.frames))
    return sensor


def _changes(state: State) -> dict[str, Any]:
    """What the first frames tell beside the others, of drift and of how the mean image converges."""
    whole = len(state.early) >= len(state.plan.places)
    return {
        "drift": (measure_drift(state.halves, state.early[-1]) if whole else None) or {},
        "ratios": measure_ratios(state.halves, state.early, state.frames()),
    }


def _measure_again(state: State) -> State:
    """Measure just the accepted frames, since others have left a trace in the sums of float frames.

    The sums of the state become those of the new measurement, which is returned.
    """
    plan, frames = state.plan, state.frames()
    rows = frames[frames["status"] == "accepted"]
    again = State(replace(plan, **_only(plan, rows)))
    again.rejected = state.rejected
    del state.halves, state.responses, state.neighbours  # before there are others: they are large
    _Run(again, None).accumulate()
    read = again.frames()
    for wanted, found in zip_longest(rows, read):
        if wanted is None or found is None or wanted != found:
            raise changed(found if wanted is None else wanted)
    state.halves, state.responses = again.halves, again.responses
    state.neighbours = again.neighbours
    return again


def _only(plan: Plan, rows: npt.NDArray[np.void]) -> dict[str, Any]:
    """What a plan holds if just the frames of some rows of its table are measured, in the same halves."""
    of_file: dict[str, list[np.void]] = {}
    for row in rows:
        of_file.setdefault(row["file"], []).append(row)
    found = [of_file.get(path, []) for path in plan.table["path"]]
    chosen = Chosen(Selection(), [[int(row["index"]) for row in its] for its in found])
    halves = [np.array([row["half"] for row in its], dtype=str) for its in found]
    source = replace(plan.source, chosen=chosen, halves=halves)
    return {"source": source, "halves": Halves(source, None)}


def _nothing_left(frames: npt.NDArray[np.void]) -> str:
    if frames.size == 0:
        return "no frame could be used: none of the files has frames that were selected"
    first = frames[0]
    where = first["file"] if first["index"] < 0 else f"{first['file']}, frame {first['index']}"
    message = f"no frame could be used, {frames.size} rejected; the first: {where}: {first['reason']}"
    return message + (f"; {NAN_HINT}" if NAN_REASON in first["reason"] else "")


class _Run:
    """One pass over the frames, from the state's position on."""

    def __init__(self, state: State, checkpoint: Checkpoint | None) -> None:
        self.state = state
        self.plan = state.plan
        self.checkpoint = checkpoint
        plan = state.plan
        least = NeighbourSums.batch_bytes(plan.shape) if plan.settings.neighbours else 0
        self.waiting = Batch(plan.most_open, least)

    def accumulate(self) -> None:
        """Read every frame once."""
        state, plan = self.state, self.plan
        items = plan.read(
            # The exposure of a frame is known when all of it has been looked at, and neighbours lie in other
            # rows: it is read once, to memory.
            to_memory=plan.settings.response or plan.settings.neighbours,
            start=state.position,
            chosen=plan.source.chosen,
            misfit=plan.misfit,
        )
        # A traceback would keep the generator, for the garbage collector to close in any thread.
        with closing(items):
            for item in items:
                self._take(item)
            self._add_waiting()
        state.position = (len(plan.files), 0)
        state.report("measuring")

    def _take(self, item: Chunk | StoredChunk | Failure) -> None:
        if isinstance(item, Failure):
            self._keep_early(item.file_index, item.frame or 0)
            self._add_waiting()
            with _interrupts_wait():
                self._leave_out(item)
            self._after_item()
            return
        for piece in Piece.of(item).cut(self.plan.places):
            self._keep_early(piece.file, piece.start)
            if not self.waiting.takes(piece):
                self._add_waiting()
            self.waiting.append(piece)
            if self.waiting.is_full():
                self._add_waiting()
            self._after_item()

    def _after_item(self) -> None:
        self.state.report("measuring")
        if self.checkpoint is not None:
            self.checkpoint.save_if_due(self.state)

    def _keep_early(self, file: int, frame: int) -> None:
        """Keep the mean image so far if the frames from this one on lie behind a place of the plan."""
        state = self.state
        while (
            len(state.early) < len(self.plan.places) and (file, frame) >= self.plan.places[len(state.early)]
        ):
            self._add_waiting()
            with _interrupts_wait():
                state.early.append(Early.of(state.halves, state.row_count))

    def _leave_out(self, failure: Failure) -> None:
        """List frames, or a file, that cannot be used, and go on behind them."""
        state, file, frame = self.state, failure.file_index, failure.frame
        if failure.misfit is not None:
            state.count_group(file, failure.misfit, failure.count)
        if failure.damaged:
            remove_file(state, file)
        several = frame is not None and failure.count > 1
        more = f" (and {failure.count - 1} more after it)" if several else ""
        row = state.new_rows(file, frame or 0, 1)
        if frame is None:
            row["index"] = -1
        state.reject(row, failure.reason + more)
        state.position = (file + 1, 0) if failure.stop is None else (file, failure.stop)

    def _add_waiting(self) -> None:
        """Add the pieces that wait, those of each half in one go."""
        if not self.waiting:
            return
        state = self.state
        with _interrupts_wait():
            pieces = self.waiting.take()
            for piece in pieces:
                state.count_group(piece.file, piece.source, len(piece.stack))
            state.frames_read += sum(len(piece.stack) for piece in pieces)
            state.bytes_read += sum(piece.stack.nbytes for piece in pieces)
            self._add(pieces)
            last = pieces[-1]
            state.position = (last.file, last.start + len(last.stack))

    def _add(self, pieces: list[Piece]) -> None:
        stacks: tuple[list[Stack], list[Stack]] = ([], [])
        rows: tuple[list[npt.NDArray[np.void]], list[npt.NDArray[np.void]]] = ([], [])
        for piece in pieces:
            new = self.state.new_rows(piece.file, piece.start, len(piece.stack))
            for frames in _of_one_half(new["half"]):
                half = "AB".index(new["half"][frames.start])
                stacks[half].append(piece.stack[frames])
                rows[half].append(new[frames])
        for half in (0, 1):
            self._add_to(half, stacks[half], rows[half])

    def _add_to(self, half: int, stacks: list[Stack], rows: list[npt.NDArray[np.void]]) -> None:
        """Add frames to one half, leaving out those that are not finite, or can no longer be read."""
        state, threads = self.state, self.plan.settings.threads
        while stacks:
            try:
                statistics = type(stacks[0]).add_all(stacks, state.halves[half], threads)
            except FrameError as error:
                raise_shortage(error)
                bad = error.frame
                reason = str(error).removeprefix(f"frame {bad} ").removeprefix("has ")
            else:
                first = 0
                for part in rows:
                    for name in STATISTICS:
                        part[name] = statistics[name][first : first + len(part)]
                    first += len(part)
                if state.responses is not None:
                    for stack, part in zip(stacks, rows, strict=True):
                        state.responses[half].add(stack.pixels(), exposures(part), threads=threads)
                if state.neighbours is not None:
                    state.neighbours[half].add_stacks([stack.pixels() for stack in stacks], threads=threads)
                return
            state.reject(split(rows, bad)[1][0][:1], reason)
            self._add_to(half, split(stacks, bad)[0], split(rows, bad)[0])
            stacks, rows = split(stacks, bad + 1)[1], split(rows, bad + 1)[1]


def _of_one_half(halves: npt.NDArray[np.str_]) -> list[slice]:
    """Frames of each half, in as few slices as it takes."""
    for step in (1, 2):
        if all((halves[first::step] == halves[first]).all() for first in range(min(step, halves.size))):
            return [slice(first, None, step) for first in range(min(step, halves.size))]
    changes = [0, *(np.flatnonzero(halves[1:] != halves[:-1]) + 1).tolist(), halves.size]
    return [slice(first, last) for first, last in pairwise(changes)]


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Put Ctrl-C off while moments, table and position do not go together."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield  # without KeyboardInterrupt, which is of the main thread
        return
    received = []
    signal.signal(signal.SIGINT, lambda *_: received.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)
