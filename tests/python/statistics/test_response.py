"""Responses: sums over exposures, against rational arithmetic; kept by a measurement; used to correct."""

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
from camnorm import Correction, PixelMoments, PixelResponse, Sensor
from camnorm.demo.simulate import Camera
from camnorm.progress import Progress
from camnorm.verification import verification
from image_sets import (
    assert_same_moments,
    assert_same_sensor,
    cut,
    frames_of,
    in_halves,
    temporary_files,
    write_movies,
    write_mrc,
    write_npy,
)

SHAPE = (13, 11)
INTEGERS = ("u1", "i1", "u2", "i2")
FLOATS = ("u4", "i4", "f2", "f4", "f8")


def summed(frames: np.ndarray, exposures: np.ndarray | None = None) -> tuple[PixelMoments, PixelResponse]:
    moments = PixelMoments(frames.shape[1:], frames.dtype)
    means = moments.add(frames)["mean"]
    response = PixelResponse(frames.shape[1:], frames.dtype)
    response.add(frames, np.ascontiguousarray(means) if exposures is None else exposures)
    return moments, response


def exact_gain(pixel: np.ndarray, exposures: np.ndarray, unit: Fraction | None) -> Fraction:
    """cov(w, x) / var(w) by rational arithmetic; exposures as multiples of a unit, if there is one."""
    w = [Fraction(float(e)) for e in exposures]
    if unit is not None:
        w = [round(e / unit) * unit for e in w]  # half to even
    x = [Fraction(float(value)) for value in pixel]
    n = len(w)
    return (n * sum(a * b for a, b in zip(w, x, strict=True)) - sum(w) * sum(x)) / (
        n * sum(a * a for a in w) - sum(w) ** 2
    )


@st.composite
def integer_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    planes = draw(st.sampled_from([(), (3,)]))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(1, 7)), *planes)
    frames = draw(npst.arrays(dtype, shape))
    exposures = draw(
        npst.arrays(np.float64, shape[0], elements=st.floats(-65536, 65536, allow_subnormal=False))
    )
    return frames, exposures


