"""PixelMoments and frame_statistics: the algebra, the exactness, the views, the errors, the threads.

The oracles are integer sums of numpy where these are exact, and rational arithmetic elsewhere.
"""

from __future__ import annotations

import copy
import functools
import math
import operator
import os
import pickle
import re
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import camnorm
from camnorm import PixelMoments, frame_statistics

INTEGER_KIND = ["uint8", "int8", "uint16", "int16"]
FLOAT_KIND = ["uint32", "int32", "float16", "float32", "float64"]
DTYPES = INTEGER_KIND + FLOAT_KIND

# Grey and colour; within one strip of pixels, exactly some, and over several.
SHAPES = [(1, 1), (1, 7), (5, 3), (4, 1), (2, 3, 3), (61, 83), (64, 64), (30, 60, 3)]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


# --- frames -----------------------------------------------------------------------------------------


def some_frames(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], pattern: str) -> np.ndarray:
    """Frames all over the dtype's range, at its ends, a constant a pixel, or noise on a high level."""
    if np.dtype(dtype).kind == "f":
        top = 6e4 if dtype == "float16" else 1e6
        low, high = -top, top
        full = rng.uniform(low, high, shape)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        full = rng.integers(low, high, shape, endpoint=True)
    if pattern == "full":
        frames = full
    elif pattern == "ends":
        frames = rng.choice([low, high], shape)
    elif pattern == "constant":
        frames = np.broadcast_to(full[0], shape)
    else:
        frames = high - high / 100 + rng.normal(0, high / 1000, shape)
        frames = np.clip(frames, low, high)
    return frames.astype(dtype)


@st.composite
def stacks(draw: st.DrawFn, dtype: str, min_frames: int = 1) -> np.ndarray:
    n = draw(st.integers(min_frames, 8))
    shape = draw(st.sampled_from(SHAPES))
    pattern = draw(st.sampled_from(["full", "ends", "constant", "noise"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return some_frames(rng, dtype, (n, *shape), pattern)


def moments_of(frames: np.ndarray) -> PixelMoments:
    m = PixelMoments(frames.shape[1:], frames.dtype)
    m.add(frames, threads=1)
    return m


def assert_same_bits(a: PixelMoments, b: PixelMoments) -> None:
    left, right = a.state(), b.state()
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key, strict=True)


def assert_moments_of(m: PixelMoments, frames: np.ndarray) -> None:
    """Integer kind: the state is the exact sums. Float kind: mean and sigma are the same to 1 ulp.

    Of a float64 pixel the square has 106 bits, of which the sums keep about 100: where its values agree in
    more digits than that leaves, as two of a noisy pixel may by chance, sigma is known to less.
    """
    assert m.count == len(frames)
    if frames.dtype.name in INTEGER_KIND:
        x = frames.astype(np.int64)
        state = m.state()
        np.testing.assert_array_equal(state["sum"], x.sum(axis=0), strict=True)
        squares = (x * x).sum(axis=0).astype(np.uint64)
        np.testing.assert_array_equal(state["sum_of_squares"], squares, strict=True)
    else:
        whole = moments_of(frames)
        np.testing.assert_array_max_ulp(m.mean(), whole.mean(), maxulp=1)
        std = whole.std()
        known = 2.0**-100 * (whole.mean() ** 2 + std**2) / np.where(std > 0, std, np.inf)
        assert (np.abs(m.std() - std) <= np.spacing(std) + known).all()


# --- the algebra ------------------------------------------------------------------------------------


@every_dtype
@given(data=st.data())
@settings(max_examples=40)
def test_any_order_batches_and_threads(dtype: str, data: st.DataObject) -> None:
    frames = data.draw(stacks(dtype))
    order = data.draw(st.permutations(range(len(frames))))
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=4))
    m = PixelMoments(frames.shape[1:], dtype)
    for batch in np.split(frames[order], sorted(cuts)):
        one_frame = len(batch) == 1 and data.draw(st.booleans())
        m.add(batch[0] if one_frame else batch, threads=data.draw(st.integers(1, 3)))
    assert_moments_of(m, frames)


@every_dtype
@given(data=st.data())
@settings(max_examples=30)
def test_merge_of_shards(dtype: str, data: st.DataObject) -> None:
    frames = data.draw(stacks(dtype, min_frames=2))
    cuts = data.draw(st.lists(st.integers(0, len(frames)), min_size=1, max_size=3))
    shards = data.draw(st.permutations([moments_of(part) for part in np.split(frames, sorted(cuts))]))
    merged = PixelMoments(frames.shape[1:], dtype)
    for shard in shards:
        merged.merge(shard, threads=data.draw(st.integers(1, 3)))
    assert_moments_of(merged, frames)
    assert_moments_of(functools.reduce(operator.add, shards), frames)


@every_dtype
@given(data=st.data())
@settings(max_examples=30)
def test_difference_undoes_the_sum(dtype: str, data: st.DataObject) -> None:
    frames = data.draw(stacks(dtype, min_frames=2))
    cut = data.draw(st.integers(1, len(frames) - 1))
    a, b = moments_of(frames[:cut]), moments_of(frames[cut:])
    a_before, b_before = a.copy(), b.copy()
    assert_moments_of((a + b) - b, frames[:cut])
    assert_moments_of((a + b) - a, frames[cut:])
    assert_same_bits(a, a_before)
    assert_same_bits(b, b_before)
    assert_same_bits(a - a, PixelMoments(a.shape, dtype))


