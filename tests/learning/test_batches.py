"""Each epoch a phone sees every row of its own once, in an order of its own, whoever its neighbours are."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedray.learning.batches import batches
from fedray.randomness import shuffles

SPARE = 10_000


def made(rows, *, ids=None, epochs=2, batch_size=4, round_number=1, seed=1, starts=None):
    rows = np.array(rows, dtype=np.int64)
    return batches(
        seed=seed,
        round_number=round_number,
        ids=np.arange(len(rows)) if ids is None else np.array(ids),
        starts=np.cumsum(rows) - rows if starts is None else np.array(starts),
        rows=rows,
        spare=SPARE,
        epochs=epochs,
        batch_size=batch_size,
    )


def real_rows(batch, place: int) -> list[list[int]]:
    """The real rows of the phone at a place, a step an entry."""
    return [
        batch.rows[step, place][batch.mask[step, place] > 0].tolist()
        for step in range(len(batch.rows))
        if batch.mask[step, place].any()
    ]


SHARDS = st.lists(st.integers(0, 17), min_size=1, max_size=7)


@given(SHARDS, st.integers(1, 3), st.integers(1, 9))
@settings(deadline=None)
def test_every_row_once_an_epoch_and_never_anothers(rows, epochs, batch_size):
    batch = made(rows, epochs=epochs, batch_size=batch_size)
    starts = np.cumsum(rows) - rows
    assert batch.rows.shape == (epochs * -(-max(rows) // batch_size), len(rows), batch_size)
    for place, phone in enumerate(batch.phones):
        steps = real_rows(batch, place)
        per_epoch = -(-rows[phone] // batch_size)
        assert len(steps) == batch.steps[place] == epochs * per_epoch
        for epoch in range(epochs):
            seen = list(chain(*steps[epoch * per_epoch : (epoch + 1) * per_epoch]))
            assert sorted(seen) == list(range(starts[phone], starts[phone] + rows[phone]))
        whole = [step for number, step in enumerate(steps) if (number + 1) % max(per_epoch, 1)]
        assert all(len(step) == batch_size for step in whole)  # only an epoch's last batch may be short
        # Padding, too, points at the phone's own rows, or at nobody's.
        own = set(range(starts[phone], starts[phone] + rows[phone])) | {SPARE}
        assert set(batch.rows[:, place].flatten().tolist()) <= own


@given(SHARDS, st.integers(1, 3))
@settings(deadline=None)
def test_active_phones_are_those_with_rows_at_the_step(rows, epochs):
    batch = made(rows, epochs=epochs)
    assert batch.steps.tolist() == sorted(batch.steps.tolist(), reverse=True)
    for step in range(len(batch.rows)):
        there = batch.mask[step].any(dim=1)
        assert batch.active(step) == int(there.sum())
        assert bool(there[: batch.active(step)].all())
    assert batch.active(len(batch.rows)) == 0
    assert batch.seen.tolist() == [epochs * rows[phone] for phone in batch.phones]


@given(SHARDS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_phones_batches_know_nothing_of_its_neighbours(rows, random):
    everybody = made(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    chosen = order[: random.randint(1, len(order))]
    starts = np.cumsum(rows) - rows
    some = made([rows[phone] for phone in chosen], ids=chosen, starts=starts[chosen])
    for place, number in enumerate(some.phones):
        where = everybody.phones.tolist().index(chosen[number])
        assert real_rows(some, place) == real_rows(everybody, where)
        assert some.keys[place] == everybody.keys[where]


def test_orders_differ_by_epoch_round_phone_and_seed():
    def order(**knobs):
        batch = made([40, 40], batch_size=40, starts=[0, 0], **knobs)
        return [tuple(batch.rows[epoch, place].tolist()) for epoch in range(2) for place in range(2)]

    orders = [*order(), *order(round_number=2), *order(seed=2)]
    assert len(set(orders)) == len(orders) == 12
    assert order() == order()


@pytest.mark.parametrize("epoch", [0, 1])
def test_all_orders_of_four_rows_are_equally_likely(epoch):
    phones = 24_000
    batch = made([4] * phones, starts=[0] * phones)
    _, counts = np.unique(batch.rows[epoch].numpy(), axis=0, return_counts=True)
    assert len(counts) == 24
    # The seed is fixed, so this passes always or never.
    assert stats.chisquare(counts).pvalue > 1e-4


def test_epochs_are_independent_of_each_other():
    phones = 24_000
    batch = made([4] * phones, starts=[0] * phones)
    pairs = batch.rows[0, :, 0].numpy() * 4 + batch.rows[1, :, 0].numpy()
    assert stats.chisquare(np.bincount(pairs, minlength=16)).pvalue > 1e-4


def test_a_long_phone_makes_no_other_ones_draws_longer(monkeypatch):
    drawn = []

    def counted(keys, rows, width):
        drawn.append(len(rows) * width)
        return shuffles(keys, rows, width)

    monkeypatch.setattr("fedray.learning.batches.shuffles", counted)
    rows = [50] * 200 + [20_000] + [0] * 5
    batch = made(rows, epochs=1, batch_size=10)
    assert sum(drawn) == sum(rows)
    (place,) = np.flatnonzero(batch.phones == 3)
    assert real_rows(batch, place) == real_rows(made([50], ids=[3], starts=[150], epochs=1, batch_size=10), 0)


def test_pinned():
    """Part of every published result: if this changes, every run changes."""
    batch = made([3, 6], ids=[5, 9], batch_size=4, round_number=3)
    assert batch.phones.tolist() == [1, 0]
    assert batch.steps.tolist() == [4, 2]
    assert [real_rows(batch, place) for place in range(2)] == GOLDEN
    assert batch.keys.tolist() == GOLDEN_KEYS


def test_nobody_makes_no_steps():
    assert made([]).rows.shape == (0, 0, 4)
    assert made([0, 0]).rows.shape == (0, 2, 4)


GOLDEN = [[[6, 3, 5, 8], [4, 7], [7, 8, 5, 4], [6, 3]], [[2, 1, 0], [0, 2, 1]]]
GOLDEN_KEYS = [1840402546125840678, 16409726297585619365]
