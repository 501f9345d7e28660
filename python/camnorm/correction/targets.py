"""Targets of a correction: a number for grey frames, one for each plane of colour frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm import _core

__all__ = ["GivenTarget", "Target", "as_number_or_list", "check_targets", "plane_targets"]

Target: TypeAlias = float | npt.NDArray[np.float64]
"""Of grey frames a number, of colour frames an array of shape (c,)."""

GivenTarget: TypeAlias = float | Sequence[float] | npt.NDArray[np.floating[Any]]
"""What a user may give: one number for all planes, or one for each."""


def plane_targets(
    mean: npt.NDArray[np.float64], sigma: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means over the planes of the mean and the sigma image, pixels that never change left out.

    Parameters
    ----------
    mean, sigma : float64 ndarray, shape (y, x, c)
        Of the set.

    Returns
    -------
    tuple of two float64 ndarray, shape (c,)
        A plane that never changes, such as an opaque alpha channel, keeps its mean, and has the mean sigma of
        the others. NaN if no pixel ever changes.
    """
    good = np.isfinite(mean) & np.isfinite(sigma) & (sigma > 0)
    if not good.any():
        return np.full(mean.shape[2], np.nan), np.full(mean.shape[2], np.nan)
    some = np.asarray(good.any((0, 1)))
    used = good | ~some
    means = np.array([mean[..., plane][used[..., plane]].mean() for plane in range(mean.shape[2])])
    sigmas = np.array(
        [
            sigma[..., plane][good[..., plane]].mean() if some[plane] else sigma[good].mean()
            for plane in range(mean.shape[2])
        ]
    )
    return means, sigmas


def check_targets(target_mean: GivenTarget | None, target_sigma: GivenTarget | None) -> None:
    """Raise TypeError if a target that a user gave is masked."""
    for name, target in (("target_mean", target_mean), ("target_sigma", target_sigma)):
        _core.check_unmasked(target, name)


def as_number_or_list(target: GivenTarget | None) -> Any:
    """A number as it is, several as a list: for the compiled core, and for JSON."""
    return target if target is None or np.ndim(target) == 0 else np.asarray(target).tolist()