@every_dtype
@given(data=st.data())
@settings(max_examples=30)
def test_subtract_undoes_add(dtype: str, data: st.DataObject) -> None:
    frames = data.draw(stacks(dtype, min_frames=2))
    cut = data.draw(st.integers(1, len(frames) - 1))
    threads = st.integers(1, 3)
    m = PixelMoments(frames.shape[1:], dtype)
    m.add(frames, threads=data.draw(threads))
    m.subtract(data.draw(st.permutations(list(frames[cut:])).map(np.stack)), threads=data.draw(threads))
    assert_moments_of(m, frames[:cut])
    for frame in frames[:cut]:
        m.subtract(frame, threads=data.draw(threads))
    assert_same_bits(m, PixelMoments(m.shape, dtype))
    assert np.isnan(m.mean()).all()


def test_a_merge_with_itself_doubles() -> None:
    frames = np.arange(12, dtype=np.uint16).reshape(2, 2, 3)
    m = moments_of(frames)
    m.merge(m)
    assert_moments_of(m, np.concatenate([frames, frames]))


@every_dtype
@given(data=st.data())
@settings(max_examples=15)
def test_copies_have_the_same_bits(dtype: str, data: st.DataObject) -> None:
    m = moments_of(data.draw(stacks(dtype)))
    copies = [
        m.copy(),
        copy.copy(m),
        copy.deepcopy(m),
        pickle.loads(pickle.dumps(m)),
        PixelMoments.from_state(m.state()),
    ]
    for other in copies:
        assert (other.shape, other.dtype, other.count) == (m.shape, m.dtype, m.count)
        assert_same_bits(other, m)
        other.merge(m)
        assert other.count == 2 * m.count


@pytest.mark.parametrize("kind", [INTEGER_KIND, FLOAT_KIND])
def test_dtypes_of_one_kind_mix(kind: list[str]) -> None:
    rng = np.random.default_rng(1)
    m = PixelMoments((4, 6), kind[0])
    parts = []
    for dtype in kind:
        parts.append(some_frames(rng, dtype, (3, 4, 6), "full"))
        m.add(parts[-1])
    assert m.dtype == kind[0]
    wide = np.concatenate([part.astype(np.float64) for part in parts])
    assert_exact(m, wide, tolerance=4e-15)


# --- exactness --------------------------------------------------------------------------------------


def exact_sums(vector: np.ndarray) -> tuple[Fraction, Fraction]:
    """Σx and Σx² of one pixel vector in rational arithmetic."""
    if vector.dtype.kind == "f":
        mantissas, exponents = np.frexp(vector.astype(np.float64))
        lowest = int(exponents.min()) - 53
        shifts = (exponents - exponents.min()).tolist()
        values = [int(m) << s for m, s in zip(np.ldexp(mantissas, 53).tolist(), shifts, strict=True)]
        unit = Fraction(2) ** lowest
    else:
        values, unit = vector.tolist(), Fraction(1)
    return sum(values) * unit, sum(v * v for v in values) * unit**2


def exact_mean_and_variance(vector: np.ndarray, ddof: int = 0) -> tuple[Fraction, Fraction]:
    n = len(vector)
    total, squares = exact_sums(vector)
    return total / n, (n * squares - total**2) / (n * (n - ddof))


def pixel_vectors(frames: np.ndarray) -> list[np.ndarray]:
    return list(frames.reshape(len(frames), -1).T)


def ulp(value: float) -> Fraction:
    return Fraction(math.ulp(value))


def assert_within_one_ulp(m: PixelMoments, frames: np.ndarray, ddof: int = 0) -> None:
    mean, var, std = m.mean().ravel(), m.var(ddof).ravel(), m.std(ddof).ravel()
    for i, vector in enumerate(pixel_vectors(frames)):
        exact_mean, exact_var = exact_mean_and_variance(vector, ddof)
        assert abs(Fraction(mean[i]) - exact_mean) <= ulp(mean[i])
        assert abs(Fraction(var[i]) - exact_var) <= ulp(var[i])
        # |std - root| <= ulp, without the root
        below, above = Fraction(std[i]) - ulp(std[i]), Fraction(std[i]) + ulp(std[i])
        assert max(below, Fraction(0)) ** 2 <= exact_var <= above**2


def assert_exact(m: PixelMoments, frames: np.ndarray, ddof: int = 0, *, tolerance: float) -> None:
    mean, var = m.mean().ravel(), m.var(ddof).ravel()
    for i, vector in enumerate(pixel_vectors(frames)):
        exact_mean, exact_var = exact_mean_and_variance(vector, ddof)
        assert abs(Fraction(mean[i]) - exact_mean) <= Fraction(tolerance) * abs(exact_mean)
        assert abs(Fraction(var[i]) - exact_var) <= Fraction(tolerance) * exact_var


@pytest.mark.parametrize("dtype", INTEGER_KIND)
@given(data=st.data(), ddof=st.integers(0, 1))
@settings(max_examples=60)
def test_integer_mean_and_sigma_within_one_ulp(dtype: str, data: st.DataObject, ddof: int) -> None:
    n = data.draw(st.integers(2, 30))
    frames = data.draw(npst.arrays(dtype, (n, 1, 4)))
    assert_within_one_ulp(moments_of(frames), frames, ddof)