@given(integer_sets(), st.randoms(use_true_random=False), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_integer_sums_are_a_group(data: tuple[np.ndarray, np.ndarray], random: Any, threads: int) -> None:
    """Any order, batches and threads; merged, subtracted, taken back: the same bits."""
    frames, exposures = data
    whole = PixelResponse(frames.shape[1:], frames.dtype)
    whole.add(frames, exposures, threads=1)
    units = np.array([round(Fraction(float(e)) * 256) for e in exposures])
    state = whole.state()
    assert state["exposure_sum"] == units.sum()
    assert state["exposure_sum_of_squares"] == (units**2).sum()
    wide = units.reshape(-1, *[1] * (frames.ndim - 1)) * frames.astype(np.int64)
    assert np.array_equal(state["sum_of_products"], wide.sum(0))

    order = list(range(len(frames)))
    random.shuffle(order)
    split = random.randint(0, len(order))
    parts = [PixelResponse(frames.shape[1:], frames.dtype) for _ in range(2)]
    for part, indices in zip(parts, (order[:split], order[split:]), strict=True):
        for i in indices:
            part.add(frames[i], exposures[i : i + 1], threads=threads)
    a, b = parts
    assert_same_moments(a + b, whole)
    assert_same_moments((a + b) - b, a)
    assert_same_moments(pickle.loads(pickle.dumps(whole)), whole)
    both = a + b
    both.subtract(frames[order[split:]], exposures[order[split:]], threads=threads)
    assert_same_moments(both, a)
    strided = PixelResponse(frames.shape[1:], frames.dtype)
    strided.add(np.repeat(frames[::-1], 2, axis=2)[:, :, ::2], exposures[::-1])
    assert_same_moments(strided, whole)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
@pytest.mark.parametrize("planes", [(), (3,)])
def test_gain_is_that_of_rational_arithmetic(dtype: str, planes: tuple[int, ...]) -> None:
    frames = frames_of(20, (*SHAPE, *planes), dtype)
    exposures = np.random.default_rng(2).normal(100, 30, 20)
    moments, response = summed(frames, exposures)
    unit = Fraction(1, 256) if dtype in INTEGERS else None
    gain = response.gain(moments)
    assert gain.dtype == np.float64
    for place in [(0, 0), (5, 7), (12, 10)]:
        index = (*place, *[1] * len(planes))
        exact = exact_gain(frames[(slice(None), *index)], exposures, unit)
        if unit is None:
            assert gain[index] == pytest.approx(float(exact), rel=1e-12)
        else:
            assert abs(gain[index] - float(exact)) <= 2 * np.spacing(abs(float(exact)))
    mean, std = response.exposures()
    assert mean == pytest.approx(exposures.mean(), rel=1e-4)
    assert std == pytest.approx(exposures.std(), rel=1e-3)
    np.testing.assert_allclose(response.offset(moments), moments.mean() - gain * mean, rtol=1e-12)


def test_large_numbers_do_not_cancel() -> None:
    frames = np.random.default_rng(4).normal(1e7, 1, (400, 3, 2))
    exposures = np.random.default_rng(5).normal(1e7, 1, 400)
    moments, response = summed(frames, exposures)
    for index in np.ndindex(3, 2):
        exact = float(exact_gain(frames[(slice(None), *index)], exposures, None))
        assert response.gain(moments)[index] == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("dtype", FLOATS)
def test_threads_and_instruction_sets_do_not_matter(dtype: str) -> None:
    frames = frames_of(7, (130, 90), dtype)
    exposures = frames.mean((1, 2), dtype=np.float64)
    one, two = (PixelResponse((130, 90), dtype) for _ in range(2))
    one.add(frames, exposures, threads=1)
    two.add(frames, exposures, threads=2)
    assert_same_moments(one, two)
    np.testing.assert_allclose(
        two.state()["sum_of_products_high"],
        np.einsum("n,nyx->yx", exposures, frames.astype("f8")),
        rtol=1e-14,
    )
    two.subtract(frames, exposures)
    assert_same_moments(two, PixelResponse((130, 90), dtype))


def test_colours_and_repr() -> None:
    response = PixelResponse((4, 5, 3), np.uint16)
    assert (response.shape, response.dtype, response.count) == ((4, 5, 3), np.uint16, 0)
    assert repr(response) == "<PixelResponse of 0 uint16 frames of shape (4, 5, 3)>"
    assert np.isnan(response.exposures()).all()


def test_the_same_exposure_tells_no_gain() -> None:
    for dtype in ("u2", "f4"):
        frames = frames_of(5, SHAPE, dtype)
        moments, response = summed(frames, np.full(5, 33.0))
        assert np.isnan(response.gain(moments)).all()
        assert response.exposures() == (33.0, 0.0)


ADDED = frames_of(3, SHAPE, "u2")


@pytest.mark.parametrize(
    ("frames", "exposures", "error", "said"),
    [
        (ADDED, np.zeros(2), ValueError, "exposures have shape (2,), one for each of 3 frames is wanted"),
        (ADDED, np.zeros(3, "f4"), TypeError, "exposures must be of dtype float64, not float32"),
        (ADDED, [0.0, 0.0, 0.0], TypeError, "exposures must be a numpy array, not list"),
        (
            ADDED,
            np.array([0, 1, np.nan]),
            ValueError,
            "the exposure of frame 2 is not a number between -65536",
        ),
        (ADDED, np.array([0, 1e5, 1]), ValueError, "the exposure of frame 1 is not a number between"),
        (ADDED[:, 1:], np.zeros(3), ValueError, "frames of shape (3, 12, 11) where a frame of (13, 11)"),
        (ADDED.astype("f4"), np.zeros(3), TypeError, "float32 frames are of the float kind, the response of"),
    ],
)
@pytest.mark.parametrize("method", ["add", "subtract"])
def test_what_is_refused(
    frames: np.ndarray, exposures: Any, error: type[Exception], said: str, method: str
) -> None:
    response = PixelResponse(SHAPE, np.uint16)
    response.add(ADDED, np.ones(3))
    before = response.copy()
    with pytest.raises(error, match=re.escape(said)):
        getattr(response, method)(frames, exposures)
    assert_same_moments(response, before)


def test_what_else_is_refused() -> None:
    response = PixelResponse(SHAPE, np.uint16)
    response.add(ADDED, np.ones(3))
    with pytest.raises(ValueError, match="cannot subtract 4 frames from 3"):
        response.subtract(np.concatenate([ADDED, ADDED[:1]]), np.ones(4))
    with pytest.raises(ValueError, match="frames were not added with these exposures"):
        response.subtract(ADDED, np.full(3, 2.0))
    with pytest.raises(ValueError, match=r"the response has shape \(2, 2\), this one \(13, 11\)"):
        response.merge(PixelResponse((2, 2), np.uint16))
    with pytest.raises(TypeError, match="responses of integer frames and of float frames"):
        response.merge(PixelResponse(SHAPE, np.float32))
    with pytest.raises(TypeError, match="other must be PixelResponse, not int"):
        response.merge(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unsupported operand"):
        response + 3  # type: ignore[operator]
    with pytest.raises(TypeError, match="unsupported operand"):
        response - 3  # type: ignore[operator]
    with pytest.raises(ValueError, match="these are not the moments of the 3 frames of shape"):
        response.gain(PixelMoments(SHAPE, np.uint16))
    floats = PixelResponse(SHAPE, np.float32)
    with pytest.raises(ValueError, match="the exposure of frame 0 is not a number between -3e144 and 3e144"):
        floats.add(ADDED.astype("f4"), np.array([-1e200, 0, 0]))
    frames = ADDED.astype("f4")
    frames[1, 2, 3] = np.inf
    with pytest.raises(camnorm.NonFiniteError, match="frame 1 has NaN or infinite pixels"):
        floats.add(frames, np.ones(3))
    assert_same_moments(floats, PixelResponse(SHAPE, np.float32))
    with pytest.raises(ValueError, match="shape is"):
        PixelResponse((3,), np.uint8)


def test_sums_never_overflow() -> None:
    """The largest pixels and exposures: as many frames as there may be, by merging powers of two."""
    response = PixelResponse((1, 2), np.uint16)
    frame = np.array([[65535, 0]], np.uint16)
    response.add(frame, np.array([65535.0]))
    for _ in range(16):
        response += response
    assert response.count == 65536
    assert int(response.state()["sum_of_products"][0, 0]) == 65536 * 65535 * 65535 * 256
    with pytest.raises(ValueError, match="the sums would overflow: too many frames, or too large exposures"):
        response.add(np.repeat(frame[None], 3, 0), np.full(3, 65535.0))
    with pytest.raises(ValueError, match="the sums would overflow"):
        response.merge(response)
    dark = PixelResponse((1, 2), np.uint16)
    dark.add(frame, np.zeros(1))
    for _ in range(30):
        dark += dark
    assert dark.count == 2**30
    with pytest.raises(ValueError, match="the sums would overflow"):
        dark.add(frame, np.zeros(1))
    with pytest.raises(ValueError, match="the sums would overflow"):
        response.add(np.repeat(frame[None], 10, 0), np.full(10, 65536.0))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"shape": None}, ValueError, "the state has no 'shape'"),
        ({"count": None}, ValueError, "the state has no 'count'"),
        ({"exposure_sum": None}, ValueError, "the state has no 'exposure_sum'"),
        ({"sum_of_products": None}, ValueError, "the state has no 'sum_of_products'"),
        (
            {"sum_of_products": np.zeros(SHAPE)},
            TypeError,
            "sum_of_products must be of dtype int64, not float64",
        ),
        (
            {"sum_of_products": np.zeros((2, 2), int)},
            ValueError,
            "sum_of_products has shape (2, 2), the frames",
        ),
        ({"count": 2**31}, ValueError, "a count of 2147483648 frames is not between 0 and 1073741824"),
        ({"count": -1}, ValueError, "a count of -1 frames is not between"),
    ],
)
def test_states_that_are_wrong(change: dict[str, Any], error: type[Exception], said: str) -> None:
    state = {**summed(ADDED)[1].state(), **change}
    with pytest.raises(error, match=re.escape(said)):
        PixelResponse.from_state({key: value for key, value in state.items() if value is not None})


