"""From the fleet's sums to the metrics of a round, and to the population nowcast."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedray.sums import from_limbs

Sums = Mapping[str, npt.NDArray[np.int64]]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What an evaluation came to.

    Attributes:
        metrics: `SPLIT_METRIC` by name.
        nowcast: A day a row: `day`, `truth`, `raw`, `calibrated`, of the test outbreak; empty without days.
    """

    metrics: Mapping[str, float]
    nowcast: Mapping[str, list[float]] = field(default_factory=dict)


def scores(sums: Sums, metrics: Mapping[str, Any]) -> Scores:
    """The metrics of both splits.

    Args:
        sums: As `Evaluate` reports them, added up over the fleet.
        metrics: By name, as `learning.metrics.metrics_for` gives them.
    """
    found: dict[str, float] = {}
    parts = {split: _split_sums(sums, split) for split in ("train", "test")}
    for split, named in parts.items():
        if not named:
            continue
        rows = float(named["loss"].get("rows", 0.0))
        found[f"{split}_loss"] = float(named["loss"]["loss"]) / rows if rows else float("nan")
        for name, metric in metrics.items():
            found |= _finished(split, name, metric, named.get(name, {}))
    if parts["train"] and parts["test"]:
        constant = metrics[""].constant(parts["train"][""], parts["test"][""])
        found |= {f"mean_predictor_{name}": value for name, value in constant.items()}
        if constant.get("mse"):
            found["mse_ratio"] = found["test_mse"] / constant["mse"]
    # What phones saw while training is `train_loss`; the same loss scored over whole shards has its own name.
    if "train_loss" in found:
        found["train_scored_loss"] = found.pop("train_loss")
    if "day" not in parts["train"] or "day" not in parts["test"]:
        return Scores(found)
    more, table = nowcast(parts["train"]["day"], parts["test"]["day"])
    return Scores(found | more, table)


def nowcast(
    train: Mapping[str, Float64], test: Mapping[str, Float64]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The population's nowcast: the mean of all phones' predictions of a day against the truth, raw and calibrated.

    Predictions of one phone shrink towards the mean, and averaging doesn't undo that; an isotonic curve fitted on the
    training outbreak's days does.

    Args:
        train: Sums a day of `prediction`, `target` and `rows`, `[days]` each.
        test: The same of the test outbreak.

    Returns:
        `nowcast_mse`, `nowcast_r2` and the same calibrated; and the table of test days.
    """
    from sklearn.isotonic import IsotonicRegression

    known, wanted = train["rows"] > 0, test["rows"] > 0
    if known.sum() < 2 or wanted.sum() < 2:
        return {}, {}
    raw_train, truth_train = (train[name][known] / train["rows"][known] for name in ("prediction", "target"))
    raw, truth = (test[name][wanted] / test["rows"][wanted] for name in ("prediction", "target"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with few days it says that the curve's direction is in doubt
        curve = IsotonicRegression(out_of_bounds="clip", increasing="auto").fit(raw_train, truth_train)
    calibrated = curve.predict(raw)
    found = {}
    for name, predicted in (("nowcast", raw), ("nowcast_calibrated", calibrated)):
        mse = float(np.mean((predicted - truth) ** 2))
        found[f"{name}_mse"] = mse
        found[f"{name}_r2"] = 1 - mse / float(np.var(truth)) if np.var(truth) > 0 else float("nan")
    days = np.flatnonzero(wanted).astype(float)
    columns = {"day": days, "truth": truth, "raw": raw, "calibrated": calibrated}
    return found, {name: column.tolist() for name, column in columns.items()}


def _split_sums(sums: Sums, split: str) -> dict[str, dict[str, Float64]]:
    """`{metric: {part: total}}` of one split; a sum with an unsummable part (`!`) is NaN."""
    named: dict[str, dict[str, Float64]] = {}
    for name, limbs in sums.items():
        if not name.startswith(f"{split}.") or name.endswith("!"):
            continue
        _, metric, part = name.split(".", 2)
        total = from_limbs(limbs)
        named.setdefault(metric, {})[part] = np.full_like(total, np.nan) if f"{name}!" in sums else total
    return named


def _finished(split: str, name: str, metric: Any, sums: Mapping[str, Float64]) -> dict[str, float]:
    value = metric.finish(sums)
    if isinstance(value, Mapping):
        prefix = f"{split}_{name}_" if name else f"{split}_"
        return {f"{prefix}{part}": float(number) for part, number in value.items()}
    return {f"{split}_{name}": float(value)}
