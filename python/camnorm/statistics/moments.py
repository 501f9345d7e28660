"""Exact, additive moments of every pixel vector."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.statistics.traces import TracedSums

__all__ = ["PixelMoments", "frame_statistics"]

Image = npt.NDArray[np.float64]
"""Mean, sigma or another value of every pixel, (y, x) or (y, x, c)."""


class PixelMoments(TracedSums):
    """Count, sum and sum of squares of every pixel vector, kept exactly.

    Integer frames (uint8, int8, uint16, int16) are summed in 64-bit integers; uint32, int32, float16,
    float32 and float64 frames in double-double arithmetic. The sums form a group: frames may be added
    in any order, batch and number of threads, moments be merged, and frames or moments be taken away
    again. For integer frames the state is then the same to the bit, for float frames mean and standard
    deviation are the same to 1 ulp; a warning is given, and `exact` is False, where frames that were taken
    away had pixels too large for that.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame, (y, x), or (y, x, c) for colour frames, whose planes are pixels of their own.
    dtype : dtype-like
        Pixel type. It sets the kind, integer (8 and 16 bit) or float (the rest); frames of any dtype of
        the same kind may be added.

    Raises
    ------
    TypeError
        If the dtype is not one of those named above, in native byte order.
    ValueError
        If the shape is not (y, x) or (y, x, c) with positive sizes.

    Notes
    -----
    The mean and the variance are formed once, when they are asked for [1]_::

        mean = Σx / n,    var = (n·Σx² - (Σx)²) / (n·(n - ddof)),

    in double-double arithmetic, exactly for integer frames up to the division, so that nothing
    cancels. One object may be used from several threads.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance",
       Am. Stat. 37, 242 (1983), the textbook formula, which is safe when the sums are exact.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> m = camnorm.PixelMoments((2, 2), np.uint8)
    >>> stats = m.add(np.array([[[1, 2], [3, 4]], [[3, 2], [5, 4]]], np.uint8))
    >>> m.count, m.mean().tolist(), m.std().tolist()
    (2, [[2.0, 2.0], [4.0, 4.0]], [[1.0, 0.0], [1.0, 0.0]])
    """

    __slots__ = ()
    _make = _core.PixelMoments

    @overload
    def add(
        self, frames: npt.NDArray[Any], *, threads: int | None = ..., statistics: Literal[True] = ...
    ) -> npt.NDArray[np.void]: ...

    @overload
    def add(
        self, frames: npt.NDArray[Any], *, threads: int | None = ..., statistics: Literal[False]
    ) -> None: ...

    def add(
        self, frames: npt.NDArray[Any], *, threads: int | None = None, statistics: bool = True
    ) -> npt.NDArray[np.void] | None:
        """Add one frame or a stack of frames.

        Parameters
        ----------
        frames : ndarray
            Shape of a frame, or (n, ...) for a stack of n of them; any dtype of the moments' kind, any
            strides, read-only or not. Nothing is copied.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
        statistics : bool
            Whether the statistics of the frames are wanted, from the same pass.

        Returns
        -------
        structured ndarray, shape (n,), or None
            Fields ``mean``, ``std`` (ddof 0), ``min``, ``max`` (float64): the statistics of each frame
            over its pixels.

        Raises
        ------
        TypeError
            If the frames are no array, or of the other kind.
        ValueError
            If the shape is another one.
        NonFiniteError
            A ValueError; if a frame has NaN or infinite pixels (or float64 pixels beyond 3e144, whose
            squares overflow).

            Nothing is added in any of these cases.
        """
        n = _core.resolve_threads(threads)
        with self._lock, self._warns_of_traces():
            return self._core.add(frames, n, bool(statistics))

    def add_stacks(self, stacks: list[npt.NDArray[Any]], *, threads: int) -> npt.NDArray[np.void]:
        """Add stacks of one dtype and memory layout in one pass over the sums.

        Parameters
        ----------
        stacks : list of ndarray
            Each as for `add`.
        threads : int
            Number of threads.

        Returns
        -------
        structured ndarray
            Statistics of all frames, as of `add`.
        """
        stacks = [_core.check_array(stack, "frames") for stack in stacks]
        with self._lock:
            return self._core.add_stacks(stacks, threads)

    def add_located(
        self, frames: _core.StoredFrames | _core.EncodedFrames, *, threads: int
    ) -> npt.NDArray[np.void]:
        """Add frames that are read, or decoded, from open files block by block.

        Parameters
        ----------
        frames : _core.StoredFrames or _core.EncodedFrames
            Encoded ones must be integers.
        threads : int
            Number of threads.

        Returns
        -------
        structured ndarray
            Statistics of all frames, as of `add`.
        """
        with self._lock:
            return self._core.add_located(frames, threads)

    def subtract_located(
        self, frames: _core.StoredFrames | _core.EncodedFrames, *, threads: int
    ) -> npt.NDArray[np.void]:
        """Take back frames that are read from open files: the exact inverse of `add_located`.

        Parameters
        ----------
        frames, threads
            As for `add_located`.

        Returns
        -------
        structured ndarray
            Statistics of all frames, as of `add`.
        """
        with self._lock:
            return self._core.subtract_located(frames, threads)

    def subtract(self, frames: npt.NDArray[Any], *, threads: int | None = None) -> None:
        """Take frames back that were added before: the exact inverse of `add`.

        Parameters
        ----------
        frames : ndarray
            As for `add`.
        threads : int, optional
            As for `add`.

        Raises
        ------
        ValueError
            If there are more frames than the moments hold; nothing is subtracted then, nor after any of
            the errors of `add`. A warning says if they leave a trace; see `exact`.
        """
        n = _core.resolve_threads(threads)
        with self._lock, self._warns_of_traces():
            self._core.subtract(frames, n)

    def rows(self, first: int, last: int) -> PixelMoments:
        """Copy the moments of some rows of the frames, for results that are too large to be formed at once.

        Parameters
        ----------
        first, last : int
            First row, and the one after the last; rows that the frames do not have are left out.

        Returns
        -------
        PixelMoments
        """
        return self._part((slice(first, last), slice(None)))

    def sampled(self, step: int) -> PixelMoments:
        """Copy the moments of every `step`-th pixel of every `step`-th row, for small pictures.

        Parameters
        ----------
        step : int
            Distance of the pixels.

        Returns
        -------
        PixelMoments
        """
        return self._part((slice(None, None, step), slice(None, None, step)))

    def _part(self, which: tuple[slice, slice]) -> PixelMoments:
        """Copy the moments of some rows and columns."""
        sizes = (len(range(*some.indices(n))) for some, n in zip(which, self.shape, strict=False))
        part = PixelMoments((*sizes, *self.shape[2:]), self.dtype)
        with self._lock:
            for name, sums in part.parts().items():
                sums[...] = self.parts()[name][which]
            part._core.count = self.count
        return part

    def mean_with(self, other: PixelMoments) -> Image:
        """Mean image of the frames of both, as if they were merged.

        Parameters
        ----------
        other : PixelMoments
            Of frames of the same shape and kind.

        Returns
        -------
        float64 ndarray, shape of a frame
            As of `mean`.
        """
        with self.held_with(other) as (mine, its):
            return mine.mean(_core.resolve_threads(None), its)

    def std_with(self, other: PixelMoments) -> Image:
        """Sigma image (ddof 0) of the frames of both, as if they were merged.

        Parameters
        ----------
        other : PixelMoments
            Of frames of the same shape and kind.

        Returns
        -------
        float64 ndarray, shape of a frame
            As of `std`.
        """
        with self.held_with(other) as (mine, its):
            return mine.std(0, _core.resolve_threads(None), its)

    def targets_with(self, other: PixelMoments) -> tuple[float, float]:
        """Means over the mean and the sigma image of both, pixels that never change left out.

        Parameters
        ----------
        other : PixelMoments
            Of frames of the same shape and kind.

        Returns
        -------
        tuple of two floats
            NaN if no pixel ever changes.
        """
        with self.held_with(other) as (mine, its):
            return mine.targets(_core.resolve_threads(None), its)

    def mean(self, *, threads: int | None = None) -> Image:
        """Mean image, Σx / n.

        Parameters
        ----------
        threads : int, optional
            As for `add`.

        Returns
        -------
        float64 ndarray, shape of a frame
            In the units of the pixels; NaN if there are no frames. Correctly rounded for integer frames.
        """
        with self._lock:
            return self._core.mean(_core.resolve_threads(threads))

    def var(self, ddof: int = 0, *, threads: int | None = None) -> Image:
        """Variance of every pixel vector, (n·Σx² - (Σx)²) / (n·(n - ddof)).

        Parameters
        ----------
        ddof : int
            Delta degrees of freedom: 0 for the population variance.
        threads : int, optional
            As for `add`.

        Returns
        -------
        float64 ndarray, shape of a frame
            In squared units of the pixels; NaN where count <= ddof. Within 1 ulp of exact for integer
            frames.
        """
        with self._lock:
            return self._core.var(ddof, _core.resolve_threads(threads))

    def std(self, ddof: int = 0, *, threads: int | None = None) -> Image:
        """Sigma image: the standard deviation of every pixel vector, the root of `var`.

        Parameters
        ----------
        ddof : int
            Delta degrees of freedom: 0 for the population standard deviation.
        threads : int, optional
            As for `add`.

        Returns
        -------
        float64 ndarray, shape of a frame
            In the units of the pixels; NaN where count <= ddof. Within 1 ulp of exact for integer frames.
        """
        with self._lock:
            return self._core.std(ddof, _core.resolve_threads(threads))

    def sum(self) -> Image:
        """Σx, rounded from the exact state to float64; shape of a frame."""
        with self._lock:
            return self._core.sum(_core.resolve_threads(None))

    def sum_of_squares(self) -> Image:
        """Σx², rounded from the exact state to float64; shape of a frame."""
        with self._lock:
            return self._core.sum_of_squares(_core.resolve_threads(None))

    def check(self, bounds: tuple[float, float, float, float, float] | None) -> tuple[int, float, float]:
        """Tell whether there are frames with these sums.

        Parameters
        ----------
        bounds : tuple of five floats, or None
            What is known of the frames: the sum of their smallest pixels, the sum of their largest pixels,
            the smallest and the largest pixel of all, and the largest magnitude of any pixel that was ever
            added. None: no more than their kind.

        Returns
        -------
        pixel : int
            First pixel, in C order, whose sums no such frames have; the number of pixels if there is none.
        sum, sum_of_squares : float
            Over all pixels, if there is none.
        """
        with self._lock:
            return self._core.check(bounds, _core.resolve_threads(None))

    def state(self) -> dict[str, Any]:
        """Return the exact state, as `from_state` takes it.

        Returns
        -------
        dict
            ``shape``, ``dtype`` (its name), ``count``, and arrays of a frame's shape: ``sum`` (int64) and
            ``sum_of_squares`` (uint64) for integer frames; ``sum_high``, ``sum_low``,
            ``sum_of_squares_high``, ``sum_of_squares_low`` (float64) for float frames, each sum being
            high + low.
        """
        return self._state()

    def to_bytes(self) -> bytes:
        """Return the exact state in the binary format that camnorm's C++ and C interfaces share.

        Returns
        -------
        bytes
            A header of 64 bytes, the sums, and checksums; ``camnorm/state.hpp`` tells every byte. A file of
            them should be written atomically: under a temporary name, then renamed.
        """
        with self._lock:
            return self._core.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> PixelMoments:
        """Make moments from the bytes that `to_bytes`, or the C++ or C interface, gave.

        Parameters
        ----------
        data : bytes, or a contiguous buffer
            Just these bytes, no more of them.

        Returns
        -------
        PixelMoments
            With the same bits.

        Raises
        ------
        TypeError, BufferError
            If `data` is no contiguous buffer.
        ValueError
            If it is not what `to_bytes` gives: truncated, damaged, of another version, or with sums that no
            frames have.
        """
        return cls._wrap(_core.PixelMoments.from_bytes(data))

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelMoments.from_state, (self.state(),)


def frame_statistics(frames: npt.NDArray[Any], *, threads: int | None = None) -> npt.NDArray[np.void]:
    """Mean, standard deviation, minimum and maximum of each frame over its pixels.

    Parameters
    ----------
    frames : ndarray
        One frame (y, x), a stack (n, y, x), or a stack of colour frames (n, y, x, c), of any dtype and
        strides that `PixelMoments` takes. A single colour frame would be taken for a stack: pass
        ``frame[None]``.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    structured ndarray, shape (n,)
        Fields ``mean``, ``std`` (ddof 0), ``min``, ``max`` (float64); all NaN for a frame with NaN or
        infinite pixels.

    Raises
    ------
    TypeError, ValueError
        If `frames` is no array, or of a dtype or number of dimensions that is not supported.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> camnorm.frame_statistics(np.array([[1, 2], [3, 4]], np.uint8)).tolist()
    [(2.5, 1.118033988749895, 1.0, 4.0)]
    """
    ndim = 3 if isinstance(frames, np.ndarray) and frames.ndim == 4 else 2
    return _core.frame_statistics(frames, ndim, _core.resolve_threads(threads))


def kind_of(dtype: np.dtype[Any]) -> str:
    """Kind of the sums in which `PixelMoments` keep pixels of this type."""
    return "integer" if dtype.kind in "iu" and dtype.itemsize <= 2 else "float"
