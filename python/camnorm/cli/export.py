"""``camnorm export``: gain, dark and defects for another program."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.options import AsJson, Debug, Pixels, SensorArgument
from camnorm.cli.results import print_facts, print_item, print_json
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.handover.programs import PROGRAMS

__all__ = ["export"]


def _known(program: str) -> str:
    if program not in PROGRAMS:
        raise typer.BadParameter(f"{program!r} is not one of {', '.join(PROGRAMS)}.")
    return program


@described(
    VERBS["export"],
    "camnorm export sensor.h5 --for relion --like movies/movie1.tif -o for-relion",
    "camnorm export sensor.h5 --for motioncor -o for-motioncor",
    "camnorm export sensor.h5 --for cryosparc --pixels pixels.h5 -o for-cryosparc",
    details="The files are oriented for movies like --like, by default those that the sensor was measured "
    "from. They are read back and compared with what camnorm correct does. README.txt says how they are "
    "used, and how exact they are.",
)
def export(
    sensor: SensorArgument,
    program: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="PROGRAM",
            show_default=False,
            callback=_known,
            help=f"The program: {', '.join(list(PROGRAMS)[:-1])} or {list(PROGRAMS)[-1]}.",
        ),
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
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="MOVIE", show_default=False, help="A movie that the program is to read with the files."
        ),
    ] = None,
    pixels: Pixels = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    with session(debug):
        made = camnorm.export(sensor, program, like, pixels, out_dir=output, overwrite=overwrite)
        if as_json:
            print_json({"sensor": sensor, **made.to_dict(), "output": output})
            return
        print_facts(
            [
                ("exported for", PROGRAMS[program].title),
                ("written to", output),
                ("files", ", ".join(path.name for path in made.files)),
                ("bad pixels", f"{made.bad_pixels:,}"),
                ("gain", f"standard error {made.gain_error:.2%}"),
                ("checked", f"read back and applied to a frame: differs by {made.deviation:.1g} at most"),
            ]
        )
        print("\nuse:")
        print(textwrap.indent(made.command, "  "))
        print("\nnotes:")
        for note in (made.approximation, *made.notes):
            print_item("-", note)
