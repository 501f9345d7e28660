"""What `camnorm correct` writes beyond plain copies: other formats, compression, scaled pixels."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import Sensor
from camnorm.errors import FormatError
from camnorm.io import ReadOptions, create_writer, open_frames, target_name
from camnorm.io.formats.tiff.writer import CompressedTiffWriter
from damage import read_each
from image_sets import Divide, cut, frames_of, write_mrc, write_npy, write_tiff

SHAPE = (13, 11)
LABEL = "camnorm 0.1.0: a posteriori corrected, 12 frames"
COMPRESSIONS = {"lzw": 5, "deflate": 8, "zstd": 50000}
DTYPES = ("float32", "float16", "int16", "uint16", "int8", "uint8")
FLIPPED = "rows are turned upside down between MRC and TIFF"

flips = pytest.mark.filterwarnings(f"ignore:{FLIPPED}")
saturates = pytest.mark.filterwarnings("ignore:.*were saturated")


@pytest.fixture
def frames() -> np.ndarray:
    frames = frames_of(12, SHAPE, "u2")
    frames[:, 2, 3] = 77
    return frames


@pytest.fixture
def movie(tmp_path: Path, frames: np.ndarray) -> Path:
    return write_mrc(tmp_path / "movie.mrc", frames)


@pytest.fixture
def sensor(movie: Path) -> Sensor:
    sensor = camnorm.measure(movie, screen="off")
    sensor.provenance["row_order"] = ""  # corrects arrays as they are stored, in any format
    return sensor


def of_floats(folder: Path) -> Sensor:
    """The same of float frames: a sensor corrects frames of its own kind."""
    sensor = camnorm.measure(write_npy(folder / "floats.npy", frames_of(12, SHAPE, "f4")), screen="off")
    sensor.provenance["row_order"] = ""
    return sensor


def noise(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(1)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(0, 30, shape).astype(kind)
    return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


# --- compressed TIFF


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", [*DTYPES, "float64", "uint32", "int32"])
@pytest.mark.parametrize("shape", [(5, 12, 17), (5, 12, 17, 3), (5, 12, 17, 2)])
def test_compressed_tiff(tmp_path: Path, compression: str, dtype: str, shape: tuple[int, ...]) -> None:
    frames = noise(dtype, shape)
    with (
        open_frames(write_npy(tmp_path / "in.npy", np.zeros(shape, "u1"))) as source,
        create_writer(
            tmp_path / "out.tif", source, frames.dtype, count=5, label=LABEL, compression=compression
        ) as writer,
    ):
        writer.write(frames[:2])
        writer.write(frames[2:])
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert len(tiff.pages) == 5
        for page, frame in zip(tiff.pages, frames, strict=True):
            assert page.compression == COMPRESSIONS[compression]
            assert page.predictor == (3 if dtype == "float32" and compression != "lzw" else 1)
            assert len(page.dataoffsets) == 1
            assert page.description == LABEL
            assert np.array_equal(page.asarray(), frame)
    with open_frames(tmp_path / "out.tif") as again:
        assert np.array_equal(again.read(0, 5), frames)


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16", "uint8"])
@pytest.mark.parametrize("compression", ["none", *COMPRESSIONS])
def test_libtiff_reads_it(tmp_path: Path, compression: str, dtype: str) -> None:
    """By the predictor of libtiff, which programs of the field use."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    frames = noise(dtype, (3, 12, 17))
    with (
        open_frames(write_npy(tmp_path / "in.npy", np.zeros((3, 12, 17), "u1"))) as source,
        create_writer(
            tmp_path / "out.tif", source, frames.dtype, count=3, label=LABEL, compression=compression
        ) as writer,
    ):
        writer.write(frames)
    with pillow.open(tmp_path / "out.tif") as image:
        for index, frame in enumerate(frames):
            image.seek(index)
            assert np.array_equal(np.asarray(image), frame)


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2], [0, 2, 1]])
def test_compressed_frames_wait_for_those_before_them(tmp_path: Path, order: list[int]) -> None:
    frames = noise("float32", (3, *SHAPE))
    results = []
    with open_frames(write_npy(tmp_path / "in.npy", frames)) as source:
        for places in ([0, 1, 2], order):
            path = tmp_path / f"{places}.tif"
            with create_writer(
                path, source, frames.dtype, count=3, label=LABEL, compression="zstd"
            ) as writer:
                done: set[int] = set()
                for place in places:
                    writer.write(frames[place : place + 1], place)
                    done.add(place)
                    first = next(index for index in range(4) if index not in done)
                    assert writer.waiting == len(done) - first
            results.append(path.read_bytes())
    assert results[0] == results[1]


def test_rows_cannot_be_compressed(tmp_path: Path) -> None:
    with open_frames(write_npy(tmp_path / "in.npy", np.zeros((1, 8, 8), "f4"))) as source:
        writer = create_writer(
            tmp_path / "out.tif", source, np.float32, count=1, label=LABEL, compression="zstd"
        )
        with pytest.raises(ValueError, match="only whole frames can be compressed, not 3 rows"):
            writer.write(np.zeros((1, 3, 8), "f4"))
        writer.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("policy", ["neutral", "interpolate"])
@flips
def test_threads_do_not_change_a_bit_of_compressed_files(
    tmp_path: Path, sensor: Sensor, compression: Any, policy: Any
) -> None:
    frames = frames_of(60, SHAPE, "u2", seed=1)
    folder = tmp_path / "more"
    folder.mkdir()
    for name, part in (("a", frames[:50]), ("b", frames[50:59]), ("c", frames[59:])):
        write_mrc(folder / f"{name}.mrc", part)
    results = [
        [
            path.read_bytes()
            for path in camnorm.correct(
                folder,
                sensor,
                tmp_path / f"{threads}",
                format="tiff",
                compression=compression,
                bad_policy=policy,
                threads=threads,
            )
        ]
        for threads in (1, 2, 7)
    ]
    assert results[0] == results[1] == results[2]
    written = np.concatenate([tifffile.imread(tmp_path / "2" / f"{n}.tif").ravel() for n in "abc"])
    expected = sensor.correction(bad_policy=policy).apply(frames)[:, ::-1]
    assert np.array_equal(written, expected.ravel())


