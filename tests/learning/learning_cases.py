"""Networks, phones with ragged shards, and a plain PyTorch loop that shares nothing with fedray but the batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedray.learning.batches import Batches, batches
from fedray.learning.models import flat_weights, linear, mlp
from fedray.learning.optimisers import LocalTraining
from fedray.learning.trainer import Correction, Examples, Trained, Trainer

DAYS, SENSORS = 4, 3
FEATURES = DAYS * SENSORS
BATCH = 5
RAGGED = (0, 1, 3, 5, 7, 12, 5, 0, 23, 4)
"""No rows, one row, fewer than a batch, whole batches, uneven ones."""


def days(rows: Tensor) -> Tensor:
    """Rows `[rows, days * sensors]` as windows `[rows, days, sensors]`."""
    return rows.unflatten(1, (DAYS, SENSORS))


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRU(SENSORS, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.cell(days(rows))[0][:, -1])


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(SENSORS, 5, 3), nn.Linear(10, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.conv(days(rows).transpose(1, 2)).relu().flatten(1))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, 7), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, 1))

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows)


class Attention(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Linear(SENSORS, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.layer(self.embed(days(rows))).mean(1))


class Tied(nn.Module):
    """Two layers that share one matrix: its gradient is the sum of both uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.out = nn.Linear(FEATURES, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.second(self.first(rows).tanh()).tanh())


class Own(nn.Module):
    """A user's network: takes `in_features`, has a part that stays as built, and one that is never called."""

    def __init__(self, in_features: int, width: int = 6) -> None:
        super().__init__()
        self.given = (in_features, width)
        self.frozen = nn.Linear(in_features, width)
        self.frozen.requires_grad_(False)
        self.out = nn.Linear(width, 1)
        self.uncalled = nn.Linear(2, 2)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.frozen(rows).tanh())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp(FEATURES, (7, 5)),
    "linear": lambda: linear(FEATURES, ()),
    "gru": Gru,
    "convolution": Convolution,
    "layer norm": Normed,
    "attention": Attention,
    "tied": Tied,
    "own": lambda: Own(FEATURES),
}

PLAIN_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda outputs, targets: functional.mse_loss(outputs[:, 0], targets),
    "mae": lambda outputs, targets: functional.l1_loss(outputs[:, 0], targets),
    "mse_broadcast": lambda outputs, targets: ((outputs - targets) ** 2).mean(),
    "bce": lambda outputs, targets: functional.binary_cross_entropy_with_logits(outputs[:, 0], targets),
}


def network(name: str) -> nn.Module:
    """A fresh network, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return NETWORKS[name]()


@dataclass(frozen=True)
class Phones:
    """Phones with random rows: those of phone p are `offsets[p]:offsets[p + 1]`."""

    offsets: np.ndarray
    examples: Examples

    @classmethod
    def with_rows(cls, counts, *, binary: bool = False, seed: int = 1) -> Phones:
        random = np.random.default_rng(seed)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        features = random.normal(size=(offsets[-1] + 1, FEATURES)).astype(np.float32)
        targets = random.normal(size=offsets[-1] + 1).astype(np.float32)
        targets = (targets > 0).astype(np.float32) if binary else targets
        features[-1] = targets[-1] = 0
        return cls(offsets, Examples(torch.from_numpy(features), torch.from_numpy(targets)))

    @property
    def rows(self) -> np.ndarray:
        return np.diff(self.offsets)

    def of(self, phone: int) -> slice:
        return slice(int(self.offsets[phone]), int(self.offsets[phone + 1]))

    def spoilt(self, phone: int, value: float) -> Phones:
        """The same phones, with one phone's features and targets replaced."""
        features, targets = self.examples.features.clone(), self.examples.targets.clone()
        features[self.of(phone)] = targets[self.of(phone)] = value
        return replace(self, examples=Examples(features, targets))

    def double(self) -> Phones:
        return replace(self, examples=Examples(self.examples.features.double(), self.examples.targets.double()))

    def batches(self, ids, *, epochs: int = 2, batch_size: int = BATCH, round_number: int = 1) -> Batches:
        ids = np.asarray(ids, dtype=np.int64)
        return batches(
            seed=1,
            round_number=round_number,
            ids=ids,
            starts=self.offsets[ids],
            rows=self.rows[ids],
            spare=self.examples.spare,
            epochs=epochs,
            batch_size=batch_size,
        )


def training(optimizer: str = "sgd", learning_rate: float = 0.05, momentum: float = 0.0) -> LocalTraining:
    return LocalTraining(2, BATCH, optimizer, learning_rate, momentum)


def trained(
    trainer: Trainer, net: nn.Module, phones: Phones, ids, *, correct: Correction | None = None, memory=None, **knobs
) -> Trained:
    """Train some phones; the result stands in the order of `ids`."""
    made = phones.batches(ids, **knobs)
    start = flat_weights(net)
    result = trainer.train(start, phones.examples, made, correct, None if memory is None else memory[made.phones])
    back = np.argsort(made.phones)
    return Trained(result.updates[torch.from_numpy(back)], result.losses[back], result.seen[back])


def plainly_trained(
    net: nn.Module,
    loss: str,
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    phones: Phones,
    phone: int,
    pull: Tensor | None = None,
    **knobs,
) -> Tensor:
    """One phone's trained weights `[D]` by torch alone; `pull` `[D]` is added to every gradient."""
    made = phones.batches([phone], **knobs)
    with torch.random.fork_rng(devices=[]):
        net = copy.deepcopy(net)
        parameters = [weights for weights in net.parameters() if weights.requires_grad]
        optimiser = make(parameters)
        for step in range(int(made.steps[0])):
            rows = made.rows[step, 0][made.mask[step, 0] > 0]
            optimiser.zero_grad(set_to_none=False)
            PLAIN_LOSSES[loss](net(phones.examples.features[rows]), phones.examples.targets[rows]).backward()
            if pull is not None:
                for weights, part in zip(parameters, pull.split([w.numel() for w in parameters]), strict=True):
                    weights.grad += part.view_as(weights)
            optimiser.step()
    return torch.cat([weights.detach().flatten() for weights in parameters])


def difference(got: Tensor, wanted: Tensor) -> float:
    """`max|a - b| / max|b|`, over the weights of one phone."""
    return float((got - wanted).abs().max() / wanted.abs().max())
