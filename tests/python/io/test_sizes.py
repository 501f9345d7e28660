"""Headers that do not agree with the size of their file: the frames are found, or the file is refused."""

from __future__ import annotations

import gzip
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

import camnorm
from camnorm.errors import FormatError
from camnorm.io import ReadOptions, open_frames
from camnorm.io.base.remarks import Remark, Remarks
from image_sets import frames_of, write_mrc

SHAPE = (48, 64)


def movie(count: int, seed: int = 0, dtype: str = "u2") -> np.ndarray:
    return np.random.default_rng(seed).poisson(50, (count, *SHAPE)).astype(dtype)


def mrc_with(
    path: Path, frames: np.ndarray, *, nz: int | None = None, nsymbt: int = 0, between: bytes = b""
) -> Path:
    """An MRC file whose header says something else than the file holds."""
    data = bytearray(write_mrc(path, frames).read_bytes())
    if nz is not None:
        data[8:12] = struct.pack("<i", nz)
    data[92:96] = struct.pack("<i", nsymbt)
    path.write_bytes(bytes(data[:1024]) + between + bytes(data[1024:]))
    return path


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    with open_frames(path) as source:
        return source.read(0, source.count), [remark.kind for remark in source.remarks]


@pytest.mark.parametrize("nz", [1, 2, 9])
def test_mrc_with_more_frames_than_the_header_says(tmp_path: Path, nz: int) -> None:
    frames = movie(10)
    found, remarks = read(mrc_with(tmp_path / "a.mrc", frames, nz=nz))
    np.testing.assert_array_equal(found, frames)
    assert remarks == ["more frames"]


def test_mrc_without_the_extended_header_that_it_announces(tmp_path: Path) -> None:
    frames = movie(3)
    found, remarks = read(mrc_with(tmp_path / "a.mrc", frames, nsymbt=1000))
    np.testing.assert_array_equal(found, frames)
    assert remarks == ["no extended header"]
    with pytest.raises(FormatError, match="longer than its header says"):  # wrong in two ways
        open_frames(mrc_with(tmp_path / "a.mrc", frames, nsymbt=1000, nz=2))


def test_mrc_whose_size_fits_two_readings(tmp_path: Path) -> None:
    """The extended header is as large as a frame: it is missing, or the last frame is."""
    frames = movie(3)
    path = mrc_with(tmp_path / "a.mrc", frames, nsymbt=frames[0].nbytes)
    with pytest.raises(
        FormatError, match=r"extended header of 6144 bytes .* is missing, or the last frames are"
    ):
        open_frames(path)


@pytest.mark.parametrize("nsymbt", [0, 1000])
def test_mrc_with_an_extended_header_that_it_does_not_announce(tmp_path: Path, nsymbt: int) -> None:
    path = mrc_with(tmp_path / "a.mrc", movie(3), nsymbt=nsymbt, between=b"FEI1" * 300 + bytes(nsymbt))
    with pytest.raises(FormatError, match=r"a\.mrc: the file is 1200 bytes longer than its header"):
        open_frames(path)


@pytest.mark.parametrize("size", [1, 512, 2880, 4095])
def test_padding_is_no_frame(tmp_path: Path, size: int) -> None:
    """Zeros up to a whole block; frames may be smaller."""
    small = frames_of(4, (8, 16), "u2")
    for name, frames in (("a", movie(3)), ("b", small)):
        path = write_mrc(tmp_path / f"{name}.mrc", frames)
        path.write_bytes(path.read_bytes() + bytes(size))
        found, remarks = read(path)
        np.testing.assert_array_equal(found, frames)
        assert remarks == []


