"""A plain PyTorch loop: phone after phone in one process, one network that is set back to the round's weights each
time, and a running sum of what it became. No framework around it, so this is what any of them starts from."""

from __future__ import annotations

import entrant
import torch
from torch_networks import flat, load, network, one_epoch

asked = entrant.options("loop")
work = entrant.Workload.open(asked.folder, asked.phones)
net = network(work)
x, y, given = (torch.from_numpy(part) for part in (work.features, work.targets, work.order))


def one_round(weights: entrant.Float32, number: int) -> entrant.Float32:
    start, total = torch.from_numpy(weights), torch.zeros(len(weights), dtype=torch.float64)
    for phone in range(work.phones):
        load(net, start.clone())
        order = given[phone] if asked.check else torch.randperm(y.shape[1])
        one_epoch(net, x[phone], y[phone], order, work.batch, work.rate)
        total += torch.from_numpy(flat(net))
    return (total / work.phones).float().numpy()


entrant.compete(asked, work, one_round, "one process, one thread, shuffled by torch.randperm")
