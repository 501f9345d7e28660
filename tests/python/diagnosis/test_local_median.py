"""Local medians against SciPy's."""

import numpy as np
import pytest
from scipy.ndimage import median_filter

from camnorm import _core


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 7), (5, 40), (33, 101), (200, 17), (64, 64)])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_the_median_of_7_x_7_pixels(shape: tuple[int, int], threads: int) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.array_equal(_core.local_median(image, threads), median_filter(image, 7, mode="reflect"))


def test_equal_values_and_infinities_are_ordered_too() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 4, (60, 70)).astype(np.float32)
    image[rng.random(image.shape) < 0.1] = np.inf
    image[rng.random(image.shape) < 0.1] = -np.inf
    assert np.array_equal(_core.local_median(image), median_filter(image, 7, mode="reflect"))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((8, 8)), TypeError, "image must be float32, not float64"),
        (np.zeros((8, 8, 3), np.float32), ValueError, r"image must have the shape \(y, x\), not \(8, 8, 3\)"),
        (np.zeros((0, 8), np.float32), ValueError, r"image must have the shape \(y, x\), not \(0, 8\)"),
        (np.zeros((8, 8), np.float32)[:, ::2], ValueError, "image"),
        ([[1.0]], TypeError, "image"),
    ],
)
def test_other_images_are_refused(image: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _core.local_median(image)
