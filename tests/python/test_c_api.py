"""The C API of the shared library, called as other languages call it: beside the Python package."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import camnorm

OK, INVALID_ARGUMENT, WRONG_KIND = 0, 1, 2
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]


class Shape(ctypes.Structure):
    _fields_ = [("height", ctypes.c_size_t), ("width", ctypes.c_size_t), ("planes", ctypes.c_size_t)]


class Frames(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int32),
        ("count", ctypes.c_size_t),
        ("shape", Shape),
        ("strides", ctypes.c_ssize_t * 4),
    ]


class Options(ctypes.Structure):
    _fields_ = [
        ("target_mean", ctypes.POINTER(ctypes.c_double)),
        ("target_sigma", ctypes.POINTER(ctypes.c_double)),
        ("bad", ctypes.c_void_p),
        ("bad_policy", ctypes.c_int32),
    ]


def shape_of(array: np.ndarray) -> Shape:
    return Shape(*array.shape[:2], array.shape[2] if array.ndim == 3 else 1)


def frames_of(array: np.ndarray) -> Frames:
    return Frames(
        array.ctypes.data,
        DTYPES.index(array.dtype.name),
        len(array),
        shape_of(array[0]),
        (*array.strides, array.itemsize)[:4],
    )


class Library:
    """The functions of the library, checked to succeed."""

    def __init__(self, path: str) -> None:
        self.c = ctypes.CDLL(path)
        self.c.camnorm_last_error.restype = self.c.camnorm_version.restype = ctypes.c_char_p
        self.c.camnorm_moments_state_size.restype = self.c.camnorm_ring_count.restype = ctypes.c_size_t
        self.c.camnorm_moments_count.restype = ctypes.c_uint64
        self.c.camnorm_moments_shape.restype = Shape
        self.c.camnorm_ring_sizes.restype = ctypes.POINTER(ctypes.c_uint64)
        self.c.camnorm_moments_create.argtypes = [Shape, ctypes.c_int32, ctypes.c_void_p]
        self.c.camnorm_correction_create.argtypes = [Shape, *[ctypes.c_void_p] * 4]

    def __getattr__(self, name: str) -> object:
        function = getattr(self.c, f"camnorm_{name}")

        def call(*arguments: object) -> None:
            assert function(*arguments) == OK, self.c.camnorm_last_error()

        return call

    def create(self, kind: str, *arguments: object) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        getattr(self, f"{kind}_create")(*arguments, ctypes.byref(handle))
        return handle

    def saved(self, moments: ctypes.c_void_p) -> bytes:
        buffer = ctypes.create_string_buffer(self.c.camnorm_moments_state_size(moments))
        self.moments_save(moments, buffer, ctypes.c_size_t(len(buffer)))
        return buffer.raw


@pytest.fixture(scope="module")
def library(request: pytest.FixtureRequest) -> Library:
    path = request.config.getoption("--c-library")
    if path is None:
        pytest.skip("needs the shared library: --c-library=libcamnorm.so")
    return Library(path)


def pixels(array: np.ndarray) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    return ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.size)


def test_version(library: Library) -> None:
    assert library.c.camnorm_version().decode() == camnorm.__version__


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(31, 45), (6, 7, 3)])
def test_moments_have_the_bits_of_python(library: Library, dtype: str, shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(3).normal(60, 20, (7, *shape)).clip(0, 120).astype(dtype)
    flipped = frames[::-1, ::-1]  # negative strides
    m = camnorm.PixelMoments(shape, dtype)
    rows = m.add(flipped)
    m.subtract(flipped[5])

    handle = library.create("moments", shape_of(frames[0]), DTYPES.index(dtype))
    try:
        told = np.empty(7, rows.dtype)
        library.moments_add(handle, ctypes.byref(frames_of(flipped)), ctypes.c_void_p(told.ctypes.data), 2)
        np.testing.assert_array_equal(told, rows)
        library.moments_subtract(handle, ctypes.byref(frames_of(flipped[5:6])), 1)
        assert library.c.camnorm_moments_count(handle) == 6
        assert library.saved(handle) == m.to_bytes()
        mean, std = np.empty(shape), np.empty(shape)
        library.moments_mean(handle, *pixels(mean), 1)
        library.moments_std(handle, ctypes.c_uint64(1), *pixels(std), 1)
        np.testing.assert_array_equal(mean, m.mean())
        np.testing.assert_array_equal(std, m.std(ddof=1))
    finally:
        library.c.camnorm_moments_destroy(handle)


def test_moments_of_python_go_on_in_c_and_come_back(library: Library) -> None:
    frames = np.random.default_rng(4).integers(0, 4000, (5, 9, 8), np.uint16)
    m = camnorm.PixelMoments((9, 8), np.uint16)
    m.add(frames[:2])
    data = m.to_bytes()
    handle = ctypes.c_void_p()
    library.moments_load(data, ctypes.c_size_t(len(data)), ctypes.byref(handle))
    try:
        library.moments_add(handle, ctypes.byref(frames_of(frames[2:])), None, 1)
        back = camnorm.PixelMoments.from_bytes(library.saved(handle))
    finally:
        library.c.camnorm_moments_destroy(handle)
    m.add(frames[2:])
    assert back.to_bytes() == m.to_bytes()


def test_planes_keep_their_axis(library: Library) -> None:
    data = camnorm.PixelMoments((4, 5, 1), np.float32).to_bytes()
    handle = ctypes.c_void_p()
    library.moments_load(data, ctypes.c_size_t(len(data)), ctypes.byref(handle))
    try:
        assert library.saved(handle) == data
    finally:
        library.c.camnorm_moments_destroy(handle)


@pytest.mark.parametrize("policy", ["neutral", "interpolate", "nan"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_correction_has_the_bits_of_python(library: Library, policy: str, dtype: str) -> None:
    if policy == "nan" and dtype == "uint16":
        pytest.skip("integers have no NaN")
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 4000, (3, 20, 30), np.uint16)
    mean, sigma = rng.uniform(1000, 2000, (20, 30)), rng.uniform(50, 100, (20, 30))
    bad = rng.random((20, 30)) < 0.1
    ours = camnorm.Correction(mean, sigma, target_mean=900.0, bad=bad, bad_policy=policy)
    target = ctypes.c_double(900.0)
    options = Options(
        ctypes.pointer(target), None, bad.ctypes.data, ["neutral", "interpolate", "nan"].index(policy)
    )
    handle = library.create(
        "correction", Shape(20, 30, 1), mean.ctypes.data, sigma.ctypes.data, ctypes.byref(options)
    )
    try:
        for name in ("apply", "inverse"):
            out = np.empty(frames.shape, dtype)
            getattr(library, f"correction_{name}")(
                handle,
                ctypes.byref(frames_of(frames)),
                ctypes.c_void_p(out.ctypes.data),
                DTYPES.index(dtype),
                1,
            )
            np.testing.assert_array_equal(out, getattr(ours, name)(frames, dtype=dtype))
    finally:
        library.c.camnorm_correction_destroy(handle)


def test_ring_correlation_has_the_bits_of_python(library: Library) -> None:
    rng = np.random.default_rng(6)
    fa, fb = (np.fft.rfft2(rng.normal(size=(30, 41))) for _ in range(2))
    ours = camnorm.ring_correlation(fa, fb, (30, 41), binning="floor", corners=True)
    index = ctypes.c_void_p()
    library.ring_index_create(ctypes.c_size_t(30), ctypes.c_size_t(41), 1, 1, ctypes.byref(index))
    try:
        rings = library.c.camnorm_ring_count(index)
        assert library.c.camnorm_ring_sizes(index)[:rings] == ours.n.tolist()
        correlation, z = np.empty(rings), np.empty(rings)
        library.ring_correlation(
            index,
            ctypes.c_void_p(fa.ctypes.data),
            ctypes.c_void_p(fb.ctypes.data),
            DTYPES.index("float64"),
            ctypes.c_void_p(correlation.ctypes.data),
            *pixels(z),
            1,
        )
        np.testing.assert_array_equal(correlation, ours.correlation)
        np.testing.assert_array_equal(z, ours.z)
    finally:
        library.c.camnorm_ring_index_destroy(index)


def test_failures_say_why_in_each_thread(library: Library) -> None:
    from threading import Thread

    handle = library.create("moments", Shape(4, 5, 1), DTYPES.index("uint8"))
    frames = np.zeros((1, 4, 5), np.float32)
    try:
        status = library.c.camnorm_moments_add(handle, ctypes.byref(frames_of(frames)), None, 1)
        assert status == WRONG_KIND
        elsewhere: list[bytes] = []
        thread = Thread(target=lambda: elsewhere.append(library.c.camnorm_last_error()))
        thread.start()
        thread.join()
        assert elsewhere == [b""]
        assert b"float32 frames are of the float kind" in library.c.camnorm_last_error()
    finally:
        library.c.camnorm_moments_destroy(handle)
