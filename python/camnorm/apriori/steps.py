"""Gain reference and defects that are known beforehand, applied to frames as they are read."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core
from camnorm.errors import Error, FormatError, message_of, raise_shortage
from camnorm.io.base.registry import open_frames
from camnorm.io.base.source import FrameSource
from camnorm.io.base.writers import is_flipped
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.io.base.options import ReadOptions

# Files, and frames of each, from which it is found out whether a gain is turned against them.
_FILES_LOOKED_INTO, _FRAMES_LOOKED_AT = 8, 8

# Keys of the defect files of SerialEM and IMOD, and what each line of them holds.
_SERIAL_EM_KEYS = {
    "CameraSizeX",
    "CameraSizeY",
    "BadColumns",
    "BadRows",
    "BadPixels",
    "PartialBadColumn",
    "PartialBadRow",
}

# Rotations and flips of an image, as users call them.
ORIENTATIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "as it is": lambda a: a,
    "flipped upside down": lambda a: a[::-1],
    "flipped left to right": lambda a: a[:, ::-1],
    "rotated by 180 degrees": lambda a: a[::-1, ::-1],
    "rotated by 90 degrees counterclockwise": lambda a: np.rot90(a),
    "rotated by 90 degrees clockwise": lambda a: np.rot90(a, -1),
    "transposed": lambda a: a.T,
    "transposed along the other diagonal": lambda a: a[::-1, ::-1].T,
}


@dataclass(frozen=True, eq=False)
class Gain:
    """A gain reference: by it the pixels of every frame are multiplied.

    Attributes
    ----------
    path : pathlib.Path
        Where it was read from.
    values : ndarray of float64, shape (y, x)
        Rows in the order of the frames that it is for. 0 where a pixel is bad.
    """

    path: Path
    values: NDArray[np.float64]

    def check_shape(self, where: Path | str, shape: tuple[int, ...]) -> None:
        """Raise Error unless frames of this shape, those of a file, can be multiplied."""
        if self.values.shape == shape:
            return
        hint = ""
        if self.values.shape == shape[::-1]:
            hint = ": it would fit if it were rotated by 90 degrees"
        elif len(shape) == 2 and shape[0] * self.values.shape[1] == shape[1] * self.values.shape[0]:
            hint = f": one of them is binned by {max(shape) / max(self.values.shape):g} against the other"
        raise Error(
            f"{self.path}: a gain of shape {self.values.shape} for frames of {shape} in {where}{hint}"
        )


_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


@contextmanager
def _naming(argument: str, what: str) -> Iterator[None]:
    """Have errors of a gain or defect file tell how to give another: no movie is at fault."""
    try:
        yield
    except (FormatError, *_MISSING) as error:
        raise Error(f"{message_of(error)}; {argument}=FILE names another {what}") from error


def check_references(options: ReadOptions, shape: tuple[int, ...] | None = None) -> None:
    """Raise Error unless the gain and the defects of the options can be read.

    Parameters
    ----------
    options : ReadOptions
        Nothing is done if they have neither.
    shape : tuple of int, optional
        Of the frames that they are for, if it is known: they must fit.
    """
    if options.gain is not None:
        with _naming("gain", "gain reference"):
            gain = read_gain(options.gain, "")
        if shape is not None:
            gain.check_shape("the set", shape)
    if options.defects is not None:
        with _naming("defects", "defect file"):
            options.defects.stat()
            if shape is not None:
                read_defects(options.defects, "", shape)


def read_gain(path: Path, frames_format: str) -> Gain:
    """Read a gain reference.

    Parameters
    ----------
    path : pathlib.Path
        An image file of one frame (MRC, TIFF, ``.gain``, DM4...), of several the first.
    frames_format : str
        Format of the frames that it is for. Between MRC and TIFF the rows are turned upside down, as
        RELION and MotionCor do.

    Returns
    -------
    Gain

    Raises
    ------
    Error
        It is no gain: of colour, or all of it is 0, negative or not finite.
    FormatError, OSError
        It cannot be read.
    """
    values, turned = _read_image(path, frames_format)
    values = np.where(np.isfinite(values) & (values > 0), values, 0.0)
    if not values.any():
        raise Error(f"{path}: no gain, all of its pixels are 0, negative or not finite")
    if turned:
        warnings.warn(
            f"{path}: turned upside down, as other programs do for {frames_format} frames", stacklevel=2
        )
    return Gain(path, values)


def read_defects(path: Path, frames_format: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read which pixels are known to be bad.

    Parameters
    ----------
    path : pathlib.Path
        A text file of rectangles, ``x y width height`` a line, counted from 0, row 0 at the bottom as in
        MRC files (RELION, MotionCor, Warp); a defect file of SerialEM or IMOD, row 0 at the top; or an
        image that is not 0 where a pixel is bad.
    frames_format : str
        Format of the frames that it is for: decides which row is the first.
    shape : tuple of int
        Of a frame, (y, x).

    Returns
    -------
    ndarray of bool, shape (y, x)
        True where a pixel is bad.

    Raises
    ------
    Error
        The file holds something else, or defects outside of the frame.
    OSError
        It cannot be read.
    """
    if len(shape) != 2:
        raise Error(f"{path}: defects of frames of shape {shape} cannot be told: only of (y, x)")
    text = _text_of(path)
    if text is None:
        values, _ = _read_image(path, frames_format)
        if values.shape != shape:
            raise Error(f"{path}: a defect map of shape {values.shape} for frames of {shape}")
        return np.asarray(values != 0)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    from_serial_em = bool(lines) and lines[0][0] in _SERIAL_EM_KEYS
    rectangles = _serial_em(path, lines, shape) if from_serial_em else _rectangles(path, lines)
    bad = np.zeros(shape, np.bool_)
    rows = bad[::-1] if frames_format == ("MRC" if from_serial_em else "TIFF") else bad
    for x, y, width, height in rectangles:
        if min(x, y, width, height) < 0 or x + width > shape[1] or y + height > shape[0]:
            raise Error(f"{path}: the defect {x} {y} {width} {height} is not within frames of {shape}")
        rows[y : y + height, x : x + width] = True
    return bad


