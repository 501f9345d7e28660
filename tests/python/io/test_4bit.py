"""Pixels of 4 bits in MRC and TIFF files, and the bytes of MRC mode 0."""

from __future__ import annotations

import random
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm.errors import FormatError
from camnorm.io import ReadOptions, create_writer, open_frames
from camnorm.io.base.options import DEFAULTS
from camnorm.io.formats import nibbles
from image_sets import cut


def nibbles_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 16, shape, dtype=np.uint8)


def pack(frames: np.ndarray) -> np.ndarray:
    """Two pixels in a byte, the left one in the low bits; rows of whole bytes."""
    even = np.pad(frames, [(0, 0)] * (frames.ndim - 1) + [(0, frames.shape[-1] % 2)])
    packed: np.ndarray = even[..., 0::2] + 16 * even[..., 1::2]
    return packed


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7), (2, 300, 257)])
def test_every_pair_of_pixels(shape: tuple[int, ...]) -> None:
    packed = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    expected = [value for byte in packed.reshape(-1).tolist() for value in (byte % 16, byte // 16)]
    unpacked = nibbles.unpack(packed)
    assert unpacked.shape == (*shape[:-1], 2 * shape[-1])
    assert unpacked.reshape(-1).tolist() == expected
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(pack(nibbles.unpack(every)), every)


# --- MRC


def write_mode_101(path: Path, frames: np.ndarray, order: str = "<", extended: bytes = b"") -> Path:
    """mrcfile has no such mode: its header, with other pixels behind it."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.zeros((1, 2, 2), "i2"))
        mrc.set_image_stack()
        header = mrc.header.copy()
    header.nx, header.ny, header.nz = frames.shape[::-1]
    header.mx, header.my, header.mz = frames.shape[::-1]
    header.cella.x = 1.5 * frames.shape[2]
    header.mode, header.nsymbt = 101, len(extended)
    header.machst = (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0)
    stored = np.array(header).astype(header.dtype.newbyteorder(order))
    path.write_bytes(stored.tobytes() + extended + pack(frames).tobytes())
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("width", [8, 9])
def test_mrc_of_4_bits(tmp_path: Path, width: int, order: str) -> None:
    frames = nibbles_of((5, 7, width))
    path = write_mode_101(tmp_path / "a.mrc", frames, order, b"x" * 37)
    with open_frames(path) as source:
        assert (source.shape, source.dtype, source.count) == ((7, width), np.uint8, 5)
        assert source.metadata["mode"] == 101
        assert source.metadata["pixel_size"] == pytest.approx(1.5)
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(0, 5), frames)
        np.testing.assert_array_equal(source.view(2, 4), frames[2:4])
        assert source.view(2).flags.c_contiguous


def test_mrc_of_4_bits_cut_off(tmp_path: Path) -> None:
    frames = nibbles_of((5, 7, 9))
    path = cut(write_mode_101(tmp_path / "a.mrc", frames), 1024 + 3 * 35 + 34)
    with open_frames(path) as source:
        assert (source.count, source.available) == (5, 3)
        np.testing.assert_array_equal(source.read(0, 3), frames[:3])
        with pytest.raises(FormatError, match=r"a\.mrc, frame 3, byte 1163: truncated"):
            source.read(3)
    with pytest.raises(FormatError, match="frame 0, byte 1030: truncated"):
        open_frames(cut(path, 1030))


def test_mrc_of_4_bits_with_damaged_headers(tmp_path: Path) -> None:
    path = write_mode_101(tmp_path / "a.mrc", nibbles_of((3, 7, 9)))
    data = path.read_bytes()
    assert mutate(path, data, range(256), 300) > 20


def mutate(
    path: Path, data: bytes, places: Sequence[int], times: int, options: ReadOptions = DEFAULTS
) -> int:
    """Damage a file here and there: frames or FormatErrors, nothing else. How often it could be opened."""
    random_ = random.Random(path.name)
    opened = 0
    for _ in range(times):
        damaged = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            damaged[random_.choice(places)] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings(), open_frames(path, options) as source:
                warnings.simplefilter("ignore")
                opened += 1
                for index in range(min(source.count, 4)):
                    assert source.read(index).nbytes < 2**26
        except FormatError:
            continue
    return opened


# --- bytes of MRC mode 0


def write_bytes(path: Path, frames: np.ndarray, statistics: tuple[float, float, float] | None = None) -> Path:
    """Mode 0 without a stamp; unknown statistics, or minimum, maximum, mean."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(frames.view(np.int8))
        mrc.set_image_stack()
        mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = statistics or (0, -1, -2)
    return path


def poisson(mean: float, shape: tuple[int, ...] = (2, 64, 64)) -> np.ndarray:
    return np.random.default_rng(3).poisson(mean, shape).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("stamp", [None, 0, 1])
@pytest.mark.parametrize("mode0", ["auto", "signed", "unsigned"])
def test_bytes_are_what_the_option_says(tmp_path: Path, mode0: str, stamp: int | None) -> None:
    frames = poisson(30)
    path = write_bytes(tmp_path / "a.mrc", frames)
    if stamp is not None:
        data = bytearray(path.read_bytes())
        struct.pack_into("<2i", data, 152, 1146047817, stamp)
        path.write_bytes(data)
    unsigned = mode0 == "unsigned" or (mode0 == "auto" and stamp == 0)
    with open_frames(path, ReadOptions(mrc_mode0=mode0)) as source:  # type: ignore[arg-type]
        assert source.dtype == (np.uint8 if unsigned else np.int8)
        np.testing.assert_array_equal(source.read(0, 2), frames.view(source.dtype))


SIGNED = np.random.default_rng(4).normal(0, 20, (1, 64, 64)).astype(np.int8).view(np.uint8)
HOT = np.where(np.arange(4096).reshape(1, 64, 64) == 77, 200, poisson(2, (1, 64, 64))).astype(np.uint8)


@pytest.mark.parametrize(
    ("frames", "statistics", "warned"),
    [
        (poisson(120), None, True),
        (poisson(200), None, True),
        (poisson(100), (-128, 127, 98), True),  # as a program that took them for signed has it
        (HOT, None, True),
        (HOT, (0, 200, 2), True),
        (HOT, (0, 100, 2), True),
        (poisson(30), (0, 200, 30), True),  # of a later frame
        (poisson(30), None, False),
        (poisson(30), (5, 60, 30), False),
        (SIGNED, None, False),
        (SIGNED, (-80, 80, 0), False),
        (np.random.default_rng(5).integers(0, 256, (1, 64, 64), dtype=np.uint8), None, False),
        (np.random.default_rng(6).normal(30, 15, (1, 64, 64)).astype(np.int8).view(np.uint8), None, False),
        (np.zeros((1, 64, 64), np.uint8), (0, 0, 0), False),
    ],
)
def test_bytes_that_look_unsigned(
    tmp_path: Path, frames: np.ndarray, statistics: tuple[float, float, float] | None, warned: bool
) -> None:
    path = write_bytes(tmp_path / "a.mrc", frames, statistics)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_frames(path) as source:
            source.read(0)
            source.read(0)
        open_frames(write_bytes(tmp_path / "b.mrc", frames, statistics)).close()  # of the same folder
        for mode0 in ("signed", "unsigned"):
            open_frames(path, ReadOptions(mrc_mode0=mode0)).close()  # type: ignore[arg-type]
    assert len(caught) == warned
    for warning in caught:
        assert str(warning.message).startswith(f"{path}: bytes of MRC mode 0 are read as signed")
        assert "mrc_mode0='unsigned'" in str(warning.message)


def write_half_width(path: Path, counts: np.ndarray, flags: int | None, label: str) -> Path:
    """Pixels of 4 bits as two in a byte of mode 0, the left one in the low bits."""
    write_bytes(path, counts[..., ::2] | counts[..., 1::2] << 4)
    data = bytearray(path.read_bytes())
    if flags is not None:
        struct.pack_into("<2i", data, 152, 1146047817, flags)
    data[224:304] = label.encode().ljust(80)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("flags", "label"),
    [(16, "by IMOD"), (20, "by IMOD"), (None, "SerialEMCCD: 4 bits packed"), (0, "Gain  4 bits packed")],
)
def test_two_pixels_in_a_byte_of_mode_0(tmp_path: Path, flags: int | None, label: str) -> None:
    """IMOD's flag says so, or the only label, as SerialEM writes it (IMOD, mrc_head_read)."""
    counts = poisson(4).clip(0, 15)
    path = write_half_width(tmp_path / "a.mrc", counts, flags, label)
    with open_frames(path) as source:
        assert (source.shape, source.dtype, source.count) == ((64, 64), np.uint8, 2)
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(0, 2), counts)
        with create_writer(tmp_path / "out.mrc", source, np.float32, count=2, label="test") as writer:
            writer.write(source.read(0, 2).astype(np.float32))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert (int(mrc.header.nx), int(mrc.header.mx)) == (64, 64)
        np.testing.assert_array_equal(mrc.data, counts)
    with open_frames(tmp_path / "out.mrc") as source:
        np.testing.assert_array_equal(source.read(0, 2), counts)


