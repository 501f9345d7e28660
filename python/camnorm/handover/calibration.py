"""Gain, dark and bad pixels of a sensor, for movies of one kind."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.apriori import reference_images
from camnorm.errors import Error
from camnorm.handover.movies import sub_pixel_factors
from camnorm.handover.program import Calibration, Movies
from camnorm.io import is_flipped
from camnorm.sensor.pixelmap import PixelMap, as_pixel_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.sensor.sensor import Sensor

__all__ = ["Images", "calibrate", "errors_of", "images_of"]

# Bits of NeXus' pixel_mask.
_DEAD, _USER = np.uint32(1 << 1), np.uint32(1 << 8)

_LOOKED_AT = 2**22  # pixels from which the error is found out; of more, every n-th is used


@dataclass(frozen=True, eq=False)
class Images:
    """Mean and sigma of a sensor, rows in the order of the movies that files are for.

    Attributes
    ----------
    mean, sigma : ndarray of float64, shape (y, x)
        Of the frames as they were measured.
    factors : ndarray of float64, shape (y, x)
        The gain reference that they were measured with, 1 without.
    flags : ndarray of uint32, shape (y, x)
        Why pixels are bad, 0 if they are not.
    flipped : bool
        Whether the rows are not in the order of the sensor.
    pixels : PixelMap, optional
        Bad pixels that were given.
    """

    mean: NDArray[np.float64]
    sigma: NDArray[np.float64]
    factors: NDArray[np.float64]
    flags: NDArray[np.uint32]
    flipped: bool
    pixels: PixelMap | None

    def turned(self, image: NDArray[Any]) -> NDArray[Any]:
        """An image of the sensor in the order of the movies, or the other way round."""
        return image[::-1] if self.flipped else image


def images_of(sensor: Sensor, movies: Movies, pixels: Any) -> Images:
    """Images of a sensor with their rows in the order of movies.

    Parameters
    ----------
    sensor : Sensor
        A measured set.
    movies : Movies
        Whose row order is taken, not their shape.
    pixels : PixelMap, ndarray, path-like or None
        More bad pixels, as of `camnorm.export`.

    Returns
    -------
    Images

    Raises
    ------
    Error
        The sensor is one of colour frames, nothing varies in it, or the files of its gain or its defects, or
        `pixels`, cannot be used.
    """
    if len(sensor.shape) != 2:
        raise Error(f"frames of shape {sensor.shape} are in colour: other programs take gains of (y, x) only")
    if np.isnan(sensor.target_mean):
        raise Error("no pixel of the set ever changes: there is nothing to export")
    flip = is_flipped(sensor.row_order, movies.row_order)
    mean, sigma = (image[::-1] if flip else image for image in (sensor.mean, sensor.sigma))
    flags = np.zeros(sensor.shape, np.uint32)
    flags[~(np.isfinite(mean) & np.isfinite(sigma) & (sigma > 0))] |= _DEAD
    given = _map_of(pixels, sensor)
    if given is not None:
        given.for_frames(sensor.shape, sensor.row_order)  # which raises an error if it does not fit
        own = given.in_row_order(sensor.row_order).flags
        flags |= own[::-1] if flip else own
    factors, concealed = reference_images(sensor.options, movies.format, sensor.shape)
    flags[concealed] |= _USER
    return Images(mean, sigma, factors, flags, flip, given)


def _map_of(pixels: Any, sensor: Sensor) -> PixelMap | None:
    """A map of bad pixels that were given; rows of an array are in the order of the sensor."""
    if isinstance(pixels, np.ndarray):
        return PixelMap.from_mask(pixels, sensor.row_order)
    return None if pixels is None else as_pixel_map(pixels, sensor.shape)


def calibrate(
    sensor: Sensor,
    images: Images,
    movies: Movies,
    like: str | os.PathLike[str] | None,
    with_dark: bool,
) -> Calibration:
    """Make the images that a program is given.

    Parameters
    ----------
    sensor : Sensor
        The measured set.
    images : Images
        Of it.
    movies : Movies
        Movies that they are for; of another sampling than the sensor's, maybe.
    like : path-like, optional
        One of them, from which the factors of sub-pixels are taken.
    with_dark : bool
        Whether there is to be a dark: the gain is then s0/sigma instead of I0/mean.

    Returns
    -------
    Calibration

    Raises
    ------
    Error
        The movies have another shape, and not another sampling; or no pixel has a gain.
    """
    same = movies.shape == images.mean.shape
    exact = with_dark and same
    if not exact and not sensor.target_mean > 0:
        raise Error(
            f"no gain can be told from a mean image whose mean is {sensor.target_mean:.6g}, not positive: "
            "measure raw movies, or export for a program that takes a dark"
        )
    correction = sensor.correction(mode="both" if exact else "gain", pixels=images.pixels)
    mean, sigma, unusable = map(images.turned, (correction.mean, correction.sigma, correction.bad))
    flags = np.where(unusable & (images.flags == 0), _DEAD, images.flags)
    good = flags == 0
    level, spread = (
        float(np.asarray(target)) for target in (correction.target_mean, correction.target_sigma)
    )
    gain = np.divide(spread, sigma, where=good, out=np.zeros(mean.shape))
    error_of_mean, error_of_sigma = errors_of(sensor)
    dark, error = None, np.where(good, error_of_sigma, 0.0)
    if exact:
        dark = np.subtract(mean, level * sigma / spread, where=good, out=np.zeros(mean.shape))
        np.divide(dark, images.factors, where=good, out=dark)
    else:
        error = np.divide(error_of_mean * images.sigma, images.mean, where=good, out=np.zeros(mean.shape))
    gain *= images.factors
    found = Calibration(movies, gain, dark, ~good, flags, error, level, exact)
    return found if same else _resampled(sensor, found, like)


def errors_of(sensor: Sensor) -> tuple[float, float]:
    """Standard error of the mean in units of sigma, and of sigma as a fraction of it: from both halves."""
    a, b = sensor.halves
    total = a.count + b.count
    if min(a.count, b.count) < 2:
        return total**-0.5, (2 * total) ** -0.5
    sigma = sensor.sigma.reshape(-1)
    step = sigma.size // _LOOKED_AT | 1
    sigma = sigma[::step]
    usable = np.isfinite(sigma) & (sigma > 0)
    share = a.count * b.count / total**2
    errors = []
    for one, other in ((a.mean(), b.mean()), (a.std(), b.std())):
        difference = (one.reshape(-1)[::step] - other.reshape(-1)[::step])[usable] / sigma[usable]
        # A median: pixels that changed do not count.
        errors.append(float(np.sqrt(share * np.median(np.square(difference)) / _MEDIAN_OF_SQUARES)))
    return errors[0], errors[1]


_MEDIAN_OF_SQUARES = 0.4549364231195724  # of a standard normal variable


def _resampled(sensor: Sensor, calibration: Calibration, like: str | os.PathLike[str] | None) -> Calibration:
    """A gain for movies of another sampling than the sensor's."""
    given, shape = calibration.gain.shape, calibration.movies.shape
    for step in (2, 4):
        if shape == (given[0] * step, given[1] * step):
            return _finer(sensor, calibration, like, step)
        if given == (shape[0] * step, shape[1] * step):
            return _coarser(calibration, step)
    raise Error(
        f"{calibration.movies.name}: frames of shape {shape}, the sensor has {given}: neither the same, nor "
        "2 or 4 times as many pixels along each side"
    )


