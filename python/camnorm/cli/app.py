"""The program, and `main`, which runs one of its verbs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import camnorm
from camnorm.cli.helptext import Program, described
from camnorm.cli.messages import complain, print_trace
from camnorm.cli.session import FAILED, WRONG_USE, prepare_logging, prepare_streams
from camnorm.cli.words import complete_words
from camnorm.errors import message_of
from camnorm.limits import raise_descriptor_limit

__all__ = ["app", "main"]

app = typer.Typer(
    name="camnorm",
    cls=Program,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and end the process."""
    prepare_streams()
    raise_descriptor_limit()
    prepare_logging()
    try:
        status = app(complete_words(sys.argv[1:]), prog_name="camnorm", standalone_mode=False)
    except OSError as error:  # while --help or --version is printed; the verbs' own errors end in `session`
        complain("error", message_of(error))
        status = FAILED
    except Exception as error:
        # Errors of use have no common class that every version of typer names.
        if not hasattr(error, "format_message"):
            sys.excepthook = lambda _, error, __: print_trace(error)
            raise
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context else ""
        complain("error", error.format_message() + hint)
        status = WRONG_USE
    sys.exit(status)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"camnorm {camnorm.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
@described(
    "Measure an image sensor from the images it took, correct them, and test the result.",
    "camnorm demo",
    "camnorm measure movies/ -o sensor.h5",
    "camnorm correct movies/ -m sensor.h5 -o corrected",
    "camnorm verify movies/ -m sensor.h5",
)
def _camnorm(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WRONG_USE)
