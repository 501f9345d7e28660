"""Mean and sigma image, and targets, of the correction that a sensor makes of its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm.correction.adjustments import Adjustments, Mask, Mode, Name, smooth_part, without_smooth_part
from camnorm.correction.correction import Correction
from camnorm.correction.targets import GivenTarget, Target, check_targets, plane_targets
from camnorm.errors import Error
from camnorm.sensor.estimate import Estimate, estimate_of, recognised_camera

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = [
    "BadPolicy",
    "CorrectionImages",
    "correction_images",
    "correction_of",
    "settled",
    "settled_policy",
]

Image = npt.NDArray[np.float64]

SettledPolicy: TypeAlias = Literal["neutral", "interpolate", "nan"]
BadPolicy: TypeAlias = Literal["auto", "neutral", "interpolate", "nan"]


class CorrectionImages(NamedTuple):
    """What a correction is formed of: half the memory of a sensor's moments, or less."""

    mean: Image
    sigma: Image
    target_mean: Target
    target_sigma: Target
    bad: Mask | None = None
    """Pixels that are bad besides those without a usable mean and sigma."""

    def without(self, bad: Mask | None) -> CorrectionImages:
        """The same with further bad pixels."""
        if bad is None:
            return self
        return self._replace(bad=bad if self.bad is None else self.bad | bad)

    def correction(self, bad_policy: SettledPolicy) -> Correction:
        """Form the correction."""
        return Correction(
            self.mean,
            self.sigma,
            target_mean=self.target_mean,
            target_sigma=self.target_sigma,
            bad=self.bad,
            bad_policy=bad_policy,
        )


def settled_policy(policy: BadPolicy, mode: Mode) -> SettledPolicy:
    """What bad pixels become: by default, the defects of mode "best" are filled from their neighbours."""
    if policy == "auto":
        return "interpolate" if mode == "best" else "neutral"
    return policy


def settled(adjustments: Adjustments, sensor: Sensor) -> Adjustments:
    """The adjustments with the kind of camera that a sensor shows, where that matters."""
    if adjustments.mode != "best" or adjustments.camera != "auto":
        return adjustments
    return replace(adjustments, camera=recognised_camera(sensor))


def correction_images(
    sensor: Sensor,
    adjustments: Adjustments,
    target_mean: GivenTarget | None = None,
    target_sigma: GivenTarget | None = None,
    half: int | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    bad: Mask | None = None,
) -> CorrectionImages:
    """Form what a correction of frames of a sensor is made of.

    Parameters
    ----------
    sensor : Sensor
        The measurement.
    adjustments : Adjustments
        For sets that do not meet the assumptions of Eq. (2).
    target_mean, target_sigma : float or sequence of float, optional
        I0 and s0; by default those of the whole set, also for one half. Of colour frames one for all planes,
        or one for each.
    half : {0, 1}, optional
        Half of the set that the images are of; by default they are of all of it.
    on_estimate : callable, optional
        Called with what mode "best" has found.
    bad : bool ndarray, shape of a frame, optional
        Pixels that are known to be bad: they take no part in the default targets either.

    Returns
    -------
    CorrectionImages

    Raises
    ------
    Error, ValueError
        As of `Sensor.correction`.
    """
    check_targets(target_mean, target_sigma)
    measured, *halves = (partial(_image, sensor, part) for part in (half, 0, 1))
    sigma = measured("sigma")
    if np.isnan(sensor.target_mean).any() or not sigma.any():
        raise Error("no pixel of the set ever changes: there is nothing to correct with")
    if adjustments.mode == "best":
        return _best(sensor, adjustments, target_mean, target_sigma, half, on_estimate, bad).without(bad)
    level, spread = _targets_of(sensor, bad)
    fewest = min(moments.count for moments in sensor.halves)
    if adjustments.shrink and fewest < 2:
        raise Error(f"noise cannot be told from a half of the set with {fewest} frames: shrink needs two")
    if adjustments:
        del sigma  # which is formed again
        mean, sigma = adjustments.images(measured, halves, level, spread, bad)
    else:
        mean = measured("mean")
    if adjustments.mode == "gain":
        if target_sigma is not None:
            raise ValueError("a gain leads to no target sigma: contrast follows the target mean")
        if target_mean is not None and not np.all(np.asarray(target_mean) > 0):
            raise ValueError(f"a gain leads to a positive target mean, not to {np.min(target_mean):g}")
        if target_mean is not None:
            target_sigma = spread * np.asarray(target_mean) / level
    return CorrectionImages(
        mean,
        sigma,
        _target(target_mean, level),
        _target(target_sigma, spread),
        bad,
    )


