"""The pages of the documentation: their examples work, their links lead somewhere; the runner of examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pages import Demo, PageError, blocks_of, link_tree, matches, run_page, updated

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted([*DOCS.glob("tutorials/*.md"), *DOCS.glob("howto/*.md")]))
    if page.is_file() and any(block.runs for block in blocks_of(page.read_text(encoding="utf-8")))
]

needs_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="an installed package has no documentation")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Data of ``camnorm demo``, made when a page first asks for them."""
    folder = tmp_path_factory.mktemp("demo")
    printed: list[str] = []

    def provide(target: Path) -> str:
        if not printed:
            command = [sys.executable, "-m", "camnorm", "demo"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
            printed.append(done.stdout)
        link_tree(folder / "camnorm-demo", target / "camnorm-demo")
        return printed[0]

    return provide


@needs_docs
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", [pytest.param(page, id=f"{page.parent.name}/{page.name}") for page in PAGES])
def test_page(page: Path, tmp_path: Path, demo: Demo, request: pytest.FixtureRequest) -> None:
    skipped = run_page(page, tmp_path, demo, update=request.config.getoption("--update-docs"))
    for reason in skipped:
        print(f"not run: {reason}")


# Links

TEXTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md")),
        *(path for path in DOCS.rglob("*.md") if not {"_build", "_generated"} & set(path.parts)),
    ]
)


def broken_links(pages: Mapping[Path, str], exists: Callable[[Path], bool]) -> list[str]:
    """Links of pages that lead to no file, or to no heading of it."""
    broken = []
    for page, text in pages.items():
        prose = re.sub(r"`[^`\n]+`", "code", re.sub(r"^ *(```|~~~).*?^ *\1", "", text, flags=re.M | re.S))
        for name, anchor in re.findall(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)", prose):
            target = Path(os.path.normpath(page.parent / name)) if name else page
            if not exists(target) and target not in pages:
                broken.append(f"{page}: {name}")
            elif anchor and anchor not in anchors_of(pages.get(target, "")):
                broken.append(f"{page}: {name}#{anchor}")
    return broken


def anchors_of(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+?) *$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@needs_docs
def test_links() -> None:
    from sitepages import generated_pages

    pages = {path: path.read_text(encoding="utf-8") for path in TEXTS if path.exists()}
    pages |= {DOCS / name: text for name, text in generated_pages(ROOT).items()}
    assert broken_links(pages, Path.exists) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.txt").touch()
    page, other = tmp_path / "docs" / "page.md", tmp_path / "other.md"
    text = """# One
[a](../other.md) [b](../other.md#two-words-and-code) [c](../there.txt) [d](https://x.org/y.md) [e](#one)
`[f](gone.md)`
```
[g](gone.md)
```
[h](gone.md) [i](../other.md#three) [j](#two)
"""
    pages = {page: text, other: "# Two words, and `code`\n```sh\n# three\n```\n"}
    broken = [f"{page}: gone.md", f"{page}: ../other.md#three", f"{page}: #two"]
    assert broken_links(pages, Path.exists) == broken


# The runner itself


def no_demo(folder: Path) -> str:
    raise AssertionError("nothing asks for the demonstration")


RunText = Callable[..., tuple[list[str], str]]


@pytest.fixture
def run_text(tmp_path: Path) -> RunText:
    """Run a page of this text; gives what was skipped, and the text afterwards."""

    def run(text: str, update: bool = False, demo: Demo = no_demo) -> tuple[list[str], str]:
        page, folder = tmp_path / "page.md", tmp_path / "folder"
        page.write_text(text)
        folder.mkdir()
        skipped = run_page(page, folder, demo, update)
        return skipped, page.read_text()

    return run


def test_commands_in_order(run_text: RunText) -> None:
    text = """# Title

```console
$ mkdir a && cd a
$ echo one; echo two >&2; \\
echo three
one
two
three
```

   <!-- file: sub/b.txt -->

   ```text
   from a file
     indented
   ```

```console
$ pwd
.../a
$ export WORD=kept
```
```console
$ cat ../sub/b.txt; echo "$WORD"
from a ...
  indented
...
$ (cd .. && ls)
a
sub
```
"""
    assert run_text(text) == ([], text)


def test_python(run_text: RunText) -> None:
    text = """
```python
from pathlib import Path
x = 3
Path("x.txt").write_text(f"{x}\\n")
```
```console
$ cat x.txt
3
$ python -c "print(5)"
5
```
```python
>>> for i in range(x):
...     print(i)
0
...
2
>>> x / 0
Traceback (most recent call last):
    ...
ZeroDivisionError: division by zero
>>> x = 7

>>> x
7
```
"""
    assert run_text(text) == ([], text)


