"""Trends that are no straight lines are seen, whatever the noise of the levels; clean sets have none."""

from __future__ import annotations

import numpy as np
import pytest
from test_findings import RNG, correlated, screened, table

from camnorm.diagnosis.course import courses
from camnorm.diagnosis.finding import Finding
from camnorm.statistics.curves import curve

COURSES = {
    "exponential": lambda t: np.exp(-1.7 * t),
    "root": np.sqrt,
    "saturating": lambda t: 1 - np.exp(-8 * t),
    "ramp over the second half": lambda t: np.maximum(t - 0.5, 0),
    "step": lambda t: (t > 0.4).astype(float),
    "sine": lambda t: np.sin(2 * np.pi * t),
}


def levels(rng: np.random.Generator, noise: str, count: int) -> tuple[np.ndarray, int]:
    """Levels with a standard deviation of 1, and the number of frames in a file."""
    if noise == "movies":
        return np.repeat(rng.normal(size=-(-count // 8)), 8)[:count] + 0.1 * rng.normal(size=count), 8
    if noise == "long memory":
        return correlated(rng, count, 0.8), 1
    return rng.normal(size=count), count if noise == "one file" else 1


def found(means: np.ndarray, length: int) -> dict[str, Finding]:
    frames = table(means, RNG(0).normal(30, 0.3, means.size), length)
    frames["status"] = "accepted"
    return {finding.name: finding for finding in courses(screened(frames, None))}


@pytest.mark.parametrize("kind", COURSES)
@pytest.mark.parametrize("noise", ["one file", "one frame a file", "long memory", "movies"])
@pytest.mark.parametrize(("count", "size"), [(400, 30), (600, 12), (600, 3000)])
def test_courses(kind: str, noise: str, count: int, size: float) -> None:
    course = COURSES[kind](np.linspace(0, 1, count))
    course = course / np.ptp(course)
    for seed in range(2):
        noisy, length = levels(RNG(seed), noise, count)
        told = found(1000 + 10 * (noisy + size * course), length)
        assert told["mean_trend"].flagged or told["mean_steps"].flagged
        assert not told["std_trend"].flagged


@pytest.mark.parametrize("noise", ["one file", "one frame a file", "long memory", "movies"])
@pytest.mark.parametrize("count", [12, 24, 60, 200])
def test_clean_levels(noise: str, count: int) -> None:
    alarms = 0
    for seed in range(20):
        noisy, length = levels(RNG([seed, count]), noise, count)
        alarms += any(finding.flagged for finding in found(1000 + 10 * noisy, length).values())
    assert alarms <= 2


@pytest.mark.parametrize("movies", [2, 3, 5, 8, 11])
def test_specimens_of_few_movies_are_no_course(movies: int) -> None:
    for seed in range(10):
        rng = RNG([seed, movies])
        means = np.repeat(rng.normal(1000, 20, movies), 40) + rng.normal(0, 1, 40 * movies)
        assert not any(finding.flagged for finding in found(means, 40).values())


def test_few_movies_that_bleach() -> None:
    rng = RNG(1)
    course = np.tile(800 * np.exp(-np.arange(60) / 40), 4) * np.repeat([1.0, 1.1, 0.9, 1.05], 60)
    finding = found(course + rng.normal(0, 5, 240), 60)["mean_trend"]
    assert finding.flagged
    assert " within each movie, " in finding.sentence


def test_bleaching_in_words() -> None:
    time = np.arange(200)
    finding = found(800 * np.exp(-time / 120) + RNG(1).normal(0, 8, 200), 200)["mean_trend"]
    assert finding.value == pytest.approx(80, rel=0.25)
    change, rest = finding.sentence.removeprefix("the frames' mean changes by ").split(" ", 1)
    assert float(change) == pytest.approx(-648, rel=0.05)
    assert rest == (
        f"in the course of the set, {finding.value:.3g} times their scatter: light or sensor drifted; take "
        "shorter sets."
    )


def test_a_rise_from_next_to_nothing() -> None:
    course = np.where(np.arange(120) < 60, 0.3, np.linspace(0.3, 118, 120))
    told = found(RNG(2).normal(course, np.sqrt(course)), 1)
    assert told["mean_trend"].flagged or told["mean_steps"].flagged


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (-50.0, 1e5)])
@pytest.mark.parametrize("count", [20, 30, 50, 300])
def test_gain_and_offset_do_not_matter(scale: float, offset: float, count: int) -> None:
    values = RNG(count).normal(size=count) + 5 * np.sqrt(np.linspace(0, 1, count))
    first, other = curve(values), curve(scale * values + offset)
    assert first is not None
    assert other is not None
    assert other.change == pytest.approx(scale * first.change, rel=1e-6)
    assert other.scatter == pytest.approx(abs(scale) * first.scatter, rel=1e-6)
    assert other.chance == pytest.approx(first.chance, rel=1e-4)


def test_a_broken_line_is_fitted_exactly() -> None:
    times = np.arange(65) / 64
    fitted = curve(3 + times - 4 * np.maximum(times - 0.5, 0))
    assert fitted is not None
    assert fitted.change == pytest.approx(-1.5, rel=0.05)  # from 3.5 in the middle to 2
    assert fitted.scatter < 1e-6
    assert fitted.chance < 1e-12


def test_few_and_equal_values_have_no_course() -> None:
    assert curve(np.arange(11.0)) is None
    flat = curve(np.full(40, 7.0))
    assert flat is not None
    assert (flat.change == pytest.approx(0, abs=1e-9), flat.chance) == (True, 1.0)
