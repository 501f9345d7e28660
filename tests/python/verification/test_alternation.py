"""Kinds of files that alternate are found, whatever their period; sets of one kind are not blamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camnorm import jsontext, measure, verify
from camnorm.verification.alternation import find_alternation, reduced
from image_sets import write_mrc, write_npy

SHAPE = (48, 48)


def as_they_are(rows: np.ndarray, first: int) -> np.ndarray:
    return rows


def alternating(count: int, period: int, strength: float, seed: int = 0) -> np.ndarray:
    """Noise of 10, a pattern of pixels, and one of each kind."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 5, SHAPE)
    own = rng.normal(0, 10 * strength, (period, *SHAPE))
    frames = 200 + common + own[np.arange(count) % period] + rng.normal(0, 10, (count, *SHAPE))
    return np.rint(frames).astype(np.uint16)


def save(folder: Path, frames: np.ndarray) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [write_npy(folder / f"{i}.npy", frame[None]) for i, frame in enumerate(frames)]


@pytest.mark.parametrize("period", [2, 3, 4, 12])
def test_kinds_that_alternate_are_found(tmp_path: Path, period: int) -> None:
    files = save(tmp_path, alternating(96, period, 0.4))
    result = verify(files[::-1])
    assert not result.independent
    assert result.alternation is not None
    assert (result.alternation.found, result.alternation.period) == (True, period)
    # Each kind keeps what is not in the mean of all kinds.
    assert result.alternation.shared == pytest.approx(0.16 / (1.16), rel=0.25)
    finding = result.findings[0]
    assert (finding.name, finding.flagged) == ("alternation", True)
    assert f"with a period of {period}, such as channels" in finding.sentence
    assert finding.sentence.endswith("Measure each kind by itself, and correct it with its own sensor file.")
    assert result.to_dict()["alternation"]["period"] == period


def test_measured_by_itself_a_kind_is_fine(tmp_path: Path) -> None:
    files = save(tmp_path, alternating(120, 2, 0.4))
    result = verify(files[::2])
    assert result.independent
    assert result.alternation is not None
    assert not result.alternation.found
    assert result.alternation.finding().sentence == "no kinds of files alternate."


def test_frames_of_a_single_file(tmp_path: Path) -> None:
    result = verify(write_mrc(tmp_path / "a.mrc", alternating(96, 3, 0.4)))
    assert not result.independent
    assert "(frames 0::3, 1::3 and so on)" in result.findings[0].sentence


def test_too_few_to_tell(tmp_path: Path) -> None:
    result = verify(save(tmp_path, alternating(10, 1, 0.0)))
    assert result.alternation is not None
    assert np.isnan(result.alternation.p)
    assert not result.alternation.found
    assert result.alternation.finding().sentence == "too few files to tell whether kinds of them alternate."
    assert '"period": 0, "p": null' in " ".join(jsontext.dumps(result.to_dict()["alternation"]).split())


def test_movies_of_few_specimens_do_not_alternate(tmp_path: Path) -> None:
    """Frames of one movie have its specimen in common, wherever they are."""
    rng = np.random.default_rng(3)
    for i in range(24):
        specimen = rng.normal(0, 10, SHAPE)
        frames = np.rint(200 + specimen + rng.normal(0, 10, (6, *SHAPE))).astype("u2")
        write_npy(tmp_path / f"{i:02d}.npy", frames)
    result = verify(tmp_path)
    assert result.alternation is not None
    assert not result.alternation.found


@pytest.mark.slow
@pytest.mark.parametrize("scene", [False, True])
def test_false_alarms(scene: bool) -> None:
    """p is uniform for independent frames: below 0.1 in a tenth of sets."""
    rng = np.random.default_rng(5)
    y, x = np.meshgrid(*[np.fft.fftfreq(24)] * 2, indexing="ij")
    filtered = 1 / np.maximum(np.hypot(y, x), 1 / 24) ** 1.5
    p = []
    for _ in range(40):
        frames = rng.normal(size=(16, 24, 24))
        if scene:
            frames = np.fft.ifft2(np.fft.fft2(frames) * filtered).real
        places = rng.choice(60, 16, replace=False).tolist()
        p.append(find_alternation(reduced(frames, as_they_are, 1), places, True).p)
    assert np.count_nonzero(np.array(p) < 0.1) <= 11  # binomial: once in 1000 by chance
    assert np.mean(p) == pytest.approx(0.5, abs=0.16)


@pytest.mark.parametrize("threads", [1, 2])
def test_reduced_frames(threads: int) -> None:
    frame = np.arange(1200 * 1300.0).reshape(1200, 1300) % 1001
    (upside_down, _), (centre, coarse) = reduced(np.stack([frame[::-1], frame]), as_they_are, threads)
    np.testing.assert_array_equal(upside_down, centre.reshape(512, 512)[::-1].ravel())
    part = frame[344:856, 394:906]
    expected = (part - part.mean()) / np.sqrt(((part - part.mean()) ** 2).sum())
    np.testing.assert_allclose(centre, expected.ravel(), atol=1e-6)
    blocks = frame[:, :1299].reshape(400, 3, 433, 3).mean((1, 3))
    blocks -= blocks.mean()
    np.testing.assert_allclose(coarse, blocks.ravel() / np.sqrt((blocks**2).sum()), atol=1e-6)
    assert [len(part) for part in reduced(np.zeros((1, 20, 30, 3)), as_they_are, threads)[0]] == [1800]
    assert not reduced(np.zeros((1, 20, 30)), as_they_are, threads)[0][0].any()


@pytest.mark.parametrize("period", [1, 2, 4])
def test_kinds_that_alternate_within_every_movie(tmp_path: Path, period: int) -> None:
    """Every file holds all kinds alike: what the frames of one kind share is still seen in single frames."""
    rng = np.random.default_rng(period)
    pattern = 3 * rng.standard_normal((64, 64))
    kinds = np.array([1.0] + [-1 / (period - 1)] * (period - 1)) if period > 1 else np.zeros(1)
    for i in range(20):
        light = 100 + pattern * np.resize(kinds, 12)[:, None, None]
        np.save(tmp_path / f"m{i:02}.npy", rng.poisson(light).astype(np.uint16))
    result = verify(tmp_path, measure(tmp_path), group=6)
    assert result.independent == (period == 1)
