"""Which frames of a set are taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camnorm.io import Chunk, Failure, Selection, StoredChunk, open_frames, stream_stored
from camnorm.io.base import catalogue, selection, stream
from camnorm.io.base.catalogue import Catalogue
from image_sets import cut, half_numbers, write_npy, write_tiff

SHAPE = (4, 6)


def save(folder: Path, counts: list[int], suffix: str = ".npy") -> list[Path]:
    """Files whose frames are their own numbers."""
    write = {".npy": write_npy, ".tif": write_tiff}[suffix]
    return [write(folder / f"{file}{suffix}", numbered(file, count)) for file, count in enumerate(counts)]


def numbered(file: int, count: int) -> np.ndarray:
    return np.stack([np.full(SHAPE, 100 * file + frame, "u2") for frame in range(count)])


def chosen_of(paths: list[Path], counts: list[int], **options: Any) -> list[list[int]]:
    chosen = Selection(**options).choose(Catalogue(paths, threads=2))
    return [list(chosen(file, count)) for file, count in enumerate(counts)]


class _Counted:
    """Stands for files of these numbers of frames, of which nothing is read."""

    format, shape, dtype, camera = "none", SHAPE, np.dtype("u2"), ""
    files: tuple[Path, ...] = ()
    row_order = None
    left_out: tuple[str, ...] = ()
    hints: ClassVar[dict[str, Any]] = {}

    @property
    def origin(self) -> _Counted:
        return self

    def __init__(self, count: int) -> None:
        self.count = self.available = count

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        pass


bounds = st.none() | st.integers(-12, 12)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    bounds,
    bounds,
    st.none() | st.integers(1, 4),
    st.integers(1, 7),
)
def test_slices_and_samples(
    counts: list[int], start: int | None, stop: int | None, step: int | None, every: int
) -> None:
    """Against lists of Python."""
    text = f"{'' if start is None else start}:{'' if stop is None else stop}" + (
        "" if step is None else f":{step}"
    )
    expected = [
        (file, frame) for file, count in enumerate(counts) for frame in list(range(count))[start:stop:step]
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "open_frames", lambda path, options: _Counted(int(str(path))))
        found = chosen_of(list(map(str, counts)), counts, frames=text, every=every)
    assert [(file, frame) for file, frames in enumerate(found) for frame in frames] == expected[::every]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    st.integers(1, 300),
    st.sampled_from([None, "2:", "::3"]),
)
def test_so_many_spread_over_the_files(counts: list[int], most: int, frames: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "open_frames", lambda path, options: _Counted(int(str(path))))
        paths = list(map(str, counts))
        before = chosen_of(paths, counts, frames=frames)
        found = chosen_of(paths, counts, frames=frames, max_frames=most)
        assert found == chosen_of(paths, counts, frames=frames, max_frames=most)
    numbers = [len(frames) for frames in found]
    assert sum(numbers) == min(most, sum(map(len, before)))
    for taken, all_of_it in zip(found, before, strict=True):
        assert taken == sorted(set(taken))
        assert set(taken) <= set(all_of_it)
        # No file gives less than another, but for one frame, unless it has no more.
        assert len(taken) >= max(numbers) - 1 or taken == all_of_it


def test_halves_of_a_random_choice_are_balanced() -> None:
    counts = [40] * 301
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "open_frames", lambda path, options: _Counted(int(path.name)))
        for most in (1, 100, 301, 350, 500, 1000):
            found = chosen_of([f"{i}/40" for i in range(301)], counts, max_frames=most)
            used = [len(frames) for frames in found if frames]
            signs = 1 - 2 * half_numbers(len(used))
            # 301 files are an odd number: one of the halves has one more of them.
            assert abs(np.dot(signs, used)) <= max(used)


def test_the_choice_is_at_random() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "open_frames", lambda path, options: _Counted(int(str(path))))
        (frames,) = chosen_of(["10000"], [10000], max_frames=2000)
        assert np.mean(frames) == pytest.approx(4999.5, abs=4 * 10000 / np.sqrt(12 * 2000))
        found = chosen_of(["1"] * 10000, [1] * 10000, max_frames=2000)
        files = [file for file, frames in enumerate(found) if frames]
        assert np.mean(files) == pytest.approx(4999.5, abs=4 * 10000 / np.sqrt(12 * 2000))


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("threads", [1, 3])
def test_only_these_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, threads: int
) -> None:
    counts = [5, 1, 12, 3, 1, 2]
    paths = save(tmp_path, counts, suffix)
    opened: list[Path] = []

    def noted(path: Path, options: Any) -> Any:
        opened.append(path)
        return open_frames(path, options)

    monkeypatch.setattr(stream, "open_frames", noted)
    for options in (
        {"frames": "1:9:3"},
        {"frames": "-4:-1"},
        {"every": 6},
        {"max_frames": 3},
        {"max_frames": 15},
    ):
        selected = Selection(**options)
        chosen = selected.choose(Catalogue(paths, threads=2))
        expected = [(i, f) for i, frames in enumerate(chosen_of(paths, counts, **options)) for f in frames]
        for start in [(0, 0), (0, 2), (2, 4), (2, 12), (5, 0)]:
            opened.clear()
            found = []
            for item in stream_stored(paths, threads=threads, start=start, chosen=chosen):
                assert isinstance(item, (Chunk, StoredChunk))
                found += [(item.file_index, item.start + i) for i in range(len(item.frames))]
                if isinstance(item, Chunk):
                    pixels = item.frames
                else:
                    pixels = np.stack(
                        [
                            np.fromfile(paths[item.file_index], "u2", 24, offset=offset)
                            for offset in item.frames.offsets
                        ]
                    )
                for i, frame in enumerate(pixels):
                    assert (frame == 100 * item.file_index + item.start + i).all()
            assert found == [place for place in expected if place >= start]
            if "frames" not in options:
                assert len(opened) == len({i for i, _ in expected if i >= start[0]})


def test_damaged_files(tmp_path: Path) -> None:
    """A file that cannot be opened is told of; what is not there of others is not chosen in its place."""
    paths = save(tmp_path, [4, 8, 4, 4])
    paths[2].write_text("words")
    cut(paths[1], paths[1].stat().st_size - 5 * 48)
    chosen = Selection(every=2).choose(Catalogue(paths, threads=2))
    items = list(stream_stored(paths, threads=2, chosen=chosen))
    assert [item.file_index for item in items if isinstance(item, Failure)] == [2]
    assert [list(chosen(file, count)) for file, count in ((0, 4), (1, 8), (3, 4))] == [[0, 2], [0, 2], [1, 3]]
    missing = list(
        stream_stored(
            paths[1:2], threads=2, chosen=Selection("1::2").choose(Catalogue(paths[1:2], threads=1))
        )
    )
    assert [type(item) for item in missing] == [StoredChunk, Failure]
    assert isinstance(missing[1], Failure)
    assert (missing[1].frame, missing[1].count) == (3, 3)


def test_a_file_that_has_become_shorter_since(tmp_path: Path) -> None:
    paths = save(tmp_path, [9, 9])
    chosen = Selection(every=2).choose(Catalogue(paths, threads=1))
    write_npy(paths[0], numbered(0, 3))
    items = list(stream_stored(paths, threads=1, chosen=chosen))
    places = [(item.file_index, item.start) for item in items if not isinstance(item, Failure)]
    assert places == [(0, 0), (0, 2), (1, 1), (1, 3), (1, 5), (1, 7)]


def test_progress_of_counting(tmp_path: Path) -> None:
    paths = save(tmp_path, [1, 2, 3])
    done: list[int] = []
    Selection(frames="1:").choose(Catalogue(paths, threads=2), done.append)
    assert done == []  # no file need be opened for this
    Selection(every=2).choose(Catalogue(paths, threads=2), done.append)
    assert done == [1, 2, 3]


@pytest.mark.parametrize("frames", ["", "3", "a:b", "1:2:3:4", "::0", "::-1", "1:2 ", "1.5:", "::"])
def test_no_slices(frames: str) -> None:
    with pytest.raises(ValueError, match=r"^frames must be START:STOP or START:STOP:STEP, as in 3:20, not '"):
        Selection(frames)


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_that_are_none(number: int) -> None:
    with pytest.raises(ValueError, match=f"^every must be at least 1, not {number}$"):
        Selection(every=number)
    with pytest.raises(ValueError, match=f"^max_frames must be at least 1, not {number}$"):
        Selection(max_frames=number)


def test_absurd_numbers_of_frames_take_no_memory() -> None:
    found: list[Sequence[int] | None] = [range(10**12), range(100), range(0, 10**12, 3)]
    selection._thin_out(found, 1000, Catalogue(["a", "b", "c"]))
    chosen = [list(frames or ()) for frames in found]
    assert [len(frames) for frames in chosen] == [450, 100, 450]
    assert all(frames == sorted(set(frames)) for frames in chosen)
    assert all(frame % 3 == 0 for frame in chosen[2])
