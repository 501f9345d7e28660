"""A motif, or an illumination, that all images of a set have in common.

The mean image shows the sensor only if the images have nothing else in common. P. Afanasyev et
al., Sci. Rep. 5, 10317 (2015), Methods, ask for uniform illumination, for images that do not all have the
same motif (such as a horizon), and for many different ones. The first two are looked for in the profiles
of mean and sigma image along rows and columns, where three things are distinguished by their scale:

- readout patterns differ from one row or column to the next: within a sixteenth of the frame as much as
  over all of it;
- illumination is smooth over the whole frame: a polynomial of degree 4 fits it;
- a motif lies between: many neighbouring rows or columns have it, and no such polynomial fits.

What is local, such as dust, hot pixels, dead columns that were concealed, does not get into the medians that
profiles are made of. Jumps from one pixel to the next are edges of readout blocks: a scene's edge, which
is not always at the same pixel, is blurred. (In smaller frames, in which columns average less, weak blocks
may pass for a motif: of 1024 pixels in up to 12 % of profiles with 8 of them, half of those with 16.) What
the halves do not have in common is chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import Finding, Severity
from camnorm.sensor.bands import Band, over_bands
from camnorm.sensor.sensor import Sensor
from camnorm.sizes import sizes
from camnorm.statistics.sequences import MEDIAN_TO_SIGMA

__all__ = ["motif_and_illumination"]

Array = npt.NDArray[np.float64]

# Parts of a profile, pieces of a part, and bands of rows or columns that a profile is a median of.
_PARTS, _PIECES, _BANDS = 16, 4, 32

# Up to this degree a polynomial is illumination.
_SMOOTH = 4

# Peak to valley, in target sigmas, of what matters: mean images are subtracted; a sigma image that is off by
# so much makes the contrast differ across the corrected frames.
_MATTERS = {"mean": 0.25, "sigma": 0.05}

# Mean square of the coefficients of low degree over that of the further ones: 1 for patterns of all scales.
_LOW_BY_CHANCE = 20.0

# The same over what the further ones have beyond chance and scatter. An edge anywhere in the frame, even if
# it moves by a twentieth of it from image to image, has less; light that falls off with cos⁴ or in a
# Gaussian of a fifth of the frame has more.
_LOW_OF_SMOOTH = 100.0

# Range of the further ones over that of the low ones: at least 0.25 for such an edge, at most 0.13 for such
# light.
_LEFT_OF_SMOOTH = 0.15

# Range of a profile's parts in standard errors of a part: that of 16 normal numbers is 3.5, 6 at most.
_STANDARD_ERRORS, _STANDARD_ERRORS_LEFT = 8.0, 5.0

# Jumps are looked for in profiles of this many pixels. Of a jump within one pixel the medians of the nearest
# pixels on either side show all; of an edge that is blurred over as many, half.
_SHARP_FROM, _SHARP, _MOST_JUMPS = 256, 0.6, 64


# Severity, headline and remedy. Uneven light is often meant to be corrected.
_CONSEQUENCES: dict[str, tuple[Severity, str, str]] = {
    "motif": (
        "warning",
        "the images share a motif, which the correction would remove from them.",
        "Add images of other areas.",
    ),
    "illumination": ("note", "the light is uneven.", ""),
}


def motif_and_illumination(sensor: Sensor) -> list[Finding]:
    """Do all images have the same illumination or motif, besides the sensor's pattern?"""
    because = {
        "motif": "less is what rows, columns and chance make of it, or too little to matter",
        "illumination": "less is what a pattern of all scales and chance make of it, or too little to matter",
    }
    # Bands, and parts of two pixels, need this many.
    too_small = (
        min(sensor.shape[:2]) < max(_BANDS, 2 * _PARTS) or min(half.count for half in sensor.halves) < 2
    )
    if too_small or not np.all(np.asarray(sensor.target_sigma) > 0):
        return [
            Finding(name, math.nan, math.nan, reason, False, f"The set is too small to determine {name}.")
            for name, reason in because.items()
        ]
    profiles, fits = _profiles(sensor)
    found = []
    for name, reason in because.items():
        judged = [(*profile.judged()[name], profile) for profile in profiles]
        judged.sort(key=lambda item: -item[0] / item[1])
        # Of an image and axis the plane that says it most.
        beyond: dict[str, dict[str, float]] = {}
        for size, limit, profile in judged:
            if size > limit:
                beyond.setdefault(profile.image, {}).setdefault(profile.axis, size)
        where = " and ".join(
            f"{size:.2g} sigma in the {image} image along {axis}"
            for image, sizes in beyond.items()
            for axis, size in sizes.items()
        )
        shares = "; ".join(
            f"of the pattern in the {image} image a plane explains {100 * fits[image][0]:.0f} %, a quadratic "
            f"surface {100 * fits[image][1]:.0f} %"
            for image in beyond
        )
        flagged = {
            "motif": "The images share a motif, such as a horizon or an edge: many rows or columns "
            f"together deviate by {where}, and not smoothly. The correction removes it from every image.",
            "illumination": "The light, or the sensitivity, is uneven: it varies smoothly by "
            f"{where} ({shares}). The correction flattens it; to leave it, use keep_illumination=True.",
        }
        passed = {
            "motif": "No motif is common to the images.",
            "illumination": "The light is even.",
        }
        value, limit, _ = judged[0]
        sentence = (flagged if beyond else passed)[name]
        found.append(Finding(name, value, limit, reason, bool(beyond), sentence, *_CONSEQUENCES[name]))
    return found


