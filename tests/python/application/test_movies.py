"""Correcting files: pixels longhand, what else is in a file kept, nothing overwritten or left half done."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import Correction, Error, FormatError, Sensor
from camnorm.progress import Progress
from image_sets import Divide, cut, frames_of, run_script, temporary_files, write_mrc, write_npy, write_tiff

SHAPE = (13, 11)

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def longhand(frames: np.ndarray, reference: np.ndarray, dtype: str = "f4") -> np.ndarray:
    """Eq. (2) as it is written, by the mean and sigma image of the reference frames."""
    reference = reference.astype(float)
    mean, sigma = reference.mean(0), reference.std(0)
    good = sigma > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        # Colour planes have targets of their own.
        i0, s0 = mean.mean((0, 1), where=good), sigma.mean((0, 1), where=good)
        corrected = (frames - mean) / sigma * s0 + i0
    corrected[:, ~good] = np.broadcast_to(i0, good.shape)[~good]
    if dtype[0] == "f":
        return corrected.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(corrected), limits.min, limits.max).astype(dtype)


@pytest.fixture
def movies() -> np.ndarray:
    """Five movies of three frames, with one pixel that never changes."""
    frames = frames_of(15, SHAPE, "u2").reshape(5, 3, *SHAPE)
    frames[..., 2, 3] = 77
    return frames


@pytest.fixture
def files(tmp_path: Path, movies: np.ndarray) -> list[Path]:
    (tmp_path / "in").mkdir()
    return [write_mrc(tmp_path / "in" / f"{i}.mrc", movie) for i, movie in enumerate(movies)]


@pytest.fixture
def sensor(files: list[Path]) -> Sensor:
    sensor = camnorm.measure(files, screen="off")
    sensor.provenance["row_order"] = ""  # corrects arrays as they are stored, in any format
    return sensor


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- what is written


@pytest.mark.parametrize("threads", [1, 2])
def test_pixels_are_eq_2_longhand(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, threads: int
) -> None:
    written = camnorm.correct(files, sensor, tmp_path / "out", threads=threads)
    assert written == [tmp_path / "out" / path.name for path in files]
    for path, movie in zip(written, movies, strict=True):
        pixels = mrcfile.read(path)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, longhand(movie, movies.reshape(15, *SHAPE)), rtol=2e-7)
    all_pixels = np.concatenate([mrcfile.read(path) for path in written]).astype(float)
    changing = np.ones(SHAPE, bool)
    changing[2, 3] = False
    np.testing.assert_allclose(all_pixels.mean(0)[changing], sensor.target_mean, rtol=1e-6)
    np.testing.assert_allclose(all_pixels.std(0)[changing], sensor.target_sigma, rtol=1e-5)


@pytest.mark.parametrize("selected", ["1:", "::2", "-1:", ":2"])
@pytest.mark.parametrize("write", [write_mrc, partial(write_tiff, compression="zstd"), write_npy])
def test_selected_frames(
    tmp_path: Path, selected: str, write: Callable[[Path, np.ndarray], Path], divide: Divide
) -> None:
    divide(block_frames=2, block_bytes=2 * 3 * 66)
    movies = frames_of(48, SHAPE, "u2").reshape(6, 8, *SHAPE)
    suffix = {write_mrc: ".mrc", write_npy: ".npy"}.get(write, ".tif")  # type: ignore[arg-type]
    files = [write(tmp_path / f"{i}{suffix}", movie) for i, movie in enumerate(movies)]
    sensor = camnorm.measure(files, screen="off")
    written = camnorm.correct(files, sensor, tmp_path / "out", frames=selected)
    start, stop, step = (int(part) if part else None for part in f"{selected}::".split(":")[:3])
    for path, movie in zip(written, movies, strict=True):
        expected = longhand(movie[start:stop:step], movies.reshape(48, *SHAPE))
        with camnorm.open_frames(path) as source:
            assert source.count == len(expected)
            np.testing.assert_allclose(source.read(0, source.count), expected, rtol=2e-7)


def test_files_without_a_selected_frame_are_passed_over(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    write_mrc(files[1], movies[1, :1])
    reports: list[Progress] = []
    written = camnorm.correct(files, sensor, tmp_path / "out", frames="1:", progress=reports.append)
    assert [path.name for path in written] == ["0.mrc", "2.mrc", "3.mrc", "4.mrc"]
    assert (reports[-1].done, reports[-1].total, reports[-1].frames) == (4, 4, 8)
    written = camnorm.correct(files, sensor, tmp_path / "some", max_frames=2)
    assert [mrcfile.read(path).shape for path in written] == [SHAPE] * 2
    with pytest.raises(Error, match=r"^no file could be corrected: none has frames that were selected$"):
        camnorm.correct(files, sensor, tmp_path / "none", frames="3:")
    assert not (tmp_path / "none").exists()


def test_only_selected_frames_need_be_there(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    cut(files[2], 1024 + 2 * 286 + 10)
    written = camnorm.correct(files[2], sensor, tmp_path / "out", frames=":2")
    expected = longhand(movies[2, :2], movies.reshape(15, *SHAPE))
    np.testing.assert_allclose(mrcfile.read(written[0]), expected, rtol=2e-7)
    with pytest.raises(FormatError, match=r"2\.mrc, frame 2: truncated"):
        camnorm.correct(files[2], sensor, tmp_path / "more", frames="::2", strict=True)


def test_files_are_read_as_those_of_the_sensor(tmp_path: Path, movies: np.ndarray) -> None:
    files = [tmp_path / f"{i}.bin" for i in range(5)]
    for path, movie in zip(files, movies, strict=True):
        path.write_bytes(b"head" + movie.astype(">u2").tobytes())
    options = camnorm.ReadOptions(raw=camnorm.RawLayout.parse("13x11:>u2:4"))
    camnorm.measure(files, tmp_path / "sensor.h5", screen="off", options=options)
    written = camnorm.correct(files, tmp_path / "sensor.h5", tmp_path / "out")
    expected = longhand(movies[0], movies.reshape(15, *SHAPE))
    np.testing.assert_allclose(tifffile.imread(written[0]), expected, rtol=2e-7)
    mrc = write_mrc(tmp_path / "a.mrc", movies[0])
    (path,) = camnorm.correct(mrc, tmp_path / "sensor.h5", tmp_path / "out", options=camnorm.ReadOptions())
    np.testing.assert_allclose(mrcfile.read(path), expected, rtol=2e-7)


def test_many_chunks_a_file(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, divide: Divide
) -> None:
    divide(block_frames=2, block_bytes=2 * 3 * 66)  # three rows of two frames
    reports: list[Progress] = []
    written = camnorm.correct(files, sensor, tmp_path / "out", threads=2, progress=reports.append)
    expected = longhand(movies.reshape(15, *SHAPE), movies.reshape(15, *SHAPE))
    np.testing.assert_allclose(np.concatenate([mrcfile.read(path) for path in written]), expected, rtol=2e-7)
    assert {report.stage for report in reports} == {"correcting"}
    assert {report.total for report in reports} == {5}
    done = [report.done for report in reports]
    assert done == sorted(done)
    last = reports[-1]
    assert (last.done, last.frames, last.bytes, last.rejected) == (5, 15, 15 * 286, 0)


def test_sensor_from_its_file_and_other_targets(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    sensor.save(tmp_path / "sensor.h5")
    (path,) = camnorm.correct(
        files[0], tmp_path / "sensor.h5", tmp_path / "out", target_mean=0, target_sigma=1, bad_policy="nan"
    )
    pixels = mrcfile.read(path)
    assert np.isnan(pixels[:, 2, 3]).all()
    flat = movies.reshape(15, *SHAPE).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (movies[0] - flat.mean(0)) / flat.std(0)
    expected[:, 2, 3] = np.nan
    np.testing.assert_allclose(pixels, expected, rtol=1e-6, atol=1e-6)


def test_bad_pixels_from_their_neighbours(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    (path,) = camnorm.correct(files[0], sensor, tmp_path / "out", bad_policy="interpolate")
    pixels = mrcfile.read(path).astype(float)
    around = np.ones((3, 3), bool)
    around[1, 1] = False
    np.testing.assert_allclose(pixels[:, 2, 3], pixels[:, 1:4, 2:5][:, around].mean(1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint16", "uint8"])
@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".npy"])
def test_dtypes(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, dtype: str, suffix: str
) -> None:
    write = {".mrc": write_mrc, ".tif": write_tiff, ".npy": write_npy}[suffix]
    source = write(tmp_path / f"movie{suffix}", movies[0])
    (path,) = camnorm.correct(source, sensor, tmp_path / "out", dtype=dtype)
    pixels = mrcfile.read(path) if suffix == ".mrc" else tifffile.imread(path)
    # The bytes of MRC are signed: it holds them as 16 bit.
    assert pixels.dtype == ("uint16" if (suffix, dtype) == (".mrc", "uint8") else dtype)
    code = np.dtype(dtype).str[1:]
    expected = longhand(movies[0], movies.reshape(15, *SHAPE), code)
    np.testing.assert_allclose(pixels, expected, rtol={"f4": 2e-7, "f2": 1e-3}.get(code, 0))


def test_saturated_pixels_are_told(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    flat = movies.reshape(15, *SHAPE)
    good = flat.std(0) > 0
    shift = 250 - flat.mean(0)[good].mean()
    expected = np.rint(longhand(flat, flat, "f8") + shift)
    outside = int(((expected > 255) | (expected < 0)).sum())
    assert 0 < outside < expected.size
    with pytest.warns(
        UserWarning, match=rf"^{outside} pixels \([\d.]+%\) lay outside uint8 and were saturated: choose"
    ):
        written = camnorm.correct(files, sensor, tmp_path / "out", dtype="uint8", target_mean=250)
    pixels = np.concatenate([mrcfile.read(path) for path in written])
    assert np.array_equal(pixels, np.clip(expected, 0, 255))


@pytest.mark.parametrize("output", ["mrc", "tiff", "sum", "virtual"])
def test_pixels_beyond_floats_saturate_and_are_told(tmp_path: Path, output: str) -> None:
    dtype = "f4" if output == "sum" else "f2"
    largest = np.finfo(dtype).max
    level = largest / (6 if output == "sum" else 2)  # of which the sum holds 12
    frames = (frames_of(12, SHAPE, "f8") + 100).astype("f8")
    path = write_npy(tmp_path / "a.npy", frames)
    sensor = camnorm.measure(path, screen="off")
    corrected = longhand(frames, frames, "f8")
    wanted = (corrected - sensor.target_mean) / sensor.target_sigma * level / 2 + level
    if output == "sum":
        wanted = wanted.sum(0, keepdims=True)
    outside = int((wanted > largest).sum())
    assert outside > 0
    options: dict[str, Any] = {"dtype": dtype, "target_mean": level, "target_sigma": level / 2}
    if output in ("sum", "virtual"):
        options["sum_frames" if output == "sum" else output] = True
    else:
        options["format"] = output
    name = np.dtype(dtype).name
    if output == "virtual":
        (written,) = camnorm.correct(path, sensor, tmp_path / "out", **options)
        with (
            camnorm.open_frames(written) as source,
            pytest.warns(UserWarning, match=f"^corrected pixels lay outside {name} and were saturated$"),
        ):
            got = source.read(0, source.count)
    else:
        with pytest.warns(UserWarning, match=rf"^{outside} pixels \([\d.]+%\) lay outside {name} and were"):
            (written,) = camnorm.correct(path, sensor, tmp_path / "out", **options)
        with camnorm.open_frames(written) as source:
            got = source.read(0, source.count)
    assert int((got == largest).sum()) == outside
    np.testing.assert_allclose(got, np.minimum(wanted, largest), rtol=1e-3)


def test_mrc_keeps_its_header(tmp_path: Path, sensor: Sensor, movies: np.ndarray) -> None:
    source = tmp_path / "movie.mrc"
    with mrcfile.new(source) as mrc:
        mrc.set_data(movies[0])
        mrc.set_image_stack()
        mrc.voxel_size = (1.25, 1.25, 1.0)
        mrc.header.origin = (1.5, -2.0, 3.0)
        mrc.header.exttyp = b"FEI1"
        mrc.set_extended_header(np.frombuffer(bytes(range(96)), "V1"))
        mrc.add_label("taken by somebody")
        labels = mrc.get_labels()
    (target,) = camnorm.correct(source, sensor, tmp_path / "out")
    with mrcfile.open(target) as mrc:
        assert float(mrc.voxel_size.x) == pytest.approx(1.25)
        assert mrc.header.origin.item() == (1.5, -2.0, 3.0)
        assert bytes(mrc.extended_header) == bytes(range(96))
        assert mrc.header.exttyp == b"FEI1"
        assert mrc.header.mode == 2
        assert (mrc.header.ispg, mrc.header.mz) == (0, 1)
        assert mrc.get_labels() == [
            *labels,
            f"camnorm {camnorm.__version__}: a posteriori corrected, 15 frames",
        ]
        np.testing.assert_allclose(mrc.data, longhand(movies[0], movies.reshape(15, *SHAPE)), rtol=2e-7)
        assert float(mrc.header.dmean) == pytest.approx(mrc.data.mean(dtype=float), rel=1e-6)
    assert mrcfile.validate(target)


def test_tiff_stays_tiff_with_its_resolution(tmp_path: Path, sensor: Sensor, movies: np.ndarray) -> None:
    source = tmp_path / "in.tiff"
    tifffile.imwrite(
        source,
        movies[1],
        compression="zlib",
        photometric="minisblack",
        resolution=(8e7, 8e7),
        resolutionunit=3,
    )
    (target,) = camnorm.correct(source, sensor, tmp_path / "out")
    assert target == tmp_path / "out" / "in.tiff"
    with tifffile.TiffFile(target) as tiff:
        assert len(tiff.pages) == 3
        assert tiff.pages[0].tags["XResolution"].value == (80_000_000, 1)
        assert "a posteriori corrected" in tiff.pages[0].tags["ImageDescription"].value
        pixels = tiff.asarray()
    np.testing.assert_allclose(pixels, longhand(movies[1], movies.reshape(15, *SHAPE)), rtol=2e-7)


def test_colour_images_become_tiff(tmp_path: Path) -> None:
    frames = frames_of(12, (*SHAPE, 3), "u1")
    for i, frame in enumerate(frames):
        (tmp_path / f"{i:02d}.png").write_bytes(imagecodecs.png_encode(frame))
    sensor = camnorm.measure(tmp_path, screen="off")
    written = camnorm.correct(tmp_path, sensor, tmp_path / "out")
    assert [path.name for path in written] == [f"{i:02d}.tif" for i in range(12)]
    pixels = np.stack([tifffile.imread(path) for path in written])
    np.testing.assert_allclose(pixels, longhand(frames, frames), rtol=2e-7)


def test_the_tree_of_a_directory_is_kept(tmp_path: Path, movies: np.ndarray, sensor: Sensor) -> None:
    for name in ("a/x.mrc", "a/b/x.mrc", "x.mrc", "n.npy"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (write_mrc if path.suffix == ".mrc" else write_npy)(path, movies[0])
    written = camnorm.correct(tmp_path / "tree", sensor, tmp_path / "out")
    assert [str(path.relative_to(tmp_path / "out")) for path in written] == [
        "a/b/x.mrc",
        "a/x.mrc",
        "n.tif",
        "x.mrc",
    ]
    assert all(path.is_file() for path in written)


# --- nothing is overwritten


def test_two_inputs_of_one_name(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    (tmp_path / "more").mkdir()
    other = write_mrc(tmp_path / "more" / "3.mrc", movies[0])
    with pytest.raises(Error, match=rf"{files[3]} and {other} would both be written to .*out/3\.mrc"):
        camnorm.correct([*files, other], sensor, tmp_path / "out")
    with pytest.raises(Error, match="would both be written"):
        camnorm.correct([files[0], files[0]], sensor, tmp_path / "out", overwrite=True)
    # Also if they come to it by another suffix.
    inputs = [
        write_npy(tmp_path / "more" / "x.npy", movies[0]),
        write_tiff(tmp_path / "more" / "x.tif", movies[0]),
    ]
    with pytest.raises(Error, match=r"would both be written to .*out/x\.tif"):
        camnorm.correct(inputs, sensor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_existing_targets(tmp_path: Path, files: list[Path], sensor: Sensor) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "3.mrc").write_text("mine")
    with pytest.raises(Error, match=r"out/3\.mrc: already exists; use overwrite=True to replace it"):
        camnorm.correct(files, sensor, out)
    (out / "4.mrc").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        Error, match=r"out/3\.mrc: already exists \(and 1 more\); use overwrite=True to replace it"
    ):
        camnorm.correct(files, sensor, out)
    assert sorted(path.name for path in out.iterdir()) == ["3.mrc", "4.mrc"]
    assert (out / "3.mrc").read_text() == "mine"
    camnorm.correct(files, sensor, out, overwrite=True)
    assert mrcfile.read(out / "3.mrc").shape == (3, *SHAPE)
    assert not (out / "4.mrc").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_inputs_are_never_replaced(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, overwrite: bool
) -> None:
    # The first would become 9.tif, which is free: nothing is written all the same.
    write_npy(files[0].parent / "00.npy", movies[0])
    before = everything(tmp_path)
    os.symlink(files[0].parent, tmp_path / "link")
    for inputs, out in (
        (files[0].parent, files[0].parent),
        ([files[0].parent / "00.npy", *files], tmp_path / "in"),
        (files[0].parent, tmp_path / "link"),
    ):
        with pytest.raises(Error, match=r"0\.mrc: is an input, and inputs are never replaced"):
            camnorm.correct(inputs, sensor, out, overwrite=overwrite)
        assert everything(tmp_path) == before


def test_an_input_at_the_place_of_another_result(tmp_path: Path, sensor: Sensor, movies: np.ndarray) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True, exist_ok=True)
    write_mrc(tmp_path / "in" / "sub" / "a.mrc", movies[0])
    (tmp_path / "out" / "sub").mkdir(parents=True)
    other = write_mrc(tmp_path / "out" / "sub" / "a.mrc", movies[1])
    before = everything(tmp_path)
    inputs = [tmp_path / "in" / "sub", other]
    with pytest.raises(Error, match="would both be written"):
        camnorm.correct(inputs, sensor, tmp_path / "out", overwrite=True)
    with pytest.raises(Error, match=r"out/sub/a\.mrc: is an input, and inputs are never replaced"):
        camnorm.correct([tmp_path / "in", other], sensor, tmp_path / "out", overwrite=True)
    assert everything(tmp_path) == before


# --- files that cannot be corrected


def test_bad_movies_are_left_out(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray
) -> None:
    cut(files[1], 1024 + 2 * 286 + 10)
    files[3].write_text("words")
    write_mrc(files[4], frames_of(3, (5, 6), "u2"))
    with pytest.warns(UserWarning, match="^not corrected: ") as warned:
        written = camnorm.correct(files, sensor, tmp_path / "out")
    assert str(warned.pop(UserWarning).message).startswith("The correction would add more noise")
    assert [str(warning.message) for warning in warned] == [
        f"not corrected: {files[1]}, frame 2: truncated: the file ends before the end of the frame",
        f"not corrected: {files[3]}: not an MRC file, or truncated: shorter than the header of 1024 bytes",
        f"not corrected: {files[4]}: frames of shape (5, 6), the sensor has (13, 11)",
    ]
    assert written == [tmp_path / "out" / name for name in ("0.mrc", "2.mrc")]
    assert sorted((tmp_path / "out").iterdir()) == written
    np.testing.assert_allclose(
        mrcfile.read(written[1]), longhand(movies[2], movies.reshape(15, *SHAPE)), rtol=2e-7
    )
    errors: list[FormatError] = []
    reports: list[Progress] = []
    camnorm.correct(
        files, sensor, tmp_path / "out", overwrite=True, on_error=errors.append, progress=reports.append
    )
    assert [Path(error.path).name for error in errors] == ["1.mrc", "3.mrc", "4.mrc"]
    assert (reports[-1].done, reports[-1].rejected) == (5, 3)


def test_strict_stops_at_the_first_bad_movie(tmp_path: Path, files: list[Path], sensor: Sensor) -> None:
    cut(files[1], 1024 + 2 * 286 + 10)
    with pytest.raises(FormatError, match=r"1\.mrc, frame 2: truncated") as info:
        camnorm.correct(files, sensor, tmp_path / "out", strict=True)
    assert info.value.frame == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.mrc"]


def test_not_a_single_file(tmp_path: Path, files: list[Path], sensor: Sensor) -> None:
    for path in files:
        path.write_text("words")
    with (
        pytest.warns(UserWarning, match="not corrected"),
        pytest.raises(Error, match=r"no file could be corrected; the first: .*0\.mrc: not an MRC file"),
    ):
        camnorm.correct(files, sensor, tmp_path / "out")
    assert not list(tmp_path.rglob("out/*"))


def test_an_earlier_result_stays_if_its_movie_is_bad_now(
    tmp_path: Path, files: list[Path], sensor: Sensor
) -> None:
    written = camnorm.correct(files, sensor, tmp_path / "out")
    before = written[1].read_bytes()
    cut(files[1], 1024 + 2 * 286)
    with pytest.warns(UserWarning, match=r"not corrected: .*1\.mrc"):
        camnorm.correct(files, sensor, tmp_path / "out", overwrite=True)
    assert written[1].read_bytes() == before
    assert temporary_files(tmp_path) == []


@pytest.mark.filterwarnings("ignore:1 of 12 frames of 1 file was rejected")
def test_frames_that_are_not_finite_stay_so(tmp_path: Path) -> None:
    frames = frames_of(12, SHAPE, "f4")
    frames[3, 1, 1] = np.nan
    path = write_mrc(tmp_path / "a.mrc", frames)
    sensor = camnorm.measure(path, screen="off")
    (target,) = camnorm.correct(path, sensor, tmp_path / "out")
    pixels = mrcfile.read(target)
    assert np.argwhere(~np.isfinite(pixels)).tolist() == [[3, 1, 1]]
    with pytest.warns(UserWarning, match=r"^1 pixels \(0\.06%\) lay outside int16 and were saturated"):
        (target,) = camnorm.correct(path, sensor, tmp_path / "out", dtype="int16", overwrite=True)
    assert mrcfile.read(target)[3, 1, 1] == 0


# --- wrong use


@pytest.mark.parametrize("dtype", ["float64", "int32", ">f4", "complex64"])
def test_dtypes_that_are_not_written(tmp_path: Path, files: list[Path], sensor: Sensor, dtype: str) -> None:
    message = f"corrected files hold float32, float16, int16, uint16, int8, uint8, not {np.dtype(dtype)}"
    with pytest.raises(ValueError, match=message):
        camnorm.correct(files, sensor, tmp_path / "out", dtype=dtype)
    assert not (tmp_path / "out").exists()


def test_wrong_options(tmp_path: Path, files: list[Path], sensor: Sensor) -> None:
    for options, message in (
        ({"dtype": "int16", "bad_policy": "nan"}, "bad pixels cannot be NaN in int16 files"),
        ({"bad_policy": "ignore"}, "bad_policy|policy"),
        ({"target_sigma": 0.0}, "target_sigma must be positive"),
        ({"target_mean": float("nan")}, "target_mean must be finite"),
        ({"threads": 0}, "threads"),
    ):
        with pytest.raises(ValueError, match=message):
            camnorm.correct(files, sensor, tmp_path / "out", **options)
    with pytest.raises(Error, match="no such file"):
        camnorm.correct(tmp_path / "absent.mrc", sensor, tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        camnorm.correct(files, tmp_path / "absent.h5", tmp_path / "out")
    with pytest.raises(FormatError, match="not a camnorm sensor file"):
        camnorm.correct(files, files[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be_written(tmp_path: Path, files: list[Path], sensor: Sensor) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            camnorm.correct(files, sensor, out)
    assert (tmp_path / "file").read_text() == "mine"


_LIMITED = """
import resource, sys
import camnorm
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    camnorm.correct(sys.argv[3:], sys.argv[1], sys.argv[2], shrink=True)
except OSError as error:
    print(error.strerror, error.filename)
