"""Draws depend on their address alone, are as uniform as they claim, and stay what they are.

Statistics are over fixed seeds, so a test passes always or never. A threshold of 5 standard errors, or a p-value above
1e-4, leaves room for the seed and none for a defect.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedray.randomness import Purpose, bits, integers, key, permuted, shuffles, torch_seed, uniform

N = 200_000
SEEDS = st.integers(0, 2**64 - 1)
PARTS = st.integers(0, 2**63 - 1)
A_KEY = key(1, Purpose.SHUFFLE)


@given(SEEDS, st.lists(PARTS, min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_a_key_does_not_depend_on_order_or_company(seed, phones, random):
    alone = {phone: int(key(seed, Purpose.COHORT, 3, phone)) for phone in phones}
    random.shuffle(phones)
    together = key(seed, Purpose.COHORT, 3, np.array(phones))
    assert together.dtype == np.uint64
    assert together.tolist() == [alone[phone] for phone in phones]


def test_addresses_broadcast():
    rounds, phones = np.arange(3), np.arange(5)
    grid = key(1, Purpose.SHUFFLE, rounds[:, None], phones)
    assert grid.shape == (3, 5)
    assert int(grid[2, 4]) == int(key(1, Purpose.SHUFFLE, 2, 4))
    drawn = uniform(grid[..., None], np.arange(7))
    assert drawn.shape == (3, 5, 7)
    assert drawn[2, 4, 6] == float(uniform(key(1, Purpose.SHUFFLE, 2, 4), 6))


ADDRESSES = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (2,), (-1,)]


def every_key(*seeds):
    return [int(key(seed, purpose, *address)) for seed in seeds for purpose in Purpose for address in ADDRESSES]


@pytest.mark.parametrize("seed", [0, 9, 12345, -1, 2**63])
def test_every_part_of_an_address_counts(seed):
    keys = every_key(seed)
    assert len(set(keys)) == len(keys)


def test_every_part_of_an_address_counts_at_a_purposes_own_number():
    assert all(len(set(keys)) == len(keys) for keys in map(every_key, map(int, Purpose)))


def test_no_two_seeds_share_a_key():
    keys = every_key(1, 2)
    assert len(set(keys)) == len(keys)


def test_neighbouring_keys_share_no_draws():
    keys = key(1, Purpose.SHUFFLE, np.arange(1000))
    drawn = bits(keys[:, None], np.arange(1000))
    assert len(np.unique(drawn)) == drawn.size


def test_draw_n_can_be_made_without_those_before_it():
    assert bits(A_KEY, np.arange(100))[99] == bits(A_KEY, 99)


@pytest.mark.parametrize(
    "keys_and_counters",
    [(key(2, Purpose.COUGH), np.arange(N)), (key(2, Purpose.COUGH, np.arange(N)), 0)],
    ids=["draws of one key", "first draws of many keys"],
)
class TestStatistics:
    def test_uniform(self, keys_and_counters):
        drawn = uniform(*keys_and_counters)
        assert 0 <= drawn.min() < drawn.max() < 1
        assert stats.kstest(drawn, "uniform").pvalue > 1e-4

    def test_uniform_neighbours_are_uncorrelated(self, keys_and_counters):
        drawn = uniform(*keys_and_counters)
        assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / np.sqrt(N)

    def test_every_bit_is_fair(self, keys_and_counters):
        drawn = bits(*keys_and_counters)
        ones = [(drawn >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
        assert np.abs(np.array(ones) - 0.5).max() < 5 * 0.5 / np.sqrt(N)

    @pytest.mark.parametrize("high", [1, 2, 7, 50, 1000])
    def test_integers(self, keys_and_counters, high):
        keys, counters = keys_and_counters
        counts = np.bincount(integers(keys, high, counters), minlength=high)
        assert len(counts) == high
        assert high == 1 or stats.chisquare(counts).pvalue > 1e-4


def test_integers_take_a_bound_for_each_key():
    high = np.arange(1, 1001)
    drawn = integers(key(1, Purpose.CONTACTS, high), high)
    assert (drawn >= 0).all()
    assert (drawn < high).all()
    assert integers(key(1, Purpose.CONTACTS, np.arange(9999)), 2**32 - 1).max() > 2**31


@given(SEEDS, st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 40))
def test_shuffles_are_permutations_that_know_nothing_of_their_width(seed, rows, more):
    keys, each = key(seed, Purpose.SHUFFLE, np.arange(len(rows))), np.array(rows)
    narrow = shuffles(keys, each, max(rows))
    wide = shuffles(keys, each, max(rows) + more)
    assert wide.shape == (len(rows), max(rows) + more)
    for phone, count in enumerate(rows):
        assert sorted(narrow[phone, :count]) == list(range(count))
        assert narrow[phone, :count].tolist() == wide[phone, :count].tolist()
        alone = shuffles(keys[phone : phone + 1], each[phone : phone + 1], count)
        assert narrow[phone, :count].tolist() == alone[0].tolist()


def test_all_orders_of_four_rows_are_equally_likely():
    orders = shuffles(key(3, Purpose.SHUFFLE, np.arange(48_000)), np.full(48_000, 4), 7)[:, :4]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


def test_a_phone_has_at_most_2_to_the_24_rows():
    with pytest.raises(ValueError, match="at most 16777216 rows"):
        shuffles(key(1, Purpose.SHUFFLE, np.arange(1)), np.array([1]), 2**24 + 1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 100, 255, 256, 257, 1000, 4096, 10_000])
def test_permuted_is_a_bijection(size):
    whole = permuted(key(size, Purpose.PHONE_CHOICE), np.arange(size), size)
    assert np.array_equal(np.sort(whole), np.arange(size))


@given(SEEDS, st.integers(1, 2**48), st.data())
def test_permuted_entries_need_no_others_and_do_not_collide(seed, size, data):
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True)))
    keys = key(seed, Purpose.COHORT)
    entries = permuted(keys, positions, size)
    assert len(set(entries.tolist())) == len(positions)
    assert 0 <= entries.min() <= entries.max() < size
    assert int(permuted(keys, int(positions[-1]), size)) == entries[-1]


def test_samples_are_nested():
    keys = key(1, Purpose.PHONE_CHOICE)
    small, large = (set(permuted(keys, np.arange(count), 10_000).tolist()) for count in (100, 500))
    assert small < large


@pytest.mark.parametrize(("size", "sampled"), [(10, 3), (100, 20), (1000, 1), (1000, 500)])
def test_everybody_is_as_likely_in_a_sample(size, sampled):
    rounds = 4000
    counts = np.zeros(size)
    for number in range(rounds):
        counts[permuted(key(1, Purpose.COHORT, number), np.arange(sampled), size)] += 1
    share = sampled / size
    # Without replacement: the counts' squared deviations, scaled, are chi-squared with size - 1 degrees of freedom.
    scaled = ((counts - rounds * share) ** 2).sum() / (rounds * share * (1 - share)) * (size - 1) / size
    assert stats.chi2.sf(scaled, size - 1) > 1e-4
    assert stats.chi2.cdf(scaled, size - 1) > 1e-4


def test_torch_seeds_are_what_torch_takes():
    seeds = [torch_seed(key(1, Purpose.MODULE, number)) for number in range(1000)]
    assert len(set(seeds)) == 1000
    assert 0 <= min(seeds) < 2**62 < max(seeds) < 2**63


class TestPinned:
    """Numbers that are part of every published result: if one of these changes, every run changes."""

    def test_purposes(self):
        assert {purpose.name: purpose.value for purpose in Purpose}.items() >= {
            "CONTACTS": 1, "PATIENT_ZERO": 2, "INFECTION": 3, "HEALING": 4, "COUGH": 7, "PHONE_CHOICE": 8, "BODY": 9,
            "INITIAL_WEIGHTS": 20, "SHUFFLE": 21, "COHORT": 22, "MODULE": 23,
        }.items()  # fmt: skip
        assert {5, 6}.isdisjoint(Purpose)  # those of draws that are no longer made

    def test_bits_are_splitmix64(self):
        # The generator's published test vector: seed 1234567, first five outputs.
        assert bits(np.uint64(1234567), np.arange(5)).tolist() == [
            6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
        ]  # fmt: skip

    def test_keys(self):
        assert [int(key(1, Purpose.SHUFFLE, *address)) for address in [(), (0,), (3, 17)]] == GOLDEN_KEYS

    def test_draws(self):
        assert uniform(A_KEY, np.arange(3)).tolist() == GOLDEN_UNIFORM
        assert integers(A_KEY, 1000, np.arange(5)).tolist() == GOLDEN_INTEGERS
        assert shuffles(key(1, Purpose.SHUFFLE, np.arange(2)), np.array([6, 4]), 6)[0].tolist() == GOLDEN_SHUFFLE
        assert permuted(key(1, Purpose.PHONE_CHOICE), np.arange(6), 10_000).tolist() == GOLDEN_PERMUTED
        assert torch_seed(A_KEY) == GOLDEN_TORCH_SEED


GOLDEN_KEYS = [1506360420705175892, 13396158240347560027, 13016399339909995155]
GOLDEN_UNIFORM = [0.14454677130057514, 0.31164169112582574, 0.07144744324560992]
GOLDEN_INTEGERS = [144, 311, 71, 971, 728]
GOLDEN_SHUFFLE = [2, 3, 0, 5, 1, 4]
GOLDEN_PERMUTED = [3537, 2997, 9773, 2319, 1129, 9805]
GOLDEN_TORCH_SEED = 1333208648431367421
