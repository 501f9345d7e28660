"""A sensor drawn, and shown in a notebook."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import camnorm
from camnorm import Error, PixelMoments, Sensor
from camnorm.sensor.table import FILE_DTYPE
from image_sets import frames_of, sensor_of

SHAPE = (48, 64)


def made_of(frames: np.ndarray, b: bool = True) -> Sensor:
    halves = [PixelMoments(frames.shape[1:], frames.dtype) for _ in "AB"]
    halves[0].add(frames[::2])
    halves[1].add(frames[1::2])
    return Sensor.from_moments(halves[0], halves[1] if b else None)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


# Figures


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3), (*SHAPE, 2)])
def test_plot(shape: tuple[int, ...]) -> None:
    sensor = sensor_of(list(frames_of(12, shape, "u2").reshape(6, 2, *shape)))
    figure = sensor.plot(Figure())
    figure.canvas.draw()
    assert titles(figure) == [
        *(f"{name} image{what}" for name in ("mean", "sigma") for what in ("", ": spectrum, logarithmic",
                                                                          ": spectrum over rings")),
        *(f"{name} image: half A against half B" for name in ("mean", "sigma")),
    ]  # fmt: skip
    pattern = camnorm.fixed_pattern(sensor)
    for ax, curves in zip(
        figure.axes[6:], (pattern.mean_correlation, pattern.sigma_correlation), strict=True
    ):
        for line, curve in zip(ax.lines, curves, strict=False):
            np.testing.assert_array_equal(line.get_ydata(), curve.correlation)
    if len(shape) == 2:
        shown = figure.axes[0].images[0].get_array()
        np.testing.assert_allclose(shown, sensor.mean)
        np.testing.assert_allclose(figure.axes[3].images[0].get_array(), sensor.sigma)


@pytest.mark.parametrize(
    ("sensor", "panels"),
    [
        (made_of(frames_of(12, SHAPE, "f4"), b=False), 6),
        (made_of(frames_of(2, SHAPE, "u1")), 6),
        (made_of(np.full((8, *SHAPE), 7, np.uint8)), 6),
        (made_of(frames_of(8, (1, 9), "u1")), 6),
        (made_of(frames_of(8, SHAPE, "u1")), 8),
    ],
)
def test_plot_of_little(sensor: Sensor, panels: int) -> None:
    figure = sensor.plot(Figure())
    figure.canvas.draw()
    assert len(figure.axes) == panels


def test_plot_by_pyplot_and_on_a_part_of_a_figure() -> None:
    import matplotlib.pyplot as plt

    sensor = made_of(frames_of(8, SHAPE, "u1"))
    figure = sensor.plot()
    assert isinstance(figure, Figure)
    assert plt.fignum_exists(figure.number)  # type: ignore[attr-defined]
    plt.close(figure)
    whole = Figure()
    left, right = whole.subfigures(1, 2)
    assert sensor.plot(left) is left
    assert len(left.axes) == 8
    assert not right.axes


def test_nothing_to_draw() -> None:
    empty = Sensor((PixelMoments(SHAPE, "u1"), PixelMoments(SHAPE, "u1")), np.empty(0), {})
    with pytest.raises(Error, match=r"^the sensor holds no frames: there is nothing to draw$"):
        empty.plot(Figure())


def test_matplotlib_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = made_of(frames_of(8, SHAPE, "u1"))
    curve = camnorm.frc(sensor.mean, sensor.mean[::-1].copy())
    assert isinstance(curve, camnorm.RingCorrelation)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    none = np.empty(0)
    for call in (
        sensor.plot,
        curve.plot,
        lambda: camnorm.plot.frc_figure({"a": curve}),
        lambda: camnorm.plot.sensor_figure(sensor.mean, sensor.sigma, none, none),
        lambda: camnorm.plot.correction_figure(*[sensor.mean] * 4, (slice(0, 8), slice(0, 8))),
    ):
        with pytest.raises(
            Error,
            match=r"^figures need the package matplotlib, which is not installed: pip install matplotlib$",
        ):
            call()


# Notebooks


class Page(HTMLParser):
    """Elements, cells by their heads, and pictures by their names; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.cells: list[str] = []
        self.pictures: dict[str, np.ndarray] = {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        values = dict(attrs)
        if tag == "img":
            head, _, data = (values["src"] or "").partition(",")
            assert head == "data:image/png;base64"
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                image.load()
                self.pictures[values["alt"] or ""] = np.asarray(image)
        else:
            self.open.append(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["th"], ["td"]):
            self.cells[-1] += data

    @property
    def table(self) -> dict[str, str]:
        return dict(zip(self.cells[::2], self.cells[1::2], strict=True))


def test_table() -> None:
    sensor = sensor_of(list(frames_of(12, SHAPE, "u2").reshape(6, 2, *SHAPE)))
    page = Page(sensor._repr_html_())
    assert page.table == {
        "frames": "12: 6 in half A, 6 in half B",
        "shape": "48 × 64",
        "pixels": "uint16",
        "target mean": f"{sensor.target_mean:.6g}",
        "target sigma": f"{sensor.target_sigma:.6g}",
        "rejected": "0",
        "files": "6, first file0",
    }
    made = Page(made_of(frames_of(12, (*SHAPE, 3), "u1"), b=False)._repr_html_()).table
    assert made["from moments"] == "all"
    assert made["frames"] == "6: 6 in half A, 0 in half B"
    assert made["target mean"].count(",") == 2
    assert "files" not in made
    assert "rejected" not in made


@pytest.mark.parametrize("shape", [SHAPE, (700, 330), (3, 900), (1, 1), (*SHAPE, 3), (*SHAPE, 2)])
def test_pictures(shape: tuple[int, ...]) -> None:
    frames = frames_of(4, shape, "u2")
    frames[:, shape[0] // 2 :] //= 2  # the lower half is dark
    sensor = made_of(frames)
    pictures = Page(sensor._repr_html_()).pictures
    assert set(pictures) == {"mean image", "sigma image"}
    mean = pictures["mean image"]
    assert mean.dtype == np.uint8
    assert mean.ndim == (3 if shape[2:] == (3,) else 2)
    assert 1 <= max(mean.shape[:2]) <= (160 if min(shape[:2]) > 3 else 320)
    if shape[:2] == SHAPE:
        assert mean.shape[:2] == SHAPE
        low, high = np.percentile(sensor.mean[..., 0] if len(shape) == 3 else sensor.mean, (0.5, 99.5))
        if len(shape) == 2:
            expected = 255 * np.clip((sensor.mean - low) / (high - low), 0, 1)
            assert np.abs(mean - expected).max() <= 0.5
    if min(shape[:2]) > 3:
        top, bottom = np.split(mean.astype(float), [mean.shape[0] // 2])
        assert top.mean() > bottom.mean() + 50


def test_large_frames_are_only_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = made_of(frames_of(2, (4096, 2050), "u1"))
    monkeypatch.setattr(PixelMoments, "targets_with", None)  # a pass over all sums
    text = sensor._repr_html_()
    assert not {"mean", "sigma", "_targets"} & vars(sensor).keys()
    assert Page(text).table["targets"] == "not computed yet: see target_mean and target_sigma"
    monkeypatch.undo()
    target = sensor.target_mean
    assert Page(sensor._repr_html_()).table["target mean"] == f"{target:.6g}"
    assert len(text) < 100_000


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", 'a"><img src=x onerror=b>', "a&b'c", "x\n\u202e\udcff"]
)
def test_names_of_files_are_text(name: str) -> None:
    sensor = sensor_of(list(frames_of(4, SHAPE, "u1").reshape(2, 2, *SHAPE)))
    plain = Page(sensor._repr_html_())
    for count in (1, 2):
        sensor.provenance["files"] = np.array([(name, 0, 0.0)] * count, FILE_DTYPE)
        text = sensor._repr_html_()
        page = Page(text)
        assert page.elements == plain.elements
        assert set(page.pictures) == {"mean image", "sigma image"}
        assert text.isprintable()
        text.encode()
        if name.isprintable():
            assert page.table["files"] == (f"1: {name}" if count == 1 else f"2, first {name}")


def test_an_empty_sensor_has_no_pictures() -> None:
    frames = sensor_of([frames_of(2, SHAPE, "u1")]).frames[:0]
    empty = Sensor((PixelMoments(SHAPE, "u1"), PixelMoments(SHAPE, "u1")), frames, {"screening": {}})
    page = Page(empty._repr_html_())
    assert not page.pictures
    assert page.table["frames"] == "0: 0 in half A, 0 in half B"


def test_a_notebook_needs_no_matplotlib(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    made_of(frames_of(4, SHAPE, "u1")).save(path)
    code = (
        f"import sys, camnorm; camnorm.Sensor.load({str(path)!r})._repr_html_(); "
        "print([m for m in ('matplotlib', 'PIL', 'pyfftw') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_repr() -> None:
    sensor = sensor_of(list(frames_of(12, SHAPE, "u2").reshape(6, 2, *SHAPE)))
    assert repr(sensor) == "<Sensor measured from 12 uint16 frames of shape (48, 64)>"
    made = made_of(frames_of(12, SHAPE, "u2"))
    assert repr(made) == "<Sensor made from moments of 12 uint16 frames of shape (48, 64)>"
