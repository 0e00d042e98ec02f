"""The rooms import downwards only, and each heavy library has one room; pyproject.toml draws the arrows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ROOT / "fedray"


def modules(*rooms):
    return [path for room in rooms for path in sorted((ROOMS / room).rglob("*.py"))]


def imported(path):
    """Whole names of everything that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def test_the_arrows_hold():
    # In a process of its own: it switches off the loggers of the one that it runs in.
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", modules("."), ids=lambda path: str(path.relative_to(ROOT)))
def test_library_has_its_room(path):
    room = path.relative_to(ROOMS).parts[0]
    libraries = {name.split(".")[0] for name in imported(path)}
    assert room == "tracking" or "mlflow" not in libraries
    assert room in ("fleet", "launch") or "ray" not in libraries


@pytest.mark.parametrize("name", ["errors.py", "randomness.py", "sums.py"])
def test_the_ground_floor_imports_nothing_of_ours(name):
    assert not [module for module in imported(ROOMS / name) if module.startswith("fedray")]


def test_what_runs_on_phones_knows_no_process():
    """Pure tensors: no files, no processes, no clocks in learning and strategies."""
    foreign = {"multiprocessing", "os", "pathlib", "socket", "subprocess", "time"}
    for path in modules("learning", "strategies"):
        assert not imported(path) & foreign, path


def test_no_draw_without_an_address():
    """Global generators would make a result depend on placement; `fedray.randomness` is the only source."""
    for path in modules("."):
        names = imported(path)
        assert not {name for name in names if name == "random" or name.startswith(("random.", "numpy.random"))}, path
        assert "np.random" not in path.read_text(), path
