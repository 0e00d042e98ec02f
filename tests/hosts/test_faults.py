"""Whatever a cluster does in the middle of a round, the run ends with the bits of the undisturbed one.

`held_in=3` means that all phone actors stand in their last training step of round 3 when the fault comes.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def weights(result):
    return result["runs"]["main"]["weights_sha256"]


def test_three_hosts_come_to_what_one_process_does(trial, undisturbed):
    with trial.run(held_in=None) as driver:
        result = driver.finish()
    assert result["runs"]["main"]["fleet"]["nodes"] == 3
    assert not driver.said("died")
    assert weights(result) == undisturbed


def test_an_actor_is_killed(trial, undisturbed):
    with trial.run(held_in=3) as driver:
        os.kill(min(trial.gate.waiting()), signal.SIGKILL)
        driver.wait_for(r"actor \d \(phones \d+ to \d+\).* died in round 3 ")
        trial.gate.open()
        assert weights(driver.finish()) == undisturbed, driver.told()


def test_a_whole_node_loses_its_power(trial, undisturbed):
    with trial.run(held_in=3) as driver:
        trial.worker_with_actors().kill()
        driver.wait_for(r"died in round 3 ")
        trial.gate.open()
        assert weights(driver.finish()) == undisturbed, driver.told()


def test_a_link_is_cut_for_good(trial, undisturbed):
    with trial.run(held_in=3) as driver:
        trial.worker_with_actors().link.cut()
        driver.wait_for(r"died in round 3 ")
        trial.gate.open()
        assert weights(driver.finish()) == undisturbed, driver.told()


def test_a_link_is_cut_for_ten_seconds(trial, undisturbed):
    """The node is declared dead, and comes to know of it only when its link is whole again."""
    with trial.run(held_in=3) as driver:
        with trial.worker_with_actors().link.being_cut():
            trial.gate.open()
            time.sleep(10)  # the length of the fault, not a wait for something
        assert weights(driver.finish()) == undisturbed, driver.told()
    assert driver.said(r"died in round 3 ")


def test_a_link_that_comes_and_goes(trial, undisturbed):
    with trial.run(held_in=3) as driver:
        trial.gate.open()
        trial.worker_with_actors().link.flap(times=8, seconds=0.4)
        assert weights(driver.finish()) == undisturbed, driver.told()


def test_a_slow_link(trial, undisturbed):
    with trial.run(held_in=2) as driver:
        trial.worker_with_actors().link.slow()
        trial.gate.open()
        assert weights(driver.finish()) == undisturbed, driver.told()
