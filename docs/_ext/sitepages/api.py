"""The Python reference: a page for every public name, in groups by topic."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import camnorm
from sitepages.markdown import escaped, fenced, table

__all__ = ["api_pages", "topic_of"]

_FOLDER = "reference/python"

# Topics in the order of the page, and the packages of camnorm whose public names belong to them.
_TOPICS = {
    "Measure and correct": ("measurement", "sensor", "correction", "application"),
    "Verify": ("verification",),
    "Judge a set": ("diagnosis",),
    "Hand over to other programs": ("handover",),
    "Ring correlation and spectra": ("fourier",),
    "Exact statistics": ("statistics",),
    "Image files": ("io", "apriori"),
    "Figures": ("report",),
    "Simulated cameras": ("demo",),
    "Errors": ("errors",),
    "The package": ("", "_core"),
}


def api_pages() -> dict[str, str]:
    """A page for every public name, and their list."""
    names = {name: getattr(camnorm, name) for name in camnorm.__all__ if not name.startswith("__")}
    pages = {f"{_FOLDER}/{name}.md": _page(name, thing) for name, thing in names.items()}
    return {f"{_FOLDER}/index.md": _index(names), **pages}


def topic_of(name: str, thing: Any) -> str:
    """The topic of a public name."""
    module = thing.__name__ if inspect.ismodule(thing) else thing.__module__
    package = f"{module}.".split(".")[1]
    for topic, packages in _TOPICS.items():
        if package in packages:
            return topic
    raise ValueError(f"{name} of camnorm.{package} has no topic: add the package to one")


def _summary(thing: Any) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _index(names: dict[str, Any]) -> str:
    parts = ["# Python", fenced("python", "import camnorm")]
    functions_first = sorted(names.items(), key=lambda item: (inspect.isclass(item[1]), item[0]))
    for topic in _TOPICS:
        rows = [
            (f"[`{name}`]({name}.md)", escaped(_summary(thing)))
            for name, thing in functions_first
            if topic_of(name, thing) == topic
        ]
        if rows:
            parts += [f"## {topic}", table(["name", "what it is"], rows)]
    toctree = [":hidden:", "", *sorted(names, key=str.lower)]
    return "\n\n".join([*parts, fenced("{toctree}", "\n".join(toctree)), ""])


def _page(name: str, thing: Any) -> str:
    title = f"# `camnorm.{name}`\n\n"
    if inspect.ismodule(thing):
        body = _module(name, thing)
    elif inspect.isclass(thing):
        body = [f".. autoclass:: camnorm.{name}", "   :members:"]
        if issubclass(thing, BaseException):
            title += _bases(thing)
        else:
            body.append("   :inherited-members: object, tuple")
    else:
        body = [f".. autofunction:: camnorm.{name}"]
    return title + fenced("{eval-rst}", "\n".join(body)) + "\n"


def _bases(error: type[BaseException]) -> str:
    """By which other names an error is caught."""
    public = [name for name in camnorm.__all__ if getattr(camnorm, name) in error.__mro__[1:]]
    common = (error, Exception, BaseException)
    builtin = [one.__name__ for one in error.__mro__ if one.__module__ == "builtins" and one not in common]
    names = [*(f"[`camnorm.{name}`]({name}.md)" for name in public), *(f"`{name}`" for name in builtin[:-1])]
    return f"Also caught as {', '.join(names)}.\n\n" if names else ""


def _module(name: str, module: ModuleType) -> list[str]:
    lines = [f".. automodule:: camnorm.{name}", ""]
    for member in module.__all__:
        of_class = inspect.isclass(getattr(module, member))
        lines.append(f".. auto{'class' if of_class else 'function'}:: camnorm.{name}.{member}")
        lines += ["   :members:", ""] if of_class else [""]
    return lines
