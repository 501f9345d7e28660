"""Pixels of 4 bits, two in a byte: the left one in the low bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 2**16  # bytes at a time, whose pixels stay in the cache


def unpack(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """Spread bytes, signed or not, of shape (..., x) to pixels of shape (..., 2 x)."""
    pixels: NDArray[np.uint8] = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.uint8)
    pairs = pixels.reshape(-1).view("<u2")  # the low byte comes first in memory
    data = packed.reshape(-1).view(np.uint8)
    shifted: NDArray[Any] = np.empty(min(_BLOCK, data.size), "<u2")
    for start in range(0, data.size, _BLOCK):
        block = pairs[start : start + _BLOCK]
        high = shifted[: block.size]
        block[...] = data[start : start + _BLOCK]
        np.left_shift(block, 4, out=high)
        np.bitwise_or(block, high, out=block)
        np.bitwise_and(block, 0x0F0F, out=block)
    return pixels
