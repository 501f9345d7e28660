"""Measuring a sensor: one pass over the frames of a data set."""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.apriori import check_orientation, check_references
from camnorm.errors import (
    NAN_HINT,
    NAN_REASON,
    Error,
    FormatError,
    FrameError,
    ResourceError,
    message_of,
    raise_shortage,
)
from camnorm.io import (
    Chosen,
    Chunk,
    Failure,
    FrameSource,
    ReadOptions,
    Selection,
    StoredChunk,
    StoredFrames,
    expand_inputs,
    open_frames,
    stream_frames,
    stream_stored,
)
from camnorm.io.base.atomic import AtomicFile, Protected, atomic_target, sync_directory
from camnorm.io.base.selection import choose_frames
from camnorm.limits import PER_FILE, at_once, descriptors_left, usable_threads
from camnorm.measurement import screening
from camnorm.measurement.drift import Early, measure_drift, measure_ratios
from camnorm.measurement.modes import modes as modes_of
from camnorm.progress import Progress
from camnorm.sensor.file import check_replaceable, read_contents, reserve, save_contents, write_contents
from camnorm.sensor.framelist import FrameList
from camnorm.sensor.provenance import Identity
from camnorm.sensor.sensor import Sensor
from camnorm.sensor.table import FRAME_DTYPE, file_table
from camnorm.statistics.moments import PixelMoments, frame_statistics, kind_of
from camnorm.statistics.response import PixelResponse

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["measure", "measure_groups"]

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

# Frames that are taken back in one go: they are in memory twice.
_TAKEN_BACK_BYTES = 64 * 2**20

# Files that may be open at a time for it, and the share of those that the process may open.
_OPEN_FILES = 512
_OPEN_SHARE = 1 / 4

_Stack = npt.NDArray[Any] | StoredFrames
_S = TypeVar("_S", npt.NDArray[Any], StoredFrames, _Stack)

# Files looked into, evenly over the set, to learn what most of them are.
_FILES_LOOKED_INTO = 9

# Parts of the set, by its bytes, after which the mean image so far is kept, to be compared with that of the
# rest. Each costs a pass over the sums: if these are more than so many bytes, so many times as many must
# have been read, but for the half, which tells of drift.
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
_SMALL_SUMS = 32 * 2**20
_READ_BY_SUMS = 4

# Groups of files that are told of; more than a few are a mess whose rest does not matter.
_GROUPS_TOLD = 50

Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Range = tuple[float | None, float | None]


