"""Sensor files whose numbers are not those that were written, or that no frames have, are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import camnorm
from camnorm import FormatError, PixelMoments, Sensor
from image_sets import assert_same_sensor, frames_of, write_movies, write_mrc
from sensor_files import digests_of, make_old

SHAPE = (13, 11)
Damage = Callable[[h5py.File], None]


@pytest.fixture(params=["u1", "i2", "f4"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return measured(tmp_path, request.param)


def measured(tmp_path: Path, dtype: str) -> Path:
    """Six movies of three frames, measured with their response."""
    files = write_movies(tmp_path / "in", 6, 3, SHAPE, dtype)
    camnorm.measure(files, tmp_path / "sensor.h5", screen="off", response=True)
    return tmp_path / "sensor.h5"


def without_digest(path: Path) -> None:
    """Make a file as it was written before there were digests."""
    make_old(path)
    with h5py.File(path, "r+") as f:
        del f.attrs["digest"]


# --- digests


def test_digests_can_be_computed_without_camnorm(saved: Path) -> None:
    with h5py.File(saved) as f:
        text = f.attrs["digest"]
    *lines, last = text.splitlines()
    assert {line[66:]: line[:64] for line in lines} == digests_of(saved)
    head = text[: text.index(last)].encode()
    assert last == f"{hashlib.blake2b(head, digest_size=32).hexdigest()}  all lines above"


def test_large_arrays_have_several_blocks(tmp_path: Path) -> None:
    shape = (2100, 2100)
    files = write_movies(tmp_path / "in", 2, 2, shape, "u1")
    camnorm.measure(files, tmp_path / "sensor.h5", screen="off")
    test_digests_can_be_computed_without_camnorm(tmp_path / "sensor.h5")
    with h5py.File(tmp_path / "sensor.h5", "r+") as f:
        last = f["halves/B/sum"][-1, -2:]
        f["halves/B/sum"][-1, -2:] = last[::-1]
        f["halves/B/sum_of_squares"][-1, -2:] = f["halves/B/sum_of_squares"][-1, -2:][::-1]
    with pytest.raises(FormatError, match="/halves/B/sum was changed after it was written"):
        Sensor.load(tmp_path / "sensor.h5")


def exchange_pixels(f: h5py.File) -> None:
    """Sums of two pixels: there are frames of which these are the sums."""
    for group in ("halves/A", "responses/A"):
        for dataset in f[group].values():
            dataset[2, 3:5] = dataset[2, 3:5][::-1]


def set_attribute(place: str, name: str, value: Any) -> Damage:
    def damage(f: h5py.File) -> None:
        f[place].attrs[name] = value

    return damage


def set_values(place: str, where: Any, value: Any) -> Damage:
    def damage(f: h5py.File) -> None:
        f[place][where] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (exchange_pixels, r"/halves/A/sum\w* was changed after it was written: its digest differs"),
        (set_values("frames/reason", 3, "none"), "/frames/reason was changed"),
        (set_values("frames/index", 3, 77), "/frames/index was changed"),
        (set_values("files/path", 0, "/elsewhere.mrc"), "/files/path was changed"),
        (set_values("provenance/command", (), "camnorm"), "/provenance/command was changed"),
        (set_attribute("provenance", "ended", "2020-01-01"), "/provenance@ended was changed"),
        (set_attribute("/", "digest", "words"), "the list of digests was changed"),
        (lambda f: f["provenance"].attrs.pop("selection"), "/provenance@selection is missing"),
    ],
)
def test_changed_after_it_was_written(saved: Path, damage: Damage, message: str) -> None:
    with h5py.File(saved, "r+") as f:
        damage(f)
    advice = "; restore the file from a copy, or measure again$"
    with pytest.raises(FormatError, match=f"damaged camnorm sensor file: {message}.*{advice}"):
        Sensor.load(saved)


def test_a_line_of_the_digests_that_was_removed(saved: Path) -> None:
    with h5py.File(saved, "r+") as f:
        text = f.attrs["digest"]
        f.attrs["digest"] = text[text.index("\n") + 1 :]
    with pytest.raises(FormatError, match="the list of digests was changed"):
        Sensor.load(saved)


def test_what_others_add_does_not_matter(saved: Path) -> None:
    before = Sensor.load(saved)
    with h5py.File(saved, "r+") as f:
        f.attrs["note"] = "of the facility"
        f["more"] = np.arange(3)
    assert_same_sensor(Sensor.load(saved), before)


def test_files_without_digests_are_read(saved: Path) -> None:
    before = Sensor.load(saved)
    without_digest(saved)
    assert_same_sensor(Sensor.load(saved), before)


@settings(max_examples=60)
@given(data=st.data())
def test_any_byte_of_the_sums(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes" / "sensor.h5"
    if not path.exists():
        path.parent.mkdir()
        measured(path.parent, "u2")
    with h5py.File(path) as f:
        names = [f"{group}/{half}" for group in ("halves", "responses") for half in "AB"]
        dataset = data.draw(st.sampled_from([part for name in names for part in f[name].values()]))
        place = dataset.id.get_offset() + data.draw(st.integers(0, dataset.nbytes - 1))
    changed = bytearray(path.read_bytes())
    changed[place] ^= data.draw(st.integers(1, 255))
    (path.parent / "changed.h5").write_bytes(changed)
    with pytest.raises(FormatError, match="damaged camnorm sensor file"):
        Sensor.load(path.parent / "changed.h5")


# --- what no frames have, in files without digests


def part_of(f: h5py.File, half: str, part: str) -> h5py.Dataset:
    group = f[f"halves/{half}"]
    return group[part] if part in group else group[f"{part}_high"]


def change_sum(half: str, part: str, change: Callable[[Any], Any]) -> Damage:
    def damage(f: h5py.File) -> None:
        dataset = part_of(f, half, part)
        dataset[4, 5] = change(dataset[4, 5])

    return damage


def shift_all(f: h5py.File) -> None:
    """Sums of frames that are brighter by 2, as far as they may be."""
    sums, squares = part_of(f, "A", "sum"), part_of(f, "A", "sum_of_squares")
    n = f["halves/A"].attrs["count"]
    dtype = squares.dtype
    squares[...] = (squares[()] + 4 * sums[()].astype(dtype) + 4 * n).astype(dtype)
    sums[...] = sums[()] + 2 * n


def swap_halves(f: h5py.File) -> None:
    f.move("halves/A", "halves/C")
    f.move("halves/B", "halves/A")
    f.move("halves/C", "halves/B")


NO_FRAMES = r"no 9 frames like those of the table have the sums of pixel \(4, 5\) in half [AB]"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_sum("A", "sum_of_squares", lambda x: x // 2 // 2 * 2), NO_FRAMES),
        (change_sum("A", "sum_of_squares", lambda x: x * 4), NO_FRAMES),
        (change_sum("B", "sum", lambda x: x * 8), NO_FRAMES),
        (change_sum("B", "sum", lambda x: -100 * abs(x)), NO_FRAMES),
        (set_values("frames/mean", 3, 9999999.0), "frame table: row 3 has statistics that no frame has"),
        (set_values("frames/std", 3, -1.0), "frame table: row 3 has statistics that no frame has"),
        (set_values("frames/min", 3, np.nan), "frame table: row 3 has statistics that no frame has"),
        (set_values("frames/file", 3, -1), "frame table: file index -1 is out of bounds, 0 to 5"),
        (set_values("frames/file", 3, 6), "frame table: file index 6 is out of bounds, 0 to 5"),
        (set_values("frames/index", 3, -1), "frame table: row 3 has a negative index"),
        (set_values("frames/half", 3, b"C"), "frame table: row 3 is of neither half"),
        (set_values("frames/status", 3, b"unknown"), "frame table: row 3 is neither accepted nor rejected"),
        (
            set_values("frames/status", 3, b"rejected"),
            "half B holds sums of 9 frames, but the frame table lists 8 frames accepted for it",
        ),
        (
            set_values("frames/half", 3, b"A"),
            "half A holds sums of 9 frames, but the frame table lists 10 frames accepted for it",
        ),
        (
            set_attribute("halves/A", "count", 8),
            "half A holds sums of 8 frames, but the frame table lists 9 frames accepted for it",
        ),
        (set_values("files/size", 2, -7), "file table: .*movie_002.mrc has a size of -7 bytes"),
        (set_values("files/mtime", 2, np.inf), "file table: .*movie_002.mrc was changed at inf"),
        (set_attribute("provenance", "version", 3), "version is no text"),
        (swap_halves, "half A"),
        (set_attribute("responses/A", "count", 8), "moments of 9 frames, but a response of 8"),
    ],
)
def test_what_no_frames_have(saved: Path, damage: Damage, message: str) -> None:
    without_digest(saved)
    with h5py.File(saved, "r+") as f:
        damage(f)
    with pytest.raises(FormatError, match=f"damaged camnorm sensor file: .*{message}"):
        Sensor.load(saved)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_sums_of_other_frames(tmp_path: Path, dtype: str) -> None:
    saved = measured(tmp_path, dtype)
    without_digest(saved)
    with h5py.File(saved, "r+") as f:
        shift_all(f)
    with pytest.raises(FormatError, match="the sums of half A are not those of the frames in the table"):
        Sensor.load(saved)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_responses_that_cannot_be(tmp_path: Path, dtype: str) -> None:
    saved = measured(tmp_path, dtype)
    without_digest(saved)
    with h5py.File(saved, "r+") as f:
        response = f["responses/A"]
        name = "sum_of_products" if dtype == "u2" else "sum_of_products_high"
        product = response[name][0, 0]
        response[name][0, 0] = product * 3
    with pytest.raises(FormatError, match="no frames have the products of half A"):
        Sensor.load(saved)
    with h5py.File(saved, "r+") as f:
        response = f["responses/A"]
        response[name][0, 0] = product
        key = "exposure_sum" if dtype == "u2" else "exposure_sum_high"
        response.attrs[key] = response.attrs[key] * 2
    with pytest.raises(FormatError, match="exposures of half A are not those of the frames in the table"):
        Sensor.load(saved)


integers = st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=6)


@given(pixel=integers, sums=st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
def test_integer_sums_are_judged_exactly(pixel: list[int], sums: tuple[int, int]) -> None:
    """Against exact arithmetic: Cauchy-Schwarz, parity, and the bounds that the smallest and largest give."""
    moments = PixelMoments((1, 1), np.int16)
    moments.add(np.array(pixel, np.int16).reshape(-1, 1, 1))
    n, low, high = len(pixel), min(pixel), max(pixel)
    total = sum(pixel) + sums[0]
    squares = max(0, sum(x * x for x in pixel) + sums[1])
    moments.parts()["sum"][...] = total
    moments.parts()["sum_of_squares"][...] = squares
    possible = (
        n * low <= total <= n * high
        and total * total <= n * squares
        and (total - squares) % 2 == 0
        and squares <= (low + high) * total - n * low * high
    )
    found, _, _ = moments.check((n * low, n * high, low, high, max(abs(low), abs(high))))
    assert (found == 1) == possible


@pytest.mark.filterwarnings("ignore:frames that were subtracted leave a trace")
@given(
    values=st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-10, 10, width=32), min_size=1, max_size=8
    ),
    left=st.integers(1, 8),
)
def test_float_sums_of_frames_are_never_refused(values: list[float], left: int) -> None:
    """Whatever their size, and after some were taken out again, whose rounding errors stay."""
    frames = np.array(values, np.float32).reshape(-1, 1, 1)
    moments = PixelMoments((1, 1), np.float32)
    moments.add(frames)
    left = min(left, len(frames))
    if left < len(frames):
        moments.subtract(frames[left:])
    kept = frames[:left].astype(float)
    low, high = float(kept.min()), float(kept.max())
    total = float(kept.sum())
    found, _, _ = moments.check((total, total, low, high, float(np.abs(frames).max())))
    assert found == 1


def test_frames_that_were_rejected_leave_rounding_errors(tmp_path: Path) -> None:
    """Screening takes frames of huge pixels out of float sums: what is left of them is no damage."""
    files = write_movies(tmp_path / "in", 4, 6, SHAPE, "f4")
    frames = frames_of(6, SHAPE, "f4", seed=9)
    frames[3] *= np.float32(1e13)
    write_mrc(files[2], frames)
    sensor = camnorm.measure(files, tmp_path / "sensor.h5")
    assert (sensor.frames["status"] == "rejected").sum() >= 1
    assert_same_sensor(Sensor.load(tmp_path / "sensor.h5"), sensor)
