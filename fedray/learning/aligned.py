"""Matrix products whose bits don't depend on where a phone stands in its block.

MKL chooses its instructions by the address that a matrix begins at. In a batch of matrices whose sizes are no multiple
of 64 bytes, every other one begins elsewhere, and rounds otherwise (measured on an AMD EPYC: half of the products
[5, 18] x [18, 6] of a batch of equal ones differ in their last bits). So such matrices are padded with zeros, which
change no sum, until all of them begin alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
ALIGNED = 16  # float32 numbers, 64 bytes


class AlignedProducts(TorchDispatchMode):
    """Within it, products of matrices are taken with all of them beginning alike."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for every operation."""
        if function in (aten.bmm.default, aten.mm.default):
            return _product(function, *arguments)
        if function in (aten.baddbmm.default, aten.addmm.default):
            return _added_product(function, *arguments, **(named or {}))
        return function(*arguments, **(named or {}))


def _product(function: Any, left: Tensor, right: Tensor) -> Tensor:
    (rows, inner), columns = left.shape[-2:], right.shape[-1]
    if not any(size % ALIGNED for size in (rows * inner, inner * columns, rows * columns)):
        made: Tensor = function(left, right)
        return made
    deeper, wider = -inner % ALIGNED, -columns % ALIGNED
    made = function(pad(left, (0, deeper)), pad(right, (0, wider, 0, deeper)))
    return made[..., :columns]


def _added_product(
    function: Any, bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    simple = aten.bmm.default if function is aten.baddbmm.default else aten.mm.default
    return beta * bias + alpha * _product(simple, left, right)
