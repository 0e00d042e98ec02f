"""Networks that can't be trained so that a phone's update depends on that phone alone: refused before any work."""

from __future__ import annotations

import copy

import torch
from torch import nn

from fedray.errors import Problem, UserMistake


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


def refuse_remembering(network: nn.Module, features: int) -> None:
    """Refuse a module that training changes beyond its weights: it would remember who was trained before.

    Args:
        network: As it would be trained.
        features: How many a row has.

    Raises:
        UserMistake: For buffers that a call in training mode changes, by name, and for whatever else makes two equal
            calls differ (a counter). A module that draws random numbers draws the same for both.
    """
    tried = copy.deepcopy(network).train()
    before = {name: buffer.clone() for name, buffer in tried.named_buffers()}
    rows = torch.randn(3, features, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            first, second = (_seeded(tried, rows) for _ in range(2))
    except Exception:  # whoever trains it says what is wrong
        return
    changed = [name for name, buffer in tried.named_buffers() if not torch.equal(buffer, before[name])]
    if changed or not torch.equal(first.nan_to_num(), second.nan_to_num()):
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


def _seeded(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        outputs: torch.Tensor = network(rows)
    return outputs
