"""The class of every pixel by the mean and the sigma image alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.pixels.clusters import labels_of
from camnorm.diagnosis.pixels.marks import Indices, Marks, Numbers
from camnorm.diagnosis.pixels.residuals import Residuals, residuals_of
from camnorm.diagnosis.pixels.tails import Limits, limits_of

__all__ = ["Plane", "Verdicts", "classify_plane"]

Image = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

_DEAD = 0.1  # of the sigma of its neighbours
_SATURATED = 2.0  # sigmas between the mean and the largest value: 2 % of frames are above it, or cut off
_CLEAR = 4.0  # the same, for neighbours that are clear of it

_MAX_BY_CHANCE = 0.05  # pixels of the whole sensor that never change by chance
_COARSE = 0.4  # variance of whole numbers below which they are no longer nearly normal

# Scales by which local medians nearby differ by chance.
_MEDIAN_NOISE = 0.5
_SHARP = 0.5  # of the deviation of a bad pixel that the pixels around it may have on average

# Pixels on either side that show whether there is dust, their share that must deviate as usual, and how much
# that is for a normal distribution, and by chance.
_AROUND, _SHARE, _USUAL, _CHANCE = 7, 0.6, 0.84, 1.25
_TOGETHER = 4096  # pixels that are looked at in one go

_FINE = 50.0  # standard deviation of whole numbers whose steps do not matter

_POWER = 2 / 3  # of sigma, which makes the distribution of its estimate nearly normal (Wilson and Hilferty)
_FEW = 250_000  # pixels that tails are estimated from


@dataclass(frozen=True, eq=False)
class Plane:
    """What is known of the pixels of one colour.

    Attributes
    ----------
    mean, sigma : float64 ndarray, shape (y, x)
        In the units of the pixels.
    frames : int
        Number of frames.
    integer : bool
        Whether values are whole numbers.
    largest : float
        Largest value that a pixel can have; infinite if unknown.
    pixels : int
        Number of pixels of the sensor, of which these may be a part.
    """

    mean: Image
    sigma: Image
    frames: int
    integer: bool
    largest: float
    pixels: int


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Marks of the pixels of a plane, and the deviations that lines are found in.

    Attributes
    ----------
    marks : Marks
        The bad pixels.
    mean, sigma : Residuals
        Deviations from the neighbours: of the mean, and of a power of sigma.
    sigma_scale : float
        The usual scale of the latter.
    """

    marks: Marks
    mean: Residuals
    sigma: Residuals
    sigma_scale: float

    def mark(self, where: Indices, name: str, value: Numbers | float, limit: float) -> None:
        """Mark pixels, see `Marks`."""
        self.marks.mark(where, name, value, limit)


def classify_plane(plane: Plane) -> Verdicts:
    """Classify the pixels of one colour by their mean and sigma.

    Parameters
    ----------
    plane : Plane
        The images.

    Returns
    -------
    Verdicts
    """
    valid = (plane.sigma > 0) & np.isfinite(plane.mean)
    centre = float(np.median(plane.mean[::9][valid[::9]])) if valid[::9].any() else float(plane.mean.mean())
    centred = np.subtract(plane.mean, centre, dtype=np.float64).astype(np.float32)
    # Its square root is that of a variance: S^(2/3).
    root = plane.sigma.astype(np.float32)
    np.cbrt(np.square(root, out=root), out=root)
    parts = _phases(centred, valid)
    mean, sigma = _residuals(centred, root, valid, parts, plane)
    scale = float(np.median(sigma.scale[::7, ::5]))
    marks = Marks((valid.shape[0], valid.shape[1]))
    found = Verdicts(marks, mean, sigma, scale)
    _mark_constant(found, plane, valid, sigma.median)
    if valid.any():
        _mark_saturating(found, plane, centre)
        _mark_deviant(found, plane, valid, centre, pitch=1 if len(parts) == 1 else 2)
    return found