@pytest.mark.parametrize("dtype", FLOAT_KIND)
@given(data=st.data(), ddof=st.integers(0, 1))
@settings(max_examples=60)
def test_float_mean_and_variance(dtype: str, data: st.DataObject, ddof: int) -> None:
    """Relative error at most 4e-15 for mean / sigma up to 1e6, either sign of the mean."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = data.draw(st.integers(2, 300))
    top = {"float16": 1.5e4, "int32": 5e8}.get(dtype, 1e9)  # leaves room for 3 sigma
    bottom = 1e-9 if np.dtype(dtype).kind == "f" else 100.0
    level = data.draw(st.floats(math.log(bottom), math.log(top)).map(math.exp))
    ratio = data.draw(st.floats(0, math.log(1e6)).map(math.exp))
    x = level * (1 + np.clip(rng.normal(0, 1, (n, 1, 3)), -3, 3) / ratio)
    if dtype == "uint32":
        x = abs(x)
    elif data.draw(st.booleans()):
        x = -x
    frames = x.astype(dtype)
    assert_exact(moments_of(frames), frames, ddof, tolerance=4e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_million_frames_a_million_sigma_high(dtype: str) -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(1e6, 1, (10**6, 1, 2)).astype(dtype)
    m = PixelMoments((1, 2), dtype)
    for batch in np.split(frames, 10):
        m.add(batch)
    assert_exact(m, frames, tolerance=4e-15)


def test_a_million_integer_frames() -> None:
    rng = np.random.default_rng(3)
    frames = rng.normal(60000, 20, (10**6, 1, 2)).astype(np.uint16)
    m = moments_of(frames)
    assert_moments_of(m, frames)
    assert_within_one_ulp(m, frames)


@pytest.mark.parametrize("dtype", INTEGER_KIND)
def test_ends_of_the_range_over_many_frames(dtype: str) -> None:
    """More frames in one call than sums of 32 bits can hold."""
    info = np.iinfo(dtype)
    frames = np.empty((70_000, 1, 4), dtype)
    frames[:, 0, 0] = info.min
    frames[:, 0, 1] = info.max
    frames[::2, 0, 2] = info.min
    frames[1::2, 0, 2] = info.max
    frames[:, 0, 3] = info.max
    frames[-1, 0, 3] = info.max - 1
    m = moments_of(frames)
    assert_moments_of(m, frames)
    assert_within_one_ulp(m, frames)
    assert m.std()[0, :2].tolist() == [0.0, 0.0]
    m.subtract(frames[:-1])
    assert_moments_of(m, frames[-1:])


@every_dtype
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 100 / 3, -1.5, 12345.678, 3.14159e6])
def test_constant_pixels_have_no_scatter(dtype: str, value: float) -> None:
    info = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    frames = np.full((1000, 2, 2), np.clip(value, info.min, info.max)).astype(dtype)
    m = moments_of(frames)
    assert (m.std() == 0).all()
    assert (m.mean() == frames[0]).all()
    # Frames that were there and went leave nothing behind.
    noise = (frames * np.random.default_rng(4).uniform(0.5, 1, frames.shape)).astype(dtype)
    m.add(noise)
    m.subtract(frames[:997])
    m.subtract(noise)
    assert (m.std() == 0).all()
    assert (m.mean() == frames[0]).all()


def test_one_frame_has_no_scatter_when_brighter_ones_have_gone() -> None:
    frames = np.array([0.1, 1e6 / 7, 1e6 / 3, 1e6 / 11]).reshape(4, 1, 1)
    m = moments_of(frames)
    m.subtract(frames[1:])
    assert m.mean()[0, 0] == 0.1
    assert m.std()[0, 0] == 0


def test_the_largest_count() -> None:
    n = 2**32 - 1
    state = {
        "shape": (1, 2),
        "dtype": "uint16",
        "count": n,
        "sum": np.array([[65535 * n, 65535 * (n - 1)]], np.int64),
        "sum_of_squares": np.array([[65535**2 * n, 65535**2 * (n - 1)]], np.uint64),
    }
    m = PixelMoments.from_state(state)
    exact = Fraction(65535**2 * (n - 1), n**2)
    assert m.mean()[0, 0] == 65535
    assert m.var()[0, 0] == 0
    assert abs(Fraction(m.var()[0, 1]) - exact) <= ulp(float(exact))
    before = m.copy()
    one = np.zeros((1, 2), np.uint16)
    with pytest.raises(ValueError, match="more than 4294967295 frames"):
        m.add(one)
    with pytest.raises(ValueError, match="more than 4294967295 frames"):
        m.merge(moments_of(one[None]))
    assert_same_bits(m, before)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_stable_where_naive_sums_are_not(dtype: str) -> None:
    frames = np.random.default_rng(5).normal(60000, 20, (4096, 2, 2)).astype(dtype)
    assert_exact(moments_of(frames), frames, tolerance=4e-15)
    x = frames.astype(np.float32)
    total, squares = np.zeros_like(x[0]), np.zeros_like(x[0])
    for frame in x:
        total += frame
        squares += frame * frame
    naive = squares / len(x) - (total / len(x)) ** 2
    assert (abs(naive / moments_of(frames).var() - 1) > 0.1).all()


@every_dtype
def test_sums(dtype: str) -> None:
    frames = some_frames(np.random.default_rng(6), dtype, (5, 2, 3), "full")
    m = moments_of(frames)
    for i, vector in enumerate(pixel_vectors(frames)):
        total, squares = exact_sums(vector)
        assert m.sum().flat[i] == float(total)
        assert m.sum_of_squares().flat[i] == float(squares)


@every_dtype
def test_nan_where_there_are_not_enough_frames(dtype: str) -> None:
    m = PixelMoments((2, 3), dtype)
    assert (m.sum() == 0).all()
    assert (m.sum_of_squares() == 0).all()
    for image in (m.mean(), m.var(), m.std(), m.std(1)):
        assert image.shape == (2, 3)
        assert np.isnan(image).all()
    m.add(np.ones((2, 3), dtype))
    assert (m.mean() == 1).all()
    assert (m.std() == 0).all()
    assert np.isnan(m.std(1)).all()
    assert np.isnan(m.var(2)).all()


# --- statistics of frames ---------------------------------------------------------------------------


@every_dtype
@given(data=st.data())
@settings(max_examples=30)
def test_statistics_of_frames(dtype: str, data: st.DataObject) -> None:
    frames = data.draw(stacks(dtype))
    rows = PixelMoments(frames.shape[1:], dtype).add(frames, threads=data.draw(st.integers(1, 3)))
    assert rows.dtype.names == ("mean", "std", "min", "max")
    x = frames.reshape(len(frames), -1).astype(np.float64)
    scale = abs(x).max(axis=1)
    np.testing.assert_array_equal(rows["min"], x.min(axis=1))
    np.testing.assert_array_equal(rows["max"], x.max(axis=1))
    assert (abs(rows["mean"] - x.mean(axis=1)) <= 1e-14 * scale).all()
    assert (abs(rows["std"] - x.std(axis=1)) <= 1e-12 * x.std(axis=1) + 1e-15 * scale).all()
    threads = data.draw(st.integers(1, 3))
    np.testing.assert_array_equal(frame_statistics(frames, threads=threads), rows)
    if frames.ndim == 3:
        np.testing.assert_array_equal(frame_statistics(frames[0]), rows[:1])


def test_statistics_of_a_frame_far_above_its_scatter() -> None:
    x = np.random.default_rng(7).normal(1e6, 1, (1, 300, 300))
    mean, variance = exact_mean_and_variance(x.ravel())
    (row,) = frame_statistics(x)
    assert row["mean"] == pytest.approx(float(mean), rel=1e-15)
    assert row["std"] == pytest.approx(math.sqrt(variance), rel=1e-13)


def test_statistics_of_frames_that_are_not_finite() -> None:
    frames = np.ones((4, 3, 5), np.float32)
    frames[1, 2, 4] = np.nan
    frames[2, 0, 0] = -np.inf
    rows = frame_statistics(frames)
    for name in ("mean", "std", "min", "max"):
        assert np.isnan(rows[name]).tolist() == [False, True, True, False]
    huge = np.array([[[0.0, 1e200]]])
    assert not np.isfinite(frame_statistics(huge)["std"][0])


def test_statistics_of_no_frames() -> None:
    assert frame_statistics(np.zeros((0, 2, 2), np.uint8)).shape == (0,)
    m = PixelMoments((2, 2), np.uint8)
    assert m.add(np.zeros((0, 2, 2), np.uint8)).shape == (0,)
    assert m.count == 0


# --- views ------------------------------------------------------------------------------------------


def unaligned(frames: np.ndarray) -> np.ndarray:
    data = b"\0" + frames.tobytes()
    return np.frombuffer(data, frames.dtype, offset=1).reshape(frames.shape)


def packed_field(frames: np.ndarray) -> np.ndarray:
    """Pixels that lie 3 bytes further apart than they are long."""
    record = np.zeros(frames.shape, np.dtype([("pad", "V3"), ("x", frames.dtype)]))
    record["x"] = frames
    return record["x"]


def read_only(frames: np.ndarray) -> np.ndarray:
    frames = frames.copy()
    frames.setflags(write=False)
    return frames


VIEWS = {
    "reversed frames": lambda x: x[::-1],
    "reversed rows": lambda x: x[:, ::-1],
    "reversed columns": lambda x: x[:, :, ::-1],
    "every second frame": lambda x: x[::2],
    "every second row": lambda x: x[:, ::2],
    "every second column": lambda x: x[:, :, 1::2],
    "a part": lambda x: x[1:, 3:-2, 5:-7],
    "transposed": lambda x: x.swapaxes(1, 2),
    "Fortran order": np.asfortranarray,
    "frames last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
    "broadcast frame": lambda x: np.broadcast_to(x[0], x.shape),
    "broadcast row": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "read-only": read_only,
    "unaligned": unaligned,
    "field of a record": packed_field,
}

COLOUR_VIEWS = {
    "planes stored apart": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 1)), 1, -1),
    "reversed planes": lambda x: x[..., ::-1],
    "two of the planes": lambda x: x[..., 1:],
    "one of the planes": lambda x: x[..., 1:2],
    "one column": lambda x: x[:, :, 4:5],
    "one row": lambda x: x[:, 4:5],
}


@every_dtype
@pytest.mark.parametrize(
    ("view", "planes"), [*((view, 1) for view in VIEWS), *((view, 3) for view in VIEWS | COLOUR_VIEWS)]
)
def test_views_give_what_their_copies_give(dtype: str, view: str, planes: int) -> None:
    shape = (4, 71, 83) if planes == 1 else (4, 47, 53, planes)
    frames = some_frames(np.random.default_rng(8), dtype, shape, "full")
    seen = (VIEWS | COLOUR_VIEWS)[view](frames)
    plain = np.ascontiguousarray(seen)
    m = PixelMoments(seen.shape[1:], dtype)
    rows = m.add(seen, threads=2)
    assert_same_bits(m, moments_of(plain))
    assert_moments_of(m, plain)
    np.testing.assert_array_equal(rows, PixelMoments(seen.shape[1:], dtype).add(plain))
    m.subtract(seen[1:], threads=2)
    assert_moments_of(m, plain[:1])


# --- instruction sets and threads -------------------------------------------------------------------

DIGEST = """
import hashlib, numpy as np, camnorm
rng = np.random.default_rng(9)
digest = hashlib.sha256()
for dtype in {dtypes}:
    scale = 1000 if dtype != "int8" else 100
    frames = (scale * (1 + rng.random((9, 61, 83)))).astype(dtype)
    m = camnorm.PixelMoments(frames.shape[1:], dtype)
    digest.update(m.add(frames).tobytes())
    m.subtract(frames[2:4])
    if frames.dtype.kind == "f":  # of either sign, zero, or small beside others
        wide = rng.choice([-1, 0, 1], frames.shape) * 8.0 ** rng.integers(-8, 5, frames.shape)
        digest.update(m.add((wide * rng.random(frames.shape)).astype(dtype)).tobytes())
    half = camnorm.PixelMoments(frames.shape[1:], dtype)
    half.add(frames[::2])
    images = [m.mean(), m.std(1), m.var(), m.mean_with(half), m.std_with(half)]
    for array in list(m.state().values())[3:] + images:
        digest.update(array.tobytes())
    digest.update(repr(m.targets_with(half)).encode())
