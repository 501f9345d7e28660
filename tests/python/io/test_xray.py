"""Files of X-ray detectors against fabio, which writes and reads them."""

from __future__ import annotations

import logging
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fabio
import numpy as np
import pytest
import tifffile
from fabio.cbfimage import CbfImage
from fabio.dtrekimage import DtrekImage
from fabio.edfimage import EdfImage

import camnorm
from camnorm.errors import FormatError
from camnorm.io import open_frames
from camnorm.io.base.registry import is_image_name
from damage import check_mutations, check_truncation, read_each


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def pixels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype[0] == "f":
        return rng.normal(100, 30, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def write_edf(path: Path, frames: np.ndarray, **header: str) -> Path:
    image = EdfImage(data=frames[0], header=header)
    for frame in frames[1:]:
        image.append_frame(data=frame, header={})
    image.write(str(path))
    return path


def write_smv(path: Path, frame: np.ndarray, order: str = "<") -> Path:
    """As ADSC detectors write it."""
    name = "little_endian" if order == "<" else "big_endian"
    header = (
        f"{{\nHEADER_BYTES=  512;\nDIM=2;\nBYTE_ORDER={name};\nTYPE=unsigned_short;\n"
        f"SIZE1={frame.shape[1]};\nSIZE2={frame.shape[0]};\nPIXEL_SIZE=0.0512;\n}}\f\n"
    )
    path.write_bytes(header.encode().ljust(512) + frame.astype(order + "u2").tobytes())
    return path


def write_cbf(path: Path, frame: np.ndarray, header: str = "") -> Path:
    image = CbfImage(data=frame)
    if header:
        image.header["_array_data.header_contents"] = header
    image.write(str(path))
    return path


def write_mccd(path: Path, frame: np.ndarray) -> Path:
    """A TIFF header of 1024 bytes, 3072 of MarCCD's own, and the pixels."""
    y, x = frame.shape
    tags = [(256, 4, x), (257, 4, y), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 4096), (277, 3, 1)]
    tags += [(278, 4, y), (279, 4, frame.nbytes), (34710, 4, 1024)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    head += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags) + bytes(4)
    own = struct.pack("<I", 2) + b"MMX".ljust(16, b"\0")
    path.write_bytes(head.ljust(1024, b"\0") + own.ljust(3072, b"\0") + frame.astype("<u2").tobytes())
    return path


def example(kind: str, path: Path) -> np.ndarray:
    """Write a small file; its frames."""
    frames = pixels((4 if kind == "edf" else 1, 24, 32), "i4" if kind == "cbf" else "u2")
    if kind == "edf":
        write_edf(path, frames)
    else:
        {"smv": write_smv, "cbf": write_cbf, "mccd": write_mccd}[kind](path, frames[0])
    return frames


SUFFIXES = {"edf": ".edf", "smv": ".img", "cbf": ".cbf", "mccd": ".mccd"}
FORMATS = {"edf": "EDF", "smv": "SMV", "cbf": "CBF", "mccd": "TIFF"}


