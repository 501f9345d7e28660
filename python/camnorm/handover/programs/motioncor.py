"""MotionCor2 and MotionCor3."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.defects import mask_of_rectangles, text_of_rectangles
from camnorm.handover.program import Calibration, Files, Program, dark_and_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EER_SAMPLING", "PROGRAM", "MotionCor"]

_INPUTS = {"MRC": "-InMrc", "TIFF": "-InTiff", "EER": "-InEer"}

EER_SAMPLING = {1: "1", 2: "2", 4: "3"}
"""What stands for 1, 2 or 4 pixels along a physical one."""


class MotionCor(Program):
    """Dark and gain in MRC mode 2, already oriented: -FlipGain would not flip the dark."""

    name = "motioncor"
    title = "MotionCor3"
    takes_dark = True
    tested = "read in the source of MotionCor3 (2025)"

    def files(self, calibration: Calibration) -> Files:
        """Gain, dark, and the defects as text and as bytes, of which MotionCor3 looks at bit 0."""
        dark = {} if calibration.dark is None else {"dark.mrc": calibration.dark}
        return {
            "gain.mrc": calibration.gain,
            **dark,
            "defects.txt": text_of_rectangles(calibration.bad),
            "defects_map.mrc": calibration.bad,
        }

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """(I - dark) * gain, then the defects are filled from good pixels."""
        result = dark_and_gain(frame, files.get("dark.mrc"), files["gain.mrc"])
        result[mask_of_rectangles(files["defects.txt"], frame.shape)] = np.nan
        result[(files["defects_map.mrc"] & 1) != 0] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The command."""
        movies = calibration.movies
        words = ["MotionCor3", _INPUTS[movies.format], movies.name, "-OutMrc", "aligned.mrc"]
        words += ["-Gain", str(folder / "gain.mrc")]
        if calibration.dark is not None:
            words += ["-Dark", str(folder / "dark.mrc")]
        words += ["-DefectMap", str(folder / "defects_map.mrc")]
        if movies.format == "EER":
            words += ["-EerSampling", EER_SAMPLING[movies.sampling]]
        return [shlex.join(words)]

    def remarks(self, calibration: Calibration) -> list[str]:
        """What must not be added to the command."""
        return [
            "Do not use -RotGain, -FlipGain or -InvGain: the files are oriented already.",
            "MotionCor3 does not take a gain of 0 for a defect: it needs the defect map (or -DefectFile "
            "defects.txt).",
        ]


PROGRAM = MotionCor()
