"""Writing: files that other libraries read, and that are there whole or not at all."""

from __future__ import annotations

import errno
import math
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile

from camnorm.errors import Error
from camnorm.io import (
    FrameSource,
    FrameWriter,
    RawLayout,
    ReadOptions,
    atomic_target,
    create_writer,
    open_frames,
    target_name,
)

LABEL = "camnorm 0.1.0: a posteriori corrected with sensor.h5"


def pixels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(-20, 300, shape).astype(kind)
    return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def write(path: Path, source: FrameSource, frames: np.ndarray, overwrite: bool = False) -> None:
    """Write frames in two portions."""
    with create_writer(
        path, source, frames.dtype, count=len(frames), label=LABEL, overwrite=overwrite
    ) as writer:
        writer.write(frames[:2])
        writer.write(frames[2:])


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """An MRC movie whose header says a lot."""
    path = tmp_path / "movie.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(pixels((5, 12, 16), "i2"))
        mrc.set_image_stack()
        mrc.voxel_size = (1.1, 1.1, 1.0)
        mrc.set_extended_header(np.frombuffer(b"all about the microscope", "V1"))
        mrc.header.exttyp = b"FEI1"
        mrc.header.origin = (3.0, 4.0, 5.0)
        mrc.header.nxstart, mrc.header.nystart = 7, 8
        mrc.add_label("a label of the detector")
    return path


# --- MRC


@pytest.mark.parametrize(
    ("dtype", "mode", "stored"),
    [("f4", 2, "f4"), ("f2", 12, "f2"), ("i2", 1, "i2"), ("u2", 6, "u2"), ("u1", 6, "u2"), ("i1", 0, "i1")],
)
def test_mrc_keeps_the_header(tmp_path: Path, movie: Path, dtype: str, mode: int, stored: str) -> None:
    frames = pixels((5, 12, 16), dtype)
    target = tmp_path / "out/deep/movie.mrc"
    with open_frames(movie) as source:
        write(target, source, frames)
    if dtype != "f2":  # of which it takes the squares in float16
        assert mrcfile.validate(target, print_file=sys.stdout)
    with mrcfile.open(movie) as before, mrcfile.open(target) as after:
        np.testing.assert_array_equal(after.data, frames)
        assert after.data.dtype == stored
        header = after.header
        assert header.mode == mode
        for name in (
            "nx",
            "ny",
            "nz",
            "mx",
            "my",
            "mz",
            "ispg",
            "nxstart",
            "nystart",
            "nzstart",
            "nsymbt",
            "exttyp",
        ):
            assert header[name] == before.header[name], name
        for name in ("cella", "cellb", "origin", "mapc", "mapr", "maps", "nversion"):
            assert header[name] == before.header[name], name
        assert after.extended_header.tobytes() == b"all about the microscope"
        assert after.voxel_size == before.voxel_size
        assert after.get_labels() == [*before.get_labels(), LABEL]
        wide = frames.astype("f8")
        assert header.dmin == np.float32(wide.min())
        assert header.dmax == np.float32(wide.max())
        assert header.dmean == pytest.approx(wide.mean(), rel=1e-6)
        assert header.rms == pytest.approx(wide.std(), rel=1e-6)
    assert os.listdir(target.parent) == ["movie.mrc"]


def test_mrc_from_big_endian_and_from_a_closed_source(tmp_path: Path, movie: Path) -> None:
    with mrcfile.open(movie) as mrc:
        header = mrc.header.copy()
        data, extended = mrc.data.copy(), mrc.extended_header.tobytes()
        labels = mrc.get_labels()
    header.machst = (0x11, 0x11, 0, 0)
    big = header.astype(header.dtype.newbyteorder(">")).tobytes() + extended + data.astype(">i2").tobytes()
    movie.write_bytes(big)
    with open_frames(movie) as source:
        frames = source.read(0, 5)
    write(tmp_path / "out.mrc", source, frames)
    with mrcfile.open(tmp_path / "out.mrc") as after:
        np.testing.assert_array_equal(after.data, data)
        assert after.header.mode.dtype.byteorder in "=<"
        assert bytes(after.header.machst[:2]) == b"\x44\x44"
        assert after.header.cella.tolist() == header.cella.tolist()
        assert after.header.origin.tolist() == header.origin.tolist()
        assert after.extended_header.tobytes() == extended
        assert after.get_labels() == [*labels, LABEL]
    assert mrcfile.validate(tmp_path / "out.mrc", print_file=sys.stdout)


