"""Ten thousand actors' reports, added up by the code that adds up in every run, on one machine.

The reports are real: one actor trains phones with the model in question, and its report, with other numbers in it, is
what each of the others sends. The actors are not: two processes answer for all of them, by the same messages through
Ray, so that the driver can't tell. What is measured is the driver: its own CPU time and memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import figures
from benchmarks.processes import memory_bytes
from benchmarks.record import MIB, Place, record, show

# As fedray does, before Ray is imported.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

import fedray
from fedray.data.shards import Dataset, prepare
from fedray.federation.driver import cohort_rule, run_spec
from fedray.fleet.engine import InlineEngine
from fedray.fleet.fleet import Fleet
from fedray.fleet.messages import Order, Report, RunSpec, Train
from fedray.fleet.placement import Placement, place
from fedray.fleet.ray_engine import RayEngine
from fedray.learning.models import flat_weights
from fedray.parts import initial_network

MODELS = {561: (20, 20), 92_401: (300, 300)}
"""Widths of hidden layers by D."""

CROWDS = 2
WARM_UP = 100  # reports before anything is measured


@ray.remote(num_cpus=0)
class Crowd:
    """Answers for many actors: a real report, its sums moved by the actor's number, so that totals can be checked."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def perform(self, actor: int, order: Order, shared: Any) -> Report:
        """What one of them reports; nothing on an order to prepare."""
        sums = {} if isinstance(shared, RunSpec) else {name: each + actor for name, each in self.report.sums.items()}
        return Report(order.run, order.round, order.attempt, actor, sums)

    def ready(self, actor: int) -> None:
        """As a phone actor says that it has started."""


class Member:
    """The handle of one actor, as the engine uses it."""

    def __init__(self, crowd: Any, actor: int) -> None:
        self.perform, self.ready = (Call(method, actor) for method in (crowd.perform, crowd.ready))


class Call:
    """A method of one actor."""

    def __init__(self, method: Any, actor: int) -> None:
        self.method, self.actor = method, actor

    def remote(self, *arguments: Any) -> Any:
        """Ask the crowd in the actor's name."""
        return self.method.remote(self.actor, *arguments)


class CrowdEngine(RayEngine):
    """The engine of every run on Ray, but for the actors' processes."""

    def __init__(self, report: Report) -> None:
        super().__init__("local", 0)
        crowd: Any = Crowd
        self.crowds = [crowd.remote(report) for _ in range(CROWDS)]

    def _actor(self, number: int, *_: Any) -> Any:
        return Member(self.crowds[number % CROWDS], number)

    def stop(self) -> None:
        """End the crowds and the cluster."""
        self._actors = self.crowds
        super().stop()


