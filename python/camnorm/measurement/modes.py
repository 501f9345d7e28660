"""Modes of a set: groups of frames whose statistics do not belong together, such as two exposures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.measurement.screening import COPY, SATURATED, WORDS, blank_frames, file_numbers, saturated_frames
from camnorm.statistics.modality import DIP_LIMIT, two_modes

__all__ = ["modes"]

# Fewer frames say nothing of modes.
_FEWEST_FRAMES = 9
_MOST_GROUPS = 16

# Modes differ by at least this share of the pixels' standard deviation. Files of one mode each, of which
# there are few, have specimens of their own: they must differ by more, as a share of the level.
MATTERS = 0.05
_MATTERS_BETWEEN_FILES = 0.25

# From this number of files on, files count instead of frames, since frames of a file may be alike.
_MANY_FILES = 20
# A file of one mode has at most this share of its frames in another group.
_STRAY = 0.1
# A file of two modes has at least this share of its frames in each: more than a first frame that is brighter.
_OF_BOTH = 1 / 3


def _usable(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> npt.NDArray[np.intp]:
    """Rows whose statistics show the mode of exposure: not blank, not saturated, no copies.

    Dark frames that were left out as blank count if they have noise: many of them are a mode.
    """
    out = np.array([reason.startswith((SATURATED, COPY)) for reason in frames["reason"].tolist()], bool)
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


def modes(
    frames: npt.NDArray[np.void], dtype: np.dtype[Any], pixels: int | None = None
) -> list[npt.NDArray[np.intp]]:
    """Tell groups of frames apart by their means and standard deviations, as two exposures make them.

    Parameters
    ----------
    frames : structured ndarray
        Frame table. Frames that were left out by limits of the set count too: the smaller group may be
        among them. Blank, saturated and repeated frames do not.
    dtype : numpy.dtype
        Type of the pixels.
    pixels : int, optional
        Number of pixels of a frame: how much statistics differ by noise alone. Without it, frames with very
        few counts may be taken for several modes.

    Returns
    -------
    list of ndarray
        Row numbers of each group, in the order of their first frames; one group as a rule.
    """
    table = np.asarray(_core.check_array(frames, "frames"))
    groups, _ = split_into_modes(table, dtype, pixels)
    return groups


def split_into_modes(
    frames: npt.NDArray[np.void], dtype: np.dtype[Any], pixels: int | None
) -> tuple[list[npt.NDArray[np.intp]], float]:
    """As `modes`, with √n times the dip, or what counts as much: from 0.75 on there are several modes."""
    rows = _usable(frames, dtype)
    if rows.size < _FEWEST_FRAMES:
        return [rows], math.nan
    part = frames[rows]
    matters = MATTERS * float(np.median(part["std"]))
    files = file_numbers(part)
    units = units_of(part)
    if units.max() + 1 < units.size and _are_within_files(part, files, matters, dtype, pixels):
        units = np.arange(part.size)
    # Frames of few files; of a single one, and of files of one frame each, nothing has to be told apart.
    several = 1 < files.max() + 1 < files.size and units.size == units.max() + 1
    noise = _noise(part, units, dtype, pixels)
    values = {field: means_of_units(part[field], units) for field in WORDS}
    todo: list[npt.NDArray[np.intp]] = [np.arange(units.max() + 1)]
    done: list[npt.NDArray[np.intp]] = []
    evidence = 0.0
    while todo:
        group = todo.pop(0)
        best: tuple[float, npt.NDArray[np.bool_] | None] = (0.0, None)
        for field, column in values.items():
            strength, upper = two_modes(column[group], matters, noise[field])
            if several and upper is not None and _of_files(files[group], upper):
                least = _MATTERS_BETWEEN_FILES * abs(float(np.median(column[group])))
                strength, upper = two_modes(column[group], max(matters, least), noise[field])
            best = max(best, (strength, upper), key=lambda pair: pair[0])
        strength, upper = best
        evidence = max(evidence, strength)
        if strength > 1 and upper is not None and len(todo) + len(done) < _MOST_GROUPS:
            todo += [group[~upper], group[upper]]
        else:
            done.append(group)
    groups = [rows[np.isin(units, group)] for group in done]
    return sorted(groups, key=lambda group: int(group[0])), float(evidence) * DIP_LIMIT


def _are_within_files(
    frames: npt.NDArray[np.void],
    files: npt.NDArray[np.intp],
    matters: float,
    dtype: np.dtype[Any],
    pixels: int | None,
) -> bool:
    """Whether most files have frames of two modes, such as frames with and without light."""
    noise = _noise(frames, np.arange(frames.size), dtype, pixels)
    sizes = np.bincount(files)
    for field in WORDS:
        strength, upper = two_modes(frames[field], matters, noise[field])
        if strength > 1 and upper is not None:
            inside = np.bincount(files, upper, sizes.size)
            if np.mean(np.minimum(inside, sizes - inside) >= _OF_BOTH * sizes) > 0.5:
                return True
    return False


def _noise(
    frames: npt.NDArray[np.void], units: npt.NDArray[np.intp], dtype: np.dtype[Any], pixels: int | None
) -> dict[str, float]:
    """Standard deviation of the statistics of a file, or a frame, by the noise of its pixels."""
    if pixels is None:
        return dict.fromkeys(WORDS, 0.0)
    pixels *= max(int(np.median(np.bincount(units))), 1)
    mean, std = (float(np.median(frames[field])) for field in ("mean", "std"))
    # The smallest difference of two means of integers; and the excess kurtosis of counts of the mean.
    step = 1.0 if dtype.kind in "iu" else 0.0
    excess = (std / mean) ** 2 if mean > 0 else 0.0
    of_mean = max(std / math.sqrt(pixels), step / pixels)
    of_std = std * math.sqrt((2 + excess) / (4 * pixels))
    return {"mean": of_mean, "std": max(of_std, step / (2 * std * pixels) if std > 0 else 0.0)}


def _of_files(files: npt.NDArray[np.intp], upper: npt.NDArray[np.bool_]) -> bool:
    """Whether nearly all frames of each file are in one of two groups."""
    inside = np.bincount(files, upper)
    strays = np.minimum(inside, np.bincount(files) - inside).sum()
    return bool(strays <= _STRAY * files.size)