def test_mrc_of_ten_labels(tmp_path: Path, movie: Path) -> None:
    with mrcfile.open(movie, "r+") as mrc:
        for number in range(mrc.header.nlabl, 10):
            mrc.add_label(f"label {number}")
        labels = mrc.get_labels()
    with open_frames(movie) as source:
        write(tmp_path / "out.mrc", source, source.read(0, 5))
    with mrcfile.open(tmp_path / "out.mrc") as after:
        assert after.get_labels() == [*labels[:9], LABEL]


def test_mrc_label_is_ascii_of_80_characters(tmp_path: Path, movie: Path) -> None:
    with (
        open_frames(movie) as source,
        create_writer(tmp_path / "out.mrc", source, np.int16, count=5, label="µ" + "x" * 99) as writer,
    ):
        writer.write(source.read(0, 5))
    with mrcfile.open(tmp_path / "out.mrc") as after:
        assert after.get_labels()[-1] == "?" + "x" * 79


@pytest.mark.parametrize("spacegroup", [0, 1, 401])
def test_mrc_of_a_volume_becomes_a_stack(tmp_path: Path, movie: Path, spacegroup: int) -> None:
    with mrcfile.open(movie, "r+") as mrc:
        mrc.header.ispg = spacegroup
        mrc.header.mz = 5
        mrc.header.cella.z = 10
    with open_frames(movie) as source:
        write(tmp_path / "out.mrc", source, source.read(0, 4))
    with mrcfile.open(tmp_path / "out.mrc") as after:
        assert after.is_image_stack()
        assert (after.header.ispg, after.header.nz, after.header.mz, after.header.cella.z) == (0, 4, 1, 2)
        assert after.data.shape == (4, 12, 16)
    assert mrcfile.validate(tmp_path / "out.mrc", print_file=sys.stdout)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_mrc_statistics_of_pixels_that_are_not_finite_are_unknown(
    tmp_path: Path, movie: Path, value: float
) -> None:
    frames = pixels((5, 12, 16), "f4")
    frames[3, 4, 5] = value
    with open_frames(movie) as source:
        write(tmp_path / "out.mrc", source, frames)
    with mrcfile.open(tmp_path / "out.mrc") as after:
        header = after.header
        assert (header.dmin, header.dmax, header.dmean, header.rms) == (0, -1, -2, -1)
        np.testing.assert_array_equal(after.data, frames)


def test_mrc_statistics_of_a_small_spread_on_a_large_mean(tmp_path: Path, movie: Path) -> None:
    frames = np.float32(2**23) + (pixels((5, 12, 16), "u1") % 3).astype("f4")
    with open_frames(movie) as source:
        write(tmp_path / "out.mrc", source, frames)
    with mrcfile.open(tmp_path / "out.mrc") as after:
        assert after.header.rms == pytest.approx(frames.astype("f8").std(), rel=1e-6)


@pytest.mark.parametrize("dtype", ["i4", "u4", "f8"])
def test_mrc_cannot_hold_every_dtype(tmp_path: Path, movie: Path, dtype: str) -> None:
    kinds = "float32, float16, int16, uint16, int8, and uint8 as uint16"
    message = f"an MRC file cannot hold {np.dtype(dtype)}, only {kinds}$"
    with open_frames(movie) as source, pytest.raises(ValueError, match=message):
        write(tmp_path / "out.mrc", source, np.zeros((5, 12, 16), dtype))
    assert os.listdir(tmp_path) == ["movie.mrc"]


