"""Measuring a sensor: one pass over the frames of a data set."""

from __future__ import annotations

import glob
import os
import resource
import shlex
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from . import _core, screening
from .errors import Error, FormatError, FrameError
from .io import (
    Chosen,
    Chunk,
    ReadOptions,
    Selection,
    StoredChunk,
    StoredFrames,
    check_orientation,
    expand_inputs,
    open_frames,
    stream_frames,
    stream_stored,
)
from .io.atomic import atomic_target
from .moments import PixelMoments, frame_statistics
from .sensor import FILE_DTYPE, FRAME_DTYPE, Sensor, reserve

__all__ = ["Progress", "measure"]

_CHECKPOINT = "camnorm checkpoint"

# Seconds between checkpoints: at least so many, and at least so many times what writing the last took.
_CHECKPOINT_SECONDS = 5.0
_CHECKPOINT_SHARE = 30.0

# What is added in one go: bytes of frames in memory; or of frames in files, which are read by blocks of
# pixels, up to so many or what comes in so many seconds. The more, the less often the sums are read and
# written, which are the larger part else.
_ADDED_BYTES = 64 * 2**20
_STORED_BYTES = 16 * 2**30
_STORED_SECONDS = 1.0

# Files that may be open at a time for it, of those that the process may open.
_OPEN_FILES = min(512, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

_Stack = npt.NDArray[Any] | StoredFrames
_S = TypeVar("_S", npt.NDArray[Any], StoredFrames, _Stack)

# Files looked into, evenly over the set, to learn what most of them are.
_FILES_LOOKED_INTO = 9


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    stage: str
    """What is being done: "counting", "measuring", "screening", "correcting"."""
    done: float
    """Files (with the part of one that is done) or frames (screening) done."""
    total: int
    """Files or frames in all."""
    frames: int
    """Frames read so far."""
    bytes: int
    """Bytes of pixels read so far."""
    rejected: int
    """Frames, or files that could not be read, left out so far."""


def measure(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    screen: str | float = "auto",
    frames: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    options: ReadOptions | None = None,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Sensor:
    """Measure a sensor from the images that it took: moments of both halves, frame table, screening.

    Files alternate between half A and half B in the order given (frames of one movie share a specimen,
    so they stay together); a single file is split by alternate frames. Every frame is read once. Files of
    which no frame is selected take no part in this.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file.
    output : path-like, optional
        Sensor file to write. While the measurement runs, a checkpoint is kept beside it, from which the
        same call goes on after the process was killed.
    screen : {"auto", "off"} or float
        Frames whose mean or standard deviation lies outside median ± k·MAD over the set are taken out
        again, exactly, by reading just these once more. "auto" is k = 6; a number is another k.
    frames : str, optional
        START:STOP or START:STOP:STEP, a slice of the frames of every file as in Python: ``"3:20"``,
        ``"1:"``, ``":-2"``, ``"::4"``. By default all.
    every : int
        Take every so manieth of these frames, from the first on and counted through all files in their
        order: of files that hold one frame, every so manieth file.
    max_frames : int, optional
        Take at most so many of these, chosen at random and spread over the files: as many of each as of
        any other, as far as they go. The choice is the same for the same files in the same order.
    options : ReadOptions, optional
        How the files are read, where they do not tell it themselves.
    strict : bool
        Stop at the first frame that cannot be used, instead of listing it and going on.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called with a `Progress` now and then.

    Returns
    -------
    Sensor

    Raises
    ------
    Error
        If there is nothing to measure: no such file, no image among the inputs, no frame that can be
        used. Subclass FormatError with `strict`.
    OSError
        If `output` cannot be written.

    Notes
    -----
    Memory: the moments of two halves (32 bytes a pixel for integer frames, 64 for float frames), up to
    two frames a thread or 128 MB, whichever is more (some MB a thread for files that hold plain pixels); it
    does not grow with the number of frames, but for about 100 bytes a frame in the table. The result does
    not depend on `threads`, nor on where a run was interrupted.
    """
    k = _screening_k(screen)
    selection = Selection(frames, every, max_frames)
    options = options or ReadOptions()
    files = [file.path for file in expand_inputs(inputs, options)]
    check_orientation(files, options)
    run = _Run(files, selection, options, _core.resolve_threads(threads), strict, progress)
    if output is not None and Path(output).is_dir():
        raise Error(f"{output}: is a directory; name the sensor file to write")
    checkpoint = None if output is None else _Checkpoint(Path(output))
    if checkpoint is not None:
        checkpoint.load(run)
        checkpoint.prepare(run)
    try:
        run.accumulate(checkpoint)
    except KeyboardInterrupt:
        if checkpoint is not None:
            checkpoint.save(run)
        raise
    limits = {} if k is None else run.screen(k)
    sensor = run.sensor(limits)
    if sensor.count == 0:
        raise Error(_nothing_left(sensor.frames))
    if output is not None and checkpoint is not None:
        sensor.save(output)
        checkpoint.remove()
    return sensor


def choose_frames(
    files: Sequence[Path],
    selection: Selection,
    options: ReadOptions,
    threads: int,
    progress: Callable[[Progress], None] | None,
) -> Chosen:
    """Choose frames of files, and report how many of these have been opened for it."""

    def counted(done: int) -> None:
        if progress is not None:
            progress(Progress("counting", done, len(files), 0, 0, 0))

    return selection.choose(files, options=options, threads=threads, counted=counted)


def _screening_k(screen: str | float) -> float | None:
    if screen == "auto":
        return screening.DEFAULT_K
    if screen == "off":
        return None
    if isinstance(screen, str) or not screen > 0:
        raise ValueError(f"screen must be 'auto', 'off' or a positive number, not {screen!r}")
    return float(screen)


def _nothing_left(frames: npt.NDArray[np.void]) -> str:
    if frames.size == 0:
        return "no frame could be used: none of the files has frames that were selected"
    first = frames[0]
    where = first["file"] if first["index"] < 0 else f"{first['file']}, frame {first['index']}"
    return f"no frame could be used, {frames.size} rejected; the first: {where}: {first['reason']}"


class _Run:
    """State of one measurement."""

    def __init__(
        self,
        files: Sequence[Path],
        selection: Selection,
        options: ReadOptions,
        threads: int,
        strict: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.files = [path.absolute() for path in files]
        self.selection = selection
        self.options = options
        self.threads = threads
        self.strict = strict
        self._progress = progress
        self.table = _file_table(self.files)
        self.started = _now()
        self.position = (0, 0)
        """File and frame to be read next."""
        self.rows: list[npt.NDArray[np.void]] = []
        self._last_file: int | None = None
        self._last_half = 1
        self._waiting: list[Chunk | StoredChunk] = []
        self._waiting_since = 0.0
        self.frames_read = 0
        self.bytes_read = 0
        self.rejected = 0
        self._chosen = choose_frames(self.files, selection, options, threads, progress)
        self.shape, self.dtype = self._reference()

    @cached_property
    def halves(self) -> tuple[PixelMoments, PixelMoments]:
        """Moments of both halves; not made in vain if a checkpoint brings its own."""
        return PixelMoments(self.shape, self.dtype), PixelMoments(self.shape, self.dtype)

    def _reference(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and kind that most files have, the first ones in doubt, and the dtype of one of these."""
        step = max(1, len(self.files) // _FILES_LOOKED_INTO)
        seen: Counter[tuple[tuple[int, ...], str]] = Counter()
        dtypes: dict[tuple[tuple[int, ...], str], np.dtype[Any]] = {}
        first_error: Exception | None = None

        def look(path: Path) -> None:
            nonlocal first_error
            try:
                with open_frames(path, self.options) as source:
                    key = source.shape, kind_of(source.dtype)
                    seen[key] += 1
                    dtypes.setdefault(key, source.dtype)
            except (Error, OSError) as error:
                if self.strict:
                    raise
                first_error = first_error or error

        for path in self.files[::step]:
            look(path)
        for path in [] if seen else self.files:
            look(path)
            if seen:
                break
        if not seen:
            raise Error(f"no frame could be used, {len(self.files)} files rejected; the first: {first_error}")
        ((most, _),) = seen.most_common(1)
        return most[0], dtypes[most]

    def report(self, stage: str, done: float | None = None, total: int | None = None) -> None:
        if self._progress is not None:
            done = self.position[0] if done is None else done
            total = len(self.files) if total is None else total
            self._progress(Progress(stage, done, total, self.frames_read, self.bytes_read, self.rejected))

    def accumulate(self, checkpoint: _Checkpoint | None) -> None:
        """Read every frame once, from the present position on."""
        items = stream_stored(
            self.files, threads=self.threads, start=self.position, chosen=self._chosen, options=self.options
        )
        for item in items:
            if isinstance(item, (Chunk, StoredChunk)):
                if not self._goes_with_waiting(item):
                    self._add_waiting()
                if not self._waiting:
                    self._waiting_since = time.monotonic()
                self._waiting.append(item)
                if self._enough_waits():
                    self._add_waiting()
            else:
                self._add_waiting()
                with _interrupts_wait():
                    more = f" (and {item.count - 1} more after it)" if item.count > 1 else ""
                    self._reject(item.file_index, item.frame, item.reason + more)
                    # Several are the end of their file.
                    self.position = (
                        (item.file_index + 1, 0)
                        if item.frame is None or item.count > 1
                        else (item.file_index, item.frame + 1)
                    )
            self.report("measuring")
            if checkpoint is not None:
                checkpoint.save_if_due(self)
        self._add_waiting()
        self.position = (len(self.files), 0)
        self.report("measuring")

    def _goes_with_waiting(self, chunk: Chunk | StoredChunk) -> bool:
        """Whether a chunk can be added together with those that wait."""
        if not self._waiting:
            return True
        a, b = chunk.frames, self._waiting[0].frames
        if isinstance(a, StoredFrames) or isinstance(b, StoredFrames):
            return type(a) is type(b) and (a.dtype, a.shape[1:]) == (b.dtype, b.shape[1:])
        return (a.dtype, a.shape[1:], a.strides[1:]) == (b.dtype, b.shape[1:], b.strides[1:])

    def _enough_waits(self) -> bool:
        """Whether one more chunk like the last would be too much."""
        last = self._waiting[-1]
        size = sum(chunk.frames.nbytes for chunk in self._waiting) + last.frames.nbytes
        if isinstance(last, Chunk):
            return size > _ADDED_BYTES
        late = time.monotonic() > self._waiting_since + _STORED_SECONDS
        return late or size > _STORED_BYTES or len(self._waiting) >= _OPEN_FILES

    def _add_waiting(self) -> None:
        """Add the chunks that wait, those of each half in one go."""
        if not self._waiting:
            return
        with _interrupts_wait():
            chunks, self._waiting = self._waiting, []
            self.frames_read += sum(len(chunk.frames) for chunk in chunks)
            self.bytes_read += sum(chunk.frames.nbytes for chunk in chunks)
            reason = self._misfit(chunks[0].frames)
            if reason is None:
                self._add(chunks)
            else:
                for chunk in chunks:
                    for frame in range(chunk.start, chunk.start + len(chunk.frames)):
                        self._reject(chunk.file_index, frame, reason)
            last = chunks[-1]
            self.position = (last.file_index, last.start + len(last.frames))

    def _add(self, chunks: list[Chunk | StoredChunk]) -> None:
        stacks: tuple[list[_Stack], list[_Stack]] = ([], [])
        rows: tuple[list[npt.NDArray[np.void]], list[npt.NDArray[np.void]]] = ([], [])
        for chunk in chunks:
            new = self._new_rows(chunk.file_index, chunk.start, len(chunk.frames))
            # Every frame of the chunk, or those of each half if a single file is split.
            step = 2 if len(self.files) == 1 else 1
            for first in range(min(step, len(chunk.frames))):
                half = "AB".index(new["half"][first])
                stacks[half].append(chunk.frames[first::step])
                rows[half].append(new[first::step])
        for half in (0, 1):
            self._add_to(self.halves[half], stacks[half], rows[half])

    def _add_to(
        self,
        half: PixelMoments,
        stacks: list[_Stack],
        rows: list[npt.NDArray[np.void]],
    ) -> None:
        """Add frames to one half, leaving out those that are not finite, or can no longer be read."""
        while stacks:
            try:
                statistics = self._add_stacks(half, stacks)
            except FrameError as error:
                bad = error.frame
                reason = str(error).removeprefix(f"frame {bad} ").removeprefix("has ")
            else:
                first = 0
                for part in rows:
                    for name in ("mean", "std", "min", "max"):
                        part[name] = statistics[name][first : first + len(part)]
                    first += len(part)
                return
            row = _split(rows, bad)[1][0][:1]
            row["status"], row["reason"] = "rejected", reason
            self.rejected += 1
            if self.strict:
                raise FormatError(row["file"][0], reason, frame=int(row["index"][0]))
            self._add_to(half, _split(stacks, bad)[0], _split(rows, bad)[0])
            stacks, rows = _split(stacks, bad + 1)[1], _split(rows, bad + 1)[1]

    def _add_stacks(self, half: PixelMoments, stacks: list[_Stack]) -> npt.NDArray[np.void]:
        stored = [stack for stack in stacks if isinstance(stack, StoredFrames)]
        if not stored:
            return half._add_stacks(cast(list[npt.NDArray[Any]], stacks), self.threads)
        places = [place for stack in stored for place in stack.places]
        try:
            return half._add_stored(places, stored[0].dtype, self.threads)
        except RuntimeError as error:  # what had been added cannot be read again to be taken away
            raise Error(f"{error}; nothing was written") from None

    def _misfit(self, frames: _Stack) -> str | None:
        """Why frames of this shape and dtype cannot be added, or None if they can."""
        half = self.halves[0]
        if frames.shape[1:] != half.shape:
            return f"shape {frames.shape[1:]}, not {half.shape} as the others"
        if kind_of(frames.dtype) != kind_of(half.dtype):
            return (
                f"{frames.dtype} pixels ({kind_of(frames.dtype)} kind) among {half.dtype} ones "
                f"({kind_of(half.dtype)} kind)"
            )
        return None

    def _new_rows(self, file: int, start: int, count: int) -> npt.NDArray[np.void]:
        rows = np.empty(count, FRAME_DTYPE)
        rows["file"] = self.table["path"][file]
        rows["index"] = np.arange(start, start + count)
        for name in ("mean", "std", "min", "max"):
            rows[name] = np.nan
        rows["half"] = [self._next_half(file) for _ in range(count)]
        rows["status"] = "accepted"
        rows["reason"] = ""
        self.rows.append(rows)
        return rows

    def _next_half(self, file: int) -> str:
        """Half of the next frame that is looked at, one of this file."""
        if file != self._last_file or len(self.files) == 1:
            self._last_half = 1 - self._last_half
        self._last_file = file
        return "AB"[self._last_half]

    def resume(self, rows: npt.NDArray[np.void], position: tuple[int, int]) -> None:
        """Go on behind frames that were looked at before."""
        self.rows, self.position = [rows], position
        file, frame = position
        self._last_file = file if frame else None
        if rows.size:
            self._last_half = "AB".index(rows["half"][-1])

    def _reject(self, file: int, frame: int | None, reason: str) -> None:
        if self.strict:
            raise FormatError(self.files[file], reason, frame=frame)
        row = self._new_rows(file, 0 if frame is None else frame, 1)
        if frame is None:
            row["index"] = -1
        row["status"], row["reason"] = "rejected", reason
        self.rejected += 1

    def frames(self) -> npt.NDArray[np.void]:
        """Frame table so far."""
        self.rows = [np.concatenate(self.rows)] if self.rows else [np.empty(0, FRAME_DTYPE)]
        return self.rows[0]

    def screen(self, k: float) -> dict[str, Any]:
        """Take out the frames outside the limits of their set, by reading just these once more."""
        frames = self.frames()
        limits, reasons = screening.screen(frames, k)
        number = {path: i for i, path in enumerate(self.table["path"])}
        rows_of: dict[tuple[int, int], list[int]] = {}  # more than one if a file is listed twice
        for row in sorted(reasons):
            rows_of.setdefault((number[frames["file"][row]], int(frames["index"][row])), []).append(row)
        selected = stream_frames(
            self.files, threads=self.threads, selection=list(rows_of), options=self.options
        )
        for done, item in enumerate(selected, start=1):
            frame = item.start if isinstance(item, Chunk) else item.frame or 0
            for row in rows_of[item.file_index, frame]:
                if not isinstance(item, Chunk) or not _same_statistics(
                    item.frames, frames[row], self.threads
                ):
                    raise Error(
                        f"{frames['file'][row]}, frame {frame}: no longer what it was when it was measured; "
                        "nothing was written"
                    )
                self.halves["AB".index(frames["half"][row])].subtract(item.frames, threads=self.threads)
                frames["status"][row], frames["reason"][row] = "rejected", reasons[row]
                self.rejected += 1
            self.report("screening", done, len(rows_of))
        return screening.as_dict(limits, k)

    def sensor(self, screened: dict[str, Any]) -> Sensor:
        provenance = {
            "version": _core.version,
            "command": shlex.join(sys.argv),
            "started": self.started,
            "ended": _now(),
            "screening": screened,
            "selection": asdict(self.selection),
            "reading": self.options.to_dict(),
            "files": self.table,
        }
        return Sensor(self.halves, self.frames(), provenance)


class _Checkpoint:
    """State of a run kept beside the output, so that the same call can go on from there."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(output.name + ".checkpoint")
        self._next = time.monotonic() + _CHECKPOINT_SECONDS
        self._usable = True

    def prepare(self, run: _Run) -> None:
        """Find out at once, not after a night, that the output cannot be written."""
        Sensor._check_replaceable(self.output)
        # What a killed run was writing, under the names that atomic_target gives.
        for leftover in self.output.parent.glob(f".{glob.escape(self.output.name)}.*.tmp"):
            leftover.unlink(missing_ok=True)
        # A checkpoint stays until the next, or the result, is on disk.
        files = 1 if self.path.exists() else 2
        try:
            with tempfile.TemporaryFile(dir=self.output.parent) as probe:
                reserve(probe, files * run.sensor({})._stored_bytes)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.output)) from None

    def load(self, run: _Run) -> None:
        """Put a run where its checkpoint left it, if there is one that fits."""
        if not self.path.exists():
            return
        try:
            sensor, attributes = Sensor._read(self.path, _CHECKPOINT)
        except FormatError as error:
            warnings.warn(f"starting anew: {error}", stacklevel=3)
            return
        file, frame = int(attributes["file"]), int(attributes["frame"])
        # What was read must be what would be read now; files that came after it do not matter, but
        # for a single file that has got company, since its halves would be others, and for a choice of
        # frames of all files.
        read = slice(None if run.selection.max_frames else file + (frame > 0))
        provenance = sensor.provenance
        if (
            provenance.get("selection", asdict(Selection())) != asdict(run.selection)
            or provenance.get("reading", ReadOptions().to_dict()) != run.options.to_dict()
        ):
            warnings.warn(
                f"starting anew: {self.path} is of another selection of frames or other read options",
                stacklevel=3,
            )
            return
        same = (
            sensor.shape == run.shape
            and sensor.dtype == run.dtype
            and np.array_equal(provenance["files"][read], run.table[read])
            and (len(provenance["files"]) == 1) == (len(run.files) == 1)
        )
        if not same:
            warnings.warn(f"starting anew: {self.path} belongs to another set of files", stacklevel=3)
            return
        rejected = sensor.frames[sensor.frames["status"] == "rejected"]
        if run.strict and rejected.size:
            index = int(rejected["index"][0])
            raise FormatError(rejected["file"][0], rejected["reason"][0], frame=None if index < 0 else index)
        run.halves = sensor.halves
        run.resume(sensor.frames, (file, frame))
        run.started = provenance["started"]
        run.frames_read = int(attributes["frames_read"])
        run.bytes_read = int(attributes["bytes_read"])
        run.rejected = rejected.size

    def save_if_due(self, run: _Run) -> None:
        if time.monotonic() >= self._next and self._usable:
            self.save(run)

    def save(self, run: _Run) -> None:
        begin = time.monotonic()
        attributes = {
            "format": _CHECKPOINT,
            "file": run.position[0],
            "frame": run.position[1],
            "frames_read": run.frames_read,
            "bytes_read": run.bytes_read,
        }
        try:
            with atomic_target(self.path, overwrite=True) as temporary:
                run.sensor({})._write(temporary, attributes)
        except OSError as error:
            self._usable = False
            warnings.warn(
                f"going on without checkpoints: {self.path} cannot be written: {error}", stacklevel=4
            )
        end = time.monotonic()
        self._next = end + max(_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE * (end - begin))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


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


def _split(stacks: list[_S], count: int) -> tuple[list[_S], list[_S]]:
    """Split a list of stacks after so many frames."""
    before, after = [], []
    for stack in stacks:
        if count > 0:
            before.append(stack[:count])
        if count < len(stack):
            after.append(stack[max(count, 0) :])
        count -= len(stack)
    return before, after


def kind_of(dtype: np.dtype[Any]) -> str:
    """Kind of the sums in which `PixelMoments` keep pixels of this type."""
    return "integer" if dtype.kind in "iu" and dtype.itemsize <= 2 else "float"


def _same_statistics(frames: npt.NDArray[Any], row: np.void, threads: int) -> bool:
    statistics = frame_statistics(frames, threads=threads)[0]
    return all(statistics[name] == row[name] for name in ("mean", "std", "min", "max"))


def _file_table(files: Sequence[Path]) -> npt.NDArray[np.void]:
    table = np.empty(len(files), FILE_DTYPE)
    for row, path in zip(table, files, strict=True):
        try:
            status = path.stat()
            row["size"], row["mtime"] = status.st_size, status.st_mtime
        except OSError:
            row["size"], row["mtime"] = -1, 0.0
        row["path"] = str(path)
    return table


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
