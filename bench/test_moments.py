"""Rates of the moments, beside the rate at which as many threads read the same memory.

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


def measure(
    benchmark: BenchmarkFixture, frames: np.ndarray, call: Callable[..., Any], *arguments: Any
) -> None:
    benchmark.pedantic(call, arguments, rounds=5, warmup_rounds=1)
    benchmark.extra_info["GB/s"] = frames.nbytes / benchmark.stats["min"] / 1e9


def test_read(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    parts = np.array_split(frames.reshape(-1).view(np.uint8), resolve_threads(None))
    with ThreadPoolExecutor(len(parts)) as pool:
        measure(benchmark, frames, lambda: list(pool.map(np.max, parts)))


def test_add(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    measure(benchmark, frames, PixelMoments(SHAPE, frames.dtype).add, frames)


def test_add_single_frames(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    m = PixelMoments(SHAPE, frames.dtype)
    measure(benchmark, frames, lambda: [m.add(frame) for frame in frames])


def test_frame_statistics(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    measure(benchmark, frames, frame_statistics, frames)


def test_standard_deviation(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    m = PixelMoments(SHAPE, frames.dtype)
    m.add(frames[:4])
    benchmark.pedantic(m.std, rounds=5, warmup_rounds=1)
