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
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from queue import LifoQueue
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.apriori import check_references
from camnorm.correction.adjustments import Adjustments, Mode
from camnorm.correction.correction import Correction
from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io import (
    AtomicFile,
    Chosen,
    FrameSource,
    FrameWriter,
    InputFile,
    Protected,
    ReadOptions,
    Selection,
    check_compression,
    check_shape,
    create_writer,
    expand_inputs,
    is_flipped,
    open_frames,
    output_format,
    reason_of,
    runs,
    sync_directory,
    target_name,
)
from camnorm.io.base.selection import choose_frames
from camnorm.limits import PER_FILE, at_once, usable_threads
from camnorm.progress import Progress
from camnorm.sensor.sensor import CorrectionImages, Sensor

__all__ = ["correct"]

_DTYPES = tuple(np.dtype(name) for name in ("float32", "float16", "int16", "uint16", "int8", "uint8"))

_Part = TypeVar("_Part")

# So many target sigmas below and above the target mean fit scaled integers.
_SIGMAS = 40

# Bytes of pixels, as they are read and as they are written, that a thread works on at a time: in its cache.
_BYTES = 8 * 2**20
# Descriptors that a file takes while it is corrected, at most: its own, its target's (a lock, and one of
# HDF5), and those of the frames and chunks that threads work on.
_PER_JOB = PER_FILE + 5
# Frames of which it does so together, for the mean and the sigma image to be read once for all of them.
_FRAMES = 8


