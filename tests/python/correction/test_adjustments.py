"""Corrections for sets that fall short of what the method assumes, on simulated truth and by oracles."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import Correction, PixelMoments, Sensor
from camnorm.correction.adjustments import Adjustments, Images
from camnorm.demo.simulate import Camera
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE
from image_sets import frames_of, write_mrc, write_npy

SHAPE = (96, 80)


def sensor_of(frames: np.ndarray) -> Sensor:
    """The sensor that is measured from alternate frames."""
    halves = []
    for part in (frames[::2], frames[1::2]):
        moments = PixelMoments(frames.shape[1:], frames.dtype)
        moments.add(part)
        halves.append(moments)
    return Sensor((halves[0], halves[1]), np.empty(0, FRAME_DTYPE), {"files": np.empty(0, FILE_DTYPE)})


def images_of(mean: np.ndarray, sigma: np.ndarray) -> Images:
    return {"mean": mean, "sigma": sigma}.__getitem__


class Lamp:
    """A field whose light falls from left to right, and towards the corners."""

    def __init__(self, shape: tuple[int, int]) -> None:
        y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        self.light = (1 + 0.2 * x - 0.1 * (x**2 + y**2)).astype(np.float32)
        self.mean, self.variance = 1.0, 0.0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return self.light.copy()


def camera(seed: int = 1, **options: Any) -> Camera:
    """Gain and offset of every pixel, a column and a block of others, and a hot pixel."""
    rng = np.random.default_rng(seed)
    gain = 2.0 * (1 + 0.02 * rng.standard_normal(SHAPE))
    offset = 100 + 3 * rng.standard_normal(SHAPE)
    gain[:, 20] *= 0.7
    gain[60:64, 60:64] *= 0.5
    offset[5, 5] += 500
    return Camera(SHAPE, gain=gain, offset=offset, read_noise=6.0, level=400.0, seed=seed, **options)


@pytest.fixture(scope="module")
def colour() -> np.ndarray:
    """Colour frames with a pixel that never changes."""
    rng = np.random.default_rng(3)
    frames = rng.normal([100, 200, 400], 10, (40, 24, 20, 3)) * rng.normal(1, 0.05, (24, 20, 3))
    frames[:, 4, 5, 1] = 77
    return frames.round().astype(np.uint16)


def test_nothing_set_changes_nothing() -> None:
    sensor = sensor_of(frames_of(10, SHAPE, "u2"))
    core = sensor.correction(mode="both", keep_illumination=None, shrink=False)._core
    assert core.mean.tobytes() == sensor.mean.tobytes()
    assert core.sigma.tobytes() == sensor.sigma.tobytes()
    assert not Adjustments()
    assert str(Adjustments(keep_illumination=False)) == ""


@pytest.mark.parametrize("planes", [(), (3,)])
def test_mean_alone_is_subtracted(colour: np.ndarray, planes: tuple[int, ...]) -> None:
    frames = colour if planes else colour[..., 1]
    sensor = sensor_of(frames)
    corrected = sensor.correction(mode="mean").apply(frames[:4], dtype=np.float64)
    expected = frames[:4] - frames.mean(0) + sensor.target_mean
    dead = frames.std(0) == 0
    expected[:, dead] = np.broadcast_to(sensor.target_mean, dead.shape)[dead]
    np.testing.assert_allclose(corrected, expected, rtol=1e-12)
    scaled = sensor.correction(7, 3, mode="mean").apply(frames[:4], dtype=np.float64)
    other = (expected - sensor.target_mean) * 3 / sensor.target_sigma + 7
    np.testing.assert_allclose(scaled, other, atol=1e-9)


@pytest.mark.parametrize("planes", [(), (3,)])
def test_gain_alone_is_a_factor(colour: np.ndarray, planes: tuple[int, ...]) -> None:
    frames = colour if planes else colour[..., 1]
    sensor = sensor_of(frames)
    dead = frames.std(0) == 0
    factor = sensor.target_mean / frames.mean(0)
    corrected = sensor.correction(mode="gain").apply(frames[:4], dtype=np.float64)
    expected = frames[:4] * factor
    expected[:, dead] = np.broadcast_to(sensor.target_mean, dead.shape)[dead]
    np.testing.assert_allclose(corrected, expected, rtol=1e-12)
    # Black stays black, which no offset leaves it.
    black = sensor.correction(mode="gain").apply(np.zeros_like(frames[0]), dtype=np.float64)
    np.testing.assert_allclose(black[~dead], 0, atol=1e-9)
    doubled = sensor.correction(2 * sensor.target_mean, mode="gain").apply(frames[:4], dtype=np.float64)
    np.testing.assert_allclose(doubled, 2 * expected, rtol=1e-12)


def test_pixels_without_a_positive_mean_have_no_gain() -> None:
    frames = frames_of(20, SHAPE, "f4")
    frames[:, 3, 4] -= 200
    correction = sensor_of(frames).correction(mode="gain", bad_policy="nan")
    assert np.argwhere(correction.bad).tolist() == [[3, 4]]
    assert not sensor_of(frames).correction(mode="mean").bad.any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "sigma"}, "mode must be 'both', 'mean', 'gain', 'response' or 'best', not 'sigma'"),
        ({"keep_illumination": 7.9}, "keep_illumination must be a scale of 8 to 100000 pixels, not 7.9"),
        ({"keep_illumination": np.nan}, "keep_illumination must be a scale of 8 to 100000 pixels, not nan"),
        (
            {"mode": "gain", "target_sigma": 1},
            "a gain leads to no target sigma: contrast follows the target mean",
        ),
        ({"mode": "gain", "target_mean": 0}, "a gain leads to a positive target mean, not to 0"),
    ],
)
def test_wrong_use(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        sensor_of(frames_of(8, SHAPE, "u2")).correction(**given)


@pytest.mark.parametrize("more", [{}, {"keep_illumination": True}, {"shrink": True}])
def test_no_gain_without_light(more: dict[str, Any]) -> None:
    frames = frames_of(8, SHAPE, "f4")
    frames -= frames.mean()
    with pytest.raises(camnorm.Error, match=r"no gain can be told from .* mean is -.*, not positive"):
        sensor_of(frames - 1).correction(mode="gain", **more)


def test_no_pixel_that_changes_has_a_gain() -> None:
    frames = np.full((4, 2, 2), -10.0)
    frames[:, 0, 0] = [-1, -2, -3, -4]
    adjustments = Adjustments("gain")
    with pytest.raises(camnorm.Error, match="no pixel has a gain: there is nothing to correct with"):
        adjustments.images(images_of(frames.mean(0), frames.std(0)), [], 5.0, 1.0)


def flatness(image: np.ndarray) -> float:
    """What is left of a pattern of pixels, relative to the mean: the spread of differences of neighbours."""
    return float(np.diff(image, axis=1).std() / np.sqrt(2) / image.mean())


@pytest.mark.parametrize("mode", ["both", "mean", "gain"])
@pytest.mark.parametrize("shrink", [False, True])
def test_illumination_stays_and_the_pattern_goes(mode: Any, shrink: bool) -> None:
    taken = camera(scene=Lamp(SHAPE), exposure_spread=0.3)
    sensor = sensor_of(taken.frames(200))
    left_out = taken.frames(200, start=500)
    light = Lamp(SHAPE).light.astype(np.float64)

    def corrected(keep: bool) -> np.ndarray:
        correction = sensor.correction(mode=mode, keep_illumination=keep, shrink=shrink)
        return correction.apply(left_out, dtype=np.float64).mean(0)

    kept, raw = corrected(True), left_out.mean(0)
    pixels = ~np.isin(np.arange(raw.size).reshape(SHAPE), np.flatnonzero(taken.gain < 1.7))
    # A gain has no offset, of which the light is the smaller part then.
    slope, offset = np.polyfit(light[pixels], kept[pixels], 1)
    assert slope == pytest.approx(2 * 400, rel=0.04)
    residual = kept - slope * light - offset
    assert residual[pixels].std() < 0.01 * raw.mean()
    assert flatness(kept) < 0.15 * flatness(raw)
    assert np.ptp(corrected(False)) < 0.2 * np.ptp(kept)


@pytest.mark.parametrize("offset", [0.0, -500.0, -5000.0])
@pytest.mark.parametrize("mode", ["both", "mean"])
def test_the_mean_image_becomes_its_smooth_part(offset: float, mode: Any) -> None:
    """Whatever its sign: the split has no logarithm of it."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    smooth = 1000 + offset + 100 * x - 30 * y + 50 * x * y - 20 * y**2
    rng = np.random.default_rng(5)
    pattern = rng.normal(0, 10, SHAPE)
    sigma = 20 * (1 + 0.1 * x) * (1 + 0.03 * rng.standard_normal(SHAPE))
    mean = smooth + pattern
    target = float(mean.mean())
    images = Adjustments(mode, True).images(images_of(mean, sigma), [], target, 20.0)
    corrected = Correction(*images, target, 20.0).apply(mean, dtype=np.float64)
    assert np.abs(corrected - smooth).max() < 5
    assert images[1].mean() == pytest.approx(20)
    if mode == "both":
        fine = sigma / (20 * (1 + 0.1 * x))
        np.testing.assert_allclose(images[1] / images[1].mean(), fine / fine.mean(), rtol=0.01)


