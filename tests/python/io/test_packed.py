"""MRC files compressed as a whole, against the plain file that was compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zstandard
from astropy.io import fits

import camnorm
from camnorm.errors import Error, FormatError
from camnorm.io import Failure, ReadOptions, create_writer, open_frames, stream_frames, target_name
from camnorm.io.base.registry import is_image_name
from camnorm.io.base.source import FrameSource
from camnorm.io.formats.packed import UnpackedFile
from damage import check_mutations, check_truncation, read_each
from image_sets import Divide, frames_of, write_mrc


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


CODECS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".bz2": bz2.compress,
    ".zst": _zstd,
}
KINDS = list(CODECS)


def packed(folder: Path, kind: str, frames: np.ndarray) -> Path:
    plain = write_mrc(folder / "plain.mrc", frames)
    data = plain.read_bytes()
    plain.write_bytes(data[:224] + bytes(800) + data[1024:])  # the label has the time, and a size of its own
    path = folder / f"a.mrc{kind}"
    path.write_bytes(CODECS[kind](plain.read_bytes()))
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4"])
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_of_the_plain_file(tmp_path: Path, kind: str, dtype: str) -> None:
    frames = frames_of(7, (24, 32), dtype)
    path = packed(tmp_path, kind, frames)
    with open_frames(path) as source, open_frames(tmp_path / "plain.mrc") as plain:
        assert (source.format, source.shape, source.dtype, source.count, source.available) == (
            "MRC",
            plain.shape,
            plain.dtype,
            plain.count,
            plain.count,
        )
        assert source.metadata == plain.metadata
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(0, 7), frames)
        for start, stop in ((3, 5), (6, 7), (0, 2), (2, 3), (0, 7)):
            np.testing.assert_array_equal(source.view(start, stop), frames[start:stop])
            assert source.read(start, stop).flags.writeable
    path.rename(tmp_path / "without_suffix")
    np.testing.assert_array_equal(np.concatenate(read_each(tmp_path / "without_suffix")), frames)
    assert is_image_name("movie.MRC" + kind)
    assert is_image_name("movie.mrcs" + kind)
    assert not is_image_name("movie" + kind)


@pytest.mark.parametrize("kind", KINDS)
def test_files_compressed_in_parts(tmp_path: Path, kind: str) -> None:
    """As pigz -i, pbzip2 and pzstd write them; the last with frames that are to be skipped."""
    frames = frames_of(5, (24, 32), "u2")
    data = write_mrc(tmp_path / "plain.mrc", frames).read_bytes()
    parts = [CODECS[kind](data[start : start + 1500]) for start in range(0, len(data), 1500)]
    if kind == ".zst":
        parts = [b"\x50\x2a\x4d\x18\x04\0\0\0" + len(part).to_bytes(4, "little") + part for part in parts]
    (tmp_path / f"a.mrc{kind}").write_bytes(b"".join(parts))
    np.testing.assert_array_equal(np.concatenate(read_each(tmp_path / f"a.mrc{kind}")), frames)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    frames = np.random.default_rng(0).integers(0, 2**16, (6, 48, 64), "u2")
    path = packed(tmp_path, kind, frames)
    tail = {".gz": 10, ".bz2": 10, ".zst": 4}[kind]  # checksums, and the end of deflate
    most = check_truncation(path, frames, tail=tail)
    assert most == (5 if kind == ".gz" else 0)  # the others pack all these frames into one block


def test_whole_frames_of_a_truncated_bzip2_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 2**16, (12, 256, 512), "u2")
    path = packed(tmp_path, ".bz2", frames)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    results = read_each(path)
    errors = [i for i, result in enumerate(results) if isinstance(result, FormatError)]
    assert errors == list(range(errors[0], 12))
    assert 6 <= errors[0] <= 9
    np.testing.assert_array_equal(np.concatenate(results[: errors[0]]), frames[: errors[0]])
    assert "truncated: the compressed data end before the frame does" in str(results[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_after_some_frames(tmp_path: Path, kind: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (40, 128, 256), "u1")
    path = packed(tmp_path, kind, frames)
    data = bytearray(path.read_bytes())
    place = len(data) * 3 // 4
    data[place : place + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    results = read_each(path)
    errors = [i for i, result in enumerate(results) if isinstance(result, FormatError)]
    assert errors
    assert errors[-1] == 39
    assert "cannot be read" in results[-1].reason


@pytest.mark.parametrize("kind", KINDS)
def test_checksum_is_looked_at(tmp_path: Path, kind: str) -> None:
    """Where the pixels can be decompressed but are not those that were compressed."""
    frames = np.random.default_rng(0).integers(0, 2**16, (4, 48, 64), "u2")
    path = packed(tmp_path, kind, frames)
    data = bytearray(path.read_bytes())
    data[{".gz": -8, ".bz2": 12, ".zst": -4}[kind]] ^= 0x10
    path.write_bytes(data)
    results = read_each(path)
    assert isinstance(results[-1], FormatError)
    assert results[-1].frame in (0, 3)
    assert "cannot be read" in results[-1].reason


@pytest.mark.parametrize("more", [2**12 - 1, 3 * 2**20, 3 * 2**20 + 7])
@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_behind_the_frames_is_looked_at(tmp_path: Path, kind: str, more: int) -> None:
    """As where a file has padding, or more frames than its header says: the checksum is behind that."""
    frames = np.random.default_rng(0).integers(0, 2**16, (4, 48, 64), "u2")
    data = write_mrc(tmp_path / "plain.mrc", frames).read_bytes()
    path = tmp_path / f"a.mrc{kind}"
    path.write_bytes(CODECS[kind](data + bytes(more)))
    results = read_each(path)
    if more < 2**12:
        np.testing.assert_array_equal(np.concatenate(results), frames)
    else:
        whole = more % frames[0].nbytes == 0
        reason = (
            "the header says 4 frames, but the file holds 516" if whole else "longer than its header says"
        )
        assert reason in results[-1].reason
    damaged = bytearray(path.read_bytes())
    damaged[{".gz": -8, ".bz2": -6, ".zst": -4}[kind]] ^= 0x10
    path.write_bytes(damaged)
    results = read_each(path)
    assert isinstance(results[-1], FormatError)
    assert "cannot be read" in results[-1].reason


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_give_format_errors_only(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, frames_of(4, (24, 32), "u2"))
    readable = check_mutations(path, range(path.stat().st_size), 150, kind)
    assert readable or kind == ".bz2"  # whose checksums come before anything is told
    data = bytearray((tmp_path / "plain.mrc").read_bytes())
    plain = tmp_path / "header"
    for seed in range(100):  # and headers that were damaged before they were compressed
        damaged = data.copy()
        rng = np.random.default_rng(seed)
        for place in rng.integers(0, 220, 3):
            damaged[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        plain.write_bytes(CODECS[kind](bytes(damaged)))
        read_each(plain)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_asks_for_too_much_allocates_nothing(tmp_path: Path, kind: str) -> None:
    plain = bytearray(write_mrc(tmp_path / "plain.mrc", frames_of(4, (24, 32), "f4")).read_bytes())
    plain[:12] = np.array([100_000, 100_000, 2**31 - 1], "<i4").tobytes()
    path = tmp_path / f"a.mrc{kind}"
    path.write_bytes(CODECS[kind](bytes(plain)))
    script = (
        "import resource, sys\n"
        "from camnorm.io import open_frames, stream_frames\n"
        "import camnorm.io.formats.mrc.packed, mrcfile\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))\n"
        "print(sum(item.count for item in stream_frames([sys.argv[1]], threads=2)))\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    # By its size alone the file may hold one frame or none: then it cannot be opened.
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) in (1, 2**31 - 1)


def test_millions_of_frames_that_are_not_there_are_told_of_at_once(tmp_path: Path) -> None:
    frames = frames_of(3, (2, 2), "u1")
    plain = bytearray(write_mrc(tmp_path / "plain.mrc", frames).read_bytes())
    plain[8:12] = np.array([2**31 - 1], "<i4").tobytes()
    (tmp_path / "a.mrc.bz2").write_bytes(bz2.compress(bytes(plain)))
    items = list(stream_frames([tmp_path / "a.mrc.bz2"], threads=2))
    assert sum(item.count for item in items if isinstance(item, Failure)) == 2**31 - 1 - 3
    assert len(items) < 100
    np.testing.assert_array_equal(items[0].frames[0], frames[0])


@pytest.mark.parametrize("kind", KINDS)
def test_other_things_that_are_compressed(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, frames_of(3, (24, 32), "u2"))
    (tmp_path / f"a.npy{kind}").write_bytes(CODECS[kind](buffer.getvalue()))
    with pytest.raises(FormatError, match="compressed, but neither an MRC nor a FITS file: only these"):
        open_frames(tmp_path / f"a.npy{kind}")
    (tmp_path / f"a.mrc{kind}").write_bytes(CODECS[kind](buffer.getvalue()))
    with pytest.raises(FormatError, match="not an MRC file: no 'MAP' at byte 208"):
        open_frames(tmp_path / f"a.mrc{kind}")
    (tmp_path / "short").write_bytes(CODECS[kind](b"notes"))
    with pytest.raises(FormatError, match="truncated"):
        open_frames(tmp_path / "short")


@pytest.mark.parametrize("kind", KINDS)
def test_reading_in_order_decompresses_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, divide: Divide
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (60, 256, 512), "u1")
    path = packed(tmp_path, kind, frames)
    begun = []
    with open_frames(path) as source:
        open_stream, view = type(source).open_stream, type(source).view
    monkeypatch.setattr(
        type(source), "open_stream", staticmethod(lambda path: begun.append(1) or open_stream(path))
    )

    def late_view(source: FrameSource, start: int, stop: int) -> np.ndarray:
        if start % 8 == 0:
            time.sleep(0.02)  # by when other threads have got to their frames
        return view(source, start, stop)

    monkeypatch.setattr(type(source), "view", late_view)
    divide(chunk_bytes=2**21)  # two frames a chunk
    chunks = [chunk.frames for chunk in stream_frames([path], threads=4)]
    assert len(chunks) >= 30
    np.testing.assert_array_equal(np.concatenate(chunks), frames)
    assert len(begun) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_one_source(tmp_path: Path, kind: str) -> None:
    frames = frames_of(9, (24, 32), "u2")
    path = packed(tmp_path, kind, frames)
    with open_frames(path) as source, ThreadPoolExecutor(8) as executor:

        def read(index: int) -> bool:
            return np.array_equal(source.read(index), frames[index : index + 1])

        assert all(executor.map(read, itertools.islice(itertools.cycle([5, 1, 8, 0, 3, 7, 2, 6, 4]), 200)))


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_closed(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, frames_of(3, (24, 32), "u2"))
    (tmp_path / "bad").write_bytes(CODECS[kind](bytes(5000)))
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    read_each(path)
    read_each(tmp_path / "bad")
    assert not descriptors.exists() or len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_plain_mrc_files(tmp_path: Path, kind: str) -> None:
    frames = frames_of(3, (24, 32), "f4")
    plain = bytearray(write_mrc(tmp_path / "plain.mrc", frames).read_bytes())
    plain[92:96] = np.array([100], "<i4").tobytes()  # an extended header
    path = tmp_path / f"a.mrc{kind}"
    path.write_bytes(CODECS[kind](bytes(plain[:1024] + bytes(range(100)) + plain[1024:])))
    name = target_name(path.name, "MRC")
    assert name == Path("a.mrc")
    with open_frames(path) as source:
        frames = source.read(0, 3)
    with create_writer(tmp_path / "out" / name, source, np.float32, count=3, label="test") as writer:
        writer.write(frames)
    with open_frames(tmp_path / "out" / name) as written:
        np.testing.assert_array_equal(written.read(0, 3), frames)
        assert written.extended_header() == bytes(range(100))
        assert written.metadata["pixel_size"] == pytest.approx(1.5)


def test_measure_gives_the_same_as_from_plain_files(tmp_path: Path) -> None:
    frames = frames_of(24, (24, 32), "u2")
    paths = []
    for kind in KINDS:
        folder = tmp_path / kind[1:]
        folder.mkdir()
        paths.append(packed(folder, kind, frames))
    plain = camnorm.measure([path.with_name("plain.mrc") for path in paths], screen="off")
    unpacked = camnorm.measure(paths, screen="off")
    assert unpacked.count == plain.count == 72
    np.testing.assert_array_equal(unpacked.mean, plain.mean)
    np.testing.assert_array_equal(unpacked.sigma, plain.sigma)


def test_zstd_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path, ".zst", frames_of(3, (24, 32), "u2"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.delitem(sys.modules, "camnorm.io.formats.mrc.zstd", raising=False)
    with pytest.raises(
        Error, match=r"to read MRC.zst files, zstandard is needed: pip install 'camnorm\[zstd"
    ):
        open_frames(path)


def test_what_is_asked_for_is_what_is_held(tmp_path: Path) -> None:
    """Skipped frames are not kept, and frames are not decompressed before they are asked for."""
    frames = np.random.default_rng(0).integers(0, 2**16, (40, 256, 512), "u2")
    path = packed(tmp_path, ".gz", frames)
    with open_frames(path) as source:
        file = source._file
        assert isinstance(file, UnpackedFile)
        np.testing.assert_array_equal(source.view(20), frames[20:21])
        assert file._position == 1024 + 21 * frames[0].nbytes


# FITS

FITS_KINDS = [".gz", ".bz2"]


def packed_fits(folder: Path, kind: str, frames: np.ndarray) -> Path:
    fits.writeto(folder / "plain.fits", frames, overwrite=True)
    path = folder / f"a.fits{kind}"
    path.write_bytes(CODECS[kind]((folder / "plain.fits").read_bytes()))
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8"])
@pytest.mark.parametrize("kind", FITS_KINDS)
def test_frames_of_fits_are_those_of_astropy(tmp_path: Path, kind: str, dtype: str) -> None:
    path = packed_fits(tmp_path, kind, frames_of(7, (24, 32), dtype))
    frames = fits.getdata(path)
    with open_frames(path) as source:
        assert (source.format, source.shape, source.dtype, source.count, source.offsets) == (
            "FITS",
            (24, 32),
            np.dtype(dtype),
            7,
            None,
        )
        np.testing.assert_array_equal(source.read(0, 7), frames)
        for start, stop in ((3, 5), (6, 7), (0, 2), (2, 3)):
            np.testing.assert_array_equal(source.view(start, stop), frames[start:stop])
    assert is_image_name("image.FIT" + kind)
    assert target_name(path.name, "FITS") == Path("a.tif")
    path.rename(tmp_path / "without_suffix")
    np.testing.assert_array_equal(np.concatenate(read_each(tmp_path / "without_suffix")), frames)


@pytest.mark.parametrize("kind", FITS_KINDS)
def test_extensions_of_compressed_fits(tmp_path: Path, kind: str) -> None:
    frames = frames_of(5, (24, 32), "i2")
    scaled = fits.ImageHDU(frames, name="scaled")
    scaled.scale("int16", bscale=0.5, bzero=3)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(frames, name="SCI"), scaled, fits.CompImageHDU(frames, name="T")]
    path = tmp_path / f"a.fits{kind}"
    fits.HDUList(hdus).writeto(path)
    with fits.open(path) as told:
        for name, number in ((None, 1), ("sci", 1), ("2", 2), ("SCALED", 2)):
            with open_frames(path, ReadOptions(dataset=name)) as source:
                np.testing.assert_array_equal(source.read(0, 5), told[number].data)
                assert source.metadata["extension"] == number
    with pytest.raises(
        FormatError, match=r"^\S+: its image is compressed too, by tiles: decompress the file$"
    ):
        open_frames(path, ReadOptions(dataset="T"))
    with pytest.raises(FormatError, match=r"^\S+: no extension ERR in it$"):
        open_frames(path, ReadOptions(dataset="ERR"))


@pytest.mark.parametrize("kind", FITS_KINDS)
def test_damaged_compressed_fits(tmp_path: Path, kind: str) -> None:
    frames = np.random.default_rng(0).integers(0, 2**16, (5, 48, 64), "u2")
    path = packed_fits(tmp_path, kind, frames)
    # Behind the frames are zeros up to a whole block.
    most = check_truncation(path, frames, points=30, tail={".gz": 60, ".bz2": 10}[kind])
    assert most >= (4 if kind == ".gz" else 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    error = read_each(path)[-1]
    assert isinstance(error, FormatError)
    assert error.frame == (4 if kind == ".gz" else 0)
    assert "truncated" in error.reason
    damaged = bytearray(whole)
    damaged[{".gz": -8, ".bz2": 12}[kind]] ^= 0x10
    path.write_bytes(damaged)
    error = read_each(path)[-1]
    assert isinstance(error, FormatError)
    assert "cannot be read" in error.reason
    path.write_bytes(whole)
    check_mutations(path, range(len(whole)), 60, kind)


def test_a_fits_header_that_asks_for_too_much_allocates_nothing(tmp_path: Path) -> None:
    plain = packed_fits(tmp_path, ".gz", frames_of(4, (24, 32), "f4")).with_name("plain.fits").read_bytes()
    for n, size in ((1, 10**6), (2, 10**6), (3, 10**9)):
        start = plain.index(f"NAXIS{n}".encode())
        plain = plain[:start] + f"NAXIS{n}  = {size:20d}".encode() + plain[start + 30 :]
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(plain))
    tracemalloc.start()
    (error,) = read_each(tmp_path / "a.fits.gz")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert isinstance(error, FormatError)
    assert "truncated" in error.reason


@pytest.mark.parametrize("kind", FITS_KINDS)
def test_measure_and_correct_of_compressed_fits(tmp_path: Path, kind: str) -> None:
    frames = frames_of(24, (24, 32), "u2")
    for name in ("plain", "packed"):
        (tmp_path / name).mkdir()
    for i, movie in enumerate(np.split(frames, 8)):
        fits.writeto(tmp_path / f"plain/{i}.fits", movie)
        packed = tmp_path / f"packed/{i}.fits{kind}"
        packed.write_bytes(CODECS[kind]((tmp_path / f"plain/{i}.fits").read_bytes()))
    plain, unpacked = (camnorm.measure(tmp_path / name) for name in ("plain", "packed"))
    assert plain.moments.to_bytes() == unpacked.moments.to_bytes()
    written = camnorm.correct(tmp_path / "packed", unpacked, tmp_path / "out")
    assert [path.name for path in written] == [f"{i}.tif" for i in range(8)]
    with open_frames(written[2]) as source:
        np.testing.assert_array_equal(source.read(0, 3), plain.correction().apply(frames[6:9]))
