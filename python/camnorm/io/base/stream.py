"""Frames of many files in strict order, decoded ahead by several threads within bounded memory."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io.base.located import LocatedFrames
from camnorm.io.base.options import DEFAULTS, ReadOptions
from camnorm.io.base.registry import open_frames
from camnorm.io.base.selection import ALL, Chosen, runs
from camnorm.io.base.source import FrameSource
from camnorm.limits import PER_FILE, at_once
from camnorm.sizes import sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In a chunk of frames that take no memory.
_STORED_FRAMES = 256


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive frames of one file."""

    file_index: int
    """Place of the file in the sequence that is read."""
    start: int
    """Index in the file of the first of the frames."""
    frames: NDArray[Any]
    """Shape (n, y, x) or (n, y, x, c) in native byte order; may be read-only."""
    source: FrameSource
    """The file, of which only the attributes are of use: it may be closed."""


@dataclass(frozen=True, eq=False)
class StoredChunk:
    """Consecutive frames of one file that are read, or decoded, where they are used."""

    file_index: int
    start: int
    """As of a `Chunk`."""
    frames: LocatedFrames
    """Also after the file was closed."""
    source: FrameSource
    """As of a `Chunk`."""


@dataclass(frozen=True)
class Failure:
    """Frames that could not be read, or a file that does not belong to the set."""

    file_index: int
    """Place of the file in the sequence that is read."""
    frame: int | None
    """The first of these frames; None for the whole file."""
    count: int
    """Number of these frames: more than one beyond the end of a truncated file, or if they were never
    written, else 1. Of a misfit, the chosen frames that the file holds."""
    error: Error | OSError
    """What was raised; it names the file."""
    stop: int | None = None
    """One past the last of these frames; None for the whole file."""
    misfit: FrameSource | None = None
    """The file, if it can be read but does not belong to the set; it may be closed, as of a `Chunk`."""
    damaged: bool = False
    """Whether frames of the file that came before may be wrong."""

    @property
    def reason(self) -> str:
        """What is wrong, without the name of the file."""
        return reason_of(self.error)


def reason_of(error: Error | OSError) -> str:
    """What is wrong with a file, without its name."""
    if isinstance(error, FormatError):
        return error.reason
    return getattr(error, "strerror", None) or str(error)


def stream_frames(
    paths: Sequence[str | os.PathLike[str]],
    *,
    threads: int,
    start: tuple[int, int] = (0, 0),
    chosen: Chosen = ALL,
    selection: Iterable[tuple[int, int]] | None = None,
    options: ReadOptions = DEFAULTS,
    held: int = 0,
    misfit: Misfit | None = None,
) -> Generator[Chunk | Failure, None, None]:
    """Read the frames of many files.

    Parameters
    ----------
    paths : sequence of path-like
        The files.
    threads : int
        Number of threads that decode; fewer if the limit of open files is too low. There are at most
        2 * `threads` chunks at a time, the one that the caller works on among them: 64 MiB together, but at
        least one frame each.
    start : tuple of int
        File (place in `paths`) and frame to begin with.
    chosen : Chosen
        Which frames of each file are read.
    selection : iterable of tuple of int, optional
        Files and frames. Only these are read, sorted, each as an item of its own.
    options : ReadOptions
        How the files are read.
    held : int
        Number of chunks, besides the one that it works on, that the caller keeps. Each may hold a file
        descriptor.
    misfit : callable, optional
        Tells from an opened file why it does not belong to the set; None if it does. No frame of a misfit is
        read. Not called with `selection`.

    Yields
    ------
    Chunk or Failure
        In the order of files and frames. What cannot be read is reported in its place: a file that cannot be
        opened, or is a misfit, as one failure, with `selection` as one for each frame. Of a file that turns
        out to be damaged when some of its frames have been read, one failure says so, not with `selection`.

    Raises
    ------
    ValueError
        `threads` is less than 1.
    ResourceError
        The process may not open enough files, or has not enough memory.

    Notes
    -----
    The threads end when the generator is used up or closed, as it is when an exception leaves the loop
    over it.
    """
    files = _files(paths, start, chosen, selection)
    items = _Reader(files, threads, options, held, misfit, stored=False).items()
    return cast(Generator[Chunk | Failure, None, None], items)


