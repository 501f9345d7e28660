"""Figures: what is drawn is what was given, where it belongs, and no state is left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import camnorm
from camnorm.report import plot
from image_sets import sensor_of


def curve(correlation, n=None):
    """A stand-in for a ring correlation, from ring 0 to Nyquist."""
    rings = len(correlation)
    n = np.maximum(1, 2 * np.pi * np.arange(rings)) if n is None else n
    return SimpleNamespace(
        nyquist=np.arange(rings) / (rings - 1),
        correlation=np.asarray(correlation, float),
        threshold=lambda name: {"3sigma": 3 / np.sqrt(n / 2)}[name],
    )


def noise_curve(rings=200, seed=0, level=0.0):
    rng = np.random.default_rng(seed)
    return curve(np.r_[np.nan, level + rng.normal(0, 0.02, rings - 1)])


def rendered(figure, tmp_path):
    path = tmp_path / "figure.png"
    plot.save(figure, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def pixels_of(ax, screen):
    """The part of a rendered figure that an axes covers."""
    figure = ax.figure
    box = ax.get_window_extent()
    height = round(figure.bbox.height)
    rows = slice(height - round(box.y1), height - round(box.y0))
    return screen[rows, round(box.x0) : round(box.x1)]


def new_axes():
    return Figure().add_axes((0, 0, 1, 1))


def test_matplotlib_is_imported_by_the_first_figure_and_pyplot_never(tmp_path):
    code = """
import sys
from types import SimpleNamespace
import numpy as np
from camnorm.report import plot
assert not [m for m in sys.modules if m.split(".")[0] in ("matplotlib", "PIL")]
image = np.arange(64.0).reshape(8, 8)
one = SimpleNamespace(nyquist=np.arange(5) / 4, correlation=np.zeros(5), threshold=lambda name: np.ones(5))
plot.save(plot.frc_figure({"a": one}, images={"b": image}), sys.argv[1])
plot.correction_figure(image, image, image, image, (slice(0, 4), slice(0, 4)))
plot.sensor_figure(image, image, np.arange(9.0), np.arange(9.0))
assert "matplotlib.pyplot" not in sys.modules
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "figure.png")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


