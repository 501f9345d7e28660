"""The image formats that can be read, and which of them a file has."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from camnorm.apriori.steps import prepare
from camnorm.errors import Error, FormatError
from camnorm.io.base.options import DEFAULTS, ReadOptions
from camnorm.io.base.source import FrameSource, MappedDirectory, MappedFile
from camnorm.io.formats.recognition import (
    CAMERA_SUFFIXES,
    is_bzip2_fits,
    is_camera_raw,
    is_dm,
    is_edf,
    is_gzip_fits,
    is_smv,
    is_tiff,
    is_tvips,
)

_GROUP = "camnorm.formats"


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
        Where a mark stands in the first 1024 bytes.
    recognises : callable, optional
        Told the path and the first 1024 bytes of a file, or none of a directory: whether it is of the
        format. In place of `marks`, where these do not say enough. Of directories only this is asked.
    suffix_suffices : bool
        Whether a file of one of the suffixes is of the format though it bears no mark.
    source : str
        ``module:class`` of the `FrameSource`, called with a `MappedFile` and `ReadOptions`. A relative
        module is one of this package. It is imported when the first such file is opened.
    extra : str
        Optional dependency of camnorm that the module needs, if it does.
    """

    name: str
    suffixes: tuple[str, ...]
    source: str
    marks: tuple[bytes, ...] = ()
    mark_offset: int = 0
    recognises: Callable[[Path, bytes], bool] | None = None
    suffix_suffices: bool = False
    extra: str = ""

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
            How to read it, where it does not tell that itself.

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
        module, _, name = self.source.partition(":")
        try:
            source_class = getattr(import_module(module, __package__), name)
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            raise Error(
                f"{file.path}: to read {self.name} files, {error.name} is needed: "
                f"pip install 'camnorm[{self.extra}]'"
            ) from None
        source: FrameSource = source_class(file, options)
        return source


def is_manifest(path: Path, head: bytes) -> bool:
    """Whether a file is a manifest of frames that are corrected when they are read."""
    return re.match(rb'\s*\{\s*"camnorm"\s*:', head) is not None


def _is_eer(path: Path, head: bytes) -> bool:
    if not head.startswith(b"II+\0"):  # BigTIFF, for which tifffile is needed in any case
        return False
    from camnorm.io.formats.eer import is_eer

    return is_eer(path, head)


def _is_hdf5(path: Path, head: bytes) -> bool:
    mark = b"\x89HDF\r\n\x1a\n"
    return head.startswith(mark) or head[512:].startswith(mark)  # behind a block of MATLAB, say


def _is_zarr(path: Path, head: bytes) -> bool:
    # Unlike that of pathlib, this says no of directories that may not be read.
    return not head and any(os.path.exists(path / name) for name in ("zarr.json", ".zarray", ".zgroup"))


