"""`camnorm compare`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], epochs: Path) -> Run:
    """Run a command line in this process, where the sensor files are."""
    monkeypatch.chdir(epochs)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["camnorm", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def epochs(tmp_path: Path) -> Path:
    """Sensor files of three epochs: in the second nothing changed, in the third dust came."""
    for number in range(3):
        light = 100 * (1 + 0.02 * np.random.default_rng(1).normal(size=(64, 80)))
        if number == 2:
            light[30:36, 50:56] *= 0.7
            light[10, 10] *= 2
        halves = [camnorm.PixelMoments(light.shape, "u2") for _ in "AB"]
        for letter, half in enumerate(halves):
            half.add(np.random.default_rng([number, letter]).poisson(light, (60, *light.shape)).astype("u2"))
        camnorm.Sensor.from_moments(*halves).save(tmp_path / f"{number}.h5")
    return tmp_path


def test_dust_that_came(run: Run, epochs: Path) -> None:
    status, out, err = run("compare", "0.h5", "2.h5", "-o", "changes.png")
    assert (status, err) == (0, "")
    lead, advice = out.splitlines()[:2]
    assert lead.startswith("verdict         The sensor changed: ")
    assert lead.endswith("of blobs, such as dust, 1 came.")
    assert advice == "what to do      Correct the frames of each epoch with its own measurement."
    assert "  - 1 came: 52, 32 (" in out or "  - 1 came: 53, 33 (" in out or "  - 1 came: 52, 33 (" in out
    assert "frames          120 and 120\n" in out
    assert "written         changes.png\n" in out
    assert (epochs / "changes.png").stat().st_size > 10_000
    assert "next            camnorm compare 0.h5 2.h5 -o changes.png\n" in run("compare", "0.h5", "2.h5")[1]


def test_nothing_changed(run: Run) -> None:
    status, out, err = run("compare", "0.h5", "1.h5")
    assert (status, err) == (0, "")
    assert out.startswith("verdict         No pixel changed.\nwhat to do      Nothing: ")
    assert "changed pixels  0: mean of 0, sigma of 0\n" in out


def test_json_and_a_folder(run: Run, epochs: Path) -> None:
    status, out, _ = run("compare", "0.h5", "2.h5", "-o", "new/changes", "--json", "--fdr", "0.05")
    found = json.loads(out)
    assert status == 0
    assert found["fdr"] == 0.05
    assert [round(dust["x"]) in (52, 53) for dust in found["came"]] == [True]
    assert (found["went"], found["moved"]) == ([], [])
    assert found["written"] == ["new/changes/changes.png", "new/changes/changes.csv"]
    assert (
        (epochs / "new/changes/changes.csv")
        .read_text()
        .startswith("change,x,y,plane,size,depth,from_x,from_y\ncame,")
    )
    assert run("compare", "0.h5", "2.h5", "-o", "new/changes")[0] == 0  # in place of the same files


@pytest.mark.parametrize("rate", ["0", "1", "2", "nan"])
def test_rates_that_are_none(run: Run, epochs: Path, rate: str) -> None:
    status, out, err = run("compare", "0.h5", "1.h5", "--fdr", rate)
    assert (status, out) == (2, "")
    assert f"Invalid value for --fdr: must be above 0 and below 1, not {rate}." in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.h5", "0.h5"), "both measurements hold the same sums: this is one measurement"),
        (("0.h5", "gone.h5"), "gone.h5"),
        (("0.h5", "1.h5", "-o", "1.h5/x.png"), "1.h5"),
        (
            ("0.h5", "1.h5", "-o", "notes.csv"),
            "notes.csv: is not a table of changes, and is not replaced by one",
        ),
        (
            ("0.h5", "1.h5", "-o", "photo.png"),
            "photo.png: is not a figure of camnorm, and is not replaced by one",
        ),
    ],
)
def test_wrong_use(run: Run, epochs: Path, arguments: tuple[str, ...], message: str) -> None:
    (epochs / "notes.csv").write_text("my notes\n")
    (epochs / "photo.png").write_bytes(b"my photo")
    status, out, err = run("compare", *arguments)
    assert (status, out) == (1, "")
    assert message in err
    assert err.startswith("camnorm: error: ")
    assert err.count("\n") == 1
    assert (epochs / "notes.csv").read_text() == "my notes\n"
