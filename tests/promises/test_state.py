"""State: rounds 1-2, to bytes and back, then rounds 3-4 end with the same bits as rounds 1-4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_fleets import STRATEGIES, experiment, fleet_of, trained

from fedray.data.shards import Dataset
from fedray.errors import UserMistake
from fedray.federation.state import RunState
from fedray.strategies.strategy import Server


@pytest.mark.parametrize("knobs", [{}, {"learning__optimizer": "adam", "learning__learning_rate": 0.01}], ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_rounds_and_two_more_are_four(
    strategy: str, knobs: dict[str, Any], small_outbreak: Dataset, tmp_path: Path
) -> None:
    asked = experiment(federation__strategy=strategy, federation__participation=0.7, **knobs)
    with fleet_of(small_outbreak, 5) as fleet:
        whole = trained(fleet, asked, tmp_path / "whole", rounds=4)
    with fleet_of(small_outbreak, 5) as fleet:
        half = trained(fleet, asked, tmp_path / "halves", rounds=2)
    stored = half.state.to_bytes()
    del half
    with fleet_of(small_outbreak, 5) as fleet:
        again = trained(fleet, asked, tmp_path / "halves", rounds=4, state=RunState.from_bytes(stored))
    assert again.state.round == 4
    assert again.sha256 == whole.sha256
    assert again.state.to_bytes() == whole.state.to_bytes()
    assert {name: again.metrics[name] for name in whole.metrics} == whole.metrics


def test_a_state_is_what_it_was_and_holds_no_pickle() -> None:
    server = Server(torch.arange(5.0), {"moment": torch.ones(5, dtype=torch.float64), "step": torch.tensor(3.0)})
    state = RunState(7, server, {"fleet.phones_per_actor": 250})
    stored = state.to_bytes()
    back = RunState.from_bytes(stored)
    assert (back.round, back.chosen) == (7, {"fleet.phones_per_actor": 250})
    assert torch.equal(back.server.weights, server.weights)
    for name, tensor in server.tensors.items():
        assert torch.equal(back.server.tensors[name], tensor)
        assert back.server.tensors[name].dtype == tensor.dtype
    assert back.to_bytes() == stored
    assert len(stored) < 600


@pytest.mark.parametrize(
    "broken", [b"", b"12345678", b"\x80\x04K\x01.", RunState(1, Server(torch.ones(3))).to_bytes()[:-4]], ids=range(4)
)
def test_bytes_that_are_no_state_are_refused(broken: bytes) -> None:
    with pytest.raises(UserMistake, match=r"RunState\.to_bytes"):
        RunState.from_bytes(broken)


def test_a_state_of_another_format_is_refused() -> None:
    stored = RunState(1, Server(torch.ones(3))).to_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 9')
    with pytest.raises(UserMistake, match="format 9"):
        RunState.from_bytes(stored)
