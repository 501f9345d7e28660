"""Predicted errors of the modes of correction, beside the true ones of simulated sensors."""

from __future__ import annotations

import numpy as np
import pytest

from camnorm import PixelMoments, Sensor
from camnorm.correction.adjustments import Adjustments
from camnorm.sensor.balance import harm_of, shrunk_error
from camnorm.sensor.prediction import Prediction, predicted_errors

SHAPE = (160, 144)


def sensor_of(frames: np.ndarray) -> Sensor:
    halves = []
    for part in (frames[::2], frames[1::2]):
        moments = PixelMoments(frames.shape[1:], frames.dtype)
        moments.add(np.ascontiguousarray(part))
        halves.append(moments)
    return Sensor.from_moments(*halves)


def gain_of(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    gain = 1 + 0.03 * rng.standard_normal(shape)
    gain *= 1 + 0.02 * rng.standard_normal((1, *shape[1:]))
    return gain / gain.mean((0, 1))


def predicted(sensor: Sensor) -> Prediction:
    found = predicted_errors(sensor)
    assert found is not None
    return found


def scene_of(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A scene of 20 % contrast."""
    return 1 + 0.2 * rng.standard_normal(shape)


def true_errors(sensor: Sensor, expected: np.ndarray, scene: np.ndarray) -> dict[str, float]:
    """What a straight line of the scene leaves, in percent of the light."""
    modes = {"both": {}, "gain": {"mode": "gain"}, "shrink": {"shrink": True}, "best": {"mode": "best"}}
    images = {
        name: sensor.correction(**options).apply(expected, dtype=np.float64)  # type: ignore[arg-type]
        for name, options in modes.items()
    }
    errors = {}
    for name, image in {"raw": expected, **images}.items():
        slope, offset = np.polyfit(scene.ravel(), image.ravel(), 1)
        errors[name] = 100 * float(np.std(image - slope * scene - offset)) / slope
    return errors


@pytest.mark.parametrize(("dose", "frames"), [(1.0, 400), (2.0, 100), (10.0, 100)])
def test_of_counting_cameras(dose: float, frames: int) -> None:
    rng = np.random.default_rng(int(dose) + frames)
    gain, scene = gain_of(rng), scene_of(rng)
    sensor = sensor_of(rng.poisson(dose * gain, (frames, *SHAPE)).astype(np.uint8))
    found = predicted(sensor)
    assert (found.camera, found.of, found.best) == ("counting", "light", "best")
    truth = true_errors(sensor, dose * gain * scene, scene)
    for name, error in found.errors.items():
        assert error == pytest.approx(truth[name], rel=0.2), name


def test_of_integrating_cameras() -> None:
    rng = np.random.default_rng(1)
    gain, scene, offset = gain_of(rng), scene_of(rng), 30 * rng.standard_normal(SHAPE)
    frames = rng.normal(1000 * gain + offset, np.sqrt(1000) * gain, (300, *SHAPE)).round().astype(np.uint16)
    found = predicted(sensor_of(frames))
    assert (found.camera, found.of, found.best) == ("integrating", "light", "best")
    truth = true_errors(sensor_of(frames), 1000 * gain * scene + offset, scene)
    for name, error in found.errors.items():
        assert error == pytest.approx(truth[name], rel=0.3), name


def test_of_frames_without_a_level() -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(rng.standard_normal(SHAPE), 3, (100, *SHAPE)).astype(np.float32)
    found = predicted(sensor_of(frames))
    assert (found.camera, found.of) == ("integrating", "noise")
    assert "gain" not in found.errors
    assert found.errors["raw"] == pytest.approx(100 / 3, rel=0.1)
    assert found.errors["both"] == pytest.approx(10, rel=0.1)


def test_where_there_is_no_pattern_nothing_is_better_than_best() -> None:
    rng = np.random.default_rng(3)
    found = predicted(sensor_of(rng.poisson(1, (60, *SHAPE)).astype(np.uint8)))
    assert found.best == "best"
    assert found.errors["best"] <= found.errors["raw"] < 2
    assert found.errors["both"] > 10
    assert found.to_dict() == {"camera": "counting", "errors": found.errors, "of": "light", "best": "best"}


def test_planes_of_colour_frames_are_averaged() -> None:
    rng = np.random.default_rng(4)
    gain = gain_of(rng, (80, 72, 3))
    found = predicted(sensor_of(rng.poisson(10 * gain, (100, 80, 72, 3)).astype(np.uint8)))
    assert found.errors["raw"] == pytest.approx(100 * np.hypot(0.03, 0.02), rel=0.1)


def test_of_sets_that_are_too_small_there_is_none() -> None:
    rng = np.random.default_rng(5)
    assert predicted_errors(sensor_of(rng.poisson(1, (3, *SHAPE)).astype(np.uint8))) is None
    assert predicted_errors(sensor_of(rng.poisson(1, (8, *SHAPE)).astype(np.uint8))) is None
    assert predicted_errors(sensor_of(np.full((20, *SHAPE), 3, np.uint8))) is None


@pytest.mark.parametrize(("frames", "harmful"), [(10, True), (30, True), (2000, False)])
def test_shrinking_is_judged(frames: int, harmful: bool) -> None:
    rng = np.random.default_rng(frames)
    gain = gain_of(rng)
    sensor = sensor_of(rng.poisson(0.5 * gain, (frames, *SHAPE)).astype(np.uint8))
    said = harm_of(sensor, Adjustments(shrink=True))
    assert (said is not None) == harmful
    if said is not None:
        assert said.startswith("With shrink=True, corrected frames are predicted to have ")
        assert said.endswith(" times the error of raw frames. Use mode=best or no correction.")
    assert harm_of(sensor, Adjustments("best")) is None


def test_shrunk_images_keep_some_of_pattern_and_noise() -> None:
    assert shrunk_error(0.0, 0.0) == 0
    assert shrunk_error(1.0, 1e-9) == pytest.approx(1e-9, rel=0.1)
    assert shrunk_error(1e-9, 1.0) < 0.04
