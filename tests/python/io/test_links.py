"""Files that name other files: only those in their folder or below are read, and never a pipe or a device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import camnorm
from camnorm import Error, FormatError, ReadOptions
from camnorm.io import open_frames
from camnorm.io.base import hdf5helper
from image_sets import frames_of, rejected, write_mrc

SHAPE = (13, 11)
FRAMES = frames_of(3, SHAPE, "u2")
FOLLOW = ReadOptions(follow_links=True)


def write_h5(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["data"] = FRAMES
    return path


def by_link(path: Path, target: str) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink(target, "data")


def by_default(path: Path, target: str) -> None:
    with h5py.File(path, "w") as file:
        file["entry/link"] = h5py.ExternalLink(target, "/")
        file["entry"].attrs["signal"] = "link/data"
        file.attrs["default"] = "entry"


def by_source(path: Path, target: str) -> None:
    layout = h5py.VirtualLayout(FRAMES.shape, "u2")
    layout[...] = h5py.VirtualSource(target, "data", FRAMES.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)


def by_source_without_end(path: Path, target: str) -> None:
    """To ask for its shape is to open the source."""
    layout = h5py.VirtualLayout(FRAMES.shape, "u2", maxshape=(None, *SHAPE))
    source = h5py.VirtualSource(target, "data", FRAMES.shape, maxshape=(None, *SHAPE))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    with h5py.File(path, "w", libver="latest") as file:
        file.create_virtual_dataset("data", layout)


def by_source_of_source(path: Path, target: str) -> None:
    by_source(path.with_name("between.h5"), target)
    by_source(path, "between.h5")


def by_bare_file(path: Path, target: str) -> None:
    with h5py.File(path, "w") as file:
        parts = [(target, 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("data", FRAMES.shape, "u2", external=parts)


WAYS = [by_link, by_default, by_source, by_source_without_end, by_source_of_source]


def read(path: Path, options: ReadOptions = ReadOptions()) -> np.ndarray:  # noqa: B008
    with open_frames(path, options) as source:
        return source.read(0, source.count)


@pytest.fixture(params=WAYS)
def write(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    hdf5helper.bearable.cache_clear()
    way: Callable[[Path, str], None] = request.param
    return way


@pytest.mark.parametrize("name", ["part.h5", "below/part.h5", "below/../part.h5", "./part.h5"])
def test_files_of_the_folder_are_read(tmp_path: Path, write: Callable[..., None], name: str) -> None:
    (tmp_path / "below").mkdir()
    write_h5(tmp_path / name)
    write(tmp_path / "a.h5", name)
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), FRAMES)
    write(tmp_path / "a.h5", str(tmp_path / name))
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), FRAMES)


def test_a_link_to_the_master_file_reads_what_lies_beside_the_latter(tmp_path: Path) -> None:
    write_h5(tmp_path / "archive/part.h5")
    by_link(tmp_path / "archive/master.h5", "part.h5")
    (tmp_path / "session").mkdir()
    (tmp_path / "session/master.h5").symlink_to(tmp_path / "archive/master.h5")
    np.testing.assert_array_equal(read(tmp_path / "session/master.h5"), FRAMES)


@pytest.mark.parametrize("how", ["absolute", "upwards", "link", "folder"])
def test_files_elsewhere_are_refused_unless_they_are_asked_for(
    tmp_path: Path, write: Callable[..., None], how: str
) -> None:
    other = write_h5(tmp_path / "elsewhere/part.h5")
    folder = tmp_path / "in"
    folder.mkdir()
    name = {
        "absolute": str(other),
        "upwards": "../elsewhere/part.h5",
        "link": "part.h5",
        "folder": "f/part.h5",
    }
    (folder / "part.h5").symlink_to(other)
    (folder / "f").symlink_to(other.parent)
    write(folder / "a.h5", name[how])
    refused = r"links to \S*part\.h5, which is outside its folder; use --follow-links \(follow_links=True\)"
    with pytest.raises(FormatError, match=refused):
        open_frames(folder / "a.h5")
    np.testing.assert_array_equal(read(folder / "a.h5", FOLLOW), FRAMES)


@pytest.mark.parametrize("options", [ReadOptions(), FOLLOW])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_never_opened(
    tmp_path: Path, write: Callable[..., None], kind: str, options: ReadOptions
) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it is to wait for ever
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "a.h5", kind)
    with pytest.raises(FormatError, match=rf"links to \S*{kind}, which is not a regular file"):
        open_frames(tmp_path / "a.h5", options)


def test_pixels_in_bare_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for name in ("part.raw", "../part.raw"):
        FRAMES.tofile(name)
        by_bare_file(Path("a.h5"), name)
        if name == "part.raw":
            np.testing.assert_array_equal(read(Path("a.h5")), FRAMES)
        else:
            with pytest.raises(
                FormatError, match=r"part\.raw, which is outside its folder; use --follow-links"
            ):
                open_frames("a.h5")
        np.testing.assert_array_equal(read(Path("a.h5"), FOLLOW), FRAMES)
    os.mkfifo("pipe")
    for name in ("pipe", "/dev/zero"):
        by_bare_file(Path("a.h5"), name)
        with pytest.raises(FormatError, match=f"links to {name}, which is not a regular file"):
            open_frames("a.h5", FOLLOW)


def test_a_series_of_files_is_refused_before_one_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe0")
    one, unlimited = (1, *SHAPE), h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple(one, (unlimited, *SHAPE))
    space.select_hyperslab((0, 0, 0), (unlimited, 1, 1), one, one)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(space, b"pipe%b", b"data", h5py.h5s.create_simple(one))
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"data", h5py.h5t.STD_U16LE, space, properties)
    with pytest.raises(FormatError, match=r"virtual dataset over a series of files \(pipe%b\) is not supp"):
        open_frames(tmp_path / "a.h5")


def test_the_rest_of_the_set_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    by_link(folder / "a.h5", str(write_h5(tmp_path / "part.h5")))
    os.mkfifo(folder / "pipe")
    by_link(folder / "b.h5", "pipe")
    write_mrc(folder / "c.mrc", FRAMES)
    write_mrc(folder / "d.mrc", FRAMES + 1)
    sensor = camnorm.measure(folder, tmp_path / "s.h5", screen="off")
    assert [(name, index) for name, index, _ in rejected(sensor)] == [("a.h5", -1), ("b.h5", -1)]
    assert sensor.count == 6
    sensor = camnorm.measure(folder, screen="off", options=FOLLOW)
    assert [(name, index) for name, index, _ in rejected(sensor)] == [("b.h5", -1)]
    assert sensor.count == 9
    assert sensor.options.follow_links


def test_sensor_files_of_before(tmp_path: Path) -> None:
    """They do not tell of the option, and go together with those that do."""
    write_mrc(tmp_path / "a.mrc", FRAMES)
    camnorm.measure(tmp_path / "a.mrc", tmp_path / "old.h5", screen="off")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        del file.attrs["digest"]
        reading = json.loads(file["provenance"].attrs["reading"])
        assert reading.pop("follow_links") is False
        file["provenance"].attrs["reading"] = json.dumps(reading)
    old = camnorm.Sensor.load(tmp_path / "old.h5")
    assert old.options == ReadOptions()
    write_mrc(tmp_path / "b.mrc", FRAMES + 1)
    new = camnorm.measure(tmp_path / "b.mrc", screen="off", options=FOLLOW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert old.merge(new).count == 6


def test_the_option_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_mrc(tmp_path / "in/a.mrc", FRAMES + 1)
    by_link(tmp_path / "in/b.h5", str(write_h5(tmp_path / "part.h5")))
    command = [sys.executable, "-m", "camnorm", "measure", "in", "--screen", "off", "--json", "-q"]
    for option, accepted in ([], 3), (["--follow-links"], 6):
        output = ["-o", f"{accepted}.h5"]
        result = subprocess.run([*command, *output, *option], cwd=tmp_path, capture_output=True, check=True)
        told = json.loads(result.stdout)
        assert told["accepted"] == accepted
        assert told["reading"]["follow_links"] == bool(option)


# --- Zarr


def write_zarr(path: Path, version: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = zarr.open_array(str(path), mode="w", shape=FRAMES.shape, chunks=(1, *SHAPE), dtype="u2",
                            zarr_format=version)  # fmt: skip
    array[:] = FRAMES
    return path


def write_ome(path: Path, place: str) -> Path:
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    images = [{"version": "0.4", "axes": [{"name": name} for name in "tyx"], "datasets": [{"path": place}]}]
    (path / ".zattrs").write_text(json.dumps({"multiscales": images}))
    return path


ELSEWHERE = (
    r"a\.zarr: links to \S*{}, which is outside this directory; use --follow-links \(follow_links=True\)"
)


@pytest.mark.parametrize("absolute", [False, True])
def test_an_array_outside_of_the_store(tmp_path: Path, absolute: bool) -> None:
    other = write_zarr(tmp_path / "out.zarr")
    store = write_ome(tmp_path / "a.zarr", str(other) if absolute else "../out.zarr")
    with pytest.raises(FormatError, match=ELSEWHERE.format(r"out\.zarr")):
        open_frames(store)
    np.testing.assert_array_equal(read(store, FOLLOW), FRAMES)
    store = write_ome(tmp_path / "b.zarr", "0/../0")
    write_zarr(store / "0")
    np.testing.assert_array_equal(read(store), FRAMES)


@pytest.mark.parametrize("name", ["../out.zarr", "{}/out.zarr", "x/../../out.zarr", "link"])
def test_an_array_that_the_user_names(tmp_path: Path, name: str) -> None:
    other = write_zarr(tmp_path / "out.zarr")
    store = tmp_path / "a.zarr"
    write_zarr(store / "x")
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    (store / "link").symlink_to(other)
    name = name.format(tmp_path)
    with pytest.raises(FormatError, match=ELSEWHERE.format(r"(out\.zarr|link)")):
        open_frames(store, ReadOptions(dataset=name))
    np.testing.assert_array_equal(read(store, ReadOptions(dataset=name, follow_links=True)), FRAMES)
    np.testing.assert_array_equal(read(store, ReadOptions(dataset="x")), FRAMES)


def test_chunks_outside_of_the_store(tmp_path: Path) -> None:
    other = write_zarr(tmp_path / "out.zarr")
    store = write_zarr(tmp_path / "a.zarr")
    (store / "1.0.0").unlink()
    (store / "1.0.0").symlink_to(other / "1.0.0")
    with open_frames(store) as source:
        np.testing.assert_array_equal(source.read(0)[0], FRAMES[0])
        with pytest.raises(FormatError, match=ELSEWHERE.format(r"1\.0\.0")):
            source.read(1)
    np.testing.assert_array_equal(read(store, FOLLOW), FRAMES)
    (store / "1.0.0").unlink()
    os.mkfifo(store / "1.0.0")
    with open_frames(store, FOLLOW) as source, pytest.raises(FormatError, match="not a regular file"):
        source.read(1)


def test_a_folder_of_chunks_outside_of_the_store(tmp_path: Path) -> None:
    other = write_zarr(tmp_path / "out.zarr", 3)
    store = write_zarr(tmp_path / "a.zarr", 3)
    (store / "c").rename(store / "gone")
    (store / "c").symlink_to(other / "c")
    with open_frames(store) as source, pytest.raises(FormatError, match=ELSEWHERE.format("c/0/0")):
        source.read(0)
    np.testing.assert_array_equal(read(store, FOLLOW), FRAMES)


# --- others


def test_defects_and_sensors_in_pipes(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", FRAMES)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Error, match="pipe: not a regular file"):
        open_frames(path, ReadOptions(defects=tmp_path / "pipe"))
    with pytest.raises(FormatError, match="pipe: not a camnorm sensor file: no regular file"):
        camnorm.Sensor.load(tmp_path / "pipe")


def test_the_first_file_of_a_recording_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "rec_001.tvips").write_bytes(bytes(1000))
    os.mkfifo(tmp_path / "rec_000.tvips")
    with pytest.raises(FormatError, match=r"rec_001\.tvips: links to \S*_000\.tvips, which is not a regular"):
        open_frames(tmp_path / "rec_001.tvips")
