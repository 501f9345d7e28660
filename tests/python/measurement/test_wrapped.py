"""Counts above 32767 that are stored as signed integers, against the counts themselves."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm import ReadOptions
from camnorm.io import open_frames
from image_sets import write_mrc, write_npy, write_tiff

UNSIGNED = ReadOptions(int16="unsigned")
WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    ".mrc": write_mrc,
    ".npy": write_npy,
    ".tif": write_tiff,
    ".lzw.tif": lambda path, frames: write_tiff(path, frames, "lzw"),
    ".be.npy": lambda path, frames: write_npy(path, frames.astype(">i2")),
}


def counts_of(mean: float, seed: int = 0, count: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 490, (count, 32, 48)).clip(0, 65535).astype("u2")


def write_set(folder: Path, suffix: str, mean: float) -> tuple[list[Path], np.ndarray]:
    movies = [counts_of(mean, seed) for seed in range(5)]
    paths = [WRITERS[suffix](folder / f"{i}{suffix}", movie.view("i2")) for i, movie in enumerate(movies)]
    return paths, np.concatenate(movies)


@pytest.mark.parametrize("mean", [32700, 33500, 48000])
@pytest.mark.parametrize("suffix", WRITERS)
def test_wrapped_counts_are_noticed_and_can_be_read(tmp_path: Path, suffix: str, mean: float) -> None:
    paths, counts = write_set(tmp_path, suffix, mean)
    advice = r"counts above 32767 seem to be stored as signed .* read them with int16='unsigned'$"
    with pytest.warns(UserWarning, match=advice) as caught:
        camnorm.measure(paths, screen="off")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sensor = camnorm.measure(paths, screen="off", options=UNSIGNED)
    assert sensor.dtype == np.uint16
    np.testing.assert_allclose(sensor.mean, counts.mean(0), rtol=1e-14)
    np.testing.assert_allclose(sensor.sigma, counts.std(0), rtol=1e-12)
    written = camnorm.correct(paths[:1], sensor, tmp_path / "out")
    with open_frames(written[0]) as source:
        expected = sensor.correction().apply(counts[:8])
        np.testing.assert_array_equal(source.read(0, 8), expected)


def test_few_pixels_that_wrap(tmp_path: Path) -> None:
    """As of a bright spot in a dark image."""
    counts = counts_of(3000, count=20)
    counts[:, 10:14, 20:24] += 30000
    with pytest.warns(UserWarning, match="counts above 32767 seem to be stored as signed"):
        camnorm.measure(write_mrc(tmp_path / "a.mrc", counts.view("i2")), screen="off")


@pytest.mark.parametrize("mean", [50, 500, 8000, 20000])
def test_signed_pixels_are_fine(tmp_path: Path, mean: float) -> None:
    """Also with a dark image subtracted, and with a dead and a hot pixel, at both ends."""
    frames = np.random.default_rng(0).normal(mean, 490, (20, 32, 48)).clip(-32768, 32767).astype("i2")
    frames[:, 0, :2] = -32768, 32767
    dark = (frames.astype(int) - int(mean)).clip(-32768, 32767).astype("i2")
    for name, part in (("a", frames), ("b", dark)):
        path = write_mrc(tmp_path / f"{name}.mrc", part)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            camnorm.measure(path, screen="off")


def test_the_option_leaves_other_pixels_alone(tmp_path: Path) -> None:
    for dtype in ("u2", "i1", "f4"):
        frames = counts_of(50).astype(dtype)
        path = write_npy(tmp_path / f"{dtype}.npy", frames)
        with open_frames(path, UNSIGNED) as source:
            assert source.dtype == dtype
            np.testing.assert_array_equal(source.read(0, 8), frames)


def test_the_command_line_names_its_option(tmp_path: Path) -> None:
    paths, counts = write_set(tmp_path, ".mrc", 33500)
    command = [sys.executable, "-m", "camnorm", "measure", *map(str, paths), "-o", str(tmp_path / "s.h5")]
    done = subprocess.run([*command, "--screen", "off"], capture_output=True, text=True)
    assert "read them with --int16 unsigned" in done.stderr
    again = [*command, "--overwrite", "--int16", "unsigned"]
    done = subprocess.run(again, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    sensor = camnorm.Sensor.load(tmp_path / "s.h5")
    np.testing.assert_allclose(sensor.mean, counts.mean(0), rtol=1e-14)
    assert sensor.options == UNSIGNED


def test_values_of_the_option() -> None:
    with pytest.raises(ValueError, match=r"^int16 must be 'signed' or 'unsigned', not 'odd'$"):
        ReadOptions(int16="odd")  # type: ignore[arg-type]
