"""A Ray head for the tests of jobs: it takes ten seconds, so all of them share it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves helpers beside the tests out

from launch_cases import Head


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    made = Head()
    yield made
    made.end()
