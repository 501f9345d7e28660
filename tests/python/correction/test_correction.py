"""Correction against the formula written out in numpy float64."""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import camnorm
from camnorm import Correction

DTYPES = [np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8")]
INTEGERS = DTYPES[:6]
FLOATS = DTYPES[6:]


def random_frames(rng, dtype, shape):
    if dtype.kind == "f":
        return rng.normal(100, 40, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def images(rng, shape):
    return rng.normal(100, 10, shape), rng.uniform(1, 20, shape)


def longhand(frames, mean, sigma, i0, s0):
    return (frames.astype(np.float64) - mean) / sigma * s0 + i0


def longhand_inverse(frames, mean, sigma, i0, s0):
    return (frames.astype(np.float64) - i0) * sigma / s0 + mean


def rounded(values, dtype):
    """The values in another dtype, and how many of them saturate."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            nearest = values.astype(dtype)
        beyond = np.isinf(nearest) & np.isfinite(values)
        nearest[beyond] = np.copysign(np.finfo(dtype).max, values[beyond])
        return nearest, int(beyond.sum())
    info = np.iinfo(dtype)
    whole = np.rint(values)
    clipped = ~((whole >= info.min) & (whole <= info.max))
    return np.clip(np.nan_to_num(whole, nan=0.0), info.min, info.max).astype(dtype), int(clipped.sum())


def ulps(a, b, scale):
    """Distance in ulp of a number as large as `scale`."""
    return np.max(np.abs(a - b) / np.spacing(np.abs(scale)), initial=0.0)


def nearest_good(bad, y, x):
    """Good pixels in the smallest square around (y, x) that has any, by looking at every square."""
    h, w = bad.shape
    for r in range(max(h, w)):
        ys, xs = slice(max(y - r, 0), y + r + 1), slice(max(x - r, 0), x + r + 1)
        if not bad[ys, xs].all():
            return ys, xs, ~bad[ys, xs]
    raise AssertionError("no good pixel")


def interpolated(values, bad):
    result = values.copy()
    for y, x in np.argwhere(bad):
        ys, xs, good = nearest_good(bad, y, x)
        result[..., y, x] = values[..., ys, xs][..., good].mean(axis=-1)
    return result


# --- the formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype_in", DTYPES, ids=str)
@pytest.mark.parametrize("dtype_out", DTYPES, ids=str)
def test_all_pairs_of_dtypes(dtype_in, dtype_out):
    rng = np.random.default_rng([DTYPES.index(dtype_in), DTYPES.index(dtype_out)])
    shape = (71, 67)  # more than one block, and a tail
    mean, sigma = images(rng, shape)
    s0 = {1: 3.0, 2: 10.0, 4: 1e3, 8: 1e3}[dtype_out.itemsize]
    frames = random_frames(rng, dtype_in, (3, *shape))
    c = Correction(mean, sigma, 20.0, s0)

    values = longhand(frames, mean, sigma, 20.0, s0)
    got = c.apply(frames, dtype=np.float64)
    assert ulps(got, values, np.maximum(abs(values), abs(values - 20.0))) <= 4

    # One rounding, from the float64 values: those of numpy's casts.
    want, clipped = rounded(got, dtype_out)
    out = c.apply(frames, dtype=dtype_out)
    assert out.dtype == dtype_out
    np.testing.assert_array_equal(out, want)
    assert c.clipped == clipped

    # In these data no value lies within 4 ulp of a tie, so the longhand formula gives the same.
    if dtype_out != np.float64:
        np.testing.assert_array_equal(out, rounded(values, dtype_out)[0])


@pytest.mark.parametrize("dtype_in", DTYPES, ids=str)
@pytest.mark.parametrize("dtype_out", DTYPES, ids=str)
def test_inverse_of_all_pairs_of_dtypes(dtype_in, dtype_out):
    rng = np.random.default_rng([DTYPES.index(dtype_in), DTYPES.index(dtype_out), 1])
    shape = (71, 67)
    mean, sigma = images(rng, shape)
    frames = random_frames(rng, dtype_in, (2, *shape))
    c = Correction(mean, sigma, 20.0, 7.0)

    values = longhand_inverse(frames, mean, sigma, 20.0, 7.0)
    got = c.inverse(frames, dtype=np.float64)
    assert ulps(got, values, np.maximum(abs(values), abs(values - mean))) <= 4

    want, clipped = rounded(got, dtype_out)
    np.testing.assert_array_equal(c.inverse(frames, dtype=dtype_out), want)
    assert c.clipped == clipped
    if dtype_out != np.float64:
        np.testing.assert_array_equal(want, rounded(values, dtype_out)[0])


def test_default_targets_are_means_over_the_good_pixels():
    mean = np.array([[1.0, 2.0, 3.0], [50.0, np.nan, 60.0]])
    sigma = np.array([[0.5, 1.0, 1.5], [0.0, 1.0, 70.0]])
    bad = np.zeros(mean.shape, bool)
    bad[1, 2] = True
    c = Correction(mean, sigma, bad=bad)
    assert c.target_mean == 2.0
    assert c.target_sigma == 1.0
    np.testing.assert_array_equal(c.bad, [[False, False, False], [True, True, True]])
    assert c.shape == (2, 3)


def test_default_targets_of_large_images_are_exact():
    rng = np.random.default_rng(3)
    mean, sigma = rng.normal(1e6, 1, (200, 300)), rng.uniform(0, 1, (200, 300))
    c = Correction(mean, sigma)
    assert c.target_mean == math.fsum(mean.flat) / mean.size
    assert c.target_sigma == math.fsum(sigma.flat) / sigma.size


def test_corrected_pixel_vectors_have_the_target_mean_and_sigma():
    rng = np.random.default_rng(4)
    frames = rng.normal(size=(50, 9, 11)) * rng.uniform(1, 9, (9, 11)) + rng.uniform(50, 90, (9, 11))
    out = Correction(frames.mean(0), frames.std(0), 40.0, 5.0).apply(frames, dtype=np.float64)
    np.testing.assert_allclose(out.mean(0), 40.0, rtol=1e-13)
    np.testing.assert_allclose(out.std(0), 5.0, rtol=1e-13)
    out = Correction(frames.mean(0), frames.std(0), 0.0, 1.0).apply(frames, dtype=np.float64)  # Eq. (1)
    np.testing.assert_allclose(out.mean(0), 0.0, atol=1e-13)
    np.testing.assert_allclose(out.std(0), 1.0, rtol=1e-13)


def test_images_may_be_float32_strided_and_read_only():
    rng = np.random.default_rng(5)
    mean, sigma = (a.astype(np.float32) for a in images(rng, (8, 10)))
    frames = random_frames(rng, np.dtype("u2"), (8, 10))
    want = Correction(mean.astype(float), sigma.astype(float)).apply(frames)
    wide = np.repeat(mean, 2, axis=1)
    wide.flags.writeable = False
    np.testing.assert_array_equal(Correction(wide[:, ::2], sigma[::-1][::-1]).apply(frames), want)


def test_images_are_copied():
    mean, sigma = np.full((2, 2), 3.0), np.full((2, 2), 2.0)
    c = Correction(mean, sigma)
    mean[:] = sigma[:] = 99.0
    assert c.apply(np.full((2, 2), 5, np.uint8)).tolist() == [[5.0, 5.0], [5.0, 5.0]]


# --- rounding ------------------------------------------------------------------------------------


def identity(shape, target_mean=0.0):
    return Correction(np.zeros(shape), np.ones(shape), target_mean, 1.0)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_round_half_to_even_and_saturate(dtype):
    info = np.iinfo(dtype)
    kept = [0.5, 1.5, 2.5, 3.5, np.nextafter(0.5, 0), np.nextafter(2.5, 3), info.min, info.max]
    # info.min is even, so that info.min - 0.5 is rounded into the range; info.max is odd.
    kept += [info.min + 0.5, info.max - 0.5, info.min - 0.5, info.max + 0.49]
    beyond = [info.max + 0.5, info.min - 0.51, info.max + 1.0, info.min - 1.0, 2.0**51, -(2.0**51)]
    beyond += [2.0**53 + 2, 1e300, -1e300, np.inf, -np.inf]
    values = np.array(kept + beyond)
    values = np.tile(values, 40).reshape(1, -1)  # vectors and their tail
    want, clipped = rounded(values, dtype)
    c = identity(values.shape)
    np.testing.assert_array_equal(c.apply(values, dtype=dtype), want)
    assert c.clipped == clipped == 40 * len(beyond)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_nan_becomes_zero_and_counts_as_clipped_in_integers(dtype):
    frames = np.full((3, 5, 7), 1.0)
    frames[1, 2, 3] = np.nan
    c = identity((5, 7))
    out = c.apply(frames, dtype=dtype)
    assert out[1, 2, 3] == 0
    assert out.sum(dtype=np.int64) == frames.size - 1
    assert c.clipped == 1


def test_float16_is_rounded_once():
    half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middle = (half[1:] + half[:-1]) / 2
    up, down = np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)
    last = [65519.999, np.inf, 5e-324, 0.0, np.nan]
    values = np.concatenate([half, middle, up, down, last])
    values = np.stack([values, -values])
    got = identity(values.shape).apply(values, dtype=np.float16)
    np.testing.assert_array_equal(got, values.astype(np.float16))  # NaN are equal here
    finite = np.isfinite(values)
    # -0.0 + I0 is 0.0.
    np.testing.assert_array_equal(np.signbit(got)[finite], np.signbit(values + 0.0)[finite])


def test_all_float16_are_read_exactly():
    frames = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    got = identity((256, 256)).apply(frames, dtype=np.float64)
    np.testing.assert_array_equal(got, frames.astype(np.float64))


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("method", ["apply", "inverse"])
@pytest.mark.parametrize("width", [1, 16, 130])  # vectors and their tail
def test_finite_pixels_saturate_floats(dtype, method, width):
    largest = float(np.finfo(dtype).max)
    infinite = {"f2": 65520.0, "f4": 2.0**128 - 2.0**103}[dtype]  # the first that is rounded to infinity
    kept = [largest, np.nextafter(infinite, 0), 70000.0 * (dtype == "f4"), 1.0, 0.0]
    special = [np.inf, np.nan]
    beyond = [infinite, np.nextafter(infinite, np.inf), 2 * infinite, 1e300]
    values = np.array(kept + special + beyond)
    frames = np.tile(np.stack([values, -values]).reshape(-1, 1, 1), (1, 3, width))
    c = identity(frames.shape[1:])
    got = getattr(c, method)(frames, dtype=dtype)
    assert c.clipped == 2 * len(beyond) * 3 * width
    n = len(kept)
    np.testing.assert_array_equal(got[:n], frames[:n].astype(dtype))
    np.testing.assert_array_equal(got[n : n + 2], frames[n : n + 2])
    assert (got[n + 2 : len(values)] == largest).all()
    assert (got[-len(beyond) :] == -largest).all()


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize(
    ("sigma", "i0", "method"), [(1e-38, 0.0, "apply"), (1.0, 1e39, "apply"), (1e39, 0.0, "inverse")]
)
def test_corrections_that_lead_integers_beyond_float32(dtype, sigma, i0, method):
    frames = np.arange(120).reshape(2, 6, 10).astype(dtype)
    c = Correction(np.zeros((6, 10)), np.full((6, 10), sigma), i0, 1.0)
    formula = longhand if method == "apply" else longhand_inverse
    want, beyond = rounded(formula(frames, 0.0, sigma, i0, 1.0), np.dtype("f4"))
    got = getattr(c, method)(frames, dtype="f4")
    np.testing.assert_array_equal(got, want)
    assert c.clipped == beyond > 0


def test_bad_pixels_become_nan_beside_saturated_ones():
    frames = np.full((5, 7), 70000, np.uint32)
    bad = np.zeros((5, 7), bool)
    bad[2, 3] = True
    c = Correction(np.zeros((5, 7)), np.ones((5, 7)), 0.0, 1.0, bad, "nan")
    got = c.apply(frames, dtype="f2")
    assert np.isnan(got[2, 3])
    assert (got[~bad] == 65504).all()
    assert c.clipped == 34


def test_clipped_adds_up_over_calls_and_threads():
    frames = np.full((4, 90, 90), 300, np.uint16)
    frames[:, ::2] = 7
    c = identity((90, 90))
    callers = [threading.Thread(target=c.apply, args=(frames, None, np.uint8)) for _ in range(4)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert c.clipped == 4 * frames.size // 2
    c.inverse(frames, dtype=np.uint8)
    assert c.clipped == 5 * frames.size // 2


# --- inverse -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_inverse_undoes_apply(seed):
    rng = np.random.default_rng(seed)
    mean, sigma = images(rng, (13, 17))
    c = Correction(mean, sigma)
    frames = rng.normal(100, 40, (2, 13, 17))
    back = c.inverse(c.apply(frames, dtype=np.float64), dtype=np.float64)
    largest = np.maximum(abs(frames), np.maximum(mean, c.target_mean * np.maximum(sigma / c.target_sigma, 1)))
    assert ulps(back, frames, largest) <= 6


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_inverse_gives_integers_back_exactly(dtype):
    rng = np.random.default_rng(7)
    mean, sigma = images(rng, (31, 33))
    frames = random_frames(rng, dtype, (2, 31, 33))
    c = Correction(mean, sigma)
    np.testing.assert_array_equal(c.inverse(c.apply(frames, dtype=np.float64), dtype=dtype), frames)
    if dtype.itemsize <= 2:  # float32 holds them with digits to spare
        np.testing.assert_array_equal(c.inverse(c.apply(frames), dtype=dtype), frames)
    assert c.clipped == 0


@pytest.mark.parametrize("policy", ["neutral", "interpolate", "nan"])
def test_inverse_makes_bad_pixels_their_mean(policy):
    mean, sigma = np.full((3, 3), 10.0), np.ones((3, 3))
    mean[0, 0], sigma[0, 0] = 77.0, 0.0
    c = Correction(mean, sigma, bad_policy=policy)
    out = c.inverse(c.apply(np.full((3, 3), 12.0)), dtype=np.uint8)
    assert out.tolist() == [[77, 12, 12], [12, 12, 12], [12, 12, 12]]


# --- bad pixels ----------------------------------------------------------------------------------


@pytest.fixture(params=[(9, 12), (70, 130)], ids=["one block", "blocks"])
def with_bad(request):
    """Images with a bad pixel of every kind, in corners and at the seams of blocks too."""
    rng = np.random.default_rng(11)
    shape = request.param
    mean, sigma = images(rng, shape)
    bad = rng.random(shape) < 0.1
    bad[:, shape[1] // 2] = True  # a dead column, a double one at the border
    bad[:, :2] = True
    bad[3:7, 5:9] = True
    bad[0, 0] = bad[-1, -1] = bad[0, -1] = bad[-1, 0] = True
    for pixel in (4095, 4096, 8191, 8192):
        if pixel < bad.size:
            bad.flat[pixel] = True
    hidden = np.argwhere(bad)
    for (y, x), value in zip(hidden, [0.0, np.nan, np.inf], strict=False):
        sigma[y, x] = value
    mean[tuple(hidden[3])] = np.nan
    mean[tuple(hidden[4])] = -np.inf
    given_mask = bad.copy()
    given_mask[tuple(hidden[:5].T)] = False  # found, not told
    return mean, sigma, bad, given_mask, rng


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_neutral_policy(with_bad, dtype):
    mean, sigma, bad, mask, rng = with_bad
    c = Correction(mean, sigma, 30.0, 3.0, bad=mask)
    np.testing.assert_array_equal(c.bad, bad)
    frames = rng.normal(100, 3, (3, *bad.shape))
    frames[:, bad] = [[np.nan], [np.inf], [-np.inf]]  # whatever a bad pixel says
    out = c.apply(frames, dtype=dtype)
    assert (out[:, bad] == 30).all()
    want = longhand(frames[:, ~bad], mean[~bad], sigma[~bad], 30.0, 3.0)
    got = c.apply(frames, dtype=np.float64)[:, ~bad]
    assert ulps(got, want, np.maximum(abs(want), abs(want - 30.0))) <= 4


def test_nan_policy(with_bad):
    mean, sigma, bad, mask, rng = with_bad
    c = Correction(mean, sigma, 30.0, 3.0, bad=mask, bad_policy="nan")
    frames = rng.integers(0, 200, (3, *bad.shape), dtype=np.uint8)
    for dtype in FLOATS:
        np.testing.assert_array_equal(
            np.isnan(c.apply(frames, dtype=dtype)), np.broadcast_to(bad, frames.shape)
        )
    for dtype in INTEGERS:
        with pytest.raises(ValueError, match=f"^bad_policy 'nan' needs float output, not {dtype}$"):
            c.apply(frames, dtype=dtype)


@pytest.mark.parametrize("threads", [1, 2])
def test_interpolate_policy(with_bad, threads):
    mean, sigma, bad, mask, rng = with_bad
    c = Correction(mean, sigma, 30.0, 3.0, bad=mask, bad_policy="interpolate")
    frames = rng.normal(100, 30, (5, *bad.shape))
    frames[:, bad] = np.nan
    with np.errstate(all="ignore"):
        want = interpolated(longhand(frames, mean, sigma, 30.0, 3.0), bad)
    got = c.apply(frames, dtype=np.float64, threads=threads)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    # One frame as in the stack, another type, and in place.
    np.testing.assert_array_equal(c.apply(frames[2], dtype=np.float64), got[2])
    np.testing.assert_array_equal(c.apply(frames), got.astype(np.float32))
    assert c.apply(frames, out=frames) is frames
    np.testing.assert_array_equal(frames, got)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_interpolation_reads_every_dtype(with_bad, dtype):
    mean, sigma, bad, mask, rng = with_bad
    c = Correction(mean, sigma, 30.0, 3.0, bad=mask, bad_policy="interpolate")
    frames = random_frames(rng, dtype, (2, *bad.shape))[:, ::-1]
    want = c.apply(frames.astype(np.float64), dtype=np.float64)
    np.testing.assert_array_equal(c.apply(frames, dtype=np.float64), want)


def test_interpolation_keeps_to_the_colour_plane():
    rng = np.random.default_rng(13)
    shape = (8, 9, 3)
    mean, sigma = images(rng, shape)
    bad = rng.random(shape) < 0.3
    bad[2:6, 3:7, 1] = True  # a hole in one plane only
    c = Correction(mean, sigma, 0.0, 1.0, bad=bad, bad_policy="interpolate")
    frames = random_frames(rng, np.dtype("u1"), (4, *shape))
    got = c.apply(frames, dtype=np.float64)
    for plane in range(3):
        values = longhand(frames[..., plane], mean[..., plane], sigma[..., plane], 0.0, 1.0)
        np.testing.assert_allclose(
            got[..., plane], interpolated(values, bad[..., plane]), rtol=1e-12, atol=1e-12
        )


def test_interpolation_across_a_large_hole():
    rng = np.random.default_rng(17)
    mean, sigma = images(rng, (40, 60))
    bad = np.ones((40, 60), bool)
    bad[5, 50] = bad[30, 2] = bad[39, 59] = False
    frames = rng.normal(100, 30, (2, 40, 60))
    c = Correction(mean, sigma, 0.0, 1.0, bad=bad, bad_policy="interpolate")
    want = interpolated(longhand(frames, mean, sigma, 0.0, 1.0), bad)
    np.testing.assert_allclose(c.apply(frames, dtype=np.float64), want, rtol=1e-12, atol=1e-12)


def test_interpolation_of_more_values_than_are_held_at_a_time():
    rng = np.random.default_rng(19)
    mean, sigma = images(rng, (256, 256))
    bad = np.ones((256, 256), bool)
    bad[::2, ::2] = False
    c = Correction(mean, sigma, bad=bad, bad_policy="interpolate")
    frames = rng.integers(0, 255, (45, 256, 256), dtype=np.uint8)  # 2.2 million to interpolate
    single = np.stack([c.apply(f, dtype=np.uint8) for f in frames])
    np.testing.assert_array_equal(c.apply(frames, out=frames), single)


def test_interpolation_from_nan_is_nan():
    frames = np.ones((3, 3))
    frames[0, 0] = np.nan
    bad = np.zeros((3, 3), bool)
    bad[1, 1] = True
    out = Correction(np.ones((3, 3)), np.ones((3, 3)), bad=bad, bad_policy="interpolate").apply(frames)
    assert np.isnan(out[1, 1])


def test_a_gain_beyond_float64_makes_a_pixel_bad():
    sigma = np.array([[1.0, 5e-324, 1.0]])
    c = Correction(np.zeros((1, 3)), sigma, 7.0, 100.0)
    assert c.bad.tolist() == [[False, True, False]]
    assert c.apply(np.zeros((1, 3))).tolist() == [[7.0, 7.0, 7.0]]


# --- arrays --------------------------------------------------------------------------------------


@st.composite
def strided_arrays(draw, shape):
    """A function that makes an array of the given dtype, with drawn strides, order and alignment."""
    steps = [draw(st.sampled_from([1, 1, 2, 3, -1, -2])) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    offset = draw(st.integers(0, 3))

    def make(dtype):
        stored = [shape[i] * abs(steps[i]) for i in order]
        memory = np.zeros(math.prod(stored) * dtype.itemsize + offset, np.uint8)[offset:]
        whole = memory.view(dtype).reshape(stored).transpose(np.argsort(order))
        return whole[tuple(slice(None, None, step) for step in steps)]

    return make


@given(
    data=st.data(),
    shape=st.one_of(
        st.tuples(st.integers(1, 70), st.integers(1, 90)),
        st.tuples(st.integers(1, 40), st.integers(1, 50), st.integers(1, 4)),
    ),
    n=st.one_of(st.none(), st.integers(0, 3)),
    dtype_in=st.sampled_from(DTYPES),
    dtype_out=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_any_shape_and_strides(data, shape, n, dtype_in, dtype_out, seed):
    rng = np.random.default_rng(seed)
    full = shape if n is None else (n, *shape)
    mean, sigma = images(rng, shape)
    frames = data.draw(strided_arrays(full))(dtype_in)
    frames[...] = random_frames(rng, dtype_in, full)
    out = data.draw(strided_arrays(full))(dtype_out)
    c = Correction(mean, sigma, 20.0, 5.0)
    values = longhand(frames, mean, sigma, 20.0, 5.0)

    frames.flags.writeable = False
    got = c.apply(frames, dtype=dtype_out, threads=data.draw(st.integers(1, 3)))
    assert got.shape == full
    assert got.flags.c_contiguous
    if dtype_out == np.float64:
        assert ulps(got, values, np.maximum(abs(values), abs(values - 20.0))) <= 4
    else:  # but for ties, of which there may be one
        assert np.count_nonzero(got != rounded(values, dtype_out)[0]) <= 1
    assert c.apply(frames, out=out) is out
    np.testing.assert_array_equal(out, got)

    # In place, when the types are one.
    same = data.draw(strided_arrays(full))(dtype_in)
    same[...] = frames
    want = c.apply(frames, dtype=dtype_in)
    c.apply(same, out=same[...])
    np.testing.assert_array_equal(same, want)


def test_only_the_view_is_written():
    buffer = np.full((3, 20, 30), 9, np.uint8)
    identity((10, 10)).apply(np.ones((3, 10, 10)), out=buffer[:, ::2, 5:25:2])
    buffer[:, ::2, 5:25:2] -= 1
    expected = np.full((3, 20, 30), 9)
    expected[:, ::2, 5:25:2] = 0
    np.testing.assert_array_equal(buffer, expected)


@pytest.mark.parametrize("policy", ["neutral", "interpolate"])
@pytest.mark.parametrize("dtype_out", [np.uint8, np.float16, np.float32])
def test_threads_and_batches_do_not_change_a_bit(policy, dtype_out):
    rng = np.random.default_rng(23)
    shape = (130, 190)
    mean, sigma = images(rng, shape)
    bad = rng.random(shape) < 0.05
    frames = random_frames(rng, np.dtype("f4"), (7, *shape))
    c = Correction(mean, sigma, bad=bad, bad_policy=policy)
    want = c.apply(frames, dtype=dtype_out, threads=1).tobytes()
    for threads in (2, 3, 8):
        assert c.apply(frames, dtype=dtype_out, threads=threads).tobytes() == want
    for cut in (1, 3, 6):
        parts = [c.apply(part, dtype=dtype_out) for part in (frames[:cut], frames[cut:])]
        assert np.concatenate(parts).tobytes() == want


# Output of a call from which on it is written past the caches, and a frame of odd size.
STREAMED_BYTES = 32 << 20
ODD = (71, 67)


def large_stack(frames, itemsize):
    """The frames over and over, for output that is written past the caches."""
    return np.tile(frames, (-(-STREAMED_BYTES // (frames[0].size * itemsize * len(frames))), 1, 1))


def unaligned(shape, dtype, offset):
    """An array whose data begin `offset` bytes after a cache line does."""
    memory = np.zeros(math.prod(shape) * dtype.itemsize + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    return memory[begin : begin + memory.size - 128].view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype_in", DTYPES, ids=str)
@pytest.mark.parametrize("dtype_out", DTYPES, ids=str)
def test_large_output_has_the_same_bits(dtype_in, dtype_out):
    rng = np.random.default_rng([DTYPES.index(dtype_in), DTYPES.index(dtype_out), 2])
    mean, sigma = images(rng, ODD)
    c = Correction(mean, sigma, 20.0, 10.0)
    frames = random_frames(rng, dtype_in, (5, *ODD))
    for method in (c.apply, c.inverse):
        clipped = c.clipped
        want = method(frames, dtype=dtype_out)
        clipped_once = c.clipped - clipped
        large = large_stack(frames, dtype_out.itemsize)
        got = method(large, dtype=dtype_out).reshape(-1, *want.shape)
        assert got.nbytes >= STREAMED_BYTES
        assert (got.view(np.uint8) == want.view(np.uint8)).all()
        assert c.clipped - clipped == (1 + len(got)) * clipped_once


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 8, 16, 52, 63])
@pytest.mark.parametrize("dtype_out", ["u1", "f2", "f4", "f8"])
def test_large_output_at_any_address(dtype_out, offset):
    dtype_out = np.dtype(dtype_out)
    rng = np.random.default_rng(37)
    c = Correction(*images(rng, ODD), 20.0, 10.0)
    frames = random_frames(rng, np.dtype("u2"), (5, *ODD))
    want = c.apply(frames, dtype=dtype_out)
    large = large_stack(frames, dtype_out.itemsize)
    out = unaligned(large.shape, dtype_out, offset)
    around = out.base
    while around.base is not None:
        around = around.base
    assert c.apply(large, out=out, threads=2) is out
    assert (out.reshape(-1, *want.shape) == want).all()
    begin = out.ctypes.data - around.ctypes.data
    assert not around[:begin].any()
    assert not around[begin + out.nbytes :].any()


def test_large_output_of_strided_frames_and_into_strided_arrays():
    rng = np.random.default_rng(41)
    c = Correction(*images(rng, ODD), 20.0, 10.0)
    frames = random_frames(rng, np.dtype("f4"), (5, *ODD))
    want = c.apply(frames)
    large = large_stack(frames, 4)
    wide = np.repeat(large, 2, axis=2)
    assert (c.apply(wide[..., ::2]).reshape(-1, *want.shape) == want).all()
    assert (c.apply(large, out=wide[..., 1::2]).reshape(-1, *want.shape) == want).all()
    np.testing.assert_array_equal(wide[..., ::2], large)
    # Frames without gaps, but apart from each other, and last to first.
    apart = np.zeros((len(large), 2, *ODD), np.float32)[::-1, 0]
    assert (c.apply(large, out=apart).reshape(-1, *want.shape) == want).all()


def test_large_frames_in_place():
    rng = np.random.default_rng(43)
    c = Correction(*images(rng, ODD), 20.0, 10.0)
    for dtype in (np.dtype("u1"), np.dtype("f4")):
        frames = random_frames(rng, dtype, (5, *ODD))
        want = c.apply(frames, dtype=dtype)
        large = large_stack(frames, dtype.itemsize)
        c.apply(large, out=large)
        assert (large.reshape(-1, *want.shape) == want).all()


def test_one_large_frame():
    rng = np.random.default_rng(47)
    shape = (2999, 3001)  # 36 MB in float32, an odd number of pixels, and more blocks than pieces
    mean, sigma = images(rng, shape)
    frame = random_frames(rng, np.dtype("u2"), shape)
    c = Correction(mean, sigma, 20.0, 10.0)
    want = c.apply(frame, dtype=np.float64, threads=1)
    values = longhand(frame, mean, sigma, 20.0, 10.0)
    assert ulps(want, values, np.maximum(abs(values), abs(values - 20.0))) <= 4
    np.testing.assert_array_equal(c.apply(frame, threads=2), want.astype(np.float32))


@pytest.mark.parametrize("policy", ["neutral", "interpolate", "nan"])
@pytest.mark.parametrize("dtype_out", ["u1", "f2", "f4", "f8"])
def test_bad_pixels_of_large_output(policy, dtype_out):
    dtype_out = np.dtype(dtype_out)
    if policy == "nan" and dtype_out.kind != "f":
        return
    rng = np.random.default_rng(53)
    mean, sigma = images(rng, ODD)
    bad = rng.random(ODD) < 0.001  # most tiles have none
    bad.flat[[0, 255, 256, 2047, 2048, bad.size - 1]] = True
    c = Correction(mean, sigma, 300.0 if dtype_out.kind != "f" else 20.0, 10.0, bad=bad, bad_policy=policy)
    frames = random_frames(rng, np.dtype("u1"), (5, *ODD))
    want = c.apply(frames, dtype=dtype_out)
    clipped = c.clipped
    got = c.apply(large_stack(frames, dtype_out.itemsize), dtype=dtype_out).reshape(-1, *want.shape)
    np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))
    assert c.clipped - clipped == len(got) * clipped


def test_what_a_bad_pixel_says_is_not_clipped():
    frame = np.array([[1.0, np.nan, 1e9, 3.0]])
    bad = np.array([[False, True, True, False]])
    c = Correction(np.zeros((1, 4)), np.ones((1, 4)), 0.0, 1.0, bad=bad)
    assert c.apply(frame, dtype=np.uint8).tolist() == [[1, 0, 0, 3]]
    assert c.clipped == 0


ISA_SCRIPT = """
import hashlib, sys, numpy as np, camnorm
assert camnorm.build_info()["isa"] == sys.argv[1]
rng = np.random.default_rng(29)
shape = (67, 133)
bad = rng.random(shape) < 0.05
digest = hashlib.sha256()
dtypes = "u1 i1 u2 i2 u4 i4 f2 f4 f8".split()
for policy in ("neutral", "interpolate"):
    mean, sigma = rng.normal(100, 10, shape), rng.uniform(1, 20, shape)
    c = camnorm.Correction(mean, sigma, bad=bad, bad_policy=policy)
    for a in dtypes:
        frames = (rng.random((2, *shape)) * 120).astype(a)
        for b in dtypes:
            digest.update(c.apply(frames, dtype=b, threads=1).tobytes())
            digest.update(c.inverse(frames, dtype=b, threads=1).tobytes())
special = [0.0, -0.0, 0.5, 1.5, 2.5, 1e300, -1e300, np.inf, -np.inf, np.nan, 65519.9, 65520, 6e-8, 3e-8]
special = np.tile(special, 33).reshape(1, -1)
c = camnorm.Correction(np.zeros(special.shape), np.ones(special.shape), 0.0, 1.0)
for a in ("f2", "f4", "f8"):
    with np.errstate(over="ignore"):
        frames = special.astype(a)
    for b in dtypes:
        digest.update(c.apply(frames, dtype=b, threads=1).tobytes())
mean, sigma = rng.normal(100, 10, (67, 133)), rng.uniform(1, 20, (67, 133))
c = camnorm.Correction(mean, sigma, bad=rng.random((67, 133)) < 0.001)
for a, b in map(str.split, ("u1 f4", "f4 f4", "u2 u1", "f4 f2", "f2 i2", "i4 f8")):  # past the caches
    count = 2**25 // (4 * 67 * 133 * np.dtype(b).itemsize) + 1
    frames = np.tile((rng.random((4, 67, 133)) * 120).astype(a), (count, 1, 1))
    digest.update(c.apply(frames, dtype=b).tobytes())
print(digest.hexdigest(), c.clipped)
"""


@pytest.mark.slow
def test_instruction_sets_do_not_change_a_bit():
    isas = camnorm.build_info()["isas"]
    results = {
        subprocess.run(
            [sys.executable, "-c", ISA_SCRIPT, isa],
            env={**os.environ, "CAMNORM_ISA": isa},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for isa in isas
    }
    assert len(results) == 1


# --- arguments -----------------------------------------------------------------------------------


def test_default_dtype_is_float32_and_out_decides_otherwise():
    c = identity((2, 3))
    frames = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert c.apply(frames).dtype == np.float32
    assert c.inverse(frames).dtype == np.float32
    out = np.empty((2, 3), np.int16)
    assert c.apply(frames, out) is out
    assert c.apply(frames, out, np.int16) is out
    assert c.apply(frames, dtype="float64").dtype == np.float64
    assert c.apply(frames[None]).shape == (1, 2, 3)
    assert c.apply(np.empty((0, 2, 3), np.uint8)).shape == (0, 2, 3)


def test_pickle_and_copy():
    rng = np.random.default_rng(31)
    mean, sigma = images(rng, (5, 6, 3))
    sigma[0, 0, 0] = 0
    bad = rng.random((5, 6, 3)) < 0.2
    c = Correction(mean, sigma, bad=bad, bad_policy="interpolate")
    frames = random_frames(rng, np.dtype("u2"), (3, 5, 6, 3))
    want = c.apply(frames, dtype=np.uint8)
    assert c.clipped > 0
    for other in (pickle.loads(pickle.dumps(c)), copy.copy(c), copy.deepcopy(c)):
        assert repr(other) == repr(c)
        assert (other.target_mean, other.target_sigma, other.shape) == (
            c.target_mean,
            c.target_sigma,
            c.shape,
        )
        np.testing.assert_array_equal(other.bad, c.bad)
        np.testing.assert_array_equal(other.apply(frames, dtype=np.uint8), want)
        assert other.clipped == c.clipped  # its own count


def test_repr():
    sigma = np.full((3, 4), 2.0)
    sigma[0, 0] = 0
    assert repr(Correction(np.full((3, 4), 7.5), sigma)) == (
        "<Correction of frames of shape (3, 4) to mean 7.5 and sigma 2, 1 bad (neutral)>"
    )


def test_bad_is_read_only_and_outlives_the_correction():
    bad = identity((2, 2)).bad
    assert not bad.flags.writeable
    assert bad.dtype == np.bool_
    assert not bad.any()


ONE = np.ones((4, 5))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0]], ONE), TypeError, "mean must be a numpy array, not list: convert it with numpy.asarray"),
        ((ONE, [[1.0]]), TypeError, "sigma must be a numpy array, not list: convert it with numpy.asarray"),
        ((ONE.astype(int), ONE), TypeError, "mean must be of dtype float32 or float64, not int64"),
        ((ONE, ONE.astype("f2")), TypeError, "sigma must be of dtype float32 or float64, not float16"),
        ((ONE, ONE[:3]), ValueError, "sigma has shape (3, 5), not (4, 5)"),
        ((ONE[0], ONE[0]), ValueError, "a frame's shape is (y, x) or (y, x, c), not (5,)"),
        ((ONE[:0], ONE[:0]), ValueError, "frames of shape (0, 5) have no pixels"),
        ((ONE, -ONE), ValueError, "sigma must not be negative, got -1"),
        ((ONE, ONE, np.nan), ValueError, "target_mean must be finite, got nan"),
        ((ONE, ONE, np.inf), ValueError, "target_mean must be finite, got inf"),
        ((ONE, ONE, 1, 0), ValueError, "target_sigma must be positive and finite, got 0"),
        ((ONE, ONE, 1, -2.5), ValueError, "target_sigma must be positive and finite, got -2.5"),
        ((ONE, ONE, 1, np.inf), ValueError, "target_sigma must be positive and finite, got inf"),
        ((ONE, ONE, 1, np.nan), ValueError, "target_sigma must be positive and finite, got nan"),
        (
            (ONE, ONE, 1, 1, [True]),
            TypeError,
            "bad must be a numpy array, not list: convert it with numpy.asarray",
        ),
        ((ONE, ONE, 1, 1, ONE), TypeError, "bad must be of dtype bool, not float64"),
        ((ONE, ONE, 1, 1, ONE[:2] > 0), ValueError, "bad has shape (2, 5), not (4, 5)"),
        ((ONE, ONE, 1, 1, ONE > 0), ValueError, "all pixels are bad"),
        ((ONE, 0 * ONE), ValueError, "all pixels are bad"),
        (
            (ONE, ONE, 1, 1, None, "median"),
            ValueError,
            "bad_policy must be 'neutral', 'interpolate' or 'nan', not 'median'",
        ),
    ],
)
def test_errors_of_the_constructor(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Correction(*arguments)


def test_error_of_a_plane_without_good_pixels():
    bad = np.zeros((3, 4, 3), bool)
    bad[..., 1] = True
    images = np.ones(bad.shape), np.ones(bad.shape)
    Correction(*images, bad=bad)
    message = "all pixels of colour plane 1 are bad: there is nothing to interpolate from"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Correction(*images, bad=bad, bad_policy="interpolate")


def read_only():
    a = np.zeros((4, 5), np.float32)
    a.flags.writeable = False
    return a


FRAME = np.zeros((4, 5), np.uint8)
SUPPORTED = (
    " are not supported: uint8, int8, uint16, int16, uint32, int32, float16, float32 and float64 in native"
    " byte order are"
)


@pytest.mark.parametrize("method", ["apply", "inverse"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1]],), TypeError, "frames must be a numpy array, not list: convert it with numpy.asarray"),
        ((FRAME.astype("i8"),), TypeError, "frames of dtype int64" + SUPPORTED),
        ((FRAME.astype(bool),), TypeError, "frames of dtype bool" + SUPPORTED),
        ((FRAME.astype(">u2"),), TypeError, "frames of dtype >u2" + SUPPORTED),
        ((FRAME, None, "i8"), TypeError, "corrected frames of dtype int64" + SUPPORTED),
        ((FRAME, FRAME.astype("i8")), TypeError, "out of dtype int64" + SUPPORTED),
        ((FRAME, [[1]]), TypeError, "out must be a numpy array, not list: convert it with numpy.asarray"),
        ((FRAME, 1 * FRAME, "f4"), TypeError, "out is of dtype uint8, but dtype float32 was asked for"),
        (
            (FRAME[:3],),
            ValueError,
            "frames of shape (3, 5) where a frame of (4, 5) or a stack of them is wanted",
        ),
        (
            (FRAME[None, None],),
            ValueError,
            "frames of shape (1, 1, 4, 5) where a frame of (4, 5) or a stack of them is wanted",
        ),
        ((FRAME, FRAME[None]), ValueError, "out has shape (1, 4, 5), not that of the frames, (4, 5)"),
        ((FRAME, read_only()), ValueError, "out is read-only"),
    ],
)
def test_errors_of_apply_and_inverse(method, arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        getattr(Correction(ONE, ONE), method)(*arguments)


@pytest.mark.parametrize("method", ["apply", "inverse"])
def test_error_of_threads(method):
    with pytest.raises(ValueError, match=r"^threads must be positive, got 0$"):
        getattr(Correction(ONE, ONE), method)(FRAME, threads=0)


@pytest.mark.parametrize(
    "pair",
    [
        lambda a: (a[:4], a[1:5]),
        lambda a: (a[4:0:-1], a[1:5]),
        lambda a: (a[:4], a.view(np.int32)[:4]),
        lambda a: (a[:4, :3], a[:4, 1:]),
        lambda a: (np.broadcast_to(a[0], (4, 4, 6)), a[:4]),
    ],
    ids=["next frame", "reversed", "another type", "columns", "broadcast"],
)
def test_overlap_in_part_is_an_error(pair):
    a = np.arange(8 * 4 * 6, dtype=np.float32).reshape(8, 4, 6)
    before = a.copy()
    frames, out = pair(a)
    message = "frames and out overlap in memory: out must be the frames themselves or apart from them"
    c = identity(frames.shape[1:], 1.0)
    with pytest.raises(ValueError, match=f"^{message}$"):
        c.apply(frames, out=out)
    np.testing.assert_array_equal(a, before)


def test_memory_beside_the_frames_is_no_overlap():
    a = np.zeros((4, 4, 6), np.float32)
    assert identity((4, 6), 1.0).apply(a[:2], out=a[2:]).base is a
    np.testing.assert_array_equal(a[2:], 1.0)
    np.testing.assert_array_equal(a[:2], 0.0)


# --- rows of frames


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("out", ["f4", "u1", "f2"])
@pytest.mark.parametrize("shape", [(61, 70), (20, 33, 3)])
def test_rows_are_those_of_whole_frames(shape: tuple[int, ...], dtype: str, out: str) -> None:
    rng = np.random.default_rng(3)
    bad = rng.random(shape) < 0.1
    correction = Correction(rng.uniform(50, 60, shape), rng.uniform(2, 4, shape), bad=bad)
    frames = rng.uniform(30, 90, (5, *shape)).astype(dtype)
    whole = correction.apply(frames, dtype=out)
    height = shape[0]
    for first, last in [(0, height), (0, 1), (height - 1, height), (7, 19), (3, height)]:
        for threads in (1, 3):
            rows = correction.apply(frames[:, first:last], dtype=out, threads=threads, first_row=first)
            assert rows.tobytes() == whole[:, first:last].tobytes()
        one = correction.apply(frames[2, first:last].copy(), dtype=out, first_row=first)
        assert one.tobytes() == whole[2, first:last].tobytes()
    before = correction.clipped
    correction.apply(frames, dtype=out)
    clipped = correction.clipped - before
    for row in range(0, height, 9):
        correction.apply(frames[:, row : row + 9], dtype=out, first_row=row)
    assert correction.clipped == before + 2 * clipped


def test_rows_that_are_not_there() -> None:
    shape = (6, 5)
    correction = Correction(np.ones(shape), np.ones(shape))
    for rows, first in [(6, 1), (1, 6), (7, 0), (0, 2)]:
        with pytest.raises(ValueError, match=f"there are no rows {first} to {first + rows} in frames of"):
            correction.apply(np.zeros((rows, 5), "u1"), first_row=first)
    with pytest.raises(ValueError, match="first_row must not be negative, got -1"):
        correction.apply(np.zeros((1, 5), "u1"), first_row=-1)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        correction.apply(np.zeros((2, 4), "u1"), first_row=0)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        correction.apply(np.zeros(5, "u1"), first_row=0)
    inner = Correction(np.ones(shape), np.ones(shape), bad_policy="interpolate")
    with pytest.raises(ValueError, match="'interpolate' needs whole frames, not rows of them"):
        inner.apply(np.zeros((2, 5), "u1"), first_row=0)
    assert inner.apply(np.zeros(shape, "u1"), first_row=0).shape == shape


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("planes", [(), (3,)])
def test_correction_of_moments_is_that_of_their_images(dtype: type, planes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    frames = rng.poisson(rng.uniform(5, 60, (30, 40, *planes)), (12, 30, 40, *planes)).astype(dtype)
    frames[:, 3, 4] = 7  # bad
    whole, a, b = (camnorm.PixelMoments(frames.shape[1:], dtype) for _ in range(3))
    for moments, some in ((whole, frames), (a, frames[::2]), (b, frames[1::2])):
        moments.add(some)
    exact = frames.astype(np.float64)
    expected = camnorm.Correction(exact.mean(0), exact.std(0), 20.0, 3.0, bad_policy="nan")
    for parts in ((whole, None), (a, b)):
        c = camnorm.Correction.from_moments(
            *parts, target_mean=20.0, target_sigma=3.0, bad_policy="nan", threads=2
        )
        assert c.shape == expected.shape
        assert np.array_equal(c.bad, expected.bad)
        np.testing.assert_allclose(c.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(c.sigma, expected.sigma, rtol=1e-12)
        np.testing.assert_allclose(c.apply(frames), expected.apply(frames), rtol=1e-5)


def test_moments_in_which_nothing_changes_have_no_correction() -> None:
    moments = camnorm.PixelMoments((2, 2), np.uint8)
    moments.add(np.full((3, 2, 2), 5, np.uint8))
    with pytest.raises(camnorm.Error, match="no pixel of the set ever changes"):
        camnorm.Correction.from_moments(moments)
    with pytest.raises(ValueError, match="shape"):
        camnorm.Correction.from_moments(moments, camnorm.PixelMoments((2, 3), np.uint8))
