"""Headers of objects and heaps of strings in HDF5 files, read without the HDF5 library: which are damaged?

By the specification of the HDF5 file format, version 3.0: messages IV.A.2.i, IV.A.2.m and IV.A.2.q; heap
III.E. Functions raise ValueError or IndexError where the bytes make no sense.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import IO

import numpy as np

_MAX_BYTES = 2**20  # of a part of an object's header

_LAYOUT, _ATTRIBUTE, _CONTINUATION = 8, 12, 16
_VIRTUAL = 3

# A string of a dataset: its length, and where it is in which heap.
STRING = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])


def is_virtual(file: IO[bytes], base: int, address: int) -> bool:
    """Whether the header of an object gives the layout of a virtual dataset."""
    for kind, body in _messages(file, base, address):
        if kind == _LAYOUT:
            return body[0] > 3 and body[1] == _VIRTUAL
    return False


def strings_are_whole(file: IO[bytes], base: int, begin: int, count: int) -> bool:
    """Whether the heaps in which the strings of a dataset lie are whole; its values begin at an offset."""
    file.seek(begin)
    size = STRING.itemsize * min(count, os.fstat(file.fileno()).st_size)
    strings = np.frombuffer(file.read(size), STRING)
    strings = strings[strings["length"] > 0]
    heaps, which = np.unique(strings["heap"], return_inverse=True)
    longest = np.zeros(heaps.size, np.uint32)
    np.maximum.at(longest, which, strings["length"])
    return all(map(partial(_is_whole, file), (base + heaps).tolist(), longest.tolist()))


def attribute_is_whole(file: IO[bytes], base: int, address: int, attribute: str) -> bool | None:
    """Whether the heap in which an attribute's string lies is whole; None if the attribute is not found."""
    for kind, body in _messages(file, base, address):
        if kind == _ATTRIBUTE and (string := _string_of(body, attribute)) is not None:
            length, heap, _ = string
            return length == 0 or _is_whole(file, base + heap, length)
    return None


def _string_of(body: bytes, attribute: str) -> tuple[int, int, int] | None:
    """A single string, as a `STRING`, if this is the message of an attribute of this name."""
    version = body[0]
    lengths = [int.from_bytes(body[at : at + 2], "little") for at in (2, 4, 6)]
    place = 9 if version == 3 else 8
    name = body[place : place + lengths[0]]
    if name.rstrip(b"\0") != attribute.encode():
        return None
    unit = 8 if version == 1 else 1  # to which parts are filled up
    place += sum(-(-length // unit) * unit for length in lengths)
    data = body[place:]
    if version not in (1, 2, 3) or len(data) != STRING.itemsize:
        raise ValueError("no single string")
    string: tuple[int, int, int] = np.frombuffer(data, STRING)[0].item()
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


def _messages(file: IO[bytes], base: int, address: int) -> Iterator[tuple[int, bytes]]:
    """The messages of an object's header, but for shared ones."""
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


def _read(file: IO[bytes], offset: int, size: int) -> bytes:
    """Read a number of bytes; ValueError if there are fewer, or the number is too large."""
    file.seek(offset)
    data = file.read(size) if size <= _MAX_BYTES else b""
    if len(data) < size:
        raise ValueError("damaged")
    return data
