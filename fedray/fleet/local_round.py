"""One round on the phones of one actor: the cohort's blocks trained, each phone's update checked, weighted, added up.

Also one phone's part of it alone, for replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedray.config import Federation, Learning
from fedray.fleet.messages import Lost
from fedray.learning.batches import Batches, batches
from fedray.learning.block import LEAST_WIDTH, WIDTH, VectorisedTrainer
from fedray.learning.loop import LoopTrainer
from fedray.learning.optimisers import LocalTraining
from fedray.learning.task import Loss
from fedray.learning.trainer import Correction, Examples, Trained, Trainer
from fedray.strategies.strategy import Local, Sent, Strategy
from fedray.sums import LARGEST_UPDATE, Grid, fits, limbs_hold, merged, to_limbs

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Broadcast:
    """What a round starts from: the weights `[D]` and what the strategy sent along."""

    round: int
    weights: Tensor
    extra: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Shard:
    """Rows of some of an actor's phones as the network sees them; never leaves the actor.

    Attributes:
        ids: Of the phones, rising, `[phones]`.
        offsets: Rows of phone `ids[i]` are `offsets[i]:offsets[i + 1]`, `[phones + 1]`.
        examples: All rows, and a spare one.
        day: Of each row, `[rows]`, any integer type; empty where no days are wanted.
    """

    ids: Int64
    offsets: Int64
    examples: Examples
    day: npt.NDArray[np.integer] = field(default_factory=lambda: np.empty(0, dtype=np.int16))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a shard never leaves the actor that holds it")

    def places(self, ids: Int64) -> Int64:
        """Where phones stand in `ids`; they must be there."""
        if len(self.ids) and self.ids[-1] - self.ids[0] == len(self.ids) - 1:
            return np.asarray(ids - self.ids[0])
        return np.asarray(np.searchsorted(self.ids, ids))

    def rows(self, ids: Int64) -> Int64:
        """How many rows each of some phones has."""
        places = self.places(ids)
        return self.offsets[places + 1] - self.offsets[places]


class LocalRound:
    """Trains phones of one shard under one run's knobs.

    Args:
        network: Of the run; its own weights don't matter.
        features: How many a row has.
        loss, learning, federation, strategy: Of the run.
        seed: The experiment's.
        total_weight: Of all phones of the fleet, for the grid.
    """

    def __init__(
        self,
        network: nn.Module,
        features: int,
        loss: Loss,
        learning: Learning,
        federation: Federation,
        strategy: Strategy,
        seed: int,
        total_weight: int,
    ) -> None:
        self.network, self.features, self.loss, self.seed = network, features, loss, seed
        self.strategy, self.weighting = strategy, federation.weighting
        self.training = LocalTraining(
            learning.local_epochs, learning.batch_size, learning.optimizer, learning.learning_rate, learning.momentum
        )
        self.grid = Grid.of(total_weight)
        # A model that hops visits one phone at a time: there is no block, and the plain loop is the fastest.
        self.looped = learning.trainer == "loop" or strategy.hops
        self.trainer: Trainer = (
            LoopTrainer(network, loss, self.training)
            if self.looped
            else VectorisedTrainer(network, loss, self.training, features)
        )

    def train(
        self, shard: Shard, ids: Int64, start: Broadcast, memory: Tensor
    ) -> tuple[dict[str, Int64], list[Lost], Tensor]:
        """Train some phones and add up what they send.

        Args:
            shard: That holds them.
            ids: Of the phones that train.
            start: What was broadcast.
            memory: Private vectors of all phones of the shard, `[phones, memory * D]`.

        Returns:
            The sums, the phones that dropped out, and the new private vectors.
        """
        total: dict[str, Int64] = {}
        lost: list[Lost] = []
        for begin in range(0, len(ids), WIDTH):
            block = ids[begin : begin + WIDTH]
            sent, trained, chosen = self.train_block(shard, block, start, memory[torch.from_numpy(shard.places(block))])
            sums, keep, dropped = self._add_up(shard, block[chosen], sent, trained)
            total = merged(total, sums)
            lost += dropped
            memory[torch.from_numpy(shard.places(block[chosen][keep]))] = sent.memory[torch.from_numpy(keep)].cpu()
        return total, lost, memory

    def visit(self, shard: Shard, ids: Int64, start: Broadcast) -> tuple[Tensor, dict[str, Int64], list[Lost]]:
        """Train phones one after another, each from the weights that the one before left.

        A phone that leaves weights that are not finite is dropped, and the model goes on without its step.
        """
        weights = start.weights
        total: dict[str, Int64] = {}
        lost: list[Lost] = []
        for phone in ids:
            here = Broadcast(start.round, weights, start.extra)
            sent, trained, chosen = self.train_block(shard, phone[None], here, torch.zeros(1, 0))
            sums, keep, dropped = self._add_up(shard, phone[None][chosen], sent, trained)
            lost += dropped
            total = merged(total, {name: units for name, units in sums.items() if not name.startswith("sum.")})
            if keep.all():
                weights = weights + trained.updates[0]
        return weights, total, lost

    def train_block(
        self, shard: Shard, ids: Int64, start: Broadcast, memory: Tensor, trainer: Trainer | None = None
    ) -> tuple[Sent, Trained, Int64]:
        """Train one block, by this run's trainer or another; what phones send is given phone by phone.

        Returns:
            What the phones send and how they trained, both in the order of `ids[chosen]`, and `chosen`.
        """
        blocked = self._batches(shard, ids, start.round, 1 if self.looped else LEAST_WIDTH)
        order = torch.from_numpy(blocked.phones)
        padded = torch.cat([memory, memory.new_zeros(len(order) - len(ids), memory.shape[1])])[order]
        padded = padded.to(start.weights.device)
        correct = self.correction(start)
        trained = (trainer or self.trainer).train(start.weights, shard.examples, blocked, correct, padded)
        real = blocked.phones < len(ids)
        kept = Trained(trained.updates[torch.from_numpy(real)], trained.losses[real], trained.seen[real])
        sent = self.strategy.send(
            Local(
                updates=kept.updates,
                steps=torch.from_numpy(blocked.steps[real]).to(start.weights.device),
                memory=padded[torch.from_numpy(real)],
                broadcast=start.extra,
                learning_rate=self.training.learning_rate,
            )
        )
        return sent, kept, blocked.phones[real]

    def correction(self, start: Broadcast) -> Correction | None:
        """The strategy's correction of gradients in this round, if it has one."""
        if not self.strategy.corrects:
            return None
        return lambda gradients, weights, memory: self.strategy.correct(
            gradients, weights, memory, start.weights, start.extra
        )

    def _batches(self, shard: Shard, ids: Int64, round_number: int, least: int) -> Batches:
        empty = max(0, least - len(ids))
        places = shard.places(ids)
        starts, ends = shard.offsets[places], shard.offsets[places + 1]
        return batches(
            seed=self.seed,
            round_number=round_number,
            ids=np.pad(ids, (0, empty)),
            starts=np.pad(starts, (0, empty)),
            rows=np.pad(ends - starts, (0, empty)),
            spare=shard.examples.spare,
            epochs=self.training.epochs,
            batch_size=self.training.batch_size,
        )

    def _add_up(
        self, shard: Shard, ids: Int64, sent: Sent, trained: Trained
    ) -> tuple[dict[str, Int64], npt.NDArray[np.bool_], list[Lost]]:
        """Exact sums of those phones whose update is finite and small enough, which those are, and the others."""
        matrices = {name: matrix.detach().cpu().numpy() for name, matrix in sent.sums.items()}
        keep = np.logical_and.reduce([fits(matrix) for matrix in matrices.values()]) & limbs_hold(trained.losses)
        rows = shard.rows(ids)
        ones = np.ones_like(rows)
        weights = rows if self.weighting == "samples" else ones
        sums = {
            f"sum.{name}": self.grid.units(matrix[keep], (weights if name == "update" else ones)[keep]).sum(axis=0)
            for name, matrix in matrices.items()
        }
        sums["weight"] = weights[keep].sum()
        sums["phones"] = ones[keep].sum()
        sums["seen"] = trained.seen[keep].sum()
        sums["loss"] = to_limbs(trained.losses[keep]).sum(axis=1)
        why = f"what it sent ({', '.join(matrices)}) is not finite or larger than {LARGEST_UPDATE:g}"
        return sums, keep, [Lost(int(phone), why) for phone in ids[~keep]]
