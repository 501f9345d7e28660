"""The fixed pattern from the halves of a set, against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest

import camnorm
from camnorm import Error, PixelMoments, Sensor, fixed_pattern
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE

SHAPE = (128, 128)
NOISE = 10.0


def sensor_of(a: np.ndarray, b: np.ndarray) -> Sensor:
    """Sensor of the frames of its halves."""
    halves = tuple(PixelMoments(a.shape[1:], a.dtype) for _ in range(2))
    for half, frames in zip(halves, (a, b), strict=True):
        half.add(frames)
    provenance = {"screening": {}, "files": np.empty(0, FILE_DTYPE)}
    return Sensor(halves, np.empty(0, FRAME_DTYPE), provenance)


def frames(rng: np.random.Generator, pattern: np.ndarray, count: int) -> np.ndarray:
    return np.float32(1000 + pattern + rng.normal(0, NOISE, (count, *pattern.shape)))


@pytest.mark.parametrize("window", ["hann", "tukey", None])
def test_variances_and_powers_are_the_truth(window: str | None) -> None:
    rng = np.random.default_rng(1)
    pattern = rng.normal(0, 3, SHAPE)
    found = fixed_pattern(sensor_of(frames(rng, pattern, 30), frames(rng, pattern, 50)), window=window)
    assert found.frames == 80
    assert found.variance == pytest.approx(pattern.var(), rel=0.02)
    assert found.noise_variance == pytest.approx(NOISE**2 + 0, rel=0.03)
    assert found.residual_variance == pytest.approx(NOISE**2 / 80, rel=0.05)
    outer = found.nyquist > 0.2
    weights = found.n[outer]
    assert np.average(found.pattern_power[outer], weights=weights) == pytest.approx(9, rel=0.08)
    assert np.average(found.noise_power[outer], weights=weights) == pytest.approx(NOISE**2, rel=0.08)
    assert found.derating() == pytest.approx(9 / 109, rel=0.08)
    assert found.derating(12) == pytest.approx(108 / 208, rel=0.08)
    assert found.derating_corrected() == pytest.approx(1 / 81, rel=0.08)
    assert found.derating_corrected(12) == pytest.approx(12 / 92, rel=0.08)
    np.testing.assert_allclose(
        found.derating_curve(5)[1:],
        (lambda p, n: 5 * p / (5 * p + n))(np.maximum(found.pattern_power, 0), found.noise_power)[1:],
    )
    assert np.isnan(found.derating_curve()[0])


def test_half_maps_correlate_as_signal_to_noise() -> None:
    """FRC of the halves' means: V / (V + W / n)."""
    rng = np.random.default_rng(2)
    pattern = rng.normal(0, 2, SHAPE)
    found = fixed_pattern(sensor_of(frames(rng, pattern, 20), frames(rng, pattern, 20)), window=None)
    (curve,) = found.mean_correlation
    assert np.average(curve.correlation[20:], weights=curve.n[20:]) == pytest.approx(4 / (4 + 5), abs=0.02)
    # All pixels have one sigma: its images have only noise.
    (curve,) = found.sigma_correlation
    assert abs(np.average(curve.correlation[1:], weights=curve.n[1:])) < 0.02
    assert abs(found.sigma_variance) < 0.05


def test_a_pattern_of_gains_shows_in_sigma() -> None:
    rng = np.random.default_rng(3)
    gain = rng.normal(1, 0.2, SHAPE)
    a, b = (np.float32(100 + gain * rng.normal(0, NOISE, (60, *SHAPE))) for _ in range(2))
    found = fixed_pattern(sensor_of(a, b))
    assert found.sigma_variance == pytest.approx((NOISE * gain).var(), rel=0.05)
    assert found.sigma_correlation[0].independence().z > 20
    assert abs(found.variance) < 0.05


