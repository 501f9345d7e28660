"""The pattern of a sensor before and after a gain reference."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.report.plot.images import image_panel
from camnorm.report.plot.style import ORANGE, blank_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from camnorm.diagnosis.gaincheck import GainCheck

_DETAIL = 128  # pixels along the detail in the middle


def gain_figure(found: GainCheck) -> Figure:
    """Draw the pattern of a sensor before and after a gain, whole and in detail, and where that is stale.

    Parameters
    ----------
    found : GainCheck
        From `check_gain`.

    Returns
    -------
    matplotlib.figure.Figure
        Its title is the answer. The four images have the same greys; circles are spots where dust came or
        went.
    """
    figure = blank_figure(9.0, 9.6)
    figure.suptitle("\n".join(textwrap.wrap(found.sentence, 90)), fontsize=11)
    if found.before is None or found.remaining is None:
        return figure
    limit = 100 * max(4 * float(np.std(found.before)), 1e-6)
    axes = figure.subplots(2, 2)
    height, width = found.before.shape
    top, left = ((length - min(length, _DETAIL)) // 2 for length in (height, width))
    after = "with the gain set right" if found.fits and not found.best else "with the gain"

    def show(row: int, image: NDArray[Any], title: str) -> None:
        percent = 100 * image
        image_panel(axes[row, 0], percent, f"{title} (%)", limits=(-limit, limit), unit="%")
        part = percent[top : top + _DETAIL, left : left + _DETAIL]
        image_panel(
            axes[row, 1], part, f"{title}, detail", limits=(-limit, limit), unit="%", corner=(top, left)
        )

    show(0, found.before, "pattern of the sensor")
    show(1, found.remaining, f"pattern {after}")
    from matplotlib.patches import Circle

    for spot in found.stale:
        radius = max(spot.size, max(height, width) / 60)
        axes[1, 0].add_patch(Circle((spot.x, spot.y), radius, fill=False, ec=ORANGE, lw=1.4))
    return figure