def test_frames_that_wait_are_few(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    """Though the first frame takes longer than all others."""
    encode = CompressedTiffWriter._encode
    most = 0
    lock = threading.Lock()
    first = sensor.correction().apply(frames[0])

    def slow(self: CompressedTiffWriter, frame: np.ndarray) -> bytes:
        nonlocal most
        if np.array_equal(frame, first):
            time.sleep(0.3)
        with lock:
            most = max(most, self.waiting)
        return encode(self, frame)

    monkeypatch.setattr(CompressedTiffWriter, "_encode", slow)
    divide(block_bytes=1)
    path = write_tiff(tmp_path / "a.tif", np.concatenate([frames, np.tile(frames[1:], (9, 1, 1))]))
    (target,) = camnorm.correct(path, sensor, tmp_path / "out", compression="zstd", threads=3)
    assert 0 < most <= 3 + 2
    with tifffile.TiffFile(target) as tiff:
        assert len(tiff.pages) == 111


def test_a_frame_that_cannot_be_read_stops_those_that_wait(
    tmp_path: Path, sensor: Sensor, divide: Divide
) -> None:
    divide(block_bytes=1)
    path = write_tiff(tmp_path / "a.tif", frames_of(40, SHAPE, "u2"), compression="zstd")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[2].dataoffsets[0]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4)
    with pytest.raises(camnorm.FormatError, match=r"a\.tif, frame 2: cannot be read"):
        camnorm.correct(path, sensor, tmp_path / "out", compression="zstd", strict=True, threads=4)
    assert list((tmp_path / "out").iterdir()) == []


