"""From stored columns to tensors: each phone's own rows, its derived targets, and exact sums."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fedray.config import OutbreakData
from fedray.data.dataset import Dataset
from fedray.data.shards import ParquetShards
from fedray.data.sources import prepare
from fedray.errors import BadRow
from fedray.fleet.rows import PhoneRows, read_rows
from fedray.learning.standardise import Scaling
from fedray.learning.task import Target, target
from fedray.sums import from_limbs

FEATURES = ("infected", "temperature", "distance", "cough")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return prepare(OutbreakData(people=300, days=9, phones=23), 3, Path(tmp_path_factory.mktemp("home")))


def read(dataset, first=0, last=23, split="train", features=FEATURES, named="log10p1_infected", time=None) -> PhoneRows:
    return read_rows(dataset, ParquetShards(dataset), first, last, split, features, target(named), time)


def stored(dataset, *columns, first=0, last=23):
    return ParquetShards(dataset).read(first, last, "train", list(columns)).columns


def test_features_stand_in_the_order_that_was_asked_for(dataset):
    columns = stored(dataset, *FEATURES)
    for features in (FEATURES, FEATURES[::-1], FEATURES[1:2]):
        rows = read(dataset, features=features)
        for place, name in enumerate(features):
            assert rows.features[:, place].tolist() == columns[name].astype(np.float64).tolist()


def test_targets_are_derived(dataset):
    rows = read(dataset)
    infected = stored(dataset, "population_infected")["population_infected"]
    assert rows.targets.tolist() == np.log10(infected.astype(np.float64) + 1).tolist()
    assert read(dataset, named="cough").targets.tolist() == stored(dataset, "cough")["cough"].tolist()


def test_a_range_is_a_part_of_the_whole(dataset):
    whole, part = read(dataset, time="day"), read(dataset, 5, 12, time="day")
    there = slice(whole.offsets[5], whole.offsets[12])
    assert part.first == 5
    assert part.offsets.tolist() == (whole.offsets[5:13] - whole.offsets[5]).tolist()
    assert part.features.tobytes() == whole.features[there].tobytes()
    assert part.targets.tobytes() == whole.targets[there].tobytes()
    assert part.day.tolist() == whole.day[there].tolist() == list(range(9)) * 7


def test_days_only_where_they_are_wanted(dataset):
    assert read(dataset).day.tolist() == []


def test_a_target_that_is_not_finite_has_a_place_but_no_value(dataset):
    def spoil(columns):
        targets = columns["population_infected"].astype(np.float64)
        targets[11] = np.nan
        return targets

    own = Target(("population_infected",), spoil)
    with pytest.raises(BadRow) as bad:
        read(dataset, named=own)
    assert bad.value.kind == "the derived target is not finite"
    assert bad.value.column == "population_infected"
    assert bad.value.file.endswith(".parquet")
    assert bad.value.row == 12
    assert "nan" not in str(bad.value)


def test_a_target_of_another_shape_is_refused(dataset):
    with pytest.raises(BadRow, match="the target has shape \\(1,\\) for 207 rows"):
        read(dataset, named=Target(("cough",), lambda columns: np.ones(1)))


def test_a_target_function_without_columns_sees_all_that_was_read(dataset):
    def summed(columns):
        return columns["cough"] + columns["infected"].astype(np.float64)

    columns = stored(dataset, "cough", "infected")
    wanted = (columns["cough"] + columns["infected"].astype(np.float64)).tolist()
    assert read(dataset, named=summed).targets.tolist() == wanted


def test_examples_are_scaled_and_end_in_a_spare_row(dataset):
    rows = read(dataset)
    scaling = Scaling(np.array([0.0, 37.0, 2000.0, 0.0]), np.array([1.0, 0.5, 500.0, 1.0]))
    examples = rows.examples(scaling, "cpu")
    assert examples.features.dtype == examples.targets.dtype == torch.float32
    assert examples.spare == len(rows.targets)
    assert not examples.features[-1].any()
    assert examples.targets[-1] == 0
    assert examples.features[:-1].numpy().tobytes() == scaling.apply(rows.features.astype(np.float64)).tobytes()
    assert examples.targets[:-1].tolist() == rows.targets.astype(np.float32).tolist()


def test_sums_by_hand():
    features = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]], dtype=np.float32)
    rows = PhoneRows(0, np.array([0, 2, 2, 3]), features, np.zeros(3), np.zeros(0, dtype=np.int64))
    sums = rows.column_sums()
    assert int(sums["rows"]) == 3
    assert from_limbs(sums["totals"]).tolist() == [9, 90]
    assert from_limbs(rows.square_sums(np.array([3.0, 30.0]))["squares"]).tolist() == [14, 1400]


def test_sums_keep_what_single_precision_would_lose():
    features = np.full((1000, 1), 16_777_217.0)  # 2^24 + 1 has no float32
    rows = PhoneRows(0, np.array([0, 1000]), features, np.zeros(1000), np.zeros(0, dtype=np.int64))
    assert from_limbs(rows.column_sums()["totals"]).tolist() == [16_777_217_000]


def test_rows_never_leave(dataset):
    with pytest.raises(TypeError, match="a shard never leaves the actor that holds it"):
        pickle.dumps(read(dataset))
