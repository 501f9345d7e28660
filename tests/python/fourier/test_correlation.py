"""Ring correlation against full-plane transforms, exact tables, analytic cases and its own null."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import camnorm
from camnorm import RingCorrelation, amplitude_spectrum, frc, ring_average, ring_correlation

DATA = Path(__file__).parents[2] / "data"
SHAPES = [(32, 32), (33, 33), (24, 40), (41, 28), (2, 2), (3, 5), (2, 31)]
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]


def signed(n: int) -> np.ndarray:
    """Frequency numbers in the order of a transform."""
    return np.rint(np.fft.fftfreq(n) * n).astype(int)


def ring_numbers(height: int, width: int, binning: str) -> np.ndarray:
    """Ring of every element of the full transform, in whole numbers of any size."""
    scale = max(height, width)
    rings = np.empty((height, width), int)
    for i, ky in enumerate(signed(height).tolist()):
        for j, kx in enumerate(signed(width).tolist()):
            squared = (ky * width) ** 2 + (kx * height) ** 2
            if binning == "floor":
                rings[i, j] = math.isqrt(squared) // scale
            else:
                rings[i, j] = (math.isqrt(4 * squared) + scale) // (2 * scale)
    return rings


def periodic(image: np.ndarray) -> np.ndarray:
    """Full transform of the periodic component, from an image of the jumps at the edges (Moisan 2011)."""
    height, width = image.shape
    jumps = np.zeros(image.shape)
    jumps[0] += image[-1] - image[0]
    jumps[-1] -= image[-1] - image[0]
    jumps[:, 0] += image[:, -1] - image[:, 0]
    jumps[:, -1] -= image[:, -1] - image[:, 0]
    y, x = (2 * np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in (height, width))
    laplacian = y[:, None] + x - 4
    laplacian[0, 0] = 1
    return np.fft.fft2(image) - np.fft.fft2(jumps) / laplacian


def full_plane(
    a: np.ndarray, b: np.ndarray, binning: str = "round", corners: bool = False, windowed: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Correlation, conditional z, evenness and n of each ring from full transforms in float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    a, b = a - a.mean(), b - b.mean()
    rings = ring_numbers(*a.shape, binning).ravel()

    def sums(fa: np.ndarray, fb: np.ndarray) -> list[np.ndarray]:
        powers = abs(fa) ** 2, abs(fb) ** 2
        terms = ((fa * fb.conj()).real, *powers, powers[0] * powers[1])
        return [np.bincount(rings, values.ravel()) for values in terms]

    n = np.bincount(rings)
    with np.errstate(all="ignore"):
        cross, power_a, power_b, _ = sums(np.fft.fft2(a), np.fft.fft2(b))
        correlation = cross / np.sqrt(power_a * power_b)
        cross, power_a, power_b, product = sums(*((np.fft.fft2 if windowed else periodic)(x) for x in (a, b)))
        z = cross / np.sqrt(product)
        evenness = power_a * power_b / (n * product)
    correlation[0] = z[0] = evenness[0] = np.nan
    last = None if corners else min(a.shape) // 2 + 1
    return correlation[:last], z[:last], evenness[:last], n[:last]


def related(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    common, x, y = rng.normal(size=(3, *shape))
    return x + 0.7 * common, y + 0.7 * common


def red_noise(rng: np.random.Generator, side: int, power: float, periodic: bool = True) -> np.ndarray:
    """Noise whose amplitude falls as 1/k**power; if not periodic, cut out of a larger one."""
    n = side if periodic else 2 * side
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    k[0, 0] = np.inf
    image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, n))) / k**power, s=(n, n))
    return image[:side, :side]


# Against the full plane


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("binning", ["round", "floor"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_full_plane(shape, binning, corners):
    a, b = related(np.random.default_rng(1), shape)
    correlation, z, evenness, n = full_plane(a, b, binning, corners)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        r = frc(a.astype(dtype), b.astype(dtype), binning, crop=None, corners=corners)
        assert r.shape == shape
        np.testing.assert_array_equal(r.n, n)
        np.testing.assert_array_equal(r.n_eff, n)
        np.testing.assert_allclose(r.correlation, correlation, rtol=0, atol=tolerance)
        np.testing.assert_allclose(r.z, z, rtol=0, atol=10 * tolerance)
        np.testing.assert_allclose(r.evenness, evenness, rtol=0, atol=100 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    rng = np.random.default_rng(2)
    a, b = (np.rint(40 + 20 * x).clip(0, 127).astype(dtype) for x in related(rng, (30, 30)))
    correlation, z, *_ = full_plane(a, b)
    r = frc(a, b)
    tolerance = 1e-12 if dtype == "float64" else 3e-6
    np.testing.assert_allclose(r.correlation, correlation, rtol=0, atol=tolerance)
    np.testing.assert_allclose(r.z, z, rtol=0, atol=10 * tolerance)


def test_one_float64_frame_makes_both_transforms_double():
    a, b = related(np.random.default_rng(3), (30, 30))
    b = b.astype(np.float32)
    for r in (frc(a, b), frc(b, a)):
        np.testing.assert_allclose(r.correlation, full_plane(a, b)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (24, 37), (37, 24)])
def test_central_square(shape):
    a, b = related(np.random.default_rng(4), shape)
    top, left = ((n - 24) // 2 for n in shape)
    square = np.s_[top : top + 24, left : left + 24]
    r = frc(a, b)
    assert r.shape == (24, 24)
    np.testing.assert_allclose(r.correlation, full_plane(a[square], b[square])[0], rtol=0, atol=1e-12)


def test_strided_read_only_and_colour_frames():
    a, b = related(np.random.default_rng(5), (64, 96))
    expected = frc(np.ascontiguousarray(a[::-2, 1::3]), np.ascontiguousarray(b[::-2, 1::3]))
    for array in (a, b):
        array.flags.writeable = False
    r = frc(a[::-2, 1::3], np.asfortranarray(b[::-2, 1::3]))
    np.testing.assert_array_equal(r.correlation, expected.correlation)

    colour_a, colour_b = (x.reshape(64, 32, 3) for x in (a, b))
    planes = frc(colour_a, colour_b)
    assert isinstance(planes, list)
    assert len(planes) == 3
    for i, plane in enumerate(planes):
        grey = frc(colour_a[..., i].copy(), colour_b[..., i].copy())
        np.testing.assert_array_equal(plane.correlation, grey.correlation)


def test_high_level_and_low_contrast():
    # A mean of 6e4 in a float32 transform would cost three digits.
    rng = np.random.default_rng(6)
    a, b = (np.rint(60_000 + 10 * x).astype(np.uint16) for x in related(rng, (512, 512)))
    expected, *_ = full_plane(a, b)
    np.testing.assert_allclose(frc(a, b).correlation, expected, rtol=0, atol=2e-6)


def test_window_takes_off_the_weighted_mean():
    rng = np.random.default_rng(7)
    side = 64
    a, b = (red_noise(rng, side, 2.0, periodic=False) + 1e4 for _ in range(2))
    w = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    w = np.outer(w, w)
    weighted = [w * (x - (w * x).sum() / w.sum()) for x in (a, b)]
    expected, *_ = full_plane(*weighted)
    np.testing.assert_allclose(frc(a, b, window="hann").correlation, expected, rtol=0, atol=1e-9)
    assert frc(a, b, window="hann").window == "hann"


@pytest.mark.parametrize("alpha", [0.125, 0.25, 0.5, 1.0])
def test_tukey_window(alpha):
    side = 40
    a, b = related(np.random.default_rng(8), (side, side))
    w = np.ones(side)
    for x in range(side):
        edge = min(x, side - x) / (alpha * side / 2)
        if edge < 1:
            w[x] = (1 - math.cos(math.pi * edge)) / 2
    w = np.outer(w, w)
    expected, *_ = full_plane(*(w * (x - (w * x).sum() / w.sum()) for x in (a, b)))
    r = frc(a, b, window=("tukey", alpha))
    np.testing.assert_allclose(r.correlation, expected, rtol=0, atol=1e-12)
    if alpha == 0.5:
        np.testing.assert_array_equal(r.correlation, frc(a, b, window="tukey").correlation)
    if alpha == 1.0:
        np.testing.assert_array_equal(r.correlation, frc(a, b, window="hann").correlation)


# Exact tables


def golden_images(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of make_frc_golden.py."""
    y, x = np.mgrid[:height, :width]
    a = (7 * y * y + 3 * x * y + 5 * x + y) % 17
    b = a + (y * y + 11 * x * x + 2 * x * y) % 13
    return a.astype(np.uint8), b.astype(np.uint8)


