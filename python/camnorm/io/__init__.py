"""Reading and writing image files. Knows of frames, not of what is computed from them."""

from .atomic import atomic_target, sync_directory
from .inputs import InputFile, expand_inputs
from .registry import is_image_name, open_frames
from .source import FrameSource
from .stream import Chunk, Failure, reason_of, stream_frames
from .writers import FrameWriter, create_writer, target_name

__all__ = [
    "Chunk",
    "Failure",
    "FrameSource",
    "FrameWriter",
    "InputFile",
    "atomic_target",
    "create_writer",
    "expand_inputs",
    "is_image_name",
    "open_frames",
    "reason_of",
    "stream_frames",
    "sync_directory",
    "target_name",
]
