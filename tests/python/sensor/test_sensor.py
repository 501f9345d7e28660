"""Sensor files: round trip, reading without camnorm, damage, and writing whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import camnorm
from camnorm import Error, FormatError, PixelMoments, Sensor
from camnorm.io import ReadOptions
from camnorm.io.base import hdf5helper
from image_sets import (
    STATISTICS,
    assert_same_moments,
    assert_same_sensor,
    frames_of,
    half_numbers,
    run_script,
    write_movies,
    write_mrc,
    write_npy,
)

SHAPE = (13, 11)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six movies of three frames, one of which is cut."""
    files = write_movies(tmp_path / "in", 6, 3, SHAPE, "u2")
    os.truncate(files[4], 1024 + 2 * 286)
    return tmp_path / "in"


@pytest.fixture
def saved(folder: Path, tmp_path: Path) -> Path:
    camnorm.measure(folder, tmp_path / "sensor.h5")
    return tmp_path / "sensor.h5"


@pytest.mark.parametrize(
    ("dtype", "planes"),
    [("u1", ()), ("i1", ()), ("u2", ()), ("i2", (3,)), ("f4", ()), ("f8", (4,)), ("u4", ()), ("f2", ())],
)
def test_round_trip(tmp_path: Path, dtype: str, planes: tuple[int, ...]) -> None:
    frames = frames_of(20, (*SHAPE, *planes), dtype)
    if dtype == "i2":
        frames[::2] *= -1
    if dtype[0] == "f":
        frames[3] = np.nan
        frames[4:9] /= 3
    path = write_npy(tmp_path / "größe.npy", frames)
    sensor = camnorm.measure(path, tmp_path / "sensor.h5")
    loaded = Sensor.load(tmp_path / "sensor.h5")
    assert_same_sensor(loaded, sensor)
    assert (loaded.shape, loaded.dtype, loaded.count) == (sensor.shape, sensor.dtype, sensor.count)
    assert loaded.provenance.keys() == sensor.provenance.keys()
    for key, value in sensor.provenance.items():
        if key != "files":
            assert loaded.provenance[key] == value, key
    assert loaded.provenance["files"].tolist() == sensor.provenance["files"].tolist()
    for name in ("mean", "sigma"):
        assert getattr(loaded, name).tobytes() == getattr(sensor, name).tobytes()
    np.testing.assert_array_equal(loaded.target_mean, sensor.target_mean)
    np.testing.assert_array_equal(loaded.target_sigma, sensor.target_sigma)
    # A second round changes nothing either.
    loaded.save(tmp_path / "again.h5")
    assert_same_sensor(Sensor.load(tmp_path / "again.h5"), sensor)


