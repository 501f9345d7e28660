"""What the command line prints: options in place of arguments, and nothing that a terminal obeys."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_type_hints

import h5py
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import ReadOptions, cli, jsontext
from camnorm.cli.correct import BadPolicy, Compression, Format
from camnorm.cli.messages import option_names, with_options
from camnorm.cli.words import complete_words
from camnorm.terminal import printable

SHAPE = (24, 32)
NASTY = "a\x1b[31mb\r\n\x07\x7f\u202e\u2066\u2028\u009b"
ESCAPED = r"a\x1b[31mb\r\n\x07\x7f\u202e\u2066\u2028\x9b"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Result(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in this process, in an empty directory; what it prints must be harmless."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["camnorm", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capfd.readouterr()
        assert not OBEYED.search(captured.out + captured.err)
        return Result(int(end.value.code or 0), captured.out, captured.err)

    return run


def frames(count: int, seed: int = 1, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).poisson(100, (count, *shape)).astype(np.uint16)


def movies(folder: Path, count: int = 6) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"m{i}.tif" for i in range(count)]
    for seed, path in enumerate(paths):
        tifffile.imwrite(path, frames(6, seed), photometric="minisblack", metadata=None)
    return paths


# Control characters


def test_printable() -> None:
    assert printable(NASTY) == ESCAPED
    assert printable("\udc9b\ud800") == r"\udc9b\ud800"
    assert printable("naïve ±3σ, 100 %, C:\\data 日本") == "naïve ±3σ, 100 %, C:\\data 日本"


def test_json() -> None:
    text = jsontext.dumps({"name": NASTY + "\udc9b"})
    assert all(" " <= character <= "~" for character in text)
    assert json.loads(text) == {"name": NASTY + "\udc9b"}


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    """A folder of movies, all of whose names hold control characters."""
    folder = tmp_path / NASTY
    movies(folder)
    (folder / f"bad{NASTY}.mrc").write_bytes(b"no image")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.filterwarnings("default")
def test_names_of_files(run: Run, nasty: Path, tmp_path: Path) -> None:
    for i in range(3):  # more, of a name that is no text
        os.rename(nasty / f"m{i}.tif", os.fsencode(nasty) + b"/\x9b\xff%d.tif" % i)
    sensor, out = f"s{NASTY}.h5", tmp_path / f"out{NASTY}"
    measured = run("measure", nasty, "-o", sensor, "--frames-csv", f"t{NASTY}.csv")
    assert measured.status == 0
    assert f"s{ESCAPED}.h5" in measured.out
    assert f"bad{ESCAPED}.mrc" in measured.out
    shown = run("show", sensor)
    assert f"s{ESCAPED}.h5" in shown.out
    assert shown.out.count("\n  ") == run("show", sensor).out.count("\n  ")
    corrected = run("correct", nasty, "-m", sensor, "-o", out)
    assert corrected.status == 0
    assert f"bad{ESCAPED}.mrc" in corrected.out
    verified = run("verify", nasty, "-m", sensor, "-o", out / "v")
    assert verified.status in (0, 3)
    assert ESCAPED in verified.out
    twice = run("merge", sensor, sensor, "-o", f"m{NASTY}.h5").err
    assert "would count twice" in twice
    assert twice[:-1].isprintable()
    camnorm.measure(movies(tmp_path / "more", 9)[6:], "more.h5")
    merged = run("merge", sensor, "more.h5", "-o", f"m{NASTY}.h5")
    assert f"m{ESCAPED}.h5" in merged.out
    assert run("frc", nasty / "m3.tif", nasty / "m4.tif").status == 0
    for arguments in (
        ["show", f"gone{NASTY}.h5"],
        ["show", f"gone{NASTY}.h5", "--debug"],
        ["measure", f"gone{NASTY}", "-o", "x.h5"],
        ["measure", nasty / f"bad{NASTY}.mrc", "-o", "x.h5"],
        ["correct", nasty, "-m", nasty / f"bad{NASTY}.mrc", "-o", "x"],
        ["correct", nasty, "-m", sensor, "-o", out],
        ["frc", nasty / f"bad{NASTY}.mrc", nasty / "m3.tif"],
        ["frc", nasty / "m3.tif", nasty / "m4.tif", "--csv", f"gone{NASTY}/x.csv"],
        ["measure", nasty, "-o", "x.h5", "--gain", f"gone{NASTY}.mrc"],
        ["measure", nasty, "-o", "x.h5", f"--{NASTY}"],
        ["measure", nasty, "-o", "x.h5", "--screen", NASTY],
        ["measure", nasty, "-o", "x.h5", "--frames", NASTY],
        [NASTY],
    ):
        failed = run(*arguments)
        assert failed.status in (1, 2)
        assert "--debug" in arguments or failed.err.count("\n") == 1


def test_texts_within_files(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for i, (shape, model) in enumerate([(SHAPE, NASTY)] * 4 + [((16, 16), "X" + NASTY)]):
        make = (271, "s", 0, "Acme\x1b[2J", True)
        tifffile.imwrite(
            folder / f"m{i}.tif",
            frames(5, i, shape),
            photometric="minisblack",
            metadata=None,
            extratags=[make, (272, "s", 0, model.encode("ascii", "ignore").decode(), True)],
        )
    assert "Acme\\x1b[2J" in run("measure", folder, "-o", "s.h5").out
    assert "Acme\\x1b[2J" in run("show", "s.h5").out
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for name in ("one\x1b[31m\n", "two\x07"):
            f[name] = frames(3)
    failed = run("measure", "a.h5", "-o", "t.h5")
    assert r"one\x1b[31m" in failed.err
    assert failed.err.count("\n") == 1


def test_traces_and_messages_of_bugs() -> None:
    script = f"""