@dataclass(frozen=True)
class _Profile:
    """A profile of an image along an axis, in parts: what the halves have in common, and what differs."""

    image: str
    axis: str
    common: Array
    chance: Array
    scatter: float

    def judged(self) -> dict[str, tuple[float, float]]:
        """Range and limit of what is smooth, illumination, and of what is not, a motif."""
        basis = _polynomials(_PARTS)
        coefficients, chance = basis @ self.common, (basis @ self.chance)[1:] ** 2
        # Chance may be larger at low degrees.
        error = float(max(chance[:_SMOOTH].mean(), chance.mean())) + self.scatter**2
        low, further = slice(1, _SMOOTH + 1), slice(_SMOOTH + 1, None)
        squares, rest = (float((coefficients[part] ** 2).mean()) for part in (low, further))
        smooth, motif = (float(np.ptp(coefficients[part] @ basis[part])) for part in (low, further))
        usual = _LOW_BY_CHANCE * max(error, rest)
        matters = _MATTERS[self.image]
        # Where low degrees say that there is something, less is needed to tell what.
        errors = _STANDARD_ERRORS_LEFT if squares > usual else _STANDARD_ERRORS
        if motif > _STANDARD_ERRORS_LEFT * math.sqrt(error):
            usual = max(usual, _LOW_OF_SMOOTH * (rest - error))
        return {
            "illumination": (smooth, max(matters, smooth * math.sqrt(usual / max(squares, 5e-324)))),
            "motif": (motif, max(matters, errors * math.sqrt(error), _LEFT_OF_SMOOTH * smooth)),
        }


