"""All that a run carries from round to round, as one small frozen object that goes to bytes and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load, save

from fedray.errors import Problem, UserMistake
from fedray.strategies.strategy import Server

FORMAT = 1


@dataclass(frozen=True)
class RunState:
    """Where a run stands. Rounds 1-2, to bytes and back, then 3-4 end with the same bits as rounds 1-4.

    Attributes:
        round: How many rounds are done.
        server: The strategy's server half: global weights and its optimiser's state.
        chosen: What every `auto` chose, by knob; going on with a run uses the same.
    """

    round: int
    server: Server
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The state in the safetensors format: a JSON header and plain numbers, no pickle."""
        tensors = {"weights": self.server.weights.clone()}
        tensors |= {f"server.{name}": tensor.clone() for name, tensor in self.server.tensors.items()}
        header = {"format": FORMAT, "round": self.round, "chosen": dict(self.chosen)}
        return save(tensors, metadata={"fedray": json.dumps(header, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The state that `to_bytes` gave.

        Raises:
            UserMistake: If these bytes are no state, or one of another format.
        """
        try:
            length = int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["fedray"])
            tensors = load(data)
            number, chosen, written = header["round"], header["chosen"], header["format"]
            weights = tensors.pop("weights") if written == FORMAT else None
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserMistake(
                Problem("run state", f"{len(data)} bytes", "must be what RunState.to_bytes wrote", str(error))
            ) from error
        if weights is None:
            raise UserMistake(
                Problem(
                    "run state",
                    f"format {written}",
                    f"this fedray reads format {FORMAT}",
                    "use the version of fedray that wrote it",
                )
            )
        moments = {name.removeprefix("server."): tensor for name, tensor in tensors.items()}
        return cls(number, Server(weights, moments), chosen)
