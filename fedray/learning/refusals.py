"""Networks that can't be trained so that a phone's update depends on that phone alone: refused before any work."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from fedray.errors import Problem, UserMistake
from fedray.learning.threads import one_thread


def refuse_unmappable(network: nn.Module, looped: bool = False) -> None:
    """Refuse, by name, modules that can't train many phones at once.

    Args:
        network: As it would be trained.
        looped: Phones train one by one, so modules may draw random numbers.

    Raises:
        UserMistake: For Dropout and its like (with the mend `trainer: loop`) and for batch normalisation.
    """
    problems = []
    for name, module in network.named_modules():
        kind = type(module).__name__
        drop = getattr(module, "p", None) if "Dropout" in kind else getattr(module, "dropout", None)
        if isinstance(drop, int | float) and drop > 0 and not looped:
            problems.append(
                Problem(
                    place="model",
                    value=f"{kind} at {name or 'the top'}, probability {drop:g}",
                    allowed="trainer: vectorised takes no module that draws random numbers",
                    mend="set learning.trainer: loop, or take dropout out (probability 0)",
                )
            )
        elif _is_batch_norm(module):
            problems.append(
                Problem(
                    place="model",
                    value=f"{kind} at {name or 'the top'}",
                    allowed="a module must not change buffers in training, nor mix the rows of a batch: "
                    "a phone's update would depend on order and padding",
                    mend="use GroupNorm or LayerNorm",
                )
            )
    if problems:
        raise UserMistake(problems)


def _is_batch_norm(module: nn.Module) -> bool:
    """Batch normalisation, with or without running statistics, or another normalisation that keeps them."""
    norms = nn.modules.batchnorm
    return isinstance(module, norms._BatchNorm) or (isinstance(module, norms._NormBase) and module.track_running_stats)


@one_thread()
def refuse_remembering(network: nn.Module, features: int) -> None:
    """Refuse a module that training changes beyond its weights: it would remember who was trained before.

    A buffer that the first call fills for good, whatever it is given (a table of angles), remembers nobody.

    Args:
        network: As it would be trained.
        features: How many a row has.

    Raises:
        UserMistake: For buffers that depend on calls in training mode, by name, and for whatever else makes two equal
            calls differ (a counter). A module that draws random numbers draws the same for both.
    """
    tried, other = (copy.deepcopy(network).train() for _ in range(2))
    rows, others = torch.randn(2, 3, features, generator=torch.Generator().manual_seed(0))
    try:
        first = _leaves(_seeded(tried, rows))
        once = _buffers(tried)
        second = _leaves(_seeded(tried, rows))
        _seeded(other, others)
    except Exception:  # whoever trains it says what is wrong
        return
    twice, elsewhere = _buffers(tried), _buffers(other)
    changed = [name for name in twice if not (_same(once, twice, name) and _same(elsewhere, twice, name))]
    if changed or not all(map(_equal, first, second)):
        kind = type(network).__name__
        raise UserMistake(
            Problem(
                place="model",
                value=f"{kind}, buffer {', '.join(changed)}" if changed else kind,
                allowed="a module must not change in training but for its weights: a phone's update would depend on "
                "who was trained before",
                mend="take out what counts calls or keeps running values",
            )
        )


def _seeded(network: nn.Module, rows: torch.Tensor) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return network(rows)


def _leaves(outputs: Any) -> list[torch.Tensor]:
    """The tensors in what a module returns in training, which may be several."""
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _buffers(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def _same(some: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor], name: str) -> bool:
    return name in some and name in others and _equal(some[name], others[name])


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one.nan_to_num(), other.nan_to_num()))
