"""Layers that are recorded as the products and sums that they are made of, for which `lanes` has rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SpeltOut(TorchFunctionMode):
    """While a phone is recorded: convolutions and layer normalisation as products and sums."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function."""
        return _REPLACED.get(function, function)(*arguments, **(named or {}))


def convolution(
    input: Tensor,  # noqa: A002 - torch's name, by which it may be given
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv1d` as one product with the rows under its kernel; others are left to torch."""
    if groups != 1 or isinstance(padding, str) or input.ndim != 3:
        with torch._C.DisableTorchFunction():
            return torch.conv1d(input, weight, bias, stride, padding, dilation, groups)
    step, pad, apart = (
        int(each[0]) if isinstance(each, list | tuple) else int(each) for each in (stride, padding, dilation)
    )
    padded = functional.pad(input, (pad, pad)) if pad else input
    kernel = weight.shape[2]
    length = (padded.shape[2] - apart * (kernel - 1) - 1) // step + 1
    places = [padded[:, :, apart * at : apart * at + step * (length - 1) + 1 : step] for at in range(kernel)]
    patches = torch.cat(places, 1).transpose(1, 2).reshape(-1, kernel * input.shape[1])
    made = patches @ weight.permute(2, 1, 0).reshape(-1, weight.shape[0])
    made = made.view(len(input), length, -1).transpose(1, 2)
    return made if bias is None else made + bias[:, None]


def layer_norm(
    input: Tensor,  # noqa: A002 - torch's name, by which it may be given
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.layer_norm` spelt out."""
    axes = list(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    made = centred * ((centred * centred).mean(axes, keepdim=True) + eps).rsqrt()
    made = made if weight is None else made * weight
    return made if bias is None else made + bias


_REPLACED: Mapping[Any, Callable[..., Tensor]] = {
    functional.conv1d: convolution,
    torch.conv1d: convolution,
    functional.layer_norm: layer_norm,
    torch.layer_norm: layer_norm,
}