def test_mrc_that_is_still_copied(tmp_path: Path) -> None:
    frames = movie(10)
    path = mrc_with(tmp_path / "a.mrc", frames, nsymbt=1000, between=bytes(1000))
    whole = path.read_bytes()
    for size in range(len(whole) - 6 * 6144 + 17, len(whole), 4001):
        path.write_bytes(whole[:size])
        with open_frames(path) as source:
            assert source.remarks == ()
            assert (source.count, source.available) == (10, (size - 2024) // 6144)
            np.testing.assert_array_equal(source.read(0, source.available), frames[: source.available])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mrc")


@settings(max_examples=150, deadline=None)
@given(
    there=st.integers(1, 6),
    said=st.integers(1, 6),
    extended=st.integers(0, 300),
    announced=st.integers(0, 300),
    behind=st.integers(0, 300),
)
def test_frames_of_mrc_are_never_shifted(
    folders: Path, there: int, said: int, extended: int, announced: int, behind: int
) -> None:
    """One thing may be wrong in a header: the frames are found, or the file is refused.

    A file that is shorter than its header says may be cut off, so that nothing can be known about it.
    """
    frames = np.random.default_rng(there).integers(1, 2**16, (there, 8, 16), "u2")
    path = folders / "a.mrc"
    mrc_with(path, frames, nz=said, nsymbt=announced, between=b"x" * extended)
    path.write_bytes(path.read_bytes() + b"y" * behind)
    size, end = path.stat().st_size, 1024 + announced + said * 256
    try:
        found, _ = read(path)
    except FormatError:
        assert size != end
        return
    if size > end and extended == announced:
        np.testing.assert_array_equal(found[: min(there, len(found))], frames[: len(found)])
        assert len(found) >= min(there, said)
    if size < end and extended == behind == 0 and said == there:
        np.testing.assert_array_equal(found, frames)


@pytest.mark.parametrize("order", ["<", ">"])
def test_mrc_with_a_stamp_that_is_none(tmp_path: Path, order: str) -> None:
    """Bytes of mode 0: both byte orders make sense, but only one of them goes with the size."""
    frames = np.random.default_rng(0).integers(0, 100, (2, 256, 512), "i1")
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(frames)
        mrc.set_image_stack()
    data = bytearray((tmp_path / "a.mrc").read_bytes())
    if order == ">":
        data[:220] = np.frombuffer(data[:220], "<u4").astype(">u4").tobytes()
        data[208:212] = b"MAP "
    data[212:216] = b"\1\2\3\4"
    (tmp_path / "a.mrc").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "a.mrc")[0], frames)


def npy(path: Path, frames: np.ndarray) -> None:
    np.save(path, frames)


def raw_fits(path: Path, frames: np.ndarray) -> None:
    fits.writeto(path, frames.astype(">i2"), overwrite=True)


def fewer_in_npy(data: bytes) -> bytes:
    return data.replace(b"(10, 48, 64)", b"(4, 48, 64) ")


def fewer_in_fits(data: bytes) -> bytes:
    return data.replace(b"NAXIS3  =                   10", b"NAXIS3  =                    4")


STACKS: list[tuple[str, Callable[[Path, np.ndarray], None], Callable[[bytes], bytes]]] = [
    (".npy", npy, fewer_in_npy),
    (".fits", raw_fits, fewer_in_fits),
]


@pytest.mark.parametrize(("suffix", "write", "fewer"), STACKS, ids=[suffix for suffix, *_ in STACKS])
def test_stacks_with_more_frames_than_the_header_says(
    tmp_path: Path, suffix: str, write: Callable[[Path, np.ndarray], None], fewer: Callable[[bytes], bytes]
) -> None:
    frames = movie(10, dtype="i2")
    path = tmp_path / f"a{suffix}"
    write(path, frames)
    data = path.read_bytes()
    path.write_bytes(fewer(data))
    assert path.read_bytes() != data
    found, remarks = read(path)
    np.testing.assert_array_equal(found, frames)
    assert remarks == ["more frames"]
    path.write_bytes(data + bytes(1000))
    found, remarks = read(path)
    np.testing.assert_array_equal(found, frames)
    assert remarks == []
    path.write_bytes(data + b"x" * 1000)
    with pytest.raises(FormatError, match="bytes longer than its header says, which are neither"):
        open_frames(path)


def test_several_arrays_in_one_npy_file(tmp_path: Path) -> None:
    with open(tmp_path / "a.npy", "wb") as file:
        np.save(file, movie(2))
        np.save(file, movie(3))
    with pytest.raises(FormatError, match="several arrays in one file: save each in a file of its own"):
        open_frames(tmp_path / "a.npy")


