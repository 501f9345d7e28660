"""What the halves of a set have in common, and in what they differ: sums over the pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camnorm.sizes import sizes

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["HOT", "Survey", "in_parts"]

Image = npt.NDArray[np.float64]

# Pixels of so much more variance than the typical one are hot; a few of them would make up the means.
HOT = 16.0

# Chance makes a ratio fall outside its limits once in a thousand sets on either side.
_QUANTILE = 3.09

# A share of the variance that may be rounding.
_ROUNDED = 1e-12


class Survey:
    """Sums over the pixels of what the halves' mean images and variances have and have not in common.

    In a unit near the target sigma, since squares of squares of very large and small pixels are no numbers.
    A power of two, it changes no digit.

    Parameters
    ----------
    sensor : Sensor
        With at least two frames in each half.
    kurtosis : bool
        Whether `kurtosis` will be asked for. It takes the variances of both halves; without it, the mean and
        the sigma image of the whole set are enough, which a correction is made of anyway.
    """

    def __init__(self, sensor: Sensor, kurtosis: bool = True) -> None:
        height, width = sensor.shape[:2]
        factor = min(math.ceil(max(height, width) / sizes().correlation_grid), height, width)
        planes = math.prod(sensor.shape[2:])
        rows = factor * max(1, sizes().block_values // (factor * width * planes))
        self._halves = sensor.halves[0].count, sensor.halves[1].count
        self._frames = sensor.frames
        self._share = sum(1 / n for n in self._halves)
        self._factor = factor
        self._grid = np.zeros((height // factor, width // factor))
        self._shape = (height, width)
        self.unit = 2.0 ** math.frexp(float(np.mean(sensor.target_sigma)))[1]
        total = np.zeros((8, planes))
        spread = level = 0.0
        few = factor * max(1, sizes().cached_values // (factor * width * planes))
        for where, images in _bands(sensor, rows, kurtosis):
            for start, parts in in_parts(where.start, images, few):
                sums, squares, difference = self._sums(sensor, start, parts)
                total += sums
                spread += squares
                level += difference
        count = np.maximum(total[0], 1.0)
        _, variance, squared, a, b, difference, product, logarithm = total / count
        self._count = float(count.sum())
        self._used = self._count / (height * width * planes)
        self._power = spread * height * width - level * level
        # Each plane has a level of its own.
        self.variance, self.difference, self._covariance, self._log_variance = (
            float(np.average(values, weights=count))
            for values in (variance, difference - (a - b) ** 2, product - a * b, logarithm)
        )
        self._unevenness = float(np.average(squared, weights=count)) / max(
            self.variance * self.variance, 5e-324
        )

    def _sums(
        self, sensor: Sensor, start: int, images: Sequence[Image]
    ) -> tuple[npt.NDArray[np.float64], float, float]:
        """Sums over some rows, by planes; those of the planes' mean difference squared, and as it is."""
        width, planes = self._shape[1], math.prod(sensor.shape[2:])
        a, b, *variances = (image.reshape(-1, width, planes) for image in images)
        variance, logarithm = self._variances(variances)
        used = (variance > 0) & (variance <= HOT * (sensor.target_sigma / self.unit) ** 2)
        a, b = (np.where(used, (image - sensor.target_mean) / self.unit, 0.0) for image in (a, b))
        variance[~used] = 0.0
        logarithm = np.where(used, logarithm, 0.0)
        quantities = [used, variance, variance**2, a, b, (a - b) ** 2, a * b, logarithm**2]
        sums = np.array([quantity.sum((0, 1), dtype=np.float64) for quantity in quantities])
        # Pixels that are left out get the level of the others, or they would make a pattern.
        others = (a - b).sum((0, 1)) / np.maximum(used.sum((0, 1)), 1)
        difference = np.where(used, a - b, others).mean(2)
        self._reduce(difference, start // self._factor)
        return sums, float((difference**2).sum()), float(difference.sum())

    def _variances(self, variances: Sequence[Image]) -> tuple[Image, Image]:
        """Variance (ddof 1) within the halves, and the logarithm of the ratio of the halves' variances."""
        scaled = [image / self.unit / self.unit for image in variances]
        if len(scaled) == 1:
            return scaled[0], np.zeros_like(scaled[0])
        variance = np.average(scaled, axis=0, weights=[n - 1 for n in self._halves])
        varied = (scaled[0] > 0) & (scaled[1] > 0)
        return variance, np.log(np.where(varied, scaled[0], 1.0) / np.where(varied, scaled[1], 1.0))

    def _reduce(self, difference: npt.NDArray[np.float64], first: int) -> None:
        """Put means over square blocks of pixels into the grid."""
        factor = self._factor
        rows = min(len(difference) // factor, len(self._grid) - first)
        columns = self._grid.shape[1]
        blocks = difference[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        self._grid[first : first + rows] = blocks.mean((1, 3))

    def _freedom(self) -> float:
        """Independent numbers that the difference of the halves is made of."""
        pixels = self._shape[0] * self._shape[1]
        power = np.abs(np.fft.fft2(self._grid - self._grid.mean()).ravel()) ** 2 * self._factor**4
        whole = max(self._power, 5e-324)
        squares = (power**2).sum() / 2
        if self._factor > 1:
            # The frequencies beyond the grid's, as if they were white.
            squares += max(whole - power.sum(), 0.0) ** 2 / (pixels - power.size)
        # Flat spectra are those of pixels that are left out, too, which tell nothing.
        freedom = self._used * whole * whole / max(squares, 5e-324) / self._unevenness
        # The noise variance is measured too.
        return float(freedom / (1 + 1 / max(sum(self._halves) - 2, 1)))

    def ratio(self) -> tuple[float, float, float]:
        """Variance of the difference over that of independent frames, and the limits of chance."""
        variance = self.variance - self._common_variance()
        if not variance > 0.02 * self.variance or self.difference <= 0:
            return math.nan, math.nan, math.nan
        freedom = self._freedom()
        if not freedom > 0:
            return math.nan, math.nan, math.nan
        spread = 2 / (9 * freedom)  # Wilson and Hilferty's cube root of χ²/f
        low, high = ((1 - spread + sign * _QUANTILE * math.sqrt(spread)) ** 3 for sign in (-1, 1))
        return float(self.difference / (variance * self._share)), float(max(low, 0.0)), float(high)

    def _common_variance(self) -> float:
        """Variance of the frames' means within the halves."""
        table = self._frames[self._frames["status"] == "accepted"]
        parts = [table["mean"][table["half"] == half] / self.unit for half in "AB"]
        if tuple(map(len, parts)) != self._halves:
            return 0.0
        squares = float(sum(((part - part.mean()) ** 2).sum() for part in parts))
        # The frames' means are over all pixels; of those that never change nothing varies.
        return squares / (sum(self._halves) - 2) / self._used**2 if self._used else 0.0

    def kurtosis(self) -> float:
        """Kurtosis of a pixel vector; NaN if halves are too small, or it was not asked for."""
        if min(self._halves) < 10 or not self._log_variance > 0:
            return math.nan
        return float(1 + self._log_variance / sum(1 / (n - 1) for n in self._halves))

    def pattern(self) -> tuple[float, float]:
        """Variance over the pixels of the fixed pattern, and its standard error."""
        noise = [self.difference / n / self._share for n in self._halves]
        chance = noise[0] * noise[1] + max(self._covariance, 0.0) * sum(noise)
        freedom = self._freedom() if self.difference > 0 else self._count
        error = math.sqrt(chance / max(freedom, 1.0))
        return self._covariance * self.unit * self.unit, error * self.unit * self.unit


def in_parts(first: int, images: Sequence[Image], rows: int) -> Iterator[tuple[int, list[Image]]]:
    """Give some rows of images at a time, and the number of the first, counted from `first` on."""
    for start in range(0, len(images[0]), rows):
        yield first + start, [image[start : start + rows] for image in images]


def _bands(sensor: Sensor, rows: int, both: bool) -> Iterator[tuple[slice, list[Image]]]:
    """Some rows at a time: the halves' mean images, and their variances or the one within both."""
    if both:
        yield from ((where, [*means, *variances]) for where, means, variances in sensor.blocks(rows))
        return
    a, b = (half.count for half in sensor.halves)
    for start in range(0, sensor.shape[0], rows):
        where = slice(start, min(start + rows, sensor.shape[0]))
        first = sensor.halves[0].rows(where.start, where.stop).mean()
        # The whole set's sums are those of the halves.
        difference = (first - sensor.mean[where]) * ((a + b) / b)
        whole = np.square(sensor.sigma[where]) * (a + b)
        variance = whole - np.square(difference) * (a * b / (a + b))
        # Pixels that vary only from half to half leave what rounding does.
        variance[variance <= _ROUNDED * whole] = 0.0
        variance /= a + b - 2
        yield where, [first, first - difference, variance]
