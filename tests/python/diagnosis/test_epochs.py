"""Two epochs of a sensor compared: what is planted is found, what is not there is not."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.stats import false_discovery_control, norm, t

import camnorm
from camnorm import Changes, PixelMoments, Sensor, compare
from camnorm.diagnosis.epochs import blocks, epoch, null
from image_sets import sensor_of

SHAPE = (128, 160)
Draw = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


def poisson(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
    return rng.poisson(light, (count, *light.shape))


def exponential(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
    return rng.exponential(light, (count, *light.shape))


def normal(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
    return rng.normal(light, 10.0, (count, *light.shape))


def sensor(
    seed: int, light: np.ndarray, count: int, draw: Draw = poisson, dtype: str = "u2", b: bool = True
) -> Sensor:
    """A sensor of frames of some light."""
    rng = np.random.default_rng(seed)
    halves = [PixelMoments(light.shape, dtype) for _ in range(1 + b)]
    for number, half in enumerate(halves):
        some = count // len(halves) + (number < count % len(halves))
        half.add(draw(rng, light, some).astype(dtype), threads=1)
    return Sensor.from_moments(*halves)


def pattern(shape: tuple[int, ...] = SHAPE, level: float = 200.0, seed: int = 99) -> np.ndarray:
    return np.asarray(level * (1 + 0.02 * np.random.default_rng(seed).normal(size=shape)))


def grain(
    x: float, y: float, radius: float, depth: float = 0.1, shape: tuple[int, int] = SHAPE
) -> np.ndarray:
    """What dust leaves of the light."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - y, columns - x)
    return np.asarray(1 - depth / 2 * (1 - np.tanh((distance - radius) / (0.2 * radius))))


def places(found: Any) -> list[tuple[int, int]]:
    return sorted((round(place.x), round(place.y)) for place in found)


# What is planted


@pytest.fixture(scope="module")
def dusty() -> Changes:
    """Dust that stays, comes, goes and moves by 10 pixels, in light that is 1 % stronger; two hot pixels."""
    base = pattern() * grain(30, 30, 5)
    old = base * grain(130, 30, 4) * grain(40, 100, 6, 0.12) * grain(80, 64, 9)
    new = base * grain(130, 100, 4) * grain(50, 100, 6, 0.12) * grain(86, 72, 9)
    new[64, 20] *= 2
    new[5, 155] *= 0.5
    return compare(sensor(1, old, 200), sensor(2, 1.01 * new, 300))


def test_dust_by_class(dusty: Changes) -> None:
    near = pytest.approx
    assert [(p.x, p.y) for p in dusty.came] == [(near(130, abs=0.7), near(100, abs=0.7))]
    assert [(p.x, p.y) for p in dusty.went] == [(near(130, abs=0.7), near(30, abs=0.7))]
    assert [(p.x, p.y) for p in dusty.stayed] == [(near(30, abs=0.7), near(30, abs=0.7))]
    moved = sorted(dusty.moved, key=lambda motion: motion.origin.x)
    assert [places(motion) for motion in moved] == [[(40, 100), (50, 100)], [(80, 64), (86, 72)]]
    assert [motion.distance for motion in moved] == [near(10, abs=0.7), near(10, abs=0.7)]
    assert dusty.came[0].depth == near(-20, rel=0.15)
    assert dusty.came[0].size == near(math.pi * 4**2, rel=0.5)


def test_changed_pixels(dusty: Changes) -> None:
    assert dusty.mean_changed[64, 20]
    assert dusty.mean_changed[5, 155]
    assert dusty.sigma_changed[64, 20]
    covered = np.zeros(SHAPE, bool)
    for x, y, radius in ((130, 30, 4), (130, 100, 4), (40, 100, 6), (50, 100, 6), (80, 64, 9), (86, 72, 9)):
        covered |= grain(x, y, radius) < 0.9999
    covered[64, 20] = covered[5, 155] = True
    assert np.count_nonzero(dusty.changed & ~covered) <= 0.05 * dusty.changed_pixels
    assert dusty.mean_changed[grain(130, 100, 4) < 0.92].all()
    assert dusty.found


def test_scale_of_light(dusty: Changes) -> None:
    assert isinstance(dusty.scale, float)
    assert isinstance(dusty.scale_error, float)
    assert abs(dusty.scale - 1.01) < 4 * dusty.scale_error < 0.02
    assert isinstance(dusty.offset, float)
    assert isinstance(dusty.offset_error, float)
    assert abs(dusty.offset) < 4 * dusty.offset_error
    assert dusty.sigma_ratio == pytest.approx(math.sqrt(1.01), abs=0.003)
    assert dusty.noise < 1.1
    assert dusty.notes == ()


