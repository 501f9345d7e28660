"""What bad pixels contribute to the correlation of frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm.correction.correction import Correction
from camnorm.fourier.curve import RingCorrelation
from camnorm.verification.verdict import Assessment, PixelShare

__all__ = ["Concealment"]

_Planes: TypeAlias = tuple[RingCorrelation, ...]
_Image: TypeAlias = npt.NDArray[Any]
_Correlate: TypeAlias = Callable[[_Image, _Image], _Planes]


@dataclass(eq=False)
class Concealment:
    """Group averages with and without the bad pixels of a map.

    Parameters
    ----------
    bad : bool ndarray, shape of a frame
        The map.
    correlate : callable
        Ring correlation of two images, one for each plane.
    threads : int
        Number of threads.
    """

    bad: npt.NDArray[np.bool_]
    correlate: _Correlate
    threads: int
    _concealed: list[_Planes] = field(default_factory=list)
    _kept: list[_Planes] = field(default_factory=list)

    def add_raw(self, averages: Sequence[_Image]) -> None:
        """Correlate raw averages whose bad pixels are filled from their neighbours."""
        shape = self.bad.shape
        fill = Correction(np.zeros(shape), np.ones(shape), 0.0, 1.0, self.bad, "interpolate")
        a, b = (fill.apply(image, dtype=image.dtype, threads=self.threads) for image in averages)
        self._concealed.append(self.correlate(a, b))

    def add_corrected(self, averages: Sequence[_Image]) -> None:
        """Correlate corrected averages with their bad pixels."""
        self._kept.append(self.correlate(averages[0], averages[1]))

    def conceal(self, image: _Image, target: float | tuple[float, ...]) -> None:
        """Give the bad pixels of a corrected image the target mean."""
        image[self.bad] = np.broadcast_to(np.asarray(target, image.dtype), image.shape)[self.bad]

    def share(self, raw: Assessment, common: float) -> PixelShare:
        """Compare with the correlation of the raw averages."""
        planes = math.prod(self.bad.shape[2:])
        return PixelShare(
            int(np.count_nonzero(self.bad)) // planes,
            raw,
            Assessment.of_pairs(self._concealed, raw.alpha, raw.corners, 0.0),
            Assessment.of_pairs(self._kept, raw.alpha, raw.corners, common),
        )
