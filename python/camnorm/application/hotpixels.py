"""Hot pixels that come and go: found in each movie from its own sum, compared with what the sensor expects.

References
----------
R. A. McLeod, J. Kowal, P. Ringler & H. Stahlberg, "Robust image alignment for cryogenic transmission electron
microscopy", J. Struct. Biol. 197, 279 (2017): hot pixels of a movie are outliers of the sum of its frames.
R. Lugannani & S. Rice, "Saddle point approximation for the distribution of the sum of independent random
variables", Adv. Appl. Probab. 12, 475 (1980): the tail of counts.
"""

from __future__ import annotations

import threading
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.correction.correction import Correction

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["Expectation", "HotPixels", "concealing", "places_of"]

Image = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

# Chance that a movie without hot pixels has any that is found.
_CHANCE = 0.01

# Standard deviations above the neighbours' mean that make a pixel a candidate; candidates at a time.
_CANDIDATE, _AT_ONCE = 4.0, 2**17

# Pixels along the square of neighbours.
_SIDE = 5

# Least ratio of a hot pixel's excess over its surroundings to that of the third brightest of its eight
# neighbours: beads and edges of a specimen are spread over more pixels.
_ALONE = 3.0

# Limits of the variance of a pixel, in the typical one of its neighbours: pixels that were hot in other
# movies have a larger one, and of few frames some have a small one by chance.
_MOST_VARIED, _LEAST_VARIED = 4.0, 0.5


class HotPixels(NamedTuple):
    """Pixels that are hot in one file."""

    path: Path
    frames: int
    """Frames that were summed."""
    places: tuple[tuple[int, ...], ...]
    """(x, y) of each, or (x, y, plane) of colour frames."""


