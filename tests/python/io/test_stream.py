"""The ordered, bounded, parallel reader."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile

from camnorm.errors import FormatError
from camnorm.io import Chunk, Failure, FrameSource, ReadOptions, open_frames, stream_frames
from camnorm.io.base import stream
from image_sets import Divide

SHAPE = (8, 12)


def frame_of(file: int, frame: int) -> np.ndarray:
    return np.full(SHAPE, 100 * file + frame, np.uint16) + np.arange(SHAPE[1], dtype=np.uint16)


def write(path: Path, file: int, count: int) -> Path:
    frames = np.stack([frame_of(file, frame) for frame in range(count)])
    if path.suffix == ".mrc":
        mrcfile.write(path, frames)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, frames, photometric="minisblack", compression="zstd")
    elif path.suffix == ".npy":
        np.save(path, frames)
    else:
        path.write_bytes(imagecodecs.png_encode(frames[0]))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files of several formats with 5, 1, 7, 1, 1, 3 frames."""
    names = [("a.mrc", 5), ("b.png", 1), ("c.tif", 7), ("d.png", 1), ("e.png", 1), ("f.npy", 3)]
    return [write(tmp_path / name, file, count) for file, (name, count) in enumerate(names)]


COUNTS = [5, 1, 7, 1, 1, 3]
ALL = [(file, frame) for file, count in enumerate(COUNTS) for frame in range(count)]


def frames_in(items: Iterable[Chunk | Failure]) -> Iterator[tuple[int, int]]:
    """File and frame of all that was read, after a look at the pixels."""
    for item in items:
        assert isinstance(item, Chunk), item
        for frame, pixels in enumerate(item.frames, item.start):
            np.testing.assert_array_equal(pixels, frame_of(item.file_index, frame))
            yield item.file_index, frame


@pytest.fixture(params=[1, 200, 2**20], ids=["frame by frame", "two frames", "whole files"])
def budget(request: pytest.FixtureRequest, divide: Divide) -> None:
    """Chunks of one frame, of few, and of all frames of a file."""
    divide(chunk_bytes=request.param * 12)


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_all_frames_in_order(files: list[Path], threads: int) -> None:
    assert list(frames_in(stream_frames(files, threads=threads))) == ALL


@pytest.mark.usefixtures("budget")
def test_start_anywhere(files: list[Path]) -> None:
    for start in [*ALL, (2, 7), (6, 0)]:
        expected = [place for place in ALL if place >= start]
        assert list(frames_in(stream_frames(files, threads=2, start=start))) == expected


@pytest.mark.usefixtures("budget")
def test_selection_gives_an_item_for_each_frame(files: list[Path]) -> None:
    chosen = [(2, 6), (0, 3), (0, 4), (3, 0), (2, 0), (0, 3)]
    items = list(stream_frames(files, threads=2, selection=chosen))
    assert [len(item.frames) for item in items if isinstance(item, Chunk)] == [1] * 5
    assert list(frames_in(items)) == sorted(set(chosen))
    assert list(stream_frames(files, threads=2, selection=[])) == []


def test_chunk_tells_of_its_file(files: list[Path]) -> None:
    for item in stream_frames(files, threads=2):
        assert isinstance(item, Chunk)
        assert item.source.path == files[item.file_index]
        assert item.source.count == COUNTS[item.file_index]


def test_chunks_are_as_large_as_the_budget_allows(tmp_path: Path, divide: Divide) -> None:
    path = write(tmp_path / "a.mrc", 0, 50)
    frame_bytes = 2 * SHAPE[0] * SHAPE[1]
    divide(chunk_bytes=4 * (20 * frame_bytes + 5))
    sizes = [len(item.frames) for item in stream_frames([path], threads=2) if isinstance(item, Chunk)]
    assert sizes == [20, 20, 10]


