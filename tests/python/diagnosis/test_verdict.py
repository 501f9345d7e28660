"""The verdict on a set: one sentence everywhere, and true of frames that are not part of the set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm import jsontext
from camnorm.correction.adjustments import Adjustments
from camnorm.sensor.balance import balance_of, harm_of, survey_of
from image_sets import sensor_of

SHAPE = (64, 64)
HARM = "The correction would add more noise than it removes"

# Frames that are corrected, behind those of the set.
_TEST = 400


def camera(dose: float, spread: float, seed: int) -> camnorm.simulate.Camera:
    gain = 1 + spread * np.random.default_rng(seed).standard_normal(SHAPE)
    scene = camnorm.simulate.Landscape(SHAPE, contrast=0.2)
    return camnorm.simulate.Camera(SHAPE, np.float32, gain=gain, level=dose, scene=scene, seed=seed)


def counts(source: camnorm.simulate.Camera, n: int, start: int, seed: int) -> np.ndarray:
    """Frames of the camera's scenes and gains, of single electrons that are counted."""
    rng = np.random.default_rng([seed, start, 7])
    light = (source.scene(i) * source.gain for i in range(start, start + n))
    return np.array([rng.poisson(one) for one in light], np.uint8)


def added(sensor: camnorm.Sensor, frames: np.ndarray, truth: np.ndarray, mode: Any) -> float:
    """Mean squared error of corrected frames less that of the raw ones, levels left out."""

    def error(images: np.ndarray) -> float:
        difference = images - truth
        return float(difference.var())

    raw = frames.astype(np.float32)
    return error(sensor.correction(mode=mode).apply(raw).astype(np.float64)) - error(raw.astype(np.float64))


def cases() -> Iterator[tuple[bool, float, float, float]]:
    for counting, dose, spread in (
        (False, 0.2, 0.05),
        (False, 1.0, 0.02),
        (True, 1.0, 0.05),
        (True, 0.5, 0.05),
    ):
        for factor in (0.1, 0.3, 0.7, 1.5, 4.5, 8.0):
            yield counting, dose, spread, factor


@pytest.mark.slow
@pytest.mark.parametrize(("counting", "dose", "spread", "factor"), list(cases()))
def test_the_verdict_is_true_of_other_frames(
    counting: bool, dose: float, spread: float, factor: float
) -> None:
    """Simulated sets of a share of N*, which is 1/(dose·spread²) for such cameras.

    Noise of the simulated camera grows with a pixel's gain, that of counts with its root. Division by the
    sigma image makes it even, which the verdict does not count: near N*, Eq. (2) may help such cameras.
    """
    n = round(factor / (dose * spread**2))
    seed = n
    source = camera(dose, spread, seed)
    if counting:
        frames, test = counts(source, n, 0, seed), counts(source, _TEST, n, seed)
    else:
        frames, test = source.frames(n), source.frames(_TEST, n)
    truth = np.array([source.scene(i) for i in range(n, n + _TEST)], np.float64)
    sensor = sensor_of([frames])
    verdict = camnorm.frames_needed(sensor).verdict
    assert verdict == ("harmful" if factor < 1 else "usable" if factor < 2 else "good")
    for mode in ("both", "mean"):
        if verdict == "harmful":
            if mode == "both" and not counting and factor > 0.5:
                continue
            assert added(sensor, test, truth, mode) > 0
        elif verdict == "good" or mode == "mean":
            assert added(sensor, test, truth, mode) < 0


