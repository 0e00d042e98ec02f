"""What can go wrong on a cluster's hosts: which fault comes when, drawn from a seed, and how each is done."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.hosts.cluster import Cluster
from benchmarks.hosts.network import Host


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: A key of `KINDS`.
        host: Where, by name.
        draw: In [0, 1): which of the host's actors.
    """

    kind: str
    host: str
    draw: float


def schedule(seed: int, count: int, workers: Sequence[str]) -> list[Fault]:
    """So many faults on hosts other than the head, without which there is no cluster.

    Every kind comes once before one comes again.
    """
    draw = random.Random(seed)
    faults: list[Fault] = []
    while len(faults) < count:
        kinds = list(KINDS)
        draw.shuffle(kinds)
        faults += [Fault(kind, draw.choice(workers), draw.random()) for kind in kinds]
    return faults[:count]


def inflict(fault: Fault, cluster: Cluster) -> str:
    """Do it, and mend the link if it was one; returns when it is over, with what was done in a few words."""
    host = cluster.network.hosts[fault.host]
    return KINDS[fault.kind](cluster, host, fault.draw)


def _signal_an_actor(number: signal.Signals) -> Callable[[Cluster, Host, float], str]:
    def done(cluster: Cluster, host: Host, draw: float) -> str:
        actors = cluster.actors(host)
        if not actors:
            return f"no actor on {host.name}"
        pid = actors[int(draw * len(actors))]
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return f"{number.name} to actor process {pid} on {host.name}"

    return done


def _cut(cluster: Cluster, host: Host, draw: float) -> str:
    with host.link.being_cut():
        time.sleep(10)
    return f"link of {host.name} cut for 10 s"


def _flap(cluster: Cluster, host: Host, draw: float) -> str:
    host.link.flap(times=8, seconds=0.4)
    return f"link of {host.name} cut eight times for 0.4 s"


def _slow(cluster: Cluster, host: Host, draw: float) -> str:
    how = host.link.slow()
    time.sleep(10)
    host.link.mend()
    return f"link of {host.name} slow for 10 s ({how})"


def _kill_node(cluster: Cluster, host: Host, draw: float) -> str:
    host.kill()
    return f"all processes of {host.name} killed"


KINDS: dict[str, Callable[[Cluster, Host, float], str]] = {
    "kill an actor": _signal_an_actor(signal.SIGKILL),
    "stop an actor": _signal_an_actor(signal.SIGSTOP),
    "cut a link": _cut,
    "flap a link": _flap,
    "slow a link": _slow,
    "kill a node": _kill_node,
}