print(camnorm.build_info()["isa"], digest.hexdigest())
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_instruction_set_gives_the_same_bits() -> None:
    isas = camnorm.build_info()["isas"]
    assert isas[0] == "baseline"
    digests = set()
    for isa in [*isas, *(["avx512bw"] if "avx512" in isas else [])]:
        done = run_python(DIGEST.format(dtypes=DTYPES), CAMNORM_ISA=isa)
        assert done.returncode == 0, done.stderr
        used, digest = done.stdout.split()
        assert used == isa.removesuffix("bw")
        digests.add(digest)
    assert len(digests) == 1


def test_an_unknown_instruction_set_is_refused() -> None:
    done = run_python("import camnorm; camnorm.build_info()", CAMNORM_ISA="mmx")
    assert done.returncode == 1
    assert "ValueError: CAMNORM_ISA=mmx: must be baseline, avx2 or avx512" in done.stderr


COUNT_THREADS = """
import numpy as np, psutil, camnorm
frames = np.zeros((64, 64, 64), np.uint8).repeat(4, axis=2)
m = camnorm.PixelMoments(frames.shape[1:], np.uint8)
before = psutil.Process().num_threads()
m.add(frames{argument})
print(psutil.Process().num_threads() - before)
"""


@pytest.mark.skipif(camnorm.build_info()["parallel"] != "openmp", reason="other threads end with the call")
@pytest.mark.parametrize(
    ("environment", "argument", "extra"), [("1", "", 0), ("3", "", 2), ("3", ", threads=2", 1)]
)
def test_threads_that_are_started(environment: str, argument: str, extra: int) -> None:
    done = run_python(COUNT_THREADS.format(argument=argument), CAMNORM_THREADS=environment)
    assert done.stderr == ""
    assert int(done.stdout) == extra


