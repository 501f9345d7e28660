"""Measuring: against numpy over all frames, whatever is wrong with some of the files."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import Error, FormatError, RawLayout, ReadOptions, Sensor
from camnorm.io.base.registry import format_names
from camnorm.io.formats.tiff.reader import TiffSource
from camnorm.measurement import checkpoint, plan
from camnorm.progress import Progress
from camnorm.sensor.framelist import write_frame_list
from image_sets import (
    STATISTICS,
    Divide,
    assert_holds,
    assert_same_moments,
    assert_same_sensor,
    cut,
    frames_of,
    half_numbers,
    in_halves,
    rejected,
    run_script,
    temporary_files,
    write_movies,
    write_mrc,
    write_npy,
    write_tiff,
)

SHAPE = (13, 11)


def small_steps(divide: Divide, size: int, threads: int = 2) -> None:
    """Chunks of a number of bytes, each added by itself."""
    divide(chunk_bytes=size * 2 * threads, stored_chunk_bytes=size, added_bytes=0, stored_bytes=0)


@pytest.fixture
def small_chunks(divide: Divide) -> None:
    """Chunks of two frames of `SHAPE` (uint16) with two threads, of four with one."""
    small_steps(divide, 2 * 2 * 13 * 11)


def save(path: Path, frames: np.ndarray) -> Path:
    """A file of the format that its name tells."""
    if path.suffix == ".mrc":
        return write_mrc(path, frames)
    if path.suffix == ".npy":
        return write_npy(path, frames)
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(frames[0]))
        return path
    return write_tiff(path, frames, "zlib" if "zlib" in path.name else None)


# --- what is measured


@pytest.mark.parametrize(
    ("name", "dtype", "length", "planes"),
    [
        ("a.mrc", "u1", 4, ()),
        ("a.mrc", "i1", 4, ()),
        ("a.mrc", "u2", 4, ()),
        ("a.mrc", "i2", 4, ()),
        ("a.mrc", "f2", 4, ()),
        ("a.mrc", "f4", 4, ()),
        ("a.tif", "u2", 4, ()),
        ("a_zlib.tif", "u1", 4, ()),
        ("a.png", "u1", 1, (3,)),
        ("a.png", "u2", 1, ()),
        ("a.npy", "f4", 4, ()),
        ("a.npy", "f8", 4, ()),
        ("a.npy", "i4", 4, ()),
        ("a.npy", "u2", 4, (3,)),
    ],
)
def test_against_numpy(tmp_path: Path, name: str, dtype: str, length: int, planes: tuple[int, ...]) -> None:
    shape = (*SHAPE, *planes)
    movies = frames_of(7 * length, shape, dtype).reshape(7, length, *shape)
    files = [save(tmp_path / f"{i}{name}", movie) for i, movie in enumerate(movies)]
    frames = movies.reshape(-1, *shape)
    sensor = camnorm.measure(files, screen="off")
    assert (sensor.count, sensor.shape, sensor.dtype) == (7 * length, shape, np.dtype(dtype))
    assert_holds(sensor.moments, frames)
    for half, its in zip(sensor.halves, in_halves(movies), strict=True):
        assert_holds(half, its.reshape(-1, *shape))
    wide = frames.astype(np.longdouble)
    np.testing.assert_allclose(sensor.mean, wide.mean(0).astype(float), rtol=3e-16)
    np.testing.assert_allclose(sensor.sigma, wide.std(0).astype(float), rtol=1e-14)
    assert sensor.mean.shape == sensor.sigma.shape == shape
    # One target for each colour plane.
    np.testing.assert_allclose(sensor.target_mean, wide.mean((0, 1, 2)).astype(float), rtol=1e-13)
    np.testing.assert_allclose(sensor.target_sigma, wide.std(0).mean((0, 1)).astype(float), rtol=1e-13)


def test_frame_table(tmp_path: Path, small_chunks: None) -> None:
    files = write_movies(tmp_path, 3, 5, SHAPE, "u2")
    sensor = camnorm.measure(files)
    table = sensor.frames
    assert table["file"].tolist() == [str(path) for path in files for _ in range(5)]
    assert table["index"].tolist() == [*range(5)] * 3
    assert table["half"].tolist() == ["AB"[half] for half in half_numbers(3) for _ in range(5)]
    assert set(table["status"]) == {"accepted"}
    assert set(table["reason"]) == {""}
    frames = frames_of(15, SHAPE, "u2").reshape(15, -1).astype(np.longdouble)
    for name, expected in zip(
        STATISTICS, (frames.mean(1), frames.std(1), frames.min(1), frames.max(1)), strict=True
    ):
        np.testing.assert_allclose(table[name], expected.astype(float), rtol=1e-14)


def test_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["camnorm", "measure", "in put/"])
    files = write_movies(tmp_path / "in put", 2, 3, SHAPE, "u2")
    os.utime(files[1], (0, 1234.5))
    sensor = camnorm.measure("in put")
    provenance = sensor.provenance
    assert provenance["version"] == camnorm.__version__
    assert provenance["command"] == "camnorm measure 'in put/'"
    assert provenance["started"] <= provenance["ended"]
    assert provenance["files"]["path"].tolist() == [str(path) for path in files]
    assert provenance["files"]["size"].tolist() == [1024 + 3 * 2 * 13 * 11] * 2
    assert provenance["files"]["mtime"][1] == 1234.5


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 7, 16])
def test_a_single_file_is_split_by_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, chunk: int, threads: int
) -> None:
    frames = frames_of(16, SHAPE, "u2")
    frames[6] = 0  # screened
    path = write_mrc(tmp_path / "movie.mrc", frames)
    small_steps(divide, chunk * frames[0].nbytes, threads)
    starts = []

    def noted(stream: Callable[..., Iterator[Any]], *args: Any, **kwargs: Any) -> Iterator[Any]:
        for item in stream(*args, **kwargs):
            starts.append(item.start)
            yield item

    for name in ("stream_frames", "stream_stored"):
        monkeypatch.setattr(plan, name, partial(noted, getattr(plan, name)))
    sensor = camnorm.measure(path, threads=threads)
    assert starts == [*range(0, 16, chunk), 6]
    for half, numbers in zip(sensor.halves, in_halves(range(16)), strict=True):
        assert_holds(half, frames[numbers[numbers != 6]])
    assert sensor.frames["half"].tolist() == ["AB"[half] for half in half_numbers(16)]
    np.testing.assert_allclose(sensor.frames["mean"], frames.reshape(16, -1).mean(1), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_threads_and_chunks_do_not_change_a_bit(tmp_path: Path, divide: Divide, dtype: str) -> None:
    # Frames of more than one block of the kernels, some of them screened out.
    movies = frames_of(30, (70, 90), dtype).reshape(5, 6, 70, 90)
    movies[3, 2] = 7
    for i, movie in enumerate(movies):
        write_mrc(tmp_path / f"{i}.mrc", movie)
    first = camnorm.measure(tmp_path, threads=1)
    assert len(rejected(first)) == 1
    for threads, budget in ((2, 1 << 26), (2, 100_000), (1, 1), (3, 60_000)):
        small_steps(divide, budget // (2 * threads), threads)
        assert_same_sensor(camnorm.measure(tmp_path, threads=threads), first)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_any_order_of_files_gives_the_same_set(tmp_path: Path, dtype: str) -> None:
    files = write_movies(tmp_path, 6, 4, SHAPE, dtype)
    sensor = camnorm.measure(files)
    for seed in range(3):
        other = camnorm.measure(random.Random(seed).sample(files, len(files)))
        if dtype == "u2":
            assert_same_moments(other.moments, sensor.moments)
        np.testing.assert_allclose(other.mean, sensor.mean, rtol=2.3e-16)
        np.testing.assert_allclose(other.sigma, sensor.sigma, rtol=2.3e-16)


def test_shards_merge_to_the_whole_and_come_off_again(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 6, 4, SHAPE, "u2")
    whole = camnorm.measure(files, screen="off")
    shards = []
    for i in (0, 2, 4):  # each by a list that keeps the halves of the whole
        write_frame_list(whole.frames[4 * i : 4 * (i + 2)], tmp_path / f"{i}.csv")
        shards.append(camnorm.measure(frames_list=tmp_path / f"{i}.csv"))
    merged = shards[0].merge(shards[1]).merge(shards[2])
    assert_same_sensor(merged, whole)
    assert merged.provenance["files"].tolist() == whole.provenance["files"].tolist()
    rest = whole.subtract(shards[1])
    assert_same_sensor(rest, shards[0].merge(shards[2]))
    assert rest.provenance["files"]["path"].tolist() == [str(files[i]) for i in (0, 1, 4, 5)]


def test_progress(tmp_path: Path, small_chunks: None) -> None:
    files = write_movies(tmp_path, 4, 5, SHAPE, "u2")
    cut(files[1], 1024 + 3 * 286)
    blank = np.array(np.zeros((1, *SHAPE)), "u2")
    files.append(write_mrc(tmp_path / "blank.mrc", blank))
    reports: list[Progress] = []
    camnorm.measure(files, threads=2, progress=reports.append)
    measuring = [report for report in reports if report.stage == "measuring"]
    assert [report.done for report in measuring] == sorted(report.done for report in measuring)
    assert {report.total for report in measuring} == {5}
    last = measuring[-1]
    assert (last.done, last.frames, last.bytes, last.rejected) == (5, 19, 19 * 286, 1)
    assert len(measuring) > 10  # chunks of two frames
    screening = [report for report in reports if report.stage == "screening"]
    assert [(report.done, report.total, report.rejected) for report in screening] == [(1, 1, 2)]


# --- frames that cannot be used

MIXED = [
    pytest.param([SHAPE, SHAPE, (11, 13), SHAPE], [2], id="third"),
    pytest.param([(11, 13), SHAPE, SHAPE, SHAPE], [0], id="first"),
    pytest.param([(11, 13), SHAPE, (5, 5), SHAPE], [0, 2], id="most"),
    pytest.param([SHAPE, (5, 5)], [1], id="in doubt"),
]


@pytest.mark.parametrize(("shapes", "odd"), MIXED)
def test_mixed_shapes(tmp_path: Path, shapes: list[tuple[int, int]], odd: list[int]) -> None:
    movies = [frames_of(3, shape, "u2", i) for i, shape in enumerate(shapes)]
    for i, movie in enumerate(movies):
        write_mrc(tmp_path / f"{i}.mrc", movie)
    sensor = camnorm.measure(tmp_path)
    assert rejected(sensor) == [
        (f"{i}.mrc", -1, f"frames of shape {shapes[i]}, but the set has {SHAPE}") for i in odd
    ]
    told = {tuple(group["shape"]): group for group in sensor.provenance["groups"]}
    assert {shape: group["frames"] for shape, group in told.items()} == {
        shape: 3 * shapes.count(shape) for shape in set(shapes)
    }
    assert {shape: group["files"] for shape, group in told.items()} == Counter(shapes)
    good = [movie for movie in movies if movie.shape[1:] == SHAPE]
    assert_holds(sensor.moments, np.concatenate(good))
    with pytest.raises(FormatError, match=rf"{odd[0]}\.mrc: frames of shape \({shapes[odd[0]][0]}, "):
        camnorm.measure(tmp_path, strict=True)


def test_dtypes_of_one_kind_go_together(tmp_path: Path) -> None:
    movies = [frames_of(3, SHAPE, dtype, i) for i, dtype in enumerate(["u1", "u2", "i2", "i1", "u2"])]
    for i, movie in enumerate(movies):
        write_mrc(tmp_path / f"{i}.mrc", movie)
    sensor = camnorm.measure(tmp_path, strict=True, screen="off")
    assert rejected(sensor) == []
    assert_holds(sensor.moments, np.concatenate([movie.astype(int) for movie in movies]))


@pytest.mark.parametrize(
    ("dtypes", "odd", "kinds"),
    [
        (
            ["u2", "f4", "u2"],
            [1],
            "float32 pixels (float kind), but the set has uint16 pixels (integer kind)",
        ),
        (["f4", "u1", "f4"], [1], "uint8 pixels (integer kind), but the set has float32 pixels (float kind)"),
        # Most are of the integer kind, though no dtype is as frequent as float32.
        (["f4", "u1", "f4", "u1", "u2", "u2"], [0, 2], "float32 pixels (float kind), but the set has uint8"),
    ],
)
def test_dtypes_of_the_other_kind_are_left_out(
    tmp_path: Path, dtypes: list[str], odd: list[int], kinds: str
) -> None:
    movies = [frames_of(2, SHAPE, dtype, i) for i, dtype in enumerate(dtypes)]
    for i, movie in enumerate(movies):
        write_mrc(tmp_path / f"{i}.mrc", movie)
    sensor = camnorm.measure(tmp_path)
    listed = rejected(sensor)
    assert [(name, index) for name, index, _ in listed] == [(f"{i}.mrc", -1) for i in odd]
    assert all(reason.startswith(kinds) for _, _, reason in listed)
    assert sensor.count == 2 * (len(dtypes) - len(odd))
    with pytest.raises(FormatError, match=rf"{odd[0]}\.mrc: .* kind\), but") as info:
        camnorm.measure(tmp_path, strict=True)
    # Though the traceback is still there.
    assert info.tb is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("camnorm-read")]


def test_misfits_are_not_read(tmp_path: Path) -> None:
    """Neither a page that would take 900 MB nor millions of frames of one pixel."""
    movies = [write_mrc(tmp_path / f"{i}.mrc", frames_of(3, SHAPE, "u2", i)) for i in range(3)]
    large = tmp_path / "large.tif"
    with tifffile.TiffWriter(large) as tiff:
        tiff.write(
            iter([bytes(28_000)]), shape=(30000, 30000), dtype="u1", compression="zstd", rowsperstrip=30000
        )
    small = write_mrc(tmp_path / "small.mrc", np.zeros((100_000, 1, 1), "i2"))
    with mock.patch.object(TiffSource, "_frames", side_effect=AssertionError):
        sensor = camnorm.measure([*movies, large, small], strict=False)
    assert rejected(sensor) == [
        ("large.tif", -1, f"frames of shape (30000, 30000), but the set has {SHAPE}"),
        ("small.mrc", -1, f"frames of shape (1, 1), but the set has {SHAPE}"),
    ]
    frames = {tuple(group["shape"]): group["frames"] for group in sensor.provenance["groups"]}
    assert frames == {SHAPE: 9, (30000, 30000): 1, (1, 1): 100_000}


def test_frames_that_were_never_written_are_one_item(tmp_path: Path) -> None:
    frames = frames_of(5, SHAPE, "u2")
    for name, written in (("none", []), ("ends", [0, 1, 10**6 - 1])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            data = file.create_dataset("data", (10**6, *SHAPE), "u2", chunks=(1, *SHAPE))
            for place, frame in zip(written, frames, strict=False):
                data[place] = frame
    write_mrc(tmp_path / "z.mrc", frames[3:])
    sensor = camnorm.measure(tmp_path, screen="off")
    assert rejected(sensor) == [
        ("ends.h5", 2, "this frame was never written (and 999996 more after it)"),
        ("none.h5", -1, "none of the 1000000 frames of /data was ever written"),
    ]
    assert_holds(sensor.moments, frames)


def damaged_set(folder: Path) -> tuple[list[Path], list[np.ndarray]]:
    """Files with everything that may be wrong with a file; and the good frames, the top row first."""
    movies = frames_of(50, SHAPE, "u2").reshape(10, 5, *SHAPE)
    folder.mkdir(exist_ok=True)
    (folder / "0_text.mrc").write_text("no image but words " * 100)
    write_mrc(folder / "1_good.mrc", movies[1])
    cut(write_mrc(folder / "2_cut.mrc", movies[2]), 1024 + 3 * 286 + 50)
    cut(write_mrc(folder / "3_header.mrc", movies[3]), 600)
    tiff = write_tiff(folder / "4_cut.tif", movies[4], "zlib")
    cut(tiff, tiff.stat().st_size - 150)
    (folder / "5_empty.tif").touch()
    write_mrc(folder / "6_good.mrc", movies[6])
    os.mkfifo(folder / "7_pipe.mrc")
    write_tiff(folder / "8_good.tif", movies[8])
    (folder / "9_text.tif").write_text("II*")
    in_mrc = [movies[1], movies[2][:3], movies[6]]
    return sorted(folder.iterdir()), [*(movie[:, ::-1] for movie in in_mrc), movies[8]]


@pytest.mark.filterwarnings("ignore:the row order differs")
def test_damaged_files_are_listed_and_the_others_used(tmp_path: Path, small_chunks: None) -> None:
    files, good = damaged_set(tmp_path / "in")
    sensor = camnorm.measure(files, tmp_path / "sensor.h5")
    listed = {name: (index, reason) for name, index, reason in rejected(sensor)}
    tiff_index = listed["4_cut.tif"][0]
    good.append(frames_of(50, SHAPE, "u2").reshape(10, 5, *SHAPE)[4][:tiff_index])
    assert 0 < tiff_index < 5
    assert_holds(sensor.moments, np.concatenate(good))
    assert listed["0_text.mrc"] == (-1, "not an MRC file: no 'MAP' at byte 208 and no sense in its header")
    ends = "truncated: the file ends before the end of the frame"
    assert listed["2_cut.mrc"] == (3, f"{ends} (and 1 more after it)")
    reason = "not an MRC file, or truncated: shorter than the header of 1024 bytes"
    assert listed["3_header.mrc"] == (-1, reason)
    assert "truncated" in listed["4_cut.tif"][1]
    assert listed["5_empty.tif"] == (-1, "the file is empty")
    assert listed["7_pipe.mrc"] == (-1, "not a regular file")
    assert listed["9_text.tif"] == (-1, f"not an image file that camnorm reads ({format_names()})")
    assert len(listed) == 7
    # Also in the file, and with the halves that the files have by their place.
    stored = Sensor.load(tmp_path / "sensor.h5")
    assert_same_sensor(stored, sensor)
    halves = dict(zip(stored.frames["file"], stored.frames["half"], strict=True))
    assert halves == {str(path): "AB"[half] for path, half in zip(files, half_numbers(10), strict=True)}
    for half in (0, 1):
        numbers = [number for number in (1, 2, 4, 6, 8) if half_numbers(10)[number] == half]
        assert stored.halves[half].count == sum(len(good[(1, 2, 6, 8, 4).index(n)]) for n in numbers)


@pytest.mark.parametrize(
    ("name", "frame"),
    [("0_text.mrc", None), ("2_cut.mrc", 3), ("3_header.mrc", 0), ("7_pipe.mrc", None)],
)
def test_strict_stops_at_a_damaged_file(tmp_path: Path, name: str, frame: int | None) -> None:
    damaged_set(tmp_path / "in")
    output = tmp_path / "sensor.h5"
    with pytest.raises(FormatError) as info:
        camnorm.measure([tmp_path / "in" / part for part in ("1_good.mrc", name)], output, strict=True)
    assert Path(info.value.path) == tmp_path / "in" / name
    assert info.value.frame == frame
    assert not output.exists()


def test_files_that_vanish_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_movies(tmp_path, 3, 2, SHAPE, "u2")
    stream = plan.stream_stored

    def after_removal(*args: Any, **kwargs: Any) -> Any:
        files[1].unlink(missing_ok=True)
        return stream(*args, **kwargs)

    monkeypatch.setattr(plan, "stream_stored", after_removal)
    assert rejected(camnorm.measure(files)) == [("movie_001.mrc", -1, "No such file or directory")]


NOT_FINITE = {
    "first": [0],
    "start of a chunk": [4],
    "middle": [2],
    "end of a chunk": [3],
    "last": [11],
    "neighbours": [4, 5, 6],
    "both ends": [0, 11],
    "whole chunk": [4, 5, 6, 7],
    "all but one": [*range(5), *range(6, 12)],
}


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("bad", NOT_FINITE.values(), ids=NOT_FINITE.keys())
def test_frames_that_are_not_finite(
    tmp_path: Path, divide: Divide, bad: list[int], value: float, single: bool
) -> None:
    frames = frames_of(12, SHAPE, "f4")
    frames[bad, 5, 7] = value
    small_steps(divide, frames[0].nbytes * 4)  # chunks of four
    files = [write_mrc(tmp_path / "a.mrc", frames)]
    if not single:
        files.append(write_mrc(tmp_path / "b.mrc", frames_of(2, SHAPE, "f4", 1)))
    sensor = camnorm.measure(files, screen="off", threads=2)
    assert rejected(sensor) == [("a.mrc", frame, "NaN or infinite pixels") for frame in bad]
    good = np.setdiff1d(np.arange(12), bad)
    if single:
        for half, numbers in zip(sensor.halves, in_halves(range(12)), strict=True):
            assert_holds(half, frames[np.intersect1d(good, numbers)])
    else:
        of_a, of_b = half_numbers(2)
        assert_holds(sensor.halves[of_a], frames[good])
        assert sensor.halves[of_b].count == 2
    rows = sensor.frames[:12]
    assert np.isnan([rows[name][bad] for name in STATISTICS]).all()
    np.testing.assert_allclose(
        rows["mean"][good], frames[good].reshape(len(good), -1).mean(1, dtype=np.longdouble), rtol=1e-14
    )
    with pytest.raises(FormatError, match=rf"a\.mrc, frame {bad[0] if not single else ''}") as info:
        camnorm.measure(files, strict=True)
    assert info.value.frame in bad
    assert info.value.reason == "NaN or infinite pixels"


def test_pixels_whose_squares_overflow(tmp_path: Path) -> None:
    frames = frames_of(4, SHAPE, "f8")
    frames[2, 0, 0] = 1e200
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames))
    assert rejected(sensor) == [("a.npy", 2, "pixels beyond 3e144, whose squares overflow")]


# --- nothing to measure


def test_missing_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    for name, message in (
        ("absent.mrc", "no such file"),
        ("empty", "no images in this directory"),
        ("*.mrc", "no file matches this pattern"),
        ("@absent.txt", "No such file or directory"),
        ("", "the name of an input is empty"),
    ):
        with pytest.raises(Error, match=message):
            camnorm.measure(name if name[:1] in "@" else str(tmp_path / name), tmp_path / "sensor.h5")
    with pytest.raises(Error, match="no input files were given"):
        camnorm.measure([], tmp_path / "sensor.h5")
    with pytest.raises(Error, match=r"no frame could be used, .* the first: .*words\.txt: not an image"):
        camnorm.measure(tmp_path / "words.txt", tmp_path / "sensor.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "words.txt"]


def test_no_frame_that_could_be_used(tmp_path: Path) -> None:
    frames = np.full((3, *SHAPE), np.nan, "f4")
    files = [write_mrc(tmp_path / f"{i}.mrc", frames) for i in range(2)]
    message = r"no frame could be used, 6 rejected; the first: .*0\.mrc, frame 0: NaN or infinite pixels"
    with pytest.raises(Error, match=message):
        camnorm.measure(files, tmp_path / "sensor.h5")
    assert temporary_files(tmp_path) == []
    assert not (tmp_path / "sensor.h5").exists()


def test_only_the_last_of_many_files_can_be_read(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i:02d}.mrc").write_text("words")
    write_mrc(tmp_path / "39.mrc", frames_of(2, SHAPE, "u2"))
    sensor = camnorm.measure(tmp_path)
    assert (sensor.count, len(rejected(sensor))) == (2, 39)


@pytest.mark.parametrize("threads", [0, -1])
def test_wrong_number_of_threads(tmp_path: Path, threads: int) -> None:
    path = write_npy(tmp_path / "a.npy", frames_of(2, SHAPE, "u2"))
    with pytest.raises(ValueError, match="threads"):
        camnorm.measure(path, threads=threads)


# --- outputs that cannot be written


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 2, 2, SHAPE, "u2")
    (tmp_path / "file").write_text("words")
    (tmp_path / "folder").mkdir()
    read: list[Progress] = []
    for output, kind, message in (
        (tmp_path / "absent" / "s.h5", OSError, r"No such file or directory: .*absent/s\.h5"),
        (tmp_path / "file" / "s.h5", OSError, r"Not a directory: .*file/s\.h5"),
        (tmp_path / "folder", Error, "folder: is a directory; name the sensor file to write"),
        (tmp_path / "file", FormatError, "file: not a camnorm sensor file"),
        (files[0], Error, r"movie_000\.mrc: is an input, and inputs are never replaced; write elsewhere"),
    ):
        with pytest.raises(kind, match=message):
            camnorm.measure(files, output, progress=read.append)
    assert read == []  # found out before the first frame
    assert (tmp_path / "file").read_text() == "words"
    assert temporary_files(tmp_path) == []


@pytest.mark.filterwarnings("ignore:mrc_mode0=.* has no effect")
def test_only_the_same_measurement_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "sensor.h5"
    a = write_npy(tmp_path / "a.npy", frames_of(30, SHAPE, "u2"))
    b = write_npy(tmp_path / "b.npy", frames_of(5, SHAPE, "u2"))
    camnorm.measure(a, output)
    camnorm.measure(a, output, threads=1)
    read: list[Progress] = []
    others: list[tuple[Any, dict[str, Any]]] = [
        (b, {}),
        ([a, b], {}),
        (a, {"every": 2}),
        (a, {"screen": 4}),
        (a, {"mean_limits": (0, None)}),
        (a, {"response": True}),
        (a, {"options": ReadOptions(mrc_mode0="signed")}),
    ]
    message = r"sensor\.h5: already holds another measurement \(30 frames of 1 file\); use overwrite=True"
    for inputs, options in others:
        with pytest.raises(Error, match=message):
            camnorm.measure(inputs, output, progress=read.append, **options)
    assert [report for report in read if report.stage != "counting"] == []  # found out before the first frame
    os.utime(a, (0, 0))
    with pytest.raises(Error, match=message):
        camnorm.measure(a, output)
    assert Sensor.load(output).count == 30
    assert camnorm.measure(b, output, overwrite=True).count == 5
    assert Sensor.load(output).count == 5
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy", "b.npy", "sensor.h5"}


def test_a_killed_run_may_replace_what_it_was_allowed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, resumed: list[tuple[int, int]]
) -> None:
    small_steps(divide, 2 * 286)
    output = tmp_path / "sensor.h5"
    camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(3, SHAPE, "u2")), output)
    files = write_movies(tmp_path / "in", 6, 4, SHAPE, "u2")
    interrupted_run(files, output, monkeypatch, 5, overwrite=True)
    assert Sensor.load(output).count == 3
    assert camnorm.measure(files, output).count == 24
    assert resumed[-1] > (0, 0)


def test_a_file_beside_the_output_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sensor.h5.probe").write_text("mine")
    camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(3, SHAPE, "u2")), tmp_path / "sensor.h5")
    assert (tmp_path / "sensor.h5.probe").read_text() == "mine"


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.npy"))
    try:
        write_npy(path, frames_of(3, SHAPE, "u2"))
    except (OSError, UnicodeError) as error:
        pytest.skip(f"the file system cannot hold such a name: {error}")
    camnorm.measure(path, tmp_path / "sensor.h5")
    sensor = Sensor.load(tmp_path / "sensor.h5")
    assert sensor.provenance["files"]["path"].tolist() == [str(path)]
    assert Path(sensor.frames["file"][0]).exists()


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_files_that_become_shorter_while_their_frames_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    # Frames of more than one block, so that some of a frame has been added when it ends.
    files = write_movies(tmp_path / "in", 4, 5, (210, 200), dtype)
    kept = [mrcfile.read(path) for path in files]
    kept[2] = kept[2][:3]
    content = files[2].read_bytes()
    stream = plan.stream_stored

    def shortened(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from stream(*args, **kwargs)
        frame_bytes = 210 * 200 * np.dtype(dtype).itemsize
        os.truncate(files[2], 1024 + 4 * frame_bytes - 100)

    monkeypatch.setattr(plan, "stream_stored", shortened)
    sensor = camnorm.measure(files, screen="off", threads=2)
    reason = "cannot be read: the file ends before the frame does"
    assert rejected(sensor) == [("movie_002.mrc", 3, reason), ("movie_002.mrc", 4, reason)]
    for half, numbers in zip(sensor.halves, in_halves(range(4)), strict=True):
        assert_holds(half, np.concatenate([kept[i] for i in numbers]))
    files[2].write_bytes(content)
    with pytest.raises(FormatError, match=r"movie_002\.mrc, frame [34]: cannot be read"):
        camnorm.measure(files, screen="off", strict=True)


def test_moments_that_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_movies(tmp_path / "in", 2, 3, SHAPE, "u2")

    def lost(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the moments are lost: frame 1 cannot be read: Input/output error")

    monkeypatch.setattr(camnorm.PixelMoments, "add_located", lost)
    with pytest.raises(Error, match=r"^the moments are lost: .*; nothing was written$"):
        camnorm.measure(files, tmp_path / "sensor.h5")
    assert not (tmp_path / "sensor.h5").exists()


# --- interrupted and resumed

_RUN = """
import sys, time
from camnorm import measure
from camnorm.sizes import divided
def progress(report):
    print(report.stage, report.frames, flush=True)
    time.sleep(0.004)
