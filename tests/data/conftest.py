"""Small outbreaks that the tests of the data room share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedray.config import OutbreakData
from fedray.data.dataset import Dataset
from fedray.data.sources import prepare

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves `plain_outbreak` out


@pytest.fixture
def small() -> OutbreakData:
    """An outbreak of 300 people, 40 of whom carry a phone."""
    return OutbreakData(people=300, days=12, phones=40)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set on disk that no test may change: 97 phones, 12 days."""
    return prepare(OutbreakData(people=300, days=12, phones=97), 3, tmp_path_factory.mktemp("home"))
