"""What is known of a measurement before the first frame is read: its files, and the kind of frames."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error, message_of, raise_shortage
from camnorm.io import Chunk, Failure, FrameSource, StoredChunk, stream_frames, stream_stored
from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.halves import scattered
from camnorm.limits import descriptors_left
from camnorm.measurement.halves import Halves
from camnorm.measurement.settings import Settings
from camnorm.measurement.source import Source
from camnorm.sensor.table import file_table
from camnorm.sizes import sizes
from camnorm.statistics.moments import kind_of

__all__ = ["SHARES", "Plan"]

# Of the files that the process may open, those for chunks that wait.
_OPEN_SHARE = 1 / 4

# Files looked into, spread over the set, to learn what most of them are. They are all files of small sets.
_FILES_LOOKED_INTO = 9

# Parts of the set, by its bytes, after which the mean image so far is kept, to be compared with that of the
# rest. Each costs a pass over the sums: where these are large, many times their bytes must have been read
# first, except for the half, which shows drift.
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how."""

    source: Source
    settings: Settings
    files: list[Path]
    """Absolute paths."""
    table: npt.NDArray[np.void]
    """The files as the provenance keeps them."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """Of the frames that most files have."""
    places: list[tuple[int, int]]
    """File and frame before which the mean image so far is kept, in their order."""
    halves: Halves
    """Half of every frame."""
    most_open: int
    """Files that may be open at a time for chunks that wait."""

    @classmethod
    def of(cls, source: Source, settings: Settings) -> Plan:
        """Look into some of the files."""
        shape, dtype = _usual_frames(source.catalogue, settings.strict)
        source = replace(source, catalogue=_in_one_row_order(source.catalogue, shape, dtype))
        files = [path.absolute() for path in source.files]
        table = file_table(files)
        most_open = max(1, min(sizes().open_files, int(_OPEN_SHARE * descriptors_left())))
        lengths = np.maximum(table["size"], 0).astype(np.float64)
        lengths[[source.chosen.without(file) for file in range(lengths.size)]] = 0.0
        places = _find_places(lengths, 32 * math.prod(shape), source)
        halves = Halves.of(source, partial(_fits, source, shape, dtype))
        return cls(source, settings, files, table, shape, dtype, places, halves, most_open)

    def read(self, *, to_memory: bool, **which: Any) -> Generator[Chunk | StoredChunk | Failure, None, None]:
        """Read frames in the order of the files.

        Parameters
        ----------
        to_memory : bool
            Whether plain pixels, too, are read to memory, and not only where they are used.
        **which
            Which frames, as of `stream_frames`.

        Returns
        -------
        generator
        """
        stream = stream_frames if to_memory else stream_stored
        return stream(
            self.files,
            threads=self.settings.threads,
            options=self.source.catalogue.options,
            held=self.most_open,
            **which,
        )

    def misfit(self, source: FrameSource) -> str | None:
        """Why the frames of a file cannot be added; None if they can."""
        if source.shape != self.shape:
            return f"frames of shape {source.shape}, but the set has {self.shape}"
        kind, wanted = kind_of(source.dtype), kind_of(self.dtype)
        if kind != wanted:
            return f"{source.dtype} pixels ({kind} kind), but the set has {self.dtype} pixels ({wanted} kind)"
        return None


def _usual_frames(catalogue: Catalogue, strict: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind that most files have, the first ones in doubt, and the dtype of one of these."""
    seen: Counter[tuple[tuple[int, ...], str]] = Counter()
    dtypes: dict[tuple[tuple[int, ...], str], np.dtype[Any]] = {}
    reasons: list[str] = []

    def look(number: int) -> None:
        try:
            entry = catalogue.entry(number)
        except (Error, OSError) as error:
            raise_shortage(error)
            if strict:
                raise
            reasons.append(message_of(error))
        else:
            key = entry.shape, kind_of(entry.dtype)
            seen[key] += 1
            dtypes.setdefault(key, entry.dtype)

    for number in scattered(len(catalogue), _FILES_LOOKED_INTO):
        look(number)
    for number in () if seen else range(len(catalogue)):
        look(number)
        if seen:
            break
    if not seen:
        files = "1 file" if len(catalogue) == 1 else f"{len(catalogue)} files"
        raise Error(f"no frame could be used, {files} rejected; the first: {reasons[0]}")
    ((most, _),) = seen.most_common(1)
    return most[0], dtypes[most]


def _fits(source: Source, shape: tuple[int, ...], dtype: np.dtype[Any], file: int) -> bool:
    """Whether a file has frames of the set; of many files that is not known before they are read."""
    if len(source.catalogue) > _FILES_LOOKED_INTO:
        return True
    entry = source.catalogue.find(file)
    return (
        entry is not None
        and (entry.shape, kind_of(entry.dtype)) == (shape, kind_of(dtype))
        and bool(source.chosen(file, entry.count))
    )


def _in_one_row_order(catalogue: Catalogue, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Catalogue:
    """The files, read in the row order of all that fit, or with the top row first if these differ."""
    if catalogue.options.row_order is not None:
        return catalogue
    orders = catalogue.row_orders(
        lambda entry: entry.shape == shape and kind_of(entry.dtype) == kind_of(dtype)
    )
    if len(orders) > 1:
        warnings.warn(
            f"the row order differs: {orders['bottom']} files have the bottom row first (as MRC), "
            f"{orders['top']} the top row (as TIFF); the rows of the former are flipped on reading",
            stacklevel=5,
        )
        return catalogue.in_row_order("top")
    return catalogue.in_row_order(next(iter(orders), None))


def _find_places(lengths: npt.NDArray[np.float64], sums: int, source: Source) -> list[tuple[int, int]]:
    """File and frame at each share of the set, by the lengths of the files and of the sums in bytes."""
    ends = np.cumsum(lengths)
    least = 0 if sums <= sizes().small_sums_bytes else sizes().read_by_sums * sums
    bytes_before = [share * ends[-1] for share in SHARES]
    wanted = [before for before in bytes_before[:-1] if before >= least] + bytes_before[-1:]

    def find(before: float) -> tuple[int, int]:
        file = int(np.searchsorted(ends, before))
        if lengths[file] == 0:
            return file, 0
        share = 1 - (ends[file] - before) / lengths[file]
        entry = source.catalogue.find(file)
        if entry is None:
            return file, 0
        frames = source.chosen(file, entry.count)
        first = round(share * len(frames))
        return (file, frames[first]) if first < len(frames) else (file + 1, 0)

    return sorted({find(before) for before in wanted})
