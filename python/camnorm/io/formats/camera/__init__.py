"""Raw files of photographic cameras: DNG and those of the makers."""

from __future__ import annotations

import struct
from pathlib import Path

from camnorm.io.base.registry import ImageFormat

_SUFFIXES = (
    *(".dng", ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
)
_MARKS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM")
_TIFF_MARKS = (b"II*\0", b"MM\0*")
_DNG_VERSION = 50706  # a tag


def _is_camera_raw(path: Path, head: bytes) -> bool:
    # Many are TIFF files, which only their suffix or a tag of DNG tells apart.
    if head.startswith(_MARKS) or head[4:12] == b"ftypcrx " or head[6:14] == b"HEAPCCDR":
        return True
    if head[:4] not in _TIFF_MARKS:
        return False
    by_name = path.name.lower().endswith(_SUFFIXES)
    return by_name or head[8:10] == b"CR" or _DNG_VERSION in _first_tags(head)


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


FORMAT = ImageFormat(
    "camera raw", _SUFFIXES, f"{__name__}.reader:CameraRawSource", recognises=_is_camera_raw, extra="raw"
)
