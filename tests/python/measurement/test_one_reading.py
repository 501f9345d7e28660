"""What files leave open is chosen once for a set, kept in the sensor file, and used by correct and verify."""

from __future__ import annotations

import json
import random
import re
import struct
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

import camnorm
from camnorm import ReadOptions, Sensor, cli
from camnorm.cli.sensorfacts import sensor_facts
from camnorm.errors import Error
from camnorm.io import open_frames
from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.settling import EerHint, eer_grouping, settle
from camnorm.io.formats.tiff import reader
from camnorm.sensor.summary import sensor_summary
from image_sets import frames_of, write_mrc, write_npy, write_tiff

SHAPE = (16, 20)


def write_eer(path: Path, raw: int, dose: float | None, seed: int = 0) -> Path:
    """A movie in which each pixel has seen an electron with the same probability in each raw frame."""
    rng = np.random.default_rng(seed)
    file, last = bytearray(b"II+\0" + struct.pack("<HHQ", 8, 0, 0)), 8
    for index in range(raw):
        bits = length = at = 0
        for pixel in (*np.flatnonzero(rng.random(SHAPE[0] * SHAPE[1]) < 0.05), SHAPE[0] * SHAPE[1]):
            skip = int(pixel) - at
            for value, count in (*[(127, 7)] * (skip // 127), (skip % 127, 7), (0, 4)):
                bits |= value << length
                length += count
            at = int(pixel) + 1
        data = bits.to_bytes((length - 4 + 7) // 8, "little")
        tags = [
            (256, SHAPE[1]),
            (257, SHAPE[0]),
            (259, 65001),
            (273, len(file)),
            (278, SHAPE[0]),
            (279, len(data)),
        ]
        file += data
        entries = [struct.pack("<HHQQ", code, 16, 1, value) for code, value in tags]
        if index == 0 and dose is not None:
            text = f'<item name="totalDose" unit="e/pixel">{dose}</item>'.encode()
            entries.append(struct.pack("<HHQQ", 65001, 7, len(text), len(file)))
            file += text
        struct.pack_into("<Q", file, last, len(file))
        file += struct.pack("<Q", len(entries)) + b"".join(entries)
        last = len(file)
        file += bytes(8)
    path.write_bytes(file)
    return path


@pytest.fixture
def movies(tmp_path: Path) -> list[Path]:
    """Of doses for which by themselves half would be grouped by 16, half by 8."""
    folder = tmp_path / "raw"
    folder.mkdir()
    doses = np.linspace(5.2, 6.2, 7)
    return [write_eer(folder / f"m{i}.eer", 64, dose, i) for i, dose in enumerate(doses)]


def test_grouping_is_that_of_the_median_dose() -> None:
    assert eer_grouping([EerHint(64, dose) for dose in (90, 4, 5)]) == (16, "chosen from the dose")
    assert eer_grouping([EerHint(64, dose) for dose in (None, 4, None)]) == (16, "chosen from the dose")
    assert eer_grouping([EerHint(64, None)]) == (40, "the dose is not known")
    assert eer_grouping([EerHint(1e9, 1)])[0] == 2**15


def test_one_grouping_for_a_set(movies: list[Path], tmp_path: Path) -> None:
    own = set()
    for path in movies:
        with open_frames(path) as source:
            own.add(source.metadata["grouping"])
    assert own == {8, 16}
    sensor = camnorm.measure(movies, tmp_path / "s.h5")
    grouping = sensor.options.eer_grouping
    assert sensor.count == 7 * 64 // grouping
    assert sensor.provenance["chosen"] == {"eer_grouping": "chosen from the dose", "eer_sampling": ""}
    shuffled = random.Random(1).sample(movies, len(movies))
    assert settle(Catalogue(shuffled)).options == sensor.options
    loaded = Sensor.load(tmp_path / "s.h5")
    assert loaded.options == sensor.options
    camnorm.measure(movies, tmp_path / "s.h5")  # the same measurement
    (parts,) = camnorm.measure_groups(movies)
    assert parts.options == sensor.options
    assert camnorm.verify(movies, group=1).statistics[0] > 0


def test_what_was_chosen_is_printed(movies: list[Path], tmp_path: Path) -> None:
    facts = dict(sensor_facts(sensor_summary(camnorm.measure(movies[:2]))))
    assert facts["reading"] == "eer-grouping 16 (chosen from the dose)"
    given = ReadOptions(eer_grouping=16, eer_sampling=1)
    assert dict(sensor_facts(sensor_summary(camnorm.measure(movies[:2], options=given))))["reading"] == (
        "eer-grouping 16, eer-sampling 1"
    )
    plain = [write_tiff(tmp_path / f"{i}.tif", frames_of(2, SHAPE, "u1", seed=i)) for i in range(2)]
    assert "reading" not in dict(sensor_facts(sensor_summary(camnorm.measure(plain))))


def test_frames_of_frc_are_grouped_alike(
    movies: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = movies[0], movies[-1]
    monkeypatch.setattr(sys, "argv", ["camnorm", "frc", str(first), str(last), "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    correlation = json.loads(capsys.readouterr().out)["curves"][0]["correlation"]
    grouping = settle(Catalogue([first, last])).options.eer_grouping
    frames = []
    for path in (first, last):
        with open_frames(path, ReadOptions(eer_grouping=grouping)) as source:
            frames.append(source.read(0)[0])
    np.testing.assert_array_equal(correlation[1:], camnorm.frc(*frames).correlation[1:])


def test_at_most_so_many_files_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_npy(tmp_path / f"{i:03}.npy", np.ones((1, 4, 5), "u1")) for i in range(100)]
    asked: list[str] = []
    look = Catalogue.find
    monkeypatch.setattr(
        Catalogue, "find", lambda self, number: (asked.append(self.paths[number].name), look(self, number))[1]
    )
    settle(Catalogue(paths))
    first, asked[:] = list(asked), []
    settle(Catalogue(paths[::-1]))
    assert len(first) == 33
    assert sorted(first) == sorted(asked)


@pytest.mark.parametrize("virtual", [False, True])
def test_the_sensor_groups_what_it_corrects(movies: list[Path], tmp_path: Path, virtual: bool) -> None:
    few, many = movies[:2], movies[-2:]  # by themselves grouped by 16, and by 8
    sensor = camnorm.measure(few, tmp_path / "s.h5")
    assert sensor.options.eer_grouping == 16
    written = camnorm.correct(many, tmp_path / "s.h5", tmp_path / "out", virtual=virtual)
    raw = ReadOptions(eer_grouping=16)
    for path, result in zip(many, written, strict=True):
        with open_frames(path, raw) as source, open_frames(result) as corrected:
            assert corrected.count == 4
            expected = sensor.correction().apply(source.read(0, 4))
            np.testing.assert_array_equal(corrected.read(0, 4), expected)
    result = camnorm.verify(movies, sensor, group=1)
    assert result.statistics[0] > 0


def test_what_contradicts_the_sensor_is_refused(movies: list[Path], tmp_path: Path) -> None:
    sensor = camnorm.measure(movies[:2])
    message = (
        "eer_grouping=8 does not go with the sensor, which was measured with eer_grouping=16; "
        "leave the option out, or measure the sensor again"
    )
    for use in (
        lambda options: camnorm.correct(movies, sensor, tmp_path / "out", options=options),
        lambda options: camnorm.verify(movies, sensor, group=1, options=options),
    ):
        with pytest.raises(Error, match=message):
            use(ReadOptions(eer_grouping=8))
        with pytest.raises(Error, match="eer_sampling=2 does not go with the sensor"):
            use(ReadOptions(eer_sampling=2))
    with pytest.warns(UserWarning, match="use leave_out=True"):  # each movie is half of the statistics
        camnorm.correct(movies, sensor, tmp_path / "out", options=ReadOptions(eer_grouping=16))
    # What is not given is as the sensor has it, but for where images lie if nothing is given.
    raw = camnorm.RawLayout.parse("4x5:u1")
    apart = Sensor(sensor.halves, sensor.frames, {**sensor.provenance, "reading": {"raw": str(raw)}})
    assert apart.read_options(ReadOptions(follow_links=True)).raw == raw
    assert apart.read_options(ReadOptions()).raw is None
    assert sensor.read_options(ReadOptions()) == sensor.read_options()
    assert sensor.read_options(ReadOptions(dataset="a")).eer_grouping == 16


def test_measurements_of_other_groupings_are_not_merged(movies: list[Path]) -> None:
    one, other = (
        camnorm.measure(movies[:2]),
        camnorm.measure(movies[2:4], options=ReadOptions(eer_grouping=8)),
    )
    message = (
        "these measurements do not go together: their files were read differently: eer_grouping 16 and 8; "
    )
    for combine in (one.merge, one.subtract):
        with pytest.raises(Error, match=message):
            combine(other)
    alike = camnorm.measure(movies[2:4], options=ReadOptions(eer_grouping=16))
    assert one.merge(alike).count == one.count + alike.count


def test_short_movies(tmp_path: Path) -> None:
    """A movie of less raw frames than the others is left out: its frames would be of another dose."""
    paths = [write_eer(tmp_path / f"{i}.eer", 5 if i == 2 else 30, None, i) for i in range(4)]
    sensor = camnorm.measure(paths)
    assert sensor.options.eer_grouping == 30
    assert sensor.provenance["chosen"]["eer_grouping"] == "all raw frames of a movie"
    assert sensor.count == 3
    (reason,) = sensor.frames["reason"][sensor.frames["status"] == "rejected"]
    assert reason == "5 raw frames are fewer than those of one frame, eer_grouping=30"


def test_files_of_earlier_versions(movies: list[Path], tmp_path: Path) -> None:
    """They do not tell the grouping: it is chosen for what is corrected; and are replaced without asking."""
    path = tmp_path / "s.h5"
    camnorm.measure(movies[:2], path)
    with h5py.File(path, "r+") as file:
        provenance = file["provenance"]
        reading = json.loads(provenance.attrs["reading"])
        for name in ("gain_rotate", "gain_flip", "gain_operation"):
            del reading[name]
        provenance.attrs["reading"] = json.dumps(reading | {"eer_grouping": None, "eer_sampling": 1})
        del provenance.attrs["chosen"], file.attrs["digest"]
    old = Sensor.load(path)
    assert (old.options.eer_grouping, old.options.eer_sampling) == (None, None)
    for written in camnorm.correct(movies[-2:], old, tmp_path / "out"):
        with open_frames(written) as source:
            assert source.count == 8
    with pytest.raises(Error, match="read differently: eer_grouping None and 16; "):
        old.merge(camnorm.measure(movies[2:4], options=ReadOptions(eer_grouping=16)))
    camnorm.measure(movies[:2], path)
    assert Sensor.load(path).options.eer_grouping == 16
    gain = ReadOptions.from_dict({"gain": "g.mrc"})
    old = Sensor(old.halves, old.frames, {**old.provenance, "reading": gain.to_dict()})
    del old.provenance["reading"]["gain_operation"]
    assert old.options.gain_operation == "multiply"


def stamped(path: Path, unsigned: bool) -> Path:
    """Give an MRC file the stamp of IMOD."""
    with open(path, "r+b") as file:
        file.seek(152)
        file.write(struct.pack("<ii", 1146047817, 0 if unsigned else 1))
    return path


@pytest.mark.filterwarnings("ignore:.*bytes of MRC mode 0 are read as signed")
def test_bytes_are_read_alike(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(125, (6, 4, *SHAPE)).astype("u1")
    paths = [write_mrc(tmp_path / f"{i}.mrc", frames.view("i1")) for i, frames in enumerate(counts)]
    stamped(paths[2], unsigned=True)
    sensor = camnorm.measure(paths)
    assert (sensor.dtype, sensor.options.mrc_mode0) == (np.uint8, "unsigned")
    assert sensor.provenance["chosen"] == {"mrc_mode0": "by the stamp of IMOD"}
    np.testing.assert_allclose(sensor.mean, counts.mean((0, 1)))
    with pytest.raises(Error, match="mrc_mode0=signed does not go with the sensor"):
        camnorm.correct(paths, sensor, tmp_path / "out", options=ReadOptions(mrc_mode0="signed"))
    (path, *_) = camnorm.correct(paths[0], sensor, tmp_path / "out", target_mean=125)
    with open_frames(path) as source:
        assert source.read(0, 4).mean() == pytest.approx(125, abs=2)
    assert camnorm.measure(paths[:2]).options.mrc_mode0 == "signed"
    # Stamps that differ are all believed.
    stamped(paths[3], unsigned=False)
    assert settle(Catalogue(paths)).options.mrc_mode0 == "auto"


def test_pages_of_two_pixels_in_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FOUR_BIT_SIZES", {frozenset((16, 10))})
    packed = [write_tiff(tmp_path / f"{i}.tif", np.full((2, 16, 10), 0x21 + i, "u1")) for i in range(4)]
    sensor = camnorm.measure(packed, screen="off")
    assert (sensor.shape, sensor.options.tiff_4bit) == ((16, 20), "yes")
    assert sensor.provenance["chosen"] == {"tiff_4bit": "by the size of the pages"}
    plain = write_tiff(tmp_path / "plain.tif", np.ones((2, 16, 20), "u1"))
    assert settle(Catalogue([plain])).options.tiff_4bit == "no"
    assert settle(Catalogue([*packed, plain])).options.tiff_4bit == "auto"
    with pytest.raises(Error, match="tiff_4bit=no does not go with the sensor"):
        camnorm.verify(packed, sensor, options=ReadOptions(tiff_4bit="no"))


def test_the_use_of_a_gain_is_kept(movies: list[Path], tmp_path: Path) -> None:
    gain = np.random.default_rng(3).uniform(0.8, 1.2, SHAPE).astype("f4")
    tifffile.imwrite(tmp_path / "gain.tif", gain)
    options = ReadOptions(gain=tmp_path / "gain.tif")
    sensor = camnorm.measure(movies[:3], options=options)
    assert sensor.options.gain_operation == "divide"
    assert sensor.provenance["chosen"]["gain_operation"] == "an EER gain that is not .gain"
    moved = sensor.read_options(ReadOptions(gain=tmp_path / "moved.tif"))
    assert (moved.gain, moved.gain_operation) == (tmp_path / "moved.tif", "divide")
    other = ReadOptions(gain_operation="multiply")
    plain = camnorm.measure(movies[:3])
    for measured, its, message in (
        (sensor, other, "measured with gain_operation=divide, .* are read with gain_operation=multiply"),
        (plain, options, "the sensor was measured without a gain, and these frames are read with one"),
    ):
        # A gain makes floats of the movies, for which sums of integers are no statistics.
        refused = pytest.raises(camnorm.Error, match="float32 pixels") if measured is plain else nullcontext()
        with warnings.catch_warnings(record=True) as seen, refused:
            warnings.simplefilter("always")
            camnorm.correct(movies[:3], measured, tmp_path / "out", options=its, overwrite=True)
        assert any(re.search(message, str(warning.message)) for warning in seen)
        if measured is sensor:
            with pytest.warns(UserWarning, match=message):
                camnorm.verify(movies[:3], measured, group=1, options=its)


def test_a_run_goes_on_with_the_grouping_of_its_checkpoint(
    movies: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(progress: camnorm.Progress) -> None:
        if progress.done >= 3:
            raise KeyboardInterrupt

    path = tmp_path / "s.h5"
    with pytest.raises(KeyboardInterrupt):
        camnorm.measure(movies, path, progress=interrupt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sensor = camnorm.measure(movies, path)
    whole = camnorm.measure(movies)
    assert sensor.options == whole.options
    np.testing.assert_array_equal(sensor.mean, whole.mean)
