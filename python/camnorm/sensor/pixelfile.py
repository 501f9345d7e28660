"""Files of pixel maps: HDF5 with everything, images, and text that other programs read."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm.apriori.defects import read_defects
from camnorm.errors import Error, FormatError
from camnorm.io.base.atomic import NOTHING, Protected, atomic_target, check_content
from camnorm.io.base.registry import open_frames
from camnorm.io.base.rows import RowOrder
from camnorm.sensor.digest import ATTRIBUTE, digests
from camnorm.sensor.opening import open_ours
from camnorm.sensor.pixelclasses import CLASSES, CODES, NEIGHBOURS, USER, Bit, Cluster, Line, PixelRows
from camnorm.sensor.pixelmap import PixelMap
from camnorm.sensor.rectangles import Rectangle, rectangles

__all__ = ["FORMAT", "SUFFIXES", "check_pixels_target", "load_pixels", "save_pixels"]

_Columns: TypeAlias = dict[str, npt.DTypeLike]

FORMAT = "camnorm pixels"
"""What the attribute ``format`` of an HDF5 file of pixels says."""

_SCHEMA = 1
_PIXELS = "pixel_mask"
_MARK = "camnorm pixel map"
_KIND = "a pixel map of camnorm"
_GIVE = "; give a file that `camnorm health -o` wrote, a mask image, or a defect file"
_COLUMNS = ("x", "y", "class", "value", "limit", "neighbours", "reason")
_ROWS: _Columns = {
    "x": np.int32,
    "y": np.int32,
    "class": "S12",
    "value": np.float32,
    "limit": np.float32,
    "neighbours": "S10",
}
_LINES: _Columns = {"class": "S12", "direction": "S6", "full": np.uint8}
_CLUSTERS: _Columns = {"kind": "S7", "class": "S12", "pixels": np.int64}
_ATTRIBUTES = {"class": "pixel_class"}
_BOX: _Columns = dict.fromkeys(("x", "y", "width", "height"), np.int32)


class _Kind(NamedTuple):
    """How files of one suffix are written, and which may be replaced."""

    write: Callable[[PixelMap, Path], None]
    check: Callable[[Path], None]


def save_pixels(
    pixels: PixelMap, path: str | os.PathLike[str], *, overwrite: bool = False, protected: Protected = NOTHING
) -> None:
    """Write a map as its suffix says; see `PixelMap.save`.

    Parameters
    ----------
    pixels : PixelMap
        The map.
    path : path-like
        The file.
    overwrite : bool
        Replace an existing map.
    protected : Protected
        Files that it never replaces.
    """
    kind = check_pixels_target(path)
    with atomic_target(path, overwrite, protected) as temporary:
        kind.write(pixels, temporary)


def check_pixels_target(path: str | os.PathLike[str]) -> _Kind:
    """Raise an error if a map cannot be written to a file: another suffix, or a file of another kind.

    Raises
    ------
    ValueError
        No map is written with this suffix.
    Error
        There is a file of another kind.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        found = path.suffix or "a file without suffix"
        raise ValueError(f"{path}: a pixel map is written as {', '.join(SUFFIXES)}, not as {found}")
    kind.check(path)
    return kind


