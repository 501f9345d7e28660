"""What users name as inputs: files, directories, patterns, lists and STAR files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from camnorm.errors import Error
from camnorm.io import expand_inputs
from camnorm.io.registry import format_names


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
    assert expand("links") == [("links/x.mrc", "x.mrc")]


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
        (["gone.star"], "^gone.mrc: no such file, named by gone.star$"),
    ],
)
def test_errors(tree: Path, inputs: list[str], message: str) -> None:
    (tree / "empty.txt").write_text("\n# nothing\n")
    (tree / "bad.txt").write_text("b.mrc\ngone.mrc\n")
    (tree / "nested.txt").write_text("@bad.txt\n")
    (tree / "binary.txt").write_bytes(b"\xff\xfe\0\1")
    (tree / "no_column.star").write_text("data_\nloop_\n_rlnImageName #1\n1@a.mrcs\n")
    (tree / "short.star").write_text("data_\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\nb.mrc\n")
    (tree / "gone.star").write_text("data_\nloop_\n_rlnMicrographName #1\ngone.mrc\n")
    with pytest.raises(Error, match=message):
        expand_inputs(inputs)
