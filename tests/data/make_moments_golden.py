"""Write moments_golden.bin: saved moments by the format's documentation, in integers and bit by bit."""

from __future__ import annotations

import struct
from pathlib import Path

HEIGHT, WIDTH, COUNT = 5, 6, 9
UINT16 = 2


def pixel(frame: int, y: int, x: int) -> int:
    return (7919 * frame + 104729 * y * x + 31 * x + frame * y) % 4001


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_checksum(data: bytes) -> bytes:
    return data + struct.pack("<I", crc32c(data))


def golden() -> bytes:
    vectors = [[pixel(frame, y, x) for frame in range(COUNT)] for y in range(HEIGHT) for x in range(WIDTH)]
    header = struct.pack("<8sIBBBB4Q12x", b"camnorm", 1, 0, UINT16, 2, 0, HEIGHT, WIDTH, 1, COUNT)
    sums = struct.pack(f"<{len(vectors)}q", *(sum(v) for v in vectors))
    squares = struct.pack(f"<{len(vectors)}Q", *(sum(x * x for x in v) for v in vectors))
    return with_checksum(header) + with_checksum(sums + squares)


if __name__ == "__main__":
    Path(__file__).with_name("moments_golden.bin").write_bytes(golden())
