"""MRC files compressed as a whole by gzip or bzip2; zstd needs a library of its own."""

from __future__ import annotations

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile
from camnorm.io.formats.mrc.header import HEADER_BYTES
from camnorm.io.formats.mrc.layout import Layout, layout_of
from camnorm.io.formats.mrc.reader import MrcSource
from camnorm.io.formats.packed import PackedByBzip2, PackedByGzip, PackedSource, UnpackedFile

_SUFFIXES = {".mrc", ".mrcs"}


class PackedMrcSource(PackedSource, MrcSource):
    """Sections of a compressed MRC file as frames."""

    def _check_kind(self, file: UnpackedFile) -> None:
        suffixes = {name.lower() for name in file.path.suffixes}
        if file.head[208:211] != b"MAP" and not _SUFFIXES & suffixes:
            reason = "compressed, but neither an MRC nor a FITS file: only these are read compressed"
            raise FormatError(file.path, reason)

    def _misread(self) -> str:
        size = self._file.exact_size
        assert size is not None  # as all was read
        told = Layout(self._offset, self.count)
        try:
            layout = layout_of(self._file, size, self._offset - HEADER_BYTES, self.count, self._frame_bytes)
        except FormatError as error:
            return error.reason
        if layout == told:
            return ""
        return f"{layout.remarks[0].text}; decompress the file to measure it"

    def extended_header(self) -> bytes:
        """Read the extended header from the file, which may be closed by now."""
        file = UnpackedFile(MappedFile(self.path), type(self))
        try:
            return file.read(HEADER_BYTES, self._offset - HEADER_BYTES)
        finally:
            file.close()


class GzipMrcSource(PackedByGzip, PackedMrcSource):
    """Sections of an MRC file compressed by gzip."""


class Bzip2MrcSource(PackedByBzip2, PackedMrcSource):
    """Sections of an MRC file compressed by bzip2."""
