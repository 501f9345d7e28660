"""Lists of frames as CSV: what is written is read again, what is edited measured, what is wrong said."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm import Error, Sensor
from camnorm.sensor.framelist import FrameList, write_frame_list
from image_sets import (
    assert_holds,
    assert_same_moments,
    frames_of,
    half_numbers,
    in_halves,
    rejected,
    write_movies,
    write_mrc,
    write_npy,
)

SHAPE = (12, 10)


@pytest.fixture
def movies(tmp_path: Path) -> list[Path]:
    """Six movies of five frames."""
    return write_movies(tmp_path / "in", 6, 5, SHAPE, "u2")


def listed(tmp_path: Path, sensor: Sensor) -> Path:
    write_frame_list(sensor.frames, tmp_path / "frames.csv")
    return tmp_path / "frames.csv"


def edit(path: Path, change: Callable[[list[dict[str, str]]], None]) -> Path:
    """Change rows as a spreadsheet would."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_table_is_written_to_the_last_digit(tmp_path: Path, movies: list[Path]) -> None:
    write_mrc(movies[2], np.concatenate([frames_of(4, SHAPE, "u2"), np.zeros((1, *SHAPE), "u2")]))
    sensor = camnorm.measure(movies)
    path = listed(tmp_path, sensor)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "index", "mean", "std", "min", "max", "half", "status", "reason"]
    for row, expected in zip(rows, sensor.frames, strict=True):
        assert (row["file"], int(row["index"])) == (expected["file"], expected["index"])
        assert all(float(row[name]) == expected[name] for name in ("mean", "std", "min", "max"))
        assert (row["half"], row["status"], row["reason"]) == tuple(
            expected[["half", "status", "reason"]].tolist()
        )
    assert rows[14]["status"] == "rejected"
    assert rows[14]["reason"].startswith("screened: blank")


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_two_passes_are_one(tmp_path: Path, dtype: str) -> None:
    frames = frames_of(60, SHAPE, dtype).reshape(12, 5, *SHAPE)
    frames[3, 1] = 0
    frames[7, :] = 250 + frames[7] / 10
    frames[9, 4] = frames[1, 2]
    files = [write_mrc(tmp_path / f"{i:02d}.mrc", movie) for i, movie in enumerate(frames)]
    once = camnorm.measure(files)
    assert len(rejected(once)) == 7
    twice = camnorm.measure(frames_list=listed(tmp_path, once))
    assert rejected(twice) == []
    assert twice.provenance["screening"] == {}
    for a, b in zip(once.halves, twice.halves, strict=True):
        if dtype == "u2":
            assert_same_moments(a, b)
        else:
            # Sums of float frames are the same to the last bits only; what is made of them is the same.
            np.testing.assert_array_equal(a.mean(), b.mean())
            np.testing.assert_array_equal(a.std(), b.std())
    kept = once.frames[once.frames["status"] == "accepted"]
    assert twice.frames.tolist() == kept.tolist()


def test_what_the_user_changes_is_measured(tmp_path: Path, movies: list[Path]) -> None:
    frames = frames_of(30, SHAPE, "u2").reshape(6, 5, *SHAPE)
    path = listed(tmp_path, camnorm.measure(movies, screen="off"))

    def change(rows: list[dict[str, str]]) -> None:
        rows[3]["status"] = " Rejected"
        rows[7]["half"] = "BA"["AB".index(rows[7]["half"])]
        rows[8]["mean"] = "no matter"
        del rows[25:27]
        rows.insert(0, rows.pop(20))

    sensor = camnorm.measure(frames_list=edit(path, change))
    keep = np.ones((6, 5), bool)
    keep[[0, 5, 5], [3, 0, 1]] = False
    half_a = (half_numbers(6) == 0)[:, None] & np.ones(5, bool)
    half_a[1, 2] = not half_a[1, 2]
    assert_holds(sensor.halves[0], frames[half_a & keep])
    assert_holds(sensor.halves[1], frames[keep & ~half_a])
    assert Path(sensor.frames["file"][0]) == movies[4]  # files in the order of the list
    assert sensor.frames["index"][:5].tolist() == [0, 1, 2, 3, 4]
    assert sensor.provenance["frames_list"]["path"] == str(path)


def test_files_are_split_if_the_list_has_no_halves(tmp_path: Path, movies: list[Path]) -> None:
    path = tmp_path / "list.csv"
    lines = [f"{movies[i].relative_to(tmp_path)};{j};accepted" for i in (5, 1, 3) for j in (4, 2)]
    path.write_text("﻿file;index;status\n" + "\n".join(lines) + "\n", "utf-8")
    sensor = camnorm.measure(frames_list=path)
    frames = frames_of(30, SHAPE, "u2").reshape(6, 5, *SHAPE)
    for half, its in zip(sensor.halves, in_halves([1, 3, 5]), strict=True):  # by name, not by the list
        assert_holds(half, frames[its][:, [2, 4]].reshape(-1, *SHAPE))


def test_frames_of_one_file_in_any_halves(tmp_path: Path) -> None:
    frames = frames_of(12, SHAPE, "u2")
    path = write_npy(tmp_path / "all.npy", frames)
    halves = "ABBBAABABBAA"
    rows = [f"{path},{i},accepted,{half}" for i, half in enumerate(halves)]
    (tmp_path / "list.csv").write_text("\n".join(["file,index,status,half", *rows]))
    sensor = camnorm.measure(frames_list=tmp_path / "list.csv")
    for name, half in zip("AB", sensor.halves, strict=True):
        assert_holds(half, frames[[i for i, its in enumerate(halves) if its == name]])


