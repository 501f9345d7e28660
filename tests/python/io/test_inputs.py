"""What users name as inputs: files, directories, patterns, lists and STAR files."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from camnorm.errors import Error
from camnorm.io import RawLayout, ReadOptions, expand_inputs
from camnorm.io.base.registry import format_names


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with images and other things, which is the current one."""
    for name in (
        "b.mrc",
        "a.MRC",
        "c.txt",
        ".hidden.tif",
        "grid/2.tiff",
        "grid/1.tif",
        "grid/deep/3.png",
        "grid/deep/notes.log",
        ".trash/old.mrc",
        "empty/readme.txt",
        "od[1]d.mrc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expand(*inputs: str | os.PathLike[str]) -> list[tuple[str, str]]:
    return [(str(file.path), str(file.relative)) for file in expand_inputs(inputs)]


def test_files_in_the_order_given(tree: Path) -> None:
    assert expand("b.mrc", "grid/1.tif", Path("a.MRC"), "b.mrc") == [
        ("b.mrc", "b.mrc"),
        ("grid/1.tif", "1.tif"),
        ("a.MRC", "a.MRC"),
        ("b.mrc", "b.mrc"),
    ]
    assert expand(tree / "b.mrc") == [(f"{tree}/b.mrc", "b.mrc")]
    assert expand("c.txt") == [("c.txt", "c.txt")]  # a file that is named is taken, whatever its suffix


@pytest.mark.parametrize("one", ["b.mrc", Path("b.mrc")])
def test_one_input_need_not_be_in_a_list(tree: Path, one: str | Path) -> None:
    assert [file.path for file in expand_inputs(one)] == [Path("b.mrc")]


def test_directory(tree: Path) -> None:
    assert expand("grid") == [
        ("grid/1.tif", "1.tif"),
        ("grid/2.tiff", "2.tiff"),
        ("grid/deep/3.png", "deep/3.png"),
    ]
    assert [path for path, _ in expand(".")] == [
        "a.MRC",
        "b.mrc",
        "grid/1.tif",
        "grid/2.tiff",
        "grid/deep/3.png",
        "od[1]d.mrc",
    ]


def test_directory_with_links(tree: Path) -> None:
    (tree / "links").mkdir()
    (tree / "links/x.mrc").symlink_to(tree / "b.mrc")
    (tree / "links/gone.mrc").symlink_to(tree / "gone.mrc")
    (tree / "links/loop").symlink_to(tree / "links")
    (tree / "links/circle.mrc").symlink_to(tree / "links/circle.mrc")
    (tree / "links/notes.txt").symlink_to(tree / "gone.txt")
    # Images that are missed are listed, to be told of when they cannot be read.
    names = ["circle.mrc", "gone.mrc", "x.mrc"]
    assert expand("links") == [(f"links/{name}", name) for name in names]
    assert expand("links/*.mrc") == [(f"links/{name}", name) for name in names]
    for name in ("circle", "gone"):
        with pytest.raises(Error, match=rf"^links/{name}\.mrc: a link that leads nowhere \(.*{name}\.mrc\)$"):
            expand(f"links/{name}.mrc")


def test_links_to_folders_are_followed_without_going_round(tree: Path) -> None:
    make(tree, "disk1/Data/1.tif", "disk2/2.tif", "session/own/3.tif", "elsewhere/.x/4.tif")
    session = tree / "session"
    (session / "A").symlink_to(tree / "disk1")
    (session / "own/B").symlink_to(tree / "disk2")
    (session / "again").symlink_to(session / "own")  # found by its own path
    (session / "up").symlink_to(tree)  # holds the session itself
    (tree / "disk1/back").symlink_to(session)
    (tree / "disk2/other").symlink_to(tree / "disk1")
    (session / ".hidden").symlink_to(tree / "elsewhere")
    names = ["A/Data/1.tif", "own/3.tif", "own/B/2.tif"]
    assert expand("session") == [(f"session/{name}", name) for name in names]
    (tree / "disk1/back").unlink()
    (tree / "only").mkdir()
    (tree / "only/movies").symlink_to(tree / "disk1")
    assert expand("only") == [("only/movies/Data/1.tif", "movies/Data/1.tif")]
    assert expand("only/**/*.tif") == [("only/movies/Data/1.tif", "movies/Data/1.tif")]


def test_folders_that_are_gone_are_reported(tree: Path) -> None:
    (tree / "set").mkdir()
    (tree / "set/Data").symlink_to(tree / "unmounted")
    with pytest.raises(
        Error, match=r"^set: no images in .*; 1 link leads nowhere \(Data -> \S*/unmounted\)$"
    ):
        expand("set")
    make(tree, "set/a.mrc")
    (tree / "set/More").symlink_to(tree / "unmounted")
    with pytest.warns(UserWarning, match=r"^set: 2 links lead nowhere \(Data -> \S*/unmounted, \.\.\.\)$"):
        assert expand("set") == [("set/a.mrc", "a.mrc")]


def test_directory_that_may_not_be_listed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images in it would be missed."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="grid/deep"):
        expand("grid")


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_directory_of_bare_pixels(tree: Path) -> None:
    make(
        tree,
        "raw/a.raw",
        "raw/deep/b",
        "raw/c.mrc",
        "raw/c.png",
        "raw/.d.raw",
        "raw/s.zarr/.zgroup",
        "raw/s.zarr/0",
    )
    options = ReadOptions(raw=RawLayout.parse("4x4:uint8"))
    found = [str(file.relative) for file in expand_inputs("raw", options)]
    assert found == ["a.raw", "c.mrc", "c.png", "deep/b", "s.zarr/0"]
    (tree / "hollow").mkdir()
    with pytest.raises(Error, match=r"^hollow: no files$"):
        expand_inputs("hollow", options)


def test_previews_beside_images_are_left_out(tree: Path) -> None:
    make(
        tree,
        "set/a.tiff",
        "set/a.jpg",
        "set/b.mrc",
        "set/b.mrc.PNG",
        "set/c.png",
        "set/deep/b.jpeg",
        "set/deep/d.JPG",
    )
    make(tree, "set/deep/d.npy", "set/deep/e.mrc.gz", "set/deep/e.png")
    with pytest.warns(UserWarning, match="left out") as caught:
        found = expand("set")
    assert [str(warning.message) for warning in caught] == [
        "set: 4 previews beside the images left out (a.jpg, ...)"
    ]
    assert [name for _, name in found] == [
        "a.tiff",
        "b.mrc",
        "c.png",
        "deep/b.jpeg",
        "deep/d.npy",
        "deep/e.mrc.gz",
    ]
    assert expand("set/a.jpg", "set/a.tiff") == [("set/a.jpg", "a.jpg"), ("set/a.tiff", "a.tiff")]
    assert len(expand("set/*.*")) == 5


# A session of EPU with a Falcon 4, as it lies on the disk; formats that camnorm does not read are there too.
EXPOSURE = "Images-Disc1/GridSquare_29352388/Data/FoilHole_29355487_Data_29354492_29354494_20230404_122813"
SQUARE = "Images-Disc1/GridSquare_29352388"


@pytest.mark.parametrize(
    "ending", ["_Fractions.mrc", "_fractions.tiff", "_Fractions.tif", "_EER.eer", "_Fractions.mrc.gz"]
)
def test_session_of_epu(tree: Path, ending: str) -> None:
    others = [
        "Atlas/Atlas_1.mrc",
        "Atlas/Tile_29349345_0_1.mrc",
        f"{SQUARE}/Data/Data_29354492_29354494_20230404.mrc",
        f"{EXPOSURE}.mrc",
        f"{EXPOSURE}.jpg",
        f"{EXPOSURE}_Fractions-gain-ref.MRC",
        f"{EXPOSURE}_Fractions.png",
        f"{SQUARE}/FoilHoles/FoilHole_29355487_20230404_122806.mrc",
        f"{SQUARE}/GridSquare_20230404_111213.mrc",
        "20230403_gain.mrc",
        "20230404_103012_GainReference.tiff",
    ]
    make(tree / "epu", *others, "EpuSession.dm", f"{EXPOSURE}.xml", f"{EXPOSURE}{ending}", "mine.mrc")
    with pytest.warns(UserWarning, match="^epu: .* left out ") as caught:
        found = expand("epu")
    assert [name for _, name in found] == [f"{EXPOSURE}{ending}", "mine.mrc"]
    assert [str(warning.message) for warning in caught] == [
        "epu: 3 gain references, 4 overviews, 2 summed exposures, 2 previews beside the movies left out "
        "(20230403_gain.mrc, ...)"
    ]
    assert [name for _, name in expand(*(tree / "epu" / name for name in others))] == [
        Path(name).name for name in others
    ]


def test_session_of_tomography_5(tree: Path) -> None:
    names = [f"Position_1_{k:03}_{3 * k}.00_20240509_23000{k}" for k in range(3)]
    others = ["Position_1.mrc", "Position_1_2.mrc", "SearchMap_3.mrc", "Position_1_search.mrc", "x_gain.mrc"]
    movies = [f"{name}_EER.eer" for name in names]
    make(tree / "tomo", *others, *movies, f"{names[0]}_Fractions.mrc", f"{names[1]}_fractions.tiff")
    with pytest.warns(UserWarning, match="^tomo: .* left out") as caught:
        assert [name for _, name in expand("tomo")] == movies
    assert [str(warning.message).partition(" left out")[0] for warning in caught] == [
        "tomo: 2 tilt series, 2 overviews, 1 gain reference beside the movies",
        "tomo: 2 files",
    ]
    (tree / "alone").mkdir()
    make(tree / "alone", "Position_1.mrc")
    assert [name for _, name in expand("alone")] == ["Position_1.mrc"]


def test_exposures_of_any_name_in_two_formats_count_once(tree: Path) -> None:
    make(tree, "two/ts_1_EER.eer", "two/ts_1_Fractions.mrc", "two/ts_2_fractions.tiff")
    with pytest.warns(UserWarning, match="^two: 1 file left out whose frames another gives too"):
        assert [name for _, name in expand("two")] == ["ts_1_EER.eer", "ts_2_fractions.tiff"]


def test_summed_exposures_alone_are_images(tree: Path) -> None:
    make(tree / "epu", f"{EXPOSURE}.mrc", f"{SQUARE}/GridSquare_1.mrc")
    assert [name for _, name in expand("epu")] == [f"{EXPOSURE}.mrc", f"{SQUARE}/GridSquare_1.mrc"]
    make(tree / "epu", f"{EXPOSURE}_Fractions.jpg")  # no movie either
    assert len(expand("epu")) == 3


def test_patterns(tree: Path) -> None:
    assert expand("*.mrc") == [("b.mrc", "b.mrc"), ("od[1]d.mrc", "od[1]d.mrc")]
    assert expand("*/*.tif*") == [("grid/1.tif", "grid/1.tif"), ("grid/2.tiff", "grid/2.tiff")]
    assert expand("grid/*.tif") == [("grid/1.tif", "1.tif")]
    assert expand("grid/**/*.*[fg]") == [
        ("grid/1.tif", "1.tif"),
        ("grid/2.tiff", "2.tiff"),
        ("grid/deep/3.png", "deep/3.png"),
        ("grid/deep/notes.log", "deep/notes.log"),
    ]
    assert expand(f"{tree}/gr?d/1.tif") == [(f"{tree}/grid/1.tif", "grid/1.tif")]
    assert expand("./gri*/1.tif") == [("grid/1.tif", "grid/1.tif")]


def test_name_of_a_file_is_no_pattern(tree: Path) -> None:
    assert expand("od[1]d.mrc") == [("od[1]d.mrc", "od[1]d.mrc")]


def test_list(tree: Path) -> None:
    (tree / "lists").mkdir()
    (tree / "lists/here.mrc").touch()
    (tree / "lists/all.txt").write_text(
        "# first set\n\n  grid/2.tiff\nhere.mrc\r\n  # more\ngrid\n*.MRC\nher*.mrc\n"
    )
    assert expand("@lists/all.txt", "b.mrc") == [
        ("grid/2.tiff", "2.tiff"),
        ("lists/here.mrc", "here.mrc"),
        ("grid/1.tif", "1.tif"),
        ("grid/2.tiff", "2.tiff"),
        ("grid/deep/3.png", "deep/3.png"),
        ("a.MRC", "a.MRC"),
        ("lists/here.mrc", "here.mrc"),
        ("b.mrc", "b.mrc"),
    ]


STAR = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
opticsGroup1            1

# version 30001

data_movies

loop_
_rlnMicrographName #1
_rlnMicrographMovieName #2
_rlnOpticsGroup #3
'Mic 1.mrc'   "grid/1.tif"  1
Mic2.mrc      grid/deep/3.png  1

"""


def test_star_file(tree: Path) -> None:
    (tree / "Import").mkdir()
    (tree / "Import/movies.star").write_text(STAR)
    assert expand("Import/movies.star") == [
        ("grid/1.tif", "grid/1.tif"),
        ("grid/deep/3.png", "grid/deep/3.png"),
    ]


def test_star_file_of_micrographs_beside_it(tree: Path) -> None:
    (tree / "job").mkdir()
    (tree / "job/Mic 1.mrc").touch()
    (tree / "job/a.star").write_text(
        f"data_\nloop_\n_rlnMicrographName #1\n'Mic 1.mrc'\n{tree}/b.mrc\n../b.mrc\n"
    )
    assert expand("job/a.star") == [
        ("job/Mic 1.mrc", "Mic 1.mrc"),
        (f"{tree}/b.mrc", "b.mrc"),
        ("job/../b.mrc", "b.mrc"),
    ]
    (tree / "one.star").write_text("data_\n\n_rlnMicrographName   b.mrc\n_rlnOpticsGroup 1\n")
    assert expand("one.star") == [("b.mrc", "b.mrc")]


# Files as RELION 3.1 to 5 write them, and as people do; starfile 0.5.13 reads the same names from them.
SHAPES = {
    "RELION 3.1": """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMtfFileName #3
_rlnMicrographOriginalPixelSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
opticsGroup1            1 mtf_k2_200kV.star     0.885000   200.000000     1.400000     0.100000


# version 30001

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
Movies/1.tiff            1
Movies/2.tiff            1
 """,
    "corrected micrographs": """
# version 40001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
opticsGroup1            1


# version 40001

data_micrographs

loop_
_rlnCtfPowerSpectrum #1
_rlnMicrographName #2
_rlnMicrographMetadata #3
_rlnOpticsGroup #4
_rlnAccumMotionTotal #5
MotionCorr/job002/1_PS.mrc Movies/1.tiff MotionCorr/job002/1.star            1    16.420495
MotionCorr/job002/2_PS.mrc Movies/2.tiff MotionCorr/job002/2.star            1    19.551677

""",
    "particles": """data_particles

loop_
_rlnCoordinateX #1
_rlnMicrographName #2
  10.0 Movies/1.tiff
  20.0 Movies/1.tiff
  30.0 Movies/2.tiff
  40.0 Movies/1.tiff
""",
    "one movie, no loop": """
data_general

_rlnImageSizeX                                     3710
_rlnMicrographMovieName           Movies/1.tiff
_rlnMicrographGainName            ""
_rlnMicrographBinning                          1.000000

data_global_shift

loop_
_rlnMicrographFrameNumber #1
_rlnMicrographShiftX #2
           1     0.000000
           2     0.310915

data_images

_rlnMicrographMovieName 'Movies/2.tiff'
""",
    "quotes, comments, DOS": (
        "data_\r\n# made by hand\r\nloop_\r\n_rlnOpticsGroupName # what\r\n_rlnMicrographMovieName\r\n"
        '\'a group\' "Movies/1.tiff"\r\n\r\n# half time\r\n""\tMovies/2.tiff # the last\r\n'
    ),
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_star_files_of_relion(tree: Path, text: str) -> None:
    make(tree, "Movies/1.tiff", "Movies/2.tiff")
    if "version 40001" in text:  # which ends lines with a space
        text = text.replace("\n", " \n")
    (tree / "a.star").write_bytes(text.encode())
    assert expand("a.star") == [("Movies/1.tiff", "Movies/1.tiff"), ("Movies/2.tiff", "Movies/2.tiff")]


def test_star_file_with_names_like_its_own_words(tree: Path) -> None:
    make(tree, "data_1/a.mrc", "_b.mrc", "data_1/c #1.mrc", "O'Neil#1.mrc")
    (tree / "a.star").write_text(
        "data_\nloop_\n_rlnMicrographMovieName #1\ndata_1/a.mrc\n_b.mrc\n'data_1/c #1.mrc'\nO'Neil#1.mrc\n"
        "data_end\n_rlnX 1\n"
    )
    names = ["data_1/a.mrc", "_b.mrc", "data_1/c #1.mrc", "O'Neil#1.mrc"]
    assert [name for _, name in expand("a.star")] == names


def test_star_file_in_a_project_that_is_elsewhere(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tree, "project/Movies/1.tiff", "project/Import/job001/x")
    star = tree / "project/Import/job001/movies.star"
    star.write_text("data_movies\nloop_\n_rlnMicrographMovieName #1\nMovies/1.tiff\n")
    expected = (str(tree / "project/Movies/1.tiff"), "Movies/1.tiff")
    assert expand("project/Import/job001/movies.star") == [expected]
    monkeypatch.chdir(tree / "grid")
    assert expand(star) == [expected]


def test_star_file_of_tilt_series(tree: Path) -> None:
    make(tree, "Movies/TS_1_0.tif", "Movies/TS_1_1.tif", "Movies/TS_2_0.tif", "Import/job001/tilt_series/x")
    folder = tree / "Import/job001"
    (folder / "tilt_series.star").write_text(
        "\n# version 50001\n\ndata_global\n\nloop_ \n_rlnTomoName #1 \n_rlnTomoTiltSeriesStarFile #2 \n"
        "TS_1 Import/job001/tilt_series/TS_1.star \nTS_2 Import/job001/tilt_series/TS_2.star \n \n"
    )
    for number, tilts in ((1, 2), (2, 1)):
        rows = "".join(f"Movies/TS_{number}_{tilt}.tif {3.0 * tilt} \n" for tilt in range(tilts))
        (folder / f"tilt_series/TS_{number}.star").write_text(
            f"\n# version 50001\n\ndata_TS_{number}\n\nloop_ \n_rlnMicrographMovieName #1 \n"
            f"_rlnTomoNominalStageTiltAngle #2 \n{rows} \n"
        )
    names = [name for _, name in expand("Import/job001/tilt_series.star")]
    assert names == ["Movies/TS_1_0.tif", "Movies/TS_1_1.tif", "Movies/TS_2_0.tif"]
    (folder / "tilt_series/TS_2.star").unlink()
    with pytest.raises(
        Error, match=r"^Import/.*/TS_2.star: no such file, named by Import/.*/tilt_series.star$"
    ):
        expand("Import/job001/tilt_series.star")


MDOC = """\
PixelSpacing = 2.7
Voltage = 300
ImageFile = TS_01.mrc
ImageSize = 5760 4092
DataMode = 1

[T = SerialEM: Digitized on EMBL Krios                       30-Nov-15  15:14:20    ]

[ZValue = 0]
TiltAngle = 0.0
StagePosition = 0.25 -0.25
SubFramePath = D:\\DATA\\session 1\\frames\\TS_01_000_0.0.tif
NumSubFrames = 8

[ZValue = 1]
TiltAngle = 3.0
SubFramePath = \\\\server\\share\\TS_01_001_3.0.tif
NumSubFrames = 8

[ZValue = 2]
SubFramePath = /images/deep/TS_01_002_-3.0.tif
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_mdoc(tree: Path, end: str) -> None:
    make(tree / "tilts", "frames/TS_01_000_0.0.tif", "TS_01_001_3.0.tif", "images/deep/TS_01_002_-3.0.tif")
    make(tree / "tilts", "deep/TS_01_001_3.0.tif", "TS_01.mrc")
    (tree / "tilts/TS_01.mrc.mdoc").write_bytes(MDOC.replace("\n", end).encode("latin-1"))
    names = ["frames/TS_01_000_0.0.tif", "TS_01_001_3.0.tif", "images/deep/TS_01_002_-3.0.tif"]
    assert expand("tilts/TS_01.mrc.mdoc") == [(f"tilts/{name}", name) for name in names]
    (tree / "@list.txt").write_text("tilts/TS_01.mrc.mdoc\n")
    assert len(expand("@@list.txt")) == 3


def star_of(*names: str) -> str:
    return "data_movies\nloop_\n_rlnMicrographMovieName #1\n" + "".join(f"{name}\n" for name in names)


def test_lists_by_a_pattern(tree: Path) -> None:
    for job in (1, 2):
        make(tree, f"Movies/{job}.tif", f"job{job}/x", f"TS_{job}.tif")
        (tree / f"job{job}/movies.star").write_text(star_of(f"Movies/{job}.tif"))
        (tree / f"TS_{job}.mdoc").write_text(f"SubFramePath = X:\\a\\TS_{job}.tif\n")
    stars = [("Movies/1.tif", "Movies/1.tif"), ("Movies/2.tif", "Movies/2.tif")]
    tilts = [("TS_1.tif", "TS_1.tif"), ("TS_2.tif", "TS_2.tif")]
    assert expand("job*/movies.star") == stars
    assert expand("TS_*.mdoc") == tilts
    (tree / "all.txt").write_text("TS_*.mdoc\njob?/*.star\n")
    assert expand("@all.txt") == tilts + stars
    assert expand_inputs("@all.txt")[0].lists == (Path("all.txt"), Path("TS_1.mdoc"))
    said = (
        r"^TS_\*: 2 STAR or mdoc files beside images left out \(TS_1\.mdoc, \.\.\.\); name these by a pattern"
    )
    with pytest.warns(UserWarning, match=said):
        assert expand("TS_*") == tilts


def test_mdoc_files_beside_the_folder_of_the_frames(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tree, "s/frames/a.tif", "s/frames/b.tif", "s/mdoc/x", "there/c.tif", "there/deep/d.tif")
    (tree / "s/mdoc/t.mdoc").write_text(
        "SubFramePath = X:\\DATA\\frames\\a.tif\nSubFramePath = X:\\DATA\\frames\\b.tif\n"
    )
    expected = [(str(tree / f"s/frames/{name}.tif"), f"frames/{name}.tif") for name in "ab"]
    assert expand("s/mdoc/t.mdoc") == expected
    monkeypatch.chdir(tree / "s/mdoc")
    assert expand("t.mdoc") == expected
    (tree / "s/mdoc/u.mdoc").write_text("SubFramePath = X:\\run\\c.tif\nSubFramePath = X:\\deep\\d.tif\n")
    with pytest.raises(
        Error, match=r"^c\.tif: no such file .* \(nor are 1 more\); use frames_dir=DIR to say"
    ):
        expand("u.mdoc")
    options = ReadOptions(frames_dir=tree / "there")
    files = expand_inputs("u.mdoc", options)
    assert [file.path for file in files] == [tree / "there/c.tif", tree / "there/deep/d.tif"]
    assert [str(file.relative) for file in files] == ["c.tif", "deep/d.tif"]
    (tree / "s/mdoc/m.star").write_text(star_of("Movies/c.tif", "/gone/deep/d.tif"))
    files = expand_inputs("m.star", options)
    assert [file.path for file in files] == [tree / "there/c.tif", tree / "there/deep/d.tif"]
    assert [str(file.relative) for file in files] == ["Movies/c.tif", "d.tif"]
    assert ReadOptions.from_dict(options.to_dict()) == options
    with pytest.raises(
        Error, match=r"nowhere: no such directory; frames_dir=DIR says where the files of m\.star"
    ):
        expand_inputs("m.star", ReadOptions(frames_dir=tree / "nowhere"))


@pytest.mark.parametrize("kind", ["star", "mdoc"])
def test_a_movie_that_is_missing_is_listed(tree: Path, kind: str) -> None:
    make(tree, "a.tif", "c.tif")
    text = star_of("a.tif", "b.tif", "c.tif")
    if kind == "mdoc":
        text = "".join(f"SubFramePath = X:\\{name}.tif\n" for name in "abc")
    (tree / f"l.{kind}").write_text(text)
    assert expand(f"l.{kind}") == [(f"{name}.tif", f"{name}.tif") for name in "abc"]
    (tree / f"m.{kind}").write_text(text.replace("a.tif", "x.tif").replace("c.tif", "y.tif"))
    assert len(expand(f"l.{kind}", f"m.{kind}")) == 6
    with pytest.raises(Error, match="no such file"):
        expand(f"m.{kind}", "b.mrc")


def test_mdoc_of_one_movie(tree: Path) -> None:
    make(tree, "movie 1.tif")
    text = "[T = 25 °C, Ünal]\r\n[FrameSet = 0]\r\nTiltAngle = 0\r\nSubFramePath = X:\\run\\movie 1.tif\r\n"
    (tree / "movie 1.tif.mdoc").write_bytes(text.encode("cp1252"))
    assert expand("movie 1.tif.mdoc") == [("movie 1.tif", "movie 1.tif")]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["none.mrc"], "^none.mrc: no such file$"),
        (["b.mrc", "gone/none.mrc"], "^gone/none.mrc: no such file$"),
        (["*.tif"], r"^\*\.tif: no file matches this pattern$"),
        (["gri?"], r"^gri\?: no file matches this pattern$"),  # it matches a directory
        (["empty"], rf"^empty: no images in this directory \({re.escape(format_names())}\)$"),
        ([], "^no input files were given$"),
        ([""], "^the name of an input is empty$"),
        (["@none.txt"], "^none.txt: No such file or directory$"),
        (["@empty.txt"], "^empty.txt: this list names no files$"),
        (["@bad.txt"], "^gone.mrc: no such file$"),
        (["@nested.txt"], "^@bad.txt: no such file$"),
        (["@binary.txt"], "^binary.txt: not a text file$"),
        (["none.star"], "^none.star: no such file$"),
        (
            ["no_column.star"],
            "^no_column.star: this STAR file has no _rlnMicrographMovieName or _rlnMicrographN",
        ),
        (["short.star"], "^short.star, line 5: 1 values for 2 columns$"),
        (
            ["gone.star"],
            "^gone.mrc: no such file, named by gone.star; use frames_dir=DIR to say where they are$",
        ),
        (["hollow.mdoc"], r"^hollow.mdoc: this mdoc file names no frames \(SubFramePath\)$"),
        (
            ["gone.mdoc"],
            r"^gone.tif: no such file beside gone.mdoc, which names it D:\\a\\gone.tif; use frames_dir=DIR",
        ),
    ],
)
def test_errors(tree: Path, inputs: list[str], message: str) -> None:
    (tree / "empty.txt").write_text("\n# nothing\n")
    (tree / "bad.txt").write_text("b.mrc\ngone.mrc\n")
    (tree / "nested.txt").write_text("@bad.txt\n")
    (tree / "binary.txt").write_bytes(b"\xff\xfe\0\1")
    (tree / "no_column.star").write_text("data_\nloop_\n_rlnImageName #1\n1@a.mrcs\n")
    (tree / "short.star").write_text("data_\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\nb.mrc\n")
    (tree / "hollow.mdoc").write_text("[ZValue = 0]\nTiltAngle = 0\n")
    (tree / "gone.mdoc").write_text("[ZValue = 0]\nSubFramePath = D:\\a\\gone.tif\n")
    (tree / "gone.star").write_text("data_\nloop_\n_rlnMicrographName #1\ngone.mrc\n")
    with pytest.raises(Error, match=message):
        expand_inputs(inputs)


