"""RELION: own implementation of motion correction, and its import of gain references."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.defects import mask_of_rectangles, text_of_rectangles
from camnorm.handover.program import Calibration, Files, Program, only_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM"]


class Relion(Program):
    """A gain in MRC with its rows as RELION holds the movie; of EER movies, mean counts."""

    name = "relion"
    title = "RELION"
    tested = "run (RELION 3.1.3, MRC and TIFF movies); EER read in the source of 3.1 and 5.0"
    most_sampling = 2

    def files(self, calibration: Calibration) -> Files:
        """Gain or mean counts, and the defects twice, for programs that want them as a map."""
        gain = calibration.gain
        if calibration.movies.format == "EER":
            # Of files that are not .gain, RELION takes the mean over the value.
            gain = np.divide(
                calibration.level, gain, where=~calibration.bad, out=np.zeros(calibration.gain.shape)
            )
        return {
            "gain.mrc": gain,
            "defects.txt": text_of_rectangles(calibration.bad),
            "defects_map.mrc": calibration.bad,
        }

    def rescales(self, calibration: Calibration) -> bool:
        """Mean counts are divided by their mean, in which bad pixels count as 0."""
        return calibration.movies.format == "EER"

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """Multiply; conceal pixels where the gain is 0 or that are in the list of defects."""
        gain = np.asarray(files["gain.mrc"], np.float64)
        if calibration.movies.format == "EER":
            gain = np.divide(gain.mean(), gain, where=gain != 0, out=np.zeros(gain.shape))
        result = only_gain(frame, gain)
        result[mask_of_rectangles(files["defects.txt"], frame.shape)] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The options of the command; the form has fields of the same names."""
        movies = calibration.movies
        options = ["--gainref", str(folder / "gain.mrc"), "--defect_file", str(folder / "defects.txt")]
        if movies.format == "EER":
            options += ["--eer_grouping", str(movies.grouping), "--eer_upsampling", str(movies.sampling)]
        return [f"relion_run_motioncorr --i movies.star --o MotionCorr/ --use_own {shlex.join(options)}"]

    def remarks(self, calibration: Calibration) -> list[str]:
        """What must not be added to the command."""
        if calibration.movies.format == "EER":
            return [
                "gain.mrc holds mean counts, because RELION divides EER frames by any gain that is not a "
                ".gain file. Do not rename it.",
                "Do not use --gain_rot or --gain_flip: RELION would then multiply by the file.",
            ]
        return [
            "Leave --gain_rot and --gain_flip at 0: the rows of gain.mrc are in RELION's order already.",
            "RELION conceals pixels with gain 0. The list of defects says the same.",
        ]


PROGRAM = Relion()
