"""All public names of the package, for tests that hold for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import camnorm


def members(name: str, thing: object) -> Iterator[tuple[str, object]]:
    """A public thing and whatever public lies in it."""
    yield name, thing
    if isinstance(thing, ModuleType):
        for inner in thing.__all__:
            yield from members(f"{name}.{inner}", getattr(thing, inner))
    elif isinstance(thing, type):
        for inner, attribute in vars(thing).items():
            if inner.startswith("_"):
                continue
            if isinstance(attribute, classmethod | staticmethod):
                attribute = attribute.__func__
            if callable(attribute) or isinstance(attribute, property):
                yield f"{name}.{inner}", attribute


PUBLIC = {
    full: thing
    for name in camnorm.__all__
    if name != "__version__"
    for full, thing in members(name, getattr(camnorm, name))
}
