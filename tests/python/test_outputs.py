"""Where results go: never outside of the folder that the user named, never in the place of an input."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import camnorm
from camnorm.errors import BusyError, Error
from camnorm.io import Protected, atomic_target, open_frames
from camnorm.io.base.atomic import AtomicFile, AtomicStore
from camnorm.sizes import divided
from image_sets import frames_of, run_script, write_mrc, write_npy, write_tiff

SHAPE = (13, 11)

pytestmark = [
    pytest.mark.filterwarnings("ignore:rows are turned upside down"),
    # Each movie of these small sets is a large part of the statistics.
    pytest.mark.filterwarnings("ignore:.* of the statistics that correct:UserWarning"),
]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with movies in several places, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("frames", "sub/deep", "far")):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(2):
            write_mrc(
                tmp_path / folder / f"m{number}{i}.mrc", frames_of(6, SHAPE, "u2", seed=10 * number + i)
            )
    (tmp_path / "lists").mkdir()
    camnorm.measure("frames", "sensor.h5", screen="off")
    return tmp_path


def snapshot(folder: Path) -> dict[str, str]:
    """Content of all files, and where links lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@contextmanager
def nothing_changes_but(folder: Path, inside: Path) -> Iterator[None]:
    """All files stay what they are, and new ones are only in one place."""
    before = snapshot(folder)
    yield
    after = snapshot(folder)
    place = f"{inside.relative_to(folder)}{os.sep}"
    assert {name: after.get(name) for name in before} == before
    assert [name for name in after if name not in before and not name.startswith(place)] == []


# --- results that would leave their folder

MDOC = "[FrameSet = 0]\nSubFramePath = {}\n"
STAR = "data_\nloop_\n_rlnMicrographMovieName #1\n{}\n"


def text(name: str, content: str) -> Callable[[Path], str]:
    """An input that is a text file, which is made where it says."""

    def make(tree: Path) -> str:
        path = tree / name.removeprefix("@")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("{tree}", str(tree)))
        return name

    return make


def plain(name: str) -> Callable[[Path], str]:
    return lambda tree: name.replace("{tree}", str(tree))


