"""Verification: the whole scheme longhand, what is left out, and how often it is wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm import Error, PixelMoments, Sensor, Verification, verify
from camnorm.progress import Progress
from camnorm.verification import verification
from camnorm.verification.verdict import Assessment, Comparison
from image_sets import assert_same_moments, half_numbers, in_halves, write_mrc, write_npy

SHAPE = (64, 64)


class Sets:
    """Frames of white noise from a sensor with a fixed pattern."""

    def __init__(self, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = shape
        self.pattern = self.rng.normal(0, 5, shape)
        self.gain = 1 + self.rng.normal(0, 0.05, shape)

    def frames(self, count: int, specimen: float = 0.0, dtype: str = "u1") -> np.ndarray:
        light = 100 + self.rng.normal(0, 10, (count, *self.shape))
        light += specimen * self.rng.normal(size=self.shape)
        return np.rint(self.gain * light + self.pattern).astype(dtype)

    def files(self, folder: Path, count: int, length: int = 1, specimen: float = 0.0) -> list[Path]:
        folder.mkdir(exist_ok=True)
        return [write_npy(folder / f"{i:03d}.npy", self.frames(length, specimen)) for i in range(count)]


def stored(path: str | Path, index: int) -> np.ndarray:
    frame: np.ndarray = np.load(path)[index]
    return frame


def ring_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """FRC longhand, over the full plane."""
    fa, fb = np.fft.fft2(a - a.mean()), np.fft.fft2(b - b.mean())
    y, x = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in a.shape), indexing="ij")
    ring = np.floor(np.hypot(y, x) + 0.5).astype(int)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(ring.ravel(), values.ravel())[: a.shape[0] // 2 + 1]

    return total((fa * fb.conj()).real)[1:] / np.sqrt(total(abs(fa) ** 2) * total(abs(fb) ** 2))[1:]


@pytest.fixture
def corrected_with(monkeypatch: pytest.MonkeyPatch) -> list[PixelMoments]:
    """The moments with which the groups are corrected."""
    halves: list[PixelMoments] = []
    make = verification.correction_of

    def noted(left: Sensor, adjustments: object, half: int | None) -> object:
        halves.append(left.moments if half is None else left.halves[half])
        return make(left, adjustments, half)

    monkeypatch.setattr(verification, "correction_of", noted)
    return halves


def moments_of(frames: list[np.ndarray]) -> PixelMoments:
    moments = PixelMoments(frames[0].shape, frames[0].dtype)
    for frame in frames:
        moments.add(frame)
    return moments


# --- the scheme


@pytest.mark.parametrize("same_statistics", [False, True])
def test_longhand(tmp_path: Path, same_statistics: bool) -> None:
    """From the files alone, by numpy."""
    files = Sets().files(tmp_path, 100)
    result = verify(files, window=None, same_statistics=same_statistics, seed=3)
    groups = [[stored(*name) for name in names] for names in result.files]
    tests = {path for names in result.files for path, _ in names}
    frames = {str(path): stored(path, 0).astype(float) for path in files}
    whole = np.stack(list(frames.values()))
    target_mean, target_sigma = whole.mean(), whole.std(0).mean()
    images = []
    of_files = half_numbers(100)
    for parity, group in enumerate(groups):
        rest = [
            frame
            for i, (path, frame) in enumerate(frames.items())
            if path not in tests and (same_statistics or of_files[i] == parity)
        ]
        assert len(rest) == result.statistics[parity]
        mean, sigma = np.mean(rest, 0), np.std(rest, 0)
        corrected = [(frame - mean) / sigma * target_sigma + target_mean for frame in group]
        images.append((group[0], corrected[0], np.mean(group, 0), np.mean(corrected, 0)))
    curves = (result.pairs.raw, result.pairs.corrected, result.groups.raw, result.groups.corrected)
    for a, b, assessment in zip(*images, curves, strict=True):
        np.testing.assert_allclose(
            assessment.curves[0].correlation[1 : SHAPE[0] // 2 + 1], ring_correlation(a, b), atol=2e-6
        )


def test_raw_frames_depend_and_corrected_do_not(tmp_path: Path) -> None:
    files = Sets().files(tmp_path, 120)
    result = verify(files)
    assert not result.pairs.raw.independent
    assert not result.groups.raw.independent
    assert result.groups.raw.mean_correlation > result.pairs.raw.mean_correlation > 0.1
    assert result.groups.raw.z > 15
    assert result.groups.raw.outside_3sigma > 10
    assert result.pairs.corrected.independent
    assert result.groups.corrected.independent
    assert result.independent
    assert result.notes == []
    assert (result.groups.predicted_bias, result.pairs.predicted_bias) == (0.0, 0.0)
    assert (result.seed, result.same_statistics, result.window) == (0, False, "hann")


def test_a_pattern_that_is_left_is_found(tmp_path: Path) -> None:
    """A sensor that is not the one of the frames."""
    sensor = camnorm.measure(Sets(1).files(tmp_path / "other", 40))
    result = verify(Sets(0).files(tmp_path / "in", 100), sensor)
    assert not result.independent
    assert result.groups.corrected.p < 1e-6


def test_the_verdict_needs_pairs_and_groups(tmp_path: Path) -> None:
    result = verify(Sets().files(tmp_path, 60), window=None)
    good, bad = result.groups.corrected, result.groups.raw
    for pair, group, verdict in ((good, good, True), (good, bad, False), (bad, good, False)):
        changed = Verification(
            **{
                **{name: getattr(result, name) for name in result.__dataclass_fields__},
                "pairs": Comparison(bad, pair, 0.0, 0.0),
                "groups": Comparison(bad, group, 0.0, 0.0),
            }
        )
        assert changed.independent is verdict
    assert good.alpha == 0.025  # 5 % shared by two curves


# --- what is left out


def test_left_out_exactly(tmp_path: Path, corrected_with: list[PixelMoments]) -> None:
    files = Sets().files(tmp_path, 100)
    sensor = camnorm.measure(files, screen="off")
    before = [half.state() for half in sensor.halves]
    result = verify(files, sensor, seed=1)
    tests = {path for names in result.files for path, _ in names}
    assert len(tests) == 24
    # One group of each half.
    halves = zip(in_halves(files), corrected_with, result.files, result.statistics, strict=True)
    for its, moments, names, count in halves:
        rest = [stored(path, 0) for path in its if str(path) not in tests]
        assert_same_moments(moments, moments_of(rest))
        assert count == len(rest) == 38
        assert {Path(path) for path, _ in names} < set(its)
    for half, state in zip(sensor.halves, before, strict=True):
        assert half.state()["count"] == 50
        assert np.array_equal(half.state()["sum"], state["sum"])


def test_the_same_seed_takes_the_same_frames(tmp_path: Path) -> None:
    files = Sets().files(tmp_path, 100)
    sensor = camnorm.measure(files)
    first, again, other = (
        verify(files, sensor, seed=seed, threads=n) for seed, n in ((5, 1), (5, 2), (6, 1))
    )
    assert first.to_dict() == again.to_dict()
    assert first.files != other.files


def test_movies_give_their_first_good_frames(tmp_path: Path, corrected_with: list[PixelMoments]) -> None:
    sets = Sets()
    files = sets.files(tmp_path, 50, 3)
    movie = np.load(files[7])
    movie[0] = 0  # screened
    np.save(files[7], movie)
    sensor = camnorm.measure(files)
    result = verify(files, sensor)
    assert {index for names in result.files for path, index in names if path != str(files[7])} == {0}
    for seed in range(5):
        names = [name for group in verify(files, sensor, seed=seed).files for name in group]
        assert (str(files[7]), 0) not in names
        assert len({path for path, _ in names}) == 24
    tests = {name for group in result.files for name in group}
    rest = [
        stored(path, i)
        for path in in_halves(files)[0]
        for i in range(3)
        if (str(path), i) not in tests and (path, i) != (files[7], 0)
    ]
    assert_same_moments(corrected_with[0], moments_of(rest))


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"frames": "2:"}, lambda file, frame: frame >= 2),
        ({"every": 3}, lambda file, frame: (4 * file + frame) % 3 == 0),
        ({"frames": "1:3", "max_frames": 70}, lambda file, frame: 1 <= frame < 3),
    ],
)
def test_only_selected_frames_are_test_frames(
    tmp_path: Path,
    corrected_with: list[PixelMoments],
    options: dict[str, Any],
    allowed: Callable[[int, int], bool],
    measured: bool,
) -> None:
    files = Sets().files(tmp_path / "in", 60, 4)
    result = verify(files, camnorm.measure(files) if measured else None, **options)
    assert [len(names) for names in result.files] == [12, 12]
    for path, frame in (name for names in result.files for name in names):
        assert allowed(int(Path(path).stem), frame)
    sensor = camnorm.measure(files, **({} if measured else options))
    assert sum(half.count for half in corrected_with) == sensor.count - 24


def test_selected_frames_of_files_that_were_not_measured(tmp_path: Path) -> None:
    sets = Sets()
    sensor = camnorm.measure(sets.files(tmp_path / "in", 30, 2))
    result = verify(sets.files(tmp_path / "new", 100, 3), sensor, frames="1:", every=2)
    frames = [index for names in result.files for _, index in names]
    assert set(frames) == {1}


def test_too_few_selected_frames(tmp_path: Path) -> None:
    files = Sets().files(tmp_path / "in", 40, 3)
    with pytest.raises(Error, match=r"^verification needs at least 8 frames to choose from, got 5$"):
        verify(files, camnorm.measure(files), max_frames=5)


def test_files_are_read_as_those_of_the_sensor(tmp_path: Path) -> None:
    paths = Sets().files(tmp_path / "in", 100)
    for path in paths:
        path.with_suffix(".raw").write_bytes(np.load(path).tobytes())
    options = camnorm.ReadOptions(raw=camnorm.RawLayout.parse("64x64:u1"))
    files = [path.with_suffix(".raw") for path in paths]
    camnorm.measure(files, tmp_path / "sensor.h5", options=options)
    expected = verify(paths).to_dict()
    for sensor, given in ((tmp_path / "sensor.h5", None), (None, options)):
        result = verify(files, sensor, options=given).to_dict()
        assert (result["pairs"], result["groups"]) == (expected["pairs"], expected["groups"])


def test_from_a_sensor_file(tmp_path: Path) -> None:
    files = Sets().files(tmp_path / "in", 60)
    sensor = camnorm.measure(files, tmp_path / "sensor.h5")
    assert verify(files, tmp_path / "sensor.h5").to_dict() == verify(files, sensor).to_dict()
    reports: list[Progress] = []
    assert verify(tmp_path / "in", progress=reports.append).to_dict() == verify(files, sensor).to_dict()
    assert [report.frames for report in reports if report.stage == "measuring"][-1] == 60


def test_frames_that_are_not_part_of_the_statistics(
    tmp_path: Path, corrected_with: list[PixelMoments]
) -> None:
    sets = Sets(1)
    sensor = camnorm.measure(sets.files(tmp_path / "in", 60), screen="off")
    result = verify(sets.files(tmp_path / "new", 60), sensor)
    assert result.statistics == (30, 30)
    for half, whole in zip(corrected_with, sensor.halves, strict=True):
        assert_same_moments(half, whole)
    assert result.independent


@pytest.mark.parametrize("rename", [False, True])
def test_moved_files_are_recognised(tmp_path: Path, corrected_with: list[PixelMoments], rename: bool) -> None:
    files = Sets().files(tmp_path / "in", 60, 2)
    sensor = camnorm.measure(files, screen="off")
    moved = tmp_path / "moved"
    (tmp_path / "in").rename(moved)
    files = sorted(moved.iterdir())
    if rename:
        files = [path.rename(moved / f"movie_{path.name}") for path in files]
    result = verify(files, sensor)
    tests = {name for group in result.files for name in group}
    for its, half, names in zip(in_halves(files), corrected_with, result.files, strict=True):
        rest = [stored(path, i) for path in its for i in range(2) if (str(path), i) not in tests]
        assert_same_moments(half, moments_of(rest))
        assert rename or {Path(path) for path, _ in names} < set(its)


def test_frames_of_equal_statistics_are_told_apart(
    tmp_path: Path, corrected_with: list[PixelMoments]
) -> None:
    """Some frames have the same pixels, in another order each."""
    sets = Sets()
    pixels = sets.frames(1)[0].ravel()
    files = [
        write_npy(tmp_path / f"{i:02d}.npy", sets.rng.permutation(pixels).reshape(1, *SHAPE))
        for i in range(8)
    ]
    for i in range(8, 60):
        files.append(write_npy(tmp_path / f"{i:02d}.npy", sets.frames(1)))
    sensor = camnorm.measure(files, screen="off")
    for seed in range(4):
        corrected_with.clear()
        result = verify(files, sensor, seed=seed)
        tests = {path for names in result.files for path, _ in names}
        for its, half in zip(in_halves(files), corrected_with, strict=True):
            rest = [stored(path, 0) for path in its if str(path) not in tests]
            assert_same_moments(half, moments_of(rest))


def test_copies_of_a_frame_are_left_out_together(tmp_path: Path, corrected_with: list[PixelMoments]) -> None:
    """Every file is there twice, in both halves."""
    files = Sets().files(tmp_path, 61)
    copies = []
    for path in files:
        copies.append(tmp_path / f"copy_{path.name}")
        shutil.copy(path, copies[-1])
    inputs = [*files, *copies]
    sensor = camnorm.measure(inputs, screen="off")
    result = verify(inputs, sensor)
    numbers = [int(Path(path).stem[-3:]) for names in result.files for path, _ in names]
    assert len(set(numbers)) == 24  # no frame is in both groups
    of_files = dict(zip(sorted(inputs), half_numbers(122), strict=True))
    for parity, half in enumerate(corrected_with):
        its = [path for path in inputs if of_files[path] == parity]
        rest = [stored(path, 0) for path in its if int(path.stem[-3:]) not in numbers]
        assert_same_moments(half, moments_of(rest))


# --- the size of the groups


def test_a_single_file_gives_both_groups(tmp_path: Path, corrected_with: list[PixelMoments]) -> None:
    frames = Sets().frames(100)
    path = write_npy(tmp_path / "movie.npy", frames)
    result = verify(path)
    assert result.notes == ["several frames per file are used, since there are only 1 files"]
    for its, names, half in zip(in_halves(range(100)), result.files, corrected_with, strict=True):
        indices = [index for _, index in names]
        assert len(set(indices)) == 12
        assert set(indices) < set(its)
        rest = [frames[i] for i in its if i not in indices]
        assert_same_moments(half, moments_of(rest))
    assert result.independent


@pytest.mark.parametrize(
    ("count", "group", "size"), [(47, 12, 11), (8, 12, 2), (39, 10, 9), (40, 10, 10), (6, 1, 1)]
)
def test_small_sets_make_small_groups(tmp_path: Path, count: int, group: int, size: int) -> None:
    files = Sets().files(tmp_path, count)
    result = verify(files, group=group)
    assert [len(names) for names in result.files] == [size, size]
    assert sum(result.statistics) == count - 2 * size
    notes = [f"groups of {size} frames instead of {group}: there are only {count} to choose from"]
    assert result.notes == (notes if size < group else [])


def test_few_files_with_enough_frames_are_used_once_each(tmp_path: Path) -> None:
    files = Sets().files(tmp_path, 30, 4)
    result = verify(files)
    assert len({path for names in result.files for path, _ in names}) == 24
    assert result.notes == []


@pytest.mark.parametrize(("group", "fewest", "count"), [(12, 8, 7), (2, 8, 7), (1, 4, 3)])
def test_too_few_frames(tmp_path: Path, group: int, fewest: int, count: int) -> None:
    path = write_npy(tmp_path / "a.npy", Sets().frames(count))
    message = f"^verification needs at least {fewest} frames to choose from, got {count}$"
    with pytest.raises(Error, match=message):
        verify(path, group=group)


def test_too_few_frames_are_left_for_the_statistics(tmp_path: Path) -> None:
    sets = Sets()
    sensor = camnorm.measure(sets.files(tmp_path / "in", 3))
    with pytest.raises(Error, match=r"too few frames are left for the statistics of one half \(1\)"):
        verify(sets.files(tmp_path / "new", 20), sensor)


@pytest.mark.filterwarnings("ignore:10 of 10 frames")
def test_a_set_that_never_changes(tmp_path: Path) -> None:
    frames = np.repeat(Sets().frames(1), 20, 0)
    sensor = camnorm.measure(write_npy(tmp_path / "same.npy", frames), screen="off")
    with pytest.raises(Error, match="no pixel of the set ever changes: there is nothing to correct with"):
        verify(Sets().files(tmp_path / "in", 20), sensor)


@pytest.mark.parametrize("group", [0, -3])
def test_group_must_be_positive(tmp_path: Path, group: int) -> None:
    with pytest.raises(ValueError, match=f"group must be positive, got {group}"):
        verify(write_npy(tmp_path / "a.npy", Sets().frames(2)), group=group)


# --- frames that cannot be used


def test_unreadable_and_useless_frames_are_passed_over(tmp_path: Path) -> None:
    sets = Sets()
    files = sets.files(tmp_path, 70)
    sensor = camnorm.measure(files[:40], screen="off")
    for path in files[40:50]:
        path.write_text("words")
    for path in files[50:60]:
        write_npy(path, np.full((1, *SHAPE), 9, "u1"))
    result = verify(files, sensor)
    used = {files.index(Path(path)) for names in result.files for path, _ in names}
    assert len(used) == 24
    assert used.isdisjoint(range(40, 60))
    with pytest.raises(Error, match=r"only 10 of 30 frames can be used for the test, 14 are needed"):
        verify(files[40:], sensor, group=7)


def test_frames_of_another_kind(tmp_path: Path) -> None:
    sets = Sets()
    sensor = camnorm.measure(sets.files(tmp_path / "in", 20))
    for frames in (Sets(0, (32, 48)).frames(20), sets.frames(20).astype("f4")):
        path = write_npy(tmp_path / "other.npy", frames)
        message = rf"other\.npy has {frames.dtype} frames of shape \({frames.shape[1]}, {frames.shape[2]}\)"
        with pytest.raises(Error, match=rf"{message}, the sensor uint8 frames of shape \(64, 64\)"):
            verify(path, sensor)


def test_frames_that_a_header_only_claims_are_not_counted(tmp_path: Path) -> None:
    sets = Sets()
    sensor = camnorm.measure(sets.files(tmp_path / "in", 20))
    path = write_mrc(tmp_path / "other.mrc", sets.frames(3).astype("i2"))
    data = bytearray(path.read_bytes())
    data[8:12] = np.array([2**31 - 1], "<i4").tobytes()
    path.write_bytes(data)
    with pytest.raises(Error, match="needs at least 8 frames to choose from, got 3"):
        verify(path, sensor)


def test_rejected_frames_are_no_test_frames(tmp_path: Path) -> None:
    sets = Sets()
    files = sets.files(tmp_path, 60)
    for path in files[:20]:
        write_npy(path, sets.frames(1) // 2)
    sensor = camnorm.measure(files)
    assert sensor.count == 40
    result = verify(files, sensor)
    used = {files.index(Path(path)) for names in result.files for path, _ in names}
    assert used.isdisjoint(range(20))
    assert sum(result.statistics) == 40 - len(used)


# --- statistics of the test itself


def mean_over_rings(assessment: Assessment) -> float:
    """All frequencies up to Nyquist count alike."""
    (curve,) = assessment.curves
    rings = slice(1, SHAPE[0] // 2 + 1)
    return float(np.average(curve.correlation[rings], weights=curve.n[rings]))


def over_sets(tmp_path: Path, count: int, measure: Callable[[Path, int], float]) -> tuple[float, float]:
    """Mean over sets of one movie each, and its standard error."""
    values = []
    for seed in range(count):
        path = write_npy(tmp_path / "movie.npy", Sets(seed).frames(84))
        values.append(measure(path, seed))
    return float(np.mean(values)), float(np.std(values) / np.sqrt(count))


@pytest.mark.slow
def test_disjoint_statistics_have_no_bias(tmp_path: Path) -> None:
    mean, error = over_sets(
        tmp_path,
        30,
        lambda path, seed: mean_over_rings(verify(path, window=None, seed=seed).groups.corrected),
    )
    assert error < 0.006
    assert abs(mean) < 4 * error


@pytest.mark.slow
def test_same_statistics_have_the_predicted_bias(tmp_path: Path) -> None:
    """g / (M + g) with g = 12 and M = 60: docs and simulation say +0.167."""
    predicted = set()

    def measure(path: Path, seed: int) -> float:
        result = verify(path, window=None, seed=seed, same_statistics=True)
        assert result.statistics == (60, 60)
        predicted.add((result.pairs.predicted_bias, result.groups.predicted_bias))
        return mean_over_rings(result.groups.corrected)

    mean, error = over_sets(tmp_path, 30, measure)
    assert predicted == {(1 / 61, 12 / 72)}
    assert error < 0.006
    assert mean == pytest.approx(12 / 72, abs=4 * error)


@pytest.mark.slow
def test_without_leaving_out_the_bias_is_negative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-g / (M - g): what the test would give if it did not take its frames out of the statistics."""
    monkeypatch.setattr(PixelMoments, "subtract", lambda *_, **__: None)

    def measure(path: Path, seed: int) -> float:
        result = verify(path, window=None, seed=seed, same_statistics=True)
        assert result.statistics == (84, 84)
        return mean_over_rings(result.groups.corrected)

    mean, error = over_sets(tmp_path, 30, measure)
    assert mean == pytest.approx(-12 / 72, abs=4 * error)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "length"), [(8, 40), (30, 10)])
