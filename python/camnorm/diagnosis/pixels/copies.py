"""Pixels that equal each other: which of them is the copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camnorm.statistics.neighbours import Stencil

__all__ = ["Pairs", "direct_copies"]

Image = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

# Standard errors by which the pixels of a pair must differ for the left, or the upper, one to be the copy.
_ERRORS = 3.0


@dataclass(frozen=True)
class Pairs:
    """Pairs of neighbours that equal each other."""

    shape: tuple[int, ...]
    """Of the frames, (y, x)."""
    pixels: Indices
    """All pixels of pairs: places in C order, sorted."""
    first: Indices
    """The left, or upper, pixel of each pair: its number in `pixels`."""
    second: Indices
    """The other one."""
    upright: Mask
    """Whether the pixels of a pair lie on each other, not side by side."""

    @classmethod
    def of(cls, copies: Mapping[Stencil, Indices], shape: tuple[int, ...]) -> Pairs:
        """Find pairs.

        Parameters
        ----------
        copies : mapping
            Pixels that equal their "left", "right", "up" and "down" neighbour: places in C order.
        shape : tuple of int
            Of the frames, (y, x).
        """
        beside = np.intersect1d(copies["right"], copies["left"] - 1)
        above = np.intersect1d(copies["down"], copies["up"] - shape[1])
        first = np.concatenate([beside, above])
        second = np.concatenate([beside + 1, above + shape[1]])
        pixels = np.unique(np.concatenate([first, second]))
        upright = np.arange(first.size) >= beside.size
        return cls(shape, pixels, np.searchsorted(pixels, first), np.searchsorted(pixels, second), upright)

    def groups(self) -> Indices:
        """Number of the group of each pixel: all that are connected by pairs."""
        group = np.arange(self.pixels.size)
        while True:
            least = np.minimum(group[self.first], group[self.second])
            new = group.copy()
            np.minimum.at(new, self.first, least)
            np.minimum.at(new, self.second, least)
            new = new[new]
            if np.array_equal(new, group):
                return group
            group = new

    def within(self, pixels: Indices, places: Sequence[tuple[int, int]]) -> Mask:
        """Tell which pixels are in one group with one of their neighbours.

        Parameters
        ----------
        pixels : int ndarray
            Places in C order.
        places : sequence of tuple of two ints
            Of the neighbours, (y, x); they lie in the frame.
        """
        groups, own = self.groups(), self._number(pixels)
        result = np.zeros(pixels.size, bool)
        for dy, dx in places:
            other = self._number(pixels + dy * self.shape[1] + dx)
            both = (own >= 0) & (other >= 0)
            result[both] |= groups[own[both]] == groups[other[both]]
        return result

    def _number(self, pixels: Indices) -> Indices:
        """Numbers of pixels in `pixels`; -1 if they are in no pair."""
        if not self.pixels.size:
            return np.full(pixels.size, -1)
        number = np.minimum(np.searchsorted(self.pixels, pixels), self.pixels.size - 1)
        return np.where(self.pixels[number] == pixels, number, -1)


def direct_copies(pairs: Pairs, outside: Image, spread: float) -> tuple[Indices, Indices, Indices, Indices]:
    """Tell copies from their sources.

    Parameters
    ----------
    pairs : Pairs
        The pixels that equal each other.
    outside : float64 ndarray, shape (4, number of pixels)
        ln q of each pixel and its left, right, upper and lower neighbour, less what is usual; NaN outside the
        frame.
    spread : float
        Usual spread of these.

    Returns
    -------
    tuple of four arrays
        Places in C order of the pixels that are copies of their left, right, upper and lower neighbour.
    """
    group = pairs.groups()
    strange, used = _strangeness(pairs, group, outside)
    size = np.bincount(group, minlength=group.size)
    source = np.zeros(group.size, bool)
    in_two = size[group[pairs.first]] == 2
    error = spread / np.sqrt(np.maximum(used, 1))
    source[_sources_of_pairs(pairs, in_two, strange, error)] = True
    # Of larger groups the pixel that is the least strange.
    numbers = np.flatnonzero(size[group] > 2)
    order = numbers[np.lexsort((numbers, strange[numbers], group[numbers]))]
    source[order[np.flatnonzero(np.diff(group[order], prepend=-1))]] = True
    return _towards(pairs, group, source)


def _strangeness(pairs: Pairs, group: Indices, outside: Image) -> tuple[Image, Indices]:
    """Mean of ln q towards neighbours that do not equal the pixel, 0 if there are none; and their number."""
    of_pixel = np.full((pairs.shape[0] + 2, pairs.shape[1] + 2), -1, np.int32)
    y, x = (place + 1 for place in np.unravel_index(pairs.pixels, pairs.shape))
    of_pixel[y, x] = group
    around = np.stack([of_pixel[y, x - 1], of_pixel[y, x + 1], of_pixel[y - 1, x], of_pixel[y + 1, x]])
    used = np.isfinite(outside) & (around != group)
    total = np.where(used, outside, 0.0).sum(axis=0)
    count = used.sum(axis=0)
    return total / np.maximum(count, 1), count


def _sources_of_pairs(pairs: Pairs, which: Mask, strange: Image, error: Image) -> Indices:
    """Number of the pixel of each pair that is the source; pairs of a line are judged together."""
    first, second, upright = pairs.first[which], pairs.second[which], pairs.upright[which]
    if not first.size:
        return first
    y, x = np.unravel_index(pairs.pixels[first], pairs.shape)
    across, along = np.where(upright, y, x), np.where(upright, x, y)
    order = np.lexsort((along, across, upright))
    starts = np.ones(order.size, bool)
    starts[1:] = (
        (np.diff(upright[order].astype(np.int8)) != 0)
        | (np.diff(across[order]) != 0)
        | (np.diff(along[order]) != 1)
    )
    line = np.empty(order.size, np.intp)
    line[order] = np.cumsum(starts) - 1
    length = np.bincount(line)
    difference = np.bincount(line, strange[first] - strange[second]) / length
    errors = np.sqrt(np.bincount(line, error[first] ** 2 + error[second] ** 2)) / length
    first_is_copy = difference > _ERRORS * errors
    return np.where(first_is_copy[line], second, first)


def _towards(pairs: Pairs, group: Indices, source: Mask) -> tuple[Indices, Indices, Indices, Indices]:
    """Copies by the neighbour that they are copies of: that which is the nearest to the source."""
    place = np.zeros(group.size, np.intp)
    place[group[source]] = pairs.pixels[source]
    y, x = np.unravel_index(pairs.pixels, pairs.shape)
    at_y, at_x = np.unravel_index(place[group], pairs.shape)
    distance = np.abs(y - at_y) + np.abs(x - at_x)
    copy, of = (np.concatenate(both) for both in ((pairs.first, pairs.second), (pairs.second, pairs.first)))
    step = pairs.pixels[of] - pairs.pixels[copy]
    upright = np.concatenate([pairs.upright, pairs.upright])
    order = np.lexsort((distance[of], copy))
    order = order[np.flatnonzero(np.diff(copy[order], prepend=-1))]
    order = order[~source[copy[order]]]
    pixels, before, upright = pairs.pixels[copy[order]], step[order] < 0, upright[order]
    return (
        pixels[before & ~upright],
        pixels[~before & ~upright],
        pixels[before & upright],
        pixels[~before & upright],
    )