two_or_three_frames = dict(
    chunk_bytes=4 * 2 * 1500, stored_chunk_bytes=2 * 1500, added_bytes=0, stored_bytes=0
)
with divided(checkpoint_seconds=0.0, checkpoint_share=0.0, **two_or_three_frames):
    measure(sys.argv[2:], sys.argv[1], threads=2, progress=progress)
"""


def killable_set(folder: Path, dtype: str) -> list[Path]:
    """Movies, some of them damaged, with frames that are rejected and screened; for uint8 a single one."""
    movies = frames_of(9 * 10, (20, 25), dtype).reshape(9, 10, 20, 25)
    movies[2, 3] = 0
    movies[7, 9] = 120
    if dtype == "f4":
        movies[1, 4, 2, 2] = np.nan
        movies[5, [0, 9], 2, 2] = np.inf
    folder.mkdir()
    if dtype == "u1":
        return [write_mrc(folder / "movie.mrc", movies.reshape(-1, 20, 25))]
    files = [write_mrc(folder / f"{i}.mrc", movie) for i, movie in enumerate(movies)]
    cut(files[4], files[4].stat().st_size - 2000)
    files[6].write_text("words")
    return [*files, Path(shutil.copy(files[3], folder / "copy.mrc"))]


def frames_reported(process: subprocess.Popen[str], count: int) -> list[int]:
    """Frames read, by the next few reports of a run; fewer if it ends."""
    assert process.stdout is not None
    frames = []
    for _ in range(count):
        line = process.stdout.readline().split()
        if not line or line[0] == "screening":
            break
        frames.append(int(line[1]))
    return frames


def start(output: Path, files: list[Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", _RUN, str(output), *map(str, files)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "seed"), [("u2", 1), ("f4", 2), ("u1", 3)])
def test_killed_again_and_again(tmp_path: Path, dtype: str, seed: int) -> None:
    files = killable_set(tmp_path / "in", dtype)
    expected = camnorm.measure(files, tmp_path / "expected.h5")
    output = tmp_path / "sensor.h5"
    rng = random.Random(seed)
    reached = 0
    kills = 0
    while True:
        with start(output, files) as process:
            frames = frames_reported(process, rng.randint(2, 14))
            assert frames, process.stderr.read() if process.stderr else ""
            # What was on disk when the run was killed is not read again: the checkpoint of a report
            # is written before the next one.
            assert frames[0] > reached
            if len(frames) < 2 or frames[-1] == frames[-2]:
                process.communicate(timeout=60)
                assert process.returncode == 0
                break
            reached = frames[-2]
            # Also in the middle of a checkpoint.
            try:
                process.wait(rng.choice([0.0, 0.001, 0.003, 0.01]))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
    assert kills >= 2
    assert_same_sensor(Sensor.load(output), expected)
    assert temporary_files(tmp_path) == []


class Interruption:
    """Ctrl-C at one of the calls of `PixelMoments.add`, in the middle of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
        self.calls = 0
        add = camnorm.PixelMoments.add_located

        def interrupted(moments: Any, *arguments: Any, **options: Any) -> Any:
            self.calls += 1
            statistics = add(moments, *arguments, **options)
            if self.calls == call:
                signal.raise_signal(signal.SIGINT)
            return statistics

        monkeypatch.setattr(camnorm.PixelMoments, "add_located", interrupted)


