"""EER movies of Falcon 4 cameras: every electron by itself, in the pages of a BigTIFF file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core
from camnorm.errors import FormatError, UnreadableError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import ImageFormat
from camnorm.io.base.remarks import Remark
from camnorm.io.base.settling import EerHint, eer_grouping
from camnorm.io.base.source import FrameSource, MappedFile
from camnorm.io.formats.tiff.directories import find_directories

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARK = b"II+\0"
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _COMPRESSION, _OFFSETS, _BYTE_COUNTS = 256, 257, 258, 259, 273, 279
_PLAIN = 1  # the compression of plain pixels
_ACQUISITION = 65001  # XML
_CODING = (65007, 65008, 65009)  # bits of skip, x and y
_BITS = {65000: (8, 2, 2), 65001: (7, 2, 2), 65002: (7, 2, 2)}  # by compression, where no tags tell
_ENTRY = np.dtype([("code", "<u2"), ("type", "<u2"), ("count", "<u8"), ("value", "V8")])
_TYPES = {1: "<u1", 3: "<u2", 4: "<u4", 7: "<u1", 16: "<u8"}
_MAX_TAGS = 4096
_AT_ONCE = 64  # raw frames whose electrons are in memory
_MAX_VALUE = 2**20  # bytes of one tag
_ITEM = re.compile(rb'<item name="([\w.]+)"(?: unit="([^"]*)")?>([^<]*)</item>')
_LARGEST_PIXEL = 100  # Angstrom; larger is the size on the sensor


class EerSource(FrameSource):
    """Groups of the raw frames of an EER file as frames.

    A raw frame has no more than one electron in a pixel, so that every pixel vector of raw frames has the
    variance p (1 - p) of its mean p: their sigma follows from their mean. A frame is
    therefore the sum of `grouping` raw frames. Sums over raw frames are sums over groups, whatever the
    grouping; sigma is that of the groups' sums: about the square root of their mean, more where the
    pixel's gain or the light changes from group to group. Sets of different grouping have different mean
    and sigma, and cannot be merged.

    `ReadOptions.eer_grouping` tells the grouping. By default it is the power of two that brings the dose of
    a group nearest to one electron a pixel by the dose that the file gives, or else 40; no more than the
    raw frames there are. For the files of a set one value is chosen; see `camnorm.io.base.settling`. What is
    left over at the end is left out.

    With `ReadOptions.eer_sampling` 2 or 4 electrons are counted in halves or quarters of a pixel.

    Frames are uint8 for a grouping up to 255, which no count can exceed, else uint16.

    Attributes
    ----------
    metadata : dict
        ``raw_frames``; ``raw_frames_left_out``; ``grouping``; ``sampling``; ``dose`` of the whole exposure in
        electrons a pixel of the sensor, and ``pixel_size`` with this sampling, if the file tells them.
    """

    format = "EER"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        directories, complete = find_directories(file)
        first = _Directory(file, directories[0]) if directories else None
        if first is not None and first.compression not in _BITS:
            if not first.is_image:
                reason = f"damaged: compression {first.compression} of the first page, which is no sum of all"
                raise FormatError(file.path, reason, frame=0)
            directories = directories[1:]
        if first is None or not directories:
            raise FormatError(file.path, "truncated, or an EER without frames", frame=0, offset=file.size)
        self._directories = directories
        self._sampling = options.eer_sampling or 1
        items = first.items()
        first = _Directory(file, directories[0])
        self._size = first.size
        self._check(file, first, 0)
        height, width = self._size

        raw = len(directories)
        dose = _dose(items)
        hint = EerHint(_number(items, "numberOfFrames", "") or raw, dose)
        self.hints = {"eer_grouping": hint, "eer_sampling": None}
        grouping = options.eer_grouping or eer_grouping([hint])[0]
        if complete and raw < grouping:
            if options.eer_grouping is not None:
                reason = f"{raw} raw frames are fewer than those of one frame, eer_grouping={grouping}"
                raise FormatError(file.path, reason)
            grouping = raw
        available = raw // grouping
        metadata: dict[str, Any] = {
            "raw_frames": raw,
            "raw_frames_left_out": raw - available * grouping,
            "grouping": grouping,
            "sampling": self._sampling,
        }
        if dose is not None:
            metadata["dose"] = dose
        pixel_size = (_number(items, "sensorPixelSize.width", "m") or math.inf) * 1e10
        if pixel_size < _LARGEST_PIXEL:
            metadata["pixel_size"] = pixel_size / self._sampling
        told = _number(items, "numberOfFrames", "") or raw
        if complete and told > raw:
            text = f"its metadata say {told:.0f} raw frames, but it holds {raw}: some may be lost"
            self.remarks = (Remark("fewer raw frames", text),)
        self._grouping = grouping
        super().__init__(
            file,
            shape=(height * self._sampling, width * self._sampling),
            dtype=np.dtype("u1" if grouping < 256 else "u2"),
            count=available if complete else available + 1,
            available=available,
            metadata=metadata,
        )

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frames: NDArray[Any] = np.zeros((stop - start, *self.shape), self.dtype)
        for index, frame in enumerate(frames, start):
            end = (index + 1) * self._grouping
            for first in range(index * self._grouping, end, _AT_ONCE):
                self._add(range(first, min(first + _AT_ONCE, end)), frame, index)
        return frames

    def _add(self, numbers: range, frame: NDArray[Any], index: int) -> None:
        """Add raw frames to one frame."""
        pages = [(raw, self._directory(raw, index)) for raw in numbers]
        for (skip, x, y), alike in groupby(pages, lambda page: page[1].bits):
            data = {raw: self._electrons(raw, directory, index) for raw, directory in alike}
            try:
                _core.add_electrons(list(data.values()), skip, x, y, self._sampling, frame)
            except UnreadableError as error:
                raw = list(data)[error.frame]
                raise FormatError(self.path, f"raw frame {raw}: {error}", frame=index) from None

    def _directory(self, raw: int, index: int) -> _Directory:
        with self._naming(raw, index):
            directory = _Directory(self._file, self._directories[raw])
            self._check(self._file, directory, index)
            return directory

    def _electrons(self, raw: int, directory: _Directory, index: int) -> bytes:
        with self._naming(raw, index):
            return directory.electrons()

    @contextmanager
    def _naming(self, raw: int, index: int) -> Iterator[None]:
        """Have errors name a raw frame, and the frame that it belongs to."""
        try:
            yield
        except FormatError as error:
            reason = f"raw frame {raw}: {error.reason}"
            raise FormatError(self.path, reason, frame=index, offset=error.offset) from None

    def _check(self, file: MappedFile, directory: _Directory, frame: int) -> None:
        """Raise FormatError unless a directory is that of electrons on a sensor of the right size."""
        if directory.compression not in _BITS:
            raise FormatError(
                file.path, f"compression {directory.compression} is not that of EER", frame=frame
            )
        if directory.size != self._size:
            reason = f"a page of shape {directory.size}; the first is {self._size}"
            raise FormatError(file.path, reason, frame=frame)
        skip, x, y = directory.bits
        if not (4 <= skip <= 12 and x in (1, 2) and y in (1, 2)):
            raise FormatError(
                file.path, f"electrons of {skip} + {x} + {y} bits are not supported", frame=frame
            )
        if self._sampling > min(1 << x, 1 << y):
            reason = f"the places of the electrons are not known to 1/{self._sampling} pixel"
            raise FormatError(file.path, f"{reason}: eer_sampling must be less", frame=frame)
        # An electron in every pixel is the most that can be written, none at all the least.
        pixels = math.prod(directory.size)
        if not pixels * skip / (2**skip - 1) <= directory.stored * 8 + skip <= 32 * pixels + 4096:
            reason = f"damaged: {directory.stored} bytes of electrons for a page of shape {directory.size}"
            raise FormatError(file.path, reason, frame=frame)


class _Directory:
    """Tags of one page."""

    def __init__(self, file: MappedFile, offset: int) -> None:
        self._file = file
        count = int.from_bytes(self._read(offset, 8), "little")
        if count > _MAX_TAGS:
            raise FormatError(file.path, f"damaged: a page of {count} tags", offset=offset)
        data = self._read(offset + 8, count * _ENTRY.itemsize + 8)
        entries = np.frombuffer(data, _ENTRY, count).tolist()
        self._entries = {code: entry for code, *entry in entries}
        self.next = int.from_bytes(data[-8:], "little")
        self.compression = self._integer(_COMPRESSION)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the sensor."""
        return self._integer(_HEIGHT), self._integer(_WIDTH)

    @property
    def bits(self) -> tuple[int, int, int]:
        """What an electron takes: pixels from the one before, place along x, place along y."""
        skip, x, y = _BITS[self.compression]
        if self.compression == 65002:
            skip, x = self._integer(_CODING[0], skip), self._integer(_CODING[1], x)
            y = self._integer(_CODING[2], x)  # prototypes have no tag of its own
        return skip, x, y

    @property
    def stored(self) -> int:
        """Bytes of electrons."""
        return sum(self._integers(_BYTE_COUNTS))

    @property
    def is_image(self) -> bool:
        """Whether it is of plain pixels, as the sum of all frames is that some files begin with."""
        pixels = math.prod(self.size)
        bits = self._integers(_BITS_PER_SAMPLE) or [1]
        return self.compression == _PLAIN and pixels > 0 and self.stored == pixels * sum(bits) // 8

    def electrons(self) -> bytes:
        """Read all strips."""
        offsets, counts = self._integers(_OFFSETS), self._integers(_BYTE_COUNTS)
        if not offsets or len(offsets) != len(counts):
            raise FormatError(self._file.path, "damaged: strips are missing")
        return b"".join(map(self._read, offsets, counts))

    def items(self) -> dict[str, tuple[str, str]]:
        """What the file says about the acquisition: unit and value of each item."""
        data = bytes(self._integers(_ACQUISITION))
        return {
            name.decode(): (unit.decode("latin-1"), value.decode("latin-1"))
            for name, unit, value in _ITEM.findall(data)
        }

    def _integer(self, code: int, default: int = 0) -> int:
        return next(iter(self._integers(code)), default)

    def _integers(self, code: int) -> list[int]:
        kind, count, value = self._entries.get(code, (1, 0, bytes(8)))
        if kind not in _TYPES:
            return []
        dtype = np.dtype(_TYPES[kind])
        length = count * dtype.itemsize
        if length > _MAX_VALUE:
            raise FormatError(self._file.path, f"damaged: tag {code} of {length} bytes")
        data = value if length <= 8 else self._read(int.from_bytes(value, "little"), length)
        integers: list[int] = np.frombuffer(data, dtype, count).tolist()
        return integers

    def _read(self, offset: int, count: int) -> bytes:
        if offset + count > self._file.size:
            reason = "truncated: the file ends before the end of the frame"
            raise FormatError(self._file.path, reason, offset=self._file.size)
        return self._file.read(offset, count)


