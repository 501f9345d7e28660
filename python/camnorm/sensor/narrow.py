"""Sums as a file holds them: in the narrowest integers that can, read and written block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import h5py

    from camnorm.sensor.digest import Digests

__all__ = ["expected_dtype", "read_sums", "stored_dtype", "write_sums"]

_INTEGERS = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4"))

# Frames of a long set.
_FRAMES = 2**15

# Values looked at in one go: they stay in the cache between the search for the smallest and the largest.
_VALUES = 2**17


def _narrowest(low: int, high: int, otherwise: np.dtype[Any]) -> np.dtype[Any]:
    """The narrowest type for integers from `low` to `high`, unsigned if it can be."""
    for dtype in _INTEGERS:
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return dtype
    return otherwise


def stored_dtype(array: npt.NDArray[Any], found: Digests) -> np.dtype[Any]:
    """Return the type in which a file holds sums.

    Parameters
    ----------
    array : ndarray
        Integer or float64 sums, C-contiguous.
    found : Digests
        Its threads look at the sums.

    Returns
    -------
    dtype
        The narrowest for integers; float64 for float64.
    """
    if array.dtype.kind == "f":
        return array.dtype
    values = array.reshape(-1)

    def ends(start: int) -> tuple[int, int]:
        some = values[start : start + _VALUES]
        return int(some.min()), int(some.max())

    lows, highs = zip(*found.map(ends, range(0, values.size, _VALUES)), strict=True)
    return _narrowest(min(lows), max(highs), array.dtype)


def expected_dtype(part: str, array: npt.NDArray[Any], pixels: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which a file will hold the sums of a long set, before its frames are read.

    Parameters
    ----------
    part : str
        Name of the sums.
    array : ndarray
        Takes them.
    pixels : dtype
        Of the frames.

    Returns
    -------
    dtype
    """
    if array.dtype.kind == "f":
        return array.dtype
    limits = np.iinfo(pixels)
    largest = max(-limits.min, limits.max)
    # Sums of squared differences, of the mean of eight neighbours at the most; products with exposures.
    factor = 64 if part.endswith("_squares") else 256
    high = _FRAMES * largest * {"sum": 1, "sum_of_squares": largest}.get(part, factor * largest)
    return _narrowest(0 if array.dtype.kind == "u" else min(limits.min, 0), high, array.dtype)


def write_sums(
    group: h5py.Group, name: str, array: npt.NDArray[Any], dtype: np.dtype[Any], found: Digests
) -> None:
    """Write sums as a data set.

    Parameters
    ----------
    group : h5py.Group
        Where.
    name : str
        Of the data set.
    array : ndarray
        The sums.
    dtype : dtype
        Type of the data set, which can hold them; see `stored_dtype`.
    found : Digests
        Takes up the digest of what is stored.
    """
    dataset = group.create_dataset(name, array.shape, dtype)

    def write(rows: slice) -> npt.NDArray[Any]:
        stored = array[rows].astype(dtype, copy=False)
        dataset[rows] = stored
        return stored

    _by_blocks(dataset, write, found)


def read_sums(dataset: h5py.Dataset, array: npt.NDArray[Any], found: Digests) -> None:
    """Read sums that `write_sums`, or an earlier version, wrote.

    Parameters
    ----------
    dataset : h5py.Dataset
        Where they are stored, in the shape of `array`.
    array : ndarray
        Takes them.
    found : Digests
        Takes up the digest of what is stored.

    Raises
    ------
    ValueError
        If they are of a type whose numbers the array cannot hold.
    """
    integers = dataset.dtype.kind in "iu" and array.dtype.kind in "iu"
    if not np.can_cast(dataset.dtype, array.dtype, "safe" if integers else "no"):
        narrower = " or a narrower integer" if array.dtype.kind in "iu" else ""
        part = dataset.name.rpartition("/")[2]
        raise ValueError(f"{part} has dtype {dataset.dtype}, not {array.dtype}{narrower}")

    def read(rows: slice) -> npt.NDArray[Any]:
        if dataset.dtype == array.dtype:
            dataset.read_direct(array, rows, rows)
            return array[rows]
        stored: npt.NDArray[Any] = dataset[rows]
        array[rows] = stored
        return stored

    _by_blocks(dataset, read, found)


def _by_blocks(dataset: h5py.Dataset, move: Callable[[slice], npt.NDArray[Any]], found: Digests) -> None:
    """Call move(rows), which returns what is stored of these rows, for the rows of each block of a digest.

    A row that two blocks share is moved twice.
    """
    length = dataset.size // len(dataset)

    def block(start: int, stop: int) -> npt.NDArray[Any]:
        first = start // length
        stored = move(slice(first, -(-stop // length)))
        return stored.reshape(-1)[start - first * length : stop - first * length]

    found.add_blocks(dataset.name, dataset.dtype, dataset.shape, block)
