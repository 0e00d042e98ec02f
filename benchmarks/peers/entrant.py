"""What every entrant of the contest shares: the workload's folder, the options of its script, and the line it prints.

An entrant is a script of its own, run by the Python of its own environment, so this file imports numpy alone. It prints
one JSON line: the seconds of each round, the first one included, and how it came by them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Workload:
    """The rows of the first so many phones, and what is to be done with them.

    Attributes:
        features: `[phones, rows, features]`.
        targets: `[phones, rows]`.
        order: In which a phone's rows come when the order is given, `[phones, rows]`.
        weights: That everybody starts from, flat `[D]`.
        network: A name of `benchmarks/models.py`.
        shapes: Of the network's weights, in the order of the flat vector.
        batch: Rows a step.
        rate: Of SGD.
    """

    features: Float32
    targets: Float32
    order: npt.NDArray[np.int32]
    weights: Float32
    network: str
    shapes: list[tuple[int, ...]]
    batch: int
    rate: float

    @classmethod
    def open(cls, folder: Path, phones: int) -> Workload:
        """Read what `benchmarks/workload.py` has written."""
        about = json.loads((folder / "workload.json").read_text())
        arrays = (np.load(folder / f"{name}.npy", mmap_mode="r")[:phones] for name in ("features", "targets", "order"))
        features, targets, order = (np.array(array) for array in arrays)
        shapes = [tuple(shape) for shape in about["shapes"]]
        start = np.load(folder / "weights.npy")
        return cls(features, targets, order, start, about["network"], shapes, about["batch"], about["rate"])

    @property
    def phones(self) -> int:
        """How many there are."""
        return len(self.features)

    def in_order(self) -> tuple[Float32, Float32]:
        """Features and targets with each phone's rows in the given order."""
        features = np.take_along_axis(self.features, self.order[:, :, None], axis=1)
        return features, np.take_along_axis(self.targets, self.order, axis=1)

    def split(self, flat: Any) -> list[Any]:
        """A flat vector `[D]`, of numpy or jax, as the network's weights."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        starts = [0, *ends[:-1]]
        return [flat[a:b].reshape(shape) for a, b, shape in zip(starts, ends, self.shapes, strict=True)]


def options(*settings: str) -> argparse.Namespace:
    """What the script was asked for; `settings` are its own ways to run, the first one by default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="of the workload")
    parser.add_argument("--phones", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=5, help="after the first")
    parser.add_argument("--setting", choices=settings, default=settings[0])
    parser.add_argument("--check", type=Path, help="train one round in the given order; write the mean weights here")
    asked = parser.parse_args()
    # Only the JSON line goes to standard output, whatever a library prints there.
    asked.answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return asked


def rounds_of(asked: argparse.Namespace) -> int:
    """How many rounds to train: the first, which warms up, and those that are timed; one for the check."""
    return 1 if asked.check else asked.rounds + 1


def compete(asked: argparse.Namespace, work: Workload, one_round: Callable[[Float32, int], Float32], how: str) -> None:
    """Run rounds, `one_round(weights [D], number) -> mean weights [D]`, and say what they took."""
    seconds, weights = [], work.weights
    for number in range(1, rounds_of(asked) + 1):
        began = time.perf_counter()
        weights = one_round(weights, number)
        seconds.append(time.perf_counter() - began)
    announce(asked, seconds, weights, how)


def announce(asked: argparse.Namespace, seconds: list[float], weights: Float32, how: str) -> None:
    """Print the entrant's one line.

    Args:
        asked: As `options` returned it.
        seconds: Wall-clock seconds of each round, the first one included.
        weights: The averaged weights after the last round.
        how: What this way of running does, its shuffling above all.
    """
    if asked.check:
        np.save(asked.check, np.asarray(weights, dtype=np.float32))
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    line = {
        "phones": asked.phones,
        "first": seconds[0],
        "seconds": seconds[1:],
        "cpu_seconds": mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime,
        "finite": bool(np.isfinite(weights).all()),
        "how": how,
    }
    print(json.dumps(line), file=asked.answer, flush=True)
    sys.stdout.flush()
