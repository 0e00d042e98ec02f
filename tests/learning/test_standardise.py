"""Two passes of sums are scikit-learn's StandardScaler on pooled rows, to the same bits however the rows are held."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_cases import network
from sklearn.preprocessing import StandardScaler
from torch import nn

from fedray.fleet.rows import PhoneRows
from fedray.learning.standardise import Predictor, Scaling, scaling_from_sums
from fedray.sums import from_limbs, merged

NAMES = ["standard", "mean 1e6", "large", "constant", "constant and large", "flag", "left alone"]
CHOSEN = np.array([True, True, True, True, True, True, False])


def table(rows: int = 1200) -> np.ndarray:
    random = np.random.default_rng(1)
    return np.stack(
        [
            random.normal(size=rows),
            random.normal(1e6, 1, rows),
            random.normal(2000, 500, rows),
            np.full(rows, 0.1),
            np.full(rows, 1e9 + 0.1),
            (random.random(rows) < 0.25).astype(float),
            random.normal(7, 3, rows),
        ],
        axis=1,
    )


def held(values: np.ndarray, cuts: list[int], shards: np.ndarray) -> list[PhoneRows]:
    """The rows of all phones, held by actors; one ends and the next begins at the phones `cuts`."""
    offsets = np.concatenate([[0], np.cumsum(shards)])
    actors = []
    for first, last in zip([0, *cuts], [*cuts, len(shards)], strict=True):
        rows = slice(offsets[first], offsets[last])
        local = offsets[first : last + 1] - offsets[first]
        empty = np.zeros(local[-1])
        actors.append(PhoneRows(np.arange(first, last), local, values[rows].T, empty, empty.astype(np.int64)))
    return actors


def two_passes(actors: list[PhoneRows]) -> Scaling:
    first, second = {}, {}
    for actor in actors:
        first = merged(first, actor.column_sums())
    totals = from_limbs(first["totals"])
    for actor in actors:
        second = merged(second, actor.square_sums(totals / float(first["rows"])))
    return scaling_from_sums(float(first["rows"]), totals, from_limbs(second["squares"]), CHOSEN)


SHARDS = np.array([50, 0, 1, 349, 200, 0, 7, 593])


def test_it_is_the_standard_scaler_on_pooled_rows():
    got, wanted = two_passes(held(table(), [3, 4], SHARDS)), StandardScaler().fit(table())
    np.testing.assert_allclose(got.mean[CHOSEN], wanted.mean_[CHOSEN], rtol=1e-12)
    np.testing.assert_allclose(got.scale[CHOSEN], wanted.scale_[CHOSEN], rtol=1e-6)
    assert (got.mean[-1], got.scale[-1]) == (0, 1)


def test_a_column_that_never_varies_keeps_its_unit():
    got = two_passes(held(table(), [3], SHARDS))
    assert got.scale[3] == got.scale[4] == 1
    assert abs(got.apply(table())[:, 3:5]).max() < 1e-6


def test_the_smallest_spread_that_is_no_rounding():
    scaling = scaling_from_sums(100.0, np.array([1e8]), np.array([100 * 1e-6**2]), np.array([True]))
    assert scaling.scale[0] == pytest.approx(1e-6)  # 1e-12 of its mean 1e6


def test_by_hand():
    scaling = scaling_from_sums(4.0, np.array([8.0, 8.0]), np.array([36.0, 36.0]), np.array([True, False]))
    assert scaling.mean.tolist() == [2, 0]
    assert scaling.scale.tolist() == [3, 1]
    assert scaling.apply(np.array([[5.0, 5.0]])).tolist() == [[1, 5]]


@given(st.lists(st.integers(0, len(SHARDS)), max_size=4))
@settings(max_examples=30, deadline=None)
def test_the_same_bits_however_phones_are_cut_into_actors(cuts):
    whole, cut = (two_passes(held(table(), sorted(c), SHARDS)) for c in ([], cuts))
    assert cut.mean.tobytes() == whole.mean.tobytes()
    assert cut.scale.tobytes() == whole.scale.tobytes()


def test_none_leaves_rows_as_they_are():
    rows = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    assert Scaling.none(4).apply(rows).tolist() == rows.tolist()


class TestPredictor:
    def test_it_takes_raw_rows_of_any_floating_type(self):
        net = network("mlp").eval()
        random = np.random.default_rng(2)
        scaling = Scaling(random.normal(1e6, 1, 12), random.uniform(1, 2, 12))
        rows = random.normal(1e6, 3, (50, 12))
        predictor = Predictor(net, scaling)
        with torch.no_grad():
            wanted = net(torch.from_numpy(scaling.apply(rows)))
            assert torch.equal(predictor(torch.from_numpy(rows)), wanted)
            single = torch.from_numpy(rows.astype(np.float32))
            assert torch.equal(predictor(single), net(torch.from_numpy(scaling.apply(rows.astype(np.float32)))))

    def test_it_sees_what_phones_see(self):
        held_rows = held(table(), [], SHARDS)[0]
        scaling = two_passes([held_rows])
        examples = held_rows.shard(scaling, "cpu").examples
        net = nn.Linear(7, 1)
        with torch.no_grad():
            assert torch.equal(
                Predictor(net, scaling)(torch.from_numpy(table())), net(examples.features[:-1].contiguous())
            )

    def test_its_scaling_travels_with_its_weights(self):
        first = Predictor(nn.Linear(2, 1), Scaling(np.array([1.0, 2.0]), np.array([3.0, 4.0])))
        second = Predictor(nn.Linear(2, 1), Scaling.none(2))
        second.load_state_dict(first.state_dict())
        assert second.mean.tolist() == [1, 2]
        assert second.scale.tolist() == [3, 4]
        assert [name for name, _ in second.named_parameters()] == ["network.weight", "network.bias"]
