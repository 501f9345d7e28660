"""Hits by cosmic rays and X-rays are seen; pixels that are noisy, few counts and specimens are no hits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from camnorm.cli.messages import with_options
from camnorm.diagnosis.finding import Finding
from camnorm.diagnosis.hits import hits
from image_sets import Divide, sensor_of

RNG = np.random.default_rng
SHAPE = (96, 128)
NOISE = 12.0


def clean(rng: np.random.Generator, count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Frames of a camera with gains, whose light varies from frame to frame."""
    light = rng.normal(1000, 20, (count, *(1 for _ in shape))) * rng.normal(1, 0.03, shape)
    return light + rng.normal(0, NOISE, light.shape)


def rays(rng: np.random.Generator, frames: np.ndarray, share: float, height: float) -> np.ndarray:
    """Frames of which this share of the pixels is hit, three neighbours at a time."""
    frames = frames.copy()
    for frame in frames:
        for _ in range(max(1, round(share * frame.size / 3))):
            y, x = rng.integers(0, frame.shape[0]), rng.integers(0, frame.shape[1] - 2)
            frame[y, x : x + 3] += height * rng.uniform(0.5, 1.5)
    return frames


def found(frames: np.ndarray, dtype: str = "u2", files: int = 1) -> Finding:
    kept = frames.clip(0, 65535).round().astype(dtype) if dtype != "f4" else frames.astype(dtype)
    (finding,) = hits(sensor_of(np.split(kept, files)))
    return finding


@pytest.mark.parametrize(
    ("count", "share", "height"),
    [(6, 1e-3, 500), (12, 1e-3, 100), (30, 3e-4, 100), (100, 1e-4, 30), (100, 3e-3, 30), (400, 3e-3, 100)],
)
@pytest.mark.parametrize("files", [1, 2])
def test_hits(count: int, share: float, height: float, files: int) -> None:
    rng = RNG(count)
    assert found(rays(rng, clean(rng, count), share, height * NOISE), files=files).flagged


def test_what_hits_do_is_named() -> None:
    rng = RNG(1)
    frames = clean(rng, 60)
    dirty = rays(rng, frames, 5e-4, 8000)
    finding = found(dirty)
    hit = (dirty != frames).any(0)
    assert finding.value == pytest.approx(hit.sum(), rel=0.15)
    assert finding.limit == 10
    ratio = np.sqrt((dirty.var(0)[hit] / np.median(frames.var(0))).mean())
    excess = dirty.std(0).mean() / frames.std(0).mean()
    words = finding.sentence.split()
    assert words[:7] == f"single frames stand out in {finding.value:.0f} pixels".split()
    assert float(words[words.index("times") - 1]) == pytest.approx(ratio, rel=0.1)
    assert float(words[words.index("sigma", 20) + 1]) == pytest.approx(excess, rel=0.05)
    assert with_options(finding.sentence).endswith(
        "Remove the hits from the frames before measuring, or correct the mean alone (--mode mean)."
    )


@pytest.mark.parametrize("count", [6, 30, 100])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_clean_frames(count: int, dtype: str) -> None:
    for seed in range(3):
        finding = found(clean(RNG(seed), count), dtype)
        assert not finding.flagged
        assert finding.value <= 1


@pytest.mark.parametrize(
    ("dose", "count"), [(0.05, 300), (0.1, 100), (0.3, 60), (1.0, 6), (1.0, 40), (5.0, 100)]
)
def test_few_counts_are_no_hits(dose: float, count: int) -> None:
    for seed in range(3):
        assert not found(RNG(seed).poisson(dose, (count, *SHAPE)), "u1").flagged


def test_fewest_counts_cannot_be_told() -> None:
    finding = found(RNG(0).poisson(0.01, (40, *SHAPE)), "u1")
    assert math.isnan(finding.value)
    assert (
        finding.sentence
        == "too few frames, or counts, to tell whether single frames stand out in many pixels."
    )


@pytest.mark.parametrize("noise", ["exponential", "Student's t"])
def test_other_noise_is_no_hits(noise: str) -> None:
    rng = RNG(2)
    values = rng.exponential(100, (80, *SHAPE)) if noise == "exponential" else rng.standard_t(5, (80, *SHAPE))
    assert not found(values, "f4").flagged


@pytest.mark.parametrize("count", [6, 30, 100])
def test_hot_noisy_and_dead_pixels_are_no_hits(count: int) -> None:
    rng = RNG(count)
    frames = clean(rng, count)
    noisy, hot, dead, blinking = rng.random((4, *SHAPE)) < 0.003
    frames[:, noisy] += rng.normal(0, 600, (count, noisy.sum()))
    frames[:, hot] += 20000
    frames[:, dead] = 3
    frames[:, blinking] += 500 * (rng.random((count, blinking.sum())) < 0.4)
    assert not found(frames).flagged


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("contrast", [-0.5, 0.5])
def test_beads_and_dust_are_no_hits(length: int, contrast: float) -> None:
    """Each movie shows beads at other places; the sensor's dust stays."""
    rng = RNG(length)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = clean(rng, 60)
    dust = np.hypot(y - 40, x - 70) < 5
    frames[:, dust] *= 0.7
    for first in range(0, 60, length):
        for _ in range(2):
            bead = np.hypot(y - rng.uniform(0, SHAPE[0]), x - rng.uniform(0, SHAPE[1])) < 5
            frames[first : first + length, bead] *= 1 + contrast
    assert not found(frames, files=60 // length).flagged


def test_colour_planes_are_on_their_own() -> None:
    rng = RNG(3)
    frames = clean(rng, 40, (64, 64, 3)) * np.array([0.2, 1.0, 0.5])
    assert not found(frames).flagged
    frames[..., 2] = rays(rng, frames[..., 2], 1e-3, 2000)
    assert found(frames).flagged


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (7.0, -5e4)])
def test_gain_offset_and_order_of_frames_do_not_matter(scale: float, offset: float) -> None:
    rng = RNG(5)
    frames = rays(rng, clean(rng, 40), 1e-3, 1000).astype("f4")
    finding = found(frames, "f4")
    again = found(scale * frames.astype(float) + offset, "f4")
    assert finding.flagged
    assert again.value == pytest.approx(finding.value, rel=0.01)
    assert found(frames[rng.permutation(40)], "f4").flagged


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_cannot_be_told(count: int) -> None:
    assert math.isnan(found(clean(RNG(0), count)).value)


def test_of_large_frames_some_bands_are_compared(divide: Divide) -> None:
    rng = RNG(1)
    frames = clean(rng, 20, (300, 40))
    frames[7, 70:110, ::4] += 5000  # in the second band
    assert found(frames).flagged
    divide(hit_pixels=6000)
    finding = found(frames)
    assert not finding.flagged
    assert finding.value == 0
