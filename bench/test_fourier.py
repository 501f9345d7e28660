"""Time of a ring correlation, beside that of its two transforms alone and of NumPy doing the same.

The ratio to the transforms, taken by turns in one run, is the entry ``ratio`` of ``extra_info`` of test_frc
in the file of ``--benchmark-json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import camnorm
from camnorm._core import resolve_threads
from camnorm.fourier.transforms import real_transform, share

SHAPE = (4096, 4096)
ROUNDS = 15


@pytest.fixture(scope="module", params=["uint8", "uint16", "float32"])
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(100, 10, SHAPE).astype(request.param) for _ in range(2))
    return a, b


@pytest.fixture
def transforms(pair: tuple[np.ndarray, np.ndarray]) -> Callable[[], None]:
    """Two transforms by the plans and the threads of `camnorm.frc`, of float32 images at hand."""
    threads = resolve_threads(None)
    images = [(frame - frame.mean()).astype(np.float32) for frame in pair]

    def run() -> None:
        with (
            real_transform(SHAPE, np.float32, threads) as first,
            real_transform(SHAPE, np.float32, threads) as second,
        ):
            for transform, image in zip((first, second), images, strict=True):
                transform.rows(
                    lambda begin, out, image=image: np.copyto(out, image[begin : begin + len(out)]), threads
                )
            share(
                first.bands,
                threads,
                lambda thread, band: (first.columns(thread, band), second.columns(thread, band)),
            )

    return run


def numpy_frc(a: np.ndarray, b: np.ndarray, rings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    fa, fb = np.fft.rfft2(a - a.mean()), np.fft.rfft2(b - b.mean())
    cross, power_a, power_b = (
        np.bincount(rings, (weights * values).ravel())
        for values in ((fa * fb.conj()).real, np.abs(fa) ** 2, np.abs(fb) ** 2)
    )
    return cross[1:] / np.sqrt(power_a[1:] * power_b[1:])


def test_frc(
    benchmark: BenchmarkFixture, pair: tuple[np.ndarray, np.ndarray], transforms: Callable[[], None]
) -> None:
    benchmark.pedantic(camnorm.frc, pair, rounds=5, warmup_rounds=2)
    best = {}
    for _ in range(ROUNDS):
        for name, call in (("frc", lambda: camnorm.frc(*pair)), ("transforms", transforms)):
            begin = time.perf_counter()
            call()
            best[name] = min(best.get(name, np.inf), time.perf_counter() - begin)
    benchmark.extra_info["ratio"] = best["frc"] / best["transforms"]


def test_two_transforms(benchmark: BenchmarkFixture, transforms: Callable[[], None]) -> None:
    benchmark.pedantic(transforms, rounds=5, warmup_rounds=2)


def test_numpy(benchmark: BenchmarkFixture, pair: tuple[np.ndarray, np.ndarray]) -> None:
    ky, kx = np.fft.fftfreq(SHAPE[0]) * SHAPE[0], np.arange(SHAPE[1] // 2 + 1)
    rings = np.floor(np.hypot(ky[:, None], kx) + 0.5).astype(np.intp).ravel()
    weights = np.where((kx == 0) | (2 * kx == SHAPE[1]), 1.0, 2.0)
    correlation = benchmark.pedantic(numpy_frc, (*pair, rings, weights), rounds=2)
    np.testing.assert_allclose(camnorm.frc(*pair).correlation[1:], correlation[:2048], rtol=0, atol=1e-6)
