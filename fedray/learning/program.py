"""What a recorded local round is: two graphs that are compiled where they run, and how phones lie in their tensors.

Light, since every actor imports it: recording (`tracing`) needs more of torch than holding a program does. Who compiles
them is `fleet.compiling`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

LANES = 16
"""Phones of a group. Measured on the standard network with 8 / 16 / 32: 120 / 128 / 122 thousand phones a second and
core; with 128 in one group 75 thousand, since their weights leave the first cache."""

LOW_BITS = 26
"""A unit is cut in two, its 26 lowest bits and the rest, so that float64 adds up 16 of each without rounding."""


@dataclass(frozen=True)
class Graph:
    """A recorded computation, ready to be compiled anywhere.

    Attributes:
        key: A digest of all that it computes: equal keys, equal graphs.
        exported: `torch.export.save`'s bytes.
    """

    key: str
    exported: bytes


@dataclass(frozen=True)
class Program:
    """The two graphs of a local round on a block of `groups * LANES` phones.

    Attributes:
        groups: Groups of a block.
        states: Vectors that the local optimiser carries from step to step.
        corrects: The strategy changes gradients, so that `step` takes memory, start and extra vectors.
        extra: Names of what the strategy broadcasts beside the weights, in order.
        sums: Names of what phones send, in order.
        step: `(weights, *states, [memory, start, *extra], features, targets, mask, number, rate)` to
            `(weights, *states, losses)`: weights and states `[groups, D, LANES]`, memory `[groups, memory * D, LANES]`,
            start and extra `[D]`, features `[F, groups, batch, LANES]`, targets and mask `[groups, batch, LANES]`,
            step number and learning rate float64 `[]`, losses `[groups, LANES]` added up over the batch's rows.
        finish: `(weights, start, memory, *extra, steps, weight, real, scale)` to `(keep, *sums, memory)`: steps, weight
            (float64) and real (bool) `[groups, LANES]`, scale float64 `[]`; keep as real; each sum float64
            `[2, D, LANES]`, the high part in units of 2^26 and the low part.
    """

    groups: int
    states: int
    corrects: bool
    extra: tuple[str, ...]
    sums: tuple[str, ...]
    step: Graph
    finish: Graph

    @property
    def width(self) -> int:
        """Phones of a block."""
        return self.groups * LANES

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """What is to be compiled."""
        return self.step, self.finish


@dataclass(frozen=True)
class VisitProgram:
    """The graph of one batch of one phone, for a model that visits phones one after another.

    Attributes:
        states: Vectors that the local optimiser carries from step to step.
        step: `(weights, *states, features, targets, mask, number, rate)` to `(weights, *states, loss)`: weights and
            states `[1, D]`, features `[batch, F]`, targets and mask `[batch]`, step number and learning rate float64
            `[]`, loss `[]` added up over the batch's rows.
    """

    states: int
    step: Graph

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """What is to be compiled."""
        return (self.step,)


AnyProgram: TypeAlias = Program | VisitProgram

Compiled: TypeAlias = Callable[[list[Tensor]], list[Tensor]]
"""A graph as a function of its inputs."""