"""


def test_limit_of_file_size(tmp_path: Path, files: list[Path], sensor: Sensor) -> None:
    sensor.save(tmp_path / "sensor.h5")
    done = run_script(_LIMITED, tmp_path / "sensor.h5", tmp_path / "out", *files)
    assert done.stdout == f"File too large {tmp_path / 'out' / '0.mrc'}\n", done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_leaves_whole_files_only(
    tmp_path: Path,
    files: list[Path],
    sensor: Sensor,
    movies: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    divide: Divide,
) -> None:
    out = tmp_path / "out"
    one_frame_at_a_time(divide)
    apply = Correction.apply

    def interrupted(self: Correction, frames: np.ndarray, **options: Any) -> Any:
        if np.array_equal(frames[0], movies[2, 1]):
            wait_until((out / "1.mrc").exists)
            os.kill(os.getpid(), signal.SIGINT)
        return apply(self, frames, **options)

    monkeypatch.setattr(Correction, "apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        camnorm.correct(files, sensor, out)
    assert sorted(path.name for path in out.iterdir()) == ["0.mrc", "1.mrc"]
    for i in range(2):
        expected = longhand(movies[i], movies.reshape(15, *SHAPE))
        np.testing.assert_allclose(mrcfile.read(out / f"{i}.mrc"), expected, rtol=2e-7)
    assert not workers()


# --- several files at once


def one_frame_at_a_time(divide: Divide) -> None:
    divide(block_frames=1, block_bytes=1 * 286 * 3)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("camnorm-correct")]


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
@pytest.mark.parametrize("policy", ["neutral", "interpolate"])
def test_threads_do_not_change_a_bit(
    tmp_path: Path, sensor: Sensor, divide: Divide, suffix: str, policy: Any
) -> None:
    divide(block_frames=2, block_bytes=2 * 2 * 66)
    frames = frames_of(60, SHAPE, "u2", seed=1)
    folder = tmp_path / "more"
    folder.mkdir()
    write = write_mrc if suffix == ".mrc" else partial(write_tiff, compression="zlib")
    for name, part in (("a", frames[:40]), ("b", frames[40:59]), ("c", frames[59:])):
        write(folder / f"{name}{suffix}", part)
    results = [
        everything_in(camnorm.correct(folder, sensor, tmp_path / f"{n}", threads=n, bad_policy=policy))
        for n in (1, 2, 7)
    ]
    assert results[0] == results[1] == results[2]
    read = mrcfile.read if suffix == ".mrc" else tifffile.imread
    pixels = np.concatenate([read(tmp_path / "1" / f"{name}{suffix}") for name in "abc"], axis=None)
    expected = sensor.correction(bad_policy=policy).apply(frames)
    assert np.array_equal(pixels, expected.reshape(-1))
    if suffix == ".mrc":
        with mrcfile.open(tmp_path / "2" / "a.mrc") as mrc:
            wide = expected[:40].astype(float)
            assert mrc.header.dmean == pytest.approx(wide.mean(), rel=1e-7)
            assert mrc.header.rms == pytest.approx(wide.std(), rel=1e-6)
            assert (mrc.header.dmin, mrc.header.dmax) == (expected[:40].min(), expected[:40].max())


def everything_in(written: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in written]


def test_each_thread_has_a_file_of_its_own(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Correction.apply
    both = threading.Barrier(2)
    at_work: set[int] = set()

    def together(self: Correction, frames: np.ndarray, **options: Any) -> Any:
        (movie,) = (i for i in range(5) if np.array_equal(frames, movies[i]))
        if movie < 2:  # of the last ones only one may be left
            at_work.add(movie)
            both.wait(10)
        return apply(self, frames, **options)

    monkeypatch.setattr(Correction, "apply", together)
    camnorm.correct(files, sensor, tmp_path / "out", threads=2)
    assert at_work == {0, 1}


def test_threads_share_a_single_file(
    tmp_path: Path, files: list[Path], sensor: Sensor, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    one_frame_at_a_time(divide)
    apply = Correction.apply
    all_three = threading.Barrier(3)

    def together(*args: Any, **options: Any) -> Any:
        all_three.wait(10)
        return apply(*args, **options)

    monkeypatch.setattr(Correction, "apply", together)
    camnorm.correct(files[0], sensor, tmp_path / "out", threads=3)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_threads_work_than_were_asked_for(
    tmp_path: Path,
    files: list[Path],
    sensor: Sensor,
    monkeypatch: pytest.MonkeyPatch,
    divide: Divide,
    threads: int,
) -> None:
    one_frame_at_a_time(divide)
    apply = Correction.apply
    lock = threading.Lock()
    working = most = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        time.sleep(0.002)
        result = apply(*args, **options)
        with lock:
            working -= 1
        return result

    monkeypatch.setattr(Correction, "apply", counted)
    camnorm.correct(files, sensor, tmp_path / "out", threads=threads)
    assert most == threads


def test_the_disk_is_waited_for_while_the_next_file_is_corrected(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, fsync = Correction.apply, os.fsync
    next_is_done = threading.Event()
    calls = 0

    def apply_noted(self: Correction, frames: np.ndarray, **options: Any) -> Any:
        if np.array_equal(frames, movies[1]):
            next_is_done.set()
        return apply(self, frames, **options)

    def slow_fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            assert next_is_done.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(Correction, "apply", apply_noted)
    monkeypatch.setattr(os, "fsync", slow_fsync)
    camnorm.correct(files, sensor, tmp_path / "out", threads=1)
    assert calls == 6  # five files and the directory


def test_files_appear_in_the_order_of_the_inputs(
    tmp_path: Path, files: list[Path], sensor: Sensor, movies: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the first takes longest, and another cannot be read."""
    files[2].write_text("words")
    out = tmp_path / "out"
    apply = Correction.apply

    def first_is_slow(self: Correction, frames: np.ndarray, **options: Any) -> Any:
        if np.array_equal(frames, movies[0]):
            wait_until(lambda: len(list(out.iterdir())) == 3)  # all temporary
            time.sleep(0.05)
            assert all(path.suffix == ".tmp" for path in out.iterdir())
        return apply(self, frames, **options)

    monkeypatch.setattr(Correction, "apply", first_is_slow)
    events: list[tuple[str, int]] = []
    written = camnorm.correct(
        files,
        sensor,
        out,
        threads=2,
        progress=lambda report: events.append((f"{len(list(out.glob('*.mrc')))} files", report.done)),
        on_error=lambda error: events.append((Path(error.path).name, 0)),
    )
    assert events == [
        ("1 files", 1),
        ("2 files", 2),
        ("2.mrc", 0),
        ("2 files", 3),
        ("3 files", 4),
        ("4 files", 5),
    ]
    assert [path.name for path in written] == ["0.mrc", "1.mrc", "3.mrc", "4.mrc"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_strict_keeps_nothing_after_the_bad_movie(
    tmp_path: Path, files: list[Path], sensor: Sensor, threads: int
) -> None:
    files[2].write_text("words")
    with pytest.raises(FormatError, match=r"2\.mrc: not an MRC file"):
        camnorm.correct(files, sensor, tmp_path / "out", strict=True, threads=threads)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.mrc", "1.mrc"]
    assert not workers()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_bad_frame_is_told(
    tmp_path: Path, sensor: Sensor, movies: np.ndarray, divide: Divide, threads: int
) -> None:
    one_frame_at_a_time(divide)
    path = write_tiff(tmp_path / "a.tif", np.concatenate(movies), compression="zstd")
    with tifffile.TiffFile(path) as tiff:
        offsets = [tiff.pages[index].dataoffsets[0] for index in (4, 5, 9)]
    with open(path, "r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(b"\xff" * 4)
    with pytest.raises(FormatError, match=r"a\.tif, frame 4: cannot be read"):
        camnorm.correct(path, sensor, tmp_path / "out", strict=True, threads=threads)
    assert list((tmp_path / "out").iterdir()) == []


def test_movie_that_shrinks_meanwhile(
    tmp_path: Path, files: list[Path], sensor: Sensor, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    one_frame_at_a_time(divide)
    apply = Correction.apply

    def cut_first(*args: Any, **options: Any) -> Any:
        cut(files[0], 1024 + 2 * 286 + 10)
        return apply(*args, **options)

    monkeypatch.setattr(Correction, "apply", cut_first)
    with pytest.raises(FormatError, match=r"0\.mrc, frame 2.*: cannot be read: the file ends before"):
        camnorm.correct(files[0], sensor, tmp_path / "out", strict=True, threads=1)
    assert list((tmp_path / "out").iterdir()) == []


@reads_proc
@pytest.mark.parametrize("threads", [1, 4])
def test_disk_that_fails(
    tmp_path: Path, files: list[Path], sensor: Sensor, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    fsync = os.fsync

    def fails(descriptor: int) -> None:
        if "/.2.mrc." in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error") as info:
        camnorm.correct(files, sensor, tmp_path / "out", threads=threads)
    assert info.value.filename == str(tmp_path / "out" / "2.mrc")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.mrc", "1.mrc"]
    assert not workers()


def test_name_that_is_taken_meanwhile(
    tmp_path: Path, files: list[Path], sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def take(report: Progress) -> None:
        if report.done == 2:
            (out / "2.mrc").write_text("of another process")

    with pytest.raises(Error, match=r"out/2\.mrc: already exists; use overwrite=True to replace it"):
        camnorm.correct(files, sensor, out, progress=take)
    assert sorted(path.name for path in out.iterdir()) == ["0.mrc", "1.mrc", "2.mrc"]
    assert (out / "2.mrc").read_text() == "of another process"


@reads_proc
def test_directories_are_on_disk_at_the_end(
    tmp_path: Path, files: list[Path], sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, replace = os.fsync, os.replace
    calls: list[str] = []

    def note_fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    files[3].write_text("words")
    with pytest.raises(FormatError):
        camnorm.correct(files, sensor, tmp_path / "out", strict=True)
    assert calls == ["0.mrc", "1.mrc", "2.mrc", str(tmp_path / "out")]


_PEAK = """
import sys
import warnings
import camnorm
warnings.filterwarnings("ignore", "Too few frames")
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
sensor = camnorm.Sensor.load(sys.argv[1])
camnorm.correct(sys.argv[2], sensor, sys.argv[3], threads=2)
before = peak()
camnorm.correct(sys.argv[4:], sensor, sys.argv[3], threads=2)
print(peak() - before)
"""


@pytest.mark.slow
@reads_proc
@pytest.mark.parametrize("kind", ["long", "many"])
def test_memory_does_not_grow_with_the_movies(tmp_path: Path, kind: str) -> None:
    frames = frames_of(3, (1024, 2048), "u1")
    small = write_mrc(tmp_path / "small.mrc", frames[:2])
    camnorm.measure(write_mrc(tmp_path / "set.mrc", frames), screen="off").save(tmp_path / "sensor.h5")
    if kind == "long":
        inputs = [write_mrc(tmp_path / "long.mrc", np.tile(frames, (10, 1, 1)))]  # 240 MiB of output
    else:
        inputs = [write_mrc(tmp_path / f"{i}.mrc", frames) for i in range(10)]
    done = run_script(_PEAK, tmp_path / "sensor.h5", small, tmp_path / "out", *inputs)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 24  # 8 MiB a thread, and what malloc keeps


_PEAK_OF_FILE = """
import sys
import warnings
import camnorm
warnings.filterwarnings("ignore", "Too few frames")
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
scaled = dict(dtype="int16", scale="auto")
camnorm.correct(sys.argv[2], sys.argv[1], sys.argv[5], threads=2, **scaled)  # imports, and plans
for path in sys.argv[6:]:
    before = peak()
    camnorm.correct(path, sys.argv[3], sys.argv[4], threads=2, **scaled)
    print(peak() - before)
"""


@pytest.mark.slow
@reads_proc
def test_memory_of_a_sensor_file(tmp_path: Path) -> None:
    tiny = write_mrc(tmp_path / "tiny.mrc", frames_of(3, SHAPE, "u1"))
    frames = frames_of(3, (2048, 2048), "u1")
    few = write_mrc(tmp_path / "few.mrc", frames)
    many = write_mrc(tmp_path / "many.mrc", np.tile(frames, (8, 1, 1)))
    camnorm.measure(tiny, tmp_path / "tiny.h5", screen="off")
    camnorm.measure(few, tmp_path / "sensor.h5", screen="off")
    folders = tmp_path / "out", tmp_path / "tiny"
    done = run_script(_PEAK_OF_FILE, tmp_path / "tiny.h5", tiny, tmp_path / "sensor.h5", *folders, few, many)
    assert done.returncode == 0, done.stderr
    first, growth = map(int, done.stdout.split())
    # Moments of both halves are 32 bytes a pixel, the images that are formed of them 16. The corrections
    # of all targets, of 17 each, come when the moments are no more.
    assert first < 50 * frames[0].size + 24 * 2**20
    assert growth < 24 * 2**20  # 8 MiB a thread, and what malloc keeps


def test_a_sensor_of_one_frame(tmp_path: Path, files: list[Path]) -> None:
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(1, SHAPE, "u2")))
    with pytest.raises(Error, match="no pixel of the set ever changes"):
        camnorm.correct(files, sensor, tmp_path / "out")
    assert not (tmp_path / "out").exists()
