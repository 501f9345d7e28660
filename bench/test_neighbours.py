"""Cost of neighbour sums beside moments, in one run: frames in memory, and whole measurements of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import camnorm
from camnorm import NeighbourSums, PixelMoments
from camnorm.diagnosis.pixels.stencils import made_of_neighbours

SHAPE, FRAMES = (4096, 4096), 32


@pytest.fixture(scope="module", params=["uint8", "uint16", "float32"])
def frames(request: pytest.FixtureRequest) -> np.ndarray:
    frame = np.random.default_rng(0).integers(0, 100, SHAPE).astype(request.param)
    return np.stack([np.roll(frame, shift, 0) for shift in range(FRAMES)])


@pytest.fixture(scope="module")
def movies(frames: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four movies in the page cache."""
    folder = tmp_path_factory.mktemp(frames.dtype.name)
    for i, movie in enumerate(np.array_split(frames, 4)):
        mrcfile.write(folder / f"{i}.mrc", movie.view(np.int8) if movie.dtype == np.uint8 else movie)
    return folder


def time_of(benchmark: BenchmarkFixture, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    benchmark.pedantic(call, arguments, options, rounds=3, warmup_rounds=1)
    benchmark.extra_info["ms/frame"] = benchmark.stats["min"] / FRAMES * 1e3


@pytest.mark.parametrize("kind", [PixelMoments, NeighbourSums])
def test_add(benchmark: BenchmarkFixture, frames: np.ndarray, kind: type[Any]) -> None:
    time_of(benchmark, kind(SHAPE, frames.dtype).add, frames)


@pytest.mark.parametrize("neighbours", [False, True])
@pytest.mark.filterwarnings("ignore")  # of movies that are alike
def test_measure(benchmark: BenchmarkFixture, movies: Path, neighbours: bool) -> None:
    time_of(benchmark, camnorm.measure, movies, screen="off", neighbours=neighbours)


def test_find(benchmark: BenchmarkFixture, frames: np.ndarray) -> None:
    sums = NeighbourSums(SHAPE, frames.dtype)
    sums.add(frames)
    benchmark.pedantic(made_of_neighbours, (sums,), rounds=1)