def interrupted_run(
    inputs: Any, output: Path, monkeypatch: pytest.MonkeyPatch, call: int, **options: Any
) -> int:
    """Frames that a run has read when it is interrupted."""
    frames = [0]
    with monkeypatch.context() as patch:
        Interruption(patch, call)
        with pytest.raises(KeyboardInterrupt):
            camnorm.measure(
                inputs, output, threads=2, progress=lambda report: frames.append(report.frames), **options
            )
    return frames[-1]


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Positions at which runs begin."""
    positions: list[tuple[int, int]] = []
    stream = plan.stream_stored

    def noted(*args: Any, **kwargs: Any) -> Any:
        if "start" in kwargs:
            positions.append(kwargs["start"])
        return stream(*args, **kwargs)

    monkeypatch.setattr(plan, "stream_stored", noted)
    return positions


@pytest.mark.parametrize("call", [1, 2, 5, 9])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_ctrl_c_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    divide: Divide,
    resumed: list[tuple[int, int]],
    dtype: str,
    call: int,
) -> None:
    small_steps(divide, 3 * 500 * np.dtype(dtype).itemsize)
    files = killable_set(tmp_path / "in", dtype)
    expected = camnorm.measure(files)
    output = tmp_path / "sensor.h5"
    handler = signal.getsignal(signal.SIGINT)
    interrupted_run(files, output, monkeypatch, call)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not output.exists()
    with pytest.raises(KeyboardInterrupt):  # before anything more is read
        camnorm.measure(files, output, progress=lambda _: signal.raise_signal(signal.SIGINT))
    reports: list[Progress] = []
    sensor = camnorm.measure(files, output, threads=2, progress=reports.append)
    # Chunks of three frames: what the interrupted call had added is there.
    assert resumed[2] > (0, 0)
    assert resumed[3] > resumed[2]
    assert_same_sensor(sensor, expected)
    assert_same_sensor(Sensor.load(output), expected)
    assert reports[-1].rejected == len(rejected(expected))
    assert temporary_files(tmp_path) == []


def test_ctrl_c_before_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_movies(tmp_path / "in", 3, 4, SHAPE, "u2")
    output = tmp_path / "sensor.h5"

    def interrupt(*_: Any, **__: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(plan, "stream_stored", interrupt)
        with pytest.raises(KeyboardInterrupt):
            camnorm.measure(files, output)
    assert_same_sensor(camnorm.measure(files, output), camnorm.measure(files))


def test_in_a_thread_that_takes_no_signals(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 3, 4, SHAPE, "u2")
    with ThreadPoolExecutor(1) as executor:
        sensor = executor.submit(camnorm.measure, files, tmp_path / "sensor.h5").result()
    assert_same_sensor(sensor, camnorm.measure(files))


def test_sigint_to_a_process(tmp_path: Path) -> None:
    files = killable_set(tmp_path / "in", "u2")
    output = tmp_path / "sensor.h5"
    script = _RUN.replace("checkpoint_seconds=0.0", "checkpoint_seconds=1000.0")
    command = [sys.executable, "-c", script, str(output), *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        before = frames_reported(process, 8)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
    last = int(rest.split()[-1]) if rest else before[-1]
    assert not output.exists()
    with start(output, files) as process:
        after = frames_reported(process, 1)
        process.communicate(timeout=60)
    assert 0 < after[0] - last <= 6  # goes on with the chunk that was due, or the one after that
    assert_same_sensor(Sensor.load(output), camnorm.measure(files))


def interrupted_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, count: int = 6
) -> tuple[list[Path], Path]:
    """A run over movies of four frames that was interrupted in the third of them (or the last)."""
    small_steps(divide, 2 * 286)
    files = write_movies(tmp_path / "in", count, 4, SHAPE, "u2")
    output = tmp_path / "sensor.h5"
    interrupted_run(files, output, monkeypatch, 6 if count > 2 else 2)
    assert (tmp_path / "sensor.h5.checkpoint").exists()
    return files, output


def test_files_that_come_later_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, resumed: list[tuple[int, int]]
) -> None:
    files, output = interrupted_set(tmp_path, monkeypatch, divide)
    os.utime(files[4], (0, 0))
    files.append(write_mrc(tmp_path / "new.mrc", frames_of(3, SHAPE, "u2", 9)))
    sensor = camnorm.measure(files, output)
    assert resumed == [(0, 0), (2, 2)]
    assert_same_sensor(sensor, camnorm.measure(files))


@pytest.mark.parametrize("change", ["time", "size", "order", "fewer", "shape", "kind"])
def test_changed_input_starts_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    divide: Divide,
    resumed: list[tuple[int, int]],
    change: str,
) -> None:
    files, output = interrupted_set(tmp_path, monkeypatch, divide)
    if change == "time":
        os.utime(files[2], (0, 0))
    elif change == "size":
        write_mrc(files[1], frames_of(7, SHAPE, "u2"))
    elif change == "order":
        files[:2] = files[1::-1]
    elif change == "fewer":
        files = files[:2]
    else:
        for i in range(7, 15):
            frames = frames_of(2, (5, 5), "u2") if change == "shape" else frames_of(2, SHAPE, "f4")
            files.append(write_mrc(tmp_path / f"{i}.mrc", frames))
    with pytest.warns(UserWarning, match=r"^starting again: .*sensor\.h5\.checkpoint belongs to another set"):
        sensor = camnorm.measure(files, output)
    assert resumed == [(0, 0), (0, 0)]
    assert_same_sensor(sensor, camnorm.measure(files))
    assert temporary_files(tmp_path) == []


def test_a_single_file_that_gets_company_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    files, output = interrupted_set(tmp_path, monkeypatch, divide, 1)
    files.append(write_mrc(tmp_path / "new.mrc", frames_of(3, SHAPE, "u2", 9)))
    with pytest.warns(UserWarning, match="has frames in other halves"):
        sensor = camnorm.measure(files, output)
    assert_same_sensor(sensor, camnorm.measure(files))


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "text", "sensor file", "file", "bytes_read", "early_0", "middle", "position"]
)
def test_damaged_checkpoint_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, damage: str
) -> None:
    files, output = interrupted_set(tmp_path, monkeypatch, divide)
    checkpoint = tmp_path / "sensor.h5.checkpoint"
    if damage == "cut":
        cut(checkpoint, checkpoint.stat().st_size // 2)
    elif damage == "empty":
        cut(checkpoint, 0)
    elif damage == "text":
        checkpoint.write_text("words")
    elif damage == "middle":
        with h5py.File(checkpoint, "r+") as f:
            f["halves/A/sum"][5:8] = f["halves/A/sum"][8:11]
            f["halves/A/sum_of_squares"][5:8] = f["halves/A/sum_of_squares"][8:11]
    elif damage == "position":
        with h5py.File(checkpoint, "r+") as f:
            del f.attrs["digest"]
            f.attrs["file"] = -1
    elif damage == "sensor file":
        camnorm.measure(files, tmp_path / "other.h5")
        shutil.copy(tmp_path / "other.h5", checkpoint)
    else:
        with h5py.File(checkpoint, "r+") as f:
            del (f if damage in f else f.attrs)[damage]
    with pytest.warns(UserWarning, match=r"^starting again: .*checkpoint"):
        sensor = camnorm.measure(files, output)
    assert_same_sensor(sensor, camnorm.measure(files))
    assert temporary_files(tmp_path) == []


def test_a_checkpoint_is_no_sensor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    interrupted_set(tmp_path, monkeypatch, divide)
    with pytest.raises(FormatError, match="not a camnorm sensor file but a camnorm checkpoint file"):
        Sensor.load(tmp_path / "sensor.h5.checkpoint")


def test_strict_minds_what_was_rejected_before_the_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    small_steps(divide, 2 * 286)
    files = write_movies(tmp_path / "in", 5, 4, SHAPE, "u2")
    cut(files[1], 1024 + 2 * 286)
    output = tmp_path / "sensor.h5"
    interrupted_run(files, output, monkeypatch, 5)
    with pytest.raises(FormatError, match=r"movie_001\.mrc, frame 2: truncated"):
        camnorm.measure(files, output, strict=True)


def test_checkpoints_that_cannot_be_written_do_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    files = write_movies(tmp_path / "in", 4, 2, SHAPE, "u2")
    divide(checkpoint_seconds=0.0, checkpoint_share=0.0)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "atomic_target", full)
    with pytest.warns(UserWarning, match=r"^going on without checkpoints: .*No space left") as warned:
        sensor = camnorm.measure(files, tmp_path / "sensor.h5")
    assert len(warned) == 1
    assert_same_sensor(Sensor.load(tmp_path / "sensor.h5"), sensor)


# --- memory

_MEASURE = """
import sys
import camnorm
sensor = camnorm.measure(sys.argv[2], sys.argv[1], screen="off", overwrite=True, threads=2)
heavy = {"matplotlib", "scipy", "pyfftw", "imagecodecs", "tifffile"} & set(sys.modules)
assert not heavy, heavy
# Not ru_maxrss: a child has that of its parent to begin with.
print(sensor.count, *(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("dtype", "length", "repeats"), [("u2", 3, 4), ("u2", 1, 12), ("f4", 2, 3)])
def test_memory_does_not_grow_with_the_number_of_frames(
    tmp_path: Path, dtype: str, length: int, repeats: int
) -> None:
    shape = (2048, 2048)
    pixels = shape[0] * shape[1]
    frame = frames_of(1, shape, dtype)
    path = write_mrc(tmp_path / "movie.mrc", np.repeat(frame, length, 0))
    header, size = path.read_bytes()[:1024], path.stat().st_size
    peaks = []
    for times in (repeats, 10 * repeats):
        # Movies without blocks on the disk: as many as these would take long to write.
        folder = tmp_path / str(times)
        folder.mkdir()
        for number in range(times):
            movie = folder / f"{number:03}.mrc"
            movie.write_bytes(header)
            os.truncate(movie, size)
        done = run_script(_MEASURE, tmp_path / "sensor.h5", folder)
        assert done.returncode == 0, done.stderr
        count, peak = map(int, done.stdout.split())
        assert count == times * length
        peaks.append(1024 * peak)
    state = 2 * pixels * (16 if dtype == "u2" else 32)
    assert max(peaks) <= state + 2 * 2 * frame.nbytes + 200e6
    # The short run may not have filled all the buffers of the readers.
    assert peaks[1] <= peaks[0] + 64 * 2**20
    print(f"state {state / 1e6:.0f} MB, peak {peaks[0] / 1e6:.0f}, {peaks[1] / 1e6:.0f} MB")


# --- only some of the frames, and how files are read


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"frames": "1:6:2"}, [(0, 1), (0, 3), (0, 5), (1, 1), (3, 1), (3, 3), (4, 1), (4, 3), (4, 5)]),
        ({"frames": "-2:"}, [(0, 5), (0, 6), (1, 0), (1, 1), (2, 0), (3, 2), (3, 3), (4, 4), (4, 5)]),
        ({"every": 4}, [(0, 0), (0, 4), (1, 1), (3, 2), (4, 2)]),
        ({"frames": "1:", "every": 3}, [(0, 1), (0, 4), (1, 1), (3, 3), (4, 3)]),
    ],
)
def test_selected_frames(
    tmp_path: Path, small_chunks: None, options: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    movies = np.split(frames_of(20, SHAPE, "u2"), [7, 9, 10, 14])
    files = [write_mrc(tmp_path / f"{i}.mrc", movie) for i, movie in enumerate(movies)]
    sensor = camnorm.measure(files, screen="off", **options)
    rows = [(int(Path(file).stem), index) for file, index in sensor.frames[["file", "index"]].tolist()]
    assert rows == expected
    # The files that are used are split.
    used = list(dict.fromkeys(file for file, _ in expected))
    halves = ["AB"[half_numbers(len(used))[used.index(file)]] for file, _ in expected]
    assert sensor.frames["half"].tolist() == halves
    for name, half in zip("AB", sensor.halves, strict=True):
        places = [place for place, its in zip(expected, halves, strict=True) if its == name]
        assert_holds(half, np.stack([movies[file][frame] for file, frame in places]))
    assert sensor.provenance["selection"] == {"frames": None, "every": 1, "max_frames": None, **options}


@pytest.mark.parametrize("write", [write_mrc, partial(write_tiff, compression="zstd")])
def test_random_frames(tmp_path: Path, write: Callable[[Path, np.ndarray], Path]) -> None:
    movies = frames_of(60, SHAPE, "u2").reshape(12, 5, *SHAPE)
    files = [write(tmp_path / f"{i:02d}.x", movie) for i, movie in enumerate(movies)]
    for most, a, b in ((7, 4, 3), (30, 15, 15), (59, 30, 29), (100, 30, 30)):
        sensor = camnorm.measure(files, max_frames=most, screen="off")
        assert sorted(half.count for half in sensor.halves) == sorted((a, b))
        places = [(int(Path(file).stem), index) for file, index in sensor.frames[["file", "index"]].tolist()]
        assert len(set(places)) == a + b
        assert_holds(sensor.moments, np.stack([movies[place] for place in places]))
        assert_same_sensor(sensor, camnorm.measure(files, max_frames=most, screen="off", threads=1))


@pytest.mark.parametrize("options", [{"every": 2}, {"frames": "::4"}, {"max_frames": 10}])
def test_halves_of_single_images_and_of_a_single_file(tmp_path: Path, options: dict[str, Any]) -> None:
    frames = frames_of(40, SHAPE, "u2")
    for inputs in (
        [write_mrc(tmp_path / f"{i}.mrc", frame[None]) for i, frame in enumerate(frames)],
        write_mrc(tmp_path / "all.mrc", frames),
    ):
        if "frames" in options and isinstance(inputs, list):
            continue  # of single images these are all
        sensor = camnorm.measure(inputs, screen="off", **options)
        half = 10 if "every" in options else 5
        assert [half.count for half in sensor.halves] == [half, half]
        assert sensor.frames["half"].tolist() == ["AB"[its] for its in half_numbers(2 * half)]


def test_screening_of_selected_frames(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 10, 8, SHAPE, "u2")
    write_mrc(files[4], np.concatenate([frames_of(3, SHAPE, "u2"), np.zeros((5, *SHAPE), "u2")]))
    sensor = camnorm.measure(files, frames="::3")
    assert [(name, index) for name, index, _ in rejected(sensor)] == [
        ("movie_004.mrc", 3),
        ("movie_004.mrc", 6),
    ]
    assert sensor.count == 28


def test_no_frame_that_was_selected(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 3, 4, SHAPE, "u2")
    with pytest.raises(
        Error, match=r"^no frame could be used: none of the files has frames that were selected$"
    ):
        camnorm.measure(files, tmp_path / "sensor.h5", frames="4:")
    assert temporary_files(tmp_path) == []


@pytest.mark.parametrize("options", [{"frames": "1::2"}, {"every": 3}, {"max_frames": 17}])
@pytest.mark.parametrize("call", [1, 3])
@pytest.mark.parametrize("count", [1, 6])
def test_interrupted_in_selected_frames(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    divide: Divide,
    resumed: list[tuple[int, int]],
    options: dict[str, Any],
    call: int,
    count: int,
) -> None:
    small_steps(divide, 2 * 286)
    files = write_movies(tmp_path / "in", count, 24 // count, SHAPE, "u2")
    cut(files[-1], files[-1].stat().st_size - 2 * 286)
    expected = camnorm.measure(files, **options)
    output = tmp_path / "sensor.h5"
    interrupted_run(files, output, monkeypatch, call, **options)
    sensor = camnorm.measure(files, output, **options)
    assert resumed[-1] > (0, 0)
    assert_same_sensor(sensor, expected)


@pytest.mark.filterwarnings("ignore:(mrc_mode0|dataset)=.* has no effect")
@pytest.mark.parametrize(
    "options",
    [
        {"frames": "0:"},
        {"every": 2},
        {"max_frames": 5},
        {"options": ReadOptions(mrc_mode0="unsigned")},
        {"options": ReadOptions(dataset="entry")},
    ],
)
def test_a_checkpoint_of_other_options_starts_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    divide: Divide,
    resumed: list[tuple[int, int]],
    options: dict[str, Any],
) -> None:
    files, output = interrupted_set(tmp_path, monkeypatch, divide)
    with pytest.warns(
        UserWarning, match=r"^starting again: .*checkpoint is of another selection of frames or"
    ):
        sensor = camnorm.measure(files, output, **options)
    assert resumed[-1] == (0, 0)
    assert_same_sensor(sensor, camnorm.measure(files, **options))


def test_more_files_to_choose_from_start_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, resumed: list[tuple[int, int]]
) -> None:
    small_steps(divide, 2 * 286)
    files = write_movies(tmp_path / "in", 6, 4, SHAPE, "u2")
    output = tmp_path / "sensor.h5"
    interrupted_run(files, output, monkeypatch, 3, max_frames=12)
    files.append(write_mrc(tmp_path / "new.mrc", frames_of(3, SHAPE, "u2", 9)))
    with pytest.warns(UserWarning, match="belongs to another set"):
        sensor = camnorm.measure(files, output, max_frames=12)
    assert_same_sensor(sensor, camnorm.measure(files, max_frames=12))


