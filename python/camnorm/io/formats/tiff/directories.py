"""Where the pages of a TIFF file are."""

from __future__ import annotations

import struct

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile

_PAGE_TAGS = (254, 256, 257)  # NewSubfileType, ImageWidth, ImageLength
_INTEGERS = {3: "H", 4: "I", 16: "Q"}  # of TIFF's codes of types
_SUB_DIRECTORIES = 330
_POINTERS = {4: "I", 13: "I", 16: "Q", 18: "Q"}
_MAX_SUB_DIRECTORIES = 4096
_MAX_TAGS = 4096  # in a directory; the limit of tifffile


def find_directories(file: MappedFile) -> tuple[list[int], bool]:
    """Offsets of all pages' directories, and whether their chain ends within the file.

    tifffile can do that too, but follows a circular chain nearly for ever.
    """
    head = file.read(0, 4)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:].strip(b"\0") == b"+"
    number, entry, pointer, position = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)

    def integer(code: str, offset: int) -> int | None:
        data = file.read(offset, struct.calcsize(code))
        return struct.unpack(order + code, data)[0] if len(data) == struct.calcsize(code) else None

    directories: dict[int, None] = {}
    size = file.size
    while (directory := integer(pointer, position)) != 0:
        if directory is None or directory >= size:
            return list(directories), False
        if directory in directories:
            raise FormatError(file.path, "damaged: the chain of pages is circular", offset=position)
        tags = integer(number, directory)
        if tags is None or tags > _MAX_TAGS:
            return list(directories), False
        position = directory + struct.calcsize("=" + number) + tags * entry
        if position + struct.calcsize("=" + pointer) > size:
            return list(directories), False
        directories[directory] = None
    return list(directories), True


def read_page_kind(file: MappedFile, directory: int) -> tuple[int, int, int]:
    """NewSubfileType of the page at a directory, its height and width; 0 for what is not there."""
    order, number, entry, start = _form_of(file)
    (count,) = struct.unpack(order + number, file.read(directory, struct.calcsize("=" + number)))
    data = file.read(directory + struct.calcsize("=" + number), count * entry)
    values = dict.fromkeys(_PAGE_TAGS, 0)
    for place in range(0, len(data) - entry + 1, entry):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in values and kind in _INTEGERS:
            (values[tag],) = struct.unpack_from(order + _INTEGERS[kind], data, place + start)
    subfile, width, height = (values[tag] for tag in _PAGE_TAGS)
    return subfile, height, width


def sub_directories(file: MappedFile, directory: int) -> list[int]:
    """Offsets of the directories of images that belong to the page at a directory (SubIFDs)."""
    order, number, entry, start = _form_of(file)
    (count,) = struct.unpack(order + number, file.read(directory, struct.calcsize("=" + number)))
    data = file.read(directory + struct.calcsize("=" + number), count * entry)
    pointer = "Q" if number == "Q" else "I"
    for place in range(0, len(data) - entry + 1, entry):
        tag, kind, found = struct.unpack_from(order + "HH" + pointer, data, place)
        if tag != _SUB_DIRECTORIES or kind not in _POINTERS:
            continue
        code = _POINTERS[kind]
        length = found * struct.calcsize("=" + code)
        values = data[place + start : place + entry][:length]
        if length > len(values):
            (offset,) = struct.unpack_from(order + pointer, data, place + start)
            values = file.read(offset, length) if found <= _MAX_SUB_DIRECTORIES else b""
        if len(values) == length:
            return [offset for offset in struct.unpack(f"{order}{found}{code}", values) if offset < file.size]
    return []


def _form_of(file: MappedFile) -> tuple[str, str, int, int]:
    """Byte order, code of the number of tags, bytes of a tag, and where the value is in it."""
    head = file.read(0, 4)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:].strip(b"\0") == b"+"
    return (order, "Q", 20, 12) if big else (order, "H", 12, 8)