def test_the_scale_is_where_half_is_kept() -> None:
    x = np.arange(512)
    for length, share in ((128, 0.5), (16, 0.0)):
        wave = np.tile(np.cos(2 * np.pi * x / length), (256, 1))
        measured = images_of(100 + wave, np.ones_like(wave))
        images = Adjustments("mean", 128).images(measured, [], 100.0, 1.0)
        kept = Correction(*images, 100.0, 1.0).apply(100 + wave, dtype=np.float64) - 100
        middle = np.s_[:, 128:-128]
        assert (kept * wave)[middle].sum() / (wave**2)[middle].sum() == pytest.approx(share, abs=0.03)


def test_colour_planes_keep_their_illumination(colour: np.ndarray) -> None:
    sensor = sensor_of(colour)
    for mode in ("both", "mean", "gain"):
        correction = sensor.correction(mode=mode, keep_illumination=True, shrink=True)
        planes = correction.apply(colour, dtype=np.float64).mean((0, 1, 2))
        np.testing.assert_allclose(planes, [100, 200, 400], rtol=0.05)
        assert np.argwhere(correction.bad).tolist() == [[4, 5, 1]]


def errors_of(taken: Camera, numbers: list[int], **options: Any) -> dict[int, tuple[float, float]]:
    """Root mean square error of corrected left-out frames, without and with the options."""
    test = taken.frames(16, start=5000)
    ideal = Correction(taken.expected_mean(), taken.expected_std()).apply(test, dtype=np.float64)

    def error(correction: Correction) -> float:
        frames = correction.apply(test, dtype=np.float64)
        slope, offset = np.polyfit(frames.ravel(), ideal.ravel(), 1)
        return float(np.sqrt(np.mean((slope * frames + offset - ideal) ** 2)))

    found = {}
    for number in numbers:
        sensor = sensor_of(taken.frames(number))
        found[number] = error(sensor.correction()), error(sensor.correction(**options))
    return found


