"""What a federated algorithm is: what phones do with gradients and updates, how updates combine, how the server steps.

Both halves are pure functions of tensors over frozen state, so that they run in any actor, in any order, and again
after a loss. The half on phones sees a block of phones at once, a phone a row; the half on the server sees means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Server:
    """What a strategy's server half carries from round to round.

    Attributes:
        weights: The global model, float32 `[D]`.
        tensors: All else: the optimiser's moments, control variates; by name.
    """

    weights: Tensor
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Local:
    """What local training gave on a block of phones, as the strategy's half on phones sees it.

    Attributes:
        updates: Trained weights minus broadcast weights, `[phones, D]`.
        steps: Optimiser steps that each phone took, `[phones]`.
        memory: The phones' private vectors from their last round, `[phones, memory * D]`; zeros before the first.
        broadcast: What `Strategy.broadcast` sent along, by name.
        learning_rate: Of the local optimiser.
    """

    updates: Tensor
    steps: Tensor
    memory: Tensor
    broadcast: Mapping[str, Tensor]
    learning_rate: float


@dataclass(frozen=True)
class Sent:
    """What leaves a block of phones, to be added up, and what stays with them.

    Attributes:
        sums: Matrices `[phones, D]` by name; `update` is weighted by `federation.weighting`, others count each phone
            once.
        memory: The phones' new private vectors, `[phones, memory * D]`.
    """

    sums: Mapping[str, Tensor]
    memory: Tensor


@dataclass(frozen=True)
class Cohort:
    """Who took part in a round.

    Attributes:
        phones: How many phones' updates were added up.
        of: How many phones there are.
    """

    phones: int
    of: int


class Strategy:
    """FedAvg's phones, and a server that adds the mean update; other strategies override what they change.

    Attributes:
        memory: How many private vectors of D numbers each phone keeps from round to round.
        hops: The model visits the phones one after another, and nothing is averaged.
        corrects: `correct` does something; where it doesn't, phones skip the call.
        plain_sgd: Only right where phones take plain gradient steps, without momentum or Adam.
    """

    memory = 0
    hops = False
    corrects = False
    plain_sgd = False

    def broadcast(self, server: Server) -> Mapping[str, Tensor]:
        """What is sent to every phone of the cohort beside the weights, `[D]` each, by name."""
        return {}

    def correct(
        self, gradients: Tensor, weights: Tensor, memory: Tensor, start: Tensor, broadcast: Mapping[str, Tensor]
    ) -> Tensor:
        """The gradients to step along instead of `gradients` `[phones, D]`.

        Args:
            gradients: Of the local loss at `weights`.
            weights: The phones' weights at this step, `[phones, D]`.
            memory: Their private vectors, `[phones, memory * D]`.
            start: The broadcast weights `[D]`.
            broadcast: What `broadcast` sent along.
        """
        return gradients

    def send(self, local: Local) -> Sent:
        """What phones send after local training."""
        return Sent({"update": local.updates}, local.memory)

    def begin(self, weights: Tensor) -> Server:
        """The server's state before the first round, from the initial weights `[D]`."""
        return Server(weights)

    def step(self, server: Server, means: Mapping[str, Tensor], cohort: Cohort) -> Server:
        """The server's state after a round.

        Args:
            server: The state before it.
            means: For each of `Sent.sums` its mean over the cohort, float64 `[D]`.
            cohort: Who took part; at least one phone.
        """
        return Server((server.weights.double() + means["update"]).to(torch.float32), server.tensors)
