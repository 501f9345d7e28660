"""How work is divided: sizes that change memory and time, never a corrected image or a sum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

__all__ = ["Sizes", "divided", "sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes by which the work is divided. Bytes are those of pixels, unless said otherwise."""

    chunk_bytes: int = 64 * 2**20
    """Held by all chunks of a stream together, unless the frames are so large that one is more."""
    stored_chunk_bytes: int = 256 * 2**20
    """In a chunk of frames that stay in their file, and take no memory."""
    added_bytes: int = 64 * 2**20
    """Added to the sums in one go, of frames in memory."""
    stored_bytes: int = 16 * 2**30
    """Added to the sums in one go, of frames in files, which are read by blocks of pixels."""
    taken_back_bytes: int = 64 * 2**20
    """Taken back from the sums in one go: they are in memory twice."""
    open_files: int = 512
    """Files that may be open at a time for chunks that wait."""
    small_sums_bytes: int = 32 * 2**20
    """Sums of at most this size are compared at every share of the set."""
    read_by_sums: float = 4.0
    """Larger sums are compared once this multiple of their bytes has been read."""
    checkpoint_seconds: float = 5.0
    """Least time between checkpoints."""
    checkpoint_share: float = 30.0
    """Least time between checkpoints, in multiples of the time that writing the last took."""
    block_bytes: int = 8 * 2**20
    """Read and written in one go by a thread that corrects: they stay in its cache."""
    block_frames: int = 8
    """Frames corrected together, so that the mean and the sigma image are read once for all of them."""
    block_values: int = 2**16
    """Values of an image that a check looks at in one go: they stay in the cache."""
    drift_pixels: int = 2**19
    """Most pixels whose drift is measured: of larger frames, rows evenly spread."""
    hit_pixels: int = 2**20
    """Pixels in which hits are looked for: of larger frames, bands evenly spread."""
    correlation_grid: int = 256
    """Sides of the grid of blocks in which correlations of neighbouring pixels are looked for."""
    busy_seconds: float = 60.0
    """Longest wait for a result that another process is writing."""


_in_use = Sizes()


def sizes() -> Sizes:
    """Sizes in use."""
    return _in_use


@contextmanager
def divided(**changes: float) -> Iterator[None]:
    """Use other sizes within a block, in all threads.

    Parameters
    ----------
    **changes : int or float
        Fields of `Sizes`.
    """
    global _in_use
    before = _in_use
    _in_use = replace(before, **changes)  # type: ignore[arg-type]
    try:
        yield
    finally:
        _in_use = before
