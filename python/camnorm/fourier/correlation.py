"""Fourier ring correlation of two frames, read as a test of their independence."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from camnorm import _core
from camnorm.fourier.transforms import BAND_COLUMNS, real_transform, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = [
    "Independence",
    "RingCorrelation",
    "amplitude_spectrum",
    "frc",
    "ring_average",
    "ring_correlation",
]

Window: TypeAlias = "str | tuple[str, float] | None"

# Two-sided probability that a normal variable lies beyond 3σ, as it is quoted.
_OUTSIDE = 0.0027

# A ring holds lines if so many times fewer frequencies than it has share its power; scenes may do so at
# low frequencies, below this fraction of Nyquist.
_LINE = 16.0
_LOW_FREQUENCIES = 0.1

# Rings of few frequencies have smaller fourth cumulants than the leading order says. Taken as of so many
# frequencies more, simulated rings of 40 and more about keep their 0.27 and 0.05 % points; of smaller ones
# there are but five.
_FEW = 3.0

# A column of the tables of curves: by it a table is known that may be replaced.
CURVE_MARK = b"threshold_3sigma"

_THRESHOLDS = ("3sigma", "3sigma-exact", "3sigma-asymptotic", "half-bit", "one-bit")

# What windows do is computed pair by pair up to this side; beyond it, rings behave all alike.
_EXACT_SIDE = 512

# Frames of fewer pixels are done before a second thread has woken up.
_PARALLEL_PIXELS = 1 << 20


@dataclasses.dataclass(frozen=True)
class Independence:
    """Verdict on whether two frames are independent, by three tests of their ring correlation.

    Fixed patterns betray themselves in one ring, in many (noise that the sensor repeats) or, weakly, in the
    mean over all: each has its test. A pattern of a few single frequencies (readout lines) is looked for
    besides. All use rings 1 to Nyquist.

    Attributes
    ----------
    independent : bool
        ``p >= alpha``, and no `lines`.
    p : float
        Family-wise: the probability that independent frames look at least as dependent in any of the
        three tests. Two of them see the same rings, which the binomial distribution accounts for.
    alpha : float
        Level of the verdict: the share of independent pairs that are called dependent.
    rings : int
        Number of rings tested.
    outside_3sigma, expected_outside_3sigma : int, float
        Rings whose correlation lies outside ±3/sqrt(n/2), and how many do so by chance.
    outside_exact, expected_outside_exact : int, float
        Rings whose correlation lies outside the exact 0.27 % curve, "3sigma-exact", and how many do so by
        chance if the power within a ring is even.
    lines : int
        Rings above 0.1 of Nyquist that lie above +3/sqrt(n/2) because one or few frequencies, the same in
        both frames, hold nearly all of their power.
    mean_correlation, mean_correlation_error : float
        Mean of the correlation over the rings, and its standard deviation if the frames are independent.
    z : float
        Sum of the z of all rings over its standard deviation (Stouffer): positive for a fixed pattern.
    p_largest : float
        Of the most deviant ring (Šidák). A bound if a window makes rings depend on each other.
    p_count : float
        Of the number of rings beyond their two-sided 0.27 % points (binomial).
    p_mean : float
        Of `z`, one-sided, because what a sensor adds to every frame correlates positively.
    """

    independent: bool
    p: float
    alpha: float
    rings: int
    outside_3sigma: int
    expected_outside_3sigma: float
    outside_exact: int
    expected_outside_exact: float
    lines: int
    mean_correlation: float
    mean_correlation_error: float
    z: float
    p_largest: float
    p_count: float
    p_mean: float

    def to_dict(self) -> dict[str, bool | int | float]:
        """Return the numbers by their names."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        verdict = "independent" if self.independent else "not independent"
        return (
            f"{verdict}: p = {self.p:.2g} over {self.rings} rings\n"
            f"  outside ±3/sqrt(n/2): {self.outside_3sigma} rings, "
            f"{self.expected_outside_3sigma:.2g} expected by chance\n"
            f"  outside the exact 0.27 % curve: {self.outside_exact} rings, "
            f"{self.expected_outside_exact:.2g} expected by chance\n"
            f"  with lines in both frames: {self.lines} rings\n"
            f"  mean correlation {self.mean_correlation:+.2g} ± {self.mean_correlation_error:.1g} "
            f"(z = {self.z:+.2f})"
        )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RingCorrelation:
    """Fourier ring correlation of two frames; `frc` and `ring_correlation` make it.

    Attributes
    ----------
    shape : (int, int)
        Shape (y, x) of the frames that were transformed, after cropping.
    binning : str
        "round" or "floor".
    window : None, str or (str, float)
        Window that lay on the frames.
    correlation : float64 ndarray, shape (rings,)
        Signed, -1 to 1. NaN at the zero frequency, and where a frame has no power.
    z : float64 ndarray, shape (rings,)
        Conditional z: Σ Re(A B*) / sqrt(Σ |A|² |B|²), times sqrt(n_eff / n). Given the moduli, its mean
        is 0 and its variance 1 if the frames are independent, whatever the spectrum in the ring. Of frames
        without a window, A and B are here without the cross that the edges put into them (the smooth
        component of [1]_). NaN where the correlation is.
    evenness : float64 ndarray, shape (rings,)
        Mean of |A|² times mean of |B|² over mean of |A|² |B|², for the same A and B as in z: about 1 if the
        frequencies of the ring share its power, 1 / n if one of them has all. NaN where the correlation is.
    n : int64 ndarray, shape (rings,)
        Frequencies of the full Fourier plane in each ring, Hermitian mates included.
    n_eff : float64 ndarray, shape (rings,)
        Effective number of independent frequencies among them: `n`, or less with a window.

    References
    ----------
    .. [1] L. Moisan, "Periodic plus Smooth Image Decomposition", J. Math. Imaging Vis. 39, 161-179 (2011).
    """

    shape: tuple[int, int]
    binning: str
    window: Window
    correlation: NDArray[np.float64]
    z: NDArray[np.float64]
    evenness: NDArray[np.float64]
    n: NDArray[np.int64]
    n_eff: NDArray[np.float64]

    @property
    def radius(self) -> NDArray[np.int64]:
        """Number of each ring: its radius in steps of 1 / min(shape) cycles/pixel."""
        return np.arange(self.n.size)

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Frequency of each ring in cycles/pixel; Nyquist is 0.5."""
        return self.radius / min(self.shape)

    @property
    def nyquist(self) -> NDArray[np.float64]:
        """Frequency of each ring as a fraction of Nyquist."""
        return 2.0 * self.frequency

    def __repr__(self) -> str:
        return f"<RingCorrelation of frames of shape {self.shape}, {self.n.size} rings>"

    def threshold(self, name: str) -> NDArray[np.float64]:
        """Return a threshold curve.

        Parameters
        ----------
        name : str
            - "3sigma": 3 / sqrt(n/2), the curve of the paper. It is 4.24 true standard deviations of the
              correlation of independent frames, so over a whole curve it is hardly ever crossed.
            - "3sigma-exact": t / sqrt(n_eff - 1 + t²), where t is the two-sided 0.27 % point of Student's
              t with n_eff - 1 degrees of freedom. Crossed by 0.27 % of the rings of independent frames
              with a white spectrum.
            - "3sigma-asymptotic": 3 / (sqrt(n/2) + 3 - 1).
            - "half-bit": (0.2071 + 1.9102/sqrt(n)) / (1.2071 + 0.9102/sqrt(n)) [1]_.
            - "one-bit": (0.5 + 2.4142/sqrt(n)) / (1.5 + 1.4142/sqrt(n)) [1]_.

        Returns
        -------
        float64 ndarray, shape (rings,)

        Raises
        ------
        ValueError
            Another name.

        References
        ----------
        .. [1] M. van Heel, M. Schatz, "Fourier shell correlation threshold criteria",
           J. Struct. Biol. 151, 250-262 (2005).
        """
        root = np.sqrt(self.n)
        if name == "3sigma":
            return 3.0 / np.sqrt(self.n / 2.0)
        if name == "3sigma-exact":
            return _exact_threshold(self.n_eff)
        if name == "3sigma-asymptotic":
            return 3.0 / (np.sqrt(self.n / 2.0) + 3.0 - 1.0)
        if name == "half-bit":
            return np.asarray((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root))
        if name == "one-bit":
            return np.asarray((0.5 + 2.4142 / root) / (1.5 + 1.4142 / root))
        raise ValueError(f"no threshold {name!r}: there are {', '.join(_THRESHOLDS)}")

    @classmethod
    def combined(cls, pairs: Sequence[RingCorrelation], common: float = 0.0) -> RingCorrelation:
        """Put the curves of several pairs of frames together, in which weak patterns stand out.

        Parameters
        ----------
        pairs : sequence of RingCorrelation
            Of pairs that have no frame in common, all made in the same way.
        common : float
            Correlation of z between any two of the pairs, which they may have by what they share.

        Returns
        -------
        RingCorrelation
            `correlation` and `evenness` are the means. For k pairs, `z` is Σ z / sqrt(k·c) with
            c = 1 + (k - 1)·common, `n` is k times as large, and `n_eff` k / c times, so that thresholds are
            those of the mean.

        Raises
        ------
        ValueError
            If there is no pair, or they differ in shape, binning, window or number of rings.
        """
        if not pairs:
            raise ValueError("no pairs to combine")
        first, k = pairs[0], len(pairs)
        excess = 1.0 + (k - 1) * common
        if len({(pair.shape, pair.binning, pair.window, pair.n.size) for pair in pairs}) > 1:
            raise ValueError("pairs to combine must be of one shape, binning, window and number of rings")
        values: dict[str, Any] = {
            "correlation": np.mean([pair.correlation for pair in pairs], axis=0),
            "evenness": np.mean([pair.evenness for pair in pairs], axis=0),
            "z": np.sum([pair.z for pair in pairs], axis=0) / np.sqrt(k * excess),
            "n": k * first.n,
            "n_eff": k / excess * first.n_eff,
        }
        for array in values.values():
            array.flags.writeable = False
        return dataclasses.replace(first, **values)

    def independence(self, alpha: float = 0.05, *, corners: bool = False) -> Independence:
        """Tell whether the frames are independent.

        Parameters
        ----------
        alpha : float
            Share of independent pairs that may be called dependent.
        corners : bool
            Test the rings beyond Nyquist too, if the curve has them.

        Returns
        -------
        Independence

        Raises
        ------
        ValueError
            If `alpha` is not between 0 and 1, or if no ring has power in both frames.

        Notes
        -----
        The tests use the conditional z, which takes the power of each frequency as given and asks only
        whether the phases agree: scenes may have any spectrum. The p of a ring follows from it as from a
        correlation z / sqrt(m) of m independent frequencies, by Student's t with m - 1 degrees of freedom.
        Such a z has an excess kurtosis of -6 / (m + 2), and m is chosen for it to be that of the ring:

            m = n · evenness / κ + 3,  κ = 2 (g + 1 - 1/g),  g = n / n_eff

        Of a ring of n/2 complex Gaussian coefficients with the covariance C, whose diagonal is 1, the
        excess of Σ Re(A B*) / sqrt(Σ |A|² |B|²) is, to the first order in 1/n, -6 κ / n with
        κ = 4 h₃/h₂ - h₄/h₂² - Σ |C|⁴/(n/2) and h_j = tr(C^j)/(n/2), h₂ = g. Without a window C is the unit
        matrix and κ = 2. With one, h₃ = g (2g - 1) and h₄ = h₃ (3g - 2), as if the eigenvalues of C had a
        gamma distribution, and 1 for the last term give the formula above, which is right to 5 % for Hann
        and Tukey windows.

        The smallest p of the three tests, s, is that of the most deviant ring if one has a p below
        q = 1 - (1 - s)^(1/rings), and that of the count if k or more rings lie beyond their 0.27 % points,
        where k is the least number for which that has no larger probability than s. Both do not happen
        with the probability (1 - s) · P(fewer than k of the rings lie between q and 0.27 %); the mean is
        taken as independent of them.

        Of a thousand pairs of simulated scenes each, 3 to 7 % without windows and 3.7 to 6 % with them are
        called dependent at `alpha` = 0.05 (docs/independence.md). Three limits follow.

        - Without a window, what jumps at the edges is taken out of both frames. White noise jumps there by
          chance, and taking that out makes the rings of the lowest frequencies depend on each other: about
          6 % of pairs are called dependent.
        - Scenes whose low frequencies dominate and do not go on periodically over the edges leak along the
          axes, and correlate from ring to ring. Taking out what jumps at the edges suffices for amplitudes
          that fall as 1/k or 1/k^1.5; where they fall as 1/k² or faster, lay a Hann window on the frames.
        - A pattern of a few single frequencies, such as readout lines that repeat every four columns, has
          but a few phases to show for it, however strong it is. So rings are looked for whose power lies in
          the same few frequencies in both frames: the evenness is 1 if all frequencies share the power of
          the ring, and 1 / n if it is that of one. Corrected real scenes stay above 1/6, lines go below
          1/25; the limit is 1/16.
        """
        from scipy.special import bdtrc, ndtr, stdtr

        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
        last = self.n.size - 1 if corners else min(self.shape) // 2
        tested = np.flatnonzero(np.isfinite(self.z[: last + 1]))
        rings = tested.size
        if not rings:
            raise ValueError("no ring has power in both frames: is one of them constant?")
        z, correlation, evenness = self.z[tested], self.correlation[tested], self.evenness[tested]

        g = self.n[tested] / self.n_eff[tested]
        p_ring = _p_of_rings(z, self.n[tested] * evenness / (2.0 * (g + 1.0 - 1.0 / g)) + _FEW)
        p_largest = _smallest_of(p_ring.min(), rings)
        beyond = int(np.count_nonzero(p_ring < _OUTSIDE))
        p_count = bdtrc(beyond - 1, rings, _OUTSIDE) if beyond else 1.0
        # Without power in some rings, those that are left vary as their share.
        sum_of_covariances = self._sum_of_covariances(last)
        z_sum = z.sum() / np.sqrt(sum_of_covariances * rings / last)
        p_mean = ndtr(-z_sum)
        p = _family_wise(min(p_largest, p_count, p_mean), rings)

        threshold = self.threshold("3sigma")[tested]
        lines = (correlation > threshold) & (self.nyquist[tested] > _LOW_FREQUENCIES)
        lines &= evenness * _LINE < 1.0
        reachable = threshold < 1.0
        freedom = self.n_eff[tested][reachable] - 1.0
        limit = threshold[reachable]
        tails = 2.0 * stdtr(freedom, -limit * np.sqrt(freedom / (1.0 - limit**2)))
        error = np.sqrt((1.0 / self.n_eff[tested]).sum() * sum_of_covariances / last) / rings
        return Independence(
            independent=bool(p >= alpha) and not lines.any(),
            p=float(p),
            alpha=float(alpha),
            rings=rings,
            outside_3sigma=int(np.count_nonzero(np.abs(correlation) > threshold)),
            expected_outside_3sigma=float(tails.sum()),
            outside_exact=int(np.count_nonzero(np.abs(correlation) > self.threshold("3sigma-exact")[tested])),
            expected_outside_exact=rings * _OUTSIDE,
            lines=int(np.count_nonzero(lines)),
            mean_correlation=float(correlation.mean()),
            mean_correlation_error=float(error),
            z=float(z_sum),
            p_largest=float(p_largest),
            p_count=float(p_count),
            p_mean=float(p_mean),
        )

    def _sum_of_covariances(self, last: int) -> float:
        """Sum over r and s of cov(z_r, z_s), over rings 1 to `last`."""
        alpha = _tapered_fraction(self.window)
        if not alpha:
            return last
        return float(_overlap(self.shape, self.binning, alpha, last)[1][1 : last + 1].sum())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the correlation and ±3/sqrt(n/2) over the fraction of Nyquist.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new pyplot figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from camnorm.report.plot import frc_panel

        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().subplots()
        frc_panel(ax, self)
        ax.set_xlabel("spatial frequency / Nyquist (1 = 0.5 cycles/pixel)")
        ax.set_xlim(0.0, max(1.0, float(self.nyquist[-1])))
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row a ring to a CSV file, atomically.

        Parameters
        ----------
        path : str or os.PathLike
            An existing file is replaced. Columns: radius, frequency, nyquist, n, n_eff, correlation, z,
            threshold_3sigma, threshold_3sigma_exact; numbers in full precision, "nan" where undefined.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from camnorm.io.base.atomic import atomic_target

        columns = {
            "radius": self.radius,
            "frequency": self.frequency,
            "nyquist": self.nyquist,
            "n": self.n,
            "n_eff": self.n_eff,
            "correlation": self.correlation,
            "z": self.z,
            "threshold_3sigma": self.threshold("3sigma"),
            "threshold_3sigma_exact": self.threshold("3sigma-exact"),
        }
        with atomic_target(path, overwrite=True) as target, open(target, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _p_of_rings(z: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of z for correlations of m frequencies."""
    from scipy.special import stdtr

    squared = np.minimum(z**2 / m, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(2.0 * stdtr(m - 1.0, -np.sqrt((m - 1.0) * squared / (1.0 - squared))))


def _smallest_of(p: float, tests: int) -> float:
    """Probability that the smallest p of so many independent tests is no larger."""
    return 1.0 if p == 1.0 else -math.expm1(tests * math.log1p(-p))


def _family_wise(smallest: float, rings: int) -> float:
    """Probability that the smallest p of the three tests of independence is no larger."""
    from scipy.special import bdtrc

    if smallest == 1.0:
        return 1.0
    tails = bdtrc(np.arange(rings), rings, _OUTSIDE)  # of 1 ring or more, 2 or more, ...
    enough = 1 + int(np.count_nonzero(tails > smallest))
    q = -math.expm1(math.log1p(-smallest) / rings)
    between = max(0.0, (_OUTSIDE - q) / (1.0 - q))
    return -math.expm1(2.0 * math.log1p(-smallest) + math.log1p(-bdtrc(enough - 1, rings, between)))


def _exact_threshold(n_eff: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import stdtrit

    # A single frequency always correlates by ±1.
    threshold = np.ones(n_eff.shape)
    several = n_eff > 1.0
    freedom = n_eff[several] - 1.0
    t = stdtrit(freedom, 1.0 - _OUTSIDE / 2.0)
    threshold[several] = t / np.sqrt(freedom + t**2)
    return threshold


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
        If the shapes differ, have no rings (less than 2 x 2 pixels) or are no frame's; if an option is
        unknown; and, as NonFiniteError, if a frame has NaN or infinite pixels.

    Notes
    -----
    For each ring r, with A and B the Fourier transforms of the frames [1]_:

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
    for name, frame in (("a", a), ("b", b)):
        if not isinstance(frame, np.ndarray):
            raise TypeError(f"{name} must be a numpy array, not {type(frame).__name__}")
        if frame.ndim not in (2, 3):
            raise ValueError(f"{name} has shape {frame.shape} where a frame (y, x) or (y, x, c) is wanted")
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape} and b {b.shape}: two frames of one shape are wanted")
    _check_shape(a.shape[:2])
    if crop not in ("square", None):
        raise ValueError(f"crop must be 'square' or None, not {crop!r}")
    alpha = _tapered_fraction(window)
    if crop == "square":
        a, b = central_square(a), central_square(b)
    a, b = _within_range(a), _within_range(b)
    n_threads = _threads(threads, a.shape[:2])
    dtype = np.float64 if np.float64 in (a.dtype, b.dtype) else np.float32

    def correlate(a: NDArray[Any], b: NDArray[Any]) -> RingCorrelation:
        shape = (a.shape[0], a.shape[1])
        rows, columns = (_tukey(n, alpha) if alpha else None for n in shape)
        tapers = [_core.Taper(frame, rows, columns, name) for name, frame in (("a", a), ("b", b))]
        index = _ring_index(shape[1], shape[0], binning, corners)  # transposed, with the same counts
        _take_means(tapers, n_threads)
        sums = _core.RingAccumulator(index) if alpha else _core.RingAccumulator(index, _jumps(a), _jumps(b))
        with (
            real_transform(shape, dtype, n_threads) as first,
            real_transform(shape, dtype, n_threads) as second,
        ):
            first.rows(tapers[0].write, n_threads)
            second.rows(tapers[1].write, n_threads)

            def add(thread: int, band: int) -> None:
                sums.add(band, first.columns(thread, band), second.columns(thread, band))

            share(first.bands, n_threads, add)
        return _ring_correlation(*sums.correlation(), index.counts, shape, binning, window)

    if a.ndim == 3:
        return [correlate(a[..., plane], b[..., plane]) for plane in range(a.shape[2])]
    return correlate(a, b)


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
    """
    height, width = shape
    shape = (height, width)
    _check_shape(shape)
    for name, spectrum in (("fa", fa), ("fb", fb)):  # before a table of an absurd shape is made
        _core.check_half_spectrum(spectrum, height, width, name)
    index = _ring_index(height, width, binning, corners)
    sums = _core.ring_correlation(index, fa, fb, _threads(threads, shape))
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
    alpha = _tapered_fraction(window)
    if alpha:
        n_eff /= _overlap(shape, binning, alpha, min(shape) // 2)[0][: n.size]
        z *= np.sqrt(n_eff / n)
    for values in (correlation, z, evenness, n, n_eff):
        values.flags.writeable = False
    return RingCorrelation(shape, binning, window, correlation, z, evenness, n, n_eff)


def amplitude_spectrum(image: NDArray[Any]) -> NDArray[np.float64]:
    """Amplitude |F| of the discrete Fourier transform of an image.

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
    """
    shape = np.shape(image)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"image has shape {shape} where (y, x) is wanted")
    height, width = shape
    half = width // 2 + 1
    amplitude = np.empty((height, width))
    threads = _threads(None, shape)
    taper = _core.Taper(image, None, None, "image")
    (mean,) = _take_means([taper], threads)
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
    """
    shape = np.shape(spectrum)
    _check_shape(shape)
    index = _ring_index(*shape, binning, corners)
    return _core.ring_sums(index, spectrum, _threads(None, shape)) / index.counts


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(f"a shape of {shape} has no rings: (y, x) with at least 2 x 2 pixels is wanted")


def _threads(requested: int | None, shape: tuple[int, ...]) -> int:
    threads = _core.resolve_threads(requested)
    return threads if math.prod(shape) >= _PARALLEL_PIXELS else 1


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


@lru_cache(maxsize=4)
def _ring_index(height: int, width: int, binning: str, corners: bool) -> _core.RingIndex:
    return _core.RingIndex(height, width, binning, bool(corners))


def _take_means(tapers: list[_core.Taper], threads: int) -> list[float]:
    """Sum the pixels of the frames, in threads that do not wait for work as OpenMP's do: busily."""
    bands = tapers[0].bands
    share(len(tapers) * bands, threads, lambda _, piece: tapers[piece // bands].sum(piece % bands))
    return [taper.take_mean() for taper in tapers]


def _jumps(frame: NDArray[Any]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Transforms of the steps from the first row of a frame to its last, and from column to column."""
    edges = frame[[0, -1]].astype(np.float64), frame[:, [0, -1]].T.astype(np.float64)
    rows, columns = (last - first for first, last in edges)
    return np.fft.rfft(rows), np.fft.fft(columns)


def _tapered_fraction(window: Window) -> float:
    """Fraction of each side that a window tapers: Hann is the Tukey window that tapers all of it."""
    if window is None:
        return 0.0
    if window == "hann":
        return 1.0
    if window == "tukey":
        return 0.5
    if isinstance(window, tuple) and len(window) == 2 and window[0] == "tukey" and 0.0 < window[1] <= 1.0:
        return float(window[1])
    raise ValueError(
        f"window must be None, 'hann', 'tukey' or ('tukey', alpha) with 0 < alpha <= 1, not {window!r}"
    )


def window_values(n: int, window: Window) -> NDArray[np.float64]:
    """A window along one side of n pixels."""
    alpha = _tapered_fraction(window)
    return _tukey(n, alpha) if alpha else np.ones(n)


def _tukey(n: int, alpha: float) -> NDArray[np.float64]:
    """Periodic Tukey window: its value repeats after n pixels, so that Hann has three harmonics only."""
    distance = np.minimum(np.arange(n), n - np.arange(n))
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(1.0, distance / (alpha * n / 2.0)))


@lru_cache(maxsize=32)
def _overlap(
    shape: tuple[int, int], binning: str, alpha: float, last: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a window does to the statistics of each ring: n / n_eff, and Σ_s cov(z_r, z_s).

    For white frames under a window w, with V the Fourier transform of w², the sums over rings r and s
    have the covariance K(r, s) = Σ_{k in r, l in s} |V(k - l)|², so that n / n_eff = K(r, r) / (n V(0)²)
    and cov(z_r, z_s) = K(r, s) / sqrt(K(r, r) K(s, s)), summed here over s from 1 to `last`.

    V is a few frequencies wide for frames of any size, so a large frame is taken for a smaller one of the
    same proportions, and its outer rings for what the smaller one's tend to.
    """
    scale = max(1.0, min(shape) / _EXACT_SIDE)
    height, width = (round(n / scale) for n in shape)
    ky, kx = (np.minimum(np.arange(n), n - np.arange(n)) for n in (height, width))
    ring = _ring_index(height, width, binning, True).table[np.ix_(ky, kx)].astype(np.intp)
    spread_y, spread_x = (
        power / power[0]
        for power in (np.abs(np.fft.fft(_tukey(n, alpha) ** 2)) ** 2 for n in (height, width))
    )

    n = np.bincount(ring.ravel())
    same_ring = np.zeros(n.size)  # K(r, r)
    # Rings are symmetric in ky and kx: offsets of one quadrant stand for all.
    for dy in range(height // 2 + 1):
        for dx in range(width // 2 + 1):
            weight = spread_y[dy] * spread_x[dx]
            if weight < 1e-5:
                continue
            mates = (1 if 2 * dy in (0, height) else 2) * (1 if 2 * dx in (0, width) else 2)
            same = np.roll(ring, (dy, dx), (0, 1)) == ring
            same_ring += mates * weight * np.bincount(ring[same], minlength=n.size)

    last = min(round(last / scale), n.size - 1)
    scaled = np.where((ring > 0) & (ring <= last), 1.0 / np.sqrt(same_ring)[ring], 0.0)
    smoothed = np.fft.irfft2(
        np.fft.rfft2(scaled) * np.fft.rfft2(np.outer(spread_y, spread_x)), s=(height, width)
    )
    covariance = np.asarray(np.bincount(ring.ravel(), (scaled * smoothed).ravel()), np.float64)

    n_over_n_eff = same_ring / n
    if scale > 1.0:
        # Rings at the edge of the smaller plane are cut off by it.
        inner = min(height, width) // 2
        inner -= inner // 8
        n_over_n_eff, covariance = (
            np.concatenate([v[:inner], np.full(min(shape) - inner, v[inner // 2 : inner].mean())])
            for v in (n_over_n_eff, covariance)
        )
    return n_over_n_eff, covariance
