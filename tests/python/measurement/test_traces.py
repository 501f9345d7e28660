"""Float frames with huge pixels that were added and taken away again: no trace of them is left unnoticed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import PixelMoments
from camnorm.measurement.removal import remove_screened as remove
from camnorm.measurement.run import _Run
from camnorm.sensor.sensor import Sensor

SHAPE = (4, 12)
TRACE = "frames that were subtracted leave a trace in the sums"


def normal_frames(n: int, dtype: str = "f4", seed: int = 1) -> np.ndarray:
    frames = np.random.default_rng(seed).normal(10, 1, (n, *SHAPE)).astype(dtype)
    frames[:, 0, 0], frames[:, 0, 1] = 0, 7.3
    return frames


def exact_images(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sigma by rational arithmetic."""
    means, sigmas = [], []
    for vector in frames.reshape(len(frames), -1).T.tolist():
        x, n = [Fraction(value) for value in vector], len(frames)
        total = sum(x)
        variance = (n * sum(value * value for value in x) - total * total) / n**2
        with localcontext(prec=60):
            sigmas.append(float((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()))
        means.append(float(total / n))
    return np.reshape(means, frames.shape[1:]), np.reshape(sigmas, frames.shape[1:])


def assert_exact(moments: PixelMoments, frames: np.ndarray) -> None:
    assert moments.count == len(frames)
    mean, sigma = exact_images(frames)
    np.testing.assert_array_max_ulp(moments.mean(), mean, maxulp=1)
    np.testing.assert_array_max_ulp(moments.std(), sigma, maxulp=1)


def is_exact(moments: PixelMoments, frames: np.ndarray) -> bool:
    try:
        assert_exact(moments, frames)
    except AssertionError:
        return False
    return True


def assert_holds(sensor: Sensor, frames: dict[tuple[str, int], np.ndarray]) -> None:
    rows = sensor.frames[sensor.frames["status"] == "accepted"]
    for letter, half in zip("AB", sensor.halves, strict=True):
        its = [frames[Path(row["file"]).name, int(row["index"])] for row in rows if row["half"] == letter]
        assert_exact(half, np.stack(its))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [1, 1e3, 1e5, 1e7, 1e8, 1e12, 1e20, 1e30, 1e37])
