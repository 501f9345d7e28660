"""HDF5 and NeXus, Zarr and FITS: against the libraries that define them, whole, damaged and cut off."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import pytest
import zarr
from astropy.io import fits

import camnorm
from camnorm.errors import Error, FormatError
from camnorm.io import ReadOptions, expand_inputs, open_frames
from camnorm.io.base.registry import is_image_name
from camnorm.measurement.checkpoint import Checkpoint
from image_sets import Divide, assert_same_moments, cut, frames_of, rejected, write_npy

FUZZ_RUNS = 200
INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4"]
FLOATS = ["f2", "f4", "f8"]


def pixels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(100, 30, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind.newbyteorder("="), endpoint=True).astype(
        kind
    )


def read_all(path: Path, dataset: str | None = None) -> np.ndarray:
    with open_frames(path, ReadOptions(dataset=dataset)) as source:
        return source.read(0, source.count)


def assert_reads(path: Path, expected: np.ndarray, dataset: str | None = None) -> None:
    """The frames, whole and in parts, in native byte order, also where they are told to lie in the file."""
    with open_frames(path, ReadOptions(dataset=dataset)) as source:
        assert (source.count, source.shape) == (len(expected), expected.shape[1:])
        assert source.dtype == expected.dtype.newbyteorder("=")
        assert source.dtype.isnative
        assert source.available == source.count
        np.testing.assert_array_equal(source.read(0, source.count), expected)
        for index in range(source.count):
            np.testing.assert_array_equal(source.view(index), expected[index : index + 1])
        if source.offsets is not None:
            data = path.read_bytes()
            for offset, frame in zip(source.offsets.tolist(), expected, strict=True):
                assert data[offset : offset + frame.nbytes] == frame.tobytes()


def write_h5(path: Path, frames: np.ndarray, name: str = "data", **options: Any) -> Path:
    with h5py.File(path, "w") as f:
        f.create_dataset(name, data=frames, **options)
    return path


def one_frame_a_chunk(frames: np.ndarray) -> tuple[int, ...]:
    return (1, *frames.shape[1:])


# --- HDF5

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "gzip, shuffle": {"compression": "gzip", "shuffle": True},
    "shuffle": {"shuffle": True},
    "fletcher32": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "scaleoffset": {"scaleoffset": 0},
    "lz4": hdf5plugin.LZ4(),
    "lz4 in blocks": hdf5plugin.LZ4(nbytes=512),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle-lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle-lz4 in blocks": hdf5plugin.Bitshuffle(nelems=64),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "zstd": hdf5plugin.Zstd(),
    "blosc": hdf5plugin.Blosc(),
    "blosc2": hdf5plugin.Blosc2(),
}
BY_HDF5 = {"fletcher32", "scaleoffset", "blosc2"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_hdf5_of_every_dtype(tmp_path: Path, dtype: str, order: str) -> None:
    frames = pixels((5, 16, 24), order + dtype)
    path = write_h5(tmp_path / "a.h5", frames)
    assert_reads(path, frames)
    with open_frames(path) as source:
        assert (source.format, source.metadata) == ("HDF5", {"dataset": "/data"})
        assert (source.offsets is not None) == frames.dtype.isnative
    for options in ({}, {"compression": "gzip", "shuffle": True}, hdf5plugin.Bitshuffle()):
        assert_reads(write_h5(path, frames, chunks=one_frame_a_chunk(frames), **options), frames)


@pytest.mark.parametrize("chunks", [(1, 40, 56), (2, 40, 56), (3, 16, 16), (1, 40, 8)], ids=str)
@pytest.mark.parametrize("filters", FILTERS)
def test_hdf5_filters(
    tmp_path: Path, filters: str, chunks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = pixels((5, 40, 56), "u2")
    frames[0] %= 7
    frames[1] = 0
    path = write_h5(tmp_path / "a.h5", frames, chunks=chunks, **FILTERS[filters])
    assert_reads(path, frames)
    if filters not in BY_HDF5:
        monkeypatch.setattr(h5py.Dataset, "__getitem__", None)  # is not needed
        assert_reads(path, frames)
        with open_frames(path) as source:
            assert (source.offsets is not None) == (filters == "none" and chunks == (1, 40, 56))


@pytest.mark.parametrize(
    "filters", ["gzip", "shuffle", "lzf", "lz4", "bitshuffle", "bitshuffle-lz4", "zstd", "blosc"]
)
def test_hdf5_chunks_that_lack_pixels(tmp_path: Path, filters: str) -> None:
    """HDF5 gives zeros, or whatever is in its memory, in place of them."""
    frames = pixels((3, 16, 24), "u2")
    path = write_h5(tmp_path / "a.h5", frames, chunks=(1, 16, 24), **FILTERS[filters])
    write_h5(tmp_path / "short.h5", frames[:, :12], chunks=(1, 12, 24), **FILTERS[filters])
    with h5py.File(path, "a") as f, h5py.File(tmp_path / "short.h5") as short:
        f["data"].id.write_direct_chunk((1, 0, 0), short["data"].id.read_direct_chunk((1, 0, 0))[1])
    with open_frames(path) as source:
        np.testing.assert_array_equal(source.read(2)[0], frames[2])
        with pytest.raises(FormatError, match=r"a\.h5, frame 1: cannot be read"):
            source.read(0, 3)


def test_hdf5_lzf_chunk_that_lacks_pixels(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2") % 7
    path = write_h5(tmp_path / "a.h5", frames, chunks=(1, 16, 24), compression="lzf")
    with h5py.File(path, "a") as f:
        f["data"].id.write_direct_chunk((1, 0, 0), imagecodecs.lzf_encode(frames[1].tobytes()[:-6]))
    with open_frames(path) as source:
        np.testing.assert_array_equal(source.read(2)[0], frames[2])
        with pytest.raises(FormatError, match=r"a\.h5, frame 1: cannot be read"):
            source.read(1)


@pytest.mark.parametrize("filters", ["lzf", "scaleoffset", "blosc2"])
def test_hdf5_chunks_without_their_filter_that_lack_pixels(tmp_path: Path, filters: str) -> None:
    """HDF5 gives whatever is in its memory in place of them."""
    frames = pixels((3, 16, 24), "u2")
    path = write_h5(tmp_path / "a.h5", frames, chunks=(1, 16, 24), **FILTERS[filters])
    with h5py.File(path, "a") as f:
        for frame, size in ((0, frames[0].nbytes), (1, frames[1].nbytes - 6)):
            f["data"].id.write_direct_chunk((frame, 0, 0), frames[frame].tobytes()[:size], filter_mask=1)
    with open_frames(path) as source:
        np.testing.assert_array_equal(source.read(0)[0], frames[0])
        np.testing.assert_array_equal(source.read(2)[0], frames[2])
        with pytest.raises(
            FormatError, match=r"a\.h5, frame 1: (damaged: a chunk of 762 bytes|cannot be read)"
        ):
            source.read(1)


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 129, 130), (2, 96, 97)], ids=str)
def test_bitshuffle_of_any_size(tmp_path: Path, shape: tuple[int, ...], dtype: str, codec: str) -> None:
    frames = pixels(shape, dtype)
    frames[1:] = pixels(shape[1:], "u1") % 3
    options = hdf5plugin.Bitshuffle(cname=codec)
    assert_reads(write_h5(tmp_path / "a.h5", frames, chunks=one_frame_a_chunk(frames), **options), frames)


def test_bitshuffle_block_that_is_as_long_as_its_pixels(tmp_path: Path) -> None:
    """By LZ4's own filter such a block would not be compressed; the one of bitshuffle compresses it."""
    rng = np.random.default_rng(0)
    length, blocks = 128, 1
    # Mostly noise, with a run that saves just what the noise costs.
    for run in itertools.count(4):
        frame = rng.integers(0, 256, (1, 8, 16), dtype="u1")
        planes = rng.integers(0, 256, (8, 16), dtype="u1").reshape(-1)
        planes[20 : 20 + run % 60] = 7
        bits = np.unpackbits(planes.reshape(8, 16), axis=1, bitorder="little")
        frame = np.packbits(bits.T, axis=1, bitorder="little").reshape(1, 8, 16)
        path = write_h5(tmp_path / "a.h5", frame, chunks=(1, 8, 16), **hdf5plugin.Bitshuffle(nelems=128))
        with h5py.File(path) as f:
            _, chunk = f["data"].id.read_direct_chunk((0, 0, 0))
        if len(chunk) == 12 + 4 * blocks + length:
            break
    assert_reads(path, frame)


