"""Which axes of an HDF5 dataset count frames, and which are those of a frame; also in EMD files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np

from camnorm.errors import FormatError
from camnorm.io.base.containers import frame_axes
from camnorm.io.base.hdf5guard import open_object, text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_VELOX = re.compile("/?Data/Image/[^/]+/Data")
# An axis of an image in EMD files: x, R_x, Qx, kx; of a diffraction pattern if it is of Q or k.
_EMD_AXIS = re.compile("([rqk]?)_?([xy])", re.IGNORECASE)

# First place and one past the last along each axis of a dataset.
Box: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Axes:
    """The axes of a dataset.

    Parameters
    ----------
    stored : tuple of int
        Shape of the dataset.
    order : tuple of int
        Its axes, those first that count frames.
    leading : int
        How many of them count frames.
    """

    stored: tuple[int, ...]
    order: tuple[int, ...]
    leading: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Axes:
        """Return the axes of an array in C order."""
        return cls(shape, tuple(range(len(shape))), len(shape) - frame_axes(shape))

    @property
    def counts(self) -> tuple[int, ...]:
        """Lengths of the axes that count frames."""
        return tuple(self.stored[axis] for axis in self.order[: self.leading])

    @property
    def count(self) -> int:
        """Number of frames."""
        return math.prod(self.counts)

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return tuple(self.stored[axis] for axis in self.order[self.leading :])

    @property
    def plain(self) -> bool:
        """Whether frames lie one after another."""
        return self.order == tuple(range(len(self.stored)))

    def chunk_of_one_frame(self) -> tuple[int, ...]:
        """Shape of a chunk that holds just one frame."""
        frames = set(self.order[: self.leading])
        return tuple(1 if axis in frames else length for axis, length in enumerate(self.stored))

    def boxes(self, start: int, stop: int) -> Iterator[Box]:
        """Where runs of frames lie in the dataset."""
        counts = self.counts
        if not counts:
            yield tuple((0, length) for length in self.stored)
            return
        while start < stop:
            end = min(stop, start - start % counts[-1] + counts[-1])
            box = [(0, length) for length in self.stored]
            place = [int(number) for number in np.unravel_index(start, counts)]
            for axis, number in zip(self.order, place, strict=False):
                box[axis] = number, number + 1
            box[self.order[self.leading - 1]] = place[-1], place[-1] + end - start
            yield tuple(box)
            start = end

    def frames_in(self, values: NDArray[Any]) -> NDArray[Any]:
        """Frames of the values in a box."""
        frames: NDArray[Any] = values.transpose(self.order).reshape(-1, *self.frame)
        return frames

    def frames_at(self, box: Box) -> tuple[slice, ...]:
        """Where a box lies in an array of one value for each frame."""
        return tuple(slice(*box[axis]) for axis in self.order[: self.leading])


def axes_of(path: Path, dataset: h5py.Dataset) -> Axes:
    """Tell the axes of a dataset, by the rules of EMD where it is one of these.

    Velox stores images as (y, x, frame). In the EMD format of Berkeley, datasets dim1, dim2... name the axes,
    most often as (x, y, frame). In its version 1 they begin with dim0, and all is in C order.

    Raises
    ------
    FormatError
        Which axes are those of a frame cannot be known.
    """
    shape: tuple[int, ...] = dataset.shape
    if is_velox(dataset.name):
        if len(shape) != 3:
            raise FormatError(path, f"Velox EMD with images of {len(shape)} axes is not supported")
        return Axes(shape, (2, 0, 1), 1)
    group = dataset.parent
    if "emd_group_type" not in group.attrs:
        return Axes.of(shape)
    in_order = tuple(range(len(shape)))
    names = [_name_of(path, group, f"dim{axis + 1}") for axis in in_order]
    if None in names or _is_there(group, "dim0"):
        return Axes(shape, in_order, len(shape) - 2)
    found = [_EMD_AXIS.fullmatch(name or "") for name in names]
    letters = "".join(match[2].lower() if match else "-" for match in found)
    if letters == "xyxy" and found[2] and found[2][1].lower() in ("q", "k"):
        return Axes(shape, in_order, 2)  # of 4D-STEM
    if len(shape) == 2 and letters not in ("xy", "yx"):
        return Axes(shape, (1, 0), 0)
    if letters.count("x") != 1 or letters.count("y") != 1:
        listed = ", ".join(name or "nothing" for name in names)
        reason = f"EMD with axes named {listed}: one must be x and one y to tell which are those of a frame"
        raise FormatError(path, reason)
    x, y = letters.index("x"), letters.index("y")
    others = [axis for axis in in_order if axis not in (x, y)]
    return Axes(shape, (*(reversed(others) if x < y else others), y, x), len(others))


def is_velox(place: str) -> bool:
    """Whether a path is one at which Velox stores images."""
    return _VELOX.fullmatch(place) is not None


def _is_there(group: h5py.Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _name_of(path: Path, group: h5py.Group, vector: str) -> str | None:
    """The name that the vector of an axis bears; None if there is no such vector."""
    if not _is_there(group, vector):
        return None
    return text_of(path, open_object(path, group, vector, follow=False), "name").strip()
