"""A model that visits phones one after another: by the plain loop, or by a compiled step, its fast twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedray.learning.batches import Batches
from fedray.learning.compiled import number
from fedray.learning.loop import LoopTrainer
from fedray.learning.optimisers import LocalTraining
from fedray.learning.program import Compiled, VisitProgram
from fedray.learning.threads import one_thread
from fedray.learning.trainer import Examples
from fedray.sums import fits, limbs_hold

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Visited:
    """What came of visiting some phones, in the order of `Batches.phones`.

    Attributes:
        weights: As the last phone left them, `[D]`.
        keep: Whose step was finite and small enough; the model went on from the others as it had come, `[phones]`.
        losses: Each phone's loss added up over the rows that it saw, `[phones]`.
    """

    weights: Tensor
    keep: npt.NDArray[np.bool_]
    losses: Float64


class Visits(Protocol):
    """Visits phones."""

    def visit(self, start: Tensor, examples: Examples, batches: Batches) -> Visited:
        """Visit phones in the order in which they were given to `batches`.

        Args:
            start: The weights to begin with, `[D]`.
            examples: The rows that the batches point into.
            batches: Of the phones.
        """


class PlainVisits:
    """Visits phones by the plain loop.

    Args:
        trainer: Of the run.
    """

    def __init__(self, trainer: LoopTrainer) -> None:
        self._trainer = trainer

    def visit(self, start: Tensor, examples: Examples, batches: Batches) -> Visited:
        """See `Visits.visit`."""
        keep, losses = np.zeros(len(batches.phones), dtype=bool), np.zeros(len(batches.phones))
        weights = start
        for phone in np.argsort(batches.phones):
            trained = self._trainer.train(weights, examples, batches.part(phone, phone + 1))
            losses[phone] = trained.losses[0]
            keep[phone] = fits(trained.updates.cpu().numpy())[0] and limbs_hold(losses[phone])
            weights = weights + trained.updates[0] if keep[phone] else weights
        return Visited(weights, keep, losses)


class CompiledVisits:
    """Visits phones by a compiled step.

    Args:
        program: Recorded for the run's network, loss and optimiser.
        step: Its graph, compiled.
        training: Of the run.
    """

    def __init__(self, program: VisitProgram, step: Compiled, training: LocalTraining) -> None:
        self.program, self._step = program, step
        self._rate = torch.tensor(training.learning_rate, dtype=torch.float64)

    @one_thread()
    def visit(self, start: Tensor, examples: Examples, batches: Batches) -> Visited:
        """See `Visits.visit`."""
        features, targets = examples.features[batches.rows], examples.targets[batches.rows]
        keep, losses = np.zeros(len(batches.phones), dtype=bool), np.zeros(len(batches.phones))
        weights = start[None].clone()
        for phone in np.argsort(batches.phones):
            here, carried = weights, [torch.zeros_like(weights) for _ in range(self.program.states)]
            for step in range(int(batches.steps[phone])):
                # Copies, which all begin alike in memory: the library chooses its instructions by that.
                rows = [each[step, phone].clone() for each in (features, targets, batches.mask)]
                here, *carried, loss = self._step([here, *carried, *rows, number(step), self._rate])
                losses[phone] += float(loss)
            keep[phone] = fits((here - weights).numpy())[0] and limbs_hold(losses[phone])
            weights = here if keep[phone] else weights
        return Visited(weights[0], keep, losses)
