"""A name is a built-in one, an import path, or the object itself; a wrong one gets a message with what is right."""

from __future__ import annotations

import json

import pytest

from fedray.errors import UserMistake
from fedray.learning.names import find

KNOWN = {"mse": 1, "mae": 2}


def test_what_a_name_means():
    assert find("mae", KNOWN, "task.loss") == 2
    assert find("json:dumps", KNOWN, "task.loss") is json.dumps
    assert find("json:JSONDecoder.decode", KNOWN, "task.loss") is json.JSONDecoder.decode
    thing = object()
    assert find(thing, KNOWN, "task.loss") is thing


@pytest.mark.parametrize(
    ("named", "known", "message"),
    [
        (
            "mes",
            KNOWN,
            "task.loss: must be one of mse, mae, or an import path `package.module:Name` (got 'mes')\n"
            "    mend: did you mean mse?",
        ),
        ("far", KNOWN, "task.loss: must be one of mse, mae, or an import path `package.module:Name` (got 'far')"),
        ("far", {}, "task.loss: must be an import path `package.module:Name` (got 'far')"),
        (
            "json:dumsp",
            KNOWN,
            "task.loss: must be an import path `package.module:Name` that Python can import (got 'json:dumsp')\n"
            "    mend: module 'json' has no attribute 'dumsp'; is the module installed, or in a folder on PYTHONPATH?",
        ),
        (
            "jsno:dumps",
            KNOWN,
            "task.loss: must be an import path `package.module:Name` that Python can import (got 'jsno:dumps')\n"
            "    mend: No module named 'jsno'; is the module installed, or in a folder on PYTHONPATH?",
        ),
    ],
)
def test_a_wrong_name(named, known, message):
    with pytest.raises(UserMistake) as refusal:
        find(named, known, "task.loss")
    assert str(refusal.value) == message


@pytest.mark.parametrize("path", [":dumps", "json:", "json:.dumps", "a b:c"])
def test_half_a_path(path):
    with pytest.raises(UserMistake):
        find(path, KNOWN, "task.loss")
