"""What every strategy promises: pure functions of tensors, whose state goes to bytes and back."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch

from fedray.federation.state import RunState
from fedray.strategies.registry import STRATEGIES, strategy
from fedray.strategies.strategy import Cohort, Local, Sent, Server, Strategy

WEIGHTS = 6
PHONES = 4


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=STRATEGIES)
def chosen(request) -> Strategy:
    return strategy(request.param, {})


def local(chosen: Strategy, server: Server, seed: int = 1) -> Local:
    return Local(
        updates=numbers(PHONES, WEIGHTS, seed=seed),
        steps=torch.tensor([3, 1, 2, 0]),
        memory=numbers(PHONES, chosen.memory * WEIGHTS, seed=seed + 1),
        broadcast=chosen.broadcast(server),
        learning_rate=0.1,
    )


def means(sent: Sent) -> dict[str, torch.Tensor]:
    return {name: matrix.double().mean(0) for name, matrix in sent.sums.items()}


def played(chosen: Strategy, server: Server, rounds: range) -> Server:
    for number in rounds:
        sent = chosen.send(local(chosen, server, seed=number))
        server = chosen.step(server, means(sent), Cohort(PHONES, 10))
    return server


def frozen(*things) -> list:
    """A deep copy of all tensors, for comparing afterwards."""
    return copy.deepcopy(things)


def equal(left, right) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if hasattr(left, "__dataclass_fields__"):
        return all(equal(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    return left == right


def test_shapes_and_types(chosen):
    server = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    assert server.weights.shape == (WEIGHTS,)
    assert server.weights.dtype == torch.float32
    assert all(isinstance(tensor, torch.Tensor) for tensor in server.tensors.values())
    for name, tensor in chosen.broadcast(server).items():
        assert name != "weights"
        assert (tensor.shape, tensor.dtype) == ((WEIGHTS,), torch.float32)
    sent = chosen.send(local(chosen, server))
    assert "update" in sent.sums
    assert {matrix.shape for matrix in sent.sums.values()} == {(PHONES, WEIGHTS)}
    assert sent.memory.shape == (PHONES, chosen.memory * WEIGHTS)
    assert {matrix.dtype for matrix in (*sent.sums.values(), sent.memory)} == {torch.float32}


def test_nothing_that_is_given_is_changed(chosen):
    server = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    here = local(chosen, server)
    given = (server, here, means(chosen.send(here)))
    before = frozen(*given)
    chosen.correct(here.updates, here.updates, here.memory, server.weights, here.broadcast)
    chosen.send(here)
    chosen.broadcast(server)
    chosen.begin(server.weights)
    chosen.step(server, given[2], Cohort(PHONES, 10))
    assert equal(list(given), list(before))


def test_what_comes_back_shares_no_memory_with_the_state_before(chosen):
    server = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    before = frozen(server)[0]
    after = chosen.step(server, means(chosen.send(local(chosen, server))), Cohort(PHONES, 10))
    for tensor in (after.weights, *after.tensors.values()):
        tensor.fill_(7)
    assert equal(server, before)


def test_the_same_again_gives_the_same_bits(chosen):
    first, second = (played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 5)) for _ in range(2))
    assert equal(first, second)
    assert not torch.equal(first.weights, numbers(WEIGHTS))


def test_rounds_by_way_of_bytes_give_the_same_bits(chosen):
    without = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 5))
    half = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    back = RunState.from_bytes(RunState(2, half).to_bytes()).server
    assert equal(back, half)
    assert equal(played(chosen, back, range(3, 5)), without)


def test_a_phones_message_knows_nothing_of_the_others(chosen):
    server = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    whole = local(chosen, server)
    sent = chosen.send(whole)
    slopes = chosen.correct(whole.updates, whole.updates, whole.memory, server.weights, whole.broadcast)
    for phone in range(PHONES):
        one = slice(phone, phone + 1)
        mine = Local(whole.updates[one], whole.steps[one], whole.memory[one], whole.broadcast, whole.learning_rate)
        alone = chosen.send(mine)
        assert all(torch.equal(matrix, sent.sums[name][one]) for name, matrix in alone.sums.items())
        assert torch.equal(alone.memory, sent.memory[one])
        mine_only = chosen.correct(mine.updates, mine.updates, mine.memory, server.weights, whole.broadcast)
        assert torch.equal(mine_only, slopes[one])


def test_who_took_no_step_sends_nothing_and_keeps_what_it_had(chosen):
    server = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    idle = local(chosen, server)
    idle.updates[3] = 0
    sent = chosen.send(idle)
    assert not any(matrix[3].any() for matrix in sent.sums.values())
    assert torch.equal(sent.memory[3], idle.memory[3])


def test_a_correction_is_declared(chosen):
    server = played(chosen, chosen.begin(numbers(WEIGHTS)), range(1, 3))
    here = local(chosen, server)
    corrected = chosen.correct(here.updates, here.updates, here.memory, server.weights, here.broadcast)
    assert chosen.corrects or torch.equal(corrected, here.updates)
