"""Pixels that are hot in some movies: found in these only, and concealed there."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import pytest
from scipy.stats import norm, poisson

import camnorm
from camnorm import cli, open_frames
from camnorm.application import hotpixels
from camnorm.application.hotpixels import Expectation, HotPixels
from camnorm.application.hotsearch import find_hot_pixels
from image_sets import write_mrc, write_npy, write_tiff

SHAPE = (40, 48)
# Movie, and pixels (y, x) that are hot in it: alone, two together, in a corner.
HOT = {2: [(10, 12)], 5: [(20, 30), (20, 31), (39, 47)]}


def write_set(
    folder: Path, level: float = 4.0, count: int = 12, length: int = 6, planes: tuple[int, ...] = ()
) -> list[Path]:
    """Movies of counts, some of which have hot pixels."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    light = level * (1 + 0.05 * rng.normal(size=(*SHAPE, *planes)))
    files = []
    for number in range(count):
        movie = rng.poisson(light, (length, *light.shape)).astype("u1")
        for y, x in HOT.get(number, []):
            movie[:, y, x] += 40 if length > 1 else 100
        name = folder / f"m{number:02}"
        files.append(
            write_npy(name.with_suffix(".npy"), movie)
            if planes
            else write_mrc(name.with_suffix(".mrc"), movie)
        )
    return files


def read(path: Path) -> np.ndarray:
    with open_frames(path) as source:
        return source.read(0, source.count)


def corrected(
    files: list[Path], out: Path, **options: Any
) -> tuple[list[Path], dict[int, set[tuple[int, ...]]]]:
    """Corrected files, and the hot pixels (y, x) of those that have any."""
    found: list[HotPixels] = []
    sensor = camnorm.measure(files, screen="off")
    sensor.provenance["row_order"] = ""
    written = camnorm.correct(files, sensor, out, hot_pixels=True, on_hot=found.append, **options)
    assert [file.path for file in found] == files
    return written, {
        number: {(y, x, *plane) for x, y, *plane in file.places}
        for number, file in enumerate(found)
        if file.places
    }


@pytest.mark.parametrize(
    "options", [{}, {"leave_out": True}, {"threads": 1}, {"mode": "mean"}, {"frames": "1:5"}]
)
@pytest.mark.filterwarnings("ignore:The correction would add more noise")
@pytest.mark.filterwarnings("ignore:.*of the statistics that correct it")
def test_found_in_the_movies_that_have_them(tmp_path: Path, options: dict[str, Any]) -> None:
    files = write_set(tmp_path / "in")
    written, hot = corrected(files, tmp_path / "out", **options)
    assert hot == {number: set(pixels) for number, pixels in HOT.items()}
    usual = camnorm.correct(files, camnorm.measure(files, screen="off"), tmp_path / "usual", **options)
    for number, (path, other) in enumerate(zip(written, usual, strict=True)):
        one, two = read(path), read(other)
        where = np.zeros(SHAPE, bool)
        for place in HOT.get(number, []):
            where[place] = True
        assert np.array_equal(one[:, ~where], two[:, ~where])
        if where.any():
            # The target mean: of leave-out, that of the other files.
            values = one[:, where]
            assert np.all(values == values[0, 0])
            assert abs(values[0, 0] - 4) < 0.5
            assert np.all(two[:, where].mean(0) > values[0, 0] + 1)
        else:
            assert path.read_bytes()[1024:] == other.read_bytes()[1024:]


