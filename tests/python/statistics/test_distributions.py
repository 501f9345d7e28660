"""Chances and limits of distributions: against scipy.special, for arguments as checks have them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from camnorm.statistics.distributions import f_chance, f_limit, normal_quantile, t_limit, trigamma

freedoms = st.floats(0.5, 20_000.0)
chances = st.floats(-9.0, -0.31).map(lambda exponent: 10.0**exponent)


@given(freedoms, freedoms, st.floats(-4.0, 4.0).map(math.exp))
def test_chances_of_f_are_those_of_scipy(a, b, ratio):
    expected = special.fdtrc(a, b, ratio)
    assert f_chance(a, b, ratio) == pytest.approx(expected, rel=1e-9, abs=1e-250)


@given(freedoms, freedoms, chances)
def test_a_limit_of_f_is_exceeded_with_the_chance(a, b, chance):
    assert special.fdtrc(a, b, f_limit(a, b, chance)) == pytest.approx(chance, rel=1e-8)


@given(st.floats(1.0, 20_000.0), chances)
def test_a_limit_of_t_is_exceeded_with_the_chance(freedom, chance):
    assert special.stdtr(freedom, -t_limit(freedom, chance)) == pytest.approx(chance, rel=1e-8)


@given(st.floats(1e-3, 1e5))
def test_trigamma_is_that_of_scipy(x):
    assert trigamma(x) == pytest.approx(float(special.polygamma(1, x)), rel=1e-13)


@given(st.floats(1e-12, 1.0, exclude_max=True))
def test_quantiles_of_the_normal_distribution_are_those_of_scipy(p):
    assert normal_quantile(p) == pytest.approx(float(special.ndtri(p)), rel=1e-9, abs=1e-14)


def test_no_ratio_is_exceeded_always_and_nan_is_no_chance():
    assert f_chance(3, 5, 0.0) == 1.0
    assert np.isnan(f_chance(3, 5, math.nan))
    assert f_chance(3, 5, 1e300) == pytest.approx(special.fdtrc(3, 5, 1e300), rel=1e-9)
