"""Verification: are corrected images of one sensor independent of each other?"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm import _core, jsontext
from camnorm.apriori import check_references
from camnorm.correction.adjustments import Adjustments, Mode
from camnorm.correction.correction import Correction
from camnorm.diagnosis.checks import check
from camnorm.diagnosis.convergence import Convergence, frames_needed
from camnorm.diagnosis.finding import Finding
from camnorm.diagnosis.fixedpattern import FixedPattern, fixed_pattern, tells_pattern
from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.fourier.correlation import frc_of_planes
from camnorm.fourier.curve import CURVE_MARK, RingCorrelation
from camnorm.fourier.independence import Independence
from camnorm.io import Chosen, ReadOptions, Selection, expand_inputs, open_frames
from camnorm.io.base.atomic import atomic_target, check_content
from camnorm.io.base.selection import choose_frames
from camnorm.limits import usable_threads
from camnorm.measurement.run import measure
from camnorm.progress import Progress
from camnorm.sensor.sensor import Sensor
from camnorm.statistics.moments import frame_statistics, kind_of

__all__ = ["Assessment", "Comparison", "Verification", "verify"]

# Family-wise false alarm rate of the verdict, shared by its two curves (pair and groups).
_ALPHA = 0.05

# Frames to choose from must be at least so many times a group: both groups together are then at most
# half the set, and the other half makes the statistics.
_SMALLEST_SHARE = 4

_STATISTICS = ("mean", "std", "min", "max")

# Path and index of a frame, and the half that it is in ("" if it is not known).
_TestFrame: TypeAlias = tuple[str, int, str]


@dataclass(frozen=True, eq=False)
class Assessment:
    """Ring correlation of two images, or of several pairs, and what it says of independence.

    Attributes
    ----------
    curves : tuple of RingCorrelation
        One for grey frames, one a plane for colour frames; of several pairs, these combined.
    alpha : float
        Level at which `independent` is decided.
    corners : bool
        Whether rings beyond Nyquist are tested too.
    p_of_pairs : tuple of float
        Family-wise p of each pair alone.
    """

    curves: tuple[RingCorrelation, ...]
    alpha: float
    corners: bool = False
    p_of_pairs: tuple[float, ...] = ()

    @classmethod
    def of_pairs(
        cls, pairs: Sequence[tuple[RingCorrelation, ...]], alpha: float, corners: bool, common: float
    ) -> Assessment:
        """Put pairs of images together, z of which have the correlation `common` by what they share."""
        curves = tuple(RingCorrelation.combined(planes, common) for planes in zip(*pairs, strict=True))
        return cls(curves, alpha, corners, tuple(cls(pair, alpha, corners).p for pair in pairs))

    @cached_property
    def _verdicts(self) -> list[Independence]:
        return [curve.independence(corners=self.corners) for curve in self.curves]

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
    def mean_correlation_error(self) -> float:
        """Its standard deviation if the images are independent."""
        errors = [v.mean_correlation_error for v in self._verdicts]
        return float(np.sqrt(np.sum(np.square(errors))) / len(errors))

    @property
    def z(self) -> float:
        """Combined z of all rings, of the plane where it is largest."""
        return max(v.z for v in self._verdicts)

    @property
    def p(self) -> float:
        """Family-wise p, Bonferroni over planes."""
        return min(1.0, len(self.curves) * min(v.p for v in self._verdicts))

    @property
    def lines(self) -> int:
        """Rings with lines of the same frequency in both images, over all planes."""
        return sum(v.lines for v in self._verdicts)

    @property
    def independent(self) -> bool:
        """True if the correlation is no more than chance gives: ``p >= alpha``, and no `lines`."""
        return self.p >= self.alpha and not self.lines

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {
            "rings": self.rings,
            "outside_3sigma": self.outside_3sigma,
            "expected_outside_3sigma": self.expected_outside_3sigma,
            "outside_exact": self.outside_exact,
            "expected_outside_exact": self.expected_outside_exact,
            "lines": self.lines,
            "mean_correlation": self.mean_correlation,
            "mean_correlation_error": self.mean_correlation_error,
            "z": self.z,
            "p": self.p,
            "p_of_pairs": list(self.p_of_pairs),
            "alpha": self.alpha,
            "independent": self.independent,
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """The same images raw and corrected."""

    raw: Assessment
    corrected: Assessment
    predicted_bias: float
    """Correlation of the corrected images that shared statistics alone would give: g/(M + g) for averages of
    g frames and M frames in the statistics, 0 if each has statistics of its own."""
    floor: float
    """Correlation of such images if they are part of the set, N frames, and the whole set corrects them, as
    `correct` does: -g/(N - g). Ring correlations of corrected data are not to be read below its modulus. NaN
    if the set is no larger than the average."""


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of `verify`.

    Attributes
    ----------
    pairs : Comparison
        Of single frames, the first of each group; over all pairs of groups.
    groups : Comparison
        Of the averages of groups; over all pairs of groups.
    files : tuple of lists of (path, frame index)
        The test frames of each group; groups 1 and 2 are a pair, 3 and 4, and so on.
    statistics : tuple of two int
        Number of frames in the statistics that corrected the first and the second group of each pair.
    same_statistics : bool
        True if both groups were corrected with the same statistics.
    adjustments : str
        What of mode, keep_illumination and shrink was set, as corrected files note it.
    window : str or None
        Window of the transforms.
    seed : int
        Seed of the choice of test frames.
    notes : list of str
        What the user should know of the choice.
    findings : list of Finding
        What `camnorm.check` found of the measured set, test frames included.
    convergence : Convergence, optional
        How precise the measurement is, and what more frames would give.
    fixed_pattern : FixedPattern, optional
        How strong the pattern is and what it costs; None if the set is too small to tell.
    """

    pairs: Comparison
    groups: Comparison
    files: tuple[list[tuple[str, int]], ...]
    statistics: tuple[int, int]
    same_statistics: bool
    adjustments: str
    window: str | None
    seed: int
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    convergence: Convergence | None = None
    fixed_pattern: FixedPattern | None = None

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
                "floor": comparison.floor,
            }

        return {
            "independent": self.independent,
            "pairs": both(self.pairs),
            "groups": both(self.groups),
            "group": len(self.files[0]),
            "files": [[{"file": path, "index": index} for path, index in group] for group in self.files],
            "statistics": list(self.statistics),
            "same_statistics": self.same_statistics,
            "adjustments": self.adjustments,
            "window": self.window,
            "seed": self.seed,
            "notes": self.notes,
            "findings": [finding.to_dict() for finding in self.findings],
            "convergence": self.convergence and self.convergence.to_dict(),
            "fixed_pattern": self.fixed_pattern and self.fixed_pattern.to_dict(),
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
            Made if it is not there; files of these names that hold another verification are replaced.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        Error
            If there is a file of one of these names that holds something else.
        OSError
            If one cannot be written.
        """
        from camnorm.report import plot

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
        tables = {folder / f"verify_{name}.csv": curve for name, curve in self.curves().items()}
        check_content(numbers, b'"same_statistics"', "a result of a verification")
        check_content(figure, plot.MARK.encode(), "a figure of camnorm")
        for table in tables:
            check_content(table, CURVE_MARK, "a table of a ring correlation")
        with atomic_target(numbers, overwrite=True) as temporary:
            Path(temporary).write_text(jsontext.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        plot.save(plot.frc_figure(panels), figure)
        for table, curve in tables.items():
            curve.to_csv(table)
        return [numbers, figure, *tables]


def verify(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sensor: Sensor | str | os.PathLike[str] | None = None,
    *,
    group: int = 12,
    pairs: int = 1,
    seed: int = 0,
    same_statistics: bool = False,
    window: str | None = "hann",
    corners: bool = False,
    mode: Mode = "both",
    keep_illumination: float | bool | None = None,
    shrink: bool = False,
    frames: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    options: ReadOptions | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Verification:
    """Test by Fourier ring correlation whether a sensor's pattern is gone from its corrected images.

    Two groups of test frames are chosen at random, one of half A and one of half B, from different files
    where there are enough. They are taken out of the statistics, exactly; then each group is corrected with
    its own half of the set, so that no error is common to both. The correlation is looked at between two
    single frames and between the averages of the groups, in which a fixed pattern stands out.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file: where test frames
        are taken from.
    sensor : Sensor or path-like, optional
        The measured set. By default `inputs` are measured first.
    group : int
        Frames a group; less if there are fewer than four times as many to choose from.
    pairs : int
        Pairs of groups, all of different frames; fewer if there are too few frames. Their curves are put
        together, so that weaker patterns are found, and their p combined.
    seed : int
        Seed of the choice.
    same_statistics : bool
        Correct both groups with the whole set (without the test frames), as in the paper. The error of
        the common mean image then correlates by `predicted_bias`, g/(M + g) for groups of g frames and M
        frames in the statistics.
    window : {"hann", "tukey"} or None
        Window of the transforms. Without one, scenes that do not continue across the borders correlate
        falsely. Hann's holds for all scenes, but leaves only half of the coefficients independent, so that
        by chance one ring or two lie outside the paper's ±3σ. Tukey's leaves four fifths, and suits scenes
        without strong low frequencies.
    corners : bool
        Test the corners of the Fourier plane beyond Nyquist too, where a Bayer pattern has a peak.
    mode, keep_illumination, shrink
        Which correction is tested; see `Sensor.correction`. An illumination that is kept is common to all
        frames, and correlates.
    frames, every, max_frames
        Which of the frames test frames are chosen from; as for `measure`, to which they are handed on if
        there is no sensor.
    options : ReadOptions, optional
        How the files are read. By default as the sensor's were.
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
        If there are fewer than eight frames to choose from (four for groups of one), or these are not of
        the sensor's shape and kind.

    Notes
    -----
    The scheme and its thresholds are those of P. Afanasyev et al., Sci. Rep. 5, 10317 (2015), Fig. 2, but
    for the disjoint halves, which make the expected correlation 0.
    """
    if group < 1:
        raise ValueError(f"group must be positive, got {group}")
    if pairs < 1:
        raise ValueError(f"pairs must be positive, got {pairs}")
    adjustments = Adjustments(mode, keep_illumination, shrink)
    workers = usable_threads(threads)
    selection = Selection(frames, every, max_frames)
    if sensor is not None and not isinstance(sensor, Sensor):
        sensor = Sensor.load(sensor)
    if options is None:
        options = ReadOptions() if sensor is None else sensor.options
    check_references(options, None if sensor is None else sensor.shape)
    paths = [file.path.absolute() for file in expand_inputs(inputs, options)]
    if sensor is None:
        sensor = measure(
            paths,
            response=mode == "response",
            **asdict(selection),
            options=options,
            threads=threads,
            progress=progress,
        )
        selection = Selection()  # it has no other frames
    chosen = choose_frames(paths, selection, options, workers, progress)
    pool, size, pairs, notes = _test_pool(paths, sensor, group, pairs, chosen, options)
    order = np.random.default_rng(seed).permutation(len(pool))
    groups, left = _take_out([pool[i] for i in order], size, pairs, sensor, options, workers)
    corrections = [_correction(left, adjustments, None if same_statistics else half) for half in (0, 1)]
    counts = [left.count if same_statistics else half.count for half in left.halves]

    def correlate(images: Sequence[npt.NDArray[Any]]) -> tuple[RingCorrelation, ...]:
        return frc_of_planes(images[0], images[1], window=window, corners=corners, threads=workers)

    curves: dict[tuple[int, str], list[tuple[RingCorrelation, ...]]] = {}
    for number in range(0, len(groups), 2):
        # One pair of groups at a time is in memory.
        loaded = [_load(group, sensor, options, workers) for group in groups[number : number + 2]]
        for kind, images in enumerate(zip(*loaded, strict=True)):
            curves.setdefault((kind, "raw"), []).append(correlate(images))
            # Eq. (2) is linear: an average, corrected, is the average of corrected frames.
            corrected = [
                correction.apply(image, dtype=np.float64, threads=workers)
                for correction, image in zip(corrections, images, strict=True)
            ]
            curves.setdefault((kind, "corrected"), []).append(correlate(corrected))

    convergence = frames_needed(sensor)

    def compare(kind: int, averaged: int) -> Comparison:
        shares = [averaged / (count + averaged) for count in counts]
        alpha = _ALPHA / 2
        return Comparison(
            Assessment.of_pairs(curves[kind, "raw"], alpha, corners, 0.0),
            # The error of a mean image is in all the images that it corrects.
            Assessment.of_pairs(curves[kind, "corrected"], alpha, corners, shares[0] * shares[1]),
            predicted_bias=shares[0] if same_statistics else 0.0,
            floor=-averaged / (sensor.count - averaged) if sensor.count > averaged else np.nan,
        )

    return Verification(
        pairs=compare(0, 1),
        groups=compare(1, size),
        files=tuple(groups),
        statistics=(counts[0], counts[1]),
        same_statistics=same_statistics,
        adjustments=str(adjustments),
        window=window,
        seed=seed,
        notes=notes,
        findings=check(sensor, convergence),
        convergence=convergence,
        fixed_pattern=fixed_pattern(sensor, threads=workers) if tells_pattern(sensor) else None,
    )


def _load(
    group: Sequence[tuple[str, int]], sensor: Sensor, options: ReadOptions, threads: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The first frame of a group, and the average of all."""
    total = np.zeros(sensor.shape)
    first = None
    for file, index in group:
        frame = _read(file, index, sensor, options)
        if frame is None:
            raise Error(f"{file}, frame {index}: can no longer be read")
        first = frame if first is None else first
        _core.add_frames(frame, total, threads)
    assert first is not None
    return first, total / len(group)


def _test_pool(
    paths: Sequence[Path], sensor: Sensor, group: int, pairs: int, chosen: Chosen, options: ReadOptions
) -> tuple[list[_TestFrame], int, int, list[str]]:
    """Frames to choose from, how many of them a group takes, how many pairs, and what the user should know.

    These are the first good frame of each file, or all good frames if there are too few files; only chosen
    ones.
    """
    measured: dict[str, dict[int, str]] = {}
    for file, index, half, status in sensor.frames[["file", "index", "half", "status"]].tolist():
        halves = measured.setdefault(file, {})
        if status == "accepted":
            halves[index] = half
    # A file that is not where it was is known by its name, if no other was of that name.
    names = Counter(os.path.basename(file) for file in measured)
    moved = {os.path.basename(file): file for file in measured if names[os.path.basename(file)] == 1}

    def frames_of(number: int, file: str, known: dict[int, str] | None) -> list[_TestFrame]:
        if known is not None and chosen.everything:
            return [(file, index, half) for index, half in known.items()]
        try:
            with open_frames(file, options) as source:
                indices = chosen(number, source.count)
                indices = indices[: bisect_left(indices, source.available)]
        except (Error, OSError) as error:
            raise_shortage(error)
            return []
        if known is None:
            return [(file, index, "") for index in indices]
        return [(file, index, known[index]) for index in indices if index in known]

    files = {}
    for number, path in enumerate(map(str, paths)):
        files[path] = number, path, measured.get(path, measured.get(moved.get(os.path.basename(path), "")))
    pool: list[_TestFrame] = []
    for number, file, known in files.values():
        unknown = known is None and chosen.everything
        pool += [(file, 0, "")] if unknown else frames_of(number, file, known)[:1]
    if len(pool) >= _SMALLEST_SHARE * group * pairs:
        return pool, group, pairs, []
    every = [frame for file in files.values() for frame in frames_of(*file)]
    size = min(group, len(every) // _SMALLEST_SHARE)
    if size < min(group, 2):
        fewest = _SMALLEST_SHARE * min(group, 2)
        raise Error(f"verification needs at least {fewest} frames to choose from, got {len(every)}")
    wanted, pairs = pairs, min(pairs, len(every) // (_SMALLEST_SHARE * size))
    notes = []
    if len(pool) < 2 * size * pairs:
        pool = every
        notes.append(f"several frames a file are used, since there are only {len(files)} files")
    if size < group:
        notes.append(
            f"groups of {size} frames instead of {group}: there are only {len(every)} to choose from"
        )
    if pairs < wanted:
        notes.append(
            f"{pairs} pairs of groups instead of {wanted}: there are only {len(every)} frames to choose from"
        )
    return pool, size, pairs, notes


def _take_out(
    pool: Sequence[_TestFrame],
    size: int,
    pairs: int,
    sensor: Sensor,
    options: ReadOptions,
    threads: int,
) -> tuple[list[list[tuple[str, int]]], Sensor]:
    """Choose pairs of groups of test frames, and make the sensor without them.

    The first group of a pair is taken from half A, the second from half B, as far as they go: the rest of a
    test frame's movie, which shows the same specimen, is then in the statistics of its own group only.
    """
    table = sensor.frames[sensor.frames["status"] == "accepted"]
    rows_of: dict[tuple[float, ...], list[_TestFrame]] = {}
    for *statistics, file, index, half in table[[*_STATISTICS, "file", "index", "half"]].tolist():
        rows_of.setdefault(tuple(statistics), []).append((file, index, half))
    halves = (sensor.halves[0].copy(), sensor.halves[1].copy())
    responses = sensor.responses and (sensor.responses[0].copy(), sensor.responses[1].copy())
    seen: set[tuple[float, ...]] = set()

    def take(file: str, index: int) -> bool:
        frame = _read(file, index, sensor, options)
        if frame is None:
            return False
        row = frame_statistics(frame[None], threads=threads)[0]
        statistics = tuple(float(row[name]) for name in _STATISTICS)
        if not row["std"] > 0 or statistics in seen:
            return False  # blank, not finite, or the same as another test frame
        seen.add(statistics)
        for row_file, row_index, half in rows_of.get(statistics, ()):
            if (row_file, row_index) == (file, index) or _may_show(row_file, row_index, frame, options):
                number = "AB".index(half)
                halves[number].subtract(frame, threads=threads)
                if responses is not None:
                    responses[number].subtract(frame, np.array([row["mean"]]), threads=threads)
        return True

    taken: dict[str, list[tuple[str, int]]] = {"A": [], "B": []}
    for half, chosen in taken.items():
        preference = {half: 0, "": 1}
        for file, index, _ in sorted(pool, key=lambda test: preference.get(test[2], 2)):
            if len(chosen) < pairs * size and take(file, index):
                chosen.append((file, index))
    usable = sum(map(len, taken.values()))
    if usable < 2 * pairs * size:
        raise Error(
            f"only {usable} of {len(pool)} frames can be used for the test, {2 * pairs * size} are needed"
        )
    groups = [
        taken[half][number * size : (number + 1) * size] for number in range(pairs) for half in ("A", "B")
    ]
    return groups, Sensor(halves, sensor.frames, sensor.provenance, responses)


def _read(file: str, index: int, sensor: Sensor, options: ReadOptions) -> npt.NDArray[Any] | None:
    """Read one frame; None if that is not possible."""
    try:
        with open_frames(file, options) as source:
            if source.shape != sensor.shape or kind_of(source.dtype) != kind_of(sensor.dtype):
                raise Error(
                    f"{file} has {source.dtype} frames of shape {source.shape}, "
                    f"the sensor {sensor.dtype} frames of shape {sensor.shape}"
                )
            frame: npt.NDArray[Any] = source.read(index)[0]
            return frame
    except (FormatError, OSError) as error:
        raise_shortage(error)
        return None


def _may_show(file: str, index: int, frame: npt.NDArray[Any], options: ReadOptions) -> bool:
    """Whether a measured frame, which has the same statistics, is this one; True if it is not there now."""
    try:
        with open_frames(file, options) as source:
            return np.array_equal(source.read(index)[0], frame)
    except (Error, OSError, IndexError) as error:
        raise_shortage(error)
        return True


def _correction(left: Sensor, adjustments: Adjustments, half: int | None) -> Correction:
    count = left.count if half is None else left.halves[half].count
    if count < 2:
        raise Error(f"too few frames are left for the statistics of one half ({count}): measure more")
    return left._correction(adjustments, half=half)
