"""What `fedray plan` expects beside what the run then takes, stage by stage.

Plan and run are commands of their own, as a user gives them. A home is empty when its first pair begins: rows are
written, programs compiled. The second pair finds both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import figures
from benchmarks.record import ROOT, Place, record, show
from benchmarks.runs import standard

NOTEBOOK = ROOT / "experiments" / "notebook.yaml"
PARTS = {
    "rows and start": ("check", "outbreak", "shards", "start", "standardise"),
    "rounds and evaluation": ("train", "evaluate"),
    "baselines and recording": ("baselines", "track"),
}


def expected(place: Place, phones: int, rounds: int, repeats: int) -> None:
    """Plan, then run, each of some experiments in an empty home and once more in the same.

    Args:
        place: Where it works.
        phones: Of the compiled experiment.
        rounds: Of the compiled experiment.
        repeats: Homes of each experiment.
    """
    samples = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=place.home) as folder:
            larger = Path(folder) / "larger.yaml"
            made = standard(phones, rounds, name="larger")
            made["learning"] |= {"evaluate_every": 5}
            larger.write_text(json.dumps(made))  # JSON is YAML
            for name, file in (("notebook", NOTEBOOK), (f"{phones:,} phones", larger)):
                for when in ("first", "again"):
                    home = ("--set", f"home={Path(folder).absolute() / file.stem}")
                    samples.append({"experiment": name, "when": when, **_pair(str(file), [*home, *_sets(place)])})
                    print(f"{name}, {when}: {samples[-1]['ratio']:.2f} x expected", file=sys.stderr)
    summary = {
        f"{name}, {when}": _summary([s for s in samples if (s["experiment"], s["when"]) == (name, when)])
        for name, when in dict.fromkeys((sample["experiment"], sample["when"]) for sample in samples)
    }
    record("expected", place, samples, summary)
    rows = [[name, s["expected"], s["took"], s["ratio"], "rough" if s["rough"] else ""] for name, s in summary.items()]
    show("expected and taken", ["", "expected, s", "took, s", "ratio", ""], rows)
    bars = {f"{name},\n{kind}": found for name, s in summary.items() for kind, found in s["stages"].items()}
    figures.stacked(
        place.results / "expected.png", "Seconds expected by fedray plan, and taken by fedray run", list(bars),
        {part: [sum(found[stage] for stage in stages) for found in bars.values()] for part, stages in PARTS.items()},
    )  # fmt: skip


def _sets(place: Place) -> list[str]:
    return [word for knob in place.sets for word in ("--set", knob)]


def _pair(file: str, sets: list[str]) -> dict[str, Any]:
    """A plan and then its run."""
    planned = _command("-m", "fedray.cli", "plan", file, "--json", *sets)
    run = _command("-m", "benchmarks.expected", file, *sets)
    seconds = planned["seconds"]
    return {
        "expected": seconds["total"],
        "took": run["total"],
        "ratio": run["total"] / seconds["total"],
        "rough": seconds["rough"],
        "node_hours": planned["node_hours"],
        "stages": {stage: [spent, run["stages"].get(stage, 0.0)] for stage, spent in seconds["stages"].items()},
        "phones_per_second": {
            name: [pace["phones_per_second"], run["phones_per_second"][name]] for name, pace in seconds["runs"].items()
        },
    }


def _summary(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number."""
    return {
        **{key: median(sample[key] for sample in samples) for key in ("expected", "took", "ratio")},
        "rough": samples[0]["rough"],
        "stages": {
            kind: {stage: median(s["stages"][stage][place] for s in samples) for stage in samples[0]["stages"]}
            for place, kind in enumerate(("expected", "took"))
        },
    }


def _command(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """One run, in this process; what it took by stage, all its runs together, as JSON."""
    from fedray.config import Experiment
    from fedray.config.file import parse_overrides
    from fedray.experiment import run
    from fedray.terminal import screen
    from fedray.terminal.progress import StopWatch

    experiment = Experiment.from_yaml(sys.argv[1], parse_overrides(sys.argv[3::2]))
    watch = StopWatch()
    with screen.kept_for_results():
        result = run(experiment, watch=watch)
    watch.close()
    total = watch.total
    runs = list(result.runs.values())
    stages = {stage: runs[0].seconds[stage] for stage in ("outbreak", "shards", "start")}
    stages |= {stage: sum(each.seconds[stage] for each in runs) for stage in ("standardise", "train", "evaluate")}
    stages |= {stage: watch.seconds.get(stage, 0.0) for stage in ("check", "baselines")}
    stages["track"] = total - sum(stages.values())  # also what stands between the stages: handing over to MLflow
    speeds = {name: each.phones_per_second for name, each in result.runs.items()}
    screen.print_json({"total": total, "stages": stages, "phones_per_second": speeds})


if __name__ == "__main__":
    main()
