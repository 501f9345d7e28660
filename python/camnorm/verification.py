"""Verification: are corrected images of one sensor independent of each other?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .correction import Correction
from .errors import Error, FormatError
from .fourier import Independence, RingCorrelation, frc
from .io import expand_inputs, open_frames
from .io.atomic import atomic_target
from .measurement import Progress, measure
from .moments import PixelMoments, frame_statistics
from .sensor import Sensor

__all__ = ["Assessment", "Comparison", "Verification", "verify"]

# Family-wise false alarm rate of the verdict, shared by its two curves (pair and groups).
_ALPHA = 0.05

# Frames to choose from must be at least so many times a group: both groups together are then at most
# half the set, and the other half makes the statistics.
_SMALLEST_SHARE = 4

_STATISTICS = ("mean", "std", "min", "max")


@dataclass(frozen=True, eq=False)
class Assessment:
    """Ring correlation of two images, one curve a colour plane, and what it says of independence.

    Attributes
    ----------
    curves : tuple of RingCorrelation
        One for grey frames, one a plane for colour frames.
    alpha : float
        Level at which `independent` is decided.
    """

    curves: tuple[RingCorrelation, ...]
    alpha: float

    @cached_property
    def _verdicts(self) -> list[Independence]:
        return [curve.independence() for curve in self.curves]

    @property
    def rings(self) -> int:
        """Rings looked at, over all planes."""
        return sum(v.rings for v in self._verdicts)

    @property
    def outside_3sigma(self) -> int:
        """Rings outside ±3σ (3/sqrt(n/2)), over all planes."""
        return sum(v.outside_3sigma for v in self._verdicts)

    @property
    def expected_outside_3sigma(self) -> float:
        """Rings expected there by chance."""
        return sum(v.expected_outside_3sigma for v in self._verdicts)

    @property
    def outside_exact(self) -> int:
        """Rings outside the exact 0.27 % curve, over all planes."""
        return sum(v.outside_exact for v in self._verdicts)

    @property
    def expected_outside_exact(self) -> float:
        """Rings expected there by chance."""
        return sum(v.expected_outside_exact for v in self._verdicts)

    @property
    def mean_correlation(self) -> float:
        """Mean correlation over rings and planes."""
        return float(np.mean([v.mean_correlation for v in self._verdicts]))

    @property
    def z(self) -> float:
        """Combined z of all rings, of the plane where it is largest."""
        return max(v.z for v in self._verdicts)

    @property
    def p(self) -> float:
        """Family-wise p, Bonferroni over planes."""
        return min(1.0, len(self.curves) * min(v.p for v in self._verdicts))

    @property
    def independent(self) -> bool:
        """True if the correlation is no more than chance gives."""
        return self.p >= self.alpha

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {
            "rings": self.rings,
            "outside_3sigma": self.outside_3sigma,
            "expected_outside_3sigma": self.expected_outside_3sigma,
            "outside_exact": self.outside_exact,
            "expected_outside_exact": self.expected_outside_exact,
            "mean_correlation": self.mean_correlation,
            "z": self.z,
            "p": self.p,
            "independent": self.independent,
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """The same images raw and corrected."""

    raw: Assessment
    corrected: Assessment
    predicted_bias: float
    """Correlation of the corrected images that shared statistics alone would give."""


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of `verify`.

    Attributes
    ----------
    pairs : Comparison
        Of two single frames, the first of each group.
    groups : Comparison
        Of the averages of the two groups.
    files : tuple of two lists of (path, frame index)
        The test frames of each group.
    statistics : tuple of two int
        Number of frames in the statistics that corrected each group.
    same_statistics : bool
        True if both groups were corrected with the same statistics.
    window : str or None
        Window of the transforms.
    seed : int
        Seed of the choice of test frames.
    notes : list of str
        What the user should know of the choice.
    """

    pairs: Comparison
    groups: Comparison
    files: tuple[list[tuple[str, int]], list[tuple[str, int]]]
    statistics: tuple[int, int]
    same_statistics: bool
    window: str | None
    seed: int
    notes: list[str] = field(default_factory=list)

    @property
    def independent(self) -> bool:
        """The verdict: corrected single frames and corrected group averages are independent."""
        return self.pairs.corrected.independent and self.groups.corrected.independent

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""

        def both(comparison: Comparison) -> dict[str, Any]:
            return {
                "raw": comparison.raw.to_dict(),
                "corrected": comparison.corrected.to_dict(),
                "predicted_bias": comparison.predicted_bias,
            }

        return {
            "independent": self.independent,
            "pairs": both(self.pairs),
            "groups": both(self.groups),
            "group": len(self.files[0]),
            "files": [[{"file": path, "index": index} for path, index in group] for group in self.files],
            "statistics": list(self.statistics),
            "same_statistics": self.same_statistics,
            "window": self.window,
            "seed": self.seed,
            "notes": self.notes,
        }

    def curves(self) -> dict[str, RingCorrelation]:
        """Return every curve by name: pair_raw, pair_corrected, groups_raw, groups_corrected.

        For colour frames the number of the plane is added: pair_raw_0.
        """
        named: dict[str, RingCorrelation] = {}
        for name, comparison in (("pair", self.pairs), ("groups", self.groups)):
            for state, assessment in (("raw", comparison.raw), ("corrected", comparison.corrected)):
                for plane, curve in enumerate(assessment.curves):
                    suffix = f"_{plane}" if len(assessment.curves) > 1 else ""
                    named[f"{name}_{state}{suffix}"] = curve
        return named

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write verify.json, verify.png and a CSV file a curve.

        Parameters
        ----------
        directory : path-like
            Made if it is not there; files of these names in it are replaced.

        Returns
        -------
        list of Path
            The files written.
        """
        from . import plot

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        numbers, figure = folder / "verify.json", folder / "verify.png"
        size = len(self.files[0])
        panels = {
            "single frames, raw": self.pairs.raw.curves,
            "single frames, corrected": self.pairs.corrected.curves,
            f"averages of {size}, raw": self.groups.raw.curves,
            f"averages of {size}, corrected": self.groups.corrected.curves,
        }
        with atomic_target(numbers, overwrite=True) as temporary:
            Path(temporary).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        plot.save(plot.frc_figure(panels), figure)
        tables = []
        for name, curve in self.curves().items():
            tables.append(folder / f"verify_{name}.csv")
            curve.to_csv(tables[-1])
        return [numbers, figure, *tables]


def verify(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sensor: Sensor | str | os.PathLike[str] | None = None,
    *,
    group: int = 12,
    seed: int = 0,
    same_statistics: bool = False,
    window: str | None = "hann",
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Verification:
    """Test by Fourier ring correlation whether a sensor's pattern is gone from its corrected images.

    Two groups of test frames are chosen at random, from different files where there are enough. They are
    taken out of the statistics, exactly; then one group is corrected with half A of the set and the other
    with half B, so that no error is common to both. The correlation is looked at between two single frames
    and between the averages of the groups, in which a fixed pattern stands out.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, or a STAR file of movies: where test frames are taken
        from.
    sensor : Sensor or path-like, optional
        The measured set. By default `inputs` are measured first.
    group : int
        Frames a group; less if the set has fewer than four times as many for each group.
    seed : int
        Seed of the choice.
    same_statistics : bool
        Correct both groups with the whole set (without the test frames), as in the paper. The error of
        the common mean image then correlates by `predicted_bias`, g/(M + g) for groups of g frames and M
        frames in the statistics.
    window : {"hann", "tukey"} or None
        Window of the transforms; without one, scenes that do not continue across the borders correlate
        falsely.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called with a `Progress` while `inputs` are measured.

    Returns
    -------
    Verification

    Raises
    ------
    Error
        If there are fewer than eight frames to choose from, or the frames are not of the sensor's shape.

    Notes
    -----
    The scheme and its thresholds are those of P. Afanasyev et al., Sci. Rep. 5, 10317 (2015), Fig. 2, but
    for the disjoint halves, which make the expected correlation 0.
    """
    if group < 1:
        raise ValueError(f"group must be positive, got {group}")
    workers = _core.resolve_threads(threads)
    paths = [file.path.absolute() for file in expand_inputs(inputs)]
    if sensor is None:
        sensor = measure(paths, threads=threads, progress=progress)
    elif not isinstance(sensor, Sensor):
        sensor = Sensor.load(sensor)
    pool, notes = _test_pool(paths, sensor, _SMALLEST_SHARE * group)
    size = min(group, len(pool) // _SMALLEST_SHARE)
    if size < min(group, 2):
        raise Error(
            f"verification needs at least {2 * _SMALLEST_SHARE} frames to choose from, got {len(pool)}"
        )
    if size < group:
        notes.append(f"groups of {size} frames instead of {group}: there are only {len(pool)} to choose from")
    order = np.random.default_rng(seed).permutation(len(pool))
    names, frames = _read([pool[i] for i in order], 2 * size, sensor.shape, workers)
    halves = _leave_out(sensor, frames, workers)
    if same_statistics:
        whole = halves[0] + halves[1]
        halves = (whole, whole)
    corrections = [_correction(half, sensor) for half in halves]
    groups = (frames[:size], frames[size:])
    corrected = [
        [correction.apply(frame, dtype=np.float64, threads=workers) for frame in frames_of_group]
        for correction, frames_of_group in zip(corrections, groups, strict=True)
    ]

    def assess(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Assessment:
        result = frc(a, b, window=window, threads=workers)
        curves = tuple(result) if isinstance(result, Sequence) else (result,)
        return Assessment(curves, _ALPHA / 2)

    def bias(frames_averaged: int) -> float:
        return frames_averaged / (halves[0].count + frames_averaged) if same_statistics else 0.0

    return Verification(
        pairs=Comparison(
            assess(groups[0][0], groups[1][0]), assess(corrected[0][0], corrected[1][0]), bias(1)
        ),
        groups=Comparison(
            assess(_average(groups[0]), _average(groups[1])),
            assess(_average(corrected[0]), _average(corrected[1])),
            bias(size),
        ),
        files=(names[:size], names[size:]),
        statistics=(halves[0].count, halves[1].count),
        same_statistics=same_statistics,
        window=window,
        seed=seed,
        notes=notes,
    )


def _test_pool(paths: Sequence[Path], sensor: Sensor, wanted: int) -> tuple[list[tuple[str, int]], list[str]]:
    """Frames to choose from: the first good one of each file, or every one if there are too few files."""
    good: dict[str, list[int]] = {}
    for file, index, status in sensor.frames[["file", "index", "status"]].tolist():
        good.setdefault(file, [])
        if status == "accepted":
            good[file].append(index)
    files = list(dict.fromkeys(map(str, paths)))
    pool = [(file, good[file][0] if file in good else 0) for file in files if good.get(file, [0])]
    if len(pool) >= wanted:
        return pool, []
    every: list[tuple[str, int]] = []
    for file in files:
        if file in good:
            every += [(file, index) for index in good[file]]
        else:
            with suppress(Error, OSError), open_frames(file) as source:
                every += [(file, index) for index in range(source.count)]
    if len(every) == len(pool):
        return pool, []
    return every, [f"several frames a file are used, since there are only {len(files)} files"]


def _read(
    chosen: Iterable[tuple[str, int]], wanted: int, shape: tuple[int, ...], threads: int
) -> tuple[list[tuple[str, int]], list[npt.NDArray[Any]]]:
    """Read the first `wanted` of the chosen frames that can be read and are finite."""
    names: list[tuple[str, int]] = []
    frames: list[npt.NDArray[Any]] = []
    for file, index in chosen:
        try:
            with open_frames(file) as source:
                if source.shape != shape:
                    raise Error(f"{file} has frames of shape {source.shape}, the sensor {shape}")
                frame = source.read(index)
        except (FormatError, OSError):
            continue
        if np.isfinite(frame_statistics(frame, threads=threads)["mean"][0]):
            names.append((file, index))
            frames.append(frame[0])
        if len(frames) == wanted:
            return names, frames
    raise Error(f"only {len(frames)} of the frames chosen could be read, {wanted} are needed")


def _leave_out(
    sensor: Sensor, frames: Sequence[npt.NDArray[Any]], threads: int
) -> tuple[PixelMoments, PixelMoments]:
    """Moments of both halves without the test frames.

    A frame is known by its statistics, exactly, wherever its file has moved since it was measured.
    """
    table = sensor.frames[sensor.frames["status"] == "accepted"]
    halves_of: dict[tuple[float, ...], list[str]] = {}
    for *statistics, half in table[[*_STATISTICS, "half"]].tolist():
        halves_of.setdefault(tuple(statistics), []).append(half)
    halves = (sensor.halves[0].copy(), sensor.halves[1].copy())
    for frame in frames:
        row = frame_statistics(frame[None], threads=threads)[0]
        for half in halves_of.get(tuple(float(row[name]) for name in _STATISTICS), ()):
            halves["AB".index(half)].subtract(frame, threads=threads)
    return halves


def _correction(half: PixelMoments, sensor: Sensor) -> Correction:
    if half.count < 2:
        raise Error(f"only {half.count} frames are left for the statistics of one half: measure more frames")
    sigma = half.std()
    if not sigma.any():
        raise Error("no pixel of the set ever changes: there is nothing to correct with")
    return Correction(half.mean(), sigma, target_mean=sensor.target_mean, target_sigma=sensor.target_sigma)


def _average(frames: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    total = frames[0].astype(np.float64)
    for frame in frames[1:]:
        total += frame
    total /= len(frames)
    return total