def test_signed_bytes_of_two_pixels_are_refused(tmp_path: Path) -> None:
    path = write_half_width(tmp_path / "a.mrc", poisson(4).clip(0, 15), 17, "by IMOD")
    with pytest.raises(FormatError, match="damaged MRC header: two pixels of 4 bits in a byte, and signed"):
        open_frames(path)


def test_a_label_that_a_program_kept_when_it_unpacked_the_pixels(tmp_path: Path) -> None:
    counts = poisson(4).clip(0, 7)
    path = write_half_width(tmp_path / "a.mrc", np.repeat(counts, 2, -1), None, "4 bits packed")
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 220, 2)  # labels
    data[304:384] = b"unpacked by another program".ljust(80)
    path.write_bytes(data)
    with open_frames(path) as source:
        np.testing.assert_array_equal(source.read(0, 2), counts * 17)


def less_128(path: Path, counts: np.ndarray, stamp: int | None = 1) -> Path:
    """Counts as IMOD stores them in bytes: signed, less 128."""
    write_bytes(path, counts ^ 128)
    if stamp is not None:
        data = bytearray(path.read_bytes())
        struct.pack_into("<2i", data, 152, 1146047817, stamp)
        path.write_bytes(data)
    return path


def test_counts_less_128(tmp_path: Path) -> None:
    counts = poisson(6)
    path = less_128(tmp_path / "a.mrc", counts)
    advice = r"a\.mrc: bytes of MRC mode 0 look like counts less 128, .* read them with mrc_mode0='imod'$"
    with pytest.warns(UserWarning, match=advice), open_frames(path) as source:
        np.testing.assert_array_equal(source.read(0, 2), counts.astype(int) - 128)
    with open_frames(path, ReadOptions(mrc_mode0="imod")) as source:
        assert source.dtype == np.uint8
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(0, 2), counts)
    sensor = camnorm.measure(path, options=ReadOptions(mrc_mode0="imod"), screen="off")
    np.testing.assert_array_equal(sensor.mean, counts.mean(0))


