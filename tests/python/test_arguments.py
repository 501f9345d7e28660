"""Arguments that no function takes: numbers and shapes beyond all limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm import Correction, PixelMoments, PixelResponse, RawLayout, ReadOptions
from camnorm.io import Selection

SHAPE = (6, 8)
FRAME = np.arange(48, dtype=np.uint8).reshape(SHAPE)
IMAGE = FRAME + 1.0
HALF = np.fft.rfft2(IMAGE)
HUGE = 2**70


def moments() -> PixelMoments:
    m = PixelMoments(SHAPE, np.uint8)
    m.add(np.stack([FRAME, FRAME[::-1]]))
    return m


CORRECTION = Correction(IMAGE, IMAGE)


@pytest.mark.parametrize(
    ("threads", "error", "message"),
    [
        (1025, ValueError, "threads must be at most 1024, got 1025"),
        (99999999999, ValueError, "threads must be at most 1024, got 99999999999"),
        (HUGE, ValueError, f"threads is too large: {HUGE}"),
        (-HUGE, ValueError, f"threads is too small: -{HUGE}"),
        ("two", TypeError, "threads: 'str' object cannot be interpreted as an integer"),
        (2.5, TypeError, "threads: 'float' object cannot be interpreted as an integer"),
    ],
)
def test_numbers_of_threads(threads: Any, error: type[Exception], message: str) -> None:
    for call in (
        lambda: moments().add(FRAME, threads=threads),
        lambda: CORRECTION.apply(FRAME, threads=threads),
        lambda: camnorm.frc(IMAGE, IMAGE, threads=threads),
        lambda: camnorm.measure("nothing", threads=threads),
    ):
        with pytest.raises(error, match=f"^{message}$"):
            call()
    assert len(moments().add(FRAME, threads=1024)) == 1


@pytest.mark.parametrize("value", ["1025", "99999999999", "9" * 30])
def test_too_many_threads_of_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = moments()
    monkeypatch.setenv("CAMNORM_THREADS", value)
    with pytest.raises(ValueError, match=f"^CAMNORM_THREADS must be at most 1024, got '{value}'$"):
        m.add(FRAME)


@pytest.mark.parametrize("sums", [PixelMoments, PixelResponse])
@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((2**40, 2**40), ValueError, r"frames of shape \(\d+, \d+\) are larger than memory can be"),
        ((2**62, 1), ValueError, r"frames of shape \(\d+, 1\) are larger than memory can be"),
        ((2**20, 2**20, 2**20), ValueError, r"frames of shape .* are larger than memory can be"),
        ((2**28, 2**28), MemoryError, "the sums or images do not fit"),
        ((HUGE, 2), ValueError, f"a size in shape is too large: {HUGE}"),
        ((2.5, 3), TypeError, "a size in shape: 'float' object cannot be interpreted as an integer"),
        (("a", 3), TypeError, "a size in shape: 'str' object cannot be interpreted as an integer"),
    ],
)
def test_shapes_beyond_memory(sums: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        sums(shape, np.uint8)
    with pytest.raises(error, match=f"^{message}$"):
        sums.from_state({**sums(SHAPE, np.uint8).state(), "shape": shape})


def test_images_beyond_memory() -> None:
    """Without memory of their own, but with more pixels than copies of them could have."""
    image = np.broadcast_to(np.float32(1), (2**20, 2**20))
    with pytest.raises(MemoryError):
        Correction(image, image)
    for call in (lambda: camnorm.frc(image, image), lambda: camnorm.ring_average(image)):
        with pytest.raises(ValueError, match="a plane of 1048576 x 1048576 frequencies has more than 65535"):
            call()
    with pytest.raises(ValueError, match=r"^fa has shape \(6, 5\), but the half spectrum of a frame"):
        camnorm.ring_correlation(HALF, HALF, (2**40, 2**40))
    with pytest.raises(ValueError, match=f"^a size in shape is too large: {HUGE}$"):
        camnorm.ring_correlation(HALF, HALF, (HUGE, HUGE))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: moments().std(HUGE), ValueError, f"ddof is too large: {HUGE}"),
        (lambda: moments().var("one"), TypeError, "ddof: 'str' object cannot be"),  # type: ignore[arg-type]
        (
            lambda: PixelMoments.from_state({**moments().state(), "count": HUGE}),
            ValueError,
            f"count is too large: {HUGE}",
        ),
        (lambda: CORRECTION.apply(FRAME, first_row=HUGE), ValueError, f"first_row is too large: {HUGE}"),
        (lambda: CORRECTION.apply(FRAME, first_row=-1), ValueError, "first_row must not be negative, got -1"),
        (lambda: CORRECTION.apply(FRAME, first_row="0"), TypeError, "first_row: 'str' object"),  # type: ignore[arg-type]
        (lambda: Correction(IMAGE, IMAGE, "1"), TypeError, "target_mean must be a number, not str"),  # type: ignore[arg-type]
        (lambda: Correction(IMAGE, IMAGE, 1, [[2]]), TypeError, "target_sigma must be a number, not list"),  # type: ignore[list-item]
        (lambda: Correction(IMAGE, IMAGE, 10**400), ValueError, "target_mean is too large for a float"),
        (lambda: Correction(IMAGE, IMAGE, bad_policy=3), ValueError, "bad_policy must be .*, not '3'"),  # type: ignore[arg-type]
        (lambda: camnorm.frc(IMAGE, IMAGE, binning=3), ValueError, "binning must be .*, not '3'"),  # type: ignore[arg-type]
        (lambda: RawLayout.parse("9" * 5000 + "x2:u1"), ValueError, "'9+x2:u1' is not SHAPE:DTYPE"),
        (lambda: RawLayout.parse("2x2:u1:" + "9" * 5000), ValueError, "'2x2:u1:9+' is not SHAPE:DTYPE"),
        (lambda: Selection("9" * 5000 + ":"), ValueError, "frames must be START:STOP"),
        (lambda: ReadOptions(eer_grouping=HUGE), ValueError, "eer_grouping must be at most 65535"),
        (lambda: camnorm.measure("nothing", mean_limits=(np.inf, None)), ValueError, "mean_limits must be"),
        (lambda: camnorm.measure("nothing", std_limits=(None, -np.inf)), ValueError, "std_limits must be"),
    ],
)
def test_numbers_beyond_all_limits(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_answers_to_yes_or_no() -> None:
    assert moments().add(FRAME, statistics=np.bool_(False)) is None  # type: ignore[call-overload]
    wide = camnorm.frc(IMAGE, np.eye(6, 8), corners=1)  # type: ignore[arg-type]
    assert wide.n.size == camnorm.frc(IMAGE, np.eye(6, 8), corners=True).n.size  # type: ignore[union-attr]
