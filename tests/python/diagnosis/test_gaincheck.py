"""Gain references of cameras whose truth is known, turned, inverted, of other sizes, old and foreign."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import ReadOptions, cli
from camnorm.apriori.falcon import falcon_defects
from camnorm.errors import Error
from camnorm.handover.orientation import for_file
from camnorm.sensor.table import FILE_DTYPE
from image_sets import write_mrc, write_npy, write_tiff

SHAPE = (96, 120)
ORIENTATIONS = list(itertools.product(range(4), (False, True)))


def camera(seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Sensitivities: pixels, columns, a dead column and dead pixels."""
    rng = np.random.default_rng(seed)
    sensitivity = rng.normal(1, 0.05, shape) * rng.normal(1, 0.02, shape[1])
    sensitivity[:, 33] = 0
    sensitivity[rng.random(shape) < 3e-4] = 0
    return sensitivity


def sensor_of(
    sensitivity: np.ndarray,
    seed: int = 0,
    gain: np.ndarray | None = None,
    movies: int = 60,
    dose: float = 1.0,
) -> camnorm.Sensor:
    """From movies of 10 frames at one electron a pixel, of uneven specimens; with a gain applied, maybe."""
    rng = np.random.default_rng(seed + 1000)
    y, x = np.mgrid[: sensitivity.shape[0], : sensitivity.shape[1]]
    dtype = np.uint16 if gain is None else np.float32
    halves = [camnorm.PixelMoments(sensitivity.shape, dtype) for _ in "AB"]
    for number in range(movies):
        specimen = 1 + 0.2 * np.sin(x / 20 + rng.uniform(0, 6)) * np.cos(y / 15 + rng.uniform(0, 6))
        frames = rng.poisson(dose * sensitivity * specimen, (10, *sensitivity.shape))
        halves[number % 2].add((frames if gain is None else frames * gain).astype(dtype))
    return camnorm.Sensor.from_moments(*halves)


def inverse(image: np.ndarray) -> np.ndarray:
    return np.divide(1, image, where=image > 0, out=np.zeros(image.shape))


def write(path: Path, image: np.ndarray) -> Path:
    return write_mrc(path, image[None].astype("f4"))


