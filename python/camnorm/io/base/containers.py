"""Which of the arrays in a container of many are the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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


def frame_axes(shape: tuple[int, ...]) -> int:
    """How many of the last axes make one frame: three if the last are 3 or 4 colour planes, else two."""
    return 3 if len(shape) > 2 and shape[-1] in (3, 4) else 2


def is_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array can be read as frames."""
    return len(shape) >= 2 and dtype.newbyteorder("=") in DTYPES


def pick(path: Path, found: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    """Name of the array that is meant, of all that can be read as frames: the only large one."""
    sizes = {name: math.prod(shape) for name, (shape, _) in found.items()}
    large = [name for name, size in sizes.items() if size * _SMALL >= max(sizes.values())]
    if not large:
        raise FormatError(path, "no images in it")
    if len(large) > 1:
        listed = [f"{name} {found[name][0]} {found[name][1]}" for name in large[:_LISTED]]
        more = [f"{len(large) - _LISTED} more"] if len(large) > _LISTED else []
        reason = f"several arrays can be meant, choose one with dataset=NAME: {', '.join(listed + more)}"
        raise FormatError(path, reason)
    return large[0]


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
