"""Options of several verbs, and the objects that are made of them.

A verb names the options as parameters, annotated with the types below, and passes their values to
`selection_of`, `read_options_of` or `adjustments_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from camnorm.correction.adjustments import Adjustments, CameraChoice, Mode
from camnorm.io import ReadOptions, Selection
from camnorm.io.base.options import FourBit, GainOperation, Int16, Mode0

__all__ = [
    "AsJson",
    "CameraKind",
    "CorrectionMode",
    "Dataset",
    "Debug",
    "Defects",
    "EerGrouping",
    "EerSampling",
    "Every",
    "FollowLinks",
    "Frames",
    "FramesDir",
    "Gain",
    "GainFlip",
    "GainRotate",
    "GainUse",
    "Inputs",
    "Int16Pixels",
    "KeepIllumination",
    "MaxFrames",
    "MrcMode0",
    "Pixels",
    "Quiet",
    "Raw",
    "SensorArgument",
    "SensorOutput",
    "Shrink",
    "Threads",
    "Tiff4Bit",
    "Window",
    "adjustments_of",
    "read_options_of",
    "selection_of",
    "targets_of",
    "window_of",
]

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        show_default=False,
        help="Image files, directories, glob patterns, @list.txt, a STAR file of movies, or an mdoc file.",
    ),
]
SensorArgument = Annotated[
    Path, typer.Argument(metavar="SENSOR", show_default=False, help="Sensor file of `camnorm measure`.")
]
SensorOutput = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Sensor file to write."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", show_default=False, help="Number of threads; by default all cores."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]

# Window of ring correlations

WindowName: TypeAlias = Literal["none", "hann", "tukey"]

Window = Annotated[
    WindowName, typer.Option(metavar="NAME", help="Window that suppresses edge effects: none, hann or tukey.")
]


def window_of(name: WindowName) -> str | None:
    """The window as the library names it."""
    return None if name == "none" else name


# Which frames are taken

Frames = Annotated[
    str | None,
    typer.Option(
        metavar="START:STOP",
        show_default=False,
        rich_help_panel="Frames",
        help="Take only these frames of every file, as Python slices do: 3:20, 1:, :-2, ::4.",
    ),
]
Every = Annotated[
    int,
    typer.Option(
        metavar="N",
        show_default=False,
        rich_help_panel="Frames",
        help="Take every Nth of these, counted through all files: of single images every Nth file.",
    ),
]
SkipRejected = Annotated[
    bool,
    typer.Option(
        "--skip-rejected",
        rich_help_panel="Frames",
        help="Leave out the frames that were rejected when the sensor was measured.",
    ),
]
MaxFrames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        show_default=False,
        rich_help_panel="Frames",
        help="Take at most N of these, at random (but always the same), spread over the files.",
    ),
]


def selection_of(frames: str | None, every: int, max_frames: int | None) -> Selection:
    """Which frames are taken."""
    with _wrong_use():
        return Selection(frames, every, max_frames)


# How files are read

MrcMode0 = Annotated[
    Mode0 | None,
    typer.Option(
        metavar="NAME",
        show_default=False,
        rich_help_panel="Reading",
        help="Bytes of MRC mode 0: auto (signed, if not marked otherwise), signed, unsigned, or imod "
        "(signed, counts less 128).",
    ),
]
Int16Pixels = Annotated[
    Int16 | None,
    typer.Option(
        "--int16",
        metavar="NAME",
        show_default=False,
        rich_help_panel="Reading",
        help="How to read integers that files declare as int16: signed, or unsigned (counts of 0 to 65535).",
    ),
]
Tiff4Bit = Annotated[
    FourBit | None,
    typer.Option(
        "--tiff-4bit",
        metavar="NAME",
        show_default=False,
        rich_help_panel="Reading",
        help="Whether bytes of TIFF files hold two pixels: auto (by their size, as RELION), yes or no.",
    ),
]
EerGrouping = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        show_default=False,
        rich_help_panel="Reading",
        help="Raw EER frames summed into one frame.",
    ),
]
EerSampling = Annotated[
    int | None,
    typer.Option(
        metavar="1|2|4",
        show_default=False,
        rich_help_panel="Reading",
        help="Subpixels of EER frames along each side of a physical pixel.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        show_default=False,
        rich_help_panel="Reading",
        help="Path of the images within HDF5, NeXus and Zarr files.",
    ),
]
Raw = Annotated[
    str | None,
    typer.Option(
        metavar="SHAPE:DTYPE:OFFSET",
        show_default=False,
        rich_help_panel="Reading",
        help="Files hold bare pixels: 4096x4096:uint16, or 512x512:>u2:1024 after 1024 bytes of header.",
    ),
]
Gain = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel="Reading",
        help="Gain reference to apply to the frames.",
    ),
]
GainRotate = Annotated[
    str | None,
    typer.Option(
        metavar="0|1|2|3|auto",
        show_default=False,
        rich_help_panel="Reading",
        help="Quarter turns of the gain, as --gain_rot of RELION and -RotGain of MotionCor; auto: found from "
        "the frames, with flip and operation (measure only).",
    ),
]
GainFlip = Annotated[
    str | None,
    typer.Option(
        metavar="0|1|2|auto",
        show_default=False,
        rich_help_panel="Reading",
        help="Flip the rotated gain upside down (1) or left to right (2), as RELION and MotionCor do; "
        "or auto.",
    ),
]
GainUse = Annotated[
    GainOperation | None,
    typer.Option(
        "--gain-operation",
        metavar="NAME",
        show_default=False,
        rich_help_panel="Reading",
        help="Whether frames are multiplied or divided by the gain: multiply, divide, or auto (divide EER "
        "frames by files that are not .gain, as RELION does).",
    ),
]
Defects = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel="Reading",
        help="Defect map, as text or image; defects are filled from their neighbours.",
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links",
        rich_help_panel="Reading",
        help="Let HDF5 and Zarr files read pixels from files outside their folder.",
    ),
]
FramesDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        show_default=False,
        rich_help_panel="Reading",
        help="Folder of the files that STAR and mdoc files name.",
    ),
]


def read_options_of(
    mrc_mode0: Mode0 | None,
    tiff_4bit: FourBit | None,
    eer_grouping: int | None,
    eer_sampling: int | None,
    dataset: str | None,
    raw: str | None,
    gain_use: tuple[Path | None, str | None, str | None, GainOperation | None],
    defects: Path | None,
    places: tuple[bool, Path | None],
    int16: Int16 | None,
) -> ReadOptions | None:
    """How files are read; None if no option was given.

    A gain comes with how it is used, `places` are the values of --follow-links and --frames-dir.
    """
    follow_links, frames_dir = places
    gain, gain_rotate, gain_flip, gain_operation = gain_use
    options = {
        "mrc_mode0": mrc_mode0,
        "tiff_4bit": tiff_4bit,
        "eer_grouping": eer_grouping,
        "eer_sampling": eer_sampling,
        "dataset": dataset,
        "raw": raw,
        "gain": gain,
        "gain_rotate": _turns(gain_rotate),
        "gain_flip": _turns(gain_flip),
        "gain_operation": gain_operation,
        "defects": defects,
        "follow_links": follow_links or None,
        "frames_dir": frames_dir,
        "int16": int16,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with _wrong_use():
        return ReadOptions.from_dict(given) if given else None


def _turns(text: str | None) -> int | str | None:
    """A number, if it is one."""
    return int(text) if text is not None and text.isdecimal() else text


# Which correction is made

CorrectionMode = Annotated[
    Mode,
    typer.Option(
        metavar="NAME",
        rich_help_panel="Correction",
        help="What is corrected: both (mean and sigma of every pixel), mean (subtracted), gain (a "
        "factor, as of gain references), response (see `measure --response`), or best (defects, and the "
        "pattern as far as it is reliable).",
    ),
]
CameraKind = Annotated[
    CameraChoice,
    typer.Option(
        "--camera",
        metavar="KIND",
        rich_help_panel="Correction",
        help="Kind of camera, for --mode best: counting, integrating, or auto (from the images).",
    ),
]
KeepIllumination = Annotated[
    str | None,
    typer.Option(
        metavar="auto|PIXELS",
        show_default=False,
        rich_help_panel="Correction",
        help="Keep illumination, which varies over more than this many pixels; without a value, or with "
        "auto, over half the shorter side of a frame.",
    ),
]
Pixels = Annotated[
    Path | None,
    typer.Option(
        "--pixels",
        metavar="FILE",
        show_default=False,
        rich_help_panel="Correction",
        help="Map of bad pixels, from `camnorm health -o`; a mask image or a list of defects will do too.",
    ),
]
Shrink = Annotated[
    bool,
    typer.Option(
        "--shrink",
        rich_help_panel="Correction",
        help="For few frames: reduce the noise of the mean and the sigma image.",
    ),
]


def adjustments_of(
    mode: Mode, keep_illumination: str | None, shrink: bool, camera: CameraChoice
) -> Adjustments:
    """Which correction is made."""
    scale: float | bool | None = None
    if keep_illumination is not None:
        try:
            scale = True if keep_illumination == "auto" else float(keep_illumination)
        except ValueError:
            raise typer.BadParameter(
                f"{keep_illumination!r} is not auto or a number.", param_hint="--keep-illumination"
            ) from None
    with _wrong_use():
        return Adjustments(mode, scale, shrink, camera)


def targets_of(mean: str | None, sigma: str | None) -> dict[str, Any]:
    """Both targets, as the library names them."""
    return {
        "target_mean": _target(mean, "--target-mean"),
        "target_sigma": _target(sigma, "--target-sigma"),
    }


def _target(text: str | None, option: str) -> float | list[float] | None:
    """A target, or those of all colour planes."""
    if text is None:
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a number, or one for each colour plane, as in 200,140,170.", param_hint=option
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


@contextmanager
def _wrong_use() -> Iterator[None]:
    """Report a value that the library refuses as wrong use."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