def test_movies_of_one_specimen_have_no_bias(tmp_path: Path, count: int, length: int) -> None:
    """The rest of a test frame's movie must not be in the statistics of the other group."""
    values = []
    for seed in range(6):
        files = Sets(seed).files(tmp_path / f"{seed}", count, length, specimen=10.0)
        sensor = camnorm.measure(files, screen="off")
        for choice in range(2):
            result = verify(files, sensor, window=None, seed=choice)
            values.append(mean_over_rings(result.groups.corrected))
    error = np.std(values) / np.sqrt(6)
    assert error < 0.025
    assert abs(np.mean(values)) < 4 * error


@pytest.mark.slow
def test_false_alarms_are_rare(tmp_path: Path) -> None:
    """At most 5 % of good sets fail, 2 of 40 on average; more than 6 in one test of 1500."""
    path = tmp_path / "movie.npy"
    alarms = 0
    for seed in range(40):
        write_npy(path, Sets(seed).frames(96))
        alarms += not verify(path, seed=seed).independent
    assert alarms <= 6


# --- colour and output


@pytest.mark.filterwarnings("ignore:24 of 24 frames")
def test_colour_planes_are_judged_one_by_one(tmp_path: Path) -> None:
    sets = Sets(0, (*SHAPE, 3))
    sensor = camnorm.measure(write_npy(tmp_path / "good.npy", sets.frames(60)))
    good = verify(tmp_path / "good.npy", sensor)
    assert [len(side.curves) for side in (good.pairs.raw, good.groups.corrected)] == [3, 3]
    assert good.independent
    assert sorted(good.curves()) == sorted(
        f"{what}_{state}_{plane}"
        for what in ("pair", "groups")
        for state in ("raw", "corrected")
        for plane in range(3)
    )
    assert good.groups.raw.rings == 3 * 32
    # A pattern in one plane that the statistics do not know.
    frames = sets.frames(60, dtype="i4")
    frames[..., 1] += np.random.default_rng(9).integers(0, 9, SHAPE)
    write_npy(tmp_path / "bad.npy", frames.astype("u1"))
    bad = verify(tmp_path / "bad.npy", sensor)
    by_plane = [curve.independence().p for curve in bad.groups.corrected.curves]
    assert by_plane[1] < 1e-6 < 1e-3 < min(by_plane[0], by_plane[2])
    assert bad.groups.corrected.p == pytest.approx(3 * by_plane[1], abs=0)
    assert bad.groups.corrected.z == max(curve.independence().z for curve in bad.groups.corrected.curves)
    assert not bad.independent


