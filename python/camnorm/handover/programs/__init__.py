"""The table of programs that files are written for: one module each."""

from camnorm.handover.program import Program
from camnorm.handover.programs import (
    aretomo,
    cistem,
    cryosparc,
    imod,
    motioncor,
    nexus,
    numpyfiles,
    relion,
    serialem,
    warp,
)

__all__ = ["PROGRAMS"]

_MODULES = (relion, motioncor, aretomo, cryosparc, cistem, warp, imod, serialem, nexus, numpyfiles)

PROGRAMS: dict[str, Program] = {module.PROGRAM.name: module.PROGRAM for module in _MODULES}
"""By their names, in the order in which the help lists them."""
