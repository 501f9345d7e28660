"""What the user names as input, as a list of image files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import Error
from .registry import format_names, is_image_directory, is_image_name, is_result

_STAR_COLUMNS = ("_rlnMicrographMovieName", "_rlnMicrographName")
_STAR_WORD = re.compile(r"""'([^']*)'(?=\s|$)|"([^"]*)"(?=\s|$)|(\S+)""")


@dataclass(frozen=True)
class InputFile:
    """One image file among the inputs."""

    path: Path
    """Where it is."""
    relative: Path
    """Where a result that is made from it goes, below the folder of results."""


def expand_inputs(inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[InputFile]:
    """List the image files that the user named.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Each of them is one of

        - a file (a Zarr store counts as one). Results are written under its name;
        - a directory: all files in it and below whose suffix is that of an image format, sorted. Hidden
          files and directories are passed over, and so are sensor files; links to directories are not
          followed. Results keep the path below the directory;
        - a pattern of `glob` that is not the name of a file: all files that match, sorted; ``**`` also
          matches any number of directories. Results keep the path from the first wildcard on;
        - ``@list.txt``: a text file with one input of these kinds a line. Blank lines and lines that start
          with ``#`` are passed over;
        - a STAR file (``.star``) with a column ``_rlnMicrographMovieName``, or else
          ``_rlnMicrographName``. Results keep the path that the STAR file gives, as RELION does.

        What a list or a STAR file names is looked for from the current directory, then from the directory
        of the list or STAR file.

    Returns
    -------
    list of InputFile
        In the order of the inputs. A file named twice is listed twice.

    Raises
    ------
    Error
        There is no such file, or nothing in what was named.
    """
    named = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    files = [file for name in named for file in _expand(os.fspath(name))]
    if not files:
        raise Error("no input files were given")
    return files


def _expand(name: str, folder: Path | None = None) -> Iterator[InputFile]:
    """Files that one input names; one out of a list may be relative to the list's folder."""
    if not name:  # as a path it would be the current directory
        raise Error("the name of an input is empty")
    if name.startswith("@") and folder is None:
        yield from _expand_list(Path(name[1:]))
        return
    path = _find(name, folder)
    if path.is_dir() and not is_image_directory(path):
        yield from _expand_directory(path)
    elif path.exists():
        yield from _expand_star(path) if path.suffix.lower() == ".star" else [_plain(path)]
    elif glob.has_magic(name):
        yield from _expand_pattern(name, folder)
    else:
        raise Error(f"{name}: no such file")


def _find(name: str, folder: Path | None) -> Path:
    path = Path(name)
    if folder is None or path.exists():
        return path
    return folder / path


def _plain(path: Path) -> InputFile:
    return InputFile(path, Path(path.name))


def _expand_directory(directory: Path) -> list[InputFile]:
    found: list[Path] = []
    for parent, folders, names in os.walk(directory):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        stores = [folder for folder in folders if is_image_directory(Path(parent, folder))]
        found += [Path(parent, folder) for folder in stores]
        folders[:] = [folder for folder in folders if folder not in stores]
        paths = (Path(parent, name) for name in names if not name.startswith(".") and is_image_name(name))
        found += [path for path in paths if path.is_file() and not is_result(path)]
    if not found:
        raise Error(f"{directory}: no images in this directory ({format_names()})")
    return [InputFile(path, path.relative_to(directory)) for path in sorted(found)]


def _expand_pattern(pattern: str, folder: Path | None) -> list[InputFile]:
    for root in (Path(), folder or Path()):
        found = sorted(root / name for name in glob.glob(pattern, root_dir=root, recursive=True))
        files = [path for path in found if path.is_file() or is_image_directory(path)]
        if files:
            parts = Path(pattern).parts
            fixed = next(count for count, part in enumerate(parts) if glob.has_magic(part))
            base = root.joinpath(*parts[:fixed])
            return [InputFile(path, path.relative_to(base)) for path in files]
    raise Error(f"{pattern}: no file matches this pattern")


def _expand_list(path: Path) -> Iterator[InputFile]:
    lines = [line.strip() for line in _text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise Error(f"{path}: this list names no files")
    for name in names:
        yield from _expand(name, path.parent)


def _expand_star(path: Path) -> list[InputFile]:
    files = []
    for name in _star_column(path):
        file = _find(name, path.parent)
        if not file.exists():
            raise Error(f"{name}: no such file, named by {path}")
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        files.append(InputFile(file, Path(name)) if inside else _plain(file))
    return files


def _star_column(path: Path) -> list[str]:
    """Values of the first of _STAR_COLUMNS that any table of a STAR file has."""
    values: dict[str, list[str]] = {}
    columns: list[str] = []
    in_loop = False
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = [single or double or bare for single, double, bare in _STAR_WORD.findall(line)]
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("data_") or words[0] == "loop_":
            columns = []
            in_loop = words[0] == "loop_"
        elif words[0].startswith("_") and in_loop:
            columns.append(words[0])
        elif words[0].startswith("_"):
            values.setdefault(words[0], []).extend(words[1:2])
        elif len(words) != len(columns):
            raise Error(f"{path}, line {number}: {len(words)} values for {len(columns)} columns")
        else:
            for column, word in zip(columns, words, strict=True):
                values.setdefault(column, []).append(word)
    for column in _STAR_COLUMNS:
        if column in values:
            return values[column]
    raise Error(f"{path}: this STAR file has no {' or '.join(_STAR_COLUMNS)}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Error(f"{path}: not a text file") from None
    except OSError as error:
        raise Error(f"{path}: {error.strerror}") from error
