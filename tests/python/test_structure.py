"""The structure of the sources: layers, sizes of files and functions."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from camnorm.io.base.registry import formats

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "camnorm"
MOST_LINES, MOST_LINES_OF_CODE = 500, 60

pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="no source tree to check")


def test_no_source_is_too_long() -> None:
    folders = (PACKAGE, ROOT / "cpp", ROOT / "python" / "bindings")
    sources = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".cpp", ".hpp")
    ]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert len(lengths) > 100
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Functions of a module, and their lines of code without the docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - body[0].lineno + 1 if body else 0


def test_no_function_is_too_long() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{name}": length
        for path in PACKAGE.rglob("*.py")
        for name, length in functions(path)
    }
    assert len(found) > 800
    assert {name: length for name, length in found.items() if length > MOST_LINES_OF_CODE} == {}


def test_every_format_is_in_the_table() -> None:
    folder = PACKAGE / "io" / "formats"
    named = {
        name
        for path in folder.rglob("*.py")
        for name in re.findall(r"^[A-Z0-9]+ = ImageFormat\(\s*\"([^\"]+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 20
    assert {row.name for row in formats() if row.source.startswith("camnorm.io.formats.")} == named


_PLANTED = {
    "io/base/source.py": "from camnorm.statistics.moments import PixelMoments",
    "sensor/planted.py": "from camnorm.measurement.screening import Rules",
    "fourier/planted.py": "def lazy():\n    from camnorm.sensor.sensor import Sensor\n    return Sensor",
    "statistics/planted.py": "import camnorm.fourier.transforms",
    "io/base/planted.py": "import camnorm.io.formats.mrc",
    "errors.py": "import camnorm.progress",
}


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="import-linter is not installed")
@pytest.mark.parametrize("planted", [None, *_PLANTED])
def test_no_import_points_upwards(tmp_path: Path, planted: str | None) -> None:
    shutil.copytree(PACKAGE, tmp_path / "camnorm", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if planted is not None:
        with open(tmp_path / "camnorm" / planted, "a") as file:
            file.write(f"\n{_PLANTED[planted]}\n")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ]
    done = subprocess.run(
        [*command, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == (0 if planted is None else 1), done.stdout + done.stderr
    assert ("0 broken" in done.stdout) == (planted is None)
