"""Damaged and hostile HDF5 files: what this process opens and reads of them is checked first.

To open a virtual dataset, or read a string, can crash the HDF5 library, or keep it busy for ever; links lead
to any file. So another process opens virtual datasets first; the heap in which strings lie, and where links
lead, is checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.containers import DEFLATE_EXPANSION, EXPANSION
from camnorm.io.base.hdf5heap import STRING, attribute_is_whole, is_virtual, strings_are_whole
from camnorm.io.base.hdf5helper import bearable
from camnorm.io.base.links import check_link

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_LINKS = 16
_STRINGS = 1024  # that are read in one go


class NoSuchNameError(KeyError):
    """Nothing in a group has a name."""


def open_object(path: Path, group: h5py.Group, name: str, follow: bool, links: int = 0) -> Any:
    """Open what has this name in a group, behind a number of links.

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
    if links > MAX_LINKS:
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
            file = located(link.filename, Path(found.file.filename), "HDF5_EXT_PREFIX")
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


def _check(path: Path, group: h5py.Group, name: str, follow: bool) -> None:
    """FormatError if a name is that of a virtual dataset that cannot be opened."""
    h5 = group.file  # which takes time to make
    file = h5.filename
    # Not h5o.get_info, which would open it.
    address = group.id.links.get_info(name.encode()).u
    try:
        with open(file, "rb") as raw:
            virtual = is_virtual(raw, h5.userblock_size, address)
    except (ValueError, IndexError):
        virtual = True  # who knows
    if virtual:
        status = os.stat(file)
        place = f"{group.name.rstrip('/')}/{name}"
        if not bearable(file, place, status.st_mtime_ns, status.st_size, follow=follow):
            raise FormatError(path, f"damaged: HDF5 crashes or does not end when it opens {name}")


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
        files.append(located(name, Path(dataset.file.filename), "HDF5_VDS_PREFIX") or Path(name))
    return [file for file in files if file.exists()]


def located(name: str, parent: Path, variable: str) -> Path | None:
    """Where HDF5 finds a file that is named in another: the first place of those where it looks."""
    prefixes = [Path(prefix) for prefix in os.environ.get(variable, "").split(":") if prefix]
    folders = [*prefixes, parent.parent, Path(), Path(os.path.realpath(parent)).parent]
    if os.path.isabs(name):
        candidates = [Path(name), *(folder / os.path.basename(name) for folder in folders)]
    else:
        candidates = [folder / name for folder in folders]
    return next((file for file in candidates if file.exists()), None)


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
        length = (found.size or 0) * (STRING.itemsize if in_heap else found.dtype.itemsize)
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
    """Whether a dataset stores a number of bytes in its own file."""
    stored: int = dataset.id.get_storage_size()
    if dataset.chunks:
        return length <= EXPANSION * stored
    return stored == length and not dataset.external  # nothing of a virtual one is stored


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
        if not bearable(file, dataset.name, status.st_mtime_ns, status.st_size):
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
        return strings_are_whole(raw, base, begin, dataset.size)
    return False


def _can_be_read(group: h5py.Group, attribute: str) -> bool:
    """Whether the heap in which the string lies is whole; if that is not seen here, another process tries."""
    file = group.file.filename
    with suppress(ValueError, IndexError), open(file, "rb") as raw:
        base = group.file.userblock_size
        whole = attribute_is_whole(raw, base, h5py.h5o.get_info(group.id).addr, attribute)
        if whole is not None:
            return whole
    status = os.stat(file)
    return bearable(file, group.name, status.st_mtime_ns, status.st_size, attribute)