# --- measured


def expected_responses(sensor: Sensor, frames: dict[tuple[str, int], np.ndarray]) -> list[PixelResponse]:
    """Responses of the accepted frames of each half, by themselves."""
    found = []
    for half in "AB":
        response = PixelResponse(sensor.shape, sensor.dtype)
        for row in sensor.frames[(sensor.frames["half"] == half) & (sensor.frames["status"] == "accepted")]:
            response.add(frames[row["file"], row["index"]], np.array([row["mean"]]))
        found.append(response)
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
    sensor = camnorm.measure([*paths[:9], mrc], tmp_path / "sensor.h5", response=True)
    assert (sensor.frames["status"] == "rejected").sum() == (3 if dtype == "f4" else 2)
    names = [*map(str, paths[:9]), str(mrc)]
    known = {(names[i], j): frames[i, j] for i in range(10) for j in range(4)}
    assert sensor.responses is not None
    for response, expected, half in zip(
        sensor.responses, expected_responses(sensor, known), sensor.halves, strict=True
    ):
        assert response.count == half.count
        if dtype == "f4":
            np.testing.assert_allclose(response.gain(half), expected.gain(half), rtol=1e-13)
        else:
            assert_same_moments(response, expected)
    assert_same_sensor(Sensor.load(tmp_path / "sensor.h5"), sensor)
    # The moments are those of a measurement without it.
    plain = camnorm.measure([*paths[:9], mrc])
    assert plain.responses is None
    assert plain.response is None
    for one, other in zip(plain.halves, sensor.halves, strict=True):
        if dtype == "f4":
            np.testing.assert_allclose(one.mean(), other.mean(), rtol=1e-15)
        else:
            assert_same_moments(one, other)