def _finer(
    sensor: Sensor, calibration: Calibration, like: str | os.PathLike[str] | None, step: int
) -> Calibration:
    def repeated(image: NDArray[Any]) -> NDArray[Any]:
        return image.repeat(step, 0).repeat(step, 1)

    gain = repeated(calibration.gain)
    note = f"The sensor was measured at {1 / step:g} of the sampling: each pixel stands for {step} x {step}."
    if like is not None:
        factors, frames = sub_pixel_factors(sensor, like, step)
        gain /= np.tile(factors, calibration.gain.shape)
        note += (
            f" The {step * step} sub-pixels have factors of their own, from {frames} frames of "
            f"{Path(like).name}: {' '.join(f'{factor:.4f}' for factor in factors.ravel())}."
        )
    return replace(
        calibration,
        gain=gain,
        bad=repeated(calibration.bad),
        flags=repeated(calibration.flags),
        error=repeated(calibration.error),
        level=calibration.level / step**2,
        notes=(note,),
    )


def _coarser(calibration: Calibration, step: int) -> Calibration:
    height, width = calibration.movies.shape

    def blocks(image: NDArray[Any]) -> NDArray[Any]:
        return image.reshape(height, step, width, step)

    bad = np.asarray(blocks(calibration.bad).any((1, 3)))
    sensitivity = np.divide(
        1.0, calibration.gain, where=~calibration.bad, out=np.zeros(calibration.gain.shape)
    )
    gain = np.divide(1.0, blocks(sensitivity).mean((1, 3)), where=~bad, out=np.zeros(bad.shape))
    error = np.sqrt(np.square(blocks(calibration.error)).mean((1, 3))) / step
    return replace(
        calibration,
        gain=gain,
        bad=bad,
        flags=np.bitwise_or.reduce(np.bitwise_or.reduce(blocks(calibration.flags), 3), 1),
        error=np.where(bad, 0.0, error),
        level=calibration.level * step**2,
        notes=(
            f"The sensor was measured at {step} times the sampling: each {step} x {step} of its pixels are "
            "averaged.",
        ),
    )
