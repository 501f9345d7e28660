"""The correction of mode "best": patterns by parts on simulated truth, defects, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

import camnorm
from camnorm import PixelMoments, Sensor
from camnorm.correction.adjustments import Adjustments
from camnorm.sensor.corrections import correction_of, settled
from camnorm.sensor.estimate import estimate_of, recognised_camera
from image_sets import write_mrc

SHAPE = (96, 80)


def sensor_of(frames: np.ndarray, split: int | None = None) -> Sensor:
    """The sensor of frames in memory, half B from the given frame on, or of alternate frames."""
    parts = (frames[::2], frames[1::2]) if split is None else (frames[:split], frames[split:])
    halves = []
    for part in parts:
        moments = PixelMoments(frames.shape[1:], frames.dtype)
        moments.add(np.ascontiguousarray(part))
        halves.append(moments)
    return Sensor.from_moments(*halves)


def pattern_of(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE, pixels: float = 0.03) -> np.ndarray:
    """Gains of pixels, columns and rows, and a block of lower ones at an edge of readout blocks."""
    gain = 1 + pixels * rng.standard_normal(shape)
    gain *= 1 + 0.02 * rng.standard_normal((1, *shape[1:]))
    gain *= 1 + 0.01 * rng.standard_normal((shape[0], 1, *shape[2:]))
    gain[:, : shape[1] // 3] *= 0.97
    return gain / gain.mean((0, 1))


def rms(image: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(image))))


def counting(rng: np.random.Generator, gain: np.ndarray, dose: float, frames: int) -> np.ndarray:
    return rng.poisson(dose * gain, (frames, *gain.shape)).astype(np.uint8)


def left_over(correction: camnorm.Correction, truth: np.ndarray, level: float) -> float:
    """Pattern that is left in the expectation of a blank frame, in parts of the level."""
    corrected = correction.apply(truth, dtype=np.float64)
    return rms((corrected - corrected.mean())[~correction.bad]) / level


@pytest.mark.parametrize(("dose", "frames"), [(0.2, 40), (1.0, 40), (2.0, 200)])
def test_it_is_no_worse_than_raw_frames_and_better_than_the_formula(dose: float, frames: int) -> None:
    rng = np.random.default_rng(int(10 * dose) + frames)
    gain = pattern_of(rng)
    sensor = sensor_of(counting(rng, gain, dose, frames))
    best = sensor.correction(mode="best")
    raw = rms(gain - gain.mean())
    error = left_over(best, dose * gain, dose)
    assert error < 1.03 * raw
    assert error < left_over(sensor.correction(), dose * gain, dose)
    if dose * frames > 100:
        assert error < 0.7 * raw


def test_frames_of_a_counting_camera_are_divided() -> None:
    rng = np.random.default_rng(1)
    gain = pattern_of(rng)
    sensor = sensor_of(counting(rng, gain, 4.0, 100))
    best = sensor.correction(mode="best")
    assert recognised_camera(sensor) == "counting"
    dark, light, twice = (best.apply(np.full(SHAPE, x, np.uint8), dtype=np.float64) for x in (0, 4, 8))
    np.testing.assert_allclose(dark, 0, atol=1e-12)
    np.testing.assert_allclose(twice, 2 * light, rtol=1e-12)
    other = sensor.correction(10, 2 * best.target_sigma, mode="best").apply(np.full(SHAPE, 4, np.uint8))
    np.testing.assert_allclose(other - 10, 2 * (light - best.target_mean), atol=1e-5)


def test_frames_of_an_integrating_camera_lose_offset_and_gain() -> None:
    rng = np.random.default_rng(2)
    gain, offset = pattern_of(rng), 90 * rng.standard_normal(SHAPE)
    light = rng.poisson(900 * gain, (600, *SHAPE)) + offset + 5 * rng.standard_normal((600, *SHAPE))
    sensor = sensor_of(light.round().astype(np.uint16))
    assert recognised_camera(sensor) == "integrating"
    best = sensor.correction(mode="best")
    at = {level: left_over(best, level * gain + offset, 900) for level in (450, 900, 1350)}
    wrong = sensor.correction(mode="best", camera="counting")
    as_counting = left_over(wrong, 450 * gain + offset, 900)
    assert at[900] < 0.003
    assert max(at[450], at[1350]) < 0.6 * as_counting


@pytest.mark.parametrize(
    "shape", [(61, 97), (3, 400), (400, 3), (1, 300), (300, 1), (17, 16), (2, 2), (64, 48, 3)]
)
def test_frames_of_any_size_and_colours(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    gain = pattern_of(rng, shape, pixels=0.1)
    light = np.array([5.0, 10.0, 20.0]) if len(shape) == 3 else 10.0
    frames = rng.poisson(light * gain, (200, *shape)).astype(np.uint16)
    sensor = sensor_of(frames)
    best = sensor.correction(mode="best")
    assert best.shape == shape
    assert not best.bad.any()
    corrected = best.apply(light * gain, dtype=np.float64)
    left = (corrected / corrected.mean((0, 1), keepdims=True) - 1).reshape(-1)
    assert rms(left) < 1.02 * rms((gain / gain.mean((0, 1)) - 1).reshape(-1))
    if len(left) > 1000:
        assert rms(left) < 0.03
    if len(shape) == 3:
        np.testing.assert_allclose(best.target_mean, light, rtol=0.02)


def test_planes_are_estimated_by_themselves() -> None:
    rng = np.random.default_rng(4)
    gain = pattern_of(rng, (*SHAPE, 3))
    frames = rng.poisson([3.0, 8.0, 20.0] * gain, (60, *SHAPE, 3)).astype(np.uint8)
    best = sensor_of(frames).correction(mode="best", camera="counting")
    for plane in range(3):
        alone = sensor_of(np.ascontiguousarray(frames[..., plane])).correction(mode="best", camera="counting")
        np.testing.assert_array_equal(best.mean[..., plane], alone.mean)
        np.testing.assert_allclose(best.sigma[..., plane], alone.sigma, rtol=1e-12)
        np.testing.assert_array_equal(best.bad[..., plane], alone.bad)


@pytest.mark.parametrize("kind", ["counting", "integrating"])
def test_defects_are_found_and_filled(kind: str) -> None:
    rng = np.random.default_rng(5)
    gain = pattern_of(rng)
    gain[10, 20] = gain[40, 40] = 0
    gain[70, 9] = 4
    if kind == "counting":
        frames = counting(rng, gain, 1.0, 100)
    else:
        frames = (
            (rng.poisson(1000 * gain, (100, *SHAPE)) + rng.normal(100, 5, (100, *SHAPE))).round().astype("u2")
        )
    best = sensor_of(frames).correction(mode="best")
    assert np.argwhere(best.bad).tolist() == [[10, 20], [40, 40], [70, 9]]
    assert best.bad_policy == "interpolate"
    corrected = best.apply(frames[0], dtype=np.float64)
    around = corrected[9:12, 19:22].copy().ravel()
    assert corrected[10, 20] == pytest.approx(np.delete(around, 4).mean())
    neutral = (
        sensor_of(frames).correction(mode="best", bad_policy="neutral").apply(frames[0], dtype=np.float64)
    )
    assert neutral[10, 20] == pytest.approx(best.target_mean)


def test_defects_that_are_given_take_no_part() -> None:
    rng = np.random.default_rng(14)
    frames = counting(rng, pattern_of(rng), 2.0, 100)
    given = np.zeros(SHAPE, bool)
    given[20:23, 30:33] = True
    plain = estimate_of(sensor_of(frames), given=given)
    frames[:, given] = 200
    frames[::2, given] = 100
    found = estimate_of(sensor_of(frames), given=given)
    for one, other in zip(found.images(), plain.images(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.planes[0].bad[given].all()


def test_clean_frames_have_no_defects() -> None:
    for dose, count in ((0.1, 20), (1.0, 10), (1.0, 30), (20.0, 50)):
        rng = np.random.default_rng(int(dose * count))
        sensor = sensor_of(counting(rng, np.ones((200, 200)), dose, count))
        assert not estimate_of(sensor).defects


def test_a_dead_border_keeps_its_level() -> None:
    rng = np.random.default_rng(6)
    gain = np.ones(SHAPE)
    gain[:12] = gain[:, -9:] = 0
    frames = rng.poisson(8 * gain, (100, *SHAPE)).astype(np.uint8)
    best = sensor_of(frames).correction(mode="best")
    corrected = best.apply(frames[0], dtype=np.float64)
    assert np.isfinite(corrected).all()
    np.testing.assert_allclose(corrected[:9, :60], best.target_mean, rtol=1e-9)
    assert best.target_mean == pytest.approx(8, rel=0.02)
    assert left_over(best, 8 * gain, 8) < 0.02


def test_negative_means_are_those_of_an_integrating_camera() -> None:
    rng = np.random.default_rng(7)
    offset = rng.standard_normal(SHAPE)
    frames = (-50 + offset + 3 * rng.standard_normal((80, *SHAPE))).astype(np.float32)
    sensor = sensor_of(frames)
    assert recognised_camera(sensor) == "integrating"
    best = sensor.correction(mode="best")
    assert best.target_mean == pytest.approx(-50, abs=0.1)
    assert left_over(best, offset - 50, 1) < 0.4 * rms(offset)


def test_halves_of_unequal_size() -> None:
    rng = np.random.default_rng(8)
    gain = pattern_of(rng)
    frames = counting(rng, gain, 2.0, 210)
    errors = [left_over(sensor_of(frames, split).correction(mode="best"), 2 * gain, 2) for split in (105, 10)]
    assert errors[1] < 1.15 * errors[0]


def test_of_one_half_only_defects_are_corrected() -> None:
    rng = np.random.default_rng(9)
    gain = pattern_of(rng)
    gain[30, 30] = 0
    moments = PixelMoments(SHAPE, np.uint8)
    moments.add(counting(rng, gain, 2.0, 100))
    sensor = Sensor.from_moments(moments)
    found = estimate_of(sensor)
    assert (
        found.only_defects == "the halves of the set have 100 and 0 frames, and the pattern needs two in each"
    )
    assert found.defects == 1
    frame = counting(rng, gain, 2.0, 1)[0]
    corrected = sensor.correction(mode="best").apply(frame, dtype=np.float64)
    assert np.argwhere(np.abs(corrected - frame) > 1e-9).tolist() == [[30, 30]]


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    sensor = sensor_of(rng.poisson(500 * pattern_of(rng), (40, *SHAPE)).astype(np.uint16))
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("CAMNORM_THREADS", threads)
        best = sensor.correction(mode="best")
        found.append((best.mean.tobytes(), best.sigma.tobytes(), best.bad.tobytes()))
    assert found[0] == found[1]


def test_kept_illumination_stays() -> None:
    rng = np.random.default_rng(11)
    light = np.linspace(0.7, 1.3, SHAPE[1]) * np.ones(SHAPE)
    gain = 1 + 0.03 * rng.standard_normal(SHAPE)
    sensor = sensor_of(rng.poisson(20 * gain * light, (200, *SHAPE)).astype(np.uint8))
    best = sensor.correction(mode="best", keep_illumination=True).apply(20 * gain * light, dtype=np.float64)
    slope = np.polyfit(light.ravel(), best.ravel(), 1)[0] / 20
    assert slope == pytest.approx(1, abs=0.05)
    flat = sensor.correction(mode="best").apply(20 * gain * light, dtype=np.float64)
    assert abs(np.polyfit(light.ravel(), flat.ravel(), 1)[0]) / 20 < 0.02


def test_values_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="leave shrink=True out"):
        Adjustments("best", shrink=True)
    with pytest.raises(ValueError, match="camera='counting' belongs to mode='best', not to mode='both'"):
        Adjustments(camera="counting")
    with pytest.raises(ValueError, match="camera must be 'auto', 'counting' or 'integrating', not 'film'"):
        Adjustments("best", camera="film")  # type: ignore[arg-type]


def test_other_modes_have_no_camera() -> None:
    sensor = sensor_of(counting(np.random.default_rng(12), np.ones(SHAPE), 1.0, 20))
    assert settled(Adjustments("mean"), sensor) == Adjustments("mean")
    assert str(settled(Adjustments("best"), sensor)) == "mode=best camera=counting"
    assert str(settled(Adjustments("best", camera="integrating"), sensor)) == "mode=best camera=integrating"


# Files


def movies(folder: Path, count: int, length: int = 8) -> tuple[Path, np.ndarray]:
    """Movies of specimens that do not move, and the gain behind them."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    gain = pattern_of(rng)
    gain[50, 60] = 0
    for number in range(count):
        specimen = 1 + 0.3 * np.kron(rng.standard_normal((12, 10)), np.ones((8, 8))).clip(-2, 2)
        frames = rng.poisson(2 * gain * specimen, (length, *SHAPE)).astype(np.uint16)
        write_mrc(folder / f"movie_{number:02d}.mrc", frames)
    return folder, gain


