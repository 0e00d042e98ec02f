"""Training goes on from a run's weights or from a file's, and refuses what is neither."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import fedray


@pytest.fixture
def experiment(tmp_path):
    small = {"people": 200, "days": 8, "phones": 6}
    return fedray.Experiment(home=tmp_path, data=small, learning={"rounds": 1}, fleet={"engine": "inline"})


def test_a_run_and_a_file_give_their_weights(experiment, tmp_path):
    first = fedray.run(experiment).only
    untouched = experiment.with_({"learning.rounds": 0})
    again = fedray.run(untouched.with_({"model.start_from": first.run_id})).only
    assert again.weights_sha256 == first.weights_sha256
    half = (first.weights / 2).astype(np.float32)
    save_file({"weights": half}, tmp_path / "half.safetensors")
    halved = fedray.run(untouched.with_({"model.start_from": str(tmp_path / "half.safetensors")})).only
    assert np.array_equal(halved.weights, half)


@pytest.mark.parametrize("source", ["0123456789abcdef", "nowhere.safetensors"])
def test_what_is_not_there_is_refused(experiment, source):
    with pytest.raises(fedray.UserMistake):
        fedray.run(experiment.with_({"model.start_from": source}))
