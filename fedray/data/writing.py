"""How a data set comes to be: Parquet files a split, and a directory that appears whole or not at all.

Everything is written under a temporary name and renamed at the end, so that a writer killed at any moment leaves
nothing that could be mistaken for a data set. Rows are written in blocks: memory doesn't grow with their number.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fedray.data.dataset import MANIFEST, DataFile, Dataset
from fedray.errors import Problem, RunFailed, UserMistake

ROWS_A_GROUP = 1 << 15  # what a reader of one phone has to decode, 1 ms for seven columns; and a writer's memory
ROWS_A_FILE = 1 << 22  # keeps the footer, which every reader parses, at 128 row groups

_LEFTOVER = re.compile(r"^\..+\.(?P<pid>\d+)-[0-9a-f]{32}@(?P<host>.+)\.writing$")


def row_blocks(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut rows into blocks of at most `ROWS_A_GROUP`, between two phones wherever one phone's rows fit a block.

    Args:
        offsets: Rows of phone p are `offsets[p]:offsets[p + 1]`, `[phones + 1]`.

    Yields:
        First row and last row plus one.
    """
    first, end = int(offsets[0]), int(offsets[-1])
    while first < end:
        last = int(offsets[np.searchsorted(offsets, first + ROWS_A_GROUP, side="right") - 1])
        last = last if last > first else min(first + ROWS_A_GROUP, end)
        yield first, last
        first = last


class SplitWriter:
    """Writes the rows of one split, which come in order of phone, into numbered Parquet files.

    Args:
        directory: Of the data set, under its temporary name.
        split: `train` or `test`.
        schema: Of every block; it has a column `phone` and carries the provenance in its metadata.
        rows_a_file: A file that has so many rows is followed by another.
    """

    def __init__(self, directory: Path, split: str, schema: pa.Schema, rows_a_file: int = ROWS_A_FILE) -> None:
        self._directory = directory
        self._split = split
        self._schema = schema.with_metadata({**(schema.metadata or {}), b"fedray.split": split.encode()})
        self._rows_a_file = rows_a_file
        self._writer: pq.ParquetWriter | None = None
        self._open_file = {"first": 0, "last": 0, "rows": 0}
        self._last_run = 0
        self.files: list[DataFile] = []
        self.rows = 0
        self.longest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_file()

    def write(self, block: pa.Table) -> None:
        """Append a block; it becomes one row group, or several if it has more than `ROWS_A_GROUP` rows."""
        phones = block.column("phone").to_numpy()
        writer = self._writer
        if writer is None or self._open_file["rows"] >= self._rows_a_file:
            self._close_file()
            writer = self._start_file(int(phones[0]))
        self._count(phones)
        writer.write_table(block.cast(self._schema), row_group_size=ROWS_A_GROUP)

    def _start_file(self, first: int) -> Any:
        floats = {field.name for field in self._schema if pa.types.is_floating(field.type)}
        self._open_file = {"first": first, "last": first, "rows": 0}
        self._writer = pq.ParquetWriter(
            self._directory / self._name(),
            self._schema,
            use_dictionary=[name for name in self._schema.names if name not in floats],
            write_statistics=["phone"],
            write_page_checksum=True,
        )
        return self._writer

    def _count(self, phones: npt.NDArray[np.int32]) -> None:
        runs = np.diff(np.flatnonzero(np.diff(phones, prepend=-1, append=-1)))
        # A phone's rows may span blocks, and even files.
        if self.rows and int(phones[0]) == self._open_file["last"] - 1:
            runs[0] += self._last_run
        self._last_run = int(runs[-1])
        self.longest = max(self.longest, int(runs.max()))
        self.rows += len(phones)
        self._open_file["rows"] += len(phones)
        self._open_file["last"] = int(phones[-1]) + 1

    def _close_file(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        size = (self._directory / self._name()).stat().st_size
        self.files.append(DataFile(self._name(), self._split, **self._open_file, bytes=size))

    def _name(self) -> str:
        return f"{self._split}-{len(self.files):05d}.parquet"


def schema_of(
    columns: Mapping[str, Any], *, digest: str, source: str, time: str | None, provenance: Mapping[str, Any]
) -> pa.Schema:
    """The schema of a data set's files: its columns, then `split`; what it is and comes from in the metadata."""
    fields = [*columns.items(), ("split", pa.string())]
    about = {"digest": digest, "source": source, "time": time, "provenance": dict(provenance)}
    metadata = {"fedray": json.dumps(about, ensure_ascii=False), "fedray.time": time or ""}
    return pa.schema(fields, metadata=metadata)


def with_split(columns: Mapping[str, Any], split: str, schema: pa.Schema) -> pa.Table:
    """A block as it is stored: the given columns and the split that all its rows belong to."""
    rows = len(next(iter(columns.values())))
    return pa.table({**columns, "split": pa.repeat(pa.scalar(split), rows)}, schema=schema)


def write_manifest(directory: Path, dataset: Dataset) -> None:
    """Write the manifest, the last file of a data set, through to the disk."""
    with (directory / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(dataset.manifest())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_or_nothing(final: Path, knob: str, replace: bool) -> Iterator[Path]:
    """A directory to write into, which gets its final name when all went well and is removed when not.

    Args:
        final: The final name. If somebody else finished the same data set meanwhile, theirs stays.
        knob: What the user changes to write elsewhere (`home`), for messages.
        replace: Whether something under the final name that isn't a whole data set may be thrown away.

    Raises:
        UserMistake: If nothing can be written there at all.
        RunFailed: If writing failed on the way, for instance because the disk is full.
    """
    temporary = _temporary(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final.parent)
        temporary.mkdir()
    except OSError as error:
        mend = f"set {knob} to a directory that you may write to"
        raise UserMistake(Problem(knob, str(final.parent), f"must be writable: {error.strerror}", mend)) from None
    try:
        yield temporary
        _publish(temporary, final, replace)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise RunFailed(f"{final} could not be written: {why}; make room there or change {knob}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_whole(directory: Path) -> bool:
    """Whether a directory is a whole data set."""
    with suppress(UserMistake):
        Dataset.open(directory)
        return True
    return False


def _temporary(final: Path) -> Path:
    """A new name beside the final one, by which `_remove_leftovers` knows whose it is."""
    return final.parent / f".{final.name}.{os.getpid()}-{uuid.uuid4().hex}@{socket.gethostname()}.writing"


def _publish(temporary: Path, final: Path, replace: bool) -> None:
    try:
        temporary.rename(final)
    except OSError:
        if is_whole(final):
            return
        if not replace:
            raise
        # Out of the way in one step, so that nobody ever sees a half of the one and a half of the other.
        aside = _temporary(final)
        final.rename(aside)
        temporary.rename(final)
        shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink()


def _remove_leftovers(parent: Path) -> None:
    """Remove what writers on this machine left behind that are no longer alive."""
    for path in parent.glob(".*.writing"):
        found = _LEFTOVER.match(path.name)
        if found and found["host"] == socket.gethostname() and not _alive(int(found["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
