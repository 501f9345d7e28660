"""Lines on stderr: errors and warnings, which name options where the library names its arguments."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from typing import TextIO

import camnorm
from camnorm.terminal import printable

__all__ = ["OPTIONS", "complain", "print_trace", "show_warning", "with_options"]

# Options by the arguments that the library's messages name.
OPTIONS = {
    name: "--" + name.replace("_", "-")
    for function in (camnorm.measure, camnorm.correct, camnorm.verify, camnorm.ReadOptions)
    for name in inspect.signature(function).parameters
    if name != "row_order"  # the verbs choose it
} | {
    "mean_limits": "--mean",
    "measure_groups": "--split",
    "out_dir": "--output",
    "std_limits": "--std",
    "sum_frames": "--sum",
}

# An argument with its value; a name that is no other word; or any name where it is what the message is about.
_NAMES = "|".join(OPTIONS)
_ARGUMENT = re.compile(
    rf"(?<![\w./-])({_NAMES})=('[^']*'|[\w.]*\w)"
    rf"|(?<![\w./-])((?=\w*_)(?:{_NAMES}))(?![\w./=:-])"
    rf"|(?:^|(?<=: ))({_NAMES})(?= must | is too )"
)


def with_options(message: str) -> str:
    """Name the options where a message of the library names its arguments."""

    def option(found: re.Match[str]) -> str:
        name, value, alone, subject = found.groups()
        if name is None:
            return OPTIONS[alone or subject]
        return OPTIONS[name] if value == "True" else " ".join([OPTIONS[name], value.strip("'")])

    return _ARGUMENT.sub(option, message)


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
