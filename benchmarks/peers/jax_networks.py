"""The networks of `benchmarks/models.py` once more, as pure functions in jax, and a phone's local training with them.

Weights are lists in the order of torch's `named_parameters()`. Convolutions are written as products with shifted
windows: mapped over clients, `lax.conv_general_dilated` becomes a grouped convolution, which XLA runs slowly on a CPU.
Recurrence over the seven days is unrolled, which XLA runs faster than `lax.scan` here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from entrant import Workload

DAYS, SENSORS, WIDTH, HEADS = 7, 5, 16, 2
CHUNK = 512  # clients of one vmap that stay in cache; 128 to 1,024 are alike, 2,048 are slower

Array = Any
Weights = list[Array]


def linear(weight: Array, bias: Array, x: Array) -> Array:
    return x @ weight.T + bias


def mlp(w: Weights, x: Array) -> Array:
    x = jax.nn.relu(linear(w[0], w[1], x))
    x = jax.nn.relu(linear(w[2], w[3], x))
    return linear(w[4], w[5], x)


def normed(weight: Array, bias: Array, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def layer_norm_mlp(w: Weights, x: Array) -> Array:
    x = jax.nn.relu(normed(w[2], w[3], linear(w[0], w[1], x)))
    x = jax.nn.relu(normed(w[6], w[7], linear(w[4], w[5], x)))
    return linear(w[8], w[9], x)


def gru(w: Weights, x: Array) -> Array:
    x = x.reshape(len(x), DAYS, SENSORS)
    from_inputs = linear(w[0], w[2], x)  # [rows, days, 3 * width]
    hidden = jnp.zeros((len(x), WIDTH))
    for day in range(DAYS):
        reset_in, update_in, new_in = jnp.split(from_inputs[:, day], 3, axis=-1)
        reset_h, update_h, new_h = jnp.split(linear(w[1], w[3], hidden), 3, axis=-1)
        reset, update = jax.nn.sigmoid(reset_in + reset_h), jax.nn.sigmoid(update_in + update_h)
        new = jnp.tanh(new_in + reset * new_h)
        hidden = (1 - update) * new + update * hidden
    return linear(w[4], w[5], hidden)


def conv(w: Weights, x: Array) -> Array:
    x = x.reshape(len(x), DAYS, SENSORS)
    for weight, bias in ((w[0], w[1]), (w[2], w[3])):
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        windows = jnp.concatenate([padded[:, shift : shift + DAYS] for shift in range(3)], axis=-1)
        kernel = weight.transpose(0, 2, 1).reshape(len(weight), -1)  # [out, in, 3] to [out, 3 * in]
        x = jax.nn.relu(linear(kernel, bias, windows))
    return linear(w[4], w[5], x.mean(1))


def transformer(w: Weights, x: Array) -> Array:
    x = linear(w[0], w[1], x.reshape(len(x), DAYS, SENSORS))
    query, key, value = (
        part.reshape(len(x), DAYS, HEADS, WIDTH // HEADS) for part in jnp.split(linear(w[2], w[3], x), 3, axis=-1)
    )
    attention = jax.nn.softmax(jnp.einsum("rdhw,rehw->rhde", query, key) / (WIDTH // HEADS) ** 0.5, axis=-1)
    mixed = jnp.einsum("rhde,rehw->rdhw", attention, value).reshape(len(x), DAYS, WIDTH)
    x = normed(w[10], w[11], x + linear(w[4], w[5], mixed))
    x = normed(w[12], w[13], x + linear(w[8], w[9], jax.nn.relu(linear(w[6], w[7], x))))
    return linear(w[14], w[15], x.mean(1))


NETWORKS: dict[str, Callable[[Weights, Array], Array]] = {
    "MLP": mlp, "GRU": gru, "Conv": conv, "LayerNormMLP": layer_norm_mlp, "BigMLP": mlp, "Transformer": transformer,
}  # fmt: skip


def local_training(work: Workload) -> Callable[[Weights, Array, Array], Weights]:
    """A phone's one epoch: `(weights, features [rows, F], targets [rows]) -> weights`."""
    network, batch = NETWORKS[work.network], work.batch

    def loss(w: Weights, x: Array, y: Array) -> Array:
        return jnp.mean((network(w, x)[:, 0] - y) ** 2)

    def step(w: Weights, rows: tuple[Array, Array]) -> tuple[Weights, None]:
        return [a - work.rate * b for a, b in zip(w, jax.grad(loss)(w, *rows), strict=True)], None

    def train(w: Weights, x: Array, y: Array) -> Weights:
        steps = len(x) // batch
        return jax.lax.scan(step, w, (x.reshape(steps, batch, -1), y.reshape(steps, batch)))[0]

    return train


def shuffled(key: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """The rows of each phone in a new order, `x` `[phones, rows, F]`, `y` `[phones, rows]`.

    One sort of random numbers that carry their own place in their low bits: cheaper than `jax.random.permutation` a
    phone, which sorts pairs.
    """
    phones, rows = y.shape
    low = jnp.uint32((1 << (rows - 1).bit_length()) - 1)
    drawn = jax.random.bits(key, (phones, rows), dtype=jnp.uint32) & ~low | jnp.arange(rows, dtype=jnp.uint32)
    order = (jax.lax.sort(drawn, dimension=1) & low).astype(jnp.int32)
    return jnp.take_along_axis(x, order[:, :, None], axis=1), jnp.take_along_axis(y, order, axis=1)