ESCAPES: dict[str, tuple[Callable[[Path], str], str]] = {
    # what is named, and the name of its result below the folder of results
    "mdoc ..": (text("lists/a.mdoc", MDOC.format("../frames/m00.mrc")), "frames/m00.mrc"),
    "mdoc ..\\": (text("lists/a.mdoc", MDOC.format(r"..\frames\m00.mrc")), "frames/m00.mrc"),
    "mdoc .\\..": (text("lists/a.mdoc", MDOC.format(r".\..\.\frames\m00.mrc")), "frames/m00.mrc"),
    "mdoc a/../..": (text("lists/a.mdoc", MDOC.format("a/../../frames/m00.mrc")), "frames/m00.mrc"),
    "mdoc x: ..": (text("lists/a.mdoc", MDOC.format(r"X:\data\..\..\frames\m00.mrc")), "frames/m00.mrc"),
    "mdoc share": (text("lists/a.mdoc", MDOC.format(r"\\host\share\..\frames\m00.mrc")), "frames/m00.mrc"),
    "mdoc absolute": (text("lists/a.mdoc", MDOC.format("/nowhere/../frames/m00.mrc")), "frames/m00.mrc"),
    "mdoc mixed": (text("lists/a.mdoc", MDOC.format(r"..\frames/../frames\m00.mrc")), "frames/m00.mrc"),
    "mdoc deep": (text("lists/b/c/a.mdoc", MDOC.format("../../../frames/m00.mrc")), "frames/m00.mrc"),
    "mdoc in list": (
        lambda tree: (
            text("lists/a.mdoc", MDOC.format("../frames/m00.mrc"))(tree),
            text("@lists/l.txt", "lists/a.mdoc\n")(tree),
        )[1],
        "frames/m00.mrc",
    ),
    "star ..": (text("lists/a.star", STAR.format("../frames/m00.mrc")), "frames/m00.mrc"),
    "star a/..": (text("lists/a.star", STAR.format("frames/../frames/m00.mrc")), "frames/m00.mrc"),
    "star ../..": (text("lists/b/a.star", STAR.format("../../frames/m00.mrc")), "frames/m00.mrc"),
    "star absolute": (text("lists/a.star", STAR.format("{tree}/frames/m00.mrc")), "m00.mrc"),
    "star //": (text("lists/a.star", STAR.format("{tree}//frames/./m00.mrc")), "m00.mrc"),
    "star absolute ..": (text("lists/a.star", STAR.format("{tree}/far/../frames/m00.mrc")), "m00.mrc"),
    "star .": (text("lists/a.star", STAR.format("./../tree/../frames/m00.mrc")), "frames/m00.mrc"),
    "list ..": (text("@lists/l.txt", "../frames/m00.mrc\n"), "m00.mrc"),
    "list absolute": (text("@lists/l.txt", "{tree}/frames/m00.mrc\n"), "m00.mrc"),
    "list a/../..": (text("@lists/l.txt", "../far/../frames/m00.mrc\n"), "m00.mrc"),
    "list pattern": (text("@lists/l.txt", "../su*/../far/m2*.mrc\n"), "far/m20.mrc"),
    "list pattern out": (text("@lists/l.txt", "../sub/*/../../far/*.mrc\n"), "far/m20.mrc"),
    "list folder": (text("@lists/l.txt", "../far/../frames\n"), "m00.mrc"),
    "pattern out": (plain("sub/*/../../far/*.mrc"), "far/m20.mrc"),
    "pattern further out": (plain("sub/*/../../../{base}/far/*.mrc"), "{base}/far/m20.mrc"),
    "pattern absolute": (plain("{tree}/sub/*/../../far/*.mrc"), "far/m20.mrc"),
    "pattern **": (plain("sub/**/../../far/*.mrc"), "far/m20.mrc"),
    "file ..": (plain("sub/../frames/m00.mrc"), "m00.mrc"),
    "file absolute": (plain("{tree}/frames/m00.mrc"), "m00.mrc"),
    "folder ..": (plain("sub/../frames"), "m00.mrc"),
    "folder link": (
        lambda tree: (os.symlink(tree / "frames", tree / "link"), "link/../frames")[1],
        "m00.mrc",
    ),
}


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize("spelling", ESCAPES)
def test_results_stay_below_their_folder(tree: Path, spelling: str, virtual: bool) -> None:
    make, name = ESCAPES[spelling]
    if not (tree / "tree").exists():
        (tree / "tree").mkdir()
    inputs = make(tree).replace("{base}", tree.name)
    out = tree / "new" / "out"
    with nothing_changes_but(tree, out):
        written = camnorm.correct(inputs, "sensor.h5", out, virtual=virtual, overwrite=True)
    ending = ".camnorm.json" if virtual else ""
    assert written[0] == out / (name.replace("{base}", tree.name) + ending)
    with open_frames(written[0]) as source:
        assert source.count == 6


def test_movies_of_the_same_name_do_not_meet(tree: Path) -> None:
    """RELION's rule for names without '..' keeps the folders apart; so does what is left of others."""
    (tree / "far" / "m00.mrc").write_bytes((tree / "far" / "m20.mrc").read_bytes())
    (tree / "lists" / "a.star").write_text(STAR.format("../frames/m00.mrc\n../far/m00.mrc"))
    written = camnorm.correct("lists/a.star", "sensor.h5", tree / "out")
    assert written == [tree / "out/frames/m00.mrc", tree / "out/far/m00.mrc"]
    (tree / "lists" / "l.txt").write_text("../frames/m00.mrc\n../far/m00.mrc")
    with pytest.raises(
        Error, match=r"frames/m00\.mrc and .*far/m00\.mrc would both be written to .*m00\.mrc"
    ):
        camnorm.correct("@lists/l.txt", "sensor.h5", tree / "two")
    assert not (tree / "two").exists()


