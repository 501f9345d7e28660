"""Files that are compressed as a whole: they are decompressed in order."""

from __future__ import annotations

import bz2
import gzip
import math
import threading
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIECE = 2**20
_HEADER_BYTES = 1024
_FITS_BLOCK = 2880
_TRUNCATED = "truncated: the compressed data end before the frame does"


class Stream(Protocol):
    def read1(self, size: int = ..., /) -> bytes: ...
    def close(self) -> None: ...


class UnpackedFile(MappedFile):
    """What a compressed file holds, as if that were the file.

    It is decompressed in order; to read what lies before, it starts again. Of several threads that
    wait, the one is served whose bytes come next.
    """

    def __init__(self, packed: MappedFile, source: type[PackedSource]) -> None:
        self.path = packed.path
        self._packed = packed
        self._source = source
        self._stream: Stream | None = None
        self._position = 0
        self._end: int | None = None
        self._turn = threading.Condition()
        self._waiting: list[int] = []
        self._busy = False
        self.fault = ""
        self.cut_off = False  # as far as the decoder can tell, which damage may mislead
        self.head = b""  # used more than once, and not decompressed again
        self.head = self.read(0, _HEADER_BYTES)

    @property
    def size(self) -> int:
        """Bytes that it holds if its end has been seen, else the most that it can hold."""
        return self._source.expansion * self._packed.size if self._end is None else self._end

    @property
    def exact_size(self) -> int | None:
        """Bytes that it holds; None as long as its end has not been seen."""
        return self._end

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes from `offset` on; fewer at the end, or before damage, told as `fault`."""
        if offset + count <= len(self.head):
            return self.head[offset : offset + count]
        return bytes(self._in_turn(offset, count))

    def map(
        self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool = False
    ) -> NDArray[Any]:
        """Decompress the array of pixels that starts at `offset`."""
        length = math.prod(shape) * dtype.itemsize
        data = self._in_turn(offset, length)
        if len(data) < length:
            raise FormatError(self.path, self.fault or _TRUNCATED)
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
        self._packed.close()

    def read_to_end(self) -> None:
        """Decompress all that follows, to reach the checksum behind it; `fault` reports damage."""
        if self._end is None:
            self.read(self.size, 0)

    @property
    def packed(self) -> MappedFile:
        """The compressed file."""
        return self._packed

    def _in_turn(self, offset: int, count: int) -> bytearray:
        with self._turn:
            self._waiting.append(offset)
            self._turn.wait_for(lambda: not self._busy and offset == min(self._waiting, key=self._distance))
            self._waiting.remove(offset)
            self._busy = True
        try:
            return self._decompress(offset, count)
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _distance(self, offset: int) -> tuple[bool, int]:
        return offset < self._position, offset

    def _decompress(self, offset: int, count: int) -> bytearray:
        data = bytearray()  # grows with what comes: a damaged header may ask for anything
        end = offset + count if self._end is None else min(offset + count, self._end)
        if self._stream is None or (offset < self._position and offset < end):
            if self._stream is not None:
                self._stream.close()
            self._stream = self._source.open_stream(self.path)
            self._position = 0
        while self._position < end:
            stop = offset if self._position < offset else end
            try:
                with decoding(self.path):
                    piece = self._stream.read1(min(stop - self._position, _PIECE))
            except FormatError as error:
                piece = b""
                self.cut_off = isinstance(error.__cause__, EOFError)
                if not self.cut_off:
                    self.fault = error.reason
            if not piece:
                self._end = self._position
                break
            if self._position >= offset:
                data += piece
            self._position += len(piece)
        return data


class PackedSource(FrameSource):
    """Frames of a compressed file: decompressed in order, so best read in order.

    A class of this and of the source of the plain file, in this order, which knows where the frames begin
    (`_offset`) and how long each is (`_frame_bytes`).

    The decoders go on for a while after damage, so that frames before the place where they notice may be
    wrong, too. After damage was noticed none can be read; frames that were read before are not to be used.
    """

    sequential = True
    expansion: ClassVar[int]
    """Most bytes that one byte of the file can stand for; a header that claims more is damaged."""

    _file: UnpackedFile
    _offset: int
    _frame_bytes: int

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        unpacked = UnpackedFile(file, type(self))
        try:
            if len(unpacked.head) < _HEADER_BYTES:
                raise FormatError(file.path, unpacked.fault or _TRUNCATED, frame=0)
            self._check_kind(unpacked)
            super().__init__(unpacked, options)  # type: ignore[call-arg, arg-type]
        except BaseException as error:
            unpacked.close()
            if isinstance(error, FormatError):  # bytes are counted in what the file holds, not in it
                raise FormatError(file.path, unpacked.fault or error.reason, frame=error.frame) from error
            raise

    @staticmethod
    @abstractmethod
    def open_stream(path: Path) -> Stream:
        """Start to decompress."""

    def _check_kind(self, file: UnpackedFile) -> None:
        """Raise FormatError if the file does not hold one of the format."""

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """None: the frames do not lie in the file as in memory."""
        return None

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        try:
            frames = super()._frames(start, stop)  # type: ignore[safe-super]
            if stop == self.count:
                self.check_whole()
        except FormatError as error:
            try:
                self.check_whole()
            except FormatError as damage:
                raise FormatError(self.path, damage.reason, frame=start) from error
            # It is cut off, and now the end is known.
            whole = min((self._file.size - self._offset) // self._frame_bytes, self.count - 1)
            self.available, self._missing = max(0, whole), error.reason
            raise FormatError(self.path, error.reason, frame=max(start, self.available)) from error
        return frames

    def check_whole(self) -> None:
        """Read on to the end of the file, to compare its checksum; see `FrameSource`."""
        self._file.read_to_end()
        fault = self._file.fault
        if self._file.cut_off and self._is_complete():
            fault = "the compressed data end too early, although the file is complete"
        if fault:
            self._refuse(f"damaged, so that no frame of it can be trusted: {fault}")
        if not self._file.cut_off and (reason := self._misread()):
            self._refuse(reason)

    def _refuse(self, reason: str) -> NoReturn:
        self.available, self._missing = 0, reason
        raise FormatError(self.path, reason)

    def _misread(self) -> str:
        """Why frames are not where they were read, now that the size is known; empty if they are."""
        return ""

    @property
    def _end_of_frames(self) -> int:
        """Bytes of what is compressed, up to the end of its frames."""
        return self._offset + self.count * self._frame_bytes

    def _is_complete(self) -> bool:
        """Whether the compressed file is complete, as far as its end tells that."""
        return False


class PackedByGzip(PackedSource):
    """Frames of a file compressed by gzip."""

    expansion = 1032

    @staticmethod
    def open_stream(path: Path) -> Stream:
        """Start to decompress."""
        return gzip.open(path)

    def _is_complete(self) -> bool:
        # At the end stands the size of what was compressed: up to the last frame, or a whole block of FITS.
        told = self._file.packed.read(self._file.packed.size - 4, 4)
        end = self._end_of_frames
        return int.from_bytes(told, "little") in (end % 2**32, -(-end // _FITS_BLOCK) * _FITS_BLOCK % 2**32)


class PackedByBzip2(PackedSource):
    """Frames of a file compressed by bzip2."""

    expansion = 2**21  # 45 bytes can stand for 45 MB

    @staticmethod
    def open_stream(path: Path) -> Stream:
        """Start to decompress."""
        return bz2.open(path)
