"""Correcting files: every frame of every file, written under the same names elsewhere."""

from __future__ import annotations

import math
import os
import threading
import warnings
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import LifoQueue
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core
from .correction import Correction
from .errors import Error, FormatError
from .io import (
    Chosen,
    FrameSource,
    FrameWriter,
    InputFile,
    ReadOptions,
    Selection,
    create_writer,
    expand_inputs,
    open_frames,
    reason_of,
    runs,
    sync_directory,
    target_name,
)
from .measurement import Progress, choose_frames
from .sensor import Sensor

__all__ = ["correct"]

_DTYPES = tuple(np.dtype(name) for name in ("float32", "float16", "int16", "uint16", "uint8"))

# Bytes of pixels, as they are read and as they are written, that a thread works on at a time: in its cache.
_BYTES = 8 * 2**20
# Frames of which it does so together, for the mean and the sigma image to be read once for all of them.
_FRAMES = 8


def correct(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sensor: Sensor | str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike = np.float32,
    target_mean: float | None = None,
    target_sigma: float | None = None,
    bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
    overwrite: bool = False,
    frames: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    options: ReadOptions | None = None,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_error: Callable[[FormatError], None] | None = None,
) -> list[Path]:
    """Correct every frame of every file, by Eq. (2) of Afanasyev et al. 2015.

    MRC files become MRC files with their header, TIFF files TIFF files, others TIFF files. Each is
    written under its own name in `out_dir` (files found in a directory, under their path in it), and
    appears there whole or not at all. Only selected frames are written; a file with none of these is
    passed over.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file.
    sensor : Sensor or path-like
        The measured set.
    out_dir : path-like
        Directory to write to; made if it is not there.
    dtype : dtype-like
        Pixel type of the results: float32, float16, int16, uint8, uint16. Integers are rounded half to
        even and saturate. MRC holds uint8 as uint16 (mode 6), since its mode 0 is signed.
    target_mean, target_sigma : float, optional
        I0 and s0, by default those of the set; 0 and 1 give Eq. (1).
    bad_policy : {"neutral", "interpolate", "nan"}
        What pixels that never change become; see `Correction`.
    overwrite : bool
        Replace files that are there.
    frames, every, max_frames
        Which of the frames are corrected, as for `measure`.
    options : ReadOptions, optional
        How the files are read. By default as the sensor's were.
    strict : bool
        Stop at the first file with a frame that cannot be read, instead of going on with the next.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called with a `Progress` now and then.
    on_error : callable, optional
        Called with the error of each file that was left out; by default it becomes a warning.

    Returns
    -------
    list of Path
        The files written, in the order of the inputs.

    Raises
    ------
    Error
        If a target is there already or is an input, or two inputs would be written to one (nothing is
        written then), or if not a single file could be corrected, or none has a selected frame.
    ValueError
        If `dtype` cannot be written, or a target or `bad_policy` does not suit it.
    OSError
        If a file cannot be written.
    """
    dtype = np.dtype(dtype)
    if dtype not in _DTYPES:
        raise ValueError(f"corrected files hold {', '.join(map(str, _DTYPES))}, not {dtype}")
    if bad_policy == "nan" and dtype.kind != "f":
        raise ValueError(f"bad pixels cannot be NaN in {dtype} files")
    selection = Selection(frames, every, max_frames)
    workers = _core.resolve_threads(threads)
    if not isinstance(sensor, Sensor):
        sensor = Sensor.load(sensor)
    options = sensor.options if options is None else options
    files = expand_inputs(inputs, options)
    chosen = choose_frames([file.path for file in files], selection, options, workers, progress)
    jobs = _jobs(files, Path(out_dir), chosen, options, overwrite)
    correction = sensor.correction(target_mean, target_sigma, bad_policy)
    label = f"camnorm {_core.version}: a posteriori corrected, {sensor.count} frames"
    corrector = _Corrector(jobs, chosen, options, correction, bad_policy, dtype, label, overwrite, workers)
    written: list[Path] = []
    errors: list[FormatError] = []
    frames_done = pixels = 0
    try:
        with closing(corrector.results()) as results:
            for number, result in enumerate(results):
                if isinstance(result, _Corrected):
                    result.writer.commit()
                    written.append(jobs[number].target)
                    frames_done += result.writer.count
                    pixels += result.bytes
                elif strict:
                    raise result
                else:
                    errors.append(result)
                    if on_error is not None:
                        on_error(result)
                    else:
                        warnings.warn(f"not corrected: {result}", stacklevel=2)
                if progress is not None:
                    progress(Progress("correcting", number + 1, len(jobs), frames_done, pixels, len(errors)))
    finally:
        for folder in {path.parent for path in written}:
            sync_directory(folder)
    if not written:
        raise Error(f"no file could be corrected; the first: {errors[0]}")
    if correction.clipped:
        share = correction.clipped / corrector.pixels
        warnings.warn(
            f"{correction.clipped} pixels ({share:.2%}) lay outside {dtype} and were saturated: choose "
            "target mean and target sigma to suit it",
            stacklevel=2,
        )
    return written


