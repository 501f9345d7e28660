"""How frames are measured: the arguments of a measurement that do not choose frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from camnorm.io import ReadOptions
from camnorm.measurement.screening import Rules
from camnorm.progress import Progress

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How frames are measured; see the parameters of `measure`."""

    rules: Rules
    """How they are screened."""
    response: bool
    neighbours: bool
    options: ReadOptions
    threads: int
    strict: bool
    progress: Callable[[Progress], None] | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """How `options` were chosen that were not given; see `Settled`."""
