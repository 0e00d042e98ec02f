"""How many phones an actor holds, and which: consecutive ids, in actors of nearly equal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 2**20

ACTOR_BYTES = 225 * MIB
"""One actor with torch and a trained model, its own memory (PSS), measured: 204 MiB among 32, 222 among two, which
share libraries with fewer; see docs/phones.md."""

LIGHT_ACTOR_BYTES = 45 * MIB
"""The same with `fleet.light_workers`, measured: 33 MiB among 200, 42 among three, which share pages with fewer; see
docs/phones.md."""

ZYGOTE_BYTES = 150 * MIB
"""The process that they are forked from, with what they share, once a node."""

GROWTH_BYTES = 25 * MIB
"""What an actor takes of either when it reads its rows and trains, beyond what it has taken when it has started."""

CLUSTER_BYTES = 360 * MIB
"""What a local Ray cluster takes by itself."""


@dataclass(frozen=True)
class Placement:
    """Which phones live in which actor.

    Attributes:
        phones: How many there are.
        phones_per_actor: The most that one actor holds.
        why: Why so many, in a few words.
    """

    phones: int
    phones_per_actor: int
    why: str

    @property
    def actors(self) -> int:
        """How many actors there are."""
        return -(-self.phones // self.phones_per_actor)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First id and id after the last of each actor."""
        step = self.phones_per_actor
        return [(first, min(first + step, self.phones)) for first in range(0, self.phones, step)]


def place(phones: int, wanted: int | Literal["auto"], cpus: int) -> Placement:
    """Spread phones over actors.

    Args:
        phones: How many there are, at least 1.
        wanted: `fleet.phones_per_actor`.
        cpus: Of the cluster.
    """
    if wanted == "auto":
        actors = max(1, min(cpus, phones))
        return Placement(phones, -(-phones // actors), f"one actor a CPU ({cpus})")
    return Placement(phones, min(wanted, phones), "as asked for")