def test_the_moments_go_on_after_loading(tmp_path: Path, saved: Path) -> None:
    frames = frames_of(4, SHAPE, "u2", 5)
    sensor, loaded = camnorm.measure(tmp_path / "in"), Sensor.load(saved)
    for half in (sensor.halves[0], loaded.halves[0]):
        half.add(frames)
    assert_same_moments(loaded.halves[0], sensor.halves[0])


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_readable_without_camnorm(tmp_path: Path, dtype: str) -> None:
    """What a reader who has only h5py and numpy does."""
    movies = frames_of(18, SHAPE, dtype).reshape(6, 3, *SHAPE)
    files = [write_mrc(tmp_path / f"{i}.mrc", movie) for i, movie in enumerate(movies)]
    camnorm.measure(files, tmp_path / "sensor.h5")
    with h5py.File(tmp_path / "sensor.h5") as f:
        assert f.attrs["format"] == "camnorm sensor"
        assert f.attrs["schema"] == 2
        count, total, squares = 0, np.zeros(SHAPE, object), np.zeros(SHAPE, object)
        for name in "AB":
            half = f["halves"][name]
            count += int(half.attrs["count"])
            if dtype == "u2":
                assert {half["sum"].dtype.kind, half["sum_of_squares"].dtype.kind} == {"u"}
                total += half["sum"][()].astype(object)
                squares += half["sum_of_squares"][()].astype(object)
            else:
                assert {half[part].dtype for part in half} == {np.dtype(float)}
                total += half["sum_high"][()].astype(np.longdouble) + half["sum_low"][()]
                squares += half["sum_of_squares_high"][()].astype(np.longdouble)
                squares += half["sum_of_squares_low"][()]
        mean = (total / count).astype(float)
        sigma = (squares / count - (total / count) ** 2).astype(float) ** 0.5
        table = {name: f["frames"][name][()] for name in f["frames"]}
        paths = f["files/path"].asstr()[()]
        shape, kind = f["provenance"].attrs["shape"], f["provenance"].attrs["dtype"]
        screening = json.loads(f["provenance"].attrs["screening"])
        sizes, times = f["files/size"][()], f["files/mtime"][()]
        started = f["provenance"].attrs["started"]
        assert f["provenance/command"].asstr()[()]
    frames = movies.reshape(18, *SHAPE).astype(np.longdouble)
    np.testing.assert_allclose(mean, frames.mean(0).astype(float), rtol=1e-15)
    np.testing.assert_allclose(sigma, frames.std(0).astype(float), rtol=1e-9)
    assert [paths[i] for i in table["file"]] == [str(path) for path in files for _ in range(3)]
    assert table["index"].tolist() == [0, 1, 2] * 6
    assert table["half"].tolist() == [b"AB"[half : half + 1] for half in half_numbers(6) for _ in range(3)]
    assert set(table["status"]) == {b"accepted"}
    assert set(table["reason"]) == {b""}
    for name in STATISTICS:
        expected = getattr(np, name)(frames.reshape(18, -1), axis=1).astype(float)
        np.testing.assert_allclose(table[name], expected, rtol=1e-14)
    assert (tuple(shape), kind) == (SHAPE, np.dtype(dtype).name)
    assert screening["k"] == 6
    assert screening["mean"][0] < table["mean"].min() < table["mean"].max() < screening["mean"][1]
    assert sizes.tolist() == [os.stat(path).st_size for path in files]
    assert times.tolist() == [os.stat(path).st_mtime for path in files]
    assert started.startswith("20")
    assert started.endswith("+00:00")


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize("shape", [SHAPE, (97, 131), (61, 71, 3)])
def test_images_are_those_of_the_merged_halves(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of(7, shape, dtype)
    frames[:, 5:9] = frames[0, 5:9]
    if dtype == "f8":
        frames /= 3
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames), screen="off")
    merged = sensor.moments
    assert sensor.count == 7
    assert sensor.mean.tobytes() == merged.mean().tobytes()
    assert sensor.sigma.tobytes() == merged.std().tobytes()
    assert not sensor.mean.flags.writeable
    assert not sensor.sigma.flags.writeable
    targets = sensor.target_mean, sensor.target_sigma
    good = sensor.sigma > 0
    assert (good == (np.ptp(frames, axis=0) > 0)).all()
    for target, image in zip(targets, (sensor.mean, sensor.sigma), strict=True):
        # A plane of colour frames each, or all of a grey one.
        planes = zip(
            *(np.atleast_3d(one).reshape(-1, np.size(target)).T for one in (image, good)), strict=True
        )
        expected = [math.fsum(values[seen]) / seen.sum() for values, seen in planes]
        np.testing.assert_allclose(target, expected if np.ndim(target) else expected[0], rtol=3e-16)
    for threads in "1", "2", "5":
        monkeypatch.setenv("CAMNORM_THREADS", threads)
        again = Sensor(sensor.halves, sensor.frames, sensor.provenance)
        np.testing.assert_array_equal((again.target_mean, again.target_sigma), targets)
        assert again.sigma.tobytes() == sensor.sigma.tobytes()


def test_halves_that_do_not_go_together() -> None:
    a = PixelMoments(SHAPE, "u1")
    for b, error in (PixelMoments((13, 12), "u1"), ValueError), (PixelMoments(SHAPE, "f4"), TypeError):
        sensor = Sensor((a, b), np.empty(0), {})
        for name in "mean", "sigma", "target_mean":
            with pytest.raises(error):
                getattr(sensor, name)


