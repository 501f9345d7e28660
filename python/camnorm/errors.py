"""The package's own errors."""

from __future__ import annotations

import os


class Error(Exception):
    """Base of the package's own errors: something the user can mend, said in one line."""


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
