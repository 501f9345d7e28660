"""IMOD: alignframes and clip."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.defects import mask_of_serial_em, serial_em
from camnorm.handover.program import Calibration, Files, Program, only_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM", "Imod"]


class Imod(Program):
    """A gain in MRC, and a defect file that counts from the top left corner of the picture."""

    name = "imod"
    title = "IMOD"
    tested = "read in the source of IMOD 5"
    formats = ("MRC", "TIFF")

    def files(self, calibration: Calibration) -> Files:
        """Gain, and the defects as text; as a map for other programs."""
        return {
            "gain.mrc": calibration.gain,
            "defects.txt": serial_em(calibration.bad[::-1]),
            "defects_map.mrc": calibration.bad,
        }

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """Multiply; defects are taken from their neighbours."""
        result = only_gain(frame, files["gain.mrc"])
        result[mask_of_serial_em(files["defects.txt"])[::-1]] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The command."""
        words = ["alignframes", "-InputFile", calibration.movies.name]
        words += ["-GainReferenceFile", str(folder / "gain.mrc")]
        words += ["-CameraDefectFile", str(folder / "defects.txt"), "-RotationAndFlip", "0"]
        return [shlex.join([*words, "-OutputImageFile", "aligned.mrc"])]

    def remarks(self, calibration: Calibration) -> list[str]:
        """What the orientation is."""
        return ["The gain has the orientation of the movies: -RotationAndFlip is 0, whatever the movie says."]


PROGRAM = Imod()
