"""Fourier ring correlations over the frequency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from camnorm.report.plot.images import image_panel
from camnorm.report.plot.style import FIRST_SHOWN, ORANGE, blank_figure, legend, plane_colours, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


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
    for curve, colour in zip(planes, plane_colours(len(planes)), strict=True):
        frequency, correlation = np.asarray(curve.nyquist), np.asarray(curve.correlation)
        band = curve.threshold("3sigma")
        ax.plot(frequency, correlation, color=colour, lw=0.9)
        used = frequency >= FIRST_SHOWN
        low = min(low, _extreme(np.fmin, correlation[used], -band[used]))
        high = max(high, _extreme(np.fmax, correlation[used], band[used]))
    curve = planes[0]
    frequency, band = np.asarray(curve.nyquist), curve.threshold("3sigma")
    for sign, label in ((1, "±3σ"), (-1, None)):
        ax.plot(frequency, sign * band, color=ORANGE, lw=1.0, ls="--", label=label)
    ax.axhline(0.0, color="0.6", lw=0.6, zorder=0)
    for peak in peaks:
        ax.axvline(peak, color="0.8", lw=0.8, ls=":", zorder=0)
    ax.set_xlim(0.0, max(1.0, float(frequency[-1])))
    room = 0.08 * (high - low) or 1.0
    ax.set_ylim(max(low - room, -1.05), min(high + room, 1.05))
    ax.set_xlabel("spatial frequency / Nyquist")
    ax.set_ylabel("FRC")
    ax.spines[["top", "right"]].set_visible(False)
    legend(ax, loc="upper right")
    set_title(ax, title)


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
    if not panels:
        raise ValueError("no curve to draw")
    images = images or {}
    count = len(images) + len(panels)
    columns = count if count <= 3 else 2
    rows = math.ceil(count / columns)
    figure = blank_figure(min(8.0 * columns, 16.0), 4.6 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for (title, image), ax in zip(images.items(), axes, strict=False):
        image_panel(ax, image, f"({next(letters)}) {title}", pixels=400, unit="counts")
        ax.set_anchor("W")
    for (title, curves), ax in zip(panels.items(), axes[len(images) :], strict=False):
        frc_panel(ax, curves, f"({next(letters)}) {title}", peaks=peaks)
    for ax in axes[count:]:
        ax.remove()
    return figure
