"""Charts of the page: points where they belong, scales with round numbers, names without markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from camnorm.report.page.charts import Axis, Band, Chart, Level, Series, short

X = np.arange(101.0)


def chart(*series: Series, x: Axis | None = None, y: Axis | None = None, **more) -> ElementTree.Element:
    made = Chart("title", "text", x or Axis("x"), y or Axis("y"), series, **more)
    return ElementTree.fromstring(made.svg())


def points(element: ElementTree.Element) -> np.ndarray:
    return np.array([[float(n) for n in pair.split(",")] for pair in element.get("points", "").split()])


def texts(element: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in element.iter("text")]


def test_a_line_runs_from_corner_to_corner() -> None:
    svg = chart(Series("a", X, 2 * X), y=Axis("y", 0.0, 200.0))
    (line,) = svg.iter("polyline")
    found = points(line)
    assert found.shape == (101, 2)
    assert found[0].tolist() == [68.0, 272.0]
    assert found[-1].tolist() == [508.0, 12.0]
    np.testing.assert_allclose(np.diff(found, axis=0), [[4.4, -2.6]] * 100, atol=0.11)


def test_a_logarithmic_axis() -> None:
    svg = chart(Series("a", X[1:], 10.0 ** (X[1:] / 25)), y=Axis("y", 1.0, 1e4, log=True))
    (line,) = svg.iter("polyline")
    np.testing.assert_allclose(np.diff(points(line)[:, 1]), -260 / 100, atol=0.11)
    assert {"1", "10", "100", "1,000", "10,000"} <= set(texts(svg))


def test_scales_have_round_numbers() -> None:
    numbers = [text for text in texts(chart(Series("a", X, 1000 + X))) if re.fullmatch(r"[\d,.]+", text)]
    assert {"0", "20", "100", "1,000", "1,050"} <= set(numbers)


def test_points_without_values_are_left_out() -> None:
    values = X.copy()
    values[::2] = np.nan
    (line,) = chart(Series("a", X, values)).iter("polyline")
    assert len(points(line)) == 50


@pytest.mark.parametrize("values", [np.full(101, np.nan), np.full(101, 3.0), np.zeros(101), -X])
@pytest.mark.parametrize("log", [False, True])
def test_axes_without_a_range(values: np.ndarray, log: bool) -> None:
    svg = ElementTree.tostring(chart(Series("a", X, values), y=Axis("y", log=log)), encoding="unicode")
    assert "nan" not in svg
    assert "inf" not in svg


def test_no_points_at_all() -> None:
    chart(Series("a", X[:0], X[:0]), bands=[Band("b", X[:0], X[:0], X[:0])])


def test_long_lines_keep_their_extremes() -> None:
    x = np.arange(100_000.0)
    y = np.zeros(x.size)
    y[54_321], y[77_777] = 5.0, -3.0
    (line,) = chart(Series("a", x, y), y=Axis("y", -3.0, 5.0)).iter("polyline")
    found = points(line)
    assert len(found) < 1000
    assert found[:, 1].min() == 12.0
    assert found[:, 1].max() == 272.0
    assert (np.diff(found[:, 0]) >= 0).all()


def test_crosses_beyond_the_axis_stand_at_its_end() -> None:
    svg = chart(
        Series("good", X, np.zeros(101), kind="dots"), Series("bad", X[:1], np.array([1e9]), 2, "crosses")
    )
    (cross,) = (path for path in svg.iter("path") if "cross" in path.get("class", ""))
    assert cross.get("d", "").startswith("M64.0 12.0l")


def test_levels_are_drawn_within_the_axes_only() -> None:
    svg = chart(Series("a", X, X), levels=[Level(50.0), Level(1e6), Level(25.0, upright=True, name="here")])
    assert sum("level" in path.get("class", "") for path in svg.iter("path")) == 2
    assert "here" in texts(svg)


def test_names_are_text() -> None:
    made = Chart('<b>"&', "<i>'", Axis("<x>"), Axis("&y"), [Series("<s>", X, X)])
    svg = ElementTree.fromstring(made.svg())
    assert svg.get("aria-label") == "<b>\"&. <i>'"
    assert {"<x>", "&y"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.5, "−0.5"),
        (1234.5, "1,234.5"),
        (0.30000000000000004, "0.3"),
        (1e5, "10⁵"),
        (-2.5e7, "−2.5·10⁷"),
        (1e-4, "10⁻⁴"),
        (1.1e6, "1.1·10⁶"),
        (float("nan"), "–"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text
