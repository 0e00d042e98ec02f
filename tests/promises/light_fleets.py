"""Fleets of light workers on clusters of their own, since one process has one Ray; prints what became of them as JSON.

Runs as `python light_fleets.py local|nodes FOLDER`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
from small_fleets import experiment, trained, wait_until

from fedray.config import OutbreakData
from fedray.data.shards import Dataset, prepare
from fedray.fleet.fleet import Fleet
from fedray.fleet.light_workers.launching import ZYGOTE
from fedray.fleet.placement import place
from fedray.fleet.ray_engine import RayEngine


def family(fleet: Any) -> list[list[int]]:
    """Each actor's process and the one that started it."""
    import ray

    calls = [actor.__ray_call__.remote(lambda _: [os.getpid(), os.getppid()]) for actor in fleet.engine._actors]
    return [list(pids) for pids in ray.get(calls)]


def is_zygote(pid: int) -> bool:
    try:
        return str(ZYGOTE) in psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False


def zygotes() -> set[int]:
    """All of this test run's: other runs' have other command lines only by their Ray session, so by that."""
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path()).name
    lines = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    return {pid for pid, line in lines.items() if str(ZYGOTE) in line and session in line}


def node_ids() -> list[str]:
    import ray

    return [node["NodeID"] for node in ray.nodes()]


def dataset_in(folder: Path) -> Dataset:
    return prepare(OutbreakData(people=300, days=12, phones=9), 1, folder)


def local(folder: Path) -> dict[str, Any]:
    """A cluster of its own: one actor is killed after the second round."""
    said: list[str] = []
    engine = RayEngine("local", 0, 128 * 2**20, light_workers=True)
    engine.say = said.append
    fleet = Fleet(engine, place(9, 1, 2), dataset_in(folder), said.append)
    with fleet:
        before = family(fleet)

        def kill(context: Any) -> None:
            if context.round == 2:
                os.kill(before[0][0], signal.SIGKILL)

        end = trained(fleet, experiment(), folder / "runs", hooks=[kill])
        after = family(fleet)
        found, ids = zygotes(), node_ids()
    everybody = {pid for pair in before + after for pid in pair} | found
    wait_until(lambda: not any(map(psutil.pid_exists, everybody)), 60, "the end of all workers and their zygote")
    return {"sha256": end.sha256, "said": said, "before": before, "after": after, "zygotes": sorted(found),
            "nodes": ids}  # fmt: skip


def nodes(folder: Path) -> dict[str, Any]:
    """A cluster that was joined: the node of the first actor is lost after the second round."""
    import ray
    from ray.cluster_utils import Cluster

    soon = {
        "health_check_initial_delay_ms": 500, "health_check_period_ms": 1000, "health_check_timeout_ms": 3000,
        "health_check_failure_threshold": 3,
    }  # fmt: skip
    size = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": soon, **size})
    two = [cluster.add_node(num_cpus=1, **size) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    said: list[str] = []
    engine = RayEngine(None, 0, light_workers=True)
    engine.say = said.append
    with Fleet(engine, place(9, 5, 2), dataset_in(folder), said.append) as fleet:
        before, found, ids = family(fleet), zygotes(), node_ids()
        lost = raylet_of(before[0][1])

        def lose(context: Any) -> None:
            if context.round == 2:
                (gone,) = [node for node in two if lost in pids_of(node)]
                cluster.remove_node(gone, allow_graceful=False)

        end = trained(fleet, experiment(), folder / "runs", hooks=[lose])
        after = family(fleet)
    there = [[pid, parent, int(is_zygote(parent))] for pid, parent in after]
    everybody = {pid for pair in before + after for pid in pair} | found
    ray.shutdown()
    cluster.shutdown()
    wait_until(lambda: not any(map(psutil.pid_exists, everybody)), 60, "the end of all workers and their zygotes")
    return {
        "sha256": end.sha256, "said": said, "before": before, "after": there, "zygotes": sorted(found), "nodes": ids,
    }  # fmt: skip


def raylet_of(zygote: int) -> int:
    return int(psutil.Process(zygote).cmdline()[3])


def pids_of(node: Any) -> set[int]:
    return {info.process.pid for infos in node.all_processes.values() for info in infos}


if __name__ == "__main__":
    what, folder = sys.argv[1:]
    print(json.dumps({"local": local, "nodes": nodes}[what](Path(folder))))
