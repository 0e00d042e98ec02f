"""A cohort is a rule: however phones are cut into actors, each finds its own members, and everybody is as likely."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedray.fleet.cohort import CohortRule

SAMPLING = ["fixed", "poisson"]


def everybody(rule: CohortRule, round_number: int) -> list[int]:
    return rule.members(round_number, 0, rule.phones).tolist()


@given(
    st.integers(0, 2**63 - 1),
    st.integers(1, 400),
    st.floats(0.001, 1.0),
    st.sampled_from(SAMPLING),
    st.lists(st.integers(0, 400), max_size=5),
    st.integers(1, 10**6),
)
@settings(deadline=None)
def test_the_members_of_all_actors_are_those_of_the_whole(seed, phones, participation, sampling, cuts, number):
    rule = CohortRule(seed, phones, participation, sampling)
    edges = [0, *sorted(min(cut, phones) for cut in cuts), phones]
    parts = [rule.members(number, first, last) for first, last in pairwise(edges)]
    whole = everybody(rule, number)
    assert np.concatenate(parts).tolist() == whole == sorted(set(whole))
    assert set(whole) <= set(range(phones))
    assert all(part.dtype == np.int64 for part in parts)
    if sampling == "fixed":
        assert len(whole) == rule.size


@pytest.mark.parametrize(
    ("phones", "participation", "size"),
    [(10, 0.3, 3), (10, 0.001, 1), (3, 0.5, 2), (1, 0.1, 1), (1000, 0.0999, 100), (500, 1.0, 500), (7, 0.99, 7)],
)
def test_a_fixed_cohort_has_its_exact_size(phones, participation, size):
    rule = CohortRule(1, phones, participation, "fixed")
    assert rule.size == size
    assert {len(everybody(rule, number)) for number in range(1, 30)} == {size}


@pytest.mark.parametrize("sampling", SAMPLING)
def test_full_participation_is_everybody(sampling):
    rule = CohortRule(1, 50, 1.0, sampling)
    assert everybody(rule, 3) == list(range(50))
    assert rule.members(3, 20, 30).tolist() == list(range(20, 30))


@pytest.mark.parametrize("sampling", SAMPLING)
def test_everybody_is_as_likely(sampling):
    rule, rounds = CohortRule(5, 40, 0.25, sampling), 4000
    counts = np.zeros(40)
    for number in range(1, rounds + 1):
        counts[rule.members(number, 0, 40)] += 1
    share = 0.25
    scaled = ((counts - rounds * share) ** 2).sum() / (rounds * share * (1 - share))
    # Fixed cohorts are drawn without replacement, which takes one degree of freedom; the seed is fixed.
    degrees = 39 if sampling == "fixed" else 40
    scaled *= 39 / 40 if sampling == "fixed" else 1
    assert 1e-4 < stats.chi2.sf(scaled, degrees) < 1 - 1e-4


def test_pairs_are_as_likely():
    rule, rounds = CohortRule(6, 6, 0.5, "fixed"), 4000
    together = np.zeros((6, 6))
    for number in range(1, rounds + 1):
        members = rule.members(number, 0, 6)
        together[np.ix_(members, members)] += 1
    pairs = together[np.triu_indices(6, 1)]
    # 3 of 15 pairs a round; 5 standard errors
    assert np.abs(pairs / rounds - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / rounds)


def test_a_poisson_cohort_varies_in_size_as_coins_do():
    rule = CohortRule(2, 200, 0.1, "poisson")
    sizes = np.array([len(everybody(rule, number)) for number in range(1, 2001)])
    assert abs(sizes.mean() - 20) < 5 * np.sqrt(200 * 0.09 / 2000)
    assert sizes.var() == pytest.approx(200 * 0.09, rel=0.15)
    assert stats.kstest(sizes + np.random.default_rng(1).random(2000), lambda x: _between(x, 200, 0.1)).pvalue > 1e-4


def test_a_poisson_cohort_may_be_empty():
    rule = CohortRule(2, 3, 0.1, "poisson")
    assert min(len(everybody(rule, number)) for number in range(1, 50)) == 0


@pytest.mark.parametrize("sampling", SAMPLING)
def test_cohorts_differ_by_round_and_by_seed_and_come_again(sampling):
    rule = CohortRule(1, 100, 0.2, sampling)
    cohorts = [tuple(everybody(rule, number)) for number in range(1, 51)]
    assert len(set(cohorts)) == 50
    assert everybody(CohortRule(2, 100, 0.2, sampling), 1) != list(cohorts[0])
    assert everybody(CohortRule(1, 100, 0.2, sampling), 7) == list(cohorts[6])


def _between(values, phones, share):
    """The distribution of a binomial number plus a uniform one, which is continuous."""
    whole = np.floor(values)
    below = stats.binom.cdf(whole - 1, phones, share)
    return below + (values - whole) * stats.binom.pmf(whole, phones, share)
