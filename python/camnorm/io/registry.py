"""The image formats that can be read, and which of them a file has."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..errors import FormatError
from .source import FrameSource, MappedFile


class ImageFormat(NamedTuple):
    """One file format: how to know it and which class reads it."""

    name: str
    suffixes: tuple[str, ...]
    marks: tuple[bytes, ...]
    mark_offset: int
    module: str  # imported, with the library that it needs, when the first such file is opened
    source: str

    def marks_file(self, head: bytes) -> bool:
        """Whether a file that starts with `head` is of this format."""
        return head[self.mark_offset :].startswith(self.marks)

    def open(self, file: MappedFile) -> FrameSource:
        """Make the source of a file's frames, which owns the file from then on."""
        module = import_module(f".{self.module}", __package__)
        source: FrameSource = getattr(module, self.source)(file)
        return source


MRC = ImageFormat("MRC", (".mrc", ".mrcs"), (b"MAP",), 208, "mrc", "MrcSource")
FORMATS = (
    ImageFormat("TIFF", (".tif", ".tiff"), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), 0, "tiff", "TiffSource"),
    ImageFormat("NPY", (".npy",), (b"\x93NUMPY",), 0, "npy", "NpySource"),
    ImageFormat("PNG", (".png",), (b"\x89PNG\r\n\x1a\n",), 0, "raster", "PngSource"),
    ImageFormat("JPEG", (".jpg", ".jpeg"), (b"\xff\xd8\xff",), 0, "raster", "JpegSource"),
    MRC,  # last: other formats may have anything at the place of its mark
)
FORMAT_NAMES = "MRC, TIFF, NPY, PNG, JPEG"


def open_frames(path: str | os.PathLike[str]) -> FrameSource:
    """Open an image file to read its frames.

    Parameters
    ----------
    path : str or os.PathLike
        An MRC, TIFF, BigTIFF, NPY, PNG or JPEG file with one frame or many. Its content tells the format,
        not its name; but MRC files of before 2000 bear no mark and are known by their suffix.

    Returns
    -------
    FrameSource
        The frames. Close it, or use it in a ``with`` statement.

    Raises
    ------
    FormatError
        The file has no known format, or one of a kind that is not supported, or is so damaged that not
        even the first frame is whole.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> with camnorm.open_frames("movie.mrc") as source:  # doctest: +SKIP
    ...     first = source.read(0)[0]
    """
    path = Path(path)
    file = MappedFile(path)
    try:
        head = file.read(0, 1024)
        for image_format in FORMATS:
            if image_format.marks_file(head):
                return image_format.open(file)
        if path.suffix.lower() in MRC.suffixes:
            return MRC.open(file)
        raise FormatError(path, f"not an image file that camnorm reads ({FORMAT_NAMES})")
    except BaseException:
        file.close()
        raise


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file's suffix is that of an image format."""
    suffix = Path(path).suffix.lower()
    return any(suffix in image_format.suffixes for image_format in FORMATS)
