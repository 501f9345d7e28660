"""FITS images and cubes (astropy; pixels that are neither compressed nor scaled are read from the file)."""

from __future__ import annotations

import math
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from camnorm.errors import FormatError
from camnorm.io.base.containers import Candidate, check_size, choice, read_frames
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.remarks import Remark
from camnorm.io.base.source import FrameSource, MappedFile, decoding
from camnorm.io.formats.bysize import is_padding, more_frames, too_long
from camnorm.io.formats.packed import PackedByBzip2, PackedByGzip, PackedSource, UnpackedFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Extensions beside the images, as observatories name them: errors, data quality, weights, previews.
_BESIDE = re.compile(
    r"(.*_)?(ERR(OR)?|(PIXEL|GROUP)?DQ|VAR(IANCE)?|IVAR|UNCERT(AINTY)?|WEIGHT|WHT|WGT|FLAGS?|MASKS?|BPM|PREVIEW"
    r"|THUMB(NAIL)?)(_.*)?"
)
_SCIENCE = "SCI"
_BESIDE_SCIENCE = ("AREA", "CON", "CTX", "REFOUT", "SAMP", "TIME")
_PREVIEW = 10  # a primary image that is smaller by this factor is a preview of what follows
_SUMMED = 2**24  # bytes that are added up at a time; a multiple of 4
_BLOCK = 2880
_EXTENSION = b"XTENSION"
_MAX_BLOCKS = 512  # of a header
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
# Integers of the other sign, which FITS has not, are stored with an offset (FITS 4.0, table 11).
# Each by its BITPIX, BZERO and BSCALE.
_OTHER_SIGN: dict[tuple[int, float, float], str] = {
    (8, -128, 1): "i1",
    (16, 2**15, 1): "u2",
    (32, 2**31, 1): "u4",
    (64, 2**63, 1): "u8",
}