class Expectation:
    """What a sensor expects of the sum of frames.

    Parameters
    ----------
    sensor : Sensor
        The measurement; its sums are not kept.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.mean = sensor.mean.astype(np.float32)
        self.variance = np.square(sensor.sigma).astype(np.float32)
        self._frames = max(sensor.count, 1)
        # What is formed takes as much memory as many frames: one file at a time.
        self._lock = threading.Lock()

    def hot(self, total: Values, frames: int) -> npt.NDArray[np.bool_]:
        """Find the pixels that are hot in the sum of some frames.

        Parameters
        ----------
        total : float64 ndarray, shape of a frame
            The sum.
        frames : int
            Number of frames.

        Returns
        -------
        bool ndarray, shape of a frame
            A pixel is hot if its excess over what the sensor expects is too large for chance, compared with
            its neighbours in this movie. In a movie without hot pixels, the chance of any is 1 %, over all
            pixels. Pixels that never change in the sensor are left out: they are bad anyway.
        """
        found = np.zeros(total.shape, bool)
        planes = [np.s_[:, :]] if total.ndim == 2 else [np.s_[:, :, c] for c in range(total.shape[2])]
        limit = -NormalDist().inv_cdf(_CHANCE / total.size)
        # A movie that is itself in the sensor, or as long, is compared with an uncertain mean.
        share = 1 + frames / self._frames
        for plane in planes:
            with self._lock:
                image = _Plane(total[plane], self.mean[plane], self.variance[plane], frames, share)
                y, x = image.candidates()
                for start in range(0, y.size, _AT_ONCE):
                    some = slice(start, start + _AT_ONCE)
                    hot = image.scores(y[some], x[some]) > limit
                    found[plane][y[some][hot], x[some][hot]] = True
                del image
        return found


class _Plane:
    """The sum of a movie, of one colour plane, less what is expected."""

    def __init__(
        self, total: npt.NDArray[Any], mean: Image, variance: Image, frames: int, share: float
    ) -> None:
        self._excess = (total - frames * mean.astype(np.float64)).astype(np.float32)
        self._mean, self._variance, self._frames, self._share = mean, variance, frames, share
        self._counts = float(total.min(initial=0.0)) >= 0.0

    def candidates(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows and columns of pixels that exceed the mean of their neighbours."""
        from scipy.ndimage import uniform_filter

        varied = self._variance > 0
        if not varied.any():
            none = np.empty(0, np.intp)
            return none, none
        typical = np.float32(np.median(self._variance[varied]))
        middle = np.float32(np.median(self._excess[varied]))
        error = np.sqrt(
            np.minimum(self._variance, _MOST_VARIED * typical) * np.float32(self._frames * self._share)
        )
        tame = np.clip(self._excess - middle, -6 * error, 6 * error)
        above = self._excess - middle - uniform_filter(tame, _SIDE, mode="nearest")
        y, x = np.nonzero(varied & (above > _CANDIDATE * error))
        return y, x

    def scores(self, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Values:
        """Normal scores of the excess of some pixels over that of their neighbours; 0 where it is theirs."""
        near = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
        height, width = self._mean.shape
        rows = _inside(np.stack([y + dy for dy, _ in near], axis=1), height)
        columns = _inside(np.stack([x + dx for _, dx in near], axis=1), width)
        excess, mean, variance = (
            image[rows, columns].astype(np.float64) for image in (self._excess, self._mean, self._variance)
        )
        eight = [number for number, place in enumerate(near) if max(map(abs, place)) == 1]
        third = np.partition(excess[:, eight], -3, axis=1)[:, -3]
        base = np.median(excess, axis=1)
        reference = np.maximum(third, base)
        own = self._excess[y, x].astype(np.float64)
        level, typical = np.median(mean, axis=1), np.median(variance, axis=1)
        here = self._variance[y, x].astype(np.float64)
        spread = np.maximum(np.minimum(here, _MOST_VARIED * typical), _LEAST_VARIED * typical)
        expected = self._frames * level
        bright = expected > 0
        safe = np.where(bright, expected, 1.0)
        # Noise grows with the light; the pixel's own offset or gain may or may not.
        brighter = np.where(bright, np.maximum(1.0, (expected + reference) / safe), 1.0)
        own_pattern = np.abs(base) / safe * self._frames * np.abs(self._mean[y, x] - level)
        above = own - reference - np.where(bright, own_pattern, 0.0)
        total = self._frames * spread * brighter * self._share
        event = np.where(bright, self._frames * typical / safe, np.inf)
        if not self._counts:  # sums of counts are not negative
            event = np.minimum(event, np.sqrt(total))
        scores = _tail(total, np.where(np.isfinite(event) & (event > 0), event, np.sqrt(total)), above)
        alone = own - base >= _ALONE * (reference - base)
        return np.where(alone, scores, 0.0)


def _inside(places: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    """Places beyond the border, mirrored at it."""
    if size < 3:
        return np.clip(places, 0, size - 1)
    places = np.abs(places)
    return np.where(places >= size, 2 * (size - 1) - places, places)


def _tail(variance: Values, event: Values, above: Values) -> Values:
    """Normal scores of an excess over the mean of counts of events that have this variance.

    The tail of the Poisson distribution by the saddle point approximation, at half a count less.
    """
    number = variance / event**2
    counts = number + above / event - 0.5
    good = counts > number
    counts = np.where(good, counts, 2 * number + 1)
    slope = np.log(counts / number)
    root = np.sqrt(np.maximum(2 * (counts * slope - (counts - number)), 1e-12))
    other = 2 * np.sinh(slope / 2) * np.sqrt(counts)
    return np.where(good, root + np.log(other / root) / root, 0.0)


def places_of(hot: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """(x, y) of pixels, or (x, y, plane)."""
    return tuple((x, y, *plane) for y, x, *plane in np.argwhere(hot).tolist())


def concealing(correction: Correction, hot: npt.NDArray[np.bool_]) -> Correction:
    """A correction in which further pixels are bad."""
    return Correction(
        correction.mean,
        correction.sigma,
        target_mean=correction.target_mean,
        target_sigma=correction.target_sigma,
        bad=correction.bad | hot,
        bad_policy=correction.bad_policy,  # type: ignore[arg-type]
    )
