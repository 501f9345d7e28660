"""``camnorm verify``: whether corrected frames are independent of each other."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.judgements import (
    p_of_pairs,
    print_convergence,
    print_flagged,
    print_pattern,
)
from camnorm.cli.messages import with_options
from camnorm.cli.nextsteps import images_in_words, verdict_facts
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
    Threads,
    Tiff4Bit,
    Window,
    adjustments_of,
    read_options_of,
    selection_of,
    window_of,
)
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import print_facts, print_json, print_rejected
from camnorm.cli.session import NEGATIVE, session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.judgement import judge
from camnorm.verification.table import verification_table

if TYPE_CHECKING:
    from camnorm import Verification
    from camnorm.verification.verdict import PixelShare

__all__ = ["verify"]

# Test frames of a group that are printed.
_FRAMES_SHOWN = 3


@described(
    VERBS["verify"],
    "camnorm verify movies/ -m sensor.h5",
    "camnorm verify movies/ -m sensor.h5 --same-statistics -o paper-scheme",
    "camnorm verify images/ --json",
    details="Test frames are left out of the statistics. Writes a figure, numbers, and curves. "
    "Files are read with the options of the measurement unless you give others.",
    negative="done, but the corrected frames are not independent",
)
def verify(
    inputs: Inputs,
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
    mode: CorrectionMode = "both",
    keep_illumination: KeepIllumination = None,
    shrink: Shrink = False,
    pixels: Pixels = None,
    camera: CameraKind = "auto",
    sensor: Annotated[
        Path | None,
        typer.Option(
            "--sensor",
            "-m",
            metavar="FILE",
            show_default=False,
            help="Sensor file; without it the inputs are measured first.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", file_okay=False, help="Directory for figure and curves."
        ),
    ] = Path("camnorm-verify"),
    group: Annotated[int, typer.Option(min=1, metavar="N", help="Frames in a group average.")] = 12,
    pairs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pairs of groups; more pairs reveal weaker patterns.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the choice of test frames.")] = 0,
    same_statistics: Annotated[
        bool,
        typer.Option("--same-statistics", help="Use the same statistics for both groups, as in the paper."),
    ] = False,
    window: Window = "hann",
    corners: Annotated[
        bool, typer.Option("--corners", help="Test beyond Nyquist too, where Bayer patterns show.")
    ] = False,
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
    with session(debug) as signals:
        with ProgressBar(quiet, signals) as bar:
            result = camnorm.verify(
                inputs,
                sensor,
                group=group,
                pairs=pairs,
                seed=seed,
                same_statistics=same_statistics,
                window=window_of(window),
                corners=corners,
                **asdict(adjustments),
                pixels=pixels,
                **asdict(selection),
                options=options,
                threads=threads,
                progress=bar,
            )
        written = result.save(output)
        if as_json:
            print_json({**result.to_dict(), **_judged(result), "written": written})
        else:
            print_facts(_verdicts(result, sensor, inputs, output))
            print()
            _print_result(result, same_statistics)
            print_facts([("written to", f"{output}: {', '.join(path.name for path in written)}")])
            print_rejected(result.to_dict()["rejected"])
    if not result.independent:
        raise typer.Exit(NEGATIVE)


def _judged(result: Verification) -> dict[str, object]:
    """The verdict on the set, for JSON."""
    if result.convergence is None:
        return {}
    return judge(result.convergence, result.findings).to_dict()


def _verdicts(
    result: Verification, sensor: Path | None, inputs: Sequence[str], output: Path
) -> Iterator[tuple[str, object]]:
    """Whether the correction worked, what the set is good for, and what to do."""
    if result.independent:
        yield "verdict", "Independent: no common pattern is found in the corrected frames."
    else:
        yield "verdict", "Correlated: a common pattern is left in the corrected frames."
        yield "figure", f"{output / 'verify.png'} shows at which frequencies."
    if result.convergence is None:
        return
    names = images_in_words(inputs)
    judgement = judge(result.convergence, result.findings)
    facts = dict(verdict_facts(judgement, sensor or Path("sensor.h5"), names, name="measurement"))
    if sensor is None:
        facts["next"] = f"camnorm measure {names} -o sensor.h5"
    elif not result.independent and judgement.step == "correct":
        facts["next"] = f"camnorm show {shlex.quote(str(sensor))}"
    yield from facts.items()


def _print_result(result: Verification, same_statistics: bool) -> None:
    print(verification_table(result))
    print_flagged(result.findings, "problems of the measurement")
    if result.convergence is not None:
        print_convergence(result.convergence)
    if result.fixed_pattern is not None:
        print_pattern(result.fixed_pattern)
    print()
    print_facts([*_conditions(result, same_statistics), *_numbers(result)])


def _conditions(result: Verification, same_statistics: bool) -> Iterator[tuple[str, object]]:
    """What was compared, and corrected with what."""
    yield "groups of", f"{len(result.files[0])} frames (file:frame), left out of the statistics"
    if len(result.files) == 2:  # verify.json has more
        yield from ((f"group {number}", _frames(group)) for number, group in enumerate(result.files, start=1))
    a, b = result.statistics
    yield "statistics", f"{a} frames for both" if same_statistics else f"{a} and {b} frames"
    if result.adjustments:
        yield "correction", str(result.adjustments).replace("_", "-")


def _frames(group: Sequence[tuple[str, int]]) -> str:
    names = [f"{Path(file).name}:{index}" for file, index in group[:_FRAMES_SHOWN]]
    more = len(group) - len(names)
    return ", ".join(names) + (f" and {more} more (verify.json lists all)" if more else "")


def _pixels(found: PixelShare) -> str:
    """What bad pixels contribute, and whether concealing them matters."""
    share = found.share
    raw = "" if math.isnan(share) else f", which carry {share:.0%} of the correlation of raw averages"
    kept = "independent" if found.corrected_kept.independent else "correlated"
    return f"{found.flagged:,} concealed{raw}; corrected averages without concealing them: {kept}"


def _numbers(result: Verification) -> Iterator[tuple[str, object]]:
    """Strength of the correlations, and notes on them."""
    compared = (("pair", result.pairs), ("groups", result.groups))
    yield (
        "mean FRC",
        ", ".join(
            f"{name} {one.corrected.mean_correlation:+.2g} ± "
            f"{one.corrected.mean_correlation_error:.1g}, predicted {one.predicted_bias:.2g}"
            for name, one in compared
        ),
    )
    if result.pixels is not None:
        yield "bad pixels", _pixels(result.pixels)
    yield "FRC floor", ", ".join(f"{name} {one.floor:+.2g}" for name, one in compared)
    yield from p_of_pairs(result.groups.corrected)
    yield from (("note", with_options(note)) for note in result.notes)
