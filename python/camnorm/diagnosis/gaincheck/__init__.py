"""Whether a gain reference fits a sensor: orientation, operation, size, age."""

from camnorm.diagnosis.gaincheck.checking import check_gain
from camnorm.diagnosis.gaincheck.result import GainCheck, Spot

__all__ = ["GainCheck", "Spot", "check_gain"]