class TestImagePanel:
    def test_row_0_is_on_top_and_black_is_low(self, tmp_path):
        image = np.zeros((20, 30))
        image[:5] = 1
        figure = Figure(figsize=(3, 2), dpi=100)
        ax = figure.add_axes((0, 0, 1, 1))
        plot.image_panel(ax, image, limits=(0, 1))
        ax.set_axis_off()
        screen = rendered(figure, tmp_path)
        assert (screen[:45, 5:-5] > 250).all()
        assert (screen[55:-5, 5:-5] < 5).all()

    def test_robust_limits_are_percentiles_of_finite_pixels(self):
        image = np.random.default_rng(0).normal(100, 5, (60, 50))
        image[3, 4], image[5, 6], image[7, 8] = np.nan, np.inf, 1e9
        artist = plot.image_panel(new_axes(), image)
        finite = image[np.isfinite(image)]
        np.testing.assert_allclose(artist.get_clim(), np.percentile(finite, [0.5, 99.5]))

    def test_limits_can_be_given(self):
        assert plot.image_panel(new_axes(), np.eye(9), limits=(-1.0, 3.0)).get_clim() == (-1.0, 3.0)

    @pytest.mark.parametrize("value", [7.0, np.nan])
    def test_an_image_without_contrast(self, value):
        low, high = plot.image_panel(new_axes(), np.full((5, 6), value)).get_clim()
        assert low < high

    @pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
    def test_large_images_are_reduced_by_the_mean_over_blocks(self, dtype):
        image = np.random.default_rng(1).integers(0, 100, (403, 210)).astype(dtype)
        artist = plot.image_panel(new_axes(), image, pixels=105)
        blocks = image[:400, :208].astype(float).reshape(100, 4, 52, 4).mean((1, 3))
        np.testing.assert_allclose(artist.get_array(), blocks)
        # Coordinates stay those of the image, for whoever marks something in it.
        assert artist.get_extent() == [-0.5, 207.5, 399.5, -0.5]

    def test_a_reduced_mosaic_does_not_beat(self):
        mosaic = np.tile([[10.0, 20.0], [20.0, 40.0]], (150, 160))
        for pixels in range(20, 300, 7):
            shown = plot.image_panel(new_axes(), mosaic, pixels=pixels).get_array()
            assert np.ptp(shown) == 0

    def test_a_narrow_image_keeps_a_pixel(self):
        assert plot.image_panel(new_axes(), np.ones((3, 5000)), pixels=100).get_array().shape[0] == 1

    def test_three_planes_are_colours_with_limits_of_their_own(self):
        image = np.random.default_rng(2).normal([10, 1000, -5], [1, 200, 0.1], (40, 30, 3))
        shown = plot.image_panel(new_axes(), image).get_array()
        low, high = np.percentile(image.reshape(-1, 3), [0.5, 99.5], axis=0)
        np.testing.assert_allclose(shown, np.clip((image - low) / (high - low), 0, 1), atol=1e-12)

    def test_other_numbers_of_planes_are_averaged(self):
        image = np.random.default_rng(3).normal(size=(20, 30, 4))
        np.testing.assert_allclose(plot.image_panel(new_axes(), image).get_array(), image.mean(2))

    def test_coordinates_are_those_of_the_whole_frame(self):
        ax = new_axes()
        plot.image_panel(ax, np.eye(30), corner=(200, 1000))
        ax.figure.canvas.draw()
        shown = [[label.get_text() for label in axis.get_ticklabels()] for axis in (ax.yaxis, ax.xaxis)]
        assert "200" in shown[0]
        assert "1000" in shown[1]

    def test_a_colour_bar_bears_the_unit_and_the_limits(self):
        ax = new_axes()
        artist = plot.image_panel(ax, np.arange(100.0).reshape(10, 10), limits=(3.0, 80.0), unit="counts")
        (bar,) = ax.child_axes
        assert bar.get_title() == "counts"
        assert bar.get_ylim() == artist.get_clim() == (3.0, 80.0)

    def test_colours_and_images_without_a_unit_have_no_bar(self):
        for image, unit in ((np.ones((5, 5, 3)), "counts"), (np.eye(5), "")):
            ax = new_axes()
            plot.image_panel(ax, image, unit=unit)
            assert not ax.child_axes

    @pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), (0, 4)])
    def test_what_is_no_image_is_refused(self, shape):
        message = re.escape(f"an image has shape (y, x) or (y, x, c), not {shape}")
        with pytest.raises(ValueError, match=message):
            plot.image_panel(new_axes(), np.zeros(shape))


