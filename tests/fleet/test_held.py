"""Wherever an actor's rows are, the same shards come out, and the same bits of a run."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from small_fleets import experiment, fleet_of, on_table, trained

from fedray.config import OutbreakData
from fedray.data.shards import Dataset, prepare, reader_of
from fedray.experiment import initial_network
from fedray.federation.driver import Driver
from fedray.fleet.held import Held, held
from fedray.fleet.phones import Phones
from fedray.fleet.placement import place
from fedray.fleet.rows import RowSource
from fedray.fleet.shard import Shard
from fedray.learning.models import flat_weights
from fedray.learning.standardise import Scaling
from fedray.learning.task import target
from fedray.needs import Needs

WAYS = ("resident", "mapped", "made")
FEATURES = ("temperature", "distance")
SCALING = Scaling(np.array([37.0, 1e6]), np.array([0.5, 3.0]))


@pytest.fixture(params=["one piece", "pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pieces":
        monkeypatch.setattr("fedray.fleet.rows.ROWS_A_PIECE", 1)  # every phone is a piece
    return request.param


def keep(way: str, dataset: Dataset, folder: Path, time: str | None = None) -> Held:
    source = RowSource(dataset, reader_of(dataset), FEATURES, target("tired"), time)
    return held(way, source, SCALING, np.arange(2, 8), "cpu", folder)


def by_phone(shards: Iterator[Shard], ids: list[int]) -> dict[int, tuple[bytes, bytes, list[int]]]:
    found = {}
    for shard in shards:
        examples = shard.examples
        assert not examples.features[-1].any()
        assert examples.targets[-1] == 0
        assert examples.features.stride() == (1, len(examples.targets))
        for phone in set(ids) & set(shard.ids.tolist()):
            (place,) = shard.places(np.array([phone]))
            rows = slice(shard.offsets[place], shard.offsets[place + 1])
            assert shard.rows(np.array([phone])).tolist() == [rows.stop - rows.start]
            features, targets = examples.features[rows].numpy(), examples.targets[rows].numpy()
            assert phone not in found
            found[phone] = (features.tobytes(), targets.tobytes(), shard.day[rows].tolist())
    return found


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("time", ["week", None])
@pytest.mark.parametrize("ids", [[2, 3, 4, 5, 6, 7], [3, 4], [2, 5, 7]], ids=str)
def test_the_same_rows_come_out(ragged: Dataset, tmp_path: Path, pieces: str, split: str, time: str | None, ids: Any):
    wanted = by_phone(keep("resident", ragged, tmp_path, time).shards(split, np.array(ids)), ids)
    assert sorted(wanted) == ids
    assert any(days for _, _, days in wanted.values()) is (time is not None)
    for way in ("mapped", "made"):
        rows = keep(way, ragged, tmp_path, time)
        for _ in range(2):  # what was used comes again
            assert by_phone(rows.shards(split, np.array(ids)), ids) == wanted, way


@pytest.mark.parametrize("way", WAYS)
def test_nobody(ragged: Dataset, tmp_path: Path, way: str) -> None:
    assert list(keep(way, ragged, tmp_path).shards("train", np.array([], dtype=np.int64))) == []


def test_a_mapped_file_has_no_name_and_goes_with_its_process(ragged: Dataset, tmp_path: Path, pieces: str) -> None:
    folder = tmp_path / "mapped"
    rows = keep("mapped", ragged, folder)
    shards = list(rows.shards("train", np.arange(2, 8)))
    assert len(shards) == (6 if pieces == "pieces" else 1)
    assert list(folder.iterdir()) == []
    mine = [place.path for place in psutil.Process().memory_maps(grouped=False) if str(folder) in place.path]
    assert mine
    del rows, shards
    assert [place for place in psutil.Process().memory_maps(grouped=False) if str(folder) in place.path] == []
    assert not [file for file in psutil.Process().open_files() if str(folder) in file.path]


def test_a_mapped_file_is_not_in_this_process_once_it_was_read(tmp_path: Path) -> None:
    """200,000 rows: what is left of the mapping is less than a tenth of the file."""
    dataset = prepare(OutbreakData(people=4000, days=50, phones=4000), 1, tmp_path)
    source = RowSource(dataset, reader_of(dataset), FEATURES, target("cough"), None)
    rows = held("mapped", source, SCALING, np.arange(4000), "cpu", tmp_path / "mapped")
    for ids in (np.arange(4000), np.arange(0, 4000, 7)):
        assert sum(len(shard.ids) for shard in rows.shards("train", ids)) == len(ids)
        maps = psutil.Process().memory_maps(grouped=False)
        (mapped,) = [place for place in maps if str(tmp_path / "mapped") in place.path]
        assert mapped.size == pytest.approx(200_000 * 3 * 4, abs=2 * os.sysconf("SC_PAGE_SIZE"))
        assert mapped.rss < mapped.size / 10


def outcome(asked: Any, dataset: Dataset, folder: Path, per_actor: int = 4) -> Any:
    with fleet_of(dataset, per_actor) as fleet:
        return trained(fleet, asked, folder)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"federation__participation": 0.5, "federation__strategy": "scaffold"},
        {"federation__strategy": "sequential", "federation__participation": 0.6},
        {"learning__trainer": "loop"},
    ],
    ids=str,
)
def test_a_run_ends_with_the_same_weights_and_scores(tmp_path: Path, small_outbreak: Dataset, pieces: str, knobs: Any):
    wanted = outcome(experiment(**knobs), small_outbreak, tmp_path / "resident")
    for way in ("mapped", "made"):
        asked = experiment(**knobs, home=tmp_path, fleet__shards=way)
        dataset = prepare(asked.data, asked.seed, tmp_path, made=way == "made")
        assert dataset.made is (way == "made")
        for per_actor in (4, 9):
            got = outcome(asked, dataset, tmp_path / f"{way}-{per_actor}", per_actor)
            assert got.sha256 == wanted.sha256, way
            assert got.metrics == wanted.metrics, way


@pytest.mark.slow
def test_so_it_does_in_actors_of_their_own(ray_cluster: str, tmp_path: Path, small_outbreak: Dataset) -> None:
    wanted = outcome(experiment(), small_outbreak, tmp_path / "resident")
    for way in ("mapped", "made"):
        asked = experiment(home=tmp_path, fleet__shards=way)
        dataset = prepare(asked.data, asked.seed, tmp_path, made=way == "made")
        with fleet_of(dataset, 5, "ray") as fleet:
            got = trained(fleet, asked, tmp_path / f"runs-{way}")
        assert (got.sha256, got.metrics) == (wanted.sha256, wanted.metrics), way
    assert list((tmp_path / "mapped").iterdir()) == []  # no rows are left behind


def test_so_does_a_ragged_table(tmp_path: Path, ragged: Dataset, pieces: str) -> None:
    wanted = outcome(on_table(), ragged, tmp_path / "resident")
    got = outcome(on_table(fleet__shards="mapped", home=tmp_path), ragged, tmp_path / "mapped")
    assert (got.sha256, got.metrics) == (wanted.sha256, wanted.metrics)


class TestVariants:
    """Rows are read anew where a variant sees them otherwise, and only then."""

    @pytest.mark.parametrize(
        ("knobs", "again"),
        [
            ({"learning__learning_rate": 0.2}, False),
            ({"task__loss": "mae"}, False),
            ({"task__features": ["cough"], "task__standardise": []}, True),
            ({"task__target": "log10p1_infected"}, True),
            ({"task__standardise": ["distance"], "learning__learning_rate": 1e-6}, True),
        ],
        ids=str,
    )
    def test_one_after_another(self, tmp_path: Path, small_outbreak: Dataset, knobs: Any, again: bool) -> None:
        first, second = experiment(), experiment(**knobs)
        with fleet_of(small_outbreak, 9) as fleet:
            known = trained(fleet, first, tmp_path, run="first").driver.scaling
            engine: Any = fleet.engine
            before = engine._actors[0].run.held
            driver = Driver(second, fleet, "second", tmp_path / "second")
            alike = (second.task.features, second.task.standardise) == (first.task.features, first.task.standardise)
            driver.standardise(known if alike else None)
            state = driver.run(driver.begin(flat_weights(initial_network(second))), 3)
            assert (engine._actors[0].run.held is not before) is again
        alone = outcome(experiment(**knobs), small_outbreak, tmp_path / "alone", 9)
        assert state.server.weights.numpy().tobytes() == alone.weights.tobytes()
        assert {point.metric: point.value for point in driver.points} == alone.metrics


@pytest.mark.parametrize("way", WAYS)
def test_shards_never_leave(ragged: Dataset, tmp_path: Path, way: str) -> None:
    for shard in keep(way, ragged, tmp_path).shards("train", np.arange(2, 8)):
        with pytest.raises(TypeError, match="a shard never leaves"):
            pickle.dumps(shard)


def test_a_shard_of_scattered_phones_finds_their_places(ragged: Dataset, tmp_path: Path) -> None:
    (shard,) = keep("made", ragged, tmp_path).shards("train", np.array([2, 5, 7]))
    assert shard.ids.tolist() == [2, 5, 7]
    assert shard.places(np.array([2, 7])).tolist() == [0, 2]
    assert shard.places(np.array([5])).tolist() == [1]
    assert Phones(0, 2, 8, ragged).ids.tolist() == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("way", WAYS)
def test_no_more_memory_than_a_plan_says_and_no_second_copy(tmp_path: Path, way: str) -> None:
    """30,000 phones of 20 + 20 rows: what numpy allocates while both splits are read; torch takes it as it is."""
    asked = experiment(data={"people": 30_000, "phones": 30_000, "days": 20}, fleet__shards=way)
    dataset = prepare(asked.data, 1, tmp_path, made=way == "made")
    source = RowSource(dataset, reader_of(dataset), asked.task.features, target("log10_infected"), "day")
    ids, five = np.arange(30_000), Scaling.none(5)
    list(source.pieces(ids[:1], "train"))  # what is kept once: footers, imports
    tracemalloc.start()
    rows = held(way, source, five, ids, "cpu", tmp_path / "mapped")
    for split in ("train", "test"):
        for shard in rows.shards(split, ids):
            assert len(shard.ids) > 0
    del shard
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    planned = Needs(asked, 561, 40.0, 1, 2**40).by_part(place(30_000, "auto", 1), way)["shards"]
    resident = 30_000 * (40 * (4 * 5 + 4 + 2) + 2 * 8)
    assert peak < planned
    assert kept == pytest.approx(resident, rel=0.01) if way == "resident" else kept < resident / 20
    assert peak - kept < resident / 3
