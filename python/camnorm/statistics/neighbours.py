"""Exact sums over the differences between each pixel and its neighbours."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy.typing as npt

from camnorm import _core
from camnorm.statistics.moments import Image, PixelMoments
from camnorm.statistics.sums import ExactSums

__all__ = ["STENCILS", "NeighbourSums", "Stencil"]

Stencil: TypeAlias = Literal["left-right", "up-down", "four", "eight", "left", "right", "up", "down"]
"""Neighbours from which a pixel may have been made: the mean of several, or a copy of one."""

STENCILS: tuple[Stencil, ...] = get_args(Stencil)


class NeighbourSums(ExactSums[_core.NeighbourSums]):
    """Sums that show which pixels were made from their neighbours.

    A camera may conceal a bad pixel by the mean of its neighbours, or by a copy of one of them. The sums tell
    how much of the variance of each pixel its neighbours explain. Like moments they are exact and additive:
    frames may be added in any order, batch and number of threads, and be taken away again.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame, (y, x), or (y, x, c) for colour frames. Neighbours are of the same plane.
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
    For each stencil of n neighbours::

        q = Var(I - mean over the n neighbours) / Var(I)

    q is 0 for a copy. It is near 0 for the mean of several neighbours: rounding to integers adds about
    1 / (12·Var(I)). For a pixel that is independent of its neighbours and has their variance, q is 1 + 1/n;
    the light that neighbours share lowers this.

    Each pixel has eight sums (Σx, Σx², and Σd² of six differences d): 64 bytes for integer frames, 128 for
    float frames. Integer sums are exact up to 2²⁶ frames. Differences of float pixels are rounded to float64;
    they are exact for 32-bit integers, and for float32 pixels whose magnitudes differ by less than 2²⁵.

    In frames of a Bayer mosaic, direct neighbours have other colours, and cameras interpolate from pixels two
    columns or rows away: use frames of one colour.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> frames = np.random.default_rng(1).poisson(50, (200, 8, 8)).astype(np.uint16)
    >>> frames[:, 3, 3] = (frames[:, 3, 2] + frames[:, 3, 4]) // 2
    >>> sums = camnorm.NeighbourSums((8, 8), np.uint16)
    >>> sums.add(frames)
    >>> sums.ratio("left-right")[3, 1:6].round(2).tolist()
    [1.65, 0.97, 0.0, 0.97, 1.46]
    """

    __slots__ = ()
    _make = _core.NeighbourSums

    def add(self, frames: npt.NDArray[Any], *, threads: int | None = None) -> None:
        """Add one frame or a stack of frames.

        Parameters
        ----------
        frames : ndarray
            As for `PixelMoments.add`.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

        Raises
        ------
        TypeError
            If the frames are no array, or of the other kind.
        ValueError
            If the shape is another one, or there are too many frames.
        NonFiniteError
            A ValueError; if a frame has NaN or infinite pixels.

            Nothing is added in any of these cases.
        """
        n = _core.resolve_threads(threads)
        with self._lock:
            self._core.add(frames, n)

    @staticmethod
    def batch_bytes(shape: tuple[int, ...]) -> int:
        """Return how many bytes of frames are worth being added in one go: a quarter of the integer sums.

        Parameters
        ----------
        shape : tuple of int
            Of the frames.

        Returns
        -------
        int
        """
        return 16 * math.prod(shape)

    def add_stacks(self, stacks: list[npt.NDArray[Any]], *, threads: int) -> None:
        """Add stacks of one dtype and memory layout in one pass over the sums.

        Parameters
        ----------
        stacks : list of ndarray
            Each as for `add`.
        threads : int
            Number of threads.
        """
        stacks = [_core.check_array(stack, "frames") for stack in stacks]
        with self._lock:
            self._core.add_stacks(stacks, threads)

    def subtract(self, frames: npt.NDArray[Any], *, threads: int | None = None) -> None:
        """Take frames back that were added before: the exact inverse of `add`.

        Parameters
        ----------
        frames, threads
            As for `add`.

        Raises
        ------
        ValueError
            If there are more frames than the sums hold; nothing is subtracted then, nor after any of the
            errors of `add`.
        """
        n = _core.resolve_threads(threads)
        with self._lock:
            self._core.subtract(frames, n)

    def ratio(self, stencil: Stencil, *, threads: int | None = None) -> Image:
        """Share q of a pixel's variance that neighbours do not explain.

        Parameters
        ----------
        stencil : {"left-right", "up-down", "four", "eight", "left", "right", "up", "down"}
            The neighbours: the mean of these, or a copy of the one that is named.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

        Returns
        -------
        float64 ndarray, shape of a frame
            NaN where a neighbour lies outside the frame, and where the pixel never changes. Within 2 ulp of
            exact for integer frames.

        Raises
        ------
        ValueError
            If the stencil is another word.
        """
        n = _core.resolve_threads(threads)
        with self._lock:
            return self._core.ratio(stencil, n)

    def flipped(self) -> NeighbourSums:
        """Return the sums of the same frames upside down, exactly."""
        result = super().flipped()
        for name, part in result.parts().items():
            if name.startswith("down_"):  # of each pair of rows, at what was the lower one
                part[:-1] = part[1:].copy()
                part[-1] = 0
        return result

    def take_moments(self, moments: PixelMoments) -> None:
        """Copy count, Σx and Σx² from the moments of the same frames, which a file holds once.

        Parameters
        ----------
        moments : PixelMoments
            Of frames of this shape and kind.
        """
        with self.held_with(moments):
            own = self.parts()
            for name, part in moments.parts().items():
                own[name][...] = part
            self._core.count = moments.count

    def check(self) -> int:
        """First pixel, in C order, whose sums no frames have; the number of pixels if there is none."""
        with self._lock:
            return self._core.check(_core.resolve_threads(None))

    def differences(self) -> dict[str, npt.NDArray[Any]]:
        """Return those of `parts` that moments do not have."""
        return {name: part for name, part in self.parts().items() if not name.startswith("sum")}

    def state(self) -> dict[str, Any]:
        """Return the exact state, as `from_state` takes it.

        Returns
        -------
        dict
            ``shape``, ``dtype`` (its name), ``count``, and arrays of a frame's shape. Integer frames: ``sum``
            (int64), ``sum_of_squares``, and the sums of squared differences ``left_right_squares``,
            ``up_down_squares``, ``four_squares``, ``eight_squares`` (of n·x - Σneighbours),
            ``right_squares`` and ``down_squares`` (of x - neighbour), all uint64; 0 where a neighbour lies
            outside the frame. For float frames two float64 arrays in place of each of these, as
            ``sum_high`` and ``sum_low``.
        """
        return self._state()

    def __reduce__(self) -> tuple[Any, ...]:
        return NeighbourSums.from_state, (self.state(),)