def test_npy_in_fortran_order_that_is_too_long(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(movie(2)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data + bytes(range(256)) * 24)
    with pytest.raises(FormatError, match="the file is 6144 bytes longer than its header says"):
        open_frames(tmp_path / "a.npy")


def test_fits_with_another_image_behind(tmp_path: Path) -> None:
    frames = movie(3, dtype="i2")
    fits.HDUList([fits.PrimaryHDU(frames), fits.ImageHDU(movie(5, dtype="i2"))]).writeto(tmp_path / "a.fits")
    with open_frames(tmp_path / "a.fits", ReadOptions(dataset="0")) as source:
        np.testing.assert_array_equal(source.read(0, source.count), frames)
        assert source.remarks == ()


@pytest.mark.parametrize("kind", ["mrc", "fits"])
def test_compressed_files_with_more_frames_are_refused(tmp_path: Path, kind: str) -> None:
    """Of these the size is known only when they have been decompressed, and their frames been added."""
    path = tmp_path / f"a.{kind}.gz"
    if kind == "mrc":
        data = mrc_with(tmp_path / "plain", movie(10), nz=4).read_bytes()
    else:
        raw_fits(tmp_path / "plain", movie(10, dtype="i2"))
        data = fewer_in_fits((tmp_path / "plain").read_bytes())
    path.write_bytes(gzip.compress(data))
    good = write_mrc(tmp_path / "b.mrc", movie(10, dtype="i2" if kind == "fits" else "u2"))
    without = camnorm.measure([good], screen="off")
    sensor = camnorm.measure([good, path], screen="off")
    assert sensor.count == 10
    assert sensor.moments.to_bytes() == without.moments.to_bytes()
    (rejected,) = sensor.frames[sensor.frames["status"] == "rejected"]
    assert "the header says 4 frames, but the file holds 10" in rejected["reason"]
    assert "decompress the file to measure it" in rejected["reason"]


# TIFF


def write_stk(path: Path, planes: np.ndarray, *, there: int | None = None, strips: int = 1) -> Path:
    """A MetaMorph stack: one directory, all planes behind it; only the first `there`, if it is cut off."""
    count, rows, columns = planes.shape
    uic1 = 8 + 2 + 12 * 13 + 4
    uic2 = uic1 + 8
    uic3 = uic2 + 24 * count
    tables = uic3 + 8 * count
    pixels = tables + (8 * strips if strips > 1 else 0)
    size = rows * columns * 2
    offsets = [pixels + size * strip // strips for strip in range(strips)]
    tags = [
        *[(256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)],
        (273, 4, strips, pixels if strips == 1 else tables),
        *[(277, 3, 1, 1), (278, 4, 1, rows // strips)],
        (279, 4, strips, size if strips == 1 else tables + 4 * strips),
        *[(284, 3, 1, 1), (33628, 4, 1, uic1), (33629, 5, count, uic2), (33630, 5, count, uic3)],
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, 13) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head += struct.pack("<3I", 0, 0, 0)
    head += b"".join(struct.pack("<6I", 1, 1, 2459000, plane, 2459000, plane) for plane in range(count))
    head += struct.pack("<II", 500, 1) * count
    if strips > 1:
        head += struct.pack(f"<{strips}I", *offsets) + struct.pack(f"<{strips}I", *[size // strips] * strips)
    path.write_bytes(head + planes[:there].astype("<u2").tobytes())
    return path


@pytest.mark.parametrize("strips", [1, 4])
def test_all_planes_of_a_metamorph_stack(tmp_path: Path, strips: int) -> None:
    planes = movie(20)
    path = write_stk(tmp_path / "a.stk", planes, strips=strips)
    found, remarks = read(path)
    np.testing.assert_array_equal(found, planes)
    assert remarks == []
    assert camnorm.measure(tmp_path, screen="off").count == 20  # a directory's files are known by .stk


def test_metamorph_stacks_are_those_of_tifffile(tmp_path: Path) -> None:
    planes = movie(7)
    path = write_stk(tmp_path / "a.stk", planes)
    told = tifffile.imread(path)
    np.testing.assert_array_equal(told, planes)
    np.testing.assert_array_equal(read(path)[0], told)


def test_metamorph_stack_that_is_cut_off(tmp_path: Path) -> None:
    planes = movie(20)
    path = write_stk(tmp_path / "a.stk", planes, there=12)
    with open_frames(path) as source:
        assert (source.count, source.available) == (20, 12)
        np.testing.assert_array_equal(source.read(0, 12), planes[:12])


def test_hyperstack_of_imagej_with_one_directory(tmp_path: Path) -> None:
    frames = movie(12).reshape(3, 2, 2, *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", frames, imagej=True, metadata={"axes": "TZCYX"})
    found, _ = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, frames.reshape(12, *SHAPE))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[data.index(b"images=12") : data.index(b"images=12") + 9] = b"imagos=12"
    (tmp_path / "b.tif").write_bytes(data)
    found, _ = read(tmp_path / "b.tif")
    np.testing.assert_array_equal(found, frames.reshape(12, *SHAPE))


def one_directory(
    path: Path, frames: np.ndarray, *, compression: int = 1, behind: bytes = b"", sub: bool = False
) -> Path:
    rows, columns = SHAPE
    tags = [
        *[(256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)],
        *[(273, 4, 1, 0), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, rows * columns * 2)],
        *([(330, 4, 1, 0)] if sub else []),
    ]
    pixels = 8 + 2 + 12 * len(tags) + 4
    tags = [(tag, kind, count, pixels if tag == 273 else value) for tag, kind, count, value in tags]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + b"".join(
        struct.pack("<HHII", *tag) for tag in tags
    )
    path.write_bytes(head + struct.pack("<I", 0) + frames.astype("<u2").tobytes() + behind)
    return path


def test_tiff_whose_other_directories_were_never_written(tmp_path: Path) -> None:
    frames = movie(6)
    found, remarks = read(one_directory(tmp_path / "a.tif", frames))
    np.testing.assert_array_equal(found, frames)
    assert remarks == ["more frames"]


@pytest.mark.parametrize(("behind", "sub"), [(b"notes", False), (b"", True)])
def test_what_else_is_in_a_tiff_is_no_frame(tmp_path: Path, behind: bytes, sub: bool) -> None:
    frames = movie(2)
    found, remarks = read(one_directory(tmp_path / "a.tif", frames, behind=behind, sub=sub))
    np.testing.assert_array_equal(found, frames[:1])
    assert remarks == []


# Warnings to the user


def test_one_warning_of_each_kind(tmp_path: Path) -> None:
    remarks = Remarks()
    remarks.add(tmp_path / "b", [Remark("x", "second"), Remark("y", "alone")])
    remarks.add(tmp_path / "a", [Remark("x", "first")])
    remarks.add(tmp_path / "a", [Remark("x", "again")])
    remarks.add(tmp_path / "c", [Remark("x", "third")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        remarks.warn()
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path / 'a'} (and 2 more files): first",
        f"{tmp_path / 'b'}: alone",
    ]


def test_the_user_of_each_verb_is_told_once(tmp_path: Path) -> None:
    paths = [write_mrc(tmp_path / f"m{i}.mrc", movie(10, i)) for i in range(6)]
    for i in (2, 4):
        mrc_with(paths[i], movie(10, i), nz=1)
    said = (
        rf"^{paths[2]} \(and 1 more file\): the header says 1 frame, but the file holds 10: all are used; "
        "check how these files were written$"
    )
    with pytest.warns(UserWarning, match=said) as caught:
        sensor = camnorm.measure(paths)
    assert len(caught) == 1
    assert sensor.count == 60
    with pytest.warns(UserWarning, match=said) as caught:
        written = camnorm.correct(paths, sensor, tmp_path / "out")
    assert len([one for one in caught if "the header says" in str(one.message)]) == 1
    with open_frames(written[2]) as source:
        assert source.count == 10
    with pytest.warns(UserWarning, match="the header says 1 frame, but the file holds 10") as caught:
        camnorm.verify(paths, sensor, group=3)
    assert len(caught) == 1