def test_shrinking_helps_with_few_frames_and_never_hurts() -> None:
    found = errors_of(camera(), [4, 16, 64, 2048], shrink=True)
    assert found[4][1] < 0.7 * found[4][0]
    assert found[16][1] < 0.85 * found[16][0]
    assert found[64][1] < 0.95 * found[64][0]
    assert found[2048][1] < 1.02 * found[2048][0]


class Shrunk(NamedTuple):
    mean: np.ndarray
    sigma: np.ndarray


def shrunk(frames: np.ndarray, halves: list[np.ndarray] | None = None) -> Shrunk:
    parts = [images_of(half.mean(0), half.std(0)) for half in halves or [frames[::2], frames[1::2]]]
    mean, sigma = frames.mean(0), frames.std(0)
    measured = images_of(mean, sigma)
    return Shrunk(*Adjustments(shrink=True).images(measured, parts, float(mean.mean()), float(sigma.mean())))


def test_what_the_halves_share_is_not_shrunk() -> None:
    frames = camera().frames(20).astype(np.float64)
    np.testing.assert_allclose(shrunk(frames, [frames, frames]).mean, frames.mean(0), rtol=1e-7)
    np.testing.assert_allclose(shrunk(frames, [frames, frames]).sigma, frames.std(0), rtol=1e-5)


def test_noise_is_shrunk_to_the_neighbours() -> None:
    noise = np.random.default_rng(8).normal(1000, 20, (16, *SHAPE))
    images, measured = shrunk(noise), Shrunk(noise.mean(0), noise.std(0))
    # The mean of 49 is all that is left of it, and the weight of a chance correlation.
    assert images.mean.std() < 0.25 * measured.mean.std()
    assert images.sigma.std() < 0.25 * measured.sigma.std()
    assert images.sigma.mean() == pytest.approx(measured.sigma.mean())


def test_outliers_stay() -> None:
    frames = np.random.default_rng(9).normal(1000, 20, (32, *SHAPE))
    frames[:, 30, 40] = 1000 + (frames[:, 30, 40] - 1000) * 0.1
    frames[:, 50, 60] += 500
    images, measured = shrunk(frames), Shrunk(frames.mean(0), frames.std(0))
    assert images.mean[50, 60] == pytest.approx(measured.mean[50, 60], abs=2.2 * 20 / np.sqrt(32))
    assert images.sigma[30, 40] == pytest.approx(measured.sigma[30, 40], rel=2.5 / np.sqrt(64))