def load_pixels(path: str | os.PathLike[str], shape: tuple[int, ...] | None = None) -> PixelMap:
    """Read a map; see `PixelMap.load`."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".txt", ".csv") and shape is None:
        raise Error(f"{path}: a {suffix} file does not say the shape of the frames; give shape=")
    if suffix == ".csv":
        assert shape is not None
        return _read_csv(path, (shape[0], shape[1]))
    if suffix == ".txt":
        assert shape is not None
        return PixelMap.from_mask(read_defects(path, "mrc", (shape[0], shape[1])), "bottom")
    if suffix == ".h5":
        return _read_hdf5(path)
    return _read_image(path)


def _rectangles(pixels: PixelMap) -> list[Rectangle]:
    """Rectangles of a map: lines as a whole first, then the rest."""
    left = pixels.bad.copy()
    found = []
    for line in pixels.lines:
        box = np.s_[line.y : line.y + line.height, line.x : line.x + line.width]
        if pixels.bad[box].all():
            found.append((line.x, line.y, line.width, line.height))
            left[box] = False
    return found + rectangles(left)


# HDF5


def _write_hdf5(pixels: PixelMap, path: Path) -> None:
    import h5py

    table = pixels.table()
    lines = [line.to_dict() for line in pixels.lines]
    clusters = [group.to_dict() for group in pixels.clusters]
    columns = {
        **{f"pixels/{name}": table[name].astype(dtype) for name, dtype in _ROWS.items()},
        **_columns_of("lines", lines, _LINES | _BOX),
        **_columns_of("clusters", clusters, _CLUSTERS | _BOX),
    }
    attributes = {
        "format": FORMAT,
        "schema": _SCHEMA,
        "row_order": pixels.row_order or "",
        "frames": pixels.frames,
    }
    with digests() as found, h5py.File(path, "w", locking=False) as f:
        for name, value in attributes.items():
            f.attrs[name] = value
            found.add(f"/@{name}", value)
        f.create_dataset(_PIXELS, data=pixels.flags, compression="gzip", compression_opts=1, shuffle=True)
        found.add(f"/{_PIXELS}", pixels.flags)
        for name, column in columns.items():
            f.create_dataset(name, data=column)
            found.add(f"/{name}", column)
        f.attrs[ATTRIBUTE] = found.as_text()


def _columns_of(
    group: str, rows: Sequence[Mapping[str, Any]], columns: _Columns
) -> dict[str, npt.NDArray[Any]]:
    return {
        f"{group}/{name}": np.array([row[name] for row in rows], dtype) for name, dtype in columns.items()
    }


def _check_hdf5(path: Path) -> None:
    if path.is_file() and path.stat().st_size:
        with open_ours(path, FORMAT, _SCHEMA, "; write elsewhere"):
            pass


def _read_hdf5(path: Path) -> PixelMap:
    from camnorm.io.base.hdf5guard import check_whole, text_of, value_of, values_of

    with open_ours(path, FORMAT, _SCHEMA, _GIVE) as f, digests() as found:
        check_whole(path, f)
        attributes = {
            name: text_of(path, f, name) if name in ("format", "row_order") else value_of(path, f, name)
            for name in ("format", "schema", "row_order", "frames")
        }
        for name, value in attributes.items():
            found.add(f"/@{name}", value)

        def values(name: str) -> Any:
            array = values_of(path, f[name])
            found.add(f"/{name}", array)
            return array

        flags = values(_PIXELS)
        rows = {column: values(f"pixels/{column}") for column in _ROWS}
        lines = {column: values(f"lines/{column}") for column in _LINES | _BOX}
        clusters = {column: values(f"clusters/{column}") for column in _CLUSTERS | _BOX}
        found.check(text_of(path, f, ATTRIBUTE))
        return PixelMap(
            flags,
            _rows_of(rows, flags.shape),
            [Line(**{**line, "full": bool(line["full"])}) for line in _plain_rows(lines)],
            [Cluster(**group) for group in _plain_rows(clusters)],
            _row_order(attributes["row_order"]),
            int(attributes["frames"]),
        )


def _row_order(text: str) -> RowOrder | None:
    return "bottom" if text == "bottom" else "top" if text == "top" else None


def _plain_rows(columns: Mapping[str, npt.NDArray[Any]]) -> Iterator[dict[str, Any]]:
    """Rows of a table as the attributes of a line or a cluster."""
    plain = {
        _ATTRIBUTES.get(name, name): _text(column) if column.dtype.kind == "S" else column.tolist()
        for name, column in columns.items()
    }
    for row in zip(*plain.values(), strict=True):
        yield dict(zip(plain, row, strict=True))


def _text(column: npt.NDArray[Any]) -> list[str]:
    return [word.decode("ascii") for word in column.tolist()]


def _rows_of(columns: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]) -> PixelRows:
    """Rows of bad pixels of a table; ValueError if there are no such pixels, classes or neighbours."""
    x, y = columns["x"].astype(np.int64), columns["y"].astype(np.int64)
    if x.size and not (x.min() >= 0 and x.max() < shape[1] and y.min() >= 0 and y.max() < shape[0]):
        raise ValueError(f"there are pixels outside of frames of {tuple(shape)}")
    place = y * shape[1] + x
    if (np.diff(place) <= 0).any():
        raise ValueError("the pixels are not in order")
    return PixelRows(
        place,
        _codes(_text(columns["class"]), CODES),
        columns["value"].astype(np.float32),
        columns["limit"].astype(np.float32),
        _codes(_text(columns["neighbours"]), NEIGHBOURS),
    )


def _codes(words: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.uint8]:
    numbers = {word: number for number, word in enumerate(known)}
    unknown = sorted(set(words) - set(numbers))
    if unknown:
        raise ValueError(f"unknown word: {unknown[0]!r}")
    return np.array([numbers[word] for word in words], np.uint8)


# Images


def _write_mrc(pixels: PixelMap, path: Path) -> None:
    import mrcfile

    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(pixels.in_row_order("bottom").bad.astype(np.int8))
        file.add_label(f"{_MARK}: 1 at bad pixels")


def _write_tiff(pixels: PixelMap, path: Path) -> None:
    import tifffile

    image = pixels.in_row_order("top").bad.astype(np.uint8)
    tifffile.imwrite(path, image, description=f"{_MARK}: 1 at bad pixels", metadata=None)


def _read_image(path: Path) -> PixelMap:
    with open_frames(path) as source:
        if len(source.shape) != 2:
            raise FormatError(path, f"an image of shape {source.shape} where a mask (y, x) is wanted")
        if source.count > 1:
            raise FormatError(path, f"{source.count} frames, as of a movie, where one mask is wanted")
        values = source.read(0)[0]
        source.check_whole()
        return PixelMap.from_mask(values, source.row_order)


# Text


def _write_rectangles(pixels: PixelMap, path: Path) -> None:
    boxes = _rectangles(pixels.in_row_order("bottom"))
    path.write_text("".join(f"{x} {y} {width} {height}\n" for x, y, width, height in boxes), "ascii")


def _check_rectangles(path: Path) -> None:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        if not re.fullmatch(rb"\s*(\d+\s+){3}\d+\s*", line):
            raise Error(f"{path}: is not a list of defects, and is not replaced by one; write elsewhere")


def _write_csv(pixels: PixelMap, path: Path) -> None:
    with open(path, "w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row, reason in zip(pixels.table().tolist(), pixels.reasons(), strict=True):
            x, y, name, value, limit, neighbours = row
            writer.writerow((x, y, name, f"{value:.6g}", f"{limit:.6g}", neighbours, reason))


def _read_csv(path: Path, shape: tuple[int, int]) -> PixelMap:
    try:
        with open(path, encoding="ascii", newline="") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != _COLUMNS:
                raise FormatError(path, f"not {_KIND}: it does not begin with {','.join(_COLUMNS)}{_GIVE}")
            rows = list(reader)
        columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
        if len(columns) != len(_COLUMNS):
            raise ValueError(f"{len(columns)} columns, not {len(_COLUMNS)}")
        table = {
            name: np.array(column, np.dtype(_ROWS[name]))
            for name, column in zip(_ROWS, columns, strict=False)
        }
        found = _rows_of(table, shape)
    except (ValueError, csv.Error) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, f"damaged pixel map: {error}") from None
    flags = np.zeros(shape, np.uint32)
    bits = [0, *(Bit.OF_CLASS[name] for name in (*CLASSES, USER))]
    flags.reshape(-1)[found.place] = np.array(bits, np.uint32)[found.code]
    return PixelMap(flags, found)


def _marked(mark: str) -> Callable[[Path], None]:
    return lambda path: check_content(path, mark.encode(), _KIND)


SUFFIXES: Mapping[str, _Kind] = {
    ".h5": _Kind(_write_hdf5, _check_hdf5),
    ".mrc": _Kind(_write_mrc, _marked(_MARK)),
    ".tif": _Kind(_write_tiff, _marked(_MARK)),
    ".txt": _Kind(_write_rectangles, _check_rectangles),
    ".csv": _Kind(_write_csv, _marked(",".join(_COLUMNS))),
}
"""How maps are written, by the suffix of their files."""
