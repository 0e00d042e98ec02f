"""The server's step is a step of torch.optim along the negative mean update: by hand, and against the library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_cases import RAGGED, Phones, network
from strategy_cases import Federation, plain_round

from fedray.federation.state import RunState
from fedray.learning.models import flat_weights
from fedray.strategies.registry import strategy
from fedray.strategies.strategy import Cohort, Server

COHORT = Cohort(2, 4)
MEANS = [torch.tensor(values, dtype=torch.float64) for values in ([0.5, -2.0, 0.0], [1.0, 0.25, 3.0], [-0.5, 1.0, 1.0])]
START = torch.tensor([1.0, 2.0, -3.0])


def stepped(name: str, by_way_of_bytes: bool = False, **knobs) -> list[list[float]]:
    """The weights after each of three rounds."""
    server, weights = strategy(name, knobs).begin(START.clone()), []
    for number, mean in enumerate(MEANS):
        chosen = strategy(name, knobs)  # made anew each round: nothing may live in the object
        server = chosen.step(server, {"update": mean.clone()}, COHORT)
        if by_way_of_bytes:
            server = RunState.from_bytes(RunState(number + 1, server).to_bytes()).server
        weights.append(server.weights.tolist())
    return weights


def test_fedavg_adds_the_mean_update():
    assert stepped("fedavg") == [[1.5, 0, -3], [2.5, 0.25, 0], [2, 1.25, 1]]
    assert stepped("fedavg", server_learning_rate=0.5)[0] == [1.25, 1, -3]


def test_fedavgm_by_hand():
    # velocity 0.5, then 0.5 * 0.5 + 1 = 1.25, then 0.5 * 1.25 - 0.5 = 0.125, for the first weight
    weights = stepped("fedavgm", server_momentum=0.5)
    assert [values[0] for values in weights] == [1.5, 2.75, 2.875]


def test_fedadam_by_hand():
    # After one step Adam's corrected moments are the gradient and its square: w + rate * m / (|m| + tau).
    (first, _, _) = stepped("fedadam", server_learning_rate=0.1, epsilon=0.5)
    assert first == pytest.approx([1 + 0.1 * 0.5 / (0.5 + 0.5), 2 - 0.1 * 2 / 2.5, -3], rel=1e-7)


@pytest.mark.parametrize("by_way_of_bytes", [False, True])
@pytest.mark.parametrize(
    ("name", "knobs", "make"),
    [
        ("fedavg", {"server_learning_rate": 0.7}, lambda w: torch.optim.SGD(w, lr=0.7)),
        ("fedavgm", {}, lambda w: torch.optim.SGD(w, lr=1.0, momentum=0.9)),
        (
            "fedavgm",
            {"server_learning_rate": 0.3, "server_momentum": 0.5},
            lambda w: torch.optim.SGD(w, lr=0.3, momentum=0.5),
        ),
        ("fedadam", {}, lambda w: torch.optim.Adam(w, lr=0.01, betas=(0.9, 0.99), eps=1e-3)),
        (
            "fedadam",
            {"server_learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.6, "epsilon": 1e-8},
            lambda w: torch.optim.Adam(w, lr=0.1, betas=(0.5, 0.6), eps=1e-8),
        ),
    ],
)
def test_three_rounds_are_three_steps_of_torch_optim(name, knobs, make, by_way_of_bytes):
    wanted = START.double().requires_grad_()
    optimiser = make([wanted])
    for mean, got in zip(MEANS, stepped(name, by_way_of_bytes, **knobs), strict=True):
        wanted.grad = -mean
        optimiser.step()
        # Weights are rounded to float32 once a round; the optimiser here isn't.
        assert got == pytest.approx(wanted.tolist(), rel=1e-6)


def test_a_step_by_way_of_bytes_changes_no_bit():
    for name in ("fedavg", "fedavgm", "fedadam"):
        assert stepped(name, True) == stepped(name, False)


@pytest.mark.parametrize("weighting", ["samples", "equal"])
def test_fedavg_is_the_weighted_mean_of_plain_training(weighting):
    phones, net = Phones.with_rows(RAGGED), network("mlp")
    start = flat_weights(net)
    cohort = [0, 2, 4, 5, 8]
    got = Federation(strategy("fedavg", {}), net, phones, weighting).play(cohort).weights
    trained = torch.stack([plain_round(network("mlp"), start, phones, phone, 1)[0] for phone in cohort])
    weights = np.array([RAGGED[phone] if weighting == "samples" else 1 for phone in cohort])
    wanted = np.average(trained.double().numpy(), axis=0, weights=weights)
    assert np.abs(got.numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_weights_are_rounded_once():
    # 1 + 2^-24 + 2^-30 lies above the middle between two float32 numbers: rounding in two steps would lose it.
    server = Server(torch.ones(1))
    after = strategy("fedavg", {}).step(server, {"update": torch.tensor([2.0**-24 + 2.0**-30]).double()}, COHORT)
    assert after.weights.item() == 1 + 2.0**-23