@pytest.mark.usefixtures("budget")
def test_failures_stand_in_their_place(files: list[Path]) -> None:
    files[1].write_bytes(b"no image")
    files[3].unlink()
    with tifffile.TiffFile(files[2]) as tiff:
        offset = tiff.pages[3].dataoffsets[0]
    data = bytearray(files[2].read_bytes())
    data[offset : offset + 4] = b"\xff" * 4
    files[2].write_bytes(data)
    os.truncate(files[0], 1024 + 2 * frame_of(0, 0).nbytes + 10)
    items = list(stream_frames(files, threads=2))
    failures = [item for item in items if isinstance(item, Failure)]
    assert [(item.file_index, item.frame, item.count) for item in failures] == [
        (0, 2, 3),
        (1, None, 1),
        (2, 3, 1),
        (3, None, 1),
    ]
    assert failures[0].reason.startswith("truncated: the file ends before")
    assert failures[1].reason.startswith("not an image file that camnorm reads")
    assert failures[2].reason == "cannot be read: strip 0 is damaged"
    assert failures[3].reason == "No such file or directory"
    assert isinstance(failures[0].error, FormatError)
    assert isinstance(failures[3].error, FileNotFoundError)
    read = list(frames_in(item for item in items if isinstance(item, Chunk)))
    lost = {(0, 2), (0, 3), (0, 4), (1, 0), (2, 3), (3, 0)}
    assert read == [place for place in ALL if place not in lost]
    places = [(item.file_index, item.start if isinstance(item, Chunk) else item.frame or 0) for item in items]
    assert places == sorted(places)
    # Taken up again behind the failure, it is not told twice.
    again = list(stream_frames(files[:1], threads=2, start=(0, 5)))
    assert again == []


def test_failures_of_a_selection_stand_for_one_frame_each(files: list[Path]) -> None:
    files[1].write_bytes(b"no image")
    os.truncate(files[0], 1024 + 2 * frame_of(0, 0).nbytes)
    chosen = [(0, 0), (0, 3), (0, 4), (0, 9), (1, 0), (1, 1), (2, 2)]
    items = list(stream_frames(files, threads=2, selection=chosen))
    failures = [(item.file_index, item.frame, item.count) for item in items if isinstance(item, Failure)]
    assert failures == [(0, 3, 1), (0, 4, 1), (0, 9, 1), (1, 0, 1), (1, 1, 1)]
    assert isinstance(items[3], Failure)
    assert items[3].reason == "no such frame, the file has 5"
    assert len(items) == len(chosen)


def test_header_that_claims_millions_of_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", 0, 2)
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(struct.pack("<i", 2**31 - 1))  # nz
    items = list(stream_frames([path], threads=2))
    assert isinstance(items[-1], Failure)
    assert (items[-1].frame, items[-1].count) == (2, 2**31 - 3)
    assert [frame for _, frame in frames_in(items[:-1])] == [0, 1]


class Counting(FrameSource):
    """A source without a file that counts what is read at once and what is still held."""

    format = "TEST"
    lock = threading.Lock()

    def __init__(self, path: Path, log: dict[str, int], delay: float) -> None:
        self.path, self.shape, self.dtype, self.count = path, SHAPE, np.dtype(np.uint16), int(path.stem)
        self.available = self.count
        self._log, self._delay = log, delay
        self._note("open", 1)

    def _note(self, name: str, change: int) -> None:
        with self.lock:
            self._log[name] = self._log.get(name, 0) + change
            self._log[f"most {name}"] = max(self._log.get(f"most {name}", 0), self._log[name])

    def _frames(self, start: int, stop: int) -> np.ndarray:
        self._note("reading", 1)
        time.sleep(self._delay)
        self._note("reading", -1)
        self._note("read", 1)
        frames = np.zeros((stop - start, *SHAPE), np.uint16)
        self._note("held", 1)
        weakref.finalize(frames, self._note, "held", -1)
        return frames

    def close(self) -> None:
        self._note("open", -1)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, divide: Divide) -> dict[str, Any]:
    counts: dict[str, Any] = {"delay": 0.002}
    monkeypatch.setattr(stream, "open_frames", lambda path, options: Counting(path, counts, counts["delay"]))
    divide(chunk_bytes=1)  # a frame a chunk
    return counts


