"""How long an experiment may take: its own networks trained on made-up rows for two seconds, by one thread, here.

A guess from one core. Starting actors and asking them costs what was measured elsewhere (docs/phones.md); writing rows,
baselines and recording are left out. No real row is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fedray.config import Experiment, OutbreakData
from fedray.data.expected import expected
from fedray.federation.programs import Choice, compiled_folder
from fedray.fleet.compiling import is_compiled
from fedray.fleet.local_round import Broadcast, LocalRound
from fedray.fleet.phones import chosen_device
from fedray.fleet.placement import Placement
from fedray.fleet.shard import Shard
from fedray.learning import metrics, models, scoring, task
from fedray.learning.block import LEAST_WIDTH, WIDTH
from fedray.learning.program import AnyProgram
from fedray.learning.trainer import Examples
from fedray.strategies.registry import strategy

CLUSTER_START = 5.0  # seconds that a local Ray cluster takes, measured
ACTOR_START = 2.0  # CPU seconds that an actor takes to start, measured
ANSWER = 0.0005  # seconds that an order and its answer take through Ray, measured
COMPILING = 20.0  # seconds, measured for the standard network
COMPILED_GAIN = 2.0  # the least of those measured, a GRU's; others reach eight
SHARE_OF_EVALUATION = 0.1  # of the time for probing


@dataclass(frozen=True)
class Pace:
    """How fast a run will be.

    Attributes:
        phones_per_second_and_core: In local training.
        round: Seconds a round, without evaluation.
        rounds: How many.
        evaluation: Seconds an evaluation.
        evaluations: How many.
        total: Seconds of all rounds and evaluations.
    """

    phones_per_second_and_core: float
    round: float
    rounds: int
    evaluation: float
    evaluations: int
    total: float


def probe(
    experiment: Experiment, placement: Placement, cpus: int, compiling: Mapping[str, Choice], seconds: float = 2.0
) -> dict[str, Any]:
    """Seconds that an experiment is expected to take.

    Args:
        experiment: Checked.
        placement: Its phones in actors.
        cpus: Of the cluster.
        compiling: What of each run is compiled. Where that has been done before it is timed; else plain training is,
            and taken to be `COMPILED_GAIN` times as fast.
        seconds: To spend on finding out, shared by the variants.

    Returns:
        `runs` (a `Pace` for each), `start` (of cluster and actors) and `total`, without baselines.
    """
    runs = experiment.runs()
    with _one_thread():
        share = seconds / len(runs)
        paces = {name: _pace(run, placement, cpus, compiling[name].program, share) for name, run in runs.items()}
    start = COMPILING * sum(_uncompiled(run, compiling[name].program) for name, run in runs.items())
    if experiment.fleet.engine == "ray":
        start += (0.0 if experiment.fleet.address else CLUSTER_START) + ACTOR_START * placement.actors / cpus
    total = start + sum(pace.total for pace in paces.values())
    return {"runs": {name: asdict(pace) for name, pace in paces.items()}, "start": start, "total": total}


def _uncompiled(run: Experiment, program: AnyProgram | None) -> bool:
    return program is not None and not is_compiled(program.graphs, compiled_folder(run))


def _pace(run: Experiment, placement: Placement, cpus: int, program: AnyProgram | None, seconds: float) -> Pace:
    made_up = _MadeUp(run, placement, program)
    a_phone = made_up.seconds_a_phone(seconds * (1 - SHARE_OF_EVALUATION)) * run.learning.local_epochs
    a_phone /= COMPILED_GAIN if _uncompiled(run, program) else 1.0
    scored = made_up.seconds_a_phone_scored(seconds * SHARE_OF_EVALUATION)
    at_once = min(cpus, placement.actors)
    asked = placement.actors * ANSWER if run.fleet.engine == "ray" else 0.0
    cohort = placement.phones * run.federation.participation
    # Where the model hops, one phone trains at a time however many cores there are.
    training = cohort * a_phone / (1 if made_up.hops else at_once) + asked
    evaluation = placement.phones * scored / at_once + asked
    learning = run.learning
    evaluations = 1 + -(-learning.rounds // learning.evaluate_every)
    total = learning.rounds * training + evaluations * evaluation
    return Pace(1 / a_phone, training, learning.rounds, evaluation, evaluations, total)


class _MadeUp:
    """A block of phones like the experiment's, with rows drawn for the occasion."""

    def __init__(self, run: Experiment, placement: Placement, program: AnyProgram | None) -> None:
        learning, features = run.learning, len(run.task.features)
        strategy_ = strategy(run.federation.strategy, run.federation.own_knobs())
        self.hops, self.device, self.rows = strategy_.hops, chosen_device(learning.device), rows_a_phone(run)
        self.phones = min(max(WIDTH, getattr(program, "width", 0)), placement.phones_per_actor)
        self.cohort = max(1, round(self.phones * run.federation.participation))
        network = models.build(
            run.model.name, in_features=features, hidden=run.model.hidden, arguments=run.model.arguments, seed=run.seed
        ).to(self.device)
        weights = models.flat_weights(network)
        self.loss = task.loss(run.task.loss)
        self.metrics = metrics.metrics_for(run.task.loss, run.task.metrics)
        one_epoch = learning.model_copy(update={"local_epochs": 1})
        self.local = LocalRound(
            network, features, self.loss, one_epoch, run.federation, strategy_, run.seed, self.phones * self.rows
        )
        if program is not None and not _uncompiled(run, program):
            self.local.compile(program, compiled_folder(run))
        sent = strategy_.broadcast(strategy_.begin(weights))
        self.start = Broadcast(1, weights, sent)
        self.memory = torch.zeros(self.phones, strategy_.memory * len(weights))
        self.shard = self._shard(features)

    def _shard(self, features: int) -> Shard:
        rows = self.phones * self.rows
        # Column by column in memory, as an actor's rows lie.
        drawn = torch.randn(features, rows + 1, generator=torch.Generator().manual_seed(0)).t()
        targets = (drawn[:, 0] > 0).float()  # 0 and 1 suit a loss for numbers as well as one for classes
        examples = Examples(drawn.to(self.device), targets.to(self.device))
        return Shard(np.arange(self.phones), np.arange(self.phones + 1) * self.rows, examples)

    def seconds_a_phone(self, seconds: float) -> float:
        """Of local training, one epoch."""

        def train(phones: int) -> None:
            ids = np.arange(phones)
            if self.hops:
                self.local.visit(self.shard, ids, self.start)
            else:
                self.local.train(self.shard, ids, self.start, self.memory)

        return _seconds_each(train, self.cohort, seconds)

    def seconds_a_phone_scored(self, seconds: float) -> float:
        """Of evaluation, both splits."""

        def evaluate(phones: int) -> None:
            examples, offsets = self.shard.examples, self.shard.offsets[: phones + 1]
            rows = slice(0, int(offsets[-1]))
            outputs = scoring.predictions(self.local.network, self.start.weights, examples.features[rows]).cpu()
            targets = examples.targets[rows].cpu()
            scoring.loss_sums(self.loss, outputs, targets, offsets, self.rows)
            scoring.metric_sums(self.metrics, outputs[:, 0].double().numpy(), targets.double().numpy(), offsets)

        return 2 * _seconds_each(evaluate, self.phones, seconds)


def rows_a_phone(run: Experiment) -> int:
    """Training rows of a mean phone, at least 1."""
    if isinstance(run.data, OutbreakData):
        return run.data.days
    size = expected(run.data, run.seed, run.task.features)
    share = 1.0 if run.data.split else 1 - run.data.test_share  # with a split column, as if all were training rows
    return max(1, round(size.rows * share / size.phones))


def _seconds_each(work: Callable[[int], None], most: int, seconds: float) -> float:
    """How long `work(n)` takes for each of n things, n as large as the time allows and `most` at most."""
    few = min(most, LEAST_WIDTH)
    work(few)  # once unmeasured: the first call sets things up
    took = _timed(work, few)
    many = min(most, max(few, int(few * seconds / took)))
    end = time.perf_counter() + seconds - took
    best = took / few if many == few else _timed(work, many) / many
    while time.perf_counter() < end:
        best = min(best, _timed(work, many) / many)
    return best


def _timed(work: Callable[[int], None], things: int) -> float:
    began = time.perf_counter()
    work(things)
    return time.perf_counter() - began


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
