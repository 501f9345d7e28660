"""``relion_estimate_gain``, which some systems have as a package."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness import Run, Skipped, run

__all__ = ["COMMAND", "estimate_gain", "version"]

COMMAND = "relion_estimate_gain"

_STAR = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 1.0 300.0 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
"""


def estimate_gain(movies: Sequence[Path], star: Path, result: Path, threads: int, *options: str) -> Run:
    """Run the whole command once.

    Raises
    ------
    Skipped
        It is not installed.
    """
    command = shutil.which(COMMAND)
    if command is None:
        raise Skipped(f"{COMMAND} is not installed")
    star.write_text(_STAR + "".join(f"{movie} 1\n" for movie in movies))
    return run([command, "--i", str(star), "--o", str(result), "--j", str(threads), *options])


def version() -> str | None:
    """Version of RELION; None if it is not installed."""
    if shutil.which(COMMAND) is None:
        return None
    said = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=False).stdout
    return said.partition("version:")[2].split()[0] if "version:" in said else "?"
