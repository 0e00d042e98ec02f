"""CPUs of a cluster that grows on demand: asked for, waited for, and given back when the run has ended.

Phone actors ask Ray for no CPU, so by themselves they make no autoscaler start a machine. A placement group does: while
it waits it is demand, once it is placed its machines are in use, and if one is lost it asks for another. Ray gives it
back by itself when the driver dies, which `ray.autoscaler.sdk.request_resources` does not: a driver that was killed
would leave machines running, and paid for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from fedray.errors import WouldNotFit

PATIENCE = 900.0
"""Seconds in which at least one more CPU must come: a cloud starts and sets up a machine in two to ten minutes."""


class Reserved:
    """CPUs that are this run's until they are released."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def release(self) -> None:
        """Give them back; a cluster that scales down ends machines that nobody uses."""
        if self._group is not None and ray.is_initialized():
            remove_placement_group(self._group)
        self._group = None


def reserve(cpus: int, say: Callable[[str], None], patience: float = PATIENCE) -> Reserved:
    """Ask the cluster that this process has joined for so many CPUs, and wait until they are there.

    Args:
        cpus: How many.
        say: Told in one line that this waits, and in one that it has come to an end.
        patience: Seconds to wait for one more.

    Raises:
        WouldNotFit: If they don't come.
    """
    group = placement_group([{"CPU": 1}] * cpus, strategy="PACK")
    reserved = Reserved(group)
    try:
        began = last = time.monotonic()
        free = most_free = _cpus(ray.available_resources)
        most = _cpus(ray.cluster_resources)
        if not group.wait(timeout_seconds=1):
            say(f"waiting for {cpus} CPUs, {free} are free: a cluster that scales starts machines now")
            while not group.wait(timeout_seconds=5):
                free, there = _cpus(ray.available_resources), _cpus(ray.cluster_resources)
                if free > most_free or there > most:  # somebody let go of some, or machines came
                    last = time.monotonic()
                most_free, most = max(free, most_free), max(there, most)
                if time.monotonic() - last > patience:
                    raise _not_come(cpus, free, patience)
            say(f"{cpus} CPUs are this run's after {time.monotonic() - began:.0f} s")
    except BaseException:
        reserved.release()
        raise
    return reserved


def _not_come(cpus: int, free: int, patience: float) -> WouldNotFit:
    message = (
        f"fleet.cpus asks for {cpus} CPUs; {free} are free, and no more have come in the last "
        f"{patience / 60:.0f} minutes"
    )
    mend = "`ray status` on the head says why a machine doesn't come, and who uses CPUs; raise max_workers of the "
    return WouldNotFit(message, f"{mend}cluster, or set fleet.cpus to {max(free, 1)} or less")


def _cpus(resources: Callable[[], Mapping[str, float]]) -> int:
    """CPUs among what there is, or among what nobody holds: a group gets all of its own at once, so while it waits it
    holds none."""
    return int(resources().get("CPU", 0))
