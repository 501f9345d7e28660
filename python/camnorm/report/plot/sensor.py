"""A measured sensor: its images and their spectra, its frames, what its pattern costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from camnorm import _core
from camnorm.diagnosis.fixedpattern import fixed_pattern, tells_pattern
from camnorm.errors import Error
from camnorm.report.plot.curves import frc_panel
from camnorm.report.plot.images import image_panel
from camnorm.report.plot.style import (
    BLUE,
    ORANGE,
    blank_figure,
    legend,
    plane_colours,
    set_title,
)
from camnorm.report.spectra import image_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import GridSpecBase, SubplotSpec
    from numpy.typing import NDArray

    from camnorm.diagnosis.convergence import Convergence
    from camnorm.diagnosis.fixedpattern import FixedPattern
    from camnorm.sensor.sensor import Sensor

_NAMES = "mean image", "sigma image"
_ARGUMENTS = "mean", "sigma", "frame_means", "frame_stds"

# Width of a peak's label, as a fraction of Nyquist.
_LABEL = 0.045

# An image is wide from this ratio of its sides on.
_WIDE = 2.3


def sensor_figure(
    mean: NDArray[np.float64],
    sigma: NDArray[np.float64],
    frame_means: NDArray[np.float64],
    frame_stds: NDArray[np.float64],
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
    rejected: NDArray[np.bool_] | None = None,
    convergence: Convergence | None = None,
    pattern: FixedPattern | None = None,
) -> Figure:
    """Mean and sigma image of a sensor, their spectra, the histograms of the frames, and their course.

    Parameters
    ----------
    mean, sigma : ndarray
        float64 (y, x) or (y, x, c), finite.
    frame_means, frame_stds : ndarray
        Mean and standard deviation of each frame, (n,); those of frames that could not be read are NaN.
        Without frames, nothing is drawn of them.
    limits : mapping, optional
        Lowest and highest value accepted of "mean" and of "std", as the screening of the sensor's
        provenance has them.
    rejected : ndarray, optional
        bool (n,): frames that are not in the statistics. With it, mean and standard deviation are also
        drawn over the frames in their order, and these are marked.
    convergence : Convergence, optional
        What `camnorm.frames_needed` gave; with it, the pattern that a correction leaves is drawn over the
        number of frames.
    pattern : FixedPattern, optional
        What `camnorm.fixed_pattern` gave; with it, the correlation of the halves' images, the spectra of
        pattern and noise, and what the pattern costs of the DQE are drawn over the frequency.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Images of different shapes.

    Notes
    -----
    A ring's amplitude is the root of the mean of ``|F|² / (number of pixels)`` over the ring, so that white
    noise has the amplitude of its standard deviation at every frequency. Peaks are rings that exceed the
    median of their surroundings by eight times the scatter of the curve; they bear their frequency as a
    fraction of Nyquist.
    """
    mean, sigma, frame_means, frame_stds = (
        np.asarray(_core.check_array(array, argument))
        for argument, array in zip(_ARGUMENTS, (mean, sigma, frame_means, frame_stds), strict=True)
    )
    if rejected is not None:
        rejected = np.asarray(_core.check_array(rejected, "rejected"))
    if mean.shape != sigma.shape:
        raise ValueError(f"sigma has shape {sigma.shape}, the mean image {mean.shape}")
    if not frame_means.size:
        rejected = None
    last = pattern is not None or convergence is not None
    heights = [1.0, 1.0, *([] if rejected is None else [0.5]), *([0.9] if last else [])]
    figure = blank_figure(15.0, 3.05 * sum(heights) + 0.2)
    grid = figure.add_gridspec(len(heights), 4, height_ratios=heights)
    for row, name, image in zip((0, 1), _NAMES, (mean, sigma), strict=True):
        places = (
            _places(grid, row, image)
            if frame_means.size
            else _places(grid[row, :].subgridspec(1, 3), 0, image)
        )
        _spectrum_panels([figure.add_subplot(place) for place in places], image, name)
    statistics = [
        (name, values, (limits or {}).get(key, (-np.inf, np.inf)))
        for key, name, values in (("mean", "mean", frame_means), ("std", "standard deviation", frame_stds))
    ]
    if convergence is not None:
        _convergence_panel(figure.add_subplot(grid[-1, 0]), convergence)
    if rejected is not None:
        courses = grid[2, :].subgridspec(1, 2)
        for column, (name, values, accepted) in enumerate(statistics):
            _course_panel(figure.add_subplot(courses[0, column]), values, name, accepted, rejected)
    for column, (name, values, accepted) in enumerate(statistics if frame_means.size else []):
        _histogram_panel(figure.add_subplot(grid[column, 3]), values, name, accepted)
    if pattern is not None:
        _pattern_panels([figure.add_subplot(grid[-1, column]) for column in range(1, 4)], pattern)
    return figure


def sensor_panels(figure: Figure | SubFigure, sensor: Sensor) -> None:
    """Draw the mean and sigma image of a sensor, their spectra, and the FRC of its halves.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        Where to draw.
    sensor : Sensor
        With two frames or more in each half for the FRC.

    Raises
    ------
    Error
        The sensor holds no frames.
    """
    if not sensor.count:
        raise Error("the sensor holds no frames: there is nothing to draw")
    pattern = fixed_pattern(sensor) if tells_pattern(sensor) else None
    grid = figure.add_gridspec(2, 3 if pattern is None else 4)
    for row, name, image in zip((0, 1), _NAMES, (sensor.mean, sensor.sigma), strict=True):
        _spectrum_panels([figure.add_subplot(place) for place in _places(grid, row, image)], image, name)
    if pattern is not None:
        curves = pattern.mean_correlation, pattern.sigma_correlation
        for row, name, planes in zip((0, 1), _NAMES, curves, strict=True):
            ax = figure.add_subplot(grid[row, 3])
            frc_panel(ax, planes, f"{name}: half A against half B")
            legend(ax)  # beside the curve, which may be near 1


def _places(grid: GridSpecBase, row: int, image: NDArray[np.float64]) -> list[SubplotSpec]:
    """Places in three columns for an image, its spectrum and that over rings.

    Wide images lie on each other in two of the columns, so that little stays empty.
    """
    height, width = image.shape[:2]
    if width > _WIDE * height:
        both = grid[row, :2].subgridspec(2, 1)
        return [both[0, 0], both[1, 0], grid[row, 2]]
    return [grid[row, column] for column in range(3)]


def _spectrum_panels(panels: Sequence[Axes], image: NDArray[np.float64], name: str) -> None:
    """An image, its amplitude spectrum, and the root mean square of that over rings."""
    if min(image.shape[:2]) < 2:  # no rings
        image_panel(panels[0], image, name, pixels=500)
        for panel in panels[1:]:
            panel.set_axis_off()
        return
    planes = [image] if image.ndim == 2 else [image[..., plane] for plane in range(image.shape[2])]
    spectra = [image_spectrum(plane) for plane in planes]
    image_panel(panels[0], image, name, pixels=500, unit="counts")

    logarithm = np.mean([spectrum.picture for spectrum in spectra], axis=0)
    image_panel(panels[1], logarithm, f"{name}: spectrum, logarithmic")
    panels[1].set(xticks=[], yticks=[])  # not pixels but frequencies, zero in the middle

    ax = panels[2]
    named: list[float] = []  # in one plane is enough, and labels must not overlap
    amplitudes = [spectrum.rings.amplitude for spectrum in spectra]
    for spectrum, colour in zip(spectra, plane_colours(len(spectra)), strict=True):
        nyquist, amplitude, peaks = spectrum.rings
        ax.plot(nyquist, amplitude, color=colour, lw=0.9)
        if amplitude.any():
            ax.set_yscale("log")
        for peak in peaks:
            if any(abs(nyquist[peak] - place) < _LABEL for place in named):
                continue
            named.append(float(nyquist[peak]))
            ax.annotate(
                f"{nyquist[peak]:.2f}",
                (nyquist[peak], amplitude[peak]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=ORANGE,
            )
    low, high = np.min(amplitudes), np.max(amplitudes)
    if 0.0 < high <= 1.000001 * low:  # of one deviant pixel: axes with one number have no scale
        ax.set_ylim(low / 2.0, 2.0 * high)
    else:
        ax.margins(y=0.1)
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("spatial frequency / Nyquist")
    ax.set_ylabel("amplitude")
    ax.spines[["top", "right"]].set_visible(False)
    set_title(ax, f"{name}: spectrum over rings")


def _room(low: float, high: float) -> float:
    """What is left free beside the numbers, also if these are the same but for rounding."""
    return max(0.25 * (high - low), 1e-9 * max(abs(low), abs(high))) or 0.5


def _histogram_panel(ax: Axes, values: NDArray[np.float64], name: str, limits: tuple[float, float]) -> None:
    """Histogram of a statistic of the frames; those outside the limits stand at the edge, in orange."""
    values = values[np.isfinite(values)]
    low, high = limits
    inside = (values >= low) & (values <= high)
    if inside.any():
        low = max(low, float(values[inside].min()))
        high = min(high, float(values[inside].max()))
        room = _room(low, high)
        view = (low - room, high + room)
        bins = np.linspace(*view, 61).tolist()
        ax.hist(values[inside], bins=bins, color=BLUE)
        if not inside.all():
            ax.hist(
                np.clip(values[~inside], *view), bins=bins, color=ORANGE, label=f"{(~inside).sum()} rejected"
            )
            legend(ax, fontsize=7)
        for limit in limits:
            if view[0] < limit < view[1]:
                ax.axvline(limit, color=ORANGE, lw=1.0, ls="--")
        ax.set_xlim(*view)
    ax.set_xlabel(f"{name} of a frame")
    ax.set_ylabel("frames")
    ax.spines[["top", "right"]].set_visible(False)
    set_title(ax, f"histogram: {name}s")


def _course_panel(
    ax: Axes,
    values: NDArray[np.float64],
    name: str,
    limits: tuple[float, float],
    rejected: NDArray[np.bool_],
) -> None:
    """A statistic of the frames in their order; those beyond the view stand at the edge."""
    finite = np.isfinite(values)
    shown = finite & ~rejected
    if shown.any():
        low, high = float(values[shown].min()), float(values[shown].max())
        room = _room(low, high)
        view = (low - room, high + room)
        order = np.arange(values.size)
        ax.plot(order[shown], values[shown], ".", ms=3, color=BLUE, rasterized=True)
        out = finite & rejected
        if out.any():
            ax.plot(
                order[out],
                np.clip(values[out], *view),
                "x",
                ms=5,
                color=ORANGE,
                clip_on=False,
                label=f"{int(out.sum())} rejected",
            )
            legend(ax, loc="upper right")
        for limit in limits:
            if view[0] < limit < view[1]:
                ax.axhline(limit, color=ORANGE, lw=1.0, ls="--")
        ax.set_ylim(*view)
        ax.set_xlim(-0.5, values.size - 0.5)
    ax.set_xlabel("frame, in the order of the files")
    ax.set_ylabel(name)
    ax.spines[["top", "right"]].set_visible(False)
    set_title(ax, f"{name} of the frames in their order")


def _pattern_panels(panels: Sequence[Axes], pattern: FixedPattern) -> None:
    """Half-maps, spectra of pattern and noise, and the derating of the DQE, over the frequency."""
    ax = panels[0]
    images = (("mean image", pattern.mean_correlation, "-"), ("sigma image", pattern.sigma_correlation, ":"))
    for name, curves, style in images:
        for curve, colour in zip(curves, plane_colours(len(curves)), strict=True):
            ax.plot(curve.nyquist, curve.correlation, style, color=colour, lw=0.9, label=name)
            name = "_"  # once in the legend
    ax.set_ylim(-0.2, 1.05)
    ax.set_ylabel("FRC")
    set_title(ax, "half A against half B")

    ax = panels[1]
    shown = pattern.nyquist > 0
    for name, power, colour in (
        ("fixed pattern", pattern.pattern_power, ORANGE),
        ("noise and scene of a frame", pattern.noise_power, BLUE),
    ):
        seen = shown & (power > 0)
        ax.semilogy(pattern.nyquist[seen], power[seen], color=colour, lw=0.9, label=name)
    ax.set_ylabel("power")
    set_title(ax, "spectra over rings")

    ax = panels[2]
    for exposure, colour in ((1, BLUE), (12, ORANGE)):
        frames = "single frames" if exposure == 1 else f"sums of {exposure}"
        cost = 100 * pattern.derating_curve(exposure)
        ax.plot(pattern.nyquist, cost, color=colour, lw=0.9, label=f"{frames}, raw")
        left = 100 * pattern.derating_corrected(exposure)
        ax.axhline(left, color=colour, lw=0.9, ls="--", label=f"{frames}, corrected: {left:.2g} %")
    ax.set_ylim(bottom=0.0)
    ax.set_ylabel("% of the DQE")
    set_title(ax, "what the fixed pattern costs")
    for ax in panels:
        ax.set_xlim(0.0, 1.0)
        ax.set_xlabel("spatial frequency / Nyquist")
        ax.spines[["top", "right"]].set_visible(False)
        legend(ax, fontsize=7)


def _convergence_panel(ax: Axes, convergence: Convergence) -> None:
    """Pattern that a correction leaves, over the number of frames, and what is asked for."""
    frames = convergence.curve_frames()
    ax.loglog(frames, 100 * convergence.predicted(frames), color=BLUE, lw=0.9, label="predicted")
    if math.isfinite(convergence.measured_residual):
        measured = (convergence.measured_at, 100 * convergence.measured_residual)
        ax.loglog(*measured, "o", color=BLUE, mfc="none", label="measured, one half by the other")
    if convergence.measured:
        numbers, residuals = np.transpose(convergence.measured)
        label = "measured, first frames by the others"
        ax.loglog(numbers, 100 * residuals, "s", color=BLUE, mfc="none", label=label)
    ax.loglog(convergence.frames, 100 * convergence.residual, "o", color=BLUE, label="this set")
    if convergence.pattern_seen:
        pattern = 100 * math.sqrt(convergence.fixed_pattern) / convergence.noise
        ax.axhline(pattern, color=ORANGE, lw=1.0, label="fixed pattern, uncorrected")
    ax.axhline(100 * convergence.residual_target, color="0.6", lw=0.8, ls="--")
    needed = convergence.needed_for_groups
    ax.axvline(needed, color="0.6", lw=0.8, ls=":", label=f"{needed} frames: groups of {convergence.group}")
    ax.set_xlabel("frames")
    ax.set_ylabel("% of the noise of a frame")
    ax.spines[["top", "right"]].set_visible(False)
    low, high = ax.get_ylim()
    ax.set_ylim(low / math.sqrt(high / low))  # room for the names below the curve
    legend(ax, loc="lower left", fontsize=7)
    set_title(ax, "pattern that a correction leaves")
