"""All that a driver needs to go on with a run after a round, to bytes and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from safetensors.torch import load, save

from fedray.federation.state import RunState
from fedray.fleet.messages import Lost
from fedray.learning.standardise import Scaling
from fedray.result import Point


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        state: After the round.
        scaling: Of the features.
        points: All that was measured, and watched, up to this round.
        speeds: Phones a second, of each round.
        seconds: Spent by stage: standardise, train, evaluate.
        lost_phones: How many phone-rounds were dropped.
        unreadable: Phones that are out of the run, since their rows couldn't be read; they stay out.
    """

    state: RunState
    scaling: Scaling
    points: tuple[Point, ...]
    speeds: tuple[float, ...]
    seconds: Mapping[str, float]
    lost_phones: int
    unreadable: tuple[Lost, ...] = ()

    def to_bytes(self) -> bytes:
        """In the safetensors format: plain numbers and a JSON header, no pickle."""
        metrics = list(dict.fromkeys(point.metric for point in self.points))
        place = {metric: number for number, metric in enumerate(metrics)}
        arrays = {
            "state": np.frombuffer(self.state.to_bytes(), dtype=np.uint8).copy(),
            "scaling.mean": self.scaling.mean,
            "scaling.scale": self.scaling.scale,
            "points.round": np.array([point.round for point in self.points], dtype=np.int64),
            "points.metric": np.array([place[point.metric] for point in self.points], dtype=np.int64),
            "points.value": np.array([point.value for point in self.points], dtype=np.float64),
            "speeds": np.array(self.speeds, dtype=np.float64),
        }
        said = {
            "metrics": metrics,
            "seconds": dict(self.seconds),
            "lost_phones": self.lost_phones,
            "unreadable": [(lost.phone, lost.why) for lost in self.unreadable],
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return save(tensors, metadata={"fedray": json.dumps(said)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The progress that `to_bytes` gave; the bytes are known to be whole.

        Raises:
            UserMistake: If the state in it is of another format.
        """
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        said = json.loads(header["__metadata__"]["fedray"])
        arrays = {name: tensor.numpy() for name, tensor in load(data).items()}
        rounds, metrics, values = (arrays[f"points.{name}"].tolist() for name in ("round", "metric", "value"))
        named = [said["metrics"][metric] for metric in metrics]
        return cls(
            state=RunState.from_bytes(arrays["state"].tobytes()),
            scaling=Scaling(arrays["scaling.mean"], arrays["scaling.scale"]),
            points=tuple(map(Point, rounds, named, values)),
            speeds=tuple(arrays["speeds"].tolist()),
            seconds=said["seconds"],
            lost_phones=said["lost_phones"],
            unreadable=tuple(Lost(phone, why) for phone, why in said.get("unreadable", ())),
        )