def turned(image: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    image = np.rot90(image, turns)
    return image[::-1] if flip else image


def lies(found: camnorm.GainCheck, image: np.ndarray) -> np.ndarray:
    """An image as the answer says that the gain lies."""
    assert found.rotation is not None
    image = np.rot90(image, found.rotation // 90)
    return {None: image, "y": image[::-1], "x": image[:, ::-1]}[found.flip]


def check_all(folder: Path, seed: int) -> Iterator[tuple[float, float, float]]:
    """All orientations, operations and sizes of the gain of one camera."""
    sensitivity = camera(seed)
    sensor = sensor_of(sensitivity, seed)
    gain = inverse(sensitivity)
    place = np.arange(6).reshape(2, 3)
    for (turns, flip), operation, size in itertools.product(ORIENTATIONS, ("multiply", "divide"), (1, 2)):
        image = gain if operation == "multiply" else 1000 * sensitivity
        image = turned(image.repeat(size, 0).repeat(size, 1), turns, flip)
        found = camnorm.check_gain(write(folder / "g.mrc", image), sensor)
        assert np.array_equal(lies(found, place), turned(place, turns, flip))
        assert (found.operation, found.scale, found.applied) == (operation, size, 0)
        assert found.best == ((turns, flip, operation, size) == (0, False, "multiply", 1))
        assert found.fixed is not None
        good = gain > 0
        assert np.array_equal(found.fixed > 0, good)
        factors = found.fixed[good] / gain[good]
        assert factors.std() < 1e-5 * factors.mean()
        yield found.match, found.z, found.explained


def test_orientation_operation_and_size(tmp_path: Path) -> None:
    for match, z, explained in check_all(tmp_path, 0):
        assert match > 0.95
        assert z > 40
        assert explained > 0.95


@pytest.mark.slow
def test_twenty_sensors(tmp_path: Path) -> None:
    found = np.array([values for seed in range(20) for values in check_all(tmp_path, seed)])
    print(f"{len(found)} gains, all found; smallest match, z, explained: {found.min(0)}")
    for seed in range(20):
        sensor = sensor_of(camera(seed), seed)
        for other in range(3):
            foreign = camnorm.check_gain(write(tmp_path / "o.mrc", inverse(camera(100 + other))), sensor)
            assert not foreign.fits


def test_a_gain_of_another_camera(tmp_path: Path) -> None:
    sensitivity = camera(1)
    sensor = sensor_of(sensitivity)
    other = camera(2)
    other *= np.median(sensitivity, 0)  # the same columns: of the same kind
    found = camnorm.check_gain(write(tmp_path / "g.mrc", inverse(other)), sensor)
    assert (found.fits, found.best, found.rotation, found.operation, found.fixed) == (
        False,
        False,
        None,
        None,
        None,
    )
    assert found.explained == 0
    assert found.sentence.startswith(
        "The gain does not fit in any orientation (correlation of the patterns 0.0"
    )
    found = camnorm.check_gain(write(tmp_path / "g.mrc", np.ones((50, 60))), sensor)
    assert (found.scale, found.fits) == (None, False)
    assert found.sentence == (
        "The gain is of another camera: it has 60 x 50 pixels for frames of 120 x 96 (x, y)."
    )
    with pytest.raises(Error, match="no gain, all of its pixels are 0, negative or not finite"):
        camnorm.check_gain(write(tmp_path / "g.mrc", np.zeros(SHAPE)), sensor)


def test_gains_that_were_applied(tmp_path: Path) -> None:
    sensitivity = camera()
    gain = inverse(sensitivity)
    for path, operation in (
        (write(tmp_path / "g.mrc", gain), "multiply"),
        (write(tmp_path / "s.mrc", 500 * sensitivity), "divide"),
        (write(tmp_path / "t.mrc", turned(gain, 1, True)), "multiply"),
    ):
        once = camnorm.check_gain(path, sensor_of(sensitivity, gain=gain))
        assert (once.applied, once.operation, once.best) == (1, operation, False)
        assert once.sentence == "The movies were corrected by this gain already: use them without a gain."
        twice = camnorm.check_gain(path, sensor_of(sensitivity, gain=gain**2))
        assert (twice.applied, twice.operation, twice.best) == (2, operation, False)
        assert twice.sentence == "The movies were corrected by this gain twice: go back to the raw movies."
    # Rotated as the gain was when it was applied.
    assert np.array_equal(lies(once, np.arange(6).reshape(2, 3)), turned(np.arange(6).reshape(2, 3), 1, True))


def dust(shape: tuple[int, int], *spots: tuple[int, int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.ones(shape)
    for cx, cy, radius in spots:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] *= 0.8
    return image


def test_stale_dust(tmp_path: Path) -> None:
    sensitivity = camera(shape=(200, 240))
    stays, came, went = (60, 150, 4), (170, 40, 5), (90, 60, 3)
    sensor = sensor_of(sensitivity * dust(sensitivity.shape, stays, came))
    gain = inverse(sensitivity * dust(sensitivity.shape, stays, went))
    found = camnorm.check_gain(write(tmp_path / "g.mrc", gain), sensor)
    assert found.best
    assert "but is stale in 2 places" in found.sentence
    spots = sorted(found.stale, key=lambda spot: spot.change)
    for spot, (x, y, radius), change in zip(spots, (came, went), (-0.2, 0.25), strict=True):
        assert (spot.x, spot.y) == (pytest.approx(x, abs=1), pytest.approx(y, abs=1))
        assert spot.size == pytest.approx(2 * radius, abs=2.5)
        assert spot.change == pytest.approx(change, rel=0.35)
    clean = camnorm.check_gain(write(tmp_path / "h.mrc", inverse(sensitivity)), sensor_of(sensitivity))
    assert clean.stale == ()


@pytest.mark.slow
def test_no_dust_where_there_is_none(tmp_path: Path) -> None:
    alarms = 0
    for seed in range(40):
        sensitivity = camera(seed, (200, 240))
        path = write(tmp_path / "g.mrc", inverse(sensitivity))
        alarms += len(camnorm.check_gain(path, sensor_of(sensitivity, seed, movies=20)).stale)
    assert alarms <= 1


def test_what_a_gain_leaves(tmp_path: Path) -> None:
    """A noisy gain leaves its noise; numbers against plain NumPy."""
    rng = np.random.default_rng(5)
    shape = (200, 240)
    sensitivity = rng.normal(1, 0.05, shape)
    sensor = sensor_of(sensitivity, movies=40, dose=20)
    noise = rng.normal(1, 0.03, shape)
    found = camnorm.check_gain(write(tmp_path / "g.mrc", inverse(sensitivity) * noise), sensor)
    assert found.best
    assert found.pattern == pytest.approx(0.05, rel=0.05)
    assert found.residual == pytest.approx(0.03, rel=0.05)
    assert found.explained == pytest.approx(1 - (0.03 / 0.05) ** 2, abs=0.05)
    assert found.match == pytest.approx(0.05 / np.hypot(0.05, 0.03), abs=0.03)
    # 20 electrons a frame: V / (V + 1/20) in single frames.
    for costs, spread in ((found.derating_before, 0.05), (found.derating_after, 0.03)):
        assert costs[0] == pytest.approx(spread**2 / (spread**2 + 1 / 20), rel=0.1)
        assert costs[1] == pytest.approx(12 * spread**2 / (12 * spread**2 + 1 / 20), rel=0.1)
    assert found.frc_before > found.frc_after > 0.5


def test_defects(tmp_path: Path) -> None:
    sensitivity = camera()
    new = sensitivity.copy()
    new[20, 50] = new[60, 80] = 0
    sensor = sensor_of(new)
    found = camnorm.check_gain(write(tmp_path / "g.mrc", inverse(sensitivity)), sensor)
    assert sorted(found.unknown_defects) == [(50, 20), (80, 60)]
    assert found.defects == np.count_nonzero(sensitivity == 0)
    # A Falcon's gain names its defects beside the image, which need not be 0 there.
    rows, columns = np.nonzero(sensitivity == 0)
    points = "".join(f"<point>{x},{y}</point>" for x, y in zip(columns, rows, strict=True) if x != 33)
    text = f"<defects><col>33</col>{points}<area>50,20,50,20</area><point>2301,211/8</point></defects>"
    path = tmp_path / "falcon.gain"
    image = np.where(sensitivity > 0, inverse(sensitivity), 1).astype("f4")
    tifffile.imwrite(path, image, extratags=[(65100, 2, len(text) + 1, text, True)], metadata=None)
    found = camnorm.check_gain(path, sensor)
    assert found.unknown_defects == [(80, 60)]
    assert found.best


def test_lists_of_falcon(tmp_path: Path) -> None:
    text = (
        "<defects><row>1,4-5</row><col>7</col><area>10,8,12,9</area><nonmaskingpoint>2,3</nonmaskingpoint>"
        "<point>3,3</point><point>99,99</point><point>2301,211/8</point><point>x</point><other>1,1</other></defects>"
    )
    expected = np.zeros((12, 16), bool)
    expected[[1, 4, 5]] = expected[:, 7] = expected[8:10, 10:13] = expected[3, 2:4] = True
    for kind in (2, 7):
        path = tmp_path / f"{kind}.gain"
        data: Any = text if kind == 2 else text.encode()
        tifffile.imwrite(
            path, np.ones((12, 16), "f4"), extratags=[(65100, kind, len(text), data, True)], metadata=None
        )
        found = falcon_defects(path)
        assert found is not None
        assert np.array_equal(found, expected)
    for damaged in ("<defects><row>", "", "<!DOCTYPE x [<!ENTITY a 'b'>]><defects>&a;</defects>"):
        tifffile.imwrite(
            path,
            np.ones((12, 16), "f4"),
            extratags=[(65100, 2, len(damaged) + 1, damaged, True)],
            metadata=None,
        )
        assert falcon_defects(path) is None
    assert falcon_defects(write(tmp_path / "g.mrc", np.ones((12, 16)))) is None
    assert falcon_defects(write_tiff(tmp_path / "g.tif", np.ones((1, 12, 16), "f4"))) is None


def test_kinds_of_files(tmp_path: Path) -> None:
    sensitivity = camera()
    sensor = sensor_of(sensitivity)
    gain = inverse(sensitivity).astype("f4")
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["gain"] = gain
    paths = [
        write(tmp_path / "g.mrc", gain),
        write_npy(tmp_path / "g.npy", gain),
        write_tiff(tmp_path / "g.tif", gain[None]),
        tmp_path / "g.h5",
    ]
    for path in paths:
        assert camnorm.check_gain(path, sensor).best


@pytest.mark.parametrize("kind", ["mrc", "tif"])
@pytest.mark.parametrize("of_gain", ["mrc", "tif"])
def test_rows_of_movies_and_gain(tmp_path: Path, kind: str, of_gain: str) -> None:
    """As in RELION, a gain in MRC is for TIFF movies that were turned upside down; so is the fixed gain."""
    sensitivity = camera()
    write_movie = {"mrc": write_mrc, "tif": write_tiff}[kind]
    rng = np.random.default_rng(1)
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(20):
        write_movie(folder / f"m{number}.{kind}", rng.poisson(3 * sensitivity, (10, *SHAPE)).astype("u1"))
    sensor = camnorm.measure(folder, tmp_path / "s.h5")
    gain = inverse(sensitivity).astype("f4")
    right = gain if kind == of_gain else gain[::-1]
    for turns, flip in ORIENTATIONS:
        image = turned(right, turns, flip)
        write_gain = {"mrc": write_mrc, "tif": write_tiff}[of_gain]
        path = write_gain(tmp_path / f"g.{of_gain}", image[None])
        found = camnorm.check_gain(path, sensor)
        assert found.best == (turns == 0 and not flip)
        # The flags of RELION are those that camnorm takes, too: it applies them as RELION does.
        words = found.flags["relion"].split()
        options = ReadOptions(gain=path, gain_rotate=int(words[1]), gain_flip=int(words[3]))  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rows that are turned upside down
            with camnorm.open_frames(folder / f"m0.{kind}", options) as source:
                frame = source.read(0)[0]
        with camnorm.open_frames(folder / f"m0.{kind}") as source:
            raw = source.read(0)[0]
        good = gain > 0
        np.testing.assert_allclose(frame[good], (raw * gain)[good], rtol=1e-5)
        # cryoSPARC: flips of the file's rows, then quarter turns counter-clockwise.
        words = found.flags["cryosparc"].replace(",", "").split()
        x, y, quarter = words[3] == "on", words[7] == "on", int(words[9])
        held = image[::-1] if y else image
        held = np.rot90(held[:, ::-1] if x else held, quarter)
        assert np.array_equal(held, gain)


def test_like(tmp_path: Path) -> None:
    """A movie of super-resolution, for which a gain of twice the sensor's size is right."""
    sensitivity = camera()
    sensor = sensor_of(sensitivity)
    fine = inverse(sensitivity).repeat(2, 0).repeat(2, 1)
    movie = write_mrc(tmp_path / "m.mrc", np.ones((2, *fine.shape), np.uint8))
    path = write(tmp_path / "g.mrc", fine)
    assert (camnorm.check_gain(path, sensor).best, camnorm.check_gain(path, sensor).scale) == (False, 2)
    found = camnorm.check_gain(path, sensor, movie)
    assert (found.best, found.scale) == (True, 1)


def test_eer(tmp_path: Path) -> None:
    """RELION divides EER frames by a gain that is not .gain: mean counts fit, and are what is written."""
    sensitivity = camera()
    sensor = sensor_of(sensitivity)
    sensor.provenance["files"] = np.array([("m.eer", 0, 0.0)], FILE_DTYPE)
    counts = write(tmp_path / "counts.mrc", 1000 * sensitivity)
    found = camnorm.check_gain(counts, sensor)
    assert (found.best, found.operation) == (True, "divide")
    assert found.flags["relion"] == "--gain_rot 0 --gain_flip 0"
    assert found.flags["motioncor"] == "-RotGain 0 -FlipGain 0 -InvGain 1"
    image = for_file(found, sensor)
    good = sensitivity > 0
    np.testing.assert_allclose(
        image[good] / image[good].mean(), sensitivity[good] / sensitivity[good].mean(), rtol=1e-5
    )
    assert not image[~good].any()
    factors = write(tmp_path / "factors.gain", inverse(sensitivity))
    found = camnorm.check_gain(factors, sensor)
    assert (found.best, found.operation) == (True, "multiply")
    found = camnorm.check_gain(write(tmp_path / "factors.mrc", inverse(sensitivity)), sensor)
    assert (found.best, found.operation) == (False, "multiply")
    assert found.sentence.endswith("if it were inverted.")


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sensitivity = camera()
    sensor_of(sensitivity).save("s.h5")
    gain = inverse(sensitivity)
    write(tmp_path / "right.mrc", gain)
    write(tmp_path / "wrong.mrc", turned(gain, 1, True))
    write(tmp_path / "other.mrc", inverse(camera(9)))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["camnorm", "gain", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), *capsys.readouterr()

    status, out, _ = run("right.mrc", "s.h5")
    assert status == 0
    assert out.startswith("answer          The gain fits as it is: it takes away ")
    assert "RELION          --gain_rot 0 --gain_flip 0\n" in out
    assert "MotionCor3      -RotGain 0 -FlipGain 0 -InvGain 0\n" in out
    assert "cryoSPARC       flip in X: off, flip in Y: off, rotate: 0\n" in out
    status, out, _ = run("wrong.mrc", "s.h5", "-o", "fixed.mrc", "--plot", "gain.png", "--json")
    assert status == 3
    found = json.loads(out)
    assert (found["best"], found["operation"], found["scale"]) == (False, "multiply", 1)
    assert set(found["orientation"]) == {"rotation", "flip"}
    assert found["explained"] > 0.9
    assert (tmp_path / "gain.png").stat().st_size > 10_000
    np.testing.assert_allclose(mrcfile.read("fixed.mrc"), gain, rtol=1e-5)
    assert run("fixed.mrc", "s.h5")[0] == 0
    status, out, err = run("wrong.mrc", "s.h5", "-o", "fixed.mrc")
    assert (status, err) == (1, "camnorm: error: fixed.mrc: already exists; use --overwrite to replace it\n")
    assert run("other.mrc", "s.h5", "--json")[0] == 3
    status, out, err = run("other.mrc", "s.h5", "-o", "new.mrc")
    assert status == 1
    assert err.startswith("camnorm: error: new.mrc: not written: The gain does not fit in any orientation")
    assert run("right.mrc", "s.h5", "-o", "fixed.tif")[0] == 2