# --- TIFF


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    "shape", [(5, 12, 16), (5, 12, 16, 2), (5, 12, 16, 3), (5, 12, 16, 4), (5, 12, 16, 6)]
)
def test_tiff(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    (tmp_path / "in.raw").write_bytes(bytes(math.prod(shape)))
    frames = pixels(shape, dtype)
    layout = RawLayout(shape[1:], np.dtype("u1"))
    with open_frames(tmp_path / "in.raw", ReadOptions(raw=layout)) as source:
        write(tmp_path / "out.tif", source, frames)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert len(tiff.pages) == 5
        for page, frame in zip(tiff.pages, frames, strict=True):
            np.testing.assert_array_equal(page.asarray(), frame)
            assert len(page.dataoffsets) == 1
            assert page.compression == 1
            assert page.description == LABEL
            assert page.software == "camnorm"
            planes = shape[3] if len(shape) == 4 else 1
            assert page.photometric == (2 if planes in (3, 4) else 1)
            assert len(page.extrasamples) == {1: 0, 2: 1, 3: 0, 4: 1, 6: 5}[planes]
        assert not tiff.is_bigtiff
    with open_frames(tmp_path / "out.tif") as again:
        np.testing.assert_array_equal(again.read(0, 5), frames)


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
def test_tiff_keeps_the_resolution(tmp_path: Path, unit: str) -> None:
    resolution = ((25, 3), (50, 7))
    tifffile.imwrite(
        tmp_path / "in.tif", pixels((12, 16), "u1"), resolution=resolution, resolutionunit=unit, byteorder=">"
    )
    with open_frames(tmp_path / "in.tif") as source:
        write(tmp_path / "out.tif", source, source.read(0))
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        tags = tiff.pages[0].tags
        assert (tags["XResolution"].value, tags["YResolution"].value) == resolution
        assert tags["ResolutionUnit"].value.name == unit
        assert tiff.byteorder == "<"


@pytest.mark.parametrize(("count", "version"), [(2**32 // 1200, 42), (2**32 // 1040, 43)])
def test_tiff_above_4_gigabytes_is_big(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, version: int
) -> None:
    np.save(tmp_path / "in.npy", np.zeros((1, 2, 2), "u1"))
    written = []

    def keep(temporary: Path, target: Path) -> None:
        written.append(temporary.read_bytes())

    monkeypatch.setattr(os, "replace", keep)
    with (
        open_frames(tmp_path / "in.npy") as source,
        create_writer(tmp_path / "out.tif", source, np.float32, count=count, label=LABEL) as writer,
    ):
        writer.write(np.zeros((1, 2, 2), "f4"))
        writer.written = count
    assert int.from_bytes(written[0][2:4], "little") == version


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("a/b.mrcs", "MRC", "a/b.mrcs"),
        ("a/b.tiff", "TIFF", "a/b.tiff"),
        ("a/b.c.png", "PNG", "a/b.c.tif"),
        ("b.jpeg", "JPEG", "b.tif"),
        ("b.npy", "NPY", "b.tif"),
    ],
)
def test_name_of_the_target(name: str, kind: str, expected: str) -> None:
    assert target_name(name, kind) == Path(expected)


def test_raster_images_become_tiff(tmp_path: Path) -> None:
    frame = pixels((12, 16, 3), "u1")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(frame))
    with open_frames(tmp_path / "a.png") as source:
        write(tmp_path / "a.tif", source, source.read(0))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), frame)


# --- what the writer is given


def test_frames_that_do_not_fit(tmp_path: Path, movie: Path) -> None:
    with (
        open_frames(movie) as source,
        create_writer(tmp_path / "out.mrc", source, np.float32, count=5, label=LABEL) as writer,
    ):
        with pytest.raises(TypeError, match="frames have dtype float64, expected float32"):
            writer.write(np.zeros((1, 12, 16)))
        with pytest.raises(ValueError, match=r"frames have shape \(12, 15\), expected \(12, 16\)"):
            writer.write(np.zeros((1, 12, 15), "f4"))
        writer.write(np.ones((4, 12, 16), "f4"))
        with pytest.raises(ValueError, match=r"4 \+ 2 frames for a file of 5"):
            writer.write(np.zeros((2, 12, 16), "f4"))
        writer.write(np.ones((1, 12, 16), "f4"))
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "out.mrc"), np.ones((5, 12, 16)))


def test_file_of_too_few_frames_is_not_kept(tmp_path: Path, movie: Path) -> None:
    with open_frames(movie) as source, pytest.raises(Error, match=r"out\.mrc: 4 frames were written of 5$"):
        write_some(tmp_path / "out.mrc", source, 4)
    assert os.listdir(tmp_path) == ["movie.mrc"]


def write_some(path: Path, source: FrameSource, count: int) -> None:
    with create_writer(path, source, np.int16, count=5, label=LABEL) as writer:
        writer.write(source.read(0, count))


