"""Files of electron microscopes' software, written here byte by byte; rosettasciio reads them too if it is
installed (it is under the GPL, so the tests do without)."""

from __future__ import annotations

import logging
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm.errors import FormatError
from camnorm.io import open_frames
from camnorm.io.base.registry import is_image_name
from damage import check_mutations, check_truncation, read_each


def pixels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype[0] == "f":
        return rng.normal(100, 30, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def write_mib(path: Path, frames: np.ndarray, header: int = 384) -> Path:
    _, y, x = frames.shape
    kind = f"U{8 * frames.itemsize:02d}"
    parts = []
    for index, frame in enumerate(frames, 1):
        text = f"MQ1,{index:06d},{header:05d},01,{x:04d},{y:04d},{kind},   1x1,01,"
        text += "2024-01-01 10:00:00.000000,0.001000,0,0,0,1.2E+2,5.11E+2,0,0,0,0,0,0,0,"
        text += "MQ1A,2024-01-01T10:00:00.000000000Z,1000000ns,12,"
        parts.append(text.encode().ljust(header) + frame.astype(frame.dtype.newbyteorder(">")).tobytes())
    path.write_bytes(b"".join(parts))
    return path


SER_TYPES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}


def write_ser(path: Path, frames: np.ndarray, version: int = 0x220, total: int | None = None) -> Path:
    n, y, x = frames.shape
    total = n if total is None else total
    number = "<I" if version < 0x220 else "<Q"
    dimension = struct.pack("<IddII6sI", total, 0.0, 1.0, 0, 6, b"Number", 0)
    table = 22 + struct.calcsize(number) + 4 + len(dimension)
    place = table + 2 * total * struct.calcsize(number)
    places, tags, parts = [], [], []
    for frame in frames:
        element = struct.pack(
            "<ddiddiHII", 0.0, 2e-10, 0, 0.0, 2e-10, 0, SER_TYPES[frame.dtype.str[1:]], x, y
        )
        element += frame.tobytes()
        tag = struct.pack("<HHI", 0x4152, 0, 1_700_000_000)
        places.append(place)
        tags.append(place + len(element))
        parts.append(element + tag)
        place += len(element) + len(tag)
    unused = [0] * (total - n)
    numbers = b"".join(struct.pack(number, value) for value in (*places, *unused, *tags, *unused))
    head = struct.pack("<HHHIIII", 0x4949, 0x197, version, 0x4122, 0x4152, total, n)
    path.write_bytes(
        head + struct.pack(number, table) + struct.pack("<I", 1) + dimension + numbers + b"".join(parts)
    )
    return path


def tvips_parts(frames: np.ndarray, version: int = 2, extra: int = 0) -> tuple[bytes, bytes]:
    """The main header, and the frames with theirs."""
    _, y, x = frames.shape
    size = 12 if version == 1 else 60 + extra
    head = struct.pack("<13I", 256, version, x, y, 8 * frames.itemsize, 0, 0, 1, 1, 15, 200, 1000, size)
    parts = [
        struct.pack("<III", index, 1_700_000_000, 5).ljust(size, b"\0") + frame.tobytes()
        for index, frame in enumerate(frames)
    ]
    return (head + 34 * b"TVIPS "), b"".join(parts)


def write_tvips(path: Path, frames: np.ndarray, version: int = 2, extra: int = 0) -> Path:
    path.write_bytes(b"".join(tvips_parts(frames, version, extra)))
    return path


DM_TYPES = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12}
DM_CODES = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10}


