"""What all figures have in common: resolution, colours, titles and legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Resolution at which sizes in pixels are meant.
DPI = 100

BLUE, ORANGE, YELLOW = "#1f4e8c", "#d35400", "#ffd000"

# Below this fraction of Nyquist a ring holds few pixels and fluctuates up to ±1: left out of limits.
FIRST_SHOWN = 0.1


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