@pytest.mark.parametrize("value", ["0", "-2", "two", "2x", "1e3"])
def test_threads_of_the_environment_that_are_no_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMNORM_THREADS", value)
    m = PixelMoments((1, 1), np.uint8)
    with pytest.raises(ValueError, match=f"CAMNORM_THREADS must be a positive number, got '{value}'"):
        m.add(np.zeros((1, 1), np.uint8))
    m.add(np.zeros((1, 1), np.uint8), threads=1)
    monkeypatch.setenv("CAMNORM_THREADS", "")
    m.add(np.zeros((1, 1), np.uint8))
    assert m.count == 2


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_many_python_threads_on_one_object(dtype: str) -> None:
    """The calls are long and all of them work on the same block of pixels: unguarded, they would collide."""
    frames = some_frames(np.random.default_rng(10), dtype, (200, 32, 64), "noise")
    shared = PixelMoments(frames.shape[1:], dtype)
    own = [PixelMoments(frames.shape[1:], dtype) for _ in range(3)]
    failures = []

    def work(k: int) -> None:
        try:
            for _ in range(10):
                shared.add(frames, threads=1 + k)
                shared.subtract(frames[:100], threads=1 + k)
                own[k].add(frames[k::3])
                shared.merge(moments_of(frames[:5]))
                shared.state()
        except BaseException as e:
            failures.append(e)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert_moments_of(shared, np.concatenate(30 * [frames[100:], frames[:5]]))
    for k in range(3):
        assert_moments_of(own[k], np.concatenate(10 * [frames[k::3]]))


