"""What happens to actors and nodes, as an engine tells it to the fleet: values, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Died:
    """An actor is gone though its node is there; what it was asked will not be answered."""

    actor: int
    how: str


@dataclass(frozen=True)
class Hung:
    """An actor has not answered an order for so many seconds; nobody waits for it any more."""

    actor: int
    seconds: float


@dataclass(frozen=True)
class NodeLost:
    """A node is gone, and all its actors with it."""

    node: str
    actors: tuple[int, ...]


@dataclass(frozen=True)
class AggregatorLost:
    """What added up a node's reports is gone or hangs, and with it the answers of these actors, which live on."""

    node: str
    actors: tuple[int, ...]
    how: str


@dataclass(frozen=True)
class Moved:
    """An actor has begun again, unprepared, on a node with more room than the one where it was."""

    actor: int
    node: str


Event: TypeAlias = Died | Hung | NodeLost | AggregatorLost
