"""From a strategy's name and knobs to the strategy, in the driver and in every actor alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedray.errors import Problem, UserMistake
from fedray.learning.names import find
from fedray.strategies.fedadam import fedadam
from fedray.strategies.fedavg import fedavg, fedavgm
from fedray.strategies.fedprox import FedProx
from fedray.strategies.scaffold import Scaffold
from fedray.strategies.sequential import Sequential
from fedray.strategies.strategy import Strategy

STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
    "fedavg": fedavg,
    "fedavgm": fedavgm,
    "fedadam": fedadam,
    "fedprox": FedProx,
    "scaffold": Scaffold,
    "sequential": Sequential,
}


def strategy(named: Any, options: Mapping[str, Any]) -> Strategy:
    """The strategy of a name, an import path, a class or an object.

    Args:
        named: As in `federation.strategy`.
        options: Arguments of its constructor; none may be given with an object that is already made.

    Raises:
        UserMistake: If nothing has that name, the constructor refuses the options, it makes no `Strategy`, or options
            are given with an object.
    """
    maker = find(named, STRATEGIES, "federation.strategy")
    if isinstance(maker, Strategy):
        if options:
            rule, mend = "a strategy that is already made takes no options", "give its class, or leave the options out"
            raise UserMistake(Problem("federation.options", str(dict(options)), rule, mend))
        return maker
    try:
        made = maker(**options)
    except TypeError as error:
        raise UserMistake(
            Problem("federation.options", str(dict(options)), f"{maker!r} does not take these", str(error))
        ) from error
    if not isinstance(made, Strategy):
        raise UserMistake(
            Problem(
                "federation.strategy",
                repr(named),
                "must make a fedray Strategy",
                "subclass fedray.Strategy and override what differs from FedAvg",
            )
        )
    return made
