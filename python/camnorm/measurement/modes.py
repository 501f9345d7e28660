"""Modes of a set: groups of frames whose statistics do not belong together, such as two exposures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.measurement.screening import (
    BLANK,
    COPY,
    SATURATED,
    WORDS,
    blank_frames,
    file_numbers,
    saturated_frames,
)
from camnorm.statistics.sequences import dip, inflation_of, robust_scale

__all__ = ["modes"]

# Hartigan & Hartigan 1985, Table 1, and its continuation in the R package diptest).
DIP_LIMIT = 0.75

# members.
_GAP = 6.0
_SMALLEST_GROUP = 5
_MOST_GROUPS = 16

# are told from few files, each with a motif of its own, they must also differ by this share of what they are.
MATTERS = 0.05
_MATTERS_IN_FEW_FILES = 0.1

# From so many files on the files, of which frames may have much in common, count instead of their frames.
_MANY_FILES = 20


def _usable(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> npt.NDArray[np.intp]:
    """Rows that tell of the mode of exposure: not blank, not saturated, no copies, but with statistics."""
    out = np.array(
        [reason.startswith((BLANK, SATURATED, COPY)) for reason in frames["reason"].tolist()], bool
    )
    rows = np.flatnonzero(np.isfinite(frames["mean"]) & ~out)
    part = frames[rows]
    usable: npt.NDArray[np.intp] = rows[~(blank_frames(part) | saturated_frames(part, dtype))]
    return usable


def units_of(frames: npt.NDArray[np.void]) -> npt.NDArray[np.intp]:
    """Number of the file of each row if there are many files, else of the row itself."""
    units = file_numbers(frames)
    return units if units.max(initial=-1) + 1 >= _MANY_FILES else np.arange(frames.size)


def means_of_units(values: npt.NDArray[np.float64], units: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Median of each unit, which a deviant frame does not move."""
    order = values[np.lexsort((values, units))]
    counts = np.bincount(units)
    first = np.cumsum(counts) - counts
    medians: npt.NDArray[np.float64] = (order[first + (counts - 1) // 2] + order[first + counts // 2]) / 2
    return medians


def modes(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> list[npt.NDArray[np.intp]]:
    """Tell groups of frames apart by their means and standard deviations, as two exposures make them.

    Parameters
    ----------
    frames : structured ndarray
        Frame table. Frames that were left out by limits of the set count too: the smaller group may be
        among them. Blank, saturated and repeated frames do not.
    dtype : numpy.dtype
        Type of the pixels.

    Returns
    -------
    list of ndarray
        Row numbers of each group, in the order of their first frames; one group as a rule.
    """
    groups, _ = split_into_modes(frames, dtype)
    return groups


def split_into_modes(
    frames: npt.NDArray[np.void], dtype: np.dtype[Any]
) -> tuple[list[npt.NDArray[np.intp]], float]:
    rows = _usable(frames, dtype)
    if rows.size < 2 * _SMALLEST_GROUP:
        return [rows], math.nan
    part = frames[rows]
    units = units_of(part)
    few = units.size == units.max() + 1 and np.unique(part["file"].astype(str)).size < part.size
    matters = MATTERS * float(np.median(part["std"]))
    values = {field: means_of_units(part[field], units) for field in WORDS}
    todo: list[npt.NDArray[np.intp]] = [np.arange(units.max() + 1)]
    done: list[npt.NDArray[np.intp]] = []
    evidence = 0.0
    while todo:
        group = todo.pop(0)
        best: tuple[float, npt.NDArray[np.bool_] | None] = (0.0, None)
        for column in values.values():
            least = max(matters, few * _MATTERS_IN_FEW_FILES * abs(float(np.median(column[group]))))
            found = _two_modes(column[group], least)
            best = max(best, found, key=lambda pair: pair[0])
        strength, upper = best
        evidence = max(evidence, strength)
        if strength > 1 and upper is not None and len(todo) + len(done) < _MOST_GROUPS:
            todo += [group[~upper], group[upper]]
        else:
            done.append(group)
    groups = [rows[np.isin(units, group)] for group in done]
    return sorted(groups, key=lambda group: int(group[0])), float(evidence) * DIP_LIMIT


def _two_modes(values: npt.NDArray[np.float64], least: float) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """How clearly values, in the order of time, fall into two groups (from 1 on), and which are the upper."""
    n = values.size
    if n < 2 * _SMALLEST_GROUP:
        return 0.0, None
    order = np.sort(values)
    gaps = np.diff(order)[_SMALLEST_GROUP - 1 : n - _SMALLEST_GROUP]
    # A small group that lies apart from all others.
    for i in np.argsort(gaps)[::-1][:3] + _SMALLEST_GROUP - 1:
        gap = order[i + 1] - order[i]
        sides = order[: i + 1], order[i + 1 :]
        scale = max(robust_scale(side - np.median(side)) for side in sides)
        if gap > least and gap > _GAP * scale:
            return max(1.01, min(gap / max(_GAP * scale, 1e-300), 100.0)), values > order[i]
    cut = _valley(order)
    upper = values > cut
    if min(upper.sum(), n - upper.sum()) < _SMALLEST_GROUP:
        return 0.0, None
    centres = np.where(upper, np.median(values[upper]), np.median(values[~upper]))
    if centres.max() - centres.min() < least:
        return 0.0, None
    clearness = math.sqrt(n / inflation_of(values - centres, 2)) * dip(values) / DIP_LIMIT
    return clearness, upper


def _valley(order: npt.NDArray[np.float64]) -> float:
    """Where ascending values are best cut in two: the widest gap near the cut of least variance within."""
    n = order.size
    k = np.arange(1, n)
    sums = np.cumsum(order - order.mean())[:-1]
    cut = int((sums**2 / (k * (n - k))).argmax()) + 1  # Otsu's
    first, last = cut // 2, cut + (n - cut) // 2
    widest = first + int(np.diff(order[first : last + 1]).argmax())
    return float(order[widest] + order[widest + 1]) / 2
