"""FedAvg in DrJAX: clients mapped by `drjax.map_fn`, a whole round compiled by `jax.jit`.

A setting is WHERE-SHUFFLE. WHERE: `whole` maps all clients at once; `chunks` maps 512 at a time, in turn, so that they
stay in cache; `devices` shows XLA one CPU device a core, and DrJAX shards the clients over them. SHUFFLE:
`shuffled` draws a new order of each client's rows inside the compiled round; `unshuffled` leaves rows as they lie,
which is less work than the others do.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import entrant

WHERE = ("chunks", "whole", "devices")
asked = entrant.options(*(f"{where}-{shuffle}" for where in WHERE for shuffle in ("shuffled", "unshuffled")))
where, shuffle = asked.setting.split("-")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
if where == "devices":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={CORES}"

import drjax  # noqa: E402 - after XLA_FLAGS
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import AxisType, NamedSharding, PartitionSpec  # noqa: E402
from jax_networks import CHUNK, local_training, shuffled  # noqa: E402

work = entrant.Workload.open(asked.folder, asked.phones)
rows = work.in_order() if asked.check else (work.features, work.targets)
cores = CORES if where == "devices" else 1
chunk = work.phones if where == "whole" else min(CHUNK * cores, work.phones)
chunks = work.phones // chunk
assert work.phones == chunk * chunks, f"--phones must be a multiple of {chunk}"
mesh = jax.make_mesh((cores,), ("clients",), axis_types=(AxisType.Auto,), devices=jax.devices()[:cores])
on_cores = NamedSharding(mesh, PartitionSpec(None, "clients"))
x, y = (jax.device_put(part.reshape(chunks, chunk, *part.shape[1:]), on_cores) for part in rows)
train = local_training(work)


@drjax.program(placements={"clients": chunk})
def mean_of_clients(weights: Any, x: Any, y: Any) -> Any:
    return drjax.reduce_mean(drjax.map_fn(train, (drjax.broadcast(weights), x, y)))


def one_chunk(weights: Any, chunk: tuple[Any, Any, Any]) -> Any:
    x, y, key = chunk
    if shuffle == "shuffled" and not asked.check:
        x, y = shuffled(key, x, y)
    return mean_of_clients(weights, x, y)


@jax.jit
def federated_round(flat: Any, x: Any, y: Any, number: Any) -> Any:
    weights = work.split(flat)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(1), number), chunks)
    if chunks == 1:
        means = one_chunk(weights, (x[0], y[0], keys[0]))
    else:
        means = [mean.mean(0) for mean in jax.lax.map(partial(one_chunk, weights), (x, y, keys))]
    return jnp.concatenate([mean.ravel() for mean in means])


def one_round(weights: Any, number: int) -> Any:
    return np.asarray(federated_round(weights, x, y, number))


with jax.set_mesh(mesh):
    entrant.compete(asked, work, one_round, f"{chunk} clients a vmap, {cores} XLA device(s), rows {shuffle}")
