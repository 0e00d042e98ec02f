"""The phones of one actor: they answer what they are asked, keep private vectors apart by round, refuse what is not
theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_fleets import experiment

from fedray.data.shards import Dataset
from fedray.errors import RunFailed
from fedray.federation.spec import cohort_rule, run_spec
from fedray.fleet.memory import Memory
from fedray.fleet.messages import AddUpColumns, Failure, Order, Prepare, Report, RunSpec, Train
from fedray.fleet.phones import Phones
from fedray.learning.models import flat_weights
from fedray.learning.standardise import Scaling
from fedray.parts import initial_network


@pytest.fixture
def asked() -> Any:
    return experiment(federation__strategy="scaffold")


@pytest.fixture
def spec(asked: Any, small_outbreak: Dataset, tmp_path: Path) -> RunSpec:
    return replace(run_spec(asked, small_outbreak, "run", tmp_path), scaling=Scaling(np.zeros(5), np.full(5, 100.0)))


def order(work: Any, *, run: str = "run", number: int = 0, attempt: int = 1) -> Order:
    return Order(run, number, attempt, work)


def training(asked: Any, phones: Phones, number: int, attempt: int = 1) -> Report:
    weights = flat_weights(initial_network(asked)).numpy()
    arrays = {"weights": weights, "control": np.zeros_like(weights)}
    for array in arrays.values():
        array.flags.writeable = False  # as they come from Ray's object store
    answer = phones.perform(order(Train(cohort_rule(asked, 9)), number=number, attempt=attempt), arrays)
    assert isinstance(answer, Report)
    return answer


def test_an_answer_has_the_address_of_its_order(spec: RunSpec, small_outbreak: Dataset) -> None:
    answer = Phones(4, 0, 3, small_outbreak).perform(order(Prepare(), number=6, attempt=17), spec)
    assert answer == Report("run", 6, 17, 4)


def test_an_order_of_a_run_that_was_not_prepared_is_refused(spec: RunSpec, small_outbreak: Dataset) -> None:
    phones = Phones(0, 0, 3, small_outbreak)
    for _ in range(2):
        answer = phones.perform(order(AddUpColumns(), run="other"), {})
        assert isinstance(answer, Failure)
        assert (answer.kind, answer.expected) == ("LookupError", False)
        phones.perform(order(Prepare()), spec)
    assert isinstance(phones.perform(order(AddUpColumns()), {}), Report)


def test_a_repeated_order_gets_the_same_sums(asked: Any, spec: RunSpec, small_outbreak: Dataset) -> None:
    phones = Phones(0, 0, 9, small_outbreak)
    phones.perform(order(Prepare()), spec)
    first = [training(asked, phones, number).sums for number in (1, 2, 3)]
    repeated = training(asked, phones, 3, attempt=9).sums  # by the actor that has done it
    other = Phones(0, 0, 9, small_outbreak)
    other.perform(order(Prepare()), spec)
    anew = training(asked, other, 3, attempt=10).sums  # and by the one that replaces it
    for name, units in first[2].items():
        assert np.array_equal(units, repeated[name]), name
        assert np.array_equal(units, anew[name]), name
    assert not np.array_equal(first[1]["sum.update"], first[2]["sum.update"])


def test_no_phone_changes_the_update_of_another(asked: Any, spec: RunSpec, small_outbreak: Dataset) -> None:
    """Sums of a range are the sums of its halves: exact, and made of updates that don't depend on company."""

    def sums(first: int, last: int, folder: str) -> Any:
        phones = Phones(0, first, last, small_outbreak)
        phones.perform(order(Prepare()), replace(spec, memory_folder=f"{spec.memory_folder}-{folder}"))
        return training(asked, phones, 1).sums

    whole, left, right = sums(0, 9, "whole"), sums(0, 4, "left"), sums(4, 9, "right")
    for name, units in whole.items():
        assert np.array_equal(units, left[name] + right[name]), name


class TestMemory:
    """Private vectors on disk, tagged with their round."""

    def test_begins_with_zeros_and_keeps_what_was_written(self, tmp_path: Path) -> None:
        memory = Memory(tmp_path, 3, 6, 2)
        assert torch.equal(memory.before(1), torch.zeros(3, 2))
        memory.keep(1, torch.ones(3, 2))
        assert torch.equal(Memory(tmp_path, 3, 6, 2).before(2), torch.ones(3, 2))

    def test_what_a_round_is_given_is_a_copy(self, tmp_path: Path) -> None:
        memory = Memory(tmp_path, 3, 6, 2)
        memory.keep(1, torch.ones(3, 2))
        memory.before(2).zero_()
        assert torch.equal(memory.before(2), torch.ones(3, 2))

    def test_the_round_before_survives_until_the_next_is_written(self, tmp_path: Path) -> None:
        memory = Memory(tmp_path, 0, 1, 1)
        for number in (1, 2, 3):
            memory.keep(number, torch.full((1, 1), float(number)))
        assert sorted(path.name[-18:] for path in tmp_path.iterdir()) == ["000002.safetensors", "000003.safetensors"]
        assert memory.before(3).item() == 2.0
        with pytest.raises(RunFailed, match="phones 0 to 0 have no state after round 1"):
            memory.before(2)

    def test_phones_without_private_vectors_write_nothing(
        self, small_outbreak: Dataset, spec: RunSpec, asked: Any, tmp_path: Path
    ) -> None:
        plain = experiment()
        phones = Phones(0, 0, 9, small_outbreak)
        phones.perform(order(Prepare()), replace(spec, federation=plain.federation))
        training(plain, phones, 1)
        assert not Path(spec.memory_folder).exists()