@pytest.mark.parametrize("frames", [SIGNED, poisson(2)])
def test_signed_bytes_that_imod_marks_are_fine(tmp_path: Path, frames: np.ndarray) -> None:
    path = less_128(tmp_path / "a.mrc", frames ^ 128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_frames(path) as source:
            np.testing.assert_array_equal(source.read(0), frames[:1].view(np.int8))


# --- TIFF

SIZES = [(8184, 5760), (11520, 4092), (7676, 3710), (7420, 3838)]


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "unpacked"),
    [
        *[(size, "u1", ReadOptions(), True) for size in SIZES],
        *[(size[::-1], "u1", ReadOptions(), True) for size in SIZES],
        ((8184, 5760), "i1", ReadOptions(), True),
        ((8184, 5760), "u2", ReadOptions(), False),
        ((8184, 5760), "u1", ReadOptions(tiff_4bit="no"), False),
        ((4092, 5760), "u1", ReadOptions(), False),  # K3 in counting mode
        ((4092, 5760), "u1", ReadOptions(tiff_4bit="yes"), True),
        ((7420, 7676), "u1", ReadOptions(), False),
        ((3838, 3710), "u1", ReadOptions(), False),
    ],
)
def test_size_tells_of_4_bits(
    tmp_path: Path, shape: tuple[int, int], dtype: str, options: ReadOptions, unpacked: bool
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:  # one page of blank strips: only the size matters
        writer.write(np.zeros(shape, dtype), compression="zstd", metadata=None)
    with open_frames(path, options) as source:
        assert source.shape == (shape[0], shape[1] * (2 if unpacked else 1))
        assert source.dtype == (np.uint8 if unpacked else dtype)


@pytest.mark.parametrize("dtype", ["u1", "i1"])
@pytest.mark.parametrize(
    "layout",
    [{}, {"compression": "lzw"}, {"compression": "lzw", "rowsperstrip": 10**6}, {"rowsperstrip": 5}],
    ids=str,
)
@pytest.mark.parametrize("apart", [False, True])
def test_tiff_of_4_bits(tmp_path: Path, apart: bool, layout: dict[str, object], dtype: str) -> None:
    frames = nibbles_of((4, 20, 30))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in pack(frames).view(dtype):
            writer.write(frame, contiguous=not (apart or layout), metadata=None, **layout)
    with open_frames(path, ReadOptions(tiff_4bit="yes")) as source:
        assert (source.shape, source.dtype, source.count) == ((20, 30), np.uint8, 4)
        np.testing.assert_array_equal(source.read(0, 4), frames)
        np.testing.assert_array_equal(source.read(2), frames[2:3])
        assert source.offsets is None
        assert source.view(1, 3).flags.c_contiguous


def test_tiff_of_4_bits_behind_one_directory(tmp_path: Path) -> None:
    frames = nibbles_of((4, 20, 30))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pack(frames), photometric="minisblack", truncate=True)
    with open_frames(path, ReadOptions(tiff_4bit="yes")) as source:
        np.testing.assert_array_equal(source.read(0, 4), frames)
    cut(path, path.stat().st_size - 310)
    with open_frames(path, ReadOptions(tiff_4bit="yes")) as source:
        assert (source.count, source.available) == (4, 2)
        np.testing.assert_array_equal(source.read(0, 2), frames[:2])


