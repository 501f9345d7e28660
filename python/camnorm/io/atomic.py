"""Files that are there whole or not at all, even if the process is killed or the machine fails."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Error

# Errors of writing, which come without the name of a file.
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def atomic_target(path: str | os.PathLike[str], overwrite: bool) -> Iterator[Path]:
    """Write a file under a temporary name beside its place, and move it there when all is on disk.

    Parameters
    ----------
    path : path-like
        The file to be.
    overwrite : bool
        Whether it may replace a file.

    Yields
    ------
    pathlib.Path
        An empty file to write to. It is removed if the body raises.

    Raises
    ------
    Error
        The target exists and `overwrite` is false.
    OSError
        The target cannot be written. The error names it, not the temporary file.
    """
    path = Path(path)
    _check_free(path, overwrite)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Unlike a file of tempfile, readable by whom the umask lets.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            _sync(temporary)
            _check_free(path, overwrite)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        with suppress(OSError):  # some file systems cannot do that for directories
            _sync(path.parent)
    except OSError as error:
        of_target = error.filename in (temporary, os.fspath(temporary)) or error.errno in _CANNOT_WRITE
        if not of_target:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _check_free(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if path.exists() and not path.is_file():
        raise Error(f"{path}: is no regular file, and is not replaced by one")
    if not overwrite and os.path.lexists(path):
        raise Error(f"{path}: exists already; --overwrite replaces it")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
