"""MRC files compressed as a whole by gzip or bzip2; zstd needs a library of its own."""

from __future__ import annotations

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile
from camnorm.io.formats.mrc.reader import MrcSource
from camnorm.io.formats.packed import PackedByBzip2, PackedByGzip, PackedSource, UnpackedFile

_HEADER_BYTES = 1024
_SUFFIXES = {".mrc", ".mrcs"}


class PackedMrcSource(PackedSource, MrcSource):
    """Sections of a compressed MRC file as frames."""

    def _check_kind(self, file: UnpackedFile) -> None:
        suffixes = {name.lower() for name in file.path.suffixes}
        if file.head[208:211] != b"MAP" and not _SUFFIXES & suffixes:
            reason = "compressed, but neither an MRC nor a FITS file: only these are read compressed"
            raise FormatError(file.path, reason)

    def extended_header(self) -> bytes:
        """Read the extended header from the file, which may be closed by now."""
        file = UnpackedFile(MappedFile(self.path), type(self))
        try:
            return file.read(_HEADER_BYTES, self._offset - _HEADER_BYTES)
        finally:
            file.close()


class GzipMrcSource(PackedByGzip, PackedMrcSource):
    """Sections of an MRC file compressed by gzip."""


class Bzip2MrcSource(PackedByBzip2, PackedMrcSource):
    """Sections of an MRC file compressed by bzip2."""
