"""FedAvg in Flower: a `ClientApp` for each phone, simulated by its Ray backend with one CPU a client.

Nothing is tested, and the clients' only metric is their number of rows.
"""

from __future__ import annotations

import os
import time
from itertools import pairwise

import entrant

os.environ |= {"RAY_ADDRESS": "local", "FLWR_TELEMETRY_ENABLED": "0"}  # a cluster of its own

from flower_client import opened, train
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch_networks import flat

asked = entrant.options("ray")
folder = str(asked.folder.absolute())
work, net = opened(folder, asked.phones)
ends: list[float] = []


def after_round(number: int, arrays: ArrayRecord) -> None:
    ends.append(time.perf_counter())  # also called before the first round


def serve(grid: Grid, context: Context) -> None:
    # Unless all are asked for by number, the first round makes do with the clients that have connected by then.
    everybody = FedAvg(min_available_nodes=asked.phones, min_train_nodes=asked.phones, fraction_evaluate=0.0)
    told = ConfigRecord({"folder": folder, "phones": asked.phones, "in-order": bool(asked.check)})
    start, rounds = ArrayRecord(net.state_dict()), entrant.rounds_of(asked)
    result = everybody.start(grid, start, rounds, train_config=told, evaluate_fn=after_round)
    net.load_state_dict(result.arrays.to_torch_state_dict())


server, client = ServerApp(), ClientApp()
server.main()(serve)
client.train()(train)
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": cores}}
run_simulation(server, client, num_supernodes=asked.phones, backend_config=backend)
seconds = [after - before for before, after in pairwise(ends)]
entrant.announce(asked, seconds, flat(net), f"{cores} Ray actors, shuffled by torch.randperm")