def test_without_pixels_that_change_in_both_halves() -> None:
    """Sigma of a half may be 0 where that of the set is not: such pixels stay as they are."""
    frames = camera().frames(4).astype(np.float64)
    frames[::2, 7, 7] = frames[0, 7, 7]
    images = shrunk(frames)
    assert np.isfinite(images).all()
    same = np.repeat(frames[:2], 2, axis=0)  # no half changes at all, but the set does
    assert np.isfinite(shrunk(same, [same[:2], same[2:]]).sigma).all()


def test_a_half_of_one_frame_tells_no_noise() -> None:
    sensor = sensor_of(frames_of(3, SHAPE, "u2"))
    with pytest.raises(camnorm.Error, match=r"^noise cannot be told from a half of the set with 1 frames"):
        sensor.correction(shrink=True)
    sensor.correction(mode="mean")


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 4), (60, 40), (30, 20, 3)])
@pytest.mark.parametrize("dead", [False, True])
def test_small_frames_and_dead_regions(shape: tuple[int, ...], dead: bool) -> None:
    """No option makes other pixels bad than those that never change, nor any pixel infinite."""
    frames = np.random.default_rng(11).normal(100, 5, (8, *shape))
    if dead and shape[0] > 1:
        frames[:, : shape[0] // 2] = 7
        if len(shape) == 3:
            frames[..., 1] = 3
    sensor = sensor_of(frames)
    for mode in ("both", "mean", "gain"):
        for keep in (None, True, 8, 5000):
            for shrink in (False, True):
                correction = sensor.correction(mode=mode, keep_illumination=keep, shrink=shrink)
                assert np.array_equal(correction.bad, sensor.sigma == 0)
                assert np.isfinite(correction.apply(frames, dtype=np.float64)).all()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_units_do_not_matter(scale: float) -> None:
    frames = np.random.default_rng(12).normal(100, 5, (8, *SHAPE))
    found = [
        sensor_of(frames * unit).correction(shrink=True, keep_illumination=True).apply(frames[0] * unit)
        for unit in (1.0, scale)
    ]
    np.testing.assert_allclose(found[1] / scale, found[0], rtol=1e-5)


@pytest.fixture
def written(tmp_path: Any) -> Callable[..., tuple[np.ndarray, Any]]:
    frames = camera().frames(24)
    paths = [write_mrc(tmp_path / f"{i}.mrc", part) for i, part in enumerate(np.split(frames, 8))]
    sensor = camnorm.measure(paths, screen="off")

    def write(**options: Any) -> tuple[np.ndarray, Any]:
        (path,) = camnorm.correct(paths[0], sensor, tmp_path / "out", overwrite=True, **options)
        return frames[:3], (sensor, path)

    return write


def test_corrected_files_say_how(written: Callable[..., Any]) -> None:
    frames, (sensor, path) = written(mode="gain", keep_illumination=20, shrink=True)
    with mrcfile.open(path) as mrc:
        labels = [str(label) for label in mrc.get_labels()]
        assert "camnorm_correction: mode=gain keep_illumination=20 shrink" in labels
        expected = sensor.correction(mode="gain", keep_illumination=20, shrink=True).apply(frames)
        assert mrc.data.tobytes() == expected.tobytes()
    with pytest.warns(UserWarning, match="upside down"):
        _, (_, path) = written(mode="mean", format="tiff", keep_illumination=True)
    with tifffile.TiffFile(path) as tiff:
        assert "camnorm_correction: mode=mean keep_illumination\n" in tiff.pages[0].description + "\n"
    _, (_, path) = written()
    with mrcfile.open(path) as mrc:
        assert not [label for label in mrc.get_labels() if "camnorm_correction" in label]


def test_scaled_integers_of_a_gain(written: Callable[..., Any]) -> None:
    frames, (sensor, path) = written(mode="gain", dtype="int16", scale="auto")
    with camnorm.open_frames(path) as source:
        scale, offset = source.metadata["scale"], source.metadata["offset"]
        values = (source.read(0, 3) - offset) / scale
    expected = sensor.correction(mode="gain").apply(frames, dtype=np.float64)
    assert np.abs(values - expected).max() <= 0.5001 / scale


def test_verify_takes_the_same_options(tmp_path: Any) -> None:
    frames = camera(exposure_spread=0.3).frames(120)
    path = write_npy(tmp_path / "frames.npy", frames)
    found = camnorm.verify(path, mode="both", shrink=True, group=6)
    assert found.to_dict()["adjustments"] == "shrink"
    assert found.groups.raw.mean_correlation > 0.5
    assert found.independent
    plain = camnorm.verify(path, mode="gain", group=6, same_statistics=True)
    assert plain.adjustments == "mode=gain"
    with pytest.raises(ValueError, match="mode must be"):
        camnorm.verify(path, mode="sigma")  # type: ignore[arg-type]
