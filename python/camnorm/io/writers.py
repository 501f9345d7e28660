"""Writing frames, such that a file is there whole or not at all."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Error
from .atomic import AtomicFile
from .source import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

_COMPRESSED = {".gz", ".bz2", ".zst"}


class FrameWriter(ABC):
    """A file of frames, made by `create_writer`; several threads may write to it at once.

    It is under a temporary name until `commit`. As a context manager it is put in its place when the
    ``with`` block ends, and removed if that ends by an exception.

    Attributes
    ----------
    shape : tuple of int
        Shape of one frame, (y, x) or (y, x, c).
    dtype : numpy.dtype
        Type of the pixels that are written.
    count : int
        Number of frames that the file will hold.
    written : int
        Number of frames that were written, known by their last rows.
    """

    def __init__(self, target: AtomicFile, shape: tuple[int, ...], dtype: np.dtype[Any], count: int) -> None:
        self.shape = shape
        self.dtype = dtype
        self.count = count
        self.written = 0
        self._target = target
        self._file = open(target.temporary, "wb")  # noqa: SIM115 - closed by finish() or discard()
        self._lock = threading.Lock()

    def write(self, frames: NDArray[Any], start: int | None = None, row: int = 0) -> None:
        r"""Write frames, or some rows of them, at their place.

        Parameters
        ----------
        frames : ndarray
            Shape (n, \*shape), or fewer rows, and the writer's dtype.
        start : int, optional
            Index of the first of the frames in the file; by default they follow those written.
        row : int
            Index of the first of the rows in a frame.

        Raises
        ------
        TypeError, ValueError
            The frames have another dtype; another shape, or are more than the file is to hold.
        OSError
            They cannot be written. The error names the target.
        """
        start = self.written if start is None else start
        rows = frames.shape[1]
        if frames.dtype != self.dtype:
            raise TypeError(f"frames have dtype {frames.dtype}, expected {self.dtype}")
        if frames.shape[2:] != self.shape[1:] or row + rows > self.shape[0]:
            raise ValueError(f"frames have shape {frames.shape[1:]}, expected {self.shape}")
        if start + len(frames) > self.count:
            raise ValueError(f"{start} + {len(frames)} frames for a file of {self.count}")
        with self._target.writing():
            self._write(np.ascontiguousarray(frames), start, row)
        if row + rows == self.shape[0]:
            with self._lock:
                self.written += len(frames)

    def finish(self) -> None:
        """Write what comes last, see the file onto the disk, and close it.

        Raises
        ------
        Error
            Fewer frames than `count` were written.
        OSError
            The file cannot be written. The error names the target.
        """
        if self.written != self.count:
            raise Error(f"{self._target.path}: {self.written} frames were written of {self.count}")
        with self._target.writing():
            self._complete()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def commit(self) -> None:
        """Put the finished file in its place; `sync_directory` makes that last."""
        self._target.commit()

    def discard(self) -> None:
        """Remove the file, unless it is in its place."""
        with suppress(Exception):  # after an error, which is the one to be told
            self._file.close()
        self._target.discard()

    @abstractmethod
    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        """Write C-contiguous frames or rows of the right shape and dtype."""

    @abstractmethod
    def _complete(self) -> None:
        """Write what comes last."""

    def _write_at(self, offset: int, pixels: NDArray[Any]) -> None:
        data = pixels.reshape(-1).view(np.uint8).data
        while data:
            count = os.pwrite(self._file.fileno(), data, offset)
            data = data[count:]
            offset += count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
                self.commit()
        finally:
            self.discard()


def target_name(path: str | os.PathLike[str], source_format: str) -> Path:
    """Name of the file that is written for an input: MRC and TIFF keep theirs, others become ``.tif``.

    Nothing is compressed: ``.mrc.gz`` becomes ``.mrc``.
    """
    path = Path(path)
    if source_format == "MRC" and path.suffix.lower() in _COMPRESSED:
        return path.with_suffix("")
    return path if source_format in ("MRC", "TIFF") else path.with_suffix(".tif")


def create_writer(
    path: str | os.PathLike[str],
    source: FrameSource,
    dtype: np.dtype[Any] | type[np.generic],
    *,
    count: int,
    label: str,
    overwrite: bool = False,
) -> FrameWriter:
    """Write frames that were made from those of a source.

    An MRC source gives an MRC file with its header: pixel size, origin, extended header and labels are
    kept. Any other source gives a TIFF file, uncompressed, a page of one strip for each frame; resolution
    tags of a TIFF source are kept. Directories are made as needed.

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

    Returns
    -------
    FrameWriter
        Takes exactly `count` frames.

    Raises
    ------
    Error
        The target exists, or is the source itself.
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
    target = AtomicFile(path, overwrite)
    try:
        with target.writing():
            return _make_writer(target, source, dtype, count, label)
    except BaseException:
        target.discard()
        raise


def _make_writer(
    target: AtomicFile, source: FrameSource, dtype: np.dtype[Any], count: int, label: str
) -> FrameWriter:
    if source.format == "MRC":
        from .mrc import MrcSource, MrcWriter

        assert isinstance(source, MrcSource)
        return MrcWriter(target, source, dtype, count, label)
    from .tiff import TiffWriter

    return TiffWriter(target, source, dtype, count, label)
