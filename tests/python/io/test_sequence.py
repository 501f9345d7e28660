"""Sources of frames as sequences and arrays, against numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from image_sets import frames_of, write_mrc

FRAMES = frames_of(7, (6, 5), "u2")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[camnorm.FrameSource]:
    with camnorm.open_frames(write_mrc(tmp_path_factory.mktemp("in") / "a.mrc", FRAMES)) as opened:
        yield opened


def test_sources_are_iterated_and_counted(source: camnorm.FrameSource) -> None:
    assert len(source) == 7
    np.testing.assert_array_equal(list(source), FRAMES)
    np.testing.assert_array_equal(list(reversed(source)), FRAMES[::-1])
    assert source


@given(st.integers(-7, 6))
def test_a_number_gives_a_frame(source: camnorm.FrameSource, number: int) -> None:
    np.testing.assert_array_equal(source[number], FRAMES[number])
    np.testing.assert_array_equal(source[np.int64(number)], FRAMES[number])


_ENDS = st.none() | st.integers(-9, 9)


@given(_ENDS, _ENDS, st.none() | st.integers(-3, 3).filter(bool))
def test_a_slice_gives_frames(
    source: camnorm.FrameSource, start: int | None, stop: int | None, step: int | None
) -> None:
    taken = source[start:stop:step]
    np.testing.assert_array_equal(taken, FRAMES[start:stop:step])
    assert (taken.dtype, taken.shape[1:]) == (FRAMES.dtype, FRAMES.shape[1:])


def test_all_frames_become_an_array(source: camnorm.FrameSource, tmp_path: Path) -> None:
    np.testing.assert_array_equal(np.asarray(source), FRAMES)
    as_float = np.asarray(source, np.float32)
    assert as_float.dtype == np.float32
    np.testing.assert_array_equal(as_float, FRAMES)
    colours = frames_of(2, (6, 5, 3), "u1")
    np.save(tmp_path / "c.npy", colours)
    with camnorm.open_frames(tmp_path / "c.npy") as colour:
        np.testing.assert_array_equal(np.asarray(colour), colours)
    with pytest.raises(ValueError, match="cannot become an array without a copy"):
        source.__array__(copy=False)


@pytest.mark.parametrize("number", [7, -8])
def test_no_such_frame(source: camnorm.FrameSource, number: int) -> None:
    with pytest.raises(IndexError, match=f"no frame {number} among 7"):
        source[number]


@pytest.mark.parametrize("key", ["1", 1.0, (0, 1), None])
def test_keys_that_choose_no_frame(source: camnorm.FrameSource, key: object) -> None:
    with pytest.raises(TypeError, match="frames are chosen by an integer or a slice"):
        source[key]  # type: ignore[index]
