"""How far a run has come: what the functions that read many frames report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    stage: str
    """What is being done: "counting", "measuring", "screening", "correcting", "checking", "verifying"."""
    done: float
    """Files (with the part of one that is done), frames (screening, verifying) or checks done."""
    total: int
    """Files, frames or checks in all."""
    frames: int
    """Frames read so far."""
    bytes: int
    """Bytes of pixels read so far."""
    rejected: int
    """Frames, or files that could not be read, left out so far."""
