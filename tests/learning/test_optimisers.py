"""Local optimisers on the matrix of phones do what torch.optim does for one."""

from __future__ import annotations

import pytest
import torch
from learning_cases import training

STEPS = 25
CASES = {
    "sgd": (training("sgd", 0.3), lambda weights: torch.optim.SGD([weights], lr=0.3)),
    "momentum": (training("sgd", 0.3, 0.9), lambda weights: torch.optim.SGD([weights], lr=0.3, momentum=0.9)),
    "adam": (training("adam", 0.3), lambda weights: torch.optim.Adam([weights], lr=0.3)),
}


def gradients(phones: int) -> torch.Tensor:
    """`[steps, phones, 6]` of very different sizes, some of them zero."""
    random = torch.Generator().manual_seed(1)
    made = torch.randn(STEPS, phones, 6, generator=random) * 10 ** torch.arange(-6.0, 6.0, 2.0)
    return torch.where(torch.rand(made.shape, generator=random) < 0.1, 0.0, made)


@pytest.mark.parametrize("case", CASES)
def test_each_phone_steps_as_with_torch_optim(case):
    local, make = CASES[case]
    # Double precision, so that only a different formula can make a difference.
    weights = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wanted = [row.clone().requires_grad_() for row in weights]
    theirs, mine = [make(row) for row in wanted], local.optimiser(weights)
    for number, gradient in enumerate(gradients(4).double()):
        mine.step(weights, gradient.clone(), number)
        for row, optimiser, slope in zip(wanted, theirs, gradient, strict=True):
            row.grad = slope.clone()
            optimiser.step()
    torch.testing.assert_close(weights, torch.stack(wanted).detach(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_phones_that_have_finished_stand_still(case):
    local, _ = CASES[case]
    everybody, alone = torch.ones(3, 6), torch.ones(1, 6)
    together, single = local.optimiser(everybody), local.optimiser(alone)
    for number, gradient in enumerate(gradients(3)):
        active = 3 if number < 4 else 1
        if number == 4:
            stood = everybody[1:].clone()
        together.step(everybody[:active], gradient[:active].clone(), number)
        single.step(alone, gradient[:1].clone(), number)
    assert torch.equal(everybody[1:], stood)
    assert torch.equal(everybody[:1], alone)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_not_changed(case):
    local, _ = CASES[case]
    weights, gradient = torch.ones(2, 6), gradients(2)[0]
    before = gradient.clone()
    optimiser = local.optimiser(weights)
    optimiser.step(weights, gradient, 0)
    optimiser.step(weights, gradient, 1)
    assert torch.equal(gradient, before)


def test_by_hand():
    weights = torch.tensor([[1.0]])
    sgd = training("sgd", 0.5, 0.5).optimiser(weights)
    sgd.step(weights, torch.tensor([[1.0]]), 0)  # velocity 1, weight 1 - 0.5
    sgd.step(weights, torch.tensor([[1.0]]), 1)  # velocity 1.5, weight 0.5 - 0.75
    assert weights.item() == -0.25


def test_each_round_starts_anew():
    local = training("sgd", 0.5, 0.9)
    weights = torch.tensor([[0.0]])
    for _ in range(2):
        weights.zero_()
        local.optimiser(weights).step(weights, torch.tensor([[1.0]]), 0)
        assert weights.item() == -0.5
