"""MRC files compressed as a whole by zstd."""

from __future__ import annotations

import sys
from pathlib import Path

from camnorm.io.formats.mrc.packed import PackedMrcSource
from camnorm.io.formats.packed import Stream

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdFile
else:
    import zstandard


class ZstdMrcSource(PackedMrcSource):
    """Sections of an MRC file compressed by zstd, in one frame of that format or many."""

    expansion = 2**15  # a block of 4 bytes can stand for 128 KiB

    @staticmethod
    def open_stream(path: Path) -> Stream:
        """Start to decompress."""
        if sys.version_info >= (3, 14):
            return ZstdFile(path)
        decompressor = zstandard.ZstdDecompressor()
        stream: Stream
        stream = decompressor.stream_reader(path.open("rb"), read_across_frames=True)
        return stream
