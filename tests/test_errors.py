"""The tree of errors is the one drawn at the top of errors.py, with its exit codes, and crosses processes whole."""

import pickle

import pytest

from fedray import errors
from fedray.errors import BadRow, FedrayError, PhonesLost, Problem, RunFailed, UserMistake, WouldNotFit

ONE = Problem("learning.rounds", "-1", "must be a whole number, at least 0", "for example `rounds: 20`")
TWO = Problem("seed", "", "must be given", "")

EACH = [
    UserMistake([ONE, TWO]),
    BadRow("not a number", "shards/0.parquet", "temperature", 17),
    WouldNotFit("needs 30 GiB, there are 24", "lower data.phones"),
    RunFailed("the fleet is gone"),
    PhonesLost("3 of 500 phones dropped out of round 4"),
]


def test_the_tree_is_as_drawn():
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        stripped = line.lstrip(" │├└─")
        name = stripped.split()[0] if stripped else ""
        if hasattr(errors, name):
            depth = (len(line) - len(stripped) - 4) // 4
            code = int(stripped.split("exit ")[1][0]) if "exit " in stripped else 1
            drawn.append((name, depth, code))
    assert drawn == [
        (name, len(kind.__mro__) - len(FedrayError.__mro__), kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, FedrayError)
    ]


@pytest.mark.parametrize("error", EACH, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_mistake_lists_all_its_problems():
    assert str(UserMistake([ONE, TWO])) == (
        "learning.rounds: must be a whole number, at least 0 (got -1)\n"
        "    mend: for example `rounds: 20`\n"
        "seed: must be given"
    )
    assert UserMistake(ONE).problems == (ONE,)


def test_a_mistake_as_json():
    assert UserMistake([TWO]).as_json() == {
        "errors": [{"place": "seed", "value": "", "allowed": "must be given", "mend": ""}]
    }


def test_a_bad_row_says_where_and_not_what():
    assert str(BadRow("not a number", "a.parquet", "cough", 3)) == "a.parquet, column cough, row 3: not a number"


def test_what_would_not_fit_names_the_mend():
    assert str(WouldNotFit("needs 30 GiB", "lower data.phones")) == "needs 30 GiB\n    mend: lower data.phones"
