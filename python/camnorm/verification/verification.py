"""Verification: are corrected images of one sensor independent of each other?"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.application.fit import Fit, UnfitFile, warning_of
from camnorm.apriori import check_references
from camnorm.correction.adjustments import Adjustments, CameraChoice, Mode
from camnorm.correction.correction import Correction
from camnorm.diagnosis.checks import check
from camnorm.diagnosis.convergence import frames_needed
from camnorm.diagnosis.fixedpattern import fixed_pattern, tells_pattern
from camnorm.errors import Error
from camnorm.fourier.correlation import frc_of_planes
from camnorm.fourier.curve import RingCorrelation
from camnorm.fourier.transforms import release_transforms
from camnorm.io import ReadOptions, Selection, expand_inputs
from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.copies import without_copies
from camnorm.io.base.halves import natural_order
from camnorm.io.base.selection import choose_frames
from camnorm.io.base.settling import settled_catalogue
from camnorm.io.base.unused import check_use
from camnorm.limits import usable_threads
from camnorm.measurement import measure
from camnorm.progress import Progress
from camnorm.sensor.corrections import correction_of, settled
from camnorm.sensor.pixelmap import GivenPixels, bad_pixels_of
from camnorm.sensor.reading import warn_of_gain
from camnorm.sensor.sensor import Sensor, as_sensor
from camnorm.verification.alternation import MOST_FRAMES, Alternation, find_alternation, reduced
from camnorm.verification.candidates import Candidate, find_candidates
from camnorm.verification.concealed import Concealment
from camnorm.verification.leaveout import take_out
from camnorm.verification.testframes import FrameReader
from camnorm.verification.verdict import Assessment, Comparison, Verification

__all__ = ["verify"]

# Family-wise false alarm rate of the verdict, shared by its two curves (pair and groups).
_ALPHA = 0.05

_Image: TypeAlias = npt.NDArray[Any]
_Planes: TypeAlias = tuple[RingCorrelation, ...]


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
    camera: CameraChoice = "auto",
    pixels: GivenPixels | None = None,
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
    its own half of the set, so that no error is common to both. The correlation is computed between two
    single frames and between the averages of the groups, in which a fixed pattern stands out. Some frames are
    also compared by their places: kinds of files that alternate, such as two channels, each keep a pattern.

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
    mode, keep_illumination, shrink, camera
        Which correction is tested; see `Sensor.correction`. An illumination that is kept is common to all
        frames, and correlates.
    pixels : PixelMap or path-like, optional
        Bad pixels, as of `classify_pixels`, or a file of them. They become the target mean, and the result
        says what they contribute.
    frames, every, max_frames
        Which of the frames test frames are chosen from; as for `measure`, to which they are handed on if
        there is no sensor.
    options : ReadOptions, optional
        How the files are read. What is not given is as for the sensor's; what contradicts it is refused.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called as in `measure`, while `inputs` are measured, and while test frames are read.

    Returns
    -------
    Verification

    Raises
    ------
    Error
        If there are fewer than eight frames to choose from (four for groups of one), or none of the files is
        of the sensor's shape and kind; single files that are not are left out and listed.

    Notes
    -----
    The scheme and its thresholds are those of P. Afanasyev et al., Sci. Rep. 5, 10317 (2015), Fig. 2, but
    for the disjoint halves, which make the expected correlation 0.

    Examples
    --------
    >>> import camnorm
    >>> result = camnorm.verify("movies", "sensor.h5", group=4)
    >>> result.independent
    True
    >>> result.groups.raw.independent, result.groups.corrected.independent
    (False, True)
    """
    _check_positive(group=group, pairs=pairs)
    adjustments = Adjustments(mode, keep_illumination, shrink, camera)
    workers = usable_threads(threads)
    selection = Selection(frames, every, max_frames)
    spare = not isinstance(sensor, Sensor)  # nobody else has its sums
    if sensor is not None:
        sensor = as_sensor(sensor, load=True)
    paths, options = _find(inputs, options, sensor)
    if sensor is None:
        sensor = _measure(paths, mode, selection, replace(options, frames_dir=None), threads, progress)
        selection = Selection()  # it has no other frames
        options = sensor.read_options(options)
    counted, _ = without_copies(Catalogue(paths, options, workers))
    catalogue, options = settled_catalogue(counted.paths, options, workers)
    adjustments = settled(adjustments, sensor)
    warn_of_gain(sensor.options, options)
    chosen = choose_frames(catalogue, selection, progress)
    fit = Fit(sensor)
    found = find_candidates(catalogue, sensor, fit, group, pairs, chosen)
    pool = [found.frames[i] for i in np.random.default_rng(seed).permutation(len(found.frames))]
    # The sums of a spare sensor are not those of the whole set any more when the test frames are out.
    count, convergence = sensor.count, frames_needed(sensor)
    findings = check(sensor, convergence)
    pattern = fixed_pattern(sensor, threads=workers) if tells_pattern(sensor) else None
    release_transforms()
    outside: list[UnfitFile] = []
    steps = _Steps(progress, sensor, 4 * found.pairs * found.size + min(len(pool), MOST_FRAMES))
    reader = FrameReader(sensor, options)
    groups, left = take_out(
        pool, found.size, found.pairs, sensor, fit, reader, options, workers, outside, spare, steps
    )
    if (message := warning_of(outside, fit.words)) is not None:
        warnings.warn(message, stacklevel=2)
    counts = [left.count if same_statistics else half.count for half in left.halves]
    corrections = _Corrections(left, adjustments, same_statistics, keep=found.pairs > 1)
    correlate = partial(frc_of_planes, window=window, corners=corners, threads=workers)
    alternation = _alternation(pool, groups, catalogue, corrections.of(0), reader, workers, steps)
    images = _images_of(groups, reader, workers, steps)
    concealment = _concealment(pixels, sensor, correlate, workers)
    singles, averages = _correlate(images, corrections, correlate, workers, concealment)

    compare = partial(_compare, counts=counts, total=count, shared=same_statistics, corners=corners)
    return Verification(
        pairs=compare(singles, 1),
        groups=(whole := compare(averages, found.size)),
        pixels=None if concealment is None else concealment.share(whole.raw, _common(found.size, counts)),
        files=tuple(groups),
        statistics=(counts[0], counts[1]),
        same_statistics=same_statistics,
        adjustments=str(adjustments),
        window=window,
        seed=seed,
        notes=found.notes,
        rejected=found.rejected,
        outside_limits=len(outside),
        findings=[*([alternation.finding()] if alternation.found else []), *findings],
        alternation=alternation,
        convergence=convergence,
        fixed_pattern=pattern,
    )


