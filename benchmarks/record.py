"""What every measurement leaves behind: a JSON file with machine, versions, commit, command line and raw samples.

Nothing heavy is imported here before something is measured.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = Path(".fedray/benchmarks")
GIB, MIB = 2**30, 2**20

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a measurement works, and where its result goes.

    Attributes:
        home: Rows, workloads and fedray's runs.
        results: JSON and figures. Quick tries stay out of the committed results.
        sets: Knobs of the experiment that differ from the measurement's own, as for `fedray run --set`.
    """

    home: Path
    results: Path
    sets: tuple[str, ...] = ()


def machine() -> dict[str, Any]:
    """CPU, cores, memory, system, and how busy it was."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "ram_gib": round(psutil.virtual_memory().total / GIB, 1),
        "os": platform.platform(),
        "load": [round(load, 2) for load in psutil.getloadavg()],
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide about speed."""
    packages = ("fedray", "torch", "ray", "numpy", "pyarrow", "mlflow")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def commit() -> dict[str, Any]:
    """The commit that was measured, and whether files differed from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    # Written by the measurements themselves, and by `table`.
    results = (":!benchmarks/results", ":!benchmarks/README.md", ":!docs/scaling.md", ":!README.md")
    return {"id": git("rev-parse", "HEAD") or None, "dirty": bool(git("status", "--porcelain", "--", ".", *results))}


def record(
    name: str,
    place: Place,
    samples: Sequence[Sample],
    summary: Mapping[str, Any],
    peers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write `results/NAME.json`, and return what it says.

    Args:
        name: Of the measurement.
        place: Has the folder for results.
        samples: As they were measured, each with what it was measured of.
        summary: What comes of them.
        peers: Versions of the peers' packages.
    """
    found = {
        "name": name,
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {**versions(), **(peers or {})},
        "commit": commit(),
        "set": list(place.sets),
        "summary": dict(summary),
        "samples": [dict(sample) for sample in samples],
    }
    place.results.mkdir(parents=True, exist_ok=True)
    (place.results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a short table: the first column to the left, numbers to the right."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    print(f"\n{title}")
    for row in cells:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  " + "   ".join((row[0].ljust(widths[0]), *numbers)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
