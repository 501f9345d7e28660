"""Colour frames through every command: planes are pixels of their own."""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

import camnorm
from camnorm import Correction, Sensor, cli, jsontext
from camnorm.io import open_frames
from camnorm.sensor.summary import sensor_summary
from image_sets import write_npy

SHAPE = (24, 32, 3)
FILES, EACH = 6, 8

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in this process: its exit status, and what it complains of."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["camnorm", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    rng = np.random.default_rng(3)
    mean, sigma = 100 + 10 * rng.standard_normal(SHAPE), rng.uniform(4, 8, SHAPE)
    mean[..., 1] += 30
    noise = rng.standard_normal((FILES * EACH, *SHAPE))
    return np.rint(mean + sigma * noise).clip(0, 255).astype(np.uint8)


def write_files(folder: Path, frames: np.ndarray, kind: str) -> None:
    folder.mkdir()
    if kind == "png":
        for number, frame in enumerate(frames):
            (folder / f"{number:02d}.png").write_bytes(imagecodecs.png_encode(frame))
        return
    for number, movie in enumerate(frames.reshape(-1, EACH, *SHAPE)):
        if kind == "npy":
            write_npy(folder / f"{number}.npy", movie)
        else:
            with tifffile.TiffWriter(folder / f"{number}.tif") as tiff:
                for frame in movie:
                    tiff.write(frame, photometric="rgb", contiguous=False, metadata=None)


def longhand(frames: np.ndarray, images: np.ndarray) -> np.ndarray:
    mean, sigma = images.mean(0, dtype=float), images.std(0, dtype=float)
    return np.asarray((frames - mean) / sigma * sigma.mean((0, 1)) + mean.mean((0, 1)))


def read_all(folder: Path) -> np.ndarray:
    movies = []
    for path in sorted(folder.iterdir()):
        with open_frames(path) as source:
            movies.append(source.read(0, source.count))
    return np.concatenate(movies)


def read_by_library(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            assert {page.photometric.name for page in tiff.pages} == {"RGB"}
            return np.stack([page.asarray() for page in tiff.pages])
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file["entry/data/data"])
    return np.asarray(zarr.open_array(path / "0", mode="r"))


@pytest.mark.parametrize("kind", ["tif", "png", "npy"])
def test_measure_correct_and_measure_again(run: Run, tmp_path: Path, frames: np.ndarray, kind: str) -> None:
    write_files(tmp_path / "set", frames, kind)
    assert run("measure", "set", "-o", "s.h5", "--screen", "off") == (0, "")
    sensor = Sensor.load("s.h5")
    assert (sensor.shape, sensor.count) == (SHAPE, len(frames))
    np.testing.assert_allclose(sensor.mean, frames.mean(0, dtype=float), rtol=1e-13)
    np.testing.assert_allclose(sensor.sigma, frames.std(0, dtype=float), rtol=1e-12)
    assert run("correct", "set", "-m", "s.h5", "-o", "out") == (0, "")
    np.testing.assert_allclose(read_all(tmp_path / "out"), longhand(frames, frames), rtol=3e-7)
    assert run("measure", "out", "-o", "again.h5", "--screen", "off") == (0, "")
    again = Sensor.load("again.h5")
    np.testing.assert_allclose(again.mean, np.broadcast_to(sensor.target_mean, SHAPE), rtol=1e-6)
    np.testing.assert_allclose(again.sigma, np.broadcast_to(sensor.target_sigma, SHAPE), rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        *("", "--compression lzw", "--compression deflate", "--compression zstd"),
        *("--format hdf5", "--format hdf5 --compression deflate"),
        *("--format zarr", "--format zarr --compression deflate", "--format zarr --compression zstd"),
    ],
)
def test_formats_that_hold_colour(run: Run, tmp_path: Path, frames: np.ndarray, options: str) -> None:
    write_files(tmp_path / "set", frames, "tif")
    run("measure", "set", "-o", "s.h5", "--screen", "off")
    expected = longhand(frames, frames).reshape(FILES, EACH, *SHAPE)
    assert run("correct", "set", "-m", "s.h5", "-o", "out", *options.split()) == (0, "")
    assert run("correct", "set", "-m", "s.h5", "-o", "sum", "--sum", *options.split()) == (0, "")
    for folder, movies in (("out", expected), ("sum", expected.sum(1, keepdims=True))):
        paths = sorted((tmp_path / folder).iterdir())
        for path, movie in zip(paths, movies, strict=True):
            pixels = read_by_library(path)
            assert (pixels.shape, pixels.dtype) == (movie.shape, np.float32)
            np.testing.assert_allclose(pixels, movie, rtol=3e-7)
        np.testing.assert_allclose(read_all(tmp_path / folder), np.concatenate(movies), rtol=3e-7)


