"""Local optimisers as functions on the matrix `[phones, D]`, all phones at once; each starts anew every round.

They do what `torch.optim.SGD` and `torch.optim.Adam` do for one phone, and are tested against them. Using torch.optim
on the phones would cost every actor another 80 MiB, and one optimiser object a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

Number: TypeAlias = float | Tensor
"""A number, or while a step is traced a tensor `[]` that stands for any."""


class LocalOptimiser(Protocol):
    """Steps a block of phones; holds their state for one round.

    Attributes:
        state: What it carries from step to step, `[phones, D]` each.
    """

    state: tuple[Tensor, ...]

    def step(self, weights: Tensor, gradients: Tensor, number: Number) -> None:
        """Step `number` (from 0) of the first `len(weights)` phones of the block, in place."""


class Sgd:
    """Stochastic gradient descent with optional momentum, as torch.optim.SGD."""

    def __init__(self, weights: Tensor, learning_rate: Number, momentum: float) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum
        self.state: tuple[Tensor, ...] = (torch.zeros_like(weights),) if momentum else ()

    def step(self, weights: Tensor, gradients: Tensor, number: Number) -> None:
        """Step `number` (from 0) of the first `len(weights)` phones of the block, in place."""
        for velocity in self.state:
            gradients = velocity[: len(weights)].mul_(self.momentum).add_(gradients)
        weights.sub_(gradients * self.learning_rate)


class Adam:
    """Adam (Kingma, Ba 2015, algorithm 1) with the defaults of torch.optim.Adam."""

    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, weights: Tensor, learning_rate: Number, momentum: float) -> None:
        self.learning_rate = learning_rate
        self.state: tuple[Tensor, ...] = (torch.zeros_like(weights), torch.zeros_like(weights))

    def step(self, weights: Tensor, gradients: Tensor, number: Number) -> None:
        """Step `number` (from 0) of the first `len(weights)` phones of the block, in place."""
        first, second = (moment[: len(weights)] for moment in self.state)
        first.lerp_(gradients, 1 - self.beta_1)
        second.mul_(self.beta_2).addcmul_(gradients, gradients, value=1 - self.beta_2)
        root = (second.sqrt() / (1 - self.beta_2 ** (number + 1)) ** 0.5).add_(self.epsilon)
        weights.sub_(first / root * (self.learning_rate / (1 - self.beta_1 ** (number + 1))))


OPTIMISERS: Mapping[str, Callable[[Tensor, Number, float], LocalOptimiser]] = {"sgd": Sgd, "adam": Adam}


@dataclass(frozen=True)
class LocalTraining:
    """The knobs of training on a phone."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float = 0.0

    def optimiser(self, weights: Tensor, learning_rate: Number | None = None) -> LocalOptimiser:
        """A fresh optimiser for a block of weights `[phones, D]`; with another rate than its own if one is given."""
        rate = self.learning_rate if learning_rate is None else learning_rate
        return OPTIMISERS[self.optimizer](weights, rate, self.momentum)
