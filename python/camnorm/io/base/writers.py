"""Writing frames to files, atomically."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import Error
from camnorm.io.base.atomic import NOTHING, AtomicFile, AtomicStore, Protected
from camnorm.io.base.registry import Output, formats, row_order_of
from camnorm.io.base.rows import is_flipped
from camnorm.io.base.source import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

_COMPRESSED = {".gz", ".bz2", ".zst"}


@dataclass(frozen=True)
class WritePlan:
    """What a writer writes."""

    target: AtomicFile
    source: FrameSource
    """Where the frames come from; may be closed."""
    dtype: np.dtype[Any]
    count: int
    """Number of frames."""
    flipped: bool
    """Whether rows are written from the last to the first."""
    label: str
    """Lines on what was done."""
    compression: str


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
    whole_frames : bool
        Whether only whole frames can be written, not some rows of them.
    """

    whole_frames: bool = False

    def __init__(self, plan: WritePlan) -> None:
        self.shape = plan.source.shape
        self.dtype = plan.dtype
        self.count = plan.count
        self.written = 0
        self._flipped = plan.flipped
        self._target = plan.target
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Number of frames in memory that have to be written after earlier ones, which are not there yet."""
        return 0

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
            if self._flipped:
                self._write(np.ascontiguousarray(frames[:, ::-1]), start, self.shape[0] - row - rows)
            else:
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

    def commit(self) -> None:
        """Put the finished file in its place; `sync_directory` makes that last."""
        self._target.commit()

    def discard(self) -> None:
        """Remove the file, unless it is in its place."""
        with suppress(Exception):  # after an error, which is the one to be told
            self._close()
        self._target.discard()

    @abstractmethod
    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        """Write C-contiguous frames or rows of the right shape and dtype."""

    @abstractmethod
    def _complete(self) -> None:
        """Write what comes last, see all onto the disk, and close it."""

    @abstractmethod
    def _close(self) -> None:
        """Close what is open."""

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


class FileWriter(FrameWriter):
    """A writer of one file, of which rows are written at their places."""

    def __init__(self, plan: WritePlan) -> None:
        super().__init__(plan)
        self._file = open(plan.target.temporary, "r+b")  # noqa: SIM115 - closed by finish() or discard()

    def _complete(self) -> None:
        self._write_last()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _close(self) -> None:
        self._file.close()

    @abstractmethod
    def _write_last(self) -> None:
        """Write what comes last."""

    def _write_at(self, offset: int, pixels: NDArray[Any]) -> None:
        write_at(self._file.fileno(), offset, pixels)


def write_at(file: int, offset: int, pixels: NDArray[Any]) -> None:
    """Write C-contiguous pixels at a place of an open file."""
    data = pixels.reshape(-1).view(np.uint8).data
    while data:
        count = os.pwrite(file, data, offset)
        data = data[count:]
        offset += count


class EncodedWriter(FileWriter):
    """A file of frames that are compressed in the threads that write them, and put in it one after another.

    Where a frame goes is known only when all before it are compressed: until then it waits in memory.
    """

    whole_frames = True

    def __init__(self, plan: WritePlan) -> None:
        super().__init__(plan)
        self._encoded: dict[int, bytes] = {}
        self._appended = 0

    @property
    def waiting(self) -> int:
        """Number of frames in memory that have to be written after earlier ones, which are not there yet."""
        return len(self._encoded)

    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        if frames.shape[1] != self.shape[0]:
            raise ValueError(f"only whole frames can be compressed, not {frames.shape[1]} rows")
        for index, frame in enumerate(frames, start):
            encoded = self._encode(frame)
            with self._lock:
                self._encoded[index] = encoded
                while (following := self._encoded.pop(self._appended, None)) is not None:
                    self._append(following)
                    self._appended += 1

    @abstractmethod
    def _encode(self, frame: NDArray[Any]) -> bytes:
        """Compress a frame; several threads may do so at once."""

    @abstractmethod
    def _append(self, encoded: bytes) -> None:
        """Put the next frame in the file."""


def output_format(source_format: str, wanted: str = "same") -> str:
    """Name of the format that is written for an input: what is wanted, or its own, or else TIFF."""
    outputs = _outputs()
    if wanted == "same":
        return source_format if source_format in outputs else "TIFF"
    names = {name.lower(): name for name in outputs}
    if wanted not in names:
        raise ValueError(f"format must be same, {', '.join(names)}, not {wanted!r}")
    return names[wanted]


def _outputs() -> dict[str, Output]:
    """How frames are written in each format, by its name: the most common one first."""
    found = {row.name: row.output for row in formats() if row.output is not None}
    return {"MRC": found.pop("MRC"), **found}


def target_name(path: str | os.PathLike[str], source_format: str, wanted: str = "same") -> Path:
    """Name of the file that is written for an input: its own, unless it changes its format.

    Files are not compressed as a whole: ``.mrc.gz`` becomes ``.mrc``, ``.fits.gz`` ``.tif``. MarCCD files
    become TIFF.
    """
    path = Path(path)
    if source_format in ("MRC", "FITS") and path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    written = output_format(source_format, wanted)
    own = written == source_format and path.suffix.lower() != ".mccd"
    return path if own else path.with_suffix(_outputs()[written].suffix)


def create_writer(
    path: str | os.PathLike[str],
    source: FrameSource,
    dtype: np.dtype[Any] | type[np.generic],
    *,
    count: int,
    label: str,
    wanted: str = "same",
    compression: str = "none",
    overwrite: bool = False,
    protected: Protected = NOTHING,
) -> FrameWriter:
    """Write frames that were made from those of a source.

    An MRC file made from another keeps its header: pixel size, origin, extended header and labels. A TIFF
    file has a page of one strip for each frame, and keeps the resolution of another. An HDF5 file has a
    dataset in groups of NeXus, a Zarr store an array as OME-Zarr has it, of a chunk for each frame. The pixel
    size is carried over. Rows are turned upside down between MRC and TIFF,
    if the source does not have them so. Directories are made as needed.

    Parameters
    ----------
    path : path-like
        The file to write.
    source : FrameSource
        Where the frames come from; may be closed.
    dtype : dtype
        Of the frames. An MRC file takes float32, float16, int16, uint16, int8, and uint8 as uint16 since its
        bytes are signed; a TIFF file any dtype of a source.
    count : int
        Number of frames.
    label : str
        Lines on what was done, added to the labels of an MRC file (80 characters of each; the last of ten
        labels are dropped for them) or the description of a TIFF file.
    wanted : {"same", "mrc", "tiff", "hdf5", "zarr"}
        Format; by default that of the source, or TIFF if that cannot be written.
    compression : {"none", "lzw", "deflate", "zstd"}
        Of the frames: all of a TIFF file, "deflate" of an HDF5 file, "deflate" or "zstd" of a Zarr store.
    overwrite : bool
        Whether an existing file is replaced.
    protected : Protected
        Files that are never replaced, beside those that the source is read from.

    Returns
    -------
    FrameWriter
        Takes exactly `count` frames.

    Raises
    ------
    Error
        The target exists, or is protected.
    ValueError
        The format cannot hold `dtype` or colour frames, or is not compressed that way.
    OSError
        The target cannot be written.
    """
    path = Path(path)
    dtype = np.dtype(dtype)
    written = output_format(source.format, wanted)
    check_compression(written, compression)
    check_shape(written, source.shape)
    Protected(source.files).check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    output = _outputs()[written]
    target = (AtomicStore if output.directory else AtomicFile)(path, overwrite, protected)
    flipped = is_flipped(source.row_order, row_order_of(written))
    try:
        with target.writing():
            writer: FrameWriter = output.load()(
                WritePlan(target, source, dtype, count, flipped, label, compression)
            )
            return writer
    except BaseException:
        target.discard()
        raise


def check_compression(written: str, compression: str) -> None:
    """Raise ValueError unless files of a format can be compressed that way."""
    known = _outputs()[written].compressions
    if compression not in known:
        raise ValueError(f"compression of {written} files is {' or '.join(known)}, not {compression}")


def check_shape(written: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless files of a format can hold frames of a shape."""
    output = _outputs()[written]
    if len(shape) < 3 or output.planes is None or shape[2] in output.planes:
        return
    frames = f"frames of {shape[2]} planes" if output.planes else "colour frames"
    raise ValueError(f"{output.called} cannot hold {frames}: choose TIFF")
