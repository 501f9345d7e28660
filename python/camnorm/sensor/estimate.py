"""The correction of mode "best" for a sensor: which camera it is, and the estimate of every colour plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from camnorm.correction.best import Evidence, PlaneEstimate, estimate_plane
from camnorm.correction.outliers import Camera, typical
from camnorm.limits import usable_threads

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["FEWEST_MOVIES", "Estimate", "estimate_of", "independent_files", "recognised_camera", "why_only"]

Image = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FEWEST_MOVIES = 10
"""Movies below which specimens may look like a pattern: only defects are corrected then."""

# A counting camera: few counts, zeros among them, and the variance of counts; scenes and exposures that vary
# add to that, the more the more counts there are.
_MOST_COUNTS = 50.0
_LEAST_DISPERSION, _MOST_DISPERSION, _OF_SCENES = 0.7, 1.5, 0.1
_ZEROS_BELOW = 25.0  # mean of a Poisson distribution whose zeros are seen in a large set


@dataclass(frozen=True, eq=False)
class Estimate:
    """What mode "best" makes of a sensor; `estimate_of` makes it.

    Attributes
    ----------
    camera : {"counting", "integrating"}
        Kind of camera that the correction is for.
    planes : tuple of PlaneEstimate
        One for each colour plane.
    only_defects : str or None
        Why only defects are corrected; None if the pattern is, too.
    """

    camera: Camera
    planes: tuple[PlaneEstimate, ...]
    only_defects: str | None

    @property
    def defects(self) -> int:
        """Pixels that are filled from their neighbours, of all planes."""
        return sum(int(np.count_nonzero(plane.bad)) for plane in self.planes)

    def images(self) -> tuple[Image, Image, Mask]:
        """Mean image, response and defects, of the shape of a frame."""
        mean, response, bad = (
            _stacked([getattr(plane, name) for plane in self.planes]) for name in ("mean", "response", "bad")
        )
        return mean, response, bad

    def levels(self, name: Literal["level", "spread"]) -> float | npt.NDArray[np.float64]:
        """Mean, or sigma, of the good pixels: of colour frames one for each plane."""
        values = [getattr(plane, name) for plane in self.planes]
        if name == "spread":  # a plane that never changes has that of the others
            usual = float(np.mean([value for value in values if value > 0] or [1.0]))
            values = [value if value > 0 else usual for value in values]
        return values[0] if len(values) == 1 else np.array(values)


def _stacked(images: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return images[0] if len(images) == 1 else np.stack(images, axis=-1)


def recognised_camera(sensor: Sensor) -> Camera:
    """Whether a camera counts, from its images.

    A counting camera has few counts, zeros among them, and about as much variance as counts.
    """
    accepted = sensor.frames[sensor.frames["status"] == "accepted"]
    if accepted.size and np.median(accepted["min"]) != 0:
        return "integrating"
    for mean, sigma in zip(_planes(sensor.mean), _planes(sensor.sigma), strict=True):
        level, spread = typical(mean, sigma)
        if not 0 < level < (_MOST_COUNTS if accepted.size else _ZEROS_BELOW):
            return "integrating"
        if not _LEAST_DISPERSION <= spread**2 / level <= _MOST_DISPERSION + _OF_SCENES * level:
            return "integrating"
    return "counting"


def independent_files(sensor: Sensor) -> int:
    """Number of movies, or of other files, that are in the statistics; frames without a file count as one."""
    accepted = sensor.frames[sensor.frames["status"] == "accepted"]
    return len(set(accepted["file"].tolist())) + max(sensor.count - int(accepted.size), 0)


def why_only(sensor: Sensor) -> str | None:
    """Why only defects can be corrected; None if the pattern can."""
    a, b = (half.count for half in sensor.halves)
    if min(a, b) < 2:
        return f"the halves of the set have {a} and {b} frames, and the pattern needs two in each"
    files = independent_files(sensor)
    if files < FEWEST_MOVIES:
        items = "file" if files == 1 else "files"
        return (
            f"specimens may look like a pattern in a set of {files} {items}; measure {FEWEST_MOVIES} or more"
        )
    return None


def estimate_of(
    sensor: Sensor,
    camera: Literal["auto", "counting", "integrating"] = "auto",
    half: int | None = None,
    *,
    given: Mask | None = None,
    only_parts: bool = False,
    threads: int | None = None,
) -> Estimate:
    """Estimate the correction of frames of a sensor.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    camera : {"auto", "counting", "integrating"}
        Kind of camera, which the images show by default.
    half : {0, 1}, optional
        Half of the set that the correction is made of; by default it is all of it.
    given : bool ndarray, shape of a frame, optional
        Pixels that are known to be defective.
    only_parts : bool
        Only look at the parts of the pattern, which takes less time.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    Estimate
    """
    kind = recognised_camera(sensor) if camera == "auto" else camera
    reason = why_only(sensor)
    workers = usable_threads(threads)
    planes = tuple(
        estimate_plane(evidence, kind, workers, only_parts=only_parts)
        for evidence in _evidence(sensor, half, given, reason is None)
    )
    return Estimate(kind, planes, reason)


def _evidence(sensor: Sensor, half: int | None, given: Mask | None, with_pattern: bool) -> Iterator[Evidence]:
    """What is known of each plane; images are made when they are asked for."""
    first = 0 if half is None else half
    counts = sensor.halves[first].count, sensor.halves[1 - first].count
    own = sensor.halves[first]
    mean = sensor.mean if half is None else own.mean()
    sigma = sensor.sigma if half is None else own.std()
    for index in _indices(sensor.shape):

        def pair(name: Literal["mean", "sigma"], index: Any = index) -> tuple[Image, Image]:
            both = (sensor.halves[first], sensor.halves[1 - first])
            a, b = (moments.mean() if name == "mean" else moments.std() for moments in both)
            return a[index], b[index]

        yield Evidence(
            np.ascontiguousarray(mean[index]),
            np.ascontiguousarray(sigma[index]),
            counts,
            pair if with_pattern else None,
            half is not None,
            None if given is None else given[index],
        )


def _planes(image: Image) -> list[Image]:
    return [image[index] for index in _indices(image.shape)]


def _indices(shape: tuple[int, ...]) -> list[Any]:
    """Index of each colour plane."""
    return [np.s_[:, :]] if len(shape) == 2 else [np.s_[:, :, c] for c in range(shape[2])]
