"""Read options that do not apply to any of the files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from camnorm.errors import Error
from camnorm.io.base.catalogue import Catalogue, Entry
from camnorm.io.base.lists import InputFile, is_list
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.settling import entries_asked

__all__ = ["check_use"]


def _of(*formats: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.format in formats


# Options, which files they are for, and these in words.
_FILES: dict[str, tuple[Callable[[Entry], bool], str]] = {
    "eer_grouping": (_of("EER"), "is an EER movie"),
    "eer_sampling": (_of("EER"), "is an EER movie"),
    "tiff_4bit": (_of("TIFF"), "is a TIFF file"),
    "mrc_mode0": (lambda entry: "mrc_mode0" in entry.hints, "is an MRC file of bytes (mode 0)"),
    "dataset": (_of("HDF5", "Zarr", "FITS"), "is an HDF5, Zarr or FITS file"),
    "int16": (lambda entry: entry.dtype == np.uint16, "holds signed integers of 16 bits"),
}


def check_use(given: ReadOptions | None, files: Sequence[InputFile], catalogue: Catalogue) -> None:
    """Warn of options that have no effect on the files; a permission, as follow_links, may go unused.

    Parameters
    ----------
    given : ReadOptions, optional
        What the user has given.
    files : sequence of InputFile
        As `expand_inputs` found them.
    catalogue : Catalogue
        The same files, read with these options.

    Raises
    ------
    Error
        If `frames_dir` is no directory.
    """
    if given is None:
        return
    if given.frames_dir is not None:
        if not given.frames_dir.is_dir():
            raise Error(
                f"{given.frames_dir}: no such directory; frames_dir=DIR says where the files are that STAR "
                "and mdoc files name"
            )
        if not any(is_list(name) for file in files for name in file.lists):
            _warn("frames_dir", given, "no STAR or mdoc file was given")
    names = _FILES.keys() - given.open_names
    if given.gain is not None or given.defects is not None:
        names -= {"int16"}  # frames are float32 then
    entries = entries_asked(catalogue) if names else []
    for name in sorted(names if entries else ()):
        is_for, words = _FILES[name]
        if not any(map(is_for, entries)):
            _warn(name, given, f"none of the files {words}")


def _warn(name: str, given: ReadOptions, reason: str) -> None:
    value = getattr(given, name)
    text = str(value) if isinstance(value, int) else f"'{value}'"
    warnings.warn(f"{name}={text} has no effect: {reason}", stacklevel=4)
