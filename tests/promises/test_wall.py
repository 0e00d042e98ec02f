"""Wall: of a whole run, failures and logs included, nothing leaves an actor but the listed messages, and no payload
holds a row of a shard."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import own_parts
import pytest
from small_fleets import STRATEGIES, experiment, fleet_of, pooled, trained, wait_until

from fedray.data.shards import Dataset, ParquetShards
from fedray.errors import BadRow, RunFailed
from fedray.fleet.fleet import Fleet
from fedray.fleet.messages import Answer, Failure, Lost, Report
from fedray.fleet.phones import Phones
from fedray.fleet.ray_engine import RayEngine
from fedray.fleet.rows import RowSource
from fedray.learning.task import target

REPORT = {"run", "round", "attempt", "actor", "sums", "lost", "weights", "others"}
FAILURE = {"run", "round", "attempt", "actor", "kind", "file", "column", "row", "expected"}
WHOLE_NUMBERS = {"round", "attempt", "actor", "row"}
LOST = re.compile(
    r"what it sent \(update\) is not finite or larger than 128"
    r"|train-00000\.parquet, column phone, day, temperature, row 68: the derived target is not finite"
)
"""Fixed words and a place."""
SENSORS = ("temperature", "distance")


def check_listed(answer: Answer) -> None:
    """The answer is one of the two types, with their fields, each of its type, and nothing else."""
    assert type(answer) in (Report, Failure)
    held = vars(answer)
    assert set(held) == (REPORT if isinstance(answer, Report) else FAILURE)
    for name in held.keys() & WHOLE_NUMBERS:
        assert type(held[name]) is int, name
    for name in held.keys() & {"run", "kind", "file", "column"}:
        assert type(held[name]) is str, name
    if isinstance(answer, Report):
        for name, units in answer.sums.items():
            assert type(name) is str
            assert np.asarray(units).dtype == np.int64, name
        for lost in answer.lost:
            assert (type(lost), set(vars(lost)), type(lost.phone)) == (Lost, {"phone", "why"}, int)
            assert LOST.fullmatch(lost.why), lost.why
        assert all(type(number) is int for other in answer.others for number in other)
        assert answer.weights is None or (answer.weights.dtype, answer.weights.ndim) == (np.float32, 1)


def traces(dataset: Dataset) -> list[bytes]:
    """What a row would leave in a payload: its sensors as float32, as float64, and written out."""
    values = np.concatenate([pooled(dataset, split, SENSORS).ravel() for split in ("train", "test")])
    found = []
    for value in values:
        found += [np.float32(value).tobytes(), np.float64(value).tobytes()]
        found += [repr(float(value)).encode(), f"{value:.4f}".encode()]
    return found


def check_no_row(payloads: list[bytes], dataset: Dataset) -> None:
    everything = b"\n".join(payloads)
    assert len(everything) > 1000
    assert [trace for trace in traces(dataset) if trace in everything] == []


class TappedRayEngine(RayEngine):
    """Keeps the bytes of what comes out of Ray, before the fleet sees it."""

    def __init__(self) -> None:
        super().__init__(None, 0)
        self.wire: list[bytes] = []

    def next_answers(self) -> list[Any]:
        answers = super().next_answers()
        self.wire += [pickle.dumps(answer, protocol=5) for answer in answers]
        return answers


@pytest.fixture(scope="module")
def tapped(ray_cluster: str, small_outbreak: Dataset) -> Iterator[Fleet]:
    from fedray.fleet.placement import place

    with Fleet(TappedRayEngine(), place(9, 3, 2), small_outbreak) as fleet:
        yield fleet


def test_the_search_finds_a_row_where_there_is_one(small_outbreak: Dataset) -> None:
    rows = pooled(small_outbreak, "train", SENSORS)
    for leak in (rows[17].astype(np.float32).tobytes(), rows.tobytes(), str(rows[3].tolist()).encode()):
        with pytest.raises(AssertionError):
            check_no_row([bytes(2000), leak], small_outbreak)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_whole_run_on_ray_sends_listed_messages_without_a_row(
    strategy: str, tapped: Any, small_outbreak: Dataset, tmp_path: Path
) -> None:
    seen: list[Answer] = []
    tapped.taps[:] = [seen.append]
    tapped.engine.wire.clear()
    trained(tapped, experiment(federation__strategy=strategy, learning__rounds=2), tmp_path, run=strategy)
    assert len(seen) == len(tapped.engine.wire) == 3 * (4 + 2 + 3)  # actors x (prepared and summed, rounds, scored)
    for answer in seen:
        check_listed(answer)
    check_no_row(tapped.engine.wire, small_outbreak)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_one_phone_an_actor_a_report_is_one_update_but_still_no_row(
    strategy: str, small_outbreak: Dataset, tmp_path: Path
) -> None:
    seen: list[Answer] = []
    with fleet_of(small_outbreak, 1) as fleet:
        fleet.taps.append(seen.append)
        trained(fleet, experiment(federation__strategy=strategy, learning__rounds=2), tmp_path)
    for answer in seen:
        check_listed(answer)
    check_no_row([pickle.dumps(answer) for answer in seen], small_outbreak)


FAILING = {
    "a network that quotes its rows": {
        "model__name": own_parts.QuotingNet,
        "task__standardise": [],
        "learning__trainer": "loop",
    },
    "a loss that quotes its targets": {"task__loss": own_parts.quoting_loss, "learning__trainer": "loop"},
    "a row that can't be used": {"task__target": own_parts.UNDEFINED_ONCE},
    "updates that explode": {"learning__learning_rate": 1e6},
}


@pytest.mark.parametrize("how", FAILING)
def test_a_failure_says_its_place_and_no_value(
    how: str,
    tapped: Any,
    small_outbreak: Dataset,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Answer] = []
    tapped.taps[:] = [seen.append]
    tapped.engine.wire.clear()
    with caplog.at_level(logging.DEBUG), pytest.raises((RunFailed, BadRow)) as caught:
        trained(tapped, experiment(**FAILING[how]), tmp_path, run=how)
    for answer in seen:
        check_listed(answer)
    if "quotes" in how:
        # It was said, but there; and with it whose words these are.
        said = re.compile(rf"^\[run {how} round \d+ actor \d\] .*SECRET", re.MULTILINE)
        wait_until(lambda: bool(said.search(node_logs())), 20, "the text in the node's log")
    written = "".join(capfd.readouterr()) + caplog.text + str(caught.value) + repr(caught.getrepr())
    assert "SECRET" not in written
    assert b"SECRET" not in b"".join(tapped.engine.wire)
    check_no_row([*tapped.engine.wire, bytes(1000)], small_outbreak)
    assert [trace for trace in traces(small_outbreak)[3::4] if trace.decode() in written] == []


def test_a_phone_that_cannot_be_read_is_named_by_a_place_and_no_value(
    tapped: Any, small_outbreak: Dataset, tmp_path: Path
) -> None:
    seen: list[Answer] = []
    tapped.taps[:] = [seen.append]
    tapped.engine.wire.clear()
    asked = experiment(task__target=own_parts.UNDEFINED_ONCE, fleet__max_lost_phones=1)
    trained(tapped, asked, tmp_path, run="unreadable")
    for answer in seen:
        check_listed(answer)
    assert {lost.phone for answer in seen if isinstance(answer, Report) for lost in answer.lost} == {5}
    check_no_row(tapped.engine.wire, small_outbreak)


def node_logs() -> str:
    """What workers of this session's cluster wrote on their own machine."""
    import ray

    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    return "".join(file.read_text(errors="replace") for file in logs.glob("worker-*.err"))


