"""Reading and writing image files. Knows of frames, not of what is computed from them."""

import camnorm.io.formats  # noqa: F401 - which registers them
from camnorm.io.base.atomic import AtomicFile, Protected, atomic_target, check_content, sync_directory
from camnorm.io.base.inputs import expand_inputs
from camnorm.io.base.lists import InputFile
from camnorm.io.base.located import LocatedFrames
from camnorm.io.base.options import RawLayout, ReadOptions
from camnorm.io.base.registry import ImageFormat, is_image_name, open_frames, row_order_of
from camnorm.io.base.rows import RowOrder, is_flipped
from camnorm.io.base.selection import ALL, Chosen, Selection, runs
from camnorm.io.base.source import FrameSource
from camnorm.io.base.stream import Chunk, Failure, StoredChunk, reason_of, stream_frames, stream_stored
from camnorm.io.base.writers import (
    FrameWriter,
    check_compression,
    check_shape,
    create_writer,
    output_format,
    target_name,
)

__all__ = [
    "ALL",
    "AtomicFile",
    "Chosen",
    "Chunk",
    "Failure",
    "FrameSource",
    "FrameWriter",
    "ImageFormat",
    "InputFile",
    "LocatedFrames",
    "Protected",
    "RawLayout",
    "ReadOptions",
    "RowOrder",
    "Selection",
    "StoredChunk",
    "atomic_target",
    "check_compression",
    "check_content",
    "check_shape",
    "create_writer",
    "expand_inputs",
    "is_flipped",
    "is_image_name",
    "open_frames",
    "output_format",
    "reason_of",
    "row_order_of",
    "runs",
    "stream_frames",
    "stream_stored",
    "sync_directory",
    "target_name",
]
