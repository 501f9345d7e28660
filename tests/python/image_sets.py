"""Data sets for the tests of the pipeline, and oracles for what is measured from them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import tifffile

from camnorm import NeighbourSums, PixelMoments, PixelResponse, Sensor
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE

# What divides the work otherwise until a test ends.
Divide = Callable[..., None]

STATISTICS = ("mean", "std", "min", "max")


def frames_of(count: int, shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Frames of varying brightness, none of them an outlier."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(90, 110, (count, *[1] * len(shape)))
    frames = level + rng.normal(0, 12, (count, *shape))
    return (frames.clip(max=127) if dtype == "i1" else frames).astype(dtype)


def write_mrc(path: Path, frames: np.ndarray) -> Path:
    """A stack by mrcfile; bytes as mode 0 with the stamp by which IMOD says that they are unsigned."""
    unsigned = frames.dtype == np.uint8
    with mrcfile.new(path, overwrite=True) as mrc, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN
        mrc.set_data(frames.view(np.int8) if unsigned else frames)
        mrc.set_image_stack()
        mrc.voxel_size = 1.5
    if unsigned:
        with open(path, "r+b") as file:
            file.seek(152)
            file.write(np.array([1146047817, 0], "<i4").tobytes())
    return path


def write_npy(path: Path, frames: np.ndarray) -> Path:
    np.save(path, frames)
    return path


def write_tiff(path: Path, frames: np.ndarray, compression: str | None = None) -> Path:
    tifffile.imwrite(path, frames, photometric="minisblack", metadata=None, compression=compression)
    return path


def cut(path: Path, remaining: int) -> Path:
    """Leave only the first bytes of a file."""
    os.truncate(path, remaining)
    return path


def write_movies(folder: Path, count: int, length: int, shape: tuple[int, int], dtype: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    movies = frames_of(count * length, shape, dtype).reshape(count, length, *shape)
    return [write_mrc(folder / f"movie_{i:03d}.mrc", movie) for i, movie in enumerate(movies)]


def states(sensor: Sensor) -> list[dict[str, Any]]:
    return [half.state() for half in sensor.halves]


Sums = PixelMoments | PixelResponse | NeighbourSums


def assert_same_moments(a: Sums, b: Sums) -> None:
    """The same to the bit."""
    one, other = a.state(), b.state()
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.tobytes() == other[name].tobytes(), name
        else:
            assert value == other[name], name


def assert_same_sensor(a: Sensor, b: Sensor) -> None:
    """All sums, counts and frame table the same to the bit."""

    def sums(sensor: Sensor) -> tuple[Sums, ...]:
        return *sensor.halves, *(sensor.responses or ()), *(sensor.neighbours or ())

    for one, other in zip(sums(a), sums(b), strict=True):
        assert_same_moments(one, other)
    assert a.frames.dtype == b.frames.dtype
    for name in a.frames.dtype.names:
        one, other = a.frames[name], b.frames[name]
        if one.dtype.kind == "f":  # also the NaN
            assert one.tobytes() == other.tobytes(), name
        else:
            assert one.tolist() == other.tolist(), name


def assert_holds(moments: PixelMoments, frames: np.ndarray) -> None:
    """Moments hold just these frames: exact sums of integers, float sums to the last bits."""
    state = moments.state()
    assert state["count"] == len(frames)
    if "sum" in state:
        wide = frames.astype(np.int64)
        assert np.array_equal(state["sum"], wide.sum(0))
        assert np.array_equal(state["sum_of_squares"], (wide**2).sum(0))
    else:
        wide = frames.astype(np.longdouble)
        np.testing.assert_allclose(moments.sum(), wide.sum(0).astype(float), rtol=1e-15)
        np.testing.assert_allclose(moments.sum_of_squares(), (wide**2).sum(0).astype(float), rtol=1e-15)


def rejected(sensor: Sensor) -> list[tuple[str, int, str]]:
    """Name of the file, index and reason of every frame that was left out."""
    return [
        (Path(row["file"]).name, int(row["index"]), row["reason"])
        for row in sensor.frames
        if row["status"] == "rejected"
    ]


def half_numbers(count: int) -> np.ndarray:
    """Half of each file of a set, 0 for A and 1 for B, in Python's integers."""
    found = []
    for number in range(count):
        block, place = divmod(number, 24)
        z = (block + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        turned = ((z ^ z >> 31) % 6 + 1) >> (place % 12 // 4) & 1
        found.append((0, 1, 1, 0)[place % 4] ^ turned ^ (place >= 12))
    return np.array(found, int)


def in_halves(items: Any) -> list[Any]:
    """Which of some files, or of their frames, go to half A and to half B."""
    items = np.asarray(items)
    numbers = half_numbers(len(items))
    return [items[numbers == half] for half in (0, 1)]


def run_script(script: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def temporary_files(folder: Path) -> Sequence[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".tmp", ".checkpoint", ".probe")]


def sensor_of(files: Iterable[np.ndarray]) -> Sensor:
    """A sensor measured from stacks, each as if it were a file; a single one is split by alternate frames."""
    stacks = [np.ascontiguousarray(stack) for stack in files]
    shape, dtype = stacks[0].shape[1:], stacks[0].dtype
    halves = (PixelMoments(shape, dtype), PixelMoments(shape, dtype))
    rows = []
    for number, stack in enumerate(stacks):
        for index, frame in enumerate(stack):
            half = index % 2 if len(stacks) == 1 else number % 2
            (row,) = halves[half].add(frame[None], threads=1).tolist()
            rows.append((f"file{number}", index, *row, "AB"[half], "accepted", ""))
    files_table = np.array([(f"file{i}", 0, 0.0) for i in range(len(stacks))], FILE_DTYPE)
    provenance = {"screening": {}, "files": files_table}
    return Sensor(halves, np.array(rows, FRAME_DTYPE), provenance)
