"""For the entrants that train with torch: the network of a workload, and what all of them do with a phone's rows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch
from entrant import Float32, Workload
from torch import Tensor, nn


def network(work: Workload) -> nn.Module:
    """The workload's network with its first weights; torch is held to one thread, which is the fastest for all of
    them: a batch of ten is too little to share."""
    torch.set_num_threads(1)
    # By its path: an entrant's environment has no fedray, and the file needs only torch.
    spec = importlib.util.spec_from_file_location("models", Path(__file__).parents[1] / "models.py")
    models = importlib.util.module_from_spec(spec)
    sys.modules["models"] = models
    spec.loader.exec_module(models)
    made: nn.Module = models.NETWORKS[work.network]()
    load(made, torch.from_numpy(work.weights))
    return made


def load(net: nn.Module, flat: Tensor) -> None:
    """Write flat weights `[D]` into a network."""
    torch.nn.utils.vector_to_parameters(flat, net.parameters())


def flat(net: nn.Module) -> Float32:
    """A network's weights as one flat vector `[D]`."""
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach().numpy().copy()


def one_epoch(net: nn.Module, x: Tensor, y: Tensor, order: Tensor, batch: int, rate: float) -> None:
    """Local training as everybody writes it: shuffled batches, `backward`, a step of SGD."""
    optimiser = torch.optim.SGD(net.parameters(), lr=rate)
    for rows in order.split(batch):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(net(x[rows])[:, 0], y[rows])
        loss.backward()
        optimiser.step()
