"""EER: electrons written bit by bit, read by camnorm, by imagecodecs and tifffile, and by plain Python."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile

from camnorm import _core
from camnorm.errors import FormatError, UnreadableError
from camnorm.io import ReadOptions, open_frames, stream_frames
from camnorm.io.base.registry import is_image_name
from eer_files import CODINGS, SHAPE, Electrons, electrons_of, encode, write_eer

# Decoding at higher sampling and into given arrays is right since 2025.11.11.
CURRENT = [int(n) for n in imagecodecs.__version__.split(".")[:3]] >= [2025, 11, 11]


def decode(
    data: bytes, bits: tuple[int, int, int], sampling: int, shape: tuple[int, int] = SHAPE
) -> np.ndarray:
    """The same backwards, digit by digit."""
    digits = "".join(f"{byte:08b}"[::-1] for byte in data)
    frame = np.zeros((shape[0] * sampling, shape[1] * sampling), int)
    at, pixel = 0, 0

    def take(count: int) -> int:
        nonlocal at
        value = int(digits[at : at + count][::-1], 2)
        at += count
        return value

    while True:
        skip = take(bits[0])
        pixel += skip
        if pixel == shape[0] * shape[1]:
            return frame
        assert pixel < shape[0] * shape[1]
        if skip == 2 ** bits[0] - 1:
            continue
        row, column = divmod(pixel, shape[1])
        x, y = (((take(n) + 2 ** (n - 1)) % 2**n) / 2**n for n in bits[1:])
        frame[int((row + y) * sampling), int((column + x) * sampling)] += 1
        pixel += 1


def movie(path: Path, count: int, **options: object) -> tuple[Path, list[bytes]]:
    frames = [encode(electrons_of(0.05, seed), CODINGS[65001]) for seed in range(count)]
    return write_eer(path, frames, **options), frames  # type: ignore[arg-type]


def sums(frames: list[bytes], grouping: int, sampling: int = 1) -> np.ndarray:
    raw = np.array([decode(data, CODINGS[65001], sampling) for data in frames])
    groups = len(raw) // grouping
    return raw[: groups * grouping].reshape(groups, grouping, *raw.shape[1:]).sum(1)


def last(*_: object) -> Electrons:
    return [(SHAPE[0] * SHAPE[1] - 1, 0, 1)]


# --- electrons


@pytest.mark.parametrize("sampling", [1, 2, 4])
@pytest.mark.parametrize("bits", [(8, 2, 2), (7, 2, 2), (7, 1, 1), (7, 2, 1), (6, 1, 2), (12, 2, 2)])
@pytest.mark.parametrize("rate", [0, 0.002, 0.05, 0.5, 1, None], ids=str)
def test_electrons(rate: float | None, bits: tuple[int, int, int], sampling: int) -> None:
    finest = 2 ** bits[1], 2 ** bits[2]
    electrons = last() if rate is None else electrons_of(rate, 1, finest=finest)
    if sampling > min(finest):
        return
    data = encode(electrons, bits)
    expected = decode(data, bits, sampling)
    # And by what was written.
    written = np.zeros_like(expected)
    for pixel, x, y in electrons:
        row, column = divmod(pixel, SHAPE[1])
        written[
            row * sampling + y * sampling // finest[1], column * sampling + x * sampling // finest[0]
        ] += 1
    np.testing.assert_array_equal(expected, written)
    for dtype in (np.uint8, np.uint16):
        counts = np.ones(expected.shape, dtype)
        _core.add_electrons([data], *bits, sampling, counts)
        np.testing.assert_array_equal(counts, expected + 1)
    if sampling == 1 and hasattr(imagecodecs, "eer_decode"):
        np.testing.assert_array_equal(imagecodecs.eer_decode(data, SHAPE, *bits), expected)
    if CURRENT and bits[1] == bits[2]:
        out = np.zeros(expected.shape, np.uint16)
        imagecodecs.eer_decode(data, out.shape, *bits, superres=sampling.bit_length() - 1, out=out)
        np.testing.assert_array_equal(out, expected)


def test_electrons_that_do_not_end_with_the_last_pixel() -> None:
    data = encode(electrons_of(0.05, 1), (7, 2, 2))
    counts = np.zeros(SHAPE, np.uint8)
    for size in range(len(data) - 8):
        with pytest.raises(UnreadableError, match=r"the electrons end at pixel \d+ of 960"):
            _core.add_electrons([data[:size]], 7, 2, 2, 1, counts)
    with pytest.raises(UnreadableError, match=r"the electrons end at pixel 9\d\d of 958"):
        _core.add_electrons([data], 7, 2, 2, 1, np.zeros((1, 958), np.uint8))
    # What stands behind them is of no matter.
    expected = decode(data, (7, 2, 2), 1)
    for behind in (b"\xff" * 9, b"ThermoFisherECComprOK000"):
        counts[:] = 0
        _core.add_electrons([data + behind], 7, 2, 2, 1, counts)
        np.testing.assert_array_equal(counts, expected)


def test_the_end_of_the_bits_may_be_the_end_of_the_pixels() -> None:
    full = [(pixel, 0, 0) for pixel in range(16)]  # 11 bits each, 176 in all
    data = encode(full, (7, 2, 2), 16)[:22]
    counts = np.zeros((4, 4), np.uint8)
    _core.add_electrons([data], 7, 2, 2, 1, counts)
    assert counts.tolist() == [[1] * 4] * 4
    with pytest.raises(UnreadableError, match="the electrons end at pixel 15 of 16"):
        _core.add_electrons([data[:-1]], 7, 2, 2, 1, counts)


@pytest.mark.parametrize(
    ("bits", "sampling", "counts", "error", "message"),
    [
        ((3, 2, 2), 1, np.zeros(SHAPE, "u1"), ValueError, r"electrons of 3 \+ 2 \+ 2 bits are not"),
        ((13, 2, 2), 1, np.zeros(SHAPE, "u1"), ValueError, r"electrons of 13 \+ 2 \+ 2 bits are not"),
        ((7, 0, 2), 1, np.zeros(SHAPE, "u1"), ValueError, r"electrons of 7 \+ 0 \+ 2 bits are not"),
        ((7, 2, 3), 1, np.zeros(SHAPE, "u1"), ValueError, r"electrons of 7 \+ 2 \+ 3 bits are not"),
        ((7, 2, 2), 3, np.zeros(SHAPE, "u1"), ValueError, "sampling must be 1, 2 or 4, not 3"),
        ((7, 2, 1), 4, np.zeros(SHAPE, "u1"), ValueError, "are not known to 1/4 pixel"),
        ((7, 2, 2), 1, np.zeros(SHAPE, "f4"), TypeError, "in uint8 or uint16, not float32"),
        ((7, 2, 2), 2, np.zeros((3, 8), "u1"), ValueError, "of whole pixels of the sensor"),
        ((7, 2, 2), 1, np.zeros((24, 80), "u1")[:, ::2], ValueError, "one frame without gaps"),
        ((7, 2, 2), 1, np.zeros((2, *SHAPE), "u1"), ValueError, "shape"),
    ],
)
def test_electrons_that_cannot_be_added(
    bits: tuple[int, int, int], sampling: int, counts: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _core.add_electrons([bytes(100)], *bits, sampling, counts)


# --- files


@pytest.mark.parametrize("strips", [1, 3])
@pytest.mark.parametrize("with_total", [False, True])
@pytest.mark.parametrize("compression", CODINGS)
def test_groups_of_raw_frames(tmp_path: Path, compression: int, with_total: bool, strips: int) -> None:
    bits = CODINGS[compression]
    finest = 2 ** bits[1], 2 ** bits[2]
    frames = [encode(electrons_of(0.05, seed, finest=finest), bits) for seed in range(11)]
    path = write_eer(
        tmp_path / "a.eer",
        frames,
        compression=compression,
        bits=bits if compression == 65002 else None,
        total=np.full(SHAPE, 7, np.uint8) if with_total else None,
        strips=strips,
    )
    for sampling in (1, 2, 4):
        options = ReadOptions(eer_grouping=3, eer_sampling=sampling)  # type: ignore[arg-type]
        if sampling > min(finest):
            with pytest.raises(FormatError, match="not known to 1/4 pixel: eer_sampling must be less"):
                open_frames(path, options)
            continue
        raw = np.array([decode(data, bits, sampling) for data in frames])
        expected = raw[:9].reshape(3, 3, *raw.shape[1:]).sum(1)
        with open_frames(path, options) as source:
            assert (source.format, source.count, source.available) == ("EER", 3, 3)
            assert (source.shape, source.dtype) == (raw.shape[1:], np.uint8)
            assert source.offsets is None
            assert source.metadata == {
                "raw_frames": 11,
                "raw_frames_left_out": 2,
                "grouping": 3,
                "sampling": sampling,
            }
            np.testing.assert_array_equal(source.read(0, 3), expected)
            np.testing.assert_array_equal(source.view(1), expected[1:2])


def test_pages_are_those_of_tifffile(tmp_path: Path) -> None:
    items = '<item name="numberOfFrames">5</item>'
    path, _ = movie(tmp_path / "a.eer", 5, items=items)
    with tifffile.TiffFile(path) as tiff, open_frames(path, ReadOptions(eer_grouping=1)) as source:
        assert tiff.is_eer
        if hasattr(imagecodecs, "eer_decode"):
            for index, page in enumerate(tiff.pages):
                np.testing.assert_array_equal(source.read(index)[0], page.asarray())


def test_many_raw_frames_in_a_group(tmp_path: Path) -> None:
    data = encode([(5, 0, 0)], (7, 2, 2))
    path = write_eer(tmp_path / "a.eer", [data] * 300)
    for grouping, dtype in ((255, np.uint8), (256, np.uint16), (300, np.uint16)):
        with open_frames(path, ReadOptions(eer_grouping=grouping)) as source:
            told = source.metadata["grouping"]
            assert (told, source.dtype, source.count) == (grouping, dtype, 1)
            assert source.read(0)[0].reshape(-1)[4:7].tolist() == [0, told, 0]
    message = "300 raw frames are fewer than those of one frame, eer_grouping=301"
    with pytest.raises(FormatError, match=message):  # a frame of fewer would be of another dose
        open_frames(path, ReadOptions(eer_grouping=301))
    with pytest.raises(ValueError, match="eer_grouping must be at most 65535, not 65536"):
        ReadOptions(eer_grouping=65536)


def item(name: str, value: object, unit: str | None = None) -> str:
    return f'<item name="{name}"' + (f' unit="{unit}"' if unit else "") + f">{value}</item>"


@pytest.mark.parametrize(
    ("items", "grouping", "metadata"),
    [
        (None, 40, {}),
        ("", 40, {}),
        (item("totalDose", 2, "e/pixel"), 32, {"dose": 2}),  # 50 pages
        (item("totalDose", 2, "e/pixel") + item("numberOfFrames", 10), 4, {"dose": 2}),
        (item("totalDose", 2.1, "e/pixel") + item("numberOfFrames", 10), 4, {"dose": 2.1}),
        (item("totalDose", 500, "e/pixel"), 1, {"dose": 500}),
        (item("totalDose", 1e-9, "e/pixel"), 50, {"dose": 1e-9}),
        (item("meanDoseRate", 1.5, "e/pixel/s") + item("exposureTime", 2, "s"), 16, {"dose": 3}),
        (item("meanDoseRate", 1.5, "e/pixel/s") + item("exposureTime", 2, "ms"), 40, {}),
        (item("totalDose", 2, "e/Angstrom^2"), 40, {}),
        (item("totalDose", "many", "e/pixel"), 40, {}),
        (item("totalDose", "nan", "e/pixel"), 40, {}),
        (item("totalDose", 0, "e/pixel"), 40, {}),
        (item("totalDose", 2, "e/pixel") + item("numberOfFrames", 0), 32, {"dose": 2}),
        (item("sensorPixelSize.width", 8.2e-11, "m"), 40, {"pixel_size": pytest.approx(0.82)}),
        (item("sensorPixelSize.width", 1.4e-5, "m"), 40, {}),  # of the sensor itself
    ],
)
@pytest.mark.parametrize("with_total", [False, True])
def test_dose_tells_the_grouping(
    tmp_path: Path, with_total: bool, items: str | None, grouping: int, metadata: dict[str, object]
) -> None:
    path, frames = movie(
        tmp_path / "a.eer", 50, items=items, total=np.zeros(SHAPE, np.uint8) if with_total else None
    )
    with open_frames(path) as source:
        told = dict(source.metadata)
        assert told.pop("raw_frames_left_out") == 50 % grouping
        assert told == {"raw_frames": 50, "grouping": grouping, "sampling": 1, **metadata}
        np.testing.assert_array_equal(source.read(0, source.count), sums(frames, grouping))
    if "pixel_size" in metadata:
        with open_frames(path, ReadOptions(eer_sampling=2)) as source:
            assert source.metadata["pixel_size"] == pytest.approx(0.41)


@pytest.mark.parametrize("name", ["g.mrc", "g.tif", "g.gain"])
@pytest.mark.parametrize("operation", ["auto", "multiply", "divide"])
def test_gain_of_eer_is_that_of_relion(tmp_path: Path, name: str, operation: str) -> None:
    """Rows are those of the file, whatever its format; only a .gain file holds factors."""
    path, frames = movie(tmp_path / "a.eer", 8)
    gain = np.random.default_rng(1).uniform(0.5, 2, SHAPE).astype("f4")
    gain[3, 4] = 0
    if name == "g.mrc":
        mrcfile.write(tmp_path / name, gain)
    else:
        tifffile.imwrite(tmp_path / name, gain)
    options = ReadOptions(eer_grouping=4, gain=tmp_path / name, gain_operation=operation)  # type: ignore[arg-type]
    with open_frames(path, options) as source:
        values = source.read(0, 2)
    multiplies = operation == "multiply" or (operation == "auto" and name == "g.gain")
    good = gain > 0
    factors = gain[good].astype(float)
    if not multiplies:
        factors = gain.mean(dtype=float) / factors
    np.testing.assert_allclose(values[:, good], sums(frames, 4)[:, good] * factors, rtol=1e-6)


def test_content_tells_eer_from_tiff(tmp_path: Path) -> None:
    path, frames = movie(tmp_path / "a.tif", 4)
    with open_frames(path, ReadOptions(eer_grouping=2)) as source:
        assert source.format == "EER"
        np.testing.assert_array_equal(source.read(0, 2), sums(frames, 2))
    for name, options in {"a.eer": {}, "b.eer": {"bigtiff": True}, "c.eer": {"compression": "zstd"}}.items():
        tifffile.imwrite(tmp_path / name, np.zeros((3, *SHAPE), "u2"), photometric="minisblack", **options)
        with open_frames(tmp_path / name) as source:
            assert (source.format, source.count) == ("TIFF", 3)
    assert is_image_name("FoilHole_1_EER.eer")


def test_threads_share_one_source(tmp_path: Path) -> None:
    path, frames = movie(tmp_path / "a.eer", 32)
    expected = sums(frames, 2)
    with open_frames(path, ReadOptions(eer_grouping=2)) as source, ThreadPoolExecutor(4) as pool:
        for index, frame in enumerate(pool.map(source.read, [*range(16)] * 4)):
            np.testing.assert_array_equal(frame[0], expected[index % 16])


def test_truncated_anywhere(tmp_path: Path) -> None:
    path, frames = movie(tmp_path / "a.eer", 8)
    expected = sums(frames, 2)
    data = path.read_bytes()
    opened = 0
    for size in [*range(16, len(data), 37), len(data) - 1]:
        path.write_bytes(data[:size])
        try:
            source = open_frames(path, ReadOptions(eer_grouping=2))
        except FormatError:
            continue
        opened += 1
        with source:
            assert source.available < source.count == source.available + 1
            np.testing.assert_array_equal(source.read(0, source.available), expected[: source.available])
            with pytest.raises(FormatError, match=rf"frame {source.available}, byte {size}: truncated"):
                source.read(source.available)
    assert opened > 30
    # Fewer raw frames than make a group are no frame.
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"frame 0, byte \d+: truncated"):
        open_frames(path, ReadOptions(eer_grouping=6))


def test_damaged_electrons(tmp_path: Path) -> None:
    path, frames = movie(tmp_path / "a.eer", 8)
    frames[3] = frames[3][:40] + b"\xff" * 8 + frames[3][48:]
    frames[6] = frames[6][:-16]
    write_eer(path, frames)
    good = [frames[0], frames[1], frames[4], frames[5]]
    with open_frames(path, ReadOptions(eer_grouping=2)) as source:
        np.testing.assert_array_equal(np.concatenate([source.read(0), source.read(2)]), sums(good, 2))
        with pytest.raises(FormatError, match=r"a\.eer, frame 1: raw frame 3: the electrons end at") as info:
            source.read(0, 4)
        assert info.value.frame == 1
        with pytest.raises(FormatError, match=r"a\.eer, frame 3: raw frame 6: the electrons end at"):
            source.read(3)
    items = list(stream_frames([path], threads=2, options=ReadOptions(eer_grouping=2)))
    assert [getattr(item, "frame", None) for item in items] == [None, 1, None, 3]


def test_page_of_another_kind(tmp_path: Path) -> None:
    path, frames = movie(tmp_path / "a.eer", 4, changed={2: {256: 20, 257: 20}, 3: {259: 1}})
    with open_frames(path, ReadOptions(eer_grouping=1)) as source:
        np.testing.assert_array_equal(source.read(0, 2), sums(frames[:2], 1))
        with pytest.raises(FormatError, match=r"frame 2: raw frame 2: a page of shape \(20, 20\); the first"):
            source.read(2)
        with pytest.raises(FormatError, match="frame 3: raw frame 3: compression 1 is not that of EER"):
            source.read(3)


@pytest.mark.parametrize("bits", [(0, 1, 1), (3, 2, 2), (200, 2, 2), (7, 0, 2), (7, 5, 1), (7, 2, 3)])
def test_bits_that_cannot_be(tmp_path: Path, bits: tuple[int, int, int]) -> None:
    data = encode([], (7, 2, 2))
    path = write_eer(tmp_path / "a.eer", [data], compression=65002, bits=bits)
    with pytest.raises(FormatError, match=r"a\.eer, frame 0: electrons of .* bits are not supported"):
        open_frames(path)


def test_bits_that_are_wrong(tmp_path: Path) -> None:
    data = encode(electrons_of(0.05, 1), (7, 2, 2))
    for bits in ((8, 2, 2), (7, 1, 2), (7, 1, 1)):
        path = write_eer(tmp_path / "a.eer", [data], compression=65002, bits=bits)
        with open_frames(path) as source, pytest.raises(FormatError, match="the electrons end at pixel"):
            source.read(0)


@pytest.mark.parametrize("bits", [(), (7,), (7, 2), (7, 1)])
def test_bits_that_are_not_told(tmp_path: Path, bits: tuple[int, ...]) -> None:
    """7 + 2 + 2 unless the tags say otherwise; those along y are as many as along x."""
    coding = (7, *[bits[1] if len(bits) > 1 else 2] * 2)
    electrons = electrons_of(0.05, 1, finest=(2 ** coding[1], 2 ** coding[2]))
    data = encode(electrons, coding)
    path = write_eer(tmp_path / "a.eer", [data], compression=65002, bits=bits)
    with open_frames(path, ReadOptions(eer_sampling=2)) as source:
        np.testing.assert_array_equal(source.read(0)[0], decode(data, coding, 2))


def test_sensor_of_nonsense_size(tmp_path: Path) -> None:
    path = write_eer(tmp_path / "a.eer", [encode([], (7, 2, 2))], shape=(60000, 60000))
    with pytest.raises(
        FormatError, match=r"frame 0: damaged: \d+ bytes of electrons for a page of shape \(60"
    ):
        open_frames(path)


def fuzz(path: Path, times: int, seed: int = 0) -> int:
    """Damage a file here and there: frames or FormatErrors, nothing else. How often it could be opened."""
    data = movie(path, 6, items=item("totalDose", 3, "e/pixel"), strips=2)[0].read_bytes()
    random_ = random.Random(seed)
    opened = 0
    for _ in range(times):
        damaged = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            place = random_.randrange(len(data)) if random_.random() < 0.8 else random_.randrange(16)
            damaged[place] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        path.write_bytes(damaged[: random_.randrange(16, len(data))] if random_.random() < 0.2 else damaged)
        try:
            with open_frames(path, ReadOptions(eer_sampling=random_.choice([1, 2, 4]))) as source:
                opened += 1
                for index in range(min(source.count, 6)):
                    try:
                        assert source.read(index).nbytes < 2**26
                    except FormatError as error:
                        assert error.frame == index  # noqa: PT017
        except FormatError:
            continue
    return opened


def test_mutated_files_give_format_errors_only(tmp_path: Path) -> None:
    assert fuzz(tmp_path / "a.eer", 300) > 100


@pytest.mark.parametrize("compression", [0, 1, 5, 64999, 65003])
@pytest.mark.parametrize("page", [0, 3, 7])
def test_damaged_compression_loses_no_frame(tmp_path: Path, page: int, compression: int) -> None:
    """The first page may be the sum of the others, but is not passed over unless it is that."""
    path, frames = movie(tmp_path / "a.eer", 8, changed={page: {259: compression}})
    options = ReadOptions(eer_grouping=1)
    if page == 0:
        reason = f"damaged: compression {compression} of the first page, which is no sum of all"
        with pytest.raises(FormatError, match=reason):
            open_frames(path, options)
        return
    with open_frames(path, options) as source:
        assert source.count == 8
        good = [index for index in range(8) if index != page]
        expected = sums(frames, 1)
        np.testing.assert_array_equal(np.concatenate([source.read(index) for index in good]), expected[good])
        with pytest.raises(FormatError, match=f"compression {compression} is not that of EER"):
            source.read(page)


def test_fewer_raw_frames_than_the_metadata_say(tmp_path: Path) -> None:
    path, _ = movie(tmp_path / "a.eer", 8, items=item("numberOfFrames", 9))
    with open_frames(path, ReadOptions(eer_grouping=1)) as source:
        assert source.count == 8
        (remark,) = source.remarks
        assert remark.text == "its metadata say 9 raw frames, but it holds 8: some may be lost"
