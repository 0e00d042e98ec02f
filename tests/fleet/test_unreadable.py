"""Looking for phones whose rows can't be read ends when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedray.data.shards import Dataset
from fedray.errors import BadRow
from fedray.fleet.rows import RowSource
from fedray.fleet.unreadable import unreadable
from fedray.learning.task import target


class NothingToRead:
    """A reader to whom every row is a bad one, and who says what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def read(self, first: int, last: int, split: str, columns: Sequence[str]) -> Any:
        self.asked.append((split, last - first))
        raise BadRow("NaN", f"{split}.parquet", "temperature", first + 1)

    pick = read


def test_with_more_than_may_drop_out_nothing_more_is_read(small_outbreak: Dataset) -> None:
    reader: Any = NothingToRead()
    source = RowSource(small_outbreak, reader, ("temperature",), target("log10_infected"), None)
    found = unreadable(source, np.arange(9), most=1)
    assert [lost.phone for lost in found] == [0, 1]
    assert {split for split, _ in reader.asked} == {"train"}
