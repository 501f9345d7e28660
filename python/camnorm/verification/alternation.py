"""Whether kinds of files alternate, such as two channels: files of one kind have a pattern in common then.

The halves hold all kinds alike, and so do groups of test frames but for chance. So the frames are compared by
their places: do those whose places differ by a multiple of a period have more in common than others? For
independent frames no place is special. The p-value is that of a permutation test: how often frames in random
order would show as much, whatever their noise and scenes are (M. J. Anderson, Austral Ecology 26, 32 (2001)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import Finding
from camnorm.fourier.transforms import share

__all__ = ["MOST_FRAMES", "Alternation", "find_alternation", "reduced"]

MOST_FRAMES = 40
"""Frames that are compared, each reduced to some hundred thousand numbers."""

_PERIODS = range(2, 13)
_FEWEST_FRAMES = 12
_ORDERS, _AT_ONCE = 1_999, 500
_CHANCE = 1e-3
# Part of a frame's variance that frames of one kind share. Averages of 12 frames hardly show less.
_SHARED = 1e-3
_SIDE = 512
# Corrected pixels that are reduced at a time, while they are in the cache.
_AT_A_TIME = 2**18


@dataclass(frozen=True)
class Alternation:
    """Whether kinds of frames alternate.

    Attributes
    ----------
    period : int
        Distance between files (of a single file: frames) of one kind, the most conspicuous one; 0 if there
        were too few to compare.
    p : float
        Family-wise p over all periods from 2 to 12: how often chance gives as much. NaN if there were too
        few.
    shared : float
        What frames of one kind have in common that others have not, as a fraction of a frame's variance.
    frames : int
        Frames compared.
    of_files : bool
        Whether files alternate, or the frames of a single file.
    """

    period: int
    p: float
    shared: float
    frames: int
    of_files: bool

    @property
    def found(self) -> bool:
        """Whether kinds alternate: by chance in one of a thousand sets."""
        return self.p <= _CHANCE and self.shared > _SHARED

    def finding(self) -> Finding:
        """Put it into words."""
        items = "files" if self.of_files else "frames"
        left = 100 * math.sqrt(max(self.shared, 0.0))
        sentence = f"no kinds of {items} alternate."
        if math.isnan(self.p):
            sentence = f"too few {items} to tell whether kinds of them alternate."
        elif self.found:
            how = "Measure each kind by itself, and correct it with its own sensor file"
            if not self.of_files:
                how += f" (frames 0::{self.period}, 1::{self.period} and so on)"
            sentence = (
                f"Kinds of {items} alternate with a period of {self.period}, such as channels, or light and "
                "dark. "
                "Each kind has a pattern of its own, of which corrected frames keep "
                f"{left:.2g} % of a frame's standard deviation. {how}."
            )
        return Finding(
            "alternation",
            self.p,
            _CHANCE,
            f"chance gives a smaller p in one of 1000 sets whose {items} do not alternate",
            self.found,
            sentence,
            headline=f"kinds of {items} alternate, each with a pattern of its own.",
            remedy="Measure each kind separately.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {**asdict(self), "found": self.found}


def reduced(
    frames: npt.NDArray[Any],
    corrected: Callable[[npt.NDArray[Any], int], npt.NDArray[Any]],
    threads: int,
) -> list[list[npt.NDArray[np.float32]]]:
    """Reduce corrected frames to their central part, and to means over blocks: fine and coarse patterns.

    Parameters
    ----------
    frames : ndarray, shape (n, y, x) or (n, y, x, c)
        The frames as they are.
    corrected : callable
        Gets some rows of the frames and the number of the first row. Returns these, corrected; several
        threads may call it at once.
    threads : int
        Number of threads.

    Returns
    -------
    list of lists of float32 ndarray
        Of each frame, vectors of mean 0 and length 1 (or 0 if nothing varies).
    """
    count, height, width, *planes = frames.shape
    top, left = max(height - _SIDE, 0) // 2, max(width - _SIDE, 0) // 2
    factor = min(math.ceil(max(height, width) / _SIDE), height, width)
    centre = np.empty((count, min(height, _SIDE), min(width, _SIDE), *planes), np.float32)
    blocks = np.empty((count, height // factor, width // factor, *planes), np.float32)
    at_once = factor * max(1, _AT_A_TIME // (count * factor * width * math.prod(planes)))

    def reduce(_: int, piece: int) -> None:
        first, last = piece * at_once, min((piece + 1) * at_once, height)
        rows = corrected(frames[:, first:last], first)
        begin, end = max(first, top), min(last, top + centre.shape[1])
        if begin < end:
            centre[:, begin - top : end - top] = rows[:, begin - first : end - first, left : left + _SIDE]
        whole = (last - first) // factor
        if factor > 1 and whole:
            squares = rows[:, : whole * factor, : width // factor * factor]
            squares = squares.reshape(count, whole, factor, width // factor, factor, *planes)
            start = first // factor
            # Rows first: neighbours in memory are added in parallel.
            blocks[:, start : start + whole] = squares.mean(2).mean(3)

    share(-(-height // at_once), threads, reduce)
    parts = [centre, blocks] if factor > 1 else [centre]
    return [[_unit(part[number]) for part in parts] for number in range(count)]


def find_alternation(
    images: Iterable[Sequence[npt.NDArray[np.float32]]], places: Sequence[int], of_files: bool
) -> Alternation:
    """Compare frames by their places.

    Parameters
    ----------
    images : iterable
        What `reduced` gave of each frame.
    places : sequence of int
        Place of each among the files, or of a single file among its frames.
    of_files : bool
        Which of both.

    Returns
    -------
    Alternation
    """
    if len(places) < _FEWEST_FRAMES:
        return Alternation(0, math.nan, math.nan, len(places), of_files)
    # Bad pixels may be NaN or infinite in a sum, but are the same in all frames then.
    products = [_centred(np.nan_to_num(np.stack(part))) for part in zip(*images, strict=True)]
    numbers = np.array(places)
    same = np.stack([numbers[:, None] % period == numbers % period for period in _PERIODS])
    upper = np.triu(np.ones(same.shape[1:], bool), 1)
    alike, other = (same & upper), (~same & upper)
    usable = (alike.sum((1, 2)) > 0) & (other.sum((1, 2)) > 0)
    alike, other = alike[usable], other[usable]
    periods = np.array(_PERIODS)[usable]

    def weights(pairs: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.asarray(pairs.reshape(len(pairs), -1) / pairs.sum((1, 2))[:, None])

    contrast = weights(alike) - weights(other)
    rng = np.random.default_rng(0)
    orders = np.array([np.arange(numbers.size), *(rng.permutation(numbers.size) for _ in range(_ORDERS))])
    # (part, period, order): how much more those of one place have in common.
    found = np.stack([_compared(product, orders, contrast) for product in products])
    scores = found / np.maximum(found.std(2, keepdims=True), 1e-300)
    most = scores.max((0, 1))
    part, period = np.unravel_index(int(np.argmax(scores[:, :, 0])), scores.shape[:2])
    p = float(np.mean(most >= most[0] - 1e-12))
    return Alternation(int(periods[period]), p, float(found[part, period, 0]), numbers.size, of_files)


def _unit(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    vector = image.astype(np.float64).ravel()
    vector -= vector.mean()
    length = math.sqrt(float(vector @ vector))
    return np.asarray(vector / (length or 1.0), np.float32)


def _centred(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Inner products of all frames, without what all have in common."""
    centred = vectors - vectors.mean(0)
    return np.asarray(centred @ centred.T, np.float64)


def _compared(
    products: npt.NDArray[np.float64], orders: npt.NDArray[np.intp], contrast: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The contrasts between pairs of frames in each order, (period, order)."""
    found = []
    for first in range(0, len(orders), _AT_ONCE):
        some = orders[first : first + _AT_ONCE]
        found.append(contrast @ products[some[:, :, None], some[:, None, :]].reshape(len(some), -1).T)
    return np.concatenate(found, axis=1)
