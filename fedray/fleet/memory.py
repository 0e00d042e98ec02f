"""Private vectors that phones keep from round to round (SCAFFOLD's controls): on disk, a file a range of phones.

A file is tagged with the round after which it holds. A round reads what the committed round before it wrote and writes
under its own tag, so an order that is repeated, by this actor or by the one that replaces it, starts from the same
state. Older files are deleted once two newer rounds exist.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedray.errors import RunFailed


class Memory:
    """The vectors of phones first..last-1.

    Args:
        folder: Of the run.
        first: Id of the first phone.
        last: Id after the last phone.
        width: Numbers a phone.
    """

    def __init__(self, folder: Path, first: int, last: int, width: int) -> None:
        self.folder, self.first, self.last, self.width = folder, first, last, width
        self._round, self._vectors = 0, torch.zeros(0, width)

    def before(self, round_number: int) -> Tensor:
        """A copy of what phones held when this round began, `[phones, width]`; zeros before round 1.

        Raises:
            RunFailed: If the file of the round before is gone.
        """
        if round_number == 1 or self.width == 0:
            return torch.zeros(self.last - self.first, self.width)
        if self._round != round_number - 1:
            path = self._path(round_number - 1)
            if not path.exists():
                raise RunFailed(f"phones {self.first} to {self.last - 1} have no state after round {round_number - 1}")
            self._round, self._vectors = round_number - 1, load_file(path)["memory"]
        return self._vectors.clone()

    def keep(self, round_number: int, vectors: Tensor) -> None:
        """Write what phones hold after this round, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(round_number)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"memory": vectors.contiguous()}, partial)
        partial.replace(path)
        self._path(round_number - 2).unlink(missing_ok=True)
        self._round, self._vectors = round_number, vectors

    def _path(self, round_number: int) -> Path:
        return self.folder / f"phones-{self.first:09d}-{self.last:09d}-round-{round_number:06d}.safetensors"
