"""Damaged virtual datasets of HDF5, which crash the library or keep it busy, in this process never."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from camnorm.errors import FormatError
from camnorm.io import expand_inputs, open_frames
from camnorm.io.base import hdf5guard as guard
from camnorm.io.base import hdf5helper
from damage import read_each

REFUSED = "damaged: HDF5 crashes or does not end when it opens data"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    hdf5helper.bearable.cache_clear()


def write_virtual(folder: Path, **options: Any) -> tuple[Path, np.ndarray]:
    """A file of frames that lie in three others."""
    frames = np.arange(1, 12 * 8 * 8 + 1, dtype=np.uint16).reshape(12, 8, 8)
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    for number in range(3):
        part = frames[4 * number : 4 * number + 4]
        with h5py.File(folder / f"p{number}.h5", "w") as file:
            file["d"] = part
        layout[4 * number : 4 * number + 4] = h5py.VirtualSource(f"p{number}.h5", "d", part.shape)
    with h5py.File(folder / "all.h5", "w", **options) as file:
        file.create_virtual_dataset("data", layout)
    return folder / "all.h5", frames


def requests(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], bool] | None = None) -> list[list[str]]:
    """What the other process is asked from now on; answered by it unless there is an answer."""
    asked: list[list[str]] = []
    bears = hdf5helper.helper.bears

    def note(request: list[str]) -> bool:
        asked.append(request)
        return bears(request) if answer is None else answer()

    monkeypatch.setattr(hdf5helper.helper, "bears", note)
    return asked


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 512])
def test_virtual_datasets_are_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libver: str, userblock: int
) -> None:
    path, frames = write_virtual(tmp_path, libver=libver, userblock_size=userblock)
    asked = requests(monkeypatch)
    for _ in range(2):
        with open_frames(path) as source:
            np.testing.assert_array_equal(source.read(0, 12), frames)
    assert asked == [[str(path), "/data", None, False]]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_others_are_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libver: str) -> None:
    frames = np.ones((3, 6, 8), np.uint8)
    with h5py.File(tmp_path / "far.h5", "w", libver=libver) as file:
        file.create_dataset("x/y", data=frames, chunks=(1, 6, 8))
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        for number in range(30):  # so that the header goes on elsewhere
            file.attrs[f"text{number}"] = "words"
        file["some/group/data"] = frames
        for number in range(30):
            file["some/group/data"].attrs[f"text{number}"] = "words"
        file["soft"] = h5py.SoftLink("/some/group/data")
        file["far"] = h5py.ExternalLink("far.h5", "/x/y")
    asked = requests(monkeypatch)
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("some/group/data", "/some/group/data", "soft", "far", "some/./group/data"):
            found = guard.open_object(tmp_path / "a.h5", file, name, False)
            np.testing.assert_array_equal(found, frames)
        assert guard.open_object(tmp_path / "a.h5", file, "/", False) == file["/"]
        for name in ("none", "some/none", "some/group/data/x"):
            with pytest.raises(KeyError):
                guard.open_object(tmp_path / "a.h5", file, name, False)
    assert asked == []


def test_links_in_circles(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
        file["c"] = h5py.ExternalLink("a.h5", "/c")
        for name in "ac":
            with pytest.raises((KeyError, OSError)):
                guard.open_object(tmp_path / "a.h5", file, name, False)


def test_one_behind_a_link_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, frames = write_virtual(tmp_path)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["far"] = h5py.ExternalLink(path.name, "/data")
    asked = requests(monkeypatch)
    with open_frames(tmp_path / "link.h5") as source:
        np.testing.assert_array_equal(source.read(0, 12), frames)
    assert asked == [[str(path), "/data", None, False]]


def test_what_cannot_be_borne_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = write_virtual(tmp_path)
    requests(monkeypatch, lambda: False)
    with pytest.raises(FormatError, match=REFUSED):
        open_frames(path)
    assert path in {file.path for file in expand_inputs(tmp_path)}


def test_a_process_that_ends_and_one_that_does_not(tmp_path: Path) -> None:
    path, _ = write_virtual(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # to open it is to wait for ever
    helper = hdf5helper.Helper()
    try:
        assert helper.bears([str(path), "/data"])
        process = helper._process
        assert process is not None
        process.kill()  # by nothing that it was asked
        process.wait()
        assert helper.bears([str(path), "/data"])
        assert helper._process is not process
        helper.seconds = 0.5
        assert not helper.bears([str(tmp_path / "pipe"), "/data"])
        assert helper._process is None
        helper.seconds = 60
        assert helper.bears([str(path), "/data"])
    finally:
        helper.end()


def test_no_python_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, frames = write_virtual(tmp_path)
    monkeypatch.setattr(hdf5helper, "helper", hdf5helper.Helper())
    monkeypatch.setattr("sys.executable", "")
    with open_frames(path) as source:
        np.testing.assert_array_equal(source.read(0, 12), frames)


@pytest.mark.slow
def test_damaged_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of the global heap, some of which crash the library, and two of which keep it busy."""
    path, frames = write_virtual(tmp_path)
    data = path.read_bytes()
    heap = data.index(b"GCOL")
    random_ = random.Random(0)
    changes = [(82, 255), (154, 127), (156, 169), (228, 128), (35, 128), (272, 128)]
    changes += [(random_.randrange(300), random_.choice([1, 127, 128, 255])) for _ in range(15)]
    for place, value in changes:
        damaged = bytearray(data)
        damaged[heap + place] = value
        path.write_bytes(damaged)
        monkeypatch.setattr(hdf5helper.helper, "seconds", 1.0)
        results = read_each(path)
        if not isinstance(results[0], FormatError):
            assert all(
                np.array_equal(result[0], frame) for result, frame in zip(results, frames, strict=True)
            )