def _text_of(path: Path) -> str | None:
    """Text of a file that is one of numbers and names, else None."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device may have no end
        raise FormatError(path, "not a regular file")
    if status.st_size > 2**24:
        return None
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if re.fullmatch(r"[\w\s.,+-]*", text) else None


def _rectangles(path: Path, lines: list[list[str]]) -> Iterable[tuple[int, int, int, int]]:
    for words in lines:
        try:
            x, y, width, height = map(int, words)
        except ValueError:
            raise Error(
                f"{path}: {' '.join(words)[:60]!r} is no defect: x y width height are wanted"
            ) from None
        yield x, y, width, height


def _serial_em(
    path: Path, lines: list[list[str]], shape: tuple[int, ...]
) -> Iterable[tuple[int, int, int, int]]:
    """Rectangles of a defect file of SerialEM; those of physical pixels doubled for super-resolution."""
    found: list[tuple[int, int, int, int]] = []
    sizes: dict[str, int] = {}
    height, width = shape
    for key, *words in lines:
        if key not in _SERIAL_EM_KEYS:
            continue
        try:
            numbers = [int(word) for word in words]
            if key in ("CameraSizeX", "CameraSizeY"):
                (sizes[key],) = numbers
            elif key == "BadColumns":
                found += [(x, 0, 1, -1) for x in numbers]
            elif key == "BadRows":
                found += [(0, y, -1, 1) for y in numbers]
            elif key == "BadPixels":
                found += [(x, y, 1, 1) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
            else:
                place, across, first, last = numbers
                along = last - first + 1
                column = key == "PartialBadColumn"
                found.append((place, first, across, along) if column else (first, place, along, across))
        except ValueError:
            raise Error(f"{path}: {key} with {' '.join(words)[:60]!r}, numbers are wanted") from None
    given = (sizes.get("CameraSizeY", height), sizes.get("CameraSizeX", width))
    scale = height // given[0] if given[0] else 0
    if scale not in (1, 2) or (given[0] * scale, given[1] * scale) != (height, width):
        raise Error(f"{path}: defects of a camera of {given[0]} x {given[1]} pixels for frames of {shape}")
    for x, y, columns, rows in found:
        yield (
            x * scale,
            y * scale,
            width if columns < 0 else columns * scale,
            height if rows < 0 else rows * scale,
        )


def _read_image(path: Path, frames_format: str) -> tuple[NDArray[np.float64], bool]:
    """First frame of a file, and whether it was turned upside down to suit the frames."""
    with open_frames(path) as source:
        if len(source.shape) != 2:
            raise FormatError(path, f"an image of shape {source.shape} where (y, x) is wanted")
        values = source.read(0)[0].astype(np.float64)
        source.check_whole()
        turn = is_flipped(source.format, frames_format)
    return (values[::-1] if turn else values), turn


class PreparedSource(FrameSource):
    """Frames of another source, multiplied by a gain, bad pixels filled from their good neighbours.

    Pixels are float32.
    """

    def __init__(self, origin: FrameSource, preparation: _core.Correction) -> None:
        self._origin = origin
        self._preparation = preparation
        self.path = origin.path
        self.format = origin.format  # type: ignore[misc]
        self.shape = origin.shape
        self.dtype = np.dtype(np.float32)
        self.count = origin.count
        self.available = origin.available
        self.metadata = origin.metadata
        self.sequential = origin.sequential  # type: ignore[misc]
        self._file = origin.file

    @property
    def origin(self) -> FrameSource:
        """The source of the frames as the file holds them."""
        return self._origin

    @property
    def files(self) -> list[Path]:
        """All files that frames are read from."""
        return self._origin.files

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frames = self._preparation.apply(self._origin.view(start, stop), None, np.float32, 1, None)
        if self._origin.dtype.kind == "f":  # a frame beyond float32 must not pass for a good one
            frames[np.abs(frames) == np.finfo(np.float32).max] *= np.inf
        return frames

    def check_whole(self) -> None:
        """Compare the checksum of the file; see `FrameSource`."""
        try:
            self._origin.check_whole()
        finally:
            self.available = self._origin.available

    def close(self) -> None:
        """Close the file; arrays that were read from it stay valid."""
        self._origin.close()


def prepare(source: FrameSource, options: ReadOptions) -> FrameSource:
    """Apply the gain and the defects of the options to the frames of a source.

    Parameters
    ----------
    source : FrameSource
        The frames as the file holds them; belongs to the result from then on.
    options : ReadOptions
        Of which `gain` and `defects` are looked at.

    Returns
    -------
    FrameSource
        Of float32 pixels; the given one if there is nothing to apply.

    Raises
    ------
    Error
        Gain or defects cannot be read or used, or not for frames of this shape.
    """
    if options.gain is None and options.defects is None:
        return source
    gain = version = None
    if options.gain is not None:
        with _naming("gain", "gain reference"):
            gain = _cached_gain(options.gain, options.gain.stat().st_mtime_ns, source.format)
        gain.check_shape(source.path, source.shape)
    with _naming("defects", "defect file"):
        if options.defects is not None:
            version = options.defects.stat().st_mtime_ns
        preparation = _preparation(gain, options.defects, version, source.format, source.shape)
    return PreparedSource(source, preparation)


@lru_cache(maxsize=2)
def _cached_gain(path: Path, version: int | None, frames_format: str) -> Gain:
    return read_gain(path, frames_format)


@lru_cache(maxsize=2)
def _preparation(
    gain: Gain | None, defects: Path | None, version: int | None, frames_format: str, shape: tuple[int, ...]
) -> _core.Correction:
    """Multiplication by the gain as Eq. (1): a sigma of 1/gain, and a mean of 0."""
    values = np.ones(shape) if gain is None else gain.values
    bad = values == 0
    if defects is not None:
        bad |= read_defects(defects, frames_format, shape)
    sigma = np.divide(1.0, values, where=values > 0, out=np.ones(shape))
    return _core.Correction(np.zeros(shape), sigma, 0.0, 1.0, bad, "interpolate")


def better_orientation(gain: Gain, mean: NDArray[np.float64]) -> str | None:
    """Orientation in which a gain fits the mean of raw frames far better than as it is, if there is one.

    What pixels count more than their neighbours in the mean image the gain should take away: their
    differences from the neighbours are correlated.

    Parameters
    ----------
    gain : Gain
        The gain reference.
    mean : ndarray, shape (y, x)
        Mean of frames that it has not been applied to.

    Returns
    -------
    str or None
        One of the keys of `ORIENTATIONS`.
    """
    wanted = _details(mean)
    given = -_details(gain.values)
    fits = {
        name: float(np.mean(turned * wanted))
        for name, turned in ((name, turn(given)) for name, turn in ORIENTATIONS.items())
        if turned.shape == wanted.shape
    }
    best = max(fits, key=fits.__getitem__)
    # By chance it would be 1 of the square root of the number of pixels.
    certain = 8.0 / wanted.size**0.5
    return best if fits[best] > max(certain, 3.0 * fits["as it is"]) else None


def check_orientation(paths: Sequence[Path], options: ReadOptions) -> None:
    """Warn if the gain of the options seems to be rotated or flipped against the frames of files.

    Raise Error if it fits none of those looked into.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files; a few frames of a few of them are read. Those that cannot be are passed over.
    options : ReadOptions
        Nothing is done if they have no gain.
    """
    if options.gain is None:
        return
    plain = replace(options, gain=None, defects=None)
    total: NDArray[np.float64] | None = None
    unfit: list[tuple[Gain, Path, tuple[int, ...]]] = []
    for path in paths[:: max(1, len(paths) // _FILES_LOOKED_INTO)][:_FILES_LOOKED_INTO]:
        try:
            with open_frames(path, plain) as source:
                gain = _cached_gain(options.gain, options.gain.stat().st_mtime_ns, source.format)
                if gain.values.shape != source.shape:
                    unfit.append((gain, path, source.shape))
                    continue
                total = np.zeros(source.shape) if total is None else total
                for index in range(min(source.available, _FRAMES_LOOKED_AT)):
                    total += source.view(index)[0]
        except (Error, OSError) as error:
            raise_shortage(error)
    if total is None:
        for gain, path, shape in unfit[:1]:
            gain.check_shape(path, shape)
        return
    better = better_orientation(gain, total)
    if better is not None:
        warnings.warn(
            f"{options.gain}: this gain would fit the frames far better if it were {better}", stacklevel=3
        )


def _details(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of each pixel less that of its four neighbours; mean square 1, outliers limited."""
    good = image > 0
    logs = np.log(np.where(good, image, np.median(image[good]) if good.any() else 1.0))
    around = sum(np.roll(logs, shift, axis) for shift in (1, -1) for axis in (0, 1)) / 4.0
    details: NDArray[np.float64] = logs - around
    details[[0, -1]] = 0.0
    details[:, [0, -1]] = 0.0
    limit = 5.0 * MEDIAN_TO_SIGMA * float(np.median(np.abs(details))) or float(np.abs(details).max())
    details = np.clip(details, -limit, limit)
    rms = float(np.sqrt(np.mean(details**2)))
    return details / rms if rms > 0 else details
