"""Rates of the correction, beside NumPy's copy of as many bytes and the formula in NumPy.

The rate in GB/s of frames, read and written, is the entry ``GB/s`` of ``extra_info`` in the file of
``--benchmark-json``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from camnorm import Correction
from camnorm._core import resolve_threads

SHAPE = (4096, 4096)
PAIRS = ["uint8-float32", "uint16-float32", "float32-float32", "uint8-uint8", "float32-uint16"]
PAIRS += ["float32-float16"]


@pytest.fixture(scope="module", params=PAIRS)
def arrays(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Frames and output, 512 MiB of the wider type, which no cache holds."""
    dtype_in, dtype_out = map(np.dtype, request.param.split("-"))
    frame = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype_in)
    count = 2**29 // (frame.size * max(dtype_in.itemsize, dtype_out.itemsize))
    return np.repeat(frame[None], count, axis=0), np.ones((count, *SHAPE), dtype_out)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(100, 10, SHAPE), rng.uniform(2, 4, SHAPE)


def measure(
    benchmark: BenchmarkFixture, nbytes: int, call: Callable[..., Any], *arguments: Any, rounds: int = 5
) -> None:
    benchmark.pedantic(call, arguments, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["GB/s"] = nbytes / benchmark.stats["min"] / 1e9


def test_copy(benchmark: BenchmarkFixture, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    frames, out = arrays
    threads = resolve_threads(None)
    pairs = [
        (np.array_split(target, threads), np.array_split(source, threads))
        for target, source in zip(out, frames, strict=True)
    ]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            for targets, sources in pairs:
                list(pool.map(lambda to, part: np.copyto(to, part, casting="unsafe"), targets, sources))

        measure(benchmark, frames.nbytes + out.nbytes, copy)


def test_apply(
    benchmark: BenchmarkFixture,
    arrays: tuple[np.ndarray, np.ndarray],
    images: tuple[np.ndarray, np.ndarray],
) -> None:
    frames, out = arrays
    measure(benchmark, frames.nbytes + out.nbytes, Correction(*images).apply, frames, out)


def test_apply_single_frames(
    benchmark: BenchmarkFixture,
    arrays: tuple[np.ndarray, np.ndarray],
    images: tuple[np.ndarray, np.ndarray],
) -> None:
    frames, out = arrays
    c = Correction(*images)

    def single() -> None:
        for frame, target in zip(frames, out, strict=True):
            c.apply(frame, target)

    measure(benchmark, frames.nbytes + out.nbytes, single)


def test_numpy(
    benchmark: BenchmarkFixture,
    arrays: tuple[np.ndarray, np.ndarray],
    images: tuple[np.ndarray, np.ndarray],
) -> None:
    frames, out = arrays
    mean, sigma = images
    i0, s0 = mean.mean(), sigma.mean()

    def longhand() -> None:
        for frame, target in zip(frames, out, strict=True):
            values = (frame - mean) / sigma * s0 + i0
            if target.dtype.kind == "u":
                info = np.iinfo(target.dtype)
                values = np.clip(np.rint(values), info.min, info.max)
            target[:] = values

    measure(benchmark, frames.nbytes + out.nbytes, longhand, rounds=2)