@pytest.mark.parametrize("frames", [1, 3, 40])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_is_in_flight_is_bounded(log: dict[str, Any], threads: int, frames: int) -> None:
    paths = [Path(f"{frames}")] * (120 // frames)
    for taken, item in enumerate(stream_frames(paths, threads=threads), 1):
        assert isinstance(item, Chunk)
        if taken % 10 == 0:
            time.sleep(0.02)  # a slow reader: all that may be read ahead is
        assert log["read"] - taken <= 2 * threads - 1
    assert taken == 120
    assert log["most reading"] == threads
    assert log["most held"] <= 2 * threads
    assert log["most open"] <= 4 * threads + 1
    assert log["open"] == 0


@pytest.mark.parametrize("frames", [1, 40])
def test_frames_are_decoded_in_parallel(
    log: dict[str, Any], frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every read waits until three others are under way."""
    all_four = threading.Barrier(4)
    read = Counting._frames

    def together(self: Counting, start: int, stop: int) -> np.ndarray:
        all_four.wait(30)
        return read(self, start, stop)

    monkeypatch.setattr(Counting, "_frames", together)
    assert len(list(stream_frames([Path(f"{frames}")] * (80 // frames), threads=4))) == 80


def test_chunks_do_not_wait_for_the_next_file_to_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path / "a.mrc", 0, 1), write(tmp_path / "b.mrc", 1, 1)]
    taken = threading.Event()

    def open_late(path: Path, options: ReadOptions) -> FrameSource:
        assert path == paths[0] or taken.wait(10)
        return open_frames(path, options)

    monkeypatch.setattr(stream, "open_frames", open_late)
    places = []
    for place in frames_in(stream_frames(paths, threads=2)):
        places.append(place)
        taken.set()
    assert places == [(0, 0), (1, 0)]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("camnorm-read")]


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_threads_end_and_files_are_closed(log: dict[str, Any], error: type[BaseException] | None) -> None:
    items = stream_frames([Path("50")] * 20, threads=3)

    def work() -> None:
        for taken, _ in enumerate(items):
            if taken == 60:
                assert readers()
                if error is None:
                    items.close()
                    return
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
        items.close()
    assert not readers()
    assert log["open"] == 0
    assert log["read"] < 60 + 10


def test_error_in_a_thread_is_not_lost(log: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Counting, start: int, stop: int) -> np.ndarray:
        raise MemoryError("none left")

    monkeypatch.setattr(Counting, "_frames", broken)
    with pytest.raises(MemoryError, match="none left"):
        list(stream_frames([Path("5")], threads=2))
    assert not readers()
    assert log["open"] == 0


def test_number_of_threads(files: list[Path]) -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        stream_frames(files, threads=0)


def test_two_streams_at_once(files: list[Path]) -> None:
    with ThreadPoolExecutor(2) as executor:
        results = executor.map(lambda _: list(frames_in(stream_frames(files, threads=2))), range(4))
        assert list(results) == [ALL] * 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.mrc"
    mrcfile.new_mmap(path, (64, 2048, 4096), mrc_mode=1, overwrite=True).close()  # 1 GB, sparse
    script = (
        "import sys\n"
        "from camnorm.io import stream_frames\n"
        # Not ru_maxrss: a child has that of its parent to begin with.
        "def peak():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))\n"
        "before = peak()\n"
        "items = stream_frames(sys.argv[1:], threads=2)\n"
        "total = sum(item.frames[:, ::64].sum() + len(item.frames) for item in items)\n"
        "print(total, peak() - before)\n"
    )
    output = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    frames, megabytes = output.stdout.split()
    assert int(frames) == 64
    assert float(megabytes) < 110  # 64 MiB of chunks, and mrcfile
