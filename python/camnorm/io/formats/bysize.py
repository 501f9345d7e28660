"""Headers compared with the size of the file: no frame is lost, or shifted, silently.

A file that is shorter than its header says is cut off, or still being copied: its whole frames are read. In
one that is longer, what follows may be frames that the header does not count: programs write the count when
they begin, or lose it when they are killed. It may also be padding. The common programs write none behind
MRC (IMOD, SerialEM, EPU, mrcfile), NPY or SMV files; what comes of block devices, tape archives and
`FITS-like blocks <https://fits.gsfc.nasa.gov/fits_standard.html>`_ of 2880 bytes is less than 4096 zeros.
"""

from __future__ import annotations

from camnorm.errors import FormatError
from camnorm.io.base.remarks import Remark
from camnorm.io.base.source import MappedFile

_PADDING = 4096


def is_padding(file: MappedFile, end: int, size: int) -> bool:
    """Whether what follows behind a place in a file are a few zeros."""
    return size - end < _PADDING and not any(file.read(end, size - end))


def count_frames(
    file: MappedFile, start: int, frame_bytes: int, count: int
) -> tuple[int, tuple[Remark, ...]]:
    """Number of frames in a file, if the header does not say that there are fewer; else as it says.

    Parameters
    ----------
    file : MappedFile
        The file.
    start : int
        Where its frames begin.
    frame_bytes : int
        Bytes of each: they follow one another.
    count : int
        Number of frames by the header.

    Returns
    -------
    int, tuple of Remark

    Raises
    ------
    FormatError
        The file is longer than its header says, but by no whole number of frames.
    """
    size = file.size
    end = start + count * frame_bytes
    if size <= end or is_padding(file, end, size):
        return count, ()
    found, rest = divmod(size - start, frame_bytes)
    if rest:
        raise FormatError(file.path, too_long(size - end))
    return found, (more_frames(count, found),)


def more_frames(count: int, found: int) -> Remark:
    """Remark on a file with more frames than its header says."""
    return Remark(
        "more frames",
        f"the header says {count} {'frame' if count == 1 else 'frames'}, but the file holds {found}: all are "
        "used; check how these files were written",
    )


def too_long(more: int) -> str:
    """Why a file cannot be read that is longer than its header says."""
    return (
        f"the file is {more} bytes longer than its header says, which are neither whole frames nor padding: "
        "frames may begin elsewhere"
    )
