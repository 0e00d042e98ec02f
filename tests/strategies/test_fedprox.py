"""FedProx's phones step along the gradient of the local loss with the proximal term, and its server is FedAvg's."""

from __future__ import annotations

import torch
from learning_cases import RAGGED, Phones, network
from strategy_cases import Federation, plain_round

from fedray.learning.models import flat_weights
from fedray.strategies.fedavg import fedavg
from fedray.strategies.fedprox import FedProx

COHORTS = ([0, 1, 3, 5, 8], [2, 4, 5, 8, 9], [5, 8])


def played(strategy, rounds=COHORTS):
    federation = Federation(strategy, network("mlp"), Phones.with_rows(RAGGED))
    return [federation.play(cohort).weights for cohort in rounds]


def test_without_a_pull_it_is_fedavg_to_the_bit():
    for mine, plain in zip(played(FedProx(proximal=0.0)), played(fedavg()), strict=True):
        assert torch.equal(mine, plain)


def test_the_correction_is_the_slope_of_the_proximal_term():
    random = torch.Generator().manual_seed(1)
    start, weights, gradients = (torch.randn(*shape, generator=random) for shape in ((5,), (3, 5), (3, 5)))
    leaf = weights.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(((leaf - start) ** 2).sum() * 0.7 / 2, leaf)
    got = FedProx(proximal=0.7).correct(gradients, weights, torch.zeros(3, 0), start, {})
    torch.testing.assert_close(got, gradients + wanted)


def test_a_round_is_plain_training_with_the_proximal_loss():
    phones, start = Phones.with_rows([20, 20]), flat_weights(network("mlp"))
    federation = Federation(FedProx(proximal=2.0), network("mlp"), phones)
    got = federation.play([0, 1]).weights
    ends = [plain_round(network("mlp"), start, phones, p, 1, lambda g, w: g + 2.0 * (w - start))[0] for p in (0, 1)]
    wanted = (ends[0] + ends[1]) / 2
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    free = Federation(fedavg(), network("mlp"), phones).play([0, 1]).weights
    assert (got - start).norm() < (free - start).norm()


def test_a_stronger_pull_keeps_phones_nearer():
    start = flat_weights(network("mlp"))
    moved = [float((played(FedProx(proximal=mu), [[8]])[0] - start).norm()) for mu in (0.0, 0.1, 1.0, 10.0)]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.5 * moved[0]
