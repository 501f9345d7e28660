"""The sum of the corrected frames of a file, formed in float64 and rounded once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.application.blocks import Block, Blocks, Buffer, read_block
from camnorm.application.team import Team
from camnorm.correction.correction import Correction


def sum_corrected(
    blocks: Blocks,
    correction: Correction,
    team: Team,
    threads: int,
    seen: Callable[[npt.NDArray[Any], int], None],
) -> npt.NDArray[np.float64]:
    """Sum of the corrected frames: by Eq. (2), their number times the corrected mean.

    Parameters
    ----------
    blocks, correction, team, threads
        Frames, and who corrects them how.
    seen : callable
        Called with the rows of frames of each block, and the place of its first frame.

    Returns
    -------
    float64 ndarray, shape (1, y, x) or (1, y, x, c)
    """
    mean = sum_of(blocks, team, threads, seen)[np.newaxis]
    mean /= len(blocks.frames)
    correction.apply(mean, out=mean, threads=threads)
    mean *= len(blocks.frames)
    return mean


def sum_of(
    blocks: Blocks,
    team: Team,
    threads: int,
    seen: Callable[[npt.NDArray[Any], int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Sum of the frames as they are read.

    Parameters
    ----------
    blocks, team, threads, seen
        As of `sum_corrected`.

    Returns
    -------
    float64 ndarray, shape of a frame
    """
    source = blocks.source
    sums = np.zeros(source.shape)
    # Whole frames are added to the same pixels, parts of rows each to their own.
    adding = threading.Lock() if source.offsets is None else nullcontext()

    def add(part: Sequence[Block], into: Buffer, out: Buffer) -> None:
        for block in part:
            frames = read_block(source, block, into)
            if seen is not None:
                seen(frames, block.place)
            with adding:
                _core.add_frames(frames, sums[block.first_row : block.last_row], 1)

    team.share(blocks.to_add(), add, threads)
    return sums


def saturated(total: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], int]:
    """Round a sum to a float type; also the number of pixels that lay beyond its range."""
    with np.errstate(over="ignore"):
        rounded = total.astype(dtype)
    beyond = np.isinf(rounded) & np.isfinite(total)
    rounded[beyond] = np.copysign(np.finfo(rounded.dtype).max, total[beyond])
    return rounded, int(np.count_nonzero(beyond))
