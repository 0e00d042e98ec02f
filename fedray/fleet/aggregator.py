"""Adding up near the data: one light Ray actor on each node that relays an order to the node's phone actors, and adds
up what they report before it goes over the network.

It owns their reports, so that not even a reference to them reaches the driver. Sums are of whole numbers, so it makes
no difference to a bit who adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import ray

from fedray.fleet.calls import Calls, each_death_once, ready
from fedray.fleet.events import Died, Hung
from fedray.fleet.messages import Answer, Order, Report, together

Relayed: TypeAlias = tuple[list[Answer | Died | Hung], bool]
"""Answers, of which those of actors that did as ordered are one report; and whether there is more to come."""


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class NodeAggregator:
    """Relays and adds up for the actors of one node.

    A call is answered when everybody has answered, or somebody died, hangs or failed: the driver is to hear of that at
    once, and then asks for the rest.

    Args:
        deadline: Seconds that an actor may take over one order.
    """

    def __init__(self, deadline: float) -> None:
        self._calls = Calls(deadline)
        self._handles: dict[int, Any] = {}
        self._open: list[set[tuple[int, int]]] = []

    def relay(
        self, order: Order, attempts: Mapping[int, int], shared: list[Any], handles: Mapping[int, Any]
    ) -> Relayed:
        """Send an order on.

        Args:
            order: To all these actors alike, but for the attempt.
            attempts: Of each actor.
            shared: A list with the reference to what comes with it: in a list it isn't fetched here.
            handles: Of actors that this node has not been told of yet.
        """
        self._handles |= handles
        self._give_up(set(handles))
        self._open.append(set(attempts.items()))
        for actor, attempt in attempts.items():
            self._calls.send(actor, self._handles[actor], replace(order, attempt=attempt), shared[0])
        return self.rest()

    def rest(self) -> Relayed:
        """What has not been told yet of what was asked."""
        totals: dict[int, Report] = {}
        told: list[Answer | Died | Hung] = []
        while self._calls.references and not told and all(self._open):
            for reference in ready(self._calls.references, 1.0):
                ask = self._answered(self._calls.address(reference))
                answer = self._calls.take(reference)
                if isinstance(answer, Report):
                    totals[ask] = together(totals[ask], answer) if ask in totals else answer
                else:
                    told.append(answer)
            told += self._calls.overdue()
        if told:
            self._give_up({event.actor for event in told if isinstance(event, Died | Hung)})
        self._open = [asked for asked in self._open if asked]
        return [*totals.values(), *each_death_once(told)], bool(self._open)

    def _answered(self, address: tuple[int, int]) -> int:
        """Which order an answer is to; it is no longer open."""
        ask = next(place for place, asked in enumerate(self._open) if address in asked)
        self._open[ask].discard(address)
        return ask

    def _give_up(self, actors: set[int]) -> None:
        """Nothing comes from these any more: the driver starts others in their place, and asks them itself."""
        for actor in actors:
            self._calls.forget(actor)
        for asked in self._open:
            asked -= {address for address in asked if address[0] in actors}
