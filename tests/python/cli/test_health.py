"""``camnorm health``: what it prints and writes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import camnorm
from image_sets import write_mrc

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["camnorm", *arguments])
        from camnorm import cli

        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def sensor_file(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    (tmp_path / "raw").mkdir()
    for number in range(8):
        frames = rng.normal(500, 20, (10, 64, 80))
        frames[:, 10, 20] += 300
        frames[:, 40, 50] = 7
        frames[:, :, 66] += 200
        write_mrc(tmp_path / "raw" / f"m{number}.mrc", np.rint(frames).astype("u2"))
    camnorm.measure(tmp_path / "raw", tmp_path / "sensor.h5")
    return "sensor.h5"


def test_the_first_lines_say_what_there_is_and_what_to_do(run: Run, sensor_file: str) -> None:
    code, out, _ = run("health", sensor_file)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "verdict         66 bad pixels (1.3 %): conceal them when you correct."
    assert lines[1] == "next            camnorm health sensor.h5 -o pixels.h5"
    assert "constant        1: never change" in lines
    assert "hot             65: mean too high" in lines
    assert "lines           column 66" in lines
    assert "clusters        2 single" in lines


def test_the_map_is_written_and_used(run: Run, sensor_file: str) -> None:
    code, out, _ = run("health", sensor_file, "-o", "pixels.h5")
    assert code == 0
    command = next(line for line in out.splitlines() if line.startswith("next ")).split()[1:]
    assert command[:2] == ["camnorm", "correct"]
    assert command[-4:] == ["--pixels", "pixels.h5", "-o", "corrected"]
    code, _, _ = run(*command[1:], "--bad-policy", "nan", "--quiet")
    assert code == 0
    with camnorm.open_frames(next(Path("corrected").rglob("m0.mrc"))) as source:
        assert np.array_equal(np.isnan(source.read(0)[0]), camnorm.PixelMap.load("pixels.h5").bad)


def test_json_has_the_keys_of_the_design(run: Run, sensor_file: str) -> None:
    code, out, _ = run("health", sensor_file, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["counts"]["hot"] == 65
    assert found["flagged"] == 66
    assert found["shape"] == [64, 80]
    assert found["interpolated"] == []
    assert found["lines"] == [
        {"class": "hot", "direction": "column", "full": True, "x": 66, "y": 0, "width": 1, "height": 64}
    ]
    assert found["output"] is None


def test_a_clean_sensor(run: Run, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(4):
        frames = np.random.default_rng(number).poisson(100, (5, 32, 40)).astype("u2")
        write_mrc(tmp_path / "raw" / f"m{number}.mrc", frames)
    camnorm.measure(tmp_path / "raw", tmp_path / "sensor.h5")
    code, out, _ = run("health", "sensor.h5")
    assert code == 0
    assert out.startswith("verdict         No bad pixels were found.\n\n")
    assert "next" not in out


def test_nothing_else_is_replaced(run: Run, sensor_file: str, tmp_path: Path) -> None:
    before = (tmp_path / "sensor.h5").read_bytes()
    code, _, error = run("health", sensor_file, "-o", "sensor.h5", "--overwrite")
    assert (code, "not a camnorm pixels file but a camnorm sensor file" in error) == (1, True)
    assert (tmp_path / "sensor.h5").read_bytes() == before
    assert run("health", sensor_file, "-o", "a.txt")[0] == 0
    code, _, error = run("health", sensor_file, "-o", "a.txt")
    assert code == 1
    assert "a.txt: already exists; use --overwrite to replace it" in error
    assert run("health", sensor_file, "-o", "a.txt", "--overwrite")[0] == 0
    (tmp_path / "notes.txt").write_text("my notes\n")
    code, _, error = run("health", sensor_file, "-o", "notes.txt", "--overwrite")
    assert (code, "is not a list of defects, and is not replaced by one" in error) == (1, True)


def test_wrong_use(run: Run, sensor_file: str) -> None:
    code, _, error = run("health", sensor_file, "-o", "a.png")
    assert code == 2
    assert "a.png: the suffix must be one of .h5, .mrc, .tif, .txt, .csv." in error
    code, _, error = run("health", "raw/m0.mrc")
    assert code == 1
    assert "an image file" in error
    code, _, error = run("health", "none.h5")
    assert (code, "none.h5" in error) == (1, True)
    code, _, error = run("correct", "raw", "-m", sensor_file, "-o", "out", "--pixels", "none.h5")
    assert (code, "none.h5" in error) == (1, True)


def test_frames_show_pixels_that_are_hot_at_times_and_copied_ones(
    run: Run, tmp_path: Path, sensor_file: str
) -> None:
    rng = np.random.default_rng(2)
    (tmp_path / "new").mkdir()
    for number in range(8):
        frames = np.rint(rng.normal(500, 20, (10, 64, 80)))
        frames[:, 10, 20] += 300
        frames[:, 40, 50] = 7
        frames[:, :, 66] += 200
        frames[:, 20, 30] = frames[:, 20, 29]
        if number in (3, 5):
            frames[:, 50, 12] += 150
        write_mrc(tmp_path / "new" / f"n{number}.mrc", frames.astype("u2"))
    code, out, err = run("health", sensor_file, "--frames", "new")
    assert (code, err) == (0, "")
    assert "hot at times    (12, 50) in 2 of 8 files" in out.splitlines()
    assert "made from       (30, 20) from left" in out
    found = json.loads(run("health", sensor_file, "--frames", "new", "--json")[1])
    assert [(pixel["x"], pixel["y"]) for pixel in found["hot"]] == [(12, 50)]
    assert [Path(file).name for file in found["hot"][0]["files"]] == ["n3.mrc", "n5.mrc"]
    assert json.loads(run("health", sensor_file, "--json")[1])["hot"] is None
    assert "hot at times    none in 1 file" in run("health", sensor_file, "--frames", "new/n0.mrc")[1]
