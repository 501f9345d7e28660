"""Measurements that are put together: no frame counts twice, and the provenance of each part is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from camnorm import Error, Sensor
from camnorm.io import ReadOptions
from camnorm.sensor.table import FILE_DTYPE
from image_sets import assert_same_moments, assert_same_sensor, frames_of, sensor_of, write_movies, write_mrc

SHAPE = (13, 11)
TWICE = (
    "are in both measurements and would count twice: subtract those frames from one of the measurements "
    "first, or measure all files in one run$"
)


def test_a_measurement_and_itself(tmp_path: Path) -> None:
    sensor = camnorm.measure(write_movies(tmp_path, 2, 3, SHAPE, "u2"), screen="off")
    with pytest.raises(Error, match=rf"^frames of .*movie_000\.mrc and 1 more file {TWICE}"):
        sensor.merge(sensor)


def test_parts_that_share_movies(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 6, 3, SHAPE, "u2")
    whole = camnorm.measure(files, screen="off")
    first, last = camnorm.measure(files[:4], screen="off"), camnorm.measure(files[3:], screen="off")
    for one, two, name, more in (
        (whole, first, "movie_000", " and 3 more files"),
        (first, whole, "movie_000", " and 3 more files"),
        (first, last, "movie_003", ""),
    ):
        with pytest.raises(Error, match=rf"^frames of \S*{name}\.mrc{more} {TWICE}"):
            one.merge(two)
    # The way out that the message names.
    rest = whole.subtract(first)
    assert_same_moments(rest.merge(first).moments, whole.moments)


@pytest.mark.parametrize("times", ["kept", "changed"])
def test_movies_that_were_copied_or_moved(tmp_path: Path, times: str) -> None:
    files = write_movies(tmp_path / "in", 3, 3, SHAPE, "u2")
    one = camnorm.measure(files, screen="off")
    (tmp_path / "elsewhere").mkdir()
    copied = tmp_path / "elsewhere" / ("other.mrc" if times == "kept" else "movie_001.mrc")
    shutil.copy2(files[1], copied)
    if times == "changed":
        os.utime(copied, (0, 0))
    new = write_mrc(tmp_path / "elsewhere" / "new.mrc", frames_of(3, SHAPE, "u2", seed=5))
    two = camnorm.measure([new, copied], screen="off")
    with pytest.raises(Error, match=rf"^frames of {copied} \(the same as {files[1]}\) {TWICE}"):
        one.merge(two)
    assert one.merge(camnorm.measure(new, screen="off")).count == 12


def test_other_movies_of_the_same_names(tmp_path: Path) -> None:
    """Sessions count their movies from the same number on."""
    one, two = (
        [
            write_mrc(tmp_path / f"{day}/movie_{i}.mrc", frames_of(3, SHAPE, "u2", 10 * day + i))
            for i in range(3)
        ]
        for day in (1, 2)
        if not (tmp_path / str(day)).mkdir()
    )
    for file in (*one, *two):
        os.utime(file, (1000, 1000))
    assert camnorm.measure(one, screen="off").merge(camnorm.measure(two, screen="off")).count == 18


def test_other_frames_of_the_same_movies(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 4, 6, SHAPE, "u2")
    early = camnorm.measure(files, screen="off", frames=":2")
    late = camnorm.measure(files, screen="off", frames="2:")
    both = early.merge(late)
    assert_same_moments(both.moments, camnorm.measure(files, screen="off").moments)
    assert both.provenance["selection"] == {}
    assert [part["selection"]["frames"] for part in both.provenance["parts"]] == [":2", "2:"]
    assert len(both.provenance["files"]) == 4


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"screen": "off"}, {"screen": 5}, "screen off, and screen 5"),
        (
            {"screen": "off"},
            {"screen": "off", "mean_limits": (None, 70000)},
            r"screen off, and screen off, mean_limits \[None, 70000.0\]",
        ),
    ],
)
def test_measurements_that_were_screened_differently(
    tmp_path: Path, first: dict[str, object], second: dict[str, object], message: str
) -> None:
    files = write_movies(tmp_path, 4, 3, SHAPE, "u2")
    one, two = camnorm.measure(files[:2], **first), camnorm.measure(files[2:], **second)
    said = f"they were screened differently: {message}; measure all files with the same options$"
    with pytest.raises(Error, match=said):
        one.merge(two)
    assert camnorm.measure(files[:2], **second).merge(two).count == 12


def parts_of(sensor: Sensor) -> list[tuple[int, int]]:
    return [(part["files"], part["frames"]) for part in sensor.provenance["parts"]]


def test_the_provenance_of_each_part_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_movies(tmp_path / "in", 6, 3, SHAPE, "u2")
    shards = []
    for number in range(3):
        monkeypatch.setattr("sys.argv", ["camnorm", "measure", f"shard {number}"])
        shards.append(camnorm.measure(files[2 * number : 2 * number + 2], screen="off"))
    monkeypatch.setattr("sys.argv", ["camnorm", "merge"])
    a, b, c = shards
    merged = a.merge(b).merge(c)
    assert merged.provenance["parts"] == a.merge(b.merge(c)).provenance["parts"]
    commands = [part["command"] for part in merged.provenance["parts"]]
    assert commands == [f"camnorm measure 'shard {number}'" for number in range(3)]
    assert merged.provenance["command"] == "camnorm merge"
    assert parts_of(merged) == [(2, 6)] * 3
    assert merged.provenance["files"]["path"].tolist() == list(map(str, files))
    merged.save(tmp_path / "merged.h5")
    loaded = Sensor.load(tmp_path / "merged.h5")
    assert loaded.provenance["parts"] == merged.provenance["parts"]
    assert_same_sensor(loaded, merged)
    # What is taken away again is no part any more.
    rest = loaded.subtract(b)
    assert [part["command"] for part in rest.provenance["parts"]] == [commands[0], commands[2]]
    alone = rest.subtract(c)
    assert "parts" not in alone.provenance
    for name in ("command", "started", "ended", "reading"):
        assert alone.provenance[name] == a.provenance[name]


def test_what_was_taken_away_is_told(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 4, 3, SHAPE, "u2")
    whole, part = camnorm.measure(files, screen="off"), camnorm.measure(files[:2], screen="off")
    rest = whole.subtract(part)
    assert [(part["files"], part["frames"]) for part in rest.provenance["subtracted"]] == [(2, 6)]
    rest.save(tmp_path / "rest.h5")
    assert Sensor.load(tmp_path / "rest.h5").provenance["subtracted"] == rest.provenance["subtracted"]


def test_limits_of_merged_screenings(tmp_path: Path) -> None:
    """Frames of all parts lie within them."""
    files = write_movies(tmp_path / "in", 8, 4, SHAPE, "u2")
    a, b = camnorm.measure(files[:4]), camnorm.measure(files[4:])
    limits = a.merge(b).provenance["screening"]
    assert limits["k"] == 6
    for name in ("mean", "std"):
        pairs = [part.provenance["screening"][name] for part in (a, b)]
        assert limits[name] == [min(low for low, _ in pairs), max(high for _, high in pairs)]


def parts(seed: int, sizes: list[int]) -> list[Sensor]:
    """Sensors of one or two files of their own."""
    found = []
    for number, size in enumerate(sizes):
        stacks = [frames_of(size, (3, 4), "u2", seed + 10 * number + i) for i in range(2)]
        sensor = sensor_of(stacks)
        names = {f"file{i}": f"part{number}file{i}" for i in range(2)}
        sensor.frames["file"] = [names[file] for file in sensor.frames["file"]]
        rows = [(names[path], size, mtime) for path, size, mtime in sensor.provenance["files"].tolist()]
        sensor.provenance["files"] = np.array(rows, FILE_DTYPE)
        found.append(sensor)
    return found


@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_merging_is_associative_and_commutative(seed: int, sizes: list[int]) -> None:
    a, b, c = parts(seed, sizes)
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert_same_sensor(left, right)
    assert left.provenance["parts"] == right.provenance["parts"]
    turned = c.merge(a).merge(b)
    for one, other in zip(left.halves, turned.halves, strict=True):
        assert_same_moments(one, other)
    expected = sum(
        frames_of(s, (3, 4), "u2", seed + 10 * n + i).sum(0, dtype=np.int64)
        for n, s in enumerate(sizes)
        for i in range(2)
    )
    np.testing.assert_array_equal(left.moments.sum(), expected)
    assert_same_sensor(left.subtract(c), a.merge(b))


@pytest.mark.filterwarnings("ignore:.* has no effect")  # the options are what matters
def test_dataset_paths_do_not_matter(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 2, 3, SHAPE, "u2")
    one = camnorm.measure(files[0], screen="off", options=ReadOptions(dataset="a"))
    two = camnorm.measure(files[1], screen="off", options=ReadOptions(follow_links=True))
    assert one.merge(two).count == 6
