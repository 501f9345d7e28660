"""MRC images, movies and stacks (MRC2014, Cheng et al., J. Struct. Biol. 192 (2015) 146)."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in
from camnorm.io.formats import nibbles
from camnorm.io.formats.mrc.header import (
    DTYPES,
    HALF_WIDTH,
    HEADER_BYTES,
    NIBBLES,
    OTHER_MODES,
    SIGNED,
    imod_flags,
    labels_of,
    read_header,
    size_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_folders_looked_at: set[Path] = set()
_LOOKED_AT = 2**20  # bytes of the first frame, to find out whether they are unsigned


class MrcSource(FrameSource):
    """Sections of an MRC file as frames, mapped from the file.

    Mode 0 is signed, but unsigned where IMOD's stamp or the options say so. Mode 101 is unpacked to bytes.

    Attributes
    ----------
    header : numpy.void
        The header with the fields of `mrcfile.dtypes.HEADER_DTYPE`, in the byte order of the file.
    """

    format = "MRC"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self.header = header = read_header(file)
        nx, ny, nz = size_of(header)
        mode, extended = int(header["mode"]), int(header["nsymbt"])
        if mode in OTHER_MODES:
            raise FormatError(file.path, f"MRC mode {mode} ({OTHER_MODES[mode]}) is not supported")
        if extended < 0:
            raise FormatError(file.path, f"damaged MRC header: extended header of {extended} bytes")
        self._stored = DTYPES[mode].newbyteorder(header.dtype["mode"].byteorder)
        flags = imod_flags(header)
        if mode == 0 and flags is not None and flags & HALF_WIDTH:
            raise FormatError(file.path, "MRC mode 0 with two pixels of 4 bits in a byte is not supported")
        if mode == 0:
            self.hints = {"mrc_mode0": "" if flags is None else "signed" if flags & SIGNED else "unsigned"}
        stamped = flags is not None and not flags & SIGNED
        if mode == 0 and (options.mrc_mode0 == "unsigned" or (options.mrc_mode0 == "auto" and stamped)):
            self._stored = np.dtype("u1")
        self._packed = mode == NIBBLES
        self._row = (nx + 1) // 2 if self._packed else nx  # as stored, where rows are whole bytes
        self._offset = HEADER_BYTES + extended
        labels = labels_of(header)
        metadata: dict[str, Any] = {"mode": mode, "labels": labels} | scaling_in("\n".join(labels))
        self._frame_bytes: int = ny * self._row * self._stored.itemsize
        if header["mx"] > 0 and header["cella"]["x"] > 0:
            metadata["pixel_size"] = float(header["cella"]["x"]) / int(header["mx"])
        super().__init__(
            file,
            shape=(ny, nx),
            dtype=self._stored,
            count=nz,
            available=max(0, file.size - self._offset) // self._frame_bytes,
            metadata=metadata,
        )
        if mode == 0 and options.mrc_mode0 == "auto" and self._stored == np.int8:
            self._warn_of_unsigned()

    def extended_header(self) -> bytes:
        """Read the extended header from the file, which may be closed by now."""
        with decoding(self.path), open(self.path, "rb") as file:
            file.seek(HEADER_BYTES)
            return file.read(self._offset - HEADER_BYTES)

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if their byte order is foreign, or they have 4 bits."""
        if self._packed or not self._stored.isnative:
            return None
        return self._offset + np.arange(self.available) * self._frame_bytes

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        shape = stop - start, self.shape[0], self._row
        frames = self._file.map(self._offset + start * self._frame_bytes, shape, self._stored)
        return nibbles.unpack(frames)[..., : self.shape[1]] if self._packed else frames

    def _warn_of_unsigned(self) -> None:
        if self.path.parent in _folders_looked_at:  # files of one camera: the first says enough
            return
        _folders_looked_at.add(self.path.parent)
        data = self._file.map(self._offset, (min(self._frame_bytes, _LOOKED_AT),), np.dtype("u1"))
        if _look_unsigned(self.header, np.bincount(data, minlength=256)):
            warnings.warn(
                f"{self.path}: bytes of MRC mode 0 are read as signed, but look like counts of 0 to 255; "
                "if they are, read them with mrc_mode0='unsigned'",
                stacklevel=2,
            )


def _look_unsigned(header: np.void, counts: NDArray[np.int64]) -> bool:
    """Whether bytes that nothing says to be unsigned seem to be.

    `counts` tells how often 0 to 255 occur.
    """
    dmin, dmax = float(header["dmin"]), float(header["dmax"])
    known = dmin < dmax
    if known and dmax > 127:
        return True
    if not counts[128:].any():
        return False
    if known and dmin >= 0:
        return True
    value = np.arange(256)
    spread = [
        np.average(x**2, weights=counts) - np.average(x, weights=counts) ** 2
        for x in (value, value - value // 128 * 256)
    ]
    # Counts around 128 lie close together only as unsigned. A few on the other side of 128 than most would be
    # far from 0 as signed, while values that cross 0 are found next to it.
    negative = counts[128:].sum() / counts.sum()
    far = (negative < 0.05 and not counts[248:].any()) or (negative > 0.95 and not counts[:8].any())
    return bool(spread[0] < 0.5 * spread[1] or far)
