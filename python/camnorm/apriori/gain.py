"""Gain references: how they are read, turned to the frames, and brought to their sampling."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from camnorm.apriori.images import read_image
from camnorm.errors import Error
from camnorm.io.base.options import usual_operation
from camnorm.io.base.registry import row_order_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.io.base.options import ReadOptions

__all__ = ["PLAIN", "Gain", "MisfitError", "Treatment", "read_gain", "resample"]

# Pixels of the one along a pixel of the other, for a gain of another sampling than the frames.
_STEPS = (2, 4)


@dataclass(frozen=True)
class Treatment:
    """What is done to a gain reference before frames are multiplied by it; see `ReadOptions`.

    Attributes
    ----------
    rotate : int
        Quarter turns, as RELION and MotionCor count them.
    flip : int
        1 upside down, 2 left to right; after the rotation.
    operation : {"multiply", "divide"}
        Whether the image holds factors, or counts of evenly lit frames.
    """

    rotate: int = 0
    flip: int = 0
    operation: Literal["multiply", "divide"] = "multiply"

    @classmethod
    def of(cls, options: ReadOptions, frames_format: str) -> Treatment:
        """What the options say of a gain for frames of a format."""
        operation = options.gain_operation
        if operation == "auto":
            operation = usual_operation(options.gain, frames_format)
        rotate, flip = options.gain_rotate or 0, options.gain_flip or 0
        return cls(0 if rotate == "auto" else rotate, 0 if flip == "auto" else flip, operation)

    def turn(self, image: NDArray[Any], frames_format: str) -> NDArray[Any]:
        """Rotate and flip an image whose rows are in the order of the frames.

        RELION and MotionCor turn images that have row 0 at the bottom, as in MRC files. TIFF frames have it
        at the top: seen from there, the same turn runs the other way round.
        """
        turned = np.rot90(image, self.rotate if row_order_of(frames_format) == "top" else -self.rotate)
        if self.flip == 0:
            return turned
        return turned[::-1] if self.flip == 1 else turned[:, ::-1]


PLAIN = Treatment()


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


class MisfitError(Error):
    """A gain has another shape than frames, and not another sampling.

    Parameters
    ----------
    path : pathlib.Path
        The gain.
    given, shape : tuple of int
        Shape of the gain and of the frames.
    where : path-like
        Where the frames are.
    """

    def __init__(
        self, path: Path, given: tuple[int, ...], shape: tuple[int, ...], where: Path | str = "the set"
    ) -> None:
        self.path, self.given, self.shape = path, given, shape
        hint = ""
        if len(shape) == 2 and resample(np.ones(given[::-1]), shape) is not None:
            hint = ": it would fit if it were rotated, use gain_rotate=1 or gain_rotate=3"
        elif len(shape) == 2 and shape[0] * given[1] == shape[1] * given[0]:
            low, high = sorted((shape[0], given[0]))
            hint = (
                f": one of them is binned by {high / low:g} against the other, and only 2 and 4 can be used"
            )
        super().__init__(f"{path}: a gain of shape {given} for frames of {shape} in {where}{hint}")


def read_gain(
    path: Path, frames_format: str, treatment: Treatment = PLAIN, shape: tuple[int, ...] | None = None
) -> Gain:
    """Read a gain reference.

    Parameters
    ----------
    path : pathlib.Path
        An image file of one frame (MRC, TIFF, ``.gain``, DM4...).
    frames_format : str
        Format of the frames that it is for. Between MRC and TIFF the rows are turned upside down, as
        RELION and MotionCor do.
    treatment : Treatment
        What is done to it.
    shape : tuple of int, optional
        Of the frames. A gain of another sampling is brought to it, with a warning.

    Returns
    -------
    Gain

    Raises
    ------
    Error
        It is no gain: of colour, or all of it is 0, negative or not finite.
    MisfitError
        It does not fit the frames.
    FormatError, OSError
        It cannot be read.
    """
    image, turned = read_image(path, frames_format)
    image = np.where(np.isfinite(image) & (image > 0), image, 0.0)
    if not image.any():
        raise Error(f"{path}: no gain, all of its pixels are 0, negative or not finite")
    if turned:
        warnings.warn(
            f"{path}: turned upside down, as other programs do for {frames_format} frames", stacklevel=2
        )
    image = treatment.turn(image, frames_format)
    if shape is not None and image.shape != shape:
        fitting = resample(image, shape)
        if fitting is None:
            raise MisfitError(path, image.shape, shape)
        _tell_of_sampling(path, image.shape, shape)
        image = fitting
    if treatment.operation == "divide":
        # RELION's mean too counts pixels of value 0.
        image = np.divide(image.mean(), image, where=image > 0, out=np.zeros_like(image))
    return Gain(path, image)


def resample(image: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Bring an image to 1/4, 1/2, 2 or 4 times its sampling, if that gives it this shape.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        0 where a pixel is bad.
    shape : tuple of int
        Of the frames.

    Returns
    -------
    ndarray or None
        Every pixel repeated, or the mean of each block of pixels, 0 if one of them is bad.
    """
    if image.shape == shape:
        return image
    for step in _STEPS:
        if shape == tuple(step * length for length in image.shape):
            return image.repeat(step, 0).repeat(step, 1)
        if image.shape == tuple(step * length for length in shape):
            blocks = image.reshape(shape[0], step, shape[1], step)
            return np.where((blocks > 0).all((1, 3)), blocks.mean((1, 3)), 0.0)
    return None


def _tell_of_sampling(path: Path, given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    sizes = f"gain of {' x '.join(map(str, given))} pixels for frames of {' x '.join(map(str, shape))}"
    if given < shape:
        step = shape[0] // given[0]
        what = f"each of its pixels is used for {step} x {step} pixels of the frames"
    else:
        step = given[0] // shape[0]
        what = f"each {step} x {step} of its pixels are averaged"
    warnings.warn(f"{path}: {sizes}: {what}", stacklevel=3)