class Memory(threading.Thread):
    """The most memory that this process takes while a block lasts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self._over = 0, threading.Event()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.is_set():
            self.most = max(self.most, memory_bytes(psutil.Process()))
            self._over.wait(0.1)

    @classmethod
    @contextmanager
    def watched(cls) -> Iterator[Memory]:
        """Look for as long as the block lasts."""
        watch = cls()
        watch.start()
        try:
            yield watch
        finally:
            watch._over.set()
            watch.join()


def real_report(experiment: fedray.Experiment, dataset: Dataset) -> Report:
    """The report of an actor that has trained a few phones."""
    reports: list[Any] = []
    with Fleet(InlineEngine(), place(dataset.phones, dataset.phones, 1), dataset) as fleet:
        fleet.prepare(run_spec(experiment, dataset, "real", Path(tempfile.gettempdir())))
        fleet.taps.append(reports.append)
        fleet.ask(Train(cohort_rule(experiment, dataset.phones)), _weights(experiment), 1)
    return reports[-1]


def _weights(experiment: fedray.Experiment) -> dict[str, Any]:
    return {"weights": flat_weights(initial_network(experiment)).numpy()}


def rounds_of(width: int, sizes: Sequence[int], repeats: int, home: Path) -> list[dict[str, Any]]:
    """One order to fleets of so many actors each, and all their reports added up; checked to the last bit."""
    experiment = fedray.Experiment(
        name="reports", home=home, data={"people": 1_000, "phones": 10, "days": 50}, model={"hidden": MODELS[width]}
    )
    dataset = prepare(experiment.data, 1, home)
    report = real_report(experiment, dataset)
    assert report.sums["sum.update"].shape == (width,)
    spec, work = run_spec(experiment, dataset, "reports", home), Train(cohort_rule(experiment, dataset.phones))
    samples, engine = [], CrowdEngine(report)
    try:
        for actors in [WARM_UP, *sorted([*sizes] * repeats)]:
            fleet = Fleet(engine, Placement(actors, 1, ""), dataset)  # not ended: the engine goes on with the next
            fleet.prepare(spec)
            samples.append({"weights": width, "actors": actors, **_measured(fleet, work, _weights(experiment), report)})
            print(f"D = {width:,}: {samples[-1]}", file=sys.stderr)
    finally:
        engine.stop()
    return samples[1:]


def _measured(fleet: Fleet, work: Train, arrays: dict[str, Any], report: Report) -> dict[str, float]:
    before, cpu, began = memory_bytes(psutil.Process()), time.process_time(), time.perf_counter()
    with Memory.watched() as memory:
        gathered = fleet.ask(work, arrays, 1)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    actors = fleet.placement.actors
    for name, each in report.sums.items():
        assert np.array_equal(gathered.sums[name], actors * each + actors * (actors - 1) // 2), name
    return {
        "seconds": seconds,
        "driver_cpu_seconds": cpu,
        "bytes_in": gathered.bytes_in,
        "driver_mib_before": before / MIB,
        "driver_mib": memory.most / MIB,
    }


def reports(place_: Place, sizes: Sequence[int], widths: Sequence[int], repeats: int) -> None:
    """The `reports` measurement.

    Args:
        place_: Where it works.
        sizes: Actors.
        widths: D, of `MODELS`.
        repeats: Rounds of each size.
    """
    with tempfile.TemporaryDirectory(dir=place_.home) as home:
        samples = [one for width in widths for one in rounds_of(width, sizes, repeats, Path(home).absolute())]
    summary = {str(width): _summary([s for s in samples if s["weights"] == width], sizes) for width in widths}
    record("reports", place_, samples, summary)
    columns = ("actors", "s", "driver CPU, s", "in, MiB", "driver, MiB")
    for width in widths:
        s = summary[str(width)]
        title = f"reports of {width:,} weights: slope of the driver's CPU {s['slope']:.2f}"
        keys = ("actors", "seconds", "driver_cpu_seconds", "mib_in", "driver_mib")
        show(title, columns, [list(row) for row in zip(*(s[key] for key in keys), strict=True)])
    series = {
        f"{width:,} weights": (list(sizes), summary[str(width)]["driver_cpu_seconds"]) for width in widths
    }  # fmt: skip
    first = series[f"{widths[0]:,} weights"][1][0]
    series["slope 1"] = (list(sizes), [first * size / sizes[0] for size in sizes])
    figures.lines(
        place_.results / "reports.png", "A round's reports at the driver", "actors", "CPU seconds", series, log=True
    )


def _summary(samples: Sequence[dict[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    """By size: the median time, the most memory."""

    def by_size(key: str) -> list[list[float]]:
        return [[sample[key] for sample in samples if sample["actors"] == size] for size in sizes]

    seconds, cpu = ([float(np.median(each)) for each in by_size(key)] for key in ("seconds", "driver_cpu_seconds"))
    return {
        "actors": list(sizes),
        "seconds": seconds,
        "driver_cpu_seconds": cpu,
        "slope": float(np.polyfit(np.log(sizes), np.log(cpu), 1)[0]),
        "mib_in": [each[0] / MIB for each in by_size("bytes_in")],
        "driver_mib": [max(each) for each in by_size("driver_mib")],
    }
