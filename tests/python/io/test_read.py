"""Reading: every format against the library that defines it, whole, damaged and cut off."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from camnorm import _core
from camnorm.errors import Error, FormatError
from camnorm.io import FrameSource, ImageFormat, RawLayout, ReadOptions, open_frames
from camnorm.io.base.registry import format_names, formats, formats_of_other_packages, is_image_name
from camnorm.io.base.source import MappedFile

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4"]
FLOATS = ["f2", "f4", "f8"]


def pixels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(100, 30, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def read_all(path: Path) -> np.ndarray:
    with open_frames(path) as source:
        return source.read(0, source.count)


def write_mrc(
    path: Path, frames: np.ndarray, order: str = "<", extended: bytes = b"", **fields: object
) -> None:
    """An MRC file made by mrcfile, in any byte order."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(frames)
        mrc.set_image_stack()
        mrc.voxel_size = 1.25
        mrc.set_extended_header(np.frombuffer(extended, "V1"))
        mrc.header.exttyp = b"TEST"
        for name, value in fields.items():
            mrc.header[name] = value
        header = mrc.header.copy()
    if order == ">":
        header.machst = (0x11, 0x11, 0, 0)
        swapped = header.astype(header.dtype.newbyteorder(">"))
        pixels_ = frames.astype(frames.dtype.newbyteorder(">"))
        path.write_bytes(swapped.tobytes() + extended + pixels_.tobytes())


# --- MRC


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
def test_mrc_gives_what_mrcfile_reads(tmp_path: Path, dtype: str, order: str) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, pixels((5, 7, 9), dtype), order, extended=b"x" * 37)
    expected = mrcfile.read(path)
    with open_frames(path) as source:
        assert (source.format, source.shape, source.dtype, source.count) == (
            "MRC",
            (7, 9),
            np.dtype(dtype),
            5,
        )
        assert source.dtype.isnative
        assert source.path == path
        assert source.metadata["pixel_size"] == pytest.approx(1.25)
        assert source.metadata["mode"] == mrcfile.utils.mode_from_dtype(np.dtype(dtype))
        np.testing.assert_array_equal(source.read(0, 5), expected)
        np.testing.assert_array_equal(source.read(3), expected[3:4])
        np.testing.assert_array_equal(source.view(1, 4), expected[1:4])
        assert source.read(2).dtype.isnative


def test_mrc_single_image_and_volume_are_frames(tmp_path: Path) -> None:
    image, volume = pixels((6, 8), "f4"), pixels((3, 6, 8), "f4")
    mrcfile.write(tmp_path / "image.mrc", image)
    mrcfile.write(tmp_path / "volume.map", volume)
    np.testing.assert_array_equal(read_all(tmp_path / "image.mrc"), image[np.newaxis])
    np.testing.assert_array_equal(read_all(tmp_path / "volume.map"), volume)


def test_mrc_labels(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", pixels((1, 4, 4), "i2"))
    with mrcfile.open(tmp_path / "a.mrc", "r+") as mrc:
        mrc.add_label("second label")
    with open_frames(tmp_path / "a.mrc") as source:
        assert source.metadata["labels"][1] == "second label"
        assert len(source.metadata["labels"]) == 2


@pytest.mark.parametrize(("flags", "dtype"), [(0, np.uint8), (1, np.int8)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_mrc_bytes_are_unsigned_only_by_the_stamp_of_imod(
    tmp_path: Path, flags: int, dtype: type, order: str
) -> None:
    path = tmp_path / "a.mrc"
    frames = pixels((2, 4, 6), "i1")
    write_mrc(path, frames, order)
    data = bytearray(path.read_bytes())
    struct.pack_into(f"{order}2i", data, 152, 1146047817, flags)
    path.write_bytes(data)
    assert read_all(path).dtype == dtype
    np.testing.assert_array_equal(read_all(path), frames.view(dtype))


def test_mrc_without_mark_is_known_by_its_suffix(tmp_path: Path) -> None:
    frames = pixels((2, 4, 6), "i2")
    write_mrc(tmp_path / "old.mrc", frames)
    data = bytearray((tmp_path / "old.mrc").read_bytes())
    data[208:216] = bytes(8)
    (tmp_path / "old.mrc").write_bytes(data)
    np.testing.assert_array_equal(read_all(tmp_path / "old.mrc"), frames)
    (tmp_path / "old.dat").write_bytes(data)
    with pytest.raises(FormatError, match="not an image file"):
        open_frames(tmp_path / "old.dat")


def test_mrc_with_the_wrong_machine_stamp(tmp_path: Path) -> None:
    frames = pixels((2, 4, 6), "i2")
    write_mrc(tmp_path / "a.mrc", frames, ">")
    data = bytearray((tmp_path / "a.mrc").read_bytes())
    data[212:216] = b"\x44\x44\0\0"
    (tmp_path / "a.mrc").write_bytes(data)
    np.testing.assert_array_equal(read_all(tmp_path / "a.mrc"), frames)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (3, r"MRC mode 3 \(complex 16 bit integers\) is not supported"),
        (4, r"MRC mode 4 \(complex 32 bit floats\) is not supported"),
        (17, r"damaged MRC header: nx, ny, nz = \(6, 4, 2\), mode 17"),
    ],
)
def test_mrc_mode_that_is_not_supported(tmp_path: Path, mode: int, message: str) -> None:
    write_mrc(tmp_path / "a.mrc", pixels((2, 4, 6), "i2"), mode=mode)
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.mrc")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nx": -6}, "damaged MRC header"),
        ({"nz": 0}, "damaged MRC header"),
        ({"nx": 2**31 - 1, "ny": 2**31 - 1}, "frame 0, byte .*: truncated"),
        ({"nsymbt": -5}, "damaged MRC header: extended header of -5 bytes"),
        ({"nsymbt": 2**31 - 1, "nz": 3}, "frame 0, byte .*: truncated"),
    ],
)
def test_mrc_header_with_nonsense(tmp_path: Path, fields: dict[str, int], message: str) -> None:
    write_mrc(tmp_path / "a.mrc", pixels((2, 4, 6), "i2"), **fields)
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.mrc")