def low_dose(n: int, spread: float = 0.05, dose: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(n)
    gain = 1 + spread * rng.standard_normal(SHAPE)
    return rng.poisson(dose * gain, (n, *SHAPE)).astype(np.uint8)


@pytest.mark.parametrize("n", [4, 5, 40, 120])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_what_a_correction_keeps_gives_the_same_verdict(n: int, spread: float) -> None:
    sensor = sensor_of([low_dose(n, spread)])
    found = camnorm.frames_needed(sensor)
    quick = balance_of(sensor, survey_of(sensor, kurtosis=False))
    assert quick.verdict == found.verdict == "harmful"
    assert quick.sentence == found.sentence
    assert quick.noise == pytest.approx(found.noise, rel=1e-12)
    assert quick.fixed_pattern == pytest.approx(found.fixed_pattern, rel=1e-9, abs=1e-12)


def test_few_frames_are_never_called_enough() -> None:
    for n in (6, 40, 120):
        sensor = sensor_of([low_dose(n)])
        found = camnorm.frames_needed(sensor)
        assert found.verdict == "harmful"
        said = [*found.advice(), *(finding.sentence for finding in camnorm.check(sensor, found))]
        assert said[0].startswith(HARM)
        assert said[0].endswith(f"you have {n}. Use mode=best or no correction.")
        assert not any("enough" in sentence or "nvisible in a" in sentence for sentence in found.advice())
        assert not any("enough" in sentence for sentence in said)
        frames = next(finding for finding in camnorm.check(sensor, found) if finding.name == "frames")
        if frames.flagged:
            assert f"record at least {int(np.ceil(found.balance.least))}" in frames.sentence


def test_movies_count_for_less_in_the_sentence() -> None:
    rng = np.random.default_rng(3)
    movies = [rng.normal(0, 1, (1, *SHAPE)) + rng.normal(0, 1, (10, *SHAPE)) for _ in range(20)]
    found = camnorm.frames_needed(sensor_of(movies))
    assert found.verdict == "harmful"
    assert f"; you have {found.effective_frames:.0f} in 200 frames." in found.sentence
    assert found.advice()[1] == f"200 frames count as {found.effective_frames:.0f} independent frames."


def poisson(rng: np.random.Generator, gain: np.ndarray, dose: float, n: int) -> np.ndarray:
    """Counts of even light, by frames of their own."""
    return rng.poisson(dose * gain, (n, *SHAPE)).astype(np.uint8)


def change(sensor: camnorm.Sensor, test: np.ndarray, truth: np.ndarray, **options: Any) -> float:
    """Mean squared error of corrected frames less that of raw ones, levels left out."""
    corrected = sensor.correction(**options).apply(test.astype(np.float32), dtype=np.float64)
    return float((corrected - truth).var() - (test - truth).var())


@pytest.mark.parametrize("dose", [0.1, 0.3])
@pytest.mark.parametrize("factor", [0.4, 0.7, 1.5, 3.0])
def test_a_gain_takes_more_frames_at_low_dose(dose: float, factor: float) -> None:
    """Its errors multiply the frame's noise too: (1 + 3/dose) times N* for counts."""
    spread = 0.2
    rng = np.random.default_rng(round(100 * dose + 10 * factor))
    gain = 1 + spread * rng.standard_normal(SHAPE).clip(-2.5, 2.5)
    gain /= gain.mean()
    limit = (1 + 3 / dose) / (dose * gain.var())
    sensor = sensor_of([poisson(rng, gain, dose, round(factor * limit))])
    test = poisson(rng, gain, dose, 2000)
    harm = harm_of(sensor, Adjustments("gain"))
    assert (harm is not None) == (factor < 1)
    assert harm_of(sensor, Adjustments("mean")) is None
    # A gain that is known exactly changes the noise of single frames too: what counts is what is added.
    corrected = sensor.correction(mode="gain").apply(test.astype(np.float32), dtype=np.float64)
    added = float(corrected.var() - (test / gain).var())
    removed = float(((dose * gain) ** 2).mean() - dose**2)
    assert (added > removed) == (factor < 1)
    if harm is not None:
        assert harm.startswith(HARM)
        assert harm.endswith("Use mode=best or no correction.")


@pytest.mark.parametrize("factor", [0.2, 0.6, 1.6, 4.0])
@pytest.mark.parametrize("scale", [True, 16.0])
def test_illumination_that_is_kept_is_no_pattern_removed(factor: float, scale: float | bool) -> None:
    """The mean image has far more illumination than pattern, which does not help if it stays."""
    rng = np.random.default_rng(round(10 * factor))
    noise, strength = 20.0, 1.0
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    light = 1000 * (1 - 0.1 * (x**2 + y * y) + 0.05 * x)
    pattern = strength * rng.standard_normal(SHAPE)
    n = round(factor * noise**2 / strength**2)
    frames = (light + pattern + noise * rng.standard_normal((n, *SHAPE))).astype(np.float32)
    test = light + pattern + noise * rng.standard_normal((400, *SHAPE))
    sensor = sensor_of([frames])
    options: dict[str, Any] = {"mode": "mean", "keep_illumination": scale}
    harm = harm_of(sensor, Adjustments(**options))
    assert harm_of(sensor, Adjustments("mean")) is None
    assert (harm is not None) == (factor < 1)
    assert (change(sensor, test, light, **options) > 0) == (factor < 1)


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({}, True),
        ({"mode": "mean"}, True),
        ({"mode": "gain"}, True),
        ({"leave_out": True}, True),
        ({"shrink": True}, False),
        ({"mode": "mean", "shrink": True}, False),
        ({"mode": "response"}, False),
    ],
)
def test_correct_warns_once(tmp_path: Path, options: dict[str, Any], warns: bool) -> None:
    rng = np.random.default_rng(4)
    for i in range(40):
        np.save(tmp_path / f"{i:02}.npy", rng.poisson(5 + i % 3, SHAPE).astype(np.uint8))
    sensor = camnorm.measure(tmp_path, response=True)
    gain = options.get("mode") == "gain"
    sentence = harm_of(sensor, Adjustments("gain")) if gain else camnorm.frames_needed(sensor).sentence
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        camnorm.correct(tmp_path / "03.npy", sensor, tmp_path / "out", **options)
    said = [warning for warning in caught if str(warning.message).startswith(HARM)]
    assert [str(warning.message) for warning in said] == [sentence] * warns
    assert all(warning.category is UserWarning and warning.filename == __file__ for warning in said)


def test_correct_is_silent_about_good_sets(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pattern = rng.normal(0, 30, SHAPE)
    for i in range(40):
        np.save(tmp_path / f"{i:02}.npy", (1000 + pattern + rng.normal(0, 10, SHAPE)).astype(np.float32))
    sensor = camnorm.measure(tmp_path)
    assert camnorm.frames_needed(sensor).verdict == "usable"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        camnorm.correct(tmp_path / "03.npy", sensor, tmp_path / "out")
    assert [str(one.message) for one in caught if str(one.message).startswith("The correction")] == []


def test_the_words_of_numbers() -> None:
    rng = np.random.default_rng(6)
    pattern = rng.normal(0, 10, SHAPE)
    frames = 1000 + pattern + rng.normal(0, 100, (30, *SHAPE))
    found = camnorm.frames_needed(sensor_of([frames]))
    jsontext.dumps(found.to_dict())
    assert (
        f"Uncertainty: mean image 18 counts, sigma image {100 * found.sigma_error:.2g} %." in found.advice()
    )
