"""The package as installed: what it exports, how that is documented, what importing it costs."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import inspect
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import camnorm
from public_names import PUBLIC


def sections(thing: object) -> dict[str, str]:
    """The sections of a NumPy docstring, by their titles."""
    found, title = {"": ""}, ""
    lines = (inspect.getdoc(thing) or "").splitlines()
    for line, below in zip(lines, [*lines, ""][1:], strict=True):
        if line and below == "-" * len(line):
            title = line
            found[title] = ""
        else:
            found[title] += line + "\n"
    return found


def parameters(thing: Callable[..., object]) -> list[str]:
    try:
        signature = inspect.signature(thing)
    except ValueError:  # compiled, or an exception without a constructor of its own
        return []
    return [
        p.name
        for p in signature.parameters.values()
        if p.name not in ("self", "cls")
        and p.name[0] != "_"
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def test_exports() -> None:
    assert sorted(camnorm.__all__) == sorted(set(camnorm.__all__))
    for name in camnorm.__all__:
        assert hasattr(camnorm, name)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name: str) -> None:
    thing = PUBLIC[name]
    found = sections(thing)
    assert found[""].strip(), "has no summary"
    if isinstance(thing, ModuleType | property):
        return
    described = found.get("Parameters", "") + (found.get("Attributes", "") if isinstance(thing, type) else "")
    missing = [p for p in parameters(thing) if p not in described]
    assert not missing, "parameters that are not described"
    if inspect.isfunction(thing) and parameters(thing) and thing.__annotations__.get("return") != "None":
        assert "Returns" in found or "Yields" in found


def test_the_version_is_one() -> None:
    assert camnorm.__version__ == importlib.metadata.version("camnorm")


def test_the_package_is_typed() -> None:
    files = importlib.resources.files("camnorm")
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("_core.pyi").is_file()


def test_build_info() -> None:
    info = camnorm.build_info()
    assert set(info) == {"version", "compiler", "parallel", "isa", "isas"}
    assert info["isa"] in info["isas"]
    assert info["parallel"] in ("openmp", "threads", "none")
    assert info["compiler"].startswith(("gcc", "clang"))


def test_importing_is_light() -> None:
    """What is heavy is imported by the functions that need it."""
    code = "import sys, camnorm; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"camnorm", "numpy"} <= loaded
    assert not loaded & {
        "h5py",
        "imagecodecs",
        "matplotlib",
        "mrcfile",
        "pyfftw",
        "rich",
        "scipy",
        "tifffile",
        "typer",
    }
