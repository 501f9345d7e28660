"""The header of MRC files (MRC2014), and what IMOD adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_BYTES = 1024
NIBBLES = 101  # the mode of pixels of 4 bits, an extension by IMOD and SerialEM
# As the pixels are stored: two in a byte in mode 101.
DTYPES = {
    mode: np.dtype(code)
    for mode, code in {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", NIBBLES: "u1"}.items()
}
# Modes of the standard or of detector software that hold no plain real pixels.
OTHER_MODES = {
    3: "complex 16 bit integers",
    4: "complex 32 bit floats",
    5: "not in the standard",
    7: "not in the standard",
}
_KNOWN_MODES = DTYPES.keys() | OTHER_MODES.keys()
_BYTE_ORDERS = {0x44: "<", 0x11: ">"}  # first byte of the machine stamp
_IMOD_STAMP = 1146047817
_STAMP_OFFSET = 152 - 112  # in the field extra2; flags follow
SIGNED, HALF_WIDTH = 1, 16  # flags of IMOD


def labels_of(header: np.void) -> list[str]:
    """Labels of the header that are in use."""
    used = min(max(int(header["nlabl"]), 0), 10)
    return [bytes(label).decode("latin-1").rstrip("\0 ") for label in header["label"][:used]]


def read_header(file: MappedFile) -> np.void:
    head = file.read(0, HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        reason = f"not an MRC file, or truncated: shorter than the header of {HEADER_BYTES} bytes"
        raise FormatError(file.path, reason, frame=0, offset=len(head))
    # The machine stamp is not always right: the first byte order in which the header makes sense is taken.
    stamped = _BYTE_ORDERS.get(head[212], "<")
    orders = (stamped, "<", ">")
    headers: list[np.void] = [np.frombuffer(head, HEADER_DTYPE.newbyteorder(order))[0] for order in orders]
    for header in headers:
        if header["mode"] in _KNOWN_MODES and min(size_of(header)) > 0:
            return header
    if head[208:211] != b"MAP":
        raise FormatError(file.path, "not an MRC file: no 'MAP' at byte 208 and no sense in its header")
    size, mode = size_of(headers[0]), headers[0]["mode"]
    raise FormatError(file.path, f"damaged MRC header: nx, ny, nz = {size}, mode {mode}")


def size_of(header: np.void) -> tuple[int, int, int]:
    return int(header["nx"]), int(header["ny"]), int(header["nz"])


def imod_flags(header: np.void) -> int | None:
    """What IMOD says of the file: its stamp stands at byte 152, the flags at 156."""
    stamp, flags = np.frombuffer(bytes(header["extra2"]), header.dtype["mode"], 2, _STAMP_OFFSET)
    return int(flags) if stamp == _IMOD_STAMP else None


def mark_signed(header: NDArray[np.void]) -> None:
    """Say as IMOD does that bytes are signed, to readers that otherwise take them for unsigned."""
    extra = bytearray(bytes(header["extra2"]))
    extra[_STAMP_OFFSET : _STAMP_OFFSET + 8] = np.array([_IMOD_STAMP, SIGNED], "<i4").tobytes()
    header["extra2"] = np.void(bytes(extra))
