"""Results on stdout: JSON, facts in two columns, marked sentences, tables, rejected files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import camnorm
from camnorm import jsontext
from camnorm.cli.messages import with_options
from camnorm.errors import NAN_HINT, NAN_REASON
from camnorm.io import check_content
from camnorm.terminal import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "check_figure",
    "print_facts",
    "print_item",
    "print_json",
    "print_rejected",
    "print_rich",
    "time_taken",
]

# Tables keep this width on narrower terminals: no column is cut.
_WIDTH = 100

# Lines of rejected frames that are printed; --json lists all.
_REJECTED_SHOWN = 10

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result as one JSON object."""
    print(jsontext.dumps(result))


def print_rich(renderable: RenderableType) -> None:
    """Print a table of rich."""
    from rich.console import Console

    Console(width=_WIDTH).print(renderable)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns, whatever the length of the values."""
    for name, value in facts:
        print(printable(f"{name:<16}{value}"))


def print_item(mark: str, text: str) -> None:
    """Print a sentence behind a mark, in lines that fit a terminal."""
    text = printable(with_options(text))
    print(textwrap.fill(text, _WIDTH, initial_indent=f"  {mark} ", subsequent_indent="    "))


def print_rejected(rejected: Sequence[Mapping[str, Any]]) -> None:
    """Print rejected files and frames with their reasons, those of a file that are alike in one line."""
    if not rejected:
        return
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rejected:
        alike.setdefault((row["file"], _NUMBER.sub("#", row["reason"])), []).append(row)
    groups = list(alike.values())
    print("rejected:")
    for rows in groups[:_REJECTED_SHOWN]:
        first, *others = rows
        where = first["file"] if first["index"] is None else f"{first['file']}, frame {first['index']}"
        also = f" (and {len(others)} more of this file)" if others else ""
        print(printable(f"  {where}: {with_options(first['reason'])}{also}"))
    left = sum(map(len, groups[_REJECTED_SHOWN:]))
    if left:
        print(f"  ... and {left} more (--json lists all)")
    if any(NAN_REASON in row["reason"] for row in rejected):
        print(f"{NAN_REASON}: {with_options(NAN_HINT)}")


def time_taken(seconds: float, rate: str) -> tuple[str, str]:
    """A fact: how long a verb took, and its rate if that is known."""
    return "time", f"{seconds:.3g} s, {rate}" if rate else f"{seconds:.3g} s"


def check_figure(path: Path) -> None:
    """Raise Error if a file that a figure would replace is not a figure of camnorm."""
    check_content(path, camnorm.plot.MARK.encode(), "a figure of camnorm")
