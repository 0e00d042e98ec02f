"""Which node each actor lives on: evenly by CPU, where memory and GPUs allow it.

Pure arithmetic over what a cluster says of its nodes. No result depends on it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from fedray.errors import RunFailed
from fedray.fleet.placement import ACTOR_BYTES

UNBOUNDED = 1 << 30


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: As the cluster names it.
        name: Its address, and a part of its id where several share one.
        cpus: That actors may use.
        memory_bytes: That actors may use.
        gpus: That actors may use.
        actor_bytes: What an actor takes.
    """

    id: str
    name: str
    cpus: float
    memory_bytes: int
    gpus: float = 0.0
    actor_bytes: int = ACTOR_BYTES

    @property
    def fits(self) -> int:
        """Actors that its memory holds, at least 1."""
        return max(1, self.memory_bytes // self.actor_bytes)

    @property
    def seats(self) -> int:
        """Actors of which each has a CPU and memory, at least 1."""
        return max(1, min(int(self.cpus), self.fits))

    def most(self, gpus_per_actor: float) -> int:
        """Actors that it can hold at all: without a GPU of its own an actor would wait for one for ever."""
        return int(self.gpus / gpus_per_actor + 1e-9) if gpus_per_actor else UNBOUNDED

    def after(self, actors: int) -> tuple[bool, float, str]:
        """How full it is with one more than so many actors; less is better, and no two nodes are alike."""
        return actors >= self.fits, (actors + 1) / self.cpus, self.id


def for_actors(nodes: Sequence[Node], gpus_per_actor: float) -> list[Node]:
    """Those that may hold actors: none without CPUs, which only holds the driver, and none without GPUs if one is asked
    for."""
    return [node for node in nodes if node.cpus > 0 and node.most(gpus_per_actor) > 0]


def spread(actors: int, nodes: Sequence[Node], gpus_per_actor: float = 0.0) -> list[str]:
    """The node of each actor, by id; neighbours live together, so that a model which hops crosses few links.

    Raises:
        RunFailed: If there are not GPUs enough.
    """
    queue = [(*node.after(0), 0, node) for node in nodes if node.most(gpus_per_actor) > 0]
    heapq.heapify(queue)
    counts: Counter[str] = Counter()
    for _ in range(actors):
        if not queue:
            raise no_room(gpus_per_actor)
        *_, held, node = heapq.heappop(queue)
        counts[node.id] += 1
        if held + 1 < node.most(gpus_per_actor):
            heapq.heappush(queue, (*node.after(held + 1), held + 1, node))
    return [node.id for node in nodes for _ in range(counts[node.id])]


def choose(held: Mapping[str, int], nodes: Sequence[Node], gpus_per_actor: float = 0.0) -> Node:
    """The node for one more actor.

    Args:
        held: How many actors each node holds, by id.
        nodes: To choose from.
        gpus_per_actor: That it needs.

    Raises:
        RunFailed: If there is no GPU for it.
    """
    able = [node for node in nodes if held.get(node.id, 0) < node.most(gpus_per_actor)]
    if not able:
        raise no_room(gpus_per_actor)
    return min(able, key=lambda node: node.after(held.get(node.id, 0)))


def moves(
    where: Sequence[str], nodes: Sequence[Node], gpus_per_actor: float = 0.0, closed: Container[str] = ()
) -> dict[int, str]:
    """Actors that should move, and where to, so that no node is fuller than it need be.

    An actor moves only if the fullest node gains by it, so what is even stays as it is.

    Args:
        where: The node of each actor, by id.
        nodes: All that may hold actors; those of `where` among them.
        gpus_per_actor: That each needs.
        closed: Ids of nodes that nobody is to move to.
    """
    takers = [node for node in nodes if node.id not in closed]
    here: dict[str, list[int]] = {node.id: [] for node in nodes}
    for actor, node_id in enumerate(where):
        here[node_id].append(actor)
    going: dict[int, str] = {}
    while True:
        room = [node for node in takers if len(here[node.id]) < min(node.fits, node.most(gpus_per_actor))]
        if not room:
            return going
        to = min(room, key=lambda node: node.after(len(here[node.id])))
        fullest = max(nodes, key=lambda node: (len(here[node.id]) / node.cpus, node.id))
        if to is fullest or (len(here[to.id]) + 1) / to.cpus >= len(here[fullest.id]) / fullest.cpus:
            return going
        actor = here[fullest.id].pop()
        here[to.id].append(actor)
        going[actor] = to.id


def no_room(gpus_per_actor: float) -> RunFailed:
    """No node has what an actor needs."""
    return RunFailed(
        f"the nodes that are left have no room for an actor with fleet.gpus_per_actor: {gpus_per_actor:g}; "
        "lower it, or raise fleet.phones_per_actor"
    )
