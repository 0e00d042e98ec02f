"""FedAvg in pfl-research: its `FederatedAveraging` over a `SimulatedBackend`, in one process.

pfl trains on a user's rows in the order that `make_dataset_fn` hands them over, so that function shuffles them.
"""

from __future__ import annotations

import time
from typing import Any

import entrant
import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch_networks import flat, network

asked = entrant.options("process")
work = entrant.Workload.open(asked.folder, asked.phones)
x, y, given = (torch.from_numpy(part) for part in (work.features, work.targets, work.order))


class Net(nn.Module):
    """The network with the two methods that pfl asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(work)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Of a batch."""
        return nn.functional.mse_loss(self.net(x)[:, 0], y)

    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        """None."""
        return {}


class Stopwatch(TrainingProcessCallback):
    """The time from the end of a round to the end of the next one."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_begin(self, *, model: Any) -> Metrics:
        """Before the first round."""
        self.began = time.perf_counter()
        return Metrics()

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
        """After a round: do not stop, no metrics."""
        now = time.perf_counter()
        self.seconds.append(now - self.began)
        self.began = now
        return False, Metrics()


def shuffled_rows(phone: int) -> Dataset:
    order = given[phone].long() if asked.check else torch.randperm(y.shape[1])
    return Dataset(raw_data=[x[phone][order], y[phone][order]])


turn = iter(np.tile(np.arange(work.phones), entrant.rounds_of(asked) + 1))
data = FederatedDataset(make_dataset_fn=shuffled_rows, user_sampler=lambda: int(next(turn)))
net, watch = Net(), Stopwatch()
# The server adds the mean update: SGD at rate 1.
model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
FederatedAveraging().run(
    algorithm_params=NNAlgorithmParams(
        central_num_iterations=entrant.rounds_of(asked),
        evaluation_frequency=10**9,
        train_cohort_size=work.phones,
        val_cohort_size=0,
    ),
    backend=SimulatedBackend(training_data=data, val_data=data),
    model=model,
    model_train_params=NNTrainHyperParams(
        local_num_epochs=1, local_learning_rate=work.rate, local_batch_size=work.batch
    ),
    model_eval_params=NNEvalHyperParams(local_batch_size=None),
    callbacks=[watch],
    send_metrics_to_platform=False,
)
entrant.announce(asked, watch.seconds, flat(net), "one process, one thread, rows shuffled as users are made")
