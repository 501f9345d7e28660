"""Row order: MRC has the bottom row first, TIFF and DM the top row; all are read the same way up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import camnorm
from camnorm import FormatError, ReadOptions, Sensor
from camnorm.io import create_writer, open_frames
from image_sets import assert_same_moments, frames_of, write_mrc, write_npy, write_tiff

SHAPE = (13, 11)
DIFFERS = "the row order differs: {} files have the bottom row first .as MRC., {} the top row .as TIFF."


def upright(frames: np.ndarray, path: Path) -> np.ndarray:
    """Frames, of which the first row is at the top, as the format of a file has them."""
    return frames[..., ::-1, :] if path.suffix == ".mrc" else frames


def write(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return (write_mrc if path.suffix == ".mrc" else write_tiff)(path, upright(frames, path))


def read(path: Path) -> np.ndarray:
    """Frames with the top row first, by other programs' libraries."""
    return upright(mrcfile.read(path) if path.suffix == ".mrc" else tifffile.imread(path), path)


@pytest.fixture
def movies() -> np.ndarray:
    return frames_of(24, SHAPE, "u2").reshape(6, 4, *SHAPE)


@pytest.fixture
def top(tmp_path: Path, movies: np.ndarray) -> Sensor:
    return camnorm.measure([write(tmp_path / f"top/m{i}.tif", m) for i, m in enumerate(movies)], screen="off")


@pytest.fixture
def bottom(tmp_path: Path, movies: np.ndarray) -> Sensor:
    files = [write(tmp_path / f"bottom/m{i}.mrc", m) for i, m in enumerate(movies)]
    return camnorm.measure(files, screen="off")


# --- sources


@pytest.mark.parametrize(("name", "order"), [("a.mrc", "bottom"), ("a.tif", "top"), ("a.npy", None)])
@pytest.mark.parametrize("wanted", ["bottom", "top", None])
def test_frames_are_read_in_the_wanted_order(tmp_path: Path, name: str, order: Any, wanted: Any) -> None:
    frames = frames_of(5, SHAPE, "u2")
    path = tmp_path / name
    {"mrc": write_mrc, "tif": write_tiff, "npy": write_npy}[name[-3:]](path, frames)
    with open_frames(path) as source:
        assert source.row_order == order
    flipped = {order, wanted} == {"bottom", "top"}
    with open_frames(path, ReadOptions(row_order=wanted)) as source:
        assert source.row_order == (wanted if flipped else order)
        assert source.origin.row_order == order
        expected = frames[:, ::-1] if flipped else frames
        np.testing.assert_array_equal(source.read(1, 4), expected[1:4])
        view = source.view(0, 5)
        assert view[0].flags.c_contiguous
        np.testing.assert_array_equal(view, expected)


def test_a_row_order_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="row_order must be 'bottom' or 'top', not 'left'"):
        ReadOptions(row_order="left")  # type: ignore[arg-type]


