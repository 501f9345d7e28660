"""Neighbour sums: q against rational arithmetic, the laws of a group; kept by a measurement."""

from __future__ import annotations

import pickle
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import camnorm
from camnorm import NeighbourSums, Sensor
from camnorm.progress import Progress
from image_sets import (
    assert_same_moments,
    assert_same_sensor,
    cut,
    frames_of,
    temporary_files,
    write_movies,
    write_mrc,
    write_npy,
)

SHAPE = (13, 11)
INTEGERS = ("u1", "i1", "u2", "i2")
FLOATS = ("u4", "i4", "f2", "f4", "f8")
PLACES = {
    "left-right": [(0, -1), (0, 1)],
    "up-down": [(-1, 0), (1, 0)],
    "four": [(0, -1), (0, 1), (-1, 0), (1, 0)],
    "eight": [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)],
    "left": [(0, -1)],
    "right": [(0, 1)],
    "up": [(-1, 0)],
    "down": [(1, 0)],
}


def summed(frames: np.ndarray, threads: int | None = None) -> NeighbourSums:
    sums = NeighbourSums(frames.shape[1:], frames.dtype)
    sums.add(frames, threads=threads)
    return sums


def exact_ratio(frames: np.ndarray, stencil: str, index: tuple[int, ...]) -> Fraction | None:
    """Var(I - mean of the neighbours) / Var(I) by rational arithmetic; None if it has no value."""
    y, x, *plane = index
    places = [(y + dy, x + dx) for dy, dx in PLACES[stencil]]
    if not all(0 <= row < frames.shape[1] and 0 <= column < frames.shape[2] for row, column in places):
        return None

    def series(row: int, column: int) -> list[Fraction]:
        return [Fraction(value) for value in frames[(slice(None), row, column, *plane)].tolist()]

    def scatter(values: list[Fraction]) -> Fraction:
        return len(values) * sum(value * value for value in values) - sum(values) ** 2

    own, others = series(y, x), [series(*place) for place in places]
    rest = [value - sum(each) / len(places) for value, *each in zip(own, *others, strict=True)]
    return scatter(rest) / scatter(own) if scatter(own) else None


def assert_ratios(frames: np.ndarray, sums: NeighbourSums, error: float) -> None:
    for stencil in PLACES:
        q = sums.ratio(stencil)  # type: ignore[arg-type]
        assert q.dtype == np.float64
        for index in np.ndindex(frames.shape[1:]):
            exact = exact_ratio(frames, stencil, index)
            if exact is None:
                assert np.isnan(q[index])
            else:
                assert abs(Fraction(float(q[index])) - exact) <= error * exact, (stencil, index)


@st.composite
def integer_frames(draw: st.DrawFn) -> np.ndarray:
    planes = draw(st.sampled_from([(), (2,)]))
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 5)), draw(st.integers(1, 6)), *planes)
    return draw(npst.arrays(np.dtype(draw(st.sampled_from(INTEGERS))), shape))


