"""The command line: a page for every verb, from the objects that also print its help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from camnorm.cli.app import app
from sitepages.markdown import escaped, fenced, table

__all__ = ["command_pages"]

_FOLDER = "reference/cli"
_PLAIN = "Options"  # of no panel


def command_pages() -> dict[str, str]:
    """Pages of all verbs, and of the program."""
    program: Any = typer.main.get_command(app)
    verbs: dict[str, Any] = {name: program.get_command(None, name) for name in program.list_commands(None)}
    pages = {f"{_FOLDER}/{name}.md": _page(f"camnorm {name}", verb) for name, verb in verbs.items()}
    return {f"{_FOLDER}/index.md": _index(program, verbs), **pages}


def _prose(text: str) -> str:
    """Text of a help, in which options are code."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"(?<![\w-])--?[A-Za-z][\w-]*", r"`\g<0>`", part) for part in parts[::2]]
    return escaped("".join(parts))


def _index(program: Any, verbs: dict[str, Any]) -> str:
    rows = ((f"[`camnorm {name}`]({name}.md)", _prose(_sentence(verb))) for name, verb in verbs.items())
    options = [
        *_options("camnorm", program),
        *_option("camnorm", ("-h", "--help"), "Print the help and exit."),
    ]
    return "\n\n".join(
        [
            "# Command line",
            _text(program),
            _examples(program),
            table(["verb", "what it does"], rows),
            "Every verb prints its help with `--help`. See also [exit status](../exit-status.md), "
            "[environment variables](../environment.md) and [JSON output](../json.md).",
            "## Options of the program",
            *options,
            fenced("{toctree}", ":hidden:\n\n" + "\n".join(verbs)),
            "",
        ]
    )


def _page(name: str, verb: Any) -> str:
    arguments = [one for one in verb.params if one.param_type_name == "argument"]
    listed = [f"`{_argument(one)}`\n: {_prose(one.help)}" for one in arguments]
    return "\n\n".join(
        [
            f"# `{name}`",
            _text(verb),
            fenced("text", _usage(name, verb)),
            "## Examples",
            _examples(verb),
            *(["## Arguments", *listed] if listed else []),
            *_options(name, verb),
            "## Exit status",
            _prose(verb.callback.exit_status.removeprefix("Exit status: "))
            + " See [exit status](../exit-status.md).",
            "",
        ]
    )


def _text(command: Any) -> str:
    """What a command does."""
    return "\n\n".join(_prose(" ".join(part.split())) for part in command.help.split("\n\n"))


def _examples(command: Any) -> str:
    return fenced("console", "\n".join(f"$ {example}" for example in command.callback.examples))


def _sentence(command: Any) -> str:
    return str(command.help.split("\n\n")[0])


def _usage(name: str, verb: Any) -> str:
    words = [name]
    for one in verb.params:
        if one.param_type_name == "argument":
            words.append(_argument(one) if one.required else f"[{_argument(one)}]")
    words += [f"{_shortest(one)} {_metavar(one)}" for one in verb.params if _is_option(one) and one.required]
    return " ".join([*words, "[OPTIONS]"])


def _argument(parameter: Any) -> str:
    return _metavar(parameter) + ("..." if parameter.nargs == -1 else "")


def _metavar(parameter: Any) -> str:
    """What stands for the value; flags have none."""
    if getattr(parameter, "is_flag", False):
        return ""
    if not parameter.metavar:
        raise ValueError(f"{parameter.name} has no metavar: give it one")
    return str(parameter.metavar)


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _shortest(option: Any) -> str:
    return str(min(option.opts, key=len))


def _options(name: str, command: Any) -> Iterator[str]:
    """Options in their panels, those of no panel first."""
    panels: dict[str, list[Any]] = {_PLAIN: []}
    for one in command.params:
        if _is_option(one) and not one.hidden:
            panels.setdefault(one.rich_help_panel or _PLAIN, []).append(one)
    for panel, options in panels.items():
        if command.name is not None and command.params and not hasattr(command, "commands"):
            yield f"## {panel}"
        for one in options:
            names = sorted([*one.opts, *one.secondary_opts], key=len)
            yield from _option(name, tuple(names), _help(one), _metavar(one))


def _help(option: Any) -> str:
    default = option.default
    shown = option.show_default is not False and not getattr(option, "is_flag", False)
    notes = ["Required."] if option.required else []
    if shown and default is not None:
        notes.append(f"Default: `{default if not isinstance(default, Path) else default.as_posix()}`.")
    return " ".join([_prose(option.help), *notes])


def _option(program: str, names: tuple[str, ...], text: str, value: str = "") -> Iterator[str]:
    """One option, that has a name to link to."""
    yield fenced("{program}", "").replace("}", "} " + program, 1).replace("\n\n", "\n")
    signature = ", ".join(f"{name} {value}".rstrip() for name in names)
    yield f"```{{option}} {signature}\n{text}\n```"
