"""Two epochs of a sensor: the mean images and their difference, after the paper's Suppl. Fig. S7."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from camnorm.report.plot.images import image_panel, pixel_blocks
from camnorm.report.plot.style import BLUE, ORANGE, blank_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

    from camnorm.diagnosis.epochs.changes import Changes, Place

# Colour and line of each class: the lines tell them apart without colours.
_STYLES = {
    "came": (ORANGE, "-"),
    "went": (BLUE, "--"),
    "moved": ("#8e2c8e", "-."),
    "stayed": ("#2e7d32", ":"),
}

# Most single pixels that are drawn, pixels of a panel, and colours of the difference.
_MOST, _PIXELS, _LEVELS = 5000, 700, 21

# Radius of the smallest circle, as a share of the frame.
_LEAST = 0.018


def changes_figure(changes: Changes) -> Figure:
    """Draw the old and the new mean image and their difference, after Suppl. Fig. S7.

    Parameters
    ----------
    changes : Changes
        What `camnorm.compare` gave.

    Returns
    -------
    matplotlib.figure.Figure
        Blobs are circled by what became of them; single pixels that changed are dots in the difference.
    """
    height, width = changes.shape[:2]
    tall = width > 2.2 * height
    panel = 4.9
    size = (
        (11.0, 3 * 11.0 * height / width + 1.6) if tall else (3 * panel + 0.5, panel * height / width + 1.0)
    )
    figure = blank_figure(*size)
    changes_panels(figure, changes)
    return figure


def changes_panels(figure: Figure | SubFigure, changes: Changes) -> None:
    """Draw the panels of `changes_figure`.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        Where to draw.
    changes : Changes
        What `camnorm.compare` gave.
    """
    from matplotlib import colormaps

    height, width = changes.shape[:2]
    rows, columns = (3, 1) if width > 2.2 * height else (1, 3)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    old, new = changes.images
    difference = changes.difference if changes.difference.ndim == 2 else changes.difference.mean(axis=2)
    limits = _limits([old, new])
    size = max(map(abs, _limits([difference])))
    titles = (
        f"old mean image ({changes.frames[0]:,} frames)",
        f"new mean image ({changes.frames[1]:,} frames)",
        f"difference, {changes.changed_pixels:,} pixels changed",
    )
    for ax, image, title in zip(axes[:2], (old, new), titles[:2], strict=True):
        image_panel(ax, image, title, limits=limits, pixels=_PIXELS, unit="counts")
    artist = image_panel(axes[2], difference, titles[2], limits=(-size, size), pixels=_PIXELS, unit="counts")
    artist.set_cmap(colormaps["RdBu_r"].resampled(_LEVELS))
    for ax in axes:
        ax.set_xlabel("x / pixels", fontsize=8)
    axes[0].set_ylabel("y / pixels", fontsize=8)
    _mark(axes[0], changes, ("went", "stayed"))
    _mark(axes[1], changes, ("came", "stayed"))
    _mark(axes[2], changes, ("came", "went", "stayed"))
    _mark_moved(axes, changes)
    _mark_pixels(axes[2], changes)
    _name_classes(figure, changes)


def _limits(images: list[NDArray[np.float32]]) -> tuple[float, float]:
    """What is black and white, of the images as they are shown."""
    factor = min(math.ceil(max(images[0].shape) / _PIXELS), *images[0].shape)
    shown = np.stack([pixel_blocks(image, factor).mean((1, 3)) for image in images])
    low, high = (float(value) for value in np.percentile(shown, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _mark(ax: Axes, changes: Changes, names: tuple[str, ...]) -> None:
    """Circle the blobs of some classes."""
    for name in names:
        for place in getattr(changes, name):
            _circle(ax, place, name, changes.shape)


def _circle(ax: Axes, place: Place, name: str, shape: tuple[int, ...]) -> None:
    from matplotlib.patches import Circle

    colour, line = _STYLES[name]
    radius = max(1.6 * math.sqrt(place.size / math.pi) + 1, _LEAST * min(shape[:2]))
    ax.add_patch(Circle((place.x, place.y), radius, fill=False, ec=colour, ls=line, lw=2.2))


def _mark_moved(axes: np.ndarray, changes: Changes) -> None:
    """Circle blobs that moved where they were and are; an arrow leads from one to the other."""
    colour, _ = _STYLES["moved"]
    for motion in changes.moved:
        for ax, place in zip(axes, (motion.origin, motion.target, motion.target), strict=True):
            _circle(ax, place, "moved", changes.shape)
        axes[2].annotate(
            "",
            xy=(motion.target.x, motion.target.y),
            xytext=(motion.origin.x, motion.origin.y),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
        )


def _mark_pixels(ax: Axes, changes: Changes) -> None:
    """Dots at changed pixels that no blob covers."""
    changed = changes.changed if changes.changed.ndim == 2 else changes.changed.any(axis=2)
    y, x = np.nonzero(changed)
    left = np.ones(y.size, bool)
    places = [*changes.came, *changes.went, *(place for motion in changes.moved for place in motion)]
    for place in places:
        left &= np.hypot(y - place.y, x - place.x) > 1.6 * math.sqrt(place.size / math.pi) + 1
    if 0 < np.count_nonzero(left) <= _MOST:
        ax.plot(x[left], y[left], ".", ms=3, color="black", label=f"single pixels: {left.sum():,}")


def _name_classes(figure: Figure | SubFigure, changes: Changes) -> None:
    """Legend of the circles, with the number of blobs of each class."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], color=colour, ls=line, lw=2.2, label=f"{name}: {len(getattr(changes, name))}")
        for name, (colour, line) in _STYLES.items()
    ]
    handles += figure.axes[2].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
