"""MRC images, movies and stacks (MRC2014, Cheng et al., J. Struct. Biol. 192 (2015) 146)."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from camnorm import _core
from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in
from camnorm.io.base.writers import FileWriter, WritePlan
from camnorm.io.formats import nibbles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_HEADER_BYTES = 1024
_NIBBLES = 101  # the mode of pixels of 4 bits, an extension by IMOD and SerialEM
# As the pixels are stored: two in a byte in mode 101.
_DTYPES = {
    mode: np.dtype(code)
    for mode, code in {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", _NIBBLES: "u1"}.items()
}
# Modes of the standard or of detector software that hold no plain real pixels.
_OTHER_MODES = {
    3: "complex 16 bit integers",
    4: "complex 32 bit floats",
    5: "not in the standard",
    7: "not in the standard",
}
_KNOWN_MODES = _DTYPES.keys() | _OTHER_MODES.keys()
_WRITTEN = {"f4": 2, "f2": 12, "i2": 1, "u2": 6, "i1": 0, "u1": 6}  # the bytes of mode 0 are signed
_BYTE_ORDERS = {0x44: "<", 0x11: ">"}  # first byte of the machine stamp
_IMOD_STAMP = 1146047817
_STAMP_OFFSET = 152 - 112  # in the field extra2; flags follow
_SIGNED, _HALF_WIDTH = 1, 16  # flags of IMOD
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
        self.header = header = _read_header(file)
        nx, ny, nz = _size(header)
        mode, extended = int(header["mode"]), int(header["nsymbt"])
        if mode in _OTHER_MODES:
            raise FormatError(file.path, f"MRC mode {mode} ({_OTHER_MODES[mode]}) is not supported")
        if extended < 0:
            raise FormatError(file.path, f"damaged MRC header: extended header of {extended} bytes")
        self._stored = _DTYPES[mode].newbyteorder(header.dtype["mode"].byteorder)
        flags = _imod_flags(header)
        if mode == 0 and flags is not None and flags & _HALF_WIDTH:
            raise FormatError(file.path, "MRC mode 0 with two pixels of 4 bits in a byte is not supported")
        stamped = flags is not None and not flags & _SIGNED
        if mode == 0 and (options.mrc_mode0 == "unsigned" or (options.mrc_mode0 == "auto" and stamped)):
            self._stored = np.dtype("u1")
        self._packed = mode == _NIBBLES
        self._row = (nx + 1) // 2 if self._packed else nx  # as stored, where rows are whole bytes
        self._offset = _HEADER_BYTES + extended
        labels = _labels(header)
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
            file.seek(_HEADER_BYTES)
            return file.read(self._offset - _HEADER_BYTES)

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


class MrcWriter(FileWriter):
    """An MRC file, with the header of another if it is made from one; little-endian, whatever that is.

    The extended header is copied as it is, byte by byte.
    """

    def __init__(self, plan: WritePlan) -> None:
        mode = _WRITTEN.get(plan.dtype.str[1:])
        if mode is None:
            raise ValueError(
                f"an MRC file cannot hold {plan.dtype}, only float32, float16, int16, uint16, int8, and "
                "uint8 as uint16"
            )
        origin = plan.source.origin
        extended = origin.extended_header() if isinstance(origin, MrcSource) else b""
        super().__init__(plan)
        self._stored = _DTYPES[mode].newbyteorder("<")
        self._statistics = _Statistics()
        if isinstance(origin, MrcSource):
            header = np.array(origin.header).astype(HEADER_DTYPE.newbyteorder("<"))
        else:
            header = _new_header(plan.source, plan.count)
        self._header = header
        # A stack of images, whatever it was called; a volume's grid is deeper, and keeps its spacing.
        if header["mz"] > 1:
            header["cella"]["z"] /= header["mz"]
        header["mz"] = 1
        header["ispg"] = 0
        header["nz"] = plan.count
        header["mode"] = mode
        header["nsymbt"] = len(extended)
        header["map"] = b"MAP "
        header["machst"] = (0x44, 0x44, 0, 0)
        if mode == 0:
            _mark_signed(header)
        lines = plan.label.splitlines()
        first = min(max(int(header["nlabl"]), 0), 10 - len(lines))
        for place, line in enumerate(lines, first):
            header["label"][place] = line.encode("ascii", "replace")[:80]
        header["nlabl"] = first + len(lines)
        self._offset = _HEADER_BYTES + len(extended)
        self._file.write(bytes(_HEADER_BYTES) + extended)

    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        self._statistics.add(frames, start, row)
        row_bytes = math.prod(self.shape[1:]) * self._stored.itemsize
        for index, frame in enumerate(frames.astype(self._stored, copy=False), start):
            self._write_at(self._offset + (index * self.shape[0] + row) * row_bytes, frame)

    def _write_last(self) -> None:
        self._header["dmin"], self._header["dmax"], self._header["dmean"], self._header["rms"] = (
            self._statistics.summary()
        )
        self._file.seek(0)
        self._file.write(self._header.tobytes())


class _Statistics:
    """Minimum, maximum, mean and standard deviation of the pixels, for the header."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], tuple[int, NDArray[np.void]]] = {}

    def add(self, frames: NDArray[Any], start: int, row: int) -> None:
        """Take in frames or rows of them; several threads may do so at once."""
        pixels = math.prod(frames.shape[1:])
        self._parts[start, row] = pixels, _core.frame_statistics(frames, frames.ndim - 1, 1)

    def summary(self) -> tuple[float, float, float, float]:
        """Minimum, maximum, mean and rms deviation, or the marks for unknown if not all pixels are finite."""
        # In the order of the file, whichever thread was first: the sums do not depend on it.
        parts = [part for _, part in sorted(self._parts.items())]
        pixels = np.concatenate([np.full(len(frames), count) for count, frames in parts])
        frames = np.concatenate([frames for _, frames in parts])
        mean = float(np.average(frames["mean"], weights=pixels))
        if not np.isfinite(mean):
            return 0.0, -1.0, -2.0, -1.0
        # The variance is the mean of theirs and that of their means.
        variance = float(np.average(frames["std"] ** 2 + (frames["mean"] - mean) ** 2, weights=pixels))
        return float(frames["min"].min()), float(frames["max"].max()), mean, variance**0.5