def test_files_corrected_and_virtual_ones_say_what_was_done(tmp_path: Path) -> None:
    folder, _ = movies(tmp_path / "movies", 12)
    sensor = camnorm.measure(folder)
    found: list[object] = []
    written = camnorm.correct(folder, sensor, tmp_path / "out", mode="best", on_estimate=found.append)
    assert [(one.camera, one.defects, one.only_defects) for one in found] == [("counting", 1, None)]  # type: ignore[attr-defined]
    with mrcfile.open(written[0]) as mrc:
        corrected = mrc.data.copy()
        assert "camnorm_correction: mode=best camera=counting" in " ".join(map(str, mrc.get_labels()))
    raw = mrcfile.read(folder / "movie_00.mrc")
    expected = sensor.correction(mode="best").apply(raw)
    np.testing.assert_array_equal(corrected, expected)
    virtual = camnorm.correct(folder, sensor, tmp_path / "virtual", mode="best", virtual=True)
    assert "mode=best camera=counting" in json.loads(virtual[0].read_text())["label"]
    with camnorm.open_frames(virtual[0]) as source:
        np.testing.assert_array_equal(source.read(0, 8), corrected)


def test_of_few_movies_only_defects_are_corrected(tmp_path: Path) -> None:
    folder, _ = movies(tmp_path / "movies", 9)
    sensor = camnorm.measure(folder)
    said = "only defects are corrected: specimens may look like a pattern in a set of 9 files; measure 10"
    with pytest.warns(UserWarning, match=said):
        written = camnorm.correct(folder, sensor, tmp_path / "out", mode="best")
    raw, corrected = mrcfile.read(folder / "movie_00.mrc"), mrcfile.read(written[0])
    assert np.unique(np.argwhere(np.abs(corrected - raw) > 1e-5)[:, 1:], axis=0).tolist() == [[50, 60]]


