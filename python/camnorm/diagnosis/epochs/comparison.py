"""`compare`: two measurements of one sensor, pixel by pixel."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any, NamedTuple, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.epochs.blobs import Blob, blobs_in, smoothed
from camnorm.diagnosis.epochs.blocks import Grid, without_lines, without_slow
from camnorm.diagnosis.epochs.changes import Changes, Motion, Place
from camnorm.diagnosis.epochs.epoch import FEWEST_FRAMES, Epoch, Pixels, epoch_of
from camnorm.diagnosis.epochs.levels import Fit, fitted, residual
from camnorm.diagnosis.epochs.matching import matched
from camnorm.diagnosis.epochs.null import Null, null_of, rejected, variance_scores, welch_scores
from camnorm.diagnosis.epochs.refusal import check_comparable, in_row_order
from camnorm.sensor.sensor import Sensor, as_sensor

__all__ = ["compare"]

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

# Chance of a blob where nothing changed, as a share of the false discovery rate.
_BLOB_SHARE = 0.1

# Dark blobs of one mean image stand out of its pattern, which is no normal noise.
_BLOB_IN_PATTERN = 7.0

# Standard errors from which on a difference of the halves of a measurement makes changes doubtful: frames of
# one half alone have something there. Blobs are this many times as deep as the halves differ there.
_HALVES, _BLOB_HALVES = 3.0, 1.5

# Excess of noise, and standard errors of what varies slowly, that the user should know of.
_NOISY, _SLOW = 1.5, 6.0

_NORMAL = NormalDist()

_OF_FIT = ("scale", "scale_error", "offset", "offset_error")


def compare(
    old: Sensor | str | os.PathLike[str], new: Sensor | str | os.PathLike[str], *, fdr: float = 0.01
) -> Changes:
    """Find out what changed in a sensor between two epochs.

    Parameters
    ----------
    old, new : Sensor or path-like
        Two measurements of one sensor, of different frames. Of paths, one at a time is in memory.
    fdr : float
        False discovery rate: expected share of chance among the pixels that are reported as changed. Where
        nothing changed, it is the chance of any finding; blobs add a tenth of it.

    Returns
    -------
    Changes

    Raises
    ------
    Error
        If the measurements are not of one sensor: other shapes, kinds of pixels, cameras or options; if they
        have frames in common; or if one has less than two frames.
    ValueError
        If `fdr` is not above 0 and below 1.
    TypeError
        If `old` or `new` is something else.

    Notes
    -----
    The mean images follow M2 = a·M1 + b, fitted to the pattern of the pixels without those that changed, and
    with the noise of M1 taken into account. What varies slowly over the frame is removed. Each pixel's mean
    is then tested by Welch's t, its variance by the logarithm of the ratio, whose standard error is
    sqrt((κ - 1)(1/n1 + 1/n2)) with the kurtosis κ that the halves of both measurements show. Location, scale
    and tails of the null are those of the bulk of the pixels [1]_, and the false discovery rate is that of
    [2]_, over both tests of all pixels. A change must be three times as large as the halves of a measurement
    differ. Dust is a dark blob of several pixels.

    References
    ----------
    .. [1] B. Efron, J. Am. Stat. Assoc. 99, 96 (2004).
    .. [2] Y. Benjamini & Y. Hochberg, J. R. Stat. Soc. B 57, 289 (1995).

    Examples
    --------
    >>> import numpy as np, camnorm
    >>> def measured(seed, dark):
    ...     light = np.full((64, 64), 100.0)
    ...     light[20:27, 30:37] *= dark
    ...     a, b = (camnorm.PixelMoments((64, 64), np.uint16) for _ in "AB")
    ...     frames = np.random.default_rng(seed).poisson(light, (200, 64, 64)).astype(np.uint16)
    ...     a.add(frames[::2]), b.add(frames[1::2])
    ...     return camnorm.Sensor.from_moments(a, b)
    >>> changes = camnorm.compare(measured(1, 1.0), measured(2, 0.8))
    >>> [(round(dust.x), round(dust.y)) for dust in changes.came]
    [(33, 23)]
    """
    if not 0 < fdr < 1:
        raise ValueError(f"fdr must be above 0 and below 1, not {fdr!r}")
    first, second = as_sensor(old, load=True), as_sensor(new, load=True)
    check_comparable(first, second)
    shape, order = first.shape, first.row_order
    is_file = not isinstance(new, Sensor)
    if is_file:
        del second  # sums of both, and what is made of them, take more memory than reading it again
    before = epoch_of(first)
    del first
    if is_file:
        second = as_sensor(new, load=True)
    after = epoch_of(in_row_order(order, second))
    del second
    return _Comparison(before, after, shape, fdr).changes()


class _Scores(NamedTuple):
    """Scores that may be significant, and their places among all pixels."""

    places: Places
    scores: Values


_HalvesOf: TypeAlias = Callable[[Epoch, int, Places], Values]


class _Plane(NamedTuple):
    """What one colour plane gives."""

    fit: Fit
    sigma_ratio: float
    slow: float
    """In the typical sigma of a pixel."""
    noise: float


class _Blobs(TypedDict):
    came: tuple[Place, ...]
    went: tuple[Place, ...]
    stayed: tuple[Place, ...]
    moved: tuple[Motion, ...]


class _Comparison:
    """Two epochs compared: pixels plane by plane, blobs in all planes together."""

    def __init__(self, old: Epoch, new: Epoch, shape: tuple[int, ...], fdr: float) -> None:
        self._old, self._new, self._shape, self._fdr = old, new, shape, fdr
        # Of scores of blobs.
        self._limit = -_NORMAL.inv_cdf(fdr * _BLOB_SHARE / (2 * shape[0] * shape[1]))
        self._grid = Grid((shape[0], shape[1]))
        self._usable = ~(old.constant | new.constant)
        self._tests: tuple[list[_Scores], list[_Scores]] = ([], [])
        self._difference = np.zeros_like(old.mean)
        # Sums over the planes: mean images, the old one scaled, and the scores of their difference.
        self._old_image, self._new_image, self._change = np.zeros((3, *shape[:2]), np.float32)

    def changes(self) -> Changes:
        """Compare all planes."""
        planes = [self._plane(plane) for plane in range(len(self._old.mean))]
        mean, sigma = self._changed()
        scale, scale_error, offset, offset_error = (
            self._per_plane([getattr(found.fit, name) for found in planes]) for name in _OF_FIT
        )
        return Changes(
            shape=self._shape,
            frames=(self._old.frames, self._new.frames),
            mean_changed=mean,
            sigma_changed=sigma,
            fdr=self._fdr,
            **self._blobs(),
            scale=scale,
            scale_error=scale_error,
            offset=offset,
            offset_error=offset_error,
            sigma_ratio=self._per_plane([found.sigma_ratio for found in planes]),
            slow_change=max(found.slow for found in planes),
            noise=max(found.noise for found in planes),
            difference=self._in_shape(self._difference),
            images=(self._old_image, self._new_image),
            notes=tuple(self._notes(planes)),
        )

    def _in_shape(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An image of planes in the shape of a frame."""
        return np.moveaxis(image, 0, 2) if len(self._shape) == 3 else image[0]

    def _per_plane(self, values: list[float]) -> float | tuple[float, ...]:
        return tuple(values) if len(self._shape) == 3 else values[0]

    def _plane(self, plane: int) -> _Plane:
        """Test the pixels of a plane; keep the scores that may be significant, and what shows blobs."""
        old, new, grid, usable = self._old, self._new, self._grid, self._usable[plane]
        fit = fitted(old, new, plane, usable, grid)
        scale = float(fit.slope[0])
        difference = self._difference[plane]
        difference[:] = residual(old, new, plane, fit, grid)
        slow, quiet = without_slow(difference, usable, grid)
        scores = welch_scores(difference, old, new, plane, scale)
        self._compare_constant(plane, scores)
        halves = [epoch.difference[plane][usable] for epoch in (old, new)]
        null = null_of(scores, quiet, halves)
        self._keep(self._tests[0], plane, scores, null, self._halves_of_mean)
        scores[~usable] = null.location
        self._change += (scores - np.float32(null.location)) / np.float32(null.scale)
        for image, epoch, factor in ((self._old_image, old, scale), (self._new_image, new, 1.0)):
            own = epoch.mean[plane].copy()
            without_slow(own, usable, grid)
            without_lines(own)
            image += np.float32(factor / len(old.mean)) * own
        ratio = np.log(new.variance[plane] / old.variance[plane])
        typical = float(np.exp(np.median(ratio[usable]) / 2)) if usable.any() else math.nan
        without_slow(ratio, usable, grid, quiet)
        scores = variance_scores(ratio, old, new, plane)
        scores[old.constant[plane] & new.constant[plane]] = 0.0
        halves = [epoch.ratio[plane][usable] for epoch in (old, new)]
        self._keep(self._tests[1], plane, scores, null_of(scores, quiet, halves), self._halves_of_sigma)
        level = float(np.sqrt(np.median(new.variance[plane])))
        return _Plane(fit, typical, slow / level, null.scale)

    def _compare_constant(self, plane: int, scores: Pixels) -> None:
        """Pixels that never change in either epoch follow the light, or do not: they have the same value."""
        old, new = self._old, self._new
        both = np.flatnonzero(old.constant[plane] & new.constant[plane])
        if not both.size:
            return
        one, other = (epoch.mean[plane].ravel()[both] + epoch.level for epoch in (old, new))
        errors = (epoch.variance[plane].ravel()[both] / epoch.frames for epoch in (old, new))
        same = (other - one) / np.sqrt(sum(errors))
        flat = scores.reshape(-1)
        flat[both] = np.where(np.abs(same) < np.abs(flat[both]), same, flat[both])

    def _keep(
        self, kept: list[_Scores], plane: int, scores: Pixels, null: Null, halves_of: _HalvesOf
    ) -> None:
        """Keep the scores that may be significant, as far as the halves do not make them doubtful."""
        least = -_NORMAL.inv_cdf(self._fdr / 2)
        places = np.flatnonzero(np.abs(scores - np.float32(null.location)) > null.scale * least)
        found = null.scores(scores.ravel()[places])
        doubt = np.maximum(*(halves_of(epoch, plane, places) for epoch in (self._old, self._new)))
        kept.append(
            _Scores(plane * scores.size + places, found / np.maximum(1.0, doubt / _HALVES / null.scale))
        )

    @staticmethod
    def _halves_of_mean(epoch: Epoch, plane: int, places: Places) -> Values:
        """Difference of the halves' means in standard errors."""
        return np.asarray(np.abs(epoch.difference[plane].ravel()[places].astype(np.float64)))

    @staticmethod
    def _halves_of_sigma(epoch: Epoch, plane: int, places: Places) -> Values:
        """Difference of the logarithms of the halves' variances in standard errors."""
        mean = epoch.mean[plane].ravel()[places]
        shares = sum((epoch.frames - 1) / max(n - 1, 1) for n in epoch.counts)
        error = np.sqrt(2 / epoch.freedom(mean).astype(np.float64) * shares)
        return np.asarray(np.abs(epoch.ratio[plane].ravel()[places].astype(np.float64)) / error)

    def _changed(self) -> tuple[Mask, Mask]:
        """Pixels whose mean and whose sigma changed, at one false discovery rate for both."""
        everything = np.concatenate([part.scores for test in self._tests for part in test])
        limit = rejected(everything, 2 * self._difference.size, self._fdr)
        images = []
        for test in self._tests:
            image = np.zeros(self._difference.shape, bool)
            for part in test:
                image.reshape(-1)[part.places[np.abs(part.scores) >= limit]] = True
            images.append(np.ascontiguousarray(self._in_shape(image)))
        return images[0], images[1]

    def _blobs(self) -> _Blobs:
        """Blobs that came, went, stayed and moved."""
        usable = np.asarray(self._usable.all(axis=0))
        difference = self._difference.mean(axis=0)
        changed = [
            blob
            for blob in blobs_in(smoothed(self._change, usable), difference, self._limit)
            if self._in_both_halves(blob)
        ]
        before, after = (
            blobs_in(smoothed(image, usable), image, max(self._limit, _BLOB_IN_PATTERN), signs=(-1,))
            for image in (self._old_image, self._new_image)
        )
        found = matched(before, after, changed, (self._old_image, self._new_image))
        in_old, in_new = self._old_image, self._new_image
        return {
            "came": _places(found.came, in_new),
            "went": _places(found.went, in_old),
            "stayed": _places(found.stayed, in_new),
            "moved": tuple(
                Motion(*_places([origin], in_old), *_places([target], in_new))
                for origin, target in found.moved
            ),
        }

    def _in_both_halves(self, blob: Blob) -> bool:
        """Whether the halves of both measurements differ by much less than a blob is deep."""
        for epoch in (self._old, self._new):
            share = sum(1 / n for n in epoch.counts) if all(epoch.counts) else 0.0
            where = np.s_[:, blob.rows, blob.columns]
            apart = epoch.difference[where] * np.sqrt(epoch.variance[where] * np.float32(share))
            if _BLOB_HALVES * abs(float(apart.mean(axis=0)[blob.mask].mean())) / 2 > abs(blob.depth):
                return False
        return True

    def _notes(self, planes: list[_Plane]) -> Iterator[str]:
        """What the user should know of the comparison."""
        old, new = self._old, self._new
        for word, epoch in (("old", old), ("new", new)):
            if min(epoch.counts) < FEWEST_FRAMES:
                yield (
                    f"The halves of the {word} measurement are too small to estimate the kurtosis "
                    f"({epoch.counts[0]} and {epoch.counts[1]} frames): the values of a pixel are taken as "
                    "normally distributed."
                )
        if any(math.isnan(found.fit.scale) for found in planes):
            yield "The pixels have no pattern strong enough to determine the scale and the offset."
        noise = max(found.noise for found in planes)
        if noise > _NOISY:
            yield (
                f"Pixels differ {noise:.2g} times as much as independent frames explain: the frames of a "
                "movie share a specimen, or the light differs. Smaller changes cannot be seen."
            )
        size = math.sqrt(math.prod(self._grid.shape) / math.prod(self._grid.blocks))
        chance = noise * math.sqrt(1 / old.frames + 1 / new.frames) / size
        slow = max(found.slow for found in planes)
        if slow > _SLOW * chance:
            yield (
                f"Illumination or sensitivity changed smoothly over the frame, by {slow:.2g} of a pixel's "
                "sigma (rms). This is not counted as changed pixels."
            )


def _places(blobs: list[Blob], image: Pixels) -> tuple[Place, ...]:
    """Where blobs lie, and how deep they are in an image."""
    return tuple(
        Place(blob.x, blob.y, blob.size, float(np.mean(blob.values(image), dtype=np.float64)))
        for blob in blobs
    )
