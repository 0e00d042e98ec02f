"""The driver's side of adding up near the data: which orders go through which node's aggregator, and what came back.

What an aggregator does is in `aggregator`. The driver holds one reference a node, and none to what phones reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedray.fleet.calls import DEATHS, STARTING, kind_of
from fedray.fleet.events import AggregatorLost, Died, Event, Hung
from fedray.fleet.messages import Answer, Failure, Order

PATIENCE = 30.0
"""Seconds that an aggregator may take longer than the actors behind it, whose deadline it minds itself."""


@dataclass(frozen=True)
class _Batch:
    """Orders to the actors of one node that are alike but for the attempt."""

    node: str
    order: Order
    shared: Any
    attempts: dict[int, int]
    since: float = 0.0
    due: float = 0.0


class Relays:
    """Aggregators of nodes, started when they are first needed.

    Args:
        deadline: Seconds that an actor may take over one order.
        handle_of: The handle that an actor has now.
        clock: Seconds; a test's own.
    """

    def __init__(
        self, deadline: float, handle_of: Callable[[int], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.deadline, self._handle_of, self._clock = deadline, handle_of, clock
        self._aggregators: dict[str, Any] = {}
        self._told: dict[str, dict[int, Any]] = {}
        self._outbox: list[_Batch] = []
        self._waiting: dict[Any, _Batch] = {}

    @property
    def references(self) -> list[Any]:
        """What to wait for."""
        return list(self._waiting)

    def __contains__(self, reference: Any) -> bool:
        return reference in self._waiting

    def put(self, node: str, actor: int, order: Order, shared: Any) -> None:
        """An order to an actor of a node; it leaves with the next `ship`, together with those like it."""
        for batch in reversed(self._outbox):
            if batch.node == node and batch.shared is shared and batch.order.work is order.work:
                batch.attempts[actor] = order.attempt
                return
        self._outbox.append(_Batch(node, order, shared, {actor: order.attempt}))

    def ship(self) -> None:
        """Send what was put, one message a node."""
        for batch in self._outbox:
            new = batch.node not in self._aggregators
            aggregator = self._aggregator(batch.node)
            told, now = self._told[batch.node], {actor: self._handle_of(actor) for actor in batch.attempts}
            strangers = {actor: handle for actor, handle in now.items() if told.get(actor) is not handle}
            told |= strangers
            reference = aggregator.relay.remote(batch.order, batch.attempts, [batch.shared], strangers)
            self._wait_for(reference, batch, STARTING if new else 0.0)
        self._outbox = []

    def take(self, reference: Any) -> list[Answer | Event]:
        """What an aggregator answered; the reference is ready. Of one that is lost, the node is given by its id."""
        batch = self._waiting.pop(reference)
        try:
            answers, more = ray.get(reference)
        except DEATHS as error:
            return [self._lost(batch, type(error).__name__)]
        except ray.exceptions.RayError as error:
            actor, attempt = next(iter(batch.attempts.items()))
            return [Failure(batch.order.run, batch.order.round, attempt, actor, kind_of(error))]
        if more:
            self._wait_for(self._aggregators[batch.node].rest.remote(), batch, 0.0)
        return [answer for answer in answers if not self._is_past(batch.node, answer)]

    def overdue(self) -> list[AggregatorLost]:
        """Aggregators that don't answer; they are ended. Nodes are given by their ids."""
        now = self._clock()
        late = {batch.node: batch for batch in self._waiting.values() if now > batch.due}
        return [self._lost(batch, f"no answer for {now - batch.since:,.0f} s") for batch in late.values()]

    def drop(self, node: str) -> set[int]:
        """End a node's aggregator, and forget what was to go there; gives the actors that had not been answered for."""
        batches = [*self._waiting.values(), *self._outbox]
        lost = {actor for batch in batches if batch.node == node for actor in batch.attempts}
        self._waiting = {reference: batch for reference, batch in self._waiting.items() if batch.node != node}
        self._outbox = [batch for batch in self._outbox if batch.node != node]
        self._told.pop(node, None)
        if (aggregator := self._aggregators.pop(node, None)) is not None:
            with suppress(ray.exceptions.RayError):
                ray.kill(aggregator)
        return lost

    def stop(self) -> None:
        """End all aggregators."""
        for node in list(self._aggregators):
            self.drop(node)
        self._outbox = []

    def _wait_for(self, reference: Any, batch: _Batch, more: float) -> None:
        now = self._clock()
        self._waiting[reference] = replace(batch, since=now, due=now + self.deadline + PATIENCE + more)

    def _lost(self, batch: _Batch, how: str) -> AggregatorLost:
        return AggregatorLost(batch.node, tuple(sorted(self.drop(batch.node) | set(batch.attempts))), how)

    def _is_past(self, node: str, event: Event | Answer) -> bool:
        """An end of an actor that has been replaced since."""
        return isinstance(event, Died | Hung) and self._told[node].get(event.actor) is not self._handle_of(event.actor)

    def _aggregator(self, node: str) -> Any:
        if node not in self._aggregators:
            from fedray.fleet.aggregator import NodeAggregator

            actor_class: Any = NodeAggregator
            pinned = NodeAffinitySchedulingStrategy(node, soft=False)
            self._aggregators[node] = actor_class.options(scheduling_strategy=pinned).remote(self.deadline)
            self._told[node] = {}
        return self._aggregators[node]
