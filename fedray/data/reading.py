"""How rows come out of a data set: by range of phones, only the row groups that overlap it, checked once more.

Rows stay where they are read: they refuse to be pickled, don't show themselves when printed, and what is said of a bad
one is its place, never what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fedray.data.copies import Files, gone
from fedray.data.dataset import SPLITS, DataFile, Dataset
from fedray.errors import BadRow

Array = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]


@dataclass(eq=False, repr=False)
class Rows:
    """The rows of some phones.

    Attributes:
        ids: Of the phones, rising, `[phones]`.
        offsets: Rows of phone `ids[i]` are `offsets[i]:offsets[i + 1]`, int64 `[phones + 1]`; a phone may have none.
        columns: The wanted columns, `[offsets[-1]]` each, in their stored types (text as objects).
    """

    ids: Int64
    offsets: Int64
    columns: dict[str, Array]

    def __repr__(self) -> str:
        phones = f"{self.ids[0]}..{self.ids[-1]}" if len(self.ids) else "nobody"
        return f"<Rows of phones {phones}: {int(self.offsets[-1])} rows>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a shard never leaves the process that reads it: rows can't be pickled or copied")


class ShardReader(Protocol):
    """Whatever gives the rows of phones."""

    def read(self, first: int, last: int, split: str, columns: Sequence[str]) -> Rows:
        """The rows of phones `first..last-1` in a split."""
        ...

    def pick(self, ids: Int64, split: str, columns: Sequence[str]) -> Rows:
        """The rows of some phones, whose ids rise, in a split."""
        ...


@dataclass(frozen=True, eq=False)
class _Index:
    """The footer of a Parquet file, and the phones and rows of its row groups, `[groups]` each."""

    metadata: Any
    schema: Any
    lowest: Int64
    highest: Int64
    start: Int64


class ParquetShards:
    """Reads the Parquet files of a data set; footers are parsed once, row groups whenever a range overlaps them."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._files = dataset, Files(dataset)
        self._indexes: dict[str, _Index] = {}

    def read(self, first: int, last: int, split: str, columns: Sequence[str]) -> Rows:
        """The rows of phones `first..last-1`, in order of phone and, within a phone, of time.

        Args:
            first: The first phone.
            last: The last phone plus one.
            split: `train` or `test`.
            columns: Any stored columns.

        Raises:
            BadRow: For a wanted column that isn't there; for the first null, NaN or infinite value in one of them; for
                rows out of order; for a file that can't be read. Rows are numbered from 1 in the file; 0 is none.
            ValueError: If there are no such phones or no such split.
        """
        if not 0 <= first <= last <= self._dataset.phones:
            raise ValueError(f"phones {first}..{last} are not within 0..{self._dataset.phones}")
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        names = list(dict.fromkeys(columns))
        groups = list(self._groups(first, last, split, names))
        parts = {name: [group[name] for group in groups] for name in ["phone", *names]}
        del groups
        # Column by column, so that only one of them is there twice.
        phones = np.concatenate(parts["phone"]) if parts["phone"] else np.empty(0, dtype=np.int32)
        offsets = np.searchsorted(phones, np.arange(first, last + 1)).astype(np.int64)
        ids = np.arange(first, last, dtype=np.int64)
        return Rows(ids, offsets, {name: self._column(name, parts.pop(name)) for name in names})

    def pick(self, ids: Int64, split: str, columns: Sequence[str]) -> Rows:
        """The rows of some phones, whose ids rise; all between the first and the last of them are read for it.

        Raises:
            BadRow, ValueError: As `read`.
        """
        if not len(ids):
            return self.read(0, 0, split, columns)
        whole = self.read(int(ids[0]), int(ids[-1]) + 1, split, columns)
        places = ids - ids[0]
        counts = np.diff(whole.offsets)
        wanted = np.zeros(len(counts), dtype=bool)
        wanted[places] = True
        rows = np.repeat(wanted, counts)
        offsets = np.concatenate([[0], np.cumsum(counts[places])])
        return Rows(ids, offsets, {name: column[rows] for name, column in whole.columns.items()})

    def _column(self, name: str, parts: list[Array]) -> Array:
        if parts:
            # Copies, also if there is but one part: a view of a few rows would keep its whole row group in memory.
            return np.concatenate(parts)
        file = self._dataset.files[0]
        return np.empty(0, dtype=_field_type(self._index(file).schema, file, name).to_pandas_dtype())

    def _groups(self, first: int, last: int, split: str, names: list[str]) -> Iterator[dict[str, Array]]:
        """The wanted columns and `phone` of every overlapping row group, cut to the range and checked."""
        previous = -1
        for file in self._dataset.files:
            if file.split != split or file.first >= last or file.last <= first:
                continue
            index = self._index(file)
            for name in names:
                _field_type(index.schema, file, name)
            with (
                _Damage(self._files, file),
                pq.ParquetFile(
                    self._files.path(file),
                    metadata=index.metadata,
                    page_checksum_verification=True,
                ) as parquet,
            ):
                for group in np.flatnonzero((index.lowest < last) & (index.highest >= first)):
                    # One thread: there may be an actor for every core already.
                    read = sorted({"phone", *names})
                    table = parquet.read_row_group(int(group), columns=read, use_threads=False)
                    checked = _Checked(file, int(index.start[group]), table, self._dataset.time)
                    phones = checked.phones(previous)
                    low, high = np.searchsorted(phones, [first, last])
                    previous = int(phones[-1])
                    yield {"phone": phones[low:high], **checked.columns(names, int(low), int(high))}

    def _index(self, file: DataFile) -> _Index:
        if file.name not in self._indexes:
            with _Damage(self._files, file):
                metadata = pq.read_metadata(self._files.path(file))
            schema = metadata.schema.to_arrow_schema()
            _field_type(schema, file, "phone")
            self._indexes[file.name] = _index_of(metadata, schema)
        return self._indexes[file.name]


