"""What a section of the page consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camnorm.report.page.charts import Chart
from camnorm.report.page.numbers import Quantity
from camnorm.report.page.viewer import Picture

__all__ = ["Section", "Table"]


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    caption : str
        What it lists.
    head : sequence of str
        Names of the columns.
    rows : sequence of sequences
        Texts.
    places : sequence of (int, int)
        Pixel (x, y) that each row is about, which the viewer shows; empty for none.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    places: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, eq=False)
class Section:
    """A section of the page.

    Attributes
    ----------
    id, title, lead : str
        Anchor, heading, and what the section shows.
    quantities : sequence of Quantity
        Its numbers.
    charts, pictures : sequence
        Its figures.
    tables : sequence of Table
        More.
    note : str
        Below all of it.
    """

    id: str
    title: str
    lead: str
    quantities: Sequence[Quantity] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    note: str = ""
