"""The same movie under several names counts once."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm import ReadOptions, Sensor
from camnorm.io import RawLayout
from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.copies import find_copies, without_copies
from image_sets import assert_holds, frames_of, write_mrc, write_npy, write_tiff

SHAPE = (13, 11)


@pytest.fixture
def movies(tmp_path: Path) -> np.ndarray:
    (tmp_path / "in").mkdir()
    return frames_of(24, SHAPE, "u2").reshape(8, 3, *SHAPE)


def write_eer(path: Path, masks: np.ndarray) -> Path:
    """Raw frames of electrons in a BigTIFF: 7 bits of pixels to skip, 4 bits of the place in a pixel."""
    _, height, width = masks.shape
    out, pointer = bytearray(b"II+\0" + struct.pack("<HHQ", 8, 0, 0)), 8
    for mask in masks:
        bits, at = "", 0
        for pixel in [*np.flatnonzero(mask).tolist(), mask.size]:
            skips, rest = divmod(pixel - at, 127)
            bits = format(rest, "07b") + "1111111" * skips + bits
            bits = bits if pixel == mask.size else "0000" + bits
            at = pixel + 1
        data = int(bits, 2).to_bytes((len(bits) + 7) // 8, "little")
        place = len(out)
        out += data + bytes(-len(data) % 2)
        tags = [(256, 4, width), (257, 4, height), (259, 3, 65001), (273, 16, place)]
        tags += [(278, 4, height), (279, 16, len(data))]
        struct.pack_into("<Q", out, pointer, len(out))
        out += struct.pack("<Q", len(tags))
        out += b"".join(struct.pack("<HHQQ", code, kind, 1, value) for code, kind, value in tags)
        pointer = len(out)
        out += bytes(8)
    path.write_bytes(out)
    return path


def copies_of(*paths: Path, options: ReadOptions = ReadOptions()) -> dict[str, str]:  # noqa: B008
    """Names of the copies, and of the files that count."""
    return {copy.path.name: copy.kept.name for copy in find_copies(Catalogue(paths, options)).values()}


def test_links_and_files_named_twice(tmp_path: Path, movies: np.ndarray) -> None:
    real = write_mrc(tmp_path / "in/m.mrc", movies[0])
    link, hard, other = (tmp_path / "in" / name for name in ("a.mrcs", "hard.mrc", "other.mrc"))
    link.symlink_to("m.mrc")
    os.link(real, hard)
    shutil.copy(write_mrc(tmp_path / "x.mrc", movies[1]), other)
    catalogue = Catalogue([link, real, hard, real, other])
    kept, copies = without_copies(catalogue)
    assert kept.paths == [real, other]
    assert [(copy.path, copy.kept) for copy in copies] == [(link, real), (hard, real), (real, real)]
    assert str(copies[0]) == f"{link} is the same file as m.mrc"
    assert str(copies[2]) == f"{real} is named twice"
    folder = tmp_path / "linked"
    folder.symlink_to(tmp_path / "in")
    assert copies_of(real, folder / "m.mrc") == {"m.mrc": "m.mrc"}
    assert copies_of(link) == {}  # a link alone is a movie
    assert copies_of(tmp_path / "gone.mrc", tmp_path / "gone.mrc") == {}


@pytest.mark.parametrize("flipped", [False, True])
def test_converted_movies(tmp_path: Path, movies: np.ndarray, flipped: bool) -> None:
    turned = movies[:, :, ::-1] if flipped else movies
    tif = write_tiff(tmp_path / "in/m.tif", movies[0], "zlib")
    mrc = write_mrc(tmp_path / "in/m.mrc", turned[0])
    npy = write_npy(tmp_path / "in/m.npy", movies[0].astype("f4"))
    packed = tmp_path / "in/m.mrc.gz"
    packed.write_bytes(gzip.compress(mrc.read_bytes()))
    assert copies_of(tif, mrc) == copies_of(mrc, tif) == {"m.tif": "m.mrc"}  # whichever is named first
    assert copies_of(npy, tif, packed) == {"m.npy": "m.mrc.gz", "m.tif": "m.mrc.gz"}
    (tmp_path / "elsewhere").mkdir()
    assert copies_of(tif, write_mrc(tmp_path / "elsewhere/m.mrc", movies[0])) == {}


def test_files_of_one_name_that_differ(tmp_path: Path, movies: np.ndarray) -> None:
    mrc = write_mrc(tmp_path / "in/m.mrc", movies[0])
    total = movies[0].sum(0, keepdims=True).astype("u2")
    for other in (total, movies[1], movies[0][:, :-1], movies[0][:2]):
        assert copies_of(mrc, write_tiff(tmp_path / "in/m.tif", other)) == {}
    (tmp_path / "in/m.npy").write_text("no image")
    assert copies_of(mrc, tmp_path / "in/m.npy") == {}
    layout = ReadOptions(raw=RawLayout(SHAPE, np.dtype("u1")))
    paths = []
    for name in ("r.raw", "r.mrc"):
        paths.append(tmp_path / "in" / name)
        paths[-1].write_bytes(bytes(143))
    assert copies_of(*paths, options=layout) == {}


def test_of_copies_the_one_that_is_whole_is_kept(tmp_path: Path, movies: np.ndarray) -> None:
    good = write_mrc(tmp_path / "in/m.mrcs", movies[0])
    cut = write_mrc(tmp_path / "in/m.mrc", movies[0])
    os.truncate(cut, cut.stat().st_size - 300)
    assert copies_of(cut, good) == {"m.mrc": "m.mrcs"}


@pytest.mark.parametrize(
    ("eer", "other", "copy"),
    [
        ("FoilHole_1_Data_2_EER.eer", "FoilHole_1_Data_2_Fractions.mrc", True),
        ("Position_1_001_3.00_EER.eer", "Position_1_001_3.00_fractions.mrc", True),
        ("ts_EER.eer", "ts_Fractions.mrc", True),
        ("ts_001.eer", "ts_001.mrc", True),
        ("ts_001.eer", "ts_002.mrc", False),
    ],
)
def test_eer_and_fractions(tmp_path: Path, eer: str, other: str, copy: bool) -> None:
    rng = np.random.default_rng(1)
    masks = rng.random((24, 16, 16)) < 0.1
    first = write_eer(tmp_path / eer, masks)
    second = write_mrc(tmp_path / other, masks.reshape(8, 3, 16, 16).sum(1).astype("i2"))
    expected = {other: eer} if copy else {}
    assert copies_of(second, first, options=ReadOptions(eer_grouping=6)) == expected
    write_mrc(second, masks.sum(0, keepdims=True).astype("i2"))
    if "_EER" not in eer:  # a movie and its sum
        assert copies_of(second, first, options=ReadOptions(eer_grouping=6)) == {}


def test_halves_are_chosen_without_copies(tmp_path: Path, movies: np.ndarray) -> None:
    for number, movie in enumerate(movies):
        write_mrc(tmp_path / f"in/m{number}.mrc", movie)
        (tmp_path / f"in/m{number}.mrcs").symlink_to(f"m{number}.mrc")
    said = r"^8 files left out, since each movie counts once \(\S*m0\.mrcs is the same file as m0\.mrc, "
    with pytest.warns(UserWarning, match=said):
        sensor = camnorm.measure(tmp_path / "in", tmp_path / "s.h5", screen="off")
    assert [half.count for half in sensor.halves] == [12, 12]
    assert_holds(sensor.moments, movies.reshape(-1, *SHAPE))
    assert len(sensor.frames) == 24
    told = Sensor.load(tmp_path / "s.h5").provenance["copies"]
    assert told["files"] == 8
    assert told["first"][0] == {
        "file": str(tmp_path / "in/m0.mrcs"),
        "copy_of": str(tmp_path / "in/m0.mrc"),
    }
    alone = tmp_path / "alone"
    alone.mkdir()
    for number in range(8):
        shutil.copy(tmp_path / f"in/m{number}.mrc", alone)
    expected = camnorm.measure(alone, screen="off")
    assert sensor.frames["half"].tolist() == expected.frames["half"].tolist()


def test_the_list_of_copies_fits_the_sensor_file(tmp_path: Path, movies: np.ndarray) -> None:
    path = write_mrc(tmp_path / "in/m.mrc", movies[0])
    links = tmp_path / ("x" * 200)
    links.mkdir()
    for number in range(400):
        (links / f"{number:04}.mrc").symlink_to(path)
    with pytest.warns(UserWarning, match="^400 files left out"):
        camnorm.measure([path, links], tmp_path / "s.h5", screen="off")
    told = Sensor.load(tmp_path / "s.h5").provenance["copies"]
    assert told["files"] == 400
    assert 0 < len(told["first"]) < 40


def test_verify_takes_no_test_frames_from_copies(tmp_path: Path) -> None:
    files = []
    for number, movie in enumerate(frames_of(48, (32, 32), "u2").reshape(24, 2, 32, 32)):
        files.append(write_mrc(tmp_path / f"m{number:02}.mrc", movie))
    sensor = camnorm.measure(files, screen="off")
    links = []
    for file in files:
        links.append(file.with_suffix(".mrcs"))
        links[-1].symlink_to(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = camnorm.verify([*links, *files], sensor, group=4)
    assert {Path(name).suffix for group in found.files for name, _ in group} == {".mrc"}


def test_the_command_line_reports_copies(tmp_path: Path, movies: np.ndarray) -> None:
    write_mrc(tmp_path / "in/m.mrc", movies[0])
    command = [sys.executable, "-m", "camnorm", "measure", "in/m.mrc", "in", "-o", "s.h5", "--screen", "off"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "copies          1 file left out (m.mrc for m.mrc)" in done.stdout
    assert "warning: 1 file left out, since each movie counts once (in/m.mrc is named twice)" in done.stderr
    (tmp_path / "s.h5").unlink()
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    path = str(tmp_path / "in/m.mrc")
    assert json.loads(done.stdout)["copies"] == {"files": 1, "first": [{"file": path, "copy_of": path}]}
