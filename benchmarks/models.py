"""The networks that are measured, as a user would write them: plain `nn.Module`s that know nothing of fedray.

Those over a window get the sensors of seven days as 35 columns, and fold them back themselves.
"""

from __future__ import annotations

from torch import Tensor, nn

DAYS, SENSORS, WIDTH = 7, 5, 16


class MLP(nn.Sequential):
    """The standard workload's network, 5-20-20-1: 561 weights."""

    def __init__(self, in_features: int = 5, width: int = 20) -> None:
        super().__init__(
            nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )


class BigMLP(MLP):
    """5-300-300-1: 92,401 weights, which no block of many phones keeps in cache."""

    def __init__(self, in_features: int = 5) -> None:
        super().__init__(in_features, 300)


class LayerNormMLP(nn.Sequential):
    """5-20-20-1 with LayerNorm before each ReLU."""

    def __init__(self, in_features: int = 5) -> None:
        super().__init__(
            nn.Linear(in_features, 20), nn.LayerNorm(20), nn.ReLU(), nn.Linear(20, 20), nn.LayerNorm(20), nn.ReLU(),
            nn.Linear(20, 1),
        )  # fmt: skip


class GRU(nn.Module):
    """A GRU over seven days, and a linear layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(SENSORS, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """`[rows, 35]` to `[rows, 1]`."""
        states, _ = self.gru(rows.view(-1, DAYS, SENSORS))
        made: Tensor = self.out(states[:, -1])
        return made


class Conv(nn.Module):
    """Two convolutions over seven days, their mean over time, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv1d(SENSORS, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()
        )
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """`[rows, 35]` to `[rows, 1]`."""
        made: Tensor = self.out(self.convs(rows.view(-1, DAYS, SENSORS).transpose(1, 2)).mean(-1))
        return made


class Transformer(nn.Module):
    """One encoder layer over seven days, its mean over time, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(SENSORS, WIDTH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """`[rows, 35]` to `[rows, 1]`."""
        made: Tensor = self.out(self.encoder(self.into(rows.view(-1, DAYS, SENSORS))).mean(1))
        return made


NETWORKS: dict[str, type[nn.Module]] = {
    "MLP": MLP, "LayerNormMLP": LayerNormMLP, "GRU": GRU, "Conv": Conv, "Transformer": Transformer, "BigMLP": BigMLP,
}  # fmt: skip
WINDOWED = frozenset({"GRU", "Conv", "Transformer"})
