"""Amplitude spectra of the images of a sensor: over rings, along rows and columns, and their peaks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from camnorm.fourier.spectrum import amplitude_spectrum, ring_average
from camnorm.report.plot.images import pixel_blocks
from camnorm.report.plot.style import FIRST_SHOWN
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Curve", "ImageSpectrum", "image_spectrum", "peaks_of"]

# Rings on each side that a peak is compared with, how far it stands out of them, and how many are named.
_REACH = 10
_STANDS_OUT = 8
_MOST_PEAKS = 8

# Pixels per side of the picture.
_SIDE = 256


class Curve(NamedTuple):
    """An amplitude over the fraction of Nyquist, without the zero frequency."""

    nyquist: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    peaks: tuple[int, ...]
    """Places of the points that stand out of their surroundings, the highest first."""


class ImageSpectrum(NamedTuple):
    """Spectrum of an image; white noise has the amplitude of its standard deviation at every frequency."""

    picture: NDArray[np.float64]
    """Logarithm of the highest amplitude of blocks of frequencies, the zero frequency in the middle."""
    rings: Curve
    along_x: Curve
    """Over the horizontal frequency: root mean square over the vertical ones."""
    along_y: Curve


def image_spectrum(image: NDArray[np.float64]) -> ImageSpectrum:
    """Compute the amplitude spectrum of an image.

    Parameters
    ----------
    image : float64 ndarray, shape (y, x)
        Finite, of two rows and columns or more.

    Returns
    -------
    ImageSpectrum
    """
    spectrum = amplitude_spectrum(image)
    spectrum /= math.sqrt(image.size)
    middle = tuple(n // 2 for n in spectrum.shape)
    factor = min(math.ceil(max(spectrum.shape) / _SIDE), *spectrum.shape)
    # The highest of each block: its mean would hide the sharp peaks that are looked for.
    highest = pixel_blocks(spectrum, factor).max((1, 3))
    picture = np.log(np.maximum(highest, max(1e-6 * highest.max(), 1e-300)))
    np.square(spectrum, out=spectrum)
    rings = np.sqrt(ring_average(spectrum))
    along_x = np.sqrt(spectrum.mean(0)[middle[1] :])
    along_y = np.sqrt(spectrum.mean(1)[middle[0] :])
    return ImageSpectrum(
        picture,
        _curve(rings, min(image.shape)),
        _curve(along_x, image.shape[1]),
        _curve(along_y, image.shape[0]),
    )


def _curve(amplitude: NDArray[np.float64], side: int) -> Curve:
    amplitude = amplitude[1:]
    nyquist = np.arange(1, amplitude.size + 1) / (side / 2)
    return Curve(nyquist, amplitude, tuple(peaks_of(amplitude, nyquist)))


def peaks_of(amplitude: NDArray[np.float64], nyquist: NDArray[np.float64]) -> list[int]:
    """Find the points that stand out most of their surroundings.

    Parameters
    ----------
    amplitude, nyquist : float64 ndarray
        A spectrum, and its frequencies as fractions of Nyquist.

    Returns
    -------
    list of int
        Eight at most, the highest first: local maxima that exceed the median of their surroundings by more
        than eight robust standard deviations of this excess.
    """
    if amplitude.size <= 2 * _REACH or not (amplitude > 0).all():
        return []
    curve = np.log(amplitude)
    padded = np.pad(curve, _REACH, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _REACH + 1)
    excess = curve - np.median(windows, axis=1)
    scatter = MEDIAN_TO_SIGMA * float(np.median(np.abs(excess)))
    padded = np.pad(excess, 1, constant_values=-np.inf)
    top = (excess >= padded[:-2]) & (excess > padded[2:])
    top &= (excess > _STANDS_OUT * scatter) & (nyquist >= FIRST_SHOWN)
    found = np.flatnonzero(top)
    return [int(i) for i in found[np.argsort(excess[found])[::-1][:_MOST_PEAKS]]]
