"""A network comes of the seed alone; what fedray can't train is refused as it is built; flat weights and back."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from learning_cases import FEATURES, NETWORKS, Own, network
from torch import nn

from fedray.errors import UserMistake
from fedray.learning.models import Layout, build, flat_weights, load_weights, trainable


def built(name="mlp", *, in_features=FEATURES, hidden=(7, 5), seed=1, **arguments) -> nn.Module:
    return build(name, in_features=in_features, hidden=hidden, arguments=arguments, seed=seed)


def refused(name, **given) -> str:
    with pytest.raises(UserMistake) as refusal:
        built(name, **given)
    return str(refusal.value)


class OneRow(nn.Module):
    """Takes the rows of a batch for moments in time: a user's easiest mistake."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.cell, self.out = nn.GRU(in_features, 4), nn.Linear(4, 1)

    def forward(self, rows):
        return self.out(self.cell(rows)[0])


class TestBuild:
    @pytest.mark.parametrize("name", ["mlp", "linear", Own, "learning_cases:Own", "learning_cases:Gru"])
    def test_weights_depend_on_the_seed_alone(self, name):
        torch.manual_seed(1)
        first = flat_weights(built(name))
        torch.manual_seed(2)
        assert torch.equal(flat_weights(built(name)), first)
        assert not torch.equal(flat_weights(built(name, seed=2)), first)
        assert first.dtype == torch.float32

    def test_the_global_random_numbers_go_on_as_if_nothing_had_been(self):
        torch.manual_seed(5)
        wanted = torch.rand(3)
        torch.manual_seed(5)
        built("mlp")
        assert torch.equal(torch.rand(3), wanted)

    def test_the_notebooks_network_has_561_weights(self):
        net = built("mlp", in_features=5, hidden=(20, 20))
        assert [type(layer).__name__ for layer in net] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
        assert len(flat_weights(net)) == 561
        assert Layout.of(net).sizes == [100, 20, 400, 20, 20, 1]

    def test_linear_has_no_hidden_layers(self):
        assert Layout.of(built("linear", in_features=5)).shapes == (torch.Size([1, 5]), torch.Size([1]))

    def test_in_features_are_passed_to_who_takes_them(self):
        assert built(Own, in_features=9, width=3).given == (9, 3)
        assert built(Own, in_features=9, width=3).frozen.in_features == 9
        assert built(partial(nn.Linear, out_features=2), in_features=9).in_features == 9
        assert isinstance(built(NETWORKS["gru"]), NETWORKS["gru"]().__class__)

    def test_a_network_for_other_features_is_refused(self):
        text = refused(lambda: Own(4), in_features=9)
        assert "must map rows [rows, 9] to outputs [rows, outputs] (got Own)" in text

    def test_a_given_module_is_copied_weights_and_all(self):
        mine = network("mlp")
        before = copy.deepcopy(mine.state_dict())
        made = built(mine)
        assert torch.equal(flat_weights(made), flat_weights(mine))
        load_weights(made, torch.zeros_like(flat_weights(made)))
        assert all(torch.equal(part, before[name]) for name, part in mine.state_dict().items())

    def test_a_factory_need_not_be_hashable(self):
        @dataclass
        class Factory:
            width: int

            def __call__(self, in_features: int) -> nn.Module:
                return Own(in_features, self.width)

        assert built(Factory(3)).given == (FEATURES, 3)


