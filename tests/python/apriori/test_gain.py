"""Gain references that are rotated, flipped, of another sampling or convention, against plain NumPy."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm.apriori import check_orientation, check_references
from camnorm.errors import Error
from camnorm.io import ReadOptions, open_frames
from image_sets import frames_of, write_mrc, write_tiff

SHAPE = (24, 32)
TURNS = list(itertools.product(range(4), range(3)))


def gain_of(shape: tuple[int, ...], seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.8, 1.25, shape).astype(np.float32)


def relion(image: np.ndarray, rotate: int, flip: int) -> np.ndarray:
    """ImageOp of RELION, pixel by pixel, on an image as RELION holds it: row 0 of an MRC file first."""
    for _ in range(rotate):
        height, width = image.shape
        turned = np.empty((width, height), image.dtype)
        for y, x in np.ndindex(height, width):
            turned[x, height - 1 - y] = image[y, x]
        image = turned
    height, width = image.shape
    flipped = image.copy()
    for y, x in np.ndindex(height, width):
        if flip:
            flipped[(height - 1 - y, x) if flip == 1 else (y, width - 1 - x)] = image[y, x]
    return flipped


@pytest.mark.parametrize("write", [write_mrc, write_tiff])
@pytest.mark.parametrize("form", ["mrc", "tif"])
@pytest.mark.parametrize(("rotate", "flip"), TURNS)
def test_turned_as_in_relion(tmp_path: Path, rotate: int, flip: int, form: str, write: object) -> None:
    """RELION reads TIFF files bottom row first, so that what it turns is always as in MRC files."""
    frames = frames_of(2, SHAPE, "u2")
    path = write(tmp_path / "a.img", frames)  # type: ignore[operator]
    gain = gain_of(SHAPE if rotate % 2 == 0 else SHAPE[::-1])
    write_gain = write_mrc if form == "mrc" else write_tiff
    file = write_gain(tmp_path / f"g.{form}", gain[np.newaxis])
    held = relion(gain if form == "mrc" else gain[::-1], rotate, flip)
    expected = frames * (held[::-1] if write is write_tiff else held).astype(float)
    options = ReadOptions(gain=file, gain_rotate=rotate, gain_flip=flip)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_frames(path, options) as source:
            np.testing.assert_allclose(source.read(0, 2), expected, rtol=2**-23)


@pytest.mark.parametrize("rotate", range(4))
def test_rotation_is_that_of_numpy(tmp_path: Path, rotate: int) -> None:
    frames = frames_of(1, SHAPE, "u2")
    gain = gain_of(SHAPE)
    for write, turns in ((write_mrc, rotate), (write_tiff, -rotate)):
        path = write(tmp_path / f"{write.__name__}.img", frames)
        file = write(tmp_path / f"{write.__name__}.gain", np.rot90(gain, turns)[np.newaxis].copy())
        with open_frames(path, ReadOptions(gain=file, gain_rotate=rotate)) as source:  # type: ignore[arg-type]
            np.testing.assert_allclose(source.read(0), frames * gain.astype(float), rtol=2**-23)


def blocks(image: np.ndarray, step: int) -> np.ndarray:
    shape = image.shape[0] // step, image.shape[1] // step
    return np.array(
        [
            [
                0
                if (part := image[step * y : step * (y + 1), step * x : step * (x + 1)]).min() <= 0
                else part.mean()
                for x in range(shape[1])
            ]
            for y in range(shape[0])
        ]
    )


@pytest.mark.parametrize("step", [2, 4])
def test_gain_of_other_sampling(tmp_path: Path, step: int) -> None:
    frames = frames_of(2, SHAPE, "u2")
    path = write_mrc(tmp_path / "a.mrc", frames)
    fine = gain_of((step * SHAPE[0], step * SHAPE[1])).astype(float)
    fine[5, 6] = 0
    coarse = gain_of((SHAPE[0] // step, SHAPE[1] // step)).astype(float)
    sizes = (
        rf"{step * 24} x {step * 32} pixels for frames of 24 x 32: each {step} x {step} of its pixels are av"
    )
    more = rf"{24 // step} x {32 // step} pixels .* each of its pixels is used for {step} x {step} pixels"
    for gain, factors, message in (
        (fine, blocks(fine.astype("f4").astype(float), step), sizes),
        (coarse, np.kron(coarse, np.ones((step, step))), more),
    ):
        file = write_mrc(tmp_path / f"g{len(gain)}.mrc", gain[np.newaxis].astype("f4"))
        with pytest.warns(UserWarning, match=message), open_frames(path, ReadOptions(gain=file)) as source:
            values = source.read(0, 2)
        good = factors > 0
        np.testing.assert_allclose(values[:, good], (frames * factors)[:, good], rtol=1e-6)
        assert np.count_nonzero(~good) == (gain is fine)


def test_division(tmp_path: Path) -> None:
    frames = frames_of(2, SHAPE, "u2")
    path = write_mrc(tmp_path / "a.mrc", frames)
    counts = 1000 * gain_of(SHAPE)
    file = write_mrc(tmp_path / "g.mrc", counts[np.newaxis])
    with open_frames(path, ReadOptions(gain=file, gain_operation="divide")) as source:
        expected = frames / (counts.astype(float) / counts.mean(dtype=float))
        np.testing.assert_allclose(source.read(0, 2), expected, rtol=1e-6)


def test_how_a_gain_is_used_without_one() -> None:
    for name, value in (("gain_rotate", 1), ("gain_flip", 0), ("gain_operation", "divide")):
        message = f"{name}={value} says how a gain is used, but there is none: name it by gain=FILE"
        with pytest.raises(Error, match=message):
            check_references(ReadOptions(**{name: value}))  # type: ignore[arg-type]
    for name, value, message in (
        ("gain_rotate", 4, "gain_rotate must be 0, 1, 2, 3 or 'auto', not 4"),
        ("gain_flip", 3, "gain_flip must be 0, 1, 2 or 'auto', not 3"),
        ("gain_operation", "add", "gain_operation must be 'auto', 'multiply' or 'divide', not 'add'"),
    ):
        with pytest.raises(ValueError, match=message):
            ReadOptions(**{name: value})  # type: ignore[arg-type]


class Camera:
    """Movies of a camera, and the gain reference that suits them."""

    def __init__(self, folder: Path, shape: tuple[int, int] = (96, 128), counts: float = 10) -> None:
        rng = np.random.default_rng(3)
        self.folder = folder
        self.sensitivity = rng.normal(1, 0.05, shape) * rng.normal(1, 0.03, shape[1])
        y, x = np.mgrid[: shape[0], : shape[1]] / 64.0
        scenes = (1 + 0.3 * np.sin(y + i) * np.cos(x + y) for i in range(12))
        self.frames = [rng.poisson(counts * scene * self.sensitivity, (4, *shape)) for scene in scenes]

    def movies(self, write: object = write_mrc, divided_by: object = 1.0) -> list[Path]:
        return [
            write(self.folder / f"{i}.img", (frames / divided_by).astype("f4"))  # type: ignore[operator]
            for i, frames in enumerate(self.frames)
        ]

    def gain(self, image: np.ndarray, write: object = write_mrc) -> Path:
        path: Path = write(self.folder / "gain.img", image[np.newaxis].astype("f4"))  # type: ignore[operator]
        return path


def warnings_of(movies: list[Path], **options: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_orientation(movies, ReadOptions(**options))  # type: ignore[arg-type]
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("write", [write_mrc, write_tiff])
def test_the_advice_sets_the_orientation_right(tmp_path: Path, write: object) -> None:
    """Whatever was done to a gain, and whatever options are given: with those of the message it fits."""
    camera = Camera(tmp_path)
    movies = camera.movies(write)
    right = 1 / camera.sensitivity
    for turns, flip in itertools.product(range(4), (False, True)):
        image = np.rot90(right, turns)
        path = camera.gain(image[::-1] if flip else image, write)
        given = {"gain_rotate": 3} if turns % 2 else {"gain_flip": 1}
        try:
            told = warnings_of(movies, gain=path, **given)
        except Error as error:
            told = [str(error)]
        advice = dict(pair.split("=") for text in told for pair in text.split("use ")[1].split(" and "))
        options = given | {name: int(value) for name, value in advice.items()}
        assert warnings_of(movies, gain=path, **options) == []
        check_references(ReadOptions(gain=path, **options), right.shape)  # type: ignore[arg-type]


def test_gain_that_lies_across_the_frames(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    path = camera.gain(np.rot90(1 / camera.sensitivity))
    with pytest.raises(
        Error, match=r"gain\.img: a gain for frames that are rotated against these; use gain_rotate=1$"
    ):
        check_orientation(camera.movies(), ReadOptions(gain=path))
    unlike = camera.gain(gain_of((128, 96)))
    with pytest.raises(Error, match=r"use gain_rotate=1 or gain_rotate=3$"):
        check_orientation(camera.movies(), ReadOptions(gain=unlike))


def test_users_are_told_of_a_better_orientation(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    movies = camera.movies()
    movies[5].write_bytes(b"damaged")
    assert warnings_of(movies, gain=camera.gain(1 / camera.sensitivity)) == []
    assert warnings_of(movies) == []
    path = camera.gain(1 / camera.sensitivity[:, ::-1])
    better = "this gain would fit the frames far better if it were"
    assert warnings_of(movies, gain=path) == [f"{path}: {better} flipped left to right; use gain_flip=2"]
    assert warnings_of(movies, gain=path, gain_flip=2) == []
    assert warnings_of(movies, gain=path, gain_rotate=2) == [
        f"{path}: {better} flipped left to right; use gain_rotate=0 and gain_flip=2"
    ]


def test_users_are_told_of_the_other_operation(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    movies = camera.movies()
    path = camera.gain(camera.sensitivity)
    better = "this gain would fit the frames far better if it were"
    assert warnings_of(movies, gain=path) == [f"{path}: {better} inverted; use gain_operation=divide"]
    assert warnings_of(movies, gain=path, gain_operation="divide") == []
    path = camera.gain(1 / camera.sensitivity[::-1])
    assert warnings_of(movies, gain=path, gain_operation="divide") == [
        f"{path}: {better} flipped upside down and inverted; use gain_flip=1 and gain_operation=multiply"
    ]


def test_users_are_told_of_frames_that_had_the_gain(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    path = camera.gain(1 / camera.sensitivity)
    (message,) = warnings_of(camera.movies(divided_by=camera.sensitivity), gain=path)
    assert "the frames show only" in message
    assert message.endswith("Use another gain reference, or none")
    assert warnings_of(camera.movies(), gain=camera.gain(np.ones((96, 128)))) == []  # takes nothing away


def scenes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """What a specimen lets through: blobs, and an uneven beam."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 1 + 0.2 * np.sin(y / 40 + rng.uniform(0, 6)) * np.cos(x / 30 + rng.uniform(0, 6))
    for _ in range(4):
        cy, cx, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(3, 12)
        image *= 1 - 0.4 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2))
    return image


