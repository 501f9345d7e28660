"""Scenes: what a simulated camera looks at, a new one for every frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Scene(Protocol):
    """What a camera looks at: relative light, a new scene for every frame.

    Mean and variance are the same for every pixel: the method assumes that no motif is common to the
    frames.
    """

    @property
    def mean(self) -> float:
        """Mean over the frames of the relative light of a pixel."""
        ...

    @property
    def variance(self) -> float:
        """Variance over the frames of the relative light of a pixel."""
        ...

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the relative light of one frame.

        Parameters
        ----------
        rng : numpy.random.Generator
            Random number generator of the frame.

        Returns
        -------
        float32 ndarray, shape (y, x)
            Nowhere negative.
        """
        ...


class Particles:
    """Dark particles with internal structure, at new places and in new orientations in every frame.

    Parameters
    ----------
    shape : tuple of int
        Frame shape (y, x).
    size : int
        Side of the box around one particle, in pixels.
    count : int
        Particles a frame, those that only reach into it included.
    contrast : float
        Relative loss of light in the middle of a particle, averaged over its orientations.
    rng : numpy.random.Generator
        Draws the particle's structure and the orientations in which it is seen.
    """

    _VIEWS = 64

    def __init__(
        self, shape: tuple[int, int], *, size: int, count: int, contrast: float, rng: np.random.Generator
    ) -> None:
        self._shape = shape
        self._count = count
        self._views = _projections(size, self._VIEWS, rng)
        self._views *= contrast / self._views[:, size // 2, size // 2].mean()
        # A box may begin wherever it still reaches into the frame, so that every pixel of the frame
        # meets every pixel of the box with the same probability, up to the edges.
        places = math.prod(n + size - 1 for n in shape)
        total = self._views.sum((1, 2), dtype=np.float64).mean() / places
        square = np.square(self._views, dtype=np.float64).sum((1, 2)).mean() / places
        self.mean = float(1.0 - count * total)
        self.variance = float(count * (square - total**2))

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the relative light of one frame.

        Parameters
        ----------
        rng : numpy.random.Generator
            Random number generator of the frame.

        Returns
        -------
        float32 ndarray, shape (y, x)
            Nowhere negative.
        """
        size = self._views.shape[1]
        margin = size - 1
        height, width = self._shape
        field = np.ones((height + 2 * margin, width + 2 * margin), np.float32)
        tops = rng.integers(height + margin, size=self._count)
        lefts = rng.integers(width + margin, size=self._count)
        views = rng.integers(self._VIEWS, size=self._count)
        for top, left, view in zip(tops, lefts, views, strict=True):
            field[top : top + size, left : left + size] -= self._views[view]
        return np.maximum(field[margin : margin + height, margin : margin + width], 0.0)


def _projections(size: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Projections of one body of Gaussian balls in two lobes along random directions, (n, y, x)."""
    balls = 160
    directions = rng.standard_normal((balls, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = directions * rng.random((balls, 1)) ** (1 / 3)
    large = np.arange(balls) < 2 * balls // 3
    points[large] = points[large] * 0.30 * size - [0.08 * size, 0.0, 0.0]
    points[~large] = points[~large] * [0.10 * size, 0.22 * size, 0.22 * size] + [0.22 * size, 0.0, 0.0]
    axis = np.arange(size) - (size - 1) / 2
    width = 0.045 * size
    views = np.empty((count, size, size), np.float32)
    for view in views:
        rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        y, x = (points @ rotation).T[:2]
        view[:] = np.exp(-(((axis[:, None] - y) / width) ** 2) / 2) @ np.exp(
            -(((axis - x[:, None]) / width) ** 2) / 2
        )
    return views


class Landscape:
    """Smooth random scenery: a Gaussian field whose amplitude falls with a power of the frequency.

    Parameters
    ----------
    shape : tuple of int
        Frame shape (y, x).
    contrast : float
        Standard deviation of the relative light; its mean is 1. Light below zero is cut off, so keep
        it below 0.3.
    slope : float
        The amplitude falls as 1 / frequency**slope.
    """

    mean = 1.0

    def __init__(self, shape: tuple[int, int], *, contrast: float, slope: float = 1.5) -> None:
        self.variance = contrast**2
        self._shape = shape
        # The field is periodic; a frame cut out of a larger field is not.
        self._period = (shape[0] + shape[0] // 4, shape[1] + shape[1] // 4)
        fy = np.fft.fftfreq(self._period[0])[:, None]
        fx = np.fft.rfftfreq(self._period[1])
        # Structures of the size of the frame would need thousands of frames to average out.
        knee = 4 / min(shape)
        amplitude = np.asarray((fy**2 + fx**2 + knee**2) ** (-slope / 2))
        amplitude[0, 0] = 0.0
        # Variance of the field for standard normal real and imaginary parts: a mode and its mate
        # give 4; of the columns that have no mate (0 and Nyquist) only the real part remains.
        weight = np.full(fx.size, 4.0)
        weight[0] = 1.0
        if self._period[1] % 2 == 0:
            weight[-1] = 1.0
        scale = contrast * math.prod(self._period) / math.sqrt(float((weight * amplitude**2).sum()))
        self._amplitude = (scale * amplitude).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the relative light of one frame.

        Parameters
        ----------
        rng : numpy.random.Generator
            Random number generator of the frame.

        Returns
        -------
        float32 ndarray, shape (y, x)
            Nowhere negative.
        """
        spectrum = np.empty(self._amplitude.shape, np.complex64)
        spectrum.real = rng.standard_normal(spectrum.shape, dtype=np.float32)
        spectrum.imag = rng.standard_normal(spectrum.shape, dtype=np.float32)
        spectrum *= self._amplitude
        field = np.fft.irfft2(spectrum, self._period)[: self._shape[0], : self._shape[1]]
        return np.maximum(field + 1.0, 0.0).astype(np.float32)
