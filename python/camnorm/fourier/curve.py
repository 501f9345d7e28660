"""A ring correlation: its numbers, thresholds and verdict, and its table."""

from __future__ import annotations

import csv
import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.fourier.independence import BEYOND_3SIGMA, Independence, judge
from camnorm.io.base.atomic import atomic_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from camnorm.fourier.windows import Window

__all__ = ["CURVE_MARK", "RingCorrelation"]

# A column of the tables of curves: by it a table is known that may be replaced.
CURVE_MARK = b"threshold_3sigma"

_THRESHOLDS = ("3sigma", "3sigma-exact", "3sigma-asymptotic", "half-bit", "one-bit")


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
        Conditional z: ``Σ Re(A B*) / sqrt(Σ |A|² |B|²)``, times ``sqrt(n_eff / n)``. Given the moduli, its
        mean is 0 and its variance 1 if the frames are independent, whatever the spectrum in the ring. Of
        frames without a window, A and B are here without the cross that the edges put into them (the
        smooth component of [1]_). NaN where the correlation is.
    evenness : float64 ndarray, shape (rings,)
        Mean of ``|A|²`` times mean of ``|B|²`` over mean of ``|A|² |B|²``, for the same A and B as in z:
        about 1 if the frequencies of the ring share its power, 1 / n if one of them has all. NaN where the
        correlation is.
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
        Such a z has an excess kurtosis of -6 / (m + 2), and m is chosen for it to be that of the ring::

            m = n · evenness / κ + 3,  κ = 2 (g + 1 - 1/g),  g = n / n_eff

        Of a ring of n/2 complex Gaussian coefficients with the covariance C, whose diagonal is 1, the
        excess of ``Σ Re(A B*) / sqrt(Σ |A|² |B|²)`` is, to the first order in 1/n, -6 κ / n with
        ``κ = 4 h₃/h₂ - h₄/h₂² - Σ |C|⁴/(n/2)`` and ``h_j = tr(C^j)/(n/2)``, h₂ = g. Without a window C is
        the unit matrix and κ = 2. With one, h₃ = g (2g - 1) and h₄ = h₃ (3g - 2), as if the eigenvalues
        of C had a gamma distribution, and 1 for the last term give the formula above, which is right to 5 %
        for Hann and Tukey windows.

        The smallest p of the three tests, s, is that of the most deviant ring if one has a p below
        q = 1 - (1 - s)^(1/rings), and that of the count if k or more rings lie beyond their 0.27 % points,
        where k is the least number for which that has no larger probability than s. Both do not happen
        with the probability (1 - s) · P(fewer than k of the rings lie between q and 0.27 %); the mean is
        taken as independent of them.

        Of a thousand pairs of simulated scenes each, 3 to 7 % without windows and 3.7 to 6 % with them are
        called dependent at `alpha` = 0.05 (docs/explanation/independence.md). Three limits follow.

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
        return judge(self, alpha, corners)

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
        from camnorm.report.plot import frc_panel, pyplot_figure

        if ax is None:
            ax = pyplot_figure().subplots()
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


def _exact_threshold(n_eff: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import stdtrit

    # A single frequency always correlates by ±1.
    threshold = np.ones(n_eff.shape)
    several = n_eff > 1.0
    freedom = n_eff[several] - 1.0
    t = stdtrit(freedom, 1.0 - BEYOND_3SIGMA / 2.0)
    threshold[several] = t / np.sqrt(freedom + t**2)
    return threshold
