"""Figures are written to files, small and marked as camnorm's."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from camnorm.io.base.atomic import atomic_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In every figure: by it a figure is known that may be replaced.
MARK = "camnorm"


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : str or os.PathLike
        Its suffix says the format: .png, .pdf or .svg. An existing file is replaced.

    Raises
    ------
    ValueError
        Another suffix.
    OSError
        The file cannot be written.
    """
    kind = os.path.splitext(path)[1].lower()
    if kind not in (".png", ".pdf", ".svg"):
        raise ValueError(f"figures are written as .png, .pdf or .svg, not {os.fspath(path)!r}")
    with atomic_target(path, overwrite=True) as target:
        if kind == ".png":
            _save_png(figure, target)
        else:
            figure.savefig(target, format=kind[1:], metadata={"Creator": MARK})


def _save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG with a palette where one holds the figure's colours: half the size."""
    from PIL import Image, PngImagePlugin  # comes with matplotlib, which writes PNG by it

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi, pil_kwargs={"compress_level": 1})
    image = Image.open(drawn).convert("RGB")
    # Grey images and antialiased lines; a colour photograph has more and stays as it is.
    if image.getcolors(4096) is not None:
        image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", MARK)
    image.save(path, format="PNG", dpi=(figure.dpi, figure.dpi), optimize=True, pnginfo=text)