def test_numbers_of_an_assessment(tmp_path: Path) -> None:
    result = verify(Sets().files(tmp_path, 60))
    for side in (result.pairs.raw, result.pairs.corrected, result.groups.raw, result.groups.corrected):
        (curve,) = side.curves
        expected = curve.independence()
        for name, value in side.to_dict().items():
            if name == "independent":
                assert value is (expected.p >= 0.025 and expected.lines == 0)
            elif name == "alpha":
                assert value == 0.025
            elif name == "p_of_pairs":
                assert value == [expected.p]
            else:
                assert value == getattr(expected, name)


def test_saved_files_are_complete(tmp_path: Path) -> None:
    result = verify(Sets().files(tmp_path / "in", 40), seed=2)
    out = tmp_path / "deep" / "out"
    written = result.save(out)
    assert sorted(written) == sorted(out.iterdir())
    names = ["pair_raw", "pair_corrected", "groups_raw", "groups_corrected"]
    assert [path.name for path in written] == [
        "verify.json",
        "verify.png",
        *(f"verify_{name}.csv" for name in names),
    ]

    def strictly(constant: str) -> Any:
        raise ValueError(constant)

    numbers = json.loads((out / "verify.json").read_text(), parse_constant=strictly)
    assert numbers == result.to_dict()
    assert numbers["independent"] is True
    assert (numbers["group"], numbers["seed"], numbers["statistics"]) == (10, 2, [10, 10])
    assert [len(group) for group in numbers["files"]] == [10, 10]
    assert set(numbers["groups"]["raw"]) == {
        "rings",
        "outside_3sigma",
        "expected_outside_3sigma",
        "outside_exact",
        "expected_outside_exact",
        "lines",
        "mean_correlation",
        "mean_correlation_error",
        "z",
        "p",
        "p_of_pairs",
        "alpha",
        "independent",
    }
    assert (out / "verify.png").read_bytes().startswith(b"\x89PNG")
    for name, curve in result.curves().items():
        with open(out / f"verify_{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["correlation"]) for row in rows[1:]] == curve.correlation[1:].tolist()
        assert [int(row["n"]) for row in rows] == curve.n.tolist()
        assert len(rows) == 33
    # Again, over what is there.
    assert result.save(out) == written


# --- several pairs, corners, what is predicted


def test_several_pairs_find_what_one_does_not(tmp_path: Path) -> None:
    """A pattern of 18 % of the noise in frames of 64 x 64."""
    rng = np.random.default_rng(5)
    pattern = rng.normal(0, 1.8, SHAPE)
    files = [
        write_npy(tmp_path / f"{i:03d}.npy", np.float32(100 + pattern + rng.normal(0, 10, (1, *SHAPE))))
        for i in range(96)
    ]
    sensor = camnorm.measure(files)
    one = verify(files, sensor, group=2)
    many = verify(files, sensor, group=2, pairs=12)
    assert len(many.files) == 24
    assert len({name for group in many.files for name in group}) == 48
    assert many.statistics == (24, 24)
    assert one.groups.raw.independent
    assert not many.groups.raw.independent
    assert many.groups.corrected.independent
    assert len(many.groups.raw.p_of_pairs) == 12
    assert many.notes == []
    # The errors shrink as the root of the number of pairs.
    ratio = one.pairs.raw.mean_correlation_error / many.pairs.raw.mean_correlation_error
    assert ratio == pytest.approx(12**0.5)


def test_pairs_combined_longhand(tmp_path: Path) -> None:
    result = verify(Sets().files(tmp_path, 100), group=3, pairs=4, window=None)
    curves = []
    for a, b in zip(result.files[::2], result.files[1::2], strict=True):
        # Averages of 8-bit frames are transformed in float32.
        images = [np.float32(np.mean([stored(*name) for name in group], 0)) for group in (a, b)]
        curves.append(camnorm.frc(*images))
    (combined,) = result.groups.raw.curves
    np.testing.assert_allclose(combined.correlation, np.mean([c.correlation for c in curves], 0), atol=1e-12)
    np.testing.assert_allclose(combined.z, np.sum([c.z for c in curves], 0) / 2, atol=1e-10)
    np.testing.assert_array_equal(combined.n, 4 * curves[0].n)
    assert result.groups.raw.p_of_pairs == tuple(c.independence().p for c in curves)
    # Corrected images share the errors of their mean image: g / (M + g) of their variance.
    share = 3 / (result.statistics[0] + 3) * 3 / (result.statistics[1] + 3)
    (corrected,) = result.groups.corrected.curves
    np.testing.assert_allclose(corrected.n_eff, 4 * curves[0].n_eff / (1 + 3 * share))


def test_fewer_pairs_where_there_are_too_few_frames(tmp_path: Path) -> None:
    result = verify(Sets().files(tmp_path, 40), group=4, pairs=5)
    assert len(result.files) == 4
    assert result.notes == ["2 pairs of groups instead of 5: there are only 40 frames to choose from"]
    with pytest.raises(ValueError, match="pairs must be positive, got 0"):
        verify(tmp_path, pairs=0)


def test_a_bayer_pattern_in_the_corner_is_found_on_request(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    bayer = np.tile([[3.0, -3.0], [-3.0, 3.0]], (32, 32)) * (1 + rng.normal(0, 1, SHAPE))
    smooth = np.fft.fft2(bayer)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    pattern = np.fft.ifft2(np.where(radius > 0.55, smooth, 0)).real
    files = [
        write_npy(tmp_path / f"{i:03d}.npy", np.float32(100 + pattern + rng.normal(0, 10, (1, *SHAPE))))
        for i in range(48)
    ]
    sensor = camnorm.measure(files)
    assert verify(files, sensor, window="tukey").groups.raw.independent
    found = verify(files, sensor, window="tukey", corners=True)
    assert not found.groups.raw.independent
    assert found.independent
    assert found.groups.raw.rings == found.groups.raw.curves[0].n.size - 1 > 32


def test_floor_is_what_frames_of_the_set_show(tmp_path: Path) -> None:
    """Averages of frames that are part of the statistics: -g/(N - g)."""
    files = Sets().files(tmp_path, 48)
    sensor = camnorm.measure(files)
    result = verify(files, sensor, group=6)
    assert result.groups.floor == -6 / 42
    assert result.pairs.floor == -1 / 47
    correction = sensor.correction()
    corrected = np.stack([correction.apply(stored(path, 0), dtype=np.float64) for path in files])
    found = [
        camnorm.frc(corrected[i : i + 6].mean(0), corrected[j : j + 6].mean(0)).independence()
        for i in range(0, 48, 6)
        for j in range(i + 6, 48, 6)
    ]
    assert np.mean([v.mean_correlation for v in found]) == pytest.approx(-6 / 42, abs=0.02)
    # A set no larger than the average has no floor.
    few = verify(files[6:], camnorm.measure(files[:6]), group=6)
    assert np.isnan(few.groups.floor)


def test_a_test_frame_that_vanishes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Sets().files(tmp_path, 24)
    sensor = camnorm.measure(files)
    take_out = verification.take_out

    def and_lose_one(*arguments: Any) -> Any:
        groups, halves = take_out(*arguments)
        os.remove(groups[0][0][0])
        return groups, halves

    monkeypatch.setattr(verification, "take_out", and_lose_one)
    with pytest.raises(Error, match=r"\.npy, frame 0: can no longer be read"):
        verify(files, sensor, group=3)


def test_what_the_set_tells_is_part_of_the_result(tmp_path: Path) -> None:
    files = Sets().files(tmp_path / "in", 40)
    sensor = camnorm.measure(files)
    result = verify(files, sensor, group=4)
    numbers = result.to_dict()
    assert result.findings == camnorm.check(sensor)
    assert numbers["convergence"] == camnorm.frames_needed(sensor).to_dict()
    assert numbers["fixed_pattern"] == camnorm.fixed_pattern(sensor).to_dict()


@pytest.mark.parametrize("options", [{}, {"pairs": 2}, {"same_statistics": True}, {"shrink": True}])
def test_a_sensor_of_the_users_stays_as_it_is(tmp_path: Path, options: dict[str, Any]) -> None:
    files = Sets().files(tmp_path / "in", 40)
    sensor = camnorm.measure(files, tmp_path / "s.h5")
    before = [half.copy() for half in sensor.halves]
    of_users = verify(files, sensor, group=4, **options)
    for half, old in zip(sensor.halves, before, strict=True):
        assert_same_moments(half, old)
    # One that nobody else has gives up its sums, which changes nothing.
    assert verify(files, tmp_path / "s.h5", group=4, **options).to_dict() == of_users.to_dict()


def test_frames_that_are_read_are_progress(tmp_path: Path) -> None:
    files = Sets().files(tmp_path / "in", 40)
    sensor = camnorm.measure(files)
    reports: list[Progress] = []
    verify(files, sensor, group=4, progress=reports.append)
    verifying = [report for report in reports if report.stage == "verifying"]
    frames = [report.frames for report in verifying]
    assert frames[0] == 0
    assert frames == sorted(frames)
    assert 16 < frames[-1] <= verifying[-1].total == 16 + 40
    assert verifying[-1].bytes == frames[-1] * stored(files[0], 0).nbytes


# --- frames that the sensor does not fit


def test_files_of_another_kind_are_listed(tmp_path: Path) -> None:
    sets = Sets()
    files = sets.files(tmp_path / "in", 20)
    sensor = camnorm.measure(files)
    reference = write_npy(tmp_path / "gain.npy", np.ones((1, *SHAPE), "f4"))
    result = verify([*files, reference], sensor)
    reason = "float32 pixels (float kind), but the sensor has uint8 pixels (integer kind)"
    assert result.rejected == [(str(reference), reason)]
    assert result.to_dict()["rejected"] == [{"file": str(reference), "index": None, "reason": reason}]


def test_frames_of_another_level_are_told(tmp_path: Path) -> None:
    sensor = camnorm.measure(Sets().files(tmp_path / "in", 20))
    assert verify(tmp_path / "in", sensor).outside_limits == 0
    frames = Sets(1).frames(20)
    bright = [
        write_npy(tmp_path / f"bright{i}.npy", frame[None] + np.uint8(60)) for i, frame in enumerate(frames)
    ]
    said = (
        r"^10 of 10 frames of 10 files lie outside the limits of the sensor \(mean .*the correction does not"
    )
    with pytest.warns(UserWarning, match=said):
        result = verify(bright, sensor)
    assert result.outside_limits == result.to_dict()["outside_limits"] == 10


def test_rejected_frames_are_left_out(tmp_path: Path) -> None:
    files = Sets().files(tmp_path / "in", 20)
    write_npy(files[3], np.zeros((1, *SHAPE), "u1"))
    result = verify(files, camnorm.measure(files))
    assert "1 frame was left out: rejected when the sensor was measured" in result.notes
    assert str(files[3]) not in {path for group in result.files for path, _ in group}
