"""Pages of the documentation as tests: their blocks are run, and what they print is compared.

A ``console`` block holds commands, in lines that begin with ``$ ``, and what they print; a ``python`` block
is executed, or compared if it is written with ``>>>``. A comment in the line before a block changes that:

- ``<!-- no-run: reason -->``: the block is skipped;
- ``<!-- file: name -->``: the block is written to a file, for later blocks to use;
- ``<!-- exit: 3 -->``: the block's last command ends with this exit status.

In what a page expects, ``...`` stands for any text in a line, and a line of only ``...`` for any lines.
Times, rates and dates may differ.
"""

from __future__ import annotations

import contextlib
import difflib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Block", "Demo", "PageError", "blocks_of", "link_tree", "matches", "run_page", "updated"]

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(\S*)")
_MARK = re.compile(r"^ *<!-- (no-run|file|exit):? *(.*?) *-->$")
_ELLIPSIS = "..."

# What differs from run to run.
_NUMBER = r"\d[\d.,]*(?:e[+-]?\d+)?"
_MASKS = [
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+\d\d:\d\d|Z)?"), "<date>"),
    (re.compile(rf'("(?:seconds|mtime|started|ended)": )("[^"]*"|{_NUMBER}|null)'), r"\1<time>"),
    (re.compile(rf"{_NUMBER} (?:frames|files|[kMG]?B)/s(?!\w)"), "<rate>"),
    (re.compile(rf"(?<![\w.]){_NUMBER} (?:[mµn]?s|min|h)(?![\w/])"), "<time>"),
]

# Sets the state that the command before left, and keeps its own.
_SHELL = """
cd "$1" && . "$2/state" && cd "$(cat "$2/folder")" || exit
eval "$3"
status=$?
export -p > "$2/state"
pwd > "$2/folder"
exit $status
"""

Demo = Callable[[Path], str]


class PageError(AssertionError):
    """A page does not say what happens."""


@dataclass
class Block:
    """A fenced block: its language, lines, number of the first of these in the page, and mark before it."""

    language: str
    lines: list[str]
    start: int
    indent: str = ""
    mark: str = ""
    value: str = ""

    @property
    def runs(self) -> bool:
        """Whether there is anything to be done."""
        return self.mark == "file" or (self.mark != "no-run" and self.language in ("console", "python"))


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    fence, mark = "", ("", "")
    for number, line in enumerate(text.splitlines()):
        opening = _FENCE.match(line)
        if fence:
            if opening and opening[2].startswith(fence) and line.strip() == opening[2]:
                fence = ""
            else:
                found[-1].lines.append(line.removeprefix(found[-1].indent))
        elif opening:
            fence = opening[2]
            found.append(Block(opening[3], [], number + 1, opening[1], *mark))
            mark = ("", "")
        elif line.strip():
            named = _MARK.match(line)
            mark = (named[1], named[2]) if named else ("", "")
    if fence:
        raise PageError(f"line {found[-1].start}: the block does not end")
    return found


def masked(text: str) -> str:
    """Without what differs from run to run."""
    lines = []
    for line in text.splitlines():
        changed = line.rstrip()
        for pattern, mask in _MASKS:
            changed = pattern.sub(mask, changed)
        lines.append(changed if changed == line.rstrip() else re.sub(" +", " ", changed))
    return "\n".join(lines).strip("\n")


def matches(expected: str, actual: str) -> bool:
    """Whether a page expects what was printed."""
    pattern = ""
    for line in masked(expected).split("\n"):
        if line.strip() == _ELLIPSIS:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += "[^\n]*".join(map(re.escape, line.split(_ELLIPSIS))) + "\n"
    return re.fullmatch(pattern, masked(actual) + "\n") is not None


def updated(expected: list[str], actual: list[str]) -> list[str]:
    """What was printed, shortened where the page shortens it."""
    if matches("\n".join(expected), "\n".join(actual)):
        return expected
    kept = [line for line in expected if line.strip() != _ELLIPSIS]
    partner = _partners(kept, actual)
    result: list[str] = []
    place = taken = 0  # lines of `kept` and of `actual` that are done
    for line in expected:
        if line.strip() != _ELLIPSIS:
            match = partner.get(place)
            if match is not None:
                result += [*actual[taken:match], line if matches(line, actual[match]) else actual[match]]
                taken = match + 1
            place += 1
        elif place == 0 or place - 1 in partner:
            following = partner.get(place) if place < len(kept) else len(actual)
            if following is not None:
                result.append(line)
                taken = following
    return result + actual[taken:]


def _partners(kept: list[str], actual: list[str]) -> dict[int, int]:
    """Lines of what was printed that take the place of those of the page, which may have other numbers."""
    like = [next((other for other in actual if matches(line, other)), line) for line in kept]
    keys = [[re.sub(r"[\d.,]+", "#", masked(line)) for line in lines] for lines in (like, actual)]
    pairs: dict[int, int] = {}
    for match in difflib.SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks():
        pairs |= {match.a + i: match.b + i for i in range(match.size)}
    return pairs


def run_page(page: Path, folder: Path, demo: Demo, update: bool = False) -> list[str]:
    """Run the blocks of a page.

    Parameters
    ----------
    page : pathlib.Path
        The page, in Markdown.
    folder : pathlib.Path
        An empty folder, in which commands run.
    demo : callable
        Puts the data of ``camnorm demo`` into a folder and returns what the command prints.
    update : bool
        Whether the page is rewritten to say what happens.

    Returns
    -------
    list of str
        Blocks that were skipped, and why.

    Raises
    ------
    PageError
        A command fails, or prints something else.
    """
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(text)
    runner = _Runner(page, folder, demo, update)
    for block in blocks:
        runner.run(block)
    lines = text.splitlines()
    for block in reversed(blocks):  # from the end: lines before a block keep their numbers
        if block.start in runner.changed:
            end = block.start + len(block.lines)
            lines[block.start : end] = [
                (block.indent + line).rstrip() for line in runner.changed[block.start]
            ]
    if runner.changed:
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return runner.skipped