@pytest.mark.parametrize("order", ["together", "before", "after"])
def test_sums_are_exact_or_say_that_they_are_not(dtype: str, size: float, order: str) -> None:
    good, rng = normal_frames(20, dtype), np.random.default_rng(2)
    bad = (rng.uniform(0.5, 1, (3, *SHAPE)) * size).astype(dtype)
    moments = PixelMoments(SHAPE, dtype)
    batches = {
        "together": [np.concatenate([good[:9], bad, good[9:]])],
        "before": [bad, good],
        "after": [good, bad],
    }
    for batch in batches[order]:
        moments.add(batch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        moments.subtract(bad)
    assert bool(caught) == (not moments.exact)
    assert all(str(warning.message).startswith(TRACE) for warning in caught)
    assert not moments.exact or is_exact(moments, good)
    if dtype == "f4":
        assert moments.exact or size >= 1e5  # no false alarm of what happens
    assert not moments.exact or size <= 1e7
    moments.subtract(good)  # empty sums have no trace
    assert moments.exact
    moments.add(good)
    assert_exact(moments, good)


def test_pixels_forgotten_altogether() -> None:
    """All sums are zero again, as if the frames had been; but they had not."""
    frames = np.ones((6, *SHAPE))
    frames[3:] *= 1e100 / np.array([3, 7, 11]).reshape(3, 1, 1)
    moments = PixelMoments(SHAPE, "f8")
    for frame in frames:
        moments.add(frame)
    with pytest.warns(UserWarning, match=TRACE):
        moments.subtract(frames[3:])
    assert (moments.std() == 0).all()
    assert (moments.mean() == 0).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_sparse_counts_raise_no_alarm(dtype: str) -> None:
    """Most pixels have no count at all when the frames with counts have gone."""
    frames = np.random.default_rng(3).poisson(0.02, (300, *SHAPE)).astype(dtype)
    moments = PixelMoments(SHAPE, dtype)
    moments.add(frames)
    moments.subtract(frames[5:])
    assert moments.exact
    assert_exact(moments, frames[:5])


def test_a_difference_of_moments() -> None:
    good, bad = PixelMoments(SHAPE, "f4"), PixelMoments(SHAPE, "f4")
    good.add(normal_frames(10))
    bad.add(np.full(SHAPE, 1e30, "f4"))
    both = good + bad
    assert both.exact
    with pytest.warns(UserWarning, match=TRACE):
        rest = both - bad
    assert not rest.exact
    assert not (rest + good).exact
    assert (both - good).exact
    assert (rest - rest).exact


def test_an_add_that_fails_says_what_it_left() -> None:
    """The huge pixel was added before the one that is not finite was found."""
    shape = (4, 4096)
    good = np.random.default_rng(1).normal(10, 1, (5, *shape)).astype("f4")
    moments = PixelMoments(shape, "f4")
    moments.add(good)
    bad = good[0].copy()
    bad[0], bad[3, 4000] = 1e30, np.nan
    with pytest.warns(UserWarning, match=TRACE), pytest.raises(camnorm.NonFiniteError):
        moments.add(bad, threads=1)
    assert moments.count == 5
    assert not moments.exact
    empty = PixelMoments(shape, "f4")
    with pytest.raises(camnorm.NonFiniteError):
        empty.add(np.concatenate([np.full((99, *shape), 1e30 / 7, "f4"), bad[None]]), threads=1)
    assert empty.exact
    assert not any(part.any() for part in empty.parts().values())


def write(
    folder: Path, movies: list[np.ndarray], write_movie: Callable[[Path, np.ndarray], None]
) -> list[Path]:
    files = [folder / f"m{i:02}.tif" for i in range(len(movies))]
    for file, movie in zip(files, movies, strict=True):
        write_movie(file, movie)
    return files


def plain(path: Path, movie: np.ndarray) -> None:
    tifffile.imwrite(path, movie, photometric="minisblack")


def zipped(path: Path, movie: np.ndarray) -> None:
    tifffile.imwrite(path, movie, photometric="minisblack", compression="zlib")


def in_files(movies: list[np.ndarray]) -> dict[tuple[str, int], np.ndarray]:
    return {
        (f"m{i:02}.tif", index): frame for i, movie in enumerate(movies) for index, frame in enumerate(movie)
    }


@pytest.mark.parametrize("write_movie", [plain, zipped])
@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("size", [1e6, 1e12, 1e30, 1e38])
def test_screened_frames(
    tmp_path: Path, size: float, response: bool, write_movie: Callable[[Path, np.ndarray], None]
) -> None:
    movies = list(normal_frames(48).reshape(12, 4, *SHAPE))
    movies[3][1, 2] = size
    movies[7][0, 1, 5] = -size
    files = write(tmp_path, movies, write_movie)
    sensor = camnorm.measure(files, tmp_path / "sensor.h5", response=response)
    assert (sensor.frames["status"] == "rejected").sum() == 2
    assert sensor.count == 46
    assert_holds(sensor, in_files(movies))
    assert [row["path"] for row in sensor.provenance["files"]] == [str(file) for file in files]
    clean = [movie[[i for i in range(4) if (n, i) not in {(3, 1), (7, 0)}]] for n, movie in enumerate(movies)]
    folder = tmp_path / "clean"
    folder.mkdir()
    other = camnorm.measure(write(folder, clean, write_movie), response=response, screen="off")
    if response:
        assert sensor.responses is not None
        assert other.responses is not None
        for one, two in zip(sensor.responses, other.responses, strict=True):
            for name, part in one.parts().items():
                np.testing.assert_allclose(part, two.parts()[name], rtol=1e-12, atol=1e-9, err_msg=name)
    ratios = [[row["ratio"] for row in one.provenance["ratios"]] for one in (sensor, other)]
    np.testing.assert_allclose(*ratios, rtol=0.05)  # of nearly the same parts of the set


def test_files_are_read_again_only_if_it_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    accumulate = _Run.accumulate
    monkeypatch.setattr(_Run, "accumulate", lambda self: (runs.append(self), accumulate(self)))
    movies = list(normal_frames(48).reshape(12, 4, *SHAPE))
    for size, count in ((1e3, 1), (1e12, 2)):
        movies[3][1, 2] = size
        runs.clear()
        sensor = camnorm.measure(write(tmp_path, movies, plain))
        assert sensor.count == 47
        assert len(runs) == count


def test_frames_that_are_not_finite(tmp_path: Path) -> None:
    shape = (4, 4096)
    movies = list(np.random.default_rng(1).normal(10, 1, (4, 3, *shape)).astype("f4"))
    movies[2][1, 0], movies[2][1, 3, 4000] = 1e37, np.nan
    sensor = camnorm.measure(write(tmp_path, movies, plain), threads=1, screen="off")
    assert sensor.count == 11
    good = in_files(movies)
    for letter, half in zip("AB", sensor.halves, strict=True):
        rows = sensor.frames[(sensor.frames["half"] == letter) & (sensor.frames["status"] == "accepted")]
        its = np.stack([good[Path(row["file"]).name, int(row["index"])] for row in rows]).astype("f8")
        np.testing.assert_allclose(half.std(), its.std(0), rtol=1e-13)
        assert half.exact


def test_a_damaged_file_of_huge_pixels(tmp_path: Path) -> None:
    """Its first frames were added before the damage was found."""
    movies = list(normal_frames(48).reshape(12, 4, *SHAPE))
    movies[5][:3] *= np.float32(1e25)
    files = write(tmp_path, movies, zipped)
    data = files[5].read_bytes()
    with tifffile.TiffFile(files[5]) as file:
        place = file.pages[3].dataoffsets[0]
    files[5].write_bytes(data[: place + 20] + bytes(40) + data[place + 60 :])
    sensor = camnorm.measure(files)
    assert not (sensor.frames["status"][sensor.frames["file"] == str(files[5])] == "accepted").any()
    assert sensor.count == 44
    assert_holds(sensor, in_files(movies))


def test_a_run_that_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint holds sums that are not exact, and says so."""
    shape = (4, 4096)
    movies = list(np.random.default_rng(1).normal(10, 1, (6, 3, *shape)).astype("f4"))
    movies[2][1, 0], movies[2][1, 3, 4000] = 1e37, np.nan
    files = write(tmp_path, movies, plain)
    output = tmp_path / "sensor.h5"
    leave_out = _Run._add_waiting

    def interrupt(self: _Run) -> None:
        leave_out(self)
        if not self.state.exact:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Run, "_add_waiting", interrupt)
    monkeypatch.setattr("camnorm.measurement.batches.Batch.is_full", lambda self: True)
    with pytest.raises(KeyboardInterrupt):
        camnorm.measure(files, output, threads=1, screen="off")
    monkeypatch.undo()
    sensor = camnorm.measure(files, output, threads=1, screen="off")
    fresh = camnorm.measure(files, tmp_path / "other.h5", threads=1, screen="off")
    for one, two in zip(sensor.halves, fresh.halves, strict=True):
        np.testing.assert_array_max_ulp(one.std(), two.std(), maxulp=1)
    assert sensor.count == 17


def test_a_file_that_changes_before_it_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    movies = list(normal_frames(48).reshape(12, 4, *SHAPE))
    movies[3][1, 2] = 1e30
    files = write(tmp_path, movies, plain)
    monkeypatch.setattr(
        "camnorm.measurement.run.remove_screened",
        lambda state: (remove(state), plain(files[8], movies[8] + 1))[0],
    )
    with pytest.raises(camnorm.Error, match=r"m08.tif, frame 0: no longer what it was when it was measured"):
        camnorm.measure(files)


def test_a_sensor_less_another(tmp_path: Path) -> None:
    movies = list(normal_frames(48).reshape(12, 4, *SHAPE))
    movies[3][1, 2] = 1e30
    files = write(tmp_path, movies, plain)
    part = camnorm.measure(files[2:6], screen="off")
    rest = camnorm.measure([*files[:2], *files[6:]], screen="off")
    both = part.merge(rest)
    with pytest.warns(UserWarning, match=TRACE):
        both.subtract(part)