def test_checkpoint_of_a_version_without_selection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, resumed: list[tuple[int, int]]
) -> None:
    files, output = interrupted_set(tmp_path, monkeypatch, divide)
    with h5py.File(tmp_path / "sensor.h5.checkpoint", "r+") as f:
        del f.attrs["digest"], f["provenance"].attrs["selection"], f["provenance"].attrs["reading"]
    sensor = camnorm.measure(files, output)
    assert resumed == [(0, 0), (2, 2)]
    assert_same_sensor(sensor, camnorm.measure(files))


def test_counting_is_reported(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 6, 4, SHAPE, "u2")
    reports: list[Progress] = []
    camnorm.measure(files, max_frames=3, progress=reports.append)
    counting = [report for report in reports if report.stage == "counting"]
    assert [(report.done, report.total) for report in counting] == [(i, 6) for i in range(1, 7)]
    assert reports[: len(counting)] == counting


def test_how_files_are_read(tmp_path: Path) -> None:
    frames = frames_of(20, SHAPE, "u1").reshape(10, 2, *SHAPE)
    (tmp_path / "raw").mkdir()
    for i, movie in enumerate(frames):
        (tmp_path / f"raw/{i}").write_bytes(b"head" + movie.tobytes())
    options = ReadOptions(raw=RawLayout(SHAPE, np.dtype("u1"), 4))
    sensor = camnorm.measure(tmp_path / "raw", tmp_path / "sensor.h5", options=options)
    for half, its in zip(sensor.halves, in_halves(frames), strict=True):
        assert_holds(half, its.reshape(-1, *SHAPE))
    assert Sensor.load(tmp_path / "sensor.h5").options == options
    with h5py.File(tmp_path / "sensor.h5") as f:
        assert json.loads(f["provenance"].attrs["reading"])["raw"] == "13x11:|u1:4"


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(),
        ReadOptions("unsigned", "no", 12, 2, "entry/data", RawLayout((3, 4, 2), np.dtype(">f4"), 7)),
        ReadOptions(gain=Path("/gain.mrc"), defects=Path("/defects.txt")),
    ],
)
def test_options_of_reading_are_kept(tmp_path: Path, options: ReadOptions) -> None:
    sensor = camnorm.measure(write_movies(tmp_path / "in", 3, 4, SHAPE, "u2"))
    assert sensor.options == ReadOptions()
    sensor.provenance["reading"] = options.to_dict()
    sensor.save(tmp_path / "sensor.h5")
    assert Sensor.load(tmp_path / "sensor.h5").options == options
    del sensor.provenance["reading"], sensor.provenance["selection"]  # as in files of before
    sensor.save(tmp_path / "sensor.h5")
    assert Sensor.load(tmp_path / "sensor.h5").options == ReadOptions()