class _Checked:
    """A row group whose columns are checked as they are taken out.

    Args:
        file: Where it stands.
        start: Rows of the file before it.
        table: Its wanted columns.
        time: The column that must rise within a phone, if it's among them.
    """

    def __init__(self, file: DataFile, start: int, table: Any, time: str | None) -> None:
        self._file = file
        self._start = start
        self._table = table
        self._time = time

    def phones(self, previous: int) -> npt.NDArray[np.int32]:
        """The phones of all its rows, which must follow `previous` and each other in order."""
        phones = self._numbers("phone", 0, self._table.num_rows)
        self._refuse("phones out of order", "phone", np.diff(phones, prepend=previous) < 0)
        return phones

    def columns(self, names: list[str], low: int, high: int) -> dict[str, Array]:
        """Columns of the rows `low..high-1`."""
        taken = {name: self._numbers(name, low, high) for name in names}
        if self._time in taken and high > low:
            time, phones = taken[self._time], self._numbers("phone", low, high)
            falls = (phones[1:] == phones[:-1]) & (time[1:] <= time[:-1])
            self._refuse("rows of a phone out of order of time", self._time, falls, low + 1)
        return taken

    def _numbers(self, name: str, low: int, high: int) -> Array:
        column = self._table.column(name).slice(low, high - low)
        if column.null_count:
            self._refuse("missing value", name, column.is_null().to_numpy(), low)
        values = _values(column)
        if values.dtype.kind == "f":
            self._refuse("NaN", name, np.isnan(values), low)
            self._refuse("infinite value", name, np.isinf(values), low)
        return values

    def _refuse(self, kind: str, column: str | None, bad: npt.NDArray[np.bool_], low: int = 0) -> None:
        if bad.any():
            raise BadRow(kind, self._file.name, str(column), self._start + low + int(np.argmax(bad)) + 1)


def _values(column: Any) -> Array:
    """A column without nulls as numpy. Arrow's own `to_numpy` imports pandas, which costs an actor 40 MiB."""
    parts = [_part(chunk) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, column.type.to_pandas_dtype())])


def _part(chunk: Any) -> Array:
    if pa.types.is_boolean(chunk.type):  # bits, of which numpy has none
        return np.from_dlpack(chunk.cast(pa.uint8())).view(np.bool_)
    if pa.types.is_integer(chunk.type) or pa.types.is_floating(chunk.type):
        return np.from_dlpack(chunk)
    values: Array = chunk.to_numpy(zero_copy_only=False)
    return values


class _Damage:
    """Turns pyarrow's complaints about a file, which may quote what it holds, into a BadRow without a row."""

    def __init__(self, files: Files, file: DataFile) -> None:
        self._files, self._file = files, file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise gone(self._file) from None
        if isinstance(error, OSError | pa.ArrowException):
            self._files.forget(self._file)
            raise BadRow("damaged, or changed since it was written", self._file.name, "(any)", 0) from None


def _index_of(metadata: Any, schema: Any) -> _Index:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    place = schema.names.index("phone")
    ranges = [group.column(place).statistics for group in groups]
    everybody = (0, np.iinfo(np.int32).max)  # for a file that somebody wrote without statistics
    known = [(found.min, found.max) if found and found.has_min_max else everybody for found in ranges]
    lowest, highest = np.array(known, dtype=np.int64).reshape(-1, 2).T
    sizes = np.array([group.num_rows for group in groups], dtype=np.int64)
    return _Index(metadata, schema, lowest, highest, np.cumsum(sizes) - sizes)


def _field_type(schema: Any, file: DataFile, name: str) -> Any:
    if name not in schema.names:
        raise BadRow("no such column", file.name, name, 0)
    return schema.field(name).type
