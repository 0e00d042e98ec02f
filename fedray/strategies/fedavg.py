"""FedAvg and FedAvgM: phones train, the server adds the weighted mean of their updates, with momentum or without.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017, algorithm 1;
Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution", 2019, for the momentum.
"""

from __future__ import annotations

import torch

from fedray.strategies.server_optimiser import ServerOptimiser


def fedavg(server_learning_rate: float = 1.0) -> ServerOptimiser:
    """The server is SGD; with rate 1 it adds the mean update."""
    return ServerOptimiser(lambda weights: torch.optim.SGD(weights, lr=server_learning_rate))


def fedavgm(server_learning_rate: float = 1.0, server_momentum: float = 0.9) -> ServerOptimiser:
    """The server is SGD with momentum."""
    return ServerOptimiser(lambda weights: torch.optim.SGD(weights, lr=server_learning_rate, momentum=server_momentum))
