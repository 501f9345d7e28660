"""Arrays for own programs in Python."""

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


class NumpyFiles(Program):
    """Arrays with their rows as they are in the file of the movie."""

    name = "numpy"
    title = "NumPy"
    flips_tiff = False
    takes_dark = True
    tested = "run"
    formats = ()

    def files(self, calibration: Calibration) -> Files:
        """Float64, so that nothing is rounded."""
        dark = np.zeros(calibration.gain.shape) if calibration.dark is None else calibration.dark
        return {
            "gain.npy": np.ascontiguousarray(calibration.gain),
            "dark.npy": np.ascontiguousarray(dark),
            "defects.npy": np.ascontiguousarray(calibration.bad),
            "defects.txt": text_of_rectangles(calibration.bad),
        }

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """(I - dark) * gain, where there is no defect."""
        result = dark_and_gain(frame, files["dark.npy"], files["gain.npy"])
        result[files["defects.npy"]] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """Code."""
        return [
            "import numpy as np",
            f"gain, dark, defects = (np.load({str(folder)!r} + f'/{{name}}.npy') "
            "for name in ('gain', 'dark', 'defects'))",
            "corrected = np.where(defects, np.nan, (frame - dark) * gain)",
        ]


PROGRAM = NumpyFiles()
