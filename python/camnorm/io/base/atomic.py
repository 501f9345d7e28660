"""Files that are written atomically, even if the process is killed or the machine fails."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from camnorm.errors import BusyError, Error

LONGEST_NAME = 255  # bytes, of nearly all file systems
_LOOKED_AT = 2**16  # bytes at either end of a file that tell what it is
_PREFIX, _SUFFIX = ".", ".camnorm.tmp"

# What file systems without locks answer.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF)

_Identity = tuple[int, int]  # device and inode: what a file is known by, whatever it is called


class Protected:
    """The inputs of a run: no result replaces one, whatever it is called and whichever links lead to it.

    Parameters
    ----------
    paths : iterable of path-like
        Files, and directories that are read as one file. Those that do not exist are passed over.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]] = ()) -> None:
        self._inputs: set[_Identity] = set()
        self._above: dict[_Identity, str] = {}
        self._ancestors: dict[str, list[tuple[_Identity, str]]] = {}
        self._any_directory = False
        for path in paths:
            self.add(path)

    def add(self, path: str | os.PathLike[str]) -> None:
        """Protect one more file: by whatever link it is named, and where that leads."""
        with suppress(OSError):
            status = os.lstat(path)
            self._add_one(path, status)
            if stat.S_ISLNK(status.st_mode):
                self._add_one(os.path.realpath(path), os.stat(path))

    def check(self, target: Path) -> None:
        """Raise Error if writing this file would change an input.

        Parameters
        ----------
        target : pathlib.Path
            The file, or the Zarr store, to be written.

        Raises
        ------
        Error
            It is an input, or a directory with an input in it, or lies inside an input.
        """
        for look in (os.lstat, os.stat):
            with suppress(OSError):
                status = look(target)
                found = status.st_dev, status.st_ino
                if found in self._inputs:
                    raise Error(f"{target}: is an input, and inputs are never replaced; write elsewhere")
                if found in self._above and not stat.S_ISREG(status.st_mode):
                    raise Error(f"{target}: holds an input, {self._above[found]}, and is not replaced")
        if self._any_directory:
            for found, name in self._ancestors_of(target):
                if found in self._inputs:
                    raise Error(f"{target}: lies inside an input, {name}; write elsewhere")

    def _add_one(self, path: str | os.PathLike[str], status: os.stat_result) -> None:
        self._inputs.add((status.st_dev, status.st_ino))
        self._any_directory |= stat.S_ISDIR(status.st_mode)
        for found, _ in self._ancestors_of(path):
            self._above.setdefault(found, os.fspath(path))

    def _ancestors_of(self, path: str | os.PathLike[str]) -> list[tuple[_Identity, str]]:
        """Identities and names of the existing directories above a path."""
        parent = os.path.dirname(os.fspath(path))
        known = self._ancestors.get(parent)
        if known is None:
            known = []
            place = Path(os.path.realpath(parent))
            for folder in (place, *place.parents):
                with suppress(OSError):
                    status = os.stat(folder)
                    known.append(((status.st_dev, status.st_ino), os.fspath(folder)))
            self._ancestors[parent] = known
        return known


NOTHING = Protected()


class AtomicFile:
    """A file that is written under a temporary name beside its place, and then renamed.

    The temporary file, ``.NAME.camnorm.tmp``, is locked until then. One that a killed process has left is
    not, and is taken over by the next process that writes the same file.

    Parameters
    ----------
    path : path-like
        The file to be.
    overwrite : bool
        Whether it may replace a file.
    protected : Protected
        Files that it never replaces.
    wait : bool
        Whether to wait for another process that is writing the same file.

    Attributes
    ----------
    path : pathlib.Path
        The file to be.
    temporary : pathlib.Path
        An empty file to write to. Its lock is lost if it is replaced by another file.
    descriptor : int
        Its descriptor, for reading and writing.

    Raises
    ------
    Error
        The target exists and `overwrite` is false, or is protected. BusyError: another process is writing it.
    OSError
        The target cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool,
        protected: Protected = NOTHING,
        *,
        wait: bool = False,
    ) -> None:
        self.path = Path(path)
        self._overwrite = overwrite
        self._protected = protected
        self._place = beside(self.path, _PREFIX, _SUFFIX)
        self.temporary: Path
        self.descriptor = -1
        with self.writing():
            self._check_free()
            self._create(wait)
        try:
            self._check_free()  # another process may have written it meanwhile
        except BaseException:
            self.discard()
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have errors of writing name the target, not the temporary file or none."""
        try:
            yield
        except OSError as error:
            name = "" if error.filename is None else os.fsdecode(error.filename)
            if error.errno is None or (error.filename is not None and not self._is_temporary(name)):
                raise
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from error

    def commit(self) -> None:
        """Move the file, which must be on disk, to its place."""
        with self.writing():
            self._check_free()
            self._move()
        self._close()

    def discard(self) -> None:
        """Remove the file, if it was not moved."""
        if self.descriptor >= 0:
            self._remove()
            self._close()

    def sync(self) -> None:
        """See the file onto the disk."""
        os.fsync(self.descriptor)

    def _is_temporary(self, name: str) -> bool:
        return name == os.fspath(self._place) or name.startswith(os.fspath(self._place) + os.sep)

    def _create(self, wait: bool) -> None:
        while (descriptor := _open_locked(self._place, self.path, wait)) is None:
            self._place = beside(self.path, _PREFIX, f".{os.urandom(4).hex()}{_SUFFIX}")
        self.descriptor = descriptor
        self.temporary = self._place
        os.ftruncate(self.descriptor, 0)

    def _move(self) -> None:
        os.replace(self.temporary, self.path)

    def _remove(self) -> None:
        self.temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1

    def _check_free(self) -> None:
        path = self.path
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if path.exists() and not path.is_file():
            raise Error(f"{path}: is not a regular file, and is not replaced by one")
        self._check_replaceable()

    def _check_replaceable(self) -> None:
        self._protected.check(self.path)
        if not self._overwrite and os.path.lexists(self.path):
            raise Error(f"{self.path}: already exists; use overwrite=True to replace it")


