"""Runs of the standard workload over an outbreak, each in a process of its own, by fedray's public road."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import MemoryWatch
from benchmarks.record import ROOT, Place


def standard(phones: int, rounds: int, **more: Any) -> dict[str, Any]:
    """The standard workload: 50 rows a phone, 5 features, batches of 10, one epoch, MLP 5-20-20-1. No test but before
    the first round and after the last. Few phones get more people: a small outbreak ends before its last day. All sizes
    are compiled: `auto` would leave the small ones out, and a line through two trainers says nothing."""
    return {
        "name": "benchmark",
        "data": {"source": "outbreak", "people": max(phones, 10_000), "phones": phones, "days": 50},
        "learning": {"rounds": rounds, "batch_size": 10, "learning_rate": 0.1, "evaluate_every": rounds,
                     "compile": "on"},
        "fleet": {"engine": "ray", "address": "local"},
        "baselines": [],
        **more,
    }  # fmt: skip


class Going:
    """A run that goes on."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log, self.started = process, log, time.perf_counter()
        self.began = float("nan")
        self.rounds: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it tells, as it tells it.

        Raises:
            RuntimeError: If it ends without a result; its log is named.
        """
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            if "begins" in line:
                self.began = time.perf_counter() - self.started
            if "round" in line:
                self.rounds.append(line)
            if "stages" in line:
                self.result = {"rounds": self.rounds, "began": self.began, **line}
            yield line
        if self.process.wait() or not self.result:
            raise RuntimeError(f"a run ended with {self.process.returncode}; see {self.log}")

    def next_round(self) -> float:
        """Let a run that takes turns go on; the seconds of its next round."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(next(line["seconds"] for line in self.lines() if "round" in line))

    def wait_for(self, stage: str) -> None:
        """Until it says that a stage has begun."""
        next(line for line in self.lines() if line.get("stage") == stage)


@contextmanager
def going(experiment: Mapping[str, Any], place: Place, *, turns: bool = False) -> Iterator[Going]:
    """Start a run; end it when the block is left, whatever happens."""
    asked = {"experiment": {"home": str(place.home), **experiment}, "sets": place.sets, "turns": turns}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.NamedTemporaryFile("w", prefix="run-", suffix=".log", dir=place.home, delete=False) as log:
        command = [sys.executable, "-m", "benchmarks.one_run", json.dumps(asked)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
            try:
                yield Going(process, Path(log.name))
            except BaseException:
                process.terminate()
                raise
    Path(log.name).unlink()  # kept only where something went wrong


def once(experiment: Mapping[str, Any], place: Place, *, memory: bool = False) -> dict[str, Any]:
    """A whole run: `rounds` (with `seconds`, `phones`, `driver_cpu`), `began` (seconds from the process's start to the
    first round's), `stages`, `fleet`, and samples of `memory`."""
    with going(experiment, place) as run:
        watch = MemoryWatch(run.process.pid)
        if memory:
            watch.start()
        for line in run.lines():
            watch.stage = line.get("stage", watch.stage)
        return run.result | ({"memory": watch.finish()} if memory else {})


def steady(run: Mapping[str, Any]) -> list[float]:
    """Seconds of all rounds but the first."""
    return [line["seconds"] for line in run["rounds"][1:]]


def row_seconds(run: Mapping[str, Any]) -> float:
    """Of simulating the outbreaks and writing their rows, which another measurement has a goal for."""
    return float(run["stages"]["outbreak"] + run["stages"]["shards"])


def start_seconds(run: Mapping[str, Any]) -> float:
    """From the start of the process to that of the first round, but for `row_seconds`: imports, the check of the
    experiment, the recording of the step, Ray, actors, shards read, features summed, the step compiled, and the first
    test, in which resident rows are read."""
    return float(run["began"]) - row_seconds(run)
