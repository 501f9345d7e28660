"""Results on stdout: JSON, facts in two columns, marked sentences, tables, rejected files."""

from __future__ import annotations

import io
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import camnorm
from camnorm import jsontext
from camnorm.cli.messages import with_options
from camnorm.cli.paths import shown
from camnorm.errors import NAN_HINT, NAN_REASON
from camnorm.io import check_content
from camnorm.terminal import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "check_figure",
    "in_bytes",
    "print_facts",
    "print_item",
    "print_json",
    "print_rejected",
    "print_rich",
    "reasons_in_words",
    "time_taken",
]

# Tables keep this width on narrower terminals: no column is cut.
_WIDTH = 100

# Lines of rejected frames that are printed, and ranges of frames in a line; --json lists all.
_REJECTED_SHOWN = 5
_RANGES_SHOWN = 4

# Reasons that are counted.
_REASONS_SHOWN = 4

_SCREENED = "screened: "
# What reasons begin with, and the same in short.
_SHORT = (
    ("blank", "blank"),
    ("saturated", "saturated"),
    ("copy of ", "copies"),
    ("frames of shape ", "of another shape"),
)

_PLACE = re.compile(r"^(?:[^:]*/[^:]*|\S+\.\w+|byte \d+): ")
_KIND = re.compile(r"\S+ pixels \(")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result as one JSON object."""
    print(jsontext.dumps(result))


def print_rich(renderable: RenderableType) -> None:
    """Print a table of rich."""
    from rich.console import Console

    console = Console(width=_WIDTH, file=io.StringIO())
    with console.capture() as capture:
        console.print(renderable)
    # Cells are filled up with blanks.
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns, whatever the length of the values."""
    for name, value in facts:
        print(printable(f"{name:<16}{value}"))


def print_item(mark: str, text: str) -> None:
    """Print a sentence behind a mark, in lines that fit a terminal."""
    text = printable(with_options(text))
    first, others = f"  {mark} ", "    "
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )
    print("\n".join(lines))


def print_rejected(rejected: Sequence[Mapping[str, Any]]) -> None:
    """Print rejected files and frames with their reasons, those of a file that are alike in one line."""
    if not rejected:
        return
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rejected:
        alike.setdefault((row["file"], _NUMBER.sub("#", row["reason"])), []).append(row)
    groups = list(alike.values())
    print("\nrejected (frames are counted from 0):")
    for rows in groups[:_REJECTED_SHOWN]:
        first = rows[0]
        frames = [row["index"] for row in rows if row["index"] is not None]
        where = shown(first["file"]) + (f", {_ranges(frames)}" if frames else "")
        reason = with_options(first["reason"])
        # The first limit that a frame exceeds is enough; its numbers are those of one frame.
        reason = reason.split("; ")[0] if reason.startswith(_SCREENED) else reason
        one = len({row["reason"] for row in rows}) > 1
        print(printable(f"  {where}: {reason}{' (the first)' if one else ''}"))
    left = sum(map(len, groups[_REJECTED_SHOWN:]))
    if left:
        files = len({rows[0]["file"] for rows in groups[_REJECTED_SHOWN:]})
        print(f"  ... and {left:,} more in {files:,} {'file' if files == 1 else 'files'}: --json lists all")
    if any(NAN_REASON in row["reason"] for row in rejected):
        print(f"{NAN_REASON}: {with_options(NAN_HINT)}")


def reasons_in_words(rejected: Sequence[Mapping[str, Any]]) -> str:
    """Count rejected files and frames, by reason."""
    counts = Counter(_reason_in_short(row["reason"]) for row in rejected).most_common()
    if len(counts) == 1:
        return f"{len(rejected)}: {counts[0][0]}"
    words = [f"{count} {reason}" for reason, count in counts[:_REASONS_SHOWN]]
    others = sum(count for _, count in counts[_REASONS_SHOWN:])
    words += [f"{others} for other reasons"] if others else []
    return f"{len(rejected)}: {', '.join(words)}" if words else "0"


def _reason_in_short(reason: str) -> str:
    """The first words of a reason, without what differs from frame to frame."""
    text = reason.removeprefix(_SCREENED)
    text = _PLACE.sub("", text, count=1)
    if _KIND.match(text):
        return "of another pixel type"
    for start, short in _SHORT:
        if text.startswith(start):
            return short
    if (outside := text.find(" outside ")) >= 0:
        return f"{_NUMBER.sub('', text[:outside]).strip()} outside the limits"
    return re.split(r"[,:;(\d]", text, maxsplit=1)[0].strip() or text


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers of frames: ``frame 3``, ``frames 0-2, 7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:_RANGES_SHOWN]]
    left = sum(last - first + 1 for first, last in runs[_RANGES_SHOWN:])
    more = f" and {left} more" if left else ""
    return f"{'frame' if len(numbers) == 1 else 'frames'} {', '.join(words)}{more}"


def time_taken(seconds: float, rate: str) -> tuple[str, str]:
    """A fact: how long a verb took, and its rate if that is known."""
    return "time", f"{seconds:.3g} s in all, frames read at {rate}" if rate else f"{seconds:.3g} s"


def in_bytes(size: int) -> str:
    """A size in the unit that suits it."""
    amount, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"


def check_figure(path: Path) -> None:
    """Raise Error if a file that a figure would replace is not a figure of camnorm."""
    check_content(path, camnorm.plot.MARK.encode(), "a figure of camnorm")