def correct(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sensor: Sensor | str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike = np.float32,
    scale: Literal["auto"] | None = None,
    format: Literal["same", "mrc", "tiff", "hdf5", "zarr"] = "same",
    compression: Literal["none", "lzw", "deflate", "zstd"] = "none",
    target_mean: float | None = None,
    target_sigma: float | None = None,
    bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
    mode: Mode = "both",
    keep_illumination: float | bool | None = None,
    shrink: bool = False,
    sum_frames: bool = False,
    virtual: bool = False,
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

    MRC files become MRC files with their header, TIFF, HDF5 and Zarr files the same again, others TIFF files,
    unless `format` says otherwise. Each is written under its own name in `out_dir` (files found in a
    directory, under their path in it), and appears there whole or not at all. Only selected frames are
    written; a file with none of these is passed over. Neither threads nor the order in which they come to it
    change a bit of a file.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file.
    sensor : Sensor or path-like
        The measured set.
    out_dir : path-like
        Directory to write to; made if it is not there.
    dtype : dtype-like
        Pixel type of the results: float32, float16, int16, uint16, int8, uint8. Integers are rounded half to
        even. Pixels beyond the range of the type saturate, and a warning counts them. MRC holds uint8 as
        uint16 (mode 6), since its mode 0 is signed.
    scale : {"auto"}, optional
        Of int16: the target mean becomes 0, and 40 target sigmas to either side fit. ``camnorm_scale`` and
        ``camnorm_offset`` in the labels of an MRC file, the description of a TIFF file, or the attribute
        ``label`` tell of it: value = (pixel - offset) / scale.
    format : {"same", "mrc", "tiff", "hdf5", "zarr"}
        Format of the results. Rows are turned upside down between MRC and TIFF, whose programs count them
        from opposite edges; that is told by a warning.
    compression : {"none", "lzw", "deflate", "zstd"}
        Of the frames, each for itself and as fast as can be: all for TIFF, "deflate" for HDF5, "deflate" and
        "zstd" for Zarr.
    target_mean, target_sigma : float, optional
        I0 and s0, by default those of the set; 0 and 1 give Eq. (1).
    bad_policy : {"neutral", "interpolate", "nan"}
        What pixels that never change become; see `Correction`.
    mode, keep_illumination, shrink
        Other corrections, for sets that fall short of what this one assumes: see `Sensor.correction`. What is
        set is noted in the files, behind ``camnorm_correction``.
    sum_frames : bool
        Write the sum of each file's corrected frames instead of them, as float32. It is formed in float64
        and rounded once.
    virtual : bool
        Write no pixels, but for each file a small manifest, ``.camnorm.json``, that `open_frames` and all
        commands read as the corrected frames, to the bit; and one file of the correction that all of them
        name. A file that has changed since is refused.
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
        If `dtype` cannot be written, or a target, `scale`, `bad_policy` or `sum_frames` does not suit it; if
        files of the format are not compressed that way, or cannot hold colour frames; if there is no such
        correction.
    OSError
        If a file cannot be written.
    """
    dtype = np.dtype(dtype)
    if dtype not in _DTYPES:
        raise ValueError(f"corrected files hold {', '.join(map(str, _DTYPES))}, not {dtype}")
    if bad_policy == "nan" and dtype.kind != "f":
        raise ValueError(f"bad pixels cannot be NaN in {dtype} files")
    if scale not in (None, "auto"):
        raise ValueError(f"scale must be 'auto' or None, not {scale!r}")
    if scale is not None and dtype != np.int16:
        raise ValueError(f"pixels are scaled to int16 only, not to {dtype}")
    if virtual and (format != "same" or compression != "none" or sum_frames):
        raise ValueError("manifests hold no pixels: they have no format, compression or sum")
    if sum_frames and dtype != np.float32:
        raise ValueError(f"sums are written as float32, not {dtype}")
    adjustments = Adjustments(mode, keep_illumination, shrink)
    selection = Selection(frames, every, max_frames)
    workers = usable_threads(threads)
    measured = sensor if isinstance(sensor, Sensor) else Sensor.load(sensor)
    options = measured.options if options is None else options
    check_references(options, measured.shape)
    files = expand_inputs(inputs, options)
    chosen = choose_frames([file.path for file in files], selection, options, workers, progress)
    label = f"camnorm {_core.version}: a posteriori corrected, {measured.count} frames"
    images = measured._correction_images(adjustments, target_mean, target_sigma)
    del measured  # the moments, if they were loaded here, take as much memory as all that follows
    correction = images.correction(bad_policy)
    if adjustments:
        label += f"\ncamnorm_correction: {adjustments}"
    if scale is not None:
        del correction  # before there is another
        correction, note = _scaled(images, bad_policy)
        label += "\n" + note
    del images
    output = _Output(dtype, format, compression, label, sum_frames, virtual, overwrite)
    protected = Protected(used for used in (options.gain, options.defects) if used is not None)
    if not isinstance(sensor, Sensor):
        protected.add(sensor)
    jobs = _jobs(files, _folder(out_dir), chosen, options, output, protected)
    saved = None
    if virtual:
        from camnorm.application.virtual import save_correction

        saved = save_correction(_folder(out_dir), correction._core)
    corrector = _Corrector(jobs, chosen, options, correction, bad_policy, output, saved, protected, workers)
    written: list[Path] = []
    errors: list[FormatError] = []
    frames_done = pixels = 0
    try:
        with closing(corrector.results()) as results:
            for number, result in enumerate(results):
                if isinstance(result, _Corrected):
                    result.writer.commit()
                    written.append(jobs[number].target)
                    frames_done += result.frames
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
    if clipped := correction.clipped + corrector.clipped:
        share = clipped / corrector.pixels
        advice = "choose target mean and target sigma to suit it" if scale is None else "float32 holds all"
        warnings.warn(
            f"{clipped} pixels ({share:.2%}) lay outside {dtype} and were saturated: {advice}", stacklevel=2
        )
    return written


def _scaled(images: CorrectionImages, bad_policy: Any) -> tuple[Correction, str]:
    """The correction that leads to the results of another, scaled for int16; and a note on that."""
    scale = np.iinfo(np.int16).max / (_SIGMAS * images.target_sigma)
    offset = -images.target_mean * scale
    # Other targets, so that pixels are rounded only once.
    scaled = images._replace(target_mean=0.0, target_sigma=scale * images.target_sigma)
    return scaled.correction(bad_policy), f"camnorm_scale={scale!r} camnorm_offset={offset!r}"


class _Output(NamedTuple):
    """What is written, of every file."""

    dtype: np.dtype[Any]
    format: str
    compression: str
    label: str
    sum_frames: bool
    virtual: bool
    overwrite: bool

    def label_of(self, frames: int) -> str:
        """What is noted in a file that is made from so many frames."""
        return self.label + (f"\nsum of {frames} frames" if self.sum_frames else "")


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

    writer: FrameWriter | AtomicFile
    frames: int
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
        output: _Output,
        saved: Path | None,
        protected: Protected,
        threads: int,
    ) -> None:
        self.pixels = 0
        """Number that were corrected, also in files that were then left out."""
        self.clipped = 0
        """Pixels of sums that saturated; of other pixels, the correction counts those that did."""
        self._jobs = jobs
        self._chosen = chosen
        self._options = options
        self._correction = correction
        self._whole_frames = bad_policy == "interpolate"
        self._output = output
        self._saved = saved  # the correction, for manifests to name it
        self._protected = protected
        self._changed = threading.Condition()
        self._stopped = False
        self._ahead = at_once(2 * threads, _PER_JOB)
        self._threads = threads = min(threads, self._ahead)
        # So many threads work at a time, while others wait for files to be on disk.
        self._buffers: LifoQueue[tuple[_Buffer, _Buffer]] = LifoQueue()
        for _ in range(threads):
            self._buffers.put((_Buffer(), _Buffer()))
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
            if self._saved is not None:
                return self._write_manifest(source, frames, job.target, self._saved)
            writer = create_writer(
                job.target,
                source,
                self._output.dtype,
                count=1 if self._output.sum_frames else len(frames),
                label=self._output.label_of(len(frames)),
                wanted=self._output.format,
                compression=self._output.compression,
                overwrite=self._output.overwrite,
                protected=self._protected,
            )
            try:
                threads = math.ceil(self._threads / (len(self._jobs) - number))
                if self._output.sum_frames:
                    self._write_sum(source, frames, writer, threads)
                else:
                    self._correct_frames(source, frames, writer, threads)
                writer.finish()
            except BaseException:
                writer.discard()
                raise
        return _Corrected(writer, len(frames), len(frames) * math.prod(source.shape) * source.dtype.itemsize)

    def _write_manifest(
        self, source: FrameSource, frames: Sequence[int], target: Path, correction: Path
    ) -> _Corrected:
        from camnorm.application.virtual import write_manifest

        output = self._output
        if source.format == "camnorm manifest":
            raise FormatError(source.path, "is a manifest of corrected frames already")
        manifest = write_manifest(
            target,
            source,
            frames,
            self._options,
            output.dtype,
            correction,
            output.label,
            output.overwrite,
            self._protected,
        )
        return _Corrected(manifest, len(frames), 0)

    def _correct_frames(
        self, source: FrameSource, frames: Sequence[int], writer: FrameWriter, threads: int
    ) -> None:
        whole_frames = self._whole_frames or writer.whole_frames
        self._share(
            self._blocks(source, frames, whole_frames),
            partial(self._correct_block, source, writer),
            threads,
            # Blocks are begun in order: the thread that all others wait for is at work.
            ready=lambda: writer.waiting < self._threads,
        )

    def _write_sum(
        self, source: FrameSource, frames: Sequence[int], writer: FrameWriter, threads: int
    ) -> None:
        """Write the sum of the corrected frames: by Eq. (2), their number times the corrected mean."""
        sums = np.zeros(source.shape)
        # Whole frames are added to the same pixels, parts of rows each to their own.
        adding = threading.Lock() if source.offsets is None else nullcontext()
        self._share(self._parts(source, frames), partial(self._add_blocks, source, sums, adding), threads)
        mean = sums[np.newaxis]
        mean /= len(frames)
        self._correction.apply(mean, out=mean, threads=threads)
        mean *= len(frames)
        with np.errstate(over="ignore"):
            total = mean.astype(self._output.dtype)
        beyond = np.isinf(total) & np.isfinite(mean)
        total[beyond] = np.copysign(np.finfo(total.dtype).max, mean[beyond])
        writer.write(total)
        with self._changed:
            self.pixels += total.size
            self.clipped += int(np.count_nonzero(beyond))

    def _share(
        self,
        parts: Iterable[_Part],
        do: Callable[[_Part, _Buffer, _Buffer], None],
        threads: int,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do all parts of a file in several threads: the next one as soon as it is ready."""
        left = deque(enumerate(parts))
        failed: list[tuple[int, Exception]] = []
        active = 0

        def work() -> None:
            nonlocal active
            buffers = self._buffers.get()
            with self._changed:
                active += 1
            with suppress(IndexError):
                while not self._stopped:
                    with self._changed:
                        self._changed.wait_for(lambda: ready() or not left)
                        number, part = left.popleft()
                    try:
                        do(part, *buffers)
                    except Exception as error:
                        failed.append((number, error))
                        left.clear()
                    with self._changed:
                        self._changed.notify_all()
            with self._changed:
                active -= 1
                self._changed.notify_all()
            self._buffers.put(buffers)

        for _ in range(min(threads, len(left)) - 1):
            self._pool.submit(work)
        work()
        with self._changed:
            # Those that come to it later find nothing to do.
            self._changed.wait_for(lambda: active == 0)
        if failed:
            raise min(failed)[1]
        if self._stopped:
            raise CancelledError

    def _blocks(self, source: FrameSource, frames: Sequence[int], whole_frames: bool) -> Iterator[_Block]:
        height = source.shape[0]
        whole_frames = whole_frames or source.offsets is None
        least = 1 if whole_frames else _FRAMES
        most = max(least, _BYTES // (height * self._row_bytes(source)))
        place = 0
        for first, last in runs(frames):
            together = min(most, last - first)
            rows = height if whole_frames else self._rows(source, together)
            for start in range(first, last, together):
                stop = min(start + together, last)
                for row in range(0, height, rows):
                    yield _Block(start, stop, row, min(row + rows, height), place)
                place += stop - start

    def _rows(self, source: FrameSource, frames: int) -> int:
        """Rows of so many frames to work on at a time."""
        return min(max(1, _BYTES // (frames * self._row_bytes(source))), source.shape[0])

    def _parts(self, source: FrameSource, frames: Sequence[int]) -> Iterator[Sequence[_Block]]:
        """Blocks to be added up, each part by one thread: threads do not change the order of a pixel's.

        Or they do where sums are exact: of integers.
        """
        height = source.shape[0]
        if source.offsets is not None:
            rows = self._rows(source, min(_FRAMES, len(frames)))
            for row in range(0, height, rows):
                yield [
                    _Block(start, min(start + _FRAMES, stop), row, min(row + rows, height), 0)
                    for first, stop in runs(frames)
                    for start in range(first, stop, _FRAMES)
                ]
        else:
            blocks = [_Block(frame, frame + 1, 0, height, 0) for frame in frames]
            yield from [blocks] if source.dtype.kind == "f" else ([block] for block in blocks)

    def _add_blocks(
        self,
        source: FrameSource,
        sums: npt.NDArray[np.float64],
        adding: AbstractContextManager[Any],
        blocks: Sequence[_Block],
        into: _Buffer,
        out: _Buffer,
    ) -> None:
        for block in blocks:
            frames = _read(source, block, into)
            with adding:
                _core.add_frames(frames, sums[block.first_row : block.last_row], 1)

    def _row_bytes(self, source: FrameSource) -> int:
        """Bytes of a row, as it is read and as it is written."""
        return math.prod(source.shape[1:]) * (source.dtype.itemsize + self._output.dtype.itemsize)

    def _correct_block(
        self, source: FrameSource, writer: FrameWriter, block: _Block, into: _Buffer, out: _Buffer
    ) -> None:
        frames = _read(source, block, into)
        count, height = frames.shape[:2]
        rows = height if self._whole_frames or writer.whole_frames else self._rows(source, count)
        for row in range(0, height, rows):
            piece = frames[:, row : row + rows]
            corrected = out.array(piece.shape, self._output.dtype)
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
        raise_shortage(error)
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
        raise_shortage(error)
        known = error.frame if isinstance(error, FormatError) else None
        raise FormatError(path, reason_of(error), frame=frame if known is None else known) from error


def _folder(out_dir: str | os.PathLike[str]) -> Path:
    """The folder of results, without the name of one that may not exist and be left at once: ``new/..``."""
    folder = Path(out_dir)
    return Path(os.path.realpath(folder)) if ".." in folder.parts else folder


def _jobs(
    files: Sequence[InputFile],
    folder: Path,
    chosen: Chosen,
    options: ReadOptions,
    output: _Output,
    protected: Protected,
) -> list[_Job]:
    """Where the result of each file goes; found out, and all conflicts, before the first frame is read."""
    jobs: dict[Path, _Job] = {}
    flipped = False
    for list_file in {name for file in files for name in file.lists}:
        protected.add(list_file)
    for number, file in enumerate(files):
        protected.add(file.path)
        if chosen.without(number):
            continue
        name = file.relative
        try:
            with open_frames(file.path, options) as source:
                for used in source.files:
                    protected.add(used)
                if not chosen(number, source.count):
                    continue
                written = output_format(source.format, output.format)
                check_compression(written, output.compression)
                if not output.virtual:
                    check_shape(written, source.shape)
                flipped |= is_flipped(source.format, written)
                name = target_name(name, source.format, output.format)
        except (Error, OSError) as error:  # which is told when the file is to be corrected
            raise_shortage(error)
        if output.virtual:
            name = file.relative.with_name(f"{file.relative.name}.camnorm.json")
        target = folder / name
        if target in jobs:
            raise Error(f"{jobs[target].path} and {file.path} would both be written to {target}")
        jobs[target] = _Job(number, file.path, target)
    if not jobs:
        raise Error("no file could be corrected: none has frames that were selected")
    _check_inside(jobs, folder)
    for target in jobs:
        protected.check(target)
    there = [target for target in jobs if os.path.lexists(target)]
    if there and not output.overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise Error(f"{there[0]}: already exists{more}; use overwrite=True to replace it")
    if flipped:
        warnings.warn(
            "rows are turned upside down between MRC and TIFF, whose programs count them from opposite edges",
            stacklevel=3,
        )
    return list(jobs.values())


def _check_inside(targets: Iterable[Path], folder: Path) -> None:
    """Raise Error if a link leads a result out of the folder of results."""
    root = os.path.realpath(folder)
    for parent in {target.parent for target in targets}:
        place = os.path.realpath(parent)
        if os.path.commonpath([root, place]) != root:
            raise Error(f"{parent}: leads to {place}, outside of {folder}; results stay below that folder")
