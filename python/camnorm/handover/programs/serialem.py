"""SerialEM: the files that it saves with movies, which have the form of IMOD's."""

from __future__ import annotations

from pathlib import Path

from camnorm.handover.program import Calibration
from camnorm.handover.programs.imod import Imod

__all__ = ["PROGRAM"]


class SerialEm(Imod):
    """Gain and defect file of IMOD."""

    name = "serialem"
    title = "SerialEM"
    tested = "read in the source of IMOD 5, which has SerialEM's reader of defect files"

    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """Where the files go."""
        return [
            f"Copy {folder / 'gain.mrc'} and {folder / 'defects.txt'} into the folder of the movies,",
            "in place of the gain reference and the defect file that SerialEM saved there.",
        ]

    def remarks(self, calibration: Calibration) -> list[str]:
        """How programs are to treat them."""
        return [
            "The gain has the orientation of the movies. Where a program asks for the r/f of the header, "
            "give 0: SerialEM's own gain reference may need another number."
        ]


PROGRAM = SerialEm()
