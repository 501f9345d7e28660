"""Whether there are frames with the numbers of a sensor file, as far as these numbers tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.sensor.digest import DamageError
from camnorm.sensor.table import FRAME_DTYPE, STATISTICS
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.neighbours import NeighbourSums
from camnorm.statistics.response import PixelResponse

__all__ = [
    "check_files",
    "check_frames",
    "check_halves",
    "check_moments",
    "check_neighbours",
    "check_responses",
]

# Relative errors of statistics in the frame table, of sums over all pixels that are formed of them, and of
# products.
_STATISTICS_ERROR = 1e-9
_PRODUCTS_ERROR = 1e-9

# Pixels of which products are compared at a time.
_BLOCK = 2**20

_EXPOSURE_UNITS = 256.0
"""Of integer frames; see `PixelResponse`."""


def check_files(files: npt.NDArray[np.void]) -> None:
    """Raise DamageError if a row of the table of files cannot be."""
    for bad, text in (
        (files["size"] < -1, "{path} has a size of {size} bytes"),
        (~np.isfinite(files["mtime"]), "{path} was changed at {mtime}"),
    ):
        for row in files[bad][:1]:
            raise DamageError(
                f"file table: {text}".format(**{name: row[name] for name in files.dtype.names or ()})
            )


def check_frames(numbers: npt.NDArray[Any], frames: npt.NDArray[np.void], files: int) -> None:
    """Raise DamageError if a row of the frame table cannot be.

    Parameters
    ----------
    numbers : ndarray of int
        Number of the file of each row.
    frames : structured ndarray
        The rows.
    files : int
        Number of files that there are.
    """
    for number in numbers[(numbers < 0) | (numbers >= files)][:1]:
        raise DamageError(f"frame table: file index {number} is out of bounds, 0 to {files - 1}")
    accepted = frames["status"] == "accepted"
    rejected = frames["status"] == "rejected"
    mean, std, low, high = (frames[name] for name in STATISTICS)
    slack = _STATISTICS_ERROR * np.maximum(np.abs(low), np.abs(high))
    with np.errstate(invalid="ignore", over="ignore"):
        possible = (low - slack <= mean) & (mean <= high + slack) & (std >= 0) & (std <= high - low + slack)
        possible &= np.isfinite(low) & np.isfinite(high)
    unknown = np.isnan(mean) & np.isnan(std) & np.isnan(low) & np.isnan(high)
    for bad, reason in (
        (~(accepted | rejected), "is neither accepted nor rejected"),
        (~np.isin(frames["half"], ("A", "B")), "is of neither half"),
        (frames["index"] < np.where(accepted, 0, -1), "has a negative index"),
        (~possible & ~(rejected & unknown), "has statistics that no frame has"),
    ):
        for row in np.flatnonzero(bad)[:1]:
            raise DamageError(f"frame table: row {row} {reason}")


def check_halves(
    halves: Sequence[PixelMoments], frames: npt.NDArray[np.void], unlisted: tuple[int, int] = (0, 0)
) -> None:
    """Raise DamageError if the halves cannot be made of the accepted frames of the table.

    Parameters
    ----------
    halves : sequence of two PixelMoments
        The moments.
    frames : structured ndarray
        The table, of which `check_frames` has approved.
    unlisted : tuple of two ints
        Further frames of each half, which came as moments and have no rows. All that is known of their pixels
        is their kind.
    """
    # Float sums keep rounding errors of frames that were taken out again.
    seen = frames[np.isfinite(frames["min"]) & np.isfinite(frames["max"])]
    rounding = _largest(seen)
    for name, half, more in zip("AB", halves, unlisted, strict=True):
        rows = frames[(frames["status"] == "accepted") & (frames["half"] == name)]
        if half.count != rows.size + more:
            raise DamageError(
                f"half {name} holds sums of {_frames(half.count)}, but the frame table lists "
                f"{_frames(rows.size)} accepted for it" + (f", and {more} came as moments" if more else "")
            )
        if more:
            _check_unlisted(name, half, rows, more)
        else:
            _check_sums(name, half, rows, rounding)


def check_moments(name: str, half: PixelMoments) -> None:
    """Raise DamageError if there are no frames with the sums of a half, of which nothing else is known.

    Parameters
    ----------
    name : str
        Of the half.
    half : PixelMoments
        Its moments.
    """
    _check_unlisted(name, half, np.empty(0, FRAME_DTYPE), half.count)


def _check_unlisted(name: str, half: PixelMoments, rows: npt.NDArray[np.void], more: int) -> None:
    """Compare the sums of a half, of whose frames only some have rows, with what any frames can have."""
    low, high = _range_of(half)
    smallest, largest = (
        float(choose(rows[column], initial=end))
        for choose, column, end in ((np.min, "min", low), (np.max, "max", high))
    )
    least = math.fsum(rows["min"]) + more * low
    greatest = math.fsum(rows["max"]) + more * high
    rounding = max(abs(smallest), abs(largest))
    total, squares = _checked(name, half, (least, greatest, smallest, largest, rounding), "")
    if not rows.size:
        return
    # What is left over all pixels must be possible for the frames without rows.
    pixels = math.prod(half.shape)
    expected, slack = _over_pixels(rows, pixels)
    rest, rest_squares = total - expected[0], squares - expected[1]
    n = float(more * pixels)
    residue = pixels * (half.count + 1) * 2.0**-90
    slack = slack[0] + residue * rounding, slack[1] + residue * rounding**2
    # (Σx)² ≤ n·Σx² over the pixels of these frames.
    least_square = max(abs(rest) - slack[0], 0.0) ** 2
    if least_square > n * (rest_squares + slack[1]) * (1 + _STATISTICS_ERROR):
        raise DamageError(
            f"the sums of half {name} are not those of the frames in the table and of {more} others"
        )


def _range_of(half: PixelMoments) -> tuple[float, float]:
    """Smallest and largest value that pixels of these moments can have had."""
    squares = half.parts().get("sum_of_squares_high")
    if squares is None:
        return -32768.0, 65535.0  # of 8 or 16 bit, with a sign or without
    # No square is larger than their sum.
    magnitude = math.sqrt(max(float(np.max(squares)), 0.0)) * (1 + _STATISTICS_ERROR)
    return -magnitude, magnitude


def _checked(
    name: str, half: PixelMoments, bounds: tuple[float, float, float, float, float], like: str
) -> tuple[float, float]:
    """Sum and sum of squares over all pixels of a half, none of which is beyond these bounds."""
    pixel, total, squares = half.check(bounds)
    if pixel < math.prod(half.shape):
        place = ", ".join(str(int(i)) for i in np.unravel_index(pixel, half.shape))
        raise DamageError(f"no {_frames(half.count)}{like} have the sums of pixel ({place}) in half {name}")
    return total, squares


def _check_sums(name: str, half: PixelMoments, rows: npt.NDArray[np.void], rounding: float) -> None:
    """Compare the sums of a half with the statistics of its frames."""
    least, greatest = (math.fsum(rows[column]) for column in ("min", "max"))
    smallest = float(rows["min"].min(initial=math.inf)) if rows.size else 0.0
    largest = float(rows["max"].max(initial=-math.inf)) if rows.size else 0.0
    bounds = (least, greatest, smallest, largest, rounding)
    total, squares = _checked(name, half, bounds, " like those of the table")
    pixels = math.prod(half.shape)
    (expected, expected_squares), (slack, slack_squares) = _over_pixels(rows, pixels)
    residue = pixels * (rows.size + 1) * 2.0**-90
    if (
        abs(total - expected) > slack + residue * rounding
        or abs(squares - expected_squares) > slack_squares + residue * rounding**2
    ):
        raise DamageError(f"the sums of half {name} are not those of the frames in the table")


def _over_pixels(rows: npt.NDArray[np.void], pixels: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Sum and sum of squares over all pixels of frames, by their statistics, and the errors of both."""
    with np.errstate(over="ignore"):
        magnitudes = np.maximum(np.abs(rows["min"]), np.abs(rows["max"]))
        sums = math.fsum(rows["mean"]), math.fsum(rows["std"] ** 2 + rows["mean"] ** 2)
        errors = math.fsum(magnitudes), math.fsum(magnitudes**2)
    slack = _STATISTICS_ERROR * pixels
    return (pixels * sums[0], pixels * sums[1]), (slack * errors[0], slack * errors[1])


