"""Charts as SVG, in the colours of the page: styled by classes, readable on a phone and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Axis", "Band", "Chart", "Level", "Series", "short"]

_WIDTH, _HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 12, 12, 48

# Points of a line that differ on a screen, and dots that do.
_POINTS = 480
_DOTS = 1500

_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes
    ----------
    label : str
        With the unit.
    low, high : float, optional
        Its ends; by default those of the data, with some room.
    log : bool
        Whether it is logarithmic.
    """

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False


@dataclass(frozen=True, eq=False)
class Series:
    """Points of a chart.

    Attributes
    ----------
    label : str
        In the legend; empty for none.
    x, y : float64 ndarray
        Points; those that are not finite are left out.
    colour : int
        Number of the colour, from 1.
    kind : {"line", "dashes", "dots", "crosses"}
        How they are drawn; crosses beyond the axis stand at its end.
    """

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    colour: int = 1
    kind: Literal["line", "dashes", "dots", "crosses"] = "line"


@dataclass(frozen=True, eq=False)
class Band:
    """What lies between two curves.

    Attributes
    ----------
    label : str
        In the legend.
    x, low, high : float64 ndarray
        The curves.
    colour : int
        Number of the colour, from 1.
    """

    label: str
    x: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    colour: int = 4


@dataclass(frozen=True)
class Level:
    """A line across the chart.

    Attributes
    ----------
    value : float
        Where it crosses its axis.
    label : str
        What it is, in the legend; empty for none.
    upright : bool
        Whether it is vertical, at a value of x.
    name : str
        At its upper end, if it is vertical.
    """

    value: float
    label: str = ""
    upright: bool = False
    name: str = ""


# The page clips curves at the axes by "#plot", which its template defines: charts are of one size.


@dataclass(frozen=True, eq=False)
class Chart:
    """Curves over a common axis.

    Attributes
    ----------
    title : str
        What it shows.
    text : str
        The same for those who do not see it, with its result.
    x, y : Axis
        The axes.
    series, bands, levels : sequence
        What is drawn.
    """

    title: str
    text: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    bands: Sequence[Band] = ()
    levels: Sequence[Level] = field(default_factory=tuple)

    @property
    def legend(self) -> list[tuple[str, int, str]]:
        """Label, number of the colour and kind of all that has a label."""
        found: list[tuple[str, int, str]] = [(s.label, s.colour, s.kind) for s in self.series]
        found += [(band.label, band.colour, "band") for band in self.bands]
        found += [(level.label, 5, "level") for level in self.levels]
        return [entry for entry in found if entry[0]]

    def svg(self) -> str:
        """Return the chart as an SVG element without a legend."""
        x = _Scale(self.x, [s.x for s in self.series], _LEFT, _WIDTH - _RIGHT, 0.0)
        values = [s.y for s in self.series if s.kind != "crosses"] or [s.y for s in self.series]
        y = _Scale(self.y, values, _HEIGHT - _BOTTOM, _TOP, 0.05)
        parts = [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self.title)}. '
            f'{escape(self.text)}" class="chart">',
            *_grid(x, y, self.x.label, self.y.label),
            *(_band(band, x, y) for band in self.bands),
            *(_level(level, x, y) for level in self.levels),
            *(_drawn(series, x, y) for series in self.series),
            "</svg>",
        ]
        return "".join(parts)


