"""What became of blobs: those that came, went, stayed or moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camnorm.diagnosis.epochs.blobs import Blob
from camnorm.diagnosis.epochs.epoch import Pixels

__all__ = ["Matched", "matched"]

# Share of a blob, or of what changed, that both have in common; and of its depth that is gone.
_COMMON, _GONE = 0.3, 0.3

# Of a blob that moved: largest ratio of its sizes, and of its depths, before and after; how far it may move,
# in pixels and in diameters.
_ALIKE, _NEAR, _DIAMETERS = 1.6, 20.0, 3.0

# Pixels by which centres of the same blob may differ.
_SAME = 1.5

# Correlation of the profiles of two blobs that are the same one.
_PROFILE = 0.6


@dataclass(frozen=True)
class Matched:
    """Blobs by what became of them."""

    came: list[Blob]
    went: list[Blob]
    stayed: list[Blob]
    moved: list[tuple[Blob, Blob]]


def matched(
    before: Sequence[Blob], after: Sequence[Blob], changed: Sequence[Blob], images: tuple[Pixels, Pixels]
) -> Matched:
    """Find out what became of blobs.

    Parameters
    ----------
    before, after : sequence of Blob
        Dark blobs in the old and in the new mean image.
    changed : sequence of Blob
        Regions in which the mean images differ, negative where the new one is darker.
    images : tuple of two float32 ndarray, shape (y, x)
        The old mean image, scaled, and the new one, less what varies slowly.

    Returns
    -------
    Matched
        A blob moved if one went and one came close to it that has its size, depth and profile.
    """
    brighter = [blob for blob in changed if blob.depth > 0]
    darker = [blob for blob in changed if blob.depth < 0]
    gone, used_bright = _with_changes(before, brighter, images, after)
    stayed = [blob for blob in before if blob not in gone]
    # What came beside a blob that stayed is the change, not both of them.
    alone = [blob for blob in after if not any(_share(blob, other) for other in stayed)]
    new, used_dark = _with_changes(alone, darker, (images[1], images[0]), before)
    stayed += [blob for blob in after if blob not in new and not any(map(blob.overlap, before))]
    moved = _pairs(gone, new, images)
    went = [blob for blob in gone if blob not in [pair[0] for pair in moved]]
    came = [blob for blob in new if blob not in [pair[1] for pair in moved]]
    # Changes that no blob of a mean image accounts for: the pattern hides it, or it is a bright one.
    for blob in (*darker, *brighter):
        if blob in used_bright or blob in used_dark:
            continue
        old, fresh = (abs(float(np.mean(blob.values(image)))) for image in images)
        (went if old > fresh else came).append(blob)
    also = _pairs(went, came, images)
    went = [blob for blob in went if blob not in [pair[0] for pair in also]]
    came = [blob for blob in came if blob not in [pair[1] for pair in also]]
    return Matched(came, went, stayed, [*moved, *also])


def _share(one: Blob, other: Blob) -> bool:
    return one.overlap(other) >= _COMMON * min(one.size, other.size)


def _is_shifted(one: Blob, other: Blob) -> bool:
    distance = math.hypot(one.x - other.x, one.y - other.y)
    return distance > _SAME and _alike(one.size, other.size)


def _with_changes(
    blobs: Sequence[Blob], changes: Sequence[Blob], images: tuple[Pixels, Pixels], others: Sequence[Blob]
) -> tuple[list[Blob], list[Blob]]:
    """Blobs of the first image that are gone in the second, which has the others; and the changes.

    A large blob that moved by little still covers most of its place: the other one shows that it moved.
    """
    found: list[Blob] = []
    used: list[Blob] = []
    for blob in blobs:
        its = [change for change in changes if _share(blob, change)]
        if not its:
            continue
        here, there = (float(np.mean(blob.values(image))) for image in images)
        shifted = any(_share(blob, other) and _is_shifted(blob, other) for other in others)
        if not here or (there / here > 1 - _GONE and not shifted):
            continue  # it changed its depth, or something came beside it
        found.append(blob)
        used += its
    return found, used


def _pairs(
    gone: Sequence[Blob], new: Sequence[Blob], images: tuple[Pixels, Pixels]
) -> list[tuple[Blob, Blob]]:
    """Pairs of blobs that are the same one in two places, the nearest first, each blob once."""
    candidates = []
    for one in gone:
        for other in new:
            if (one.depth < 0) != (_depth(other, images[1]) < 0):
                continue
            distance = math.hypot(one.x - other.x, one.y - other.y)
            if distance > max(_NEAR, _DIAMETERS * max(one.diameter, other.diameter)):
                continue
            depths = abs(_depth(one, images[0])), abs(_depth(other, images[1]))
            if not (_alike(one.size, other.size) and _alike(*depths)):
                continue
            if _correlation(one, other, images) >= _PROFILE:
                candidates.append((distance, one, other))
    pairs: list[tuple[Blob, Blob]] = []
    for _, one, other in sorted(candidates, key=lambda item: item[0]):
        if not any(one is a or other is b for a, b in pairs):
            pairs.append((one, other))
    return pairs


def _depth(blob: Blob, image: Pixels) -> float:
    return float(np.mean(blob.values(image)))


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= _ALIKE * min(one, other)


def _correlation(one: Blob, other: Blob, images: tuple[Pixels, Pixels]) -> float:
    """Correlation of the smoothed surroundings of both, centre on centre; 1 where they lie at the border."""
    from scipy import ndimage

    reach = math.ceil(0.5 * max(one.diameter, other.diameter)) + 3
    parts = []
    for blob, image in ((one, images[0]), (other, images[1])):
        y, x = round(blob.y), round(blob.x)
        if min(y, x) < reach or y + reach >= image.shape[0] or x + reach >= image.shape[1]:
            return 1.0
        part = image[y - reach : y + reach + 1, x - reach : x + reach + 1]
        parts.append(ndimage.uniform_filter(part, 3).ravel().astype(np.float64))
    a, b = (part - part.mean() for part in parts)
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else 0.0
