"""Local rounds by a recorded and compiled program: block after block of phones, from gathered rows to exact sums.

The fast twin of `block.py` and `loop.py`. Phone `p` of a block lies in group `p // LANES`, lane `p % LANES`; a phone's
bits depend on neither, and what pads a block changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedray.learning.batches import Batches
from fedray.learning.optimisers import LocalTraining
from fedray.learning.program import LANES, LOW_BITS, Compiled, Program
from fedray.learning.threads import one_thread
from fedray.learning.trainer import Examples
from fedray.sums import limbs_hold

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Finished:
    """What a block of phones came to, in the order of `Batches.phones`.

    Attributes:
        sums: Of what the kept phones send, in whole units of the grid, int64 `[D]` by name.
        keep: Who sent something finite and small enough, `[phones]`; the others count nowhere.
        losses: Each phone's loss added up over the rows that it saw, `[phones]`.
        memory: The phones' new private vectors `[phones, memory * D]`.
        weights: The trained weights, `[groups, D, LANES]`.
    """

    sums: dict[str, Int64]
    keep: npt.NDArray[np.bool_]
    losses: Float64
    memory: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Started:
    """A broadcast, made ready for blocks.

    Attributes:
        start: The weights `[D]`.
        weights: The same for every phone of a block, `[groups, D, LANES]`.
        extra: What the strategy broadcast beside them, `[D]` each.
    """

    start: Tensor
    weights: Tensor
    extra: list[Tensor]


@functools.cache
def number(step: int) -> Tensor:
    """A step's number as programs take it."""
    return torch.tensor(float(step), dtype=torch.float64)


class CompiledRound:
    """A local round of any phones.

    Args:
        program: Recorded for the run's network, loss, optimiser and strategy.
        step, finish: Its graphs, compiled.
        training: Of the run.
        exponent: Of the run's grid.
    """

    def __init__(
        self, program: Program, step: Compiled, finish: Compiled, training: LocalTraining, exponent: int
    ) -> None:
        self.program, self.width = program, program.width
        self._step, self._finish = step, finish
        self._rate = torch.tensor(training.learning_rate, dtype=torch.float64)
        self._scale = torch.tensor(2.0**exponent, dtype=torch.float64)
        self._ones = torch.ones(program.groups, training.batch_size, LANES)

    def begin(self, start: Tensor, extra: Mapping[str, Tensor]) -> Started:
        """What all blocks of a round have in common.

        Args:
            start: The broadcast weights `[D]`.
            extra: What the strategy broadcast beside them, `[D]` by name.
        """
        weights = start[None, :, None].expand(self.program.groups, -1, LANES).contiguous()
        return Started(start, weights, [extra[name] for name in self.program.extra])

    @one_thread()
    def train(
        self,
        started: Started,
        examples: Examples,
        batches: Batches,
        real: npt.NDArray[np.bool_],
        weight: Int64,
        memory: Tensor,
    ) -> Finished:
        """Train a block and add up what its phones send.

        Args:
            started: What `begin` made of the broadcast.
            examples: The rows that the batches point into.
            batches: Of exactly `width` phones.
            real: Which of them count; the others pad the block, and have no rows.
            weight: Of each phone's update in the sum, `[width]`.
            memory: The phones' private vectors `[width, memory * D]`.
        """
        program, groups = self.program, self.program.groups
        lanes_memory, weights = _in_lanes(memory, groups), started.weights
        strategys = [lanes_memory, started.start, *started.extra] if program.corrects else []
        carried = [torch.zeros_like(weights) for _ in range(program.states)]
        losses = torch.zeros(groups, LANES, dtype=torch.float64)
        for step, (features, targets, mask) in enumerate(self._rows(examples, batches)):
            given = [weights, *carried, *strategys, features, targets, mask, number(step), self._rate]
            weights, *carried, loss = self._step(given)
            losses += loss
        summed = losses.flatten().numpy()
        counted = limbs_hold(summed) & real
        steps, shares, held = (torch.from_numpy(each).view(groups, LANES) for each in (batches.steps, weight, counted))
        keep, *sums, kept_memory = self._finish(
            [weights, started.start, lanes_memory, *started.extra, steps, shares.double(), held, self._scale]
        )
        return Finished(
            sums={name: _whole(parts) for name, parts in zip(program.sums, sums, strict=True)},
            keep=keep.flatten().numpy(),
            losses=summed,
            memory=kept_memory.transpose(1, 2).reshape(self.width, -1),
            weights=weights,
        )

    def _rows(self, examples: Examples, batches: Batches) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each step: features `[F, groups, batch, LANES]`, targets and mask `[groups, batch, LANES]`."""
        columns, targets = examples.features.t().numpy(), examples.targets.numpy()
        rows, masks = self._by_lane(batches.rows), None if batches.full else self._by_lane(batches.mask)
        shape = rows.shape[1:]
        for step, here in enumerate(rows):
            # Column by column, so that what a vector instruction reads stands together. Clipping spares a check.
            gathered = columns.take(here.ravel(), axis=1, mode="clip").reshape(-1, *shape)
            wanted = targets.take(here, mode="clip")
            mask = self._ones if masks is None else torch.from_numpy(masks[step])
            yield torch.from_numpy(gathered), torch.from_numpy(wanted), mask

    def _by_lane(self, by_phone: Tensor) -> npt.NDArray[Any]:
        """`[steps, width, batch]` as `[steps, groups, batch, LANES]`."""
        steps, _, batch = by_phone.shape
        return by_phone.numpy().reshape(steps, self.program.groups, LANES, batch).transpose(0, 1, 3, 2).copy()


def _in_lanes(matrix: Tensor, groups: int) -> Tensor:
    """`[width, n]` as `[groups, n, LANES]`."""
    return matrix.view(groups, LANES, -1).transpose(1, 2).contiguous()


def _whole(parts: Tensor) -> Int64:
    """`[2, D, LANES]`, high and low parts, added up over lanes as whole units `[D]`."""
    high, low = parts.sum(-1).numpy().astype(np.int64)
    return np.asarray((high << LOW_BITS) + low)
