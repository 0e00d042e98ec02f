"""What a round may cost is counted, not timed: orders to actors, bytes to the driver, Python calls a phone."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from small_fleets import experiment, fleet_of, trained

from fedray.config import Learning, OutbreakData
from fedray.config.strategies import FedAvg
from fedray.data.shards import prepare, reader_of
from fedray.fleet.held import held
from fedray.fleet.local_round import Broadcast, LocalRound
from fedray.fleet.rows import RowSource
from fedray.learning import task
from fedray.learning.models import flat_weights, mlp
from fedray.learning.standardise import Scaling
from fedray.strategies.registry import strategy

FEATURES = ("infected", "temperature")


@pytest.fixture(scope="module")
def outbreaks(tmp_path_factory):
    """By number of phones."""
    home = tmp_path_factory.mktemp("counts")
    return {
        phones: prepare(OutbreakData(people=3000, days=10, phones=phones), 1, home) for phones in (40, 400, 512, 2560)
    }


def counted(dataset, phones_per_actor: int, folder: Path, **knobs):
    """Orders that were sent and bytes that came back, in one round."""
    orders, sizes = [], []
    with fleet_of(dataset, phones_per_actor) as fleet:
        send = fleet.engine.send

        def heard(actor, order, shared):
            if order.round == 1 and type(order.work).__name__ == "Train":
                orders.append(len(pickle.dumps(order)))
            send(actor, order, shared)

        fleet.engine.send = heard

        def tapped(answer):
            if answer.round == 1 and "weight" in answer.sums:
                sizes.append(len(pickle.dumps(answer)))

        fleet.taps.append(tapped)
        trained(fleet, experiment(**knobs), folder, rounds=1)
    return orders, sizes


@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_orders_and_bytes_grow_with_actors_and_not_with_phones(outbreaks, tmp_path, participation):
    knobs = {"federation__participation": participation}
    few, many = (counted(outbreaks[phones], phones // 4, tmp_path / str(phones), **knobs) for phones in (40, 400))
    assert len(few[0]) == len(few[1]) == len(many[0]) == len(many[1]) == 4  # one order and one report an actor
    assert max(many[0]) - max(few[0]) <= 8  # the rule, and no list of ids: only a longer number
    assert max(many[1]) - max(few[1]) <= 8


def calls_of(work) -> int:
    """Python functions of fedray's that it calls."""
    found = 0

    def heard(frame, event, _argument):
        nonlocal found
        found += event == "call" and "fedray" in frame.f_code.co_filename

    sys.setprofile(heard)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def test_no_python_call_a_phone(outbreaks):
    """Reading and training five times as many phones takes more blocks, and no call for each phone."""
    net = mlp(len(FEATURES), (4,))
    learning = Learning(local_epochs=1, batch_size=5, learning_rate=0.1)

    def work(dataset):
        ids = torch.arange(dataset.phones).numpy()
        source = RowSource(dataset, reader_of(dataset), FEATURES, task.target("log10_infected"), None)
        rows = held("resident", source, Scaling.none(len(FEATURES)), ids, "cpu", Path())
        chosen = strategy("fedavg", {})
        local = LocalRound(net, len(FEATURES), task.mse, learning, FedAvg(), chosen, 1, dataset.phones * 10)
        for shard in rows.shards("train", ids):
            local.train(shard, ids, Broadcast(1, flat_weights(net), {}), torch.zeros(len(ids), 0))

    few, many = (calls_of(lambda phones=phones: work(outbreaks[phones])) for phones in (512, 2560))
    assert (many - few) / (2560 - 512) < 0.5
