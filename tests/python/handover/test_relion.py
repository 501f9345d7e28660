"""RELION itself runs with what was exported for it: a marker shows where gain and defects come out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from scipy.ndimage import shift, uniform_filter

import camnorm
from image_sets import write_mrc

RELION = shutil.which("relion_run_motioncorr")
pytestmark = pytest.mark.skipif(RELION is None, reason="RELION is not installed: relion_run_motioncorr")

_STAR = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 1.0 300 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
"""


def write_movie(path: Path, frames: np.ndarray) -> Path:
    if path.suffix == ".mrc":
        return write_mrc(path, frames.astype(np.int16))
    tifffile.imwrite(path, frames, compression="lzw", photometric="minisblack", metadata=None)
    return path


def aligned_sums(folder: Path, movies: Sequence[Path], *options: object) -> list[np.ndarray]:
    """Sums of RELION, as its MRC files hold them; that of the first movie first."""
    folder.mkdir()
    (folder / "movies").mkdir()
    for movie in movies:
        (folder / "movies" / movie.name).symlink_to(movie)
    (folder / "movies.star").write_text(_STAR + "".join(f"movies/{movie.name} 1\n" for movie in movies))
    command = ["relion_run_motioncorr", "--i", "movies.star", "--o", "out/", "--use_own", "--j", "1"]
    command += [
        "--patch_x",
        "1",
        "--patch_y",
        "1",
        "--angpix",
        "1",
        "--dose_per_frame",
        "1",
        *map(str, options),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    found = [folder / "out" / "movies" / f"{movie.stem}.mrc" for movie in movies]
    assert all(path.exists() for path in found), done.stdout + done.stderr
    return [mrcfile.read(path).astype(float) for path in found]


def options_of(made: camnorm.Export, *names: str) -> list[str]:
    """Options of the command that was exported."""
    words = made.command.split()
    return [word for name in names for word in (name, words[words.index(name) + 1])]


def letter(shape: tuple[int, int]) -> np.ndarray:
    """An F in a corner, unlike itself however it is turned."""
    image = np.zeros(shape, bool)
    image[8:40, 10:14] = image[8:12, 10:28] = image[22:26, 10:22] = True
    return image


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_where_gain_and_defects_come_out(tmp_path: Path, suffix: str) -> None:
    shape = (96, 128)
    marker = letter(shape)
    dead = np.zeros(shape, bool)
    dead[50:53, 100:104] = dead[:, 64] = True
    sensitivity = np.where(marker, 0.5, 1.0) * ~dead
    rng = np.random.default_rng(1)
    (tmp_path / "raw").mkdir()
    movies = [
        write_movie(tmp_path / f"raw/m{i}{suffix}", rng.poisson(60 * sensitivity, (8, *shape)).astype("u1"))
        for i in range(20)
    ]
    sensor = camnorm.measure(tmp_path / "raw", tmp_path / "s.h5")
    made = camnorm.export(sensor, "relion", movies[0], out_dir=tmp_path / "export")
    turn = slice(None, None, -1 if suffix == ".tif" else 1)
    seen, absent = marker[turn], ~(marker | dead)[turn]
    (raw,) = aligned_sums(tmp_path / "a", movies[:1], "--skip_defect")
    assert raw[seen].mean() < 0.6 * raw[absent].mean()  # where the F is in RELION's image
    (used,) = aligned_sums(tmp_path / "b", movies[:1], *options_of(made, "--gainref", "--defect_file"))
    assert used[seen].mean() == pytest.approx(used[absent].mean(), rel=0.02)
    assert used[dead[turn]].mean() == pytest.approx(used[absent].mean(), rel=0.05)
    # Each of the two alone conceals the dead pixels, at their place.
    (by_gain,) = aligned_sums(tmp_path / "c", movies[:1], *options_of(made, "--gainref"))
    (by_list,) = aligned_sums(tmp_path / "d", movies[:1], *options_of(made, "--defect_file"))
    assert by_gain[dead[turn]].mean() == pytest.approx(by_gain[absent].mean(), rel=0.05)
    assert by_list[dead[turn]].mean() == pytest.approx(by_list[absent].mean(), rel=0.1)
    assert by_list[seen].mean() < 0.6 * by_list[absent].mean()


def pattern_left(sums: Sequence[np.ndarray]) -> float:
    """Standard deviation of what sums of different specimens share, as a fraction of their mean."""
    details = [(image - uniform_filter(image, 15)) / image.mean() for image in sums]
    a, b = np.mean(details[::2], 0), np.mean(details[1::2], 0)
    return float(np.mean(a * b))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_pattern_in_aligned_sums(tmp_path: Path, suffix: str) -> None:
    """Drifting movies of a camera with 5 % pixel gain, columns and defects; the vendor's gain is stale."""
    shape, files, others, frames, dose = (256, 256), 500, 24, 10, 3.0
    rng = np.random.default_rng(1)
    gain = rng.normal(1, 0.05, shape) * rng.normal(1, 0.02, shape[1])
    gain[rng.random(shape) < 5e-4] = 0
    gain[:, 90] = 0
    vendor = 1 / np.where(gain > 0, gain * rng.normal(1, 0.03, shape), np.inf)
    for folder in ("raw", "others"):  # the latter are not in the statistics
        (tmp_path / folder).mkdir()
    movies = []
    for number in range(files + others):
        specimen = 1 + 0.25 * np.clip(uniform_filter(rng.normal(0, 5, shape), 7), -1, 1)
        if number < files:
            stack = [rng.poisson(dose * gain * np.roll(specimen, (i, -i), (0, 1))) for i in range(4)]
        else:
            drift = [(0.9 * i, -0.6 * i) for i in range(frames)]
            stack = [rng.poisson(dose * gain * shift(specimen, step, order=1, mode="wrap")) for step in drift]
        folder = "raw" if number < files else "others"
        movies.append(write_movie(tmp_path / folder / f"m{number}{suffix}", np.array(stack, np.uint8)))
    sensor = camnorm.measure(tmp_path / "raw", tmp_path / "s.h5")
    made = camnorm.export(sensor, "relion", movies[0], out_dir=tmp_path / "export")
    turn = -1 if suffix == ".tif" else 1
    stale = write_mrc(tmp_path / "vendor.mrc", vendor[None, ::turn].astype("f4"))
    runs = {
        "raw": [],
        "stale": ["--gainref", stale],
        "exported": options_of(made, "--gainref", "--defect_file"),
    }
    left = {
        name: pattern_left(aligned_sums(tmp_path / f"run-{name}", movies[files:], *options))
        for name, options in runs.items()
    }
    print(suffix, {name: f"{100 * np.sign(v) * abs(v) ** 0.5:.2f} %" for name, v in left.items()})
    assert left["raw"] > 0.02**2
    assert left["stale"] > 0.005**2
    assert left["exported"] < left["stale"] / 2
