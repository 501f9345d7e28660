"""The fixed pattern by parts, after EMVA 1288: what rows, columns and single pixels have of it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.sensor.sensor import Sensor, as_sensor
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Decomposition", "decompose"]

# Pixels further from the surface, in robust standard deviations, are bad pixels or dust, which would be most
# of a variance. Of a normal distribution none are in a large frame.
_FARTHEST = 6.0


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """Variances of the fixed pattern by parts; `decompose` makes it.

    Attributes
    ----------
    rows, columns, pixels : float
        Variance that rows, columns and single pixels have, in squared units of the pixels: NaN where chance
        makes it negative, or the frame is too small.
    illumination : float
        Variance of the quadratic surface that was taken out before: uneven light, or sensitivity.
    left_out : int
        Pixels that deviate by more than six robust standard deviations; they count as the surface.
    """

    rows: float
    columns: float
    pixels: float
    illumination: float
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by their names, ready for JSON."""
        return dataclasses.asdict(self)


def decompose(sensor: Sensor) -> Decomposition:
    """Divide the variance of the mean image among rows, columns, single pixels and illumination.

    Parameters
    ----------
    sensor : Sensor
        A measured set.

    Returns
    -------
    Decomposition
        Of colour frames the mean over the planes.

    Notes
    -----
    The formulas of EMVA 1288, release 4.0, for the variances of rows, columns and pixels from those of the
    means of rows and columns. The noise that is left in the mean image, <S²>/N, is taken out.
    """
    sensor = as_sensor(sensor)
    planes = math.prod(sensor.shape[2:])
    mean = sensor.mean.reshape(*sensor.shape[:2], planes)
    sigma = sensor.sigma.reshape(mean.shape)
    parts = [_of_plane(mean[..., p], sigma[..., p], sensor.count) for p in range(planes)]
    rows, columns, pixels, illumination = (
        float(np.mean([part[number] for part in parts])) for number in range(4)
    )
    return Decomposition(rows, columns, pixels, illumination, sum(part[4] for part in parts))


def _of_plane(
    mean: NDArray[np.float64], sigma: NDArray[np.float64], count: int
) -> tuple[float, float, float, float, int]:
    """Variances of rows, columns, pixels and surface, and the pixels left out."""
    rows, columns = mean.shape
    surface = _surface(mean)
    rest = mean - surface
    with np.errstate(invalid="ignore"):
        spread = MEDIAN_TO_SIGMA * float(np.nanmedian(np.abs(rest[::3, ::3])))
        far = ~(np.abs(rest) <= _FARTHEST * spread) if spread > 0 else ~np.isfinite(rest)
    rest[far] = 0.0
    noise = float(np.mean(np.square(sigma), where=~far)) if not far.all() else math.nan
    q = rows * columns - rows - columns
    if q <= 0:
        return math.nan, math.nan, math.nan, float(np.nanvar(surface)), int(far.sum())
    rest -= rest.mean()
    total = float(np.mean(np.square(rest))) * mean.size / (mean.size - 1) - noise / count
    of_columns = float(np.mean(np.square(rest.mean(0)))) - noise / (count * rows)
    of_rows = float(np.mean(np.square(rest.mean(1)))) - noise / (count * columns)
    variances = (
        ((rows * columns - columns) * of_rows - rows * (total - of_columns)) / q,
        ((rows * columns - rows) * of_columns - columns * (total - of_rows)) / q,
        rows * columns * (total - of_columns - of_rows) / q,
    )
    row, column, pixel = (value if value >= 0 else math.nan for value in variances)
    return row, column, pixel, float(np.nanvar(surface)), int(far.sum())


def _surface(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quadratic surface that fits medians over blocks of an image best."""
    y, x = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in mean.shape)
    edges = [np.unique(np.linspace(0, n, min(n, 32) + 1).astype(int)) for n in mean.shape]
    places, values = [], []
    for top, bottom in zip(edges[0][:-1], edges[0][1:], strict=True):
        for left, right in zip(edges[1][:-1], edges[1][1:], strict=True):
            block = mean[top:bottom, left:right]
            finite = block[np.isfinite(block)]
            if finite.size:
                places.append(_terms(y[top:bottom].mean(), x[left:right].mean()))
                values.append(np.median(finite))
    if not values:
        return np.zeros(mean.shape)
    found = np.linalg.lstsq(np.array(places), np.array(values), rcond=None)[0]
    constant, of_y, of_x, of_yy, of_xy, of_xx = found
    return np.asarray(
        (constant + of_y * y + of_yy * y * y)[:, None] + of_x * x + of_xx * x * x + np.outer(of_xy * y, x)
    )


def _terms(y: float, x: float) -> list[float]:
    return [1.0, y, x, y * y, x * y, x * x]
