"""What was found out about a gain reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GainCheck", "Spot"]


@dataclass(frozen=True)
class Spot:
    """A place where the gain is not that of the camera any more: dust that came or went.

    Attributes
    ----------
    x, y : float
        Of its centre, in pixels of the frames, rows as in the file of the movies.
    size : float
        Diameter in pixels.
    change : float
        Relative brightness that the gain leaves there: negative where dust came, positive where it went.
    """

    x: float
    y: float
    size: float
    change: float

    def to_dict(self) -> dict[str, float]:
        """Return the numbers, ready for JSON."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class GainCheck:
    """Whether a gain reference fits a sensor; `check_gain` makes it.

    Attributes
    ----------
    gain : pathlib.Path
        The file.
    sentence : str
        The answer.
    best : bool
        Whether the gain fits as it is given.
    fits : bool
        Whether it fits at all, in some orientation, size and operation.
    rotation : int, optional
        Degrees: rotating the right gain by them counter-clockwise (``np.rot90(right, rotation // 90)``),
        and then flipping it, gives this gain. None if it does not fit.
    flip : {"y", "x"}, optional
        "y": rows in reverse, "x": columns in reverse, None: neither.
    operation : {"multiply", "divide"}, optional
        What is done to frames with it. None if it does not fit.
    scale : float, optional
        Pixels of the gain along a pixel of the frames: 1, 2, 4, 0.5 or 0.25. None if its size does not fit.
    applied : int
        How often it was applied to the frames of the sensor already: 0, 1 or 2. Of cameras that integrate,
        this cannot be told.
    explained : float
        Share of the variance of the sensor's pattern that the gain takes away, used in the right way.
    residual : float
        Standard deviation of the pattern that it leaves, as a fraction of the mean.
    pattern : float
        The same before.
    match : float
        Correlation of the gain's pattern with that of the sensor, free of the sensor's noise: 1 if they are
        the same.
    z : float
        How certain the orientation is, in standard errors.
    frc_before, frc_after : float
        Mean correlation of the halves' mean images, above 0.05 of Nyquist.
    derating_before, derating_after : tuple of two float
        Fraction of the DQE that the pattern costs in single frames and in sums of 12.
    stale : tuple of Spot
        Where dust came or went.
    unknown_defects : list of tuple of int
        Bad pixels (x, y) that neither a gain of 0 nor the gain's list of defects names.
    defects : int
        Bad pixels that the gain names.
    flags : dict of str to str
        What sets the gain right in RELION, MotionCor3 and cryoSPARC.
    fixed : ndarray of float32, shape (y, x), optional
        The gain as factors, oriented and sampled like the frames, 0 at all bad pixels. None if it does not
        fit.
    remaining : ndarray of float32, shape (y, x), optional
        The pattern that the gain leaves, as a fraction of the mean.
    before : ndarray of float32, shape (y, x), optional
        The pattern of the sensor, as a fraction of the mean.
    """

    gain: Path
    sentence: str
    best: bool
    fits: bool
    rotation: int | None
    flip: Literal["x", "y"] | None
    operation: Literal["multiply", "divide"] | None
    scale: float | None
    applied: int
    explained: float
    residual: float
    pattern: float
    match: float
    z: float
    frc_before: float
    frc_after: float
    derating_before: tuple[float, float]
    derating_after: tuple[float, float]
    stale: tuple[Spot, ...]
    unknown_defects: list[tuple[int, int]]
    defects: int
    flags: dict[str, str]
    fixed: NDArray[np.float32] | None = field(default=None, repr=False)
    remaining: NDArray[np.float32] | None = field(default=None, repr=False)
    before: NDArray[np.float32] | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the images, ready for JSON."""
        names = (
            *("sentence", "best", "fits", "operation", "scale", "applied", "explained", "residual"),
            *("pattern", "match", "z", "defects", "flags"),
        )
        orientation = {"rotation": self.rotation, "flip": self.flip}
        return {
            "gain": str(self.gain),
            **{name: getattr(self, name) for name in names},
            "orientation": None if self.rotation is None else orientation,
            "frc": {"before": self.frc_before, "after": self.frc_after},
            "derating": {
                "before": dict(zip(("1", "12"), self.derating_before, strict=True)),
                "after": dict(zip(("1", "12"), self.derating_after, strict=True)),
            },
            "stale": [spot.to_dict() for spot in self.stale],
            "unknown_defects": [list(place) for place in self.unknown_defects],
        }
