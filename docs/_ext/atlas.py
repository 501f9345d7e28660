"""Pictures of the atlas: what defects of a sensor look like in mean image, sigma image and ring correlation.

Each is measured by camnorm from frames of a simulated camera with this one defect.

Usage: python docs/_ext/atlas.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import camnorm

SHAPE = (192, 192)
FRAMES = 240
LEVEL = 100.0  # electrons per pixel
GROUP = 12  # frames in an average whose ring correlation is shown

Frames = NDArray[Any]


def _camera(**settings: Any) -> camnorm.simulate.Camera:
    settings = {"offset": 100.0, "read_noise": 5.0, **settings}
    return camnorm.simulate.Camera(SHAPE, np.uint16, level=LEVEL, **settings)


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def dust() -> Frames:
    """Grains that take light."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    gain = np.ones(SHAPE)
    rng = _rng()
    for _ in range(9):
        row, column, radius = rng.uniform(10, 180), rng.uniform(10, 180), rng.uniform(2, 7)
        gain *= 1 - 0.25 * np.exp(-((((x - column) ** 2 + (y - row) ** 2) / radius**2) ** 2))
    return _camera(gain=gain).frames(FRAMES)


def concealed_columns() -> Frames:
    """Dead columns, replaced by the mean of their neighbours."""
    concealed = np.zeros(SHAPE, np.bool_)
    concealed[:, [20, 23, 27, 31, 34, 120]] = True
    concealed[150] = True
    gain = 1 + 0.03 * _rng().standard_normal(SHAPE)
    return _camera(concealed=concealed, gain=gain).frames(FRAMES)


def readout_lines() -> Frames:
    """Lines of periods 4 and 8/3 pixels, from amplifiers that take turns."""
    x = np.arange(SHAPE[1])
    lines = 3 * np.cos(2 * np.pi * x / 4) + 3 * np.cos(2 * np.pi * x * 3 / 8)
    return _camera(offset=100 + np.broadcast_to(lines, SHAPE)).frames(FRAMES)


def bayer_pattern() -> Frames:
    """Colour filters of 2 x 2 pixels in frames that were not demosaiced."""
    gain = np.ones(SHAPE)
    gain[0::2, 0::2], gain[1::2, 1::2] = 0.75, 0.6
    return _camera(gain=gain).frames(FRAMES)


def motif() -> Frames:
    """The edge of a support at about the same place in every image: no fault of the sensor."""
    frames = _camera().frames(FRAMES).astype(np.float64)
    rng = _rng()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for frame in frames:
        row, column = 96 + rng.normal(0, 4, 2)
        frame *= 1 - 0.3 * (np.hypot(y - row, x - column) > 75)
    return np.rint(frames).astype(np.uint16)


def drift() -> Frames:
    """Dust that moved halfway through the set."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    halves = []
    for row, column in ((60, 60), (90, 120)):
        gain = 1 - 0.25 * np.exp(-((((x - column) ** 2 + (y - row) ** 2) / 64.0) ** 2))
        halves.append(_camera(gain=gain, seed=row).frames(FRAMES // 2))
    return np.concatenate(halves)


FINE = (readout_lines, bayer_pattern)  # of which a part is shown, where single pixels can be seen
PART = 40

KINDS: tuple[Callable[[], Frames], ...] = (
    dust,
    concealed_columns,
    readout_lines,
    bayer_pattern,
    motif,
    drift,
)


def _measured(frames: Frames) -> tuple[NDArray[Any], NDArray[Any], dict[str, camnorm.RingCorrelation]]:
    """Mean image, sigma image, and curves of two averages that have no part in them."""
    order = np.random.default_rng(1).permutation(len(frames))
    test, rest = order[: 2 * GROUP], order[2 * GROUP :]
    moments = camnorm.PixelMoments(SHAPE, frames.dtype)
    moments.add(frames[np.sort(rest)])
    mean, sigma = moments.mean(), moments.std()
    correction = camnorm.Correction(mean, sigma)
    curves = {}
    for name, images in (("raw", frames.astype(np.float32)), ("corrected", correction.apply(frames))):
        a, b = (images[part].mean(0, dtype=np.float64) for part in (test[:GROUP], test[GROUP:]))
        curve = camnorm.frc(a, b, window="hann")
        assert isinstance(curve, camnorm.RingCorrelation)  # one plane
        curves[name] = curve
    return mean, sigma, curves


def draw(frames: Frames, part: int) -> Figure:
    """Mean image, sigma image (a corner of each) and ring correlation beside each other."""
    mean, sigma, curves = _measured(frames)
    figure = Figure(figsize=(10, 3.2), dpi=100, layout="constrained")
    for axes, image, title in zip(
        figure.subplots(1, 3, width_ratios=[1, 1, 1.15])[:2],
        (mean, sigma),
        ("mean image", "sigma image"),
        strict=True,
    ):
        low, high = np.percentile(image, (0.5, 99.5))
        shown = axes.imshow(image[:part, :part], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        figure.colorbar(shown, ax=axes, shrink=0.85, label="counts")
        axes.set(title=title, xlabel="x, pixels", ylabel="y, pixels")
    axes = figure.axes[2]
    for (name, curve), colour in zip(curves.items(), ("#d35400", "#1f4e8c"), strict=True):
        axes.plot(curve.nyquist, curve.correlation, color=colour, label=name, lw=1.2)
    limit = curves["raw"].threshold("3sigma")
    axes.plot(curves["raw"].nyquist, limit, color="0.6", lw=0.8, label="±3σ")
    axes.plot(curves["raw"].nyquist, -limit, color="0.6", lw=0.8)
    axes.set(
        title=f"FRC, averages of {GROUP} frames",
        xlabel="fraction of Nyquist",
        xlim=(0, 1),
        ylim=(-0.35, 1.02),
    )
    axes.legend(loc="center right", fontsize=8)
    return figure


def write(folder: Path) -> list[Path]:
    """Draw all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in KINDS:
        path = folder / f"{kind.__name__}.png"
        draw(kind(), PART if kind in FINE else SHAPE[0]).savefig(path)
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        print(written)
