"""Output leads with one verdict, whose worst reason comes first; paths and rejections are summed up."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm.cli.messages import with_options
from camnorm.cli.nextsteps import images_in_words, inputs_of, verdict_facts
from camnorm.cli.paths import command_in_short, files_in_words, shown
from camnorm.cli.results import in_bytes, reasons_in_words
from camnorm.diagnosis.judgement import Judgement, judge
from camnorm.verification.table import p_in_words
from image_sets import sensor_of

SHAPE = (64, 64)
GAIN = 1 + 0.05 * np.random.default_rng(0).standard_normal(SHAPE)


def exposed(count: int, level: float = 200.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(level * GAIN, (count, *SHAPE)).astype(np.uint16)


def measured(files: Sequence[np.ndarray], **provenance: Any) -> tuple[camnorm.Sensor, Judgement]:
    sensor = sensor_of(files)
    sensor.provenance.update(provenance)
    found = camnorm.frames_needed(sensor)
    return sensor, judge(found, camnorm.check(sensor, found))


def groups(*kinds: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"shape": list(SHAPE), "dtype": dtype, "camera": camera, "files": 5, "frames": 250}
        for dtype, camera in kinds
    ]


def files_of(frames: np.ndarray) -> list[np.ndarray]:
    return list(frames[:, None])


def test_good() -> None:
    _, found = measured(files_of(exposed(450)))
    assert found.sentence == "Good: the correction removes more pattern than the noise it adds."
    assert (found.verdict, found.remedy, found.step) == ("good", "", "correct")


def test_few_frames_are_usable_with_a_warning() -> None:
    _, found = measured(files_of(exposed(100)))
    assert found.sentence == (
        "Usable, with a warning: the correction helps, "
        "but leaves a pattern of more than 5 % of the frame noise."
    )
    assert (found.verdict, found.step) == ("usable", "correct")
    assert found.remedy == "At least 400 frames are needed for a good correction; you have 100."


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_frames_are_not_usable(count: int) -> None:
    _, found = measured(files_of(exposed(count)))
    assert found.sentence == "Not usable: too few frames: each half of the set needs two."
    assert (found.verdict, found.step) == ("harmful", "measure")


def test_pixels_that_never_change_are_not_usable() -> None:
    _, found = measured(files_of(np.full((20, *SHAPE), 7, np.uint16)))
    assert found.verdict == "harmful"
    assert found.reason == "No pixel ever changes: there is nothing to correct with."


def test_a_noisy_sigma_image_is_not_to_be_divided_by() -> None:
    _, found = measured(files_of(exposed(60, 10.0)))
    assert (found.verdict, found.step) == ("usable", "best")


def test_no_visible_pattern_is_unknown() -> None:
    frames = np.random.default_rng(3).normal(100, 10, (200, 4, 4)).astype(np.float32)
    _, found = measured(files_of(frames))
    assert found.sentence == (
        "Unknown: no fixed pattern is visible: whether the correction helps cannot be determined."
    )
    assert (found.verdict, found.step) == ("unknown", "verify")


def test_exposure_levels_come_before_numbers_of_the_mixture() -> None:
    frames = exposed(60)
    frames[1::2] = exposed(30, 320.0, seed=2)
    sensor, found = measured(files_of(frames))
    assert found.reason == "The frames have 2 exposure levels."
    assert found.step == "split"
    assert found.verdict == camnorm.frames_needed(sensor).verdict


def test_cameras_that_are_mixed_are_not_usable(tmp_path: Path) -> None:
    frames = files_of(exposed(450))
    sensor, found = measured(frames, groups=groups(("uint16", "K3"), ("uint16", "Falcon")))
    assert found.sentence == (
        "Not usable: the set mixes frames of 2 cameras (Falcon, K3), each with its own pattern."
    )
    assert (found.verdict, found.step) == ("harmful", "split")
    np.save(tmp_path / "a.npy", frames[0])
    with pytest.warns(UserWarning, match=r"^The set mixes frames of 2 cameras \(Falcon, K3\)"):
        camnorm.correct(tmp_path / "a.npy", sensor, tmp_path / "out")
    # A camera that files do not name is no other one.
    _, found = measured(frames, groups=groups(("uint16", "K3"), ("uint16", "")))
    assert (found.verdict, found.step) == ("usable", "split")
    assert found.reason == "The files are of 2 kinds (64 x 64 uint16 by K3; 64 x 64 uint16)."


def test_saturated_sets_are_not_usable(tmp_path: Path) -> None:
    frames = np.minimum(exposed(450, 30000.0) * 2.2, 65535).astype(np.uint16)
    sensor, found = measured(files_of(frames))
    assert found.sentence == (
        "Not usable: 450 of 450 frames are saturated: pixels at the maximum say nothing of their sensitivity."
    )
    assert (found.verdict, found.step) == ("harmful", "none")
    facts = dict(verdict_facts(found, Path("s.h5"), "raw"))
    assert facts == {"verdict": found.sentence, "fix first": "Lower the exposure."}
    np.save(tmp_path / "a.npy", frames[:1])
    with pytest.warns(UserWarning, match="^450 of 450 frames are saturated: .* Lower the exposure"):
        camnorm.correct(tmp_path / "a.npy", sensor, tmp_path / "out")


def test_some_saturated_frames_are_a_warning() -> None:
    frames = exposed(450, 50000.0)
    light = np.random.default_rng(4).poisson(70000 * GAIN, (20, *SHAPE))
    frames[:20] = light.clip(max=65535)
    _, found = measured(files_of(frames))
    assert found.sentence == "Usable, with a warning: 20 saturated frames of 450 are in the statistics."


DRIFT = {
    "first": 225,
    "second": 225,
    "pixels": 4096,
    "rms_z": 3.0,
    "control_rms_z": 1.0,
    "share": 0.41,
    "beyond_6_sigma": 0,
    "control_beyond_6_sigma": 0,
}


def test_drift_leads() -> None:
    _, found = measured(files_of(exposed(450)), drift=DRIFT)
    assert found.reason == "The fixed pattern drifted: 41 % of its variance changed."
    assert (found.verdict, found.remedy) == ("usable", "Take shorter sets.")
    # What the correction adds is worse.
    _, found = measured(files_of(exposed(60, 1.0)), drift=DRIFT)
    assert found.verdict == "harmful"
    assert found.reason == "The correction would add more noise than it removes."


def test_notes_do_not_change_the_verdict() -> None:
    frames = exposed(450)
    ramp = np.linspace(1, 1.5, SHAPE[0])[:, None]
    sensor, found = measured(files_of((frames * ramp).astype(np.uint16)))
    assert "illumination" in [one.name for one in camnorm.check(sensor) if one.flagged]
    assert found.sentence == "Good: the correction removes more pattern than the noise it adds."


@pytest.mark.parametrize(
    ("step", "command"),
    [
        ("correct", "camnorm correct raw -m 'my sensor.h5' -o corrected --skip-rejected"),
        ("best", "camnorm correct raw -m 'my sensor.h5' -o corrected --mode best --skip-rejected"),
        ("split", "camnorm measure raw -o 'my sensor.h5' --split"),
        ("verify", "camnorm verify raw -m 'my sensor.h5' --pairs 8"),
        ("measure", "camnorm measure raw MORE... -o 'my sensor.h5' --overwrite"),
    ],
)
def test_the_next_command(step: Any, command: str) -> None:
    facts = dict(verdict_facts(Judgement("usable", "Why.", "", step), Path("my sensor.h5"), "raw", True))
    assert facts == {"verdict": "Usable, with a warning: why.", "next": command}


def test_inputs_are_named_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert images_in_words(["a b", "c.mrc", f"{tmp_path}/d"]) == "'a b' c.mrc d"
    # Folders, patterns and lists are no files of one folder.
    assert images_in_words([f"day{i}" for i in range(60)]) == "INPUT..."
    for folders, expected in ((["raw"], "raw"), (["."], "."), (["day 0", "day 1"], "'day 0' 'day 1'")):
        for folder in folders:
            (tmp_path / folder).mkdir(exist_ok=True)
        files = [f"{folders[i % len(folders)]}/{i}.mrc" for i in range(8)]
        for file in files:
            Path(file).touch()
        assert images_in_words(files) == expected
        sensor = sensor_of(files_of(exposed(8)))
        sensor.provenance["files"]["path"] = [f"{tmp_path}/{os.path.normpath(file)}" for file in files]
        assert inputs_of(sensor) == inputs_of(sensor, ["day*", "@a.txt", "b", "c"]) == expected
        assert inputs_of(sensor, ["day*", "@a.txt"]) == "'day*' @a.txt"
    assert shown(f"{tmp_path}/raw/a.mrc") == "raw/a.mrc"
    assert shown(f"{tmp_path}s/a.mrc") == f"{tmp_path}s/a.mrc"


def test_a_command_without_the_paths_of_a_pattern() -> None:
    paths = [f"raw/m{i:02}.mrc" for i in range(60)]
    command = shlex.join(["/opt/env/bin/camnorm", "measure", *paths, "x/dark 1.tif", "-o", "s.h5"])
    assert command_in_short(command) == ("camnorm measure [60 files in raw] 'x/dark 1.tif' -o s.h5")
    bare = shlex.join(["camnorm", "measure", *(f"{i}.mrc" for i in range(2000)), "-o", "s.h5"])
    assert command_in_short(bare) == "camnorm measure [2,000 files] -o s.h5"
    assert command_in_short("/lib/camnorm/__main__.py show s.h5") == "camnorm show s.h5"
    for other in ("", "it's broken", "python"):
        assert command_in_short(other) == other


def test_files_are_counted() -> None:
    assert files_in_words([]) == "0 files"
    assert files_in_words(["raw/a.mrc"]) == "1 file: raw/a.mrc"
    assert files_in_words([f"raw/{i}" for i in range(1200)]) == "1,200 files in raw"
    assert files_in_words(["a/1", "b/2"]) == "2 files in 2 folders"
    assert [in_bytes(n) for n in (0, 999, 65_600, 7_930_000, 2 * 10**12)] == [
        "0 bytes",
        "999 bytes",
        "65.6 kB",
        "7.93 MB",
        "2 TB",
    ]


def test_p_values_have_honest_digits() -> None:
    assert [p_in_words(p) for p in (0.0, 1.8e-127, 9e-17, 1.04e-5, 0.3149)] == [
        "<1e-16",
        "<1e-16",
        "<1e-16",
        "1e-05",
        "0.31",
    ]


def test_values_of_options() -> None:
    said = "to leave it, use keep_illumination=True. Or shrink=True, mode='mean'."
    assert with_options(said) == "to leave it, use --keep-illumination. Or --shrink, --mode mean."


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("gain.tif: gain of shape (24, 32) for frames of (10, 12)", "gain of shape"),
        ("/a b/gain: gain of shape (24, 32)", "gain of shape"),
        ("byte 5: not an MRC file, or truncated", "not an MRC file"),
        ("screened: standard deviation 3.4 outside 3 to 4; mean 2", "standard deviation outside the limits"),
        ("uint8 pixels (integer kind), but the set has float32 pixels (float kind)", "of another pixel type"),
        ("frames of shape (3, 4), but the set has (2, 3)", "of another shape"),
        ("screened: blank, mean 28 outside 936 to 1233", "blank"),
        ("screened: copy of m.mrc, frame 3", "copies"),
        ("No such file or directory", "No such file or directory"),
    ],
)
def test_reasons_in_short(reason: str, short: str) -> None:
    assert reasons_in_words([{"reason": reason}] * 2) == f"2: {short}"