def _profiles(sensor: Sensor) -> tuple[list[_Profile], dict[str, tuple[float, float]]]:
    """Profiles of mean and sigma image, and the R² of a plane and a quadratic surface fitted to these."""
    height, width = sensor.shape[:2]
    planes = math.prod(sensor.shape[2:])
    rows, columns = height // _BANDS, width // _BANDS
    images = ("mean", "sigma")
    # Sums over bands of rows, (image, half, band, x, plane), and of columns, (image, half, band, y, plane).
    by_rows = np.zeros((2, 2, _BANDS, width, planes))
    by_columns = np.empty((2, 2, _BANDS, height, planes))
    surfaces = _Surfaces((height, width, planes))

    def sums(part: Band) -> tuple[list[tuple[int, Array]], tuple[Array, Array]]:
        where = part.where
        scaled = np.empty((2, 2, where.stop - where.start, width, planes))
        for number, half in enumerate(part.halves):
            scaled[0, number] = half.mean(threads=1).reshape(-1, width, planes)
            scaled[1, number] = half.std(1, threads=1).reshape(-1, width, planes)
        scaled[0] -= sensor.target_mean
        scaled /= sensor.target_sigma
        of_rows = []
        for band in range(where.start // rows, min((where.stop - 1) // rows + 1, _BANDS)):
            inside = slice(max(band * rows - where.start, 0), (band + 1) * rows - where.start)
            of_rows.append((band, scaled[:, :, inside].sum(2)))
        of_columns = np.add.reduceat(scaled[:, :, :, : _BANDS * columns], columns * np.arange(_BANDS), axis=3)
        by_columns[:, :, :, where] = of_columns.swapaxes(2, 3)
        return of_rows, surfaces.sums(where, scaled)

    for of_rows, of_surfaces in over_bands(sensor, max(1, sizes().block_values // (width * planes)), sums):
        for band, values in of_rows:
            by_rows[:, :, band] += values
        surfaces.add(of_surfaces)
    by_rows /= rows
    by_columns /= columns
    profiles = [
        _profile(image, axis, *(_polished(bands[i, half, ..., plane]) for half in (0, 1)))
        for axis, bands in (("x", by_rows), ("y", by_columns))
        for i, image in enumerate(images)
        for plane in range(planes)
    ]
    return profiles, {image: surfaces.fitted(i) for i, image in enumerate(images)}


def _polished(bands: Array) -> Array:
    """Median over the bands, each relative to its own, without what alternates."""
    profile = np.median(bands - np.median(bands, axis=1, keepdims=True), axis=0)
    for phase in (0, 1):
        profile[phase::2] -= np.median(profile[phase::2])
    return profile


def _without_jumps(profile: Array) -> Array:
    """Level out the jumps from one pixel to the next that stay: edges of blocks that are read out apart."""
    if len(profile) < _SHARP_FROM:
        return profile
    profile = profile.copy()
    reach, near = len(profile) // 32, max(8, len(profile) // 128)
    scatter = MEDIAN_TO_SIGMA * float(np.median(np.abs(np.diff(profile)))) / math.sqrt(2)
    limits = [k * 1.2533 * scatter * math.sqrt(2 / n) for k, n in ((_STANDARD_ERRORS, reach), (4.0, near))]
    # Left edges of pixels that have enough others on either side.
    edges = np.arange(reach + near, len(profile) - reach - near + 1)
    for _ in range(_MOST_JUMPS):
        close, level = (_sliding_medians(profile, size) for size in (near, reach))
        jump = level[edges] - level[edges - reach]
        step = (close[edges] - close[edges - near]) * np.sign(jump)
        far = (level[edges + near] - level[edges - reach - near]) * np.sign(jump)
        sharp = (np.abs(jump) > limits[0]) & (step > limits[1]) & (step > _SHARP * far)
        if not sharp.any():
            break
        largest = int(np.argmax(np.where(sharp, np.abs(jump), 0.0)))
        profile[edges[largest] :] -= jump[largest]
    return profile


def _sliding_medians(profile: Array, size: int) -> Array:
    """Medians of all neighbouring values of this number; ten times as fast as `numpy.median`."""
    values = np.sort(np.lib.stride_tricks.sliding_window_view(profile, size), axis=1)
    medians: Array = (values[:, (size - 1) // 2] + values[:, size // 2]) / 2
    return medians


def _profile(image: str, axis: str, a: Array, b: Array) -> _Profile:
    common, scatter = _parts(_without_jumps((a + b) / 2))
    chance, _ = _parts((a - b) / 2)
    return _Profile(image, axis, common, chance, scatter)


def _parts(profile: Array) -> tuple[Array, float]:
    """Medians of the parts, and their standard error by the scatter of pieces of the parts."""
    size = len(profile) // _PARTS
    parts = np.median(profile[: size * _PARTS].reshape(_PARTS, size), axis=1)
    piece = max(1, size // _PIECES)
    pieces = np.median(profile[: len(profile) // piece * piece].reshape(-1, piece), axis=1)
    scatter = MEDIAN_TO_SIGMA * float(np.median(np.abs(np.diff(pieces)))) / math.sqrt(2)
    # A median scatters by 1.25 times as much as a mean.
    return parts, 1.2533 * scatter / math.sqrt(size / piece)


def _polynomials(n: int) -> Array:
    """Orthonormal polynomials of degree 0, 1, 2... over n places, (degree, place); 16 at most."""
    x = (np.arange(n) - (n - 1) / 2) / (n / 2)
    q, _ = np.linalg.qr(np.polynomial.legendre.legvander(x, min(n, _PARTS) - 1))
    return np.ascontiguousarray(q.T)


def _quadratic(n: int) -> Array:
    """Orthonormal polynomials of degree 0, 1 and 2 over n places, (degree, place)."""
    x = (np.arange(n) - (n - 1) / 2) / n
    square = x * x
    powers = np.stack([np.ones(n), x, square - square.mean()])
    return np.asarray(powers / np.sqrt((powers * powers).sum(axis=1, keepdims=True)))


class _Surfaces:
    """Fits of a plane and of a quadratic surface to what both halves of an image have in common."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        height, width, planes = shape
        self._y, self._x = _quadratic(height), _quadratic(width)
        self._coefficients = np.zeros((2, 2, 3, 3, planes))
        self._products = np.zeros(2)

    def sums(self, where: slice, scaled: Array) -> tuple[Array, Array]:
        """Sums over some rows, (image, half, y, x, plane), for `add`; several threads may ask at once."""
        along_x = np.moveaxis(scaled, 4, 2) @ self._x.T  # (image, half, plane, y, j)
        coefficients = np.moveaxis(self._y[:, where] @ along_x, 2, 4)
        return coefficients, np.einsum("iyxp,iyxp->i", scaled[:, 0], scaled[:, 1])

    def add(self, sums: tuple[Array, Array]) -> None:
        """Add what `sums` gave of some rows."""
        self._coefficients += sums[0]
        self._products += sums[1]

    def fitted(self, image: int) -> tuple[float, float]:
        """R² of a plane and of a quadratic surface; 0 to 1."""
        a, b = self._coefficients[image]
        products = (a * b).sum(2)
        pattern = self._products[image] - products[0, 0]
        plane = products[0, 1] + products[1, 0]
        quadratic = plane + products[0, 2] + products[1, 1] + products[2, 0]
        if not pattern > 0:
            return 0.0, 0.0
        return float(np.clip(plane / pattern, 0, 1)), float(np.clip(quadratic / pattern, 0, 1))