def told(folder: Path, seed: int, dose: float, spread: float, kind: str) -> bool:
    """Whether there is a warning for eight simulated files of this total dose, in electrons per pixel."""
    rng = np.random.default_rng(seed)
    shape = (64, 64)
    sensitivity = rng.normal(1, spread, shape).clip(0.3, 2)
    gain = sensitivity if kind == "inverse" else 1 / sensitivity
    divided = sensitivity if kind == "applied" else 1.0
    movies = [
        write_mrc(
            folder / f"{i}.mrc",
            (rng.poisson(dose / 8 * scenes(rng, shape) * sensitivity, (1, *shape)) / divided).astype("f4"),
        )
        for i in range(8)
    ]
    path = write_mrc(folder / "gain.mrc", gain[np.newaxis].astype("f4"))
    return bool(warnings_of(movies, gain=path))


@pytest.mark.slow
@pytest.mark.parametrize("dose", [0.1, 1, 10, 100])
def test_a_right_gain_raises_no_false_alarm(tmp_path: Path, dose: float) -> None:
    alarms = [told(tmp_path, seed, dose, spread, "right") for seed in range(30) for spread in (0.02, 0.15)]
    assert sum(alarms) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["inverse", "applied"])
@pytest.mark.parametrize(("dose", "spread"), [(12, 0.15), (100, 0.05)])
def test_a_wrong_gain_is_found(tmp_path: Path, kind: str, dose: float, spread: float) -> None:
    assert all(told(tmp_path, seed, dose, spread, kind) for seed in range(20))


