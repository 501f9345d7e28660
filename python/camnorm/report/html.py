"""A sensor in a notebook: a table and small pictures, made without a library for figures."""

from __future__ import annotations

import base64
import html
import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from camnorm.report.plot.images import pixel_blocks, scaled
from camnorm.sensor.provenance import from_moments
from camnorm.terminal import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.sensor.sensor import Sensor

__all__ = ["sensor_html"]

# Pixels per side of a picture, at most, and samples per side of each of these pixels.
_SIDE = 160
_SAMPLES = 2

# Frames of more pixels take too long to give their targets at every look.
_FAST = 2**22


def sensor_html(sensor: Sensor) -> str:
    """Describe a sensor in HTML.

    Parameters
    ----------
    sensor : Sensor
        Of its sums, only samples are looked at if frames are large.

    Returns
    -------
    str
        A ``div`` with a table, and with the mean and the sigma image as PNG.
    """
    a, b = sensor.halves
    rows = [
        ("frames", f"{sensor.count}: {a.count} in half A, {b.count} in half B"),
        ("shape", " × ".join(map(str, sensor.shape))),
        ("pixels", sensor.dtype.name),
        *_targets(sensor),
        *_origin(sensor),
    ]
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(printable(text))}</td></tr>'
        for name, text in rows
    )
    return (
        '<div><strong>Sensor</strong><div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">'
        f"<table>{cells}</table>{_pictures(sensor) if sensor.count else ''}</div></div>"
    )


def _targets(sensor: Sensor) -> list[tuple[str, str]]:
    """Target mean and sigma, unless that takes long."""
    if math.prod(sensor.shape) > _FAST and not sensor.knows_targets:
        return [("targets", "not computed yet: see target_mean and target_sigma")]
    return [
        (name, ", ".join(f"{number:.6g}" for number in np.ravel(target)))
        for name, target in (("target mean", sensor.target_mean), ("target sigma", sensor.target_sigma))
    ]


def _origin(sensor: Sensor) -> list[tuple[str, str]]:
    """Where the frames come from, and how many were rejected."""
    rows = []
    moments = sum(from_moments(sensor.provenance))
    if moments:
        rows.append(("from moments", "all" if moments == sensor.count else f"{moments} frames"))
    if sensor.frames.size:
        files = sensor.provenance["files"]["path"]
        first = f", first {files[0]}" if len(files) > 1 else f": {files[0]}" if len(files) else ""
        rows.append(("rejected", str(np.count_nonzero(sensor.frames["status"] == "rejected"))))
        rows.append(("files", f"{len(files)}{first}"))
    return rows


def _pictures(sensor: Sensor) -> str:
    """Mean and sigma image, reduced to samples of their pixels."""
    step = math.ceil(max(sensor.shape[:2]) / (_SIDE * _SAMPLES))
    step += 1 - step % 2  # an even one would see one colour of a colour filter only
    a, b = (half.sampled(step) for half in sensor.halves)
    return "".join(
        f'<figure style="margin:0"><img src="data:image/png;base64,{_png(_levels(image))}" alt="{name}" '
        f'style="width:{_SIDE}px;image-rendering:pixelated"><figcaption>{name}</figcaption></figure>'
        for name, image in (("mean image", a.mean_with(b)), ("sigma image", a.std_with(b)))
    )


def _levels(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Grey or RGB levels of an image, (y, x) or (y, x, 3), at most `_SIDE` pixels per side."""
    if image.ndim == 3 and image.shape[2] != 3:
        image = image.mean(2)
    factor = min(math.ceil(max(image.shape[:2]) / _SIDE), *image.shape[:2])
    small = pixel_blocks(image, factor).mean((1, 3))
    planes = [small] if small.ndim == 2 else [small[..., plane] for plane in range(3)]
    levels = [np.rint(255 * scaled(plane)).astype(np.uint8) for plane in planes]
    return levels[0] if len(levels) == 1 else np.stack(levels, axis=-1)


def _png(levels: NDArray[np.uint8]) -> str:
    """A PNG file in base64."""
    height, width = levels.shape[:2]
    rows = np.zeros((height, 1 + levels[0].size), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = levels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = 0 if levels.ndim == 2 else 2
    file = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )
    return base64.b64encode(file).decode()