@given(integer_frames(), st.randoms(use_true_random=False), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_integer_sums_are_a_group(frames: np.ndarray, random: Any, threads: int) -> None:
    """Any order, batches and threads; merged, subtracted, taken back: the same bits, and the exact q."""
    whole = summed(frames, threads=1)
    assert_ratios(frames, whole, 4 * 2.0**-53)
    order = list(range(len(frames)))
    random.shuffle(order)
    split = random.randint(0, len(order))
    parts = [NeighbourSums(frames.shape[1:], frames.dtype) for _ in range(2)]
    for part, indices in zip(parts, (order[:split], order[split:]), strict=True):
        for i in indices:
            part.add(frames[i], threads=threads)
    a, b = parts
    assert_same_moments(a + b, whole)
    assert_same_moments((a + b) - b, a)
    assert_same_moments(pickle.loads(pickle.dumps(whole)), whole)
    both = a + b
    both.subtract(frames[order[split:]], threads=threads)
    assert_same_moments(both, a)
    assert_same_moments(summed(np.repeat(frames[::-1], 2, axis=2)[:, :, ::2]), whole)
    assert_same_moments(summed(frames[:, ::-1]), whole.flipped())
    assert whole.check() == whole.ratio("left").size


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("planes", [(), (3,)])
def test_ratios_of_floats(dtype: str, planes: tuple[int, ...]) -> None:
    frames = frames_of(12, (6, 5, *planes), dtype)
    sums = summed(frames)
    assert_ratios(frames, sums, 1e-14 if dtype != "f8" else 1e-12)
    assert sums.check() == sums.ratio("left").size
    assert_same_moments(summed(frames, threads=1), sums)
    parts = summed(frames[:5])
    parts.add(frames[5:])
    for name, part in parts.differences().items():  # batches change no bit of these
        assert np.array_equal(part, sums.differences()[name])
    for stencil in PLACES:
        np.testing.assert_allclose(
            (sums - summed(frames[:6])).ratio(stencil),  # type: ignore[arg-type]
            summed(frames[6:]).ratio(stencil),  # type: ignore[arg-type]
            rtol=1e-12,
        )
    sums.subtract(frames)
    assert_same_moments(sums, NeighbourSums(frames.shape[1:], dtype))


def test_large_numbers_do_not_cancel() -> None:
    frames = np.random.default_rng(3).normal(2.0**20, 1, (300, 3, 3)).astype("f4")
    sums = summed(frames)
    for stencil in PLACES:
        exact = exact_ratio(frames, stencil, (1, 1))
        assert exact is not None
        assert sums.ratio(stencil)[1, 1] == pytest.approx(float(exact), rel=1e-13)  # type: ignore[arg-type]


def test_sums_never_overflow() -> None:
    """The largest pixels, up to the largest number of frames, by merging powers of two."""
    frame = np.zeros((3, 3), np.uint16)
    frame[1, 1] = 65535
    sums = summed(np.stack([frame, np.zeros_like(frame)]))
    for _ in range(25):
        sums += sums
    assert sums.count == 2**26
    assert int(sums.state()["eight_squares"][1, 1]) == 2**25 * (8 * 65535) ** 2
    assert sums.ratio("eight")[1, 1] == 1.0
    with pytest.raises(ValueError, match="more than 67108864 frames"):
        sums.add(frame)
    with pytest.raises(ValueError, match="more than 67108864 frames"):
        sums.merge(summed(frame[None]))


def test_values_of_made_pixels() -> None:
    frames = np.random.default_rng(5).poisson(100, (500, 9, 9)).astype("u2")
    frames[:, 4, 4] = frames[:, 4, 3]
    frames[:, 2, 4] = np.rint((frames[:, 2, 3] + frames[:, 2, 5]) / 2)
    sums = summed(frames)
    assert sums.ratio("left")[4, 4] == sums.ratio("right")[4, 3] == 0.0
    assert sums.ratio("left-right")[2, 4] < 0.005
    assert np.median(sums.ratio("left-right")[6:, 1:-1]) == pytest.approx(1.5, abs=0.15)


def test_attributes() -> None:
    sums = NeighbourSums((4, 5, 3), np.uint16)
    assert (sums.shape, sums.dtype, sums.count) == ((4, 5, 3), np.uint16, 0)
    assert repr(sums) == "<NeighbourSums of 0 uint16 frames of shape (4, 5, 3)>"
    assert np.isnan(sums.ratio("four")).all()


ADDED = frames_of(3, SHAPE, "u2")


@pytest.mark.parametrize(
    ("frames", "error", "said"),
    [
        (ADDED[:, 1:], ValueError, "frames of shape (3, 12, 11) where a frame of (13, 11)"),
        (ADDED.astype("f4"), TypeError, "float32 frames are of the float kind, the neighbour sums of the"),
        ([1.0], TypeError, "frames must be a numpy array, not list"),
    ],
)
@pytest.mark.parametrize("method", ["add", "subtract"])
def test_what_is_refused(frames: Any, error: type[Exception], said: str, method: str) -> None:
    sums = summed(ADDED)
    with pytest.raises(error, match=re.escape(said)):
        getattr(sums, method)(frames)
    assert_same_moments(sums, summed(ADDED))


def test_what_else_is_refused() -> None:
    sums = summed(ADDED)
    with pytest.raises(ValueError, match="cannot subtract 4 frames from 3"):
        sums.subtract(np.concatenate([ADDED, ADDED[:1]]))
    with pytest.raises(ValueError, match=r"neighbour sums have shape \(2, 2\), these \(13, 11\)"):
        sums.merge(NeighbourSums((2, 2), np.uint16))
    with pytest.raises(TypeError, match="neighbour sums of integer frames and of float frames"):
        sums.merge(NeighbourSums(SHAPE, np.float32))
    with pytest.raises(TypeError, match="other must be NeighbourSums, not int"):
        sums.merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"stencil must be one of left-right, .*, down, not 'middle'"):
        sums.ratio("middle")  # type: ignore[arg-type]
    assert_same_moments(sums, summed(ADDED))
    floats = NeighbourSums(SHAPE, np.float32)
    frames = ADDED.astype("f4")
    frames[1, 2, 3] = np.inf
    with pytest.raises(camnorm.NonFiniteError, match="frame 1 has NaN or infinite pixels"):
        floats.add(frames)
    assert_same_moments(floats, NeighbourSums(SHAPE, np.float32))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"shape": None}, ValueError, "the state has no 'shape'"),
        ({"count": None}, ValueError, "the state has no 'count'"),
        ({"four_squares": None}, ValueError, "the state has no 'four_squares'"),
        ({"four_squares": np.zeros(SHAPE)}, TypeError, "four_squares must be of dtype uint64, not float64"),
        ({"sum": np.zeros((2, 2), int)}, ValueError, "sum has shape (2, 2), the frames"),
        ({"count": 2**27}, ValueError, "a count of 134217728 frames is not between 0 and 67108864"),
        ({"count": -1}, ValueError, "a count of -1 frames is not between"),
    ],
)
def test_states_that_are_wrong(change: dict[str, Any], error: type[Exception], said: str) -> None:
    state = {**summed(ADDED).state(), **change}
    with pytest.raises(error, match=re.escape(said)):
        NeighbourSums.from_state({key: value for key, value in state.items() if value is not None})


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_states_that_no_frames_have(dtype: str) -> None:
    for name, part in summed(frames_of(5, SHAPE, dtype)).differences().items():
        if name.endswith("_low"):
            continue
        for place, value in (((5, 5), 0), ((5, 5), part[5, 5] * 1000), ((12, 10), 1)):
            sums = summed(frames_of(5, SHAPE, dtype))
            sums.parts()[name][place] = value
            assert sums.check() == np.ravel_multi_index(place, SHAPE), (name, place, value)


