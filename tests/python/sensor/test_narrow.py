"""Sensor files hold sums in the narrowest integers that can, and files with 64 bits are still read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from camnorm import FormatError, Sensor
from camnorm.sensor.digest import digests
from camnorm.sensor.narrow import read_sums, stored_dtype, write_sums
from image_sets import assert_same_sensor, write_movies, write_mrc
from sensor_files import make_old

SHAPE = (13, 11)


def in_memory() -> h5py.File:
    return h5py.File("sums.h5", "w", driver="core", backing_store=False)


def through_file(array: npt.NDArray[Any]) -> tuple[np.dtype[Any], npt.NDArray[Any], str, str]:
    """Type in the file, what is read again, and the digests on writing and on reading."""
    with in_memory() as f, digests() as written, digests() as read:
        dtype = stored_dtype(array, written)
        write_sums(f, "sums", array, dtype, written)
        assert np.array_equal(f["sums"][()], array)
        back = np.zeros_like(array)
        read_sums(f["sums"], back, read)
        return f["sums"].dtype, back, written.as_text(), read.as_text()


EDGES = [s * 2**n + d for n in (0, 7, 8, 15, 16, 31, 32, 62) for s in (-1, 1) for d in (-1, 0, 1)]


@given(
    values=st.lists(st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6),
    signed=st.booleans(),
)
def test_sums_are_stored_in_the_narrowest_integers(values: list[int], signed: bool) -> None:
    array = np.array([values if signed else [abs(value) for value in values]], "i8" if signed else "u8")
    dtype, back, written, read = through_file(array)
    low, high = int(array.min()), int(array.max())
    narrowest = np.min_scalar_type(high if low >= 0 else min(low, -high - 1))
    assert dtype == (array.dtype if narrowest.itemsize == 8 else narrowest)
    assert np.array_equal(back, array)
    assert written == read


@pytest.mark.parametrize("shape", [(2100, 2001), (3, 1500, 1001), (1, 2**22 + 1), (2**22 + 1, 1)])
def test_blocks_end_within_rows(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 251
    dtype, back, written, read = through_file(array)
    assert dtype == np.uint8
    assert np.array_equal(back, array)
    assert written == read
    with digests() as whole:
        whole.add("/sums", array.astype("u1"))
        assert whole.as_text() == written


def test_no_copy_of_the_sums_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMNORM_THREADS", "2")
    array = np.full((4096, 2048), 2**30)
    back = np.zeros_like(array)
    with in_memory() as f, digests() as found:
        tracemalloc.start()
        write_sums(f, "sums", array, stored_dtype(array, found), found)
        read_sums(f["sums"], back, found)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < array.nbytes / 4


@pytest.mark.parametrize(
    ("frames", "dtypes"),
    [
        (np.full((4, *SHAPE), 9, "u1"), ("u1", "u1")),
        (np.full((4, *SHAPE), 127, "u1"), ("u1", "u2")),
        (np.full((4, *SHAPE), -9, "i2"), ("i1", "u1")),
        (np.full((4, *SHAPE), -300, "i2"), ("i2", "u4")),
        (np.full((4, *SHAPE), 65535, "u2"), ("u4", "u8")),
        (np.full((4, *SHAPE), 0.5, "f4"), ("f8", "f8")),
    ],
)
def test_types_in_a_sensor_file(tmp_path: Path, frames: npt.NDArray[Any], dtypes: tuple[str, str]) -> None:
    files = [write_mrc(tmp_path / f"{i}.mrc", pair) for i, pair in enumerate(np.split(frames, 2))]
    sensor = camnorm.measure(files, tmp_path / "s.h5", screen="off")
    with h5py.File(tmp_path / "s.h5") as f:
        half = f["halves/A"]
        found = [half[name if name in half else f"{name}_high"].dtype for name in ("sum", "sum_of_squares")]
    assert found == [np.dtype(dtype) for dtype in dtypes]
    assert_same_sensor(Sensor.load(tmp_path / "s.h5"), sensor)


def test_each_half_has_its_own_types(tmp_path: Path) -> None:
    files = [write_mrc(tmp_path / f"{i}.mrc", np.full((3, *SHAPE), i * 200, "u2")) for i in range(2)]
    camnorm.measure(files, tmp_path / "s.h5", screen="off")
    with h5py.File(tmp_path / "s.h5") as f:
        assert {f[f"halves/{half}/sum"].dtype for half in "AB"} == {np.dtype("u1"), np.dtype("u2")}


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4"])
@pytest.mark.parametrize("response", [False, True])
def test_files_of_schema_1_are_read(tmp_path: Path, dtype: str, response: bool) -> None:
    path = tmp_path / "sensor.h5"
    files = write_movies(tmp_path / "in", 6, 3, SHAPE, dtype)
    sensor = camnorm.measure(files, path, screen="off", response=response)
    make_old(path)
    assert_same_sensor(Sensor.load(path), sensor)
    assert_same_sensor(camnorm.measure(files, path, screen="off", response=response), sensor)
    make_old(path)
    with h5py.File(path, "r+") as f:
        for kind in ("halves", "responses")[: 1 + response]:  # frames may have these sums
            for part in f[f"{kind}/A"].values():
                part[2, 3:5] = part[2, 3:5][::-1]
    with pytest.raises(FormatError, match=r"/halves/A/sum.* was changed after it was written"):
        Sensor.load(path)


@pytest.mark.parametrize("values", [np.ones(SHAPE, bool), np.ones(SHAPE, "u8"), np.ones(SHAPE, "f4")])
def test_types_that_sums_cannot_have(tmp_path: Path, values: npt.NDArray[Any]) -> None:
    path = tmp_path / "sensor.h5"
    camnorm.measure(write_movies(tmp_path / "in", 2, 2, SHAPE, "u1"), path)
    with h5py.File(path, "r+") as f:
        del f["halves/A/sum"]
        f["halves/A/sum"] = values
    message = f"sum has dtype {values.dtype}, not int64 or a narrower integer$"
    with pytest.raises(FormatError, match=message):
        Sensor.load(path)


def test_a_long_set_of_8_bit_frames_has_small_sums(tmp_path: Path) -> None:
    """Sums of 10,000 frames of one electron per pixel have 16 bits, whatever their pixel type."""
    frame = np.random.default_rng(0).poisson(1.0, (200, *SHAPE)).astype("u1")
    files = [write_mrc(tmp_path / f"{i}.mrc", np.tile(frame, (25, 1, 1))) for i in range(2)]
    camnorm.measure(files, tmp_path / "s.h5", screen="off")
    with h5py.File(tmp_path / "s.h5") as f:
        assert sum(int(f[f"halves/{half}"].attrs["count"]) for half in "AB") == 10_000
        assert {part.dtype for half in "AB" for part in f[f"halves/{half}"].values()} == {np.dtype("u2")}