def test_text_named_mrc(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_text("These are notes on the session.\n" * 100)
    with pytest.raises(FormatError, match=r"a\.mrc: not an MRC file"):
        open_frames(tmp_path / "a.mrc")
    (tmp_path / "b.mrc").write_text("short\n")
    with pytest.raises(FormatError, match="not an MRC file, or truncated: shorter than the header of 1024"):
        open_frames(tmp_path / "b.mrc")


# --- TIFF


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_tiff_of_every_dtype(tmp_path: Path, dtype: str, order: str, bigtiff: bool) -> None:
    frames = pixels((4, 5, 7), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", byteorder=order, bigtiff=bigtiff)
    with open_frames(path) as source:
        assert (source.format, source.shape, source.dtype, source.count) == (
            "TIFF",
            (5, 7),
            np.dtype(dtype),
            4,
        )
        np.testing.assert_array_equal(source.read(0, 4), frames)
        np.testing.assert_array_equal(source.read(2), frames[2:3])
        assert source.read(0).dtype.isnative


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "deflate"},
        {"compression": "zstd"},
        {"compression": "packbits"},
        {"compression": "lzma"},
        {"compression": "zstd", "predictor": 2},
        {"compression": "lzw", "predictor": 2},
        {"compression": "zstd", "rowsperstrip": 10**6},
        {"compression": "deflate", "predictor": 2, "rowsperstrip": 10**6, "byteorder": ">"},
        {"compression": "deflate", "tile": (16, 32)},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_tiff_codecs(tmp_path: Path, options: dict[str, object], dtype: str) -> None:
    frames = pixels((3, 40, 50), dtype)
    if options.get("predictor") and dtype == "f4":
        options = options | {"predictor": 3}
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=options.get("byteorder", "<")) as writer:
        options = {name: value for name, value in options.items() if name != "byteorder"}
        for frame in frames:
            writer.write(frame, metadata=None, **options)
    np.testing.assert_array_equal(tifffile.imread(path, key=slice(None)), frames)
    with open_frames(path) as source:
        assert source.count == 3
        np.testing.assert_array_equal(source.read(0, 3), frames)
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(source.view(index)[0], frame)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("planes", [2, 3, 4])
def test_tiff_colour_planes(tmp_path: Path, planes: int, planar: str, compression: str | None) -> None:
    frames = pixels((3, 20, 30, planes), "u2")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            data = frame if planar == "contig" else np.moveaxis(frame, -1, 0)
            photometric = "rgb" if planes > 2 else "minisblack"
            writer.write(
                np.ascontiguousarray(data),
                photometric=photometric,
                planarconfig=planar,
                compression=compression,
                metadata=None,
            )
    with open_frames(path) as source:
        assert source.shape == (20, 30, planes)
        np.testing.assert_array_equal(source.read(0, 3), frames)
        np.testing.assert_array_equal(source.view(1), frames[1:2])
        assert source.view(1).flags.c_contiguous


def test_tiff_of_many_frames_behind_one_directory(tmp_path: Path) -> None:
    frames = pixels((6, 20, 30), "u2")
    path = tmp_path / "shaped.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", truncate=True)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 1
    np.testing.assert_array_equal(read_all(path), frames)
    size = path.stat().st_size
    os.truncate(path, size - 1300)  # the last frame has 1200 bytes
    with open_frames(path) as source:
        assert (source.count, source.available) == (6, 4)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_imagej_hyperstack(tmp_path: Path, order: str, colour: bool) -> None:
    frames = pixels((2, 3, 4, 20, 30, 3) if colour else (2, 3, 4, 20, 30), "u1")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frames, imagej=True, byteorder=order, metadata={"axes": "TZCYXS"[: frames.ndim]})
    expected = frames.reshape(24, *frames.shape[3:])
    np.testing.assert_array_equal(read_all(path), expected)
    # ImageJ writes one directory above 4 GB: cut the chain after the first.
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].offset
        end = offset + 2 + 12 * len(tiff.pages[0].tags)
    data = bytearray(path.read_bytes())
    data[end : end + 4] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_all(path), expected)
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[0], tiff.pages[0].nbytes
    os.truncate(path, start + 4 * size + 100)
    with open_frames(path) as source:
        assert (source.count, source.available) == (24, 4)
        np.testing.assert_array_equal(source.read(0, 4), expected[:4])


