"""A gain that was set right, as other programs want it in a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from camnorm.errors import Error
from camnorm.handover.movies import movies_for
from camnorm.handover.programs import PROGRAMS
from camnorm.sensor.sensor import as_sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.diagnosis.gaincheck import GainCheck
    from camnorm.sensor.sensor import Sensor

__all__ = ["for_file"]


def for_file(
    found: GainCheck,
    sensor: Sensor | str | os.PathLike[str],
    like: str | os.PathLike[str] | None = None,
) -> NDArray[np.float32]:
    """Make the image of an MRC file of a gain, for RELION, MotionCor3 and camnorm.

    Parameters
    ----------
    found : GainCheck
        With a `fixed` gain.
    sensor, like
        As for `check_gain`.

    Returns
    -------
    ndarray of float32, shape (y, x)
        Factors, or for EER movies what RELION divides by; 0 at bad pixels. For TIFF movies the bottom row
        comes first.

    Raises
    ------
    Error
        The gain does not fit.
    """
    if found.fixed is None:
        raise Error(found.sentence)
    program = PROGRAMS["numpy"]
    movies = movies_for(as_sensor(sensor, load=True), like, program)
    gain = found.fixed
    if movies.format == "EER":
        gain = np.divide(1, gain, where=gain > 0, out=np.zeros_like(gain))
    return np.asarray(gain[::-1] if movies.row_order == "top" else gain)
