"""The command line: parses arguments, calls the library, prints what it returns.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong use, 3 done but
the verdict is negative, 130 interrupted.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

import camnorm

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table
    from typing_extensions import Self

    from .fourier import RingCorrelation
    from .measurement import Progress
    from .verification import Assessment

__all__ = ["app", "main"]

FAILED, NEGATIVE, INTERRUPTED = 1, 3, 130

# Rejected frames, and rings of a curve, that people are shown; programs get all of them.
_REJECTED_SHOWN = 10
_RINGS_SHOWN = 24

app = typer.Typer(
    name="camnorm",
    help="Measure an image sensor from the images that it took, correct them, and prove that it worked.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and end the process."""
    try:
        status = app(standalone_mode=False)
    except Exception as error:
        # Errors of use have no common class that all versions of typer name.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context else ""
        _complain("error", f"{error.format_message()}{hint}")
        status = getattr(error, "exit_code", FAILED)
    sys.exit(status)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"camnorm {camnorm.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _camnorm(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


# What every verb does around its job


@contextmanager
def _session(debug: bool) -> Iterator[None]:
    """Say errors and warnings in one line each, and leave with the status that belongs to them."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        # Names of files may hold bytes that are no text, and terminals may not know a sigma.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt as interrupt:
            _complain("interrupted", *interrupt.args)
            raise typer.Exit(INTERRUPTED) from None
        except (camnorm.Error, OSError, ValueError, TypeError, MemoryError) as error:
            if debug:
                traceback.print_exc()
            _complain("error", _reason(error))
            if isinstance(error, OSError) :
                _drop_stdout()
            raise typer.Exit(FAILED) from None
