"""A run into an MLflow database under the id that it has elsewhere.

MLflow's client gives every new run an id of its own, so this goes through the tables: by MLflow's own table classes,
which know the schema of the installed version, in one transaction.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    Row = Any


def import_run(
    engine: Engine,
    run_id: str,
    experiment_id: str,
    record: Mapping[str, Any],
    artifacts: Path,
    models: Mapping[str, Path],
) -> None:
    """Insert a run, or bring the one of that id up to date; tags that were set here stay.

    Args:
        engine: Of the database.
        run_id: The run's id.
        experiment_id: Of the MLflow experiment in this database.
        record: What `backup.py` wrote; its `tags` may have more.
        artifacts: Where the run's artifacts are.
        models: Where its models are, by id.
    """
    from mlflow.store.tracking.dbmodels import models as found
    from sqlalchemy.orm import Session

    tables: Any = found  # columns of classes take plain values
    info = record["info"]
    with Session(engine) as session, session.begin():
        known = session.get(tables.SqlRun, run_id)
        run = known or tables.SqlRun(run_uuid=run_id, source_type="UNKNOWN", lifecycle_stage="active")
        run.name, run.user_id, run.status = info["run_name"], info["user_id"], info["status"]
        run.start_time, run.end_time = info["start_time"], info["end_time"]
        run.experiment_id, run.artifact_uri = int(experiment_id), artifacts.as_uri()
        session.add(run)
        session.flush()
        for row in _rows(tables, run_id, record):
            session.merge(row)
        for described in record["models"]:
            _merge_model(session, tables, run_id, experiment_id, described, models[described["model_id"]])
        for given in record["inputs"]:
            _add_input(session, tables, run_id, experiment_id, given)


def _rows(tables: Any, run_id: str, record: Mapping[str, Any]) -> Iterable[Row]:
    for key, value in record["params"].items():
        yield tables.SqlParam(run_uuid=run_id, key=key, value=value)
    for key, value in record["tags"].items():
        yield tables.SqlTag(run_uuid=run_id, key=key, value=value)
    latest: dict[str, tuple[int, int, float]] = {}
    for key, value, timestamp, step in record["metrics"]:
        yield tables.SqlMetric(run_uuid=run_id, key=key, timestamp=timestamp, step=step, **_number(value))
        # As MLflow has it: the newest is that of the last step, and of its last moment.
        if key not in latest or (step, timestamp) >= latest[key][:2]:
            latest[key] = (step, timestamp, value)
    for key, (step, timestamp, value) in latest.items():
        yield tables.SqlLatestMetric(run_uuid=run_id, key=key, timestamp=timestamp, step=step, **_number(value))


def _number(value: float) -> dict[str, Any]:
    """A metric as MLflow's tables have it: numbers that are not finite have a stand-in."""
    if math.isnan(value):
        return {"value": 0, "is_nan": True}
    largest = 1.7976931348623157e308
    return {"value": min(max(value, -largest), largest), "is_nan": False}


def _merge_model(
    session: Session, tables: Any, run_id: str, experiment_id: str, described: Mapping[str, Any], folder: Path
) -> None:
    model_id, of = described["model_id"], {"model_id": described["model_id"], "experiment_id": int(experiment_id)}
    session.merge(
        tables.SqlLoggedModel(
            **of,
            name=described["name"],
            artifact_location=folder.as_uri(),
            creation_timestamp_ms=described["creation_timestamp"],
            last_updated_timestamp_ms=described["last_updated_timestamp"],
            status=described["status"],
            model_type=described["model_type"],
            status_message=described["status_message"],
            lifecycle_stage="active",
            source_run_id=run_id,
        )
    )
    for key, value in described["params"].items():
        session.merge(tables.SqlLoggedModelParam(**of, param_key=key, param_value=value))
    for key, value in described["tags"].items():
        session.merge(tables.SqlLoggedModelTag(**of, tag_key=key, tag_value=value))
    _join(session, tables, ("RUN_OUTPUT", run_id), ("MODEL_OUTPUT", model_id), step=described["step"])


def _add_input(session: Session, tables: Any, run_id: str, experiment_id: str, given: Mapping[str, Any]) -> None:
    described = given["dataset"]
    key = {"experiment_id": int(experiment_id), "name": described["name"], "digest": described["digest"]}
    dataset = session.get(tables.SqlDataset, key)
    if dataset is None:
        dataset = tables.SqlDataset(
            **key,
            dataset_uuid=uuid.uuid4().hex,
            dataset_source_type=described["source_type"],
            dataset_source=described["source"],
            dataset_schema=described["schema"],
            dataset_profile=described["profile"],
        )
        session.add(dataset)
        session.flush()
    edge = _join(session, tables, ("DATASET", dataset.dataset_uuid), ("RUN", run_id))
    for name, value in given["tags"].items():
        session.merge(tables.SqlInputTag(input_uuid=edge.input_uuid, name=name, value=value))


def _join(session: Session, tables: Any, source: tuple[str, str], target: tuple[str, str], step: int = 0) -> Row:
    """An edge between a run and what went into it or came out of it; there is one of each."""
    names = ("source_type", "source_id", "destination_type", "destination_id")
    key = dict(zip(names, (*source, *target), strict=True))
    edge = session.get(tables.SqlInput, key)
    if edge is None:
        edge = tables.SqlInput(**key, input_uuid=uuid.uuid4().hex, step=step)
        session.add(edge)
        session.flush()
    return edge
