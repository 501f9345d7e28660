"""``camnorm merge``: the sum of sensor files, and what `subtract` shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.judgements import print_flagged
from camnorm.cli.nextsteps import inputs_of, verdict_facts
from camnorm.cli.options import AsJson, Debug, SensorArgument, SensorOutput
from camnorm.cli.results import print_facts, print_json
from camnorm.cli.sensorfacts import sensor_facts
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.judgement import judge
from camnorm.io import Protected
from camnorm.sensor.file import save_contents
from camnorm.sensor.summary import sensor_summary

if TYPE_CHECKING:
    from camnorm import Sensor

__all__ = ["Overwrite", "merge", "save_sensor"]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a sensor file that holds another measurement.")
]


@described(
    VERBS["merge"],
    "camnorm merge monday.h5 tuesday.h5 -o both.h5",
    "camnorm merge shards/*.h5 -o sensor.h5",
)
def merge(
    first: SensorArgument,
    others: Annotated[
        list[Path], typer.Argument(metavar="SENSOR", show_default=False, help="More sensor files.")
    ],
    output: SensorOutput,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    with session(debug):
        sensor = camnorm.Sensor.load(first)
        for other in others:
            sensor = sensor.merge(camnorm.Sensor.load(other))
        save_sensor(sensor, output, overwrite, as_json, Protected([first, *others]))


def save_sensor(sensor: Sensor, output: Path, overwrite: bool, as_json: bool, protected: Protected) -> None:
    """Write a sensor file and print what is in it."""
    if not sensor.count:
        raise camnorm.Error("no frame is left: nothing was written")
    save_contents(output, sensor.contents, overwrite, protected)
    summary = sensor_summary(sensor)
    convergence = camnorm.frames_needed(sensor)
    findings = camnorm.check(sensor, convergence)
    judgement = judge(convergence, findings)
    if as_json:
        print_json({**summary, **judgement.to_dict(), "output": output})
    else:
        print_facts(verdict_facts(judgement, output, inputs_of(sensor), bool(summary["rejected"])))
        print()
        print_facts([*sensor_facts(summary), ("written", output)])
        print_flagged(findings)