class TestCorrectionFigure:
    SHAPE = (300, 360)
    PATCH = (slice(200, 284), slice(10, 94))

    def images(self):
        rng = np.random.default_rng(4)
        return [rng.normal(size=self.SHAPE) for _ in range(4)]

    def test_the_six_panels(self):
        raw, mean, sigma, corrected = self.images()
        figure = plot.correction_figure(raw, mean, sigma, corrected, self.PATCH)
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert sorted(t[:3] for t in titles) == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)"]
        shown = {title[1]: ax.images[0].get_array() for title, ax in zip(titles, figure.axes, strict=True)}
        for letter, image in zip("bcdf", (raw, mean, sigma, corrected), strict=True):
            np.testing.assert_array_equal(shown[letter], image[self.PATCH])
        for letter, image in (("a", raw), ("e", corrected)):
            factor = round(self.SHAPE[0] / len(shown[letter]))
            blocks = image.reshape(300 // factor, factor, 360 // factor, factor).mean((1, 3))
            np.testing.assert_allclose(shown[letter], blocks)

    def test_the_patch_is_marked_in_both_frames(self):
        figure = plot.correction_figure(*self.images(), self.PATCH)
        boxes = [ax.patches[0].get_bbox() for ax in figure.axes if ax.patches]
        assert [(b.x0, b.y0, b.x1, b.y1) for b in boxes] == [(9.5, 199.5, 93.5, 283.5)] * 2

    def test_every_pixel_of_the_detail_is_a_square_of_screen_pixels(self, tmp_path):
        images = self.images()
        figure = plot.correction_figure(*images, self.PATCH)
        screen = rendered(figure, tmp_path)
        for ax in figure.axes:
            if "detail" in ax.get_title(loc="left"):
                part = pixels_of(ax, screen)[..., 0]
                zoom = part.shape[0] / 84
                assert part.shape == (zoom * 84, zoom * 84)
                zoom = int(zoom)
                blocks = part.reshape(84, zoom, 84, zoom)[1:-1, :, 1:-1]  # the frame is drawn over the rim
                assert (blocks == blocks[:, :1, :, :1]).all()

    def test_arrows_point_at_the_places_given_and_stay_inside(self):
        places = [(205.0, 12.0), (283.0, 93.0), (242.0, 51.5)]
        figure = plot.correction_figure(*self.images(), self.PATCH, arrows=places)
        with_arrows = [ax for ax in figure.axes if ax.texts]
        assert len(with_arrows) == 4
        for ax in with_arrows:
            for (y, x), arrow in zip(places, ax.texts, strict=True):
                assert np.hypot(arrow.xy[0] - (x - 10), arrow.xy[1] - (y - 200)) < 3
                assert 0 < arrow.xyann[0] < 84
                assert 0 < arrow.xyann[1] < 84

    def test_a_caption_stands_below_the_panels(self):
        figure = plot.correction_figure(*self.images(), self.PATCH, caption="Arrows: dust")
        (text,) = figure.texts
        assert text.get_text() == "Arrows: dust"
        figure.canvas.draw()
        lowest = min(ax.get_window_extent().y0 for ax in figure.axes)
        assert text.get_window_extent().y1 < lowest
        assert text.get_window_extent().y0 >= 0

    def test_colour_frames(self):
        frames = [np.random.default_rng(5).normal(size=(40, 50, 3)) for _ in range(4)]
        figure = plot.correction_figure(*frames, (slice(0, 20), slice(0, 20)))
        assert {ax.images[0].get_array().shape[2:] for ax in figure.axes} == {(3,)}

    @pytest.mark.parametrize("name", ["mean", "sigma", "corrected"])
    def test_other_shapes_are_refused(self, name):
        images = dict.fromkeys(["raw", "mean", "sigma", "corrected"], np.zeros((20, 20)))
        images[name] = np.zeros((20, 21))
        with pytest.raises(ValueError, match=re.escape(f"{name} has shape (20, 21), the raw frame (20, 20)")):
            plot.correction_figure(**images, patch=(slice(0, 5), slice(0, 5)))

    @pytest.mark.parametrize(
        "patch",
        [
            (slice(0, 5), slice(0, 361)),
            (slice(5, 5), slice(0, 9)),
            (slice(0, 9, 2), slice(0, 9)),
            (slice(300, 310), slice(0, 9)),
        ],
    )
    def test_a_patch_outside_the_frame_is_refused(self, patch):
        with pytest.raises(ValueError, match="does not lie in a frame of shape"):
            plot.correction_figure(*self.images(), patch)


class TestFrcFigure:
    def test_curves_and_band_are_those_given(self):
        given = noise_curve()
        figure = plot.frc_figure({"raw": given})
        (ax,) = figure.axes
        line, upper, lower = ax.lines[:3]
        np.testing.assert_array_equal(line.get_ydata(), given.correlation)
        np.testing.assert_array_equal(line.get_xdata(), given.nyquist)
        np.testing.assert_array_equal(upper.get_ydata(), given.threshold("3sigma"))
        np.testing.assert_array_equal(lower.get_ydata(), -given.threshold("3sigma"))
        assert ax.get_xlim() == (0.0, 1.0)
        assert ax.get_xlabel() == "spatial frequency / Nyquist"
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["±3σ"]

    def test_limits_show_the_band_closely_and_never_cut_a_curve(self):
        flat, high, negative = noise_curve(), noise_curve(level=0.8), noise_curve(level=-0.5)
        figure = plot.frc_figure({"flat": flat, "high": high, "negative": negative})
        for ax, given in zip(figure.axes, (flat, high, negative), strict=True):
            low, top = ax.get_ylim()
            counted = given.nyquist >= 0.1
            assert low < np.nanmin(given.correlation[counted])
            assert top > np.nanmax(given.correlation[counted])
            assert top > given.threshold("3sigma")[counted].max()
        assert figure.axes[0].get_ylim()[1] < 0.45
        assert figure.axes[1].get_ylim()[1] > 0.8

    def test_a_curve_into_the_corners_is_shown_whole(self):
        given = noise_curve(142)
        given.nyquist = np.arange(142) / 100
        assert plot.frc_figure({"corners": given}).axes[0].get_xlim() == (0.0, 1.41)

    def test_a_curve_of_nothing_but_nan(self):
        given = curve(np.full(10, np.nan))
        figure = plot.frc_figure({"empty": given})
        figure.canvas.draw()
        (ax,) = figure.axes
        line, upper, lower = ax.lines[:3]
        np.testing.assert_array_equal(line.get_xdata(), given.nyquist)
        assert np.isnan(line.get_ydata()).all()
        # The view is that of the band from a tenth of Nyquist on, no further than correlations go.
        band = given.threshold("3sigma")
        np.testing.assert_array_equal([upper.get_ydata(), lower.get_ydata()], [band, -band])
        assert 1.16 * band[given.nyquist >= 0.1].max() > 1.05
        assert (ax.get_xlim(), ax.get_ylim()) == ((0.0, 1.0), (-1.05, 1.05))

    def test_peaks_are_marked(self):
        ax = plot.frc_figure({"a": noise_curve()}, peaks=(0.5, 0.75)).axes[0]
        assert [list(line.get_xdata()) for line in ax.lines[-2:]] == [[0.5, 0.5], [0.75, 0.75]]

    @pytest.mark.parametrize(("planes", "colours"), [(1, 1), (3, 3), (4, 4)])
    def test_planes_are_told_apart_by_colour(self, planes, colours):
        ax = plot.frc_figure({"a": [noise_curve(seed=i) for i in range(planes)]}).axes[0]
        assert len({line.get_color() for line in ax.lines[:planes]}) == colours

    @pytest.mark.parametrize(
        ("images", "panels", "rows"), [(0, 1, 1), (0, 3, 1), (0, 4, 2), (2, 2, 2), (1, 2, 1), (2, 3, 3)]
    )
    def test_panels_are_lettered_in_order_and_no_empty_one_is_left(self, images, panels, rows):
        figure = plot.frc_figure(
            {f"curve {i}": noise_curve() for i in range(panels)},
            images={f"image {i}": np.eye(30) for i in range(images)},
        )
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        names = [f"image {i}" for i in range(images)] + [f"curve {i}" for i in range(panels)]
        assert titles == [f"({letter}) {name}" for letter, name in zip("abcdefgh", names, strict=False)]
        assert len({ax.get_subplotspec().rowspan.start for ax in figure.axes}) == rows

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="no curve to draw"):
            plot.frc_figure({})


