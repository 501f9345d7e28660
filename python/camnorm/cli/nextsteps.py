"""What leads the output of verbs: the verdict on a set, what to fix first, and what to run next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camnorm.cli.messages import with_options
from camnorm.cli.paths import folders_of, shown

if TYPE_CHECKING:
    from camnorm import Sensor
    from camnorm.diagnosis.judgement import Judgement, Step

__all__ = ["images_in_words", "inputs_of", "verdict_facts"]

# Inputs that a command names one by one.
_FEW = 3

_COMMANDS: dict[Step, str] = {
    "correct": "correct {inputs} -m {sensor} -o corrected{skip}",
    "best": "correct {inputs} -m {sensor} -o corrected --mode best{skip}",
    "split": "measure {inputs} -o {sensor} --split",
    "verify": "verify {inputs} -m {sensor} --pairs 8",
    "measure": "measure {inputs} MORE... -o {sensor} --overwrite",
}


def verdict_facts(
    judgement: Judgement, sensor: Path, inputs: str, skip: bool = False, name: str = "verdict"
) -> Iterator[tuple[str, object]]:
    """Facts that lead: the verdict, what to fix first, the command to run next.

    Parameters
    ----------
    judgement : Judgement
        The verdict.
    sensor : Path
        Sensor file.
    inputs : str
        The images as a command names them, from `inputs_of`.
    skip : bool
        Whether frames were rejected, which are not to be corrected.
    name : str
        What the verdict is called.

    Yields
    ------
    tuple
        Name and value.
    """
    yield name, with_options(judgement.sentence)
    if judgement.remedy:
        yield "fix first", with_options(judgement.remedy)
    command = _COMMANDS.get(judgement.step)
    if command is not None:
        options = " --skip-rejected" if skip else ""
        command = command.format(inputs=inputs, sensor=shlex.quote(str(sensor)), skip=options)
        yield "next", f"camnorm {command}"


def inputs_of(sensor: Sensor, given: Sequence[str] | None = None) -> str:
    """The images of a measurement as a command names them: as they were given, or their folders."""
    if given and len(given) <= _FEW:
        return images_in_words(given)
    files = sensor.provenance["files"]["path"].tolist()
    if not files:  # of moments
        return "INPUT..."
    return images_in_words(files) if len(files) <= _FEW else _folders(files)


def images_in_words(given: Sequence[str]) -> str:
    """Inputs as a command names them: one by one if they are few, or else the folders of files."""
    if len(given) <= _FEW:
        return shlex.join(map(shown, given))
    return _folders(given) if all(map(os.path.isfile, given)) else "INPUT..."


def _folders(files: Sequence[str]) -> str:
    folders = folders_of(files)
    return shlex.join(folders) if len(folders) <= _FEW else "INPUT..."
