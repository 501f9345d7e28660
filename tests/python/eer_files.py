"""EER files, written electron by electron."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SHAPE = (24, 40)
CODINGS = {65000: (8, 2, 2), 65001: (7, 2, 2), 65002: (7, 1, 1)}

Electrons = Sequence[tuple[int, int, int]]
"""Pixel, and place in it along x and y in the finest pixels."""


def electrons_of(
    rate: float, seed: int, shape: tuple[int, int] = SHAPE, finest: tuple[int, int] = (4, 4)
) -> Electrons:
    rng = np.random.default_rng(seed)
    pixels = np.flatnonzero(rng.random(shape[0] * shape[1]) < rate)
    places = [rng.integers(0, n, len(pixels)) for n in finest]
    return list(zip(pixels.tolist(), places[0].tolist(), places[1].tolist(), strict=True))


def encode(electrons: Electrons, bits: tuple[int, int, int], pixels: int = SHAPE[0] * SHAPE[1]) -> bytes:
    """Words of 64 bits, as the camera writes them."""
    skip_bits, x_bits, y_bits = bits
    most = 2**skip_bits - 1
    stream, length, position = 0, 0, 0

    def put(value: int, count: int) -> None:
        nonlocal stream, length
        stream |= value << length
        length += count

    def skip_to(pixel: int) -> None:
        for _ in range((pixel - position) // most):
            put(most, skip_bits)
        put((pixel - position) % most, skip_bits)

    for pixel, x, y in electrons:
        skip_to(pixel)
        put(x ^ 2 ** (x_bits - 1), x_bits)
        put(y ^ 2 ** (y_bits - 1), y_bits)
        position = pixel + 1
    skip_to(pixels)
    return stream.to_bytes(-(-length // 64) * 8, "little")


def write_eer(
    path: Path,
    frames: Sequence[bytes],
    *,
    shape: tuple[int, int] = SHAPE,
    compression: int = 65001,
    bits: tuple[int, ...] | None = None,
    items: str | None = None,
    total: np.ndarray | None = None,
    strips: int = 1,
    changed: dict[int, dict[int, int]] | None = None,
) -> Path:
    """A BigTIFF file: the electrons of each page, then its directory.

    Bits are those of the tags, if any; tags of single pages may be changed.
    """
    body = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
    pointer = 8  # to the next directory

    def place(data: bytes) -> int:
        body.extend(bytes(-len(body) % 8))
        body.extend(data)
        return len(body) - len(data)

    def page(
        data: bytes, compression: int, tags: list[tuple[int, int, int, bytes]], changed: dict[int, int]
    ) -> None:
        nonlocal pointer
        cuts = [len(data) * i // strips // 8 * 8 for i in range(strips)] + [len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
        numbers = {256: shape[1], 257: shape[0], 258: 8, 259: compression, 262: 1, 277: 1, 278: shape[0]}
        numbers |= changed
        tags = tags + [(code, 3, 1, struct.pack("<H", value)) for code, value in numbers.items()]
        tags.append((273, 16, strips, b"".join(struct.pack("<Q", place(piece)) for piece in pieces)))
        tags.append((279, 16, strips, b"".join(struct.pack("<Q", len(piece)) for piece in pieces)))
        entries = b""
        for code, kind, count, value in sorted(tags):
            if len(value) > 8:
                value = struct.pack("<Q", place(value))
            entries += struct.pack("<HHQ8s", code, kind, count, value)
        struct.pack_into("<Q", body, pointer, place(struct.pack("<Q", len(tags)) + entries + bytes(8)))
        pointer = len(body) - 8

    about: list[tuple[int, int, int, bytes]] = []
    if items is not None:
        xml = f"<metadata>{items}</metadata>".encode()
        about = [(65001, 7, len(xml), xml)]
    if total is not None:
        page(total.tobytes(), 1, about, {})
        about = []
    coding = [(65007 + i, 3, 1, struct.pack("<H", value)) for i, value in enumerate(bits or ())]
    for index, data in enumerate(frames):
        page(data, compression, about + coding, (changed or {}).get(index, {}))
        about = []
    path.write_bytes(body)
    return path
