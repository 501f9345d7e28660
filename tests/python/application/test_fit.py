"""Frames that a sensor does not fit: of another kind, outside its limits, or rejected before."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm import Error, FormatError
from camnorm.application.fit import UnfitFile
from image_sets import Divide, frames_of, write_mrc, write_npy, write_tiff

SHAPE = (24, 32)


def movies(folder: Path, count: int = 6) -> list[Path]:
    """Movies of four frames."""
    folder.mkdir(exist_ok=True)
    return [write_mrc(folder / f"m{i}.mrc", frames_of(4, SHAPE, "u2", i)) for i in range(count)]


def corrected(
    files: Any, sensor: Any, out: Path, **options: Any
) -> tuple[list[str], list[UnfitFile], list[str]]:
    """Names of the files written, what was unfit, and the warnings."""
    unfit: list[UnfitFile] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "The correction would add more noise")  # of sets of noise
        written = camnorm.correct(files, sensor, out, on_unfit=unfit.append, **options)
    return [path.name for path in written], unfit, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("other", ["f4", "f8", "u4"])
def test_integer_sensors_correct_no_floats(tmp_path: Path, other: str) -> None:
    files = movies(tmp_path / "in")
    sensor = camnorm.measure(files)
    reference = write_npy(tmp_path / "in" / "gain.npy", np.ones((1, *SHAPE), other))
    errors: list[FormatError] = []
    written = camnorm.correct([*files, reference], sensor, tmp_path / "out", on_error=errors.append)
    assert [path.name for path in written] == [path.name for path in files]
    dtype = np.dtype(other).name
    assert [(error.path, error.reason) for error in errors] == [
        (str(reference), f"{dtype} pixels (float kind), but the sensor has uint16 pixels (integer kind)")
    ]
    with pytest.raises(Error, match=r"no file could be corrected; the first: .*float kind"):
        camnorm.correct(reference, sensor, tmp_path / "alone", on_error=errors.append)


def test_float_sensors_correct_no_integers(tmp_path: Path) -> None:
    sensor = camnorm.measure(write_npy(tmp_path / "floats.npy", frames_of(12, SHAPE, "f4")))
    with pytest.raises(
        FormatError, match=r"uint16 pixels \(integer kind\), but the sensor has float32 pixels"
    ):
        camnorm.correct(movies(tmp_path / "in"), sensor, tmp_path / "out", strict=True)


def test_other_types_of_the_kind_are_corrected(tmp_path: Path) -> None:
    sensor = camnorm.measure(movies(tmp_path / "in"))
    path = write_npy(tmp_path / "bytes.npy", frames_of(4, SHAPE, "u2", 30).astype("u1"))
    assert corrected(path, sensor, tmp_path / "out") == (["bytes.tif"], [], [])


@pytest.mark.parametrize("screen", ["auto", "off"])
@pytest.mark.parametrize("options", [{}, {"sum_frames": True}, {"compression": "zstd", "format": "tiff"}])
@pytest.mark.parametrize("kind", ["mrc", "tiff"])
@pytest.mark.filterwarnings("ignore:rows are turned")
def test_frames_of_another_level(
    tmp_path: Path, kind: str, options: dict[str, Any], screen: str, divide: Divide
) -> None:
    divide(block_bytes=2000, block_frames=2)
    sensor = camnorm.measure(movies(tmp_path / "in"), screen=screen)
    frames = frames_of(5, SHAPE, "u2", 40)
    frames[1:4] *= 8
    write = write_mrc if kind == "mrc" else write_tiff
    path = write(tmp_path / f"bright.{kind[:3]}", frames)
    good = write_mrc(tmp_path / "good.mrc", frames_of(5, SHAPE, "u2", 41))
    names, unfit, said = corrected([good, path], sensor, tmp_path / "out", **options)
    assert len(names) == 2
    (file,) = unfit
    assert file[:4] == (path, 5, 0, 3)
    assert file.mean == pytest.approx(frames[1].mean(), rel=1e-12)
    message = said[-1]
    assert message.startswith("3 of 5 frames of 1 file lie outside the limits of the sensor (mean ")
    assert f"the first in {path} with mean {frames[1].mean():.6g}: the correction does not hold" in message
    assert message.endswith("measure a sensor from frames like these")


def test_limits_that_were_given(tmp_path: Path) -> None:
    files = movies(tmp_path / "in")
    mean = frames_of(4, SHAPE, "u2").mean()
    sensor = camnorm.measure(files, screen="off", mean_limits=(mean - 20, None), std_limits=(None, 1000))
    dark = write_mrc(tmp_path / "dark.mrc", frames_of(4, SHAPE, "u2", 50) // 2)
    (file,) = corrected(dark, sensor, tmp_path / "out")[1]
    assert file.outside == 4


def blank_set(tmp_path: Path) -> tuple[list[Path], camnorm.Sensor]:
    """Of six movies one is blank, and another has a blank frame."""
    files = movies(tmp_path / "in")
    write_mrc(files[1], np.zeros((4, *SHAPE), "u2"))
    frames = frames_of(4, SHAPE, "u2", 2)
    frames[2] = 0
    write_mrc(files[2], frames)
    sensor = camnorm.measure(files)
    assert (sensor.frames["status"] == "rejected").sum() == 5
    return files, sensor


def test_frames_that_the_sensor_rejected(tmp_path: Path) -> None:
    files, sensor = blank_set(tmp_path)
    names, unfit, said = corrected(files, sensor, tmp_path / "out")
    assert len(names) == 6
    assert [file[:4] for file in unfit] == [(files[1], 4, 4, 0), (files[2], 4, 1, 0)]
    assert said == [
        "5 of 8 frames of 2 files were rejected when the sensor was measured, the first in "
        f"{files[1]}: use skip_rejected=True to leave them out"
    ]
    # A manifest says it too, though no pixels are read.
    assert corrected(files, sensor, tmp_path / "virtual", virtual=True)[1] == unfit


def test_rejected_frames_are_skipped(tmp_path: Path) -> None:
    files, sensor = blank_set(tmp_path)
    names, unfit, said = corrected(files, sensor, tmp_path / "out", skip_rejected=True)
    assert names == ["m0.mrc", "m2.mrc", "m3.mrc", "m4.mrc", "m5.mrc"]
    assert [(file.path, file.frames, file.skipped) for file in unfit] == [(files[1], 0, 4), (files[2], 3, 1)]
    assert said == []
    with camnorm.open_frames(tmp_path / "out" / "m2.mrc") as source:
        assert source.count == 3
        pixels = source.read(0, 3)
    kept = frames_of(4, SHAPE, "u2", 2)[[0, 1, 3]]
    np.testing.assert_array_equal(pixels, sensor.correction().apply(kept))
    with pytest.raises(Error, match="all frames were rejected when the sensor was measured"):
        camnorm.correct(files[1], sensor, tmp_path / "none", skip_rejected=True)


def test_a_file_that_has_changed_since_is_looked_at_anew(tmp_path: Path) -> None:
    files, sensor = blank_set(tmp_path)
    write_mrc(files[1], frames_of(4, SHAPE, "u2", 60))
    os.utime(files[1], (1, 1))
    names, unfit, _ = corrected(files, sensor, tmp_path / "out", skip_rejected=True)
    assert len(names) == 6
    assert [file.path for file in unfit] == [files[2]]


def test_selections_and_skipping_go_together(tmp_path: Path) -> None:
    files, sensor = blank_set(tmp_path)
    options = {"frames": "2:", "skip_rejected": True}
    _, unfit, _ = corrected(files, sensor, tmp_path / "out", **options)
    assert [(file.frames, file.skipped) for file in unfit] == [(0, 2), (1, 1)]
