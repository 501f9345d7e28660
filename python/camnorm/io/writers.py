"""Writing frames, such that a file is there whole or not at all."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Error
from .atomic import atomic_target
from .source import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FrameWriter(ABC):
    """A file to which frames are appended; made by `create_writer`.

    Attributes
    ----------
    shape : tuple of int
        Shape of one frame, (y, x) or (y, x, c).
    dtype : numpy.dtype
        Type of the pixels that are written.
    count : int
        Number of frames that the file will hold.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], count: int) -> None:
        self.shape = shape
        self.dtype = dtype
        self.count = count
        self.written = 0

    def write(self, frames: NDArray[Any]) -> None:
        r"""Append frames.

        Parameters
        ----------
        frames : ndarray
            Shape (n, \*shape) and the writer's dtype.

        Raises
        ------
        TypeError, ValueError
            The frames have another dtype; another shape, or are more than the file is to hold.
        OSError
            They cannot be written.
        """
        if frames.dtype != self.dtype:
            raise TypeError(f"frames have dtype {frames.dtype}, expected {self.dtype}")
        if frames.shape[1:] != self.shape:
            raise ValueError(f"frames have shape {frames.shape[1:]}, expected {self.shape}")
        if self.written + len(frames) > self.count:
            raise ValueError(f"{self.written} + {len(frames)} frames for a file of {self.count}")
        self._append(np.ascontiguousarray(frames))
        self.written += len(frames)

    @abstractmethod
    def _append(self, frames: NDArray[Any]) -> None:
        """Write C-contiguous frames of the right shape and dtype."""

    @abstractmethod
    def finish(self) -> None:
        """Write what comes last, and close."""

    @abstractmethod
    def close(self) -> None:
        """Close, finished or not."""


def target_name(path: str | os.PathLike[str], source_format: str) -> Path:
    """Name of the file that is written for an input: MRC and TIFF keep theirs, others become ``.tif``."""
    path = Path(path)
    return path if source_format in ("MRC", "TIFF") else path.with_suffix(".tif")


@contextmanager
def create_writer(
    path: str | os.PathLike[str],
    source: FrameSource,
    dtype: np.dtype[Any] | type[np.generic],
    *,
    count: int,
    label: str,
    overwrite: bool = False,
) -> Iterator[FrameWriter]:
    """Write frames that were made from those of a source.

    An MRC source gives an MRC file with its header: pixel size, origin, extended header and labels are
    kept. Any other source gives a TIFF file, uncompressed, a page of one strip for each frame; resolution
    tags of a TIFF source are kept. Directories are made as needed. When the ``with`` block ends the file
    is put in its place; if it ends by an exception nothing is left behind.

    Parameters
    ----------
    path : path-like
        The file to write.
    source : FrameSource
        Where the frames come from; may be closed.
    dtype : dtype
        Of the frames. An MRC file takes float32, float16, int16, uint16, and uint8 as uint16 since its
        bytes are signed; a TIFF file any dtype of a source.
    count : int
        Number of frames.
    label : str
        One line on what was done, added to the labels of an MRC file (its first 80 characters; the tenth
        label gives way to it) or the description of a TIFF file.
    overwrite : bool
        Whether an existing file is replaced.

    Yields
    ------
    FrameWriter
        Takes exactly `count` frames.

    Raises
    ------
    Error
        The target exists, or is the source itself, or fewer frames than `count` were written.
    ValueError
        An MRC file cannot hold `dtype`.
    OSError
        The target cannot be written.
    """
    path = Path(path)
    dtype = np.dtype(dtype)
    if path.exists() and path.samefile(source.path):
        raise Error(f"{path}: is the input itself; results must go elsewhere")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_target(path, overwrite) as temporary:
        writer = _make_writer(temporary, source, dtype, count, label)
        try:
            yield writer
            if writer.written != count:
                raise Error(f"{path}: {writer.written} frames were written of {count}")
            writer.finish()
        finally:
            with suppress(Exception):  # after an error, which is the one to be told
                writer.close()


def _make_writer(
    path: Path, source: FrameSource, dtype: np.dtype[Any], count: int, label: str
) -> FrameWriter:
    if source.format == "MRC":
        from .mrc import MrcSource, MrcWriter

        assert isinstance(source, MrcSource)
        return MrcWriter(path, source, dtype, count, label)
    from .tiff import TiffWriter

    return TiffWriter(path, source, dtype, count, label)
