"""Screening: the limits by hand, and frames taken out as if they had never been there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from camnorm import Error, PixelMoments, Sensor
from camnorm.io import stream_frames
from camnorm.measurement.screening import Limits, Rules, robust_limits, screen
from camnorm.sensor.framelist import write_frame_list
from camnorm.sensor.table import FRAME_DTYPE
from image_sets import (
    Divide,
    assert_holds,
    assert_same_moments,
    assert_same_sensor,
    frames_of,
    half_numbers,
    in_halves,
    rejected,
    write_mrc,
    write_npy,
    write_tiff,
)

SHAPE = (12, 10)


def table(means: list[float], stds: list[float] | None = None) -> np.ndarray:
    frames = np.empty(len(means), FRAME_DTYPE)
    frames["mean"] = means
    frames["std"] = [10.0] * len(means) if stds is None else stds
    frames["min"], frames["max"] = frames["mean"] - 4 * frames["std"], frames["mean"] + 4 * frames["std"]
    frames["status"] = "accepted"
    return frames


def screened(frames: np.ndarray, k: float | None = 6.0, dtype: str = "u2", **given: Limits) -> Any:
    return screen(frames, Rules(k, given), np.dtype(dtype))


# --- limits


def test_limits_by_hand() -> None:
    # Median 4, deviations 3 2 1 0 1 2 96, their median 2.
    limits = robust_limits(np.array([1.0, 2, 3, 4, 5, 6, 100]), 3.0)
    assert limits.low == pytest.approx(4 - 3 * 1.4826 * 2, rel=1e-15)
    assert limits.high == pytest.approx(4 + 3 * 1.4826 * 2, rel=1e-15)


def test_limits_of_an_even_number_of_values() -> None:
    # Median 2.5, deviations 1.5 0.5 0.5 1.5 7.5 2.5, their median 1.5.
    limits = robust_limits(np.array([1.0, 2, 3, 4, 10, 0]), 2.0)
    assert limits.low == pytest.approx(2.5 - 2 * 1.4826 * 1.5, rel=1e-15)
    assert limits.high == pytest.approx(2.5 + 2 * 1.4826 * 1.5, rel=1e-15)


def test_limits_estimate_a_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(50, 3, 20_000)
    limits = robust_limits(values, 1.0)
    assert limits.low == pytest.approx(47, abs=0.1)
    assert limits.high == pytest.approx(53, abs=0.1)


def test_without_a_mad_the_mean_deviation_stands_in() -> None:
    # Six of nine are equal, so that the MAD is 0; the mean absolute deviation is (1 + 2 + 60) / 9 = 7.
    values = np.array([10.0] * 6 + [11, 12, 70])
    limits = robust_limits(values, 6.0)
    assert limits.low == pytest.approx(10 - 6 * 1.2533 * 7, rel=1e-15)
    assert limits.high == pytest.approx(10 + 6 * 1.2533 * 7, rel=1e-15)
    assert limits.outside(values).tolist() == [False] * 8 + [True]


@pytest.mark.parametrize("value", [0.0, 1e-30, 1234.5, -7.0, 1e140])
def test_equal_frames_are_all_accepted(value: float) -> None:
    values = np.full(20, value)
    assert not robust_limits(values, 6.0).outside(values).any()


def test_rounding_errors_are_no_deviation() -> None:
    values = np.full(30, 1000.0)
    values[7] = np.nextafter(1000.0, 2000.0)
    assert not robust_limits(values, 6.0).outside(values).any()
    values[8] = 1000.01
    assert np.flatnonzero(robust_limits(values, 6.0).outside(values)).tolist() == [8]


def test_values_at_the_limits_are_inside() -> None:
    assert Limits(1.0, 2.0).outside(np.array([0.999, 1.0, 2.0, 2.001])).tolist() == [True, False, False, True]


# Numbers whose sums and products are exact, so that equal values stay equal.
@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=40),
    st.sampled_from([0.5, 3.0, 6.0]),
    st.sampled_from([0.25, 1.0, 8.0]),
    st.integers(-(10**4), 10**4),
)
def test_limits_follow_scale_and_offset(values: list[int], k: float, scale: float, offset: int) -> None:
    array = np.array(values, float)
    limits = robust_limits(array, k)
    assert limits.low <= np.median(array) <= limits.high
    moved = robust_limits(scale * array + offset, k)
    tolerance = 1e-9 * (1 + abs(offset) + scale * np.abs(array).max())
    assert moved.low == pytest.approx(scale * limits.low + offset, abs=tolerance)
    assert moved.high == pytest.approx(scale * limits.high + offset, abs=tolerance)


# --- the frame table


def test_only_accepted_frames_count() -> None:
    frames = table([10.0, 11, 12, 11, 10] * 2 + [1e9, np.nan])
    frames["status"][10:] = "rejected"
    limits, reasons = screened(frames)
    assert reasons == {}
    assert limits["mean"] == robust_limits(np.array([10.0, 11, 12, 11, 10] * 2), 6.0)
    assert limits["std"] == robust_limits(np.full(10, 10.0), 6.0)


def test_reasons_name_what_deviates_and_the_limits() -> None:
    means = [10.0, 11, 12, 11, 10, 12, 11, 500, 11, 400]
    stds = [2.0, 2.2, 2.1, 2, 2.1, 2.2, 2, 2, 90, 80]
    limits, reasons = screened(table(means, stds))
    mean, std = (f"{limits[name].low:.6g} to {limits[name].high:.6g}" for name in ("mean", "std"))
    assert reasons == {
        7: f"screened: mean 500 outside {mean}",
        8: f"screened: standard deviation 90 outside {std}",
        9: f"screened: mean 400 outside {mean}; standard deviation 80 outside {std}",
    }


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_frames_are_not_screened(count: int) -> None:
    assert screened(table([1e6, *[1.0, 1.1] * 4][:count])) == ({}, {})


def test_ten_frames_are_screened() -> None:
    _, reasons = screened(table([1.0, 1.1] * 4 + [1.0, 1e6]))
    assert list(reasons) == [9]


# --- few movies, whose frames show few specimens


def movies_of(*movies: tuple[int, float, float], seed: int = 0) -> np.ndarray:
    """A table of movies, each with its number of frames, mean and standard deviation."""
    rng = np.random.default_rng(seed)
    lengths = [length for length, _, _ in movies]
    means, stds = (
        np.concatenate([rng.normal(movie[i], 0.002 * movie[i], movie[0]) for movie in movies]) for i in (1, 2)
    )
    frames = table(means.tolist(), stds.tolist())
    frames["file"] = np.repeat([f"m{i}.mrc" for i in range(len(movies))], lengths)
    frames["index"] = np.concatenate([np.arange(length) for length in lengths])
    return frames


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "movies",
    [
        [(24, 100, 10), (7, 112, 11)],
        [(24, 100, 10), (7, 103, 10)],
        [(7, 80, 12), (24, 100, 10)],
        [(40, 100, 10), (40, 100, 10), (40, 130, 12), (40, 101, 10), (5, 60, 9)],
        [(1000, 100, 10), *((3, 90 + 2 * i, 10) for i in range(12))],
    ],
    ids=["24 and 7", "close by", "7 and 24", "five", "one of most frames"],
)
def test_a_movie_of_another_specimen_stays(movies: list[tuple[int, float, float]], seed: int) -> None:
    _, reasons = screened(movies_of(*movies, seed=seed))
    assert reasons == {}


def test_frames_that_deviate_from_few_movies_are_left_out() -> None:
    frames = movies_of((24, 100, 10), (7, 112, 11))
    frames["mean"][[3, 28]], frames["std"][30] = [150, 70], 15
    limits, reasons = screened(frames)
    assert list(reasons) == [3, 28, 30]
    assert limits["mean"].low < 100 < 112 < limits["mean"].high
    # A movie whose frames are blank, or dark, or at the maximum is one of no specimen.
    frames = movies_of((24, 1000, 100), (7, 1000, 5), (6, 610, 30))
    _, reasons = screened(frames)
    assert list(reasons) == list(range(24, 37))
    assert {reason[:16] for reason in reasons.values()} == {"screened: blank,"}


def test_limits_of_one_movie_and_of_many_files_are_those_of_their_frames() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(100, 1, 400)
    frames = table(values.tolist())
    for files in (["one"] * 400, range(400), np.repeat(range(10), 40)):
        frames["file"] = [str(file) for file in files]
        limits, _ = screened(frames)
        assert limits["mean"] == robust_limits(values, 6.0)
    # Ten movies and more screen whole movies too.
    frames = movies_of(*[(40, 100, 10)] * 11, (40, 150, 10))
    _, reasons = screened(frames)
    assert list(reasons) == list(range(440, 480))


def test_two_movies_one_of_which_is_still_being_copied(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    movies = [rng.poisson(level, (length, 64, 64)).astype("u2") for length, level in ((24, 50), (7, 60))]
    files = [write_mrc(tmp_path / f"{i}.mrc", movie) for i, movie in enumerate(movies)]
    sensor = camnorm.measure(files)
    assert rejected(sensor) == []
    for half, its in zip(half_numbers(2), movies, strict=True):
        assert_holds(sensor.halves[half], its)


# --- in a measurement


def deviant_set(folder: Path, dtype: str) -> tuple[list[Path], np.ndarray, list[tuple[int, int]]]:
    """Eight movies of five frames, two of which are blank and saturated."""
    movies = frames_of(40, SHAPE, dtype).reshape(8, 5, *SHAPE)
    movies[2, 4] = 0
    movies[5, 0] = 255
    folder.mkdir(exist_ok=True)
    files = [write_mrc(folder / f"m{i}.mrc", movie) for i, movie in enumerate(movies)]
    return files, movies, [(2, 4), (5, 0)]


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_deviant_frames_are_taken_out_exactly(tmp_path: Path, dtype: str) -> None:
    files, movies, bad = deviant_set(tmp_path, dtype)
    sensor = camnorm.measure(files)
    good = np.ones((8, 5), bool)
    good[tuple(zip(*bad, strict=True))] = False
    for half, its in zip(sensor.halves, in_halves(range(8)), strict=True):
        assert_holds(half, movies[its][good[its]])
    if dtype != "f4":
        longhand = [PixelMoments(SHAPE, dtype) for _ in "AB"]
        for i in range(8):
            longhand[half_numbers(8)[i]].add(movies[i][good[i]])
        for half, expected in zip(sensor.halves, longhand, strict=True):
            assert_same_moments(half, expected)
    listed = rejected(sensor)
    assert [(name, index) for name, index, _ in listed] == [("m2.mrc", 4), ("m5.mrc", 0)]
    blank, bright = (reason for _, _, reason in listed)
    assert blank == "screened: blank, standard deviation 0"
    assert bright == (
        "screened: saturated, mean 255 at the maximum"
        if dtype == "u1"
        else "screened: blank, standard deviation 0"
    )
    rows = sensor.frames[sensor.frames["status"] == "rejected"]
    assert rows["mean"].tolist() == [0, 255]  # what was measured stays in the table
    assert sensor.count == 38


@pytest.mark.parametrize("kind", ["mrc", "tiff"])
def test_frames_taken_back_in_several_turns(tmp_path: Path, divide: Divide, kind: str) -> None:
    files, movies, bad = deviant_set(tmp_path, "u2")
    if kind == "tiff":
        files = [write_tiff(path.with_suffix(".tif"), movies[i], "lzw") for i, path in enumerate(files)]
    whole = camnorm.measure(files)
    divide(taken_back_bytes=1, open_files=1)
    sensor = camnorm.measure(files)
    assert_same_sensor(sensor, whole)
    assert [index for _, index, _ in rejected(sensor)] == [4, 0]
    good = np.ones((8, 5), bool)
    good[tuple(zip(*bad, strict=True))] = False
    assert_holds(sensor.moments, movies[good])


def test_screening_off_keeps_everything(tmp_path: Path) -> None:
    files, movies, _ = deviant_set(tmp_path, "u1")
    sensor = camnorm.measure(files, screen="off")
    assert sensor.count == 40
    assert rejected(sensor) == []
    assert sensor.provenance["screening"] == {}
    assert_holds(sensor.moments, movies.reshape(40, *SHAPE))


def test_another_k(tmp_path: Path) -> None:
    files, movies, _ = deviant_set(tmp_path, "u2")
    means = np.delete(movies.reshape(40, -1).mean(1), [14, 25])  # which are blank
    median = np.median(means)
    mad = 1.4826 * np.median(abs(means - median))
    k = sorted(abs(means - median) / mad)[30] * 1.0001
    expected = np.delete(np.arange(40), [14, 25])[abs(means - median) > k * mad]
    sensor = camnorm.measure(files, screen=float(k))
    by_mean = [i for i, row in enumerate(sensor.frames) if row["reason"].startswith("screened: mean")]
    assert by_mean == expected.tolist()
    assert sensor.provenance["screening"]["k"] == k
    assert sensor.provenance["screening"]["mean"] == pytest.approx([median - k * mad, median + k * mad])


def test_limits_are_kept_as_plain_json(tmp_path: Path) -> None:
    files, *_ = deviant_set(tmp_path, "u2")
    for inputs in (files, files[0], write_npy(tmp_path / "few.npy", frames_of(3, SHAPE, "u2"))):
        camnorm.measure(inputs, tmp_path / "sensor.h5", overwrite=True)
        stored = Sensor.load(tmp_path / "sensor.h5").provenance["screening"]
        json.dumps(stored, allow_nan=False)
        assert stored["k"] == 6.0
    assert stored == {"k": 6.0}  # three frames are too few


def test_a_file_listed_twice_counts_once(tmp_path: Path) -> None:
    files, movies, _ = deviant_set(tmp_path, "u1")
    with pytest.warns(UserWarning, match="^1 file left out, .*m2.mrc is named twice"):
        sensor = camnorm.measure([*files, files[2]])
    assert [(name, index) for name, index, _ in rejected(sensor)] == [("m2.mrc", 4), ("m5.mrc", 0)]
    good = [*movies[:2], movies[2][:4], *movies[3:5], movies[5][1:], *movies[6:]]

    def of_half(numbers: np.ndarray, half: int) -> np.ndarray:
        return np.concatenate([good[i] for i in range(8) if numbers[i] == half])

    for half in (0, 1):
        assert_holds(sensor.halves[half], of_half(half_numbers(8), half))
    # A copy under another name is found by its frames.
    copy = tmp_path / "copy.mrc"
    copy.write_bytes(files[2].read_bytes())
    sensor = camnorm.measure([*files, copy])
    copies = [reason for name, _, reason in rejected(sensor) if name == "copy.mrc"]
    assert copies[:4] == [f"screened: copy of {files[2]}, frame {index}" for index in range(4)]
    for half in (0, 1):  # the copy is the first by its name
        assert_holds(sensor.halves[half], of_half(half_numbers(9)[1:], half))


@pytest.mark.parametrize("change", ["other pixels", "shorter", "gone"])
def test_a_file_that_changes_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    files, movies, _ = deviant_set(tmp_path / "in", "u1")
    measured = screen

    def change_and_screen(*args: Any) -> object:
        if change == "other pixels":
            movies[5, 0, 3, 3] = 254
            write_mrc(files[5], movies[5])
        elif change == "shorter":
            os.truncate(files[2], 1100)
        else:
            files[2].unlink()
        return measured(*args)

    monkeypatch.setattr("camnorm.measurement.screening.screen", change_and_screen)
    name = "m5.mrc, frame 0" if change == "other pixels" else "m2.mrc, frame 4"
    with pytest.raises(
        Error, match=f"{name}: no longer what it was when it was measured; nothing was written"
    ):
        camnorm.measure(files, tmp_path / "sensor.h5")
    assert not (tmp_path / "sensor.h5").exists()


def test_single_file_is_screened_in_the_right_half(tmp_path: Path) -> None:
    frames = frames_of(21, SHAPE, "u2")
    frames[8], frames[13] = 0, 60000
    sensor = camnorm.measure(write_mrc(tmp_path / "movie.mrc", frames))
    keep = np.ones(21, bool)
    keep[[8, 13]] = False
    for half, its in zip(sensor.halves, in_halves(range(21)), strict=True):
        assert_holds(half, frames[its][keep[its]])


@pytest.mark.parametrize("screening", ["on", "", 0, -1.0, float("nan")])
def test_wrong_words_for_screening(tmp_path: Path, screening: object) -> None:
    path = write_npy(tmp_path / "a.npy", frames_of(3, SHAPE, "u2"))
    with pytest.raises(ValueError, match="screen must be 'auto', 'off' or a positive number, not"):
        camnorm.measure(path, screen=screening)  # type: ignore[arg-type]


# --- limits that the user gives


def test_given_limits_come_first() -> None:
    frames = table([10.0, 11, 12, 11, 10, 12, 11, 500, 11, 400, 11.5, 3])
    limits, reasons = screened(frames, mean=Limits(5, 450), std=Limits(-np.inf, 10))
    assert reasons == {
        7: "screened: mean 500 outside the limits given, 5 to 450",
        11: "screened: mean 3 outside the limits given, 5 to 450",
        9: f"screened: mean 400 outside {limits['mean'].low:.6g} to {limits['mean'].high:.6g}",
    }
    rest = np.array([10.0, 11, 12, 11, 10, 12, 11, 11, 400, 11.5])
    assert limits["mean"] == robust_limits(rest, 6.0)


def test_given_limits_hold_without_screening_and_for_few_frames() -> None:
    limits, reasons = screened(table([10.0, 20, 30], [1.0, 2, 3]), None, mean=Limits(-np.inf, 25))
    assert (limits, reasons) == ({}, {2: "screened: mean 30 outside the limits given, 25 and less"})
    _, reasons = screened(table([10.0, 20, 30], [1.0, 2, 3]), std=Limits(2, np.inf))
    assert reasons == {0: "screened: standard deviation 1 outside the limits given, 2 and more"}
    _, reasons = screened(table([10.0, 20], [1.0, 2]), mean=Limits(15, 30), std=Limits(1.5, 1.9))
    assert reasons == {
        0: "screened: mean 10 outside the limits given, 15 to 30; "
        "standard deviation 1 outside the limits given, 1.5 to 1.9",
        1: "screened: standard deviation 2 outside the limits given, 1.5 to 1.9",
    }


def test_given_limits_in_a_measurement(tmp_path: Path) -> None:
    files, movies, _ = deviant_set(tmp_path, "u2")
    means = movies.reshape(40, -1).mean(1)
    low, high = np.sort(means)[[5, 35]]
    sensor = camnorm.measure(files, tmp_path / "s.h5", screen="off", mean_limits=(low, high))
    keep = (means >= low) & (means <= high)
    assert (sensor.frames["status"] == "accepted").tolist() == keep.tolist()
    assert_holds(sensor.moments, movies.reshape(40, *SHAPE)[keep])
    assert Sensor.load(tmp_path / "s.h5").provenance["screening"] == {"given": {"mean": [low, high]}}
    sensor = camnorm.measure(files, tmp_path / "s.h5", std_limits=(None, 1e6), overwrite=True)
    assert Sensor.load(tmp_path / "s.h5").provenance["screening"]["given"] == {"std": [None, 1e6]}
    assert sensor.count == 38


@pytest.mark.parametrize("limits", [(3, 2), (float("nan"), 2), (None, float("nan"))])
def test_wrong_limits(tmp_path: Path, limits: Any) -> None:
    path = write_npy(tmp_path / "a.npy", frames_of(3, SHAPE, "u2"))
    with pytest.raises(ValueError, match=r"^std_limits must be \(low, high\), the low one not above"):
        camnorm.measure(path, std_limits=limits)


# --- copies


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_copies_are_taken_out_exactly(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    movies = frames_of(40, SHAPE, dtype).reshape(8, 5, *SHAPE)
    movies[3, 1] = movies[1, 4]
    movies[6, :3] = movies[1, 4], movies[0, 0], movies[6, 4]
    # The same statistics, but other pixels.
    movies[7, 2] = movies[5, 2, ::-1]
    files = [write_mrc(tmp_path / f"m{i}.mrc", movie) for i, movie in enumerate(movies)]
    read: list[tuple[int, int]] = []

    def noted(*args: Any, selection: Any, **options: Any) -> Any:
        read.extend(selection)
        return stream_frames(*args, selection=selection, **options)

    monkeypatch.setattr("camnorm.measurement.plan.stream_frames", noted)
    sensor = camnorm.measure(files)
    assert rejected(sensor) == [
        ("m3.mrc", 1, f"screened: copy of {files[1]}, frame 4"),
        ("m6.mrc", 0, f"screened: copy of {files[1]}, frame 4"),
        ("m6.mrc", 1, f"screened: copy of {files[0]}, frame 0"),
        ("m6.mrc", 4, f"screened: copy of {files[6]}, frame 2"),
    ]
    # Only frames with the statistics of others are read again.
    assert sorted(read) == [(0, 0), (1, 4), (3, 1), (5, 2), (6, 0), (6, 1), (6, 2), (6, 4), (7, 2)]
    keep = np.ones((8, 5), bool)
    keep[[3, 6, 6, 6], [1, 0, 1, 4]] = False
    for half, its in zip(sensor.halves, in_halves(range(8)), strict=True):
        assert_holds(half, movies[its][keep[its]])
    assert camnorm.measure(files, screen="off").count == 40


def test_a_copy_of_another_pixel_type(tmp_path: Path) -> None:
    movies = frames_of(30, SHAPE, "u1").reshape(6, 5, *SHAPE)
    files = [write_mrc(tmp_path / f"m{i}.mrc", movie) for i, movie in enumerate(movies)]
    files.append(write_mrc(tmp_path / "again.mrc", movies[2].astype("u2")))
    sensor = camnorm.measure(files)
    assert {reason for name, _, reason in rejected(sensor) if name == "again.mrc"} == {
        f"screened: copy of {files[2]}, frame {index}" for index in range(5)
    }


def test_deviant_copies_are_out_as_deviant(tmp_path: Path) -> None:
    movies = frames_of(40, SHAPE, "u2").reshape(8, 5, *SHAPE)
    movies[2, :3] = 3 * movies[2, 0]
    sensor = camnorm.measure([write_mrc(tmp_path / f"m{i}.mrc", movie) for i, movie in enumerate(movies)])
    assert [reason[:15] for _, _, reason in rejected(sensor)] == ["screened: mean "] * 3


# --- drift within a measurement


def drifting_set(folder: Path, dtype: str = "u2") -> tuple[list[Path], np.ndarray]:
    """Twelve movies of which the last six have another pattern; three frames of either are outliers."""
    rng = np.random.default_rng(3)
    shape = (40, 48)
    movies = frames_of(60, shape, "i4", 4).reshape(12, 5, *shape)
    movies[6:] += rng.integers(-15, 16, shape, dtype="i4")
    movies = movies.astype(dtype)
    for place in ((0, 1), (3, 4), (4, 0), (7, 1), (9, 3), (11, 4)):
        movies[place] = movies[place] * 4
    folder.mkdir()
    return [write_mrc(folder / f"m{i:02d}.mrc", movie) for i, movie in enumerate(movies)], movies


def ratio_by_numpy(frames: np.ndarray, first: int) -> float:
    """See `camnorm.measurement.drift.measure_ratios`."""
    variance = frames.var(0, ddof=1)
    used = (variance > 0) & (variance <= 16 * np.median(variance))
    noise = variance[used].mean() - frames.mean((1, 2)).var(ddof=1)
    difference = (frames[first:].mean(0) - frames[:first].mean(0))[used]
    return float(difference.var() / noise / (1 / first + 1 / (len(frames) - first)))


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_drift_from_the_one_pass_is_that_of_the_accepted_frames(tmp_path: Path, dtype: str) -> None:
    files, movies = drifting_set(tmp_path / "in", dtype)
    sensor = camnorm.measure(files, tmp_path / "s.h5")
    assert len(rejected(sensor)) == 6
    ratios = sensor.provenance["ratios"]
    assert Sensor.load(tmp_path / "s.h5").provenance["ratios"] == ratios
    accepted = movies.reshape(60, *movies.shape[2:])[sensor.frames["status"] == "accepted"].astype(float)
    assert [(part["first"], part["others"]) for part in ratios] == [(3, 51), (6, 48), (14, 40), (27, 27)]
    for part in ratios:
        assert part["ratio"] == pytest.approx(ratio_by_numpy(accepted, part["first"]), rel=1e-5)
    drift = sensor.provenance["drift"]
    assert (drift["first"], drift["second"]) == (27, 27)
    assert Sensor.load(tmp_path / "s.h5").provenance["drift"] == drift
    assert {"drift"} <= {found.name for found in camnorm.screening.findings(sensor) if found.flagged}
    write_frame_list(sensor.frames, tmp_path / "frames.csv")
    two_passes = camnorm.measure(frames_list=tmp_path / "frames.csv").provenance["drift"]
    assert two_passes == pytest.approx(drift, rel=1e-5)


def test_drift_does_not_depend_on_threads_and_chunks(tmp_path: Path, divide: Divide) -> None:
    files, _ = drifting_set(tmp_path / "in")
    before = camnorm.measure(files, threads=1).provenance
    divide(stored_chunk_bytes=1, stored_bytes=0)
    after = camnorm.measure(files, threads=3).provenance
    assert (after["drift"], after["ratios"]) == (before["drift"], before["ratios"])


def test_large_sums_are_not_looked_at_before_much_was_read(tmp_path: Path, divide: Divide) -> None:
    """Of 60 frames of 2 bytes a pixel, sums of 32."""
    files, _ = drifting_set(tmp_path / "in")
    divide(small_sums_bytes=0)
    for times, firsts in ((1, [14, 27]), (0.2, [3, 6, 14, 27]), (100, [27])):
        divide(read_by_sums=times * 15 / 16)
        ratios = camnorm.measure(files).provenance["ratios"]
        assert [part["first"] for part in ratios] == firsts


def test_drift_within_a_single_file(tmp_path: Path) -> None:
    _, movies = drifting_set(tmp_path / "in")
    for name, write in (("all.mrc", write_mrc), ("all.tif", write_tiff)):
        sensor = camnorm.measure(write(tmp_path / name, movies.reshape(60, *movies.shape[2:])))
        assert (sensor.provenance["drift"]["first"], sensor.provenance["drift"]["second"]) == (27, 27)
        assert "drift" in {found.name for found in camnorm.screening.findings(sensor) if found.flagged}


def test_merged_and_subtracted_measurements_tell_nothing_of_drift(tmp_path: Path) -> None:
    files, _ = drifting_set(tmp_path / "in")
    a, b = camnorm.measure(files[:6], screen="off"), camnorm.measure(files[6:], screen="off")
    both = a.merge(b)
    assert (both.provenance["drift"], both.provenance["ratios"]) == ({}, [])
    (group,) = both.provenance["groups"]
    assert (group["files"], group["frames"]) == (12, 60)
    rest = both.subtract(b)
    assert (rest.provenance["drift"], rest.provenance["ratios"]) == ({}, [])
    assert rest.provenance["groups"] == a.provenance["groups"]
    assert "drift" not in {found.name for found in camnorm.screening.findings(rest)}
    rest.save(tmp_path / "rest.h5")
    assert Sensor.load(tmp_path / "rest.h5").provenance["groups"] == a.provenance["groups"]


def test_sensor_files_of_before(tmp_path: Path) -> None:
    files, _ = drifting_set(tmp_path / "in")
    sensor = camnorm.measure(files, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as f:
        del f.attrs["digest"]
        for name in ("drift", "groups", "frames_list"):
            del f["provenance"].attrs[name]
    old = Sensor.load(tmp_path / "s.h5")
    assert_same_sensor(old, sensor)
    names = [found.name for found in camnorm.screening.findings(old)]
    assert names == [found.name for found in camnorm.screening.findings(sensor) if found.name in names]
    assert not {"drift", "drift_pixels"} & set(names)
    other = write_mrc(tmp_path / "other.mrc", frames_of(5, (40, 48), "u2", 9))
    assert old.merge(camnorm.measure(other)).count == old.count + 5


def test_frames_too_small_for_drift(tmp_path: Path) -> None:
    files = [write_npy(tmp_path / f"{i}.npy", frames_of(1, (3, 3), "u1", i)) for i in range(20)]
    sensor = camnorm.measure(files)
    assert sensor.count == 20
    assert not [found for found in camnorm.screening.findings(sensor) if found.name.startswith("drift")]


def test_frames_of_equal_statistics_that_were_compared_are_no_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    files = [
        write_npy(tmp_path / f"{i:02}.npy", rng.permuted(np.arange(64) < 9).reshape(1, 8, 8).astype("u1"))
        for i in range(20)
    ]
    sensor = camnorm.measure(files)
    assert sensor.count == 20
    (found,) = (one for one in camnorm.screening.findings(sensor) if one.name == "duplicates")
    assert not found.flagged
    unscreened = camnorm.measure(files, screen="off")
    (found,) = (one for one in camnorm.screening.findings(unscreened) if one.name == "duplicates")
    assert found.flagged
    assert "20 may be in the statistics" in found.sentence


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_copies_of_files_with_names_that_are_no_text(tmp_path: Path) -> None:
    frames = frames_of(13, SHAPE, "u2")
    frames[7] = frames[2]
    files = []
    for i, frame in enumerate(frames):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff%02d.npy" % i)
        with open(path, "wb") as file:
            np.save(file, frame[None])
        files.append(path)
    sensor = camnorm.measure(files, tmp_path / "s.h5")
    loaded = Sensor.load(tmp_path / "s.h5")
    reasons = [row["reason"] for row in loaded.frames if row["status"] == "rejected"]
    assert reasons == [f"screened: copy of {files[2]}, frame 0"]
    assert loaded.count == sensor.count == 12
