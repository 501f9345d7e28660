"""What other programs need to use a sensor: gain, dark and defects in their own files, checked."""

from camnorm.handover.exporting import export
from camnorm.handover.program import Export

__all__ = ["Export", "export"]
