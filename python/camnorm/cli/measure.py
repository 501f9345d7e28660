"""``camnorm measure``: a sensor file, or one for each group, from images."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.judgements import print_flagged
from camnorm.cli.nextsteps import inputs_of, verdict_facts
from camnorm.cli.options import (
    AsJson,
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
    Int16Pixels,
    MaxFrames,
    MrcMode0,
    Quiet,
    Raw,
    SensorOutput,
    Threads,
    Tiff4Bit,
    read_options_of,
    selection_of,
)
from camnorm.cli.pixelfacts import bad_pixel_facts, bad_pixels
from camnorm.cli.progress import PoliteInterrupt, ProgressBar
from camnorm.cli.results import print_facts, print_json, print_rejected, time_taken
from camnorm.cli.sensorfacts import sensor_facts
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.judgement import judge
from camnorm.io import Protected, Selection
from camnorm.sensor.framelist import check_frame_list_target, write_frame_list
from camnorm.sensor.summary import sensor_summary

if TYPE_CHECKING:
    from camnorm import Finding, Sensor
    from camnorm.diagnosis.judgement import Judgement

__all__ = ["measure"]


@described(
    VERBS["measure"],
    "camnorm measure movies/ -o sensor.h5",
    "camnorm measure 'run1/*.tif' @more.txt -o sensor.h5 --screen 4",
    "camnorm measure movies.star -o sensor.h5 --json > summary.json",
    "camnorm measure Images-Disc1/ -o sensor.h5 --frames 3: --max-frames 10000",
    "camnorm measure movies/ -o sensor.h5 --mean 900:1200 --frames-csv frames.csv",
    "camnorm measure --frames-list frames.csv -o sensor.h5",
    "camnorm measure mixed/ -o sensor.h5 --split",
    details="Prints a verdict on the data set, and what to do next. Frames that cannot be used are left "
    "out and listed. An interrupted run continues from its checkpoint when you give the same command again.",
)
def measure(
    output: SensorOutput,
    frames: Frames = None,
    every: Every = 1,
    max_frames: MaxFrames = None,
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
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Image files, directories, glob patterns, @list.txt, a STAR file of movies, or an mdoc "
            "file; not needed with --frames-list.",
        ),
    ] = None,
    screen: Annotated[
        str,
        typer.Option(
            metavar="auto|off|K",
            rich_help_panel="Screening",
            help="Reject frames whose mean or standard deviation lies more than K MADs from the median, and "
            "blank, saturated and repeated ones; auto is 6.",
        ),
    ] = "auto",
    response: Annotated[
        bool,
        typer.Option(
            "--response",
            help="Also measure each pixel's response to the exposure, for `correct --mode response`.",
        ),
    ] = False,
    neighbours: Annotated[
        bool,
        typer.Option(
            "--neighbours",
            help="Also compare each pixel with its neighbours, for finding pixels that were made from them.",
        ),
    ] = False,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            show_default=False,
            rich_help_panel="Screening",
            help="Reject frames whose mean is outside this range. Either limit may be left out.",
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            show_default=False,
            rich_help_panel="Screening",
            help="Reject frames whose standard deviation is outside this range.",
        ),
    ] = None,
    frames_csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel="Screening",
            help="Write the table of frames as CSV, to be edited.",
        ),
    ] = None,
    frames_list: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel="Screening",
            help="Measure only the frames that such a table marks as accepted; --screen auto is off then.",
        ),
    ] = None,
    split: Annotated[
        bool,
        typer.Option(
            "--split",
            rich_help_panel="Screening",
            help="Measure each group of one shape, pixel type, camera and exposure on its own, into "
            "FILE_1, FILE_2 and so on.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a sensor file or frame table that holds another measurement."
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unusable frame.")] = False,
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
    with session(debug) as signals:
        settings: dict[str, Any] = {
            "screen": _screening_k(screen),
            "mean_limits": _range(mean, "--mean"),
            "std_limits": _range(std, "--std"),
            "response": response,
            "neighbours": neighbours,
            "options": options,
            "overwrite": overwrite,
            "strict": strict,
            "threads": threads,
        }
        _check_use(inputs, output, selection, frames_csv, frames_list, split)
        if frames_csv is not None:
            Protected(path for path in (frames_list,) if path is not None).check(frames_csv)
            check_frame_list_target(frames_csv, None if overwrite else output)
        try:
            with ProgressBar(quiet, signals) as bar, PoliteInterrupt(bar) as report:
                settings["progress"] = report
                if split:
                    sensors = _measured_groups(inputs or [], output, settings)
                else:
                    settings |= {**asdict(selection), "frames_list": frames_list}
                    sensors = _measured(inputs or None, output, settings)
                results = list(_results(sensors, ["INPUT..."] if split else inputs, frames_csv, bar))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from the last checkpoint") from None
        if as_json:
            groups = [result.to_dict() for result in results]
            print_json({"groups": groups} if split else groups[0])
        else:
            for result in results:
                _print_result(result, "" if split else bar.rate)
                if split:
                    print()


@dataclass(frozen=True)
class _Result:
    """What was measured, without its images: there may be many groups."""

    summary: dict[str, Any]
    findings: Sequence[Finding]
    judgement: Judgement
    inputs: str
    seconds: float
    bytes: int
    output: Path

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.summary,
            **self.judgement.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "seconds": self.seconds,
            "bytes": self.bytes,
            "output": self.output,
        }


def _measured(
    inputs: Sequence[str] | None, output: Path, settings: dict[str, Any]
) -> Iterator[tuple[Sensor, Path]]:
    """The sensor of all frames and its file."""
    yield camnorm.measure(inputs, output, **settings), output


def _measured_groups(
    inputs: Sequence[str], output: Path, settings: dict[str, Any]
) -> Iterator[tuple[Sensor, Path]]:
    """The sensor of each group and its file."""
    for number, sensor in enumerate(camnorm.measure_groups(inputs, output, **settings), start=1):
        yield sensor, output.with_name(f"{output.stem}_{number}{output.suffix}")


def _results(
    sensors: Iterable[tuple[Sensor, Path]],
    inputs: Sequence[str] | None,
    frames_csv: Path | None,
    bar: ProgressBar,
) -> Iterator[_Result]:
    """Measure, judge and summarise each sensor."""
    start = time.monotonic()
    for sensor, output in sensors:
        summary = {**sensor_summary(sensor), "bad_pixels": bad_pixels(sensor)}
        convergence = camnorm.frames_needed(sensor)
        findings = camnorm.check(sensor, convergence)
        judgement, images = judge(convergence, findings), inputs_of(sensor, inputs)
        yield _Result(summary, findings, judgement, images, time.monotonic() - start, bar.bytes, output)
        if frames_csv is not None:
            write_frame_list(sensor.frames, frames_csv)
        start = time.monotonic()


def _print_result(result: _Result, rate: str) -> None:
    rejected = result.summary["rejected"]
    skip = any(row["index"] is not None for row in rejected)
    print_facts(verdict_facts(result.judgement, result.output, result.inputs, skip))
    print()
    print_facts(
        [
            *sensor_facts(result.summary),
            *bad_pixel_facts(result.summary),
            time_taken(result.seconds, rate),
            ("written", result.output),
        ]
    )
    print_flagged(result.findings)
    print_rejected(rejected)


def _check_use(
    inputs: Sequence[str] | None,
    output: Path,
    selection: Selection,
    frames_csv: Path | None,
    frames_list: Path | None,
    split: bool,
) -> None:
    """Refuse options that do not go together."""
    all_frames = selection == Selection()
    if not inputs and frames_list is None:
        raise typer.BadParameter("Name images, or a --frames-list.", param_hint="INPUT")
    if frames_csv is not None and frames_csv.absolute() == output.absolute():
        raise typer.BadParameter("is the sensor file.", param_hint="--frames-csv")
    if split and (frames_list is not None or frames_csv is not None or not all_frames):
        raise typer.BadParameter(
            "does not go with --frames-list, --frames-csv, --frames, --every and --max-frames.",
            param_hint="--split",
        )
    if frames_list is not None and not all_frames:
        raise typer.BadParameter(
            "does not go with --frames, --every and --max-frames.", param_hint="--frames-list"
        )


def _screening_k(text: str) -> str | float:
    """Read the value of --screen."""
    if text in ("auto", "off"):
        return text
    try:
        k = float(text)
    except ValueError:
        k = math.nan
    if not 0.0 < k < math.inf:
        raise typer.BadParameter(f"{text!r} is not auto, off or a positive number.", param_hint="--screen")
    return k


def _range(text: str | None, option: str) -> tuple[float | None, float | None] | None:
    """Read LOW:HIGH, either of which may be missing."""
    if text is None:
        return None
    try:
        low, high = (float(end) if end.strip() else None for end in text.split(":"))
    except ValueError:
        low, high = math.nan, None
    ends = [end for end in (low, high) if end is not None]
    if not ends or not all(map(math.isfinite, ends)) or ends != sorted(ends):
        raise typer.BadParameter(f"{text!r} is not LOW:HIGH, LOW: or :HIGH.", param_hint=option)
    return low, high