def test_gain_of_a_sensor_is_used_again(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    (tmp_path / "raw").mkdir()
    camera.folder = tmp_path / "raw"
    camera.movies()
    path = write_mrc(tmp_path / "gain.mrc", np.rot90(1 / camera.sensitivity).astype("f4")[np.newaxis])
    options = ReadOptions(gain=path, gain_rotate=1)
    sensor = camnorm.measure(tmp_path / "raw", tmp_path / "s.h5", options=options)
    mean = sum(frames.sum(0) for frames in camera.frames) / camera.sensitivity / 48
    np.testing.assert_allclose(sensor.mean, mean, rtol=1e-5)
    loaded = camnorm.Sensor.load(tmp_path / "s.h5")
    assert (loaded.options.gain, loaded.options.gain_rotate) == (path, 1)
    written = camnorm.correct(tmp_path / "raw", loaded, tmp_path / "out")
    frames = camera.frames[0] / camera.sensitivity
    with open_frames(written[0]) as source:
        expected = loaded.correction().apply(frames.astype("f4"))
        np.testing.assert_allclose(source.read(0, 4), expected, rtol=1e-4, atol=1e-3)
    camnorm.verify(tmp_path / "raw", loaded, group=2)


@pytest.mark.parametrize("write", [write_mrc, write_tiff])
def test_auto(tmp_path: Path, write: object) -> None:
    """Orientation and operation are found, noted, and used again by `correct`."""
    camera = Camera(tmp_path)
    movies = camera.movies(write)
    suffix = {write_mrc: ".mrc", write_tiff: ".tif"}[write]  # type: ignore[index]
    (tmp_path / "raw").mkdir()
    for path in movies:
        path.rename(tmp_path / "raw" / f"{path.stem}{suffix}")
    for number, (turns, flip) in enumerate(itertools.product(range(4), (False, True))):
        image = np.rot90(camera.sensitivity if number % 2 else 1 / camera.sensitivity, turns)
        path = camera.gain(image[::-1] if flip else image, write)
        options = ReadOptions(gain=path, **{("gain_rotate", "gain_flip")[number % 2]: "auto"})  # type: ignore[arg-type]
        sensor = camnorm.measure(tmp_path / "raw", tmp_path / f"{number}.h5", options=options)
        assert sensor.options.gain_operation == ("divide" if number % 2 else "multiply")
        assert set(sensor.provenance["chosen"]) >= {"gain_rotate", "gain_flip", "gain_operation"}
        assert (
            sensor.mean.std() < 0.02 * sensor.mean.mean() + 0.3
        )  # of 48 frames of 10 counts: 4.5 % by chance
        raw = sum(frames.sum(0) for frames in camera.frames) / 48
        np.testing.assert_allclose(
            sensor.mean / sensor.mean.mean(), (found := raw / camera.sensitivity) / found.mean(), rtol=1e-4
        )
    camnorm.correct(tmp_path / "raw", sensor, tmp_path / "out")


def test_auto_that_cannot_be(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    movies = camera.movies()
    foreign = camera.gain(gain_of((96, 128)))
    with pytest.raises(
        Error, match=r"gain\.img: some frames of the set do not show which way this gain lies; "
    ):
        camnorm.measure(movies, options=ReadOptions(gain=foreign, gain_flip="auto"))
    with pytest.raises(
        Error, match=r"gain_rotate='auto' or gain_flip='auto' without a gain: name it by gain="
    ):
        camnorm.measure(movies, options=ReadOptions(gain_rotate="auto"))
    sensor = camnorm.measure(movies)
    path = camera.gain(1 / camera.sensitivity)
    options = ReadOptions(gain=path, gain_rotate="auto")
    with pytest.raises(Error, match="which way the gain lies is known from the measurement; leave out"):
        camnorm.correct(movies, sensor, tmp_path / "out", options=options)
    with pytest.raises(Error, match="which way a gain lies is found by measure only; leave out"):
        open_frames(movies[0], options)
