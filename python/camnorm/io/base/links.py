"""Other files that an image file names: whoever wrote it could make us read anything, or wait for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from camnorm.errors import FormatError


def check_link(path: Path, linked: str | os.PathLike[str], follow: bool) -> None:
    """See whether a file that another one names may be opened.

    Parameters
    ----------
    path : pathlib.Path
        The file that names it, or a directory that is one file to the user.
    linked : path-like
        The file that is named. It need not be there.
    follow : bool
        Whether it may lie outside the folder of `path`, or outside the directory.

    Raises
    ------
    FormatError
        It is a pipe, a device or a directory, or lies elsewhere.
    """
    try:
        mode = os.stat(linked).st_mode
    except OSError:  # told by whoever opens it
        return
    if not stat.S_ISREG(mode):
        raise FormatError(path, f"links to {os.fspath(linked)}, which is not a regular file")
    check_place(path, linked, follow)


def check_place(path: Path, linked: str | os.PathLike[str], follow: bool) -> None:
    """As `check_link`, but of a file or directory of any kind."""
    if follow:
        return
    folders = (path,) if path.is_dir() else (path.parent, Path(os.path.realpath(path)).parent)
    place = os.path.realpath(linked)
    roots = [os.path.join(os.path.realpath(folder), "") for folder in folders]
    if not any(os.path.join(place, "").startswith(root) for root in roots):
        where = "outside this directory" if path.is_dir() else "outside its folder"
        raise FormatError(
            path,
            f"links to {os.fspath(linked)}, which is {where}; "
            "use --follow-links (follow_links=True) to read such files",
        )
