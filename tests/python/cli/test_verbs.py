"""The command line: what it prints, what it writes, how it ends."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import cli
from camnorm.cli.results import print_rejected, reasons_in_words
from camnorm.cli.verbs import VERBS as PURPOSES
from camnorm.io.base.registry import format_names

FRAMES, SHAPE = 60, (64, 64)


class Result(NamedTuple):
    status: int
    out: str
    err: str

    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        lines = self.out.splitlines()
        assert len(lines) == 1
        return json.loads(lines[0], parse_constant=refuse)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["camnorm", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(end.value.code or 0), captured.out, captured.err)

    return run


def spawn(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    command = [sys.executable, "-m", "camnorm", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, **options}
    return subprocess.run(command, text=True, check=False, **options)


class Data(NamedTuple):
    folder: Path
    frames: np.ndarray
    sensor: Path

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.mrc"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Files of one frame each, and their sensor file, measured with screening off."""
    folder = tmp_path_factory.mktemp("cli") / "raw"
    folder.mkdir()
    rng = np.random.default_rng(7)
    offset = rng.integers(900, 1100, SHAPE)
    gain = rng.uniform(0.9, 1.1, SHAPE)
    frames = (offset + gain * rng.normal(0, 60, (FRAMES, *SHAPE))).astype(np.uint16)
    frames[:, 3, 5] = 77  # a pixel that never changes
    for i, frame in enumerate(frames):
        mrcfile.write(folder / f"f{i:02}.mrc", frame)
    sensor = folder.parent / "sensor.h5"
    camnorm.measure(folder, sensor, screen="off")
    return Data(folder, frames, sensor)


