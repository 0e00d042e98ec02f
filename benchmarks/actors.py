"""What phone actors cost: time to start and memory of each, and of the cluster around them.

Runs an experiment on a local Ray cluster of its own for three rounds, and looks at the processes at the end of them,
when every phone has read its rows, trained and been tested.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import psutil

import fedray
from benchmarks import figures
from benchmarks.processes import family, is_phone_actor, memory_bytes
from benchmarks.record import MIB, Place, record, show

SIZES = ((4, 1), (24, 1), (500, 250), (10_000, 5_000))
"""Phones, and phones an actor."""
LIGHT_SIZES = ((24, 1), (100, 1), (200, 1), (300, 1))
"""The same with light workers."""
ROUNDS = 3
IDLE_SECONDS = 20.0
"""That idle actors are looked at."""


class Cost:
    """A hook: memory of all processes after the last round, in MiB, the actors' CPU seconds until then, their share of
    a core while nobody asks anything of them, and the seconds of each round."""

    def __init__(self) -> None:
        self.actors: list[float] = []
        self.cpu_seconds: list[float] = []
        self.rounds: list[float] = []
        self.cluster = self.driver = self.idle = 0.0

    def __call__(self, context: fedray.RoundContext) -> None:
        """Look at all processes that this one has started."""
        self.rounds += [context.seconds] if context.round else []
        if context.round < context.rounds:
            return
        started = [process for process in family(os.getpid()) if process.pid != os.getpid()]
        actors = [process for process in started if is_phone_actor(process)]
        self.actors = [memory_bytes(process) / MIB for process in actors]
        self.cluster = sum(memory_bytes(process) / MIB for process in started if not is_phone_actor(process))
        self.driver = memory_bytes(psutil.Process()) / MIB
        self.cpu_seconds = [sum(process.cpu_times()[:2]) for process in actors]
        began = time.perf_counter()
        time.sleep(IDLE_SECONDS)
        spent = sum(sum(process.cpu_times()[:2]) for process in actors) - sum(self.cpu_seconds)
        self.idle = spent / (time.perf_counter() - began) / len(actors)


def measured(phones: int, phones_per_actor: int, light: bool, home: Path) -> dict[str, float]:
    """Run three rounds over so many phones, and say what it took."""
    experiment = fedray.Experiment(
        name="actors",
        home=home,
        data={"phones": phones},
        learning={"rounds": ROUNDS},
        fleet={
            "engine": "ray",
            "address": "local",
            "phones_per_actor": phones_per_actor,
            "light_workers": "on" if light else "off",
        },
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
        "round_seconds": round(median(cost.rounds), 2),
        "actor_cpu_seconds": round(median(cost.cpu_seconds), 1),
        "idle_share_of_a_core": round(cost.idle, 4),
        "actor_mib": round(median(cost.actors)),
        "actor_mib_most": round(max(cost.actors)),
        "actors_mib": round(sum(cost.actors)),
        "cluster_mib": round(cost.cluster),
        "driver_mib": round(cost.driver),
        "all_mib": round(sum(cost.actors) + cost.cluster + cost.driver),
    }


def actors(place: Place, sizes: Sequence[tuple[int, int]], light: bool) -> None:
    """The `actors` measurement: each size in a process of its own, so that the driver starts afresh."""
    context = multiprocessing.get_context("spawn")
    samples = []
    for phones, phones_per_actor in sizes:
        with (
            tempfile.TemporaryDirectory(dir=place.home) as home,
            ProcessPoolExecutor(1, mp_context=context) as process,
        ):
            samples.append(process.submit(measured, phones, phones_per_actor, light, Path(home).absolute()).result())
    name = "light-actors" if light else "actors"
    record(name, place, samples, {"sizes": samples})
    shown = [key for key in samples[0] if key not in {"phones_per_actor", "actor_mib_most"}]
    columns = [key.replace("_", " ").replace(" mib", ", MiB").replace(" seconds", ", s") for key in shown]
    show("phone actors", columns, [[sample[key] for key in shown] for sample in samples])
    figures.stacked(
        place.results / f"{name}.png", "Memory of phone actors and what is around them, MiB",
        [f"{int(s['phones']):,} phones,\n{int(s['actors'])} actors" for s in samples],
        {kind: [s[f"{kind}_mib"] for s in samples] for kind in ("actors", "cluster", "driver")},
    )  # fmt: skip
