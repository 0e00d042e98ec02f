"""From a phone range's stored columns to tensors: features, derived targets, days; and the sums for standardisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from fedray.errors import BadRow
from fedray.learning.scoring import per_phone
from fedray.learning.standardise import Scaling
from fedray.learning.task import Target
from fedray.learning.trainer import Examples
from fedray.sums import to_limbs

if TYPE_CHECKING:
    from fedray.data.shards import Dataset, ShardReader

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PhoneRows:
    """Rows of a range of phones, as stored; never leaves the actor.

    Attributes:
        first: Id of the first phone.
        offsets: Rows of phone first + i are `offsets[i]:offsets[i + 1]`.
        features: `[rows, features]`, float32, or float64 where a column needs it.
        targets: `[rows]`, float64.
        day: `[rows]`; empty if no days are wanted.
    """

    first: int
    offsets: Int64
    features: npt.NDArray[np.floating[Any]]
    targets: Float64
    day: Int64

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a shard never leaves the actor that holds it")

    def column_sums(self) -> dict[str, Int64]:
        """Exact sums: `rows` and each feature's `totals`."""
        columns = np.stack([per_phone(column, self.offsets) for column in self._columns()], axis=1)
        return {"rows": np.asarray(self.offsets[-1]), "totals": to_limbs(columns).sum(axis=1)}

    def square_sums(self, mean: Float64) -> dict[str, Int64]:
        """Exact sums of squared distances from `mean` `[features]`."""
        columns = zip(self._columns(), mean, strict=True)
        squares = np.stack([per_phone((column - middle) ** 2, self.offsets) for column, middle in columns], axis=1)
        return {"squares": to_limbs(squares).sum(axis=1)}

    def examples(self, scaling: Scaling, device: str) -> Examples:
        """As the network sees them, with a spare row behind the last."""
        features = np.zeros((len(self.targets) + 1, self.features.shape[1]), dtype=np.float32)
        for place, column in enumerate(self._columns()):
            features[:-1, place] = (column - scaling.mean[place]) / scaling.scale[place]
        targets = np.zeros(len(self.targets) + 1, dtype=np.float32)
        targets[:-1] = self.targets
        return Examples(torch.from_numpy(features).to(device), torch.from_numpy(targets).to(device))

    def _columns(self) -> list[Float64]:
        return [column.astype(np.float64) for column in self.features.T]


def read_rows(
    dataset: Dataset,
    reader: ShardReader,
    first: int,
    last: int,
    split: str,
    features: Sequence[str],
    target: Target,
    time: str | None,
) -> PhoneRows:
    """Read some phones' rows and derive their targets.

    Raises:
        BadRow: For a value that is not finite, as stored or once derived; with the row's number in its file.
    """
    wanted = list(dict.fromkeys([*features, *target.columns, *([time] if time else [])]))
    rows = reader.read(first, last, split, wanted)
    count = int(rows.offsets[-1])
    targets = np.asarray(target.derive(_only(rows.columns, target.columns)), dtype=np.float64)
    if targets.shape != (count,):
        raise BadRow(f"the target has shape {targets.shape} for {count} rows", split, "target", 0)
    if not np.isfinite(targets).all():
        bad = int(np.flatnonzero(~np.isfinite(targets))[0])
        file, row = _place(dataset, reader, first, split, bad)
        raise BadRow("the derived target is not finite", file, ", ".join(target.columns), row)
    columns = [rows.columns[name] for name in features]
    wide = any(not np.can_cast(column.dtype, np.float32, "safe") for column in columns)
    matrix = np.empty((count, len(columns)), dtype=np.float64 if wide else np.float32)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    day = rows.columns[time].astype(np.int64) if time else np.empty(0, dtype=np.int64)
    return PhoneRows(first, rows.offsets, matrix, targets, day)


def _place(dataset: Dataset, reader: ShardReader, first: int, split: str, row: int) -> tuple[str, int]:
    """Which file holds row `row` (from 0) of those that begin with phone `first`, and its number there, from 1."""
    files = [file for file in dataset.files if file.split == split]
    low = first  # counting starts at a phone before which a file ends; a phone's rows may span two files
    for file in reversed(files):
        low = file.first if file.first < low < file.last else low
    before = sum(file.rows for file in files if file.last <= low)
    number = before + int(reader.read(low, first, split, []).offsets[-1]) + row
    for file in files:
        if number < file.rows:
            return file.name, number + 1
        number -= file.rows
    raise LookupError(f"no file of {split} has this row")


def _only(columns: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    return {name: columns[name] for name in names} if names else columns