def read_table(name: str) -> list[dict[str, str]]:
    with open(DATA / name, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_golden_correlations(dtype):
    seen = set()
    for row in read_table("frc_golden.csv"):
        height, width, radius = (int(row[k]) for k in ("height", "width", "radius"))
        a, b = (x.astype(dtype) for x in golden_images(height, width))
        r = frc(a, b, row["binning"], crop=None, corners=True)
        tolerance = 1e-13 if dtype == "float64" else 1e-6
        assert r.n[radius] == int(row["n"])
        assert r.correlation[radius] == pytest.approx(float(row["correlation"]), abs=tolerance)
        assert r.z[radius] == pytest.approx(float(row["z"]), abs=10 * tolerance)
        assert r.evenness[radius] == pytest.approx(float(row["evenness"]), abs=10 * tolerance)
        seen.add((height, width, row["binning"]))
    assert len(seen) == 8


def with_counts(n: np.ndarray, n_eff: np.ndarray | None = None) -> RingCorrelation:
    """A result whose rings have n frequencies."""
    r = frc(np.eye(4), np.eye(4))
    return dataclasses.replace(r, n=n, n_eff=n.astype(float) if n_eff is None else n_eff)


def test_golden_thresholds():
    table = read_table("frc_thresholds_golden.csv")
    r = with_counts(np.array([int(row["n"]) for row in table]))
    names = [name for name in table[0] if name != "n"]
    assert names == ["3sigma", "3sigma-exact", "3sigma-asymptotic", "half-bit", "one-bit"]
    for name in names:
        np.testing.assert_allclose(r.threshold(name), [float(row[name]) for row in table], rtol=1e-12)


def test_exact_threshold_uses_the_effective_number_and_ends_at_one():
    n = np.array([1, 100, 200])
    r = with_counts(n, n_eff=np.array([1.0, 50.0, 100.0]))
    exact = with_counts(np.array([1, 50, 100])).threshold("3sigma-exact")
    np.testing.assert_array_equal(r.threshold("3sigma-exact"), exact)
    assert exact[0] == 1.0
    np.testing.assert_array_equal(r.threshold("3sigma"), 3 / np.sqrt(n / 2))


# Analytic cases


def test_identical_and_negated_frames():
    a = np.random.default_rng(9).normal(100, 3, (37, 37)).astype(np.float32)
    np.testing.assert_allclose(frc(a, a, corners=True).correlation[1:], 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(frc(a, -a, corners=True).correlation[1:], -1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(16, 16), (15, 18), (18, 15)])
def test_phases_turned_by_an_angle(shape, dtype):
    fa = np.fft.rfft2(np.random.default_rng(10).normal(size=shape)).astype(dtype)
    for angle in (0.0, 0.3, 2.0):
        r = ring_correlation(fa, (fa * np.exp(1j * angle)).astype(dtype), shape, corners=True)
        np.testing.assert_allclose(r.correlation[1:], math.cos(angle), rtol=0, atol=3e-7)


@pytest.mark.parametrize("binning", ["round", "floor"])
def test_shifted_points(binning):
    # |F| = 1 everywhere and the phase grows along x: the correlation is the ring's mean of a cosine.
    side, shift = 20, 3
    a, b = np.zeros((2, side, side))
    a[4, 5] = b[4, 5 + shift] = 1.0
    rings = ring_numbers(side, side, binning)
    cosine = np.cos(2 * np.pi * signed(side) * shift / side) * np.ones((side, 1))
    mean = np.bincount(rings.ravel(), cosine.ravel()) / np.bincount(rings.ravel())
    r = frc(a, b, binning, corners=True)
    np.testing.assert_allclose(r.correlation[1:], mean[1:], rtol=0, atol=1e-12)
    np.testing.assert_allclose(r.z[1:], (mean * np.sqrt(np.bincount(rings.ravel())))[1:], rtol=0, atol=1e-11)


def test_radii_and_frequencies():
    for side in (6, 7):
        a, b = related(np.random.default_rng(11), (side, side + 2))
        r = frc(a, b, crop=None)
        assert r.radius.tolist() == [0, 1, 2, 3]
        np.testing.assert_allclose(r.frequency, np.arange(4) / side)
        np.testing.assert_allclose(r.nyquist, np.arange(4) / (side / 2))
        beyond = frc(a, b, crop=None, corners=True)
        assert beyond.n.sum() == side * (side + 2)
        np.testing.assert_array_equal(beyond.correlation[:4], r.correlation)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.sampled_from(["round", "floor"]), st.integers(0, 2**32 - 1))
