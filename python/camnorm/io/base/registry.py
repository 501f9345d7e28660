"""The image formats that can be read, and which of them a file has."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from camnorm.errors import Error, FormatError
from camnorm.io.base.options import DEFAULTS, ReadOptions
from camnorm.io.base.rows import RowOrder, in_row_order
from camnorm.io.base.source import FrameSource, MappedDirectory, MappedFile
from camnorm.io.base.unsigned import as_unsigned

_GROUP = "camnorm.formats"


@dataclass(frozen=True)
class Output:
    """How frames are written in a format.

    Parameters
    ----------
    writer : str
        ``module:callable`` that makes a `FrameWriter` of a `WritePlan`.
    suffix : str
        Of the files, with the dot.
    called : str
        What a file is called, with its article.
    compressions : tuple of str
        Names of the compressions of the frames.
    planes : tuple of int, optional
        How many planes a colour frame may have; by default any number.
    directory : bool
        Whether it is written as a directory.
    """

    writer: str
    suffix: str
    called: str
    compressions: tuple[str, ...] = ("none",)
    planes: tuple[int, ...] | None = None
    directory: bool = False

    def load(self) -> Callable[..., Any]:
        """Import what makes the writer."""
        made: Callable[..., Any] = _load(self.writer)
        return made


@dataclass(frozen=True)
class ImageFormat:
    """One file format: how to know it and which class reads it.

    Other packages add theirs by an entry point of the group ``camnorm.formats`` that names an object of
    this class.

    Parameters
    ----------
    name : str
        As users call it.
    suffixes : tuple of str
        Lower case, with the dot. A directory's files of these names are images; a file without a mark of
        any format is known by them if `marks` is empty or `suffix_suffices`.
    marks : tuple of bytes
        With one of these files of the format begin, at `mark_offset`.
    mark_offset : int
        Offset of a mark in the first 1024 bytes.
    recognises : callable, optional
        Told the path and the first 1024 bytes of a file, or none of a directory: whether it is of the
        format. In place of `marks`, where these do not say enough. Of directories only this is asked.
    suffix_suffices : bool
        Whether a file of one of the suffixes is of the format though it bears no mark.
    source : str
        ``module:class`` of the `FrameSource`, called with a ``MappedFile`` and `ReadOptions`. It is imported
        when the first such file is opened.
    extra : str
        Optional dependency of camnorm that the module needs, if it does.
    output : Output, optional
        How frames are written in this format, if they can be.
    is_result : str
        ``module:function`` that says, given its path, whether a file is one of camnorm's own, without images.
    linked_files : str
        ``module:function`` that returns, given path and `ReadOptions`, the other files that hold pixels.
    row_order : {"bottom", "top"}, optional
        Where programs draw the first row of an image; None if there is no such convention.
    """

    name: str
    suffixes: tuple[str, ...]
    source: str
    marks: tuple[bytes, ...] = ()
    mark_offset: int = 0
    recognises: Callable[[Path, bytes], bool] | None = None
    suffix_suffices: bool = False
    extra: str = ""
    output: Output | None = None
    is_result: str = ""
    linked_files: str = ""
    row_order: RowOrder | None = None

    def is_of(self, path: Path, head: bytes) -> bool:
        """Tell whether a file is of this format.

        Parameters
        ----------
        path : pathlib.Path
            The file, or a directory.
        head : bytes
            Its first 1024 bytes; none of a directory.

        Returns
        -------
        bool
        """
        if self.recognises is not None:
            return self.recognises(path, head)
        return bool(self.marks) and head[self.mark_offset :].startswith(self.marks)

    def open(self, file: MappedFile, options: ReadOptions) -> FrameSource:
        """Make the source of a file's frames, which owns the file from then on.

        Parameters
        ----------
        file : MappedFile
            The file.
        options : ReadOptions
            How to read it, where it does not say so itself.

        Returns
        -------
        FrameSource

        Raises
        ------
        FormatError
            The file is damaged, or of a kind that is not supported.
        Error
            A library that is needed for the format is not installed.
        """
        try:
            source_class = _load(self.source)
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            raise Error(
                f"{file.path}: to read {self.name} files, {error.name} is needed: "
                f"pip install 'camnorm[{self.extra}]'"
            ) from None
        source: FrameSource = source_class(file, options)
        if self.row_order is not None:
            source.row_order = self.row_order
        return source


_Step = Callable[[FrameSource, ReadOptions], FrameSource]

# Packages of higher layers that add a format, or a step, when they are imported.
_ADDING = ("camnorm.apriori", "camnorm.application")

_registered: list[ImageFormat] = []
_steps: list[_Step] = []


def register(*rows: ImageFormat, first: bool = False) -> None:
    """Add formats, to be tried after those that are known, or before them."""
    _registered[:] = [*rows, *_registered] if first else [*_registered, *rows]


def add_step(step: _Step) -> None:
    """Add what is done to every source that `open_frames` opens, as its options say."""
    _steps.append(step)


@cache
def _import_what_adds() -> None:
    """Have all formats and steps, whichever part of the package a program has imported."""
    for name in _ADDING:
        import_module(name)


@cache
def formats_of_other_packages() -> tuple[ImageFormat, ...]:
    return tuple(entry.load() for entry in entry_points(group=_GROUP))


def formats() -> tuple[ImageFormat, ...]:
    """All formats, in the order in which they are tried: those of other packages first."""
    _import_what_adds()
    return (*formats_of_other_packages(), *_registered)


def format_names() -> str:
    """Names of all formats, for messages: the most common one first."""
    names = dict.fromkeys(image_format.name for image_format in formats() if image_format.suffixes)
    return ", ".join(sorted(names, key=lambda name: name != "MRC"))


def open_frames(path: str | os.PathLike[str], options: ReadOptions = DEFAULTS) -> FrameSource:
    """Open an image file to read its frames.

    Parameters
    ----------
    path : str or os.PathLike
        A file with one frame or many. Its content tells the format, not its name, unless the format has no
        mark by which it could be known.
    options : ReadOptions
        How to read it, where it does not say so itself.

    Returns
    -------
    FrameSource
        The frames. Close it, or use it in a ``with`` statement.

    Raises
    ------
    FormatError
        The file has no known format, or one of a kind that is not supported, or is so damaged that not
        even the first frame is whole.
    Error
        A library that is needed for the format is not installed.
    TypeError
        `path` is no path.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import camnorm
    >>> with camnorm.open_frames("movies/movie_00.mrc") as source:
    ...     print(source.count, source.shape, source.dtype)
    ...     frames = source.read(0, source.count)
    4 (64, 64) uint16
    >>> frames.shape
    (4, 64, 64)
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a path, not {type(path).__name__}")
    source = as_unsigned(_open(Path(path), options), options)
    try:
        for step in _steps:
            source = step(source, options)
        source = in_row_order(source, options.row_order)
    except BaseException:
        source.close()
        raise
    return source


