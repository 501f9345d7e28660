"""Bad pixels in words, for all verbs that count them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import camnorm

if TYPE_CHECKING:
    from camnorm import PixelMap, Sensor

__all__ = ["bad_pixel_facts", "bad_pixels", "class_facts", "share_of"]

_WORDS = {
    "constant": "never change",
    "dead": "dark, and hardly any noise",
    "hot": "mean too high",
    "cold": "mean too low",
    "noisy": "sigma too high",
    "low_sigma": "sigma too low: probably concealed by the camera",
    "interpolated": "mean of their neighbours",
    "copied": "copy of a neighbour",
    "saturating": "at the largest value in part of the frames",
}


# Pixels of larger sensors are counted by `camnorm health` only: it would take the other verbs half of their
# time, and twice their memory.
_MOST_PIXELS = 1 << 21


def bad_pixels(sensor: Sensor) -> dict[str, int] | None:
    """Number of bad pixels of each class; None if the set is too small to say, or the sensor large."""
    if _is_large(sensor.shape):
        return None
    try:
        return camnorm.classify_pixels(sensor).counts
    except camnorm.Error:
        return None


def share_of(pixels: PixelMap) -> str:
    """Number of bad pixels, and their share of the sensor."""
    share = pixels.flagged / (pixels.shape[0] * pixels.shape[1])
    return f"{pixels.flagged:,} bad {'pixel' if pixels.flagged == 1 else 'pixels'} ({100 * share:.2g} %)"


def class_facts(pixels: PixelMap) -> Iterator[tuple[str, object]]:
    """The number of pixels of each class that there is, with what it means."""
    for name, number in pixels.counts.items():
        if number:
            yield name.replace("_", " "), f"{number:,}: {_WORDS[name]}"


def bad_pixel_facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """A fact: how many bad pixels there are."""
    if _is_large(summary["shape"]):
        yield "bad pixels", "camnorm health counts those of a sensor of this size"
    else:
        yield "bad pixels", _counts_in_words(summary["bad_pixels"])


def _is_large(shape: Sequence[int]) -> bool:
    return shape[0] * shape[1] > _MOST_PIXELS


def _counts_in_words(counts: Mapping[str, int] | None) -> str:
    """The number of bad pixels by class, in one line."""
    if counts is None:
        return "undetermined: too few frames"
    words = [f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items() if number]
    total = sum(counts.values())
    if len(words) < 2:
        return words[0] if words else "none"
    return f"{total:,}: {', '.join(words)}"
