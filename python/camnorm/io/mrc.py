"""MRC images, movies and stacks (MRC2014, Cheng et al., J. Struct. Biol. 192 (2015) 146)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from ..errors import FormatError
from .source import FrameSource, MappedFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_BYTES = 1024
DTYPES = {mode: np.dtype(code) for mode, code in {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}.items()}
# Modes of the standard or of detector software that hold no plain real pixels.
_OTHER_MODES = {
    3: "complex 16 bit integers",
    4: "complex 32 bit floats",
    5: "not in the standard",
    7: "not in the standard",
    101: "4 bit integers",
}
_BYTE_ORDERS = {0x44: "<", 0x11: ">"}  # first byte of the machine stamp
_IMOD_STAMP = 1146047817


class MrcSource(FrameSource):
    """Sections of an MRC file as frames, mapped from the file.

    Mode 0 is signed, but unsigned where IMOD's stamp says so.

    Attributes
    ----------
    header : numpy.void
        The header with the fields of `mrcfile.dtypes.HEADER_DTYPE`, in the byte order of the file.
    """

    format = "MRC"

    def __init__(self, file: MappedFile) -> None:
        self.header = header = _read_header(file)
        nx, ny, nz, mode, extended = (int(header[name]) for name in ("nx", "ny", "nz", "mode", "nsymbt"))
        if mode in _OTHER_MODES:
            raise FormatError(file.path, f"MRC mode {mode} ({_OTHER_MODES[mode]}) is not supported")
        if extended < 0:
            raise FormatError(file.path, f"damaged MRC header: extended header of {extended} bytes")
        self._stored = DTYPES[mode].newbyteorder(header.dtype["mode"].byteorder)
        if mode == 0 and _is_unsigned(header):
            self._stored = np.dtype("u1")
        self._offset = HEADER_BYTES + extended
        metadata: dict[str, Any] = {"mode": mode, "labels": labels(header)}
        if header["mx"] > 0 and header["cella"]["x"] > 0:
            metadata["pixel_size"] = float(header["cella"]["x"]) / int(header["mx"])
        super().__init__(
            file,
            shape=(ny, nx),
            dtype=self._stored,
            count=nz,
            available=max(0, file.size - self._offset) // (ny * nx * self._stored.itemsize),
            metadata=metadata,
        )

    def extended_header(self) -> bytes:
        """Read the extended header from the file, which may be closed by now."""
        with open(self.path, "rb") as file:
            file.seek(HEADER_BYTES)
            return file.read(self._offset - HEADER_BYTES)

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frame_bytes = self.shape[0] * self.shape[1] * self._stored.itemsize
        return self._file.map(self._offset + start * frame_bytes, (stop - start, *self.shape), self._stored)


def labels(header: np.void) -> list[str]:
    """Labels of the header that are in use."""
    used = min(max(int(header["nlabl"]), 0), 10)
    return [bytes(label).decode("latin-1").rstrip("\0 ") for label in header["label"][:used]]


def _read_header(file: MappedFile) -> np.void:
    head = file.read(0, HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        reason = f"not an MRC file, or truncated: shorter than the header of {HEADER_BYTES} bytes"
        raise FormatError(file.path, reason, frame=0, offset=len(head))
    # The machine stamp is not always right: an order in which the header makes sense goes first.
    stamped = _BYTE_ORDERS.get(head[212], "<")
    for order in (stamped, "<", ">"):
        header: np.void = np.frombuffer(head, HEADER_DTYPE.newbyteorder(order))[0]
        size = tuple(int(header[name]) for name in ("nx", "ny", "nz"))
        if min(size) > 0 and int(header["mode"]) in DTYPES.keys() | _OTHER_MODES.keys():
            return header
    if head[208:211] != b"MAP":
        raise FormatError(file.path, "not an MRC file: no 'MAP' at byte 208 and no sense in its header")
    *size_, mode = struct.unpack(f"{stamped}4i", head[:16])
    raise FormatError(file.path, f"damaged MRC header: nx, ny, nz = {tuple(size_)}, mode {mode}")


def _is_unsigned(header: np.void) -> bool:
    """Whether IMOD wrote bytes 0 to 255: its stamp at byte 152, bit 0 at byte 156 unset."""
    order = header.dtype["mode"].byteorder.replace("=", "<" if np.little_endian else ">")
    stamp, flags = struct.unpack_from(f"{order}2i", bytes(header["extra2"]), 152 - 112)
    return stamp == _IMOD_STAMP and not flags & 1
