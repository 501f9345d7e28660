"""Where the pages of a TIFF file are."""

from __future__ import annotations

import struct

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile

_PAGE_TAGS = (254, 256, 257)  # NewSubfileType, ImageWidth, ImageLength
_INTEGERS = {3: "H", 4: "I", 16: "Q"}  # of TIFF's codes of types
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
    head = file.read(0, 4)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:].strip(b"\0") == b"+"
    number, entry, start = ("Q", 20, 12) if big else ("H", 12, 8)
    (count,) = struct.unpack(order + number, file.read(directory, struct.calcsize("=" + number)))
    data = file.read(directory + struct.calcsize("=" + number), count * entry)
    values = dict.fromkeys(_PAGE_TAGS, 0)
    for place in range(0, len(data) - entry + 1, entry):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in values and kind in _INTEGERS:
            (values[tag],) = struct.unpack_from(order + _INTEGERS[kind], data, place + start)
    subfile, width, height = (values[tag] for tag in _PAGE_TAGS)
    return subfile, height, width
