"""Opening HDF5 files of camnorm, with errors that say what is wrong with a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from camnorm.errors import FormatError, raise_shortage
from camnorm.io.base.registry import format_of
from camnorm.sensor.digest import DamageError

if TYPE_CHECKING:
    import h5py

__all__ = ["open_ours"]


@contextmanager
def open_ours(
    path: str | os.PathLike[str], kind: str, newest: int, give: str = "", advice: str = ""
) -> Iterator[h5py.File]:
    """Open an HDF5 file of ours; what goes wrong becomes a FormatError, which ends with `give`.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        What its attribute ``format`` must say.
    newest : int
        The newest schema that can be read.
    give : str
        What to give instead of a file of another kind.
    advice : str
        What to do about a damaged file, for the end of the message.

    Yields
    ------
    h5py.File
    """
    import h5py

    from camnorm.io.base.hdf5guard import text_of, value_of

    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise FormatError(path, f"a directory, not a {kind} file{give}")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise FormatError(path, f"not a {kind} file: no regular file")
    with open(path, "rb") as raw:
        signature = raw.read(8)
    if signature != b"\x89HDF\r\n\x1a\n":
        image = format_of(Path(path))
        what = (
            f"an image file ({image}), not a {kind} file"
            if image
            else f"not a {kind} file: it is not an HDF5 file"
        )
        raise FormatError(path, what + give)
    try:
        f = h5py.File(path, "r")
    except OSError as error:
        raise_shortage(error)
        size = Path(path).stat().st_size
        raise FormatError(
            path, f"truncated or damaged HDF5 file: {_first_line(error)}", offset=size
        ) from None
    try:
        with f:
            found = text_of(Path(path), f, "format")
            ours = found.startswith("camnorm ")  # others may keep anything there
            if not ours or found != kind:
                raise FormatError(path, f"not a {kind} file" + (f" but a {found} file" if ours else give))
            schema = value_of(Path(path), f, "schema") if "schema" in f.attrs else 0
            if schema > newest:
                raise FormatError(
                    path, f"written by a newer camnorm: schema {schema}, this version reads up to {newest}"
                )
            yield f
    except FormatError:
        raise
    except Exception as error:  # damage drives h5py into nearly any exception
        raise_shortage(error)
        # A checkpoint is not restored: the measurement starts again.
        end = advice if isinstance(error, DamageError) else ""
        raise FormatError(path, f"damaged {kind} file: {_first_line(error)}{end}") from None


def _first_line(error: Exception) -> str:
    text = str(error.args[0]) if error.args else ""
    return text.partition("\n")[0] or type(error).__name__
