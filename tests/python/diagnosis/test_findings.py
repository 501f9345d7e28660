"""What the table of frames tells of its set: planted faults are found, and clean sets are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from camnorm import PixelMoments, Sensor, frame_statistics
from camnorm.diagnosis.finding import Finding
from camnorm.measurement.drift import Early, measure_drift
from camnorm.measurement.modes import modes
from camnorm.measurement.screening import Rules, as_dict, screen
from camnorm.screening import findings
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE
from image_sets import Divide

SEEDS = 200
RNG = np.random.default_rng

COURSES = {f"{field}_{kind}" for field in ("mean", "std") for kind in ("trend", "steps")}
OF_TABLE = {
    "rejected",
    "blank",
    "saturated",
    "duplicates",
    "mixed",
    "short_movies",
    "modes",
    "hits",
    *COURSES,
}


def table(means: np.ndarray, stds: np.ndarray, length: int = 1) -> np.ndarray:
    """Frames in files of equal length."""
    frames = np.empty(len(means), FRAME_DTYPE)
    frames["file"] = [f"/movie_{i // length:05d}.mrc" for i in range(len(means))]
    frames["index"] = np.arange(len(means)) % length
    frames["mean"], frames["std"] = means, stds
    frames["min"], frames["max"] = means - 4.5 * stds, means + 4.6 * stds
    frames["half"], frames["status"], frames["reason"] = "A", "accepted", ""
    return frames


def screened(frames: np.ndarray, k: float | None = 6.0, dtype: str = "u2") -> Sensor:
    """A sensor of such a table, as a measurement would leave it."""
    rules = Rules(k, {})
    limits, reasons = screen(frames, rules, np.dtype(dtype))
    for row, reason in reasons.items():
        frames["status"][row], frames["reason"][row] = "rejected", reason
    files = np.empty(0, FILE_DTYPE)
    halves = PixelMoments((2, 2), dtype), PixelMoments((2, 2), dtype)
    return Sensor(halves, frames, {"screening": as_dict(limits, rules), "files": files})


def flagged(sensor: Sensor) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings(sensor) if finding.flagged}


def correlated(rng: np.random.Generator, count: int, rho: float) -> np.ndarray:
    """Normal deviates of which neighbours have this correlation."""
    steps = rng.normal(size=count + 50)
    values = steps.copy()
    for i in range(1, steps.size):
        values[i] = rho * values[i - 1] + np.sqrt(1 - rho**2) * steps[i]
    return values[50:]


# --- clean sets


def normal(rng: np.random.Generator) -> np.ndarray:
    return table(rng.normal(1000, 5, 150), rng.normal(30, 0.5, 150))


def movies(rng: np.random.Generator) -> np.ndarray:
    """Frames of a movie share a specimen."""
    levels, contrasts = (np.repeat(rng.normal(*of, 40), 8) for of in ((1000, 20), (30, 2)))
    return table(levels + rng.normal(0, 1, 320), contrasts + rng.normal(0, 0.1, 320), 8)


def skewed(rng: np.random.Generator) -> np.ndarray:
    """Neighbours correlated as those of a series of micrographs, with a long tail to the bright side."""
    return table(
        1000 * np.exp(0.3 * correlated(rng, 120, 0.66)), 30 * np.exp(0.2 * correlated(rng, 120, 0.6))
    )


def strongly_correlated(rng: np.random.Generator) -> np.ndarray:
    return table(1000 + 20 * correlated(rng, 200, 0.8), 30 + correlated(rng, 200, 0.8))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [normal, movies, skewed, strongly_correlated])
def test_false_alarms_of_clean_sets(kind: Callable[[np.random.Generator], np.ndarray]) -> None:
    alarms: Counter[str] = Counter()
    for seed in range(SEEDS):
        names = flagged(screened(kind(RNG(seed))))
        alarms.update(list(names))
        alarms["any"] += bool(names)
    print(kind.__name__, {name: f"{count / SEEDS:.1%}" for name, count in alarms.items()})
    assert max(alarms.values()) <= 0.05 * SEEDS


# --- faults

N = 200
TIME = np.arange(N)


def planted(levels: np.ndarray | float = 1000.0, stds: np.ndarray | float = 30.0) -> np.ndarray:
    rng = RNG(5)
    return table(levels + rng.normal(0, 5, N), stds + rng.normal(0, 0.5, N))


def test_two_exposures_that_alternate() -> None:
    sensor = screened(planted(np.where(TIME % 2, 1000.0, 1400.0)))
    finding = flagged(sensor)["modes"]
    assert finding.sentence.startswith(
        "the frames are of 2 kinds: 100 frames of mean 1399.77 and standard deviation"
    )
    assert "; 100 frames of mean " in finding.sentence
    assert [group.tolist() for group in modes(sensor.frames, sensor.dtype)] == [
        TIME[::2].tolist(),
        TIME[1::2].tolist(),
    ]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_a_few_frames_of_another_exposure(share: float) -> None:
    # Most of them are left out as outliers; the set is mixed all the same.
    late = N * (1 - share) <= TIME
    sensor = screened(planted(np.where(late, 1400.0, 1000.0)))
    assert (sensor.frames["status"] == "rejected").tolist() == late.tolist()
    assert "modes" in flagged(sensor)
    groups = modes(sensor.frames, sensor.dtype)
    assert [group.size for group in groups] == [N - late.sum(), late.sum()]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 1 / 3, 0.5])
@pytest.mark.parametrize("length", [1, N])
@pytest.mark.parametrize("order", ["mixed", "one after the other"])
def test_two_modes_of_any_share(share: float, length: int, order: str) -> None:
    rng = RNG(6)
    few = np.arange(N) < share * N
    if order == "mixed":
        few = rng.permutation(few)
    for level, std in ((1075.0, 30.0), (20.0, 8.0)):  # 15 times the scatter; nearly black
        levels, stds = np.where(few, level, 1000.0), np.where(few, std, 30.0)
        frames = table(levels + rng.normal(0, 5, N), stds * rng.normal(1, 0.01, N), length)
        sensor = screened(frames)
        assert "modes" in flagged(sensor)
        groups = modes(sensor.frames, sensor.dtype)
        assert sorted(group.size for group in groups) == sorted([few.sum(), (~few).sum()])


def test_movies_with_specimens_of_their_own_are_no_modes_but_frames_that_alternate_are() -> None:
    rng = RNG(2)
    levels = np.repeat([1000.0, 1010.0, 1120.0, 1125.0], 50)
    frames = table(levels + rng.normal(0, 1, N), rng.normal(30, 0.1, N), 50)
    assert "modes" not in flagged(screened(frames))
    frames["mean"] += np.where(TIME % 3 == 0, 100, 0)
    assert "modes" in flagged(screened(frames))


@pytest.mark.parametrize("period", [2, 3, 4])
@pytest.mark.parametrize("dark", [20.0, 1100.0])
def test_frames_that_alternate_within_each_of_many_movies(period: int, dark: float) -> None:
    rng = RNG(3)
    count = 40 * 12
    odd = np.arange(count) % 12 % period < period // 2
    levels = np.where(odd, dark, 1000.0) + np.repeat(rng.normal(0, 4, 40), 12)
    frames = table(levels + rng.normal(0, 3, count), np.where(odd & (dark < 100), 8.0, 30.0), 12)
    groups = modes(frames, np.dtype("u2"))
    assert sorted(group.tolist() for group in groups) == sorted(
        [np.flatnonzero(odd).tolist(), np.flatnonzero(~odd).tolist()]
    )


@pytest.mark.parametrize("kind", ["bright first frame", "dose that fades"])
def test_frames_of_a_movie_that_differ_without_two_modes(kind: str) -> None:
    rng = RNG(3)
    place = np.tile(np.arange(8), 60)
    levels = {
        "bright first frame": np.where(place == 0, 1300.0, 1000.0),
        "dose that fades": 1200 - 40.0 * place,
    }[kind]
    frames = table(levels + rng.normal(0, 2, 480), rng.normal(30, 0.1, 480), 8)
    assert len(modes(frames, np.dtype("u2"))) == 1


@pytest.mark.parametrize("scale", [1e-3, 7.0])
@pytest.mark.parametrize("offset", [0.0, 5e4])
def test_modes_do_not_depend_on_gain_and_offset(scale: float, offset: float) -> None:
    for share, expected in ((0.0, False), (0.1, True)):
        frames = table(RNG(4).normal(1000, 5, N) + 80 * (share * N > TIME), RNG(5).normal(30, 0.5, N))
        for name in ("mean", "min", "max"):
            frames[name] = scale * frames[name] + offset
        frames["std"] *= scale
        assert ("modes" in flagged(screened(frames, dtype="f4"))) == expected


@pytest.mark.parametrize("dose", [0.003, 0.01, 0.5])
def test_few_counts_are_no_modes(dose: float) -> None:
    """Frames with 12 counts have few different means."""
    for seed in range(4):
        counts = RNG(seed).poisson(dose, (200, 64, 64)).astype("u1")
        frames = table(np.zeros(200), np.ones(200), 200)
        for name in ("mean", "std", "min", "max"):
            frames[name] = frame_statistics(counts)[name]
        assert len(modes(frames, np.dtype("u1"), 64 * 64)) == 1
    assert len(modes(frames, np.dtype("u1"))) > 1 or dose > 0.003  # why it takes the number of pixels


def test_three_exposures() -> None:
    sensor = screened(planted(np.array([1000.0, 1300, 1700])[TIME % 3]))
    assert flagged(sensor)["modes"].sentence.startswith("the frames are of 3 kinds: 67 frames of mean 998")
    assert [group.tolist() for group in modes(sensor.frames, sensor.dtype)] == [
        TIME[i::3].tolist() for i in range(3)
    ]


def test_two_contrasts_of_one_brightness() -> None:
    assert "modes" in flagged(screened(planted(stds=np.where(TIME % 2, 30.0, 36.0))))


def test_two_files_of_two_exposures_and_of_two_motifs() -> None:
    rng = RNG(1)
    for ratio, found in ((1.5, True), (1.02, False)):
        levels = np.repeat([1000, 1000 * ratio], N // 2) + rng.normal(0, 1, N)
        sensor = screened(table(levels, rng.normal(30, 0.1, N), N // 2))
        assert ("modes" in flagged(sensor)) == found


def test_a_ramp_is_a_trend_and_nothing_else() -> None:
    found = flagged(screened(planted(1000 + 25 * TIME / N)))
    assert set(found) == {"mean_trend"}
    assert found["mean_trend"].value == pytest.approx(5, abs=0.7)
    assert found["mean_trend"].limit == 1
    assert found["mean_trend"].sentence.startswith("the frames' mean changes by +2")


def test_a_step_is_dated() -> None:
    found = flagged(screened(planted(np.where(TIME < 80, 1000.0, 1018.0))))
    assert "mean_trend" not in found
    assert found["mean_steps"].value == pytest.approx(3.6, abs=0.5)
    place = found["mean_steps"].sentence.partition(" from ")[2].partition(",")[0]
    assert abs(int(place.removeprefix("movie_").removesuffix(".mrc")) - 80) <= 1


def test_steps_of_the_contrast() -> None:
    # Down and up again, as the halves of the set would not tell.
    stds = np.where((TIME > 60) & (TIME < 130), 24.0, 30.0)
    assert "std_steps" in flagged(screened(planted(stds=stds)))


def test_files_are_the_units_of_long_series() -> None:
    rng = RNG(8)
    levels = np.repeat(rng.normal(1000, 10, 60) + np.linspace(0, 60, 60), 20)
    found = flagged(screened(table(levels + rng.normal(0, 1, 1200), rng.normal(30, 0.3, 1200), 20)))
    assert set(found) == {"mean_trend"}


@pytest.mark.parametrize("share", [0.03, 0.45])
def test_blank_frames(share: float) -> None:
    frames = planted()
    blank = RNG(2).random(N) < share
    blank[7] = True
    frames["mean"][blank], frames["std"][blank] = 100, 1
    frames["min"][blank], frames["max"][blank] = 95, 105
    frames["std"][7] = 0
    sensor = screened(frames)
    assert (sensor.frames["status"] == "rejected").tolist() == blank.tolist()
    assert frames["reason"][7] == "screened: blank, standard deviation 0"
    assert set(flagged(sensor)) == {"blank"} | ({"rejected"} if share > 0.05 else set())
    assert flagged(sensor)["blank"].value == blank.mean()
    kept = planted()
    kept[blank] = frames[blank]
    kept["status"], kept["reason"] = "accepted", ""
    unscreened = flagged(screened(kept, None))
    assert f"{blank.sum()} blank frames of 200 are in" in unscreened["blank"].sentence


def test_dark_frames_with_noise_are_blank_too() -> None:
    frames = planted()
    frames["mean"][3], frames["std"][3], frames["min"][3], frames["max"][3] = 860, 8, 830, 890
    assert screened(frames).frames["reason"][3].startswith("screened: blank, mean 860 outside 9")


@pytest.mark.parametrize(
    ("dtype", "top", "share"), [("u2", 65535, 0.03), ("u2", 4095, 0.3), ("f4", 4095, 0.3)]
)
def test_saturated_frames(dtype: str, top: float, share: float) -> None:
    frames = planted()
    bright = RNG(3).random(N) < share
    bright[2] = True
    frames["mean"][bright], frames["std"][bright] = top - 90, 200
    frames["max"][bright] = top
    sensor = screened(frames, dtype=dtype)
    assert (sensor.frames["status"] == "rejected").tolist() == bright.tolist()
    assert frames["reason"][2] == f"screened: saturated, mean {top - 90} at the maximum"
    assert "saturated" in flagged(sensor)


def test_a_set_that_is_saturated_as_a_whole_is_told_of() -> None:
    frames = planted()
    frames["mean"], frames["std"], frames["max"] = 65400 + RNG(1).normal(0, 5, N), 300, 65535
    sensor = screened(frames)
    assert (sensor.frames["status"] == "accepted").all()
    assert "200 saturated frames of 200 are in the statistics" in flagged(sensor)["saturated"].sentence


def test_bright_frames_that_are_not_at_the_maximum_are_not_saturated() -> None:
    frames = planted()
    frames["max"] = frames["mean"] + 20  # less than a standard deviation, at no common value
    assert "saturated" not in flagged(screened(frames))


def test_frames_with_equal_statistics_in_a_set_that_was_not_screened() -> None:
    frames = planted()
    for name in ("mean", "std", "min", "max"):
        frames[name][50:53] = frames[name][10:13]
    found = flagged(screened(frames, None))
    assert found["duplicates"].sentence == "0 copies of other frames left out, 6 may be in the statistics."


def test_the_share_that_was_left_out() -> None:
    frames = planted()
    frames["mean"][:14] += np.linspace(100, 300, 14)
    found = flagged(screened(frames))
    assert found["rejected"].value == 0.07
    assert found["rejected"].sentence.startswith("14 frames of 200 (7 %) left out")


def test_mixed_files() -> None:
    sensor = screened(planted())
    group = {"shape": [64, 64], "dtype": "uint8", "camera": "", "files": 12, "frames": 60}
    other = {"shape": [32, 32], "dtype": "uint8", "camera": "Acme X1", "files": 1, "frames": 1}
    sensor.provenance["groups"] = [group, other]
    finding = flagged(sensor)["mixed"]
    assert finding.value == 1 / 61
    assert finding.sentence == (
        "the set is mixed: 12 files (60 frames) of 64 x 64 uint8; 1 file (1 frame) of 32 x 32 uint8 by "
        "Acme X1. Measure each group on its own (measure_groups)."
    )


def test_every_check_says_something_of_every_set() -> None:
    for frames in (planted(), planted()[:30], planted()[:3], planted()[:0]):
        told = findings(screened(frames))
        assert [finding.name for finding in told].count("modes") == 1
        assert {finding.name for finding in told} == OF_TABLE
        for finding in told:
            assert isinstance(finding.value, float)
            assert finding.sentence[-1] == "."
            assert isinstance(finding.flagged, bool)
            finding.to_dict()
    assert not flagged(screened(planted()[:0]))


def test_order_of_files_is_that_of_the_table() -> None:
    # Names that sort the other way round.
    frames = planted(np.where(TIME < 80, 1000.0, 1018.0))
    frames["file"] = [f"/movie_{N - i:05d}.mrc" for i in range(N)]
    assert "from movie_00120.mrc" in flagged(screened(frames))["mean_steps"].sentence


# --- the pattern of the pixels, first frames against last

SHAPE = (40, 70)


def set_of_frames(
    rng: np.random.Generator,
    count: int,
    *,
    scene: float = 0.0,
    brighter: float = 0.0,
    spread: float = 0.03,
    shape: tuple[int, int] = SHAPE,
) -> np.ndarray:
    """Frames of a sensor with a fixed pattern that does not change."""
    pattern = rng.normal(1, 0.03, shape)
    light = 1000 * (1 + spread * rng.normal(size=count)) * (1 + brighter * np.arange(count) / count)
    frames = light[:, None, None] * pattern
    if scene:
        ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
        spectra = np.fft.rfft2(rng.normal(size=frames.shape)) / (np.hypot(ky, kx) + 0.02)
        fields = np.fft.irfft2(spectra, shape)
        frames *= 1 + scene * fields / fields.std()
    return frames + rng.normal(0, 30, frames.shape)


def drift_of(frames: np.ndarray, dtype: str = "u2", split: int | None = None) -> dict[str, float]:
    """What a measurement of these frames finds, which go to the halves by turns."""
    frames = frames.round().astype(dtype)
    split = len(frames) // 2 if split is None else split
    halves = PixelMoments(frames.shape[1:], dtype), PixelMoments(frames.shape[1:], dtype)
    for i, frame in enumerate(frames):
        if i == split:
            early = Early.of(halves, split)
        halves[i % 2].add(frame, statistics=False)
    found = measure_drift(halves, early)
    assert found is not None
    return found


def drift_findings(found: dict[str, float]) -> dict[str, Finding]:
    sensor = screened(planted())
    sensor.provenance["drift"] = found
    return {finding.name: finding for finding in findings(sensor) if finding.name.startswith("drift")}


@pytest.mark.slow
@pytest.mark.parametrize(("count", "scene", "brighter"), [(16, 0.1, 0.0), (20, 0.0, 0.3)])
def test_false_alarms_of_drift(count: int, scene: float, brighter: float) -> None:
    alarms: Counter[str] = Counter()
    for seed in range(SEEDS):
        frames = set_of_frames(RNG(seed), count, scene=scene, brighter=brighter, shape=(32, 40))
        found = drift_findings(drift_of(frames))
        alarms.update(name for name, finding in found.items() if finding.flagged)
    assert max(alarms.values(), default=0) <= 0.05 * SEEDS
    assert 0.8 < found["drift"].value < 1.25


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("change", [0.3, 0.6, 1.0])
def test_a_pattern_that_changes(dtype: str, change: float) -> None:
    # The share of the pattern's variance that is another one later on.
    rng = RNG(4)
    frames = set_of_frames(rng, 120)
    other = rng.normal(0, 30, SHAPE)
    before, mean = frames[60:].mean(0), 1000.0
    frames[60:] += (np.sqrt(1 - change) - 1) * (before - mean) + np.sqrt(change) * other
    found = drift_of(frames, dtype)
    # Correlation r of the patterns is √(1 - change).
    assert found["share"] == pytest.approx(1 - np.sqrt(1 - change), abs=0.06)
    finding = drift_findings(found)["drift"]
    assert finding.flagged
    assert finding.sentence.startswith(
        "the pixels' pattern changed from the first 60 frames to the last 60: "
    )


def test_z_against_its_definition() -> None:
    frames = set_of_frames(RNG(1), 40, spread=0.0).round()
    frames[20:] += RNG(2).normal(0, 20, SHAPE).round()
    first, last = frames[:20], frames[20:]
    welch = (last.mean(0) - first.mean(0)) / np.sqrt(first.var(0, ddof=1) / 20 + last.var(0, ddof=1) / 20)
    found = drift_of(frames)
    assert found["rms_z"] == pytest.approx(np.sqrt((welch**2).mean()), rel=0.05)
    assert (found["first"], found["second"], found["pixels"]) == (20, 20, SHAPE[0] * SHAPE[1])


def test_dust_that_comes() -> None:
    frames = set_of_frames(RNG(3), 60, shape=(96, 128))
    frames[30:, 10:16, 30:38] *= 0.7
    found = drift_findings(drift_of(frames))
    assert found["drift_pixels"].flagged
    assert found["drift_pixels"].value == pytest.approx(48, abs=3)
    assert not found["drift"].flagged


@pytest.mark.parametrize("count", [4, 6, 8, 12, 30])
@pytest.mark.parametrize("dose", [None, 5.0, 0.5])
def test_pixels_of_few_frames_do_not_change(count: int, dose: float | None) -> None:
    # Standard errors of few frames are often too small, and those of few counts are often 0.
    for seed in range(4):
        rng = RNG([seed, count])
        if dose is None:
            frames = set_of_frames(rng, count, spread=0.0, shape=(96, 128))
        else:
            frames = rng.poisson(dose, (count, 96, 128))
        found = drift_findings(drift_of(frames))
        assert not found["drift_pixels"].flagged
        assert found["drift_pixels"].value <= 1


@pytest.mark.parametrize(("count", "errors"), [(8, 40), (30, 12), (100, 9), (500, 9)])
def test_pixels_that_change_by_some_standard_errors(count: int, errors: float) -> None:
    frames = set_of_frames(RNG(7), count, spread=0.0, shape=(32, 48))
    changed = RNG(8).choice(32 * 48, 40, replace=False)
    frames.reshape(count, -1)[count // 2 :, changed] += errors * 30 * np.sqrt(4 / count)
    found = drift_findings(drift_of(frames))["drift_pixels"]
    assert found.flagged
    assert found.value >= 36
    assert found.sentence.endswith(
        "pixels of 1536 compared changed from the first frames to the last by more than chance explains "
        "(6 standard errors, more for few frames): dust moved, or pixels went bad; take shorter sets."
    )


def test_a_light_that_grows_is_no_drift_of_the_pattern() -> None:
    found = drift_of(set_of_frames(RNG(3), 100, brighter=0.5))
    assert found["brightness"] == pytest.approx(1.375 / 1.125, rel=0.02)
    assert not any(finding.flagged for finding in drift_findings(found).values())


def test_rounding_of_the_first_mean_is_no_change() -> None:
    # Pixels that hardly vary, far from zero: float32 is coarser than the standard error of their mean.
    frames = np.full((2000, 8, 8), 60001.0)
    frames[::500] += 1
    found = drift_of(frames + RNG(1).integers(0, 5000, (8, 8)))
    assert found["beyond_6_sigma"] == 0


def test_pixels_that_go_from_one_constant_to_another() -> None:
    frames = set_of_frames(RNG(1), 40)
    frames[:20, 3, :5], frames[20:, 3, :5] = 100, 900
    assert drift_of(frames)["beyond_6_sigma"] == 5


def test_colour_planes_are_on_their_own() -> None:
    frames = np.stack([set_of_frames(RNG(i), 60) for i in range(3)], axis=-1)
    assert not any(finding.flagged for finding in drift_findings(drift_of(frames)).values())
    frames[30:, ..., 1] += RNG(9).normal(0, 40, SHAPE)
    assert drift_of(frames)["beyond_6_sigma"] > 200


@pytest.mark.parametrize(("count", "split"), [(3, 1), (4, 3), (2, 1)])
def test_few_frames_tell_nothing_of_drift(count: int, split: int) -> None:
    halves = PixelMoments((4, 4), "u2"), PixelMoments((4, 4), "u2")
    for i, frame in enumerate(RNG(0).integers(0, 9, (count, 4, 4)).astype("u2")):
        if i == split:
            early = Early.of(halves, split)
        halves[i % 2].add(frame)
    assert measure_drift(halves, early) is None


def test_constant_frames_tell_nothing_of_drift() -> None:
    halves = PixelMoments((20, 20), "u2"), PixelMoments((20, 20), "u2")
    for half in halves:
        half.add(np.full((8, 20, 20), 7, "u2"))
    assert measure_drift(halves, Early(np.full((20, 20), 7, np.float32), 8, 8)) is None


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_frames_taken_back_from_the_first_mean(dtype: str) -> None:
    frames = RNG(0).uniform(0, 250, (60, 30, 50)).astype(dtype)
    halves = PixelMoments((30, 50), dtype), PixelMoments((30, 50), dtype)
    halves[0].add(frames[:30])
    halves[1].add(frames[30:])
    early = Early.of(halves, 60)
    for first in range(40, 55, 3):
        early.subtract(frames[first : first + 3])
    assert (early.count, early.roundings) == (45, 6)
    kept = np.delete(frames, np.s_[40:55], axis=0).astype(float).mean(0)
    np.testing.assert_allclose(early.mean, kept, rtol=16 * 2.0**-25 * 60 / 45)


def test_of_large_frames_rows_evenly_spread_are_looked_at(divide: Divide) -> None:
    frames = set_of_frames(RNG(1), 40, shape=(200, 64))
    frames[20:, 32:64, 5] += 300  # in the second tiles
    assert drift_of(frames)["pixels"] == 200 * 64
    divide(drift_pixels=3 * 32 * 64)
    found = drift_of(frames)
    assert found["pixels"] == 2 * 32 * 64  # tiles 1 and 4 of 7
    assert found["beyond_6_sigma"] == 32
    assert not drift_findings(found)["drift"].flagged


# --- lengths of movies


def of_lengths(*lengths: int, **provenance: object) -> Finding:
    rng = RNG(3)
    frames = table(rng.normal(1000, 5, sum(lengths)), rng.normal(30, 0.5, sum(lengths)))
    frames["file"] = np.repeat([f"/movie_{i}.mrc" for i in range(len(lengths))], lengths)
    frames["index"] = np.concatenate([np.arange(length) for length in lengths])
    sensor = screened(frames)
    sensor.provenance.update(provenance)
    (found,) = (finding for finding in findings(sensor) if finding.name == "short_movies")
    return found


@pytest.mark.parametrize(
    ("lengths", "short"),
    [((24, 7), 1), ((7, 24), 1), ((24, 24, 7), 1), ((40, 40, 40, 39, 12, 40), 2), ((2, 2, 1), 1)],
)
def test_movies_that_are_shorter_than_most(lengths: tuple[int, ...], short: int) -> None:
    found = of_lengths(*lengths)
    assert (found.flagged, found.value, found.limit) == (True, short, 0)


def test_short_movies_are_named() -> None:
    rest = "Files may be truncated, or were still being copied; measure again when all files are complete."
    one, two = of_lengths(24, 7), of_lengths(24, 24, 24, 7, 9)
    assert one.sentence == f"1 movie is shorter than usual (movie_1.mrc: 7 of 24 frames). {rest}"
    assert two.sentence == f"2 movies are shorter than usual (movie_3.mrc: 7 of 24 frames, ...). {rest}"


@pytest.mark.parametrize(
    "lengths", [(24,), (24, 24), (1, 1, 1), (1, 1, 24), (24, 24, 24, 48), (10, 20, 30, 40, 50)]
)
def test_movies_of_other_lengths_that_are_no_fault(lengths: tuple[int, ...]) -> None:
    assert not of_lengths(*lengths).flagged


def test_lengths_that_a_sample_does_not_tell() -> None:
    for options in ({"every": 7}, {"max_frames": 30}):
        found = of_lengths(24, 24, 7, selection=options)
        assert not found.flagged
        assert np.isnan(found.value)
    assert not of_lengths(24, 24, 7, frames_list={"path": "list.csv", "digest": "0"}).flagged
    assert of_lengths(24, 24, 7, selection={"every": 1, "max_frames": None}).flagged
