"""A posteriori correction of frames by the mean and the sigma image of their sensor."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.correction.targets import GivenTarget, as_number_or_list, check_targets
from camnorm.errors import Error
from camnorm.statistics.moments import PixelMoments

__all__ = ["Correction"]


class Correction:
    """A posteriori correction of frames by the mean and the sigma image of their sensor.

    Parameters
    ----------
    mean : float32 or float64 ndarray, shape (y, x) or (y, x, c)
        Mean image of the data set, in the units of the pixels. Planes of colour frames, c, are pixels of
        their own.
    sigma : float32 or float64 ndarray, shape of `mean`
        Sigma image, the standard deviation of each pixel vector, in the same units.
    target_mean : float or sequence of float, optional
        I0, the mean that every pixel vector has after the correction. By default the mean over the mean
        image, bad pixels left out. Of colour frames one for all planes, or one for each; by default each
        plane has its own, so that colours are kept.
    target_sigma : float or sequence of float, optional
        s0, the standard deviation that every pixel vector has after the correction. By default the mean
        over the sigma image, bad pixels left out; of colour frames as `target_mean`.
    bad : bool ndarray, shape of `mean`, optional
        True for pixels whose output does not follow the light. Pixels for which the formula has no
        meaning are bad in any case: mean or sigma not finite, sigma 0, or s0 / sigma beyond the range of
        normal float64 numbers.
    bad_policy : {"neutral", "interpolate", "nan"}
        What bad pixels become: the target mean, which has neither contrast nor correlation; the mean of
        the corrected good pixels of their own colour plane in the smallest square of (2r + 1) × (2r + 1)
        pixels around them that has any (what lies outside of the frame counts for nothing); or NaN, in
        float output only.

    Raises
    ------
    TypeError
        If an image is no array or of another dtype.
    ValueError
        If the shapes differ or are neither (y, x) nor (y, x, c), a sigma is negative, a target is not
        finite or the target sigma not positive, the policy is another word, or all pixels are bad (with
        "interpolate", all those of one colour plane).

    Notes
    -----
    The correction is Eq. (2) of [1]_,

        Ic = (I - mean) / σ · s0 + I0,

    and Eq. (1) with I0 = 0, s0 = 1. It is evaluated in float64 as (I - mean) · (s0 / σ) + I0, then
    rounded once to the dtype of the output; before that rounding it differs from the formula as it is
    written by at most 4 ulp of the larger of abs(Ic) and abs(Ic - I0). Threads and batches do not
    change a bit. The images are copied; one object may be used from several threads.

    References
    ----------
    .. [1] P. Afanasyev et al., "A posteriori correction of camera characteristics from large image data
       sets", Sci. Rep. 5, 10317 (2015), doi:10.1038/srep10317.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> c = camnorm.Correction(np.array([[10.0, 20.0]]), np.array([[1.0, 3.0]]))
    >>> c.target_mean, c.target_sigma
    (15.0, 2.0)
    >>> c.apply(np.array([[11, 17]], np.uint8)).tolist()
    [[17.0, 13.0]]
    """

    __slots__ = ("_core",)

    def __init__(
        self,
        mean: npt.NDArray[np.floating[Any]],
        sigma: npt.NDArray[np.floating[Any]],
        target_mean: GivenTarget | None = None,
        target_sigma: GivenTarget | None = None,
        bad: npt.NDArray[np.bool_] | None = None,
        bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
    ) -> None:
        check_targets(target_mean, target_sigma)
        targets = as_number_or_list(target_mean), as_number_or_list(target_sigma)
        self._core = _core.Correction(mean, sigma, *targets, bad, bad_policy)

    @classmethod
    def from_moments(
        cls,
        moments: PixelMoments,
        others: PixelMoments | None = None,
        *,
        target_mean: GivenTarget | None = None,
        target_sigma: GivenTarget | None = None,
        bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
        threads: int | None = None,
    ) -> Correction:
        """Form the correction by the mean and the sigma image of moments, without further copies of them.

        Parameters
        ----------
        moments : PixelMoments
            Of the data set.
        others : PixelMoments, optional
            Of further frames, which count as if they had been merged.
        target_mean, target_sigma, bad_policy
            As of `Correction`.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

        Returns
        -------
        Correction
            The same as of ``Correction(moments.mean(), moments.std(), ...)``.

        Raises
        ------
        Error
            If no pixel ever changes.
        TypeError, ValueError
            As of `Correction`; if `others` has frames of another kind or shape.

        Examples
        --------
        >>> import numpy as np, camnorm
        >>> moments = camnorm.PixelMoments((1, 2), np.uint8)
        >>> statistics = moments.add(np.array([[[9, 17]], [[11, 23]]], np.uint8))
        >>> camnorm.Correction.from_moments(moments).apply(np.array([[11, 17]], np.uint8)).tolist()
        [[17.0, 13.0]]
        """
        check_targets(target_mean, target_sigma)
        targets = as_number_or_list(target_mean), as_number_or_list(target_sigma)
        with moments.held_with(moments if others is None else others) as (mine, its):
            core = _core.Correction.of_moments(
                mine, None if others is None else its, *targets, bad_policy, _core.resolve_threads(threads)
            )
        if core is None:
            raise Error("no pixel of the set ever changes: there is nothing to correct with")
        self = cls.__new__(cls)
        self._core = core
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame, (y, x) or (y, x, c)."""
        return self._core.shape

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean image, in the units of the pixels; read-only, shape of a frame."""
        return self._core.mean

    @property
    def sigma(self) -> npt.NDArray[np.float64]:
        """Sigma image, in the units of the pixels; read-only, shape of a frame."""
        return self._core.sigma

    @property
    def bad_policy(self) -> str:
        """What bad pixels become: "neutral", "interpolate" or "nan"."""
        return self._core.bad_policy

    @property
    def target_mean(self) -> float | tuple[float, ...]:
        """I0, in the units of the pixels; of colour frames one for each plane."""
        return self._core.target_mean

    @property
    def target_sigma(self) -> float | tuple[float, ...]:
        """s0, in the units of the pixels; of colour frames one for each plane."""
        return self._core.target_sigma

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """Bad pixels, those given and those found; read-only, shape of a frame."""
        return self._core.bad

    @property
    def clipped(self) -> int:
        """Pixels that saturated the output, or were NaN in integer output, since this object was made."""
        return self._core.clipped

    def apply(
        self,
        frames: npt.NDArray[Any],
        out: npt.NDArray[Any] | None = None,
        dtype: npt.DTypeLike | None = None,
        *,
        threads: int | None = None,
        first_row: int | None = None,
    ) -> npt.NDArray[Any]:
        """Correct one frame or a stack of frames, Eq. (2).

        Parameters
        ----------
        frames : ndarray
            Shape of a frame, or (n, ...) for a stack of n of them; uint8, int8, uint16, int16, uint32,
            int32, float16, float32 or float64, any strides, read-only or not. Nothing is copied.
        out : ndarray, optional
            Where to write: an array of the frames' shape and one of those dtypes, with any strides. It
            is `frames` itself, or an equal view of it, or memory apart from it.
        dtype : dtype-like, optional
            Pixel type of the result. By default that of `out`, or float32.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
        first_row : int, optional
            The frames are only some rows of whole frames, from this one on. With
            ``bad_policy="interpolate"`` they must be all.

        Returns
        -------
        ndarray, shape of `frames`
            `out` if given. In the units of the pixels. Pixels beyond the range of the dtype saturate, and
            `clipped` counts them. Integers are rounded half to even; NaN become 0 and count too. In float
            output, NaN and infinite pixels of the frames stay what they are.

        Raises
        ------
        TypeError
            If `frames` or `out` are no arrays, a dtype is another one, or `dtype` is not that of `out`.
        ValueError
            If a shape is another one, `out` is read-only or overlaps the frames in memory without being
            the frames, there are no such rows, or NaN are to be written (``bad_policy="nan"``) to integers.

            Nothing is written in any of these cases.
        """
        return self._core.apply(frames, out, dtype, _core.resolve_threads(threads), first_row)

    def inverse(
        self,
        frames: npt.NDArray[Any],
        out: npt.NDArray[Any] | None = None,
        dtype: npt.DTypeLike | None = None,
        *,
        threads: int | None = None,
    ) -> npt.NDArray[Any]:
        """Undo `apply`: I = (Ic - I0) · (σ / s0) + mean.

        Bad pixels come back as their mean, whatever the policy: what they were is lost.

        Parameters
        ----------
        frames : ndarray
            Corrected frames, as for `apply`.
        out : ndarray, optional
            As for `apply`.
        dtype : dtype-like, optional
            As for `apply`: float32 unless `out` or this says otherwise.
        threads : int, optional
            As for `apply`.

        Returns
        -------
        ndarray, shape of `frames`
            As of `apply`, with the same rounding, saturation and counting.

        Raises
        ------
        TypeError, ValueError
            As `apply`; the policy forbids no dtype here.
        """
        return self._core.inverse(frames, out, dtype, _core.resolve_threads(threads))

    def __reduce__(self) -> tuple[Any, ...]:
        core = self._core
        return Correction, (
            core.mean,
            core.sigma,
            core.target_mean,
            core.target_sigma,
            core.bad,
            core.bad_policy,
        )

    def __repr__(self) -> str:
        core = self._core
        bad = int(np.count_nonzero(core.bad))
        return (
            f"<Correction of frames of shape {core.shape} to mean {_words(core.target_mean)} "
            f"and sigma {_words(core.target_sigma)}, {bad} bad ({core.bad_policy})>"
        )


def _words(target: float | tuple[float, ...]) -> str:
    return ", ".join(f"{number:.6g}" for number in (target if isinstance(target, tuple) else (target,)))
