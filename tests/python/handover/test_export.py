"""Exports, with the arithmetic of each program written out here, against NumPy and `Correction`."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest

import camnorm
from camnorm import ReadOptions, handover
from camnorm.errors import Error
from camnorm.handover import exporting
from camnorm.handover.defects import (
    mask_of_rectangles,
    mask_of_serial_em,
    rectangles,
    serial_em,
    text_of_rectangles,
)
from camnorm.handover.programs import PROGRAMS
from camnorm.sensor.pixelclasses import PixelRows
from eer_files import electrons_of, encode, write_eer
from image_sets import write_mrc, write_npy, write_tiff

SHAPE = (36, 44)
# Programs that hold TIFF movies bottom row first, and those that take a dark.
FLIPPING = {"relion", "motioncor", "aretomo", "warp", "imod", "serialem"}
WITH_DARK = {"motioncor", "aretomo", "cistem", "nexus", "numpy"}
SERIAL_EM = {"imod", "serialem"}
WRITERS = {"mrc": write_mrc, "tif": write_tiff}


def sensitivity() -> np.ndarray:
    """With a dead column, and an F of weak pixels that looks different in each orientation."""
    image = np.random.default_rng(3).normal(1, 0.05, SHAPE)
    image[4:20, 6:8] *= 0.7
    image[4:6, 6:16] *= 0.7
    image[11:13, 6:13] *= 0.7
    image[:, 30] = 0
    image[25, 12] = 0
    return image


def movies(folder: Path, kind: str, counts: float = 40, files: int = 40) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(5)
    return [
        WRITERS[kind](
            folder / f"m{i:02}.{kind}", rng.poisson(counts * sensitivity(), (6, *SHAPE)).astype("u2")
        )
        for i in range(files)
    ]


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, camnorm.Sensor]:
    folder = tmp_path_factory.mktemp("sensors")
    return {kind: camnorm.measure(movies(folder / kind, kind), folder / f"{kind}.h5") for kind in WRITERS}


def first_frame(movie: Path) -> np.ndarray:
    with camnorm.open_frames(movie) as source:
        return source.read(0)[0].astype(float)


def read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path)
    image = mrcfile.read(path)
    assert image.ndim == 2
    return image


def defects_of(path: Path, program: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Read a list of defects in plain Python; row 0 is that of the program's array."""
    bad = np.zeros(shape, bool)
    for line in path.read_text().splitlines():
        if program not in SERIAL_EM:
            x, y, w, h = map(int, line.split())
            bad[y : y + h, x : x + w] = True
            continue
        key, *words = line.split()
        n = list(map(int, words))
        rows = bad[::-1]  # from the top of the picture, whose bottom row comes first here
        if key == "BadColumns":
            assert len(n) <= 20
            rows[:, n] = True
        elif key == "BadRows":
            rows[n] = True
        elif key == "BadPixels":
            assert len(n) <= 20
            for x, y in zip(n[::2], n[1::2], strict=True):
                rows[y, x] = True
        elif key == "PartialBadColumn":
            rows[n[2] : n[3] + 1, n[0] : n[0] + n[1]] = True
        elif key == "PartialBadRow":
            rows[n[0] : n[0] + n[1], n[2] : n[3] + 1] = True
        else:
            assert [key, *n] in (["CameraSizeX", shape[1]], ["CameraSizeY", shape[0]])
    return bad