def check_responses(
    responses: Sequence[PixelResponse], halves: Sequence[PixelMoments], frames: npt.NDArray[np.void]
) -> None:
    """Raise DamageError if responses cannot be those of the frames whose moments and rows these are.

    Parameters
    ----------
    responses : sequence of two PixelResponse
        The responses.
    halves : sequence of two PixelMoments
        The moments of the same frames.
    frames : structured ndarray
        The table.
    """
    for name, response, half in zip("AB", responses, halves, strict=True):
        if half.count != response.count:
            raise DamageError(f"moments of {half.count} frames, but a response of {response.count}")
        numbers = response.numbers()
        rows = frames[(frames["status"] == "accepted") & (frames["half"] == name)]
        total, squares = _exposures(numbers)
        expected = math.fsum(rows["mean"]), math.fsum(rows["mean"] ** 2)
        # Exposures of integer frames are rounded.
        rounded = 0.5 / _EXPOSURE_UNITS if "exposure_sum" in numbers else 0.0
        largest = _largest(frames[np.isfinite(frames["min"]) & np.isfinite(frames["max"])])
        slack = rows.size * (rounded + _STATISTICS_ERROR * largest)
        if abs(total - expected[0]) > slack or abs(squares - expected[1]) > slack * (2 * largest + 1):
            raise DamageError(f"the exposures of half {name} are not those of the frames in the table")
        _check_products(name, response, half, squares)