class _Scale:
    """From values to places on the screen."""

    def __init__(
        self, axis: Axis, values: Sequence[NDArray[np.float64]], start: float, stop: float, room: float
    ) -> None:
        self.log = axis.log
        self.start, self.stop = start, stop
        low, high = (math.nan if end is None else end for end in (axis.low, axis.high))
        data = np.concatenate([np.asarray(v, np.float64).ravel() for v in values] or [np.empty(0)])
        data = data[np.isfinite(data) & ((data > 0) | (not axis.log))]
        if data.size:
            ends = [float(data.min()), float(data.max())]
            if axis.log:
                ends = [math.log10(end) for end in ends]
            margin = room * (ends[1] - ends[0])
            ends = [ends[0] - margin, ends[1] + margin]
            if axis.log:
                ends = [10.0**end for end in ends]
        else:
            ends = [1.0, 10.0] if axis.log else [0.0, 1.0]
        low, high = (
            end if math.isnan(given) else given for given, end in zip((low, high), ends, strict=True)
        )
        if not high > low:
            middle = abs(low) or 1.0
            low, high = (low / 2, low * 2) if axis.log else (low - 0.5 * middle, high + 0.5 * middle)
        self.low, self.high = low, high

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self._share(np.asarray(values, np.float64))
        return np.asarray(self.start + (self.stop - self.start) * share)

    def _share(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.log:
            return np.asarray((values - self.low) / (self.high - self.low))
        return np.asarray(np.log(values / self.low) / math.log(self.high / self.low))

    def place(self, value: float) -> float:
        return float(self(np.array([value]))[0])

    def clipped(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places within the chart, and a little beyond so that lines leave it."""
        low, high = sorted((self.start, self.stop))
        return np.clip(places, low - 4000, high + 4000)

    def ticks(self) -> list[float]:
        """Round numbers within the ends."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / (_TICKS + 1)))
            decades = [10.0**power for power in range(first, last + 1, step)]
            if len(decades) >= 2:
                return decades
            factors = [m * 10.0**p for p in range(first - 1, last + 2) for m in (1, 2, 3, 5)]
            return [value for value in factors if self.low <= value <= self.high]
        width = _round_step((self.high - self.low) / _TICKS)
        first, last = math.ceil(self.low / width - 1e-9), math.floor(self.high / width + 1e-9)
        return [number * width for number in range(first, last + 1)]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 and math.isfinite(step) else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def short(value: float) -> str:
    """A number of a scale: no digits that say nothing, and thousands apart."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.6g}".replace("-", "−") if abs(value) >= 1000 else f"{value:.6g}".replace("-", "−")
    mantissa, power = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
    exponent = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return (
        f"{mantissa}·10{exponent}".replace("1·10", "10")
        if mantissa in ("1", "−1")
        else f"{mantissa}·10{exponent}"
    )


def _grid(x: _Scale, y: _Scale, x_label: str, y_label: str) -> list[str]:
    """Lines of the axes, numbers and labels."""
    left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    parts = []
    for tick in y.ticks():
        place = y.place(tick)
        parts.append(f'<path class="grid" d="M{left} {place:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6}" y="{place + 4.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x.ticks():
        place = x.place(tick)
        anchor = "end" if place > right - 12 and len(short(tick)) > 3 else "middle"
        parts.append(f'<path class="grid" d="M{place:.1f} {top}V{bottom}"/>')
        parts.append(f'<text x="{place:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{short(tick)}</text>')
    parts.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
    middle = (left + right) / 2
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    middle = (top + bottom) / 2
    parts.append(
        f'<text class="label" transform="translate(15 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _band(band: Band, x: _Scale, y: _Scale) -> str:
    keep = _kept(band.x.size)
    places = x(band.x[keep])
    low, high = (y.clipped(y(values[keep])) for values in (band.low, band.high))
    good = np.isfinite(places) & np.isfinite(low) & np.isfinite(high)
    outline = np.r_[places[good], places[good][::-1]], np.r_[high[good], low[good][::-1]]
    return f'<polygon class="band c{band.colour}" points="{_points(*outline)}" clip-path="url(#plot)"/>'


def _kept(count: int) -> NDArray[np.intp]:
    """Places of enough points of a smooth curve."""
    return (
        np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.intp)) if count else np.arange(0)
    )


def _level(level: Level, x: _Scale, y: _Scale) -> str:
    scale = x if level.upright else y
    if not scale.low <= level.value <= scale.high:
        return ""
    place = scale.place(level.value)
    if not level.upright:
        return f'<path class="level" d="M{_LEFT} {place:.1f}H{_WIDTH - _RIGHT}"/>'
    name = (
        f'<text class="name" x="{place:.1f}" y="{_TOP + 9}" text-anchor="middle">{escape(level.name)}</text>'
    )
    start = _TOP + (13 if level.name else 0)
    return f'<path class="level" d="M{place:.1f} {start}V{_HEIGHT - _BOTTOM}"/>{name if level.name else ""}'


def _drawn(series: Series, x: _Scale, y: _Scale) -> str:
    values = np.asarray(series.y, np.float64)
    places, heights = x(np.asarray(series.x, np.float64)), y(values)
    good = np.isfinite(places) & np.isfinite(heights)
    places, heights = places[good], heights[good]
    if series.kind == "crosses":
        heights = np.clip(heights, _TOP + 4, _HEIGHT - _BOTTOM - 4)
        marks = zip(places[:_DOTS].tolist(), heights[:_DOTS].tolist(), strict=True)
        path = "".join(f"M{a - 4:.1f} {b - 4:.1f}l8 8m0-8l-8 8" for a, b in marks)
        return f'<path class="cross c{series.colour}" d="{path}"/>'
    heights = y.clipped(heights)
    if series.kind == "dots":
        step = max(1, math.ceil(places.size / _DOTS))
        dots = zip(places[::step].tolist(), heights[::step].tolist(), strict=True)
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in dots)
        return f'<path class="dot c{series.colour}" d="{path}" clip-path="url(#plot)"/>'
    places, heights = _thinned(places, heights)
    return (
        f'<polyline class="{series.kind} c{series.colour}" points="{_points(places, heights)}" '
        'clip-path="url(#plot)"/>'
    )


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A line with the highest and the lowest point of each column of the screen."""
    if x.size <= 2 * _POINTS:
        return x, y
    column = np.floor((x - x[0]) / (x[-1] - x[0] or 1.0) * (_POINTS - 1))
    starts = np.flatnonzero(np.diff(column, prepend=-1.0))
    keep: list[int] = []
    for start, stop in zip(starts, [*starts[1:], x.size], strict=True):
        part = y[start:stop]
        keep += sorted({int(start + part.argmin()), int(start + part.argmax())})
    return x[keep], y[keep]