def stream_stored(
    paths: Sequence[str | os.PathLike[str]],
    *,
    threads: int,
    start: tuple[int, int] = (0, 0),
    chosen: Chosen = ALL,
    selection: Iterable[tuple[int, int]] | None = None,
    options: ReadOptions = DEFAULTS,
    held: int = 0,
    misfit: Misfit | None = None,
) -> Generator[Chunk | StoredChunk | Failure, None, None]:
    """Tell where frames lie in their files, if they can be read or decoded there; read the others.

    Parameters, order, errors and threads are those of `stream_frames`. Frames that are only located have been
    read from the disk. Each such chunk holds a file descriptor.

    Yields
    ------
    Chunk, StoredChunk or Failure
    """
    files = _files(paths, start, chosen, selection)
    return _Reader(files, threads, options, held, misfit, stored=True).items()


def _files(
    paths: Sequence[str | os.PathLike[str]],
    start: tuple[int, int],
    chosen: Chosen,
    selection: Iterable[tuple[int, int]] | None,
) -> Iterator[_File]:
    if selection is None:
        first, frame = start
        files = (i for i in range(first, len(paths)) if not chosen.without(i))
        return (_File(i, Path(paths[i]), frame if i == first else 0, chosen) for i in files)
    groups = groupby(sorted(set(selection)), key=itemgetter(0))
    return (_File(i, Path(paths[i]), 0, chosen, [frame for _, frame in pairs]) for i, pairs in groups)


Misfit = Callable[[FrameSource], str | None]
_Item = Chunk | StoredChunk | Failure
_Task = Callable[[], list[_Item]]
_Read = Callable[[FrameSource, int, int], list[_Item]]