def test_pixels_that_never_change_do_not_count_in_the_targets(tmp_path: Path) -> None:
    frames = frames_of(12, SHAPE, "u2")
    frames[:, :4] = 60000
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames))
    assert sensor.target_mean == pytest.approx(frames[:, 4:].mean(), rel=1e-14)
    assert sensor.target_sigma == pytest.approx(frames[:, 4:].std(0).mean(), rel=1e-14)
    correction = sensor.correction()
    assert correction.bad.sum() == 4 * 11
    assert (correction.target_mean, correction.target_sigma) == (sensor.target_mean, sensor.target_sigma)
    corrected = correction.apply(frames, dtype=np.float64)
    np.testing.assert_allclose(corrected[:, :4], sensor.target_mean)
    np.testing.assert_allclose(corrected[:, 4:].mean(0), sensor.target_mean, rtol=1e-12)
    np.testing.assert_allclose(corrected[:, 4:].std(0), sensor.target_sigma, rtol=1e-12)
    eq1 = sensor.correction(0.0, 1.0, "nan").apply(frames, dtype=np.float64)
    assert np.isnan(eq1[:, :4]).all()
    np.testing.assert_allclose(eq1[:, 4:].std(0), 1.0, rtol=1e-12)


def test_one_frame_says_nothing_of_sigma(tmp_path: Path) -> None:
    sensor = camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(1, SHAPE, "u2")), tmp_path / "s.h5")
    loaded = Sensor.load(tmp_path / "s.h5")
    assert loaded.count == 1
    assert np.isnan(sensor.target_mean)
    for targets in ((), (0.0, 1.0)):
        with pytest.raises(Error, match="no pixel of the set ever changes: there is nothing to correct with"):
            sensor.correction(*targets)


# --- merge and subtract


def test_measurements_that_do_not_go_together(tmp_path: Path) -> None:
    one = camnorm.measure(write_npy(tmp_path / "a.npy", frames_of(4, SHAPE, "u2")))
    for frames in (frames_of(4, (5, 5), "u2"), frames_of(4, SHAPE, "f4")):
        other = camnorm.measure(write_npy(tmp_path / "b.npy", frames))
        with pytest.raises(Error, match=r"these measurements do not go together: .*(shape|kind|integer)"):
            one.merge(other)
        other.frames["file"] = one.frames["file"]
        with pytest.raises(Error, match=r"these measurements do not go together: .*(shape|kind|integer)"):
            one.subtract(other)


@pytest.mark.parametrize("name", ["gain", "defects"])
def test_measurements_of_which_one_was_prepared(tmp_path: Path, name: str) -> None:
    files = [write_npy(tmp_path / f"{i}.npy", frames_of(4, SHAPE, "f4", seed=i)) for i in range(2)]
    for i in range(2):
        write_npy(tmp_path / f"reference{i}.npy", np.full((1, *SHAPE), name == "gain", "f4"))
    prepared, other, plain = (
        camnorm.measure(files[i], options=ReadOptions(**{name: reference}))
        for i, reference in ((0, tmp_path / "reference0.npy"), (1, tmp_path / "reference1.npy"), (1, None))
    )
    for one, two in ((prepared, plain), (plain, prepared)):
        with pytest.raises(Error, match=f"do not go together: only one was read with {name}$"):
            one.merge(two)
    # References of the same content are the same, wherever they lie.
    assert prepared.merge(other).count == prepared.count + other.count
    write_npy(tmp_path / "reference1.npy", np.full((1, *SHAPE), 0.5, "f4"))
    said = (
        rf"were read differently: {name} .*reference0\.npy and .*reference1\.npy; measure all files with the"
    )
    with pytest.raises(Error, match=said):
        prepared.merge(other)


@pytest.mark.filterwarnings("ignore:.* has no effect")  # the options are what matters
def test_measurements_that_were_read_differently(tmp_path: Path) -> None:
    files = [write_npy(tmp_path / f"{i}.npy", frames_of(4, SHAPE, "u2", seed=i)) for i in range(2)]
    options = ReadOptions(mrc_mode0="signed"), ReadOptions(dataset="data", eer_grouping=7)
    one, two = (camnorm.measure(file, options=its) for file, its in zip(files, options, strict=True))
    said = (
        "do not go together: their files were read differently: mrc_mode0 signed and auto, "
        "eer_grouping None and 7; measure all files with the same options"
    )
    for operation in (one.merge, one.subtract):
        with pytest.raises(Error, match=said):
            operation(two)
    three = camnorm.measure(files[0], options=ReadOptions(mrc_mode0="signed", dataset="other"))
    four = camnorm.measure(files[1], options=options[0])
    assert three.merge(four).count == 8


