"""The demonstration, made small: its files, its numbers, and that it can be run again."""

from __future__ import annotations

import json

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

import camnorm
from camnorm.demo import demonstration as demo
from camnorm.demo.simulate import Camera

FIGURES = ["fig1_electron.png", "fig2_frc.png", "fig3_bayer.png", "fig4_bayer_frc.png"]


SMALL = demo.Scale(electron_shape=(256, 256), movies=57, bayer_shape=(200, 224), images=100)


def contents(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_whole_job(tmp_path):
    reports = []
    result = demo.run_demo(tmp_path / "demo", scale=SMALL, progress=reports.append)

    # Files are real files, and hold what the cameras took.
    electron, bayer = Camera.electron((256, 256)), Camera.bayer((200, 224))
    with mrcfile.open(tmp_path / "demo/electron/raw/movie_004.mrc") as file:
        np.testing.assert_array_equal(file.data, electron.frames(3, 12))
        assert file.header.mode == 6
    image = tifffile.imread(tmp_path / "demo/bayer/raw/image_007.tif")
    np.testing.assert_array_equal(image, bayer.frame(7))

    # The movie without a beam is screened out, nothing else.
    found = result.cameras["electron"].sensor.frames
    rejected = found[found["status"] == "rejected"]
    assert [name.endswith("movie_056.mrc") for name in rejected["file"]] == [True] * 3
    assert result.cameras["electron"].sensor.count == 168
    assert result.cameras["bayer"].sensor.count == 100

    for camera, report in ((electron, result.cameras["electron"]), (bayer, result.cameras["bayer"])):
        assert report.verification.independent
        assert not report.verification.groups.raw.independent
        assert report.verification.groups.corrected.outside_3sigma == 0
        z = (report.sensor.mean - camera.expected_mean()) / report.sensor.sigma
        assert report.deviation == pytest.approx(np.sqrt(np.mean(z**2) * report.sensor.count))
        assert report.deviation == pytest.approx(1.0, abs=0.25)
    assert result.independent

    raw = electron.frame(0).astype(np.float64)
    sensor = camnorm.Sensor.load(tmp_path / "demo/electron/sensor.h5")
    wanted = (raw - sensor.mean) / sensor.sigma * sensor.target_sigma + sensor.target_mean
    with mrcfile.open(tmp_path / "demo/electron/corrected/movie_000.mrc") as file:
        np.testing.assert_allclose(file.data[0], wanted, rtol=1e-5)

    # Figures and summaries.
    assert [path.name for path in result.figures] == FIGURES
    for path in result.figures:
        with Image.open(path) as figure:
            assert 1400 < figure.width < 1850
        assert path.stat().st_size < 400_000
    summary = json.loads((tmp_path / "demo/summary.json").read_text())
    assert summary == json.loads(json.dumps(result.to_dict()))
    assert summary["independent"] is True
    assert summary["cameras"]["electron"]["accepted"] == 168
    assert len(summary["cameras"]["electron"]["rejected"]) == 3
    text = (tmp_path / "demo/summary.txt").read_text()
    assert text == str(result) + "\n"
    assert text.startswith("verdict         Independent: no common pattern is found in ")
    assert "57 files, 171 frames of 256 x 256 uint16" in text
    assert "168 frames, 3 screened out" in text
    assert text.count("independent") == 4
    assert text.count("correlated") == 4

    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == ["taking frames", "measuring", "screening", "correcting"]
    taken = [report for report in reports if report.stage == "taking frames"]
    assert (taken[-1].done, taken[-1].total, taken[-1].bytes) == (100, 100, 100 * 200 * 224)

    # Again into the same directory: the same files, and the same numbers.
    before = contents(tmp_path / "demo")
    again = demo.run_demo(tmp_path / "demo", scale=SMALL, threads=1)
    assert contents(tmp_path / "demo") == before
    assert {**again.to_dict(), "seconds": 0} == {**result.to_dict(), "seconds": 0}


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        demo.run_demo(tmp_path / "file" / "demo")


def test_a_negative_verdict_is_told():
    class Report:
        def __init__(self, independent):
            self.verification = type("Verification", (), {"independent": independent})

    for verdicts, expected in (((True, True), True), ((True, False), False)):
        cameras = dict(zip("ab", map(Report, verdicts), strict=True))
        assert demo.Demo(None, cameras, [], 0.0).independent is expected