class TestSensorFigure:
    SIDE = 256

    def sensor(self, seed=0):
        rng = np.random.default_rng(seed)
        x = np.arange(self.SIDE)
        mean = 100 + rng.normal(size=(self.SIDE, self.SIDE)) + 0.5 * np.cos(2 * np.pi * x / 4)
        mean += 0.5 * np.cos(2 * np.pi * x * 3 / 8)
        sigma = 10 + rng.normal(0, 0.1, mean.shape)
        return mean, sigma

    def test_peaks_are_named_as_fractions_of_nyquist(self):
        figure = plot.sensor_figure(*self.sensor(), np.arange(20.0), np.arange(20.0))
        over_rings = [ax for ax in figure.axes if "over rings" in ax.get_title(loc="left")]
        assert [sorted(t.get_text() for t in ax.texts) for ax in over_rings] == [["0.50", "0.75"], []]

    @pytest.mark.parametrize("shape", [(64, 256), (64, 512)])
    def test_wide_images_use_the_width_of_two_columns(self, shape):
        image = np.random.default_rng(1).normal(size=shape)
        figure = plot.sensor_figure(image, image, np.arange(20.0), np.arange(20.0))
        figure.canvas.draw()
        boxes = {ax.get_title(loc="left"): ax.get_window_extent() for ax in figure.axes}
        rings = boxes["mean image: spectrum over rings"]
        for name in ("mean image", "mean image: spectrum, logarithmic", "sigma image"):
            assert boxes[name].width > 1.4 * rings.width
            assert not any(
                boxes[name].overlaps(box) for other, box in boxes.items() if other not in ("", name)
            )

    def test_white_noise_has_the_amplitude_of_its_deviation(self):
        _, sigma = self.sensor()
        figure = plot.sensor_figure(sigma, sigma, np.arange(20.0), np.arange(20.0))
        (ax, _) = (ax for ax in figure.axes if "over rings" in ax.get_title(loc="left"))
        amplitude = ax.lines[0].get_ydata()
        assert len(amplitude) == self.SIDE // 2
        assert np.median(amplitude) == pytest.approx(0.1, rel=0.03)
        # Ring 40 against the full transform.
        power = np.abs(np.fft.fft2(sigma - sigma.mean())) ** 2 / sigma.size
        frequency = np.fft.fftfreq(self.SIDE, 1 / self.SIDE)
        ring = np.floor(np.hypot(frequency[:, None], frequency) + 0.5) == 40
        assert amplitude[39] == pytest.approx(np.sqrt(power[ring].mean()), rel=1e-9)

    def test_histograms_count_frames_and_show_rejected_ones_at_the_edge(self):
        rng = np.random.default_rng(1)
        means = np.r_[rng.normal(50, 1, 100), 0.0, 0.0, 90.0, np.nan]
        stds = np.r_[rng.normal(5, 0.1, 103), np.nan]
        limits = {"mean": (44.0, 56.0), "std": (4.4, 5.6)}
        figure = plot.sensor_figure(*self.sensor(), means, stds, limits=limits)
        by_mean, by_std = figure.axes[-2:]
        counts = [patch.get_height() for patch in by_mean.patches]
        assert sum(counts[:60]) == 100
        assert sum(counts[60:]) == 3
        assert (counts[60], counts[-1]) == (2, 1)
        assert [t.get_text() for t in by_mean.get_legend().get_texts()] == ["3 rejected"]
        assert sum(patch.get_height() for patch in by_std.patches) == 103
        assert by_std.get_legend() is None

    def test_limits_are_drawn_where_they_are_in_view(self):
        means = np.linspace(45, 55, 101)
        figure = plot.sensor_figure(*self.sensor(), means, means, limits={"mean": (44.0, 56.0)})
        by_mean, by_std = figure.axes[-2:]
        assert [line.get_xdata()[0] for line in by_mean.lines] == [44.0, 56.0]
        assert not by_std.lines

    def test_no_histograms_and_courses_of_no_frames(self):
        figure = plot.sensor_figure(*self.sensor(), np.empty(0), np.empty(0), rejected=np.empty(0, bool))
        figure.canvas.draw()
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert len(titles) == 6
        assert not any("histogram" in title or "order" in title for title in titles)

    @pytest.mark.parametrize("values", [[3.0], [np.nan, np.nan]])
    def test_few_frames(self, values):
        values = np.asarray(values, float)
        figure = plot.sensor_figure(*self.sensor(), values, values)
        figure.canvas.draw()
        finite = values[np.isfinite(values)]
        assert len(figure.axes) == 8
        for ax, name in zip(figure.axes[-2:], ("mean", "standard deviation"), strict=True):
            assert ax.get_title(loc="left") == f"histogram: {name}s"
            assert sum(patch.get_height() for patch in ax.patches) == len(finite)
            for patch in ax.patches:
                if patch.get_height():
                    assert patch.get_x() <= finite[0] <= patch.get_x() + patch.get_width()
            assert not ax.lines
            assert ax.get_legend() is None

    def test_the_course_of_the_frames_marks_rejected_ones(self):
        means = np.r_[np.linspace(50, 51, 100), 0.0, np.nan, 50.5]
        rejected = np.zeros(103, bool)
        rejected[[100, 101]] = True
        limits = {"mean": (49.9, 52.0)}
        figure = plot.sensor_figure(*self.sensor(), means, means, limits=limits, rejected=rejected)
        course, _ = (ax for ax in figure.axes if "in their order" in ax.get_title(loc="left"))
        accepted, out, *lines = course.lines
        assert list(accepted.get_xdata()) == [*range(100), 102]
        assert list(out.get_xdata()) == [100]
        assert list(out.get_ydata()) == [course.get_ylim()[0]]
        assert [line.get_ydata()[0] for line in lines] == [49.9]
        assert [text.get_text() for text in course.get_legend().get_texts()] == ["1 rejected"]
        assert all("histogram" in ax.get_title(loc="left") for ax in figure.axes[-2:])

    @pytest.mark.parametrize("values", [[3.0], [np.nan, np.nan]])
    def test_the_course_of_few_frames(self, values):
        values = np.asarray(values, float)
        rejected = np.isnan(values)
        figure = plot.sensor_figure(*self.sensor(), values, values, rejected=rejected)
        figure.canvas.draw()
        assert len(figure.axes) == 10
        courses = [ax for ax in figure.axes if "in their order" in ax.get_title(loc="left")]
        assert [ax.get_ylabel() for ax in courses] == ["mean", "standard deviation"]
        places = np.flatnonzero(~rejected)
        for ax in courses:
            drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
            assert drawn == ([(list(places), list(values[places]))] if len(places) else [])
            assert ax.get_legend() is None

    def test_what_a_correction_leaves_is_drawn_over_the_number_of_frames(self):
        rng = np.random.default_rng(2)
        frames = 100 + 5 * rng.standard_normal((32, 32)) + 10 * rng.standard_normal((40, 1, 32, 32))
        convergence = camnorm.frames_needed(sensor_of(frames))
        figure = plot.sensor_figure(*self.sensor(), np.arange(9.0), np.arange(9.0), convergence=convergence)
        (ax,) = (ax for ax in figure.axes if "that a correction leaves" in ax.get_title(loc="left"))
        lines = {line.get_label(): line for line in ax.lines}
        curve = lines["predicted"]
        np.testing.assert_allclose(curve.get_ydata(), 100 / np.sqrt(curve.get_xdata()), rtol=1e-9)
        assert lines["this set"].get_xdata()[0] == 40
        measured = lines["measured, one half by the other"]
        assert measured.get_xdata()[0] == pytest.approx(20)
        assert measured.get_ydata()[0] == pytest.approx(100 / np.sqrt(20), rel=0.1)
        assert lines["fixed pattern, uncorrected"].get_ydata()[0] == pytest.approx(50, rel=0.1)
        figure.canvas.draw()
        names = ax.get_legend().get_window_extent()
        for x, y in ax.transData.transform(np.column_stack([curve.get_xdata(), curve.get_ydata()])):
            assert not names.contains(x, y)

    @pytest.mark.parametrize("planes", [(), (3,)])
    def test_what_the_fixed_pattern_costs_is_drawn_over_the_frequency(self, planes):
        rng = np.random.default_rng(3)
        shape = (32, 32, *planes)
        frames = 100 + 5 * rng.standard_normal(shape) + 10 * rng.standard_normal((40, 1, *shape))
        pattern = camnorm.fixed_pattern(sensor_of(frames))
        figure = plot.sensor_figure(*self.sensor(), np.arange(9.0), np.arange(9.0), pattern=pattern)
        half_maps, spectra, costs = figure.axes[-3:]
        assert len(half_maps.lines) == 2 * (planes[0] if planes else 1)
        assert [text.get_text() for text in half_maps.get_legend().get_texts()] == [
            "mean image",
            "sigma image",
        ]
        np.testing.assert_array_equal(spectra.lines[1].get_ydata(), pattern.noise_power[1:])
        lines = {line.get_label(): line.get_ydata() for line in costs.lines}
        np.testing.assert_array_equal(lines["sums of 12, raw"], 100 * pattern.derating_curve(12))
        left = 100 * pattern.derating_corrected(1)
        assert lines[f"single frames, corrected: {left:.2g} %"][0] == left
        for ax in figure.axes:
            if (legend := ax.get_legend()) is not None:  # names are read where curves run behind them
                assert legend.get_frame_on()
                assert legend.get_frame().get_facecolor()[3] >= 0.7
        figure.canvas.draw()

    def test_too_few_frames_to_tell_what_a_correction_leaves(self):
        few = camnorm.frames_needed(sensor_of(np.arange(8.0).reshape(2, 1, 2, 2)))
        figure = plot.sensor_figure(*self.sensor(), np.arange(2.0), np.arange(2.0), convergence=few)
        figure.canvas.draw()
        (ax,) = (ax for ax in figure.axes if "that a correction leaves" in ax.get_title(loc="left"))
        lines = {line.get_label(): line for line in ax.lines}
        curve = lines["predicted"]
        np.testing.assert_allclose(curve.get_ydata(), 100 / np.sqrt(curve.get_xdata()), rtol=1e-9)
        this = lines["this set"]
        assert list(this.get_xdata()) == [2]
        np.testing.assert_allclose(this.get_ydata(), [100 / np.sqrt(2)], rtol=1e-9)
        # Neither half has a variance: nothing measured is drawn, and no pattern.
        assert not [name for name in lines if "measured" in name or "pattern" in name]

    def test_colour(self):
        mean, sigma = (np.stack([image] * 3, axis=-1) for image in self.sensor())
        figure = plot.sensor_figure(mean, sigma, np.arange(20.0), np.arange(20.0))
        assert figure.axes[0].images[0].get_array().shape[2] == 3
        assert len(figure.axes[2].lines) == 3

    def test_an_image_without_contrast(self):
        flat = np.full((64, 64), 5.0)
        figure = plot.sensor_figure(flat, flat, np.arange(20.0), np.arange(20.0))
        figure.canvas.draw()
        assert len(figure.axes) == 8
        for shown, spectrum, rings in (figure.axes[:3], figure.axes[3:6]):
            np.testing.assert_array_equal(shown.images[0].get_array(), flat)
            logarithm = spectrum.images[0].get_array()
            assert np.unravel_index(logarithm.argmax(), logarithm.shape) == (32, 32)  # nothing but the mean
            assert len(np.unique(np.delete(logarithm.ravel(), logarithm.argmax()))) == 1
            (line,) = rings.lines
            np.testing.assert_array_equal(line.get_ydata(), np.zeros(32))
            assert not rings.texts

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match=re.escape("sigma has shape (4, 5), the mean image (4, 4)")):
            plot.sensor_figure(np.ones((4, 4)), np.ones((4, 5)), np.ones(3), np.ones(3))


