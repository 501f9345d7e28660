"""``camnorm subtract``: the difference of sensor files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.merge import Overwrite, save_sensor
from camnorm.cli.options import AsJson, Debug, SensorArgument, SensorOutput
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.io import Protected

__all__ = ["subtract"]


@described(
    VERBS["subtract"],
    "camnorm subtract both.h5 monday.h5 -o tuesday.h5",
)
def subtract(
    first: SensorArgument,
    second: Annotated[
        Path, typer.Argument(metavar="PART", show_default=False, help="Sensor file of frames in SENSOR.")
    ],
    output: SensorOutput,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    with session(debug):
        sensor = camnorm.Sensor.load(first).subtract(camnorm.Sensor.load(second))
        save_sensor(sensor, output, overwrite, as_json, Protected([first, second]))
