"""What a check of a data set has found: a number, a limit with its reason, and a sentence."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

__all__ = ["Finding", "Severity", "count_of"]

Severity: TypeAlias = Literal["note", "warning", "unusable"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Outcome of one check of a data set.

    Attributes
    ----------
    name : str
        Which check, in a word or two joined by underscores: stable, for programs.
    value : float
        What was measured; NaN if it cannot be determined.
    limit : float
        Where `value` begins to matter.
    because : str
        Why the limit is where it is.
    flagged : bool
        True if the set does not meet an assumption of the method.
    sentence : str
        What was found and what to do about it, for people.
    severity : {"note", "warning", "unusable"}
        What it means if it is flagged: the result is not affected, or it is, or there is no use for it.
    headline : str
        The problem in a few words, for the verdict on the set. By default `sentence` up to its first end.
    remedy : str
        What to do first.
    """

    name: str
    value: float
    limit: float
    because: str
    flagged: bool
    sentence: str
    severity: Severity = "warning"
    headline: str = ""
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names, ready for JSON."""
        return dataclasses.asdict(self)


def count_of(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun: ``1 file``, ``3 files``."""
    return f"{number} {one if number == 1 else more or one + 's'}"
