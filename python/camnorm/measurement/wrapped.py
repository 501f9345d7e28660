"""Counts above 32767 that a program stored as signed integers of 16 bits: they come out negative."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.statistics.moments import PixelMoments

__all__ = ["warn_of_wrapped"]

# A frame holds such counts if it has pixels this close to both ends of the type, where no scene has both;
# or if its mean, and with it all its pixels, lies this far below 0, where a dark image subtracted puts none.
_NEAR_END = 0.875 * 2**15
_FAR_BELOW = -0.25 * 2**15
_SHARE = 0.01  # of the frames; fewer may be damaged
# Dead and hot pixels lie at both ends, too, but are few, and do not jump from one to the other.
_JUMPING = 0.25 * 2**15
_PIXELS = 0.002
_ROWS = 256  # that are looked at


def warn_of_wrapped(
    frames: npt.NDArray[np.void], halves: tuple[PixelMoments, PixelMoments], dtype: np.dtype[Any]
) -> None:
    """Warn if int16 frames seem to hold unsigned counts.

    Parameters
    ----------
    frames : structured ndarray
        Frame table.
    halves : tuple of PixelMoments
        Moments of the frames.
    dtype : numpy.dtype
        Of the frames.
    """
    if dtype != np.int16 or not frames.size:
        return
    across = (frames["min"] < -_NEAR_END) & (frames["max"] > _NEAR_END)
    below = (frames["mean"] < _FAR_BELOW) & (frames["max"] < 0)
    found = int(np.count_nonzero(across | below))
    if found <= _SHARE * frames.size or not (below.any() or any(map(_pixels_wrap, halves))):
        return
    first = str(frames["file"][np.argmax(across | below)])
    more = f" (and {found - 1} more {'frames' if found > 2 else 'frame'})" if found > 1 else ""
    warnings.warn(
        f"{first}{more}: counts above 32767 seem to be stored as signed integers of 16 bits, and so "
        "as negative numbers: mean and sigma are wrong; if these are counts, read them with int16='unsigned'",
        stacklevel=3,
    )


def _pixels_wrap(moments: PixelMoments) -> bool:
    """Whether more pixels than may be bad jump from one end of the type to the other, or are far below 0."""
    middle = moments.rows(max(0, (moments.shape[0] - _ROWS) // 2), (moments.shape[0] + _ROWS) // 2)
    with np.errstate(invalid="ignore"):
        wrapped = (middle.std() > _JUMPING) | (middle.mean() < 2 * _FAR_BELOW)
    return bool(wrapped.mean() > _PIXELS)
