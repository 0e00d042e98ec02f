"""FedAdam: Adam on the server.

Reddi et al., "Adaptive federated optimization", ICLR 2021, algorithm 2, by `torch.optim.Adam`: unlike the paper's, its
moments start at zero and are corrected for it.
"""

from __future__ import annotations

import torch

from fedray.strategies.server_optimiser import ServerOptimiser


def fedadam(
    server_learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, epsilon: float = 1e-3
) -> ServerOptimiser:
    """The server is Adam; `epsilon` is the paper's tau."""
    return ServerOptimiser(
        lambda weights: torch.optim.Adam(weights, lr=server_learning_rate, betas=(beta_1, beta_2), eps=epsilon)
    )
