"""Compressed files whose checksum fails: none of their frames is measured, corrected or tested.

The judge is the decompressor of Python's standard library, or of the zstandard package.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import zstandard
from astropy.io import fits

import camnorm
from camnorm.io import open_frames
from image_sets import assert_same_moments, write_mrc

# Each movie of these small sets is a large part of the statistics.
pytestmark = pytest.mark.filterwarnings("ignore:.* of the statistics that correct:UserWarning")


class Codec(NamedTuple):
    suffix: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


GZIP = Codec(".gz", lambda data: gzip.compress(data, 6), gzip.decompress)
CODECS = [
    GZIP,
    Codec(".bz2", bz2.compress, bz2.decompress),
    Codec(".zst", zstandard.ZstdCompressor(write_checksum=True).compress, _unzstd),
]
KINDS = [
    (kind, codec) for kind in ("mrc", "fits") for codec in CODECS if (kind, codec.suffix) != ("fits", ".zst")
]
IDS = [kind + codec.suffix for kind, codec in KINDS]


def plain_bytes(folder: Path, kind: str, frames: np.ndarray) -> bytes:
    if kind == "mrc":
        return write_mrc(folder / "plain", frames).read_bytes()
    fits.writeto(folder / "plain", frames, overwrite=True)
    return (folder / "plain").read_bytes()


def write(folder: Path, kind: str, codec: Codec, name: str, frames: np.ndarray) -> Path:
    path = folder / f"{name}.{kind}{codec.suffix}"
    path.write_bytes(codec.compress(plain_bytes(folder, kind, frames)))
    (folder / "plain").unlink()
    return path


def movie(seed: int, dtype: str, count: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).poisson(20, (count, 32, 48)).astype(dtype)


def flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def is_harmless(codec: Codec, data: bytes, original: bytes) -> bool:
    try:
        return codec.decompress(data) == original
    except Exception:  # whatever the judge raises
        return False


def check_flips(folder: Path, kind: str, codec: Codec, dtype: str, count: int) -> int:
    """Flip one bit after another; the result is always that without the file. Counts the damaged files."""
    good = [write(folder, kind, codec, f"good{i}", movie(i, dtype)) for i in range(3)]
    bad = write(folder, kind, codec, "bad", movie(9, dtype))
    whole = bad.read_bytes()
    original = codec.decompress(whole)
    without = camnorm.measure(good, screen="off", threads=1).moments.to_bytes()
    rng = np.random.default_rng(count)
    damaged = 0
    for number in range(count):
        data = flipped(whole, int(rng.integers(8 * len(whole))))
        bad.write_bytes(data)
        paths = [*good[: number % 4], bad, *good[number % 4 :]]
        sensor = camnorm.measure(paths, screen="off", threads=1 + number % 2)
        if is_harmless(codec, data, original):
            assert sensor.count == 40
            continue
        damaged += 1
        assert sensor.moments.to_bytes() == without
        rejected = sensor.frames[sensor.frames["status"] == "rejected"]
        assert set(rejected["file"]) == {str(bad)}
        assert all(rejected["reason"])
    return damaged


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize(("kind", "codec"), KINDS, ids=IDS)
def test_any_flipped_bit_leaves_no_trace_in_the_sums(
    tmp_path: Path, kind: str, codec: Codec, dtype: str
) -> None:
    assert check_flips(tmp_path, kind, codec, dtype, 12) >= 11


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mrc", "fits"])
def test_hundreds_of_flipped_bits_leave_no_trace(tmp_path: Path, kind: str) -> None:
    assert check_flips(tmp_path, kind, GZIP, "u2", 300) >= 280


def wrong_first_frame(folder: Path, kind: str, codec: Codec, dtype: str = "u2", count: int = 40) -> Path:
    """A file whose first frame can be read but is wrong, which only its checksum tells."""
    frames = movie(9, dtype, count)
    path = write(folder, kind, codec, "wrong", frames)
    whole = path.read_bytes()
    for bit in range(8 * len(whole) // 50, 8 * len(whole), 8 * 20 + 1):
        path.write_bytes(flipped(whole, bit))
        try:
            with open_frames(path) as source:
                if (source.shape, source.count) == ((32, 48), count) and (
                    source.read(0)[0] != frames[0]
                ).any():
                    return path
        except camnorm.FormatError:
            continue
    raise AssertionError("no bit does that")


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("kind", ["mrc", "fits"])
def test_selected_frames_are_taken_back_too(tmp_path: Path, kind: str, dtype: str) -> None:
    """The frames before the damage are read and added; what comes behind them is not even selected."""
    good = [write(tmp_path, kind, GZIP, f"good{i}", movie(i, dtype, 40)) for i in range(3)]
    bad = wrong_first_frame(tmp_path, kind, GZIP, dtype)
    without = camnorm.measure(good, screen="off", frames="0:3")
    sensor = camnorm.measure([good[0], bad, *good[1:]], screen="off", frames="0:3")
    assert sensor.moments.to_bytes() == without.moments.to_bytes()
    (rejected,) = sensor.frames[sensor.frames["status"] == "rejected"]
    assert (rejected["file"], rejected["index"]) == (str(bad), -1)
    assert "damaged, so that no frame of it can be trusted: cannot be read" in rejected["reason"]


def test_drift_and_response_forget_a_damaged_file(tmp_path: Path) -> None:
    good = [write(tmp_path, "mrc", GZIP, f"good{i}", movie(i, "u2", 40)) for i in range(7)]
    bad = wrong_first_frame(tmp_path, "mrc", GZIP)
    without = camnorm.measure(good, screen="off", response=True)
    sensor = camnorm.measure([bad, *good], screen="off", response=True)
    assert sensor.moments.to_bytes() == without.moments.to_bytes()
    assert sensor.responses is not None
    assert without.responses is not None
    both = [responses[0] + responses[1] for responses in (sensor.responses, without.responses)]
    assert_same_moments(*both)
    assert sensor.count == 280


def test_strict_stops_at_a_damaged_file(tmp_path: Path) -> None:
    good = write(tmp_path, "mrc", GZIP, "good", movie(1, "u2"))
    bad = wrong_first_frame(tmp_path, "mrc", GZIP)
    with pytest.raises(camnorm.FormatError, match=r"wrong\.mrc\.gz: damaged, so that no frame"):
        camnorm.measure([good, bad], strict=True)


@pytest.mark.parametrize("more", [{}, {"frames": "0:3"}, {"sum_frames": True}, {"virtual": True}], ids=str)
@pytest.mark.parametrize("kind", ["mrc", "fits"])
def test_no_corrected_file_is_left_of_a_damaged_one(
    tmp_path: Path, kind: str, more: dict[str, object]
) -> None:
    good = [write(tmp_path, kind, GZIP, f"good{i}", movie(i, "u2", 40)) for i in range(3)]
    bad = wrong_first_frame(tmp_path, kind, GZIP)
    sensor = camnorm.measure(good)
    errors: list[camnorm.FormatError] = []
    written = camnorm.correct([bad, *good], sensor, tmp_path / "out", on_error=errors.append, **more)
    assert len(written) == 3
    assert [error.path for error in errors] == [str(bad)]
    assert "damaged, so that no frame of it can be trusted" in str(errors[0])
    left = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("correction")}
    assert left == {path.name for path in written}


def test_manifest_of_a_file_that_is_damaged_later(tmp_path: Path) -> None:
    """With its size and time of modification, as where a disk fails."""
    good = [write(tmp_path, "mrc", GZIP, f"good{i}", movie(i, "u2", 40)) for i in range(3)]
    later = write(tmp_path, "mrc", GZIP, "wrong", movie(9, "u2", 40))
    sensor = camnorm.measure(good)
    manifests = camnorm.correct([later, *good], sensor, tmp_path / "out", virtual=True)
    before = os.stat(later)
    wrong_first_frame(tmp_path, "mrc", GZIP)
    os.utime(later, ns=(before.st_atime_ns, before.st_mtime_ns))
    with open_frames(manifests[0]) as source, pytest.raises(camnorm.FormatError, match="damaged"):
        source.check_whole()
    again = camnorm.measure(manifests, screen="off")
    assert again.count == 120


def test_verify_tests_no_frame_of_a_damaged_file(tmp_path: Path) -> None:
    good = [write(tmp_path, "mrc", GZIP, f"good{i}", movie(i, "u2", 40)) for i in range(3)]
    bad = wrong_first_frame(tmp_path, "mrc", GZIP)
    sensor = camnorm.measure(good)
    found = camnorm.verify([bad, *good], sensor, group=8)
    assert str(bad) not in {file for group in found.files for file, _ in group}


def test_gain_reference_that_is_damaged(tmp_path: Path) -> None:
    good = write(tmp_path, "mrc", GZIP, "good", movie(1, "u2"))
    gain = write(tmp_path, "mrc", GZIP, "gain", movie(9, "f4", 1))
    whole = gain.read_bytes()
    for bit in range(8 * len(whole) // 4, 8 * len(whole) - 64, 8 * len(whole) // 9):
        gain.write_bytes(flipped(whole, bit))
        with pytest.raises(camnorm.Error, match=r"gain\.mrc\.gz.*: (damaged|cannot be read|truncated)"):
            camnorm.measure([good], options=camnorm.ReadOptions(gain=gain))


def test_a_flip_that_hides_the_end_of_deflate(tmp_path: Path) -> None:
    """The decoder runs into the checksum and takes the file for cut off, though it is complete."""
    good = [write(tmp_path, "mrc", GZIP, f"good{i}", movie(i, "u2")) for i in range(2)]
    bad = write(tmp_path, "mrc", GZIP, "bad", movie(9, "u2"))
    whole = bad.read_bytes()
    original = gzip.decompress(whole)
    without = camnorm.measure(good, screen="off").moments.to_bytes()
    cut_off = 0
    for bit in range(8 * len(whole) - 120, 8 * len(whole) - 64):
        data = flipped(whole, bit)
        try:
            gzip.decompress(data)
        except EOFError:
            cut_off += 1
        except Exception:
            continue
        bad.write_bytes(data)
        sensor = camnorm.measure([*good, bad], screen="off")
        assert is_harmless(GZIP, data, original) or sensor.moments.to_bytes() == without
    assert cut_off


def test_a_truncated_file_keeps_its_whole_frames(tmp_path: Path) -> None:
    """As it is while it is still being copied."""
    frames = movie(1, "u2", 40)
    path = write(tmp_path, "mrc", GZIP, "a", frames)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    sensor = camnorm.measure([path], screen="off")
    assert 10 < sensor.count < 30
    np.testing.assert_array_equal(sensor.moments.sum(), frames[: sensor.count].sum(0, dtype=float))