def _concealment(
    pixels: GivenPixels | None,
    sensor: Sensor,
    correlate: Callable[[_Image, _Image], _Planes],
    threads: int,
) -> Concealment | None:
    """What compares averages with and without bad pixels, if there is a map of them."""
    bad = bad_pixels_of(pixels, sensor.shape, sensor.row_order)
    return None if bad is None else Concealment(bad, correlate, threads)


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be positive, got {number}")


class _Steps:
    """Reports the frames that were read, as the progress of a verification."""

    def __init__(self, progress: Callable[[Progress], None] | None, sensor: Sensor, total: int) -> None:
        self._progress = progress
        self._bytes = math.prod(sensor.shape) * sensor.dtype.itemsize
        self._total = total
        self._done = 0
        self._report()

    def __call__(self) -> None:
        """Count one more."""
        self._done += 1
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            done = min(self._done, self._total)
            self._progress(Progress("verifying", done, self._total, done, done * self._bytes, 0))


class _Corrections:
    """Corrections of the first and the second group of each pair; one at a time is in memory, or both."""

    def __init__(self, left: Sensor, adjustments: Adjustments, same_statistics: bool, keep: bool) -> None:
        self._form = partial(_correction, left, adjustments)
        self._halves = (None, None) if same_statistics else (0, 1)
        self._most = 2 if keep else 1
        self._kept: dict[int | None, Correction] = {}

    def of(self, group: int) -> Correction:
        """The correction of one group of a pair, 0 or 1."""
        half = self._halves[group]
        if half not in self._kept:
            if len(self._kept) >= self._most:
                self._kept.clear()
            self._kept[half] = self._form(half)
        return self._kept[half]

    def clear(self) -> None:
        """Make room, if there is only one pair."""
        if self._most == 1:
            self._kept.clear()


def _find(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    given: ReadOptions | None,
    sensor: Sensor | None,
) -> tuple[list[Path], ReadOptions]:
    """The files, and how they are read."""
    options = (given or ReadOptions()) if sensor is None else sensor.read_options(given)
    check_references(options, None if sensor is None else sensor.shape)
    files = expand_inputs(inputs, options)
    paths = [file.path.absolute() for file in files]
    if sensor is None:
        given = ReadOptions(frames_dir=options.frames_dir)  # measuring checks the others
    check_use(given, files, Catalogue(paths, options))
    return paths, options


def _measure(
    paths: Sequence[Path],
    mode: Mode,
    selection: Selection,
    options: ReadOptions,
    threads: int | None,
    progress: Callable[[Progress], None] | None,
) -> Sensor:
    """Measure the frames that are to be verified."""
    return measure(
        paths,
        response=mode == "response",
        **asdict(selection),
        options=options,
        threads=threads,
        progress=progress,
    )