class DmWriter:
    """Tags of DM3 and DM4; values are numbers (int as u4, float as f4), text, arrays, structs and groups."""

    def __init__(self, version: int, order: str = "<") -> None:
        self._long = ">i" if version == 3 else ">q"
        self._version = version
        self._order = order

    def file(self, root: dict[str, Any]) -> bytes:
        body = self.group(root)
        order = struct.pack(">i", self._order == "<")
        return struct.pack(">i", self._version) + struct.pack(self._long, len(body)) + order + body + bytes(8)

    def group(self, tags: dict[str, Any] | list[Any]) -> bytes:
        items = tags.items() if isinstance(tags, dict) else (("", value) for value in tags)
        body = b"".join(self.tag(name, value) for name, value in items)
        return b"\1\0" + struct.pack(self._long, len(tags)) + body

    def tag(self, name: str, value: Any) -> bytes:
        inner = self.group(value) if isinstance(value, dict | list) else self.value(value)
        size = struct.pack(">q", len(inner)) if self._version == 4 else b""
        kind = 20 if isinstance(value, dict | list) else 21
        return struct.pack(">BH", kind, len(name)) + name.encode() + size + inner

    def value(self, value: Any) -> bytes:
        if isinstance(value, str):
            value = np.frombuffer(value.encode("utf-16le"), "<u2")
        if isinstance(value, np.ndarray):
            info = [20, DM_CODES[value.dtype.str[1:]], value.size]
            data = value.astype(value.dtype.newbyteorder(self._order)).tobytes()
        elif isinstance(value, tuple):
            info = [15, 0, len(value), *(number for _ in value for number in (0, 6))]
            data = struct.pack(f"{self._order}{len(value)}f", *value)
        elif isinstance(value, float):
            info, data = [6], struct.pack(self._order + "f", value)
        else:
            info, data = [5], struct.pack(self._order + "I", value)
        return b"%%%%" + struct.pack(f">{len(info) + 1}{self._long[1:]}", len(info), *info) + data


