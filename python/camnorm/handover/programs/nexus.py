"""NeXus: one HDF5 file with an NXdetector, for programs of X-ray and neutron science."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.handover.program import Calibration, Files, Program, dark_and_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM"]

_FILE = "gain_dark_defects.nxs"
_DETECTOR = "entry/instrument/detector"


class Nexus(Program):
    """Flat field, dark and pixel mask, their rows as they are in the file of the movie."""

    name = "nexus"
    title = "NeXus"
    flips_tiff = False
    takes_dark = True
    tested = "the definitions NXdetector and NXmx were read"
    formats = ()

    def files(self, calibration: Calibration) -> Files:
        """One file."""
        dark = np.zeros(calibration.gain.shape) if calibration.dark is None else calibration.dark
        return {
            _FILE: {
                f"{_DETECTOR}/flatfield": calibration.gain.astype(np.float32),
                f"{_DETECTOR}/flatfield_errors": (calibration.gain * calibration.error).astype(np.float32),
                f"{_DETECTOR}/dark": dark.astype(np.float32),
                f"{_DETECTOR}/pixel_mask": calibration.flags,
                "/@default": "entry",
                "entry@NX_class": "NXentry",
                "entry/instrument@NX_class": "NXinstrument",
                f"{_DETECTOR}@NX_class": "NXdetector",
                f"{_DETECTOR}@correction": "(data - dark) * flatfield, where pixel_mask is 0",
            }
        }

    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """(data - dark) * flatfield, where the mask is 0."""
        found = files[_FILE]
        result = dark_and_gain(frame, found[f"{_DETECTOR}/dark"], found[f"{_DETECTOR}/flatfield"])
        result[found[f"{_DETECTOR}/pixel_mask"] != 0] = np.nan
        return result

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """The arithmetic."""
        return [
            f"{folder / _FILE}, group /{_DETECTOR}:",
            "corrected = (data - dark) * flatfield, where pixel_mask is 0",
        ]


PROGRAM = Nexus()
