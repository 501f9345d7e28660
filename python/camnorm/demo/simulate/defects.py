"""Defects of a simulated sensor: dead pixels that the vendor conceals, and dust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


SIDES = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Neighbours that can be copied: their place, (y, x)."""


class Neighbours:
    """For each concealed pixel the live pixels of which it is made."""

    def __init__(self, concealed: NDArray[np.bool_], copied: Mapping[str, NDArray[np.bool_]]) -> None:
        self._copies = [_copies(copied[side], step) for side, step in SIDES.items() if side in copied]
        live = ~concealed
        if not live.any():
            raise ValueError("concealed leaves no live pixel")
        height, width = concealed.shape
        self._targets = np.flatnonzero(concealed)
        rows, columns = np.unravel_index(self._targets, concealed.shape)
        sources: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        owners: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        pending = np.arange(self._targets.size)
        distance = 0
        while pending.size:
            distance += 1
            found = np.zeros(pending.size, np.bool_)
            for dy in range(-distance, distance + 1):
                for dx in {distance - abs(dy), abs(dy) - distance}:
                    y, x = rows[pending] + dy, columns[pending] + dx
                    ok = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                    ok[ok] = live[y[ok], x[ok]]
                    sources.append(y[ok] * width + x[ok])
                    owners.append(pending[ok])
                    found |= ok
            pending = pending[~found]
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        self._sources = np.concatenate(sources)[order]
        self.counts = np.bincount(owner, minlength=self._targets.size)
        self._starts = self.counts.cumsum() - self.counts

    def average(self, image: NDArray[Any]) -> None:
        """Replace the concealed pixels of a contiguous (y, x) image in place."""
        if self._targets.size:
            flat = image.reshape(-1)
            flat[self._targets] = np.add.reduceat(flat[self._sources], self._starts) / self.counts

    def copy(self, image: NDArray[Any]) -> None:
        """Replace the copied pixels of a contiguous (y, x) image in place."""
        flat = image.reshape(-1)
        values = [flat[sources] for _, sources in self._copies]
        for (targets, _), its in zip(self._copies, values, strict=True):
            flat[targets] = its


def _copies(mask: NDArray[np.bool_], step: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of copied pixels, and of their neighbours in one direction."""
    y, x = np.nonzero(mask)
    rows, columns = y + step[0], x + step[1]
    if ((rows < 0) | (rows >= mask.shape[0]) | (columns < 0) | (columns >= mask.shape[1])).any():
        raise ValueError("copied names pixels whose neighbour lies outside the frame")
    return y * mask.shape[1] + x, rows * mask.shape[1] + columns


def dust(shape: tuple[int, int], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Relative loss of light under grains of dust: discs with soft edges, float64 (y, x)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    loss = np.zeros(shape)
    for grain in range(count):
        # One grain lies beside the other defects in the lower left corner, the rest anywhere.
        place = (0.9, 0.13) if grain == 0 else rng.random(2)
        distance = np.hypot(y - place[0] * shape[0], x - place[1] * shape[1])
        radius = rng.uniform(0.01, 0.035) * min(shape)
        depth = rng.uniform(0.04, 0.15)
        loss = np.maximum(loss, depth / 2 * (1.0 - np.tanh((distance - radius) / (0.2 * radius))))
    return loss
