"""Gain reference and defects that are known beforehand, applied to frames as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core
from camnorm.apriori.defects import read_defects
from camnorm.apriori.gain import Gain, MisfitError, Treatment, read_gain
from camnorm.errors import Error, FormatError, message_of
from camnorm.io.base.rows import WrappedSource
from camnorm.io.base.source import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.io.base.options import ReadOptions

__all__ = ["PreparedSource", "check_references", "prepare", "reference_images"]

_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


@contextmanager
def naming(argument: str, what: str) -> Iterator[None]:
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
        with naming("gain", "gain reference"):
            read_gain(options.gain, "", Treatment.of(options, ""), shape)
    else:
        for name in ("gain_rotate", "gain_flip", "gain_operation"):
            value = getattr(options, name)
            if value not in (None, "auto"):
                raise Error(
                    f"{name}={value} says how a gain is used, but there is none: name it by gain=FILE"
                )
    if options.defects is not None:
        with naming("defects", "defect file"):
            options.defects.stat()
            if shape is not None:
                read_defects(options.defects, "", shape)


class PreparedSource(WrappedSource):
    """Frames of another source, multiplied by a gain, bad pixels filled from their good neighbours.

    Pixels are float32.
    """

    def __init__(self, inner: FrameSource, preparation: _core.Correction) -> None:
        super().__init__(inner, np.dtype(np.float32))
        self._preparation = preparation

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frames = self._preparation.apply(self._inner_frames(start, stop), None, np.float32, 1, None)
        if self._inner.dtype.kind == "f":  # a frame beyond float32 must not pass for a good one
            frames[np.abs(frames) == np.finfo(np.float32).max] *= np.inf
        return frames


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
    if options.gain_is_to_be_turned:
        raise Error(
            "which way a gain lies is found by measure only; leave out gain_rotate='auto' and "
            "gain_flip='auto', or give numbers"
        )
    gain = version = None
    if options.gain is not None:
        try:
            gain = _gain_of(options, source.format, source.shape)
        except MisfitError as error:
            raise MisfitError(error.path, error.given, error.shape, source.path) from None
    with naming("defects", "defect file"):
        if options.defects is not None:
            version = options.defects.stat().st_mtime_ns
        preparation = _preparation(gain, options.defects, version, source.format, source.shape)
    return PreparedSource(source, preparation)


def reference_images(
    options: ReadOptions, frames_format: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read the gain and the defects of the options for frames of a format.

    Parameters
    ----------
    options : ReadOptions
        Of which `gain` and `defects` are looked at.
    frames_format : str
        Format of the frames.
    shape : tuple of int
        Of a frame, (y, x).

    Returns
    -------
    tuple of ndarray, shape (y, x)
        Factors by which frames are multiplied (float64, 1 without a gain), and which pixels are filled from
        their neighbours (bool).

    Raises
    ------
    Error
        Gain or defects cannot be read or used, or not for frames of this shape.
    """
    values, bad = np.ones(shape), np.zeros(shape, np.bool_)
    if options.gain is not None:
        values = _gain_of(options, frames_format, shape).values
        bad |= values == 0
    if options.defects is not None:
        with naming("defects", "defect file"):
            bad |= read_defects(options.defects, frames_format, shape)
    return values, bad


def _gain_of(options: ReadOptions, frames_format: str, shape: tuple[int, ...]) -> Gain:
    """The gain for frames of a format and shape; read once for all that are alike."""
    assert options.gain is not None
    treatment = Treatment.of(options, frames_format)
    with naming("gain", "gain reference"):
        version = options.gain.stat().st_mtime_ns
        return _cached_gain(options.gain, version, frames_format, treatment, shape)


@lru_cache(maxsize=2)
def _cached_gain(
    path: Path, version: int, frames_format: str, treatment: Treatment, shape: tuple[int, ...]
) -> Gain:
    return read_gain(path, frames_format, treatment, shape)


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
