"""The fixed pattern of a sensor, from the mean and sigma images of the two halves of its data set.

What both halves show is the sensor's (and the illumination's); what only one shows is noise. So the
covariance of the halves is the variance of the pattern, without a model of the noise, and ring by ring it
is its spectrum.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from camnorm.correction.targets import Target
from camnorm.errors import Error
from camnorm.fourier.correlation import frc_with_powers
from camnorm.fourier.curve import RingCorrelation
from camnorm.sensor.bands import Band, over_bands
from camnorm.sensor.sensor import Sensor, as_sensor
from camnorm.sizes import sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["FixedPattern", "fixed_pattern", "tells_pattern"]

Values: TypeAlias = "NDArray[np.float64]"

# Images whose pixels may be larger are transformed in float64: products of two still are float32 numbers.
_LARGEST = 1e15

# Fraction of Nyquist below which illumination and the scene's mean weigh more than what pixels do.
_ABOVE = 0.05


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FixedPattern:
    """Fixed pattern of a sensor; `fixed_pattern` makes it.

    Attributes
    ----------
    mean_correlation, sigma_correlation : tuple of RingCorrelation
        FRC of half A's against half B's mean image, and of their sigma images, the half-maps of the sensor:
        one a colour plane. Near 1 where the pattern is known, near 0 where it drowns in noise.
    pattern_power, noise_power : float64 ndarray, shape (rings,)
        Power of the fixed pattern, and of noise and scene in one frame, at the frequencies of the rings:
        squared units of the pixels. White noise has its variance at every frequency. Averages over colour
        planes.
    n : int64 ndarray, shape (rings,)
        Frequencies in each ring.
    variance, sigma_variance : float
        Covariance of the mean images, and of the sigma images, of the halves: squared units of the pixels.
        Sampling can make it negative where there is no pattern.
    noise_variance : float
        Mean over the pixels of sigma², in squared units.
    residual_variance : float
        Variance of the pattern that the error of the mean image leaves in corrected frames, measured from the
        difference of the halves: var(M_A - M_B)·N_A·N_B / N². It is `noise_variance` / N if frames are
        independent of each other, and more if they are not, or if the sensor drifted.
    frames : int
        Frames in the set, N.
    """

    mean_correlation: tuple[RingCorrelation, ...]
    sigma_correlation: tuple[RingCorrelation, ...]
    pattern_power: NDArray[np.float64]
    noise_power: NDArray[np.float64]
    n: NDArray[np.int64]
    variance: float
    sigma_variance: float
    noise_variance: float
    residual_variance: float
    frames: int

    @property
    def nyquist(self) -> NDArray[np.float64]:
        """Frequency of each ring as a fraction of Nyquist."""
        return self.mean_correlation[0].nyquist

    def derating(self, exposure: float = 1.0, above: float = _ABOVE) -> float:
        """Fraction of the DQE that the fixed pattern costs, over all frequencies.

        Parameters
        ----------
        exposure : float
            Exposure in units of one frame of the set: the number of frames that are added up.
        above : float
            Fraction of Nyquist; lower frequencies, where illumination and pattern cannot be told apart, are
            left out.

        Returns
        -------
        float
            E·V / (E·V + W) for the variance V of the pattern and W of noise and scene in one frame: of a
            pattern that grows as the exposure E, noise as its root. A derating of 0.04 means that a DQE of
            50 % becomes 48 %.

        Notes
        -----
        The test of a gain reference by two half exposures of Gatan's K2 guide: what the halves have in common
        adds up in their sum and cancels in their difference.
        """
        kept = self.nyquist > above
        pattern, noise = ((self.n * power)[kept].sum() for power in (self.pattern_power, self.noise_power))
        return _derating(float(pattern), float(noise), exposure)

    def derating_curve(self, exposure: float = 1.0) -> NDArray[np.float64]:
        """`derating` at the frequency of each ring.

        Parameters
        ----------
        exposure : float
            See `derating`.

        Returns
        -------
        float64 ndarray, shape (rings,)
            NaN at the zero frequency.
        """
        pattern = exposure * np.maximum(self.pattern_power, 0.0)
        with np.errstate(invalid="ignore"):
            curve = pattern / (pattern + self.noise_power)
        curve[0] = np.nan
        return curve

    def derating_corrected(self, exposure: float = 1.0) -> float:
        """`derating` of corrected frames: by what the error of the mean image leaves in them.

        Parameters
        ----------
        exposure : float
            See `derating`.

        Returns
        -------
        float
            From `residual_variance`. For N independent frames it is E / (N + E), and the same at every
            frequency, since the error of a mean image has the spectrum of the noise.
        """
        return _derating(self.residual_variance, self.noise_variance, exposure)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, and curves from the first ring on, ready for JSON."""
        correlations = {"mean_frc": self.mean_correlation, "sigma_frc": self.sigma_correlation}
        return {
            "variance": self.variance,
            "sigma_variance": self.sigma_variance,
            "noise_variance": self.noise_variance,
            "residual_variance": self.residual_variance,
            "derating": {str(e): self.derating(e) for e in (1, 12)},
            "derating_corrected": {str(e): self.derating_corrected(e) for e in (1, 12)},
            "nyquist": self.nyquist[1:].tolist(),
            **{name: [curve.correlation[1:].tolist() for curve in c] for name, c in correlations.items()},
            "pattern_power": self.pattern_power[1:].tolist(),
            "noise_power": self.noise_power[1:].tolist(),
            "derating_curve": self.derating_curve()[1:].tolist(),
        }

    def __repr__(self) -> str:
        return (
            f"<FixedPattern of {self.frames} frames: variance {self.variance:.3g}, "
            f"noise {self.noise_variance:.3g}, derating {self.derating():.2%}, "
            f"corrected {self.derating_corrected():.2%}>"
        )