class TestRefusals:
    def test_arguments_that_the_constructor_does_not_take(self):
        text = refused(Own, widht=3)
        assert "model: Own takes (in_features, width)" in text
        assert "unexpected keyword argument 'widht'" in text

    def test_an_argument_that_is_missing(self):
        text = refused(nn.Linear)
        assert "Linear takes (in_features, out_features, bias, device, dtype)" in text
        assert "missing" in text
        assert "out_features" in text

    def test_a_constructor_that_fails(self):
        text = refused(partial(Own, width="wide"))
        assert "takes (in_features, width)" in text
        assert "got {'in_features': 12}" in text

    @pytest.mark.parametrize("name", [3.14, "math:pi"])
    def test_what_makes_nothing(self, name):
        assert "must be a torch.nn.Module, its class, or a function that makes one (got 3.14" in refused(name)

    def test_what_makes_something_else(self):
        assert "must make a torch.nn.Module" in refused(dict)
        assert "it made a dict" in refused(dict)

    def test_names_and_paths_that_there_are_not(self):
        assert "did you mean mlp?" in refused("mpl")
        assert "`package.module:Name`" in refused("no_such_package:Net")
        assert "`package.module:Name`" in refused("torch.nn:NoSuchLayer")

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64])
    def test_weights_that_are_not_single_precision(self, dtype):
        text = refused(partial(nn.Linear, FEATURES, 1, dtype=dtype))
        assert "all weights must be float32" in text
        assert "got weight, bias" in text
        assert "call .float() on it" in text

    def test_nothing_to_train(self):
        assert "no trainable weights" in refused(nn.ReLU)
        assert "no trainable weights" in refused(nn.Linear(FEATURES, 1).requires_grad_(False))

    def test_weights_of_unknown_shape(self):
        assert "take `in_features` in its constructor" in refused(nn.LazyLinear, out_features=1)

    @pytest.mark.parametrize(
        "net",
        [
            OneRow(FEATURES),
            nn.Sequential(nn.TransformerEncoderLayer(FEATURES, 2, 8), nn.Linear(FEATURES, 1)),
            nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1)),
        ],
        ids=["recurrent over rows", "attention over rows", "statistics of a batch"],
    )
    def test_a_row_that_depends_on_other_rows(self, net):
        text = refused(net)
        assert "a row's output must depend on that row alone" in text
        assert "batch_first=True" in text

    def test_outputs_of_another_shape(self):
        flattened = nn.Sequential(nn.Linear(FEATURES, 1), nn.Flatten(0))
        assert "it made (3,) of 3 rows" in refused(flattened)
        assert "it made tuple of 3 rows" in refused(nn.GRU(FEATURES, 1))

    def test_dropout_and_modes_are_nobodys_business_here(self):
        made = built(nn.Sequential(nn.Linear(FEATURES, 1), nn.Dropout(0.5)))
        assert made.training
        assert made[1].training


class TestFlatWeights:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_there_and_back(self, name):
        net = network(name)
        flat = flat_weights(net)
        assert flat.tolist() == np.concatenate([w.detach().numpy().ravel() for _, w in trainable(net)]).tolist()
        named = Layout.of(net).named(flat)
        assert list(named) == [part for part, _ in trainable(net)]
        assert all(torch.equal(named[part], weights) for part, weights in trainable(net))
        other = torch.arange(len(flat), dtype=torch.float32)
        load_weights(net, other)
        assert torch.equal(flat_weights(net), other)

    def test_named_weights_are_views(self):
        layout, flat = Layout.of(network("mlp")), torch.zeros(len(flat_weights(network("mlp"))))
        layout.named(flat)["0.bias"].fill_(1)
        assert flat.sum() == 7

    def test_a_copy_is_given(self):
        net = network("linear")
        flat_weights(net).zero_()
        assert flat_weights(net).any()

    def test_shared_weights_count_once(self):
        assert len(flat_weights(network("tied"))) == FEATURES * FEATURES + 2 * FEATURES + FEATURES + 1

    def test_frozen_weights_do_not_count_and_stay(self):
        net = network("own")
        before = net.frozen.weight.clone()
        assert len(flat_weights(net)) == 7 + 6
        load_weights(net, torch.zeros(13))
        assert torch.equal(net.frozen.weight, before)

    def test_another_networks_weights_are_refused(self):
        with pytest.raises(UserMistake, match=r"model.start_from: this model has 13 \(got 12 weights\)"):
            load_weights(network("own"), torch.zeros(12))
