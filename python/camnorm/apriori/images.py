"""Images that belong to a camera and not to a specimen: gain references and maps of defects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.registry import open_frames, row_order_of
from camnorm.io.base.rows import is_flipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_image"]


def read_image(path: Path, frames_format: str) -> tuple[NDArray[np.float64], bool]:
    """Read the image of a file, with its rows in the order of the frames that it is for.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    frames_format : str
        Format of the frames. The rows are turned upside down if one of the formats has the bottom row first
        (MRC) and the other the top row (TIFF, DM).

    Returns
    -------
    tuple of ndarray of float64, shape (y, x), and bool
        The image, and whether it was turned.

    Raises
    ------
    FormatError, OSError
        It cannot be read, is of colour, or a movie: an image that belongs to a camera is one.
    """
    with open_frames(path) as source:
        if len(source.shape) != 2:
            raise FormatError(path, f"an image of shape {source.shape} where (y, x) is wanted")
        if source.count > 1:
            raise FormatError(path, f"{source.count} frames, as of a movie, where one image is wanted")
        values = source.read(0)[0].astype(np.float64)
        source.check_whole()
        turn = is_flipped(source.row_order, row_order_of(frames_format))
    return (values[::-1] if turn else values), turn