def list_of_copies(data: Data, folder: Path) -> None:
    """A list of twenty copies of each file: enough to be interrupted."""
    for number in range(20):
        shutil.copytree(data.folder, folder / f"copy{number}")
    (folder / "list.txt").write_text("".join(f"copy{number}\n" for number in range(20)))


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A text file that pretends to be an image."""
    path = tmp_path / "words.mrc"
    path.write_text("These are words, not pixels.\n")
    return path


# measure


def test_measure_prints_a_summary_and_nothing_else(run: Run, data: Data) -> None:
    result = run("measure", data.folder, "-o", "s.h5", "--screen", "off")
    assert result.status == 0
    assert result.err == ""
    lines = [line for line in result.out.splitlines() if line and not line.startswith("target")]
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert facts["frames"] == "64 x 64 uint16"
    assert facts["accepted"] == "60: 30 in half A, 30 in half B"
    assert facts["rejected"] == "0"
    assert facts["screening"] == "off"
    assert facts["written"] == "s.h5"
    assert camnorm.Sensor.load("s.h5").count == FRAMES


def test_measure_json_has_the_numbers(run: Run, data: Data) -> None:
    result = run("measure", data.folder, "-o", "s.h5", "--json").json()
    mean, sigma = data.frames.mean(0), data.frames.std(0)
    good = sigma > 0
    assert result["target_mean"] == pytest.approx(mean[good].mean(), rel=1e-12)
    assert result["target_sigma"] == pytest.approx(sigma[good].mean(), rel=1e-12)
    assert result["seconds"] > 0
    found = camnorm.frames_needed(camnorm.Sensor.load("s.h5"))
    assert result.pop("verdict") == found.verdict == "usable"
    assert f"{result.pop('reason')} {result.pop('remedy')}" == found.sentence
    del result["target_mean"], result["target_sigma"], result["seconds"]
    findings = {finding["name"]: finding for finding in result.pop("findings")}
    assert findings["rejected"]["value"] == 0
    assert not any(finding["flagged"] for finding in findings.values())
    screening = result.pop("screening")
    assert screening["k"] == 6
    assert screening["mean"][0] < data.frames.mean((1, 2)).min()
    assert screening["std"][1] > data.frames.std((1, 2)).max()
    bad = result.pop("bad_pixels")
    assert bad["constant"] == np.count_nonzero(data.frames.std(0) == 0)
    assert set(bad) == set(camnorm.classify_pixels(camnorm.Sensor.load("s.h5")).counts)
    assert result == {
        "from_moments": 0,
        "frames": FRAMES,
        "accepted": FRAMES,
        "count": FRAMES,
        "halves": [FRAMES // 2, FRAMES // 2],
        "rejected": [],
        "copies": {"files": 0, "first": []},
        "shape": [64, 64],
        "dtype": "uint16",
        "row_order": "bottom",
        "response": None,
        "selection": {"frames": None, "every": 1, "max_frames": None},
        "reading": camnorm.ReadOptions().to_dict(),
        "chosen": {},
        "bytes": data.frames.nbytes,
        "output": "s.h5",
    }


@pytest.mark.parametrize("verb", ["measure", "correct", "verify"])
def test_selection_of_frames(run: Run, data: Data, tmp_path: Path, verb: str) -> None:
    movies = tmp_path / "movies"
    movies.mkdir()
    for i in range(20):
        mrcfile.write(movies / f"m{i:02}.mrc", data.frames[3 * i : 3 * i + 3])
    places = {
        "measure": ["-o", "s.h5"],
        "correct": ["-m", data.sensor, "-o", "out"],
        "verify": ["-m", data.sensor],
    }[verb]
    options = ["--frames", "-2:", "--every", "2", "--max-frames", "16"]
    result = run(verb, movies, *places, *options, "--json").json()
    if verb == "measure":
        assert result["selection"] == {"frames": "-2:", "every": 2, "max_frames": 16}
        assert (result["frames"], result["halves"]) == (16, [8, 8])
        assert "selection       frames -2:, every 2, max-frames 16" in run("show", "s.h5").out
    elif verb == "correct":
        assert result["files"] == 16
        assert [mrcfile.read(path).size for path in result["written"]] == [64 * 64] * 16
    else:
        assert {place["index"] for group in result["files"] for place in group} == {1}


def test_how_files_are_read(run: Run, data: Data, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for i, frame in enumerate(data.frames):
        (raw / f"{i:02}").write_bytes(bytes(10) + frame.tobytes())
    result = run("measure", raw, "-o", "s.h5", "--screen", "off", "--raw", "64x64:<u2:10", "--json").json()
    assert result["accepted"] == FRAMES
    assert result["reading"]["raw"] == "64x64:<u2:10"
    assert "reading         raw 64x64:<u2:10" in run("show", "s.h5").out
    assert run("correct", raw, "-m", "s.h5", "-o", "out", "--json").json()["files"] == FRAMES
    assert run("verify", raw, "-m", "s.h5", "--json").json()["independent"]
    curve = run("frc", raw / "00", raw / "01", "--raw", "64x64:<u2:10", "--json").json()
    assert curve["curves"] == run("frc", *data.files[:2], "--json").json()["curves"]
    # What is said comes before what the sensor file says.
    failed = run("correct", raw, "-m", "s.h5", "-o", "more", "--raw", "64x64:<u4:10", "--json")
    assert failed.status == 1
    assert "truncated: the file ends before the end of the frame" in failed.err


@pytest.mark.parametrize("verb", ["measure", "correct", "verify", "frc"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--raw", "64:u2"], "'64:u2' is not SHAPE:DTYPE[:OFFSET], as in"),
        (["--eer-sampling", "3"], "--eer-sampling must be 1, 2 or 4, not 3"),
        (["--eer-grouping", "0"], "--eer-grouping must be positive, not 0"),
        (["--gain-rotate", "4"], "--gain-rotate must be 0, 1, 2, 3 or 'auto', not 4"),
        (["--gain-flip", "3"], "--gain-flip must be 0, 1, 2 or 'auto', not 3"),
        (["--gain-operation", "add"], "Invalid value for '--gain-operation'"),
        (["--mrc-mode0", "odd"], "Invalid value for '--mrc-mode0'"),
        (["--frames", "3"], "--frames must be START:STOP or START:STOP:STEP, as in 3:20, not '3'"),
        (["--every", "0"], "--every must be at least 1, not 0"),
        (["--max-frames", "0"], "--max-frames must be at least 1, not 0"),
    ],
)
def test_wrong_selection_and_reading(
    run: Run, data: Data, verb: str, options: list[str], message: str
) -> None:
    places = {
        "measure": [data.folder, "-o", "s.h5"],
        "correct": [data.folder, "-m", data.sensor, "-o", "out"],
        "verify": [data.folder, "-m", data.sensor],
        "frc": data.files[:2],
    }[verb]
    result = run(verb, *places, *options)
    assert result.status == 2
    selects = options[0] in ("--frames", "--every", "--max-frames")
    assert (f"No such option: {options[0]}" if verb == "frc" and selects else message) in result.err


@pytest.mark.filterwarnings("default")
def test_what_is_left_out_beside_movies_is_said(run: Run, data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "epu"
    folder.mkdir()
    for i, frame in enumerate(data.frames[:8]):
        mrcfile.write(folder / f"FoilHole_{i}_Data_1_2_20230404_122813_Fractions.mrc", frame[None])
        mrcfile.write(folder / f"FoilHole_{i}_Data_1_2_20230404_122813.mrc", frame)
    result = run("measure", folder, "-o", "s.h5", "--json")
    assert result.json()["frames"] == 8
    assert result.err == (
        f"camnorm: warning: {folder}: 8 summed exposures beside the movies left out "
        "(FoilHole_0_Data_1_2_20230404_122813.mrc, ...)\n"
    )


def test_measure_lists_what_it_left_out(run: Run, data: Data, words: Path, tmp_path: Path) -> None:
    dark = tmp_path / "dark.mrc"
    mrcfile.write(dark, np.zeros(SHAPE, np.uint16))
    result = run("measure", data.folder, words, dark, "-o", "s.h5", "--json").json()
    assert (result["frames"], result["accepted"]) == (FRAMES + 2, FRAMES)
    unreadable, deviant = result["rejected"]
    assert unreadable["file"] == str(words)
    assert unreadable["index"] is None
    assert "not an MRC file" in unreadable["reason"]
    assert deviant["file"] == str(dark)
    assert deviant["index"] == 0
    assert deviant["reason"] == "screened: blank, standard deviation 0"

    shown = run("measure", data.folder, words, dark, "-o", "s.h5").out
    assert "\nrejected        2: 1 not an MRC file, 1 blank\n" in shown
    assert "\n  words.mrc: not an MRC file" in shown
    assert "\n  dark.mrc, frame 0: screened: blank, standard deviation 0\n" in shown


def test_frames_of_a_file_that_are_rejected_alike_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"file": "a.mrc", "index": 3, "reason": "screened: mean 28.014 outside 9e2 to 1233.4"},
        {"file": "a.mrc", "index": 4, "reason": "screened: mean -1.5 outside 9e2 to 1233.4"},
        {"file": "a.mrc", "index": 5, "reason": "truncated"},
        {"file": "b.mrc", "index": 3, "reason": "screened: mean 28.014 outside 9e2 to 1233.4"},
        {"file": "c.mrc", "index": None, "reason": "truncated"},
        *({"file": "d.mrc", "index": i, "reason": "truncated"} for i in (1, 2, 3, 5, 7, 8, 10, 12, 14)),
        *({"file": f"e{i % 3}.mrc", "index": i, "reason": "copy of d.mrc, frame 0"} for i in range(1200)),
    ]
    print_rejected(rows)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "rejected (frames are counted from 0):",
        "  a.mrc, frames 3-4: screened: mean 28.014 outside 9e2 to 1233.4 (the first)",
        "  a.mrc, frame 5: truncated",
        "  b.mrc, frame 3: screened: mean 28.014 outside 9e2 to 1233.4",
        "  c.mrc: truncated",
        "  d.mrc, frames 1-3, 5, 7-8, 10 and 2 more: truncated",
        "  ... and 1,200 more in 3 files: --json lists all",
    ]
    assert reasons_in_words(rows) == "1214: 1200 copies, 11 truncated, 3 mean outside the limits"
    assert reasons_in_words([]) == "0"
    assert reasons_in_words(rows[:1]) == "1: mean outside the limits"


def test_measure_shows_people_the_first_rejected(run: Run, data: Data, words: Path) -> None:
    more = [Path(shutil.copy(words, words.with_name(f"words{i}.mrc"))) for i in range(13)]
    result = run("measure", data.folder, *more, "-o", "s.h5")
    assert result.out.count("\n  words") == 5
    assert result.out.endswith("  ... and 8 more in 8 files: --json lists all\n")
    assert "\nrejected        13: not an MRC file\n" in result.out


def test_measure_takes_frames_with_nan_out(run: Run, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
    frames[4, 1, 2] = np.nan
    np.save(tmp_path / "movie.npy", frames)
    result = run("measure", "movie.npy", "-o", "s.h5", "--json").json()
    assert result["accepted"] == 5
    assert [(row["file"], row["index"]) for row in result["rejected"]] == [(str(tmp_path / "movie.npy"), 4)]


def test_measure_json_says_null_for_what_is_no_number(run: Run, data: Data) -> None:
    result = run("measure", data.files[0], "-o", "s.h5", "--json").json()
    assert result["target_mean"] is None
    assert result["target_sigma"] is None
    assert "screening       k = 6: not applied, there are too few frames\n" in run("show", "s.h5").out


@pytest.mark.parametrize(("screen", "k"), [("auto", 6), ("off", None), ("4.5", 4.5)])
def test_measure_screens_as_told(run: Run, data: Data, screen: str, k: float | None) -> None:
    screening = run("measure", data.folder, "-o", "s.h5", "--screen", screen, "--json").json()["screening"]
    assert (screening and screening["k"]) == k


def test_measure_takes_lists_and_patterns(run: Run, data: Data, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{data.files[0]}\n{data.files[1]}\n")
    result = run("measure", "@list.txt", data.folder / "f1*.mrc", "-o", "s.h5", "--json").json()
    assert result["accepted"] == 12


def test_strict_stops_at_the_first_unusable_file(run: Run, data: Data, words: Path) -> None:
    result = run("measure", data.folder, words, "-o", "s.h5", "--strict")
    assert result.status == 1
    assert result.out == ""
    assert result.err.startswith(f"camnorm: error: {words}")
    assert result.err.count("\n") == 1
    assert not Path("s.h5").exists()


# correct


def test_correct_writes_what_the_formula_says(run: Run, data: Data) -> None:
    result = run("correct", *data.files[:2], "-m", data.sensor, "-o", "out", "--json").json()
    assert result["written"] == ["out/f00.mrc", "out/f01.mrc"]
    assert (result["files"], result["rejected"], result["dtype"]) == (2, [], "float32")
    assert result["bytes"] == data.frames[:2].nbytes
    mean, sigma = data.frames.mean(0), data.frames.std(0)
    good = sigma > 0
    target_mean, target_sigma = mean[good].mean(), sigma[good].mean()
    expected = np.full(SHAPE, target_mean)
    expected[good] = (data.frames[1] - mean)[good] / sigma[good] * target_sigma + target_mean
    np.testing.assert_allclose(mrcfile.read("out/f01.mrc"), expected, rtol=1e-6)


def test_correct_passes_its_options_on(run: Run, data: Data) -> None:
    options = [
        "--target-mean",
        "100",
        "--target-sigma",
        "10",
        "--dtype",
        "int16",
        "--bad-policy",
        "interpolate",
    ]
    result = run("correct", data.files[0], "-m", data.sensor, "-o", "out", *options)
    assert (result.status, result.err) == (0, "")
    assert "corrected       1 file\n" in result.out
    corrected = mrcfile.read("out/f00.mrc")
    assert corrected.dtype == np.int16
    assert corrected.mean() == pytest.approx(100, abs=1)
    assert corrected.std() == pytest.approx(10, rel=0.1)
    assert corrected[3, 5] == pytest.approx(100, abs=30)
    assert corrected[3, 5] != 100


@pytest.mark.filterwarnings("default:rows are turned upside down")
def test_correct_passes_on_what_is_to_be_written(run: Run, data: Data) -> None:
    command = ["correct", data.files[0], "-m", data.sensor, "-o"]
    result = run(*command, "tiff", "--format", "tiff", "--compression", "zstd", "--dtype", "int16", "--scale")
    assert "rows are turned upside down between MRC and TIFF" in result.err
    with tifffile.TiffFile("tiff/f00.tif") as tiff:
        assert tiff.pages[0].compression == 50000
        assert "camnorm_scale=" in tiff.pages[0].description
        assert tiff.pages[0].dtype == np.int16
    run(*command, "sum", "--sum")
    with mrcfile.open("sum/f00.mrc", header_only=True) as mrc:
        assert "sum of 1 frames" in mrc.get_labels()
    written = run(*command, "virtual", "--virtual", "--json").json()["written"]
    assert written == ["virtual/f00.mrc.camnorm.json"]
    with camnorm.open_frames(written[0]) as source:
        assert np.array_equal(
            source.read(0), camnorm.Sensor.load(data.sensor).correction().apply(data.frames[:1])
        )
    failed = run(*command, "none", "--compression", "zstd")
    assert failed.status == 1
    assert "compression of MRC files is none, not zstd" in failed.err


@pytest.mark.parametrize("keep", ["auto", "20"])
def test_other_corrections(run: Run, data: Data, keep: str) -> None:
    options = ["--mode", "gain", "--keep-illumination", keep, "--shrink"]
    assert run("correct", data.files[0], "-m", data.sensor, "-o", "out", *options).status == 0
    correction = camnorm.Sensor.load(data.sensor).correction(
        mode="gain", keep_illumination=True if keep == "auto" else 20, shrink=True
    )
    assert np.array_equal(mrcfile.read("out/f00.mrc"), correction.apply(data.frames[0]))
    shown = run("verify", data.folder, "-m", data.sensor, "--group", "4", *options)
    scale = "" if keep == "auto" else "=20"
    assert f"correction      mode=gain keep-illumination{scale} shrink\n" in shown.out


def test_response(run: Run, data: Data) -> None:
    result = run("measure", data.folder, "-o", "sensor.h5", "--response", "--json").json()
    means = data.frames.mean((1, 2))
    assert result["response"]["exposure_mean"] == pytest.approx(means.mean(), rel=1e-4)
    assert result["response"]["exposure_std"] == pytest.approx(means.std(), rel=1e-2)
    shown = run("show", "sensor.h5").out
    told = "exposures {exposure_mean:.6g} ± {exposure_std:.3g}, {share:.0%} of a pixel's variance"
    assert f"response        {told.format(**result['response'])}\n" in shown
    options = ["-m", "sensor.h5", "--mode", "response"]
    assert run("correct", data.files[0], "-o", "out", *options).status == 0
    correction = camnorm.Sensor.load("sensor.h5").correction(mode="response")
    assert np.array_equal(mrcfile.read("out/f00.mrc"), correction.apply(data.frames[0]))
    failed = run("correct", data.files[0], "-m", data.sensor, "-o", "other", "--mode", "response")
    assert failed.status == 1
    assert failed.err == (
        "camnorm: error: the sensor was measured without its response: measure it again with --response\n"
    )
    assert not Path("other/f00.mrc").exists()
    without = run("measure", data.folder, "-o", "plain.h5", "--json").json()
    assert without["response"] is None


def test_correct_replaces_files_only_if_told(run: Run, data: Data) -> None:
    command = ["correct", data.files[0], "-m", data.sensor, "-o", "out"]
    assert run(*command).status == 0
    before = Path("out/f00.mrc").stat().st_ino
    again = run(*command)
    assert again.status == 1
    assert again.err == "camnorm: error: out/f00.mrc: already exists; use --overwrite to replace it\n"
    assert Path("out/f00.mrc").stat().st_ino == before
    assert run(*command, "--overwrite").status == 0


def test_correct_goes_on_after_a_bad_file(run: Run, data: Data, words: Path) -> None:
    command = ["correct", words, data.files[0], "-m", data.sensor, "-o"]
    result = run(*command, "out", "--json").json()
    assert result["written"] == ["out/f00.mrc"]
    assert [row["file"] for row in result["rejected"]] == [str(words)]
    shown = run(*command, "again")
    assert "rejected        1 file\n" in shown.out
    assert "  words.mrc: not an MRC file" in shown.out.replace(", frame 0", "")
    strict = run(*command, "strict", "--strict")
    assert strict.status == 1
    assert strict.err.startswith(f"camnorm: error: {words}")


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line(run: Run, data: Data) -> None:
    result = run("correct", data.files[0], "-m", data.sensor, "-o", "out", "--dtype", "uint8")
    assert result.status == 0
    assert result.err == (
        f"camnorm: warning: {64 * 64} pixels (100.00%) lay outside uint8 and were saturated: "
        "choose target mean and target sigma to suit it\n"
    )


# verify


def test_verify_gives_a_positive_verdict(run: Run, data: Data) -> None:
    result = run("verify", data.folder, "-m", data.sensor, "-o", "v", "--group", "5", "--seed", "3", "--json")
    assert (result.status, result.err) == (0, "")
    found = result.json()
    assert found["independent"] is True
    for images in ("pairs", "groups"):
        for state in ("raw", "corrected"):
            assert set(found[images][state]) >= {
                "rings",
                "outside_3sigma",
                "outside_exact",
                "mean_correlation",
                "z",
                "p",
                "independent",
            }
            assert found[images][state]["independent"] is (state == "corrected")
    assert found["groups"]["raw"]["mean_correlation"] > 0.8
    assert [len(group) for group in found["files"]] == [5, 5]
    assert (found["seed"], found["window"], found["same_statistics"]) == (3, "hann", False)
    assert "v/verify.png" in found["written"]
    assert all(Path(path).stat().st_size for path in found["written"])


def test_verify_lists_its_test_frames(run: Run, data: Data) -> None:
    for size, more in ((3, ""), (5, " and 2 more (verify.json lists all)")):
        options = ["verify", data.folder, "-m", data.sensor, "-o", "v", "--group", size, "--seed", "3"]
        files = run(*options, "--json").json()["files"]
        lines = run(*options).out.splitlines()
        for number, group in enumerate(files, start=1):
            assert len(group) == size
            chosen = ", ".join(f"{Path(frame['file']).name}:{frame['index']}" for frame in group[:3])
            assert f"{f'group {number}':<16}{chosen}{more}" in lines


def test_verify_measures_first_without_a_sensor(run: Run, data: Data) -> None:
    result = run("verify", data.folder)
    assert (result.status, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines()]
    verdicts = {" ".join(row[:2]): row[-1] for row in rows if row and row[0] in ("pair,", "groups,")}
    assert verdicts == {
        "pair, raw": "correlated",
        "pair, corrected": "independent",
        "groups, raw": "correlated",
        "groups, corrected": "independent",
    }
    assert result.out.startswith(
        "verdict         Independent: no common pattern is found in the corrected frames.\n"
        "measurement     Usable, with a warning: "
    )
    assert f"\nnext            camnorm measure {data.folder} -o sensor.h5\n" in result.out
    assert {path.name for path in Path("camnorm-verify").iterdir()} >= {"verify.png", "verify.json"}


def test_verify_exits_with_3_if_the_verdict_is_negative(run: Run, data: Data) -> None:
    # 12 frames of 36 in the statistics of both groups correlate the groups by 12 / (36 + 12).
    command = ["verify", data.folder, "-m", data.sensor, "-o", "v", "--same-statistics", "--window", "none"]
    result = run(*command)
    assert result.status == 3
    assert re.search(r"mean FRC .*groups \+0\.2\d* ± 0\.\d+, predicted 0\.25", result.out)
    assert result.out.startswith(
        "verdict         Correlated: a common pattern is left in the corrected frames.\n"
        "figure          v/verify.png shows at which frequencies.\n"
    )
    assert result.err == ""
    assert run(*command, "--json").json()["window"] is None


# frc


def test_frc_of_a_frame_with_itself_is_one(run: Run, data: Data) -> None:
    result = run("frc", data.files[0], data.files[0])
    assert (result.status, result.err) == (0, "")
    table = [line.split() for line in result.out.splitlines()]
    rings = [row for row in table if len(row) > 5 and row[0].isdigit() and row[1] != "of"]
    assert [row[0] for row in (rings[0], rings[-1])] == ["1", "32"]
    assert {row[4] for row in rings} == {"+1.0000"}
    assert len(rings) == 24
    assert "24 of 32 rings; --csv writes all" in result.out
    verdict = next(row for row in table if row[:3] == ["A", "and", "B"])
    assert verdict[-1] == "correlated"


def test_frc_writes_the_whole_curve(run: Run, data: Data) -> None:
    options = ["--window", "tukey", "--binning", "floor", "--corners", "--csv", "c.csv", "--plot", "c.png"]
    found = run("frc", data.files[0], data.files[1], *options, "--json").json()
    assert (found["window"], found["binning"], found["shape"]) == ("tukey", "floor", [64, 64])
    assert found["independent"] is False
    (curve,) = found["curves"]
    assert len(curve["radius"]) == 46  # floor(32 sqrt 2) rings and DC
    assert curve["correlation"][0] is None
    with open("c.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["correlation"]) for row in rows[1:]] == curve["correlation"][1:]
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")


def test_frc_compares_frames_of_one_file(run: Run, data: Data, tmp_path: Path) -> None:
    np.save(tmp_path / "movie.npy", data.frames[:4])
    movie = run("frc", "movie.npy", "movie.npy", "--frame-a", "1", "--frame-b", "3", "--json").json()
    single = run("frc", data.files[1], data.files[3], "--json").json()
    assert movie["curves"] == single["curves"]
    assert movie["b"] == {"file": "movie.npy", "index": 3}


def test_frc_of_colour_is_a_curve_a_plane(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for name in "ab":
        image = rng.integers(0, 255, (32, 32, 3), np.uint8)
        image[..., 1] = np.arange(32 * 32).reshape(32, 32) % 251
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="rgb")
    found = run("frc", "a.tif", "b.tif", "--json", "--csv", "c.csv").json()
    assert len(found["curves"]) == 3
    assert np.allclose(found["curves"][1]["correlation"][1:], 1)
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["c_0.csv", "c_1.csv", "c_2.csv"]
    assert "plane 2" in run("frc", "a.tif", "b.tif").out


@pytest.mark.filterwarnings("default")
def test_correct_tells_of_frames_that_do_not_fit(run: Run, data: Data) -> None:
    np.save("bright.npy", np.minimum(data.frames[:2].astype(int) * 3 + 9, 250).astype(data.frames.dtype))
    np.save("gain.npy", np.ones((1, 64, 64), "f4"))
    command = ["correct", data.files[0], "bright.npy", "gain.npy", "-m", data.sensor, "-o", "out"]
    result = run(*command, "--json")
    found = result.json()
    assert (found["files"], found["outside_limits"], found["rejected_by_sensor"], found["skipped"]) == (
        3,
        2,
        0,
        0,
    )
    assert [(file["path"], file["frames"], file["outside"]) for file in found["unfit"]] == [
        ("bright.npy", 2, 2)
    ]
    assert [row["file"] for row in found["rejected"]] == ["gain.npy"]
    assert result.err.startswith(
        "camnorm: warning: 2 of 2 frames of 1 file lie outside the limits of the sensor"
    )
    result = run(*command, "--overwrite", "--skip-rejected")
    assert "skipped         0 frames of 0 files\n" in result.out


# show, merge, subtract


def test_show_tells_what_is_in_the_file(run: Run, data: Data, words: Path) -> None:
    run("measure", data.folder, words, "-o", "s.h5")
    result = run("show", "s.h5", "-o", "s.png")
    assert (result.status, result.err) == (0, "")
    assert "accepted        60: 30 in half A, 30 in half B" in result.out
    assert "k = 6: mean " in result.out
    assert "files           61" in result.out
    assert f"camnorm measure {data.folder} {words} -o s.h5" in result.out
    assert "  words.mrc: not an MRC file" in result.out
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")

    found = run("show", "s.h5", "--json").json()
    assert (found["count"], found["halves"], found["shape"]) == (60, [30, 30], [64, 64])
    assert (found["dtype"], found["files"]) == ("uint16", 61)
    assert found["version"] == camnorm.__version__
    assert [row["file"] for row in found["rejected"]] == [str(words)]
    sensor = camnorm.Sensor.load("s.h5")
    sensor_verdict = camnorm.frames_needed(sensor).balance
    assert [row["name"] for row in found["findings"]] == [one.name for one in camnorm.check(sensor)]
    assert found["findings"][0].keys() == {field.name for field in dataclasses.fields(camnorm.Finding)}
    assert (found["verdict"], found["reason"]) == ("usable", sensor_verdict.reason)
    assert found["convergence"]["frames"] == 60
    assert found["convergence"]["needed_for_residual"] == 400


def test_show_says_what_is_wrong_first(run: Run) -> None:
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 300, 64)
    frames = [(1000 + ramp + rng.normal(0, 60, (3, 64, 64))).astype(np.uint16) for _ in range(20)]
    for i, movie in enumerate(frames):
        mrcfile.write(f"{i:02}.mrc", movie)
    run("measure", ".", "-o", "s.h5")
    out = run("show", "s.h5").out
    verdict, _, trusted = out.partition("\nproblems:")
    assert trusted.startswith("\n  ! illumination: The light, or the sensitivity, is uneven")
    assert re.search(r"by 4\.[6-9] sigma in the mean image along x", " ".join(trusted.split()))
    assert "+ passed: mixed, modes, duplicates, specimens, halves, frames, motif, " in " ".join(
        trusted.split()
    )
    assert verdict.startswith(
        "verdict         Usable, with a warning: "
        "the correction helps, but leaves a pattern of more than 5 % of the frame noise.\n"
        "fix first       At least 400 frames are needed for a good correction; you have 60.\n"
        "next            camnorm correct . -m s.h5 -o corrected --mode best\n\n"
    )
    predicted = run("show", "s.h5", "--json").json()["modes"]
    assert predicted["best"] == "best"
    assert predicted["errors"]["both"] > 1.05 * predicted["errors"]["best"]

    for path in Path().glob("*.mrc"):
        path.unlink()
    mrcfile.write("one.mrc", np.concatenate(frames))
    run("measure", "one.mrc", "-o", "one.h5")
    trusted = run("show", "one.h5").out.split("\nproblems:")[1]
    assert trusted.index("  ! illumination") < trusted.index("  ? specimens: Whether frames show")


def test_show_is_short_where_little_is_told(run: Run, data: Data) -> None:
    run("measure", data.files[0], "-o", "s.h5")
    out = run("show", "s.h5", "-o", "s.png").out
    assert "  ! frames: Too few frames: record at least " in out
    assert out.count("\n  ? ") == 3
    assert "  ? also undetermined: halves, motif, hits," in out
    assert out.startswith(
        "verdict         Not usable: too few frames: each half of the set needs two.\n"
        f"next            camnorm measure {data.files[0]} MORE... -o s.h5 --overwrite\n"
    )


@pytest.mark.filterwarnings("default")
def test_all_verbs_say_alike_that_a_correction_is_harmful(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(1)
    gain = rng.normal(1, 0.05, SHAPE)
    for i, frame in enumerate(rng.poisson(gain, (60, *SHAPE)).astype(np.uint8)):
        np.save(folder / f"{i:02}.npy", frame)
    measured = run("measure", folder, "-o", "s.h5")
    sentence = camnorm.frames_needed(camnorm.Sensor.load("s.h5")).sentence
    sentence = sentence.replace("mode=best", "--mode best")
    assert sentence.startswith("The correction would add more noise than it removes. At least ")
    reason, remedy = sentence.split(". ", maxsplit=1)
    lead = (
        f"Not usable: t{reason[1:]}.\nfix first       {remedy}\n"
        "next            camnorm correct in -m s.h5 -o corrected --mode best\n"
    )
    shown = run("show", "s.h5").out
    assert measured.out.startswith(f"verdict         {lead}")
    assert shown.startswith(f"verdict         {lead}")
    assert "enough" not in shown
    passed = shown.partition("\n  + passed: ")[2].partition("\n\n")[0]
    assert not {"frames", "specimens"} & set(passed.replace("\n", " ").replace(",", " ").split())
    assert "modes" in passed
    verified = run("verify", folder, "-m", "s.h5").out
    assert f"\nmeasurement     {lead}" in verified
    corrected = run("correct", folder, "-m", "s.h5", "-o", "out", "--json")
    assert corrected.err.count(f"camnorm: warning: {sentence}\n") == 1
    assert corrected.json()["convergence"]["verdict"] == "harmful"
    for arguments in (["show", "s.h5"], ["measure", folder, "-o", "s.h5"], ["verify", folder, "-m", "s.h5"]):
        found = run(*arguments, "--json").json()
        assert (found["verdict"], found["reason"]) == ("harmful", f"{reason}.")
    assert corrected.json()["verdict"] == "harmful"
    shrunk = run("correct", folder, "-m", "s.h5", "-o", "out2", "--shrink").err
    assert "With --shrink, corrected frames are predicted to have " in shrunk
    assert "times the error of raw frames. Use --mode best or no correction." in shrunk
    best = run("correct", folder, "-m", "s.h5", "-o", "out3", "--mode", "best")
    assert best.err == ""
    assert "\ncamera          counting (recognised; change it with --camera)\n" in best.out
    assert "\nmode best       pattern, and 0 defects filled from neighbours\n" in best.out


def test_merge_and_subtract_are_inverse(run: Run, data: Data) -> None:
    for name, files in (("a", data.files[:20]), ("b", data.files[20:36]), ("c", data.files[36:])):
        run("measure", *files, "-o", f"{name}.h5", "--screen", "off")
    merged = run("merge", "a.h5", "b.h5", "c.h5", "-o", "abc.h5", "--json").json()
    assert (merged["count"], merged["halves"], merged["output"]) == (60, [30, 30], "abc.h5")
    whole = camnorm.Sensor.load("abc.h5")
    np.testing.assert_array_equal(whole.moments.sum(), data.frames.sum(0, dtype=np.int64))

    result = run("subtract", "abc.h5", "b.h5", "-o", "ac.h5")
    assert (result.status, result.err) == (0, "")
    assert "accepted        44: 22 in half A, 22 in half B" in result.out
    shown = run("show", "abc.h5").out
    for number, (name, count) in enumerate((("a", 20), ("b", 16), ("c", 24)), start=1):
        assert re.search(
            rf"part {number} +{count} frames of {count} files: .*measure .* -o {name}\.h5", shown
        )
    assert [part["frames"] for part in run("show", "abc.h5", "--json").json()["parts"]] == [20, 16, 24]
    rest = np.delete(data.frames, np.s_[20:36], axis=0)
    np.testing.assert_array_equal(camnorm.Sensor.load("ac.h5").moments.sum(), rest.sum(0, dtype=np.int64))


@pytest.mark.filterwarnings("default")
def test_neighbours(run: Run, data: Data) -> None:
    """Sums of neighbours are measured, merged, subtracted and split; a warning says what loses them."""
    for name, files in (("a", data.files[:6]), ("b", data.files[6:])):
        assert run("measure", *files, "--neighbours", "--screen", "off", "-o", f"{name}.h5").status == 0
    assert run("measure", *data.files[6:], "--screen", "off", "-o", "plain.h5").status == 0
    assert run("merge", "a.h5", "b.h5", "-o", "ab.h5").status == 0
    assert run("subtract", "ab.h5", "b.h5", "-o", "rest.h5").status == 0
    first, rest = (camnorm.Sensor.load(name).neighbours for name in ("a.h5", "rest.h5"))
    assert first is not None
    assert rest is not None
    for one, other in zip(first, rest, strict=True):
        assert np.array_equal(one.ratio("four"), other.ratio("four"), equal_nan=True)
    mixed = run("merge", "a.h5", "plain.h5", "-o", "mixed.h5")
    assert mixed.status == 0
    assert "only one of the measurements has neighbour sums: they are lost" in " ".join(mixed.err.split())
    assert "measure all files with --neighbours" in " ".join(mixed.err.split())
    assert camnorm.Sensor.load("mixed.h5").neighbours is None
    split = run("measure", *data.files, "--neighbours", "--split", "-o", "groups.h5")
    assert split.status == 0
    assert camnorm.Sensor.load("groups_1.h5").neighbours is not None


def test_merge_of_parts_that_share_files(run: Run, data: Data) -> None:
    camnorm.measure(data.files[:8], "one.h5")
    camnorm.measure(data.files[7:12], "two.h5")
    twice = (
        "are in both measurements and would count twice: subtract those frames from one of the measurements "
        "first, or measure all files in one run"
    )
    fails(run("merge", "one.h5", "two.h5", "-o", "both.h5"), f"frames of {data.files[7]} {twice}")
    fails(
        run("merge", "one.h5", "one.h5", "-o", "both.h5"),
        f"frames of {data.files[0]} and 7 more files {twice}",
    )
    assert not Path("both.h5").exists()


# demo


@pytest.mark.parametrize(("independent", "status"), [(True, 0), (False, 3)])
def test_demo_ends_with_its_verdict(
    run: Run, monkeypatch: pytest.MonkeyPatch, independent: bool, status: int
) -> None:
    import camnorm.demo.demonstration

    class Demo(SimpleNamespace):
        def __str__(self) -> str:
            return "summary"

    calls: list[Any] = []

    def run_demo(directory: Path, *, threads: int | None, progress: object) -> Demo:
        calls.append((directory, threads))
        return Demo(independent=independent, to_dict=lambda: {"independent": independent})

    monkeypatch.setattr(camnorm.demo.demonstration, "run_demo", run_demo)
    result = run("demo")
    assert (result.status, result.out) == (status, "summary\n")
    result = run("demo", "-o", "here", "--threads", "2", "--json")
    assert (result.status, result.json()) == (status, {"independent": independent})
    assert calls == [(Path("camnorm-demo"), None), (Path("here"), 2)]


# Help and wrong use

VERBS = [
    "demo",
    "measure",
    "correct",
    "verify",
    "frc",
    "show",
    "health",
    "gain",
    "export",
    "compare",
    "report",
    "merge",
    "subtract",
]


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"camnorm {camnorm.__version__}\n", "")


def test_help_names_every_verb(run: Run) -> None:
    result = run("--help")
    assert result.status == 0
    assert all(f" {verb} " in result.out for verb in VERBS)
    without = run()
    assert (without.status, without.out.strip(), without.err) == (2, result.out.strip(), "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_examples_and_fits_80_columns(verb: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "TERMINAL_WIDTH")}
    result = spawn(verb, "--help", env={**environment, "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(f"  $ camnorm {verb}") for line in lines)
    assert "\b" not in result.stdout
    status = "Exit status: 0 done, 1 failed, 2 usage error"
    negative = {
        "demo": ", 3 done, but the corrected frames are not independent",
        "verify": ", 3 done, but the corrected frames are not independent",
        "gain": ", 3 the gain does not fit as it is",
    }
    assert f"{status}{negative.get(verb, '')}." in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("camnorm me", {"measure", "merge"}),
        ("camnorm measure --ev", {"--every"}),
        ("camnorm frc --b", {"--binning"}),
    ],
)
def test_bash_completes_verbs_and_options(words: str, completions: set[str]) -> None:
    environment = {
        **os.environ,
        "_CAMNORM_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = spawn(env=environment)
    assert (set(result.stdout.split()), result.stderr) == (completions, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure"], "Missing option '--output'"),
        (["measure", "-o", "s.h5"], "Invalid value for INPUT: Name images, or a --frames-list."),
        (["measure", "x"], "Missing option '--output'"),
        (["measure", "x", "-o", "s.h5", "--nonsense"], "No such option: --nonsense"),
        (["measure", "x", "-o", "s.h5", "--screen", "some"], "'some' is not auto, off or a positive number"),
        (
            ["correct", "x", "-m", "s", "-o", "o", "--keep-illumination", "some"],
            "'some' is not auto or a number",
        ),
        (
            ["verify", "x", "--keep-illumination", "7"],
            "--keep-illumination must be a scale of 8 to 100000 pixels, not 7.0",
        ),
        (["correct", "x", "-m", "s", "-o", "o", "--mode", "sigma"], "'sigma' is not one of"),
        (["measure", "x", "-o", "s.h5", "--screen", "-1"], "'-1' is not auto, off or a positive number"),
        (["measure", "x", "-o", "s.h5", "--threads", "0"], "Invalid value for '--threads'"),
        (
            ["correct", "x", "-m", "s.h5", "-o", "d", "--dtype", "float64"],
            "is not one of 'float32', 'float16'",
        ),
        (["correct", "x", "-o", "d"], "Missing option '--sensor'"),
        (["frc", "x"], "Missing argument 'B'"),
        (["merge", "a.h5", "-o", "c.h5"], "Missing argument 'SENSOR'"),
        (["verify", "x", "--window", "square"], "is not one of 'none', 'hann', 'tukey'"),
        (["invent"], "No such command 'invent'"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("camnorm: error: ")
    assert message in result.err
    assert result.err.count("\n") == 1


# Errors


def fails(result: Result, message: str) -> None:
    assert (result.status, result.out) == (1, "")
    assert result.err == f"camnorm: error: {message}\n"


def test_inputs_that_are_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fails(run("measure", "gone.mrc", "-o", "s.h5"), "gone.mrc: no such file")
    fails(run("measure", "*.mrc", "-o", "s.h5"), "*.mrc: no file matches this pattern")
    fails(
        run("measure", "empty", "-o", "s.h5"),
        f"empty: no images in this directory ({format_names()})",
    )
    fails(run("show", "gone.h5"), "gone.h5: No such file or directory")
    fails(run("frc", "gone.mrc", "gone.mrc"), "gone.mrc: No such file or directory")


def test_a_file_that_is_no_image(run: Run, words: Path, data: Data) -> None:
    for command in (["measure", words, "-o", "s.h5"], ["frc", words, words], ["verify", words]):
        result = run(*command)
        assert (result.status, result.out) == (1, "")
        assert result.err.count("\n") == 1
        assert f"{words}" in result.err
        assert "not an MRC file" in result.err


def test_nothing_left_of_a_sensor(run: Run, data: Data) -> None:
    fails(run("subtract", data.sensor, data.sensor, "-o", "c.h5"), "no frame is left: nothing was written")


def test_an_unknown_instruction_set(data: Data, tmp_path: Path) -> None:
    environment = {**os.environ, "CAMNORM_ISA": "mmx"}
    result = spawn("measure", data.folder, "-o", tmp_path / "s.h5", env=environment)
    assert result.returncode == 1
    assert result.stderr == "camnorm: error: CAMNORM_ISA=mmx: must be baseline, avx2 or avx512\n"


def test_a_device_is_not_replaced(data: Data, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = spawn("measure", data.folder, "-o", pipe)
    assert (result.returncode, pipe.is_fifo()) == (1, True)
    assert result.stderr == f"camnorm: error: {pipe}: is not a regular file, and is not replaced by one\n"


def test_a_file_that_is_no_sensor(run: Run, words: Path, data: Data) -> None:
    message = f"{words}: not a camnorm sensor file: it is not an HDF5 file"
    give = "; give the file that `camnorm measure` wrote"
    fails(run("show", words), message + give)
    fails(run("merge", words, data.sensor, "-o", "c.h5"), message + give)
    fails(run("subtract", data.sensor, words, "-o", "c.h5"), message + give)
    fails(run("correct", data.folder, "-m", words, "-o", "out"), message + give)
    fails(run("verify", data.folder, "-m", words), message + give)
    fails(run("measure", data.folder, "-o", words), message)
    assert words.read_text().startswith("These are words")


def test_places_that_cannot_be_written(run: Run, words: Path, data: Data) -> None:
    frames = data.files[:2]
    missing, not_a_directory = "No such file or directory", "Not a directory"
    fails(run("measure", *frames, "-o", "gone/s.h5"), f"gone/s.h5: {missing}")
    fails(run("measure", *frames, "-o", ".."), "..: is a directory; name the sensor file to write")
    parts = [data.sensor.with_name(f"place{number}.h5") for number in range(2)]
    for number, part in enumerate(parts):
        camnorm.measure(data.files[2 * number : 2 * number + 2], part)
    fails(run("merge", *parts, "-o", "gone/s.h5"), f"gone/s.h5: {missing}")
    fails(run("correct", *frames, "-m", data.sensor, "-o", words / "out"), f"{words}/out: {not_a_directory}")
    fails(run("verify", data.folder, "-m", data.sensor, "-o", words / "v"), f"{words}/v: {not_a_directory}")
    for verb in (["correct", data.folder, "-m", data.sensor], ["verify", data.folder], ["demo"]):
        result = run(*verb, "-o", words)
        assert (result.status, result.out) == (2, "")
        assert f"'{words}' is a file." in result.err
    fails(run("frc", *frames, "--csv", "gone/c.csv"), f"gone/c.csv: {missing}")
    fails(run("frc", *frames, "--plot", "gone/c.png"), f"gone/c.png: {missing}")
    fails(run("frc", *frames, "--plot", "c.xyz"), "figures are written as .png, .pdf or .svg, not 'c.xyz'")
    fails(run("show", data.sensor, "-o", "gone/s.png"), f"gone/s.png: {missing}")
    assert sorted(path.name for path in Path().iterdir()) == ["words.mrc"]


def test_results_do_not_replace_images(run: Run, data: Data, tmp_path: Path) -> None:
    a, b = (tmp_path / name for name in ("a.png", "b.mrc"))
    for path in (a, b):
        path.write_bytes(data.files[0].read_bytes())
    before = a.read_bytes()
    for option, name in (("--plot", "a.png"), ("--csv", "b.mrc")):
        fails(
            run("frc", a, b, option, name),
            f"{name}: is an input, and inputs are never replaced; write elsewhere",
        )
    other = "is not {}, and is not replaced by one; write elsewhere"
    images = data.files[:2]
    fails(run("frc", *images, "--plot", "a.png"), "a.png: " + other.format("a figure of camnorm"))
    table = "b.mrc: " + other.format("a table of a ring correlation")
    fails(run("frc", *images, "--csv", "b.mrc"), table)
    fails(run("show", data.sensor, "-o", "a.png"), "a.png: " + other.format("a figure of camnorm"))
    listed = "b.mrc: " + other.format("a frame list")
    fails(run("measure", data.folder, "-o", "s.h5", "--frames-csv", "b.mrc"), listed)
    assert a.read_bytes() == b.read_bytes() == before
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.slow
def test_results_are_replaced_by_the_same_kind(run: Run, data: Data, tmp_path: Path) -> None:
    for name in ("c.png", "c.pdf", "c.svg"):
        for _ in range(2):
            assert run("frc", *data.files[:2], "--plot", name, "--csv", "c.csv").status == 0
            assert run("show", data.sensor, "-o", name).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"c.png", "c.pdf", "c.svg", "c.csv"}


@pytest.mark.parametrize("name", ["verify.json", "verify.png", "verify_groups_raw.csv"])
def test_verify_replaces_only_its_own_results(run: Run, data: Data, tmp_path: Path, name: str) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / name).write_text("mine")
    result = run("verify", data.folder, "-m", data.sensor, "-o", "v")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert f"v/{name}: is not a " in result.err
    assert [(path.name, path.read_text()) for path in (tmp_path / "v").iterdir()] == [(name, "mine")]


def test_a_frame_list_that_was_edited_is_kept(run: Run, data: Data, tmp_path: Path) -> None:
    measure = ("measure", data.folder, "-o", "s.h5", "--frames-csv", "frames.csv")
    assert run(*measure).status == 0
    assert run(*measure).status == 0  # the same list
    listed = tmp_path / "frames.csv"
    edited = listed.read_text().replace("accepted", "rejected", 1)
    listed.write_text(edited)
    fails(run(*measure), "frames.csv: already exists; use --overwrite to replace it")
    itself = (
        "measure",
        "--frames-list",
        "frames.csv",
        "-o",
        "t.h5",
        "--frames-csv",
        "frames.csv",
        "--overwrite",
    )
    fails(run(*itself), "frames.csv: is an input, and inputs are never replaced; write elsewhere")
    assert listed.read_text() == edited
    assert run(*measure, "--overwrite").status == 0
    assert listed.read_text() == edited.replace("rejected", "accepted", 1)


def test_merge_and_subtract_replace_only_the_same_measurement(run: Run, data: Data, tmp_path: Path) -> None:
    one, two, three = tmp_path / "one.h5", tmp_path / "two.h5", tmp_path / "three.h5"
    camnorm.measure(data.files[:4], one)
    camnorm.measure(data.files[4:8], two)
    camnorm.measure(data.files[8:12], three)
    before = one.read_bytes()
    itself = "is an input, and inputs are never replaced; write elsewhere"
    fails(run("merge", one, two, "-o", one, "--overwrite"), f"{one}: {itself}")
    assert run("merge", one, two, "-o", "both.h5").status == 0
    assert run("merge", one, two, "-o", "both.h5").status == 0
    both = "both.h5: already holds another measurement (8 frames of 8 files); use --overwrite to replace it"
    fails(run("merge", one, three, "-o", "both.h5"), both)
    fails(run("subtract", "both.h5", two, "-o", "both.h5", "--overwrite"), f"both.h5: {itself}")
    assert run("subtract", "both.h5", two, "-o", "rest.h5").status == 0
    assert camnorm.Sensor.load("rest.h5").count == 4
    assert run("merge", one, three, "-o", "both.h5", "--overwrite").status == 0
    assert camnorm.Sensor.load("both.h5").count == 8
    assert one.read_bytes() == before


def test_lists_that_cannot_be_written_are_told_of_before_measuring(
    run: Run, data: Data, tmp_path: Path
) -> None:
    result = run("measure", data.folder, "-o", "s.h5", "--frames-csv", "gone/f.csv")
    assert result == (1, "", "camnorm: error: gone/f.csv: No such file or directory\n")
    assert not list(tmp_path.iterdir())
    assert run("measure", data.folder, "-o", "s.h5", "--frames-csv", "f.csv").status == 0
    assert run("measure", data.folder, "-o", "s.h5", "--frames-csv", "f.csv").status == 0


def test_links_that_lead_nowhere_are_told_of(run: Run, data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in data.files[:12]:
        (folder / path.name).symlink_to(path)
    (folder / "gone.mrc").symlink_to("nowhere.mrc")
    rejected = [{"file": str(folder / "gone.mrc"), "index": None, "reason": "No such file or directory"}]
    assert run("measure", folder, "-o", "s.h5", "--json").json()["rejected"] == rejected
    assert run("correct", folder, "-m", "s.h5", "-o", "out", "--json").json()["rejected"] == rejected


def test_frames_that_do_not_fit(run: Run, data: Data) -> None:
    np.save("small.npy", np.arange(60, dtype=np.uint16).reshape(3, 4, 5))
    run("measure", "small.npy", "-o", "small.h5")
    assert "(64, 64)" in run("frc", "small.npy", data.files[0]).err
    fails(run("frc", "small.npy", "small.npy", "--frame-b", "3"), "small.npy: no frame 3, the last is 2")
    for command in (
        ["merge", "small.h5", data.sensor, "-o", "c.h5"],
        ["correct", "small.npy", "-m", data.sensor, "-o", "out"],
        ["verify", data.folder, "-m", "small.h5"],
    ):
        result = run(*command)
        assert (result.status, result.out) == (1, "")
        assert "(64, 64)" in result.err
        assert "(4, 5)" in result.err
        assert result.err.count("\n") == 1


def test_options_that_do_not_go_together(run: Run, data: Data) -> None:
    command = ["correct", data.files[0], "-m", data.sensor, "-o", "out"]
    fails(run(*command, "--bad-policy", "nan", "--dtype", "int16"), "bad pixels cannot be NaN in int16 files")
    result = run(*command, "--target-sigma", "-1")
    assert result.status == 1
    assert "--target-sigma must be positive" in result.err


def test_threads_of_the_environment(run: Run, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMNORM_THREADS", "many")
    fails(run("frc", *data.files[:2]), "CAMNORM_THREADS must be a positive number, got 'many'")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "error: not enough memory"),
        (MemoryError("std::bad_alloc"), "error: not enough memory"),
        (MemoryError("Unable to allocate 3 GiB"), "error: not enough memory: Unable to allocate 3 GiB"),
        (OSError(5, "Input/output error", "disk/s.h5"), "error: disk/s.h5: Input/output error"),
        (OSError("no reason"), "error: no reason"),
        (camnorm.FormatError("s.h5", "two\nlines"), "error: s.h5: two lines"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_what_the_library_raises(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str
) -> None:
    def load(path: object) -> None:
        raise error

    monkeypatch.setattr(camnorm.Sensor, "load", load)
    status = 130 if isinstance(error, KeyboardInterrupt) else 1
    assert run("show", "s.h5") == (status, "", f"camnorm: {message}\n")


def test_a_bug_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(camnorm.Sensor, "load", load)
    monkeypatch.setattr(sys, "argv", ["camnorm", "show", "s.h5"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_debug_shows_where_an_error_comes_from(run: Run) -> None:
    result = run("show", "gone.h5", "--debug")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Traceback (most recent call last):\n")
    assert result.err.endswith("camnorm: error: gone.h5: No such file or directory\n")


# Processes: signals, pipes, terminals


def test_the_module_runs(data: Data) -> None:
    result = spawn("show", data.sensor, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["count"] == FRAMES


@pytest.mark.parametrize("option", ["--version", "--help", "-h"])
def test_version_and_help_import_only_what_they_need(option: str) -> None:
    code = (
        f"import sys; sys.argv = ['camnorm', {option!r}]\n"
        "from camnorm.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *loaded = result.stdout.splitlines()[-1].split()
    assert status == "0"
    heavy = {
        "numpy",
        "h5py",
        "tifffile",
        "mrcfile",
        "imagecodecs",
        "scipy",
        "pyfftw",
        "matplotlib",
        "camnorm.io",
    }
    assert not heavy & set(loaded)
    assert not {f"camnorm.cli.{verb}" for verb in VERBS} & set(loaded)


def test_a_verb_imports_no_other() -> None:
    code = (
        "import sys; sys.argv = ['camnorm', 'measure', '--help']\n"
        "from camnorm.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    assert {verb for verb in VERBS if f"camnorm.cli.{verb}" in loaded} == {"measure"}
    assert not {"camnorm.demo", "camnorm.verification.verification"} & loaded


def test_the_list_of_verbs_says_what_their_help_says() -> None:
    assert list(PURPOSES) == VERBS
    for verb, purpose in PURPOSES.items():
        result = spawn(verb, "--help")
        assert " ".join(result.stdout.split("\n\n")[1].split()) == purpose


def test_start_is_light() -> None:
    heavy = {"matplotlib", "scipy", "pyfftw", "h5py", "imagecodecs", "tifffile", "mrcfile", "rich.progress"}
    code = f"import sys, camnorm.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_full_disk_leaves_no_partial_file(data: Data, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    parts = [data.sensor.with_name(f"part{number}.h5") for number in range(2)]
    for number, part in enumerate(parts):
        camnorm.measure(data.files[4 * number : 4 * number + 4], part)
    (tmp_path / "out").mkdir()
    for arguments, file in (
        (["measure", data.folder, "-o", "s.h5"], "s.h5"),
        (["merge", *parts, "-o", "s.h5"], "s.h5"),
        (["correct", data.folder, "-m", data.sensor, "-o", "out"], "out/f00.mrc"),
    ):
        result = spawn(*arguments, cwd=tmp_path, preexec_fn=limit)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.splitlines()[-1] == f"camnorm: error: {file}: File too large"
        assert [path.name for path in tmp_path.rglob("*")] == ["out"]


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(data: Data) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        for arguments in (
            ["frc", *data.files[:2]],
            ["frc", *data.files[:2], "--json"],
            ["show", data.sensor],
            ["verify", data.folder, "-m", data.sensor, "-o", data.sensor.parent / "v", "--same-statistics"],
        ):
            result = spawn(*arguments, stdout=write)
            assert (result.returncode, result.stderr) == (1, "")
    finally:
        os.close(write)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_results_that_cannot_be_written_are_an_error(data: Data) -> None:
    with open("/dev/full", "w") as full:
        result = spawn("show", data.sensor, stdout=full)
    assert (result.returncode, result.stderr) == (1, "camnorm: error: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_cannot_be_written_is_an_error(option: str) -> None:
    with open("/dev/full", "w") as full:
        result = spawn(option, stdout=full)
    assert (result.returncode, result.stderr) == (1, "camnorm: error: No space left on device\n")


def test_closed_streams_are_no_matter(data: Data, tmp_path: Path) -> None:
    """As some daemons start programs; what is written to the streams must not get into the sensor file."""

    def close() -> None:
        for descriptor in (0, 1, 2):
            os.close(descriptor)

    code = (
        "import os, sys, camnorm.measurement.checkpoint as m, camnorm.cli as c\n"
        "save = m.write_contents\n"
        "def write(*arguments):\n"
        "    save(*arguments)\n"
        "    assert os.write(1, b'words') == os.write(2, b'words') == 5\n"
        "m.write_contents = write\n"
        "c.main()"
    )
    command = [sys.executable, "-c", code, "measure", data.folder, "-o", "s.h5", "--screen", "off"]
    result = subprocess.run(command, cwd=tmp_path, preexec_fn=close, check=False, timeout=120)
    assert result.returncode == 0
    assert camnorm.Sensor.load(tmp_path / "s.h5").count == FRAMES
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


def test_tables_are_whole_on_a_narrow_terminal(data: Data, tmp_path: Path) -> None:
    result = spawn("frc", *data.files[:2], env={**os.environ, "COLUMNS": "12"})
    assert re.search(r"^ +1 +0\.0156 +0\.031 +8 +[+-]\d\.\d{4} +1\.5000 *$", result.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or not os.path.isdir("/proc"), reason="needs /proc")
def test_a_home_that_cannot_be_written_is_no_matter(data: Data, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL"))}
    result = spawn("show", data.sensor, "-o", tmp_path / "s.png", env={**environment, "HOME": "/proc"})
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_names_and_signs_that_the_terminal_does_not_know(data: Data, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.mrc")
    odd.write_text("words")
    for encoding in ("ascii", "utf-8"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        result = spawn("measure", data.folder, odd, "-o", tmp_path / "s.h5", env=environment)
        assert (result.returncode, result.stderr) == (0, "")
        assert r"odd\udcff.mrc: not an MRC file" in result.stdout
        result = spawn("frc", *data.files[:2], env=environment)
        assert (result.returncode, result.stderr) == (0, "")


def in_terminal(*arguments: object) -> tuple[str, str]:
    """Run a command whose stderr is a terminal of 80 columns; return its stdout and stderr."""
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "camnorm", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=slave, text=True, env=environment
    ) as process:
        os.close(slave)
        written = b"".join(_chunks(master))
        out, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    return out, written.decode()


def _chunks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side was closed
            return
        if not chunk:
            return
        yield chunk


def test_progress_is_shown_on_a_terminal_only(data: Data, tmp_path: Path) -> None:
    command = ["measure", data.folder, "-o", tmp_path / "s.h5", "--json"]
    out, err = in_terminal(*command)
    assert json.loads(out)["count"] == FRAMES
    assert "measuring" in err
    assert f"{FRAMES}/{FRAMES}" in err
    assert "frames/s" in err
    assert "MB/s" in err
    out, err = in_terminal(*command, "--quiet")
    assert json.loads(out)["count"] == FRAMES
    assert err == ""


def test_interrupted_measure_says_so_and_goes_on(data: Data, tmp_path: Path) -> None:
    # Checkpoints all the time, so that there is one soon, and the run takes long enough to be interrupted.
    code = (
        "import camnorm.cli, camnorm.sizes\n"
        "with camnorm.sizes.divided(checkpoint_seconds=0.0, checkpoint_share=0.0): camnorm.cli.main()"
    )
    list_of_copies(data, tmp_path)
    arguments = ["measure", "@list.txt", "-o", "s.h5", "--screen", "off", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        checkpoint = tmp_path / "s.h5.checkpoint"
        end = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "camnorm: interrupted: the same command goes on from the last checkpoint\n"
    assert checkpoint.exists()
    assert not (tmp_path / "s.h5").exists()

    result = spawn(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["count"] == 20 * FRAMES
    assert not checkpoint.exists()
    whole = camnorm.Sensor.load(tmp_path / "s.h5").moments
    np.testing.assert_array_equal(whole.sum(), 20 * data.frames.sum(0, dtype=np.int64))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_programs_leaves_nothing_half_done(
    run: Run,
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    number: signal.Signals,
) -> None:
    """As schedulers and closing terminals do it: like Ctrl-C, with the status of the signal."""
    written = []
    write = camnorm.io.FrameWriter.write

    def end_at_the_third(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        written.append(True)
        if len(written) == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(camnorm.io.FrameWriter, "write", end_at_the_third)
    before = signal.signal(number, signal.SIG_DFL)  # which nohup may have changed for the tests
    request.addfinalizer(lambda: signal.signal(number, before))
    result = run("correct", data.folder, "-m", data.sensor, "-o", "out", "--threads", 1)
    assert result == (128 + number, "", "camnorm: interrupted\n")
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_an_interrupt_that_is_lost_is_heeded_at_the_next_report(
    run: Run, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python drops what is raised in a finalizer, of which h5py has many."""
    lost = []
    load = camnorm.Sensor.load

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def load_and_finalize(path: Path) -> camnorm.Sensor:
        Finalized()
        return load(path)

    monkeypatch.setattr(camnorm.Sensor, "load", load_and_finalize)
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    result = run("correct", data.folder, "-m", data.sensor, "-o", "out")
    assert result == (130, "", "camnorm: interrupted\n")
    assert len(lost) == 1


