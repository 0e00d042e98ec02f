"""A recorded local round is the local round: any network, loss, optimiser and strategy, run as it was recorded.

The recordings are run by torch itself here, without a compiler; tests/fleet/test_compiling.py runs machine code.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from learning_cases import FEATURES, NETWORKS, RAGGED, Phones, network, training

from fedray.learning import task, tracing
from fedray.learning.block import VectorisedTrainer
from fedray.learning.compiled import CompiledRound
from fedray.learning.loop import LoopTrainer
from fedray.learning.models import flat_weights
from fedray.learning.program import Program
from fedray.learning.visiting import CompiledVisits

EXPONENT = 40
OPTIMISERS = {
    "sgd": training("sgd", 0.05),
    "momentum": training("sgd", 0.05, 0.9),
    "adam": training("adam", 0.01),
}


def run(graph):
    """A graph as torch runs it, operation by operation."""
    module = torch.export.load(io.BytesIO(graph.exported)).module()
    return lambda given: module(*given)


def round_of(program: Program, local=OPTIMISERS["sgd"]) -> CompiledRound:
    return CompiledRound(program, run(program.step), run(program.finish), local, EXPONENT)


def visits_of(program, local=OPTIMISERS["sgd"]) -> CompiledVisits:
    return CompiledVisits(program, run(program.step), local)


def recorded(net, loss=task.mse, local=OPTIMISERS["sgd"], correct=None, send=None, memory=0, extra=()) -> Program:
    def plain(updates, steps, memory, extra):
        return {"update": updates}, memory

    return tracing.record(tracing.Round(net, loss, local, FEATURES, memory, extra, correct, send or plain))


class Held:
    """Ragged phones in a block that is padded with empty ones."""

    def __init__(self, width: int) -> None:
        self.phones = Phones.with_rows([*RAGGED, *[0] * (width - len(RAGGED))])
        self.width = width

    def finished(self, of: CompiledRound, start, *, weight=None, memory=0, extra=None):
        made = self.phones.batches(range(self.width))
        real = made.phones < len(RAGGED)
        weights = np.where(real, self.phones.rows[made.phones] if weight is None else weight, 0)
        own = torch.zeros(self.width, memory * len(start))
        return of.train(of.begin(start, extra or {}), self.phones.examples, made, real, weights, own), made


def updates(done, made, start) -> torch.Tensor:
    """In order of phone, `[phones, D]`."""
    trained = done.weights.transpose(1, 2).flatten(0, 1) - start
    return trained[torch.from_numpy(np.argsort(made.phones))][: len(RAGGED)]


def wanted(net, loss, local, correct=None) -> torch.Tensor:
    """Each phone's update by the plain loop."""
    phones = Phones.with_rows(RAGGED)
    made = phones.batches(range(len(RAGGED)))
    done = LoopTrainer(net, loss, local).train(
        flat_weights(net), phones.examples, made, correct, torch.zeros(len(RAGGED), len(flat_weights(net)))
    )
    return done.updates[torch.from_numpy(np.argsort(made.phones))]


def assert_equal(got: torch.Tensor, plain: torch.Tensor) -> None:
    apart = (got - plain).norm(dim=1)
    assert (apart <= 1e-5 * plain.norm(dim=1).clamp(min=1e-2)).all(), apart / plain.norm(dim=1)


SLOW_TO_RECORD = ("gru", "attention", "tied", "linear")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW_TO_RECORD else ()) for name in NETWORKS]
)
def test_every_network_trains_as_by_the_plain_loop(name):
    net = network(name)
    program = recorded(net)
    of = round_of(program)
    start = flat_weights(net)
    done, made = Held(program.width).finished(of, start)
    assert_equal(updates(done, made, start), wanted(net, task.mse, OPTIMISERS["sgd"]))


@pytest.mark.parametrize(
    ("loss", "local"),
    [
        pytest.param(task.mae, "momentum", marks=pytest.mark.slow),
        (task.mse_broadcast, "sgd"),
        pytest.param(task.bce, "adam", marks=pytest.mark.slow),
    ],
)
def test_every_loss_and_optimiser(loss, local):
    net, knobs = network("mlp"), OPTIMISERS[local]
    program = recorded(net, loss, knobs)
    start = flat_weights(net)
    done, made = Held(program.width).finished(round_of(program, knobs), start)
    assert_equal(updates(done, made, start), wanted(net, loss, knobs))


@pytest.mark.slow
def test_the_optimisers_rate_is_given_and_not_recorded():
    net = network("mlp")
    slow, fast = recorded(net, local=training("sgd", 0.01)), recorded(net, local=training("sgd", 0.5))
    assert slow.step.key == fast.step.key
    assert slow.finish.key == fast.finish.key


@pytest.mark.slow
def test_what_changes_the_computation_changes_the_key():
    base = recorded(network("mlp"))
    others = [recorded(network("mlp"), task.mae), recorded(network("mlp"), local=OPTIMISERS["adam"])]
    assert len({base.step.key, *(other.step.key for other in others)}) == 3
    frozen, other = network("own"), network("own")
    with torch.no_grad():
        other.frozen.weight.add_(1.0)
    assert recorded(frozen).step.key != recorded(other).step.key


