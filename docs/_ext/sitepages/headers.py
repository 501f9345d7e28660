"""The C++ and C reference: a page for every public header."""

from __future__ import annotations

import re
from pathlib import Path

from sitepages.markdown import escaped, fenced, table

__all__ = ["header_pages", "introduction"]

_FOLDER = "reference/cpp"
_FOLDERS = ("cpp/include", "cpp/fftw/include")


def header_pages(root: Path) -> dict[str, str]:
    """Pages of all public headers, and their list."""
    found = sorted(path for folder in _FOLDERS for path in Path(root, folder).glob("camnorm/*.h*"))
    pages, rows = {}, []
    for path in found:
        name = f"camnorm/{path.name}"
        sentence = introduction(path)
        page = path.name.replace(".", "-") + ".md"
        language = "c" if path.suffix == ".h" else "cpp"
        place = Path("../../..", path.relative_to(root)).as_posix()
        include = f"```{{literalinclude}} {place}\n:language: {language}\n```"
        body = [f"# `{name}`", escaped(sentence), fenced(language, f"#include <{name}>"), include]
        pages[f"{_FOLDER}/{page}"] = "\n\n".join(body) + "\n"
        rows.append((f"[`{name}`]({page})", escaped(sentence)))
    toctree = "\n".join([":hidden:", "", *(Path(page).stem for page in pages)])
    index = [
        "# C++ and C",
        "The public headers of the library. Comments in them are the reference.",
        table(["header", "contents"], rows),
        fenced("{toctree}", toctree),
        "",
    ]
    return {f"{_FOLDER}/index.md": "\n\n".join(index), **pages}


def introduction(header: Path) -> str:
    """What a header holds: the first paragraph of its comment about the file."""
    found = re.search(r"^/(?:\*\*|//) @file\n((?:(?:///| \*) .*\n)+)", header.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{header} has no comment that begins with @file and says what it holds")
    return " ".join(line[3:].strip().removesuffix("*/").strip() for line in found[1].splitlines())