def test_tiff_with_a_page_of_another_kind(tmp_path: Path) -> None:
    frames = pixels((2, 20, 30), "u2")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in (frames[0], frames[0, :10], frames[1], frames[1].astype("f4")):
            writer.write(frame, metadata=None)
    with open_frames(path) as source:
        assert source.count == 4
        np.testing.assert_array_equal(source.read(0), frames[:1])
        np.testing.assert_array_equal(source.read(2), frames[1:])
        with pytest.raises(FormatError, match=r"frame 1: a page of shape \(10, 30\) uint16; the first is"):
            source.read(1)
        with pytest.raises(FormatError, match=r"frame 3: a page of shape \(20, 30\) float32; the first is"):
            source.read(2, 4)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pixels((20, 32), "u1") > 99, {}, "TIFF with pixels of type bool is not supported"),
        (pixels((20, 30), "f8").astype("c8"), {}, "TIFF with pixels of type complex64 is not supported"),
        (np.zeros((20, 30), "u8"), {}, "TIFF with pixels of type uint64 is not supported"),
        (np.zeros((20, 30), "i8"), {}, "TIFF with pixels of type int64 is not supported"),
        (np.zeros((16, 16, 16), "u1"), {"volumetric": True, "tile": (16, 16, 16)}, "a page of axes 'ZYX'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tiff_that_is_not_supported(
    tmp_path: Path, frame: np.ndarray, options: dict[str, object], message: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", frame, **options)
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.tif")


def test_tiff_pixel_size(tmp_path: Path) -> None:
    frame = pixels((20, 30), "u1")
    for unit, resolution in (("CENTIMETER", (200_000_000, 3)), ("INCH", (508_000_000, 3))):
        tifffile.imwrite(tmp_path / "a.tif", frame, resolution=(resolution, resolution), resolutionunit=unit)
        with open_frames(tmp_path / "a.tif") as source:
            assert source.metadata["pixel_size"] == pytest.approx(1.5)
    tifffile.imwrite(tmp_path / "b.tif", frame)
    with open_frames(tmp_path / "b.tif") as source:
        assert "pixel_size" not in source.metadata


def test_tiff_with_a_circular_chain_of_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(150):  # longer than what tifffile looks back
            writer.write(pixels((2, 2), "u1"), metadata=None)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0], tiff.pages[149]
        end = last.offset + 2 + 12 * len(last.tags)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, end, first.offset)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="the chain of pages is circular"):
        open_frames(path)


def raw_tiff(path: Path, strips: list[bytes], **tags: list[int]) -> Path:
    """A TIFF of 48 x 64 bytes with these tags, each an unsigned integer of 32 bits."""
    default = {"t256": [64], "t257": [48], "t258": [8], "t259": [1], "t262": [1], "t277": [1], "t278": [48]}
    place = 8 + sum(map(len, strips))
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    values = default | tags | {"t273": starts, "t279": [len(strip) for strip in strips]}
    entries, more = b"", b""
    begin_of_more = place + 2 + 12 * len(values) + 4
    for code, numbers in sorted((int(name[1:]), numbers) for name, numbers in values.items()):
        data = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(data) > 4:
            more += data
            data = struct.pack("<I", begin_of_more + len(more) - len(data))
        entries += struct.pack("<HHI4s", code, 4, len(numbers), data)
    directory = struct.pack("<H", len(values)) + entries + bytes(4)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, place) + b"".join(strips) + directory + more)
    return path


@pytest.mark.parametrize("rows", [48, 1000, 2**31, 2**32 - 1])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_tiff_rows_of_a_strip_beyond_the_frame(tmp_path: Path, rows: int, compression: int) -> None:
    frame = pixels((48, 64), "u1")
    encode = {1: bytes, 5: imagecodecs.lzw_encode, 8: imagecodecs.zlib_encode}[compression]
    path = raw_tiff(tmp_path / "a.tif", [bytes(encode(frame.tobytes()))], t259=[compression], t278=[rows])
    np.testing.assert_array_equal(read_all(path)[0], frame)


@pytest.mark.parametrize(
    ("compression", "name"),
    [
        *((code, "CCITT") for code in (2, 3, 4, 32771)),
        (6, "old-style JPEG"),
        *((code, "JBIG") for code in (9, 10, 34661)),
        (32809, "ThunderScan"),
        (34676, "SGILog"),
        (34677, "SGILog"),
        (32908, "PIXARFILM"),
        (12345, "12345"),
    ],
)
def test_tiff_compressions_that_are_not_supported(tmp_path: Path, compression: int, name: str) -> None:
    data = bytes(imagecodecs.jpeg_encode(pixels((48, 64), "u1")))
    tags = {"t513": [8], "t514": [len(data)]} if compression == 6 else {}
    path = raw_tiff(tmp_path / "a.tif", [data], t259=[compression], **tags)
    with pytest.raises(FormatError, match=rf"a\.tif: TIFF with {name} compression is not supported"):
        open_frames(path)


