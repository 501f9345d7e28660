"""The bad pixels on the page: how many of each class, what that means, and where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from camnorm.report.page.numbers import Quantity
from camnorm.report.page.sections import Section, Table
from camnorm.report.page.viewer import Marks

if TYPE_CHECKING:
    from camnorm.sensor.pixelmap import PixelMap

__all__ = ["marks_of", "of_pixels", "pixels_section"]

# Bad pixels and lines that are listed.
_LISTED = 20

_MEANINGS = {
    "constant": "Pixels that never change: they carry no image. Conceal them.",
    "dead": "Dark pixels with hardly any noise: they do not see the light. Conceal them.",
    "hot": "Pixels brighter than their surroundings, often by leakage current. A correction subtracts it, "
    "unless it changes; cool the sensor if they become more.",
    "cold": "Pixels darker than their surroundings. A correction raises them, together with their noise.",
    "noisy": "Pixels that vary more than their surroundings: their value is less certain. Conceal them.",
    "low_sigma": "Pixels that vary less than their surroundings: the camera probably made them from others. "
    "Conceal them, or they correlate with their neighbours.",
    "interpolated": "Pixels that the camera made from several neighbours: they carry no signal of their own. "
    "Conceal them.",
    "copied": "Pixels that the camera copied from one neighbour: they count its signal twice. Conceal them.",
    "saturating": "Pixels that reach the largest value: they lose signal. Lower the exposure.",
    "user": "Pixels that a mask marks as bad.",
}


def of_pixels(pixels: PixelMap) -> Iterator[Quantity]:
    """Numbers of bad pixels, in all and by class."""
    share = 100 * pixels.flagged / max(pixels.flags.size, 1)
    yield Quantity(
        "bad_pixels",
        "Bad pixels in all",
        pixels.flagged,
        f"pixels ({share:.2g} % of the sensor)",
        "Sensors of 16 million pixels usually have hundreds to thousands. If they become more from month to "
        "month, the sensor ages.",
    )
    summary = pixels.summary
    yield Quantity(
        "bad_lines",
        "Bad rows and columns",
        summary["lines"]["full"] + summary["lines"]["partial"],
        "lines",
        "Rows and columns, or parts of them, with a defect in common, as of a readout amplifier. Conceal "
        "them before movies are aligned.",
    )
    for name, number in pixels.counts.items():
        yield Quantity(
            f"bad_{name}", f"{name.replace('_', ' ').capitalize()} pixels", number, "pixels", _MEANINGS[name]
        )


def marks_of(pixels: PixelMap) -> list[Marks]:
    """The bad pixels of each class that there is."""
    table = pixels.table()
    found = ((name, table["class"] == name) for name, number in pixels.counts.items() if number)
    return [
        Marks(name, table["y"][chosen].astype(np.int64), table["x"][chosen].astype(np.int64))
        for name, chosen in found
    ]


def pixels_section(pixels: PixelMap | None, reason: str) -> Section:
    """The section of bad pixels.

    Parameters
    ----------
    pixels : PixelMap or None
        The bad pixels; None if they cannot be found.
    reason : str
        Why not.
    """
    title = "Bad pixels"
    if pixels is None:
        return Section("pixels", title, f"Not determined: {reason}.")
    shown = [
        quantity
        for quantity in of_pixels(pixels)
        if quantity.value or quantity.key in ("bad_pixels", "bad_lines")
    ]
    missing = [name.replace("_", " ") for name, number in pixels.counts.items() if not number]
    return Section(
        "pixels",
        title,
        "Pixels whose value does not follow the light, by what is wrong with them. They are marked in the "
        "images above."
        if pixels.flagged
        else "No bad pixels were found.",
        shown,
        tables=[*_lines(pixels), *_pixels(pixels)],
        note=f"None found: {', '.join(missing)}. Interpolated and copied pixels are found only if the set "
        "was measured with sums over neighbours (neighbours=True)."
        if missing
        else "",
    )


def _lines(pixels: PixelMap) -> Iterator[Table]:
    if not pixels.lines:
        return
    lines = pixels.lines[:_LISTED]
    yield Table(
        f"Bad rows and columns{_first(len(lines), len(pixels.lines))}",
        ("Line", "From x, y", "Length", "Class"),
        [
            (
                f"{'' if line.full else 'part of a '}{line.direction}",
                f"{line.x}, {line.y}",
                f"{max(line.width, line.height)} pixels",
                line.pixel_class.replace("_", " "),
            )
            for line in lines
        ],
        [(line.x + line.width // 2, line.y + line.height // 2) for line in lines],
    )


def _pixels(pixels: PixelMap) -> Iterator[Table]:
    """The first pixels that are not those of a line."""
    table = pixels.table()
    if not table.size:
        return
    in_line = np.zeros(pixels.shape, np.bool_)
    for line in pixels.lines:
        in_line[line.y : line.y + line.height, line.x : line.x + line.width] = True
    alone = np.flatnonzero(~in_line[table["y"], table["x"]])
    if not alone.size:
        return
    reasons = pixels.reasons()
    chosen = alone[np.argsort(-np.abs(np.nan_to_num(table["value"][alone], posinf=1e30, neginf=-1e30)))]
    chosen = chosen[:_LISTED]
    yield Table(
        f"List of bad pixels{_first(len(chosen), len(alone), 'most deviant')}",
        ("x, y", "Class", "Reason"),
        [
            (f"{table['x'][i]}, {table['y'][i]}", str(table["class"][i]).replace("_", " "), reasons[i])
            for i in chosen
        ],
        [(int(table["x"][i]), int(table["y"][i])) for i in chosen],
    )


def _first(shown: int, number: int, which: str = "first") -> str:
    return f" ({which} {shown} of {number:,}; camnorm health lists all)" if shown < number else ""