def test_pixels_that_are_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 30), "u2"))
    with pytest.raises(FormatError, match=r"not bytes with two pixels each: pages of \(20, 30\) uint16"):
        open_frames(path, ReadOptions(tiff_4bit="yes"))
    with pytest.raises(ValueError, match="tiff_4bit must be 'auto', 'yes' or 'no', not 'maybe'"):
        ReadOptions(tiff_4bit="maybe")  # type: ignore[arg-type]


def write_bits_per_sample_4(path: Path, frame: np.ndarray, compression: str | None = None) -> Path:
    """A TIFF by the standard: the left pixel in the high bits, rows of whole bytes."""
    packed = pack(frame)
    packed = packed >> 4 | packed << 4
    data: bytes = packed.tobytes() if compression is None else imagecodecs.lzw_encode(packed)
    height, width = frame.shape
    offset = 8 + 2 + 9 * 12 + 4
    values = [width, height, 4, 1 if compression is None else 5, 1, offset, 1, height, len(data)]
    codes = [256, 257, 258, 259, 262, 273, 277, 278, 279]
    tags = [struct.pack("<HHII", code, 4, 1, value) for code, value in zip(codes, values, strict=True)]
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 9) + b"".join(tags) + bytes(4) + data)
    return path


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("width", [30, 31])
def test_tiff_of_4_bits_per_sample(tmp_path: Path, width: int, compression: str | None) -> None:
    frame = nibbles_of((20, width))
    path = write_bits_per_sample_4(tmp_path / "a.tif", frame, compression)
    with open_frames(path) as source:
        assert (source.shape, source.dtype) == ((20, width), np.uint8)
        np.testing.assert_array_equal(source.read(0)[0], frame)
    size = path.stat().st_size
    with pytest.raises(FormatError, match=rf"a\.tif, frame 0, byte {size - 1}: truncated"):
        open_frames(cut(path, size - 1))


def test_tiff_of_4_bits_per_sample_with_too_few_bytes(tmp_path: Path) -> None:
    path = write_bits_per_sample_4(tmp_path / "a.tif", nibbles_of((20, 31)))
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    struct.pack_into("<I", data, place, 20 * 16 - 1)
    path.write_bytes(data)
    with open_frames(path) as source, pytest.raises(FormatError, match=r"a\.tif, frame 0: "):
        source.read(0)


def test_damaged_pages_of_4_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in pack(nibbles_of((3, 20, 30))):
            writer.write(frame, compression="lzw", rowsperstrip=20, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[1].dataoffsets[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: offset + 4] + b"\xff" * 60 + whole[offset + 64 :])
    options = ReadOptions(tiff_4bit="yes")
    with open_frames(path, options) as source:
        with pytest.raises(FormatError, match=r"a\.tif, frame 1: "):
            source.read(1)
        np.testing.assert_array_equal(source.read(2)[0], nibbles_of((3, 20, 30))[2])
    assert mutate(path, whole, range(len(whole)), 150, options) > 20
    sample = write_bits_per_sample_4(tmp_path / "b.tif", nibbles_of((20, 31)), "lzw")
    data = sample.read_bytes()
    assert mutate(sample, data, range(130), 150) > 20
