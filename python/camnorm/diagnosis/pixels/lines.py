"""Bad columns and rows, and parts of them: by deviations of their pixels, and by runs of bad pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.pixels.residuals import Residuals
from camnorm.sensor.pixelclasses import CODES, Line

__all__ = ["Segment", "lines_of", "weak_lines"]

Mask = npt.NDArray[np.bool_]
Image = npt.NDArray[np.float32]

Segment = tuple[int, int, int]
"""Column, first row, row behind the last."""

# Pixels of a segment, of a short column at least, and where a column is long.
_SEGMENT, _SHORT, _LONG = 32, 8, 128
_ERRORS = 6.0

# Pixels of a run that is a line; those of gaps in it; and how wide lines are that lie side by side.
_LINE, _GAP, _WIDE = 10, 3, 3
_FULL = 0.95

# Columns between a line and the medians that it is compared with.
_SIDE = 3


def weak_lines(residuals: Residuals, sign: int, valid: Mask, least: float) -> list[Segment]:
    """Find parts of columns that deviate together, however weak the deviation of each pixel is.

    Parameters
    ----------
    residuals : Residuals
        Deviations of the pixels.
    sign : int
        1 for deviations upwards, -1 for those downwards.
    valid : bool ndarray, shape (y, x)
        Pixels that have a deviation.
    least : float
        Smallest deviation of a line, in scales.

    Returns
    -------
    list of Segment
    """
    scaled = residuals.scaled
    height = scaled.shape[0]
    length = _SEGMENT if height >= _LONG else max(_SHORT, height // 4)
    starts = np.arange(0, max(height - length // 2, 1), length)
    sums = np.empty((starts.size, scaled.shape[1]), np.float32)
    counts = np.empty_like(sums)
    ends = [*starts[1:].tolist(), height]
    clip = np.float32(2 * max(least, _ERRORS / np.sqrt(length)))
    for number, (start, stop) in enumerate(zip(starts.tolist(), ends, strict=True)):
        sums[number] = sign * np.clip(scaled[start:stop], -clip, clip).sum(0)
        counts[number] = np.count_nonzero(valid[start:stop], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / counts
    least = max(least, _ERRORS * max(_spread(means[counts > 0]), 1 / math.sqrt(length)))
    high = (means > least) & (counts >= length // 2)
    for segment, column in np.argwhere(high).tolist():
        beside = _beside(residuals, sign, column, starts[segment], ends[segment])
        high[segment, column] = means[segment, column] - beside > least
    return [
        (column, *_refined(sign * scaled[:, column], int(starts[first]), ends[last]))
        for column in np.flatnonzero(high.any(0)).tolist()
        for first, last in _runs(high[:, column], 1)
    ]


def _beside(residuals: Residuals, sign: int, column: int, start: int, stop: int) -> float:
    """Largest local median on either side of a line, less that of the line: of an edge, a side has one."""
    width = residuals.median.shape[1]
    own = residuals.median[start:stop, column]
    unit = residuals.scale[start:stop, column]
    found = 0.0
    for other in (column - _SIDE, column + _SIDE):
        if 0 <= other < width:
            step = sign * (residuals.median[start:stop, other] - own)
            found = max(found, float(np.mean(step / (unit * own if residuals.relative else unit))))
    return found


def _spread(means: npt.NDArray[np.float32]) -> float:
    """Standard deviation of segments: more than by chance where noise is correlated, or columns differ."""
    return 1.4826 * float(np.median(np.abs(means - np.median(means)))) if means.size else 0.0


def _runs(mask: Mask, gap: int) -> list[tuple[int, int]]:
    """First and last place of each run of true values; runs that few false ones separate are one."""
    places = np.flatnonzero(mask)
    if not places.size:
        return []
    breaks = np.flatnonzero(np.diff(places) > gap + 1)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [places.size - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _refined(column: Image, start: int, stop: int) -> tuple[int, int]:
    """Where a line that begins and ends within two segments does so, to the pixel."""
    half = np.float32(0.5 * float(np.median(column[start:stop])))
    above = np.clip(column - half, -half, half)
    middle, reach = (start + stop) // 2, 2 * _SEGMENT
    before = above[max(start - reach, 0) : middle][::-1].cumsum(dtype=np.float64)
    behind = above[middle : min(stop + reach, column.size)].cumsum(dtype=np.float64)
    return middle - 1 - int(np.argmax(before)) if before.size else start, middle + 1 + int(np.argmax(behind))


def lines_of(place: npt.NDArray[np.int64], code: npt.NDArray[np.uint8], valid: Mask) -> list[Line]:
    """Find long runs of bad pixels along columns and rows.

    Parameters
    ----------
    place : int64 ndarray
        Numbers of the bad pixels in (y, x) order, ascending.
    code : uint8 ndarray
        Their classes.
    valid : bool ndarray, shape (y, x)
        Pixels of the sensor: all but those of regions without a signal.

    Returns
    -------
    list of Line
        Columns first.
    """
    y, x = np.divmod(place, valid.shape[1])
    columns = _lines_along(x, y, code, valid)
    rows = _lines_along(y, x, code, valid.T)
    return [
        *(Line(name, "column", full, at, start, 1, stop - start) for name, full, at, start, stop in columns),
        *(Line(name, "row", full, start, at, stop - start, 1) for name, full, at, start, stop in rows),
    ]


def _lines_along(
    across: npt.NDArray[np.int64], along: npt.NDArray[np.int64], code: npt.NDArray[np.uint8], valid: Mask
) -> Iterator[tuple[str, bool, int, int, int]]:
    """Class, whether it crosses the sensor, place across, first and end along of each line."""
    by_side = np.lexsort((across, along))
    thin = np.empty(across.size, np.bool_)
    thin[by_side] = _lengths(along[by_side], across[by_side]) <= _WIDE
    order = np.lexsort((along[thin], across[thin]))
    across, along, code = across[thin][order], along[thin][order], code[thin][order]
    breaks = np.flatnonzero((np.diff(across) != 0) | (np.diff(along) > _GAP + 1)) + 1
    firsts = np.concatenate([[0], breaks]) if across.size else breaks
    ends = np.concatenate([breaks, [across.size]]) if across.size else breaks
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        start, stop = int(along[first]), int(along[end - 1]) + 1
        if stop - start < _LINE:
            continue
        at = int(across[first])
        there = np.flatnonzero(valid[:, at])
        full = stop - start >= _FULL * there.size
        if full and there.size:
            start, stop = min(start, int(there[0])), max(stop, int(there[-1]) + 1)
        yield CODES[int(np.bincount(code[first:end]).argmax())], full, at, start, stop


def _lengths(row: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Length of the run without a gap that each pixel is part of, in the order of rows and places."""
    starts = np.concatenate([[True], (np.diff(row) != 0) | (np.diff(place) != 1)]) if row.size else row == 0
    number = np.cumsum(starts) - 1
    return np.asarray(np.bincount(number)[number]) if row.size else row