def test_hdf5_chunk_to_which_a_filter_was_not_applied(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    with h5py.File(tmp_path / "a.h5", "w") as f:
        data = f.create_dataset(
            "data", (3, 16, 24), "u2", chunks=(1, 16, 24), compression="gzip", shuffle=True
        )
        data[...] = frames
        data.id.write_direct_chunk((1, 0, 0), frames[1].tobytes(), filter_mask=0b11)
    assert_reads(tmp_path / "a.h5", frames)


def test_hdf5_of_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for options in ({}, {"chunks": True, "compression": "gzip"}):
        frame = pixels((16, 24), "u2")
        assert_reads(write_h5(path, frame, **options), frame[np.newaxis])
        colour = pixels((16, 24, 3), "u1")
        assert_reads(write_h5(path, colour, **options), colour[np.newaxis])
        assert_reads(write_h5(path, pixels((4, 16, 24, 4), "u1"), **options), pixels((4, 16, 24, 4), "u1"))
    assert_reads(write_h5(path, frame, chunks=frame.shape, compression="gzip"), frame[np.newaxis])
    scan = pixels((4, 5, 16, 24), "u1")
    for options in ({}, {"chunks": (1, 1, 16, 24)}, {"chunks": (3, 2, 9, 7), "compression": "gzip"}):
        assert_reads(write_h5(path, scan, **options), scan.reshape(20, 16, 24))


def test_hdf5_with_a_block_of_another_program_before_it(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    for options in ({}, {"chunks": (1, 16, 24), "compression": "gzip"}):
        with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as f:
            f.create_dataset("data", data=frames, **options)
        assert_reads(tmp_path / "a.mat", frames)


def test_hdf5_integers_of_few_bits(tmp_path: Path) -> None:
    """Twelve bits in two bytes, high ones first: not to be taken as they lie in the file."""
    frames = (pixels((3, 16, 24), "u2") & 0xFFF).astype("u2")
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(4)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        space = h5py.h5s.create_simple(frames.shape)
        data = h5py.h5d.create(f.id, b"data", kind, space)
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, frames)
    assert_reads(tmp_path / "a.h5", frames)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("c8", "pixels of type complex64 are not supported"),
        ("i8", "pixels of type int64 are not supported"),
        ("u8", "pixels of type uint64 are not supported"),
        ("?", "pixels of type bool are not supported"),
        ("f4, u2", r"pixels of compound type \(f0, f1\) are not supported"),
        ("S4", "no images in it"),
    ],
)
def test_hdf5_pixels_that_are_not_supported(tmp_path: Path, kind: str, message: str) -> None:
    write_h5(tmp_path / "a.h5", np.zeros((3, 16, 24), kind))
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.h5")
    with pytest.raises(FormatError, match=r"/data of shape \(3, 16, 24\) and type .* holds no images"):
        open_frames(tmp_path / "a.h5", ReadOptions(dataset="data"))


def test_hdf5_the_only_large_dataset_is_meant(tmp_path: Path) -> None:
    frames = pixels((30, 16, 24), "u2")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f["entry/instrument/detector/data"] = frames
        f["entry/instrument/detector/pixel_mask"] = np.zeros((16, 24), "u4")
        f["entry/instrument/detector/flatfield"] = np.zeros((16, 24), "f4")
        f["entry/times"] = np.arange(10_000)
        f["entry/hard"] = f["entry/instrument/detector/data"]
        f["entry/soft"] = h5py.SoftLink("/entry/instrument/detector/data")
        f["entry/again"] = f["entry"]
    assert_reads(path, frames)
    assert_reads(path, np.zeros((1, 16, 24), "u4"), "entry/instrument/detector/pixel_mask")
    assert_reads(path, frames, "/entry/soft")
    assert_reads(path, frames, "entry/instrument")


