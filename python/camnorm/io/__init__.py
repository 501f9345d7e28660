"""Reading and writing image files. Knows of frames, not of what is computed from them."""

from .apriori import check_orientation
from .atomic import atomic_target, sync_directory
from .inputs import InputFile, expand_inputs
from .options import RawLayout, ReadOptions
from .registry import ImageFormat, is_image_name, open_frames
from .selection import ALL, Chosen, Selection, runs
from .source import FrameSource, StoredFrames
from .stream import Chunk, Failure, StoredChunk, reason_of, stream_frames, stream_stored
from .writers import FrameWriter, create_writer, target_name

__all__ = [
    "ALL",
    "Chosen",
    "Chunk",
    "Failure",
    "FrameSource",
    "FrameWriter",
    "ImageFormat",
    "InputFile",
    "RawLayout",
    "ReadOptions",
    "Selection",
    "StoredChunk",
    "StoredFrames",
    "atomic_target",
    "check_orientation",
    "create_writer",
    "expand_inputs",
    "is_image_name",
    "open_frames",
    "reason_of",
    "runs",
    "stream_frames",
    "stream_stored",
    "sync_directory",
    "target_name",
]
