"""Whether all parts of an HDF5 dataset are there: HDF5 silently fills in what is missing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io.base.hdf5guard import open_object
from camnorm.io.base.selection import runs
from camnorm.io.formats.hdf5.axes import Axes, Box
from camnorm.io.formats.hdf5.filters import load_filters

_MOST_FRAMES = 2**26  # for each of which it is noted whether it is there


def frames_written(path: Path, dataset: h5py.Dataset, axes: Axes) -> list[tuple[int, int]]:
    """Runs of frames in a chunked stack of which anything was written, as far as it can be found out."""
    chunks = dataset.id.get_num_chunks()
    # Not all versions of HDF5 list the chunks.
    if chunks == math.prod(_chunk_counts(dataset)) or not hasattr(dataset.id, "chunk_iter"):
        return [(0, axes.count)]
    if chunks == 0:
        raise FormatError(
            path, f"none of the {axes.count} frames of {dataset.name} was ever written", frame=0
        )
    if axes.leading == 1:
        (count,), axis = axes.counts, axes.order[0]
        depth = dataset.chunks[axis]
        found: set[int] = set()
        dataset.id.chunk_iter(lambda chunk: found.add(chunk.chunk_offset[axis] // depth))
        return [(first * depth, min(last * depth, count)) for first, last in runs(sorted(found))]
    written = _Grid(path, axes)
    dataset.id.chunk_iter(
        lambda chunk: written.add(
            tuple((at, at + size) for at, size in zip(chunk.chunk_offset, dataset.chunks, strict=True))
        )
    )
    return runs(written.frames())


class _Grid:
    """Which frames are there of a stack of which several axes count frames."""

    def __init__(self, path: Path, axes: Axes) -> None:
        if axes.count > _MOST_FRAMES:
            raise FormatError(path, f"{axes.count} frames of which some are missing are not supported")
        self._axes = axes
        self._found = np.zeros(axes.counts, bool)

    def add(self, box: Box) -> None:
        """Add the frames in a box, given along all axes of the dataset."""
        self._found[self._axes.frames_at(box)] = True

    def frames(self) -> Any:
        """Numbers of the frames that are there."""
        return np.flatnonzero(self._found)

    def first_gap(self) -> int | None:
        """Number of the first frame that is not there."""
        return None if self._found.all() else int(self._found.argmin())


def check_parts(path: Path, dataset: h5py.Dataset, follow: bool, axes: Axes) -> None:
    """FormatError if a part of a dataset is missing that HDF5 would silently fill in."""
    left = dataset.nbytes
    for name, offset, size in dataset.external or ():
        part = Path(name)  # looked for from the current directory by HDF5
        if not part.is_file() or part.stat().st_size < offset + min(size, left):
            raise FormatError(path, f"its pixels are in the file {name}, which is missing or truncated")
        left -= min(size, left)
    if not dataset.is_virtual:
        if not dataset.chunks and not dataset.external and dataset.id.get_storage_size() == 0:
            raise FormatError(path, f"{dataset.name} was never written", frame=0)
        return
    folder = Path(dataset.file.filename).parent
    for source in dataset.virtual_sources():
        where = f"{source.file_name}, {source.dset_name}"
        if "%" in source.dset_name:
            raise FormatError(path, f"a virtual dataset over a series ({where}) is not supported")
        try:
            file = dataset.file.filename if source.file_name == "." else folder / source.file_name
            with h5py.File(file, "r") as h5:
                part = open_object(path, h5, source.dset_name, follow)
                check_parts(Path(h5.filename), part, follow, Axes.of(part.shape))
                load_filters(path, part)
                counts = _chunk_counts(part)
                whole = not counts or part.id.get_num_chunks() == math.prod(counts)
                extent = source.src_space.get_simple_extent_dims()
                if extent:
                    whole = whole and all(has >= n for has, n in zip(part.shape, extent, strict=True))
                else:  # all of the source is used
                    whole = whole and part.size == source.vspace.get_select_npoints()
        except Error:
            raise
        except Exception as error:
            raise_shortage(error)
            whole = False
        if not whole:
            raise FormatError(path, f"a part of it ({where}) is missing or damaged")
    if axes.leading:
        _check_mapped(path, dataset, axes)


def _check_mapped(path: Path, dataset: h5py.Dataset, axes: Axes) -> None:
    """FormatError if no source stands for a frame of a virtual dataset; of a part, it may be a gap."""
    mapped = []
    for source in dataset.virtual_sources():
        try:
            low, high = source.vspace.get_select_bounds()
            mapped.append(tuple((first, last + 1) for first, last in zip(low, high, strict=True)))
        except RuntimeError:  # without an end: HDF5 takes the dataset's length from what there is
            return
    gap: int | None = 0
    if axes.leading == 1:
        assert gap is not None
        for low, high in sorted(box[axes.order[0]] for box in mapped):
            if low > gap:
                break
            gap = max(gap, high)
    else:
        grid = _Grid(path, axes)
        for box in mapped:
            grid.add(box)
        gap = grid.first_gap()
    if gap is not None and gap < axes.count:
        raise FormatError(path, f"{dataset.name} is virtual, and no file stands for this frame", frame=gap)


def _chunk_counts(dataset: h5py.Dataset) -> list[int]:
    """How many chunks there should be along each axis; none of a dataset that is not chunked."""
    chunks = dataset.chunks or ()
    return [-(-length // size) for length, size in zip(dataset.shape, chunks, strict=False)]
