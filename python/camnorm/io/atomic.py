"""Files that are there whole or not at all, even if the process is killed or the machine fails."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Error

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


class AtomicFile:
    """A file that is written under a temporary name beside its place, and then moved there.

    Parameters
    ----------
    path : path-like
        The file to be.
    overwrite : bool
        Whether it may replace a file.

    Attributes
    ----------
    path : pathlib.Path
        The file to be.
    temporary : pathlib.Path
        An empty file to write to.

    Raises
    ------
    Error
        The target exists and `overwrite` is false.
    OSError
        The target cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = Path(path)
        self._overwrite = overwrite
        self.temporary = self.path.with_name(f".{self.path.name}.{os.urandom(4).hex()}.tmp")
        with self.writing():
            self._check_free()
            self._create()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have errors of writing name the target, not the temporary file or none."""
        try:
            yield
        except OSError as error:
            unnamed = error.filename is None and error.errno is not None
            if not unnamed and error.filename not in (self.temporary, os.fspath(self.temporary)):
                raise
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from error

    def commit(self) -> None:
        """Move the file, which must be on disk, to its place."""
        with self.writing():
            self._check_free()
            os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Remove the file, if it was not moved."""
        self.temporary.unlink(missing_ok=True)

    def _create(self) -> None:
        # Unlike a file of tempfile, readable by whom the umask lets.
        os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def _check_free(self) -> None:
        path = self.path
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if path.exists() and not path.is_file():
            raise Error(f"{path}: is no regular file, and is not replaced by one")
        if not self._overwrite and os.path.lexists(path):
            raise Error(f"{path}: exists already; --overwrite replaces it")


class AtomicStore(AtomicFile):
    """A Zarr store, which is a directory, likewise; it may only replace another store."""

    def commit(self) -> None:
        """Move the store, which must be on disk, to its place."""
        with self.writing():
            self._check_free()
            if not self.path.exists():
                os.replace(self.temporary, self.path)
                return
            # No system call exchanges them: after a failure in between, what was there has this name.
            old = self.temporary.with_suffix(".old")
            os.replace(self.path, old)
            os.replace(self.temporary, self.path)
            if old.is_symlink():
                old.unlink()
            else:
                shutil.rmtree(old)

    def discard(self) -> None:
        """Remove the store, if it was not moved."""
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _create(self) -> None:
        self.temporary.mkdir()

    def _check_free(self) -> None:
        path = self.path
        if path.exists() and not any((path / name).is_file() for name in (".zgroup", ".zarray", "zarr.json")):
            raise Error(f"{path}: is no Zarr store, and is not replaced by one")
        if not self._overwrite and os.path.lexists(path):
            raise Error(f"{path}: exists already; --overwrite replaces it")


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
    file = AtomicFile(path, overwrite)
    try:
        with file.writing():
            yield file.temporary
            _sync(file.temporary)
        file.commit()
    except BaseException:
        file.discard()
        raise
    sync_directory(file.path.parent)


def remove_leftovers(targets: Iterable[Path]) -> None:
    """Remove what killed processes were writing these files to, under names as of `AtomicFile`."""
    names: dict[Path, set[str]] = {}
    for target in targets:
        names.setdefault(target.parent, set()).add(target.name)
    for folder, wanted in names.items():
        found = os.scandir(folder) if folder.is_dir() else ()
        for entry in found:
            match = _TEMPORARY.fullmatch(entry.name)
            if match is None or match[1] not in wanted:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """See the names in a directory onto the disk, where the file system can do that."""
    with suppress(OSError):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