def _labels(header: np.void) -> list[str]:
    """Labels of the header that are in use."""
    used = min(max(int(header["nlabl"]), 0), 10)
    return [bytes(label).decode("latin-1").rstrip("\0 ") for label in header["label"][:used]]


def _read_header(file: MappedFile) -> np.void:
    head = file.read(0, _HEADER_BYTES)
    if len(head) < _HEADER_BYTES:
        reason = f"not an MRC file, or truncated: shorter than the header of {_HEADER_BYTES} bytes"
        raise FormatError(file.path, reason, frame=0, offset=len(head))
    # The machine stamp is not always right: the first byte order in which the header makes sense is taken.
    stamped = _BYTE_ORDERS.get(head[212], "<")
    orders = (stamped, "<", ">")
    headers: list[np.void] = [np.frombuffer(head, HEADER_DTYPE.newbyteorder(order))[0] for order in orders]
    for header in headers:
        if header["mode"] in _KNOWN_MODES and min(_size(header)) > 0:
            return header
    if head[208:211] != b"MAP":
        raise FormatError(file.path, "not an MRC file: no 'MAP' at byte 208 and no sense in its header")
    size, mode = _size(headers[0]), headers[0]["mode"]
    raise FormatError(file.path, f"damaged MRC header: nx, ny, nz = {size}, mode {mode}")


def _size(header: np.void) -> tuple[int, int, int]:
    return int(header["nx"]), int(header["ny"]), int(header["nz"])


def _new_header(source: FrameSource, count: int) -> NDArray[np.void]:
    """Header of a stack of images, without what depends on the pixels that are written."""
    header: NDArray[np.void] = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    ny, nx = source.shape
    header["nx"], header["ny"], header["nz"] = nx, ny, count
    header["mx"], header["my"], header["mz"] = nx, ny, 1
    pixel_size = source.metadata.get("pixel_size", 0)  # 0: unknown
    header["cella"] = (nx * pixel_size, ny * pixel_size, pixel_size)
    header["cellb"] = 90
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["nversion"] = 20141
    return header


def _imod_flags(header: np.void) -> int | None:
    """What IMOD says of the file: its stamp stands at byte 152, the flags at 156."""
    stamp, flags = np.frombuffer(bytes(header["extra2"]), header.dtype["mode"], 2, _STAMP_OFFSET)
    return int(flags) if stamp == _IMOD_STAMP else None


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


def _mark_signed(header: NDArray[np.void]) -> None:
    """Say as IMOD does that bytes are signed, to readers that otherwise take them for unsigned."""
    extra = bytearray(bytes(header["extra2"]))
    extra[_STAMP_OFFSET : _STAMP_OFFSET + 8] = np.array([_IMOD_STAMP, _SIGNED], "<i4").tobytes()
    header["extra2"] = np.void(bytes(extra))
