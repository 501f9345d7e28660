"""Ways to damage a file."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

_EXTREMES = [
    0,
    1,
    -1,
    127,
    128,
    255,
    *(2**n - 1 for n in (15, 16, 31, 32, 63, 64)),
    *(2**n for n in (15, 31, 32, 40, 62, 63)),
]
_WORDS = [
    b"0",
    b"1",
    b"-1",
    b"65536",
    b"2147483647",
    b"4294967296",
    b"9223372036854775808",
    b"1e309",
    b"nan",
    b"",
    b"00000000000000000000001",
]

Files = Mapping[str, bytes]
"""Contents of a file, under the name "", or of the files of a directory."""


def mutate(files: Files, random_: random.Random, others: Sequence[bytes]) -> Files:
    """Damage one file."""
    name = random_.choice(sorted(files))
    if name and random_.random() < 0.1:
        return {other: data for other, data in files.items() if other != name}
    return {**files, name: damage(files[name], random_, others)}


def damage(data: bytes, random_: random.Random, others: Sequence[bytes]) -> bytes:
    """Damage what is in a file, in one of several ways."""
    ways: list[Callable[[bytearray, random.Random], bytearray]] = [
        _flip,
        _flip,
        _truncate,
        _extend,
        _swap_blocks,
        _set_extreme,
        _set_extreme,
        _set_word,
        partial(_splice, others),
    ]
    return bytes(random_.choice(ways)(bytearray(data), random_))


def _place(data: bytes | bytearray, random_: random.Random) -> int:
    """A place in a file: near its beginning, its end, or anywhere."""
    size = max(len(data), 1)
    near = min(size, random_.choice([64, 256, 1100, 4096]))
    return random_.choice(
        [
            random_.randrange(near),
            random_.randrange(near),
            size - 1 - random_.randrange(near),
            random_.randrange(size),
        ]
    )


def _flip(data: bytearray, random_: random.Random) -> bytearray:
    for _ in range(random_.randint(1, 4)):
        if data:
            data[_place(data, random_)] = random_.choice(
                [0, 1, 0x30, 0x39, 0x7F, 0x80, 0xFF, random_.randrange(256)]
            )
    return data


def _truncate(data: bytearray, random_: random.Random) -> bytearray:
    return data[: _place(data, random_)]


def _extend(data: bytearray, random_: random.Random) -> bytearray:
    more = random_.randrange(1, 5000)
    ends = [bytes(more), random_.randbytes(more), bytes(data[:more])]
    return data + random_.choice(ends)


def _swap_blocks(data: bytearray, random_: random.Random) -> bytearray:
    size = random_.choice([4, 16, 64, 512])
    a, b = sorted(_place(data, random_) for _ in range(2))
    if a + size <= b:
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def _set_extreme(data: bytearray, random_: random.Random) -> bytearray:
    size = random_.choice([2, 4, 4, 8])
    place = _place(data, random_) // 2 * 2
    value = random_.choice(_EXTREMES) % 2 ** (8 * size)
    data[place : place + size] = value.to_bytes(size, random_.choice(["little", "big"]))
    return data


def _set_word(data: bytearray, random_: random.Random) -> bytearray:
    """Replace a number that is written in digits."""
    found = list(re.finditer(rb"\d+", data[:8192]))
    if found:
        start, stop = random_.choice(found).span()
        data[start:stop] = random_.choice(_WORDS)
    return data


def _splice(others: Sequence[bytes], data: bytearray, random_: random.Random) -> bytearray:
    """The end of another file behind the beginning of this."""
    end = random_.choice(others)
    return data[: _place(data, random_)] + end[_place(end, random_) :]
