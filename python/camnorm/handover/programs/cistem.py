"""The program cisTEM: import of movies, and unblur."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.defects import text_of_rectangles
from camnorm.handover.program import Calibration, Files, Program, dark_and_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM"]


class CisTem(Program):
    """Dark and gain in MRC, their rows as they are in the file of the movie: TIFF is not flipped."""

    name = "cistem"
    title = "cisTEM"
    flips_tiff = False
    takes_dark = True
    tested = "read in the source of cisTEM 1"
    formats = ("MRC", "TIFF")

    def files(self, calibration: Calibration) -> Files:
        """Gain and dark; the defects for the user, as cisTEM reads none."""
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
        """(I - dark) * gain: bad pixels become 0."""
        return dark_and_gain(frame, files.get("dark.mrc"), files["gain.mrc"])

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The fields of the form; unblur asks for the same files."""
        lines = [f"Import Movies > Gain image: {folder / 'gain.mrc'}"]
        if calibration.dark is not None:
            lines.append(f"Import Movies > Dark image: {folder / 'dark.mrc'}")
        return lines

    def remarks(self, calibration: Calibration) -> list[str]:
        """What becomes of bad pixels."""
        return [
            "cisTEM reads no defects: bad pixels become 0 unless they lie beyond 12 sigma, which it replaces "
            "by the mean. If there are many, give it movies that camnorm correct wrote."
        ]


PROGRAM = CisTem()
