"""The phones of one actor, wherever it runs: they hold their rows and do what an order says.

This is all that a phone actor is, but for Ray; the inline engine uses it as it is. Every order is answered with a
`Report` or a `Failure`; no exception crosses the wall, since its text and its locals may hold rows.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedray.data.shards import Dataset, ParquetShards
from fedray.errors import BadRow
from fedray.fleet.local_round import Broadcast, LocalRound, Shard
from fedray.fleet.memory import Memory
from fedray.fleet.messages import (
    AddUpColumns,
    AddUpSquares,
    Answer,
    Arrays,
    Evaluate,
    Failure,
    Order,
    Prepare,
    Report,
    RunSpec,
    Train,
    Visit,
)
from fedray.fleet.rows import PhoneRows, read_rows
from fedray.learning import metrics, models, scoring, task
from fedray.learning.standardise import Scaling
from fedray.strategies.registry import strategy
from fedray.sums import merged

Sums = dict[str, npt.NDArray[np.int64]]

PIECE_OF_PHONES = 4096
"""Phones scored at a time, which bounds the memory of an evaluation."""


class Phones:
    """Phones first..last-1 of a data set.

    Args:
        actor: Number of the actor that holds them.
        first: Id of the first phone.
        last: Id after the last one.
        dataset: Where their rows lie; only their own are read.
    """

    def __init__(self, actor: int, first: int, last: int, dataset: Dataset) -> None:
        self.actor, self.first, self.last = actor, first, last
        self.dataset, self.reader = dataset, ParquetShards(dataset)
        self.run: PreparedRun | None = None

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a shard never leaves the actor that holds it")

    def perform(self, order: Order, shared: RunSpec | Arrays) -> Answer:
        """Do what an order says.

        Args:
            order: Of the run that was prepared last, unless it is to prepare one.
            shared: What comes with it: the `RunSpec` to prepare for; `weights` `[D]` and the strategy's own arrays for
                training and evaluation; `mean` `[features]` for squares. Read-only.
        """
        address: dict[str, Any] = {
            "run": order.run,
            "round": order.round,
            "attempt": order.attempt,
            "actor": self.actor,
        }
        try:
            return Report(**address, **self._perform(order, shared))
        except BadRow as bad:
            return Failure(**address, kind=bad.kind, file=bad.file, column=bad.column, row=bad.row, expected=True)
        except Exception as error:
            # The whole story stays in this node's log: its text may quote a row.
            traceback.print_exc(file=sys.stderr)
            where = traceback.extract_tb(error.__traceback__)[-1]
            return Failure(**address, kind=type(error).__name__, file=Path(where.filename).name, row=where.lineno or -1)

    def _prepare(self, spec: RunSpec) -> dict[str, Any]:
        known = self.run.tables if self.run is not None and self.run.reads_like(spec) else {}
        self.run = PreparedRun.of(spec, self.first, self.last, known)
        return {}

    def opened(self, spec: RunSpec) -> tuple[PreparedRun, Shard]:
        """For replay, which works on the phones in its own process: the run as prepared, and the training rows."""
        self._prepare(spec)
        run = self._needed()
        return run, self._shard(run)

    def _perform(self, order: Order, shared: RunSpec | Arrays) -> dict[str, Any]:
        """What the report on an order carries."""
        if isinstance(shared, RunSpec):
            return self._prepare(shared)
        run, arrays = self.run, shared
        if run is None or run.spec.run != order.run:
            raise LookupError("this run has not been prepared here")
        match order.work:
            case AddUpColumns():
                return {"sums": self._rows("train").column_sums()}
            case AddUpSquares():
                return {"sums": self._rows("train").square_sums(arrays["mean"])}
            case Train(cohort):
                return self._train(run, order.round, cohort.members(order.round, self.first, self.last), arrays)
            case Visit(cohort):
                return self._visit(run, order.round, cohort.members(order.round, self.first, self.last), arrays)
            case Evaluate(splits):
                sums: Sums = {}
                for split in splits:
                    scored = self._evaluate(run, split, _tensor(arrays["weights"]))
                    sums |= {f"{split}.{name}": units for name, units in scored.items()}
                return {"sums": sums}
            case Prepare():
                raise LookupError("an order to prepare came without its RunSpec")

    def _train(
        self, run: PreparedRun, round_number: int, members: npt.NDArray[np.int64], arrays: Arrays
    ) -> dict[str, Any]:
        shard = self._shard(run)
        vectors = run.memory.before(round_number)
        start = _broadcast(round_number, arrays, run.device)
        sums, lost, vectors = run.local_round.train(shard, _with_rows(shard, members), start, vectors)
        if run.memory.width:
            run.memory.keep(round_number, vectors)
        return {"sums": sums, "lost": tuple(lost)}

    def _visit(
        self, run: PreparedRun, round_number: int, members: npt.NDArray[np.int64], arrays: Arrays
    ) -> dict[str, Any]:
        shard = self._shard(run)
        start = _broadcast(round_number, arrays, run.device)
        weights, sums, lost = run.local_round.visit(shard, _with_rows(shard, members), start)
        return {"sums": sums, "lost": tuple(lost), "weights": weights.cpu().numpy()}

    def _evaluate(self, run: PreparedRun, split: str, weights: Tensor) -> Sums:
        rows, examples = self._rows(split), self._examples(run, split)
        total: Sums = {}
        for first in range(0, self.last - self.first, PIECE_OF_PHONES):
            offsets = rows.offsets[first : min(first + PIECE_OF_PHONES, self.last - self.first) + 1]
            piece = slice(int(offsets[0]), int(offsets[-1]))
            offsets = offsets - offsets[0]
            outputs = scoring.predictions(run.network, weights.to(run.device), examples.features[piece]).cpu()
            if outputs.ndim != 2:
                raise ValueError("the model's output must be [rows, outputs]")
            predicted = outputs[:, 0].double().numpy()
            total = merged(total, scoring.metric_sums(run.metrics, predicted, rows.targets[piece], offsets))
            targets = examples.targets[piece].cpu()
            total = merged(total, scoring.loss_sums(run.loss, outputs, targets, offsets, run.spec.longest[split]))
            if run.spec.days:
                days = scoring.day_sums(predicted, rows.targets[piece], rows.day[piece], run.spec.days)
                total = merged(total, days)
        return total

    def _shard(self, run: PreparedRun) -> Shard:
        return Shard(self.first, self._rows("train").offsets, self._examples(run, "train"))

    def _rows(self, split: str) -> PhoneRows:
        run = self._needed()
        if split not in run.tables:
            time = self.dataset.time if run.spec.days else None
            features = run.spec.task.features
            run.tables[split] = read_rows(
                self.dataset, self.reader, self.first, self.last, split, features, run.target, time
            )
        return run.tables[split]

    def _examples(self, run: PreparedRun, split: str) -> Any:
        if split not in run.examples:
            scaling = run.spec.scaling or Scaling.none(len(run.spec.task.features))
            run.examples[split] = self._rows(split).examples(scaling, run.device)
        return run.examples[split]

    def _needed(self) -> PreparedRun:
        if self.run is None:
            raise LookupError("no run has been prepared here")
        return self.run


@dataclass
class PreparedRun:
    """What an actor has built for the run that it is in."""

    spec: RunSpec
    network: nn.Module
    target: task.Target
    loss: task.Loss
    metrics: Mapping[str, Any]
    local_round: LocalRound
    memory: Memory
    device: str
    tables: dict[str, PhoneRows]
    examples: dict[str, Any]

    @classmethod
    def of(cls, spec: RunSpec, first: int, last: int, tables: dict[str, PhoneRows]) -> PreparedRun:
        """Build it for phones first..last-1; `tables` are rows that were read before and still serve."""
        network = build_network(spec)
        chosen = strategy(spec.federation.strategy, spec.federation.own_knobs())
        device = chosen_device(spec.learning.device)
        width = chosen.memory * len(models.flat_weights(network))
        loss = task.loss(spec.task.loss)
        return cls(
            spec=spec,
            network=network.to(device),
            target=task.target(spec.task.target),
            loss=loss,
            metrics=metrics.metrics_for(spec.task.loss, spec.task.metrics),
            local_round=LocalRound(
                network,
                len(spec.task.features),
                loss,
                spec.learning,
                spec.federation,
                chosen,
                spec.seed,
                spec.total_weight,
            ),
            memory=Memory(Path(spec.memory_folder), first, last, width),
            device=device,
            tables=tables,
            examples={},
        )

    def reads_like(self, spec: RunSpec) -> bool:
        """The rows that this run has read are those that another one needs."""
        mine, other = self.spec, spec
        return (mine.task.features, mine.task.target, mine.days) == (other.task.features, other.task.target, other.days)


def build_network(spec: RunSpec) -> nn.Module:
    """The run's network, with the same initial weights everywhere."""
    model = spec.model
    return models.build(
        model.name,
        in_features=len(spec.task.features),
        hidden=model.hidden,
        arguments=model.arguments,
        seed=spec.seed,
    )


def chosen_device(wanted: str) -> str:
    """`auto` as `cuda` where there is one, else `cpu`."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def _broadcast(round_number: int, arrays: Arrays, device: str) -> Broadcast:
    extra = {name: _tensor(array).to(device) for name, array in arrays.items() if name != "weights"}
    return Broadcast(round_number, _tensor(arrays["weights"]).to(device), extra)


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    # A copy: arrays from Ray's object store are read-only, and torch has no such thing.
    return torch.from_numpy(np.array(array))


def _with_rows(shard: Shard, members: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    rows = np.diff(shard.offsets)[members - shard.first]
    return members[rows > 0]
