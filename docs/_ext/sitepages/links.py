"""Links between the pages of the site and files of the repository, which is where the pages come from."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["project_pages", "with_all_pages", "with_site_links"]

# Files of the repository that are pages of the site.
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "CHANGELOG.md": "development/changelog.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]`]|`[^`]*`)*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def project_pages(root: Path) -> dict[str, str]:
    """CONTRIBUTING.md and CHANGELOG.md as pages of the site."""
    return {
        page: _moved((root / name).read_text(encoding="utf-8"), root / "docs" / page, root)
        for name, page in _PAGES.items()
        if page != "index.md"
    }


def _moved(text: str, page: Path, root: Path) -> str:
    """The text of a file of the root folder, with links from another place."""

    def replace(found: re.Match[str]) -> str:
        target = os.path.relpath(root / found[3], page.parent)
        return f"{found[1]}[{found[2]}]({Path(target).as_posix()}{found[4] or ''})"

    return _LINK.sub(replace, text)


def with_site_links(text: str, page: Path, docs: Path, repository: str) -> str:
    """Let links to files outside the documentation lead to a page of the site, or to the repository.

    Parameters
    ----------
    text : str
        Markdown of the page.
    page, docs : pathlib.Path
        The page, and the folder of the documentation.
    repository : str
        Address of files of the repository, without their path; if it is empty, links to them become text.

    Returns
    -------
    str
    """
    root = docs.parent

    def replace(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / found[3]))
        if docs in target.parents:
            return found[0]
        if root not in target.parents:
            raise ValueError(f"{page}: {found[3]} is not in the repository")
        name = target.relative_to(root).as_posix()
        if name in _PAGES:
            place = Path(os.path.relpath(docs / _PAGES[name], page.parent)).as_posix()
            return f"[{found[2]}]({place}{found[4] or ''})"
        return f"[{found[2]}]({repository}/{name}{found[4] or ''})" if repository else found[2]

    return _LINK.sub(replace, text)


def with_all_pages(text: str, page: Path) -> str:
    """Replace patterns in tables of contents by the pages that are not named in any of them.

    Sphinx does that for each table by itself, and warns of a pattern if no page is left.

    Parameters
    ----------
    text : str
        Markdown of the page.
    page : pathlib.Path
        The page.
    """
    folder = page.parent
    tables = re.compile(r"^```\{toctree\}\n.*?^```", re.MULTILINE | re.DOTALL)
    named = {page.stem, *(line for table in tables.findall(text) for line in table.split("\n"))}

    def replace(found: re.Match[str]) -> str:
        result: list[str] = []
        for line in found[0].split("\n"):
            paths = folder.glob(f"{line}.md") if "*" in line else ()
            names = {path.relative_to(folder).with_suffix("").as_posix() for path in paths}
            result += sorted(names - named) if "*" in line else [line]
        return "\n".join(result)

    return tables.sub(replace, text)