def test_merges_of_two_objects_into_each_other_do_not_deadlock() -> None:
    a, b = (PixelMoments((64, 64), np.uint8) for _ in range(2))

    def work(one: PixelMoments, other: PixelMoments) -> None:
        for _ in range(3000):
            one.merge(other, threads=1)

    workers = [threading.Thread(target=work, args=pair, daemon=True) for pair in ((a, b), (b, a))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
        assert not worker.is_alive()


LONG_FRAMES = np.zeros((48, 1024, 1024), np.uint8)
LONG_CALLS = {
    "add": lambda m: m.add(LONG_FRAMES, threads=1),
    "subtract": lambda m: m.subtract(LONG_FRAMES, threads=1),
    "merge": lambda m: m.merge(m, threads=1),
    "mean": lambda m: m.mean(),
    "std": lambda m: m.std(),
    "copy": lambda m: m.copy(),
    "frame_statistics": lambda m: frame_statistics(LONG_FRAMES, threads=1),
}


@pytest.mark.parametrize("call", LONG_CALLS)
def test_other_python_threads_run_during_a_call(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without forced switches a thread runs only when another one releases the GIL by itself.

    The machine may be too busy to wake the observer in time, so one success in many tries will do; were
    the GIL kept, there could be none.
    """
    monkeypatch.setenv("CAMNORM_THREADS", "1")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        for _ in range(50):
            m = PixelMoments(LONG_FRAMES.shape[1:], np.uint8)
            m.add(LONG_FRAMES)
            started, done = threading.Event(), []

            def work(
                m: PixelMoments = m, started: threading.Event = started, done: list[bool] = done
            ) -> None:
                started.set()
                LONG_CALLS[call](m)
                done.append(True)

            worker = threading.Thread(target=work)
            worker.start()
            started.wait()
            ran_meanwhile = not done
            worker.join()
            if ran_meanwhile:
                return
    finally:
        sys.setswitchinterval(interval)
    pytest.fail(f"{call} never released the GIL")


# --- errors -----------------------------------------------------------------------------------------

SUPPORTED = (
    "are not supported: uint8, int8, uint16, int16, uint32, int32, float16, float32 and float64 in native "
    "byte order are"
)
FOREIGN = ">u2" if sys.byteorder == "little" else "<u2"


@pytest.mark.parametrize(
    "dtype", ["int64", "uint64", "bool", "complex64", "longdouble", FOREIGN, "datetime64[s]"]
)
def test_dtypes_that_are_not_supported(dtype: str) -> None:
    message = re.escape(f"frames of dtype {np.dtype(dtype)} {SUPPORTED}")
    frames = np.zeros((2, 3), dtype)
    with pytest.raises(TypeError, match=message):
        PixelMoments((2, 3), dtype)
    m = PixelMoments((2, 3), np.uint16)
    with pytest.raises(TypeError, match=message):
        m.add(frames)
    with pytest.raises(TypeError, match=message):
        m.subtract(frames)
    with pytest.raises(TypeError, match=message):
        frame_statistics(frames)
    assert m.count == 0


@pytest.mark.parametrize(("frames", "name"), [([[1, 2]], "list"), (None, "NoneType"), (np.uint8(1), "uint8")])
def test_frames_that_are_no_array(frames: object, name: str) -> None:
    message = f"frames must be a numpy array, not {name}"
    m = PixelMoments((1, 2), np.uint8)
    with pytest.raises(TypeError, match=message):
        m.add(frames)
    with pytest.raises(TypeError, match=message):
        m.subtract(frames)
    with pytest.raises(TypeError, match=message):
        frame_statistics(frames)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4,), "a frame's shape is (y, x) or (y, x, c), not (4,)"),
        ((), "a frame's shape is (y, x) or (y, x, c), not ()"),
        ((1, 2, 3, 4), "a frame's shape is (y, x) or (y, x, c), not (1, 2, 3, 4)"),
        ((0, 4), "frames of shape (0, 4) have no pixels"),
        ((4, 4, 0), "frames of shape (4, 4, 0) have no pixels"),
        ((-1, 4), "frames of shape (-1, 4) have no pixels"),
    ],
)
def test_shapes_of_no_frame(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        PixelMoments(shape, np.uint8)


@pytest.mark.parametrize("got", [(3, 2), (3,), (2, 3, 2), (1, 1, 2, 3), ()])
def test_frames_of_another_shape(got: tuple[int, ...]) -> None:
    m = PixelMoments((2, 3), np.uint8)
    text = re.escape(f"frames of shape {got} where a frame of (2, 3) or a stack of them is wanted")
    for call in (m.add, m.subtract):
        with pytest.raises(ValueError, match=text):
            call(np.zeros(got, np.uint8))
    colour = PixelMoments((2, 3, 3), np.uint8)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) where a frame of \(2, 3, 3\) or a stack"):
        colour.add(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize("shape", [(3,), (1, 1, 1, 1, 1)])
def test_statistics_of_what_is_no_frame(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"frames of shape {shape} are neither one frame nor a stack")
    ):
        frame_statistics(np.zeros(shape, np.uint8))


def test_statistics_of_frames_without_pixels() -> None:
    with pytest.raises(ValueError, match=r"frames of shape \(0, 2\) have no pixels"):
        frame_statistics(np.zeros((1, 0, 2), np.uint8))


def test_kinds_do_not_mix() -> None:
    integer, floating = PixelMoments((1, 2), np.uint8), PixelMoments((1, 2), np.float32)
    with pytest.raises(
        TypeError, match="int32 frames are of the float kind, the moments of the integer kind"
    ):
        integer.add(np.zeros((1, 2), np.int32))
    with pytest.raises(
        TypeError, match="int16 frames are of the integer kind, the moments of the float kind"
    ):
        floating.subtract(np.zeros((1, 2), np.int16))
    for a, b in ((integer, floating), (floating, integer)):
        for combine in (a.merge, a.__add__, a.__sub__):
            with pytest.raises(
                TypeError, match="moments of integer frames and of float frames cannot be put togeth"
            ):
                combine(b)


def test_moments_of_another_shape_do_not_merge() -> None:
    a, b = PixelMoments((1, 2), np.uint8), PixelMoments((2, 1, 3), np.uint8)
    for combine in (a.merge, a.__add__, a.__sub__):
        with pytest.raises(ValueError, match=r"moments have shape \(2, 1, 3\), these \(1, 2\)"):
            combine(b)


def test_what_is_no_moments_does_not_merge() -> None:
    m = PixelMoments((1, 2), np.uint8)
    with pytest.raises(TypeError, match="other must be PixelMoments, not int"):
        m.merge(3)
    for combine in (operator.add, operator.sub):
        with pytest.raises(TypeError, match="unsupported operand type"):
            combine(m, 3)


@every_dtype
def test_no_more_frames_go_than_came(dtype: str) -> None:
    frames = np.ones((3, 2, 2), dtype)
    m = moments_of(frames[:2])
    before = m.copy()
    with pytest.raises(ValueError, match="cannot subtract 3 frames from 2"):
        m.subtract(frames)
    with pytest.raises(ValueError, match="cannot subtract 3 frames from 2"):
        m - moments_of(frames)
    assert_same_bits(m, before)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frames_that_are_not_finite(dtype: str, value: float) -> None:
    frames = np.ones((5, 61, 83), dtype)
    frames[3, 60, 82] = value
    frames[4, 0, 0] = value
    m = moments_of(np.ones_like(frames))
    before = m.copy()
    for call in (m.add, m.subtract):
        with pytest.raises(camnorm.NonFiniteError, match=r"^frame 2 has NaN or infinite pixels$") as caught:
            call(frames[1:])
        assert caught.value.frame == 2
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, camnorm.Error)
        assert pickle.loads(pickle.dumps(caught.value)).frame == 2
    assert_same_bits(m, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_is_left_of_frames_that_come_before_one_that_is_not_finite(dtype: str, threads: int) -> None:
    """Seen late: after whole batches of frames, and after most of the pixels."""
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 4000, (71, 190, 256)).astype(dtype)
    m = moments_of(frames)
    before = m.copy()
    frames[69, 180, 7] = np.nan
    with pytest.raises(camnorm.NonFiniteError, match=r"^frame 69 has NaN or infinite pixels$"):
        m.add(frames, threads=threads)
    assert_same_bits(m, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_that_outgrow_those_before_them(dtype: str) -> None:
    """The first frames give no idea of what is to come; each pixel at another pace."""
    exponents = np.arange(40)[:, None, None] * np.linspace(-3, 3, 91).reshape(7, 13)
    frames = ((1 + 1 / 3) * 2.0**exponents * (-1) ** np.arange(40)[:, None, None]).astype(dtype)
    for order in (frames, frames[::-1]):
        m = moments_of(order)
        for (y, x), high in np.ndenumerate(m.state()["sum_of_squares_high"]):
            pixels = [Fraction(float(value)) for value in order[:, y, x]]
            squares = Fraction(high) + Fraction(m.state()["sum_of_squares_low"][y, x])
            exact = sum(value**2 for value in pixels)
            assert abs(squares - exact) <= exact / 2**88
            total = Fraction(m.state()["sum_high"][y, x]) + Fraction(m.state()["sum_low"][y, x])
            assert abs(total - sum(pixels)) <= max(map(abs, pixels)) / 2**88


@pytest.mark.parametrize("smallest", [2.0**-16, 2.0**-20, 2.0**-40])
def test_float32_pixels_that_are_small_beside_others(smallest: float) -> None:
    """The sums are exact in one number, or take two; zeros, here and there, are no small pixels."""
    rng = np.random.default_rng(12)
    frames = (rng.uniform(1, 2, (37, 5, 111)) * rng.choice([-1, 1], (37, 5, 111))).astype(np.float32)
    frames *= rng.choice(np.array([0, smallest, 1], np.float32), frames.shape, p=[0.2, 0.001, 0.799])
    frames[:, 2] = rng.choice(np.array([0, 1], np.float32), (37, 111))
    state = moments_of(frames).state()
    for (y, x), high in np.ndenumerate(state["sum_high"]):
        pixels = [Fraction(float(value)) for value in frames[:, y, x]]
        assert Fraction(high) + Fraction(state["sum_low"][y, x]) == sum(pixels)
        squares = Fraction(state["sum_of_squares_high"][y, x]) + Fraction(state["sum_of_squares_low"][y, x])
        exact = sum(value**2 for value in pixels)
        assert abs(squares - exact) <= exact / 2**88


def test_every_finite_float16() -> None:
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)]
    frames = np.stack([np.roll(values, 1019 * i) for i in range(33)])[:, None]
    state = moments_of(frames).state()
    x = (frames.astype(np.float64) * 2.0**24).astype(np.int64).astype(object)
    for part, exact, unit in (("sum", x.sum(axis=0), 2**24), ("sum_of_squares", (x * x).sum(axis=0), 2**48)):
        high, low = state[part + "_high"], state[part + "_low"]
        for index, value in np.ndenumerate(exact):
            assert Fraction(high[index]) + Fraction(low[index]) == Fraction(value, unit)
    rows = frame_statistics(frames)
    np.testing.assert_array_equal(rows["min"], np.full(33, -65504.0))
    np.testing.assert_array_equal(rows["max"], np.full(33, 65504.0))


@every_dtype
@pytest.mark.parametrize("pixels", [1, 15, 33, 100])
def test_extremes_in_every_place(dtype: str, pixels: int) -> None:
    """In the middle of a vector, or in the rest that does not fill one."""
    line = np.arange(pixels).astype(dtype) + np.array(3, dtype)
    frames = np.stack([np.roll(line, place) for place in range(pixels)])[:, None]
    rows = PixelMoments(frames.shape[1:], dtype).add(frames)
    x = line.astype(np.float64)
    np.testing.assert_array_equal(rows["min"], np.full(pixels, x.min()))
    np.testing.assert_array_equal(rows["max"], np.full(pixels, x.max()))
    np.testing.assert_allclose(rows["mean"], x.mean(), rtol=1e-15)
    np.testing.assert_allclose(rows["std"], x.std(), rtol=1e-14)
    np.testing.assert_array_equal(frame_statistics(frames), rows)


@every_dtype
def test_statistics_only_where_they_are_wanted(dtype: str) -> None:
    frames = some_frames(np.random.default_rng(0), dtype, (9, 61, 83), "noise")
    m = PixelMoments(frames.shape[1:], dtype)
    assert m.add(frames, statistics=False) is None
    assert_same_bits(m, moments_of(frames))


@every_dtype
@pytest.mark.parametrize("count", range(1, 10))
def test_any_number_of_frames(dtype: str, count: int) -> None:
    """Kernels take four at a time, and batches of more: none may be lost, or come twice."""
    frames = some_frames(np.random.default_rng(count), dtype, (count, 7, 11), "full")
    if np.dtype(dtype).kind == "f":
        frames = np.rint(frames / 64)  # the sums are exact then
    expected = frames.astype(object)
    m = moments_of(frames.astype(dtype))
    np.testing.assert_array_equal(m.sum(), expected.sum(axis=0).astype(float))
    np.testing.assert_array_equal(m.sum_of_squares(), (expected**2).sum(axis=0).astype(float))


@pytest.mark.parametrize("value", [-1e145, 1e200, 1.7e308])
def test_frames_whose_squares_overflow(value: float) -> None:
    frames = np.full((2, 2, 2), value)
    frames[0] = 1e144
    m = PixelMoments((2, 2), np.float64)
    with pytest.raises(
        camnorm.NonFiniteError, match="frame 1 has pixels beyond 3e144, whose squares overflow"
    ):
        m.add(frames)
    assert m.count == 0
    m.add(frames[0])
    assert (m.mean() == 1e144).all()


def test_ddof() -> None:
    m = moments_of(np.ones((3, 2, 2), np.uint8))
    for call in (m.var, m.std):
        with pytest.raises(ValueError, match="ddof must not be negative, got -1"):
            call(-1)
        with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
            call(0.5)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_are_no_number(threads: int) -> None:
    m = PixelMoments((1, 2), np.uint8)
    frame = np.zeros((1, 2), np.uint8)
    message = f"threads must be positive, got {threads}"
    calls = [
        lambda: m.add(frame, threads=threads),
        lambda: m.subtract(frame, threads=threads),
        lambda: m.merge(m, threads=threads),
        lambda: frame_statistics(frame, threads=threads),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_states_that_lack_something(dtype: str) -> None:
    state = moments_of(np.ones((3, 2, 2), dtype)).state()
    for key in state:
        with pytest.raises(ValueError, match=f"the state has no '{key}'"):
            PixelMoments.from_state({k: v for k, v in state.items() if k != key})


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("count", -1, ValueError, "a count of -1 frames is not between 0 and 4294967295"),
        ("count", 2**32, ValueError, "a count of 4294967296 frames is not between 0 and 4294967295"),
        ("count", 2.0, TypeError, "'float' object cannot be interpreted as an integer"),
        ("shape", (4,), ValueError, "a frame's shape is (y, x) or (y, x, c), not (4,)"),
        ("shape", (2, 3), ValueError, "sum has shape (2, 2), the frames (2, 3)"),
        ("dtype", "int64", TypeError, f"frames of dtype int64 {SUPPORTED}"),
        ("dtype", "float32", ValueError, "the state has no 'sum_high'"),
        ("sum", np.zeros((2, 2)), TypeError, "sum must be of dtype int64, not float64"),
        (
            "sum_of_squares",
            np.zeros((2, 2), np.int64),
            TypeError,
            "sum_of_squares must be of dtype uint64, not int64",
        ),
        (
            "sum_of_squares",
            np.zeros(4, np.uint64),
            ValueError,
            "sum_of_squares has shape (4,), the frames (2, 2)",
        ),
    ],
)
def test_states_that_are_wrong(key: str, value: object, error: type[Exception], message: str) -> None:
    state = moments_of(np.ones((3, 2, 2), np.uint8)).state()
    with pytest.raises(error, match=re.escape(message)):
        PixelMoments.from_state(state | {key: value})


def test_a_state_is_a_copy() -> None:
    m = moments_of(np.ones((3, 2, 2), np.uint8))
    state = m.state()
    state["sum"][:] = 0
    assert (m.sum() == 3).all()
    assert repr(m) == "<PixelMoments of 3 uint8 frames of shape (2, 2)>"


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_native_order_that_was_asked_for(dtype: str) -> None:
    """Mrcfile, for one, gives its arrays an explicit byte order, also where it is the machine's own."""
    order = "<" if sys.byteorder == "little" else ">"
    frames = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    explicit = frames.view(frames.dtype.newbyteorder(order))
    assert explicit.dtype.byteorder == order or np.dtype(order + dtype).byteorder == "="
    m = PixelMoments((3, 4), explicit.dtype)
    m.add(explicit)
    np.testing.assert_array_equal(m.mean(), frames.mean(0))
