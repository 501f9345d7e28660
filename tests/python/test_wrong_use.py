"""Inputs that were mixed up, and options that do not apply: said in one sentence, never passed over."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import ReadOptions
from camnorm.cli.messages import with_options
from image_sets import write_mrc

SHAPE = (16, 16)


def movies(folder: Path, kind: str = "mrc", count: int = 8, dtype: str = "i2") -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(1)
    files = [folder / f"m{i}.{kind}" for i in range(count)]
    for file in files:
        frames = rng.poisson(20, (2, *SHAPE)).astype(dtype)
        if kind == "mrc":
            write_mrc(file, frames)
        elif kind == "tif":
            tifffile.imwrite(file, frames, photometric="minisblack")
        else:
            with h5py.File(file, "w") as f:
                f["data"] = frames
    return files


@pytest.fixture
def mrc(tmp_path: Path) -> list[Path]:
    return movies(tmp_path / "in")


@pytest.fixture
def sensor(tmp_path: Path, mrc: list[Path]) -> Path:
    camnorm.measure(mrc, tmp_path / "sensor.h5")
    return tmp_path / "sensor.h5"


def verbs(sensor: Path, out: Path) -> dict[str, Callable[[Any, ReadOptions], Any]]:
    """What takes read options, with the sensor and without."""
    return {
        "measure": lambda inputs, options: camnorm.measure(inputs, options=options),
        "groups": lambda inputs, options: list(camnorm.measure_groups(inputs, options=options)),
        "correct": lambda inputs, options: camnorm.correct(inputs, sensor, out, options=options),
        "verify": lambda inputs, options: camnorm.verify(inputs, sensor, group=1, options=options),
        "measure and verify": lambda inputs, options: camnorm.verify(inputs, group=1, options=options),
    }


VERBS = list(verbs(Path(), Path()))
UNUSED = [
    ({"eer_grouping": 4}, "eer_grouping=4 has no effect: none of the files is an EER movie"),
    ({"eer_sampling": 2}, "eer_sampling=2 has no effect: none of the files is an EER movie"),
    ({"tiff_4bit": "yes"}, "tiff_4bit='yes' has no effect: none of the files is a TIFF file"),
    (
        {"mrc_mode0": "unsigned"},
        "mrc_mode0='unsigned' has no effect: none of the files is an MRC file of bytes (mode 0)",
    ),
    ({"dataset": "/data"}, "dataset='/data' has no effect: none of the files is an HDF5, Zarr or FITS file"),
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("option", "message"), UNUSED)
def test_options_for_other_files(
    tmp_path: Path, mrc: list[Path], sensor: Path, verb: str, option: dict[str, Any], message: str
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verbs(sensor, tmp_path / "out")[verb](mrc, ReadOptions(**option))
    assert [str(warning.message) for warning in caught].count(message) == 1
    name, value = next(iter(option.items()))
    assert with_options(message).startswith(f"--{name.replace('_', '-')} {value} has no effect")


@pytest.mark.filterwarnings("ignore:the row order differs")
def test_options_for_some_of_the_files(tmp_path: Path) -> None:
    """Nothing is said if one file is of the kind, nor of what a sensor file holds."""
    files = [*movies(tmp_path / "tif", "tif", dtype="u1"), *movies(tmp_path / "mrc", dtype="i1")]
    camnorm.measure(files, tmp_path / "s.h5", options=ReadOptions(tiff_4bit="no", mrc_mode0="unsigned"))
    camnorm.correct(files[:8], tmp_path / "s.h5", tmp_path / "out")
    camnorm.measure(movies(tmp_path / "h5", "h5"), options=ReadOptions(dataset="/data", follow_links=True))


def test_counts_that_are_unsigned_already(tmp_path: Path) -> None:
    camnorm.measure(movies(tmp_path / "i2"), options=ReadOptions(int16="unsigned"))
    with pytest.warns(
        UserWarning, match=r"^int16='unsigned' has no effect: none of the files holds signed int"
    ):
        camnorm.measure(movies(tmp_path / "u1", "tif", dtype="u1"), options=ReadOptions(int16="unsigned"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_of_frames(tmp_path: Path, mrc: list[Path], sensor: Path, verb: str) -> None:
    call = verbs(sensor, tmp_path / "out")[verb]
    with pytest.raises(camnorm.Error, match=r"nowhere: no such directory; frames_dir=DIR says where"):
        call(mrc, ReadOptions(frames_dir=tmp_path / "nowhere"))
    with pytest.warns(
        UserWarning, match=r"^frames_dir='.*in' has no effect: no STAR or mdoc file was given$"
    ):
        call(mrc, ReadOptions(frames_dir=mrc[0].parent))
    star = tmp_path / "movies.star"
    star.write_text("data_\nloop_\n_rlnMicrographMovieName #1\n" + "".join(f"far/{f.name}\n" for f in mrc))
    camnorm_options = ReadOptions(frames_dir=mrc[0].parent)
    for inputs in (star, [f"@{_list_of(star)}"]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if verb == "correct":
                camnorm.correct(inputs, sensor, tmp_path / "out", options=camnorm_options, overwrite=True)
            else:
                call(inputs, camnorm_options)
        assert not [warning for warning in caught if "frames_dir" in str(warning.message)]


def _list_of(path: Path) -> Path:
    names = path.with_name("list.txt")
    names.write_text(f"{path}\n")
    return names


def test_a_folder_of_frames_of_a_sensor_measured_elsewhere(tmp_path: Path, mrc: list[Path]) -> None:
    star = tmp_path / "movies.star"
    star.write_text("data_\nloop_\n_rlnMicrographMovieName #1\n" + "".join(f"far/{f.name}\n" for f in mrc))
    folder = tmp_path / "gone"
    folder.symlink_to(mrc[0].parent)
    camnorm.measure(star, tmp_path / "s.h5", options=ReadOptions(frames_dir=folder))
    folder.unlink()
    assert len(camnorm.correct(mrc, tmp_path / "s.h5", tmp_path / "out")) == 8


@pytest.mark.parametrize("option", ["gain", "defects"])
def test_a_movie_is_no_reference(tmp_path: Path, mrc: list[Path], sensor: Path, option: str) -> None:
    for verb, call in verbs(sensor, tmp_path / "out").items():
        with pytest.raises(camnorm.Error, match=rf"m0.mrc: 2 frames, as of a movie.*; {option}=FILE"):
            call(mrc, ReadOptions(**{option: mrc[0]}))
        assert verb
    image = np.full(SHAPE, 1, "f4") if option == "gain" else np.eye(*SHAPE, dtype="f4")
    for stored in (image, image[None]):  # a stack of one is an image
        np.save(tmp_path / "one.npy", stored)
        camnorm.measure(mrc, options=ReadOptions(**{option: tmp_path / "one.npy"}))


GIVE = r"; give the file that `camnorm measure` wrote$"


def test_what_is_no_sensor_file(tmp_path: Path, mrc: list[Path], sensor: Path) -> None:
    (data,) = movies(tmp_path / "h5", "h5", count=1)
    (image,) = movies(tmp_path / "tif", "tif", count=1)
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    wrong = {
        mrc[0]: r"an image file \(MRC\), not a camnorm sensor file" + GIVE,
        image: r"an image file \(TIFF\), not a camnorm sensor file" + GIVE,
        data: "not a camnorm sensor file" + GIVE,
        mrc[0].parent: "a directory, not a camnorm sensor file" + GIVE,
        text: "not a camnorm sensor file: it is not an HDF5 file" + GIVE,
    }
    for path, message in wrong.items():
        for call in (
            lambda path: camnorm.Sensor.load(path),
            lambda path: camnorm.correct(mrc, path, tmp_path / "out"),
            lambda path: camnorm.correct(sensor, path, tmp_path / "out"),  # swapped
            lambda path: camnorm.verify(mrc, path),
        ):
            with pytest.raises(camnorm.FormatError, match=re.escape(str(path)) + ": " + message):
                call(path)


@pytest.mark.filterwarnings("ignore:not corrected")
def test_a_sensor_file_is_no_image(tmp_path: Path, mrc: list[Path], sensor: Path) -> None:
    message = "sensor.h5: a camnorm sensor file, which holds no images; name image files as inputs"
    for call in (
        lambda: camnorm.measure(sensor),
        lambda: camnorm.correct(sensor, sensor, tmp_path / "out"),
        lambda: camnorm.verify(sensor),
        lambda: camnorm.open_frames(sensor),
    ):
        with pytest.raises(camnorm.Error, match=message):
            call()


def test_two_targets_for_grey_frames(tmp_path: Path, mrc: list[Path], sensor: Path) -> None:
    for name in ("target_mean", "target_sigma"):
        with pytest.raises(ValueError, match=f"^{name} must be one number for grey frames, not 2$"):
            camnorm.correct(mrc, sensor, tmp_path / "out", **{name: [1.0, 2.0]})


def test_virtual_files_have_one_correction(tmp_path: Path, mrc: list[Path], sensor: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^leave_out=True does not go with virtual=True: virtual files share"
    ):
        camnorm.correct(mrc, sensor, tmp_path / "out", virtual=True, leave_out=True)
