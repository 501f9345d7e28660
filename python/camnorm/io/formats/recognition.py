"""Which files are of a format that has no one mark: told by a few of their first bytes and their name."""

from __future__ import annotations

import bz2
import gzip
import re
import struct
import zlib
from pathlib import Path

from camnorm.errors import raise_shortage

CAMERA_SUFFIXES = (
    *(".dng", ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
)
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CAMERA_MARKS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM")
_DNG_VERSION = 50706
_FITS_MARK = b"SIMPLE  ="
_EDF_KEY = re.compile(rb"(EDF_\w+|HeaderID|ByteOrder|DataType|Dim_1)\s*=", re.IGNORECASE)
_SMV_START = re.compile(rb"{\s*HEADER_BYTES\s*=")


def is_tiff(path: Path, head: bytes) -> bool:
    """Whether a file is TIFF or BigTIFF, and no camera raw."""
    return head[:4] in _TIFF_MARKS and not is_camera_raw(path, head)


def is_camera_raw(path: Path, head: bytes) -> bool:
    """Whether a file is camera raw: by its mark, or if it is like TIFF by its suffix or a tag of DNG."""
    if head.startswith(_CAMERA_MARKS) or head[4:12] == b"ftypcrx " or head[6:14] == b"HEAPCCDR":
        return True
    if head[:4] not in _TIFF_MARKS[:2]:
        return False
    by_name = path.name.lower().endswith(CAMERA_SUFFIXES)
    return by_name or head[8:10] == b"CR" or _DNG_VERSION in _first_tags(head)


def is_edf(path: Path, head: bytes) -> bool:
    """Whether a file begins with a header of EDF."""
    return head.lstrip()[:1] == b"{" and _EDF_KEY.search(head) is not None


def is_smv(path: Path, head: bytes) -> bool:
    """Whether a file begins with a header of SMV."""
    return _SMV_START.match(head) is not None


def is_dm(path: Path, head: bytes) -> bool:
    """Whether a file begins with a header of DM3 or DM4."""
    version, order = int.from_bytes(head[:4], "big"), {3: head[8:12], 4: head[12:16]}
    return version in order and order[version] in (b"\0\0\0\0", b"\0\0\0\1")


def is_tvips(path: Path, head: bytes) -> bool:
    """Whether a file begins with a header of TVIPS; those that go on with a recording have only the name."""
    return head[52:].startswith(b"TVIPS") or (bool(head) and path.suffix.lower() == ".tvips")


def is_gzip_fits(path: Path, head: bytes) -> bool:
    """Whether a file is FITS compressed by gzip."""
    return head.startswith(b"\x1f\x8b\x08") and _unpacks_to_fits(gzip.GzipFile, path)


def is_bzip2_fits(path: Path, head: bytes) -> bool:
    """Whether a file is FITS compressed by bzip2."""
    return head.startswith(b"BZh") and _unpacks_to_fits(bz2.BZ2File, path)


def _unpacks_to_fits(unpack: type[gzip.GzipFile | bz2.BZ2File], path: Path) -> bool:
    try:
        with unpack(path) as file:
            return file.read(len(_FITS_MARK)) == _FITS_MARK
    except (OSError, EOFError, zlib.error) as error:  # damage is told by whoever reads it
        raise_shortage(error)
        return False


def _first_tags(head: bytes) -> set[int]:
    """Tags in the first directory of a TIFF file, as far as it lies in these bytes."""
    order = "<" if head[:2] == b"II" else ">"
    tags: set[int] = set()
    (first,) = struct.unpack_from(order + "I", head.ljust(8, b"\0"), 4)
    if first + 2 <= len(head):
        (count,) = struct.unpack_from(order + "H", head, first)
        places = range(first + 2, min(first + 2 + 12 * count, len(head) - 1), 12)
        tags.update(struct.unpack_from(order + "H", head, place)[0] for place in places)
    return tags