def test_a_truncated_file_with_flipped_rows(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", frames_of(3, SHAPE, "u2"))
    path.write_bytes(path.read_bytes()[:-10])
    with open_frames(path, ReadOptions(row_order="top")) as source:
        assert (source.count, source.available) == (3, 2)
        source.read(0, 2)
        with pytest.raises(FormatError, match=r"frame 2, .*: truncated"):
            source.read(2)


def test_gain_and_defects_of_flipped_frames(tmp_path: Path) -> None:
    """They go with the frames, whichever way up these are read."""
    frames = frames_of(4, SHAPE, "u2")
    gain = np.random.default_rng(1).uniform(0.5, 2, SHAPE).astype("f4")
    defects = tmp_path / "d.txt"
    defects.write_text("3 0 2 1\n")  # x y width height, from the bottom
    values = []
    for name in ("m.mrc", "m.tif"):
        for reference in (write(tmp_path / "g.mrc", gain[None]), write(tmp_path / "g.tif", gain[None])):
            options = ReadOptions(gain=reference, defects=defects, row_order="top")
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*: turned upside down, as other programs do")
                with open_frames(write(tmp_path / name, frames), options) as source:
                    values.append(source.read(0, 4))
    good = np.ones(SHAPE, bool)
    good[-1, 3:5] = False
    np.testing.assert_allclose(values[0][:, good], (frames * gain.astype(float))[:, good], rtol=1e-6)
    for other in values[1:]:
        np.testing.assert_array_equal(other, values[0])


# --- measurements


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(in_mrc=st.lists(st.booleans(), min_size=6, max_size=6), response=st.booleans())
def test_any_split_over_both_formats_gives_the_same_moments(
    tmp_path: Path, movies: np.ndarray, in_mrc: list[bool], response: bool
) -> None:
    shutil.rmtree(tmp_path / "set", ignore_errors=True)
    files = [
        write(tmp_path / f"set/m{i}.{'mrc' if mrc else 'tif'}", movie)
        for i, (mrc, movie) in enumerate(zip(in_mrc, movies, strict=True))
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sensor = camnorm.measure(files, screen="off", response=response)
    assert len(caught) == (0 < sum(in_mrc) < 6)
    assert sensor.row_order == ("bottom" if all(in_mrc) else "top")
    stacks = [write(tmp_path / f"one/m{i}.tif", movie) for i, movie in enumerate(movies)]
    expected = camnorm.measure(stacks, screen="off", response=response)
    found = sensor.flipped() if all(in_mrc) else sensor
    for one, other in zip(found.halves, expected.halves, strict=True):
        assert_same_moments(one, other)
    for one, other in zip(found.responses or (), expected.responses or (), strict=True):
        assert_same_moments(one, other)


def test_a_mixed_set_is_reported_and_keeps_its_row_order(tmp_path: Path, movies: np.ndarray) -> None:
    for i, movie in enumerate(movies):
        write(tmp_path / f"in/m{i}.{'mrc' if i < 2 else 'tif'}", movie)
    with pytest.warns(UserWarning, match=DIFFERS.format(2, 4)):
        sensor = camnorm.measure(tmp_path / "in", tmp_path / "s.h5", screen="off")
    np.testing.assert_allclose(sensor.mean, movies.reshape(-1, *SHAPE).mean(0), rtol=1e-15)
    assert Sensor.load(tmp_path / "s.h5").row_order == "top"
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["provenance"].attrs["row_order"] == "top"
    with pytest.warns(UserWarning, match=DIFFERS.format(2, 4)):
        groups = list(camnorm.measure_groups(tmp_path / "in", screen="off"))
    assert [group.row_order for group in groups] == ["top"]
    for one, other in zip(groups[0].halves, sensor.halves, strict=True):
        assert_same_moments(one, other)


def test_files_that_do_not_fit_do_not_count(tmp_path: Path, movies: np.ndarray) -> None:
    for i, movie in enumerate(movies):
        write(tmp_path / f"in/m{i}.mrc", movie)
    write(tmp_path / "in/gain.tif", frames_of(1, SHAPE, "f4"))
    write(tmp_path / "in/other.tif", frames_of(1, (9, 9), "u2"))
    sensor = camnorm.measure(tmp_path / "in", screen="off")
    assert sensor.row_order == "bottom"
    assert sensor.count == 24


def test_the_content_of_a_file_counts_not_its_name(tmp_path: Path, movies: np.ndarray) -> None:
    for i, movie in enumerate(movies[:4]):
        write(tmp_path / f"in/m{i}.tif", movie)
    (tmp_path / "in/m1.tif").rename(tmp_path / "in/m1.mrc")
    sensor = camnorm.measure(tmp_path / "in", screen="off")
    assert sensor.row_order == "top"
    np.testing.assert_allclose(sensor.mean, movies[:4].reshape(-1, *SHAPE).mean(0), rtol=1e-15)


def test_formats_without_a_convention_go_with_any(tmp_path: Path, movies: np.ndarray) -> None:
    files = [write_npy(tmp_path / "a.npy", movies[0]), write_mrc(tmp_path / "b.mrc", movies[1])]
    sensor = camnorm.measure(files, screen="off")
    assert sensor.row_order == "bottom"
    np.testing.assert_allclose(sensor.mean, movies[:2].reshape(-1, *SHAPE).mean(0), rtol=1e-15)
    assert camnorm.measure(files[0], screen="off").row_order is None


# --- sensor files


def test_sensor_files_written_before_row_order_was_kept(tmp_path: Path, bottom: Sensor) -> None:
    del bottom.provenance["row_order"]
    bottom.save(tmp_path / "s.h5")
    assert Sensor.load(tmp_path / "s.h5").row_order == "bottom"  # its files are all called .mrc
    bottom.provenance["files"]["path"][0] = bottom.frames["file"][:4] = "m.tif"
    bottom.save(tmp_path / "t.h5")
    assert Sensor.load(tmp_path / "t.h5").row_order is None


def test_damaged_row_order(tmp_path: Path, bottom: Sensor) -> None:
    bottom.save(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["provenance"].attrs["row_order"] = "left"
    with pytest.raises(FormatError, match="row_order is neither bottom nor top"):
        Sensor.load(tmp_path / "s.h5")


def test_merge_and_subtract_flip_the_second(top: Sensor, bottom: Sensor) -> None:
    said = (
        "the second measurement has the {} row first, this one the {} row: the rows of the second are flipped"
    )
    with pytest.warns(UserWarning, match=said.format("bottom", "top")):
        both = top.merge(bottom)
    assert both.row_order == "top"
    np.testing.assert_allclose(both.mean, top.mean, rtol=1e-15)
    with pytest.warns(UserWarning, match=said.format("bottom", "top")):
        again = both.subtract(bottom)
    for one, other in zip(again.halves, top.halves, strict=True):
        assert_same_moments(one, other)
    with pytest.warns(UserWarning, match=said.format("top", "bottom")):
        assert bottom.merge(top).row_order == "bottom"


def test_flipped_twice_is_the_same(top: Sensor) -> None:
    np.testing.assert_array_equal(top.flipped().mean, top.mean[::-1])
    for one, other in zip(top.flipped().flipped().halves, top.halves, strict=True):
        assert_same_moments(one, other)


# --- correction, verification, ring correlation


@pytest.mark.filterwarnings("ignore:rows are turned upside down between MRC and TIFF")
@pytest.mark.parametrize("measured", ["top", "bottom"])
@pytest.mark.parametrize("name", ["a.mrc", "a.tif"])
@pytest.mark.parametrize("wanted", ["same", "mrc", "tiff"])
@pytest.mark.parametrize("sum_frames", [False, True])
def test_corrected_files_show_the_picture_of_their_input(
    tmp_path: Path, request: pytest.FixtureRequest, measured: str, name: str, wanted: Any, sum_frames: bool
) -> None:
    sensor: Sensor = request.getfixturevalue(measured)
    frames = frames_of(6, SHAPE, "u2", seed=3)
    path = write(tmp_path / name, frames)
    (target,) = camnorm.correct(path, sensor, tmp_path / "out", format=wanted, sum_frames=sum_frames)
    upright = sensor.flipped() if measured == "bottom" else sensor
    expected = upright.correction().apply(frames, dtype="float64")
    expected = expected.sum(0, keepdims=True) if sum_frames else expected
    np.testing.assert_allclose(read(target).reshape(expected.shape), expected, rtol=1e-6)
    (manifest,) = camnorm.correct(path, sensor, tmp_path / "virtual", virtual=True)
    (same,) = camnorm.correct(path, sensor, tmp_path / "same")
    with open_frames(manifest) as virtual, open_frames(same) as plain:
        assert virtual.row_order == plain.row_order
        np.testing.assert_array_equal(virtual.read(0, 6), plain.read(0, 6))


def test_verify_subtracts_test_frames_the_right_way_up(tmp_path: Path) -> None:
    g = np.random.default_rng(0).normal(1, 0.2, (64, 64)).clip(0.3, 2)
    rng = np.random.default_rng(1)
    for i in range(24):
        frames = rng.poisson(50 * g, (4, 64, 64)).astype("u2")
        write(tmp_path / f"in/m{i:02}.tif", frames)
        write(tmp_path / f"again/m{i:02}.mrc", frames)
    sensor = camnorm.measure(tmp_path / "in", screen="off")
    same = camnorm.verify(tmp_path / "in", sensor, group=4)
    found = camnorm.verify(tmp_path / "again", sensor, group=4)
    # The test frames were found in the set, and taken out.
    assert sum(found.statistics) == sum(same.statistics) == 96 - 8
    assert same.independent
    assert found.independent


def test_frc_of_both_formats(tmp_path: Path) -> None:
    frames = frames_of(1, (32, 32), "u2")
    a, b = write(tmp_path / "a.mrc", frames), write(tmp_path / "b.tif", frames)
    command = [sys.executable, "-m", "camnorm", "frc", str(a), str(b), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a.mrc has its bottom row first, b.tif its top row: the rows of b.tif are flipped" in done.stderr
    correlation = np.array(json.loads(done.stdout)["curves"][0]["correlation"][1:], float)
    np.testing.assert_allclose(correlation, 1, atol=1e-6)


def test_writers_flip_by_the_order_of_what_they_are_given(tmp_path: Path) -> None:
    frames = frames_of(3, SHAPE, "u2")
    path = write(tmp_path / "a.mrc", frames)
    with (
        open_frames(path, ReadOptions(row_order="top")) as source,
        create_writer(tmp_path / "b.mrc", source, np.uint16, count=3, label="x") as writer,
    ):
        writer.write(source.read(0, 3))
    np.testing.assert_array_equal(read(tmp_path / "b.mrc"), frames)
