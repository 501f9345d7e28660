"""Screening: the limits by hand, and frames taken out as if they had never been there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from camnorm import Error, PixelMoments, Sensor
from camnorm.screening import Limits, Rules, robust_limits, screen
from camnorm.sensor import FRAME_DTYPE
from image_sets import (
    assert_holds,
    assert_same_moments,
    frames_of,
    rejected,
    write_mrc,
    write_npy,
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
    for half, first in zip(sensor.halves, (0, 1), strict=True):
        assert_holds(half, movies[first::2][good[first::2]])
    if dtype != "f4":
        longhand = [PixelMoments(SHAPE, dtype) for _ in "AB"]
        for i in range(8):
            longhand[i % 2].add(movies[i][good[i]])
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
        camnorm.measure(inputs, tmp_path / "sensor.h5")
        stored = Sensor.load(tmp_path / "sensor.h5").provenance["screening"]
        json.dumps(stored, allow_nan=False)
        assert stored["k"] == 6.0
    assert stored == {"k": 6.0}  # three frames are too few


def test_a_file_listed_twice_counts_twice_and_is_named(tmp_path: Path) -> None:
    files, movies, _ = deviant_set(tmp_path, "u1")
    sensor = camnorm.measure([*files, files[2]])
    assert [(name, index) for name, index, _ in rejected(sensor)] == [
        ("m2.mrc", 4),
        ("m5.mrc", 0),
        ("m2.mrc", 4),
    ]
    parts = [movies[0], movies[2][:4], movies[4], movies[6], movies[2][:4]]
    assert_holds(sensor.halves[0], np.concatenate(parts))
    (found,) = (one for one in camnorm.screening.findings(sensor) if one.name == "duplicates")
    assert found.flagged
    assert found.sentence.endswith("4 frames of the list had been there before, and count again.")
    # A copy under another name is a copy, however often the original is listed.
    copy = tmp_path / "copy.mrc"
    copy.write_bytes(files[2].read_bytes())
    sensor = camnorm.measure([*files, files[2], copy])
    copies = [reason for name, _, reason in rejected(sensor) if name == "copy.mrc"]
    assert copies[:4] == [f"screened: copy of {files[2]}, frame {index}" for index in range(4)]
    assert_holds(sensor.halves[0], np.concatenate(parts))


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

    monkeypatch.setattr("camnorm.screening.screen", change_and_screen)
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
    assert_holds(sensor.halves[0], frames[0::2][keep[0::2]])
    assert_holds(sensor.halves[1], frames[1::2][keep[1::2]])


@pytest.mark.parametrize("screening", ["on", "", 0, -1.0, float("nan")])
def test_wrong_words_for_screening(tmp_path: Path, screening: object) -> None:
    path = write_npy(tmp_path / "a.npy", frames_of(3, SHAPE, "u2"))
    with pytest.raises(ValueError, match="screen must be 'auto', 'off' or a positive number, not"):
        camnorm.measure(path, screen=screening)  # type: ignore[arg-type]
