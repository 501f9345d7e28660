"""Which measurements are not compared, and why."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from camnorm.errors import Error
from camnorm.io.base.rows import RowOrder, is_flipped
from camnorm.measurement.faults import cameras_of
from camnorm.sensor.combination import check_options, same_sums, shared_files

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["check_comparable", "in_row_order"]


def check_comparable(old: Sensor, new: Sensor) -> None:
    """Raise Error if two measurements are no epochs of one sensor."""
    for word, sensor in (("old", old), ("new", new)):
        if sensor.count < 2:
            raise Error(
                f"the {word} measurement holds {sensor.count} {'frame' if sensor.count == 1 else 'frames'}: "
                "a comparison needs at least 2 of each, better hundreds"
            )
    check_options(old, new, screening=False)
    mine, its = cameras_of(old), cameras_of(new)
    if mine and its and mine != its:
        raise Error(
            f"these measurements do not go together: cameras are {', '.join(mine)} and {', '.join(its)}; "
            "compare measurements of one camera"
        )
    if same_sums(old, new):
        raise Error(
            "both measurements hold the same sums: this is one measurement; compare it with one of other "
            "frames"
        )
    shared = list(shared_files(old, new))
    if shared:
        one, other = shared[0]
        name = other if one == other else f"{other} (the same as {one})"
        left = len(shared) - 1
        more = f" and {left} more {'file' if left == 1 else 'files'}" if left else ""
        raise Error(
            f"frames of {name}{more} are in both measurements, which are not independent then: subtract "
            "those frames from one of the measurements first"
        )


def in_row_order(order: RowOrder | None, new: Sensor) -> Sensor:
    """The new measurement in the row order of the old one, with a warning if its rows are flipped."""
    if not is_flipped(order, new.row_order):
        return new
    warnings.warn(
        f"the new measurement has the {new.row_order} row first, the old one the {order} row: "
        "the rows of the new one are flipped",
        stacklevel=3,
    )
    return new.flipped()