def check_neighbours(name: str, sums: NeighbourSums, half: PixelMoments) -> None:
    """Complete neighbour sums by the moments of their half; DamageError if no frames have both.

    Parameters
    ----------
    name : str
        Of the half.
    sums : NeighbourSums
        Its sums as a file holds them: without moments.
    half : PixelMoments
        Its moments.
    """
    if half.count != sums.count:
        raise DamageError(f"moments of {half.count} frames, but neighbour sums of {sums.count}")
    sums.take_moments(half)
    pixel = sums.check()
    if pixel < math.prod(half.shape):
        place = ", ".join(str(int(i)) for i in np.unravel_index(pixel, half.shape))
        raise DamageError(f"no frames have the neighbour sums of pixel ({place}) in half {name}")


def _exposures(numbers: Mapping[str, Any]) -> tuple[float, float]:
    """Sums of the exposures and of their squares, in units of the pixels."""
    if "exposure_sum" in numbers:
        return (
            numbers["exposure_sum"] / _EXPOSURE_UNITS,
            numbers["exposure_sum_of_squares"] / _EXPOSURE_UNITS**2,
        )
    return numbers["exposure_sum_high"], numbers["exposure_sum_of_squares_high"]


def _check_products(name: str, response: PixelResponse, half: PixelMoments, squares: float) -> None:
    """Compare products with the squares of both factors, (Σwx)² ≤ Σw²·Σx²."""
    parts, moments = response.parts(), half.parts()
    integer = "sum_of_products" in parts
    products = parts["sum_of_products" if integer else "sum_of_products_high"].reshape(-1)
    pixel_squares = moments["sum_of_squares" if integer else "sum_of_squares_high"].reshape(-1)
    units = _EXPOSURE_UNITS if integer else 1.0
    for start in range(0, products.size, _BLOCK):
        some = products[start : start + _BLOCK] / units
        limit = np.sqrt(squares) * np.sqrt(np.maximum(pixel_squares[start : start + _BLOCK], 0.0))
        bad = ~(np.abs(some) <= limit * (1 + _PRODUCTS_ERROR))
        if bad.any():
            raise DamageError(f"no frames have the products of half {name}")


def _largest(rows: npt.NDArray[np.void]) -> float:
    """Largest magnitude of a pixel."""
    return float(max((np.abs(rows[name]).max(initial=0.0) for name in ("min", "max")), default=0.0))


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