def tells_pattern(sensor: Sensor) -> bool:
    """Whether `fixed_pattern` can be asked of a sensor, and something varies in its images."""
    halves = min(half.count for half in sensor.halves)
    return halves >= 2 and min(sensor.shape[:2]) >= 2 and not np.isnan(sensor.target_mean).any()


def fixed_pattern(sensor: Sensor, *, window: str | None = "hann", threads: int | None = None) -> FixedPattern:
    """Measure the fixed pattern of a sensor, and what it costs.

    Parameters
    ----------
    sensor : Sensor
        A measured set with at least two frames in each half.
    window : {"hann", "tukey"} or None
        Window of the transforms; mean images do not go on over their edges.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    FixedPattern

    Raises
    ------
    Error
        If a half has fewer than two frames, or the frames are a single row or column.

    Examples
    --------
    >>> import camnorm
    >>> pattern = camnorm.fixed_pattern(camnorm.Sensor.load("sensor.h5"))
    >>> pattern.variance > 10 * pattern.residual_variance
    True
    """
    sensor = as_sensor(sensor)
    a, b = sensor.halves
    if min(a.count, b.count) < 2:
        raise Error(
            f"halves of {a.count} and {b.count} frames have no pattern to compare: measure more frames"
        )
    if min(sensor.shape[:2]) < 2:
        raise Error(f"frames of shape {sensor.shape} have no rings of frequencies")
    total = a.count + b.count
    share = a.count * b.count / total
    # Where nothing varies there are no targets.
    first = a.rows(0, 1).mean()[0, 0]
    level = np.where(np.isnan(sensor.target_mean), first, sensor.target_mean)
    kept = np.empty((2, math.prod(sensor.shape[2:]), *sensor.shape[:2]), _precision(sensor, _unit(sensor)))
    means = _compared(sensor, Band.means, level, kept, window, threads)
    sigmas = _compared(sensor, _sigmas, np.nan_to_num(sensor.target_sigma), kept, window, threads)
    # The variance of the whole set is that within both halves and that between them.
    within = (a.count * sigmas.squares[0] + b.count * sigmas.squares[1]) / total
    noise_variance = within + share / total * means.difference_square
    return FixedPattern(
        mean_correlation=means.curves,
        sigma_correlation=sigmas.curves,
        pattern_power=means.common,
        noise_power=share * means.difference,
        n=means.curves[0].n,
        variance=means.covariance,
        sigma_variance=sigmas.covariance,
        noise_variance=noise_variance,
        residual_variance=share / total * means.difference_variance,
        frames=total,
    )