class TestSave:
    @pytest.mark.parametrize(
        ("suffix", "mark"), [("png", b"\x89PNG"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
    )
    def test_the_suffix_says_the_format(self, tmp_path, suffix, mark):
        path = tmp_path / f"figure.{suffix}"
        plot.save(plot.frc_figure({"a": noise_curve()}), path)
        assert path.read_bytes().startswith(mark)
        plot.save(plot.frc_figure({"a": noise_curve()}), str(path))  # again, over the first
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    @pytest.mark.parametrize("name", ["figure.jpg", "figure", "png"])
    def test_another_suffix_is_refused(self, tmp_path, name):
        with pytest.raises(ValueError, match=r"figures are written as \.png, \.pdf or \.svg, not "):
            plot.save(plot.frc_figure({"a": noise_curve()}), tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_a_directory_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            plot.save(plot.frc_figure({"a": noise_curve()}), tmp_path / "none" / "figure.png")

    def test_a_figure_that_fails_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "figure.png"
        path.write_bytes(b"old")
        figure = Figure()
        figure.text(0.5, 0.5, "$unbalanced{$")
        with pytest.raises(ValueError, match="unbalanced"):
            plot.save(figure, path)
        assert path.read_bytes() == b"old"
        assert len(list(tmp_path.iterdir())) == 1

    def test_size_in_pixels_and_in_bytes(self, tmp_path):
        path = tmp_path / "figure.png"
        noise = np.random.default_rng(0).normal(size=(4096, 4096))
        plot.save(plot.correction_figure(noise, noise, noise, noise, (slice(0, 170), slice(0, 170))), path)
        with Image.open(path) as image:
            assert 1500 < image.width < 1850
        assert path.stat().st_size < 400_000

    def test_colour_photographs_keep_their_colours(self, tmp_path):
        ramp = np.linspace(0, 1, 512)
        image = np.stack(np.broadcast_arrays(ramp[:, None], ramp, 1 - ramp[:, None] * ramp), axis=-1)
        figure = Figure(figsize=(5.12, 5.12), dpi=100)
        ax = figure.add_axes((0, 0, 1, 1))
        plot.image_panel(ax, image)
        ax.set_axis_off()
        screen = rendered(figure, tmp_path)
        low, high = np.percentile(image.reshape(-1, 3), [0.5, 99.5], axis=0)
        wanted = 255 * np.clip((image - low) / (high - low), 0, 1)
        assert np.abs(screen - wanted).max() < 2
