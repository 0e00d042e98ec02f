"""What goes along with an experiment that is sent to a cluster, and what is said of what doesn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedray.config import Experiment
from fedray.errors import UserMistake
from fedray.launch import upload
from fedray.launch.upload import MIB, upload_of


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory as people have them."""
    for name in (
        "exp/a.yaml", "parts.py", "package/net.py", "package/__pycache__/net.pyc", ".fedray/mlflow.db", ".git/HEAD",
        ".env", "env/pyvenv.cfg", "env/lib/torch.py", "mlruns/0/meta.yaml",
    ):  # fmt: skip
        (file := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path


def large(path: Path, size: int) -> Path:
    """A file of so many bytes that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def sent(here: Path, path: str = "exp/a.yaml", **knobs: object) -> tuple[set[str], tuple[str, ...], str]:
    with upload_of(here / path, Experiment(tracking={"backup": "s3://b/runs"}, **knobs), here) as made:
        files = {str(file.relative_to(made.folder)) for file in made.folder.rglob("*") if file.is_file()}
        assert (made.folder / made.experiment).read_text() == (here / path).read_text()
        return files, made.said, made.experiment


def test_the_experiment_and_the_modules_beside_it(here: Path) -> None:
    assert sent(here) == ({"exp/a.yaml", "parts.py", "package/net.py"}, (), "exp/a.yaml")


def test_the_copy_is_gone_afterwards(here: Path) -> None:
    with upload_of(here / "exp/a.yaml", Experiment(), here) as made:
        assert made.folder.is_dir()
    assert not made.folder.exists()


def test_an_experiment_from_elsewhere_goes_along_by_its_name(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "b.yaml"
    other.write_text("name: b")
    assert sent(here, str(other))[0] >= {"b.yaml", "parts.py"}


def test_a_home_within_is_left_here(here: Path) -> None:
    (here / "results").mkdir()
    (here / "results" / "mlflow.db").write_text("")
    assert "results/mlflow.db" in sent(here)[0]
    assert "results/mlflow.db" not in sent(here, home="results")[0]


def test_large_files_stay_and_are_named(here: Path) -> None:
    large(here / "wearables.parquet", 11 * MIB)
    files, said, _ = sent(here)
    assert "wearables.parquet" not in files
    assert said == ("files over 10 MiB don't go along: wearables.parquet (11 MiB)",)


def test_a_table_that_the_experiment_names_goes_along_though_it_is_large(here: Path) -> None:
    large(here / "wearables.parquet", 11 * MIB)
    table = {"source": "table", "path": "wearables.parquet", "phone": "person"}
    files, said, _ = sent(here, data=table)
    assert "wearables.parquet" in files
    assert said == ()


def test_a_table_on_the_cluster_is_left_to_it(here: Path) -> None:
    assert sent(here, data={"source": "table", "path": "/mnt/wearables.parquet", "phone": "person"})[1] == ()


def test_more_than_the_limit_is_refused_with_the_largest_named(here: Path) -> None:
    large(here / "wearables.parquet", 101 * MIB)
    table = {"source": "table", "path": "wearables.parquet", "phone": "person"}
    with pytest.raises(UserMistake, match=r"100 MiB at most; it is 101 MiB: wearables\.parquet 101 MiB") as refused:
        sent(here, data=table)
    assert "give its absolute path" in refused.value.problems[0].mend


def test_a_named_file_outside_cannot_go_along(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "t.csv"
    elsewhere.write_text("")
    relative = Path("..") / elsewhere.relative_to(here.parent)
    with pytest.raises(UserMistake, match=r"data\.path: must lie below the working directory"):
        sent(here, data={"source": "table", "path": str(relative), "phone": "person"})


@pytest.mark.parametrize(
    ("backup", "said"),
    [(None, "is gone when the cluster is"), ("/mnt/runs", "is it one that outlives it"), ("s3://b/runs", None)],
)
def test_results_that_would_go_with_the_cluster_are_warned_of(backup: str | None, said: str | None, here: Path) -> None:
    with upload_of(here / "exp/a.yaml", Experiment(tracking={"backup": backup}), here) as made:
        assert [said in line for line in made.said] == ([True] if said else [])


def test_fedrays_own_package_stays_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "fedray").mkdir()
    (here / "fedray" / "__init__.py").write_text("")
    assert "fedray/__init__.py" in sent(here)[0]
    monkeypatch.setattr(upload.fedray, "__file__", str(here / "fedray" / "__init__.py"))
    assert "fedray/__init__.py" not in sent(here)[0]
