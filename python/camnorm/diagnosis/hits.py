"""Single frames that stand out in many pixels, as cosmic rays and X-rays make them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import Finding, count_of
from camnorm.sizes import sizes
from camnorm.statistics.distributions import f_limit, trigamma

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["hits"]

Image = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Pixels, and share of those looked at, from which on hits matter.
_PIXELS, _SHARE = 10, 1e-4

# Chance at which the variances of a pixel in the two halves are taken for different.
_CHANCE = 1e-6
# Degrees of freedom for which the variance typical of the band counts in that of a pixel.
_TYPICAL_FREEDOM = 4

# The spread of the ratios is judged by the smallest ones, since hits may be in most of the pixels: this
# quantile of the sizes, and that of a normal distribution.
_QUANTILE, _NORMAL_QUANTILE = 0.1, 0.12566

# What is as wide as this, in both directions, is a specimen. Hits are narrower: masks of them correlate
# less over this distance.
_REACH, _CORRELATED = 2, 0.15
# Of hits at random places at least this share of the number expected has none of them at that distance.
_ALONE = 0.5

# Rows of a band.
_BAND = 64


def hits(sensor: Sensor) -> list[Finding]:
    """Whether the sigma of many pixels comes from single frames, and so from one half of the set."""
    found = _Counts()
    if min(half.count for half in sensor.halves) > 1:
        for a, b in _bands(sensor):
            found.add(a, b)
    limit = max(_PIXELS, _SHARE * found.pixels)
    narrow = found.correlation < _CORRELATED and found.isolated > _ALONE * found.expected
    flagged = found.isolated > limit and narrow
    if not found.pixels:
        sentence = "too few frames, or counts, to tell whether single frames stand out in many pixels."
    elif flagged:
        sentence = (
            f"single frames stand out in {count_of(found.isolated, 'pixel')} of {found.pixels} compared, as "
            f"cosmic rays or X-rays do. Sigma of these pixels is {found.ratio:.3g} times that of others, and "
            f"the target sigma {found.excess:.3g} times as large as without hits. Corrected frames lack "
            "contrast at these pixels. Remove the hits from the frames before measuring, or correct the mean "
            "alone (mode='mean')."
        )
    else:
        sentence = "no single frames stand out in many pixels."
    return [
        Finding(
            "hits",
            float(found.isolated) if found.pixels else math.nan,
            limit,
            "sigma of other pixels, noisy ones too, is the same in both halves of the set",
            flagged,
            sentence,
            headline="single frames stand out in many pixels, as cosmic rays or X-rays do.",
            remedy="Remove the hits before measuring, or correct the mean alone (mode='mean').",
        )
    ]


@dataclass(frozen=True)
class _Half:
    """Mean and variance (ddof 1) of one half in a plane of a band of rows."""

    count: int
    mean: Image
    variance: Image


class _Counts:
    """What was found in the bands so far."""

    def __init__(self) -> None:
        self.pixels = 0
        self.isolated = 0
        self.expected = 0.0
        """How many of the pixels that stand out were isolated if their places were random."""
        self._sigma = np.zeros(2)  # sums: as it is, and without what single frames added
        self._ratios = 0.0
        self._products = np.zeros(2)  # of elevated variances: covariance over the distance, variance

    @property
    def ratio(self) -> float:
        """How many times larger sigma is where single frames stand out (root mean square)."""
        return math.sqrt(self._ratios / max(self.isolated, 1))

    @property
    def excess(self) -> float:
        """How many times larger they make the mean over sigma."""
        return float(self._sigma[0] / self._sigma[1]) if self._sigma[1] > 0 else 1.0

    @property
    def correlation(self) -> float:
        """That of pixels with elevated variance with others at the distance of a specimen's width."""
        return float(self._products[0] / self._products[1]) if self._products[1] > 0 else 0.0

    def add(self, a: _Half, b: _Half) -> None:
        """Compare the variances of the two halves."""
        varies = (a.variance > 0) & (b.variance > 0)
        if 2 * np.count_nonzero(varies) < varies.size:  # so few counts that each of them stands out
            return
        typical = np.array([np.median(half.variance[varies]) for half in (a, b)])
        variances = a.variance / typical[0], b.variance / typical[1]
        spread = _spread(*(variance[varies] for variance in variances))
        brighter = a.mean - b.mean
        brighter -= np.median(brighter)
        whole = np.sqrt((variances[0] + variances[1]) / 2)
        without = whole.copy()
        isolated = np.zeros(whole.shape, bool)
        freedom_a, freedom_b = _freedom(a.count - 1, b.count - 1, spread)
        for high, low, of_high, of_low, sign in (
            (*variances, freedom_a, freedom_b, 1),
            (*variances[::-1], freedom_b, freedom_a, -1),
        ):
            limit = f_limit(of_high, of_low + _TYPICAL_FREEDOM, _CHANCE)
            moderated = (_TYPICAL_FREEDOM + of_low * low) / (_TYPICAL_FREEDOM + of_low)
            outlying = (high > limit * moderated) & (sign * brighter > 0)
            elevated = high > limit
            near, products = _neighbours(elevated)
            self._products += products
            isolated |= outlying & ~near
            self.expected += float(outlying.sum() * (1 - elevated.mean()) ** 4)
            without[outlying] = np.sqrt(np.maximum(low, 1.0))[outlying]
        self.pixels += whole.size
        self.isolated += int(np.count_nonzero(isolated))
        self._sigma += math.sqrt(typical.mean()) * np.array([whole.sum(), without.sum()])
        self._ratios += float(((whole[isolated] / without[isolated]) ** 2).sum())


