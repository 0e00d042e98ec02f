"""FedAvg in fedray, by its public road: `fedray.run` of an experiment over the user's own table, on Ray.

The seconds of a round are the driver's own: broadcast, training, adding up and the server's step; no test in between.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import entrant

import fedray
from fedray.config.file import parse_overrides


def main() -> None:
    asked = entrant.options("ray")
    work = entrant.Workload.open(asked.folder, asked.phones)
    features = [f"f{number}" for number in range(work.features.shape[2])]
    rounds = entrant.rounds_of(asked)
    experiment = fedray.Experiment(
        name="contest",
        seed=1,  # the given order is that of this seed
        home=Path(os.environ.get("FEDRAY_BENCHMARKS_HOME", ".fedray/benchmarks")),
        data={"source": "table", "path": asked.folder / "rows.parquet", "phone": "phone", "time": "time",
              "test_share": 0.0},
        task={"features": features, "standardise": [], "target": "y"},
        model={"name": "mlp" if work.network == "MLP" else f"benchmarks.models:{work.network}",
               "start_from": str(asked.folder / "weights.safetensors")},
        learning={"rounds": rounds, "batch_size": work.batch, "learning_rate": work.rate, "evaluate_every": rounds,
                  "compile": "on"},
        fleet={"engine": "ray", "address": "local"},
        baselines=[],
    ).with_(parse_overrides(json.loads(os.environ.get("FEDRAY_BENCHMARKS_SET", "[]"))))  # fmt: skip
    seconds: list[float] = []

    def stopwatch(context: fedray.RoundContext) -> None:
        if context.round:
            assert context.phones == asked.phones, "the folder must have as many phones as take part"
            seconds.append(context.seconds)

    run = fedray.run(experiment, hooks=[stopwatch]).only
    entrant.announce(asked, seconds, run.weights, f"{run.fleet['actors']} Ray actors, shuffled anew by address")


if __name__ == "__main__":
    main()
