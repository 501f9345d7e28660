"""Measuring a sensor: one pass over the frames of a data set, and what it finds of them."""

from camnorm.measurement.groups import measure_groups
from camnorm.measurement.measurement import measure

__all__ = ["measure", "measure_groups"]
