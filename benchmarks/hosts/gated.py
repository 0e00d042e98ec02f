"""A network that an actor trains up to a given step and then waits at a gate, so that a fault can be made to fall
into the middle of a round, with every process where the test wants it. Its weights are those of the same network
without a gate.

The gate is a FIFO: whoever opens it for reading waits until somebody opens it for writing.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from torch import Tensor, nn


class GatedNet(nn.Module):
    """An MLP with one hidden layer.

    Args:
        in_features: Given by fedray.
        gate: A folder; where there is none, there is no gate.
        step: The training step of a process at which it waits, from 1; 0 for none.
        pace: Seconds that a training step takes at least, where there is a gate's folder: phones are not that fast.
        width: Of the hidden layer.
    """

    def __init__(self, in_features: int, gate: str, step: int = 1, pace: float = 0.0, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, width), nn.Tanh(), nn.Linear(width, 1))
        self.gate, self.step, self.pace = Path(gate), step, pace
        self.steps = 0

    def forward(self, rows: Tensor) -> Tensor:
        """`[rows, features]` to `[rows, 1]`."""
        if self.training and self.gate.exists():
            self.steps += 1
            time.sleep(self.pace)
            if self.steps == self.step:
                _wait_at(self.gate)
        predicted: Tensor = self.layers(rows)
        return predicted


def _wait_at(gate: Path) -> None:
    fifo = gate / "fifo"
    if fifo.exists():
        (gate / f"{os.getpid()}.waits").touch()
        with suppress(FileNotFoundError):  # it was opened just now
            fifo.open("rb").close()


class Gate:
    """The other side of it.

    Args:
        folder: A new one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._fifo = folder, folder / "fifo"
        folder.mkdir()
        os.mkfifo(self._fifo)

    def waiting(self) -> set[int]:
        """Processes that have come to the gate."""
        return {int(file.stem) for file in self.folder.glob("*.waits")}

    def open(self) -> None:
        """Let all through, those that come later too."""
        with suppress(OSError):  # nobody waits
            writer = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
            self._fifo.unlink()
            os.close(writer)
        self._fifo.unlink(missing_ok=True)
