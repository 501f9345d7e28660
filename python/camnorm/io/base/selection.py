"""Which frames of a set of files are taken."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.halves import halves_of, natural_order
from camnorm.progress import Progress

_SEED = 0
_SHUFFLED = 2**24  # frames of a file, whose numbers take 128 MB


@dataclass(frozen=True)
class Selection:
    """Which frames of a set of files are taken: a slice of each file, of these a sample.

    Parameters
    ----------
    frames : str, optional
        START:STOP or START:STOP:STEP, a slice of the frames of every file as in Python: ``"3:20"``,
        ``"1:"``, ``":-2"``, ``"::4"``. By default all.
    every : int
        Every N-th of these frames, from the first on and counted through all files in their order:
        of files with one frame, every N-th file.
    max_frames : int, optional
        At most this many of those frames, chosen at random and spread over the files: as many of each as
        of any other, as far as they go. The choice is the same for the same files in the same order.

    Raises
    ------
    ValueError
        `frames` is no such slice, or one that runs backwards; a number is less than 1.
    """

    frames: str | None = None
    every: int = 1
    max_frames: int | None = None

    def __post_init__(self) -> None:
        slice_form = r"(-?\d{1,18})?:(-?\d{1,18})?(:0{,9}[1-9]\d{,17})?"
        if self.frames is not None and not re.fullmatch(slice_form, self.frames):
            raise ValueError(f"frames must be START:STOP or START:STOP:STEP, as in 3:20, not {self.frames!r}")
        if self.every < 1:
            raise ValueError(f"every must be at least 1, not {self.every}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, not {self.max_frames}")

    @cached_property
    def as_slice(self) -> slice:
        """The frames of every file that `frames` names."""
        return slice(*(int(part) if part else None for part in (self.frames or ":").split(":")))

    def choose(self, catalogue: Catalogue, counted: Callable[[int], None] = lambda done: None) -> Chosen:
        """Choose frames of files; these are looked into if the choice depends on how many they hold.

        Parameters
        ----------
        catalogue : Catalogue
            The files.
        counted : callable, optional
            Called with the number of files looked into so far.

        Returns
        -------
        Chosen
        """
        if self.every == 1 and self.max_frames is None:
            return Chosen(self)
        found: list[Sequence[int] | None] = []
        seen = 0
        for entry in catalogue.scan(counted):
            frames: range | None = None
            if entry is not None:
                # The frames that `frames` names, as far as they are in the file.
                named = range(entry.count)[self.as_slice]
                named = named[: bisect_left(named, entry.available)]
                first = -seen % self.every
                seen += len(named)
                frames = named[first :: self.every]
            found.append(frames)
        if self.max_frames is not None:
            _thin_out(found, self.max_frames, catalogue)
        return Chosen(self, found)


class Chosen:
    """The frames chosen of each of a sequence of files.

    Parameters
    ----------
    selection : Selection
        By which they were chosen.
    found : list, optional
        Of each file the frames, or None if it could not be opened. By default the selection's slice.
    """

    def __init__(self, selection: Selection, found: list[Sequence[int] | None] | None = None) -> None:
        self._selection = selection
        self._found = found
        self._left_out: Sequence[Callable[[int], bool]] | None = None

    def leaving_out(self, left_out: Sequence[Callable[[int], bool]]) -> Chosen:
        """Return the same choice without some frames.

        Parameters
        ----------
        left_out : sequence of callable
            Of each file, whether the frame of a number is left out.
        """
        chosen = Chosen(self._selection, self._found)
        chosen._left_out = left_out
        return chosen

    def __call__(self, file: int, count: int) -> Sequence[int]:
        """Tell the frames of the file at this place, which holds `count` frames; ascending."""
        known = None if self._found is None else self._found[file]
        frames: Sequence[int]
        if known is None:  # all need not be known, or it could not be opened before
            frames = range(count)[self._selection.as_slice][:: self._selection.every]
        else:
            frames = known[: bisect_left(known, count)]  # should the file have changed since
        if self._left_out is None:
            return frames
        left = [frame for frame in frames if not self._left_out[file](frame)]
        return frames if len(left) == len(frames) else left

    @property
    def everything(self) -> bool:
        """Whether all frames of all files were chosen."""
        return self._selection == Selection()

    def without(self, file: int) -> bool:
        """Whether it is known that no frame of this file was chosen."""
        known = None if self._found is None else self._found[file]
        return known is not None and not known


ALL = Chosen(Selection())


def _thin_out(found: list[Sequence[int] | None], most: int, catalogue: Catalogue) -> None:
    """Keep at most `most` frames, chosen at random, about as many from each file."""
    files = [file for file, frames in enumerate(found) if frames]
    counts = np.array([len(found[file] or ()) for file in files])
    if counts.sum() <= most:
        return
    level = bisect_right(range(counts.max()), most, key=lambda n: int(np.minimum(counts, n).sum())) - 1
    quotas = np.minimum(counts, level)
    rng = np.random.default_rng(_SEED)
    # One more of some, by turns of files that will be in half A and in half B.
    halves = halves_of(natural_order([catalogue.paths[file] for file in files]))
    more = rng.permutation(np.flatnonzero(counts > level))
    turn = np.empty(more.size, int)
    for half in (0, 1):
        its = halves[more] == half
        turn[its] = 2 * np.arange(np.count_nonzero(its)) + half
    quotas[more[np.argsort(turn)][: most - quotas.sum()]] += 1
    for file, quota in zip(files, quotas.tolist(), strict=True):
        frames = found[file] or ()
        if len(frames) > _SHUFFLED:
            places = rng.choice(len(frames), quota, replace=False)
        else:
            places = rng.permutation(len(frames))[:quota]
        found[file] = [frames[place] for place in np.sort(places).tolist()]


def runs(frames: Sequence[int]) -> list[tuple[int, int]]:
    """First frame of each run of consecutive frames, and the one after its last."""
    if isinstance(frames, range) and frames.step == 1:  # as a rule, and much quicker
        return [(frames.start, frames.stop)] if frames else []
    array = np.asarray(frames)
    parts = np.split(array, np.flatnonzero(np.diff(array) != 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts if part.size]


def choose_frames(
    catalogue: Catalogue, selection: Selection, progress: Callable[[Progress], None] | None
) -> Chosen:
    """Choose frames of files, and report how many of these have been looked into for it."""

    def counted(done: int) -> None:
        if progress is not None:
            progress(Progress("counting", done, len(catalogue), 0, 0, 0))

    return selection.choose(catalogue, counted)
