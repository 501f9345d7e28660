"""The help of a verb: what it does, examples, the meaning of the exit status."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from camnorm.cli.session import FAILED, NEGATIVE, WRONG_USE

__all__ = ["described"]

_Verb = TypeVar("_Verb", bound=Callable[..., None])


def described(text: str, *examples: str, details: str = "", negative: str = "") -> Callable[[_Verb], _Verb]:
    """Give a verb its help, as the docstring that typer prints.

    Parameters
    ----------
    text : str
        What the verb does; the first sentence appears in the list of verbs.
    *examples : str
        Commands.
    details : str
        More about it.
    negative : str
        What the exit status of a negative verdict means, if the verb gives one.

    Returns
    -------
    callable
        The decorator.
    """
    # The backspace keeps typer from joining the lines below it.
    lines = "\n".join(["\bExamples:", *(f"$ {example}" for example in examples)])
    meanings = {0: "done", FAILED: "failed", WRONG_USE: "wrong use", NEGATIVE: negative}
    status = ", ".join(f"{status} {meaning}" for status, meaning in meanings.items() if meaning)

    def describe(verb: _Verb) -> _Verb:
        verb.__doc__ = "\n\n".join(filter(None, [text, details, lines, f"Exit status: {status}."]))
        return verb

    return describe
