"""Rates of the moments, beside NumPy and the rate at which as many threads read the same memory.

The rate in GB/s of frames is the entry ``GB/s`` of ``extra_info`` in the file of ``--benchmark-json``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from camnorm import PixelMoments, frame_statistics
from camnorm._core import resolve_threads

SHAPE = (4096, 4096)


@pytest.fixture(scope="module", params=["uint8", "uint16", "float32"])
def frames(request: pytest.FixtureRequest) -> np.ndarray:
    """512 MiB, which no cache holds."""
    dtype = np.dtype(request.param)
    frame = np.random.default_rng(0).integers(0, 256, SHAPE).astype(dtype)
    return np.repeat(frame[None], 2**29 // frame.nbytes, axis=0)


@pytest.fixture(scope="module")
def moments(frames: np.ndarray) -> PixelMoments:
    """Moments of a few of the frames, which are all the same: made apart, so that sigma is not 0."""
    m = PixelMoments(SHAPE, frames.dtype)
    for shift in range(4):
        m.add(np.roll(frames[0], shift, 0))
    return m


class NumPyMoments:
    """Sums of frames and of their squares in float64, as one would keep them without camnorm."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = np.zeros(SHAPE)
        self.sum_of_squares = np.zeros(SHAPE)

    def add(self, frames: np.ndarray, sign: int = 1) -> None:
        for frame in frames:
            values = frame.astype(np.float64)
            self.sum += sign * values
            self.sum_of_squares += sign * values * values
        self.count += sign * len(frames)

    def subtract(self, frames: np.ndarray) -> None:
        self.add(frames, -1)

    def mean(self) -> np.ndarray:
        return self.sum / self.count

    def std(self) -> np.ndarray:
        return np.sqrt(self.sum_of_squares / self.count - self.mean() ** 2)


def measure(
    benchmark: BenchmarkFixture,
    frames: np.ndarray,
    call: Callable[..., Any],
    *arguments: Any,
    rounds: int = 5,
) -> None:
    benchmark.pedantic(call, arguments, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["GB/s"] = frames.nbytes / benchmark.stats["min"] / 1e9


def test_read(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    parts = np.array_split(frames.reshape(-1).view(np.uint8), resolve_threads(None))
    with ThreadPoolExecutor(len(parts)) as pool:
        measure(benchmark, frames, lambda: list(pool.map(np.max, parts)))


def test_add(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    measure(benchmark, frames, PixelMoments(SHAPE, frames.dtype).add, frames)


def test_add_numpy(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    measure(benchmark, frames, NumPyMoments().add, frames, rounds=1)


def test_add_single_frames(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    m = PixelMoments(SHAPE, frames.dtype)
    measure(benchmark, frames, lambda: [m.add(frame) for frame in frames])


def test_subtract(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    m = PixelMoments(SHAPE, frames.dtype)
    for _ in range(6):  # as often as they are subtracted
        m.add(frames)
    measure(benchmark, frames, m.subtract, frames)


def test_subtract_numpy(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    measure(benchmark, frames, NumPyMoments().subtract, frames, rounds=1)


def test_frame_statistics(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    measure(benchmark, frames, frame_statistics, frames)


def test_frame_statistics_numpy(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    def statistics() -> list[tuple[float, float, float, float]]:
        return [
            (frame.mean(dtype=np.float64), frame.std(dtype=np.float64), frame.min(), frame.max())
            for frame in frames
        ]

    measure(benchmark, frames, statistics, rounds=1)


@pytest.mark.parametrize("image", ["mean", "std"])
def test_image(benchmark: BenchmarkFixture, moments: PixelMoments, image: str) -> None:
    benchmark.pedantic(getattr(moments, image), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("image", ["mean", "std"])
def test_image_numpy(benchmark: BenchmarkFixture, image: str) -> None:
    m = NumPyMoments()
    m.add(np.random.default_rng(0).random((2, *SHAPE)))
    benchmark.pedantic(getattr(m, image), rounds=5, warmup_rounds=1)
