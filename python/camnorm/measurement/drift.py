"""Whether a sensor changed while its set was taken: the first frames compared with the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.sensor.survey import HOT
from camnorm.sizes import sizes
from camnorm.statistics.distributions import t_limit
from camnorm.statistics.moments import Image, PixelMoments

__all__ = ["Early", "measure_drift", "measure_ratios"]

_Band = list[tuple[Image, ...]]

# Squares of this many pixels: their medians take away what changed smoothly, which is light or motif as a
# rule, and one that holds a conspicuous pixel counts no more than any other.
_TILE = 32

# Pixels whose images are in memory at a time.
_BAND_PIXELS = 2**17

# Bands that tell the ratio of brightness, and the typical z of the control; all tell the rest.
_BANDS_FOR_FITS = 8

# Pixels of a tile at an edge, or that vary in a tile, from which on it counts.
_SMALLEST_TILE = 16

# A pixel whose mean is this many times further from its tile's than those of others.
_CONSPICUOUS = 6.0

_BEYOND = 6.0
# Chance that a pixel which did not change is beyond the limit, which is higher for few frames.
_CHANCE = 3e-8
# The variance of a pixel from few frames is uncertain: that typical of its tile counts for this many more
# degrees of freedom. Counts that happen to be equal do not make a variance of 0 then.
_TYPICAL_FREEDOM = 4
# Of a pixel that was constant before and after, another constant, z is anything.
_LARGEST_Z = 1000.0

# Half the distance of neighbours in float32, relatively.
_ROUNDING = 2.0**-25
# The variance that this makes must be this many times smaller than what is measured.
_ROUNDED_AWAY = 100.0


@dataclass
class Early:
    """Mean image of the first frames of a set, whose sums go on to grow.

    Float32 is enough: its rounding is part of the standard errors.
    """

    mean: npt.NDArray[np.float32]
    """Of the rows that are looked at, one below the other."""
    count: int
    """Frames in it."""
    rows: int
    """Rows of the frame table that were there when it was made."""
    roundings: int = 1
    """How many times it was rounded."""

    @classmethod
    def of(cls, halves: tuple[PixelMoments, PixelMoments], rows: int) -> Early:
        """Mean image of the frames so far."""
        a, b = halves
        parts = [a.rows(first, last).mean_with(b.rows(first, last)) for first, last in _bands(a.shape)]
        with np.errstate(over="ignore"):  # pixels beyond 3e38, whose drift is not reported
            mean = np.concatenate(parts, dtype=np.float32, casting="same_kind")
        return cls(mean, a.count + b.count, rows)

    @staticmethod
    def stored_bytes(shape: tuple[int, ...]) -> int:
        """Bytes of the mean image of frames of this shape."""
        rows = sum(last - first for first, last in _bands(shape))
        return 4 * rows * math.prod(shape[1:])

    def subtract(self, frames: npt.NDArray[Any]) -> None:
        """Take a stack of the frames back."""
        before, self.count = self.count, self.count - len(frames)
        self.roundings += 1
        if self.count:
            for first, last, mean in self.parts(frames.shape[1:]):
                sums = frames[:, first:last].sum(0, dtype=np.float64)
                mean[...] = (before * mean.astype(np.float64) - sums) / self.count

    def parts(self, shape: tuple[int, ...]) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
        """First row of each band of a frame of this shape, the one after the last, and their mean."""
        start = 0
        for first, last in _bands(shape):
            yield first, last, self.mean[start : start + last - first]
            start += last - first


def measure_drift(halves: tuple[PixelMoments, PixelMoments], early: Early) -> dict[str, Any] | None:
    """Compare the mean image of the first frames with that of the last.

    Parameters
    ----------
    halves : tuple of two PixelMoments
        Moments of both halves of the whole set. They are interleaved in time, so that their difference tells
        how much two parts of the set differ without drift: by noise, by what frames of one movie have in
        common, by the motifs.
    early : Early
        Mean image of the first frames.

    Returns
    -------
    dict or None
        None if one of the four parts has fewer than two frames, or no pixel changes. Else plain numbers:

        ``first``, ``second``
            Number of frames compared.
        ``pixels``
            Pixels that were looked at (of large frames, in rows evenly spread) and vary.
        ``rms_z``
            Root mean square over pixels of z, the difference of the means by its standard error; of the
            typical tile of 32 x 32 pixels (the median), so that a few pixels do not matter. 1 without drift
            for independent frames.
        ``control_rms_z``
            The same for half B less half A.
        ``share``
            Share of the fixed pattern's variance that changed, 1 - r for patterns of correlation r before
            and after.
        ``beyond_6_sigma``, ``control_beyond_6_sigma``
            Pixels whose z is more than 6 times the typical one of the control; below 100 frames, by the
            quantile of Student's t that one unchanged pixel in 30 million exceeds.
        ``brightness``
            Brightness of the last frames by that of the first, estimated from the pattern itself; taken away
            before.

    Notes
    -----
    z is Student's, (M₂ - M₁) / √(s²·(1/n₁ + 1/n₂)) with s² pooled over both parts, which for parts of equal
    size is the same number as Welch's and needs no second variance. Pixels are counted by a z whose s² is
    moderated by the typical one of the tile (G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 3, 3 (2004)): few
    frames tell little of the variance of one pixel. Differences are those from the median
    of each tile. The brightness comes from the slope of M₂ - M₁ over the mean image of the whole set,
    whose errors are not correlated with those of the difference.
    """
    a, b = halves
    n, n1 = a.count + b.count, early.count
    n2 = n - n1
    if min(n1, n2, a.count, b.count) < 2 or not np.isfinite(early.mean).all():
        return None
    bands = [list(_pieces(halves, early, *band)) for band in early.parts(a.shape)]
    some = bands[:: max(1, len(bands) // _BANDS_FOR_FITS)]
    samples = [_fits(*piece) for band in some for piece in band]
    if not samples:  # frames too small to be looked at
        return None
    fits = np.concatenate(samples)
    if not (fits["weight"] > 0).any():
        return None
    slopes = _slope(fits, 0), _slope(fits, 1)

    def look(bands: list[_Band], typical: float) -> tuple[Image, npt.NDArray[np.int64]]:
        found = [_tiles(slopes, n - 2, typical, *piece) for band in bands for piece in band]
        return np.concatenate([tiles for tiles, _ in found]), np.sum([counts for _, counts in found], axis=0)

    typical = math.sqrt(np.median(look(some, math.inf)[0][:, 1]))
    tiles, (pixels, beyond, control_beyond) = look(bands, max(typical, 1.0))
    time_z2, control_z2, time_d2, control_d2, pattern = np.median(tiles, axis=0).tolist()
    # What noise, and all else in which the halves differ, adds to the variances.
    noise = control_d2 / (1 / a.count + 1 / b.count)
    changed = max(time_d2 - noise * (1 / n1 + 1 / n2), 0.0)
    fixed = max(pattern - noise / n, 0.0) + changed / 4
    return {
        "first": n1,
        "second": n2,
        "pixels": int(pixels),
        "rms_z": math.sqrt(time_z2),
        "control_rms_z": math.sqrt(control_z2),
        "share": min(changed / 2 / fixed, 1.0) if fixed > 0 else 0.0,
        "beyond_6_sigma": int(beyond),
        "control_beyond_6_sigma": int(control_beyond),
        "brightness": 1 + slopes[0],
    }


def measure_ratios(
    halves: tuple[PixelMoments, PixelMoments], early: Sequence[Early], frames: npt.NDArray[np.void]
) -> list[dict[str, Any]]:
    """Compare the mean images of the first frames with those of all others, as independent frames would.

    Parameters
    ----------
    halves : tuple of two PixelMoments
        Moments of both halves of the whole set.
    early : sequence of Early
        Mean images of the first frames, of more and more of them.
    frames : structured array
        The frame table.

    Returns
    -------
    list of dict
        For each mean image that the set gives, ``first`` and ``others``, numbers of frames n1 and n2,
        and ``ratio``: var(M₂ - M₁) over the pixels by <S²>·(1/n1 + 1/n2), which is 1 for independent frames.
        Brightness that changes as a whole is left out of both, as are pixels that never change, those that
        vary four times as much as is typical, and, of large frames, most rows.
    """
    a, b = halves
    n = a.count + b.count
    means = frames["mean"][frames["status"] == "accepted"]
    if not early or n < 4 or means.size != n:
        return []
    parts = [(a.rows(*band), b.rows(*band)) for band in _bands(a.shape)]
    mean, variance = (
        np.concatenate(images).reshape(-1, *a.shape[2:])
        for images in zip(*((x.mean_with(y), x.std_with(y) ** 2) for x, y in parts), strict=True)
    )
    varies = variance > 0
    if not varies.any():
        return []
    used = varies & (variance <= HOT * np.median(variance[varies]))
    noise = float(variance[used].mean() * n / (n - 1) - means.var(ddof=1))
    found: list[dict[str, Any]] = []
    for first in early:
        n1, n2 = first.count, n - first.count
        if min(n1, n2) < 2 or not np.isfinite(first.mean).all():
            continue
        if found and found[-1]["first"] == n1:  # frames between two places could not be used
            continue
        before = first.mean.reshape(mean.shape).astype(np.float64)
        difference = (mean - before) * (n / n2)
        rounding = (before[used] * (_ROUNDING * n / n2)) ** 2 * first.roundings
        # A plane of which no pixel is used has no level.
        level = difference.sum(0, where=used) / np.maximum(used.sum(0), 1)
        measured = float(((difference - level)[used] ** 2).mean())
        expected = noise * (1 / n1 + 1 / n2)
        if expected > _ROUNDED_AWAY * float(rounding.mean()):
            found.append({"first": n1, "others": n2, "ratio": measured / expected})
    return found


def _bands(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First row of each band of whole tiles that is used, and the one after the last."""
    tiles = math.prod(shape[1:]) * _TILE
    step = math.ceil(shape[0] / _TILE / max(1, sizes().drift_pixels // tiles))
    rows = max(1, _BAND_PIXELS // tiles) * _TILE if step == 1 else _TILE
    return [(first, min(first + rows, shape[0])) for first in range(step // 2 * _TILE, shape[0], step * rows)]


def _pieces(
    halves: tuple[PixelMoments, PixelMoments],
    early: Early,
    first: int,
    last: int,
    early_mean: npt.NDArray[np.float32],
) -> Iterator[tuple[Image, ...]]:
    """Differences in time and between halves, mean, and variances of both differences, of a band.

    Each is of shape (tiles, pixels of a tile); the differences and the mean are those from their tile's
    median. The medians, of shape (3, tiles), come first.
    """
    a, b = (half.rows(first, last) for half in halves)
    n, n1 = a.count + b.count, early.count
    n2 = n - n1
    mean, variance = a.mean_with(b), a.std_with(b) ** 2
    before = early_mean.astype(np.float64)
    in_time = (mean - before) * (n / n2)
    between = b.mean() - a.mean()
    pooled = variance - (n1 * n2 / n**2) * in_time**2
    # Of a pixel that went from one constant to another nothing is left but rounding errors.
    pooled = np.maximum(pooled, 1e-12 * variance) * (n / max(n - 2, 1))
    rounding = (before * (_ROUNDING * n / n2)) ** 2 * early.roundings
    of_time = np.where(variance > 0, pooled * (1 / n1 + 1 / n2) + rounding, 0.0)
    # By the same variance, so that what changed in time does not make the halves seem more alike.
    of_halves = pooled * (1 / a.count + 1 / b.count)
    images = [in_time, between, mean, of_time, of_halves]
    for plane in np.moveaxis(np.stack(images), -1, 0) if mean.ndim == 3 else [np.stack(images)]:
        yield from _cut(plane)


def _cut(images: Image) -> Iterator[tuple[Image, ...]]:
    """Tiles of several images, those at the edges, which are smaller, apart from the others."""
    _, height, width = images.shape
    whole_y, whole_x = height - height % _TILE, width - width % _TILE
    for y, h in ((slice(0, whole_y), _TILE), (slice(whole_y, height), height - whole_y)):
        for x, w in ((slice(0, whole_x), _TILE), (slice(whole_x, width), width - whole_x)):
            part = images[:, y, x]
            if h * w < _SMALLEST_TILE or not part.size:
                continue
            tiles = part.reshape(len(images), -1, h, part.shape[2] // w, w).swapaxes(2, 3)
            tiles = tiles.reshape(len(images), -1, h * w)
            medians = np.median(tiles[:3], axis=-1)
            tiles[:3] -= medians[..., None]
            yield medians, *tiles


_FITS = np.dtype(
    [("weight", "f8"), ("slope", "f8", 2), ("difference", "f8", 2), ("level", "f8"), ("darkest", "f8")]
)


def _fits(
    medians: Image, in_time: Image, between: Image, mean: Image, variance: Image, control_variance: Image
) -> npt.NDArray[np.void]:
    """Of each tile the slopes of both differences over the mean and what bounds them."""
    # Conspicuous pixels apart.
    usual = np.abs(mean) <= _CONSPICUOUS * np.median(np.abs(mean), axis=-1, keepdims=True)
    usual &= variance > 0
    known = np.where(usual, mean, 0.0)
    fits = np.empty(len(mean), _FITS)
    fits["weight"] = (known**2).sum(-1)
    safe = np.where(fits["weight"] > 0, fits["weight"], 1.0)
    for which, difference in enumerate((in_time, between)):
        fits["slope"][:, which] = (known * difference).sum(-1) / safe
        fits["difference"][:, which] = medians[which]
    fits["level"] = medians[2]
    fits["darkest"] = medians[2] + known.min(-1)
    return fits


def _slope(fits: npt.NDArray[np.void], which: int) -> float:
    """By how much, relatively, the light of both sides differs.

    The slope, but no more than explains by how much the level differs, with all of the signal above the
    darkest pixels: where there is hardly a pattern, a change of it goes with the mean image, which holds
    half of it.
    """
    counts = fits[fits["weight"] > 0]
    slope = _weighted_median(counts["slope"][:, which], counts["weight"])
    signal = float(np.median(counts["level"]) - counts["darkest"].min())
    most = abs(float(np.median(counts["difference"][:, which]))) / signal if signal > 0 else 0.0
    return min(max(slope, -most), most)


def _tiles(
    slopes: tuple[float, float],
    freedom: int,
    typical: float,
    medians: Image,
    in_time: Image,
    between: Image,
    mean: Image,
    variance: Image,
    control_variance: Image,
) -> tuple[Image, npt.NDArray[np.int64]]:
    """Means over the pixels of each tile: z², its control, squared differences, control, squared mean.

    Also the number of pixels, of those whose z is beyond the limit times the typical one, and of those of
    the control.
    """
    varies = variance > 0
    number = varies.sum(-1)
    limit = (typical * _limit(freedom + _TYPICAL_FREEDOM)) ** 2
    squares, large = [], [int(varies.sum())]
    changes = [in_time - slopes[0] * mean, between - slopes[1] * mean]
    for change, its_variance in zip(changes, (variance, control_variance), strict=True):
        z2 = np.minimum(change**2 / np.where(varies, its_variance, np.inf), _LARGEST_Z**2)
        squares.append(z2)
        usual = _medians(its_variance, varies)[:, None]
        moderated = (_TYPICAL_FREEDOM * usual + freedom * its_variance) / (_TYPICAL_FREEDOM + freedom)
        large.append(int(np.count_nonzero(change**2 > limit * np.where(varies, moderated, np.inf))))
    squares += [np.where(varies, image, 0.0) ** 2 for image in (*changes, mean)]
    enough = number >= _SMALLEST_TILE
    sums = np.stack([square[enough].sum(-1) for square in squares], axis=-1)
    return sums / number[enough, None], np.array(large, np.int64)


def _medians(tiles: Image, where: npt.NDArray[np.bool_]) -> Image:
    """Median of each tile over some of its pixels; 0 without any. Faster than `numpy.nanmedian`."""
    if where.all():
        return np.asarray(np.median(tiles, axis=-1))
    ordered = np.sort(np.where(where, tiles, np.inf), axis=-1)
    number = where.sum(-1)
    middle = np.stack([np.maximum(number - 1, 0) // 2, number // 2], axis=-1)
    middle = np.minimum(middle, tiles.shape[-1] - 1)
    medians = np.take_along_axis(ordered, middle, axis=-1).mean(-1)
    return np.where(number > 0, medians, 0.0)


def _limit(freedom: int) -> float:
    """What Student's t exceeds, in either direction, with the chance allowed; at least 6."""
    return max(_BEYOND, t_limit(freedom, _CHANCE / 2))


def _weighted_median(values: Image, weights: Image) -> float:
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(sums, sums[-1] / 2)])
