"""The head of a cluster is restarted, and with it all of Ray: the run goes on from its last checkpoint."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]


def test_one_command_goes_on_after_the_head_was_restarted(trial, undisturbed):
    with trial.run(held_in=5, fleet__checkpoint_every=2) as driver:
        trial.cluster.head.kill(spared=[driver.process.pid])
        assert driver.finish() == {}
    assert driver.process.returncode not in (0, None), driver.told()
    trial.cluster.restart()
    (run,) = (folder.name for folder in (trial.folder / "runs").iterdir())
    with trial.command("resume", run, "--home", str(trial.folder)) as driver:
        result = driver.finish()
    assert result["runs"]["main"]["weights_sha256"] == undisturbed, driver.told()
    assert result["runs"]["main"]["run_id"] == run
