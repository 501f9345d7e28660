"""Lists of image files: STAR files of RELION, mdoc files of SerialEM, text files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PureWindowsPath

from camnorm.errors import Error

__all__ = ["InputFile", "below", "check_found", "expand_list_file", "find", "is_list", "read_text"]

_STAR_COLUMNS = ("_rlnMicrographMovieName", "_rlnMicrographName")
# Tomography of RELION 5: a STAR file of such files, one a tilt series.
_STAR_SERIES = "_rlnTomoTiltSeriesStarFile"
_STAR_WORD = re.compile(r"""'([^']*)'(?=\s|$)|"([^"]*)"(?=\s|$)|(#.*)|(\S+)""")
# A movie that stands alone in its row may lie in a folder named like this too.
_STAR_BLOCK = re.compile(r"data_[^./]*")

_MDOC_FRAMES = re.compile(r"^\s*SubFramePath\s*=\s*(.*\S)", re.MULTILINE)


@dataclass(frozen=True)
class InputFile:
    """One image file among the inputs."""

    path: Path
    """Where it is."""
    relative: Path
    """Where a result that is made from it goes, below the folder of results: never ``..`` or absolute."""
    lists: tuple[Path, ...] = ()
    """Lists, STAR and mdoc files that named it."""
    missing: str = ""
    """Of a file that a STAR or mdoc file names and that is not there: an error that says so."""


def is_list(path: Path) -> bool:
    """Whether a file is a STAR or mdoc file, by its name."""
    return path.suffix.lower() in (".star", ".mdoc")


def expand_list_file(path: Path, frames_dir: Path | None) -> Iterator[InputFile]:
    """Tell the files that a STAR or mdoc file names, also those that are not there.

    Parameters
    ----------
    path : pathlib.Path
        The STAR or mdoc file.
    frames_dir : pathlib.Path, optional
        Folder in which they are looked for first: by their names, then by the ends of their paths.
    """
    if frames_dir is not None and not frames_dir.is_dir():
        raise Error(f"{frames_dir}: no such directory; frames_dir=DIR says where the files of {path} are")
    return (
        _expand_mdoc(path, frames_dir) if path.suffix.lower() == ".mdoc" else _expand_star(path, frames_dir)
    )


def check_found(files: Iterable[InputFile]) -> None:
    """Raise Error if STAR and mdoc files name files of which not a single one is there."""
    missing = []
    for file in files:
        if file.missing:
            missing.append(file.missing)
        elif any(map(is_list, file.lists)):
            return
    if missing:
        more = f" (nor are {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise Error(f"{missing[0]}{more}; use frames_dir=DIR to say where they are")


def find(name: str, folders: Iterable[Path]) -> Path:
    """Where a file is: from the current directory, or else from one of these."""
    candidates = [name, *(os.path.join(folder, name) for folder in folders)]
    return Path(next(filter(os.path.exists, candidates), name))


def below(path: PurePath) -> Path:
    """The part of a relative path that results keep: what is left if no step leads upwards."""
    parts = Path(os.path.normpath(path)).parts
    return Path(*(part for part in parts if part != ".."))


def read_text(path: Path, errors: str = "strict") -> str:
    """Text of a list."""
    try:
        return path.read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError:
        raise Error(f"{path}: not a text file") from None
    except OSError as error:
        raise Error(f"{path}: {error.strerror}") from error


def _find_end(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The shortest end of a path that leads to a file from a folder."""
    ends = (Path(*parts[first:]) for first in reversed(range(len(parts))))
    return next((end for end in ends if os.path.exists(folder / end)), None)


def _check_name(name: str, message: str) -> str:
    """The message on a file that is missing; Error if no file can have its name."""
    if "\0" in name:
        raise Error(message)
    return message


def _expand_star(path: Path, frames_dir: Path | None) -> Iterator[InputFile]:
    table = _star_table(path)
    if _STAR_SERIES not in table:
        yield from _star_images(path, table, frames_dir)
    for name in table.get(_STAR_SERIES, []):
        series = _find_from(path, name)
        if not os.path.exists(series):
            raise Error(f"{name}: no such file, named by {path}")
        for file in _star_images(series, _star_table(series), frames_dir):
            yield replace(file, lists=(path, *file.lists))


def _find_from(star: Path, name: str) -> Path:
    return find(name, (star.parent, *star.absolute().parent.parents))


def _star_images(path: Path, table: dict[str, list[str]], frames_dir: Path | None) -> Iterator[InputFile]:
    column = next((column for column in _STAR_COLUMNS if column in table), None)
    if column is None:
        raise Error(f"{path}: this STAR file has no {' or '.join(_STAR_COLUMNS)}")
    for name in dict.fromkeys(table[column]):  # a micrograph may stand in it once a particle
        given = Path(name)
        end = None if frames_dir is None else _find_end(frames_dir, given.relative_to(given.anchor).parts)
        file = _find_from(path, name) if frames_dir is None or end is None else frames_dir / end
        missing = "" if os.path.exists(file) else _check_name(name, f"{name}: no such file, named by {path}")
        yield InputFile(file, Path(file.name) if given.is_absolute() else below(given), (path,), missing)


def _star_table(path: Path) -> dict[str, list[str]]:
    """Values of the columns of all tables of a STAR file."""
    values: dict[str, list[str]] = {}
    columns: list[str] = []
    in_loop = in_head = False
    for number, line in enumerate(read_text(path).splitlines(), 1):
        matches = (match.groups("") for match in _STAR_WORD.finditer(line))
        words = [single or double or bare for single, double, comment, bare in matches if not comment]
        if not words:
            continue
        if len(words) == 1 and (words[0] == "loop_" or _STAR_BLOCK.fullmatch(words[0])):
            columns = []
            in_loop = in_head = words[0] == "loop_"
        elif words[0].startswith("_") and in_head:
            columns.append(words[0])
        elif words[0].startswith("_") and not in_loop:
            values.setdefault(words[0], []).extend(words[1:2])
        elif len(words) != len(columns):
            raise Error(f"{path}, line {number}: {len(words)} values for {len(columns)} columns")
        else:
            in_head = False
            for column, word in zip(columns, words, strict=True):
                values.setdefault(column, []).append(word)
    return values


def _expand_mdoc(path: Path, frames_dir: Path | None) -> Iterator[InputFile]:
    names = _MDOC_FRAMES.findall(read_text(path, errors="replace"))
    if not names:
        raise Error(f"{path}: this mdoc file names no frames (SubFramePath)")
    folders = [path.parent, *path.absolute().parent.parents]
    if frames_dir is not None:
        folders.insert(0, frames_dir)
    # Where the files of a folder of the microscope's computer were found, and the end of its path.
    known: dict[PurePath, tuple[Path, Path]] = {}
    for name in names:
        windows = PureWindowsPath(name)
        folder, end = known.get(windows.parent, (path.parent, Path()))
        if windows.parent not in known or not os.path.exists(folder / end / windows.name):
            parts = windows.relative_to(windows.anchor).parts
            places = ((folder, _find_end(folder, parts)) for folder in folders)
            folder, found = next((place for place in places if place[1] is not None), (path.parent, None))
            if found is None:
                message = f"{windows.name}: no such file beside {path}, which names it {name}"
                missing = _check_name(name, message)
                yield InputFile(path.parent / windows.name, Path(windows.name), (path,), missing)
                continue
            known[windows.parent] = folder, found.parent
            end = found.parent
        yield InputFile(folder / end / windows.name, below(end / windows.name), (path,))
