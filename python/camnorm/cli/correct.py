"""``camnorm correct``: corrected copies of image files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

import camnorm
from camnorm.cli.estimates import correction_numbers, estimate_facts
from camnorm.cli.helptext import described
from camnorm.cli.options import (
    AsJson,
    CameraKind,
    CorrectionMode,
    Dataset,
    Debug,
    Defects,
    EerGrouping,
    EerSampling,
    Every,
    FollowLinks,
    Frames,
    FramesDir,
    Gain,
    GainFlip,
    GainRotate,
    GainUse,
    Inputs,
    Int16Pixels,
    KeepIllumination,
    MaxFrames,
    MrcMode0,
    Pixels,
    Quiet,
    Raw,
    Shrink,
    SkipRejected,
    Threads,
    Tiff4Bit,
    adjustments_of,
    read_options_of,
    selection_of,
    targets_of,
)
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import print_facts, print_json, print_rejected, time_taken
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.judgement import judge

if TYPE_CHECKING:
    from camnorm import FormatError
    from camnorm.application.fit import UnfitFile
    from camnorm.application.hotpixels import HotPixels
    from camnorm.sensor.estimate import Estimate

__all__ = ["correct"]

# The words that `camnorm.correct` takes.
BadPolicy: TypeAlias = Literal["auto", "neutral", "interpolate", "nan"]
Compression: TypeAlias = Literal["none", "lzw", "deflate", "zstd"]
Dtype: TypeAlias = Literal["float32", "float16", "int16", "uint16", "int8", "uint8"]
Format: TypeAlias = Literal["same", "mrc", "tiff", "hdf5", "zarr"]


@described(
    VERBS["correct"],
    "camnorm correct movies/ -m sensor.h5 -o corrected",
    "camnorm correct movies/ -m sensor.h5 -o out --format tiff --compression zstd",
    "camnorm correct '*.mrc' -m sensor.h5 -o out --target-mean 0 --target-sigma 1",
    "camnorm correct images/ -m sensor.h5 -o out --dtype uint16 --overwrite",
    details="MRC (with its header), TIFF, HDF5 and Zarr files keep their format; all others become TIFF. "
    "Files are read with the options of the measurement unless you give others.",
)
def correct(
    inputs: Inputs,
    sensor: Annotated[
        Path, typer.Option("--sensor", "-m", metavar="FILE", show_default=False, help="Sensor file.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            show_default=False,
            file_okay=False,
            help="Directory to write to.",
        ),
    ],
    frames: Frames = None,
    every: Every = 1,
    max_frames: MaxFrames = None,
    skip_rejected: SkipRejected = False,
    mrc_mode0: MrcMode0 = None,
    tiff_4bit: Tiff4Bit = None,
    eer_grouping: EerGrouping = None,
    eer_sampling: EerSampling = None,
    dataset: Dataset = None,
    raw: Raw = None,
    gain: Gain = None,
    gain_rotate: GainRotate = None,
    gain_flip: GainFlip = None,
    gain_operation: GainUse = None,
    defects: Defects = None,
    follow_links: FollowLinks = False,
    frames_dir: FramesDir = None,
    int16: Int16Pixels = None,
    mode: CorrectionMode = "both",
    keep_illumination: KeepIllumination = None,
    shrink: Shrink = False,
    camera: CameraKind = "auto",
    dtype: Annotated[
        Dtype,
        typer.Option(metavar="TYPE", help="Pixels written: float32, float16, int16, uint16, int8, uint8."),
    ] = "float32",
    scale: Annotated[
        bool,
        typer.Option("--scale", help="Scale int16 pixels so that target mean ± 40 target sigmas fits."),
    ] = False,
    format: Annotated[
        Format,
        typer.Option(
            metavar="NAME",
            help="Files written: same (as the input, or TIFF if that cannot be written), mrc, tiff, hdf5 or "
            "zarr.",
        ),
    ] = "same",
    compression: Annotated[
        Compression,
        typer.Option(metavar="NAME", help="none or deflate; also lzw and zstd for TIFF, zstd for Zarr."),
    ] = "none",
    target_mean: Annotated[
        str | None,
        typer.Option(
            metavar="I0[,I0...]",
            show_default=False,
            help="Target mean of every pixel, one for all or for each colour plane. Default: the sensor's.",
        ),
    ] = None,
    target_sigma: Annotated[
        str | None,
        typer.Option(
            metavar="S0[,S0...]",
            show_default=False,
            help="Target sigma of every pixel, in the same form. Default: the sensor's.",
        ),
    ] = None,
    bad_policy: Annotated[
        BadPolicy,
        typer.Option(
            metavar="POLICY",
            help="What bad pixels become: neutral (the target mean), interpolate (from their neighbours), "
            "nan, or auto (interpolate with --mode best, else neutral).",
        ),
    ] = "auto",
    pixels: Pixels = None,
    hot_pixels: Annotated[
        bool,
        typer.Option(
            "--hot-pixels", help="Find pixels that are hot in a file, and treat them as bad in that file."
        ),
    ] = False,
    sum_frames: Annotated[
        bool, typer.Option("--sum", help="Write the sum of each file's corrected frames instead of them.")
    ] = False,
    virtual: Annotated[
        bool,
        typer.Option(
            "--virtual", help="Write small files, NAME.camnorm.json, that are read as the corrected frames."
        ),
    ] = False,
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out", help="Correct each file with statistics that exclude its own frames."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unusable file.")] = False,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    selection = selection_of(frames, every, max_frames)
    gain_use = gain, gain_rotate, gain_flip, gain_operation
    places = follow_links, frames_dir
    options = read_options_of(
        mrc_mode0, tiff_4bit, eer_grouping, eer_sampling, dataset, raw, gain_use, defects, places, int16
    )
    adjustments = adjustments_of(mode, keep_illumination, shrink, camera)
    targets = targets_of(target_mean, target_sigma)
    with session(debug) as signals:
        start = time.monotonic()
        failed: list[FormatError] = []
        unfit: list[UnfitFile] = []
        hot: list[HotPixels] = []
        estimates: list[Estimate] = []
        with ProgressBar(quiet, signals) as bar:
            written = camnorm.correct(
                inputs,
                sensor,
                output,
                dtype=dtype,
                scale="auto" if scale else None,
                format=format,
                compression=compression,
                **targets,
                bad_policy=bad_policy,
                pixels=pixels,
                **asdict(adjustments),
                hot_pixels=hot_pixels,
                sum_frames=sum_frames,
                virtual=virtual,
                leave_out=leave_out,
                overwrite=overwrite,
                **asdict(selection),
                skip_rejected=skip_rejected,
                options=options,
                strict=strict,
                threads=threads,
                progress=bar,
                on_error=failed.append,
                on_unfit=unfit.append,
                on_hot=hot.append,
                on_estimate=estimates.append,
            )
        seconds = time.monotonic() - start
        rejected = [{"file": error.path, "index": error.frame, "reason": error.reason} for error in failed]
        if as_json:
            made = {"correction": correction_numbers(adjustments, estimates), **_hot_numbers(hot, hot_pixels)}
            run = {"dtype": dtype, "seconds": seconds, "bytes": bar.bytes, "output": output}
            print_json({**_numbers(sensor, written, rejected, unfit), **made, **run})
        else:
            facts = [*estimate_facts(adjustments, estimates), *_hot_facts(hot, hot_pixels)]
            facts += [*_skipped(unfit, skip_rejected), time_taken(seconds, bar.rate), ("written to", output)]
            print_facts([*_counts(written, rejected), *facts])
            print_rejected(rejected)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _counts(written: Sequence[Path], rejected: Sequence[object]) -> list[tuple[str, object]]:
    return [("corrected", _files(len(written))), ("rejected", _files(len(rejected)))]


def _skipped(unfit: Sequence[UnfitFile], wanted: bool) -> list[tuple[str, object]]:
    files = [file for file in unfit if file.skipped]
    frames = sum(file.skipped for file in files)
    words = f"{frames} {'frame' if frames == 1 else 'frames'} of {_files(len(files))}"
    return [("skipped", words)] if wanted else []


def _hot_facts(hot: Sequence[HotPixels], wanted: bool) -> list[tuple[str, object]]:
    number = sum(len(file.places) for file in hot)
    files = sum(bool(file.places) for file in hot)
    words = f"{number:,} in {files:,} of {_files(len(hot))}" if number else "none"
    return [("hot pixels", words)] if wanted else []


def _hot_numbers(hot: Sequence[HotPixels], wanted: bool) -> dict[str, object]:
    """Pixels that were hot in a file, for JSON."""
    return {
        "hot_pixels": sum(len(file.places) for file in hot) if wanted else None,
        "hot": [file._asdict() for file in hot if file.places],
    }


def _numbers(
    sensor: Path, written: Sequence[Path], rejected: Sequence[object], unfit: Sequence[UnfitFile]
) -> dict[str, object]:
    """Files, frames unlike those that the sensor was measured from, and whether these suffice, for JSON."""
    measured = camnorm.Sensor.load(sensor)
    convergence = camnorm.frames_needed(measured)
    return {
        **judge(convergence, camnorm.check(measured, convergence)).to_dict(),
        "files": len(written) + len(rejected),
        "written": written,
        "rejected": rejected,
        "outside_limits": sum(file.outside for file in unfit),
        "rejected_by_sensor": sum(file.rejected for file in unfit),
        "skipped": sum(file.skipped for file in unfit),
        "convergence": convergence.to_dict(),
        "unfit": [{**file._asdict(), "mean": file.mean if file.outside else None} for file in unfit],
    }
