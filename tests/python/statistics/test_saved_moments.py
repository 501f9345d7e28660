"""Moments as bytes: what the format says, byte for byte, and everything else refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from camnorm import PixelMoments

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]
HEADER = 64
DATA = Path(__file__).parents[2] / "data"


def crc32c(data: bytes) -> int:
    """CRC-32C by its definition, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def written(m: PixelMoments) -> bytes:
    """The bytes as camnorm/state.hpp documents them, from the state."""
    state = m.state()
    kind = 0 if "sum" in state else 1
    names = ["sum", "sum_of_squares"]
    if kind == 1:
        names = ["sum_high", "sum_low", "sum_of_squares_high", "sum_of_squares_low"]
    shape = (*m.shape, 1)[:3]
    header = struct.pack(
        "<8sIBBBB4Q12x",
        b"camnorm",
        1,
        kind,
        DTYPES.index(m.dtype.name),
        len(m.shape),
        0,
        *shape,
        m.count,
    )
    sums = b"".join(state[name].astype(state[name].dtype.newbyteorder("<")).tobytes() for name in names)
    return header + struct.pack("<I", crc32c(header)) + sums + struct.pack("<I", crc32c(sums))


def some_moments(dtype: str, shape: tuple[int, ...], count: int = 3) -> PixelMoments:
    rng = np.random.default_rng(1)
    m = PixelMoments(shape, dtype)
    if count:
        m.add(rng.normal(60, 20, (count, *shape)).clip(0, 120).astype(dtype))
    return m


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 3, 3), (4, 2, 1), (23, 41)])
@pytest.mark.parametrize("count", [0, 3])
def test_the_bytes_are_those_of_the_format(dtype: str, shape: tuple[int, ...], count: int) -> None:
    m = some_moments(dtype, shape, count)
    data = m.to_bytes()
    assert data == written(m)
    for kept in (data, bytearray(data), memoryview(data)):
        again = PixelMoments.from_bytes(kept)
        assert again.shape == shape
        assert again.dtype == dtype
        assert again.count == count
        assert again.to_bytes() == data
        for name, part in m.state().items():
            np.testing.assert_array_equal(again.state()[name], part)


def test_the_golden_file() -> None:
    """A file that make_moments_golden.py wrote; of version 1, which later versions must read too."""
    frame, y, x = np.ogrid[:9, :5, :6]
    frames = ((7919 * frame + 104729 * y * x + 31 * x + frame * y) % 4001).astype(np.uint16)
    m = PixelMoments((5, 6), np.uint16)
    m.add(frames)
    golden = (DATA / "moments_golden.bin").read_bytes()
    assert m.to_bytes() == golden
    np.testing.assert_array_equal(PixelMoments.from_bytes(golden).mean(), m.mean())


def test_what_comes_out_of_bytes_goes_on() -> None:
    frames = np.random.default_rng(2).integers(0, 256, (6, 7, 9), np.uint8)
    whole = PixelMoments((7, 9), np.uint8)
    whole.add(frames)
    first = PixelMoments((7, 9), np.uint8)
    first.add(frames[:4])
    again = PixelMoments.from_bytes(first.to_bytes())
    again.add(frames[4:])
    assert again.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_truncated_and_damaged_bytes_are_refused(dtype: str) -> None:
    data = some_moments(dtype, (3, 4)).to_bytes()
    for size in range(len(data)):
        with pytest.raises(ValueError, match="no saved moments"):
            PixelMoments.from_bytes(data[:size])
    with pytest.raises(ValueError, match="not those of frames"):
        PixelMoments.from_bytes(data + b"\0")
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        with pytest.raises(ValueError, match="no saved moments"):
            PixelMoments.from_bytes(damaged)


def test_another_version_is_named() -> None:
    data = bytearray(some_moments("uint8", (3, 4)).to_bytes())
    data[8] = 2
    with pytest.raises(ValueError, match="version 2, not 1"):
        PixelMoments.from_bytes(data)


def test_sizes_are_not_trusted() -> None:
    data = bytearray(some_moments("uint8", (3, 4)).to_bytes())
    struct.pack_into("<Q", data, 16, 2**62 + 3)  # times 4 it is 12 again, in 64 bits
    struct.pack_into("<I", data, HEADER - 4, crc32c(data[: HEADER - 4]))
    with pytest.raises(ValueError, match="not those of frames"):
        PixelMoments.from_bytes(data)


def test_what_is_no_buffer() -> None:
    with pytest.raises(TypeError):
        PixelMoments.from_bytes("camnorm")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        PixelMoments.from_bytes(memoryview(some_moments("uint8", (3, 4)).to_bytes())[::2])