def test_manifests_and_integers(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_files(tmp_path / "set", frames, "tif")
    run("measure", "set", "-o", "s.h5", "--screen", "off")
    assert run("correct", "set", "-m", "s.h5", "-o", "virtual", "--virtual") == (0, "")
    paths = sorted((tmp_path / "virtual").glob("*.camnorm.json"))
    assert len(paths) == FILES
    with open_frames(paths[1]) as source:
        expected = longhand(frames[EACH : 2 * EACH], frames)
        np.testing.assert_allclose(source.read(0, EACH), expected, rtol=3e-7)
    assert run("correct", "set", "-m", "s.h5", "-o", "int", "--dtype", "int16", "--scale") == (0, "")
    with open_frames(tmp_path / "int" / "1.tif") as source:
        scale, offset = source.metadata["scale"], source.metadata["offset"]
        values = (source.read(0, EACH) - offset) / scale
        np.testing.assert_allclose(values, expected, atol=0.51 / scale)


@pytest.mark.parametrize("virtual", [False, True])
def test_mrc_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path, frames: np.ndarray, virtual: bool
) -> None:
    write_files(tmp_path / "set", frames, "tif")
    source = "set"
    run("measure", "set", "-o", "s.h5", "--screen", "off")
    if virtual:
        run("correct", "set", "-m", "s.h5", "-o", "virtual", "--virtual")
        source = "virtual"
    status, complaint = run("correct", source, "-m", "s.h5", "-o", "out", "--format", "mrc")
    assert (status, complaint.splitlines()[-1]) == (
        1,
        "camnorm: error: an MRC file cannot hold colour frames: choose TIFF",
    )
    assert not (tmp_path / "out").exists()


