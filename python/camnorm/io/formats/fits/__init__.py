"""FITS images and cubes, also compressed as a whole by gzip or bzip2."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

from camnorm.errors import raise_shortage
from camnorm.io.base.registry import ImageFormat

_MARK = b"SIMPLE  ="


def _is_gzip_fits(path: Path, head: bytes) -> bool:
    return head.startswith(b"\x1f\x8b\x08") and _unpacks_to_fits(gzip.GzipFile, path)


def _is_bzip2_fits(path: Path, head: bytes) -> bool:
    return head.startswith(b"BZh") and _unpacks_to_fits(bz2.BZ2File, path)


def _unpacks_to_fits(unpack: type[gzip.GzipFile | bz2.BZ2File], path: Path) -> bool:
    try:
        with unpack(path) as file:
            return file.read(len(_MARK)) == _MARK
    except (OSError, EOFError, zlib.error) as error:  # the reader reports damage
        raise_shortage(error)
        return False


FORMAT = ImageFormat(
    "FITS", (".fits", ".fit", ".fts", ".fits.fz"), f"{__name__}.reader:FitsSource", (_MARK,), extra="fits"
)
GZIP = ImageFormat(
    "FITS.gz",
    (".fits.gz", ".fit.gz", ".fts.gz"),
    f"{__name__}.reader:GzipFitsSource",
    recognises=_is_gzip_fits,
    extra="fits",
)
BZIP2 = ImageFormat(
    "FITS.bz2",
    (".fits.bz2", ".fit.bz2", ".fts.bz2"),
    f"{__name__}.reader:Bzip2FitsSource",
    recognises=_is_bzip2_fits,
    extra="fits",
)
