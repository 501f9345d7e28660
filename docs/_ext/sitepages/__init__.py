"""Pages of the documentation that are made from the code when the site is built.

An extension of Sphinx. The pages are written into folders of ``docs`` that git ignores, so that links between
pages are those of files.
"""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import atlas
from sitepages.api import api_pages
from sitepages.commands import command_pages
from sitepages.headers import header_pages
from sitepages.links import project_pages, with_all_pages, with_site_links
from sitepages.tables import formats_page

if TYPE_CHECKING:
    from docutils.nodes import Element, document
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

__all__ = ["exists", "generated_pages", "setup"]


def generated_pages(root: Path) -> dict[str, str]:
    """All pages that are made, by their path below ``docs``."""
    return {
        **command_pages(),
        **api_pages(),
        **header_pages(root),
        "reference/formats.md": formats_page(),
        **project_pages(root),
    }


def _write(app: Sphinx) -> None:
    """Write all pages, and remove earlier ones that are no longer made."""
    docs = Path(app.srcdir)
    pages = generated_pages(docs.parent)
    for folder in {(docs / name).parent for name in pages} - {docs / "reference"}:
        for old in folder.glob("*.md"):
            if str(old.relative_to(docs)) not in pages:
                old.unlink()
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # else Sphinx would read it again
            path.write_text(text, encoding="utf-8")
    _draw(docs / "_generated" / "atlas", Path(atlas.__file__))


def _draw(folder: Path, script: Path) -> None:
    """Draw the pictures of the atlas, unless they exist and are newer than the script."""
    pictures = list(folder.glob("*.png"))
    if len(pictures) < len(atlas.KINDS) or min(map(_time, pictures)) < _time(script):
        atlas.write(folder)


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """Complete tables of contents; let links to files outside the documentation lead to the repository."""
    page = Path(app.env.doc2path(name))
    complete = with_all_pages(source[0], page)
    if complete != source[0]:
        app.env.note_reread()  # there may be other pages next time
    source[0] = with_site_links(complete, page, Path(app.srcdir), app.config.repository_url)


def _renumber(app: Sphinx, doctree: document) -> None:
    """Give references to literature their numbers again, which numpydoc makes unique for the whole site.

    It restores them only in pages of reStructuredText.
    """
    from docutils.nodes import Text  # not there where the tests run without Sphinx

    for text in list(doctree.findall(Text)):
        found = re.fullmatch(r"\[R[0-9a-f]+-(\w+)\]", text.astext())
        if found:
            text.parent.replace(text, Text(f"[{found[1]}]"))


def _without_page(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Element) -> Element | None:
    """Show names in docstrings that have no page, without a link: arguments, and internals that exist."""
    name = node["reftarget"]
    known = re.fullmatch(r"[a-z][a-z0-9_]*", name) or (name.startswith("camnorm.") and exists(name))
    return shown if node["reftype"] == "obj" and known else None


def exists(name: str) -> bool:
    """Whether there is a module, or something in a module, of this name."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension."""
    app.add_config_value("repository_url", "", "env", str)
    app.connect("builder-inited", _write)
    app.connect("source-read", _adapt)
    app.connect("doctree-read", _renumber)
    app.connect("missing-reference", _without_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
