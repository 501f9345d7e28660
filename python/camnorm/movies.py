"""Correcting files: every frame of every file, written under the same names elsewhere."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
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
    AtomicFile,
    FrameSource,
    FrameWriter,
    InputFile,
    ReadOptions,
    check_compression,
    create_writer,
    expand_inputs,
    is_flipped,
    open_frames,
    output_format,
    reason_of,
    sync_directory,
    target_name,
)
from .measurement import Progress
from .sensor import Sensor

__all__ = ["correct"]

_DTYPES = tuple(np.dtype(name) for name in ("float32", "float16", "int16", "uint16", "int8", "uint8"))

# So many target sigmas below and above the target mean fit scaled integers.
_SIGMAS = 40

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
    scale: Literal["auto"] | None = None,
    format: Literal["same", "mrc", "tiff"] = "same",
    compression: Literal["none", "lzw", "deflate", "zstd"] = "none",
    target_mean: float | None = None,
    target_sigma: float | None = None,
    bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
    sum_frames: bool = False,
    virtual: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_error: Callable[[FormatError], None] | None = None,
) -> list[Path]:
    """Correct every frame of every file, by Eq. (2) of Afanasyev et al. 2015.

    MRC files become MRC files with their header, TIFF files TIFF files, others TIFF files, unless `format`
    says otherwise. Each is written under its own name in `out_dir` (files found in a directory, under their
    path in it), and appears there whole or not at all. Neither threads nor the order in which they come to
    it change a bit of a file.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, or a STAR file of movies.
    sensor : Sensor or path-like
        The measured set.
    out_dir : path-like
        Directory to write to; made if it is not there.
    dtype : dtype-like
        Pixel type of the results: float32, float16, int16, uint16, int8, uint8. Integers are rounded half to
        even and saturate. MRC holds uint8 as uint16 (mode 6), since its mode 0 is signed.
    scale : {"auto"}, optional
        Of int16: the target mean becomes 0, and 40 target sigmas to either side fit. ``camnorm_scale`` and
        ``camnorm_offset`` in the labels of an MRC file or the description of a TIFF file tell of it:
        value = (pixel - offset) / scale.
    format : {"same", "mrc", "tiff"}
        Format of the results. Rows are turned upside down between MRC and TIFF, whose programs count them
        from opposite edges; that is told by a warning.
    compression : {"none", "lzw", "deflate", "zstd"}
        Of TIFF files: each frame is one strip, compressed as fast as can be.
    target_mean, target_sigma : float, optional
        I0 and s0, by default those of the set; 0 and 1 give Eq. (1).
    bad_policy : {"neutral", "interpolate", "nan"}
        What pixels that never change become; see `Correction`.
    sum_frames : bool
        Write the sum of each file's corrected frames instead of them, as float32. It is formed in float64
        and rounded once.
    virtual : bool
        Write no pixels, but for each file a small manifest, ``.camnorm.json``, that `open_frames` and all
        commands read as the corrected frames, to the bit; and one file of the correction that all of them
        name. A file that has changed since is refused.
    overwrite : bool
        Replace files that are there.
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
        written then), or if not a single file could be corrected.
    ValueError
        If `dtype` cannot be written, or a target, `scale`, `bad_policy` or `sum_frames` does not suit it; if
        files of the format are not compressed that way.
    OSError
        If a file cannot be written.
    """
    dtype = np.dtype(dtype)
    if dtype not in _DTYPES:
        raise ValueError(f"corrected files hold {', '.join(map(str, _DTYPES))}, not {dtype}")
    if bad_policy == "nan" and dtype.kind != "f":
        raise ValueError(f"bad pixels cannot be NaN in {dtype} files")
    if scale is not None and dtype != np.int16:
        raise ValueError(f"pixels are scaled to int16 only, not to {dtype}")
    if virtual and (format != "same" or compression != "none" or sum_frames):
        raise ValueError("manifests hold no pixels: they have no format, compression or sum")
    if sum_frames and dtype != np.float32:
        raise ValueError(f"sums are written as float32, not {dtype}")
    workers = _core.resolve_threads(threads)
    files = expand_inputs(inputs)
    if virtual:
        names = [file.relative.with_name(f"{file.relative.name}.camnorm.json") for file in files]
    else:
        names = _names(files, format, compression)
    targets = _targets(files, names, Path(out_dir), overwrite)
    if not isinstance(sensor, Sensor):
        sensor = Sensor.load(sensor)
    correction = sensor.correction(target_mean, target_sigma, bad_policy)
    label = f"camnorm {_core.version}: a posteriori corrected, {sensor.count} frames"
    if scale is not None:
        correction, note = _scaled(sensor, correction, bad_policy)
        label += "\n" + note
    saved = None
    if virtual:
        from .io.virtual import save_correction

        saved = save_correction(Path(out_dir), correction._core)
    output = _Output(dtype, format, compression, label, sum_frames, saved, overwrite)
    corrector = _Corrector(files, targets, correction, bad_policy, output, workers)
    written: list[Path] = []
    errors: list[FormatError] = []
    frames = pixels = 0
    try:
        with closing(corrector.results()) as results:
            for number, result in enumerate(results):
                if isinstance(result, _Corrected):
                    result.writer.commit()
                    written.append(targets[number])
                    frames += result.frames
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
                    progress(Progress("correcting", number + 1, len(files), frames, pixels, len(errors)))
    finally:
        for folder in {path.parent for path in written}:
            sync_directory(folder)
    if not written:
        raise Error(f"no file could be corrected; the first: {errors[0]}")
    if correction.clipped:
        share = correction.clipped / corrector.pixels
        advice = "choose target mean and target sigma to suit it" if scale is None else "float32 holds all"
        warnings.warn(
            f"{correction.clipped} pixels ({share:.2%}) lay outside {dtype} and were saturated: {advice}",
            stacklevel=2,
        )
    return written


def _scaled(sensor: Sensor, correction: Correction, bad_policy: Any) -> tuple[Correction, str]:
    """The correction that leads to the results of another, scaled for int16; and a note on that."""
    scale = np.iinfo(np.int16).max / (_SIGMAS * correction.target_sigma)
    offset = -correction.target_mean * scale
    # Other targets, so that pixels are rounded only once.
    scaled = sensor.correction(0, scale * correction.target_sigma, bad_policy)
    return scaled, f"camnorm_scale={scale!r} camnorm_offset={offset!r}"


class _Output(NamedTuple):
    """What is written, of every file."""

    dtype: np.dtype[Any]
    format: str
    compression: str
    label: str
    sum_frames: bool
    correction: Path | None
    """If only manifests are written: the file that they name."""
    overwrite: bool

    def label_of(self, source: FrameSource) -> str:
        """What is noted in the file that is made from a source."""
        return self.label + (f"\nsum of {source.count} frames" if self.sum_frames else "")


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


class _Corrector:
    """Corrects files in threads.

    A system lets only one thread at a time write to a file: each thread has a file of its own, until there
    are fewer files than threads. It reads a few rows of a few frames, which stay in its cache until they
    are written.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        targets: Sequence[Path],
        correction: Correction,
        bad_policy: str,
        output: _Output,
        threads: int,
    ) -> None:
        self.pixels = 0
        """Number that were corrected, also in files that were then left out."""
        self._files = files
        self._targets = targets
        self._correction = correction
        self._whole_frames = bad_policy == "interpolate"
        self._output = output
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
        numbers = iter(range(len(self._files)))
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
        path = self._files[number].path
        with _open(path, self._correction.shape) as source:
            if self._output.correction is not None:
                return self._write_manifest(source, self._targets[number], self._output.correction)
            writer = create_writer(
                self._targets[number],
                source,
                self._output.dtype,
                count=1 if self._output.sum_frames else source.count,
                label=self._output.label_of(source),
                wanted=self._output.format,
                compression=self._output.compression,
                overwrite=self._output.overwrite,
            )
            try:
                threads = math.ceil(self._threads / (len(self._files) - number))
                if self._output.sum_frames:
                    self._write_sum(source, writer, threads)
                else:
                    self._correct_frames(source, writer, threads)
                writer.finish()
            except BaseException:
                writer.discard()
                raise
        return _Corrected(
            writer, source.count, source.count * math.prod(source.shape) * source.dtype.itemsize
        )

    def _write_manifest(self, source: FrameSource, target: Path, correction: Path) -> _Corrected:
        from .io.virtual import write_manifest

        output = self._output
        if source.format == "camnorm manifest":
            raise FormatError(source.path, "is a manifest of corrected frames already")
        manifest = write_manifest(
            target, source, ReadOptions(), output.dtype, correction, output.label, output.overwrite
        )
        return _Corrected(manifest, source.count, 0)

    def _correct_frames(self, source: FrameSource, writer: FrameWriter, threads: int) -> None:
        whole_frames = self._whole_frames or writer.whole_frames
        self._share(
            self._blocks(source, whole_frames),
            partial(self._correct_block, source, writer),
            threads,
            # Blocks are begun in order: the thread that all others wait for is at work.
            ready=lambda: writer.waiting < self._threads,
        )

    def _write_sum(self, source: FrameSource, writer: FrameWriter, threads: int) -> None:
        """Write the sum of the corrected frames: by Eq. (2), their number times the corrected mean."""
        sums = np.zeros(source.shape)
        self._share(self._parts(source), partial(self._add_block, source, sums), threads)
        mean = sums[np.newaxis]
        mean /= source.count
        self._correction.apply(mean, out=mean, threads=threads)
        mean *= source.count
        with np.errstate(over="ignore"):
            writer.write(mean.astype(self._output.dtype))

    def _share(
        self,
        blocks: Iterable[_Block],
        do: Callable[[_Block, _Buffer, _Buffer], None],
        threads: int,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do all blocks of a file in several threads: the next one as soon as it is ready."""
        blocks = deque(blocks)
        failed: list[tuple[_Block, Exception]] = []
        active = 0

        def work() -> None:
            nonlocal active
            buffers = self._buffers.get()
            with self._changed:
                active += 1
            with suppress(IndexError):
                while not self._stopped:
                    with self._changed:
                        self._changed.wait_for(lambda: ready() or not blocks)
                        block = blocks.popleft()
                    try:
                        do(block, *buffers)
                    except Exception as error:
                        failed.append((block, error))
                        blocks.clear()
                    with self._changed:
                        self._changed.notify_all()
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

    def _blocks(self, source: FrameSource, whole_frames: bool) -> Iterator[_Block]:
        height = source.shape[0]
        whole_frames = whole_frames or source.offsets is None
        least = 1 if whole_frames else _FRAMES
        together = min(max(least, _BYTES // (height * self._row_bytes(source))), source.count)
        rows = height if whole_frames else self._rows(source, together)
        for start in range(0, source.count, together):
            for row in range(0, height, rows):
                yield _Block(start, min(start + together, source.count), row, min(row + rows, height))

    def _rows(self, source: FrameSource, frames: int) -> int:
        """Rows of so many frames to work on at a time."""
        return min(max(1, _BYTES // (frames * self._row_bytes(source))), source.shape[0])

    def _parts(self, source: FrameSource) -> Iterator[_Block]:
        """Blocks of which each pixel is added up in one order, so that threads do not change its sum."""
        height = source.shape[0]
        if source.offsets is not None:
            rows = self._rows(source, min(_FRAMES, source.count))
            for row in range(0, height, rows):
                yield _Block(0, source.count, row, min(row + rows, height))
        elif source.dtype.kind == "f":
            yield _Block(0, source.count, 0, height)
        else:  # whose sums are exact in any order
            yield from self._blocks(source, whole_frames=True)

    def _add_block(
        self, source: FrameSource, sums: npt.NDArray[np.float64], block: _Block, into: _Buffer, out: _Buffer
    ) -> None:
        step = 1 if source.offsets is None else _FRAMES
        for start in range(block.start, block.stop, step):
            part = block._replace(start=start, stop=min(start + step, block.stop))
            frames = _read(source, part, into)
            # Blocks of frames share their sums, those of rows do not.
            with self._changed if source.offsets is None else nullcontext():
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
            writer.write(corrected, block.start, first_row)
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


def _open(path: Path, shape: tuple[int, ...]) -> FrameSource:
    try:
        source = open_frames(path)
    except (Error, OSError) as error:
        raise FormatError(path, reason_of(error)) from error
    try:
        if source.shape != shape:
            raise FormatError(path, f"frames of shape {source.shape}, the sensor has {shape}")
        # A file with a frame missing would no longer be the movie that it was: none is written.
        if source.available < source.count:
            with _reading(path, source.available):
                source.view(source.available)
    except BaseException:
        source.close()
        raise
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


def _names(files: Sequence[InputFile], wanted: str, compression: str) -> list[Path]:
    """What each result is called."""
    names = []
    flipped = False
    for file in files:
        name = file.relative
        with suppress(Error, OSError), open_frames(file.path) as source:
            written = output_format(source.format, wanted)
            check_compression(written, compression)
            flipped |= is_flipped(source.format, written)
            name = target_name(name, source.format, wanted)
        names.append(name)
    if flipped:
        warnings.warn(
            "rows are turned upside down between MRC and TIFF, whose programs count them from opposite edges",
            stacklevel=3,
        )
    return names


def _targets(files: Sequence[InputFile], names: Sequence[Path], folder: Path, overwrite: bool) -> list[Path]:
    """Where each result goes; all conflicts with it are found before the first frame is read."""
    targets: dict[Path, Path] = {}
    for file, name in zip(files, names, strict=True):
        target = folder / name
        if target in targets:
            raise Error(f"{targets[target]} and {file.path} would both be written to {target}")
        targets[target] = file.path
    inputs = {_identity(file.path) for file in files}
    for target in targets:
        if target.exists() and _identity(target) in inputs:
            raise Error(f"{target}: is an input; results must go elsewhere")
    there = [target for target in targets if os.path.lexists(target)]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise Error(f"{there[0]} is there already{more}: --overwrite replaces it")
    return list(targets)


def _identity(path: Path) -> tuple[int, int]:
    """What a file is known by, whatever it is called."""
    status = path.stat()
    return status.st_dev, status.st_ino