@pytest.mark.parametrize("where", ["elsewhere", "missing", "frames"])
@pytest.mark.parametrize("virtual", [False, True])
def test_links_do_not_lead_out_of_the_folder_of_results(tree: Path, where: str, virtual: bool) -> None:
    (tree / "elsewhere").mkdir()
    (tree / "out").mkdir()
    os.symlink(tree / where, tree / "out" / "frames")
    with (
        nothing_changes_but(tree, tree / "none"),
        pytest.raises(
            Error, match=r"out/frames: leads to .*, outside of .*out; results stay below that folder"
        ),
    ):
        camnorm.correct("*/m00.mrc", "sensor.h5", tree / "out", virtual=virtual, overwrite=True)


def test_the_folder_of_results_may_be_a_link(tree: Path) -> None:
    (tree / "elsewhere").mkdir()
    os.symlink(tree / "elsewhere", tree / "out")
    assert camnorm.correct("frames", "sensor.h5", "out") == [Path("out/m00.mrc"), Path("out/m01.mrc")]
    assert sorted(path.name for path in (tree / "elsewhere").iterdir()) == ["m00.mrc", "m01.mrc"]


# --- results that would replace an input


def linked(target: str, link: str) -> Callable[[Path], None]:
    return lambda tree: os.symlink(tree / target, tree / link)


def hard_linked(target: str, link: str) -> Callable[[Path], None]:
    def make(tree: Path) -> None:
        (tree / link).parent.mkdir(parents=True, exist_ok=True)
        os.link(tree / target, tree / link)

    return make


def nothing(tree: Path) -> None:
    pass


