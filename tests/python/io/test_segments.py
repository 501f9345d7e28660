"""Frames in strips and tiles that the core decodes: the same as tifffile, libtiff and textbooks decode."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import camnorm
from camnorm import PixelMoments, ReadOptions, _core
from camnorm.errors import FormatError, UnreadableError
from camnorm.io import open_frames
from camnorm.io.base.located import EncodedFrames
from camnorm.io.base.zstd import has_zstd
from image_sets import write_movies


def moments_of(path: Path) -> tuple[PixelMoments, Any]:
    """Sums over the frames of a file, decoded where they are used, and the statistics of the frames."""
    with open_frames(path) as source:
        assert source.is_located
        frames = source.stored(0, source.count)
    assert isinstance(frames, EncodedFrames)
    moments = PixelMoments(frames.frame_shape, frames.dtype)
    told = moments.add_located(frames.together([frames]), threads=2)
    moments.add_located(frames.together([frames[1:], frames[:1]]), threads=1)
    assert (moments.subtract_located(frames.together([frames]), threads=2) == told).all()
    return moments, told


def assert_same_moments(path: Path, frames: np.ndarray) -> None:
    expected = PixelMoments(frames.shape[1:], frames.dtype)
    rows = expected.add(frames)
    moments, told = moments_of(path)
    assert (told == rows).all()
    for found, wanted in zip(moments.state().values(), expected.state().values(), strict=True):
        np.testing.assert_array_equal(found, wanted)


layouts = st.one_of(
    st.fixed_dictionaries({"rowsperstrip": st.integers(1, 60)}),
    st.fixed_dictionaries({"tile": st.tuples(*[st.sampled_from((16, 32, 48))] * 2)}),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=layouts,
    compression=st.sampled_from((None, "lzw", "deflate", "adobe_deflate", "zstd")),
    predictor=st.booleans(),
    order=st.sampled_from("<>"),
    dtype=st.sampled_from(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 90)),
    colour=st.sampled_from(("grey", "contig", "separate")),
    rate=st.sampled_from((0.02, 1, 30, 200)),
)
def test_as_tifffile_and_libtiff_decode(
    tmp_path: Path,
    layout: dict[str, Any],
    compression: str | None,
    predictor: bool,
    order: str,
    dtype: str,
    shape: tuple[int, int],
    colour: str,
    rate: float,
) -> None:
    planes = () if colour == "grey" else (3,)
    frames = np.random.default_rng(5).poisson(rate, (3, *shape, *planes)).clip(0, 127).astype(dtype)
    if np.dtype(dtype).kind != "u":
        frames[0, 0] *= -1
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=order) as writer:
        for frame in frames:
            writer.write(
                np.moveaxis(frame, -1, 0) if colour == "separate" else frame,
                photometric="minisblack" if colour == "grey" else "rgb",
                planarconfig=None if colour == "grey" else colour,
                compression=compression,
                predictor=2 if predictor and compression and frames.dtype.kind in "iu" else None,
                contiguous=False,
                metadata=None,
                **layout,
            )
    with open_frames(path) as source:
        np.testing.assert_array_equal(source.read(0, 3), frames)
        integers = frames.dtype.kind in "iu" and frames.dtype.itemsize < 4
        assert source.is_located == ((integers and colour != "separate") or source.offsets is not None)
        if source.is_located and source.offsets is None:
            assert_same_moments(path, frames)
    for index, frame in enumerate(frames):
        found = imagecodecs.tiff_decode(path.read_bytes(), index)
        np.testing.assert_array_equal(np.moveaxis(found, 0, -1) if colour == "separate" else found, frame)


def tiff_of(strips: Sequence[bytes], shape: tuple[int, int], rows: int, **tags: int) -> bytes:
    """A TIFF file of one grey image of bytes, with any strips and tags."""
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    data = b"".join(strips)
    names = {"compression": 259, "fill_order": 266, "predictor": 317}
    many = len(strips) > 1
    table = 8 + len(data)
    values = {256: shape[1], 257: shape[0], 258: 8, 262: 1, 277: 1, 278: rows}
    values |= {names[name]: value for name, value in tags.items()}
    values |= {273: table if many else offsets[0], 279: table + 4 * len(strips) if many else len(strips[0])}
    head = b"II*\0" + struct.pack("<I", table + (8 * len(strips) if many else 0))
    arrays = struct.pack(f"<{2 * len(strips)}I", *offsets, *map(len, strips)) if many else b""
    entries = b"".join(
        struct.pack("<HHII", tag, 4, len(strips) if tag in (273, 279) else 1, value)
        for tag, value in sorted(values.items())
    )
    return head + data + arrays + struct.pack("<H", len(values)) + entries + bytes(4)


def lzw_codes(data: bytes, *, clear_after: int = 4093, early: int = 1) -> list[tuple[int, int]]:
    """LZW codes of bytes with their widths, as the TIFF specification's Appendix says."""
    table = {bytes([i]): i for i in range(256)}
    codes, width, next_code, prefix = [(256, 9)], 9, 258, b""
    for byte in data:
        longer = prefix + bytes([byte])
        if longer in table:
            prefix = longer
            continue
        codes.append((table[prefix], width))
        table[longer] = next_code
        next_code += 1
        prefix = bytes([byte])
        if next_code > (1 << width) - early and width < 12:
            width += 1
        if next_code > clear_after:
            codes.append((256, width))
            table = {bytes([i]): i for i in range(256)}
            width, next_code = 9, 258
    if prefix:
        codes.append((table[prefix], width))
        if next_code + 1 > (1 << width) - early and width < 12:
            width += 1
    return [*codes, (257, width)]