def test_a_number_screens_the_list_again(tmp_path: Path, movies: list[Path]) -> None:
    write_mrc(movies[2], np.concatenate([frames_of(4, SHAPE, "u2"), np.zeros((1, *SHAPE), "u2")]))
    path = listed(tmp_path, camnorm.measure(movies, screen="off"))
    assert camnorm.measure(frames_list=path).count == 30
    assert [place[:2] for place in rejected(camnorm.measure(frames_list=path, screen=6))] == [
        ("movie_002.mrc", 4)
    ]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b'/\xff,\n".npy'))
    np.save(path, frames_of(4, SHAPE, "u2"))
    sensor = camnorm.measure(path)
    assert camnorm.measure(frames_list=listed(tmp_path, sensor)).frames.tolist() == sensor.frames.tolist()


WRONG = {
    "no status": ("file,index\n{0},0\n", "no column 'status'; a frame list has file, index, status"),
    "no file": ("index,status\n0,accepted\n", "no column 'file'; a frame list has file, index, status"),
    "empty": ("", "no column 'file'; a frame list has file, index, status"),
    "unknown file": ("file,index,status\nnone.mrc,0,accepted\n", "line 2: there is no file 'none.mrc'"),
    "nameless": ("file,index,status\n,0,accepted\n", "line 2: there is no file ''"),
    "bad status": (
        "file,index,status\n{0},0,accepted\n{0},1,maybe\n",
        "line 3: status 'maybe' is neither accepted nor rejected",
    ),
    "no index": (
        "file,index,status\n{0},first,accepted\n",
        "line 2: index 'first' is not the number of a frame, from 0 on",
    ),
    "negative": (
        "file,index,status\n{0},-1,accepted\n",
        "line 2: index '-1' is not the number of a frame, from 0 on",
    ),
    "beyond": (
        "file,index,status\n{0},0,accepted\n{0},5,accepted\n",
        "line 3: {0} has no frame 5, the last is 4",
    ),
    "twice": ("file,index,status\n{0},2,accepted\n{0},02,accepted\n", "line 3: the same frame as in line 2"),
    "bad half": ("file,index,status,half\n{0},2,accepted,C\n", "line 2: half 'C' is neither A nor B"),
    "cut": ("file,index,status\n{0}\n", "line 2: status '' is neither accepted nor rejected"),
    "none left": ("file,index,status\n{0},0,rejected\n", "no frame is accepted"),
}


@pytest.mark.parametrize("what", WRONG)
def test_lists_that_do_not_fit(tmp_path: Path, movies: list[Path], what: str) -> None:
    text, message = (part.replace("{0}", str(movies[0])) for part in WRONG[what])
    path = tmp_path / "frames.csv"
    path.write_text(text)
    with pytest.raises(Error) as info:
        camnorm.measure(frames_list=path)
    assert str(info.value).removeprefix(str(path)).lstrip(":, ") == message


def test_a_file_that_is_not_among_the_inputs(tmp_path: Path, movies: list[Path]) -> None:
    path = listed(tmp_path, camnorm.measure(movies))
    assert camnorm.measure(movies, frames_list=path).count == 30
    with pytest.raises(Error, match=r"frames\.csv, line 27: .*movie_005\.mrc is not among the inputs"):
        camnorm.measure(movies[:5], frames_list=path)


def test_a_list_that_is_no_csv(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_text("file,index,status\n" + "x" * 200_000 + "\n")
    with pytest.raises(Error, match=r"frames\.csv, line \d: field larger than field limit"):
        FrameList(path)
    with pytest.raises(FileNotFoundError):
        camnorm.measure(frames_list=tmp_path / "none.csv")


@pytest.mark.parametrize("selection", [{"frames": "1:"}, {"every": 2}, {"max_frames": 3}])
def test_a_list_and_a_selection_exclude_each_other(
    tmp_path: Path, movies: list[Path], selection: dict[str, object]
) -> None:
    path = listed(tmp_path, camnorm.measure(movies))
    with pytest.raises(ValueError, match="frames, every, max_frames do not go with it"):
        camnorm.measure(frames_list=path, **selection)  # type: ignore[arg-type]


def test_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="there must be inputs, or a frames_list"):
        camnorm.measure()


def test_digests_tell_lists_apart(tmp_path: Path, movies: list[Path]) -> None:
    path = listed(tmp_path, camnorm.measure(movies))
    first = FrameList(path).digest
    assert FrameList(path).digest == first
    edit(path, lambda rows: rows[4].update(half="BA"["AB".index(rows[4]["half"])]))
    second = FrameList(path).digest
    edit(path, lambda rows: rows[4].update(status="rejected"))
    assert len({first, second, FrameList(path).digest}) == 3


def test_a_file_that_cannot_be_read_any_more_is_listed(tmp_path: Path, movies: list[Path]) -> None:
    path = listed(tmp_path, camnorm.measure(movies))
    movies[3].write_text("words")
    sensor = camnorm.measure(frames_list=path)
    assert [(name, index) for name, index, _ in rejected(sensor)] == [("movie_003.mrc", -1)]
    assert sensor.count == 25
    lost = half_numbers(6)[3]
    assert [half.count for half in sensor.halves] == ([10, 15] if lost == 0 else [15, 10])
