"""Correcting files: every frame of every file, written under the same names elsewhere."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core
from .errors import Error, FormatError
from .io import (
    Chunk,
    Failure,
    FrameWriter,
    InputFile,
    create_writer,
    expand_inputs,
    open_frames,
    stream_frames,
    target_name,
)
from .measurement import Progress
from .sensor import Sensor

__all__ = ["correct"]

_DTYPES = tuple(np.dtype(name) for name in ("float32", "float16", "int16", "uint16", "uint8"))


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
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_error: Callable[[FormatError], None] | None = None,
) -> list[Path]:
    """Correct every frame of every file, by Eq. (2) of Afanasyev et al. 2015.

    MRC files become MRC files with their header, TIFF files TIFF files, others TIFF files. Each is
    written under its own name in `out_dir` (files found in a directory, under their path in it), and
    appears there whole or not at all.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, or a STAR file of movies.
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
        If `dtype` cannot be written, or a target or `bad_policy` does not suit it.
    OSError
        If a file cannot be written.
    """
    dtype = np.dtype(dtype)
    if dtype not in _DTYPES:
        raise ValueError(f"corrected files hold {', '.join(map(str, _DTYPES))}, not {dtype}")
    if bad_policy == "nan" and dtype.kind != "f":
        raise ValueError(f"bad pixels cannot be NaN in {dtype} files")
    workers = _core.resolve_threads(threads)
    files = expand_inputs(inputs)
    targets = _targets(files, Path(out_dir), overwrite)
    if not isinstance(sensor, Sensor):
        sensor = Sensor.load(sensor)
    correction = sensor.correction(target_mean, target_sigma, bad_policy)
    label = f"camnorm {_core.version}: a posteriori corrected, {sensor.count} frames"
    written: list[Path] = []
    errors: list[FormatError] = []
    frames = pixels = 0
    buffers = _Buffers(dtype)

    def correct_file(items: Iterator[Chunk | Failure], path: Path, target: Path) -> None:
        nonlocal frames, pixels
        first = _usable(next(items), path, sensor.shape)
        with (
            create_writer(
                target, first.source, dtype, count=first.source.count, label=label, overwrite=overwrite
            ) as writer,
            _Behind(writer) as behind,
        ):
            # A file with a frame missing would no longer be the movie that it was: none is written.
            for chunk in chain([first], (_usable(item, path, sensor.shape) for item in items)):
                out = buffers.take((len(chunk.frames), *sensor.shape))
                correction.apply(chunk.frames, out=out, threads=workers)
                behind.write(out)
                frames += len(chunk.frames)
                pixels += chunk.frames.nbytes

    stream = stream_frames([file.path for file in files], threads=workers)
    with closing(stream):
        for number, items in groupby(stream, key=attrgetter("file_index")):
            try:
                correct_file(items, files[number].path, targets[number])
            except FormatError as error:
                if strict:
                    raise
                errors.append(error)
                if on_error is not None:
                    on_error(error)
                else:
                    warnings.warn(f"not corrected: {error}", stacklevel=2)
            else:
                written.append(targets[number])
            if progress is not None:
                progress(Progress("correcting", number + 1, len(files), frames, pixels, len(errors)))
    if not written:
        raise Error(f"no file could be corrected; the first: {errors[0]}")
    if correction.clipped:
        share = correction.clipped / (frames * math.prod(sensor.shape))
        warnings.warn(
            f"{correction.clipped} pixels ({share:.2%}) lay outside {dtype} and were saturated: choose "
            "target mean and target sigma to suit it",
            stacklevel=2,
        )
    return written


class _Buffers:
    """Two arrays by turns: one is filled while the other is written. New ones would cost more than that."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._arrays = [np.empty(0, dtype), np.empty(0, dtype)]

    def take(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The array that was taken before the last one, in another shape."""
        array, last = self._arrays
        size = math.prod(shape)
        if array.size < size:
            array = np.empty(size, array.dtype)
        self._arrays = [last, array]
        return array[:size].reshape(shape)


class _Behind:
    """Writes frames in a thread of its own, one call at a time."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="camnorm-write")
        self._last: Future[None] | None = None

    def write(self, frames: npt.NDArray[Any]) -> None:
        """Write when the call before is done; that one's error is raised here."""
        self._wait()
        self._last = self._thread.submit(self._writer.write, frames)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()


def _usable(item: Chunk | Failure, path: Path, shape: tuple[int, ...]) -> Chunk:
    if isinstance(item, Failure):
        raise FormatError(path, item.reason, frame=item.frame)
    if item.frames.shape[1:] != shape:
        raise FormatError(path, f"frames of shape {item.frames.shape[1:]}, the sensor has {shape}")
    return item


def _targets(files: Sequence[InputFile], folder: Path, overwrite: bool) -> list[Path]:
    """Where each result goes; found out, and all conflicts with it, before the first frame is read."""
    targets: dict[Path, Path] = {}
    for file in files:
        name = file.relative
        with suppress(Error, OSError), open_frames(file.path) as source:
            name = target_name(name, source.format)
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
