"""``camnorm demo``: the whole job on the frames of two simulated cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camnorm.cli.helptext import described
from camnorm.cli.options import AsJson, Debug, Quiet, Threads
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import print_json
from camnorm.cli.session import NEGATIVE, session
from camnorm.cli.verbs import VERBS
from camnorm.demo import demonstration

__all__ = ["demo"]


@described(
    VERBS["demo"],
    "camnorm demo",
    "camnorm demo -o /tmp/demo --json",
    negative="done, but the corrected frames are not independent",
)
def demo(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Folder for all files (0.5 GB)."),
    ] = Path("camnorm-demo"),
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    with session(debug) as signals:
        with ProgressBar(quiet, signals) as bar:
            result = demonstration.run_demo(output, threads=threads, progress=bar)
        if as_json:
            print_json(result.to_dict())
        else:
            print(result)
    if not result.independent:
        raise typer.Exit(NEGATIVE)