def _spread(a: Image, b: Image) -> float:
    """Standard deviation of the logarithm of the ratio of two variances, hits left out."""
    sizes = np.abs(np.log(a / b))
    # Of N events a pixel, which are few, many pixels have the same number: 1/√(2πN) of them, and 1/N is the
    # relative variance of their variance.
    most = float(max(np.unique(image.round(9), return_counts=True)[1].max() for image in (a, b))) / a.size
    by_counts = 2 * math.sqrt(math.pi) * most
    return max(float(np.quantile(sizes, _QUANTILE)) / _NORMAL_QUANTILE, by_counts)


def _freedom(a: int, b: int, spread: float) -> tuple[float, float]:
    """Degrees of freedom of normal variances that differ as much."""
    expected = math.sqrt(trigamma(a / 2) + trigamma(b / 2))
    excess = max(1.0, spread / expected) ** 2
    return a / excess, b / excess


def _neighbours(mask: Mask) -> tuple[Mask, Image]:
    """Which pixels have others of the mask at a diagonal distance; covariance over it, and variance."""
    height, width = mask.shape
    padded = np.pad(mask, _REACH)
    near = np.zeros(mask.shape, bool)
    for y in (0, 2 * _REACH):
        for x in (0, 2 * _REACH):
            near |= padded[y : y + height, x : x + width]
    level = mask.mean()
    away = mask - level
    pairs = [
        (away[_REACH:, _REACH:] * away[:-_REACH, :-_REACH]).sum(),
        (away[_REACH:, :-_REACH] * away[:-_REACH, _REACH:]).sum(),
    ]
    return near, np.array([sum(pairs) / 2, (away**2).sum()])


def _bands(sensor: Sensor) -> Iterator[tuple[_Half, _Half]]:
    """Both halves in bands of rows, plane by plane."""
    height = sensor.shape[0]
    step = math.ceil(math.prod(sensor.shape) / sizes().hit_pixels)
    for first in range(0, height, _BAND * step):
        parts = (half.rows(first, min(first + _BAND, height)) for half in sensor.halves)
        images = [(part.count, part.mean(), part.var(1)) for part in parts]
        for plane in range(math.prod(sensor.shape[2:])):
            a, b = (
                _Half(count, *(image.reshape(*image.shape[:2], -1)[..., plane] for image in both))
                for count, *both in images
            )
            yield a, b
