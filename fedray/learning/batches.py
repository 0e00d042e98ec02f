"""Which of its rows a phone trains on at each step: shuffled anew each epoch, by address.

A phone's batches depend on (seed, round, phone) and on its number of rows, not on the phones beside it. Phones may have
different numbers of rows: the last batch of a phone is padded, never cut off or filled with other rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedray.randomness import Purpose, UInt64, key, shuffles

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batches:
    """The batches of some phones, those with most steps first.

    Attributes:
        phones: Where each phone stands in the arrays that these batches were made from, `[phones]`.
        rows: Row numbers into the flat features, `[steps, phones, batch]`; padding points at the phone's own first row,
            and behind its last step at the spare row.
        mask: 1 where a row is real, float32 `[steps, phones, batch]`.
        steps: How many steps each phone takes, falling, `[phones]`.
        keys: Of each phone's draws within its module (dropout), `[phones]`.
    """

    phones: Int64
    rows: Tensor
    mask: Tensor
    steps: Int64
    keys: UInt64

    def active(self, step: int) -> int:
        """How many phones, from the front, still have rows at this step."""
        return int(np.searchsorted(-self.steps, -step, side="left"))


def batches(
    *, seed: int, round_number: int, ids: Int64, starts: Int64, rows: Int64, spare: int, epochs: int, batch_size: int
) -> Batches:
    """The batches of one round.

    Args:
        seed: The experiment's seed.
        round_number: From 1.
        ids: Of the phones, `[phones]`.
        starts: Where each phone's rows start in the flat features, `[phones]`.
        rows: How many rows each phone has, `[phones]`.
        spare: Number of a row that exists but belongs to nobody.
        epochs: Local epochs, each with a new order.
        batch_size: Rows a step.
    """
    phones = np.argsort(-rows, kind="stable")
    ids, starts, rows = ids[phones], starts[phones], rows[phones]
    per_epoch = -(-rows // batch_size)
    most = int(per_epoch.max(initial=0))
    index = np.full((epochs * most, len(ids), batch_size), spare, dtype=np.int64)
    mask = np.zeros(index.shape, dtype=np.float32)
    for epoch in range(epochs):
        keys = key(seed, Purpose.SHUFFLE, round_number, ids, epoch)
        order = shuffles(keys, rows, most * batch_size)  # [phones, most * batch_size]
        real = np.arange(most * batch_size) < rows[:, None]
        # Not zeros: a network that can't take them (a division by the norm of a row) would make NaN of a masked row.
        numbers = np.where(real, starts[:, None] + order, starts[:, None]).reshape(len(ids), most, batch_size)
        _place_epoch(index, numbers, epoch, per_epoch)
        _place_epoch(mask, real.reshape(len(ids), most, batch_size).astype(np.float32), epoch, per_epoch)
    draws = key(seed, Purpose.MODULE, round_number, ids)
    return Batches(phones, torch.from_numpy(index), torch.from_numpy(mask), per_epoch * epochs, draws)


def _place_epoch(into: npt.NDArray[Any], values: npt.NDArray[Any], epoch: int, per_epoch: Int64) -> None:
    """Write an epoch's steps `[phones, most, batch]` into `[steps, phones, batch]`, behind each phone's earlier epochs.

    Phones of one length have the same place, so a few slices do it where all shards are alike.
    """
    for steps in np.unique(per_epoch[per_epoch > 0]):
        alike = per_epoch == steps
        into[epoch * steps : (epoch + 1) * steps, alike] = values[alike, :steps].transpose(1, 0, 2)