def dm_image(frames: np.ndarray, kind: int, unit: str = "nm") -> dict[str, Any]:
    calibration = [{"Origin": 0.0, "Scale": 0.25, "Units": unit} for _ in frames.shape]
    calibrations = {"Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""}, "Dimension": calibration}
    data = {"Calibrations": calibrations, "Data": frames.reshape(-1), "DataType": kind}
    return {
        "ImageData": data
        | {"Dimensions": [int(size) for size in frames.shape[::-1]], "PixelDepth": frames.itemsize},
        "ImageTags": {"Meta Data": {"Format": "Image"}, "Rect": (1.0, 2.0, 3.0), "": [1, 2]},
        "Name": "test",
    }


def write_dm(path: Path, frames: np.ndarray, version: int = 4, order: str = "<", **more: Any) -> Path:
    thumbnail = dm_image(np.zeros((8, 8), "i4"), 23)
    images = [thumbnail, dm_image(frames, more.pop("kind", DM_TYPES[frames.dtype.str[1:]]), **more)]
    root = {"ApplicationBounds": np.zeros(4, "i4"), "ImageList": images, "Thumbnails": [{"ImageIndex": 0}]}
    path.write_bytes(DmWriter(version, order).file(root | {"InImageMode": 1}))
    return path


WRITERS = {
    "mib": (write_mib, "a.mib", "MIB"),
    "ser": (write_ser, "a.ser", "SER"),
    "tvips": (write_tvips, "a_000.tvips", "TVIPS"),
    "dm": (write_dm, "a.dm4", "DM"),
}
DTYPES = {
    "mib": ["u1", "u2", "u4"],
    "ser": list(SER_TYPES),
    "tvips": ["u1", "u2"],
    "dm": list(DM_TYPES),
}
CASES = [(kind, dtype) for kind in WRITERS for dtype in DTYPES[kind]]


@pytest.mark.parametrize(("kind", "dtype"), CASES)
def test_frames_are_read_as_they_were_written(tmp_path: Path, kind: str, dtype: str) -> None:
    write, name, format_ = WRITERS[kind]
    frames = pixels((4, 12, 20), dtype)
    path = write(tmp_path / name, frames)
    assert is_image_name(name.upper())
    for place in (path, tmp_path / "renamed"):
        path.rename(place)
        with open_frames(place) as source:
            assert (source.format, source.count, source.available, source.shape, source.dtype) == (
                format_,
                4,
                4,
                (12, 20),
                np.dtype(dtype),
            )
            np.testing.assert_array_equal(source.read(0, 4), frames)
            np.testing.assert_array_equal(source.view(2), frames[2:3])
            np.testing.assert_array_equal(source.view(1, 3), frames[1:3])
            swapped = kind == "mib" and dtype != "u1"
            assert (source.offsets is None) == swapped
            if not swapped:
                stored = source.stored(1, 4)
                for frame, offset in zip(frames[1:], stored.offsets, strict=True):
                    assert os.pread(stored.file.number, frame.nbytes, offset) == frame.tobytes()
        path = place


@pytest.mark.parametrize("kind", WRITERS)
def test_rosettasciio_reads_the_same(tmp_path: Path, kind: str) -> None:
    """It turns rows of SER and MIB upside down, and takes columns for rows in SER."""
    pytest.importorskip("rsciio")
    module = {"mib": "quantumdetector", "ser": "tia", "tvips": "tvips", "dm": "digitalmicrograph"}[kind]
    plugin = pytest.importorskip(f"rsciio.{module}")
    write, name, _ = WRITERS[kind]
    shape = (4, 16, 16) if kind == "ser" else (4, 12, 20)
    frames = pixels(shape, "u2")
    logging.getLogger("rsciio").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (read, *_) = plugin.file_reader(str(write(tmp_path / name, frames)))
    data = read["data"]
    np.testing.assert_array_equal(data[..., ::-1, :] if kind in ("mib", "ser") else data, frames)


def test_mib_with_a_longer_header(tmp_path: Path) -> None:
    frames = pixels((3, 12, 20), "u2")
    with open_frames(write_mib(tmp_path / "a.mib", frames, 768)) as source:
        np.testing.assert_array_equal(source.read(0, 3), frames)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"U16", b"R64", "MIB with pixels of type R64 is not supported"),
        (b"0012,U16", b"0000,U16", "damaged MIB header: 00384, 0020, 0000"),
        (b",00384,", b",-0384,", "damaged MIB header: -0384, 0020, 0012"),
        (b",00384,", b",\n\x1b[2J,", r"damaged MIB header: \\n\\x1b\[2J, 0020, 0012"),
        (b"0020,0012", b"999999,999999", "frame 0, byte .*: truncated"),
        (b",", b";", "not an image file|truncated within the MIB header"),
    ],
)
def test_mib_that_is_not_supported(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write_mib(tmp_path / "a.mib", pixels((3, 12, 20), "u2"))
    data = path.read_bytes()
    path.write_bytes(data[:384].replace(old, new) + data[384:])
    with pytest.raises(FormatError, match=message):
        open_frames(path)


def test_ser_of_old_versions_and_stopped_series(tmp_path: Path) -> None:
    frames = pixels((4, 12, 20), "u2")
    with open_frames(write_ser(tmp_path / "a.ser", frames, 0x210, total=7)) as source:
        assert source.count == 4
        assert source.metadata["pixel_size"] == pytest.approx(2.0)
        np.testing.assert_array_equal(source.read(0, 4), frames)


def test_ser_with_a_frame_of_another_kind(tmp_path: Path) -> None:
    frames = pixels((4, 12, 20), "u2")
    path = write_ser(tmp_path / "a.ser", frames)
    data = bytearray(path.read_bytes())
    place = data.index(frames[2].tobytes()) - 10
    data[place : place + 2] = struct.pack("<H", 5)
    path.write_bytes(data)
    with open_frames(path) as source:
        assert source.offsets is None
        np.testing.assert_array_equal(source.read(0, 2), frames[:2])
        np.testing.assert_array_equal(source.read(3), frames[3:])
        with pytest.raises(FormatError, match="frame 2: damaged, or a frame of another kind"):
            source.read(0, 4)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (6, struct.pack("<I", 0x4120), "SER that holds no images is not supported"),
        (18, struct.pack("<I", 0), "truncated within the SER header, or no images in it"),
        (22, struct.pack("<Q", 2**63), "truncated within the SER header"),
        (18, struct.pack("<I", 2**32 - 1), ""),
    ],
)
def test_ser_that_is_damaged(tmp_path: Path, place: int, value: bytes, message: str) -> None:
    path = write_ser(tmp_path / "a.ser", pixels((4, 12, 20), "u2"))
    data = bytearray(path.read_bytes())
    data[place : place + len(value)] = value
    path.write_bytes(data)
    if message:
        with pytest.raises(FormatError, match=message):
            open_frames(path)
        return
    with open_frames(path) as source:
        assert source.count == 2**32 - 1
        assert source.available < 100


def test_ser_of_complex_pixels(tmp_path: Path) -> None:
    frames = pixels((1, 12, 20), "u2")
    path = write_ser(tmp_path / "a.ser", frames)
    data = bytearray(path.read_bytes())
    place = data.index(frames[0].tobytes()) - 10
    data[place : place + 2] = struct.pack("<H", 9)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="SER with pixels of type 9 is not supported"):
        open_frames(path)


