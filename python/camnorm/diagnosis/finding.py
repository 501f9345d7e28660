"""What a check of a data set has found: a number, a limit with its reason, and a sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["Finding"]


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
    """

    name: str
    value: float
    limit: float
    because: str
    flagged: bool
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names, ready for JSON."""
        return dataclasses.asdict(self)


def count_of(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun: ``1 file``, ``3 files``."""
    return f"{number} {one if number == 1 else more or one + 's'}"
