"""Which half of the set every frame goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camnorm.io.base.halves import halves_of, natural_order
from camnorm.measurement.source import Source

__all__ = ["Halves"]

_LETTERS = np.array(["A", "B"])


@dataclass(frozen=True)
class Halves:
    """Halves of the frames of a set: by file, or of a single file by frame."""

    source: Source
    of_files: npt.NDArray[np.intp] | None
    """0 or 1 for each file; None if a single file is split by frames."""

    @classmethod
    def of(cls, source: Source, is_used: Callable[[int], bool]) -> Halves:
        """Split the files of a source, in the natural order of their paths, in whatever order they are read.

        Parameters
        ----------
        source : Source
            The files. Those of which it is known that no frame was chosen take no part.
        is_used : callable
            Whether the file at a place can be used, as far as that is known.
        """
        files = [file for file in range(len(source.files)) if not source.chosen.without(file)]
        used = [file for file in files if is_used(file)]
        paths = [source.files[file].absolute() for file in used]
        numbers = natural_order(paths)
        if len(used) < 2 or not numbers.any():
            return cls(source, None)
        of_files = np.zeros(len(source.files), np.intp)
        of_files[used] = halves_of(numbers)
        return cls(source, of_files)

    def __call__(self, file: int, frames: Sequence[int], rows: int) -> npt.NDArray[np.str_]:
        """Return the half, "A" or "B", of some frames of a file that has a number of rows before it."""
        if self.source.halves is not None:
            # A file that cannot be read is of the half of its first frame.
            listed = self.source.halves[file]
            places = [len(self.source.chosen(file, frame + 1)) - 1 for frame in frames]
            return listed[np.maximum(places, 0)]
        if self.of_files is None:
            return _LETTERS[halves_of(np.arange(rows, rows + len(frames)))]
        return np.full(len(frames), _LETTERS[self.of_files[file]])

    def agree(self, frames: npt.NDArray[np.void]) -> bool:
        """Whether rows that an interrupted run has made have these halves."""
        if self.source.halves is not None:
            return True  # lists are compared as a whole
        if self.of_files is None:
            return np.array_equal(frames["half"], _LETTERS[halves_of(np.arange(frames.size))])
        paths = (str(path.absolute()) for path in self.source.files)
        letters = dict(zip(paths, _LETTERS[self.of_files].tolist(), strict=True))
        return bool([letters.get(file) for file in frames["file"]] == frames["half"].tolist())
