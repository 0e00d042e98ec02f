"""What phone actors cost: time to start and memory of each, and of the cluster around them.

    python -m benchmarks.actors --phones 24 --phones-per-actor 1

Runs an experiment on a local Ray cluster of its own for one round, and looks at the processes at the end of it, when
every phone has read its rows, trained and been tested. Memory is PSS: a page that several processes share counts in
parts. macOS has no PSS; there it is USS, which leaves shared pages out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from statistics import median

import psutil

import fedray

MIB = 2**20


def memory_mib(process: psutil.Process) -> float:
    """Of one process, in MiB: PSS, or USS where there is no PSS; 0 if it has just ended."""
    try:
        found = process.memory_full_info()
    except psutil.NoSuchProcess:
        return 0.0
    return float(getattr(found, "pss", found.uss)) / MIB


def is_phone_actor(process: psutil.Process) -> bool:
    """Ray names a worker's process after the actor in it."""
    try:
        return "".join(process.cmdline()[:1]).startswith("ray::PhoneActor")
    except psutil.NoSuchProcess:
        return False


class Cost:
    """A hook: the memory of all processes after the last round, in MiB, and the actors' CPU seconds until then."""

    def __init__(self) -> None:
        self.actors: list[float] = []
        self.cpu_seconds: list[float] = []
        self.cluster = self.driver = 0.0

    def __call__(self, context: fedray.RoundContext) -> None:
        """Look at all processes that this one has started."""
        if context.round < context.rounds:
            return
        ours = psutil.Process()
        started = ours.children(recursive=True)
        actors = [process for process in started if is_phone_actor(process)]
        self.actors = [memory_mib(process) for process in actors]
        self.cpu_seconds = [sum(process.cpu_times()[:2]) for process in actors]
        self.cluster = sum(memory_mib(process) for process in started if not is_phone_actor(process))
        self.driver = memory_mib(ours)


def measured(phones: int, phones_per_actor: int, home: Path) -> dict[str, float]:
    """Run one round over so many phones, and say what it took."""
    experiment = fedray.Experiment(
        name="actors",
        home=home,
        data={"phones": phones},
        learning={"rounds": 1},
        fleet={"engine": "ray", "address": "local", "phones_per_actor": phones_per_actor},
        baselines=[],
        tracking={"uri": f"sqlite:///{home / 'mlflow.db'}"},
    )
    cost = Cost()
    run = fedray.run(experiment, hooks=[cost]).only
    assert len(cost.actors) == run.fleet["actors"], "not every actor's process was found"
    return {
        "phones": phones,
        "phones_per_actor": run.fleet["phones_per_actor"],
        "actors": run.fleet["actors"],
        "start_seconds": round(run.seconds["start"], 1),
        "actor_cpu_seconds": round(median(cost.cpu_seconds), 1),
        "actor_mib": round(median(cost.actors)),
        "actor_mib_most": round(max(cost.actors)),
        "actors_mib": round(sum(cost.actors)),
        "cluster_mib": round(cost.cluster),
        "driver_mib": round(cost.driver),
    }


def main() -> None:
    """Print one measurement as lines, or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", type=int, default=8)
    parser.add_argument("--phones-per-actor", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        found = measured(options.phones, options.phones_per_actor, Path(home))
    if options.json:
        print(json.dumps(found))
        return
    machine = f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}"
    print(f"{found['phones']} phones, {found['phones_per_actor']} an actor: {found['actors']} actors; {machine}")
    print(f"start          {found['start_seconds']:8.1f} s   cluster and actors, until the last one answers")
    print(f"an actor       {found['actor_cpu_seconds']:8.1f} s   of CPU, to start, train one round and be tested")
    print(f"               {found['actor_mib']:8.0f} MiB median, {found['actor_mib_most']:.0f} MiB the largest")
    print(f"all actors     {found['actors_mib']:8.0f} MiB")
    print(f"the cluster    {found['cluster_mib']:8.0f} MiB without phones")
    print(f"the driver     {found['driver_mib']:8.0f} MiB")


if __name__ == "__main__":
    main()
