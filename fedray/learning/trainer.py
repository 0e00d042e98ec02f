"""What a trainer is given and gives back; the seam behind which `block.py` trains many phones at once and `loop.py` one
after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fedray.learning.batches import Batches

Correction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`correct(gradients, weights, memory)`, each `[phones, D]`, gives the gradients to step along, `[phones, D]`."""


@dataclass(frozen=True)
class Examples:
    """Rows of some phones as the network sees them, end to end, and one spare row of zeros behind the last.

    Attributes:
        features: Standardised, float32 `[rows + 1, features]`.
        targets: float32 `[rows + 1]`.
    """

    features: Tensor
    targets: Tensor

    @property
    def spare(self) -> int:
        """The number of the spare row, which padding points at."""
        return len(self.targets) - 1


@dataclass(frozen=True)
class Trained:
    """What local training came to, a phone a row, in the order of `Batches.phones`.

    Attributes:
        updates: Trained weights minus the broadcast ones, float32 `[phones, D]`.
        losses: Each phone's loss added up over the rows that it saw, float64 `[phones]`.
        seen: How many rows it saw, over all local epochs, `[phones]`.
    """

    updates: Tensor
    losses: npt.NDArray[np.float64]
    seen: npt.NDArray[np.int64]


class Trainer(Protocol):
    """Trains each phone of a block from the same weights, on its own rows."""

    def train(
        self,
        start: Tensor,
        examples: Examples,
        batches: Batches,
        correct: Correction | None = None,
        memory: Tensor | None = None,
    ) -> Trained:
        """Train.

        Args:
            start: The broadcast weights `[D]`.
            examples: The rows that the batches point into.
            batches: Of the phones of this block.
            correct: What the strategy does to gradients before the optimiser's step.
            memory: The phones' private vectors `[phones, D]`, in the order of `batches.phones`, for `correct`.
        """
