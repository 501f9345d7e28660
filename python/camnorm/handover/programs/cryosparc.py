"""CryoSPARC: the form of Import Movies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.defects import mask_of_rectangles, text_of_rectangles
from camnorm.handover.program import Calibration, Files, Program, only_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM"]


class CryoSparc(Program):
    """A gain in MRC, its rows as they are in the file of the movie: TIFF is not flipped on reading."""

    name = "cryosparc"
    title = "cryoSPARC"
    flips_tiff = False
    tested = "not run; row order of TIFF movies from users' reports (pyem, thread 22)"
    formats = ("MRC", "TIFF")

    def files(self, calibration: Calibration) -> Files:
        """Gain with zeros at defects, as users write it, and the defects as text and map."""
        return {
            "gain.mrc": calibration.gain,
            "defects.txt": text_of_rectangles(calibration.bad),
            "defects_map.mrc": calibration.bad,
        }

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """Multiply; defects are concealed."""
        result = only_gain(frame, files["gain.mrc"])
        result[mask_of_rectangles(files["defects.txt"], frame.shape)] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The fields of the form."""
        return [
            f"Import Movies > Gain reference path: {folder / 'gain.mrc'}",
            "Import Movies > Flip gain ref & defect file in X?: off",
            "Import Movies > Flip gain ref & defect file in Y?: off",
            "Import Movies > Rotate gain ref?: 0",
            f"Import Movies > Defect file path: {folder / 'defects.txt'}",
        ]

    def remarks(self, calibration: Calibration) -> list[str]:
        """What was not tested."""
        return [
            "This was not run in cryoSPARC. Correct one movie and look at the average: if the pattern became "
            "stronger, set 'Flip gain ref & defect file in Y?' to on."
        ]


PROGRAM = CryoSparc()
