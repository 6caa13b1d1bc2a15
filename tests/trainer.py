# SPDX-License-Identifier: Apache-2.0
"""A tiny model on a data × vocab mesh: alone, or as one of several processes.

    python tests/trainer.py PROCESS PROCESSES PORT RESULT [SIGNAL]

Process 0 saves the losses and the parameters to RESULT. A process that is given a
signal prints the time and sends itself that, with the others in the second step.
"""

import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxent

VOCABULARY, WIDTH, ROWS, LENGTH, STEPS = 96, 16, 8, 12, 3
LEARNING_RATE = 0.5
DEVICES = 4
HEARTBEAT = 5  # seconds without a sign of life after which a process counts as dead
SPECS = {
    "embedding": P("vocab"),
    "mixing": P(),
    "classifier": P("vocab"),
}
BATCH = P("data")


def start() -> tuple[dict, np.ndarray, np.ndarray]:
    """The parameters; tokens, and a mask that keeps fewer of each next row."""
    rng = np.random.default_rng(0)
    params = {
        "embedding": rng.normal(size=(VOCABULARY, WIDTH)),
        "mixing": rng.normal(size=(WIDTH, WIDTH)) / 4,
        "classifier": rng.normal(size=(VOCABULARY, WIDTH)) / 4,
    }
    tokens = rng.integers(0, VOCABULARY, (ROWS, LENGTH), np.int32)
    keep = np.arange(LENGTH) < LENGTH - np.arange(ROWS)[:, None]
    return {k: x.astype(np.float32) for k, x in params.items()}, tokens, keep


def activations(params: dict, tokens: jax.Array) -> jax.Array:
    return jnp.tanh(params["embedding"][tokens] @ params["mixing"])


def fused(mesh: Mesh):
    """The mean over the tokens of all devices; each has a slice of the vocabulary."""

    def of_a_device(hidden, classifier, labels, where):
        total = jaxent.linear_softmax_cross_entropy(
            hidden, classifier, labels, where=where,
            reduction="sum", vocab_axis_name="vocab",
        )  # fmt: skip
        count = jnp.sum(where, dtype=total.dtype)
        return jaxent.WeightedMean(total, count).psum("data")

    specs = BATCH, SPECS["classifier"], BATCH, BATCH
    mean = jax.shard_map(of_a_device, mesh=mesh, in_specs=specs, out_specs=P())

    def loss(params: dict, tokens: jax.Array, keep: jax.Array) -> jax.Array:
        labels, where = jaxent.next_token_labels(tokens, where=keep)
        hidden = activations(params, tokens)
        return mean(hidden, params["classifier"], labels, where).value

    return loss


def train(loss, params, tokens, keep, reached=lambda step: None):
    """The loss before each step, and the parameters after the last."""

    @jax.jit
    def step(params, tokens, keep):
        value, gradients = jax.value_and_grad(loss)(params, tokens, keep)
        next_params = jax.tree.map(
            lambda p, g: p - LEARNING_RATE * g, params, gradients
        )
        return value, next_params

    losses = []
    for i in range(STEPS):
        reached(i)
        value, params = step(params, tokens, keep)
        losses.append(float(value))
    return np.array(losses), params


def train_sharded(devices, reached=lambda step: None):
    """The same over a mesh of 2 × 2 devices, of whatever process."""
    mesh = Mesh(np.reshape(devices, (2, DEVICES // 2)), ("data", "vocab"))

    def place(x, spec):
        sharding = NamedSharding(mesh, spec)
        return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

    params, tokens, keep = start()
    params = {k: place(x, SPECS[k]) for k, x in params.items()}
    return train(fused(mesh), params, place(tokens, BATCH), place(keep, BATCH), reached)


def main(process, processes, port, result, signal=None):
    from jax.experimental import multihost_utils

    jax.config.update("jax_num_cpu_devices", DEVICES // int(processes))
    address = f"127.0.0.1:{port}"
    jax.distributed.initialize(
        address, int(processes), int(process), coordinator_bind_address=address,
        initialization_timeout=60, heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=30,
    )  # fmt: skip

    def reached(step):
        if signal and step == 1:
            print("\nsignalled at", time.monotonic(), flush=True)
            os.kill(os.getpid(), int(signal))

    losses, params = train_sharded(jax.devices(), reached)
    whole = multihost_utils.process_allgather(params, tiled=True)
    if process == "0":
        np.savez(result, losses=losses, **whole)


if __name__ == "__main__":
    main(*sys.argv[1:])