def test_exposures_of_epu_in_two_formats_count_once(tree: Path) -> None:
    names = [f"FoilHole_{n}_Data_{n}_0_20210101_120000" for n in range(3)]
    folder = tree / "two"
    folder.mkdir()
    for name in (f"{names[0]}_EER.eer", f"{names[0]}_Fractions.tiff", f"{names[1]}_Fractions.mrc",
                 f"{names[1]}_Fractions.tiff", f"{names[2]}_EER.eer"):  # fmt: skip
        (folder / name).touch()
    for name in ("two", "two/*"):
        said = rf"^{re.escape(name)}: 2 files left out whose frames another gives too \({names[0]}_Fractions"
        with pytest.warns(UserWarning, match=said):
            found = expand(name)
        assert [relative for _, relative in found] == [
            f"{names[0]}_EER.eer",
            f"{names[1]}_Fractions.mrc",
            f"{names[2]}_EER.eer",
        ]
    for suffix in ("jpg", "bak"):  # a pattern takes what matches, and these are no movies
        (folder / f"{names[2]}_Fractions.{suffix}").touch()
    assert [relative for _, relative in expand(f"two/{names[2]}*")] == [
        f"{names[2]}_EER.eer",
        f"{names[2]}_Fractions.bak",
        f"{names[2]}_Fractions.jpg",
    ]


