"""Statistics of sequences: against scipy, against their definitions, and on planted trends and steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from camnorm.statistics.sequences import arc, course, dip, inflation_of, mann_kendall, pettitt, theil_sen

FEW = st.lists(st.integers(-20, 20), min_size=3, max_size=9)


def dip_by_definition(values: np.ndarray) -> float:
    """Distance of the closest unimodal distribution: a linear program for each place of the mode."""
    places, counts = np.unique(values, return_counts=True)
    after = np.cumsum(counts) / values.size
    before = after - counts / values.size
    n = places.size
    best = 1.0
    for mode in range(n):
        # Unknown: G at every place (at the mode its limit from the left), G right of the mode, distance.
        rows, bounds = [], []

        def at_most(
            bound: float, *terms: tuple[int, float], into: tuple[list, list] = (rows, bounds)
        ) -> None:
            row = np.zeros(n + 2)
            for index, factor in terms:
                row[index] += factor
            into[0].append(row)
            into[1].append(bound)

        for i in range(n):
            right = n if i == mode else i
            at_most(before[i], (i, 1.0), (n + 1, -1.0))
            at_most(-before[i], (i, -1.0), (n + 1, -1.0))
            at_most(after[i], (right, 1.0), (n + 1, -1.0))
            at_most(-after[i], (right, -1.0), (n + 1, -1.0))
        at_most(0.0, (mode, 1.0), (n, -1.0))
        left, right = [*range(mode + 1)], [n, *range(mode + 1, n)]
        for side, sign in ((left, 1.0), (right, -1.0)):
            x = places[side[0] : side[0] + len(side)] if sign > 0 else places[mode:]
            for a, b in itertools.pairwise(side):
                at_most(0.0, (a, 1.0), (b, -1.0))
            for k in range(len(side) - 2):
                one, other = 1 / (x[k + 1] - x[k]), 1 / (x[k + 2] - x[k + 1])
                at_most(
                    0.0,
                    (side[k], -sign * one),
                    (side[k + 1], sign * (one + other)),
                    (side[k + 2], -sign * other),
                )
        cost = np.zeros(n + 2)
        cost[-1] = 1.0
        found = optimize.linprog(cost, rows, bounds, bounds=[(0, 1)] * (n + 1) + [(0, None)])
        best = min(best, found.fun)
    return best


@settings(max_examples=40)
@given(FEW)
def test_dip_by_definition(values: list[int]) -> None:
    array = np.array(values, float)
    expected = max(dip_by_definition(array), 1 / (2 * array.size))
    assert dip(array) == pytest.approx(expected, abs=1e-7)


def test_dip_of_two_points_and_of_equal_steps() -> None:
    assert dip(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.25)
    assert dip(np.arange(100.0)) == pytest.approx(1 / 200)
    assert dip(np.full(10, 3.0)) == pytest.approx(1 / 20)


@given(FEW, st.sampled_from([-2.0, 0.5, 4.0]), st.integers(-9, 9))
def test_dip_does_not_depend_on_scale_and_direction(values: list[int], scale: float, offset: int) -> None:
    array = np.array(values, float)
    assert dip(scale * array + offset) == pytest.approx(dip(array), abs=1e-12)


def test_quantiles_of_the_dip() -> None:
    # Hartigan & Hartigan 1985, Table 1: n = 50, quantiles 0.5 and 0.95 of samples of a uniform distribution.
    rng = np.random.default_rng(0)
    dips = [dip(rng.random(50)) for _ in range(1500)]
    assert np.quantile(dips, 0.5) == pytest.approx(0.0471, abs=0.002)
    assert np.quantile(dips, 0.95) == pytest.approx(0.0702, abs=0.004)


@given(FEW)
def test_theil_sen_and_mann_kendall(values: list[int]) -> None:
    array, times = np.array(values, float), np.arange(len(values), dtype=float) ** 1.5
    slope, intercept = theil_sen(times, array)
    assert slope == pytest.approx(stats.theilslopes(array, times).slope, abs=1e-12)
    assert intercept == pytest.approx(np.median(array - slope * times), abs=1e-12)
    pairs = [(i, j) for i in range(array.size) for j in range(i + 1, array.size)]
    score = sum(np.sign(array[j] - array[i]) for i, j in pairs)
    n = array.size
    ties = sum(t * (t - 1) * (2 * t + 5) for t in np.unique(array, return_counts=True)[1].tolist())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    expected = 2 * stats.norm.sf(max(abs(score) - 1, 0) / np.sqrt(variance)) if variance else 1.0
    assert mann_kendall(array) == pytest.approx(expected, rel=1e-9)


def test_mann_kendall_is_kendalls_tau_with_time() -> None:
    rng = np.random.default_rng(2)
    for slope in (0.0, 0.01, 0.03):
        values = slope * np.arange(80) + rng.normal(size=80)
        tau = stats.kendalltau(np.arange(80), values, method="asymptotic")
        assert mann_kendall(values) == pytest.approx(tau.pvalue, rel=0.2, abs=1e-12)


@given(FEW)
def test_pettitt_by_definition(values: list[int]) -> None:
    array = np.array(values, float)
    n = array.size
    scores = [abs(np.sign(array[:t, None] - array[None, t:]).sum()) for t in range(1, n)]
    position, chance = pettitt(array)
    assert scores[position - 1] == max(scores)
    assert chance == pytest.approx(min(1.0, 2 * np.exp(-6 * max(scores) ** 2 / (n**3 + n**2))))


@given(FEW)
def test_arc_by_definition(values: list[int]) -> None:
    array = np.array(values, float)
    n = array.size
    first, last, chance = arc(array)
    ranks = stats.rankdata(array)

    def deviate(i: int, j: int) -> float:
        m = j - i
        return abs(ranks[i:j].sum() - m * (n + 1) / 2) / np.sqrt(m * (n - m) * (n + 1) / 12)

    stretches = [(i, j) for i in range(n) for j in range(i + 1, n + 1) if j - i < n]
    largest = max(deviate(i, j) for i, j in stretches)
    assert deviate(first, last) == pytest.approx(largest)
    assert chance == pytest.approx(min(1.0, 2 * stats.norm.sf(largest) * len(stretches)))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_inflation_by_correlated_neighbours(rho: float) -> None:
    rng = np.random.default_rng(1)
    values = np.zeros(20_000)
    for i, step in enumerate(rng.normal(size=values.size)):
        values[i] = rho * values[i - 1] + step
    assert inflation_of(values, 1) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)
    assert inflation_of(np.zeros(50), 1) == 1.0


# --- trend and steps


def test_few_values_have_no_course() -> None:
    assert course(np.arange(11.0)) is None


@pytest.mark.parametrize("n", [12, 50, 500, 7000])
def test_equal_values_do_nothing(n: int) -> None:
    found = course(np.full(n, 7.25))
    assert found is not None
    assert (found.trend, found.steps, found.scatter) == (0.0, (), 0.0)
    assert found.trend_chance == 1.0


@pytest.mark.parametrize("n", [40, 300, 5000])
def test_a_trend_is_no_step(n: int) -> None:
    values = 100 + 8 * np.arange(n) / (n - 1) + np.random.default_rng(n).normal(0, 1, n)
    found = course(values)
    assert found is not None
    assert found.trend == pytest.approx(8, abs=1.0)
    assert found.trend_chance < 1e-6
    assert found.steps == ()
    assert found.scatter == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("n", [40, 300, 5000])
def test_a_step_is_no_trend(n: int) -> None:
    at = n // 3
    values = np.where(np.arange(n) < at, 100, 106) + np.random.default_rng(n).normal(0, 1, n)
    found = course(values)
    assert found is not None
    (step,) = found.steps
    assert abs(step.position - at) <= 1
    assert step.change == pytest.approx(6, abs=1.0)
    assert abs(found.trend) < 1
    assert found.scatter == pytest.approx(1, abs=0.3)


def test_steps_up_and_down() -> None:
    values = np.random.default_rng(3).normal(0, 1, 400)
    values[120:250] += 5
    found = course(values)
    assert found is not None
    assert [step.position for step in found.steps] == pytest.approx([120, 250], abs=1)
    assert [step.change for step in found.steps] == pytest.approx([5, -5], abs=0.5)


def test_a_trend_with_a_step() -> None:
    values = np.random.default_rng(4).normal(0, 1, 600) + np.arange(600) / 30
    values[200:] += 8
    found = course(values)
    assert found is not None
    assert [step.position for step in found.steps] == pytest.approx([200], abs=2)
    assert found.trend_chance < 1e-6


def test_outliers_do_not_matter() -> None:
    values = np.random.default_rng(5).normal(0, 1, 200)
    values[[20, 90, 91, 150]] = 1e6
    found = course(values)
    assert found is not None
    assert found.steps == ()
    assert found.trend_chance > 0.01
    assert found.scatter < 1.3