import logging, sys, camnorm.cli
def fail(path):
    logging.getLogger("library").warning({NASTY!r})
    raise RuntimeError({NASTY!r})
camnorm.Sensor.load = fail
sys.argv = ["camnorm", "show", "s.h5"]
camnorm.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    message = done.stderr.decode()
    assert done.returncode == 1
    assert not OBEYED.search(message)
    assert message.startswith(f"{ESCAPED}\nTraceback (most recent call last):\n")
    assert message.endswith(f"\nRuntimeError: {ESCAPED}\n")


# Arguments and options


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("every must be at least 1, not 0", "--every must be at least 1, not 0"),
        ("threads is too large: 9", "--threads is too large: 9"),
        ("Invalid value: frames must be START:STOP", "Invalid value: --frames must be START:STOP"),
        ("a exists; use overwrite=True to replace it", "a exists; use --overwrite to replace it"),
        ("read them with mrc_mode0='unsigned'", "read them with --mrc-mode0 unsigned"),
        ("choose one with dataset=NAME: a, b", "choose one with --dataset NAME: a, b"),
        ("mean_limits must be (low, high)", "--mean must be (low, high)"),
        ("measure each group on its own (measure_groups).", "measure each group on its own (--split)."),
        ("unless keep_illumination=True leaves it", "unless --keep-illumination leaves it"),
        # Words that are no arguments, and names of files.
        ("the frames must be of one kind", "the frames must be of one kind"),
        ("frames of shape (3, 4)", "frames of shape (3, 4)"),
        ("/a/max_frames/overwrite=True.mrc: no image", "/a/max_frames/overwrite=True.mrc: no image"),
        ("max_frames: No such file or directory", "max_frames: No such file or directory"),
        ("CAMNORM_THREADS must be at most 1024", "CAMNORM_THREADS must be at most 1024"),
    ],
)  # fmt: skip
def test_options_in_place_of_arguments(said: str, printed: str) -> None:
    assert with_options(said) == printed


