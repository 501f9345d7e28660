"""The fixed pattern from the halves of a set, against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest

import camnorm
from camnorm import Error, PixelMoments, Sensor, fixed_pattern
from camnorm.fourier.windows import window_values
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE
from camnorm.sizes import divided

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


@pytest.mark.parametrize("window", ["hann", "tukey", None])
@pytest.mark.parametrize("shape", [(96, 70), (64, 64, 3)])
def test_blocks_and_float32_give_the_numbers_of_whole_images_in_float64(
    shape: tuple[int, ...], window: str | None
) -> None:
    rng = np.random.default_rng(10)
    slope = np.linspace(0, 400, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    pattern = rng.normal(0, 3, shape) + slope
    sensor = sensor_of(*(np.float32(5e4 + pattern + rng.normal(0, 5, (n, *shape))) for n in (7, 12)))
    means = [half.mean() for half in sensor.halves]
    with divided(block_values=1000):
        found = fixed_pattern(sensor, window=window)
    pairs = [
        [image.reshape(*shape[:2], -1)[..., plane] for image in means]
        for plane in range(int(np.prod(shape[2:])))
    ]
    powers = np.mean([ring_powers(*pair, window) for pair in pairs], axis=0)
    np.testing.assert_allclose(found.pattern_power[1:], powers[0, 1:], rtol=1e-5, atol=1e-6 * powers[0].max())
    np.testing.assert_allclose(found.noise_power[1:], powers[1, 1:] * 7 * 12 / 19, rtol=1e-4)
    a, b = means
    axes = (0, 1)
    covariance = np.mean((a - a.mean(axes)) * (b - b.mean(axes)))
    assert found.variance == pytest.approx(covariance, rel=1e-10)
    difference = a - b - (a - b).mean(axes)
    assert found.residual_variance == pytest.approx(7 * 12 / 19**2 * np.mean(difference**2), rel=1e-10)
    assert found.noise_variance == pytest.approx(np.mean(sensor.sigma**2), rel=1e-12)
    for curve, (x, y) in zip(found.mean_correlation, pairs, strict=True):
        whole = camnorm.frc(x, y, window=window)
        np.testing.assert_allclose(curve.correlation[1:], whole.correlation[1:], atol=2e-6)


def ring_powers(a: np.ndarray, b: np.ndarray, window: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Power that both have in common, and that of their difference, by whole planes of numpy's fft2."""
    side = min(a.shape)
    a, b = (x[tuple(slice((n - side) // 2, (n - side) // 2 + side) for n in x.shape)] for x in (a, b))
    along = window_values(side, window)
    weights = np.outer(along, along)
    fa, fb = (np.fft.fft2(weights * (x - np.average(x, weights=weights))) for x in (a, b))
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side] * 2, indexing="ij"))
    ring = np.floor(radius + 0.5).astype(int)
    n = np.bincount(ring.ravel())
    common, difference = (
        (np.bincount(ring.ravel(), values.ravel()) / n)[: side // 2 + 1] / (weights**2).sum()
        for values in ((fa * fb.conj()).real, np.abs(fa - fb) ** 2)
    )
    return common, difference
