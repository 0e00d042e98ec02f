"""Answers are looked for among those asked for first, and found wherever they are."""

from __future__ import annotations

import signal

import pytest
import ray

from fedray.fleet import calls


@ray.remote(num_cpus=0)
def never() -> None:
    signal.pause()


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_there_is_found_behind_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LOOKED_AT", 2)
    waiting = [never.remote() for _ in range(2)]
    there = [ray.put(number) for number in range(3)]
    try:
        assert calls.ready([*waiting, *there], 0.05) == there
        assert calls.ready([there[0], *waiting, *there[1:]], 0.05) == [there[0]]
        assert calls.ready(waiting, 0.05) == []
        assert calls.ready([], 0.05) == []
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
