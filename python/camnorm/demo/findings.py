"""Bad pixels that were found, against those that the simulated camera has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from camnorm.demo.simulate import Camera
from camnorm.sensor.pixelmap import PixelMap

__all__ = ["FoundPixels", "found_pixels"]

# Planted, but corrected like the light: not bad pixels.
_NOT_BAD = "dust"


@dataclass(frozen=True)
class FoundPixels:
    """How many planted defects were found.

    Attributes
    ----------
    flagged : int
        Pixels reported as bad.
    recall : mapping of str to float
        Share of the pixels of each planted defect that are among them.
    dust : int
        Pixels of dust reported as bad.
    false : int
        Other pixels reported as bad that are no planted defect.
    """

    flagged: int
    recall: Mapping[str, float]
    dust: int
    false: int

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.0%} of the {name}" for name, share in self.recall.items())
        return f"{self.flagged:,} found: {shares}; false alarms: {self.false}, and {self.dust} in dust"


def found_pixels(pixels: PixelMap, camera: Camera) -> FoundPixels:
    """Compare bad pixels with the defects of a camera.

    Parameters
    ----------
    pixels : PixelMap
        What was found.
    camera : Camera
        The truth.

    Returns
    -------
    FoundPixels
    """
    planted = {name: mask for name, mask in camera.defects.items() if name != _NOT_BAD}
    others = pixels.bad & ~np.logical_or.reduce([*planted.values(), np.zeros(camera.shape, np.bool_)])
    dust = others & camera.defects.get(_NOT_BAD, np.zeros(camera.shape, np.bool_))
    recall = {name: float(pixels.bad[mask].mean()) for name, mask in planted.items() if mask.any()}
    return FoundPixels(
        pixels.flagged, recall, int(np.count_nonzero(dust)), int(np.count_nonzero(others & ~dust))
    )
