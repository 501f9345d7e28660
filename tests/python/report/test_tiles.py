"""Tiles of the page: what they hold is the image, to the precision that they state."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest

from camnorm.report.page.tiles import CELL, GROWTH, LINEAR, NOTHING, TILE, ZERO, TiledImage, tiled

AMPLE = 10**9


def decoded(made: TiledImage, number: int) -> np.ndarray:
    """Codes of a level, as its tiles hold them."""
    level = made.levels[number]
    rows, columns = level.shape
    codes = np.zeros(level.shape, np.uint8)
    tiles = iter(level.tiles)
    for y in range(0, rows, TILE):
        for x in range(0, columns, TILE):
            shape = min(TILE, rows - y), min(TILE, columns - x)
            data = zlib.decompress(next(tiles), -15)
            codes[y : y + TILE, x : x + TILE] = np.frombuffer(data, np.uint8).reshape(shape)
    assert next(tiles, None) is None
    return codes


def differences(codes: np.ndarray, step: float) -> np.ndarray:
    steps = codes.astype(float) - ZERO
    size = np.abs(steps)
    far = np.where(size > LINEAR, LINEAR * GROWTH ** (size - LINEAR), size)
    return np.where(codes == NOTHING, np.nan, np.sign(steps) * far * step)


def surroundings(made: TiledImage, number: int) -> np.ndarray:
    """Bilinear between the centres of the cells, at the centres of a level's pixels."""
    level = made.levels[number]
    grid = made.surroundings.astype(float)
    places = [
        np.clip((np.arange(n) + 0.5) * level.factor / CELL - 0.5, 0, cells - 1)
        for n, cells in zip(level.shape, grid.shape, strict=True)
    ]
    rows = np.array([np.interp(places[0], np.arange(grid.shape[0]), column) for column in grid.T]).T
    return np.array([np.interp(places[1], np.arange(grid.shape[1]), row) for row in rows])


def values(made: TiledImage, number: int) -> np.ndarray:
    return surroundings(made, number) + differences(decoded(made, number), made.levels[number].step)


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 1000 + y + 0.5 * x + 10 * np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", [(300, 700), (64, 64), (1, 50), (50, 1), (1, 1), (257, 255), (3, 1500)])
def test_pixels_are_within_half_a_step(shape: tuple[int, int]) -> None:
    image = noise(shape)
    made = tiled(image, AMPLE)
    assert made.levels[0].shape == made.shape == shape
    assert made.levels[0].factor == 1
    linear = np.abs(decoded(made, 0).astype(int) - ZERO) < LINEAR
    assert linear.mean() > 0.9
    error = np.abs(values(made, 0) - image)
    assert error[linear].max() <= 0.5001 * made.levels[0].step


def test_reduced_levels_are_means_over_blocks() -> None:
    image = noise((800, 1200))
    made = tiled(image, AMPLE)
    assert [(level.factor, level.shape) for level in made.levels] == [(1, (800, 1200)), (4, (200, 300))]
    means = image.reshape(200, 4, 300, 4).mean((1, 3))
    linear = np.abs(decoded(made, 1).astype(int) - ZERO) < LINEAR
    assert linear.mean() > 0.9
    assert np.abs(values(made, 1) - means)[linear].max() <= 0.51 * made.levels[1].step


def test_a_remainder_of_a_block_is_kept() -> None:
    made = tiled(noise((601, 603)), AMPLE)
    assert made.levels[1].shape == (151, 151)
    assert np.isfinite(values(made, 1)).all()


def test_outliers_keep_their_size() -> None:
    image = noise((300, 300))
    image[10, 20], image[200, 30], image[100, 101] = 1e6, -5e4, 3e3
    made = tiled(image, AMPLE)
    for y, x in ((10, 20), (200, 30), (100, 101)):
        before = image[y, x] - surroundings(made, 0)[y, x]
        after = values(made, 0)[y, x] - surroundings(made, 0)[y, x]
        assert after == pytest.approx(before, rel=0.06)


def test_pixels_without_a_value() -> None:
    image = noise((300, 400))
    image[5, 6], image[7, 8] = np.nan, np.inf
    image[64:128, 64:128] = np.nan  # a whole cell
    made = tiled(image, AMPLE)
    codes = decoded(made, 0)
    assert np.array_equal(codes == NOTHING, ~np.isfinite(image))
    assert np.isfinite(made.surroundings).all()
    assert math.isfinite(made.scatter)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e300, np.nan])
def test_images_without_contrast(value: float) -> None:
    made = tiled(np.full((100, 90), value), AMPLE)
    assert (decoded(made, 0) == (NOTHING if math.isnan(value) or value > 1e38 else ZERO)).all()
    assert made.limits[1] > made.limits[0]


def test_most_pixels_equal_and_few_that_deviate() -> None:
    image = np.zeros((200, 200))
    image[::50, ::50] = 5.0
    made = tiled(image, AMPLE)
    np.testing.assert_allclose(values(made, 0), image, atol=0.5 * made.levels[0].step + 1e-6, rtol=0.06)


@pytest.mark.parametrize("budget", [90_000, 160_000])
def test_tiles_fit_in_their_budget(budget: int) -> None:
    image = noise((512, 768))
    made = tiled(image, budget)
    assert budget / 2 < made.size <= budget
    # Noise of a step of about its scatter: a single pixel that deviates by four of them is seen.
    assert made.levels[0].step < 3 * made.scatter
    assert np.abs(values(made, 0) - image).max() <= 0.5001 * made.levels[0].step


def test_a_small_step_where_there_is_room() -> None:
    made = tiled(noise((512, 512)), AMPLE)
    assert made.levels[0].step == pytest.approx(made.scatter / 4)
