"""What starting costs: each way in imports what it needs, and not the heavy libraries that it doesn't."""

import importlib.util
import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "ray", "mlflow", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "pyarrow"}

BUDGETS = {
    "import fedray": ("fedray", HEAVY),
    "help": ("fedray.cli", {"torch", "ray", "mlflow", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow"}),
    "reading an experiment": ("fedray.config.file", HEAVY),
    # An actor is paid for a thousand times: torch.optim alone, which imports torch._dynamo, costs each 80 MiB.
    "actor": ("fedray.fleet.actor", {"mlflow", "matplotlib", "typer", "rich", "pandas", "sklearn", "torch._dynamo"}),
}


@pytest.mark.parametrize(("module", "forbidden"), BUDGETS.values(), ids=BUDGETS.keys())
def test_import_budget(module, forbidden):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} isn't written yet")
    program = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) & forbidden == set()


def test_the_public_api_is_there_when_it_is_asked_for():
    import fedray

    for name in ("Experiment", "UserMistake"):
        assert getattr(fedray, name).__name__ == name