def test_a_scheduler_that_ends_measure(data: Data, tmp_path: Path) -> None:
    """The same command goes on, as after Ctrl-C."""
    code = (
        "import os, signal, camnorm.measurement.state as m, camnorm.cli as c\n"
        "report = m.State.report\n"
        "def end(state, stage):\n"
        "    report(state, stage)\n"
        "    if state.frames_read >= 30: os.kill(os.getpid(), signal.SIGTERM)\n"
        "m.State.report = end\n"
        "c.main()"
    )
    list_of_copies(data, tmp_path)
    arguments = ["measure", "@list.txt", "-o", "s.h5", "--screen", "off", "--json"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (128 + signal.SIGTERM, "")
    assert result.stderr == "camnorm: interrupted: the same command goes on from the last checkpoint\n"
    assert (tmp_path / "s.h5.checkpoint").exists()
    assert json.loads(spawn(*arguments, cwd=tmp_path).stdout)["count"] == 20 * FRAMES


def test_nohup_is_heeded(run: Run, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    load = camnorm.Sensor.load
    monkeypatch.setattr(camnorm.Sensor, "load", lambda path: signal.raise_signal(signal.SIGHUP) or load(path))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("show", data.sensor).status == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_does_not_wait_for_a_report(
    run: Run, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = []

    def measure(*arguments: object, **options: object) -> None:
        for _ in range(3):
            raised.append(True)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(camnorm, "measure", measure)
    before = signal.getsignal(signal.SIGINT)
    assert run("measure", data.folder, "-o", "s.h5").status == 130
    assert len(raised) == 2
    assert signal.getsignal(signal.SIGINT) is before


# --- screening


def mixed_set(folder: Path) -> Path:
    """Movies of two exposures that alternate, a frame of either is blank, and two are the same."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    frames = rng.poisson(200, (30, 2, *SHAPE)).astype(np.uint16)
    frames[1::2] = rng.poisson(300, frames[1::2].shape)
    frames[4:6, 0], frames[9, 1] = 0, frames[3, 1]
    for i, movie in enumerate(frames):
        mrcfile.write(folder / f"m{i:02}.mrc", movie)
    return folder


def test_measure_says_what_is_suspicious(run: Run, tmp_path: Path) -> None:
    folder = mixed_set(tmp_path / "in")
    out = run("measure", folder, "-o", "s.h5").out
    assert out.startswith(
        "verdict         Not usable: the frames have 2 exposure levels.\n"
        "fix first       Measure each exposure level separately (--split).\n"
        "next            camnorm measure in -o s.h5 --split\n\n"
    )
    shown = out.partition("problems:\n")[2].splitlines()
    marked = [line for line in shown if line.startswith("  ! ")]
    assert marked[0].startswith("  ! modes: the frames are of 2 kinds: 29 frames of mean ")
    assert marked[1].startswith("  ! duplicates: 1 copy of other frames left out, the first of")
    assert "  ! blank: 2 blank frames of 60 left out." in marked
    found = run("measure", folder, "-o", "s.h5", "--json").json()["findings"]
    assert {finding["name"] for finding in found if finding["flagged"]} >= {"blank", "duplicates", "modes"}
    assert set(found[0]) == {field.name for field in dataclasses.fields(camnorm.Finding)}


def test_measure_reports_a_movie_that_is_shorter(run: Run, data: Data, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, frames in (("a", data.frames[:24]), ("b", data.frames[24:48]), ("c", data.frames[48:55])):
        mrcfile.write(tmp_path / "in" / f"{name}.mrc", frames)
    sentence = "1 movie is shorter than usual (c.mrc: 7 of 24 frames)."
    shown = run("measure", "in", "-o", "s.h5").out.partition("problems:\n")[2]
    assert " ".join(shown.split()).startswith(f"! short_movies: {sentence}")
    # A truncated file has as many frames as can be read.
    (tmp_path / "in" / "c.mrc").unlink()
    whole = (tmp_path / "in" / "b.mrc").read_bytes()
    (tmp_path / "in" / "b.mrc").write_bytes(whole[: 1024 + 7 * data.frames[0].nbytes + 5])
    found = run("measure", "in", "-o", "t.h5", "--json").json()["findings"]
    (short,) = (finding for finding in found if finding["name"] == "short_movies")
    assert short["flagged"]
    assert short["sentence"].startswith("1 movie is shorter than usual (b.mrc: 7 of 24 frames).")


def test_nothing_is_said_of_a_clean_set(run: Run, data: Data) -> None:
    assert "problems:" not in run("measure", data.folder, "-o", "s.h5").out


def test_limits_on_the_command_line(run: Run, data: Data) -> None:
    means = data.frames.mean((1, 2))
    low, high = np.sort(means)[[3, -4]]
    options = ["--mean", f"{low - 1e-6}:", "--std", ":1e9", "--screen", "off"]
    result = run("measure", data.folder, "-o", "s.h5", *options, "--json").json()
    assert result["accepted"] == FRAMES - 3
    assert result["screening"]["given"]["std"] == [None, 1e9]
    assert "screening       given: mean " in run("measure", data.folder, "-o", "s.h5", *options).out
    assert ":; given: std :1e+09\n" in run("show", "s.h5").out
    both = run("measure", data.folder, "-o", "t.h5", "--mean", f"{low - 1e-6}:{high + 1e-6}").out
    assert "screening       k = 6: mean " in both


@pytest.mark.parametrize("text", ["5", "5:3", "a:b", ":", "1:2:3", "nan:", "5:nan", ""])
@pytest.mark.parametrize("option", ["--mean", "--std"])
def test_limits_that_are_none(run: Run, data: Data, option: str, text: str) -> None:
    result = run("measure", data.folder, "-o", "s.h5", option, text)
    assert (result.status, result.out) == (2, "")
    expected = f"Invalid value for {option}: {text!r} is not LOW:HIGH, LOW: or :HIGH."
    assert result.err == f"camnorm: error: {expected} (see 'camnorm measure --help')\n"


def test_frames_go_out_and_come_in_again(run: Run, tmp_path: Path) -> None:
    folder = mixed_set(tmp_path / "in")
    run("measure", folder, "-o", "a.h5", "--frames-csv", "frames.csv")
    result = run("measure", "--frames-list", "frames.csv", "-o", "b.h5", "--json").json()
    assert (result["frames"], result["accepted"], result["screening"]) == (57, 57, None)
    one, other = (camnorm.Sensor.load(tmp_path / name) for name in ("a.h5", "b.h5"))
    for a, b in zip(one.halves, other.halves, strict=True):
        assert a.state()["sum"].tolist() == b.state()["sum"].tolist()
    (tmp_path / "frames.csv").write_text("file,index,status\nnone.mrc,0,accepted\n")
    failed = run("measure", "--frames-list", "frames.csv", "-o", "b.h5")
    assert failed.status == 1
    assert failed.err == "camnorm: error: frames.csv, line 2: there is no file 'none.mrc'\n"


@pytest.mark.filterwarnings("always:3 of 60 frames")
def test_split(run: Run, tmp_path: Path) -> None:
    folder = mixed_set(tmp_path / "in")
    result = run("measure", folder, "-o", "s.h5", "--split", "--json")
    assert result.err.startswith("camnorm: warning: 3 of 60 frames are of no kind that could be measured, ")
    groups = result.json()["groups"]
    assert [group["output"] for group in groups] == ["s_1.h5", "s_2.h5"]
    assert [group["count"] for group in groups] == [29, 28]
    assert [round(group["target_mean"], -1) for group in groups] == [200, 300]
    for group in groups:
        assert {finding["name"] for finding in group["findings"] if finding["flagged"]} <= {"frames"}
        assert camnorm.Sensor.load(tmp_path / group["output"]).count == group["count"]
    shown = run("measure", folder, "-o", "s.h5", "--split").out
    assert shown.count("written         s_") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "--every", "2"], "--split: does not go with --frames-list, --frames-csv, --frames, "),
        (["--split", "--frames-csv", "f.csv"], "--split: does not go with --frames-list, --frames-csv, "),
        (["--split", "--frames-list", "f.csv"], "--split: does not go with --frames-list, --frames-csv, "),
        (["--frames-list", "f.csv", "--frames", "1:"], "--frames-list: does not go with --frames, --every"),
    ],
)
def test_options_of_screening_that_do_not_go_together(
    run: Run, data: Data, options: list[str], message: str
) -> None:
    result = run("measure", data.folder, "-o", "s.h5", *options)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"camnorm: error: Invalid value for {message}")
    assert len(result.err.splitlines()) == 1