def packed(codes: list[tuple[int, int]], *, lowest_first: bool = False) -> bytes:
    """Codes as bytes."""
    if lowest_first:
        value = position = 0
        for code, width in codes:
            value |= code << position
            position += width
        return value.to_bytes((position + 7) // 8, "little")
    text = "".join(f"{code:0{width}b}" for code, width in codes)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def textbook_lzw(data: bytes, size: int) -> bytes | None:
    """The bytes of LZW codes, no more than `size`; None if they are damaged."""
    bits, length, position = int.from_bytes(data, "big"), 8 * len(data), 0
    table = [bytes([i]) for i in range(256)] + [b"", b""]
    out, width, old = bytearray(), 9, b""
    while len(out) < size and position + width <= length:
        code = bits >> (length - position - width) & ((1 << width) - 1)
        position += width
        if code == 257:
            break
        if code == 256:
            table, width, old = table[:258], 9, b""
            continue
        if code > len(table) or (not old and code > 255):
            return None
        string = table[code] if code < len(table) else old + old[:1]
        if old:
            table.append(old + string[:1])
            if len(table) > 4096 and len(out) + len(string) < size:
                return None
            width = max(width, next((w for w in (9, 10, 11) if len(table) < (1 << w) - 1), 12))
        out += string
        old = string
    return bytes(out[:size])


def read_one(data: bytes, path: Path) -> np.ndarray:
    path.write_bytes(data)
    with open_frames(path) as source:
        frame = source.read(0)[0]
        if source.is_located:
            assert_same_moments(path, frame[np.newaxis])
    return frame


@pytest.mark.parametrize("clear_after", [300, 511, 512, 1023, 2047, 4093, 4094])
@pytest.mark.parametrize("rate", [0.01, 1, 100])
def test_lzw_tables_of_any_size(tmp_path: Path, clear_after: int, rate: float) -> None:
    frame = np.random.default_rng(1).poisson(rate, (64, 1000)).clip(0, 255).astype("u1")
    strips = [packed(lzw_codes(part.tobytes(), clear_after=clear_after)) for part in np.split(frame, 4)]
    data = tiff_of(strips, frame.shape, 16, compression=5)
    np.testing.assert_array_equal(imagecodecs.tiff_decode(data), frame)
    np.testing.assert_array_equal(read_one(data, tmp_path / "a.tif"), frame)


@pytest.mark.parametrize("rate", [0.01, 1, 100])
def test_lzw_with_the_lowest_bit_first(tmp_path: Path, rate: float) -> None:
    frame = np.random.default_rng(1).poisson(rate, (64, 1000)).clip(0, 255).astype("u1")
    codes = (lzw_codes(part.tobytes(), early=0) for part in np.split(frame, 4))
    data = tiff_of([packed(part, lowest_first=True) for part in codes], frame.shape, 16, compression=5)
    np.testing.assert_array_equal(imagecodecs.tiff_decode(data), frame)
    np.testing.assert_array_equal(read_one(data, tmp_path / "a.tif"), frame)


REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


@pytest.mark.parametrize(
    ("compression", "encode"),
    [(5, imagecodecs.lzw_encode), (8, zlib.compress), (32946, zlib.compress), (1, bytes)],
)
def test_bytes_with_the_lowest_bit_first(
    tmp_path: Path, compression: int, encode: Callable[[bytes], bytes]
) -> None:
    frame = np.random.default_rng(1).poisson(1, (64, 100)).astype("u1")
    strips = [encode(part.tobytes()).translate(REVERSED) for part in np.split(frame, 4)]
    data = tiff_of(strips, frame.shape, 16, compression=compression, fill_order=2)
    np.testing.assert_array_equal(imagecodecs.tiff_decode(data), frame)
    np.testing.assert_array_equal(read_one(data, tmp_path / "a.tif"), frame)


@pytest.mark.parametrize("encode", [imagecodecs.lzw_encode, zlib.compress])
def test_two_pixels_in_a_byte(tmp_path: Path, encode: Callable[[bytes], bytes]) -> None:
    frame = np.random.default_rng(1).integers(0, 16, (40, 60), "u1")
    bytes_ = frame[:, ::2] | frame[:, 1::2] << 4
    strips = [encode(part.tobytes()) for part in np.split(bytes_, 5)]
    path = tmp_path / "a.tif"
    path.write_bytes(
        tiff_of(strips, bytes_.shape, 8, compression=5 if encode is imagecodecs.lzw_encode else 8)
    )
    options = ReadOptions(tiff_4bit="yes")
    with open_frames(path, options) as source:
        np.testing.assert_array_equal(source.read(0)[0], frame)
        stored = source.stored(0, 1)
    assert isinstance(stored, EncodedFrames)
    moments = PixelMoments(frame.shape, "u1")
    moments.add_located(stored.together([stored]), threads=2)
    np.testing.assert_array_equal(moments.mean(), frame)


@pytest.mark.parametrize("encode", [imagecodecs.lzw_encode, zlib.compress])
def test_last_strip_written_as_a_whole(tmp_path: Path, encode: Callable[[bytes], bytes]) -> None:
    rows = 16
    frame = np.random.default_rng(1).poisson(1, (40, 60)).astype("u1")
    padded = np.concatenate([frame, np.full((100, 60), 9, "u1")])
    strips = [encode(padded[i : i + rows].tobytes()) for i in range(0, 40, rows)]
    compression = 5 if encode is imagecodecs.lzw_encode else 8
    data = tiff_of(strips, frame.shape, rows, compression=compression)
    np.testing.assert_array_equal(read_one(data, tmp_path / "a.tif"), frame)


def test_damaged_lzw_is_what_a_textbook_makes_of_it_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "a.tif"
    seen = set()
    for _ in range(400):
        size = int(rng.integers(1, 9000))
        frame = rng.poisson(rng.choice([0.02, 1, 20]), (1, size)).astype("u1")
        strip = bytearray(imagecodecs.lzw_encode(frame.tobytes()))
        kind = rng.integers(4)
        if kind == 0:
            del strip[int(rng.integers(1, len(strip))) :]
        elif kind == 1:
            strip[int(rng.integers(len(strip)))] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            place = int(rng.integers(len(strip)))
            strip[place:place] = rng.bytes(2)
        else:
            strip[1:] = rng.bytes(len(strip) - 1)
        if strip[0] == 0:
            continue  # of codes with the lowest bit first
        path.write_bytes(tiff_of([bytes(strip)], frame.shape, 1, compression=5))
        expected = textbook_lzw(bytes(strip), size)
        with open_frames(path) as source:
            if expected is not None and len(expected) == size:
                assert source.read(0).tobytes() == expected
            else:
                with pytest.raises(FormatError, match=r"frame 0: cannot be read: strip 0 is damaged$"):
                    source.read(0)
        seen.add(expected is not None and len(expected) == size)
    assert seen == {True, False}


@pytest.mark.parametrize("kind", ["flip", "cut", "longer", "head"])
def test_damaged_deflate_is_refused(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "a.tif"
    for _ in range(100):
        frame = rng.poisson(1, (1, int(rng.integers(300, 9000)))).astype("u1")
        strip = bytearray(zlib.compress(frame.tobytes(), int(rng.integers(10))))
        if kind == "flip":
            strip[int(rng.integers(2, len(strip)))] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del strip[int(rng.integers(1, len(strip))) :]
        elif kind == "longer":
            strip = bytearray(zlib.compress(frame.tobytes() + b"\0"))
        else:
            strip[int(rng.integers(2))] ^= 1 << int(rng.integers(8))
        path.write_bytes(tiff_of([bytes(strip)], frame.shape, 1, compression=8))
        try:
            expected = zlib.decompress(strip)[: frame.size] if kind != "longer" else b""
        except zlib.error:
            expected = b""
        with open_frames(path) as source:
            if len(expected) == frame.size:
                assert source.read(0).tobytes() == expected
                continue
            with pytest.raises(FormatError, match="strip 0 is damaged"):
                source.read(0)


@pytest.mark.parametrize("kind", ["cut", "longer", "shorter", "head"])
def test_damaged_zstd_is_refused(tmp_path: Path, kind: str) -> None:
    frame = np.random.default_rng(3).poisson(1, (4, 900)).astype("u1")
    data = {"longer": frame.tobytes() + b"\0", "shorter": frame.tobytes()[:-1]}.get(kind, frame.tobytes())
    strip = bytearray(imagecodecs.zstd_encode(data))
    if kind == "cut":
        del strip[-9:]
    elif kind == "head":
        strip[0] ^= 1
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of([bytes(strip)], frame.shape, 4, compression=50000))
    with open_frames(path) as source, pytest.raises(FormatError, match="cannot be read"):
        source.read(0)
    assert has_zstd()


def test_zstd_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(3).poisson(1, (3, 40, 90)).astype("u1")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", compression="zstd", rowsperstrip=7)
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    has_zstd.cache_clear()
    try:
        assert not has_zstd()
        with open_frames(path) as source:
            assert not source.is_located
            np.testing.assert_array_equal(source.read(0, 3), frames)
    finally:
        has_zstd.cache_clear()


NO_ZSTD = """
import numpy as np
from camnorm import _core

encoding = ("zstd", False, False, False, False, 2, 10)
frames = _core.EncodedFrames([0], np.ones((1, 1, 2), np.int64), encoding, "u1", (2, 10))
try:
    _core.decode(frames, np.empty((1, 2, 10), "u1"))
except ValueError as error:
    print(error)
"""


def test_the_core_says_that_it_has_no_zstd() -> None:
    run = subprocess.run([sys.executable, "-c", NO_ZSTD], capture_output=True, text=True, check=True)
    assert run.stdout == "segments of zstd need use_zstd()\n"


def damage(path: Path, frame: int, strip: int) -> None:
    """Overwrite a strip with what no codes are."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[frame]
        offset, size = page.dataoffsets[strip], page.databytecounts[strip]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd"])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_damaged_frames_are_listed_and_the_others_measured(
    tmp_path: Path, compression: str, rows: int
) -> None:
    rng = np.random.default_rng(2)
    movies = [rng.poisson(3, (10, 64, 60)).astype("u1") for _ in range(4)]
    for number, movie in enumerate(movies):
        path = tmp_path / f"{number}.tif"
        with tifffile.TiffWriter(path) as writer:
            for frame in movie:
                writer.write(frame, compression=compression, rowsperstrip=rows, contiguous=False)
    bad = {(0, 0), (1, 3), (1, 4), (3, 9)}
    for movie_number, frame in bad:
        damage(tmp_path / f"{movie_number}.tif", frame, 63 // rows)
    sensor = camnorm.measure(tmp_path, screen="off", threads=2)
    good = [frame for n, movie in enumerate(movies) for i, frame in enumerate(movie) if (n, i) not in bad]
    rejected = sensor.frames[sensor.frames["status"] == "rejected"]
    assert {(int(Path(file).stem), index) for file, index in rejected[["file", "index"]].tolist()} == bad
    assert set(rejected["reason"]) == {f"cannot be read: strip {63 // rows} is damaged"}
    assert sensor.count == len(good)
    np.testing.assert_array_equal(sensor.moments.sum(), np.sum(good, 0, np.int64))
    np.testing.assert_array_equal(sensor.moments.sum_of_squares(), np.sum(np.square(good, dtype=np.int64), 0))
    with pytest.raises(FormatError, match=r"0\.tif, frame 0: cannot be read: strip \d+ is damaged"):
        camnorm.measure(tmp_path, strict=True)


def test_any_batches_and_threads_give_the_same_sensor(tmp_path: Path, divide: Any) -> None:
    files = write_movies(tmp_path / "mrc", 5, 8, (40, 50), "u2")
    for path in files:
        with open_frames(path) as source:
            frames = source.read(0, source.count)
        with tifffile.TiffWriter(tmp_path / f"{path.stem}.tif") as writer:
            for frame in frames:
                writer.write(frame, compression="lzw", rowsperstrip=3, contiguous=False)
    expected = camnorm.measure(files)
    for stored_bytes, threads in ((1, 1), (30_000, 2), (2**30, 3)):
        divide(stored_bytes=stored_bytes)
        sensor = camnorm.measure(tmp_path / "*.tif", threads=threads)
        for name in ("mean", "std", "min", "max", "half", "status"):
            assert (sensor.frames[name] == expected.frames[name]).all()
        for half, wanted in zip(sensor.halves, expected.halves, strict=True):
            np.testing.assert_array_equal(half.sum_of_squares(), wanted.sum_of_squares())


def test_pages_that_are_written_in_another_way(tmp_path: Path) -> None:
    frames = np.random.default_rng(2).poisson(3, (6, 32, 40)).astype("u1")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame, rows, codec in zip(
            frames, (4, 4, 8, 4, 4, 32), ("lzw",) * 4 + ("zstd", "lzw"), strict=True
        ):
            writer.write(frame, compression=codec, rowsperstrip=rows, contiguous=False)
    with open_frames(path) as source:
        assert source.is_located
        assert source.stored(0, 2) is not None
        assert source.stored(0, 3) is None
        np.testing.assert_array_equal(source.read(0, 6), frames)
    sensor = camnorm.measure(path, screen="off")
    np.testing.assert_array_equal(sensor.moments.sum(), frames.sum(0, np.int64))


def test_many_frames_of_one_strip_each(tmp_path: Path) -> None:
    # More than are decoded before they are added.
    base = np.random.default_rng(2).poisson(1, (4, 600, 500)).astype("u1")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in base:
            writer.write(frame, compression="lzw", rowsperstrip=600, contiguous=False)
    damage(path, 3, 0)
    four = encoded(path)
    order = np.arange(1100) % 3
    frames = replace(four, segments=four.segments[order])
    moments, expected = PixelMoments((600, 500), "u1"), PixelMoments((600, 500), "u1")
    told = moments.add_located(frames.together([frames]), threads=2)
    rows = expected.add(base[:3])
    for _ in range(1, 366):
        expected.add(base[:3], statistics=False)
    expected.add(base[:2], statistics=False)
    assert (told == rows[order]).all()
    np.testing.assert_array_equal(moments.sum_of_squares(), expected.sum_of_squares())
    assert (moments.subtract_located(frames.together([frames]), threads=1) == told).all()
    assert moments.count == 0
    assert not moments.sum().any()
    for place in (1, 1099):
        wrong = np.where(np.arange(1100) == place, 3, order)
        damaged = replace(four, segments=four.segments[wrong])
        message = f"^frame {place} cannot be read: strip 0 is damaged$"
        with pytest.raises(UnreadableError, match=message):
            moments.add_located(damaged.together([damaged]), threads=2)
        assert not moments.sum().any()
        moments.add_located(frames.together([frames]), threads=2)
        with pytest.raises(UnreadableError, match=message):
            moments.subtract_located(damaged.together([damaged]), threads=2)
        np.testing.assert_array_equal(moments.sum_of_squares(), expected.sum_of_squares())
        moments.subtract_located(frames.together([frames]), threads=2)


def test_screened_frames_leave_no_trace(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    frames = rng.poisson(5, (60, 32, 40)).astype("u1")
    frames[17] = 200
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, compression="lzw", rowsperstrip=4, contiguous=False)
    sensor = camnorm.measure(path, screen=5)
    assert sensor.frames["index"][sensor.frames["status"] == "rejected"].tolist() == [17]
    np.testing.assert_array_equal(sensor.moments.sum(), np.delete(frames, 17, 0).sum(0, np.int64))


def encoded(path: Path) -> EncodedFrames:
    with open_frames(path) as source:
        frames = source.stored(0, source.count)
    assert isinstance(frames, EncodedFrames)
    return frames


@pytest.fixture
def lzw_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    frame = np.random.default_rng(1).poisson(1, (8, 10)).astype("u1")
    tifffile.imwrite(path, frame, compression="lzw", rowsperstrip=2)
    return path


def test_a_file_that_became_shorter(lzw_file: Path) -> None:
    frames = encoded(lzw_file)
    os.truncate(lzw_file, int(frames.segments[0, 2, 0]) + 3)
    moments = PixelMoments((8, 10), "u1")
    message = "^frame 0 cannot be read: the file ends before the frame does$"
    with pytest.raises(UnreadableError, match=message):
        moments.add_located(frames.together([frames]), threads=1)
    assert moments.count == 0
    assert not moments.sum().any()
    with pytest.raises(UnreadableError, match=message):
        frames.read()


def test_arguments_of_the_core(lzw_file: Path) -> None:
    frames = encoded(lzw_file)
    files, segments = [frames.file.number], frames.segments
    encoding = ("lzw", False, False, False, False, 2, 10)
    for wrong, message in (
        (("lz", *encoding[1:]), "unknown compression: lz"),
        (encoding[:-1], "an encoding has 7 fields"),
        ((*encoding[:5], 0, 10), "segments must have pixels"),
        ((*encoding[:5], 3, 10), "segments must have the shape"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.EncodedFrames(files, segments, wrong, "u1", (8, 10))
    floats = _core.EncodedFrames(files, segments, encoding, "f4", (8, 10))
    with pytest.raises(ValueError, match="frames of float32 are not added as they are decoded"):
        PixelMoments((8, 10), "f4").add_located(floats, threads=1)
    differences = _core.EncodedFrames(files, segments, ("lzw", True, *encoding[2:]), "f4", (8, 10))
    with pytest.raises(ValueError, match="differences of float32 are not supported"):
        _core.decode(differences, np.empty((1, 8, 10), "f4"))
    nibbles = _core.EncodedFrames(files, segments, (*encoding[:4], True, 2, 5), "u2", (8, 10))
    with pytest.raises(ValueError, match="pixels of 4 bits must be grey"):
        _core.decode(nibbles, np.empty((1, 8, 10), "u2"))
    huge = _core.EncodedFrames(files, segments[:, :1], (*encoding[:5], 2**40, 10), "u1", (8, 10))
    with pytest.raises(ValueError, match=r"segments of \(1099511627776, 10\) are not supported"):
        _core.decode(huge, np.empty((1, 8, 10), "u1"))
    good = _core.EncodedFrames(files, segments, encoding, "u1", (8, 10))
    for out in (
        np.empty((2, 8, 10), "u1"),
        np.empty((1, 8, 10), "i1"),
        np.empty((1, 10, 8), "u1").swapaxes(1, 2),
    ):
        with pytest.raises(ValueError, match="out must be a C-contiguous array"):
            _core.decode(good, out)


def test_a_damaged_file_warns_of_nothing(lzw_file: Path) -> None:
    damage(lzw_file, 0, 1)
    with warnings.catch_warnings(), open_frames(lzw_file) as source:
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match=r"a\.tif, frame 0: cannot be read: strip 1 is damaged"):
            source.read(0)
