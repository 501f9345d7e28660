"""Both halves of a sensor in bands of rows: whole images in float64 take more memory than the sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from camnorm.fourier.transforms import share, threads_for
from camnorm.statistics.moments import PixelMoments

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["Band", "over_bands"]

# Each thread has a band in memory, and what is made of it.
_MOST_THREADS = 8

Image = npt.NDArray[np.float64]
Result = TypeVar("Result")


class Band(NamedTuple):
    """Some rows of a sensor."""

    where: slice
    """The rows."""
    halves: tuple[PixelMoments, PixelMoments]
    """Moments of these rows in half A and half B."""

    def means(self) -> tuple[Image, Image]:
        """Mean images of both halves: float64, units of the pixels."""
        a, b = (half.mean(threads=1) for half in self.halves)
        return a, b

    def variances(self) -> tuple[Image, Image]:
        """Variances (ddof 1) of both halves: float64, squared units of the pixels."""
        a, b = (half.var(1, threads=1) for half in self.halves)
        return a, b


def over_bands(
    sensor: Sensor, rows: int, work: Callable[[Band], Result], threads: int | None = None
) -> list[Result]:
    """Call a function for each band of rows, in several threads.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    rows : int
        Rows of a band; the last one may have fewer.
    work : callable
        Takes a `Band`. Several threads may call it at once.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    list
        What it returned, in the order of the bands: sums of these do not depend on the number of threads.
    """
    height = sensor.shape[0]
    results: dict[int, Result] = {}

    def take(_: int, number: int) -> None:
        where = slice(number * rows, min((number + 1) * rows, height))
        a, b = (half.rows(where.start, where.stop) for half in sensor.halves)
        results[number] = work(Band(where, (a, b)))

    bands = -(-height // rows)
    share(bands, min(threads_for(threads, sensor.shape), _MOST_THREADS), take)
    return [results[number] for number in range(bands)]
