"""What a run keeps in its folder for replay: how features were scaled, and what was broadcast in a round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from fedray.storage import storage


def kept_scaling(folder: Path) -> Path:
    """Where the scaling of features is kept for replay."""
    return folder / "scaling.safetensors"


def kept_broadcast(folder: Path, number: int) -> Path:
    """Where the broadcast of a round is kept for replay."""
    return folder / f"broadcast-{number:06d}.safetensors"


def keep(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what is kept, whole or not at all.

    Raises:
        OSError: If it can't be written; the run doesn't need it.
    """
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    storage(path.parent).write(path.name, content, lasting=False)