def _targets_of(sensor: Sensor, bad: Mask | None) -> tuple[Target, Target]:
    """Targets of a set, without the pixels that are known to be bad."""
    if bad is None:
        return sensor.target_mean, sensor.target_sigma
    planes = sensor.shape if len(sensor.shape) == 3 else (*sensor.shape, 1)
    sigma = np.where(bad, 0.0, sensor.sigma)
    if not sigma.any():
        raise Error("the pixel map marks all pixels: there is nothing to correct with")
    targets = plane_targets(sensor.mean.reshape(planes), sigma.reshape(planes))
    if len(sensor.shape) == 3:
        return targets
    level, spread = targets
    return float(level[0]), float(spread[0])


def correction_of(sensor: Sensor, adjustments: Adjustments, half: int | None) -> Correction:
    """Form the correction by a half of a set, or by all of it, to the targets of the set.

    Parameters
    ----------
    sensor, adjustments, half
        As of `correction_images`.

    Returns
    -------
    Correction
        Bad pixels become the target mean, in every mode: rows of frames can be corrected by it.

    Raises
    ------
    Error, ValueError
        As of `Sensor.correction`.
    """
    if adjustments:
        return correction_images(sensor, adjustments, half=half).correction("neutral")
    if np.isnan(sensor.target_mean).any():
        raise Error("no pixel of the set ever changes: there is nothing to correct with")
    a, b = sensor.halves
    moments, others = (a, b) if half is None else (sensor.halves[half], None)
    return Correction.from_moments(
        moments, others, target_mean=sensor.target_mean, target_sigma=sensor.target_sigma
    )


def _best(
    sensor: Sensor,
    adjustments: Adjustments,
    target_mean: GivenTarget | None,
    target_sigma: GivenTarget | None,
    half: int | None,
    on_estimate: Callable[[Estimate], None] | None,
    given: Mask | None,
) -> CorrectionImages:
    """The correction by the estimate of docs/explanation/best.md, in the form of Eq. (2)."""
    estimate = estimate_of(sensor, adjustments.camera, half, given=given)
    if on_estimate is not None:
        on_estimate(estimate)
    mean, response, bad = estimate.images()
    level, spread = estimate.levels("level"), estimate.levels("spread")
    if bad.all():
        raise Error("all pixels are defective: there is nothing to correct with")
    if scale := adjustments.keep_illumination:
        good = ~bad
        without_smooth_part(response, good, scale)
        mean = mean - (smooth_part(mean, good, scale) - level) * response
        if estimate.camera == "counting":
            mean = level * response
        mean[bad] = 0.0
    # Contrast is that of the response: any sigma will do, and that of the set is what users may ask for.
    return CorrectionImages(
        mean,
        spread * response,
        _target(target_mean, level),
        _target(target_sigma, spread),
        bad,
    )


def _target(given: GivenTarget | None, default: Target) -> Target:
    if given is None:
        return default
    return float(np.asarray(given)) if np.ndim(given) == 0 else np.asarray(given, np.float64)


def _image(sensor: Sensor, half: int | None, name: Name) -> Image:
    """What all of the set, or one half, says of every pixel."""
    if name == "gain":
        return _gain(sensor, half)
    if half is None:
        return sensor.mean if name == "mean" else sensor.sigma
    return sensor.halves[half].mean() if name == "mean" else sensor.halves[half].std()


def _gain(sensor: Sensor, half: int | None) -> Image:
    if sensor.responses is None:
        raise Error("the sensor was measured without its response: measure it again with response=True")
    if half is None:
        a, b = sensor.responses
        gain = (a + b).gain(sensor.moments)
    else:
        gain = sensor.responses[half].gain(sensor.halves[half])
    if np.isnan(gain).all():
        raise Error("no response can be told: all frames have the same exposure")
    return gain
