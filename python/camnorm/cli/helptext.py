"""The help of the program and its verbs: purpose, examples, options by topic, exit status."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from camnorm.cli.session import FAILED, NEGATIVE, WRONG_USE
from camnorm.cli.verbs import VERBS

__all__ = ["Program", "Verb", "described"]

_Verb = TypeVar("_Verb", bound=Callable[..., None])

# Columns of the text: the least that is assumed, and the most that is easy to read.
_NARROWEST, _WIDEST = 60, 100
_INDENT = "  "
_NAMES_WIDTH = 26  # of the column with the names of options
_OPTIONS, _ARGUMENTS = "Options", "Arguments"


def described(text: str, *examples: str, details: str = "", negative: str = "") -> Callable[[_Verb], _Verb]:
    """Give a verb its help.

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
    meanings = {0: "done", FAILED: "failed", WRONG_USE: "usage error", NEGATIVE: negative}
    status = ", ".join(f"{status} {meaning}" for status, meaning in meanings.items() if meaning)

    def describe(verb: _Verb) -> _Verb:
        verb.__doc__ = "\n\n".join(filter(None, [text, details]))
        vars(verb).update(examples=examples, exit_status=f"Exit status: {status}.")
        return verb

    return describe


class _Page:
    """Help that leads with examples, in the same form whatever version of typer is installed."""

    callback: Callable[..., Any] | None
    help: str | None
    _more: tuple[str, ...] = ()  # what stands where a verb has its arguments

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        width = min(max(shutil.get_terminal_size().columns - 1, _NARROWEST), _WIDEST)
        formatter.write("\n".join(line.rstrip() for line in self._lines(ctx, width)) + "\n")

    def _lines(self, ctx: Any, width: int) -> Iterator[str]:
        params = self.get_params(ctx)  # type: ignore[attr-defined]
        arguments = [_names(param) for param in params if param.param_type_name == "argument"]
        yield f"Usage: {' '.join([ctx.command_path, *(arguments or self._more), '[OPTIONS]'])}"
        for paragraph in (self.help or "").split("\n\n"):
            yield ""
            yield from textwrap.wrap(paragraph, width)
        yield from ("", "Examples:")
        for example in getattr(self.callback, "examples", ()):
            yield f"{_INDENT}$ {example}"
        yield from self._commands(ctx, width)
        groups: dict[str, list[Any]] = {}
        for param in params:
            usual = _ARGUMENTS if param.param_type_name == "argument" else _OPTIONS
            groups.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(param)
        for name in sorted(groups, key=lambda name: (name != _ARGUMENTS, name != _OPTIONS)):
            yield from ("", f"{name}:")
            yield from _columns(((_names(param), _help(param)) for param in groups[name]), width)
        yield ""
        yield from textwrap.wrap(getattr(self.callback, "exit_status", ""), width)

    def _commands(self, ctx: Any, width: int) -> Iterator[str]:
        yield from ()


class Verb(_Page, TyperCommand):
    """A verb of the program."""


class Program(_Page, TyperGroup):
    """The program."""

    _more = ("VERB",)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all verbs."""
        return [*VERBS, *(name for name in self.commands if name not in VERBS)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give a verb; its module is imported now."""
        # For a name that is none, the verbs that it may be meant for are looked for among all.
        for name in (cmd_name,) if cmd_name in self.list_commands(ctx) else VERBS:
            if name not in self.commands:
                self.commands[name] = _load(name)
        return super().get_command(ctx, cmd_name)

    def _commands(self, ctx: Any, width: int) -> Iterator[str]:
        yield from ("", "Verbs:")
        more = {name: verb.help or "" for name, verb in self.commands.items()}
        helps = {**VERBS, **more}
        yield from _columns(((name, helps[name].split("\n\n")[0]) for name in self.list_commands(ctx)), width)
        yield from ("", "`camnorm VERB --help` explains a verb.")


def _load(name: str) -> Any:
    """Make the command of a verb."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, cls=Verb)(getattr(import_module(f"camnorm.cli.{name}"), name))
    return typer.main.get_command(alone)


def _columns(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Names and what they mean, beside each other; long names have a line of their own."""
    for name, text in rows:
        lines = textwrap.wrap(text, width - _NAMES_WIDTH - len(_INDENT)) or [""]
        if len(name) > _NAMES_WIDTH - 2:
            yield _INDENT + name
        else:
            yield f"{_INDENT}{name:<{_NAMES_WIDTH}}{lines.pop(0)}"
        for line in lines:
            yield _INDENT + " " * _NAMES_WIDTH + line


def _names(param: Any) -> str:
    """Names of an option, short ones first, and its value as the user types it."""
    if param.param_type_name == "argument":
        return f"{param.metavar}{'...' if param.nargs != 1 else ''}"
    names = [*sorted(param.opts, key=len), *param.secondary_opts]
    shown = ", ".join(names) if len(names[0]) == 2 else f"    {', '.join(names)}"
    return shown if param.is_flag else f"{shown} {param.metavar or 'VALUE'}"


def _help(param: Any) -> str:
    """What an option does, and its default if that says something."""
    notes = []
    default = param.default
    if param.required and param.param_type_name == "option":
        notes.append("required")
    if param.show_default and default not in (None, "", ()) and not param.is_flag and not callable(default):
        notes.append(f"default: {default}")
    return f"{param.help or ''} {'[' + ', '.join(notes) + ']' if notes else ''}".strip()
