"""Warp and WarpTools."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.defects import text_of_rectangles
from camnorm.handover.program import Calibration, Files, Program, only_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM"]


class Warp(Program):
    """A gain in MRC, and a map of defects: Warp makes 1 of a gain of 0."""

    name = "warp"
    title = "Warp"
    tested = "read in the source of WarpTools (2025)"
    formats = ("MRC", "TIFF")

    def files(self, calibration: Calibration) -> Files:
        """Gain, and the defects as text and map."""
        return {
            "gain.mrc": calibration.gain,
            "defects.txt": text_of_rectangles(calibration.bad),
            "defects_map.mrc": calibration.bad,
        }

    def rescales(self, calibration: Calibration) -> bool:
        """The gain is divided by its mean."""
        return True

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """Multiply by the gain over its mean; nonzero pixels of the map are concealed."""
        gain = np.asarray(files["gain.mrc"], np.float64)
        result = only_gain(frame, np.where(gain == 0, 1.0, gain / gain.mean()))
        result[files["defects_map.mrc"] != 0] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The options of WarpTools that concern the gain."""
        movies = calibration.movies
        words = ["WarpTools", "create_settings", "--folder_data", str(Path(movies.name).parent)]
        words += ["--extension", f"*{Path(movies.name).suffix}", "--output", "warp_frameseries.settings"]
        words += ["--gain_path", str(folder / "gain.mrc")]
        words += ["--defects_path", str(folder / "defects_map.mrc")]
        return [shlex.join(words)]

    def remarks(self, calibration: Calibration) -> list[str]:
        """What must not be added to the command."""
        return [
            "Do not use --gain_flip_x, --gain_flip_y or --gain_transpose: the files are oriented already.",
            "Warp replaces a gain of 0 by 1. It needs the map of defects.",
        ]


PROGRAM = Warp()
