"""The examples of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm._core import build_info
from image_sets import frames_of, write_mrc

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
SHAPE = (6, 5)

pytestmark = pytest.mark.skipif(not GUIDE.is_file(), reason="an installed package has no CONTRIBUTING.md")


def example(name: str) -> str:
    """Code of an example of the guide."""
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", GUIDE.read_text(), re.DOTALL)
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
    monkeypatch.setattr(checks, "OF_FRAMES", (*checks.OF_FRAMES, names["few_files"]))
    sensor = camnorm.measure(write_mrc(tmp_path / "a.mrc", frames_of(8, SHAPE, "u2")), screen="off")
    (found,) = (finding for finding in camnorm.check(sensor) if finding.name == "few_files")
    assert (found.value, found.flagged) == (1.0, True)
    assert found.sentence == "The frames come from 1 file."


def test_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from camnorm.handover.programs import PROGRAMS

    names: dict[str, object] = {}
    exec(example("tables.py"), names)
    monkeypatch.setitem(PROGRAMS, "tables", names["PROGRAM"])
    frames = frames_of(400, SHAPE, "u2")
    frames[:, 2, 3] = 7
    sensor = camnorm.measure(write_mrc(tmp_path / "a.mrc", frames), screen="off")
    made = camnorm.export(sensor, "tables", out_dir=tmp_path / "out")
    assert made.command == f"tables a.mrc --gain {tmp_path}/out/gain.npy"
    mean = frames.mean(0)
    good = np.arange(30).reshape(SHAPE) != 13
    expected = np.where(good, mean[good].mean() / mean, 0)
    np.testing.assert_allclose(np.load(tmp_path / "out/gain.npy"), expected)
    assert (tmp_path / "out/defects.txt").read_text() == "3 2 1 1\n"


_CALL_KERNEL = """
#include <cstdio>
#include "kernels/saturated.hpp"
int main() {
    std::uint8_t pixels[1000];
    for (int i = 0; i < 1000; ++i) pixels[i] = static_cast<std::uint8_t>(i * 7);
    std::printf("%zu", camnorm::detail::saturated_kernels().uint8(pixels, 1000));
}
"""
_ISA_FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_a_kernel(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    for name in ("saturated.hpp", "saturated.cpp"):
        (folder / name).write_text(example(name))
    (tmp_path / "main.cpp").write_text(_CALL_KERNEL)
    sources = GUIDE.parent / "cpp"
    x86 = platform.machine() in ("x86_64", "AMD64")
    common = ["c++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pthread"]
    common += [
        f"-I{tmp_path}",
        f"-I{sources / 'include'}",
        f"-I{sources / 'src'}",
        "-DCAMNORM_PARALLEL_THREADS",
    ]
    common += ["-DCAMNORM_X86_KERNELS"] if x86 else []
    objects = []
    for isa, flags in _ISA_FLAGS.items() if x86 else [("baseline", [])]:
        objects.append(tmp_path / f"{isa}.o")
        kernel = [*flags, f"-DCAMNORM_ISA={isa}", "-c", folder / "saturated.cpp", "-o", objects[-1]]
        subprocess.run([*common, *kernel], check=True)
    program = tmp_path / "main"
    callers = [tmp_path / "main.cpp", sources / "src" / "runtime.cpp"]
    subprocess.run([*common, *callers, *objects, "-o", program], check=True)
    expected = str(sum(i * 7 % 256 == 255 for i in range(1000)))
    for isa in build_info()["isas"]:
        environment = os.environ | {"CAMNORM_ISA": isa}
        done = subprocess.run([program], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == expected


_RUN_VERB = """
from camnorm.cli import app, verbs
import sys
sys.modules["camnorm.cli.count"] = sys.modules["__main__"]
verbs.VERBS["count"] = "Count the frames of image files."
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
