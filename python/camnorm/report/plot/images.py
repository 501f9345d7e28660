"""Images: a frame, mean or sigma image in a panel; a frame before and after its correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from camnorm import _core
from camnorm.report.plot.style import DPI, YELLOW, blank_figure, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

# Grey levels of shown images: noise at 256 levels makes a file twice as large and looks the same.
_LEVELS = 40

_SMALL = 7  # points, of the numbers at the sides of an image

Limits: TypeAlias = "Literal['robust'] | tuple[float, float]"
Patch: TypeAlias = "tuple[slice, slice]"


def image_panel(
    ax: Axes,
    image: NDArray[Any],
    title: str = "",
    *,
    limits: Limits = "robust",
    pixels: int = 1024,
    unit: str = "",
    corner: tuple[int, int] = (0, 0),
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
        Most pixels per side: larger images are reduced by the mean over square blocks.
    unit : str, optional
        Of the pixels. With it, a colour bar stands beside a grey image.
    corner : tuple of int, default (0, 0)
        Row and column of the first pixel, if the image is part of a larger one whose coordinates are shown.

    Returns
    -------
    matplotlib.image.AxesImage

    Raises
    ------
    ValueError
        An array that is no image.
    """
    image = np.asarray(_core.check_array(image, "image"))
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"an image has shape (y, x) or (y, x, c), not {image.shape}")
    if image.ndim == 3 and image.shape[2] != 3:
        image = image.mean(2)
    factor = math.ceil(max(image.shape[:2]) / pixels)
    if factor > 1:
        factor += factor % 2  # an odd one would beat against the 2x2 pattern of a colour filter
        factor = min(factor, *image.shape[:2])
    shown = pixel_blocks(image, factor).mean((1, 3), dtype=np.float64)
    height, width = (n * factor for n in shown.shape[:2])
    if shown.ndim == 3:
        planes = [scaled(shown[..., plane], limits) for plane in range(3)]
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
    _label_pixels(ax, corner)
    if unit and shown.ndim == 2:
        _add_colour_bar(ax, artist, unit)
    set_title(ax, title)
    return artist


def _label_pixels(ax: Axes, corner: tuple[int, int]) -> None:
    """Numbers of rows and columns along the sides."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis, first in ((ax.yaxis, corner[0]), (ax.xaxis, corner[1])):
        axis.set_major_locator(MaxNLocator(4, integer=True))
        axis.set_major_formatter(FuncFormatter(lambda place, _, first=first: f"{place + first:.0f}"))
    ax.tick_params(labelsize=_SMALL, length=2, pad=2)


def _add_colour_bar(ax: Axes, artist: AxesImage, unit: str) -> None:
    """A bar at the right-hand side of a panel, in whose layout it takes part."""
    bar = ax.inset_axes((1.02, 0.0, 0.025, 1.0))
    ax.figure.colorbar(artist, cax=bar)
    bar.tick_params(labelsize=_SMALL, length=2, pad=2)
    bar.set_title(unit, fontsize=_SMALL, pad=4)


def _grey() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].resampled(_LEVELS)


def pixel_blocks(image: NDArray[Any], factor: int) -> NDArray[Any]:
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


def scaled(plane: NDArray[Any], limits: Limits = "robust") -> NDArray[np.float64]:
    """Levels of a plane, 0 to 1 between the limits."""
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
    caption: str = "",
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
    caption : str, optional
        A line below the panels, such as what the arrows point at.

    Returns
    -------
    matplotlib.figure.Figure
        Six panels, every pixel of the detail shown as a square of screen pixels.

    Raises
    ------
    ValueError
        Images of different shapes, or a patch outside of them.
    """
    _core.check_array(raw, "raw")
    for name, image in (("mean", mean), ("sigma", sigma), ("corrected", corrected)):
        _core.check_array(image, name)
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
    left_margin, bottom_margin, gap, head = 32, 24, 78, 26
    foot = bottom_margin + (22 if caption else 0)
    total = (left_margin + 3 * (cell + gap) - gap // 3, foot + bottom_margin + sum(rows) + 2 * head)
    figure = blank_figure(total[0] / DPI, total[1] / DPI, None)

    from matplotlib.patches import Rectangle

    def add(column: int, row: int, tall: int) -> Axes:
        x = left_margin + column * (cell + gap)
        y = foot + (0 if row else rows[1] + head + bottom_margin)
        return figure.add_axes((x / total[0], y / total[1], cell / total[0], tall / total[1]))

    def detail(image: NDArray[Any], column: int, row: int, title: str) -> None:
        ax = add(column, row, height * zoom)
        part, size = image[top:bottom, left:right], max(height, width)
        image_panel(ax, part, title, pixels=size, unit="counts", corner=(top, left))
        for y, x in arrows:
            _arrow(ax, y - top, x - left, height, width)

    def whole(image: NDArray[Any], column: int, title: str) -> None:
        ax = add(column, 0, full)
        image_panel(ax, image, title, pixels=cell // 2, unit="counts")
        ax.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, ec=YELLOW, lw=1.4))

    whole(raw, 0, "(a) raw frame")
    detail(raw, 0, 1, "(b) raw, detail")
    detail(mean, 1, 0, "(c) mean image, detail")
    detail(sigma, 1, 1, "(d) sigma image, detail")
    whole(corrected, 2, "(e) corrected frame")
    detail(corrected, 2, 1, "(f) corrected, detail")
    if caption:
        figure.text(left_margin / total[0], 7 / total[1], caption, fontsize=10)
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
        arrowprops={"arrowstyle": "-|>", "color": YELLOW, "lw": 2.0, "shrinkA": 0, "shrinkB": 0},
    )