def test_compressed_tiff_that_might_come_to_4_gigabytes_is_big(tmp_path: Path) -> None:
    with open_frames(write_npy(tmp_path / "in.npy", np.zeros((1, 2, 2), "u1"))) as source:
        for count, version in ((2**31 // 1200, 42), (2**31 // 1040, 43)):
            path = tmp_path / "out.tif"
            writer = create_writer(path, source, np.float32, count=count, label=LABEL, compression="zstd")
            writer.write(np.zeros((1, 2, 2), "f4"))
            (temporary,) = tmp_path.glob(".out.tif.*")
            writer._file.flush()
            assert struct.unpack("<H", temporary.read_bytes()[2:4]) == (version,)
            writer.discard()


def test_mrc_files_are_not_compressed(tmp_path: Path, movie: Path, sensor: Sensor) -> None:
    for options in ({}, {"format": "mrc"}):
        with pytest.raises(ValueError, match=r"^compression of MRC files is none, not zstd$"):
            camnorm.correct(movie, sensor, tmp_path / "out", compression="zstd", **options)
    assert not (tmp_path / "out").exists()


# --- formats


@pytest.mark.parametrize(
    ("name", "kind", "wanted", "expected"),
    [
        ("a/b.mrcs", "MRC", "mrc", "a/b.mrcs"),
        ("a/b.mrcs", "MRC", "tiff", "a/b.tif"),
        ("a/b.tiff", "TIFF", "mrc", "a/b.mrc"),
        ("a/b.c.tiff", "TIFF", "tiff", "a/b.c.tiff"),
        ("a/b.c.npy", "NPY", "mrc", "a/b.c.mrc"),
    ],
)
def test_name_of_the_target(name: str, kind: str, wanted: str, expected: str) -> None:
    assert target_name(name, kind, wanted) == Path(expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("suffix", "wanted"), [(".mrc", "tiff"), (".tif", "mrc"), (".npy", "mrc")])
@saturates
@flips
def test_other_formats(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, dtype: str, suffix: str, wanted: Any
) -> None:
    write = {".mrc": write_mrc, ".tif": write_tiff, ".npy": write_npy}[suffix]
    path = write(tmp_path / f"m{suffix}", frames)
    (target,) = camnorm.correct(path, sensor, tmp_path / "out", dtype=dtype, format=wanted)
    pixels = tifffile.imread(target) if wanted == "tiff" else mrcfile.read(target)
    expected = sensor.correction().apply(frames, dtype=dtype)
    assert np.array_equal(pixels, expected if suffix == ".npy" else expected[:, ::-1])
    if wanted == "mrc":
        assert pixels.dtype == {"uint8": "uint16"}.get(dtype, dtype)
        if dtype != "float16":  # of which mrcfile takes the squares in float16
            assert mrcfile.validate(target, print_file=sys.stdout)


def test_turned_rows_are_told_once(tmp_path: Path, sensor: Sensor, frames: np.ndarray) -> None:
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_tiff(tmp_path / "in" / f"{name}.tif", frames)
    with pytest.warns(UserWarning, match=FLIPPED) as warned:
        camnorm.correct(tmp_path / "in", sensor, tmp_path / "out", format="mrc")
    assert sum("more noise" not in str(warning.message) for warning in warned) == 1
    # There and back they are as they were; and nothing is turned that stays what it is.
    with pytest.warns(UserWarning, match=FLIPPED):
        camnorm.correct(tmp_path / "out", of_floats(tmp_path), tmp_path / "back", format="tiff")
    camnorm.correct(tmp_path / "in", sensor, tmp_path / "same", format="tiff")
    once = tifffile.imread(tmp_path / "same" / "a.tif")
    assert np.array_equal(once, mrcfile.read(tmp_path / "out" / "a.mrc")[:, ::-1])


@flips
def test_rows_of_long_movies_are_turned_too(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, movie: Path, divide: Divide
) -> None:
    divide(block_frames=2, block_bytes=2 * 3 * 66)
    (target,) = camnorm.correct(movie, sensor, tmp_path / "out", format="tiff", threads=2)
    assert np.array_equal(tifffile.imread(target)[:, ::-1], sensor.correction().apply(frames))


@flips
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("pixel_size", [1.5, 0.8351, 12345.678, 0.05])
def test_pixel_size_crosses_formats(
    tmp_path: Path, sensor: Sensor, movie: Path, pixel_size: float, compression: Any
) -> None:
    with mrcfile.open(movie, "r+") as mrc:
        mrc.voxel_size = pixel_size
    (tiff_path,) = camnorm.correct(movie, sensor, tmp_path / "out", format="tiff", compression=compression)
    with tifffile.TiffFile(tiff_path) as tiff:
        for page in tiff.pages:
            tags = page.tags
            assert tags["ResolutionUnit"].value.name == "CENTIMETER"
            for name in ("XResolution", "YResolution"):
                numerator, denominator = tags[name].value
                assert 1e8 * denominator / numerator == pytest.approx(pixel_size, rel=1e-6)
    with open_frames(tiff_path) as source:
        assert source.metadata["pixel_size"] == pytest.approx(pixel_size, rel=1e-6)
    (mrc_path,) = camnorm.correct(tiff_path, of_floats(tmp_path), tmp_path / "back", format="mrc")
    with mrcfile.open(mrc_path) as mrc:
        header = mrc.header
        assert (header.ispg, header.mx, header.my, header.mz, header.nz) == (0, 11, 13, 1, 12)
        assert header.cella.x == pytest.approx(11 * pixel_size, rel=1e-6)
        assert header.cella.y == pytest.approx(13 * pixel_size, rel=1e-6)
        assert float(mrc.voxel_size.z) == pytest.approx(pixel_size, rel=1e-6)
        assert mrc.get_labels() == [f"camnorm {camnorm.__version__}: a posteriori corrected, 12 frames"]


@pytest.mark.parametrize("pixel_size", [0.001, 1e9])
def test_pixel_size_beyond_the_tags_is_left_out(
    tmp_path: Path, movie: Path, frames: np.ndarray, pixel_size: float
) -> None:
    with mrcfile.open(movie, "r+") as mrc:
        mrc.voxel_size = pixel_size
    with (
        open_frames(movie) as source,
        create_writer(tmp_path / "o.tif", source, np.uint16, count=12, label=LABEL, wanted="tiff") as writer,
    ):
        writer.write(frames)
    with open_frames(tmp_path / "o.tif") as again:
        assert "pixel_size" not in again.metadata


def test_mrc_holds_no_colours(tmp_path: Path) -> None:
    with (
        open_frames(write_npy(tmp_path / "in.npy", np.zeros((2, 8, 8, 3), "u1"))) as source,
        pytest.raises(ValueError, match=r"^an MRC file cannot hold colour frames: choose TIFF$"),
    ):
        create_writer(tmp_path / "o.mrc", source, np.float32, count=2, label=LABEL, wanted="mrc")
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


# --- HDF5 and Zarr

STORES = [("hdf5", "none"), ("hdf5", "deflate"), ("zarr", "none"), ("zarr", "deflate"), ("zarr", "zstd")]


def read_store(path: Path) -> np.ndarray:
    """By the libraries of these formats alone."""
    if path.suffix == ".h5":
        with h5py.File(path) as h5:
            group = h5[f"{h5.attrs['default']}/{h5[h5.attrs['default']].attrs['default']}"]
            assert group.attrs["NX_class"] == "NXdata"
            pixels: np.ndarray = group[group.attrs["signal"]][()]
            return pixels
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    return np.asarray(zarr.open_group(str(path), mode="r")["0"][...])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("wanted", "compression"), STORES)
@saturates
def test_stores(
    tmp_path: Path, sensor: Sensor, movie: Path, frames: np.ndarray, dtype: str, wanted: Any, compression: Any
) -> None:
    written = [
        camnorm.correct(
            movie,
            sensor,
            tmp_path / f"{threads}",
            dtype=dtype,
            format=wanted,
            compression=compression,
            threads=threads,
        )[0]
        for threads in (1, 3)
    ]
    expected = sensor.correction().apply(frames, dtype=dtype)
    for path in written:
        assert path.name == {"hdf5": "movie.h5", "zarr": "movie.zarr"}[wanted]
        assert np.array_equal(read_store(path), expected)
        with open_frames(path) as source:
            assert source.dtype == dtype
            assert np.array_equal(source.read(0, 12), expected)
            assert source.metadata["pixel_size"] == pytest.approx(1.5)
    contents = [everything(path) for path in written]
    assert contents[0] == contents[1]
    assert not [path for path in (tmp_path / "1").iterdir() if path != written[0]]


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_hdf5_keeps_no_time(tmp_path: Path, sensor: Sensor, movie: Path, compression: Any) -> None:
    (written,) = camnorm.correct(movie, sensor, tmp_path / "out", format="hdf5", compression=compression)
    with h5py.File(written) as h5:
        for name in ("/", "entry", "entry/data", "entry/data/data"):
            info = h5py.h5o.get_info(h5[name].id)
            assert (info.mtime, info.ctime, info.btime) == (0, 0, 0)


def everything(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in files}


@pytest.mark.parametrize(("wanted", "compression"), STORES)
def test_long_movies_and_sums_in_stores(
    tmp_path: Path, sensor: Sensor, wanted: Any, compression: Any, divide: Divide
) -> None:
    divide(block_frames=2, block_bytes=2 * 3 * 66)
    frames = frames_of(41, SHAPE, "u2", seed=4)
    path = write_mrc(tmp_path / "a.mrc", frames)
    options: dict[str, Any] = {"format": wanted, "compression": compression, "threads": 3}
    (target,) = camnorm.correct(path, sensor, tmp_path / "out", **options)
    corrected = sensor.correction().apply(frames)
    assert np.array_equal(read_store(target), corrected)
    (target,) = camnorm.correct(path, sensor, tmp_path / "sum", sum_frames=True, **options)
    np.testing.assert_allclose(read_store(target)[0], corrected.sum(0, dtype="f8"), rtol=1e-6)


@pytest.mark.parametrize(("wanted", "compression"), STORES)
def test_colours_in_stores(tmp_path: Path, wanted: Any, compression: Any) -> None:
    frames = frames_of(6, (*SHAPE, 3), "u1")
    path = write_npy(tmp_path / "a.npy", frames)
    sensor = camnorm.measure(path, screen="off")
    (target,) = camnorm.correct(path, sensor, tmp_path / "out", format=wanted, compression=compression)
    expected = sensor.correction().apply(frames)
    assert np.array_equal(read_store(target), expected)
    with open_frames(target) as source:
        assert np.array_equal(source.read(0, 6), expected)
    with (
        open_frames(write_npy(tmp_path / "b.npy", np.zeros((2, 8, 8, 2), "u1"))) as source,
        pytest.raises(ValueError, match="cannot hold frames of 2 planes: choose TIFF"),
    ):
        create_writer(
            tmp_path / "o",
            source,
            np.float32,
            count=2,
            label=LABEL,
            wanted=wanted,
            compression=compression,
        )
    assert not (tmp_path / "o").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy", "b.npy", "out"}


@pytest.mark.parametrize("wanted", ["hdf5", "zarr"])
def test_scale_is_told_in_stores(tmp_path: Path, sensor: Sensor, movie: Path, wanted: Any) -> None:
    (target,) = camnorm.correct(movie, sensor, tmp_path / "out", dtype="int16", scale="auto", format=wanted)
    with open_frames(target) as source:
        assert source.metadata["scale"] == pytest.approx(32767 / 40 / sensor.target_sigma, rel=1e-12)


@pytest.mark.parametrize("wanted", ["hdf5", "zarr"])
def test_stores_stay_what_they_are(tmp_path: Path, sensor: Sensor, movie: Path, wanted: Any) -> None:
    (store,) = camnorm.correct(movie, sensor, tmp_path / "in", format=wanted)
    again = camnorm.measure(store, screen="off")
    (target,) = camnorm.correct(store, again, tmp_path / "out")
    assert target.name == store.name
    assert np.array_equal(read_store(target), again.correction().apply(read_store(store)))


@pytest.mark.parametrize("compression", ["none", "deflate", "zstd"])
def test_zarr_of_version_3_stays_it(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, compression: Any
) -> None:
    zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed")
    group = zarr.create_group(store=str(tmp_path / "a.zarr"), zarr_format=3)
    group.create_array("0", shape=frames.shape, chunks=(1, *SHAPE), dtype="u2")[...] = frames
    (target,) = camnorm.correct(tmp_path / "a.zarr", sensor, tmp_path / "out", compression=compression)
    array = zarr.open_group(str(target), mode="r")["0"]
    assert array.metadata.zarr_format == 3
    expected = sensor.correction().apply(frames)
    assert np.array_equal(array[...], expected)
    with open_frames(target) as source:
        assert np.array_equal(source.read(0, 12), expected)


def test_stores_replace_only_stores(tmp_path: Path, sensor: Sensor, movie: Path, frames: np.ndarray) -> None:
    target = tmp_path / "out" / "movie.zarr"
    target.mkdir(parents=True)
    (target / "precious").write_text("mine")
    for _ in range(2):
        with pytest.raises(camnorm.Error, match="is not a Zarr store, and is not replaced by one"):
            camnorm.correct(movie, sensor, tmp_path / "out", format="zarr", overwrite=True)
        assert (target / "precious").read_text() == "mine"
    shutil.rmtree(target)
    camnorm.correct(movie, sensor, tmp_path / "out", format="zarr", target_mean=5)
    with pytest.raises(camnorm.Error, match="already exists"):
        camnorm.correct(movie, sensor, tmp_path / "out", format="zarr")
    camnorm.correct(movie, sensor, tmp_path / "out", format="zarr", overwrite=True)
    assert np.array_equal(read_store(target), sensor.correction().apply(frames))
    assert [path.name for path in target.parent.iterdir()] == ["movie.zarr"]


@pytest.mark.parametrize(("wanted", "compression"), STORES)
def test_store_that_fails_leaves_nothing(
    tmp_path: Path, sensor: Sensor, wanted: Any, compression: Any
) -> None:
    path = write_tiff(tmp_path / "a.tif", frames_of(40, SHAPE, "u2"), compression="zstd")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[7].dataoffsets[0]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4)
    with pytest.raises(camnorm.FormatError, match=r"a\.tif, frame 7: cannot be read"):
        camnorm.correct(
            path, sensor, tmp_path / "out", format=wanted, compression=compression, strict=True, threads=3
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("wanted", "compression"), [*STORES, ("tiff", "zstd")])
def test_no_space_left(tmp_path: Path, wanted: str, compression: str) -> None:
    """Files may have 0.3 MB; each frame takes 0.4."""
    write_npy(tmp_path / "in.npy", noise("uint16", (4, 250, 400)))
    script = f"""
import resource, sys
import numpy as np
from camnorm.io import create_writer, open_frames
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with open_frames("in.npy") as source:
        noise = np.random.default_rng(0).normal(size=source.shape).astype("f4")
        with create_writer(
            "out", source, np.float32, count=4, label="x", wanted="{wanted}", compression="{compression}"
        ) as writer:
            for index in range(4):
                writer.write(noise[np.newaxis])
except OSError as error:
    print(error.errno, error.filename)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(errno.EFBIG), "out"]
    assert done.stderr == ""
    assert os.listdir(tmp_path) == ["in.npy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "bmp"}, "format must be same, mrc, tiff, hdf5, zarr, not 'bmp'"),
        ({"compression": "bzip2"}, "compression of MRC files is none, not bzip2"),
        ({"scale": 2, "dtype": "int16"}, "scale must be 'auto' or None, not 2"),
    ],
)
def test_options_that_are_none(
    tmp_path: Path, sensor: Sensor, movie: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        camnorm.correct(movie, sensor, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_links_to_stores_are_replaced(
    tmp_path: Path, sensor: Sensor, movie: Path, frames: np.ndarray
) -> None:
    (store,) = camnorm.correct(movie, sensor, tmp_path / "other", format="zarr", target_mean=5)
    before = everything(store)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "movie.zarr").symlink_to(store)
    (target,) = camnorm.correct(movie, sensor, tmp_path / "out", format="zarr", overwrite=True)
    assert not target.is_symlink()
    assert np.array_equal(read_store(target), sensor.correction().apply(frames))
    assert everything(store) == before
    assert [path.name for path in target.parent.iterdir()] == ["movie.zarr"]


def test_compressions_of_stores(tmp_path: Path, sensor: Sensor, movie: Path) -> None:
    with pytest.raises(ValueError, match=r"^compression of HDF5 files is none or deflate, not zstd$"):
        camnorm.correct(movie, sensor, tmp_path / "out", format="hdf5", compression="zstd")
    with pytest.raises(ValueError, match=r"^compression of Zarr files is none or deflate or zstd, not lzw$"):
        camnorm.correct(movie, sensor, tmp_path / "out", format="zarr", compression="lzw")


# --- pixel types


def test_bytes_of_mrc_are_marked_as_signed(tmp_path: Path, movie: Path) -> None:
    pixels = noise("int8", (12, *SHAPE))
    # Made from a file that says of its own bytes that they are unsigned.
    write_mrc(movie, pixels.view("u1"))
    with open_frames(movie) as source:
        assert source.dtype == np.uint8
        with create_writer(tmp_path / "o.mrc", source, np.int8, count=12, label=LABEL) as writer:
            writer.write(pixels)
    assert np.array_equal(mrcfile.read(tmp_path / "o.mrc"), pixels)
    assert (tmp_path / "o.mrc").read_bytes()[152:160] == struct.pack("<ii", 1146047817, 1)
    with open_frames(tmp_path / "o.mrc") as again:
        assert np.array_equal(again.read(0, 12), pixels)


@flips
@pytest.mark.parametrize("wanted", ["mrc", "tiff"])
@pytest.mark.parametrize("targets", [{}, {"target_mean": 3, "target_sigma": 0.25}])
def test_scaled_int16(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, movie: Path, wanted: Any, targets: dict[str, float]
) -> None:
    (target,) = camnorm.correct(
        movie, sensor, tmp_path / "out", dtype="int16", scale="auto", format=wanted, **targets
    )
    with open_frames(target) as source:
        assert source.dtype == np.int16
        scale, offset = source.metadata["scale"], source.metadata["offset"]
        pixels = source.read(0, 12)
    correction = sensor.correction(**targets)
    assert scale == pytest.approx(32767 / 40 / correction.target_sigma, rel=1e-12)
    assert offset == pytest.approx(-correction.target_mean * scale, rel=1e-12)
    values = correction.apply(frames, dtype="float64")
    if wanted == "tiff":
        values = values[:, ::-1]
    assert np.abs(pixels - (values * scale + offset)).max() <= 0.5 + 1e-9
    text = f"camnorm_scale={scale!r} camnorm_offset={offset!r}"
    if wanted == "mrc":
        with mrcfile.open(target) as mrc:
            assert mrc.get_labels()[-1] == text
            assert mrc.get_labels()[-2].endswith("a posteriori corrected, 12 frames")
    else:
        with tifffile.TiffFile(target) as tiff:
            assert tiff.pages[0].description.splitlines()[-1] == text


@pytest.mark.filterwarnings("ignore:1 of 12 frames of 1 file lies outside")
def test_scaled_pixels_that_saturate(tmp_path: Path, sensor: Sensor, frames: np.ndarray) -> None:
    frames[0, 0, 0] = 60000
    with pytest.warns(UserWarning, match=r"^1 pixels .* lay outside int16 and were saturated: float32 holds"):
        (target,) = camnorm.correct(
            write_npy(tmp_path / "a.npy", frames), sensor, tmp_path / "out", dtype="int16", scale="auto"
        )
    assert tifffile.imread(target)[0, 0, 0] == 32767


@pytest.mark.parametrize("dtype", ["float32", "uint16", "int8"])
def test_only_int16_is_scaled(tmp_path: Path, sensor: Sensor, movie: Path, dtype: str) -> None:
    with pytest.raises(ValueError, match=f"^pixels are scaled to int16 only, not to {dtype}$"):
        camnorm.correct(movie, sensor, tmp_path / "out", dtype=dtype, scale="auto")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["camnorm_scale=x camnorm_offset=1", "camnorm_scale=1", "camnorm"])
def test_notes_that_say_nothing_of_scales(tmp_path: Path, text: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise("uint8", SHAPE), description=text, metadata=None)
    with open_frames(tmp_path / "a.tif") as source:
        assert "scale" not in source.metadata


def test_labels_of_a_full_header_give_way(tmp_path: Path, movie: Path, frames: np.ndarray) -> None:
    with mrcfile.open(movie, "r+") as mrc:
        for number in range(mrc.header.nlabl, 10):
            mrc.add_label(f"label {number}")
        labels = mrc.get_labels()
    with (
        open_frames(movie) as source,
        create_writer(tmp_path / "o.mrc", source, np.uint16, count=12, label="one\ntwo") as writer,
    ):
        writer.write(frames)
    with mrcfile.open(tmp_path / "o.mrc") as mrc:
        assert mrc.get_labels() == [*labels[:8], "one", "two"]


# --- sums


def written_as(path: Path, frames: np.ndarray, kind: str) -> Path:
    if kind == "mrc":
        return write_mrc(path.with_suffix(".mrc"), frames)
    return write_tiff(path.with_suffix(".tif"), frames, compression=None if kind == "tiff" else "zlib")


@pytest.mark.parametrize("policy", ["neutral", "interpolate", "nan"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["mrc", "tiff", "compressed"])
def test_sum(tmp_path: Path, sensor: Sensor, kind: str, dtype: str, policy: Any, divide: Divide) -> None:
    divide(block_bytes=1000)
    sensor = of_floats(tmp_path) if dtype == "float32" else sensor
    frames = frames_of(41, SHAPE, dtype, seed=2)
    path = written_as(tmp_path / "a", frames, kind)
    one = written_as(tmp_path / "b", frames[:1], kind)
    results = []
    for threads in (1, 2, 7):
        written = camnorm.correct(
            [path, one], sensor, tmp_path / f"{threads}", sum_frames=True, bad_policy=policy, threads=threads
        )
        results.append([path.read_bytes() for path in written])
    assert results[0] == results[1] == results[2]
    correction = sensor.correction(bad_policy=policy)
    for target, part in zip(written, (frames, frames[:1]), strict=True):
        with open_frames(target) as source:
            assert source.count == 1
            assert source.dtype == np.float32
            pixels = source.read(0)[0]
        # The corrected frames added up with more digits than they have.
        expected = correction.apply(part, dtype="float64").astype(np.longdouble).sum(0)
        np.testing.assert_allclose(pixels, expected.astype("f4"), rtol=6e-8)
        note = f"sum of {len(part)} frames"
        if kind == "mrc":
            with mrcfile.open(target) as mrc:
                assert mrc.get_labels()[-1] == note
                assert float(mrc.voxel_size.x) == pytest.approx(1.5)
                assert mrc.header.nz == mrc.header.mz == 1
            assert mrcfile.validate(target, print_file=sys.stdout) or policy == "nan"
        else:
            with tifffile.TiffFile(target) as tiff:
                assert tiff.pages[0].description.splitlines()[-1] == note


@flips
def test_sum_in_another_format(tmp_path: Path, sensor: Sensor, movie: Path, frames: np.ndarray) -> None:
    (target,) = camnorm.correct(
        movie, sensor, tmp_path / "out", sum_frames=True, format="tiff", compression="deflate"
    )
    expected = sensor.correction().apply(frames, dtype="float64").sum(0)
    np.testing.assert_allclose(tifffile.imread(target)[::-1], expected, rtol=6e-8)


def test_sum_tells_of_all_frames(tmp_path: Path, sensor: Sensor, movie: Path) -> None:
    reports: list[Any] = []
    camnorm.correct(movie, sensor, tmp_path / "out", sum_frames=True, progress=reports.append)
    assert (reports[-1].done, reports[-1].frames, reports[-1].bytes) == (1, 12, 12 * 286)


def test_sum_of_a_movie_that_cannot_be_read(tmp_path: Path, sensor: Sensor) -> None:
    path = write_tiff(tmp_path / "a.tif", frames_of(40, SHAPE, "u2"), compression="zstd")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[7].dataoffsets[0]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4)
    with pytest.raises(camnorm.FormatError, match=r"a\.tif, frame 7: cannot be read"):
        camnorm.correct(path, sensor, tmp_path / "out", sum_frames=True, strict=True, threads=3)
    assert list((tmp_path / "out").iterdir()) == []


def test_sums_are_float32(tmp_path: Path, sensor: Sensor, movie: Path) -> None:
    with pytest.raises(ValueError, match=r"^sums are written as float32, not int16$"):
        camnorm.correct(movie, sensor, tmp_path / "out", sum_frames=True, dtype="int16")


# --- manifests


def same_in_both(written: Path, manifest: Path) -> None:
    with open_frames(written) as plain, open_frames(manifest) as virtual:
        assert virtual.format == "camnorm manifest"
        assert (virtual.shape, virtual.count, virtual.dtype) == (plain.shape, plain.count, plain.dtype)
        assert virtual.read(0, 12).tobytes() == plain.read(0, 12).tobytes()
        assert virtual.read(5).tobytes() == plain.read(5).tobytes()
        assert virtual.metadata.get("pixel_size") == plain.metadata.get("pixel_size")


@saturates
@pytest.mark.parametrize("policy", ["neutral", "interpolate", "nan"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_manifests_give_what_is_written(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, dtype: str, policy: Any, suffix: str
) -> None:
    if policy == "nan" and not dtype.startswith("float"):
        pytest.skip("there are no NaN among integers")
    path = (
        write_mrc(tmp_path / "a.mrc", frames) if suffix == ".mrc" else write_tiff(tmp_path / "a.tif", frames)
    )
    if (suffix, dtype) == (".mrc", "uint8"):
        pytest.skip("MRC holds it as uint16")
    options: dict[str, Any] = {"dtype": dtype, "bad_policy": policy, "target_sigma": 9.25}
    (written,) = camnorm.correct(path, sensor, tmp_path / "out", **options)
    (manifest,) = camnorm.correct(path, sensor, tmp_path / "virtual", virtual=True, **options)
    assert manifest == tmp_path / "virtual" / f"a{suffix}.camnorm.json"
    same_in_both(written, manifest)


def test_scaled_manifest(tmp_path: Path, sensor: Sensor, movie: Path) -> None:
    options: dict[str, Any] = {"dtype": "int16", "scale": "auto"}
    (written,) = camnorm.correct(movie, sensor, tmp_path / "out", **options)
    (manifest,) = camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True, **options)
    same_in_both(written, manifest)
    with open_frames(written) as plain, open_frames(manifest) as virtual:
        for name in ("scale", "offset"):
            assert virtual.metadata[name] == plain.metadata[name]


@pytest.fixture
def manifest(tmp_path: Path, sensor: Sensor, movie: Path) -> Path:
    (path,) = camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True)
    return path


def correction_of(manifest: Path) -> Path:
    (path,) = manifest.parent.glob("correction-*.camnorm")
    return path


def test_manifests_are_inputs(tmp_path: Path, sensor: Sensor, frames: np.ndarray) -> None:
    movies = tmp_path / "in"
    for name, part in (("a", frames[:5]), ("sub/b", frames[5:])):
        (movies / name).parent.mkdir(exist_ok=True, parents=True)
        write_mrc(movies / f"{name}.mrc", part)
    written = camnorm.correct(movies, sensor, tmp_path / "virtual", virtual=True)
    assert [path.relative_to(tmp_path / "virtual").as_posix() for path in written] == [
        "a.mrc.camnorm.json",
        "sub/b.mrc.camnorm.json",
    ]
    assert len(list((tmp_path / "virtual").iterdir())) == 3  # a correction, which all have in common
    camnorm.correct(movies, sensor, tmp_path / "plain")
    virtual, plain = (camnorm.measure(tmp_path / name, screen="off") for name in ("virtual", "plain"))
    assert virtual.count == plain.count == 12
    assert np.array_equal(virtual.mean, plain.mean)
    assert np.array_equal(virtual.sigma, plain.sigma)
    with pytest.raises(camnorm.Error, match="is a manifest of corrected frames already"):
        camnorm.correct(tmp_path / "virtual", sensor, tmp_path / "twice", virtual=True, strict=True)


def test_corrections_do_not_replace_each_other(tmp_path: Path, sensor: Sensor, movie: Path) -> None:
    (first,) = camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True)
    other = write_mrc(tmp_path / "other.mrc", np.ones((12, *SHAPE), "u2"))
    camnorm.correct(other, sensor, tmp_path / "virtual", virtual=True, target_sigma=7)
    assert len(list((tmp_path / "virtual").glob("correction-*"))) == 2
    camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True, overwrite=True)
    assert len(list((tmp_path / "virtual").glob("correction-*"))) == 2
    (written,) = camnorm.correct(movie, sensor, tmp_path / "out")
    same_in_both(written, first)
    with pytest.raises(camnorm.Error, match="already exists"):
        camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True)


def test_movie_and_manifest_that_are_moved_together(
    tmp_path: Path, sensor: Sensor, movie: Path, manifest: Path
) -> None:
    (written,) = camnorm.correct(movie, sensor, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    movie.rename(tmp_path / "elsewhere" / movie.name)
    manifest.parent.rename(tmp_path / "elsewhere" / "virtual")
    same_in_both(written, tmp_path / "elsewhere" / "virtual" / manifest.name)


def test_manifest_that_is_moved_alone(tmp_path: Path, sensor: Sensor, movie: Path, manifest: Path) -> None:
    (written,) = camnorm.correct(movie, sensor, tmp_path / "out")
    (tmp_path / "far").mkdir()
    manifest.parent.rename(tmp_path / "far" / "away")
    same_in_both(written, tmp_path / "far" / "away" / manifest.name)


def test_movie_that_has_changed(movie: Path, manifest: Path) -> None:
    os.utime(movie, ns=(0, 0))
    with pytest.raises(camnorm.FormatError, match=r"movie\.mrc has changed since: correct it again$") as info:
        open_frames(manifest)
    assert info.value.path == str(manifest)


@pytest.mark.parametrize("name", ["gain", "defects"])
def test_gain_or_defects_that_have_changed(tmp_path: Path, movie: Path, name: str) -> None:
    reference = write_mrc(tmp_path / "reference.mrc", np.full((1, *SHAPE), name == "gain", "f4"))
    sensor = camnorm.measure(movie, options=ReadOptions(**{name: reference}))
    (written,) = camnorm.correct(movie, sensor, tmp_path / "out")
    (manifest,) = camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True)
    same_in_both(written, manifest)
    os.utime(reference, ns=(0, 0))
    with pytest.raises(camnorm.FormatError, match=r"reference\.mrc has changed since: correct it again$"):
        open_frames(manifest)
    reference.unlink()
    with pytest.raises(camnorm.FormatError, match=r"the file that it needs is not there: .*reference\.mrc$"):
        open_frames(manifest)


def test_movie_that_is_gone(movie: Path, manifest: Path) -> None:
    movie.unlink()
    with pytest.raises(camnorm.FormatError, match=r"the file that it corrects is not there: .*movie"):
        open_frames(manifest)


def test_correction_that_is_gone_or_another(
    tmp_path: Path, sensor: Sensor, movie: Path, manifest: Path
) -> None:
    (other,) = camnorm.correct(movie, sensor, tmp_path / "more", virtual=True, target_mean=3)
    correction = correction_of(manifest)
    shutil.copy(correction_of(other), correction)
    with pytest.raises(camnorm.FormatError, match="damaged, or another correction than that of the"):
        open_frames(manifest)
    correction.unlink()
    with pytest.raises(camnorm.FormatError, match="the correction that it names is not there"):
        open_frames(manifest)


def test_manifest_of_itself(manifest: Path) -> None:
    text = json.loads(manifest.read_text())
    text["source"]["path"] = manifest.name
    for _ in range(9):  # until it tells its own size
        status = manifest.stat()
        text["source"] |= {"size": status.st_size, "mtime_ns": 10**18}
        manifest.write_text(json.dumps(text))
        os.utime(manifest, ns=(10**18, 10**18))
    with pytest.raises(camnorm.FormatError, match="is a manifest itself"):
        open_frames(manifest)


def test_other_json_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"sensor": 1}')
    with pytest.raises(camnorm.FormatError, match="not an image file that camnorm reads"):
        open_frames(tmp_path / "a.json")
    for text, message in (
        ('{"camnorm": "sausages"}', "a manifest of sausages, not of corrected frames"),
        ('{"camnorm": "corrected frames", "schema": 2}', "written by a newer camnorm: schema 2"),
        ('{"camnorm": "corrected', "cannot be read"),
        ('{"camnorm": ' + "[" * 50000, "cannot be read"),
        ('{"camnorm": "' + "x" * 2**20 + '"}', "a manifest of more than 1048576 bytes"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(camnorm.FormatError, match=message):
            open_frames(tmp_path / "a.json")


@pytest.mark.parametrize("options", [{"format": "tiff"}, {"compression": "zstd"}, {"sum_frames": True}])
def test_manifests_hold_no_pixels(
    tmp_path: Path, sensor: Sensor, movie: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="manifests hold no pixels"):
        camnorm.correct(movie, sensor, tmp_path / "out", virtual=True, **options)
    assert not (tmp_path / "out").exists()


def test_truncated_movie_has_no_manifest(tmp_path: Path, sensor: Sensor, movie: Path) -> None:
    cut(movie, 1024 + 5 * 286 + 3)
    with pytest.raises(camnorm.FormatError, match=r"movie\.mrc, frame 5: truncated"):
        camnorm.correct(movie, sensor, tmp_path / "out", virtual=True, strict=True)
    assert not list((tmp_path / "out").glob("*.json"))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, left out or doubled."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place, length = rng.integers(0, len(damaged)), rng.integers(1, 9)
        kind = rng.integers(0, 4)
        if kind == 0:
            damaged[place : place + length] = rng.bytes(length)
        elif kind == 1:
            damaged[place] = rng.choice(list(b'0123456789{}[]",:/.-'))
        elif kind == 2:
            del damaged[place : place + length]
        else:
            damaged[place:place] = damaged[place : place + length]
    return bytes(damaged)


@pytest.mark.parametrize("damaged", ["manifest", "correction"])
def test_damage(manifest: Path, damaged: str) -> None:
    path = manifest if damaged == "manifest" else correction_of(manifest)
    data = path.read_bytes()
    with open_frames(manifest) as source:
        expected = source.read(0, 12)
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(300):
        path.unlink()
        path.write_bytes(mutated(data, rng))
        try:
            with open_frames(manifest) as source:
                # What may have changed unnoticed: the pixel type, and which of the two paths is right.
                assert source.dtype != expected.dtype or np.array_equal(source.read(0, 12), expected)
        except (camnorm.FormatError, OSError):
            refused += 1
    assert refused > 15


# --- with selections and options of reading


@pytest.mark.parametrize("kind", ["mrc", "compressed"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("chosen", ["2:9", "::5", "-3:"])
def test_selected_frames(tmp_path: Path, sensor: Sensor, kind: str, dtype: str, chosen: str) -> None:
    sensor = of_floats(tmp_path) if dtype == "float32" else sensor
    frames = frames_of(41, SHAPE, dtype, seed=2)
    path = written_as(tmp_path / "a", frames, kind)
    selected = frames[slice(*(int(part) if part else None for part in chosen.split(":")))]
    expected = sensor.correction().apply(selected)
    (manifest,) = camnorm.correct(path, sensor, tmp_path / "virtual", virtual=True, frames=chosen)
    with open_frames(manifest) as source:
        assert source.count == len(selected)
        assert np.array_equal(source.read(0, source.count), expected)
        assert np.array_equal(source.read(1, 3), expected[1:3])
    (target,) = camnorm.correct(path, sensor, tmp_path / "sum", sum_frames=True, frames=chosen)
    with open_frames(target) as source:
        np.testing.assert_allclose(source.read(0)[0], expected.sum(0, dtype="f8"), rtol=1e-6)
    if kind == "compressed":
        (target,) = camnorm.correct(path, sensor, tmp_path / "zstd", compression="zstd", frames=chosen)
        assert np.array_equal(tifffile.imread(target), expected)


def test_manifests_remember_how_the_files_are_read(tmp_path: Path, frames: np.ndarray) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.bin"
    path.write_bytes(b"head" + frames.astype(">u2").tobytes())
    layout = camnorm.io.RawLayout(SHAPE, np.dtype(">u2"), 4)
    options = camnorm.io.ReadOptions(raw=layout)
    sensor = camnorm.measure(path, screen="off", options=options)
    (manifest,) = camnorm.correct(path, sensor, tmp_path / "virtual", virtual=True)
    with open_frames(manifest) as source:
        assert np.array_equal(source.read(0, 12), sensor.correction().apply(frames))


def test_gain_keeps_the_header_of_mrc(tmp_path: Path, movie: Path) -> None:
    gain = np.linspace(0.5, 1.5, 143, dtype="f4").reshape(SHAPE)
    options = camnorm.io.ReadOptions(gain=write_mrc(tmp_path / "gain.mrc", gain[np.newaxis]))
    sensor = camnorm.measure(movie, screen="off", options=options)
    (target,) = camnorm.correct(movie, sensor, tmp_path / "out")
    with open_frames(movie, options) as source:
        expected = sensor.correction().apply(source.read(0, 12))
    with mrcfile.open(target) as mrc:
        assert np.array_equal(mrc.data, expected)
        assert float(mrc.voxel_size.x) == pytest.approx(1.5)
    (manifest,) = camnorm.correct(movie, sensor, tmp_path / "virtual", virtual=True)
    same_in_both(target, manifest)


@flips
@pytest.mark.parametrize(("wanted", "name"), [("same", "a.mrc"), ("tiff", "a.tif")])
def test_packed_mrc(tmp_path: Path, sensor: Sensor, movie: Path, wanted: Any, name: str) -> None:
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes(gzip.compress(movie.read_bytes()))
    (target,) = camnorm.correct(packed, sensor, tmp_path / "out", format=wanted)
    assert target == tmp_path / "out" / name
    (expected,) = camnorm.correct(movie, sensor, tmp_path / "plain", format=wanted)
    assert target.read_bytes() == expected.read_bytes()


# --- other programs


@pytest.mark.skipif(not shutil.which("relion_image_handler"), reason="RELION is not installed")
@flips
@saturates
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16", "int8", "uint8"])
@pytest.mark.parametrize(
    ("wanted", "compression"),
    [("mrc", "none"), ("tiff", "none"), ("tiff", "lzw"), ("tiff", "deflate"), ("tiff", "zstd")],
)
def test_relion_reads_it(
    tmp_path: Path, sensor: Sensor, frames: np.ndarray, movie: Path, dtype: str, wanted: Any, compression: Any
) -> None:
    """Whole, in this order, the right way up, and with the pixel size."""
    (target,) = camnorm.correct(
        movie, sensor, tmp_path / "out", dtype=dtype, format=wanted, compression=compression
    )
    converted = tmp_path / "converted.mrcs"
    name = f"{target}:mrcs" if wanted == "mrc" else str(target)
    expected = sensor.correction().apply(frames, dtype=dtype)
    for index in (0, 11):
        image = f"{index + 1:06d}@{name}"
        command = ["relion_image_handler", "--i", image, "--o", str(converted), "--multiply_constant", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        with mrcfile.open(converted, permissive=True) as mrc:
            assert np.array_equal(np.squeeze(mrc.data), expected[index])
            assert float(mrc.voxel_size.x) == pytest.approx(1.5, rel=1e-6)
        converted.unlink()


# --- damage to what was written


@pytest.mark.parametrize(
    ("wanted", "compression"),
    [("tiff", "lzw"), ("tiff", "deflate"), ("tiff", "zstd"), ("hdf5", "deflate"), ("zarr", "zstd")],
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_outputs(tmp_path: Path, wanted: Any, compression: Any) -> None:
    frames = np.random.default_rng(0).normal(100, 10, (4, 16, 24)).astype(np.float32)
    target = tmp_path / {"tiff": "a.tif", "hdf5": "a.h5", "zarr": "a.zarr"}[wanted]
    with (
        open_frames(write_npy(tmp_path / "in.npy", frames)) as source,
        create_writer(
            target, source, np.float32, count=4, label=LABEL, wanted=wanted, compression=compression
        ) as writer,
    ):
        writer.write(frames)
    files = [target] if target.is_file() else sorted(path for path in target.rglob("*") if path.is_file())
    random_ = random.Random(f"{wanted} {compression}")
    for path in files:
        data = path.read_bytes()
        for _ in range(80 // len(files)):
            damaged = bytearray(data)
            for place in random_.choices(range(len(data)), k=random_.randint(1, 4)):
                damaged[place] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
            if random_.random() < 0.2:
                del damaged[random_.randrange(len(damaged)) :]
            path.write_bytes(damaged)
            for result in read_each(target):
                # What cannot be decoded is told, not left out.
                assert isinstance(result, FormatError) or np.count_nonzero(result) > result.size // 2
        path.write_bytes(data)
