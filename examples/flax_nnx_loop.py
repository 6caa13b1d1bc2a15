# SPDX-License-Identifier: Apache-2.0
"""Your Flax NNX loop, before and after: `python examples/flax_nnx_loop.py`.

Only the loss changes. Both train on the same padded batch, to the same numbers; the
second stays exact when the model grows sure, and refuses shapes that do not fit.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxent


def loss_before(model, images, labels, mask):
    log_probs = jax.nn.log_softmax(model(images).astype(jnp.float32))
    safe_labels = jnp.where(mask, labels, 0)
    losses = -jnp.take_along_axis(log_probs, safe_labels[:, None], axis=-1)[:, 0]
    return jnp.sum(jnp.where(mask, losses, 0)) / jnp.maximum(jnp.sum(mask), 1)


def loss_after(model, images, labels, mask):
    losses = jaxent.softmax_cross_entropy_with_integer_labels(
        model(images), labels, where=mask
    )
    return jaxent.reduce(losses, where=mask)


def train(loss_fn, batch, steps):
    model = nnx.Linear(16, 4, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, images, labels, mask):
        loss, grads = nnx.value_and_grad(loss_fn)(model, images, labels, mask)
        optimizer.update(model, grads)
        return loss

    return [float(step(model, optimizer, *batch)) for _ in range(steps)]


def padded_batch():
    """27 examples in a batch of 32; the other rows have no label, and no say."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=32).astype(np.int32)
    images = (rng.normal(size=(32, 16)) + labels[:, None]).astype(np.float32)
    mask = np.arange(32) < 27
    return images, np.where(mask, labels, -1), mask


def main(steps: int = 100) -> None:
    before = train(loss_before, padded_batch(), steps)
    after = train(loss_after, padded_batch(), steps)
    print("            before     after")
    print(f"step 1    {before[0]:8.6f}  {after[0]:8.6f}")
    print(f"step {steps}  {before[-1]:8.6f}  {after[-1]:8.6f}")


if __name__ == "__main__":
    main()
