"""A sensor made of moments that the user filled: no files, no frame table, no screening."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime, timezone
from typing import Any

import numpy as np

from camnorm import _core
from camnorm.sensor.contents import Contents
from camnorm.sensor.digest import DamageError
from camnorm.sensor.plausibility import check_moments
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE
from camnorm.statistics.moments import PixelMoments, kind_of

__all__ = ["contents_of_moments"]


def contents_of_moments(a: PixelMoments, b: PixelMoments | None) -> Contents:
    """Contents of a sensor whose halves are copies of these moments.

    Parameters
    ----------
    a, b : PixelMoments
        Moments of half A and half B; without `b`, half B is empty.

    Returns
    -------
    Contents

    Raises
    ------
    TypeError, ValueError
        As `Sensor.from_moments`.
    """
    _check(a, b)
    halves = _half("A", a), _half("B", PixelMoments(a.shape, a.dtype) if b is None else b)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    provenance: dict[str, Any] = {
        "version": _core.version,
        "command": shlex.join(sys.argv),
        "started": now,
        "ended": now,
        "screening": {},
        "chosen": {},
        "row_order": "",
        "from_moments": {name: half.count for name, half in zip("AB", halves, strict=True)},
        "files": np.empty(0, FILE_DTYPE),
    }
    return Contents(halves, np.empty(0, FRAME_DTYPE), provenance)


def _check(a: PixelMoments, b: PixelMoments | None) -> None:
    """Raise TypeError or ValueError if two moments are not the halves of one set."""
    for name, half in (("a", a), ("b", b)):
        if not isinstance(half, PixelMoments) and not (name == "b" and half is None):
            array = ": add the frames to a PixelMoments" if isinstance(half, np.ndarray) else ""
            raise TypeError(f"{name} must be a PixelMoments, not {type(half).__name__}{array}")
    if b is not None:
        if a is b:
            raise ValueError("a and b are the same moments: every frame would count twice")
        if a.shape != b.shape:
            raise ValueError(f"a holds frames of shape {a.shape}, b frames of shape {b.shape}")
        kinds = kind_of(a.dtype), kind_of(b.dtype)
        if kinds[0] != kinds[1]:
            raise TypeError(
                f"a holds {a.dtype} frames ({kinds[0]} kind), b {b.dtype} frames ({kinds[1]} kind)"
            )
    if not a.count and (b is None or not b.count):
        raise ValueError("the moments hold no frames: add frames to them first")


def _half(name: str, moments: PixelMoments) -> PixelMoments:
    """A copy of a half; without frames, also without the rounding errors of those that were taken out."""
    if not moments.count:
        return PixelMoments(moments.shape, moments.dtype)
    half = moments.copy()
    try:
        check_moments(name, half)
    except DamageError as error:
        raise ValueError(f"{name.lower()}: {error}") from None
    return half
