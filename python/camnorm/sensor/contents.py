"""What a sensor file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.sensor.provenance import Identity
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.neighbours import NeighbourSums
from camnorm.statistics.response import PixelResponse

__all__ = ["SCHEMA", "Contents", "stored_parts"]

SCHEMA = 3
"""Of files with neighbour sums; of others 2: integer sums may be narrower than the 64 bits of schema 1."""


class Contents(NamedTuple):
    """What a sensor file holds; see `Sensor`."""

    halves: tuple[PixelMoments, PixelMoments]
    frames: npt.NDArray[np.void]
    provenance: Mapping[str, Any]
    responses: tuple[PixelResponse, PixelResponse] | None = None
    neighbours: tuple[NeighbourSums, NeighbourSums] | None = None

    @property
    def sums(self) -> dict[str, PixelMoments | PixelResponse | NeighbourSums]:
        """All sums, by the names of their groups in the file."""
        kinds: dict[str, tuple[PixelMoments | PixelResponse | NeighbourSums, ...] | None] = {
            "halves": self.halves,
            "responses": self.responses,
            "neighbours": self.neighbours,
        }
        return {
            f"{kind}/{name}": sums
            for kind, both in kinds.items()
            for name, sums in zip("AB", both or (), strict=False)
        }

    @property
    def parts(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays of sums, by the names of their data sets in the file."""
        groups = self.sums.items()
        return {
            f"{group}/{name}": part for group, sums in groups for name, part in stored_parts(sums).items()
        }

    @property
    def schema(self) -> int:
        """Version of the file."""
        return 2 if self.neighbours is None else SCHEMA

    def nbytes(self, dtypes: Mapping[str, np.dtype[Any]]) -> int:
        """About how large the file will be.

        Parameters
        ----------
        dtypes : mapping
            Type of each data set of `parts` in the file.
        """
        rows = self.frames.size + self.provenance["files"].size
        sums = sum(part.size * dtypes[name].itemsize for name, part in self.parts.items())
        return int(sums) + 200 * int(rows) + (1 << 16)

    @property
    def identity(self) -> Identity:
        """What tells this measurement from others."""
        counts = self.halves[0].count, self.halves[1].count
        kept = self.responses is not None, self.neighbours is not None
        return Identity.of(self.provenance, kept, (*counts, self.frames.size))


def stored_parts(sums: PixelMoments | PixelResponse | NeighbourSums) -> dict[str, npt.NDArray[Any]]:
    """The arrays of sums that a file holds: moments only once."""
    return sums.differences() if isinstance(sums, NeighbourSums) else sums.parts()
