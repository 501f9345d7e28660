"""Pixels that were made from their neighbours: found with the right neighbours, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import camnorm
from camnorm import NeighbourSums
from camnorm.demo.simulate import Camera
from camnorm.diagnosis.pixels.stencils import MADE_DTYPE, made_of_neighbours
from camnorm.measurement.neighbours import measure_neighbours
from image_sets import frames_of, write_npy

PLACES = {
    "left-right": [(0, -1), (0, 1)],
    "up-down": [(-1, 0), (1, 0)],
    "four": [(0, -1), (0, 1), (-1, 0), (1, 0)],
    "eight": [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)],
    "left": [(0, -1)],
    "right": [(0, 1)],
    "up": [(-1, 0)],
    "down": [(1, 0)],
}
SIDE = 128


def blurred(count: int, seed: int = 0, noise: float = 5.0, side: int = SIDE) -> np.ndarray:
    """Light that spreads over several pixels, so that neighbours correlate, and noise."""
    rng = np.random.default_rng(seed)
    light = rng.normal(0, 60, (count, side, side))
    spread = gaussian_filter(light, (0, 0.7, 0.7))
    return np.rint(500 + spread + rng.normal(0, noise, spread.shape))


def counts(count: int, rate: float, seed: int = 0, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).poisson(rate, (count, side, side)).astype(float)


def made(frames: np.ndarray, dtype: str = "u2") -> np.ndarray:
    sums = NeighbourSums(frames.shape[1:], dtype)
    sums.add(frames.astype(dtype))
    rows = made_of_neighbours(sums)
    assert rows.dtype == MADE_DTYPE
    assert (rows["value"] <= rows["limit"]).all()
    copied = np.isin(rows["neighbours"], ["left", "right", "up", "down"])
    assert ((rows["class"] == "copied") == copied).all()
    assert ((rows["class"] == "interpolated") == ~copied).all()
    return rows


def as_dict(rows: np.ndarray) -> dict[tuple[int, int], str]:
    found = {(int(row["y"]), int(row["x"])): str(row["neighbours"]) for row in rows}
    assert len(found) == len(rows)
    return found


def conceal(
    frames: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, dict[tuple[int, int], str]]:
    """Single pixels concealed by each stencil, one beside the edge of the frame, too."""
    result, truth = frames.copy(), {}
    names = list(PLACES)
    for i, y in enumerate(range(1, frames.shape[1] - 1, 7)):
        for j, x in enumerate(range(1, frames.shape[2] - 1, 7)):
            name = names[(i + j) % len(names)]
            mean = sum(frames[:, y + dy, x + dx] for dy, dx in PLACES[name]) / len(PLACES[name])
            result[:, y, x] = mean if len(PLACES[name]) == 1 else rounded(mean)
            truth[y, x] = name
    return result, truth


ROUNDINGS = {"half to even": np.rint, "half up": lambda x: np.floor(x + 0.5), "down": np.floor}


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_single_pixels(rounding: str) -> None:
    frames, truth = conceal(blurred(300), ROUNDINGS[rounding])
    assert as_dict(made(frames)) == truth


@pytest.mark.parametrize("dtype", ["u1", "f4", "i4"])
@pytest.mark.parametrize("count", [60, 300])
def test_other_pixels_and_fewer_frames(dtype: str, count: int) -> None:
    frames, truth = conceal(np.clip(blurred(count) / 4, 0, 255).round(), np.rint)
    found = as_dict(made(frames, dtype))
    if count == 300:
        assert found == truth
        return
    # Of some pairs few frames do not show which pixel is the copy.
    assert {place: name for place, name in found.items() if len(PLACES[name]) > 1} == {
        place: name for place, name in truth.items() if len(PLACES[name]) > 1
    }
    assert len(found) == len(truth)
    assert sum(found.get(place) == name for place, name in truth.items()) > 0.8 * len(truth)


def test_interpolated_before_the_gain() -> None:
    """A gain of 3 % that is applied afterwards leaves differences; the limits allow for them."""
    frames, truth = conceal(blurred(300) - 400, np.rint)
    gain = np.random.default_rng(5).normal(1, 0.03, frames.shape[1:])
    assert as_dict(made(frames * gain, "f4")) == truth


@pytest.mark.parametrize("side_by_side", [True, False])
def test_lines(side_by_side: bool) -> None:
    """A concealed line, a copied one, and two lines that are each copied from the outer side."""
    frames = blurred(200)
    frames[:, :, 20] = np.floor((frames[:, :, 19] + frames[:, :, 21]) / 2)
    frames[:, :, 50] = frames[:, :, 51]
    frames[:, :, 80] = frames[:, :, 79]
    frames[:, :, 81] = frames[:, :, 82]
    frames[:, :, 127] = frames[:, :, 126]  # at the edge
    frames[:, 30:, 100] = frames[:, 30:, 99]
    names = {20: "left-right", 50: "right", 80: "left", 81: "right", 127: "left", 100: "left"}
    if not side_by_side:
        frames = frames.transpose(0, 2, 1)
        turned = {"left-right": "up-down", "right": "down", "left": "up"}
        names = {line: turned[name] for line, name in names.items()}
    rows = made(frames)
    lines = rows["x" if side_by_side else "y"]
    along = rows["y" if side_by_side else "x"]
    assert set(lines.tolist()) == set(names)
    for line, name in names.items():
        of_line = lines == line
        assert set(rows["neighbours"][of_line].tolist()) == {name}, line
        assert np.array_equal(np.sort(along[of_line]), np.arange(30 if line == 100 else 0, SIDE))


def test_a_row_and_a_column_cross() -> None:
    frames = blurred(200)
    frames[:, :, 40] = np.rint((frames[:, :, 39] + frames[:, :, 41]) / 2)
    frames[:, 60] = np.rint((frames[:, 59] + frames[:, 61]) / 2)
    found = as_dict(made(frames))
    assert set(found) == {(y, x) for y in range(SIDE) for x in range(SIDE) if x == 40 or y == 60}
    assert found[30, 40] == "left-right"
    assert found[60, 90] == "up-down"


def test_a_live_line_between_concealed_ones() -> None:
    """It resembles the mean of its neighbours, since they were made from it."""
    frames = counts(400, 50)
    result = frames.copy()
    for line in (20, 22):
        result[:, :, line] = np.rint((frames[:, :, line - 1] + frames[:, :, line + 1]) / 2)
    assert as_dict(made(result)) == {(y, x): "left-right" for x in (20, 22) for y in range(SIDE)}


def test_one_of_two_equal_pixels_is_reported() -> None:
    """If neighbours do not correlate, nothing shows which one is the copy: the right, or the lower, one."""
    frames = counts(400, 50)
    frames[:, 10, 10] = frames[:, 10, 9]
    frames[:, 40, 10] = frames[:, 39, 10]
    frames[:, :, 90] = frames[:, :, 91]
    found = as_dict(made(frames))
    assert found == {(10, 10): "left", (40, 10): "up"} | {(y, 91): "left" for y in range(SIDE)}


def test_three_equal_pixels() -> None:
    frames = blurred(400)
    frames[:, 30, 30] = frames[:, 30, 32] = frames[:, 30, 31]
    frames[:, 60, 30] = frames[:, 60, 31] = frames[:, 60, 32]
    assert as_dict(made(frames)) == {
        (30, 30): "right",
        (30, 32): "left",
        (60, 30): "right",
        (60, 31): "right",
    }


def test_a_camera_with_a_bundle_of_concealed_columns() -> None:
    """Hot pixels, dust, a scene; in one block an eighth of the pixels is concealed, by up to four others."""
    camera = Camera.electron((256, 256), seed=2)
    sums = NeighbourSums(camera.shape, camera.dtype)
    sums.add(camera.frames(150))
    found = np.zeros(camera.shape, bool)
    rows = made_of_neighbours(sums)
    found[rows["y"], rows["x"]] = True
    assert not (found & ~camera.concealed).any()
    assert (camera.concealed & ~found).sum() <= 0.001 * camera.concealed.sum()


def test_colour_planes_by_themselves() -> None:
    frames = np.stack([blurred(200, seed, side=32) for seed in range(3)], axis=-1)
    frames[:, 10, 10, 1] = frames[:, 10, 9, 1]
    frames[:, 20, 20] = np.rint((frames[:, 19, 20] + frames[:, 21, 20]) / 2)
    rows = made(frames)
    assert rows[["y", "x", "neighbours", "plane"]].tolist() == [
        (10, 10, "left", 1),
        (20, 20, "up-down", 0),
        (20, 20, "up-down", 1),
        (20, 20, "up-down", 2),
    ]


SETS: dict[str, Callable[[], np.ndarray]] = {
    "noise": lambda: np.rint(np.random.default_rng(1).normal(100, 20, (50, 256, 256))),
    "few frames": lambda: counts(6, 50, side=256),
    "few counts": lambda: counts(50, 0.1, side=256),
    "very few counts": lambda: counts(300, 0.01, side=256),
    "one bit": lambda: (np.random.default_rng(2).random((100, 256, 256)) < 0.5).astype(float),
    "seldom one bit": lambda: 100.0 + (np.random.default_rng(3).random((200, 256, 256)) < 0.02),
    "low variance": lambda: np.rint(np.random.default_rng(4).normal(100, 0.4, (100, 256, 256))),
    "point spread": lambda: blurred(60, noise=1.0, side=256),
    "nothing": lambda: np.zeros((10, 256, 256)),
}


def shared_events() -> np.ndarray:
    """Half of the electrons are counted in the next pixel, too."""
    rng = np.random.default_rng(6)
    events = rng.random((150, 256, 256)) < 0.1
    return events + (np.roll(events, 1, 2) & (rng.random(events.shape) < 0.5))


def smooth_scene() -> np.ndarray:
    rng = np.random.default_rng(7)
    scene = gaussian_filter(rng.normal(0, 1, (60, 256, 256)), (0, 10, 10)) * 1000
    return np.rint(3000 + scene + rng.normal(0, 3, scene.shape))


def flickering_pattern() -> np.ndarray:
    """Light of varying brightness on a fixed pattern: neighbours differ by the pattern, not by noise."""
    rng = np.random.default_rng(8)
    pattern = rng.normal(1000, 30, (256, 256))
    return np.rint(rng.uniform(0.5, 1.5, (60, 1, 1)) * pattern + rng.normal(0, 5, (60, 256, 256)))


def defects() -> np.ndarray:
    """Dead, noisy, bright and weak pixels and a dead column, none of which is made from its neighbours."""
    rng = np.random.default_rng(9)
    frames = rng.normal(100, 10, (400, 256, 256))
    frames[:, 20:22, 20:22] = 0
    frames[:, :, 100] = 5
    frames[:, 40:200:9, 30] += rng.normal(0, 80, (400, 18))
    frames[:, 40:200:9, 150] = 100 + (frames[:, 40:200:9, 150] - 100) * 0.2
    frames[:, 40:200:9, 180] = 100 + (frames[:, 40:200:9, 180] - 100) * 3
    return np.rint(frames.clip(0))


def scene_in_a_spot() -> np.ndarray:
    """A smooth scene that is seen in a part of the frame only, where neighbours correlate far more."""
    rng = np.random.default_rng(10)
    scene = gaussian_filter(rng.normal(0, 1, (60, 256, 256)), (0, 10, 10)) * 1000
    y, x = np.indices((256, 256)) - 70
    scene *= np.exp(-(x**2 + y**2) / 400)
    return np.rint(3000 + scene + rng.normal(0, 3, scene.shape))


SETS |= {f.__name__: f for f in (scene_in_a_spot, shared_events, smooth_scene, flickering_pattern, defects)}


@pytest.mark.parametrize("name", SETS)
def test_other_sets_have_none(name: str) -> None:
    assert as_dict(made(SETS[name]())) == {}


def test_too_few_frames() -> None:
    assert made(np.zeros((0, 5, 5))).size == 0
    assert made(counts(2, 50)).size == 0


# --- a sample of frames for a sensor that was measured without


def test_sample(tmp_path: Path) -> None:
    frames = frames_of(80, (40, 50), "f4").reshape(10, 8, 40, 50)
    frames[:, :, 10, 10] = frames[:, :, 10, 9]
    frames[3, 2] = 0
    frames[4, 5, 1, 1] = np.nan
    paths = [write_npy(tmp_path / f"{i}.npy", movie) for i, movie in enumerate(frames)]
    sensor = camnorm.measure(paths, screen=6)
    kept = frames.reshape(80, 40, 50)[(sensor.frames["status"] == "accepted")]
    sums = measure_neighbours(paths, sensor)
    assert sums.count == sensor.count == 78
    expected = NeighbourSums((40, 50), "f4")
    expected.add(kept)
    np.testing.assert_allclose(sums.ratio("four"), expected.ratio("four"), rtol=1e-12)
    assert as_dict(made_of_neighbours(sums)) == {(10, 10): "left"}
    progress: list[tuple[str, float]] = []
    part = measure_neighbours(
        paths, sensor, max_frames=30, progress=lambda p: progress.append((p.stage, p.done))
    )
    assert 28 <= part.count <= 30
    assert progress[-1] == ("comparing neighbours", 10)


def test_sample_is_read_as_the_sensor(tmp_path: Path) -> None:
    """With its gain, and in its row order."""
    gain = np.random.default_rng(1).uniform(0.5, 2, (20, 24)).astype("f4")
    frames = (frames_of(30, (20, 24), "f4") / gain).astype("u2")
    path = write_npy(tmp_path / "a.npy", frames)
    options = camnorm.ReadOptions(gain=write_npy(tmp_path / "gain.npy", gain))
    sensor = camnorm.measure(path, options=options, screen="off", neighbours=True)
    assert sensor.neighbours is not None
    sums = measure_neighbours(path, sensor)
    assert sums.dtype == np.float32
    whole = sensor.neighbours[0] + sensor.neighbours[1]
    np.testing.assert_allclose(sums.ratio("eight"), whole.ratio("eight"), rtol=1e-12)


def test_samples_that_do_not_go(tmp_path: Path) -> None:
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(9, (8, 9), "u2")))
    other = write_npy(tmp_path / "b.npy", frames_of(9, (8, 8), "u2"))
    with pytest.raises(
        camnorm.Error, match=r"^uint16 frames of shape \(8, 8\) do not go with the sensor, wh"
    ):
        measure_neighbours(other, sensor)
    new = frames_of(3, (8, 9), "f4")
    new[1, 2, 3] = np.nan
    floats = camnorm.measure(write_npy(tmp_path / "c.npy", frames_of(9, (8, 9), "f4")))
    mixed = [write_npy(tmp_path / "d.npy", new), write_npy(tmp_path / "e.npy", new[:, 1:])]
    said = r"^2 frames or files could not be used to compare neighbours; the first: .*e\.npy: frames of"
    with pytest.warns(UserWarning, match=said):
        assert measure_neighbours(mixed, floats).count == 2
    nothing = write_npy(tmp_path / "f.npy", np.full((1, 8, 9), np.nan, "f4"))
    with pytest.raises(
        camnorm.Error, match=r"^no frame could be used to compare neighbours; the first: .*f\.np"
    ):
        measure_neighbours(nothing, floats)
