"""Damaged and hostile HDF5 files: to open a virtual dataset, or read a string, can crash the HDF5 library, or
keep it busy for ever; links lead to any file.

Another process opens virtual datasets first; the heap in which strings lie, and where links lead, is looked
at.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import h5py
import numpy as np

from camnorm.errors import FormatError, ResourceError
from camnorm.io.base.containers import DEFLATE_EXPANSION, EXPANSION
from camnorm.io.base.links import check_link

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECONDS = 60.0
_START_SECONDS = 60.0
_MAX_FRAME = 2**30  # bytes of a frame that is read for a trial
_MAX_LINKS = 16
_MAX_BYTES = 2**20  # of a part of an object's header
_STRINGS = 1024  # that are read in one go

# Specification of the HDF5 file format, version 3.0: messages IV.A.2.i, IV.A.2.m and IV.A.2.q; heap III.E.
_LAYOUT, _ATTRIBUTE, _CONTINUATION = 8, 12, 16
_VIRTUAL = 3
# A string of a dataset: its length, and where it is in which heap.
_STRING = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])


class NoSuchNameError(KeyError):
    """Nothing in a group has a name."""


def open_object(path: Path, group: h5py.Group, name: str, follow: bool, links: int = 0) -> Any:
    """Open what has this name in a group, behind so many links.

    Raises
    ------
    FormatError
        It is a virtual dataset which the HDF5 library cannot bear; or it lies in a file that may not be read,
        see `check_link`. `path` is the file to be told.
    NoSuchNameError
        A KeyError: there is no such name.
    KeyError, OSError, RuntimeError
        A link leads nowhere; or as h5py raises.
    """
    if links > _MAX_LINKS:
        raise KeyError(f"too many links: {name}")
    found: Any = group.file["/"] if name.startswith("/") else group
    for part in name.split("/"):
        if part in ("", "."):
            continue
        if not isinstance(found, h5py.Group):
            raise KeyError(f"{found.name} is no group")
        link = found.get(part, getlink=True)
        if link is None:
            raise (KeyError if links else NoSuchNameError)(f"{part} does not exist in {found.name}")
        if isinstance(link, h5py.SoftLink):
            found = open_object(path, found, link.path, follow, links + 1)
            continue
        if isinstance(link, h5py.ExternalLink):
            file = _located(link.filename, Path(found.file.filename), "HDF5_EXT_PREFIX")
            if file is None:
                raise KeyError(f"there is no file {link.filename}")
            check_link(path, file, follow)
            with h5py.File(file, "r") as h5:
                open_object(path, h5, link.path, follow, links + 1)
        else:
            _check(path, found, part, follow)
        found = found[part]
    if isinstance(found, h5py.Dataset):
        for file in other_files(path, found):
            check_link(path, file, follow)
    return found


def check_whole(path: Path, h5: h5py.File) -> None:
    """See whether a file of ours holds all that its datasets declare, before memory is asked for.

    It may have been compressed since, by a filter of HDF5.

    Raises
    ------
    FormatError
        A part is missing, or lies in another file.
    """
    size = os.stat(path).st_size
    declared = 0
    for found in _objects(path, h5):
        if not isinstance(found, h5py.Dataset):
            continue
        kind = found.id.get_type()
        in_heap = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
        length = (found.size or 0) * (_STRING.itemsize if in_heap else found.dtype.itemsize)
        declared += length
        if not _holds(found, length) or declared > DEFLATE_EXPANSION * size:
            raise FormatError(path, f"damaged: {found.name} of shape {found.shape} is not whole")


def _objects(path: Path, h5: h5py.File) -> Iterator[Any]:
    """All groups and datasets of a file, each once; FormatError if there are links."""
    seen = {h5py.h5o.get_info(h5.id).addr}
    groups: list[h5py.Group] = [h5]
    while groups:
        group = groups.pop()
        yield group
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise FormatError(path, f"damaged: {name} is a link")
            found = open_object(path, group, name, follow=False)
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(found, h5py.Group):
                groups.append(found)
            else:
                yield found


def _holds(dataset: h5py.Dataset, length: int) -> bool:
    """Whether so many bytes are stored in a dataset, in its own file."""
    stored: int = dataset.id.get_storage_size()
    if dataset.chunks:
        return length <= EXPANSION * stored
    return stored == length and not dataset.external  # nothing of a virtual one is stored


def other_files(path: Path, dataset: h5py.Dataset) -> list[Path]:
    """Other files in which the pixels of a dataset lie, as far as they are there.

    Raises
    ------
    FormatError
        They are any number of files; `path` is the file to be told.
    """
    files = [Path(name) for name, _, _ in dataset.external or ()]  # from the current directory
    names = {source.file_name for source in dataset.virtual_sources()} if dataset.is_virtual else set()
    for name in sorted(names - {"."}):
        if "%" in name:
            raise FormatError(path, f"a virtual dataset over a series of files ({name}) is not supported")
        files.append(_located(name, Path(dataset.file.filename), "HDF5_VDS_PREFIX") or Path(name))
    return [file for file in files if file.exists()]


def _located(name: str, parent: Path, variable: str) -> Path | None:
    """Where HDF5 finds a file that is named in another: the first place of those where it looks."""
    prefixes = [Path(prefix) for prefix in os.environ.get(variable, "").split(":") if prefix]
    folders = [*prefixes, parent.parent, Path(), Path(os.path.realpath(parent)).parent]
    if os.path.isabs(name):
        candidates = [Path(name), *(folder / os.path.basename(name) for folder in folders)]
    else:
        candidates = [folder / name for folder in folders]
    return next((file for file in candidates if file.exists()), None)


def _check(path: Path, group: h5py.Group, name: str, follow: bool) -> None:
    """FormatError if a name is that of a virtual dataset that cannot be opened."""
    file = group.file.filename
    # Not h5o.get_info, which would open it.
    address = group.id.links.get_info(name.encode()).u
    try:
        with open(file, "rb") as raw:
            virtual = _is_virtual(raw, group.file.userblock_size, address)
    except (ValueError, IndexError):
        virtual = True  # who knows
    if virtual:
        status = os.stat(file)
        place = f"{group.name.rstrip('/')}/{name}"
        if not _bearable(file, place, status.st_mtime_ns, status.st_size, follow=follow):
            raise FormatError(path, f"damaged: HDF5 crashes or does not end when it opens {name}")


def text_of(path: Path, group: h5py.Group, attribute: str) -> str:
    """An attribute that is a string; else nothing.

    Strings of any length lie in a heap. The HDF5 library does not come to an end of some that are damaged.

    Raises
    ------
    FormatError
        The heap is damaged; `path` is the file to be told.
    """
    if attribute not in group.attrs or not isinstance(_type_of(group, attribute), h5py.h5t.TypeStringID):
        return ""
    value = value_of(path, group, attribute)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def value_of(path: Path, group: h5py.Group, attribute: str) -> Any:
    """An attribute that is a string or a number, or several.

    Raises
    ------
    FormatError
        It is something else, or the heap of the string is damaged; `path` is the file to be told.
    KeyError
        There is no such attribute.
    """
    kind = _type_of(group, attribute)
    if not isinstance(kind, (h5py.h5t.TypeStringID, h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)):
        raise FormatError(path, f"damaged: {attribute} is neither text nor a number")
    variable = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    if variable and not _can_be_read(group, attribute):
        raise FormatError(path, f"damaged: HDF5 crashes or does not end when it reads {attribute}")
    return group.attrs[attribute]


def is_real(group: h5py.Group, attribute: str) -> bool:
    """Whether there is such an attribute, of floating point numbers."""
    return attribute in group.attrs and isinstance(_type_of(group, attribute), h5py.h5t.TypeFloatID)


def _type_of(group: h5py.Group, attribute: str) -> Any:
    return group.attrs.get_id(attribute).get_type()


def values_of(path: Path, dataset: h5py.Dataset) -> Any:
    """The numbers of a dataset, or its strings of a fixed length.

    Raises
    ------
    FormatError
        It holds something else; `path` is the file to be told.
    """
    if dataset.dtype.kind not in "iufS":
        raise FormatError(path, f"damaged: {dataset.name} holds {dataset.dtype}")
    return dataset[()]


def texts_of(path: Path, dataset: h5py.Dataset, errors: str) -> Any:
    """The strings of a dataset, a single one or an array.

    Raises
    ------
    FormatError
        A heap is damaged, or they are longer than the file: all of a damaged dataset could share a long
        string. `path` is the file to be told.
    """
    if not _are_whole(dataset):
        file = dataset.file.filename
        status = os.stat(file)
        if not _bearable(file, dataset.name, status.st_mtime_ns, status.st_size):
            raise FormatError(path, f"damaged: HDF5 crashes or does not end when it reads {dataset.name}")
    text = dataset.asstr(errors=errors)
    if not dataset.shape:
        return text[()]
    found: NDArray[np.object_] = np.empty(dataset.shape, object)
    left = os.stat(dataset.file.filename).st_size
    for start in range(0, len(found), _STRINGS):
        found[start : start + _STRINGS] = text[start : start + _STRINGS]
        left -= sum(map(len, found[start : start + _STRINGS]))
        if left < 0:
            raise FormatError(path, f"damaged: {dataset.name} is longer than the file")
    return found


def _are_whole(dataset: h5py.Dataset) -> bool:
    """Whether the heaps in which the strings of a dataset lie are seen to be whole."""
    begin, base = dataset.id.get_offset(), dataset.file.userblock_size
    if begin is None:  # compressed
        return False
    with suppress(ValueError, IndexError), open(dataset.file.filename, "rb") as raw:
        raw.seek(begin)
        size = _STRING.itemsize * min(dataset.size, os.fstat(raw.fileno()).st_size)
        strings = np.frombuffer(raw.read(size), _STRING)
        strings = strings[strings["length"] > 0]
        heaps, which = np.unique(strings["heap"], return_inverse=True)
        longest = np.zeros(heaps.size, np.uint32)
        np.maximum.at(longest, which, strings["length"])
        return all(map(partial(_is_whole, raw), (base + heaps).tolist(), longest.tolist()))
    return False


def _can_be_read(group: h5py.Group, attribute: str) -> bool:
    """Whether the heap in which the string lies is whole; if that is not seen here, another process tries."""
    file = group.file.filename
    with suppress(ValueError, IndexError), open(file, "rb") as raw:
        base = group.file.userblock_size
        for kind, body in _messages(raw, base, h5py.h5o.get_info(group.id).addr):
            if kind == _ATTRIBUTE and (string := _string_of(body, attribute)) is not None:
                length, heap, _ = string
                return length == 0 or _is_whole(raw, base + heap, length)
    status = os.stat(file)
    return _bearable(file, group.name, status.st_mtime_ns, status.st_size, attribute)


def _string_of(body: bytes, attribute: str) -> tuple[int, int, int] | None:
    """A single string, as a `_STRING`, if this is the message of an attribute of this name."""
    version = body[0]
    lengths = [int.from_bytes(body[at : at + 2], "little") for at in (2, 4, 6)]
    place = 9 if version == 3 else 8
    name = body[place : place + lengths[0]]
    if name.rstrip(b"\0") != attribute.encode():
        return None
    unit = 8 if version == 1 else 1  # to which parts are filled up
    place += sum(-(-length // unit) * unit for length in lengths)
    data = body[place:]
    if version not in (1, 2, 3) or len(data) != _STRING.itemsize:
        raise ValueError("no single string")
    string: tuple[int, int, int] = np.frombuffer(data, _STRING)[0].item()
    return string


def _is_whole(file: IO[bytes], offset: int, longest: int) -> bool:
    """Whether the objects of a heap follow each other up to its end, and one of a length can be in it."""
    left = os.fstat(file.fileno()).st_size - offset
    if left < 32:
        return False
    head = _read(file, offset, 16)
    size = int.from_bytes(head[8:], "little")
    if head[:4] != b"GCOL" or not 32 <= size <= left or longest > size:
        return False
    place = 16
    while place + 16 <= size:
        head = _read(file, offset + place, 16)
        number = int.from_bytes(head[:2], "little")
        length = int.from_bytes(head[8:], "little")
        if number == 0:  # what is free, with its head, up to the end
            return place + length == size
        place += 16 + -(-length // 8) * 8
    return place <= size


def _read(file: IO[bytes], offset: int, size: int) -> bytes:
    """So many bytes; ValueError if there are fewer, or it is too much."""
    file.seek(offset)
    data = file.read(size) if size <= _MAX_BYTES else b""
    if len(data) < size:
        raise ValueError("damaged")
    return data


def _is_virtual(file: IO[bytes], base: int, address: int) -> bool:
    """Whether the header of an object tells of the layout of a virtual dataset; ValueError or IndexError."""
    for kind, body in _messages(file, base, address):
        if kind == _LAYOUT:
            return body[0] > 3 and body[1] == _VIRTUAL
    return False


def _messages(file: IO[bytes], base: int, address: int) -> Iterator[tuple[int, bytes]]:
    """The messages of an object's header, but for shared ones; ValueError or IndexError if it is damaged."""
    head = _read(file, base + address, 16)
    later = head[:4] == b"OHDR"
    if later:
        flags = head[5]
        begin = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(_read(file, base + begin, width), "little")
        parts = [(begin + width, size)]
        prefix = 6 if flags & 4 else 4
    else:
        parts = [(address + 16, int.from_bytes(head[8:12], "little"))]
        prefix = 8
    for offset, size in parts:  # which grow meanwhile
        data = _read(file, base + offset, size)
        place = 0
        while place + prefix <= len(data):
            kind = data[place] if later else int.from_bytes(data[place : place + 2], "little")
            length = int.from_bytes(
                data[place + 1 : place + 3] if later else data[place + 2 : place + 4], "little"
            )
            shared = data[place + 3 if later else place + 4] & 2
            body = data[place + prefix : place + prefix + length]
            if kind == _CONTINUATION and len(parts) < 1000:
                where, much = (int.from_bytes(body[at : at + 8], "little") for at in (0, 8))
                parts.append((where + 4, much - 8) if later else (where, much))  # signature and checksum
            elif not shared:
                yield kind, body
            place += prefix + length