class AtomicStore(AtomicFile):
    """A Zarr store, which is a directory, written in the same way; it may only replace another store.

    The temporary name is that of a directory, which holds a file that is locked, the store, and between two
    renames the store that is replaced.
    """

    def _create(self, wait: bool) -> None:
        while self.descriptor < 0:
            self._place.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process has just removed the directory
                descriptor = _open_locked(self._place / "lock", self.path, wait)
                if descriptor is None:
                    self._place = beside(self.path, _PREFIX, f".{os.urandom(4).hex()}{_SUFFIX}")
                else:
                    self.descriptor = descriptor
        if os.path.lexists(self._old) and not os.path.lexists(self.path):
            os.replace(self._old, self.path)  # the process that was replacing it was killed
        self._remove_contents()
        self.temporary = self._place / "store"
        self.temporary.mkdir()

    @property
    def _old(self) -> Path:
        return self._place / "old"

    def _move(self) -> None:
        # No portable system call exchanges directories: if the process is killed in between, the next one
        # that writes this store puts the old one back.
        if os.path.lexists(self.path):
            os.replace(self.path, self._old)
        os.replace(self.temporary, self.path)
        self._remove()

    def _remove(self) -> None:
        self._remove_contents()
        with suppress(OSError):  # another process may wait for the lock, or have just made a new one
            (self._place / "lock").unlink()
            self._place.rmdir()

    def _remove_contents(self) -> None:
        """Remove all but the lock."""
        for path in (self._old, self._place / "store"):
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)

    def _check_free(self) -> None:
        path = self.path
        if path.exists() and not any((path / name).is_file() for name in (".zgroup", ".zarray", "zarr.json")):
            raise Error(f"{path}: is not a Zarr store, and is not replaced by one")
        self._check_replaceable()


@contextmanager
def atomic_target(
    path: str | os.PathLike[str], overwrite: bool, protected: Protected = NOTHING
) -> Iterator[Path]:
    """Write a file under a temporary name beside its place, and move it there when all is on disk.

    Parameters
    ----------
    path : path-like
        The file to be.
    overwrite : bool
        Whether it may replace a file.
    protected : Protected
        Files that it never replaces.

    Yields
    ------
    pathlib.Path
        An empty file to write to. It is removed if the body raises.

    Raises
    ------
    Error
        The target exists and `overwrite` is false, or is protected. BusyError: another process is writing it.
    OSError
        The target cannot be written. The error names it, not the temporary file.
    """
    file = AtomicFile(path, overwrite, protected)
    try:
        with file.writing():
            yield file.temporary
            file.sync()
        file.commit()
    except BaseException:
        file.discard()
        raise
    sync_directory(file.path.parent)


def check_content(path: str | os.PathLike[str], mark: bytes, kind: str) -> None:
    """Raise Error if there is a file of another kind, which is not to be replaced.

    Parameters
    ----------
    path : path-like
        The file to be.
    mark : bytes
        What files of this kind contain.
    kind : str
        What such a file is called, with its article.

    Raises
    ------
    Error
        There is a file without this mark that is not empty.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0:
        return
    with open(path, "rb") as file:
        content = file.read(_LOOKED_AT)
        file.seek(max(file.tell(), path.stat().st_size - _LOOKED_AT))
        content += file.read()
    if mark not in content:
        raise Error(f"{path}: is not {kind}, and is not replaced by one; write elsewhere")


def sync_directory(path: Path) -> None:
    """See the names in a directory onto the disk, where the file system can do that."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def beside(path: Path, prefix: str, suffix: str) -> Path:
    """Name of a file that belongs to another: always the same, and shortened where it would be too long."""
    name = os.fsencode(path.name)
    room = LONGEST_NAME - len(prefix) - len(suffix)
    if len(name) > room:
        digest = hashlib.sha256(name).hexdigest()[:16].encode()
        name = name[: room - len(digest)] + digest
    return path.with_name(prefix + os.fsdecode(name) + suffix)


def _open_locked(place: Path, target: Path, wait: bool) -> int | None:
    """Open a temporary file, made if it is not there, that no other process has locked.

    None if the file exists and the file system has no locks: another process may be writing to it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    while True:
        try:
            descriptor, made = os.open(place, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            descriptor, made = os.open(place, flags, 0o666), False
        keep = False
        try:
            locked = _lock(descriptor, target, wait)
            with suppress(FileNotFoundError):
                status, there = os.fstat(descriptor), os.lstat(place)
                keep = (locked or made) and (status.st_dev, status.st_ino) == (there.st_dev, there.st_ino)
        finally:
            if not keep:
                os.close(descriptor)
        if keep:
            return descriptor
        if not locked:
            return None
        # The process that had locked it has moved or removed it.


def _lock(descriptor: int, target: Path, wait: bool) -> bool:
    """Lock a temporary file; False if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise BusyError(f"{target}: is being written by another camnorm process") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