def test_laws(height, width, binning, seed):
    a, b = related(np.random.default_rng(seed), (height, width))
    r = frc(a, b, binning, crop=None, corners=True)
    np.testing.assert_array_equal(r.n, np.bincount(ring_numbers(height, width, binning).ravel()))
    assert np.isnan(r.correlation[0])
    assert (abs(r.correlation[1:]) <= 1 + 1e-12).all()
    # Symmetric, odd in each frame, and blind to a frame's scale.
    np.testing.assert_array_equal(frc(b, a, binning, crop=None, corners=True).correlation, r.correlation)
    np.testing.assert_array_equal(frc(-a, b, binning, crop=None, corners=True).z, -r.z)
    np.testing.assert_array_equal(frc(4 * a, b / 8, binning, crop=None, corners=True).z, r.z)


# The null


def test_null_distribution():
    from scipy.special import stdtr

    rng = np.random.default_rng(12)
    pairs = [frc(*rng.normal(size=(2, 64, 64))) for _ in range(100)]
    c = np.stack([r.correlation[1:] for r in pairs])
    z = np.stack([r.z[1:] for r in pairs])
    n = pairs[0].n[1:].astype(float)
    assert (n * c**2).mean() == pytest.approx(1.0, abs=0.06)
    assert (z**2).mean() == pytest.approx(1.0, abs=0.06)
    # Kolmogorov-Smirnov at the 1 % level against Student's t with n - 1 degrees of freedom.
    uniform = np.sort(stdtr(n - 1, c * np.sqrt((n - 1) / (1 - c**2))).ravel())
    distance = abs(uniform - (np.arange(uniform.size) + 0.5) / uniform.size).max()
    assert distance < 1.63 / math.sqrt(uniform.size)
    outside = (abs(c) > pairs[0].threshold("3sigma-exact")[1:]).mean()
    assert outside == pytest.approx(0.0027, abs=0.0027)


@pytest.mark.parametrize(
    ("power", "periodic", "window"),
    [
        (0.0, True, None),
        (0.0, True, "hann"),
        (0.0, True, "tukey"),
        (1.0, True, None),
        (1.0, False, None),
        (1.5, False, None),
        (1.0, False, "hann"),
        (2.0, False, "hann"),
    ],
)
def test_false_alarms(power, periodic, window):
    rng = np.random.default_rng(13)
    pairs = 250
    z, alarms, outside, expected = [], 0, 0, 0.0
    for _ in range(pairs):
        a, b = (red_noise(rng, 64, power, periodic).astype(np.float32) for _ in range(2))
        r = frc(a, b, window=window)
        verdict = r.independence()
        alarms += not verdict.independent
        outside += verdict.outside_3sigma
        expected += verdict.expected_outside_3sigma
        z.append(verdict.z)
    # 5 % of 250, and 2.3 standard deviations; without the window's covariances, std(z) would be 1.4.
    assert 3 <= alarms <= 20
    assert np.std(z) == pytest.approx(1.0, abs=0.15)
    assert abs(np.mean(z)) < 0.2
    if window or periodic:
        assert abs(outside - expected) < 4 * math.sqrt(expected + 1)


def test_very_red_frames_without_a_window_are_not_covered():
    # What the documentation says of the edges: if this ever holds, mend the documentation.
    rng = np.random.default_rng(14)
    pairs = [[red_noise(rng, 64, 2.5, periodic=False) for _ in range(2)] for _ in range(60)]
    alarms = sum(not frc(*pair).independence().independent for pair in pairs)
    assert alarms > 15


