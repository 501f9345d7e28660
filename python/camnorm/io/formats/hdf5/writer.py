"""HDF5 files are written: one dataset, to which NeXus' attributes lead."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import h5py
import imagecodecs
import numpy as np

from camnorm.io.base.source import FrameSource
from camnorm.io.base.writers import EncodedWriter, FileWriter, FrameWriter, WritePlan

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make_writer(plan: WritePlan) -> FrameWriter:
    """Make the writer of an HDF5 file."""
    return (Hdf5Writer if plan.compression == "none" else CompressedHdf5Writer)(plan)


class Hdf5Writer(FileWriter):
    """An HDF5 file of one dataset, ``/entry/data/data``, to which NeXus' attributes lead.

    It is contiguous: once HDF5 has made room for it, pixels are written to the file without it.
    """

    def __init__(self, plan: WritePlan) -> None:
        properties = _properties()
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        # Without HDF5's lock: the temporary file is locked already.
        with _system_errors(), h5py.File(plan.target.temporary, "w", locking=False) as h5:
            self._begin: int = _create(
                h5, plan.source, plan.dtype, plan.count, plan.label, properties
            ).get_offset()
        super().__init__(plan)

    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        stored = self.dtype.newbyteorder("<")
        row_bytes = math.prod(self.shape[1:]) * stored.itemsize
        for index, frame in enumerate(frames.astype(stored, copy=False), start):
            self._write_at(self._begin + (index * self.shape[0] + row) * row_bytes, frame)

    def _write_last(self) -> None:
        """Nothing is missing."""


class CompressedHdf5Writer(EncodedWriter):
    """The same file with a chunk for each frame, shuffled and deflated."""

    def __init__(self, plan: WritePlan) -> None:
        properties = _properties()
        properties.set_chunk((1, *plan.source.shape))
        properties.set_shuffle()
        properties.set_deflate(1)
        self._h5 = h5py.File(plan.target.temporary, "w", locking=False)
        try:
            self._dataset = _create(self._h5, plan.source, plan.dtype, plan.count, plan.label, properties)
            super().__init__(plan)
        except BaseException:
            self._h5.close()
            raise

    def _encode(self, frame: NDArray[Any]) -> bytes:
        values = frame.astype(self.dtype.newbyteorder("<"), copy=False)
        shuffled = values.reshape(-1, 1).view(np.uint8).T.copy()
        return bytes(imagecodecs.deflate_encode(shuffled, level=1))

    def _append(self, encoded: bytes) -> None:
        with _system_errors():
            self._dataset.write_direct_chunk((self._appended, *[0] * len(self.shape)), encoded)

    def _write_last(self) -> None:
        with _system_errors():
            self._h5.close()

    def _close(self) -> None:
        with suppress(Exception):
            self._h5.close()
        super()._close()


@contextmanager
def _system_errors() -> Iterator[None]:
    """Have what the system says be an OSError again, which HDF5 only writes in its message."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _properties() -> Any:
    """Properties of a new dataset, without the time: files written from the same frames are the same."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    return properties


def _create(
    h5: h5py.File, source: FrameSource, dtype: np.dtype[Any], count: int, label: str, properties: Any
) -> Any:
    """Make the dataset and its attributes."""
    for place, kind, below in (("/", "NXroot", "entry"), ("entry", "NXentry", "data")):
        h5.require_group(place).attrs.update({"NX_class": kind, "default": below})
    group = h5.create_group("entry/data")
    group.attrs.update({"NX_class": "NXdata", "signal": "data"})
    dataset = h5py.h5d.create(
        group.id,
        b"data",
        h5py.h5t.py_create(dtype.newbyteorder("<")),
        h5py.h5s.create_simple((count, *source.shape)),
        properties,
    )
    attributes = h5py.Dataset(dataset).attrs
    attributes["label"] = label
    attributes["source"] = os.fspath(source.path)
    if "pixel_size" in source.metadata:
        attributes["pixel_size"] = float(source.metadata["pixel_size"])
        attributes["pixel_size_units"] = "angstrom"
    return dataset
