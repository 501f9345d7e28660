"""Gain references and defects, against plain NumPy."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

import camnorm
from camnorm.apriori.defects import read_defects
from camnorm.errors import Error
from camnorm.io import ReadOptions, open_frames
from image_sets import frames_of, write_mrc, write_npy, write_tiff

SHAPE = (24, 32)


def gain_of(shape: tuple[int, int] = SHAPE, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.8, 1.25, shape).astype(np.float32)


def write_image(path: Path, image: np.ndarray) -> Path:
    return write_mrc(path, image[np.newaxis])


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_frames_are_multiplied(tmp_path: Path, dtype: str) -> None:
    frames = frames_of(5, SHAPE, dtype)
    gain = gain_of()
    path = write_mrc(tmp_path / "a.mrc", frames)
    options = ReadOptions(gain=write_image(tmp_path / "gain.mrc", gain))
    with open_frames(path, options) as source:
        assert (source.dtype, source.shape, source.count) == (np.float32, SHAPE, 5)
        assert source.format == "MRC"
        assert source.metadata["pixel_size"] == pytest.approx(1.5)
        assert source.offsets is None
        assert source.origin.dtype == frames.dtype
        product = frames.astype(np.float64) * gain.astype(np.float64)
        np.testing.assert_allclose(source.read(0, 5), product, rtol=2**-23)
        np.testing.assert_array_equal(source.view(3)[0], source.read(0, 5)[3])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_products_beyond_float32_are_infinite(tmp_path: Path, dtype: str) -> None:
    frames = frames_of(3, SHAPE, dtype)
    frames[1, 2, 3], frames[2, 4, 5] = 3e38, -3.4e38
    gain = np.full(SHAPE, 1.2, np.float32)
    options = ReadOptions(gain=write_image(tmp_path / "gain.mrc", gain))
    path = write_npy(tmp_path / "a.npy", frames)
    with open_frames(path, options) as source:
        values = source.read(0, 3)
    assert values[1, 2, 3] == np.inf
    assert values[2, 4, 5] == -np.inf
    assert np.isfinite(values).sum() == values.size - 2
    sensor = camnorm.measure(path, options=options, screen="off")
    assert sensor.frames["reason"].tolist() == ["", *2 * ["NaN or infinite pixels"]]


@pytest.mark.parametrize("write", [write_mrc, write_tiff, write_npy])
@pytest.mark.parametrize("form", ["mrc", "tif", "gain"])
def test_rows_are_turned_between_mrc_and_tiff(tmp_path: Path, write: object, form: str) -> None:
    frames = frames_of(2, SHAPE, "u2")
    suffix = {write_mrc: ".mrc", write_tiff: ".tif", write_npy: ".npy"}[write]  # type: ignore[index]
    path = write(tmp_path / f"a{suffix}", frames)  # type: ignore[operator]
    gain = gain_of()
    if form == "mrc":
        file = write_image(tmp_path / "g.mrc", gain)
    else:  # of Falcon cameras: a TIFF
        file = write_tiff(tmp_path / f"g.{form}", gain[np.newaxis])
    turned = {suffix, f".{form}".replace("gain", "tif")} == {".mrc", ".tif"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_frames(path, ReadOptions(gain=file)) as source:
            values = source.read(0, 2)
    assert [str(w.message) for w in caught] == (
        [f"{file}: turned upside down, as other programs do for {source.format} frames"] if turned else []
    )
    np.testing.assert_allclose(values, frames * (gain[::-1] if turned else gain).astype(float), rtol=2**-23)


def test_pixels_without_gain_are_filled(tmp_path: Path) -> None:
    frames = frames_of(2, SHAPE, "u2")
    gain = gain_of()
    gain[5, 6], gain[9, 20], gain[0, 0] = 0, np.nan, -1
    path = write_mrc(tmp_path / "a.mrc", frames)
    with open_frames(path, ReadOptions(gain=write_image(tmp_path / "g.mrc", gain))) as source:
        values = source.read(0, 2)
    product = frames * gain.astype(np.float64)
    for y, x in ((5, 6), (9, 20)):
        around = product[:, y - 1 : y + 2, x - 1 : x + 2].reshape(2, 9)
        np.testing.assert_allclose(values[:, y, x], np.delete(around, 4, 1).mean(1), rtol=1e-6)
    corner = (product[:, 0, 1] + product[:, 1, 0] + product[:, 1, 1]) / 3
    np.testing.assert_allclose(values[:, 0, 0], corner, rtol=1e-6)


@pytest.mark.parametrize("frames_format", ["MRC", "TIFF", "NPY"])
def test_rectangles(tmp_path: Path, frames_format: str) -> None:
    path = tmp_path / "defects.txt"
    path.write_text("3 2 1 5\n\n0 20 32 1\n")
    expected = np.zeros(SHAPE, bool)
    expected[2:7, 3] = True
    expected[20] = True
    if frames_format == "TIFF":
        expected = expected[::-1]
    np.testing.assert_array_equal(read_defects(path, frames_format, SHAPE), expected)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("frames_format", ["MRC", "TIFF"])
def test_defects_of_serial_em(tmp_path: Path, frames_format: str, scale: int) -> None:
    path = tmp_path / "defects.txt"
    path.write_text(
        "CameraSizeX 32\nCameraSizeY 24\nFrameType K3\nBadColumns 4 30\nBadRows 0\n"
        "BadPixels 7 3 8 4\nPartialBadColumn 10 2 5 9\nPartialBadRow 12 1 14 20\n"
    )
    expected = np.zeros(SHAPE, bool)
    expected[:, [4, 30]] = True
    expected[0] = True
    expected[3, 7] = expected[4, 8] = True
    expected[5:10, 10:12] = True
    expected[12, 14:21] = True
    expected = np.kron(expected, np.ones((scale, scale), bool))
    if frames_format == "MRC":
        expected = expected[::-1]
    shape = (scale * SHAPE[0], scale * SHAPE[1])
    np.testing.assert_array_equal(read_defects(path, frames_format, shape), expected)


def test_defect_map(tmp_path: Path) -> None:
    bad = np.zeros(SHAPE, np.uint8)
    bad[3, 4], bad[10:12, 20] = 1, 255
    path = write_tiff(tmp_path / "map.tif", bad[np.newaxis])
    np.testing.assert_array_equal(read_defects(path, "TIFF", SHAPE), bad != 0)
    np.testing.assert_array_equal(read_defects(path, "MRC", SHAPE), bad[::-1] != 0)
    frames = frames_of(1, SHAPE, "u2")
    with open_frames(write_tiff(tmp_path / "a.tif", frames), ReadOptions(defects=path)) as source:
        values = source.read(0)[0]
    np.testing.assert_array_equal(values[bad == 0], frames[0][bad == 0])
    around = frames[0, 2:5, 3:6].ravel().astype(float)
    assert values[3, 4] == pytest.approx(np.delete(around, 4).mean())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", r"'1 2 3' is no defect: x y width height are wanted"),
        ("1 2 3 x\n", r"'1 2 3 x' is no defect"),
        ("30 0 3 1\n", r"the defect 30 0 3 1 is not within frames of \(24, 32\)"),
        ("-1 0 3 1\n", r"the defect -1 0 3 1 is not within"),
        (
            "CameraSizeX 99\nCameraSizeY 24\n",
            r"defects of a camera of 24 x 99 pixels for frames of \(24, 32\)",
        ),
        ("CameraSizeX 32\nBadRows a\n", r"BadRows with 'a', numbers are wanted"),
        ("BadPixels 1 2 3\n", r"BadPixels with '1 2 3'"),
        ("PartialBadRow 1 2 3\n", r"PartialBadRow with '1 2 3'"),
        ("CameraSizeX\n", r"CameraSizeX with ''"),
    ],
)
def test_defects_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "defects.txt"
    path.write_text(text)
    with pytest.raises(Error, match=message):
        read_defects(path, "MRC", SHAPE)


def test_what_does_not_fit(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", frames_of(1, SHAPE, "u2"))
    for shape, hint in (
        ((32, 24), "it would fit if it were rotated, use gain_rotate=1 or gain_rotate=3"),
        ((8, 32 // 3 + 1), r"frames of \(24, 32\) in .*a\.mrc$"),
        ((72, 96), "one of them is binned by 3 against the other, and only 2 and 4 can be used"),
        ((24, 31), r"frames of \(24, 32\) in .*a\.mrc$"),
    ):
        gain = write_image(tmp_path / f"g{shape[1]}.mrc", gain_of(shape))
        with pytest.raises(Error, match=hint):
            open_frames(path, ReadOptions(gain=gain))
    zero = write_image(tmp_path / "zero.mrc", np.zeros(SHAPE, np.float32))
    with pytest.raises(Error, match="no gain, all of its pixels are 0, negative or not finite"):
        open_frames(path, ReadOptions(gain=zero))
    small = write_tiff(tmp_path / "small.tif", np.ones((1, 5, 5), np.uint8))
    with pytest.raises(Error, match=r"a defect map of shape \(5, 5\) for frames of \(24, 32\)"):
        open_frames(path, ReadOptions(defects=small))
    for name, what in (("gain", "gain reference"), ("defects", "defect file")):
        with pytest.raises(
            Error, match=rf"none\.mrc: No such file or directory; {name}=FILE names another {what}$"
        ):
            open_frames(path, ReadOptions(**{name: tmp_path / "none.mrc"}))
    colour = write_npy(tmp_path / "c.npy", np.ones((4, 24, 32, 3), np.uint8))
    with pytest.raises(Error, match="where \\(y, x\\) is wanted"):
        open_frames(path, ReadOptions(gain=colour))
    rectangles = tmp_path / "d.txt"
    rectangles.write_text("0 0 1 1\n")
    with pytest.raises(Error, match=r"defects of frames of shape \(24, 32, 3\) cannot be told"):
        open_frames(colour, ReadOptions(defects=rectangles))


def test_gain_of_tiff_is_independent_of_compression(tmp_path: Path) -> None:
    gain = gain_of()
    tifffile.imwrite(tmp_path / "g.tif", gain, compression="zlib")
    frames = frames_of(1, SHAPE, "u1")
    path = write_tiff(tmp_path / "a.tif", frames, "lzw")
    with open_frames(path, ReadOptions(gain=tmp_path / "g.tif")) as source:
        np.testing.assert_allclose(source.read(0), frames * gain.astype(float), rtol=2**-23)