def measure(
    inputs: Inputs | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    screen: str | float = "auto",
    mean_limits: Range | None = None,
    std_limits: Range | None = None,
    response: bool = False,
    frames_list: str | os.PathLike[str] | None = None,
    frames: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    options: ReadOptions | None = None,
    overwrite: bool = False,
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
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file. May be left out if
        there is a `frames_list`.
    output : path-like, optional
        Sensor file to write. While the measurement runs, a checkpoint is kept beside it, from which the
        same call goes on after the process was killed. An existing sensor file is replaced if it holds the
        same measurement: of the same files, with the same options.
    screen : {"auto", "off"} or float
        Frames that are blank or saturated, whose mean or standard deviation lies outside median ± k·MAD
        over the set, or that are copies of others, are taken out again, exactly, by reading just these once
        more. "auto" is k = 6, or off if there is a `frames_list`; a number is another k.
    mean_limits, std_limits : tuple of two floats or None, optional
        Lowest and highest mean (standard deviation) over the pixels of frames that are used, whatever
        `screen` says; None for an open end.
    response : bool
        Keep also how every pixel follows the exposures of the frames, for ``correction(mode="response")``.
    frames_list : path-like, optional
        CSV file as `camnorm.sensor.framelist.write_frame_list` writes it: just the frames that it says are
        accepted are measured, in the halves that it says.
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
    overwrite : bool
        Whether `output` may replace another measurement.
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
        used; if the list of frames does not fit; if `output` holds another measurement, is an input, or is
        being written by another process. Subclass FormatError with `strict`, and if `output` is a file of
        another kind.
    ValueError
        If an option makes no sense, or options do not go together.
    OSError
        If `output` cannot be written.

    See Also
    --------
    camnorm.screening.findings : what the frames tell of the set.
    measure_groups : for sets that are not of one kind.

    Notes
    -----
    Memory: the moments of two halves (32 bytes a pixel for integer frames, 64 for float frames; half as
    much again for the response), up to two frames a thread or 128 MB, whichever is more (some MB a thread
    for files that hold plain pixels); it does not grow with the number of frames, but for about 100 bytes a
    frame in the table. The result does not depend on `threads`, nor on where a run was interrupted.
    """
    job = _Job(
        _rules(screen, mean_limits, std_limits, frames_list is not None),
        response,
        options or ReadOptions(),
        usable_threads(threads),
        strict,
        progress,
    )
    source = _source(inputs, frames_list, Selection(frames, every, max_frames), job)
    if output is None:
        return _measure(source, job, None)
    if Path(output).is_dir():
        raise Error(f"{output}: is a directory; name the sensor file to write")
    with _Checkpoint(_Output(Path(output), overwrite, source.protected)) as checkpoint:
        sensor = _measure(source, job, checkpoint)
        checkpoint.finish(sensor)
    return sensor


def measure_groups(
    inputs: Inputs,
    output: str | os.PathLike[str] | None = None,
    *,
    screen: str | float = "auto",
    mean_limits: Range | None = None,
    std_limits: Range | None = None,
    response: bool = False,
    options: ReadOptions | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Sensor]:
    """Measure a mixed set: each group of one shape, pixel type, camera and mode of exposure on its own.

    Parameters
    ----------
    inputs, screen, mean_limits, std_limits, response, options, overwrite, strict, threads, progress
        As of `measure`.
    output : path-like, optional
        ``sensor.h5`` stands for ``sensor_1.h5``, ``sensor_2.h5`` and so on, in the order of the groups.

    Yields
    ------
    Sensor
        Of each group, in the order of their first frames, when it was measured and written: not all are in
        memory at a time.

    Raises
    ------
    Error, ValueError, OSError
        As of `measure`. What of the groups was written before stays.

    Notes
    -----
    Files are grouped by their headers, and each group is measured. If its frames turn out to be of more than
    one mode, such as two exposures (`camnorm.screening.modes`), they are read once more, mode by mode. A
    group of which no frame can be used is left out with a warning, unless there is no other, or `strict`.

    After an interruption the same call measures groups that were finished anew, and goes on within the one
    that was not.
    """
    job = _Job(
        _rules(screen, mean_limits, std_limits, listed=False),
        response,
        options or ReadOptions(),
        usable_threads(threads),
        strict,
        progress,
    )
    whole = _source(inputs, None, Selection(), job)
    groups = _by_header(whole.files, job)
    if output is None:
        return _measure_groups(groups, job, None)
    return _measure_groups(groups, job, _Output(Path(output), overwrite, whole.protected))


def _measure_groups(groups: list[_Source], job: _Job, output: _Output | None) -> Iterator[Sensor]:
    def target(ending: str | int) -> AbstractContextManager[_Checkpoint | None]:
        return nullcontext() if output is None else _Checkpoint(output.named(ending))

    written = 0
    for number, group in enumerate(groups, start=1):
        if output is not None:
            output.named(written + 1).check_part(group.files)
        # Under a name that no result has, since the group may turn out to be several.
        with target(f"group{number}") as checkpoint:
            try:
                whole = _measure(group, job, checkpoint)
            except (FormatError, ResourceError):  # of strict, and no fault of the group
                raise
            except Error as error:
                if not written and number == len(groups):
                    raise
                warnings.warn(f"a group of {len(group.files)} files is left out: {error}", stacklevel=3)
                continue
            modes = modes_of(whole.frames, whole.dtype)
            parts = [_Source.of_rows(whole.frames[rows]) for rows in modes] if len(modes) > 1 else []
            if parts:
                _tell_left_out(whole.frames, modes)
            else:
                written += 1
                if output is not None:
                    output.named(written).save(whole)
                yield whole
            del whole  # two sets of moments at a time are too many
            for part in parts:
                written += 1
                with target(written) as own:
                    sensor = _measure(part, job, own)
                    if own is not None:
                        own.finish(sensor)
                yield sensor
                del sensor
            if checkpoint is not None:
                checkpoint.remove()


def _tell_left_out(frames: npt.NDArray[np.void], modes: Sequence[npt.NDArray[np.intp]]) -> None:
    """Warn of frames that are in none of the modes of a group, and so in no measurement."""
    rows = np.setdiff1d(np.arange(frames.size), np.concatenate(modes))
    if rows.size:
        file, index, reason = frames[rows[0]][["file", "index", "reason"]].tolist()
        warnings.warn(
            f"{rows.size} of {frames.size} frames are of no kind that could be measured, the first: {file}, "
            f"frame {index}: {reason or 'an exposure of its own'}",
            stacklevel=4,
        )


@dataclass(frozen=True)
class _Job:
    """How frames are measured."""

    rules: screening.Rules
    response: bool
    options: ReadOptions
    threads: int
    strict: bool
    progress: Callable[[Progress], None] | None


@dataclass(frozen=True)
class _Source:
    """Which frames are measured."""

    files: Sequence[Path]
    selection: Selection
    chosen: Chosen
    halves: Sequence[npt.NDArray[np.str_]] | None = None
    """Of each file, the halves of the chosen frames; None: they take turns."""
    listed: Mapping[str, str] = field(default_factory=dict)
    """What the provenance keeps of a list of frames."""
    protected: Protected = field(default_factory=Protected)
    """What no result may replace."""

    @classmethod
    def of_files(cls, files: Sequence[Path], selection: Selection, job: _Job) -> _Source:
        """Frames of files that a selection takes."""
        chosen = choose_frames(files, selection, job.options, job.threads, job.progress)
        return cls(files, selection, chosen)

    @classmethod
    def of_list(cls, listed: FrameList) -> _Source:
        """Frames that a list accepts."""
        told = {"path": str(listed.path.absolute()), "digest": listed.digest}
        return cls(listed.files, Selection(), listed.chosen, listed.halves, told)

    @classmethod
    def of_rows(cls, rows: npt.NDArray[np.void]) -> _Source:
        """Frames of some rows of a frame table."""
        found: dict[str, set[int]] = {}
        for file, index in rows[["file", "index"]].tolist():
            found.setdefault(file, set()).add(index)
        frames: list[Sequence[int] | None] = [sorted(indices) for indices in found.values()]
        digest = hashlib.sha256(repr((list(found), frames)).encode(errors="surrogateescape")).hexdigest()
        return cls(
            [Path(file) for file in found],
            Selection(),
            Chosen(Selection(), frames),
            listed={"digest": digest},
        )


def _source(
    inputs: Inputs | None, frames_list: str | os.PathLike[str] | None, selection: Selection, job: _Job
) -> _Source:
    check_references(job.options)
    found = None if inputs is None else expand_inputs(inputs, job.options)
    files = None if found is None else [file.path for file in found]
    used = {name for file in found or () for name in file.lists} | {job.options.gain, job.options.defects}
    protected = Protected(path for path in (*(files or ()), *used, frames_list) if path is not None)
    if frames_list is None:
        if files is None:
            raise ValueError("there must be inputs, or a frames_list")
        check_orientation(files, job.options)
        return replace(_Source.of_files(files, selection, job), protected=protected)
    if selection != Selection():
        raise ValueError(
            "frames_list tells which frames are taken; frames, every, max_frames do not go with it"
        )
    listed = FrameList(frames_list)
    listed.check(job.options, job.threads, files)
    check_orientation(listed.files, job.options)
    for file in listed.files:
        protected.add(file)
    return replace(_Source.of_list(listed), protected=protected)


def _by_header(files: Sequence[Path], job: _Job) -> list[_Source]:
    """Files grouped by what their headers tell; those that cannot be opened stay with the first group."""

    def look(file: Path) -> tuple[Any, ...] | None:
        try:
            with open_frames(file, job.options) as source:
                return source.shape, source.dtype, source.camera
        except (Error, OSError) as error:
            raise_shortage(error)
            if job.strict:
                raise
            return None

    groups: dict[tuple[Any, ...], list[Path]] = {}
    unknown: list[Path] = []
    with ThreadPoolExecutor(at_once(job.threads, PER_FILE), thread_name_prefix="camnorm-count") as executor:
        for file, kind in zip(files, executor.map(look, files), strict=True):
            (unknown if kind is None else groups.setdefault(kind, [])).append(file)
    first, *others = list(groups.values()) or [[]]
    return [_Source.of_files(group, Selection(), job) for group in ([*first, *unknown], *others)]


def _measure(source: _Source, job: _Job, checkpoint: _Checkpoint | None) -> Sensor:
    run = _Run(source, job)
    if checkpoint is not None:
        checkpoint.load(run)
        checkpoint.prepare(run)
    try:
        run.accumulate(checkpoint)
    except KeyboardInterrupt:
        if checkpoint is not None:
            checkpoint.save(run)
        raise
    sensor = run.sensor(run.screen(), run.changes())
    if sensor.count == 0:
        raise Error(_nothing_left(sensor.frames))
    return sensor


def _rules(screen: str | float, mean: Range | None, std: Range | None, listed: bool) -> screening.Rules:
    given = {
        name: _limits(f"{name}_limits", value) for name, value in (("mean", mean), ("std", std)) if value
    }
    if screen == "off" or (screen == "auto" and listed):
        return screening.Rules(None, given)
    if screen == "auto":
        return screening.Rules(screening.DEFAULT_K, given)
    if isinstance(screen, str) or not 0 < screen < math.inf:
        raise ValueError(f"screen must be 'auto', 'off' or a positive number, not {screen!r}")
    return screening.Rules(float(screen), given)


def _limits(name: str, value: Range) -> screening.Limits:
    low, high = (
        infinity if end is None else float(end)
        for end, infinity in zip(value, (-math.inf, math.inf), strict=True)
    )
    if not low <= high or low == math.inf or high == -math.inf:
        raise ValueError(f"{name} must be (low, high), the low one not above the high one, not {value!r}")
    return screening.Limits(low, high)


def _nothing_left(frames: npt.NDArray[np.void]) -> str:
    if frames.size == 0:
        return "no frame could be used: none of the files has frames that were selected"
    first = frames[0]
    where = first["file"] if first["index"] < 0 else f"{first['file']}, frame {first['index']}"
    message = f"no frame could be used, {frames.size} rejected; the first: {where}: {first['reason']}"
    return message + (f"; {NAN_HINT}" if NAN_REASON in first["reason"] else "")


class _Run:
    """State of one measurement."""

    def __init__(self, source: _Source, job: _Job) -> None:
        self.files = [path.absolute() for path in source.files]
        self.source = source
        self.rules = job.rules
        self.response = job.response
        self.options = job.options
        self.threads = job.threads
        self.strict = job.strict
        self._progress = job.progress
        self.table = file_table(self.files)
        self.started = _now()
        self.position = (0, 0)
        """File and frame to be read next."""
        self.rows: list[npt.NDArray[np.void]] = []
        self._last_file: int | None = None
        self._last_half = 1
        self._waiting: list[Chunk | StoredChunk] = []
        self._most_open = max(1, min(_OPEN_FILES, int(_OPEN_SHARE * descriptors_left())))
        self._waiting_since = 0.0
        self.frames_read = 0
        self.bytes_read = 0
        self.rejected = 0
        self.early: list[Early] = []
        """Means of the first frames, one for each place that was passed."""
        self.groups: dict[str, dict[str, Any]] = {}
        """Files of one shape, pixel type and camera, by all these."""
        self._last_counted: int | None = None
        self.shape, self.dtype = self._reference()
        self._places = self._find_places()

    @cached_property
    def halves(self) -> tuple[PixelMoments, PixelMoments]:
        """Moments of both halves; not made in vain if a checkpoint brings its own."""
        return PixelMoments(self.shape, self.dtype), PixelMoments(self.shape, self.dtype)

    @cached_property
    def responses(self) -> tuple[PixelResponse, PixelResponse] | None:
        """Response of both halves, if it is wanted."""
        if not self.response:
            return None
        return PixelResponse(self.shape, self.dtype), PixelResponse(self.shape, self.dtype)

    def _reference(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and kind that most files have, the first ones in doubt, and the dtype of one of these."""
        step = max(1, len(self.files) // _FILES_LOOKED_INTO)
        seen: Counter[tuple[tuple[int, ...], str]] = Counter()
        dtypes: dict[tuple[tuple[int, ...], str], np.dtype[Any]] = {}
        reasons: list[str] = []

        def look(path: Path) -> None:
            try:
                with open_frames(path, self.options) as source:
                    key = source.shape, kind_of(source.dtype)
                    seen[key] += 1
                    dtypes.setdefault(key, source.dtype)
            except (Error, OSError) as error:
                raise_shortage(error)
                if self.strict:
                    raise
                reasons.append(message_of(error))

        for path in self.files[::step]:
            look(path)
        for path in [] if seen else self.files:
            look(path)
            if seen:
                break
        if not seen:
            raise Error(f"no frame could be used, {len(self.files)} files rejected; the first: {reasons[0]}")
        ((most, _),) = seen.most_common(1)
        return most[0], dtypes[most]

    def _find_places(self) -> list[tuple[int, int]]:
        """Where the mean image so far is kept, in their order."""
        sizes = np.maximum(self.table["size"], 0).astype(np.float64)
        sizes[[self.source.chosen.without(file) for file in range(sizes.size)]] = 0.0
        ends = np.cumsum(sizes)
        sums = 32 * math.prod(self.shape)
        least = 0 if sums <= _SMALL_SUMS else _READ_BY_SUMS * sums
        bytes_before = [share * ends[-1] for share in _SHARES]
        wanted = [before for before in bytes_before[:-1] if before >= least] + bytes_before[-1:]
        return sorted({self._find_place(sizes, ends, before) for before in wanted})

    def _find_place(
        self, sizes: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], before: float
    ) -> tuple[int, int]:
        """File and frame before which about so many bytes lie, by the size of each file and where it ends."""
        file = int(np.searchsorted(ends, before))
        if sizes[file] == 0:
            return file, 0
        share = 1 - (ends[file] - before) / sizes[file]
        try:
            with open_frames(self.files[file], self.options) as source:
                frames = self.source.chosen(file, source.count)
        except (Error, OSError) as error:
            raise_shortage(error)
            return file, 0
        first = round(share * len(frames))
        return (file, frames[first]) if first < len(frames) else (file + 1, 0)

    def report(self, stage: str, done: float | None = None, total: int | None = None) -> None:
        if self._progress is not None:
            done = self.position[0] if done is None else done
            total = len(self.files) if total is None else total
            self._progress(Progress(stage, done, total, self.frames_read, self.bytes_read, self.rejected))

    def accumulate(self, checkpoint: _Checkpoint | None) -> None:
        """Read every frame once, from the present position on."""
        # The exposure of a frame is known when all of it has been looked at: it is read once, to memory.
        stream = stream_frames if self.response else stream_stored
        items = stream(
            self.files,
            threads=self.threads,
            start=self.position,
            chosen=self.source.chosen,
            options=self.options,
            held=self._most_open,
            misfit=self._misfit,
        )
        # A traceback would keep the generator, for the garbage collector to close in any thread.
        with closing(items):
            self._accumulate(items, checkpoint)
        self.position = (len(self.files), 0)
        self.report("measuring")

    def _accumulate(
        self, items: Iterable[Chunk | StoredChunk | Failure], checkpoint: _Checkpoint | None
    ) -> None:
        for item in (part for whole in items for part in _parts(whole, self._places)):
            while len(self.early) < len(self._places) and _place(item) >= self._places[len(self.early)]:
                self._add_waiting()
                with _interrupts_wait():
                    self.early.append(Early.of(self.halves, sum(rows.size for rows in self.rows)))
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
                    self._leave_out(item)
            self.report("measuring")
            if checkpoint is not None:
                checkpoint.save_if_due(self)
        self._add_waiting()

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
        if len(self._waiting) >= self._most_open:
            return True
        last = self._waiting[-1]
        size = sum(chunk.frames.nbytes for chunk in self._waiting) + last.frames.nbytes
        if isinstance(last, Chunk):
            return size > _ADDED_BYTES
        late = time.monotonic() > self._waiting_since + _STORED_SECONDS
        return late or size > _STORED_BYTES

    def _add_waiting(self) -> None:
        """Add the chunks that wait, those of each half in one go."""
        if not self._waiting:
            return
        with _interrupts_wait():
            chunks, self._waiting = self._waiting, []
            for chunk in chunks:
                self._count_group(chunk.file_index, chunk.source, len(chunk.frames))
            self.frames_read += sum(len(chunk.frames) for chunk in chunks)
            self.bytes_read += sum(chunk.frames.nbytes for chunk in chunks)
            self._add(chunks)
            last = chunks[-1]
            self.position = (last.file_index, last.start + len(last.frames))

    def _leave_out(self, failure: Failure) -> None:
        """List frames, or a file, that cannot be used, and go on behind them."""
        file, frame = failure.file_index, failure.frame
        if failure.misfit is not None:
            self._count_group(file, failure.misfit, failure.count)
        several = frame is not None and failure.count > 1
        more = f" (and {failure.count - 1} more after it)" if several else ""
        self._reject(file, frame, failure.reason + more)
        self.position = (file + 1, 0) if failure.stop is None else (file, failure.stop)

    def _count_group(self, file: int, source: FrameSource, frames: int) -> None:
        shape, dtype, camera = source.shape, source.dtype.name, source.camera
        group = self.groups.setdefault(
            f"{shape} {dtype} {camera}",
            {"shape": list(shape), "dtype": dtype, "camera": camera, "files": 0, "frames": 0},
        )
        group["files"] += file != self._last_counted
        group["frames"] += frames
        self._last_counted = file

    def _add(self, chunks: list[Chunk | StoredChunk]) -> None:
        stacks: tuple[list[_Stack], list[_Stack]] = ([], [])
        rows: tuple[list[npt.NDArray[np.void]], list[npt.NDArray[np.void]]] = ([], [])
        for chunk in chunks:
            new = self._new_rows(chunk.file_index, chunk.start, len(chunk.frames))
            for frames in _of_one_half(new["half"]):
                half = "AB".index(new["half"][frames.start])
                stacks[half].append(chunk.frames[frames])
                rows[half].append(new[frames])
        for half in (0, 1):
            self._add_to(half, stacks[half], rows[half])

    def _add_to(
        self,
        half: int,
        stacks: list[_Stack],
        rows: list[npt.NDArray[np.void]],
    ) -> None:
        """Add frames to one half, leaving out those that are not finite, or can no longer be read."""
        while stacks:
            try:
                statistics = self._add_stacks(self.halves[half], stacks)
            except FrameError as error:
                raise_shortage(error)
                bad = error.frame
                reason = str(error).removeprefix(f"frame {bad} ").removeprefix("has ")
            else:
                first = 0
                for part in rows:
                    for name in ("mean", "std", "min", "max"):
                        part[name] = statistics[name][first : first + len(part)]
                    first += len(part)
                if self.responses is not None:
                    for stack, part in zip(cast(list[npt.NDArray[Any]], stacks), rows, strict=True):
                        self.responses[half].add(stack, _exposures(part), threads=self.threads)
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
            return half.add_stacks(cast(list[npt.NDArray[Any]], stacks), threads=self.threads)
        places = [place for stack in stored for place in stack.places]
        try:
            return half.add_stored(places, stored[0].dtype, threads=self.threads)
        except RuntimeError as error:  # what had been added cannot be read again to be taken away
            raise Error(f"{error}; nothing was written") from None

    def _misfit(self, source: FrameSource) -> str | None:
        """Why the frames of a file cannot be added; None if they can."""
        if source.shape != self.shape:
            return f"frames of shape {source.shape}, but the set has {self.shape}"
        kind, wanted = kind_of(source.dtype), kind_of(self.dtype)
        if kind != wanted:
            return f"{source.dtype} pixels ({kind} kind), but the set has {self.dtype} pixels ({wanted} kind)"
        return None

    def _new_rows(self, file: int, start: int, count: int) -> npt.NDArray[np.void]:
        rows = np.empty(count, FRAME_DTYPE)
        rows["file"] = self.table["path"][file]
        rows["index"] = np.arange(start, start + count)
        for name in ("mean", "std", "min", "max"):
            rows[name] = np.nan
        rows["half"] = [self._next_half(file, frame) for frame in range(start, start + count)]
        rows["status"] = "accepted"
        rows["reason"] = ""
        self.rows.append(rows)
        return rows

    def _next_half(self, file: int, frame: int) -> str:
        """Half of the next frame that is looked at."""
        if self.source.halves is not None:
            frames = self.source.chosen(file, frame + 1)
            # A file that cannot be read is of the half of its first frame.
            return str(self.source.halves[file][max(len(frames) - 1, 0)])
        if file != self._last_file or len(self.files) == 1:
            self._last_half = 1 - self._last_half
        self._last_file = file
        return "AB"[self._last_half]

    def resume(self, rows: npt.NDArray[np.void], position: tuple[int, int]) -> None:
        """Go on behind frames that were looked at before."""
        self.rows, self.position = [rows], position
        file, frame = position
        self._last_file = self._last_counted = file if frame else None
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
        if len(self.rows) != 1:  # else what others hold and change stays the table
            self.rows = [np.concatenate([np.empty(0, FRAME_DTYPE), *self.rows])]
        return self.rows[0]

    def screen(self) -> dict[str, Any]:
        """Take out deviant and repeated frames, by reading just these, and the first of copies, once more."""
        frames = self.frames()
        limits, reasons = screening.screen(frames, self.rules, self.dtype)
        sorts: dict[int, int] = {}
        if self.rules.k is not None:
            kept = frames.copy()
            kept["status"][list(reasons)] = "rejected"
            sorts = screening.copies(kept)
        number = {path: i for i, path in reversed(list(enumerate(self.table["path"])))}
        rows_of: dict[tuple[int, int], list[int]] = {}  # more than one if a file is listed twice
        for row in sorted({*reasons, *sorts}):
            rows_of.setdefault((number[frames["file"][row]], int(frames["index"][row])), []).append(row)
        in_question = {place for place, rows in rows_of.items() if sorts.keys() & set(rows)}
        originals: dict[tuple[int, bytes], int] = {}
        bad: list[tuple[int, _Stack]] = []
        selections = (rows_of.keys() - in_question, stream_stored), (in_question, stream_frames)
        items = (
            item
            for selection, stream in selections
            for item in stream(
                self.files,
                threads=self.threads,
                selection=selection,
                options=self.options,
                held=self._most_open,
            )
        )
        with closing(items):
            for done, item in enumerate(items, start=1):
                if isinstance(item, Failure):
                    raise self._changed(rows_of[item.file_index, item.frame or 0][0])
                for row in rows_of[item.file_index, item.start]:
                    stack = item.frames
                    if not isinstance(stack, StoredFrames) and not self._is(
                        row, _statistics(stack, self.threads)
                    ):
                        raise self._changed(row)
                    reason = reasons.get(row)
                    if reason is None:
                        original = originals.setdefault((sorts[row], _digest(_pixels(stack))), row)
                        if screening.place(frames[original]) == screening.place(frames[row]):
                            continue
                        reason = screening.copy_reason(frames["file"][original], frames["index"][original])
                    frames["status"][row], frames["reason"][row] = "rejected", reason
                    self.rejected += 1
                    bad.append((row, stack))
                # As few passes over the sums as memory, and the number of open files, allow.
                in_memory = sum(stack.nbytes for _, stack in bad if not isinstance(stack, StoredFrames))
                if done == len(rows_of) or in_memory >= _TAKEN_BACK_BYTES or len(bad) >= self._most_open:
                    self._take_back(bad)
                    bad = []
                self.report("screening", done, len(rows_of))
        return screening.as_dict(limits, self.rules)

    def _take_back(self, bad: list[tuple[int, _Stack]]) -> None:
        """Subtract frames, each as its row of the table and a stack of one."""
        frames = self.frames()
        for half, moments in zip("AB", self.halves, strict=True):
            of_half = [(row, stack) for row, stack in bad if frames["half"][row] == half]
            for rows, dtype, places in _places_by_dtype(of_half):
                try:
                    told = moments.subtract_stored(places, dtype, threads=self.threads)
                except FrameError as error:
                    raise self._changed(rows[error.frame]) from None
                for row, statistics in zip(rows, told, strict=True):
                    if not self._is(row, statistics):
                        raise self._changed(row)
            for array in _arrays_by_dtype(stack for _, stack in of_half):
                moments.subtract(array, threads=self.threads)
        for early in self.early:
            for array in _arrays_by_dtype(stack for row, stack in bad if row < early.rows):
                early.subtract(array)
        for row, stack in bad:
            which = [early for early in self.early if row < early.rows]
            if which and isinstance(stack, StoredFrames):
                pixels = _pixels(stack)
                for early in which:
                    early.subtract(pixels)
        if self.responses is not None:
            for row, stack in bad:
                response = self.responses["AB".index(frames["half"][row])]
                exposures = _exposures(frames[row : row + 1])
                response.subtract(_pixels(stack), exposures, threads=self.threads)

    def _is(self, row: int, statistics: np.void) -> bool:
        """Whether statistics are those of the frame that was measured."""
        measured = self.frames()[row]
        return all(statistics[name] == measured[name] for name in ("mean", "std", "min", "max"))

    def _changed(self, row: int) -> Error:
        frame = self.frames()[row]
        return Error(
            f"{frame['file']}, frame {frame['index']}: no longer what it was when it was measured; "
            "nothing was written"
        )

    def changes(self) -> dict[str, Any]:
        """What the first frames tell beside the others, of drift and of how the mean image converges."""
        whole = len(self.early) >= len(self._places)
        return {
            "drift": (measure_drift(self.halves, self.early[-1]) if whole else None) or {},
            "ratios": measure_ratios(self.halves, self.early, self.frames()),
        }

    def sensor(self, screened: dict[str, Any], changes: dict[str, Any]) -> Sensor:
        groups = sorted(self.groups.values(), key=lambda group: -group["frames"])
        provenance = {
            "version": _core.version,
            "command": shlex.join(sys.argv),
            "started": self.started,
            "ended": _now(),
            "screening": screened,
            "selection": asdict(self.source.selection),
            "reading": self.options.to_dict(),
            "frames_list": dict(self.source.listed),
            "groups": groups[:_GROUPS_TOLD],
            **changes,
            "files": self.table,
        }
        return Sensor(self.halves, self.frames(), provenance, self.responses)


@dataclass(frozen=True)
class _Output:
    """The sensor file to be written."""

    path: Path
    overwrite: bool
    protected: Protected

    def named(self, ending: str | int) -> _Output:
        """The file of one of several groups."""
        path = self.path.with_name(f"{self.path.stem}_{ending}{self.path.suffix}")
        return replace(self, path=path)

    def check(self, identity: Identity) -> None:
        """Raise an error if there is a file that this measurement may not replace."""
        check_replaceable(self.path, self.overwrite, identity.has_same_settings)

    def check_part(self, files: Sequence[Path]) -> None:
        """Raise an error if there is a file that no measurement of some of these files may replace."""

        def may_be_same(found: Identity) -> bool:
            return {path for path, _, _ in found.files} <= {str(file.absolute()) for file in files}

        check_replaceable(self.path, self.overwrite, may_be_same)

    def save(self, sensor: Sensor) -> None:
        save_contents(self.path, sensor.contents, self.overwrite, self.protected)


class _Checkpoint:
    """State of a run kept beside the output, so that the same call can go on from there.

    As a context manager it locks the output, so that no other process measures to it meanwhile.
    """

    def __init__(self, output: _Output) -> None:
        self.output = output
        self.path = output.path.with_name(output.path.name + ".checkpoint")
        self._next = time.monotonic() + _CHECKPOINT_SECONDS
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

    def prepare(self, run: _Run) -> None:
        """Find out at once, not after a night, that the output cannot be written."""
        sensor = run.sensor(screening.as_dict({}, run.rules), {})
        if not self._resumed:  # else it had been allowed to replace what is there
            self.output.check(sensor.contents.identity)
        # A checkpoint stays until the next, or the result, is on disk.
        files = 1 if self.path.exists() else 2
        try:
            with tempfile.TemporaryFile(dir=self.output.path.parent) as probe:
                early = len(_SHARES) * Early.stored_bytes(run.shape)
                reserve(probe, files * (sensor.contents.nbytes + early))
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

    def load(self, run: _Run) -> None:
        """Put a run where its checkpoint left it, if there is one that fits."""
        if not self.path.exists():
            return
        try:
            contents, attributes, arrays = read_contents(self.path, _CHECKPOINT)
            sensor = Sensor(*contents)
            file, frame, frames_read, bytes_read = (
                int(attributes[name]) for name in ("file", "frame", "frames_read", "bytes_read")
            )
            early = [
                Early(arrays[f"early_{i}"], int(count), int(rows))
                for i, (count, rows) in enumerate(attributes.get("early", []))
            ]
        except FormatError as error:
            warnings.warn(f"starting anew: {error}", stacklevel=3)
            return
        except (KeyError, TypeError, ValueError) as error:
            warnings.warn(f"starting anew: {self.path}: damaged checkpoint: {error}", stacklevel=3)
            return
        # What was read must be what would be read now; files that came after it do not matter, but
        # for a single file that has got company, since its halves would be others, and for a choice of
        # frames of all files.
        whole = run.source.selection.max_frames is not None or bool(run.source.listed)
        read = slice(None if whole else file + (frame > 0))
        provenance = sensor.provenance
        if (
            provenance.get("selection", asdict(Selection())) != asdict(run.source.selection)
            or provenance.get("frames_list", {}) != run.source.listed
            or sensor.options.to_dict() != run.options.to_dict()
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
        if (sensor.responses is None) == run.response:
            word = "without" if sensor.responses is None else "with"
            warnings.warn(f"starting anew: {self.path} is of a measurement {word} response", stacklevel=3)
            return
        rejected = sensor.frames[sensor.frames["status"] == "rejected"]
        if run.strict and rejected.size:
            index = int(rejected["index"][0])
            raise FormatError(rejected["file"][0], rejected["reason"][0], frame=None if index < 0 else index)
        run.halves = sensor.halves
        run.responses = sensor.responses
        run.resume(sensor.frames, (file, frame))
        self._resumed = True
        run.started = provenance["started"]
        run.groups = {
            f"{tuple(group['shape'])} {group['dtype']} {group['camera']}": group
            for group in provenance.get("groups", [])
        }
        run.early = early
        run.frames_read, run.bytes_read = frames_read, bytes_read
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
        attributes["early"] = np.array([(early.count, early.rows) for early in run.early]).reshape(-1, 2)
        arrays = {f"early_{i}": early.mean for i, early in enumerate(run.early)}
        try:
            with atomic_target(self.path, overwrite=True, protected=self.output.protected) as temporary:
                write_contents(temporary, run.sensor({}, {}).contents, attributes, arrays)
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


def _place(item: Chunk | StoredChunk | Failure) -> tuple[int, int]:
    """File and frame that an item begins with."""
    start = item.frame or 0 if isinstance(item, Failure) else item.start
    return item.file_index, start


def _parts(
    item: Chunk | StoredChunk | Failure, places: list[tuple[int, int]]
) -> Iterator[Chunk | StoredChunk | Failure]:
    """Cut a chunk before the frames at some places, if it holds them behind others."""
    if isinstance(item, Failure):
        yield item
        return
    cuts = [frame - item.start for file, frame in places if file == item.file_index]
    bounds = [0, *(cut for cut in cuts if 0 < cut < len(item.frames)), len(item.frames)]
    for first, last in pairwise(bounds):
        if isinstance(item, Chunk):
            yield replace(item, start=item.start + first, frames=item.frames[first:last])
        else:
            yield replace(item, start=item.start + first, frames=item.frames[first:last])


def _of_one_half(halves: npt.NDArray[np.str_]) -> list[slice]:
    """Frames of each half, in as few slices as it takes."""
    for step in (1, 2):
        if all((halves[first::step] == halves[first]).all() for first in range(min(step, halves.size))):
            return [slice(first, None, step) for first in range(min(step, halves.size))]
    changes = [0, *(np.flatnonzero(halves[1:] != halves[:-1]) + 1).tolist(), halves.size]
    return [slice(first, last) for first, last in pairwise(changes)]


def _arrays_by_dtype(stacks: Iterable[_Stack]) -> list[npt.NDArray[Any]]:
    """Stacks in memory as one of each pixel type."""
    found: dict[np.dtype[Any], list[npt.NDArray[Any]]] = {}
    for stack in stacks:
        if not isinstance(stack, StoredFrames):
            found.setdefault(stack.dtype, []).append(stack)
    return [np.concatenate(some) if len(some) > 1 else some[0] for some in found.values()]


def _places_by_dtype(
    bad: Iterable[tuple[int, _Stack]],
) -> list[tuple[list[int], np.dtype[Any], list[tuple[int, int]]]]:
    """Rows of stored frames, and the frames' places, for each pixel type."""
    found: dict[np.dtype[Any], tuple[list[int], list[tuple[int, int]]]] = {}
    for row, stack in bad:
        if isinstance(stack, StoredFrames):
            rows, places = found.setdefault(stack.dtype, ([], []))
            rows.append(row)
            places += stack.places
    return [(rows, dtype, places) for dtype, (rows, places) in found.items()]


def _pixels(stack: _Stack) -> npt.NDArray[Any]:
    """A stack of one frame in memory."""
    if not isinstance(stack, StoredFrames):
        return stack
    ((file, offset),) = stack.places
    data = os.pread(file, stack.nbytes, offset)
    if len(data) < stack.nbytes:
        raise Error("a file has shrunk while it was read; nothing was written")
    return np.frombuffer(data, stack.dtype).reshape(stack.shape)


def _digest(frames: npt.NDArray[Any]) -> bytes:
    """What tells frames of other pixels from these; integers of any type that have the same values agree."""
    if kind_of(frames.dtype) == "integer":
        frames = frames.astype(np.int32)
    return hashlib.sha256(np.ascontiguousarray(frames).data).digest()


def _statistics(frames: npt.NDArray[Any], threads: int) -> np.void:
    statistics: np.void = frame_statistics(frames, threads=threads)[0]
    return statistics


def _exposures(rows: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Exposures of frames, as far as they are known: the means over their pixels."""
    return np.ascontiguousarray(rows["mean"], np.float64)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
