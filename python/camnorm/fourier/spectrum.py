"""Amplitude spectra of single images, and their means over rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core
from camnorm.fourier.rings import check_rings, ring_index
from camnorm.fourier.transforms import BAND_COLUMNS, real_transform, share, take_means, threads_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["amplitude_spectrum", "ring_average"]


def amplitude_spectrum(image: NDArray[Any]) -> NDArray[np.float64]:
    """Amplitude ``|F|`` of the discrete Fourier transform of an image.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        A frame, mean or sigma image of any dtype that camnorm reads.

    Returns
    -------
    float64 ndarray, shape (y, x)
        In the units of the pixels, not normalised: the zero frequency, at [y//2, x//2], is the absolute
        sum of the pixels. Frequencies grow by 1/y and 1/x cycles/pixel an element.

    Raises
    ------
    TypeError
        If `image` is no array, or of a dtype that is not supported.
    ValueError
        If it is not two-dimensional or is empty; and, as NonFiniteError, if it has NaN or infinite pixels.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> stripes = np.tile([0.0, 1.0, 0.0, 1.0], (4, 1))
    >>> camnorm.amplitude_spectrum(stripes).round(6).tolist()[2]
    [8.0, 0.0, 8.0, 0.0]
    """
    shape = _core.check_array(image, "image").shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"image has shape {shape} where (y, x) is wanted")
    height, width = shape
    half = width // 2 + 1
    amplitude = np.empty((height, width))
    threads = threads_for(None, shape)
    taper = _core.Taper(image, None, None, "image")
    (mean,) = take_means([taper], threads)
    with real_transform((height, width), np.float64, threads) as transform:
        transform.rows(taper.write, threads)

        def write(thread: int, band: int) -> None:
            out = amplitude[:, :half][:, band * BAND_COLUMNS : (band + 1) * BAND_COLUMNS].T
            np.abs(transform.columns(thread, band)[: len(out)], out=out)

        share(transform.bands, threads, write)
    # |F(-k)| = |F(k)|: the other half mirrors columns and rows.
    mirrored = amplitude[-np.arange(height), (width - 1) // 2 : 0 : -1]
    amplitude[:, half:] = mirrored
    amplitude[0, 0] = abs(mean) * image.size
    return np.fft.fftshift(amplitude)


def ring_average(
    spectrum: NDArray[Any], binning: str = "round", corners: bool = False
) -> NDArray[np.float64]:
    """Mean of a two-dimensional spectrum over each ring.

    Parameters
    ----------
    spectrum : float ndarray, shape (y, x)
        Values of the full Fourier plane with the zero frequency at [y//2, x//2], as `amplitude_spectrum`
        gives them.
    binning, corners
        As for `frc`.

    Returns
    -------
    float64 ndarray, shape (rings,)
        In the units of `spectrum`; ring r is at r / min(y, x) cycles/pixel.

    Raises
    ------
    TypeError
        If `spectrum` is no array or not of a float dtype.
    ValueError
        If it is not two-dimensional, smaller than 2 x 2, or an option is unknown.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> stripes = np.tile([0.0, 1.0], (64, 32))
    >>> average = camnorm.ring_average(camnorm.amplitude_spectrum(stripes))
    >>> average.shape, int(average[1:].argmax()) + 1
    ((33,), 32)
    """
    shape = _core.check_array(spectrum, "spectrum").shape
    check_rings(shape)
    index = ring_index(*shape, binning, corners)
    return _core.ring_sums(index, spectrum, threads_for(None, shape)) / index.counts
