"""TIFF and BigTIFF files are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import tifffile

from camnorm.io.base.source import FrameSource
from camnorm.io.base.writers import EncodedWriter, FileWriter, FrameWriter, WritePlan
from camnorm.io.formats.tiff.reader import ANGSTROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GROWTH = 2  # of pixels that cannot be compressed, at most: LZW codes take 12 bits for 8
_DIRECTORY_BYTES = 1024  # that a page takes at most besides pixels and description
# How each compression is called in a TIFF file, and what does it: as fast as it can, since noise hardly
# becomes smaller by more effort.
_COMPRESSIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "lzw": (5, imagecodecs.lzw_encode),
    "deflate": (8, partial(imagecodecs.deflate_encode, level=1)),
    "zstd": (50000, partial(imagecodecs.zstd_encode, level=1)),
}


class TiffWriter(FileWriter):
    """A TIFF file, BigTIFF above 4 GB: uncompressed, one page of one strip a frame."""

    def __init__(self, plan: WritePlan) -> None:
        super().__init__(plan)
        self._tags = _tags(plan.source, plan.label)
        self._tiff = _open_writer(self._file, _size(plan.source, plan.dtype, plan.count, plan.label))
        self._offsets: list[int] = []  # of the pixels of all pages that were made

    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        dtype = self.dtype.newbyteorder("<")
        self._make_pages(start + len(frames), dtype)
        place = row * math.prod(self.shape[1:]) * dtype.itemsize
        for index, frame in enumerate(frames.astype(dtype, copy=False), start):
            self._write_at(self._offsets[index] + place, frame)

    def _make_pages(self, count: int, dtype: np.dtype[Any]) -> None:
        """Write directories with room for pixels until there are `count` pages."""
        with self._lock:
            while len(self._offsets) < count:
                made = self._tiff.write(shape=self.shape, dtype=dtype, returnoffset=True, **self._tags)
                assert made is not None  # as for all contiguous pixels
                self._offsets.append(made[0])
            # What is held back would overwrite pixels.
            self._file.flush()

    def _write_last(self) -> None:
        self._tiff.close()


class CompressedTiffWriter(EncodedWriter):
    """A TIFF file, BigTIFF where it might come to 4 GB: one page of one compressed strip a frame.

    Of float32, deflate and zstd compress what the predictor of Adobe's Technical Note 3 makes of it, which
    libtiff undoes. Differences of neighbours would only add up the noise of all other pixels.
    """

    def __init__(self, plan: WritePlan) -> None:
        super().__init__(plan)
        code, self._compress = _COMPRESSIONS[plan.compression]
        self._predicted = plan.dtype == np.float32 and plan.compression != "lzw"
        self._tags = _tags(plan.source, plan.label) | {
            "compression": code,
            "predictor": 3 if self._predicted else None,
        }
        self._tiff = _open_writer(
            self._file, _GROWTH * _size(plan.source, plan.dtype, plan.count, plan.label)
        )

    def _encode(self, frame: NDArray[Any]) -> bytes:
        frame = frame.astype(self.dtype.newbyteorder("<"), copy=False)
        if self._predicted:
            frame = imagecodecs.floatpred_encode(frame, axis=1 - frame.ndim)
        encoded: bytes = self._compress(frame)
        return encoded

    def _append(self, encoded: bytes) -> None:
        dtype = self.dtype.newbyteorder("<")
        self._tiff.write(iter([encoded]), shape=self.shape, dtype=dtype, **self._tags)

    def _write_last(self) -> None:
        self._tiff.close()


def make_writer(plan: WritePlan) -> FrameWriter:
    """Make the writer of a TIFF file."""
    return (TiffWriter if plan.compression == "none" else CompressedTiffWriter)(plan)


def _tags(source: FrameSource, label: str) -> dict[str, Any]:
    """Tags of every page that is made from a frame of a source, as `tifffile.TiffWriter.write` takes them."""
    tags: dict[str, Any] = {
        "photometric": "minisblack",
        "rowsperstrip": source.shape[0],
        "description": label.encode("ascii", "replace"),
        "software": "camnorm",
        "metadata": None,
    }
    if len(source.shape) == 3:
        colours = 3 if source.shape[2] in (3, 4) else 1
        tags |= {
            "photometric": "rgb" if colours == 3 else "minisblack",
            "planarconfig": "contig",
            "extrasamples": ["unspecified"] * (source.shape[2] - colours),
        }
    if "resolution" in source.metadata:
        x, y, unit = source.metadata["resolution"]
        tags |= {"resolution": (x, y), "resolutionunit": unit}
    elif "pixel_size" in source.metadata:
        per_centimetre = ANGSTROM[3] / source.metadata["pixel_size"]
        if 1 <= per_centimetre < 2**31:  # the range of 32-bit numbers
            fraction = Fraction(per_centimetre).limit_denominator(int(2**31 / per_centimetre))
            resolution = fraction.numerator, fraction.denominator
            tags |= {"resolution": (resolution, resolution), "resolutionunit": 3}
    return tags


def _size(source: FrameSource, dtype: np.dtype[Any], count: int, label: str) -> int:
    """Bytes of a file of uncompressed frames, at most."""
    return count * (math.prod(source.shape) * dtype.itemsize + _DIRECTORY_BYTES + len(label))


def _open_writer(file: IO[bytes], size: int) -> tifffile.TiffWriter:
    return tifffile.TiffWriter(file, byteorder="<", bigtiff=size >= 2**32)