def test_gain_that_is_turned(tmp_path: Path) -> None:
    shape = (96, 96)
    rng = np.random.default_rng(2)
    sensitivity = rng.normal(1, 0.05, shape)
    for i in range(8):
        frames = rng.poisson(20 * sensitivity, (4, *shape)).astype("u2")
        write_mrc(tmp_path / f"{i}.mrc", frames)
    gain = write_mrc(tmp_path / "gain", (1 / sensitivity.T[np.newaxis]).astype("f4"))
    options = ReadOptions(gain=gain)
    advice = "rotated by 90 degrees and flipped left to right; use gain_rotate=1 and gain_flip=2$"
    with pytest.warns(UserWarning, match=f"this gain would fit the frames far better if it were {advice}"):
        sensor = camnorm.measure(tmp_path, options=options)
    assert sensor.dtype == np.float32
    assert sensor.options == replace(options, gain_operation="multiply")


# --- the mean of the first frames, and lists of frames, in a checkpoint


@pytest.mark.parametrize("call", [2, 5, 8, 11])
@pytest.mark.parametrize("count", [1, 6])
def test_drift_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, count: int, call: int
) -> None:
    small_steps(divide, 2 * 286)
    files = write_movies(tmp_path / "in", count, 24 // count, SHAPE, "u2")
    expected = camnorm.measure(files)
    output = tmp_path / "sensor.h5"
    interrupted_run(files, output, monkeypatch, call)
    with h5py.File(tmp_path / "sensor.h5.checkpoint") as f:
        read = f.attrs["frames_read"]
        places = [2, 3, 6, 12]  # 24 frames: a sixteenth of them, of whole frames, and so on
        assert [f[f"early_{i}"].shape for i in range(len(f.attrs["early"]))] == [SHAPE] * sum(
            read > place for place in places
        )
    sensor = camnorm.measure(files, output)
    assert_same_sensor(sensor, expected)
    assert sensor.provenance["drift"] == expected.provenance["drift"]
    assert sensor.provenance["drift"]["first"] == 12
    assert sensor.provenance["ratios"] == expected.provenance["ratios"]
    assert [part["first"] for part in sensor.provenance["ratios"]] == [2, 3, 6, 12]
    assert sensor.provenance["groups"] == expected.provenance["groups"]
    with h5py.File(output) as f:
        assert not [name for name in f if name.startswith("early")]


def test_a_list_of_frames_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide, resumed: list[tuple[int, int]]
) -> None:
    small_steps(divide, 2 * 286)
    files = write_movies(tmp_path / "in", 6, 4, SHAPE, "u2")
    listed, output = tmp_path / "frames.csv", tmp_path / "sensor.h5"
    rows = [f"{file},{index},accepted" for file in files for index in (0, 1, 3)]
    listed.write_text("\n".join(["file,index,status", *rows]))
    expected = camnorm.measure(frames_list=listed)
    interrupted_run(None, output, monkeypatch, 5, frames_list=listed)
    assert_same_sensor(camnorm.measure(frames_list=listed, output=output), expected)
    assert resumed[-1] > (0, 0)
    interrupted_run(None, output, monkeypatch, 5, frames_list=listed)
    output.unlink()
    listed.write_text("\n".join(["file,index,status", *rows[1:]]))
    with pytest.warns(
        UserWarning, match=r"^starting again: .*checkpoint is of another selection of frames or"
    ):
        assert camnorm.measure(frames_list=listed, output=output).count == 17
    assert resumed[-1] == (0, 0)


