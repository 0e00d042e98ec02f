"""A run's state goes to bytes and back with no bit changed, and is no pickle."""

from __future__ import annotations

import json
import math
import pickle
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from fedray.errors import UserMistake
from fedray.federation import state as room
from fedray.federation.state import RunState
from fedray.strategies.strategy import Server

FLOATS = st.lists(st.floats(width=32), min_size=1, max_size=8)


def state() -> RunState:
    tensors = {"exp_avg": torch.randn(5, dtype=torch.float64), "step": torch.tensor(3.0)}
    return RunState(7, Server(torch.randn(5), tensors), {"fleet.phones_per_actor": 250, "why": "it fits"})


def bits(values: torch.Tensor) -> bytes:
    return values.contiguous().numpy().tobytes()


def refused(data: bytes) -> str:
    with pytest.raises(UserMistake) as refusal:
        RunState.from_bytes(data)
    return str(refusal.value)


def test_there_and_back():
    before = state()
    after = RunState.from_bytes(before.to_bytes())
    assert after.round == 7
    assert after.chosen == {"fleet.phones_per_actor": 250, "why": "it fits"}
    assert bits(after.server.weights) == bits(before.server.weights)
    assert after.server.tensors.keys() == before.server.tensors.keys()
    for name, tensor in before.server.tensors.items():
        back = after.server.tensors[name]
        assert (back.dtype, back.shape, bits(back)) == (tensor.dtype, tensor.shape, bits(tensor))


@given(FLOATS, FLOATS, st.integers(0, 10**9))
@settings(deadline=None)
def test_every_float_comes_back_to_the_bit(weights, moments, number):
    server = Server(torch.tensor(weights), {"control": torch.tensor(moments, dtype=torch.float64)})
    after = RunState.from_bytes(RunState(number, server).to_bytes())
    assert after.round == number
    assert bits(after.server.weights) == bits(server.weights)
    assert bits(after.server.tensors["control"]) == bits(server.tensors["control"])


def test_equal_states_have_equal_bytes():
    first = state()
    other = RunState(first.round, first.server, dict(reversed(list(first.chosen.items()))))
    assert other.to_bytes() == first.to_bytes()
    assert RunState.from_bytes(first.to_bytes()).to_bytes() == first.to_bytes()


def test_views_are_written_as_what_they_show():
    base = torch.arange(10.0)
    after = RunState.from_bytes(RunState(1, Server(base[::2], {})).to_bytes())
    assert after.server.weights.tolist() == [0, 2, 4, 6, 8]


def test_the_bytes_are_no_pickle():
    data = state().to_bytes()
    with pytest.raises(Exception, match=r".") as failure:
        pickle.loads(data)
    assert isinstance(failure.value, pickle.UnpicklingError | KeyError | ValueError | EOFError)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])  # a JSON header, and then nothing but numbers
    numbers = sum(
        math.prod(part["shape"]) * (8 if part["dtype"] == "F64" else 4)
        for name, part in header.items()
        if name[0] != "_"
    )
    assert len(data) == 8 + length + numbers == 8 + length + 5 * 4 + 5 * 8 + 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        b"\xff" * 100,
        pickle.dumps({"weights": [1.0]}),
        save({"weights": torch.zeros(3)}),
        save({"weights": torch.zeros(3)}, metadata={"other": "{}"}),
        save({"weights": torch.zeros(3)}, metadata={"fedray": "no json"}),
    ],
    ids=["nothing", "junk", "a huge header", "a pickle", "tensors", "tensors with metadata", "a broken header"],
)
def test_what_fedray_did_not_write_is_refused(data):
    assert f"run state: must be what RunState.to_bytes wrote (got {len(data)} bytes)" in refused(data)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_half_a_state_is_refused(kept):
    data = state().to_bytes()
    assert "must be what RunState.to_bytes wrote" in refused(data[: int(len(data) * kept)])


def test_a_newer_format_is_refused_with_the_difference_named(monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(room, "FORMAT", room.FORMAT + 1)
        data = state().to_bytes()
    assert refused(data) == (
        f"run state: this fedray reads format {room.FORMAT} (got format {room.FORMAT + 1})\n"
        "    mend: use the version of fedray that wrote it"
    )


def test_a_state_is_frozen():
    with pytest.raises(AttributeError):
        state().round = 8