def _alternation(
    pool: Sequence[Candidate],
    groups: Sequence[Sequence[tuple[str, int]]],
    catalogue: Catalogue,
    correction: Correction,
    reader: FrameReader,
    threads: int,
    report: Callable[[], None],
) -> Alternation:
    """Whether kinds of files alternate: by frames that are not in the statistics of the correction."""
    tests = {name for group in groups for name in group}
    left_out = [test for test in pool if test.half != "A" or (test.file, test.index) in tests]
    order = dict(zip(map(str, catalogue.paths), natural_order(catalogue.paths).tolist(), strict=True))
    of_files = len(order) > 1
    # Frames of one movie have its specimen in common: one of each.
    places = {order[test.file] if of_files else test.index: test for test in reversed(left_out)}
    used: list[int] = []
    images = []

    def corrected(rows: _Image, first: int) -> _Image:
        return correction.apply(rows, threads=1, first_row=first)

    some = list(places.items())[:MOST_FRAMES]
    for read, frames in reader.stacks(some, lambda item: (item[1].file, item[1].index), report):
        used += [place for place, _ in read]
        images += reduced(frames, corrected, threads)
    return find_alternation(images, used, of_files)


@dataclass(frozen=True)
class _Curves:
    """Ring correlations of single frames, or of averages: of each pair, those of all planes."""

    raw: list[_Planes] = field(default_factory=list)
    corrected: list[_Planes] = field(default_factory=list)

    def assessments(self, corners: bool, common: float) -> tuple[Assessment, Assessment]:
        """Put the pairs together, corrected ones with the correlation that they have by what they share."""
        return (
            Assessment.of_pairs(self.raw, _ALPHA / 2, corners, 0.0),
            Assessment.of_pairs(self.corrected, _ALPHA / 2, corners, common),
        )


def _compare(
    curves: _Curves, averaged: int, *, counts: Sequence[int], total: int, shared: bool, corners: bool
) -> Comparison:
    """Compare averages of some frames, corrected by statistics of `counts` frames, of `total` in all."""
    raw, corrected = curves.assessments(corners, _common(averaged, counts))
    bias = averaged / (counts[0] + averaged) if shared else 0.0
    return Comparison(raw, corrected, bias, _floor(averaged, total))


def _common(averaged: int, counts: Sequence[int]) -> float:
    """Correlation by what averages share: the error of a mean image is in all the images that it corrects."""
    return math.prod(averaged / (count + averaged) for count in counts)


def _correlate(
    pairs: Iterable[list[list[_Image]]],
    corrections: _Corrections,
    correlate: Callable[[_Image, _Image], _Planes],
    threads: int,
    concealment: Concealment | None,
) -> tuple[_Curves, _Curves]:
    """Ring correlations of single frames and of averages: raw, and each group with its own correction."""
    both = _Curves(), _Curves()
    for groups in pairs:
        for curves, a, b in zip(both, *groups, strict=True):
            curves.raw.append(correlate(a, b))
        if concealment is not None:
            concealment.add_raw([images[1] for images in groups])
        release_transforms()
        # Eq. (2) is linear: an average, corrected, is the average of corrected frames.
        for number, images in enumerate(groups):
            for i, image in enumerate(images):
                dtype = _precision(image.dtype)
                images[i] = corrections.of(number).apply(image, dtype=dtype, threads=threads)
        if concealment is not None:
            concealment.add_corrected([images[1] for images in groups])
            for number, images in enumerate(groups):
                for image in images:
                    concealment.conceal(image, corrections.of(number).target_mean)
        corrections.clear()
        for curves, a, b in zip(both, *groups, strict=True):
            curves.corrected.append(correlate(a, b))
    return both


def _precision(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of images of these pixels: float32 if it holds all of their digits."""
    return np.result_type(dtype, np.float32)


def _images_of(
    groups: Sequence[Sequence[tuple[str, int]]],
    reader: FrameReader,
    threads: int,
    report: Callable[[], None],
) -> Iterator[list[list[_Image]]]:
    """Load the images of both groups of each pair: one pair at a time is in memory."""
    for number in range(0, len(groups), 2):
        yield [_load(group, reader, threads, report) for group in groups[number : number + 2]]


def _load(
    group: Sequence[tuple[str, int]],
    reader: FrameReader,
    threads: int,
    report: Callable[[], None],
) -> list[_Image]:
    """The first frame of a group, and the average of all."""
    total = np.zeros(reader.held.shape[1:])
    first = None
    left = list(group)
    for read, frames in reader.stacks(group, lambda test: test, report):
        if first is None:
            first = frames[0].copy()
        _core.add_frames(frames, total, threads)
        left = [test for test in left if test not in read]
    if first is None or left:
        file, index = left[0]
        raise Error(f"{file}, frame {index}: can no longer be read")
    total /= len(group)
    return [first, total.astype(_precision(first.dtype), copy=False)]


def _floor(averaged: int, count: int) -> float:
    """Correlation of averages of the set's own frames, which the whole set corrects."""
    return -averaged / (count - averaged) if count > averaged else np.nan


def _correction(left: Sensor, adjustments: Adjustments, half: int | None) -> Correction:
    count = left.count if half is None else left.halves[half].count
    if count < 2:
        raise Error(f"too few frames are left for the statistics of one half ({count}): measure more")
    return correction_of(left, adjustments, half)