@pytest.mark.parametrize("window", [None, "hann"])
def test_weak_fixed_pattern_is_found(window):
    rng = np.random.default_rng(15)
    pattern = 0.35 * rng.normal(size=(128, 128))
    x, y = rng.normal(size=(2, 128, 128))
    verdict = frc(x + pattern, y + pattern, window=window).independence()
    assert not verdict.independent
    assert verdict.p_mean < 1e-6
    assert verdict.mean_correlation > 0
    assert frc(x, y, window=window).independence().independent


def ring_noise(rng: np.random.Generator, side: int, radius: int) -> np.ndarray:
    """Noise of unit variance with power in one ring only."""
    rings = ring_numbers(side, side, "round")[:, : side // 2 + 1]
    image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * (rings == radius), s=(side, side))
    return image / image.std()


def test_pattern_in_a_single_ring_is_found():
    rng = np.random.default_rng(16)
    x, y = rng.normal(size=(2, 128, 128))
    pattern = 0.15 * ring_noise(rng, 128, 40)
    verdict = frc(x + pattern, y + pattern).independence()
    assert not verdict.independent
    assert verdict.p_largest < 1e-5
    assert verdict.p_mean > 1e-3


@pytest.mark.parametrize("window", [None, "hann", "tukey"])
@pytest.mark.parametrize("amplitude", [0.3, 1.0, 30.0])
def test_readout_lines_are_found(window, amplitude):
    """A single frequency has a single phase to show: no test of phases can find it."""
    rng = np.random.default_rng(16)
    x, y = rng.normal(size=(2, 128, 128))
    pattern = amplitude * np.tile([1.0, 0.0, -1.0, 0.0], 32)
    r = frc(x + pattern, y + pattern, window=window)
    assert r.correlation[32] > r.threshold("3sigma")[32]
    v = r.independence()
    assert v.lines >= 1
    assert v.outside_exact >= 1
    assert not v.independent
    assert f"with lines in both frames: {v.lines} rings" in str(v)
    # Of opposite signs they are no common pattern.
    opposite = frc(x + pattern, y - pattern, window=window).independence()
    assert opposite.lines == 0


def test_no_lines_in_independent_frames():
    rng = np.random.default_rng(18)
    for _ in range(50):
        x, y = rng.normal(size=(2, 64, 64))
        assert frc(x, y, window="tukey").independence().lines == 0


def test_verdict_longhand():
    from scipy.special import ndtr, stdtr

    rng = np.random.default_rng(17)
    x, y = rng.normal(size=(2, 128, 128))
    pattern = 0.12 * (ring_noise(rng, 128, 40) + ring_noise(rng, 128, 50))
    r = frc(x + pattern, y + pattern, corners=True)
    v = r.independence(alpha=0.01)
    z, c = r.z[1:65], r.correlation[1:65]
    assert v.rings == 64
    assert v.outside_3sigma == (abs(c) > 3 / np.sqrt(r.n[1:65] / 2)).sum()
    exact = r.threshold("3sigma-exact")[1:65]
    assert v.outside_exact == (abs(r.correlation[1:65]) > exact).sum()
    assert v.expected_outside_exact == pytest.approx(64 * 0.0027)
    assert v.mean_correlation == pytest.approx(c.mean())
    assert v.z == pytest.approx(z.sum() / 8)
    m = r.n[1:65] * r.evenness[1:65] / 2 + 3
    p = 2 * stdtr(m - 1, -abs(z) * np.sqrt((m - 1) / (m - z**2)))
    assert v.p_largest == pytest.approx(1 - (1 - p.min()) ** 64, abs=1e-13)
    k = (p < 0.0027).sum()
    assert k >= 2
    below = sum(math.comb(64, i) * 0.0027**i * (1 - 0.0027) ** (64 - i) for i in range(k))
    assert v.p_count == pytest.approx(1 - below)
    assert v.p_mean == pytest.approx(1 - ndtr(v.z))
    assert v.p == pytest.approx(smallest_p_longhand(min(v.p_largest, v.p_count, v.p_mean), 64), rel=1e-6)
    assert v.alpha == 0.01
    assert v.independent == (v.p >= 0.01)


def smallest_p_longhand(s: float, rings: int) -> float:
    """1 - P(none of the three p is at most s), summed over how many rings lie beyond the 0.27 % points."""
    q = 1 - (1 - s) ** (1 / rings)

    def binomial(k: int, p: float) -> float:
        return math.comb(rings, k) * p**k * (1 - p) ** (rings - k)

    neither, k, at_least = 0.0, 0, 1.0
    while at_least > s * (1 + 1e-9):  # so few rings are no reason, unless one of them is below q
        neither += math.comb(rings, k) * max(0.0, 0.0027 - q) ** k * (1 - max(0.0027, q)) ** (rings - k)
        at_least -= binomial(k, 0.0027)
        k += 1
    return 1 - (1 - s) * neither


def normal_rings(rng: np.random.Generator, rings: int) -> RingCorrelation:
    """A curve of independent rings, of enough frequencies for z to be normal."""
    n = np.full(rings + 1, 10**9)
    z = np.concatenate([[np.nan], rng.normal(size=rings)])
    return RingCorrelation(
        (2 * rings, 2 * rings), "round", None, z / np.sqrt(n), z, np.ones(rings + 1), n, n.astype(float)
    )


