"""Fourier ring correlation of two frames, from their pixels or from their transforms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camnorm import _core
from camnorm.fourier.curve import RingCorrelation
from camnorm.fourier.rings import check_rings, ring_index
from camnorm.fourier.transforms import real_transform, share, take_means, threads_for
from camnorm.fourier.windows import Window, ring_overlap, tapered_fraction, tukey, window_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RingPowers", "central_square", "frc", "frc_of_planes", "frc_with_powers", "ring_correlation"]

# Planes of a colour frame, with alpha or another channel; more are the columns of a stack (n, y, x).
_MOST_PLANES = 8


def frc(
    a: NDArray[Any],
    b: NDArray[Any],
    binning: str = "round",
    window: Window = None,
    crop: str | None = "square",
    corners: bool = False,
    *,
    threads: int | None = None,
) -> RingCorrelation | list[RingCorrelation]:
    """Fourier ring correlation of two frames.

    Parameters
    ----------
    a, b : ndarray, shape (y, x) or (y, x, c)
        Two frames of one shape, of any dtype that camnorm reads (uint8 to float64) and any strides.
    binning : {"round", "floor"}
        How the radius becomes the number of a ring: floor(r + 1/2), as EMAN2, RELION, Xmipp and cisTEM
        do, or floor(r).
    window : None, "hann", "tukey" or ("tukey", alpha)
        Window against the frames' edges, with what it does to the statistics accounted for. Hann is the
        safe choice for frames with strong low frequencies; Tukey tapers the fraction alpha (0.5 by
        default) of each side and costs fewer independent frequencies, but holds them less well.
    crop : {"square", None}
        The central square, as in the paper, or the full rectangle, whose rings are circles in frequency
        and ellipses in the Fourier plane.
    corners : bool
        Whether to go on beyond Nyquist into the corners of the Fourier plane, where a Bayer pattern shows.
        The test of independence leaves those rings out unless told otherwise.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on. It does
        not change a bit of the result.

    Returns
    -------
    RingCorrelation, or a list of them
        One for grey frames; one a plane for colour frames.

    Raises
    ------
    TypeError
        If a frame is no array, or of a dtype that is not supported.
    ValueError
        If the shapes differ, have no rings (less than 2 x 2 pixels), or are not those of frames (stacks are
        refused: a frame has at most 8 planes); if an option is
        unknown; and, as NonFiniteError, if a frame has NaN or infinite pixels.

    Notes
    -----
    For each ring r, with A and B the Fourier transforms of the frames [1]_::

        FRC(r) = Σ Re(A B*) / sqrt(Σ |A|² · Σ |B|²)

    over the whole ring. The mean, weighted with the window, is removed in float64 before the transforms,
    which are in float32, or in float64 if one of the frames is.

    One machine gives the same bits every time. Another build of FFTW, a processor with other vector units,
    and wisdom that the program itself has given FFTW may change the rounding of the transforms, a relative
    1e-7 in float32.

    References
    ----------
    .. [1] W. O. Saxton, W. Baumeister, "The correlation averaging of a regularly arranged bacterial cell
       envelope protein", J. Microsc. 127, 127-138 (1982).

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> rng = np.random.default_rng(1)
    >>> pattern, x, y = rng.normal(size=(3, 64, 64))
    >>> camnorm.frc(x, y).independence().independent
    True
    >>> camnorm.frc(x + pattern, y + pattern).independence().independent
    False
    """
    planes = frc_of_planes(a, b, binning, window, crop, corners, threads=threads)
    return planes[0] if a.ndim == 2 else list(planes)


def frc_of_planes(
    a: NDArray[Any],
    b: NDArray[Any],
    binning: str = "round",
    window: Window = None,
    crop: str | None = "square",
    corners: bool = False,
    *,
    threads: int | None = None,
) -> tuple[RingCorrelation, ...]:
    """Fourier ring correlation of every plane of two frames, as `frc`: of grey frames, one."""
    for name, frame in (("a", a), ("b", b)):
        _core.check_array(frame, name)
        if frame.ndim not in (2, 3):
            raise ValueError(f"{name} has shape {frame.shape} where a frame (y, x) or (y, x, c) is wanted")
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape} and b {b.shape}: two frames of one shape are wanted")
    if a.ndim == 3 and a.shape[2] > _MOST_PLANES:
        raise ValueError(
            f"a has shape {a.shape}, and {a.shape[2]} planes are too many for colours: pass one frame of a "
            "stack at a time"
        )
    check_rings(a.shape[:2])
    if crop not in ("square", None):
        raise ValueError(f"crop must be 'square' or None, not {crop!r}")
    tapered_fraction(window)  # raises an error for one that is unknown
    if crop == "square":
        a, b = central_square(a), central_square(b)
    a, b = _within_range(a), _within_range(b)
    n_threads = threads_for(threads, a.shape[:2])
    if a.ndim == 2:
        return (_correlate(a, b, binning, window, corners, n_threads),)
    return tuple(
        _correlate(a[..., plane], b[..., plane], binning, window, corners, n_threads)
        for plane in range(a.shape[2])
    )


class RingPowers(NamedTuple):
    """What the spectra of two frames hold in each ring, per frequency: in squared units of the pixels."""

    common: NDArray[np.float64]
    """Mean of Re(A B*)."""
    difference: NDArray[np.float64]
    """Mean of abs(A - B)²."""


def frc_with_powers(
    a: NDArray[Any], b: NDArray[Any], window: Window = None, *, threads: int | None = None
) -> tuple[RingCorrelation, RingPowers]:
    """Fourier ring correlation of the central squares of two planes, and their powers.

    Parameters
    ----------
    a, b, window, threads
        As for `frc`; shape (y, x).

    Returns
    -------
    RingCorrelation
    RingPowers
        White noise has its variance at every frequency, whatever the window.
    """
    a, b = central_square(a), central_square(b)
    sums, index = _ring_sums(a, b, "round", window, False, threads_for(threads, a.shape))
    cross, power_a, power_b = sums.powers()
    weights = np.prod([np.square(window_values(n, window)).sum() for n in a.shape])
    frequencies = index.counts * weights
    powers = RingPowers(cross / frequencies, (power_a + power_b - 2.0 * cross) / frequencies)
    return _finished(sums, index, a.shape, "round", window), powers


def _correlate(
    a: NDArray[Any], b: NDArray[Any], binning: str, window: Window, corners: bool, threads: int
) -> RingCorrelation:
    """Ring correlation of two planes."""
    sums, index = _ring_sums(a, b, binning, window, corners, threads)
    return _finished(sums, index, a.shape, binning, window)


def _finished(
    sums: _core.RingAccumulator,
    index: _core.RingIndex,
    shape: tuple[int, ...],
    binning: str,
    window: Window,
) -> RingCorrelation:
    return _ring_correlation(*sums.correlation(), index.counts, (shape[0], shape[1]), binning, window)


def _ring_sums(
    a: NDArray[Any], b: NDArray[Any], binning: str, window: Window, corners: bool, threads: int
) -> tuple[_core.RingAccumulator, _core.RingIndex]:
    """Sums over the rings of the spectra of two planes."""
    alpha = tapered_fraction(window)
    dtype = np.float64 if np.float64 in (a.dtype, b.dtype) else np.float32
    shape = (a.shape[0], a.shape[1])
    rows, columns = (tukey(n, alpha) if alpha else None for n in shape)
    tapers = [_core.Taper(frame, rows, columns, name) for name, frame in (("a", a), ("b", b))]
    index = ring_index(shape[1], shape[0], binning, corners)  # transposed, with the same counts
    take_means(tapers, threads)
    sums = _core.RingAccumulator(index) if alpha else _core.RingAccumulator(index, _jumps(a), _jumps(b))
    with (
        real_transform(shape, dtype, threads) as first,
        real_transform(shape, dtype, threads) as second,
    ):
        first.rows(tapers[0].write, threads)
        second.rows(tapers[1].write, threads)

        def add(thread: int, band: int) -> None:
            sums.add(band, first.columns(thread, band), second.columns(thread, band))

        share(first.bands, threads, add)
    return sums, index


def ring_correlation(
    fa: NDArray[Any],
    fb: NDArray[Any],
    shape: tuple[int, int],
    binning: str = "round",
    corners: bool = False,
    *,
    threads: int | None = None,
) -> RingCorrelation:
    """Fourier ring correlation of two frames whose transforms are at hand.

    Parameters
    ----------
    fa, fb : complex64 or complex128 ndarray, shape (y, x//2 + 1)
        Half spectra of the frames, as ``rfft2`` gives them, both of one dtype and C-contiguous.
    shape : (int, int)
        Shape (y, x) of the frames.
    binning, corners, threads
        As for `frc`.

    Returns
    -------
    RingCorrelation
        Of frames that had no window.

    Raises
    ------
    TypeError
        If a spectrum is no array or of another dtype.
    ValueError
        If a spectrum has another shape, is not C-contiguous, or has NaN or infinite values.

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> x, y = np.random.default_rng(1).normal(size=(2, 64, 64))
    >>> curve = camnorm.ring_correlation(np.fft.rfft2(x), np.fft.rfft2(y), (64, 64))
    >>> curve
    <RingCorrelation of frames of shape (64, 64), 33 rings>
    """
    height, width = shape
    shape = (height, width)
    check_rings(shape)
    for name, spectrum in (("fa", fa), ("fb", fb)):  # before a table of an absurd shape is made
        _core.check_half_spectrum(spectrum, height, width, name)
    index = ring_index(height, width, binning, corners)
    sums = _core.ring_correlation(index, fa, fb, threads_for(threads, shape))
    return _ring_correlation(*sums, index.counts, shape, binning, None)


def _ring_correlation(
    correlation: NDArray[np.float64],
    z: NDArray[np.float64],
    evenness: NDArray[np.float64],
    counts: NDArray[np.uint64],
    shape: tuple[int, int],
    binning: str,
    window: Window,
) -> RingCorrelation:
    np.clip(correlation, -1.0, 1.0, out=correlation)  # beyond by a rounding error
    n = counts.astype(np.int64)
    n_eff = n.astype(np.float64)
    alpha = tapered_fraction(window)
    if alpha:
        n_eff /= ring_overlap(shape, binning, alpha, min(shape) // 2)[0][: n.size]
        z *= np.sqrt(n_eff / n)
    for values in (correlation, z, evenness, n, n_eff):
        values.flags.writeable = False
    return RingCorrelation(shape, binning, window, correlation, z, evenness, n, n_eff)


def central_square(frame: NDArray[Any]) -> NDArray[Any]:
    """The largest square in the middle of a frame, as the paper takes it."""
    side = min(frame.shape[:2])
    top, left = ((n - side) // 2 for n in frame.shape[:2])
    return frame[top : top + side, left : left + side]


def _within_range(frame: NDArray[Any]) -> NDArray[Any]:
    """A frame, or a multiple of it if powers of its pixels would be too large or too small for numbers."""
    if frame.dtype.kind != "f":
        return frame
    largest = float(np.abs(frame[:: frame.shape[0] // 64 + 1, :: frame.shape[1] // 64 + 1]).max())
    if largest == 0.0 or not math.isfinite(largest) or 1e-30 < largest < 1e30:
        return frame
    return np.asarray(np.ldexp(frame, -math.frexp(largest)[1]))


def _jumps(frame: NDArray[Any]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Transforms of the steps from the first row of a frame to its last, and from column to column."""
    edges = frame[[0, -1]].astype(np.float64), frame[:, [0, -1]].T.astype(np.float64)
    rows, columns = (last - first for first, last in edges)
    return np.fft.rfft(rows), np.fft.fft(columns)