_RAW = ImageFormat("raw", (), "camnorm.io.formats.raw:RawSource")
_BUILT_IN = (
    # Before TIFF, which they are too.
    ImageFormat("EER", (".eer",), "camnorm.io.formats.eer:EerSource", recognises=_is_eer),
    ImageFormat(
        "camera raw", CAMERA_SUFFIXES, "camnorm.io.formats.camera:CameraRawSource", recognises=is_camera_raw, extra="raw"
    ),
    # MarCCD writes TIFF with a header of its own.
    ImageFormat("TIFF", (".tif", ".tiff", ".mccd"), "camnorm.io.formats.tiff:TiffSource", recognises=is_tiff),
    ImageFormat("NPY", (".npy",), "camnorm.io.formats.npy:NpySource", (b"\x93NUMPY",)),
    ImageFormat("PNG", (".png",), "camnorm.io.formats.raster:PngSource", (b"\x89PNG\r\n\x1a\n",)),
    ImageFormat("JPEG", (".jpg", ".jpeg"), "camnorm.io.formats.raster:JpegSource", (b"\xff\xd8\xff",)),
    ImageFormat("camnorm manifest", (".camnorm.json",), "camnorm.application.virtual:VirtualSource", recognises=is_manifest),
    # Not .emd: most of these have their frames along the last axis.
    ImageFormat("HDF5", (".h5", ".hdf5", ".hdf", ".nxs", ".nx5"), "camnorm.io.formats.hdf5:Hdf5Source", recognises=_is_hdf5),
    ImageFormat("Zarr", (".zarr",), "camnorm.io.formats.zarr:ZarrSource", recognises=_is_zarr, extra="zarr"),
    ImageFormat(
        "FITS", (".fits", ".fit", ".fts", ".fits.fz"), "camnorm.io.formats.fits:FitsSource", (b"SIMPLE  =",), extra="fits"
    ),
    ImageFormat("SMV", (".img",), "camnorm.io.formats.xray:SmvSource", recognises=is_smv),
    ImageFormat("EDF", (".edf",), "camnorm.io.formats.xray:EdfSource", recognises=is_edf),
    ImageFormat("CBF", (".cbf",), "camnorm.io.formats.cbf:CbfSource", (b"###CBF",), extra="fabio"),
    ImageFormat("MIB", (".mib",), "camnorm.io.formats.vendor:MibSource", (b"MQ1,",)),
    ImageFormat("SER", (".ser",), "camnorm.io.formats.vendor:SerSource", (b"II\x97\x01",)),
    ImageFormat("TVIPS", (".tvips",), "camnorm.io.formats.vendor:TvipsSource", recognises=is_tvips),
    ImageFormat("DM", (".dm3", ".dm4"), "camnorm.io.formats.dm:DmSource", recognises=is_dm),
    ImageFormat(
        "FITS.gz",
        (".fits.gz", ".fit.gz", ".fts.gz"),
        "camnorm.io.formats.fits:GzipFitsSource",
        recognises=is_gzip_fits,
        extra="fits",
    ),
    ImageFormat(
        "FITS.bz2",
        (".fits.bz2", ".fit.bz2", ".fts.bz2"),
        "camnorm.io.formats.fits:Bzip2FitsSource",
        recognises=is_bzip2_fits,
        extra="fits",
    ),
    # What else is compressed is taken for MRC, which says so if it is not.
    ImageFormat("MRC.gz", (".mrc.gz", ".mrcs.gz"), "camnorm.io.formats.packed:GzipMrcSource", (b"\x1f\x8b\x08",)),
    ImageFormat("MRC.bz2", (".mrc.bz2", ".mrcs.bz2"), "camnorm.io.formats.packed:Bzip2MrcSource", (b"BZh",)),
    # Files of pzstd begin with a frame to be skipped, of any of 16 marks.
    ImageFormat(
        "MRC.zst",
        (".mrc.zst", ".mrcs.zst"),
        "camnorm.io.formats.zstd:ZstdMrcSource",
        (b"\x28\xb5\x2f\xfd", *(bytes((mark, 0x2A, 0x4D, 0x18)) for mark in range(0x50, 0x60))),
        extra="zstd",
    ),
    # Last: other formats may have anything at the place of its mark, which files of before 2000 lack.
    ImageFormat("MRC", (".mrc", ".mrcs"), "camnorm.io.formats.mrc:MrcSource", (b"MAP",), 208, suffix_suffices=True),
)


@cache
def formats() -> tuple[ImageFormat, ...]:
    """All formats, in the order in which they are tried: those of other packages first."""
    return (*(entry.load() for entry in entry_points(group=_GROUP)), *_BUILT_IN)


def format_names() -> str:
    """Names of all formats, for messages: the most common one first."""
    names = dict.fromkeys(image_format.name for image_format in formats())
    return ", ".join(sorted(names, key=lambda name: name != "MRC"))


def open_frames(path: str | os.PathLike[str], options: ReadOptions = DEFAULTS) -> FrameSource:
    """Open an image file to read its frames.

    Parameters
    ----------
    path : str or os.PathLike
        A file with one frame or many. Its content tells the format, not its name, unless the format has no
        mark by which it could be known.
    options : ReadOptions
        How to read it, where it does not tell that itself.

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
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> with camnorm.open_frames("movie.mrc") as source:  # doctest: +SKIP
    ...     first = source.read(0)[0]
    """
    source = _open(Path(path), options)
    if options.gain is None and options.defects is None:
        return source
    try:
        return prepare(source, options)
    except BaseException:
        source.close()
        raise


def _open(path: Path, options: ReadOptions) -> FrameSource:
    if path.is_dir():
        image_format = _format_of_directory(path)
        if image_format is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        return image_format.open(MappedDirectory(path), options)
    file = MappedFile(path)
    try:
        if options.raw is not None:
            return _RAW.open(file, options)
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
    if not _is_hdf5_name(path):
        return False
    from camnorm.io.formats.hdf5 import is_result as is_hdf5_result

    return is_hdf5_result(path)


def linked_files(path: Path, options: ReadOptions) -> set[Path]:
    """Other files in which the pixels of an image file lie."""
    if not path.is_file() or not _is_hdf5_name(path):
        return set()
    from camnorm.io.formats.hdf5 import linked_files as linked_hdf5_files

    return linked_hdf5_files(path, options)


def _is_hdf5_name(path: Path) -> bool:
    hdf5 = next(image_format for image_format in _BUILT_IN if image_format.name == "HDF5")
    return path.name.lower().endswith(hdf5.suffixes)


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file's suffix is that of an image format."""
    name = Path(path).name.lower()
    return any(name.endswith(image_format.suffixes) for image_format in formats() if image_format.suffixes)