def test_subtract_only_what_is_there(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 4, 3, SHAPE, "u2")
    whole = camnorm.measure(files, screen="off")
    before = [half.state() for half in whole.halves]
    # A shard of the second file has it in half A, the whole in half B.
    shard = camnorm.measure([files[1], files[3]], screen="off")
    with pytest.raises(Error, match=r"movie_001\.mrc, frame 0, is not in half A of the measurement it is"):
        whole.subtract(shard)
    part = camnorm.measure(files[:2], screen="off")
    rest = whole.subtract(part)
    with pytest.raises(Error, match=r"movie_000\.mrc, frame 0, is not in half A"):
        rest.subtract(part)
    write_mrc(files[0], frames_of(3, SHAPE, "u2", seed=77))
    other = camnorm.measure(files[:2], screen="off")
    with pytest.raises(
        Error, match=r"movie_000\.mrc, frame 0, has other pixels in the measurement it is taken"
    ):
        whole.subtract(other)
    empty = whole.subtract(whole)
    assert (empty.count, empty.frames.size, empty.provenance["files"].size) == (0, 0, 0)
    for half, state in zip(whole.halves, before, strict=True):
        assert np.array_equal(half.state()["sum"], state["sum"])


def test_rejected_frames_go_with_their_measurement(tmp_path: Path) -> None:
    files = write_movies(tmp_path, 10, 3, SHAPE, "u2")
    os.truncate(files[9], 1024 + 286)
    whole = camnorm.measure(files, screen="off")
    shard = camnorm.measure(files[8:], screen="off")  # in the same halves
    assert_same_sensor(whole.subtract(shard), camnorm.measure(files[:8], screen="off"))


# --- files that cannot be read


def test_other_files(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "text").write_text("words, words, words")
    (tmp_path / "empty").touch()
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["data"] = np.arange(3)
    with h5py.File(tmp_path / "titled.h5", "w") as f:
        f.attrs["format"] = "of somebody else"
    unusual = {"numbers.h5": [1, 2, 3], "bytes.h5": np.bytes_("camnorm"), "empty.h5": h5py.Empty("f")}
    for name, value in unusual.items():
        with h5py.File(tmp_path / name, "w") as f:
            f.attrs["format"] = value
    image = write_mrc(tmp_path / "image.mrc", frames_of(1, SHAPE, "u2"))
    for path, reason in (
        (tmp_path / "text", "not a camnorm sensor file: it is not an HDF5 file"),
        (tmp_path / "empty", "not a camnorm sensor file: it is not an HDF5 file"),
        (image, "an image file (MRC), not a camnorm sensor file"),
        (tmp_path / "other.h5", "not a camnorm sensor file"),
        (tmp_path / "titled.h5", "not a camnorm sensor file"),
        (tmp_path / "numbers.h5", "not a camnorm sensor file"),
        (tmp_path / "bytes.h5", "not a camnorm sensor file"),
        (tmp_path / "empty.h5", "not a camnorm sensor file"),
    ):
        with pytest.raises(FormatError) as info:
            Sensor.load(path)
        assert info.value.reason == f"{reason}; give the file that `camnorm measure` wrote"
        assert info.value.path == str(path)
    with pytest.raises(FileNotFoundError):
        Sensor.load(tmp_path / "absent.h5")
    with pytest.raises(FormatError, match="a directory, not a camnorm sensor file; give the file that"):
        Sensor.load(tmp_path)


def test_newer_schema(saved: Path) -> None:
    with h5py.File(saved, "r+") as f:
        f.attrs["schema"] = 4
    with pytest.raises(
        FormatError, match=r"sensor\.h5: written by a newer camnorm: schema 4, this version reads up to 3$"
    ):
        Sensor.load(saved)


_LOAD_DAMAGED = """
import sys
from pathlib import Path
import h5py, numpy as np
from camnorm import FormatError, Sensor
path, data = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
with h5py.File(path) as f:
    expected = f["halves/A/sum"][()]
heaps = [at for at in range(0, len(data), 8) if data[at : at + 4] == b"GCOL"]
refused = 0
for heap in heaps:
    for place in (*range(8, 32), *range(40, 56)):
        damaged = bytearray(data)
        damaged[heap + place] ^= 0x81
        path.write_bytes(damaged)
        try:
            sensor = Sensor.load(path)
        except FormatError:
            refused += 1
        else:
            assert np.array_equal(sensor.halves[0].state()["sum"], expected)
print(len(heaps), refused)
"""