def test_two_planes_go_to_tiff_alone(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_npy(tmp_path / "a.npy", frames[..., :2])
    assert run("measure", "a.npy", "-o", "s.h5", "--screen", "off") == (0, "")
    for wanted, kind in (("hdf5", "an HDF5 file"), ("zarr", "a Zarr store")):
        status, complaint = run("correct", "a.npy", "-m", "s.h5", "-o", "out", "--format", wanted)
        expected = f"camnorm: error: {kind} cannot hold frames of 2 planes: choose TIFF\n"
        assert (status, complaint) == (1, expected)
        assert not (tmp_path / "out").exists()
    assert run("correct", "a.npy", "-m", "s.h5", "-o", "out") == (0, "")
    np.testing.assert_allclose(
        read_all(tmp_path / "out"), longhand(frames[..., :2], frames[..., :2]), rtol=3e-7
    )


@pytest.mark.slow
def test_verify_frc_and_show(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_files(tmp_path / "set", frames, "tif")
    run("measure", "set", "-o", "s.h5")
    assert run("verify", "set", "-m", "s.h5", "-o", "proof") == (0, "")
    names = {path.name for path in (tmp_path / "proof").glob("*.csv")}
    assert {f"verify_pair_corrected_{plane}.csv" for plane in range(3)} < names
    run("correct", "set", "-m", "s.h5", "-o", "out")
    for folder, independent in (("set", False), ("out", True)):  # raw frames share the pattern
        assert run("frc", f"{folder}/0.tif", f"{folder}/1.tif", "--csv", "c.csv") == (0, "")
        planes = [np.genfromtxt(f"c_{plane}.csv", delimiter=",", names=True) for plane in range(3)]
        means = [plane["correlation"][1:].mean() for plane in planes]
        assert all((abs(mean) < 0.2) == independent for mean in means), means
    assert run("show", "s.h5", "-o", "s.png")[0] == 0
    assert imagecodecs.png_decode((tmp_path / "s.png").read_bytes()).std() > 10


def test_merge_and_subtract(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_files(tmp_path / "set", frames, "tif")
    run("measure", "set/0.tif", "set/1.tif", "-o", "a.h5", "--screen", "off")
    run("measure", "set/2.tif", "-o", "b.h5", "--screen", "off")
    assert run("merge", "a.h5", "b.h5", "-o", "both.h5")[0] == 0
    both = frames[: 3 * EACH]
    np.testing.assert_allclose(Sensor.load("both.h5").mean, both.mean(0, dtype=float), rtol=1e-13)
    assert run("subtract", "both.h5", "a.h5", "-o", "rest.h5")[0] == 0
    rest = Sensor.load("rest.h5")
    assert np.array_equal(rest.mean, Sensor.load("b.h5").mean)
    assert np.array_equal(rest.sigma, Sensor.load("b.h5").sigma)
    write_npy(tmp_path / "grey.npy", frames[..., 0])
    run("measure", "grey.npy", "-o", "grey.h5", "--screen", "off")
    status, complaint = run("merge", "a.h5", "grey.h5", "-o", "no.h5")
    assert status == 1
    assert "these measurements do not go together: " in complaint
    status, complaint = run("correct", "set", "-m", "grey.h5", "-o", "no")
    assert status == 1
    assert "frames of shape (24, 32, 3), the sensor has (24, 32)" in complaint


def test_gain_and_defects_are_of_grey_frames(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_files(tmp_path / "set", frames, "tif")
    write_npy(tmp_path / "grey.npy", np.ones(SHAPE[:2], np.float32))
    write_npy(tmp_path / "colour.npy", np.ones(SHAPE, np.float32))
    (tmp_path / "defects.txt").write_text("3 4 2 1\n")
    for option, file, reason in (
        ("--gain", "grey.npy", "a gain of shape (24, 32) for frames of (24, 32, 3) in "),
        ("--gain", "colour.npy", "an image of shape (24, 32, 3) where (y, x) is wanted"),
        ("--defects", "defects.txt", "defects of frames of shape (24, 32, 3) cannot be told: only of (y, x)"),
        ("--defects", "grey.npy", "defects of frames of shape (24, 32, 3) cannot be told: only of (y, x)"),
    ):
        status, complaint = run("measure", "set", option, file, "-o", "no.h5")
        assert status == 1
        assert reason in complaint
        assert len(complaint.splitlines()) == 1


def test_planes_keep_their_own_targets(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    """In every mode; programs read one target a plane."""
    write_files(tmp_path / "set", frames, "npy")
    assert run("measure", "set", "-o", "s.h5", "--screen", "off", "--response") == (0, "")
    sensor = Sensor.load("s.h5")
    means, sigmas = frames.mean((0, 1, 2), dtype=float), frames.std(0, dtype=float).mean((0, 1))
    np.testing.assert_allclose(sensor.target_mean, means, rtol=1e-12)
    np.testing.assert_allclose(sensor.target_sigma, sigmas, rtol=1e-12)
    for mode in ("both", "mean", "gain", "response"):
        correction = sensor.correction(mode=mode)
        corrected = correction.apply(frames, dtype=np.float64)
        np.testing.assert_allclose(corrected.mean((0, 1, 2)), means, rtol=1e-9)
        back = correction.inverse(corrected, dtype=np.float64)
        np.testing.assert_allclose(back[:, ~correction.bad], frames[:, ~correction.bad], rtol=1e-9)
    told = json.loads(sensor_json(sensor))
    assert told["target_mean"] == pytest.approx(means.tolist(), rel=1e-12)
    assert told["target_sigma"] == pytest.approx(sigmas.tolist(), rel=1e-12)


def sensor_json(sensor: Sensor) -> str:
    return jsontext.dumps(sensor_summary(sensor))


def test_targets_of_the_command_line(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_files(tmp_path / "set", frames, "npy")
    run("measure", "set", "-o", "s.h5", "--screen", "off")
    unit = (frames - frames.mean(0, dtype=float)) / frames.std(0, dtype=float)
    for given, expected in (("7", 7.0), ("20,10,-5.5", np.array([20, 10, -5.5]))):
        options = ("--target-mean", given, "--target-sigma", "1", "--overwrite")
        assert run("correct", "set", "-m", "s.h5", "-o", "out", *options) == (0, "")
        np.testing.assert_allclose(read_all(tmp_path / "out"), unit + expected, atol=2e-5)
    status, error = run("correct", "set", "-m", "s.h5", "-o", "b", "--target-mean", "1,2")
    assert status == 1
    assert "--target-mean must be one number, or one for each of the 3 colour planes, not 2" in error
    status, error = run("correct", "set", "-m", "s.h5", "-o", "b", "--target-sigma", "1,x,2")
    assert status == 2
    assert "is not a number, or one for each colour plane, as in 200,140,170" in " ".join(error.split())


@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
@pytest.mark.parametrize("out", ["u1", "i2", "f2", "f4", "f8"])
def test_plane_targets_against_numpy(dtype: str, out: str) -> None:
    """To the bit, for frames of several blocks, strides of any kind, rows, and both directions."""
    rng = np.random.default_rng(8)
    mean, sigma = rng.uniform(80, 120, (61, 47, 3)), rng.uniform(3, 9, (61, 47, 3))
    sigma[3, 4] = 0
    bad = sigma == 0
    i0, s0 = np.array([100.0, 150.0, -20.0]), np.array([5.0, 7.0, 0.5])
    correction = Correction(mean, sigma, i0, s0)
    assert (correction.target_mean, correction.target_sigma) == (tuple(i0), tuple(s0))
    raw = rng.uniform(60, 140, (5, 61, 47, 3)).astype(dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = (raw - mean) * (s0 / sigma) + i0
    wanted[:, bad] = np.broadcast_to(i0, bad.shape)[bad]

    def rounded(values: np.ndarray) -> np.ndarray:
        if np.dtype(out).kind == "f":
            return values.astype(out)
        limits = np.iinfo(out)
        return np.rint(values).clip(limits.min, limits.max).astype(out)

    for threads in (1, 3):
        assert np.array_equal(correction.apply(raw, dtype=out, threads=threads), rounded(wanted))
    turned = np.asfortranarray(raw)
    assert np.array_equal(correction.apply(turned, dtype=out), rounded(wanted))
    part = correction.apply(np.ascontiguousarray(raw[:, 20:31]), dtype=out, first_row=20)
    assert np.array_equal(part, rounded(wanted[:, 20:31]))
    back = (raw.astype(float) - i0) * (sigma / s0) + mean
    back[:, bad] = np.broadcast_to(mean, raw.shape)[:, bad]
    assert np.array_equal(correction.inverse(raw, dtype=out), rounded(back))
    again = pickle.loads(pickle.dumps(correction))
    assert np.array_equal(again.apply(raw, dtype=out), rounded(wanted))


def test_interpolated_pixels_take_the_target_of_their_plane() -> None:
    rng = np.random.default_rng(9)
    mean, sigma = rng.uniform(80, 120, (9, 8, 3)), rng.uniform(3, 9, (9, 8, 3))
    sigma[4, 4] = 0
    correction = Correction(mean, sigma, (10.0, 20.0, 30.0), bad_policy="interpolate")
    corrected = correction.apply(rng.uniform(60, 140, (9, 8, 3)), dtype=np.float64)
    around = np.delete(corrected[3:6, 3:6].reshape(9, 3), 4, 0)
    np.testing.assert_allclose(corrected[4, 4], around.mean(0), rtol=1e-13)


def test_a_plane_that_never_changes_stays(tmp_path: Path) -> None:
    """As an opaque alpha channel."""
    rng = np.random.default_rng(4)
    frames = np.rint(rng.normal(100, 9, (20, 12, 10, 4))).astype(np.uint8)
    frames[..., 3] = 255
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames))
    assert np.asarray(sensor.target_mean)[3] == 255
    corrected = sensor.correction().apply(frames)
    assert (corrected[..., 3] == 255).all()
    np.testing.assert_allclose(corrected[..., :3].mean((0, 1, 2)), frames[..., :3].mean((0, 1, 2)), rtol=1e-5)


def test_manifests_and_scaled_integers_keep_colours(run: Run, tmp_path: Path, frames: np.ndarray) -> None:
    write_files(tmp_path / "set", frames, "tif")
    run("measure", "set", "-o", "s.h5", "--screen", "off")
    expected = longhand(frames, frames)
    assert run("correct", "set", "-m", "s.h5", "-o", "v", "--virtual") == (0, "")
    movies = []
    for path in sorted((tmp_path / "v").glob("*.json")):
        with open_frames(path) as source:
            movies.append(source.read(0, EACH))
    np.testing.assert_allclose(np.concatenate(movies), expected, rtol=3e-7)
    assert run("correct", "set", "-m", "s.h5", "-o", "i", "--dtype", "int16", "--scale") == (0, "")
    path = sorted((tmp_path / "i").iterdir())[0]
    with tifffile.TiffFile(path) as tiff:
        label = tiff.pages[0].description
        pixels = np.stack([page.asarray() for page in tiff.pages])
    scale, offset = (float(re.findall(rf"camnorm_{name}=(\S+)", label)[0]) for name in ("scale", "offset"))
    np.testing.assert_allclose((pixels - offset) / scale, expected[:EACH], atol=0.51 / scale)


@pytest.mark.parametrize(("target", "message"), [([1.0, 2.0], "one for each of the 3 colour planes, not 2")])
def test_wrong_numbers_of_targets(target: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Correction(np.ones((2, 2, 3)), np.ones((2, 2, 3)), target)
    with pytest.raises(ValueError, match="target_sigma must be positive and finite, got -1"):
        Correction(np.ones((2, 2, 3)), np.ones((2, 2, 3)), None, [1.0, -1.0, 1.0])
