"""What a simulated phone does in Flower. A module of its own, which Ray's workers import, so that an actor opens the
rows and makes its network once; Flower's own examples do both anew for every client and round."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from entrant import Workload
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from torch_networks import network, one_epoch


@lru_cache(maxsize=1)
def opened(folder: str, phones: int) -> tuple[Workload, Any]:
    """The workload and the network, once an actor."""
    work = Workload.open(Path(folder), phones)
    return work, network(work)


def train(message: Message, context: Context) -> Message:
    """Train the phone that this client plays; the number of rows weights the mean."""
    told = message.content["config"]
    work, net = opened(told["folder"], told["phones"])
    phone = int(context.node_config["partition-id"])
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = torch.from_numpy(work.features[phone]), torch.from_numpy(work.targets[phone])
    order = torch.from_numpy(work.order[phone]) if told["in-order"] else torch.randperm(len(y))
    one_epoch(net, x, y, order, work.batch, work.rate)
    reply = {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord({"num-examples": len(y)})}
    return Message(content=RecordDict(reply), reply_to=message)