@pytest.mark.parametrize("like", WRITERS)
@pytest.mark.parametrize("measured", WRITERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_gives_what_correct_gives(
    sensors: dict[str, camnorm.Sensor], tmp_path: Path, program: str, measured: str, like: str
) -> None:
    sensor = sensors[measured]
    movie = Path(sensors[like].provenance["files"]["path"][0])
    made = camnorm.export(sensor, program, movie, out_dir=tmp_path)
    flip = program in FLIPPING and like == "tif"
    frame = first_frame(movie)
    held = frame[::-1] if flip else frame
    if program == "nexus":
        with h5py.File(tmp_path / "gain_dark_defects.nxs") as file:
            detector = file["entry/instrument/detector"]
            assert (detector.attrs["NX_class"], file["entry"].attrs["NX_class"]) == ("NXdetector", "NXentry")
            gain, dark, mask = (detector[name][()] for name in ("flatfield", "dark", "pixel_mask"))
        assert mask.dtype == np.uint32
        bad = mask != 0
    else:
        kind = ".npy" if program == "numpy" else ".mrc"
        gain = read(tmp_path / f"gain{kind}")
        dark = read(tmp_path / f"dark{kind}") if program in WITH_DARK else np.zeros(SHAPE)
        bad = defects_of(tmp_path / "defects.txt", program)
        assert np.array_equal(
            read(tmp_path / ("defects.npy" if kind == ".npy" else "defects_map.mrc")) != 0, bad
        )
        assert (tmp_path / "dark.mrc").exists() == (program in WITH_DARK - {"numpy", "nexus"})
    assert np.array_equal(bad, gain == 0)
    assert bad.sum() == SHAPE[0] + 1
    result = (held - dark) * gain.astype(float)
    result = result[::-1] if flip else result
    correction = sensor.correction(mode="both" if program in WITH_DARK else "gain")
    turn = slice(None, None, -1 if measured != like else 1)
    expected = correction.apply(np.ascontiguousarray(frame[turn]), dtype=np.float64)[turn]
    good = ~(bad[::-1] if flip else bad)
    np.testing.assert_allclose(result[good], expected[good], rtol=1e-6, atol=1e-5)
    assert (made.exact, made.bad_pixels) == (program in WITH_DARK, bad.sum())
    assert made.deviation < 1e-6
    assert {path.name for path in made.files} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_readme(sensors: dict[str, camnorm.Sensor], tmp_path: Path, program: str) -> None:
    made = camnorm.export(sensors["tif"], program, out_dir=tmp_path)
    text = (tmp_path / "README.txt").read_text()
    assert all(f"    {line}\n" in text for line in made.command.splitlines())
    assert all(f"    {path.name}" in text for path in made.files)
    plain = " ".join(text.split())
    assert made.approximation in plain
    assert f"standard error of {made.gain_error:.2%}" in plain
    for note in made.notes:
        assert note in plain
    # The files that a command names exist.
    for name in re.findall(rf"{re.escape(str(tmp_path))}[\w./-]*", made.command):
        assert Path(name).exists()


def test_bad_pixels_that_are_given(sensors: dict[str, camnorm.Sensor], tmp_path: Path) -> None:
    sensor = sensors["tif"]
    movie = sensors["mrc"].provenance["files"]["path"][0]
    bad = np.zeros(SHAPE, bool)
    bad[2, 3] = bad[20:23, 5] = True
    own = sensor.sigma == 0
    flags = (bad * 64).astype(np.uint32)
    given = camnorm.PixelMap(flags, PixelRows.of_mask(bad), row_order="top")
    for number, pixels in enumerate((bad, given, given.flipped())):
        camnorm.export(sensor, "relion", pixels=pixels, out_dir=tmp_path / f"t{number}")
        assert np.array_equal(read(tmp_path / f"t{number}/gain.mrc") == 0, (bad | own)[::-1])
        camnorm.export(sensor, "relion", movie, pixels, out_dir=tmp_path / f"m{number}")
        assert np.array_equal(read(tmp_path / f"m{number}/gain.mrc") == 0, (bad | own)[::-1])
    camnorm.export(sensor, "nexus", pixels=given, out_dir=tmp_path / "n")
    with h5py.File(tmp_path / "n/gain_dark_defects.nxs") as file:
        mask = file["entry/instrument/detector/pixel_mask"][()]
    assert np.array_equal(mask, flags + own * 2)
    given.save(tmp_path / "pixels.h5")
    camnorm.export(sensor, "numpy", pixels=tmp_path / "pixels.h5", out_dir=tmp_path / "h")
    assert np.array_equal(np.load(tmp_path / "h/defects.npy"), bad | own)
    correction = sensor.correction(pixels=given)  # whose targets are those of the other pixels
    found = correction.target_sigma / sensor.sigma[~(bad | own)]
    np.testing.assert_allclose(np.load(tmp_path / "h/gain.npy")[~(bad | own)], found)
    path = tmp_path / "bad.txt"  # as RELION counts: from the bottom
    path.write_text(f"3 {SHAPE[0] - 3} 1 1\n5 {SHAPE[0] - 23} 1 3\n")
    camnorm.export(sensor, "numpy", pixels=path, out_dir=tmp_path / "p")
    assert np.array_equal(np.load(tmp_path / "p/defects.npy"), bad | own)
    with pytest.raises(Error, match=r"\(3, 4\).*\(36, 44\)"):
        camnorm.export(sensor, "numpy", pixels=np.ones((3, 4), bool), out_dir=tmp_path / "q")


def test_the_error_image(sensors: dict[str, camnorm.Sensor], tmp_path: Path) -> None:
    """It says how far gains of independent sets lie from each other."""
    gains, errors = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        halves = [camnorm.PixelMoments(SHAPE, np.uint16) for _ in "AB"]
        for half in halves:
            half.add(rng.poisson(40 * sensitivity(), (200, *SHAPE)).astype("u2"))
        sensor = camnorm.Sensor.from_moments(*halves)
        for program in ("cryosparc", "motioncor"):
            made = camnorm.export(sensor, program, out_dir=tmp_path / f"{seed}{program}")
            gains.append(read(tmp_path / f"{seed}{program}/gain.mrc"))
            errors.append(read(tmp_path / f"{seed}{program}/error.mrc"))
            good = gains[-1] > 0
            assert np.sqrt(np.mean(errors[-1][good] ** 2)) == pytest.approx(made.gain_error, rel=1e-5)
            assert not errors[-1][~good].any()
    for kind in (0, 1):
        found = np.array(gains[kind::2])[:, good]
        seen = np.sqrt(np.mean(found.var(0, ddof=1) / found.mean(0) ** 2))
        told = np.sqrt(np.mean(np.array(errors[kind::2])[:, good] ** 2))
        assert told == pytest.approx(seen, rel=0.1)


def test_a_sensor_that_was_measured_with_a_gain(tmp_path: Path) -> None:
    """The exported gain takes the place of the first one."""
    paths = movies(tmp_path / "raw", "tif")
    vendor = np.random.default_rng(9).uniform(0.8, 1.25, SHAPE)
    vendor[8, 9] = 0
    gain = write_tiff(tmp_path / "vendor.tif", vendor.astype("f4"))
    with pytest.warns(UserWarning, match="the frames show only"):  # it is of no camera
        sensor = camnorm.measure(paths, tmp_path / "s.h5", options=ReadOptions(gain=gain))
    frame = first_frame(paths[0])
    for program, mode in (("numpy", "both"), ("cryosparc", "gain")):
        made = camnorm.export(sensor, program, out_dir=tmp_path / program)
        files = {path.name: path for path in made.files}
        if program == "numpy":
            found = (frame - np.load(files["dark.npy"])) * np.load(files["gain.npy"])
            bad = np.load(files["defects.npy"])
        else:
            found = frame * read(files["gain.mrc"])
            bad = read(files["gain.mrc"]) == 0
        assert bad[8, 9]
        expected = sensor.correction(mode=mode).apply(frame * vendor.astype("f4"), dtype=np.float64)
        np.testing.assert_allclose(found[~bad], expected[~bad], rtol=1e-6, atol=1e-5)
        assert any("this gain takes its place, do not apply both" in note for note in made.notes)
    gain.rename(tmp_path / "gain.mrc")
    sensor.provenance["reading"]["gain"] = str(tmp_path / "gain.mrc")
    with pytest.raises(Error, match=r"gain\.mrc: is an input, and inputs are never replaced"):
        camnorm.export(sensor, "cryosparc", out_dir=tmp_path, overwrite=True)


def test_nothing_half_done_is_left(
    sensors: dict[str, camnorm.Sensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = exporting.save

    def full(path: Path, *arguments: Any) -> None:
        if path.name == "README.txt":
            raise OSError(28, "No space left on device", str(path))
        true(path, *arguments)

    monkeypatch.setattr(exporting, "save", full)
    with pytest.raises(OSError, match="No space left"):
        camnorm.export(sensors["mrc"], "relion", out_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [2, 4])
def test_super_resolution(sensors: dict[str, camnorm.Sensor], tmp_path: Path, step: int) -> None:
    """Sub-pixels have factors of their own, which a movie tells."""
    sensor = sensors["mrc"]
    factors = np.random.default_rng(2).uniform(0.9, 1.1, (step, step))
    factors /= factors.mean()
    fine = np.kron(sensitivity(), np.ones((step, step))) * np.tile(factors, SHAPE)
    rng = np.random.default_rng(4)
    movie = write_mrc(tmp_path / "fine.mrc", rng.poisson(400 * fine, (20, *fine.shape)).astype("u2"))
    made = camnorm.export(sensor, "relion", movie, out_dir=tmp_path / "out")
    gain = read(tmp_path / "out/gain.mrc")
    expected = read(next(p for p in camnorm.export(sensor, "relion", out_dir=tmp_path / "one").files))
    np.testing.assert_allclose(
        gain, np.kron(expected, np.ones((step, step))) / np.tile(factors, SHAPE), rtol=2e-3
    )
    assert np.array_equal(defects_of(tmp_path / "out/defects.txt", "relion", fine.shape), gain == 0)
    assert any(f"The {step * step} sub-pixels have factors of their own" in note for note in made.notes)
    assert not made.exact
    # And the other way round: a sensor of super-resolution movies, for others.
    frames = [rng.poisson(40 * fine, (30, *fine.shape)).astype("u2") for _ in range(8)]
    paths = [write_mrc(tmp_path / f"f{i}.mrc", stack) for i, stack in enumerate(frames)]
    sensor = camnorm.measure(paths, screen="off")
    like = write_mrc(tmp_path / "coarse.mrc", np.ones((2, *SHAPE), np.uint16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        camnorm.export(sensor, "motioncor", like, out_dir=tmp_path / "binned")
    gain = read(tmp_path / "binned/gain.mrc")
    sums = np.mean(frames, (0, 1)).reshape(SHAPE[0], step, SHAPE[1], step).sum((1, 3))
    good = gain > 0
    assert np.array_equal(~good, sensitivity() == 0)
    np.testing.assert_allclose((gain * sums)[good], (gain * sums)[good].mean(), rtol=1e-5)
    assert not (tmp_path / "binned/dark.mrc").exists()


def test_movies_of_another_size(sensors: dict[str, camnorm.Sensor], tmp_path: Path) -> None:
    like = write_mrc(tmp_path / "other.mrc", np.ones((2, 30, 44), np.uint16))
    message = r"frames of shape \(30, 44\), the sensor has \(36, 44\): neither the same, nor 2 or 4 times"
    with pytest.raises(Error, match=message):
        camnorm.export(sensors["mrc"], "relion", like, out_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("sampling", "used"), [(1, 1), (2, 2), (4, 2)])
def test_eer_in_relion(tmp_path: Path, sampling: int, used: int) -> None:
    """Mean counts, which RELION inverts; 0 stays 0."""
    shape = (24, 40)
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(6):
        frames = [encode(electrons_of(0.5, 100 * number + i, shape), (7, 2, 2)) for i in range(24)]
        write_eer(folder / f"m{number}.eer", frames)
    options = ReadOptions(eer_grouping=4, eer_sampling=sampling)  # type: ignore[arg-type]
    sensor = camnorm.measure(folder, tmp_path / "s.h5", options=options, screen="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few frames
        made = camnorm.export(sensor, "relion", folder / "m0.eer", out_dir=tmp_path / "out")
    counts = read(tmp_path / "out/gain.mrc").astype(float)
    assert counts.shape == (24 * used, 40 * used)
    step = sampling // used
    mean = sensor.mean.reshape(24 * used, step, 40 * used, step).sum((1, 3))
    bad = (sensor.sigma == 0).reshape(24 * used, step, 40 * used, step).any((1, 3))
    np.testing.assert_allclose(counts, np.where(bad, 0, mean), rtol=1e-6)
    assert f"--eer_grouping 4 --eer_upsampling {used}" in made.command
    assert "--gain_rot" not in made.command
    for program in ("warp", "cistem", "imod", "cryosparc"):
        with pytest.raises(
            Error, match=r"gets no gain for EER movies, only for MRC or TIFF: write corrected"
        ):
            camnorm.export(sensor, program, folder / "m0.eer", out_dir=tmp_path / program)
    made = camnorm.export(sensor, "motioncor", folder / "m0.eer", out_dir=tmp_path / "mc")
    assert f"-EerSampling {sampling if sampling < 4 else 3}" in made.command
    assert not made.exact
    assert any("Of EER movies there is a gain only" in note for note in made.notes)


def test_nothing_is_replaced(sensors: dict[str, camnorm.Sensor], tmp_path: Path) -> None:
    sensor = sensors["mrc"]
    camnorm.export(sensor, "relion", out_dir=tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(Error, match=r"gain\.mrc: already exists; use overwrite=True to replace it"):
        camnorm.export(sensor, "relion", out_dir=tmp_path / "a")
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    camnorm.export(sensor, "relion", out_dir=tmp_path / "a", overwrite=True)
    movie = write_mrc(tmp_path / "gain.mrc", np.ones((2, *SHAPE), np.uint16))
    with pytest.raises(Error, match=r"gain\.mrc: is an input, and inputs are never replaced"):
        camnorm.export(sensor, "relion", movie, out_dir=tmp_path, overwrite=True)


def test_files_that_do_not_do_it_are_an_error(
    sensors: dict[str, camnorm.Sensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = exporting.read_back

    def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path], Any]:
        return lambda path: change(true(path)) if path.name == name else true(path)

    for name, change, message in (
        ("gain.mrc", lambda image: image[::-1], "the defects written for RELION are not the bad pixels"),
        (
            "defects.txt",
            lambda text: text + "0 0 1 1\n",
            "the defects written for RELION are not the bad pix",
        ),
        (
            "gain.mrc",
            lambda image: image * 1.001,
            "the files written for RELION give other frames than camnorm",
        ),
    ):
        monkeypatch.setattr(exporting, "read_back", changed(name, change))
        with pytest.raises(Error, match=message):
            camnorm.export(sensors["tif"], "relion", out_dir=tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    colour = camnorm.PixelMoments((8, 8, 3), np.uint8)
    colour.add(np.random.default_rng(1).integers(0, 99, (9, 8, 8, 3)).astype("u1"))
    with pytest.raises(Error, match=r"frames of shape \(8, 8, 3\) are in colour"):
        camnorm.export(camnorm.Sensor.from_moments(colour), "relion", out_dir=tmp_path)
    dark = camnorm.PixelMoments((8, 8), np.float32)
    dark.add(np.random.default_rng(1).normal(-5, 1, (90, 8, 8)).astype("f4"))
    sensor = camnorm.Sensor.from_moments(dark)
    with pytest.raises(Error, match=r"no gain can be told from a mean image whose mean is -5.* takes a dark"):
        camnorm.export(sensor, "relion", out_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert camnorm.export(sensor, "motioncor", out_dir=tmp_path).exact
    still = camnorm.PixelMoments((8, 8), np.uint8)
    still.add(np.ones((9, 8, 8), np.uint8))
    with pytest.raises(Error, match="no pixel of the set ever changes: there is nothing to export"):
        camnorm.export(camnorm.Sensor.from_moments(still), "relion", out_dir=tmp_path)
    with pytest.raises(ValueError, match=r"program must be relion, motioncor, .*, not 'photoshop'"):
        camnorm.export(sensor, "photoshop", out_dir=tmp_path)
    npy = write_npy(tmp_path / "movie.npy", np.ones((2, 8, 8), np.uint8))
    with pytest.raises(Error, match=r"RELION gets no gain for \w+ movies, only for MRC, TIFF or EER"):
        camnorm.export(sensor, "relion", npy, out_dir=tmp_path)


def test_few_frames(tmp_path: Path) -> None:
    """The user is warned of a gain that adds more noise than it takes away, as by `correct`."""
    halves = [camnorm.PixelMoments(SHAPE, np.uint16) for _ in "AB"]
    for half in halves:
        half.add(np.random.default_rng(half is halves[0]).poisson(40, (3, *SHAPE)).astype("u2"))
    with pytest.warns(UserWarning, match="The correction would add more noise than it removes"):
        camnorm.export(camnorm.Sensor.from_moments(*halves), "relion", out_dir=tmp_path)


def test_defects_as_rectangles() -> None:
    rng = np.random.default_rng(1)
    for trial in range(60):
        bad = rng.random((rng.integers(1, 20), rng.integers(1, 20))) < rng.choice([0, 0.02, 0.3, 0.9, 1])
        if trial % 3 == 0:
            bad[:, rng.integers(bad.shape[1])] = True
            bad[rng.integers(bad.shape[0])] = True
        count = np.zeros(bad.shape, int)
        for x, y, width, height in rectangles(bad):
            count[y : y + height, x : x + width] += 1
        assert np.array_equal(count, bad)
        assert np.array_equal(mask_of_rectangles(text_of_rectangles(bad), bad.shape), bad)
        assert np.array_equal(mask_of_serial_em(serial_em(bad)), bad)
    column = np.zeros((500, 400), bool)
    column[:, 7] = True
    assert rectangles(column) == [(7, 0, 1, 500)]
    assert rectangles(column.T) == [(0, 7, 500, 1)]
    assert "#" not in text_of_rectangles(column)


def test_verb(
    sensors: dict[str, camnorm.Sensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    sensors["tif"].save("s.h5")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["camnorm", "export", *arguments])
        with pytest.raises(SystemExit) as end:
            camnorm.cli.main()
        return int(end.value.code or 0), *capsys.readouterr()

    status, out, _ = run("s.h5", "--for", "relion", "-o", "out", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["program"] == "relion"
    assert found["files"] == [
        f"out/{name}" for name in ("gain.mrc", "defects.txt", "defects_map.mrc", "error.mrc", "README.txt")
    ]
    status, out, err = run("s.h5", "--for", "relion", "-o", "out")
    assert (status, out) == (1, "")
    assert err == "camnorm: error: out/gain.mrc: already exists; use --overwrite to replace it\n"
    status, out, _ = run("s.h5", "--for", "relion", "-o", "out", "--overwrite")
    assert status == 0
    assert f"  {found['command']}\n" in out
    assert run("s.h5", "--for", "photoshop", "-o", "new")[0] == 2


def test_all_programs_are_in_the_table() -> None:
    folder = Path(handover.__file__).parent / "programs"
    assert len(PROGRAMS) == len([path for path in folder.glob("*.py") if path.name != "__init__.py"])


def test_the_table_of_programs() -> None:
    page = Path(camnorm.__file__).parents[2] / "docs" / "reference" / "programs.md"
    if not page.is_file():
        pytest.skip("an installed package has no documentation")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text().splitlines()
        if line.startswith("| `")
    ]
    assert [row[0].strip("`") for row in rows] == list(PROGRAMS)
    for name, title, result, dark, _, order, tested in rows:
        program = PROGRAMS[name.strip("`")]
        assert (title, tested) == (program.title, program.tested)
        assert (dark == "yes", result == "Eq. (2)") == (program.takes_dark, program.takes_dark)
        assert order == ("flipped" if program.flips_tiff else "as in the file")
