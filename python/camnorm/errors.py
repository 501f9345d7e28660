"""The package's own errors."""

from __future__ import annotations

import errno
import os
import re

# Of these the machine has run out, whichever file was to be opened or read.
_SHORT_OF = {
    errno.EMFILE: "too many open files: raise the limit (ulimit -n), or use fewer threads",
    errno.ENFILE: "too many open files on this machine: end other programs, or use fewer threads",
    errno.ENOMEM: "not enough memory",
}
_BAD_ALLOC = "std::bad_alloc"  # which says no more than that it is one
_NO_THREAD = (
    "the system starts no more threads: use fewer threads, or raise the limits (ulimit -u, ulimit -v)"
)
# What libraries say of these in their messages, where they have no better way.
_TEXTS = {
    **{os.strerror(number): message for number, message in _SHORT_OF.items()},
    "failed to map segment": _SHORT_OF[errno.ENOMEM],  # of a shared object
    "memory allocation failed": _SHORT_OF[errno.ENOMEM],  # HDF5
    "can't start new thread": _NO_THREAD,
}
_HDF5_NUMBER = re.compile(r"errno = (\d+)")


class Error(Exception):
    """Base of the package's own errors: something the user can mend, said in one line."""


class BusyError(Error):
    """Another process is writing the same file."""


class FormatError(Error, ValueError):
    """A file that cannot be read as what it claims to be.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    reason : str
        What is wrong, in the user's words, without the file's name.
    frame : int, optional
        Index of the frame (0-based) that cannot be read; None if the whole file cannot.
    offset : int, optional
        Offset in bytes at which the file ends or goes wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reason: str,
        *,
        frame: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        self.frame = frame
        self.offset = offset
        where = self.path
        if frame is not None:
            where += f", frame {frame}"
        if offset is not None:
            where += f", byte {offset}"
        super().__init__(f"{where}: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return _format_error, (self.path, self.reason, self.frame, self.offset)


def _format_error(path: str, reason: str, frame: int | None, offset: int | None) -> FormatError:
    return FormatError(path, reason, frame=frame, offset=offset)


class ResourceError(Error):
    """The machine is short of file descriptors, memory or threads. No file is at fault."""


def shortage_of(error: BaseException | None) -> ResourceError | None:
    """Tell what the machine is short of, if an error or one that caused it says so.

    Decoders wrap such errors in their own, and HDF5 only writes the system's number in its message.
    """
    while error is not None:
        if isinstance(error, ResourceError):
            return error
        if (message := _shortage_in(error)) is not None:
            return ResourceError(message)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _shortage_in(error: BaseException) -> str | None:
    """The message of an error that reports a shortage, whatever caused it; else None."""
    if isinstance(error, MemoryError):
        said = str(error)
        return _SHORT_OF[errno.ENOMEM] + (f": {said}" if said and said != _BAD_ALLOC else "")
    number = getattr(error, "errno", None)
    if number is not None:
        return _SHORT_OF.get(number)
    text = error.reason if isinstance(error, FormatError) else str(error)
    if found := _HDF5_NUMBER.search(text):
        return _SHORT_OF.get(int(found[1]))
    return next((message for said, message in _TEXTS.items() if said in text), None)


def raise_shortage(error: BaseException) -> None:
    """Raise a `ResourceError` if an error reports a shortage of the machine: no file is to blame for it."""
    shortage = shortage_of(error)
    if shortage is error:
        raise shortage
    if shortage is not None:
        raise shortage from error


def message_of(error: BaseException) -> str:
    """What an error says in one line: of the system's, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


class FrameError(Error):
    """One of several frames that cannot be used.

    Parameters
    ----------
    message : str
        What is wrong, in the user's words.
    frame : int
        Index of the first such frame in the batch.
    """

    def __init__(self, message: str, frame: int) -> None:
        super().__init__(message, frame)
        self.frame = frame

    def __str__(self) -> str:
        return str(self.args[0])


class NonFiniteError(FrameError, ValueError):
    """Frames with NaN or infinite pixels, which no sum could ever take back.

    Parameters
    ----------
    message : str
        What is wrong, in the user's words.
    frame : int
        Index of the first such frame in the batch.
    """


class UnreadableError(FrameError):
    """Frames that cannot be read from their files."""


NAN_REASON = "NaN or infinite pixels"
"""Why frames with such pixels are rejected."""

NAN_HINT = "defects=FILE fills pixels that are NaN in every frame from their neighbours"
"""What helps if they are the same in all frames."""