def _phases(centred: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """The colours of a filter mosaic (every second pixel of every second row), or all pixels in one."""
    whole = [(slice(None), slice(None))]
    if min(centred.shape) < 28 or (not valid.all() and valid.mean() < 0.5):
        return whole
    phases = [(slice(y, None, 2), slice(x, None, 2)) for y in range(2) for x in range(2)]
    few = max(1, round(math.sqrt(centred.size / _FEW)))
    levels, spreads = [], []
    for phase in phases:
        part, used = centred[phase][::few, ::few], valid[phase][::few, ::few]
        if not used.any():
            return whole
        levels.append(float(np.median(part[used])))
        steps = np.abs(np.diff(centred[phase][::few], axis=1))
        spreads.append(float(np.median(steps)) * 1.05)  # 1.4826 / sqrt(2)
    return phases if max(levels) - min(levels) > max(spreads) else whole


def _residuals(
    centred: npt.NDArray[np.float32],
    root: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    parts: list[tuple[slice, slice]],
    plane: Plane,
) -> tuple[Residuals, Residuals]:
    """Residuals of the mean image, and of the power of the sigma image."""
    error = np.float32(1 / math.sqrt(plane.frames))
    found = []
    for part in parts:
        of_sigma = residuals_of(root[part], valid[part], relative=True)
        # The noise of the mean image: no scale is below it.
        noise = of_sigma.median * np.sqrt(of_sigma.median) * error
        found.append((residuals_of(centred[part], valid[part], floor=noise), of_sigma))
    if len(parts) == 1:
        return found[0]

    def joined(number: int) -> Residuals:
        median, scaled, scale = (np.empty(centred.shape, np.float32) for _ in range(3))
        for part, residuals in zip(parts, found, strict=True):
            its = residuals[number]
            median[part], scaled[part], scale[part] = its.median, its.scaled, its.scale
        return Residuals(median, scaled, scale, relative=number == 1)

    return joined(0), joined(1)


def _mark_constant(
    found: Verdicts, plane: Plane, valid: npt.NDArray[np.bool_], root: npt.NDArray[np.float32]
) -> None:
    """Pixels that never change, unless that happens by chance."""
    where = np.flatnonzero(~valid)
    if not where.size:
        return
    variance = root.reshape(-1)[where].astype(np.float64) ** 3
    if plane.integer:
        # Largest probability of one value: of few counts or of two values, or of normal ones.
        normal = -0.5 * np.log(2 * np.pi * np.maximum(variance, _COARSE))
        log_most = np.where(variance < _COARSE, -variance, normal)
        log_chance = (plane.frames - 1) * log_most
    else:
        # Frames that are multiplied by a gain repeat only their zeros: where these are counts, how precise
        # sigma is says how many there are.
        relative = 1.5 * found.sigma_scale
        sparse = math.isfinite(relative) and 1 + 4 * plane.frames * relative**2 > 6
        zero = plane.mean.reshape(-1)[where] == 0
        log_chance = np.where(zero & sparse, -0.25 / max(relative, 1e-9) ** 2, -np.inf)
    bad = where[log_chance < math.log(_MAX_BY_CHANCE / plane.pixels)]
    found.mark(bad, "constant", 0.0, 0.0)


def _mark_deviant(
    found: Verdicts,
    plane: Plane,
    valid: npt.NDArray[np.bool_],
    centre: float,
    pitch: int,
) -> None:
    """Pixels whose mean or sigma is far from that of their neighbours."""
    mean, sigma = found.mean, found.sigma
    mean_limits, sigma_limits = _limits(found, plane, valid)
    sigma_flat, mean_flat = plane.sigma.reshape(-1), plane.mean.reshape(-1)

    where = _beyond(mean.scaled, mean_limits)
    usual = sigma.median.reshape(-1)[where].astype(np.float64) ** (1 / _POWER)
    # A noisy pixel has a less precise mean.
    own = np.maximum(np.square(sigma_flat[where]) - np.square(usual), 0.0) / plane.frames
    scale = np.hypot(mean.scale.reshape(-1)[where], np.sqrt(own))
    low, high = _smooth_range(mean.median, mean.scale, where, pitch)
    level = mean_flat[where] - centre
    value = ((level - np.clip(level, low, high)) / scale).astype(np.float32)
    value /= _unrest(mean.scaled, where, pitch)
    hot = _sharp(where, value > mean_limits.high, mean.scaled)
    cold = _sharp(where, value < -mean_limits.low, mean.scaled)
    silent = sigma_flat[where] < _DEAD * usual
    found.mark(where[cold & silent], "dead", value[cold & silent], mean_limits.low)
    found.mark(where[hot], "hot", value[hot], mean_limits.high)
    found.mark(where[cold & ~silent], "cold", value[cold & ~silent], mean_limits.low)

    where = _beyond(sigma.scaled, sigma_limits)
    low, high = _smooth_range(sigma.median, sigma.scale * sigma.median, where, pitch)
    level = np.cbrt(np.square(sigma_flat[where]))
    unit = sigma.scale.reshape(-1)[where] * sigma.median.reshape(-1)[where]
    value = ((level - np.clip(level, low, high)) / unit).astype(np.float32)
    value /= _unrest(sigma.scaled, where, pitch)
    for name, beyond, limit in (
        ("noisy", _sharp(where, value > sigma_limits.high, sigma.scaled), sigma_limits.high),
        ("low_sigma", _sharp(where, value < -sigma_limits.low, sigma.scaled), sigma_limits.low),
    ):
        found.mark(where[beyond], name, value[beyond], limit)


def _limits(found: Verdicts, plane: Plane, valid: npt.NDArray[np.bool_]) -> tuple[Limits, Limits]:
    """Limits of the deviations of mean and sigma."""
    step = max(1, round(math.sqrt(valid.size / _FEW)))
    some = np.s_[::step, :: step + 1] if step > 1 else np.s_[:, :]
    used = valid[some]
    rng = np.random.default_rng(0)
    mean = found.mean.scaled[some][used]
    unit = plane.frames * _scale_of(plane)
    if plane.integer and unit < _FINE:  # sums are whole numbers: between them there are no quantiles
        mean = mean + (rng.random(mean.size, np.float32) - np.float32(0.5)) / np.float32(max(unit, 1e-9))
    precision = 1.5 * found.sigma_scale
    # The skewness of a mean is at most sqrt((κ - 1) / N) (Pearson), twice the relative error of sigma.
    return limits_of(mean, 2 * precision + 0.1), limits_of(
        found.sigma.scaled[some][used], 2 * precision + 0.1
    )


def _scale_of(plane: Plane) -> float:
    return float(np.median(plane.sigma[::7, ::5]) / math.sqrt(plane.frames))


def _beyond(scaled: npt.NDArray[np.float32], limits: Limits) -> Indices:
    flat = scaled.reshape(-1)
    return np.flatnonzero((flat > np.float32(limits.high)) | (flat < np.float32(-limits.low)))


def _unrest(scaled: npt.NDArray[np.float32], where: Indices, pitch: int) -> npt.NDArray[np.float32]:
    """How much more the pixels around deviate than usual; 1 where that may be chance.

    Fringes of dust are an example. Their pixels deviate, but not because something is wrong with them.
    """
    height, width = scaled.shape
    flat = scaled.reshape(-1)
    places = np.arange(-_AROUND, _AROUND + 1) * pitch
    found = np.empty(where.size, np.float32)
    for start in range(0, where.size, _TOGETHER):
        y, x = np.divmod(where[start : start + _TOGETHER], width)
        rows = np.abs(y[:, None] + places)
        rows = np.where(rows < height, rows, np.maximum(2 * height - 2 - rows, 0))
        columns = np.abs(x[:, None] + places)
        columns = np.where(columns < width, columns, np.maximum(2 * width - 2 - columns, 0))
        around = np.abs(flat[rows[:, :, None] * width + columns[:, None, :]]).reshape(y.size, -1)
        found[start : start + _TOGETHER] = np.quantile(around, _SHARE, axis=1) / _USUAL
    return np.asarray(np.maximum(found / np.float32(_CHANCE), np.float32(1)))


def _sharp(
    where: Indices, deviant: npt.NDArray[np.bool_], scaled: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Which deviant pixels, alone or in a group, stand out from the pixels that touch them.

    Specks and fringes of dust do not: their edges are not as sharp as those of pixels.
    """
    place = where[deviant]
    if not place.size:
        return deviant
    height, width = scaled.shape
    label = labels_of(place, width)
    y, x = np.divmod(place, width)
    flat = scaled.reshape(-1)
    sums, counts, inside = (np.zeros(label.max() + 1) for _ in range(3))
    for dy, dx in ((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx):
        there = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        neighbour = place[there] + dy * width + dx
        found = np.searchsorted(place, neighbour)
        outside = place[np.minimum(found, place.size - 1)] != neighbour
        group = label[there][outside]
        sums += np.bincount(group, flat[neighbour[outside]], sums.size)
        inside += np.bincount(group, flat[place[there][outside]], sums.size)
        counts += np.bincount(group, minlength=sums.size)
    keep: npt.NDArray[np.bool_] = deviant.copy()
    keep[deviant] = (np.abs(sums) < _SHARP * np.abs(inside))[label] | (counts == 0)[label]
    return np.asarray(keep)


def _smooth_range(
    median: Single, scale: Single, where: Indices, pitch: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Range of the local medians around pixels of one colour, each of which is one in `pitch` pixels.

    It is wide at the edges of dust and of readout blocks.
    """
    height, width = median.shape
    y, x = np.divmod(where, width)
    low = np.full(where.size, np.inf)
    high = np.full(where.size, -np.inf)
    for dy in range(-2 * pitch, 2 * pitch + 1, pitch):
        rows = np.where((y + dy >= 0) & (y + dy < height), y + dy, y)
        for dx in range(-2 * pitch, 2 * pitch + 1, pitch):
            values = median[rows, np.where((x + dx >= 0) & (x + dx < width), x + dx, x)]
            np.minimum(low, values, out=low)
            np.maximum(high, values, out=high)
    own = median.reshape(-1)[where]
    noise = _MEDIAN_NOISE * scale.reshape(-1)[where]
    return np.minimum(low + noise, own), np.maximum(high - noise, own)


def _mark_saturating(found: Verdicts, plane: Plane, centre: float) -> None:
    """Pixels, but not their neighbours, whose mean is so near the largest value that values are cut off.

    Where all are near it, values have only two levels, or are bounded, or the light is too bright: pixels
    like those around them are not bad.
    """
    if not math.isfinite(plane.largest):
        return
    # Frames whose pixels are equally noisy have none of these; others are looked at closely.
    near = np.flatnonzero(plane.mean > plane.largest - _SATURATED * float(plane.sigma.max()))
    sigma = plane.sigma.reshape(-1)[near]
    room = plane.largest - plane.mean.reshape(-1)[near]
    usual_room = plane.largest - centre - found.mean.median.reshape(-1)[near]
    usual_sigma = found.sigma.median.reshape(-1)[near] ** (1 / _POWER)
    cut = (room < _SATURATED * sigma) & (sigma > 0) & (usual_room > _CLEAR * usual_sigma)
    value = (room[cut] / sigma[cut]).astype(np.float32)
    found.mark(near[cut], "saturating", value, _SATURATED)