@lru_cache(2**12)
def _bearable(
    file: str, name: str, mtime_ns: int, size: int, attribute: str | None = None, follow: bool = False
) -> bool:
    """Whether another process survives reading an attribute, or opening a dataset and reading a frame."""
    return _helper.bears([file, name, attribute, follow])


class _Helper:
    """A process that opens datasets: started when it is needed, and again when it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self.wanted = True
        """Not within the process itself."""

    def bears(self, request: list[Any]) -> bool:
        """Whether it survives a request in time; also where there is no way to start it."""
        if not self.wanted:
            return True
        with self._lock:
            if self._owner != os.getpid() or self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            if process is None:
                return True
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            if _answers(process, _SECONDS):
                return True
            killed = process.poll() == -signal.SIGKILL  # as the system does when memory is short
            self.end()
            if killed:
                raise ResourceError(f"the process that tries {request[0]} was killed: not enough memory?")
            return False

    def _start(self) -> None:
        self.end()
        self._process, self._owner = None, os.getpid()  # not that of a parent
        if not sys.executable:  # Python within another program
            return
        # Not by multiprocessing, which would run the user's script again.
        script = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for it
            )
        except OSError as error:
            reason = f"the system starts no process that tries virtual datasets ({error.strerror})"
            raise ResourceError(reason) from error
        if not _answers(self._process, _START_SECONDS):
            self.end()

    def end(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()
            process.wait()


def _answers(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a byte, so long; none comes of a process that has ended."""
    assert process.stdout is not None
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    return bool(poll.poll(1000 * seconds)) and len(process.stdout.read(1)) == 1


