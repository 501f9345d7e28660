"""Row order: whether the first row of an image in its file is drawn at the bottom or at the top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from camnorm.io.base.source import FrameSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["FlippedSource", "RowOrder", "WrappedSource", "in_row_order", "is_flipped"]

RowOrder: TypeAlias = Literal["bottom", "top"]


def is_flipped(one: RowOrder | None, other: RowOrder | None) -> bool:
    """Whether images of two row orders show the same picture upside down.

    Programs of the field draw the first row of MRC images at the bottom, and of TIFF images at the top.
    None is the order of formats without such a convention: these are taken as they are stored.
    """
    return one is not None and other is not None and one != other


class WrappedSource(FrameSource):
    """Frames of another source, changed as they are read.

    Parameters
    ----------
    inner : FrameSource
        The other source, which belongs to this one from then on.
    dtype : numpy.dtype
        Of the changed frames.
    """

    def __init__(self, inner: FrameSource, dtype: np.dtype[Any]) -> None:
        self._inner = inner
        self.path = inner.path
        self.format = inner.format  # type: ignore[misc]
        self.sequential = inner.sequential  # type: ignore[misc]
        self.shape = inner.shape
        self.dtype = dtype
        self.count = inner.count
        self.available = inner.available
        self.metadata = inner.metadata
        self.remarks = inner.remarks
        self.row_order = inner.row_order
        self._file = inner.file

    @property
    def origin(self) -> FrameSource:
        """The source of the frames as the file holds them."""
        return self._inner.origin

    @property
    def files(self) -> list[Path]:
        """All files that frames are read from."""
        return self._inner.files

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Cut a run of frames as the other source does."""
        return self._inner.spans(start, stop)

    def check_whole(self) -> None:
        """Compare the checksum of the file; see `FrameSource`."""
        try:
            self._inner.check_whole()
        finally:
            self.available = self._inner.available

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        self._inner.close()

    def _inner_frames(self, start: int, stop: int) -> NDArray[Any]:
        """Frames of the other source; where a compressed file ends may be found out by reading them."""
        try:
            return self._inner.view(start, stop)
        finally:
            self.available = self._inner.available


class FlippedSource(WrappedSource):
    """Frames of another source with their rows from the last to the first."""

    def __init__(self, inner: FrameSource) -> None:
        super().__init__(inner, inner.dtype)
        self.row_order = "top" if inner.row_order == "bottom" else "bottom"

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        return self._inner_frames(start, stop)[:, ::-1]


def in_row_order(source: FrameSource, wanted: RowOrder | None) -> FrameSource:
    """Flip the rows of a source whose row order is known and another than the wanted one, if any."""
    return FlippedSource(source) if is_flipped(source.row_order, wanted) else source