@pytest.mark.parametrize(("version", "extra"), [(1, 0), (2, 0), (2, 68)])
def test_tvips_recordings_of_several_files(tmp_path: Path, version: int, extra: int) -> None:
    frames = pixels((5, 12, 20), "u2")
    write_tvips(tmp_path / "r_000.tvips", frames[:3], version, extra)
    (tmp_path / "r_001.tvips").write_bytes(tvips_parts(frames[3:], version, extra)[1])
    for name, expected in (("r_000.tvips", frames[:3]), ("r_001.tvips", frames[3:])):
        with open_frames(tmp_path / name) as source:
            np.testing.assert_array_equal(source.read(0, source.count), expected)
    sensor = camnorm.measure(tmp_path, screen="off")
    assert sensor.count == 5
    (tmp_path / "r_000.tvips").unlink()
    with pytest.raises(FormatError, match=r"r_000\.tvips, which holds the header, is not beside it"):
        open_frames(tmp_path / "r_001.tvips")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (4, 3, "TVIPS of version 3 is not supported"),
        (16, 12, "TVIPS with pixels of 12 bits is not supported"),
        (8, 0, "damaged TVIPS header: 12 x 0 pixels"),
        (8, 2**32 - 1, "frame 0, byte .*: truncated"),
        (48, 2**32 - 1, "frame 0, byte .*: truncated"),
        (0, 2**32 - 1, "frame 0, byte .*: truncated"),
    ],
)
def test_tvips_that_is_not_supported(tmp_path: Path, place: int, value: int, message: str) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", pixels((4, 12, 20), "u2"))
    data = bytearray(path.read_bytes())
    data[place : place + 4] = struct.pack("<I", value)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        open_frames(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("shape", [(12, 20), (5, 12, 20), (2, 3, 12, 20)])
def test_dm_images_and_stacks(tmp_path: Path, shape: tuple[int, ...], version: int, order: str) -> None:
    frames = pixels(shape, "f4")
    path = write_dm(tmp_path / f"a.dm{version}", frames, version, order)
    with open_frames(path) as source:
        assert source.metadata["pixel_size"] == pytest.approx(2.5)
        assert (source.offsets is None) == (order == ">")
        np.testing.assert_array_equal(source.read(0, source.count), frames.reshape(-1, 12, 20))


@pytest.mark.parametrize(
    ("unit", "size"), [("nm", 2.5), ("µm", 2500), ("Å", 0.25), ("1/nm", None), ("", None)]
)
def test_dm_pixel_sizes(tmp_path: Path, unit: str, size: float | None) -> None:
    with open_frames(write_dm(tmp_path / "a.dm3", pixels((12, 20), "f4"), 3, unit=unit)) as source:
        assert source.metadata.get("pixel_size") == (None if size is None else pytest.approx(size))


def test_dm_that_is_not_supported(tmp_path: Path) -> None:
    frames = pixels((12, 20), "f8")
    with pytest.raises(FormatError, match="DM with pixels of the types 23, 3 is not supported"):
        open_frames(write_dm(tmp_path / "a.dm4", frames, kind=3))
    with pytest.raises(FormatError, match="DM with a spectrum is not supported"):
        open_frames(write_dm(tmp_path / "a.dm4", frames.reshape(-1)))
    with pytest.raises(FormatError, match=r"damaged: 1920 bytes of pixels for \[20, 12\] float32"):
        open_frames(write_dm(tmp_path / "a.dm4", frames, kind=2))


@pytest.mark.parametrize("kind", WRITERS)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    write, name, _ = WRITERS[kind]
    frames = pixels((6, 12, 20), "u2")
    path = write(tmp_path / name, frames)
    tail = {"mib": 0, "ser": 8, "tvips": 0}.get(kind, len(path.read_bytes().partition(frames.tobytes())[2]))
    most = check_truncation(path, frames, tail=tail)
    assert most == (5 if kind != "dm" else 0)  # what describes the pixels of DM stands behind them


@pytest.mark.parametrize("kind", WRITERS)
def test_mutated_files_give_format_errors_only(tmp_path: Path, kind: str) -> None:
    write, name, _ = WRITERS[kind]
    path = write(tmp_path / name, pixels((4, 12, 20), "u2"))
    size = path.stat().st_size
    places = [*range(min(size, 450)), *(range(size) if kind == "dm" else range(0, size, 9))]
    assert check_mutations(path, places, 400, kind) > 0


def test_dm_tags_without_end(tmp_path: Path) -> None:
    """Counts and depths that no file can hold."""
    writer = DmWriter(4)
    deep: dict[str, Any] = {"x": 1}
    for _ in range(100):
        deep = {"g": deep}
    (tmp_path / "a.dm4").write_bytes(writer.file(deep))
    with pytest.raises(FormatError, match="damaged tags"):
        open_frames(tmp_path / "a.dm4")
    body = writer.file({"x": 1})
    (tmp_path / "a.dm4").write_bytes(body[:18] + struct.pack(">q", 2**62) + body[26:])
    with pytest.raises(FormatError, match="damaged"):
        open_frames(tmp_path / "a.dm4")
    info = struct.pack(">8q", 7, 20, 20, 20, 20, 15, 0, 2**62)
    tag = struct.pack(">BHq", 21, 0, 0) + b"%%%%" + info
    (tmp_path / "a.dm4").write_bytes(body[:18] + struct.pack(">q", 1) + tag)
    with pytest.raises(FormatError, match="damaged"):
        open_frames(tmp_path / "a.dm4")


def test_measure(tmp_path: Path) -> None:
    frames = pixels((16, 12, 20), "u2")
    for index, (write, name, _) in enumerate(WRITERS.values()):
        write(tmp_path / name, frames[4 * index : 4 * index + 4])
    sensor = camnorm.measure(tmp_path, screen="off")
    assert sensor.count == 16
    np.testing.assert_allclose(sensor.mean, frames.mean(0), rtol=1e-14)


@pytest.mark.parametrize("kind", WRITERS)
def test_broken_files_have_no_frames(tmp_path: Path, kind: str) -> None:
    write, name, _ = WRITERS[kind]
    path = write(tmp_path / name, pixels((4, 12, 20), "u2"))
    path.write_bytes(path.read_bytes()[:60])
    (result,) = read_each(path)
    assert isinstance(result, FormatError)


# --- headers that say something else than the file


def test_ser_images_that_the_header_does_not_call_valid(tmp_path: Path) -> None:
    frames = pixels((5, 12, 20), "u2")
    path = write_ser(tmp_path / "a.ser", frames)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 18, 3)
    path.write_bytes(data)
    with open_frames(path) as source:
        assert source.count == 5
        np.testing.assert_array_equal(source.read(0, 5), frames)
        (remark,) = source.remarks
        assert remark.text.startswith("the header says 3 frames, but the file holds 5")