def test_shards_refuse_to_be_pickled_and_copied(small_outbreak: Dataset, tmp_path: Path) -> None:
    reader = ParquetShards(small_outbreak)
    rows = reader.read(0, 3, "train", ["temperature"])
    source = RowSource(small_outbreak, reader, ["temperature"], target("log10_infected"), small_outbreak.time)
    known = source.read(np.arange(3), "train")
    phones = Phones(0, 0, 3, small_outbreak)
    with fleet_of(small_outbreak, 9) as fleet:
        outcome = trained(fleet, experiment(learning__rounds=0), tmp_path)
        held: Any = fleet.engine
        shard = held._actors[0].opened(outcome.driver.spec)[1]
    for thing in (rows, known, phones, shard):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="a shard never leaves"):
                attempt(thing)


def test_a_message_that_grows_a_field_must_be_listed_here() -> None:
    assert {field.name for field in dataclasses.fields(Report)} == REPORT
    assert {field.name for field in dataclasses.fields(Failure)} == FAILURE
    assert {field.name for field in dataclasses.fields(Lost)} == {"phone", "why"}
    with contextlib.suppress(dataclasses.FrozenInstanceError):
        Report("run", 1, 1, 0).run = "other"  # type: ignore[misc]
        pytest.fail("messages must be frozen")
