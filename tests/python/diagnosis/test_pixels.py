"""Classes of bad pixels: planted ones are found, good ones are not."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import camnorm
from camnorm.diagnosis.pixels.clusters import components
from camnorm.sensor.pixelclasses import Bit
from image_sets import sensor_of as sensor_with_table

Frames = Callable[[np.random.Generator], np.ndarray]


def sensor_of(frames: np.ndarray) -> camnorm.Sensor:
    a, b = (camnorm.PixelMoments(frames.shape[1:], frames.dtype) for _ in "AB")
    a.add(frames[::2])
    b.add(frames[1::2])
    return camnorm.Sensor.from_moments(a, b)


def drawn(
    mean: np.ndarray, sigma: np.ndarray, count: int, rng: np.random.Generator, dtype: type = np.uint16
) -> np.ndarray:
    """Frames of normal noise."""
    frames = np.empty((count, *mean.shape), dtype)
    for frame in frames:
        values = mean + sigma * rng.standard_normal(mean.shape, np.float32)
        frame[...] = (
            values if np.dtype(dtype).kind == "f" else np.clip(np.rint(values), 0, np.iinfo(dtype).max)
        )
    return frames


def places(number: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Flat places that do not touch each other."""
    grid = np.arange(shape[0] * shape[1]).reshape(shape)[4:-4:8, 4:-4:8].reshape(-1)
    return rng.permutation(grid)[:number]


def classes(pixels: camnorm.PixelMap) -> dict[tuple[int, int], str]:
    table = pixels.table()
    return {(y, x): name for y, x, name in table[["y", "x", "class"]].tolist()}


INTEGRATING = (256, 320)