class _Compared(NamedTuple):
    """An image of half A compared with that of half B."""

    curves: tuple[RingCorrelation, ...]
    common: Values
    """Power in each ring that they have in common, mean over colour planes."""
    difference: Values
    """Power in each ring of their difference."""
    squares: tuple[float, float]
    """Mean square of each."""
    covariance: float
    """Over the pixels, mean over colour planes."""
    difference_variance: float
    difference_square: float


def _compared(
    sensor: Sensor,
    images_of: Callable[[Band], tuple[Values, Values]],
    level: Target,
    kept: NDArray[np.floating[Any]],
    window: str | None,
    threads: int | None,
) -> _Compared:
    """Compare images of the halves, which are put into `kept` without their level, (half, plane, y, x)."""
    height, width = sensor.shape[:2]
    planes = math.prod(sensor.shape[2:])
    unit = _unit(sensor)

    def take(band: Band) -> Values:
        a, b = images_of(band)
        for whole, image in zip(kept, (a, b), strict=True):
            image -= level
            image *= 1 / unit  # a power of two
            whole[:, band.where] = np.moveaxis(image.reshape(-1, width, planes), 2, 0)
        a, b = (image.reshape(-1, planes) for image in (a, b))
        difference = a - b
        products = (a, a), (b, b), (a, b), (difference, difference)
        return np.array([a.sum(0), b.sum(0), *(np.einsum("ip,ip->p", *pair) for pair in products)])

    rows = max(1, sizes().block_values // (width * planes))
    a, b, aa, bb, ab, difference = np.sum(over_bands(sensor, rows, take, threads), axis=0) / (height * width)
    found = [frc_with_powers(x, y, window, threads=threads) for x, y in zip(*kept, strict=True)]
    square = unit * unit
    shift = level / unit
    return _Compared(
        tuple(curve for curve, _ in found),
        np.mean([powers.common for _, powers in found], axis=0) * square,
        np.mean([powers.difference for _, powers in found], axis=0) * square,
        (
            float(np.mean(aa + shift * (2 * a + shift))) * square,
            float(np.mean(bb + shift * (2 * b + shift))) * square,
        ),
        float(np.mean(ab - a * b)) * square,
        float(np.mean(difference - np.square(a - b))) * square,
        float(np.mean(difference)) * square,
    )


def _unit(sensor: Sensor) -> float:
    """A power of two near the target sigma, in which squares of squares are numbers."""
    return float(2.0 ** math.frexp(float(np.mean(np.nan_to_num(sensor.target_sigma))))[1])


def _precision(sensor: Sensor, unit: float) -> type[np.floating[Any]]:
    """Type in which images without their level, in a unit, are kept."""
    frames = sensor.frames[sensor.frames["status"] == "accepted"]
    largest = max(float(np.abs(frames[name]).max(initial=0.0)) for name in ("min", "max"))
    return np.float32 if largest < _LARGEST * unit else np.float64


def _sigmas(band: Band) -> tuple[Values, Values]:
    a, b = (half.std(threads=1) for half in band.halves)
    return a, b


def _derating(pattern: float, noise: float, exposure: float) -> float:
    if not exposure > 0:
        raise ValueError(f"exposure must be positive, got {exposure}")
    pattern = exposure * max(pattern, 0.0)
    return pattern / (pattern + noise) if noise > 0 else float("nan")  # nothing ever changes
