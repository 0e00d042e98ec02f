"""Phones a second, and how a round's time, the driver's and memory grow with the number of phones."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import figures, runs
from benchmarks.processes import total
from benchmarks.record import GIB, MIB, Place, record, show


def throughput(place: Place, name: str, phones: int, rounds: int, repeats: int, cold: bool) -> None:
    """Phones a second in whole rounds on Ray; the first round apart.

    Args:
        place: Where it works.
        name: Of the result.
        phones: In the fleet.
        rounds: After the first.
        repeats: Runs, each with a Ray cluster and processes of its own.
        cold: With a home of its own for each run: everything is written and compiled anew.
    """
    samples = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=place.home) as fresh:
            there = replace(place, home=Path(fresh)) if cold else place
            samples.append(runs.once(runs.standard(phones, rounds + 1), there))
        print(f"{phones:,} phones: {median(runs.steady(samples[-1])):.2f} s a round", file=sys.stderr)
    speeds = [phones / second for run in samples for second in runs.steady(run)]
    summary = {
        "phones": phones,
        "phones_per_second": median(speeds),
        "round_seconds": phones / median(speeds),
        "first_round_seconds": median(run["rounds"][0]["seconds"] for run in samples),
        "start_seconds": median(map(runs.start_seconds, samples)),
        "row_seconds": median(map(runs.row_seconds, samples)),
        "stages": {stage: median(run["stages"][stage] for run in samples) for stage in samples[0]["stages"]},
        "cold": cold,
    }
    record(name, place, samples, summary)
    rows = [[word.replace("_", " "), summary[word]] for word in summary if word != "stages"]
    show(f"throughput, {phones:,} phones", ["", ""], rows + [[f"stage {k}", v] for k, v in summary["stages"].items()])
    series = {
        f"run {number + 1}": (list(range(2, rounds + 2)), [phones / second for second in runs.steady(run)])
        for number, run in enumerate(samples)
    }
    figures.lines(place.results / f"{name}.png", f"{phones:,} phones", "round", "phones a second", series)


def scaling(place: Place, sizes: Sequence[int], rounds: int, repeats: int, pairs: int) -> None:
    """Seconds a round and the driver's CPU seconds a round over fleets of several sizes; and a cohort of one per cent
    of the largest beside a full round of as many phones, taking turns."""
    samples = []
    for _ in range(repeats):
        for phones in sizes:
            samples.append({"phones": phones, **runs.once(runs.standard(phones, rounds + 1), place)})
            print(f"{phones:,} phones: {median(runs.steady(samples[-1])):.2f} s a round", file=sys.stderr)
    seconds, driver = [], []
    for phones in sizes:
        mine = [line for run in samples if run["phones"] == phones for line in run["rounds"][1:]]
        seconds.append(median(line["seconds"] for line in mine))
        driver.append(median(line["driver_cpu"] for line in mine))
    slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    cohorts = cohort(place, max(sizes), pairs)
    summary = {
        "phones": list(sizes), "round_seconds": seconds, "slope": slope, "driver_cpu_seconds": driver,
        "cohort": {**cohorts["summary"], "of": max(sizes), "phones": max(sizes) // 100},
    }  # fmt: skip
    record("scaling", place, [*samples, {"cohort": cohorts["samples"]}], summary)
    rows = [list(row) for row in zip(sizes, seconds, driver, strict=True)]
    show(f"scaling: log-log slope {slope:.3f}", ["phones", "s a round", "driver CPU s a round"], rows)
    show("one per cent, and a full round of as many", ["", "s"], [[k, v] for k, v in cohorts["summary"].items()])
    straight = [seconds[0] * phones / sizes[0] for phones in sizes]
    series = {"a round": (sizes, seconds), "slope 1": (sizes, straight),
              "the driver's CPU": (sizes, driver)}  # fmt: skip
    figures.lines(place.results / "scaling.png", "Growth with the fleet", "phones", "seconds a round", series, log=True)


def cohort(place: Place, phones: int, pairs: int) -> dict[str, dict[str, object]]:
    """Both fleets are up at once, and take a round each in turn; the first pair warms up."""
    sampled = runs.standard(phones, pairs + 1, federation={"strategy": "fedavg", "participation": 0.01})
    full = runs.standard(phones // 100, pairs + 1)
    times: dict[str, list[float]] = {"sampled": [], "full": []}
    with runs.going(sampled, place, turns=True) as one, runs.going(full, place, turns=True) as other:
        one.wait_for("train")
        other.wait_for("train")
        for _ in range(pairs + 1):
            times["sampled"].append(one.next_round())
            times["full"].append(other.next_round())
        for run in (one, other):
            run.process.communicate("\n")
    medians = {name: median(seconds[1:]) for name, seconds in times.items()}
    return {"samples": dict(times), "summary": {**medians, "ratio": medians["sampled"] / medians["full"]}}


def memory(place: Place, name: str, sizes: Sequence[int], rounds: int) -> None:
    """The most that all processes and the object store take together, over fleets of several sizes, and a line through
    it: a fixed part and so much a phone."""
    samples = []
    for phones in sizes:
        run = runs.once(runs.standard(phones, rounds), place, memory=True)
        most = max(run["memory"], key=total)
        training = max(map(total, (sample for sample in run["memory"] if sample["stage"] == "train")), default=0)
        samples.append({"phones": phones, "most": total(most), "at": most, "training": training, **run})
        print(f"{phones:,} phones: {total(most) / GIB:.2f} GiB", file=sys.stderr)
    most = np.array([sample["most"] for sample in samples], dtype=float)
    summary = {
        "phones": list(sizes), "bytes": most.tolist(), "stage": [sample["at"]["stage"] for sample in samples],
        "round_seconds": [sample["rounds"][-1]["seconds"] for sample in samples],
        "start_seconds": [runs.start_seconds(sample) for sample in samples],
    }  # fmt: skip
    series = {"most": (sizes, (most / GIB).tolist())}
    if len(sizes) > 1:
        each, fixed = np.polyfit(sizes, most, 1)
        line = np.polyval([each, fixed], sizes)
        fitted = {"fixed": float(fixed), "bytes_a_phone": float(each), "residual": float((abs(most / line - 1)).max())}
        summary |= fitted
        series[f"fit: {fixed / MIB:,.0f} MiB + {each:,.0f} B a phone"] = (sizes, (line / GIB).tolist())
    record(name, place, samples, summary)
    kinds = ("driver", "actors", "others", "shared")
    rows = [[s["phones"], *(s["at"][kind] / MIB for kind in kinds), s["most"] / MIB, s["at"]["stage"]] for s in samples]
    show("memory at its most, MiB", ["phones", "driver", "actors", "Ray", "/dev/shm", "all", "in stage"], rows)
    if len(sizes) > 1:
        print(f"  {fixed / MIB:,.0f} MiB and {each:,.0f} bytes a phone; residual {summary['residual']:.1%}")
    figures.lines(place.results / f"{name}.png", "Memory of all processes", "phones", "GiB", series)


def notebook(place: Place, warm: int) -> None:
    """The original notebook's training with its loss mended: 500 phones in turn, ten epochs, a test after each. It is
    compiled, which `auto` doesn't do for so few visits: compiling takes longer than it spares, but for the second time.
    """
    import fedray

    mended = fedray.Experiment.from_yaml("experiments/notebook.yaml").runs()["mended"]
    mended = mended.with_({"learning.compile": "on", "baselines": []})
    asked = mended.model_dump(mode="json", exclude={"home", "references"}, exclude_unset=True)
    fresh = Path(tempfile.mkdtemp(dir=place.home, prefix="notebook-"))
    there = replace(place, home=fresh)
    try:
        samples = [runs.once(asked, there) for _ in range(warm + 1)]
    finally:
        shutil.rmtree(fresh)
    parts = ("train", "evaluate", "standardise")
    seconds = [sum(run["stages"][part] for part in parts) for run in samples]
    summary = {
        "cold_seconds": seconds[0], "warm_seconds": median(seconds[1:]), "original_seconds": 2123.0,
        "warm": {part: median(run["stages"][part] for run in samples[1:]) for part in (*parts, "start", "track")},
    }  # fmt: skip
    record("notebook", place, samples, summary)
    rows = [["cold compile cache", summary["cold_seconds"]], ["warm", summary["warm_seconds"]]]
    show("notebook, mended: seconds", ["", "s"], [*rows, *([f"warm: {k}", v] for k, v in summary["warm"].items())])
    series = {
        "cold" if number == 0 else f"warm {number}": (
            [line["round"] for line in run["rounds"]],
            [line["seconds"] for line in run["rounds"]],
        )
        for number, run in enumerate(samples)
    }
    figures.lines(place.results / "notebook.png", "Notebook, 500 phones in turn", "epoch", "seconds", series)