@pytest.mark.parametrize("kind", SUFFIXES)
def test_frames_are_those_that_fabio_reads(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{SUFFIXES[kind]}"
    frames = example(kind, path)
    with fabio.open(str(path)) as image:
        for index, frame in enumerate(frames):
            one = image.getframe(index) if len(frames) > 1 else image
            np.testing.assert_array_equal(one.data, frame)
    assert is_image_name(path.name)
    path.rename(tmp_path / "a")
    with open_frames(tmp_path / "a") as source:
        assert (source.format, source.count, source.shape, source.dtype) == (
            FORMATS[kind],
            len(frames),
            (24, 32),
            frames.dtype,
        )
        np.testing.assert_array_equal(source.read(0, len(frames)), frames)
        np.testing.assert_array_equal(source.view(len(frames) - 1), frames[-1:])
        assert (source.offsets is None) == (kind == "cbf")


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_edf_of_every_dtype(tmp_path: Path, dtype: str) -> None:
    frames = pixels((3, 24, 32), dtype)
    path = write_edf(tmp_path / "a.edf", frames, PSize_1="7.5e-05", Title="a = b { c")
    with open_frames(path) as source:
        assert source.dtype == np.dtype(dtype)
        assert source.metadata["pixel_size"] == pytest.approx(750_000)
        np.testing.assert_array_equal(source.read(0, 3), frames)
        stored = source.stored(0, 3)
        for frame, offset in zip(frames, stored.offsets, strict=True):
            assert os.pread(stored.file.number, frame.nbytes, offset) == frame.tobytes()


def edf_header(shape: tuple[int, int], order: str = "LowByteFirst", **more: object) -> bytes:
    items = {"HeaderID": "EH:000001:000000:000000", "ByteOrder": order, "DataType": "UnsignedShort"}
    items |= {"Dim_1": shape[1], "Dim_2": shape[0], "Size": shape[0] * shape[1] * 2} | more
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in items.items() if value is not None)
    return text.encode().ljust(510) + b"}\n"


def test_edf_by_other_programs(tmp_path: Path) -> None:
    """Big-endian, a general block, headers of many blocks, padding behind pixels and at the end."""
    frames = pixels((3, 5, 7), "u2")
    path = tmp_path / "a.edf"
    general = b"{\nEDF_DataFormatVersion = 2.40 ;\nEDF_BinarySize = 0 ;\nDataType = UnsignedShort ;\n".ljust(
        510
    )
    parts = [general + b"}\n"]
    for frame in frames:
        head = edf_header((5, 7), "HighByteFirst", Size=512, DataType=None, Title="x" * 5000)
        parts.append(head + frame.astype(">u2").tobytes().ljust(512, b"\0"))
    path.write_bytes(b"".join(parts) + b"\0" * 100)
    with fabio.open(str(path)) as image:
        assert image.nframes == 3
        np.testing.assert_array_equal(image.getframe(2).data, frames[2])
    with open_frames(path) as source:
        assert (source.count, source.available, source.offsets) == (3, 3, None)
        np.testing.assert_array_equal(source.read(0, 3), frames)


def test_edf_with_a_frame_of_another_kind(tmp_path: Path) -> None:
    frames = pixels((2, 5, 7), "u2")
    path = tmp_path / "a.edf"
    bodies = [(frames[0], {}), (frames[0, :3], {}), (frames[1], {})]
    path.write_bytes(b"".join(edf_header(frame.shape, **more) + frame.tobytes() for frame, more in bodies))
    with open_frames(path) as source:
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(2), frames[1:])
        with pytest.raises(FormatError, match=r"frame 1: a frame of shape \(3, 7\) uint16; the first is"):
            source.read(0, 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"Compression": "GZIP"}, "EDF with pixels compressed or in another file"),
        ({"EDF_BinaryFileName": "/etc/passwd"}, "EDF with pixels compressed or in another file"),
        ({"Dim_3": 4}, "three dimensions"),
        ({"Size": 69}, "frame 0: damaged EDF header: 69 bytes for pixels that take 70"),
        ({"Size": -512}, "damaged header: SIZE = -512"),
        ({"Dim_1": 0}, "damaged EDF header: Dim_1, Dim_2 = 0, 5"),
        ({"Dim_2": None}, "damaged header: DIM_2 = missing"),
        ({"Dim_1": 10**9, "Dim_2": 10**5, "Size": None}, "frame 0, byte .*: truncated"),
        ({"DataType": "Signed64", "Size": None}, "EDF with pixels of type int64 is not supported"),
        ({"DataType": "Complex"}, "damaged EDF header: DataType = Complex"),
        ({"ByteOrder": "?"}, "damaged EDF header: ByteOrder = ?"),
    ],
)
def test_edf_that_is_not_supported(tmp_path: Path, more: dict[str, object], message: str) -> None:
    (tmp_path / "a.edf").write_bytes(edf_header((5, 7), **more) + bytes(70))
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.edf")


