"""From a name, a path, a class or an object to a strategy; what is none is refused with the mend."""

from __future__ import annotations

import pytest

from fedray.config.strategies import STRATEGIES as KNOWN_TO_THE_EXPERIMENT
from fedray.config.strategies import FedAdam, FedAvg, FedAvgM, Scaffold, Sequential
from fedray.config.strategies import FedProx as FedProxKnobs
from fedray.errors import UserMistake
from fedray.strategies.fedprox import FedProx
from fedray.strategies.registry import STRATEGIES, strategy
from fedray.strategies.strategy import Strategy


class Own(Strategy):
    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength


def refused(named, **options) -> str:
    with pytest.raises(UserMistake) as refusal:
        strategy(named, options)
    return str(refusal.value)


def test_the_experiment_knows_the_same_names():
    assert tuple(STRATEGIES) == KNOWN_TO_THE_EXPERIMENT


@pytest.mark.parametrize("knobs", [FedAvg, FedAvgM, FedAdam, FedProxKnobs, Scaffold, Sequential])
def test_every_strategy_takes_the_knobs_that_the_experiment_gives_it(knobs):
    name = next(name for name in STRATEGIES if knobs.__name__.lower() == name)
    assert isinstance(strategy(name, knobs(strategy=name).own_knobs()), Strategy)


def test_what_a_strategy_may_be_given_as():
    assert strategy("fedprox", {"proximal": 0.5}).proximal == 0.5
    assert isinstance(strategy("fedray.strategies.fedprox:FedProx", {"proximal": 0.5}), FedProx)
    assert strategy(Own, {"strength": 3.0}).strength == 3
    made = Own()
    assert strategy(made, {}) is made


def test_what_strategies_declare():
    made = {name: strategy(name, {}) for name in STRATEGIES}
    declared = {name: (each.memory, each.hops, each.corrects) for name, each in made.items()}
    assert declared == {
        "fedavg": (0, False, False),
        "fedavgm": (0, False, False),
        "fedadam": (0, False, False),
        "fedprox": (0, False, True),
        "scaffold": (1, False, True),
        "sequential": (0, True, False),
    }


def test_wrong_names_options_and_things():
    assert "did you mean fedavg?" in refused("fedagv")
    assert "got an unexpected keyword argument 'mu'" in refused("fedprox", mu=0.1)
    assert "federation.options" in refused("fedprox", mu=0.1)
    assert "must make a fedray Strategy" in refused(dict)
    assert "subclass fedray.Strategy" in refused(dict)
    assert "a strategy that is already made takes no options (got {'strength': 2})" in refused(Own(), strength=2)
