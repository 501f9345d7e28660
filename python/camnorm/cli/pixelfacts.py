"""Bad pixels in words, for all verbs that count them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camnorm import PixelMap

__all__ = ["class_facts", "counts_in_words", "share_of"]

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


def share_of(pixels: PixelMap) -> str:
    """Number of bad pixels, and their share of the sensor."""
    share = pixels.flagged / (pixels.shape[0] * pixels.shape[1])
    return f"{pixels.flagged:,} bad {'pixel' if pixels.flagged == 1 else 'pixels'} ({100 * share:.2g} %)"


def class_facts(pixels: PixelMap) -> Iterator[tuple[str, object]]:
    """The number of pixels of each class that there is, with what it means."""
    for name, number in pixels.counts.items():
        if number:
            yield name.replace("_", " "), f"{number:,}: {_WORDS[name]}"


def counts_in_words(pixels: PixelMap) -> str:
    """The number of bad pixels by class, in one line."""
    if not pixels.flagged:
        return "none"
    counts = (f"{number:,} {name.replace('_', ' ')}" for name, number in pixels.counts.items() if number)
    return f"{pixels.flagged:,}: {', '.join(counts)}"
