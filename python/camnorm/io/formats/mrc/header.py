"""The header of MRC files (MRC2014), and what IMOD adds to it."""

from __future__ import annotations

import math
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
_FOUR_BITS = "4 bits packed"  # in the label of SerialEM


def labels_of(header: np.void) -> list[str]:
    """Labels of the header that are in use."""
    used = min(max(int(header["nlabl"]), 0), 10)
    return [bytes(label).decode("latin-1").rstrip("\0 ") for label in header["label"][:used]]


def read_header(file: MappedFile) -> np.void:
    head = file.read(0, HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        reason = f"not an MRC file, or truncated: shorter than the header of {HEADER_BYTES} bytes"
        raise FormatError(file.path, reason, frame=0, offset=len(head))
    # The machine stamp is not always right: of the byte orders in which the header makes sense, the one that
    # goes with the size of the file is taken, or else the stamped one.
    stamped = _BYTE_ORDERS.get(head[212], "<")
    orders = (stamped, *({"<", ">"} - {stamped}))
    headers: list[np.void] = [np.frombuffer(head, HEADER_DTYPE.newbyteorder(order))[0] for order in orders]
    sensible = [header for header in headers if header["mode"] in _KNOWN_MODES and min(size_of(header)) > 0]
    if sensible:
        return next((header for header in sensible if _end_of(header) == file.exact_size), sensible[0])
    if head[208:211] != b"MAP":
        raise FormatError(file.path, "not an MRC file: no 'MAP' at byte 208 and no sense in its header")
    size, mode = size_of(headers[0]), headers[0]["mode"]
    raise FormatError(file.path, f"damaged MRC header: nx, ny, nz = {size}, mode {mode}")


def size_of(header: np.void) -> tuple[int, int, int]:
    return int(header["nx"]), int(header["ny"]), int(header["nz"])


def _end_of(header: np.void) -> int:
    """Size of the file by its header, unless pixels have 4 bits."""
    pixel = DTYPES.get(int(header["mode"]), DTYPES[2])
    return HEADER_BYTES + int(header["nsymbt"]) + math.prod(size_of(header)) * pixel.itemsize


def is_half_width(header: np.void) -> bool:
    """Whether bytes of mode 0 hold two pixels of 4 bits each, the left one in the low bits.

    IMOD says so by a flag, SerialEM by a label, which programs that unpack the pixels keep, beside their own.
    """
    if header["mode"] != 0:
        return False
    flags, labels = imod_flags(header), labels_of(header)
    return bool((flags or 0) & HALF_WIDTH) or (len(labels) == 1 and _FOUR_BITS in labels[0])


def full_width(file: MappedFile, header: np.void) -> np.void:
    """Header of such a file as if each pixel had its byte."""
    flags = imod_flags(header)
    if flags is not None and flags & SIGNED:
        raise FormatError(file.path, "damaged MRC header: two pixels of 4 bits in a byte, and signed")
    wide = np.frombuffer(header.tobytes(), header.dtype).copy().reshape(())
    if wide["mx"] == wide["nx"]:
        wide["mx"] *= 2
        wide["cella"]["x"] *= 2
    wide["nx"] *= 2
    if flags is not None:
        _set_flags(wide, flags & ~HALF_WIDTH)
    made: np.void = np.frombuffer(wide.tobytes(), header.dtype)[0]
    return made


def imod_flags(header: np.void) -> int | None:
    """IMOD's flags of the file: its stamp is at byte 152, the flags at 156."""
    stamp, flags = np.frombuffer(bytes(header["extra2"]), header.dtype["mode"], 2, _STAMP_OFFSET)
    return int(flags) if stamp == _IMOD_STAMP else None


def mark_signed(header: NDArray[np.void]) -> None:
    """Say as IMOD does that bytes are signed, to readers that otherwise take them for unsigned."""
    _set_flags(header, SIGNED)


def _set_flags(header: NDArray[np.void], flags: int) -> None:
    extra = bytearray(bytes(header["extra2"]))
    values = np.array([_IMOD_STAMP, flags], header.dtype["mode"])
    extra[_STAMP_OFFSET : _STAMP_OFFSET + 8] = values.tobytes()
    header["extra2"] = np.void(bytes(extra))