def test_hdf5_of_several_that_can_be_meant(tmp_path: Path) -> None:
    frames = pixels((6, 16, 24), "u2")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f["one/data"], f["two/data"] = frames, frames[:4]
    message = (
        r"a\.h5: several arrays can be meant, choose one with dataset=NAME: "
        r"/two/data \(4, 16, 24\) uint16, /one/data \(6, 16, 24\) uint16$"
    )
    with pytest.raises(FormatError, match=message):
        open_frames(path)
    assert_reads(path, frames, "one/data")
    assert_reads(path, frames[:4], "two")
    with pytest.raises(FormatError, match=r"a\.h5: there is no three in it"):
        open_frames(path, ReadOptions(dataset="three"))
    with h5py.File(path, "a") as f:
        for i in range(20):
            f[f"more/{i}"] = frames
    with pytest.raises(FormatError, match=r"uint16, 10 more$"):
        open_frames(path)


def nexus(path: Path, frames: np.ndarray, default: bool, other: np.ndarray) -> Path:
    with h5py.File(path, "w") as f:
        for name, data in (("a", other), ("b", frames), ("c", other)):
            entry = f.create_group(name)
            entry.attrs["NX_class"] = "NXentry"
            entry["raw"] = data
            group = entry.create_group("plot")
            group.attrs["NX_class"] = "NXdata"
            group["images"] = data
            if default or name == "b":
                group.attrs["signal"] = np.bytes_(b"images") if default else "images"
            if default:
                entry.attrs["default"] = "plot"
        if default:
            f.attrs["default"] = ["b"]
    return path


@pytest.mark.parametrize("default", [True, False])
def test_nexus_default_and_signal(tmp_path: Path, default: bool) -> None:
    frames = pixels((3, 16, 24), "u2")
    path = nexus(tmp_path / "a.nxs", frames, default, frames * 0)
    assert_reads(path, frames)
    assert_reads(path, frames * 0, "a/raw")


