"""What every verb runs in: standard streams, logging, signals, errors and the exit status."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

import camnorm
from camnorm.cli.messages import complain, print_trace, show_warning
from camnorm.errors import message_of, shortage_of
from camnorm.terminal import printable

__all__ = ["FAILED", "NEGATIVE", "WRONG_USE", "prepare_logging", "prepare_streams", "session"]

# Exit status; a signal adds its number to the last one.
FAILED, WRONG_USE, NEGATIVE = 1, 2, 3
_ENDED = 128


def prepare_streams() -> None:
    """Make sure that there are standard streams, and that any text can be printed to stdout.

    Some daemons start programs with closed streams. No file that is opened may get the number of one of
    them: it would receive what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdout is None or sys.stderr is None:
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end of the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    # File names may hold bytes that are not text, and a terminal may not know a sigma.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def prepare_logging() -> None:
    """Escape control characters in what libraries log; leave out what does not concern the images."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_PrintableFormatter())
    # It warns of a home directory that cannot be written.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def session(debug: bool) -> Iterator[list[int]]:
    """Print errors and warnings in one line each, and exit with the status that belongs to them.

    Parameters
    ----------
    debug : bool
        Whether errors show where they come from.

    Yields
    ------
    list of int
        The signals received that were to end the program, for a `ProgressBar`.
    """
    with warnings.catch_warnings(), _signals_interrupt() as signals:
        warnings.showwarning = show_warning
        try:
            yield signals
            print(end="", flush=True)
        except BrokenPipeError:
            # The reader needs no more.
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt as interrupt:
            complain("interrupted", *interrupt.args)
            raise typer.Exit(_ENDED + (signals or [signal.SIGINT])[0]) from None
        except Exception as error:
            shortage = shortage_of(error)
            if shortage is None and not isinstance(error, (camnorm.Error, OSError, ValueError, TypeError)):
                raise  # a mistake of the program
            if debug:
                print_trace(error)
            complain("error", message_of(shortage or error))
            raise typer.Exit(FAILED) from None


@contextmanager
def _signals_interrupt() -> Iterator[list[int]]:
    """Have other signals that end a program do what Ctrl-C does, so that nothing half done is left.

    Schedulers and closing terminals send these. Ignored ones, as by nohup, stay ignored. Yields the
    signals received.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        waiting = signal.getsignal(signal.SIGINT)
        if waiting is not interrupt and callable(waiting):  # a `PoliteInterrupt`
            waiting(number, frame)
        else:
            raise KeyboardInterrupt

    known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in known if number is not None}
    before = {number: handler for number, handler in before.items() if handler in defaults}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
