"""Movies that are among the files of a set more than once: each is counted once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.errors import Error, raise_shortage
from camnorm.io.base.catalogue import Catalogue, Entry
from camnorm.io.base.inputs import exposure_of
from camnorm.io.base.registry import is_image_name, open_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Copy", "describe_copies", "find_copies", "without_copies"]

# Of a movie in several formats the first of these is kept: the camera's own, then what is read fastest.
_PREFERRED = ("EER", "MRC", "TIFF")


@dataclass(frozen=True)
class Copy:
    """A file that is left out, since another has the same movie."""

    path: Path
    kept: Path
    """The file that counts."""
    relation: str
    """What the file is to the one that counts."""

    def __str__(self) -> str:
        if self.path == self.kept:
            return f"{self.path} is named twice"
        kept = self.kept.name if self.kept.parent == self.path.parent else self.kept
        return f"{self.path} is {self.relation} {kept}"


def describe_copies(copies: Sequence[Copy]) -> str:
    """What was left out, in words."""
    first, several = copies[0], len(copies) > 1
    return (
        f"{len(copies)} file{'s' * several} left out, since each movie counts once "
        f"({first}{', ...' * several})"
    )


def without_copies(catalogue: Catalogue) -> tuple[Catalogue, list[Copy]]:
    """Leave out files whose movie another file of the set has too.

    Parameters
    ----------
    catalogue : Catalogue
        The files.

    Returns
    -------
    catalogue : Catalogue
        Of the files that count, in their order.
    copies : list of Copy
        The others.
    """
    found = find_copies(catalogue)
    if not found:
        return catalogue, []
    kept = [number for number in range(len(catalogue)) if number not in found]
    return catalogue.part(kept), [found[number] for number in sorted(found)]


def find_copies(catalogue: Catalogue) -> dict[int, Copy]:
    """Find files whose movie another file of the set has too.

    These are links, hard links and files named twice, of which one that is no link is kept; and, within a
    folder, the EER file and the fractions of one exposure (``X_EER.eer``, ``X_Fractions.mrc``), and files of
    one name in several formats (``X.mrc``, ``X.tif``) that have as many frames of the same shape and the same
    first frame. Of those the EER file is kept, or else MRC, TIFF, the first named. Files of one name that
    differ, such as a movie and its sum, are no copies.

    Returns
    -------
    dict
        The copies, by their places in the catalogue.
    """
    copies: dict[int, Copy] = {}
    paths = catalogue.paths

    def leave_out(numbers: Iterable[int], kept: int, relation: str) -> None:
        copies.update({number: Copy(paths[number], paths[kept], relation) for number in numbers})

    for same in _groups((number, _identity(path)) for number, path in enumerate(paths)):
        kept = min(same, key=lambda number: (paths[number].is_symlink(), number))
        leave_out((number for number in same if number != kept), kept, "the same file as")
    if catalogue.options.raw is not None:  # names say nothing of bare pixels
        return copies
    named = ((number, _name(path)) for number, path in enumerate(paths) if number not in copies)
    for alike in _groups(named):
        entries = {number: entry for number in alike if (entry := catalogue.find(number)) is not None}
        ranked = sorted(entries, key=lambda number: _rank(entries[number], number))
        while ranked:
            kept, *others = ranked
            again = [
                number
                for number in others
                if _is_exposure(paths[kept], paths[number])
                or _is_converted(catalogue, (kept, number), entries)
            ]
            leave_out(again, kept, "of the same exposure as")
            ranked = [number for number in others if number not in again]
    return copies


def _groups(pairs: Iterable[tuple[int, Any]]) -> Iterator[list[int]]:
    """Numbers that have the same key, if it is not None, and are several."""
    found: dict[Any, list[int]] = {}
    for number, key in pairs:
        if key is not None:
            found.setdefault(key, []).append(number)
    return (numbers for numbers in found.values() if len(numbers) > 1)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _name(path: Path) -> tuple[Path, str]:
    """Folder and name of a movie, whatever its format."""
    if (exposure := exposure_of(path)) is not None:
        return path.parent, exposure
    name = path.name
    while is_image_name(name):  # twice for m.mrc.gz
        name = Path(name).stem
    return path.parent, name.lower()


def _rank(entry: Entry, number: int) -> tuple[int, int, int]:
    preferred = _PREFERRED.index(entry.format) if entry.format in _PREFERRED else len(_PREFERRED)
    return preferred, -entry.available, number


def _is_exposure(one: Path, other: Path) -> bool:
    """Whether both files bear the names of one exposure, as EER and as fractions, or both as fractions."""
    exposure = exposure_of(one)
    return exposure is not None and exposure == exposure_of(other)


def _is_converted(catalogue: Catalogue, numbers: tuple[int, int], entries: dict[int, Entry]) -> bool:
    """Whether two files of one name hold the same frames, or EER frames that are grouped otherwise."""
    one, other = (entries[number] for number in numbers)
    if one.shape != other.shape:
        return False
    if (one.format == "EER") != (other.format == "EER"):
        return min(one.count, other.count) > 1
    if one.count != other.count:
        return False
    try:
        a, b = (_first_frame(catalogue, number) for number in numbers)
    except (Error, OSError) as error:
        raise_shortage(error)
        return False
    return np.array_equal(a, b) or np.array_equal(a, b[::-1])  # whichever row comes first


def _first_frame(catalogue: Catalogue, number: int) -> NDArray[Any]:
    options = replace(catalogue.options, gain=None, defects=None, row_order=None)
    with open_frames(catalogue.paths[number], options) as source:
        frame: NDArray[Any] = source.read(0)[0]
        return frame