@dataclass(frozen=True)
class _Job:
    """A file to be corrected."""

    number: int
    """Place among the inputs."""
    path: Path
    target: Path


@dataclass(frozen=True)
class _Corrected:
    """A file that only has to be put in its place."""

    writer: FrameWriter
    bytes: int
    """Of the pixels as they were read."""


class _Block(NamedTuple):
    """Rows of consecutive frames."""

    start: int
    stop: int
    first_row: int
    last_row: int  # exclusive, as `stop`
    place: int
    """Of the first frame in the file that is written."""


class _Corrector:
    """Corrects files in threads.

    A system lets only one thread at a time write to a file: each thread has a file of its own, until there
    are fewer files than threads. It reads a few rows of a few frames, which stay in its cache until they
    are written.
    """

    def __init__(
        self,
        jobs: Sequence[_Job],
        chosen: Chosen,
        options: ReadOptions,
        correction: Correction,
        bad_policy: str,
        dtype: np.dtype[Any],
        label: str,
        overwrite: bool,
        threads: int,
    ) -> None:
        self.pixels = 0
        """Number that were corrected, also in files that were then left out."""
        self._jobs = jobs
        self._chosen = chosen
        self._options = options
        self._correction = correction
        self._whole_frames = bad_policy == "interpolate"
        self._dtype = dtype
        self._label = label
        self._overwrite = overwrite
        self._threads = threads
        self._changed = threading.Condition()
        self._stopped = False
        # So many threads work at a time, while others wait for files to be on disk.
        self._buffers: LifoQueue[tuple[_Buffer, _Buffer]] = LifoQueue()
        for _ in range(threads):
            self._buffers.put((_Buffer(), _Buffer()))
        self._ahead = 2 * threads
        self._pool = ThreadPoolExecutor(self._ahead + threads, thread_name_prefix="camnorm-correct")

    def results(self) -> Generator[_Corrected | FormatError, None, None]:
        """Correct all files: for each in order what is to be put in its place, or why there is nothing.

        Once the generator is closed no thread is left, and nothing of what was not put in its place.
        """
        numbers = iter(range(len(self._jobs)))
        futures: deque[Future[_Corrected]] = deque()
        try:
            while True:
                for number in islice(numbers, self._ahead - len(futures)):
                    futures.append(self._pool.submit(self._correct_file, number))
                if not futures:
                    return
                try:
                    result: _Corrected | FormatError = futures[0].result()
                except FormatError as error:
                    result = error
                yield result
                futures.popleft()
        finally:
            self._stopped = True
            self._pool.shutdown(cancel_futures=True)
            for future in futures:
                if not future.cancelled() and future.exception() is None:
                    future.result().writer.discard()

    def _correct_file(self, number: int) -> _Corrected:
        job = self._jobs[number]
        with _open(job.path, self._options, self._correction.shape) as source:
            frames = self._chosen(job.number, source.count)
            if not frames:
                raise FormatError(job.path, "no frame of it was selected")
            # A file with a frame missing would no longer be the movie that it was: none is written.
            for frame in frames[bisect_left(frames, source.available) :][:1]:
                with _reading(job.path, frame):
                    source.view(frame)
            writer = create_writer(
                job.target,
                source,
                self._dtype,
                count=len(frames),
                label=self._label,
                overwrite=self._overwrite,
            )
            try:
                left = len(self._jobs) - number
                self._correct_frames(source, frames, writer, threads=math.ceil(self._threads / left))
                writer.finish()
            except BaseException:
                writer.discard()
                raise
        return _Corrected(writer, len(frames) * math.prod(source.shape) * source.dtype.itemsize)

    def _correct_frames(
        self, source: FrameSource, frames: Sequence[int], writer: FrameWriter, threads: int
    ) -> None:
        blocks = deque(self._blocks(source, frames))
        failed: list[tuple[_Block, Exception]] = []
        active = 0

        def work() -> None:
            nonlocal active
            buffers = self._buffers.get()
            with self._changed:
                active += 1
            with suppress(IndexError):
                while not self._stopped:
                    block = blocks.popleft()
                    try:
                        self._correct_block(source, writer, block, *buffers)
                    except Exception as error:
                        failed.append((block, error))
                        blocks.clear()
            with self._changed:
                active -= 1
                self._changed.notify_all()
            self._buffers.put(buffers)

        for _ in range(min(threads, len(blocks)) - 1):
            self._pool.submit(work)
        work()
        with self._changed:
            # Those that come to it later find nothing to do.
            self._changed.wait_for(lambda: active == 0)
        if failed:
            raise min(failed)[1]
        if self._stopped:
            raise CancelledError

    def _blocks(self, source: FrameSource, frames: Sequence[int]) -> Iterator[_Block]:
        height = source.shape[0]
        least = 1 if source.offsets is None or self._whole_frames else _FRAMES
        most = max(least, _BYTES // (height * self._row_bytes(source)))
        place = 0
        for first, last in runs(frames):
            together = min(most, last - first)
            rows = height if source.offsets is None else self._rows(source, together)
            for start in range(first, last, together):
                stop = min(start + together, last)
                for row in range(0, height, rows):
                    yield _Block(start, stop, row, min(row + rows, height), place)
                place += stop - start

    def _rows(self, source: FrameSource, frames: int) -> int:
        """Rows of so many frames to work on at a time."""
        height = source.shape[0]
        if self._whole_frames:
            return height
        return min(max(1, _BYTES // (frames * self._row_bytes(source))), height)

    def _row_bytes(self, source: FrameSource) -> int:
        """Bytes of a row, as it is read and as it is written."""
        return math.prod(source.shape[1:]) * (source.dtype.itemsize + self._dtype.itemsize)

    def _correct_block(
        self, source: FrameSource, writer: FrameWriter, block: _Block, into: _Buffer, out: _Buffer
    ) -> None:
        frames = _read(source, block, into)
        count, height = frames.shape[:2]
        rows = self._rows(source, count)
        for row in range(0, height, rows):
            piece = frames[:, row : row + rows]
            corrected = out.array(piece.shape, self._dtype)
            first_row = block.first_row + row
            self._correction.apply(piece, out=corrected, threads=1, first_row=first_row)
            writer.write(corrected, block.place, first_row)
        with self._changed:
            self.pixels += frames.size


class _Buffer:
    """Memory for one array after another. New memory would cost more than what is done with it."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array, valid until the next one."""
        size = math.prod(shape) * dtype.itemsize
        if self._bytes.size < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].view(dtype).reshape(shape)


def _open(path: Path, options: ReadOptions, shape: tuple[int, ...]) -> FrameSource:
    try:
        source = open_frames(path, options)
    except (Error, OSError) as error:
        raise FormatError(path, reason_of(error)) from error
    if source.shape != shape:
        source.close()
        raise FormatError(path, f"frames of shape {source.shape}, the sensor has {shape}")
    return source


def _read(source: FrameSource, block: _Block, buffer: _Buffer) -> npt.NDArray[Any]:
    if source.offsets is None:
        with _reading(source.path, block.start):
            return source.view(block.start, block.stop)  # of which all the rows are asked for
    if block.first_row == 0:
        with _reading(source.path, block.start):
            source.fetch(block.start, block.stop)
    rows = block.last_row - block.first_row
    frames = buffer.array((block.stop - block.start, rows, *source.shape[1:]), source.dtype)
    for index, frame in enumerate(frames, block.start):
        with _reading(source.path, index):
            source.read_rows(index, block.first_row, frame)
    return frames


@contextmanager
def _reading(path: Path, frame: int) -> Iterator[None]:
    """Have errors name the frame: the given one, or another if they know."""
    try:
        yield
    except (Error, OSError) as error:
        known = error.frame if isinstance(error, FormatError) else None
        raise FormatError(path, reason_of(error), frame=frame if known is None else known) from error


def _jobs(
    files: Sequence[InputFile], folder: Path, chosen: Chosen, options: ReadOptions, overwrite: bool
) -> list[_Job]:
    """Where the result of each file goes; found out, and all conflicts, before the first frame is read."""
    jobs: dict[Path, _Job] = {}
    for number, file in enumerate(files):
        if chosen.without(number):
            continue
        name = file.relative
        with suppress(Error, OSError), open_frames(file.path, options) as source:
            if not chosen(number, source.count):
                continue
            name = target_name(name, source.format)
        target = folder / name
        if target in jobs:
            raise Error(f"{jobs[target].path} and {file.path} would both be written to {target}")
        jobs[target] = _Job(number, file.path, target)
    if not jobs:
        raise Error("no file could be corrected: none has frames that were selected")
    inputs = {_identity(file.path) for file in files}
    for target in jobs:
        if target.exists() and _identity(target) in inputs:
            raise Error(f"{target}: is an input; results must go elsewhere")
    there = [target for target in jobs if os.path.lexists(target)]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise Error(f"{there[0]} is there already{more}: --overwrite replaces it")
    return list(jobs.values())


def _identity(path: Path) -> tuple[int, int]:
    """What a file is known by, whatever it is called."""
    status = path.stat()
    return status.st_dev, status.st_ino