def test_the_file_is_read_without_camnorm(tmp_path: Path) -> None:
    frames = frames_of(12, SHAPE, "u2")
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames), tmp_path / "sensor.h5", response=True)
    with h5py.File(tmp_path / "sensor.h5") as f:
        assert f.attrs["schema"] == 2
        n, w, ww, wx, x = 0, 0, 0, 0, 0
        for half in "AB":
            moments, response = f["halves"][half], f["responses"][half]
            assert response.attrs["count"] == moments.attrs["count"]
            n += int(response.attrs["count"])
            w += int(response.attrs["exposure_sum"])
            ww += int(response.attrs["exposure_sum_of_squares"])
            wx = wx + response["sum_of_products"][:].astype(object)
            x = x + moments["sum"][:].astype(object)
        gain = (256 * (n * wx - w * x) / (n * ww - w * w)).astype(float)
    assert sensor.response is not None
    np.testing.assert_allclose(sensor.response.gain(sensor.moments), gain, rtol=1e-14)
    with h5py.File(tmp_path / "sensor.h5", "r+") as f:
        f["responses/A"].attrs["count"] = 5
    with pytest.raises(camnorm.FormatError, match="moments of 6 frames, but a response of 5"):
        Sensor.load(tmp_path / "sensor.h5")
    with h5py.File(tmp_path / "sensor.h5", "r+") as f:
        f["responses/A"].attrs["count"] = 6
        del f["responses/B/sum_of_products"]
        f["responses/B"].create_dataset("sum_of_products", data=np.zeros((2, 2), np.int64))
    with pytest.raises(camnorm.FormatError, match=r"sum_of_products has shape \(2, 2\), not \(13, 11\)"):
        Sensor.load(tmp_path / "sensor.h5")


