"""Training goes on from a run's weights or from a file's, and refuses what is neither."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import fedray
from fedray.evaluating import evaluate


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


@pytest.mark.parametrize("source", ["0123456789abcdef", "nowhere.safetensors", "broken.safetensors", "odd.safetensors"])
def test_what_gives_no_weights_is_refused_before_any_work(source, experiment, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"no such format")
    save_file({"weights": np.zeros(3, np.float32)}, tmp_path / "odd.safetensors")
    start = str(tmp_path / source) if "." in source else source
    with pytest.raises(fedray.UserMistake) as caught:
        fedray.run(experiment.with_({"model.start_from": start, "home": tmp_path / "home"}))
    assert [problem.place.split(":")[0] for problem in caught.value.problems] == ["model.start_from"]
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_parent_of_variants_is_refused_by_their_names(experiment):
    parent = fedray.run(experiment.with_({"variants": {"one": {}, "two": {}}})).parent_run_id
    with pytest.raises(fedray.UserMistake, match="is the parent of one, two"):
        fedray.run(experiment.with_({"model.start_from": parent}))


@pytest.mark.slow
def test_where_it_started_from_may_be_gone_when_it_is_evaluated(experiment, tmp_path):
    start = tmp_path / "start.safetensors"
    save_file({"weights": fedray.run(experiment).only.weights}, start)
    run = fedray.run(experiment.with_({"model.start_from": str(start)})).only
    start.unlink()
    assert evaluate(run.run_id, home=tmp_path)["test_mse"] == run.metrics["test_mse"]