@pytest.mark.filterwarnings("ignore")
def test_policies_and_notes(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in")
    written, _ = corrected(files, tmp_path / "nan", bad_policy="nan")
    assert np.isnan(read(written[2])[:, 10, 12]).all()
    assert np.isfinite(read(written[3])).all()
    with mrcfile.open(written[5]) as mrc:
        assert "camnorm_hot_pixels: 3" in b"\n".join(mrc.header.label.tolist()).decode()
    with mrcfile.open(written[3]) as mrc:
        assert "camnorm_hot_pixels" not in b"\n".join(mrc.header.label.tolist()).decode()
    written, _ = corrected(files, tmp_path / "near", bad_policy="interpolate")
    movie = read(written[5])
    around = [(y, x) for y in (19, 20, 21) for x in (29, 30, 31) if (y, x) not in HOT[5]]
    wanted = np.mean([movie[:, y, x] for y, x in around], axis=0)
    np.testing.assert_allclose(movie[:, 20, 30], wanted, rtol=1e-5)
    written, hot = corrected(files, tmp_path / "sum", sum_frames=True)
    assert set(hot) == set(HOT)
    total = read(written[2])[0]
    assert abs(total[10, 12] - total.mean()) < 0.1 * total.mean()
    written, hot = corrected(files, tmp_path / "u1", dtype="uint8")
    assert set(hot) == set(HOT)
    assert np.all(read(written[2])[:, 10, 12] == 4)


@pytest.mark.filterwarnings("ignore")
def test_single_frames_and_colour(tmp_path: Path) -> None:
    files = write_set(tmp_path / "single", level=20.0, count=30, length=1)
    _, hot = corrected(files, tmp_path / "a")
    assert hot == {number: set(pixels) for number, pixels in HOT.items()}
    colour = write_set(tmp_path / "colour", planes=(3,))
    movie = np.load(colour[7])
    movie[:, 8, 9, 1] += 30
    np.save(colour[7], movie)
    _, hot = corrected(colour, tmp_path / "b")
    assert hot[7] == {(8, 9, 1)}
    assert hot[2] == {(10, 12, plane) for plane in range(3)}
    compressed = [write_tiff(tmp_path / f"{file.stem}.tif", read(file), "zlib") for file in files]
    assert set(corrected(compressed, tmp_path / "c")[1]) == set(HOT)


def test_virtual_files_share_one_correction(tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", count=3)
    with pytest.raises(
        ValueError, match=r"^hot_pixels=True does not go with virtual=True: virtual files share"
    ):
        camnorm.correct(files, camnorm.measure(files), tmp_path / "out", hot_pixels=True, virtual=True)


@pytest.mark.filterwarnings("ignore")
def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_set(tmp_path / "in")
    camnorm.measure(files, tmp_path / "s.h5", screen="off")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["camnorm", "correct", "in", "-m", "s.h5", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    assert "hot pixels      4 in 2 of 12 files\n" in run("-o", "a", "--hot-pixels")
    found = json.loads(run("-o", "b", "--hot-pixels", "--json"))
    assert found["hot_pixels"] == 4
    assert [(Path(file["path"]).name, file["frames"]) for file in found["hot"]] == [
        ("m02.mrc", 6),
        ("m05.mrc", 6),
    ]
    assert found["hot"][0]["places"] == [[12, 10]]
    found = json.loads(run("-o", "c", "--json"))
    assert (found["hot_pixels"], found["hot"]) == (None, [])
    assert "hot pixels" not in run("-o", "d")


# What is found


def expectation(mean: np.ndarray, variance: np.ndarray, count: int = 1000) -> Expectation:
    sensor: Any = SimpleNamespace(mean=mean, sigma=np.sqrt(variance), count=count)
    return Expectation(sensor)


@pytest.mark.parametrize("level", [0.5, 1.0, 2.0, 5.0, 1000.0])
def test_no_false_alarms_in_counts(level: float) -> None:
    """16 frames of 1 Mpx: one full-size movie. The chance of any false pixel is 1 % in each of them."""
    rng = np.random.default_rng(1)
    shape, frames = (1024, 1024), 50
    light = level / frames * (1 + 0.02 * rng.normal(size=shape))
    expected = expectation(light, light)
    found = planted = wrong = 0
    for _ in range(4):
        total = rng.poisson(frames * light).astype(float)
        wrong += int(expected.hot(total, frames).sum())
        hot = rng.random(shape) < 1e-4
        total[hot] += 10 * math.sqrt(level) + 8
        seen = expected.hot(total, frames)
        found, planted = found + int((seen & hot).sum()), planted + int(hot.sum())
        wrong += int((seen & ~hot).sum())
    assert wrong == 0
    assert found > 0.95 * planted


def beads(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Gold beads, blurred over three pixels and more, ten times as bright as the rest."""
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    for row, column in rng.uniform(5, min(light.shape) - 5, (60, 2)):
        light = light * (1 + 9 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.3**2)))
    return np.asarray(light)


def edges(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """A grid bar and a crack."""
    light = light.copy()
    light[:, : light.shape[1] // 3] *= 0.1
    light[50:52, :] *= 3
    return light


@pytest.mark.parametrize("specimen", [beads, edges])
@pytest.mark.parametrize(("level", "exposure"), [(20.0, 1.0), (200.0, 1.5), (2.0, 0.5)])
def test_a_specimen_is_not_hot(
    specimen: Callable[[np.random.Generator, np.ndarray], np.ndarray], level: float, exposure: float
) -> None:
    rng = np.random.default_rng(2)
    light = np.full((256, 256), level)
    expected = expectation(light / 10, light / 10)
    total = rng.poisson(exposure * specimen(rng, light)).astype(float)
    assert not expected.hot(total, 10).any()
    total[100, 120] += 20 * math.sqrt(total.max()) + 8
    assert np.argwhere(expected.hot(total, 10)).tolist() == [[100, 120]]


def test_pixels_that_are_hot_in_many_movies() -> None:
    """They raise their own sigma, and are found still; permanent ones are what the sensor expects."""
    light = np.full((64, 64), 10.0)
    light[5, 5] = 200.0
    variance = light.copy()
    variance[20, 20] += 100.0**2 / 4
    expected = expectation(light, variance, 200)
    total = np.random.default_rng(3).poisson(light).astype(float)
    assert not expected.hot(total, 1).any()
    total[20, 20] += 100
    assert np.argwhere(expected.hot(total, 1)).tolist() == [[20, 20]]
    assert not expectation(light, np.zeros_like(light)).hot(total, 1).any()


def test_tail_of_counts() -> None:
    """The saddle point approximation, against the Poisson distribution."""
    for mean in (0.5, 3.0, 40.0, 1000.0):
        counts = np.arange(math.ceil(mean + 3 * math.sqrt(mean)), math.ceil(mean + 9 * math.sqrt(mean)) + 6)
        wanted = norm.isf(poisson.sf(counts - 1, mean))
        scores = hotpixels._tail(np.full(counts.shape, mean), np.ones(counts.shape), counts - mean)
        known = np.isfinite(wanted)
        np.testing.assert_allclose(scores[known], wanted[known], rtol=0.02)


@pytest.mark.parametrize("shape", [(1, 9), (2, 2), (3, 40)])
def test_small_frames(shape: tuple[int, int]) -> None:
    light = np.full(shape, 10.0)
    assert not expectation(light, light).hot(10 * light, 10).any()


@pytest.mark.parametrize("threads", [1, 3])
def test_search_without_correction(tmp_path: Path, threads: int) -> None:
    files = write_set(tmp_path / "in")
    sensor = camnorm.measure(files, screen="off")
    (tmp_path / "in" / "bad.mrc").write_bytes(b"no image")
    seen: list[Any] = []
    with pytest.warns(UserWarning, match=r"^not searched for hot pixels: .*bad\.mrc"):
        found = find_hot_pixels(tmp_path / "in", sensor, threads=threads, progress=seen.append)
    assert [file.path.name for file in found] == [file.name for file in files]
    assert {number: {(y, x) for x, y in file.places} for number, file in enumerate(found) if file.places} == {
        number: set(pixels) for number, pixels in HOT.items()
    }
    assert (seen[-1].done, seen[-1].total, seen[-1].frames, seen[-1].rejected) == (13, 13, 72, 1)