def test_options_that_are_named_exist() -> None:
    verbs = ("measure", "correct", "verify", "frc", "export", "compare", "report")
    helps = {
        verb: subprocess.run(
            [sys.executable, "-m", "camnorm", verb, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for verb in verbs
    }
    of_the_library_only = {"inputs", "options", "progress", "on_error", "on_hot", "on_unfit", "on_estimate"}
    for name in option_names().keys() - of_the_library_only:
        assert any(re.search(rf"{option_names()[name]}\b", text) for text in helps.values()), name


@pytest.mark.parametrize(
    ("option", "words"),
    [("format", Format), ("compression", Compression), ("bad_policy", BadPolicy)],
)
def test_the_words_of_an_option_are_those_of_the_library(option: str, words: object) -> None:
    assert get_type_hints(camnorm.correct)[option] == words


def test_no_message_names_an_argument(run: Run, tmp_path: Path) -> None:
    movies(tmp_path / "raw")
    run("measure", "raw", "-o", "s.h5")
    with h5py.File(tmp_path / "two.h5", "w") as f:
        f["a"], f["b"] = frames(3), frames(3)
    for arguments, message in (
        (["measure", "raw", "--every", "0"], "--every must be at least 1, not 0"),
        (["measure", "raw", "--threads", "99999999999"], "--threads must be at most 1024, got 99999999999"),
        (["measure", "raw", "--eer-grouping", "0"], "--eer-grouping must be positive, not 0"),
        (["measure", "two.h5"], "choose one with --dataset NAME: /a "),
        (["correct", "raw", "-m", "s.h5", "--mode", "response"], "measure it again with --response"),
        (["correct", "raw", "-m", "s.h5", "--target-sigma", "0"], "--target-sigma must be positive"),
    ):
        failed = run(*arguments, "-o", "x.h5")
        assert failed.status in (1, 2)
        assert message in failed.err
        assert not re.search(r"[a-z]_[a-z]|=True", re.sub(r"/\S+", "", failed.err))


# --keep-illumination without a value


@pytest.mark.parametrize(
    ("words", "scale"),
    [
        (["--keep-illumination"], True),
        (["--keep-illumination", "--shrink"], True),
        (["--keep-illumination", "auto"], True),
        (["--keep-illumination=auto"], True),
        (["--keep-illumination", "20"], 20.0),
        (["--keep-illumination=20"], 20.0),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_keep_illumination(run: Run, tmp_path: Path, words: list[str], scale: object, first: bool) -> None:
    paths = movies(tmp_path / "raw")
    sensor = camnorm.measure(paths, tmp_path / "s.h5")
    inputs = ["raw/m1.tif"]
    places = [*words, *inputs] if first else [*inputs, *words]
    assert run("correct", "-m", "s.h5", "-o", "out", *places).status == 0
    correction = sensor.correction(keep_illumination=scale, shrink="--shrink" in words)  # type: ignore[arg-type]
    expected = correction.apply(tifffile.imread(paths[1]))
    assert np.array_equal(tifffile.imread("out/m1.tif"), expected)


def test_words_behind_keep_illumination() -> None:
    option = "--keep-illumination"
    assert complete_words([option, "*.mrc"]) == [f"{option}=auto", "*.mrc"]
    assert complete_words([option, "@list.txt"]) == [f"{option}=auto", "@list.txt"]
    assert complete_words(["x", option, "--", "20"]) == ["x", f"{option}=auto", "--", "20"]
    assert complete_words(["x", "--", option]) == ["x", "--", option]
    assert complete_words([option, "sone"]) == [option, "sone"]  # which is refused
    assert complete_words([]) == []


# Gain references and defects that are not to be had


@pytest.fixture
def gained(tmp_path: Path) -> Path:
    """Movies, and a sensor file that was measured with a gain reference and defects."""
    paths = movies(tmp_path / "raw")
    tifffile.imwrite(tmp_path / "gain.tif", np.full(SHAPE, 1.5, np.float32))
    (tmp_path / "defects.txt").write_text("3 4 1 1\n")
    options = ReadOptions(gain=tmp_path / "gain.tif", defects=tmp_path / "defects.txt")
    camnorm.measure(paths, tmp_path / "s.h5", options=options)
    return tmp_path


@pytest.mark.parametrize("what", ["gain", "defects"])
@pytest.mark.parametrize("verb", ["measure", "correct", "verify", "frc", "library"])
def test_references_that_are_not_there(
    run: Run, gained: Path, monkeypatch: pytest.MonkeyPatch, what: str, verb: str
) -> None:
    name = {"gain": "gain.tif", "defects": "defects.txt"}[what]
    (gained / name).rename(gained / f"moved-{name}")
    kind = {"gain": "gain reference", "defects": "defect file"}[what]
    told = f"{gained / name}: No such file or directory; --{what} FILE names another {kind}"
    if verb == "library":
        with pytest.raises(camnorm.Error, match=rf"{name}: No such .*; {what}=FILE names another {kind}$"):
            camnorm.correct(gained / "raw", gained / "s.h5", gained / "out")
        return
    arguments = {
        "measure": ["raw", "-o", "new.h5", f"--{what}", gained / name],
        "correct": ["raw", "-m", "s.h5", "-o", "out"],
        "verify": ["raw", "-m", "s.h5", "-o", "out"],
        "frc": ["raw/m0.tif", "raw/m1.tif", f"--{what}", gained / name],
    }[verb]
    assert run(verb, *arguments) == (1, "", f"camnorm: error: {told}\n")
    assert not (gained / "out").exists()
    # As it tells: another one is given.
    if verb in ("correct", "verify"):
        others = ["--gain", "gain.tif", "--defects", "defects.txt"]
        others[others.index(name)] = f"moved-{name}"
        assert run(verb, *arguments, *others).status in (0, 3)


@pytest.mark.parametrize(
    ("verb", "damage", "message"),
    [
        ("measure", "text", "gain.tif: not an image file that camnorm reads"),
        ("correct", "text", "gain.tif: not an image file that camnorm reads"),
        ("verify", "text", "gain.tif: not an image file that camnorm reads"),
        ("correct", "folder", "gain.tif: Is a directory; --gain FILE names another gain reference"),
        ("measure", "zero", "gain.tif: no gain, all of its pixels are 0, negative or not finite"),
        ("correct", "zero", "gain.tif: no gain, all of its pixels are 0, negative or not finite"),
        ("measure", "shape", "gain.tif: a gain of shape (5, 6) for frames of (24, 32) in "),
        ("correct", "shape", "gain.tif: a gain of shape (5, 6) for frames of (24, 32) in the set"),
        ("verify", "shape", "gain.tif: a gain of shape (5, 6) for frames of (24, 32) in the set"),
        ("correct", "defects", "defects.txt: the defect 90 0 1 1 is not within frames of (24, 32)"),
    ],
)
def test_references_that_cannot_be_used(run: Run, gained: Path, verb: str, damage: str, message: str) -> None:
    gain = gained / "gain.tif"
    gain.unlink()
    if damage == "text":
        gain.write_text("no image")
    elif damage == "folder":
        gain.mkdir()
    elif damage == "defects":
        (gained / "defects.txt").write_text("90 0 1 1\n")
        tifffile.imwrite(gain, np.ones(SHAPE, np.float32))
    else:
        tifffile.imwrite(gain, np.zeros(SHAPE, "f4") if damage == "zero" else np.ones((5, 6), "f4"))
    arguments = {
        "measure": ["raw", "-o", "new.h5", "--gain", gain],
        "correct": ["raw", "-m", "s.h5", "-o", "out"],
        "verify": ["raw", "-m", "s.h5", "-o", "out"],
    }[verb]
    failed = run(verb, *arguments)
    assert (failed.status, failed.out) == (1, "")
    assert failed.err.startswith(f"camnorm: error: {gained}/{message}")
    assert failed.err.count("\n") == 1
    assert not (gained / "out").exists()


def test_one_movie_of_another_shape_than_the_gain(run: Run, gained: Path) -> None:
    tifffile.imwrite(gained / "raw/z.tif", frames(3, 9, (10, 12)), photometric="minisblack", metadata=None)
    done = run("measure", "raw", "-o", "new.h5", "--gain", "gain.tif")
    assert done.status == 0
    assert "rejected        1" in done.out
    assert "z.tif: " in done.out


# NaN


def test_nan_names_the_defects(run: Run, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for i in range(6):
        movie = frames(5, i).astype(np.float32)
        if i in (1, 4):
            movie[2:, 3, 4] = np.nan
        np.save(tmp_path / f"raw/m{i}.npy", movie)
    hint = "NaN or infinite pixels: --defects FILE fills pixels that are NaN in every frame"
    assert run("measure", "raw", "-o", "s.h5").out.count(hint) == 1
    assert hint not in run("measure", "raw/m0.npy", "raw/m2.npy", "-o", "t.h5").out
    np.save(tmp_path / "all.npy", np.full((4, *SHAPE), np.nan, np.float32))
    failed = run("measure", "all.npy", "-o", "u.h5")
    assert failed.status == 1
    assert "NaN or infinite pixels; --defects FILE fills pixels that are NaN in every frame" in failed.err
    (tmp_path / "d.txt").write_text("4 3 1 1\n")
    done = run("measure", "raw", "-o", "v.h5", "--defects", "d.txt")
    assert "rejected        0\n" in done.out