def test_json(dusty: Changes) -> None:
    found = dusty.to_dict()
    assert {"changed_pixels", "fdr", "came", "went", "stayed", "moved", "scale", "offset"} <= found.keys()
    assert all(
        {"x", "y", "size"} <= place.keys()
        for name in ("came", "went", "stayed", "moved")
        for place in found[name]
    )
    assert found["moved"][0]["from"].keys() >= {"x", "y", "size"}
    assert found["changed_pixels"] == np.count_nonzero(dusty.mean_changed | dusty.sigma_changed)
    assert dusty.sentence.startswith("The sensor changed: ")
    assert dusty.sentence.endswith("1 came, 1 went, 2 moved.")
    assert dusty.remedy
    assert repr(dusty).startswith("<Changes between 200 and 300 frames: ")


def test_table(dusty: Changes, tmp_path: Path) -> None:
    dusty.to_csv(tmp_path / "changes.csv")
    with open(tmp_path / "changes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = [row["change"] for row in rows]
    assert kinds[:5] == ["came", "went", "stayed", "moved", "moved"]
    assert len(rows) - 5 == dusty.changed_pixels
    assert ("both", "20", "64") in [(row["change"], row["x"], row["y"]) for row in rows]


def test_the_figure(dusty: Changes, tmp_path: Path) -> None:
    figure = camnorm.plot.changes_figure(dusty)
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left").split(" (")[0] for ax in panels[:2]] == [
        "old mean image",
        "new mean image",
    ]
    assert len(panels[2].patches) >= 1 + 1 + 1 + 2
    assert [text.get_text() for text in figure.legends[0].get_texts()][:4] == [
        "came: 1",
        "went: 1",
        "moved: 2",
        "stayed: 1",
    ]
    camnorm.plot.save(figure, tmp_path / "changes.png")
    wide = compare(sensor(1, pattern((40, 200)), 50), sensor(2, pattern((40, 200)), 50))
    assert camnorm.plot.changes_figure(wide).get_size_inches()[0] == 11.0


def test_a_change_of_sigma_alone() -> None:
    light = pattern()
    noise = np.full(SHAPE, 10.0)
    noisy = noise.copy()
    noisy[40, 50] = 20.0
    noisy[90, 100] = 5.0
    one = sensor(1, light, 200, lambda rng, x, n: rng.normal(x, noise, (n, *SHAPE)), "f4")
    two = sensor(2, light, 200, lambda rng, x, n: rng.normal(x, noisy, (n, *SHAPE)), "f4")
    changes = compare(one, two)
    assert np.argwhere(changes.sigma_changed).tolist() == [[40, 50], [90, 100]]
    assert not changes.mean_changed.any()


def test_dead_pixels() -> None:
    """A pixel that dies, and one that is dead in both; one that is stuck at another value."""
    old, new = pattern(), pattern()
    old[10, 10] = new[10, 10] = 0
    new[20, 20] = 0

    def stuck(value: int) -> Draw:
        def draw(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
            frames = poisson(rng, light, count)
            frames[:, 30, 30] = value
            return frames

        return draw

    changes = compare(sensor(1, old, 100, stuck(5)), sensor(2, 1.2 * new, 100, stuck(900)))
    assert np.argwhere(changes.changed).tolist() == [[20, 20], [30, 30]]


def test_smooth_illumination() -> None:
    rows, columns = (np.linspace(-1, 1, n) for n in SHAPE)
    light = 1 + 0.1 * columns[None, :] - 0.08 * rows[:, None] ** 2 + 0.05 * rows[:, None] * columns[None, :]
    old = sensor(1, pattern(level=400), 200)
    changes = compare(old, sensor(2, pattern(level=400) * light, 200))
    assert not changes.found
    assert changes.slow_change > 0.5
    assert any("smoothly" in note for note in changes.notes)
    planted = compare(
        sensor(1, pattern(level=400), 200), sensor(2, pattern(level=400) * light * grain(90, 50, 5), 200)
    )
    assert places(planted.came) == [(90, 50)]


def test_colour() -> None:
    light = pattern((96, 96, 3), 60.0)
    dust = grain(40, 60, 5, 0.2, (96, 96))[..., None]
    changes = compare(sensor(1, light, 60, dtype="u1"), sensor(2, 1.1 * light * dust, 90, dtype="u1"))
    assert isinstance(changes.scale, tuple)
    assert changes.scale == pytest.approx((1.1,) * 3, abs=0.1)
    assert places(changes.came) == [(40, 60)]
    assert changes.changed.shape == (96, 96, 3)
    assert len(changes.to_dict()["scale"]) == 3
    assert camnorm.plot.changes_figure(changes).axes


def test_a_specimen_of_one_half_is_no_change() -> None:
    """A bright bead in all frames of one movie: only one half of the measurement has it."""
    light = pattern()

    def movie(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
        frames = poisson(rng, light, count)
        if bright:
            frames[:20, 50:54, 60:64] += 2000
        bright.clear()
        return frames

    bright: list[bool] = []
    one = sensor(1, light, 200, movie)
    bright.append(True)
    two = sensor(2, light, 200, movie)
    changes = compare(one, two)
    assert abs(float(two.mean[51, 61]) - float(one.mean[51, 61])) > 100
    assert not changes.found


# What is not there

QUIET: dict[str, tuple[Draw, str, float, tuple[int, int], float, float]] = {
    "counts": (poisson, "u2", 100.0, (100, 100), 1.0, 0.0),
    "numbers of frames": (poisson, "u2", 100.0, (40, 300), 1.0, 0.0),
    "exposure": (poisson, "u2", 100.0, (100, 150), 1.5, 0.0),
    "offset": (normal, "f4", 100.0, (100, 60), 1.3, 40.0),
    "counting": (poisson, "u1", 0.5, (100, 150), 1.0, 0.0),
    "sparse": (poisson, "u1", 0.1, (20, 200), 1.0, 0.0),
    "exponential": (exponential, "f4", 100.0, (50, 150), 1.0, 0.0),
    "few": (normal, "f4", 100.0, (4, 7), 1.0, 0.0),
}


def findings(name: str, pairs: int, shape: tuple[int, int]) -> int:
    draw, dtype, level, (old, new), scale, offset = QUIET[name]
    found = 0
    for seed in range(pairs):
        light = pattern(shape, level, seed)

        def later(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
            if draw is poisson:
                return poisson(rng, scale * light, count)
            return scale * draw(rng, light, count) + offset

        changes = compare(
            sensor(2 * seed, light, old, draw, dtype), sensor(2 * seed + 1, light, new, later, dtype)
        )
        found += changes.found or bool(changes.stayed)
    return found


def test_pairs_without_a_change() -> None:
    """At most 5 % of 48 pairs of all kinds; 1 % are expected."""
    assert sum(findings(name, 6, (64, 64)) for name in QUIET) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", QUIET)
def test_many_pairs_without_a_change(name: str) -> None:
    assert findings(name, 50, (72, 80)) <= 2


def test_movies_that_share_specimens() -> None:
    """Frames of a movie have the same specimen: pixels differ more than independent frames would."""

    def movies(rng: np.random.Generator, light: np.ndarray, count: int) -> np.ndarray:
        specimen = 1 + 0.05 * rng.normal(size=(count // 10, *light.shape))
        return rng.poisson(light * np.repeat(specimen, 10, axis=0))

    changes = compare(sensor(1, pattern(), 120, movies), sensor(2, pattern(), 160, movies))
    assert not changes.found
    assert changes.noise > 1.5
    assert any("share a specimen" in note for note in changes.notes)


# Its parts


def test_kurtosis_of_the_halves() -> None:
    for draw, kurtosis in ((normal, 3.0), (exponential, 9.0)):
        reduced = epoch.epoch_of(sensor(1, pattern(), 400, draw, "f4"))
        assert 1 + 2 * np.median(reduced.excess) == pytest.approx(kurtosis, rel=0.12)


def test_welch() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.normal(100, 10, (50, 8, 8)), rng.normal(100, 30, (20, 8, 8))
    a, b = (epoch.epoch_of(sensor_of([stack])) for stack in (one, two))
    difference = (two.mean(0) - one.mean(0)).astype(np.float32)
    scores = null.welch_scores(difference, a, b, 0, 1.0)
    variances = [stack.var(0, ddof=1) / len(stack) for stack in (one, two)]
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 49 + variances[1] ** 2 / 19)
    wanted = norm.isf(t.sf(difference / np.sqrt(sum(variances)), freedom))
    assert np.max(np.abs(scores - wanted)) < 0.02


def test_benjamini_hochberg() -> None:
    scores = np.concatenate([np.random.default_rng(1).normal(size=5000), np.linspace(3, 7, 100)])
    limit = null.rejected(scores, scores.size, 0.05)
    wanted = false_discovery_control(2 * norm.sf(np.abs(scores))) <= 0.05
    assert np.array_equal(np.abs(scores) >= limit, wanted)
    assert null.rejected(np.zeros(10), 10, 0.05) == math.inf


def test_spline() -> None:
    centres, values = np.array([3.0, 9, 17, 30, 41]), np.random.default_rng(0).normal(size=5)
    wanted = CubicSpline(centres, values, bc_type="natural")(np.clip(np.arange(50), 3, 41))
    np.testing.assert_allclose(blocks._spline(centres, 50) @ values, wanted, atol=1e-12)


# Wrong use


def test_measurements_that_are_not_compared(tmp_path: Path) -> None:
    old = sensor(1, pattern((24, 32)), 20)
    with pytest.raises(camnorm.Error, match=r"shapes are \(24, 32\) and \(24, 30\)"):
        compare(old, sensor(2, pattern((24, 30)), 20))
    with pytest.raises(camnorm.Error, match=r"uint16 frames are of integer kind, float32 frames of float"):
        compare(old, sensor(2, pattern((24, 32)), 20, dtype="f4"))
    with pytest.raises(camnorm.Error, match=r"hold the same sums: this is one measurement"):
        compare(old, sensor(1, pattern((24, 32)), 20))
    with pytest.raises(camnorm.Error, match=r"the new measurement holds 1 frame: .* at least 2"):
        compare(old, sensor(2, pattern((24, 32)), 1, b=False))
    for fdr in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"fdr must be above 0 and below 1"):
            compare(old, old, fdr=fdr)
    with pytest.raises(TypeError, match=r"sensor must be a Sensor, not ndarray"):
        compare(old, np.zeros((24, 32)))  # type: ignore[arg-type]


def test_other_cameras() -> None:
    sensors = [sensor(seed, pattern((24, 32)), 20) for seed in (1, 2)]
    for one, name in zip(sensors, ("K2", "Falcon"), strict=True):
        one.provenance["groups"] = [
            {"shape": [24, 32], "dtype": "uint16", "camera": name, "files": 1, "frames": 20}
        ]
    with pytest.raises(camnorm.Error, match=r"cameras are K2 and Falcon; compare measurements of one camera"):
        compare(*sensors)


def test_frames_in_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(6):
        np.save(tmp_path / f"m{number}.npy", rng.poisson(100, (5, 24, 32)).astype("u2"))
    files = sorted(tmp_path.glob("*.npy"))
    old, new = (
        camnorm.measure(some, tmp_path / f"{name}.h5") for name, some in (("a", files[:4]), ("b", files[2:]))
    )
    with pytest.raises(
        camnorm.Error, match=r"m2\.npy and 1 more file are in both measurements, which are not ind"
    ):
        compare(old, new)
    assert not compare(
        camnorm.measure(files[:3], tmp_path / "c.h5"), camnorm.measure(files[3:], tmp_path / "d.h5")
    ).found


def test_row_orders(tmp_path: Path) -> None:
    old, new = sensor(1, pattern() * grain(30, 30, 5), 100), sensor(2, pattern() * grain(30, 30, 5), 100)
    old.provenance["row_order"], new.provenance["row_order"] = "top", "top"
    with pytest.warns(
        UserWarning, match=r"the new measurement has the bottom row first, the old one the top row"
    ):
        changes = compare(old, new.flipped())
    assert not changes.found
    assert places(changes.stayed) == [(30, 30)]


def test_a_gain_that_only_one_was_read_with() -> None:
    sensors = [
        sensor_of([poisson(np.random.default_rng(seed), pattern((24, 32)), 9).astype("u2")])
        for seed in (1, 2)
    ]
    sensors[0].provenance["reading"] = replace(camnorm.ReadOptions(), gain=Path("gain.mrc")).to_dict()
    with pytest.raises(camnorm.Error, match=r"only one was read with gain"):
        compare(*sensors)


def test_one_half_and_no_pattern() -> None:
    """Moments without halves: the kurtosis is unknown; without a pattern, the scale is, too."""
    flat = np.full((64, 64), 100.0)
    changes = compare(sensor(1, flat, 30, b=False), sensor(2, flat, 30, b=False))
    assert not changes.found
    assert isinstance(changes.scale, float)
    assert math.isnan(changes.scale)
    assert sum("too small to estimate the kurtosis" in note for note in changes.notes) == 2
    assert any("no pattern strong enough" in note for note in changes.notes)
    with_pattern = compare(sensor(1, pattern(), 100, b=False), sensor(2, 1.2 * pattern(), 100, b=False))
    assert with_pattern.scale == pytest.approx(1.2, abs=0.02)


def test_files_give_the_same_as_sensors(tmp_path: Path) -> None:
    sensors = [sensor(seed, pattern(), 50) for seed in (1, 2)]
    for number, one in enumerate(sensors):
        one.save(tmp_path / f"{number}.h5")
    assert compare(tmp_path / "0.h5", tmp_path / "1.h5").to_dict() == compare(*sensors).to_dict()


@pytest.mark.parametrize("shape", [(1, 50), (3, 3), (16, 20), (200, 9)])
def test_small_frames(shape: tuple[int, int]) -> None:
    assert not compare(sensor(1, pattern(shape), 30), sensor(2, pattern(shape), 30)).found


def test_constant_frames() -> None:
    changes = compare(sensor(1, np.zeros((16, 16)), 5), sensor(2, np.zeros((16, 16)), 6))
    assert not changes.found
