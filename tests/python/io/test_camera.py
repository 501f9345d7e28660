"""Camera raw: DNG files written by tifffile, against their pixels."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import camnorm
from camnorm.errors import Error, FormatError
from camnorm.io import open_frames
from camnorm.io.base.registry import is_image_name
from damage import check_mutations, check_truncation, read_each


def write_dng(path: Path, frame: np.ndarray, **options: Any) -> Path:
    """A DNG with as little as LibRaw needs."""
    unity = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    tags: list[tuple[int, int, int, Any, bool]] = [
        (271, 2, 0, "Maker", False),
        (272, 2, 0, "Camera One", False),
        (33421, 3, 2, (2, 2), False),  # CFARepeatPatternDim
        (33422, 1, 4, (0, 1, 1, 2), False),  # CFAPattern
        (33434, 5, 1, (1, 250), False),  # ExposureTime
        (50706, 1, 4, (1, 4, 0, 0), False),  # DNGVersion
        (50707, 1, 4, (1, 1, 0, 0), False),
        (50708, 2, 0, "Maker Camera One", False),
        (50714, 3, 1, (64,), False),  # BlackLevel
        (50717, 3, 1, (4095,), False),  # WhiteLevel
        (50721, 10, 9, unity, False),  # ColorMatrix1
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), False),  # AsShotNeutral
        (50778, 3, 1, (21,), False),
        *options.pop("tags", []),
    ]
    tifffile.imwrite(path, frame, photometric=32803, metadata=None, extratags=tags, subfiletype=0, **options)
    return path


LOSSLESS = {"compression": "jpeg", "compressionargs": {"lossless": True}}


def bayer(shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 4096, shape, "u2")


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"rowsperstrip": 16}, LOSSLESS],
    ids=["plain", "big", "strips", "jpeg"],
)
def test_bayer_plane_is_untouched(tmp_path: Path, options: dict[str, Any]) -> None:
    frame = bayer()
    path = write_dng(tmp_path / "a.dng", frame, **options)
    with open_frames(path) as source:
        assert (source.format, source.shape, source.dtype, source.count) == (
            "camera raw",
            (96, 128),
            np.uint16,
            1,
        )
        assert source.metadata["exposure"] == pytest.approx(1 / 250)
        assert {name: source.metadata[name] for name in ("make", "model", "black_level", "white_level")} == {
            "make": "Maker",
            "model": "Camera One",
            "black_level": [64] * 4,
            "white_level": 4095,
        }
        np.testing.assert_array_equal(source.read(0), frame[np.newaxis])


def test_margins_are_read_too(tmp_path: Path) -> None:
    frame = bayer()
    area = [(50829, 4, 4, (6, 4, 90, 124), False)]  # ActiveArea
    path = write_dng(tmp_path / "a.dng", frame, tags=area)
    with open_frames(path) as source:
        assert source.metadata["visible"] == (6, 4, 84, 120)
        np.testing.assert_array_equal(source.read(0), frame[np.newaxis])


def test_dng_is_known_whatever_its_name_and_tiff_stays_tiff(tmp_path: Path) -> None:
    frame = bayer()
    for name in ("a.tif", "a", "a.mrc", "a.DNG"):
        with open_frames(write_dng(tmp_path / name, frame)) as source:
            assert source.format == "camera raw"
    tifffile.imwrite(tmp_path / "b.tif", frame)
    with open_frames(tmp_path / "b.tif") as source:
        assert source.format == "TIFF"
    tifffile.imwrite(tmp_path / "c.nef", np.stack([frame] * 3, -1), photometric="rgb")  # no camera's file
    with (
        pytest.raises(FormatError, match=r"c\.nef.*(cannot be read|Bayer)"),
        open_frames(tmp_path / "c.nef") as s,
    ):
        s.read(0)
    for suffix in (".dng", ".ARW", ".cr2", ".Cr3", ".nef", ".raf", ".orf", ".rw2"):
        assert is_image_name("x" + suffix)


@pytest.mark.parametrize(
    "head",
    [
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x18\0\0\0",
        b"II*\0\x10\0\0\0CR\x02\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1",
        b"II\x1a\0\0\0HEAPCCDR",
    ],
)
def test_makers_files_go_to_libraw(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a").write_bytes(head.ljust(2000, b"\0"))
    with pytest.raises(FormatError, match=r"cannot be read \(LibRaw"):
        open_frames(tmp_path / "a")


@pytest.mark.parametrize("options", [{}, LOSSLESS], ids=["plain", "jpeg"])
def test_truncated_anywhere(tmp_path: Path, options: dict[str, Any]) -> None:
    frame = bayer()
    path = write_dng(tmp_path / "a.dng", frame, **options)
    check_truncation(path, frame[np.newaxis], points=40, tail=len(options))  # the end mark of JPEG


@pytest.mark.parametrize("options", [{}, LOSSLESS], ids=["plain", "jpeg"])
def test_mutated_files_give_format_errors_only(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write_dng(tmp_path / "a.dng", bayer(), **options)
    places = [*range(500), *range(500, path.stat().st_size, 40)]
    assert check_mutations(path, places, 200, "dng") > 0


def test_a_header_that_asks_for_too_much(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", bayer())
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tag = tiff.pages.first.tags[name]
            data[tag.valueoffset : tag.valueoffset + 2] = b"\xf0\xf0"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"too few for 61680 x 61680|cannot be read"):
        open_frames(path)


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}], ids=["strip", "tiles"])
def test_lossy_jpeg_is_not_supported(tmp_path: Path, bits: int, options: dict[str, Any]) -> None:
    """LibRaw gives no pixels of it, or passes over it."""
    frame = bayer() if bits == 12 else (bayer() >> 4).astype("u1")
    arguments = {"bitspersample": bits} if bits == 12 else {}
    options = options | ({"bitspersample": 12} if bits == 12 else {})
    path = write_dng(tmp_path / "a.dng", frame, compression="jpeg", compressionargs=arguments, **options)
    with pytest.raises(FormatError, match=r"a\.dng: DNG with lossy JPEG compression is not supported"):
        open_frames(path)


def test_threads_share_one_source(tmp_path: Path) -> None:
    frame = bayer()
    with open_frames(write_dng(tmp_path / "a.dng", frame)) as source, ThreadPoolExecutor(8) as executor:
        assert all(executor.map(lambda _: np.array_equal(source.read(0)[0], frame), range(100)))


def test_measure(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(1, 4096, (12, 32, 48), "u2")
    for index, frame in enumerate(frames):
        write_dng(tmp_path / f"{index:02d}.dng", frame)
    sensor = camnorm.measure(tmp_path, screen="off")
    assert sensor.count == 12
    np.testing.assert_allclose(sensor.mean, frames.mean(0), rtol=1e-14)


def test_rawpy_is_imported_when_needed_and_named_when_missing(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", bayer())
    script = (
        "import sys\n"
        "import camnorm.io\n"
        "assert 'rawpy' not in sys.modules\n"
        "sys.modules['rawpy'] = None\n"
        "camnorm.io.open_frames(sys.argv[1])\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "to read camera raw files, rawpy is needed: pip install 'camnorm[raw]'" in result.stderr
    assert issubclass(FormatError, Error)


def test_broken_files_have_no_frames(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", bayer())
    path.write_bytes(path.read_bytes()[:300])
    (result,) = read_each(path)
    assert isinstance(result, FormatError)
