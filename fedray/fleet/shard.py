"""The rows of some phones as the network sees them, where training and scoring find them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fedray.learning.trainer import Examples

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Shard:
    """Rows of some of an actor's phones as the network sees them; never leaves the actor.

    Attributes:
        ids: Of the phones, rising, `[phones]`.
        offsets: Rows of phone `ids[i]` are `offsets[i]:offsets[i + 1]`, `[phones + 1]`.
        examples: All rows, and a spare one.
        day: Of each row, `[rows]`, any integer type; empty where no days are wanted.
    """

    ids: Int64
    offsets: Int64
    examples: Examples
    day: npt.NDArray[np.integer] = field(default_factory=lambda: np.empty(0, dtype=np.int16))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a shard never leaves the actor that holds it")

    def places(self, ids: Int64) -> Int64:
        """Where phones stand in `ids`; they must be there."""
        if len(self.ids) and self.ids[-1] - self.ids[0] == len(self.ids) - 1:
            return np.asarray(ids - self.ids[0])
        return np.asarray(np.searchsorted(self.ids, ids))

    def rows(self, ids: Int64) -> Int64:
        """How many rows each of some phones has."""
        places = self.places(ids)
        return self.offsets[places + 1] - self.offsets[places]
