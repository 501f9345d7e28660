"""The benchmarks of whole programs still run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[2] / "bench"


def figures(tmp_path: Path, program: str, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    output = tmp_path / "figures.json"
    command = [sys.executable, BENCH / program, "--quick", "--json", output, *arguments]
    # Its files lie in pytest's own directory, which no other program clears away.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: section["rows"] for name, section in json.loads(output.read_text()).items()}


def test_peers(tmp_path: Path) -> None:
    found = figures(tmp_path, "peers.py", "--dtypes", "uint16", "--contenders", "numpy")
    assert [row["contender"] for row in found["moments"]] == ["camnorm measure", "numpy loop"]
    assert max(found["moments"][1]["deviation"].values()) < 1e-11
    assert [row["contender"] for row in found["frc"]] == ["camnorm.frc"]
    assert [row["files"] for row in found["reading"]] == ["uint16 MRC", "uint8 TIFF, lzw", "uint8 TIFF, zstd"]
    assert [row["written"] // row["bytes"] for row in found["correcting"]] == [2]


def test_peer_that_is_not_installed_is_skipped(tmp_path: Path) -> None:
    if subprocess.run([sys.executable, "-c", "import frc"], capture_output=True, check=False).returncode == 0:
        pytest.skip("frc is installed")
    (_, row) = figures(tmp_path, "peers.py", "frc", "--contenders", "frc")["frc"]
    assert row == {"contender": "frc.two_frc", "skipped": "frc is not installed"}


def test_scaling(tmp_path: Path) -> None:
    found = figures(tmp_path, "scaling.py", "frames", "large")
    assert [row["frames"] for row in found["frames"]] == [10, 100]
    assert [row["frames"] for row in found["large"]] == [10, 25, 50, 100]


def test_screening(tmp_path: Path) -> None:
    (row,) = figures(tmp_path, "scaling.py", "screening")["screening"]
    assert (row["frames"], row["rejected"]) == (56, 1)
    assert row["ratio"] == row["auto"] / row["off"]


def test_independence(tmp_path: Path) -> None:
    found = figures(tmp_path, "independence.py")
    assert {row["window"] for row in found["null"]} == {None, "tukey", "hann"}
    assert [row["strength"] for row in found["power"]][:2] == [0.01, 0.02]
    assert all(0 <= row["verdict"] <= 1 for row in found["null"])


def test_paper(tmp_path: Path) -> None:
    found = figures(tmp_path, "paper.py", "-o", str(tmp_path))
    for (row,) in found.values():
        groups = [row["curves"][f"averages of 12, {state}"] for state in ("raw", "corrected")]
        assert [curve["p"] > 0.05 for curve in groups] == [False, True]
    assert (tmp_path / "electron_frc.png").stat().st_size > 1000


def test_shortfalls(tmp_path: Path) -> None:
    """What docs/explanation/corrections.md says, of few frames."""
    found = figures(tmp_path, "shortfalls.py")
    for name in ("homogeneous", "scenes"):
        for row in found[name]:
            for mode in ("both", "mean", "gain"):
                assert row[f"{mode}, shrink"] < row[mode]
    for row in found["illumination"]:
        assert abs(row["both"][0]) < 0.02
        for mode in ("both", "mean", "gain", "both, shrink"):
            assert row[f"{mode}, kept"][0] == pytest.approx(1, abs=0.03)
        assert row["both, shrink, kept"][1] < row["both, kept"][1] < 1.05 * row["both"][1]
    for row in found["exposures"]:
        assert row["response, shrink"] < row["response"]


def test_formats(tmp_path: Path) -> None:
    names = ["MRC.gz", "EER", "HDF5, deflate", "MIB"]
    found = figures(tmp_path, "formats.py", "--formats", *names)
    assert [row["format"] for row in found["formats"]] == names
    assert all(
        min(row[what] for what in ("read", "measure", "convert", "correct")) > 0 for row in found["formats"]
    )
    kinds = ["tiff lzw", "tiff deflate", "tiff zstd", "hdf5 deflate", "zarr deflate", "zarr zstd"]
    assert [f"{row['format']} {row['compression']}" for row in found["compression"]] == kinds
    assert all([run["threads"] for run in row["threads"]] == [1, 2] for row in found["compression"])


def test_corrections(tmp_path: Path) -> None:
    found = figures(tmp_path, "corrections.py")
    assert all(row["best"] <= 1.03 * row["raw"] + 0.02 for row in found["grid"])
    than_raw = found["others"][0]
    assert (than_raw["than"], than_raw["sets"], than_raw["by 5 %"]) == ("raw", 8, 0)
