"""What all figures have in common: resolution, colours, titles and legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from camnorm.errors import Error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Resolution at which sizes in pixels are meant.
DPI = 100

BLUE, ORANGE, YELLOW = "#1f4e8c", "#d35400", "#ffd000"

# Below this fraction of Nyquist a ring holds few pixels and fluctuates up to ±1: left out of limits.
FIRST_SHOWN = 0.1


_MISSING = "figures need the package matplotlib, which is not installed: pip install matplotlib"


def blank_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """Make a figure of this size in inches that belongs to no window and no notebook."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise Error(_MISSING) from None
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def pyplot_figure(size: tuple[float, float] | None = None) -> Figure:
    """Make a figure of pyplot, which a notebook shows; width and height are in inches."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise Error(_MISSING) from None
    return plt.figure(figsize=size, layout=None if size is None else "constrained")


def set_title(ax: Axes, title: str) -> None:
    if title:
        ax.set_title(title, loc="left", fontsize=10, pad=5)


def legend(ax: Axes, loc: Literal["best", "upper right", "lower left"] = "best", fontsize: int = 9) -> None:
    """Name the curves, readable where they run behind their names."""
    ax.legend(loc=loc, fontsize=fontsize, facecolor="white", edgecolor="none", framealpha=0.8)


def plane_colours(planes: int) -> list[str]:
    if planes == 3:
        return ["#c0392b", "#2e8b57", BLUE]
    return [BLUE] if planes == 1 else [f"C{plane}" for plane in range(planes)]
