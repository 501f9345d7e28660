"""Defects of a simulated sensor: dead pixels that the vendor conceals, and dust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Neighbours:
    """For each concealed pixel the live pixels of which it is made."""

    def __init__(self, concealed: NDArray[np.bool_]) -> None:
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
