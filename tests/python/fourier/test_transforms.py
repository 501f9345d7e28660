"""Transforms in pieces against whole ones, and the same bits whoever makes them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from camnorm import _core, frc
from camnorm.fourier.transforms import BAND_COLUMNS, TransformPool, real_transform, share


def spectrum_of(image: np.ndarray, threads: int) -> np.ndarray:
    """Half spectrum, put together from its pieces."""
    shape = (image.shape[0], image.shape[1])
    half = shape[1] // 2 + 1
    result = np.empty((shape[0], half), np.result_type(image, np.complex64))
    with real_transform(shape, image.dtype, threads) as transform:
        assert transform.bands == -(-half // BAND_COLUMNS)

        def write(first: int, out: np.ndarray) -> None:
            out[:] = image[first : first + len(out)]

        def keep(thread: int, band: int) -> None:
            first = band * BAND_COLUMNS
            columns = transform.columns(thread, band)
            assert columns.shape == (BAND_COLUMNS, shape[0])
            result[:, first : first + BAND_COLUMNS] = columns.T[:, : half - first]

        transform.rows(write, threads)
        share(transform.bands, threads, keep)
    return result


def image_of(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 9), (9, 1), (2, 2), (5, 62), (64, 64), (61, 67), (300, 1000), (1000, 300), (7, 70_000)],
)
def test_equals_numpy(shape, dtype):
    image = image_of(shape, dtype)
    expected = np.fft.rfft2(image.astype(np.float64))
    tolerance = (1e-6 if dtype == "float32" else 1e-14) * np.sqrt(np.mean(abs(expected) ** 2))
    for threads in (1, 3):
        np.testing.assert_allclose(spectrum_of(image, threads), expected, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neither_threads_nor_earlier_images_change_a_bit(dtype):
    image = image_of((300, 1000), dtype)
    expected = spectrum_of(image, 1)
    for threads in (2, 5):
        spectrum_of(1e30 * image[::-1, ::-1], threads)
        np.testing.assert_array_equal(spectrum_of(image, threads), expected)


def digest(*first: tuple[int, int]) -> str:
    """Of the results for several shapes, after transforms of others."""
    for shape in first:
        spectrum_of(image_of(shape, "float32"), 1)
    shapes = [(96, 96), (211, 190), (512, 512)]
    spectra = [spectrum_of(image_of(shape, dtype), 2) for shape in shapes for dtype in ("float32", "float64")]
    return hashlib.sha256(b"".join(spectrum.tobytes() for spectrum in spectra)).hexdigest()


@pytest.mark.slow
def test_processes_do_not_change_a_bit():
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_transforms as t; "
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code + f"print(t.digest({first}))"], stdout=subprocess.PIPE, text=True
        )
        for first in ("", "(512, 512), (96, 100)")
    ]
    digests = {process.communicate()[0].strip() for process in processes}
    assert digests == {digest((100, 96))}


def test_correlations_in_many_threads_at_once():
    pairs = [np.random.default_rng(seed).normal(size=(2, 256, 256)) for seed in range(8)]
    expected = [frc(*pair).correlation for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        for result, correlation in zip(
            pool.map(lambda pair: frc(*pair), 4 * pairs), 4 * expected, strict=True
        ):
            np.testing.assert_array_equal(result.correlation, correlation)


def test_transforms_are_lent_to_one_and_kept_within_limits():
    pool = TransformPool(idle_bytes=2**30)
    with pool.lend((64, 64), "float32", 1) as first, pool.lend((64, 64), "float32", 1) as second:
        assert first is not second
    with pool.lend((64, 64), np.float32, 2) as again:
        assert again in (first, second)
    pool.idle_bytes = first.nbytes + second.nbytes
    with pool.lend((64, 64), np.float64, 1) as other:
        pass
    assert list(pool.waiting.values()) == [[other]]
    pool.release()
    assert not pool.waiting
    with pool.lend((64, 64), np.float64, 1):
        pass
    assert list(map(len, pool.waiting.values())) == [1]
    pool.idle_bytes = 0
    with pool.lend((64, 64), np.float64, 1):
        pass
    assert not pool.waiting


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_pieces_are_shared(threads):
    done: Counter[int] = Counter()
    workers = set()
    share(
        5, threads, lambda thread, piece: (done.update([piece]), workers.add((thread, threading.get_ident())))
    )
    assert done == Counter(range(5))
    assert {thread for thread, _ in workers} <= set(range(min(threads, 5)))
    assert len(workers) == len({thread for thread, _ in workers})


@pytest.mark.parametrize("threads", [1, 3])
def test_errors_of_pieces_are_raised(threads):
    with pytest.raises(ZeroDivisionError):
        share(4, threads, lambda _, piece: 1 // (piece - 2))


# The pieces of the core


def test_arguments_of_the_core_are_checked():
    taper = _core.Taper(np.ones((4, 6), np.float32), None, None, "a")
    with pytest.raises(IndexError, match="there is no band 1"):
        taper.sum(1)
    with pytest.raises(ValueError, match=r"out has shape \(2, 6\), which are not rows of \(4, 6\) from 3"):
        taper.write(3, np.empty((2, 6), np.float32))
    with pytest.raises(TypeError, match="out must be float32 or float64, not int32"):
        taper.write(0, np.empty((2, 6), np.int32))
    with pytest.raises(ValueError, match="not C-contiguous"):
        taper.write(0, np.empty((6, 2), np.float32).T)

    sums = _core.RingAccumulator(_core.RingIndex(6, 4, "round", False))
    band = np.zeros((BAND_COLUMNS, 4), np.complex64)
    sums.add(0, band, band)
    with pytest.raises(ValueError, match="there is no band 1 of columns"):
        sums.add(1, band, band)
    with pytest.raises(TypeError, match="both be complex64 or both complex128"):
        sums.add(0, band, band.astype(np.complex128))
    with pytest.raises(ValueError, match=r"fb has shape \(4, 4\), not \(32, 4\)"):
        sums.add(0, band, band[:4])


@pytest.mark.parametrize("shape", [(50, 70), (20, 30, 3)])
def test_frames_are_added_up(shape):
    frames = np.random.default_rng(1).integers(0, 65536, (5, *shape)).astype(np.uint16)
    sums = np.zeros(shape)
    _core.add_frames(frames[:3], sums, 2)
    _core.add_frames(frames[3], sums, 1)
    _core.add_frames(frames[:, ::-1][4:, ::-1], sums, 1)
    np.testing.assert_array_equal(sums, frames.sum(0, dtype=np.float64))
    with pytest.raises(TypeError, match="sums must be float64"):
        _core.add_frames(frames, sums.astype(np.float32), 1)
    with pytest.raises(ValueError, match="shape"):
        _core.add_frames(frames[:, 1:], sums, 1)
    sums.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        _core.add_frames(frames, sums, 1)