def both(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(tree: Path) -> None:
        for step in steps:
            step(tree)

    return make


SAME: dict[str, tuple[Callable[[Path], object], str, str]] = {
    # what is prepared, the input, the folder of results: one of the results would be an input
    "same": (nothing, "frames", "frames"),
    ".": (nothing, "frames/m00.mrc", "frames/."),
    "current": (lambda tree: os.chdir(tree / "frames"), "m00.mrc", "."),
    "empty": (lambda tree: os.chdir(tree / "frames"), "m00.mrc", ""),
    "absolute": (nothing, "frames/m00.mrc", "{tree}/frames"),
    "absolute input": (nothing, "{tree}/frames/m00.mrc", "frames"),
    "//": (nothing, "frames", "{tree}//frames//"),
    "missing/..": (nothing, "frames/m00.mrc", "new/../frames"),
    "missing/../missing/..": (nothing, "frames/m00.mrc", "new/../new/../frames"),
    "missing/a/../..": (nothing, "frames/m00.mrc", "new/a/../../frames"),
    "there/..": (nothing, "frames/m00.mrc", "far/../frames"),
    "../there": (nothing, "frames/m00.mrc", "../{base}/frames"),
    "itself/..": (nothing, "frames/m00.mrc", "frames/../frames"),
    "file/..": (nothing, "frames/m00.mrc", "frames/m00.mrc/.."),
    "link to the folder": (linked("frames", "link"), "frames", "link"),
    "link to the folder, input": (linked("frames", "link"), "link", "frames"),
    "link/..": (linked("sub/deep", "link"), "sub/deep/m10.mrc", "link/../deep"),
    "link to a link": (both(linked("frames", "a"), linked("a", "link")), "frames", "link"),
    "link to the file": (
        both(lambda tree: (tree / "out").mkdir(), linked("frames/m00.mrc", "out/m00.mrc")),
        "frames",
        "out",
    ),
    "link is the input": (
        both(lambda tree: (tree / "in").mkdir(), linked("frames/m00.mrc", "in/m00.mrc")),
        "in/m00.mrc",
        "in",
    ),
    "link is the input, its target": (
        both(lambda tree: (tree / "in").mkdir(), linked("frames/m00.mrc", "in/m00.mrc")),
        "in/m00.mrc",
        "frames",
    ),
    "hard link": (hard_linked("frames/m00.mrc", "out/m00.mrc"), "frames/m00.mrc", "out"),
    "hard link of another": (hard_linked("frames/m01.mrc", "out/m00.mrc"), "frames", "out"),
    "mdoc": (text("lists/a.mdoc", MDOC.format("../frames/m00.mrc")), "lists/a.mdoc", "."),
    "mdoc, missing/..": (text("lists/a.mdoc", MDOC.format("../frames/m00.mrc")), "lists/a.mdoc", "new/.."),
    "mdoc \\": (text("lists/a.mdoc", MDOC.format(r"..\frames\m00.mrc")), "lists/a.mdoc", "{tree}"),
    "star": (text("a.star", STAR.format("frames/m00.mrc")), "a.star", "."),
    "star ..": (text("lists/a.star", STAR.format("../frames/m00.mrc")), "lists/a.star", "."),
    "star absolute": (text("a.star", STAR.format("{tree}/frames/m00.mrc")), "a.star", "frames"),
    "list": (text("l.txt", "frames/m00.mrc"), "@l.txt", "frames"),
    "list absolute": (text("l.txt", "{tree}/frames/m00.mrc"), "@l.txt", "far/../frames"),
    "pattern": (nothing, "frames/*.mrc", "frames"),
    "pattern out": (nothing, "sub/*/../../far/*.mrc", "."),
    "folder above": (nothing, ".", "{tree}"),
    "another input": (
        lambda tree: write_mrc(tree / "frames" / "far" / "m20.mrc", frames_of(6, SHAPE, "u2")),
        "{tree}",
        "frames",
    ),
}


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("spelling", SAME)
def test_inputs_are_never_replaced(tree: Path, spelling: str, overwrite: bool) -> None:
    prepare, inputs, out = SAME[spelling]
    for folder in ("frames/far",):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    prepare(tree)
    names = [name.replace("{tree}", str(tree)).replace("{base}", tree.name) for name in (inputs, out)]
    with (
        nothing_changes_but(tree, tree / "none"),
        pytest.raises(
            (Error, NotADirectoryError), match=r"is an input, and inputs are never|Not a directory"
        ),
    ):
        camnorm.correct(names[0], tree / "sensor.h5", names[1], overwrite=overwrite)
    assert not (tree / "new").exists()


def test_an_input_is_known_again_when_the_result_is_renamed(tree: Path) -> None:
    """By then another process may have put a link to the input in the place of the result."""
    out = tree / "out"

    def link(report: camnorm.progress.Progress) -> None:
        if report.done == 1:
            os.link(tree / "frames" / "m01.mrc", out / "m01.mrc")

    before = snapshot(tree / "frames")
    with pytest.raises(Error, match=r"out/m01\.mrc: is an input, and inputs are never replaced"):
        camnorm.correct("frames", "sensor.h5", out, overwrite=True, threads=1, progress=link)
    assert snapshot(tree / "frames") == before
    assert (out / "m01.mrc").samefile(tree / "frames" / "m01.mrc")
    assert sorted(path.name for path in out.iterdir()) == ["m00.mrc", "m01.mrc"]


def used_as(role: str, tree: Path) -> tuple[Any, dict[str, Any], Path]:
    """Inputs and options of `correct` with an input of this role, which a result would replace."""
    raw = tree / "frames" / "m00.mrc"
    options: dict[str, Any] = {}
    sensor: Any = tree / "sensor.h5"
    inputs: Any = raw
    target = tree / "out" / "m00.mrc"
    target.parent.mkdir()
    if role == "gain":
        write_mrc(target, np.ones((1, *SHAPE), "f4"))
        options["options"] = camnorm.ReadOptions(gain=target)
    elif role == "defects":
        write_mrc(target, np.zeros((1, *SHAPE), "u2"))
        options["options"] = camnorm.ReadOptions(defects=target)
    elif role == "sensor":
        target = sensor = tree / "out" / "m00.h5"
        os.rename(tree / "sensor.h5", sensor)
        with h5py.File(tree / "frames" / "m00.h5", "w") as f:
            f["data"] = frames_of(6, SHAPE, "u2")
        inputs = tree / "frames" / "m00.h5"
    elif role == "list":
        target.write_text(f"{raw}\n")
        inputs = f"@{target}"
    else:
        assert role == "movie of a manifest"
        os.rename(raw, target)
        (manifest,) = camnorm.correct(target, tree / "sensor.h5", tree / "v", virtual=True)
        os.rename(target, tree / "out" / "m00.mrc.camnorm.tif")
        target = tree / "out" / "m00.mrc.camnorm.tif"
        inputs = manifest
        manifest.write_text(manifest.read_text().replace("out/m00.mrc", "out/m00.mrc.camnorm.tif"))
    return inputs, {"sensor": sensor, **options}, target


@pytest.mark.parametrize("role", ["gain", "defects", "sensor", "list", "movie of a manifest"])
def test_nothing_that_is_read_is_replaced(tree: Path, role: str) -> None:
    inputs, options, target = used_as(role, tree)
    before = snapshot(tree)
    with pytest.raises(Error, match=f"{target.name}: is an input, and inputs are never replaced"):
        camnorm.correct(inputs, out_dir=tree / "out", overwrite=True, **options)
    assert snapshot(tree) == before


def test_data_files_of_a_master_file_are_not_replaced(tree: Path) -> None:
    frames = frames_of(6, SHAPE, "u2")
    (tree / "master").mkdir()
    with h5py.File(tree / "master" / "a_data.h5", "w") as f:
        f["data"] = frames
    with h5py.File(tree / "master" / "a_master.h5", "w") as f:
        f["entry/data"] = h5py.ExternalLink("a_data.h5", "data")
    (tree / "out").mkdir()
    os.link(tree / "master" / "a_data.h5", tree / "out" / "a_master.h5")
    with pytest.raises(Error, match=r"out/a_master\.h5: is an input"):
        camnorm.correct(tree / "master" / "a_master.h5", "sensor.h5", tree / "out", overwrite=True)


@pytest.fixture
def store(tree: Path) -> Path:
    camnorm.correct("frames/m00.mrc", "sensor.h5", tree / "zarr", format="zarr", dtype="uint16")
    return tree / "zarr" / "m00.zarr"


def test_a_store_is_an_input_with_all_in_it(tree: Path, store: Path) -> None:
    before = snapshot(tree)
    for out, message in (
        (store, r"m00\.zarr: lies inside an input, .*m00\.zarr; write elsewhere"),
        (store / "0", r"lies inside an input"),
        (store.parent, r"m00\.zarr: is an input, and inputs are never replaced"),
    ):
        with pytest.raises(Error, match=message):
            camnorm.correct(store, "sensor.h5", out, overwrite=True)
    # An input in a store that would be replaced.
    hidden = store / "m00.mrc"
    hidden.write_bytes((tree / "frames" / "m00.mrc").read_bytes())
    with pytest.raises(Error, match=r"m00\.zarr: holds an input, .*m00\.mrc, and is not replaced"):
        camnorm.correct(hidden, "sensor.h5", store.parent, format="zarr", overwrite=True)
    hidden.unlink()
    assert snapshot(tree) == before


@pytest.mark.slow
def test_measure_writes_no_input(tree: Path, store: Path) -> None:
    listed = tree / "frames.csv"
    assert run_cli("measure", "frames", "-o", "s.h5", "--frames-csv", listed).returncode == 0
    before = snapshot(tree)
    for arguments, output in (
        (["frames"], "frames/m00.mrc"),
        (["@l.txt"], "l.txt"),
        (["--frames-list", listed], listed),
        (["frames", "--gain", "gain.mrc"], "gain.mrc"),
        ([store], store / "s.h5"),
    ):
        (tree / "l.txt").write_text("frames/m00.mrc\n")
        write_mrc(tree / "gain.mrc", np.ones((1, *SHAPE), "f4"))
        done = run_cli("measure", *arguments, "-o", output, "--overwrite")
        assert done.returncode == 1
        assert "input" in done.stderr
        assert done.stderr.count("\n") == 1
    (tree / "l.txt").unlink()
    (tree / "gain.mrc").unlink()
    assert snapshot(tree) == before


def test_demo_replaces_only_a_demo(tree: Path) -> None:
    from camnorm.demo.demonstration import run_demo

    before = snapshot(tree)
    with pytest.raises(Error, match=r": already holds other files \(far\); choose a new folder$"):
        run_demo(tree)
    assert snapshot(tree) == before


def run_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_script("import sys; from camnorm.cli import main; main()", *arguments)


# --- several processes, and what a killed one leaves


_HOLD = """
import signal, sys
from pathlib import Path
from camnorm.io.base.atomic import AtomicFile, AtomicStore
kind, path, action = sys.argv[1:]
target = {"file": AtomicFile, "store": AtomicStore}[kind](path, overwrite=True)
if kind == "store":
    (target.temporary / ".zgroup").write_text("new")
    if action == "between":
        import os
        replace = os.replace
        def once(a, b):
            replace(a, b)
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace = once
        target.commit()
else:
    target.temporary.write_text("half")
print("ready", flush=True)
signal.pause()
"""


@contextmanager
def another_process(kind: str, path: Path, action: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that is writing a file, or a store, and is killed in the end."""
    command = [sys.executable, "-c", _HOLD, kind, str(path), action]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def kinds(kind: str, path: Path) -> AtomicFile:
    return (AtomicFile if kind == "file" else AtomicStore)(path, overwrite=True)


@pytest.mark.parametrize("kind", ["file", "store"])
def test_what_another_process_writes_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.h5"
    with another_process(kind, path):
        there = list(tmp_path.rglob("*"))
        assert len(there) == (1 if kind == "file" else 4)
        with pytest.raises(Error, match=r"a\.h5: is being written by another camnorm process$"):
            kinds(kind, path)
        assert list(tmp_path.rglob("*")) == there
        kinds(kind, tmp_path / "b.h5").discard()
    assert list(tmp_path.rglob("*")) == there  # it was killed
    target = kinds(kind, path)  # takes over what it left
    if kind == "file":
        assert target.temporary.read_text() == ""
        target.temporary.write_text("whole")
    else:
        assert list(target.temporary.iterdir()) == []
        (target.temporary / ".zgroup").write_text("whole")
    target.commit()
    assert list(tmp_path.iterdir()) == [path]
    assert (path if kind == "file" else path / ".zgroup").read_text() == "whole"


def test_a_store_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / ".zgroup").write_text("old")
    with another_process("store", path, "between") as process:
        process.wait()
    assert not path.exists()
    with pytest.raises(Error, match=r"a\.zarr: already exists; use overwrite=True to replace it"):
        AtomicStore(path, overwrite=False)
    assert list(tmp_path.iterdir()) == [path]
    assert (path / ".zgroup").read_text() == "old"


@pytest.mark.slow
def test_two_measurements_of_one_output(tree: Path) -> None:
    with another_process("file", tree / "s.h5"):
        done = run_cli("measure", "frames", "-o", "s.h5")
        assert done.returncode == 1
        assert done.stderr == "camnorm: error: s.h5: is being written by another camnorm process\n"
        assert run_cli("measure", "far", "-o", "t.h5", "--screen", "off").returncode == 0
        assert run_cli("merge", "sensor.h5", "t.h5", "-o", "s.h5").stderr == done.stderr
    assert run_cli("measure", "frames", "-o", "s.h5").returncode == 0
    assert sorted(path.name for path in tree.glob("*.h5*")) == ["s.h5", "sensor.h5", "t.h5"]
    assert list(tree.glob(".*")) == []


@pytest.mark.parametrize("virtual", [False, True])
def test_a_result_that_another_process_is_writing(tree: Path, virtual: bool) -> None:
    """It may be correcting the same movies: neither takes the file from the other, and both go on."""
    (tree / "out").mkdir()
    name = "m01.mrc" + (".camnorm.json" if virtual else "")
    with another_process("file", tree / "out" / name) as process:
        refused = pytest.raises(BusyError, match=f"out/{name}: is being written by another")
        with divided(busy_seconds=0.2), refused:
            camnorm.correct("frames", "sensor.h5", tree / "out", virtual=virtual)
        timer = threading.Timer(0.3, process.kill)
        timer.start()
        written = camnorm.correct("frames", "sensor.h5", tree / "out", virtual=virtual, overwrite=True)
        timer.join()
    assert [path.name.removesuffix(".camnorm.json") for path in written] == ["m00.mrc", "m01.mrc"]
    assert [path for path in (tree / "out").iterdir() if path.name.startswith(".")] == []


def test_a_correction_that_two_processes_write(tree: Path) -> None:
    """Jobs of an array share the file of the correction: the second waits for the first."""
    (tree / "out").mkdir()
    with another_process("file", tree / "out" / "correction.camnorm") as process:
        timer = threading.Timer(0.3, process.kill)
        timer.start()
        assert len(camnorm.correct("frames", "sensor.h5", tree / "out", virtual=True)) == 2
        timer.join()
    assert [path.name for path in (tree / "out").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("kind", ["file", "store"])
def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def missing(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", missing)
    path = tmp_path / "a.zarr"
    one, two = kinds(kind, path), kinds(kind, path)  # neither takes the other's
    assert one.temporary != two.temporary
    for number, target in enumerate((one, two)):
        if kind == "file":
            target.temporary.write_text(str(number))
        else:
            (target.temporary / ".zgroup").write_text(str(number))
        target.commit()
        assert (path if kind == "file" else path / ".zgroup").read_text() == str(number)
    assert list(tmp_path.iterdir()) == [path]


def test_locks_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output error"):
        AtomicFile(tmp_path / "a", overwrite=True)


def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    os.symlink(tmp_path / "victim", tmp_path / ".a.camnorm.tmp")
    with pytest.raises(OSError, match=r"'.*/a'$"):
        AtomicFile(tmp_path / "a", overwrite=True)
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("name", ["x" * 251 + ".mrc", "é" * 125 + ".mrc"])
def test_the_longest_names(tree: Path, name: str) -> None:
    (tree / "long").mkdir()
    write_mrc(tree / "long" / name, frames_of(6, SHAPE, "u2"))
    assert camnorm.correct("long", "sensor.h5", tree / "out") == [tree / "out" / name]
    with atomic_target(tree / ("y" * 255), overwrite=False) as temporary:
        temporary.write_text("whole")
    assert (tree / ("y" * 255)).read_text() == "whole"


def test_a_name_whose_result_would_be_too_long_stops_no_other(tree: Path) -> None:
    name = "x" * 251 + ".mrc"
    write_mrc(tree / "frames" / name, frames_of(6, SHAPE, "u2"))
    with pytest.warns(
        UserWarning, match=f"not corrected: .*{name}: the name of its result is too long: {name}"
    ):
        written = camnorm.correct("frames", "sensor.h5", tree / "out", virtual=True)
    assert [path.name for path in written] == ["m00.mrc.camnorm.json", "m01.mrc.camnorm.json"]


@pytest.mark.parametrize("length", [250, 255])
def test_a_sensor_file_with_a_long_name(tree: Path, length: int) -> None:
    name = "s" * (length - 3) + ".h5"
    assert camnorm.measure("frames", name).count == 12
    assert camnorm.Sensor.load(name).count == 12
    assert {path.name for path in tree.glob("*s.h5*")} == {name}


def test_protected_files_that_are_not_there(tmp_path: Path) -> None:
    Protected([tmp_path / "gone", tmp_path / "no" / "folder"]).check(tmp_path / "gone")


def test_links_in_a_circle(tmp_path: Path) -> None:
    os.symlink(tmp_path / "b", tmp_path / "a")
    os.symlink(tmp_path / "a", tmp_path / "b")
    with pytest.raises(Error, match="a: is an input"):
        Protected([tmp_path / "a"]).check(tmp_path / "a")


def test_a_sensor_is_read_while_it_is_written_anew(tree: Path) -> None:
    target = AtomicFile(tree / "sensor.h5", overwrite=True)
    assert camnorm.Sensor.load(tree / "sensor.h5").count == 12
    target.discard()


def test_writers_of_tiff_and_npy_inputs(tree: Path) -> None:
    """Suffixes that change must not make two results of one name, nor one of an input."""
    write_tiff(tree / "frames" / "m00.tif", frames_of(6, SHAPE, "u2"))
    write_npy(tree / "frames" / "m01.npy", frames_of(6, SHAPE, "u2"))
    with pytest.raises(Error, match=r"m00\.mrc and .*m00\.tif would both be written to .*m00\.mrc"):
        camnorm.correct("frames", "sensor.h5", tree / "out", format="mrc")
    with pytest.raises(Error, match=r"frames/m00\.tif: is an input"):
        camnorm.correct(["frames/m01.npy", "frames/m00.tif"], "sensor.h5", tree / "frames", overwrite=True)