_helper = _Helper()
atexit.register(_helper.end)


def main() -> None:
    """What the process does: a line of standard input tells file and dataset, a byte that it has survived.

    The first byte tells that it has begun.
    """
    import resource

    _helper.wanted = False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(1, b".")
    for line in sys.stdin.buffer:
        with suppress(Exception):  # is met again where it can be told
            _try(*json.loads(line))
        os.write(1, b".")


def _try(file: str, name: str, attribute: str | None = None, follow: bool = False) -> None:
    with h5py.File(file, "r") as h5:
        if attribute is not None:
            h5[name].attrs.get(attribute)
            return
        dataset = open_object(Path(file), h5, name, follow)
        h5py.h5o.get_info(dataset.id)
        _check_sources(Path(file), dataset, follow)
        several = len(dataset.shape) > 2
        if dataset.nbytes // (max(1, len(dataset)) if several else 1) <= _MAX_FRAME:
            dataset[: 1 if several else None]


def _check_sources(path: Path, dataset: h5py.Dataset, follow: bool, depth: int = 0) -> None:
    """FormatError if a source of a virtual dataset, or one of theirs, lies in a file that may not be read."""
    if not dataset.is_virtual or depth > _MAX_LINKS:
        return
    for file_name, name in {(source.file_name, source.dset_name) for source in dataset.virtual_sources()}:
        parent = Path(dataset.file.filename)
        file = parent if file_name == "." else _located(file_name, parent, "HDF5_VDS_PREFIX")
        if file is not None:
            with suppress(KeyError, OSError), h5py.File(file, "r") as h5:
                _check_sources(path, open_object(path, h5, name, follow), follow, depth + 1)