def test_ser_series_that_was_stopped(tmp_path: Path) -> None:
    frames = pixels((3, 12, 20), "u2")
    with open_frames(write_ser(tmp_path / "a.ser", frames, total=9)) as source:
        assert (source.count, source.remarks) == (3, ())
        np.testing.assert_array_equal(source.read(0, 3), frames)


def test_mib_whose_frames_are_of_another_size(tmp_path: Path) -> None:
    """Each frame has its header: where the last one is not at its place, all frames are shifted."""
    frames = pixels((4, 12, 20), "u2")
    path = write_mib(tmp_path / "a.mib", frames)
    data = path.read_bytes()
    path.write_bytes(data.replace(b",0020,0012,", b",0020,0010,"))
    with pytest.raises(FormatError, match=r"frame 3, byte \d+: damaged: no header before the frame"):
        open_frames(path)


def test_dm_whose_image_is_complex_beside_a_small_plain_one(tmp_path: Path) -> None:
    """The small one is not taken in its place."""
    images = [dm_image(pixels((12, 20), "f8"), 3), dm_image(pixels((2, 3), "u1"), DM_TYPES["u1"])]
    (tmp_path / "a.dm4").write_bytes(DmWriter(4).file({"ImageList": images, "InImageMode": 1}))
    with pytest.raises(FormatError, match="DM with pixels of the types 3, 6 is not supported"):
        open_frames(tmp_path / "a.dm4")