LONG = "x" * 300 + ".mrc"


@pytest.mark.parametrize("name", [LONG, "no/" + LONG, LONG + "/a.mrc", "a\0.mrc"])
@pytest.mark.parametrize("how", ["alone", "among", "list", "star", "mdoc"])
def test_names_that_no_file_can_have(tree: Path, name: str, how: str) -> None:
    Path("list.txt").write_text(f"a.MRC\n{name}\nb.mrc\n")
    Path("l.star").write_text(f"data_\n\nloop_\n_rlnMicrographMovieName\n{name}\n")
    Path("l.mdoc").write_text(f"SubFramePath = {name}\n")
    inputs = {"alone": [name], "among": ["a.MRC", name], "list": ["@list.txt"]}
    with pytest.raises(Error, match=r"\.mrc: no such file") as info:
        expand_inputs(inputs.get(how, [f"l.{how}"]))
    assert "\n" not in str(info.value)


def test_the_longest_name(tree: Path) -> None:
    name = "x" * 251 + ".mrc"
    Path(name).touch()
    assert expand(name) == [(name, name)]
    assert (name, name) in expand(".")


def test_a_long_list_takes_few_calls_of_the_system(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 1000
    names = [f"f{number}.mrc" for number in range(count)]
    for name in names:
        Path(name).touch()
    Path("list.txt").write_text("\n".join(names))
    calls = 0
    stat = os.stat

    def counted(*arguments: Any, **options: Any) -> os.stat_result:
        nonlocal calls
        calls += 1
        return stat(*arguments, **options)

    monkeypatch.setattr(os, "stat", counted)
    assert len(expand_inputs("@list.txt")) == count
    assert calls < 3 * count
