"""Phrases that the texts of the project do not have; ``python tests/python/test_phrases.py`` counts them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("phrases.txt")
SUFFIXES = (".py", ".pyi", ".md", ".h", ".hpp", ".cpp")
NOT_WRITTEN_BY_HAND = {"_build", "_generated", "__pycache__"}


def phrases() -> tuple[list[str], list[str]]:
    """Phrases that no text has, and those that still occur."""
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    place = lines.index("-----")
    return lines[:place], lines[place + 1 :]


def texts() -> Iterator[Path]:
    """All texts that users and developers read."""
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
    for folder in ("python", "cpp", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and not NOT_WRITTEN_BY_HAND & set(path.parts):
                yield path


def places_of(phrase: str, text: str) -> list[int]:
    """Lines of a text in which a phrase begins, wherever lines of text, comments and strings are broken."""
    gap = r"(?:[ \t]|\"?\n[ \t]*(?:///?<?|#|\*|>|f?\")?[ \t]*)+"
    words = [re.escape(word).replace(r"\*", r"\w*") for word in phrase.split()]
    found = re.finditer(rf"(?<!\w){gap.join(words)}(?!\w)", text, re.IGNORECASE)
    return [text.count("\n", 0, match.start()) + 1 for match in found]


@pytest.mark.skipif(not (ROOT / "python" / "camnorm").is_dir(), reason="no source tree to check")
def test_no_text_has_them() -> None:
    contents = {path: path.read_text(encoding="utf-8") for path in texts()}
    assert len(contents) > 200
    found = [
        f"{path.relative_to(ROOT)}:{line}: {phrase}"
        for path, text in contents.items()
        for phrase in phrases()[0]
        for line in places_of(phrase, text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("it tells of it", [1]),
        ("a\nIt Tells of it", [2]),
        ("// it tells\n    // of it", [1]),
        ("/// it tells\n/// of it", [1]),
        ("# it tells\n# of it", [1]),
        ("/* it tells\n * of it */", [1]),
        ('"it tells "\n    "of it"', [1]),
        ('"it tells "\n    f"of it"', [1]),
        ("tells of, tells of", [1, 1]),
        ("tells often, retells of, tells_of, tells", []),
    ],
)
def test_where_a_phrase_is_found(text: str, lines: list[int]) -> None:
    assert places_of("tells of", text) == lines


def test_rest_of_a_word() -> None:
    assert places_of("tell* of", "they tell of it\nit tells of it") == [1, 2]


def test_the_list_is_in_order() -> None:
    for part in phrases():
        assert part == sorted(set(part))
    assert not set(phrases()[0]) & set(phrases()[1])


def main() -> None:
    """Print how often each phrase occurs, and where it does first."""
    contents = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in texts()}
    for phrase in (*phrases()[0], *phrases()[1]):
        places = [f"{path}:{line}" for path, text in contents.items() for line in places_of(phrase, text)]
        print(f"{len(places):5} {phrase:40} {places[0] if places else ''}".rstrip())


if __name__ == "__main__":
    main()
