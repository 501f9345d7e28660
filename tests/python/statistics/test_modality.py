"""Two modes in a sample: found at all shares, and not seen where there is one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from camnorm.statistics.modality import blurred, gap_chances, two_modes

RNG = np.random.default_rng
Make = Callable[[np.random.Generator, int], np.ndarray]

ONE_MODE: dict[str, Make] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "log-normal": lambda rng, n: np.exp(rng.normal(0, 0.5, n)),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "Student's t": lambda rng, n: rng.standard_t(3, n),
    "few counts": lambda rng, n: rng.poisson(8, n) / np.sqrt(8),
    "fewer counts": lambda rng, n: rng.poisson(3, n) / np.sqrt(3),
    "random walk of short memory": lambda rng, n: np.convolve(rng.normal(size=n + 9), np.ones(10), "valid"),
}


@pytest.mark.parametrize("kind", ONE_MODE)
def test_one_mode(kind: str) -> None:
    """1 in 1000 samples is to be taken for two modes."""
    alarms = sum(
        two_modes(ONE_MODE[kind](RNG([seed, n]), n), 0.0, float("counts" in kind))[0] > 1
        for n in (9, 12, 30, 100)
        for seed in range(100)
    )
    assert alarms <= 4  # by chance once in 10,000 times, with a rate of 1 in 500


@pytest.mark.parametrize(
    ("n", "share", "distance"),
    [
        (20, 0.5, 20),
        (60, 0.05, 20),
        (60, 0.1, 15),
        (60, 0.2, 12),
        (100, 0.05, 15),
        (100, 0.33, 8),
        (300, 0.2, 8),
    ],
)
def test_two_modes(n: int, share: float, distance: float) -> None:
    seen = 0
    for seed in range(10):
        rng = RNG(seed)
        upper = rng.permutation(n) < round(share * n)
        clearness, found = two_modes(rng.normal(size=n) + distance * upper, 0.0)
        seen += clearness > 1 and found is not None and (found != upper).sum() <= 0.01 * n
    assert seen >= 9


def test_a_narrow_mode_beside_a_broad_one() -> None:
    # Dark frames, and light that varies from frame to frame: no multiple of the broad one's width apart.
    for seed in range(10):
        rng = RNG(seed)
        dark = rng.permutation(150) < 50
        values = np.where(dark, rng.normal(3, 0.5, 150), 100 * np.exp(rng.normal(0, 0.4, 150)))
        clearness, found = two_modes(values, 0.0)
        assert clearness > 1
        assert found is not None
        assert (found == ~dark).all()


def test_distance_that_does_not_matter() -> None:
    values = RNG(1).normal(size=100) + np.repeat([0, 15], 50)
    assert two_modes(values, 10.0)[0] > 1
    assert two_modes(values, 20.0)[0] < 1


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_values(n: int) -> None:
    assert two_modes(np.arange(float(n)), 0.0) == (0.0, None)


def test_equal_values() -> None:
    assert two_modes(np.full(40, 3.0), 0.0)[0] < 1
    clearness, upper = two_modes(np.repeat([3.0, 4.0], 20), 0.0)
    assert clearness > 1
    assert upper is not None
    assert upper.sum() == 20


def test_chance_of_a_gap_of_a_uniform_sample() -> None:
    """The share of k spacings in k + 1 of them is a beta variable: its distribution function is t^k."""
    for k in (4, 6):
        shares = [np.diff(np.sort(RNG(seed).uniform(size=k + 1)))[1:].sum() for seed in range(2000)]
        gaps = [np.diff(np.sort(RNG(seed).uniform(size=k + 1)))[0] for seed in range(2000)]
        t = np.array(shares) / (np.array(shares) + gaps)
        assert stats.kstest(t ** (k - 1), "uniform").pvalue > 0.001
    order = np.sort(RNG(3).uniform(size=12))
    chances = gap_chances(order)
    right = min(k * np.log((order[6 + k] - order[6]) / (order[6 + k] - order[5])) for k in (4, 5))
    left = min(k * np.log((order[5] - order[5 - k]) / (order[6] - order[5 - k])) for k in (4, 5))
    assert chances[5] == pytest.approx(max(left, right))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 15.0]), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_scale_offset_and_sign(seed: int, distance: float, scale: float, offset: float) -> None:
    rng = RNG(seed)
    values = rng.normal(size=40) + distance * (rng.permutation(40) < 15)
    clearness, upper = two_modes(values, 0.0)
    for changed, same in ((scale * (values + offset), 1), (-values, -1)):
        again, found = two_modes(changed, 0.0)
        assert (again > 1) == (clearness > 1) or distance == 0
        if same == 1:
            assert again == pytest.approx(clearness, rel=1e-4)
        if clearness > 1:
            assert upper is not None
            assert found is not None
            assert (found == (upper if same == 1 else ~upper)).all()


def test_values_with_the_noise_that_they_have() -> None:
    order = np.repeat(np.arange(5.0), 400)
    noisy = blurred(order, 0.3)
    assert (np.diff(noisy) >= 0).all()
    for place in range(5):
        assert stats.kstest((blurred(order[order == place], 0.3) - place) / 0.3, "norm").pvalue > 0.5
    assert noisy.var() == pytest.approx(order.var() + 0.3**2, rel=0.01)
    assert (blurred(order, 0.0) == order).all()
