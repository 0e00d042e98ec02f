"""Real MLflow stores and a real server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedray.config import Experiment
from fedray.tracking import store

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves helpers beside the tests out

from tracking_cases import Server


@pytest.fixture(autouse=True)
def no_uri_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that what MLflow itself sets in a test is taken away after it
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


@pytest.fixture(scope="session")
def blank_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store: its migrations take two seconds, so they are run once."""
    path = tmp_path_factory.mktemp("blank") / "mlflow.db"
    store.client(f"sqlite:///{path}")
    return path


@pytest.fixture
def home(tmp_path: Path, blank_store: Path) -> Path:
    """A home whose store is empty."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(blank_store, folder / "mlflow.db")
    return folder


@pytest.fixture
def experiment(home: Path) -> Experiment:
    return Experiment(name="tracked", seed=5, home=home)


@pytest.fixture
def server(tmp_path: Path, blank_store: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(blank_store, folder / "server.db")
    made = Server(folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What tracking has told the user so far; torch, too, logs here."""
    return lambda: [record.getMessage() for record in caplog.records if record.name == "fedray.tracking"]