@pytest.mark.parametrize("reports", [1, 4])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_interrupted_and_resumed(tmp_path: Path, dtype: str, reports: int) -> None:
    files = write_movies(tmp_path / "in", 8, 3, SHAPE, dtype)
    expected = camnorm.measure(files, response=True)
    output = tmp_path / "sensor.h5"

    def interrupt(progress: Progress) -> None:
        nonlocal left
        left -= progress.stage == "measuring"
        if left == 0:
            raise KeyboardInterrupt

    left = reports
    with pytest.raises(KeyboardInterrupt):
        camnorm.measure(files, output, response=True, progress=interrupt)
    with pytest.warns(UserWarning, match=r"^starting again: .* is of a measurement with response$"):
        plain = camnorm.measure(files, output)
    assert plain.responses is None
    output.unlink()
    left = reports
    with pytest.raises(KeyboardInterrupt):
        camnorm.measure(files, output, response=True, progress=interrupt)
    assert_same_sensor(camnorm.measure(files, output, response=True), expected)
    assert temporary_files(tmp_path) == []
    output.unlink()
    left = reports
    with pytest.raises(KeyboardInterrupt):
        camnorm.measure(files, output, progress=interrupt)
    with pytest.warns(UserWarning, match=r"^starting again: .* is of a measurement without response$"):
        assert_same_sensor(camnorm.measure(files, output, response=True), expected)


def test_groups_have_responses_of_their_own(tmp_path: Path) -> None:
    sets = [frames_of(12, shape, "u2").reshape(4, 3, *shape) for shape in (SHAPE, (8, 9))]
    paths = []
    for one in sets:
        paths += [write_npy(tmp_path / f"{one.shape[2]}_{i}.npy", movie) for i, movie in enumerate(one)]
    for one, sensor in zip(sets, camnorm.measure_groups(paths, response=True, screen="off"), strict=True):
        assert sensor.response is not None
        assert_same_moments(sensor.response, summed(one.reshape(12, *one.shape[2:]))[1])


def test_merge_and_subtract(tmp_path: Path) -> None:
    files = write_movies(tmp_path / "in", 12, 3, SHAPE, "u2")
    whole = camnorm.measure(files, response=True, screen="off")
    # The last four are in the same halves as the first.
    parts = [camnorm.measure(part, response=True, screen="off") for part in (files[:8], files[8:])]
    merged = parts[0].merge(parts[1])
    assert_same_sensor(merged, whole)
    assert_same_sensor(merged.subtract(parts[1]), parts[0])
    plain = camnorm.measure(files[8:], screen="off")
    for one, other in ((parts[0].merge, plain), (plain.merge, parts[0]), (merged.subtract, plain)):
        with pytest.warns(UserWarning, match=r"^only one of the measurements has a response: it is lost$"):
            assert one(other).responses is None


def test_test_frames_are_taken_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = frames_of(60, SHAPE, "u2")
    paths = [write_npy(tmp_path / f"{i:02d}.npy", frame[None]) for i, frame in enumerate(frames)]
    sensor = camnorm.measure(paths, response=True, screen="off")
    made = verification.correction_of
    lefts: list[Sensor] = []

    def noted(left: Sensor, *rest: Any) -> Correction:
        lefts.append(left)
        return made(left, *rest)

    monkeypatch.setattr(verification, "correction_of", noted)
    result = camnorm.verify(paths, sensor, group=5, mode="response")
    assert result.adjustments == "mode=response"
    tests = {name for group in result.files for name, _ in group}
    left = lefts[0]
    assert left.responses is not None
    for its, response, half in zip(in_halves(range(60)), left.responses, left.halves, strict=True):
        kept = np.array([i for i in its if str(paths[i]) not in tests])
        assert response.count == half.count == 25
        assert_same_moments(response, summed(frames[kept])[1])
    assert sensor.responses is not None
    assert sensor.responses[0].count == 30
    # Without a sensor, the set is measured as the mode wants it.
    assert (
        camnorm.verify(paths, group=5, mode="response").groups.corrected.to_dict()
        == (
            camnorm.verify(paths, camnorm.measure(paths, response=True), group=5, mode="response")
        ).groups.corrected.to_dict()
    )


# --- used