@pytest.mark.parametrize("kind", ["mrc", "tif"])
def test_views_of_any_layout(tmp_path: Path, movie: Path, kind: str) -> None:
    if kind == "tif":
        np.save(tmp_path / "in.npy", np.zeros((5, 12, 16)))
        movie = tmp_path / "in.npy"
    wide = pixels((5, 16, 24), "f4").transpose(0, 2, 1)[:, ::2]
    wide.flags.writeable = False
    with open_frames(movie) as source:
        write(tmp_path / f"out.{kind}", source, wide)
    with open_frames(tmp_path / f"out.{kind}") as again:
        np.testing.assert_array_equal(again.read(0, 5), wide)


@pytest.mark.parametrize("kind", ["mrc", "tif"])
@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_rows_in_any_order_make_the_same_file(tmp_path: Path, movie: Path, kind: str, dtype: str) -> None:
    if kind == "tif":
        np.save(tmp_path / "in.npy", np.zeros((5, 12, 16)))
        movie = tmp_path / "in.npy"
    frames = pixels((5, 12, 16), dtype)
    blocks = [(start, row) for start in (0, 2, 4) for row in (0, 5, 10)]
    names = ["ordered", "reverse", "threads"]
    with open_frames(movie) as source:
        for name in names:
            path = tmp_path / f"{name}.{kind}"
            with create_writer(path, source, frames.dtype, count=5, label=LABEL) as writer:

                def write_block(
                    block: tuple[int, int], writer: FrameWriter = writer, frames: np.ndarray = frames
                ) -> None:
                    start, row = block
                    writer.write(frames[start : start + 2, row : row + 5], start, row)

                if name == "threads":
                    with ThreadPoolExecutor(4) as pool:
                        list(pool.map(write_block, blocks))
                else:
                    for block in blocks[:: -1 if name == "reverse" else 1]:
                        write_block(block)
    results = [(tmp_path / f"{name}.{kind}").read_bytes() for name in names]
    assert results[0] == results[1] == results[2]
    with open_frames(path) as again:
        np.testing.assert_array_equal(again.read(0, 5), frames)
    if kind == "mrc":
        with mrcfile.open(path) as mrc:
            assert mrc.header.dmean == pytest.approx(frames.mean(dtype="f8"), rel=1e-6)
            assert mrc.header.rms == pytest.approx(frames.std(dtype="f8"), rel=1e-6)


def test_rows_that_do_not_fit(tmp_path: Path, movie: Path) -> None:
    with open_frames(movie) as source, pytest.raises(Error, match=r"out\.mrc: 3 frames were written of 5$"):
        write_top(tmp_path / "out.mrc", source)
    assert os.listdir(tmp_path) == ["movie.mrc"]


def write_top(path: Path, source: FrameSource) -> None:
    with create_writer(path, source, np.float32, count=5, label=LABEL) as writer:
        with pytest.raises(ValueError, match=r"frames have shape \(8, 16\), expected \(12, 16\)"):
            writer.write(np.zeros((1, 8, 16), "f4"), 0, 5)
        with pytest.raises(ValueError, match="4 \\+ 2 frames for a file of 5"):
            writer.write(np.zeros((2, 8, 16), "f4"), 4, 0)
        writer.write(np.zeros((3, 12, 16), "f4"))
        writer.write(np.zeros((2, 8, 16), "f4"), 3)


def test_finished_file_waits_for_its_turn(tmp_path: Path, movie: Path) -> None:
    with open_frames(movie) as source:
        writers = [
            create_writer(tmp_path / f"{i}.mrc", source, np.int16, count=5, label=LABEL) for i in range(2)
        ]
        for writer in writers:
            writer.write(source.read(0, 5))
            writer.finish()
    assert all(path.suffix == ".tmp" for path in tmp_path.iterdir() if path != movie)
    writers[0].commit()
    writers[0].discard()
    writers[1].discard()
    assert sorted(os.listdir(tmp_path)) == ["0.mrc", "movie.mrc"]
    assert mrcfile.validate(tmp_path / "0.mrc")


def test_target_that_exists(tmp_path: Path, movie: Path) -> None:
    target = tmp_path / "out.mrc"
    target.write_text("precious")
    with open_frames(movie) as source:
        frames = source.read(0, 5)
        with pytest.raises(Error, match=r"out\.mrc: already exists; use overwrite=True to replace it$"):
            write(target, source, frames)
        assert target.read_text() == "precious"
        write(target, source, frames, overwrite=True)
    np.testing.assert_array_equal(mrcfile.read(target), frames)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("way", ["same", "link", "hard link"])
