"""What the viewer of the page shows: tiles of the images, and the pixels that are marked."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.report.page.numbers import COUNTS
from camnorm.report.page.tiles import CELL, GROWTH, LINEAR, NOTHING, TILE, ZERO, TiledImage, tiled
from camnorm.report.plot.images import pixel_blocks, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.sensor.sensor import Sensor

__all__ = ["Marks", "Picture", "Viewer", "picture_of", "plane_names", "planes_of", "viewer_of"]

# Bytes of the tiles of a sensor of 4096 x 4096 pixels, mean and sigma image; larger sensors have fewer bits a
# pixel.
_BYTES = 7_900_000
_PIXELS = 2**24
_GROWTH = 0.75

# Planes of frames that have many.
_PLANES = 4

# The views of differences end at this many times the scatter of the pixels.
_VIEWED = 4.0

# Pixels per side of the pictures for pages without scripts, and on paper.
_SIDE = 360

# Positions that are marked, of each class.
_MARKED = 200_000


@dataclass(frozen=True, eq=False)
class Marks:
    """Pixels of one class, which the viewer marks.

    Attributes
    ----------
    name : str
        The class.
    y, x : ndarray
        Where they are.
    """

    name: str
    y: NDArray[np.int64]
    x: NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """A small image in the page.

    Attributes
    ----------
    address : str
        Its pixels, as a data address.
    width, height : int
        Its size in pixels.
    title, text : str
        What it shows; and the same for those who do not see it.
    """

    address: str
    width: int
    height: int
    title: str
    text: str


@dataclass(frozen=True, eq=False)
class Viewer:
    """The viewer's data.

    Attributes
    ----------
    settings : dict
        Images, views and marks, ready for JSON.
    tiles : list of str
        Tiles of each image in base64, one after the other.
    pictures : list of Picture
        What is shown without scripts.
    steps : list of (str, float)
        Names of the images, and the difference between two codes of their pixels.
    """

    settings: dict[str, Any]
    tiles: list[str]
    pictures: list[Picture]
    steps: list[tuple[str, float]]


def plane_names(sensor: Sensor) -> list[str]:
    """Names of the colour planes that are shown; one empty name for grey frames."""
    if len(sensor.shape) == 2:
        return [""]
    planes = sensor.shape[2]
    return (
        ["red", "green", "blue"] if planes == 3 else [f"plane {p + 1}" for p in range(min(planes, _PLANES))]
    )


def planes_of(image: NDArray[np.float64], names: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and pixels of each plane of an image."""
    for number, name in enumerate(names):
        yield name, image if image.ndim == 2 else image[..., number]


def viewer_of(sensor: Sensor, marks: Sequence[Marks] = ()) -> Viewer:
    """Make the data of the viewer.

    Parameters
    ----------
    sensor : Sensor
        Its mean and sigma image are shown, and both without their smooth surroundings.
    marks : sequence of Marks
        Pixels that are marked, by class.

    Returns
    -------
    Viewer
    """
    names = plane_names(sensor)
    values = sensor.shape[0] * sensor.shape[1] * len(names)
    budget = round(_BYTES * max(1.0, values / _PIXELS) ** _GROWTH / (2 * len(names)))
    images: list[dict[str, Any]] = []
    views: list[dict[str, Any]] = []
    tiles: list[str] = []
    pictures: list[Picture] = []
    steps: list[tuple[str, float]] = []
    for kind, whole, local in (
        ("Mean image", sensor.mean, "Fixed pattern (mean image without its surroundings)"),
        ("Sigma image", sensor.sigma, "Sigma image without its surroundings"),
    ):
        for plane, image in planes_of(whole, names):
            suffix = f", {plane}" if plane else ""
            made = tiled(image, budget)
            settings, text = _settings(made)
            span = _VIEWED * made.scatter
            views += [
                _view(kind + suffix, len(images), False, made.limits),
                _view(local + suffix, len(images), True, (-span, span)),
            ]
            images.append(settings)
            tiles.append(text)
            steps.append((kind + suffix, made.levels[0].step))
            pictures.append(_overview(image, kind + suffix, made))
    settings = {
        "shape": list(sensor.shape[:2]),
        "unit": COUNTS,
        "images": images,
        "views": sorted(views, key=lambda view: view["local"]),
        "marks": [_marks(mark, sensor.shape[1]) for mark in marks],
        "cell": CELL,
        "tile": TILE,
        "codes": {"nothing": NOTHING, "zero": ZERO, "linear": LINEAR, "growth": GROWTH},
    }
    return Viewer(settings, tiles, pictures, steps)


def _view(name: str, image: int, local: bool, limits: tuple[float, float]) -> dict[str, Any]:
    return {"name": name, "image": image, "local": local, "low": limits[0], "high": limits[1]}


def _settings(image: TiledImage) -> tuple[dict[str, Any], str]:
    """An image without its tiles, and these in base64."""
    texts: list[str] = []
    levels = []
    place = 0
    for level in image.levels:
        offsets = [place]
        for tile in level.tiles:
            text = base64.b64encode(tile).decode("ascii")
            texts.append(text)
            place += len(text)
            offsets.append(place)
        levels.append(
            {"factor": level.factor, "shape": list(level.shape), "step": level.step, "offsets": offsets}
        )
    grid = np.ascontiguousarray(image.surroundings, "<f4")
    return (
        {
            "grid": list(grid.shape),
            "surroundings": base64.b64encode(grid.tobytes()).decode("ascii"),
            "levels": levels,
        },
        "".join(texts),
    )


def _marks(marks: Marks, width: int) -> dict[str, Any]:
    places = np.sort(marks.y.astype(np.int64) * width + marks.x)
    kept = places[:: math.ceil(len(places) / _MARKED) or 1].astype("<u4")
    return {
        "name": marks.name,
        "count": len(places),
        "places": base64.b64encode(kept.tobytes()).decode("ascii"),
    }


def _overview(image: NDArray[np.float64], name: str, made: TiledImage) -> Picture:
    factor = min(math.ceil(max(image.shape) / _SIDE), *image.shape)
    small = pixel_blocks(image, factor).mean((1, 3))
    low, high = made.limits
    text = f"{name}: {low:.4g} (black) to {high:.4g} {COUNTS} (white)"
    return picture_of(small, name, text, (low, high))


def picture_of(
    image: NDArray[np.float64], title: str, text: str, limits: tuple[float, float] | None = None
) -> Picture:
    """Make a grey picture of a small image, (y, x), as a PNG in the page."""
    from PIL import Image  # comes with matplotlib

    share = scaled(image, "robust" if limits is None else limits)
    levels = np.rint(255 * np.nan_to_num(share)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).quantize(64).save(file, format="PNG", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    return Picture(address, levels.shape[1], levels.shape[0], title, text)