@pytest.mark.parametrize("order", ["<", ">"])
def test_smv_of_detectors(tmp_path: Path, order: str) -> None:
    frame = pixels((24, 32), "u2")
    path = write_smv(tmp_path / "a.img", frame, order)
    with open_frames(path) as source:
        assert source.metadata["pixel_size"] == pytest.approx(512_000)
        assert (source.offsets is None) == (order == ">")
        np.testing.assert_array_equal(source.read(0)[0], frame)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4"])
def test_smv_of_dtrek(tmp_path: Path, dtype: str) -> None:
    frame = pixels((24, 32), dtype)
    DtrekImage(data=frame).write(str(tmp_path / "a.img"))
    with open_frames(tmp_path / "a.img") as source:
        assert source.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(source.read(0)[0], frame)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"DIM=2", b"DIM=3", "SMV with images of 3 dimensions"),
        (b"TYPE=unsigned_short", b"TYPE=mad", "SMV with pixels of type mad is not supported"),
        (b"TYPE=unsigned_short", b"COMPRESSION=lzw", "SMV with compression lzw"),
        (b"HEADER_BYTES=  512", b"HEADER_BYTES=999999", "no HEADER_BYTES"),
        (b"HEADER_BYTES=  512", b"HEADER_BYTES= 9999", "frame 0, byte .*: truncated within the SMV header"),
        (b"SIZE1=32", b"SIZE1=-2", "damaged header: SIZE1 = -2"),
        (b"SIZE1=32;", b"SIZE1=32\n\x1b[2J" + 100 * b"a" + b";", r"SIZE1 = 32\\n\\x1b\[2Ja{29}\.\.\.$"),
        (b"BYTE_ORDER=little", b"BYTE_ORDER=lit\x80le", r"SMV with BYTE_ORDER = lit\\x80le_endian is not"),
        (b"SIZE1=32", b"SIZE1=99999999", "frame 0, byte .*: truncated"),
    ],
)
def test_smv_that_is_not_supported(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write_smv(tmp_path / "a.img", pixels((24, 32), "u2"))
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(FormatError, match=message):
        open_frames(path)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4"])
def test_cbf_of_every_dtype(tmp_path: Path, dtype: str) -> None:
    frame = pixels((24, 32), dtype)
    with open_frames(write_cbf(tmp_path / "a.cbf", frame)) as source:
        assert source.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(source.read(0)[0], frame)


def test_minicbf_of_a_detector(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).poisson(3, (195, 487)).astype("i4")
    frame[:, 100:107] = -1
    frame[50, 60] = -2
    frame[51, 61] = 1_000_000
    path = write_cbf(
        tmp_path / "a.cbf", frame, "# Detector: PILATUS 100K\n# Pixel_size 172e-6 m x 172e-6 m\n"
    )
    with open_frames(path) as source:
        assert source.metadata["pixel_size"] == pytest.approx(1_720_000)
        assert source.read(0).min() == -2
        np.testing.assert_array_equal(source.read(0)[0], frame)


def test_cbf_with_several_images(tmp_path: Path) -> None:
    frames = pixels((3, 24, 32), "i4")
    parts = [write_cbf(tmp_path / "a.cbf", frame).read_bytes() for frame in frames]
    (tmp_path / "a.cbf").write_bytes(b"\r\n".join(parts))
    with open_frames(tmp_path / "a.cbf") as source:
        assert source.count == 3
        np.testing.assert_array_equal(source.read(0, 3), frames)
    (tmp_path / "a.cbf").write_bytes(b"\r\n".join(parts)[:-500])
    results = read_each(tmp_path / "a.cbf")
    np.testing.assert_array_equal(np.concatenate(results[:2]), frames[:2])
    assert "truncated" in str(results[2])


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (rb"Fastest-Dimension: 32", rb"Fastest-Dimension: 99999", "bytes are too few for 24 x 99999"),
        (rb"Fastest-Dimension: 32", rb"Fastest-Dimension: -2", "x-binary-size-fastest-dimension = -2"),
        (rb"Fastest-Dimension: 32", rb"Fastest-Dimension: 33", "damaged: [0-9]+ bytes hold no 792 pixels"),
        (rb"X-Binary-Size: \d+", rb"X-Binary-Size: 99999999", "frame 0, byte .*: truncated"),
        (rb"x-CBF_BYTE_OFFSET", rb"x-CBF_PACKED", "CBF with conversions x-CBF_PACKED is not supported"),
        (rb"signed 32-bit", rb"signed 64-bit", "CBF with pixels of type int64 is not supported"),
        (rb"signed 32-bit", rb"signed 33-bit", "CBF with pixels of type signed 33-bit integer is not supp"),
        (rb"signed 32-bit", rb"signed 16-bit", "damaged: pixels outside the range of int16"),
        (rb"\x0c\x1a\x04\xd5", rb"", "damaged, or truncated within the CBF header"),
    ],
)
def test_cbf_that_is_damaged(tmp_path: Path, old: bytes, new: bytes, message: str, checksum: bool) -> None:
    path = write_cbf(tmp_path / "a.cbf", pixels((24, 32), "i4"))
    data, count = re.subn(old, new, path.read_bytes())
    assert count == 1
    if not checksum:
        data = re.sub(rb"Content-MD5: .*?\r\n", b"", data)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message), open_frames(path) as source:
        source.read(0)


