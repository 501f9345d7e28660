"""The package as installed: what it exports, how that is documented, what importing it costs."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.resources
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import camnorm
from image_sets import frames_of, run_script, write_mrc
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
    use = "[getattr(camnorm, name) for name in camnorm.__all__]"
    code = f"import sys, camnorm; {use}; print(*{{name.partition('.')[0] for name in sys.modules}})"
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


@pytest.mark.parametrize("code", ["import camnorm", "import camnorm as c; c.__version__, c.Error, dir(c)"])
def test_what_is_not_used_is_not_imported(code: str) -> None:
    done = run_script(f"import sys; {code}; print(*sys.modules)")
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("camnorm")} == {
        "camnorm",
        "camnorm._core",
        "camnorm.errors",
    }
    assert not loaded & {"numpy", "h5py", "scipy"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from camnorm.simulate import Camera as x", "camnorm.demo.simulate.camera"),
        ("from camnorm.screening import check as x", "camnorm.diagnosis.checks"),
        ("import camnorm.plot; x = camnorm.plot.sensor_figure", "camnorm.report.plot.sensor"),
        ("import camnorm; x = camnorm.simulate.Camera", "camnorm.demo.simulate.camera"),
        ("import camnorm.simulate; x = camnorm.measure", "camnorm.measurement.measurement"),
        ("from camnorm import *; x = measure", "camnorm.measurement.measurement"),
        ("import camnorm; x = camnorm.sizes.Sizes", "camnorm.sizes"),
        ("from camnorm import jsontext; x = jsontext.dumps", "camnorm.jsontext"),
    ],
)
def test_names_are_found_however_they_are_imported(code: str, expected: str) -> None:
    done = run_script(f"{code}; print(x.__module__)")
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_the_public_modules_are_the_modules_themselves() -> None:
    code = """
import sys, camnorm.plot, camnorm.screening, camnorm.simulate
import camnorm.demo.simulate, camnorm.diagnosis.checks, camnorm.report.plot
print(camnorm.plot is camnorm.report.plot is sys.modules["camnorm.plot"])
print(camnorm.screening is camnorm.diagnosis.checks is sys.modules["camnorm.screening"])
print(camnorm.simulate is camnorm.demo.simulate is sys.modules["camnorm.simulate"])
"""
    assert run_script(code).stdout.split() == ["True"] * 3


def test_names_that_there_are_not() -> None:
    with pytest.raises(AttributeError, match=r"^module 'camnorm' has no attribute 'nothing'$"):
        camnorm.nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'camnorm'"):
        from camnorm import nothing  # noqa: F401


def test_the_names_for_type_checkers_are_those_at_run_time() -> None:
    """The stub of the imports in `camnorm/__init__.py` and its table of modules say the same."""
    tree = ast.parse(Path(camnorm.__file__).read_text())
    found = {}
    for block in (node for node in tree.body if isinstance(node, ast.If)):
        for node in block.body:
            assert isinstance(node, ast.ImportFrom)
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for name, place in found.items():
        module, _, original = place.rpartition(".")
        importlib.import_module(module)
        try:
            expected = importlib.import_module(place)
        except ModuleNotFoundError:
            expected = getattr(sys.modules[module], original)
        assert getattr(camnorm, name) is expected, name
    eager = {"__version__", "build_info", "Error", "FormatError", "NonFiniteError", "ResourceError"}
    assert found.keys() | eager == set(camnorm.__all__)


@pytest.mark.parametrize("way", ["from camnorm.io import open_frames", "from camnorm import open_frames"])
def test_formats_and_steps_are_there_whatever_was_imported(tmp_path: Path, way: str) -> None:
    """Manifests and gain references belong to packages that reading alone does not import."""
    frames = frames_of(4, (13, 11), "u2")
    path, gain = (
        write_mrc(tmp_path / "a.mrc", frames),
        write_mrc(tmp_path / "gain.mrc", np.full((1, 13, 11), 2, "f4")),
    )
    sensor = camnorm.measure(path, screen="off")
    (manifest,) = camnorm.correct(path, sensor, tmp_path / "out", virtual=True)
    code = (
        f"import pathlib, sys; {way}\n"
        "from camnorm.io import ReadOptions\n"
        "with open_frames(sys.argv[1]) as source: print(source.read(0, 4).sum(dtype=float))\n"
        "with open_frames(sys.argv[2], ReadOptions(gain=pathlib.Path(sys.argv[3]))) as source:\n"
        "    print(source.read(0, 4).sum(dtype=float))"
    )
    with camnorm.open_frames(manifest) as source:
        expected = source.read(0, 4).sum(dtype=float)
    done = run_script(code, manifest, path, gain)
    assert (done.stdout.split(), done.stderr) == ([str(expected), str(2.0 * frames.sum(dtype=float))], "")


def test_a_manifest_is_measured_by_the_command_line(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", frames_of(4, (13, 11), "u2"))
    (manifest,) = camnorm.correct(path, camnorm.measure(path, screen="off"), tmp_path / "out", virtual=True)
    code = "import sys; from camnorm.cli import main; main()"
    done = run_script(code, "measure", manifest, "-o", tmp_path / "s.h5", "--screen", "off", "--json")
    assert json.loads(done.stdout)["accepted"] == 4