def test_heaps_of_strings_that_are_damaged(saved: Path) -> None:
    """To read some of them crashes the HDF5 library, or keeps it busy for ever."""
    result = run_script(_LOAD_DAMAGED, saved)
    assert result.returncode == 0, result.stderr
    heaps, refused = map(int, result.stdout.split())
    assert refused >= 8 * heaps > 0


def test_strings_are_read_without_a_trial(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they are, or how many."""
    sensor = Sensor.load(saved)
    sensor.provenance["command"] = "camnorm measure " + 2**21 * "a"
    more = np.repeat(sensor.frames, 10_000)
    more["status"] = "rejected"  # frames that are not in the sums
    frames = np.concatenate([sensor.frames, more])
    sensor = Sensor(sensor.halves, frames, sensor.provenance)
    sensor.save(saved)
    monkeypatch.setattr(hdf5helper.helper, "bears", None)
    assert_same_sensor(Sensor.load(saved), sensor)
    assert Sensor.load(saved).provenance["command"] == sensor.provenance["command"]


@pytest.mark.parametrize("place", ["provenance", "provenance/ratios", "halves/A/count", "files/size", "more"])
def test_values_of_other_types(saved: Path, place: str) -> None:
    """To read references, or sequences of any length, could crash the HDF5 library."""
    numbers = h5py.vlen_dtype(np.float64)
    with h5py.File(saved, "r+") as f:
        if place in ("files/size", "more"):
            if place in f:
                del f[place]
            f.create_dataset(place, (6,), h5py.ref_dtype)[:] = f.ref
        else:
            group, _, name = place.rpartition("/")
            f[group or "/"].attrs.pop(name, None)
            kind, space = h5py.h5t.py_create(numbers, logical=True), h5py.h5s.create(h5py.h5s.SCALAR)
            h5py.h5a.create(f[group or "/"].id, name.encode(), kind, space)
    with pytest.raises(
        FormatError, match=r"sensor\.h5: damaged: \S+ (is neither text nor a number|holds obj)"
    ):
        Sensor.load(saved)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"mrc_mode1": "auto", "raww": None}, "there are no read options mrc_mode1, raww$"),
        ({"mrc_mode0": "no"}, "mrc_mode0 must be 'auto', 'signed', 'unsigned' or 'imod', not 'no'$"),
        ({"eer_grouping": [1]}, "damaged camnorm sensor file: "),
    ],
)
def test_read_options_that_there_are_not(saved: Path, reading: dict[str, Any], message: str) -> None:
    with h5py.File(saved, "r+") as f:
        f["provenance"].attrs["reading"] = json.dumps(reading)
    with pytest.raises(FormatError, match=message):
        Sensor.load(saved)


@pytest.mark.parametrize("part", [0.001, 0.02, 0.1, 0.3, 0.6, 0.9, 0.999])
def test_truncated(saved: Path, part: float) -> None:
    size = int(saved.stat().st_size * part)
    os.truncate(saved, size)
    reason = "truncated or damaged HDF5 file: " if size >= 8 else "no HDF5"
    with pytest.raises(FormatError, match=reason) as info:
        Sensor.load(saved)
    assert info.value.offset in (size, None)
    assert "\n" not in str(info.value)


def delete(name: str) -> Callable[[h5py.File], None]:
    def damage(f: h5py.File) -> None:
        del f[name]

    return damage


def replace(name: str, value: Any) -> Callable[[h5py.File], None]:
    def damage(f: h5py.File) -> None:
        del f[name]
        f[name] = value

    return damage


def attribute(name: str, key: str, value: Any) -> Callable[[h5py.File], None]:
    def damage(f: h5py.File) -> None:
        if value is None:
            del f[name].attrs[key]
        else:
            f[name].attrs[key] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (delete("halves"), "doesn't exist"),
        (delete("halves/B"), "object 'B' doesn't exist"),
        (delete("halves/A/sum"), "object 'sum' doesn't exist"),
        (delete("frames/status"), "object 'status' doesn't exist"),
        (delete("files/path"), "object 'path' doesn't exist"),
        (delete("provenance"), "doesn't exist"),
        (delete("provenance/command"), "doesn't exist"),
        (replace("halves/A/sum", np.zeros(SHAPE)), "sum has dtype float64, not int64"),
        (replace("halves/B/sum", np.zeros((2, 2), "i8")), r"sum has shape \(2, 2\), not \(13, 11\)"),
        (replace("halves/A", 3), "."),
        (replace("halves", [1, 2]), "."),
        (replace("frames/file", np.full(18, 99)), "index 99 is out of bounds"),
        (replace("frames/mean", np.zeros(3)), "could not broadcast"),
        (replace("frames/mean", np.array([b"x"] * 18)), "could not convert"),
        (replace("frames/half", np.zeros(18)), "."),
        (replace("files/size", np.zeros(2)), "could not broadcast"),
        (attribute("halves/A", "count", None), "count"),
        (attribute("halves/A", "count", -1), "."),
        (attribute("halves/A", "count", "many"), "."),
        (attribute("provenance", "shape", [10**6, 10**6]), r"sum has shape \(13, 11\), not \(1000000, 10"),
        (attribute("provenance", "shape", "words"), "."),
        (attribute("provenance", "dtype", "quaternion"), "quaternion"),
        (attribute("provenance", "dtype", "float32"), "doesn't exist"),
        (attribute("provenance", "screening", "{"), "."),
        (attribute("provenance", "screening", None), "screening"),
        (attribute("provenance", "screening", "[]"), "screening is no dict"),
        (attribute("provenance", "groups", "{}"), "groups is no list"),
        (attribute("provenance", "groups", '["words"]'), "groups has no files"),
        (attribute("provenance", "drift", '{"first": 3}'), "drift has no second"),
        (attribute("provenance", "ratios", '[{"first": 0, "others": 3, "ratio": 1}]'), "ratios has no first"),
        (
            attribute("provenance", "ratios", '[{"first": 3, "others": 3, "ratio": -1}]'),
            "or one that cannot be",
        ),
        (
            attribute("provenance", "ratios", '[{"first": 3, "others": 3, "ratio": "1"}]'),
            "ratios has no ratio",
        ),
    ],
)
def test_damaged(saved: Path, damage: Callable[[h5py.File], None], reason: str) -> None:
    with h5py.File(saved, "r+") as f:
        damage(f)
    with pytest.raises(FormatError, match=f"^{saved}: damaged camnorm sensor file: .*{reason}") as info:
        Sensor.load(saved)
    assert "\n" not in str(info.value)


ABSURD = (30000, 30000)


def declare(**options: Any) -> Callable[[h5py.File], None]:
    """Sums of 7 GB each, of which next to nothing is in the file."""

    def damage(f: h5py.File) -> None:
        f["provenance"].attrs["shape"] = ABSURD
        for half in f["halves"].values():
            for name, dataset in list(half.items()):
                del half[name]
                half.create_dataset(name, ABSURD, dataset.dtype, **options)

    return damage


def some_written(f: h5py.File) -> None:
    declare(chunks=(300, 300), compression="gzip")(f)
    for half in f["halves"].values():
        for dataset in half.values():
            dataset[:300, :300] = 1


def virtual(f: h5py.File) -> None:
    declare()(f)
    for half in f["halves"].values():
        for name, dataset in list(half.items()):
            del half[name]
            half.create_virtual_dataset(name, h5py.VirtualLayout(ABSURD, dataset.dtype))


def many_rows(f: h5py.File) -> None:
    for name, dataset in list(f["frames"].items()):
        del f["frames"][name]
        f["frames"].create_dataset(name, (10**9,), dataset.dtype, chunks=(10**5,), compression="gzip")


def elsewhere(target: str) -> Callable[[h5py.File], None]:
    def damage(f: h5py.File) -> None:
        del f["halves/A"]
        f["halves/A"] = h5py.ExternalLink(target, "halves/A")

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (declare(), r"/halves/./sum\w* of shape \(30000, 30000\) is not whole"),
        (declare(chunks=(300, 300), compression="gzip"), "is not whole"),
        (declare(chunks=(300, 300), fillvalue=0), "is not whole"),
        (some_written, "is not whole"),
        (virtual, "is not whole"),
        (many_rows, r"/frames/\w+ of shape \(1000000000,\) is not whole"),
        (lambda f: f.create_dataset("early_0", ABSURD, "f8"), "/early_0 of shape .* is not whole"),
        (elsewhere("pipe"), "damaged: A is a link"),
        (elsewhere("/dev/zero"), "damaged: A is a link"),
        (elsewhere("other.h5"), "damaged: A is a link"),
    ],
)
def test_files_that_declare_more_than_they_hold(
    saved: Path, damage: Callable[[h5py.File], None], reason: str
) -> None:
    os.mkfifo(saved.with_name("pipe"))
    shutil.copy(saved, saved.with_name("other.h5"))
    with h5py.File(saved, "r+") as f:
        damage(f)
    with pytest.raises(FormatError, match=f"^{saved}: .*{reason}") as info:
        Sensor.load(saved)
    assert "\n" not in str(info.value)


def test_strings_that_are_one_long_string(saved: Path) -> None:
    """A reference of 16 bytes for each of many thousand strings, of one megabyte in all."""
    count = 5000
    with h5py.File(saved, "r+") as f:
        for name, dataset in list(f["frames"].items()):
            row = dataset[:1]
            del f["frames"][name]
            data = ["x" * 10**5] + [""] * (count - 1) if name == "reason" else np.repeat(row, count)
            f["frames"].create_dataset(name, data=data, dtype=dataset.dtype)
        place = f["frames/reason"].id.get_offset()
    data = bytearray(saved.read_bytes())
    data[place : place + 16 * count] = data[place : place + 16] * count
    saved.write_bytes(data)
    with pytest.raises(FormatError, match="/frames/reason is longer than the file"):
        Sensor.load(saved)


@pytest.mark.parametrize("where", ["path", "reading"])
def test_heaps_without_an_end(saved: Path, where: str) -> None:
    """HDF5 does not come to an end of an object of no length."""
    data = bytearray(saved.read_bytes())
    text = str(saved.parent / "in").encode() if where == "path" else b'{"mrc_mode0"'
    place = data.index(text)
    heap = data.rindex(b"GCOL", 0, place)
    at = heap + 16
    while int.from_bytes(data[at : at + 2], "little"):  # the free space comes last
        length = int.from_bytes(data[at + 8 : at + 16], "little")
        at += 16 + -(-length // 8) * 8
    data[at + 8 : at + 16] = bytes(8)
    saved.write_bytes(data)
    with pytest.raises(FormatError, match=r"damaged: (strings of|HDF5 crashes or does not end)"):
        Sensor.load(saved)


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_files_that_were_compressed_since(saved: Path, tmp_path: Path, compression: str) -> None:
    """As h5repack does."""

    def copy(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            new.require_group(name).attrs.update(item.attrs)
        else:
            options = {"compression": compression, "chunks": True} if item.shape else {}
            new.create_dataset(name, data=item[()], dtype=item.dtype, **options)

    with h5py.File(saved) as old, h5py.File(tmp_path / "small.h5", "w") as new:
        new.attrs.update(old.attrs)
        old.visititems(copy)
    assert_same_sensor(Sensor.load(tmp_path / "small.h5"), Sensor.load(saved))


# --- writing


def test_the_file_is_as_others_may_read_it(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_exception_leaves_the_old_file(saved: Path, tmp_path: Path) -> None:
    before = saved.read_bytes()
    sensor = Sensor.load(saved)
    sensor.provenance["version"] = object()  # HDF5 has no such type
    with pytest.raises(TypeError):
        sensor.save(saved)
    assert saved.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "sensor.h5"]


def test_a_file_of_another_kind_is_not_replaced(saved: Path, tmp_path: Path) -> None:
    sensor = Sensor.load(saved)
    image = write_mrc(tmp_path / "image.mrc", frames_of(1, SHAPE, "u2"))
    before = image.read_bytes()
    with pytest.raises(FormatError, match=r"image\.mrc: an image file \(MRC\), not a camnorm sensor file$"):
        sensor.save(image)
    assert image.read_bytes() == before


def test_targets_that_cannot_be_written(saved: Path, tmp_path: Path) -> None:
    sensor = Sensor.load(saved)
    for target, error in (
        (tmp_path / "absent" / "s.h5", FileNotFoundError),
        (saved / "s.h5", NotADirectoryError),
        (tmp_path, IsADirectoryError),
    ):
        with pytest.raises(error) as info:
            sensor.save(target)
        assert info.value.filename == str(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "sensor.h5"]


_LIMITED = """
import resource, sys
from camnorm import Sensor
sensor = Sensor.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    sensor.save(sys.argv[1])
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_limit_of_file_size(saved: Path, tmp_path: Path) -> None:
    before = saved.read_bytes()
    done = run_script(_LIMITED, saved)
    assert done.stdout == f"{errno.EFBIG} {saved}\n", done.stderr
    assert done.stderr == ""
    assert saved.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "sensor.h5"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no mount")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run([umount, str(disk)], check=True)


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    small = camnorm.measure(write_npy(tmp_path / "small.npy", frames_of(2, SHAPE, "u2")))
    target = small_disk / "sensor.h5"
    small.save(target)
    before = target.read_bytes()
    # 6 bytes a pixel: 2.2 MB.
    path = write_npy(tmp_path / "large.npy", frames_of(2, (600, 600), "u2"))
    large = camnorm.measure(path)
    with pytest.raises(OSError, match=r"^\[Errno \d+\] No space left on device: '.*sensor\.h5'$") as info:
        large.save(target)
    assert (info.value.errno, info.value.filename) == (errno.ENOSPC, str(target))
    assert target.read_bytes() == before
    # Found out before the first frame is read.
    read: list[object] = []
    with pytest.raises(OSError, match="No space left on device") as info:
        camnorm.measure(path, target, overwrite=True, progress=read.append)
    assert (info.value.errno, info.value.filename, read) == (errno.ENOSPC, str(target), [])
    assert [path.name for path in small_disk.iterdir()] == ["sensor.h5"]
    assert_same_sensor(Sensor.load(target), small)


def test_a_disk_without_room_for_result_and_checkpoint(small_disk: Path, tmp_path: Path) -> None:
    # 1.3 MB: one of them fits, a second beside it does not.
    path = write_npy(tmp_path / "large.npy", frames_of(4, (200, 200), "u2"))
    with pytest.raises(OSError, match=r"No space left on device: '.*sensor\.h5'"):
        camnorm.measure(path, small_disk / "sensor.h5")
    camnorm.measure(path).save(small_disk / "sensor.h5")


@pytest.mark.parametrize(("frames", "early"), [(8000, True), (20, False)])
def test_a_quota_is_found_before_a_long_set_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, early: bool
) -> None:
    def over_quota(*_: Any) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    path = write_npy(tmp_path / "set.npy", np.tile(frames_of(20, SHAPE, "u2"), (frames // 20, 1, 1)))
    monkeypatch.setattr(os, "posix_fallocate", over_quota, raising=False)
    read: list[object] = []
    with pytest.raises(OSError, match="quota exceeded") as info:
        camnorm.measure(path, tmp_path / "sensor.h5", screen="off", progress=read.append)
    assert info.value.filename == str(tmp_path / "sensor.h5")
    assert (not read) == early


def test_file_systems_that_cannot_tell(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    sensor = Sensor.load(saved)
    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    sensor.save(saved)
    assert_same_sensor(Sensor.load(saved), sensor)


def test_repr(saved: Path) -> None:
    assert repr(Sensor.load(saved)) == "<Sensor measured from 17 uint16 frames of shape (13, 11)>"


def test_halves_are_pixel_moments(saved: Path) -> None:
    sensor = Sensor.load(saved)
    assert all(isinstance(half, PixelMoments) for half in sensor.halves)
    assert sensor.moments.count == sensor.count == 17


def test_a_measurement_of_one_file_that_is_not_replaced(tmp_path: Path) -> None:
    one, other = (write_npy(tmp_path / f"{i}.npy", frames_of(3, SHAPE, "u2", i)) for i in range(2))
    camnorm.measure(one, tmp_path / "s.h5", screen="off")
    with pytest.raises(Error, match=r"already holds another measurement \(3 frames of 1 file\)"):
        camnorm.measure(other, tmp_path / "s.h5", screen="off")
