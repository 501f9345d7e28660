"""Figures: frames, mean and sigma images, correlation curves, laid out after the paper's.

matplotlib is imported when the first figure is made, and used through its objects only: no pyplot,
no window, no global state, so figures may be made in any thread and inside other programs.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from camnorm.diagnosis.convergence import Convergence
    from camnorm.diagnosis.fixedpattern import FixedPattern

__all__ = [
    "Curve",
    "correction_figure",
    "frc_figure",
    "frc_panel",
    "image_panel",
    "save",
    "sensor_figure",
]

# Resolution at which sizes in pixels below are meant.
_DPI = 100

# In every figure: by it a figure is known that may be replaced.
MARK = "camnorm"

# Grey levels of shown images: noise at 256 levels makes a file twice as large and looks the same.
_LEVELS = 40

_BLUE, _ORANGE, _YELLOW = "#1f4e8c", "#d35400", "#ffd000"

# Below this fraction of Nyquist a ring holds few pixels and fluctuates up to ±1: left out of limits.
_FIRST = 0.1

# Width of a peak's label, as a fraction of Nyquist.
_LABEL = 0.045

Limits: TypeAlias = "Literal['robust'] | tuple[float, float]"
Patch: TypeAlias = "tuple[slice, slice]"


class Curve(Protocol):
    """What is read of a ring correlation (`camnorm.frc` returns one)."""

    @property
    def nyquist(self) -> NDArray[np.float64]:
        """Frequency of each ring as a fraction of Nyquist, (rings,)."""
        ...

    @property
    def correlation(self) -> NDArray[np.float64]:
        """Correlation of each ring, (rings,); NaN where there is none."""
        ...

    def threshold(self, name: str) -> NDArray[np.float64]:
        """Return a threshold curve.

        Parameters
        ----------
        name : str
            Such as "3sigma".

        Returns
        -------
        float64 ndarray, shape (rings,)
        """
        ...


def image_panel(
    ax: Axes, image: NDArray[Any], title: str = "", *, limits: Limits = "robust", pixels: int = 1024
) -> AxesImage:
    """Show an image in grey, or in colour if it has three planes, as it is stored: row 0 on top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw; its coordinates are pixels of the image.
    image : ndarray
        (y, x) or (y, x, c), any real dtype; c = 3 is shown as red, green and blue, each within limits
        of its own, any other c as the mean over the planes.
    title : str, optional
        Above the panel.
    limits : "robust" or (low, high), default "robust"
        What is black and white; "robust" takes the 0.5 % and 99.5 % points of what is shown.
    pixels : int, default 1024
        Larger images are reduced to at most so many pixels a side, by the mean over square blocks.

    Returns
    -------
    matplotlib.image.AxesImage

    Raises
    ------
    ValueError
        An array that is no image.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"an image has shape (y, x) or (y, x, c), not {image.shape}")
    if image.ndim == 3 and image.shape[2] != 3:
        image = image.mean(2)
    factor = math.ceil(max(image.shape[:2]) / pixels)
    if factor > 1:
        factor += factor % 2  # an odd one would beat against the 2x2 pattern of a colour filter
        factor = min(factor, *image.shape[:2])
    shown = _blocks(image, factor).mean((1, 3), dtype=np.float64)
    height, width = (n * factor for n in shown.shape[:2])
    if shown.ndim == 3:
        planes = [_scaled(shown[..., plane], limits) for plane in range(3)]
        shown, low, high = np.stack(planes, axis=-1), 0.0, 1.0
    else:
        low, high = _range(shown, limits)
    artist = ax.imshow(
        shown,
        cmap=_grey(),
        vmin=low,
        vmax=high,
        origin="upper",
        interpolation="nearest" if factor == 1 else "antialiased",
        interpolation_stage="data",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    ax.set_xticks([])
    ax.set_yticks([])
    _set_title(ax, title)
    return artist


def _grey() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].resampled(_LEVELS)


def _set_title(ax: Axes, title: str) -> None:
    if title:
        ax.set_title(title, loc="left", fontsize=10, pad=5)


