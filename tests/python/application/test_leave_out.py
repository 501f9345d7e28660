"""Files corrected by the statistics without them: the bits of a measurement without them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm import Error, correct, open_frames
from camnorm.sensor.framelist import write_frame_list
from image_sets import frames_of, write_mrc, write_npy, write_tiff

SHAPE = (12, 10)


def write_set(folder: Path, dtype: str, kind: str = "mrc", planes: tuple[int, ...] = ()) -> list[Path]:
    movies = frames_of(36, (*SHAPE, *planes), dtype).reshape(9, 4, *SHAPE, *planes)
    folder.mkdir(exist_ok=True)
    if kind == "mrc":
        return [write_mrc(folder / f"{i}.mrc", movie) for i, movie in enumerate(movies)]
    if kind == "npy":
        return [write_npy(folder / f"{i}.npy", movie) for i, movie in enumerate(movies)]
    return [write_tiff(folder / f"{i}.tif", movie, "zlib") for i, movie in enumerate(movies)]


def read(path: Path) -> np.ndarray:
    with open_frames(path) as source:
        return source.read(0, source.count)


def without(sensor: camnorm.Sensor, file: Path, folder: Path, **options: Any) -> camnorm.Sensor:
    """A new measurement of all other files, in their halves."""
    write_frame_list(sensor.frames[sensor.frames["file"] != str(file)], folder / "others.csv")
    return camnorm.measure(frames_list=folder / "others.csv", **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "mean"},
        {"mode": "gain", "target_mean": 50.0},
        {"mode": "response"},
        {"shrink": True},
        {"keep_illumination": 9.0},
        {"dtype": "int16", "scale": "auto"},
        {"target_mean": 0.0, "target_sigma": 1.0, "bad_policy": "interpolate"},
        {"sum_frames": True},
        {"frames": "1:3"},
    ],
)
@pytest.mark.parametrize("kind", ["mrc", "tif"])
def test_the_same_bits_as_a_measurement_without_the_file(
    tmp_path: Path, options: dict[str, Any], kind: str
) -> None:
    files = write_set(tmp_path / "in", "u2", kind)
    response = options.get("mode") == "response"
    sensor = camnorm.measure(files, screen="off", response=response)
    before = [half.state()["sum"].copy() for half in sensor.halves]
    written = correct(files, sensor, tmp_path / "out", leave_out=True, **options)
    assert len(written) == len(files)
    for number in (0, 4, 8):
        other = without(sensor, files[number], tmp_path, response=response)
        (expected,) = correct(files[number], other, tmp_path / f"without{number}", **options)
        assert np.array_equal(read(written[number]), read(expected))
        (usual,) = correct(files[number], sensor, tmp_path / f"all{number}", **options)
        assert not np.array_equal(read(written[number]), read(usual))
    for half, old in zip(sensor.halves, before, strict=True):
        assert np.array_equal(half.state()["sum"], old)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("planes", [(), (3,)])
def test_pixel_types_and_colour(tmp_path: Path, dtype: str, planes: tuple[int, ...]) -> None:
    files = write_set(tmp_path / "in", dtype, "npy", planes)
    sensor = camnorm.measure(files, screen="off")
    written = correct(files[2], sensor, tmp_path / "out", leave_out=True)
    other = without(sensor, files[2], tmp_path)
    (expected,) = correct(files[2], other, tmp_path / "without")
    if dtype == "f4":
        np.testing.assert_allclose(read(written[0]), read(expected), rtol=3e-7)
    else:
        assert np.array_equal(read(written[0]), read(expected))


def test_against_numpy(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", "u2", "npy")
    movies = np.stack([np.load(path) for path in files]).astype(float)
    sensor = camnorm.measure(files, tmp_path / "s.h5", screen="off")
    (path,) = correct(files[5], tmp_path / "s.h5", tmp_path / "out", leave_out=True)
    rest = np.delete(movies, 5, 0).reshape(-1, *SHAPE)
    mean, sigma = rest.mean(0), rest.std(0)
    np.testing.assert_allclose(read(path), (movies[5] - mean) / sigma * sigma.mean() + mean.mean(), rtol=1e-6)
    assert sensor.count == 36


def test_files_that_are_not_in_the_sensor(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", "u2")
    sensor = camnorm.measure(files[:8], screen="off")
    (usual,) = correct(files[8], sensor, tmp_path / "usual")
    with pytest.warns(UserWarning, match=r"^1 file is not in the sensor file, and corrected by all of it"):
        written = correct(files[7:], sensor, tmp_path / "out", leave_out=True)
    assert np.array_equal(read(written[1]), read(usual))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # of the frame that was rejected
def test_rejected_frames_are_not_subtracted(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", "u2", "npy")
    movie = np.load(files[3])
    movie[2] = 0
    np.save(files[3], movie)
    sensor = camnorm.measure(files)
    assert sensor.count == 35
    (path,) = correct(files[3], sensor, tmp_path / "out", leave_out=True)
    (expected,) = correct(files[3], without(sensor, files[3], tmp_path), tmp_path / "without")
    assert np.array_equal(read(path), read(expected))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", "u2")
    sensor = camnorm.measure(files, screen="off")
    os.utime(files[4], (1, 1))
    with pytest.warns(UserWarning, match=r"^not corrected: .*4\.mrc: has changed since it was measured, and"):
        written = correct(files, sensor, tmp_path / "out", leave_out=True)
    assert [path.name for path in written] == [f"{i}.mrc" for i in range(9) if i != 4]


def test_the_only_file_has_nothing_to_be_corrected_by(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", frames_of(6, SHAPE, "u2"))
    sensor = camnorm.measure(path)
    with (
        pytest.raises(Error, match="has all frames of the sensor file: no others are left"),
        pytest.warns(UserWarning, match="not corrected"),
    ):
        correct(path, sensor, tmp_path / "out", leave_out=True)


def test_manifests_are_refused(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", "u2")
    with pytest.raises(ValueError, match="leave_out=True does not go with virtual=True"):
        correct(files, camnorm.measure(files), tmp_path / "out", leave_out=True, virtual=True)


def test_a_movie_that_is_a_large_part_of_the_set_is_reported(tmp_path: Path) -> None:
    """At 200 pixels the paper's 3σ curve is at 0.169: a seventh is 0.167 of the rest, a sixth 0.2."""
    files = [write_npy(tmp_path / f"{i}.npy", frames_of(2, (200, 200), "u1", i)) for i in range(7)]
    correct(files, camnorm.measure(files, screen="off"), tmp_path / "seven")
    sensor = camnorm.measure(files[:6], screen="off")
    message = (
        r"^0\.npy makes up 17% of the statistics that correct it \(6 files have such a share\): .*_out=True$"
    )
    with pytest.warns(UserWarning, match=message):
        correct(files[:6], sensor, tmp_path / "six")
    correct(files[6], sensor, tmp_path / "other")  # not in the sensor
    correct(files[:6], sensor, tmp_path / "left", leave_out=True)
