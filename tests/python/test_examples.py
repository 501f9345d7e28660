"""The examples in docstrings of all public names: they run as written, and print what they say."""

from __future__ import annotations

import doctest
import inspect
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

import camnorm
from image_sets import write_mrc, write_tiff
from public_names import PUBLIC

# Names that a reader looks up first.
NAMED = {
    "Correction",
    "PixelMoments",
    "PixelResponse",
    "Sensor.from_moments",
    "amplitude_spectrum",
    "check",
    "correct",
    "fixed_pattern",
    "frames_needed",
    "frc",
    "measure",
    "measure_groups",
    "open_frames",
    "ring_average",
    "ring_correlation",
    "simulate.Camera",
    "verify",
}


def example_of(name: str) -> doctest.DocTest:
    return doctest.DocTestParser().get_doctest(inspect.getdoc(PUBLIC[name]) or "", {}, name, None, None)


EXAMPLES = {name: test for name in PUBLIC if (test := example_of(name)).examples}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Movies of a camera, and a stack of another one."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(1)
    pattern = 400 * (1 + 0.05 * rng.normal(size=(64, 64)))
    for name in ("movies", "other"):
        (folder / name).mkdir()
    for i in range(16):
        write_mrc(folder / f"movies/movie_{i:02d}.mrc", rng.poisson(pattern, (4, 64, 64)).astype(np.uint16))
    write_tiff(folder / "other/stack.tif", rng.poisson(40, (8, 48, 64)).astype(np.uint8))
    return folder


def run(test: doctest.DocTest) -> str:
    """What differs from what an example says; empty if nothing does."""
    told = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.REPORT_NDIFF)
    runner.run(test, out=told.write)
    return told.getvalue()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    camnorm.measure("movies", "sensor.h5")
    test = EXAMPLES[name]
    assert not any(example.options.get(doctest.SKIP) for example in test.examples), "an example is skipped"
    assert run(test) == ""


def test_named_functions_have_examples() -> None:
    assert EXAMPLES.keys() >= NAMED


def test_every_function_of_the_package_has_an_example() -> None:
    functions = {name for name in camnorm.__all__ if inspect.isfunction(getattr(camnorm, name))}
    assert functions - EXAMPLES.keys() == set()


def test_a_wrong_example_is_found() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert "Expected" in run(wrong) or "Differences" in run(wrong)
