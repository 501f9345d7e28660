"""Fourier transforms of images by FFTW: one-dimensional plans of our own over rows, then columns.

FFTW plans whole images well only by the clock, in a second for 4096x4096 and in minutes for sides with large
prime factors, and what it finds changes the last bits from one run to the next. The transforms of a few rows
or columns, which stay in the cache, are as fast when planned by estimate, in no time; and their pieces can
be shared by any number of threads without changing a bit.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import _core

__all__ = [
    "BAND_COLUMNS",
    "RealTransform",
    "real_transform",
    "release_transforms",
    "share",
    "take_means",
    "threads_for",
]

BAND_COLUMNS = _core.RingAccumulator.band_columns
"""Columns of the half spectrum that are transformed together; the last band may have fewer."""

# Bytes of the rows that are transformed together: with their spectra they stay in the second-level cache.
_ROW_BYTES = 256 << 10

# Bytes of a cache line, to which the rows of spectra are aligned.
_LINE_BYTES = 64

# Bytes in the buffers of transforms that wait for their next use.
_IDLE_BYTES = 512 << 20

# Frames of fewer pixels are done before a second thread has woken up.
_PARALLEL_PIXELS = 1 << 20


def threads_for(requested: int | None, shape: tuple[int, ...]) -> int:
    """Number of threads for an image of a shape."""
    threads = _core.resolve_threads(requested)
    return threads if math.prod(shape) >= _PARALLEL_PIXELS else 1


def share(pieces: int, threads: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(thread, piece)`` for every piece; each thread takes the next one that is left."""
    left = deque(range(pieces))

    def run(thread: int) -> None:
        while True:
            try:
                piece = left.popleft()
            except IndexError:
                return
            work(thread, piece)

    threads = min(threads, pieces)
    if threads == 1:
        return run(0)
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(run, thread) for thread in range(1, threads)]
        run(0)
        for other in others:
            other.result()