@pytest.mark.parametrize("mode", ["both", "best"])
def test_specimens_that_stay_are_no_pattern(tmp_path: Path, mode: str) -> None:
    folder, gain = movies(tmp_path / "movies", 20)
    sensor = camnorm.measure(folder)
    correction = sensor.correction(mode=mode)  # type: ignore[arg-type]
    error = left_over(correction, 2 * gain, 2)
    raw = rms((gain / gain.mean() - 1)[gain > 0])
    assert error < raw if mode == "best" else error > raw


def test_verification_uses_each_half_alone(tmp_path: Path) -> None:
    folder, _ = movies(tmp_path / "movies", 40, length=4)
    result = camnorm.verify(folder, group=4, mode="best")
    assert result.adjustments == "mode=best camera=counting"
    assert result.groups.corrected.independent


def test_a_half_is_corrected_from_its_own_frames() -> None:
    rng = np.random.default_rng(13)
    gain = pattern_of(rng)
    a, b, c = (counting(rng, gain, 4.0, 100) for _ in "abc")
    found = []
    for other in (b, c):
        sensor = sensor_of(np.concatenate([a, other]), split=100)
        response = estimate_of(sensor, half=0).planes[0].response
        assert response is not None
        found.append(response - gain / gain.mean())
    # The other half only says how large the noise is.
    assert rms(found[0] - found[1]) < 0.2 * rms(found[0])
    both = estimate_of(sensor_of(np.concatenate([a, b]), split=100)).planes[0].response
    assert both is not None
    assert rms(both - gain / gain.mean()) < 0.9 * rms(found[0])


def test_the_correction_that_verifies_takes_rows_of_frames() -> None:
    rng = np.random.default_rng(15)
    gain = pattern_of(rng)
    gain[30, 30] = 0
    frames = counting(rng, gain, 2.0, 100)
    correction = correction_of(sensor_of(frames), Adjustments("best"), 0)
    assert correction.bad[30, 30]
    rows = correction.apply(frames[:, 20:40], first_row=20)
    np.testing.assert_array_equal(rows, correction.apply(frames)[:, 20:40])
