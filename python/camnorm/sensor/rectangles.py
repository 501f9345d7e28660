"""Bad pixels as rectangles, as defect lists have them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["Rectangle", "rectangles"]

Rectangle = tuple[int, int, int, int]


def rectangles(bad: npt.NDArray[np.bool_]) -> list[Rectangle]:
    """Cover the bad pixels, and no others, by rectangles.

    Parameters
    ----------
    bad : ndarray of bool, shape (y, x)
        The pixels.

    Returns
    -------
    list of tuple
        x, y, width, height, by y and x. Runs along rows that are the same in consecutive rows make one
        rectangle; runs along columns are tried too, and what gives fewer is taken.
    """
    by_rows = list(_merged_runs(bad))
    by_columns = [(x, y, width, height) for y, x, height, width in _merged_runs(bad.T)]
    fewer = by_rows if len(by_rows) <= len(by_columns) else by_columns
    return sorted(fewer, key=lambda found: (found[1], found[0]))


def _merged_runs(bad: npt.NDArray[np.bool_]) -> Iterator[Rectangle]:
    rows = np.flatnonzero(bad.any(1))
    began: dict[tuple[int, int], int] = {}
    last = -2
    for row in rows.tolist():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], bad[row].astype(np.int8), [0]])))
        runs = set(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        for run in sorted(began.keys() - (runs if row == last + 1 else set())):
            yield run[0], began[run], run[1] - run[0], last + 1 - began[run]
            del began[run]
        for run in runs:
            began.setdefault(run, row)
        last = row
    for run, first in sorted(began.items()):
        yield run[0], first, run[1] - run[0], last + 1 - first
