"""TIFF and BigTIFF images and movies, compressed or not (tifffile, imagecodecs)."""

from __future__ import annotations

import logging
import math
import re
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from camnorm.errors import FormatError, UnreadableError
from camnorm.io.base.containers import EXPANSION
from camnorm.io.base.located import EncodedFrames, LocatedFrames
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.remarks import Remark
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in
from camnorm.io.formats import nibbles
from camnorm.io.formats.bysize import more_frames
from camnorm.io.formats.tiff.directories import find_directories, read_page_kind, sub_directories
from camnorm.io.formats.tiff.segments import encoding_of, segments_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# More bytes of pixels for a byte in the file are damage, and not to be allocated: of LZW, deflate (two
# codes) and PackBits, twice what they can do, for pixels of few bits. Others are no better than zstd.
_EXPANSIONS = {5: 2**13, 8: 2**11, 32946: 2**11, 32773: 2**8}
_NOT_SUPPORTED = {
    6: "old-style JPEG",  # of which there are as many kinds as programs that wrote it
    **dict.fromkeys((2, 3, 4, 32771), "CCITT"),
    **dict.fromkeys((9, 10, 34661), "JBIG"),
    32809: "ThunderScan",
    **dict.fromkeys((34676, 34677), "SGILog"),
}
_JPEG_COMPRESSIONS = (7, 33007, 34892)
_YCBCR = 6
_SUB_DIRECTORIES = 330
_METAMORPH_PLANES = (33629, 33630)  # UIC2 and UIC3, with a value for each plane of an STK file
_SUBSAMPLING = 530
_NO_FRAME = 0b101  # of NewSubfileType: of reduced resolution, or a mask
_OME_FILE = re.compile(r'<UUID[^>]*\bFileName="([^"]+)"')
# Super-resolution frames of K3 and K2 cameras, of which SerialEM wrote two pixels of 4 bits in a byte, are
# recognised by height and width as stored, in either order (RELION, rwTIFF.h; IMOD, sizeCanBe4BitK2SuperRes).
# A frame in counting mode, such as (4092, 5760), is none of them.
FOUR_BIT_SIZES = {frozenset(size) for size in ((8184, 5760), (11520, 4092), (7676, 3710), (7420, 3838))}
ANGSTROM = {2: 2.54e8, 3: 1e8}  # of the resolution units inch and centimetre

# tifffile logs damage that is raised here as an error; only these messages are dropped.
_silent: ContextVar[bool] = ContextVar("_silent", default=False)
for _name in ("tifffile", "tifffile.tifffile"):  # the second until 2022
    logging.getLogger(_name).addFilter(lambda record: not _silent.get())


