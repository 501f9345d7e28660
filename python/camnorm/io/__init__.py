"""Reading and writing image files. Knows of frames, not of what is computed from them."""

from .registry import open_frames
from .source import FrameSource

__all__ = ["FrameSource", "open_frames"]
