"""FedProx: each phone's loss is pulled towards the broadcast weights by mu/2 ||w - w_start||^2.

Li et al., "Federated optimization in heterogeneous networks", MLSys 2020, equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fedray.strategies.fedavg import fedavg
from fedray.strategies.strategy import Cohort, Server, Strategy


class FedProx(Strategy):
    """FedAvg with a proximal term on the phones.

    Args:
        proximal: The paper's mu; 0 is FedAvg.
        server_learning_rate: As in FedAvg.
    """

    corrects = True

    def __init__(self, proximal: float = 0.01, server_learning_rate: float = 1.0) -> None:
        self.proximal = proximal
        self.server = fedavg(server_learning_rate)

    def correct(
        self, gradients: Tensor, weights: Tensor, memory: Tensor, start: Tensor, broadcast: Mapping[str, Tensor]
    ) -> Tensor:
        """The gradient of the loss with the proximal term."""
        return gradients + self.proximal * (weights - start)

    def step(self, server: Server, means: Mapping[str, Tensor], cohort: Cohort) -> Server:
        """FedAvg's."""
        return self.server.step(server, means, cohort)
