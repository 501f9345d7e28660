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
    HEADER_BYTES,
    NIBBLES,
    OTHER_MODES,
    SIGNED,
    full_width,
    imod_flags,
    is_half_width,
    labels_of,
    read_header,
    size_of,
)
from camnorm.io.formats.mrc.layout import Layout, layout_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_folders_looked_at: set[Path] = set()
_LOOKED_AT = 2**20  # bytes of the first frame, to find out whether they are unsigned


class MrcSource(FrameSource):
    """Sections of an MRC file as frames, mapped from the file.

    Mode 0 is signed, but unsigned where IMOD's stamp or the options say so. Pixels of 4 bits, of mode 101 or
    as IMOD and SerialEM put two of them in a byte of mode 0, are unpacked to bytes.

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
        half_width = is_half_width(header)
        if half_width:
            self.header = header = full_width(file, header)
            nx *= 2
        self._packed = half_width or mode == NIBBLES
        self._less_128 = mode == 0 and not half_width and options.mrc_mode0 == "imod"
        self._stored = DTYPES[mode].newbyteorder(header.dtype["mode"].byteorder)
        if mode == 0 and not half_width:
            flags = imod_flags(header)
            self.hints = {"mrc_mode0": "" if flags is None else "signed" if flags & SIGNED else "unsigned"}
        if half_width or (mode == 0 and _is_unsigned(header, options)):
            self._stored = np.dtype("u1")
        self._row = (nx + 1) // 2 if self._packed else nx  # as stored, where rows are whole bytes
        labels = labels_of(header)
        metadata: dict[str, Any] = {"mode": mode, "labels": labels} | scaling_in("\n".join(labels))
        self._frame_bytes: int = ny * self._row * self._stored.itemsize
        layout = Layout(HEADER_BYTES + extended, nz)
        if file.exact_size is not None:
            layout = layout_of(file, file.exact_size, extended, nz, self._frame_bytes)
        self._offset, self.remarks = layout.offset, layout.remarks
        if header["mx"] > 0 and header["cella"]["x"] > 0:
            metadata["pixel_size"] = float(header["cella"]["x"]) / int(header["mx"])
        super().__init__(
            file,
            shape=(ny, nx),
            dtype=self._stored,
            count=layout.count,
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
        """Where frames begin in the file; None if they do not lie there as in memory."""
        if self._packed or self._less_128 or not self._stored.isnative:
            return None
        return self._offset + np.arange(self.available) * self._frame_bytes

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        shape = stop - start, self.shape[0], self._row
        frames = self._file.map(self._offset + start * self._frame_bytes, shape, self._stored)
        if self._packed:
            return nibbles.unpack(frames)[..., : self.shape[1]]
        return frames ^ np.uint8(128) if self._less_128 else frames

    def _warn_of_unsigned(self) -> None:
        if self.path.parent in _folders_looked_at:  # files of one camera: the first says enough
            return
        _folders_looked_at.add(self.path.parent)
        data = self._file.map(self._offset, (min(self._frame_bytes, _LOOKED_AT),), np.dtype("u1"))
        counts = np.bincount(data, minlength=256)
        if imod_flags(self.header) is not None:
            if _all_far_below_0(counts):
                warnings.warn(
                    f"{self.path}: bytes of MRC mode 0 look like counts less 128, as IMOD stores them: "
                    "their mean is negative, and no gain can be found; if they are, read them with "
                    "mrc_mode0='imod'",
                    stacklevel=2,
                )
        elif _look_unsigned(self.header, counts):
            warnings.warn(
                f"{self.path}: bytes of MRC mode 0 are read as signed, but look like counts of 0 to 255; "
                "if they are, read them with mrc_mode0='unsigned'",
                stacklevel=2,
            )


def _is_unsigned(header: np.void, options: ReadOptions) -> bool:
    """Whether bytes of mode 0 are stored as unsigned numbers, or used as such."""
    flags = imod_flags(header)
    if options.mrc_mode0 == "auto":
        return flags is not None and not flags & SIGNED
    return options.mrc_mode0 != "signed"


def _all_far_below_0(counts: NDArray[np.int64]) -> bool:
    """Whether nearly all bytes are negative as signed numbers, and none is just above 0."""
    return bool(counts[128:].sum() > 0.95 * counts.sum() and not counts[:8].any())


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
    far = (negative < 0.05 and not counts[248:].any()) or _all_far_below_0(counts)
    return bool(spread[0] < 0.5 * spread[1] or far)
