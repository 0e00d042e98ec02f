"""What goes along when an experiment is sent to a cluster: its file and what lies beside it, within limits that are
said, but no data that is large, nothing hidden, and not fedray, which the cluster has."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fedray
from fedray.config import Experiment, TableData
from fedray.errors import Problem, UserMistake

MIB = 2**20
LARGEST_FILE = 10 * MIB
"""Of files that merely lie there; code and settings are smaller. One that the experiment names may fill it all."""
LARGEST = 100 * MIB
"""Of all together: Ray refuses 500 MiB, and keeps what it takes in the memory of the head and on every node's disk."""
NOT_SENT = ("__pycache__", "node_modules", "mlruns", "mlartifacts")
NAMED_WHEN_LEFT_OUT = 5


@dataclass(frozen=True)
class Upload:
    """A folder as it goes to the cluster.

    Attributes:
        folder: A copy, for as long as it is being sent.
        experiment: The experiment's file in it.
        said: What the user should know, a line each.
    """

    folder: Path
    experiment: str
    said: tuple[str, ...]


@contextmanager
def upload_of(path: Path, experiment: Experiment, here: Path) -> Iterator[Upload]:
    """What goes along with an experiment.

    Args:
        path: Of its file.
        experiment: As read from it.
        here: The working directory, to which paths and modules in the experiment are relative.

    Raises:
        UserMistake: If it is too much, or the experiment names a file that can't go along.
    """
    here, path = here.resolve(), path.resolve()
    named = _named(experiment, here)
    found, left_out = _found(here, experiment.home)
    inside = path.is_relative_to(here)
    experiment_file = path.relative_to(here) if inside else Path(path.name)
    sent = {file.relative_to(here): file for file in [*found, *named]} | {experiment_file: path}
    _refuse_too_much(sent, here)
    with tempfile.TemporaryDirectory(prefix="fedray-upload-") as folder:
        for place, source in sent.items():
            (target := Path(folder) / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        too_large = {file.relative_to(here): file.stat().st_size for file in left_out if file not in named}
        yield Upload(Path(folder), experiment_file.as_posix(), _said(experiment, too_large))


def _found(here: Path, home: Path) -> tuple[list[Path], list[Path]]:
    """Files that go along because they lie there, and those that are too large for that."""
    aside = {(here / home).resolve(), Path(fedray.__file__).resolve().parent}
    found: list[Path] = []
    left_out: list[Path] = []
    for folder, folders, names in os.walk(here):
        below = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in NOT_SENT
            and (below / name) not in aside
            and not (below / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            file = below / name
            if not name.startswith(".") and file.is_file():
                (found if file.stat().st_size <= LARGEST_FILE else left_out).append(file)
    return found, left_out


def _named(experiment: Experiment, here: Path) -> list[Path]:
    """The files that the experiment names and that are here."""
    given = {"data.path": experiment.data.path} if isinstance(experiment.data, TableData) else {}
    for name, run in experiment.runs().items():
        if start := run.model.start_from:
            given["model.start_from" if name == "main" else f"variants.{name}.model.start_from"] = Path(start)
    found = []
    for knob, path in given.items():
        file = (here / path).resolve()
        if path.is_absolute() or not file.is_file():
            continue  # the cluster's own file, or the id of a run
        if not file.is_relative_to(here):
            rule, mend = "must lie below the working directory to go along", "put it there, or where the cluster has it"
            raise UserMistake(Problem(knob, str(path), rule, f"{mend}, and give its absolute path"))
        found.append(file)
    return found


def _refuse_too_much(sent: dict[Path, Path], here: Path) -> None:
    sizes = {place: file.stat().st_size for place, file in sent.items()}
    if sum(sizes.values()) <= LARGEST:
        return
    largest = sorted(sizes, key=lambda place: -sizes[place])[:3]
    said = ", ".join(f"{place} {_mib(sizes[place])}" for place in largest)
    rule = f"what goes along must be {LARGEST // MIB} MiB at most; it is {_mib(sum(sizes.values()))}: {said}"
    mend = "submit from a folder that holds only the experiment and its modules; put data where the cluster reads it, "
    raise UserMistake(Problem("working directory", str(here), rule, f"{mend}and give its absolute path"))


def _said(experiment: Experiment, left_out: dict[Path, int]) -> tuple[str, ...]:
    said = []
    if left_out:
        names = [f"{path} ({_mib(size)})" for path, size in left_out.items()]
        more = f" and {len(names) - NAMED_WHEN_LEFT_OUT} more" if len(names) > NAMED_WHEN_LEFT_OUT else ""
        limit = f"files over {LARGEST_FILE // MIB} MiB don't go along"
        said.append(f"{limit}: {', '.join(names[:NAMED_WHEN_LEFT_OUT])}{more}")
    backup = experiment.tracking.backup
    if backup is None:
        said.append("tracking.backup is null: what this job records is gone when the cluster is")
    elif "://" not in backup:
        said.append(f"tracking.backup is {backup}, a folder on the cluster's head: is it one that outlives it?")
    return tuple(said)


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
