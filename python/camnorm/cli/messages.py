"""Lines on stderr: errors and warnings, which name options where the library names its arguments."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from functools import cache
from typing import TextIO

import camnorm
from camnorm.terminal import printable

__all__ = ["complain", "option_names", "print_trace", "show_warning", "with_options"]


@cache
def option_names() -> dict[str, str]:
    """Options by the arguments that the library's messages name."""
    return {
        name: "--" + name.replace("_", "-")
        for function in (
            camnorm.measure,
            camnorm.correct,
            camnorm.verify,
            camnorm.export,
            camnorm.ReadOptions,
        )
        for name in inspect.signature(function).parameters
        if name != "row_order"  # the verbs choose it
    } | {
        "fdr": "--fdr",
        "mean_limits": "--mean",
        "measure_groups": "--split",
        "out_dir": "--output",
        "program": "--for",
        "std_limits": "--std",
        "sum_frames": "--sum",
    }


@cache
def _argument() -> re.Pattern[str]:
    """An argument with its value; a name that is no other word; or any name that the message is about."""
    names = "|".join(option_names())
    return re.compile(
        rf"(?<![\w./-])({names})=('[^']*'|[\w.]*\w)"
        rf"|(?<![\w./-])((?=\w*_)(?:{names}))(?![\w./=:-])"
        rf"|(?:^|(?<=: ))({names})(?= must | is too )"
    )


def with_options(message: str) -> str:
    """Name the options where a message of the library names its arguments."""

    def option(found: re.Match[str]) -> str:
        name, value, alone, subject = found.groups()
        if name is None:
            return option_names()[alone or subject]
        return option_names()[name] if value == "True" else " ".join([option_names()[name], value.strip("'")])

    return _argument().sub(option, message)


def complain(*parts: str) -> None:
    """Write one line to stderr."""
    line = ": ".join(["camnorm", *(" ".join(with_options(part).split("\n")) for part in parts)])
    print(printable(line), file=sys.stderr)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write a warning to stderr; takes the place of `warnings.showwarning`."""
    complain("warning", str(message))


def print_trace(error: BaseException) -> None:
    """Write to stderr where an error comes from."""
    for part in traceback.TracebackException.from_exception(error).format():
        place = part[0].isspace()  # else the error itself, with what it names
        lines = part.rstrip("\n").split("\n") if place else [part.rstrip("\n")]
        print(*map(printable, lines), sep="\n", file=sys.stderr)
