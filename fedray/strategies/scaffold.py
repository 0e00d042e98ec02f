"""SCAFFOLD: control variates that take the drift between phones out of their gradients.

Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", ICML 2020, algorithm 1 with
option II for the phones' controls.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedray.strategies.fedavg import fedavg
from fedray.strategies.strategy import Cohort, Local, Sent, Server, Strategy


class Scaffold(Strategy):
    """Each phone keeps its control c_i, the server the mean control c; phones step along g - c_i + c.

    Args:
        server_learning_rate: The paper's global step size eta_g.
    """

    memory = 1
    corrects = True
    plain_sgd = True  # option II takes the update for a sum of gradients

    def __init__(self, server_learning_rate: float = 1.0) -> None:
        self.server = fedavg(server_learning_rate)

    def begin(self, weights: Tensor) -> Server:
        """All controls start at zero."""
        return Server(weights, {"control": torch.zeros(len(weights), dtype=torch.float64)})

    def broadcast(self, server: Server) -> Mapping[str, Tensor]:
        """The server's control c."""
        return {"control": server.tensors["control"].to(torch.float32)}

    def correct(
        self, gradients: Tensor, weights: Tensor, memory: Tensor, start: Tensor, broadcast: Mapping[str, Tensor]
    ) -> Tensor:
        """The paper's line 10: g - c_i + c."""
        return gradients - memory + broadcast["control"]

    def send(self, local: Local) -> Sent:
        """Line 12, option II: c_i+ = c_i - c + (x - y_i) / (K eta_l); the second sum is c_i+ - c_i."""
        effort = (local.steps * local.learning_rate).clamp(min=local.learning_rate)[:, None]
        change = -local.broadcast["control"] - local.updates / effort
        change = torch.where(local.steps[:, None] > 0, change, torch.zeros_like(change))
        return Sent({"update": local.updates, "control": change}, local.memory + change)

    def step(self, server: Server, means: Mapping[str, Tensor], cohort: Cohort) -> Server:
        """Lines 16 and 17: the server's control moves by the share of phones that took part."""
        control = server.tensors["control"] + means["control"] * (cohort.phones / cohort.of)
        stepped = self.server.step(Server(server.weights), means, cohort)
        return Server(stepped.weights, {"control": control})
