"""The error that each mode of correction will leave, predicted from the halves of a set.

The pattern that both halves show is what raw frames have. A correction by the images as they were measured
replaces it by their noise, and `shrink` by some of both; what mode "best" leaves follows part by part from
Stein's unbiased estimate. Division by sigma, or by a mean that contains offsets, changes contrast too: that
error grows with the contrast of the scene, which is taken for 20 % of the light.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from camnorm.sensor.balance import shrunk_error
from camnorm.sensor.estimate import Estimate, estimate_of, why_only

if TYPE_CHECKING:
    from camnorm.correction.best import Part, PlaneEstimate
    from camnorm.correction.outliers import Camera
    from camnorm.sensor.sensor import Sensor

__all__ = ["Choice", "Prediction", "predicted_errors"]

Choice: TypeAlias = Literal["raw", "both", "gain", "shrink", "best"]

CONTRAST = 0.2
"""Standard deviation of the scene that contrast errors are predicted for, as a fraction of the light."""

# Sigma follows the root of the mean where counts are Poisson distributed: it shows half of a gain.
_HIDDEN = 0.5
# Other modes are better than the one that is recommended by less than this.
_ALIKE = 1.01


# Pixels along each side of the sensor that a prediction is made from, at most.
_SIDE = 1024


@dataclass(frozen=True)
class Prediction:
    """Errors of corrected frames, root mean square over the pixels, in percent.

    Attributes
    ----------
    camera : {"counting", "integrating"}
        Kind of camera that mode "best" would be for.
    errors : dict
        For ``raw`` frames and the modes ``both``, ``gain``, ``shrink`` (shrunk ``both``) and ``best``.
    of : {"light", "noise"}
        What the errors are percentages of: the mean over the mean image or, where that is less, the noise of
        a frame.
    best : str
        The one that is recommended.
    """

    camera: Camera
    errors: dict[Choice, float]
    of: Literal["light", "noise"]
    best: Choice

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {"camera": self.camera, "errors": self.errors, "of": self.of, "best": self.best}


def predicted_errors(
    sensor: Sensor, camera: Literal["auto", "counting", "integrating"] = "auto", *, threads: int | None = None
) -> Prediction | None:
    """Predict the error that raw frames have, and that modes of correction leave in them.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    camera : {"auto", "counting", "integrating"}
        Kind of camera.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    Prediction or None
        None if the halves, or the movies in them, are too few to tell. Of sensors of more than 1024 pixels
        along a side, the middle is taken.
    """
    if why_only(sensor) is not None or np.isnan(sensor.target_mean).any():
        return None
    estimate = estimate_of(_middle(sensor), camera, only_parts=True, threads=threads)
    planes = [plane for plane in estimate.planes if plane.parts]
    if not planes:
        return None
    of: Literal["light", "noise"] = "light" if all(p.level > p.spread for p in planes) else "noise"
    if estimate.camera == "counting":
        of = "light"
    found = [_of_plane(plane, estimate, sensor.count, of) for plane in planes]
    errors: dict[Choice, float] = {
        name: 100 * math.sqrt(float(np.mean([one[name] for one in found]))) for name in found[0]
    }
    least = min(errors.values())
    order: tuple[Choice, ...] = ("best", "raw", "both", "gain", "shrink")
    best = next(name for name in order if name in errors and errors[name] <= _ALIKE * least)
    return Prediction(estimate.camera, errors, of, best)


def _middle(sensor: Sensor) -> Sensor:
    """The middle of a large sensor, which is enough to predict from and takes less memory."""
    part = tuple(
        slice((size - min(size, _SIDE)) // 2, (size + min(size, _SIDE)) // 2) for size in sensor.shape[:2]
    )
    shape = (*(edge.stop - edge.start for edge in part), *sensor.shape[2:])
    if shape == sensor.shape:
        return sensor
    a, b = (
        type(half).from_state(
            {
                "shape": shape,
                "dtype": half.dtype.name,
                "count": half.count,
                **{name: sums[part] for name, sums in half.parts().items()},
            }
        )
        for half in sensor.halves
    )
    return type(sensor)((a, b), sensor.frames, sensor.provenance)


def _of_plane(
    plane: PlaneEstimate, estimate: Estimate, frames: int, of: Literal["light", "noise"]
) -> dict[Choice, float]:
    """Squared errors in one plane, as fractions of the light or of the noise."""
    counting = estimate.camera == "counting"
    # The unit of the parts is the level of a counting camera, the spread of another.
    ratio = plane.spread / plane.level if plane.level > 0 else math.inf
    unit = 1.0 if counting or of == "noise" else ratio**2
    noise = unit * _mean(plane.parts, "noise")
    pattern = max(unit * plane.pattern, 0.0)
    fine_parts = [part for part in plane.parts if min(part.rows, part.columns) > 1] or plane.parts
    fine = max(unit * (_mean(fine_parts, "power") - _mean(fine_parts, "noise")), 0.0)
    residual = unit * sum(part.residual for part in plane.parts) / sum(part.size for part in plane.parts)
    # Variance of the logarithm of sigma: (κ - 1) / 4N, with the kurtosis of a Poisson distribution.
    noise_of_sigma = (2.0 + (ratio**2 if counting else 0.0)) / (4 * frames)
    contrast = plane.contrast
    # Variances of the logarithm of contrast: what Eq. (2) leaves, what a gain and mode "best" leave, and what
    # there is in sigma.
    if contrast is None:
        hidden, of_gain, of_best, in_sigma = _HIDDEN**2 * pattern, 0.0, 0.0, _HIDDEN**2 * pattern
    else:
        hidden, of_gain, of_best, in_sigma = 0.0, contrast.no_gain, contrast.residual, contrast.pattern
    scene = CONTRAST**2 if of == "light" else 0.0
    errors: dict[Choice, float] = {
        "raw": pattern + scene * (0.0 if contrast is None else in_sigma),
        "both": noise + scene * (hidden + noise_of_sigma),
        "shrink": shrunk_error(fine, noise) + scene * (hidden + shrunk_error(in_sigma, noise_of_sigma)),
        "best": max(residual, 0.0) + scene * of_best,
    }
    errors["best"] = min(errors["best"], errors["raw"])
    if plane.level > 0 and of == "light":
        errors["gain"] = noise + scene * of_gain
    return errors


def _mean(parts: Sequence[Part], name: str) -> float:
    """Mean of a property over all coefficients."""
    return float(sum(part.size * getattr(part, name) for part in parts) / sum(part.size for part in parts))
