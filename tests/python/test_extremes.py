"""Sets of very large, very small, equal and few numbers: results, or one clear error, and no warnings."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import camnorm
from camnorm import cli
from camnorm.correction.adjustments import Adjustments
from camnorm.diagnosis.fixedpattern import tells_pattern
from camnorm.sensor.balance import harm_of

SHAPE = (24, 28)
RNG_SEED = 4


def noise(count: int = 24, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Frames with a fixed pattern."""
    rng = np.random.default_rng(RNG_SEED)
    return rng.normal(0, 1, (count, *shape)) + rng.normal(0, 0.5, shape)


def counts(dtype: str, count: int = 24, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).poisson(20, (count, *shape)).astype(dtype)


def scaled(dtype: str) -> dict[str, np.ndarray]:
    scales = (1e-45, 1e-38, 1e15, 1e37) if dtype == "f4" else (1e-300, 1e-160, 1e-140, 1e50, 1e100, 1e143)
    return {
        f"{dtype} {scale:g} x {name}": (values * scale).astype(dtype)
        for scale in scales
        for name, values in (("noise", noise()), ("negative", noise() - 5), ("offset", 9 + 1e-6 * noise()))
    }


def special(dtype: str) -> dict[str, np.ndarray]:
    one_pixel = np.full((24, *SHAPE), 9, dtype)
    one_pixel[:, 3, 3] = np.arange(24)
    one_value = np.zeros((24, *SHAPE), dtype)
    one_value[5, 3, 3] = 1
    half = counts(dtype)
    half[:, :, :14] = 3
    level = np.arange(24).reshape(-1, 1, 1)
    return {
        f"{dtype} {name}": frames
        for name, frames in {
            "zero": np.zeros((24, *SHAPE), dtype),
            "constant": np.full((24, *SHAPE), 100, dtype),
            "flat frames": np.broadcast_to(level, (24, *SHAPE)).astype(dtype),
            "one frame": counts(dtype, 1),
            "two frames": counts(dtype, 2),
            "three frames": counts(dtype, 3),
            "equal frames": np.repeat(counts(dtype, 1), 24, 0),
            "one pixel": one_pixel,
            "one value": one_value,
            "half": half,
            "one row": counts(dtype, shape=(1, 9)),
            "one column": counts(dtype, shape=(9, 1)),
            "single": counts(dtype, shape=(1, 1)),
            "colour": counts(dtype, shape=(*SHAPE, 3)),
        }.items()
    }


def nan() -> dict[str, np.ndarray]:
    some, hot = noise(), noise()
    some[3, 2, 2] = np.nan
    hot[:, 2, 2], hot[1, 2, 2] = 1e30, -1e30
    return {"f8 NaN": some, "f8 hot pixel": hot}


SETS = {**scaled("f4"), **scaled("f8"), **nan()}
for _dtype in ("u1", "f4"):
    SETS |= special(_dtype)


def write(folder: Path, frames: np.ndarray) -> Path:
    step = max(1, len(frames) // 6)
    for start in range(0, len(frames), step):
        np.save(folder / f"m{start:02}.npy", frames[start : start + step])
    return folder


@pytest.mark.parametrize("name", SETS)
def test_all_that_is_told_of_a_set(tmp_path: Path, name: str) -> None:
    """Any warning, as of an overflow, is an error here."""
    frames = SETS[name]
    folder = write(tmp_path, frames)
    sensor = camnorm.measure(folder, response=True, screen="off", threads=1)
    camnorm.screening.findings(sensor)
    convergence = camnorm.frames_needed(sensor)
    assert all(convergence.advice())
    assert camnorm.check(sensor, convergence)
    if tells_pattern(sensor):
        pattern = camnorm.fixed_pattern(sensor)
        assert not pattern.derating(12) > 1
    for mode in ("both", "mean", "gain", "response"):
        harm_of(sensor, Adjustments(mode, keep_illumination=True))
        with suppress(camnorm.Error, ValueError):  # of sets that leave nothing to correct with
            correction = sensor.correction(mode=mode, keep_illumination=True, shrink=True)
            correction.apply(frames[:2], dtype=np.float64)
    with suppress(camnorm.Error, ValueError):  # of frames that are too few, or have no rings
        camnorm.verify(folder, sensor, threads=1)


@pytest.mark.parametrize(
    "name",
    [
        "f8 1e-140 x noise",
        "f8 1e+143 x noise",
        "f8 1e-300 x noise",
        "f4 1e+15 x offset",
        "f8 hot pixel",
        "u1 one pixel",
        "u1 zero",
        "u1 one frame",
        "u1 one row",
        "u1 single",
    ],
)
def test_pictures(tmp_path: Path, name: str) -> None:
    sensor = camnorm.measure(write(tmp_path, SETS[name]), screen="off", threads=1)
    figure = camnorm.plot.sensor_figure(
        sensor.mean,
        sensor.sigma,
        sensor.frames["mean"],
        sensor.frames["std"],
        rejected=sensor.frames["status"] == "rejected",
        convergence=camnorm.frames_needed(sensor),
        pattern=camnorm.fixed_pattern(sensor) if tells_pattern(sensor) else None,
    )
    camnorm.plot.save(figure, tmp_path / "figure.png")


@pytest.mark.parametrize("exponent", [-464, -100, 100, 460])  # 2^-464 is 1e-140
def test_results_do_not_depend_on_the_unit(tmp_path: Path, exponent: int) -> None:
    frames = noise(32) + 3
    sensors = []
    for name, factor in (("plain", 1.0), ("scaled", 2.0**exponent)):
        (tmp_path / name).mkdir()
        sensors.append(camnorm.measure(write(tmp_path / name, frames * factor), screen="off", threads=1))
    plain, other = map(camnorm.frames_needed, sensors)
    for name in ("ratio", "ratio_limits", "kurtosis", "residual"):
        assert getattr(other, name) == getattr(plain, name)
    assert math.log2(other.noise) == pytest.approx(math.log2(plain.noise) + exponent, rel=1e-12)
    curves = [camnorm.frc(sensor.halves[0].mean(), sensor.halves[1].mean()) for sensor in sensors]
    np.testing.assert_allclose(curves[1].correlation, curves[0].correlation, rtol=1e-12)
    np.testing.assert_allclose(curves[1].z, curves[0].z, rtol=1e-9)
    images = [sensor.correction(keep_illumination=True, shrink=True) for sensor in sensors]
    got = images[1].apply(frames * 2.0**exponent, dtype=np.float64) / 2.0**exponent
    np.testing.assert_allclose(got, images[0].apply(frames, dtype=np.float64), rtol=1e-9, atol=1e-9)


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A set near 1e-140 ended with a ZeroDivisionError."""
    folder = write(tmp_path, noise() * 1e-140)
    camnorm.measure(folder, tmp_path / "s.h5")
    monkeypatch.setattr("sys.argv", ["camnorm", "show", str(tmp_path / "s.h5")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    assert (end.value.code or 0, shown.err) == (0, "")
    assert "precision:" in shown.out