def test_nexus_signal_in_the_manner_before_2014(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    with h5py.File(tmp_path / "a.nxs", "w") as f:
        f["entry/data/mask"], f["entry/data/counts"] = frames * 0, frames
        f["entry/data/counts"].attrs["signal"] = 1
    assert_reads(tmp_path / "a.nxs", frames)


def test_nexus_defaults_that_lead_nowhere(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    path = write_h5(tmp_path / "a.nxs", frames, "x/data")
    with h5py.File(path, "a") as f:
        f.attrs["default"], f["x"].attrs["default"] = "x", "nothing"
    assert_reads(path, frames)
    with h5py.File(path, "a") as f:
        f["x/back"] = f["/"]
        f["x"].attrs["default"] = "back"
    assert_reads(path, frames)


def test_hdf5_links_to_other_files(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    write_h5(tmp_path / "part.h5", frames)
    path = tmp_path / "master.h5"
    with h5py.File(path, "w") as f:
        f["entry/link"] = h5py.ExternalLink("part.h5", "data")
        f["entry/gone"] = h5py.ExternalLink("gone.h5", "data")
    with open_frames(path, ReadOptions(dataset="entry/link")) as source:
        assert source.offsets is None  # they lie in another file
        np.testing.assert_array_equal(source.read(0, 3), frames)
    gone = r"master\.h5: {}gone is in the file gone\.h5, which is missing"
    with pytest.raises(FormatError, match=gone.format("/entry/")):  # which may have the images
        open_frames(path)
    with pytest.raises(FormatError, match=gone.format("/entry/")):
        open_frames(path, ReadOptions(dataset="entry/gone"))
    with h5py.File(path, "a") as f:
        f["mask"] = np.zeros((16, 24), "u1")
        f["entry"].attrs["signal"] = "gone"
        f.attrs["default"] = "entry"
    with pytest.raises(FormatError, match=gone.format("/entry/")):  # and not the mask
        open_frames(path)
    with h5py.File(path, "w") as f:
        f["gone"] = h5py.ExternalLink("gone.h5", "data")
    with pytest.raises(FormatError, match=gone.format("/")):
        open_frames(path)


def test_hdf5_virtual_datasets(tmp_path: Path) -> None:
    frames = pixels((6, 16, 24), "u2")
    layout = h5py.VirtualLayout((6, 16, 24), "u2")
    for i, options in enumerate([{}, {"chunks": True, "compression": "gzip"}, hdf5plugin.Bitshuffle()]):
        write_h5(tmp_path / f"part{i}.h5", frames[2 * i : 2 * i + 2], **options)
        layout[2 * i : 2 * i + 2] = h5py.VirtualSource(f"part{i}.h5", "data", (2, 16, 24))
    path = tmp_path / "all.h5"
    with h5py.File(path, "w") as f:
        f.create_virtual_dataset("data", layout)
    assert_reads(path, frames)
    missing = r"all\.h5: a part of it \(part1\.h5, data\) is missing or damaged"
    cut(tmp_path / "part1.h5", 2000)
    with pytest.raises(FormatError, match=missing):  # HDF5 gives zeros
        open_frames(path)
    write_h5(tmp_path / "part1.h5", frames[2:3])
    with pytest.raises(FormatError, match=missing):
        open_frames(path)
    with h5py.File(tmp_path / "part1.h5", "w") as f:
        f.create_dataset("data", (2, 16, 24), "u2", chunks=(1, 16, 24))[0] = 1
    with pytest.raises(FormatError, match=missing):
        open_frames(path)
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(FormatError, match=missing):
        open_frames(path)


def test_hdf5_virtual_dataset_with_frames_of_no_file(tmp_path: Path) -> None:
    frames = pixels((6, 16, 24), "u2")
    write_h5(tmp_path / "part.h5", frames)
    path = tmp_path / "all.h5"
    for mapped in (slice(0, 4), slice(2, 6)):
        layout = h5py.VirtualLayout((6, 16, 24), "u2")
        layout[mapped] = h5py.VirtualSource("part.h5", "data", (6, 16, 24))[mapped]
        with h5py.File(path, "w") as f:
            f.create_virtual_dataset("data", layout)
        frame = 0 if mapped.start else 4
        none = rf"all\.h5, frame {frame}: /data is virtual, and no file stands for this frame"
        with pytest.raises(FormatError, match=none):  # HDF5 gives zeros
            open_frames(path)
    layout = h5py.VirtualLayout((6, 40, 24), "u2", None)
    for row in (0, 24):  # modules with a gap between them
        layout[:, row : row + 16] = h5py.VirtualSource("part.h5", "data", (6, 16, 24))
    with h5py.File(path, "w") as f:
        f.create_virtual_dataset("data", layout)
    assert_reads(path, np.concatenate([frames, np.zeros((6, 8, 24), "u2"), frames], axis=1))


@pytest.mark.parametrize("how", ["virtual", "link"])
def test_hdf5_files_that_a_master_file_links_to_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    frames = pixels((6, 16, 24), "u2")
    write_h5(Path("set/a_1.h5"), frames)
    write_h5(Path("set/other.h5"), frames)
    with h5py.File("set/z_master.h5", "w") as f:
        if how == "link":
            f["data"] = h5py.ExternalLink("a_1.h5", "data")
        else:
            layout = h5py.VirtualLayout(frames.shape, "u2")
            layout[...] = h5py.VirtualSource("a_1.h5", "data", frames.shape)
            f.create_virtual_dataset("data", layout)
        f.attrs["default"] = "data"
        f["gone"] = h5py.ExternalLink("gone.h5", "data")
        f["table"] = h5py.ExternalLink("other.h5", "table")  # which is not there, and not what is read
    for name in ("set", "set/*.h5"):
        said = (
            rf"^{re.escape(name)}: 1 file left out whose frames another gives too \(a_1\.h5: z_master\.h5\)$"
        )
        with pytest.warns(UserWarning, match=said):
            found = expand_inputs(name)
        assert [file.path.name for file in found] == ["other.h5", "z_master.h5"]
    assert len(expand_inputs(["set/a_1.h5", "set/z_master.h5"])) == 2  # named one by one
    Path("set/z_master.h5").write_bytes(Path("set/z_master.h5").read_bytes()[:500])
    assert len(expand_inputs("set")) == 3  # its frames cannot be read, those of the others can


def test_hdf5_virtual_dataset_within_a_file(tmp_path: Path) -> None:
    frames = pixels((6, 16, 24), "u2")
    layout = h5py.VirtualLayout((3, 16, 24), "u2")
    path = write_h5(tmp_path / "a.h5", frames, "all")
    with h5py.File(path, "a") as f:
        layout[...] = h5py.VirtualSource(f["all"])[::2]
        f.create_virtual_dataset("even", layout)
    assert_reads(path, frames[::2], "even")


def test_hdf5_pixels_in_bare_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = pixels((4, 16, 24), "u2")
    monkeypatch.chdir(tmp_path)
    parts = [("a.raw", 8, 2 * frames[0].nbytes), ("b.raw", 0, h5py.h5f.UNLIMITED)]
    path = write_h5(tmp_path / "a.h5", frames, external=parts)
    assert_reads(path, frames)
    cut(tmp_path / "b.raw", 2 * frames[0].nbytes - 1)
    with pytest.raises(
        FormatError, match=r"its pixels are in the file b\.raw, which is missing or truncated"
    ):
        open_frames(path)  # HDF5 gives zeros


def test_hdf5_frames_that_were_never_written(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    frames = pixels((5, 16, 24), "u2")
    for chunks in ((1, 16, 24), (2, 16, 24), (1, 8, 8)):
        with h5py.File(path, "w") as f:
            data = f.create_dataset("data", (5, 16, 24), "u2", chunks=chunks)
            data[:2], data[4] = frames[:2], frames[4]
        with open_frames(path) as source:
            assert source.offsets is None
            for index in (0, 1, 4):
                np.testing.assert_array_equal(source.read(index)[0], frames[index])
            with pytest.raises(FormatError, match=r"a\.h5, frame 2: this frame was never written"):
                source.read(0, 5)
    with h5py.File(path, "w") as f:
        f.create_dataset("data", (5, 16, 24), "u2")
    with pytest.raises(FormatError, match=r"a\.h5, frame 0: /data was never written"):
        open_frames(path)


def test_hdf5_filter_that_needs_a_library(tmp_path: Path) -> None:
    frames = pixels((4, 16, 24), "u2")
    write_h5(tmp_path / "blosc2.h5", frames, chunks=(1, 16, 24), **hdf5plugin.Blosc2())
    write_h5(tmp_path / "lz4.h5", frames, chunks=(1, 16, 24), **hdf5plugin.Bitshuffle())
    script = (
        "import sys, camnorm\n"
        "sys.modules['hdf5plugin'] = None\n"
        "camnorm.open_frames(sys.argv[2]).read(0, 4)\n"  # needs none
        "try: camnorm.open_frames(sys.argv[1])\n"
        "except camnorm.Error as error: print(error)\n"
    )
    files = [str(tmp_path / name) for name in ("blosc2.h5", "lz4.h5")]
    result = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, check=True
    )
    assert (
        "to read data compressed by blosc2, hdf5plugin is needed: pip install 'camnorm[hdf5]'"
        in result.stdout
    )


def test_hdf5_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for swmr in (False, True):
        script = (
            "import h5py, sys, numpy as np\n"
            "f = h5py.File(sys.argv[1], 'w', libver='latest')\n"
            "f.create_dataset('data', data=np.zeros((3, 16, 24)), chunks=(1, 16, 24))\n"
            f"if {swmr}: f.swmr_mode = True\n"
            "f.flush()\n"
            "print('ready', flush=True)\n"
            "sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(FormatError, match=r"a\.h5: is being written by another program, or was not"):
                open_frames(path)
            writer.communicate()
        assert read_all(path).shape == (3, 16, 24)


def test_sensor_files_are_no_images(tmp_path: Path) -> None:
    frames = frames_of(6, (16, 24), "u2")
    (tmp_path / "set").mkdir()
    write_h5(tmp_path / "set" / "a.h5", frames)
    sensor = tmp_path / "set" / "sensor.h5"
    camnorm.measure(tmp_path / "set", sensor)
    with pytest.raises(FormatError, match=r"sensor\.h5: a camnorm sensor file, which holds no images"):
        open_frames(sensor)
    # It lies where the images are, and is passed over there.
    assert [file.path.name for file in expand_inputs(tmp_path / "set")] == ["a.h5"]
    again = camnorm.measure(tmp_path / "set", sensor, strict=True)
    assert again.count == 6
    named = camnorm.measure([tmp_path / "set" / "a.h5", sensor], screen="off")
    assert rejected(named) == [
        ("sensor.h5", -1, "a camnorm sensor file, which holds no images; name image files as inputs")
    ]
    # A damaged file is not passed over.
    cut(tmp_path / "set" / "a.h5", 1000)
    assert [file.path.name for file in expand_inputs(tmp_path / "set")] == ["a.h5"]


def test_checkpoints_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divide: Divide) -> None:
    path = write_npy(tmp_path / "a.npy", frames_of(6, (16, 24), "u2"))
    monkeypatch.setattr(Checkpoint, "remove", lambda self: None)
    divide(checkpoint_seconds=0.0, checkpoint_share=0.0)
    camnorm.measure(path, tmp_path / "sensor.h5")
    (tmp_path / "sensor.h5.checkpoint").rename(tmp_path / "checkpoint.h5")
    with pytest.raises(
        FormatError, match=r"checkpoint\.h5: a camnorm checkpoint file, which holds no images"
    ):
        open_frames(tmp_path / "checkpoint.h5")


# --- Zarr


# The library of version 2, the last for Python 3.10, writes stores of version 2 only.
ZARR_VERSIONS = [2, 3] if hasattr(zarr, "create_array") else [2]
writes_zarr_3 = pytest.mark.skipif(3 not in ZARR_VERSIONS, reason="zarr 3 is not installed")


def write_zarr(path: Path, frames: np.ndarray, version: int = ZARR_VERSIONS[-1], **options: Any) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    options = {"shape": frames.shape, "dtype": frames.dtype, "chunks": one_frame_a_chunk(frames)} | options
    if 3 in ZARR_VERSIONS:
        array = zarr.create_array(str(path), zarr_format=version, **options)
    else:
        separator = options.pop("chunk_key_encoding", {}).get("separator", ".")
        array = zarr.open_array(
            str(path), mode="w", dimension_separator=separator, write_empty_chunks=False, **options
        )
    array[...] = frames
    return path


def new_group(path: Path, version: int) -> zarr.Group:
    return zarr.open_group(str(path), mode="w", **({"zarr_format": version} if 3 in ZARR_VERSIONS else {}))


def add_array(group: zarr.Group, name: str, data: np.ndarray) -> None:
    create = group.create_array if 3 in ZARR_VERSIONS else group.create_dataset
    create(name, shape=data.shape, dtype=data.dtype)[...] = data


def write_ome(
    path: Path, pyramid: list[np.ndarray], axes: list[Any], version: int = ZARR_VERSIONS[-1]
) -> Path:
    group = new_group(path, version)
    datasets = []
    for level, data in enumerate(pyramid):
        add_array(group, str(level), data)
        scale = [1.0] * (data.ndim - 2) + [0.25 * 2**level] * 2
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.attrs.update(
        {"ome": {"multiscales": multiscales}} if version == 3 else {"multiscales": multiscales}
    )
    return path


def spatial(names: str, unit: str = "micrometer") -> list[dict[str, str]]:
    return [{"name": n, "type": "space", "unit": unit} if n in "zyx" else {"name": n} for n in names]


@pytest.mark.parametrize("version", ZARR_VERSIONS)
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, ">u2", ">f4"])
def test_zarr_of_every_dtype(tmp_path: Path, dtype: str, version: int) -> None:
    frames = pixels((5, 16, 24), dtype)
    path = write_zarr(tmp_path / "a.zarr", frames, version)
    assert_reads(path, frames)
    with open_frames(path) as source:
        assert (source.format, source.metadata) == ("Zarr", {"dataset": "."})


@pytest.mark.parametrize("chunks", [(1, 16, 24), (2, 16, 24), (3, 7, 5)])
def test_zarr_chunks(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    frames = pixels((5, 16, 24), "u2")
    assert_reads(write_zarr(tmp_path / "a.zarr", frames, chunks=chunks), frames)


@writes_zarr_3
@pytest.mark.parametrize(
    "options",
    [
        {"compressors": None},
        {"chunks": (1, 8, 8), "shards": (2, 16, 24)},
        {"compressors": {"name": "blosc", "configuration": {"cname": "lz4", "shuffle": "bitshuffle"}}},
        {"compressors": {"name": "gzip", "configuration": {}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}},
    ],
    ids=str,
)
def test_zarr_layouts(tmp_path: Path, options: dict[str, Any]) -> None:
    frames = pixels((5, 16, 24), "u2")
    assert_reads(write_zarr(tmp_path / "a.zarr", frames, **options), frames)


@pytest.mark.parametrize("separator", [".", "/"])
def test_zarr_of_version_2(tmp_path: Path, separator: str) -> None:
    frames = pixels((5, 16, 24), "u2")
    encoding = {"name": "v2", "separator": separator}
    write_zarr(tmp_path / "a.zarr", frames, 2, chunks=(2, 9, 24), chunk_key_encoding=encoding, order="F")
    assert_reads(tmp_path / "a.zarr", frames)


def test_zarr_of_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    frame = pixels((16, 24), "u2")
    assert_reads(write_zarr(path, frame, chunks=(8, 24)), frame[np.newaxis])
    colour = pixels((16, 24, 3), "u1")
    assert_reads(write_zarr(path, colour, chunks=(8, 24, 3)), colour[np.newaxis])
    many = pixels((2, 3, 2, 16, 24), "u1")
    assert_reads(write_zarr(path, many), many.reshape(12, 16, 24))
    write_zarr(path, pixels((24,), "u1"), chunks=(8,))
    with pytest.raises(FormatError, match=r"an array of shape \(24,\) and type uint8 holds no images"):
        open_frames(path)
    write_zarr(path, np.zeros((2, 16, 24), "i8"))
    with pytest.raises(FormatError, match=r"an array of shape \(2, 16, 24\) and type int64 holds no images"):
        open_frames(path)


def test_zarr_groups(tmp_path: Path) -> None:
    frames = pixels((20, 16, 24), "u2")
    path = tmp_path / "store"  # known without the suffix
    group = new_group(path, 2)
    (path / "notes").mkdir()
    with pytest.raises(FormatError, match="no array in it"):
        open_frames(path)
    for name, data in (("deep/er/images", frames), ("mask", frames[0])):
        add_array(group, name, data)
    assert_reads(path, frames)
    assert_reads(path, frames[:1], "mask")
    with open_frames(path) as source:
        assert source.metadata == {"dataset": "deep/er/images"}
    add_array(group, "other", pixels((9, 16, 24), "u1"))
    message = (
        r"store: several arrays can be meant, choose one with dataset=NAME: "
        r"deep/er/images \(20, 16, 24\) uint16, other \(9, 16, 24\) uint8$"
    )
    with pytest.raises(FormatError, match=message):
        open_frames(path)
    assert_reads(path, frames, "deep/er/images")
    assert_reads(path, frames, "deep")
    with pytest.raises(FormatError, match="store: there is no array nothing in it"):
        open_frames(path, ReadOptions(dataset="nothing"))


@pytest.mark.parametrize("version", ZARR_VERSIONS)
def test_ome_zarr(tmp_path: Path, version: int) -> None:
    full = pixels((2, 3, 2, 16, 24), "u2")
    path = write_ome(tmp_path / "a.zarr", [full, full[..., ::2, ::2]], spatial("tczyx"), version)
    assert_reads(path, full.reshape(12, 16, 24))
    assert_reads(path, full[..., ::2, ::2].reshape(12, 8, 12), "1")
    with open_frames(path) as source:
        assert source.metadata == {"dataset": "0", "pixel_size": 2500.0}
    colour = pixels((4, 16, 24, 2), "u1")
    write_ome(path, [colour], spatial("tyxc", "parsec"), version)
    assert_reads(path, colour)
    narrow = pixels((4, 16, 3), "u1")
    assert_reads(write_ome(path, [narrow], ["t", "y", "x"], version), narrow)


def test_ome_zarr_series_of_bioformats2raw(tmp_path: Path) -> None:
    frames = pixels((4, 16, 24), "u1")
    new_group(tmp_path / "a.zarr", 2).attrs["bioformats2raw.layout"] = 3
    write_ome(tmp_path / "a.zarr/0", [frames, frames[:, ::2, ::2]], spatial("zyx"), 2)
    assert_reads(tmp_path / "a.zarr", frames)


@pytest.mark.parametrize("fill_value", [0, 7])
@pytest.mark.parametrize(
    ("version", "layout"),
    [
        *((version, {"chunks": chunks}) for version in ZARR_VERSIONS for chunks in ((1, 16, 24), (1, 8, 8))),
        pytest.param(3, {"chunks": (1, 8, 8), "shards": (2, 16, 24)}, marks=writes_zarr_3),
    ],
)
def test_zarr_chunks_of_the_fill_value_are_left_out(
    tmp_path: Path, version: int, fill_value: int, layout: dict[str, Any]
) -> None:
    frames = pixels((7, 16, 24), "u2")
    frames[1, :8] = frames[2] = frames[4:6] = fill_value  # a part, a frame, a shard
    path = write_zarr(tmp_path / "a.zarr", frames, version, fill_value=fill_value, **layout)
    whole = math.prod(
        -(-n // c) for n, c in zip(frames.shape, layout.get("shards", layout["chunks"]), strict=True)
    )
    assert 0 < sum(file.name[-1].isdigit() for file in files_of(path)) < whole
    np.testing.assert_array_equal(zarr.open_array(str(path), mode="r")[...], frames)
    assert_reads(path, frames)


def test_zarr_chunks_that_are_missing(tmp_path: Path) -> None:
    frames = pixels((4, 16, 24), "u2")
    path = write_zarr(tmp_path / "2.zarr", frames, 2, chunks=(1, 8, 24))
    metadata = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(metadata | {"fill_value": None}))
    (path / "1.1.0").unlink()
    with open_frames(path) as source:
        source.read(0)
        missing = r"zarr, frame 1: this frame is not whole in the store: 1 of its 2 chunks are missing"
        with pytest.raises(FormatError, match=missing):
            source.read(0, 3)
    (path / ".zarray").write_text(json.dumps(metadata | {"shape": [4, 2**24, 24], "chunks": [1, 2**24, 24]}))
    for chunk in path.glob("3.*.*"):
        chunk.unlink()
    with pytest.raises(FormatError, match=r"2\.zarr: damaged: \d+ bytes are too few for 4 frames"):
        open_frames(path)


@pytest.mark.parametrize("version", ZARR_VERSIONS)
def test_zarr_chunks_that_correct_wrote_are_all_there(tmp_path: Path, version: int) -> None:
    frames = pixels((6, 16, 24), "u2")
    path = write_zarr(tmp_path / "a.zarr", frames, version)
    sensor = camnorm.measure(path)
    (result,) = camnorm.correct(path, sensor, tmp_path / "out")
    next(file for file in files_of(result) if file.name.endswith("2.0.0")).unlink()
    with open_frames(result) as source, pytest.raises(FormatError, match=r"frame 2: this frame is not whole"):
        source.read(0, 6)


@writes_zarr_3
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("size", [0, 3, 100, 500, -1])
def test_zarr_chunks_of_a_wrong_size(tmp_path: Path, place: str, size: int) -> None:
    frames = pixels((4, 16, 24), "u2")
    sharding = {"chunks": (1, 8, 24), "shards": {"shape": (1, 16, 24), "index_location": place}}
    for options in ({"chunks": (1, 16, 24)}, sharding):
        path = write_zarr(tmp_path / "a.zarr", frames, compressors=None, **options)
        chunk = path / "c/2/0/0"
        cut(chunk, size % chunk.stat().st_size)
        with open_frames(path) as source:
            np.testing.assert_array_equal(source.read(0, 2), frames[:2])
            with pytest.raises(FormatError, match=r"a\.zarr, frame 2: "):
                source.read(0, 4)


def test_zarr_metadata_with_nonsense(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", pixels((4, 16, 24), "u2"), 2)
    good = json.loads((path / ".zarray").read_text())
    for change, message in (
        ({"shape": [4, 2**11, 2**11], "chunks": [1, 1, 1]}, r"frame 0: damaged: a frame of .* chunks"),
        ({"shape": [4, 2**20, 2**20], "chunks": [1, 2**20, 2**20]}, r"zarr: damaged: \d+ bytes are too few"),
        ({"shape": [10**6, 16, 24]}, r"bytes are too few for 1000000 frames of shape \(16, 24\)"),
        ({"chunks": [1, 16, 2**30]}, r"zarr: damaged: \d+ bytes are too few"),
        ({"dtype": "<u3"}, "cannot be read"),
        ({"shape": "no"}, "cannot be read"),
        ({"compressor": {"id": "none"}}, "cannot be read"),
    ):
        (path / ".zarray").write_text(json.dumps(good | change))
        with pytest.raises(FormatError, match=message):
            read_all(path)
    (path / ".zarray").write_text(json.dumps(good)[:-5])
    with pytest.raises(FormatError, match=r"a\.zarr: cannot be read \(JSONDecodeError"):
        open_frames(path)


def test_zarr_stores_among_the_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = pixels((2, 16, 24), "u2")
    write_zarr(tmp_path / "set/a.zarr", frames)
    write_zarr(tmp_path / "set/sub/b", frames, 2)
    write_npy(tmp_path / "set/c.npy", frames)
    monkeypatch.chdir(tmp_path)

    def expand(name: str) -> list[str]:
        return [str(file.relative) for file in expand_inputs(name)]

    assert expand("set") == ["a.zarr", "c.npy", "sub/b"]
    assert expand("set/*.zarr") == ["a.zarr"]
    assert expand("set/a.zarr") == ["a.zarr"]


# --- FITS

FITS = ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]


@pytest.mark.parametrize("dtype", FITS)
def test_fits_of_every_dtype(tmp_path: Path, dtype: str) -> None:
    frames = pixels((5, 16, 24), dtype)
    path = tmp_path / "a.fits"
    fits.writeto(path, frames)
    np.testing.assert_array_equal(fits.getdata(path), frames)
    assert_reads(path, frames)
    with open_frames(path) as source:
        assert (source.format, source.metadata) == ("FITS", {"extension": 0})
        assert (source.offsets is not None) == (dtype == "u1")
    fits.writeto(path, frames[0], overwrite=True)
    assert_reads(path, frames[:1])


@pytest.mark.parametrize("bits", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize(
    ("scale", "zero", "blank"), [(0.37, 0, None), (1, 7.5, None), (2.5, -3, 17), (1, 0, 17), (1, 2**14, None)]
)
def test_fits_scaled_values_are_those_of_astropy(
    tmp_path: Path, bits: str, scale: float, zero: float, blank: int | None
) -> None:
    stored = pixels((3, 16, 24), bits)
    if bits[0] != "f":
        stored[1, 2:5] = 17
    hdu = fits.PrimaryHDU(stored)
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = scale, zero
        if blank is not None and bits[0] != "f":
            hdus[0].header["BLANK"] = blank
    expected = fits.getdata(tmp_path / "a.fits", memmap=False)
    assert_reads(tmp_path / "a.fits", expected)


def test_fits_extensions(tmp_path: Path) -> None:
    frames = pixels((3, 16, 24), "u2")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(1000))], name="LIST")
    hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(np.arange(9.0), name="CURVE")]
    hdus += [fits.ImageHDU(frames, name="SCI"), fits.ImageHDU(frames[0].astype("f4"), name="err")]
    path = tmp_path / "a.fits"
    fits.HDUList(hdus).writeto(path)
    assert_reads(path, frames)
    for name in ("3", "sci", " SCI"):
        assert_reads(path, frames, name)
    assert_reads(path, frames[:1].astype("f4"), "ERR")
    with pytest.raises(FormatError, match="no extension dark in it"):
        open_frames(path, ReadOptions(dataset="dark"))
    with pytest.raises(FormatError, match=r"extension curve holds no images: it has shape \(9,\)"):
        open_frames(path, ReadOptions(dataset="curve"))
    with pytest.raises(FormatError, match=r"extension 1 holds no images: it has shape \(\)"):
        open_frames(path, ReadOptions(dataset="1"))
    fits.HDUList(hdus[:3]).writeto(path, overwrite=True)
    with pytest.raises(FormatError, match=r"a\.fits: no images in it"):
        open_frames(path)


