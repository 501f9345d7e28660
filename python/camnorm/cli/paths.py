"""Paths, and commands with many of them, as people read them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

__all__ = ["command_in_short", "files_in_words", "folders_of", "shown"]

# Most arguments of one folder and kind that a command shows one by one.
_FEW = 3


def shown(path: str) -> str:
    """A path, relative to the working directory if it lies below it."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was removed
        return path
    below = path == folder or path.startswith(os.path.join(folder, ""))
    return os.path.relpath(path, folder) if below else path


def folders_of(files: Iterable[str]) -> list[str]:
    """The folders that hold these files."""
    return [shown(folder) or "." for folder in sorted({os.path.dirname(file) for file in files})]


def files_in_words(files: Sequence[str]) -> str:
    """Count files, and name their folder if it is one."""
    if len(files) == 1:
        return f"1 file: {shown(files[0])}"
    number = f"{len(files):,} files"
    folders = folders_of(files)
    if len(folders) > 1:
        return f"{number} in {len(folders):,} folders"
    return f"{number} in {folders[0]}" if folders else number


def command_in_short(command: str) -> str:
    """A command without the paths that a shell made of a pattern."""
    try:
        program, *arguments = shlex.split(command)
    except ValueError:
        return command
    words = ["camnorm" if Path(program).name == "__main__.py" else shlex.quote(Path(program).name)]
    # The verb is no path.
    words += map(shlex.quote, arguments[:1])
    for (option, folder, _), some in groupby(arguments[1:], _kind):
        paths = list(some)
        if option or len(paths) <= _FEW:
            words += map(shlex.quote, paths)
        else:
            words.append(f"[{len(paths):,} files{f' in {shown(folder)}' if folder else ''}]")
    return " ".join(words)


def _kind(argument: str) -> tuple[bool, str, str]:
    """Whether an argument is an option, its folder, and how its name ends."""
    return argument.startswith("-"), os.path.dirname(argument), os.path.splitext(argument)[1]
