"""The driver's side of aggregators: what is on its way to a node that is gone, and how long one has been silent."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import ray

from fedray.fleet import relays
from fedray.fleet.calls import STARTING
from fedray.fleet.events import AggregatorLost
from fedray.fleet.messages import AddUpColumns, Order
from fedray.fleet.relays import Relays


def order(attempt: int, work: AddUpColumns) -> Order:
    return Order("run", 1, attempt, work)


def test_what_was_to_go_to_a_node_that_is_given_up_is_given_up_with_it() -> None:
    """Else it would start an aggregator on a node that is gone, whose end would be told as the loss of nobody."""
    mine, work = Relays(10.0, lambda actor: None), AddUpColumns()
    for attempt, (node, actor) in enumerate([("gone", 3), ("there", 4), ("gone", 5)]):
        mine.put(node, actor, order(attempt, work), "shared")
    assert mine.drop("gone") == {3, 5}
    assert mine.drop("gone") == set()
    assert mine.drop("there") == {4}
    mine.ship()
    assert mine.references == []


@ray.remote(num_cpus=0)
class Silent:
    def perform(self, order: Any, shared: Any) -> None:
        signal.pause()


@pytest.mark.usefixtures("ray_cluster")
def test_an_aggregator_that_does_not_answer_is_told_with_the_time_it_was_waited_for() -> None:
    now = [100.0]
    actor: Any = Silent.remote()  # type: ignore[attr-defined]
    mine = Relays(10.0, lambda _: actor, clock=lambda: now[0])
    node = ray.get_runtime_context().get_node_id()
    mine.put(node, 7, order(1, AddUpColumns()), ray.put({}))
    mine.ship()
    patience = 10.0 + relays.PATIENCE + STARTING
    now[0] += patience
    assert mine.overdue() == []
    now[0] += 1
    assert mine.overdue() == [AggregatorLost(node, (7,), f"no answer for {patience + 1:.0f} s")]
    assert mine.references == []
    ray.kill(actor)
