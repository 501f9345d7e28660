"""Halves of measured sets: in any order, in parts, and of sets in which kinds of files alternate."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import camnorm
from camnorm.sensor.framelist import write_frame_list
from image_sets import Divide, assert_same_moments, frames_of, half_numbers, write_mrc, write_npy

SHAPE = (6, 5)
here = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(folder: Path, frames: np.ndarray, name: str = "m{}.npy") -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [write_npy(folder / name.format(i), frame[None]) for i, frame in enumerate(frames)]


def halves_in(sensor: camnorm.Sensor) -> dict[str, str]:
    return dict(sensor.frames[["file", "half"]].tolist())


@here
@given(st.integers(2, 30), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_halves(tmp_path: Path, count: int, rng: random.Random) -> None:
    files = save(tmp_path, frames_of(count, SHAPE, "u2"))
    expected = {str(path): "AB"[half] for path, half in zip(files, half_numbers(count), strict=True)}
    ordered = camnorm.measure(files, screen="off")
    assert halves_in(ordered) == expected
    rng.shuffle(files)
    shuffled = camnorm.measure(files, screen="off")
    assert halves_in(shuffled) == expected
    for one, other in zip(ordered.halves, shuffled.halves, strict=True):
        assert_same_moments(one, other)


@here
@given(st.integers(1, 5), st.integers(6, 26))
def test_shards_by_a_list_of_the_whole_merge_to_it(tmp_path: Path, shards: int, count: int) -> None:
    files = save(tmp_path, frames_of(count, SHAPE, "u2"))
    whole = camnorm.measure(files, screen="off")
    merged = None
    for number in range(shards):
        write_frame_list(whole.frames[number::shards], tmp_path / "list.csv")
        shard = camnorm.measure(frames_list=tmp_path / "list.csv")
        merged = shard if merged is None else merged.merge(shard)
    assert merged is not None
    for one, other in zip(whole.halves, merged.halves, strict=True):
        assert_same_moments(one, other)


@pytest.mark.parametrize("period", [2, 3, 4, 12])
def test_dark_files_at_regular_places_leave_both_halves_alike(tmp_path: Path, period: int) -> None:
    frames = frames_of(96, SHAPE, "u2")
    frames[1::period] //= 100
    sensor = camnorm.measure(save(tmp_path, frames), mean_limits=(50, None), screen="off")
    assert sensor.count == 96 - 96 // period
    assert sensor.halves[0].count == sensor.halves[1].count


@pytest.mark.parametrize("period", [2, 3, 4, 12])
def test_kinds_that_alternate_are_in_both_halves_alike(tmp_path: Path, period: int) -> None:
    sensor = camnorm.measure(save(tmp_path, frames_of(96, SHAPE, "u2"), "m{}.npy"), screen="off")
    in_a = np.array([half == "A" for half in sensor.frames["half"]])
    assert [int(in_a[kind::period].sum()) for kind in range(period)] == [48 // period] * period


@pytest.mark.parametrize("period", [3, 4, 6, 12])
def test_the_usual_shape_is_found_where_another_recurs(tmp_path: Path, period: int) -> None:
    """Every n-th file is of another shape: looking at every n-th file would find just these."""
    count = 9 * period
    for i in range(count):
        shape = (4, 4) if i % period == 0 else SHAPE
        write_npy(tmp_path / f"{i:03d}.npy", frames_of(1, shape, "u2", i))
    sensor = camnorm.measure(tmp_path, screen="off")
    assert (sensor.shape, sensor.count) == (SHAPE, count - 9)


def test_the_only_file_that_can_be_used_is_split_by_frames(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", frames_of(20, SHAPE, "u2"))
    (tmp_path / "b.mrc").write_text("words")
    write_mrc(tmp_path / "c.mrc", frames_of(3, (4, 4), "u2"))
    sensor = camnorm.measure(tmp_path, screen="off")
    assert [half.count for half in sensor.halves] == [10, 10]


def test_checkpoints_with_other_halves_are_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    """Such as those of versions in which files took turns."""
    files = save(tmp_path / "in", frames_of(8, SHAPE, "u2"))
    output = tmp_path / "sensor.h5"

    def stop(progress: camnorm.Progress) -> None:
        if progress.frames > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("camnorm.measurement.halves.halves_of", lambda numbers: np.asarray(numbers) % 2)
        divide(added_bytes=0, stored_bytes=0)
        with pytest.raises(KeyboardInterrupt):
            camnorm.measure(files, output, screen="off", progress=stop)
    with pytest.warns(UserWarning, match=r"^starting again: .*has frames in other halves, as of"):
        sensor = camnorm.measure(files, output, screen="off")
    assert halves_in(sensor) == halves_in(camnorm.measure(files, screen="off"))
