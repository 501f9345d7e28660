"""``camnorm gain``: whether a gain reference fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.options import AsJson, Debug, SensorArgument, Threads
from camnorm.cli.results import check_figure, print_facts, print_item, print_json
from camnorm.cli.session import NEGATIVE, session
from camnorm.cli.verbs import VERBS
from camnorm.handover.files import save_mrc
from camnorm.handover.orientation import for_file
from camnorm.io import Protected

__all__ = ["gain"]

_SPOTS_SHOWN = 5


@described(
    VERBS["gain"],
    "camnorm gain gain.mrc sensor.h5 --like movies/movie1.tif",
    "camnorm gain K3-gain.dm4 sensor.h5 -o fixed.mrc --plot gain.png",
    details="The sensor must have been measured from movies without a gain (measure without --gain). The "
    "answer comes first, then the flags of other programs that set the gain right.",
    negative="the gain does not fit as it is",
)
def gain(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="GAIN", show_default=False, help="Gain reference: MRC, TIFF, .gain, DM4, NPY or HDF5."
        ),
    ],
    sensor: SensorArgument,
    like: Annotated[
        Path | None,
        typer.Option(metavar="MOVIE", show_default=False, help="A movie that the gain is to be used for."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            help="Write the gain set right (.mrc): oriented, sampled, inverted, 0 at bad pixels.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Draw the pattern before and after: .png, .pdf or .svg."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    if output is not None and output.suffix.lower() != ".mrc":
        raise typer.BadParameter(f"{output} is not a name with .mrc.", param_hint="--output")
    with session(debug):
        protected = Protected([path for path in (reference, sensor, like) if path is not None])
        for path in (output, plot):
            if path is not None:
                protected.check(path)
        if plot is not None:
            check_figure(plot)
        found = camnorm.check_gain(reference, sensor, like, threads=threads)
        if output is not None:
            if found.fixed is None:
                raise camnorm.Error(f"{output}: not written: {found.sentence}")
            save_mrc(output, for_file(found, sensor, like), overwrite, protected)
        if plot is not None:
            camnorm.plot.save(camnorm.plot.gain_figure(found), plot)
        if as_json:
            print_json({"sensor": sensor, **found.to_dict(), "output": output, "figure": plot})
        else:
            print_facts(_facts(found, output, plot))
            _print_places(found)
    if not found.best:
        raise typer.Exit(NEGATIVE)


def _facts(found: camnorm.GainCheck, output: Path | None, plot: Path | None) -> Iterator[tuple[str, object]]:
    yield "answer", found.sentence
    names = {"relion": "RELION", "motioncor": "MotionCor3", "cryosparc": "cryoSPARC"}
    for program, flags in found.flags.items():
        yield names[program], flags
    if found.fits and not found.applied:
        yield "pattern", f"{found.pattern:.2%} of the mean before, {found.residual:.2%} with the gain"
        yield "FRC of halves", f"{found.frc_before:.3f} before, {found.frc_after:.3f} with the gain"
        for place, frames in enumerate(("single frames", "sums of 12")):
            before, after = found.derating_before[place], found.derating_after[place]
            yield "DQE lost", f"{before:.2%} before, {after:.2%} with the gain, in {frames}"
    if found.fits:
        yield (
            "defects",
            f"{found.defects:,} in the gain, {len(found.unknown_defects):,} that it does not know",
        )
    if output is not None:
        yield "written", output
    if plot is not None:
        yield "figure", plot


def _print_places(found: camnorm.GainCheck) -> None:
    """Print where dust came or went."""
    if found.stale:
        print("\nstale:")
    for spot in found.stale[:_SPOTS_SHOWN]:
        what = "darker: dust came" if spot.change < 0 else "brighter: dust went"
        print_item(
            "!", f"x = {spot.x:.0f}, y = {spot.y:.0f}, {spot.size:.0f} pixels, {abs(spot.change):.1%} {what}"
        )
    if found.stale[_SPOTS_SHOWN:]:
        print(f"  and {len(found.stale) - _SPOTS_SHOWN} more: --json lists all")
