"""The server's step as a step of a `torch.optim` optimiser whose gradient is the negative mean update (Reddi et al.,
"Adaptive federated optimization", ICLR 2021, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedray.strategies.strategy import Cohort, Server, Strategy

MakeOptimiser = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class ServerOptimiser(Strategy):
    """FedAvg's phones, and any `torch.optim` optimiser on the server.

    Args:
        make: Makes the optimiser for a list with one flat parameter. Its state lives in `Server.tensors`, so it is made
            anew each round.
    """

    def __init__(self, make: MakeOptimiser) -> None:
        self.make = make

    def step(self, server: Server, means: Mapping[str, Tensor], cohort: Cohort) -> Server:
        """See `Strategy.step`."""
        weights, tensors = optimiser_step(self.make, server, -means["update"])
        return Server(weights, tensors)


def optimiser_step(make: MakeOptimiser, server: Server, gradient: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """One step from `server.weights` along `gradient` `[D]`: the new weights and the optimiser's new state.

    The step is taken in float64 from float32 weights, and rounded once.
    """
    parameter = nn.Parameter(server.weights.double())
    optimiser = make([parameter])
    if server.tensors:
        optimiser.state[parameter] = {name: tensor.clone() for name, tensor in server.tensors.items()}
    parameter.grad = gradient.double()
    optimiser.step()
    state = {name: value for name, value in optimiser.state[parameter].items() if isinstance(value, Tensor)}
    return parameter.detach().to(torch.float32), state
