"""The examples of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import camnorm
from image_sets import frames_of, write_mrc

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
SHAPE = (6, 5)

pytestmark = pytest.mark.skipif(not GUIDE.is_file(), reason="an installed package has no CONTRIBUTING.md")


def example(name: str) -> str:
    """Code of an example of the guide."""
    found = re.search(
        rf"<!-- example: {re.escape(name)} -->\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL
    )
    assert found is not None
    return found[1]


_USE = """
import json, sys
import camnorm
movie, sensor, out = sys.argv[1:]
(lines,) = camnorm.correct(movie, sensor, out, format="lines", dtype="int16", target_mean=100, target_sigma=9)
with camnorm.open_frames(lines) as source:
    read = source.read(0, source.count)
again = camnorm.measure(out)
print(json.dumps([lines.name, source.format, read.tolist(), again.count, str(again.dtype)]))
"""


def test_a_format_of_another_package(tmp_path: Path) -> None:
    package = tmp_path / "site"
    (package / "toy-1.0.dist-info").mkdir(parents=True)
    (package / "toy.py").write_text(example("lines.py"))
    (package / "toy-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"
    )
    (package / "toy-1.0.dist-info" / "entry_points.txt").write_text("[camnorm.formats]\nlines = toy:FORMAT\n")
    frames = frames_of(8, SHAPE, "u2")
    movie = write_mrc(tmp_path / "movie.mrc", frames)
    sensor = camnorm.measure(movie, tmp_path / "sensor.h5", screen="off")
    script = f"import sys; sys.path.insert(0, {str(package)!r})\n{_USE}"
    command = [sys.executable, "-c", script, movie, tmp_path / "sensor.h5", tmp_path / "out"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, kind, pixels, count, dtype = json.loads(done.stdout)
    assert (name, kind, count, dtype) == ("movie.lines", "lines", 8, "int32")
    mean, sigma = frames.mean(0), frames.std(0)
    expected = np.rint((frames - mean) / sigma * 9 + 100)
    np.testing.assert_array_equal(np.array(pixels), expected)
    assert sensor.count == 8


def test_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from camnorm.diagnosis import checks

    names: dict[str, object] = {}
    exec(example("check.py"), names)
    monkeypatch.setattr(checks, "_OF_FRAMES", (*checks._OF_FRAMES, names["few_files"]))
    sensor = camnorm.measure(write_mrc(tmp_path / "a.mrc", frames_of(8, SHAPE, "u2")), screen="off")
    (found,) = (finding for finding in camnorm.check(sensor) if finding.name == "few_files")
    assert (found.value, found.flagged) == (1.0, True)
    assert found.sentence == "The frames come from 1 file."


_RUN_VERB = """
from camnorm.cli import app
app.VERBS = (*app.VERBS, count)
app.app.command()(count)
app.main()
"""


def test_a_verb(tmp_path: Path) -> None:
    movie = write_mrc(tmp_path / "movie.mrc", frames_of(8, SHAPE, "u2"))
    script = example("count.py") + _RUN_VERB

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("count", movie).stdout == f"8 {movie}\n"
    assert "Count the frames of image files." in run("count", "--help").stdout
    failed = run("count", tmp_path / "gone.mrc")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == f"camnorm: error: {tmp_path}/gone.mrc: no such file\n"


def test_the_map_names_all_packages() -> None:
    told = set(re.findall(r"`([\w/]+)`", GUIDE.read_text().partition("## Adding a file format")[0]))
    package = Path(camnorm.__file__).parent
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()} - {"io"}
    modules = {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    assert folders | modules <= told