# --- measured


def expected(sensor: Sensor, frames: dict[tuple[str, int], np.ndarray]) -> list[NeighbourSums]:
    """Sums of the accepted frames of each half, by themselves."""
    found = []
    for half in "AB":
        rows = sensor.frames[(sensor.frames["half"] == half) & (sensor.frames["status"] == "accepted")]
        found.append(summed(np.stack([frames[row["file"], row["index"]] for row in rows])))
    return found


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4"])
def test_measured(tmp_path: Path, dtype: str) -> None:
    """Frames that are screened, cut off or not finite leave nothing behind."""
    frames = frames_of(40, SHAPE, dtype).reshape(10, 4, *SHAPE)
    frames[3, 1] = 1
    if dtype == "f4":
        frames[5, 2, 1, 1] = np.nan
    paths = [write_npy(tmp_path / f"{i}.npy", movie) for i, movie in enumerate(frames)]
    mrc = write_mrc(tmp_path / "9.mrc", frames[9])
    cut(mrc, 1024 + 3 * frames[9, 0].nbytes + 1)
    inputs = [*paths[:9], mrc]
    sensor = camnorm.measure(inputs, tmp_path / "sensor.h5", neighbours=True)
    assert (sensor.frames["status"] == "rejected").sum() == (3 if dtype == "f4" else 2)
    known = {(str(path), j): frames[i, j] for i, path in enumerate(inputs) for j in range(4)}
    assert sensor.neighbours is not None
    for sums, wanted, half in zip(sensor.neighbours, expected(sensor, known), sensor.halves, strict=True):
        assert sums.count == half.count
        if dtype == "f4":
            np.testing.assert_allclose(sums.ratio("eight"), wanted.ratio("eight"), rtol=1e-12)
        else:
            assert_same_moments(sums, wanted)
    assert_same_sensor(Sensor.load(tmp_path / "sensor.h5"), sensor)
    assert_same_sensor(sensor.flipped().flipped(), sensor)
    plain = camnorm.measure(inputs)
    assert plain.neighbours is None
    if dtype != "f4":
        for one, other in zip(plain.halves, sensor.halves, strict=True):
            assert_same_moments(one, other)


