"""FedAvg hand-written in jax, without a framework: `jax.vmap` over clients, `jax.lax.map` over chunks of 512.

A setting is WHERE-SHUFFLE. WHERE: `chunks` in this one process; `processes`, one process a core, pinned to it, each
with its share of the clients. SHUFFLE: as in drjax_round.py.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

import entrant
import numpy as np

SETTINGS = [f"{where}-{shuffle}" for where in ("processes", "chunks") for shuffle in ("shuffled", "unshuffled")]


def trainer(work: entrant.Workload, shuffle: bool, in_order: bool) -> Any:
    """`(weights [D], number, seed) -> mean weights [D]` over the clients of this process."""
    import jax
    import jax.numpy as jnp
    from jax_networks import CHUNK, local_training, shuffled

    chunk = min(CHUNK, work.phones)
    assert work.phones % chunk == 0, f"a process's phones must be a multiple of {chunk}"
    rows = work.in_order() if in_order else (work.features, work.targets)
    x, y = (jnp.asarray(part.reshape(-1, chunk, *part.shape[1:])) for part in rows)
    train = jax.vmap(local_training(work), in_axes=(None, 0, 0))

    @jax.jit
    def one_round(flat: Any, x: Any, y: Any, number: int, process: int) -> Any:
        def one_chunk(rows: Any) -> Any:
            x, y, key = rows
            return [part.sum(0) for part in train(weights, *(shuffled(key, x, y) if shuffle else (x, y)))]

        weights = work.split(flat)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), number), process)
        sums = jax.lax.map(one_chunk, (x, y, jax.random.split(key, len(x))))
        return jnp.concatenate([part.sum(0).ravel() for part in sums]) / work.phones

    return lambda flat, number, process: np.asarray(one_round(flat, x, y, number, process))


def share(work: entrant.Workload, process: int, processes: int) -> entrant.Workload:
    """One process's clients."""
    each = work.phones // processes
    assert each * processes == work.phones, f"--phones must be a multiple of {processes}"
    mine = slice(process * each, (process + 1) * each)
    return entrant.Workload(
        work.features[mine], work.targets[mine], work.order[mine], work.weights, work.network, work.shapes,
        work.batch, work.rate,
    )  # fmt: skip


def serve(link: Connection, folder: Any, phones: int, process: int, core: int, shuffle: bool, in_order: bool) -> None:
    """A process that trains its clients whenever weights arrive, until it is told None."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    cores = len(CORES)
    one_round = trainer(share(entrant.Workload.open(folder, phones), process, cores), shuffle, in_order)
    while (order := link.recv()) is not None:
        link.send(one_round(*order, process))


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def main() -> None:
    asked = entrant.options(*SETTINGS)
    where, shuffle = asked.setting.split("-")
    drawn = shuffle == "shuffled" and not asked.check
    work = entrant.Workload.open(asked.folder, asked.phones)
    if where == "chunks":
        train = trainer(work, drawn, bool(asked.check))
        entrant.compete(asked, work, lambda weights, number: train(weights, number, 0), f"one process, rows {shuffle}")
        return
    context = multiprocessing.get_context("spawn")
    links, others = [], []
    for process, core in enumerate(CORES):
        link, far = context.Pipe()
        what = (far, asked.folder, asked.phones, process, core, drawn, bool(asked.check))
        others.append(context.Process(target=serve, args=what))
        others[-1].start()
        links.append(link)

    def one_round(weights: Any, number: int) -> Any:
        for link in links:
            link.send((weights, number))
        return np.mean([link.recv() for link in links], axis=0, dtype=np.float64).astype(np.float32)

    try:
        entrant.compete(asked, work, one_round, f"{len(CORES)} pinned processes, rows {shuffle}")
    finally:
        for link in links:
            link.send(None)
        for other in others:
            other.join()


if __name__ == "__main__":
    main()
