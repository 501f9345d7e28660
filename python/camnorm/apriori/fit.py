"""Whether a gain reference suits frames: its orientation and operation, and frames that had it already."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.apriori.gain import Gain, MisfitError, Treatment, read_gain, resample
from camnorm.errors import Error, raise_shortage
from camnorm.io.base.registry import open_frames
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.io.base.options import GainOperation, ReadOptions
    from camnorm.io.base.source import FrameSource

__all__ = ["ORIENTATIONS", "GainFit", "check_orientation", "orient"]

# Files, and frames of each, from which it is found out whether a gain fits them.
_FILES_LOOKED_INTO, _FRAMES_LOOKED_AT = 8, 8

# All orientations of an image, as (rotate, flip).
ORIENTATIONS = ((0, 0), (0, 1), (0, 2), (2, 0), (1, 0), (3, 0), (1, 1), (1, 2))
_FLIPS = {1: "flipped upside down", 2: "flipped left to right"}

# A pattern is found if it exceeds this many standard deviations, and this many times the strength of that of
# the gain as it is.
_CERTAIN, _FAR_BETTER = 8.0, 3.0

# A gain takes away more than it adds if the frames show at least this share of its pattern. A warning says
# that they show less if that is certain by this many standard deviations.
_WORTH, _DEVIATIONS = 0.5, 5.0

_LIMIT = 5.0  # of differences between neighbours, in robust standard deviations


@dataclass(frozen=True)
class Share:
    """How much of a pattern frames show: 1 all of it, 0 nothing, -1 its inverse."""

    value: float
    error: float

    @property
    def z(self) -> float:
        """In standard deviations."""
        return self.value / self.error


class GainFit:
    """How much of the pattern of a gain is in frames, in each of its orientations.

    The pattern is the difference of each pixel's sensitivity, 1/gain, from the mean of its four neighbours.
    Its share in the frames is found by least squares. The estimate is linear in the frames, so that it is
    not biased at any dose.

    Parameters
    ----------
    gain : Gain
        Before it is rotated or flipped.
    shape : tuple of int
        Of the frames.
    frames_format : str
        Of the frames.

    Raises
    ------
    MisfitError
        The gain does not have this shape or a multiple, not even rotated.
    """

    def __init__(self, gain: Gain, shape: tuple[int, ...], frames_format: str) -> None:
        self.format = frames_format
        self.shape = shape
        values = resample(gain.values, shape)
        if values is None:
            values = resample(gain.values, shape[::-1])
        if values is None or len(shape) != 2:
            raise MisfitError(gain.path, gain.values.shape, shape)
        good = values > 0
        sensitivity = np.divide(1.0, values, where=good, out=np.full(values.shape, np.nan))
        self._mean = float(sensitivity[good].mean())
        pattern = np.nan_to_num(_details(sensitivity))
        limit = _LIMIT * MEDIAN_TO_SIGMA * float(np.median(np.abs(pattern))) or math.inf
        limited = np.clip(pattern, -limit, limit)
        self._energy = float(np.vdot(pattern, limited))
        # The sum over the differences of an image, times the pattern, is that over the image, times this.
        self._weights = limited - _around(limited)
        self._total = np.zeros(shape)
        self._shares: list[float] = []

    def add(self, image: NDArray[np.float64], treatment: Treatment) -> None:
        """Add the sum of some frames of a file, and keep its share of the gain as it is."""
        self._total += image
        weights = self._turned(treatment.rotate, treatment.flip)
        level = float(image.mean()) * self._energy
        if weights is not None and level > 0:
            self._shares.append(float(np.vdot(image, weights)) * self._mean / level)

    def _turned(self, rotate: int, flip: int) -> NDArray[np.float64] | None:
        turned = Treatment(rotate, flip).turn(self._weights, self.format)
        return turned if turned.shape == self.shape else None

    def shares(self) -> dict[tuple[int, int], Share]:
        """Tell the share in each orientation that has the shape of the frames; none if it cannot be told."""
        total = self._total
        for _ in range(2):  # hot pixels tell nothing
            total = np.minimum(total, total.mean() + _CERTAIN * total.std())
        level = float(total.mean()) * self._energy / self._mean
        if not level > 0:
            return {}
        # An error is in the pixel itself, and by a quarter in each of four neighbours.
        variance = np.nan_to_num(_details(total)) ** 2 / 1.25
        found = {}
        for orientation in ORIENTATIONS:
            weights = self._turned(*orientation)
            if weights is not None:
                error = math.sqrt(float(np.vdot(variance, weights**2))) / level
                if error > 0:
                    found[orientation] = Share(float(np.vdot(total, weights)) / level, error)
        return found

    def certain(self, share: Share) -> Share:
        """The share of the gain as it is, with the error that differences of the files show, if larger."""
        count = len(self._shares)
        spread = float(np.std(self._shares, ddof=1)) / math.sqrt(count) if count > 2 else 0.0
        return Share(share.value, max(share.error, spread))


def check_orientation(paths: Sequence[Path], options: ReadOptions) -> None:
    """Warn if the gain of the options does not take away the pattern of the frames of files.

    It may be rotated or flipped against them, or be of the inverse convention; they may have had it already.
    Raise Error if it fits none of those looked into.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files; a few frames of a few of them are read. Those that cannot be are passed over.
    options : ReadOptions
        Nothing is done if they have no gain.

    Notes
    -----
    For another orientation or operation a warning takes eight standard deviations, for frames that show less
    than half of the pattern five: a gain that is right raises none at any dose.
    """
    fit, treatment = _looked_into(paths, options)
    if fit is not None:
        assert options.gain is not None
        _judge(options.gain, treatment, fit)


def orient(paths: Sequence[Path], options: ReadOptions) -> tuple[ReadOptions, dict[str, str]]:
    """Find which way the gain of the options lies, if that is left to the frames.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files of the set; a few frames of a few of them are read.
    options : ReadOptions
        Returned as they are unless `gain_rotate` or `gain_flip` is "auto".

    Returns
    -------
    tuple of ReadOptions and dict
        With numbers in place of "auto", and with the operation unless that was given; and how they were
        found.

    Raises
    ------
    Error
        There is no gain, or the frames do not show which way it lies.
    """
    if not options.gain_is_to_be_turned:
        return options, {}
    if options.gain is None:
        raise Error("gain_rotate='auto' or gain_flip='auto' without a gain: name it by gain=FILE")
    fit, given = _looked_into(paths, replace(options, gain_operation=_multiplied(options)))
    found = {} if fit is None else fit.shares()
    signed = [(share.z, turn, True) for turn, share in found.items()]
    signed += [(-share.z, turn, False) for turn, share in found.items()]
    z, (rotate, flip), right_way = max(signed, default=(0.0, (0, 0), True))
    if z <= _CERTAIN:
        raise Error(
            f"{options.gain}: some frames of the set do not show which way this gain lies; measure without a "
            "gain, check it by camnorm gain, and give gain_rotate and gain_flip"
        )
    inverted = {"multiply": "divide", "divide": "multiply"}
    operation = given.operation if right_way else inverted[given.operation]
    reason = "found from the frames"
    chosen = {"gain_rotate": rotate, "gain_flip": flip}
    if options.gain_operation == "auto":
        chosen["gain_operation"] = operation  # type: ignore[assignment]
    return replace(options, **chosen), dict.fromkeys(chosen, reason)  # type: ignore[arg-type]


def _multiplied(options: ReadOptions) -> GainOperation:
    """The operation to begin with, where none is given."""
    return "multiply" if options.gain_operation == "auto" else options.gain_operation


def _looked_into(paths: Sequence[Path], options: ReadOptions) -> tuple[GainFit | None, Treatment]:
    """What a few frames of a few files show of the gain of the options, if they have one."""
    if options.gain is None:
        return None, Treatment()
    plain = replace(options.without_references, row_order=None)  # a gain is read for frames as stored
    fit: GainFit | None = None
    treatment = Treatment()
    misfit: MisfitError | None = None
    for path in paths[:: max(1, len(paths) // _FILES_LOOKED_INTO)][:_FILES_LOOKED_INTO]:
        try:
            with open_frames(path, plain) as source:
                if fit is None:
                    fit, treatment = _start(options, source)
                if (source.shape, source.format) == (fit.shape, fit.format):
                    fit.add(_sum_of(source), treatment)
        except MisfitError as error:
            misfit = misfit or MisfitError(error.path, error.given, error.shape, path)
        except (Error, OSError) as error:
            raise_shortage(error)
    if fit is None and misfit is not None:
        raise misfit
    return fit, treatment


def _start(options: ReadOptions, source: FrameSource) -> tuple[GainFit, Treatment]:
    """What is found out for frames like those of a source, and what the options do to the gain."""
    assert options.gain is not None
    treatment = Treatment.of(options, source.format)
    unturned = replace(treatment, rotate=0, flip=0)
    gain = read_gain(options.gain, source.format, unturned)
    return GainFit(gain, source.shape, source.format), treatment


def _sum_of(source: FrameSource) -> NDArray[np.float64]:
    """Sum of the first frames of a source."""
    total = np.zeros(source.shape)
    for index in range(min(source.available, _FRAMES_LOOKED_AT)):
        total += source.view(index)[0]
    return total


def _judge(path: Path, given: Treatment, fit: GainFit) -> None:
    """Warn if the gain does not suit the frames; raise Error if it lies across them."""
    found = fit.shares()
    if not found:
        return
    signed = [(share.z, turn, True) for turn, share in found.items()]
    signed += [(-share.z, turn, False) for turn, share in found.items()]
    z, turn, right_way = max(signed)
    other = "divide" if given.operation == "multiply" else "multiply"
    best = Treatment(*turn, given.operation if right_way else other)  # type: ignore[arg-type]
    present = found.get((given.rotate, given.flip))
    if present is None:
        advice = _advice(given, best) if z > _CERTAIN else "gain_rotate=1 or gain_rotate=3"
        raise Error(f"{path}: a gain for frames that are rotated against these; use {advice}")
    if z > max(_CERTAIN, _FAR_BETTER * present.z):
        change = " and ".join(_changes(given, best))
        warnings.warn(
            f"{path}: this gain would fit the frames far better if it were {change}; "
            f"use {_advice(given, best)}",
            stacklevel=4,
        )
        return
    certain = fit.certain(present)
    if certain.value + _DEVIATIONS * certain.error < _WORTH:
        warnings.warn(
            f"{path}: the frames show only {max(certain.value, 0):.0%} of the pattern of this gain. "
            "They seem to be gain-corrected already, or the gain is of another camera or date, so that it "
            "adds more pattern than it removes. Use another gain reference, or none",
            stacklevel=4,
        )


def _changes(given: Treatment, best: Treatment) -> list[str]:
    """How the gain would have to be used, in words."""
    words = []
    if (given.rotate, given.flip) != (best.rotate, best.flip):
        if best.rotate:
            words.append(f"rotated by {90 * best.rotate} degrees")
        if best.flip:
            words.append(_FLIPS[best.flip])
        if not words:
            words.append("neither rotated nor flipped")
    if given.operation != best.operation:
        words.append("inverted")
    return words


def _advice(given: Treatment, best: Treatment) -> str:
    """The arguments that would do it."""
    pairs = (
        ("gain_rotate", given.rotate, best.rotate),
        ("gain_flip", given.flip, best.flip),
        ("gain_operation", given.operation, best.operation),
    )
    return " and ".join(f"{name}={value}" for name, old, value in pairs if value != old)


def _around(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the four neighbours of each pixel."""
    total: NDArray[np.float64] = np.roll(image, 1, 0)
    for shift, axis in ((-1, 0), (1, 1), (-1, 1)):
        total += np.roll(image, shift, axis)
    total /= 4.0
    return total


def _details(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference of each pixel from the mean of its four neighbours; 0 at the borders."""
    details: NDArray[np.float64] = image - _around(image)
    details[[0, -1]] = 0.0
    details[:, [0, -1]] = 0.0
    return details
