"""Actors on a node that doesn't mount home fetch their rows from `fleet.shards_at`, and end with the same bits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from small_fleets import experiment, fleet_of, trained

from fedray.config import OutbreakData
from fedray.data import copies
from fedray.data.copies import private_folder
from fedray.data.shards import Dataset, copied_to, prepare
from fedray.errors import BadRow, RunFailed, UserMistake
from fedray.experiment import Clock, prepare_rows
from fedray.planning import plan
from fedray.watch import Watch


@pytest.fixture(params=["stored", pytest.param("made", marks=pytest.mark.slow)])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dataset]:
    """Nine phones that no other test has, so that this machine has fetched nothing of them."""
    found = prepare(OutbreakData(people=301, days=12, phones=9), 1, tmp_path / "home", made=request.param == "made")
    fetched = private_folder() / "shards" / found.digest
    shutil.rmtree(fetched, ignore_errors=True)
    yield found
    shutil.rmtree(fetched, ignore_errors=True)


def test_actors_without_home_end_with_the_same_bits(ray_cluster: str, dataset: Dataset, tmp_path: Path) -> None:
    with fleet_of(dataset, "auto") as fleet:
        undisturbed = trained(fleet, experiment(), tmp_path / "inline").sha256
    copied = copied_to(f"file://{tmp_path}/bucket", dataset, lambda *_: None)
    dataset.path.rename(tmp_path / "unmounted")
    with fleet_of(dataset, 3, "ray") as fleet, pytest.raises(BadRow, match=r"the file is gone; .*fleet\.shards_at"):
        trained(fleet, experiment(), tmp_path / "lost")
    with fleet_of(copied, 3, "ray") as fleet:
        assert trained(fleet, experiment(), tmp_path / "fetched").sha256 == undisturbed
    names = sorted(path.name for path in (private_folder() / "shards" / dataset.digest).glob("[!.]*"))
    assert names == sorted(file.name for file in dataset.files)


class OutOfReach(MemoryFileSystem):
    """A store that takes files, and then can't be reached."""

    protocol = "unreached"

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        raise ConnectionError("no route to host")


def test_a_storage_that_cannot_be_reached_ends_the_run_and_makes_no_phone_drop_out(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "PAUSES", (0.0, 0.0))
    fsspec.register_implementation("unreached", OutOfReach, clobber=True)
    copied = copied_to("unreached://bucket", dataset, lambda *_: None)
    dataset.path.rename(tmp_path / "unmounted")
    with fleet_of(copied, 3) as fleet, pytest.raises(RunFailed) as caught:
        trained(fleet, experiment(fleet__max_lost_phones=8), tmp_path / "lost", run="run-7")
    assert type(caught.value) is RunFailed
    said = str(caught.value)
    assert re.search(r"could not fetch train-.* from fleet\.shards_at \(ConnectionError\)", said)
    assert said.endswith("See that every node can read there, then go on with fedray resume run-7")


@pytest.mark.parametrize("shards", ["auto", "made"])
def test_the_knob_copies_what_a_run_has_prepared(tmp_path: Path, shards: str) -> None:
    place = str(tmp_path / "bucket")
    asked = experiment(home=tmp_path / "home", fleet__shards=shards, fleet__shards_at=place)
    found = prepare_rows(asked, Clock(Watch()))
    assert found.at == f"{place}/{found.digest}"
    assert Dataset.open(found.at).files == found.files
    assert prepare_rows(asked.with_({"fleet.shards_at": None}), Clock(Watch())).at is None


def test_a_place_that_cannot_be_used_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"fleet\.shards_at"):
        plan(experiment(fleet__shards_at="nowhere://bucket"))
    (tmp_path / "taken").write_bytes(b"")
    asked = experiment(home=tmp_path / "home", fleet__shards_at=str(tmp_path / "taken"))
    with pytest.raises(UserMistake, match=r"fleet\.shards_at"):
        prepare_rows(asked, Clock(Watch()))
    assert not (tmp_path / "home").exists()
