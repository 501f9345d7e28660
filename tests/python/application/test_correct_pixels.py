"""Bad pixels of a map in corrected files."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm

BAD = ((3, 4), (20, 30))


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movies")
    rng = np.random.default_rng(1)
    for number in range(6):
        frames = rng.normal(500, 20, (10, 32, 40))
        for y, x in BAD:
            frames[:, y, x] += 200
        with mrcfile.new(folder / f"movie_{number}.mrc") as file:
            file.set_data(np.rint(frames).astype(np.uint16))
            file.set_image_stack()
    return folder


@pytest.fixture(scope="module")
def sensor(movies: Path) -> camnorm.Sensor:
    return camnorm.measure(movies)


def a_map(shape: tuple[int, int] = (32, 40), order: str | None = "bottom") -> camnorm.PixelMap:
    mask = np.zeros(shape, np.bool_)
    for y, x in BAD:
        mask[y, x] = True
    return camnorm.PixelMap.from_mask(mask, order)


def first_frame(path: Path) -> np.ndarray:
    with mrcfile.open(path) as file:
        return file.data[0].copy()


@pytest.mark.parametrize("policy", ["neutral", "interpolate", "nan"])
@pytest.mark.parametrize("mode", ["both", "mean", "gain"])
def test_the_policy_applies_to_the_map(
    movies: Path, sensor: camnorm.Sensor, tmp_path: Path, policy: str, mode: str
) -> None:
    pixels, plain = a_map(), sensor.correction(mode=mode)
    written = camnorm.correct(movies, sensor, tmp_path, mode=mode, bad_policy=policy, pixels=pixels)
    raw, found = first_frame(movies / "movie_0.mrc"), first_frame(written[0])
    good = ~pixels.bad
    level, spread = sensor.mean[good].mean(), sensor.sigma[good].mean()
    if mode == "both":
        expected = (raw - sensor.mean) / sensor.sigma * spread + level
    elif mode == "mean":
        expected = raw - sensor.mean + level
    else:
        expected = raw * (level / sensor.mean)
    assert np.allclose(found[good], expected[good], rtol=1e-6)
    assert abs(plain.target_mean - level) > 0.1  # pixels that are hot would have raised it
    for y, x in BAD:
        around = np.delete(expected[y - 1 : y + 2, x - 1 : x + 2].reshape(-1), 4)
        wanted = {"neutral": level, "nan": np.nan, "interpolate": around.mean()}[policy]
        assert np.allclose(found[y, x], wanted, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", ["a.h5", "a.mrc", "a.tif", "a.txt", "a.csv"])
def test_files_of_maps_are_taken(movies: Path, sensor: camnorm.Sensor, tmp_path: Path, name: str) -> None:
    assert sensor.row_order == "bottom"
    a_map().save(tmp_path / name)
    correction = sensor.correction(pixels=tmp_path / name)
    assert np.array_equal(correction.bad, a_map().bad)


def test_the_map_is_turned_to_the_row_order_of_the_sensor(sensor: camnorm.Sensor) -> None:
    upside_down = a_map().flipped()
    assert upside_down.row_order == "top"
    assert np.array_equal(sensor.correction(pixels=upside_down).bad, a_map().bad)


def test_frames_that_are_left_out_have_the_map_too(
    movies: Path, sensor: camnorm.Sensor, tmp_path: Path
) -> None:
    written = camnorm.correct(movies, sensor, tmp_path, leave_out=True, bad_policy="nan", pixels=a_map())
    for path in written:
        assert np.array_equal(np.isnan(first_frame(path)), a_map().bad)


def test_virtual_files_have_the_map_too(movies: Path, sensor: camnorm.Sensor, tmp_path: Path) -> None:
    written = camnorm.correct(movies, sensor, tmp_path, virtual=True, bad_policy="nan", pixels=a_map())
    with camnorm.open_frames(written[0]) as source:
        assert np.array_equal(np.isnan(source.read(0)[0]), a_map().bad)


def test_colour_frames_have_it_in_all_planes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for number in range(8):
        frame = rng.normal(120, 10, (16, 20, 3)).astype(np.uint8)
        tifffile.imwrite(tmp_path / f"{number}.tif", frame, photometric="rgb")
    sensor = camnorm.measure(tmp_path)
    mask = np.zeros((16, 20), np.bool_)
    mask[5, 6] = True
    correction = sensor.correction(pixels=camnorm.PixelMap.from_mask(mask))
    assert np.array_equal(correction.bad, np.repeat(mask[..., None], 3, 2))
    assert np.allclose(correction.target_mean, sensor.mean[~mask].mean(0))


def test_maps_of_other_frames_are_refused(movies: Path, sensor: camnorm.Sensor, tmp_path: Path) -> None:
    turned = camnorm.PixelMap.from_mask(np.zeros((40, 32)))
    with pytest.raises(camnorm.Error, match=r"shape \(40, 32\), these have \(32, 40\): it is"):
        camnorm.correct(movies, sensor, tmp_path / "out", pixels=turned)
    assert not (tmp_path / "out").exists()
    with pytest.raises(camnorm.Error, match="the pixel map marks all pixels"):
        sensor.correction(pixels=camnorm.PixelMap.from_mask(np.ones((32, 40))))
    with pytest.raises(TypeError, match="pixels must be a PixelMap or a path, not ndarray: make one with"):
        sensor.correction(pixels=np.zeros((32, 40)))  # type: ignore[arg-type]


def test_the_map_is_never_replaced(movies: Path, sensor: camnorm.Sensor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    a_map().save(out / "movie_0.mrc")
    with pytest.raises(camnorm.Error, match="is an input, and inputs are never replaced"):
        camnorm.correct(movies, sensor, out, pixels=out / "movie_0.mrc", overwrite=True)
