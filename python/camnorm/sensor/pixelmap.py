"""The bad pixels of a sensor: a class for each, and the lines and clusters that they form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.errors import Error
from camnorm.io.base.rows import RowOrder, is_flipped
from camnorm.sensor.pixelclasses import (
    CODES,
    NEIGHBOURS,
    TABLE_DTYPE,
    USER,
    Bit,
    Cluster,
    Line,
    PixelRows,
    reason_of,
)

__all__ = ["GivenPixels", "PixelMap", "as_pixel_map", "bad_pixels_of"]


class PixelMap:
    """The bad pixels of a sensor.

    Parameters
    ----------
    flags : uint32 ndarray, shape (y, x)
        Bits of a NeXus ``pixel_mask``; 0 for good pixels.
    rows : PixelRows
        The bad pixels.
    lines : sequence of Line
        Bad columns and rows, and parts of them.
    clusters : sequence of Cluster
        Two and more bad pixels that touch each other, lines left out.
    row_order : {"bottom", "top"}, optional
        Row that comes first; None if the frames have no such convention.
    frames : int
        Number of frames that it was found from; 0 if that is unknown.

    Attributes
    ----------
    flags, lines, clusters, row_order, frames
        As given.

    Examples
    --------
    >>> import camnorm
    >>> pixels = camnorm.classify_pixels(camnorm.Sensor.load("sensor.h5"))
    >>> pixels.shape == pixels.bad.shape
    True
    >>> pixels.flagged == len(pixels.table())
    True
    """

    def __init__(
        self,
        flags: npt.NDArray[np.uint32],
        rows: PixelRows,
        lines: Sequence[Line] = (),
        clusters: Sequence[Cluster] = (),
        row_order: RowOrder | None = None,
        frames: int = 0,
    ) -> None:
        if flags.ndim != 2 or flags.dtype != np.uint32:
            raise ValueError(f"flags must be uint32 of shape (y, x), not {flags.dtype} of {flags.shape}")
        self.flags = flags
        self.lines = tuple(lines)
        self.clusters = tuple(clusters)
        self.row_order = row_order
        self.frames = frames
        self._rows = rows

    @classmethod
    def from_mask(cls, bad: npt.NDArray[Any], row_order: RowOrder | None = None) -> PixelMap:
        """Make a map of a mask of your own.

        Parameters
        ----------
        bad : ndarray, shape (y, x)
            Not 0 where a pixel is bad.
        row_order : {"bottom", "top"}, optional
            Row that comes first: "bottom" as in MRC files, "top" as in TIFF files.

        Returns
        -------
        PixelMap
            All pixels are of the class "user", and have bit 8.

        Raises
        ------
        TypeError
            It is no array, or a masked one.
        ValueError
            It has another number of dimensions.
        """
        mask = _core.check_array(bad, "bad") != 0
        if mask.ndim != 2:
            raise ValueError(f"a mask must have the shape (y, x), not {mask.shape}")
        flags = np.where(mask, np.uint32(Bit.USER), np.uint32(0))
        return cls(flags, PixelRows.of_mask(mask), row_order=row_order)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a frame, (y, x)."""
        return self.flags.shape[0], self.flags.shape[1]

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """True where a pixel is bad; (y, x)."""
        return np.asarray(self.flags != 0)

    @property
    def flagged(self) -> int:
        """Number of bad pixels."""
        return int(self._rows.place.size)

    @property
    def rows(self) -> PixelRows:
        """The bad pixels by numbers."""
        return self._rows

    @property
    def counts(self) -> dict[str, int]:
        """Number of pixels of each class; each pixel is of one."""
        found = np.bincount(self._rows.code, minlength=len(CODES)).tolist()
        counts = dict(zip(CODES[1:], found[1:], strict=True))
        if not counts[USER]:
            del counts[USER]
        return counts

    @property
    def summary(self) -> dict[str, Any]:
        """Numbers of pixels, of lines and of clusters: ready for JSON."""
        grouped = np.zeros(self.shape, np.bool_)
        kinds = {"single": 0, "double": 0, "triple": 0, "larger": 0, "region": 0}
        for group in self.clusters:
            kinds[group.kind] += 1
        for line in self.lines:
            grouped[line.y : line.y + line.height, line.x : line.x + line.width] = True
        alone = (self.flags != 0) & ((self.flags & np.uint32(Bit.CLUSTER)) == 0)
        kinds["single"] = int(np.count_nonzero(alone & ~grouped))
        full = sum(line.full for line in self.lines)
        return {
            "shape": self.shape,
            "flagged": self.flagged,
            "counts": self.counts,
            "lines": {"full": full, "partial": len(self.lines) - full},
            "clusters": kinds,
        }

    def table(self) -> npt.NDArray[np.void]:
        """Return one row per bad pixel, in (y, x) order.

        Returns
        -------
        structured ndarray
            ``x``, ``y`` (column and row from 0), ``class``, ``value`` (what decided, in the units of
            ``limit``), ``limit``, ``neighbours`` (which pixels it was made from, or empty).
        """
        rows = self._rows
        table = np.empty(rows.place.size, TABLE_DTYPE)
        table["y"], table["x"] = np.divmod(rows.place, self.shape[1])
        table["class"] = np.array(CODES)[rows.code]
        table["neighbours"] = np.array(NEIGHBOURS)[rows.neighbours]
        table["value"], table["limit"] = rows.value, rows.limit
        return table

    def reasons(self) -> list[str]:
        """Say of each row of `table` why the pixel is bad."""
        frames = f"{self.frames} " if self.frames else ""
        lines = np.zeros(self.shape, np.bool_)
        for line in self.lines:
            lines[line.y : line.y + line.height, line.x : line.x + line.width] = True
        of_line = lines.reshape(-1)[self._rows.place]
        return [
            reason_of(name, float(value), float(limit), neighbours, frames, bool(in_line))
            for (_, _, name, value, limit, neighbours), in_line in zip(self.table(), of_line, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, and lists of lines, clusters and interpolated or copied pixels, for JSON."""
        table = self.table()
        made = table[table["neighbours"] != ""]
        return {
            **self.summary,
            "interpolated": [
                {"x": x, "y": y, "class": name, "neighbours": neighbours}
                for x, y, name, neighbours in made[["x", "y", "class", "neighbours"]].tolist()
            ],
            "lines": [line.to_dict() for line in self.lines],
            "clusters": [cluster.to_dict() for cluster in self.clusters],
        }

    def flipped(self) -> PixelMap:
        """The map of the same frames upside down."""
        height, width = self.shape
        rows = self._rows
        y, x = np.divmod(rows.place, width)
        place = (height - 1 - y) * width + x
        order = np.argsort(place, kind="stable")
        swapped = {"up": "down", "down": "up"}
        swap = np.array([NEIGHBOURS.index(swapped.get(name, name)) for name in NEIGHBOURS], np.uint8)
        moved = PixelRows(
            place[order],
            rows.code[order],
            rows.value[order],
            rows.limit[order],
            swap[rows.neighbours[order]],
        )
        orders: dict[str | None, RowOrder] = {"bottom": "top", "top": "bottom"}
        return PixelMap(
            np.ascontiguousarray(self.flags[::-1]),
            moved,
            [Line(**{**asdict(line), "y": height - line.y - line.height}) for line in self.lines],
            [Cluster(**{**asdict(group), "y": height - group.y - group.height}) for group in self.clusters],
            orders.get(self.row_order),
            self.frames,
        )

    def in_row_order(self, wanted: RowOrder | None) -> PixelMap:
        """Return the map with its rows in an order; as it is if either order is unknown.

        Parameters
        ----------
        wanted : {"bottom", "top"}, optional
            Row that is to come first.

        Returns
        -------
        PixelMap
        """
        return self.flipped() if is_flipped(self.row_order, wanted) else self

    def for_frames(self, shape: tuple[int, ...], row_order: RowOrder | None) -> npt.NDArray[np.bool_]:
        """Bad pixels as frames have them.

        Parameters
        ----------
        shape : tuple of int
            Of the frames, (y, x) or (y, x, c): the planes of a colour frame have the same bad pixels.
        row_order : {"bottom", "top"}, optional
            Of the frames. The map is turned upside down if its own is known and another.

        Returns
        -------
        bool ndarray, of this shape

        Raises
        ------
        Error
            The map is for frames of another shape.
        """
        if tuple(shape[:2]) != self.shape:
            turned = tuple(shape[:2]) == self.shape[::-1]
            raise Error(
                f"the pixel map is for frames of shape {self.shape}, these have {tuple(shape)}"
                + (": it is turned by 90 degrees" if turned else "")
                + "; classify the pixels of this sensor"
            )
        bad = self.in_row_order(row_order).bad
        return np.ascontiguousarray(np.broadcast_to(bad[..., None], shape)) if len(shape) == 3 else bad

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the map to a file, atomically.

        Parameters
        ----------
        path : path-like
            The suffix decides: ``.h5`` holds everything; ``.mrc`` and ``.tif`` are images that are 1 at bad
            pixels; ``.txt`` has the rectangles that RELION and MotionCor read, ``x y width height``, row 0 at
            the bottom; ``.csv`` one row per pixel, with the reason.
        overwrite : bool
            Replace an existing map. Files of another kind are never replaced.

        Raises
        ------
        ValueError
            The suffix is another one.
        Error
            There is such a file already, or one of another kind.
        OSError
            It cannot be written.
        """
        from camnorm.sensor.pixelfile import save_pixels

        save_pixels(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, shape: tuple[int, ...] | None = None) -> PixelMap:
        """Read a map from a file that `save` wrote, or another program.

        Parameters
        ----------
        path : path-like
            The file.
        shape : tuple of int, optional
            Of the frames: needed for ``.txt`` and ``.csv``, which do not say it.

        Returns
        -------
        PixelMap
            Images and rectangles do not say why a pixel is bad: the class is "user".

        Raises
        ------
        FormatError
            It is a file of another kind, or damaged.
        Error
            It does not go with the shape, or the shape is needed.
        OSError
            It cannot be read.
        """
        from camnorm.sensor.pixelfile import load_pixels

        return load_pixels(path, shape)

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number)
        return f"<PixelMap of {self.shape}: {self.flagged} bad pixels{f' ({counts})' if counts else ''}>"


GivenPixels: TypeAlias = PixelMap | str | os.PathLike[str]
"""What a user may give: a map, or a file of one."""


def bad_pixels_of(
    pixels: GivenPixels | None, shape: tuple[int, ...], row_order: RowOrder | None
) -> npt.NDArray[np.bool_] | None:
    """Bad pixels of frames by a map that a user gave; None if there is no map.

    Parameters
    ----------
    pixels : PixelMap or path-like, optional
        The map.
    shape : tuple of int
        Of the frames.
    row_order : {"bottom", "top"}, optional
        Of the frames.
    """
    return None if pixels is None else as_pixel_map(pixels, shape).for_frames(shape, row_order)


def as_pixel_map(given: object, shape: tuple[int, ...]) -> PixelMap:
    """Return a map as it is, or loaded; TypeError if it is something else.

    Parameters
    ----------
    given : PixelMap or path-like
        The map.
    shape : tuple of int
        Of the frames that it is for.
    """
    if isinstance(given, PixelMap):
        return given
    if isinstance(given, (str, os.PathLike)):
        return PixelMap.load(given, shape=shape)
    advice = ": make one with PixelMap.from_mask" if isinstance(given, np.ndarray) else ""
    raise TypeError(f"pixels must be a PixelMap or a path, not {type(given).__name__}{advice}")