class TiffSource(FrameSource):
    """Pages of a TIFF file as frames.

    All pages must have the shape and dtype of the first, or of the first of the size that has most of the
    pixels. Pages that are marked as masks or of reduced resolution are left out. Colour planes stored apart
    are put together as (y, x, c); a palette is not applied. One directory for many uncompressed frames, as
    ImageJ and tifffile write it, gives them all. Bytes that hold two pixels of 4 bits, the left one in the
    low bits, are unpacked. No tag says so: the size does, or the options.
    """

    format = "TIFF"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._lock = threading.RLock()  # all pages share one file position
        self._directories, complete = find_directories(file)
        if not self._directories:
            raise FormatError(file.path, "truncated, or a TIFF without images", frame=0, offset=file.size)
        single = len(self._directories) == 1
        with reading(file, 0):
            self._directories, reference, left_out = _frames_among(file, self._directories)
            self._reference = "most are" if reference else "the first is"
            self._tiff = tifffile.TiffFile(file.path)
        try:
            with reading(file, 0):
                first = self._load(file, reference)
                if first.axes not in ("YX", "YXS", "SYX"):
                    raise FormatError(file.path, f"a page of axes {first.axes!r} is not a frame", frame=0)
                if first.dtype is None:
                    bits = first.bitspersample
                    raise FormatError(file.path, f"TIFF with pixels of {bits} bits is not supported")
                self._layout = first.axes, first.shape, first.dtype
                self._four_bit = _is_four_bit(first, options, file)
                if _has_bytes(first):
                    self.hints = {"tiff_4bit": "yes" if frozenset(first.shape) in FOUR_BIT_SIZES else "no"}
                available = len(self._directories)
                count = available if complete else available + 1
                self._packed: int | None = None  # offset of frames that have no directories of their own
                if single and count == 1:
                    count, self.remarks = _frames_behind(file, self._tiff, first, self._directories[0])
                    if count > 1:
                        self._packed = first.dataoffsets[0]
                        available = (file.size - self._packed) // first.nbytes
                self.remarks += (*left_out, *_missing_companions(file, first))
                self._encoding = encoding_of(first, nibbles=self._four_bit)
                metadata = _metadata(first) | scaling_in(first.description)
            y, x, *planes = first.shape if first.axes != "SYX" else (*first.shape[1:], first.shape[0])
            if self._four_bit:
                x *= 2
            super().__init__(
                file,
                shape=(y, x, *planes),
                dtype=np.dtype("u1") if self._four_bit else first.dtype,
                count=count,
                available=available,
                metadata=metadata,
            )
        except BaseException:
            self._tiff.close()
            raise

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        self._tiff.close()
        super().close()

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where frames begin in the file; None if one of them is packed, in strips, or damaged."""
        axes, _, dtype = self._layout
        if self._four_bit or axes == "SYX" or not dtype.newbyteorder(self._tiff.byteorder).isnative:
            return None
        if self._packed is not None:
            return self._packed + np.arange(self.available) * self._page_bytes
        offsets = []
        with suppress(FormatError):
            for index in range(self.available):
                page = self._page(index)
                if not page.is_final:
                    return None
                offsets.append(page.dataoffsets[0])
        return np.array(offsets, np.int64) if len(offsets) == self.available else None

    @property
    def is_located(self) -> bool:
        """Whether the core can read or decode frames where they are used."""
        if self.offsets is not None:
            return True
        added = self.dtype.kind in "iu" and self.dtype.itemsize <= 2 and self._layout[0] != "SYX"
        return added and self._encoding is not None

    def stored(self, start: int, stop: int) -> LocatedFrames | None:
        """Tell where frames lie in the file, if `is_located`.

        Parameters
        ----------
        start, stop : int
            As for `read`.

        Returns
        -------
        LocatedFrames or None
            None if one of these is written in another way than the first frame of the file.
        """
        if self.offsets is not None:
            return super().stored(start, stop)
        frames = self._encoded([self._page(index) for index in range(start, self._stop(start, stop))])
        if frames is not None:
            for segments in frames.segments:
                begin, end = segments[:, 0].min(), segments.sum(axis=1).max()
                self._file.fetch(int(begin), int(end - begin))
        return frames

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        count = stop - start
        if self._packed is not None:
            return self._map(self._packed + start * self._page_bytes, count, self._page_bytes)
        pages = [self._page(index) for index in range(start, stop)]
        place = self._place(pages)
        if place is not None:
            return self._map(place[0], count, place[1])
        encoded = self._encoded(pages)
        if encoded is not None:
            planes = len(encoded) // count
            try:
                frames = encoded.read()
            except UnreadableError as error:
                reason = str(error).removeprefix(f"frame {error.frame} ")
                raise FormatError(self.path, reason, frame=start + error.frame // planes) from None
            return (
                np.moveaxis(frames.reshape(count, planes, *self.shape[:2]), 1, -1) if planes > 1 else frames
            )
        if count == 1:
            return self._decode(pages[0], start)[np.newaxis]
        frames = np.empty((count, *self.shape), self.dtype)
        for index, (frame, page) in enumerate(zip(frames, pages, strict=True), start):
            frame[...] = self._decode(page, index)
        return frames

    def _encoded(self, pages: list[tifffile.TiffPage]) -> EncodedFrames | None:
        """Frames that the core decodes, or their planes if these are stored apart.

        None if one of the pages is not written as the first of the file.
        """
        encoding = self._encoding
        if encoding is None or any(encoding_of(page, nibbles=self._four_bit) != encoding for page in pages):
            return None
        apart = self._layout[0] == "SYX"
        segments = segments_of(pages, self.shape[2] if apart else 1)
        shape = self.shape[:2] if apart else self.shape
        return EncodedFrames(self._file.stay_open(), shape, self.dtype, segments, encoding)

    @property
    def _page_bytes(self) -> int:
        _, shape, dtype = self._layout
        return math.prod(shape) * dtype.itemsize

    def _place(self, pages: list[tifffile.TiffPage]) -> tuple[int, int] | None:
        """Offset of the first of these pages and distance of each from the next, if they can be mapped."""
        if not all(page.is_final for page in pages):
            return None
        frame_bytes = self._page_bytes
        offsets = [page.dataoffsets[0] for page in pages]
        distances = {after - before for before, after in pairwise(offsets)} or {frame_bytes}
        step = distances.pop()
        fits = not distances and frame_bytes <= step <= 2 * frame_bytes
        return (offsets[0], step) if fits else None

    def _map(self, offset: int, count: int, step: int) -> NDArray[Any]:
        """Map frames of which each begins `step` bytes after the one before."""
        axes, shape, dtype = self._layout
        dtype = dtype.newbyteorder(self._tiff.byteorder)
        frame_bytes = math.prod(shape) * dtype.itemsize
        raw = self._file.map(offset, ((count - 1) * step + frame_bytes,), np.dtype("u1"))
        layout: NDArray[Any] = np.ndarray(shape, dtype)
        frames: NDArray[Any] = np.ndarray((count, *shape), dtype, buffer=raw, strides=(step, *layout.strides))
        if axes == "SYX":
            frames = np.moveaxis(frames, 1, -1)
        return nibbles.unpack(frames) if self._four_bit else frames

    def _decode(self, page: tifffile.TiffPage, index: int) -> NDArray[Any]:
        frame: NDArray[Any]
        if page.is_final:
            frame = self._map(page.dataoffsets[0], 1, 0)[0]
            return frame
        with reading(self._file, index):
            if page.compression != 1 and len(page.dataoffsets) == 1 and not page.is_tiled:
                # One strip is the frame: asarray() would copy it once more.
                ((segment, _, _),) = page.segments(lock=self._lock, maxworkers=1)
                assert segment is not None  # only if its byte count were 0
                frame = segment.reshape(page.shape)
            else:
                frame = page.asarray(lock=self._lock, maxworkers=1)
        if self._four_bit:
            return nibbles.unpack(frame)
        return np.moveaxis(frame, 0, -1) if page.axes == "SYX" else frame

    def _page(self, index: int) -> tifffile.TiffPage:
        with reading(self._file, index):
            page = self._load(self._file, index)
        axes, shape, dtype = self._layout
        if (page.axes, page.shape, page.dtype) != (axes, shape, dtype):
            reason = f"a page of shape {page.shape} {page.dtype}; {self._reference} {shape} {dtype}"
            raise FormatError(self.path, reason, frame=index)
        return page

    def _load(self, file: MappedFile, index: int) -> tifffile.TiffPage:
        """Read a directory; FormatError unless all its pixels are within the file."""
        with self._lock:
            self._tiff.filehandle.seek(self._directories[index])
            page = tifffile.TiffPage(self._tiff, index)
        _check_supported(file, page, index)
        if page.is_final:
            end = page.dataoffsets[0] + page.nbytes
        else:
            segments = math.prod(page.chunked)
            stored = page.databytecounts
            # tifffile would take a segment that is missing for zeros.
            if len(page.dataoffsets) != segments or len(stored) != segments or 0 in stored:
                raise FormatError(file.path, "strips or tiles are missing", frame=index)
            if page.nbytes > _EXPANSIONS.get(page.compression, EXPANSION) * sum(stored):
                reason = f"damaged: {sum(stored)} bytes are too few for a page of shape {page.shape}"
                raise FormatError(file.path, reason, frame=index)
            end = max(offset + size for offset, size in zip(page.dataoffsets, stored, strict=True))
        if end > file.size:
            reason = "truncated: the file ends before the end of the frame"
            raise FormatError(file.path, reason, frame=index, offset=file.size)
        return page


def _check_supported(file: MappedFile, page: tifffile.TiffPage, index: int) -> None:
    """FormatError if tifffile cannot decode a page, or makes something else of it."""
    name = _NOT_SUPPORTED.get(page.compression)
    if name is None and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        name = str(getattr(page.compression, "name", page.compression))
    if name is not None:
        raise FormatError(file.path, f"TIFF with {name} compression is not supported", frame=index or None)
    plain_ycbcr = page.photometric == _YCBCR and page.compression not in _JPEG_COMPRESSIONS
    if plain_ycbcr and page.tags.valueof(_SUBSAMPLING, default=(2, 2)) != (1, 1):
        reason = "TIFF with subsampled YCbCr pixels is not supported, except as JPEG"
        raise FormatError(file.path, reason, frame=index or None)


def _has_bytes(page: tifffile.TiffPage) -> bool:
    """Whether a page may hold two pixels in a byte."""
    return bool(page.axes == "YX" and page.bitspersample == 8)


def _is_four_bit(page: tifffile.TiffPage, options: ReadOptions, file: MappedFile) -> bool:
    """Whether the bytes of a page hold two pixels each."""
    bytes_ = _has_bytes(page)
    if options.tiff_4bit == "auto":
        return bytes_ and frozenset(page.shape) in FOUR_BIT_SIZES
    if options.tiff_4bit == "yes" and not bytes_:
        raise FormatError(file.path, f"not bytes with two pixels each: pages of {page.shape} {page.dtype}")
    return options.tiff_4bit == "yes"


def _frames_among(file: MappedFile, directories: list[int]) -> tuple[list[int], int, tuple[Remark, ...]]:
    """Directories of pages that are frames, the number of one that is like most, and what is left out."""
    if len(directories) == 1:
        _refuse_thumbnails(file, directories, read_page_kind(file, directories[0])[1:])
        return directories, 0, ()
    kinds = [read_page_kind(file, directory) for directory in directories]
    frames = [number for number, (subfile, *_) in enumerate(kinds) if not subfile & _NO_FRAME]
    frames = frames or list(range(len(directories)))
    pixels: Counter[tuple[int, int]] = Counter()
    for number in frames:
        _, height, width = kinds[number]
        pixels[height, width] += height * width
    most = max(pixels, key=pixels.__getitem__)  # the first of those that are alike
    reference = next(place for place, number in enumerate(frames) if kinds[number][1:] == most)
    left_out = len(directories) - len(frames)
    others = [directory for number, directory in enumerate(directories) if kinds[number][0] & _NO_FRAME]
    _refuse_thumbnails(file, [directories[frames[reference]], *others], most)
    pages = f"{left_out} page{'s' * (left_out > 1)}"
    text = f"{pages} marked as of reduced resolution or as mask left out"
    remarks = (Remark("tiff_pages", text),) if left_out else ()
    return [directories[number] for number in frames], reference, remarks


def _refuse_thumbnails(file: MappedFile, directories: Sequence[int], shape: tuple[int, int]) -> None:
    """Raise FormatError if an image that belongs to one of some pages is larger than the frames."""
    for directory in directories:
        for place in sub_directories(file, directory):
            try:
                _, height, width = read_page_kind(file, place)
            except struct.error:  # damage beside the frames
                continue
            if height * width > shape[0] * shape[1]:
                raise FormatError(
                    file.path,
                    f"its pages of {shape[0]} x {shape[1]} pixels are previews of an image of {height} x "
                    f"{width} in a SubIFD, which camnorm does not read; save that image as a plain TIFF file",
                )


def _missing_companions(file: MappedFile, page: tifffile.TiffPage) -> tuple[Remark, ...]:
    """Files of the same OME-TIFF set that are not beside this one."""
    if not page.description.lstrip().startswith("<") or "OME" not in page.description:
        return ()
    names = dict.fromkeys(_OME_FILE.findall(page.description))
    missing = [name for name in names if not (file.path.parent / name).exists()]
    if not missing:
        return ()
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return (Remark("ome_files", f"part of an OME-TIFF set of which {missing[0]}{more} is missing: not read"),)


def _frames_behind(
    file: MappedFile, tiff: tifffile.TiffFile, page: tifffile.TiffPage, directory: int
) -> tuple[int, tuple[Remark, ...]]:
    """Frames that the only directory of a file stands for, and what the user should know of them."""
    told = _frames_told(tiff, page)
    if not page.is_final:
        if told > 1:
            reason = f"{told} frames with one directory are not supported, except uncompressed in one piece"
            raise FormatError(file.path, reason)
        return 1, ()
    if told > 1:
        return told, ()
    # A program may have been killed before it wrote the other directories. TIFF leaves open what else is in
    # a file: only whole frames up to its end, or to the directory, are taken for what they are.
    begin = page.dataoffsets[0]
    found, rest = divmod((directory if directory > begin else file.size) - begin, max(1, page.nbytes))
    if rest or found < 2 or _SUB_DIRECTORIES in page.tags:
        return 1, ()
    return found, (more_frames(1, found),)


def _frames_told(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Frames of the only directory of a file, as its description or MetaMorph's tags say."""
    planes = [page.tags[tag].count for tag in _METAMORPH_PLANES if tag in page.tags]
    if planes:
        return int(max(planes))
    if page.is_imagej:
        told = tiff.imagej_metadata or {}
        axes = math.prod(int(told.get(name, 1)) for name in ("channels", "slices", "frames"))
        return max(int(told.get("images", 1)), axes)
    if page.is_shaped:
        shaped = (tiff.shaped_metadata or ({},))[0]
        if shaped.get("truncated"):
            return int(math.prod(shaped["shape"])) // page.size
    return 1


