"""Training phones one after another with a plain PyTorch loop: `forward`, `backward`, a step.

The twin of `block.py`: slower, simple enough to read and to stop in with a debugger, and the oracle of its tests. It
also takes modules that draw random numbers (Dropout), seeded by the phone's address.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fedray.learning.batches import Batches
from fedray.learning.models import Layout, trainable
from fedray.learning.optimisers import LocalTraining
from fedray.learning.task import Loss
from fedray.learning.threads import one_thread
from fedray.learning.trainer import Correction, Examples, Trained
from fedray.randomness import torch_seed

OnBatch = Callable[[int, int, float], None]
"""`on_batch(phone, step, loss)`; `phone` is its place in `Batches.phones`."""


class LoopTrainer:
    """Trains phones one by one.

    Args:
        network: Any module; a copy is trained, whose parameters are views of the flat weights.
        loss: Called once a batch.
        training: Epochs, batch size, optimiser.
        on_batch: Called after each batch with its loss.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        training: LocalTraining,
        on_batch: OnBatch | None = None,
    ) -> None:
        self.network = copy.deepcopy(network).train()
        self.layout = Layout.of(self.network)
        self.loss, self.training, self.on_batch = loss, training, on_batch
        self.parameters = [weights for _, weights in trainable(self.network)]

    @one_thread()
    def train(
        self,
        start: Tensor,
        examples: Examples,
        batches: Batches,
        correct: Correction | None = None,
        memory: Tensor | None = None,
    ) -> Trained:
        """See `Trainer.train`."""
        phones = len(batches.phones)
        updates, losses = start.new_zeros(phones, len(start)), np.zeros(phones)
        with torch.random.fork_rng(devices=[]):
            for phone in range(phones):
                # Not torch.manual_seed, which also queues a seed for every kind of accelerator and costs a millisecond.
                torch.default_generator.manual_seed(torch_seed(batches.keys[phone]))
                memory_row = start.new_zeros(1, 0) if memory is None else memory[phone : phone + 1]
                weights, losses[phone] = self._train_phone(phone, start, examples, batches, correct, memory_row)
                updates[phone] = weights - start
        return Trained(updates, losses, batches.seen)

    def _train_phone(
        self,
        phone: int,
        start: Tensor,
        examples: Examples,
        batches: Batches,
        correct: Correction | None,
        memory: Tensor,
    ) -> tuple[Tensor, float]:
        flat = start.clone()
        for parameter, part in zip(self.parameters, self.layout.named(flat).values(), strict=True):
            parameter.data = part  # the module's parameters are views of `flat` from here on
        weights = flat[None]  # [1, D], a view too
        optimiser = self.training.optimiser(weights)
        total = 0.0
        for step in range(int(batches.steps[phone])):
            rows, mask = batches.rows[step, phone], batches.mask[step, phone]
            # A real batch, not a padded one: this loop is what the padded block is held against.
            rows, mask = rows[mask > 0].to(start.device), mask[mask > 0].to(start.device)
            gradients, loss = self._gradients(examples.features[rows], examples.targets[rows], mask)
            if correct is not None:
                gradients = correct(gradients, weights, memory)
            optimiser.step(weights, gradients, step)
            total += loss * len(rows)
            if self.on_batch is not None:
                self.on_batch(phone, step, loss)
        return flat, total

    def _gradients(self, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, float]:
        """The gradient `[1, D]` of one batch, and its loss."""
        with torch.enable_grad():
            loss = self.loss(self.network(features), targets, mask)
            slopes = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([slope.flatten() for slope in slopes])[None], loss.item()
