"""Where the pages of a TIFF file are."""

from __future__ import annotations

import struct

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile

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
