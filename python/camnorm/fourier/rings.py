"""The rings of the Fourier plane: which frequency is in which, and how many are in each."""

from __future__ import annotations

from functools import lru_cache

from camnorm import _core


def check_rings(shape: tuple[int, ...]) -> None:
    """Raise ValueError if frames of a shape have no rings."""
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(f"a shape of {shape} has no rings: (y, x) with at least 2 x 2 pixels is wanted")


@lru_cache(maxsize=4)
def ring_index(height: int, width: int, binning: str, corners: bool) -> _core.RingIndex:
    """Make the table of the rings of frames of a shape."""
    return _core.RingIndex(height, width, binning, bool(corners))
