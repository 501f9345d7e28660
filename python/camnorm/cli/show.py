"""``camnorm show``: what is in a sensor file, and whether the data set is fit for the method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.judgements import (
    print_convergence,
    print_findings,
    print_pattern,
    print_prediction,
)
from camnorm.cli.nextsteps import inputs_of, verdict_facts
from camnorm.cli.options import AsJson, Debug, SensorArgument
from camnorm.cli.paths import command_in_short, files_in_words
from camnorm.cli.pixelfacts import bad_pixel_facts, bad_pixels
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import check_figure, in_bytes, print_facts, print_json, print_rejected
from camnorm.cli.sensorfacts import sensor_facts
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.fixedpattern import tells_pattern
from camnorm.diagnosis.judgement import advised, judge
from camnorm.progress import Progress
from camnorm.sensor.prediction import predicted_errors
from camnorm.sensor.summary import screening_limits, sensor_summary

if TYPE_CHECKING:
    from camnorm import Convergence, FixedPattern, Sensor

__all__ = ["show"]


@described(
    VERBS["show"],
    "camnorm show sensor.h5",
    "camnorm show sensor.h5 -o sensor.png",
    "camnorm show sensor.h5 --json",
    details="With -o, also draws the mean and the sigma image, their spectra, the frames' means and standard "
    "deviations, the leftover pattern over the number of frames, and the cost of the fixed pattern over "
    "frequency.",
)
def show(
    sensor: SensorArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FIGURE",
            show_default=False,
            help="Draw figures of all this: .png, .pdf or .svg.",
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    with session(debug) as signals:
        with ProgressBar(False, signals) as bar:
            bar(_checks_done(0))
            loaded = camnorm.Sensor.load(sensor)
            summary = {**sensor_summary(loaded), "bad_pixels": bad_pixels(loaded)}
            if output is not None:
                check_figure(output)
            bar(_checks_done(1))
            prediction = predicted_errors(loaded)
            convergence = camnorm.frames_needed(loaded)
            bar(_checks_done(2))
            findings = camnorm.check(loaded, convergence)
            bar(_checks_done(3))
            pattern = camnorm.fixed_pattern(loaded) if tells_pattern(loaded) else None
        if output is not None:
            _draw(loaded, convergence, pattern, output)
        judgement = advised(judge(convergence, findings), prediction)
        files = loaded.provenance["files"]
        origin = {key: loaded.provenance[key] for key in ("version", "command", "started", "ended")}
        if as_json:
            print_json(
                {
                    "sensor": sensor,
                    **summary,
                    **judgement.to_dict(),
                    **origin,
                    "files": len(files),
                    "figure": output,
                    "findings": [finding.to_dict() for finding in findings],
                    "convergence": convergence.to_dict(),
                    "fixed_pattern": None if pattern is None else pattern.to_dict(),
                    "modes": None if prediction is None else prediction.to_dict(),
                }
            )
        else:
            skip = any(row["index"] is not None for row in summary["rejected"])
            print_facts(verdict_facts(judgement, sensor, inputs_of(loaded), skip))
            print()
            print_facts([("sensor", sensor), *sensor_facts(summary), *bad_pixel_facts(summary)])
            print_findings(findings, judgement.verdict)
            print_convergence(convergence)
            if pattern is not None:
                print_pattern(pattern)
            if prediction is not None:
                print_prediction(prediction)
            print()
            print_facts(
                [
                    *(_files(files) if loaded.frames.size else []),
                    (
                        "measured" if loaded.frames.size else "made",
                        f"{origin['started']} to {origin['ended']}, camnorm {origin['version']}",
                    ),
                    ("command", command_in_short(origin["command"])),
                    *([] if output is None else [("figure", output)]),
                ]
            )
            print_rejected(summary["rejected"])


def _files(files: npt.NDArray[np.void]) -> list[tuple[str, object]]:
    size = int(files["size"][files["size"] > 0].sum())
    return [("files", f"{files_in_words(files['path'].tolist())}, {in_bytes(size)}")]


def _checks_done(number: int) -> Progress:
    return Progress("checking", number, 4, frames=0, bytes=0, rejected=0)


def _draw(sensor: Sensor, convergence: Convergence, pattern: FixedPattern | None, output: Path) -> None:
    figure = camnorm.plot.sensor_figure(
        sensor.mean,
        sensor.sigma,
        sensor.frames["mean"],
        sensor.frames["std"],
        limits=screening_limits(sensor.provenance["screening"]),
        rejected=sensor.frames["status"] == "rejected",
        convergence=convergence,
        pattern=pattern,
    )
    camnorm.plot.save(figure, output)
