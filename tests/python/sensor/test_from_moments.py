"""Sensors made of moments: checked, saved, shown, combined and used like measured ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import camnorm
from camnorm import Error, FormatError, PixelMoments, Sensor
from image_sets import (
    assert_holds,
    assert_same_moments,
    assert_same_sensor,
    frames_of,
    sensor_of,
    write_movies,
    write_mrc,
)

SHAPE = (24, 32)


def moments_of(frames: np.ndarray, dtype: Any = None) -> PixelMoments:
    moments = PixelMoments(frames.shape[1:], dtype or frames.dtype)
    if len(frames):
        moments.add(frames)
    return moments


def made_of(frames: np.ndarray) -> Sensor:
    return Sensor.from_moments(moments_of(frames[::2]), moments_of(frames[1::2]))


def show(path: Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "camnorm", "show", str(path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "f2", "f4", "f8"])
def test_images_are_those_of_the_frames(dtype: str) -> None:
    frames = frames_of(20, SHAPE, dtype)
    sensor = made_of(frames)
    wide = frames.astype(np.float64)
    assert (sensor.count, sensor.shape, sensor.dtype) == (20, SHAPE, frames.dtype)
    np.testing.assert_allclose(sensor.mean, wide.mean(0), rtol=1e-14)
    np.testing.assert_allclose(sensor.sigma, wide.std(0), rtol=1e-10)
    assert sensor.frames.size == sensor.listed == 0
    assert sensor.provenance["from_moments"] == {"A": 10, "B": 10}
    assert sensor.provenance["files"].size == 0


def test_moments_are_copied() -> None:
    frames = frames_of(8, SHAPE, "u2")
    a, b = moments_of(frames[:4]), moments_of(frames[4:])
    sensor = Sensor.from_moments(a, b)
    a.add(frames)
    b.subtract(frames[4])
    assert sensor.count == 8
    assert_holds(sensor.moments, frames)


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        (moments_of(frames_of(2, (4, 5), "u1")), moments_of(frames_of(2, (5, 4), "u1")), ValueError,
         r"a holds frames of shape \(4, 5\), b frames of shape \(5, 4\)"),
        (moments_of(frames_of(2, (4, 5), "u1")), moments_of(frames_of(2, (4, 5, 3), "u1")), ValueError,
         r"a holds frames of shape \(4, 5\), b frames of shape \(4, 5, 3\)"),
        (moments_of(frames_of(2, (4, 5), "u2")), moments_of(frames_of(2, (4, 5), "f4")), TypeError,
         r"a holds uint16 frames \(integer kind\), b float32 frames \(float kind\)"),
        (np.ones((2, 4, 5)), None, TypeError,
         "a must be a PixelMoments, not ndarray: add the frames to a PixelMoments"),
        (moments_of(frames_of(2, (4, 5), "u2")), "b", TypeError, "b must be a PixelMoments, not str"),
        (None, None, TypeError, "a must be a PixelMoments, not NoneType"),
        (camnorm.PixelResponse((4, 5), "u2"), None, TypeError, "a must be a PixelMoments, not PixelResponse"),
        (PixelMoments((4, 5), "u2"), PixelMoments((4, 5), "u2"), ValueError, "the moments hold no frames"),
        (PixelMoments((4, 5), "u2"), None, ValueError, "the moments hold no frames"),
    ],
)  # fmt: skip
def test_what_are_no_halves(a: Any, b: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        Sensor.from_moments(a, b)


def test_one_object_is_not_two_halves() -> None:
    a = moments_of(frames_of(4, SHAPE, "u1"))
    with pytest.raises(ValueError, match=r"^a and b are the same moments: every frame would count twice$"):
        Sensor.from_moments(a, a)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_sums_that_no_frames_have(dtype: str) -> None:
    name = "sum_of_squares" if dtype == "u2" else "sum_of_squares_high"
    state = moments_of(frames_of(4, SHAPE, dtype)).state()
    state[name][2, 3] = 4  # less than the square of the mean
    with pytest.raises(ValueError, match=r"^b: no 4 frames have the sums of pixel \(2, 3\) in half B$"):
        Sensor.from_moments(moments_of(frames_of(4, SHAPE, dtype, 1)), PixelMoments.from_state(state))


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["u1", "i2", "u4", "f4", "f8"]), st.booleans())
def test_saved_and_loaded(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int, dtype: str, given_b: bool
) -> None:
    """Any counts, also of one half alone or of one frame, give a file that loads with the same bits."""
    frames = frames_of(first + second, (5, 6), dtype)
    a, b = moments_of(frames[:first]), moments_of(frames[first:])
    if not first + (second if given_b else 0):
        return
    sensor = Sensor.from_moments(a, b if given_b else None)
    path = tmp_path_factory.mktemp("saved") / "s.h5"
    sensor.save(path)
    loaded = Sensor.load(path)
    assert_same_sensor(sensor, loaded)
    assert loaded.provenance["from_moments"] == {"A": first, "B": second if given_b else 0}
    assert repr(loaded) == repr(sensor)


def test_a_half_without_frames_keeps_no_rounding_errors(tmp_path: Path) -> None:
    frames = frames_of(6, SHAPE, "f8") * 1e7 / 3
    b = moments_of(frames)
    for frame in frames[::-1]:
        b.subtract(frame)
    Sensor.from_moments(moments_of(frames), b).save(tmp_path / "s.h5")
    assert Sensor.load(tmp_path / "s.h5").count == 6


@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_changed_files_are_refused(tmp_path: Path, dtype: str) -> None:
    """Also without their digests, by what sums of any frames are."""
    sums, squares = ("sum", "sum_of_squares") if dtype == "u2" else ("sum_high", "sum_of_squares_high")
    path = tmp_path / "s.h5"

    def told(f: h5py.File, counts: dict[str, int]) -> None:
        f["provenance"].attrs["from_moments"] = json.dumps(counts)

    def scaled(part: h5py.Dataset, factor: float) -> None:
        part[...] = (part[:] * factor).astype(part.dtype)

    for change, message in (
        (
            lambda f: f["halves/A"].attrs.modify("count", 11),
            "sums of 11 frames, but the frame table lists 0 frames accepted for it, and 10 came as moments",
        ),
        (lambda f: told(f, {"A": 10}), "from_moments has no B"),
        (lambda f: told(f, {}), "but the frame table lists 0"),
        (lambda f: scaled(f[f"halves/B/{squares}"], 0.5), "no 10 frames have"),
        (lambda f: scaled(f[f"halves/A/{sums}"], 3.0), "no 10 frames have"),
    ):
        made_of(frames_of(20, SHAPE, dtype)).save(path)
        with h5py.File(path, "r+") as f:
            del f.attrs["digest"]
            change(f)
        with pytest.raises(FormatError, match=message):
            Sensor.load(path)


def test_it_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    made_of(frames_of(60, SHAPE, "u2")).save(path)
    shown = show(path, "-o", tmp_path / "figure.png")
    lines = {line[:16].strip(): line[16:] for line in shown.splitlines() if not line.startswith(" ")}
    assert lines["accepted"] == "60: 30 in half A, 30 in half B"
    assert lines["from moments"] == "all: without file names and screening"
    assert not {"files", "measured", "screening", "rejected"} & lines.keys()
    assert "made" in lines
    assert "INPUT..." in lines["next"] or "next" not in lines
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    told = json.loads(show(path, "--json"))
    assert (told["count"], told["from_moments"], told["frames"], told["files"]) == (60, 60, 0, 0)


def test_checks_know_what_they_cannot_know() -> None:
    frames = frames_of(60, (64, 64), "u2")
    found = {finding.name: finding for finding in camnorm.check(made_of(frames))}
    measured = {
        finding.name: finding for finding in camnorm.check(sensor_of(list(frames.reshape(20, 3, 64, 64))))
    }
    assert found.keys() == measured.keys()
    for name in ("rejected", "duplicates", "mean_trend", "blank", "modes", "short_movies"):
        assert np.isnan(found[name].value)
        assert not found[name].flagged
        assert found[name].sentence == "unknown of frames that came as moments: there is no frame table."
    for name in ("halves", "frames", "hits", "motif"):
        assert found[name].value == pytest.approx(found[name].value)
    assert "of moments, which do not say" in found["specimens"].sentence
    assert camnorm.frames_needed(made_of(frames)).frames == 60


def test_one_half_alone_corrects_but_compares_nothing(tmp_path: Path) -> None:
    frames = frames_of(40, SHAPE, "u2")
    sensor = Sensor.from_moments(moments_of(frames))
    assert [half.count for half in sensor.halves] == [40, 0]
    corrected = sensor.correction().apply(frames, dtype=np.float64)
    np.testing.assert_allclose(corrected.mean(0), sensor.target_mean, rtol=1e-12)
    np.testing.assert_allclose(corrected.std(0), sensor.target_sigma, rtol=1e-12)
    assert camnorm.frames_needed(sensor).advice() == ["Too few frames: each half of the set needs two."]
    with pytest.raises(Error, match="halves of 40 and 0 frames have no pattern to compare"):
        camnorm.fixed_pattern(sensor)
    files = write_movies(tmp_path, 8, 2, SHAPE, "u2")
    with pytest.raises(Error, match=r"too few frames are left for the statistics of one half \(0\)"):
        camnorm.verify(files, sensor, group=2)


def test_it_corrects_files(tmp_path: Path) -> None:
    frames = frames_of(40, SHAPE, "u2")
    sensor = made_of(frames)
    path = write_mrc(tmp_path / "m.mrc", frames[:3])
    (written,) = camnorm.correct([path], sensor, tmp_path / "out")
    with camnorm.open_frames(written) as source:
        np.testing.assert_array_equal(source.read(0, 3), sensor.correction().apply(frames[:3]))
    with pytest.raises(Error, match=r"^leave_out=True needs a sensor that was measured from files; this one"):
        camnorm.correct([path], sensor, tmp_path / "other", leave_out=True)


def test_it_is_verified(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 16, 2, SHAPE, "u2")
    sensor = made_of(frames_of(60, SHAPE, "u2", 3))
    verdict = camnorm.verify(files, sensor, group=4)
    assert verdict.groups.corrected.curves
    note = "60 frames of the sensor came as moments: test frames among them stay in its statistics"
    assert note in verdict.notes
    assert verdict.statistics == (30, 30)


# Merged and subtracted


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_merged_and_subtracted(tmp_path: Path, dtype: str) -> None:
    frames = frames_of(40, SHAPE, dtype)
    one, two = made_of(frames[:24]), made_of(frames[24:])
    whole = one.merge(two)
    assert whole.provenance["from_moments"] == {"A": 20, "B": 20}
    assert_holds(whole.moments, frames)
    whole.save(tmp_path / "s.h5")
    assert "part 1          24 frames from moments" in show(tmp_path / "s.h5")
    rest = Sensor.load(tmp_path / "s.h5").subtract(two)
    assert rest.provenance["from_moments"] == {"A": 12, "B": 12}
    assert "parts" not in rest.provenance
    if dtype == "u2":
        assert_same_sensor(rest, one)
    np.testing.assert_allclose(rest.mean, one.mean, rtol=1e-15)
    rest.save(tmp_path / "s.h5")
    assert Sensor.load(tmp_path / "s.h5").count == 24


@pytest.mark.parametrize("swapped", [False, True])
def test_merged_with_files(tmp_path: Path, swapped: bool) -> None:
    """The screening and the options of the files hold for the frames in files."""
    files = write_movies(tmp_path, 6, 4, SHAPE, "u2")
    measured = camnorm.measure(files)
    moments = made_of(frames_of(10, SHAPE, "u2", 9))
    whole = moments.merge(measured) if swapped else measured.merge(moments)
    assert (whole.count, whole.listed) == (34, 24)
    assert whole.provenance["screening"]["k"] == measured.provenance["screening"]["k"]
    assert whole.options == measured.options
    assert_same_moments(whole.moments, measured.moments + moments.moments)
    path = tmp_path / "s.h5"
    whole.save(path)
    loaded = Sensor.load(path)
    assert "10 frames: without file names and screening" in show(path)
    assert "moments" not in repr(loaded)
    for taken, left in ((measured, moments), (moments, measured)):
        rest = loaded.subtract(taken)
        assert_same_sensor(rest, left)
        for name in ("screening", "reading", "selection", "from_moments", "chosen"):
            assert rest.provenance.get(name) == left.provenance.get(name), name
        rest.save(path)
        assert_same_sensor(Sensor.load(path), left)


def test_changed_files_of_both_are_refused(tmp_path: Path) -> None:
    """What is left of the sums without the frames of the table must be possible for the others."""
    measured = camnorm.measure(write_movies(tmp_path, 6, 4, SHAPE, "u2"))
    path = tmp_path / "s.h5"
    for name, factor, message in (
        ("mean", 50.0, "has statistics that no frame has"),
        ("max", 2.0, None),
        ("std", 1.0, None),
    ):
        measured.merge(made_of(frames_of(10, SHAPE, "u2", 9))).save(path)
        with h5py.File(path, "r+") as f:
            del f.attrs["digest"]
            f["frames"][name][...] = f["frames"][name][:] * factor
        if message is None:
            assert Sensor.load(path).count == 34
        else:
            with pytest.raises(FormatError, match=message):
                Sensor.load(path)
    with h5py.File(path, "r+") as f:  # all the light of the moments, in the frames of the table
        f["frames"]["max"][...] = 65535.0
        f["frames"]["mean"][...] = f["frames"]["mean"][:] + 200.0
    with pytest.raises(FormatError, match="are not those of the frames in the table and of 5 others"):
        Sensor.load(path)


def test_moments_do_not_count_twice() -> None:
    sensor = made_of(frames_of(10, SHAPE, "u2"))
    message = "^both measurements hold the same moments, and their frames would count twice: merge each once$"
    with pytest.raises(Error, match=message):
        sensor.merge(made_of(frames_of(10, SHAPE, "u2")))


def test_what_is_not_part_is_not_subtracted(tmp_path: Path) -> None:
    frames = frames_of(20, SHAPE, "u2")
    sensor = made_of(frames[:10])
    with pytest.raises(
        Error,
        match=r"^half A of the measurement to be taken away holds 10 frames from moments, the other one only "
        r"5; only moments that were merged can be subtracted$",
    ):
        sensor.subtract(made_of(frames))
    bright = made_of((frames[:4] * 300).astype(np.uint16))
    with pytest.raises(
        Error, match=r"^the moments to be taken away are not part of this measurement: no 3 frames"
    ):
        sensor.subtract(bright)
    measured = camnorm.measure(write_movies(tmp_path, 6, 4, SHAPE, "u2"), screen="off")
    with pytest.raises(Error, match=r"^half A .* holds 1 frame from moments, the other one only 0"):
        measured.subtract(Sensor.from_moments(moments_of(frames[:1])))
    with pytest.raises(Error, match=r"movie_000.mrc, frame 0, is not in half"):
        sensor.subtract(measured)
