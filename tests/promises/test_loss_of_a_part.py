"""Loss of a part: an actor that is killed is replaced, and the run ends with the bits of the undisturbed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_parts
import pytest
from small_fleets import experiment, fleet_of, trained, wait_until

from fedray.data.shards import Dataset
from fedray.errors import RunFailed
from fedray.fleet.fleet import Fleet
from fedray.fleet.gathering import MOST_REPLACEMENTS


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def fleet(ray_cluster: str, small_outbreak: Dataset, said: list[str]) -> Iterator[Fleet]:
    with fleet_of(small_outbreak, 5, "ray", said) as started:
        yield started


def process_of(fleet: Any, actor: int) -> int:
    import ray

    return int(ray.get(fleet.engine._actors[actor].__ray_call__.remote(lambda _: os.getpid())))


def kill(process: int) -> None:
    """SIGKILL, and wait until the process is gone."""
    os.kill(process, signal.SIGKILL)

    def gone() -> bool:
        status = Path(f"/proc/{process}/stat")
        return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"

    wait_until(gone, 20, "the end of a killed process")


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "sequential"])
def test_an_actor_killed_between_two_rounds_changes_no_bit(
    strategy: str, fleet: Fleet, said: list[str], small_outbreak: Dataset, tmp_path: Path
) -> None:
    asked = experiment(federation__strategy=strategy, federation__participation=0.7)
    with fleet_of(small_outbreak, 9) as alone:
        undisturbed = trained(alone, asked, tmp_path / "alone")
    victim = process_of(fleet, 0)
    said.clear()
    disturbed = trained(
        fleet, asked, tmp_path / "killed", run=strategy,
        hooks=[lambda context: kill(victim) if context.round == 2 else None],
    )  # fmt: skip
    assert len(said) == 1
    assert said[0].startswith("actor 0 (phones 0 to 4) died in round 3 (")
    assert process_of(fleet, 0) != victim
    assert disturbed.sha256 == undisturbed.sha256
    assert disturbed.metrics == undisturbed.metrics


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_an_actor_that_dies_while_it_trains_changes_no_bit(
    strategy: str, fleet: Fleet, said: list[str], small_outbreak: Dataset, tmp_path: Path
) -> None:
    flag = tmp_path / "die"
    asked = experiment(
        federation__strategy=strategy,
        federation__participation=0.7,
        task__loss=own_parts.Deadly(flag, os.getpid()),
        learning__evaluate_every=3,
    )
    with fleet_of(small_outbreak, 9) as alone:
        undisturbed = trained(alone, asked, tmp_path / "alone")
    said.clear()
    died_in = []

    def armed(context: Any) -> None:
        if context.round == 1:
            flag.touch()
        if context.round == 2:
            died_in.append(not flag.exists())

    disturbed = trained(fleet, asked, tmp_path / "killed", run=f"dies-{strategy}", hooks=[armed])
    assert died_in == [True]  # in round 2, at work
    assert len(said) == 1
    assert "died in round 2" in said[0]
    assert disturbed.sha256 == undisturbed.sha256
    assert disturbed.metrics == undisturbed.metrics


@pytest.mark.slow
def test_an_actor_that_dies_every_time_ends_the_run_and_says_what_may_help(
    fleet: Fleet, said: list[str], tmp_path: Path
) -> None:
    flag = tmp_path / "die"
    asked = experiment(
        task__loss=own_parts.Deadly(flag, os.getpid(), once=False), federation__participation=0.1, learning__rounds=2
    )
    said.clear()
    with pytest.raises(RunFailed, match=r"died in round \d+ .* 4 times .* raise fleet.phones_per_actor"):
        trained(fleet, asked, tmp_path, run="hopeless", hooks=[lambda _: flag.touch()])
    assert len(said) == MOST_REPLACEMENTS


def test_the_fleet_still_serves_after_that(fleet: Fleet, small_outbreak: Dataset, tmp_path: Path) -> None:
    with fleet_of(small_outbreak, 9) as alone:
        expected = trained(alone, experiment(), tmp_path / "alone")
    assert trained(fleet, experiment(), tmp_path / "after", run="after").sha256 == expected.sha256


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["scaffold", "sequential"])
def test_an_actor_that_hangs_is_replaced_by_its_deadline_and_changes_no_bit(
    strategy: str, ray_cluster: str, small_outbreak: Dataset, tmp_path: Path
) -> None:
    asked = experiment(federation__strategy=strategy, federation__participation=0.7)
    with fleet_of(small_outbreak, 9) as alone:
        undisturbed = trained(alone, asked, tmp_path / "alone")
    said: list[str] = []
    with fleet_of(small_outbreak, 5, "ray", said, deadline=8.0) as fleet:
        victim = process_of(fleet, 1)
        disturbed = trained(
            fleet, asked, tmp_path / "hung",
            hooks=[lambda context: os.kill(victim, signal.SIGSTOP) if context.round == 1 else None],
        )  # fmt: skip
        assert process_of(fleet, 1) != victim
    wait_until(lambda: not Path(f"/proc/{victim}").exists(), 20, "the end of a process that hung")
    assert "actor 1 (phones 5 to 8) did not answer in round 2 for 8 s (fleet.deadline); it is killed" in said[0]
    assert disturbed.sha256 == undisturbed.sha256
    assert disturbed.metrics == undisturbed.metrics
