"""The result of a comparison: what changed in a sensor between two epochs."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.finding import count_of
from camnorm.io.base.atomic import atomic_target

__all__ = ["COLUMNS", "Changes", "Motion", "Place"]

COLUMNS = ("change", "x", "y", "plane", "size", "depth", "from_x", "from_y")
"""Columns of the table of changes."""

# Standard errors, and differences from 1, of a scale that is worth a word.
_CERTAIN, _SCALE = 5.0, 0.002


class Place(NamedTuple):
    """A blob, such as a grain of dust."""

    x: float
    """Column of its centre, counted from 0."""
    y: float
    """Row of its centre."""
    size: int
    """Pixels in which it is at least half as deep as at its deepest place."""
    depth: float
    """Mean deviation of these pixels from their surroundings, in units of the pixels; negative: darker."""


class Motion(NamedTuple):
    """A blob that moved."""

    origin: Place
    target: Place

    @property
    def distance(self) -> float:
        """Distance in pixels."""
        return math.hypot(self.target.x - self.origin.x, self.target.y - self.origin.y)


@dataclass(frozen=True, eq=False, repr=False)
class Changes:
    """What changed in a sensor between two epochs; `compare` makes it.

    Attributes
    ----------
    shape : tuple of int
        Shape of a frame.
    frames : tuple of two ints
        Frames of the old and of the new measurement.
    mean_changed, sigma_changed : bool ndarray, shape of a frame
        Pixels whose mean, or sigma, differs.
    fdr : float
        False discovery rate: expected share of chance among the changed pixels.
    came, went, stayed : tuple of Place
        Blobs that only the new, only the old, or both mean images have.
    moved : tuple of Motion
        Blobs that lie elsewhere in the new mean image.
    scale, scale_error, offset, offset_error : float or tuple of float
        The new mean image is ``scale`` times the old one plus ``offset`` (units of the pixels), and their
        standard errors. Of colour frames one a plane. NaN if the pixels have no pattern that shows it.
    sigma_ratio : float or tuple of float
        Typical ratio of the sigmas of a pixel, new over old.
    slow_change : float
        Root mean square of what varies slowly in the difference of the mean images, in the typical sigma of
        a pixel. It was removed: illumination and sensitivity cannot be told apart there.
    noise : float
        How much more pixels differ than independent frames explain, 1 if not at all: frames of one
        specimen, or other light on a pattern of offsets. Changes are judged by this.
    difference : float32 ndarray, shape of a frame
        New mean image less the scaled old one, without what varies slowly: units of the pixels.
    images : tuple of two float32 ndarray, shape (y, x)
        The old mean image, scaled, and the new one, without what varies slowly and without lines: units of
        the pixels, mean over colour planes.
    notes : tuple of str
        What the user should know of the comparison.
    """

    shape: tuple[int, ...]
    frames: tuple[int, int]
    mean_changed: npt.NDArray[np.bool_]
    sigma_changed: npt.NDArray[np.bool_]
    fdr: float
    came: tuple[Place, ...]
    went: tuple[Place, ...]
    stayed: tuple[Place, ...]
    moved: tuple[Motion, ...]
    scale: float | tuple[float, ...]
    scale_error: float | tuple[float, ...]
    offset: float | tuple[float, ...]
    offset_error: float | tuple[float, ...]
    sigma_ratio: float | tuple[float, ...]
    slow_change: float
    noise: float
    difference: npt.NDArray[np.float32]
    images: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    notes: tuple[str, ...] = field(default=())

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Pixels whose mean or sigma differs: bool, shape of a frame."""
        return self.mean_changed | self.sigma_changed

    @property
    def changed_pixels(self) -> int:
        """Number of pixels whose mean or sigma differs."""
        return int(self.changed.sum())

    @property
    def found(self) -> bool:
        """Whether pixels or blobs changed."""
        return bool(self.came or self.went or self.moved) or self.changed_pixels > 0

    @property
    def sentence(self) -> str:
        """What changed, in one sentence."""
        if not self.found:
            return f"No pixel changed{self._of_scale()}."
        parts = [
            f"{len(blobs)} {word}"
            for blobs, word in ((self.came, "came"), (self.went, "went"), (self.moved, "moved"))
            if blobs
        ]
        pixels = count_of(self.changed_pixels, "pixel")
        share = self.changed_pixels / max(self.changed.size, 1)
        words = f"{pixels} changed ({100 * share:.2g} %)"
        if parts:
            words += f"; of blobs, such as dust, {', '.join(parts)}"
        return f"The sensor changed: {words}."

    def _of_scale(self) -> str:
        """The scale, if it is not 1."""
        scales, errors = (np.atleast_1d(values) for values in (self.scale, self.scale_error))
        if not np.any(np.abs(scales - 1) > np.maximum(_CERTAIN * errors, _SCALE)):
            return ""
        values = ", ".join(f"{scale:.4g} ± {error:.1g}" for scale, error in zip(scales, errors, strict=True))
        return f"; the mean image is {values} times the old one"

    @property
    def remedy(self) -> str:
        """What to do; empty if there is nothing."""
        if not self.found:
            return ""
        return "Correct the frames of each epoch with its own measurement."

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and blobs, ready for JSON."""
        return {
            "changed_pixels": self.changed_pixels,
            "changed_mean": int(self.mean_changed.sum()),
            "changed_sigma": int(self.sigma_changed.sum()),
            "fdr": self.fdr,
            **{name: [_place(place) for place in getattr(self, name)] for name in ("came", "went", "stayed")},
            "moved": [
                {
                    **_place(motion.target),
                    "from": _place(motion.origin),
                    "to": _place(motion.target),
                    "distance": round(motion.distance, 2),
                }
                for motion in self.moved
            ],
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name in ("scale", "scale_error", "offset", "offset_error", "sigma_ratio")
                for value in [getattr(self, name)]
            },
            "slow_change": self.slow_change,
            "noise": self.noise,
            "notes": list(self.notes),
            "frames": list(self.frames),
            "shape": list(self.shape),
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row for each blob and each changed pixel to a CSV file, atomically.

        Parameters
        ----------
        path : path-like
            An existing file is replaced. Columns: change (came, went, stayed, moved; or mean, sigma, both
            for pixels), x, y, plane (of colour frames), size, depth, from_x and from_y (of blobs that moved).

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with atomic_target(path, overwrite=True) as target, open(target, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for name in ("came", "went", "stayed"):
                for place in getattr(self, name):
                    writer.writerow([name, *_cells(place), "", ""])
            for motion in self.moved:
                origin = _place(motion.origin)
                writer.writerow(["moved", *_cells(motion.target), origin["x"], origin["y"]])
            for place in map(tuple, np.argwhere(self.changed).tolist()):
                mean, sigma = bool(self.mean_changed[place]), bool(self.sigma_changed[place])
                word = "both" if mean and sigma else "mean" if mean else "sigma"
                depth = f"{self.difference[place]:.6g}"
                plane = place[2] if len(place) == 3 else ""
                writer.writerow([word, place[1], place[0], plane, 1, depth, "", ""])

    def __repr__(self) -> str:
        return (
            f"<Changes between {self.frames[0]} and {self.frames[1]} frames: "
            f"{self.changed_pixels} changed pixels, {len(self.came)} blobs came, {len(self.went)} went, "
            f"{len(self.stayed)} stayed, {len(self.moved)} moved>"
        )


def _cells(place: Place) -> list[float | str]:
    """Cells of a row: x, y, plane, size, depth."""
    values = _place(place)
    return [values["x"], values["y"], "", place.size, values["depth"]]


def _place(place: Place) -> dict[str, float]:
    return {
        "x": round(place.x, 2),
        "y": round(place.y, 2),
        "size": place.size,
        "depth": float(f"{place.depth:.6g}"),
    }