@pytest.mark.parametrize("codec", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "NOCOMPRESS"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4"])
def test_fits_compressed_by_tiles(tmp_path: Path, dtype: str, codec: str) -> None:
    frames = pixels((3, 16, 24), dtype) // 64 if dtype == "i4" else pixels((3, 16, 24), dtype)
    tiles = (1, 16, 24) if codec == "HCOMPRESS_1" else None
    hdu = fits.CompImageHDU(frames, compression_type=codec, tile_shape=tiles, quantize_level=4)
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    expected = fits.getdata(path, 1)
    if dtype != "f4":
        np.testing.assert_array_equal(expected, frames)
    assert_reads(path, expected)
    with open_frames(path) as source:
        assert (source.metadata, source.offsets) == ({"extension": 1}, None)


def test_fits_compressed_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels((9, 16, 24), "u2"))]).writeto(path)
    cut(path, path.stat().st_size - 2880)
    with pytest.raises(FormatError, match=r"a\.fits, frame 0, byte \d+: truncated"):
        open_frames(path)


@pytest.mark.parametrize("scale", [1, 2])
def test_fits_file_that_is_cut_off(tmp_path: Path, scale: int) -> None:
    frames = pixels((5, 16, 24), "i2")
    path = tmp_path / "a.fits"
    fits.writeto(path, frames, fits.Header({"BSCALE": scale}) if scale == 1 else None)
    if scale == 2:
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            hdus[0].header["BSCALE"] = 2
    cut(path, 2880 + 3 * frames[0].nbytes + 5)
    with open_frames(path) as source:
        assert (source.count, source.available) == (5, 3)
        np.testing.assert_array_equal(
            source.read(0, 3), frames[:3].astype("f4" if scale == 2 else "i2") * scale
        )
        with pytest.raises(FormatError, match=r"a\.fits, frame 3, byte \d+: truncated"):
            source.read(0, 5)
    cut(path, 2880 + 100)
    with pytest.raises(FormatError, match=r"a\.fits, frame 0, byte 2980: truncated"):
        open_frames(path)
    cut(path, 2879)
    with pytest.raises(FormatError, match=r"a\.fits, frame 0, byte 2879: truncated within a FITS header"):
        open_frames(path)


