"""``camnorm compare``: what changed in a sensor between two epochs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.options import AsJson, Debug, Quiet
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import check_figure, print_facts, print_item, print_json
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.epochs.changes import COLUMNS
from camnorm.io import Protected, check_content
from camnorm.progress import Progress

if TYPE_CHECKING:
    from camnorm import Changes
    from camnorm.diagnosis.epochs.changes import Place

__all__ = ["compare"]

_FIGURES = (".png", ".pdf", ".svg")

# Blobs of a class that are printed.
_SHOWN = 5


@described(
    VERBS["compare"],
    "camnorm compare january.h5 june.h5",
    "camnorm compare january.h5 june.h5 -o changes.png",
    "camnorm compare january.h5 june.h5 -o changes/ --json",
    details="The measurements must be of one camera and of different frames. Dust and single pixels that "
    "changed are listed with their places (x, y: columns and rows, counted from 0).",
)
def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", show_default=False, help="Earlier sensor file.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", show_default=False, help="Later sensor file.")],
    fdr: Annotated[
        float, typer.Option("--fdr", metavar="Q", help="Share of false alarms among the changed pixels.")
    ] = 0.01,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            show_default=False,
            help="Figure (.png, .pdf or .svg), table of all changes (.csv), or a directory for both.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    if not 0 < fdr < 1:
        raise typer.BadParameter(f"must be above 0 and below 1, not {fdr:g}.", param_hint="--fdr")
    with session(debug) as signals:
        targets = _targets(output, Protected([old, new]))
        with ProgressBar(quiet, signals) as bar:
            bar(Progress("comparing", 0, 1, frames=0, bytes=0, rejected=0))
            changes = camnorm.compare(old, new, fdr=fdr)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix == ".csv":
                changes.to_csv(target)
            else:
                camnorm.plot.save(camnorm.plot.changes_figure(changes), target)
        if as_json:
            print_json({"old": old, "new": new, **changes.to_dict(), "written": targets})
        else:
            print_facts(_lead(changes, old, new, targets))
            _print_blobs(changes)
            print()
            print_facts(_facts(changes, targets))


def _targets(output: Path | None, protected: Protected) -> list[Path]:
    """The files to be written; Error if one of them would replace another file."""
    if output is None:
        return []
    kind = output.suffix.lower()
    targets = [output] if kind in (*_FIGURES, ".csv") else [output / "changes.png", output / "changes.csv"]
    for target in targets:
        protected.check(target)
        if target.suffix.lower() == ".csv":
            check_content(target, ",".join(COLUMNS).encode(), "a table of changes")
        else:
            check_figure(target)
    return targets


def _lead(changes: Changes, old: Path, new: Path, targets: Sequence[Path]) -> Iterator[tuple[str, object]]:
    """What changed, what to do, and what to run next."""
    yield "verdict", changes.sentence
    if changes.remedy:
        yield "what to do", changes.remedy
        if not targets:
            yield "next", f"camnorm compare {shlex.join([str(old), str(new)])} -o changes.png"
    else:
        yield "what to do", "Nothing: the old measurement still holds."


def _print_blobs(changes: Changes) -> None:
    """Print the blobs of each class."""
    lines = [
        (name, [_in_words(place) for place in getattr(changes, name)]) for name in ("came", "went", "stayed")
    ]
    moved = [
        f"{_at(motion.origin)} to {_at(motion.target)}, by {motion.distance:.1f} pixels"
        for motion in changes.moved
    ]
    lines.append(("moved", moved))
    if any(words for _, words in lines):
        print("\nblobs, such as dust (x, y):")
    for name, words in lines:
        if words:
            more = f"; and {len(words) - _SHOWN:,} more (--json lists all)" if len(words) > _SHOWN else ""
            print_item("-", f"{len(words)} {name}: {'; '.join(words[:_SHOWN])}{more}")


def _at(place: Place) -> str:
    return f"{place.x:.0f}, {place.y:.0f}"


def _in_words(place: Place) -> str:
    return f"{_at(place)} ({place.size} pixels, {place.depth:+.3g} counts)"


def _facts(changes: Changes, targets: Sequence[Path]) -> Iterator[tuple[str, object]]:
    old, new = changes.frames
    yield "frames", f"{old:,} and {new:,}"
    mean, sigma = int(changes.mean_changed.sum()), int(changes.sigma_changed.sum())
    yield "changed pixels", f"{changes.changed_pixels:,}: mean of {mean:,}, sigma of {sigma:,}"
    yield "false alarms", f"at most {100 * changes.fdr:g} % of the changed pixels are expected to be chance"
    yield "scale", _with_error(changes.scale, changes.scale_error)
    yield "offset", f"{_with_error(changes.offset, changes.offset_error)} counts"
    yield "sigma ratio", _numbers(changes.sigma_ratio)
    yield from (("note", note) for note in changes.notes)
    if targets:
        yield "written", ", ".join(map(str, targets))


def _with_error(value: float | Sequence[float], error: float | Sequence[float]) -> str:
    values = value if isinstance(value, Sequence) else [value]
    errors = error if isinstance(error, Sequence) else [error]
    return ", ".join(
        "undetermined" if math.isnan(one) else f"{one:.6g} ± {its:.2g}"
        for one, its in zip(values, errors, strict=True)
    )


def _numbers(value: float | Sequence[float]) -> str:
    return ", ".join(f"{one:.4g}" for one in (value if isinstance(value, Sequence) else [value]))