@pytest.mark.parametrize("rings", [8, 64, 500])
def test_smallest_of_three_p_keeps_the_level(rings):
    rng = np.random.default_rng(33)
    verdicts = [normal_rings(rng, rings).independence() for _ in range(1000)]
    p = np.array([v.p for v in verdicts])
    for level in (0.01, 0.05, 0.2):
        # Not above, by 3 standard deviations, and near: a count of rings makes steps.
        assert level * 0.8 - 0.015 < (p < level).mean() < level + 3 * math.sqrt(level * (1 - level) / p.size)
    for v in verdicts[:20]:
        smallest = min(v.p_largest, v.p_count, v.p_mean)
        assert v.p == pytest.approx(smallest_p_longhand(smallest, rings), rel=1e-6)


@pytest.mark.parametrize("window", [None, "hann", "tukey", ("tukey", 0.25)])
@pytest.mark.parametrize("radius", [10, 24])
def test_p_of_a_ring_has_the_kurtosis_that_the_window_leaves(window, radius):
    from scipy.special import stdtr

    side, z_there = 64, 3.3
    x = np.arange(side)
    tapered = {None: 0.0, "hann": 1.0, "tukey": 0.5}.get(window, 0.25)
    w = np.ones(side)
    if tapered:
        w = 0.5 - 0.5 * np.cos(np.pi * np.minimum(1, np.minimum(x, side - x) / (tapered * side / 2)))
    # The covariance of the coefficients of the ring, and the excess kurtosis of z by its cumulants.
    ky, kx = np.nonzero(ring_numbers(side, side, "round") == radius)
    spectrum = np.fft.fft(w**2) / (w**2).sum()
    covariance = spectrum[ky[:, None] - ky] * spectrum[kx[:, None] - kx]
    n = ky.size
    h2, h3, h4 = ((np.linalg.eigvalsh(covariance) ** j).sum() / n for j in (2, 3, 4))
    kappa = 4 * h3 / h2 - h4 / h2**2 - (abs(covariance) ** 4).sum() / n

    rng = np.random.default_rng(34)
    r = frc(*rng.normal(size=(2, side, side)), window=window)
    z = np.zeros(r.z.size)
    z[radius] = z_there
    v = dataclasses.replace(r, z=z, evenness=np.ones(r.n.size)).independence()
    m = n / kappa + 3
    p = 2 * stdtr(m - 1, -z_there * np.sqrt((m - 1) / (m - z_there**2)))
    assert v.p_largest == pytest.approx(1 - (1 - p) ** v.rings, rel=0.06)


@pytest.mark.parametrize("window", [None, "hann", "tukey"])
def test_tails_of_rings_of_white_frames(window):
    rng = np.random.default_rng(35)
    frames = (rng.normal(size=(2, 64, 64)).astype(np.float32) for _ in range(800))
    p = np.array([frc(*pair, window=window).independence().p_largest for pair in frames])
    # 10 % of 800, and 3.5 standard deviations of that. Where a window makes rings alike, they are fewer.
    assert 50 <= (p < 0.1).sum() <= 110


def test_combined_pairs():
    rng = np.random.default_rng(30)
    pairs = [frc(*rng.normal(size=(2, 64, 64)), window="tukey") for _ in range(9)]
    whole = RingCorrelation.combined(pairs)
    np.testing.assert_allclose(whole.correlation[1:], np.mean([r.correlation[1:] for r in pairs], axis=0))
    np.testing.assert_allclose(whole.z[1:], np.sum([r.z[1:] for r in pairs], axis=0) / 3)
    np.testing.assert_array_equal(whole.n, 9 * pairs[0].n)
    np.testing.assert_allclose(whole.threshold("3sigma"), pairs[0].threshold("3sigma") / 3)
    half = RingCorrelation.combined(pairs, common=0.125)  # 1 + 8 * 0.125 = 2
    np.testing.assert_allclose(half.z[1:], whole.z[1:] / math.sqrt(2))
    np.testing.assert_allclose(half.n_eff, whole.n_eff / 2)
    alone = RingCorrelation.combined(pairs[:1])
    assert alone.independence() == pairs[0].independence()
    with pytest.raises(ValueError, match="no pairs to combine"):
        RingCorrelation.combined([])
    with pytest.raises(ValueError, match="must be of one shape, binning, window and number of rings"):
        RingCorrelation.combined([pairs[0], frc(*rng.normal(size=(2, 64, 64)))])


def test_combined_pairs_find_a_weak_pattern():
    rng = np.random.default_rng(31)
    pattern = 0.12 * rng.normal(size=(64, 64))
    pairs = [frc(*(x + pattern for x in rng.normal(size=(2, 64, 64)))) for _ in range(40)]
    assert sum(not r.independence().independent for r in pairs) < 20
    assert RingCorrelation.combined(pairs).independence().p < 1e-4


@pytest.mark.parametrize("window", [None, "hann"])
def test_corners_are_tested_on_request(window):
    rng = np.random.default_rng(32)
    z = []
    for _ in range(60):
        r = frc(*rng.normal(size=(2, 64, 64)), window=window, corners=True)
        inner, all_of_them = r.independence(), r.independence(corners=True)
        assert (inner.rings, all_of_them.rings) == (32, r.n.size - 1)
        z.append(all_of_them.z)
    assert np.std(z) == pytest.approx(1, abs=0.25)
    y, x = np.indices((64, 64))
    pattern = 0.5 * (-1.0) ** (x + y) * np.kron(rng.normal(size=(8, 8)), np.ones((8, 8)))
    found = frc(*(pattern + x for x in rng.normal(size=(2, 64, 64))), window=window, corners=True)
    assert found.independence(corners=True).p < found.independence().p