@dataclass(frozen=True)
class _File:
    """A file to be read: the `chosen` frames from frame `start` on, or each of those `selected`."""

    index: int
    path: Path
    start: int
    chosen: Chosen
    selected: list[int] | None = None

    def failures(self, error: Error | OSError) -> list[_Item]:
        if self.selected is None:
            return [Failure(self.index, None, 1, error)]
        return [Failure(self.index, frame, 1, error) for frame in self.selected]

    def tasks(
        self, source: FrameSource, chunk_bytes: int, stored: bool, misfit: Misfit | None
    ) -> list[_Task]:
        """What is to be done in turn to read the file."""
        if self.selected is not None:
            read = self._find if stored and source.is_located else self._read
            return [partial(self._read_selected, read, source, frame) for frame in self.selected]
        frames = self.chosen(self.index, source.count)
        frames = frames[bisect_left(frames, self.start) :]
        there = bisect_left(frames, source.available)
        if misfit is not None and frames and (reason := misfit(source)) is not None:
            failure = Failure(self.index, None, there, FormatError(self.path, reason), misfit=source)
            return [lambda: [failure]]
        frame_bytes = math.prod(source.shape) * source.dtype.itemsize
        read, step = self._read, max(1, chunk_bytes // frame_bytes)
        if stored and source.is_located:
            read, step = self._find, min(max(1, sizes().stored_chunk_bytes // frame_bytes), _STORED_FRAMES)
        tasks: list[_Task] = []
        for run in runs(frames[:there]):
            for start, stop, written in source.spans(*run):
                if not written:
                    tasks.append(partial(self._read_missing, source, range(start, stop)))
                    continue
                for first in range(start, stop, step):
                    tasks.append(partial(read, source, first, min(first + step, stop)))
        if there < len(frames):
            tasks.append(partial(self._read_missing, source, frames[there:]))
        if not source.sequential or not (tasks or self.start):
            return tasks
        check = partial(self._check, source)
        at_once = len(tasks) == 1 and frames[-1] == source.count - 1  # which compares the checksum
        # Sums of floats cannot give back any value that damage makes of them, as those of integers can.
        return [check, *tasks] if source.dtype.kind == "f" and not at_once else [*tasks, check]

    def _read(self, source: FrameSource, start: int, stop: int) -> list[_Item]:
        return self._by_frames(
            source,
            start,
            stop,
            lambda first, last: Chunk(self.index, first, source.view(first, last), source),
        )

    def _find(self, source: FrameSource, start: int, stop: int) -> list[_Item]:
        def make(first: int, last: int) -> _Item:
            frames = source.stored(first, last)
            if frames is None:
                return Chunk(self.index, first, source.view(first, last), source)
            return StoredChunk(self.index, first, frames, source)

        return self._by_frames(source, start, stop, make)

    def _by_frames(
        self, source: FrameSource, start: int, stop: int, make: Callable[[int, int], _Item]
    ) -> list[_Item]:
        """Make one item of the frames; of each its own if one is damaged, so that the others are not lost."""
        try:
            return [make(start, stop)]
        except (Error, OSError) as error:
            raise_shortage(error)
            if source.available == 0 and self.selected is None:
                return []  # the file is damaged, which `_check` tells
            if stop - start == 1 or start >= source.available:
                return [Failure(self.index, start, stop - start, error, stop)]
        # Where a compressed file ends may have been found out just now.
        there = max(start + 1, min(stop, source.available))
        parts = [*((frame, frame + 1) for frame in range(start, there)), (there, stop)]
        return [
            item
            for first, last in parts
            if first < last
            for item in self._by_frames(source, first, last, make)
        ]

    def _check(self, source: FrameSource) -> list[_Item]:
        """Report a file that turns out to be damaged."""
        try:
            source.check_whole()
        except (Error, OSError) as error:
            raise_shortage(error)
            return [Failure(self.index, None, 1, error, damaged=True)]
        return []

    def _read_missing(self, source: FrameSource, frames: Sequence[int]) -> list[_Item]:
        """Report all frames that are not in the file at once: a damaged header may claim millions."""
        items = self._read(source, frames[0], frames[0] + 1)
        return [
            replace(item, count=len(frames), stop=frames[-1] + 1) if isinstance(item, Failure) else item
            for item in items
        ]

    def _read_selected(self, read: _Read, source: FrameSource, frame: int) -> list[_Item]:
        if frame >= source.count:
            reason = f"no such frame, the file has {source.count}"
            return [Failure(self.index, frame, 1, FormatError(self.path, reason, frame=frame))]
        return read(source, frame, frame + 1)


def _after(before: Future[list[_Item]], task: _Task) -> list[_Item]:
    """Do a task when the one before has ended. That one has begun, as tasks begin in order: it will end."""
    wait([before])
    return task()


class _Reader:
    """Threads that open files and read chunks ahead of the one that uses them.

    Chunks are submitted strictly in order, so the one that is due next is never kept waiting by others
    that already fill the memory.
    """

    def __init__(
        self,
        files: Iterator[_File],
        threads: int,
        options: ReadOptions,
        held: int,
        misfit: Misfit | None,
        *,
        stored: bool,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self._files = files
        # This many files are opened ahead and as many are read; a chunk of each may be held.
        self._ahead = at_once(2 * threads, 2 * PER_FILE + 1, least=2, held=held)
        self._chunk_bytes = sizes().chunk_bytes // self._ahead
        self._options = options
        self._misfit = misfit
        self._stored = stored
        self._executor = ThreadPoolExecutor(min(threads, self._ahead), thread_name_prefix="camnorm-read")
        self._opening: deque[tuple[_File, Future[FrameSource]]] = deque()
        self._opened: set[FrameSource] = set()
        self._reading: deque[tuple[Future[list[_Item]], FrameSource | None]] = deque()

    def items(self) -> Generator[_Item, None, None]:
        submissions = self._submit()
        try:
            while True:
                while len(self._reading) < self._ahead - 1:  # and one is with the caller
                    submission = next(submissions, None)
                    if submission is None:
                        break
                    self._reading.append(submission)
                if not self._reading:
                    return
                future, done_with = self._reading.popleft()
                items = future.result()
                if done_with is not None:
                    self._close(done_with)
                yield from items
        finally:
            self._executor.shutdown(cancel_futures=True)
            for source in list(self._opened):
                self._close(source)

    def _submit(self) -> Iterator[tuple[Future[list[_Item]], FrameSource | None] | None]:
        """Submit task after task, each with the source to be closed after it.

        None instead if the next file is still being opened while chunks are due.
        """
        while self._open_ahead():
            file, opening = self._opening.popleft()
            while self._reading and not opening.done():
                yield None
            try:
                source = opening.result()
            except (Error, OSError) as error:
                raise_shortage(error)
                yield self._executor.submit(file.failures, error), None
                continue
            tasks = file.tasks(source, self._chunk_bytes, self._stored, self._misfit)
            if not tasks:
                self._close(source)
            future = None
            for task in tasks:
                in_turn = task if future is None or not source.sequential else partial(_after, future, task)
                future = self._executor.submit(in_turn)
                yield future, source if task is tasks[-1] else None

    def _open_ahead(self) -> bool:
        while len(self._opening) < self._ahead:
            file = next(self._files, None)
            if file is None:
                break
            self._opening.append((file, self._executor.submit(self._open, file.path)))
        return bool(self._opening)

    def _open(self, path: Path) -> FrameSource:
        source = open_frames(path, self._options)
        self._opened.add(source)
        return source

    def _close(self, source: FrameSource) -> None:
        self._opened.discard(source)
        source.close()
