"""Orders on their way to Ray actors: who has not answered yet, who died over it, and who takes too long.

Used by the driver, and by the aggregators of a cluster's nodes, which must stay light: nothing here imports torch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray

from fedray.fleet.events import Died, Hung
from fedray.fleet.messages import Answer, Failure, Order

DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.ObjectLostError,
)
"""What Ray raises for an actor that will not answer; the last three are no kinds of the first. The last is of one that
did, with a report so large that it stayed on its node, which is gone."""

GATHERED_AT_ONCE = 64
"""Answers a `ray.wait`: its cost grows with the number of references (0.19 s for 1,000), so few calls take many."""

LOOKED_AT = 512
"""Answers that are waited for together, those that were asked for first, unless none of them comes: ten thousand that
come one by one would else be looked through ten thousand times."""

STARTING = 120.0
"""Seconds that a new process may take on top of the deadline before its first answer: on a busy machine, importing
torch for many actors at once has taken a minute."""


class Calls:
    """What actors have been sent and have not answered. An actor does one thing after another.

    Args:
        deadline: Seconds that an actor may take over one order.
        clock: Seconds; a test's own.
    """

    def __init__(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline, self._clock = deadline, clock
        self._waiting: dict[Any, tuple[int, Order]] = {}
        self._open: Counter[int] = Counter()
        self._since: dict[int, float] = {}
        self._new: set[int] = set()

    @property
    def references(self) -> list[Any]:
        """What to wait for."""
        return list(self._waiting)

    def __contains__(self, reference: Any) -> bool:
        return reference in self._waiting

    def address(self, reference: Any) -> tuple[int, int]:
        """Actor and attempt of the order that a reference stands for."""
        actor, order = self._waiting[reference]
        return actor, order.attempt

    def begins(self, actor: int) -> None:
        """A new process takes an actor's place; what the old one was sent is forgotten."""
        self.forget(actor)
        self._new.add(actor)

    def busy(self, actor: int) -> bool:
        """Whether it has something to answer, or has begun anew and answered nothing yet."""
        return self._open[actor] > 0 or actor in self._new

    def send(self, actor: int, handle: Any, order: Order, shared: Any) -> None:
        """Send an order, with a reference to what comes with it."""
        if not self._open[actor]:
            self._since[actor] = self._clock()
        self._open[actor] += 1
        self._waiting[handle.perform.remote(order, shared)] = (actor, order)

    def take(self, reference: Any) -> Answer | Died:
        """What came of an order; the reference is ready."""
        actor, order = self._waiting.pop(reference)
        self._open[actor] -= 1
        self._since[actor] = self._clock()
        self._new.discard(actor)
        try:
            answer: Answer = ray.get(reference)
        except DEATHS as error:
            return Died(actor, type(error).__name__)
        except ray.exceptions.RayError as error:
            return Failure(order.run, order.round, order.attempt, actor, kind_of(error))
        return answer

    def overdue(self) -> list[Hung]:
        """Actors that take longer than the deadline; they are forgotten."""
        now = self._clock()
        found = [
            Hung(actor, now - self._since[actor])
            for actor, count in self._open.items()
            if count and now - self._since[actor] > self.deadline + STARTING * (actor in self._new)
        ]
        for hung in found:
            self.forget(hung.actor)
        return found

    def forget(self, actor: int) -> None:
        """Whatever an actor was sent will not be waited for."""
        if self._open.pop(actor, 0):
            self._waiting = {reference: other for reference, other in self._waiting.items() if other[0] != actor}
        self._new.discard(actor)


def kind_of(error: ray.exceptions.RayError) -> str:
    """The class of what could not be unpickled where it arrived; the text may quote it, so it isn't kept."""
    return type(getattr(error, "cause", None) or error).__name__


def ready(references: list[Any], seconds: float) -> list[Any]:
    """Those that are there, after waiting for the first of them for so long at most."""
    if not references:
        return []
    for looked_at in (references[:LOOKED_AT], references):
        done, _ = ray.wait(looked_at, num_returns=1, timeout=seconds)
        if done:
            done, _ = ray.wait(looked_at, num_returns=min(GATHERED_AT_ONCE, len(looked_at)), timeout=0.0)
            return list(done)
        seconds = 0.0
    return []


def each_death_once(events: list[Any]) -> list[Any]:
    """The events with one `Died` an actor: all that a dead actor had been sent fails, but it died once."""
    kept: list[Any] = []
    dead: set[int] = set()
    for event in events:
        if isinstance(event, Died):
            if event.actor in dead:
                continue
            dead.add(event.actor)
        kept.append(event)
    return kept
