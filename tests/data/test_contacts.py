"""The contact graph is one of exactly so many people and contacts, drawn uniformly, by address."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedray.data.contacts import ContactGraph, random_contacts
from fedray.randomness import Purpose, key


def graph_of(people: int, edges: int, seed: int = 1) -> ContactGraph:
    return random_contacts(key(seed, Purpose.CONTACTS, 0, 0), people, edges)


def edges_of(graph: ContactGraph) -> set[tuple[int, int]]:
    source, target = graph.of(np.arange(graph.people))
    return {(int(i), int(j)) for i, j in zip(source, target, strict=True) if i < j}


@settings(max_examples=100, deadline=None)
@given(people=st.integers(2, 60), share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_it_has_exactly_so_many_edges_no_loops_no_doubles_and_both_ends_agree(people, share, seed):
    edges = int(share * -(-people * (people - 1) // 4))
    graph = graph_of(people, edges, seed)
    source, target = graph.of(np.arange(people))
    listed = set(zip(source.tolist(), target.tolist(), strict=True))
    assert len(source) == len(listed) == 2 * edges
    assert all(i != j for i, j in listed)
    assert listed == {(j, i) for i, j in listed}
    assert graph.degrees.sum() == 2 * edges


def test_ten_thousand_people_have_the_degrees_of_a_uniform_random_graph():
    degrees = graph_of(10_000, 25_000).degrees
    assert degrees.sum() == 50_000
    # Nearly Poisson with mean 5: sd of the variance over 10,000 people is .074, of a share of .0067 is .0008.
    assert degrees.var() == pytest.approx(5.0, abs=0.3)
    assert (degrees == 0).mean() == pytest.approx(np.exp(-5), abs=0.004)
    assert degrees[:5000].mean() == pytest.approx(degrees[5000:].mean(), abs=0.2)


def test_every_graph_of_four_people_and_two_contacts_is_equally_likely():
    counts: dict[frozenset[tuple[int, int]], int] = {}
    for seed in range(1500):
        graph = frozenset(edges_of(graph_of(4, 2, seed)))
        counts[graph] = counts.get(graph, 0) + 1
    assert len(counts) == 15
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert chi_square < 36.1  # the 99.9 % point of 14 degrees of freedom; seeds are fixed, so this can't flicker


def test_it_looks_like_the_graphs_of_networkx():
    ours = nx.Graph(sorted(edges_of(graph_of(1000, 2500))))
    theirs = nx.dense_gnm_random_graph(1000, 2500, seed=1)
    assert nx.transitivity(ours) == pytest.approx(nx.transitivity(theirs), abs=0.006)
    largest = [max(map(len, nx.connected_components(graph))) for graph in (ours, theirs)]
    assert largest[0] == pytest.approx(largest[1], abs=15)


def test_the_same_key_gives_the_same_graph_and_another_key_another():
    assert edges_of(graph_of(50, 100)) == edges_of(graph_of(50, 100))
    assert edges_of(graph_of(50, 100)) != edges_of(graph_of(50, 100, seed=2))


def test_contacts_of_some_people_come_in_their_order():
    graph = graph_of(20, 40)
    source, target = graph.of(np.array([7, 3, 3]))
    expected = [(i, int(j)) for i in (7, 3, 3) for j in graph.contact[graph.start[i] : graph.start[i + 1]]]
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == expected


def test_more_than_half_of_all_pairs_is_refused():
    with pytest.raises(ValueError, match="more than half"):
        graph_of(10, 24)
    assert len(edges_of(graph_of(10, 23))) == 23  # half of 45, rounded up
