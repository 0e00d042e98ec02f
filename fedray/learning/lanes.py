"""Operations written so that phones lie along a processor's vector lanes: one instruction, many phones.

Mapped over phones, a small matrix product becomes a batch of tiny ones, for which no library is fast. Laid out with the
phones last it is multiplications and additions of whole vectors, which a compiler fuses with what stands around them.
`InLanes` is a mode in which a network is traced; `PRODUCTS` is what batched products are then replaced by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MOST_TILES = 5
"""Columns (or rows) of a product that one loop makes together: each number that is loaded is then used several times.
Measured on the standard network, phones a second and core: 1 tile 99 thousand, 4 119, 5 137, 8 (2 x 4) 124."""


def product(left: Tensor, right: Tensor) -> Tensor:
    """`torch.bmm` of `[phones, n, k]` and `[phones, k, m]`, made with the phones last."""
    left, right = left.permute(1, 2, 0), right.permute(1, 2, 0)
    (rows, inner, _), columns = left.shape, right.shape[1]
    if inner == 1:
        return (left * right).permute(2, 0, 1)
    if (tiles := _tiles(columns)) > 1:
        parts = [_multiplied(left, part) for part in right.split(columns // tiles, 1)]
        return torch.cat(parts, 1).permute(2, 0, 1)
    if (tiles := _tiles(rows)) > 1:
        return torch.cat([_multiplied(part, right) for part in left.split(rows // tiles, 0)], 0).permute(2, 0, 1)
    return _multiplied(left, right).permute(2, 0, 1)


def _multiplied(left: Tensor, right: Tensor) -> Tensor:
    """`[n, k, phones]` times `[k, m, phones]`, added up over k: `[n, m, phones]`."""
    return (left[:, :, None] * right[None]).sum(1)


def _tiles(length: int) -> int:
    return next(tiles for tiles in range(MOST_TILES, 0, -1) if length % tiles == 0)


def added_product(bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`torch.baddbmm`."""
    return beta * bias + alpha * product(left, right)


PRODUCTS: Mapping[Any, Callable[..., Tensor]] = {
    torch.ops.aten.bmm.default: product,
    torch.ops.aten.baddbmm.default: added_product,
}


def small_product(left: Tensor, right: Tensor) -> Tensor:
    """`torch.mm`, made so that the compiler fuses it with what stands around it."""
    return (left[:, :, None] * right[None]).sum(1)


def small_added_product(bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`torch.addmm`."""
    return beta * bias + alpha * small_product(left, right)


SMALL_PRODUCTS: Mapping[Any, Callable[..., Tensor]] = {
    torch.ops.aten.mm.default: small_product,
    torch.ops.aten.addmm.default: small_added_product,
}


class InLanes(TorchFunctionMode):
    """While a network is traced: convolutions and attention become products, which have a form in lanes."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function."""
        replacement = _REPLACED.get(function)
        if replacement is None:
            return function(*arguments, **(named or {}))
        return replacement(*arguments, **(named or {}))


def convolution(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv1d` as one product for each place of its kernel; others are left to torch."""
    if groups != 1 or isinstance(padding, str) or rows.ndim != 3:
        with torch._C.DisableTorchFunction():
            return torch.conv1d(rows, weight, bias, stride, padding, dilation, groups)
    step, pad, apart = (int(value[0]) if isinstance(value, list | tuple) else int(value)
                        for value in (stride, padding, dilation))  # fmt: skip
    padded = functional.pad(rows, (pad, pad)) if pad else rows
    kernel = weight.shape[2]
    length = (padded.shape[2] - apart * (kernel - 1) - 1) // step + 1
    places = [padded[:, :, apart * at : apart * at + step * (length - 1) + 1 : step] for at in range(kernel)]
    patches = torch.cat(places, 1).transpose(1, 2)  # [rows, length, kernel * channels]
    made = patches @ weight.permute(2, 1, 0).reshape(-1, weight.shape[0])
    made = made.transpose(1, 2)
    return made if bias is None else made + bias[:, None]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` spelt out."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        scores = scores + torch.full(scores.shape[-2:], -math.inf).triu(1)
    elif attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1) @ value


_REPLACED: Mapping[Any, Callable[..., Tensor]] = {
    functional.conv1d: convolution,
    torch.conv1d: convolution,
    functional.scaled_dot_product_attention: attention,
}
