"""MRC files are written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from camnorm import _core
from camnorm.io.base.source import FrameSource
from camnorm.io.base.writers import FileWriter, WritePlan
from camnorm.io.formats.mrc.header import HEADER_BYTES, mark_signed
from camnorm.io.formats.mrc.reader import MrcSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Mode and stored type by type; the bytes of mode 0 are signed.
_WRITTEN = {
    "f4": (2, "<f4"),
    "f2": (12, "<f2"),
    "i2": (1, "<i2"),
    "u2": (6, "<u2"),
    "i1": (0, "i1"),
    "u1": (6, "<u2"),
}


class MrcWriter(FileWriter):
    """An MRC file, with the header of another if it is made from one; little-endian, whatever that is.

    The extended header is copied as it is, byte by byte.
    """

    def __init__(self, plan: WritePlan) -> None:
        if plan.dtype.str[1:] not in _WRITTEN:
            raise ValueError(
                f"an MRC file cannot hold {plan.dtype}, only float32, float16, int16, uint16, int8, and "
                "uint8 as uint16"
            )
        origin = plan.source.origin
        extended = origin.extended_header() if isinstance(origin, MrcSource) else b""
        super().__init__(plan)
        mode, stored = _WRITTEN[plan.dtype.str[1:]]
        self._stored = np.dtype(stored)
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
            mark_signed(header)
        lines = plan.label.splitlines()
        first = min(max(int(header["nlabl"]), 0), 10 - len(lines))
        for place, line in enumerate(lines, first):
            header["label"][place] = line.encode("ascii", "replace")[:80]
        header["nlabl"] = first + len(lines)
        self._offset = HEADER_BYTES + len(extended)
        self._file.write(bytes(HEADER_BYTES) + extended)

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
