"""Which pixels are bad, and why, while they are looked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from camnorm.sensor.pixelclasses import NEIGHBOURS, Bit, PixelRows, code_of

__all__ = ["Indices", "Marks", "Numbers"]

Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float32]


class Marks:
    """Classes and bits of pixels, and the numbers that decided.

    Parameters
    ----------
    shape : tuple of int
        (y, x).

    Attributes
    ----------
    code : uint8 ndarray, shape (y, x)
        Class, as of `code_of`.
    flags : uint32 ndarray, shape (y, x)
        All bits that apply.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.code = np.zeros(shape, np.uint8)
        self.flags = np.zeros(shape, np.uint32)
        self._numbers: list[tuple[Indices, Numbers, Numbers]] = []
        self._made: dict[int, str] = {}

    def mark(self, where: Indices, name: str, value: Numbers | float, limit: Numbers | float) -> None:
        """Give pixels a class, unless they have one already, and its bit.

        Parameters
        ----------
        where : int64 ndarray
            Numbers of the pixels in (y, x) order, each once.
        name : str
            The class.
        value, limit : float32 ndarray or float
            What decided, and its limit.
        """
        if not where.size:
            return
        self.flags.reshape(-1)[where] |= np.uint32(Bit.OF_CLASS[name])
        new = self.code.reshape(-1)[where] == 0
        self.code.reshape(-1)[where[new]] = code_of(name)
        values, limits = (
            np.broadcast_to(np.asarray(one, np.float32), where.shape)[new] for one in (value, limit)
        )
        self._numbers.append((where[new], values, limits))

    def remark(self, where: int, name: str, value: float, limit: float, neighbours: str) -> None:
        """Give a pixel the class of those that were made from their neighbours, whatever it had.

        Parameters
        ----------
        where : int
            Number of the pixel.
        name, value, limit
            As of `mark`.
        neighbours : str
            What it was made from.
        """
        self.code.reshape(-1)[where] = 0
        self._made[where] = neighbours
        self.mark(np.array([where]), name, value, limit)

    def add(self, other: Marks, rows: slice, first: int) -> None:
        """Take in marks of some rows.

        Parameters
        ----------
        other : Marks
            Of a band of rows.
        rows : slice
            Rows of the band that count.
        first : int
            Row that the first of these is here.
        """
        height, width = rows.stop - rows.start, self.code.shape[1]
        here = np.s_[first : first + height]
        found = other.rows()
        inside = (found.place >= rows.start * width) & (found.place < rows.stop * width)
        place = found.place[inside] + (first - rows.start) * width
        new = self.code.reshape(-1)[place] == 0
        self._numbers.append((place[new], found.value[inside][new], found.limit[inside][new]))
        code, its = self.code[here], other.code[rows]
        code[code == 0] = its[code == 0]
        self.flags[here] |= other.flags[rows]

    def rows(self) -> PixelRows:
        """The marked pixels."""
        place = np.flatnonzero(self.code)
        value, limit = (np.full(place.size, np.nan, np.float32) for _ in range(2))
        for where, values, limits in self._numbers:
            found = np.searchsorted(place, where)
            value[found], limit[found] = values, limits
        kinds = np.zeros(place.size, np.uint8)
        for pixel, neighbours in self._made.items():
            kinds[np.searchsorted(place, pixel)] = NEIGHBOURS.index(neighbours)
        return PixelRows(place, self.code.reshape(-1)[place], value, limit, kinds)
