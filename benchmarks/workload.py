"""The standard workload, written once into a folder that all entrants of a contest read: the same rows, first weights
and order of rows for everybody.

The order is the one that fedray's phones shuffle themselves into in their first round, by address, so that whoever can
take it must end with fedray's weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedray.randomness import Purpose, key, shuffles

SEED, ROWS, BATCH, RATE = 1, 50, 10, 0.1
FEATURES, WINDOW = 5, 35

Float32 = npt.NDArray[np.float32]


def rows(phones: int, features: int = FEATURES) -> tuple[Float32, Float32]:
    """Features `[phones, rows, features]` and targets `[phones, rows]`; the first phones are the same for any number.

    Every phone's own slope leans away from the common one, so the phones' updates differ and an average matters.
    """
    # One stream, phone after phone: what more phones draw comes behind.
    drawn = np.random.Generator(np.random.Philox(SEED)).standard_normal((phones, ROWS + 1, features), dtype=np.float32)
    x, own = drawn[:, :ROWS], drawn[:, ROWS:]
    return x, np.tanh((x * (1 + own)).sum(-1) / np.float32(features) ** 0.5)


def order(phones: int, rows_each: int = ROWS) -> npt.NDArray[np.int32]:
    """The order of rows of fedray's first round, `[phones, rows]`."""
    keys = key(SEED, Purpose.SHUFFLE, 1, np.arange(phones), 0)
    return shuffles(keys, np.full(phones, rows_each), rows_each).astype(np.int32)


def write(folder: Path, phones: int, network: str = "MLP") -> Path:
    """Write the workload of so many phones, unless it is there."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.numpy import save_file

    from benchmarks.models import NETWORKS, WINDOWED

    folder = folder / f"{network}-{phones}"
    if (folder / "workload.json").exists():  # written last
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    features, targets = rows(phones, WINDOW if network in WINDOWED else FEATURES)
    torch.manual_seed(SEED)
    parameters = list(NETWORKS[network]().parameters())
    weights = torch.cat([part.detach().flatten() for part in parameters]).numpy()
    for name, array in {"features": features, "targets": targets, "order": order(phones), "weights": weights}.items():
        np.save(folder / f"{name}.npy", array)
    save_file({"weights": weights}, folder / "weights.safetensors")
    columns = {f"f{number}": features[:, :, number].ravel() for number in range(features.shape[2])}
    phone, time = np.divmod(np.arange(phones * ROWS), ROWS)
    pq.write_table(pa.table({"phone": phone, "time": time, **columns, "y": targets.ravel()}), folder / "rows.parquet")
    shapes = [list(part.shape) for part in parameters]
    about = {"network": network, "phones": phones, "batch": BATCH, "rate": RATE, "shapes": shapes}
    (folder / "workload.json").write_text(json.dumps(about))
    return folder
