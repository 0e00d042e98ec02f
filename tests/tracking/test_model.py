"""A recorded network predicts what the trained one does, from files without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from tracking_cases import FEATURES, network, raw_rows

from fedray.learning.standardise import Predictor, Scaling
from fedray.tracking import model as saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    saved.save(network(), FEATURES, path)
    return path


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_mlflow_predicts_from_raw_rows_what_the_network_does(folder: Path, rows: int) -> None:
    import mlflow.pyfunc

    raw = raw_rows(rows)
    with torch.no_grad():
        expected = network()(torch.from_numpy(raw)).numpy()
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(raw)
    assert predicted.shape == (rows, 1)
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6)


def test_a_data_frame_in_the_order_of_the_metadata_will_do(folder: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(str(folder))
    columns = model.metadata.metadata["features"]
    assert columns == list(FEATURES)
    raw = raw_rows(7)
    frame = pd.DataFrame(raw, columns=columns).astype({"infected": int, "immune": int})
    np.testing.assert_array_equal(model.predict(frame[columns]), model.predict(raw))


def test_signature_requirements_and_example_are_as_stated(folder: Path) -> None:
    from mlflow.models import Model

    described = Model.load(str(folder))
    (inputs,) = described.signature.inputs.to_dict()
    assert inputs["tensor-spec"] == {"dtype": "float64", "shape": (-1, 5)}
    needs = (folder / "requirements.txt").read_text().split()
    assert [need for need in needs if need.startswith("torch")] == [f"torch=={torch.__version__.split('+')[0]}"]
    assert set(np.ravel(described.load_input_example(str(folder)))) == {0.0}


def test_no_pickle_is_written(folder: Path) -> None:
    names = zipfile.ZipFile(folder / "data" / "model.pt2").namelist()
    assert names
    assert not [path for path in [*names, *map(str, folder.rglob("*"))] if path.endswith((".pkl", ".pth"))]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_model_read_back_takes_any_floating_type_and_stays_in_evaluation(folder: Path, kind: torch.dtype) -> None:
    model = saved.read(folder).eval().train()
    raw = torch.from_numpy(raw_rows(3)).to(kind)
    torch.testing.assert_close(model(raw), network()(raw), rtol=0, atol=1e-6)
    assert not model.training


def test_saving_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    """Dropout is off in the saved network, and still on in the one that goes on training."""
    model = Predictor(nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.5), nn.Linear(64, 3)), Scaling.none(2)).train()
    saved.save(model, ("a", "b"), tmp_path / "model")
    assert all(part.training for part in model.modules())
    rows = torch.ones(4, 2)
    read = saved.read(tmp_path / "model")
    assert torch.equal(read(rows), read(rows))
    torch.testing.assert_close(read(rows), model.eval()(rows), rtol=0, atol=1e-6)


def test_weights_come_back_bit_for_bit_with_their_scaling(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    weights = np.array([0.1, -0.0, 1e-45, np.float32(1) / 3], dtype=np.float32)
    saved.save_weights(tmp_path / "w.safetensors", weights, network())
    read, scaling = saved.read_weights(tmp_path / "w.safetensors")
    assert read.tobytes() == weights.tobytes()
    assert scaling is not None
    np.testing.assert_array_equal(scaling.mean, network().mean.numpy())
    tensors = load_file(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(tensors["mean"], network().mean.numpy())
    np.testing.assert_array_equal(tensors["scale"], network().scale.numpy())