class _Runner:
    def __init__(self, page: Path, folder: Path, demo: Demo, update: bool) -> None:
        self.page, self.update = page, update
        self.skipped: list[str] = []
        self.changed: dict[int, list[str]] = {}
        self._demo = demo
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._folder, self._state = folder / "work", folder / "shell"
        self._folder.mkdir()
        _prepare_shell(self._state, self._folder)

    def run(self, block: Block) -> None:
        """Do what a block says."""
        if block.mark == "no-run":
            self.skipped.append(f"{self._place(block)}: {block.value}")
        elif block.mark == "file":
            path = self._folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(block.lines) + "\n", encoding="utf-8")
        elif block.language == "console":
            self._run_console(block)
        elif block.language == "python":
            self._run_python(block)

    def _run_console(self, block: Block) -> None:
        commands = _commands(block.lines)
        if not commands:
            raise PageError(f"{self._place(block)}: no line begins with '$ '")
        result: list[str] = []
        for number, (typed, expected) in enumerate(commands):
            last = number == len(commands) - 1
            status = int(block.value) if block.mark == "exit" and last else 0
            command = "\n".join([typed[0][2:], *(line.removeprefix("> ") for line in typed[1:])])
            actual = self._shell(block, command, status)
            result += [*typed, *self._compared(block, command, expected, actual)]
        self._change(block, result)

    def _shell(self, block: Block, command: str, status: int) -> str:
        if command == "camnorm demo":
            return self._without_folder(self._demo(self._folder))
        done = subprocess.run(
            ["bash", "-c", _SHELL, "bash", self._folder, self._state, command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != status:
            raise PageError(
                f"{self._place(block)}: exit status {done.returncode}, not {status}, of\n"
                f"$ {command}\n{done.stdout}"
            )
        return self._without_folder(done.stdout)

    def _run_python(self, block: Block) -> None:
        code = "\n".join(block.lines) + "\n"
        with _inside(self._folder):
            if not re.search(r"^>>> ", code, re.MULTILINE):
                place = "\n" * block.start + code  # so that a traceback names lines of the page
                exec(compile(place, str(self.page), "exec"), self._names)
                return
            result: list[str] = []
            lines = block.lines
            examples = doctest.DocTestParser().get_examples(code)
            for example, end in zip(
                examples, [*(one.lineno for one in examples[1:]), len(lines)], strict=True
            ):
                typed = example.source.count("\n")
                expected = lines[example.lineno + typed : end]
                printed = self._without_folder(_printed(example.source, self._names))
                result += lines[example.lineno : example.lineno + typed]
                result += self._compared(block, example.source.rstrip(), expected, printed)
            self._change(block, result)

    def _compared(self, block: Block, command: str, expected: list[str], actual: str) -> list[str]:
        """What a page is to say: what it says, or if it may be rewritten, what happened."""
        if matches("\n".join(expected), actual):
            return expected
        if self.update:
            blank = [""] * (len(expected) - len("\n".join(expected).rstrip("\n").split("\n")))
            return updated(expected[: len(expected) - len(blank)], actual.rstrip("\n").split("\n")) + blank
        difference = difflib.unified_diff(
            masked("\n".join(expected)).split("\n"),
            masked(actual).split("\n"),
            "page",
            "printed",
            lineterm="",
        )
        raise PageError("\n".join([f"{self._place(block)}: not what is printed by", command, *difference]))

    def _change(self, block: Block, lines: list[str]) -> None:
        if lines != block.lines:
            self.changed[block.start] = lines

    def _without_folder(self, text: str) -> str:
        return text.replace(str(self._folder), _ELLIPSIS)

    def _place(self, block: Block) -> str:
        return f"{self.page.name}, line {block.start}"


def _commands(lines: list[str]) -> list[tuple[list[str], list[str]]]:
    """Commands of a block, of one line or several, and what each is expected to print."""
    found: list[tuple[list[str], list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(([line], []))
        elif found and not found[-1][1] and (line.startswith("> ") or found[-1][0][-1].endswith("\\")):
            found[-1][0].append(line)
        elif found:
            found[-1][1].append(line)
    return found


def _prepare_shell(state: Path, folder: Path) -> None:
    """The first state of a page's shell: `camnorm` and `python` are those that run the tests."""
    programs = state / "bin"
    programs.mkdir(parents=True)
    for name, arguments in {"camnorm": "-m camnorm", "python": "", "python3": ""}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        program.chmod(0o755)
    settings = {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "TERM": "dumb",
    }
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    (state / "state").write_text(text)
    (state / "folder").write_text(f"{folder}\n")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Change the working directory for a while; Python 3.10 has no `contextlib.chdir`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _printed(source: str, names: dict[str, Any]) -> str:
    """What an interactive Python prints: values too, and the last line of an error."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        try:
            exec(compile(source, "<page>", "single"), names)
        except Exception as error:
            print(f"Traceback (most recent call last):\n  ...\n{type(error).__name__}: {error}")
    return stream.getvalue()


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder without copying the data."""
    shutil.copytree(source, target, copy_function=os.link)
