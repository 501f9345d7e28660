"""Which of the arrays in a container of many are the images."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.source import DTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

# More bytes of pixels than this for a byte in the file are damage, and not to be allocated: zstd, the best of
# the common codecs, stores 128 KiB of equal bytes in 4. Frames that small are no images.
EXPANSION = 2**15
DEFLATE_EXPANSION = 1040
_MOST_FRAMES = 64  # for a byte in the file

# What is smaller than the largest array by this factor lies beside the images: masks, darks, tables.
_SMALL = 10
_LISTED = 12
# Matrices of rotations and such are narrower than any sensor.
_LEAST_PIXELS = 5
# What lies beside the frames of a detector, as NeXus and the writers of detectors call it.
_BESIDE = re.compile(
    r"(.*_)?((pixel_?)?masks?|flat_?fields?|errors?|pixel_offset|lookup_table|trimbit|metadata)(_.*)?\d*"
    r"|.+_matrix|unit_cell"
)


def frame_axes(shape: tuple[int, ...]) -> int:
    """How many of the last axes of an array make one frame, in every format that stores bare arrays.

    Three if there are three or more axes and the last has length 3 or 4, or four or more axes and the last
    has length 2: colour planes. Else two. All axes before them count frames, in C order: an array
    (n, m, y, x) holds n * m frames. Formats that name their axes or planes (OME-Zarr, TIFF, EMD) say it
    themselves.
    """
    planes = shape[-1:]
    return 3 if (len(shape) > 2 and planes in ((3,), (4,))) or (len(shape) > 3 and planes == (2,)) else 2


def is_supported(dtype: np.dtype[Any]) -> bool:
    """Whether pixels of this type can be measured, in either byte order."""
    return dtype.newbyteorder("=") in DTYPES


def type_fault(dtype: np.dtype[Any]) -> str:
    """Why pixels of this type cannot be measured; nothing if they can."""
    if is_supported(dtype):
        return ""
    names = dtype.names or ()
    parts = [name[:4] for name in names]
    if parts == ["real", "imag"]:
        return f"complex pixels ({', '.join(names)}) are not supported"
    kind = f"compound type ({', '.join(names)})" if names else f"type {dtype}"
    return f"pixels of {kind} are not supported"


@dataclass(frozen=True)
class Candidate:
    """An array in a container of many, or a name behind which one may be."""

    shape: tuple[int, ...] = ()
    """As stored; nothing if it cannot be opened."""
    frame: tuple[int, ...] = ()
    """Shape of one of its frames."""
    kind: str = ""
    """Type of the pixels, as messages name it."""
    fault: str = ""
    """Why it cannot be read; nothing if it can."""
    sure: bool = False
    """Whether the format says that it holds images."""

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Candidate:
        """Make a candidate of an array whose last axes are those of a frame."""
        return cls(shape, shape[-frame_axes(shape) :], str(dtype.newbyteorder("=")), type_fault(dtype))

    def may_be_frames(self, name: str) -> bool:
        """Whether it can be a stack of frames, by its name and size."""
        if self.sure:
            return True
        known = not self.shape or (len(self.shape) > 1 and min(self.frame[:2]) >= _LEAST_PIXELS)
        return known and not _BESIDE.fullmatch(name.rpartition("/")[2].lower())


def pick(path: Path, found: Mapping[str, Candidate]) -> str:
    """Name of the array that is meant: the only large one of those that can be frames.

    Raises
    ------
    FormatError
        There is none, or several; it cannot be read; or something that may be it cannot be opened.
    """
    frames = {name: array for name, array in found.items() if array.may_be_frames(name)}
    closed = [array.fault for array in frames.values() if not array.shape]
    sizes = {name: math.prod(array.shape) for name, array in frames.items() if array.shape}
    if closed:
        more = f", and {len(closed) - 1} more like it" if len(closed) > 1 else ""
        raise FormatError(path, f"{closed[0]}{more}{choice('; choose what is there', found, sizes or found)}")
    if not sizes:
        raise FormatError(path, f"no images in it{choice('; choose what is there', found, found)}")
    large = [name for name, size in sizes.items() if size * _SMALL >= max(sizes.values())]
    if len(large) > 1:
        raise FormatError(path, f"several arrays can be meant{choice(', choose one', found, large)}")
    fault = found[large[0]].fault
    if fault:
        raise FormatError(path, f"{large[0]} of shape {found[large[0]].shape}: {fault}")
    return large[0]


def choice(what: str, found: Mapping[str, Candidate], names: Iterable[str]) -> str:
    """The end of a message that lists arrays of which the user may choose one."""
    listed = [f"{name} {found[name].shape} {found[name].kind}" for name in names if found[name].shape]
    more = [f"{len(listed) - _LISTED} more"] if len(listed) > _LISTED else []
    return f"{what} with dataset=NAME: {', '.join(listed[:_LISTED] + more)}" if listed else ""


def check_size(path: Path, stored: int, frame_bytes: int, shape: tuple[int, ...], count: int = 1) -> None:
    """FormatError if compressed frames are out of all proportion to the bytes in which they are stored."""
    if frame_bytes > EXPANSION * stored or count > _MOST_FRAMES * stored:
        frames = f"a frame of shape {shape}" if count == 1 else f"{count} frames of shape {shape}"
        raise FormatError(path, f"damaged: {stored} bytes are too few for {frames}")


def read_frames(read: Callable[[int, int], NDArray[Any]], start: int, stop: int) -> NDArray[Any]:
    """Read frames in one go; one by one if that fails, so that the error names the frame."""
    try:
        return read(start, stop)
    except FormatError:
        if stop - start == 1:
            raise
    return np.concatenate([read(frame, frame + 1) for frame in range(start, stop)])
