"""How every pixel follows the exposure of the frames: exact sums for a straight line of least squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.statistics.moments import Image, PixelMoments
from camnorm.statistics.sums import ExactSums

__all__ = ["PixelResponse"]


class PixelResponse(ExactSums[_core.PixelResponse]):
    """Sums that tell, with the moments of the same frames, how every pixel follows the light.

    Of frames x of exposure w they are Σw, Σw² and, for every pixel, Σw·x. With Σx of the moments they give
    the straight line x = offset + gain·w of least squares. Like moments they are exact and additive: frames
    may be added in any order, batch and number of threads, and be taken away again.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame, (y, x), or (y, x, c) for colour frames, whose planes are pixels of their own.
    dtype : dtype-like
        Pixel type. It sets the kind, integer (8 and 16 bit) or float (the rest), as of `PixelMoments`.

    Raises
    ------
    TypeError
        If `PixelMoments` does not take the dtype.
    ValueError
        If the shape is not (y, x) or (y, x, c) with positive sizes.

    Notes
    -----
    Exposures of integer frames are rounded to multiples of 1/256 and summed as integers, with the same bits
    for every order; no sum overflows up to 2³⁰ frames, and 2⁴⁸ / w² frames of exposure w (65,536 at the most
    that 16 bits hold). Those of float frames are kept as they are, their products exactly, and summed in
    double-double arithmetic.

    The exposure of a frame is known by the mean over its pixels, in which noise and scene take part: the
    line becomes flatter than it should be (regression dilution, W. A. Fuller, "Measurement Error Models",
    1987).
    The mean over all gains is 1 in any case, since the mean of all pixels is the exposure itself; what is
    left is

        gain = λ·g + (1 - λ)·σ² / <σ²>,    λ = var(true exposure) / var(w),

    where σ² is what a pixel's own scene and noise add to its variance, and 1 - λ is <σ²> / (m·var(w)) for
    frames of m independent patches of scene. Where exposures vary, that is nothing; where they do not, the
    gain is noise only.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> frames = np.array([[[10, 20]], [[20, 41]], [[30, 59]]], np.uint8)
    >>> moments = camnorm.PixelMoments((1, 2), np.uint8)
    >>> response = camnorm.PixelResponse((1, 2), np.uint8)
    >>> response.add(frames, moments.add(frames)["mean"])
    >>> response.gain(moments).round(3).tolist()
    [[0.677, 1.323]]
    """

    __slots__ = ()
    _make = _core.PixelResponse

    def add(
        self, frames: npt.NDArray[Any], exposures: npt.NDArray[np.float64], *, threads: int | None = None
    ) -> None:
        """Add one frame or a stack of frames.

        Parameters
        ----------
        frames : ndarray
            As for `PixelMoments.add`.
        exposures : float64 ndarray, shape (n,)
            Of each frame: the mean over its pixels, as `PixelMoments.add` tells it, or what else the light
            is known by, in any unit.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

        Raises
        ------
        TypeError
            If an argument is no array, the frames are of the other kind, or exposures not float64.
        ValueError
            If a shape is another one, an exposure not finite, or beyond ±65,536 (float frames: 3e144), or
            the sums would overflow.
        NonFiniteError
            A ValueError; if a frame has NaN or infinite pixels.

            Nothing is added in any of these cases.
        """
        n = _core.resolve_threads(threads)
        with self._lock:
            self._core.add(frames, exposures, n)

    def subtract(
        self, frames: npt.NDArray[Any], exposures: npt.NDArray[np.float64], *, threads: int | None = None
    ) -> None:
        """Take frames back that were added before with the same exposures: the exact inverse of `add`.

        Parameters
        ----------
        frames, exposures, threads
            As for `add`.

        Raises
        ------
        ValueError
            If there are more frames than the sums hold; nothing is subtracted then, nor after any of the
            errors of `add`.
        """
        n = _core.resolve_threads(threads)
        with self._lock:
            self._core.subtract(frames, exposures, n)

    def exposures(self) -> tuple[float, float]:
        """Mean of the exposures, and their standard deviation (ddof 0); NaN without frames."""
        with self._lock:
            mean, variance = self._core.exposures()
        return mean, float(np.sqrt(variance))

    def gain(self, moments: PixelMoments) -> Image:
        """Gain of every pixel, cov(w, x) / var(w) = (n·Σwx - Σw·Σx) / (n·Σw² - (Σw)²).

        Parameters
        ----------
        moments : PixelMoments
            Of the same frames.

        Returns
        -------
        float64 ndarray, shape of a frame
            Units of the pixels by those of the exposures; NaN if all exposures are the same. Within 2 ulp of
            exact for integer frames (and exposures in multiples of 1/256).

        Raises
        ------
        ValueError
            If the moments are not of as many frames of the same shape and kind.
        """
        with self.held_with(moments) as (response, of_moments):
            return response.gain(of_moments, _core.resolve_threads(None))

    def offset(self, moments: PixelMoments) -> Image:
        """Where the line meets exposure 0.

        Parameters
        ----------
        moments : PixelMoments
            Of the same frames.

        Returns
        -------
        float64 ndarray, shape of a frame
            In the units of the pixels; NaN if all exposures are the same.

        Raises
        ------
        ValueError
            As of `gain`.
        """
        mean, _ = self.exposures()
        return np.asarray(moments.mean() - self.gain(moments) * mean)

    def state(self) -> dict[str, Any]:
        """Return the exact state, as `from_state` takes it.

        Returns
        -------
        dict
            ``shape``, ``dtype`` (its name), ``count``. For integer frames ``exposure_sum`` and
            ``exposure_sum_of_squares`` (int), exposures in units of 1/256, and ``sum_of_products`` (int64
            array of a frame's shape). For float frames, where each sum is high + low, two in place of each of
            these: ``exposure_sum_high``, ``exposure_sum_low`` and so on.
        """
        return self._state()

    def numbers(self) -> dict[str, Any]:
        """Return what belongs to the state besides `parts`: ``count`` and the sums of the exposures."""
        return self._core.numbers()

    def set_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take over what `numbers` gave.

        Parameters
        ----------
        numbers : mapping
            Of the names and types that `numbers` gives.
        """
        self._core.set_numbers(dict(numbers))

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelResponse.from_state, (self.state(),)
