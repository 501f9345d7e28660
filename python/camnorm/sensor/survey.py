"""What the halves of a set have in common, and in what they differ: sums over the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.sensor.bands import Band, over_bands
from camnorm.sizes import sizes

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["HOT", "Survey"]

Image = npt.NDArray[np.float64]

# Pixels of so much more variance than the typical one are hot; a few of them would make up the means.
HOT = 16.0

# Chance makes a ratio fall outside its limits once in a thousand sets on either side.
_QUANTILE = 3.09

# A share of the variance that may be rounding.
_ROUNDED = 1e-12


class _Sums(NamedTuple):
    """Sums over a band."""

    total: Image
    """Of quantities, (quantity, plane)."""
    spread: float
    """Of the squared difference of the mean images."""
    level: float
    """Of the difference."""
    grid: Image
    """Means of the difference over square blocks of pixels."""


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
        self._shape = (height, width, planes)
        self.unit = 2.0 ** math.frexp(float(np.mean(sensor.target_sigma)))[1]
        self._level = sensor.target_mean
        self._hottest = HOT * (sensor.target_sigma / self.unit) ** 2
        images = _of_both if kurtosis else partial(_within_both, sensor)
        parts = over_bands(sensor, rows, lambda band: self._sums(images(band)))
        self._grid = np.concatenate([part.grid for part in parts])
        total = np.sum([part.total for part in parts], axis=0)
        spread = math.fsum(part.spread for part in parts)
        level = math.fsum(part.level for part in parts)
        count = np.maximum(total[0], 1.0)
        _, variance, a, b, squared, difference, product, logarithm = total / count
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

    def _sums(self, images: Sequence[Image]) -> _Sums:
        """Sums over a band, of the halves' mean images and their variances or the one within both."""
        _, width, planes = self._shape
        a, b, *variances = (image.reshape(-1, width, planes) for image in images)
        variance, logarithm = self._variances(variances)
        used = (variance > 0) & (variance <= self._hottest)
        for image in (a, b):
            image -= self._level
            image /= self.unit
        if not used.all():
            for image in (a, b, variance, logarithm):
                image[~used] = 0.0
        difference = a - b
        factors = (variance, variance), (difference, difference), (a, b), (logarithm, logarithm)
        products = [(x * y).sum((0, 1)) for x, y in factors]
        means = [image.sum((0, 1)) for image in (used, variance, a, b)]
        total = np.array(means + products)
        # Pixels that are left out get the level of the others, or they would make a pattern.
        others = difference.sum((0, 1)) / np.maximum(total[0], 1)
        difference = np.where(used, difference, others).mean(2)
        return _Sums(total, float((difference**2).sum()), float(difference.sum()), self._reduced(difference))

    def _variances(self, variances: Sequence[Image]) -> tuple[Image, Image]:
        """Variance (ddof 1) within the halves, and the logarithm of the ratio of the halves' variances."""
        for image in variances:
            image /= self.unit
            image /= self.unit
        first, *others = variances
        if not others:
            return first, np.zeros_like(first)
        freedom = [n - 1 for n in self._halves]
        variance = (freedom[0] * first + freedom[1] * others[0]) / sum(freedom)
        varied = (first > 0) & (others[0] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.log(np.divide(first, others[0], out=first), out=first)
        logarithm[~varied] = 0.0
        return variance, logarithm

    def _reduced(self, difference: Image) -> Image:
        """Means over square blocks of pixels."""
        factor = self._factor
        rows, columns = (n // factor for n in difference.shape)
        blocks = difference[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        return np.asarray(blocks.mean((1, 3)))

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


def _of_both(band: Band) -> list[Image]:
    """The halves' mean images and variances."""
    return [*band.means(), *band.variances()]


def _within_both(sensor: Sensor, band: Band) -> list[Image]:
    """The halves' mean images, and the variance within both."""
    a, b = (half.count for half in band.halves)
    first = band.halves[0].mean(threads=1)
    # The whole set's sums are those of the halves.
    difference = (first - sensor.mean[band.where]) * ((a + b) / b)
    whole = np.square(sensor.sigma[band.where]) * (a + b)
    variance = whole - np.square(difference) * (a * b / (a + b))
    # Pixels that vary only from half to half leave what rounding does.
    variance[variance <= _ROUNDED * whole] = 0.0
    variance /= a + b - 2
    return [first, first - difference, variance]