def _legend(ax: Axes, loc: Literal["best", "upper right", "lower left"] = "best", fontsize: int = 9) -> None:
    """Name the curves, readable where they run behind their names."""
    ax.legend(loc=loc, fontsize=fontsize, facecolor="white", edgecolor="none", framealpha=0.8)


def _blocks(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Split into factor x factor blocks, (y, factor, x, factor[, c]); a remainder is left out."""
    height, width = (n // factor for n in image.shape[:2])
    return image[: height * factor, : width * factor].reshape(height, factor, width, factor, *image.shape[2:])


def _range(image: NDArray[Any], limits: Limits) -> tuple[float, float]:
    if limits != "robust":
        return limits
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scaled(plane: NDArray[Any], limits: Limits) -> NDArray[np.float64]:
    low, high = _range(plane, limits)
    return np.clip((plane.astype(np.float64) - low) / (high - low), 0.0, 1.0)


def correction_figure(
    raw: NDArray[Any],
    mean: NDArray[Any],
    sigma: NDArray[Any],
    corrected: NDArray[Any],
    patch: Patch,
    *,
    arrows: Sequence[tuple[float, float]] = (),
) -> Figure:
    """One frame before and after its correction, and the mean and sigma image, after Figs. 1 and 3.

    Parameters
    ----------
    raw, corrected : ndarray
        One frame, (y, x) or (y, x, c).
    mean, sigma : ndarray
        Mean and sigma image of the same shape.
    patch : (slice, slice)
        Rows and columns of the detail, without steps.
    arrows : sequence of (row, column), optional
        Places in the frame to which arrows point wherever the detail is shown.

    Returns
    -------
    matplotlib.figure.Figure
        Six panels, every pixel of the detail shown as a square of screen pixels.

    Raises
    ------
    ValueError
        Images of different shapes, or a patch outside of them.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    for name, image in (("mean", mean), ("sigma", sigma), ("corrected", corrected)):
        if image.shape != raw.shape:
            raise ValueError(f"{name} has shape {image.shape}, the raw frame {raw.shape}")
    top, bottom, left, right = _bounds(patch, raw.shape)
    height, width = bottom - top, right - left

    # A whole number of screen pixels for each pixel of the detail, or its columns come out unequal
    # and beat against fine patterns such as a Bayer filter's.
    zoom = max(1, round(500 / width))
    cell = width * zoom
    full = round(cell * raw.shape[0] / raw.shape[1])
    rows = (max(full, height * zoom), height * zoom)
    margin, gap, head = 14, 16, 26
    total = (2 * margin + 3 * cell + 2 * gap, margin + sum(rows) + 2 * head + gap // 2)
    figure = Figure(figsize=(total[0] / _DPI, total[1] / _DPI), dpi=_DPI)

    def add(column: int, row: int, tall: int) -> Axes:
        x = margin + column * (cell + gap)
        y = margin + (0 if row else rows[1] + head + gap // 2)
        return figure.add_axes((x / total[0], y / total[1], cell / total[0], tall / total[1]))

    def detail(image: NDArray[Any], column: int, row: int, title: str) -> None:
        ax = add(column, row, height * zoom)
        image_panel(ax, image[top:bottom, left:right], title, pixels=max(height, width))
        for y, x in arrows:
            _arrow(ax, y - top, x - left, height, width)

    def whole(image: NDArray[Any], column: int, title: str) -> None:
        ax = add(column, 0, full)
        image_panel(ax, image, title, pixels=cell // 2)
        ax.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, ec=_YELLOW, lw=1.4))

    whole(raw, 0, "(a) raw frame")
    detail(raw, 0, 1, "(b) raw, detail")
    detail(mean, 1, 0, "(c) mean image, detail")
    detail(sigma, 1, 1, "(d) sigma image, detail")
    whole(corrected, 2, "(e) corrected frame")
    detail(corrected, 2, 1, "(f) corrected, detail")
    return figure


def _bounds(patch: Patch, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    bounds: list[int] = []
    for part, n in zip(patch, shape, strict=False):
        start, stop, step = part.indices(n)
        if step != 1 or stop <= start or (part.stop is not None and part.stop > n):
            raise ValueError(f"the patch {patch} does not lie in a frame of shape {shape}")
        bounds += [start, stop]
    return bounds[0], bounds[1], bounds[2], bounds[3]


def _arrow(ax: Axes, y: float, x: float, height: int, width: int) -> None:
    """An arrow to (y, x) that comes from the middle of the panel, so that its tail stays inside."""
    dy, dx = (height - 1) / 2 - y, (width - 1) / 2 - x
    norm = math.hypot(dy, dx) or 1.0
    length = 0.12 * min(height, width)
    head, tail = 0.02 * min(height, width), 0.02 * min(height, width) + length
    ax.annotate(
        "",
        xy=(x + dx / norm * head, y + dy / norm * head),
        xytext=(x + dx / norm * tail, y + dy / norm * tail),
        arrowprops={"arrowstyle": "-|>", "color": _YELLOW, "lw": 2.0, "shrinkA": 0, "shrinkB": 0},
    )


def frc_panel(
    ax: Axes, curves: Curve | Sequence[Curve], title: str = "", *, peaks: Sequence[float] = ()
) -> None:
    """Draw Fourier ring correlations and the paper's ±3σ curves over the fraction of Nyquist.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    curves : curve or sequence of curves
        One, or one for each plane of a colour image.
    title : str, optional
        Above the panel.
    peaks : sequence of float, optional
        Fractions of Nyquist to be marked.

    Notes
    -----
    The limits of the vertical axis follow the curves and ±3σ above 0.1 of Nyquist: below, rings hold
    few pixels and their correlation fluctuates.
    """
    planes = list(curves) if isinstance(curves, Sequence) else [curves]
    low, high = 0.0, 0.0
    for curve, colour in zip(planes, _plane_colours(len(planes)), strict=True):
        frequency, correlation = np.asarray(curve.nyquist), np.asarray(curve.correlation)
        band = curve.threshold("3sigma")
        ax.plot(frequency, correlation, color=colour, lw=0.9)
        used = frequency >= _FIRST
        low = min(low, _extreme(np.fmin, correlation[used], -band[used]))
        high = max(high, _extreme(np.fmax, correlation[used], band[used]))
    curve = planes[0]
    frequency, band = np.asarray(curve.nyquist), curve.threshold("3sigma")
    for sign, label in ((1, "±3σ"), (-1, None)):
        ax.plot(frequency, sign * band, color=_ORANGE, lw=1.0, ls="--", label=label)
    ax.axhline(0.0, color="0.6", lw=0.6, zorder=0)
    for peak in peaks:
        ax.axvline(peak, color="0.8", lw=0.8, ls=":", zorder=0)
    ax.set_xlim(0.0, max(1.0, float(frequency[-1])))
    room = 0.08 * (high - low) or 1.0
    ax.set_ylim(max(low - room, -1.05), min(high + room, 1.05))
    ax.set_xlabel("spatial frequency / Nyquist")
    ax.set_ylabel("FRC")
    ax.spines[["top", "right"]].set_visible(False)
    _legend(ax, loc="upper right")
    _set_title(ax, title)


def _plane_colours(planes: int) -> list[str]:
    if planes == 3:
        return ["#c0392b", "#2e8b57", _BLUE]
    return [_BLUE] if planes == 1 else [f"C{plane}" for plane in range(planes)]


def _extreme(pick: np.ufunc, *values: NDArray[np.float64]) -> float:
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    return float(pick.reduce(finite)) if finite.size else 0.0


def frc_figure(
    panels: Mapping[str, Curve | Sequence[Curve]],
    *,
    images: Mapping[str, NDArray[Any]] | None = None,
    peaks: Sequence[float] = (),
) -> Figure:
    """Fourier ring correlations side by side, after Figs. 2 and 4.

    Parameters
    ----------
    panels : mapping of str to curve or sequence of curves
        Title and curves of each panel, see `frc_panel`.
    images : mapping of str to ndarray, optional
        Title and pixels of images shown before the curves, such as the two frames compared.
    peaks : sequence of float, optional
        Fractions of Nyquist to be marked in every panel.

    Returns
    -------
    matplotlib.figure.Figure
        Panels in two columns, or in one row of up to three, lettered in order.

    Raises
    ------
    ValueError
        No panel.
    """
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("no curve to draw")
    images = images or {}
    count = len(images) + len(panels)
    columns = count if count <= 3 else 2
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(min(8.0 * columns, 16.0), 4.6 * rows), dpi=_DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for (title, image), ax in zip(images.items(), axes, strict=False):
        image_panel(ax, image, f"({next(letters)}) {title}", pixels=400)
        ax.set_anchor("W")
    for (title, curves), ax in zip(panels.items(), axes[len(images) :], strict=False):
        frc_panel(ax, curves, f"({next(letters)}) {title}", peaks=peaks)
    for ax in axes[count:]:
        ax.remove()
    return figure


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
    A ring's amplitude is the root of the mean of |F|² / (number of pixels) over the ring, so that white
    noise has the amplitude of its standard deviation at every frequency. Peaks are rings that exceed the
    median of their surroundings by eight times the scatter of the curve; they bear their frequency as a
    fraction of Nyquist.
    """
    from matplotlib.figure import Figure

    if mean.shape != sigma.shape:
        raise ValueError(f"sigma has shape {sigma.shape}, the mean image {mean.shape}")
    heights = [1.0, 1.0, 0.6, *([] if rejected is None else [0.5]), *([] if pattern is None else [0.6])]
    figure = Figure(figsize=(16.0, 4.9 * sum(heights) + 0.5), dpi=_DPI, layout="constrained")
    grid = figure.add_gridspec(len(heights), 3, height_ratios=heights)
    for row, (name, image) in enumerate((("mean image", mean), ("sigma image", sigma))):
        panels = [figure.add_subplot(grid[row, column]) for column in range(3)]
        _spectrum_panels(panels, image, name)
    statistics = [
        (name, values, (limits or {}).get(key, (-np.inf, np.inf)))
        for key, name, values in (("mean", "mean", frame_means), ("std", "standard deviation", frame_stds))
    ]
    histograms = grid[2, :].subgridspec(1, 2 if convergence is None else 3)
    if convergence is not None:
        _convergence_panel(figure.add_subplot(histograms[0, 2]), convergence)
    if rejected is not None:
        courses = grid[3, :].subgridspec(1, 2)
        for column, (name, values, accepted) in enumerate(statistics):
            _course_panel(figure.add_subplot(courses[0, column]), values, name, accepted, rejected)
    for column, (name, values, accepted) in enumerate(statistics):
        _histogram_panel(figure.add_subplot(histograms[0, column]), values, name, accepted)
    if pattern is not None:
        _pattern_panels([figure.add_subplot(grid[-1, column]) for column in range(3)], pattern)
    return figure


def _spectrum_panels(panels: Sequence[Axes], image: NDArray[np.float64], name: str) -> None:
    """An image, its amplitude spectrum, and the root mean square of that over rings."""
    from camnorm.fourier.spectrum import amplitude_spectrum, ring_average

    if min(image.shape[:2]) < 2:  # no rings
        image_panel(panels[0], image, name, pixels=500)
        for panel in panels[1:]:
            panel.set_axis_off()
        return
    planes = [image] if image.ndim == 2 else [image[..., plane] for plane in range(image.shape[2])]
    spectra = [amplitude_spectrum(plane) / math.sqrt(plane.size) for plane in planes]
    image_panel(panels[0], image, name, pixels=500)

    # The highest of each block: its mean would hide the sharp peaks that are looked for.
    shown = np.mean(spectra, axis=0)
    factor = min(math.ceil(max(shown.shape) / 256), *shown.shape)
    highest = _blocks(shown, factor).max((1, 3))
    logarithm = np.log(np.maximum(highest, max(1e-6 * highest.max(), 1e-300)))
    image_panel(panels[1], logarithm, f"{name}: spectrum, logarithmic")

    ax = panels[2]
    named: list[float] = []  # in one plane is enough, and labels must not overlap
    amplitudes = [np.sqrt(ring_average(spectrum**2))[1:] for spectrum in spectra]
    for amplitude, spectrum, colour in zip(amplitudes, spectra, _plane_colours(len(spectra)), strict=True):
        nyquist = np.arange(1, amplitude.size + 1) / (min(spectrum.shape) / 2)
        ax.plot(nyquist, amplitude, color=colour, lw=0.9)
        if amplitude.any():
            ax.set_yscale("log")
        for peak in _peaks(amplitude, nyquist):
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
                color=_ORANGE,
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
    _set_title(ax, f"{name}: spectrum over rings")


def _peaks(amplitude: NDArray[np.float64], nyquist: NDArray[np.float64]) -> list[int]:
    """Indices of the eight rings, at most, that stand out most of their surroundings."""
    reach = 10
    if amplitude.size <= 2 * reach or not (amplitude > 0).all():
        return []
    curve = np.log(amplitude)
    padded = np.pad(curve, reach, mode="reflect")
    excess = curve - np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)
    scatter = 1.4826 * float(np.median(np.abs(excess)))
    padded = np.pad(excess, 1, constant_values=-np.inf)
    top = (excess >= padded[:-2]) & (excess > padded[2:]) & (excess > 8 * scatter) & (nyquist >= _FIRST)
    found = np.flatnonzero(top)
    return [int(i) for i in found[np.argsort(excess[found])[::-1][:8]]]


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
        ax.hist(values[inside], bins=bins, color=_BLUE)
        if not inside.all():
            ax.hist(
                np.clip(values[~inside], *view), bins=bins, color=_ORANGE, label=f"{(~inside).sum()} rejected"
            )
            _legend(ax)
        for limit in limits:
            if view[0] < limit < view[1]:
                ax.axvline(limit, color=_ORANGE, lw=1.0, ls="--")
        ax.set_xlim(*view)
    ax.set_xlabel(f"{name} of a frame")
    ax.set_ylabel("frames")
    ax.spines[["top", "right"]].set_visible(False)
    _set_title(ax, f"histogram of the frames' {name}s")


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
        ax.plot(order[shown], values[shown], ".", ms=3, color=_BLUE, rasterized=True)
        out = finite & rejected
        if out.any():
            ax.plot(
                order[out],
                np.clip(values[out], *view),
                "x",
                ms=5,
                color=_ORANGE,
                clip_on=False,
                label=f"{int(out.sum())} rejected",
            )
            _legend(ax, loc="upper right")
        for limit in limits:
            if view[0] < limit < view[1]:
                ax.axhline(limit, color=_ORANGE, lw=1.0, ls="--")
        ax.set_ylim(*view)
        ax.set_xlim(-0.5, values.size - 0.5)
    ax.set_xlabel("frame, in the order of the files")
    ax.set_ylabel(name)
    ax.spines[["top", "right"]].set_visible(False)
    _set_title(ax, f"{name} of the frames in their order")


def _pattern_panels(panels: Sequence[Axes], pattern: FixedPattern) -> None:
    """Half-maps, spectra of pattern and noise, and the derating of the DQE, over the frequency."""
    ax = panels[0]
    images = (("mean image", pattern.mean_correlation, "-"), ("sigma image", pattern.sigma_correlation, ":"))
    for name, curves, style in images:
        for curve, colour in zip(curves, _plane_colours(len(curves)), strict=True):
            ax.plot(curve.nyquist, curve.correlation, style, color=colour, lw=0.9, label=name)
            name = "_"  # once in the legend
    ax.set_ylim(-0.2, 1.05)
    ax.set_ylabel("FRC")
    _set_title(ax, "half A against half B")

    ax = panels[1]
    shown = pattern.nyquist > 0
    for name, power, colour in (
        ("fixed pattern", pattern.pattern_power, _ORANGE),
        ("noise and scene of a frame", pattern.noise_power, _BLUE),
    ):
        seen = shown & (power > 0)
        ax.semilogy(pattern.nyquist[seen], power[seen], color=colour, lw=0.9, label=name)
    ax.set_ylabel("power")
    _set_title(ax, "spectra over rings")

    ax = panels[2]
    for exposure, colour in ((1, _BLUE), (12, _ORANGE)):
        frames = "single frames" if exposure == 1 else f"sums of {exposure}"
        cost = 100 * pattern.derating_curve(exposure)
        ax.plot(pattern.nyquist, cost, color=colour, lw=0.9, label=f"{frames}, raw")
        left = 100 * pattern.derating_corrected(exposure)
        ax.axhline(left, color=colour, lw=0.9, ls="--", label=f"{frames}, corrected: {left:.2g} %")
    ax.set_ylim(bottom=0.0)
    ax.set_ylabel("% of the DQE")
    _set_title(ax, "what the fixed pattern costs")
    for ax in panels:
        ax.set_xlim(0.0, 1.0)
        ax.set_xlabel("spatial frequency / Nyquist")
        ax.spines[["top", "right"]].set_visible(False)
        _legend(ax)


def _convergence_panel(ax: Axes, convergence: Convergence) -> None:
    """Pattern that a correction leaves, over the number of frames, and what is asked for."""
    frames = convergence.curve_frames()
    ax.loglog(frames, 100 * convergence.predicted(frames), color=_BLUE, lw=0.9, label="predicted")
    if math.isfinite(convergence.measured_residual):
        measured = (convergence.measured_at, 100 * convergence.measured_residual)
        ax.loglog(*measured, "o", color=_BLUE, mfc="none", label="measured, one half by the other")
    if convergence.measured:
        numbers, residuals = np.transpose(convergence.measured)
        label = "measured, first frames by the others"
        ax.loglog(numbers, 100 * residuals, "s", color=_BLUE, mfc="none", label=label)
    ax.loglog(convergence.frames, 100 * convergence.residual, "o", color=_BLUE, label="this set")
    if convergence.pattern_seen:
        pattern = 100 * math.sqrt(convergence.fixed_pattern) / convergence.noise
        ax.axhline(pattern, color=_ORANGE, lw=1.0, label="fixed pattern, uncorrected")
    ax.axhline(100 * convergence.residual_target, color="0.6", lw=0.8, ls="--")
    needed = convergence.needed_for_groups
    ax.axvline(needed, color="0.6", lw=0.8, ls=":", label=f"{needed} frames: groups of {convergence.group}")
    ax.set_xlabel("frames")
    ax.set_ylabel("% of the noise of a frame")
    ax.spines[["top", "right"]].set_visible(False)
    low, high = ax.get_ylim()
    ax.set_ylim(low / math.sqrt(high / low))  # room for the names below the curve
    _legend(ax, loc="lower left", fontsize=8)
    _set_title(ax, "pattern that a correction leaves")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : str or os.PathLike
        Its suffix says the format: .png, .pdf or .svg. An existing file is replaced.

    Raises
    ------
    ValueError
        Another suffix.
    OSError
        The file cannot be written.
    """
    from camnorm.io.base.atomic import atomic_target

    kind = os.path.splitext(path)[1].lower()
    if kind not in (".png", ".pdf", ".svg"):
        raise ValueError(f"figures are written as .png, .pdf or .svg, not {os.fspath(path)!r}")
    with atomic_target(path, overwrite=True) as target:
        if kind == ".png":
            _save_png(figure, target)
        else:
            figure.savefig(target, format=kind[1:], metadata={"Creator": MARK})


def _save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG with a palette where one holds the figure's colours: half the size."""
    from PIL import Image, PngImagePlugin  # comes with matplotlib, which writes PNG by it

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi, pil_kwargs={"compress_level": 1})
    image = Image.open(drawn).convert("RGB")
    # Grey images and antialiased lines; a colour photograph has more and stays as it is.
    if image.getcolors(4096) is not None:
        image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", MARK)
    image.save(path, format="PNG", dpi=(figure.dpi, figure.dpi), optimize=True, pnginfo=text)