@pytest.mark.parametrize("factors", [None, (2, 2), (2, 1), (4, 4)])
@pytest.mark.parametrize("compression", [1, 5, 50000])
def test_tiff_subsampled_colours(tmp_path: Path, factors: tuple[int, int] | None, compression: int) -> None:
    encode = {1: bytes, 5: imagecodecs.lzw_encode, 50000: imagecodecs.zstd_encode}[compression]
    tags = {} if factors is None else {"t530": list(factors)}  # 2 and 2 is the default
    path = raw_tiff(
        tmp_path / "a.tif",
        [bytes(encode(bytes(48 * 64 * 3 // 2)))],
        t258=[8, 8, 8],
        t259=[compression],
        t262=[6],
        t277=[3],
        **tags,
    )
    with pytest.raises(FormatError, match=r"a\.tif: TIFF with subsampled YCbCr pixels is not supported"):
        open_frames(path)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (2, 2)])
def test_tiff_subsampled_colours_in_jpeg(tmp_path: Path, factors: tuple[int, int]) -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype("u1")
    frame = np.stack([smooth, smooth[::-1], 255 - smooth], -1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frame, photometric="rgb", compression="jpeg", subsampling=factors, rowsperstrip=16)
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(read_all(path)[0], expected)


def test_tiff_pages_out_of_proportion_are_refused(tmp_path: Path) -> None:
    """By what each codec can do: 2 MB of zeros from 1000 bytes by zstd, but not by deflate."""
    data = imagecodecs.zlib_encode(bytes(900)) + bytes(1000)
    for compression, side in ((8, 2**11), (5, 2**12), (32773, 2**9 + 100), (50000, 2**13)):
        path = raw_tiff(
            tmp_path / "a.tif", [data[:1000]], t256=[side], t257=[side], t259=[compression], t278=[side]
        )
        with pytest.raises(FormatError, match=r"damaged: 1000 bytes are too few for a page of shape"):
            open_frames(path)


def test_tiff_strip_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((20, 30), "u2"), compression="zstd", rowsperstrip=5, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages[0].tags["StripByteCounts"]
        tag.overwrite([tag.value[0], 0, *tag.value[2:]])
    with pytest.raises(FormatError, match="frame 0: strips or tiles are missing"):
        open_frames(path)


@pytest.mark.parametrize(
    ("compression", "reason"), [("zstd", ": strip 0 is damaged"), ("lzma", r" \(.*Lzma")]
)
def test_tiff_damaged_strip(tmp_path: Path, compression: str, reason: str) -> None:
    path = tmp_path / "a.tif"
    frames = pixels((3, 40, 50), "u2")
    tifffile.imwrite(path, frames, photometric="minisblack", compression=compression, rowsperstrip=40)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(data)
    with open_frames(path) as source:
        with pytest.raises(FormatError, match="a.tif, frame 1: cannot be read" + reason) as info:
            source.read(0, 3)
        assert (info.value.frame, info.value.path) == (1, str(path))
        np.testing.assert_array_equal(source.read(2), frames[2:])


def test_log_of_tifffile_is_silent_here_but_not_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((40, 50), "u2"), compression="zstd", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages[0].tags["StripOffsets"]
        tag.overwrite([*tag.value, 8], erase=False)
    with caplog.at_level(logging.DEBUG):
        read_all(path)
        assert not caplog.records
        tifffile.imread(path)
        assert "incorrect StripOffsets count" in caplog.text


# --- NPY


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_npy_of_every_dtype(tmp_path: Path, dtype: str, order: str, fortran: bool) -> None:
    frames = pixels((5, 7, 9), dtype).astype(np.dtype(dtype).newbyteorder(order))
    np.save(tmp_path / "a.npy", np.asfortranarray(frames) if fortran else frames)
    with open_frames(tmp_path / "a.npy") as source:
        assert (source.format, source.shape, source.count) == ("NPY", (7, 9), 5)
        assert source.dtype == np.dtype(dtype)
        assert source.dtype.isnative
        np.testing.assert_array_equal(source.read(0, 5), frames)
        np.testing.assert_array_equal(source.view(2, 4), frames[2:4])
        assert source.view(2, 4).flags.c_contiguous


def test_npy_in_fortran_order_has_no_whole_frame_if_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(pixels((5, 7, 9), "u2")))
    os.truncate(path, path.stat().st_size - 2)
    with pytest.raises(FormatError, match=r"frame 0, byte .*: truncated"):
        open_frames(path)


@pytest.mark.parametrize(
    ("shape", "frame", "count"),
    [
        ((7, 9), (7, 9), 1),
        ((7, 9, 3), (7, 9, 3), 1),
        ((7, 9, 4), (7, 9, 4), 1),
        ((7, 9, 5), (9, 5), 7),
        ((2, 7, 9, 3), (7, 9, 3), 2),
        ((2, 7, 9, 2), (7, 9, 2), 2),
        ((7, 9, 2), (9, 2), 7),
        ((2, 3, 7, 9), (7, 9), 6),
        ((2, 3, 7, 9, 4), (7, 9, 4), 6),
        ((2, 1, 3, 7, 9), (7, 9), 6),
    ],
)
def test_npy_frames_and_stacks(
    tmp_path: Path, shape: tuple[int, ...], frame: tuple[int, ...], count: int
) -> None:
    array = pixels(shape, "u2")
    for stored in (array, np.asfortranarray(array)):
        np.save(tmp_path / "a.npy", stored)
        with open_frames(tmp_path / "a.npy") as source:
            assert (source.shape, source.count) == (frame, count)
        np.testing.assert_array_equal(read_all(tmp_path / "a.npy"), array.reshape(count, *frame))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(tmp_path: Path, version: tuple[int, int]) -> None:
    array = pixels((3, 7, 9), "u2")
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, array, version)
    np.testing.assert_array_equal(read_all(tmp_path / "a.npy"), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}]), "NPY with pixels of type '|O' is not supported"),
        (np.zeros((3, 3), "i4,f4"), r"NPY with pixels of type \[\('f0', '<i4'\), .* is not supported"),
        (np.zeros((3, 3), "i8"), "NPY with pixels of type int64 is not supported"),
        (np.zeros((3, 3), "u8"), "NPY with pixels of type uint64 is not supported"),
        (np.zeros((3, 3), "c16"), "NPY with pixels of type complex128 is not supported"),
        (np.zeros((3, 3), "?"), "NPY with pixels of type bool is not supported"),
        (np.zeros((3, 3), "S7"), "NPY with pixels of type '|S7' is not supported"),
        (np.zeros(3), r"an array of shape \(3,\) is neither a frame nor a stack"),
        (np.zeros((0, 3, 5)), "NPY without pixels: 0 frames"),
        (np.zeros((3, 0, 5)), "NPY without pixels: 3 frames"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_npy_that_is_not_supported(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.npy")


@pytest.mark.parametrize("count", ["9" * 17, "9" * 5000])
def test_absurd_numbers_of_frames(tmp_path: Path, count: str) -> None:
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({count}, 2, 2)}}".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64))
    with pytest.raises(FormatError, match=r"a\.npy: damaged: the header claims 9+ frames"):
        open_frames(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\x93NUMPY\1\0\x10\0{'descr': '<u2'}", "damaged NPY header: no dtype, order or shape"),
        (b"\x93NUMPY\1\0\x10\0{'d", "truncated within the NPY header"),
        (b"\x93NUMPY", "truncated within the NPY header"),
        (b"\x93NUMPY\1\0\xff\xff{'d", "damaged NPY header: 65535 bytes long"),
    ],
)
def test_npy_damaged_header(tmp_path: Path, header: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(header)
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.npy")


def test_npy_damaged_dtype(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels((3, 3), "u2"))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"<u2", b"<u7"))
    with pytest.raises(FormatError, match="damaged NPY header: dtype '<u7'"):
        open_frames(tmp_path / "a.npy")