def test_the_file_is_read_without_camnorm(tmp_path: Path) -> None:
    path = tmp_path / "sensor.h5"
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(12, SHAPE, "u2")), path, neighbours=True)
    with h5py.File(path) as f:
        assert f.attrs["schema"] == 3
        n, x, xx, dd = 0, 0, 0, 0
        for half in "AB":
            n += int(f["neighbours"][half].attrs["count"])
            x = x + f["halves"][half]["sum"][:].astype(float)
            xx = xx + f["halves"][half]["sum_of_squares"][:].astype(float)
            dd = dd + f["neighbours"][half]["left_right_squares"][:].astype(float)
        d = 2 * x[:, 1:-1] - x[:, :-2] - x[:, 2:]
        q = (n * dd[:, 1:-1] - d**2) / (n * xx - x**2)[:, 1:-1] / 4
    assert sensor.neighbours is not None
    np.testing.assert_allclose((sensor.neighbours[0] + sensor.neighbours[1]).ratio("left-right")[:, 1:-1], q)

    def damage(name: str, value: Any, said: str) -> None:
        with h5py.File(path, "r+") as f:
            before = f[name][4, 4]
            f[name][4, 4] = value
        with pytest.raises(camnorm.FormatError, match=said):
            Sensor.load(path)
        with h5py.File(path, "r+") as f:
            f[name][4, 4] = before

    damage("neighbours/A/four_squares", 0, r"no frames have the neighbour sums of pixel \(4, 4\) in half A")
    damage("neighbours/B/eight_squares", 77777, "was changed after it was written: its digest differs")
    with h5py.File(path, "r+") as f:
        f["neighbours/A"].attrs["count"] = 5
    with pytest.raises(camnorm.FormatError, match="moments of 6 frames, but neighbour sums of 5"):
        Sensor.load(path)


@pytest.mark.parametrize("reports", [1, 4])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_interrupted_and_resumed(tmp_path: Path, dtype: str, reports: int) -> None:
    files = write_movies(tmp_path / "in", 8, 3, SHAPE, dtype)
    wanted = camnorm.measure(files, neighbours=True)
    output = tmp_path / "sensor.h5"

    def interrupt(progress: Progress) -> None:
        nonlocal left
        left -= progress.stage == "measuring"
        if left == 0:
            raise KeyboardInterrupt

    for first, then in ((True, True), (True, False), (False, True)):
        output.unlink(missing_ok=True)
        left = reports
        with pytest.raises(KeyboardInterrupt):
            camnorm.measure(files, output, neighbours=first, progress=interrupt)
        if first == then:
            assert_same_sensor(camnorm.measure(files, output, neighbours=then), wanted)
            continue
        said = rf"^starting again: .* of a measurement {'with' if first else 'without'} neighbour sums$"
        with pytest.warns(UserWarning, match=said):
            sensor = camnorm.measure(files, output, neighbours=then)
        assert (sensor.neighbours is not None) == then
    assert temporary_files(tmp_path) == []
    # It is another measurement than one without.
    with pytest.raises(camnorm.Error, match="already holds another measurement"):
        camnorm.measure(files, output)


def test_groups_have_sums_of_their_own(tmp_path: Path) -> None:
    sets = [frames_of(12, shape, "u2").reshape(4, 3, *shape) for shape in (SHAPE, (8, 9))]
    paths = []
    for one in sets:
        paths += [write_npy(tmp_path / f"{one.shape[2]}_{i}.npy", movie) for i, movie in enumerate(one)]
    for one, sensor in zip(sets, camnorm.measure_groups(paths, neighbours=True, screen="off"), strict=True):
        assert sensor.neighbours is not None
        a, b = sensor.neighbours
        assert_same_moments(a + b, summed(one.reshape(12, *one.shape[2:])))


def test_merge_and_subtract(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 12, 3, SHAPE, "u2")
    whole = camnorm.measure(files, neighbours=True, screen="off")
    # The last four are in the same halves as the first.
    parts = [camnorm.measure(part, neighbours=True, screen="off") for part in (files[:8], files[8:])]
    merged = parts[0].merge(parts[1])
    assert_same_sensor(merged, whole)
    assert_same_sensor(merged.subtract(parts[1]), parts[0])
    plain = camnorm.measure(files[8:], screen="off")
    said = r"^only one of the measurements has neighbour sums: .* measure all files with neighbours=True$"
    for one, other in ((parts[0].merge, plain), (plain.merge, parts[0]), (merged.subtract, plain)):
        with pytest.warns(UserWarning, match=said):
            assert one(other).neighbours is None
