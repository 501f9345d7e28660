"""Windows against the edges of frames, and their effect on the statistics of rings."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from camnorm.fourier.rings import ring_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

Window: TypeAlias = "str | tuple[str, float] | None"

# What windows do is computed pair by pair up to this side; beyond it, rings behave all alike.
_EXACT_SIDE = 512


def tapered_fraction(window: Window) -> float:
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
    alpha = tapered_fraction(window)
    return tukey(n, alpha) if alpha else np.ones(n)


def tukey(n: int, alpha: float) -> NDArray[np.float64]:
    """Periodic Tukey window: its value repeats after n pixels, so that Hann has three harmonics only."""
    distance = np.minimum(np.arange(n), n - np.arange(n))
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(1.0, distance / (alpha * n / 2.0)))


@lru_cache(maxsize=32)
def ring_overlap(
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
    ring = ring_index(height, width, binning, True).table[np.ix_(ky, kx)].astype(np.intp)
    spread_y, spread_x = (
        power / power[0] for power in (np.abs(np.fft.fft(tukey(n, alpha) ** 2)) ** 2 for n in (height, width))
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