# --- PNG and JPEG


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 2), (20, 30, 3), (20, 30, 4)])
def test_png(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    frame = pixels(shape, dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(frame))
    with open_frames(tmp_path / "a.png") as source:
        assert (source.format, source.shape, source.dtype, source.count) == ("PNG", shape, frame.dtype, 1)
        np.testing.assert_array_equal(source.read(0), frame[np.newaxis])


def png(
    bits: int, colour: int, data: bytes, *extra: tuple[bytes, bytes], width: int = 8, height: int = 1
) -> bytes:
    """A PNG by the book: signature and chunks with their sums."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


@pytest.mark.parametrize(
    ("colour", "palette", "transparency", "expected"),
    [
        (3, bytes(range(9)), None, [[0, 1, 2], [6, 7, 8]]),
        (3, bytes(range(9)), b"\5\6", [[0, 1, 2, 5], [6, 7, 8, 255]]),
        (0, None, b"\0\2", [[0, 255], [2, 0]]),
    ],
)
def test_png_palette_and_transparency(
    tmp_path: Path, colour: int, palette: bytes | None, transparency: bytes | None, expected: list[list[int]]
) -> None:
    extra = [(b"PLTE", palette)] if palette else []
    extra += [(b"tRNS", transparency)] if transparency else []
    (tmp_path / "a.png").write_bytes(png(8, colour, b"\0\0\2", *extra, width=2))
    np.testing.assert_array_equal(read_all(tmp_path / "a.png"), [[expected]])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a.png").write_bytes(png(bits, 0, bytes(1 + bits)))
    with pytest.raises(FormatError, match=f"PNG with pixels of {bits} bits is not supported"):
        open_frames(tmp_path / "a.png")


def test_png_of_nonsense_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(8, 2, b"\0", width=2**31 - 1, height=2**31 - 1))
    with pytest.raises(FormatError, match="bytes are too few for an image of 2147483647 x 2147483647"):
        open_frames(tmp_path / "a.png")


def jpeg(shape: tuple[int, ...], **options: object) -> bytes:
    y, x = np.mgrid[: shape[0], : shape[1]]
    frame = (100 + 50 * np.sin(y / 7) + 50 * np.cos(x / 5)).astype(np.uint8)
    if len(shape) == 3:
        frame = np.repeat(frame[..., np.newaxis], shape[2], axis=2)
    data: bytes = imagecodecs.jpeg8_encode(frame, level=90, **options)
    return data


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
def test_jpeg(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = jpeg(shape)
    (tmp_path / "a.jpg").write_bytes(data)
    with open_frames(tmp_path / "a.jpg") as source:
        assert (source.format, source.shape, source.dtype, source.count) == ("JPEG", shape, np.uint8, 1)
        np.testing.assert_array_equal(source.read(0)[0], imagecodecs.jpeg8_decode(data))


def test_jpeg_of_12_bits(tmp_path: Path) -> None:
    frame = pixels((40, 60), "u2") >> 4
    data = imagecodecs.ljpeg_encode(frame, bitspersample=12)
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(read_all(tmp_path / "a.jpg"), frame[np.newaxis])


@pytest.mark.parametrize("restart", [False, True])
def test_jpeg_is_truncated_wherever_it_is_cut(tmp_path: Path, restart: bool) -> None:
    data = jpeg((40, 60, 3))
    # A thumbnail, with an end mark of its own, in a segment before the image.
    thumbnail = jpeg((8, 8))
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + data[2:]
    scan = data.rindex(b"\xff\xda")
    if restart:  # the mark of a restart does not end the image
        data = data[: scan + 40] + b"\xff\xd0" + data[scan + 40 :]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    open_frames(path).close()
    path.write_bytes(data[:scan] + b"\xff\xd9")
    with pytest.raises(FormatError, match="truncated JPEG"):
        open_frames(path)
    for size in range(3, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(FormatError, match="truncated JPEG") as info:
            open_frames(path)
        assert (info.value.frame, info.value.offset) == (0, size)


def test_jpeg_of_nonsense_size(tmp_path: Path) -> None:
    data = bytearray(jpeg((40, 60)))
    start = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, start + 5, 65535, 65535)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(FormatError, match="bytes are too few for an image of 65535 x 65535"):
        open_frames(tmp_path / "a.jpg")


# --- every format


def example(kind: str, path: Path, count: int = 4) -> np.ndarray:
    """Write a small file of one kind; its frames."""
    frames = pixels((count, 24, 32), "u2")
    if kind == "mrc":
        write_mrc(path, frames)
    elif kind == "tiff":
        tifffile.imwrite(path, frames, photometric="minisblack")
    elif kind == "pages":
        with tifffile.TiffWriter(path) as writer:
            for frame in frames:
                writer.write(frame, metadata=None)
    elif kind == "zstd":
        tifffile.imwrite(path, frames, photometric="minisblack", compression="zstd")
    elif kind == "npy":
        np.save(path, frames)
    elif kind == "png":
        frames = frames[:1]
        path.write_bytes(imagecodecs.png_encode(frames[0]))
    else:
        path.write_bytes(jpeg((24, 32, 3)))
        frames = imagecodecs.jpeg8_decode(path.read_bytes())[np.newaxis]
    return frames


KINDS = {
    "mrc": ".mrc",
    "tiff": ".tif",
    "pages": ".tif",
    "zstd": ".tif",
    "npy": ".npy",
    "png": ".png",
    "jpeg": ".jpg",
}


def attempt(action: Callable[..., Any], *arguments: object) -> Any:
    """What an action returns, or the FormatError that it raises."""
    try:
        return action(*arguments)
    except FormatError as error:
        return error


@pytest.mark.parametrize("kind", KINDS)
def test_content_tells_the_format_not_the_name(tmp_path: Path, kind: str) -> None:
    frames = example(kind, tmp_path / f"a{KINDS[kind]}")
    os.rename(tmp_path / f"a{KINDS[kind]}", tmp_path / "a.mrc")
    np.testing.assert_array_equal(read_all(tmp_path / "a.mrc"), frames)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    """Whole frames are read as they are, others are errors, and nothing is ever made up."""
    path = tmp_path / f"a{KINDS[kind]}"
    frames = example(kind, path)
    data = path.read_bytes()
    opened = 0
    for size in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
        path.write_bytes(data[:size])
        source = attempt(open_frames, path)
        if isinstance(source, FormatError):
            assert source.offset in (size, None)
            continue
        opened += 1
        with source:
            failed = 0
            for index in range(source.count):
                frame = attempt(source.read, index)
                if isinstance(frame, FormatError):
                    failed += 1
                    assert (frame.frame, frame.offset) == (index, size)
                else:
                    np.testing.assert_array_equal(frame, frames[index : index + 1])
            assert failed or source.count == len(frames)  # the bytes that are gone may be of no use
            assert source.available <= source.count
    assert opened > 10 or kind in ("png", "jpeg", "tiff", "zstd")


def test_truncated_mrc_tells_where(tmp_path: Path) -> None:
    frames = example("mrc", tmp_path / "a.mrc")
    size = 1024 + 2 * frames[0].nbytes + 100
    os.truncate(tmp_path / "a.mrc", size)
    with open_frames(tmp_path / "a.mrc") as source:
        assert (source.count, source.available) == (4, 2)
        np.testing.assert_array_equal(source.read(0, 2), frames[:2])
        with pytest.raises(FormatError) as info:
            source.read(0, 4)
        assert (info.value.frame, info.value.offset) == (2, size)
        with pytest.raises(
            FormatError, match=f"a.mrc, frame 3, byte {size}: truncated: the file ends before"
        ):
            source.read(3)


def test_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    example("mrc", tmp_path / "a.mrc")
    with open_frames(tmp_path / "a.mrc") as source:
        os.truncate(tmp_path / "a.mrc", 2000)
        with pytest.raises(FormatError, match="the file has become shorter"):
            source.read(0)


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_headers_give_format_errors_only(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{KINDS[kind]}"
    example(kind, path)
    data = path.read_bytes()
    # Headers and directories: the start, and the end where tifffile puts the directories.
    places = [*range(min(len(data), 420)), *range(max(0, len(data) - 700), len(data))]
    random_ = random.Random(kind)
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            place = random_.choice(places)
            damaged[place] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        path.write_bytes(damaged)
        source = attempt(open_frames, path)
        if isinstance(source, FormatError):
            continue
        with source:
            for index in range(min(source.count, 6)):
                frame = attempt(source.read, index)
                if not isinstance(frame, FormatError):
                    assert frame.shape == (1, *source.shape)
                    assert frame.nbytes < 2**28


def test_nothing_but_an_image_is_opened(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    with pytest.raises(FormatError, match=r"empty\.tif, byte 0: the file is empty"):
        open_frames(tmp_path / "empty.tif")
    (tmp_path / "notes.tif").write_text("notes")
    with pytest.raises(FormatError) as info:
        open_frames(tmp_path / "notes.tif")
    assert info.value.reason == f"not an image file that camnorm reads ({format_names()})"
    assert format_names().startswith("MRC, ")
    os.mkfifo(tmp_path / "pipe.mrc")
    with pytest.raises(FormatError, match="not a regular file"):
        open_frames(tmp_path / "pipe.mrc")
    with pytest.raises(FormatError, match="not a regular file"):
        open_frames("/dev/zero")
    with pytest.raises(IsADirectoryError):
        open_frames(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_frames(tmp_path / "none.mrc")
    if os.getuid():
        (tmp_path / "notes.tif").chmod(0)
        with pytest.raises(PermissionError):
            open_frames(tmp_path / "notes.tif")


def test_format_error_is_of_the_package_and_a_value_error() -> None:
    assert issubclass(FormatError, Error)
    assert issubclass(FormatError, ValueError)


def test_names_of_images() -> None:
    assert all(
        is_image_name(f"x{suffix.upper()}") for image_format in formats() for suffix in image_format.suffixes
    )
    assert not is_image_name("x.txt")
    assert not is_image_name("mrc")


@pytest.mark.parametrize("kind", KINDS)
def test_read_into_an_array(tmp_path: Path, kind: str) -> None:
    frames = example(kind, tmp_path / f"a{KINDS[kind]}")
    n = len(frames)
    with open_frames(tmp_path / f"a{KINDS[kind]}") as source:
        out = np.zeros_like(frames)
        assert source.read(0, n, out=out) is out
        np.testing.assert_array_equal(out, frames)
        with pytest.raises(TypeError, match="out has dtype float64, expected"):
            source.read(0, n, out=np.zeros(frames.shape))
        with pytest.raises(ValueError, match=r"out has shape .*, expected"):
            source.read(0, n, out=np.zeros((n + 1, *source.shape), source.dtype))
        with pytest.raises(ValueError, match="out is not C-contiguous and writable"):
            source.read(0, n, out=np.asfortranarray(out))
        out.flags.writeable = False
        with pytest.raises(ValueError, match="out is not C-contiguous and writable"):
            source.read(0, n, out=out)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_are_not_there(tmp_path: Path, kind: str) -> None:
    frames = example(kind, tmp_path / f"a{KINDS[kind]}")
    n = len(frames)
    with open_frames(tmp_path / f"a{KINDS[kind]}") as source:
        for start, stop in ((-1, None), (n, None), (0, 0), (0, n + 1), (1, 0)):
            with pytest.raises(IndexError, match="no frames"):
                source.read(start, stop)


@pytest.mark.parametrize("kind", ["mrc", "tiff", "npy"])
def test_view_maps_and_read_copies(tmp_path: Path, kind: str) -> None:
    frames = example(kind, tmp_path / f"a{KINDS[kind]}")
    with open_frames(tmp_path / f"a{KINDS[kind]}") as source:
        view, copy = source.view(1, 3), source.read(1, 3)
    assert not view.flags.writeable
    assert not view.flags.owndata
    assert copy.flags.writeable
    np.testing.assert_array_equal(view, frames[1:3])  # after the source was closed
    copy[:] = 0
    np.testing.assert_array_equal(read_all(tmp_path / f"a{KINDS[kind]}"), frames)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_frames_with_directories_between_them_are_not_copied(
    tmp_path: Path, dtype: str, bigtiff: bool
) -> None:
    frames = pixels((5, 16, 24), dtype)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder="<") as writer:
        for frame in frames:
            writer.write(frame, contiguous=False, rowsperstrip=16, metadata=None, description=8 * "x")
    with open_frames(path) as source:
        view = source.view(1, 5)
        np.testing.assert_array_equal(view, frames[1:])
        np.testing.assert_array_equal(source.read(0, 5), frames)
        assert not view.flags.owndata
        assert view.strides[0] > frames[0].nbytes


def test_where_frames_lie_in_the_file(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    write_mrc(tmp_path / "a.mrc", frames)
    write_mrc(tmp_path / "swapped.mrc", frames, ">")
    np.save(tmp_path / "a.npy", frames)
    np.save(tmp_path / "swapped.npy", frames.astype(">u2"))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(frames))
    write = partial(tifffile.imwrite, photometric="minisblack", byteorder="<")
    write(tmp_path / "a.tif", frames)
    write(tmp_path / "packed.tif", frames, compression="zlib")
    write(tmp_path / "swapped.tif", frames, byteorder=">")
    with tifffile.TiffWriter(tmp_path / "pages.tif", byteorder="<") as writer:
        for i, frame in enumerate(frames):  # at unequal distances
            writer.write(frame, contiguous=False, rowsperstrip=16, metadata=None, description="x" * 9 * i)
    found = {"a.mrc", "a.npy", "a.tif", "pages.tif"}
    for path in sorted(tmp_path.iterdir()):
        with open_frames(path) as source:
            assert (source.offsets is not None) == (path.name in found), path
            if source.offsets is None:
                continue
            stored = source.stored(1, 3)
        assert (stored.shape, stored.dtype, stored.nbytes) == ((2, 16, 24), frames.dtype, frames[1:].nbytes)
        for frame, offset in zip(frames[1:], stored.offsets, strict=True):
            assert os.pread(stored.file.number, frame.nbytes, offset) == frame.tobytes(), path


def test_files_that_cannot_be_read_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mrc(tmp_path / "a.mrc", pixels((3, 16, 24), "u2"))
    monkeypatch.setattr(_core, "fetch", lambda file, offset, bytes: "Input/output error")
    message = r"a\.mrc.*cannot be read: Input/output error"
    with open_frames(tmp_path / "a.mrc") as source:
        for take in (source.view, source.stored):
            with pytest.raises(FormatError, match=message):
                take(0, 3)


def test_files_that_become_shorter(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    write_mrc(tmp_path / "a.mrc", frames)
    with open_frames(tmp_path / "a.mrc") as source:
        os.truncate(tmp_path / "a.mrc", 1024 + 2 * frames[0].nbytes + 10)
        assert len(source.stored(0, 2)) == 2
        with pytest.raises(FormatError, match=r"a\.mrc.*the file ends before the frame does"):
            source.stored(0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_one_source(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{KINDS[kind]}"
    frames = example(kind, path, count=16)
    n = len(frames)
    with open_frames(path) as source, ThreadPoolExecutor(8) as executor:

        def read(index: int) -> bool:
            return np.array_equal(source.read(index), frames[index : index + 1])

        assert all(executor.map(read, itertools.islice(itertools.cycle(range(n)), 400)))


def test_files_are_closed(tmp_path: Path) -> None:
    for kind, suffix in KINDS.items():
        example(kind, tmp_path / f"a{suffix}")
        (tmp_path / "bad.tif").write_bytes((tmp_path / f"a{suffix}").read_bytes()[:300])
        before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        read_all(tmp_path / f"a{suffix}")
        with pytest.raises(FormatError):
            open_frames(tmp_path / "bad.tif")
        if sys.platform == "linux":
            assert len(os.listdir("/proc/self/fd")) == before


def test_source_tells_what_it_is(tmp_path: Path) -> None:
    example("mrc", tmp_path / "a.mrc")
    with open_frames(str(tmp_path / "a.mrc")) as source:
        assert isinstance(source, FrameSource)
        assert repr(source) == f"<MRC {tmp_path}/a.mrc: 4 frames, shape (24, 32), uint16>"


def test_plain_mrc_needs_no_codec_and_formats_are_imported_when_needed(tmp_path: Path) -> None:
    example("mrc", tmp_path / "a.mrc")
    script = (
        "import json, sys\n"
        "from camnorm.io import open_frames\n"
        "heavy = lambda: [m for m in ('mrcfile', 'tifffile', 'imagecodecs') if m in sys.modules]\n"
        "before = heavy()\n"
        f"open_frames({str(tmp_path / 'a.mrc')!r}).close()\n"
        "print(json.dumps([before, heavy()]))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = json.loads(io.StringIO(result.stdout).read())
    assert before == []
    assert after == ["mrcfile"]


# --- bare pixels, other packages' formats


@pytest.mark.parametrize(
    ("text", "shape", "dtype", "offset"),
    [
        ("16x24:uint16", (16, 24), "<u2", 0),
        ("16,24:>f4:100", (16, 24), ">f4", 100),
        ("8x6x3:u1:7", (8, 6, 3), "u1", 7),
    ],
)
def test_raw_files(tmp_path: Path, text: str, shape: tuple[int, ...], dtype: str, offset: int) -> None:
    layout = RawLayout.parse(text)
    assert (layout.shape, layout.dtype, layout.offset) == (shape, np.dtype(dtype), offset)
    frames = pixels((5, *shape), np.dtype(dtype).newbyteorder("=").str).astype(dtype)
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(offset) + frames.tobytes())
    with open_frames(path, ReadOptions(raw=layout)) as source:
        assert (source.count, source.shape, source.format) == (5, shape, "raw")
        assert (source.offsets is None) == (dtype[0] == ">")
        np.testing.assert_array_equal(source.read(0, 5), frames)
    cut = path.read_bytes()[:-1]
    path.write_bytes(cut)
    with pytest.raises(FormatError, match=rf"{len(cut)} bytes are not {offset} and a whole number of frames"):
        open_frames(path, ReadOptions(raw=layout))
    path.write_bytes(cut[: offset + 3])
    with pytest.raises(FormatError, match="truncated"):
        open_frames(path, ReadOptions(raw=layout))


@pytest.mark.parametrize("text", ["", "16:u2", "16x24", "16x24:nonsense", "16x24:u2:x", "16x24:u2:1:2"])
def test_raw_layouts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not SHAPE:DTYPE\[:OFFSET\], as in 4096x4096:uint16"):
        RawLayout.parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mrc_mode0": "bytes"}, "mrc_mode0 must be 'auto', 'signed', 'unsigned' or 'imod', not 'bytes'"),
        ({"eer_grouping": 0}, "eer_grouping must be positive, not 0"),
        ({"eer_sampling": 3}, "eer_sampling must be 1, 2 or 4, not 3"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadOptions(**options)


class _Lines(FrameSource):
    """A format of somebody else's: a mark, then bytes of four pixels a frame."""

    format = "lines"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        count = (file.size - 5) // 4
        super().__init__(file, shape=(2, 2), dtype=np.dtype("u1"), count=count, available=count, metadata={})

    def _frames(self, start: int, stop: int) -> Any:
        data = self._file.read(5 + 4 * start, 4 * (stop - start))
        return np.frombuffer(data, "u1").reshape(-1, 2, 2)


def test_formats_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ImageFormat("lines", (".lines",), f"{__name__}:_Lines", (b"LINES",))
    needy = ImageFormat("needy", (".needy",), "no_such_module:X", (b"NEEDY",), extra="needy")

    class Entry:
        def __init__(self, value: ImageFormat) -> None:
            self._value = value

        def load(self) -> ImageFormat:
            return self._value

    def entries(*, group: str) -> list[Entry]:
        assert group == "camnorm.formats"
        return [Entry(lines), Entry(needy)]

    monkeypatch.setattr("camnorm.io.base.registry.entry_points", entries)
    formats_of_other_packages.cache_clear()
    try:
        (tmp_path / "a.lines").write_bytes(b"LINES" + bytes(range(12)))
        with open_frames(tmp_path / "a.lines") as source:
            np.testing.assert_array_equal(source.read(1, 3), np.arange(4, 12, dtype="u1").reshape(2, 2, 2))
        assert is_image_name("x.LINES")
        (tmp_path / "b").write_bytes(b"NEEDY")
        with pytest.raises(Error, match=r"no_such_module is needed: pip install 'camnorm\[needy\]'"):
            open_frames(tmp_path / "b")
    finally:
        formats_of_other_packages.cache_clear()


# --- rows of frames that lie in the file as in memory


@pytest.mark.parametrize("name", ["a.mrc", "a.npy", "pages.tif", "packed.tif"])
def test_rows(tmp_path: Path, name: str) -> None:
    frames = np.arange(5 * 12 * 16, dtype="u2").reshape(5, 12, 16)
    path = tmp_path / name
    if name == "a.mrc":
        mrcfile.write(path, frames)
    elif name == "a.npy":
        np.save(path, frames)
    else:
        with tifffile.TiffWriter(path) as tiff:
            for frame in frames if name == "pages.tif" else [frames]:
                tiff.write(frame, photometric="minisblack", contiguous=False)
    with open_frames(path) as source:
        assert source.offsets is not None
        data = path.read_bytes()
        for frame, offset in zip(frames, source.offsets, strict=True):
            assert data[offset : offset + frame.nbytes] == frame.tobytes()
        for frame, row, rows in [(0, 0, 12), (4, 11, 1), (2, 3, 5)]:
            out = np.zeros((rows, 16), "u2")
            source.read_rows(frame, row, out)
            np.testing.assert_array_equal(out, frames[frame, row : row + rows])
        os.truncate(path, int(source.offsets[3]) + 40)
        with pytest.raises(FormatError, match="the file has become shorter"):
            source.read_rows(3, 0, np.zeros((12, 16), "u2"))


@pytest.mark.parametrize("name", ["big.mrc", "fortran.npy", "big.npy", "zlib.tif", "strips.tif", "big.tif"])
def test_frames_that_do_not_lie_in_the_file_as_in_memory(tmp_path: Path, name: str) -> None:
    frames = np.arange(5 * 12 * 16, dtype="u2").reshape(5, 12, 16)
    path = tmp_path / name
    if name == "big.mrc":
        mrcfile.write(path, frames.astype(">u2"))
    elif path.suffix == ".npy":
        np.save(path, np.asfortranarray(frames) if name == "fortran.npy" else frames.astype(">u2"))
    else:
        options: dict[str, Any] = {
            "zlib.tif": {"compression": "zlib"},
            "strips.tif": {"rowsperstrip": 5, "compression": "zlib"},
            "big.tif": {"byteorder": ">"},
        }[name]
        tifffile.imwrite(path, frames, photometric="minisblack", metadata=None, **options)
    with open_frames(path) as source:
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(0, 5), frames)