# --- mixed sets, group by group


def of_groups(sensors: Iterator[Sensor]) -> list[tuple[tuple[int, ...], str, int]]:
    return [(sensor.shape, sensor.dtype.name, sensor.count) for sensor in sensors]


def test_groups_of_shapes_and_types(tmp_path: Path) -> None:
    kinds = [(SHAPE, "u2")] * 4 + [((6, 5), "u2")] * 3 + [(SHAPE, "f4")] * 2 + [(SHAPE, "i2")]
    order = [4, 0, 7, 1, 5, 2, 9, 3, 8, 6]
    files = []
    for place, i in enumerate(order):
        files.append(write_mrc(tmp_path / f"{place}.mrc", frames_of(3, *kinds[i], seed=i)))
    (tmp_path / "5a.mrc").write_text("words")
    sensors = list(camnorm.measure_groups(tmp_path, tmp_path / "out.h5"))
    assert of_groups(iter(sensors)) == [
        ((6, 5), "uint16", 9),
        (SHAPE, "uint16", 12),
        (SHAPE, "float32", 6),
        (SHAPE, "int16", 3),
    ]
    assert rejected(sensors[0])[0][0] == "5a.mrc"
    assert sum(len(rejected(sensor)) for sensor in sensors) == 1
    for number, sensor in enumerate(sensors, start=1):
        assert_same_sensor(Sensor.load(tmp_path / f"out_{number}.h5"), sensor)
        assert len(sensor.provenance["groups"]) == 1
    assert not (tmp_path / "out.h5").exists()
    assert temporary_files(tmp_path) == []
    # What one measurement says of the same set.
    whole = camnorm.measure(tmp_path)
    told = {
        (tuple(group["shape"]), group["dtype"], group["files"], group["frames"])
        for group in whole.provenance["groups"]
    }
    assert told == {
        ((6, 5), "uint16", 3, 9),
        (SHAPE, "uint16", 4, 12),
        (SHAPE, "float32", 2, 6),
        (SHAPE, "int16", 1, 3),
    }
    mixed = {found.name: found for found in camnorm.screening.findings(whole)}["mixed"]
    assert mixed.flagged
    assert "4 files (12 frames) of 13 x 11 uint16; 3 files (9 frames) of 6 x 5 uint16; " in mixed.sentence


