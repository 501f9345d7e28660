"""What the headers of a set's files tell: each is read once, when it is first asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from camnorm.errors import Error, raise_shortage
from camnorm.io.base.options import DEFAULTS, ReadOptions
from camnorm.io.base.registry import open_frames, row_order_by_name
from camnorm.io.base.rows import RowOrder
from camnorm.limits import PER_FILE, at_once

__all__ = ["Catalogue", "Entry"]

# Files, evenly over a set, whose headers are compared with the row order that their names suggest.
_FILES_LOOKED_INTO = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header of a file tells; see `FrameSource`."""

    format: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    count: int
    available: int
    camera: str
    others: tuple[Path, ...]
    """Other files that frames are read from."""
    row_order: RowOrder | None
    """As the file has it, whatever the options ask for."""
    hints: Mapping[str, Any]
    left_out: tuple[str, ...]
    """Other images in the file."""


class Catalogue:
    """The files of a set, and what their headers tell.

    Parameters
    ----------
    paths : sequence of path-like
        The files.
    options : ReadOptions
        How they are read.
    threads : int
        Number of threads that open files in `scan`; fewer if the limit of open files is too low.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], options: ReadOptions = DEFAULTS, threads: int = 1
    ) -> None:
        self.paths = [Path(path) for path in paths]
        self.options = options
        self._threads = threads
        self._known: dict[int, Entry | Error | OSError] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, numbers: Sequence[int]) -> Catalogue:
        """Return a catalogue of some of the files, with what is known of them."""
        part = Catalogue([self.paths[number] for number in numbers], self.options, self._threads)
        known = ((place, self._known.get(number)) for place, number in enumerate(numbers))
        part._known = {place: found for place, found in known if found is not None}
        return part

    def in_row_order(self, row_order: RowOrder | None) -> Catalogue:
        """Return a catalogue of the same files, read in a row order, with what is known of them."""
        same = Catalogue(self.paths, replace(self.options, row_order=row_order), self._threads)
        same._known = self._known
        return same

    def row_orders(self, fits: Callable[[Entry], bool]) -> Counter[RowOrder]:
        """Count the files of each row order, as far as it is known.

        By their names; if these differ, or are wrong for a few files that are looked into, by their headers.

        Parameters
        ----------
        fits : callable
            Whether a file belongs to the set: others do not count if headers are looked at.
        """
        if self.options.raw is not None:
            return Counter()
        orders = [row_order_by_name(path) for path in self.paths]
        step = max(1, len(self) // _FILES_LOOKED_INTO)
        looked_into = ((number, self.find(number)) for number in range(0, len(self), step))
        wrong = any(entry is not None and entry.row_order != orders[number] for number, entry in looked_into)
        if wrong or len({order for order in orders if order is not None}) > 1:
            orders = [entry.row_order for entry in self.scan() if entry is not None and fits(entry)]
        return Counter(order for order in orders if order is not None)

    def settled(self, options: ReadOptions) -> Catalogue:
        """Return a catalogue of the same files, read with options that were chosen by their headers.

        Parameters
        ----------
        options : ReadOptions
            As of `camnorm.io.base.settling.settle`. What is known of files that say the same, or nothing,
            stays known.
        """
        settled = Catalogue(self.paths, options, self._threads)
        settled._known = {
            number: found
            for number, found in self._known.items()
            if isinstance(found, Entry)
            and all(getattr(options, name) == hint for name, hint in found.hints.items())
        }
        return settled

    def entry(self, number: int) -> Entry:
        """Return what the header of the file at this place tells.

        Raises
        ------
        ResourceError
            The machine is short of something.
        Error, OSError
            The file cannot be opened.
        """
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._look(number)
        if isinstance(found, Entry):
            return found
        raise found

    def find(self, number: int) -> Entry | None:
        """Return the same, or None if the file cannot be opened."""
        try:
            return self.entry(number)
        except (Error, OSError) as error:
            raise_shortage(error)
            return None

    def scan(self, counted: Callable[[int], None] = lambda done: None) -> Iterator[Entry | None]:
        """Find all entries, in the order of the files.

        Parameters
        ----------
        counted : callable, optional
            Called with the number of files looked into so far.
        """
        executor = ThreadPoolExecutor(at_once(self._threads, PER_FILE), thread_name_prefix="camnorm-look")
        try:
            for done, found in enumerate(executor.map(self.find, range(len(self))), start=1):
                counted(done)
                yield found
        finally:
            executor.shutdown(cancel_futures=True)

    def _look(self, number: int) -> Entry | Error | OSError:
        path = self.paths[number]
        try:
            with open_frames(path, self.options) as source:
                others = tuple(file for file in source.files if file != path)
                return Entry(
                    source.format,
                    source.shape,
                    source.dtype,
                    source.count,
                    source.available,
                    source.camera,
                    others,
                    source.origin.row_order,
                    source.origin.hints,
                    source.origin.left_out,
                )
        except (Error, OSError) as error:
            raise_shortage(error)
            error.__traceback__ = None  # it is kept
            return error
