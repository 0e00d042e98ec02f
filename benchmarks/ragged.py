"""What it costs that phones have different numbers of rows: the same rows in all, dealt out evenly and not, in turn."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import figures, runs
from benchmarks.record import Place, record, show
from benchmarks.workload import FEATURES, ROWS, SEED

Int64 = npt.NDArray[np.int64]
NAMES = [f"f{number}" for number in range(FEATURES)]
LONG = 100
"""Times the rows of the others that each of a few phones has."""


def deals(phones: int) -> dict[str, Int64]:
    """How many rows each phone has, `[phones]`, three ways; about the same number in all."""
    random = np.random.Generator(np.random.Philox(SEED))
    drawn = random.lognormal(0.0, 1.0, phones)
    few = np.full(phones, ROWS)
    few[:: max(1, phones // 20)] = LONG * ROWS
    return {
        "50 each": np.full(phones, ROWS),
        "log-normal, mean 50": np.maximum(1, np.rint(drawn * ROWS / drawn.mean())).astype(np.int64),
        f"50, and twenty phones with {LONG * ROWS:,}": few,
    }


def write(file: Path, rows: Int64) -> None:
    """A table of so many rows a phone."""
    random = np.random.Generator(np.random.Philox(SEED))
    x = random.standard_normal((int(rows.sum()), FEATURES), dtype=np.float32)
    ends = np.cumsum(rows)
    columns: dict[str, Any] = {
        "phone": np.repeat(np.arange(len(rows)), rows),
        "time": np.arange(ends[-1]) - np.repeat(ends - rows, rows),
        **{name: x[:, place] for place, name in enumerate(NAMES)},
        "y": np.tanh(x.sum(axis=1) / np.float32(FEATURES) ** 0.5),
    }
    pq.write_table(pa.table(columns), file)


def ragged(place: Place, phones: int, rounds: int, repeats: int) -> None:
    """Rows a second in whole rounds on Ray, for each way to deal them out.

    Args:
        place: Where it works.
        phones: In the fleet.
        rounds: After the first.
        repeats: Turns of each.
    """
    dealt = deals(phones)
    speeds: dict[str, list[float]] = {name: [] for name in dealt}
    samples = []
    with tempfile.TemporaryDirectory(dir=place.home) as folder:
        files = {name: Path(folder).absolute() / f"{number}.parquet" for number, name in enumerate(dealt)}
        for name, rows in dealt.items():
            write(files[name], rows)
        for _ in range(repeats):
            for name, rows in dealt.items():
                run = runs.once(_experiment(files[name], phones, rounds + 1), place)
                samples.append({"dealt": name, "rows": int(rows.sum()), **run})
                speeds[name] += [int(rows.sum()) / second for second in runs.steady(run)]
                print(f"{name}: {median(runs.steady(run)):.2f} s a round", file=sys.stderr)
    summary = _summary(dealt, speeds)
    record("ragged", place, samples, summary)
    show("ragged shards", ["", "rows", "rows/s", "of even"], [[name, *s.values()] for name, s in summary.items()])
    speed = {name: found["rows_per_second"] / 1e6 for name, found in summary.items()}
    figures.shares(place.results / "ragged.png", f"Million rows a second, {phones:,} phones", speed)


def _summary(dealt: dict[str, Int64], speeds: dict[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    even, *_ = (median(found) for found in speeds.values())
    return {
        name: {"rows": int(rows.sum()), "rows_per_second": median(speeds[name]), "ratio": median(speeds[name]) / even}
        for name, rows in dealt.items()
    }


def _experiment(file: Path, phones: int, rounds: int) -> dict[str, Any]:
    table = {"source": "table", "path": str(file), "phone": "phone", "time": "time", "test_share": 0.0}
    return runs.standard(phones, rounds, data=table, task={"features": NAMES, "standardise": [], "target": "y"})
