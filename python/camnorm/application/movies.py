"""Correcting files: every frame of every file, written under the same names elsewhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from camnorm import _core
from camnorm.application.corrector import CorrectedFile, Corrector
from camnorm.application.fit import Fit, UnfitFile, warning_of, without_rejected
from camnorm.application.hotpixels import Expectation, HotPixels
from camnorm.application.leaveout import LeaveOneOut, warn_of_own_share
from camnorm.application.schedule import Job, Output, output_folder, schedule
from camnorm.apriori import check_references
from camnorm.correction.adjustments import Adjustments, CameraChoice, Mode
from camnorm.correction.correction import Correction
from camnorm.correction.targets import GivenTarget
from camnorm.errors import Error, FormatError
from camnorm.io import Protected, ReadOptions, Selection, expand_inputs, sync_directory
from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.lists import InputFile
from camnorm.io.base.selection import choose_frames
from camnorm.io.base.settling import settled_catalogue
from camnorm.io.base.unused import check_use
from camnorm.limits import usable_threads
from camnorm.measurement.faults import fault_of
from camnorm.progress import Progress
from camnorm.sensor.balance import warn_of_harm
from camnorm.sensor.corrections import (
    BadPolicy,
    CorrectionImages,
    correction_images,
    settled,
    settled_policy,
)
from camnorm.sensor.estimate import Estimate
from camnorm.sensor.pixelmap import GivenPixels, bad_pixels_of
from camnorm.sensor.reading import warn_of_gain
from camnorm.sensor.sensor import Sensor, as_sensor

__all__ = ["correct"]

# Target sigmas below and above the target mean that fit scaled integers.
_SIGMAS = 40
_NOT_VIRTUAL = (
    "{0}=True does not go with virtual=True: virtual files share one correction, and {0}=True makes another "
    "for each file"
)


def correct(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sensor: Sensor | str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike = np.float32,
    scale: Literal["auto"] | None = None,
    format: Literal["same", "mrc", "tiff", "hdf5", "zarr"] = "same",
    compression: Literal["none", "lzw", "deflate", "zstd"] = "none",
    target_mean: GivenTarget | None = None,
    target_sigma: GivenTarget | None = None,
    bad_policy: BadPolicy = "auto",
    mode: Mode = "both",
    keep_illumination: float | bool | None = None,
    shrink: bool = False,
    camera: CameraChoice = "auto",
    pixels: GivenPixels | None = None,
    hot_pixels: bool = False,
    sum_frames: bool = False,
    virtual: bool = False,
    leave_out: bool = False,
    overwrite: bool = False,
    frames: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    skip_rejected: bool = False,
    options: ReadOptions | None = None,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_error: Callable[[FormatError], None] | None = None,
    on_unfit: Callable[[UnfitFile], None] | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    on_hot: Callable[[HotPixels], None] | None = None,
) -> list[Path]:
    """Correct every frame of every file, by Eq. (2) of Afanasyev et al. 2015.

    MRC files become MRC files with their header, TIFF, HDF5 and Zarr files the same again, others TIFF files,
    unless `format` says otherwise. Each is written atomically, under its own name in `out_dir` (files found
    in a directory, under their path in it). Only selected frames are written; a file with none of these is
    passed over. The bits of a file do not depend on the number of threads.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file.
    sensor : Sensor or path-like
        The measured set.
    out_dir : path-like
        Directory to write to; made if it is not there.
    dtype : dtype-like
        Pixel type of the results: float32, float16, int16, uint16, int8, uint8. Integers are rounded half to
        even. Pixels beyond the range of the type saturate, and a warning counts them. MRC holds uint8 as
        uint16 (mode 6), since its mode 0 is signed.
    scale : {"auto"}, optional
        Of int16: the target mean becomes 0, and 40 target sigmas to either side fit. The scale and
        offset are recorded as ``camnorm_scale`` and ``camnorm_offset`` in the labels of an MRC file, the
        description of a TIFF file, or the attribute ``label``: value = (pixel - offset) / scale.
    format : {"same", "mrc", "tiff", "hdf5", "zarr"}
        Format of the results. Conversion between MRC and TIFF reverses the order of rows, since programs
        draw row 0 at the bottom of MRC images and at the top of TIFF images; a warning says so.
    compression : {"none", "lzw", "deflate", "zstd"}
        Of the frames, each for itself and as fast as can be: all for TIFF, "deflate" for HDF5, "deflate" and
        "zstd" for Zarr.
    target_mean, target_sigma : float or sequence of float, optional
        I0 and s0, by default those of the set; 0 and 1 give Eq. (1). Of colour frames one for all planes, or
        one for each.
    bad_policy : {"auto", "neutral", "interpolate", "nan"}
        What bad pixels become: those of `pixels`, those that never change, and defects of mode "best"; see
        `Correction`. "auto" is "interpolate" with mode "best", else "neutral".
    mode, keep_illumination, shrink, camera
        Other corrections, for sets that do not meet the assumptions of this one: see `Sensor.correction`.
        What is set is noted in the files, behind ``camnorm_correction``. Without `shrink`, a warning says if
        the set is so small that the correction would add more noise than it removes.
    pixels : PixelMap or path-like, optional
        Bad pixels, as of `classify_pixels`, or a file of them. Targets are those of the other pixels.
    hot_pixels : bool
        Find the pixels that are hot in each file, and treat them as bad in it, by `bad_policy`. A pixel is
        hot if the sum of the file's frames exceeds what the sensor expects there, and so does not that of
        its neighbours. In a file without hot pixels, the chance of any is 1 %. Each file is read twice.
        How many were found is noted in the result, behind ``camnorm_hot_pixels``.
    sum_frames : bool
        Write the sum of each file's corrected frames instead of them, as float32. It is formed in float64
        and rounded once.
    virtual : bool
        Write no pixels, but for each file a small manifest, ``.camnorm.json``, that `open_frames` and all
        commands read as the corrected frames, to the bit; and one file of the correction that all of them
        name. A file that has changed since is refused.
    leave_out : bool
        Correct each file by the statistics without its own frames, which are subtracted exactly; also the
        targets are those without it. Limits of the screening stay those of the sensor. Files that are not in
        the sensor are corrected by all of it. A file that has changed since is refused. Each file is read
        twice.
    overwrite : bool
        Replace files that are there.
    frames, every, max_frames
        Which of the frames are corrected, as for `measure`.
    skip_rejected : bool
        Leave out the frames that were rejected when the sensor was measured; files without other frames are
        not written.
    options : ReadOptions, optional
        How the files are read. What is not given is as for the sensor's; what contradicts it is refused.
    strict : bool
        Stop at the first file with a frame that cannot be read, instead of going on with the next.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called now and then with an object that has ``stage`` (what is being done), ``done`` of ``total``
        files or frames, and ``frames``, ``bytes`` and ``rejected`` so far.
    on_error : callable, optional
        Called with the error of each file that was left out; by default it becomes a warning.
    on_unfit : callable, optional
        Called with an ``UnfitFile`` for each file with frames that the sensor rejected, or whose mean or
        standard deviation lies outside the limits by which its frames were screened. A warning counts all
        of these that are corrected.
    on_estimate : callable, optional
        Called with what mode "best" has found: its ``camera``, the number of ``defects``, and
        ``only_defects``, the reason why no more is corrected, which is a warning by default.
    on_hot : callable, optional
        With `hot_pixels`, called for each file with its ``path``, the number of ``frames``, and the
        ``places`` of its hot pixels: (x, y) of each, or (x, y, plane).

    Returns
    -------
    list of Path
        The files written, in the order of the inputs.

    Raises
    ------
    Error
        If a target exists already or is an input, or two inputs would be written to one (nothing is
        written then), or if not a single file could be corrected, or none has a selected frame.
    ValueError
        If `dtype` cannot be written, or a target, `scale`, `bad_policy` or `sum_frames` does not suit it; if
        files of the format are not compressed that way, or cannot hold colour frames; if there is no such
        correction.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import camnorm
    >>> sensor = camnorm.Sensor.load("sensor.h5")
    >>> written = camnorm.correct("movies", sensor, "corrected")
    >>> len(written), written[0].name
    (16, 'movie_00.mrc')
    >>> with camnorm.open_frames(written[0]) as source:
    ...     source.shape, source.dtype.name, source.count
    ((64, 64), 'float32', 4)
    """
    policy = settled_policy(bad_policy, mode)
    output = Output(np.dtype(dtype), scale, policy, format, compression, sum_frames, virtual, overwrite)
    _check_virtual(virtual, leave_out=leave_out, hot_pixels=hot_pixels)
    adjustments = Adjustments(mode, keep_illumination, shrink, camera)
    selection = Selection(frames, every, max_frames)
    workers = usable_threads(threads)
    measured = as_sensor(sensor, load=True)
    adjustments = settled(adjustments, measured)
    of_sensor = measured.options
    files, catalogue, options = _find(inputs, options, measured, workers)
    fit = Fit(measured)
    chosen = choose_frames(catalogue, selection, progress)
    chosen, skipped = without_rejected(fit, catalogue, chosen) if skip_rejected else (chosen, {})
    protected = _protected(options.gain, options.defects, sensor, pixels)
    images_of = partial(
        correction_images,
        adjustments=adjustments,
        target_mean=target_mean,
        target_sigma=target_sigma,
        on_estimate=_once(on_estimate or _warn_of_only_defects),
        bad=bad_pixels_of(pixels, measured.shape, measured.row_order),
    )
    finish = partial(_finish, adjustments=adjustments, output=output)
    table, shape, harm = measured.frames, measured.shape, fault_of(measured, adjustments, leave_out)
    sums = _expected(measured, hot_pixels)
    if not leave_out:
        images, count = images_of(measured), measured.count
        del measured  # the moments, if they were loaded here, take as much memory as all that follows
        correction, label = finish(images, count)
        del images
    folder = output_folder(out_dir)
    jobs = schedule(files, catalogue, folder, chosen, output, protected)
    warn_of_gain(of_sensor, options)
    warn_of_harm(harm)
    saved = _save(folder, correction) if virtual else None

    def make(some: Sequence[Job], correction: Correction, label: str) -> Corrector:
        return Corrector(
            some, chosen, options, correction, fit, label, output, saved, protected, workers, sums
        )

    corrector: Corrector | LeaveOneOut
    unfit: list[UnfitFile] = []
    if leave_out:

        def form(left: Sensor) -> tuple[Correction, str]:
            nonlocal sums
            sums = _expected(left, hot_pixels)
            return finish(images_of(left), left.count)

        corrector = LeaveOneOut(measured, jobs, form, make, workers)
    else:
        warn_of_own_share(table, shape, jobs)
        corrector = make(jobs, correction, label)
    written = _put_in_place(corrector, jobs, unfit, strict, progress, on_error, on_hot)
    if isinstance(corrector, Corrector):
        corrector.remarks.warn()
    _report(unfit, skipped, on_unfit, fit)
    _warn_of_clipped(corrector.clipped + (0 if leave_out else correction.clipped), corrector.pixels, output)
    return written


def _protected(*used: object) -> Protected:
    """The files among what a correction is made of."""
    return Protected(one for one in used if isinstance(one, (str, os.PathLike)))


def _check_virtual(virtual: bool, **others: bool) -> None:
    for name, given in others.items():
        if given and virtual:
            raise ValueError(_NOT_VIRTUAL.format(name))


def _expected(sensor: Sensor, wanted: bool) -> Expectation | None:
    return Expectation(sensor) if wanted else None


def _save(folder: Path, correction: Correction) -> Path:
    from camnorm.application.manifests import save_correction  # which loads h5py

    return save_correction(folder, correction)


def _once(report: Callable[[Estimate], None]) -> Callable[[Estimate], None]:
    """Report the first estimate: with `leave_out` there is one for each file."""
    reported: list[Estimate] = []

    def report_first(estimate: Estimate) -> None:
        if not reported:
            reported.append(estimate)
            report(estimate)

    return report_first


def _warn_of_only_defects(estimate: Estimate) -> None:
    if estimate.only_defects is not None:
        warnings.warn(f"only defects are corrected: {estimate.only_defects}", stacklevel=2)


def _find(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    given: ReadOptions | None,
    sensor: Sensor,
    threads: int,
) -> tuple[list[InputFile], Catalogue, ReadOptions]:
    """The files, and how they are read."""
    options = sensor.read_options(given)
    check_references(options, sensor.shape)
    files = expand_inputs(inputs, options)
    catalogue, options = settled_catalogue([file.path for file in files], options, threads)
    check_use(given, files, catalogue)
    return files, catalogue, options


def _warn_of_clipped(clipped: int, pixels: int, output: Output) -> None:
    if clipped:
        advice = "choose target mean and target sigma to suit it"
        advice = advice if output.scale is None else "float32 holds all"
        warnings.warn(
            f"{clipped} pixels ({clipped / pixels:.2%}) lay outside {output.dtype} and were saturated: "
            f"{advice}",
            stacklevel=3,
        )


def _report(
    unfit: Sequence[UnfitFile],
    skipped: Mapping[Path, UnfitFile],
    on_unfit: Callable[[UnfitFile], None] | None,
    fit: Fit,
) -> None:
    """Report each file of which something is unfit, or was skipped, once."""
    if (message := warning_of(unfit, fit.words)) is not None:
        warnings.warn(message, stacklevel=3)
    if on_unfit is None:
        return
    left = dict(skipped)
    for file in unfit:
        known = left.pop(file.path, file)
        on_unfit(file._replace(skipped=known.skipped))
    for file in left.values():
        on_unfit(file)


def _finish(
    images: CorrectionImages, count: int, adjustments: Adjustments, output: Output
) -> tuple[Correction, str]:
    """The correction to the targets, or for scaled integers; and what is noted in the files."""
    label = f"camnorm {_core.version}: a posteriori corrected, {count} frames"
    if adjustments:
        label += f"\ncamnorm_correction: {adjustments}"
    correction = images.correction(output.bad_policy)
    if output.scale is None:
        return correction, label
    del correction  # which was fine; there is only one of them in memory at a time
    # Colour planes have one scale and one offset.
    scale = float(np.iinfo(np.int16).max / (_SIGMAS * np.max(images.target_sigma)))
    offset = -float(np.mean(images.target_mean)) * scale
    # Other targets, so that pixels are rounded only once.
    scaled = images._replace(
        target_mean=images.target_mean * scale + offset, target_sigma=scale * images.target_sigma
    )
    label += f"\ncamnorm_scale={scale!r} camnorm_offset={offset!r}"
    return scaled.correction(output.bad_policy), label


def _put_in_place(
    corrector: Corrector | LeaveOneOut,
    jobs: Sequence[Job],
    unfit: list[UnfitFile],
    strict: bool,
    progress: Callable[[Progress], None] | None,
    on_error: Callable[[FormatError], None] | None,
    on_hot: Callable[[HotPixels], None] | None,
) -> list[Path]:
    """Put the results in their places as they come, in order; the paths of all, and those that are unfit."""
    written: list[Path] = []
    errors: list[FormatError] = []
    frames = pixels = 0
    try:
        with closing(corrector.results()) as results:
            for number, result in enumerate(results):
                if isinstance(result, CorrectedFile):
                    result.writer.commit()
                    written.append(jobs[number].target)
                    frames += result.frames
                    pixels += result.bytes
                    if result.unfit is not None:
                        unfit.append(result.unfit)
                    if on_hot is not None and result.hot is not None:
                        on_hot(result.hot)
                elif strict:
                    raise result
                else:
                    errors.append(result)
                    if on_error is not None:
                        on_error(result)
                    else:
                        warnings.warn(f"not corrected: {result}", stacklevel=3)
                if progress is not None:
                    progress(Progress("correcting", number + 1, len(jobs), frames, pixels, len(errors)))
    finally:
        for folder in {path.parent for path in written}:
            sync_directory(folder)
    if not written:
        raise Error(f"no file could be corrected; the first: {errors[0]}")
    return written
