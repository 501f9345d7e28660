"""The charts of the page, from what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from camnorm.report.page.charts import Axis, Band, Chart, Level, Series
from camnorm.report.page.numbers import COUNTS, SUM
from camnorm.report.plot.style import FIRST_SHOWN
from camnorm.sensor.summary import screening_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.diagnosis.convergence import Convergence
    from camnorm.diagnosis.fixedpattern import FixedPattern
    from camnorm.report.spectra import ImageSpectrum
    from camnorm.sensor.sensor import Sensor
    from camnorm.verification.saved import SavedVerification

__all__ = ["of_convergence", "of_frames", "of_pattern", "of_spectra", "of_verification"]

_FREQUENCY = Axis("spatial frequency / Nyquist", 0.0, 1.0)

# Frames that are drawn one by one; more are summed up in groups.
_FRAMES = 1500
_GROUPS = 300

# Exposures, in frames, over which the derating is drawn.
_EXPOSURES = np.geomspace(1.0, 1000.0, 61)


def of_verification(saved: SavedVerification) -> Iterator[Chart]:
    """FRC of single frames and of averages, before and after the correction."""
    group = saved.numbers["group"]
    for kind, name, key in (("pair", "single frames", "pairs"), ("groups", f"averages of {group}", "groups")):
        curves = {
            state: [curve for label, curve in saved.curves.items() if label.startswith(f"{kind}_{state}")]
            for state in ("raw", "corrected")
        }
        if not curves["raw"] or not curves["corrected"]:
            continue
        first = curves["raw"][0]
        series = [
            Series(state if not plane else "", curve.nyquist, curve.correlation, colour)
            for state, colour in (("raw", 2), ("corrected", 1))
            for plane, curve in enumerate(curves[state])
        ]
        used = first.nyquist >= FIRST_SHOWN
        shown = [s.y[used & np.isfinite(s.y)] for s in series] + [first.threshold[used]]
        high = max((float(values.max()) for values in shown if values.size), default=1.0)
        low = min(
            (float(values.min()) for values in (*shown, -first.threshold[used]) if values.size), default=-1.0
        )
        numbers = saved.numbers[key]
        yield Chart(
            f"FRC of {name}",
            f"Mean correlation {numbers['raw']['mean_correlation']:.2g} raw, "
            f"{numbers['corrected']['mean_correlation']:.2g} corrected.",
            _FREQUENCY,
            Axis("FRC", max(low - 0.08, -1.05), min(high + 0.08, 1.05)),
            series,
            bands=[Band("±3σ of independent images", first.nyquist, -first.threshold, first.threshold)],
            levels=[Level(0.0)],
        )


def of_pattern(pattern: FixedPattern) -> Iterator[Chart]:
    """What the fixed pattern costs, and how well it is known, over exposure and frequency."""
    raw = np.array([100 * pattern.derating(float(e)) for e in _EXPOSURES])
    corrected = np.array([100 * pattern.derating_corrected(float(e)) for e in _EXPOSURES])
    yield Chart(
        "DQE lost by the fixed pattern, over the exposure",
        f"Raw {_percent(raw[0])} in single frames, {_percent(100 * pattern.derating(SUM))} in sums of {SUM}; "
        f"corrected {_percent(corrected[0])} and {_percent(100 * pattern.derating_corrected(SUM))}.",
        Axis("frames in the sum", log=True),
        Axis("% of the DQE", low=0.0, high=max(1.05 * float(np.nan_to_num([*raw, *corrected]).max()), 1e-3)),
        [Series("raw", _EXPOSURES, raw, 2), Series("corrected", _EXPOSURES, corrected, 1)],
        levels=[Level(float(SUM), upright=True, name=str(SUM))],
    )
    curves = [100 * pattern.derating_curve(exposure) for exposure in (1, SUM)]
    yield Chart(
        "DQE lost by the fixed pattern, over the frequency",
        "Of raw frames. Lines at single frequencies come from the readout.",
        _FREQUENCY,
        Axis("% of the DQE", low=0.0),
        [
            Series("single frames", pattern.nyquist, curves[0], 1),
            Series(f"sums of {SUM}", pattern.nyquist, curves[1], 2),
        ],
    )
    power = [
        np.where(values[1:] > 0, values[1:], np.nan)
        for values in (pattern.pattern_power, pattern.noise_power)
    ]
    yield Chart(
        "Spectra of pattern and noise",
        "Where the pattern is above the noise of a frame, it dominates single frames.",
        _FREQUENCY,
        Axis("power (counts²)", log=True),
        [
            Series("fixed pattern", pattern.nyquist[1:], power[0], 2),
            Series("noise and scene of a frame", pattern.nyquist[1:], power[1], 1),
        ],
    )
    planes = [
        (label, curve, colour)
        for label, found, colour in (
            ("mean image", pattern.mean_correlation, 1),
            ("sigma image", pattern.sigma_correlation, 3),
        )
        for curve in found
    ]
    names = [
        label if label not in [p[0] for p in planes[:i]] else "" for i, (label, _, _) in enumerate(planes)
    ]
    yield Chart(
        "FRC of half A against half B",
        "Near 1 the image is known at this frequency; near 0 it is noise.",
        _FREQUENCY,
        Axis("FRC", -0.2, 1.05),
        [
            Series(name, curve.nyquist, curve.correlation, colour)
            for name, (_, curve, colour) in zip(names, planes, strict=True)
        ],
        levels=[Level(0.0)],
    )


def _percent(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.2g} %"


def of_convergence(convergence: Convergence) -> Iterator[Chart]:
    """Pattern that a correction leaves, over the number of frames."""
    if not convergence.noise > 0:
        return
    frames = convergence.curve_frames().astype(np.float64)
    series = [
        Series("predicted", frames, 100 * convergence.predicted(frames), 1),
        Series(
            "this set",
            np.array([float(convergence.frames)]),
            np.array([100 * convergence.residual]),
            1,
            "dots",
        ),
    ]
    if convergence.measured:
        numbers, residuals = np.transpose(np.array(convergence.measured, np.float64))
        series.append(Series("measured", numbers, 100 * residuals, 3, "dots"))
    levels = [Level(100 * convergence.residual_target, "wanted")]
    if convergence.pattern_seen:
        strength = 100 * math.sqrt(convergence.fixed_pattern) / convergence.noise
        series.append(Series("uncorrected", frames[[0, -1]], np.full(2, strength), 2, "dashes"))
    yield Chart(
        "Pattern that a correction leaves, over the number of frames",
        f"{100 * convergence.residual:.2g} % of the noise with {convergence.frames} frames.",
        Axis("frames", log=True),
        Axis("% of the noise of a frame", log=True),
        series,
        levels=levels,
    )


def of_spectra(spectra: Mapping[str, ImageSpectrum], image: str) -> Iterator[Chart]:
    """Spectrum of an image over rings, and along x and y; one curve for each plane."""
    for title, field, axis in (
        (f"Spectrum of the {image} over rings", "rings", "spatial frequency / Nyquist"),
        (f"Spectrum of the {image} along x", "along_x", "horizontal frequency / Nyquist"),
        (f"Spectrum of the {image} along y", "along_y", "vertical frequency / Nyquist"),
    ):
        curves = {name: getattr(spectrum, field) for name, spectrum in spectra.items()}
        places: list[float] = []
        for curve in curves.values():
            for peak in curve.peaks:
                place = float(curve.nyquist[peak])
                if all(abs(place - other) > 0.06 for other in places):
                    places.append(place)
        named = ", ".join(f"{place:.2f}" for place in sorted(places))
        positive = {
            name: np.where(curve.amplitude > 0, curve.amplitude, np.nan) for name, curve in curves.items()
        }
        yield Chart(
            title,
            f"Peaks at {named} of Nyquist." if places else "No peak stands out.",
            Axis(axis, 0.0, 1.0),
            Axis(f"amplitude ({COUNTS})", log=True),
            [
                Series(name, curves[name].nyquist, positive[name], number)
                for number, name in enumerate(curves, start=1)
            ],
            levels=[Level(place, upright=True, name=f"{place:.2f}") for place in places],
        )


def of_frames(sensor: Sensor) -> Iterator[Chart]:
    """Mean and standard deviation of the frames in their order; rejected ones are marked."""
    table = sensor.frames
    if not table.size:
        return
    rejected = table["status"] == "rejected"
    limits = screening_limits(sensor.provenance["screening"])
    order = np.arange(len(table), dtype=np.float64)
    for column, name in (("mean", "mean"), ("std", "standard deviation")):
        values = table[column]
        good = np.isfinite(values) & ~rejected
        bad = np.isfinite(values) & rejected
        series, bands = _course(order[good], values[good])
        if bad.any():
            series.append(Series(f"{bad.sum()} rejected", order[bad], values[bad], 2, "crosses"))
        first, last = (
            (float(values[good][:half].mean()), float(values[good][-half:].mean()))
            if (half := max(1, int(good.sum()) // 10)) and good.any()
            else (math.nan, math.nan)
        )
        yield Chart(
            f"{name.capitalize()} of the frames in their order",
            f"From {first:.5g} in the first tenth to {last:.5g} in the last."
            if good.any()
            else "No frame was accepted.",
            Axis("frame, in the order of the files", 0.0, max(float(len(table) - 1), 1.0)),
            Axis(f"{name} ({COUNTS})"),
            series,
            bands=bands,
            levels=[Level(limit) for limit in limits.get(column, ())],
        )


def _course(order: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[list[Series], list[Band]]:
    """Frames one by one, or the median and the range of groups of them."""
    if order.size <= _FRAMES:
        return [Series("accepted", order, values, 1, "dots")], []
    parts = np.array_split(np.arange(order.size), _GROUPS)
    middle = np.array([order[part].mean() for part in parts])
    low, high, median = (
        np.array([pick(values[part]) for part in parts]) for pick in (np.min, np.max, np.median)
    )
    size = round(order.size / _GROUPS)
    return (
        [
            Series(f"median of {size} frames", middle, median, 1),
            Series("", middle, low, 4),
            Series("", middle, high, 4),
        ],
        [Band("range", middle, low, high, 4)],
    )
