"""How many frames are needed: against numpy on the frames, and against simulated truth."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from camnorm import PixelMoments, jsontext
from camnorm.measurement.drift import Early, measure_ratios
from camnorm.sensor.balance import frames_for_groups
from image_sets import Divide, sensor_of

SHAPE = (48, 64)


def movies(
    seed: int, files: int, length: int, specimen: float, noise: float, pattern: float = 0.0
) -> list[np.ndarray]:
    """Movies of `length` frames of one specimen each: white noise of these standard deviations."""
    rng = np.random.default_rng(seed)
    fixed = 100 + pattern * rng.standard_normal(SHAPE)
    return [
        fixed + specimen * rng.standard_normal(SHAPE) + noise * rng.standard_normal((length, *SHAPE))
        for _ in range(files)
    ]


def test_numbers_are_those_of_numpy_on_the_frames() -> None:
    rng = np.random.default_rng(1)
    frames = rng.normal(500, 20, (31, *SHAPE)) + rng.normal(0, 8, SHAPE)
    frames += rng.normal(0, 30, (31, 1, 1))  # brightness as a whole
    found = camnorm.frames_needed(sensor_of(frames[:, None]))
    a, b = frames[0::2], frames[1::2]
    share = 1 / len(a) + 1 / len(b)
    variance = (15 * a.var(0, ddof=1) + 14 * b.var(0, ddof=1)).mean() / 29
    assert found.halves == (16, 15)
    assert found.noise**2 == pytest.approx(variance, rel=1e-10)
    covariance = np.cov(a.mean(0).ravel(), b.mean(0).ravel(), ddof=0)[0, 1]
    assert found.fixed_pattern == pytest.approx(covariance, rel=1e-8)
    assert found.break_even == pytest.approx(variance / covariance, rel=1e-8)
    brightness = (15 * a.mean((1, 2)).var(ddof=1) + 14 * b.mean((1, 2)).var(ddof=1)) / 29
    ratio = (a.mean(0) - b.mean(0)).var() / (variance - brightness) / share
    assert found.ratio == pytest.approx(ratio, rel=1e-8)
    assert found.measured_at == pytest.approx(2 / share)
    assert found.measured_residual == pytest.approx(math.sqrt(ratio * share / 2))
    logarithm = np.log(a.var(0, ddof=1) / b.var(0, ddof=1))
    assert found.kurtosis == pytest.approx(1 + (logarithm**2).mean() / (1 / 15 + 1 / 14), rel=1e-8)
    assert found.sigma_error == pytest.approx(math.sqrt((found.kurtosis - 1) / (4 * 31)))


@pytest.mark.parametrize(("length", "specimen"), [(1, 0.0), (1, 10.0), (10, 0.0), (10, 10.0), (20, 3.0)])
def test_movies_of_one_specimen_count_for_less(length: int, specimen: float) -> None:
    noise = 10.0
    files = movies(length, 400 // length, length, specimen, noise, pattern=5.0)
    found = camnorm.frames_needed(sensor_of(files))
    expected = (length * specimen**2 + noise**2) / (specimen**2 + noise**2)
    assert found.ratio == pytest.approx(expected, rel=0.1)
    assert found.effective_frames == pytest.approx(400 / expected, rel=0.1)
    # What the mean image is off by, which only the simulation knows.
    truth = 100 + 5.0 * np.random.default_rng(length).standard_normal(SHAPE)
    error = (np.concatenate(files).mean(0) - truth).std()
    assert found.mean_error == pytest.approx(error, rel=0.12)
    assert found.residual == pytest.approx(error / math.hypot(specimen, noise), rel=0.12)
    assert found.fixed_pattern == pytest.approx(25.0, rel=0.15)


@pytest.mark.slow
def test_independent_frames_lie_within_the_limits_of_chance() -> None:
    outside = 0
    for seed in range(100):
        scene = camnorm.simulate.Landscape(SHAPE, contrast=0.2) if seed % 2 else None
        camera = camnorm.simulate.Camera(
            SHAPE, gain=2, level=900, exposure_spread=0.3, scene=scene, seed=seed
        )
        found = camnorm.frames_needed(sensor_of(camera.frames(24)[:, None]))
        low, high = found.ratio_limits
        assert low < 1 < high
        outside += not low <= found.ratio <= high
        assert found.effective_frames == 24 or found.ratio > high
    # One in five hundred is expected; four or more come with a probability of 5e-5.
    assert outside < 4


@pytest.mark.parametrize(("name", "kurtosis"), [("normal", 3.0), ("uniform", 1.8), ("exponential", 9.0)])
def test_the_kurtosis_is_told_by_the_halves(name: str, kurtosis: float) -> None:
    rng = np.random.default_rng(3)
    frames = getattr(rng, name)(size=(400, *SHAPE))
    found = camnorm.frames_needed(sensor_of(frames[:, None]))
    assert found.kurtosis == pytest.approx(kurtosis, rel=0.1)
    # The scatter of the sigma image over pixels that are all alike is its standard error.
    assert found.sigma_error == pytest.approx(frames.std(0).std() / frames.std(), rel=0.1)


def test_a_camera_without_fixed_pattern_has_no_break_even() -> None:
    found = camnorm.frames_needed(sensor_of(movies(5, 60, 1, 0.0, 10.0)))
    assert not found.pattern_seen
    assert math.isinf(found.break_even)
    assert abs(found.fixed_pattern) < 4 * found.fixed_pattern_error
    assert found.verdict == "harmful"
    assert ", since no fixed pattern is visible. At least " in found.sentence
    # Few specimens must not pass for a pattern: noise counts by what the halves really differ.
    few = camnorm.frames_needed(sensor_of(movies(6, 8, 20, 10.0, 10.0)))
    assert abs(few.fixed_pattern) < 4 * few.fixed_pattern_error


@pytest.mark.parametrize(("pattern", "pays"), [(1.0, False), (10.0, True)])
def test_subtraction_pays_from_break_even_on(pattern: float, pays: bool) -> None:
    files = movies(7, 40, 1, 0.0, 10.0, pattern)
    found = camnorm.frames_needed(sensor_of(files))
    truth = 100 + pattern * np.random.default_rng(7).standard_normal(SHAPE)
    left = (np.concatenate(files).mean(0) - truth).var()
    assert bool(left < truth.var()) is pays
    assert (found.effective_frames > found.break_even) is pays
    assert found.verdict == ("usable" if pays else "harmful")
    assert ("The correction helps" in found.sentence) is pays
    assert ("more noise than it removes" in found.sentence) is not pays
    assert (f"At least {math.ceil(found.break_even):,} independent frames" in found.sentence) is not pays


@pytest.mark.parametrize(
    ("side", "group", "needed"), [(4096, 1, 26), (4096, 12, 309), (10, 12, 4), (8, 1, 1)]
)
def test_frames_that_groups_need(side: int, group: int, needed: int) -> None:
    """Those of 4096 pixels a side are known; the others were worked out by hand."""
    assert frames_for_groups(group, side) == needed


def test_groups_need_more_frames_of_movies() -> None:
    found = camnorm.frames_needed(sensor_of(movies(8, 40, 10, 10.0, 10.0)))
    assert found.needed_for_groups == pytest.approx(found.ratio * frames_for_groups(12, SHAPE[0]), abs=1)


def test_the_advice_says_how_many_more() -> None:
    sensor = sensor_of(movies(10, 40, 1, 0.0, 10.0, 5.0))
    found = camnorm.frames_needed(sensor, residual=0.1, group=60)
    assert found.needed_for_residual == 100
    advice = " ".join(found.advice())
    assert "Leftover pattern after correction: 16 % of the frame noise (half the set: 22 % measured" in advice
    assert ", 22 % expected)." in advice
    assert (
        "leaves a pattern that is visible in averages of 60 frames. "
        f"At least {found.needed_for_groups} frames are needed for a good correction; you have 40." in advice
    )
    residual = camnorm.frames_needed(sensor, residual=0.1, group=1)
    assert residual.sentence == (
        "The correction helps, but leaves a pattern of more than 10 % of the frame noise. "
        "At least 100 frames are needed for a good correction; you have 40."
    )
    enough = camnorm.frames_needed(sensor, residual=0.2, group=1)
    assert enough.verdict == "good"
    assert enough.sentence == ("The correction removes more pattern than the noise it adds.")
    least = math.ceil(enough.break_even)
    assert enough.advice()[-2:] == [
        "Invisible in single frames.",
        f"At least {least} independent frames are needed for the correction to help; you have 40.",
    ]


@given(
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
    swap=st.booleans(),
)
def test_units_and_the_halves_names_do_not_matter(scale: float, offset: float, swap: bool) -> None:
    files = movies(11, 24, 1, 0.0, 10.0, 5.0)
    found = camnorm.frames_needed(sensor_of(files))
    files = [files[i ^ swap] * scale + offset for i in range(24)]
    other = camnorm.frames_needed(sensor_of(files))
    for name in ("ratio", "effective_frames", "kurtosis", "break_even", "residual", "measured_residual"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-6)
    for name in ("noise", "mean_error"):
        assert getattr(other, name) == pytest.approx(scale * getattr(found, name), rel=1e-6)
    assert other.fixed_pattern == pytest.approx(scale**2 * found.fixed_pattern, rel=1e-5)


def test_large_frames_are_looked_at_in_parts(divide: Divide) -> None:
    rng = np.random.default_rng(12)
    sensor = sensor_of(rng.normal(0, 1, (12, 1, 90, 70)))
    whole = camnorm.frames_needed(sensor)
    divide(block_values=200)
    parts = camnorm.frames_needed(sensor)
    for found, expected in ((parts, whole), (parts.balance, whole.balance)):
        for name, value in expected.__dict__.items():
            if name != "balance":
                assert getattr(found, name) == pytest.approx(value, rel=1e-10, nan_ok=True)
    # Blocks of pixels instead of pixels: white noise is as many independent numbers as there are pixels.
    divide(correlation_grid=20)
    coarse = camnorm.frames_needed(sensor)
    assert coarse.ratio == pytest.approx(whole.ratio)
    assert coarse.ratio_limits == pytest.approx(whole.ratio_limits, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 2), (2, 3000), (3000, 1)])
def test_narrow_frames(shape: tuple[int, int]) -> None:
    frames = np.random.default_rng(21).normal(0, 1, (40, 1, *shape))
    found = camnorm.frames_needed(sensor_of(frames))
    assert found.noise == pytest.approx(frames.std(), rel=0.4)
    low, high = found.ratio_limits
    assert low < found.ratio < high


def test_memory_does_not_grow_with_the_frame(divide: Divide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMNORM_THREADS", "2")  # each has its own band of rows
    frames = np.random.default_rng(13).integers(0, 255, (4, 1, 1500, 1000), np.uint8)
    sensor = sensor_of(frames)
    camnorm.check(sensor)  # imports what it needs
    divide(block_values=2**16)
    tracemalloc.start()
    try:
        camnorm.check(sensor)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < sensor.mean.nbytes


def test_pixels_that_never_change_and_hot_ones_are_left_out() -> None:
    frames = np.random.default_rng(14).normal(100, 10, (40, 1, *SHAPE))
    found = camnorm.frames_needed(sensor_of(frames))
    bad = frames.copy()
    bad[:, :, 3, 5] = 0.0
    bad[:, :, 7, 7:9] = bad[:, :, 7, 7:9] * 50
    other = camnorm.frames_needed(sensor_of(bad))
    assert other.noise == pytest.approx(found.noise, rel=1e-3)
    assert other.ratio == pytest.approx(found.ratio, rel=1e-2)


def test_planes_have_levels_of_their_own() -> None:
    rng = np.random.default_rng(15)
    grey = rng.normal(100, 10, (40, *SHAPE)) + 5 * rng.standard_normal(SHAPE)
    colour = np.stack([grey, grey + 50, grey - 30], axis=-1)
    found = [camnorm.frames_needed(sensor_of(frames[:, None])) for frames in (grey, colour)]
    for name in ("noise", "ratio", "fixed_pattern", "break_even", "kurtosis"):
        assert getattr(found[1], name) == pytest.approx(getattr(found[0], name), rel=1e-6)
    # Three times the same is no more independent.
    assert found[1].ratio_limits == pytest.approx(found[0].ratio_limits, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_frames(count: int) -> None:
    found = camnorm.frames_needed(sensor_of(movies(16, count, 1, 0.0, 1.0)))
    assert math.isnan(found.noise)
    assert found.advice() == ["Too few frames: each half of the set needs two."]
    assert "null" in jsontext.dumps(found.to_dict())


def test_pixels_none_of_which_ever_changes() -> None:
    found = camnorm.frames_needed(sensor_of(np.full((8, 1, *SHAPE), 7, np.uint8)))
    assert found.noise == 0
    assert found.advice() == ["No pixel ever changes: there is nothing to correct with."]
    jsontext.dumps(found.to_dict())


def test_small_halves_do_not_tell_the_kurtosis() -> None:
    found = camnorm.frames_needed(sensor_of(movies(17, 12, 1, 0.0, 1.0)))
    assert math.isnan(found.kurtosis)
    assert found.sigma_error == pytest.approx(1 / math.sqrt(2 * 12))
    assert "if pixel values are normally distributed" in found.advice()[1]


def test_brightness_alone_does_not_tell_the_ratio() -> None:
    rng = np.random.default_rng(18)
    frames = np.broadcast_to(rng.normal(100, 10, (20, 1, 1, 1)), (20, 1, *SHAPE))
    found = camnorm.frames_needed(sensor_of(frames + rng.normal(0, 0.1, frames.shape)))
    assert math.isnan(found.ratio)
    assert found.effective_frames == 20


def test_the_curve_reaches_from_one_frame_to_what_is_needed() -> None:
    found = camnorm.frames_needed(sensor_of(movies(19, 40, 1, 0.0, 1.0)))
    curve = found.to_dict()["curve"]
    assert curve["frames"][0] == 1
    assert curve["frames"][-2] < 400 <= curve["frames"][-1]
    assert curve["residual"][0] == pytest.approx(1.0)
    assert found.predicted(4 * 40) == pytest.approx(found.residual / 2)


def test_wrong_arguments() -> None:
    sensor = sensor_of(movies(20, 4, 1, 0.0, 1.0))
    with pytest.raises(ValueError, match="residual must be positive, got 0"):
        camnorm.frames_needed(sensor, residual=0)
    with pytest.raises(ValueError, match="group must be positive, got 0"):
        camnorm.frames_needed(sensor, group=0)


@pytest.mark.parametrize("brightness", [0.0, 100.0])
@pytest.mark.parametrize("dead", [1, 6, 20, 60])
def test_pixels_that_never_change_do_not_count(dead: int, brightness: float) -> None:
    rng = np.random.default_rng(11)
    frames = 1000 + brightness * rng.normal(size=(40, 1, 1)) + rng.normal(0, 20, (40, 64, 64))
    frames[..., :dead] = 0
    found = camnorm.frames_needed(sensor_of(np.rint(frames).astype(np.uint16)[:, None]))
    assert found.ratio == pytest.approx(1, abs=0.15)
    assert found.ratio_limits[0] <= found.ratio <= found.ratio_limits[1]
    assert found.noise == pytest.approx(math.hypot(20, brightness), rel=0.3)


# --- the first frames beside the others


def ratios_of(frames: np.ndarray, *counts: int) -> list[dict[str, float]]:
    """By `measure_ratios`, after each number of frames."""
    halves = (PixelMoments(frames.shape[1:], frames.dtype), PixelMoments(frames.shape[1:], frames.dtype))
    table = np.zeros(len(frames), camnorm.sensor.table.FRAME_DTYPE)
    table["status"], table["mean"] = "accepted", frames.mean(tuple(range(1, frames.ndim)))
    early = []
    for i, frame in enumerate(frames):
        early += [Early.of(halves, i)] * counts.count(i)
        halves[i % 2].add(frame)
    return measure_ratios(halves, early, table)


@pytest.mark.parametrize(("length", "specimen"), [(1, 0.0), (10, 10.0)])
def test_the_curve_is_measured_with_more_and_more_frames(
    tmp_path: Path, length: int, specimen: float
) -> None:
    files = []
    for i, movie in enumerate(movies(21, 480 // length, length, specimen, 10.0, 5.0)):
        files.append(tmp_path / f"{i:03d}.npy")
        np.save(files[-1], movie.astype(np.float32))
    camnorm.measure(files, tmp_path / "s.h5", screen="off")
    found = camnorm.frames_needed(camnorm.Sensor.load(tmp_path / "s.h5"))
    assert [n for n, _ in found.measured] == [30, 60, 120, 240]
    # Of k frames of a movie, the specimen counts as one.
    noise = math.hypot(specimen, 10.0)
    expected = math.sqrt((length * specimen**2 + 10.0**2) / noise**2)
    for n, residual in found.measured:
        assert residual * math.sqrt(n) == pytest.approx(expected, rel=0.1)
    told = json.loads(jsontext.dumps(found.to_dict()))
    assert told["measured"] == [[n, pytest.approx(residual)] for n, residual in found.measured]


def test_ratios_of_colour_frames_are_without_each_planes_level() -> None:
    rng = np.random.default_rng(22)
    frames = rng.normal(100, 5, (64, 40, 50, 3)) + rng.normal(0, 3, (64, 1, 1, 1))
    frames[32:] += [0, 20, 40]
    (part,) = ratios_of(frames, 16)
    a, b = frames[:16].mean(0), frames[16:].mean(0)
    noise = frames.var(0, ddof=1).mean() - frames.mean((1, 2, 3)).var(ddof=1)
    expected = (b - a).reshape(-1, 3).var(0).mean() / noise / (1 / 16 + 1 / 48)
    assert part == {"first": 16, "others": 48, "ratio": pytest.approx(expected, rel=1e-5)}


def test_ratios_with_a_plane_that_never_changes() -> None:
    rng = np.random.default_rng(24)
    frames = rng.normal(100, 5, (40, 20, 20, 3))
    with_it = frames.copy()
    with_it[..., 1] = 0
    (part,) = ratios_of(with_it, 10)
    brightness = with_it.mean((1, 2, 3)).var(ddof=1)
    a, b = frames[:10, ..., ::2].mean(0), frames[10:, ..., ::2].mean(0)
    noise = frames[..., ::2].var(0, ddof=1).mean() - brightness
    expected = (b - a).reshape(-1, 2).var(0).mean() / noise / (1 / 10 + 1 / 30)
    assert part["ratio"] == pytest.approx(expected, rel=1e-5)


def test_ratios_that_are_not_told() -> None:
    rng = np.random.default_rng(23)
    frames = rng.normal(100, 5, (40, 20, 20))
    assert [part["first"] for part in ratios_of(frames, 0, 1, 2, 2, 20, 39)] == [2, 20]
    assert ratios_of(frames[:3], 2) == []
    assert ratios_of(np.full((40, 20, 20), 7.0), 20) == []
    assert ratios_of(frames + 1e9, 20) == []  # float32 does not tell such means apart
    assert len(ratios_of(frames + 1e4, 20)) == 1