def write_nexus(path: Path, libver: str, attributes: int = 0) -> np.ndarray:
    """A file whose strings lie in a heap, as they do by default; with more attributes."""
    frames = np.arange(1, 2 * 8 * 8 + 1, dtype=np.uint16).reshape(2, 8, 8)
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["default"] = "entry"
        group = file.create_group("entry")
        group.attrs.update({f"more{i}": "text" for i in range(attributes)})
        group.attrs["signal"] = "images"
        group["images"] = frames
        group["others"] = frames
    return frames


@pytest.mark.parametrize("attributes", [0, 20])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_strings_are_read_without_a_trial_where_their_heap_is_seen_to_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libver: str, attributes: int
) -> None:
    asked = requests(monkeypatch)
    frames = write_nexus(tmp_path / "a.h5", libver, attributes)
    with open_frames(tmp_path / "a.h5") as source:
        np.testing.assert_array_equal(source.read(0, 2), frames)
    # Where there are many attributes, later versions of the format keep them elsewhere.
    tried = [[str(tmp_path / "a.h5"), "/entry", "signal", False]] if libver == "latest" and attributes else []
    assert asked == tried


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_heaps_of_strings_that_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libver: str
) -> None:
    """Each byte of the heads of the heap and of its objects; some kept the library busy for ever."""
    path = tmp_path / "a.h5"
    frames = write_nexus(path, libver)
    data = path.read_bytes()
    heap = data.index(b"GCOL")
    monkeypatch.setattr(hdf5helper.helper, "seconds", 1.0)
    refused = 0
    for place in (*range(16), *range(16, 32), *range(40, 56)):
        damaged = bytearray(data)
        damaged[heap + place] ^= 0x81
        path.write_bytes(damaged)
        for result, frame in zip(read_each(path), frames, strict=False):
            if isinstance(result, FormatError):
                refused += "damaged: HDF5 crashes or does not end when it reads" in str(result)
            else:
                np.testing.assert_array_equal(result[0], frame)
    assert refused > 8


def test_a_string_in_a_heap_that_another_process_does_not_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nexus(tmp_path / "a.h5", "latest", attributes=20)
    requests(monkeypatch, answer=lambda: False)
    with pytest.raises(FormatError, match="does not end when it reads signal"):
        open_frames(tmp_path / "a.h5")
