"""Whether light workers work on this cluster with its Ray: one is started on each node, and looked at.

They lean on details that Ray doesn't promise, so nothing is concluded from versions.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedray.fleet.light_workers.launching import ZYGOTE

PATIENCE = 120.0
"""Seconds for all nodes together; a zygote takes 5 to start on a node that does nothing else."""
MOST_OWN_BYTES = 64 * 2**20
"""That a worker without work may have for itself; measured: 15 MiB where it is light, 170 where it isn't."""


@dataclass(frozen=True)
class Found:
    """What a worker sees of itself.

    Attributes:
        forked: It is a child of a zygote.
        ready: Its zygote had imported torch.
        own_bytes: Memory that it shares with nobody.
    """

    forked: bool
    ready: bool
    own_bytes: int


@ray.remote(num_cpus=0, max_restarts=0)
class Probe:
    """An actor that looks at the process it is in."""

    def found(self) -> Found:
        """What there is to see."""
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().split(b"\0")
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        own = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
        return Found(str(ZYGOTE).encode() in parent, "torch" in sys.modules, own * 1024)


def why_not(options: dict[str, Any]) -> str:
    """Start one worker on each node that takes actors, and say why they are not light; empty if all are.

    Args:
        options: Of an actor, so that it is started as phone actors will be.
    """
    probe: Any = Probe
    probes: dict[str, Any] = {}
    try:
        for address, node in _nodes().items():
            pinned = NodeAffinitySchedulingStrategy(node, soft=False)
            probes[address] = probe.options(scheduling_strategy=pinned, **options).remote()
        answers = ray.get([each.found.remote() for each in probes.values()], timeout=PATIENCE)
    except ray.exceptions.GetTimeoutError:
        return f"one that was tried did not start within {PATIENCE:.0f} s"
    except (ray.exceptions.RayError, ValueError) as error:
        return f"one that was tried could not be started ({type(error).__name__})"
    finally:
        for each in probes.values():
            ray.kill(each)
    said = {address: _wrong(found) for address, found in zip(probes, answers, strict=True)}
    return next((f"on node {address} {wrong}" for address, wrong in said.items() if wrong), "")


def _wrong(found: Found) -> str:
    if not found.forked:
        return "Ray started one without forking it (its log folder has fedray-zygote-*.log)"
    if not found.ready:
        return "the process that they are forked from could not import torch and fedray"
    if found.own_bytes > MOST_OWN_BYTES:
        return f"a forked one takes {found.own_bytes / 2**20:.0f} MiB, no less than a plain one"
    return ""


def _nodes() -> dict[str, str]:
    """Id of each living node that has CPUs for actors, by address; of all if none has."""
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node for node in listed if node["Alive"]]
    takers = [node for node in alive if node["Resources"].get("CPU", 0) > 0] or alive
    return {f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}": node["NodeID"] for node in takers}