def test_groups_of_cameras(tmp_path: Path) -> None:
    for i in range(8):
        tags = [(271, "s", 0, "Acme", True), (272, "s", 0, f"X{i % 2 + 1}", True)]
        tifffile.imwrite(tmp_path / f"{i}.tif", frames_of(1, SHAPE, "u2", i)[0], extratags=tags)
    with camnorm.open_frames(tmp_path / "1.tif") as source:
        assert source.camera == "Acme X2"
    sensors = list(camnorm.measure_groups(tmp_path))
    assert [sensor.provenance["groups"][0]["camera"] for sensor in sensors] == ["Acme X1", "Acme X2"]
    assert [sensor.count for sensor in sensors] == [4, 4]
    found = {finding.name: finding for finding in camnorm.screening.findings(camnorm.measure(tmp_path))}
    assert "4 files (4 frames) of 13 x 11 uint16 by Acme X1; 4 files" in found["mixed"].sentence


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_groups_of_exposures(tmp_path: Path, dtype: str) -> None:
    frames = frames_of(90, SHAPE, dtype).reshape(30, 3, *SHAPE)
    late = np.arange(30) % 5 == 2
    frames[late] *= 2
    frames[7, 1] = 0  # blank
    frames[11, 0] *= 9  # an outlier
    for i, movie in enumerate(frames):
        write_mrc(tmp_path / f"{i:02d}.mrc", movie)
    with pytest.warns(
        UserWarning, match=r"1 of 90 frames are of no kind .*07\.mrc, frame 1: screened: blank"
    ):
        sensors = list(camnorm.measure_groups(tmp_path, tmp_path / "s.h5"))
    keep = np.ones((30, 3), bool)
    keep[[7, 11], [1, 0]] = False
    assert [sensor.count for sensor in sensors] == [(keep & group[:, None]).sum() for group in (~late, late)]
    for sensor, group in zip(sensors, (~late, late), strict=True):
        assert_holds(sensor.moments, frames[keep & group[:, None]])
        assert abs(sensor.halves[0].count - sensor.halves[1].count) <= 4
        assert not {f.name for f in camnorm.screening.findings(sensor) if f.flagged} & {"modes", "mixed"}
    assert {f.name for f in camnorm.screening.findings(camnorm.measure(tmp_path)) if f.flagged} >= {"modes"}
    assert temporary_files(tmp_path) == []