def test_camnorm_is_the_one_that_is_tested(run_text: RunText) -> None:
    import camnorm

    run_text(f"```console\n$ camnorm --version\ncamnorm {camnorm.__version__}\n```\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```console\n$ echo a\nb\n```", r"line 1: not what is printed by\necho a\n.*\n-b\n\+a"),
        ("```console\n$ echo a\n```", r"not what is printed by"),
        ("```console\n$ true\nb\n```", r"not what is printed by"),
        ("```console\n$ echo lost; exit 4\n```", r"exit status 4, not 0, of\n\$ echo lost; exit 4\nlost"),
        ("<!-- exit: 3 -->\n```console\n$ true\n```", "exit status 0, not 3"),
        ("<!-- exit: 3 -->\n```console\n$ (exit 3)\n$ (exit 3)\n```", "exit status 3, not 0"),
        ("```console\n$ camnorm nothing\n...\n```", "exit status 2, not 0"),
        ("```console\n$ true", "line 1: the block does not end"),
        ("```console\ntrue\n```", r"no line begins with '\$ '"),
        ("```python\n>>> 1 + 1\n3\n```", r"not what is printed by\n1 \+ 1"),
        ("```python\n>>> 1 / 0\n```", "not what is printed by"),
    ],
)
def test_what_is_wrong_is_found(run_text: RunText, text: str, message: str) -> None:
    with pytest.raises(PageError, match=re.compile(message, re.DOTALL)):
        run_text(text)


def test_errors_of_python_are_found(run_text: RunText) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        run_text("\n\n```python\nx = 1\nx / 0\n```")
    assert raised.traceback[-1].lineno + 1 == 5


def test_exit_status(run_text: RunText) -> None:
    run_text("<!-- exit: 3 -->\n\n```console\n$ true\n$ echo a; exit 3\na\n```\n")


def test_skipped_blocks(run_text: RunText) -> None:
    text = "<!-- no-run: needs a detector -->\n```console\n$ false\n```\n```sh\nfalse\n```\n"
    assert run_text(text) == (["page.md, line 2: needs a detector"], text)
    assert [block.runs for block in blocks_of(text)] == [False, False]


def test_the_demonstration_runs_once_for_all_pages(run_text: RunText) -> None:
    def demo(folder: Path) -> str:
        (folder / "camnorm-demo").mkdir()
        return f"frames in {folder}/camnorm-demo\n"

    run_text("```console\n$ camnorm demo\nframes in .../camnorm-demo\n$ ls\ncamnorm-demo\n```\n", demo=demo)


def test_fences() -> None:
    text = (
        "````md\n```console\n$ a\n```\n````\n~~~python\nx\n~~~\n- item\n\n  ```console\n  $ b\n   c\n  ```\n"
    )
    found = blocks_of(text)
    assert [(block.language, block.lines) for block in found] == [
        ("md", ["```console", "$ a", "```"]),
        ("python", ["x"]),
        ("console", ["$ b", " c"]),
    ]


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("time   2.52 s, 163.3 frames/s, 192.6 MB/s", "time   12.5 s, 9.3 frames/s, 1.6 GB/s", True),
        ("time   2.52 s", "time   2.52 m", False),
        ("took 1 min", "took 20 ms", True),
        ('{"seconds": 1.5, "n": 2}', '{"seconds": 2, "n": 2}', True),
        ('{"seconds": 1.5, "n": 2}', '{"seconds": 2, "n": 3}', False),
        ("at 2026-01-02T03:04:05+00:00", "at 2027-01-02T03:04:06+00:00", True),
        ("frames 3, 2.52 s", "frames 4, 2.52 s", False),
        ("k = 6", "k = 7", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nd", True),
        ("a\n...\nd", "a\nb\ne", False),
        ("...", "", True),
        ("a ... c", "a b c", True),
        ("a ... c", "a b\nc", False),
        ("(a|b)", "a", False),
        ("a  ", "a", True),
        ("", "a", False),
    ],
)
def test_what_matches(expected: str, actual: str, same: bool) -> None:
    assert matches(expected, actual) == same


@pytest.mark.parametrize(
    ("expected", "actual", "result"),
    [
        ("a 1\n...\nz 3", "a 2\nb\nc\nz 4", "a 2\n...\nz 4"),
        ("...\nz 3", "a\nb\nz 4", "...\nz 4"),
        ("a 1\n...", "a 2\nb\nc", "a 2\n..."),
        ("a 1 ... z\nb 1", "a 1 to z\nb 2", "a 1 ... z\nb 2"),
        ("a 1\n...\nz 3", "other\nlines", "other\nlines"),
        ("a 1", "a 1\nb", "a 1\nb"),
        ("time 1 s\nb 1", "time 2 s\nb 2", "time 1 s\nb 2"),
        ("gone", "", ""),
    ],
)
def test_updated_output(expected: str, actual: str, result: str) -> None:
    found = updated(expected.split("\n"), actual.split("\n"))
    assert "\n".join(found) == result
    assert matches("\n".join(found), actual)


def test_pages_are_updated(run_text: RunText) -> None:
    text = """
```console
$ echo 1; echo 2
1
$ echo same
same
```

- item
  ```console
  $ printf 'a\\n\\nb\\n'
  ```

```python
>>> 1 + 1
3

>>> 2 + 2
4
```
"""
    _, changed = run_text(text, update=True)
    assert changed == text.replace("2\n1\n", "2\n1\n2\n").replace("b\\n'\n", "b\\n'\n  a\n\n  b\n").replace(
        "1 + 1\n3", "1 + 1\n2"
    )