def test_error_of_the_mean_correlation():
    rng = np.random.default_rng(33)
    for window in (None, "hann"):
        found = [frc(*rng.normal(size=(2, 64, 64)), window=window).independence() for _ in range(200)]
        spread = np.std([v.mean_correlation for v in found])
        assert spread == pytest.approx(found[0].mean_correlation_error, rel=0.2)


def test_expected_outside_3sigma_is_the_tail_beyond_the_curve():
    # By the density of the correlation of n white frequencies, (1 - c²)^((n - 3)/2).
    r = frc(*np.random.default_rng(18).normal(size=(2, 64, 64)))
    c = np.linspace(0.0, 1.0, 100_001)
    expected = 0.0
    for n, threshold in zip(r.n[1:], r.threshold("3sigma")[1:], strict=True):
        density = (1 - c**2) ** ((n - 3) / 2)
        expected += density[c > threshold].sum() / density.sum()
    assert r.independence().expected_outside_3sigma == pytest.approx(expected, rel=5e-3)


# Windows


def pair_sums(side: int, window: np.ndarray, binning: str) -> tuple[np.ndarray, float]:
    """n_eff of each ring and the variance of Σz over rings 1 to Nyquist, pair by pair."""
    rings = ring_numbers(side, side, binning).ravel()
    spread = abs(np.fft.fft2(np.outer(window, window) ** 2)) ** 2
    y, x = np.divmod(np.arange(side * side), side)
    pairs = spread[y[:, None] - y, x[:, None] - x]
    one_hot = np.eye(rings.max() + 1)[rings]
    k = one_hot.T @ pairs @ one_hot
    n = np.bincount(rings)
    diagonal = np.sqrt(np.diag(k))
    inner = slice(1, side // 2 + 1)
    return n**2 * spread[0, 0] / np.diag(k), float((k / np.outer(diagonal, diagonal))[inner, inner].sum())


@pytest.mark.parametrize("binning", ["round", "floor"])
@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_effective_numbers_pair_by_pair(alpha, binning):
    side = 24
    x = np.arange(side)
    window = 0.5 - 0.5 * np.cos(np.pi * np.minimum(1, np.minimum(x, side - x) / (alpha * side / 2)))
    n_eff, variance = pair_sums(side, window, binning)
    a, b = related(np.random.default_rng(19), (side, side))
    r = frc(a, b, binning, window=("tukey", alpha), corners=True)
    np.testing.assert_allclose(r.n_eff, n_eff, rtol=2e-3)
    verdict = r.independence()
    assert verdict.z == pytest.approx(r.z[1 : side // 2 + 1].sum() / math.sqrt(variance), rel=2e-3)
    plain, *_ = full_plane(a, b, binning)
    w = np.outer(window, window)
    tapered = (w * (x - (w * x).sum() / w.sum()) for x in (a, b))
    _, z, _, n = full_plane(*tapered, binning, corners=True, windowed=True)
    np.testing.assert_allclose(r.z[1:], (z * np.sqrt(n_eff / n))[1:], rtol=2e-3)
    assert not np.allclose(plain[1:], r.correlation[1 : plain.size], atol=1e-3)


@pytest.mark.parametrize(
    ("window", "low", "high"),
    [
        ("hann", 1.7, 1.9),
        (("tukey", 0.125), 1.015, 1.025),
        (("tukey", 0.25), 1.06, 1.08),
        ("tukey", 1.2, 1.25),
    ],
)
def test_effective_numbers_of_large_frames(window, low, high):
    rng = np.random.default_rng(20)
    frames = rng.normal(size=(2, 640, 640)).astype(np.float32)
    r = frc(*frames, window=window)
    ratio = r.n / r.n_eff
    assert low < ratio[200:].mean() < high
    # Rings taken for the limit follow on those that are computed.
    assert ratio[-100:].mean() == pytest.approx(ratio[60:160].mean(), rel=0.01)


# Spectra


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (6, 5), (5, 6), (1, 4), (2, 1)])
def test_amplitude_spectrum(shape):
    image = np.random.default_rng(21).normal(5, 1, shape)
    expected = abs(np.fft.fftshift(np.fft.fft2(image)))
    amplitude = amplitude_spectrum(image)
    assert amplitude.dtype == np.float64
    np.testing.assert_allclose(amplitude, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        amplitude_spectrum((100 * image).astype(np.uint16)),
        abs(np.fft.fftshift(np.fft.fft2((100 * image).astype(np.uint16)))),
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("binning", ["round", "floor"])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (12, 5)])
def test_ring_average(shape, binning, corners):
    spectrum = np.random.default_rng(22).normal(size=shape)
    rings = np.fft.fftshift(ring_numbers(*shape, binning)).ravel()
    expected = np.bincount(rings, spectrum.ravel()) / np.bincount(rings)
    expected = expected[: None if corners else min(shape) // 2 + 1]
    for values in (spectrum, np.asfortranarray(spectrum)):
        np.testing.assert_allclose(ring_average(values, binning, corners), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        ring_average(spectrum.astype(np.float32), binning, corners), expected, rtol=0, atol=1e-6
    )


def test_ring_correlation_is_that_of_the_frames():
    a, b = related(np.random.default_rng(23), (20, 27))
    r = frc(a, b, "floor", crop=None, corners=True)
    s = ring_correlation(np.fft.rfft2(a), np.fft.rfft2(b), (20, 27), "floor", True)
    np.testing.assert_allclose(s.correlation, r.correlation, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(s.n, r.n)


# The same bits everywhere


def digest_of_results() -> str:
    import hashlib

    rng = np.random.default_rng(24)
    digest = hashlib.sha256()
    for dtype in ("uint16", "float32", "float64"):
        a, b = (np.rint(1000 + 50 * x).astype(dtype) for x in related(rng, (211, 190)))
        for window in (None, "hann"):
            r = frc(a, b, window=window, crop=None)
            digest.update(r.correlation.tobytes() + r.z.tobytes())
    digest.update(ring_average(amplitude_spectrum(a)).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1024, 1024), (1023, 1030)])