def integrating(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Mean and sigma of an integrating camera with planted pixels: 25 of each class."""
    shape = INTEGRATING
    mean = 2000 + 30 * rng.standard_normal(shape)
    sigma = np.full(shape, 20.0)
    at = places(7 * 25, shape, rng).reshape(7, 25)
    names = ("constant", "dead", "hot", "cold", "noisy", "low_sigma", "saturating")
    planted = dict(zip(names, at, strict=True))
    mean.flat[planted["constant"]], sigma.flat[planted["constant"]] = 700, 0
    mean.flat[planted["dead"]], sigma.flat[planted["dead"]] = 100, 1
    mean.flat[planted["hot"]] += 400
    mean.flat[planted["cold"]] -= 400
    sigma.flat[planted["noisy"]] *= 2.5
    sigma.flat[planted["low_sigma"]] *= 0.5
    mean.flat[planted["saturating"]], sigma.flat[planted["saturating"]] = 65530, 200
    return mean, sigma, planted


def test_planted_pixels_are_found_with_their_class() -> None:
    rng = np.random.default_rng(7)
    mean, sigma, planted = integrating(rng)
    pixels = camnorm.classify_pixels(sensor_of(drawn(mean, sigma, 200, rng)))
    width = mean.shape[1]
    expected = {divmod(int(at), width): name for name, where in planted.items() for at in where}
    assert classes(pixels) == expected
    assert pixels.summary["clusters"]["single"] == len(expected)
    for name, where in planted.items():
        assert (pixels.flags.flat[where] & np.uint32(Bit.OF_CLASS[name])).all()
        assert not (pixels.flags.flat[where] & np.uint32(Bit.CLUSTER)).any()


@pytest.mark.parametrize("ratio", [0.6, 0.71, 0.8])
def test_low_sigma_is_found_down_to_the_limit_of_the_noise(ratio: float) -> None:
    """At 6 standard errors of sqrt(1 / (2·N)), the limit is 0.70 for 200 frames."""
    rng = np.random.default_rng(8)
    shape = (256, 256)
    sigma = np.full(shape, 20.0)
    planted = places(60, shape, rng)
    sigma.flat[planted] *= ratio
    pixels = camnorm.classify_pixels(sensor_of(drawn(np.full(shape, 500.0), sigma, 200, rng)))
    found = np.count_nonzero(pixels.bad.flat[planted])
    error = np.sqrt(1 / (2 * 200))
    z = (1 - ratio ** (2 / 3)) / (error * 2 / 3)
    # The scale and the local median are estimates too.
    assert 60 * _normal(z - 7) - 4 <= found <= 60 * _normal(z - 6) + 8
    assert pixels.flagged == found


def _normal(z: float) -> float:
    from math import erf

    return 0.5 * (1 + erf(z / np.sqrt(2)))


COUNTING = (512, 512)


def test_planted_pixels_of_counting_cameras_are_found() -> None:
    rng = np.random.default_rng(9)
    light = np.full(COUNTING, 0.2) * (1 + 0.03 * rng.standard_normal(COUNTING))
    at = places(90, COUNTING, rng).reshape(3, 30)
    planted = dict(zip(("constant", "hot", "cold"), at, strict=True))
    light.flat[planted["constant"]] = 0
    light.flat[planted["hot"]] *= 4
    light.flat[planted["cold"]] *= 0.1
    frames = rng.poisson(light, (500, *COUNTING)).astype(np.uint8)
    pixels = camnorm.classify_pixels(sensor_of(frames))
    expected = {divmod(int(at), COUNTING[1]): name for name, where in planted.items() for at in where}
    assert classes(pixels) == expected


def clean_gauss(rng: np.random.Generator, count: int, pattern: float = 0.0) -> np.ndarray:
    shape = (300, 400)
    light = 1 - 0.4 * (np.linspace(-1, 1, shape[0])[:, None] ** 2 + np.linspace(-1, 1, shape[1]) ** 2) / 2
    return drawn(2000 * light * (1 + pattern * rng.standard_normal(shape)), 20 * np.sqrt(light), count, rng)


def correlated(rng: np.random.Generator) -> np.ndarray:
    """Noise that neighbours share, as of a scintillator."""
    noise = rng.standard_normal((60, 300, 400), np.float32)
    noise = sum(np.roll(noise, (dy, dx), (1, 2)) for dy in (0, 1) for dx in (0, 1))
    return np.rint(1000 + 10 * noise).astype(np.uint16)


def blocks(rng: np.random.Generator) -> np.ndarray:
    """Readout blocks of other offset, gain and noise."""
    mean, sigma = np.full((300, 400), 1000.0), np.full((300, 400), 10.0)
    mean[:, 200:] += 150
    sigma[:, 200:] *= 3
    sigma[130:, :] *= 2
    pattern = rng.standard_normal(mean.shape) * np.where(np.arange(400) < 200, 5.0, 40.0)
    return drawn(mean + pattern, sigma, 60, rng)


def columns(rng: np.random.Generator) -> np.ndarray:
    """Columns and rows of other offsets, and readout lines."""
    mean = 1000 + 20 * rng.standard_normal(400) + 10 * rng.standard_normal((300, 1))
    mean = mean + 10 * rng.standard_normal((300, 400)) + 8 * np.cos(np.pi * np.arange(400) / 2)
    return drawn(mean, np.full(mean.shape, 10.0), 60, rng)


def dusty(rng: np.random.Generator) -> np.ndarray:
    light = np.ones((300, 400))
    y, x = np.mgrid[:300, :400]
    for _ in range(12):
        cy, cx, radius = rng.uniform(20, 280), rng.uniform(20, 380), rng.uniform(3, 12)
        light *= 1 - rng.uniform(0.1, 0.5) / (1 + np.exp((np.hypot(y - cy, x - cx) - radius) / 1.5))
    return drawn(2000 * light * (1 + 0.01 * rng.standard_normal(light.shape)), 20 * np.sqrt(light), 60, rng)


def mosaic(rng: np.random.Generator) -> np.ndarray:
    light = np.full((300, 400), 100.0)
    light[::2, ::2], light[1::2, 1::2] = 60, 40
    return rng.poisson(light * (1 + 0.01 * rng.standard_normal(light.shape)), (60, 300, 400)).astype(np.uint8)


CLEAN: dict[str, Frames] = {
    "200 frames": lambda rng: clean_gauss(rng, 200),
    "200 frames, fixed pattern": lambda rng: clean_gauss(rng, 200, 0.02),
    "30 frames": lambda rng: clean_gauss(rng, 30),
    "30 frames, fixed pattern": lambda rng: clean_gauss(rng, 30, 0.02),
    "4 frames": lambda rng: clean_gauss(rng, 4, 0.02),
    "2 frames": lambda rng: clean_gauss(rng, 2, 0.02),
    "float frames": lambda rng: clean_gauss(rng, 40, 0.02).astype(np.float32) / 7,
    "signed frames": lambda rng: (clean_gauss(rng, 40, 0.02).astype(np.int32) - 2000).astype(np.int16),
    "1 count a pixel": lambda rng: rng.poisson(1.0, (100, 300, 400)).astype(np.uint8),
    "0.1 counts a pixel": lambda rng: rng.poisson(0.1, (300, 300, 400)).astype(np.uint8),
    "0.1 counts a pixel, 30 frames": lambda rng: rng.poisson(0.1, (30, 300, 400)).astype(np.uint8),
    "counts times a gain": lambda rng: (
        rng.poisson(0.1, (50, 300, 400)) * rng.normal(1, 0.03, (300, 400))
    ).astype(np.float32),
    "exponential": lambda rng: rng.exponential(1000, (60, 300, 400)).astype(np.float32),
    "colour": lambda rng: np.stack([clean_gauss(rng, 30, 0.02), clean_gauss(rng, 30) // 2], -1),
    "correlated": correlated,
    "blocks": blocks,
    "columns": columns,
    "dust": dusty,
    "mosaic": mosaic,
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_sensors_have_no_bad_pixels(name: str) -> None:
    pixels = camnorm.classify_pixels(sensor_of(CLEAN[name](np.random.default_rng(3))))
    assert pixels.flagged == 0, pixels.table()[:10]
    assert not pixels.lines
    assert not pixels.clusters


BOUNDED: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "uniform": lambda rng: rng.integers(100, 164, (12, 256, 256), np.uint16),
    "two levels": lambda rng: (rng.random((200, 256, 256)) < 0.25).astype(np.uint8),
    "too bright": lambda rng: np.clip(rng.normal(245, 12, (40, 256, 256)), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_values_that_all_pixels_share_are_not_saturated_ones(name: str) -> None:
    """The frame table says what the largest value is, which all frames reach."""
    frames = BOUNDED[name](np.random.default_rng(3))
    assert camnorm.classify_pixels(sensor_with_table([frames])).flagged == 0


def test_a_pixel_at_the_largest_value_of_a_camera_of_12_bits() -> None:
    rng = np.random.default_rng(4)
    frames = np.clip(rng.normal(2000, 20, (40, 128, 160)), 0, 4095).astype(np.uint16)
    frames[:, 50, 60] = np.clip(rng.normal(4090, 20, 40), 0, 4095)
    frames[:, 5, 6] = 4095 - 20 * (np.arange(40) % 2)  # so that all frames reach it
    frames[::2, 100, 100] = frames[1::2, 101, 101] = 4095
    found = classes(camnorm.classify_pixels(sensor_with_table([frames])))
    assert found[50, 60] == "saturating"


def test_bad_pixels_are_found_in_a_mosaic_too() -> None:
    rng = np.random.default_rng(4)
    frames = mosaic(rng)
    frames[:, 100, 201] += 60
    frames[:, 51, 60] = 3
    assert classes(camnorm.classify_pixels(sensor_of(frames))) == {(100, 201): "hot", (51, 60): "constant"}


def test_a_margin_of_zeros_is_one_region() -> None:
    frames = clean_gauss(np.random.default_rng(5), 30, 0.02)
    frames[:, :12] = frames[:, :, :9] = frames[:, -16:] = 0
    frames[:, 100, 200] += 600
    pixels = camnorm.classify_pixels(sensor_of(frames))
    (region,) = pixels.clusters
    empty = ~(frames.std(0) > 0)
    assert (region.kind, region.pixel_class, region.pixels) == ("region", "constant", empty.sum())
    assert np.array_equal(pixels.bad, empty | (np.arange(empty.size) == 100 * 400 + 200).reshape(empty.shape))
    assert (pixels.flags[empty] & Bit.GAP).all()
    assert pixels.counts["constant"] == empty.sum()
    assert not pixels.lines


@pytest.mark.parametrize("frames_used", [30, 200])
def test_lines_and_parts_of_lines_are_found(frames_used: int) -> None:
    rng = np.random.default_rng(6)
    shape = (256, 300)
    mean, sigma = 1000 + 20 * rng.standard_normal(shape), np.full(shape, 20.0)
    sigma[:, 40] *= 0.71  # made from two neighbours: invisible in single pixels of 30 frames
    sigma[100:, 90] *= 0.71
    mean[77, :] += 200
    mean[20:60, 200] -= 200
    mean[150:190, 250], sigma[150:190, 250] = 10, 0
    pixels = camnorm.classify_pixels(sensor_of(drawn(mean, sigma, frames_used, rng)))
    found = {
        (line.direction, line.x if line.direction == "column" else line.y): line for line in pixels.lines
    }
    assert {key: line.pixel_class for key, line in found.items()} == {
        ("column", 40): "low_sigma",
        ("column", 90): "low_sigma",
        ("row", 77): "hot",
        ("column", 200): "cold",
        ("column", 250): "constant",
    }
    assert found["column", 40].full
    assert found["row", 77].full
    part = found["column", 90]
    assert not part.full
    assert abs(part.y - 100) <= 4
    assert part.y + part.height == 256
    assert (found["column", 200].y, found["column", 200].height) == (20, 40)
    for line in pixels.lines:
        assert pixels.bad[line.y : line.y + line.height, line.x : line.x + line.width].all()
    assert pixels.flagged <= 256 + 160 + 300 + 80 + 8
    assert not pixels.clusters


def test_clusters_are_counted_by_their_size() -> None:
    rng = np.random.default_rng(10)
    shape = (200, 200)
    mean = 1000 + 10 * rng.standard_normal(shape)
    for y, x, height, width in ((20, 20, 1, 1), (50, 50, 1, 2), (80, 80, 3, 1), (120, 120, 3, 4)):
        mean[y : y + height, x : x + width] += 300
    pixels = camnorm.classify_pixels(sensor_of(drawn(mean, np.full(shape, 10.0), 50, rng)))
    assert [(c.kind, c.pixels, c.x, c.y, c.width, c.height) for c in pixels.clusters] == [
        ("double", 2, 50, 50, 2, 1),
        ("triple", 3, 80, 80, 1, 3),
        ("larger", 12, 120, 120, 4, 3),
    ]
    assert pixels.summary["clusters"] == {"single": 1, "double": 1, "triple": 1, "larger": 1, "region": 0}
    assert np.count_nonzero(pixels.flags & Bit.CLUSTER) == 17


def test_pixels_made_from_neighbours_are_taken_in() -> None:
    rng = np.random.default_rng(11)
    frames = drawn(np.full((128, 128), 500.0), np.full((128, 128), 20.0), 200, rng)
    frames[:, 30, 40] = np.rint((frames[:, 30, 39].astype(float) + frames[:, 30, 41]) / 2)
    frames[:, 70, 80] = frames[:, 69, 80]
    sums = camnorm.NeighbourSums((128, 128), np.uint16)
    sums.add(frames)
    pixels = camnorm.classify_pixels(sensor_of(frames), sums)
    made = pixels.to_dict()["interpolated"]
    assert {"x": 40, "y": 30, "class": "interpolated", "neighbours": "left-right"} in made
    assert [(pixel["class"], pixel["x"]) for pixel in made] == [("interpolated", 40), ("copied", 80)]
    assert pixels.counts["low_sigma"] == 0
    assert (pixels.flags[30, 40] & Bit.INTERPOLATED) == Bit.INTERPOLATED
    with pytest.raises(camnorm.Error, match=r"the sums of neighbours are of frames of shape \(64, 64\)"):
        camnorm.classify_pixels(sensor_of(frames), camnorm.NeighbourSums((64, 64), np.uint16))


def test_the_bad_pixels_do_not_depend_on_where_they_are() -> None:
    rng = np.random.default_rng(12)
    mean, sigma, _ = integrating(rng)
    frames = drawn(mean, sigma, 200, rng)
    plain = camnorm.classify_pixels(sensor_of(frames)).bad
    flipped = camnorm.classify_pixels(sensor_of(np.ascontiguousarray(frames[:, ::-1]))).bad
    turned = camnorm.classify_pixels(sensor_of(np.ascontiguousarray(frames.swapaxes(1, 2)))).bad
    assert np.array_equal(flipped[::-1], plain)
    assert np.array_equal(turned.T, plain)


def test_small_frames_are_classified() -> None:
    rng = np.random.default_rng(13)
    for shape in ((1, 1), (1, 40), (3, 3), (9, 16)):
        frames = drawn(np.full(shape, 500.0), np.full(shape, 20.0), 50, rng)
        assert camnorm.classify_pixels(sensor_of(frames)).shape == shape


def test_sensors_without_noise_are_refused() -> None:
    frames = np.full((5, 16, 16), 3, np.uint8)
    with pytest.raises(camnorm.Error, match="no pixel of the set ever changes: bad pixels cannot be found"):
        camnorm.classify_pixels(sensor_of(frames))
    one = camnorm.PixelMoments((16, 16), np.uint8)
    one.add(frames[0])
    with pytest.raises(camnorm.Error, match="bad pixels cannot be found from 1 frame: measure at least two"):
        camnorm.classify_pixels(camnorm.Sensor.from_moments(one))
    with pytest.raises(TypeError, match="sensor must be a Sensor, not ndarray"):
        camnorm.classify_pixels(frames)  # type: ignore[arg-type]


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_components_are_those_of_scipy(height: int, width: int, share: float, seed: int) -> None:
    from scipy.ndimage import label

    mask = np.random.default_rng(seed).random((height, width)) < share
    numbers, count = label(mask, np.ones((3, 3)))
    found = list(components(np.flatnonzero(mask), width))
    assert len(found) == count
    for part in found:
        ys, xs = np.divmod(part.place, width)
        (number,) = set(numbers.reshape(-1)[part.place].tolist())
        assert np.array_equal(part.place, np.flatnonzero(numbers == number))
        assert (part.x, part.y) == (xs.min(), ys.min())
        assert (part.width, part.height) == (np.ptp(xs) + 1, np.ptp(ys) + 1)