class FitsSource(FrameSource):
    """Frames in an image of a FITS file, its rows in the order of the file.

    The image is the one whose number, EXTNAME or EXTNAME,EXTVER `ReadOptions` names, or that of EXTNAME SCI,
    or the only one apart from previews, masks, errors and weights. All axes but the last two count frames.
    """

    format = "FITS"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._hdus: Any = None
        self._lock = threading.Lock()  # astropy has one file position
        try:
            with decoding(file.path):
                self._hdu, self.left_out = _find(file, options.dataset)
                hdu = self._hdu
                shape = hdu.shape[-2:]
                count = available = math.prod(hdu.shape[:-2])
                if not hdu.compressed:
                    self._stored: np.dtype[Any] = np.dtype(_DTYPES[hdu.bits])
                    dtype = hdu.dtype
                    self._offset = hdu.offset
                    self._frame_bytes = math.prod(shape) * self._stored.itemsize
                    if file.exact_size is not None:
                        count, self.remarks = self._count_frames(file, count)
                    available = (file.size - hdu.offset) // max(1, self._frame_bytes)
                elif isinstance(file, UnpackedFile):
                    raise FormatError(file.path, "its image is compressed too, by tiles: decompress the file")
                else:
                    if hdu.end > file.size:
                        raise FormatError(file.path, "truncated", frame=0, offset=file.size)
                    check_size(file.path, file.size, math.prod(shape) * abs(hdu.bits) // 8, shape, count)
                    self._hdus = fits.open(file.path, memmap=False)
                    self._section = self._hdus[hdu.number].section
                    dtype = self._section[(slice(0, 1),) * len(hdu.shape)].dtype
            super().__init__(
                file,
                shape=shape,
                dtype=dtype,
                count=count,
                available=available,
                metadata={"extension": hdu.number},
            )
            if hdu.checksum is not None:  # it is compared when all frames have been read
                self.sequential = True  # type: ignore[misc]
        except BaseException:
            if self._hdus is not None:
                self._hdus.close()
            raise

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        if self._hdus is not None:
            self._hdus.close()
        super().close()

    def _count_frames(self, file: MappedFile, count: int) -> tuple[int, tuple[Remark, ...]]:
        """Number of frames, by what follows them: it may be frames that no header counts."""
        begin, end = self._offset, self._hdu.end
        behind = begin + -(-(end - begin) // _BLOCK) * _BLOCK
        size = file.exact_size or file.size
        if behind >= size or file.read(behind, len(_EXTENSION)) == _EXTENSION:
            return count, ()
        if is_padding(file, end, size):
            return count, ()
        found = (size - begin) // self._frame_bytes
        if not is_padding(file, begin + found * self._frame_bytes, size):
            raise FormatError(file.path, too_long(size - end))
        return found, (more_frames(count, found),)

    def check_whole(self) -> None:
        """Compare the image with its checksum (DATASUM), if it has one; see `FrameSource`."""
        wanted, end = self._hdu.checksum, self._hdu.offset + _padded(self._hdu.end - self._hdu.offset)
        if wanted is None or end > self._file.size or self._hdu.end == self._hdu.offset:
            return
        total = 0
        for begin in range(self._hdu.offset, end, _SUMMED):
            words = np.frombuffer(self._file.read(begin, min(_SUMMED, end - begin)), ">u4")
            total += int(words.sum(dtype=np.uint64))
        while total >> 32:  # in ones' complement carries are added at the other end
            total = (total & 0xFFFFFFFF) + (total >> 32)
        if total != wanted:
            raise FormatError(
                self.path,
                f"damaged, so that no frame of it can be trusted: the checksum of its pixels is {total}, not "
                f"{wanted} as DATASUM says",
            )

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None unless they are bytes, as FITS is big-endian."""
        if self._hdu.compressed or self.dtype != self._stored:
            return None
        return self._offset + np.arange(self.available) * self._frame_bytes

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        if self._hdu.compressed:
            return read_frames(self._decode, start, stop)
        begin = self._offset + start * self._frame_bytes
        frames = self._file.map(begin, (stop - start, *self.shape), self._stored)
        if self._hdu.plain:
            return frames
        if self.dtype.kind != "f":
            unsigned = frames.view(self._stored.str.replace("i", "u"))
            flipped = unsigned ^ unsigned.dtype.type(1 << (8 * self._stored.itemsize - 1))
            values: NDArray[Any] = flipped.astype(flipped.dtype.newbyteorder("="), copy=False).view(
                self.dtype
            )
            return values
        with decoding(self.path, start), np.errstate(all="ignore"):
            return self._hdu.scaled(frames)

    def _decode(self, start: int, stop: int) -> NDArray[Any]:
        """Read frames by astropy."""
        with self._lock, decoding(self.path, start):
            leading = self._hdu.shape[:-2]
            if len(leading) == 1:
                frames: NDArray[Any] = self._section[start:stop]
                return np.reshape(frames, (stop - start, *self.shape))
            places = [
                tuple(map(int, np.unravel_index(n, leading))) if leading else () for n in range(start, stop)
            ]
            return np.stack([np.reshape(self._section[place or ...], self.shape) for place in places])


class PackedFitsSource(PackedSource, FitsSource):
    """Frames in an image of a compressed FITS file."""

    def _misread(self) -> str:
        """Why frames of a compressed file are not where they were read, now that its size is known."""
        try:
            found, remarks = self._count_frames(self._file, self.count)
        except FormatError as error:
            return error.reason
        return f"{remarks[0].text}; decompress the file to measure it" if found != self.count else ""


class GzipFitsSource(PackedByGzip, PackedFitsSource):
    """Frames in an image of a FITS file that is compressed by gzip."""


class Bzip2FitsSource(PackedByBzip2, PackedFitsSource):
    """Frames in an image of a FITS file that is compressed by bzip2."""


@dataclass(frozen=True)
class _Hdu:
    """What the header of an image tells."""

    number: int
    name: str
    version: int
    """EXTVER, by which extensions of one name differ."""
    shape: tuple[int, ...]
    bits: int
    scale: float
    zero: float
    blank: int | None
    compressed: bool
    offset: int
    """Where its data begin."""
    end: int
    """Where they end."""
    checksum: int | None
    """DATASUM, if there is one."""

    def is_called(self, wanted: str) -> bool:
        """Whether it has this number or name."""
        name = ",".join(part.strip().upper() for part in wanted.split(","))
        return name in (str(self.number), self.name, f"{self.name},{self.version}")

    @property
    def plain(self) -> bool:
        """Whether the values are the stored ones."""
        return (self.scale, self.zero, self.blank) == (1, 0, None)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, as astropy gives them."""
        if self.plain or self.bits < 0:
            return np.dtype(_DTYPES[self.bits])
        scaled = "f4" if self.bits <= 16 else "f8"
        return np.dtype(_OTHER_SIGN.get((self.bits, self.zero, self.scale), scaled))

    def scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values of stored pixels, in the order of steps by which astropy makes them."""
        values = stored.astype(self.dtype.newbyteorder("="))
        if self.scale != 1:
            values *= self.scale
        if self.zero != 0:
            values += self.zero
        if self.blank is not None:
            values[stored == self.blank] = np.nan
        return values


def _find(file: MappedFile, wanted: str | None) -> tuple[_Hdu, tuple[str, ...]]:
    """The image to be read, and names of others that are left out."""
    hdus = list(_hdus(file))
    images = [hdu for hdu in hdus if len(hdu.shape) > 1 and math.prod(hdu.shape) > 0]
    frames = [hdu for hdu in images if not _BESIDE.fullmatch(hdu.name)] or images
    science = [hdu for hdu in frames if hdu.name == _SCIENCE]
    if science:
        frames = [hdu for hdu in frames if hdu.name not in _BESIDE_SCIENCE]
    largest = max((math.prod(hdu.shape) for hdu in frames), default=0)
    frames = [hdu for hdu in frames if hdu.number > 0 or math.prod(hdu.shape) * _PREVIEW > largest]
    names = _names(images)
    chosen = science if len(science) == 1 else frames
    if wanted is not None:
        chosen = [hdu for hdu in hdus if hdu.is_called(wanted)]
        if not chosen:
            raise FormatError(file.path, f"no extension {wanted} in it")
        if len(chosen[0].shape) < 2:
            raise FormatError(
                file.path, f"extension {wanted} holds no images: it has shape {chosen[0].shape}"
            )
        chosen = [hdu for hdu in chosen if hdu in images] or chosen[:1]
    if not chosen:
        raise FormatError(file.path, "no images in it")
    if len(chosen) > 1:
        arrays = {names[hdu.number]: Candidate.of(hdu.shape, hdu.dtype) for hdu in chosen}
        raise FormatError(file.path, f"several images can be meant{choice(', choose one', arrays, arrays)}")
    return chosen[0], tuple(names[hdu.number] for hdu in frames if hdu != chosen[0])


def _names(hdus: Sequence[_Hdu]) -> dict[int, str]:
    """By what each of them can be chosen: name, name and version, or else number."""
    candidates = [(hdu.name, f"{hdu.name},{hdu.version}") for hdu in hdus]
    counts = Counter(name for pair in candidates for name in pair)
    return {
        hdu.number: next((name for name in pair if hdu.name and counts[name] == 1), str(hdu.number))
        for hdu, pair in zip(hdus, candidates, strict=True)
    }


def _hdus(file: MappedFile) -> Iterator[_Hdu]:
    """Primary image and extensions one after another; tables have no shape."""
    offset = number = 0
    # What else may follow is no extension: see `_count_frames`.
    while number == 0 or file.read(offset, len(_EXTENSION)) == _EXTENSION:
        header, offset = _header(file, offset)
        numbers = [header.get(key, 1) for key in ("BSCALE", "BZERO", "BLANK", "GCOUNT", "PCOUNT")]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise FormatError(file.path, "damaged FITS header: no number where one must be", offset=offset)
        axes = tuple(header[f"NAXIS{n}"] for n in range(header["NAXIS"], 0, -1))
        bits = abs(header["BITPIX"]) * header.get("GCOUNT", 1)
        size = bits * (header.get("PCOUNT", 0) + math.prod(axes)) // 8 if axes else 0
        compressed = header.get("ZIMAGE") is True
        image = number == 0 or header["XTENSION"].strip() == "IMAGE"
        if compressed:
            axes = tuple(header[f"ZNAXIS{n}"] for n in range(header["ZNAXIS"], 0, -1))
        if min(axes, default=0) < 0 or size < 0:
            raise FormatError(file.path, f"damaged FITS header: axes {axes[::-1]}", offset=offset)
        yield _Hdu(
            number=number,
            name=str(header.get("EXTNAME", "" if number else "PRIMARY")).strip().upper(),
            version=header.get("EXTVER", 1),
            shape=axes if image or compressed else (),
            bits=header["ZBITPIX" if compressed else "BITPIX"],
            scale=header.get("BSCALE", 1),
            zero=header.get("BZERO", 0),
            blank=header.get("BLANK") if header["BITPIX"] > 0 else None,
            compressed=compressed,
            offset=offset,
            end=offset + size,
            checksum=_checksum(header.get("DATASUM")),
        )
        offset += _padded(size)
        number += 1
        if isinstance(file, UnpackedFile) and _ends_at(file, offset):
            return


def _padded(size: int) -> int:
    """Bytes of whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


def _checksum(value: Any) -> int | None:
    """The number of DATASUM, which is text and may be blank."""
    text = str(value).strip()
    return int(text) if text.isdecimal() and text.isascii() else None


def _ends_at(file: UnpackedFile, offset: int) -> bool:
    """Whether a file compressed by gzip is known to hold a number of bytes, without decompressing them."""
    with open(file.path, "rb") as packed:
        if packed.read(2) != b"\x1f\x8b":
            return False
        packed.seek(-4, os.SEEK_END)
        return int.from_bytes(packed.read(), "little") == offset % 2**32


def _header(file: MappedFile, offset: int) -> tuple[fits.Header, int]:
    """Header that begins at `offset`, and where it ends."""
    text = b""
    while len(text) < _MAX_BLOCKS * _BLOCK:
        block = file.read(offset + len(text), _BLOCK)
        if len(block) < _BLOCK:
            raise FormatError(file.path, "truncated within a FITS header", frame=0, offset=file.size)
        text += block
        if any(block[card : card + 8] == b"END     " for card in range(0, _BLOCK, 80)):
            return fits.Header.fromstring(text), offset + len(text)
    raise FormatError(file.path, "damaged FITS header: it has no end", offset=offset)