def take_means(tapers: list[_core.Taper], threads: int) -> list[float]:
    """Sum the pixels of the frames, in threads that do not wait for work as OpenMP's do: busily."""
    bands = tapers[0].bands
    share(len(tapers) * bands, threads, lambda _, piece: tapers[piece // bands].sum(piece % bands))
    return [taper.take_mean() for taper in tapers]


class RealTransform:
    """Two-dimensional real-to-complex transform of images of one shape: first `rows`, then `columns`."""

    def __init__(self, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        import pyfftw

        self._shape = shape
        self._dtype = np.dtype(dtype)
        height, width = shape
        half = width // 2 + 1
        self._piece = max(1, min(height, _ROW_BYTES // (width * self._dtype.itemsize)))
        self._pieces = -(-height // self._piece)
        self.bands = -(-half // BAND_COLUMNS)
        """Number of bands of columns."""
        # Whole pieces of rows and whole bands. A row has an odd number of cache lines, so that the values of
        # a column do not all fall into one set of the cache.
        spectrum = np.result_type(dtype, np.complex64)
        padded_width = self.bands * BAND_COLUMNS + _LINE_BYTES // spectrum.itemsize
        self._spectrum: npt.NDArray[Any] = pyfftw.empty_aligned(
            (self._pieces * self._piece, padded_width), spectrum, n=_LINE_BYTES
        )
        # What rows do not fill is transformed too; it must not be slow, as denormal numbers are.
        self._spectrum[:, half:] = 0.0
        self._workers: list[_Worker] = []

    @property
    def nbytes(self) -> int:
        """Bytes in the buffers."""
        return self._spectrum.nbytes + sum(w.pixels.nbytes + w.columns.nbytes for w in self._workers)

    def prepare(self, threads: int) -> None:
        """Make the plans of each of `threads` threads. Only one thread may plan at a time."""
        while len(self._workers) < threads:
            self._workers.append(_Worker(self._spectrum, self._shape, self._dtype, self._piece))

    def rows(self, write: Callable[[int, npt.NDArray[Any]], object], threads: int) -> None:
        """Transform the rows of an image.

        Parameters
        ----------
        write : callable
            ``write(first, out)`` puts rows of the image, from the first one on, into `out`.
        threads : int
            Number of threads, no more than were prepared.
        """
        height, width = self._shape

        def transform(thread: int, piece: int) -> None:
            worker = self._workers[thread]
            first, last = piece * self._piece, (piece + 1) * self._piece
            write(first, worker.pixels[: height - first])
            worker.row_plan.update_arrays(worker.pixels, self._spectrum[first:last, : width // 2 + 1])
            worker.row_plan.execute()

        share(self._pieces, threads, transform)

    def columns(self, thread: int, band: int) -> npt.NDArray[Any]:
        """Transform a band of columns.

        Parameters
        ----------
        thread : int
            Whose buffer to use, from 0 to the number of threads prepared.
        band : int
            Columns ``band * BAND_COLUMNS`` and following.

        Returns
        -------
        complex64 or complex128 ndarray, shape (BAND_COLUMNS, y)
            A column of the spectrum a row, meaningless beyond column x // 2; valid until the thread's next
            call.
        """
        worker = self._workers[thread]
        first = band * BAND_COLUMNS
        columns = self._spectrum[: self._shape[0], first : first + BAND_COLUMNS]
        worker.column_plan.update_arrays(columns, worker.columns.T)
        worker.column_plan.execute()
        return worker.columns


class _Worker:
    """Plans and buffers of one thread."""

    def __init__(
        self, spectrum: npt.NDArray[Any], shape: tuple[int, int], dtype: np.dtype[Any], piece: int
    ) -> None:
        import pyfftw

        height, width = shape
        self.pixels: npt.NDArray[Any] = pyfftw.zeros_aligned((piece, width), dtype, n=_LINE_BYTES)
        self.columns: npt.NDArray[Any] = pyfftw.zeros_aligned(
            (BAND_COLUMNS, height), spectrum.dtype, n=_LINE_BYTES
        )
        estimate = ("FFTW_ESTIMATE",)
        self.row_plan = pyfftw.FFTW(self.pixels, spectrum[:piece, : width // 2 + 1], (1,), flags=estimate)
        self.column_plan = pyfftw.FFTW(spectrum[:height, :BAND_COLUMNS], self.columns.T, (0,), flags=estimate)


_planner = threading.Lock()  # that of FFTW is not thread-safe


class TransformPool:
    """Transforms that wait for their next use, by shape and precision.

    Parameters
    ----------
    idle_bytes : int
        Most bytes in the buffers of those that wait.
    """

    def __init__(self, idle_bytes: int) -> None:
        self.idle_bytes = idle_bytes
        self.waiting: OrderedDict[tuple[tuple[int, int], np.dtype[Any]], list[RealTransform]] = OrderedDict()

    @contextmanager
    def lend(self, shape: tuple[int, int], dtype: npt.DTypeLike, threads: int) -> Iterator[RealTransform]:
        """Lend a transform that nobody else uses meanwhile; see `real_transform`."""
        key = (shape, np.dtype(dtype))
        with _planner:
            waiting = self.waiting.get(key)
            transform = waiting.pop() if waiting else RealTransform(*key)
            transform.prepare(threads)
        try:
            yield transform
        finally:
            with _planner:
                self.waiting.setdefault(key, []).append(transform)
                self.waiting.move_to_end(key)
                while sum(t.nbytes for ts in self.waiting.values() for t in ts) > self.idle_bytes:
                    self.waiting.popitem(last=False)

    def release(self) -> None:
        """Free those that wait."""
        with _planner:
            self.waiting.clear()


_pool = TransformPool(_IDLE_BYTES)


def release_transforms() -> None:
    """Free the buffers of transforms that wait for their next use, before something else needs the memory."""
    _pool.release()


def real_transform(
    shape: tuple[int, int], dtype: npt.DTypeLike, threads: int
) -> AbstractContextManager[RealTransform]:
    """Lend a transform that nobody else uses meanwhile.

    Parameters
    ----------
    shape : tuple of int
        Shape (y, x) of the images.
    dtype : float32 or float64
        Precision.
    threads : int
        How many threads will use it.

    Returns
    -------
    context manager of RealTransform
    """
    return _pool.lend(shape, dtype, threads)
