"""What every image file is to the rest of the package: a sequence of frames of one shape and dtype."""

from __future__ import annotations

import math
import mmap
import os
import re
import stat
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from camnorm import _core
from camnorm.errors import FormatError, raise_shortage
from camnorm.io.base.located import Descriptor, LocatedFrames, StoredFrames
from camnorm.io.base.remarks import Remark
from camnorm.io.base.sequence import FrameSequence

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from camnorm.io.base.rows import RowOrder

DTYPES = frozenset(np.dtype(code) for code in ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"))
_MOST_SHOWN = 40  # characters of a value in a message
_MOST_FRAMES = 2**48  # in a file; such counts still fit everywhere
_TRUNCATED = "truncated: the file ends before the end of the frame"


class MappedFile:
    """A regular file of which parts are read or mapped into memory, by several threads at once.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    OSError
        The file cannot be opened.
    FormatError
        It is no regular file, or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for ever
            raise FormatError(path, "not a regular file")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        if self.size == 0:
            self.close()
            raise FormatError(path, "the file is empty", offset=0)

    @property
    def size(self) -> int:
        """Size in bytes, now."""
        return os.fstat(self._file.fileno()).st_size

    @property
    def exact_size(self) -> int | None:
        """The same; None if the size is not known."""
        return self.size

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes from `offset` on; fewer at the end of the file."""
        return os.pread(self._file.fileno(), count, offset)

    def read_into(self, offset: int, out: NDArray[Any]) -> None:
        """Fill a C-contiguous array with the bytes from `offset` on."""
        data = out.reshape(-1).view(np.uint8).data
        while data:
            count = os.preadv(self._file.fileno(), [data], offset)
            if count == 0:
                raise FormatError(self.path, "the file has become shorter", offset=offset)
            data = data[count:]
            offset += count

    def map(
        self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool = False
    ) -> NDArray[Any]:
        """Map the array of pixels that starts at `offset`, read-only."""
        count = math.prod(shape)
        length = count * dtype.itemsize
        if offset + length > self.size:  # to touch a page beyond the end would kill the process
            raise FormatError(self.path, "the file has become shorter", offset=self.size)
        first = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        mapping = mmap.mmap(
            self._file.fileno(), offset - first + length, access=mmap.ACCESS_READ, offset=first
        )
        pixels = np.frombuffer(mapping, dtype, count, offset - first)
        self.fetch(offset, length)
        return pixels.reshape(shape, order="F" if fortran else "C")

    def fetch(self, offset: int, length: int) -> None:
        """Read from the disk, in the thread that reads, what will be used elsewhere."""
        if reason := _core.fetch(self._file.fileno(), offset, length):
            raise FormatError(self.path, f"cannot be read: {reason}", offset=offset)

    def stay_open(self) -> Descriptor:
        """Descriptor of the file that stays open when this is closed."""
        return Descriptor(os.dup(self._file.fileno()))

    def close(self) -> None:
        """Close the file; arrays mapped from it stay valid."""
        self._file.close()


class MappedDirectory(MappedFile):
    """A directory that holds what other formats keep in a file; its reader finds its way by the path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Nothing that could be read here."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class FrameSource(FrameSequence):
    """The frames of one image file, read on demand.

    Made by `open_frames`; a context manager that closes the file. Several threads may read from one source
    at once. The file must not be changed while it is open, nor while arrays from `view` are in use.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    format : str
        Name of the file format, such as ``"MRC"``.
    shape : tuple of int
        Shape of one frame: (y, x), or (y, x, c) for a colour frame. Rows are in the order of the file.
    dtype : numpy.dtype
        Type of the pixels in native byte order: an 8, 16 or 32 bit integer or float16, float32, float64.
    count : int
        Number of frames that the header tells.
    available : int
        Number of frames up to the end of the file: `count`, or less in a truncated file. Compressed files
        reveal this only when they are read that far.
    row_order : {"bottom", "top"} or None
        Where programs draw the first row of a frame: at the bottom (MRC) or at the top (TIFF, DM). None if
        the format has no such convention.
    hints : dict
        What the header says of `ReadOptions` that matter for this file, by their names; see
        `camnorm.io.base.settling`.
    metadata : dict
        What else the header tells, as plain values. ``pixel_size`` is in Angstrom, and there only if the
        file gives it.
    """

    format: ClassVar[str]

    remarks: tuple[Remark, ...] = ()
    """What the user should know of the file."""

    sequential: ClassVar[bool] = False
    """Whether frames are decompressed in order, so that those before the last read cost all again, and
    whether they are the right ones is known at the end: see `check_whole`."""

    row_order: RowOrder | None = None
    hints: Mapping[str, Any] = MappingProxyType({})

    left_out: tuple[str, ...] = ()
    """Names of other images in the file, as of other chips of a camera."""

    # Why frames from `available` on cannot be read.
    _missing = _TRUNCATED

    def __init__(
        self,
        file: MappedFile,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        count: int,
        available: int,
        metadata: dict[str, Any],
    ) -> None:
        dtype = dtype.newbyteorder("=")
        if dtype not in DTYPES:
            raise FormatError(file.path, f"{self.format} with pixels of type {dtype} is not supported")
        if count < 1 or min(shape) < 1:
            raise FormatError(file.path, f"{self.format} without pixels: {count} frames of shape {shape}")
        if available < 1:
            raise FormatError(file.path, _TRUNCATED, frame=0, offset=file.size)
        if count > _MOST_FRAMES:
            raise FormatError(file.path, f"damaged: the header claims {count} frames")
        self._file = file
        self.path = file.path
        self.shape = shape
        self.dtype = dtype
        self.count = count
        self.available = min(count, available)
        self.metadata = metadata

    def read(self, start: int, stop: int | None = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        r"""Read frames into memory.

        Parameters
        ----------
        start : int
            First frame, 0 <= start < count.
        stop : int, optional
            One past the last frame; start + 1 if not given.
        out : ndarray, optional
            C-contiguous array of shape (stop - start, \*shape) and the source's dtype to read into.

        Returns
        -------
        ndarray
            Frames of shape (stop - start, \*shape) and the source's dtype: `out`, or a new array.

        Raises
        ------
        IndexError
            The source has no such frames.
        TypeError, ValueError
            `out` has another dtype; another shape or memory layout.
        FormatError
            A frame is not whole in the file or cannot be decoded.
        """
        stop = self._stop(start, stop)
        if out is None:
            frames = self._contiguous(start, stop)
            return frames if frames.flags.writeable else frames.copy()
        _core.check_array(out, "out")
        shape = (stop - start, *self.shape)
        if out.dtype != self.dtype:
            raise TypeError(f"out has dtype {out.dtype}, expected {self.dtype}")
        if out.shape != shape:
            raise ValueError(f"out has shape {out.shape}, expected {shape}")
        if not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError("out is not C-contiguous and writable")
        np.copyto(out, self._frames(start, stop))
        return out

    def view(self, start: int, stop: int | None = None) -> NDArray[Any]:
        r"""Read frames without a copy where the file allows it.

        Frames that lie in the file as they do in memory come as a read-only mapping of just these frames,
        maybe with gaps between them. Every such array holds a file descriptor while it lives: not for
        thousands at once.

        Parameters
        ----------
        start, stop : int
            As for `read`.

        Returns
        -------
        ndarray
            Frames of shape (stop - start, \*shape) and the source's dtype; may be read-only.

        Raises
        ------
        IndexError, FormatError
            As for `read`.
        """
        frames = self._frames(start, self._stop(start, stop))
        if frames.dtype == self.dtype and frames.flags.aligned and frames[0].flags.c_contiguous:
            return frames
        return np.require(frames, self.dtype, ["C_CONTIGUOUS", "ALIGNED"])

    def read_rows(self, frame: int, row: int, out: NDArray[Any]) -> None:
        r"""Read rows of a frame into memory, where `offsets` locate all frames.

        Parameters
        ----------
        frame, row : int
            The frame, and the first of its rows.
        out : ndarray
            C-contiguous array of shape (rows, \*shape[1:]) and the source's dtype to read into.

        Raises
        ------
        FormatError, OSError
            The rows are not in the file any more; they cannot be read.
        """
        out = np.asarray(_core.check_array(out, "out"))
        assert self.offsets is not None
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._file.read_into(int(self.offsets[frame]) + row * row_bytes, out)

    def check_whole(self) -> None:
        """Read on to the end of a `sequential` file, to compare its checksum.

        Raises
        ------
        FormatError
            The file is damaged: frames that were read from it may be wrong, and no more can be read. A file
            that is only cut off is not damaged.
        """

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        self._file.close()

    @property
    def is_located(self) -> bool:
        """Whether `stored` can tell where frames lie."""
        return self.offsets is not None

    def stored(self, start: int, stop: int) -> LocatedFrames | None:
        """Tell where frames lie in the file, if `is_located`.

        Parameters
        ----------
        start, stop : int
            As for `read`.

        Returns
        -------
        LocatedFrames or None
            They have been read from the disk, and can be used after the source was closed. None if just
            these must be read into memory.

        Raises
        ------
        IndexError, FormatError
            As for `read`.
        """
        stop = self._stop(start, stop)
        self.fetch(start, stop)
        assert self.offsets is not None
        return StoredFrames(self._file.stay_open(), self.shape, self.dtype, self.offsets[start:stop])

    def fetch(self, start: int, stop: int) -> None:
        """Read frames from the disk in one go that will then be read by parts, where `offsets` locate all.

        Parameters
        ----------
        start, stop : int
            As for `read`.

        Raises
        ------
        FormatError
            They are not in the file any more, or cannot be read.
        """
        assert self.offsets is not None
        length = math.prod(self.shape) * self.dtype.itemsize
        for offset in self.offsets[start:stop].tolist():
            self._file.fetch(offset, length)

    @property
    def camera(self) -> str:
        """Make and model of the camera, as far as the file tells them."""
        return " ".join(str(self.metadata[name]) for name in ("make", "model") if self.metadata.get(name))

    @property
    def file(self) -> MappedFile:
        """The open file, for a source that is made of this one."""
        return self._file

    @property
    def files(self) -> list[Path]:
        """All files that frames are read from: no result may replace one of them."""
        return [self.path]

    @property
    def origin(self) -> FrameSource:
        """The source of the frames as the file holds them: this one, unless it changes another's."""
        return self

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where the available frames begin in the file, if all lie there as in memory; else None."""
        return None

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Cut a run of frames where it is known that some of them were never written.

        Parameters
        ----------
        start, stop : int
            As for `read`.

        Yields
        ------
        tuple of int, int, bool
            First frame and one past the last of each part, and whether it is in the file.
        """
        yield start, stop, True

    @abstractmethod
    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        """Frames start to stop in any byte order and memory layout, read-only if mapped."""

    def _contiguous(self, start: int, stop: int) -> NDArray[Any]:
        return np.require(self._frames(start, stop), self.dtype, ["C_CONTIGUOUS", "ALIGNED"])

    def _stop(self, start: int, stop: int | None) -> int:
        stop = start + 1 if stop is None else stop
        if not 0 <= start < stop <= self.count:
            raise IndexError(f"{self.path}: no frames [{start}, {stop}) among {self.count}")
        if stop > self.available:
            raise FormatError(
                self.path, self._missing, frame=max(start, self.available), offset=self._file.size
            )
        return stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.format} {self.path}: {self.count} frames, shape {self.shape}, {self.dtype}>"


def scaling_in(text: str) -> dict[str, float]:
    """Find what `camnorm correct` noted of scaled pixels: value = (pixel - ``offset``) / ``scale``."""
    found = re.search(r"camnorm_scale=(\S+) camnorm_offset=(\S+)", text)
    try:
        return {"scale": float(found[1]), "offset": float(found[2])} if found else {}
    except ValueError:
        return {}


@contextmanager
def decoding(path: Path, frame: int | None = None) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a `FormatError` that names file and frame.

    A shortage of the machine becomes a `ResourceError`. A file that is not there, is a directory or may not
    be read stays the OSError that it is.
    """
    try:
        yield
    except (FormatError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # damage drives decoders into nearly any exception
        raise_shortage(error)
        detail = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        reason = f"cannot be read ({' '.join(detail.split())[:200]})"
        raise FormatError(path, reason, frame=frame) from error


def shown(value: str | None) -> str:
    """A value of a damaged header for a message: short, in one line, since it may be all that follows."""
    text = "missing" if value is None else ascii(value)[1:-1]
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
