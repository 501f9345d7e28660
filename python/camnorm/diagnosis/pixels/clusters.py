"""Bad pixels that touch each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Component", "components", "labels_of"]

Indices = npt.NDArray[np.int64]


class Component(NamedTuple):
    """Pixels that touch each other, at a side or a corner.

    Attributes
    ----------
    place : int64 ndarray
        Their numbers in (y, x) order, ascending.
    x, y, width, height : int
        The rectangle around them.
    """

    place: Indices
    x: int
    y: int
    width: int
    height: int


def components(place: Indices, width: int) -> Iterator[Component]:
    """Part pixels into those that touch each other.

    Parameters
    ----------
    place : int64 ndarray
        Numbers of the pixels in (y, x) order, ascending.
    width : int
        Of the frame.

    Yields
    ------
    Component
        In the order of their first pixels.
    """
    if not place.size:
        return
    y, x = np.divmod(place, width)
    label = labels_of(place, width)
    order = np.argsort(label, kind="stable")
    bounds = np.flatnonzero(np.diff(label[order])) + 1
    for members in np.split(order, bounds):
        left, right = int(x[members].min()), int(x[members].max())
        top, bottom = int(y[members[0]]), int(y[members[-1]])
        yield Component(place[members], left, top, right - left + 1, bottom - top + 1)


def labels_of(place: Indices, width: int) -> Indices:
    """Number pixels, so that those that touch each other have the same number.

    Parameters
    ----------
    place : int64 ndarray
        Numbers of the pixels in (y, x) order, ascending.
    width : int
        Of the frame.

    Returns
    -------
    int64 ndarray
        From 0 to the number of groups less one, in the order of their first pixels.
    """
    y, x = np.divmod(place, width)
    new = np.ones(place.size, np.bool_)
    new[1:] = (np.diff(place) != 1) | (x[1:] == 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], place.size)[: first.size] - 1
    roots = _joined(y[first], x[first], x[last], width)
    return np.asarray(np.unique(roots, return_inverse=True)[1][np.cumsum(new) - 1])


def _joined(y: Indices, start: Indices, end: Indices, width: int) -> Indices:
    """The same number for all runs that touch each other, in the order of the first of them."""
    pitch = width + 2
    starts, ends = y * pitch + start, y * pitch + end
    # Runs of the next row that end behind the place before the run, and begin before that behind it.
    low = np.searchsorted(ends, starts + pitch - 1)
    high = np.searchsorted(starts, ends + pitch + 1, side="right")
    counts = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(y.size), counts)
    lower = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    parent = list(range(y.size))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for a, b in zip(upper.tolist(), lower.tolist(), strict=True):
        one, other = root(a), root(b)
        parent[max(one, other)] = min(one, other)
    return np.array([root(run) for run in range(y.size)], np.int64)
