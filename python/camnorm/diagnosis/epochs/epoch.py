"""One epoch: what the comparison needs of a sensor, per pixel, in less memory than its sums take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camnorm.sensor.bands import Band, over_bands
from camnorm.sizes import sizes
from camnorm.statistics.moments import kind_of
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["FEWEST_FRAMES", "Epoch", "Pixels", "epoch_of"]

Pixels = npt.NDArray[np.float32]
Half = npt.NDArray[np.float16]

# Levels of light, each with its own kurtosis; pixels that one needs; pixels that medians are taken of.
_LEVELS, _FEWEST, _MANY = 8, 2000, 2**20

# Frames in a half from which on the halves show the kurtosis.
FEWEST_FRAMES = 4

# Variance of a pixel that never changes, in frames of floats, as a share of the typical one.
_CONSTANT = 1e-12

_LARGEST = 6e4  # of float16


@dataclass(frozen=True)
class Epoch:
    """Images of one measurement, (plane, y, x) in float32."""

    counts: tuple[int, int]
    """Frames in both halves."""
    level: float
    """What was subtracted from the mean image, so that float32 holds the rest."""
    mean: Pixels
    variance: Pixels
    """Of a pixel's values (ddof 1); of constant pixels, that of a single event."""
    constant: npt.NDArray[np.bool_]
    """Pixels that never change."""
    difference: Half
    """Difference of the halves' mean images, in its standard errors; 0 without halves."""
    ratio: Half
    """Logarithm of the ratio of the halves' variances; 0 without halves."""
    levels: npt.NDArray[np.float64]
    """Levels of the mean image, ascending, at which the kurtosis was estimated."""
    excess: npt.NDArray[np.float64]
    """(κ - 1)/2 there: 1 for a normal distribution."""

    @property
    def frames(self) -> int:
        """Frames in the statistics."""
        return sum(self.counts)

    def freedom(self, mean: Pixels) -> Pixels:
        """Degrees of freedom of a χ² that is as uncertain as the variance of pixels of these levels."""
        return np.asarray((self.frames - 1) / np.interp(mean, self.levels, self.excess), np.float32)

    def common(self, mean: Pixels, apart: Half, variance: Pixels) -> Pixels:
        """Products of the halves' mean images: of the pattern, without noise.

        Parameters
        ----------
        mean : float32 ndarray, shape (n,)
            Mean image of some pixels, whose mean is 0.
        apart : float16 ndarray, shape (n,)
            `difference` there.
        variance : float32 ndarray, shape (n,)
            `variance` there. Without halves, it is taken off the squares.
        """
        if not all(self.counts):
            return np.asarray(mean * mean - variance / np.float32(self.frames))
        raw = apart * np.sqrt(variance * np.float32(sum(1 / count for count in self.counts)))
        raw -= raw.mean()
        a, b = (np.float32(count / self.frames) for count in self.counts)
        return np.asarray((mean + b * raw) * (mean - a * raw))


def epoch_of(sensor: Sensor) -> Epoch:
    """Reduce a sensor to the images of its epoch.

    Parameters
    ----------
    sensor : Sensor
        With at least two frames.

    Returns
    -------
    Epoch
    """
    height, width = sensor.shape[:2]
    planes = math.prod(sensor.shape[2:])
    shape = (planes, height, width)
    counts = (sensor.halves[0].count, sensor.halves[1].count)
    level = float(np.mean(np.nan_to_num(sensor.target_mean)))
    mean, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    difference, ratio = np.zeros(shape, np.float16), np.zeros(shape, np.float16)
    integer = kind_of(sensor.dtype) == "integer"

    def take(band: Band) -> bool:
        total, spread, apart, quotient = _images(band, counts)
        for whole, image in (
            (mean, total - level),
            (variance, spread),
            (difference, apart),
            (ratio, quotient),
        ):
            whole[:, band.where] = np.moveaxis(image.reshape(-1, width, planes), 2, 0)
        return integer or all(_are_whole(half.sum()) for half in band.halves)

    rows = max(1, sizes().block_values // (width * planes))
    whole = all(over_bands(sensor, rows, take))
    constant = ~(variance > 0)
    typical = float(np.median(_some(variance[~constant]))) if not constant.all() else 1.0
    variance[constant] = 1 / sum(counts) if whole else _CONSTANT * typical
    levels, excess = _kurtosis(mean, ratio, constant, counts)
    return Epoch(counts, level, mean, variance, constant, difference, ratio, levels, excess)


def _images(band: Band, counts: tuple[int, int]) -> tuple[npt.NDArray[np.float64], ...]:
    """Mean, variance, difference of the halves in standard errors, logarithm of their variances' ratio."""
    a, b = counts
    (first, second), (one, other) = band.means(), band.variances()
    if not a or not b:
        mean, variance = (second, other) if not a else (first, one)
        nothing = np.zeros_like(mean)
        return mean, np.nan_to_num(variance), nothing, nothing
    apart = first - second
    mean = (a * first + b * second) / (a + b)
    one, other = np.nan_to_num(one), np.nan_to_num(other)  # of halves of one frame
    variance = ((a - 1) * one + (b - 1) * other + a * b / (a + b) * apart**2) / (a + b - 1)
    varied = (one > 0) & (other > 0)
    quotient = np.log(np.divide(one, other, out=np.ones_like(one), where=varied))
    error = np.sqrt(variance * (1 / a + 1 / b))
    apart = np.divide(apart, error, out=np.zeros_like(apart), where=error > 0)
    return mean, variance, np.clip(apart, -_LARGEST, _LARGEST), quotient


def _are_whole(sums: npt.NDArray[np.float64]) -> bool:
    return bool(np.array_equal(sums, np.rint(sums)))


def _some(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Not too many values, evenly spread."""
    return values[:: values.size // _MANY + 1 | 1]


def _kurtosis(
    mean: Pixels, ratio: Half, constant: npt.NDArray[np.bool_], counts: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Levels of the mean image, and (κ - 1)/2 there.

    The logarithms of the halves' variances differ by chance with the variance ψ1(f_A/2) + ψ1(f_B/2), where f
    is (n - 1)/((κ - 1)/2): the degrees of freedom of a χ² of the variance that s² has. For large n that is
    (κ - 1)(1/n_A + 1/n_B).
    """
    if min(counts) < FEWEST_FRAMES:
        return np.zeros(1), np.ones(1)
    keep = slice(None, None, mean.size // _MANY + 1 | 1)
    used = ~constant.ravel()[keep] & (ratio.ravel()[keep] != 0)
    values, spreads = mean.ravel()[keep][used], ratio.ravel()[keep][used].astype(np.float64)
    if values.size < 32:
        return np.zeros(1), np.ones(1)
    number = int(np.clip(values.size // _FEWEST, 1, _LEVELS))
    order = np.argsort(values, kind="stable")
    levels, excess = [], []
    for part in np.array_split(order, number):
        some = spreads[part]
        scale = MEDIAN_TO_SIGMA * float(np.median(np.abs(some - np.median(some))))
        levels.append(float(np.median(values[part])))
        excess.append(_excess(scale**2, counts))
    return np.array(levels), np.array(excess)


def _excess(variance: float, counts: tuple[int, int]) -> float:
    """(κ - 1)/2 at which the logarithms of the halves' variances differ with this variance."""
    from scipy import special

    low, high = 0.02, 1e4
    for _ in range(60):
        middle = math.sqrt(low * high)
        chance = sum(float(special.polygamma(1, (n - 1) / middle / 2)) for n in counts)
        low, high = (middle, high) if chance < variance else (low, middle)
    return middle
