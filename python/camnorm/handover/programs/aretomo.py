"""AreTomo3, whose motion correction is that of MotionCor3."""

from __future__ import annotations

import shlex
from pathlib import Path

from camnorm.handover.program import Calibration
from camnorm.handover.programs.motioncor import EER_SAMPLING, MotionCor

__all__ = ["PROGRAM"]


class AreTomo(MotionCor):
    """The files of MotionCor3; defects as text only."""

    name = "aretomo"
    title = "AreTomo3"
    tested = "read in the source of AreTomo3 (2025)"

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The options that concern the gain."""
        movies = calibration.movies
        words = ["AreTomo3", "-InPrefix", str(Path(movies.name).parent) + "/", "-OutDir", "aretomo/"]
        words += ["-Gain", str(folder / "gain.mrc")]
        if calibration.dark is not None:
            words += ["-Dark", str(folder / "dark.mrc")]
        words += ["-DefectFile", str(folder / "defects.txt")]
        if movies.format == "EER":
            words += ["-EerSampling", EER_SAMPLING[movies.sampling]]
        return [shlex.join(words)]

    def remarks(self, calibration: Calibration) -> list[str]:
        """What must not be added to the command."""
        return [
            "Do not use -RotGain, -FlipGain or -InvGain: the files are oriented already.",
            "AreTomo3 does not take a gain of 0 for a defect: it needs -DefectFile.",
        ]


PROGRAM = AreTomo()
