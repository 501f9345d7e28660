"""Pixel maps: what they hold, and the files that they are written to and read from."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import camnorm
from camnorm import PixelMap
from camnorm.sensor.pixelclasses import CLASSES, CODES, NEIGHBOURS, Bit, Cluster, Line, PixelRows, code_of
from camnorm.sensor.rectangles import rectangles


def error_of(kind: type[Exception], function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    return str(caught.value)


masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def full_map() -> PixelMap:
    """A map with a pixel of each class, a line and clusters, top row first."""
    flags = np.zeros((20, 30), np.uint32)
    code = np.zeros(flags.shape, np.uint8)
    for number, name in enumerate(CLASSES):
        code[2, 3 * number] = code_of(name)
        flags[2, 3 * number] = Bit.OF_CLASS[name]
    code[5:15, 7] = code_of("cold")
    flags[5:15, 7] = Bit.UNDER | Bit.CLUSTER
    code[18, 4:6] = code_of("hot")
    flags[18, 4:6] = Bit.OVER | Bit.CLUSTER
    place = np.flatnonzero(code).astype(np.int64)
    kinds = np.zeros(place.size, np.uint8)
    kinds[code.reshape(-1)[place] == code_of("interpolated")] = NEIGHBOURS.index("left-right")
    kinds[code.reshape(-1)[place] == code_of("copied")] = NEIGHBOURS.index("up")
    value = np.linspace(-9, 9, place.size).astype(np.float32)
    rows = PixelRows(place, code.reshape(-1)[place], value, np.full(place.size, 6, np.float32), kinds)
    lines = [Line("cold", "column", False, 7, 5, 1, 10)]
    return PixelMap(flags, rows, lines, [Cluster("double", "hot", 2, 4, 18, 2, 1)], "top", 200)


def test_the_summary_counts_pixels_lines_and_clusters() -> None:
    pixels = full_map()
    assert pixels.flagged == 9 + 10 + 2 == np.count_nonzero(pixels.bad)
    assert pixels.counts == {**dict.fromkeys(CLASSES, 1), "cold": 11, "hot": 3}
    assert pixels.summary["lines"] == {"full": 0, "partial": 1}
    assert pixels.summary["clusters"] == {"single": 9, "double": 1, "triple": 0, "larger": 0, "region": 0}
    assert repr(pixels).startswith("<PixelMap of (20, 30): 21 bad pixels (1 constant, 1 dead, 3 hot")


def test_the_table_has_a_row_for_each_bad_pixel() -> None:
    pixels = full_map()
    table = pixels.table()
    assert np.array_equal(np.argwhere(pixels.bad), np.stack([table["y"], table["x"]], 1))
    assert table["class"][:3].tolist() == ["constant", "dead", "hot"]
    assert set(table["neighbours"].tolist()) == {"", "left-right", "up"}
    reasons = dict(zip(table["class"].tolist(), pixels.reasons(), strict=True))
    assert reasons["constant"] == "all 200 frames have the same value"
    assert reasons["interpolated"].startswith("made from its neighbours left-right (q ")
    assert reasons["copied"].startswith("copy of its neighbour up (q ")


def test_json_has_the_pixels_made_from_neighbours() -> None:
    numbers = full_map().to_dict()
    assert {"counts", "interpolated", "lines", "clusters", "flagged", "shape"} <= set(numbers)
    assert numbers["interpolated"] == [
        {"x": 18, "y": 2, "class": "interpolated", "neighbours": "left-right"},
        {"x": 21, "y": 2, "class": "copied", "neighbours": "up"},
    ]
    assert numbers["lines"] == [
        {"class": "cold", "direction": "column", "full": False, "x": 7, "y": 5, "width": 1, "height": 10}
    ]


def test_flipping_a_map_twice_gives_it_back() -> None:
    pixels = full_map()
    once = pixels.flipped()
    assert once.row_order == "bottom"
    assert np.array_equal(once.bad, pixels.bad[::-1])
    assert once.table()["neighbours"][once.table()["class"] == "copied"] == ["down"]
    assert once.lines[0].y == 5
    again = once.flipped()
    assert np.array_equal(again.table(), pixels.table())
    assert (again.lines, again.clusters, again.row_order) == (pixels.lines, pixels.clusters, "top")


@given(masks)
@settings(max_examples=50, deadline=None)
def test_rectangles_cover_the_bad_pixels_and_no_other(mask: np.ndarray) -> None:
    covered = np.zeros(mask.shape, np.int64)
    for x, y, width, height in rectangles(mask):
        assert width > 0 < height
        covered[y : y + height, x : x + width] += 1
    assert np.array_equal(covered, mask)


def test_lines_are_one_rectangle_each_even_where_they_cross(tmp_path: Path) -> None:
    mask = np.zeros((40, 50), np.bool_)
    mask[:, 11] = mask[23, :] = True
    pixels = PixelMap.from_mask(mask)
    rows = pixels.rows
    lines = [Line("user", "column", True, 11, 0, 1, 40), Line("user", "row", True, 0, 23, 50, 1)]
    PixelMap(pixels.flags, rows, lines).save(tmp_path / "defects.txt")
    assert (tmp_path / "defects.txt").read_text() == "11 0 1 40\n0 23 50 1\n"


def test_hdf5_keeps_everything(tmp_path: Path) -> None:
    pixels = full_map()
    pixels.save(tmp_path / "pixels.h5")
    read = PixelMap.load(tmp_path / "pixels.h5")
    assert np.array_equal(read.flags, pixels.flags)
    assert np.array_equal(read.table(), pixels.table())
    assert (read.lines, read.clusters) == (pixels.lines, pixels.clusters)
    assert (read.row_order, read.frames) == ("top", 200)


def test_hdf5_can_be_read_without_camnorm(tmp_path: Path) -> None:
    pixels = full_map()
    pixels.save(tmp_path / "pixels.h5")
    with h5py.File(tmp_path / "pixels.h5") as file:
        assert file.attrs["format"] == "camnorm pixels"
        assert file.attrs["row_order"] == "top"
        assert np.array_equal(file["pixel_mask"][()], pixels.flags)
        assert file["pixels/class"][0] == b"constant"
        assert np.array_equal(file["pixels/x"][()], pixels.table()["x"])
        assert file["lines/height"][()].tolist() == [10]
        assert file["clusters/kind"][()].tolist() == [b"double"]


@pytest.mark.parametrize("order", [None, "bottom", "top"])
def test_images_and_rectangles_are_those_of_other_programs(tmp_path: Path, order: str | None) -> None:
    mask = np.zeros((6, 9), np.bool_)
    mask[1, 2:5] = mask[4, 8] = True
    pixels = PixelMap.from_mask(mask, order)
    for name in ("pixels.mrc", "pixels.tif", "pixels.txt"):
        pixels.save(tmp_path / name)
    with mrcfile.open(tmp_path / "pixels.mrc") as file:
        assert file.data.dtype == np.int8
        assert np.array_equal(file.data != 0, mask[::-1] if order == "top" else mask)
    assert np.array_equal(
        tifffile.imread(tmp_path / "pixels.tif") != 0, mask[::-1] if order == "bottom" else mask
    )
    lines = (tmp_path / "pixels.txt").read_text().splitlines()
    if order == "top":
        assert sorted(lines) == ["2 4 3 1", "8 1 1 1"]
    else:
        assert sorted(lines) == ["2 1 3 1", "8 4 1 1"]


@pytest.mark.parametrize("name", ["a.h5", "a.mrc", "a.tif", "a.txt", "a.csv"])
@pytest.mark.parametrize("order", ["bottom", "top"])
def test_what_was_saved_is_read(tmp_path: Path, name: str, order: str) -> None:
    pixels = full_map().in_row_order(order)
    pixels.save(tmp_path / name)
    read = PixelMap.load(tmp_path / name, shape=(20, 30))
    found = read.for_frames((20, 30), None if name.endswith("csv") else order)
    assert np.array_equal(found, pixels.bad)
    if name.endswith("csv"):
        assert read.counts == pixels.counts


def test_csv_says_why(tmp_path: Path) -> None:
    full_map().save(tmp_path / "a.csv")
    header, first, *_ = (tmp_path / "a.csv").read_text().splitlines()
    assert header == "x,y,class,value,limit,neighbours,reason"
    assert first == "0,2,constant,-9,6,,all 200 frames have the same value"


def test_maps_without_bad_pixels_can_be_saved(tmp_path: Path) -> None:
    empty = PixelMap.from_mask(np.zeros((8, 9)), "top")
    for name in ("a.h5", "a.mrc", "a.tif", "a.txt", "a.csv"):
        empty.save(tmp_path / name)
        assert not PixelMap.load(tmp_path / name, shape=(8, 9)).bad.any()


def test_a_mask_of_another_program_is_read(tmp_path: Path) -> None:
    mask = np.arange(12, dtype=np.float32).reshape(3, 4) > 9
    with mrcfile.new(tmp_path / "mask.mrc") as file:
        file.set_data(mask.astype(np.float32))
    read = PixelMap.load(tmp_path / "mask.mrc")
    assert np.array_equal(read.bad, mask)
    assert read.counts["user"] == 2
    assert (read.flags[mask] == Bit.USER).all()
    assert read.row_order == "bottom"


def test_colour_frames_have_the_pixels_in_all_planes() -> None:
    mask = np.zeros((4, 5), np.bool_)
    mask[1, 2] = True
    bad = PixelMap.from_mask(mask).for_frames((4, 5, 3), None)
    assert bad.shape == (4, 5, 3)
    assert np.array_equal(bad, np.repeat(mask[..., None], 3, 2))


def test_files_of_another_kind_are_not_replaced(tmp_path: Path) -> None:
    pixels = full_map()
    for name in ("a.h5", "a.mrc", "a.tif", "a.txt", "a.csv"):
        path = tmp_path / name
        path.write_bytes(b"my notes\n")
        with pytest.raises(camnorm.Error, match=r"not replaced|write elsewhere"):
            pixels.save(path, overwrite=True)
        assert path.read_bytes() == b"my notes\n"
        path.unlink()
        pixels.save(path)
        assert "already exists; use overwrite=True" in error_of(camnorm.Error, pixels.save, path)
        pixels.save(path, overwrite=True)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    message = error_of(ValueError, full_map().save, tmp_path / "a.png")
    assert message.endswith("a pixel map is written as .h5, .mrc, .tif, .txt, .csv, not as .png")
    message = error_of(ValueError, full_map().save, tmp_path / "pixels")
    assert message.endswith("not as a file without suffix")


def test_wrong_shapes_are_named() -> None:
    pixels = full_map()
    message = error_of(camnorm.Error, pixels.for_frames, (20, 31), None)
    assert message == (
        "the pixel map is for frames of shape (20, 30), these have (20, 31); "
        "classify the pixels of this sensor"
    )
    assert "it is turned by 90 degrees" in error_of(camnorm.Error, pixels.for_frames, (30, 20, 3), None)


def test_text_needs_the_shape_and_fits_it(tmp_path: Path) -> None:
    for name in ("a.txt", "a.csv"):
        full_map().save(tmp_path / name)
        message = error_of(camnorm.Error, PixelMap.load, tmp_path / name)
        assert "does not say the shape of the frames; give shape=" in message
        with pytest.raises(camnorm.Error, match=r"not within frames|outside of frames"):
            PixelMap.load(tmp_path / name, shape=(10, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "it does not begin with x,y,class,value,limit,neighbours,reason"),
        ("", "it does not begin with"),
        ("1,2,hot,7,6,\n", "6 columns, not 7"),
        ("1,2,warm,7,6,,\n", "unknown word: 'warm'"),
        ("1,2,hot,7,6,below,\n", "unknown word: 'below'"),
        ("1,-2,hot,7,6,,\n", "outside of frames"),
        ("1,x,hot,7,6,,\n", "damaged pixel map"),
        ("1,2,hot,7,6,,\n1,2,hot,7,6,,\n", "not in order"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    header = "" if message.startswith("it does") else "x,y,class,value,limit,neighbours,reason\n"
    path = tmp_path / "a.csv"
    path.write_text(header + text)
    with pytest.raises(camnorm.FormatError, match=re.escape(message)):
        PixelMap.load(path, shape=(20, 30))


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.h5", "a.mrc", "a.png"):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(camnorm.FormatError):
            PixelMap.load(tmp_path / name)
    with pytest.raises(OSError, match=r"none\.h5"):
        PixelMap.load(tmp_path / "none.h5")
    tifffile.imwrite(tmp_path / "movie.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    assert "3 frames, as of a movie" in error_of(camnorm.FormatError, PixelMap.load, tmp_path / "movie.tif")
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    message = error_of(camnorm.FormatError, PixelMap.load, tmp_path / "colour.tif")
    assert "an image of shape (8, 8, 3) where a mask (y, x) is wanted" in message


def test_damage_of_hdf5_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    full_map().save(path)
    with h5py.File(path, "r+") as file:
        file["pixels/value"][0] = 77
    assert "its digest differs" in error_of(camnorm.FormatError, PixelMap.load, path)
    full_map().save(path, overwrite=True)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 9
    assert "written by a newer camnorm" in error_of(camnorm.FormatError, PixelMap.load, path)
    path.unlink()
    full_map().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated or damaged" in error_of(camnorm.FormatError, PixelMap.load, path)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"a mask must have the shape \(y, x\), not \(3,\)"):
        PixelMap.from_mask(np.zeros(3))
    with pytest.raises(ValueError, match=r"flags must be uint32 of shape \(y, x\), not int64 of \(3, 3\)"):
        PixelMap(np.zeros((3, 3), np.int64), PixelRows.of_mask(np.zeros((3, 3), np.bool_)))


def test_codes_are_the_classes() -> None:
    assert CODES[1:-1] == CLASSES
    assert set(Bit.OF_CLASS) == set(CODES[1:])