def test_a_ring_of_the_pattern_is_found_where_it_is() -> None:
    rng = np.random.default_rng(4)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.rfftfreq(128), indexing="ij"))
    noise = np.fft.rfft2(rng.normal(0, 30, SHAPE))
    pattern = np.fft.irfft2(np.where(abs(radius - 0.25) < 0.01, noise, 0))
    found = fixed_pattern(sensor_of(frames(rng, pattern, 30), frames(rng, pattern, 30)), window=None)
    peak = np.nanargmax(found.derating_curve())
    assert found.nyquist[peak] == pytest.approx(0.5, abs=0.03)
    assert found.derating_curve()[peak] > 0.8
    assert np.nanmax(found.derating_curve()[50:]) < 0.1


def test_low_frequencies_are_left_out_of_the_number() -> None:
    rng = np.random.default_rng(5)
    ramp = np.linspace(-100, 100, 128)[:, None] * np.ones(128)
    found = fixed_pattern(sensor_of(frames(rng, ramp, 20), frames(rng, ramp, 20)))
    assert found.variance > 3000
    assert found.derating() < 0.01
    assert found.derating(above=0) > 0.5


def test_dependent_frames_leave_more_than_predicted() -> None:
    """Movies of one specimen each: 5 equal scenes count as one frame."""
    rng = np.random.default_rng(6)
    a, b = (
        np.float32(np.repeat(rng.normal(0, 5, (8, *SHAPE)), 5, 0) + rng.normal(0, 5, (40, *SHAPE)))
        for _ in range(2)
    )
    found = fixed_pattern(sensor_of(a, b))
    assert found.residual_variance / (found.noise_variance / found.frames) == pytest.approx(3.0, rel=0.1)


def test_colour_planes_are_one_each() -> None:
    rng = np.random.default_rng(7)
    pattern = rng.normal(0, 1, (96, 128, 3)) * [0, 3, 6]
    found = fixed_pattern(sensor_of(frames(rng, pattern, 30), frames(rng, pattern, 30)))
    assert found.variance == pytest.approx((0 + 9 + 36) / 3, rel=0.05)
    levels = [np.average(c.correlation[5:], weights=c.n[5:]) for c in found.mean_correlation]
    assert levels == sorted(levels)
    assert len(found.sigma_correlation) == 3
    outer = found.nyquist > 0.2
    assert np.average(found.pattern_power[outer], weights=found.n[outer]) == pytest.approx(15, rel=0.1)


def test_numbers_for_programs() -> None:
    import json

    from camnorm import jsontext

    rng = np.random.default_rng(8)
    found = fixed_pattern(sensor_of(*(frames(rng, np.zeros((32, 48)), 4) for _ in range(2))))
    numbers = json.loads(jsontext.dumps(found.to_dict()))
    assert numbers["derating"] == {"1": found.derating(1), "12": found.derating(12)}
    assert numbers["derating_curve"] == found.derating_curve()[1:].tolist()
    assert numbers["nyquist"][0] == 1 / 16
    assert len(numbers["nyquist"]) == len(numbers["mean_frc"][0]) == len(numbers["pattern_power"]) == 16
    assert "of 8 frames" in repr(found)


def test_errors() -> None:
    rng = np.random.default_rng(9)
    sensor = sensor_of(frames(rng, np.zeros((8, 8)), 1), frames(rng, np.zeros((8, 8)), 5))
    with pytest.raises(Error, match="halves of 1 and 5 frames have no pattern to compare"):
        fixed_pattern(sensor)
    with pytest.raises(Error, match=r"frames of shape \(1, 8\) have no rings of frequencies"):
        fixed_pattern(sensor_of(*(frames(rng, np.zeros((1, 8)), 5) for _ in range(2))))
    found = fixed_pattern(sensor_of(*(frames(rng, np.zeros((8, 8)), 5) for _ in range(2))))
    with pytest.raises(ValueError, match="exposure must be positive, got 0"):
        found.derating(0)
    still = np.full((4, 8, 8), 7, np.uint8)
    assert np.isnan(camnorm.fixed_pattern(sensor_of(still, still)).derating())