def test_fits_header_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(80) + b" " * 80 * 40_000)
    with pytest.raises(FormatError, match="damaged FITS header: it has no end"):
        open_frames(path)


# --- all of them


def _hdf5_plain(path: Path, frames: np.ndarray) -> None:
    write_h5(path, frames)


def _hdf5_gzip(path: Path, frames: np.ndarray) -> None:
    write_h5(path, frames, "entry/data", chunks=one_frame_a_chunk(frames), compression="gzip", shuffle=True)


def _hdf5_bitshuffle(path: Path, frames: np.ndarray) -> None:
    write_h5(path, frames, chunks=one_frame_a_chunk(frames), **hdf5plugin.Bitshuffle())


def _hdf5_sliced(path: Path, frames: np.ndarray) -> None:
    write_h5(path, frames, chunks=(2, 8, 8), compression="gzip")


def _zarr2(path: Path, frames: np.ndarray) -> None:
    write_zarr(path, frames, 2)


def _zarr3(path: Path, frames: np.ndarray) -> None:
    write_ome(path, [frames], spatial("zyx"))


def _fits(path: Path, frames: np.ndarray) -> None:
    fits.writeto(path, frames)


def _fits_rice(path: Path, frames: np.ndarray) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(frames)]).writeto(path)


WRITERS: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "hdf5": (".h5", _hdf5_plain),
    "hdf5 gzip": (".nxs", _hdf5_gzip),
    "hdf5 bitshuffle": (".hdf5", _hdf5_bitshuffle),
    "hdf5 sliced": (".h5", _hdf5_sliced),
    "zarr 2": (".zarr", _zarr2),
    "ome-zarr": (".zarr", _zarr3),
    "fits": (".fits", _fits),
    "fits rice": (".fits.fz", _fits_rice),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_measured_as_the_same_frames_in_npy(tmp_path: Path, kind: str) -> None:
    suffix, write = WRITERS[kind]
    for i in range(4):
        frames = frames_of(5, (16, 24), "u2", seed=i)
        (tmp_path / "npy").mkdir(exist_ok=True)
        (tmp_path / "set").mkdir(exist_ok=True)
        write_npy(tmp_path / f"npy/{i}.npy", frames)
        write(tmp_path / f"set/{i}{suffix}", frames)
        assert is_image_name(f"{i}{suffix}")
    for folder in ("npy", "set"):
        command = [sys.executable, "-m", "camnorm", "measure", folder, "-o", f"{folder}.h5"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
    expected, sensor = (camnorm.Sensor.load(tmp_path / f"{name}.h5") for name in ("npy", "set"))
    assert sensor.count == expected.count >= 18
    for one, other in zip(sensor.halves, expected.halves, strict=True):
        assert_same_moments(one, other)


@pytest.mark.parametrize("kind", WRITERS)
def test_threads_share_one_source(tmp_path: Path, kind: str) -> None:
    suffix, write = WRITERS[kind]
    frames = pixels((12, 16, 24), "u2")
    path = tmp_path / f"a{suffix}"
    write(path, frames)
    with open_frames(path) as source, ThreadPoolExecutor(8) as executor:

        def read(index: int) -> bool:
            return np.array_equal(source.read(index)[0], frames[index])

        assert all(executor.map(read, itertools.islice(itertools.cycle(range(12)), 200)))


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cut off, or some bytes changed, mostly where headers are."""
    if rng.random() < 0.2:
        return data[: rng.randrange(1, len(data))]
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        end = rng.choice((64, 1024, 4096, len(data)))
        place = rng.randrange(min(end, len(data)))
        length = rng.choice((1, 1, 2, 4, 8))
        new = rng.choice((rng.randbytes(length), b"\xff" * length, bytes(length), struct.pack("<Q", 2**40)))
        damaged[place : place + length] = new[:length]
    return bytes(damaged[: len(data)])


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def damaged_frames(path: Path) -> int:
    """Read all frames; the number of those that give an error, which must be one of reading."""
    try:
        source = open_frames(path)
    except (Error, OSError):
        return 1
    errors = 0
    with source:
        for index in range(min(source.count, 8)):
            try:
                assert source.read(index).shape == (1, *source.shape)
            except FormatError as error:
                errors += str(error).startswith(f"{path}, frame {index}")
    return errors


@pytest.mark.filterwarnings("ignore:::astropy", "ignore:::zarr", "ignore:::numcodecs")
@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    suffix, write = WRITERS[kind]
    frames = pixels((4, 16, 24), "u2")
    frames[2:] %= 5
    path = tmp_path / f"a{suffix}"
    write(path, frames)
    files = {file: file.read_bytes() for file in files_of(path)}
    rng = random.Random(kind)
    found = 0
    for _ in range(FUZZ_RUNS):
        file = rng.choice(list(files))
        file.write_bytes(damage(files[file], rng))
        found += damaged_frames(path) > 0
        file.write_bytes(files[file])
    assert found > FUZZ_RUNS / 10
    assert damaged_frames(path) == 0
