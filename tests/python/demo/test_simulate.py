"""Simulated cameras: their frames against the truth that they claim, by numpy alone."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camnorm.demo.simulate import Camera, Landscape, Particles


def ring_power(image):
    """Power summed over rings of the full Fourier plane, up to Nyquist; the image is square."""
    side = image.shape[0]
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.fft.fftfreq(side, 1 / side)
    ring = np.floor(np.hypot(frequency[:, None], frequency) + 0.5).astype(int)
    return np.bincount(ring.ravel(), power.ravel())[: side // 2 + 1]


def ring_correlation(a, b):
    with np.errstate(all="ignore"):  # ring 0 has no power
        return (ring_power(a + b) - ring_power(a - b)) / 4 / np.sqrt(ring_power(a) * ring_power(b))


def moments(camera, n, start=0):
    frames = camera.frames(n, start).astype(np.float64)
    return frames.mean(0), frames.std(0)


class Wave:
    """A scene of one line of code: light alternates between frames, the same for every pixel."""

    mean, variance = 1.0, 0.25

    def __init__(self, shape):
        self._shape = shape

    def draw(self, rng):
        return np.full(self._shape, rng.choice([0.5, 1.5]), np.float32)


READY_MADE = [
    pytest.param(lambda seed: Camera.electron((96, 80), seed), id="electron"),
    pytest.param(lambda seed: Camera.bayer((64, 90), seed), id="bayer"),
    pytest.param(lambda seed: Camera.white((30, 40), seed=seed), id="white"),
]


@pytest.mark.parametrize("make", READY_MADE)
class TestEveryCamera:
    def test_any_frame_can_be_made_alone_in_any_order_and_thread(self, make):
        camera, again = make(3), make(3)
        stack = camera.frames(6, start=2)
        with ThreadPoolExecutor(3) as pool:
            backwards = list(pool.map(again.frame, [7, 6, 5, 4, 3, 2]))
        np.testing.assert_array_equal(stack, backwards[::-1])
        assert stack.dtype == camera.dtype
        assert stack.shape == (6, *camera.shape)

    def test_frames_and_seeds_differ(self, make):
        frames = [*make(0).frames(3), make(1).frame(0), make(1).frame(1)]
        for i, a in enumerate(frames):
            for b in frames[:i]:
                assert (a != b).mean() > 0.5

    def test_global_random_state_is_left_alone(self, make):
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        make(0).frame(0)
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    def test_truth_cannot_be_written(self, make):
        camera = make(0)
        for image in (
            camera.gain,
            camera.offset,
            camera.read_noise,
            camera.concealed,
            *camera.defects.values(),
        ):
            assert image.shape == camera.shape
            with pytest.raises(ValueError, match="read-only"):
                image[0, 0] = 1
        with pytest.raises(TypeError):
            camera.defects["mine"] = camera.concealed

    def test_a_negative_index_is_refused(self, make):
        with pytest.raises(ValueError, match=re.escape("index must not be negative, not -1")):
            make(0).frame(-1)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32", "float64"])
def test_white_noise_has_the_mean_and_deviation_asked_for(dtype):
    shape, n = (40, 50), 200
    mean = np.linspace(30, 70, 50) + np.zeros(shape)
    std = np.linspace(2, 8, 40)[:, None] + np.zeros(shape)
    camera = Camera.white(shape, dtype, mean=mean, std=std, seed=5)
    assert camera.frame(0).dtype == dtype
    m, s = moments(camera, n)
    np.testing.assert_array_equal(camera.expected_mean(), mean)
    rounding = 0.0 if dtype.startswith("f") else 1 / 12
    np.testing.assert_allclose(camera.expected_std(), np.sqrt(std**2 + rounding))
    z_mean = (m - mean) / (camera.expected_std() / np.sqrt(n))
    z_std = (s / camera.expected_std() - 1) * np.sqrt(2 * n)
    assert abs(z_mean.mean()) < 5 / np.sqrt(z_mean.size)
    assert abs(z_mean.std() - 1) < 5 / np.sqrt(2 * z_mean.size)
    assert abs(z_std.mean()) < 5 / np.sqrt(z_std.size) + np.sqrt(2 / n)
    assert abs(z_std.std() - 1) < 0.1


def test_frames_are_independent_of_each_other():
    noise = Camera.white((200, 200), np.float64, mean=0, std=1, seed=9).frames(6).reshape(6, -1)
    correlation = np.corrcoef(noise)[np.triu_indices(6, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(noise.shape[1])
    # Neighbouring pixels and rows of one frame neither.
    frame = noise[0].reshape(200, 200)
    for shifted in (np.roll(frame, 1, 0), np.roll(frame, 1, 1)):
        assert abs((frame * shifted).mean()) < 5 / 200


@given(st.sampled_from(["uint8", "int8", "uint16", "int16"]), st.integers(0, 2**40), st.integers(0, 2**33))
@settings(max_examples=20)
def test_integers_are_the_rounded_and_saturated_output(dtype, seed, index):
    limits = np.iinfo(dtype)
    options = {"offset": limits.max - 20.0, "read_noise": 25.0, "gain": 2.0, "level": 9.0, "seed": seed}
    exact = Camera((9, 7), np.float32, **options).frame(index)
    stored = Camera((9, 7), dtype, **options).frame(index)
    np.testing.assert_array_equal(stored, np.clip(np.rint(exact), limits.min, limits.max))


def test_gain_scales_light_and_shot_noise_and_offset_adds():
    shape, n, level = (32, 32), 600, 100.0
    rng = np.random.default_rng(1)
    gain, offset, read = rng.uniform(1, 5, shape), rng.uniform(50, 90, shape), rng.uniform(3, 9, shape)
    camera = Camera(shape, np.float64, gain=gain, offset=offset, read_noise=read, level=level)
    mean, std = moments(camera, n)
    truth = np.sqrt(gain**2 * level + read**2)
    z = (mean - (gain * level + offset)) / (truth / np.sqrt(n))
    assert abs(z.mean()) < 5 / 32
    assert abs(z.std() - 1) < 0.12
    assert abs(np.mean(std / truth) - 1) < 0.01
    np.testing.assert_allclose(camera.expected_mean(), gain * level + offset)
    np.testing.assert_allclose(camera.expected_std(), truth)


def test_exposure_varies_from_frame_to_frame_and_counts_in_sigma():
    spread, n = 0.3, 400
    camera = Camera((8, 8), np.float64, level=1e6, exposure_spread=spread)
    frames = camera.frames(n)
    exposures = frames.mean((1, 2)) / 1e6
    assert exposures.min() > 1 - spread - 1e-3
    assert exposures.max() < 1 + spread + 1e-3
    np.testing.assert_allclose(camera.expected_std(), np.sqrt(1e12 * spread**2 / 3 + 1e6))
    assert frames.std(0).mean() == pytest.approx(camera.expected_std()[0, 0], rel=0.1)


def test_a_frame_is_its_scene_and_noise():
    camera = Camera.electron((128, 128), seed=2)
    frame, scene = camera.frame(4).astype(np.float64), camera.scene(4)
    assert scene.dtype == np.float32
    assert scene.shape == camera.shape
    live = ~camera.concealed
    light = camera.gain * scene
    z = (frame - light - camera.offset) / np.sqrt(camera.gain * light + camera.read_noise**2 + 1 / 12)
    assert abs(z[live].mean()) < 5 / np.sqrt(live.sum())
    assert abs(z[live].std() - 1) < 5 / np.sqrt(2 * live.sum())
    assert abs(np.corrcoef(z[live], scene[live])[0, 1]) < 5 / np.sqrt(live.sum())


def test_without_light_offset_and_read_noise_remain():
    camera = Camera.electron((96, 96), seed=0)
    dark = np.mean([camera.frame(i, exposure=0.0) for i in range(100)], axis=0)
    live = ~camera.concealed & (camera.offset > 60)  # below, saturation at 0 would pull the mean up
    z = (dark - camera.offset)[live] / (camera.read_noise[live] / 10)
    assert abs(z.mean()) < 5 / np.sqrt(live.sum())
    assert abs(z.std() - 1) < 0.1


class TestConcealedPixels:
    def concealed(self, mask, dtype=np.float64, **options):
        mask = np.asarray(mask, bool)
        return Camera(mask.shape, dtype, concealed=mask, read_noise=3.0, offset=50.0, seed=1, **options)

    def test_a_single_pixel_is_the_mean_of_its_four_neighbours(self):
        mask = np.zeros((5, 6), bool)
        mask[2, 3] = True
        frame = self.concealed(mask).frame(0)
        neighbours = frame[1, 3] + frame[3, 3] + frame[2, 2] + frame[2, 4]
        assert frame[2, 3] == pytest.approx(neighbours / 4, rel=1e-6)

    def test_a_column_is_the_mean_of_left_and_right_a_row_of_above_and_below(self):
        column, row = np.zeros((2, 7, 7), bool)
        column[:, 3] = row[3, :] = True
        frame = self.concealed(column).frame(0)
        np.testing.assert_allclose(frame[:, 3], (frame[:, 2] + frame[:, 4]) / 2, rtol=1e-6)
        frame = self.concealed(row).frame(0)
        np.testing.assert_allclose(frame[3], (frame[2] + frame[4]) / 2, rtol=1e-6)

    def test_a_crossing_is_the_mean_of_the_four_pixels_at_its_corners(self):
        cross = np.zeros((7, 7), bool)
        cross[:, 3] = cross[3, :] = True
        frame = self.concealed(cross).frame(0)
        assert frame[3, 3] == pytest.approx(frame[2:5:2, 2:5:2].mean(), rel=1e-6)

    def test_edges_and_wide_gaps_take_the_nearest_that_there_is(self):
        gap = np.zeros((3, 8), bool)
        gap[:, 2:5] = gap[:, 7] = True
        frame = self.concealed(gap).frame(0)
        np.testing.assert_allclose(frame[:, 2], frame[:, 1], rtol=1e-6)
        np.testing.assert_allclose(frame[:, 3], (frame[:, 1] + frame[:, 5]) / 2, rtol=1e-6)
        np.testing.assert_allclose(frame[:, 7], frame[:, 6], rtol=1e-6)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_copies_of_each_neighbour(self, dtype):
        places = {"left": (1, 2), "right": (3, 4), "up": (5, 6), "down": (6, 1)}
        steps = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
        masks = {side: np.zeros((9, 8), bool) for side in places}
        for side, place in places.items():
            masks[side][place] = True
        column = np.zeros((9, 8), bool)
        column[:, 3] = True
        options = {"concealed": column, "read_noise": 3.0, "offset": np.arange(72).reshape(9, 8) + 50.0}
        plain = Camera((9, 8), dtype, **options)
        camera = Camera((9, 8), dtype, copied=masks, **options)
        assert np.array_equal(camera.copied["up"], masks["up"])
        for made in (lambda c: c.frame(0), Camera.expected_mean, Camera.expected_std):
            expected = made(plain)
            for side, (y, x) in places.items():
                expected[y, x] = made(plain)[y + steps[side][0], x + steps[side][1]]
            np.testing.assert_array_equal(made(camera), expected)

    def test_copies_that_cannot_be(self):
        edge = np.zeros((3, 3), bool)
        edge[1, 0] = True
        with pytest.raises(ValueError, match="copied names pixels whose neighbour lies outside the frame"):
            Camera((3, 3), copied={"left": edge})
        with pytest.raises(ValueError, match="copied names neighbours left, right, up or down, not 'below'"):
            Camera((3, 3), copied={"below": edge})

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=25)
    def test_any_mask_against_a_search_of_all_pixels(self, seed):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(2, 9, 2))
        mask = rng.random(shape) < rng.random()
        mask[tuple(rng.integers(shape))] = False
        frame = self.concealed(mask).frame(0)
        y, x = np.indices(shape)
        for row, column in np.argwhere(mask):
            distance = np.where(mask, 99, abs(y - row) + abs(x - column))
            nearest = frame[distance == distance.min()]
            assert frame[row, column] == pytest.approx(nearest.mean(), rel=1e-5)

    @pytest.mark.parametrize("spread", [0.0, 0.5])
    def test_sigma_falls_as_the_formula_says(self, spread):
        """sqrt((1 + (n - 1) rho) / n) for n neighbours that correlate by rho."""
        shape, level, count = (60, 41), 400.0, 500
        mask = np.zeros(shape, bool)
        mask[:, 20] = True  # two neighbours
        mask[5::10, 5] = True  # four
        camera = Camera(shape, np.float64, level=level, exposure_spread=spread, concealed=mask, seed=8)
        light = level**2 * spread**2 / 3
        rho = light / (light + level)
        live = np.sqrt(light + level)
        _, std = moments(camera, count)
        for n, place in ((2, np.s_[:, 20]), (4, np.s_[5::10, 5])):
            ratio = np.sqrt((1 + (n - 1) * rho) / n)
            np.testing.assert_allclose(camera.expected_std()[place], ratio * live)
            # Relative to live pixels of the same frames, so that the exposures that were drawn cancel.
            found = np.sqrt(np.mean(std[place] ** 2) / np.mean(std[~mask] ** 2))
            assert found == pytest.approx(ratio, rel=0.05)


class TestScenes:
    SHAPE = (90, 70)

    def sample(self, scene, n=600):
        rng = np.random.default_rng(0)
        return np.array([scene.draw(rng) for _ in range(n)], np.float64)

    @pytest.mark.parametrize("kind", ["particles", "landscape"])
    def test_mean_and_variance_are_those_claimed_everywhere(self, kind):
        if kind == "particles":
            rng = np.random.default_rng(4)
            scene = Particles(self.SHAPE, size=24, count=12, contrast=0.1, rng=rng)
        else:
            scene = Landscape(self.SHAPE, contrast=0.15)
        light = self.sample(scene)
        assert light.min() >= 0
        assert light.mean() == pytest.approx(scene.mean, abs=0.004)
        assert light.var(0).mean() == pytest.approx(scene.variance, rel=0.06)
        # No motif: the mean image is flat, up to the edges. 20 blocks a side, 5 standard errors.
        mean, error = light.mean(0), np.sqrt(scene.variance / len(light))
        assert np.abs(mean - scene.mean).max() < 5 * error
        for edge in (mean[0], mean[-1], mean[:, 0], mean[:, -1]):
            assert abs(edge.mean() - scene.mean) < 5 * error

    def test_particles_are_dark_and_move(self):
        scene = Particles(self.SHAPE, size=24, count=3, contrast=0.2, rng=np.random.default_rng(0))
        light = self.sample(scene, 20)
        assert light.max() == 1.0
        assert (light.min((1, 2)) < 0.9).mean() > 0.8
        places = light.reshape(20, -1).argmin(1)
        assert len(set(places)) > 15

    def test_amplitude_of_a_landscape_falls_with_frequency_as_asked(self):
        side, slope = 256, 1.5
        scene = Landscape((side, side), contrast=0.1, slope=slope)
        window = np.hanning(side)[:, None] * np.hanning(side)
        power = np.mean([ring_power((light - 1) * window) for light in self.sample(scene, 40)], axis=0)
        rings = np.arange(12, 100)
        fit = np.polyfit(np.log(rings), np.log(power[rings] / rings), 1)
        assert fit[0] == pytest.approx(-2 * slope, abs=0.2)

    def test_a_landscape_does_not_continue_across_the_borders(self):
        light = self.sample(Landscape(self.SHAPE, contrast=0.2), 50)
        for axis in (1, 2):
            first, last = light.take(0, axis), light.take(-1, axis)
            assert np.mean((first - last) ** 2) > 2 * np.mean(np.diff(light, axis=axis) ** 2)


class TestElectron:
    @pytest.fixture(scope="class")
    @staticmethod
    def camera():
        return Camera.electron((256, 256), seed=1)

    @pytest.fixture(scope="class")
    @staticmethod
    def halves(camera):
        return moments(camera, 60), moments(camera, 60, start=60)

    def test_mean_and_sigma_image_tend_to_the_truth(self, camera, halves):
        (mean, std), _ = halves
        z = (mean - camera.expected_mean()) / (camera.expected_std() / np.sqrt(60))
        assert abs(z.mean()) < 0.5  # exposure is common to all pixels of a frame
        assert z.std() == pytest.approx(1.0, abs=0.05)
        assert np.median(std / camera.expected_std()) == pytest.approx(1.0, abs=0.02)

    def test_readout_lines_stand_at_half_and_three_quarters_of_nyquist(self):
        camera = Camera.electron((512, 512))
        a, b = (camera.frames(12, start).astype(np.float64).mean(0) for start in (0, 12))
        correlation = ring_correlation(a, b)
        for ring in (128, 192):
            around = np.r_[correlation[ring - 20 : ring - 1], correlation[ring + 2 : ring + 21]]
            assert correlation[ring] > around.max()
            assert correlation[ring] - around.mean() > 4 * around.std()

    def test_single_frames_correlate_weakly_and_averages_strongly(self, camera):
        single = ring_correlation(*camera.frames(2).astype(np.float64))
        groups = camera.frames(24).astype(np.float64).reshape(2, 12, 256, 256).mean(1)
        outer = slice(64, 129)
        assert 0.1 < single[outer].mean() < 0.3
        assert 0.5 < ring_correlation(*groups)[outer].mean() < 0.8

    def test_the_truth_corrects_it(self, camera):
        frames = camera.frames(24).astype(np.float64)
        corrected = (frames - camera.expected_mean()) / camera.expected_std()
        correlation = ring_correlation(*corrected.reshape(2, 12, 256, 256).mean(1))
        rings = np.arange(20, 129)
        z = correlation[rings] * np.sqrt(2 * np.pi * rings)
        assert abs(z.mean()) < 5 / np.sqrt(z.size)
        assert np.abs(z).max() < 3 * np.sqrt(2)

    def test_sixteen_dead_columns_and_a_row_are_dark_in_sigma_but_not_in_the_mean(self, camera, halves):
        (mean, std), _ = halves
        bundle, line = camera.defects["bundle"], camera.defects["line"]
        assert bundle.all(0).sum() == 16
        assert line.all(1).sum() == 1
        live = ~camera.concealed & ~camera.defects["hot"] & ~camera.defects["dust"]
        for dead in (bundle & ~line, line & ~bundle):
            assert np.median(std[dead]) / np.median(std[live]) == pytest.approx(0.72, abs=0.05)
            assert abs(np.median(mean[dead]) - np.median(mean[live])) < 0.5 * mean[live].std()

    def test_the_corner_of_the_figure_holds_the_defects(self):
        camera = Camera.electron((768, 768))
        corner = np.s_[-168:, :168]
        for name in ("bundle", "line", "dust"):
            assert camera.defects[name][corner].sum() > 100

    def test_hot_pixels_are_bright_and_noisy_and_dust_is_dark(self, camera, halves):
        (mean, std), _ = halves
        hot = camera.defects["hot"] & ~camera.concealed
        assert 5 < hot.sum() < 60
        assert (mean[hot] > np.median(mean) + 400).all()
        assert np.median(std[hot]) > 1.2 * np.median(std)
        dust = camera.defects["dust"] & ~camera.concealed & ~hot
        assert np.median(mean[dust]) < np.median(mean) - 20

    def test_all_dead_pixels_are_concealed(self, camera):
        dead = np.any([camera.defects[n] for n in ("bundle", "columns", "line", "pixels")], axis=0)
        np.testing.assert_array_equal(camera.concealed, dead)

    def test_values_are_far_from_saturation(self, camera):
        frame = camera.frame(0)
        assert frame.dtype == np.uint16
        assert frame.max() < 10_000
        assert (frame == 0).mean() < 1e-4


class TestBayer:
    @pytest.fixture(scope="class")
    @staticmethod
    def camera():
        return Camera.bayer((120, 136), seed=0)

    def test_four_pixels_have_three_sensitivities(self, camera):
        assert camera.dtype == np.uint8
        mean = camera.frames(60).mean(0)
        red, green, green_too, blue = (np.median(mean[y::2, x::2]) for y in (0, 1) for x in (0, 1))
        assert green == pytest.approx(green_too, rel=0.02)
        assert red / green == pytest.approx(88 / 120, rel=0.03)
        assert blue / green == pytest.approx(70 / 120, rel=0.03)

    def test_mean_and_sigma_image_tend_to_the_truth(self, camera):
        mean, std = moments(camera, 200)
        assert np.mean(mean / camera.expected_mean()) == pytest.approx(1.0, abs=0.05)
        assert np.mean(std / camera.expected_std()) == pytest.approx(1.0, abs=0.1)

    def test_a_block_of_three_by_five_pixels_and_a_spot_respond_poorly(self, camera):
        block = np.argwhere(camera.defects["block"])
        assert tuple(np.ptp(block, axis=0) + 1) == (3, 5)
        assert len(block) == 15
        assert camera.defects["spot"].sum() == 4
        mean, std = moments(camera, 60)
        for image in (mean, std):
            for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
                colour = np.s_[y::2, x::2]
                relative = image[colour] / np.median(image[colour])
                assert (relative[camera.defects["block"][colour]] < 0.5).all()
                assert (relative[camera.defects["spot"][colour]] < 0.85).all()

    def test_eight_bits_hold_the_scene(self, camera):
        frames = camera.frames(60)
        assert (frames == 255).mean() < 1e-4
        assert (frames == 0).mean() < 1e-4
        assert frames.mean((1, 2)).std() > 5  # exposures vary

    def test_column_amplifiers_stand_at_half_of_nyquist(self, camera):
        along = np.abs(np.fft.fft2(camera.expected_mean())[0, : 136 // 2])
        assert along[34] > 10 * np.delete(along[20:50], 34 - 20).max()


class TestRefused:
    @pytest.mark.parametrize("dtype", ["uint32", "int64", "complex64", "bool", ">u2", "float16"])
    def test_dtype(self, dtype):
        with pytest.raises(
            TypeError, match="a camera takes 8- and 16-bit integer, float32 and float64 frames, not"
        ):
            Camera((4, 4), dtype)

    @pytest.mark.parametrize("shape", [(4,), (4, 4, 3), (0, 4), (4, -1)])
    def test_shape(self, shape):
        with pytest.raises(
            ValueError, match=re.escape(f"shape must be two positive numbers (y, x), not {shape}")
        ):
            Camera(shape)

    @pytest.mark.parametrize("make", [Camera.electron, Camera.bayer])
    def test_shape_too_small_for_the_defects(self, make):
        with pytest.raises(ValueError, match=re.escape("shape must be at least (64, 64)")):
            make((64, 63))

    @pytest.mark.parametrize("name", ["gain", "offset", "read_noise", "concealed"])
    def test_image_of_another_shape(self, name):
        with pytest.raises(ValueError, match=re.escape(f"{name} has shape (3,), the camera (2, 3)")):
            Camera((2, 3), **{name: np.zeros(3)})

    def test_defect_of_another_shape(self):
        with pytest.raises(ValueError, match=re.escape("dust has shape (3, 2), the camera (2, 3)")):
            Camera((2, 3), defects={"dust": np.zeros((3, 2), bool)})

    def test_scene_of_another_shape(self):
        camera = Camera((4, 4), level=1.0, scene=Wave((4, 5)))
        with pytest.raises(ValueError, match=re.escape("the scene has shape (4, 5), the camera (4, 4)")):
            camera.frame(0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"read_noise": -1.0}, "read_noise must not be negative"),
            ({"level": -2.0}, "level must not be negative, not -2.0"),
            ({"exposure_spread": 1.5}, "exposure_spread must lie between 0 and 1, not 1.5"),
            ({"seed": -1}, "seed must not be negative, not -1"),
            ({"concealed": True}, "concealed leaves no live pixel"),
        ],
    )
    def test_value(self, options, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            Camera((4, 4), **options)


def test_a_scene_of_ones_own():
    camera = Camera((6, 6), np.float64, level=1e6, scene=Wave((6, 6)))
    levels = camera.frames(200).mean((1, 2)) / 1e6
    assert set(np.round(levels, 2)) == {0.5, 1.5}
    np.testing.assert_allclose(camera.expected_std(), np.sqrt(0.25e12 + 1e6))
