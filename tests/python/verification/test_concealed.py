"""What bad pixels contribute to the correlation of frames."""

from pathlib import Path

import numpy as np
import pytest

import camnorm
from image_sets import write_mrc


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Movies of independent noise, but for some hot pixels."""
    folder = tmp_path_factory.mktemp("movies")
    rng = np.random.default_rng(1)
    hot = rng.random((96, 96)) < 0.005
    for number in range(24):
        frames = rng.normal(500, 20, (8, 96, 96))
        frames[:, hot] += 400
        write_mrc(folder / f"m{number:02}.mrc", np.rint(frames).astype("u2"))
    return folder


def test_hot_pixels_carry_the_correlation_of_raw_frames(movies: Path) -> None:
    sensor = camnorm.measure(movies)
    pixels = camnorm.classify_pixels(sensor)
    result = camnorm.verify(movies, sensor, pixels=pixels)
    found = result.pixels
    assert found is not None
    assert found.flagged == pixels.flagged > 20
    assert not result.groups.raw.independent
    assert found.raw_concealed.independent
    assert found.share > 0.9
    assert found.corrected_kept.independent
    assert result.independent
    assert result.to_dict()["pixels"]["share"] == found.share


@pytest.mark.filterwarnings("ignore:.*outside the limits of the sensor")
def test_pixels_that_are_concealed_no_longer_correlate(movies: Path) -> None:
    """Pixels that have changed since the sensor was measured stay in corrected frames, unless concealed."""
    sensor = camnorm.measure(movies)
    changed = movies.parent / f"{movies.name}-later"
    changed.mkdir()
    mask = np.random.default_rng(3).random((96, 96)) < 0.005
    rng = np.random.default_rng(2)
    for number in range(24):
        frames = rng.normal(500, 20, (8, 96, 96))
        frames[:, mask] += 400
        write_mrc(changed / f"m{number:02}.mrc", np.rint(frames).astype("u2"))
    plain = camnorm.verify(changed, sensor)
    assert not plain.independent
    assert plain.pixels is None
    both = mask | camnorm.classify_pixels(sensor).bad
    result = camnorm.verify(changed, sensor, pixels=camnorm.PixelMap.from_mask(both))
    assert result.pixels is not None
    assert not result.pixels.corrected_kept.independent
    assert result.pixels.corrected_kept.p < 1e-6 < 1e-3 < result.groups.corrected.p


def test_sets_without_a_pattern_have_no_share(tmp_path: Path) -> None:
    for number in range(8):
        frames = np.random.default_rng(number).poisson(100, (4, 64, 64)).astype("u2")
        write_mrc(tmp_path / f"m{number}.mrc", frames)
    mask = np.zeros((64, 64), np.bool_)
    mask[5, 6] = True
    result = camnorm.verify(tmp_path, group=4, pixels=camnorm.PixelMap.from_mask(mask))
    assert result.pixels is not None
    assert np.isnan(result.pixels.share)
    with pytest.raises(camnorm.Error, match=r"is for frames of shape \(64, 65\)"):
        camnorm.verify(tmp_path, group=4, pixels=camnorm.PixelMap.from_mask(np.zeros((64, 65))))