def test_one_group(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 4, 5, SHAPE, "u2")
    (sensor,) = camnorm.measure_groups(files, tmp_path / "s.h5")
    assert_same_sensor(sensor, camnorm.measure(files))
    assert [path.name for path in tmp_path.glob("s*")] == ["s_1.h5"]


def test_groups_of_nothing_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_text("words")
    with pytest.raises(Error, match="no frame could be used, 1 file rejected"):
        list(camnorm.measure_groups(tmp_path))
    with pytest.raises(FormatError, match=r"a\.mrc"):
        camnorm.measure_groups(tmp_path, strict=True)


def test_frames_of_no_group_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for i in range(60):
        frames = rng.poisson(50 if i < 30 else 200, (1, 32, 32)).astype("u2")
        write_mrc(tmp_path / f"{i:02}.mrc", frames)
    write_mrc(tmp_path / "blank.mrc", np.zeros((1, 32, 32), "u2"))
    with pytest.warns(
        UserWarning,
        match=r"^1 of 61 frames are of no kind that could be measured, the first: .*blank\.mrc, frame 0: ",
    ):
        sensors = list(camnorm.measure_groups(tmp_path))
    assert [sensor.count for sensor in sensors] == [30, 30]


def test_a_group_that_cannot_be_used_is_left_out(tmp_path: Path) -> None:
    good = frames_of(12, SHAPE, "f4")
    for i in range(6):
        write_mrc(tmp_path / f"a{i}.mrc", np.full((1, 5, 7), np.nan, "f4"))
    for i, frame in enumerate(good):
        write_mrc(tmp_path / f"b{i:02}.mrc", frame[None])
    with pytest.warns(
        UserWarning, match=r"a group of 6 files is left out: no frame could be used, 6 rejected"
    ):
        (sensor,) = camnorm.measure_groups(tmp_path, tmp_path / "s.h5")
    assert_holds(sensor.moments, good)
    assert [path.name for path in tmp_path.glob("s*")] == ["s_1.h5"]
    with pytest.raises(FormatError, match=r"a0\.mrc"):
        list(camnorm.measure_groups(tmp_path, strict=True))


def test_another_file_in_the_place_of_a_group_is_found_before_it_is_measured(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 4, 5, SHAPE, "u2")
    (tmp_path / "s_1.h5").write_text("mine")
    with pytest.raises(FormatError, match=r"s_1\.h5"):
        next(iter(camnorm.measure_groups(files, tmp_path / "s.h5", progress=lambda _: pytest.fail("begun"))))
    assert (tmp_path / "s_1.h5").read_text() == "mine"