def _is_eer(path: Path, head: bytes) -> bool:
    """Whether a file is a BigTIFF whose first page, or the one behind a sum, holds electrons."""
    if not head.startswith(_MARK):
        return False
    file = MappedFile(path)
    try:
        directory = _Directory(file, int.from_bytes(head[8:16], "little"))
        if directory.compression not in _BITS and directory.next:
            directory = _Directory(file, directory.next)
    except FormatError:
        return False
    finally:
        file.close()
    return directory.compression in _BITS


def _number(items: dict[str, tuple[str, str]], name: str, unit: str) -> float | None:
    """A positive number told in this unit."""
    told_unit, value = items.get(name, ("", ""))
    try:
        number = float(value)
    except ValueError:
        return None
    return number if told_unit == unit and 0 < number < math.inf else None


def _dose(items: dict[str, tuple[str, str]]) -> float | None:
    """Electrons a pixel of the whole exposure."""
    dose = _number(items, "totalDose", "e/pixel")
    rate, time = _number(items, "meanDoseRate", "e/pixel/s"), _number(items, "exposureTime", "s")
    if dose is None and rate is not None and time is not None:
        dose = rate * time
    return dose


FORMAT = ImageFormat("EER", (".eer",), f"{__name__}:EerSource", recognises=_is_eer)
