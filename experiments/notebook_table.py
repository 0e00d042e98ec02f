"""The original experiment over five pairs of outbreaks, seeds 1 to 5, as a table; the floors beside it.

    python experiments/notebook_table.py                        writes experiments/results/notebook.csv
    python experiments/notebook_table.py --seeds 1 --out x.csv  one pair, elsewhere

A row is a pair and a predictor: its test MSE of log10(infected that day), and the ratio to the pair's mean predictor.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import fedray

HERE = Path(__file__).parent
SEEDS = (1, 2, 3, 4, 5)


def table(seeds: tuple[int, ...], home: Path) -> pd.DataFrame:
    """`seed`, `predictor`, `test_mse`, `test_r2`, `ratio`: runs and baselines of `notebook.yaml` on each pair."""
    rows = []
    for seed in seeds:
        experiment = fedray.Experiment.from_yaml(HERE / "notebook.yaml", {"seed": seed, "home": str(home)})
        result = fedray.run(experiment)
        mean = result.baselines["mean"]["test_mse"]
        scored = {name: run.metrics for name, run in result.runs.items()} | dict(result.baselines)
        for name, metrics in scored.items():
            score = {name: metrics[name] for name in ("test_mse", "test_r2")}
            rows.append({"seed": seed, "predictor": name, **score, "ratio": metrics["test_mse"] / mean})
    return pd.DataFrame(rows).round(6)


def main() -> None:
    """Write the table and print its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "notebook.csv")
    parser.add_argument("--home", type=Path, default=Path(".fedray"))
    asked = parser.parse_args()
    found = table(tuple(asked.seeds), asked.home)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(asked.out, index=False)
    print(found.groupby("predictor", sort=False)["ratio"].agg(["mean", "min", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