def test_threads_do_not_change_a_bit(shape, dtype):
    a, b = (np.rint(1000 + 50 * x).astype(dtype) for x in related(np.random.default_rng(25), shape))
    one = frc(a, b, crop=None, window="hann", threads=1)
    for threads in (2, 3, 8):
        many = frc(a, b, crop=None, window="hann", threads=threads)
        np.testing.assert_array_equal(many.correlation, one.correlation)
        np.testing.assert_array_equal(many.z, one.z)


@pytest.mark.slow
def test_instruction_sets_do_not_change_a_bit():
    isas = camnorm.build_info()["isas"]
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_correlation as t; "
    digests = {
        subprocess.run(
            [sys.executable, "-c", code + "print(t.camnorm.build_info()['isa'], t.digest_of_results())"],
            env={**os.environ, "CAMNORM_ISA": isa},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for isa in isas
    }
    assert sorted(line.split()[0] for line in digests) == sorted(isas)
    assert {line.split()[1] for line in digests} == {digest_of_results()}


# What users get


def test_results_cannot_be_changed():
    r = frc(*related(np.random.default_rng(26), (16, 16)))
    for values in (r.correlation, r.z, r.n, r.n_eff):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        r.n = r.n  # type: ignore[misc]
    assert repr(r) == "<RingCorrelation of frames of shape (16, 16), 9 rings>"


def test_csv(tmp_path):
    r = frc(*related(np.random.default_rng(27), (16, 16)), window="hann")
    r.to_csv(tmp_path / "frc.csv")
    with open(tmp_path / "frc.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {
        "radius": r.radius,
        "frequency": r.frequency,
        "nyquist": r.nyquist,
        "n": r.n,
        "n_eff": r.n_eff,
        "correlation": r.correlation,
        "z": r.z,
        "threshold_3sigma": r.threshold("3sigma"),
        "threshold_3sigma_exact": r.threshold("3sigma-exact"),
    }
    assert list(rows[0]) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal([float(row[name]) for row in rows], values)
    with pytest.raises(OSError, match="missing"):
        r.to_csv(tmp_path / "missing" / "frc.csv")


def test_verdict_as_text_and_dict():
    a, b = related(np.random.default_rng(28), (64, 64))
    verdict = frc(a, b).independence()
    assert str(verdict).startswith("not independent: p = ")
    assert "over 32 rings" in str(verdict)
    assert f"{verdict.outside_3sigma} rings" in str(verdict)
    d = json.loads(json.dumps(verdict.to_dict()))
    assert d["independent"] is False
    assert {"rings", "outside_3sigma", "outside_exact", "mean_correlation", "z", "p"} < set(d)
    assert d == verdict.to_dict()


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    r = frc(*related(np.random.default_rng(29), (64, 64)))
    ax = Figure().subplots()
    assert r.plot(ax) is ax
    curves = {tuple(line.get_ydata()) for line in ax.lines}
    assert tuple(r.threshold("3sigma")) in curves
    assert tuple(-r.threshold("3sigma")) in curves
    drawn = next(line for line in ax.lines if np.array_equal(line.get_ydata(), r.correlation, equal_nan=True))
    np.testing.assert_array_equal(drawn.get_xdata(), r.nyquist)
    assert "Nyquist" in ax.get_xlabel()
    assert ax.get_xlim() == (0.0, 1.0)
    beyond = frc(*related(np.random.default_rng(29), (64, 64)), corners=True)
    own = beyond.plot()
    assert own.get_xlim()[1] == beyond.nyquist[-1] > 1.4
    import matplotlib.pyplot as plt

    plt.close(own.figure)


def test_constant_frames():
    a = np.random.default_rng(30).normal(size=(15, 15))
    for constant in (np.zeros((15, 15)), np.full((15, 15), 0.1), np.full((15, 15), 0.1, np.float32)):
        for pair in ((a, constant), (constant, a), (constant, constant)):
            r = frc(*pair)
            assert np.isnan(r.correlation).all()
            assert np.isnan(r.z).all()
            with pytest.raises(ValueError, match=r"^no ring has power in both frames: is one of"):
                r.independence()


def test_rings_without_power_are_left_out():
    # A transform with power in rings 3 and 5 only.
    rings = ring_numbers(16, 16, "round")[:, :9]
    rng = np.random.default_rng(31)
    fa, fb = (np.fft.rfft2(rng.normal(size=(16, 16))) * np.isin(rings, [3, 5]) for _ in range(2))
    r = ring_correlation(fa, fb, (16, 16))
    assert np.flatnonzero(np.isfinite(r.correlation)).tolist() == [3, 5]
    verdict = r.independence()
    assert verdict.rings == 2
    assert verdict.z == pytest.approx((r.z[3] + r.z[5]) / math.sqrt(2))


IMAGE = np.random.default_rng(32).normal(size=(16, 16))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: frc([[1.0]], IMAGE), TypeError, "a must be a numpy array, not list"),
        (lambda: frc(IMAGE, None), TypeError, "b must be a numpy array, not NoneType"),
        (
            lambda: frc(np.ones((3, 16, 16)), np.ones((3, 16, 16))),
            ValueError,
            "a has shape (3, 16, 16), and 16 planes are too many for colours: pass one frame of a stack",
        ),
        (lambda: frc(IMAGE[0], IMAGE), ValueError, "a has shape (16,) where a frame (y, x) or (y, x, c)"),
        (
            lambda: frc(IMAGE, IMAGE[:, :8]),
            ValueError,
            "a has shape (16, 16) and b (16, 8): two frames of one shape are wanted",
        ),
        (lambda: frc(IMAGE[:1], IMAGE[:1]), ValueError, "a shape of (1, 16) has no rings"),
        (
            lambda: frc(IMAGE.astype(np.int64), IMAGE),
            TypeError,
            "pixels of a of dtype int64 are not",
        ),
        (lambda: frc(IMAGE, IMAGE + 1j), TypeError, "pixels of b of dtype complex128 are not supported"),
        (
            lambda: frc(IMAGE, IMAGE, "no"),
            ValueError,
            "binning must be 'round' or 'floor', not 'no'",
        ),
        (lambda: frc(IMAGE, IMAGE, crop="left"), ValueError, "crop must be 'square' or None, not 'left'"),
        (
            lambda: frc(IMAGE, IMAGE, window="hamming"),
            ValueError,
            "window must be None, 'hann', 'tukey' or ('tukey', alpha) with 0 < alpha <= 1, not 'hamming'",
        ),
        (lambda: frc(IMAGE, IMAGE, window=("tukey", 0.0)), ValueError, "not ('tukey', 0.0)"),
        (lambda: frc(IMAGE, IMAGE, window=("tukey", 1.5)), ValueError, "not ('tukey', 1.5)"),
        (lambda: frc(IMAGE, IMAGE, window=("hann", 0.5)), ValueError, "not ('hann', 0.5)"),
        (lambda: frc(IMAGE, IMAGE, threads=0), ValueError, "threads must be positive, got 0"),
        (lambda: frc(np.where(IMAGE > 2, np.nan, IMAGE), IMAGE), ValueError, "a has NaN or infinite pixels"),
        (lambda: frc(IMAGE, np.where(IMAGE > 2, np.inf, IMAGE)), ValueError, "b has NaN or infinite pixels"),
        (
            lambda: frc(IMAGE, IMAGE).threshold("2sigma"),
            ValueError,
            "no threshold '2sigma': there are 3sigma, 3sigma-exact, 3sigma-asymptotic, half-bit, one-bit",
        ),
        (lambda: frc(IMAGE, -IMAGE).independence(0.0), ValueError, "alpha must lie between 0 and 1, got 0.0"),
        (lambda: frc(IMAGE, -IMAGE).independence(1.0), ValueError, "alpha must lie between 0 and 1, got 1.0"),
        (lambda: amplitude_spectrum([[1.0]]), TypeError, "image must be a numpy array, not list"),
        (lambda: amplitude_spectrum(IMAGE > 0), TypeError, "pixels of image of dtype bool are not supported"),
        (
            lambda: amplitude_spectrum(IMAGE[0]),
            ValueError,
            "image has shape (16,) where (y, x) is wanted",
        ),
        (lambda: amplitude_spectrum(IMAGE[:0]), ValueError, "image has shape (0, 16)"),
        (lambda: amplitude_spectrum(IMAGE * np.nan), ValueError, "image has NaN or infinite pixels"),
        (lambda: ring_average(IMAGE > 0), TypeError, "spectrum must be of a float dtype, not bool"),
        (lambda: ring_average(IMAGE.tolist()), TypeError, "spectrum must be a numpy array, not list"),
        (lambda: ring_average(IMAGE[0]), ValueError, "a shape of (16,) has no rings"),
        (lambda: ring_average(IMAGE, "near"), ValueError, "binning must be 'round' or 'floor', not 'near'"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_non_finite_frames_are_the_packages_own_error():
    with pytest.raises(camnorm.NonFiniteError):
        frc(IMAGE, np.where(IMAGE > 2, np.nan, IMAGE))


HALF = np.fft.rfft2(IMAGE)


@pytest.mark.parametrize(
    ("fa", "fb", "shape", "error", "message"),
    [
        (HALF.tolist(), HALF, (16, 16), TypeError, "fa must be a numpy array, not list"),
        (HALF.real.copy(), HALF, (16, 16), TypeError, "fa must be complex64 or complex128, not float64"),
        (HALF, HALF.astype(">c16"), (16, 16), TypeError, "fb must be complex64 or complex128, not >c16"),
        (
            HALF,
            HALF.astype(np.complex64),
            (16, 16),
            TypeError,
            "fa is complex128 and fb complex64: both must be of one dtype",
        ),
        (
            HALF,
            HALF,
            (16, 18),
            ValueError,
            "fa has shape (16, 9), but the half spectrum of a frame of shape (16, 18) has (16, 10)",
        ),
        (
            HALF,
            np.asfortranarray(HALF),
            (16, 16),
            ValueError,
            "fb is not C-contiguous: pass numpy.ascontiguousarray(fb)",
        ),
        (HALF * np.nan, HALF, (16, 16), ValueError, "the spectra have NaN, infinite or far too large values"),
        (HALF, HALF, (16, 1), ValueError, "a shape of (16, 1) has no rings"),
        (HALF, HALF, (200_000, 200_000), ValueError, "fa has shape (16, 9), but the half spectrum of"),
    ],
)
def test_errors_of_spectra(fa, fb, shape, error, message):
    with pytest.raises(error) as caught:
        ring_correlation(fa, fb, shape)
    assert message in str(caught.value)


def test_heavy_packages_are_imported_late():
    code = "import sys, camnorm; print([m for m in ('pyfftw', 'scipy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
