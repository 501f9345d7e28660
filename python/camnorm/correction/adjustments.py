"""How the images of a correction are made where a data set does not meet the assumptions of the method.

The correction of Afanasyev et al. 2015 takes the mean and the sigma image as they were measured. That asks
for many frames, of light that is the same everywhere on average. Here, the same correction gets other images:
without the illumination, with less noise, or made from one of the two only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from camnorm.correction.targets import Target
from camnorm.errors import Error
from camnorm.statistics.moments import Image
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

__all__ = [
    "Adjustments",
    "CameraChoice",
    "Images",
    "Mask",
    "Mode",
    "Name",
    "smooth_part",
    "without_smooth_part",
]

Mode: TypeAlias = Literal["both", "mean", "gain", "response", "best"]

CameraChoice: TypeAlias = Literal["auto", "counting", "integrating"]

Deviations: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]

Name: TypeAlias = Literal["mean", "sigma", "gain"]

# Gives what was measured of every pixel, the gain by its response; again at each call, to save memory.
Images: TypeAlias = Callable[[Name], Image]

# Pixels along the square whose mean an image is shrunk towards.
_NEIGHBOURS = 7

# Standard deviations beyond which a pixel does not count for what is normal among its neighbours; and of its
# own noise by which a pixel may be moved at most (Efron & Morris, see `_shrunk`).
_NORMAL = 4.0
_MOST_MOVED = 2.0

# About as many values as a median is taken of: of more, every n-th is used.
_MANY = 2**20

# The part of a wavelength over which three means in turn leave half the amplitude: sinc³ = 1/2. The smallest
# scale of an illumination in pixels, with which these are means over three of them.
_SHARE_AVERAGED = 0.366
_SMALLEST_SCALE, _LARGEST_SCALE = 8.0, 1e5  # of larger ones windows would take long


@dataclass(frozen=True)
class Adjustments:
    """Which images a correction is made of, see `Sensor.correction`.

    Parameters
    ----------
    mode : {"both", "mean", "gain", "response", "best"}
        What is corrected.
    keep_illumination : float or bool, optional
        Scale in pixels of what is not.
    shrink : bool
        Whether noise of the images is taken out.
    camera : {"auto", "counting", "integrating"}
        Kind of camera, for mode "best".

    Raises
    ------
    ValueError
        If the mode or the camera is another word, the scale not a number from 8 on, or an option does not
        belong to the mode.
    """

    mode: Mode = "both"
    keep_illumination: float | bool | None = None
    shrink: bool = False
    camera: CameraChoice = "auto"

    def __post_init__(self) -> None:
        _check_word("mode", self.mode, get_args(Mode))
        _check_word("camera", self.camera, get_args(CameraChoice))
        if self.mode == "best" and self.shrink:
            raise ValueError("mode='best' is shrunk already: leave shrink=True out")
        if self.mode != "best" and self.camera != "auto":
            raise ValueError(f"camera={self.camera!r} belongs to mode='best', not to mode={self.mode!r}")
        scale = self.keep_illumination
        if isinstance(scale, (bool, np.bool_)) or scale is None:
            return
        if not _SMALLEST_SCALE <= scale <= _LARGEST_SCALE:
            raise ValueError(
                f"keep_illumination must be a scale of {_SMALLEST_SCALE:g} to {_LARGEST_SCALE:g} pixels, "
                f"not {scale!r}"
            )

    def __bool__(self) -> bool:
        """Whether the images are others than those measured."""
        return self.mode != "both" or bool(self.keep_illumination) or bool(self.shrink)

    def __str__(self) -> str:
        """What is set, as it is noted in corrected files."""
        words = []
        if self.mode != "both":
            words.append(f"mode={self.mode}")
        if self.keep_illumination:
            words.append("keep_illumination")
            if not isinstance(self.keep_illumination, (bool, np.bool_)):
                words[-1] += f"={self.keep_illumination:g}"
        if self.shrink:
            words.append("shrink")
        if self.mode == "best" and self.camera != "auto":
            words.append(f"camera={self.camera}")
        return " ".join(words)

    def images(
        self,
        measured: Images,
        halves: Sequence[Images],
        target_mean: Target,
        target_sigma: Target,
        bad: Mask | None = None,
    ) -> tuple[Image, Image]:
        """Mean and sigma image of the correction, whose targets are those of the set.

        Parameters
        ----------
        measured : callable
            Images of the frames that the correction is made from.
        halves : sequence of two callables
            The same of disjoint sets, from which the noise is estimated.
        target_mean, target_sigma : float, or float64 ndarray of shape (c,)
            I0 and s0 of the set, of colour frames one a plane.
        bad : bool ndarray, shape of a frame, optional
            Pixels that take no part.

        Returns
        -------
        mean, sigma : float64 ndarray, shape of a frame
            Of the sigma image the mean over the good pixels is s0. Pixels that never change, or of which no
            gain can be told, have sigma 0.

        Raises
        ------
        Error
            If a gain is wanted of a set whose mean is not positive, or no pixel has one.
        """
        good = measured("sigma") > 0
        if bad is not None:
            good &= ~bad
        if self.mode == "gain" and not np.all(np.asarray(target_mean) > 0):
            raise Error(
                f"no gain can be told from a mean image whose mean is {np.min(target_mean):.6g}, not positive"
            )
        mean = self._denoised("mean", measured, halves, good)
        if self.mode == "gain":
            divisor = mean / target_mean
        elif self.mode == "mean":
            divisor = np.ones_like(mean)
        else:
            divisor = self._denoised("gain" if self.mode == "response" else "sigma", measured, halves, good)
        good = good & (divisor > 0)
        if not good.any():
            raise Error("no pixel has a gain: there is nothing to correct with")
        divisor[~good] = 1.0
        scale = self.keep_illumination
        without_smooth_part(divisor, good, scale if self.mode != "mean" else None)
        if self.mode == "gain":
            mean = np.asarray(target_mean * divisor)
        elif scale:
            # The mean image itself then becomes its smooth part, whatever the divisor.
            mean -= (smooth_part(mean, good, scale) - target_mean) * divisor
        divisor[~good] = 0.0
        divisor *= target_sigma
        return mean, divisor

    def _denoised(self, name: Name, measured: Images, halves: Sequence[Images], good: Mask) -> Image:
        """A copy of an image, its noise taken out if that is wanted: of sigma, from the logarithm."""
        if not self.shrink:
            return np.array(measured(name))
        unit = _unit(measured(name), good)

        def scaled(images: Images) -> Image:
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(images(name)) if name == "sigma" else images(name) / unit)

        shrunk = _shrunk(scaled(measured), map(scaled, halves), good)
        return np.asarray(np.exp(shrunk) if name == "sigma" else shrunk * unit)


def _check_word(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        words = [repr(word) for word in known]
        raise ValueError(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, not {given!r}")


def without_smooth_part(response: Image, good: Mask, scale: float | bool | None) -> None:
    """Divide a response by its smooth part, if there is a scale, and by its mean over each colour plane."""
    if scale:
        response /= np.exp(smooth_part(np.log(response), good, scale))
    for plane in _planes(response):
        if good[plane].any():
            response[plane] /= response[plane][good[plane]].mean()


def _unit(image: Image, good: Mask) -> float:
    """A power of two, which changes no digit: in this unit, an image is within the range of float32."""
    magnitudes = np.abs(image, where=good, out=np.zeros_like(image))
    return 2.0 ** math.frexp(float(magnitudes.max(where=np.isfinite(magnitudes), initial=0.0)))[1]


def _shrunk(image: Image, halves: Iterable[Image], good: Mask) -> Image:
    """Move every pixel towards the mean of its neighbourhood, as far as its deviation from it is noise.

    The share of the deviations' variance that is no noise is what the halves of the set, whose noise is
    independent, have in common: weight = cov(D_A, D_B) / var(D), the empirical Bayes estimate for normal
    deviations D of normal noise (Efron & Morris, J. Am. Stat. Assoc. 68, 117 (1973)). No pixel is moved by
    more than two standard deviations of its noise, so that few of those that are unlike all others lose much
    (the same, limited translation, J. Am. Stat. Assoc. 67, 130 (1972)).
    """
    result = image.copy()
    a, b = ([_tame(_deviations(half[plane], good[plane])) for plane in _planes(image)] for half in halves)
    for plane, of_a, of_b in zip(_planes(image), a, b, strict=True):
        deviation = _deviations(image[plane], good[plane])
        tame = _tame(deviation)
        usable = np.isfinite(tame) & np.isfinite(of_a) & np.isfinite(of_b)
        if not usable.any():
            continue
        d, x, y = tame[usable], of_a[usable], of_b[usable]
        variance = _covariance(d, d)
        if variance == 0.0:
            continue
        weight = min(max(_covariance(x, y) / variance, 0.0), 1.0)
        most = _MOST_MOVED * math.sqrt((1.0 - weight) * variance)
        deviation *= 1.0 - weight
        result[plane] -= np.nan_to_num(np.clip(deviation, -most, most, out=deviation), copy=False)
    return np.asarray(result)


def _covariance(a: Deviations, b: Deviations) -> float:
    mean = float(np.mean(a, dtype=np.float64)) * float(np.mean(b, dtype=np.float64))
    return float(np.einsum("i,i", a, b, dtype=np.float64)) / a.size - mean


def _deviations(image: Image, good: Mask) -> Deviations:
    """Deviations from the mean of the neighbourhood; NaN where there is none."""
    usable = good & np.isfinite(image)
    if not usable.any():
        return np.full(image.shape, np.nan, np.float32)
    near_zero = np.where(usable, image - np.mean(image, where=usable), 0.0).astype(np.float32)
    deviation = near_zero - _box_mean(near_zero, usable, _NEIGHBOURS)
    limit = _normal(deviation[usable])
    # Once more, without what is not normal in the means.
    local = near_zero - deviation
    np.clip(deviation, -limit, limit, out=deviation)
    deviation += local
    deviation = near_zero - _box_mean(deviation, usable, _NEIGHBOURS)
    deviation[~usable] = np.nan
    return deviation


def _tame(deviation: Deviations) -> Deviations:
    """Deviations that are cut off where they are not normal."""
    limit = _normal(deviation[np.isfinite(deviation)])
    return np.clip(deviation, -limit, limit)


def _normal(values: npt.NDArray[Any]) -> float:
    """The largest deviation that is normal among these values; from some of them, if they are many."""
    some = values[:: values.size // _MANY | 1]
    if not some.size:
        return math.inf
    spread = MEDIAN_TO_SIGMA * float(np.median(np.abs(some - np.median(some))))
    return _NORMAL * spread or math.inf


def smooth_part(image: Image, good: Mask, scale: float | bool) -> Image:
    """The part of an image that varies slowly, of each colour plane.

    A quadratic polynomial and what means over squares, three times over, leave of the rest: half the
    amplitude at a wavelength of `scale` pixels, or half the shorter side of the frame. So linear and
    quadratic illumination stays as it is, up to the borders. Deviant pixels count for no more than normal
    ones.

    Parameters
    ----------
    image : ndarray of float64, shape (y, x) or (y, x, c)
        Any image.
    good : ndarray of bool, same shape
        Pixels that count.
    scale : float or bool
        Wavelength in pixels; True for the usual one.

    Returns
    -------
    ndarray of float64, same shape
    """
    result = np.full_like(image, np.nan)
    unit = _unit(image, good)
    image = image / unit
    for plane in _planes(image):
        usable = good[plane] & np.isfinite(image[plane])
        if not usable.any():
            continue
        height, width = usable.shape
        half = max(min(height, width) / 2, _SMALLEST_SCALE)
        wavelength = half if isinstance(scale, (bool, np.bool_)) else scale
        size = 2 * round((_SHARE_AVERAGED * wavelength - 1) / 2) + 1
        tame = image[plane]
        for _ in range(2):
            polynomial = _quadratic(tame, usable)
            rest = image[plane] - polynomial
            limit = _normal(rest[usable])
            rest = np.clip(rest, -limit, limit)
            tame = polynomial + rest
        result[plane] = polynomial + np.where(usable, _box_mean(rest, usable, size, passes=3), 0.0)
    result *= unit
    return result


def _box_mean(image: npt.NDArray[Any], usable: Mask, size: int, passes: int = 1) -> Deviations:
    """Mean over the usable pixels of the square of size x size pixels around each, several times over.

    In float32, for values near 0.
    """
    from scipy.ndimage import uniform_filter

    total, weight = np.where(usable, image, 0.0).astype(np.float32), usable.astype(np.float32)
    for _ in range(passes):
        total = uniform_filter(total, size, mode="constant")
        weight = uniform_filter(weight, size, mode="constant")
    # Running sums leave rounding errors where there is nothing.
    weight[weight < 0.5 / size ** (2 * passes)] = np.inf
    total /= weight
    return np.asarray(total)


def _quadratic(image: Image, usable: Mask) -> Image:
    """Least squares fit of a polynomial of the second degree to the usable pixels."""
    y, x = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in image.shape)
    rows, columns = (np.vander(t, 5, increasing=True) for t in (y, x))
    terms = [(i, j) for i in range(3) for j in range(3 - i)]
    sums = rows.T @ usable.astype(np.float64) @ columns
    products = rows[:, :3].T @ np.where(usable, image, 0.0) @ columns[:, :3]
    matrix = np.array([[sums[i + k, j + m] for k, m in terms] for i, j in terms])
    found = np.linalg.lstsq(matrix, np.array([products[term] for term in terms]), rcond=1e-10)[0]
    coefficients = np.zeros((3, 3))
    for term, value in zip(terms, found, strict=True):
        coefficients[term] = value
    return np.asarray(rows[:, :3] @ coefficients @ columns[:, :3].T)


def _planes(image: Image) -> list[Any]:
    """Index of each colour plane."""
    return [np.s_[:, :]] if image.ndim == 2 else [np.s_[:, :, c] for c in range(image.shape[2])]
