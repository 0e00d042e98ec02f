"""A whole federation in one process: real local rounds on ragged phones, and the server's step, without a fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from learning_cases import FEATURES, Phones
from torch import Tensor, nn

from fedray.config import Learning
from fedray.config.strategies import FedAvg
from fedray.fleet.local_round import Broadcast, LocalRound
from fedray.fleet.shard import Shard
from fedray.learning.models import flat_weights
from fedray.learning.task import mse
from fedray.strategies.strategy import Cohort, Server, Strategy

LEARNING = Learning(local_epochs=2, batch_size=5, learning_rate=0.05)


class Federation:
    """Phones, one strategy, and the state of both halves.

    Args:
        strategy: To run.
        net: Start weights are its own.
        phones: All of them.
        weighting: As in the experiment.
        learning: As in the experiment.
    """

    def __init__(
        self,
        strategy: Strategy,
        net: nn.Module,
        phones: Phones,
        weighting: str = "samples",
        learning: Learning = LEARNING,
    ) -> None:
        self.strategy, self.phones = strategy, phones
        self.shard = Shard(np.arange(len(phones.rows)), phones.offsets, phones.examples)
        total = max(int(phones.rows.sum()), len(phones.rows))
        knobs = FedAvg(weighting=weighting)
        self.local = LocalRound(net, FEATURES, mse, learning, knobs, strategy, 1, total)
        self.server = strategy.begin(flat_weights(net))
        self.memory = torch.zeros(len(phones.rows), strategy.memory * len(self.server.weights))
        self.round = 0

    def play(self, cohort: Sequence[int]) -> Server:
        """One round with these phones."""
        self.round += 1
        start = Broadcast(self.round, self.server.weights, self.strategy.broadcast(self.server))
        sums, lost, self.memory = self.local.train(self.shard, np.array(cohort), start, self.memory.clone())
        assert not lost
        means = {
            name.removeprefix("sum."): torch.from_numpy(
                self.local.grid.value(units) / int(sums["weight" if name == "sum.update" else "phones"])
            )
            for name, units in sums.items()
            if name.startswith("sum.")
        }
        self.server = self.strategy.step(self.server, means, Cohort(int(sums["phones"]), len(self.phones.rows)))
        return self.server


def plain_round(
    net: nn.Module,
    weights: Tensor,
    phones: Phones,
    phone: int,
    round_number: int,
    slope: Callable[[Tensor, Tensor], Tensor] = lambda gradient, weights: gradient,
) -> tuple[Tensor, int]:
    """One phone's weights after plain SGD on its own batches, and how many steps it took.

    Args:
        net: Whose parameters are overwritten.
        weights: The broadcast ones `[D]`.
        phones: All of them.
        phone: Which one.
        round_number: From 1.
        slope: What is stepped along instead of the gradient, of `(gradient, weights)`, each `[D]`.
    """
    made = phones.batches([phone], round_number=round_number, epochs=LEARNING.local_epochs)
    here = weights.clone()
    for step in range(int(made.steps[0])):
        rows = made.rows[step, 0][made.mask[step, 0] > 0]
        parameters = list(net.parameters())
        nn.utils.vector_to_parameters(here, parameters)
        loss = nn.functional.mse_loss(net(phones.examples.features[rows])[:, 0], phones.examples.targets[rows])
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])
        here = here - LEARNING.learning_rate * slope(gradient, here)
    return here, int(made.steps[0])
