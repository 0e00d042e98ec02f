"""The plain loop also takes modules that draw random numbers: by the phone's address, and touching nobody's."""

from __future__ import annotations

import pytest
import torch
from learning_cases import FEATURES, RAGGED, Attention, Phones, network, trained, training
from torch import nn

from fedray.learning.loop import LoopTrainer
from fedray.learning.task import mse

EVERYBODY = range(len(RAGGED))


@pytest.fixture
def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))


def test_dropout_is_drawn_by_the_phones_address(dropping):
    phones, trainer = Phones.with_rows(RAGGED), LoopTrainer(dropping, mse, training())
    whole = trained(trainer, dropping, phones, EVERYBODY).updates
    torch.manual_seed(99)
    backwards = trained(LoopTrainer(dropping, mse, training()), dropping, phones, list(EVERYBODY)[::-1]).updates
    assert torch.equal(backwards.flip(0), whole)
    for phone in EVERYBODY:
        assert torch.equal(trained(trainer, dropping, phones, [phone]).updates[0], whole[phone])


def test_dropout_differs_by_phone_and_by_round(dropping):
    # Two phones with the same single row: whatever differs is the draw.
    phones = Phones.with_rows([1] * 20).spoilt(0, 1.0)
    for phone in range(1, 20):
        phones = phones.spoilt(phone, 1.0)
    trainer = LoopTrainer(dropping, mse, training())
    first, second = (trained(trainer, dropping, phones, range(20), round_number=number).updates for number in (1, 2))
    assert len(first.unique(dim=0)) == 20
    assert not (first == second).all(dim=1).any()


def test_dropout_differs_by_step(dropping):
    phones = Phones.with_rows([1]).spoilt(0, 1.0)
    losses = []
    trainer = LoopTrainer(dropping, mse, training(learning_rate=1e-30), on_batch=lambda *heard: losses.append(heard))
    trained(trainer, dropping, phones, [0], epochs=10)
    assert [(phone, step) for phone, step, _ in losses] == [(0, step) for step in range(10)]
    assert len({loss for _, _, loss in losses}) > 5


def test_the_global_random_numbers_go_on_as_if_nothing_had_been(dropping):
    phones, trainer = Phones.with_rows(RAGGED), LoopTrainer(dropping, mse, training())
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trained(trainer, dropping, phones, EVERYBODY)
    assert torch.equal(torch.rand(3), wanted)


def test_the_global_random_numbers_go_on_after_an_error_too(dropping):
    def fail(outputs, targets, mask):
        raise ArithmeticError("no loss today")

    phones, trainer = Phones.with_rows(RAGGED), LoopTrainer(dropping, fail, training())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(ArithmeticError):
        trained(trainer, dropping, phones, EVERYBODY)
    assert torch.equal(torch.get_rng_state(), before)


def test_attention_with_dropout_trains():
    net = Attention(dropout=0.2)
    phones = Phones.with_rows(RAGGED)
    one, other = (trained(LoopTrainer(net, mse, training()), net, phones, EVERYBODY).updates for _ in range(2))
    assert torch.equal(one, other)
    assert one.isfinite().all()
    assert [bool(update.any()) for update in one] == [rows > 0 for rows in RAGGED]


def test_every_batch_is_told_with_its_loss_and_no_padding():
    net, heard = network("mlp"), []
    phones = Phones.with_rows(RAGGED)
    sizes = []

    def loss(outputs, targets, mask):
        sizes.append(len(outputs))
        assert mask.all()
        return mse(outputs, targets, mask)

    made = phones.batches(EVERYBODY)
    trainer = LoopTrainer(net, loss, training(), on_batch=lambda *told: heard.append(told))
    result = trainer.train(torch.cat([w.detach().flatten() for w in net.parameters()]), phones.examples, made)
    assert [told[:2] for told in heard] == [
        (phone, step) for phone, steps in enumerate(made.steps) for step in range(steps)
    ]
    assert sum(sizes) == 2 * sum(RAGGED)
    total = sum(told[2] * size for told, size in zip(heard, sizes, strict=True))
    assert result.losses.sum() == pytest.approx(total, rel=1e-12)