def test_target_that_is_the_source(tmp_path: Path, movie: Path, way: str, overwrite: bool) -> None:
    before = movie.read_bytes()
    target = movie if way == "same" else tmp_path / "link.mrc"
    if way == "link":
        target.symlink_to(movie)
    if way == "hard link":
        target.hardlink_to(movie)
    with (
        open_frames(movie) as source,
        pytest.raises(Error, match="is an input, and inputs are never replaced"),
    ):
        write(target, source, source.read(0, 5), overwrite)
    assert movie.read_bytes() == before


# --- whole or not at all


def test_atomic_target(tmp_path: Path) -> None:
    target = tmp_path / "sensor.h5"
    with atomic_target(target, overwrite=False) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".sensor.h5.")
        assert temporary.suffix == ".tmp"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["sensor.h5"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def write_text(path: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_target(path, overwrite=True) as temporary:
        temporary.write_text(text)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_target_leaves_nothing_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "sensor.h5"
    write_text(target, "old")
    with pytest.raises(error):
        write_text(target, "half", error())
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["sensor.h5"]


def test_atomic_target_does_not_replace_what_came_in_between(tmp_path: Path) -> None:
    target = tmp_path / "sensor.h5"
    with (
        pytest.raises(Error, match=r"sensor\.h5: already exists; use overwrite=True to replace it$"),
        atomic_target(target, overwrite=False),
    ):
        target.write_text("of another process")
    assert target.read_text() == "of another process"
    assert os.listdir(tmp_path) == ["sensor.h5"]


def test_atomic_target_replaces_a_link_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("raw")
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    with atomic_target(tmp_path / "link", overwrite=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "raw").read_text() == "raw"
    assert not (tmp_path / "link").is_symlink()


def test_all_is_on_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append("fsync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def note_replace(*names: Any) -> None:
        calls.append("replace")
        replace(*names)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with atomic_target(tmp_path / "a", overwrite=False):
        pass
    assert calls == ["fsync file", "replace", "fsync directory"]


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as info, atomic_target(tmp_path / "none/a", overwrite=False):
        pass
    assert info.value.filename == str(tmp_path / "none/a")
    for overwrite in (False, True):
        with pytest.raises(IsADirectoryError), atomic_target(tmp_path, overwrite=overwrite):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as info2, atomic_target(tmp_path / "file/a", overwrite=False):
        pass
    assert info2.value.filename == str(tmp_path / "file/a")
    if os.getuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(PermissionError) as info3, atomic_target(tmp_path / "locked/a", overwrite=False):
            pass
        assert info3.value.filename == str(tmp_path / "locked/a")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "gone", "input.mrc"), OSError("of a library, without a number")]
)
def test_other_errors_pass_through_as_they_are(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError) as info:  # noqa: PT011 - it is compared below
        write_text(tmp_path / "a", "half", error)
    assert info.value is error


def run_limited(tmp_path: Path, name: str, kind: str) -> subprocess.CompletedProcess[str]:
    """Write 1.6 MB where files may have 0.5 MB."""
    script = f"""
import resource, sys
import numpy as np
from camnorm.io import create_writer, open_frames
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    with open_frames({name!r}) as source:
        with create_writer("out.{kind}", source, np.float32, count=4, label="x") as writer:
            for index in range(4):
                writer.write(source.read(index).astype("f4"))
except OSError as error:
    print(error.errno, error.filename)
"""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("kind", ["mrc", "tif"])
def test_no_space_left(tmp_path: Path, kind: str) -> None:
    frames = pixels((4, 250, 400), "u2")
    if kind == "mrc":
        mrcfile.write(tmp_path / "in.mrc", frames)
    else:
        tifffile.imwrite(tmp_path / "in.tif", frames, photometric="minisblack")
    result = run_limited(tmp_path, f"in.{kind}", kind)
    assert result.stdout.split() == [str(errno.EFBIG), f"out.{kind}"]
    assert result.stderr == ""
    assert os.listdir(tmp_path) == [f"in.{kind}"]


def test_killed_writer_leaves_no_target(tmp_path: Path, movie: Path) -> None:
    script = """
import os, signal
import numpy as np
from camnorm.io import create_writer, open_frames
with open_frames("movie.mrc") as source:
    with create_writer("out.mrc", source, np.int16, count=5, label="x") as writer:
        writer.write(source.read(0, 4))
        os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert result.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.mrc").exists()
