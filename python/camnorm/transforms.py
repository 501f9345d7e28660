"""Fourier transforms of images by FFTW, planned once a shape."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RealTransform", "real_transform"]

# Bytes in the buffers of transforms that wait for their next use.
_IDLE_BYTES = 512 << 20


class RealTransform:
    """Two-dimensional real-to-complex transform with its own buffers.

    Attributes
    ----------
    pixels : ndarray, shape (y, x)
        Input, float32 or float64.
    spectrum : ndarray, shape (y, x // 2 + 1)
        Output, complex64 or complex128.
    """

    def __init__(self, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        import pyfftw

        self.pixels: npt.NDArray[Any] = pyfftw.empty_aligned(shape, dtype)
        half = (shape[0], shape[1] // 2 + 1)
        self.spectrum: npt.NDArray[Any] = pyfftw.empty_aligned(half, np.result_type(dtype, np.complex64))
        # One thread, and plans by estimate: what is best for more threads, or by the clock, would change
        # the last bits from one run to the next.
        self._plan = pyfftw.FFTW(self.pixels, self.spectrum, axes=(0, 1), flags=("FFTW_ESTIMATE",), threads=1)

    def execute(self) -> None:
        """Transform `pixels` into `spectrum`, without the GIL."""
        self._plan.execute()


_lock = threading.Lock()  # FFTW's planner is not thread-safe
_idle: OrderedDict[tuple[tuple[int, int], np.dtype[Any]], list[RealTransform]] = OrderedDict()


@contextmanager
def real_transform(shape: tuple[int, int], dtype: npt.DTypeLike) -> Iterator[RealTransform]:
    """Lend a transform that nobody else uses meanwhile.

    Parameters
    ----------
    shape : tuple of int
        Shape (y, x) of the images.
    dtype : float32 or float64
        Precision.

    Yields
    ------
    RealTransform
    """
    key = (shape, np.dtype(dtype))
    with _lock:
        waiting = _idle.get(key)
        transform = waiting.pop() if waiting else RealTransform(*key)
    try:
        yield transform
    finally:
        with _lock:
            _idle.setdefault(key, []).append(transform)
            _idle.move_to_end(key)
            while _idle_bytes() > _IDLE_BYTES:
                _idle.popitem(last=False)


def _idle_bytes() -> int:
    return sum(t.pixels.nbytes + t.spectrum.nbytes for waiting in _idle.values() for t in waiting)