@pytest.mark.slow
def test_a_correction_sees_memory_start_and_what_was_broadcast():
    net = network("mlp")
    pull = torch.linspace(-1, 1, len(flat_weights(net)))

    def correct(gradients, weights, memory, start, extra):
        return gradients + 0.1 * (weights - start) - memory + extra["pull"]

    def send(updates, steps, memory, extra):
        return {"update": updates, "steps": steps[:, None] * torch.ones_like(updates)}, memory + updates

    program = recorded(net, correct=correct, send=send, memory=1, extra=("pull",))
    assert program.sums == ("update", "steps")
    start, held = flat_weights(net), Held(program.width)
    of = round_of(program)
    done, made = held.finished(of, start, memory=1, extra={"pull": pull})
    plain = wanted(
        net, task.mse, OPTIMISERS["sgd"], lambda gradients, weights, memory: gradients + 0.1 * (weights - start) + pull
    )
    assert_equal(updates(done, made, start), plain)
    steps = np.ceil(np.array(RAGGED) / 5) * 2
    assert (done.sums["steps"] == int(steps.sum()) << EXPONENT).all()
    assert_equal(done.memory[torch.from_numpy(np.argsort(made.phones))][: len(RAGGED)], plain)


@pytest.mark.slow
def test_sums_are_whole_units_of_each_phones_own_update():
    net = network("mlp")
    program = recorded(net)
    start = flat_weights(net)
    done, made = Held(program.width).finished(round_of(program), start)
    alone = updates(done, made, start).double().numpy()
    units = np.rint(alone * np.array(RAGGED)[:, None] * 2.0**EXPONENT).astype(np.int64)
    assert np.array_equal(done.sums["update"], units.sum(0))
    assert done.keep.sum() == len(RAGGED)


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_a_phone_that_diverges_is_not_kept_and_changes_nobody(value):
    net = network("mlp")
    program = recorded(net)
    start, spoilt = flat_weights(net), 9
    of = round_of(program)
    held = Held(program.width)
    well, made = held.finished(of, start)
    held.phones = held.phones.spoilt(spoilt, value)
    ill, _ = held.finished(of, start)
    place = int(np.flatnonzero(made.phones == spoilt)[0])
    assert not ill.keep[place]
    assert np.array_equal(np.delete(ill.keep, place), np.delete(well.keep, place))
    one = updates(well, made, start)[spoilt].double().numpy()
    units = np.rint(one * RAGGED[spoilt] * 2.0**EXPONENT).astype(np.int64)
    assert np.array_equal(ill.sums["update"], well.sums["update"] - units)


@pytest.mark.parametrize(
    ("name", "local"), [("mlp", "sgd"), ("mlp", "adam"), pytest.param("gru", "momentum", marks=pytest.mark.slow)]
)
def test_visits_one_after_another(name, local):
    net, knobs = network(name), OPTIMISERS[local]
    program = tracing.record_visits(net, task.mse, knobs, FEATURES)
    phones = Phones.with_rows(RAGGED)
    order = [4, 9, 1, 5]
    done = visits_of(program, knobs).visit(flat_weights(net), phones.examples, phones.batches(order))
    weights = flat_weights(net)
    for phone in order:
        made = phones.batches([phone])
        weights = weights + LoopTrainer(net, task.mse, knobs).train(weights, phones.examples, made).updates[0]
    moved = (weights - flat_weights(net)).norm()
    assert (done.weights - weights).norm() <= 1e-5 * moved
    assert done.keep.all()


def test_a_visit_that_diverges_leaves_the_model_as_it_came():
    net = network("mlp")
    program = tracing.record_visits(net, task.mse, OPTIMISERS["sgd"], FEATURES)
    of = visits_of(program)
    phones = Phones.with_rows(RAGGED)
    ill = phones.spoilt(9, float("inf"))
    with_it = of.visit(flat_weights(net), ill.examples, ill.batches([4, 9, 5]))
    without = of.visit(flat_weights(net), phones.examples, phones.batches([4, 5]))
    assert torch.equal(with_it.weights, without.weights)
    assert with_it.keep.sum() == 2


def test_dropout_cannot_be_recorded_and_eager_says_so_first():
    with pytest.raises(Exception, match="trainer: loop"):
        VectorisedTrainer(torch.nn.Sequential(torch.nn.Dropout(0.5), network("mlp")), task.mse, training(), FEATURES)


class Directions(torch.nn.Module):
    """Makes NaN of a row of zeros."""

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(FEATURES, 1)

    def forward(self, rows):
        return self.out(rows / rows.norm(dim=1, keepdim=True))


def test_a_phone_that_is_done_early_is_not_lost_to_the_zeros_behind_its_rows():
    net = Directions()
    program = recorded(net)
    start = flat_weights(net)
    done, made = Held(program.width).finished(round_of(program), start)
    assert done.keep.sum() == len(RAGGED)
    assert_equal(updates(done, made, start), wanted(net, task.mse, OPTIMISERS["sgd"]))
