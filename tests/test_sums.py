"""Sums don't depend on who adds them up, in what order or grouping; and they are as exact as they claim."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedray.sums import LARGEST_UPDATE, Grid, fits, from_limbs, limbs_hold, merged, to_limbs

UPDATES = st.floats(-LARGEST_UPDATE, LARGEST_UPDATE, width=32)
ANYTHING = st.floats(-(2.0**62), 2.0**62)
INT64 = np.iinfo(np.int64)


@st.composite
def phones(draw):
    """Updates `[phones, D]` of some phones, and their weights."""
    count = draw(st.integers(1, 12))
    values = draw(arrays.arrays(np.float32, (count, 3), elements=UPDATES))
    return values, draw(arrays.arrays(np.int64, count, elements=st.integers(0, 1000)))


@given(phones(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_a_grid_sum_does_not_depend_on_order_or_grouping(drawn, random, parts):
    values, weights = drawn
    grid = Grid.of(float(weights.sum()))
    whole = grid.units(values, weights).sum(axis=0)
    order = list(range(len(weights)))
    random.shuffle(order)
    groups = [grid.units(values[part], weights[part]).sum(axis=0) for part in (order[i::parts] for i in range(parts))]
    random.shuffle(groups)
    assert np.array_equal(np.sum(groups, axis=0), whole)


@given(phones())
def test_a_grid_sum_is_right_to_half_a_unit_a_phone(drawn):
    values, weights = drawn
    grid = Grid.of(float(weights.sum()))
    exact = [sum(Fraction(float(v)) * int(w) for v, w in zip(column, weights, strict=True)) for column in values.T]
    got = [Fraction(int(units), 2**grid.exponent) for units in grid.units(values, weights).sum(axis=0)]
    assert max(abs(a - b) for a, b in zip(exact, got, strict=True)) <= Fraction(len(weights), 2 ** (grid.exponent + 1))


@given(st.integers(1, 2**40))
def test_the_largest_sum_of_all_phones_fits_int64(total_weight):
    grid = Grid.of(total_weight)
    largest = grid.units(np.full((1, 1), LARGEST_UPDATE), np.array([total_weight]))
    assert int(largest[0, 0]) == int(LARGEST_UPDATE) * total_weight << grid.exponent
    assert 0 < int(largest[0, 0]) <= 2**62


@pytest.mark.parametrize(("total", "exponent"), [(0, 55), (1, 55), (2, 54), (3, 53), (25_000, 40), (2**20, 35)])
def test_the_grid_of_a_total_weight(total, exponent):
    assert Grid.of(total) == Grid(exponent)


def test_units_round_half_to_even_and_give_their_value_back():
    grid = Grid(1)
    units = grid.units(np.array([[0.25, 0.75, -0.25, 1.0]]), np.array([1.0]))
    assert units.tolist() == [[0, 2, 0, 2]]
    assert grid.value(units).tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_which_updates_fit():
    limit = LARGEST_UPDATE
    rows = np.array([[limit, -limit], [0, np.nextafter(limit, np.inf)], [np.nan, 0], [np.inf, 0], [0, -np.inf]])
    assert fits(rows).tolist() == [True, False, False, False, False]


@given(st.lists(ANYTHING, min_size=1, max_size=20), st.randoms(use_true_random=False), st.integers(1, 4))
def test_limbs_add_exactly_in_any_order_and_grouping(values, random, parts):
    exact = sum(_on_the_limbs_grid(value) for value in values)
    random.shuffle(values)
    groups = [to_limbs(np.array(values[i::parts])).sum(axis=1) for i in range(parts)]
    total = np.sum(groups, axis=0)
    assert _worth(total) == exact
    assert float(from_limbs(total)) == exact.numerator / exact.denominator  # int / int rounds correctly


@given(ANYTHING)
def test_a_number_of_units_of_the_grid_comes_back_as_it_was(value):
    if _on_the_limbs_grid(value) == Fraction(value):
        assert float(from_limbs(to_limbs(np.array(value)))) == value
    assert abs(_worth(to_limbs(np.array(value))) - Fraction(value)) <= Fraction(1, 2**53)


def test_limbs_of_the_extremes_leave_room_for_2_to_the_24_addends():
    worst = np.array([2.0**62, -(2.0**62), np.nextafter(2.0**62, 0), 2.0**24 - 2.0**-28, 2.0**-15 - 2.0**-52])
    assert np.abs(to_limbs(worst)).max() * 2**24 <= INT64.max


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.nextafter(2.0**62, np.inf)])
def test_what_limbs_do_not_hold_is_refused(value):
    assert not limbs_hold(np.array(value))
    with pytest.raises(ValueError, match="only finite values up to 2\\^62"):
        to_limbs(np.array([0.0, value]))


def test_limbs_keep_the_shape():
    assert to_limbs(np.zeros((4, 5))).shape == (3, 4, 5)
    assert from_limbs(to_limbs(np.ones((4, 5)))).tolist() == np.ones((4, 5)).tolist()


def test_merged_sums_keep_what_only_one_has():
    left, right = {"a": np.array([1]), "b": np.array([2])}, {"b": np.array([3]), "c": np.array([4])}
    assert {name: int(units[0]) for name, units in merged(left, right).items()} == {"a": 1, "b": 5, "c": 4}
    assert left["b"][0] == 2


def _on_the_limbs_grid(value: float) -> Fraction:
    """The value in whole units of 2^-52, rounded half to even."""
    return Fraction(round(Fraction(value) * 2**52), 2**52)


def _worth(limbs) -> Fraction:
    high, middle, low = (int(limb) for limb in limbs)
    return Fraction((high << 76) + (middle << 38) + low, 2**52)