@pytest.mark.parametrize("planes", [(), (3,)])
def test_correction_estimates_the_light(tmp_path: Path, planes: tuple[int, ...]) -> None:
    """(I - offset) / gain, up to the targets, by numpy's least squares."""
    rng = np.random.default_rng(6)
    frames = rng.uniform(50, 150, (30, 1, 1, 1)) * rng.normal(1, 0.05, (*SHAPE, 3))
    frames += rng.normal(0, 2, frames.shape)
    frames = (frames if planes else frames[..., 0]).astype(np.float32)
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames), response=True, screen="off")
    flat = frames.reshape(30, -1).astype(np.float64)
    gain, offset = np.polyfit(flat.mean(1), flat, 1)
    light = (flat - offset) / gain
    corrected = sensor.correction(mode="response").apply(frames, dtype=np.float64).reshape(30, -1)
    by_plane = (30, *SHAPE, 3) if planes else (30, *SHAPE, 1)
    light, gain = light.reshape(by_plane), gain.reshape(by_plane[1:])
    target = frames.reshape(by_plane).astype(np.float64).mean((0, 1, 2))
    expected = ((light - light.mean((0, 1, 2))) * gain.mean((0, 1)) + target).reshape(30, -1)
    np.testing.assert_allclose(corrected, expected, rtol=1e-9)


def test_correction_errors(tmp_path: Path) -> None:
    frames = frames_of(9, SHAPE, "u2")
    path = write_npy(tmp_path / "a.npy", frames)
    with pytest.raises(
        camnorm.Error,
        match=r"^the sensor was measured without its response: measure it again with response=True$",
    ):
        camnorm.measure(path).correction(mode="response")
    frames = np.array([np.roll(np.arange(25).reshape(5, 5), i) for i in range(16)]).astype(np.uint8)
    sensor = camnorm.measure(write_npy(tmp_path / "b.npy", frames), response=True)
    with pytest.raises(camnorm.Error, match=r"^no response can be told: all frames have the same exposure$"):
        sensor.correction(mode="response")


def test_dilution_is_as_told() -> None:
    """gain = λ·g + (1 - λ)·σ² / <σ²>, in frames of a few pixels, where the noise in the mean matters."""
    rng = np.random.default_rng(7)
    g, sigma = np.array([[0.8, 1.2], [1.1, 0.9]]), np.array([[4.0, 2.0], [6.0, 3.0]])
    frames = rng.normal(100, 2, (400_000, 1, 1)) * g + rng.normal(0, 1, (400_000, 2, 2)) * sigma
    moments, response = summed(frames)
    of_noise = (sigma**2).mean() / 4
    share = 4 / (4 + of_noise)
    expected = share * g + (1 - share) * sigma**2 / (sigma**2).mean()
    np.testing.assert_allclose(response.gain(moments), expected, atol=0.01)
    assert response.gain(moments).mean() == pytest.approx(1)


def test_response_corrects_best_where_exposures_vary(tmp_path: Path) -> None:
    """At exposures far from the mean one, with read noise by which sigma does not follow the gain."""
    rng = np.random.default_rng(8)
    shape = (64, 64)
    camera = Camera(
        shape,
        gain=2 * (1 + 0.03 * rng.standard_normal(shape)),
        offset=300 + 10 * rng.standard_normal(shape),
        read_noise=rng.uniform(5, 60, shape),
        level=300,
        exposure_spread=0.7,
        seed=9,
    )
    path = write_npy(tmp_path / "a.npy", camera.frames(1024))
    sensor = camnorm.measure(path, response=True)
    found = {}
    for exposure in (0.3, 1.0, 1.7):
        # Many frames of one exposure: what is left in their mean is the pattern.
        light = camera.gain * 300 * exposure + camera.offset
        for mode in ("both", "mean", "gain", "response"):
            correction = sensor.correction(mode=mode)  # type: ignore[arg-type]
            found[mode, exposure] = correction.apply(light, dtype=np.float64).std()
    for exposure in (0.3, 1.7):
        others = [found[mode, exposure] for mode in ("both", "mean", "gain")]
        assert found["response", exposure] < 0.8 * min(others)
    assert found["response", 1.0] < 1.05 * min(found[mode, 1.0] for mode in ("both", "mean", "gain"))


@pytest.mark.parametrize("number", [{"count": 2**70}, {"exposure_sum_of_squares": -1}])
def test_states_with_impossible_numbers(number: dict[str, int]) -> None:
    state = PixelResponse((4, 4), np.uint8).state() | number
    with pytest.raises(ValueError, match="is no number that a state can have"):
        PixelResponse.from_state(state)
