"""Which node each actor lives on: evenly by CPU, where there is memory, and moved only where that gains something."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedray.errors import RunFailed
from fedray.fleet.nodes import Node, choose, for_actors, moves, spread
from fedray.fleet.placement import ACTOR_BYTES, MIB

ROOMY = 1000 * ACTOR_BYTES


def machines(*cpus: float, memory: int = ROOMY, gpus: float = 0.0) -> list[Node]:
    return [Node(f"node-{place}", f"10.0.0.{place}", each, memory, gpus) for place, each in enumerate(cpus)]


CPUS = st.lists(st.integers(1, 64), min_size=1, max_size=12)


@given(CPUS, st.integers(1, 300))
def test_no_node_is_fuller_than_it_need_be(cpus: list[int], actors: int) -> None:
    nodes = machines(*cpus)
    held = Counter(spread(actors, nodes))
    assert held.total() == actors
    fullest = max(held[node.id] / node.cpus for node in nodes)
    assert all((held[node.id] + 1) / node.cpus >= fullest for node in nodes)


@given(CPUS, st.integers(1, 300))
def test_what_is_even_stays_where_it_is(cpus: list[int], actors: int) -> None:
    nodes = machines(*cpus)
    assert moves(spread(actors, nodes), nodes) == {}


@given(CPUS, st.integers(1, 64), st.integers(1, 300))
def test_a_node_that_joins_takes_its_share_and_only_it_is_moved_to(cpus: list[int], joins: int, actors: int) -> None:
    *old, new = machines(*cpus, joins)
    where = spread(actors, old)
    going = moves(where, [*old, new])
    assert set(going.values()) <= {new.id}
    after = Counter(going.get(actor, node) for actor, node in enumerate(where))
    fullest = max(after[node.id] / node.cpus for node in [*old, new])
    assert (after[new.id] + 1) / new.cpus >= fullest


def test_nobody_moves_to_a_closed_node() -> None:
    """Where an actor died again and again: it was put elsewhere, and would be moved back before every round."""
    nodes = machines(1, 1, 1)
    where = ["node-1"] * 4
    assert moves(where, nodes, closed={"node-0"}) == {3: "node-2", 2: "node-2"}
    assert moves(where, nodes, closed={"node-0", "node-2"}) == {}


def test_neighbours_live_together() -> None:
    assert spread(6, machines(1, 2)) == ["node-0"] * 2 + ["node-1"] * 4


def test_a_node_without_cpus_holds_only_the_driver() -> None:
    assert [node.name for node in for_actors(machines(0, 4, 0, 2), 0.0)] == ["10.0.0.1", "10.0.0.3"]


def test_memory_counts_before_cpus_do_and_all_have_a_place_still() -> None:
    small, large = Node("a", "a", 64, 2 * ACTOR_BYTES), Node("b", "b", 2, 100 * ACTOR_BYTES)
    assert Counter(spread(10, [small, large])) == {"a": 2, "b": 8}
    assert (small.seats, large.seats, Node("c", "c", 0.5, MIB).seats) == (2, 2, 1)
    assert len(spread(200, [small, large])) == 200  # the plan has said whether that fits


def test_the_actor_of_a_lost_node_goes_where_most_is_free() -> None:
    nodes = machines(2, 2, 4)
    assert choose({"node-0": 2, "node-1": 1, "node-2": 3}, nodes).id in ("node-1", "node-2")
    assert choose({"node-0": 2, "node-1": 2, "node-2": 3}, nodes).id == "node-2"


def test_no_actor_waits_for_a_gpu_that_is_not_there() -> None:
    nodes = machines(8, 8, gpus=2.0)
    assert Counter(spread(8, nodes, 0.5)) == {"node-0": 4, "node-1": 4}
    for impossible in (lambda: spread(9, nodes, 0.5), lambda: choose({"node-0": 2, "node-1": 2}, nodes, 1.0)):
        with pytest.raises(RunFailed, match="gpus_per_actor"):
            impossible()
    assert for_actors(machines(8), 1.0) == []
    assert moves(["node-0"] * 4, nodes, 0.5) == {3: "node-1", 2: "node-1"}
