"""Half A and half B of a set: balanced, the same in any order, and mixed where kinds of files alternate."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camnorm.io.base.halves import halves_of, natural_order, scattered
from image_sets import half_numbers


def test_the_sequence_never_changes() -> None:
    """Sensor files of other versions and machines must go together."""
    told = "ABBABAABABBABAABABBABAABBAABABBAABBAABBABAABBAABABBABAABABBABAABABBABAABBAABABBABAABABBABAABABBA"
    assert "".join("AB"[half] for half in halves_of(range(96))) == told
    assert np.array_equal(halves_of(range(20_000)), half_numbers(20_000))


@given(st.integers(0, 10**12))
def test_one_of_two_consecutive_goes_to_each_half(pair: int) -> None:
    assert set(halves_of([2 * pair, 2 * pair + 1]).tolist()) == {0, 1}


@given(st.integers(0, 3000), st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 11))
def test_balance_of_files_that_recur(count: int, period: int, first: int) -> None:
    """Each kind of files that alternate is in both halves alike, but for some of the last 24 files."""
    signs = 1 - 2 * halves_of(np.arange(count)[first % period :: period])
    assert abs(signs.sum()) <= {1: 1, 2: 1, 3: 4, 4: 3, 6: 2, 12: 1}[period]


@pytest.mark.parametrize("period", [5, 7, 8, 9, 10, 11, 16, 24, 48])
def test_balance_at_any_other_period(period: int) -> None:
    signs = 1 - 2 * half_numbers(9600)
    for first in range(period):
        kind = signs[first::period]
        assert abs(kind.sum()) < 4.5 * np.sqrt(kind.size)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_rejected_files_take_no_half_away(keep: list[bool]) -> None:
    """Whichever files are lost, the halves differ by no more than chance: at most by one for each loss."""
    signs = 1 - 2 * halves_of(range(len(keep)))
    assert abs(signs[keep].sum()) <= keep.count(False) + 1


NAMES = st.lists(
    st.from_regex(r"\A(a|b|movie_|x1y)?[0-9]{1,4}(_c[0-9])?\.mrc\Z"), min_size=1, max_size=40, unique=True
)


@given(NAMES, st.randoms(use_true_random=False))
def test_order_of_the_inputs_does_not_matter(names: list[str], rng: random.Random) -> None:
    halves = dict(zip(names, halves_of(natural_order(names)).tolist(), strict=True))
    shuffled = names + names[::3]  # some are named twice
    rng.shuffle(shuffled)
    again = zip(shuffled, halves_of(natural_order(shuffled)).tolist(), strict=True)
    assert all(halves[name] == half for name, half in again)
    assert abs(sum(halves.values()) - len(names) / 2) <= 0.5


def test_natural_order() -> None:
    names = ["m10_c1", "m2_c2", "m2_c1", "m10_c2", "m1", "m01", "b/9", "b/10", "9", "a²"]
    order = np.argsort(natural_order(names))
    expected = ["9", "a²", "b/9", "b/10", "m01", "m1", "m2_c1", "m2_c2", "m10_c1", "m10_c2"]
    assert [names[i] for i in order] == expected


@given(st.integers(1, 5000), st.integers(1, 40))
def test_scattered(count: int, most: int) -> None:
    found = scattered(count, most)
    assert found == sorted(set(found))
    assert len(found) == min(count, most)
    assert all(part * count // len(found) <= place for part, place in enumerate(found))
    assert found[-1] < count


def test_scattered_files_are_of_every_kind() -> None:
    for period in (2, 3, 4):
        for count in range(120, 400):
            kinds = {place % period for place in scattered(count, 9)}
            assert len(kinds) >= 2


def test_no_library_draws_the_numbers(tmp_path: Path) -> None:
    code = "import numpy.random; del numpy.random.default_rng\n"
    code += "from camnorm.io.base.halves import halves_of; print(*halves_of(range(30)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(half) for half in half_numbers(30)]