def _metadata(page: tifffile.TiffPage) -> dict[str, Any]:
    """What the tags tell.

    ``make`` and ``model`` of the camera; ``resolution``: pixels per unit in x and in y, each as a fraction,
    and the code of the unit.
    """
    told = {name: page.tags.valueof(tag) for name, tag in (("make", "Make"), ("model", "Model"))}
    metadata: dict[str, Any] = {
        name: value.strip() for name, value in told.items() if isinstance(value, str) and value.strip()
    }
    x, y = (page.tags.valueof(tag) for tag in ("XResolution", "YResolution"))
    unit = page.tags.valueof("ResolutionUnit", default=2)
    fractions = all(isinstance(value, tuple) and len(value) == 2 and min(value) > 0 for value in (x, y))
    if not fractions or unit not in (1, 2, 3):
        return metadata
    metadata["resolution"] = (x, y, int(unit))
    if unit in ANGSTROM:
        metadata["pixel_size"] = ANGSTROM[unit] * x[1] / x[0]
    return metadata


@contextmanager
def reading(file: MappedFile, frame: int) -> Iterator[None]:
    """Run tifffile without its log; what it raises becomes a FormatError."""
    token = _silent.set(True)
    try:
        with decoding(file.path, frame):
            yield
    finally:
        _silent.reset(token)
