"""Replay: one phone's update of one round, made again alone, is what the fleet added up, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_fleets import experiment

import fedray
from fedray.errors import UserMistake
from fedray.federation.kept import kept_broadcast
from fedray.federation.spec import cohort_rule
from fedray.fleet.fleet import Fleet
from fedray.fleet.messages import Report
from fedray.replaying import replay
from fedray.sums import Grid

ROUNDS = 3


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[int, int], Report]]:
    """What each phone, alone in its actor, reported of each round: by round and phone."""
    heard: dict[tuple[int, int], Report] = {}

    class Tapped(Fleet):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.taps.append(
                lambda answer: heard.update({(answer.round, answer.actor): answer} if trains(answer) else {})
            )

    monkeypatch.setattr("fedray.experiment.Fleet", Tapped)
    return heard


def trains(answer: Any) -> bool:
    return isinstance(answer, Report) and ("sum.update" in answer.sums or answer.weights is not None)


def recorded(home: Path, **knobs: Any) -> Any:
    asked = experiment(home=home, fleet__phones_per_actor=1, learning__rounds=ROUNDS, **knobs)
    return fedray.run(asked).only


PARTLY = {"federation__participation": 0.6}


@pytest.mark.parametrize(
    "knobs",
    [
        {"federation__strategy": "fedavg"},
        {"federation__strategy": "fedprox", "federation__proximal": 0.5, "learning__local_epochs": 2},
        {"federation__strategy": "scaffold", **PARTLY},
        {"federation__strategy": "fedadam", "learning__optimizer": "adam", "federation__weighting": "equal", **PARTLY},
        {"federation__strategy": "fedavg", "learning__trainer": "loop"},
    ],
    ids=str,
)
def test_a_replayed_update_is_the_one_that_was_reported(
    knobs: dict[str, Any], home: Path, reports: dict[tuple[int, int], Report]
) -> None:
    run = recorded(home, **knobs)
    grid, checked = Grid.of(9 * 12), 0
    for number in range(1, ROUNDS + 1):
        members = cohort_rule(run.experiment, 9).members(number, 0, 9)
        for phone in (members[0], members[len(members) // 2]):
            again = replay(run.run_id, int(phone), number, home=home)
            sums = reports[number, int(phone)].sums
            units = grid.units(again.fleet_update[None], np.array([int(sums["weight"])]))[0]
            assert np.array_equal(units, sums["sum.update"])
            assert again.difference <= 1e-5  # the plain loop rounds differently
            assert np.abs(again.fleet_update).max() > 0
            batches = -(-12 // run.experiment.learning.batch_size) * run.experiment.learning.local_epochs
            assert (again.rows, len(again.losses)) == (12, batches)
            checked += 1
    assert checked == 2 * ROUNDS


def test_where_the_model_hops_the_update_is_the_step_between_two_phones(
    home: Path, reports: dict[tuple[int, int], Report]
) -> None:
    run = recorded(home, federation__strategy="sequential")
    start = load_file(kept_broadcast(home / "runs" / run.run_id, 2))["weights"]
    for phone in range(9):
        before = start if phone == 0 else reports[2, phone - 1].weights
        again = replay(run.run_id, phone, 2, home=home)
        assert np.array_equal(before + again.fleet_update, reports[2, phone].weights)


def test_batches_are_told_as_they_come(home: Path) -> None:
    run = recorded(home)
    heard: list[tuple[int, float]] = []
    again = replay(run.run_id, 3, 1, home=home, on_batch=lambda step, loss: heard.append((step, loss)))
    assert heard == list(enumerate(again.losses))
    assert set(again.as_json()) == {
        "phone", "round", "rows", "losses", "update_norm", "fleet_update_norm", "difference",
    }  # fmt: skip


class TestWhatCannotBeReplayed:
    """Says why, and what can be."""

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, shared_home: Path) -> Any:
        asked = experiment(
            home=shared_home, federation__participation=0.5, learning__rounds=4, learning__keep_weights=2
        )
        return fedray.run(asked).only

    def refused(self, home: Path, *given: Any) -> Any:
        with pytest.raises(UserMistake) as caught:
            replay(*given, home=home)
        return caught.value.problems

    def test_phones_and_rounds_that_do_not_exist(self, run: Any, shared_home: Path) -> None:
        problems = self.refused(shared_home, run.run_id, 9, 5)
        assert [(problem.place, problem.value, problem.allowed) for problem in problems] == [
            ("--phone", "9", "must be 0 to 8"),
            ("--round", "5", "must be 1 to 4"),
        ]

    def test_a_round_in_which_the_phone_took_no_part(self, run: Any, shared_home: Path) -> None:
        rule = cohort_rule(run.experiment, 9)
        absent = next(phone for phone in range(9) if phone not in rule.members(1, 0, 9))
        its = [str(number) for number in range(1, 5) if absent in rule.members(number, 0, 9)]
        (problem,) = self.refused(shared_home, run.run_id, absent, 1)
        assert problem.allowed == f"phone {absent} took no part in this round"
        assert problem.mend == (f"its rounds are {', '.join(its)}" if its else "it took part in no round")

    def test_a_round_whose_weights_were_not_kept(self, run: Any, shared_home: Path) -> None:
        member = int(cohort_rule(run.experiment, 9).members(2, 0, 9)[0])
        (problem,) = self.refused(shared_home, run.run_id, member, 2)
        assert problem.mend.endswith("1, 3; see learning.keep_weights")

    def test_a_run_that_does_not_exist(self, run: Any, shared_home: Path) -> None:
        assert "nobody" in str(self.refused(shared_home, "nobody", 0, 1))

    def test_a_parent_of_variants(self, shared_home: Path) -> None:
        result = fedray.run(experiment(home=shared_home, variants={"one": {}, "two": {}}, learning__rounds=0))
        (problem,) = self.refused(shared_home, result.parent_run_id, 0, 1)
        assert problem.allowed == "is the parent of one, two"
