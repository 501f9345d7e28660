"""``camnorm report``: everything known about a sensor, on one page that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.messages import with_options
from camnorm.cli.nextsteps import inputs_of, verdict_facts
from camnorm.cli.options import AsJson, Debug, Quiet, SensorArgument, Threads
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import in_bytes, print_facts, print_json
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS

__all__ = ["report"]


@described(
    VERBS["report"],
    "camnorm report sensor.h5 -o report.html",
    "camnorm report sensor.h5 --frames movies/ --older old.h5 -o report.html",
    "camnorm report sensor.h5 --verification camnorm-verify --json",
    details="The page is one HTML file that needs no network: the verdict and what to do, images that zoom "
    "to single pixels, FRC before and after the correction, noise and pattern, spectra, trends and checks. "
    "With --json and without -o, only the numbers are printed.",
)
def report(
    sensor: SensorArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PAGE", show_default=False, help="Page to write: .html."),
    ] = None,
    frames: Annotated[
        list[str] | None,
        typer.Option(
            "--frames",
            metavar="INPUT",
            show_default=False,
            help="Images of this sensor, to verify the correction on them. May be given several times.",
        ),
    ] = None,
    verification: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Result of `camnorm verify` for this sensor: its folder, or the verify.json in it.",
        ),
    ] = None,
    older: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SENSOR",
            show_default=False,
            help="Earlier measurement of this sensor, to show what changed. May be given several times, the "
            "oldest first.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    if output is None and not as_json:
        raise typer.BadParameter("name the page to write, or ask for --json.", param_hint="--output")
    if frames and verification is not None:
        raise typer.BadParameter("give either frames or the result of a verification.", param_hint="--frames")
    with session(debug) as signals:
        loaded = camnorm.Sensor.load(sensor)
        if output is not None:
            camnorm.SensorReport.check_path(output, overwrite=overwrite)
        with ProgressBar(quiet, signals) as bar:
            found = camnorm.verify(frames, loaded, threads=threads, progress=bar) if frames else verification
            made = camnorm.sensor_report(
                loaded, verification=found, older=older or (), name=sensor.name, threads=threads
            )
            skip = bool((loaded.frames["status"] == "rejected").any())
            facts = dict(verdict_facts(made.judgement, sensor, inputs_of(loaded, frames), skip))
            if output is not None:
                made.save(
                    output, overwrite=overwrite, next_command=str(facts.get("next", "")), words=with_options
                )
        if as_json:
            print_json({"sensor": sensor, **made.to_dict(), "next": facts.get("next"), "output": output})
        else:
            assert output is not None
            print_facts(facts.items())
            print_facts([("written", f"{output}, {in_bytes(output.stat().st_size)}")])
