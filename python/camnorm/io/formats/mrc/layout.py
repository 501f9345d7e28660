"""Where the frames of an MRC file are, by its header and its size."""

from __future__ import annotations

from dataclasses import dataclass, replace

from camnorm.errors import FormatError
from camnorm.io.base.remarks import Remark
from camnorm.io.base.source import MappedFile
from camnorm.io.formats.bysize import is_padding, more_frames, too_long
from camnorm.io.formats.mrc.header import HEADER_BYTES


@dataclass(frozen=True)
class Layout:
    """Where frames are."""

    offset: int
    """Where the first begins."""
    count: int
    remarks: tuple[Remark, ...] = ()


def layout_of(file: MappedFile, size: int, extended: int, count: int, frame_bytes: int) -> Layout:
    """Find where frames are in a file of this size.

    Parameters
    ----------
    file : MappedFile
        The file.
    size : int
        Its size.
    extended, count
        Bytes of the extended header, and number of frames, by the header.
    frame_bytes : int
        Bytes of each frame.

    Returns
    -------
    Layout
        As the header says, unless the size contradicts that, and another reading fits it.

    Raises
    ------
    FormatError
        No reading fits the size, or more than one.
    """
    told = Layout(HEADER_BYTES + extended, count)
    end = told.offset + count * frame_bytes
    if size == end:
        return told
    found, rest = divmod(size - told.offset, frame_bytes)
    whole = size > told.offset and rest == 0
    if size > end:
        if is_padding(file, end, size):
            return told
        if not whole:
            raise FormatError(file.path, too_long(size - end))
        return replace(told, count=found, remarks=(more_frames(count, found),))
    if not extended or size != HEADER_BYTES + count * frame_bytes:
        return told  # cut off
    if whole:
        reason = (
            f"the extended header of {extended} bytes that the header announces is missing, or the last "
            "frames are: both go with the size of the file"
        )
        raise FormatError(file.path, reason)
    return Layout(HEADER_BYTES, count, (_no_extended_header(extended),))


def _no_extended_header(extended: int) -> Remark:
    return Remark(
        "no extended header",
        f"the extended header of {extended} bytes that the header announces is missing: frames are read from "
        f"byte {HEADER_BYTES} on, which goes with the size of the file",
    )