def test_cbf_with_the_wrong_checksum(tmp_path: Path) -> None:
    path = write_cbf(tmp_path / "a.cbf", pixels((24, 32), "i4"))
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    (result,) = read_each(path)
    assert "damaged: the pixels do not have the checksum" in str(result)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{SUFFIXES[kind]}"
    frames = example(kind, path)
    tail = {"edf": 0, "smv": 0, "mccd": 0, "cbf": len(b"\r\n\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;")}[kind]
    assert check_truncation(path, frames, tail=tail) == len(frames) - (not tail)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_mutated_files_give_format_errors_only(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{SUFFIXES[kind]}"
    example(kind, path)
    assert check_mutations(path, range(min(1000, path.stat().st_size)), 300, kind) > 0
    if kind == "cbf":  # damage to the pixels that no checksum tells of
        path.write_bytes(re.sub(rb"Content-MD5: .*?\r\n", b"", path.read_bytes()))
    assert check_mutations(path, range(path.stat().st_size), 200, kind) > 0


def test_measure(tmp_path: Path) -> None:
    frames = pixels((12, 24, 32), "u2")
    write_edf(tmp_path / "a.edf", frames[:8])
    for index, frame in enumerate(frames[8:]):
        write_smv(tmp_path / f"{index}.img", frame)
    sensor = camnorm.measure(tmp_path, screen="off")
    assert sensor.count == 12
    np.testing.assert_allclose(sensor.mean, frames.mean(0), rtol=1e-14)


def test_fabio_is_imported_when_needed_and_named_when_missing(tmp_path: Path) -> None:
    paths = [write_smv(tmp_path / "a.img", pixels((24, 32), "u2"))]
    paths += [write_edf(tmp_path / "a.edf", pixels((2, 24, 32), "u2"))]
    paths += [write_cbf(tmp_path / "a.cbf", pixels((24, 32), "i4"))]
    script = (
        "import sys\n"
        "from camnorm.io import open_frames\n"
        "sys.modules['fabio'] = None\n"
        "for path in sys.argv[1:]: open_frames(path).read(0)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True)
    message = f"{paths[2]}: to read CBF files, fabio is needed: pip install 'camnorm[fabio]'"
    assert message in result.stderr.replace("fabio.ext", "fabio")


def test_corrected_marccd_is_called_tiff(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / "set").mkdir(exist_ok=True)
        write_mccd(tmp_path / f"set/{i}.mccd", pixels((4, 24, 32), "u2")[i])
    sensor = camnorm.measure(tmp_path / "set")
    written = camnorm.correct(tmp_path / "set", sensor, tmp_path / "out")
    assert [path.name for path in written] == [f"{i}.tif" for i in range(4)]
    assert tifffile.imread(written[0]).shape == (24, 32)


# --- headers that say something else than the file, or nothing


@pytest.mark.parametrize("order", ["middle_endian", "bigger", "littl", "", None])
def test_smv_of_unknown_byte_order(tmp_path: Path, order: str | None) -> None:
    path = write_smv(tmp_path / "a.img", pixels((24, 32), "u2"))
    item = b"" if order is None else f"BYTE_ORDER={order};\n".encode()
    path.write_bytes(path.read_bytes().replace(b"BYTE_ORDER=little_endian;\n", item))
    with pytest.raises(
        FormatError, match=f"SMV with BYTE_ORDER = {order or ('missing' if order is None else '')}"
    ):
        open_frames(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b"ByteOrder = LowByteFirst",
            b"ByteOrder = LowestFirst",
            "damaged EDF header: ByteOrder = LowestFirst",
        ),
        (
            b"DataType = UnsignedShort",
            b"DataType = UnsignedThing",
            "damaged EDF header: DataType = UnsignedThing",
        ),
        (b"HeaderID", b"Compression = North ; HeaderID", "EDF with pixels compressed or in another file"),
    ],
)
def test_edf_of_unknown_kind(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write_edf(tmp_path / "a.edf", pixels((1, 24, 32), "u2"))
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(FormatError, match=message):
        open_frames(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"LITTLE_ENDIAN", b"BIG_ENDIAN", "CBF with pixels in the order BIG_ENDIAN is not supported"),
        (b"LITTLE_ENDIAN", b"MIDDLE", "CBF with pixels in the order MIDDLE is not supported"),
        (
            b"X-Binary-Element-Type:",
            b"X-Binary-Element-Typ:",
            "CBF with pixels of type unknown is not supported",
        ),
        (
            b"X-Binary-Size-Fastest",
            b"X-Binary-Size-Third-Dimension: 4\r\nX-Binary-Size-Fastest",
            "three dimensions",
        ),
    ],
)
def test_cbf_of_unknown_kind(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write_cbf(tmp_path / "a.cbf", pixels((24, 32), "i4"))
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        open_frames(path)


def test_smv_and_edf_with_more_frames_than_their_header_says(tmp_path: Path) -> None:
    frames = pixels((3, 24, 32), "u2")
    paths = write_smv(tmp_path / "a.img", frames[0]), write_edf(tmp_path / "a.edf", frames[:1])
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data + frames[1:].astype("<u2").tobytes())
        with open_frames(path) as source:
            np.testing.assert_array_equal(source.read(0, 3), frames)
            assert [remark.kind for remark in source.remarks] == ["more frames"]
        path.write_bytes(data + bytes(512))
        with open_frames(path) as source:
            assert (source.count, source.remarks) == (1, ())
        path.write_bytes(data + b"x" * 512)
        with pytest.raises(FormatError, match="512 bytes longer than its header says"):
            open_frames(path)


def test_edf_whose_image_is_smaller_than_its_bytes(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", pixels((1, 24, 32), "u2"))
    data = path.read_bytes()
    assert b"Dim_2 = 24" in data
    path.write_bytes(data.replace(b"Dim_2 = 24", b"Dim_2 = 12"))
    with pytest.raises(FormatError, match="1536 bytes for pixels that take 768, which are more than padding"):
        open_frames(path)
