"""What phone actors cost: time to start and memory of each, and of the cluster around them.

Runs an experiment on a local Ray cluster of its own for one round, and looks at the processes at the end of it, when
every phone has read its rows, trained and been tested.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import psutil

import fedray
from benchmarks import figures
from benchmarks.processes import is_phone_actor, memory_bytes
from benchmarks.record import MIB, Place, record, show

SIZES = ((4, 1), (24, 1), (500, 250), (10_000, 5_000))
"""Phones, and phones an actor."""


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
        self.actors = [memory_bytes(process) / MIB for process in actors]
        self.cpu_seconds = [sum(process.cpu_times()[:2]) for process in actors]
        self.cluster = sum(memory_bytes(process) / MIB for process in started if not is_phone_actor(process))
        self.driver = memory_bytes(ours) / MIB


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


def actors(place: Place, sizes: Sequence[tuple[int, int]]) -> None:
    """The `actors` measurement: each size in a process of its own, so that the driver starts afresh."""
    context = multiprocessing.get_context("spawn")
    samples = []
    for phones, phones_per_actor in sizes:
        with (
            tempfile.TemporaryDirectory(dir=place.home) as home,
            ProcessPoolExecutor(1, mp_context=context) as process,
        ):
            samples.append(process.submit(measured, phones, phones_per_actor, Path(home).absolute()).result())
    record("actors", place, samples, {"sizes": samples})
    names = [name for name in samples[0] if name not in {"phones_per_actor", "actor_mib_most"}]
    columns = [name.replace("_", " ").replace(" mib", ", MiB").replace(" seconds", ", s") for name in names]
    show("phone actors", columns, [[sample[name] for name in names] for sample in samples])
    figures.stacked(
        place.results / "actors.png", "Memory of phone actors and what is around them, MiB",
        [f"{int(s['phones']):,} phones,\n{int(s['actors'])} actors" for s in samples],
        {kind: [s[f"{kind}_mib"] for s in samples] for kind in ("actors", "cluster", "driver")},
    )  # fmt: skip
