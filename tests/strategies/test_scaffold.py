"""SCAFFOLD is Karimireddy et al.'s algorithm 1 with option II, and does what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_cases import FEATURES, Phones, network
from strategy_cases import LEARNING, Federation, plain_round
from torch import nn

from fedray.config import Learning
from fedray.learning.models import flat_weights
from fedray.learning.trainer import Examples
from fedray.strategies.fedavg import fedavg
from fedray.strategies.scaffold import Scaffold
from fedray.strategies.strategy import Local

SHARDS = (20, 3, 12, 7)
COHORTS = ([0, 2], [1, 3], [0, 1, 2], [3], [0, 1, 2, 3])


def skewed(shards=SHARDS) -> Phones:
    """Phones that differ: each has its own mean of features and targets."""
    phones = Phones.with_rows(shards)
    features, targets = phones.examples.features.clone(), phones.examples.targets.clone()
    for phone in range(len(shards)):
        features[phones.of(phone)] += 0.5 * phone
        targets[phones.of(phone)] -= 1.5 * phone
    return Phones(phones.offsets, Examples(features, targets))


def plain_scaffold(net: nn.Module, phones: Phones, cohorts, rate: float) -> list[torch.Tensor]:
    """Algorithm 1, option II, line by line; all phones of a cohort count the same."""
    x = flat_weights(net).double()
    count = len(phones.rows)
    c, controls = torch.zeros_like(x), [torch.zeros_like(x) for _ in range(count)]
    history = []
    for number, cohort in enumerate(cohorts, start=1):
        moved, changed = [], []
        for i in cohort:
            # line 10: y_i <- y_i - eta_l (g_i(y_i) - c_i + c)
            own = controls[i]
            y, steps = plain_round(net.double(), x, phones.double(), i, number, lambda g, w, o=own, c=c: g - o + c)
            # line 12, option II: c_i+ <- c_i - c + (x - y_i) / (K eta_l)
            new = own - c + (x - y) / (steps * LEARNING.learning_rate)
            moved.append(y - x)
            changed.append(new - own)
            controls[i] = new
        # lines 16 and 17
        x = x + rate * torch.stack(moved).mean(0)
        c = c + len(cohort) / count * torch.stack(changed).mean(0)
        history.append(x)
    return history


@pytest.mark.parametrize("rate", [1.0, 0.6])
def test_it_is_the_papers_algorithm(rate):
    federation = Federation(Scaffold(rate), network("mlp"), skewed(), "equal")
    wanted = plain_scaffold(network("mlp"), skewed(), COHORTS, rate)
    for cohort, weights in zip(COHORTS, wanted, strict=True):
        got = federation.play(cohort).weights
        assert (got - weights).abs().max() <= 1e-5 * weights.abs().max()


@pytest.mark.parametrize("shards", [SHARDS[:1], SHARDS])
def test_before_there_are_controls_it_is_fedavg(shards):
    everybody = range(len(shards))
    first = [Federation(s, network("mlp"), skewed(shards)).play(everybody).weights for s in (Scaffold(), fedavg())]
    assert torch.equal(*first)


def test_alone_it_is_fedavg_for_ever():
    # With one phone c_i = c, and the correction is nothing but rounding.
    mine, plain = (Federation(s, network("mlp"), skewed(SHARDS[:1])) for s in (Scaffold(), fedavg()))
    for _ in range(4):
        got, wanted = mine.play([0]).weights, plain.play([0]).weights
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_servers_control_is_the_mean_of_all_phones_controls():
    federation = Federation(Scaffold(), network("mlp"), skewed())
    for cohort in COHORTS * 4:
        control = federation.play(cohort).tensors["control"]
        mean = federation.memory.double().mean(0)
        # Phones keep float32, the server float64: each round leaves half a unit in the last place a phone.
        assert (control - mean).abs().max() <= 1e-6 * mean.abs().max()
    assert control.dtype == torch.float64


def test_who_is_not_in_the_cohort_keeps_its_control():
    federation = Federation(Scaffold(), network("mlp"), skewed())
    federation.play([0, 1, 2, 3])
    before = federation.memory.clone()
    federation.play([0, 2])
    assert torch.equal(federation.memory[[1, 3]], before[[1, 3]])
    assert not torch.equal(federation.memory[[0, 2]], before[[0, 2]])


def test_controls_by_hand():
    local = Local(
        updates=torch.tensor([[-0.6], [0.3], [0.0]]),
        steps=torch.tensor([3, 1, 0]),
        memory=torch.tensor([[1.0], [2.0], [5.0]]),
        broadcast={"control": torch.tensor([0.5])},
        learning_rate=0.1,
    )
    sent = Scaffold().send(local)
    # c_i - c + (x - y) / (K eta): 1 - .5 + .6 / .3; 2 - .5 - .3 / .1; and no step, no change
    torch.testing.assert_close(sent.memory, torch.tensor([[2.5], [-1.5], [5.0]]))
    torch.testing.assert_close(sent.sums["control"], torch.tensor([[1.5], [-3.5], [0.0]]))
    assert torch.equal(sent.sums["update"], local.updates)


def test_with_drifting_phones_it_ends_nearer_to_the_optimum_than_fedavg():
    # Quadratic losses of different curvature: where phones take many steps, FedAvg's fixed point is not the optimum.
    random = np.random.default_rng(4)
    count, rows = 6, 20
    scale = 10 ** random.uniform(-0.7, 0.15, (count, 1, FEATURES))
    features = random.normal(size=(count, rows, FEATURES)) * scale
    targets = np.einsum("prf,pf->pr", features, random.normal(size=(count, FEATURES)) * 2)
    rows_of_all = np.append(features.reshape(-1, FEATURES), np.zeros((1, FEATURES)), axis=0).astype(np.float32)
    targets_of_all = np.append(targets.ravel(), 0).astype(np.float32)
    examples = Examples(torch.from_numpy(rows_of_all), torch.from_numpy(targets_of_all))
    phones = Phones(np.arange(count + 1) * rows, examples)
    design = np.c_[rows_of_all[:-1], np.ones(count * rows)].astype(np.float64)
    optimum = np.linalg.lstsq(design, targets.ravel(), rcond=None)[0]
    # Whole shards as batches: no noise but that between phones.
    learning = Learning(local_epochs=20, batch_size=rows, learning_rate=0.03)
    distance = {}
    for name, strategy in (("scaffold", Scaffold()), ("fedavg", fedavg())):
        federation = Federation(strategy, network("linear"), phones, learning=learning)
        for _ in range(80):
            weights = federation.play(range(count)).weights
        distance[name] = float(np.linalg.norm(weights.numpy() - optimum))
    assert distance["fedavg"] > 0.1 * np.linalg.norm(optimum)
    assert distance["scaffold"] < 0.2 * distance["fedavg"]
