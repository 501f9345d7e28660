"""Half A and half B: which items of a sequence, files as a rule, go to which.

Items that alternate with a period (two channels, light and dark, one of three exposures) must not end up in
one half each. So the halves do not take turns: of every two consecutive items one goes to A and one to B, and
a fixed pseudo-random sequence decides which.

Blocks of 24 items make the balance exact for the periods that occur most. A block is three groups of four,
each ABBA or BAAB, and the same twelve with the halves exchanged. Items that recur with a period of 2 are then
balanced within every group of four, those of period 3, 4, 6 and 12 within every block. No block is the same
group six times.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["halves_of", "natural_order", "scattered"]

_BLOCK, _GROUP = 24, 4
_ABBA = np.array([0, 1, 1, 0])


def halves_of(numbers: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Half of each item: 0 for A, 1 for B.

    Parameters
    ----------
    numbers : array_like of int
        Place of each item in the whole sequence, from 0 on.

    Returns
    -------
    ndarray of int
        Of the same shape. It depends on the numbers only, on no library's random numbers.
    """
    numbers = np.asarray(numbers, np.int64)
    block, place = np.divmod(numbers, _BLOCK)
    second, place = np.divmod(place, _BLOCK // 2)
    group = (place // _GROUP).astype(np.uint64)
    # Three bits, not all the same: else the block would have a period of four.
    turned = ((_hash(block) % np.uint64(6) + np.uint64(1)) >> group) & np.uint64(1)
    return np.asarray(_ABBA[place % _GROUP] ^ turned.astype(np.intp) ^ second, np.intp)


def natural_order(paths: Sequence[str | os.PathLike[str]]) -> npt.NDArray[np.intp]:
    """Place of each file in the natural order of the paths: ``m2`` before ``m10``.

    Parameters
    ----------
    paths : sequence of path-like
        Files in any order.

    Returns
    -------
    ndarray of int
        From 0 on; the same for a path that occurs twice.
    """
    names = [os.fspath(path) for path in paths]
    place = {name: number for number, name in enumerate(sorted(set(names), key=_natural_key))}
    return np.array([place[name] for name in names], np.intp)


def scattered(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` items: pseudo-random ones, spread evenly, ascending.

    Every n-th item would all be of one kind if kinds alternate.
    """
    if count <= most:
        return list(range(count))
    ends = [part * count // most for part in range(most + 1)]
    draws = _hash(np.arange(most)).tolist()
    return [first + draw % (end - first) for (first, end), draw in zip(pairwise(ends), draws, strict=True)]


def _natural_key(name: str) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _hash(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of numbers: the output function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