def _open(path: Path, options: ReadOptions) -> FrameSource:
    if path.is_dir():
        image_format = _format_of_directory(path)
        if image_format is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        return image_format.open(MappedDirectory(path), options)
    file = MappedFile(path)
    try:
        if options.raw is not None:
            return _format_of("raw").open(file, options)
        head = file.read(0, 1024)
        for image_format in formats():
            if image_format.is_of(path, head):
                return image_format.open(file, options)
        for image_format in formats():
            if image_format.suffix_suffices and path.name.lower().endswith(image_format.suffixes):
                return image_format.open(file, options)
        raise FormatError(path, f"not an image file that camnorm reads ({format_names()})")
    except BaseException:
        file.close()
        raise


def _format_of_directory(path: Path) -> ImageFormat | None:
    for image_format in formats():
        if image_format.recognises is not None and image_format.recognises(path, b""):
            return image_format
    return None


def is_image_directory(path: Path) -> bool:
    """Whether a directory is what other formats keep in a file."""
    return _format_of_directory(path) is not None


def is_result(path: Path) -> bool:
    """Whether a file bears the name of an image, but is a sensor file or checkpoint of camnorm."""
    row = _by_name(path)
    return row is not None and bool(row.is_result) and bool(_load(row.is_result)(path))


def linked_files(path: Path, options: ReadOptions) -> set[Path]:
    """Other files in which the pixels of an image file lie."""
    row = _by_name(path) if path.is_file() else None
    if row is None or not row.linked_files:
        return set()
    found: set[Path] = _load(row.linked_files)(path, options)
    return found


def _by_name(path: Path) -> ImageFormat | None:
    """The format that the name of a file tells."""
    name = path.name.lower()
    return next((row for row in formats() if row.suffixes and name.endswith(row.suffixes)), None)


def format_of(path: Path) -> str | None:
    """Name of the format of an image file, by its first bytes; None if it is none."""
    with open(path, "rb") as file:
        head = file.read(1024)
    return next((row.name for row in formats() if row.is_of(path, head)), None)


def row_order_of(name: str) -> RowOrder | None:
    """Row order of the images of a format; None if there is no such convention, or format."""
    return next((row.row_order for row in formats() if row.name == name), None)


def row_order_by_name(path: Path) -> RowOrder | None:
    """Row order of an image file that its name tells."""
    row = _by_name(path)
    return None if row is None else row.row_order


def _format_of(name: str) -> ImageFormat:
    return next(row for row in formats() if row.name == name)


def _load(place: str) -> Any:
    """The object at ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file's suffix is that of an image format."""
    return _by_name(Path(path)) is not None
